/* Get Controller State of a suspended controller against what passed: the queues it was told to make, its doorbells, its completions.
 * Called by monitor_done.c when a Migration Receive has succeeded. The monitor's thread.
 *
 * Only what is known for certain is judged: queues of a controller whose whole life since it was enabled has passed (or whose state was set
 * through us), pointers as far as the server must have heard of them. A doorbell on one socket and a command on another have no order, so a
 * tail may be any that was written since the last one the controller has certainly heard of.
 */
#include <stdio.h>
#include <stdlib.h>

#include "verify/monitor_in.h"

enum { TOLD_AT_ONCE = 8 /* findings of one state */ };

struct state {
	struct ctrl *c, *mc;			/* who was asked; of whom */
	uint64_t uid;				/* of the completion */
	const uint8_t *p;			/* as far as we have it */
	unsigned sqs, cqs;			/* entries in it */
	unsigned told;
	bool doubt;				/* something differs, but perhaps since */
};

void shadow_forget(struct ctrl *mc)
{
	free(mc->got.p);
	memset(&mc->got, 0, sizeof(mc->got));
}

static void differs(struct state *s, const char *what, unsigned qid, const char *field, uint64_t is, uint64_t was)
{
	/* In memory its host may have changed the answer since: a polling host is sometimes faster than we are. */
	if (!s->c->message)
		s->doubt = true;
	else if (s->told++ < TOLD_AT_ONCE)
		mon_break(s->mc, RULE_STATE_QUEUES, s->uid, "%s %u: %s is 0x%llx, and was 0x%llx", what, qid, field, (unsigned long long)is,
			  (unsigned long long)was);
}

/* ---- pointers ---------------------------------------------------------------------------------------------------------- */

/* In the ring from `low` to `now`, both included. */
static bool between(uint32_t v, uint32_t low, uint32_t now, uint32_t size)
{
	return v < size && ring_diff(v, low, size) <= ring_diff(now, low, size);
}

/* What the server learned while the state was being read says nothing about before. */
static bool heard_before(const struct state *s) { return s->mc->heard_at < s->mc->got.born; }

/* Where a CQ has no room, commands are over and nobody has been told how far the head is: their completions are held. */
static bool may_hold(const struct state *s, const struct msq *q)
{
	const struct mcq *cq = ctrl_cq(s->mc, q->cqid);
	uint16_t low = !cq ? 0 : s->mc->heard >= cq->rung ? cq->head : cq->low;

	return cq && (cq->lost || ring_diff(cq->tail, low, cq->size) == cq->size - 1u);
}

static void judge_sq_pointers(struct state *s, const struct msq *q, const struct nvme_state_sq *e)
{
	uint16_t low = heard_before(s) && s->mc->heard >= q->rung ? q->tail : heard_before(s) ? q->low : q->head;

	if (q->odd || q->lost)
		return;
	if (le16_get(e->head) != q->head && !(may_hold(s, q) && between(le16_get(e->head), q->head, q->tail, q->size)))
		differs(s, "SQ", q->qid, "the head", le16_get(e->head), q->head);
	if (ring_diff(q->tail, q->head, q->size) < ring_diff(q->tail, low, q->size))
		low = q->head; /* up to there it has fetched */
	if (!s->mc->shadow && !between(le16_get(e->tail), low, q->tail, q->size))
		differs(s, "SQ", q->qid, "the tail", le16_get(e->tail), q->tail);
}

static void judge_cq_pointers(struct state *s, const struct mcq *q, const struct nvme_state_cq *e)
{
	bool s0pt = le32_get(e->attr) & NVME_STATE_CQ_S0PT, was = q->tail ? q->phase : !q->phase;
	uint16_t low = s->mc->heard >= q->rung ? q->head : q->low;

	if (q->odd || q->lost)
		return;
	if (le16_get(e->tail) != q->tail)
		differs(s, "CQ", q->qid, "the tail", le16_get(e->tail), q->tail);
	if (s0pt != was)
		differs(s, "CQ", q->qid, "S0PT", s0pt, was);
	if (!s->mc->shadow && heard_before(s) && !between(le16_get(e->head), low, q->head, q->size))
		differs(s, "CQ", q->qid, "the head", le16_get(e->head), q->head);
}

/* ---- queues ------------------------------------------------------------------------------------------------------------ */

/* The priority counts under weighted round robin; else a controller may have forgotten it. */
static bool prio_right(const struct ctrl *mc, const struct msq *q, unsigned prio)
{
	return prio == q->prio || (!prio && !(mc->regs[NVME_REG_CC + 1] >> 3 & 7));
}

static void judge_sq(struct state *s, const struct msq *q, const uint8_t *p)
{
	struct nvme_state_sq e;
	unsigned attr;

	memcpy(&e, p, sizeof(e));
	attr = le16_get(e.attr);
	if (le16_get(e.qid) != q->qid) {
		differs(s, "SQ", q->qid, "the identifier in its place", le16_get(e.qid), q->qid);
		return;
	}
	if (le64_get(e.prp1) != q->base)
		differs(s, "SQ", q->qid, "PRP1", le64_get(e.prp1), q->base);
	if (le16_get(e.qsize0) + 1u != q->size)
		differs(s, "SQ", q->qid, "QSIZE", le16_get(e.qsize0), q->size - 1);
	if (le16_get(e.cqid) != q->cqid)
		differs(s, "SQ", q->qid, "CQID", le16_get(e.cqid), q->cqid);
	if ((attr & 1) != q->pc)
		differs(s, "SQ", q->qid, "PC", attr & 1, q->pc);
	if (!prio_right(s->mc, q, attr >> 1 & 3))
		differs(s, "SQ", q->qid, "QPRIO", attr >> 1 & 3, q->prio);
	judge_sq_pointers(s, q, &e);
}

static void judge_cq(struct state *s, const struct mcq *q, const uint8_t *p)
{
	struct nvme_state_cq e;
	uint32_t attr;

	memcpy(&e, p, sizeof(e));
	attr = le32_get(e.attr);
	if (le16_get(e.qid) != q->qid) {
		differs(s, "CQ", q->qid, "the identifier in its place", le16_get(e.qid), q->qid);
		return;
	}
	if (le64_get(e.prp1) != q->base)
		differs(s, "CQ", q->qid, "PRP1", le64_get(e.prp1), q->base);
	if (le16_get(e.qsize0) + 1u != q->size)
		differs(s, "CQ", q->qid, "QSIZE", le16_get(e.qsize0), q->size - 1);
	if (!!(attr & NVME_STATE_CQ_PC) != q->pc)
		differs(s, "CQ", q->qid, "PC", !!(attr & NVME_STATE_CQ_PC), q->pc);
	if (!!(attr & NVME_STATE_CQ_IEN) != q->ien)
		differs(s, "CQ", q->qid, "IEN", !!(attr & NVME_STATE_CQ_IEN), q->ien);
	if (q->ien && attr >> NVME_STATE_CQ_IV_SHIFT != q->iv)
		differs(s, "CQ", q->qid, "the vector", attr >> NVME_STATE_CQ_IV_SHIFT, q->iv);
	judge_cq_pointers(s, q, &e);
}

static unsigned io_sqs(const struct ctrl *mc)
{
	unsigned n = 0;

	for (unsigned i = 1; i < mc->sqs; i++)
		n += mc->sq[i] != NULL;
	return n;
}

static unsigned io_cqs(const struct ctrl *mc)
{
	unsigned n = 0;

	for (unsigned i = 1; i < mc->cqs; i++)
		n += mc->cq[i] != NULL;
	return n;
}

static void judge_queues(struct state *s)
{
	const uint8_t *p = s->p + sizeof(struct nvme_state_head) + sizeof(struct nvme_state_v0);

	for (unsigned i = 1; i < s->mc->sqs; i++)
		if (s->mc->sq[i]) {
			judge_sq(s, s->mc->sq[i], p);
			p += sizeof(struct nvme_state_sq);
		}
	for (unsigned i = 1; i < s->mc->cqs; i++)
		if (s->mc->cq[i]) {
			judge_cq(s, s->mc->cq[i], p);
			p += sizeof(struct nvme_state_cq);
		}
}

/* ---- the whole --------------------------------------------------------------------------------------------------------- */

/* False: a format we do not know, or (in shared mode) memory that the host may have used for something else. */
static bool understood(struct state *s)
{
	struct nvme_state_head h;
	struct nvme_state_v0 v;
	uint64_t css;

	memcpy(&h, s->p, sizeof(h));
	memcpy(&v, s->p + sizeof(h), sizeof(v));
	s->sqs = le16_get(v.niosq);
	s->cqs = le16_get(v.niocq);
	css = le64_get(h.nvmecss);
	if (le16_get(h.ver) || le16_get(v.ver))
		return false;
	return s->c->message || (css == 2 + 6ull * (s->sqs + s->cqs) && !le64_get(h.nvmecss_hi) && !le64_get(h.vss_hi) && h.csattr == NVME_CSATTR_CP);
}

/* True: these are the queues that we know. */
static bool judge_counts(struct state *s)
{
	unsigned sqs = io_sqs(s->mc), cqs = io_cqs(s->mc);
	bool known = s->sqs == sqs && s->cqs == cqs;
	struct nvme_state_head h;

	if (s->mc->got.counted)
		return known;
	s->mc->got.counted = true;
	memcpy(&h, s->p, sizeof(h));
	if (s->sqs != sqs)
		differs(s, "controller", s->mc->number, "the number of submission queues", s->sqs, sqs);
	if (s->cqs != cqs)
		differs(s, "controller", s->mc->number, "the number of completion queues", s->cqs, cqs);
	if (known && (le64_get(h.nvmecss) != 2 + 6ull * (sqs + cqs) || le64_get(h.nvmecss_hi)))
		differs(s, "controller", s->mc->number, "NVMECSS", le64_get(h.nvmecss), 2 + 6ull * (sqs + cqs));
	if (!(h.csattr & NVME_CSATTR_CP))
		differs(s, "controller", s->mc->number, "CP", 0, 1);
	return known;
}

static void judge(struct state *s)
{
	const uint32_t begin = sizeof(struct nvme_state_head) + sizeof(struct nvme_state_v0);
	struct ctrl *mc = s->mc;

	s->p = mc->got.p;
	if (mc->got.len < begin || mc->got.judged || !understood(s) || !judge_counts(s) || mc->got.len < begin + 24ull * (s->sqs + s->cqs))
		return;
	judge_queues(s);
	mc->got.judged = true;
	if (s->doubt)
		s->c->m->n.unjudged++;
	else
		s->c->m->n.states++;
}

static bool caught_up(const struct ctrl *mc)
{
	LIST_EACH((struct list *)(uintptr_t)&mc->m->lanes, l)
		if (LIST_ENTRY(l, struct lane, link)->c == mc && !flow_caught_up(LIST_ENTRY(l, struct lane, link)))
			return false;
	return true;
}

/* The next piece, behind those before it. False: it is not that. */
static bool piece(struct ctrl *c, struct ctrl *mc, const struct cmd *k)
{
	uint64_t off = nvme_migration_receive_ol(&k->sqe) | (uint64_t)nvme_migration_receive_ou(&k->sqe) << 32;
	unsigned formats = nvme_migration_receive_csvi(&k->sqe) << 8 | nvme_migration_receive_csuuidi(&k->sqe);
	uint8_t *p;

	if (!off) {
		shadow_forget(mc);
		mc->got.by = c->number;
		mc->got.born = k->born;
		mc->got.formats = formats;
	}
	/* Of memory that the host may use again at once only a whole answer shows whether it still is one. */
	if ((off && !c->message) || off != mc->got.len || !k->filled || k->filled > MON_READ_MAX - off || mc->got.formats != formats || mc->got.by != c->number ||
	    mc->got.born < mc->still_since)
		return false;
	p = realloc(mc->got.p, off + k->filled);
	if (!p)
		return false;
	memcpy(p + off, k->data, k->filled);
	mc->got.p = p;
	mc->got.len = (uint32_t)(off + k->filled);
	return true;
}

void shadow_got(struct ctrl *c, struct cmd *k, const struct nvme_cqe *e, uint64_t uid)
{
	struct ctrl *mc = mon_ctrl_by_cntlid(c->m, (uint16_t)nvme_migration_receive_cntlid(&k->sqe));
	struct state s = { .c = c, .mc = mc, .uid = uid };

	if (!mc || mc == c || nvme_migration_receive_sel(&k->sqe) || !ctrl_judged(c))
		return;
	if (!mc->suspended || mc->resume_uid || mc->still_since > k->born) {
		shadow_forget(mc); /* a running controller's state need not fit together */
		return;
	}
	if (!(le32_get(e->dw0) & 1))
		differs(&s, "controller", mc->number, "CSUP", 0, 1);
	if (!nvme_migration_receive_csvi(&k->sqe))
		return;
	if (!ctrl_judged(mc) || mc->leaving || !caught_up(mc) || !answer_seen(c, k) || !piece(c, mc, k)) {
		shadow_forget(mc);
		c->m->n.unjudged += !nvme_migration_receive_ol(&k->sqe); /* the pieces behind it go with it */
		return;
	}
	judge(&s);
}
