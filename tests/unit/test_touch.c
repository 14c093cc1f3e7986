/* Touching: a VMM that copies its guest's memory itself must learn of every page the device wrote, and the byte by which it learns
 * must never overwrite what somebody else wrote meanwhile. Here gmem alone, against a pretend VMM that answers late, out of order,
 * with errors or never; test_touch_nvme.c has the controller. */
#include "vmm.h"

#include <sys/mman.h>

enum { BASE = 0x100000, PAGES = 64 };
static uint8_t mem[PAGES * 4096], other[PAGES * 4096];

#define GMEM(g, v)                                                                                                 \
	struct gmem g __attribute__((cleanup(gmem_fini)));                                                         \
	struct vmm *v;                                                                                             \
	gmem_init(&g);                                                                                             \
	memset(mem, 0, sizeof(mem));                                                                               \
	EXPECT_EQ(gmem_add(&g, BASE, sizeof(mem), mem, true, true), 0);                                            \
	v = vmm_on(&g)

static void wrote(struct gmem *g, unsigned page) { gmem_mark(g, BASE + page * 4096ull, 4096); }

TEST(off_costs_and_tells_nothing)
{
	GMEM(g, v);

	wrote(&g, 1);
	EXPECT(!g.watched);
	EXPECT_EQ(g.touch.queued, 0);
	vmm_take(v);
	EXPECT_EQ(v->taken, 0);
	EXPECT_EQ(gmem_touch_flush(&g), -EIO);	/* nobody has kept count */
	gmem_touch_stop(&g);
}

TEST(start_once_and_only_if_somebody_listens)
{
	GMEM(g, v);

	(void)v;
	gmem_touch_teller(&g, false);
	EXPECT_EQ(gmem_touch_start(&g, 4), -ENOTCONN);
	gmem_touch_teller(&g, true);
	EXPECT_EQ(gmem_touch_start(&g, 4), 0);
	EXPECT_EQ(gmem_touch_start(&g, 4), -EBUSY);
	EXPECT_EQ(gmem_touch_flush(&g), 0);
	gmem_touch_stop(&g);
	EXPECT(!g.watched);
	EXPECT_EQ(gmem_touch_start(&g, 4), 0);
}

/* Tracking and touching are two readers: neither's end is the other's. */
TEST(tracking_and_touching_are_independent)
{
	struct gmem_track_range range = { .iova = BASE, .len = sizeof(mem) };
	struct gmem_cursor cur = { 0 };
	uint64_t iova, n;
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	EXPECT_EQ(gmem_track_start(&g, &range, 1, 12), 0);
	wrote(&g, 3);
	gmem_track_mark(&g, BASE + 5 * 4096, 1);	/* of the bitmap only */
	EXPECT_EQ(gmem_track_next(&g, &cur, 1, true, &iova, &n), 0);
	EXPECT_EQ(iova, BASE + 3 * 4096);
	EXPECT_EQ(gmem_track_next(&g, &cur, 1, true, &iova, &n), 0);
	EXPECT_EQ(g.touch.queued, 1);
	gmem_track_stop(&g);
	wrote(&g, 4);
	EXPECT_EQ(g.touch.queued, 2);
	EXPECT_EQ(gmem_track_start(&g, &range, 1, 12), 0);
	gmem_touch_stop(&g);
	wrote(&g, 6);
	EXPECT_EQ(gmem_track_next(&g, &cur, 1, true, &iova, &n), 0);
	EXPECT_EQ(iova, BASE + 6 * 4096);
	(void)v;
}

/* One byte per page, inside what was written: the rest of the page may belong to somebody else. */
TEST(the_byte_is_one_that_was_written)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	mem[0x1ffe] = 7;
	mem[0x2000] = 8;
	mem[0x3000] = 9;
	gmem_mark(&g, BASE + 0x1ffe, 0x1003);
	vmm_take(v);
	EXPECT_EQ(v->count, 3);
	EXPECT_EQ(v->out[0].iova, BASE + 0x1ffe);
	EXPECT_EQ(v->out[0].byte, 7);
	EXPECT_EQ(v->out[1].iova, BASE + 0x2000);
	EXPECT_EQ(v->out[1].byte, 8);
	EXPECT_EQ(v->out[2].iova, BASE + 0x3000);
	EXPECT_EQ(v->out[2].byte, 9);
}

/* The byte is read when the page is sent, not when it was marked. */
TEST(the_byte_is_read_at_the_last_moment)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	wrote(&g, 0);
	mem[0] = 0x55;
	vmm_take(v);
	EXPECT_EQ(v->out[0].byte, 0x55);
}

/* told is the answered beginning of the queue: an answer that overtakes another does not count before that one. */
TEST(answers_in_any_order)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	gmem_mark(&g, BASE, 4 * 4096);
	vmm_take(v);
	vmm_answer(v, 2, 0);
	vmm_answer(v, 1, 0);
	EXPECT(!gmem_touched(&g, 1));
	vmm_answer(v, 0, 0);
	EXPECT(gmem_touched(&g, 3));
	EXPECT(!gmem_touched(&g, 4));
	gmem_touch_answer(&g, 0, -EIO);			/* twice */
	gmem_touch_answer(&g, 2, 0);
	gmem_touch_answer(&g, 77, 0);			/* made up */
	gmem_touch_answer(&g, UINT64_MAX, 0);
	EXPECT(!gmem_touched(&g, 4));
	EXPECT_EQ(g.touch.late_count, 0);
	vmm_answer(v, 0, 0);
	EXPECT(gmem_touched(&g, 4));
}

/* An answer to a page that waits its turn is nobody's. */
TEST(answer_before_the_question)
{
	GMEM(g, v);

	(void)v;
	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	wrote(&g, 0);
	gmem_touch_answer(&g, 0, 0);
	EXPECT(!gmem_touched(&g, 1));
}

/* The first late_max distinct data pages are remembered and cost nothing until the flush, however often they are written. */
TEST(late_data_pages)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 3), 0);
	for (unsigned i = 0; i < 10; i++)
		gmem_mark(&g, BASE + i % 3 * 4096, 100);
	EXPECT_EQ(g.touch.queued, 0);
	wrote(&g, 3);
	wrote(&g, 0);
	EXPECT_EQ(g.touch.queued, 1);
	vmm_take(v);
	EXPECT_EQ(v->count, 1);
	EXPECT_EQ(v->out[0].iova, BASE + 3 * 4096);
}

/* Ring pages are always late and do not use up the places of data. */
TEST(ring_pages_are_late)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 1), 0);
	for (unsigned i = 0; i < 5; i++)
		gmem_mark_ring(&g, BASE + i * 4096, 16);
	EXPECT_EQ(g.touch.queued, 0);
	wrote(&g, 10);
	EXPECT_EQ(g.touch.queued, 0);
	wrote(&g, 11);
	EXPECT_EQ(g.touch.queued, 1);
	vmm_take(v);
	vmm_answer_all(v);
	EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
	vmm_take(v);
	EXPECT_EQ(v->count, 6);
	for (unsigned i = 0; i < 5; i++)
		EXPECT(vmm_has(v, BASE + i * 4096));
	EXPECT(vmm_has(v, BASE + 10 * 4096));
}

/* Flush is done when the last answer is there, not before; what is written afterwards is new. */
TEST(flush_waits_for_every_answer)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 8), 0);
	gmem_mark(&g, BASE, 5 * 4096);
	EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
	vmm_take(v);
	EXPECT_EQ(v->count, 5);
	while (v->count) {
		EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
		vmm_answer(v, v->count - 1, 0);
	}
	EXPECT_EQ(gmem_touch_flush(&g), 0);
	EXPECT_EQ(gmem_touch_flush(&g), 0);
	wrote(&g, 2);				/* the move was undone and begins anew */
	EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
	vmm_take(v);
	EXPECT_EQ(v->count, 1);
	vmm_answer_all(v);
	EXPECT_EQ(gmem_touch_flush(&g), 0);
}

/* A page written between two calls of flush, already told: it is told again. */
TEST(written_during_flush)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 8), 0);
	gmem_mark(&g, BASE, 3 * 4096);
	EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
	vmm_take(v);
	gmem_mark_ring(&g, BASE + 4096, 16);
	vmm_answer_all(v);
	EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
	vmm_take(v);
	EXPECT_EQ(v->count, 1);
	EXPECT_EQ(v->out[0].iova / 4096, BASE / 4096 + 1);
}

/* A refusal during the run harms nobody: the page is late. At the flush there is no other chance. */
TEST(refused_is_late_then_failed)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	wrote(&g, 1);
	vmm_take(v);
	vmm_answer(v, 0, -ENODEV);
	EXPECT(gmem_touched(&g, 1));
	EXPECT_EQ(g.touch.failed, 0);
	EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
	vmm_take(v);
	EXPECT_EQ(v->out[0].iova, BASE + 4096);
	vmm_answer(v, 0, -ENODEV);
	EXPECT_EQ(gmem_touch_flush(&g), -EIO);
	EXPECT_EQ(g.touch.rc, -ENODEV);
	EXPECT_EQ(gmem_touch_flush(&g), -EIO);
	gmem_touch_stop(&g);
	EXPECT_EQ(gmem_touch_start(&g, 0), 0);	/* the next move begins with a clean record */
	EXPECT_EQ(gmem_touch_flush(&g), 0);
}

TEST(overdue_fails_the_move_and_frees_nobody)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	wrote(&g, 1);
	vmm_take(v);
	gmem_touch_overdue(&g);
	EXPECT(!gmem_touched(&g, 1));		/* the byte may still be written */
	EXPECT_EQ(gmem_touch_flush(&g), -EIO);
	EXPECT_EQ(g.touch.rc, -ETIMEDOUT);
	vmm_answer_all(v);
	EXPECT(gmem_touched(&g, 1));
}

/* ---- too many ---- */

static uint8_t *huge(size_t bytes)
{
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	EXPECT(p != MAP_FAILED);
	return p;
}

/* What does not fit the queue is late even beyond late_max, and the flush tells all of it, in as many goes as it takes. */
TEST(queue_full)
{
	enum { EXTRA = 1000 };
	size_t bytes = (GMEM_TOUCH_QUEUE + EXTRA) * 4096ull;
	uint8_t *p = huge(bytes);
	static bool seen[GMEM_TOUCH_QUEUE + EXTRA];
	unsigned n = 0;
	GMEM(g, v);

	EXPECT_EQ(gmem_add(&g, 1ull << 32, bytes, p, true, true), 0);
	EXPECT_EQ(gmem_touch_start(&g, 10), 0);
	gmem_mark(&g, 1ull << 32, bytes);
	EXPECT_EQ(g.touch.queued, GMEM_TOUCH_QUEUE);
	EXPECT_EQ(g.touch.late_count, EXTRA);
	EXPECT_EQ(g.touch.failed, 0);
	EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
	do {
		vmm_take(v);
		while (v->count)
			seen[(vmm_answer(v, v->count / 2, 0).iova - (1ull << 32)) / 4096] = true;
	} while (gmem_touch_flush(&g) == -EAGAIN);
	EXPECT_EQ(gmem_touch_flush(&g), 0);
	for (unsigned i = 0; i < ARRAY_LEN(seen); i++)
		n += seen[i];
	EXPECT_EQ(n, ARRAY_LEN(seen));
	EXPECT_EQ(v->taken, ARRAY_LEN(seen));
	munmap(p, bytes);
}

/* Beyond that the move fails, and only the move: nobody waits for what is in no queue. */
TEST(late_full)
{
	size_t bytes = (GMEM_TOUCH_QUEUE + GMEM_TOUCH_SPARE + 20) * 4096ull;
	uint8_t *p = huge(bytes);
	GMEM(g, v);

	EXPECT_EQ(gmem_add(&g, 1ull << 32, bytes, p, true, true), 0);
	EXPECT_EQ(gmem_touch_start(&g, 19), 0);
	gmem_mark(&g, 1ull << 32, bytes - 4096);
	EXPECT_EQ(g.touch.failed, 0);
	gmem_mark(&g, (1ull << 32) + bytes - 4096, 4096);
	EXPECT_EQ(g.touch.failed, 1);
	EXPECT_EQ(g.touch.rc, -ENOSPC);
	vmm_take(v);
	vmm_answer_all(v);
	EXPECT(gmem_touched(&g, g.touch.queued));
	EXPECT_EQ(gmem_touch_flush(&g), -EIO);
	munmap(p, bytes);
}

/* The late set as full as it gets, in rounds of a flush that gets stuck half way and pages written again: each is told once per
 * round in which it was written, and none is forgotten. */
TEST(late_set_under_load)
{
	enum { N = GMEM_TOUCH_SPARE };
	uint8_t *p = huge(4ull * N * 4096);
	static uint8_t want[4 * N];
	uint64_t x = 1;
	GMEM(g, v);

	memset(want, 0, sizeof(want));
	EXPECT_EQ(gmem_add(&g, 1ull << 32, 4ull * N * 4096, p, true, true), 0);
	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	for (unsigned round = 0; round < 6; round++) {
		while (g.touch.late_count < N) {
			unsigned i;

			x = x * 6364136223846793005ull + 1442695040888963407ull;
			i = (unsigned)(x >> 40) % (4 * N);
			gmem_mark_ring(&g, (1ull << 32) + i * 4096ull, 16);
			want[i] = 1;
		}
		for (unsigned i = 0; i < GMEM_TOUCH_QUEUE - N / 2; i++)	/* leaves room for half of it */
			gmem_mark(&g, BASE, 1);
		EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
		EXPECT(g.touch.late_count);
		vmm_take(v);
		while (v->count) {
			uint64_t iova = vmm_answer(v, v->count - 1, 0).iova;

			if (iova >= 1ull << 32) {
				EXPECT_EQ(want[(iova - (1ull << 32)) / 4096], 1);
				want[(iova - (1ull << 32)) / 4096] = 0;
			}
		}
	}
	EXPECT_EQ(g.touch.failed, 0);
	while (gmem_touch_flush(&g) == -EAGAIN) {
		vmm_take(v);
		while (v->count)
			want[(vmm_answer(v, v->count - 1, 0).iova - (1ull << 32)) / 4096]--;
	}
	for (unsigned i = 0; i < 4 * N; i++)
		EXPECT_EQ(want[i], 0);
	munmap(p, 4ull * N * 4096);
}

/* ---- the memory map changes ---- */

/* Firmware takes all memory away and brings the same back: nothing is lost, nothing fails. */
TEST(unmapped_and_back)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 1), 0);
	wrote(&g, 0);
	wrote(&g, 1);
	EXPECT_EQ(gmem_del(&g, BASE, sizeof(mem), NULL), 0);
	vmm_take(v);
	EXPECT_EQ(v->count, 0);
	EXPECT(gmem_touched(&g, 1));			/* nothing was sent, nothing has to be waited for */
	EXPECT_EQ(gmem_add_home(&g, BASE, 4096, mem, true, true, (uintptr_t)mem), 0);
	EXPECT_EQ(gmem_add_home(&g, BASE + 4096, sizeof(mem) - 4096, mem + 4096, true, true, (uintptr_t)mem + 4096), 0);
	EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
	vmm_take(v);
	EXPECT(vmm_has(v, BASE) && vmm_has(v, BASE + 4096));
	vmm_answer_all(v);
	EXPECT_EQ(gmem_touch_flush(&g), 0);
}

/* Gone, read-only, or other memory at the flush: what was written may live on elsewhere, and cannot be told. */
TEST(unmapped_at_the_flush)
{
	for (unsigned how = 0; how < 3; how++) {
		GMEM(g, v);

		EXPECT_EQ(gmem_touch_start(&g, 8), 0);
		wrote(&g, 0);
		EXPECT_EQ(gmem_del(&g, BASE, sizeof(mem), NULL), 0);
		if (how == 1)
			EXPECT_EQ(gmem_add(&g, BASE, sizeof(mem), mem, true, false), 0);
		if (how == 2)
			EXPECT_EQ(gmem_add(&g, BASE, sizeof(mem), other, true, true), 0);
		EXPECT_EQ(vmm_flush(v), -EIO);
		EXPECT_EQ(v->taken, 0);
	}
}

/* The same address is other memory now and is written again: the first is lost, and that is known. */
TEST(written_again_elsewhere)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 8), 0);
	wrote(&g, 0);
	EXPECT_EQ(gmem_del(&g, BASE, sizeof(mem), NULL), 0);
	EXPECT_EQ(gmem_add(&g, BASE, sizeof(mem), other, true, true), 0);
	wrote(&g, 0);
	EXPECT_EQ(vmm_flush(v), -EIO);
	EXPECT_EQ(g.touch.rc, -ESTALE);
}

/* An unmap is never kept waiting by touches, on their way or not; while it waits for the device nothing more is sent. */
TEST(unmap_does_not_wait)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	wrote(&g, 0);
	vmm_take(v);
	wrote(&g, 1);
	gmem_hold(&g);
	EXPECT_EQ(gmem_del(&g, BASE, sizeof(mem), NULL), -EAGAIN);
	vmm_take(v);
	EXPECT_EQ(v->count, 1);
	gmem_release(&g);
	EXPECT_EQ(gmem_del(&g, BASE, sizeof(mem), NULL), 0);
	vmm_answer(v, 0, -EFAULT);
	vmm_take(v);
	EXPECT(gmem_touched(&g, 2));
	EXPECT_EQ(g.touch.failed, 0);
	EXPECT_EQ(gmem_add(&g, BASE, sizeof(mem), mem, true, true), 0);
	EXPECT_EQ(vmm_flush(v), 0);
	EXPECT_EQ(v->taken, 3);
}

/* What a DMA_WRITE with data has reached needs no second one; the direct part of the same transfer does. */
static struct gmem_op *sent;
static int remote_keep(void *ctx, struct gmem_op *op)
{
	(void)ctx;
	sent = op;
	return 0;
}
static void op_nothing(struct gmem_op *op, int rc) { (void)op; (void)rc; }

TEST(memory_by_message_needs_none)
{
	uint8_t buf[8192] = { 1 };
	struct gmem_op op = { .iova = BASE + sizeof(mem), .buf = buf, .len = 4096, .write = true, .done = op_nothing };
	GMEM(g, v);

	EXPECT_EQ(gmem_add(&g, BASE + sizeof(mem), 4096, NULL, true, true), 0);
	g.remote = remote_keep;
	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	EXPECT_EQ(gmem_submit(&g, &op), 0);
	sent->done(sent, 0);
	EXPECT_EQ(op.touch, 0);
	EXPECT_EQ(g.touch.queued, 0);
	op.iova -= 4096;
	op.len = 8192;
	EXPECT_EQ(gmem_submit(&g, &op), 0);
	sent->done(sent, 0);
	EXPECT_EQ(op.touch, 1);
	vmm_take(v);
	EXPECT_EQ(v->count, 1);
	EXPECT_EQ(v->out[0].iova, BASE + sizeof(mem) - 4096);
	op.iova = BASE;
	op.ring = true;
	EXPECT_EQ(gmem_submit(&g, &op), 1);
	EXPECT_EQ(op.touch, 0);
	EXPECT_EQ(g.touch.late_count, 2);
}

/* ---- stop, reset, and a client that leaves ---- */

/* The move is called off. What was sent will be written, so it is still waited for; what was not is forgotten. */
TEST(stop_waits_for_what_is_on_its_way)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	wrote(&g, 0);
	wrote(&g, 1);
	vmm_take(v);
	wrote(&g, 2);
	wrote(&g, 3);
	gmem_touch_stop(&g);
	EXPECT(!gmem_touched(&g, 4));
	vmm_take(v);
	EXPECT_EQ(v->count, 2);
	vmm_answer(v, 1, 0);
	EXPECT(!gmem_touched(&g, 1));
	EXPECT_EQ(gmem_touch_start(&g, 4), 0);	/* another move, while a page of the first is still out */
	wrote(&g, 5);
	vmm_answer(v, 0, -EFAULT);
	EXPECT(gmem_touched(&g, 4));
	EXPECT_EQ(g.touch.late_count, 2);		/* its own, and the refused one: one too many does no harm */
	EXPECT_EQ(vmm_flush(v), 0);
	gmem_touch_stop(&g);
	EXPECT(g.touch.queue == NULL);
}

TEST(drop_makes_late)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	wrote(&g, 0);
	vmm_take(v);
	wrote(&g, 1);
	wrote(&g, 2);
	gmem_touch_drop(&g);
	vmm_take(v);
	EXPECT_EQ(v->count, 1);
	EXPECT(!gmem_touched(&g, 3));
	vmm_answer_all(v);
	EXPECT(gmem_touched(&g, 3));
	EXPECT_EQ(gmem_touch_flush(&g), -EAGAIN);
	vmm_take(v);
	EXPECT_EQ(v->count, 2);
}

/* Nobody waits for a client that is gone, and nothing more is queued for it. */
TEST(client_gone)
{
	GMEM(g, v);

	EXPECT_EQ(gmem_touch_start(&g, 0), 0);
	wrote(&g, 0);
	vmm_take(v);
	wrote(&g, 1);
	vmm_answer(v, 0, -ENOTCONN);
	gmem_touch_teller(&g, false);
	wrote(&g, 2);
	EXPECT(gmem_touched(&g, g.touch.queued));
	EXPECT_EQ(gmem_touch_flush(&g), -EIO);
	EXPECT_EQ(g.touch.rc, -ENOTCONN);
}

/* ---- everything at once, against a copy ------------------------------------------------------------------------------ */

struct rng { uint64_t s; };
static unsigned rnd(struct rng *r, unsigned below)
{
	r->s = r->s * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(r->s >> 33) % below;
}

static uint8_t copied[PAGES * 4096];
static bool dirty[PAGES];

static void copy_page(unsigned i)
{
	dirty[i] = false;
	memcpy(copied + i * 4096, mem + i * 4096, 4096);
}

static void do_answer(struct vmm *v, struct rng *r)
{
	unsigned i = v->count ? rnd(r, v->count) : 0;
	bool refuse = !rnd(r, 8);

	if (!v->count)
		return;
	if (!refuse)
		dirty[(v->out[i].iova - BASE) / 4096] = true;
	vmm_answer(v, i, refuse ? -ENODEV : 0);
}

/* Random writes, marks, copies, answers and refusals: after the flush the copy is the memory. 200 seeds. */
TEST(a_copy_made_meanwhile_is_complete)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct rng r = { seed };
		GMEM(g, v);

		memset(dirty, 1, sizeof(dirty));
		EXPECT_EQ(gmem_touch_start(&g, rnd(&r, 20)), 0);
		for (unsigned n = 0; n < 2000; n++) {
			unsigned page = rnd(&r, PAGES), at = page * 4096 + rnd(&r, 4096), len = 1 + rnd(&r, 9000);

			switch (rnd(&r, 5)) {
			case 0:
				len = MIN(len, (unsigned)sizeof(mem) - at);
				memset(mem + at, (int)rnd(&r, 256), len);
				if (rnd(&r, 4))
					gmem_mark(&g, BASE + at, len);
				else
					gmem_mark_ring(&g, BASE + at, len);
				break;
			case 1: copy_page(page); break;
			case 2: vmm_take(v); break;
			default: do_answer(v, &r); break;
			}
			if (!rnd(&r, 300))
				gmem_touch_drop(&g);
			if (!rnd(&r, 300))
				gmem_touch_flush(&g);
			/* A refusal of what that flush queued is final, but the move goes on here: begin again. */
			if (g.touch.failed) {
				gmem_touch_stop(&g);
				EXPECT_EQ(gmem_touch_start(&g, rnd(&r, 20)), 0);
				memset(dirty, 1, sizeof(dirty));
			}
		}
		while (gmem_touch_flush(&g) == -EAGAIN) {
			vmm_take(v);
			while (v->count) {
				dirty[(v->out[0].iova - BASE) / 4096] = true;
				vmm_answer(v, 0, 0);
			}
		}
		EXPECT_EQ(gmem_touch_flush(&g), 0);
		for (unsigned i = 0; i < PAGES; i++)
			if (dirty[i])
				copy_page(i);
		EXPECT_MEM(copied, mem, sizeof(mem));
	}
}
