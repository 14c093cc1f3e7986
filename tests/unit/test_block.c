/* block: the same cases over every backend and stack, against a model in memory; then what is special to each. */
#include "t.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/rng.h"
#include "block/block.h"

/* ---- rig: one stack, synchronous helpers ---- */

enum { BLOCKS = 600 };	/* not a multiple of a granule, of 64, or of anything */

struct rig {
	struct blk *b, *error;
	char dir[64], path[96];
	uint64_t now;
	bool fake_time;
	uint32_t bs;
};

static uint64_t rig_clock(void *ctx) { return ((struct rig *)ctx)->now; }

static struct blk *need(struct blk *b, const struct err *e)
{
	if (!b)
		fail_msg("%s", e->text);
	return b;
}

static void rig_dir(struct rig *r)
{
	if (r->dir[0])
		return;
	strcpy(r->dir, "/tmp/ferry-block-XXXXXX");
	EXPECT(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/disk", r->dir);
}

static struct blk *make_ram(struct rig *r)
{
	struct err e;

	return need(blk_ram_open(r->bs, BLOCKS, &e), &e);
}

static struct blk *make_file_as(struct rig *r, bool direct, bool blocking)
{
	struct err e;

	rig_dir(r);
	return need(blk_file_open(&(struct blk_file_cfg){ .path = r->path, .block_bytes = r->bs, .blocks = BLOCKS, .create = true,
							  .direct = direct, .blocking = blocking }, &e), &e);
}
static struct blk *make_file(struct rig *r) { return make_file_as(r, false, false); }
static struct blk *make_direct(struct rig *r) { return make_file_as(r, true, false); }
static struct blk *make_blocking(struct rig *r) { return make_file_as(r, true, true); }

static struct blk *slow(struct rig *r, struct blk *below)
{
	struct err e;

	r->fake_time = true;
	return need(blk_delay_open(below, 10, 5000, 7, rig_clock, r, &e), &e);
}
static struct blk *stamped(struct blk *below)
{
	struct err e;

	return need(blk_stamp_open(below, &e), &e);
}
static struct blk *failing(struct rig *r, struct blk *below)
{
	struct err e;

	return r->error = need(blk_error_open(below, &(struct blk_error_cfg){ .seed = 3, .rc = -EIO }, &e), &e);
}
static struct blk *make_delay(struct rig *r) { return slow(r, make_ram(r)); }
static struct blk *make_error(struct rig *r) { return failing(r, make_ram(r)); }
static struct blk *make_stamp(struct rig *r) { return stamped(make_ram(r)); }
static struct blk *make_tower(struct rig *r) { return stamped(slow(r, failing(r, make_ram(r)))); }
static struct blk *make_tower_file(struct rig *r) { return stamped(slow(r, failing(r, make_direct(r)))); }
static struct blk *make_upside_down(struct rig *r) { return failing(r, slow(r, stamped(make_direct(r)))); }

static const struct stack { const char *name; struct blk *(*make)(struct rig *); } stacks[] = {
	{ "ram", make_ram }, { "file", make_file }, { "file-direct", make_direct }, { "file-blocking", make_blocking },
	{ "delay-ram", make_delay }, { "error-ram", make_error }, { "stamp-ram", make_stamp },
	{ "stamp-delay-error-ram", make_tower }, { "stamp-delay-error-file", make_tower_file },
	{ "error-delay-stamp-file", make_upside_down },
};

static void rig_open(struct rig *r, const struct stack *s, uint32_t bs)
{
	*r = (struct rig){ .bs = bs };
	r->b = s->make(r);
}

static void rig_close(struct rig *r)
{
	blk_close(r->b);
	if (r->dir[0]) {
		unlink(r->path);
		EXPECT_EQ(rmdir(r->dir), 0);
	}
}

/* for each stack and block size */
#define EACH_STACK(r)                                                                                \
	for (size_t i_ = 0; i_ < ARRAY_LEN(stacks) * 2; i_++)                                         \
		for (bool once_ = (rig_open(r, &stacks[i_ / 2], i_ % 2 ? 4096 : 512), true); once_;    \
		     once_ = (rig_close(r), false))

struct wait { int rc; bool done; };

static void io_done(struct blk_io *io, int rc)
{
	struct wait *w = io->ctx;

	EXPECT(!w->done); /* called once */
	*w = (struct wait){ rc, true };
}

/* One turn of a main loop. A stack on real time sleeps on its descriptor, which so must wake us. */
static void rig_turn(struct rig *r)
{
	int fd = r->fake_time ? -1 : r->b->ops->wait_fd(r->b);

	r->now += 100;
	if (blk_poll(r->b) || r->fake_time)
		return;
	EXPECT(fd >= 0);
	EXPECT_EQ(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 60000), 1);
}

static int rig_io(struct rig *r, struct blk_io *io)
{
	struct wait w = { 0 };
	int rc;

	io->done = io_done;
	io->ctx = &w;
	while ((rc = blk_submit(r->b, io)) == -EAGAIN)
		rig_turn(r);
	if (rc)
		return rc == BLK_DONE ? 0 : rc;
	while (!w.done)
		rig_turn(r);
	return w.rc;
}

static int rw(struct rig *r, enum blk_op op, uint64_t lba, uint64_t nlb, void *buf)
{
	struct iovec v = { buf, nlb * r->bs };

	return rig_io(r, &(struct blk_io){ .op = op, .lba = lba, .nlb = nlb, .iov = &v, .iovcnt = 1 });
}
static int range(struct rig *r, enum blk_op op, uint64_t lba, uint64_t nlb, bool dealloc)
{
	return rig_io(r, &(struct blk_io){ .op = op, .lba = lba, .nlb = nlb, .dealloc = dealloc });
}

static uint8_t *pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT(p != MAP_FAILED);
	return p;
}

static bool all_zero(const uint8_t *p, size_t n) { return !n || (!p[0] && !memcmp(p, p + 1, n - 1)); }

static bool in_map(struct rig *r, uint64_t lba)
{
	uint64_t start, len;

	return !blk_next_allocated(r->b, lba, &start, &len) && start == lba;
}

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

/* ---- file ---- */

static struct blk *open_file(struct rig *r, const struct blk_file_cfg *cfg, struct err *e)
{
	struct blk_file_cfg c = *cfg;

	c.path = r->path;
	c.block_bytes = c.block_bytes ? c.block_bytes : r->bs;
	e->text[0] = 0;
	return blk_file_open(&c, e);
}

static void plain_file(struct rig *r, off_t bytes)
{
	int fd;

	*r = (struct rig){ .bs = 4096 };
	rig_dir(r);
	fd = open(r->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	EXPECT(fd >= 0 && !ftruncate(fd, bytes));
	close(fd);
}

static void rig_clean(struct rig *r)
{
	r->b = NULL;
	rig_close(r);
}

/* Two servers on one image destroy it; the second must hear why, in words. */
TEST(file_in_use_is_refused)
{
	struct rig r;
	struct blk *b;
	struct err e;
	int status;
	pid_t pid;

	plain_file(&r, 1 << 20);
	b = need(open_file(&r, &(struct blk_file_cfg){ 0 }, &e), &e);
	EXPECT_EQ(b->blocks, 256);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ 0 }, &e)); /* in the same process */
	EXPECT(strstr(e.text, "in use"));
	pid = fork();
	if (!pid)
		_exit(open_file(&r, &(struct blk_file_cfg){ 0 }, &e) ? 1 : strstr(e.text, "in use") ? 0 : 2);
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	blk_close(b);
	b = need(open_file(&r, &(struct blk_file_cfg){ 0 }, &e), &e); /* and is free again */
	blk_close(b);
	rig_clean(&r);
}

TEST(file_of_a_wrong_size_is_refused_with_numbers)
{
	struct rig r;
	struct err e;

	plain_file(&r, 5 * 4096);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .blocks = 6 }, &e));
	EXPECT(strstr(e.text, "holds 5 blocks") && strstr(e.text, "6 were asked"));
	EXPECT(!truncate(r.path, 5 * 4096 + 512));
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ 0 }, &e));
	EXPECT(strstr(e.text, "multiple"));
	EXPECT(!truncate(r.path, 0));
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ 0 }, &e));
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .create = true }, &e));
	EXPECT(strstr(e.text, "how large"));
	unlink(r.path);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .blocks = 6 }, &e));
	EXPECT(strstr(e.text, "No such file"));
	rig_clean(&r);
}

/* A create that fails leaves nothing behind; one that meets an image never empties it. */
TEST(file_create_is_careful)
{
	uint8_t *buf = pages(4096);
	struct rig r;
	struct err e;

	plain_file(&r, 8 * 4096);
	memset(buf, 9, 4096);
	r.b = need(open_file(&r, &(struct blk_file_cfg){ 0 }, &e), &e);
	EXPECT_EQ(rw(&r, BLK_WRITE, 3, 1, buf), 0);
	blk_close(r.b);
	r.b = need(open_file(&r, &(struct blk_file_cfg){ .create = true, .blocks = 8 }, &e), &e);
	memset(buf, 0, 4096);
	EXPECT_EQ(rw(&r, BLK_READ, 3, 1, buf), 0);
	EXPECT_EQ(buf[77], 9);
	blk_close(r.b);
	unlink(r.path);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .create = true, .blocks = 1ull << 48 }, &e)); /* no file system takes that */
	EXPECT_EQ(access(r.path, F_OK), -1);
	rig_clean(&r);
	munmap(buf, 4096);
}

TEST(file_that_is_no_file_is_refused)
{
	struct rig r = { .bs = 512 };
	struct err e;

	rig_dir(&r);
	EXPECT_EQ(mkfifo(r.path, 0600), 0);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ 0 }, &e));
	EXPECT(strstr(e.text, "neither"));
	rig_clean(&r);
}

/* Whoever deallocates wants the space back. */
TEST(file_holes_give_space_back)
{
	uint8_t *buf = pages(1 << 20);
	struct stat before, full, after;
	struct rig r;

	memset(buf, 1, 1 << 20);
	rig_open(&r, &stacks[2], 4096);
	EXPECT_EQ(stat(r.path, &before), 0);
	EXPECT_EQ(rw(&r, BLK_WRITE, 0, 256, buf), 0);
	EXPECT_EQ(range(&r, BLK_FLUSH, 0, 0, false), 0);
	EXPECT_EQ(stat(r.path, &full), 0);
	EXPECT(full.st_blocks >= before.st_blocks + 2048);
	EXPECT_EQ(range(&r, BLK_DEALLOC, 0, 255, false), 0);
	EXPECT_EQ(stat(r.path, &after), 0);
	EXPECT(after.st_blocks <= before.st_blocks + 64);
	EXPECT_EQ(after.st_size, BLOCKS * 4096);
	rig_close(&r);
	munmap(buf, 1 << 20);
}

/* Somebody cut the image while we serve it: an error, not zeroes, and no endless retry. */
TEST(file_cut_under_us_is_an_error)
{
	uint8_t *buf = pages(8 * 4096);

	for (int s = 1; s <= 3; s++) {
		struct rig r;

		rig_open(&r, &stacks[s], 4096);
		EXPECT_EQ(truncate(r.path, 6 * 4096), 0);
		EXPECT(rw(&r, BLK_READ, 4, 8, buf) == -EIO);
		EXPECT_EQ(rw(&r, BLK_READ, 4, 2, buf), 0);
		rig_close(&r);
	}
	munmap(buf, 8 * 4096);
}

/* Design rule 5: guest memory that vanished between fetch and transfer is the guest's error. */
TEST(file_vanished_memory_is_efault)
{
	uint8_t *buf = pages(8192);

	munmap(buf + 4096, 4096);
	for (int s = 1; s <= 3; s++) {
		struct rig r;

		rig_open(&r, &stacks[s], 4096);
		EXPECT(rw(&r, BLK_WRITE, 0, 1, buf + 4096) == -EFAULT);
		EXPECT(rw(&r, BLK_READ, 0, 1, buf + 4096) != 0);
		EXPECT_EQ(rw(&r, BLK_WRITE, 0, 1, buf), 0);
		rig_close(&r);
	}
	munmap(buf, 4096);
}

/* More requests than the ring holds, none lost; the caller hears -EAGAIN, not an error. */
TEST(file_ring_full_says_again)
{
	enum { MANY = 400 };
	static struct blk_io io[MANY];
	static struct wait w[MANY];
	uint8_t *buf = pages(MANY * 4096ul);
	struct iovec v[MANY];
	bool full = false;
	struct rig r;

	rig_open(&r, &stacks[1], 4096);
	memset(w, 0, sizeof(w));
	for (int i = 0; i < MANY; i++) {
		int rc;

		v[i] = (struct iovec){ buf + i * 4096, 4096 };
		memset(v[i].iov_base, i, 4096);
		io[i] = (struct blk_io){ .op = BLK_WRITE, .lba = (uint64_t)i, .nlb = 1, .iov = &v[i], .iovcnt = 1,
					 .done = io_done, .ctx = &w[i] };
		while ((rc = blk_submit(r.b, &io[i])) == -EAGAIN) {
			full = true;
			rig_turn(&r);
		}
		EXPECT_EQ(rc, 0);
	}
	EXPECT(full);
	for (int i = 0; i < MANY; i++) {
		while (!w[i].done)
			rig_turn(&r);
		EXPECT_EQ(w[i].rc, 0);
	}
	memset(buf, 0, MANY * 4096ul);
	EXPECT_EQ(rw(&r, BLK_READ, 0, MANY, buf), 0);
	for (int i = 0; i < MANY; i++)
		EXPECT_EQ(buf[i * 4096 + 4095], (uint8_t)i);
	rig_close(&r);
	munmap(buf, MANY * 4096ul);
}

/* Design rule 2: the map is read while writes are under way; those not yet begun by the kernel are in it as well. */
TEST(file_map_has_writes_under_way)
{
	uint8_t *buf = pages(4096);
	struct iovec v = { buf, 4096 };
	struct wait w = { 0 };
	struct blk_io io = { .op = BLK_WRITE, .lba = 40, .nlb = 1, .iov = &v, .iovcnt = 1, .done = io_done, .ctx = &w };
	uint64_t start, len;
	struct rig r;

	rig_open(&r, &stacks[1], 4096);
	EXPECT_EQ(blk_submit(r.b, &io), 0); /* gathered only: the kernel has not seen it */
	EXPECT_EQ(blk_next_allocated(r.b, 0, &start, &len), 0);
	EXPECT_EQ(start, 40);
	EXPECT_EQ(len, 1);
	while (!w.done)
		rig_turn(&r);
	EXPECT(in_map(&r, 40));
	rig_close(&r);
	munmap(buf, 4096);
}

/* file.c: a page is changed past the cache or through it, not both at once. The loss this prevents is too rare to wait for, so
 * the rule itself is looked at. */
TEST(file_neighbour_of_a_direct_write_waits)
{
	uint8_t *buf = pages(2 * 4096);
	struct iovec v[3] = { { buf, 4096 }, { buf + 4096, 512 }, { buf + 4096, 512 } };
	struct wait w[3] = { { 0 }, { 0 }, { 0 } };
	struct blk_io io[3];
	struct rig r;
	int fd;

	for (int i = 0; i < 3; i++)
		io[i] = (struct blk_io){ .op = BLK_WRITE, .lba = 8, .nlb = i ? 1 : 8, .iov = &v[i], .iovcnt = 1, .done = io_done, .ctx = &w[i] };
	rig_open(&r, &stacks[2], 512);
	fd = open(r.path, O_RDWR | O_DIRECT);
	if (fd < 0) {
		rig_close(&r);
		munmap(buf, 2 * 4096);
		print_message("# skipped: no O_DIRECT in this directory\n");
		skip();
	}
	close(fd);
	io[1].lba = 15;
	io[2].lba = 16; /* the next page */
	EXPECT_EQ(blk_submit(r.b, &io[0]), 0);
	EXPECT(blk_submit(r.b, &io[1]) == -EAGAIN);
	io[1].op = BLK_DEALLOC;
	EXPECT(blk_submit(r.b, &io[1]) == -EAGAIN);
	io[1].op = BLK_READ;
	EXPECT_EQ(blk_submit(r.b, &io[1]), 0);
	EXPECT_EQ(blk_submit(r.b, &io[2]), 0);
	while (!w[0].done || !w[1].done || !w[2].done)
		rig_turn(&r);
	io[1].op = BLK_WRITE;
	EXPECT_EQ(rw(&r, BLK_WRITE, 15, 1, buf), 0); /* its turn has come */
	rig_close(&r);
	munmap(buf, 2 * 4096);
}

/* 512-byte neighbours, one past the page cache and one through it, at once: neither may undo the other. */
TEST(file_direct_and_cached_neighbours)
{
	uint8_t *buf = pages(2 * 4096), *back = pages(4096);
	struct rng rng = { 5 };
	struct rig r;

	rig_open(&r, &stacks[2], 512);
	for (int round = 0; round < 200; round++) {
		struct iovec v[2] = { { buf, 4096 }, { buf + 4096, 512 } };
		struct wait w[2] = { { 0 }, { 0 } };
		struct blk_io io[2] = {
			{ .op = BLK_WRITE, .lba = 8, .nlb = 8, .iov = &v[0], .iovcnt = 1, .done = io_done, .ctx = &w[0] },
			{ .op = BLK_WRITE, .lba = 8 + rng_below(&rng, 8), .nlb = 1, .iov = &v[1], .iovcnt = 1, .done = io_done, .ctx = &w[1] },
		};
		int first = (int)rng_below(&rng, 2);

		memset(buf, round * 2 + 1, 4096);
		memset(buf + 4096, round * 2 + 2, 512);
		for (int k = 0; k < 2; k++)
			while (blk_submit(r.b, &io[k ^ first]) == -EAGAIN)
				rig_turn(&r);
		while (!w[0].done || !w[1].done)
			rig_turn(&r);
		EXPECT(!w[0].rc && !w[1].rc);
		EXPECT_EQ(rw(&r, BLK_READ, 8, 8, back), 0);
		for (uint64_t i = 0; i < 8; i++) /* where both wrote, either may have won */
			if (8 + i != io[1].lba)
				EXPECT_EQ(back[i * 512 + 9], (uint8_t)(round * 2 + 1));
	}
	rig_close(&r);
	munmap(buf, 2 * 4096);
	munmap(back, 4096);
}

/* A full disk is the caller's to report; the image and what was in it stay usable. */
TEST(file_full_disk_is_enospc)
{
	uint8_t *buf = pages(1 << 20);
	struct rig r = { .bs = 4096 };
	struct err e;
	int rc = 0;

	rig_dir(&r);
	if (geteuid() || mount("none", r.dir, "tmpfs", 0, "size=512k")) {
		rig_clean(&r);
		munmap(buf, 1 << 20);
		print_message("# skipped: a small tmpfs can be mounted by root only\n");
		skip();
	}
	r.b = need(open_file(&r, &(struct blk_file_cfg){ .create = true, .blocks = 256, .direct = true }, &e), &e);
	memset(buf, 3, 1 << 20);
	EXPECT_EQ(rw(&r, BLK_WRITE, 0, 64, buf), 0);
	for (uint64_t lba = 64; lba < 256 && !rc; lba += 16)
		rc = rw(&r, BLK_WRITE, lba, 16, buf);
	EXPECT(rc == -ENOSPC);
	memset(buf, 0, 1 << 20);
	EXPECT_EQ(rw(&r, BLK_READ, 0, 64, buf), 0);
	EXPECT_EQ(buf[64 * 4096 - 1], 3);
	/* tmpfs has no ZERO_RANGE: the zeroes are written, in place */
	EXPECT_EQ(range(&r, BLK_ZERO, 1, 40, false), 0);
	EXPECT_EQ(rw(&r, BLK_READ, 0, 64, buf), 0);
	EXPECT_EQ(buf[0], 3);
	EXPECT(all_zero(buf + 4096, 40 * 4096));
	EXPECT_EQ(buf[41 * 4096], 3);
	blk_close(r.b);
	EXPECT_EQ(umount(r.dir), 0);
	rig_clean(&r);
	munmap(buf, 1 << 20);
}

/* ---- wrappers ---- */

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
