/* The NVM command set's table, and its commands on one range of blocks.
 *
 * Called by req.c, which has judged fuse, data pointer kind, namespace (and that it is not being formatted) and transfer size,
 * and has brought the data.
 * Commands that carry a list of ranges are in ranges.c. Device thread.
 *
 * Design rule 2 lives here: a change is logged after the medium has it and before nvme_req_done() shows the completion;
 * a change that failed halfway is logged too, because blocks may hold either content (HMLM-RING-21).
 *
 * Protection information: no namespace here has any, so a command that asks for it (PRINFO, STC) is refused rather than
 * run without the protection its sender counts on.
 */
#include "device/nvme/pieces.h"

enum { RW_CETYPE = 0xf << 16, RW_DTYPE = 0xf << 20, RW_STC = 1 << 24 };

static uint64_t rw_nlb(const struct nvme_req *r) { return (uint64_t)nvme_rw_nlb0(&r->sqe) + 1; }

static nvme_status rw_judge(struct nvme_req *r)
{
	uint32_t refused = RW_CETYPE | RW_STC;

	/* Directives are not supported; Write Zeroes has NSZ in the same bits, not supported either. */
	if (r->sqe.opc == NVME_NVM_WRITE || r->sqe.opc == NVME_NVM_WRITE_ZEROES)
		refused |= RW_DTYPE;
	if (nvme_rw_prinfo(&r->sqe) || le32_get(r->sqe.cdw12) & refused)
		return NVME_INVALID_FIELD;
	if (!range_inside(nvme_slba(&r->sqe), rw_nlb(r), r->ns->nsze))
		return NVME_LBA_OUT_OF_RANGE;
	return NVME_SUCCESS;
}

/* Judged before any data moves. NLB is zero-based here and nowhere behind. At most 2^16 blocks of 2^12: fits. */
static nvme_status rw_size(struct nvme_req *r, uint32_t *len)
{
	*len = (uint32_t)(rw_nlb(r) << r->ns->lba_shift);
	return rw_judge(r);
}

static void finish(struct nvme_req *r, nvme_status status)
{
	nvme_req_done(r, status);
}

/* ---- Read */

static void count_read(struct nvme_req *r)
{
	r->ctrl->smart.host_reads++;
	r->ctrl->smart.units_read += r->len >> 9;
}

static void read_flushed(struct nvme_req *r, int rc)
{
	count_read(r);
	finish(r, nvme_status_of_read(r, rc));
}

/* FUA: what is returned must be durable. A flush behind the read covers all the read can have seen. */
static void read_done(struct nvme_req *r, int rc)
{
	if (rc == 0 && nvme_rw_fua(&r->sqe)) {
		nvme_req_blk(r, BLK_FLUSH, 0, 0, NULL, 0, read_flushed);
		return;
	}
	if (rc == 0)
		count_read(r);
	finish(r, nvme_status_of_read(r, rc));
}

static nvme_status io_read(struct nvme_req *r)
{
	return nvme_req_blk(r, BLK_READ, nvme_slba(&r->sqe), rw_nlb(r), r->iov, r->iovcnt, read_done);
}

/* ---- Write */

static void write_done(struct nvme_req *r, int rc)
{
#ifndef FERRY_BREAK_LOG_EARLY
	nvme_io_changed(r, nvme_slba(&r->sqe), rw_nlb(r), false);
#endif
	if (rc == 0) {
		r->ctrl->smart.host_writes++;
		r->ctrl->smart.units_written += r->len >> 9;
	}
	finish(r, nvme_status_of_write(r, rc));
}

static nvme_status io_write(struct nvme_req *r)
{
#ifdef FERRY_BREAK_LOG_EARLY
	nvme_io_changed(r, nvme_slba(&r->sqe), rw_nlb(r), false);
#endif
	r->bio.fua = nvme_io_write_through(r);
	return nvme_req_blk(r, BLK_WRITE, nvme_slba(&r->sqe), rw_nlb(r), r->iov, r->iovcnt, write_done);
}

/* ---- Compare */

static bool iov_equals(const struct iovec *iov, int n, const uint8_t *p)
{
	for (int i = 0; i < n; p += iov[i++].iov_len)
		if (memcmp(iov[i].iov_base, p, iov[i].iov_len))
			return false;
	return true;
}

static void compare_done(struct nvme_req *r, int rc)
{
	nvme_status status = nvme_status_of_read(r, rc);

	if (status == NVME_SUCCESS) {
		count_read(r);
		if (!iov_equals(r->iov, r->iovcnt, r->scratch))
			status = NVME_COMPARE_FAILURE;
	}
	finish(r, status);
}

static nvme_status io_compare(struct nvme_req *r)
{
	r->siov = (struct iovec){ r->scratch, r->len };
	return nvme_req_blk(r, BLK_READ, nvme_slba(&r->sqe), rw_nlb(r), &r->siov, 1, compare_done);
}

/* ---- Write Zeroes: no data, so its size is bounded by NLB alone (WZSL). A medium may have to write them all, so it gets a poll's share at
 * a time; what it gives back costs it little, and cut into parts it could keep the edges of each. w[0] next block, w[1] blocks left,
 * step: the flush at the end */

static nvme_status zeroes_next(struct nvme_req *r)
{
	bool deac = nvme_rw_deac(&r->sqe);
	uint64_t n = deac ? r->w[1] : MIN(r->w[1], (uint64_t)NVME_WORK_MAX >> r->ns->lba_shift), lba = r->w[0];

	if (!n)
		return r->step++ || !nvme_io_write_through(r) ? NVME_SUCCESS : nvme_piece(r, BLK_FLUSH, 0, 0, NULL, 0);
	r->w[0] += n;
	r->w[1] -= n;
	return nvme_piece(r, deac ? BLK_DEALLOC : BLK_ZERO, lba, n, NULL, 0);
}

/* One entry for what it got to. After a failure nobody knows what is deallocated. */
static void zeroes_end(struct nvme_req *r, nvme_status status)
{
	uint64_t slba = nvme_slba(&r->sqe);

	(void)status;
	(void)slba;
#ifndef FERRY_BREAK_LOG_EARLY
	nvme_io_changed(r, slba, r->w[0] - slba, status == NVME_SUCCESS && nvme_rw_deac(&r->sqe));
#endif
}

static const struct nvme_pieces zeroes_pieces = { .next = zeroes_next, .done = nvme_status_of_write, .end = zeroes_end };

static nvme_status io_write_zeroes(struct nvme_req *r)
{
	nvme_status status = rw_judge(r);

	if (status != NVME_SUCCESS)
		return status;
#ifdef FERRY_BREAK_LOG_EARLY
	nvme_io_changed(r, nvme_slba(&r->sqe), rw_nlb(r), nvme_rw_deac(&r->sqe));
#endif
	r->w[0] = nvme_slba(&r->sqe);
	r->w[1] = rw_nlb(r);
	return nvme_pieces_run(r, &zeroes_pieces);
}

/* ---- Verify: reads everything, keeps nothing. w[0] next block, w[1] blocks left, w[2] blocks being read */

static nvme_status verify_next(struct nvme_req *r)
{
	uint64_t n = MIN(r->w[1], (uint64_t)NVME_XFER_MAX >> r->ns->lba_shift), lba = r->w[0];

	if (!n)
		return NVME_SUCCESS;
	r->w[0] += n;
	r->w[1] -= n;
	r->siov = (struct iovec){ r->scratch, n << r->ns->lba_shift };
	return nvme_piece(r, BLK_READ, lba, n, &r->siov, 1);
}

static const struct nvme_pieces verify_pieces = { .next = verify_next, .done = nvme_status_of_read };

static nvme_status io_verify(struct nvme_req *r)
{
	nvme_status status = rw_judge(r);

	if (status != NVME_SUCCESS)
		return status;
	r->w[0] = nvme_slba(&r->sqe);
	r->w[1] = rw_nlb(r);
	return nvme_pieces_run(r, &verify_pieces);
}

/* ---- Flush. For FFFFFFFFh (VWC bits 2:1 = 11b) it walks the attached namespaces; req->ns is the one being flushed and
 * is held like any other command's, so that it cannot be removed meanwhile. idx: next guest NSID to look at. */

static void flush_hold(struct nvme_req *r, struct nvme_ns *ns)
{
	if (r->ns)
		r->ns->inflight--;
	r->ns = ns;
	ns->inflight++;
}

static nvme_status flush_next(struct nvme_req *r)
{
	while (r->idx <= NVME_NSID_MAX) {
		struct nvme_ns *ns = r->ctrl->attach[r->idx++];

		if (!ns)
			continue;
		if (ns->busy_format)
			return NVME_FORMAT_IN_PROGRESS;
		flush_hold(r, ns);
		return nvme_piece(r, BLK_FLUSH, 0, 0, NULL, 0);
	}
	return NVME_SUCCESS;
}

static const struct nvme_pieces flush_pieces = { .next = flush_next, .done = nvme_status_of_write };

static void flush_done(struct nvme_req *r, int rc)
{
	finish(r, nvme_status_of_write(r, rc));
}

nvme_status nvme_flush(struct nvme_req *r)
{
	if (!r->ns) {
		r->idx = 1;
		return nvme_pieces_run(r, &flush_pieces);
	}
	return nvme_req_blk(r, BLK_FLUSH, 0, 0, NULL, 0, flush_done);
}

#define SUPP NVME_EFFECTS_SUPP
#define LBCC NVME_EFFECTS_LBCC

const struct nvme_cmd_row nvme_io_rows[] = {
	{ NVME_NVM_FLUSH, NVME_ROW_NS_OR_ALL, NULL, nvme_flush, SUPP },
	{ NVME_NVM_WRITE, NVME_ROW_IN | NVME_ROW_NS | NVME_ROW_RATE, rw_size, io_write, SUPP | LBCC },
	{ NVME_NVM_READ, NVME_ROW_OUT | NVME_ROW_NS | NVME_ROW_RATE, rw_size, io_read, SUPP },
	{ NVME_NVM_COMPARE, NVME_ROW_IN | NVME_ROW_SCRATCH | NVME_ROW_NS | NVME_ROW_RATE, rw_size, io_compare, SUPP },
	{ NVME_NVM_WRITE_ZEROES, NVME_ROW_NS | NVME_ROW_RATE, NULL, io_write_zeroes, SUPP | LBCC },
	{ NVME_NVM_DSM, NVME_ROW_IN | NVME_ROW_LINEAR | NVME_ROW_NS | NVME_ROW_RATE, nvme_dsm_size, nvme_dsm, SUPP | LBCC },
	{ NVME_NVM_VERIFY, NVME_ROW_SCRATCH | NVME_ROW_NS | NVME_ROW_RATE, NULL, io_verify, SUPP },
	{ NVME_NVM_COPY, NVME_ROW_IN | NVME_ROW_LINEAR | NVME_ROW_SCRATCH | NVME_ROW_NS | NVME_ROW_RATE,
	  nvme_copy_size, nvme_copy, SUPP | LBCC },
	{ 0 }
};
