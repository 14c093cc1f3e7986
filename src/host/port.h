/* How a driver reaches a controller: registers, doorbells, and the memory both see.
 *
 * Two makers: port over vfio-user (host/port_vuser.c, any server) and the loop port (host/port_loop.c over transport/loop.h,
 * same thread, for the manager's MMC and for the simulator). Register access is synchronous in both.
 */
#ifndef FERRY_HOST_PORT_H
#define FERRY_HOST_PORT_H

#include "base/bytes.h"
#include "base/err.h"

struct port {
	const struct port_ops *ops;
};

struct port_ops {
	/* 4 or 8 bytes at offset `off` of BAR0. 0; -ENODEV when the device is gone; -errno. */
	int (*reg_read)(struct port *, uint32_t off, unsigned bytes, uint64_t *val);
	int (*reg_write)(struct port *, uint32_t off, unsigned bytes, uint64_t val);
	/* A doorbell: index 2*qid + is_cq (stride 0). Everything written to memory before is visible to the device first. */
	int (*doorbell)(struct port *, unsigned index, uint32_t val);
	/* PCI configuration space. */
	int (*cfg_read)(struct port *, uint32_t off, void *buf, uint32_t len);
	int (*cfg_write)(struct port *, uint32_t off, const void *buf, uint32_t len);
	/* Gives the device access to [ptr, ptr+size) at iova. fd >= 0: a shared file whose byte fd_off is ptr. */
	int (*dma_map)(struct port *, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t fd_off);
	int (*dma_unmap)(struct port *, uint64_t iova, uint64_t size);
	/* Handles what the device sent us (message DMA); true if anything was done. May be NULL. */
	bool (*poll)(struct port *);
	int (*reset)(struct port *);	/* function level reset */
	void (*close)(struct port *);
	/* Any BAR, 4 or 8 bytes: for what is not a register (the MSI-X table). May be NULL. */
	int (*bar_read)(struct port *, unsigned bar, uint32_t off, void *buf, uint32_t len);
	int (*bar_write)(struct port *, unsigned bar, uint32_t off, const void *buf, uint32_t len);
	/* As dma_map, where the device may only read, or only write. NULL: this way to a controller knows no rights. */
	int (*dma_map_as)(struct port *, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t fd_off, bool read, bool write);
};

#endif
