/* One PCI function, as the transport sees it. The transport knows nothing of what kind of device it serves.
 *
 * Thread: the device's own; the transport calls in from it and nowhere else.
 */
#ifndef FERRY_DEVICE_DEVICE_H
#define FERRY_DEVICE_DEVICE_H

#include "device/gmem.h"

/* Numbers as VFIO gives them. */
enum { DEV_REGION_BAR0 = 0, DEV_REGION_ROM = 6, DEV_REGION_CONFIG = 7, DEV_REGION_VGA = 8, DEV_REGION_COUNT = 9 };
enum { DEV_IRQ_INTX, DEV_IRQ_MSI, DEV_IRQ_MSIX, DEV_IRQ_ERR, DEV_IRQ_REQ, DEV_IRQ_COUNT };

struct device_region {
	uint64_t size;			/* 0: absent */
	bool read, write;
	uint64_t mmap_off, mmap_len;	/* part that may be a shared mapping (page aligned), mmap_len 0: none */
};

struct device {
	const struct device_ops *ops;
	struct gmem gmem;
	struct device_region region[DEV_REGION_COUNT];
	uint32_t irq_count[DEV_IRQ_COUNT];
	/* Set by the transport. NULL: nobody listens, the device keeps the interrupt pending (PBA). Returns false if that
	 * vector is not bound to anything. */
	bool (*irq)(void *ctx, unsigned msix_vector);
	void *irq_ctx;
};

struct device_ops {
	/* Register and config space access: any offset, any length up to the region's size. 0; -EINVAL outside the region or a
	 * width the register does not take. A read never has to wait. */
	int (*region_read)(struct device *, unsigned region, uint64_t off, void *buf, uint32_t len);
	int (*region_write)(struct device *, unsigned region, uint64_t off, const void *buf, uint32_t len);
	/* Gives the mmap-able part of a region its memory (mmap_len bytes, zeroed, shared with the client), or takes it back
	 * with NULL: contents are carried over both ways. The device then reads its doorbells there. */
	void (*region_share)(struct device *, unsigned region, void *mem);
	/* Function level reset. */
	void (*reset)(struct device *);
	/* A bounded amount of work (about `budget` commands). True if anything was done: call again soon. */
	bool (*poll)(struct device *, unsigned budget);
	/* Earliest time (env clock, ns) at which poll must be called even if nothing happens outside; UINT64_MAX none. */
	uint64_t (*deadline)(struct device *);
	/* An MSI-X vector was bound: a pending interrupt on it must be raised now. */
	void (*irq_bound)(struct device *, unsigned msix_vector);
	/* The client left: its maps are gone already. Device state stays (another client may come), but whom to interrupt and
	 * where to send messages is forgotten: the transport says it anew. */
	void (*detached)(struct device *);
};

#endif
