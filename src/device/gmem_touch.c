/* Touching: a VMM that copies its guest's memory itself is told which pages the device wrote.
 *
 * QEMU's record of dirty pages has what its processors wrote and what it wrote itself, so we let it write: one byte, the one that
 * is there, by DMA_WRITE. gmem.c calls the marks, the device's commands wait by gmem_touched, the transport takes pages out of
 * the queue and answers them, the move starts, flushes and stops. Device thread only.
 *
 * The danger is the byte. Between our reading it and the VMM's writing it nobody may change it, or the guest's data is corrupted.
 *  - A page told at once: the byte lies in what a command has just written, and the command's completion is posted only after the
 *    answer. Until then that memory is the device's. The rest of the page is not touched and may change as it likes.
 *  - A late page (told by flush): processors and device stand, nobody writes anything.
 *  - A reset gives the guest its memory back without completions. It calls gmem_touch_drop, after which nothing more is sent; for
 *    what is on its way CSTS.RDY stays 1 (ctrl.c), and that is what a driver waits for. Who does not look at it: after a Function
 *    Level Reset software keeps off for 100 ms, and QEMU's main loop takes the few messages from its socket as soon as it runs;
 *    DEVICE_RESET is a machine's reset, before which QEMU switched bus mastering off, and then it refuses our DMA_WRITEs.
 *    These two are answered at once whatever is on its way: QEMU holds its big lock until it has our answer, and without that
 *    lock no DMA_WRITE of ours is ever answered.
 *  - DMA_UNMAP does not wait either, for the same reason. The byte on its way belongs to a command that is not complete, so its
 *    memory is still the device's, and a guest that keeps to the rules does not take the mapping away. QEMU does, when it arranges
 *    its memory anew (firmware's shadow RAM): then the same memory is there again or is not; the byte is written where it was read,
 *    or refused, and the page becomes late.
 *
 * A page is an address and a home: which memory was there when it was written. One that is not mapped when its turn comes is late;
 * one that at the flush is not mapped, or whose address is other memory by then, cannot be told: the memory that was written may
 * live on behind another address, so that is a failure, not a reason to forget it. So firmware's total unmap and map costs nothing,
 * and a VM with an IOMMU, whose addresses mean other memory from one minute to the next, is refused instead of corrupted.
 * Memory that is reached by message needs none of this: the DMA_WRITE with the data was the telling.
 */
#include <errno.h>
#include <stdlib.h>

#include "device/gmem.h"

enum { PAGE = 4096 };

enum { WAITS, OUT, TOLD };
struct gmem_touch_page {
	uint64_t iova;			/* of a byte that was written */
	uint64_t home;			/* of its page */
	uint8_t state;			/* in the queue */
	bool last;			/* in the queue: put there by flush, has no other chance */
	bool counts;			/* in late: one of late_max */
};

static struct gmem_touch_page *queue_slot(struct gmem_touch *t, uint64_t number)
{
	return &t->queue[number % GMEM_TOUCH_QUEUE];
}

static bool queue_has_room(const struct gmem_touch *t) { return t->queued - t->told < GMEM_TOUCH_QUEUE; }

static void fail(struct gmem_touch *t, int rc)
{
	if (!t->failed++)
		t->rc = rc;
}

static uint64_t home_of(const struct gmem_map *m, uint64_t iova)
{
	return round_down(m->home + (iova - m->iova), PAGE);
}

/* ---- the late set: a dense array, and a hash of the page's number to find it ---- */

/* A guest chooses its addresses; where the set lies it does not know, so it cannot make all of them meet in one place and our thread
 * slow. Nothing but speed depends on the value. */
static unsigned late_hash(const struct gmem_touch *t, uint64_t iova)
{
	uint64_t h = (iova / PAGE ^ (uintptr_t)t->late) * 0x9e3779b97f4a7c15ull;

	h = (h ^ h >> 32 ^ (uintptr_t)t->late_index) * 0xd6e8feb86659fd93ull;
	return (unsigned)(h >> 32) & t->late_index_mask;
}

/* The index cell of the page: 0, or its place in late plus one. At most half of the cells are in use. */
static uint32_t *late_cell(struct gmem_touch *t, uint64_t iova)
{
	unsigned i = late_hash(t, iova);

	while (t->late_index[i] && t->late[t->late_index[i] - 1].iova / PAGE != iova / PAGE)
		i = (i + 1) & t->late_index_mask;
	return &t->late_index[i];
}

static bool late_has(struct gmem_touch *t, uint64_t iova, uint64_t home)
{
	uint32_t v = *late_cell(t, iova);

	return v && t->late[v - 1].home == home;
}

static void late_put(struct gmem_touch *t, uint64_t iova, uint64_t home, bool counts)
{
	uint32_t *cell = late_cell(t, iova);

	if (*cell) {
		struct gmem_touch_page *p = &t->late[*cell - 1];

		if (p->home != home)
			fail(t, -ESTALE);	/* what was written before is somewhere else by now */
		p->iova = iova;
		p->home = home;
		return;
	}
	if (t->late_count == t->late_cap) {
		fail(t, -ENOSPC);
		return;
	}
	t->late[t->late_count] = (struct gmem_touch_page){ .iova = iova, .home = home, .counts = counts };
	t->late_data += counts;
	*cell = ++t->late_count;
}

/* The last put is the first taken. So its cell can just be emptied: every other page found its own without going past this one. */
static struct gmem_touch_page late_pop(struct gmem_touch *t)
{
	struct gmem_touch_page p = t->late[t->late_count - 1];

	*late_cell(t, p.iova) = 0;
	t->late_count--;
	t->late_data -= p.counts;
	return p;
}

/* ---- marks ---- */

static void queue_push(struct gmem_touch *t, uint64_t iova, uint64_t home, bool last)
{
	*queue_slot(t, t->queued++) = (struct gmem_touch_page){ .iova = iova, .home = home, .state = WAITS, .last = last };
}

static void mark_page(struct gmem *g, uint64_t iova, bool ring)
{
	const struct gmem_map *m = gmem_find(g, iova);
	struct gmem_touch *t = &g->touch;
	uint64_t home;

	if (!m || !m->ptr)
		return; /* never written, or told by what wrote it */
	home = home_of(m, iova);
	if (late_has(t, iova, home))
		return;
	if (!ring && t->late_data < t->late_max)
		late_put(t, iova, home, true);
	else if (!ring && t->teller && queue_has_room(t))
		queue_push(t, iova, home, false);
	else
		late_put(t, iova, home, false);
}

void gmem_touch_mark(struct gmem *g, uint64_t iova, uint64_t len, bool ring)
{
	uint64_t last = iova + (len - 1);

#ifdef FERRY_BREAK_NO_TOUCH
	return;
#endif
	if (!len || last < iova)
		return;
	while (iova <= last) {
		mark_page(g, iova, ring);
		iova = round_down(iova, PAGE) + PAGE;
		if (!iova)
			return; /* that was the last page there is */
	}
}

/* ---- the queue ---- */

static void told_advance(struct gmem_touch *t)
{
	while (t->told != t->sent && queue_slot(t, t->told)->state == TOLD)
		t->told++;
	if (!t->on && t->told == t->queued) {
		free(t->queue);
		t->queue = NULL;
	}
}

/* It stays in the queue, because its number does, but has had its turn there. */
static void untold(struct gmem_touch *t, struct gmem_touch_page *p)
{
	p->state = TOLD;
	if (t->on)
		late_put(t, p->iova, p->home, false);
}

static void refused(struct gmem_touch *t, struct gmem_touch_page *p, int rc)
{
	if (p->last && t->on)
		fail(t, rc);
	untold(t, p);
}

/* The page may have vanished (SIGBUS) though it is mapped: then there is nothing to tell, and the VMM must not go there either. It
 * was no command that lost it, so no command fails for it. */
static int byte_read(struct gmem *g, const struct gmem_touch_page *p, uint8_t *byte)
{
	const struct gmem_map *m = gmem_find(g, p->iova);
	sig_atomic_t before = g->lost, now;

	if (!m || !m->ptr || !m->write || home_of(m, p->iova) != p->home)
		return -EFAULT;
	g->lost = 0;
	*byte = *(volatile const uint8_t *)(m->ptr + (p->iova - m->iova));
	now = g->lost;
	g->lost = before;
	return now ? -EFAULT : 0;
}

bool gmem_touch_next(struct gmem *g, uint64_t *number, uint64_t *iova, uint8_t *byte)
{
	struct gmem_touch *t = &g->touch;

	while (gmem_touch_wanted(g)) {
		struct gmem_touch_page *p = queue_slot(t, t->sent);
		int rc = byte_read(g, p, byte);

		*number = t->sent++;
		*iova = p->iova;
		if (!rc) {
			p->state = OUT;
			return true;
		}
		refused(t, p, rc);
		told_advance(t);
	}
	return false;
}

void gmem_touch_answer(struct gmem *g, uint64_t number, int rc)
{
	struct gmem_touch *t = &g->touch;
	struct gmem_touch_page *p;

	if (number < t->told || number >= t->sent || queue_slot(t, number)->state != OUT)
		return;
	p = queue_slot(t, number);
	p->state = TOLD;
	if (rc)
		refused(t, p, rc);
	told_advance(t);
}

void gmem_touch_overdue(struct gmem *g)
{
	if (g->touch.on)
		fail(&g->touch, -ETIMEDOUT);
}

void gmem_touch_drop(struct gmem *g)
{
	struct gmem_touch *t = &g->touch;

	while (t->sent != t->queued)
		untold(t, queue_slot(t, t->sent++));
	told_advance(t);
}

void gmem_touch_teller(struct gmem *g, bool on)
{
	g->touch.teller = on;
	if (on)
		return;
	gmem_touch_drop(g);
	if (g->touch.on)
		fail(&g->touch, -ENOTCONN);
}

/* ---- start, flush, stop ---- */

static void late_free(struct gmem_touch *t)
{
	free(t->late);
	free(t->late_index);
	t->late = NULL;
	t->late_index = NULL;
	t->late_count = t->late_cap = t->late_data = 0;
}

static int late_alloc(struct gmem_touch *t, unsigned late_max)
{
	unsigned cells = 1;

	t->late_max = MIN(late_max, (unsigned)GMEM_TOUCH_LATE_MAX);
	t->late_cap = t->late_max + GMEM_TOUCH_SPARE;
	while (cells < 2 * t->late_cap)
		cells *= 2;
	t->late_index_mask = cells - 1;
	t->late = malloc(t->late_cap * sizeof(*t->late));
	t->late_index = calloc(cells, sizeof(*t->late_index));
	return t->late && t->late_index ? 0 : -ENOMEM;
}

int gmem_touch_start(struct gmem *g, unsigned late_max)
{
	struct gmem_touch *t = &g->touch;

	if (t->on)
		return -EBUSY;
	if (!t->teller)
		return -ENOTCONN;
	if (!t->queue)		/* else pages of a time before are still on their way */
		t->queue = malloc(GMEM_TOUCH_QUEUE * sizeof(*t->queue));
	if (!t->queue || late_alloc(t, late_max)) {
		late_free(t);
		return -ENOMEM;
	}
	t->failed = 0;
	t->rc = 0;
	t->on = g->watched = true;
	return 0;
}

void gmem_touch_stop(struct gmem *g)
{
	struct gmem_touch *t = &g->touch;

	if (!t->on)
		return;
	t->on = false;
	g->watched = g->track_count;
	late_free(t);
	gmem_touch_drop(g);
}

void gmem_touch_fini(struct gmem *g)
{
	late_free(&g->touch);
	free(g->touch.queue);
	g->touch.queue = NULL;
	g->touch.sent = g->touch.told = g->touch.queued;
	g->touch.on = false;
}

int gmem_touch_flush(struct gmem *g)
{
	struct gmem_touch *t = &g->touch;

	while (t->on && !t->failed && t->late_count && queue_has_room(t)) {
		struct gmem_touch_page p = late_pop(t);

		queue_push(t, p.iova, p.home, true);
	}
	if (!t->on || t->failed)
		return -EIO;
	return t->late_count || t->told != t->queued ? -EAGAIN : 0;
}
