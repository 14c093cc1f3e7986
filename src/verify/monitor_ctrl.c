/* A controller as the monitor knows it: properties, enable and reset, interrupts. Its queues are monitor_queue.c's. */
#include <stdlib.h>

#include "verify/monitor_in.h"

enum { STALE_NS = 10 };	/* seconds after which an entry that no signal announced counts as one that needs none */

struct ctrl *ctrl_new(struct monitor *m, uint16_t number)
{
	struct ctrl *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct ctrl){ .m = m, .number = number, .cntlid = REC_NONE, .stride = 4, .page_bytes = 4096, .suspended_by = REC_NONE };
	c->vec = calloc(MON_VECTORS, sizeof(*c->vec));
	list_init(&c->link);
	list_init(&c->done);
	list_init(&c->cdqs);
	list_init(&c->lent);
	if (c->vec)
		return c;
	free(c);
	return NULL;
}

static void cdqs_free(struct ctrl *c)
{
	LIST_EACH(&c->cdqs, l)
		cdq_free(LIST_ENTRY(l, struct cdq, link));
}

static void done_free(struct ctrl *c)
{
	LIST_EACH(&c->done, l)
		cmd_free(c, LIST_ENTRY(l, struct cmd, link));
	c->done_count = 0;
}

void ctrl_free(struct ctrl *c)
{
	ctrl_reset(c, false);
	mem_fini(&c->mem);
	list_del(&c->link);
	free(c->sq);
	free(c->cq);
	free(c->vec);
	free(c->state.p);
	free(c);
}

/* A Controller Level Reset, or the end of what we know. What it had suspended runs again, or may (the book says both). */
void ctrl_reset(struct ctrl *c, bool sure)
{
	for (unsigned i = 0; i < c->sqs; i++)
		ctrl_sq_del(c, (uint16_t)i);
	for (unsigned i = 0; i < c->cqs; i++)
		ctrl_cq_del(c, (uint16_t)i);
	cdqs_free(c);
	done_free(c);
	track_forget(c);
	shadow_forget(c);
	c->sure = sure;
	c->enabled = c->suspended = false;
	c->shadow = c->events = 0;
	c->blurred = c->mapped;
	free(c->state.p);
	c->state.p = NULL;
	c->state.len = 0;
	LIST_EACH(&c->m->ctrls, l) {
		struct ctrl *o = LIST_ENTRY(l, struct ctrl, link);

		if (o != c && o->suspended && o->suspended_by == c->number)
			ctrl_resumed(o);
	}
}

void ctrl_resumed(struct ctrl *c)
{
	c->suspended = false;
	track_resumed(c);
	/* What was announced before the standstill may be announced again: its signal may have been lost on the way. */
	for (unsigned i = 0; i < c->cqs; i++) {
		struct mcq *q = c->cq[i];

		if (q)
			cq_look(c, q);
		if (q && q->ien && q->iv < MON_VECTORS)
			c->vec[q->iv].allowed = MAX(c->vec[q->iv].allowed, (uint64_t)1);
	}
	for (unsigned i = 0; i < c->sqs; i++)
		if (c->sq[i])
			queue_fetch(c, c->sq[i]);
}

/* ---- properties -------------------------------------------------------------------------------------------------------- */

static uint32_t reg32(const struct ctrl *c, unsigned off)
{
	le32 v;

	memcpy(&v, c->regs + off, sizeof(v));
	return le32_get(v);
}
static uint64_t reg64(const struct ctrl *c, unsigned off) { return reg32(c, off) | (uint64_t)reg32(c, off + 4) << 32; }

static void enable(struct ctrl *c)
{
	uint32_t cc = reg32(c, NVME_REG_CC), aqa = reg32(c, NVME_REG_AQA);

	ctrl_reset(c, true);
	c->enabled = true;
	c->leaving = false;
	c->page_bytes = 4096ull << MIN(cc >> NVME_CC_MPS_SHIFT & 0xf, 4u); /* larger pages nobody has, and we would have to read them */
	if (ctrl_cq_new(c, 0, (aqa >> 16 & 0xfff) + 1, reg64(c, NVME_REG_ACQ), true, true, 0))
		ctrl_sq_new(c, 0, (aqa & 0xfff) + 1, reg64(c, NVME_REG_ASQ), true, 0);
}

static void disable(struct ctrl *c)
{
	ctrl_reset(c, c->sure);
	c->leaving = true;
}

static void keep(struct ctrl *c, uint64_t off, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len && off + i < MON_REGS; i++)
		c->regs[off + i] = p[i];
}

static bool touches(uint64_t off, uint32_t len, unsigned reg, unsigned bytes) { return ranges_overlap(off, len, reg, bytes); }

void ctrl_reg_write(struct ctrl *c, uint64_t off, const uint8_t *p, uint32_t len)
{
	uint32_t before = reg32(c, NVME_REG_CC), after;

	if (touches(off, len, NVME_REG_CAP, 12)) /* CAP and VS cannot be written */
		return;
	keep(c, off, p, len);
	after = reg32(c, NVME_REG_CC);
	if (touches(off, len, NVME_REG_NSSR, 4) && reg32(c, NVME_REG_NSSR) == NVME_NSSR_MAGIC)
		ctrl_reset(c, false);
	if (!touches(off, len, NVME_REG_CC, 4))
		return;
	if (after & NVME_CC_EN && !(before & NVME_CC_EN && c->enabled))
		enable(c);
	else if (!(after & NVME_CC_EN) && (before & NVME_CC_EN || c->enabled))
		disable(c);
}

void ctrl_reg_value(struct ctrl *c, uint64_t off, const uint8_t *p, uint32_t len)
{
	keep(c, off, p, len);
	if (touches(off, len, NVME_REG_CSTS, 4) && !(reg32(c, NVME_REG_CSTS) & NVME_CSTS_RDY))
		c->leaving = false;
	if (touches(off, len, NVME_REG_CAP, 8))
		c->stride = 4u << (reg32(c, NVME_REG_CAP + 4) & 0xf);
}

/* ---- looking ------------------------------------------------------------------------------------------------------------- */

void ctrl_scan(struct ctrl *c)
{
	uint64_t uid = c->m->msg_uid;
	uint32_t id = c->m->msg_id;

	if (c->in_scan)
		return;
	c->in_scan = true;
	c->m->msg_uid = 0; /* whatever is found did not come by the message at hand */
	c->m->msg_id = REC_STATUS_NONE;
	guard_look(c);
	if (c->shadow)
		queue_shadow(c);
	for (unsigned i = 0; i < c->cqs; i++)
		if (c->cq[i])
			cq_scan(c, c->cq[i]);
	LIST_EACH(&c->cdqs, l)
		cdq_scan(c, LIST_ENTRY(l, struct cdq, link));
	guard_judge(c);
	c->m->msg_uid = uid;
	c->m->msg_id = id;
	c->in_scan = false;
}

static bool torn_on(struct ctrl *c, uint32_t vector)
{
	for (unsigned i = 0; i < c->cqs; i++)
		if (c->cq[i] && c->cq[i]->ien && c->cq[i]->iv == vector && cq_torn(c, c->cq[i]))
			return true;
	return false;
}

/* Each signal announces at least one entry that none before it has announced. An entry that was never announced (the host polled it
 * away, signals were merged) would excuse a later signal for ever, so its excuse ends after a while. */
static void judge_irq(struct ctrl *c, uint32_t vector, struct vector *v, uint64_t signals, uint64_t uid, bool suspended)
{
	if (c->leaving)
		return;
	if (suspended)
		mon_break(c, RULE_SUSP_IRQ, uid, "vector %u", vector);
	if (v->masked)
		mon_break(c, RULE_IRQ_MASKED, uid, "vector %u", vector);
	if (!ctrl_judged(c)) {
		c->m->n.unjudged++;
		return;
	}
	while (signals && (v->surplus || v->allowed)) {
		signals--;
		*(v->surplus ? &v->surplus : &v->allowed) -= 1;
	}
	if (!signals)
		return;
	if (torn_on(c, vector))
		mon_break(c, RULE_CQ_PHASE, uid, "vector %u is raised; its queue's next slot changed, but not its phase tag", vector);
	else
		mon_break(c, RULE_IRQ_EARLY, uid, "vector %u is raised, and no entry has come since the last time", vector);
}

void ctrl_irq(struct ctrl *c, uint32_t vector, uint64_t signals)
{
	struct rec r = mon_rec(c, REC_MSIX, REC_BY_DEV);
	struct vector *v = vector < MON_VECTORS ? &c->vec[vector] : NULL;
	bool suspended = c->suspended; /* the signal is older than what the scan will show */

	mon_scan(c->m);
	ctrl_scan(c);
	c->m->n.interrupts += signals;
	r.val = vector;
	r.len = (uint32_t)MIN(signals, (uint64_t)UINT32_MAX);
	r.msg_id = REC_STATUS_NONE;
	r.parent = v ? v->last_cqe : 0;
	mon_put(c->m, &r);
	if (!v)
		return;
	if (mon_now(c->m) - v->last_ns > STALE_NS * NS_PER_S)
		v->surplus = 0;
	rec_link(c->m->cfg.store, r.uid, v->last_cqe, REC_LINK_SIGNALS);
	judge_irq(c, vector, v, signals, r.uid, suspended);
}
