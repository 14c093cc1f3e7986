/* Rate limiting, FID 28h: the layout, what is refused, and that the buckets give what was asked over time. */
#include "hmlm.h"

static struct nvme_cqe rate(struct rig *r, uint32_t cdw11, const uint8_t *cfg)
{
	uint8_t *b = rig_alloc(r, r->mmc, 1024);

	memcpy(b, cfg, 1024);
	return rig_admin_data(r, r->mmc, hm_cmd(0x09, 0x28, cdw11, 0, 0, 0), b, 1024);
}
/* The data structure by hand: RLE, scale 1 MiB/s, bandwidths in it, IOPS, all ratios 1. */
static void fill(uint8_t *c, uint64_t tbw, uint64_t wbw, uint32_t tio, uint32_t wio)
{
	memset(c, 0, 1024);
	c[1] = 0x80;
	memcpy(c + 8, &tbw, 8);
	memcpy(c + 16, &wbw, 8);
	memcpy(c + 24, &tio, 4);
	memcpy(c + 28, &wio, 4);
	c[32] = c[33] = c[34] = c[35] = 1;
}

TEST(hmlm_rate_set_get)
{
	RIG(r);
	uint8_t c[1024], *b = rig_alloc(&r, r.mmc, 1024);

	fill(c, 7, 3, 1000, 500);
	EXPECT_STATUS(rate(&r, 2, c), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x0a, 0x28, 2, 0, 0, 0), b, 1024), NVME_SUCCESS);
	EXPECT_MEM(b, c, 512);
	EXPECT_EQ(b[512], 0);
}

TEST(hmlm_rate_refusals)
{
	RIG(r);
	uint8_t c[1024];

	fill(c, 7, 3, 0, 0);
	EXPECT_STATUS(rate(&r, 1, c), NVME_INVALID_CNTLID);		/* the MMC */
	EXPECT_STATUS(rate(&r, 77, c), NVME_INVALID_CNTLID);
	EXPECT_STATUS(rate(&r, 0xfffd, c), NVME_INVALID_FIELD);
	EXPECT_STATUS(rate(&r, 0xffff, c), NVME_INVALID_FIELD);
	EXPECT_STATUS(rate(&r, 0x00010002, c), NVME_INVALID_FIELD);	/* TGT */
	c[0] = 1;							/* soft */
	EXPECT_STATUS(rate(&r, 2, c), NVME_INVALID_FIELD);
	c[0] = 0;
	c[7] = 6;							/* scale */
	EXPECT_STATUS(rate(&r, 2, c), NVME_INVALID_FIELD);
	c[7] = 0;
	c[34] = 0;							/* ratio */
	EXPECT_STATUS(rate(&r, 2, c), NVME_INVALID_FIELD);
	EXPECT(!(le16_get(r.mc->rate.cfg.rlc)));
}

/* The wall: not on a guest's controller, or a guest could lift its own limit. */
TEST(hmlm_rate_not_on_mc)
{
	RIG(r);
	uint8_t *b = rig_alloc(&r, r.mc, 1024);

	EXPECT_STATUS(rig_admin_data(&r, r.mc, hm_cmd(0x09, 0x28, 2, 0, 0, 0), b, 1024), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_admin_data(&r, r.mc, hm_cmd(0x0a, 0x28, 2, 0, 0, 0), b, 1024), NVME_INVALID_FIELD);
}

/* Keeps `depth` commands of 128 KiB going for `ms` of the rig's clock; how many completed. */
static unsigned run(struct rig *r, unsigned opc, unsigned nlb, unsigned ms)
{
	uint8_t *data = rig_alloc(r, r->mc, 128 * 1024);
	struct nvme_sqe s = rig_rw(opc, 1, 0, nlb);
	struct nvme_cqe c;
	unsigned done = 0, out = 0;

	rig_data(r, r->mc, &s, data, nlb * 512);
	for (unsigned i = 0; i < ms; i++) {
		for (; out < 8; out++)
			rig_submit(r, r->mc, 1, s);
		rig_settle(r);
		while (rig_reap(r, r->mc, 1, &c)) {
			EXPECT_STATUS(c, NVME_SUCCESS);
			done++;
			out--;
		}
		r->now += NS_PER_MS;
	}
	return done;
}

/* 16 MiB/s of writes for a second are 128 times 128 KiB, and the burst at the start; none fails. */
TEST(hmlm_rate_write_bandwidth)
{
	RIG(r, .queues = 1);
	uint8_t c[1024];
	unsigned n;

	fill(c, 0, 16, 0, 0);
	EXPECT_STATUS(rate(&r, 2, c), NVME_SUCCESS);
	n = run(&r, NVME_NVM_WRITE, 256, 1000);
	EXPECT(n >= 127 && n <= 131);
}

/* Reads are not slowed by a write limit. */
TEST(hmlm_rate_reads_are_free)
{
	RIG(r, .queues = 1);
	uint8_t c[1024];

	fill(c, 0, 1, 0, 1);
	EXPECT_STATUS(rate(&r, 2, c), NVME_SUCCESS);
	EXPECT_EQ(run(&r, NVME_NVM_READ, 8, 50), 400);
}

TEST(hmlm_rate_iops)
{
	RIG(r, .queues = 1);
	uint8_t c[1024];
	unsigned n;

	fill(c, 0, 0, 200, 0);
	EXPECT_STATUS(rate(&r, 2, c), NVME_SUCCESS);
	n = run(&r, NVME_NVM_READ, 1, 1000);
	EXPECT(n >= 199 && n <= 204);
}

/* A write costs its ratio of the total: 4 to 1, so 200 a second are 50 writes. */
TEST(hmlm_rate_ratio)
{
	RIG(r, .queues = 1);
	uint8_t c[1024];
	unsigned n;

	fill(c, 0, 0, 200, 0);
	c[33] = 4;
	EXPECT_STATUS(rate(&r, 2, c), NVME_SUCCESS);
	n = run(&r, NVME_NVM_WRITE, 1, 1000);
	EXPECT(n >= 49 && n <= 53);
}

/* Lifting it lets what waits go at once; the deadline tells when the next may go. */
TEST(hmlm_rate_deadline_and_off)
{
	RIG(r, .queues = 1);
	uint8_t c[1024];
	struct nvme_cqe e;

	fill(c, 0, 1, 0, 0);		/* 1 MiB/s: 128 KiB each 125 ms */
	EXPECT_STATUS(rate(&r, 2, c), NVME_SUCCESS);
	run(&r, NVME_NVM_WRITE, 256, 1);
	EXPECT(nvme_rate_deadline(r.mc) > r.now);
	EXPECT(nvme_rate_deadline(r.mc) <= r.now + 126 * NS_PER_MS);
	r.now = nvme_rate_deadline(r.mc);
	rig_settle(&r);
	EXPECT(rig_reap(&r, r.mc, 1, &e));
	EXPECT(!rig_reap(&r, r.mc, 1, &e));
	c[1] = 0;
	EXPECT_STATUS(rate(&r, 2, c), NVME_SUCCESS);
	rig_settle(&r);
	for (unsigned i = 0; i < 6; i++)
		EXPECT(rig_reap(&r, r.mc, 1, &e));
	EXPECT_EQ(nvme_rate_deadline(r.mc), UINT64_MAX);
}

/* A limit slows a guest down; its driver must not take the controller for broken. A queue deeper than what we hold at once, one command a
 * second: by tokens alone the last would wait for a minute. Together they wait no longer than one would; before that the limit holds. */
TEST(hmlm_rate_patience)
{
	enum { DEEP = 60 };
	RIG(r, .queues = 1, .qsize = 64, .max_reqs = 24);
	uint8_t c[1024], *data = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 0, 8);
	struct nvme_cqe e;
	unsigned done = 0;
	uint64_t start = r.now, patience = NVME_RATE_PATIENCE_S * NS_PER_S;

	rig_data(&r, r.mc, &s, data, 4096);
	fill(c, 0, 0, 0, 1);
	EXPECT_STATUS(rate(&r, 2, c), NVME_SUCCESS);
	for (unsigned i = 0; i < DEEP; i++)
		rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	while (done < DEEP) {
		while (rig_reap(&r, r.mc, 1, &e)) {
			EXPECT_STATUS(e, NVME_SUCCESS);
			done++;
		}
		EXPECT(r.now - start > patience / 4 || done <= 2 + (r.now - start) / NS_PER_S);
		EXPECT(r.now - start <= patience + patience / 10);
		/* Whoever sleeps until the deadline wakes in time. */
		r.now = MAX(r.now + NS_PER_MS, MIN(r.now + NS_PER_S / 10, nvme_rate_deadline(r.mc)));
		rig_settle(&r);
	}
	/* And no debt: one that comes now waits a second or two for its token, not for sixty of them. */
	start = r.now;
	rig_submit(&r, r.mc, 1, s);
	for (rig_settle(&r); !rig_reap(&r, r.mc, 1, &e); rig_settle(&r)) {
		r.now += NS_PER_S / 10;
		EXPECT(r.now - start < 3 * NS_PER_S);
	}
}

/* A guest cannot shake its limit off by a reset; a manager that died takes its limits with it (design rule 4). */
TEST(hmlm_rate_resets)
{
	RIG(r);
	uint8_t c[1024];

	fill(c, 0, 1, 0, 0);
	EXPECT_STATUS(rate(&r, 2, c), NVME_SUCCESS);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT_EQ(le16_get(r.mc->rate.cfg.rlc), NVME_RLC_RLE);
	rig_reg_put(r.mmc, NVME_REG_CC, 4, 0);
	EXPECT_EQ(le16_get(r.mc->rate.cfg.rlc), 0);
}

/* Suspend does not wait for tokens: that would make the gap as long as the throttle is hard. */
TEST(hmlm_rate_suspend_does_not_wait)
{
	RIG(r, .queues = 1);
	uint8_t c[1024];

	fill(c, 0, 1, 0, 0);
	EXPECT_STATUS(rate(&r, 2, c), NVME_SUCCESS);
	run(&r, NVME_NVM_WRITE, 256, 1);
	EXPECT(!list_empty(&r.mc->throttled));
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT(list_empty(&r.mc->throttled));
}
