/* The driver against controllers that lie, hang or vanish (fake_nvme.h). It may lose its commands, never its mind. */
#include "t.h"

#include "fake_nvme.h"
#include "host/hmlm.h"
#include "host/hnvme_in.h"

struct bench { struct env env; uint64_t now; struct fake f; struct hnvme *h; struct err err; };

static uint64_t bench_now(struct env *e) { return CONTAINER_OF(e, struct bench, env)->now += 1000; }
static const struct env_ops bench_env = { .now_ns = bench_now };

static void bench_open(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	b->env.ops = &bench_env;
	b->now = NS_PER_S;
	fake_open(&b->f, 1 << 20);
	b->h = hnvme_new(&(struct hnvme_cfg){ .env = &b->env, .port = &b->f.port, .io_queues = 2, .queue_size = 16, .mem_fd = -1,
					      .timeout_ns = NS_PER_S }, &b->err);
}

static void bench_close(struct bench *b)
{
	hnvme_free(b->h);
	free(b->f.disk);
}

#define BENCH(b) struct bench b __attribute__((cleanup(bench_close))); bench_open(&b)

static int start(struct bench *b)
{
	int rc = -EAGAIN;

	for (int i = 0; i < 10000 && rc == -EAGAIN; i++) {
		b->now += NS_PER_MS;
		rc = hnvme_start(b->h, &b->err);
		fake_poll(&b->f, 10);
		hnvme_poll(b->h);
	}
	return rc;
}

struct answer { unsigned calls; int rc; };
static void answered(struct hnvme_cmd *c, int rc, const struct nvme_cqe *cqe)
{
	struct answer *a = c->ctx;

	(void)cqe;
	a->calls++;
	a->rc = rc;
}

static void turns(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		fake_poll(&b->f, 10);
		hnvme_poll(b->h);
	}
}

TEST(starts)
{
	BENCH(b);

	EXPECT_EQ(start(&b), 0);
	EXPECT_EQ(hnvme_io_queues(b.h), 2);
	EXPECT_EQ(b.f.aers, 4);
	EXPECT_EQ(start(&b), 0); /* again: harmless */
}

TEST(gets_fewer_queues)
{
	BENCH(b);

	b.f.max_queues = 1;
	EXPECT_EQ(start(&b), 0);
	EXPECT_EQ(hnvme_io_queues(b.h), 1);
}

/* A driver that waits for ever for CSTS.RDY would hang a server at its start. */
TEST(never_ready)
{
	BENCH(b);

	b.f.never_ready = true;
	EXPECT_EQ(start(&b), -ETIMEDOUT);
	EXPECT(b.err.text[0]);
}

TEST(fatal_while_starting)
{
	BENCH(b);

	b.f.fatal = true;
	EXPECT_EQ(start(&b), -EIO);
}

TEST(vanishes)
{
	BENCH(b);
	struct answer a = { 0 };
	struct hnvme_cmd c = { .sqe.opc = NVME_NVM_FLUSH, .done = answered, .ctx = &a };

	EXPECT_EQ(start(&b), 0);
	b.f.gone = true;
	EXPECT_EQ(hnvme_submit(b.h, 1, &c), -ENODEV);
	EXPECT_EQ(a.calls, 0); /* told by the return value, so not told again */
	EXPECT_EQ(hnvme_submit(b.h, 1, &c), -ENODEV);
}

/* An overdue command: -ETIMEDOUT once, everything else out -ENODEV once, nothing afterwards. */
TEST(hangs)
{
	BENCH(b);
	struct answer a[3] = { 0 };
	struct hnvme_cmd c[3];

	EXPECT_EQ(start(&b), 0);
	b.f.mute = true;
	for (int i = 0; i < 3; i++) {
		c[i] = (struct hnvme_cmd){ .sqe.opc = NVME_NVM_FLUSH, .done = answered, .ctx = &a[i] };
		EXPECT_EQ(hnvme_submit(b.h, 1, &c[i]), 0);
	}
	turns(&b, 10);
	EXPECT_EQ(a[0].calls, 0);
	b.now += 2 * NS_PER_S;
	turns(&b, 10);
	EXPECT(a[0].calls == 1 && a[0].rc == -ETIMEDOUT);
	EXPECT(a[1].calls == 1 && a[1].rc == -ENODEV);
	EXPECT(a[2].calls == 1 && a[2].rc == -ENODEV);
	EXPECT_EQ(hnvme_submit(b.h, 1, &c[0]), -ENODEV);
}

TEST(strange_completions)
{
	BENCH(b);
	struct answer a = { 0 };
	struct hnvme_cmd c = { .sqe.opc = NVME_NVM_FLUSH, .done = answered, .ctx = &a };

	EXPECT_EQ(start(&b), 0);
	b.f.flood = 7;
	EXPECT_EQ(hnvme_submit(b.h, 1, &c), 0);
	turns(&b, 10);
	EXPECT(a.calls == 1 && a.rc == 0);
	EXPECT_EQ(b.h->strays, 7);
}

/* The queue is full at size - 1; -EAGAIN and nothing happened. */
TEST(full)
{
	BENCH(b);
	struct answer a = { 0 };
	struct hnvme_cmd c[16];
	int i;

	EXPECT_EQ(start(&b), 0);
	for (i = 0; i < 16; i++) {
		c[i] = (struct hnvme_cmd){ .sqe.opc = NVME_NVM_FLUSH, .done = answered, .ctx = &a };
		if (hnvme_submit(b.h, 1, &c[i]))
			break;
	}
	EXPECT_EQ(i, 15);
	turns(&b, 20);
	EXPECT_EQ(a.calls, 15);
	EXPECT_EQ(hnvme_submit(b.h, 1, &c[15]), 0);
	turns(&b, 20);
	EXPECT_EQ(a.calls, 16);
}

TEST(data_outside_the_arena)
{
	BENCH(b);
	static uint8_t elsewhere[4096];
	struct answer a = { 0 };
	struct hnvme_cmd c = { .sqe.opc = NVME_NVM_READ, .data = elsewhere, .len = 4096, .done = answered, .ctx = &a };
	uint8_t *in = hnvme_mem(b.h, 4096);

	EXPECT_EQ(start(&b), 0);
	EXPECT_EQ(hnvme_submit(b.h, 1, &c), -EINVAL);
	c.data = in;
	c.len = UINT32_MAX;
	EXPECT_EQ(hnvme_submit(b.h, 1, &c), -EINVAL);
	c.len = 4096;
	EXPECT_EQ(hnvme_submit(b.h, 9, &c), -EINVAL); /* no such queue */
	EXPECT_EQ(hnvme_submit(b.h, 1, &c), 0);
}

static unsigned events;
static uint32_t last_dw0;
static void on_event(void *ctx, uint32_t dw0, uint32_t dw1)
{
	(void)ctx, (void)dw1;
	events++;
	last_dw0 = dw0;
}

/* Base 5.1.2: each event takes one request; the driver puts another one in its place. */
TEST(events)
{
	BENCH(b);

	hnvme_on_event(b.h, on_event, NULL);
	EXPECT_EQ(start(&b), 0);
	events = 0;
	for (int i = 0; i < 20; i++) {
		fake_post(&b.f, 0, b.f.aer[--b.f.aers], 0x104, 0);
		turns(&b, 3);
	}
	EXPECT_EQ(events, 20);
	EXPECT_EQ(last_dw0, 0x104);
	EXPECT_EQ(b.f.aers, 4);
}

TEST(arena)
{
	BENCH(b);
	uint8_t *p[5000];
	unsigned n = 0;

	while (n < 5000 && (p[n] = hnvme_mem(b.h, 4096)))
		n++;
	EXPECT_EQ(n, 4096);
	hnvme_mem_free(b.h, p[10], 4096);
	hnvme_mem_free(b.h, p[12], 4096);
	EXPECT(!hnvme_mem(b.h, 8192));	/* two holes are not one */
	hnvme_mem_free(b.h, p[11], 4096);
	EXPECT(hnvme_mem(b.h, 3 * 4096) == p[10]);
}

/* Given up, reset, started again: all queues from the beginning, and only when whoever had something in the controller has let go. */
TEST(comes_back)
{
	BENCH(b);
	struct answer a = { 0 };
	struct hnvme_cmd c = { .sqe.opc = NVME_NVM_FLUSH, .done = answered, .ctx = &a };

	b.h->cfg.revive = true;
	EXPECT_EQ(start(&b), 0);
	for (unsigned i = 1; i <= 3; i++) {
		a = (struct answer){ 0 };
		hnvme_hold(b.h);
		b.f.mute = true;
		EXPECT_EQ(hnvme_submit(b.h, 1, &c), 0);
		b.now += 2 * NS_PER_S;
		turns(&b, 10);
		EXPECT(a.calls == 1 && a.rc == -ETIMEDOUT);
		b.f.mute = false;
		b.now += 10 * NS_PER_S;
		turns(&b, 100);
		EXPECT(!hnvme_ready(b.h));		/* somebody still holds it */
		hnvme_release(b.h);
		b.f.never_ready = true;			/* it does not come back at once */
		b.now += 2 * NS_PER_S;
		turns(&b, 10);
		b.now += 2 * NS_PER_S;
		turns(&b, 10);
		EXPECT(!hnvme_ready(b.h));
		EXPECT_EQ(hnvme_submit(b.h, 1, &c), -ENODEV);
		EXPECT_EQ(hnvme_submit(b.h, 0, &c), -ENODEV);
		b.f.never_ready = false;
		b.now += 2 * NS_PER_S;
		turns(&b, 200);
		EXPECT(hnvme_ready(b.h));
		EXPECT_EQ(hnvme_io_queues(b.h), 2);
		EXPECT_EQ(b.f.aers, 4);
		for (unsigned n = 1; n <= 40; n++) {	/* round the rings */
			a = (struct answer){ 0 };
			EXPECT_EQ(hnvme_submit(b.h, 1 + n % 2, &c), 0);
			turns(&b, 5);
			EXPECT(a.calls == 1 && a.rc == 0);
		}
	}
}
