/* Track Send and Track Receive (Base 2.1, 5.1.27 and 5.1.26): logging of user data changes on and off, and tracking of what
 * an MC writes into its host's memory.
 *
 * Called by the admin table on the MMC. The marks themselves are made by gmem after each DMA. Device thread.
 */
#include <errno.h>
#include <stdlib.h>

#include "device/nvme/hmlm.h"

/* Marks for this many granules per MC at most: 1 TiB at 4 KiB, 32 MiB of bits. */
static const uint64_t GRANULES_MAX = 1ull << 28;

/* ---- Log User Data Changes */

static nvme_status log_changes(struct nvme_req *req)
{
	unsigned lact = nvme_track_send_lact(&req->sqe);
	struct nvme_cdq *q;

	if (lact > 1)
		return NVME_INVALID_FIELD;
	q = nvme_cdq_find(req->ctrl, (uint16_t)nvme_track_send_cdqid(&req->sqe));
	if (!q)
		return NVME_INVALID_CDQ;
	if (q->mc->suspend != NVME_RUNNING)
		return NVME_CTRL_SUSPENDED;
	if (lact && q->logging)		/* one queue per MC, so nobody else can be logging for it */
		return NVME_INVALID_CDQ;
	if (lact && nvme_cdq_is_full(q))
		return NVME_CDQ_FULL;
	nvme_event_discard(req->ctrl, NVME_AET_ONESHOT, NVME_AEI_CDQ_FULL, q->id);
	if (lact)
		nvme_cdq_start(q);
	else
		nvme_cdq_stop(q);
	return NVME_SUCCESS;
}

/* ---- Track Memory Changes */

void nvme_track_stop(struct nvme_ctrl *mc)
{
	gmem_track_stop(&mc->dev.gmem);
	mc->tracked_by = NULL;
	mc->track_ranges = 0;
	mc->track_cursor = (struct gmem_cursor){ 0 };
}

static unsigned ranges_tracked(const struct nvme_subsys *ss, const struct nvme_ctrl *by) /* NULL: by anybody */
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_LEN(ss->ctrl); i++)
		if (ss->ctrl[i] && ss->ctrl[i]->tracked_by && (!by || ss->ctrl[i]->tracked_by == by))
			n += ss->ctrl[i]->track_ranges;
	return n;
}

static nvme_status judge_head(struct nvme_req *req, const struct nvme_track_mem *h)
{
	struct nvme_subsys *ss = req->ctrl->ss;
	struct nvme_hmlm_limits l = nvme_hmlm_limits(ss);
	uint64_t n = le32_get(h->rnmrtd);

	if (h->ver || h->rmrtg > l.track_shift || !n)
		return NVME_INVALID_FIELD;
	if (n + ranges_tracked(ss, req->ctrl) > l.track_ranges || n + ranges_tracked(ss, NULL) > l.track_ranges)
		return NVME_INVALID_FIELD;
	return NVME_SUCCESS;
}

/* Only what the MC's host has given us can be tracked; a range that is partly something else is refused. */
static nvme_status range_parse(struct gmem *g, const struct nvme_track_mem_range *d, unsigned shift, struct gmem_track_range *r)
{
	r->iova = le64_get(d->saddr);
	r->len = (uint64_t)le32_get(d->len) << shift;
	r->bits = NULL;
	if (r->iova & ((1ull << shift) - 1) || !r->len || !gmem_covers(g, r->iova, r->len, false))
		return NVME_INVALID_FIELD;
	return NVME_SUCCESS;
}

/* 38h tells what would be possible: the lowest granularity for these ranges, and how many of them at the asked one. */
static nvme_status too_much(struct nvme_req *req, const struct gmem_track_range *r, unsigned n, unsigned shift)
{
	uint64_t total = 0, granules = 0;
	unsigned fit = 0, coarse;

	for (unsigned i = 0; i < n; i++) {
		total += r[i].len;
		granules += r[i].len >> shift;
		fit += granules <= GRANULES_MAX;
	}
	for (coarse = shift; total >> coarse > GRANULES_MAX; coarse++)
		;
	req->dw0 = coarse - 12;
	req->dw1 = fit;
	return NVME_NOT_ENOUGH_RESOURCES;
}

static nvme_status track_install(struct nvme_req *req, struct nvme_ctrl *mc, struct gmem_track_range *r, unsigned n, unsigned shift)
{
	uint64_t granules = 0;
	int rc;

	for (unsigned i = 0; i < n; i++)
		granules += r[i].len >> shift;
	if (granules > GRANULES_MAX)
		return too_much(req, r, n, shift);
	rc = gmem_track_start(&mc->dev.gmem, r, n, shift);
	if (rc == -ENOMEM)
		return too_much(req, r, n, shift);
	if (rc)			/* ranges overlap */
		return NVME_INVALID_FIELD;
	mc->tracked_by = req->ctrl;
	mc->track_ranges = (uint16_t)n;
	mc->track_cursor = (struct gmem_cursor){ 0 };
	return NVME_SUCCESS;
}

static nvme_status track_start(struct nvme_req *req, struct nvme_ctrl *mc)
{
	const struct nvme_track_mem *h = (void *)req->buf;
	const struct nvme_track_mem_range *d = (void *)(req->buf + sizeof(*h));
	unsigned n = le32_get(h->rnmrtd), shift = 12 + h->rmrtg;
	struct gmem_track_range *r;
	nvme_status st = judge_head(req, h);

	if (st)
		return st;
	/* There is no length in the command: the first 8 bytes tell it. Fetched again they may say something else; then the
	 * host has changed them meanwhile and gets what it deserves. */
	if (!req->step++)
		return nvme_req_refetch(req, (uint32_t)(sizeof(*h) + n * sizeof(*d)));
	if (req->len != sizeof(*h) + n * sizeof(*d))
		return NVME_INVALID_FIELD;
	r = calloc(n, sizeof(*r));
	if (!r)
		return NVME_NOT_ENOUGH_RESOURCES;
	for (unsigned i = 0; !st && i < n; i++)
		st = range_parse(&mc->dev.gmem, &d[i], shift, &r[i]);
	if (!st)
		st = track_install(req, mc, r, n, shift);
	free(r);
	return st;
}

static nvme_status track_memory(struct nvme_req *req)
{
	struct nvme_ctrl *mc = nvme_mc_find(req->ctrl->ss, (uint16_t)nvme_track_send_cntlid(&req->sqe));
	bool start = nvme_track_send_tact(&req->sqe);

	if (!mc || (start && mc->tracked_by))
		return NVME_INVALID_CNTLID;
	if (mc->suspend != NVME_RUNNING)
		return NVME_CTRL_SUSPENDED;	/* the text does not limit this to a start */
	if (start)
		return track_start(req, mc);
	if (mc->tracked_by && mc->tracked_by != req->ctrl)
		return NVME_INVALID_CNTLID;
	nvme_track_stop(mc);
	return NVME_SUCCESS;
}

nvme_status nvme_track_send_size(struct nvme_req *req, uint32_t *len)
{
	bool data = nvme_track_send_sel(&req->sqe) == NVME_TRACK_MEMORY && nvme_track_send_tact(&req->sqe);

	*len = data ? sizeof(struct nvme_track_mem) : 0;
	return NVME_SUCCESS;
}

nvme_status nvme_track_send(struct nvme_req *req)
{
	if (!nvme_hmlm_on(req->ctrl))
		return NVME_INVALID_OPCODE;
	switch (nvme_track_send_sel(&req->sqe)) {
	case NVME_TRACK_LOG:
		return log_changes(req);
	case NVME_TRACK_MEMORY:
		return track_memory(req);
	}
	return NVME_INVALID_FIELD;
}

/* ---- Track Receive. Reported marks are gone: so they are put back when the report does not arrive (nvme_track_undelivered). */

nvme_status nvme_track_receive_size(struct nvme_req *req, uint32_t *len)
{
	uint32_t numdl0 = nvme_track_receive_numdl0(&req->sqe);

	if (numdl0 >= NVME_XFER_MAX / 4)
		return NVME_INVALID_FIELD;
	*len = (numdl0 + 1) * 4;
	return NVME_SUCCESS;
}

/* gmem's search goes on behind the last mark reported and comes back to the start, so that a page written all the time
 * cannot keep the others from being told. */
static uint32_t collect(struct nvme_ctrl *mc, struct nvme_tracked_range *d, uint32_t room)
{
	uint64_t iova, granules;
	uint32_t n = 0;

	while (n < room && !gmem_track_next(&mc->dev.gmem, &mc->track_cursor, UINT32_MAX, true, &iova, &granules))
		d[n++] = (struct nvme_tracked_range){ .saddr = le64_of(iova), .len = le32_of((uint32_t)granules) };
	return n;
}

static bool more(struct nvme_ctrl *mc)
{
	struct gmem_cursor look = mc->track_cursor;
	uint64_t iova, granules;

	return !gmem_track_next(&mc->dev.gmem, &look, 1, false, &iova, &granules);
}

nvme_status nvme_track_receive(struct nvme_req *req)
{
	struct nvme_ctrl *mc;
	struct nvme_tracked h = { 0 };
	uint32_t room = req->len > sizeof(h) ? (req->len - (uint32_t)sizeof(h)) / sizeof(struct nvme_tracked_range) : 0, n;

	if (!nvme_hmlm_on(req->ctrl))
		return NVME_INVALID_OPCODE;
	if (nvme_track_receive_sel(&req->sqe))
		return NVME_INVALID_FIELD;
	mc = nvme_mc_find(req->ctrl->ss, (uint16_t)nvme_track_receive_cntlid(&req->sqe));
	if (!mc || mc->tracked_by != req->ctrl)
		return NVME_INVALID_CNTLID;
	memset(req->buf, 0, req->len);
	n = collect(mc, (void *)(req->buf + sizeof(h)), room);
	/* NTMCD 0 must not say "more": a buffer without room for one descriptor learns nothing, and loses nothing. */
	h.attrb = (n && more(mc) ? NVME_TRACKED_MTR : 0) | (mc->suspend == NVME_SUSPENDED ? NVME_TRACKED_SUSP : 0);
	h.cntlid = le16_of(mc->cntlid);
	h.ntmcd = le32_of(n);
	h.rpmpg = le16_of((uint16_t)(mc->dev.gmem.track_shift - 12));
	memcpy(req->buf, &h, MIN(req->len, sizeof(h)));
	return NVME_SUCCESS;
}

/* The answer could not be written to the host (Base 2.1, Track Receive: only success consumes). Marking twice is harmless,
 * and so are ranges that are tracked no more. */
void nvme_track_undelivered(struct nvme_req *req)
{
	struct nvme_ctrl *mc = nvme_mc_find(req->ctrl->ss, (uint16_t)nvme_track_receive_cntlid(&req->sqe));
	const struct nvme_tracked *h = (void *)req->buf;
	const struct nvme_tracked_range *d = (void *)(req->buf + sizeof(*h));

	if (!mc || req->len < sizeof(*h))
		return;
	for (uint32_t i = 0; i < le32_get(h->ntmcd); i++)
		gmem_track_mark(&mc->dev.gmem, le64_get(d[i].saddr),
			  (uint64_t)le32_get(d[i].len) << (12 + le16_get(h->rpmpg)));
}
