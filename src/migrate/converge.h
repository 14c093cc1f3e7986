/* Will it end, and what to do if not: arithmetic only. The mover measures and acts; this file decides and gives the reason.
 *
 * The model: a link carries `rate` bytes/s, a guest makes `dirty_rate` bytes/s dirty. Rounds shrink when dirty_rate < rate;
 * `remaining` bytes need remaining / rate seconds, and if that fits the budget the guest may be stopped. If rounds do not
 * shrink the guest's writes are limited stepwise to a share of the link rate: with a limit of share s < 1 each round is at most s of
 * the one before, so the number of rounds is log(remaining / (rate * budget)) / log(1 / s): that is the bound printed.
 *
 * Pure: no clock, no state but what is passed in. Units: bytes, bytes/s, ns.
 */
#ifndef FERRY_MIGRATE_CONVERGE_H
#define FERRY_MIGRATE_CONVERGE_H

#include "base/bytes.h"

enum { CONV_STEPS = 8 };

struct conv_rates {			/* smoothed; 0: not known yet */
	double rate, dirty_rate;
};
/* A sample of dt_ns: `sent` bytes left while there was work (busy), `dirtied` bytes became dirty. */
void conv_sample_rate(struct conv_rates *, uint64_t dt_ns, uint64_t sent);
void conv_sample_dirty(struct conv_rates *, uint64_t dt_ns, uint64_t dirtied);

struct conv_in {
	struct conv_rates now;
	uint64_t budget_ns, fixed_ns;	/* fixed: what a stop costs besides the last bytes */
	uint64_t remaining;		/* bytes dirty now, and those on their way */
	uint64_t last_remaining;	/* the same at the end of the round before; 0: first round */
	unsigned round;
	uint64_t elapsed_ns, give_up_ns;
	bool may_throttle, force;
	unsigned step;			/* throttle steps taken; 0: free */
	uint64_t limit;			/* bytes/s now; 0: free */
	unsigned stuck;			/* rounds in a row that did not shrink with no step left */
};

enum conv_act { CONV_GO_ON, CONV_STOP, CONV_THROTTLE, CONV_GIVE_UP };

struct conv_out {
	enum conv_act act;
	uint64_t limit;			/* CONV_THROTTLE: bytes/s */
	uint64_t stop_ns;		/* predicted length of the stop, now */
	uint64_t eta_ns;		/* to the stop; UINT64_MAX: never as it is */
	bool converges, shrank;
	char why[200];
};

/* Remaining fits the budget? Cheap: for every poll. */
bool conv_fits(const struct conv_in *);
/* At the end of a round. */
void conv_decide(const struct conv_in *, struct conv_out *);
/* The limit of a step (1..CONV_STEPS) for a link rate: 80 %, then two thirds of the one before, never under 1 MiB/s. */
uint64_t conv_limit(double rate, unsigned step);
/* Where throttling is allowed and the link keeps its rate: time until the stop at the latest, from the end of the first round, for
 * `all` bytes of blocks and memory. Whatever the guest does, as long as it can only dirty them as fast as it is allowed to write.
 * UINT64_MAX: there is none (no rate known, or the lowest limit is too high for this link). */
uint64_t conv_bound_ns(const struct conv_in *, uint64_t all);
/* Under the limits that it reckons with: how much the guest may have waiting before some gets through in spite of them. */
uint64_t conv_waiting_max(const struct conv_in *);

#endif
