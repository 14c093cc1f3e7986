#include "transport/loop.h"

#include <errno.h>

#include "device/device.h"

int devregion_judge(const struct device *d, unsigned region, uint64_t off, uint64_t len, bool write)
{
	const struct device_region *r;

	if (region >= DEV_REGION_COUNT || !len)
		return -EINVAL;
	r = &d->region[region];
	if (!(write ? r->write : r->read) || !range_inside(off, len, r->size))
		return -EINVAL;
	return 0;
}

static bool raise_irq(void *ctx, unsigned vector)
{
	struct devloop *l = ctx;

	return l->irq && l->irq(l->irq_ctx, vector);
}

void devloop_attach(struct devloop *l, struct device *d, bool (*irq)(void *, unsigned), void *irq_ctx)
{
	*l = (struct devloop){ .dev = d, .irq = irq, .irq_ctx = irq_ctx };
	d->irq = raise_irq;
	d->irq_ctx = l;
	if (irq)
		for (unsigned v = 0; v < d->irq_count[DEV_IRQ_MSIX]; v++)
			d->ops->irq_bound(d, v);
}

int devloop_detach(struct devloop *l)
{
	struct device *d = l->dev;

	d->irq = NULL;
	d->irq_ctx = NULL;
	while (d->gmem.count) {
		int rc = gmem_del(&d->gmem, d->gmem.maps[0].iova, d->gmem.maps[0].size, NULL);

		if (rc)
			return rc;
	}
	d->ops->detached(d);
	return 0;
}

int devloop_read(struct devloop *l, unsigned region, uint64_t off, void *buf, uint32_t len)
{
	int rc = devregion_judge(l->dev, region, off, len, false);

	return rc ? rc : l->dev->ops->region_read(l->dev, region, off, buf, len);
}

int devloop_write(struct devloop *l, unsigned region, uint64_t off, const void *buf, uint32_t len)
{
	int rc = devregion_judge(l->dev, region, off, len, true);

	return rc ? rc : l->dev->ops->region_write(l->dev, region, off, buf, len);
}

void devloop_reset(struct devloop *l) { l->dev->ops->reset(l->dev); }

int devloop_dma_map(struct devloop *l, uint64_t iova, uint64_t size, void *ptr, bool read, bool write)
{
	return gmem_add(&l->dev->gmem, iova, size, ptr, read, write);
}

int devloop_dma_unmap(struct devloop *l, uint64_t iova, uint64_t size)
{
	return gmem_del(&l->dev->gmem, iova, size, NULL);
}
