/* The pretend world: nodes and their records, time, chance, trace. Streams are in conn.c. How to use it: sim.h. */
#include "env/sim/sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "env/name.h"
#include "env/sim/world.h"

struct rec {
	char name[ENV_REC_NAME_MAX + 1];
	uint8_t *data;
	size_t len;
	struct list link;
};

struct outage { const struct node *a, *b; struct list link; };

struct node *world_node(const struct sim *w, const char *name)
{
	LIST_EACH(&w->nodes, it) {
		struct node *n = LIST_ENTRY(it, struct node, link);

		if (!strcmp(n->name, name))
			return n;
	}
	return NULL;
}

/* ---- chance and trace ---- */

uint64_t sim_rand(struct sim *w, uint64_t n) { return rng_below(&w->scenario, n); }
bool sim_chance(struct sim *w, uint32_t per_million) { return rng_chance(&w->scenario, per_million); }

void sim_trace(struct sim *w, const char *fmt, ...)
{
	char line[512];
	le64 at = le64_of(w->now_ns);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	XXH64_update(w->hash, &at, sizeof(at));
	XXH64_update(w->hash, line, strlen(line) + 1);
	if (w->show)
		w->show(w->show_ctx, w->now_ns, line);
}

uint64_t sim_hash(const struct sim *w) { return XXH64_digest(w->hash); }

void sim_trace_to(struct sim *w, void (*show)(void *ctx, uint64_t at_ns, const char *line), void *ctx)
{
	w->show = show;
	w->show_ctx = ctx;
}

/* ---- time ---- */

uint64_t sim_now_ns(const struct sim *w) { return w->now_ns; }
uint64_t sim_clock(void *sim) { return sim_now_ns(sim); }
uint64_t sim_next_ns(struct sim *w) { return world_conns_next(w); }

bool sim_advance(struct sim *w, uint64_t until_ns)
{
	uint64_t next = sim_next_ns(w), to = MIN(until_ns, next);

	if (to == NEVER)
		return false;
	w->now_ns = MAX(w->now_ns, to);
	world_conns_settle(w);
	return true;
}

/* ---- records ---- */

static struct rec *rec_find(const struct node *n, const char *name)
{
	LIST_EACH(&n->recs, it) {
		struct rec *r = LIST_ENTRY(it, struct rec, link);

		if (!strcmp(r->name, name))
			return r;
	}
	return NULL;
}

static int rec_put(struct node *n, const char *name, const void *p, size_t len)
{
	uint8_t *copy = malloc(len + 1);
	struct rec *r = rec_find(n, name);

	if (copy && !r && (r = calloc(1, sizeof(*r)))) {
		strcpy(r->name, name);
		list_push(&n->recs, &r->link);
	}
	if (!copy || !r) {
		free(copy);
		return -ENOMEM;
	}
	if (len)
		memcpy(copy, p, len);
	free(r->data);
	r->data = copy;
	r->len = len;
	sim_trace(n->sim, "%s rec %s = %zu %016llx", n->name, name, len, (unsigned long long)XXH64(copy, len, 0));
	return 0;
}

static int sim_rec_store(struct env *env, const char *name, const void *p, size_t len)
{
	struct env_sim *e = env_sim_of(env);
	struct node *n = e->node;
	struct sim *w = n->sim;
	const struct sim_knobs *k = &w->knobs;
	bool crash, before, fail, late;
	int rc = 0;

	if (!env_rec_name_ok(name))
		return -EINVAL;
	if (e->dead)
		return -EIO;
	crash = world_chance(w, k->rec_crash_per_million);
	before = crash && rng_below(&w->rng, 2);
	fail = world_chance(w, k->rec_fail_per_million);
	late = world_chance(w, k->rec_late_per_million);
	if (crash || fail || late)
		sim_trace(w, "%s rec %s: fault%s%s%s%s", n->name, name, crash ? " crash" : "", before ? " before" : "",
			  fail ? " fail" : "", late ? " late" : "");
	if (!before && !fail)
		rc = rec_put(n, name, p, len);
	if (crash)
		sim_node_crash(w, n->name);
	return rc ? rc : crash || fail || late ? -EIO : 0;
}

static ssize_t sim_rec_load(struct env *env, const char *name, void *p, size_t cap)
{
	struct env_sim *e = env_sim_of(env);
	struct rec *r;

	if (!env_rec_name_ok(name))
		return -EINVAL;
	if (e->dead)
		return -EIO;
	r = rec_find(e->node, name);
	if (!r)
		return -ENOENT;
	cap = MIN(cap, r->len);
	if (cap)
		memcpy(p, r->data, cap);
	return (ssize_t)cap;
}

/* ---- nodes ---- */

static uint64_t env_now(struct env *e) { return env_sim_of(e)->node->sim->now_ns; }

static void env_rand(struct env *env, void *p, size_t len)
{
	struct env_sim *e = env_sim_of(env);
	uint8_t *to = p;

	while (len) {
		le64 v = le64_of(rng_next(&e->rng));
		size_t n = MIN(len, sizeof(v));

		memcpy(to, &v, n);
		to += n;
		len -= n;
	}
}

static const struct env_ops sim_env_ops = {
	.now_ns = env_now, .random = env_rand, .connect = world_connect,
	.rec_store = sim_rec_store, .rec_load = sim_rec_load,
};

static struct node *node_new(struct sim *w, const char *name)
{
	struct node *n = strlen(name) < NODE_NAME_MAX ? calloc(1, sizeof(*n)) : NULL;

	if (!n)
		return NULL;
	n->sim = w;
	strcpy(n->name, name);
	list_init(&n->recs);
	list_push(&w->nodes, &n->link);
	return n;
}

struct env *sim_env_new(struct sim *w, const char *name)
{
	struct node *n = world_node(w, name);
	struct env_sim *e;

	if (n && n->env && !n->env->dead)
		return &n->env->e;
	if (!n && !(n = node_new(w, name)))
		return NULL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->e.ops = &sim_env_ops;
	e->node = n;
	n->env = e;
	n->boots++;
	/* Two nodes, or two boots of one, must not make the same ids: real ones do not either. */
	e->rng.s = XXH64(n->name, strlen(n->name), w->seed) + n->boots * 0x632be59bd9b4e019ull;
	list_push(&w->envs, &e->link);
	sim_trace(w, "%s boot %llu", n->name, (unsigned long long)n->boots);
	return &e->e;
}

void sim_node_crash(struct sim *w, const char *name)
{
	struct node *n = world_node(w, name);

	if (!n || !n->env || n->env->dead)
		return;
	sim_trace(w, "%s crash", n->name);
	n->env->dead = true;
	n->listening = false;
	world_conns_crash(w, n->env);
}

bool sim_node_up(const struct sim *w, const char *name)
{
	const struct node *n = world_node(w, name);

	return n && n->env && !n->env->dead;
}

uint64_t sim_node_boots(const struct sim *w, const char *name)
{
	const struct node *n = world_node(w, name);

	return n ? n->boots : 0;
}

void sim_listen(struct env *env)
{
	struct env_sim *e = env_sim_of(env);

	if (!e->dead)
		e->node->listening = true;
}

/* ---- links between nodes ---- */

static struct outage *outage_find(const struct sim *w, const struct node *a, const struct node *b)
{
	LIST_EACH(&w->outages, it) {
		struct outage *o = LIST_ENTRY(it, struct outage, link);

		if ((o->a == a && o->b == b) || (o->a == b && o->b == a))
			return o;
	}
	return NULL;
}

bool world_link_up(const struct sim *w, const struct node *a, const struct node *b) { return !outage_find(w, a, b); }

void sim_link_set(struct sim *w, const char *node, const char *other, bool up)
{
	struct node *a = world_node(w, node), *b = world_node(w, other);
	struct outage *o = a && b ? outage_find(w, a, b) : NULL;

	if (!a || !b || !o == up)
		return;
	sim_trace(w, "link %s %s %s", a->name, b->name, up ? "up" : "down");
	if (up) {
		list_del(&o->link);
		free(o);
	} else if ((o = calloc(1, sizeof(*o)))) {
		*o = (struct outage){ .a = a, .b = b };
		list_push(&w->outages, &o->link);
	}
	world_conns_stall(w, a, b, !up);
}

void sim_link_cut(struct sim *w, const char *node, const char *other)
{
	struct node *a = world_node(w, node), *b = world_node(w, other);

	if (a && b)
		world_conns_cut(w, a, b);
}

/* ---- the world itself ---- */

struct sim_knobs *sim_knobs(struct sim *w) { return &w->knobs; }

struct sim *sim_new(uint64_t seed, const struct sim_knobs *knobs)
{
	struct sim *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->hash = XXH64_createState();
	if (!w->hash)
		return free(w), NULL;
	XXH64_reset(w->hash, seed);
	w->seed = seed;
	w->now_ns = NS_PER_S; /* not 0, which many take for "no deadline" */
	if (knobs)
		w->knobs = *knobs;
	w->rng.s = seed;
	w->scenario.s = ~seed * 0x9e3779b97f4a7c15ull;
	list_init(&w->nodes);
	list_init(&w->envs);
	list_init(&w->pairs);
	list_init(&w->outages);
	return w;
}

static void node_free(struct node *n)
{
	struct list *l;

	while ((l = list_pop(&n->recs))) {
		struct rec *r = LIST_ENTRY(l, struct rec, link);

		free(r->data);
		free(r);
	}
	free(n);
}

void sim_free(struct sim *w)
{
	struct list *l;

	if (!w)
		return;
	world_conns_free(w);
	while ((l = list_pop(&w->outages)))
		free(LIST_ENTRY(l, struct outage, link));
	while ((l = list_pop(&w->envs)))
		free(LIST_ENTRY(l, struct env_sim, link));
	while ((l = list_pop(&w->nodes)))
		node_free(LIST_ENTRY(l, struct node, link));
	XXH64_freeState(w->hash);
	free(w);
}
