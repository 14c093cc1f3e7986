/* A vfio-user server on a fake device, and a client made of hand-written bytes. One thread, nobody sleeps.
 *
 *   VRIG(r, .map_doorbells = true);         server on a socket, client connected, VERSION done; at the end of the block
 *                                           everything is closed and no descriptor may be left over
 *   struct vreply a = ask(&r, 4, B(u32(16), u32(0), ...), fds...)
 */
#ifndef FERRY_TESTS_VUSER_RIG_H
#define FERRY_TESTS_VUSER_RIG_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "t.h"
#include "base/log.h"
#include "device/device.h"
#include "transport/guard.h"
#include "transport/vuser_server.h"

/* ---- the device: bytes, and a diary -------------------------------------------------------------------------- */

enum { FAKE_VECTORS = 20, FAKE_BAR = 0x4000, FAKE_CFG = 4096, FAKE_LOG = 4096 };

struct fake {
	struct device d;
	uint8_t bar[FAKE_BAR], cfg[FAKE_CFG];
	uint8_t *shared;		/* as given by region_share */
	bool pending[FAKE_VECTORS];
	unsigned resets, detached, writes, bound;
	struct { unsigned region; uint64_t off; uint32_t len; uint64_t val; } log[FAKE_LOG];
};

static uint8_t *fake_at(struct fake *f, unsigned region, uint64_t off)
{
	return region == DEV_REGION_CONFIG ? f->cfg + off : f->bar + off;
}

static bool fake_width(unsigned region, uint32_t len)
{
	return region == DEV_REGION_CONFIG || len == 1 || len == 2 || len == 4 || len == 8;
}

static int fake_read(struct device *d, unsigned region, uint64_t off, void *buf, uint32_t len)
{
	struct fake *f = CONTAINER_OF(d, struct fake, d);

	if (!fake_width(region, len))
		return -EINVAL;
	memcpy(buf, fake_at(f, region, off), len);
	return 0;
}

static int fake_write(struct device *d, unsigned region, uint64_t off, const void *buf, uint32_t len)
{
	struct fake *f = CONTAINER_OF(d, struct fake, d);
	uint64_t v = 0;

	if (!fake_width(region, len))
		return -EINVAL;
	memcpy(fake_at(f, region, off), buf, len);
	memcpy(&v, buf, MIN(len, 8u));
	f->log[f->writes % FAKE_LOG].region = region;
	f->log[f->writes % FAKE_LOG].off = off;
	f->log[f->writes % FAKE_LOG].len = len;
	f->log[f->writes++ % FAKE_LOG].val = v;
	return 0;
}

static void fake_share(struct device *d, unsigned region, void *mem)
{
	struct fake *f = CONTAINER_OF(d, struct fake, d);
	const struct device_region *r = &d->region[region];

	if (mem)
		memcpy(mem, f->bar + r->mmap_off, r->mmap_len);
	else
		memcpy(f->bar + r->mmap_off, f->shared, r->mmap_len);
	f->shared = mem;
}

static void fake_reset(struct device *d) { CONTAINER_OF(d, struct fake, d)->resets++; }
static bool fake_poll(struct device *d, unsigned budget) { (void)d; (void)budget; return false; }
static uint64_t fake_deadline(struct device *d) { (void)d; return UINT64_MAX; }
/* As a controller does it. */
static void fake_detached(struct device *d)
{
	CONTAINER_OF(d, struct fake, d)->detached++;
	d->irq = NULL;
	d->irq_ctx = NULL;
}

static void fake_raise(struct fake *f, unsigned v)
{
	f->pending[v] = !(f->d.irq && f->d.irq(f->d.irq_ctx, v));
}

static void fake_bound(struct device *d, unsigned v)
{
	struct fake *f = CONTAINER_OF(d, struct fake, d);

	f->bound++;
	if (f->pending[v])
		fake_raise(f, v);
}

static const struct device_ops fake_ops = { fake_read, fake_write, fake_share, fake_reset, fake_poll, fake_deadline, fake_bound,
					    fake_detached };

static void fake_init(struct fake *f)
{
	memset(f, 0, sizeof(*f));
	f->d.ops = &fake_ops;
	gmem_init(&f->d.gmem);
	f->d.region[0] = (struct device_region){ FAKE_BAR, true, true, 0x1000, 0x1000 };
	f->d.region[DEV_REGION_CONFIG] = (struct device_region){ FAKE_CFG, true, true, 0, 0 };
	f->d.region[4] = (struct device_region){ 0x1000, true, false, 0, 0 };	/* read only */
	f->d.irq_count[DEV_IRQ_INTX] = 1;
	f->d.irq_count[DEV_IRQ_MSIX] = FAKE_VECTORS;
	f->d.irq_count[DEV_IRQ_ERR] = 1;
	for (unsigned i = 0; i < FAKE_CFG; i++)
		f->cfg[i] = (uint8_t)(i * 7);
}

/* ---- bytes --------------------------------------------------------------------------------------------------- */

struct bytes { uint8_t b[8192]; size_t n; };
struct num { uint64_t v; unsigned len; };
#define u16(x) ((struct num){ (uint64_t)(x), 2 })
#define u32(x) ((struct num){ (uint64_t)(x), 4 })
#define u64(x) ((struct num){ (uint64_t)(x), 8 })

static struct bytes bytes_of(const struct num *v, size_t count)
{
	struct bytes b = { .n = 0 };

	for (size_t i = 0; i < count; i++)
		for (unsigned k = 0; k < v[i].len; k++)
			b.b[b.n++] = (uint8_t)(v[i].v >> 8 * k);
	return b;
}
#define B(...) bytes_of((const struct num[]){ __VA_ARGS__ }, sizeof((const struct num[]){ __VA_ARGS__ }) / sizeof(struct num))
#define NOTHING ((struct bytes){ .n = 0 })

static inline struct bytes bytes_more(struct bytes a, const void *p, size_t n)
{
	memcpy(a.b + a.n, p, n);
	a.n += n;
	return a;
}

static inline struct bytes text_of(const char *s, size_t n) { return bytes_more(NOTHING, s, n); }

/* ---- rig ----------------------------------------------------------------------------------------------------- */

struct vrig {
	struct fake f;
	struct vuser_server *s;
	char path[64];
	int fd;				/* the client's end, -1: none */
	uint16_t id;
	unsigned fds_before;
	void (*idle)(struct vrig *);	/* after each poll of the server */
};

struct vreply {
	bool there;
	uint16_t id, cmd;
	uint32_t size, flags, error;
	uint8_t p[1 << 17];
	int fd[16];
	unsigned nfds;
};

static unsigned fds_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void pump(struct vrig *r)
{
	for (unsigned i = 0; i < 1000; i++) {
		bool any = vuser_server_poll(r->s);

		if (r->idle)
			r->idle(r);
		if (!any)
			break;
	}
}

static ssize_t send_fds(int sock, const void *p, size_t n, const int *fds, unsigned nfds)
{
	union { char b[CMSG_SPACE(253 * sizeof(int))]; struct cmsghdr a; } ctl = { 0 };
	struct iovec v = { (void *)(uintptr_t)p, n };
	struct msghdr mh = { .msg_iov = &v, .msg_iovlen = 1 };

	if (nfds) {
		struct cmsghdr *c;

		mh.msg_control = ctl.b;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	return sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static struct bytes message(uint16_t id, unsigned cmd, uint32_t flags, const struct bytes *payload)
{
	struct bytes m = B(u16(id), u16(cmd), u32(16 + payload->n), u32(flags), u32(0));

	return bytes_more(m, payload->b, payload->n);
}

static inline void say(struct vrig *r, unsigned cmd, uint32_t flags, struct bytes payload, const int *fds, unsigned nfds)
{
	struct bytes m = message(++r->id, cmd, flags, &payload);

	EXPECT_EQ(send_fds(r->fd, m.b, m.n, fds, nfds), m.n);
}

static bool read_all(int fd, void *p, size_t n, struct vreply *a)
{
	union { char b[CMSG_SPACE(16 * sizeof(int))]; struct cmsghdr a; } ctl;
	size_t at = 0;

	while (at < n) {
		struct iovec v = { (uint8_t *)p + at, n - at };
		struct msghdr mh = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl.b, .msg_controllen = sizeof(ctl.b) };
		ssize_t got = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (got <= 0)
			return false;
		at += (size_t)got;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
			unsigned k = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

			memcpy(a->fd + a->nfds, CMSG_DATA(c), k * sizeof(int));
			a->nfds += k;
		}
	}
	return true;
}

/* One message from the server, if there is one. */
static struct vreply *hear(struct vrig *r)
{
	static struct vreply a;
	uint8_t h[16];

	memset(&a, 0, sizeof(a));
	pump(r);
	if (!read_all(r->fd, h, 16, &a))
		return &a;
	memcpy(&a.id, h, 2);
	memcpy(&a.cmd, h + 2, 2);
	memcpy(&a.size, h + 4, 4);
	memcpy(&a.flags, h + 8, 4);
	memcpy(&a.error, h + 12, 4);
	EXPECT(a.size >= 16 && a.size - 16 <= sizeof(a.p));
	for (size_t at = 0; at < a.size - 16;) { /* a long one may need the server to send on */
		size_t n = MIN((size_t)4096, a.size - 16 - at);

		if (!read_all(r->fd, a.p + at, n, &a)) {
			EXPECT(false);
		}
		at += n;
		pump(r);
	}
	a.there = true;
	return &a;
}

/* A command and its reply, whose frame is checked. */
static inline struct vreply *ask_fds(struct vrig *r, unsigned cmd, struct bytes payload, const int *fds, unsigned nfds)
{
	struct vreply *a;

	say(r, cmd, 0, payload, fds, nfds);
	a = hear(r);
	EXPECT(a->there);
	EXPECT_EQ(a->id, r->id);
	EXPECT_EQ(a->cmd, cmd);
	EXPECT_EQ(a->flags & 0xf, 1);
	if (a->flags & 0x20)
		EXPECT_EQ(a->size, 16);
	return a;
}
#define ask(r, cmd, ...) ask_fds(r, cmd, __VA_ARGS__, NULL, 0)
#define EXPECT_OK(a, payload_len) do { struct vreply *a_ = (a); EXPECT_EQ(a_->error, 0); EXPECT_EQ(a_->flags, 1); \
		EXPECT_EQ(a_->size, 16 + (payload_len)); } while (0)
#define EXPECT_ERR(a, code) do { struct vreply *a_ = (a); EXPECT_EQ(a_->flags, 0x21); EXPECT_EQ(a_->error, code); } while (0)

static inline bool closed(struct vrig *r) /* the server has hung up */
{
	uint8_t b[4096];
	ssize_t n;

	do {
		pump(r);
		n = recv(r->fd, b, sizeof(b), MSG_DONTWAIT);
	} while (n > 0);
	return n == 0 || errno == ECONNRESET;
}

static int vrig_dial(struct vrig *r)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, r->path);
	EXPECT_EQ(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static inline void vrig_hang_up(struct vrig *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	pump(r);
}

static inline void vrig_version(struct vrig *r)
{
	EXPECT_EQ(ask(r, 1, B(u16(0), u16(0)))->error, 0);
	EXPECT(vuser_server_attached(r->s));
}

static void quiet(void *ctx, enum log_level level, const char *line) { (void)ctx; (void)level; (void)line; }

__attribute__((unused)) static void vrig_open(struct vrig *r, struct vuser_server_cfg cfg)
{
	struct err err = { "" };

	memset(r, 0, sizeof(*r));
	log_set(quiet, NULL, LOG_DEBUG);
	EXPECT_EQ(guard_install(), 0); /* cmocka takes SIGBUS for each case */
	r->fds_before = fds_open();
	fake_init(&r->f);
	snprintf(r->path, sizeof(r->path), "/tmp/ferry-vuser-%d", (int)getpid());
	cfg.path = r->path;
	r->s = vuser_server_new(NULL, &r->f.d, &cfg, &err);
	EXPECT_STR(err.text, "");
	EXPECT(r->s != NULL);
	r->fd = vrig_dial(r);
}

static void vrig_close(struct vrig *r)
{
	if (r->fd >= 0)
		close(r->fd);
	pump(r);
	vuser_server_free(r->s);
	EXPECT(access(r->path, F_OK) != 0);
	EXPECT_EQ(r->f.d.gmem.count, 0);
	gmem_fini(&r->f.d.gmem);
	EXPECT_EQ(fds_open(), r->fds_before);
}

/* VRIG_RAW: connected only; VRIG: VERSION done. `static`: the diary is large. */
#define VRIG_RAW(r, ...)                                                         \
	static struct vrig r##_store;                                            \
	struct vrig *r __attribute__((cleanup(vrig_cleanup))) = &r##_store;      \
	vrig_open(r, (struct vuser_server_cfg){ __VA_ARGS__ })
#define VRIG(r, ...) VRIG_RAW(r, __VA_ARGS__); vrig_version(r)

__attribute__((unused)) static void vrig_cleanup(struct vrig **r) { vrig_close(*r); }

/* ---- guest memory -------------------------------------------------------------------------------------------- */

static inline int memory(size_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	EXPECT(fd >= 0);
	EXPECT_EQ(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static inline struct bytes map_msg(uint32_t flags, uint64_t off, uint64_t iova, uint64_t size)
{
	return B(u32(32), u32(flags), u64(off), u64(iova), u64(size));
}
static inline struct bytes unmap_msg(uint32_t flags, uint64_t iova, uint64_t size)
{
	return B(u32(24), u32(flags), u64(iova), u64(size));
}

#endif
