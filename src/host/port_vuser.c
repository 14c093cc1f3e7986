/* The vfio-user port: registers by message, doorbells by a store into the shared page where the server gives one. */
#include "host/port_vuser.h"

#include <errno.h>
#include <stdlib.h>

enum { REGION_BAR0 = 0, BARS = 6, REGION_CONFIG = 7, DOORBELLS = 0x1000 };

struct port_vuser {
	struct port port;
	struct vuser_client *client;
	uint8_t *db;			/* shared part of BAR0, NULL none */
	uint64_t db_off, db_len;	/* where it lies in BAR0 */
	bool gone;			/* a store into the shared page cannot tell; poll can */
};

static struct port_vuser *of(struct port *p) { return (struct port_vuser *)p; }

static int reg_read(struct port *p, uint32_t off, unsigned bytes, uint64_t *val)
{
	le64 v = { { 0 } };
	int rc = bytes <= sizeof(v) ? vuser_client_read(of(p)->client, REGION_BAR0, off, &v, bytes) : -EINVAL;

	*val = le64_get(v);
	return rc;
}

static int reg_write(struct port *p, uint32_t off, unsigned bytes, uint64_t val)
{
	le64 v = le64_of(val);

	return bytes <= sizeof(v) ? vuser_client_write(of(p)->client, REGION_BAR0, off, &v, bytes) : -EINVAL;
}

static int doorbell(struct port *p, unsigned index, uint32_t val)
{
	struct port_vuser *v = of(p);
	uint64_t off = DOORBELLS + 4ull * index;
	le32 w = le32_of(val);

	if (v->gone)
		return -ENODEV;
	if (v->db && off >= v->db_off && range_inside(off - v->db_off, 4, v->db_len)) {
		/* Release: whoever sees the new value sees the entry it announces. */
		__atomic_store_n((uint32_t *)(void *)(v->db + (off - v->db_off)), val, __ATOMIC_RELEASE);
		return 0;
	}
	return vuser_client_write_posted(v->client, REGION_BAR0, off, &w, sizeof(w));
}

static int cfg_read(struct port *p, uint32_t off, void *buf, uint32_t len)
{
	return vuser_client_read(of(p)->client, REGION_CONFIG, off, buf, len);
}

static int cfg_write(struct port *p, uint32_t off, const void *buf, uint32_t len)
{
	return vuser_client_write(of(p)->client, REGION_CONFIG, off, buf, len);
}

static int dma_map_as(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t fd_off, bool read, bool write)
{
	return vuser_client_dma_map(of(p)->client, iova, size, ptr, read, write, fd, fd_off);
}

static int bar_read(struct port *p, unsigned bar, uint32_t off, void *buf, uint32_t len)
{
	return bar < BARS ? vuser_client_read(of(p)->client, bar, off, buf, len) : -EINVAL;
}

static int bar_write(struct port *p, unsigned bar, uint32_t off, const void *buf, uint32_t len)
{
	return bar < BARS ? vuser_client_write(of(p)->client, bar, off, buf, len) : -EINVAL;
}

static int dma_map(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t fd_off)
{
	return dma_map_as(p, iova, ptr, size, fd, fd_off, true, true);
}

static int dma_unmap(struct port *p, uint64_t iova, uint64_t size)
{
	return vuser_client_dma_unmap(of(p)->client, iova, size);
}

static bool port_poll(struct port *p)
{
	int rc = vuser_client_poll(of(p)->client);

	of(p)->gone |= rc < 0;
	return rc > 0;
}

static int reset(struct port *p) { return vuser_client_reset(of(p)->client); }

static void port_close(struct port *p)
{
	vuser_client_close(of(p)->client);
	free(of(p));
}

static const struct port_ops ops = {
	.reg_read = reg_read, .reg_write = reg_write, .doorbell = doorbell, .cfg_read = cfg_read, .cfg_write = cfg_write,
	.bar_read = bar_read, .bar_write = bar_write, .dma_map = dma_map, .dma_map_as = dma_map_as, .dma_unmap = dma_unmap, .poll = port_poll, .reset = reset, .close = port_close,
};

struct vuser_client *port_vuser_client(struct port *p) { return of(p)->client; }

struct port *port_vuser_new(const char *path, vuser_client_idle *idle, void *ctx, struct err *err)
{
	struct port_vuser *v = calloc(1, sizeof(*v));

	if (!v) {
		err_set(err, -ENOMEM, "no memory for a port");
		return NULL;
	}
	v->port.ops = &ops;
	v->client = vuser_client_connect(path, idle, ctx, err);
	if (!v->client) {
		free(v);
		return NULL;
	}
	v->db = vuser_client_region_map(v->client, REGION_BAR0, &v->db_off, &v->db_len);
	return &v->port;
}
