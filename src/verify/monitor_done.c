/* What admin commands mean for the model: queues, identities, data queues, suspension, state. The monitor believes a command's effect
 * when it completes with success, except where the effect may begin before.
 */
#include <stdio.h>
#include <stdlib.h>

#include "verify/monitor_in.h"

/* ---- identities ---------------------------------------------------------------------------------------------------------------- */

static void learn_ns(struct ctrl *c, uint32_t nsid, const uint8_t *p)
{
	struct nvme_id_ns id;
	struct nvme_lbaf f;
	unsigned i, index;

	memcpy(&id, p, sizeof(id));
	index = (id.flbas & 0xf) | (id.flbas >> 1 & 0x30);
	memcpy(&f, id.lbaf + 4 * index, sizeof(f));
	for (i = 0; i < c->ns_count && c->ns[i].nsid != nsid; i++)
		;
	if (f.lbads < 9 || f.lbads > 24 || i >= ARRAY_LEN(c->ns))
		return;
	c->ns[i].nsid = nsid;
	c->ns[i].bytes = 1u << f.lbads;
	c->ns[i].meta = le16_get(f.ms);
	c->ns[i].inlined = id.flbas >> 4 & 1;
	c->ns_count = MAX(c->ns_count, i + 1);
}

static void did_identify(struct ctrl *c, struct cmd *k)
{
	struct nvme_id_ctrl id;

	if (!k->data || (!c->message && !cmd_load(c, k)))
		return;
	if (nvme_identify_cns(&k->sqe) == NVME_CNS_NS) {
		learn_ns(c, le32_get(k->sqe.nsid), k->data);
	} else if (nvme_identify_cns(&k->sqe) == NVME_CNS_CTRL) {
		memcpy(&id, k->data, sizeof(id));
		/* Version 0: the host has used the memory for something else already. And the first word counts: after a move a guest is
		 * told the identity it knew, while the management controller goes on calling this controller by its own. */
		if (c->cntlid == REC_NONE && le32_get(id.ver))
			c->cntlid = le16_get(id.cntlid);
	}
}

/* ---- queues -------------------------------------------------------------------------------------------------------------------- */

/* Its commands ended before it did, and what is found in memory is found queue by queue. */
static void last_completions(struct ctrl *c, const struct msq *q)
{
	struct mcq *cq = q && q->cqid ? ctrl_cq(c, q->cqid) : NULL;

	if (cq)
		cq_scan(c, cq);
}

static void did_queue(struct ctrl *c, struct cmd *k)
{
	const struct nvme_sqe *s = &k->sqe;
	struct msq *q;

	if (!nvme_delete_q_qid(s))
		return; /* never the admin queues, whatever a controller says; the field is at one place in all four commands */
	switch (s->opc) {
	case NVME_OP_CREATE_SQ:
		q = ctrl_sq_new(c, (uint16_t)nvme_create_sq_qid(s), nvme_create_sq_qsize0(s) + 1, le64_get(s->prp1), nvme_create_sq_pc(s),
				(uint16_t)nvme_create_sq_cqid(s));
		if (q)
			q->prio = (uint8_t)nvme_create_sq_qprio(s);
		return;
	case NVME_OP_CREATE_CQ:
		ctrl_cq_new(c, (uint16_t)nvme_create_cq_qid(s), nvme_create_cq_qsize0(s) + 1, le64_get(s->prp1), nvme_create_cq_pc(s),
			    nvme_create_cq_ien(s), (uint16_t)nvme_create_cq_iv(s));
		return;
	case NVME_OP_DELETE_SQ:
		last_completions(c, ctrl_sq(c, (uint16_t)nvme_delete_q_qid(s)));
		ctrl_sq_del(c, (uint16_t)nvme_delete_q_qid(s));
		return;
	case NVME_OP_DELETE_CQ:
		ctrl_cq_del(c, (uint16_t)nvme_delete_q_qid(s));
		return;
	}
}

/* From here on doorbells are in guest memory, and ours to look for. */
static void did_dbbuf(struct ctrl *c, struct cmd *k)
{
	c->shadow = le64_get(k->sqe.prp1);
	c->events = le64_get(k->sqe.prp2);
	c->blurred |= !c->message;
	for (unsigned i = 0; i < c->sqs; i++)
		if (c->sq[i])
			c->sq[i]->shadow = c->sq[i]->tail;
	for (unsigned i = 0; i < c->cqs; i++)
		if (c->cq[i])
			c->cq[i]->shadow = c->cq[i]->head;
}

/* ---- data queues ------------------------------------------------------------------------------------------------------------- */

static void did_cdq(struct ctrl *c, struct cmd *k, const struct nvme_cqe *e)
{
	const struct nvme_sqe *s = &k->sqe;
	struct cdq *q;

	if (nvme_cdq_sel(s) == NVME_CDQ_CREATE) {
		cdq_new(c, (uint16_t)le32_get(e->dw0), (uint16_t)nvme_cdq_cqs(s), nvme_cdq_cdqsize(s) / 8, le64_get(s->prp1), nvme_cdq_pc(s));
		return;
	}
	q = nvme_cdq_sel(s) == NVME_CDQ_DELETE ? cdq_find(c, (uint16_t)nvme_cdq_cdqid(s)) : NULL;
	if (q)
		cdq_del(c, q);
}

/* Looked at for the last time before the Delete is on its way: a host that polls may use the memory before we see the completion. */
static void cdq_leaving(struct ctrl *c, struct cmd *k, bool leaving)
{
	struct cdq *q = nvme_cdq_sel(&k->sqe) == NVME_CDQ_DELETE ? cdq_find(c, (uint16_t)nvme_cdq_cdqid(&k->sqe)) : NULL;

	if (!q)
		return;
	cdq_scan(c, q);
	q->leaving = leaving;
}

/* Until the completion is seen, the controller may already post behind the new head, or refuse it: either is right. */
static void cdq_head(struct ctrl *c, struct cmd *k, bool done, bool ok)
{
	struct cdq *q = nvme_set_features_fid(&k->sqe) == NVME_FID_CDQ ? cdq_find(c, (uint16_t)nvme_set_features_cdw11(&k->sqe)) : NULL;
	uint32_t hp = nvme_set_features_cdw12(&k->sqe);

	if (!q || hp >= q->slots)
		return;
	if (!done)
		q->freed = hp;
	else if (ok)
		q->head = hp;
	if (done && q->freed == hp)
		q->freed = q->head;
}

/* ---- suspension ---------------------------------------------------------------------------------------------------------------- */

static void did_suspend(struct ctrl *c, struct cmd *k)
{
	uint16_t cntlid = (uint16_t)nvme_migration_send_cntlid(&k->sqe);
	struct ctrl *mc = mon_ctrl_by_cntlid(c->m, cntlid);
	struct cdq *q = cdq_find_mc(c, cntlid);
	bool scanning = c->m->scanning;

	if (nvme_migration_send_stype(&k->sqe) != NVME_STYPE_SUSPEND)
		return;
	/* What the controller did before this completion must not be held against it: what it put into memory and signalled is looked at
	 * now; what it said by message is told by its place in the stream (we may be in the middle of a message of that very lane). */
	if (mc && mc != c) {
		c->m->scanning = true;
		LIST_EACH(&c->m->lanes, l)
			if (LIST_ENTRY(l, struct lane, link)->c == mc)
				flow_mark(LIST_ENTRY(l, struct lane, link));
		ctrl_scan(mc);
		c->m->scanning = scanning;
		if (!mc->suspended)
			mc->still_since = ++c->m->clock;
		mc->suspended = true;
		track_suspended(mc);
		mc->suspended_by = c->number;
	}
	if (q && nvme_migration_send_dudmq(&k->sqe))
		cdq_del(c, q);
}

static void did_resume(struct ctrl *c, struct cmd *k, bool ok)
{
	struct ctrl *mc = mon_ctrl_by_cntlid(c->m, (uint16_t)nvme_migration_send_cntlid(&k->sqe));

	if (mc && mc->resume_uid == k->uid && !ok)
		mc->suspended = true;
	if (mc && mc->resume_uid == k->uid)
		mc->resume_uid = 0;
}

/* ---- state ---------------------------------------------------------------------------------------------------------------------- */

/* The controller that is meant; if it is none we know by its number, it may be any we do not know the number of. */
static struct ctrl *meant(struct ctrl *c, const struct cmd *k)
{
	struct ctrl *mc = mon_ctrl_by_cntlid(c->m, (uint16_t)nvme_migration_send_cntlid(&k->sqe));

	if (!mc)
		LIST_EACH(&c->m->ctrls, l)
			if (LIST_ENTRY(l, struct ctrl, link)->cntlid == REC_NONE)
				LIST_ENTRY(l, struct ctrl, link)->sure = false;
	return mc;
}

static void did_set_state(struct ctrl *c, struct cmd *k)
{
	struct ctrl *mc = meant(c, k);
	unsigned seq = nvme_migration_send_seqind(&k->sqe);
	uint64_t off = nvme_migration_send_csol(&k->sqe) | (uint64_t)nvme_migration_send_csou(&k->sqe) << 32;
	uint8_t *p;

	if (!mc || mc == c)
		return;
	if (mc->in_scan) { /* its queues are being looked at, and cannot be made anew now */
		mc->sure = false;
		return;
	}
	shadow_forget(mc);
	if (seq & NVME_SEQ_FIRST)
		mc->state.len = 0;
	if (k->data && off <= MON_READ_MAX && k->length <= MON_READ_MAX - off) {
		p = realloc(mc->state.p, MAX(off + k->length, (uint64_t)mc->state.len) + 1);
		if (!p)
			return;
		mc->state.p = p;
		if (off > mc->state.len)
			memset(p + mc->state.len, 0, off - mc->state.len);
		memcpy(p + off, k->data, k->length);
		mc->state.len = (uint32_t)MAX(off + k->length, (uint64_t)mc->state.len);
	}
	if (!(seq & NVME_SEQ_LAST))
		return;
	state_taken(mc, mc->state.p, mc->state.len);
	mc->state.len = 0;
}

/* ---- the ways in -------------------------------------------------------------------------------------------------------------- */

bool done_wants(const struct cmd *k)
{
	if (k->sq || !k->bounded)
		return false;
	switch (k->sqe.opc) {
	case NVME_OP_IDENTIFY: case NVME_OP_TRACK_SEND: case NVME_OP_TRACK_RECEIVE: case NVME_OP_MIGRATION_SEND: case NVME_OP_MIGRATION_RECEIVE:
		return true;
	}
	return false;
}

/* Logging and a resumed controller may show before the completion does. */
void done_submitted(struct ctrl *c, struct cmd *k)
{
	uint16_t cntlid = (uint16_t)nvme_migration_send_cntlid(&k->sqe);
	struct cdq *q;
	struct ctrl *mc;

	if (k->sq)
		return;
	if (k->sqe.opc == NVME_OP_SET_FEATURES)
		cdq_head(c, k, false, false);
	if (k->sqe.opc == NVME_OP_CDQ)
		cdq_leaving(c, k, true);
	if (k->sqe.opc == NVME_OP_TRACK_SEND && nvme_track_send_sel(&k->sqe) == NVME_TRACK_LOG && nvme_track_send_lact(&k->sqe)) {
		q = cdq_find(c, (uint16_t)nvme_track_send_cdqid(&k->sqe));
		if (q && q->log != CDQ_LOGGING)
			q->log = CDQ_STARTING;
	}
	if (k->sqe.opc != NVME_OP_MIGRATION_SEND || nvme_migration_send_sel(&k->sqe) != NVME_MIG_RESUME)
		return;
	mc = mon_ctrl_by_cntlid(c->m, cntlid);
	if (mc && mc->suspended) {
		ctrl_resumed(mc);
		mc->resume_uid = k->uid;
	}
	q = cdq_find_mc(c, cntlid);
	if (q && q->log == CDQ_ENDED && q->last_esa == NVME_ESA_SUSPENDED)
		q->log = CDQ_STARTING;
}

static void did_track(struct ctrl *c, struct cmd *k)
{
	if (nvme_track_send_sel(&k->sqe) == NVME_TRACK_MEMORY)
		track_sent(c, k);
}

static void did_migration_send(struct ctrl *c, struct cmd *k, bool ok)
{
	switch (nvme_migration_send_sel(&k->sqe)) {
	case NVME_MIG_SUSPEND:
		if (ok)
			did_suspend(c, k);
		return;
	case NVME_MIG_RESUME:
		did_resume(c, k, ok);
		return;
	case NVME_MIG_SET_STATE:
		if (ok)
			did_set_state(c, k);
		return;
	}
}

void done_effects(struct ctrl *c, struct cmd *k, const struct nvme_cqe *e, uint64_t uid)
{
	bool ok = !nvme_cqe_status(e);

	if (k->sq)
		return;
	if (k->sqe.opc == NVME_OP_MIGRATION_SEND)
		did_migration_send(c, k, ok);
	if (k->sqe.opc == NVME_OP_SET_FEATURES)
		cdq_head(c, k, true, ok);
	if (!ok && k->sqe.opc == NVME_OP_CDQ)
		cdq_leaving(c, k, false);
	if (!ok)
		return;
	switch (k->sqe.opc) {
	case NVME_OP_IDENTIFY: did_identify(c, k); return;
	case NVME_OP_CREATE_SQ: case NVME_OP_CREATE_CQ: case NVME_OP_DELETE_SQ: case NVME_OP_DELETE_CQ: did_queue(c, k); return;
	case NVME_OP_DBBUF: did_dbbuf(c, k); return;
	case NVME_OP_CDQ: did_cdq(c, k, e); return;
	case NVME_OP_TRACK_SEND: did_track(c, k); return;
	case NVME_OP_TRACK_RECEIVE: track_received(c, k, uid); return;
	case NVME_OP_MIGRATION_RECEIVE: shadow_got(c, k, e, uid); return;
	}
}
