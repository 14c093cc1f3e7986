/* Random sequences. See random.h. */
#include "verify/random_in.h"

#include <stdio.h>
#include <stdlib.h>

#include "verify/model.h"

enum { SHRINK_TRIES = 150 };

static struct rnd rnd_; /* one run at a time */

static struct rmc *rmc_of(struct rnd *r, uint16_t cntlid)
{
	for (unsigned i = 0; i < r->mcs; i++)
		if (r->mc[i].c->cntlid == cntlid)
			return &r->mc[i];
	return NULL;
}

bool random_logging(struct rnd *r, struct rmc *m)
{
	struct mcdq *q = model_cdq_of(r->t->model, m->c->cntlid);
	struct mctrl *x = model_ctrl(r->t->model, m->c->cntlid);

	return q && q->logging && x && !x->suspended;
}

static void reap(struct rnd *r)
{
	for (unsigned i = 0; i < r->mcs; i++)
		random_reap(r, &r->mc[i]);
}

/* ---- change logs */

static void read_ring(struct rnd *r, struct rring *g)
{
	struct rmc *m = rmc_of(r, g->cntlid);
	struct ventry e;

	while (vh_next(&g->r, &e)) {
		g->overflowed |= e.esa == ESA_FULL;
		if (!m || e.lbacir == 2 || e.nsid != m->c->ns[0].mmc_nsid)
			continue;
		for (uint64_t b = 0; b < AREA; b++)
			if (e.lbacir == 1 || b - e.slba < e.nlb)
				VEXPECT(r->t, board_named(&m->board.block[b], e.dealloc), "%s: an entry says that LBA %llu is deallocated, and nobody deallocated it",
					m->c->name, (unsigned long long)b);
	}
}

static struct rring *ring_of(struct rnd *r, uint16_t id)
{
	for (unsigned i = 0; i < RINGS; i++)
		if (r->ring[i].used && r->ring[i].r.id == id)
			return &r->ring[i];
	return NULL;
}

static void step_ring(struct rnd *r, uint64_t *draw)
{
	struct rring *g = &r->ring[pick(draw, RINGS)];

	if (!g->used || !model_cdq(r->t->model, r->t->mmc, g->r.id))
		return;
	read_ring(r, g);
	if (chance(draw, 80)) {
		vh_told(&g->r);
		g->told = g->r.taken;
	}
}

static void forget_must(struct rmc *m)
{
	for (unsigned b = 0; m && b < AREA; b++)
		m->board.block[b].must_log = false;
}

/* What was deallocated before is in no entry of a log that begins now, unless it is still under way. */
static void forget_gone(struct rmc *m)
{
	for (unsigned b = 0; b < AREA; b++)
		if (!m->board.block[b].busy && !fault_clouds(m, b))
			m->board.block[b].maybe_gone = false;
}

struct logged { struct rnd *r; struct rmc *m; unsigned lba; };	/* m, lba: the first block that no entry names */
static bool all_logged(void *ctx)
{
	struct logged *l = ctx;
	struct rnd *r = l->r;

	for (unsigned i = 0; i < RINGS; i++)
		if (r->ring[i].used && model_cdq(r->t->model, r->t->mmc, r->ring[i].r.id)) {
			struct rmc *m = rmc_of(r, r->ring[i].cntlid);

			read_ring(r, &r->ring[i]);
			for (unsigned b = 0; m && !r->ring[i].overflowed && b < AREA; b++)
				if (m->board.block[b].must_log) {
					l->m = m;
					l->lba = b;
					return false;
				}
		}
	return true;
}

/* What was written while logging is named before the log can end. */
static void check_logged(struct rnd *r)
{
	struct logged l = { .r = r };

	VEXPECT(r->t, vt_until(r->t, all_logged, &l, r->t->cmd_ns), "%s: LBA %u was changed while logging and is in no entry", l.m->c->name, l.lba);
}

/* ---- migration commands */

static uint32_t pick_field(struct rnd *r, const struct vfield *f, enum vfid id, uint64_t *d)
{
	uint32_t all = (uint32_t)(0xffffffffull >> (31 - f->hi + f->lo));
	struct mcdq *live[MODEL_CDQS];
	unsigned n = 0;

	switch (f->kind) {
	case VK_CONST:
	case VK_FIXED: return f->max;
	case VK_ENUM: return chance(d, 90) ? (uint32_t)pick(d, f->max + 1) : MIN(all, f->max + 1 + (uint32_t)pick(d, 250));
	case VK_BIT: return id == VF_SET_CDQ_sv ? chance(d, 4) : (uint32_t)pick(d, 2);
	case VK_RESERVED: return chance(d, 98) ? 0 : 1u << pick(d, f->hi - f->lo + 1u);
	case VK_CNTLID:
		if (chance(d, 88))
			return r->mc[pick(d, r->mcs)].c->cntlid;
		return chance(d, 40) ? r->t->mmc->cntlid : 0xfff0 + (uint32_t)pick(d, 16);
	case VK_CDQID:
		for (unsigned i = 0; i < MODEL_CDQS; i++)
			if (r->t->model->cdq[i].live)
				live[n++] = &r->t->model->cdq[i];
		if (n && chance(d, 88))
			return live[pick(d, n)]->id;
		return chance(d, 50) ? r->t->model->last_dead : (uint32_t)pick(d, 0x10000);
	case VK_SIZE: {
		static const uint32_t bad[] = { 0, 8, 9, 15, 1001, 0xfffffff8, 0x80000000 };

		return chance(d, 90) ? 8 * (2 + (uint32_t)pick(d, RING_BYTES / 32 - 2)) : bad[pick(d, ARRAY_LEN(bad))];
	}
	case VK_COUNT0: return chance(d, 90) ? 1023 : chance(d, 50) ? (uint32_t)pick(d, 8) : 0xffffffff - (uint32_t)pick(d, 9);
	case VK_COUNT: return chance(d, 95) ? 14 : chance(d, 50) ? 0 : 0xffffffff;
	case VK_OFFSET: return chance(d, 92) ? 0 : chance(d, 50) ? 4 * (uint32_t)pick(d, 64) : chance(d, 50) ? 1 + (uint32_t)pick(d, 3) : 0xfffffffc;
	case VK_HIGH: return chance(d, 97) ? 0 : 1 + (uint32_t)pick(d, 0xfffffff0);
	case VK_VERSION: return chance(d, 90) ? 1 : chance(d, 50) ? 0 : 201 + (uint32_t)pick(d, 50);
	case VK_UUID: return chance(d, 92) ? 0 : 201 + (uint32_t)pick(d, 50);
	case VK_SLOT: return chance(d, 70) ? (uint32_t)pick(d, 64) : chance(d, 60) ? (uint32_t)pick(d, 400) : 0xffffffff;
	case VK_LBA: return chance(d, 85) ? (uint32_t)pick(d, 4096) : chance(d, 50) ? 0xffffffff : 0;
	case VK_OPAQUE: return chance(d, 96) ? 0 : (uint32_t)pick(d, (uint64_t)all + 1);
	}
	return 0;
}

/* What such a field holds in a command that is not out for trouble; false: any value is as good. */
static bool plain_value(const struct vfield *f, uint32_t v, uint32_t *out)
{
	switch (f->kind) {
	case VK_RESERVED:
	case VK_OPAQUE:
	case VK_HIGH: *out = 0; return true;
	case VK_ENUM: *out = MIN(v, f->max); return v > f->max;
	default: return false;
	}
}

static enum vop pick_op(uint64_t *d)
{
	static const uint8_t weight[VOP_COUNT] = {
		[VOP_CDQ_CREATE] = 8, [VOP_CDQ_DELETE] = 3, [VOP_LOG] = 10, [VOP_TRACK_MEM] = 6, [VOP_TRACK_RECV] = 8, [VOP_SUSPEND] = 14,
		[VOP_RESUME] = 18, [VOP_SET_STATE] = 10, [VOP_GET_STATE] = 8, [VOP_SET_CDQ] = 6, [VOP_GET_CDQ] = 4, [VOP_FORMATS] = 2,
		[VOP_LBA_STATUS] = 3
	};
	uint64_t at = pick(d, 100);

	for (unsigned i = 0; i < VOP_COUNT; i++) {
		if (at < weight[i])
			return (enum vop)i;
		at -= weight[i];
	}
	return VOP_RESUME;
}

/* Images without queues, whole or in two pieces: what becomes of queues is for tests that know where their memory is. */
static void make_image(struct rnd *r, struct nvme_sqe *s, uint64_t *d)
{
	struct nvme_state_head h = { .nvmecss = le64_of(2) };
	unsigned seq = vf_get(s, VF_SET_STATE_seqind);

	memset(r->page.p, 0, VT_PAGE);
	memcpy(r->page.p, &h, sizeof(h));
	if (seq == 1 && chance(d, 70))
		vf_put(s, VF_SET_STATE_numd, 12);
	if ((seq == 2 || seq == 0) && chance(d, 80)) {
		vf_put(s, VF_SET_STATE_csol, 48);
		vf_put(s, VF_SET_STATE_numd, 2);
		memset(r->page.p, 0, 8);
	}
	if (chance(d, 10))
		r->page.p[pick(d, 56)] ^= (uint8_t)(1 + pick(d, 255));
}

/* True: the structure is wrong, success would be too. */
static bool make_ranges(struct rnd *r, struct nvme_sqe *s, uint64_t *d)
{
	struct rmc *m = rmc_of(r, (uint16_t)vf_get(s, VF_TRACK_MEM_cntlid));
	struct nvme_track_mem h = { .rmrtg = r->t->mmc->id.minmrtg, .rnmrtd = le32_of(1) };
	struct nvme_track_mem_range one = { .saddr = le64_of(m ? m->c->iova : 0),
					    .len = le32_of(m ? (uint32_t)(m->c->bytes >> 12 >> r->t->mmc->id.minmrtg) : 1) };
	bool wrong = chance(d, 12);

	if (wrong && chance(d, 50))
		h.ver = (uint8_t)(1 + pick(d, 255));
	else if (wrong)
		one.saddr = le64_of(0x7fff00000000ull);
	memcpy(r->page.p, &h, sizeof(h));
	memcpy(r->page.p + 8, &one, sizeof(one));
	return wrong && vf_get(s, VF_TRACK_MEM_tact);
}

static struct rring *make_queue(struct rnd *r, struct nvme_sqe *s)
{
	uint32_t dwords = vf_get(s, VF_CDQ_CREATE_cdqsize);

	for (unsigned i = 0; i < RINGS; i++) {
		struct rring *g = &r->ring[i];

		if (g->used && model_cdq(r->t->model, r->t->mmc, g->r.id))
			continue;
		g->used = false;
		memset(g->mem.p, 0, RING_BYTES);
		g->r = (struct vring){ .mmc = r->t->mmc, .m = g->mem, .slots = dwords / 8, .phase = true };
		s->prp1 = le64_of(g->mem.iova);
		vf_put(s, VF_CDQ_CREATE_pc, 1); /* a list would have to outlive the page it stands in; CQ-02 has those */
		return g;
	}
	return NULL;
}

/* What the rest of the sequence must know of a command that succeeded. */
static void after(struct rnd *r, enum vop op, const struct nvme_sqe *s, struct rring *made, uint16_t dead)
{
	uint16_t id = 0;
	enum mstate st;
	struct rmc *m = NULL;

	if (model_target(r->t->model, r->t->mmc, s, &id, &st))
		m = rmc_of(r, id);
	if (op == VOP_CDQ_CREATE && made) {
		made->used = true;
		made->overflowed = false;
		made->told = 0;
		made->cntlid = id;
		made->r.id = (uint16_t)le32_get(r->t->last.dw0);
	}
	if (op == VOP_CDQ_DELETE || (op == VOP_SUSPEND && vf_get(s, VF_SUSPEND_dudmq))) {
		struct rring *g = op == VOP_CDQ_DELETE ? ring_of(r, (uint16_t)vf_get(s, VF_CDQ_DELETE_cdqid)) : dead != 0xffff ? ring_of(r, dead) : NULL;

		if (g && !model_cdq(r->t->model, r->t->mmc, g->r.id)) {
			forget_must(rmc_of(r, g->cntlid));
			g->used = false;
			m = rmc_of(r, g->cntlid) ? rmc_of(r, g->cntlid) : m;
		}
	}
	if (m && (op == VOP_LOG || op == VOP_SUSPEND || op == VOP_RESUME || op == VOP_CDQ_DELETE || op == VOP_CDQ_CREATE || op == VOP_SET_STATE))
		m->epoch++;
	if (op == VOP_LOG && m) {
		struct rring *g = ring_of(r, (uint16_t)vf_get(s, VF_LOG_cdqid));

		if (g && g->overflowed && vf_get(s, VF_LOG_lact)) { /* what came in between is lost, as announced */
			forget_must(m);
			g->overflowed = false;
		}
		if (g)
			read_ring(r, g); /* in a queue of two the start itself is the last entry */
		if (vf_get(s, VF_LOG_lact))
			forget_gone(m);
	}
}

static void drop(uint16_t *set, unsigned status)
{
	unsigned n = 0;

	for (unsigned i = 0; set[i] != ST_END; i++)
		if (set[i] != status)
			set[n++] = set[i];
	set[n] = ST_END;
}

static void add_all(uint16_t *set, const uint16_t *more)
{
	unsigned n = 0;

	while (set[n] != ST_END)
		n++;
	for (; *more != ST_END; more++)
		set[n++] = *more;
	set[n] = ST_END;
}

/* Every command that is out may add an entry, and a marker or two. */
static void look_for_room(struct rnd *r, const struct nvme_sqe *s)
{
	struct mcdq *q = model_cdq(r->t->model, r->t->mmc, (uint16_t)vf_get(s, VF_LOG_cdqid));
	struct rring *g = q ? ring_of(r, q->id) : NULL;

	if (q)
		q->room = g && !g->overflowed && g->r.slots > 8 * OPS + 8 + (g->r.taken - g->told);
}

/* A list that leads to nothing but the sink, however long. */
static void fill_list(struct rnd *r)
{
	for (unsigned i = 0; i < VT_PAGE / 8; i++) {
		le64 a = le64_of(i == VT_PAGE / 8 - 1 ? r->list.iova : r->sink.iova);

		memcpy(r->list.p + 8 * i, &a, 8);
	}
}

static void step_command(struct rnd *r, uint64_t *draw, uint64_t *more, bool plain)
{
	uint16_t set[MODEL_SET + 12], dead;
	enum vop op = pick_op(draw);
	struct rring *made = NULL;
	struct mcdq *q;
	struct nvme_sqe s;
	bool wrong = false;
	unsigned n = 0, bit = 512;
	uint32_t value;

	vop_init(&s, op);
	for (unsigned i = 0; i < VF_COUNT; i++)
		if (vfields[i].op == op) {
			struct rng g = { *more + i };
			uint64_t d = rng_next(&g);

			vf_put(&s, (enum vfid)i, pick_field(r, &vfields[i], (enum vfid)i, &d));
			if (plain && plain_value(&vfields[i], vf_get(&s, (enum vfid)i), &value))
				vf_put(&s, (enum vfid)i, value);
		}
	s.prp1 = le64_of(r->page.iova);
	s.prp2 = le64_of(r->list.iova); /* however long the transfer, it goes where it harms nobody */
	if (r->faults && !plain) {
		fill_list(r);
		bit = fault_corrupt_admin(r, &s, more);
		op = vop_of(&s);
	}
	if (op == VOP_NONE) { /* no command of ours any more: any answer, but an answer */
		vt_do(r->t->mmc, 0, &s, ST_ANY);
		return;
	}
	if (op == VOP_CDQ_CREATE && !(made = make_queue(r, &s)))
		return;
	if (op == VOP_SET_STATE)
		make_image(r, &s, draw);
	if (op == VOP_TRACK_MEM)
		wrong = make_ranges(r, &s, draw);
	if (op == VOP_LBA_STATUS)
		s.nsid = le32_of(r->t->mmc->nss ? r->t->mmc->ns[0].nsid : 1);
	if (op == VOP_SUSPEND || op == VOP_LOG || op == VOP_CDQ_DELETE) {
		reap(r);
		check_logged(r);
	}
	q = op == VOP_SUSPEND ? model_cdq_of(r->t->model, (uint16_t)vf_get(&s, VF_SUSPEND_cntlid)) : NULL;
	dead = q ? q->id : 0xffff;
	if (op == VOP_LOG)
		look_for_room(r, &s);
	model_accept(r->t->model, r->t->mmc, &s, set);
	if (op == VOP_LBA_STATUS || op == VOP_FORMATS) /* not of the state machine: their own tests judge them */
		n = vt_do(r->t->mmc, 0, &s, bit < 512 ? ST_ANY : ST(S_OK, S_IF, S_LBA, S_NS, S_XFER, S_PRP));
	else {
		if (wrong) {
			drop(set, S_OK);
			while (set[n] != ST_END)
				n++;
			set[n] = S_IF;
			set[n + 1] = ST_END;
		}
		if (bit < 320) /* outside the command's own dwords */
			add_all(set, ST(S_IF, S_NS, S_PRP, S_XFER, 0x10f));
		n = vt_do(r->t->mmc, 0, &s, set);
	}
	if (n == S_OK)
		after(r, op, &s, made, dead);
}

/* ---- resets */

static void revive(struct rnd *r, struct rmc *m)
{
	struct mctrl *x = model_ctrl(r->t->model, m->c->cntlid);

	if (m->c->up)
		return;
	if (x->suspended)
		vh_resume(r->t->mmc, m->c->cntlid, ST(S_OK, S_3A, S_SEQ));
	vt_enable(m->c, !x->suspended);
	if (x->suspended)
		vt_reset(m->c);
}

void random_reset_mc(struct rnd *r, struct rmc *m, bool leave_off)
{
	vt_disable(m->c);
	random_lose_ops(m);
	m->queue = false;
	m->stuck = m->unrung = 0;
	m->epoch++;
	if (!leave_off)
		vt_enable(m->c, true);
	(void)r;
}

static void reset_mmc(struct rnd *r)
{
	check_logged(r);
	vt_reset(r->t->mmc);
	for (unsigned i = 0; i < RINGS; i++)
		r->ring[i].used = false;
	for (unsigned i = 0; i < r->mcs; i++) {
		struct mctrl *x = model_ctrl(r->t->model, r->mc[i].c->cntlid);

		forget_must(&r->mc[i]);
		r->mc[i].epoch++;
		if (x->suspended || x->unsure) /* X2: whichever way it was read, now it runs */
			vh_resume(r->t->mmc, r->mc[i].c->cntlid, ST(S_OK, S_3A));
	}
}

static void step(struct rnd *r, const struct rstep *s)
{
	uint64_t d = s->draw[1], more = s->draw[2], f = s->draw[4];
	unsigned what = s->draw[0] % 100;

	r->now++;
	random_release_due(r);
	if (r->faults && s->draw[3] % 8 == 0)
		fault_step(r, &f);
	else if (what < 50)
		step_command(r, &d, &more, s->plain);
	else if (what < 76)
		random_step_io(r, &d);
	else if (what < 84)
		for (uint64_t n = pick(&d, 8); n; n--)
			vt_poll(r->t);
	else if (what < 86)
		random_check_allocated(r, &r->mc[pick(&d, r->mcs)]);
	else if (what < 94)
		step_ring(r, &d);
	else if (what < 97)
		random_reset_mc(r, &r->mc[pick(&d, r->mcs)], chance(&d, 30));
	else if (what < 98)
		reset_mmc(r);
	else
		for (unsigned i = 0; i < r->mcs; i++)
			revive(r, &r->mc[i]);
	reap(r);
	if (r->faults)
		fault_after_step(r);
}

/* ---- beginning and end of a sequence */

static void begin(struct rnd *r, struct vt *t, bool faults)
{
	memset(r, 0, sizeof(*r));
	r->t = t;
	r->faults = faults;
	r->page = vt_mem(t->mmc, VT_PAGE);
	r->sink = vt_mem(t->mmc, VT_PAGE);
	r->list = vt_mem(t->mmc, VT_PAGE);
	fill_list(r);
	for (unsigned i = 0; i < RINGS; i++)
		r->ring[i].mem = vt_mem(t->mmc, RING_BYTES);
	for (unsigned i = 0; i < t->mcs; i++) {
		struct rmc *m = &r->mc[r->mcs++];

		m->c = t->mc[i];
		random_io_begin(m);
	}
}

/* Everything runs again, what is out completes, logs have named what they must, and every block is read. */
static void end(struct rnd *r)
{
	if (r->faults)
		fault_heal(r);
	for (unsigned i = 0; i < r->mcs; i++) {
		struct rmc *m = &r->mc[i];
		struct mctrl *x = model_ctrl(r->t->model, m->c->cntlid);

		revive(r, m);
		if (x->suspended || x->unsure)
			if (vh_resume(r->t->mmc, m->c->cntlid, ST(S_OK, S_3A, S_SEQ)) == S_SEQ)
				random_reset_mc(r, m, false);
		for (unsigned k = 0; k < OPS; k++)
			if (m->op[k].out) {
				vt_wait(r->t, m->op[k].k);
				VEXPECT(r->t, vt_until(r->t, random_over, &m->op[k], r->t->cmd_ns), "%s: a Read that was sent twice ended once", m->c->name);
			}
		random_reap(r, m);
		for (unsigned k = 0; k < OPS; k++)
			if (m->op[k].held)
				random_release(m, &m->op[k]);
	}
	check_logged(r);
	for (unsigned i = 0; i < r->mcs; i++) {
		struct rmc *m = &r->mc[i];

		random_read_all(r, m);
		random_check_allocated(r, m);
	}
	vt_red_check(r->t);
}

/* ---- running and shrinking */

/* False: it failed, and t->why says how. */
static bool try_steps(struct vt *t, const struct rstep *s, unsigned n, bool faults)
{
	jmp_buf keep;
	bool good = false;

	memcpy(keep, t->out, sizeof(keep));
	if (!setjmp(t->out)) {
		vt_fresh(t);
		t->quiet_watch = false;
		begin(&rnd_, t, faults);
		if (faults)
			fault_begin(&rnd_);
		for (unsigned i = 0; i < n; i++)
			step(&rnd_, &s[i]);
		end(&rnd_);
		good = true;
	}
	memcpy(t->out, keep, sizeof(keep));
	return good;
}

/* Who gives commands more time has a slower device, and gets more time for this too. */
static uint64_t shrink_ns(const struct vt *t) { return MAX(15000000000ull, 3 * t->cmd_ns); }

struct shrinking { struct vt *t; bool faults; char *why; struct buf *trace; struct vt_wrong wrong; unsigned tries; uint64_t end_ns; };

/* Does this sequence fail too? Then it is what is told. */
static bool still_fails(struct shrinking *k, const struct rstep *s, unsigned n)
{
	struct vt *t = k->t;

	if (k->tries++ >= SHRINK_TRIES || vt_now_ns() > k->end_ns)
		return false;
	t->deadline_ns = vt_now_ns() + shrink_ns(t);
	t->verdict = VT_FAIL;
	t->trace.len = 0;
	t->wrong.set = false;
	if (try_steps(t, s, n, k->faults) || t->verdict != VT_FAIL || t->lost)
		return false;
	snprintf(k->why, sizeof(t->why), "%s", t->why);
	k->wrong = t->wrong;
	k->trace->len = 0;
	buf_add(k->trace, t->trace.data, t->trace.len);
	return true;
}

/* Removes ever smaller pieces as long as what is left still fails; then what is odd in the steps that are left. */
static unsigned shrink(struct vt *t, struct rstep *s, unsigned n, bool faults, char *why, struct buf *trace)
{
	struct shrinking k = { .t = t, .faults = faults, .why = why, .trace = trace, .wrong = t->wrong, .end_ns = vt_now_ns() + shrink_ns(t) };
	struct rstep *part = calloc(n, sizeof(*part));

	for (unsigned piece = n / 2; part && piece; piece /= 2)
		for (unsigned at = 0; at + piece <= n && k.tries < SHRINK_TRIES;) {
			memcpy(part, s, at * sizeof(*s));
			memcpy(part + at, s + at + piece, (n - at - piece) * sizeof(*s));
			if (still_fails(&k, part, n - piece)) {
				n -= piece;
				memcpy(s, part, n * sizeof(*s));
			} else {
				at += piece;
			}
		}
	for (unsigned i = n; part && i-- > 0 && k.tries < SHRINK_TRIES;) {
		s[i].plain = true;
		s[i].plain = still_fails(&k, s, n);
	}
	free(part);
	t->wrong = k.wrong;
	return n;
}

static void run(struct vt *t, unsigned n, bool faults)
{
	struct rstep *s = calloc(n ? n : 1, sizeof(*s));
	unsigned first = n, left;
	char why[sizeof(t->why)];

	if (!s || n > RANDOM_STEPS_MAX)
		free(s), vt_error(t, "no memory for %u steps", n);
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < ARRAY_LEN(s[i].draw); k++)
			s[i].draw[k] = rng_next(&t->rng);
	if (try_steps(t, s, n, faults)) {
		free(s);
		return;
	}
	snprintf(why, sizeof(why), "%s", t->why);
	if (t->verdict == VT_FAIL && !t->lost) {
		struct cov *keep = t->cov;

		struct buf trace = { 0 };

		buf_add(&trace, t->trace.data, t->trace.len);
		t->cov = NULL; /* attempts are not coverage */
		left = shrink(t, s, first, faults, why, &trace);
		t->cov = keep;
		t->trace.len = 0;
		if (!trace.failed)
			buf_add(&t->trace, trace.data, trace.len);
		buf_fini(&trace);
		free(s);
		vt_fail(t, "%.700s (%u steps, shrunk to %u)", why, first, left);
	}
	free(s);
	vt_error(t, "%.900s", why);
}

void random_run(struct vt *t, unsigned n) { run(t, n, false); }

void random_stress(struct vt *t, unsigned n)
{
	vt_inject_on(t);
	audit_begin(t);
	run(t, n, true);
	audit_end(t);
}

void random_bell_lost_again(struct vt *t)
{
	static const struct inj_rule lost = { .at = INJ_BELL, .act = INJ_DROP, .ctrl = INJ_ANY, .what = 2, .count = 3 };
	struct rnd *r = &rnd_;
	struct rmc *m = &r->mc[0];
	uint64_t draw = 0;

	vt_inject_on(t);
	vt_fresh(t);
	begin(r, t, true);
	fault_begin(r);
	VEXPECT(t, random_may_work(r, m) && inj_add(&t->inj, &lost), "no queue");
	random_start_op(r, m, &draw);
	for (unsigned i = 0; i < 100; i++)
		fault_after_step(r);
	VEQ(t, t->inj.did[INJ_BELL][INJ_DROP], 3, "doorbells lost");
	end(r);
}
