/* Faults in random sequences. A step puts one rule in wait (inject.h), made of the step's own numbers: so a shortened sequence has the
 * faults of the steps that are left. What is late, doubled or out of order must not be noticed at all; of what is lost or falsified, on_fault
 * finds the command that was hit, and of that command alone nothing is known any more.
 */
#include <stdio.h>

#include "verify/model.h"
#include "verify/random_in.h"

enum { STUCK_STEPS = 6, UNRUNG_STEPS = 4, MEDIA_SHARE = 4 /* kinds of faults of a medium, among all kinds */, BIT_NONE = 512 };

static struct rmc *mc_of(struct rnd *r, unsigned ctrl)
{
	for (unsigned i = 0; i < r->mcs; i++)
		if (r->mc[i].c->index == ctrl)
			return &r->mc[i];
	return NULL;
}

static bool within(const struct vmem *m, uint64_t at, uint64_t len) { return m->p && range_inside(at - m->iova, len, m->len); }

static struct rop *op_of_cid(struct rmc *m, unsigned cid)
{
	for (unsigned i = 0; i < OPS; i++)
		if (m->op[i].out && (m->op[i].k->cid == cid || (m->op[i].k->twin && m->op[i].k->twin->used && m->op[i].k->twin->cid == cid)))
			return &m->op[i];
	return NULL;
}

static struct rop *op_of_data(struct rmc *m, uint64_t at, uint64_t len)
{
	for (unsigned i = 0; i < OPS; i++)
		if (m->op[i].out && within(&m->op[i].buf, at, len))
			return &m->op[i];
	return NULL;
}

/* ---- which events: what is lost or falsified must be a guest's I/O, because management commands are waited for */

static bool of_io(void *ctx, const struct inj_event *ev)
{
	struct rnd *r = ctx;
	struct rmc *m = mc_of(r, ev->ctrl);

	if (!m || !m->queue || m->stuck)
		return false;
	switch (ev->at) {
	case INJ_SUBMIT: return r->sending_mc == m;
	case INJ_BELL: return ev->what == 2 || ev->what == 3;
	case INJ_FETCH: return within(&m->c->sq[1].m, ev->addr, ev->len);
	case INJ_CQE: return within(&m->c->cq[1].m, ev->addr, ev->len);
	case INJ_DATA: return op_of_data(m, ev->addr, ev->len);
	default: return false;
	}
}
static bool of_io_tail(void *ctx, const struct inj_event *ev) { return ev->what == 2 && of_io(ctx, ev); }
/* A Write that is sent twice may come after a younger one of another command: its host may not do that. */
static bool of_read(void *ctx, const struct inj_event *ev) { return of_io(ctx, ev) && !((struct rnd *)ctx)->sending->write; }

/* ---- what is falsified */

/* Not the CID (the host would not know its own command any more), not FUSE (its neighbour would be hit too), and no address that leads
 * from one place of ours to another: those are for memory's own checks, which see a controller's mistake there and not ours. */
static bool may_flip(unsigned bit)
{
	unsigned byte = bit / 8;

	if (byte == 2 || byte == 3 || bit == 8 || bit == 9)
		return false;
	return !(byte >= 24 && byte < 40 && bit % 64 >= 12 && bit % 64 < 40);
}

static unsigned flip_sqe(uint8_t *s, struct rng *g, bool (*good)(unsigned opc))
{
	for (unsigned tries = 0; tries < 100; tries++) {
		unsigned bit = (unsigned)rng_below(g, 512);

		if (!may_flip(bit))
			continue;
		s[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (bit >= 8 || good(s[0]))
			return bit;
		s[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	return BIT_NONE;
}

/* Reservations and cancels reach other commands and other hosts. */
static bool io_opcode(unsigned opc) { return opc != 0x0d && opc != 0x0e && opc != 0x11 && opc != 0x15 && opc != 0x18; }

static void falsify(void *ctx, struct inj_event *ev, struct rng *g)
{
	struct rnd *r = ctx;
	struct rmc *m = mc_of(r, ev->ctrl);
	uint64_t n = ev->len / 64;
	le32 wrong;

	switch (ev->at) {
	case INJ_SUBMIT:
	case INJ_FETCH:
		if (n)
			flip_sqe((uint8_t *)ev->data + 64 * rng_below(g, n), g, io_opcode);
		break;
	case INJ_BELL: /* outside the queue: any other value would submit what was never written */
		wrong = le32_of(m->c->sq[1].size + (uint32_t)rng_below(g, 60000));
		memcpy(ev->data, &wrong, sizeof(wrong));
		break;
	default: ((uint8_t *)ev->data)[rng_below(g, ev->len)] ^= (uint8_t)(1u << rng_below(g, 8));
	}
}

/* Migration commands: the same command with other bits, or an opcode nobody has. */
static bool admin_opcode(unsigned opc)
{
	static const uint8_t no[] = { 0x00, 0x01, 0x04, 0x05, 0x0c, 0x0d, 0x10, 0x11, 0x14, 0x15, 0x1c, 0x20, 0x24, 0x7c, 0x80, 0x81, 0x82, 0x84 };

	for (unsigned i = 0; i < sizeof(no); i++)
		if (opc == no[i])
			return false;
	return true;
}

unsigned fault_corrupt_admin(struct rnd *r, struct nvme_sqe *s, uint64_t *draw)
{
	struct rng g = { *draw };
	struct nvme_sqe keep = *s;
	uint64_t bytes;
	unsigned bit;

	if (rng_below(&g, 10))
		return BIT_NONE;
	bit = flip_sqe((uint8_t *)s, &g, admin_opcode);
	bytes = vop_of(s) == VOP_CDQ_CREATE ? 4ull * vf_get(s, VF_CDQ_CREATE_cdqsize) : 0;
	/* a queue has to be somewhere, and not over other things of ours */
	if ((bytes && bit / 8 >= 24 && bit / 8 < 40) || (bytes > RING_BYTES && bytes <= r->t->mmc->bytes)) {
		*s = keep;
		return BIT_NONE;
	}
	return bit;
}

/* ---- what a fault means */

static void grow_wild(struct rmc *m, struct rop *o, const struct nvme_sqe *s)
{
	uint64_t lba = le32_get(s->cdw10) | (uint64_t)le32_get(s->cdw11) << 32, nlb = 1ull + (le32_get(s->cdw12) & 0xffff);

	if (s->opc == NVME_NVM_DSM || s->opc == NVME_NVM_COPY)
		lba = 0, nlb = UINT64_MAX; /* where to is in its data */
	else if (s->opc != NVME_NVM_WRITE && s->opc != NVME_NVM_WRITE_ZEROES && s->opc != 0x04)
		return;
	audit_wild(m->c, le32_get(s->nsid), lba, nlb);
	if (le32_get(s->nsid) != m->c->ns[0].nsid)
		return;
	o->wild = true;
	m->wilds++;
	o->wild_lba = lba;
	o->wild_nlb = nlb;
	fault_settle(m, o);
}

static bool touches(const struct rop *o, uint64_t lba) { return o->wild && lba - o->wild_lba < o->wild_nlb; }

void fault_settle(struct rmc *m, struct rop *o)
{
	for (uint64_t b = 0; b < AREA; b++)
		if (touches(o, b))
			board_any(&m->board.block[b]);
}

bool fault_clouds(const struct rmc *m, uint64_t lba)
{
	for (unsigned i = 0; i < OPS; i++)
		if (m->op[i].out && touches(&m->op[i], lba))
			return true;
	return false;
}

static void corrupted_fetch(struct rmc *m, const struct inj_event *ev)
{
	for (uint32_t i = 0; i + 64 <= ev->len; i += 64) {
		const uint8_t *was = m->c->sq[1].m.p + (ev->addr - m->c->sq[1].m.iova) + i;
		struct nvme_sqe now;
		struct rop *o = op_of_cid(m, was[2] | (unsigned)was[3] << 8);

		memcpy(&now, (const uint8_t *)ev->data + i, 64);
		if (!o || !memcmp(&now, was, 64))
			continue;
		o->doubt = true;
		grow_wild(m, o, &now);
	}
}

static void corrupted_submit(struct rnd *r, struct rmc *m, const struct inj_event *ev)
{
	struct nvme_sqe now;

	memcpy(&now, ev->data, sizeof(now));
	r->sending->doubt = true;
	r->sending->out = true; /* from here on, for fault_clouds */
	grow_wild(m, r->sending, &now);
}

static void on_fault(void *ctx, const struct inj_event *ev, enum inj_act act)
{
	struct rnd *r = ctx;
	struct rmc *m = mc_of(r, ev->ctrl);
	struct rop *o = NULL;

	if (ev->at >= INJ_FETCH)
		vt_trace(r->t, "%s fault: %s of %u bytes at %llx: %s", m ? m->c->name : "MMC", inj_point_name(ev->at), ev->len,
			 (unsigned long long)ev->addr, inj_act_name(act));
	if (!m || (act != INJ_DROP && act != INJ_CORRUPT))
		return;
	switch (ev->at) {
	case INJ_SUBMIT:
		r->unsent = act == INJ_DROP;
		if (act == INJ_CORRUPT)
			corrupted_submit(r, m, ev);
		break;
	case INJ_BELL:
		m->unrung = 1;
		m->stuck = act == INJ_CORRUPT;
		break;
	case INJ_FETCH:
		if (act == INJ_CORRUPT)
			corrupted_fetch(m, ev);
		else
			m->stuck = 1;
		break;
	case INJ_DATA:
		o = op_of_data(m, ev->addr, ev->len);
		if (o) {
			o->doubt = true;
			o->cut_off |= act == INJ_DROP && !o->k->twin; /* of two that are the same, which one? */
			if (act == INJ_CORRUPT && (o->kind == RK_DSM || o->kind == RK_COPY)) /* its ranges */
				grow_wild(m, o, &o->k->sqe);
		}
		break;
	default: m->stuck = 1;
	}
}

/* ---- media */

bool fault_of_medium(const struct rmc *m, const struct rop *o)
{
	for (unsigned i = 0; i < o->blocks; i++)
		if (o->at[i] - m->sick.slba < m->sick.nlb || (o->kind == RK_COPY && o->from[i] - m->sick.slba < m->sick.nlb))
			return true;
	return false;
}

static void medium(struct rnd *r, struct rmc *m, const struct dut_media *how)
{
	if (!how && !m->sick.nlb)
		return;
	m->sick = how ? *how : (struct dut_media){ 0 };
	vt_media(m->c, m->c->ns[0].nsid, how);
	for (unsigned i = 0; i < OPS; i++)
		m->op[i].sick |= m->op[i].out && fault_of_medium(m, &m->op[i]);
	vt_trace(r->t, "fault: the medium of %s: LBA %llu, %llu blocks%s%s%s", m->c->name, (unsigned long long)m->sick.slba, (unsigned long long)m->sick.nlb,
		 m->sick.read ? ", no reads" : "", m->sick.change ? ", no writes" : "", m->sick.half ? " but their first half" : "");
}

static void medium_step(struct rnd *r, uint64_t *draw)
{
	struct rmc *m = &r->mc[pick(draw, r->mcs)];
	struct dut_media how = { .slba = pick(draw, AREA), .nlb = 1 + pick(draw, 12) };

	how.read = chance(draw, 60);
	how.change = !how.read || chance(draw, 50);
	how.half = chance(draw, 50);
	medium(r, m, chance(draw, 30) ? NULL : &how);
}

static void media_heal(struct rnd *r)
{
	for (unsigned i = 0; i < r->mcs; i++)
		medium(r, &r->mc[i], NULL);
}

/* ---- steps */

void fault_begin(struct rnd *r)
{
	for (unsigned i = 0; r->t->dut->media && i < r->mcs; i++) /* a sequence that failed left them as they were */
		vt_media(r->mc[i].c, r->mc[i].c->ns[0].nsid, NULL);
	inj_clear(&r->t->inj);
	r->t->inj.told = on_fault;
	r->t->inj.told_ctx = r;
}

void fault_step(struct rnd *r, uint64_t *draw)
{
	static const struct { enum inj_point at; enum inj_act act; bool (*when)(void *, const struct inj_event *); } kind[] = {
		{ INJ_SUBMIT, INJ_DROP, of_io }, { INJ_SUBMIT, INJ_DUPLICATE, of_read }, { INJ_SUBMIT, INJ_CORRUPT, of_io },
		{ INJ_SUBMIT, INJ_RESET, of_io }, { INJ_SUBMIT, INJ_KILL, of_io },
		{ INJ_BELL, INJ_DROP, of_io }, { INJ_BELL, INJ_DELAY, NULL }, { INJ_BELL, INJ_DUPLICATE, NULL }, { INJ_BELL, INJ_CORRUPT, of_io_tail },
		{ INJ_BELL, INJ_REORDER, NULL }, { INJ_BELL, INJ_RESET, of_io }, { INJ_BELL, INJ_KILL, of_io },
		{ INJ_FETCH, INJ_DROP, of_io }, { INJ_FETCH, INJ_DELAY, NULL }, { INJ_FETCH, INJ_DUPLICATE, NULL }, { INJ_FETCH, INJ_CORRUPT, of_io },
		{ INJ_FETCH, INJ_REORDER, NULL }, { INJ_FETCH, INJ_RESET, of_io }, { INJ_FETCH, INJ_KILL, of_io },
		{ INJ_DATA, INJ_DROP, of_io }, { INJ_DATA, INJ_DELAY, NULL }, { INJ_DATA, INJ_DUPLICATE, NULL }, { INJ_DATA, INJ_CORRUPT, of_io },
		{ INJ_DATA, INJ_REORDER, NULL }, { INJ_DATA, INJ_RESET, of_io }, { INJ_DATA, INJ_KILL, of_io },
		{ INJ_CQE, INJ_DROP, of_io }, { INJ_CQE, INJ_DELAY, NULL }, { INJ_CQE, INJ_DUPLICATE, NULL }, { INJ_CQE, INJ_REORDER, NULL },
		{ INJ_CQE, INJ_RESET, of_io }, { INJ_CQE, INJ_KILL, of_io },
	};
	unsigned n = (r->t->caps & DUT_ACCESS) ? ARRAY_LEN(kind) : 12, i = (unsigned)pick(draw, n + (r->t->caps & DUT_MEDIA ? MEDIA_SHARE : 0));
	struct inj_rule rule = { .corrupt = falsify, .ctx = r, .what = INJ_ANY };

	if (i >= n) {
		medium_step(r, draw);
		return;
	}
	rule.at = kind[i].at;
	rule.act = kind[i].act;
	rule.when = kind[i].when;
	if (rule.act == INJ_KILL && !r->mc[0].c->dut->again)
		return;
	rule.ctrl = (uint16_t)(chance(draw, 30) ? INJ_ANY : r->mc[pick(draw, r->mcs)].c->index);
	rule.skip = pick(draw, 12);
	rule.count = rule.when ? 1 : 1 + pick(draw, 40);
	rule.turns = 1 + (unsigned)pick(draw, 60);
	rule.seed = *draw;
	if (inj_add(&r->t->inj, &rule))
		vt_trace(r->t, "fault in wait: %s %s at controller %d, after %llu, %llu times", inj_point_name(rule.at), inj_act_name(rule.act),
			 rule.ctrl == INJ_ANY ? -1 : rule.ctrl, (unsigned long long)rule.skip, (unsigned long long)rule.count);
}

/* That too may be lost, and on_fault then says so again. */
static void ring_again(struct rmc *m)
{
	m->unrung = 0;
	if (m->c->up && m->queue) {
		vt_ring(m->c, 1);
		vt_doorbell(m->c, 3, m->c->cq[1].head);
	}
}

static void fulfil(struct rnd *r, struct rmc *m)
{
	uint32_t bit = 1u << m->c->index;
	bool kill = r->t->inj.kill & bit, reset = r->t->inj.reset & bit;

	r->t->inj.kill &= ~bit;
	r->t->inj.reset &= ~bit;
	if (kill)
		vt_again(m->c);
	if (kill || reset)
		random_reset_mc(r, m, false);
}

void fault_after_step(struct rnd *r)
{
	for (unsigned i = 0; i < r->mcs; i++) {
		struct rmc *m = &r->mc[i];

		fulfil(r, m);
		if (m->stuck && m->stuck++ > STUCK_STEPS)
			random_reset_mc(r, m, false);
		if (m->unrung && !m->stuck && m->unrung++ > UNRUNG_STEPS)
			ring_again(m);
	}
}

void fault_heal(struct rnd *r)
{
	uint32_t reset = r->t->inj.reset, kill = r->t->inj.kill;

	inj_clear(&r->t->inj);
	media_heal(r);
	r->t->inj.reset = reset;
	r->t->inj.kill = kill;
	for (unsigned i = 0; i < r->mcs; i++) {
		struct rmc *m = &r->mc[i];

		fulfil(r, m);
		if (m->stuck)
			random_reset_mc(r, m, false);
		if (m->unrung)
			ring_again(m);
	}
}
