/* The guest and the driver on our own device, over the loop port: long, clean, and damage behind its back is seen. */
#include "rig.h"

#include "host/hmlm.h"
#include "host/hnvme.h"
#include "host/port_loop.h"
#include "vm/embedded/guest_in.h"

enum { MEM = 24 << 20, BLOCKS = 65536 /* of 512: 32 MiB */ };

struct bench {
	struct rig r;
	struct devloop loop;
	struct guest_host h;
	struct err err;
};

static void pump(void *ctx) { rig_poll(&((struct bench *)ctx)->r); }

/* The rig maps memory of its own for each controller; ours comes beside it, at IOVA 0. */
static void bench_open(struct bench *b, const struct rig_cfg *rc, struct guest_cfg cfg)
{
	memset(b, 0, sizeof(*b));
	rig_open(&b->r, rc);
	b->loop.dev = nvme_ctrl_device(b->r.mc);
	b->h = (struct guest_host){ .mem = aligned_alloc(4096, MEM), .bytes = MEM, .fd = -1, .env = &b->r.env };
	memset(b->h.mem, 0, MEM);
	b->h.port = port_loop_new(&b->loop, pump, b, &b->err);
	cfg.area_off = 4 * MIB;
	cfg.area_bytes = 24 * MIB;
	cfg.protect_bytes = 4 * MIB;
	cfg.area_zeroed = 1;
	EXPECT_EQ(guest_init(&b->h, &cfg, &b->err), 0);
	EXPECT_EQ(guest_attach(&b->h, &b->err), 0);
}

static void bench_close(struct bench *b)
{
	nvme_ctrl_set_online(b->r.mc, false);
	rig_settle(&b->r);
	b->h.port->ops->dma_unmap(b->h.port, 0, MEM);
	b->h.port->ops->close(b->h.port);
	rig_close(&b->r);
	free(b->h.mem);
}

#define BENCH(b, rigcfg, ...) \
	struct bench b __attribute__((cleanup(bench_close))); \
	bench_open(&b, &rigcfg, (struct guest_cfg){ __VA_ARGS__ })

static const struct rig_cfg plain = { .disabled = true, .blocks = BLOCKS };
static const struct rig_cfg big_blocks = { .disabled = true, .blocks = BLOCKS / 8, .block_bytes = 4096 };

static uint64_t total(const struct guest_stats *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < GUEST_OP_COUNT; i++)
		n += s->done[i];
	return n;
}

static void turn(struct bench *b)
{
	b->r.now += 2000;
	guest_poll(&b->h, 8);
	rig_poll(&b->r);
}

static void run_until(struct bench *b, uint64_t ops)
{
	const struct guest_stats *s = guest_stats(&b->h);

	for (uint64_t i = 0; i < 100000 + 4 * ops && total(s) < ops && s->state < GUEST_LOST; i++)
		turn(b);
	if (s->state >= GUEST_LOST)
		print_message("guest: %s\n", s->why);
	EXPECT(total(s) >= ops);
}

static void verify(struct bench *b)
{
	guest_set_mode(&b->h, GUEST_VERIFY);
	for (int i = 0; i < 200000 && guest_stats(&b->h)->mode != GUEST_IDLE; i++)
		turn(b);
	EXPECT_EQ(guest_stats(&b->h)->mode, GUEST_IDLE);
}

static void expect_clean(struct bench *b)
{
	const struct guest_stats *s = guest_stats(&b->h);

	for (unsigned i = 0; i < GUEST_BAD_COUNT; i++)
		if (s->bad[i])
			print_message("%s: %llu; first: %s, block %u sector %u, a %llx b %llx found %llx\n", guest_violation_name(i),
				      (unsigned long long)s->bad[i], guest_op_name(s->detail[0].op), s->detail[0].block, s->detail[0].sector,
				      (unsigned long long)s->detail[0].a, (unsigned long long)s->detail[0].b, (unsigned long long)s->detail[0].found);
	EXPECT_EQ(guest_violations(s), 0);
	for (unsigned i = 0; i < GUEST_OP_COUNT; i++)
		if (s->errors[i])
			print_message("%s failed %llu times, last with %s\n", guest_op_name(i), (unsigned long long)s->errors[i],
				      nvme_status_name(s->last_status));
}

/* Design rule 2, with nothing moving: 10^5 operations of every kind, everything read back. */
TEST(long_and_clean)
{
	BENCH(b, plain, .queues = 4, .depth = 48);

	run_until(&b, 100000);
	verify(&b);
	expect_clean(&b);
	for (unsigned i = 0; i < GUEST_OP_COUNT; i++) {
		EXPECT(guest_stats(&b.h)->done[i] > 100);
		EXPECT_EQ(guest_stats(&b.h)->errors[i], 0);
	}
}

TEST(long_and_clean_4k)
{
	BENCH(b, big_blocks, .queues = 2, .seed = 3);

	run_until(&b, 20000);
	verify(&b);
	expect_clean(&b);
}

/* The memory is taken away in the middle of its queues and goes on elsewhere, as at the end of a move. */
TEST(frozen_and_thawed)
{
	BENCH(b, plain, .depth = 64);

	for (unsigned i = 1; i <= 10; i++) {
		uint8_t *other = aligned_alloc(4096, MEM);

		run_until(&b, 1000 * i);
		guest_poll(&b.h, 16);	/* commands in the rings, not fetched yet */
		EXPECT(guest_stats(&b.h)->out > 0);
		while (b.h.port->ops->dma_unmap(b.h.port, 0, MEM))
			;
		memcpy(other, b.h.mem, MEM);
		memset(b.h.mem, 0xee, MEM);
		free(b.h.mem);
		b.h.mem = other;
		EXPECT_EQ(guest_attach(&b.h, &b.err), 0);
	}
	verify(&b);
	expect_clean(&b);
}

/* One byte changed on the medium behind everybody's back. */
TEST(damage_is_reported)
{
	BENCH(b, plain, .queues = 2);
	struct blk *disk = nvme_ns_blk(nvme_ns_find(b.r.ss, 1));
	uint8_t sector[512];
	struct iovec v = { sector, sizeof(sector) };
	struct blk_io io = { .op = BLK_READ, .nlb = 1, .iov = &v, .iovcnt = 1 };
	uint32_t block;

	run_until(&b, 5000);
	guest_set_mode(&b.h, GUEST_IDLE);
	for (int i = 0; i < 1000; i++)
		turn(&b);
	for (block = 0; !hist_certain(&guest_hist(&b.h)[block]) || !guest_hist(&b.h)[block].a; block++)
		;
	io.lba = guest_lba(guest_of(&b.h), block) + 3;
	EXPECT_EQ(blk_submit(disk, &io), BLK_DONE);
	sector[77] ^= 1;
	io.op = BLK_WRITE;
	EXPECT_EQ(blk_submit(disk, &io), BLK_DONE);
	verify(&b);
	EXPECT_EQ(guest_stats(&b.h)->bad[GUEST_BAD_INVENTED], 1);
	EXPECT_EQ(guest_stats(&b.h)->detail[0].lba, io.lba - 3);
	EXPECT_EQ(guest_stats(&b.h)->detail[0].sector, 3);
}

/* ---- the driver for programs, on the MMC */

struct answer { bool done; int rc; struct nvme_cqe cqe; };

static void answered(struct hnvme_cmd *c, int rc, const struct nvme_cqe *cqe)
{
	struct answer *a = c->ctx;

	a->done = true;
	a->rc = rc;
	if (!rc)
		a->cqe = *cqe;
}

static struct answer ask(struct rig *r, struct hnvme *h, unsigned qid, struct nvme_sqe s, void *data, uint32_t len)
{
	struct answer a = { 0 };
	struct hnvme_cmd c = { .sqe = s, .data = data, .len = len, .done = answered, .ctx = &a };

	EXPECT_EQ(hnvme_submit(h, qid, &c), 0);
	for (int i = 0; i < 100000 && !a.done; i++) {
		r->now += 1000;
		rig_poll(r);
		hnvme_poll(h);
	}
	EXPECT(a.done);
	return a;
}

static void pump_rig(void *ctx) { rig_poll(ctx); }

TEST(driver_on_the_mmc)
{
	RIG(r, .disabled = true);
	struct devloop loop = { .dev = nvme_ctrl_device(r.mmc) };
	struct port *p = port_loop_new(&loop, pump_rig, &r, &r.err);
	struct hnvme *h = hnvme_new(&(struct hnvme_cfg){ .env = &r.env, .port = p, .io_queues = 2, .mem_fd = -1 }, &r.err);
	uint8_t *buf = hnvme_mem(h, 128 * 1024), *back = hnvme_mem(h, 128 * 1024);
	struct nvme_sqe s;
	struct answer a;
	int rc = -EAGAIN;

	for (int i = 0; i < 100000 && rc == -EAGAIN; i++) {
		r.now += 1000;
		rc = hnvme_start(h, &r.err);
		rig_poll(&r);
		hnvme_poll(h);
	}
	if (rc)
		print_message("%s\n", r.err.text);
	EXPECT_EQ(rc, 0);
	EXPECT_EQ(hnvme_io_queues(h), 2);
	EXPECT_EQ(hnvme_max_transfer(h), 128 * 1024);
	for (int i = 0; i < 128 * 1024; i++)
		buf[i] = (uint8_t)(i * 7 + (i >> 12));
	hmlm_rw(&s, NVME_NVM_WRITE, 1, 16, 256);	/* 128 KiB: a PRP list */
	a = ask(&r, h, 1, s, buf, 128 * 1024);
	EXPECT(!a.rc && !nvme_cqe_status(&a.cqe));
	hmlm_rw(&s, NVME_NVM_READ, 1, 16, 256);
	a = ask(&r, h, 2, s, back, 128 * 1024);
	EXPECT(!a.rc && !nvme_cqe_status(&a.cqe));
	EXPECT_MEM(buf, back, 128 * 1024);
	hmlm_rw(&s, NVME_NVM_READ, 1, 1ull << 60, 8);
	a = ask(&r, h, 1, s, back, 4096);
	EXPECT_EQ(nvme_cqe_status(&a.cqe), NVME_LBA_OUT_OF_RANGE);
	/* the migration commands meet their device */
	hmlm_suspend(&s, 2, NVME_STYPE_NOTIFY, false);
	a = ask(&r, h, 0, s, NULL, 0);
	EXPECT_EQ(nvme_cqe_status(&a.cqe), 0);
	hmlm_resume(&s, 2);
	a = ask(&r, h, 0, s, NULL, 0);
	EXPECT_EQ(nvme_cqe_status(&a.cqe), NVME_CTRL_NOT_SUSPENDED);
	hnvme_free(h);
	p->ops->close(p);
}
