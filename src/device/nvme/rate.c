/* Rate limiting (NVM CS 1.3, FID 28h): the MMC slows an MC down so that a copy can catch up with it.
 *
 * Token buckets, as the book has them: a read takes bytes from total bandwidth and one from total IOPS; a write takes
 * bytes x ratio from total, bytes from write bandwidth, ratio from total IOPS, one from write IOPS. Lacking tokens delay a
 * command and never fail it. A value of 0 means that bucket does not limit (docs/choices.md).
 *
 * A bucket holds 10 ms worth, and at least one largest transfer, so a burst is bounded. A command bigger than the bucket (a large
 * Write Zeroes or Copy) waits for a full one and then takes it below zero: the long run is right and nothing starves. A command
 * that has waited for NVME_RATE_PATIENCE_S goes, tokens or not.
 *
 * Called by req.c before a counted command runs, and by features.c for the MMC. Device thread.
 */
#include "device/nvme/core.h"
#include "device/nvme/hmlm.h"
#include "device/nvme/pieces.h"

struct bucket { double *tok; double rate, cap, cost; };

enum { BUCKETS = 4 };

static const uint64_t scale_bytes[] = { MIB, 10 * MIB, 100 * MIB, GIB, 10 * GIB, 100 * GIB };

static bool limited(const struct nvme_ctrl *c)
{
	return le16_get(c->rate.cfg.rlc) & NVME_RLC_RLE;
}

static bool is_write(const struct nvme_req *req)
{
	switch (req->sqe.opc) {
	case NVME_NVM_WRITE:
	case NVME_NVM_WRITE_ZEROES:
	case NVME_NVM_WRITE_UNCORRECTABLE:
	case NVME_NVM_COPY:
	case NVME_NVM_DSM:
		return true;
	}
	return false;
}

/* Blocks that a deallocation leaves to be carried: those of allocation units that it does not cover whole. */
static uint64_t edge_blocks(const struct nvme_ns *ns, uint64_t nlb)
{
	return MIN(nlb, 2ull * ns->blk->alloc_blocks);
}

/* Bytes that the command moves or changes: that is what a mover has to catch up with. Of commands with a list only its length is
 * known before the data is there: the most that can be, of which nvme_rate_settle gives back what was too much. */
static uint64_t cost_bytes(const struct nvme_req *req)
{
	const struct nvme_sqe *s = &req->sqe;
	uint64_t blocks = 0;

	if (!req->ns)
		return 0;
	switch (s->opc) {
	case NVME_NVM_COPY:
		blocks = MIN((nvme_copy_nr0(s) + 1ull) * NVME_COPY_RANGE_BLOCKS, NVME_COPY_BLOCKS);
		break;
	case NVME_NVM_DSM:
		blocks = nvme_dsm_ad(s) ? (nvme_dsm_nr0(s) + 1) * edge_blocks(req->ns, UINT64_MAX) : 0;
		break;
	case NVME_NVM_WRITE_ZEROES:
		blocks = nvme_rw_deac(s) ? edge_blocks(req->ns, nvme_rw_nlb0(s) + 1u) : nvme_rw_nlb0(s) + 1u;
		break;
	case NVME_NVM_READ:
	case NVME_NVM_WRITE:
	case NVME_NVM_COMPARE:
	case NVME_NVM_VERIFY:
		blocks = nvme_rw_nlb0(s) + 1u;
		break;
	}
	return blocks << req->ns->lba_shift;
}

static double ratio(uint8_t w, uint8_t r)
{
	return r ? (double)w / r : 1;
}

/* req NULL: what the buckets hold, at no cost. */
static void buckets(struct nvme_ctrl *c, const struct nvme_req *req, struct bucket b[BUCKETS])
{
	struct nvme_rate *l = &c->rate;
	const struct nvme_rate_limit *cfg = &l->cfg;
	double unit = (double)scale_bytes[MIN(cfg->bwsf, ARRAY_LEN(scale_bytes) - 1)];
	double bytes = req ? (double)cost_bytes(req) : 0, one = req ? 1 : 0;
	bool w = req && is_write(req);

	b[0] = (struct bucket){ &l->tok_tbw, unit * (double)le64_get(cfg->tbwv), 0, bytes * (w ? ratio(cfg->bw_w, cfg->bw_r) : 1) };
	b[1] = (struct bucket){ &l->tok_wbw, unit * (double)le64_get(cfg->wbwv), 0, w ? bytes : 0 };
	b[2] = (struct bucket){ &l->tok_tio, le32_get(cfg->tiops), 0, one * (w ? ratio(cfg->iops_w, cfg->iops_r) : 1) };
	b[3] = (struct bucket){ &l->tok_wio, le32_get(cfg->wiops), 0, w ? 1 : 0 };
	for (unsigned i = 0; i < BUCKETS; i++)
		b[i].cap = MAX(b[i].rate / 100, i < 2 ? (double)NVME_XFER_MAX : 1.0);
}

static void refill(struct nvme_ctrl *c, struct bucket b[BUCKETS])
{
	uint64_t now = nvme_now(c);
	double s = (double)(now - c->rate.last_ns) / (double)NS_PER_S;

	c->rate.last_ns = now;
	for (unsigned i = 0; i < BUCKETS; i++)
		*b[i].tok = MIN(*b[i].tok + b[i].rate * s, b[i].cap);
}

/* What a bucket must hold before the command may go. A millionth less, because sums of fractions fall short of their whole. */
static double needed(const struct bucket *b)
{
	return b->rate > 0 ? MIN(b->cost, b->cap) - 1e-6 : 0;
}

/* Until when a command that waits may be held. What lies in the queues waits again when it is fetched, behind those that we hold now:
 * all of them share one patience. */
static uint64_t patience_ends(struct nvme_ctrl *c, const struct nvme_req *req)
{
	c->rate.turns = MAX(c->rate.turns, 1 + (nvme_sq_backlog(c) + c->max_reqs - 1) / c->max_reqs);
	return req->throttled_ns + NVME_RATE_PATIENCE_S * NS_PER_S / c->rate.turns;
}

void nvme_rate_wait(struct nvme_ctrl *c, struct nvme_req *req)
{
	if (list_empty(&c->throttled))
		c->rate.turns = 1;
	req->throttled_ns = nvme_now(c);
}

/* No debt is left behind, or whoever comes later would wait for others' sins. */
static void admit_anyway(struct bucket b[BUCKETS])
{
	for (unsigned i = 0; i < BUCKETS; i++)
		*b[i].tok = MAX(*b[i].tok - b[i].cost, -b[i].cap);
}

bool nvme_rate_admit(struct nvme_ctrl *c, struct nvme_req *req)
{
	bool waits = req->where == NVME_REQ_WAITING;
	struct bucket b[BUCKETS];

	if (!limited(c))
		return true;
	buckets(c, req, b);
	refill(c, b);
	for (unsigned i = 0; i < BUCKETS; i++) {
		if (b[i].rate <= 0 || b[i].cost <= 0 || *b[i].tok >= needed(&b[i]))
			continue;
		if (!waits || c->rate.last_ns < patience_ends(c, req))
			return false;
		admit_anyway(b);
		return true;
	}
	for (unsigned i = 0; i < BUCKETS; i++)
		*b[i].tok -= b[i].cost;
	req->rate_bytes = cost_bytes(req);
	return true;
}

/* What the command really moves is known now. */
void nvme_rate_settle(struct nvme_req *req, uint64_t bytes)
{
	struct nvme_ctrl *c = req->ctrl;
	struct bucket b[BUCKETS];
	double back = (double)(req->rate_bytes - MIN(bytes, req->rate_bytes)) * (is_write(req) ? ratio(c->rate.cfg.bw_w, c->rate.cfg.bw_r) : 1);

	if (!req->rate_bytes || !limited(c))
		return;
	req->rate_bytes = 0;
	buckets(c, NULL, b);
	*b[0].tok = MIN(*b[0].tok + back, b[0].cap);
	if (is_write(req))
		*b[1].tok = MIN(*b[1].tok + back / ratio(c->rate.cfg.bw_w, c->rate.cfg.bw_r), b[1].cap);
}

/* Rounded up: a poll at this time admits the first waiting command. */
uint64_t nvme_rate_deadline(struct nvme_ctrl *c)
{
	struct nvme_req *first = LIST_ENTRY(c->throttled.next, struct nvme_req, link);
	struct bucket b[BUCKETS];
	double wait = 0;

	if (list_empty(&c->throttled))
		return UINT64_MAX;
	if (!limited(c))
		return nvme_now(c);
	buckets(c, first, b);
	refill(c, b);
	for (unsigned i = 0; i < BUCKETS; i++)
		if (b[i].rate > 0 && b[i].cost > 0)
			wait = MAX(wait, (needed(&b[i]) - *b[i].tok) / b[i].rate);
	return MIN(nvme_now(c) + (uint64_t)(wait * (double)NS_PER_S) + 1, patience_ends(c, first));
}

/* Full buckets; the limits stay. Not for a Controller Level Reset of an MC: a guest must not refill its buckets by one. */
void nvme_rate_reset(struct nvme_ctrl *c)
{
	struct bucket b[BUCKETS];

	buckets(c, NULL, b);
	for (unsigned i = 0; i < BUCKETS; i++)
		*b[i].tok = b[i].cap;
	c->rate.last_ns = nvme_now(c);
}

/* ---- FID 28h */

/* CDW11: TGT 23:16, 0h a controller; TID 15:0 its CNTLID. FFFDh and above name no controller. */
static nvme_status target(struct nvme_req *req, uint32_t cdw11, struct nvme_ctrl **mc)
{
	if (!nvme_hmlm_on(req->ctrl) || (cdw11 >> 16 & 0xff) || (cdw11 & 0xffff) >= 0xfffd)
		return NVME_INVALID_FIELD;
	*mc = nvme_mc_find(req->ctrl->ss, (uint16_t)cdw11);
	return *mc ? NVME_SUCCESS : NVME_INVALID_CNTLID;
}

/* Hard limits only: RLM 0, and whatever its width is, no other bit of RLC. */
static bool cfg_good(const struct nvme_rate_limit *cfg)
{
	return !(le16_get(cfg->rlc) & ~NVME_RLC_RLE) && cfg->bwsf < ARRAY_LEN(scale_bytes) &&
	       (!(le16_get(cfg->rlc) & NVME_RLC_RLE) || (cfg->iops_r && cfg->iops_w && cfg->bw_r && cfg->bw_w));
}

nvme_status nvme_fid_rate_set(struct nvme_req *req)
{
	struct nvme_rate_limit cfg;
	struct nvme_ctrl *mc;
	nvme_status st = target(req, nvme_set_features_cdw11(&req->sqe), &mc);

	if (st)
		return st;
	if (nvme_set_features_sv(&req->sqe))
		return NVME_FEATURE_NOT_SAVEABLE;
	if (req->len < sizeof(cfg))
		return NVME_INVALID_FIELD;
	memcpy(&cfg, req->buf, sizeof(cfg));
	if (!cfg_good(&cfg))
		return NVME_INVALID_FIELD;
	memset(cfg.vs, 0, sizeof(cfg.vs));	/* nothing of ours is there */
	mc->rate.cfg = cfg;
	nvme_rate_reset(mc);
	return NVME_SUCCESS;
}

nvme_status nvme_fid_rate_get(struct nvme_req *req)
{
	struct nvme_ctrl *mc;
	nvme_status st = target(req, nvme_get_features_cdw11(&req->sqe), &mc);

	if (st)
		return st;
	memcpy(req->buf, &mc->rate.cfg, MIN(req->len, sizeof(mc->rate.cfg)));
	return NVME_SUCCESS;
}
