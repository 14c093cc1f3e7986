/* The loop port: every call is a plain call into the device; the device's work happens when the program polls it. */
#include "host/port_loop.h"

#include <errno.h>
#include <stdlib.h>

enum { REGION_BAR0 = 0, BARS = 6, REGION_CONFIG = 7, PUMPS_MAX = 100000 };

struct port_loop {
	struct port port;
	struct devloop *loop;
	void (*pump)(void *ctx);
	void *ctx;
};

static struct port_loop *of(struct port *p) { return (struct port_loop *)p; }

static int reg_read(struct port *p, uint32_t off, unsigned bytes, uint64_t *val)
{
	le64 v = { { 0 } };
	int rc = bytes <= sizeof(v) ? devloop_read(of(p)->loop, REGION_BAR0, off, &v, bytes) : -EINVAL;

	*val = le64_get(v);
	return rc;
}

static int reg_write(struct port *p, uint32_t off, unsigned bytes, uint64_t val)
{
	le64 v = le64_of(val);

	return bytes <= sizeof(v) ? devloop_write(of(p)->loop, REGION_BAR0, off, &v, bytes) : -EINVAL;
}

static int doorbell(struct port *p, unsigned index, uint32_t val) { return reg_write(p, 0x1000 + 4 * index, 4, val); }

static int cfg_read(struct port *p, uint32_t off, void *buf, uint32_t len)
{
	return devloop_read(of(p)->loop, REGION_CONFIG, off, buf, len);
}

static int cfg_write(struct port *p, uint32_t off, const void *buf, uint32_t len)
{
	return devloop_write(of(p)->loop, REGION_CONFIG, off, buf, len);
}

static int bar_read(struct port *p, unsigned bar, uint32_t off, void *buf, uint32_t len)
{
	return bar < BARS ? devloop_read(of(p)->loop, bar, off, buf, len) : -EINVAL;
}

static int bar_write(struct port *p, unsigned bar, uint32_t off, const void *buf, uint32_t len)
{
	return bar < BARS ? devloop_write(of(p)->loop, bar, off, buf, len) : -EINVAL;
}

static int dma_map_as(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t fd_off, bool read, bool write)
{
	(void)fd, (void)fd_off; /* same process: the pointer will do */
	return devloop_dma_map(of(p)->loop, iova, size, ptr, read, write);
}

static int dma_map(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t fd_off)
{
	return dma_map_as(p, iova, ptr, size, fd, fd_off, true, true);
}

static int dma_unmap(struct port *p, uint64_t iova, uint64_t size)
{
	struct port_loop *l = of(p);
	int rc = devloop_dma_unmap(l->loop, iova, size);

	for (int i = 0; rc == -EAGAIN && l->pump && i < PUMPS_MAX; i++) {
		l->pump(l->ctx);
		rc = devloop_dma_unmap(l->loop, iova, size);
	}
	return rc;
}

static int reset(struct port *p)
{
	devloop_reset(of(p)->loop);
	return 0;
}

static void port_close(struct port *p) { free(of(p)); }

static const struct port_ops ops = {
	.reg_read = reg_read, .reg_write = reg_write, .doorbell = doorbell, .cfg_read = cfg_read, .cfg_write = cfg_write,
	.bar_read = bar_read, .bar_write = bar_write, .dma_map = dma_map, .dma_map_as = dma_map_as, .dma_unmap = dma_unmap, .reset = reset, .close = port_close,
};

struct port *port_loop_new(struct devloop *loop, void (*pump)(void *ctx), void *ctx, struct err *err)
{
	struct port_loop *l = calloc(1, sizeof(*l));

	if (!l) {
		err_set(err, -ENOMEM, "no memory for a port");
		return NULL;
	}
	*l = (struct port_loop){ .port.ops = &ops, .loop = loop, .pump = pump, .ctx = ctx };
	return &l->port;
}
