/* The inside of the pretend world, shared by sim.c (nodes, records, time, trace) and conn.c (streams). */
#ifndef FERRY_ENV_SIM_WORLD_H
#define FERRY_ENV_SIM_WORLD_H

#include <xxhash.h>

#include "base/list.h"
#include "base/rng.h"
#include "env/sim/sim.h"

enum { NODE_NAME_MAX = 64 };
#define NEVER UINT64_MAX

struct node;

struct env_sim {		/* one boot of a node */
	struct env e;
	struct node *node;
	struct rng rng;
	bool dead;
	struct list link;
};

struct node {
	struct sim *sim;
	char name[NODE_NAME_MAX];
	struct env_sim *env;	/* the present boot; dead while the node is down */
	uint64_t boots;
	bool listening;
	struct list recs, link;
};

struct sim {
	uint64_t seed, now_ns, conn_count;
	struct sim_knobs knobs;
	struct rng rng, scenario;
	XXH64_state_t *hash;
	struct list nodes, envs, pairs, outages; /* in order of making, which decides every "first" */
	void (*show)(void *ctx, uint64_t at_ns, const char *line);
	void *show_ctx;
};

static inline struct env_sim *env_sim_of(struct env *e) { return CONTAINER_OF(e, struct env_sim, e); }
static inline bool world_chance(struct sim *w, uint32_t per_million)
{
	return per_million && rng_chance(&w->rng, per_million);
}
struct node *world_node(const struct sim *, const char *name);	/* NULL: never booted */
bool world_link_up(const struct sim *, const struct node *, const struct node *);

/* conn.c */
struct env_conn *world_connect(struct env *, const char *addr, struct err *);
void world_conns_settle(struct sim *);			/* completes the connects whose time has come */
uint64_t world_conns_next(struct sim *);		/* world time of the next event, NEVER */
void world_conns_crash(struct sim *, const struct env_sim *);
void world_conns_stall(struct sim *, const struct node *, const struct node *, bool stall);
void world_conns_cut(struct sim *, const struct node *, const struct node *);
void world_conns_free(struct sim *);

#endif
