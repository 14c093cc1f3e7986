/* Streams of the pretend world.
 *
 * A stream is a pair of ends. What an end sends becomes pieces with a time of arrival in the other end's list; they never
 * overtake each other. A pair has its own clock, which stands while the link between its nodes is down: so an outage delays all
 * that is on its way by its length, and needs no other case.
 */
#include <errno.h>
#include <stdlib.h>

#include "env/sim/world.h"

enum { WINDOW = 64 * 1024 };

struct piece {
	struct list link;
	uint64_t at_ns;
	size_t len, off;
	uint8_t bytes[];
};

struct end {
	struct env_conn c;
	struct pair *pair;
	struct env_sim *env;		/* NULL until accepted */
	bool closed;			/* nobody holds it, nobody ever will */
	bool dead;			/* its node crashed */
	struct list in;			/* pieces for this end, by time of arrival */
	size_t in_bytes;
	uint64_t last_ns, sent_ns;	/* arrival of the last piece; when the wire to here is free again */
	uint64_t fin_ns, broken_ns;	/* it learns that the other end closed, that the stream broke */
	uint64_t retry_ns;		/* after an -EAGAIN without reason */
	int broken_rc;
};

enum phase { CONNECTING, WAITING, OPEN };	/* WAITING: for sim_accept */

struct pair {
	struct sim *sim;
	struct end end[2];		/* 0 connected, 1 accepted */
	struct node *node[2];
	enum phase phase;
	uint64_t id, conn_ns;
	bool cut, refuse, stalled;
	uint64_t stalled_ns, lost_ns;	/* world time when it began; all past outages together */
	struct list link;
};

static struct end *end_of(struct env_conn *c) { return CONTAINER_OF(c, struct end, c); }
static int side_of(const struct end *e) { return e == &e->pair->end[1]; }
static struct end *peer_of(const struct end *e) { return &e->pair->end[!side_of(e)]; }

static uint64_t pair_now(const struct pair *p) { return (p->stalled ? p->stalled_ns : p->sim->now_ns) - p->lost_ns; }

static uint64_t some_delay(struct sim *w) { return rng_between(&w->rng, w->knobs.delay_min_ns, w->knobs.delay_max_ns); }

static void drop_pieces(struct end *e, uint64_t after_ns)
{
	LIST_EACH(&e->in, it) {
		struct piece *pc = LIST_ENTRY(it, struct piece, link);

		if (pc->at_ns <= after_ns && after_ns != NEVER)
			continue;
		e->in_bytes -= pc->len - pc->off;
		list_del(it);
		free(pc);
	}
}

static void pair_free(struct pair *p)
{
	drop_pieces(&p->end[0], NEVER);
	drop_pieces(&p->end[1], NEVER);
	list_del(&p->link);
	free(p);
}

/* ---- breaking ---- */

/* What has arrived can still be read; all else is lost. Each side is told, in its time, or (deaf) never. */
static void pair_cut(struct pair *p, bool may_be_deaf)
{
	struct sim *w = p->sim;
	uint64_t now = pair_now(p);
	int deaf = may_be_deaf && world_chance(w, w->knobs.deaf_per_million) ? (int)rng_below(&w->rng, 2) : -1;

	if (p->cut)
		return;
	sim_trace(w, "conn %llu cut deaf %d", (unsigned long long)p->id, deaf);
	p->cut = true;
	for (int i = 0; i < 2; i++) {
		struct end *e = &p->end[i];

		drop_pieces(e, now);
		if (e->fin_ns > now)
			e->fin_ns = NEVER;
		if (e->broken_ns != NEVER)
			continue;
		e->broken_rc = -ECONNRESET;
		e->broken_ns = i == deaf ? NEVER : now + some_delay(w);
	}
}

void world_conns_crash(struct sim *w, const struct env_sim *env)
{
	LIST_EACH(&w->pairs, it) {
		struct pair *p = LIST_ENTRY(it, struct pair, link);

		for (int i = 0; i < 2; i++) {
			bool unaccepted = i == 1 && p->phase == WAITING && p->node[1] == env->node;

			if (p->end[i].env != env && !unaccepted)
				continue;
			pair_cut(p, true);
			p->end[i].dead = true;
			if (unaccepted) {
				p->phase = OPEN;
				p->end[1].closed = true;
			}
		}
		if (p->end[0].closed && p->end[1].closed)
			pair_free(p);
	}
}

static bool between(const struct pair *p, const struct node *a, const struct node *b)
{
	return (p->node[0] == a && p->node[1] == b) || (p->node[0] == b && p->node[1] == a);
}

void world_conns_cut(struct sim *w, const struct node *a, const struct node *b)
{
	LIST_EACH(&w->pairs, it) {
		struct pair *p = LIST_ENTRY(it, struct pair, link);

		if (between(p, a, b))
			pair_cut(p, true);
	}
}

void world_conns_stall(struct sim *w, const struct node *a, const struct node *b, bool stall)
{
	LIST_EACH(&w->pairs, it) {
		struct pair *p = LIST_ENTRY(it, struct pair, link);

		if (!between(p, a, b) || p->stalled == stall)
			continue;
		if (stall)
			p->stalled_ns = w->now_ns;
		else
			p->lost_ns += w->now_ns - p->stalled_ns;
		p->stalled = stall;
	}
}

/* ---- sending and receiving ---- */

/* An -EAGAIN without reason must be followed by a reason to try again, or a sleeping scenario would never wake. */
static bool balks(struct end *e)
{
	struct sim *w = e->pair->sim;

	if (!world_chance(w, w->knobs.again_per_million))
		return false;
	e->retry_ns = pair_now(e->pair) + 1 + some_delay(w);
	return true;
}

static size_t some_part(struct sim *w, size_t n)
{
	return n > 1 && world_chance(w, w->knobs.split_per_million) ? 1 + rng_below(&w->rng, n - 1) : n;
}

/* 0, or why this end is of no use now. */
static int end_state(const struct end *e)
{
	const struct pair *p = e->pair;

	if (e->dead)
		return -ECONNRESET;
	if (e->broken_ns <= pair_now(p))
		return e->broken_rc;
	return p->phase == CONNECTING ? -EAGAIN : 0;
}

static uint64_t arrival(struct end *to, size_t n)
{
	struct sim *w = to->pair->sim;
	uint64_t now = pair_now(to->pair), per_s = w->knobs.bytes_per_s, way = some_delay(w);

	to->sent_ns = MAX(to->sent_ns, now) + (per_s ? (uint64_t)((unsigned __int128)n * NS_PER_S / per_s) : 0);
	to->last_ns = MAX(to->last_ns, to->sent_ns + way);
	return to->last_ns;
}

static void gather(uint8_t *to, size_t len, const struct iovec *v, int n)
{
	for (int i = 0; i < n && len; i++) {
		size_t part = MIN(len, v[i].iov_len);

		if (part)
			memcpy(to, v[i].iov_base, part);
		to += part;
		len -= part;
	}
}

static ssize_t put_piece(struct end *to, const struct iovec *v, int n, size_t len)
{
	struct piece *pc;

	if (to->closed && to->pair->phase == OPEN)
		return (ssize_t)len; /* nobody will read it */
	pc = malloc(sizeof(*pc) + len);
	if (!pc)
		return -ENOMEM;
	*pc = (struct piece){ .len = len };
	gather(pc->bytes, len, v, n);
	pc->at_ns = arrival(to, len);
	to->in_bytes += len;
	list_push(&to->in, &pc->link);
	if (to->pair->cut)
		pc->at_ns = NEVER; /* on its way into nothing; still fills the window */
	return (ssize_t)len;
}

static ssize_t sim_send(struct env_conn *c, const struct iovec *v, int n)
{
	struct end *e = end_of(c), *to = peer_of(e);
	struct pair *p = e->pair;
	struct sim *w = p->sim;
	size_t window = w->knobs.window_bytes ? w->knobs.window_bytes : WINDOW, offered = 0;
	ssize_t rc;

	world_conns_settle(w);
	rc = end_state(e);
	if (rc)
		return rc;
	if (e->fin_ns <= pair_now(p))
		return -EPIPE;
	for (int i = 0; i < n; i++)
		offered += v[i].iov_len;
	if (!offered)
		return 0;
	if (to->in_bytes >= window || balks(e))
		return -EAGAIN;
	offered = some_part(w, MIN(offered, window - to->in_bytes));
	sim_trace(w, "conn %llu.%d sends %zu", (unsigned long long)p->id, side_of(e), offered);
	rc = put_piece(to, v, n, offered);
	if (world_chance(w, w->knobs.cut_per_million))
		pair_cut(p, true);
	return rc;
}

static size_t arrived(const struct end *e)
{
	uint64_t now = pair_now(e->pair);
	size_t n = 0;

	LIST_EACH(&e->in, it) {
		const struct piece *pc = LIST_ENTRY(it, struct piece, link);

		if (pc->at_ns > now)
			break;
		n += pc->len - pc->off;
	}
	return n;
}

static void take_bytes(struct end *e, uint8_t *p, size_t n)
{
	while (n) {
		struct piece *pc = LIST_ENTRY(e->in.next, struct piece, link);
		size_t part = MIN(n, pc->len - pc->off);

		memcpy(p, pc->bytes + pc->off, part);
		p += part;
		n -= part;
		e->in_bytes -= part;
		pc->off += part;
		if (pc->off < pc->len)
			break;
		list_del(&pc->link);
		free(pc);
	}
}

static ssize_t sim_recv(struct env_conn *c, void *buf, size_t cap)
{
	struct end *e = end_of(c);
	struct pair *p = e->pair;
	size_t n;
	int rc;

	world_conns_settle(p->sim);
	rc = end_state(e);
	n = e->dead ? 0 : arrived(e);
	n = MIN(n, cap);
	if (!n)
		return rc ? rc : !cap || e->fin_ns <= pair_now(p) ? 0 : -EAGAIN;
	if (balks(e))
		return -EAGAIN;
	n = some_part(p->sim, n);
	take_bytes(e, buf, n);
	sim_trace(p->sim, "conn %llu.%d gets %zu %016llx", (unsigned long long)p->id, side_of(e), n,
		  (unsigned long long)XXH64(buf, n, 0));
	return (ssize_t)n;
}

static void sim_close(struct env_conn *c)
{
	struct end *e = end_of(c), *to = peer_of(e);
	struct pair *p = e->pair;

	if (!e->dead)
		sim_trace(p->sim, "conn %llu.%d closes", (unsigned long long)p->id, side_of(e));
	e->closed = true;
	drop_pieces(e, NEVER);
	if (p->phase == CONNECTING)
		to->closed = true; /* the listener never hears of it */
	if (!p->cut && to->fin_ns == NEVER)
		to->fin_ns = arrival(to, 0);
	if (to->closed)
		pair_free(p);
}

static const struct env_conn_ops sim_conn_ops = { .send = sim_send, .recv = sim_recv, .close = sim_close };

/* ---- connecting ---- */

static void end_init(struct pair *p, int i)
{
	p->end[i] = (struct end){ .c.ops = &sim_conn_ops, .pair = p, .fin_ns = NEVER, .broken_ns = NEVER, .retry_ns = NEVER };
	list_init(&p->end[i].in);
}

struct env_conn *world_connect(struct env *env, const char *addr, struct err *err)
{
	struct env_sim *e = env_sim_of(env);
	struct sim *w = e->node->sim;
	struct node *to = strncmp(addr, "sim:", 4) ? NULL : world_node(w, addr + 4);
	struct pair *p;

	if (!to)
		return err_set(err, -EINVAL, "%.80s: expected sim:NODE, a node of this world", addr), NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_set(err, -ENOMEM, "%.80s: out of memory", addr), NULL;
	p->sim = w;
	p->id = ++w->conn_count;
	p->node[0] = e->node;
	p->node[1] = to;
	end_init(p, 0);
	end_init(p, 1);
	p->end[0].env = e;
	p->stalled = !world_link_up(w, e->node, to);
	p->stalled_ns = w->now_ns;
	p->refuse = world_chance(w, w->knobs.refuse_per_million);
	p->conn_ns = w->now_ns + some_delay(w);
	list_push(&w->pairs, &p->link);
	if (e->dead) {
		p->end[0].dead = p->cut = true;
		p->phase = OPEN;
		p->end[1].closed = true;
		return &p->end[0].c;
	}
	sim_trace(w, "conn %llu %s to %s", (unsigned long long)p->id, e->node->name, to->name);
	return &p->end[0].c;
}

static void pair_arrive(struct pair *p)
{
	bool taken = !p->refuse && p->node[1]->listening;

	sim_trace(p->sim, "conn %llu %s", (unsigned long long)p->id, taken ? "arrives" : "refused");
	p->phase = taken ? WAITING : OPEN;
	if (taken)
		return;
	p->cut = true;
	p->end[1].closed = true;
	p->end[0].broken_ns = p->conn_ns;
	p->end[0].broken_rc = -ECONNREFUSED;
}

void world_conns_settle(struct sim *w)
{
	LIST_EACH(&w->pairs, it) {
		struct pair *p = LIST_ENTRY(it, struct pair, link);

		if (p->phase == CONNECTING && !p->cut && p->conn_ns <= pair_now(p))
			pair_arrive(p);
	}
}

struct env_conn *sim_accept(struct env *env)
{
	struct env_sim *e = env_sim_of(env);

	if (e->dead)
		return NULL;
	world_conns_settle(e->node->sim);
	LIST_EACH(&e->node->sim->pairs, it) {
		struct pair *p = LIST_ENTRY(it, struct pair, link);

		if (p->phase != WAITING || p->node[1] != e->node)
			continue;
		p->phase = OPEN;
		p->end[1].env = e;
		sim_trace(p->sim, "conn %llu accepted", (unsigned long long)p->id);
		return &p->end[1].c;
	}
	return NULL;
}

/* ---- when something happens next ---- */

static uint64_t sooner(uint64_t best, uint64_t at, uint64_t now) { return at > now && at < best ? at : best; }

static uint64_t end_next(const struct end *e, uint64_t now, uint64_t best)
{
	if (e->closed || e->dead)
		return best;
	LIST_EACH(&e->in, it) {
		uint64_t at = LIST_ENTRY(it, struct piece, link)->at_ns;

		best = sooner(best, at, now);
		if (at > now)
			break; /* they are in order */
	}
	best = sooner(best, e->fin_ns, now);
	best = sooner(best, e->broken_ns, now);
	return sooner(best, e->retry_ns, now);
}

uint64_t world_conns_next(struct sim *w)
{
	uint64_t best = NEVER;

	world_conns_settle(w);
	LIST_EACH(&w->pairs, it) {
		struct pair *p = LIST_ENTRY(it, struct pair, link);
		uint64_t now = pair_now(p), at = NEVER;

		if (p->stalled)
			continue;
		if (p->phase == CONNECTING && !p->cut)
			at = sooner(at, p->conn_ns, now);
		at = end_next(&p->end[0], now, at);
		at = end_next(&p->end[1], now, at);
		if (at != NEVER)
			best = MIN(best, at + p->lost_ns);
	}
	return best;
}

void world_conns_free(struct sim *w)
{
	struct list *l;

	while ((l = w->pairs.next) != &w->pairs)
		pair_free(LIST_ENTRY(l, struct pair, link));
}
