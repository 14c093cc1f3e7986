/* Guest memory as one device function sees it: IOVA -> bytes, and which bytes the device has written.
 *
 * Two readers ask for the latter, each when it wants to: Track Memory Changes (a bitmap, collected by the manager) and
 * touching (a VMM that copies its guest's memory itself must be told of every page; gmem_touch.c).
 *
 * The transport (or a test, or the manager's loop port) fills the table; the device translates. A map with a pointer is
 * reached directly; one without is reached by messages through `remote`, asynchronously. Device thread only.
 * Whoever keeps a translated pointer across a return to the event loop holds the table (gmem_hold) meanwhile; a map
 * is never taken away while the table is held: gmem_del then says -EAGAIN and sets `draining`, which stops new fetches.
 */
#ifndef FERRY_DEVICE_GMEM_H
#define FERRY_DEVICE_GMEM_H

#include <signal.h>

#include "base/bytes.h"
#include "base/list.h"

struct gmem_map {
	uint64_t iova, size;
	uint8_t *ptr;			/* NULL: by message */
	bool read, write;		/* what the device may do */
	uint64_t home;			/* which memory this is: the same number whenever and wherever the same bytes are mapped */
};

/* One asynchronous transfer, needed only where gmem_ptr gives NULL for covered memory. */
struct gmem;
struct gmem_op {
	uint64_t iova;
	uint8_t *buf;
	uint32_t len;
	bool write;			/* device -> guest */
	bool ring;			/* marked by gmem_mark_ring */
	uint64_t touch;			/* out: to be waited for before the guest hears of it (gmem_touched); 0 nothing */
	void (*done)(struct gmem_op *, int rc);	/* 0 or -errno; called once, only if gmem_submit returned 0 */
	void *ctx;
	struct list link;		/* the transport's, while it is out */
	struct {			/* gmem.c's, while it is out: what the caller gave; the fields above show one piece */
		struct gmem *g;
		uint64_t iova;
		uint8_t *buf;
		uint32_t len, at;
		void (*done)(struct gmem_op *, int rc);
	} own;
};

struct gmem_track_range { uint64_t iova, len; uint64_t *bits; /* one per granule */ };

/* Touching. The members are gmem_touch.c's; others read queued, told, failed and rc. */
enum { GMEM_TOUCH_QUEUE = 16384, GMEM_TOUCH_SPARE = 16384, GMEM_TOUCH_LATE_MAX = 1 << 20 };
struct gmem_touch_page;
struct gmem_touch {
	bool on;
	bool teller;			/* a transport asks gmem_touch_next */
	uint64_t queued, sent, told;	/* counts since ever: pages put into the queue; taken out; the first so many are answered */
	uint64_t failed;		/* pages that could not be told since start: the VMM's copy is worthless */
	int rc;				/* why the first of them: -errno */
	struct gmem_touch_page *queue;	/* ring of GMEM_TOUCH_QUEUE */
	struct gmem_touch_page *late;	/* told by flush; late_count of late_cap */
	uint32_t *late_index;		/* hash of the page -> place in late */
	unsigned late_count, late_cap, late_data, late_max, late_index_mask;
};

struct gmem {
	struct gmem_map *maps;		/* sorted by iova, never overlapping */
	unsigned count, cap, last;
	uint64_t generation;		/* changes with every add and delete: cached pointers carry it */
	unsigned held;
	bool draining;
	volatile sig_atomic_t lost;	/* a mapped page vanished under us (SIGBUS); whoever reads it clears it and fails the command */
	/* by-message access; set by the transport while a client is attached, else NULL */
	int (*remote)(void *ctx, struct gmem_op *);	/* 0 queued, -errno */
	void *remote_ctx;
	/* memory tracking (Track Memory Changes); count 0 when off */
	struct gmem_track_range *track;
	unsigned track_count;
	unsigned track_shift;		/* log2 of the granule in bytes, >= 12 */
	struct gmem_touch touch;
	bool watched;			/* tracking or touching is on: the one thing a mark looks at */
};

void gmem_init(struct gmem *);
void gmem_fini(struct gmem *);
/* 0; -EEXIST partial or differing overlap (an identical map again is 0); -EINVAL empty or wrapping; -ENOMEM. */
int gmem_add(struct gmem *, uint64_t iova, uint64_t size, void *ptr, bool read, bool write);
/* The same for memory that may be mapped elsewhere later and is known by something else than its address here. */
int gmem_add_home(struct gmem *, uint64_t iova, uint64_t size, void *ptr, bool read, bool write, uint64_t home);
/* Exact match only. 0; -ENOENT; -EAGAIN held (draining is set; call again until it goes). Puts the removed map in *out if not NULL. */
int gmem_del(struct gmem *, uint64_t iova, uint64_t size, struct gmem_map *out);
/* The map holding iova, or NULL. */
const struct gmem_map *gmem_find(struct gmem *, uint64_t iova);
/* Direct pointer to [iova, iova+len), NULL if any of it is not mapped, not allowed, by message, or split over maps whose
 * pointers are not adjacent. */
void *gmem_ptr(struct gmem *, uint64_t iova, uint64_t len, bool write);
/* True if all of it is mapped with that right, directly or by message. */
bool gmem_covers(struct gmem *, uint64_t iova, uint64_t len, bool write);
/* Copies between op->buf and the guest, over map borders. 1 done now, 0 later (op->done), -EFAULT not covered, -errno.
 * Writes are marked for tracking when they are done. */
int gmem_submit(struct gmem *, struct gmem_op *);
static inline void gmem_hold(struct gmem *g) { g->held++; }
static inline void gmem_release(struct gmem *g) { g->held--; }

/* Memory tracking. Marks are set after the DMA and before the CQE that tells of it (design rule 2). */
int gmem_track_start(struct gmem *, const struct gmem_track_range *ranges, unsigned count, unsigned shift); /* bits ignored; 0, -EBUSY, -EINVAL, -ENOMEM */
void gmem_track_stop(struct gmem *);
void gmem_track_mark(struct gmem *, uint64_t iova, uint64_t len); /* only the bitmap, whatever is true of touching */
void gmem_mark_slow(struct gmem *, uint64_t iova, uint64_t len, bool ring);
void gmem_touch_mark(struct gmem *, uint64_t iova, uint64_t len, bool ring); /* gmem.c's */
void gmem_touch_fini(struct gmem *);			/* gmem.c's */
/* The device wrote data. Who wants the guest to know of it must wait until gmem_touched(what touch.queued was after the mark). */
static inline void gmem_mark(struct gmem *g, uint64_t iova, uint64_t len)
{
	if (__builtin_expect(g->watched, 0))
		gmem_mark_slow(g, iova, len, false);
}
/* The same where nobody waits: what the device alone writes and writes over and over (completion queues, event indices), and
 * what it wrote for nobody (a command whose queue is gone). */
static inline void gmem_mark_ring(struct gmem *g, uint64_t iova, uint64_t len)
{
	if (__builtin_expect(g->watched, 0))
		gmem_mark_slow(g, iova, len, true);
}
/* Next run of marked granules: fills *iova,*granules (at most max) and clears them if `take`; -ENOENT when none.
 * `cursor` starts at {0}; fairness: a following collection starts behind the last one. The search goes once around, so
 * -ENOENT means that nothing is marked anywhere; without `take` the cursor stays, and the same run is found again. */
struct gmem_cursor { unsigned range; uint64_t granule; };
int gmem_track_next(struct gmem *, struct gmem_cursor *, uint64_t max, bool take, uint64_t *iova, uint64_t *granules);

/* ---- Touching (gmem_touch.c says what must hold and why) ----
 * While on, every page that the device writes through a pointer is told to the VMM by a DMA_WRITE of one byte that is there
 * anyhow: ring pages and the first late_max (at most GMEM_TOUCH_LATE_MAX) distinct data pages at the flush, the others at once. */
int gmem_touch_start(struct gmem *, unsigned late_max);	/* 0; -EBUSY on already; -ENOTCONN no VMM is attached; -ENOMEM */
/* Everything is forgotten. What is on its way to the VMM is still waited for by gmem_touched, because it still arrives. */
void gmem_touch_stop(struct gmem *);
/* Processors and device stand, and stay so until it says 0: all pages that are late are told. 0 all of them, and none was missed
 * since start; -EAGAIN call again; -EIO some could not be told, or touching is not on: the copy is worthless. */
int gmem_touch_flush(struct gmem *);
/* A reset: pages not yet on their way become late. Nobody waits for them, and none is sent when the guest has its memory back. */
void gmem_touch_drop(struct gmem *);
/* Have the first `count` pages of the queue been answered? */
static inline bool gmem_touched(const struct gmem *g, uint64_t count) { return g->touch.told >= count; }

/* Transport. teller on: it will ask for pages from now on; off: the client is gone, after every page taken was answered. */
void gmem_touch_teller(struct gmem *, bool on);
static inline bool gmem_touch_wanted(const struct gmem *g) { return g->touch.sent != g->touch.queued && !g->draining; }
/* The next page to tell: a byte to be written, and the number to answer with. False: none now. */
bool gmem_touch_next(struct gmem *, uint64_t *number, uint64_t *iova, uint8_t *byte);
/* In any order; twice, late or made up is harmless. rc: 0 or -errno: it was not written, and will not be. */
void gmem_touch_answer(struct gmem *, uint64_t number, int rc);
/* No answer within its time. It may still come, so who waits for it goes on waiting; but the move is off. */
void gmem_touch_overdue(struct gmem *);

#endif
