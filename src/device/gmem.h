/* Guest memory as one device function sees it: IOVA -> bytes, and which bytes the device has written.
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
};

/* One asynchronous transfer, needed only where gmem_ptr gives NULL for covered memory. */
struct gmem;
struct gmem_op {
	uint64_t iova;
	uint8_t *buf;
	uint32_t len;
	bool write;			/* device -> guest */
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
};

void gmem_init(struct gmem *);
void gmem_fini(struct gmem *);
/* 0; -EEXIST partial or differing overlap (an identical map again is 0); -EINVAL empty or wrapping; -ENOMEM. */
int gmem_add(struct gmem *, uint64_t iova, uint64_t size, void *ptr, bool read, bool write);
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
void gmem_track_mark(struct gmem *, uint64_t iova, uint64_t len); /* slow part; use gmem_mark */
static inline void gmem_mark(struct gmem *g, uint64_t iova, uint64_t len)
{
	if (__builtin_expect(g->track_count != 0, 0))
		gmem_track_mark(g, iova, len);
}
/* Next run of marked granules: fills *iova,*granules (at most max) and clears them if `take`; -ENOENT when none.
 * `cursor` starts at {0}; fairness: a following collection starts behind the last one. The search goes once around, so
 * -ENOENT means that nothing is marked anywhere; without `take` the cursor stays, and the same run is found again. */
struct gmem_cursor { unsigned range; uint64_t granule; };
int gmem_track_next(struct gmem *, struct gmem_cursor *, uint64_t max, bool take, uint64_t *iova, uint64_t *granules);

#endif
