/* block: the same cases over every backend and stack, against a model in memory; then the small backends. */
#include "blkrig.h"

#include <sched.h>

/* ---- every stack ---- */

TEST(fresh_disk_reads_zero_and_has_no_map)
{
	uint8_t *buf = pages(BLOCKS * 4096ul);
	struct rig r;
	uint64_t start, len;

	EACH_STACK(&r) {
		memset(buf, 0xaa, BLOCKS * r.bs);
		EXPECT_EQ(rw(&r, BLK_READ, 0, BLOCKS, buf), 0);
		EXPECT(all_zero(buf, BLOCKS * r.bs));
		EXPECT(blk_next_allocated(r.b, 0, &start, &len) == -ENOENT);
	}
	munmap(buf, BLOCKS * 4096ul);
}

/* The first and the last block are where off-by-one errors live. */
TEST(edge_blocks_hold_what_was_written)
{
	uint8_t *buf = pages(8192), *back = pages(8192);
	static const uint64_t at[] = { 0, 1, 7, 8, 63, 64, BLOCKS - 2, BLOCKS - 1 };
	struct rig r;

	EACH_STACK(&r) {
		for (size_t i = 0; i < ARRAY_LEN(at); i++) {
			memset(buf, (int)(i + 1), r.bs);
			EXPECT_EQ(rw(&r, BLK_WRITE, at[i], 1, buf), 0);
		}
		for (size_t i = 0; i < ARRAY_LEN(at); i++) {
			memset(buf, (int)(i + 1), r.bs);
			EXPECT_EQ(rw(&r, BLK_READ, at[i], 1, back), 0);
			EXPECT_MEM(back, buf, r.bs);
			EXPECT(in_map(&r, at[i]));
		}
		EXPECT_EQ(rw(&r, BLK_READ, 2, 1, back), 0);
		EXPECT(all_zero(back, r.bs));
		EXPECT_EQ(range(&r, BLK_FLUSH, 0, 0, false), 0);
	}
	munmap(buf, 8192);
	munmap(back, 8192);
}

/* A guest's PRP list arrives as many pieces, none aligned to a block. */
TEST(scattered_vectors_are_gathered_in_order)
{
	uint8_t *buf = pages(64 * 1024), *back = pages(64 * 1024);
	static const size_t cuts[] = { 1, 511, 3, 4096, 100, 7 };
	struct iovec v[64], w[64];
	struct rng rng = { 1 };
	struct rig r;

	for (size_t i = 0; i < 64 * 1024; i++)
		buf[i] = (uint8_t)rng_next(&rng);
	EACH_STACK(&r) {
		size_t total = 9 * r.bs, at = 0;
		int n = 0;

		while (at < total) {
			size_t len = MIN(cuts[n % 6] * (n > 40 ? 10 : 1), total - at);

			v[n] = (struct iovec){ buf + at, n == 63 ? total - at : len };
			w[n] = (struct iovec){ back + at, v[n].iov_len };
			at += v[n++].iov_len;
		}
		EXPECT_EQ(rig_io(&r, &(struct blk_io){ .op = BLK_WRITE, .lba = 5, .nlb = 9, .iov = v, .iovcnt = n, .fua = true }), 0);
		memset(back, 0, 64 * 1024);
		EXPECT_EQ(rig_io(&r, &(struct blk_io){ .op = BLK_READ, .lba = 5, .nlb = 9, .iov = w, .iovcnt = n }), 0);
		EXPECT_MEM(back, buf, total);
	}
	munmap(buf, 64 * 1024);
	munmap(back, 64 * 1024);
}

/* More pieces than the kernel takes at once: the request goes on piece by piece, as it does after a short transfer. */
TEST(very_long_vectors_go_piece_by_piece)
{
	enum { PIECES = 1100, LEN = 512 * 24 };
	uint8_t *buf = pages(LEN), *back = pages(LEN);
	static struct iovec v[PIECES], w[PIECES];
	struct rig r;

	for (size_t i = 0; i < LEN; i++)
		buf[i] = (uint8_t)(i * 7 + (i >> 8));
	for (size_t i = 0, at = 0; i < PIECES; i++) {
		size_t len = i == PIECES - 1 ? LEN - at : 11;

		v[i] = (struct iovec){ buf + at, len };
		w[i] = (struct iovec){ back + at, len };
		at += len;
	}
	for (int s = 0; s <= 3; s++) {
		rig_open(&r, &stacks[s], 512);
		EXPECT_EQ(rig_io(&r, &(struct blk_io){ .op = BLK_WRITE, .lba = 3, .nlb = 24, .iov = v, .iovcnt = PIECES }), 0);
		memset(back, 0, LEN);
		EXPECT_EQ(rig_io(&r, &(struct blk_io){ .op = BLK_READ, .lba = 3, .nlb = 24, .iov = w, .iovcnt = PIECES }), 0);
		EXPECT_MEM(back, buf, LEN);
		rig_close(&r);
	}
	munmap(buf, LEN);
	munmap(back, LEN);
}

/* block.h: deallocation is exact at alloc_blocks; parts of a unit are zeroed but may stay. */
TEST(dealloc_zeroes_all_and_frees_whole_units)
{
	uint8_t *buf = pages(64 * 4096), *back = pages(64 * 4096);
	struct rig r;

	memset(buf, 0x5a, 64 * 4096);
	EACH_STACK(&r) {
		uint32_t unit = r.b->alloc_blocks, n = MIN(unit * 4, 64u);
		uint64_t start, len;

		EXPECT(is_pow2(unit) && n >= unit * 3);
		EXPECT_EQ(rw(&r, BLK_WRITE, 0, n, buf), 0);
		EXPECT_EQ(range(&r, BLK_DEALLOC, unit, unit, false), 0);
		EXPECT_EQ(range(&r, BLK_ZERO, 2 * unit, 1, true), 0);
		EXPECT_EQ(rw(&r, BLK_READ, 0, n, back), 0);
		EXPECT_MEM(back, buf, unit * r.bs);
		EXPECT(all_zero(back + unit * r.bs, (unit + 1) * r.bs));
		EXPECT_MEM(back + (2 * unit + 1) * r.bs, buf, (n - 2 * unit - 1) * r.bs);
		EXPECT_EQ(blk_next_allocated(r.b, 0, &start, &len), 0);
		EXPECT_EQ(start, 0);
		EXPECT_EQ(len, unit);
		EXPECT(!in_map(&r, unit));
		EXPECT(in_map(&r, 3 * unit));
	}
	munmap(buf, 64 * 4096);
	munmap(back, 64 * 4096);
}

TEST(resize_keeps_the_rest_and_adds_zeroes)
{
	uint8_t *buf = pages(BLOCKS * 4096ul * 2), *want = pages(BLOCKS * 4096ul * 2);
	struct rig r;

	EACH_STACK(&r) {
		memset(want, 0x77, BLOCKS * r.bs);
		EXPECT_EQ(rw(&r, BLK_WRITE, 0, BLOCKS, want), 0);
		EXPECT_EQ(r.b->ops->resize(r.b, 3), 0);
		EXPECT_EQ(r.b->blocks, 3);
		EXPECT_EQ(r.b->ops->resize(r.b, BLOCKS * 2), 0);
		EXPECT_EQ(r.b->blocks, BLOCKS * 2);
		memset(want + 3 * r.bs, 0, (BLOCKS * 2 - 3) * r.bs);
		EXPECT_EQ(rw(&r, BLK_READ, 0, BLOCKS * 2, buf), 0);
		EXPECT_MEM(buf, want, BLOCKS * 2 * r.bs);
		EXPECT_EQ(rw(&r, BLK_WRITE, BLOCKS * 2 - 1, 1, want), 0);
		EXPECT(in_map(&r, BLOCKS * 2 - 1));
		EXPECT(!in_map(&r, BLOCKS));
		EXPECT(r.b->ops->resize(r.b, 0) < 0);
	}
	munmap(buf, BLOCKS * 4096ul * 2);
	munmap(want, BLOCKS * 4096ul * 2);
}

/* The caller checks ranges; a backend that trusted it would turn one missing check there into a read of our memory. */
TEST(out_of_range_is_refused)
{
	uint8_t *buf = pages(8192);
	struct rig r;

	EACH_STACK(&r) {
		EXPECT(rw(&r, BLK_READ, BLOCKS, 1, buf) == -EINVAL);
		EXPECT(rw(&r, BLK_WRITE, BLOCKS - 1, 2, buf) == -EINVAL);
		EXPECT(range(&r, BLK_DEALLOC, UINT64_MAX, 2, false) == -EINVAL);
	}
	munmap(buf, 8192);
}

/* ---- the model ---- */

enum { DEPTH = 24, SPAN = 24 };	/* requests out at once; blocks of one */

struct model { uint8_t *data; bool *mapped; };

struct out { struct blk_io io; struct iovec v[3]; struct wait w; uint8_t *buf; bool used; };

static bool overlaps_out(const struct out *o, uint64_t lba, uint64_t nlb)
{
	for (int i = 0; i < DEPTH; i++)
		if (o[i].used && ranges_overlap(o[i].io.lba, o[i].io.nlb, lba, nlb))
			return true;
	return false;
}

static void model_fill(struct rig *r, struct out *o, struct rng *rng, uint64_t lba, uint64_t nlb)
{
	size_t len = nlb * r->bs, cut = rng_chance(rng, 500000) ? 0 : rng_below(rng, len);

	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = rng_next(rng);

		memcpy(o->buf + i, &x, 8);
	}
	o->v[0] = (struct iovec){ o->buf, cut };
	o->v[1] = (struct iovec){ o->buf + cut, 0 };
	o->v[2] = (struct iovec){ o->buf + cut, len - cut };
	o->io = (struct blk_io){ .lba = lba, .nlb = nlb, .iov = cut ? o->v : o->v + 2, .iovcnt = cut ? 3 : 1,
				 .done = io_done, .ctx = &o->w };
	o->w = (struct wait){ 0 };
	o->used = true;
}

static void model_start(struct rig *r, struct out *o, struct rng *rng, struct model *m)
{
	static const enum blk_op ops[] = { BLK_READ, BLK_READ, BLK_WRITE, BLK_WRITE, BLK_WRITE, BLK_ZERO, BLK_DEALLOC };
	uint64_t nlb = 1 + rng_below(rng, SPAN), lba = rng_below(rng, BLOCKS - nlb + 1);
	int i = 0, rc;

	while (i < DEPTH && o[i].used)
		i++;
	/* Overlapping requests have no order, so the model could not know the answer. */
	if (i == DEPTH || overlaps_out(o, lba, nlb))
		return;
	model_fill(r, &o[i], rng, lba, nlb);
	/* Few that wait for the disk: it may be anybody's and slow. */
	o[i].io.op = rng_chance(rng, 5000) ? BLK_FLUSH : ops[rng_below(rng, ARRAY_LEN(ops))];
	o[i].io.fua = rng_chance(rng, 5000);
	o[i].io.dealloc = rng_chance(rng, 500000);
	rc = blk_submit(r->b, &o[i].io);
	if (rc == -EAGAIN) {
		o[i].used = false;
		return;
	}
	if (rc)
		o[i].w = (struct wait){ rc == BLK_DONE ? 0 : rc, true };
	/* From now on it may, or need no longer, be on the disk. */
	if (o[i].io.op == BLK_WRITE)
		memset(m->mapped + lba, 1, nlb);
	else if (o[i].io.op == BLK_ZERO || o[i].io.op == BLK_DEALLOC)
		memset(m->mapped + lba, 0, nlb);
}

static void model_finish(struct rig *r, struct out *o, struct model *m)
{
	size_t off = o->io.lba * r->bs, len = o->io.nlb * r->bs;

	EXPECT_EQ(o->w.rc, 0);
	switch (o->io.op) {
	case BLK_READ:
		EXPECT_MEM(o->buf, m->data + off, len);
		break;
	case BLK_WRITE:
		memcpy(m->data + off, o->buf, len);
		break;
	case BLK_ZERO:
	case BLK_DEALLOC:
		memset(m->data + off, 0, len);
		break;
	default:
		break;
	}
	o->used = false;
}

/* Design rule 2 begins here: a block missing from the map is a block that is not moved. */
static void model_map(struct rig *r, const struct model *m)
{
	uint64_t lba = 0, start, len;

	while (lba < BLOCKS) {
		int rc = blk_next_allocated(r->b, lba, &start, &len);

		if (rc == -ENOENT)
			start = BLOCKS, len = 0;
		else
			EXPECT_EQ(rc, 0);
		EXPECT(start >= lba && start + len <= BLOCKS && (len || start == BLOCKS));
		for (; lba < start; lba++)
			EXPECT(!m->mapped[lba]);
		lba = start + len;
	}
}

static void model_run(struct rig *r, uint64_t seed, int turns)
{
	struct out *o = calloc(DEPTH, sizeof(*o));
	struct model m = { calloc(BLOCKS, r->bs), calloc(BLOCKS, 1) };
	uint8_t *buf = pages(DEPTH * SPAN * 4096ul), *all = pages(BLOCKS * 4096ul);
	struct rng rng = { seed };
	bool any = true;

	for (int i = 0; i < DEPTH; i++)
		o[i].buf = buf + (size_t)i * SPAN * 4096;
	for (int t = 0; t < turns || any; t++) {
		if (t < turns)
			model_start(r, o, &rng, &m);
		if (rng_chance(&rng, 300000) || t >= turns) {
			r->now += 300;
			blk_poll(r->b);
			if (t >= turns)
				sched_yield();
		}
		if (t % 16 == 0 && t < turns)
			model_map(r, &m);
		any = false;
		for (int i = 0; i < DEPTH; i++) {
			if (o[i].used && o[i].w.done)
				model_finish(r, &o[i], &m);
			any |= o[i].used;
		}
	}
	model_map(r, &m);
	EXPECT_EQ(rw(r, BLK_READ, 0, BLOCKS, all), 0);
	EXPECT_MEM(all, m.data, BLOCKS * r->bs);
	munmap(buf, DEPTH * SPAN * 4096ul);
	munmap(all, BLOCKS * 4096ul);
	free(m.data);
	free(m.mapped);
	free(o);
}

TEST(random_requests_agree_with_a_model)
{
	struct rig r;

	EACH_STACK(&r) /* those in a file share a disk with who knows whom */
		model_run(&r, 1 + i_, r.dir[0] ? 600 : 5000);
}

/* ---- null ---- */

TEST(null_stays_empty)
{
	struct err e;
	struct rig r = { .bs = 4096 };
	uint8_t *buf = pages(4096);

	r.b = need(blk_null_open(4096, 1ull << 40, &e), &e);
	memset(buf, 1, 4096);
	EXPECT_EQ(rw(&r, BLK_WRITE, 9, 1, buf), 0);
	EXPECT_EQ(rw(&r, BLK_READ, 9, 1, buf), 0);
	EXPECT(all_zero(buf, 4096));
	EXPECT(!in_map(&r, 9));
	rig_close(&r);
	munmap(buf, 4096);
}

/* ---- ram ---- */

static size_t resident_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long size = 0, res = 0;

	EXPECT(f && fscanf(f, "%lu %lu", &size, &res) == 2);
	fclose(f);
	return res * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

/* block.h, hint: nobody has judged the range, so no range may do harm; and a hint never changes what is there. */
TEST(ram_hint_is_only_a_hint)
{
	static const uint64_t lba[] = { 0, 7, 8, 9, 1ull << 32, 1ull << 52, UINT64_MAX / 512, UINT64_MAX - 1, UINT64_MAX };
	struct blk *b = blk_ram_open(512, 8, NULL);
	uint64_t start, len;

	EXPECT(b && b->ops->hint);
	for (unsigned i = 0; i < ARRAY_LEN(lba); i++)
		for (uint64_t nlb = 0; nlb <= 65536; nlb = 2 * nlb + 1)
			for (enum blk_op op = BLK_READ; op < BLK_OP_COUNT; op++)
				b->ops->hint(b, op, lba[i], nlb);
	EXPECT_EQ(blk_next_allocated(b, 0, &start, &len), -ENOENT);
	blk_close(b);
}

/* A thin disk of 16 TiB must cost what is written, also when it is scanned and trimmed as a whole. */
TEST(ram_takes_memory_for_data_only)
{
	struct err e;
	struct rig r = { .bs = 4096 };
	uint8_t *buf = pages(4096 * 1024);
	size_t before;
	uint64_t start, len;

	memset(buf, 1, 4096 * 1024);
	r.b = need(blk_ram_open(4096, 1ull << 26, &e), &e); /* 256 GiB */
	before = resident_kib();
	for (int i = 0; i < 64; i++)
		EXPECT_EQ(rw(&r, BLK_READ, (uint64_t)i << 20, 1024, buf), 0);
	EXPECT(blk_next_allocated(r.b, 0, &start, &len) == -ENOENT);
	EXPECT(resident_kib() < before + 16 * 1024);
	memset(buf, 1, 4096 * 1024);
	for (int i = 0; i < 16; i++)
		EXPECT_EQ(rw(&r, BLK_WRITE, (uint64_t)i << 20, 1024, buf), 0);
	EXPECT(resident_kib() > before + 48 * 1024);
	EXPECT_EQ(range(&r, BLK_DEALLOC, 0, 1ull << 26, false), 0);
	EXPECT(resident_kib() < before + 32 * 1024);
	rig_close(&r);
	munmap(buf, 4096 * 1024);
}

TEST(geometry_that_cannot_be_is_refused_with_a_sentence)
{
	struct err e = { "" };

	EXPECT(!blk_ram_open(513, 8, &e));
	EXPECT(strstr(e.text, "512 and 4096"));
	EXPECT(!blk_ram_open(512, 0, &e));
	EXPECT(!blk_ram_open(4096, UINT64_MAX / 4096 + 2, &e)); /* would wrap to one block */
	EXPECT(!blk_null_open(4096, UINT64_MAX, &e));
}
