/* Submission and completion queues in the model: made and deleted, doorbells, entries between head and tail. */
#include <stdlib.h>

#include "verify/monitor_in.h"

enum { PAGES_MAX = 1024 * 1024 };

/* ---- where a queue lies ------------------------------------------------------------------------------------------------ */

uint64_t *queue_pages(struct ctrl *c, uint64_t list, uint64_t bytes)
{
	uint64_t n = (bytes + c->page_bytes - 1) / c->page_bytes, at = list;
	uint64_t *page = n && n <= PAGES_MAX ? calloc(n, sizeof(*page)) : NULL;

	for (uint64_t i = 0, hops = 0; page && i < n; at += 8) {
		bool last = at % c->page_bytes == c->page_bytes - 8;
		le64 v;

		if (at % 8 || hops > n || !mem_read(&c->mem, at, &v, sizeof(v))) {
			free(page);
			return NULL;
		}
		if (!last || n - i == 1) {
			page[i++] = le64_get(v);
		} else { /* the last entry of a page says where the list goes on */
			at = le64_get(v) - 8;
			hops++;
		}
	}
	return page;
}

uint64_t queue_off(const struct ctrl *c, uint64_t base, const uint64_t *page, uint64_t bytes, uint64_t at)
{
	if (!page)
		return at - base < bytes ? at - base : UINT64_MAX;
	for (uint64_t off = 0; off < bytes; off += c->page_bytes)
		if (at - page[off / c->page_bytes] < MIN(c->page_bytes, bytes - off))
			return off + (at - page[off / c->page_bytes]);
	return UINT64_MAX;
}

/* ---- life --------------------------------------------------------------------------------------------------------------- */

static bool grow(void **array, unsigned *count, unsigned want)
{
	void **p;

	if (want <= *count)
		return true;
	want = MAX(want, 8u);
	p = realloc(*array, want * sizeof(void *));
	if (!p)
		return false;
	memset(p + *count, 0, (want - *count) * sizeof(void *));
	*array = p;
	*count = want;
	return true;
}

struct msq *ctrl_sq_new(struct ctrl *c, uint16_t qid, uint32_t size, uint64_t base, bool contiguous, uint16_t cqid)
{
	struct msq *q;

	ctrl_sq_del(c, qid);
	q = grow((void **)&c->sq, &c->sqs, qid + 1u) ? calloc(1, sizeof(*q)) : NULL;
	if (!q) {
		c->sure = false; /* one that we do not know */
		return NULL;
	}
	*q = (struct msq){ .qid = qid, .cqid = cqid, .size = size, .base = base, .pc = contiguous };
	for (unsigned i = 0; i < CMD_BUCKETS; i++)
		list_init(&q->cmds[i]);
	if (!contiguous) {
		q->page = queue_pages(c, base, (uint64_t)size * sizeof(struct nvme_sqe));
		q->list = base;
		q->lost = !q->page;
	}
	return c->sq[qid] = q;
}

struct mcq *ctrl_cq_new(struct ctrl *c, uint16_t qid, uint32_t size, uint64_t base, bool contiguous, bool ien, uint16_t iv)
{
	struct mcq *q;

	ctrl_cq_del(c, qid);
	q = grow((void **)&c->cq, &c->cqs, qid + 1u) ? calloc(1, sizeof(*q)) : NULL;
	if (!q) {
		c->sure = false;
		return NULL;
	}
	*q = (struct mcq){ .qid = qid, .iv = iv, .pc = contiguous, .ien = ien, .size = size, .base = base, .phase = true, .new = true };
	if (!contiguous) {
		q->page = queue_pages(c, base, (uint64_t)size * sizeof(struct nvme_cqe));
		q->list = base;
		q->lost = !q->page;
	}
	return c->cq[qid] = q;
}

void ctrl_sq_del(struct ctrl *c, uint16_t qid)
{
	struct msq *q = ctrl_sq(c, qid);

	if (!q)
		return;
	cmd_forget(c, q);
	free(q->page);
	free(q);
	c->sq[qid] = NULL;
}

void ctrl_cq_del(struct ctrl *c, uint16_t qid)
{
	struct mcq *q = ctrl_cq(c, qid);

	if (!q)
		return;
	free(q->page);
	free(q);
	c->cq[qid] = NULL;
}

/* ---- submission ---------------------------------------------------------------------------------------------------------- */

void queue_fetch(struct ctrl *c, struct msq *q)
{
	/* A suspended controller fetches nothing, and the memory of one that is being moved may still be on its way. */
	while (q->seen != q->tail && !q->lost && !c->suspended) {
		struct nvme_sqe e;

		if (!mem_read(&c->mem, queue_addr(c, q->base, q->page, (uint64_t)q->seen * sizeof(e)), &e, sizeof(e)))
			return; /* by message: the controller's fetch will show it */
		cmd_seen(c, q, q->seen, &e);
		q->seen = (uint16_t)((q->seen + 1u) % q->size);
	}
}

void queue_advance(struct ctrl *c, struct msq *q, uint16_t tail)
{
	q->tail = tail;
	queue_fetch(c, q);
}

/* A new value; `now` is the one before it. */
static void rung(struct ctrl *c, uint16_t now, uint16_t *low, uint64_t *when)
{
	if (c->heard >= *when)
		*low = now;
	*when = ++c->m->clock;
}

static void sq_doorbell(struct ctrl *c, struct msq *q, uint32_t val, uint64_t uid)
{
	q->odd |= val >= q->size || ring_diff(q->tail, q->head, q->size) + ring_diff(val, q->tail, q->size) > q->size - 1;
	if (val >= q->size) {
		mon_break(c, RULE_DBL_RANGE, uid, "SQ %u has %u entries, tail %u is written", q->qid, q->size, val);
		return;
	}
	if (val == q->tail && !c->blurred && !c->shadow)
		mon_break(c, RULE_DBL_SAME, uid, "SQ %u tail %u", q->qid, val);
	if (!c->blurred && ring_diff(q->tail, q->head, q->size) + ring_diff(val, q->tail, q->size) > q->size - 1)
		mon_break(c, RULE_SQ_OVER, uid, "SQ %u of %u: head %u, tail from %u to %u", q->qid, q->size, q->head, q->tail, val);
	if (ctrl_cq(c, q->cqid))
		cq_look(c, ctrl_cq(c, q->cqid));
	q->dbl_uid = uid;
	rung(c, q->tail, &q->low, &q->rung);
	c->ringing = q->seen == q->tail ? q->rung : 0; /* else an entry before it may be one of an older doorbell */
	queue_advance(c, q, (uint16_t)val);
	c->ringing = 0;
}

static void cq_doorbell(struct ctrl *c, struct mcq *q, uint32_t val, uint64_t uid)
{
	q->odd |= val >= q->size || ring_diff(val, q->head, q->size) > ring_diff(q->tail, q->head, q->size);
	if (val >= q->size) {
		mon_break(c, RULE_DBL_RANGE, uid, "CQ %u has %u entries, head %u is written", q->qid, q->size, val);
		return;
	}
	if (val == q->head && !c->blurred && !c->shadow)
		mon_break(c, RULE_DBL_SAME, uid, "CQ %u head %u", q->qid, val);
	if (!c->blurred && !q->lost && ring_diff(val, q->head, q->size) > ring_diff(q->tail, q->head, q->size))
		mon_break(c, RULE_CQ_HEAD_OVER, uid, "CQ %u: posted up to %u, head from %u to %u", q->qid, q->tail, q->head, val);
	rung(c, q->head, &q->low, &q->rung);
	q->head = (uint16_t)val;
}

static uint64_t record(struct ctrl *c, unsigned index, uint32_t val, const char *note)
{
	struct rec r = mon_rec(c, REC_DBL, REC_BY_HOST);

	r.parent = c->m->msg_uid;
	r.addr = NVME_REG_DOORBELLS + (uint64_t)index * c->stride;
	r.len = 4;
	r.val = val;
	*(index & 1 ? &r.cq : &r.sq) = (uint16_t)(index / 2);
	strcpy(r.note, note);
	return mon_put(c->m, &r);
}

static void doorbell(struct ctrl *c, unsigned index, uint32_t val, uint64_t uid)
{
	struct msq *sq = index & 1 ? NULL : ctrl_sq(c, index / 2);
	struct mcq *cq = index & 1 ? ctrl_cq(c, index / 2) : NULL;

	if (sq)
		sq_doorbell(c, sq, val, uid);
	else if (cq)
		cq_doorbell(c, cq, val, uid);
	else if (c->sure && !c->enabled)
		mon_break(c, RULE_DBL_DISABLED, uid, "%s %u", index & 1 ? "CQ" : "SQ", index / 2);
	else if (ctrl_judged(c))
		mon_break(c, RULE_DBL_ABSENT, uid, "%s %u", index & 1 ? "CQ" : "SQ", index / 2);
	else
		c->m->n.unjudged++;
}

/* The host writes these where nobody is told, so a value is seen when we look, and several writes may look like one. */
static void shadow_one(struct ctrl *c, unsigned index, uint32_t *known)
{
	le32 v;

	if (!mem_read(&c->mem, c->shadow + (uint64_t)index * c->stride, &v, sizeof(v)) || le32_get(v) == *known)
		return;
	*known = le32_get(v);
	doorbell(c, index, le32_get(v), record(c, index, le32_get(v), "shadow"));
}

void queue_shadow(struct ctrl *c)
{
	for (unsigned i = 1; i < c->sqs; i++)
		if (c->sq[i])
			shadow_one(c, 2 * i, &c->sq[i]->shadow);
	for (unsigned i = 1; i < c->cqs; i++)
		if (c->cq[i])
			shadow_one(c, 2 * i + 1, &c->cq[i]->shadow);
}

void ctrl_doorbell(struct ctrl *c, unsigned index, uint32_t val)
{
	uint64_t uid = record(c, index, val, "");
	le32 v;

	/* What stands in memory is as new as this or newer: the host wrote it there first, and may have gone on since. */
	if (c->shadow && index > 1 && mem_read(&c->mem, c->shadow + (uint64_t)index * c->stride, &v, sizeof(v)))
		queue_shadow(c);
	else
		doorbell(c, index, val, uid);
}
