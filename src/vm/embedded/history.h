/* What each block may hold: the checker's whole knowledge, exact because no two commands are ever out on one block.
 *
 * A block may hold `a` (last known content) or `b` (last attempted). a == b: certain. A write that failed, or whose answer
 * never came, leaves both possible until a read shows which. While uncertain only `b` is attempted again, so two are enough.
 * Lives in guest memory: plain numbers, no pointers. Pure.
 */
#ifndef FERRY_VM_EMBEDDED_HISTORY_H
#define FERRY_VM_EMBEDDED_HISTORY_H

#include "vm/embedded/stamp.h"

#define HIST_ANY UINT64_MAX	/* `a` of a block never written by us: whatever was there */

struct hist {
	uint64_t a, b;
	uint32_t gen;		/* last generation used for this block's own stamps */
	uint32_t rsvd;
};

static inline bool hist_certain(const struct hist *h) { return h->a == h->b; }
static inline bool hist_unknown(const struct hist *h) { return h->a == HIST_ANY; }

void hist_init(struct hist *, bool zeroed);
/* Id for the next write to it: a new generation, or the attempted one again while it is uncertain. */
uint64_t hist_next(struct hist *, uint32_t block);
/* May content `id` be attempted now without a third possibility? */
bool hist_may(const struct hist *, uint64_t id);
void hist_out(struct hist *, uint64_t id);	/* a command that makes it `id` is on its way */
void hist_ok(struct hist *);			/* and succeeded. A failed or unanswered one needs no call. */

enum hist_verdict {
	HIST_FINE,
	HIST_TORN,	/* sectors of both possibilities: allowed while uncertain, and still uncertain */
	HIST_LOST,	/* something older than what was acknowledged (or zeroes where something was) */
	HIST_INVENTED	/* something nobody wrote */
};
struct hist_finding { uint32_t sector; uint64_t found; };
/* Judges a block that was read; resolves an uncertain one. After a violation the block counts as unknown, so that one loss is one count. */
enum hist_verdict hist_read(struct hist *table, uint32_t blocks, uint32_t block, const struct stamp_key *, const void *data,
			    struct hist_finding *);

#endif
