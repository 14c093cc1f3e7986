/* The client: one request at a time, answered before the next; the server's own requests are served while we wait. */
#include "transport/vuser_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "transport/vuser_sock.h"

enum { TIMEOUT_MS = 5000, REGIONS = 9, FDS = 8, DATA = 1 << 20, SEND_MAX = 4 << 20 };

struct local { uint64_t iova, size; uint8_t *ptr; bool read, write; };

struct vuser_client {
	struct vuser_sock sock;
	bool dead;
	uint16_t next_id;
	uint32_t timeout_ms;
	vuser_client_idle *idle;
	void *idle_ctx;
	vuser_client_wrote *wrote;
	void *wrote_ctx;
	struct vuser_caps caps;		/* the server's */
	struct local *local;
	unsigned locals, local_cap;
	struct { void *ptr; uint64_t off, len; } map[REGIONS];
};

struct answer {				/* what a request brought back; payload is valid until the next call */
	struct vuser_msg m;
	int fds[FDS];
	unsigned nfds;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- serving the server's requests --------------------------------------------------------------------------- */

static struct local *local_find(struct vuser_client *c, uint64_t iova)
{
	for (unsigned i = 0; i < c->locals; i++)
		if (iova - c->local[i].iova < c->local[i].size)
			return &c->local[i];
	return NULL;
}

static bool local_covers(struct vuser_client *c, uint64_t iova, uint64_t len, bool write)
{
	while (len) {
		struct local *l = local_find(c, iova);
		uint64_t part;

		if (!l || !(write ? l->write : l->read))
			return false;
		part = MIN(len, l->size - (iova - l->iova));
		iova += part;
		len -= part;
	}
	return true;
}

static void local_copy(struct vuser_client *c, uint64_t iova, uint8_t *buf, uint64_t len, bool write)
{
	while (len) {
		struct local *l = local_find(c, iova);
		uint64_t part = MIN(len, l->size - (iova - l->iova));

		if (write)
			memcpy(l->ptr + (iova - l->iova), buf, part);
		else
			memcpy(buf, l->ptr + (iova - l->iova), part);
		iova += part;
		buf += part;
		len -= part;
	}
}

/* 0 or the errno of the error reply. */
static int serve_dma(struct vuser_client *c, const struct vuser_msg *m)
{
	bool write = m->cmd == VUSER_DMA_WRITE;
	struct vuser_dma_access a;
	uint64_t addr, count;
	uint8_t *out;

	if (m->cmd != VUSER_DMA_READ && !write)
		return ENOSYS;
	if (vuser_payload_bytes(m) < sizeof(a))
		return EINVAL;
	memcpy(&a, m->payload, sizeof(a));
	addr = le64_get(a.addr);
	count = le64_get(a.count);
	if (!count || count > DATA || (write && vuser_payload_bytes(m) - sizeof(a) != count))
		return EINVAL;
	if (!local_covers(c, addr, count, write))
		return EFAULT;
	if (write)
		local_copy(c, addr, (uint8_t *)(uintptr_t)m->payload + sizeof(a), count, true);
	if (write && c->wrote)
		c->wrote(c->wrote_ctx, addr, count);
	if (m->flags & VUSER_NO_REPLY)
		return 0;
	out = vuser_sock_put(&c->sock, m->id, m->cmd, VUSER_TYPE_REPLY, 0, sizeof(a) + (write ? 0 : count));
	if (!out)
		return 0; /* the flush will tell */
	memcpy(out, &a, sizeof(a));
	if (!write)
		local_copy(c, addr, out + sizeof(a), count, false);
	return 0;
}

/* ---- the stream ---------------------------------------------------------------------------------------------- */

static int dead(struct vuser_client *c)
{
	c->dead = true;
	return -ENODEV;
}

static bool is_answer(const struct vuser_msg *m, const struct answer *want)
{
	return want && (m->flags & VUSER_TYPE_MASK) == VUSER_TYPE_REPLY && m->id == want->m.id && m->cmd == want->m.cmd;
}

/* Takes what is in the buffer, up to the answer wanted. 1 something was there, 2 the answer is in *want, 0, -ENODEV. */
static int take(struct vuser_client *c, struct answer *want)
{
	struct vuser_msg m;
	int any = 0, rc;

	while ((rc = vuser_sock_peek(&c->sock, c->sock.done, &m)) > 0) {
		size_t at = c->sock.done;
		int no_fds;
		unsigned n;

		any = 1;
		vuser_sock_consume(&c->sock, at + m.size);
		if (is_answer(&m, want)) {
			want->m = m;
			n = vuser_sock_take_fds(&c->sock, at, m.size, want->fds, FDS);
			want->nfds = MIN(n, (unsigned)FDS);
			return 2;
		}
		vuser_sock_take_fds(&c->sock, at, m.size, &no_fds, 0);
		if ((m.flags & VUSER_TYPE_MASK) == VUSER_TYPE_REPLY)
			continue; /* to a request we gave up on */
		rc = serve_dma(c, &m);
		if (rc && !(m.flags & VUSER_NO_REPLY))
			vuser_sock_put(&c->sock, m.id, m.cmd, VUSER_TYPE_REPLY | VUSER_ERROR, (uint32_t)rc, 0);
		if (vuser_sock_waiting(&c->sock) > SEND_MAX)
			return dead(c);
	}
	return rc < 0 ? dead(c) : any;
}

/* One round without waiting: sends, reads, serves. Results of take(). */
static int turn(struct vuser_client *c, struct answer *want)
{
	int rc = take(c, want);
	ssize_t n;

	if (rc == 0) {
		n = vuser_sock_fill(&c->sock);
		if (n == 0 || (n < 0 && n != -EAGAIN))
			return dead(c);
		rc = n > 0 ? take(c, want) : 0;
	}
	if (rc >= 0) {
		int sent = vuser_sock_flush(&c->sock);

		if (sent && sent != -EAGAIN && rc != 2)
			return dead(c);
	}
	return rc;
}

static void wait_a_bit(struct vuser_client *c, uint64_t ms)
{
	struct pollfd p = { .fd = c->sock.fd, .events = POLLIN | (vuser_sock_waiting(&c->sock) ? POLLOUT : 0) };

	if (c->idle)
		c->idle(c->idle_ctx);
	else
		poll(&p, 1, (int)ms);
}

/* Sends what was put last and waits for its answer: 0, -errno as the server said, -ENODEV. Closes what it did not keep. */
static int ask(struct vuser_client *c, struct answer *a)
{
	uint64_t end = now_ms() + c->timeout_ms;
	int rc;

	while ((rc = turn(c, a)) != 2) {
		uint64_t now = now_ms();

		if (rc < 0)
			return rc;
		if (now >= end)
			return dead(c);
		if (rc == 0)
			wait_a_bit(c, end - now);
	}
	return a->m.flags & VUSER_ERROR ? vuser_error_of(&a->m) : 0;
}

static void answer_close(struct answer *a)
{
	for (unsigned i = 0; i < a->nfds; i++)
		if (a->fds[i] >= 0)
			close(a->fds[i]);
	a->nfds = 0;
}

/* A request of one or two pieces; the answer has at least `least` payload bytes. The caller closes a->fds on success. */
static int request(struct vuser_client *c, unsigned cmd, const void *p, size_t len, const void *q, size_t qlen, const int *fds,
		   unsigned nfds, struct answer *a, size_t least)
{
	uint8_t *out;
	int rc;

	*a = (struct answer){ .m = { .id = c->next_id++, .cmd = (uint16_t)cmd } };
	if (c->dead)
		return -ENODEV;
	out = vuser_sock_put(&c->sock, a->m.id, a->m.cmd, VUSER_TYPE_COMMAND, 0, len + qlen);
	if (!out)
		return dead(c);
	memcpy(out, p, len);
	if (qlen)
		memcpy(out + len, q, qlen);
	rc = nfds ? vuser_sock_put_fds(&c->sock, fds, nfds, len + qlen) : 0;
	if (rc)
		return rc; /* taken back, nothing was sent */
	rc = vuser_sock_flush(&c->sock);
	if (rc && rc != -EAGAIN)
		return dead(c);
	rc = ask(c, a);
	if (!rc && vuser_payload_bytes(&a->m) < least)
		rc = -EPROTO;
	if (rc)
		answer_close(a);
	return rc;
}

static int simple(struct vuser_client *c, unsigned cmd, const void *p, size_t len)
{
	struct answer a;
	int rc = request(c, cmd, p, len, NULL, 0, NULL, 0, &a, 0);

	answer_close(&a);
	return rc;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static int greet(struct vuser_client *c, struct err *err)
{
	struct vuser_caps ours = { .max_msg_fds = FDS, .max_data_xfer = DATA, .write_multiple = true };
	uint8_t text[256];
	struct answer a;
	int rc = request(c, VUSER_VERSION, text, vuser_version_emit(text, sizeof(text), &ours), NULL, 0, NULL, 0, &a,
			 sizeof(struct vuser_version_head));

	if (rc)
		return err_set(err, rc, "vfio-user: the server does not answer VERSION: %s", strerror(-rc));
	rc = vuser_version_parse(a.m.payload, vuser_payload_bytes(&a.m), &c->caps, err);
	answer_close(&a);
	return rc;
}

struct vuser_client *vuser_client_adopt(int fd, vuser_client_idle *idle, void *ctx, struct err *err)
{
	struct vuser_client *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		err_set(err, -ENOMEM, "vfio-user: out of memory");
		return NULL;
	}
	c->timeout_ms = TIMEOUT_MS;
	c->idle = idle;
	c->idle_ctx = ctx;
	if (vuser_sock_init(&c->sock, fd, DATA + 4096)) {
		err_set(err, -ENOMEM, "vfio-user: out of memory");
		free(c);
		return NULL;
	}
	if (greet(c, err)) {
		vuser_client_close(c);
		return NULL;
	}
	return c;
}

struct vuser_client *vuser_client_connect(const char *path, vuser_client_idle *idle, void *ctx, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(a.sun_path)) {
		err_set(err, -ENAMETOOLONG, "vfio-user socket %s: the path is too long", path);
		return NULL;
	}
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		err_set(err, -errno, "vfio-user socket %s: cannot connect: %s; is the server running?", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	return vuser_client_adopt(fd, idle, ctx, err);
}

void vuser_client_close(struct vuser_client *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < REGIONS; i++)
		if (c->map[i].ptr)
			munmap(c->map[i].ptr, c->map[i].len);
	vuser_sock_fini(&c->sock);
	free(c->local);
	free(c);
}

int vuser_client_fd(const struct vuser_client *c) { return c->sock.fd; }
void vuser_client_set_timeout(struct vuser_client *c, uint32_t ms) { c->timeout_ms = ms; }
int vuser_client_poll(struct vuser_client *c) { return c->dead ? -ENODEV : turn(c, NULL); }

/* ---- regions ------------------------------------------------------------------------------------------------- */

int vuser_client_info(struct vuser_client *c, uint32_t *regions, uint32_t *irqs)
{
	struct vuser_device_info i = { .argsz = le32_of(sizeof(i)) };
	struct answer a;
	int rc = request(c, VUSER_DEVICE_GET_INFO, &i, sizeof(i), NULL, 0, NULL, 0, &a, sizeof(i));

	if (rc)
		return rc;
	memcpy(&i, a.m.payload, sizeof(i));
	answer_close(&a);
	*regions = le32_get(i.num_regions);
	*irqs = le32_get(i.num_irqs);
	return 0;
}

struct region_full { struct vuser_region_info i; uint64_t area_off, area_len; int fd; };

/* The first sparse area, whichever capability of the chain it is. */
static void find_area(const uint8_t *p, uint32_t len, struct region_full *f)
{
	uint32_t at = le32_get(f->i.cap_offset);

	for (unsigned i = 0; i < 16 && at >= sizeof(f->i) && range_inside(at, sizeof(struct vuser_cap_sparse), len); i++) {
		struct vuser_cap_sparse cap;
		struct vuser_sparse_area area;

		memcpy(&cap, p + at, sizeof(cap));
		if (le16_get(cap.id) == VUSER_CAP_SPARSE_MMAP && le32_get(cap.nr_areas) &&
		    range_inside(at + sizeof(cap), sizeof(area), len)) {
			memcpy(&area, p + at + sizeof(cap), sizeof(area));
			f->area_off = le64_get(area.offset);
			f->area_len = le64_get(area.size);
			return;
		}
		at = le32_get(cap.next);
	}
}

static int region_ask(struct vuser_client *c, unsigned region, struct region_full *f)
{
	struct vuser_region_info i = { .argsz = le32_of(4096), .index = le32_of(region) };
	struct answer a;
	int rc = request(c, VUSER_DEVICE_GET_REGION_INFO, &i, sizeof(i), NULL, 0, NULL, 0, &a, sizeof(i));

	if (rc)
		return rc;
	*f = (struct region_full){ .fd = -1 };
	memcpy(&f->i, a.m.payload, sizeof(f->i));
	if (le32_get(f->i.flags) & VUSER_REGION_F_CAPS)
		find_area(a.m.payload, vuser_payload_bytes(&a.m), f);
	if (a.nfds) {
		f->fd = a.fds[0];
		a.fds[0] = -1;
	}
	answer_close(&a);
	return 0;
}

int vuser_client_region(struct vuser_client *c, unsigned region, struct vuser_client_region *out)
{
	struct region_full f;
	int rc = region_ask(c, region, &f);

	if (rc)
		return rc;
	*out = (struct vuser_client_region){ le64_get(f.i.size), le32_get(f.i.flags), f.area_off, f.area_len };
	if (f.fd >= 0)
		close(f.fd);
	return 0;
}

/* The area must lie in the file, or the first doorbell would be a SIGBUS. */
static void *map_area(const struct region_full *f)
{
	uint64_t off = le64_get(f->i.offset);
	struct stat st;

	if (!f->area_len || off + f->area_off < off || fstat(f->fd, &st) || st.st_size < 0 ||
	    !range_inside(off + f->area_off, f->area_len, (uint64_t)st.st_size))
		return MAP_FAILED;
	return mmap(NULL, f->area_len, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, (off_t)(off + f->area_off));
}

void *vuser_client_region_map(struct vuser_client *c, unsigned region, uint64_t *off, uint64_t *len)
{
	struct region_full f;

	if (region >= REGIONS)
		return NULL;
	if (!c->map[region].ptr) {
		void *p;

		if (region_ask(c, region, &f) || f.fd < 0)
			return NULL;
		p = map_area(&f);
		close(f.fd);
		if (p == MAP_FAILED)
			return NULL;
		c->map[region].ptr = p;
		c->map[region].off = f.area_off;
		c->map[region].len = f.area_len;
	}
	*off = c->map[region].off;
	*len = c->map[region].len;
	return c->map[region].ptr;
}

int vuser_client_read(struct vuser_client *c, unsigned region, uint64_t off, void *buf, uint32_t len)
{
	struct vuser_region_access r = { le64_of(off), le32_of(region), le32_of(len) };
	struct answer a;
	int rc = request(c, VUSER_REGION_READ, &r, sizeof(r), NULL, 0, NULL, 0, &a, sizeof(r) + (size_t)len);

	if (rc)
		return rc;
	memcpy(buf, a.m.payload + sizeof(r), len);
	answer_close(&a);
	return 0;
}

int vuser_client_write(struct vuser_client *c, unsigned region, uint64_t off, const void *buf, uint32_t len)
{
	struct vuser_region_access r = { le64_of(off), le32_of(region), le32_of(len) };
	struct answer a;
	int rc = request(c, VUSER_REGION_WRITE, &r, sizeof(r), buf, len, NULL, 0, &a, 0);

	answer_close(&a);
	return rc;
}

int vuser_client_write_posted(struct vuser_client *c, unsigned region, uint64_t off, const void *buf, uint32_t len)
{
	struct vuser_region_access r = { le64_of(off), le32_of(region), le32_of(len) };
	uint64_t end = 0;
	uint8_t *out;
	int rc;

	if (c->dead)
		return -ENODEV;
	out = vuser_sock_put(&c->sock, c->next_id++, VUSER_REGION_WRITE, VUSER_NO_REPLY, 0, sizeof(r) + len);
	if (!out)
		return dead(c);
	memcpy(out, &r, sizeof(r));
	memcpy(out + sizeof(r), buf, len);
	while ((rc = vuser_sock_flush(&c->sock)) == -EAGAIN) {
		end = end ? end : now_ms() + c->timeout_ms;
		if (now_ms() >= end || turn(c, NULL) < 0)
			return dead(c);
		wait_a_bit(c, 10);
	}
	return rc ? dead(c) : 0;
}

int vuser_client_reset(struct vuser_client *c) { return simple(c, VUSER_DEVICE_RESET, "", 0); }

/* ---- interrupts ---------------------------------------------------------------------------------------------- */

int vuser_client_irq_info(struct vuser_client *c, unsigned index, uint32_t *flags, uint32_t *count)
{
	struct vuser_irq_info i = { .argsz = le32_of(sizeof(i)), .index = le32_of(index) };
	struct answer a;
	int rc = request(c, VUSER_DEVICE_GET_IRQ_INFO, &i, sizeof(i), NULL, 0, NULL, 0, &a, sizeof(i));

	if (rc)
		return rc;
	memcpy(&i, a.m.payload, sizeof(i));
	answer_close(&a);
	*flags = le32_get(i.flags);
	*count = le32_get(i.count);
	return 0;
}

int vuser_client_set_irqs(struct vuser_client *c, uint32_t flags, unsigned index, uint32_t start, uint32_t count,
			  const uint8_t *bools, const int *fds, unsigned nfds)
{
	struct vuser_irq_set i = { le32_of((uint32_t)sizeof(i) + (bools ? count : 0)), le32_of(flags), le32_of(index),
				   le32_of(start), le32_of(count) };
	struct answer a;
	int rc = request(c, VUSER_DEVICE_SET_IRQS, &i, sizeof(i), bools, bools ? count : 0, fds, nfds, &a, 0);

	answer_close(&a);
	return rc;
}

int vuser_client_irq_bind(struct vuser_client *c, unsigned index, uint32_t start, const int *fds, uint32_t count)
{
	uint32_t most = (uint32_t)MIN(c->caps.max_msg_fds, (uint64_t)VUSER_SOCK_OUT_FDS);
	int rc = 0;

	if (!most)
		return -ENOTSUP;
	for (uint32_t at = 0; at < count && !rc; at += most) {
		uint32_t n = MIN(count - at, most);

		rc = vuser_client_set_irqs(c, VUSER_SET_TRIGGER | VUSER_SET_EVENTFD, index, start + at, n, NULL, fds + at, n);
	}
	return rc;
}

int vuser_client_irq_unbind(struct vuser_client *c, unsigned index, uint32_t start, uint32_t count)
{
	return vuser_client_set_irqs(c, VUSER_SET_TRIGGER | VUSER_SET_EVENTFD, index, start, count, NULL, NULL, 0);
}

int vuser_client_irq_disable(struct vuser_client *c, unsigned index)
{
	return vuser_client_set_irqs(c, VUSER_SET_TRIGGER | VUSER_SET_NONE, index, 0, 0, NULL, NULL, 0);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

static bool local_room(struct vuser_client *c)
{
	unsigned cap = c->local_cap ? c->local_cap * 2 : 16;
	struct local *p;

	if (c->locals < c->local_cap)
		return true;
	p = realloc(c->local, cap * sizeof(*p));
	if (!p)
		return false;
	c->local = p;
	c->local_cap = cap;
	return true;
}

static void local_remove(struct vuser_client *c, uint64_t iova, uint64_t size)
{
	for (unsigned i = 0; i < c->locals; i++)
		if (c->local[i].iova == iova && c->local[i].size == size) {
			c->local[i] = c->local[--c->locals];
			return;
		}
}

/* Memory is known here before the server hears of it: its first request may come before its reply. */
int vuser_client_dma_map(struct vuser_client *c, uint64_t iova, uint64_t size, void *ptr, bool read, bool write, int fd,
			 uint64_t fd_off)
{
	struct vuser_dma_map d = { le32_of(sizeof(d)), le32_of((read ? VUSER_MAP_READ : 0) | (write ? VUSER_MAP_WRITE : 0)),
				   le64_of(fd < 0 ? 0 : fd_off), le64_of(iova), le64_of(size) };
	struct answer a;
	bool known;
	int rc;

	if (!local_room(c))
		return -ENOMEM;
	known = local_find(c, iova); /* the same map again changes nothing; the server judges */
	if (!known)
		c->local[c->locals++] = (struct local){ iova, size, ptr, read, write };
	rc = request(c, VUSER_DMA_MAP, &d, sizeof(d), NULL, 0, &fd, fd >= 0, &a, 0);
	answer_close(&a);
	if (rc && !known)
		c->locals--;
	return rc;
}

static int unmap(struct vuser_client *c, uint32_t flags, uint64_t iova, uint64_t size)
{
	struct vuser_dma_unmap u = { le32_of(sizeof(u)), le32_of(flags), le64_of(iova), le64_of(size) };

	return simple(c, VUSER_DMA_UNMAP, &u, sizeof(u));
}

int vuser_client_dma_unmap(struct vuser_client *c, uint64_t iova, uint64_t size)
{
	int rc = unmap(c, 0, iova, size);

	if (!rc)
		local_remove(c, iova, size);
	return rc;
}

int vuser_client_dma_unmap_all(struct vuser_client *c)
{
	int rc = unmap(c, VUSER_UNMAP_ALL, 0, 0);

	if (!rc)
		c->locals = 0;
	return rc;
}

void vuser_client_on_write(struct vuser_client *c, vuser_client_wrote *fn, void *ctx)
{
	c->wrote = fn;
	c->wrote_ctx = ctx;
}
