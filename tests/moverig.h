/* Two servers on the bench, each with a subsystem, the manager on its MMC, and room for one embedded guest; a pretend network
 * between them (env/sim). One thread, one seed; time moves 2 us with each turn.
 *
 *   WORLD(w, .guest_on = 'a');                  two servers; the guest boots on a
 *   struct move_out *o = world_move(&w, ...);   starts a move from a to b
 *   world_until(&w, ...);                       turns until a condition holds
 *
 * Checked at every turn: never two owners at work (rule 1); at the instant the target starts, blocks and memory are equal.
 */
#ifndef FERRY_TESTS_MOVERIG_H
#define FERRY_TESTS_MOVERIG_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "t.h"
#include "device/nvme/nvme.h"
#include "env/sim/sim.h"
#include "host/port_loop.h"
#include "migrate/move.h"
#include "vm/embedded/guest.h"

enum { MR_BLOCK = 512, MR_BLOCKS = 16384, MR_TURN_NS = 2000, MR_TURNS = 6000000 };

struct tvm { /* the direct VM: the guest's memory and a flag that its processor runs */
	struct vm vm;
	struct guest_host h;
	struct port *port;
	struct devloop loop;
	bool running, discarded, fail_pause, dead;
	unsigned opens_late;		/* answers -EAGAIN so often */
	uint64_t burst;			/* so many writes more before the processor stands still */
	struct nvme_subsys *ss;
};

struct world;
struct server {
	struct world *w;
	char name;
	struct env *env;
	struct nvme_subsys *ss;
	struct nvme_ctrl *mmc, *mc;
	struct devloop loop;
	struct port *port;
	struct hnvme *h;
	struct tvm vm;
	struct journal journal;
	struct move_site site;
	struct move_in *in;
	bool placed;			/* the guest's namespace is here */
	bool mmc_frozen;		/* its MMC gets no time */
	int refuse_place;		/* -errno to answer */
	unsigned place_late;
	unsigned places, unplaces, gones, events;
	char last_error[256], last_done[256];
	struct move_progress last;
	unsigned kinds_overflow, kinds_retry, kinds_throttle, retreats;
};

struct world_cfg {
	uint64_t seed, blocks, mem;
	struct sim_knobs net;
	struct guest_cfg guest;
	bool guest_idle;
};

struct world {
	struct sim *sim;
	struct server s[2];		/* a, b */
	struct move_out *out;		/* polled while set */
	bool out_stalled;		/* the mover gets no time */
	bool compare_at_start;
	unsigned compared;
	bool wrong_size;		/* the target has room for one block less only */
	bool one_owner_unchecked;
	uint64_t blocks, turn_ns;
	bool lifo_disk;			/* the target's disk takes what was submitted last first: writes overtake each other */
};

/* ---- the VM adapter */

static inline struct tvm *tvm_of(struct vm *v) { return (struct tvm *)v; }
static inline int tvm_open(struct vm *v, struct vm_info *i, struct err *err)
{
	struct tvm *t = tvm_of(v);

	(void)err;
	if (t->opens_late && t->opens_late--)
		return -EAGAIN;
	*i = (struct vm_info){ .kind = "test", .moves_memory = true, .ranges = 1, .range = { { 0, t->h.bytes } } };
	return 0;
}
static inline void *tvm_mem(struct vm *v, uint64_t gpa, uint64_t len)
{
	return range_inside(gpa, len, tvm_of(v)->h.bytes) ? tvm_of(v)->h.mem + gpa : NULL;
}
static inline int tvm_track(struct vm *v, bool on)
{
	if (on)
		memset(tvm_of(v)->h.dirty, 0, (tvm_of(v)->h.bytes / 4096 + 63) / 64 * 8);
	return 0;
}
static inline int tvm_dirty_next(struct vm *v, uint64_t *cursor, uint64_t *gpa, uint64_t *bytes)
{
	struct tvm *t = tvm_of(v);

	for (uint64_t p = *cursor; p < t->h.bytes / 4096; p++) {
		uint64_t bit = 1ull << p % 64;

		if (!(t->h.dirty[p / 64] & bit))
			continue;
		t->h.dirty[p / 64] &= ~bit;
		*gpa = p * 4096;
		*bytes = 4096;
		*cursor = p + 1;
		return 0;
	}
	return -ENOENT;
}
static inline void tvm_burst(struct tvm *t)
{
	uint64_t until = guest_stats(&t->h)->done[GUEST_WRITE] + t->burst;

	if (!t->burst)
		return;
	t->burst = 0;
	guest_set_rate(&t->h, 0);
	while (guest_stats(&t->h)->done[GUEST_WRITE] < until) {
		guest_poll(&t->h, 64);
		nvme_subsys_poll(t->ss);
		t->loop.dev->ops->poll(t->loop.dev, 64);
	}
	guest_set_rate(&t->h, 20 * MIB);
}
static inline int tvm_pause(struct vm *v, struct err *err)
{
	if (tvm_of(v)->fail_pause)
		return err_set(err, -EIO, "the test's VM does not pause");
	tvm_burst(tvm_of(v));
	tvm_of(v)->running = false;
	return 0;
}
static inline int tvm_resume(struct vm *v, struct err *err)
{
	(void)err;
	tvm_of(v)->running = true;
	return 0;
}
static inline int tvm_discard(struct vm *v)
{
	tvm_of(v)->running = false;
	tvm_of(v)->discarded = true;
	return 0;
}
static inline int tvm_alive(struct vm *v, struct err *err)
{
	return tvm_of(v)->dead ? err_set(err, -ENODEV, "the test's VM is dead") : 0;
}
static const struct vm_ops tvm_ops = { tvm_open, tvm_mem, tvm_track, tvm_dirty_next, tvm_pause, tvm_resume, tvm_discard, tvm_alive, NULL };

/* ---- a disk whose requests take effect newest first, up to two at each poll */

struct lifo {
	struct blk b;
	struct blk_io *q[1024];
	unsigned n;
};

static inline int lifo_submit(struct blk *b, struct blk_io *io)
{
	struct lifo *l = (struct lifo *)b;

	if (l->n == ARRAY_LEN(l->q))
		return -EAGAIN;
	l->q[l->n++] = io;
	return 0;
}
static inline int lifo_poll(struct blk *b)
{
	struct lifo *l = (struct lifo *)b;
	int done = 0;

	for (; done < 2 && l->n; done++) {
		struct blk_io *io = l->q[--l->n];
		int rc = blk_submit(b->below, io);

		io->done(io, rc == BLK_DONE ? 0 : rc);
	}
	return done;
}
static inline int lifo_next(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len)
{
	return blk_next_allocated(b->below, lba, start, len);
}
static inline int lifo_wait_fd(struct blk *b)
{
	(void)b;
	return -1;
}
static inline void lifo_close(struct blk *b)
{
	blk_close(b->below);
	free(b);
}
static inline struct blk *lifo_open(struct blk *below)
{
	static const struct blk_ops ops = { .name = "lifo", .submit = lifo_submit, .poll = lifo_poll, .next_allocated = lifo_next,
					    .wait_fd = lifo_wait_fd, .close = lifo_close };
	struct lifo *l = calloc(1, sizeof(*l));

	l->b = *below;
	l->b.ops = &ops;
	l->b.below = below;
	return &l->b;
}

/* ---- the site */

static inline uint8_t *ns_read(struct server *s)
{
	struct blk *ns = nvme_ns_blk(nvme_ns_find(s->ss, 1)), *b = ns->below ? ns->below : ns;
	size_t len = s->w->blocks * MR_BLOCK;
	uint8_t *p = malloc(len);
	struct iovec v = { p, len };
	struct blk_io io = { .op = BLK_READ, .nlb = s->w->blocks, .iov = &v, .iovcnt = 1 };

	EXPECT_EQ(blk_submit(b, &io), BLK_DONE);
	return p;
}

static inline void ns_write(struct server *s, uint64_t lba, uint64_t nlb, uint8_t fill)
{
	size_t len = nlb * MR_BLOCK;
	uint8_t *p = malloc(len);
	struct iovec v = { p, len };
	struct blk_io io = { .op = BLK_WRITE, .lba = lba, .nlb = nlb, .iov = &v, .iovcnt = 1 };

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(fill + i / 16);
	EXPECT_EQ(blk_submit(nvme_ns_blk(nvme_ns_find(s->ss, 1)), &io), BLK_DONE);
	free(p);
}

static inline void ns_make(struct server *s)
{
	struct nvme_ns_ids ids = { .nguid = { 1, 2, 3 } };
	struct err err;
	struct blk *b = blk_ram_open(MR_BLOCK, s->w->blocks, &err);
	struct nvme_ns *n;

	if (s->w->lifo_disk && s->name == 'b')
		b = lifo_open(b);
	n = nvme_ns_add(s->ss, 1, b, &ids, &err);

	EXPECT(n != NULL);
	EXPECT_EQ(nvme_ctrl_attach(s->mc, 1, n), 0);
	EXPECT_EQ(nvme_ctrl_attach(s->mmc, 1, n), 0);	/* the manager reads and writes it there */
	s->placed = true;
}

static inline void fill_guest(struct server *s, struct move_guest *g)
{
	*g = (struct move_guest){ .cntlid = nvme_ctrl_cntlid(s->mc), .ns_count = 1, .vm = &s->vm.vm };
	snprintf(g->name, sizeof(g->name), "g");
	g->ns[0] = (struct move_ns){ .guest_nsid = 1, .nsid = 1, .block_bytes = MR_BLOCK, .blocks = s->w->blocks, .nguid = { 1, 2, 3 } };
}

static inline int site_find(void *ctx, const char *guest, struct move_guest *g, struct err *err)
{
	if (strcmp(guest, "g"))
		return err_set(err, -ENOENT, "there is no guest '%s'", guest);
	fill_guest(ctx, g);
	return 0;
}
static inline int site_place(void *ctx, const char *guest, bool make_ns, const struct move_ns *ns, unsigned n, struct move_guest *g,
			     struct err *err)
{
	struct server *s = ctx;

	(void)guest, (void)make_ns;
	if (s->refuse_place)
		return err_set(err, s->refuse_place, "the test has no room");
	if (s->place_late && s->place_late--)
		return -EAGAIN;
	EXPECT_EQ(n, 1);
	if (ns[0].blocks != s->w->blocks - s->w->wrong_size)
		return err_set(err, -EINVAL, "only %llu blocks are possible here",
			       (unsigned long long)s->w->blocks - s->w->wrong_size);
	if (!s->placed)
		ns_make(s);
	nvme_ctrl_set_online(s->mc, false);	/* whatever it was: now a fresh one */
	nvme_ctrl_set_online(s->mc, true);
	s->vm.running = s->vm.discarded = false;
	fill_guest(s, g);
	s->places++;
	return 0;
}
static inline void site_unplace(void *ctx, const char *guest)
{
	struct server *s = ctx;

	(void)guest;
	nvme_ctrl_set_online(s->mc, false);
	s->vm.running = false;
	s->unplaces++;
}
static inline void site_gone(void *ctx, const char *guest)
{
	struct server *s = ctx;

	(void)guest;
	nvme_ctrl_set_online(s->mc, false);
	s->gones++;
}
static inline void site_hold(void *ctx, const char *guest, bool on)
{
	(void)guest;
	nvme_ctrl_hold(((struct server *)ctx)->mc, on);
}
static inline struct journal *site_journal(void *ctx, const char *guest)
{
	(void)guest;
	return &((struct server *)ctx)->journal;
}
static inline void site_event(void *ctx, const char *guest, const struct move_event *e)
{
	struct server *s = ctx;

	(void)guest;
	s->events++;
	s->last = e->progress;
	s->kinds_overflow += !strcmp(e->kind, "overflow");
	s->kinds_retry += !strcmp(e->kind, "retry");
	s->retreats += !strcmp(e->kind, "phase") && strstr(e->text, "stop -> pre-copy");
	s->kinds_throttle += !strcmp(e->kind, "throttle");
	if (!strcmp(e->kind, "error"))
		snprintf(s->last_error, sizeof(s->last_error), "%s", e->text);
	if (!strcmp(e->kind, "done"))
		snprintf(s->last_done, sizeof(s->last_done), "%s", e->text);
	if (getenv("FERRY_TEST_EVENTS"))
		fprintf(stderr, "%c %10.3f ms %-9s %-9s %s\n", s->name, (double)e->at_ns / 1e6, move_phase_name(e->phase), e->kind, e->text);
	/* The target is about to start: nothing may be missing (D1, D2, M1 of the invariants). */
	if (!strcmp(e->kind, "phase") && e->phase == MOVE_COMMIT && s->site.ctx == s && s->w->compare_at_start && s->placed &&
	    s->journal.own == OWN_RESERVED) {
		struct server *o = &s->w->s[s->name == 'a'];
		uint8_t *x = ns_read(o), *y = ns_read(s);

		EXPECT_MEM(x, y, s->w->blocks * MR_BLOCK);
		EXPECT_MEM(o->vm.h.mem, s->vm.h.mem, s->vm.h.bytes);
		free(x);
		free(y);
		s->w->compared++;
	}
}

/* ---- servers */

static inline void server_turn_device(struct server *s)
{
	nvme_subsys_poll(s->ss);
	if (!s->mmc_frozen)
		nvme_ctrl_device(s->mmc)->ops->poll(nvme_ctrl_device(s->mmc), 64);
	nvme_ctrl_device(s->mc)->ops->poll(nvme_ctrl_device(s->mc), 64);
}
static inline void server_pump(void *ctx) { server_turn_device(ctx); }

static inline void server_open(struct world *w, int i, uint64_t mem)
{
	struct server *s = &w->s[i];
	char name[2] = { (char)('a' + i), 0 };
	struct nvme_subsys_cfg cfg = { 0 };
	struct nvme_ctrl_cfg mmc = { .mmc = true }, mc = { 0 };
	struct hnvme_cfg hc;
	struct err err = { "" };
	int rc;

	*s = (struct server){ .w = w, .name = name[0], .env = sim_env_new(w->sim, name) };
	sim_listen(s->env);
	cfg.env = s->env;
	s->ss = nvme_subsys_new(&cfg, &err);
	s->mmc = nvme_ctrl_new(s->ss, &mmc, &err);
	s->mc = nvme_ctrl_new(s->ss, &mc, &err);
	EXPECT(s->ss && s->mmc && s->mc);
	devloop_attach(&s->loop, nvme_ctrl_device(s->mmc), NULL, NULL);
	s->port = port_loop_new(&s->loop, server_pump, s, &err);
	hc = (struct hnvme_cfg){ .env = s->env, .port = s->port, .io_queues = 1, .mem_fd = -1, .revive = true };
	s->h = hnvme_new(&hc, &err);
	EXPECT(s->h != NULL);
	while ((rc = hnvme_start(s->h, &err)) == -EAGAIN) {
		server_turn_device(s);
		hnvme_poll(s->h);
	}
	EXPECT_EQ(rc, 0);
	devloop_attach(&s->vm.loop, nvme_ctrl_device(s->mc), NULL, NULL);
	s->vm.vm.ops = &tvm_ops;
	s->vm.ss = s->ss;
	s->vm.port = port_loop_new(&s->vm.loop, server_pump, s, &err);
	s->vm.h = (struct guest_host){ .mem = aligned_alloc(4096, mem), .bytes = mem, .fd = -1, .port = s->vm.port, .env = s->env,
				       .dirty = calloc((mem / 4096 + 63) / 64, 8) };
	memset(s->vm.h.mem, 0, mem);
	EXPECT_EQ(journal_load(&s->journal, s->env, "g", &err), 0);
	s->site = (struct move_site){ .ctx = s, .env = s->env, .mmc = s->h, .find = site_find, .place = site_place,
				      .unplace = site_unplace, .gone = site_gone, .hold = site_hold, .journal = site_journal, .event = site_event };
	s->in = move_in_new(&s->site);
}

static inline void server_close(struct server *s)
{
	move_in_free(s->in);
	hnvme_free(s->h);
	nvme_ctrl_set_online(s->mmc, false);
	nvme_ctrl_set_online(s->mc, false);
	for (int i = 0; i < 100; i++)
		server_turn_device(s);
	devloop_detach(&s->loop);
	devloop_detach(&s->vm.loop);
	s->port->ops->close(s->port);
	s->vm.port->ops->close(s->vm.port);
	nvme_subsys_free(s->ss);
	free(s->vm.h.mem);
	free(s->vm.h.dirty);
}

/* The instant a server may be at work on the guest's queues. */
static inline bool server_runs(const struct server *s)
{
	return s->vm.running || (nvme_ctrl_is_online(s->mc) && !nvme_ctrl_is_suspended(s->mc) && (s->mc->cc & NVME_CC_EN));
}

static inline void server_turn(struct server *s)
{
	struct env_conn *c;

	while ((c = sim_accept(s->env)))
		move_in_accept(s->in, c);
	move_in_poll(s->in);
	server_turn_device(s);
	if (s->vm.running)
		guest_poll(&s->vm.h, 8);
	server_turn_device(s);
}

static inline void world_turn(struct world *w)
{
	for (int i = 0; i < 2; i++)
		server_turn(&w->s[i]);
	if (w->out && !w->out_stalled)
		move_out_poll(w->out);
	EXPECT(!(w->s[0].vm.running && w->s[1].vm.running));	/* O1: one owner */
	EXPECT(!(server_runs(&w->s[0]) && server_runs(&w->s[1])));
	EXPECT(w->one_owner_unchecked || !(w->s[0].journal.own == OWN_OWNER && w->s[1].journal.own == OWN_OWNER));
	sim_advance(w->sim, sim_now_ns(w->sim) + w->turn_ns);
}

#define world_until(w, cond)                                                                                    \
	do {                                                                                                    \
		int turns_ = 0;                                                                                 \
		while (!(cond)) {                                                                               \
			if (++turns_ > MR_TURNS)                                                                \
				fail_msg("%s:%d: never: %s (error: %s)", __FILE__, __LINE__, #cond, (w)->s[0].last_error); \
			world_turn(w);                                                                          \
		}                                                                                               \
	} while (0)

/* For waits of seconds: a hundred times as fast. */
#define world_until_slowly(w, cond)            \
	do {                                   \
		(w)->turn_ns = 100 * MR_TURN_NS; \
		world_until(w, cond);          \
		(w)->turn_ns = MR_TURN_NS;     \
	} while (0)

static inline void world_open(struct world *w, const struct world_cfg *cfg)
{
	struct guest_cfg g = cfg->guest;
	uint64_t mem;
	struct err err = { "" };

	memset(w, 0, sizeof(*w));
	w->sim = sim_new(cfg->seed ? cfg->seed : 1, &cfg->net);
	w->blocks = cfg->blocks ? cfg->blocks : MR_BLOCKS;
	w->compare_at_start = true;
	w->turn_ns = MR_TURN_NS;
	g.nsid = 1;
	g.id = 1;
	g.area_off = MIB;
	g.area_bytes = g.area_bytes ? g.area_bytes : 2 * MIB;
	g.queues = 2;
	g.depth = g.depth ? g.depth : 8;
	g.max_blocks = g.max_blocks ? g.max_blocks : 4;
	g.rate = g.rate ? g.rate : 20 * MIB;
	g.area_zeroed = 1;
	mem = round_up(guest_bytes_needed(&g) + MIB, MIB);
	server_open(w, 0, mem);
	server_open(w, 1, mem);
	ns_make(&w->s[0]);
	ns_write(&w->s[0], 0, 1000, 3);			/* outside the guest's area: before and behind it, with holes */
	ns_write(&w->s[0], w->blocks - 777, 77, 9);
	EXPECT_EQ(guest_init(&w->s[0].vm.h, &g, &err), 0);
	EXPECT_EQ(guest_attach(&w->s[0].vm.h, &err), 0);
	EXPECT_EQ(guest_attach(&w->s[1].vm.h, &err), 0);
	EXPECT_EQ(journal_set(&w->s[0].journal, OWN_OWNER, 1, NULL, "", "made here"), 0);
	w->s[0].vm.running = true;
	world_until(w, guest_stats(&w->s[0].vm.h)->state == GUEST_RUN && guest_stats(&w->s[0].vm.h)->done[GUEST_WRITE] > 50);
}

static inline void world_close(struct world *w)
{
	move_out_free(w->out);
	server_close(&w->s[0]);
	server_close(&w->s[1]);
	sim_free(w->sim);
}

#define WORLD(w, ...) struct world w __attribute__((cleanup(world_close))); world_open(&w, &(struct world_cfg){ __VA_ARGS__ })

static inline struct move_plan plan_to(char target)
{
	struct move_plan p = { .guest = "g" };

	snprintf(p.to, sizeof(p.to), "sim:%c", target);
	snprintf(p.here, sizeof(p.here), "sim:%c", target == 'b' ? 'a' : 'b');
	return p;
}

static inline void world_move(struct world *w, int from, const struct move_plan *p)
{
	struct err err = { "" };

	move_out_free(w->out);
	w->out = move_out_start(&w->s[from].site, p, &err);
	if (!w->out)
		fail_msg("%s", err.text);
}

static inline bool out_over(struct world *w)
{
	int rc;
	const char *why;

	return move_out_ended(w->out, &rc, &why);
}

static inline int out_rc(struct world *w)
{
	int rc;
	const char *why;

	move_out_ended(w->out, &rc, &why);
	return rc;
}

/* The guest works on, and everything it ever wrote is there. */
static inline void guest_is_well(struct world *w, int on)
{
	struct guest_host *h = &w->s[on].vm.h;
	uint64_t passes = guest_stats(h)->verify_passes;
	uint64_t done = guest_stats(h)->done[GUEST_WRITE];

	EXPECT(w->s[on].vm.running);
	EXPECT(!w->s[!on].vm.running);
	world_until(w, guest_stats(h)->done[GUEST_WRITE] > done + 20);
	guest_set_mode(h, GUEST_VERIFY);
	world_until(w, guest_stats(h)->verify_passes > passes || guest_violations(guest_stats(h)));
	for (unsigned i = 0; i < guest_stats(h)->details; i++)
		print_message("violation: %s lba %llu\n", guest_violation_name(guest_stats(h)->detail[i].kind),
			      (unsigned long long)guest_stats(h)->detail[i].lba);
	EXPECT_EQ(guest_violations(guest_stats(h)), 0);
	guest_set_mode(h, GUEST_WORK);
}

#endif
