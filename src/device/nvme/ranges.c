/* Commands that carry a list of ranges: Dataset Management and Copy.
 *
 * Called through nvme_io_rows (io.c). The list is in req->buf, our own copy: what is judged is what is done. Everything is
 * judged before anything is changed, so a refused command leaves the data as it was. Device thread.
 */
#include "device/nvme/pieces.h"

/* ---- Dataset Management. Only deallocate acts; the other attributes are hints we have no use for. idx: next range */

nvme_status nvme_dsm_size(struct nvme_req *r, uint32_t *len)
{
	*len = (nvme_dsm_nr0(&r->sqe) + 1) * sizeof(struct nvme_dsm_range);
	return NVME_SUCCESS;
}

static const struct nvme_dsm_range *dsm_range(const struct nvme_req *r, uint32_t i)
{
	return (const struct nvme_dsm_range *)r->buf + i;
}

static nvme_status dsm_judge(struct nvme_req *r)
{
	for (uint32_t i = 0; i <= nvme_dsm_nr0(&r->sqe); i++) {
		const struct nvme_dsm_range *d = dsm_range(r, i);

		/* NLB counts from 1 here, unlike in Read; a range of no blocks names none that could be out of range. */
		if (le32_get(d->nlb) && !range_inside(le64_get(d->slba), le32_get(d->nlb), r->ns->nsze))
			return NVME_LBA_OUT_OF_RANGE;
	}
	return NVME_SUCCESS;
}

static nvme_status dsm_next(struct nvme_req *r)
{
	for (; r->idx <= nvme_dsm_nr0(&r->sqe); r->idx++) {
		const struct nvme_dsm_range *d = dsm_range(r, r->idx);

		if (!le32_get(d->nlb))
			continue;
#ifdef FERRY_BREAK_LOG_EARLY
		nvme_io_changed(r, le64_get(d->slba), le32_get(d->nlb), true);
#endif
		return nvme_piece(r, BLK_DEALLOC, le64_get(d->slba), le32_get(d->nlb), NULL, 0);
	}
	return NVME_SUCCESS;
}

static nvme_status dsm_done(struct nvme_req *r, int rc)
{
	const struct nvme_dsm_range *d = dsm_range(r, r->idx++);
	bool log = true;

#ifdef FERRY_BREAK_DSM_RANGE
	log = r->idx <= nvme_dsm_nr0(&r->sqe);
#endif
#ifdef FERRY_BREAK_LOG_EARLY
	log = false;
#endif
	if (log)
		nvme_io_changed(r, le64_get(d->slba), le32_get(d->nlb), rc == 0);
	return nvme_status_of_write(r, rc);
}

static const struct nvme_pieces dsm_pieces = { .next = dsm_next, .done = dsm_done };

/* Blocks of allocation units that a range covers in part: a mover has to carry those. */
static uint64_t dsm_edges(const struct nvme_req *r)
{
	uint64_t n = 0;

	for (uint32_t i = 0; nvme_dsm_ad(&r->sqe) && i <= nvme_dsm_nr0(&r->sqe); i++) {
		uint64_t slba = le64_get(dsm_range(r, i)->slba), nlb = le32_get(dsm_range(r, i)->nlb), first, last;

		nvme_io_whole_units(r->ns, slba, nlb, &first, &last);
		n += nlb - (last - first);
	}
	return n;
}

nvme_status nvme_dsm(struct nvme_req *r)
{
	nvme_status status = dsm_judge(r);

	nvme_rate_settle(r, status == NVME_SUCCESS ? dsm_edges(r) << r->ns->lba_shift : 0);
	if (status != NVME_SUCCESS)
		return status;
	if (!nvme_dsm_ad(&r->sqe))
		return NVME_SUCCESS;
	r->idx = 0;
	return nvme_pieces_run(r, &dsm_pieces);
}

/* ---- Copy, descriptor format 0h. idx: source range; w[0] blocks of it done; w[1] next destination block;
 * w[2] blocks in scratch; step: what the request being out is */

enum { COPY_READING, COPY_WRITING, COPY_FLUSHING, COPY_FLUSHED };
enum { COPY_CETYPE = 0xf << 16, COPY_DTYPE = 0xf << 20, COPY_STC = 1 << 24 | 1 << 25 };

nvme_status nvme_copy_size(struct nvme_req *r, uint32_t *len)
{
	*len = (nvme_copy_nr0(&r->sqe) + 1) * sizeof(struct nvme_copy_range);
	if (nvme_copy_df(&r->sqe) != 0 || nvme_copy_prinfor(&r->sqe) || nvme_copy_prinfow(&r->sqe) ||
	    le32_get(r->sqe.cdw12) & (COPY_CETYPE | COPY_DTYPE | COPY_STC))
		return NVME_INVALID_FIELD;
	if (nvme_copy_nr0(&r->sqe) >= NVME_COPY_RANGES)
		return NVME_SIZE_LIMIT;
	return NVME_SUCCESS;
}

static const struct nvme_copy_range *copy_range(const struct nvme_req *r, uint32_t i)
{
	return (const struct nvme_copy_range *)r->buf + i;
}
static uint64_t copy_nlb(const struct nvme_copy_range *c) { return (uint64_t)le16_get(c->nlb0) + 1; }

/* Limits first (they need no geometry), then each source, then the destination as a whole. */
static nvme_status copy_judge(struct nvme_req *r)
{
	uint64_t total = 0, sdlba = nvme_slba(&r->sqe);
	uint32_t nr = nvme_copy_nr0(&r->sqe) + 1;

	for (uint32_t i = 0; i < nr; i++) {
		if (copy_nlb(copy_range(r, i)) > NVME_COPY_RANGE_BLOCKS)
			return NVME_SIZE_LIMIT;
		total += copy_nlb(copy_range(r, i));
	}
	if (total > NVME_COPY_BLOCKS)
		return NVME_SIZE_LIMIT;
	for (uint32_t i = 0; i < nr; i++)
		if (!range_inside(le64_get(copy_range(r, i)->slba), copy_nlb(copy_range(r, i)), r->ns->nsze))
			return NVME_LBA_OUT_OF_RANGE;
	if (!range_inside(sdlba, total, r->ns->nsze))
		return NVME_LBA_OUT_OF_RANGE;
	for (uint32_t i = 0; i < nr; i++)
		if (ranges_overlap(le64_get(copy_range(r, i)->slba), copy_nlb(copy_range(r, i)), sdlba, total))
			return NVME_OVERLAPPING_IO_RANGE;
	return NVME_SUCCESS;
}

static nvme_status copy_read(struct nvme_req *r)
{
	const struct nvme_copy_range *c = copy_range(r, r->idx);

	r->w[2] = MIN(copy_nlb(c) - r->w[0], (uint64_t)NVME_XFER_MAX >> r->ns->lba_shift);
	r->siov = (struct iovec){ r->scratch, r->w[2] << r->ns->lba_shift };
	return nvme_piece(r, BLK_READ, le64_get(c->slba) + r->w[0], r->w[2], &r->siov, 1);
}

static nvme_status copy_next(struct nvme_req *r)
{
	switch (r->step) {
	case COPY_READING:
		return copy_read(r);
	case COPY_WRITING:
#ifdef FERRY_BREAK_LOG_EARLY
		nvme_io_changed(r, r->w[1], r->w[2], false);
#endif
		return nvme_piece(r, BLK_WRITE, r->w[1], r->w[2], &r->siov, 1);
	case COPY_FLUSHING:
		return nvme_piece(r, BLK_FLUSH, 0, 0, NULL, 0);
	}
	return NVME_SUCCESS;
}

/* The next part of the range, the next range, or the end. */
static void copy_advance(struct nvme_req *r)
{
	r->ctrl->smart.units_written += r->w[2] << r->ns->lba_shift >> 9;
	r->w[1] += r->w[2];
	r->w[0] += r->w[2];
	r->step = COPY_READING;
	if (r->w[0] < copy_nlb(copy_range(r, r->idx)))
		return;
	r->w[0] = 0;
	if (++r->idx <= nvme_copy_nr0(&r->sqe))
		return;
	r->step = nvme_io_write_through(r) ? COPY_FLUSHING : COPY_FLUSHED;
}

static nvme_status copy_piece_done(struct nvme_req *r, int rc)
{
	switch (r->step) {
	case COPY_READING:
		r->step = COPY_WRITING;
		return nvme_status_of_read(r, rc);
	case COPY_WRITING:
#ifndef FERRY_BREAK_LOG_EARLY
		nvme_io_changed(r, r->w[1], r->w[2], false);
#endif
		if (rc == 0)
			copy_advance(r);
		return nvme_status_of_write(r, rc);
	}
	r->step = COPY_FLUSHED;
	return nvme_status_of_write(r, rc);
}

/* DW0 of a failed Copy: the first source range that is not at the destination whole. */
static void copy_end(struct nvme_req *r, nvme_status status)
{
	if (status != NVME_SUCCESS)
		r->dw0 = MIN(r->idx, nvme_copy_nr0(&r->sqe));
	else
		r->ctrl->smart.host_writes++;
}

static const struct nvme_pieces copy_pieces = { .next = copy_next, .done = copy_piece_done, .end = copy_end };

nvme_status nvme_copy(struct nvme_req *r)
{
	uint64_t total = 0;
	nvme_status status = copy_judge(r);

	for (uint32_t i = 0; i <= nvme_copy_nr0(&r->sqe) && status == NVME_SUCCESS; i++)
		total += copy_nlb(copy_range(r, i));
	nvme_rate_settle(r, total << r->ns->lba_shift);
	if (status != NVME_SUCCESS)
		return status;
	r->idx = 0;
	r->w[0] = 0;
	r->w[1] = nvme_slba(&r->sqe);
	r->step = COPY_READING;
	return nvme_pieces_run(r, &copy_pieces);
}
