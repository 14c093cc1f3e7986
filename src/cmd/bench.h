/* `ferry bench`: rows, what a row measures, and the tools the rows share.
 *
 * A row is a ratio of two things measured in turns in the same run: what is ours, and a yardstick that does no more than the
 * machine must (copy, ping-pong, memcpy, one TCP stream). So rows can be compared between machines, and on a busy machine both
 * sides suffer alike; each figure is the median of several turns. Main thread, but for what bench_rig.c says.
 */
#ifndef FERRY_CMD_BENCH_H
#define FERRY_CMD_BENCH_H

#include <pthread.h>

#include "base/bytes.h"
#include "base/err.h"
#include "env/env.h"

enum { BENCH_TURNS = 5 };

struct bench_vals {
	const char *only;
	uint64_t seconds, size, moves;
	bool json, list;
};

struct brig;

struct bench {
	const struct bench_vals *v;
	uint64_t turn_ns;		/* how long one measurement of one side lasts */
	double tsc_hz;			/* 0: this machine has no counter we know */
	int cpu_device, cpu_host;	/* -1: there is only one */
	uint8_t *plain;			/* what the bare loops copy from; v->size bytes */
	double bulk;			/* bytes/s of a bulk copy, once it was measured */
	struct brig *ram;		/* the one most rows use, made when first asked for */
	struct err err;
};

enum bench_sense { BENCH_AT_LEAST, BENCH_AT_MOST };

struct bench_out {
	double value, yard, ratio;	/* yard 0: there is none, and ratio is the value */
	char note[200];
};

struct bench_row {
	const char *name, *what, *unit, *yardstick;
	enum bench_sense sense;
	double goal;			/* of the ratio; of the value where there is no yardstick */
	double or_value;		/* 0: none. Of the value: also good enough */
	/* 0; -errno with a sentence in b->err: the row could not be measured, and that is said. */
	int (*run)(struct bench *b, struct bench_out *out);
};

/* Turn by turn: ours, then the yardstick; medians of both and of the ratio of each pair. A negative figure is a failure that
 * b->err describes. */
typedef double bench_fn(struct bench *b, void *ctx);
int bench_turns(struct bench *b, bench_fn *ours, bench_fn *yard, void *ctx, struct bench_out *out);
double bench_median(double *v, unsigned n);
uint64_t bench_now(void);		/* ns */
uint64_t bench_tsc(void);
void bench_pin(int cpu);		/* this thread; -1: anywhere */
int bench_thread(int cpu, pthread_t *, void *(*fn)(void *), void *arg);	/* one that starts there; 0 or -errno */
bool bench_stopped(void);		/* a signal came: end, clean up */
void bench_pin_off(void);		/* this thread and what it starts may run anywhere again */
uint64_t bench_rss(int pid);		/* bytes; 0: unknown */
static inline uint64_t bench_random(uint64_t *s)	/* xorshift64*: fast, and good enough to defeat a prefetcher */
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * 0x2545f4914f6cdd1dull;
}

/* ---- yardsticks, bench_yard.c: per second unless they say otherwise */
double bench_yard_copy4k(struct bench *);	/* random 4 KiB blocks of b->plain into 128 buffers, on the device's core */
double bench_yard_memcpy(struct bench *);	/* 128 KiB pieces in order; bytes/s */
double bench_yard_pingpong(struct bench *);	/* ns from one core to the other and back */
double bench_yard_tcp(struct bench *);		/* one stream over loopback; bytes/s */

/* ---- rows */
int bench_read4k(struct bench *, struct bench_out *), bench_write4k(struct bench *, struct bench_out *);
int bench_rate512(struct bench *, struct bench_out *), bench_latency(struct bench *, struct bench_out *);
int bench_null(struct bench *, struct bench_out *), bench_sequential(struct bench *, struct bench_out *);
int bench_cycles(struct bench *, struct bench_out *), bench_tracking(struct bench *, struct bench_out *);
int bench_state_bytes(struct bench *, struct bench_out *), bench_state_time(struct bench *, struct bench_out *);
int bench_device_gap(struct bench *, struct bench_out *);
int bench_mem_ctrl(struct bench *, struct bench_out *), bench_mem_tracked(struct bench *, struct bench_out *);
int bench_bulk(struct bench *, struct bench_out *), bench_gap(struct bench *, struct bench_out *);
int bench_gap_worst(struct bench *, struct bench_out *), bench_link_bytes(struct bench *, struct bench_out *);
int bench_gap_handover(struct bench *, struct bench_out *), bench_idle(struct bench *, struct bench_out *);

#endif
