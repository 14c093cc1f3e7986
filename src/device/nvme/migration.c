/* Migration Send and Migration Receive (Base 2.1, 5.1.17 and 5.1.16): suspend, resume, and a controller's state out and in.
 *
 * RUNNING -> DRAINING -> SUSPENDED -> RUNNING; the draining is ctrl.c's, which calls nvme_migration_drained. What is in an
 * image is state.c's. Called by the admin table on the MMC, and by ctrl.c. Device thread.
 */
#include "device/nvme/hmlm.h"

/* ---- suspend */

/* Migration Sends waiting for the same drain are a chain through w[0]. */
static struct nvme_req *waiting_next(const struct nvme_req *req)
{
	return (struct nvme_req *)(uintptr_t)req->w[0];
}

/* Answers those of `by` (NULL: all) and forgets them. */
static void waiting_answer(struct nvme_ctrl *mc, const struct nvme_ctrl *by, nvme_status st)
{
	struct nvme_req *req = mc->suspend_req, *keep = NULL, *next;

	mc->suspend_req = NULL;
	for (; req; req = next) {
		next = waiting_next(req);
		if (!by || req->ctrl == by) {
			nvme_req_done(req, st);
			continue;
		}
		req->w[0] = (uintptr_t)keep;
		keep = req;
	}
	mc->suspend_req = keep;
}

static nvme_status suspend_now(struct nvme_req *req, struct nvme_ctrl *mc, bool dudmq)
{
	mc->suspended_by = req->ctrl;
	if (mc->suspend == NVME_SUSPENDED) {	/* again: not an error */
		if (dudmq && mc->udmq)
			nvme_cdq_delete(mc->udmq);
		return NVME_SUCCESS;
	}
	mc->suspend_dudmq |= dudmq;
	req->w[0] = (uintptr_t)mc->suspend_req;
	mc->suspend_req = req;
	if (mc->suspend == NVME_RUNNING)
		nvme_ctrl_suspend(mc);
	return NVME_ASYNC;
}

/* A notification changes nothing, DUDMQ included: the controller runs on, and a queue deleted under it would lose changes. */
static nvme_status suspend(struct nvme_req *req)
{
	unsigned stype = nvme_migration_send_stype(&req->sqe);
	struct nvme_ctrl *mc = nvme_mc_find(req->ctrl->ss, (uint16_t)nvme_migration_send_cntlid(&req->sqe));

	if (stype > NVME_STYPE_SUSPEND)
		return NVME_INVALID_FIELD;
	if (!mc)
		return NVME_INVALID_CNTLID;
	if (stype == NVME_STYPE_NOTIFY)
		return NVME_SUCCESS;
	return suspend_now(req, mc, nvme_migration_send_dudmq(&req->sqe));
}

/* Every fetched command is complete and its changes are logged: the marker comes after them and, because the queue may be
 * deleted right away, before the completions (Base 2.1, 8.1.12). */
void nvme_migration_drained(struct nvme_ctrl *mc)
{
	mc->suspended_at_ns = nvme_now(mc);
	if (mc->udmq) {
		nvme_cdq_mark(mc->udmq, NVME_ESA_SUSPENDED);
		if (mc->suspend_dudmq)
			nvme_cdq_delete(mc->udmq);
	}
	mc->suspend_dudmq = false;
	waiting_answer(mc, NULL, NVME_SUCCESS);
}

/* ---- the end of a suspension */

/* The marker is posted before the first command is fetched again. */
static void run_again(struct nvme_ctrl *mc)
{
	bool was_suspended = mc->suspend == NVME_SUSPENDED;

	mc->suspended_by = NULL;
	mc->suspend_dudmq = false;
	if (was_suspended && mc->udmq)
		nvme_cdq_mark(mc->udmq, NVME_ESA_FIRST);
	if (mc->suspend != NVME_RUNNING)
		nvme_ctrl_resume(mc);
}

/* What those who still wait have asked for. */
static void waiting_sum(struct nvme_ctrl *mc)
{
	mc->suspended_by = mc->suspend_req->ctrl;
	mc->suspend_dudmq = false;
	for (const struct nvme_req *req = mc->suspend_req; req; req = waiting_next(req))
		mc->suspend_dudmq |= nvme_migration_send_dudmq(&req->sqe);
}

static struct nvme_req *waiting_take(struct nvme_ctrl *mc, const struct nvme_ctrl *mmc, uint32_t sqid, uint32_t cid)
{
	struct nvme_req *req = mc->suspend_req, *before = NULL;

	for (; req; before = req, req = waiting_next(req)) {
		if (req->ctrl != mmc || !req->sq || req->sq->qid != sqid || le16_get(req->sqe.cid) != cid)
			continue;
		if (before)
			before->w[0] = req->w[0];
		else
			mc->suspend_req = waiting_next(req);
		return req;
	}
	return NULL;
}

/* A drain lasts as long as the slowest disk likes. Who will not wait takes the Suspend back, and the controller runs on. */
struct nvme_req *nvme_suspend_take(struct nvme_ctrl *mmc, uint32_t sqid, uint32_t cid)
{
	struct nvme_req *req = NULL;

	for (unsigned i = 0; i < mmc->ss->ctrl_top && !req; i++) {
		struct nvme_ctrl *mc = mmc->ss->ctrl[i];

		req = mc ? waiting_take(mc, mmc, sqid, cid) : NULL;
		if (req && mc->suspend_req)
			waiting_sum(mc);
		else if (req)
			run_again(mc);
	}
	return req;
}

static nvme_status resume(struct nvme_req *req)
{
	struct nvme_ctrl *mc = nvme_mc_find(req->ctrl->ss, (uint16_t)nvme_migration_send_cntlid(&req->sqe));

	if (!mc)
		return NVME_INVALID_CNTLID;
	if (mc->suspend != NVME_SUSPENDED)
		return NVME_CTRL_NOT_SUSPENDED;
	if (mc->inbound.open)
		return NVME_COMMAND_SEQUENCE;
	run_again(mc);
	return NVME_SUCCESS;
}

/* ---- state in */

static void inbound_close(struct nvme_ctrl *mc)
{
	buf_fini(&mc->inbound.image);
	mc->inbound = (struct nvme_inbound){ 0 };
}

static bool may_receive(const struct nvme_ctrl *mc)
{
	return mc->suspend == NVME_SUSPENDED || (mc->cc & NVME_CC_EN) || !mc->online;
}

static uint64_t send_offset(const struct nvme_sqe *s)
{
	return nvme_migration_send_csol(s) | (uint64_t)nvme_migration_send_csou(s) << 32;
}

/* What can be said of a piece by itself (Base 2.1, 5.1.17.1.3). */
static nvme_status judge_piece(const struct nvme_req *req)
{
	const struct nvme_sqe *s = &req->sqe;
	unsigned csvi = nvme_migration_send_csvi(s), csuuidi = nvme_migration_send_csuuidi(s);

	if (send_offset(s) % 4 || csvi > 1 || csuuidi > 1 || (!csvi && !csuuidi))
		return NVME_INVALID_FIELD;
	if (!req->len && nvme_migration_send_seqind(s) != NVME_SEQ_LAST)
		return NVME_INVALID_FIELD;
	return NVME_SUCCESS;
}

/* Pieces may repeat or overlap what has come; they may not leave a hole, because then nobody knows how large the image is:
 * that is an offset beyond the data. */
static nvme_status piece_store(struct nvme_inbound *in, uint64_t off, const void *p, uint32_t len)
{
	size_t more;

	if (off > in->image.len)
		return NVME_INVALID_FIELD;
	if (!range_inside(off, len, NVME_STATE_MAX))
		return NVME_NOT_ENOUGH_RESOURCES;
	more = off + len > in->image.len ? off + len - in->image.len : 0;
	if (more && !buf_grow(&in->image, more)) {
		in->image.failed = false;
		return NVME_NOT_ENOUGH_RESOURCES;
	}
	if (len)
		memcpy(in->image.data + off, p, len);
	return NVME_SUCCESS;
}

/* A first or only piece starts over, whatever was under way. */
static nvme_status sequence_enter(const struct nvme_req *req, struct nvme_ctrl *mc)
{
	const struct nvme_sqe *s = &req->sqe;
	uint8_t csvi = (uint8_t)nvme_migration_send_csvi(s), csuuidi = (uint8_t)nvme_migration_send_csuuidi(s);
	struct nvme_inbound *in = &mc->inbound;

	if (nvme_migration_send_seqind(s) & NVME_SEQ_FIRST) {
		if (send_offset(s))
			return NVME_INVALID_FIELD;
		inbound_close(mc);
		*in = (struct nvme_inbound){ .open = true, .mmc = req->ctrl, .csvi = csvi, .csuuidi = csuuidi };
		return NVME_SUCCESS;
	}
	if (!in->open || in->mmc != req->ctrl)
		return NVME_COMMAND_SEQUENCE;
	return csvi == in->csvi && csuuidi == in->csuuidi ? NVME_SUCCESS : NVME_INVALID_FIELD;
}

static nvme_status set_state(struct nvme_req *req)
{
	struct nvme_ctrl *mc = nvme_mc_find(req->ctrl->ss, (uint16_t)nvme_migration_send_cntlid(&req->sqe));
	struct nvme_inbound *in;
	nvme_status st;

	if (!mc || !may_receive(mc))
		return NVME_INVALID_CNTLID;
	in = &mc->inbound;
	st = judge_piece(req);
	if (!st)
		st = sequence_enter(req, mc);
	if (!st)
		st = piece_store(in, send_offset(&req->sqe), req->buf, req->len);
	if (st || !(nvme_migration_send_seqind(&req->sqe) & NVME_SEQ_LAST))
		return st;
	/* Good or bad, the sequence ends here: after a refusal everything is sent again, and nothing of it has leaked. */
	st = nvme_state_load(mc, in->csvi, in->csuuidi, in->image.data, in->image.len);
	inbound_close(mc);
	return st;
}

/* ---- the commands */

nvme_status nvme_migration_send_size(struct nvme_req *req, uint32_t *len)
{
	uint32_t numd = nvme_migration_send_numd(&req->sqe);

	*len = 0;
	if (nvme_migration_send_sel(&req->sqe) != NVME_MIG_SET_STATE)
		return NVME_SUCCESS;
	if (numd > NVME_XFER_MAX / 4)
		return NVME_INVALID_FIELD;
	*len = numd * 4;
	return NVME_SUCCESS;
}

nvme_status nvme_migration_send(struct nvme_req *req)
{
	if (!nvme_hmlm_on(req->ctrl))
		return NVME_INVALID_OPCODE;
	switch (nvme_migration_send_sel(&req->sqe)) {
	case NVME_MIG_SUSPEND:
		return suspend(req);
	case NVME_MIG_RESUME:
		return resume(req);
	case NVME_MIG_SET_STATE:
		return set_state(req);
	}
	return NVME_INVALID_FIELD;
}

nvme_status nvme_migration_receive_size(struct nvme_req *req, uint32_t *len)
{
	uint32_t numdl0 = nvme_migration_receive_numdl0(&req->sqe);

	if (numdl0 >= NVME_XFER_MAX / 4)
		return NVME_INVALID_FIELD;
	*len = (numdl0 + 1) * 4;
	return NVME_SUCCESS;
}

/* The image is made anew for every piece: nothing to keep, nothing to go stale. While suspended it does not change. */
static nvme_status get_state(struct nvme_req *req, struct nvme_ctrl *mc, struct buf *image)
{
	const struct nvme_sqe *s = &req->sqe;
	uint64_t off = nvme_migration_receive_ol(s) | (uint64_t)nvme_migration_receive_ou(s) << 32;
	bool suspended = mc->suspend == NVME_SUSPENDED;
	nvme_status st;

	st = nvme_state_save(mc, nvme_migration_receive_csvi(s), nvme_migration_receive_csuuidi(s), suspended, image);
	if (st)
		return st;
	if (off > image->len)
		return NVME_INVALID_FIELD;
	memset(req->buf, 0, req->len);
	memcpy(req->buf, image->data + off, MIN(req->len, image->len - off));
	req->dw0 = suspended;
	return NVME_SUCCESS;
}

nvme_status nvme_migration_receive(struct nvme_req *req)
{
	const struct nvme_sqe *s = &req->sqe;
	struct nvme_ctrl *mc;
	struct buf image = { 0 };
	nvme_status st;

	if (!nvme_hmlm_on(req->ctrl))
		return NVME_INVALID_OPCODE;
	if (nvme_migration_receive_sel(s) != NVME_MIG_GET_STATE || nvme_migration_receive_ol(s) % 4 ||
	    nvme_migration_receive_csvi(s) > 1 || nvme_migration_receive_csuuidi(s) > 1)
		return NVME_INVALID_FIELD;
	mc = nvme_mc_find(req->ctrl->ss, (uint16_t)nvme_migration_receive_cntlid(s));
	if (!mc)
		return NVME_INVALID_CNTLID;
	st = get_state(req, mc, &image);
	buf_fini(&image);
	return st;
}

/* ---- resets */

/* The MMC is gone: its images are dropped, its suspensions end. One that it asked for together with another MMC goes on. */
static void released_by(struct nvme_ctrl *mc, struct nvme_ctrl *mmc)
{
	if (mc->inbound.open && mc->inbound.mmc == mmc)
		inbound_close(mc);
	waiting_answer(mc, mmc, NVME_ABORT_REQUESTED);
	if (mc->suspend_req)
		mc->suspended_by = mc->suspend_req->ctrl;
	if (mc->suspended_by == mmc)
		run_again(mc);
}

void nvme_migration_clr(struct nvme_ctrl *c)
{
	struct nvme_subsys *ss = c->ss;

	for (unsigned i = 0; c->mmc && i < ARRAY_LEN(ss->ctrl); i++)
		if (ss->ctrl[i] && ss->ctrl[i] != c)
			released_by(ss->ctrl[i], c);
	if (c->mmc)
		return;
	/* An MC's own reset ends its suspension (Base 2.1, 8.1.12). Who waits for it learns that it is not suspended. */
	inbound_close(c);
	waiting_answer(c, NULL, NVME_CTRL_NOT_SUSPENDED);
	run_again(c);
}
