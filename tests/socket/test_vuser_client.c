/* Our vfio-user client: against our server in the same thread, and against a server made of hand-written bytes that means harm. */
#include <pthread.h>

#include "vuser_rig.h"
#include "env/linux/loop.h"
#include "transport/vuser_client.h"
#include "spec/vfio_user.h"

static void idle(void *ctx)
{
	struct vrig *r = ctx;

	vuser_server_poll(r->s);
	if (r->idle)
		r->idle(r);
}

static void client_close(struct vuser_client **c) { vuser_client_close(*c); }

/* A rig whose client is ours. */
#define PAIR(r, c, ...)                                                                              \
	VRIG_RAW(r, __VA_ARGS__);                                                                    \
	struct err c##_err = { "" };                                                                 \
	close(r->fd);                                                                                \
	r->fd = -1;                                                                                  \
	pump(r);                                                                                     \
	struct vuser_client *c __attribute__((cleanup(client_close))) =                              \
		vuser_client_connect(r->path, idle, r, &c##_err);                                    \
	EXPECT_STR(c##_err.text, "")

TEST(client_info)
{
	PAIR(r, c, .map_doorbells = true);
	struct vuser_client_region g;
	uint32_t regions, irqs, flags, count;

	EXPECT(vuser_server_attached(r->s));
	EXPECT_EQ(vuser_client_info(c, &regions, &irqs), 0);
	EXPECT_EQ(regions, 9);
	EXPECT_EQ(irqs, 5);
	EXPECT_EQ(vuser_client_region(c, 0, &g), 0);
	EXPECT_EQ(g.size, 0x4000);
	EXPECT_EQ(g.mmap_off, 0x1000);
	EXPECT_EQ(g.mmap_len, 0x1000);
	EXPECT_EQ(vuser_client_region(c, 1, &g), 0);
	EXPECT_EQ(g.size, 0);
	EXPECT_EQ(vuser_client_region(c, 9, &g), -EINVAL);
	EXPECT_EQ(vuser_client_irq_info(c, 2, &flags, &count), 0);
	EXPECT_EQ(count, FAKE_VECTORS);
}

TEST(client_registers)
{
	PAIR(r, c);
	uint32_t v = 0x12345678, got = 0;
	uint64_t off, len;

	EXPECT_EQ(vuser_client_write(c, 0, 0x24, &v, 4), 0);
	EXPECT_EQ(vuser_client_read(c, 0, 0x24, &got, 4), 0);
	EXPECT_EQ(got, v);
	EXPECT_EQ(vuser_client_read(c, 0, 0x4000, &got, 4), -EINVAL);
	EXPECT_EQ(vuser_client_write_posted(c, 0, 0x1000, &v, 4), 0);
	EXPECT_EQ(vuser_client_read(c, 0, 0x1000, &got, 4), 0); /* behind the posted one */
	EXPECT_EQ(got, v);
	EXPECT_EQ(vuser_client_reset(c), 0);
	EXPECT_EQ(r->f.resets, 1);
	EXPECT(vuser_client_region_map(c, 0, &off, &len) == NULL); /* not shared here */
}

TEST(client_doorbells)
{
	PAIR(r, c, .map_doorbells = true);
	uint64_t off, len;
	volatile uint32_t *p = vuser_client_region_map(c, 0, &off, &len);
	uint32_t seen;

	EXPECT(p != NULL);
	EXPECT_EQ(off, 0x1000);
	p[2] = 17;
	memcpy(&seen, r->f.shared + 8, 4);
	EXPECT_EQ(seen, 17);
	EXPECT(vuser_client_region_map(c, 0, &off, &len) == p);
}

/* More vectors than one message carries descriptors for. */
TEST(client_irqs)
{
	PAIR(r, c);
	int fd[FAKE_VECTORS];
	uint64_t n;

	for (unsigned i = 0; i < FAKE_VECTORS; i++)
		fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	EXPECT_EQ(vuser_client_irq_bind(c, DEV_IRQ_MSIX, 0, fd, FAKE_VECTORS), 0);
	EXPECT(r->f.d.irq(r->f.d.irq_ctx, 19));
	EXPECT_EQ(read(fd[19], &n, 8), 8);
	EXPECT_EQ(vuser_client_irq_unbind(c, DEV_IRQ_MSIX, 19, 1), 0);
	EXPECT(!r->f.d.irq(r->f.d.irq_ctx, 19));
	EXPECT_EQ(vuser_client_irq_disable(c, DEV_IRQ_MSIX), 0);
	EXPECT(!r->f.d.irq(r->f.d.irq_ctx, 0));
	for (unsigned i = 0; i < FAKE_VECTORS; i++)
		close(fd[i]);
}

TEST(client_map_with_fd)
{
	PAIR(r, c);
	int fd = memory(0x4000);
	uint8_t *p = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *q;

	EXPECT_EQ(vuser_client_dma_map(c, 0x10000, 0x2000, p + 0x2000, true, true, fd, 0x2000), 0);
	q = gmem_ptr(&r->f.d.gmem, 0x10004, 4, true);
	q[0] = 3;
	EXPECT_EQ(p[0x2004], 3);
	EXPECT_EQ(vuser_client_dma_unmap(c, 0x10000, 0x1000), -ENOENT);
	EXPECT_EQ(vuser_client_dma_unmap(c, 0x10000, 0x2000), 0);
	EXPECT_EQ(r->f.d.gmem.count, 0);
	munmap(p, 0x4000);
	close(fd);
}

static struct { struct gmem_op op; unsigned done; int rc; } xfer;
static void xfer_done(struct gmem_op *op, int rc) { (void)op; xfer.done++; xfer.rc = rc; }

static void xfer_run(struct vrig *r, struct vuser_client *c, uint64_t iova, void *buf, uint32_t len, bool write)
{
	xfer.done = 0;
	xfer.op = (struct gmem_op){ .iova = iova, .buf = buf, .len = len, .write = write, .done = xfer_done };
	EXPECT_EQ(gmem_submit(&r->f.d.gmem, &xfer.op), 0);
	for (unsigned i = 0; i < 1000 && !xfer.done; i++) {
		EXPECT(vuser_client_poll(c) >= 0);
		pump(r);
	}
	EXPECT_EQ(xfer.done, 1);
}

/* Memory without a descriptor: the device reads and writes it through us, also over the border of two maps. */
TEST(client_message_memory)
{
	PAIR(r, c);
	static uint8_t mem[0x3000], buf[0x1000];

	EXPECT_EQ(vuser_client_dma_map(c, 0x1000, 0x1000, mem, true, true, -1, 0), 0);
	EXPECT_EQ(vuser_client_dma_map(c, 0x2000, 0x1000, mem + 0x1000, true, true, -1, 0), 0);
	EXPECT_EQ(vuser_client_dma_map(c, 0x3000, 0x1000, mem + 0x2000, true, false, -1, 0), 0);
	memset(buf, 0x5a, sizeof(buf));
	xfer_run(r, c, 0x1800, buf, 0x1000, true);
	EXPECT_EQ(xfer.rc, 0);
	EXPECT_EQ(mem[0x7ff], 0);
	EXPECT_EQ(mem[0x800], 0x5a);
	EXPECT_EQ(mem[0x17ff], 0x5a);
	EXPECT_EQ(mem[0x1800], 0);
	mem[0x2010] = 77;
	xfer_run(r, c, 0x3010, buf, 8, false);
	EXPECT_EQ(buf[0], 77);
	EXPECT_EQ(vuser_client_dma_unmap_all(c), 0);
}

/* The server asks while the client waits for an answer of its own: both go on. */
static void idle_submits(struct vrig *r)
{
	static uint8_t buf[8];

	if (xfer.done == 99) {
		xfer.done = 0;
		xfer.op = (struct gmem_op){ .iova = 0x1000, .buf = buf, .len = 8, .done = xfer_done };
		gmem_submit(&r->f.d.gmem, &xfer.op);
	}
}

TEST(client_serves_while_waiting)
{
	PAIR(r, c);
	static uint8_t mem[0x1000];

	EXPECT_EQ(vuser_client_dma_map(c, 0x1000, 0x1000, mem, true, true, -1, 0), 0);
	xfer.done = 99;
	r->idle = idle_submits;
	/* the transfer pins the map, so the unmap's answer can come only after we have served it */
	EXPECT_EQ(vuser_client_write(c, 0, 0x20, mem, 4), 0);
	EXPECT_EQ(vuser_client_dma_unmap(c, 0x1000, 0x1000), 0);
	EXPECT_EQ(xfer.done, 1);
	EXPECT_EQ(xfer.rc, 0);
	r->idle = NULL;
}

/* The server is gone: every call says so, none hangs. */
TEST(client_server_gone)
{
	PAIR(r, c);
	struct vuser_server_cfg cfg = { .path = r->path };
	uint32_t v = 0;

	vuser_server_free(r->s);
	EXPECT_EQ(vuser_client_read(c, 0, 0, &v, 4), -ENODEV);
	EXPECT_EQ(vuser_client_write_posted(c, 0, 0, &v, 4), -ENODEV);
	EXPECT_EQ(vuser_client_poll(c), -ENODEV);
	r->s = vuser_server_new(NULL, &r->f.d, &cfg, NULL);
	EXPECT(r->s != NULL);
}

TEST(client_nobody_there)
{
	struct err err = { "" };

	EXPECT(vuser_client_connect("/tmp/ferry-nobody-is-here", NULL, NULL, &err) == NULL);
	EXPECT(strstr(err.text, "/tmp/ferry-nobody-is-here") != NULL);
}

/* With the real event loop, and the server woken by nothing but its sockets. */
struct looped { struct loop *l; struct vrig *r; };
static void idle_loop(void *ctx)
{
	struct looped *x = ctx;

	loop_wait(x->l, vuser_server_deadline(x->r->s));
	while (vuser_server_poll(x->r->s))
		;
}

TEST(client_on_event_loop)
{
	VRIG_RAW(r);
	struct vuser_server_cfg cfg = { .path = r->path };
	struct err err = { "" };
	struct looped x = { loop_new(&err), r };
	struct vuser_client *c;
	static uint8_t cfgspace[4096];

	close(r->fd);
	r->fd = -1;
	vuser_server_free(r->s);
	r->s = vuser_server_new(x.l, &r->f.d, &cfg, &err);
	EXPECT_STR(err.text, "");
	for (unsigned i = 0; i < 3; i++) {
		c = vuser_client_connect(r->path, idle_loop, &x, &err);
		EXPECT_STR(err.text, "");
		EXPECT_EQ(vuser_client_read(c, 7, 0, cfgspace, 4096), 0);
		EXPECT_MEM(cfgspace, r->f.cfg, 4096);
		EXPECT_EQ(vuser_client_reset(c), 0);
		vuser_client_close(c);
	}
	vuser_server_free(r->s);
	loop_free(x.l);
	r->s = vuser_server_new(NULL, &r->f.d, &cfg, &err);
}

/* Server and client as in life: each on its own, the client sleeps in its calls, and the device's transfer by message wakes it. */
struct served { struct loop *l; struct vrig *r; int stop; bool submit; };
static void *serve_thread(void *ctx)
{
	struct served *x = ctx;
	uint64_t n;

	while (read(x->stop, &n, sizeof(n)) != sizeof(n)) {
		bool busy = vuser_server_poll(x->r->s);

		if (x->submit && x->r->f.writes && x->r->f.d.gmem.count) {
			static uint8_t buf[8] = "device";

			x->submit = false;
			xfer.op = (struct gmem_op){ .iova = 0x1000, .buf = buf, .len = 8, .write = true, .done = xfer_done };
			gmem_submit(&x->r->f.d.gmem, &xfer.op);
		}
		if (!busy)
			loop_wait(x->l, vuser_server_deadline(x->r->s));
	}
	return NULL;
}

TEST(client_and_server_apart)
{
	VRIG_RAW(r);
	struct vuser_server_cfg cfg = { .path = r->path };
	struct err err = { "" };
	struct served x = { loop_new(&err), r, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), true };
	static uint8_t mem[0x1000];
	struct vuser_client *c;
	uint64_t one = 1;
	pthread_t t;

	close(r->fd);
	r->fd = -1;
	vuser_server_free(r->s);
	r->s = vuser_server_new(x.l, &r->f.d, &cfg, &err);
	loop_watch(x.l, x.stop, false);
	xfer.done = 0;
	memset(mem, 0, sizeof(mem));
	EXPECT_EQ(pthread_create(&t, NULL, serve_thread, &x), 0);
	c = vuser_client_connect(r->path, NULL, NULL, &err);
	EXPECT_STR(err.text, "");
	EXPECT_EQ(vuser_client_dma_map(c, 0x1000, 0x1000, mem, true, true, -1, 0), 0);
	EXPECT_EQ(vuser_client_write(c, 0, 0x20, &one, 4), 0);
	EXPECT_EQ(vuser_client_dma_unmap(c, 0x1000, 0x1000), 0); /* answered behind the transfer */
	EXPECT_STR((char *)mem, "device");
	vuser_client_close(c);
	EXPECT_EQ(write(x.stop, &one, 8), 8);
	pthread_join(t, NULL);
	EXPECT_EQ(xfer.done, 1);
	vuser_server_free(r->s);
	close(x.stop);
	loop_free(x.l);
	r->s = vuser_server_new(NULL, &r->f.d, &cfg, &err);
}

/* ---- a server that means harm --------------------------------------------------------------------------------- */

struct evil { int fd; struct bytes script[8]; unsigned n, at; };

static void evil_idle(void *ctx) /* answers each request with the next line of its script, with the request's id */
{
	struct evil *e = ctx;
	uint8_t b[8192];
	ssize_t n = recv(e->fd, b, sizeof(b), MSG_DONTWAIT);

	if (n < 16)
		return;
	if (e->at < e->n) {
		struct bytes *s = &e->script[e->at++];

		if (s->b[0] == 0xff)
			memcpy(s->b, b, 2);
		(void)!send(e->fd, s->b, s->n, MSG_NOSIGNAL);
	} else {
		shutdown(e->fd, SHUT_RDWR);
	}
}

static struct bytes evil_reply(unsigned cmd, uint32_t flags, uint32_t error, struct bytes p)
{
	struct bytes m = B(u16(0xff), u16(cmd), u32(16 + p.n), u32(flags), u32(error));

	return bytes_more(m, p.b, p.n);
}

static int evil_run(struct bytes second, int (*call)(struct vuser_client *))
{
	struct evil e = { .n = 2 };
	struct vuser_client *c;
	struct err err = { "" };
	int p[2], rc;

	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
	e.fd = p[1];
	e.script[0] = evil_reply(1, 1, 0, B(u16(0), u16(0)));
	e.script[1] = second;
	c = vuser_client_adopt(p[0], evil_idle, &e, &err);
	EXPECT_STR(err.text, "");
	vuser_client_set_timeout(c, 20);
	rc = call(c);
	vuser_client_close(c);
	close(p[1]);
	return rc;
}

static int call_read(struct vuser_client *c)
{
	uint32_t v;

	return vuser_client_read(c, 0, 0, &v, 4);
}
static int call_region(struct vuser_client *c)
{
	struct vuser_client_region g;

	return vuser_client_region(c, 0, &g);
}
static int call_map(struct vuser_client *c)
{
	uint64_t off, len;

	return vuser_client_region_map(c, 0, &off, &len) ? 1 : 0;
}

TEST(client_evil_server)
{
	struct bytes region = B(u32(64), u32(0xf), u32(0), u32(0xffffffff), u64(0x4000), u64(0));
	struct bytes loops = B(u32(64), u32(0xf), u32(0), u32(32), u64(0x4000), u64(0), u16(9), u16(1), u32(32), u64(0));
	struct bytes area = B(u32(64), u32(0xf), u32(0), u32(32), u64(0x4000), u64(0), u16(1), u16(1), u32(0), u32(0xffffffff), u32(0));

	EXPECT_EQ(evil_run(evil_reply(9, 1, 0, NOTHING), call_read), -EPROTO);
	EXPECT_EQ(evil_run(evil_reply(9, 1, 0, B(u64(0), u64(0))), call_read), -EPROTO);
	EXPECT_EQ(evil_run(evil_reply(9, 0x21, 0, NOTHING), call_read), -EIO);
	EXPECT_EQ(evil_run(evil_reply(9, 0x21, ENXIO, NOTHING), call_read), -ENXIO);
	EXPECT_EQ(evil_run(evil_reply(10, 1, 0, B(u64(0), u64(0), u32(0))), call_read), -ENODEV); /* never answers this one */
	EXPECT_EQ(evil_run(B(u64(0), u64(0)), call_read), -ENODEV);
	EXPECT_EQ(evil_run(evil_reply(5, 1, 0, region), call_region), 0);
	EXPECT_EQ(evil_run(evil_reply(5, 1, 0, loops), call_region), 0);
	EXPECT_EQ(evil_run(evil_reply(5, 1, 0, area), call_region), 0);
	EXPECT_EQ(evil_run(evil_reply(5, 1, 0, area), call_map), 0);
}

/* What the server asks of our memory is judged: outside, too long, read-only, nonsense. */
TEST(client_refuses_requests)
{
	static const struct { unsigned cmd; uint64_t addr, count; size_t data; uint32_t error; } bad[] = {
		{ 11, 0, 8, 0, EFAULT }, { 11, 0x1fff, 2, 0, EFAULT }, { 11, 0x1000, 0, 0, EINVAL }, { 11, 0x1000, 1ull << 40, 0, EINVAL },
		{ 11, UINT64_MAX, 8, 0, EFAULT }, { 12, 0x1000, 8, 8, EFAULT }, { 12, 0x1000, 8, 4, EINVAL }, { 4, 0, 0, 0, ENOSYS },
	};
	PAIR(r, c);
	static uint8_t mem[0x1000];
	struct evil e = { .n = 1 };
	int p[2];
	struct err err;
	struct vuser_client *k;

	(void)c;
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
	e.fd = p[1];
	e.n = 2;
	e.script[0] = evil_reply(1, 1, 0, B(u16(0), u16(0)));
	e.script[1] = evil_reply(2, 1, 0, NOTHING);
	k = vuser_client_adopt(p[0], evil_idle, &e, &err);
	EXPECT_EQ(vuser_client_dma_map(k, 0x1000, 0x1000, mem, true, false, -1, 0), 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct bytes b = B(u64(bad[i].addr), u64(bad[i].count)), m;
		uint8_t h[64];
		uint32_t error;

		b.n += bad[i].data;
		m = message(5, bad[i].cmd, 0, &b);
		EXPECT_EQ(send(p[1], m.b, m.n, 0), m.n);
		EXPECT(vuser_client_poll(k) >= 0);
		EXPECT_EQ(recv(p[1], h, sizeof(h), MSG_DONTWAIT), 16);
		memcpy(&error, h + 12, 4);
		EXPECT_EQ(error, bad[i].error);
	}
	vuser_client_close(k);
	close(p[1]);
}
