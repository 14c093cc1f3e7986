/* The admin command table, and the small admin commands: queues, Abort, Keep Alive, Doorbell Buffer Config.
 *
 * Called by req.c with flags, data pointer kind and namespace judged. Device thread.
 *
 * Not in the table, so Invalid Command Opcode: Namespace Management and Attachment (OACS.NMS = 0: there is no pool to take
 * capacity from; namespaces come from configuration), Firmware Commit and Download (one read-only slot), Device Self-test,
 * Virtualization Management, Sanitize.
 */
#include "device/nvme/nvme.h"

static nvme_status keep_alive(struct nvme_req *r)
{
	(void)r; /* KAS = 0: no timer to restart, but asking costs nothing */
	return NVME_SUCCESS;
}

/* ---- queues (Base, Create and Delete I/O Completion/Submission Queue) */

/* I/O queues the host was given with Number of Queues (FID 07h), both halves zero-based. */
static bool sqid_in_range(const struct nvme_ctrl *c, uint32_t qid)
{
	return qid >= 1 && qid <= MIN((c->feat.num_queues & 0xffff) + 1u, (uint32_t)c->max_ioq);
}
static bool cqid_in_range(const struct nvme_ctrl *c, uint32_t qid)
{
	return qid >= 1 && qid <= MIN((c->feat.num_queues >> 16) + 1u, (uint32_t)c->max_ioq);
}

/* What both kinds of Create share. CAP.CQR = 1, so a queue must be contiguous. In memory that it cannot use (no memory, or only for the other
 * direction) it would take commands and never answer: as with data queues, the host is told while somebody listens. */
static nvme_status queue_judge(struct nvme_ctrl *c, uint32_t qsize0, bool pc, uint64_t prp1, uint32_t entry, bool write)
{
	if (qsize0 == 0 || qsize0 > (c->cap & 0xffff))
		return NVME_QSIZE_INVALID;
	if (!pc)
		return NVME_INVALID_FIELD;
	if (prp1 & (NVME_PAGE - 1))
		return NVME_PRP_OFFSET;
	return gmem_covers(&c->dev.gmem, prp1, (qsize0 + 1ull) * entry, write) ? NVME_SUCCESS : NVME_INVALID_FIELD;
}

static nvme_status create_cq(struct nvme_req *r)
{
	struct nvme_ctrl *c = r->ctrl;
	uint32_t qid = nvme_create_cq_qid(&r->sqe), iv = nvme_create_cq_iv(&r->sqe);
	nvme_status status;

	if (!cqid_in_range(c, qid) || c->cq[qid].live)
		return NVME_QID_INVALID;
	status = queue_judge(c, nvme_create_cq_qsize0(&r->sqe), nvme_create_cq_pc(&r->sqe), le64_get(r->sqe.prp1), sizeof(struct nvme_cqe), true);
	if (status != NVME_SUCCESS)
		return status;
	/* Judged with IEN = 0 too: the vector is state that moves, and must be one we have. */
	if (iv >= c->pci.msix_count)
		return NVME_IV_INVALID;
	return nvme_cq_create(c, (uint16_t)qid, nvme_create_cq_qsize0(&r->sqe) + 1, le64_get(r->sqe.prp1),
			      nvme_create_cq_ien(&r->sqe), (uint16_t)iv);
}

static nvme_status create_sq(struct nvme_req *r)
{
	struct nvme_ctrl *c = r->ctrl;
	uint32_t qid = nvme_create_sq_qid(&r->sqe), cqid = nvme_create_sq_cqid(&r->sqe);
	nvme_status status;

	if (!sqid_in_range(c, qid) || c->sq[qid].live)
		return NVME_QID_INVALID;
	/* The admin queue and ids that can never exist: QID invalid; one that could but does not: CQ invalid. */
	if (!cqid_in_range(c, cqid))
		return NVME_QID_INVALID;
	if (!c->cq[cqid].live)
		return NVME_CQ_INVALID;
	status = queue_judge(c, nvme_create_sq_qsize0(&r->sqe), nvme_create_sq_pc(&r->sqe), le64_get(r->sqe.prp1), sizeof(struct nvme_sqe), false);
	if (status != NVME_SUCCESS)
		return status;
	return nvme_sq_create(c, (uint16_t)qid, (uint16_t)cqid, nvme_create_sq_qsize0(&r->sqe) + 1,
			      le64_get(r->sqe.prp1), (uint8_t)nvme_create_sq_qprio(&r->sqe));
}

static nvme_status delete_sq(struct nvme_req *r)
{
	uint32_t qid = nvme_delete_q_qid(&r->sqe);

	if (!qid || qid > NVME_IOQ_MAX || !r->ctrl->sq[qid].live)
		return NVME_QID_INVALID;
	return nvme_sq_delete_wait(&r->ctrl->sq[qid], r);
}

static nvme_status delete_cq(struct nvme_req *r)
{
	uint32_t qid = nvme_delete_q_qid(&r->sqe);

	if (!qid || qid > NVME_IOQ_MAX || !r->ctrl->cq[qid].live)
		return NVME_QID_INVALID;
	if (r->ctrl->cq[qid].sqs)
		return NVME_QUEUE_DELETION;
	return nvme_cq_delete_wait(&r->ctrl->cq[qid], r);
}

/* ---- Abort: best effort. What waits (an AER, a throttled command, a Suspend) can be taken back; what runs, runs on. Answered on the
 * spot, so the limit ACL is never exceeded. DW0 bit 0: 1 = not aborted. */

static bool is_named(const struct nvme_req *q, uint32_t sqid, uint32_t cid)
{
	return q->sq && q->sq->qid == sqid && le16_get(q->sqe.cid) == cid;
}

static struct nvme_req *find_aer(struct nvme_ctrl *c, uint32_t sqid, uint32_t cid)
{
	for (unsigned i = 0; i < c->aer_count; i++)
		if (is_named(c->aer[i], sqid, cid))
			return c->aer[i];
	return NULL;
}

static struct nvme_req *take_throttled(struct nvme_ctrl *c, uint32_t sqid, uint32_t cid)
{
	LIST_EACH(&c->throttled, it) {
		struct nvme_req *q = LIST_ENTRY(it, struct nvme_req, link);

		if (!is_named(q, sqid, cid))
			continue;
		list_del(&q->link);
		return q;
	}
	return NULL;
}

static nvme_status abort_cmd(struct nvme_req *r)
{
	uint32_t sqid = nvme_abort_sqid(&r->sqe), cid = nvme_abort_cid(&r->sqe);
	struct nvme_req *q = find_aer(r->ctrl, sqid, cid);

	if (!q)
		q = take_throttled(r->ctrl, sqid, cid);
	if (!q)
		q = nvme_suspend_take(r->ctrl, sqid, cid);
	r->dw0 = !q;
	if (q)
		nvme_req_done(q, NVME_ABORT_REQUESTED);
	return NVME_SUCCESS;
}

/* ---- Doorbell Buffer Config. The core finds the pages again whenever the memory map changes. */

static nvme_status dbbuf(struct nvme_req *r)
{
	struct nvme_ctrl *c = r->ctrl;
	uint64_t shadow = le64_get(r->sqe.prp1), eventidx = le64_get(r->sqe.prp2);

	if ((shadow | eventidx) & (NVME_PAGE - 1))
		return NVME_INVALID_FIELD;
	/* They are polled, so they must be reached directly: with memory by message the host goes on with the real doorbells. */
	if (!gmem_ptr(&c->dev.gmem, shadow, NVME_PAGE, false) || !gmem_ptr(&c->dev.gmem, eventidx, NVME_PAGE, true))
		return NVME_DATA_TRANSFER_ERROR;
	nvme_dbbuf_begin(c, shadow, eventidx);
	return NVME_SUCCESS;
}

/* ---- the table */

#define SUPP NVME_EFFECTS_SUPP
#define FORMAT_EFFECTS (SUPP | NVME_EFFECTS_LBCC | NVME_EFFECTS_CSE_NS)
#define IN (NVME_ROW_IN | NVME_ROW_LINEAR)
#define OUT (NVME_ROW_OUT | NVME_ROW_LINEAR)

const struct nvme_cmd_row nvme_admin_rows[] = {
	{ NVME_OP_DELETE_SQ, NVME_ROW_NOSGL, NULL, delete_sq, SUPP },
	{ NVME_OP_CREATE_SQ, NVME_ROW_NOSGL, NULL, create_sq, SUPP },
	{ NVME_OP_GET_LOG, OUT, nvme_get_log_size, nvme_get_log, SUPP },
	{ NVME_OP_DELETE_CQ, NVME_ROW_NOSGL, NULL, delete_cq, SUPP },
	{ NVME_OP_CREATE_CQ, NVME_ROW_NOSGL, NULL, create_cq, SUPP },
	{ NVME_OP_IDENTIFY, OUT, nvme_identify_size, nvme_identify, SUPP },
	{ NVME_OP_ABORT, NVME_ROW_NOSGL, NULL, abort_cmd, SUPP },
	{ NVME_OP_SET_FEATURES, IN, nvme_set_features_size, nvme_set_features, SUPP },
	{ NVME_OP_GET_FEATURES, OUT, nvme_get_features_size, nvme_get_features, SUPP },
	{ NVME_OP_AER, NVME_ROW_NOSGL, NULL, nvme_aer, SUPP },
	{ NVME_OP_KEEP_ALIVE, NVME_ROW_NOSGL, NULL, keep_alive, SUPP },
	{ NVME_OP_TRACK_SEND, IN | NVME_ROW_MMC, nvme_track_send_size, nvme_track_send, SUPP },
	{ NVME_OP_TRACK_RECEIVE, OUT | NVME_ROW_MMC, nvme_track_receive_size, nvme_track_receive, SUPP,
	  nvme_track_undelivered },
	{ NVME_OP_MIGRATION_SEND, IN | NVME_ROW_MMC, nvme_migration_send_size, nvme_migration_send, SUPP },
	{ NVME_OP_MIGRATION_RECEIVE, OUT | NVME_ROW_MMC, nvme_migration_receive_size, nvme_migration_receive, SUPP },
	{ NVME_OP_CDQ, NVME_ROW_NOSGL | NVME_ROW_MMC, NULL, nvme_cdq_cmd, SUPP },
	{ NVME_OP_DBBUF, NVME_ROW_NOSGL, NULL, dbbuf, SUPP },
	{ NVME_OP_FORMAT, NVME_ROW_NS_OR_ALL, NULL, nvme_format, FORMAT_EFFECTS },
	{ NVME_OP_GET_LBA_STATUS, OUT | NVME_ROW_NS, nvme_lba_status_size, nvme_lba_status, SUPP },
	{ 0 }
};
