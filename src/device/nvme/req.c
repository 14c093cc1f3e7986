/* A command's life: judged, mapped, given its data, run, its data brought back, completed. Nothing is allocated on the way.
 *
 *   start -> [throttled] -> map -> [buf_wait] -> data in -> run -> data out -> complete -> [telling] -> CQ
 *
 * Any step may have to wait for a message or a backend; the request then sits in one list or has exactly one thing out that
 * will call back. A request whose queue is gone (sq == NULL, an orphan) takes the same way, only nothing of it is seen: it
 * runs no command it has not begun, and completes silently. Device thread.
 */
#include "device/nvme/core.h"

#include <errno.h>

#include "base/check.h"

static const struct nvme_cmd_row *admin_row[256], *io_row[256];

void nvme_rows_init(void)
{
	for (const struct nvme_cmd_row *r = nvme_admin_rows; r->run; r++)
		admin_row[r->opc] = r;
	for (const struct nvme_cmd_row *r = nvme_io_rows; r->run; r++)
		io_row[r->opc] = r;
}

/* ---- the pool ---- */

void nvme_reqs_init(struct nvme_ctrl *c)
{
	list_init(&c->req_free);
	list_init(&c->buf_wait);
	list_init(&c->wide_wait);
	list_init(&c->throttled);
	list_init(&c->retry);
	list_init(&c->telling);
	for (unsigned i = 0; i < c->max_reqs; i++) {
		c->reqs[i].ctrl = c;
		c->reqs[i].iov = c->reqs[i].iov_own;
		c->reqs[i].iova = c->reqs[i].iova_own;
		list_push(&c->req_free, &c->reqs[i].link);
	}
	c->req_count = c->max_reqs;
	c->bufs_free = (1u << NVME_BUFS) - 1;
}

/* Only what a new command must not inherit is cleared: the arrays stay as they are. */
struct nvme_req *nvme_req_take(struct nvme_ctrl *c)
{
	struct list *l = c->req_free.next;
	struct nvme_req *req = LIST_ENTRY(l, struct nvme_req, link);

	if (l == &c->req_free)
		return NULL;
	list_del(l);
	c->req_count--;
	req->sq = NULL;
	req->row = NULL;
	req->ns = NULL;
	req->buf = req->scratch = NULL;
	req->dw0 = req->dw1 = req->len = 0;
	req->iovcnt = req->step = 0;
	req->idx = 0;
	memset(req->w, 0, sizeof(req->w));
	req->rate_bytes = req->touch = 0;
	req->bounced = req->holds_gmem = req->forsaken = req->in_blk = req->blk_again = false;
	req->bio.fua = req->bio.dealloc = false;
	req->where = NVME_REQ_OUT;
	c->inflight++;
	return req;
}

/* Newest first: what the cache still has is used again. The caller has seen to inflight. */
void nvme_req_free(struct nvme_req *req)
{
	struct list *head = &req->ctrl->req_free;

	req->where = NVME_REQ_FREE;
	req->sq = NULL;
	list_push(head->next, &req->link);
	req->ctrl->req_count++;
}

static uint8_t *buf_take(struct nvme_ctrl *c)
{
	int i = __builtin_ctz(c->bufs_free);

	c->bufs_free &= c->bufs_free - 1;
	return c->bufs[i];
}

static void buf_give(struct nvme_ctrl *c, uint8_t **buf)
{
	for (unsigned i = 0; *buf && i < NVME_BUFS; i++)
		if (c->bufs[i] == *buf)
			c->bufs_free |= 1u << i;
	*buf = NULL;
}

static bool is_io(const struct nvme_req *req) { return req->sq && req->sq->qid; }

/* What a stopped backend keeps must not stop Identify or Get Log Page: I/O commands leave a buffer to the admin queue. */
static bool bufs_are(const struct nvme_req *req, unsigned n)
{
	return !n || (unsigned)__builtin_popcount(req->ctrl->bufs_free) >= n + (is_io(req) ? NVME_ADMIN_BUFS : 0);
}

/* All or nothing, so that two requests never wait for each other's second buffer. */
static bool bufs_take(struct nvme_req *req, bool buf, bool scratch)
{
	struct nvme_ctrl *c = req->ctrl;

	buf = buf && !req->buf;
	scratch = scratch && !req->scratch;
	if (!bufs_are(req, (unsigned)buf + scratch))
		return false;
	if (buf)
		req->buf = buf_take(c);
	if (scratch)
		req->scratch = buf_take(c);
	return true;
}

/* ---- completing ---- */

/* Trying again may help against these; against the rest it will not, and the host is told so. */
static bool status_passes(nvme_status st)
{
	switch ((unsigned)st & 0x7ff) {
	case NVME_SUCCESS: case NVME_DATA_TRANSFER_ERROR: case NVME_INTERNAL_ERROR: case NVME_ABORT_REQUESTED:
	case NVME_ABORT_SQ_DELETED: case NVME_NAMESPACE_NOT_READY: case NVME_FORMAT_IN_PROGRESS: case NVME_AER_LIMIT:
	case NVME_CAPACITY_EXCEEDED: case NVME_WRITE_FAULT: case NVME_UNRECOVERED_READ: case NVME_NOT_ENOUGH_RESOURCES:
	case NVME_CTRL_SUSPENDED: case NVME_CTRL_NOT_SUSPENDED: case NVME_COMMAND_SEQUENCE: case NVME_CDQ_FULL:
		return true;
	}
	return false;
}

static void req_count(struct nvme_req *req)
{
	struct nvme_ctrl_stats *s = &req->ctrl->stats;

	if (req->status != NVME_SUCCESS) {
		s->errors++;
		nvme_errlog_add(req->ctrl, req, req->status);
		if (!status_passes(req->status))
			req->status |= NVME_DNR;
	} else if (req->sq->qid && req->sqe.opc == NVME_NVM_READ) {
		s->reads++;
		s->read_blocks512 += req->len >> 9;
	} else if (req->sq->qid && req->sqe.opc == NVME_NVM_WRITE) {
		s->writes++;
		s->write_blocks512 += req->len >> 9;
	}
}

static void req_let_go(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	if (req->ns)
		req->ns->inflight--;
	req->ns = NULL;
	buf_give(c, &req->buf);
	buf_give(c, &req->scratch);
	if (req->holds_gmem)
		gmem_release(&c->dev.gmem);
	req->holds_gmem = false;
	if (__builtin_expect(!req->wide, 1))
		return;
	req->wide->used = false;
	req->wide = NULL;
	req->iov = req->iov_own;
	req->iova = req->iova_own;
}

static void req_undelivered(struct nvme_req *req)
{
	if (req->row && req->row->undelivered)
		req->row->undelivered(req);
}

/* A page of guest memory that vanished while we copied (SIGBUS): whatever this command moved is not what was asked. */
static void req_judge_lost(struct nvme_req *req)
{
	struct gmem *g = &req->ctrl->dev.gmem;

	if (__builtin_expect(!g->lost, 1))
		return;
	g->lost = 0;
	if (req->status != NVME_SUCCESS)
		return;
	req->status = NVME_DATA_TRANSFER_ERROR;
	req_undelivered(req);
}

static void req_post(struct nvme_req *req)
{
	struct nvme_sq *sq = req->sq;

	req->ctrl->inflight--;
	if (!sq) {
		nvme_req_free(req);
		return;
	}
	req_count(req);
	sq->inflight--;
	nvme_cq_post(req);
	if (sq->deleting)
		nvme_sq_quiet(sq);
}

/* The data is where it belongs. Who still has to wait for the VMM keeps nothing that others could be waiting for, the hold on the
 * memory table least of all: the VMM may be waiting for our answer to a DMA_UNMAP before it answers us. */
static void req_complete(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	req_judge_lost(req);
	req_let_go(req);
#ifdef FERRY_BREAK_TOUCH_LATE
	req->touch = 0;
#endif
	if (__builtin_expect(!req->touch, 1) || gmem_touched(&c->dev.gmem, req->touch)) {
		req_post(req);
		return;
	}
	req->where = NVME_REQ_TELLING;
	list_push(&c->telling, &req->link);
}

/* In the order in which they began to wait, which is that of the pages in the queue. */
static bool telling_poll(struct nvme_ctrl *c)
{
	bool any = false;

	while (!list_empty(&c->telling)) {
		struct nvme_req *req = LIST_ENTRY(c->telling.next, struct nvme_req, link);

		if (!gmem_touched(&c->dev.gmem, req->touch))
			break;
		list_del(&req->link);
		req->where = NVME_REQ_OUT;
		req_post(req);
		any = true;
	}
	return any;
}

void nvme_req_done(struct nvme_req *req, nvme_status st)
{
	unsigned flags = req->row ? req->row->flags : 0;
	bool copied = req->bounced || flags & NVME_ROW_LINEAR;

	if (req->where == NVME_REQ_PARKED)
		nvme_aer_unpark(req);
	req->where = NVME_REQ_OUT;
	req->status = st;
	if (!(flags & NVME_ROW_OUT) || !req->len) {
		req_complete(req);
	} else if (!copied) {
		/* also when it failed: part of it may be there. After the data, before the completion (design rule 2) */
		nvme_xfer_mark(req);
		req_complete(req);
	} else if (st != NVME_SUCCESS) {
		req_complete(req);
	} else if (!req->sq) {
		req_undelivered(req);
		req_complete(req);
	} else {
		req->xfer_at = req->map_len = 0;
		st = nvme_xfer_move(req, false);
		if (st != NVME_ASYNC)
			nvme_req_moved(req, false, st);
	}
}

/* ---- running ---- */

static void req_run(struct nvme_req *req)
{
	nvme_status st = req->row->run(req);

	if (st != NVME_ASYNC)
		nvme_req_done(req, st);
}

/* Ends a command that was never run: nothing to mark, nothing to bring back. */
static void req_refuse(struct nvme_req *req, nvme_status st)
{
	req->status = st;
	req_complete(req);
}

void nvme_req_moved(struct nvme_req *req, bool in, nvme_status st)
{
	if (!in) {
		if (st != NVME_SUCCESS || !req->sq) {
			req->status = st;
			req_undelivered(req);
		}
		req_complete(req);
	} else if (st != NVME_SUCCESS || !req->sq) {
		req_refuse(req, st == NVME_SUCCESS ? NVME_ABORT_SQ_DELETED : st);
	} else {
		req_run(req);
	}
}

static void req_wait(struct nvme_req *req, struct list *where)
{
	req->where = NVME_REQ_WAITING;
	list_push(where, &req->link);
}

/* Admin commands before all others. */
static void bufs_wait(struct nvme_req *req)
{
	struct list *all = &req->ctrl->buf_wait, *at = is_io(req) ? all : all->next;

	while (at != all && !is_io(LIST_ENTRY(at, struct nvme_req, link)))
		at = at->next;
	req_wait(req, at);
}

/* The segments are known: find the bytes, or buffers in their place. Comes here again from buf_wait, so nothing is kept
 * that a change of the memory map could make wrong. */
void nvme_req_mapped(struct nvme_req *req, nvme_status st)
{
	struct nvme_ctrl *c = req->ctrl;
	unsigned flags = req->row->flags;
	bool linear = flags & NVME_ROW_LINEAR && req->len, direct = !linear && nvme_xfer_direct(req);
	bool lacks = (!direct && !req->buf) || (flags & NVME_ROW_SCRATCH && !req->scratch);

	if (st != NVME_SUCCESS || !req->sq) {
		req_refuse(req, st);
		return;
	}
	if (!direct && !nvme_xfer_reachable(req)) {
		req_refuse(req, NVME_DATA_TRANSFER_ERROR);
		return;
	}
	/* Who has its buffers (nvme_req_refetch) does not queue up for more: those in front may be waiting for just these. */
	if ((!list_empty(&c->buf_wait) && lacks && req->where != NVME_REQ_WAITING && is_io(req)) ||
	    !bufs_take(req, !direct, flags & NVME_ROW_SCRATCH)) {
		bufs_wait(req);
		return;
	}
	req->where = NVME_REQ_OUT;
	req->bounced = !direct && !linear;
	if (direct && req->len) {
		gmem_hold(&c->dev.gmem);
		req->holds_gmem = true;
	}
	if (req->bounced)
		nvme_xfer_bounce(req);
	if (linear && flags & NVME_ROW_OUT)
		memset(req->buf, 0, req->len); /* what the row leaves out must not be another command's data */
	if (!direct && flags & NVME_ROW_IN) {
		req->xfer_at = req->map_len = 0;
		st = nvme_xfer_move(req, true);
		if (st != NVME_ASYNC)
			nvme_req_moved(req, true, st);
		return;
	}
	req_run(req);
}

static void req_prepare(struct nvme_req *req)
{
	nvme_status st = req->len ? nvme_xfer_map(req) : NVME_SUCCESS;

	if (st != NVME_ASYNC)
		nvme_req_mapped(req, st);
}

nvme_status nvme_req_widen(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	struct nvme_wide *w = c->wide;

	while (w < c->wide + NVME_WIDES && w->used)
		w++;
	if (w == c->wide + NVME_WIDES) {
		req_wait(req, &c->wide_wait);
		return NVME_ASYNC;
	}
	w->used = true;
	memcpy(w->iov, req->iov, (size_t)req->iovcnt * sizeof(*w->iov));
	memcpy(w->iova, req->iova, (size_t)req->iovcnt * sizeof(*w->iova));
	req->wide = w;
	req->iov = w->iov;
	req->iova = w->iova;
	return NVME_SUCCESS;
}

nvme_status nvme_req_refetch(struct nvme_req *req, uint32_t len)
{
	nvme_status st;

	if (len > NVME_XFER_MAX)
		return NVME_INVALID_FIELD;
	req->len = len;
	st = nvme_xfer_map(req);
	if (st == NVME_SUCCESS)
		nvme_req_mapped(req, st);
	return st == NVME_SUCCESS ? NVME_ASYNC : st;
}

/* ---- judging ---- */

static nvme_status judge_flags(const struct nvme_req *req)
{
	unsigned psdt = req->sqe.flags & NVME_PSDT_MASK;

	if (!req->row)
		return NVME_INVALID_OPCODE;
	if (req->row->flags & NVME_ROW_MMC && (!req->ctrl->mmc || req->ctrl->ss->cfg.no_hmlm))
		return NVME_INVALID_OPCODE; /* whatever its fields and data are */
	if (req->sqe.flags & NVME_FUSE_MASK)
		return NVME_INVALID_FIELD; /* FUSES = 0 */
	if (psdt == NVME_PSDT_MASK)
		return NVME_INVALID_FIELD;
	/* Base 4.3.2: admin commands over PCIe use PRPs */
	if (psdt && (!req->sq->qid || req->row->flags & NVME_ROW_NOSGL))
		return NVME_INVALID_FIELD;
	return NVME_SUCCESS;
}

/* Base 4.1, NSID: one that cannot exist is an invalid namespace; one that could but is not attached, and FFFFFFFFh for a command that does
 * not take it, are an invalid field. */
static nvme_status judge_ns(struct nvme_req *req)
{
	uint32_t nsid = le32_get(req->sqe.nsid);

	if (!(req->row->flags & (NVME_ROW_NS | NVME_ROW_NS_OR_ALL)))
		return NVME_SUCCESS;
	if (nsid == UINT32_MAX && req->row->flags & NVME_ROW_NS_OR_ALL)
		return NVME_SUCCESS;
	if (nsid == UINT32_MAX)
		return NVME_INVALID_FIELD;
	if (nsid == 0 || nsid > NVME_NSID_MAX)
		return NVME_INVALID_NAMESPACE;
	if (!req->ctrl->attach[nsid])
		return NVME_INVALID_FIELD;
	if (req->ctrl->attach[nsid]->busy_format)
		return NVME_FORMAT_IN_PROGRESS;
	req->ns = req->ctrl->attach[nsid];
	req->ns->inflight++;
	return NVME_SUCCESS;
}

static nvme_status judge(struct nvme_req *req)
{
	nvme_status st = judge_flags(req);

	if (st == NVME_SUCCESS)
		st = judge_ns(req);
	if (st == NVME_SUCCESS && req->row->size)
		st = req->row->size(req, &req->len);
	if (st == NVME_SUCCESS && req->len > NVME_XFER_MAX)
		st = NVME_INVALID_FIELD;
	if (st != NVME_SUCCESS)
		req->len = 0;
	return st;
}

/* While the controller stops, nobody is throttled: the drain must not last as long as a rate limit likes. */
static bool rate_admits(struct nvme_req *req)
{
	return req->ctrl->suspend != NVME_RUNNING || nvme_rate_admit(req->ctrl, req);
}

void nvme_req_start(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	nvme_status st;

	req->row = (req->sq->qid ? io_row : admin_row)[req->sqe.opc];
	st = judge(req);
	if (st != NVME_SUCCESS)
		req_refuse(req, st);
	else if (req->row->flags & NVME_ROW_RATE && (!list_empty(&c->throttled) || !rate_admits(req))) {
		nvme_rate_wait(c, req);
		req_wait(req, &c->throttled);
	} else
		req_prepare(req);
}

/* ---- backends ---- */

nvme_status nvme_blk_status(int rc, enum blk_op op)
{
	switch (rc) {
	case 0: return NVME_SUCCESS;
	case -ENOSPC: return NVME_CAPACITY_EXCEEDED;
	case -EFAULT: return NVME_DATA_TRANSFER_ERROR;
	}
	return op == BLK_READ ? NVME_UNRECOVERED_READ : NVME_WRITE_FAULT;
}

/* About what a request costs the thread if the backend does it at once. Giving back memory is cheaper than writing it. */
static int blk_give(struct nvme_req *req)
{
	struct blk *b = req->ns->blk;
	uint64_t bytes = req->bio.nlb * b->block_bytes;
	int rc;

	req->ctrl->work += req->bio.op == BLK_DEALLOC ? bytes / 16 : bytes;
	req->bio_since_ns = NVME_BIO_UNSEEN;
	rc = blk_submit(b, &req->bio);
	if (rc)
		req->bio_since_ns = 0;
	return rc;
}

static void retry_later(struct nvme_req *req)
{
	req->where = NVME_REQ_RETRY;
	list_push(&req->ctrl->retry, &req->link);
}

/* Commands of many pieces call nvme_req_blk from `next`; where a backend answers at once that would nest once per piece, so
 * the outermost call goes round in a loop instead, until one poll has done its share: a guest with a few large Copies must not
 * keep its neighbours on this thread waiting (design rule 5). A finished command may free the request under us: a free one has
 * blk_again false, and none is taken before we return. */
static void blk_answer(struct nvme_req *req, int rc)
{
	req->in_blk = true;
	for (;;) {
		req->blk_again = false;
		req->next(req, rc);
		if (!req->blk_again || req->where == NVME_REQ_FREE)
			break;
		req->blk_again = false;
		rc = req->ctrl->work < NVME_WORK_MAX ? blk_give(req) : -EAGAIN;
		if (rc == 0)
			break;
		if (rc == -EAGAIN) {
			retry_later(req);
			break;
		}
		rc = rc == BLK_DONE ? 0 : rc;
	}
	req->in_blk = false;
}

static void bio_done(struct blk_io *io, int rc)
{
	struct nvme_req *req = io->ctx;

	if (req->bio_told)
		nvme_slow_over(req, rc);
	req->bio_since_ns = 0;
	blk_answer(io->ctx, rc);
}

static bool blk_try(struct nvme_req *req)
{
	int rc = blk_give(req);

	if (rc == -EAGAIN) {
		retry_later(req);
		return false;
	}
	if (rc != 0)
		blk_answer(req, rc == BLK_DONE ? 0 : rc);
	return true;
}

/* req->bio.fua and .dealloc are the caller's to set before; they are false in a new command. */
nvme_status nvme_req_blk(struct nvme_req *req, enum blk_op op, uint64_t lba, uint64_t nlb, const struct iovec *iov,
			 int iovcnt, void (*next)(struct nvme_req *, int rc))
{
	req->bio.op = op;
	req->bio.lba = lba;
	req->bio.nlb = nlb;
	req->bio.iov = iov;
	req->bio.iovcnt = iovcnt;
	req->bio.done = bio_done;
	req->bio.ctx = req;
	req->next = next;
	if (req->in_blk)
		req->blk_again = true;
	else
		blk_try(req);
	return NVME_ASYNC;
}

/* ---- what waits ---- */

static bool retry_poll(struct nvme_ctrl *c)
{
	struct list *l;
	bool any = false;

	while (c->work < NVME_WORK_MAX && (l = list_pop(&c->retry))) {
		struct nvme_req *req = LIST_ENTRY(l, struct nvme_req, link);

		req->where = NVME_REQ_OUT;
		if (!blk_try(req)) {
			list_del(&req->link);
			list_push(c->retry.next, &req->link); /* keeps its place at the front */
			break;
		}
		any = true;
	}
	return any;
}

static bool bufs_poll(struct nvme_ctrl *c)
{
	bool any = false;

	while (!list_empty(&c->buf_wait) && !c->dev.gmem.draining && c->work < NVME_WORK_MAX) {
		struct nvme_req *req = LIST_ENTRY(c->buf_wait.next, struct nvme_req, link);

		if (!bufs_are(req, 1u + !!(req->row->flags & NVME_ROW_SCRATCH)))
			break;
		list_del(&req->link);
		nvme_req_mapped(req, NVME_SUCCESS);
		any = true;
	}
	return any;
}

/* From the start again: what was read of its list was not kept. Who still finds no room is back at the end. */
static bool wide_poll(struct nvme_ctrl *c)
{
	unsigned free = 0;
	struct list *l;
	bool any = false;

	for (unsigned i = 0; i < NVME_WIDES && !list_empty(&c->wide_wait); i++)
		free += !c->wide[i].used;
	while (free-- && !c->dev.gmem.draining && c->work < NVME_WORK_MAX && (l = list_pop(&c->wide_wait))) {
		struct nvme_req *req = LIST_ENTRY(l, struct nvme_req, link);

		req->where = NVME_REQ_OUT;
		req_prepare(req);
		any = true;
	}
	return any;
}

static bool throttled_poll(struct nvme_ctrl *c)
{
	bool any = false;

	while (!list_empty(&c->throttled) && !c->dev.gmem.draining && c->work < NVME_WORK_MAX) {
		struct nvme_req *req = LIST_ENTRY(c->throttled.next, struct nvme_req, link);

		if (!rate_admits(req))
			break;
		list_del(&req->link);
		req->where = NVME_REQ_OUT;
		req_prepare(req);
		any = true;
	}
	return any;
}

bool nvme_reqs_poll(struct nvme_ctrl *c)
{
	bool any;

	c->work = 0;
	any = telling_poll(c);
	any |= retry_poll(c);
	any |= bufs_poll(c);
	any |= wide_poll(c);
	any |= throttled_poll(c);
	return any;
}

/* ---- orphans ---- */

static void req_orphan(struct nvme_req *req)
{
	req->sq = NULL;
	if (req->where == NVME_REQ_PARKED) {
		nvme_aer_unpark(req);
		req_complete(req);
	} else if (req->where == NVME_REQ_WAITING) {
		list_del(&req->link);
		req_complete(req);
	}
}

static void delete_orphan(struct nvme_req **slot)
{
	struct nvme_req *req = *slot;

	*slot = NULL;
	if (req)
		nvme_req_done(req, NVME_SUCCESS);
}

/* Everything of one queue, or of all: what has not begun ends here, what is out ends when it comes back, what waits for the VMM
 * when that has answered. Completions that wait for room are the queue's business. A command that waits for others (Delete
 * I/O SQ or CQ) has nothing out: it ends too. */
void nvme_reqs_orphan(struct nvme_ctrl *c, const struct nvme_sq *only)
{
	for (unsigned i = 0; i < c->max_reqs; i++) {
		struct nvme_req *req = &c->reqs[i];

		if (req->where == NVME_REQ_FREE || req->where == NVME_REQ_HELD || req->where == NVME_REQ_POSTING)
			continue;
		if (!only || req->sq == only)
			req_orphan(req);
	}
	for (unsigned i = 0; !only && i < c->sq_top; i++)
		delete_orphan(&c->sq[i].delete_req);
	for (unsigned i = 0; !only && i < c->cq_top; i++)
		delete_orphan(&c->cq[i].delete_req);
}
