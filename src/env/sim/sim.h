/* A pretend world: servers ("nodes"), time, streams between them and their records, in one thread, from one seed.
 *
 * Made for running the real manager and device code where everything that can go wrong does, and goes wrong again in the same
 * way when the seed is given again. Nothing here reads a clock, the kernel's random numbers, or the order of pointers.
 *
 *	struct sim *w = sim_new(seed, &(struct sim_knobs){ SIM_KNOBS_MILD, .cut_per_million = 50 });
 *	struct env *a = sim_env_new(w, "a"), *b = sim_env_new(w, "b");
 *
 *	sim_listen(b);
 *	struct env_conn *c = env_connect(a, "sim:b", &err);
 *	for (;;) {
 *		if ((d = sim_accept(b))) ...;
 *		busy = poll everything;
 *		if (!busy && !sim_advance(w, MIN(deadlines...)))
 *			break;			nothing will ever happen again
 *	}
 *	printf("seed %lu: %016lx\n", seed, sim_hash(w));
 *
 * Time stands still while code runs; only sim_advance moves it. Randomness comes in three separate streams, so that drawing
 * from one does not disturb the others: the world's own (delays, splits, faults), the scenario's (sim_rand), and one per node and
 * boot (env_random).
 *
 * Crash of a node: sim_node_crash, or by chance inside a rec_store. C cannot stop the code of the crashed server, so
 * instead nothing it does from then on has any effect: its stores fail, its streams are dead, its peers no longer hear it.
 * The scenario sees sim_node_up() == false, frees that server's objects (closing dead streams and freeing with the old env is
 * harmless), and starts a new one with sim_env_new on the same name: its records are as they were, its env_random differs.
 */
#ifndef FERRY_ENV_SIM_SIM_H
#define FERRY_ENV_SIM_SIM_H

#include "env/env.h"

struct sim;

/* All chances are per million. All zero: a perfect, instant network and a perfect disk. May be changed at any time (sim_knobs). */
struct sim_knobs {
	uint64_t delay_min_ns, delay_max_ns;	/* one way, per piece sent; order within a stream is kept all the same */
	uint64_t bytes_per_s;			/* per stream and direction; 0: no limit */
	uint32_t window_bytes;			/* sent but not yet received, per direction; 0: 64 KiB. Full: -EAGAIN */
	uint32_t split_per_million;		/* a send or recv takes only a part of what it could */
	uint32_t again_per_million;		/* a send or recv says -EAGAIN though it could work */
	uint32_t cut_per_million;		/* a send breaks the stream: what is on its way, both ways, is lost */
	uint32_t deaf_per_million;		/* of cuts: one of the sides is not told; to it the stream is silent for ever */
	uint32_t refuse_per_million;		/* a connect fails */
	uint32_t rec_fail_per_million;		/* a rec_store does nothing and says -EIO */
	uint32_t rec_late_per_million;		/* a rec_store says -EIO though the new record is there */
	uint32_t rec_crash_per_million;		/* the node crashes in a rec_store: half of the times before, half after it took effect */
};
/* A network as between two racks on a good day. */
#define SIM_KNOBS_MILD .delay_min_ns = 20 * NS_PER_US, .delay_max_ns = 200 * NS_PER_US, .bytes_per_s = 1 << 30, \
		       .split_per_million = 200000, .again_per_million = 20000

/* knobs NULL: all zero. NULL when memory ran out. */
struct sim *sim_new(uint64_t seed, const struct sim_knobs *);
/* Frees the world with its envs, nodes, records and the streams nobody closed. */
void sim_free(struct sim *);
struct sim_knobs *sim_knobs(struct sim *);	/* live */

/* ---- nodes ---- */

/* Boots a node: the first time, or again after a crash. The env lives until sim_free; a node that is up gives the env it has. */
struct env *sim_env_new(struct sim *, const char *node);
void sim_node_crash(struct sim *, const char *node);	/* now; harmless if it is down already */
bool sim_node_up(const struct sim *, const char *node);
uint64_t sim_node_boots(const struct sim *, const char *node);

/* The node takes streams to "sim:NAME". Before this (and after a crash) a connect is refused. */
void sim_listen(struct env *);
struct env_conn *sim_accept(struct env *);		/* NULL when nobody waits */

/* ---- the network between two nodes ---- */

/* Down: nothing passes, nobody is told; bytes wait, connects wait. Up again: they arrive. */
void sim_link_set(struct sim *, const char *node, const char *other, bool up);
/* Breaks every stream between the two now. */
void sim_link_cut(struct sim *, const char *node, const char *other);

/* ---- time ---- */

uint64_t sim_now_ns(const struct sim *);
/* When the world itself does something next (bytes or an end arrive, a connect completes); UINT64_MAX: never. A node
 * may also have deadlines of its own, and bytes that arrived may wait to be read: the scenario knows those. */
uint64_t sim_next_ns(struct sim *);
/* Moves time to until_ns or to the next event, whichever is earlier. False, and time stands, if that is never (both
 * UINT64_MAX). Time never goes back. */
bool sim_advance(struct sim *, uint64_t until_ns);
/* For blk_delay_open: the world as the clock's ctx. */
uint64_t sim_clock(void *sim);

/* ---- chance and trace ---- */

uint64_t sim_rand(struct sim *, uint64_t n);		/* 0 .. n-1 from the scenario's stream; n > 0 */
bool sim_chance(struct sim *, uint32_t per_million);	/* from the scenario's stream */
/* Folds a line (with the time) into the running hash. The world traces its own doings as well: streams, faults, records. */
void sim_trace(struct sim *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t sim_hash(const struct sim *);
/* Also shows every line, for looking at one seed. */
void sim_trace_to(struct sim *, void (*show)(void *ctx, uint64_t at_ns, const char *line), void *ctx);

#endif
