/* Completions: found in memory (shared mode) or in a message, judged, matched with their command. */
#include "verify/monitor_in.h"

/* ---- judging ---------------------------------------------------------------------------------------------------------------- */

/* The head is behind everything fetched and before everything submitted; what has completed was fetched. */
static void judge_sqhd(struct ctrl *c, struct msq *q, const struct cmd *k, uint16_t sqhd, uint64_t uid)
{
	uint64_t passed = q->passed + ring_diff(sqhd, q->head, q->size);

	if (sqhd >= q->size || ring_diff(sqhd, q->head, q->size) > ring_diff(q->tail, q->head, q->size)) {
		mon_break(c, RULE_SQHD, uid, "SQ %u: head %u, was %u, tail %u", q->qid, sqhd, q->head, q->tail);
		return;
	}
	if (k && passed < k->nth)
		mon_break(c, RULE_SQHD, uid, "SQ %u: head %u does not include slot %u, which completes", q->qid, sqhd, k->index);
}

static void move_head(struct msq *q, uint16_t head)
{
	q->passed += ring_diff(head, q->head, q->size);
	q->head = head;
}

static const struct cmd *recent(const struct ctrl *c, uint16_t sq, uint16_t cid)
{
	const struct cmd *k;

	for (const struct list *l = c->done.prev; l != &c->done; l = l->prev) {
		k = LIST_ENTRY(l, const struct cmd, link);
		if (k->sq == sq && k->cid == cid)
			return k;
	}
	return NULL;
}

static void nearest(struct ctrl *c, struct msq *q, uint64_t uid)
{
	unsigned n = 0;

	for (unsigned i = 0; q && i < CMD_BUCKETS; i++)
		LIST_EACH(&q->cmds[i], l) {
			if (n++ < 3)
				rec_link(c->m->cfg.store, uid, LIST_ENTRY(l, struct cmd, link)->uid, REC_LINK_NEAREST);
		}
}

static void judge_unknown(struct ctrl *c, struct msq *q, uint16_t sqid, uint16_t cid, uint64_t uid)
{
	const struct cmd *k = recent(c, sqid, cid);

	if (!ctrl_judged(c)) {
		c->m->n.unjudged++;
		return;
	}
	if (k)
		uid = mon_break(c, RULE_CQE_TWICE, uid, "SQ %u, CID 0x%x: %s has completed before", sqid, cid, cmd_name(k));
	else
		uid = mon_break(c, RULE_CQE_CID, uid, "SQ %u, CID 0x%x", sqid, cid);
	nearest(c, q, uid);
}

/* ---- one entry -------------------------------------------------------------------------------------------------------------- */

static uint64_t record(struct ctrl *c, const struct mcq *q, const struct nvme_cqe *e, const struct cmd *k)
{
	struct rec r = mon_rec(c, REC_CQE, REC_BY_DEV);

	r.parent = k ? k->uid : 0;
	r.sq = le16_get(e->sqid);
	r.cq = q->qid;
	r.cid = le16_get(e->cid);
	r.opc = k ? k->sqe.opc : 0;
	r.addr = queue_addr(c, q->base, q->page, (uint64_t)q->tail * sizeof(*e));
	r.val = le32_get(e->dw0) | (uint64_t)le32_get(e->dw1) << 32;
	r.status = le16_get(e->status) >> 1;
	r.raw = (const uint8_t *)e;
	r.raw_len = sizeof(*e);
	return mon_put(c->m, &r);
}

static void judge_place(struct ctrl *c, struct mcq *q, const struct msq *sq, uint64_t uid)
{
	if (ctrl_still(c))
		mon_break(c, RULE_SUSP_CQE, uid, "CQ %u", q->qid);
	if (!c->blurred && (q->tail + 1u) % q->size == q->head)
		mon_break(c, RULE_CQ_OVER, uid, "CQ %u of %u: head %u, slot %u", q->qid, q->size, q->head, q->tail);
	if (sq && sq->cqid != q->qid)
		mon_break(c, RULE_CQE_SQID, uid, "SQ %u completes into CQ %u, its entry came in CQ %u", sq->qid, sq->cqid, q->qid);
}

static void signal_due(struct ctrl *c, const struct mcq *q, uint64_t uid)
{
	struct vector *v = q->ien && q->iv < MON_VECTORS ? &c->vec[q->iv] : NULL;

	if (!v)
		return;
	v->surplus++;
	v->last_cqe = uid;
	v->last_ns = mon_now(c->m);
}

static void step(struct mcq *q)
{
	q->tail = (uint16_t)(q->tail + 1u);
	q->before_known = false;
	if (q->tail < q->size)
		return;
	q->tail = 0;
	q->phase = !q->phase;
}

void cq_entry(struct ctrl *c, struct mcq *q, const struct nvme_cqe *e)
{
	uint16_t sqid = le16_get(e->sqid), cid = le16_get(e->cid), sqhd = le16_get(e->sqhd);
	struct wrote w = { .what = PAGE_CQ, .found = true };
	struct msq *sq = ctrl_sq(c, sqid);
	struct cmd *k;
	uint64_t uid;

	k = sq ? cmd_find(sq, cid) : NULL;
	if (sq && !k && c->blurred && sqhd < sq->size) {
		queue_advance(c, sq, sqhd); /* its doorbell was rung where we could not see it */
		k = cmd_find(sq, cid);
	}
	c->m->n.completions++;
	w.uid = uid = record(c, q, e, k);
	if (!c->message) /* else it came as any other write */
		track_wrote(c, queue_addr(c, q->base, q->page, (uint64_t)q->tail * sizeof(*e)), sizeof(*e), &w);
	judge_place(c, q, sq, uid);
	signal_due(c, q, uid);
	step(q);
	if (sq && !c->blurred)
		judge_sqhd(c, sq, k, sqhd, uid);
	if (sq && sqhd < sq->size)
		move_head(sq, sqhd);
	if (!k) {
		judge_unknown(c, sq, sqid, cid, uid);
		return;
	}
	guard_done(c, k);
	ctrl_heard(c, k->rang);
	if (k->dir == 'C' && !nvme_cqe_status(e))
		cmd_data_recs(c, k, k->exact ? "" : "at most");
	track_completed(c, k, !nvme_cqe_status(e));
	done_effects(c, k, e, uid);
	/* The effects may have deleted the queue, and the command with it. */
	sq = ctrl_sq(c, sqid);
	k = sq ? cmd_find(sq, cid) : NULL;
	if (k)
		cmd_ended(c, sq, k, le16_get(e->status) >> 1);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------------- */

static bool slot_read(struct ctrl *c, struct mcq *q, struct nvme_cqe *e)
{
	uint64_t at = queue_addr(c, q->base, q->page, (uint64_t)q->tail * sizeof(*e));
	le32 last;

	/* The phase tag is in the last dword written: what is copied after it was seen belongs to it. */
	if (!mem_read(&c->mem, at + 12, &last, sizeof(last)))
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (!mem_read(&c->mem, at, e, sizeof(*e)))
		return false;
	memcpy((uint8_t *)e + 12, &last, sizeof(last));
	return true;
}

/* Memory that already looks like entries to come (a host that did not clear it; a state whose memory did not come along) would be taken
 * for completions: such a queue cannot be followed in shared mode. */
static void look_first(struct ctrl *c, struct mcq *q)
{
	q->new = false;
	for (uint32_t i = q->tail; i < q->size; i++) {
		uint8_t st;

		if (!mem_read(&c->mem, queue_addr(c, q->base, q->page, (uint64_t)i * sizeof(struct nvme_cqe)) + 14, &st, 1) || (st & 1) != q->phase)
			continue;
		q->lost = c->blurred = true;
		return;
	}
}

void cq_look(struct ctrl *c, struct mcq *q)
{
	if (q->new && !c->message && !q->lost)
		look_first(c, q);
}

void cq_scan(struct ctrl *c, struct mcq *q)
{
	struct nvme_cqe e;
	uint16_t qid = q->qid;

	/* Nothing can be in it yet, and its memory may still be on its way (made by a state), or be cleared only now (Linux's after a reset). */
	if (q->new && (c->suspended || !(c->blurred || c->shadow)))
		return;
	cq_look(c, q);
	if (c->message || q->lost)
		return; /* it comes by message */
	for (uint32_t n = q->size; n && slot_read(c, q, &e); n--) {
		if (nvme_cqe_phase(&e) != q->phase) {
			q->before = q->before_known ? q->before : e;
			q->before_known = true;
			return;
		}
		cq_entry(c, q, &e);
		if (ctrl_cq(c, qid) != q)
			return; /* that was the completion of its deletion, or of a reset */
	}
}

bool cq_torn(struct ctrl *c, struct mcq *q)
{
	struct nvme_cqe e;

	return q->before_known && !c->message && !q->lost && slot_read(c, q, &e) && memcmp(&e, &q->before, sizeof(e));
}
