/* vfio-user client: what a VMM does, as calls. For host's port and for tests.
 *
 * Calls that need an answer wait for it (5 s, then the server counts as gone) and serve the server's DMA_READ/DMA_WRITE
 * meanwhile. Nothing else happens behind the caller's back. One thread. All calls: 0 or -errno; -ENODEV once the server is gone.
 */
#ifndef FERRY_TRANSPORT_VUSER_CLIENT_H
#define FERRY_TRANSPORT_VUSER_CLIENT_H

#include "base/bytes.h"
#include "base/err.h"

struct vuser_client;

struct vuser_client_region {
	uint64_t size;
	uint32_t flags;			/* VUSER_REGION_F_* */
	uint64_t mmap_off, mmap_len;	/* first sparse area; len 0: none */
};

/* While a call waits it runs idle(ctx) again and again instead of sleeping: for a server in the same thread. NULL: sleep. */
typedef void vuser_client_idle(void *ctx);

/* Connects and exchanges VERSION. NULL and a sentence on error. */
struct vuser_client *vuser_client_connect(const char *path, vuser_client_idle *, void *ctx, struct err *);
/* Same on a connected socket, which is taken (also on error). */
struct vuser_client *vuser_client_adopt(int fd, vuser_client_idle *, void *ctx, struct err *);
void vuser_client_close(struct vuser_client *);
int vuser_client_fd(const struct vuser_client *); /* readable: call vuser_client_poll */
void vuser_client_set_timeout(struct vuser_client *, uint32_t ms);

int vuser_client_info(struct vuser_client *, uint32_t *regions, uint32_t *irqs);
int vuser_client_region(struct vuser_client *, unsigned region, struct vuser_client_region *out);
/* Maps the region's sparse area (its doorbells) once; NULL if there is none or it failed. Unmapped by close. */
void *vuser_client_region_map(struct vuser_client *, unsigned region, uint64_t *off, uint64_t *len);
int vuser_client_read(struct vuser_client *, unsigned region, uint64_t off, void *buf, uint32_t len);
int vuser_client_write(struct vuser_client *, unsigned region, uint64_t off, const void *buf, uint32_t len);
/* No_reply: on its way when this returns; failures are not told. */
int vuser_client_write_posted(struct vuser_client *, unsigned region, uint64_t off, const void *buf, uint32_t len);
int vuser_client_reset(struct vuser_client *);

int vuser_client_irq_info(struct vuser_client *, unsigned index, uint32_t *flags, uint32_t *count);
/* A row of DEVICE_SET_IRQS: flags VUSER_SET_*; bools: count bytes or NULL; fds: nfds, kept by the caller. */
int vuser_client_set_irqs(struct vuser_client *, uint32_t flags, unsigned index, uint32_t start, uint32_t count,
			  const uint8_t *bools, const int *fds, unsigned nfds);
/* Binds eventfds to count vectors from start on, in as many messages as the server's fd limit asks for. */
int vuser_client_irq_bind(struct vuser_client *, unsigned index, uint32_t start, const int *fds, uint32_t count);
int vuser_client_irq_unbind(struct vuser_client *, unsigned index, uint32_t start, uint32_t count);
int vuser_client_irq_disable(struct vuser_client *, unsigned index);

/* Gives the device [ptr, ptr+size) as [iova, iova+size). fd >= 0: a shared file whose byte fd_off is ptr; the server maps it.
 * fd < 0: by message; the memory must stay until unmap. */
int vuser_client_dma_map(struct vuser_client *, uint64_t iova, uint64_t size, void *ptr, bool read, bool write, int fd,
			 uint64_t fd_off);
int vuser_client_dma_unmap(struct vuser_client *, uint64_t iova, uint64_t size);
int vuser_client_dma_unmap_all(struct vuser_client *);
/* Called after each write of the device by message: what a VMM would mark dirty. NULL: none. */
typedef void vuser_client_wrote(void *ctx, uint64_t iova, uint64_t len);
void vuser_client_on_write(struct vuser_client *, vuser_client_wrote *, void *ctx);
/* Serves what the server asked for. 1 something was done, 0 nothing, -ENODEV the server is gone. */
int vuser_client_poll(struct vuser_client *);

#endif
