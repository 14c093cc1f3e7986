/* What drives commands of several backend requests, and the judgements all data commands share.
 *
 * Called by io.c, ranges.c, format.c. Device thread.
 */
#include "device/nvme/pieces.h"

static const struct nvme_pieces *pieces_of(struct nvme_req *r)
{
	return (const struct nvme_pieces *)(uintptr_t)r->w[3];
}

static nvme_status pieces_next(struct nvme_req *r, nvme_status status)
{
	/* Its queue is gone (reset): nobody will hear the answer, and nothing more may be changed. */
	if (status == NVME_SUCCESS)
		status = r->sq ? pieces_of(r)->next(r) : NVME_ABORT_SQ_DELETED;
	if (status != NVME_ASYNC && pieces_of(r)->end)
		pieces_of(r)->end(r, status);
	return status;
}

static void piece_done(struct nvme_req *r, int rc)
{
	nvme_status status = pieces_next(r, pieces_of(r)->done(r, rc));

	if (status != NVME_ASYNC)
		nvme_req_done(r, status);
}

nvme_status nvme_piece(struct nvme_req *r, enum blk_op op, uint64_t lba, uint64_t nlb, const struct iovec *iov, int iovcnt)
{
	return nvme_req_blk(r, op, lba, nlb, iov, iovcnt, piece_done);
}

nvme_status nvme_pieces_run(struct nvme_req *r, const struct nvme_pieces *p)
{
	r->w[3] = (uint64_t)(uintptr_t)p;
	return pieces_next(r, NVME_SUCCESS);
}

/* SMART counts what the medium could not do, not what it was not allowed to. */
static nvme_status status_of(struct nvme_req *r, int rc, enum blk_op op)
{
	nvme_status status = nvme_blk_status(rc, op);

	if (status == NVME_UNRECOVERED_READ || status == NVME_WRITE_FAULT)
		r->ctrl->smart.media_errors++;
	return status;
}

nvme_status nvme_status_of_read(struct nvme_req *r, int rc) { return status_of(r, rc, BLK_READ); }
nvme_status nvme_status_of_write(struct nvme_req *r, int rc) { return status_of(r, rc, BLK_WRITE); }

/* The end of a namespace ends its last unit. first == last: no whole unit. */
void nvme_io_whole_units(const struct nvme_ns *ns, uint64_t slba, uint64_t nlb, uint64_t *first, uint64_t *last)
{
	uint64_t unit = ns->blk->alloc_blocks, end = slba + nlb;

	*first = round_up(slba, unit);
	*last = end == ns->nsze ? end : round_down(end, unit);
	if (*first >= *last)
		*first = *last = slba;
}

static void log_part(struct nvme_req *r, uint64_t from, uint64_t to, bool dealloc)
{
	if (from < to)
		nvme_log_change(r->ctrl, r->ns, from, to - from, dealloc);
}

/* What is gone and what is changed are told apart: a deallocation of nearly everything, off by one block, must not make a mover
 * carry nearly everything. */
void nvme_io_changed(struct nvme_req *r, uint64_t slba, uint64_t nlb, bool dealloc)
{
	uint64_t first = slba, last = slba, end = slba + nlb;

	if (dealloc)
		nvme_io_whole_units(r->ns, slba, nlb, &first, &last);
	log_part(r, slba, first, false);
	log_part(r, first, last, true);
	log_part(r, last, end, false);
}

bool nvme_io_write_through(const struct nvme_req *r)
{
	return nvme_rw_fua(&r->sqe) || !(r->ctrl->feat.vwc & 1);
}
