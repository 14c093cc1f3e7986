/* The wrappers that stack on a backend: delay, error, stamp. */
#include "blkrig.h"

TEST(delay_holds_until_due_and_lets_requests_pass_each_other)
{
	enum { N = 64 };
	struct rig r = { .bs = 512, .fake_time = true };
	struct blk_io io[N];
	struct wait w[N];
	uint8_t buf[512] = { 0 };
	struct iovec v = { buf, 512 };
	bool passed = false;
	int n = 0;

	r.b = make_delay(&r);
	memset(w, 0, sizeof(w));
	for (int i = 0; i < N; i++) {
		io[i] = (struct blk_io){ .op = BLK_WRITE, .lba = (uint64_t)i, .nlb = 1, .iov = &v, .iovcnt = 1, .done = io_done, .ctx = &w[i] };
		EXPECT_EQ(blk_submit(r.b, &io[i]), 0);
	}
	r.now = 9;
	EXPECT_EQ(blk_poll(r.b), 0); /* the shortest delay is 10 */
	for (r.now = 10; r.now <= 5000; r.now += 10) {
		n += blk_poll(r.b);
		for (int i = 1; i < N; i++)
			passed |= w[i].done && !w[i - 1].done;
	}
	EXPECT_EQ(n, N); /* the longest is 5000 */
	EXPECT(passed);
	rig_close(&r);
}

static uint64_t real_clock(void *ctx)
{
	struct timespec t;

	(void)ctx;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Above ram nothing else would ever wake a sleeping server. */
TEST(delay_wakes_a_sleeper)
{
	struct rig r = { .bs = 512 };
	uint8_t buf[512] = { 0 };
	struct err e;

	r.b = need(blk_delay_open(make_ram(&r), 1000000, 2000000, 1, real_clock, NULL, &e), &e);
	for (int i = 0; i < 5; i++)
		EXPECT_EQ(rw(&r, BLK_WRITE, 0, 1, buf), 0); /* rig_turn sleeps on wait_fd */
	rig_close(&r);
}

TEST(error_hits_its_range_kind_and_share)
{
	uint8_t *buf = pages(4096);
	struct rig r = { .bs = 4096 };
	int failed = 0;

	r.b = make_error(&r);
	*blk_error_cfg(r.error) = (struct blk_error_cfg){ .rc = -ENOSPC, .lba = 10, .nlb = 2, .per_million = { [BLK_WRITE] = 1000000 } };
	EXPECT_EQ(rw(&r, BLK_WRITE, 9, 1, buf), 0);
	EXPECT(rw(&r, BLK_WRITE, 10, 1, buf) == -ENOSPC);
	EXPECT(rw(&r, BLK_WRITE, 11, 1, buf) == -ENOSPC);
	EXPECT_EQ(rw(&r, BLK_WRITE, 12, 1, buf), 0);
	EXPECT_EQ(rw(&r, BLK_READ, 10, 1, buf), 0);
	blk_error_cfg(r.error)->per_million[BLK_WRITE] = 500000;
	for (int i = 0; i < 1000; i++)
		failed += rw(&r, BLK_WRITE, 10, 1, buf) != 0;
	EXPECT(failed > 400 && failed < 600);
	rig_close(&r);
	munmap(buf, 4096);
}

TEST(error_half_done_writes_exactly_the_first_half)
{
	uint8_t *buf = pages(8 * 4096), *back = pages(8 * 4096);
	struct blk *(*const make[])(struct rig *) = { make_error, make_tower, make_tower_file, make_upside_down };

	for (size_t i = 0; i < ARRAY_LEN(make); i++) {
		struct rig r = { .bs = 512 };

		r.b = make[i](&r);
		blk_error_cfg(r.error)->half_done = true;
		blk_error_cfg(r.error)->per_million[BLK_WRITE] = 1000000;
		memset(buf, 0x42, 8 * 4096);
		EXPECT(rw(&r, BLK_WRITE, 16, 7, buf) == -EIO);
		EXPECT(rw(&r, BLK_WRITE, 100, 1, buf) == -EIO); /* half of one block is none */
		EXPECT_EQ(rw(&r, BLK_READ, 16, 7, back), 0); /* and a stamp above takes it */
		EXPECT_MEM(back, buf, 3 * 512);
		EXPECT(all_zero(back + 3 * 512, 4 * 512));
		EXPECT_EQ(rw(&r, BLK_READ, 100, 1, back), 0);
		EXPECT(all_zero(back, 512));
		rig_close(&r);
	}
	munmap(buf, 8 * 4096);
	munmap(back, 8 * 4096);
}

TEST(error_that_is_none_is_refused)
{
	struct rig r = { .bs = 512 };
	struct err e;

	EXPECT(!blk_error_open(make_ram(&r), &(struct blk_error_cfg){ .rc = 0 }, &e));
	EXPECT(!blk_error_open(make_ram(&r), &(struct blk_error_cfg){ .rc = -EAGAIN }, &e)); /* retried for ever */
}

/* The disk changes behind our back: exactly the changed block is noticed. */
TEST(stamp_notices_foreign_data)
{
	uint8_t *buf = pages(8 * 512);
	struct rig r = { .bs = 512 }, below;

	r.b = make_stamp(&r);
	below = (struct rig){ .bs = 512, .b = r.b->below };
	memset(buf, 6, 8 * 512);
	EXPECT_EQ(rw(&r, BLK_WRITE, 0, 8, buf), 0);
	buf[3] ^= 1;
	EXPECT_EQ(rw(&below, BLK_WRITE, 5, 1, buf), 0);
	EXPECT(rw(&r, BLK_READ, 0, 8, buf) == -EILSEQ);
	EXPECT(rw(&r, BLK_READ, 5, 1, buf) == -EILSEQ);
	EXPECT_EQ(rw(&r, BLK_READ, 0, 5, buf), 0);
	EXPECT_EQ(rw(&r, BLK_READ, 6, 2, buf), 0);
	EXPECT_EQ(rw(&r, BLK_WRITE, 5, 1, buf), 0); /* written again it is good again */
	EXPECT_EQ(rw(&r, BLK_READ, 5, 1, buf), 0);
	EXPECT_EQ(range(&r, BLK_DEALLOC, 0, 8, false), 0);
	EXPECT_EQ(rw(&below, BLK_WRITE, 2, 1, buf), 0); /* a lost trim, or somebody else's data */
	EXPECT(rw(&r, BLK_READ, 2, 1, buf) == -EILSEQ);
	/* never written, yet not zero */
	EXPECT_EQ(rw(&below, BLK_WRITE, 300, 1, buf), 0);
	EXPECT(rw(&r, BLK_READ, 300, 1, buf) == -EILSEQ);
	rig_close(&r);
	munmap(buf, 8 * 512);
}

TEST(stamp_takes_what_was_there_before)
{
	uint8_t buf[512];
	struct rig r = { .bs = 512 };

	memset(buf, 6, 512);
	r.b = make_ram(&r);
	EXPECT_EQ(rw(&r, BLK_WRITE, 7, 1, buf), 0);
	r.b = stamped(r.b);
	EXPECT_EQ(rw(&r, BLK_READ, 7, 1, buf), 0);
	EXPECT_EQ(buf[0], 6);
	rig_close(&r);
}

/* Overlapping requests have no order: what they leave behind is not judged, so a legal disk is never called a liar. */
TEST(stamp_does_not_judge_clashes)
{
	enum { N = 16 };
	uint8_t *buf = pages(N * 512);
	struct rng rng = { 11 };
	struct rig r;

	rig_open(&r, &stacks[7], 512);
	for (int round = 0; round < 300; round++) {
		struct blk_io io[N];
		struct iovec v[N];
		struct wait w[N];

		memset(w, 0, sizeof(w));
		for (int i = 0; i < N; i++) {
			v[i] = (struct iovec){ buf + i * 512, 512 };
			memset(v[i].iov_base, (int)rng_next(&rng), 512);
			io[i] = (struct blk_io){ .op = rng_chance(&rng, 500000) ? BLK_READ : rng_chance(&rng, 900000) ? BLK_WRITE : BLK_DEALLOC,
						 .lba = rng_below(&rng, 4), .nlb = 1, .iov = &v[i], .iovcnt = 1, .done = io_done, .ctx = &w[i] };
			EXPECT_EQ(blk_submit(r.b, &io[i]), 0);
			if (rng_chance(&rng, 300000))
				rig_turn(&r);
		}
		for (int i = 0; i < N; i++)
			while (!w[i].done)
				rig_turn(&r);
		for (int i = 0; i < N; i++)
			EXPECT_EQ(w[i].rc, 0);
	}
	rig_close(&r);
	munmap(buf, N * 512);
}
