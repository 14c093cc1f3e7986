/* For the tests of backends: one stack of them at a time, over a file of its own or memory, with synchronous helpers.
 *
 *   struct rig r;
 *   EACH_STACK(&r) { EXPECT_EQ(rw(&r, BLK_WRITE, 0, 1, buf), 0); }
 */
#ifndef FERRY_TESTS_BLKRIG_H
#define FERRY_TESTS_BLKRIG_H

#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

static inline uint64_t rig_clock(void *ctx) { return ((struct rig *)ctx)->now; }

static inline struct blk *need(struct blk *b, const struct err *e)
{
	if (!b)
		fail_msg("%s", e->text);
	return b;
}

static inline void rig_dir(struct rig *r)
{
	if (r->dir[0])
		return;
	strcpy(r->dir, "/tmp/ferry-block-XXXXXX");
	EXPECT(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/disk", r->dir);
}

static inline struct blk *make_ram(struct rig *r)
{
	struct err e;

	return need(blk_ram_open(r->bs, BLOCKS, &e), &e);
}

static inline struct blk *make_file_as(struct rig *r, bool direct, bool blocking)
{
	struct err e;

	rig_dir(r);
	return need(blk_file_open(&(struct blk_file_cfg){ .path = r->path, .block_bytes = r->bs, .blocks = BLOCKS, .create = true,
							  .direct = direct, .blocking = blocking }, &e), &e);
}
static inline struct blk *make_file(struct rig *r) { return make_file_as(r, false, false); }
static inline struct blk *make_direct(struct rig *r) { return make_file_as(r, true, false); }
static inline struct blk *make_blocking(struct rig *r) { return make_file_as(r, true, true); }

static inline struct blk *slow(struct rig *r, struct blk *below)
{
	struct err e;

	r->fake_time = true;
	return need(blk_delay_open(below, 10, 5000, 7, rig_clock, r, &e), &e);
}
static inline struct blk *stamped(struct blk *below)
{
	struct err e;

	return need(blk_stamp_open(below, &e), &e);
}
static inline struct blk *failing(struct rig *r, struct blk *below)
{
	struct err e;

	return r->error = need(blk_error_open(below, &(struct blk_error_cfg){ .seed = 3, .rc = -EIO }, &e), &e);
}
static inline struct blk *make_delay(struct rig *r) { return slow(r, make_ram(r)); }
static inline struct blk *make_error(struct rig *r) { return failing(r, make_ram(r)); }
static inline struct blk *make_stamp(struct rig *r) { return stamped(make_ram(r)); }
static inline struct blk *make_tower(struct rig *r) { return stamped(slow(r, failing(r, make_ram(r)))); }
static inline struct blk *make_tower_file(struct rig *r) { return stamped(slow(r, failing(r, make_direct(r)))); }
static inline struct blk *make_upside_down(struct rig *r) { return failing(r, slow(r, stamped(make_direct(r)))); }

static const struct stack { const char *name; struct blk *(*make)(struct rig *); } stacks[] = {
	{ "ram", make_ram }, { "file", make_file }, { "file-direct", make_direct }, { "file-blocking", make_blocking },
	{ "delay-ram", make_delay }, { "error-ram", make_error }, { "stamp-ram", make_stamp },
	{ "stamp-delay-error-ram", make_tower }, { "stamp-delay-error-file", make_tower_file },
	{ "error-delay-stamp-file", make_upside_down },
};

static inline void rig_open(struct rig *r, const struct stack *s, uint32_t bs)
{
	*r = (struct rig){ .bs = bs };
	r->b = s->make(r);
}

static inline void rig_close(struct rig *r)
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

static inline void io_done(struct blk_io *io, int rc)
{
	struct wait *w = io->ctx;

	EXPECT(!w->done); /* called once */
	*w = (struct wait){ rc, true };
}

/* One turn of a main loop. A stack on real time sleeps on its descriptor, which so must wake us. */
static inline void rig_turn(struct rig *r)
{
	int fd = r->fake_time ? -1 : r->b->ops->wait_fd(r->b);

	r->now += 100;
	if (blk_poll(r->b) || r->fake_time)
		return;
	EXPECT(fd >= 0);
	EXPECT_EQ(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 60000), 1);
}

static inline int rig_io(struct rig *r, struct blk_io *io)
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

static inline int rw(struct rig *r, enum blk_op op, uint64_t lba, uint64_t nlb, void *buf)
{
	struct iovec v = { buf, nlb * r->bs };

	return rig_io(r, &(struct blk_io){ .op = op, .lba = lba, .nlb = nlb, .iov = &v, .iovcnt = 1 });
}
static inline int range(struct rig *r, enum blk_op op, uint64_t lba, uint64_t nlb, bool dealloc)
{
	return rig_io(r, &(struct blk_io){ .op = op, .lba = lba, .nlb = nlb, .dealloc = dealloc });
}

static inline uint8_t *pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT(p != MAP_FAILED);
	return p;
}

static inline bool all_zero(const uint8_t *p, size_t n) { return !n || (!p[0] && !memcmp(p, p + 1, n - 1)); }

static inline bool in_map(struct rig *r, uint64_t lba)
{
	uint64_t start, len;

	return !blk_next_allocated(r->b, lba, &start, &len) && start == lba;
}

#endif
