/* gmem: translation, transfers over map borders, and the dirty record that a move's correctness hangs on. */
#include "t.h"

#include <errno.h>

#include "device/gmem.h"

static uint8_t pages[16 * 4096];

static struct gmem_op *waiting[8];
static unsigned waiting_count;
static int remote_queue(void *ctx, struct gmem_op *op)
{
	(void)ctx;
	waiting[waiting_count++] = op;
	return 0;
}

static int op_rc;
static unsigned op_dones;
static void op_note(struct gmem_op *op, int rc)
{
	(void)op;
	op_rc = rc;
	op_dones++;
}

TEST(add_refuses_what_overlaps_but_takes_the_same_again)
{
	struct gmem g;

	gmem_init(&g);
	EXPECT_EQ(gmem_add(&g, 0x10000, 0x4000, pages, true, true), 0);
	EXPECT_EQ(gmem_add(&g, 0x10000, 0x4000, pages, true, true), 0);
	EXPECT_EQ(g.count, 1);
	EXPECT_EQ(gmem_add(&g, 0x10000, 0x4000, pages, true, false), -EEXIST);
	EXPECT_EQ(gmem_add(&g, 0x13fff, 0x1000, pages, true, true), -EEXIST);
	EXPECT_EQ(gmem_add(&g, 0xf000, 0x1001, pages, true, true), -EEXIST);
	EXPECT_EQ(gmem_add(&g, 0, 0, pages, true, true), -EINVAL);
	EXPECT_EQ(gmem_add(&g, UINT64_MAX - 10, 0x1000, pages, true, true), -EINVAL);
	EXPECT_EQ(gmem_add(&g, UINT64_MAX - 0xfff, 0x1000, pages, true, true), 0);
	EXPECT(gmem_ptr(&g, UINT64_MAX - 0xf, 0x10, true) == pages + 0xff0);
	EXPECT(!gmem_ptr(&g, UINT64_MAX - 0xf, 0x11, true));
	gmem_fini(&g);
}

/* Many maps in any order: each address finds its own. */
TEST(find_among_many_in_any_order)
{
	struct gmem g;

	gmem_init(&g);
	for (unsigned i = 0; i < 200; i++)
		EXPECT_EQ(gmem_add(&g, (uint64_t)(i * 77 % 200) * 0x3000, 0x2000, pages + i, true, true), 0);
	for (unsigned i = 0; i < 200; i++) {
		uint64_t at = (uint64_t)(i * 77 % 200) * 0x3000;

		EXPECT(gmem_ptr(&g, at + 0x1fff, 1, false) == pages + i + 0x1fff);
		EXPECT(!gmem_ptr(&g, at + 0x2000, 1, false));
	}
	gmem_fini(&g);
}

TEST(ptr_honours_rights_and_borders)
{
	struct gmem g;

	gmem_init(&g);
	gmem_add(&g, 0x1000, 0x1000, pages, true, false);
	gmem_add(&g, 0x2000, 0x1000, pages + 0x1000, true, true);
	gmem_add(&g, 0x3000, 0x1000, pages + 0x8000, true, true);
	EXPECT(gmem_ptr(&g, 0x1800, 0x1000, false) == pages + 0x800);	/* adjacent in both worlds */
	EXPECT(!gmem_ptr(&g, 0x1800, 0x1000, true));			/* its first half is read only */
	EXPECT(!gmem_ptr(&g, 0x2800, 0x1000, false));			/* adjacent only for the guest */
	EXPECT(gmem_covers(&g, 0x1000, 0x3000, false));
	EXPECT(!gmem_covers(&g, 0x1000, 0x3000, true));
	EXPECT(!gmem_covers(&g, 0x3000, 0x1001, false));
	EXPECT(!gmem_covers(&g, 0x3000, UINT64_MAX, false));
	gmem_fini(&g);
}

/* A map is never taken away under a pointer in use. */
TEST(del_waits_for_holders)
{
	struct gmem g;
	struct gmem_map out = { 0 };

	gmem_init(&g);
	gmem_add(&g, 0x1000, 0x1000, pages, true, true);
	gmem_hold(&g);
	EXPECT_EQ(gmem_del(&g, 0x1000, 0x1000, &out), -EAGAIN);
	EXPECT(g.draining);
	EXPECT(gmem_ptr(&g, 0x1000, 1, true) != NULL);
	gmem_release(&g);
	EXPECT_EQ(gmem_del(&g, 0x1000, 0x800, &out), -ENOENT);
	EXPECT_EQ(gmem_del(&g, 0x1000, 0x1000, &out), 0);
	EXPECT(out.ptr == pages);
	EXPECT(!g.draining);
	EXPECT(!gmem_ptr(&g, 0x1000, 1, true));
	gmem_fini(&g);
}

/* One transfer over direct, by-message and direct memory again: the pieces arrive where they belong, once. */
TEST(submit_over_mixed_maps)
{
	struct gmem g;
	uint8_t buf[0x3000];
	struct gmem_op op = { .iova = 0x1000, .buf = buf, .len = sizeof(buf), .write = true, .done = op_note };

	gmem_init(&g);
	g.remote = remote_queue;
	gmem_add(&g, 0x1000, 0x1000, pages, true, true);
	gmem_add(&g, 0x2000, 0x1000, NULL, true, true);
	gmem_add(&g, 0x3000, 0x1000, pages + 0x5000, true, true);
	gmem_track_start(&g, &(struct gmem_track_range){ .iova = 0, .len = 0x8000 }, 1, 12);
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i >> 12);
	memset(pages, 0xff, sizeof(pages));
	waiting_count = op_dones = 0;
	EXPECT_EQ(gmem_submit(&g, &op), 0);
	EXPECT_EQ(waiting_count, 1);
	EXPECT_EQ(waiting[0]->iova, 0x2000);
	EXPECT_EQ(waiting[0]->len, 0x1000);
	EXPECT(waiting[0]->buf == buf + 0x1000);
	EXPECT_EQ(pages[0x5000], 0xff);
	waiting[0]->done(waiting[0], 0);
	EXPECT_EQ(op_dones, 1);
	EXPECT_EQ(op_rc, 0);
	EXPECT_EQ(op.iova, 0x1000);
	EXPECT_EQ(op.len, sizeof(buf));
	EXPECT_EQ(pages[0xfff], 0);
	EXPECT_EQ(pages[0x5000], 2);
	uint64_t iova, n;
	struct gmem_cursor cur = { 0 };
	EXPECT_EQ(gmem_track_next(&g, &cur, 100, true, &iova, &n), 0);
	EXPECT_EQ(iova, 0x1000);
	EXPECT_EQ(n, 3);
	gmem_fini(&g);
}

TEST(submit_tells_of_failures_once)
{
	struct gmem g;
	uint8_t buf[64];
	struct gmem_op op = { .iova = 0x2000, .buf = buf, .len = 64, .done = op_note };

	gmem_init(&g);
	EXPECT_EQ(gmem_submit(&g, &op), -EFAULT);
	gmem_add(&g, 0x2000, 0x1000, NULL, true, true);
	EXPECT_EQ(gmem_submit(&g, &op), -EFAULT);	/* by message, but nobody is attached */
	g.remote = remote_queue;
	waiting_count = op_dones = 0;
	EXPECT_EQ(gmem_submit(&g, &op), 0);
	waiting[0]->done(waiting[0], -ECONNRESET);
	EXPECT_EQ(op_dones, 1);
	EXPECT_EQ(op_rc, -ECONNRESET);
	gmem_fini(&g);
}

/* Every byte of every range marks exactly its granule, at any granule size, also at the ends. */
TEST(marks_are_exact)
{
	struct gmem g;
	struct gmem_track_range r[2] = { { .iova = 0x10000, .len = 0x10000 }, { .iova = 0x40000, .len = 0x3800 } };
	struct gmem_cursor cur = { 0 };
	uint64_t iova, n;

	gmem_init(&g);
	EXPECT_EQ(gmem_track_start(&g, r, 2, 13), 0);
	EXPECT_EQ(gmem_track_start(&g, r, 2, 13), -EBUSY);
	gmem_mark(&g, 0xffff, 1);
	gmem_mark(&g, 0x20000, 1);
	EXPECT_EQ(gmem_track_next(&g, &cur, 100, true, &iova, &n), -ENOENT);
	gmem_mark(&g, 0xfff0, 0x11);		/* reaches one byte into the range */
	gmem_mark(&g, 0x437ff, 1);		/* last byte of the second, in a part granule */
	gmem_mark(&g, 0x15fff, 2);		/* over a granule border */
	EXPECT_EQ(gmem_track_next(&g, &cur, 100, true, &iova, &n), 0);
	EXPECT_EQ(iova, 0x10000);
	EXPECT_EQ(n, 1);
	EXPECT_EQ(gmem_track_next(&g, &cur, 100, true, &iova, &n), 0);
	EXPECT_EQ(iova, 0x14000);
	EXPECT_EQ(n, 2);
	EXPECT_EQ(gmem_track_next(&g, &cur, 100, true, &iova, &n), 0);
	EXPECT_EQ(iova, 0x42000);
	EXPECT_EQ(n, 1);
	EXPECT_EQ(gmem_track_next(&g, &cur, 100, true, &iova, &n), -ENOENT);
	gmem_fini(&g);
}

/* nvme-hmlm 4.4: a collection with too little room goes on behind the last one, so that no page waits for ever behind
 * one that is written all the time. */
TEST(collection_goes_on_where_it_stopped)
{
	struct gmem g;
	struct gmem_cursor cur = { 0 };
	uint64_t iova, n;

	gmem_init(&g);
	gmem_track_start(&g, &(struct gmem_track_range){ .iova = 0, .len = 300 << 12 }, 1, 12);
	gmem_mark(&g, 0, 4 << 12);
	gmem_mark(&g, 200 << 12, 1);
	EXPECT_EQ(gmem_track_next(&g, &cur, 3, false, &iova, &n), 0);	/* a look takes nothing */
	EXPECT_EQ(gmem_track_next(&g, &cur, 3, true, &iova, &n), 0);
	EXPECT_EQ(iova, 0);
	EXPECT_EQ(n, 3);
	gmem_mark(&g, 0, 1);			/* hot page, marked again */
	EXPECT_EQ(gmem_track_next(&g, &cur, 3, true, &iova, &n), 0);
	EXPECT_EQ(iova, 3 << 12);
	EXPECT_EQ(gmem_track_next(&g, &cur, 3, true, &iova, &n), 0);
	EXPECT_EQ(iova, 200 << 12);
	EXPECT_EQ(gmem_track_next(&g, &cur, 3, true, &iova, &n), 0);	/* once around */
	EXPECT_EQ(iova, 0);
	EXPECT_EQ(gmem_track_next(&g, &cur, 3, true, &iova, &n), -ENOENT);
	gmem_fini(&g);
}

TEST(track_start_judges)
{
	struct gmem g;

	gmem_init(&g);
	EXPECT_EQ(gmem_track_start(&g, &(struct gmem_track_range){ .iova = 0, .len = 0 }, 1, 12), -EINVAL);
	EXPECT_EQ(gmem_track_start(&g, &(struct gmem_track_range){ .iova = UINT64_MAX, .len = 2 }, 1, 12), -EINVAL);
	EXPECT_EQ(gmem_track_start(&g, &(struct gmem_track_range){ .len = 4096 }, 1, 11), -EINVAL);
	EXPECT_EQ(gmem_track_start(&g, &(struct gmem_track_range){ .len = UINT64_MAX }, 1, 12), -ENOMEM);
	EXPECT_EQ(g.track_count, 0);
	gmem_fini(&g);
}
