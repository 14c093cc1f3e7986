/* From the data pointer of a command to segments of guest memory, and the bytes between them and a buffer.
 *
 * Called by req.c, device thread. Lists are read once, into the request itself (PRP entries into iova[], SGL descriptors into
 * iov[]), and turned into segments in place: what the guest changes afterwards is never seen. A list that is reached by message
 * makes nvme_xfer_map say ASYNC; nvme_req_mapped then follows.
 */
#include "device/nvme/core.h"

#include <errno.h>

enum { SEGMENTS_MAX = 16 /* SGL segments of one command; a ring of empty ones must end somewhere */ };
static const uint64_t BIT_BUCKET = UINT64_MAX;	/* iova of a segment whose bytes go nowhere */

static void gop_done(struct gmem_op *op, int rc);

static nvme_status prp_list(struct nvme_req *req, uint64_t addr);
static nvme_status sgl_segment(struct nvme_req *req, uint64_t addr, uint32_t len, bool last);

/* ---- messages ---- */

/* 1 done, 0 later, -errno. The table is held while a message is out: nobody unmaps under it. */
int nvme_gop_submit(struct nvme_req *req, enum nvme_gop what, uint64_t iova, void *buf, uint32_t len, bool write)
{
	struct gmem *g = &req->ctrl->dev.gmem;
	int rc;

	req->state = (int)what;
	req->gop.iova = iova;
	req->gop.buf = buf;
	req->gop.len = len;
	req->gop.write = write;
	req->gop.ring = what == NVME_GOP_CQE_BODY || what == NVME_GOP_CQE_LAST;
	req->gop.done = gop_done;
	req->gop.ctx = req;
	gmem_hold(g);
	rc = gmem_submit(g, &req->gop);
	if (rc != 0)
		gmem_release(g);
	if (rc != 0 && req->gop.touch)
		req->touch = req->gop.touch;
	return rc;
}

static nvme_status list_took(struct nvme_req *req);

static void gop_done(struct gmem_op *op, int rc)
{
	struct nvme_req *req = op->ctx;
	nvme_status st;

	gmem_release(&req->ctrl->dev.gmem);
	if (op->touch)
		req->touch = op->touch;
	switch ((enum nvme_gop)req->state) {
	case NVME_GOP_FETCH:
		nvme_sq_fetched(req, rc);
		return;
	case NVME_GOP_CQE_BODY:
	case NVME_GOP_CQE_LAST:
		nvme_cq_posted(req, rc);
		return;
	case NVME_GOP_LIST:
		st = rc ? NVME_DATA_TRANSFER_ERROR : !req->sq ? NVME_ABORT_SQ_DELETED : list_took(req);
		if (st != NVME_ASYNC)
			nvme_req_mapped(req, st);
		return;
	case NVME_GOP_IN:
	case NVME_GOP_OUT:
		st = rc ? NVME_DATA_TRANSFER_ERROR : NVME_SUCCESS;
		if (st == NVME_SUCCESS && req->sq) {
			bool in = req->state == NVME_GOP_IN;

			req->map_len += req->gop.len;
			req->xfer_at++;
			st = nvme_xfer_move(req, in);
		}
		if (st != NVME_ASYNC)
			nvme_req_moved(req, req->state == NVME_GOP_IN, st);
	}
}

/* ---- segments ---- */

/* Neighbours become one segment: fewer copies, fewer marks. */
static void seg_add(struct nvme_req *req, uint64_t iova, uint32_t len)
{
	int n = req->iovcnt;

	req->map_len += len;
	if (n && iova != BIT_BUCKET && req->iova[n - 1] != BIT_BUCKET &&
	    req->iova[n - 1] + req->iov[n - 1].iov_len == iova) {
		req->iov[n - 1].iov_len += len;
		return;
	}
	req->iova[n] = iova;
	req->iov[n].iov_len = len;
	req->iov[n].iov_base = NULL;
	req->iovcnt = n + 1;
}

static nvme_status list_read(struct nvme_req *req, uint64_t addr, void *into, uint32_t bytes)
{
	int rc = nvme_gop_submit(req, NVME_GOP_LIST, addr, into, bytes, false);

	if (rc < 0)
		return NVME_DATA_TRANSFER_ERROR;
	return rc ? list_took(req) : NVME_ASYNC;
}

static bool is_sgl(const struct nvme_req *req)
{
	return req->sqe.flags & NVME_PSDT_MASK;
}

/* ---- PRP (Base 4.3.1): only the first entry may start inside a page ---- */

static nvme_status prp_map(struct nvme_req *req)
{
	uint64_t prp1 = le64_get(req->sqe.prp1), prp2 = le64_get(req->sqe.prp2);
	uint32_t room = NVME_PAGE - (prp1 & (NVME_PAGE - 1));

	if (prp1 & 3)
		return NVME_PRP_OFFSET;
	seg_add(req, prp1, MIN(req->len, room));
	if (req->map_len == req->len)
		return NVME_SUCCESS;
	if (req->len - req->map_len > NVME_PAGE)
		return prp2 & 7 ? NVME_PRP_OFFSET : prp_list(req, prp2);
	if (prp2 & (NVME_PAGE - 1))
		return NVME_PRP_OFFSET;
	seg_add(req, prp2, req->len - req->map_len);
	return NVME_SUCCESS;
}

/* As many entries as this page of the list holds; the last one is a pointer to the next page if more are needed. */
static nvme_status prp_list(struct nvme_req *req, uint64_t addr)
{
	uint32_t need = (req->len - req->map_len + NVME_PAGE - 1) / NVME_PAGE;
	uint32_t room = (NVME_PAGE - (uint32_t)(addr & (NVME_PAGE - 1))) / 8;

	req->map_last = need <= room;
	req->map_want = MIN(need, room);
	return list_read(req, addr, &req->iova[req->iovcnt], 8 * req->map_want);
}

static nvme_status prp_took(struct nvme_req *req)
{
	uint32_t want = req->map_want, at = (uint32_t)req->iovcnt;

	for (uint32_t i = 0; i < want; i++) {
		le64 raw;
		uint64_t e;

		memcpy(&raw, &req->iova[at + i], 8);
		e = le64_get(raw);
		if (e & (NVME_PAGE - 1))
			return NVME_PRP_OFFSET;
		if (i + 1 == want && !req->map_last)
			return prp_list(req, e);
		seg_add(req, e, MIN(req->len - req->map_len, (uint32_t)NVME_PAGE));
	}
	return NVME_SUCCESS;
}

/* ---- SGL (Base 4.3.2) ---- */

static int segs_max(const struct nvme_req *req) { return req->wide ? NVME_WIDE_IOV : NVME_IOV_MAX; }

/* A descriptor of data. Bit buckets count where the controller is the source, and are ignored where the host is. */
static nvme_status sgl_data(struct nvme_req *req, const struct nvme_sgl *d)
{
	uint32_t len = le32_get(d->len);
	bool bucket = d->type >> 4 == NVME_SGL_BIT_BUCKET;

	if (bucket && !(req->row->flags & NVME_ROW_OUT))
		return NVME_SUCCESS;
	if (len > req->len - req->map_len)
		return NVME_SGL_DATA_LENGTH;
	if (!len)
		return NVME_SUCCESS;
	if (req->iovcnt == segs_max(req))
		return NVME_INVALID_SGL_COUNT;
	if (!bucket && le64_get(d->addr) == BIT_BUCKET)
		return NVME_DATA_TRANSFER_ERROR;	/* no memory is there, and it must not pass for a bucket */
	seg_add(req, bucket ? BIT_BUCKET : le64_get(d->addr), len);
	return NVME_SUCCESS;
}

static nvme_status sgl_end(const struct nvme_req *req)
{
	return req->map_len == req->len ? NVME_SUCCESS : NVME_SGL_DATA_LENGTH;
}

/* Data, or the way to the next segment, which only the last descriptor of a segment that is not the last may be. */
static nvme_status sgl_step(struct nvme_req *req, const struct nvme_sgl *d, bool may_chain, bool *chained)
{
	unsigned type = d->type >> 4;

	*chained = false;
	if (d->type & 15 || type > NVME_SGL_LAST)
		return NVME_SGL_TYPE;
	if (type == NVME_SGL_DATA || type == NVME_SGL_BIT_BUCKET)
		return sgl_data(req, d);
	if (!may_chain)
		return NVME_INVALID_SGL_SEGMENT;
	*chained = true;
	return sgl_segment(req, le64_get(d->addr), le32_get(d->len), type == NVME_SGL_LAST);
}

static nvme_status sgl_map(struct nvme_req *req)
{
	struct nvme_sgl d;
	bool chained;
	nvme_status st;

	memcpy(&d, &req->sqe.prp1, sizeof(d));
	st = sgl_step(req, &d, true, &chained);
	return st == NVME_SUCCESS && !chained ? sgl_end(req) : st;
}

static nvme_status sgl_segment(struct nvme_req *req, uint64_t addr, uint32_t len, bool last)
{
	uint32_t n = len / sizeof(struct nvme_sgl);
	nvme_status st = NVME_SUCCESS;

	if (!len || len % sizeof(struct nvme_sgl))
		return NVME_INVALID_SGL_SEGMENT;
	if (n > (uint32_t)(NVME_WIDE_IOV - req->iovcnt) || ++req->map_chains > SEGMENTS_MAX)
		return NVME_INVALID_SGL_COUNT;
	if (n > (uint32_t)(segs_max(req) - req->iovcnt))
		st = nvme_req_widen(req);
	if (st != NVME_SUCCESS)
		return st;
	req->map_last = last;
	req->map_want = n;
	return list_read(req, addr, &req->iov[req->iovcnt], len);
}

_Static_assert(sizeof(struct iovec) == sizeof(struct nvme_sgl), "SGL descriptors are read into iov[]");

static nvme_status sgl_took(struct nvme_req *req)
{
	uint32_t want = req->map_want, at = (uint32_t)req->iovcnt;
	bool last = req->map_last;

	for (uint32_t i = 0; i < want; i++) {
		struct nvme_sgl d;
		bool chained;
		nvme_status st;

		memcpy(&d, &req->iov[at + i], sizeof(d));
		st = sgl_step(req, &d, !last && i + 1 == want, &chained);
		if (st != NVME_SUCCESS || chained)
			return st;
	}
	return last ? sgl_end(req) : NVME_INVALID_SGL_SEGMENT;
}

static nvme_status list_took(struct nvme_req *req)
{
	return is_sgl(req) ? sgl_took(req) : prp_took(req);
}

nvme_status nvme_xfer_map(struct nvme_req *req)
{
	req->iovcnt = 0;
	req->map_len = 0;
	req->map_chains = 0;
	return is_sgl(req) ? sgl_map(req) : prp_map(req);
}

/* ---- reaching the segments ---- */

bool nvme_xfer_direct(struct nvme_req *req)
{
	struct gmem *g = &req->ctrl->dev.gmem;
	bool write = req->row->flags & NVME_ROW_OUT;

	for (int i = 0; i < req->iovcnt; i++) {
		if (req->iova[i] == BIT_BUCKET)
			return false;
		req->iov[i].iov_base = gmem_ptr(g, req->iova[i], req->iov[i].iov_len, write);
		if (!req->iov[i].iov_base)
			return false;
	}
	return true;
}

bool nvme_xfer_reachable(struct nvme_req *req)
{
	struct gmem *g = &req->ctrl->dev.gmem;
	bool write = req->row->flags & NVME_ROW_OUT;

	for (int i = 0; i < req->iovcnt; i++)
		if (req->iova[i] != BIT_BUCKET && !gmem_covers(g, req->iova[i], req->iov[i].iov_len, write))
			return false;
	return true;
}

void nvme_xfer_bounce(struct nvme_req *req)
{
	uint8_t *p = req->buf;

	for (int i = 0; i < req->iovcnt; i++) {
		req->iov[i].iov_base = p;
		p += req->iov[i].iov_len;
	}
}

/* From segment xfer_at on; the caller set xfer_at and map_len to 0. A row may have made len smaller. */
nvme_status nvme_xfer_move(struct nvme_req *req, bool in)
{
	while ((int)req->xfer_at < req->iovcnt && req->map_len < req->len) {
		uint32_t len = (uint32_t)MIN(req->iov[req->xfer_at].iov_len, req->len - req->map_len);
		uint64_t iova = req->iova[req->xfer_at];
		int rc = 1;

		if (iova != BIT_BUCKET)
			rc = nvme_gop_submit(req, in ? NVME_GOP_IN : NVME_GOP_OUT, iova, req->buf + req->map_len, len, !in);
		if (rc < 0)
			return NVME_DATA_TRANSFER_ERROR;
		if (rc == 0)
			return NVME_ASYNC;
		req->map_len += len;
		req->xfer_at++;
	}
	return NVME_SUCCESS;
}

#ifdef FERRY_BREAK_DIRTY_LATE
/* The broken build: a command's pages are marked when the next one completes, so the last ones are lost. */
void nvme_xfer_mark(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	for (int i = 0; i < c->late_count; i++)
		gmem_mark(&c->dev.gmem, c->late[i].iova, c->late[i].len);
	c->late_count = req->iovcnt;
	for (int i = 0; i < req->iovcnt; i++) {
		c->late[i].iova = req->iova[i];
		c->late[i].len = req->iov[i].iov_len;
	}
}
#else
/* A command that has lost its queue is not waited for like the others: the host gets its memory back by a reset. */
void nvme_xfer_mark(struct nvme_req *req)
{
	struct gmem *g = &req->ctrl->dev.gmem;
	uint64_t queued = g->touch.queued;

	for (int i = 0; i < req->iovcnt && g->watched; i++) {
		if (req->sq)
			gmem_mark(g, req->iova[i], req->iov[i].iov_len);
		else
			gmem_mark_ring(g, req->iova[i], req->iov[i].iov_len);
	}
	if (g->touch.queued != queued)
		req->touch = g->touch.queued;
}
#endif
