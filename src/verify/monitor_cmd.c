/* Commands in the model: from the entry that was submitted to the completion, and a little longer. */
#include <stdio.h>
#include <stdlib.h>

#include "verify/monitor_in.h"

enum { PIECES_RECORDED = 8 };

const char *cmd_name(const struct cmd *k)
{
	return k->sq ? nvme_nvm_op_name(k->sqe.opc) : nvme_admin_op_name(k->sqe.opc);
}

static void data_free(struct ctrl *c, struct cmd *k)
{
	c->m->kept -= k->data ? k->length : 0;
	free(k->data);
	k->data = NULL;
}

void cmd_free(struct ctrl *c, struct cmd *k)
{
	list_del(&k->link);
	data_free(c, k);
	free(k->span);
	free(k->lists);
	free(k->meta);
	guard_free(k);
	free(k);
}

struct cmd *cmd_find(struct msq *q, uint16_t cid)
{
	LIST_EACH(&q->cmds[cid % CMD_BUCKETS], l)
		if (LIST_ENTRY(l, struct cmd, link)->cid == cid)
			return LIST_ENTRY(l, struct cmd, link);
	return NULL;
}

/* Those that are over stay a little, so that an access that comes too late finds whose it was. */
void cmd_ended(struct ctrl *c, struct msq *q, struct cmd *k, uint32_t status)
{
	rec_done(c->m->cfg.store, k->uid, mon_now(c->m), status);
	c->m->eager -= k->eager;
	k->eager = false;
	list_del(&k->link);
	q->out--;
	c->cmds_out--;
	data_free(c, k);
	guard_end(c, k);
	list_push(&c->done, &k->link);
	if (++c->done_count > MON_DONE) {
		c->done_count--;
		cmd_free(c, LIST_ENTRY(c->done.next, struct cmd, link));
	}
}

void cmd_forget(struct ctrl *c, struct msq *q)
{
	for (unsigned i = 0; i < CMD_BUCKETS; i++)
		LIST_EACH(&q->cmds[i], l) {
			struct cmd *k = LIST_ENTRY(l, struct cmd, link);

			rec_done(c->m->cfg.store, k->uid, mon_now(c->m), REC_STATUS_NONE);
			c->m->eager -= k->eager;
			cmd_free(c, k);
			c->cmds_out--;
		}
	q->out = 0;
}

/* ---- its data ------------------------------------------------------------------------------------------------------------ */

static void data_rec(struct ctrl *c, struct cmd *k, const struct span *v, unsigned n, const char *note)
{
	struct rec r = mon_rec(c, REC_DATA, k->dir == 'H' ? REC_BY_HOST : REC_BY_DEV);
	uint64_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += v[i].len;
	if (!mem_hash(&c->mem, v, n, &r.hash))
		return;
	r.parent = k->uid;
	r.sq = k->sq;
	r.cid = k->cid;
	r.opc = k->sqe.opc;
	r.addr = v->at;
	r.len = (uint32_t)len;
	r.val = k->dir == 'C';
	if (n > 1)
		snprintf(r.note, sizeof(r.note), "%s%s%u pieces", note, *note ? ", " : "", n);
	else
		snprintf(r.note, sizeof(r.note), "%s", note);
	mon_put(c->m, &r);
}

void cmd_data_recs(struct ctrl *c, struct cmd *k, const char *note)
{
	if (!k->spans || c->message || !c->m->cfg.store)
		return;
	if (k->spans > PIECES_RECORDED)
		data_rec(c, k, k->span, k->spans, note);
	for (unsigned i = 0; k->spans <= PIECES_RECORDED && i < k->spans; i++)
		data_rec(c, k, &k->span[i], 1, note);
}

bool cmd_load(struct ctrl *c, struct cmd *k)
{
	uint64_t at = 0;

	for (unsigned i = 0; k->data && i < k->spans; i++) {
		uint64_t n = MIN(k->span[i].len, k->length - at);

		if (!mem_read(&c->mem, k->span[i].at, k->data + at, n))
			return false;
		at += n;
		k->filled = MAX(k->filled, at);
	}
	return k->data != NULL;
}

/* ---- a new one ------------------------------------------------------------------------------------------------------------ */

static uint64_t record(struct ctrl *c, struct msq *q, const struct cmd *k)
{
	struct rec r = mon_rec(c, REC_CMD, REC_BY_HOST);

	r.t1_ns = 0;
	r.sq = q->qid;
	r.cq = q->cqid;
	r.cid = k->cid;
	r.opc = k->sqe.opc;
	r.addr = queue_addr(c, q->base, q->page, (uint64_t)k->index * sizeof(k->sqe));
	r.val = k->index;
	r.len = (uint32_t)MIN(k->length, (uint64_t)UINT32_MAX);
	r.raw = (const uint8_t *)&k->sqe;
	r.raw_len = sizeof(k->sqe);
	return mon_put(c->m, &r);
}

void cmd_seen(struct ctrl *c, struct msq *q, uint32_t index, const struct nvme_sqe *e)
{
	struct cmd *old = cmd_find(q, le16_get(e->cid)), *k;

	c->m->n.commands++;
	k = c->cmds_out < MON_CMDS ? calloc(1, sizeof(*k)) : NULL;
	if (!k) {
		c->blurred = true; /* more than we can hold: what completes from here on may be one of those left out */
		return;
	}
	*k = (struct cmd){ .sqe = *e, .sq = q->qid, .cid = le16_get(e->cid), .index = index, .nth = ++q->known };
	list_init(&k->link);
	walk_start(c, k);
	k->uid = record(c, q, k);
	rec_link(c->m->cfg.store, q->dbl_uid, k->uid, REC_LINK_ANNOUNCES);
	if (old) {
		if (ctrl_judged(c))
			mon_break(c, RULE_CID_REUSE, k->uid, "SQ %u, CID 0x%x: %s is still out", q->qid, k->cid, cmd_name(old));
		cmd_ended(c, q, old, REC_STATUS_NONE);
	}
	list_push(&q->cmds[k->cid % CMD_BUCKETS], &k->link);
	q->out++;
	c->cmds_out++;
	k->born = ++c->m->clock;
	k->rang = c->ringing;
	if (done_wants(k) && k->length && k->length <= MON_READ_MAX && k->length <= MON_KEPT - c->m->kept)
		k->data = calloc(1, k->length);
	c->m->kept += k->data ? k->length : 0;
	k->eager = k->data && k->dir == 'C' && !c->message;
	c->m->eager += k->eager;
	if (k->dir == 'H') {
		cmd_load(c, k);
		cmd_data_recs(c, k, k->exact ? "" : "at most");
	}
	guard_lend(c, q, k);
	done_submitted(c, k);
}
