/* A device reached in the same process, without a socket: what a vfio-user client could do, as plain calls.
 *
 * For the manager's own controller and for the simulator (host's loop port). Device thread only. The attached loop takes
 * the place of the vfio-user server: a device has one or the other.
 */
#ifndef FERRY_TRANSPORT_LOOP_H
#define FERRY_TRANSPORT_LOOP_H

#include "base/bytes.h"

struct device;

struct devloop {
	struct device *dev;
	bool (*irq)(void *ctx, unsigned vector);	/* NULL: nobody listens, interrupts stay pending in the device */
	void *irq_ctx;
};

/* Region numbers are VFIO's (BAR0 is 0, config space 7). */
void devloop_attach(struct devloop *, struct device *, bool (*irq)(void *ctx, unsigned vector), void *irq_ctx);
/* Every map goes, then the device hears `detached`. 0; -EAGAIN while the device still uses guest memory: poll it, call again. */
int devloop_detach(struct devloop *);
/* 0; -EINVAL outside the region, not allowed, or a width the register does not take. */
int devloop_read(struct devloop *, unsigned region, uint64_t off, void *buf, uint32_t len);
int devloop_write(struct devloop *, unsigned region, uint64_t off, const void *buf, uint32_t len);
void devloop_reset(struct devloop *);
/* Memory at ptr becomes [iova, iova+size) for the device. Results as gmem_add and gmem_del (-EAGAIN: held, call again). */
int devloop_dma_map(struct devloop *, uint64_t iova, uint64_t size, void *ptr, bool read, bool write);
int devloop_dma_unmap(struct devloop *, uint64_t iova, uint64_t size);

/* What both the loop and the vfio-user server ask before any register access: does [off, off+len) lie inside a region that
 * allows it? 0 or -EINVAL. */
int devregion_judge(const struct device *, unsigned region, uint64_t off, uint64_t len, bool write);

#endif
