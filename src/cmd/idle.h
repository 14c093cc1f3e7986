/* How long `ferry serve` has had nothing to do, and how long it may sleep before it looks at shared doorbells again. serve.c's loop,
 * one thread.
 *
 * Most turns of a busy loop do not read the clock, so what they did is noted and dated later, by the next turn that reads it. A guest
 * that gives one command at a time is busy for a turn or two each: forgetting these would take it for asleep.
 */
#ifndef FERRY_CMD_IDLE_H
#define FERRY_CMD_IDLE_H

#include "base/bytes.h"

enum {
	IDLE_SLEEP_MIN_NS = 20 * 1000, IDLE_SLEEP_MAX_NS = 2 * 1000 * 1000,
	IDLE_DOZE_NS = 1000 * 1000 * 1000, IDLE_SLEEP_DOZE_NS = 10 * 1000 * 1000 /* longer sleeps once nothing came for a second */
};

struct idle {
	uint64_t busy_ns;	/* when something was done last, as far as it is dated */
	bool busy;		/* and since then */
};

static inline void idle_turn(struct idle *i, bool any)
{
	i->busy |= any;
}

static inline uint64_t idle_ns(struct idle *i, uint64_t now)
{
	if (i->busy)
		i->busy_ns = now;
	i->busy = false;
	return now - i->busy_ns;
}

/* Doorbells in shared memory wake nobody, so they are looked at: often at first, and ever more rarely the longer nothing came.
 * Whoever rings after a long silence waits up to 10 ms, once; trapped doorbells never wait. */
static inline uint64_t idle_look_ns(uint64_t idle)
{
	if (idle > IDLE_DOZE_NS)
		return IDLE_SLEEP_DOZE_NS;
	return MIN(MAX(idle / 8, (uint64_t)IDLE_SLEEP_MIN_NS), (uint64_t)IDLE_SLEEP_MAX_NS);
}

#endif
