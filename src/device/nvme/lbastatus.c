/* Get LBA Status, ATYPE 02h: which parts of a namespace are allocated (NVM CS 1.2, 4.2.1), so that a copy skips the holes.
 *
 * The other types report damaged blocks (GLSS) and are not offered. Works on every controller, for its own namespaces.
 * Called by the admin table; the backend's map is in memory, so nothing waits. Device thread.
 */
#include <errno.h>

#include "device/nvme/hmlm.h"

/* A backend may report its units one by one; a run of them is one descriptor however long. So one command looks at no more
 * than this many before it answers "incomplete" and lets others run. */
enum { LOOKS_MAX = 64 * 1024 };

struct scan {
	struct nvme_ns *ns;
	uint64_t unit;				/* blocks of the namespace */
	uint64_t end;				/* of the requested range */
	uint64_t from, to;			/* run being collected; from == to: none */
	struct nvme_lbas *d;
	uint32_t n, room;
};

nvme_status nvme_lba_status_size(struct nvme_req *req, uint32_t *len)
{
	uint32_t mndw0 = nvme_get_lba_status_mndw0(&req->sqe);

	if (mndw0 >= NVME_XFER_MAX / 4)
		return NVME_INVALID_FIELD;
	*len = (mndw0 + 1) * 4;
	return NVME_SUCCESS;
}

/* Next allocated part at or after lba, in whole units, clipped to the request. -ENOENT: none before end. */
static int next_part(const struct scan *s, uint64_t lba, uint64_t *from, uint64_t *to)
{
	struct blk *b = s->ns->blk;
	unsigned shift = s->ns->lba_shift;
	uint64_t start, len;
	int rc = blk_next_allocated(b, (lba << shift) / b->block_bytes, &start, &len);

	if (rc)
		return rc;
	*from = MAX(round_down(start * b->block_bytes >> shift, s->unit), lba);
	*to = MIN(round_up((start + len) * b->block_bytes >> shift, s->unit), s->end);
	return *from < *to ? 0 : -ENOENT;
}

/* Writes the collected run out; NLB is 32 bits, zero-based. False: no room. */
static bool flush(struct scan *s)
{
	while (s->from < s->to) {
		uint64_t n = MIN(s->to - s->from, 1ull << 32);

		if (s->n == s->room)
			return false;
		s->d[s->n++] = (struct nvme_lbas){
			.dslba = le64_of(s->from), .nlb0 = le32_of((uint32_t)(n - 1)), .stas = NVME_LBARS_ALLOCATED,
		};
		s->from += n;
	}
	return true;
}

/* 0 complete, -EAGAIN there is more than fits, -errno. */
static int scan_run(struct scan *s, uint64_t lba)
{
	uint64_t from, to;
	int rc = 0;

	for (unsigned looks = 0; lba < s->end && looks < LOOKS_MAX; looks++, lba = to) {
		rc = next_part(s, lba, &from, &to);
		if (rc)
			break;
		if (s->from < s->to && from == s->to) {
			s->to = to;
			continue;
		}
		if (!flush(s))
			return -EAGAIN;
		s->from = from;
		s->to = to;
	}
	if (rc && rc != -ENOENT)
		return rc;
	if (!flush(s))
		return -EAGAIN;
	return rc == -ENOENT || lba >= s->end ? 0 : -EAGAIN;
}

nvme_status nvme_lba_status(struct nvme_req *req)
{
	const struct nvme_sqe *sqe = &req->sqe;
	uint64_t slba = nvme_slba(sqe), rl = nvme_get_lba_status_rl(sqe);
	struct nvme_ns *ns = req->ns;
	struct nvme_lbas_head h = { 0 };
	struct scan s = { .ns = ns, .d = (void *)(req->buf + sizeof(h)) };
	int rc;

	if (nvme_get_lba_status_atype(sqe) != NVME_ATYPE_ALLOCATED)
		return NVME_INVALID_FIELD;
	if (slba >= ns->nsze)
		return NVME_LBA_OUT_OF_RANGE;
	memset(req->buf, 0, req->len);
	s.unit = MAX((uint64_t)ns->blk->alloc_blocks * ns->blk->block_bytes >> ns->lba_shift, 1);
	s.end = rl ? MIN(slba + rl, ns->nsze) : ns->nsze;
	s.room = req->len > sizeof(h) ? (req->len - (uint32_t)sizeof(h)) / sizeof(struct nvme_lbas) : 0;
	rc = scan_run(&s, slba);
	if (rc && rc != -EAGAIN)
		return NVME_INTERNAL_ERROR;
	h.nlsd = le32_of(s.n);
	h.cmpc = rc ? NVME_CMPC_INCOMPLETE : NVME_CMPC_COMPLETE;
	memcpy(req->buf, &h, MIN(req->len, sizeof(h)));
	return NVME_SUCCESS;
}
