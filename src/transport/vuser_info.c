/* What the device looks like to the client, and access to its registers. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/loop.h"
#include "transport/vuser_priv.h"

int vuser_cmd_device_info(struct vuser_server *s, struct vuser_request *r)
{
	struct vuser_device_info i;
	uint8_t *out;

	memcpy(&i, r->m.payload, sizeof(i));
	if (le32_get(i.argsz) < sizeof(i))
		return -EINVAL;
	out = vuser_reply(s, r, sizeof(i));
	if (!out)
		return -ENOMEM;
	i = (struct vuser_device_info){ .argsz = le32_of(sizeof(i)), .flags = le32_of(VUSER_DEVICE_RESETS | VUSER_DEVICE_PCI),
					.num_regions = le32_of(DEV_REGION_COUNT), .num_irqs = le32_of(DEV_IRQ_COUNT) };
	memcpy(out, &i, sizeof(i));
	return 0;
}

/* ---- regions ------------------------------------------------------------------------------------------------- */

struct sparse_caps { struct vuser_cap_sparse cap; struct vuser_sparse_area area; };

static uint32_t region_flags(struct vuser_server *s, unsigned index)
{
	const struct device_region *d = &s->dev->region[index];

	if (!d->size)
		return 0;
	return (d->read ? VUSER_REGION_F_READ : 0) | (d->write ? VUSER_REGION_F_WRITE : 0) |
	       (s->share[index].ptr ? VUSER_REGION_F_MMAP | VUSER_REGION_F_CAPS : 0);
}

/* The caps and the descriptor go together, and only to a client that has room for the caps: QEMU asks again, larger.
 * But where the caps would lie is told at once: QEMU takes flags that promise caps at offset 0 for a broken device. */
int vuser_cmd_region_info(struct vuser_server *s, struct vuser_request *r)
{
	struct vuser_region_info i;
	struct sparse_caps c;
	uint32_t argsz, index, need;
	size_t len;
	uint8_t *out;

	memcpy(&i, r->m.payload, sizeof(i));
	argsz = le32_get(i.argsz);
	index = le32_get(i.index);
	if (argsz < sizeof(i) || index >= DEV_REGION_COUNT)
		return -EINVAL;
	need = sizeof(i) + (s->share[index].ptr ? sizeof(c) : 0);
	len = argsz >= need ? need : sizeof(i);
	i = (struct vuser_region_info){ .argsz = le32_of(need), .flags = le32_of(region_flags(s, index)),
					.index = le32_of(index), .size = le64_of(s->dev->region[index].size),
					.cap_offset = le32_of(need > sizeof(i) ? sizeof(i) : 0) };
	out = vuser_reply(s, r, len);
	if (!out)
		return -ENOMEM;
	memcpy(out, &i, sizeof(i));
	if (len == sizeof(i))
		return 0;
	c = (struct sparse_caps){ { .id = le16_of(VUSER_CAP_SPARSE_MMAP), .version = le16_of(1), .nr_areas = le32_of(1) },
				  { le64_of(s->dev->region[index].mmap_off), le64_of(s->dev->region[index].mmap_len) } };
	memcpy(out + sizeof(i), &c, sizeof(c));
	return r->m.flags & VUSER_NO_REPLY ? 0 : vuser_sock_put_fds(&s->sock, &s->share[index].fd, 1, len);
}

/* One sealed file per region, as long as area's end: a client that could shrink it would take our own memory away. */
static int share_one(struct vuser_server *s, unsigned index)
{
	const struct device_region *d = &s->dev->region[index];
	struct vuser_share *sh = &s->share[index];
	int fd = memfd_create("ferry-doorbells", MFD_CLOEXEC | MFD_ALLOW_SEALING), rc = 0;
	void *p = MAP_FAILED;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)(d->mmap_off + d->mmap_len)) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		rc = -errno;
	if (!rc) {
		p = mmap(NULL, d->mmap_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)d->mmap_off);
		rc = p == MAP_FAILED ? -errno : 0;
	}
	if (rc) {
		close(fd);
		return rc;
	}
	*sh = (struct vuser_share){ p, d->mmap_len, fd };
	s->dev->ops->region_share(s->dev, index, p);
	return 0;
}

int vuser_share_all(struct vuser_server *s)
{
	int rc = 0;

	for (unsigned i = 0; s->cfg.map_doorbells && i < DEV_REGION_COUNT && !rc; i++)
		if (s->dev->region[i].mmap_len && !s->share[i].ptr)
			rc = share_one(s, i);
	if (rc)
		vuser_unshare_all(s);
	return rc;
}

void vuser_unshare_all(struct vuser_server *s)
{
	for (unsigned i = 0; i < DEV_REGION_COUNT; i++) {
		if (!s->share[i].ptr)
			continue;
		s->dev->ops->region_share(s->dev, i, NULL);
		munmap(s->share[i].ptr, s->share[i].len);
		close(s->share[i].fd);
		s->share[i] = (struct vuser_share){ .fd = -1 };
	}
}

/* No notification descriptors: doorbells are posted writes or shared memory. */
int vuser_cmd_region_io_fds(struct vuser_server *s, struct vuser_request *r)
{
	struct vuser_region_io_fds i;
	uint8_t *out;

	memcpy(&i, r->m.payload, sizeof(i));
	if (le32_get(i.argsz) < sizeof(i) || le32_get(i.flags) || le32_get(i.count) || le32_get(i.index) >= DEV_REGION_COUNT)
		return -EINVAL;
	out = vuser_reply(s, r, sizeof(i));
	if (!out)
		return -ENOMEM;
	i.argsz = le32_of(sizeof(i));
	memcpy(out, &i, sizeof(i));
	return 0;
}

/* ---- register access ----------------------------------------------------------------------------------------- */

int vuser_cmd_region_read(struct vuser_server *s, struct vuser_request *r)
{
	struct vuser_region_access a;
	uint32_t region, count;
	uint8_t *out;

	memcpy(&a, r->m.payload, sizeof(a));
	region = le32_get(a.region);
	count = le32_get(a.count);
	if (count > s->cfg.max_data_xfer || devregion_judge(s->dev, region, le64_get(a.offset), count, false))
		return -EINVAL;
	out = vuser_reply(s, r, sizeof(a) + count);
	if (!out)
		return -ENOMEM;
	memcpy(out, &a, sizeof(a));
	return s->dev->ops->region_read(s->dev, region, le64_get(a.offset), out + sizeof(a), count);
}

int vuser_cmd_region_write(struct vuser_server *s, struct vuser_request *r)
{
	struct vuser_region_access a;
	uint32_t region, count;
	uint8_t *out;
	int rc;

	memcpy(&a, r->m.payload, sizeof(a));
	region = le32_get(a.region);
	count = le32_get(a.count);
	if (count > s->cfg.max_data_xfer || vuser_payload_bytes(&r->m) - sizeof(a) != count ||
	    devregion_judge(s->dev, region, le64_get(a.offset), count, true))
		return -EINVAL;
	rc = s->dev->ops->region_write(s->dev, region, le64_get(a.offset), r->m.payload + sizeof(a), count);
	if (rc || (r->m.flags & VUSER_NO_REPLY))
		return rc;
	out = vuser_reply(s, r, sizeof(a));
	if (!out)
		return -ENOMEM;
	memcpy(out, &a, sizeof(a));
	return 0;
}

static int write_one(struct vuser_server *s, const uint8_t *p)
{
	struct vuser_write_one w;

	memcpy(&w, p, sizeof(w));
	if (le32_get(w.count) > sizeof(w.data) ||
	    devregion_judge(s->dev, le32_get(w.region), le64_get(w.offset), le32_get(w.count), true))
		return -EINVAL;
	return s->dev->ops->region_write(s->dev, le32_get(w.region), le64_get(w.offset), w.data, le32_get(w.count));
}

/* In order, up to the first that fails: those before it have happened, as if they had come one by one. */
int vuser_cmd_write_multi(struct vuser_server *s, struct vuser_request *r)
{
	const uint8_t *p = r->m.payload + sizeof(struct vuser_write_multi);
	size_t room = vuser_payload_bytes(&r->m) - sizeof(struct vuser_write_multi);
	struct vuser_write_multi w;
	uint8_t *out;
	int rc = 0;

	memcpy(&w, r->m.payload, sizeof(w));
	if (room % sizeof(struct vuser_write_one) || le64_get(w.count) != room / sizeof(struct vuser_write_one))
		return -EINVAL;
	for (; room && !rc; room -= sizeof(struct vuser_write_one), p += sizeof(struct vuser_write_one))
		rc = write_one(s, p);
	if (rc || (r->m.flags & VUSER_NO_REPLY))
		return rc;
	out = vuser_reply(s, r, sizeof(w));
	if (!out)
		return -ENOMEM;
	memcpy(out, &w, sizeof(w));
	return 0;
}

int vuser_cmd_reset(struct vuser_server *s, struct vuser_request *r)
{
	s->dev->ops->reset(s->dev);
	return vuser_reply(s, r, 0) ? 0 : -ENOMEM;
}
