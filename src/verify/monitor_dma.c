/* Accesses by message: whose memory is it? Called by monitor_msg.c for each DMA_READ and DMA_WRITE of the server. Judged by address
 * (is it somebody's?), direction (may it go this way?) and lifetime (is the command still out?).
 */
#include <stdlib.h>

#include "verify/monitor_in.h"

enum owner { OWN_SQ, OWN_LIST, OWN_DATA, OWN_CQ, OWN_CDQ, OWN_DOORBELLS, OWN_UNKNOWN /* somebody's we cannot bound */, OWN_LATE, OWN_NOBODY };
struct whose { enum owner own; struct msq *sq; struct mcq *cq; struct cmd *cmd; uint64_t off; };

/* ---- whose ---------------------------------------------------------------------------------------------------------------------- */

static bool in_queues(struct ctrl *c, uint64_t at, uint64_t len, struct whose *w)
{
	for (unsigned i = 0; i < c->sqs; i++) {
		uint64_t bytes = c->sq[i] ? (uint64_t)c->sq[i]->size * sizeof(struct nvme_sqe) : 0;

		if (!bytes || c->sq[i]->lost || (w->off = queue_off(c, c->sq[i]->base, c->sq[i]->page, bytes, at)) == UINT64_MAX)
			continue;
		*w = (struct whose){ .own = OWN_SQ, .sq = c->sq[i], .off = w->off };
		return range_inside(w->off, len, bytes);
	}
	for (unsigned i = 0; i < c->cqs; i++) {
		uint64_t bytes = c->cq[i] ? (uint64_t)c->cq[i]->size * sizeof(struct nvme_cqe) : 0;

		if (!bytes || c->cq[i]->lost || (w->off = queue_off(c, c->cq[i]->base, c->cq[i]->page, bytes, at)) == UINT64_MAX)
			continue;
		*w = (struct whose){ .own = OWN_CQ, .cq = c->cq[i], .off = w->off };
		return range_inside(w->off, len, bytes);
	}
	return false;
}

/* A host may give one buffer to several commands: the one whose direction fits comes first. */
static bool in_commands(struct ctrl *c, uint64_t at, uint64_t len, bool write, struct whose *w)
{
	struct cmd *unknown = NULL;
	bool found = false;

	for (unsigned i = 0; i < c->sqs; i++)
		for (unsigned b = 0; c->sq[i] && c->sq[i]->out && b < CMD_BUCKETS; b++)
			LIST_EACH(&c->sq[i]->cmds[b], l) {
				struct cmd *k = LIST_ENTRY(l, struct cmd, link);
				bool list = walk_lists(k, at, len);

				if (list || walk_touches(k, at, len)) {
					*w = (struct whose){ .own = list ? OWN_LIST : OWN_DATA, .sq = c->sq[i], .cmd = k };
					found = true;
					if (list ? !write : write == (k->dir == 'C'))
						return true;
				}
				unknown = k->bounded ? unknown : k;
			}
	if (found)
		return true;
	if (unknown)
		*w = (struct whose){ .own = OWN_UNKNOWN, .cmd = unknown };
	return unknown != NULL;
}

/* Page lists of queues that are not contiguous, shadow doorbells: the controller's to read at any time. */
static bool in_tables(struct ctrl *c, uint64_t at, uint64_t len, struct whose *w)
{
	*w = (struct whose){ .own = OWN_DOORBELLS };
	if ((c->shadow && range_inside(at - c->shadow, len, c->page_bytes)) || (c->events && range_inside(at - c->events, len, c->page_bytes)))
		return true;
	w->own = OWN_LIST;
	for (unsigned i = 0; i < c->sqs; i++)
		if (c->sq[i] && c->sq[i]->list && range_inside(at - c->sq[i]->list, len, c->page_bytes))
			return true;
	for (unsigned i = 0; i < c->cqs; i++)
		if (c->cq[i] && c->cq[i]->list && range_inside(at - c->cq[i]->list, len, c->page_bytes))
			return true;
	LIST_EACH(&c->cdqs, l)
		if (LIST_ENTRY(l, struct cdq, link)->list && range_inside(at - LIST_ENTRY(l, struct cdq, link)->list, len, c->page_bytes))
			return true;
	return false;
}

/* Queue lists and page lists of commands that make queues: read before the queue is there. */
static bool in_creation(struct ctrl *c, uint64_t at, struct whose *w)
{
	struct msq *q = ctrl_sq(c, 0);

	for (unsigned b = 0; q && b < CMD_BUCKETS; b++)
		LIST_EACH(&q->cmds[b], l) {
			struct cmd *k = LIST_ENTRY(l, struct cmd, link);
			uint8_t opc = k->sqe.opc;

			if ((opc == NVME_OP_CDQ || opc == NVME_OP_CREATE_SQ || opc == NVME_OP_CREATE_CQ) && !nvme_create_sq_pc(&k->sqe)) {
				*w = (struct whose){ .own = OWN_UNKNOWN, .cmd = k };
				return at - le64_get(k->sqe.prp1) < c->page_bytes || opc == NVME_OP_CDQ;
			}
		}
	return false;
}

static bool was_one_of(struct ctrl *c, uint64_t at, uint64_t len, struct whose *w)
{
	for (struct list *l = c->done.prev; l != &c->done; l = l->prev) {
		struct cmd *k = LIST_ENTRY(l, struct cmd, link);

		if (!walk_touches(k, at, len) && !walk_lists(k, at, len))
			continue;
		*w = (struct whose){ .own = OWN_LATE, .cmd = k };
		return true;
	}
	return false;
}

static struct whose find(struct ctrl *c, uint64_t at, uint64_t len, bool write)
{
	struct whose w = { 0 };

	if (in_queues(c, at, len, &w) || in_tables(c, at, len, &w) || in_commands(c, at, len, write, &w) || in_creation(c, at, &w) ||
	    was_one_of(c, at, len, &w))
		return w;
	return (struct whose){ .own = OWN_NOBODY };
}

/* ---- judging -------------------------------------------------------------------------------------------------------------------- */

static uint64_t distance(const struct cmd *k, uint64_t at)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < k->spans; i++) {
		uint64_t d = at < k->span[i].at ? k->span[i].at - at : at - k->span[i].at;

		best = MIN(best, d);
	}
	return best;
}

/* The three commands whose data lies nearest. */
void dma_nearest(struct ctrl *c, uint64_t at, uint64_t uid)
{
	struct { uint64_t d, uid; } near[3] = { { UINT64_MAX, 0 }, { UINT64_MAX, 0 }, { UINT64_MAX, 0 } };

	for (unsigned i = 0; i < c->sqs; i++)
		for (unsigned b = 0; c->sq[i] && b < CMD_BUCKETS; b++)
			LIST_EACH(&c->sq[i]->cmds[b], l) {
				const struct cmd *k = LIST_ENTRY(l, struct cmd, link);
				uint64_t d = distance(k, at), id = k->uid;

				for (unsigned j = 0; j < ARRAY_LEN(near); j++)
					if (d < near[j].d) {
						uint64_t td = near[j].d, tid = near[j].uid;

						near[j].d = d, near[j].uid = id;
						d = td, id = tid;
					}
			}
	for (unsigned j = 0; j < ARRAY_LEN(near); j++)
		rec_link(c->m->cfg.store, uid, near[j].uid, REC_LINK_NEAREST);
}

static void judge(struct ctrl *c, const struct whose *w, uint64_t at, uint64_t len, bool write)
{
	uint64_t uid = c->m->msg_uid;
	const char *verb = write ? "write" : "read";
	unsigned long long a = at, n = len;

	if (ctrl_still(c))
		mon_break(c, w->own == OWN_SQ ? RULE_SUSP_FETCH : RULE_SUSP_DMA, uid, "%s of %llu bytes at 0x%llx", verb, n, a);
	if (c->leaving)
		return;
	if (!ctrl_judged(c)) {
		c->m->n.unjudged++;
		return;
	}
	switch (w->own) {
	case OWN_DATA:
		if (write != (w->cmd->dir == 'C'))
			mon_break(c, RULE_DMA_DIR, uid, "%s of %llu bytes at 0x%llx, data of %s", verb, n, a, cmd_name(w->cmd));
		return;
	case OWN_LIST:
	case OWN_SQ:
		if (write)
			mon_break(c, RULE_DMA_DIR, uid, "write of %llu bytes at 0x%llx, a %s", n, a, w->own == OWN_SQ ? "submission queue" : "list");
		return;
	case OWN_LATE:
		mon_break(c, RULE_DMA_LATE, uid, "%s of %llu bytes at 0x%llx, data of %s, CID 0x%x", verb, n, a, cmd_name(w->cmd), w->cmd->cid);
		return;
	case OWN_NOBODY:
		if (write && cdq_grave(c, at)) {
			mon_break(c, RULE_CDQ_GONE, uid, "write of %llu bytes at 0x%llx, CDQ %u", n, a, cdq_grave(c, at)->id);
			return;
		}
		dma_nearest(c, at, mon_break(c, RULE_DMA_ORPHAN, uid, "%s of %llu bytes at 0x%llx", verb, n, a));
		return;
	case OWN_UNKNOWN:
		c->m->n.unjudged++;
		return;
	default:
		return;
	}
}

static void data_rec(struct ctrl *c, const struct whose *w, uint64_t at, const uint8_t *p, uint64_t len, bool write)
{
	struct rec r = mon_rec(c, w->own == OWN_LIST ? REC_PRP_FETCH : w->own == OWN_SQ ? REC_SQE_FETCH : REC_DATA, REC_BY_DEV);

	r.parent = w->cmd ? w->cmd->uid : w->own == OWN_SQ ? w->sq->dbl_uid : c->m->msg_uid;
	r.parent = r.parent ? r.parent : c->m->msg_uid;
	r.sq = w->sq ? w->sq->qid : REC_NONE;
	r.cid = w->cmd ? w->cmd->cid : REC_NONE;
	r.opc = w->cmd ? w->cmd->sqe.opc : 0;
	r.addr = at;
	r.len = (uint32_t)MIN(len, (uint64_t)UINT32_MAX);
	r.val = write;
	r.hash = rec_hash(p, len);
	r.raw = p;
	r.raw_len = (uint32_t)MIN(len, (uint64_t)(w->own == OWN_LIST ? 256 : 0));
	mon_put(c->m, &r);
}

/* ---- reads ----------------------------------------------------------------------------------------------------------------------- */

static void judge_fetch(struct ctrl *c, const struct msq *q, uint64_t off, uint64_t len)
{
	uint32_t first = (uint32_t)(off / sizeof(struct nvme_sqe)), n = (uint32_t)((len + sizeof(struct nvme_sqe) - 1) / sizeof(struct nvme_sqe));

	if (!ctrl_judged(c))
		return;
	for (uint32_t i = 0; i < n; i++)
		if (ring_diff(first + i, q->head, q->size) >= ring_diff(q->tail, q->head, q->size)) {
			mon_break(c, RULE_SQE_BEYOND, c->m->msg_uid, "SQ %u slot %u: head %u, tail %u", q->qid, first + i, q->head, q->tail);
			return;
		}
}

void dma_read_asked(struct ctrl *c, uint64_t at, uint64_t len)
{
	struct whose w = find(c, at, len, false);

	judge(c, &w, at, len, false);
	if (w.own == OWN_SQ)
		judge_fetch(c, w.sq, w.off, len);
}

static void take_entries(struct ctrl *c, struct msq *q, uint64_t off, const uint8_t *p, uint64_t len)
{
	while (q->seen != q->tail) {
		uint64_t want = (uint64_t)q->seen * sizeof(struct nvme_sqe);
		struct nvme_sqe e;
		uint32_t slot = q->seen;

		if (want < off || !range_inside(want - off, sizeof(e), len))
			return;
		memcpy(&e, p + (want - off), sizeof(e));
		q->seen = (uint16_t)((q->seen + 1u) % q->size);
		cmd_seen(c, q, slot, &e);
	}
}

static void take_list(struct ctrl *c, struct cmd *k, uint64_t at, const uint8_t *p, uint64_t len)
{
	while (!k->walked && k->list_len && k->list - at < len && range_inside(k->list - at, k->list_len, len))
		walk_list(c, k, p + (k->list - at));
}

/* Bytes of data that we keep, put where they belong. */
static void take_data(struct cmd *k, uint64_t at, const uint8_t *p, uint64_t len)
{
	uint64_t off = 0;

	for (unsigned i = 0; k->data && i < k->spans; off += k->span[i++].len) {
		uint64_t lo = MAX(at, k->span[i].at), hi = MIN(at + len, k->span[i].at + k->span[i].len);

		uint64_t to = off + (lo - k->span[i].at);

		if (lo >= hi || !range_inside(to, hi - lo, k->length))
			continue;
		memcpy(k->data + to, p + (lo - at), hi - lo);
		if (to <= k->filled)
			k->filled = MAX(k->filled, to + (hi - lo));
	}
}

static void take_doorbells(struct ctrl *c)
{
	queue_shadow(c); /* what memory holds is what was read, or newer */
}

void dma_read_done(struct ctrl *c, uint64_t at, const uint8_t *p, uint64_t len)
{
	struct whose w = find(c, at, len, false);

	data_rec(c, &w, at, p, len, false);
	if (w.own == OWN_SQ)
		take_entries(c, w.sq, w.off, p, len);
	else if (w.own == OWN_LIST && w.cmd)
		take_list(c, w.cmd, at, p, len);
	else if (w.own == OWN_DATA)
		take_data(w.cmd, at, p, len);
	else if (w.own == OWN_DOORBELLS)
		take_doorbells(c);
}

/* ---- writes ---------------------------------------------------------------------------------------------------------------------- */

/* Bytes of the next slot. An entry may come in parts, the phase tag with the last one. False: it is not one. */
static bool cqe_part(struct ctrl *c, struct mcq *q, uint64_t off, const uint8_t *p, uint32_t len)
{
	uint32_t at = (uint32_t)(off % sizeof(struct nvme_cqe));
	struct nvme_cqe e;

	if (off / sizeof(e) != q->tail) {
		if (ctrl_judged(c))
			mon_break(c, RULE_CQ_SLOT, c->m->msg_uid, "CQ %u: next is slot %u, written is byte %llu", q->qid, q->tail, (unsigned long long)off);
		return false;
	}
	memcpy(q->part + at, p, len);
	q->have |= ((1u << len) - 1) << at;
	if (at + len < sizeof(e) - 1)
		return true;
	memcpy(&e, q->part, sizeof(e));
	if (ctrl_judged(c) && (q->have != 0xffff || nvme_cqe_phase(&e) != q->phase))
		mon_break(c, RULE_CQ_PHASE, c->m->msg_uid, "CQ %u slot %u: phase tag %d%s", q->qid, q->tail, nvme_cqe_phase(&e),
			  q->have != 0xffff ? ", written before the rest" : "");
	q->have = 0;
	if (nvme_cqe_phase(&e) != q->phase)
		return false; /* no host will ever see it */
	cq_entry(c, q, &e);
	return true;
}

static void cqes(struct ctrl *c, uint16_t qid, uint64_t off, const uint8_t *p, uint64_t len)
{
	bool in_scan = c->in_scan;
	struct mcq *q;

	c->in_scan = true; /* what an entry means may make us look around, but not here */
	while (len && (q = ctrl_cq(c, qid))) {
		uint32_t n = (uint32_t)MIN(len, sizeof(struct nvme_cqe) - off % sizeof(struct nvme_cqe));

		if (!cqe_part(c, q, off, p, n))
			break;
		off += n, p += n, len -= n;
	}
	c->in_scan = in_scan;
}

/* Whatever it is, it is a write into the host's memory. */
static void track(struct ctrl *c, uint64_t at, uint64_t len, const struct whose *w)
{
	struct wrote t = { .what = w->own == OWN_CQ ? PAGE_CQ : w->own == OWN_DATA ? PAGE_DATA : PAGE_OTHER, .uid = c->m->msg_uid,
			   .cmd = w->own == OWN_DATA ? w->cmd->uid : 0 };

	track_wrote(c, at, len, &t);
}

void dma_written(struct ctrl *c, uint64_t at, const uint8_t *p, uint64_t len)
{
	struct whose w = { .own = OWN_CDQ };

	if (cdq_written(c, at, p, len)) {
		if (ctrl_still(c))
			mon_break(c, RULE_SUSP_DMA, c->m->msg_uid, "write of %llu bytes at 0x%llx", (unsigned long long)len, (unsigned long long)at);
		track(c, at, len, &w);
		return;
	}
	w = find(c, at, len, true);
	track(c, at, len, &w);
	if (w.own == OWN_CQ) {
		cqes(c, w.cq->qid, w.off, p, len);
		return;
	}
	judge(c, &w, at, len, true);
	data_rec(c, &w, at, p, len, true);
	if (w.own == OWN_DATA)
		take_data(w.cmd, at, p, len);
}
