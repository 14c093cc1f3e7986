/* Host Managed Live Migration: limits, the Identify fields that tell of them, and what resets do to it.
 *
 * Called from identify.c (fields), ctrl.c (resets) and the other migration files (limits). Device thread.
 */
#include "device/nvme/hmlm.h"

bool nvme_hmlm_on(const struct nvme_ctrl *c)
{
	return c->mmc && !c->ss->cfg.no_hmlm;
}

struct nvme_ctrl *nvme_mc_find(struct nvme_subsys *ss, uint16_t cntlid)
{
	struct nvme_ctrl *c = cntlid < NVME_CTRL_MAX ? ss->ctrl[cntlid] : NULL;

	return c && !c->mmc ? c : NULL;
}

static uint16_t or_default(uint16_t v, uint16_t dflt)
{
	return v ? v : dflt;
}

/* NMCMR must not be below MCMR (Base 2.1, Identify Controller), also where four times it no longer fits 16 bits. */
struct nvme_hmlm_limits nvme_hmlm_limits(const struct nvme_subsys *ss)
{
	const struct nvme_subsys_cfg *cfg = &ss->cfg;
	/* Track Memory Changes must fit one transfer: 8 bytes and 12 for each range. */
	uint16_t fit = (NVME_XFER_MAX - sizeof(struct nvme_track_mem)) / sizeof(struct nvme_track_mem_range);
	uint16_t prps = or_default(cfg->max_cdq_prps, 64);

	return (struct nvme_hmlm_limits){
		.udmqs = MIN(or_default(cfg->max_udmq, 64), NVME_CTRL_MAX),
		.cdq_prps = prps,
		.cdq_ranges = (uint16_t)MIN(4u * prps, 0xffffu),
		.track_ranges = MIN(or_default(cfg->max_track_ranges, 64), fit),
		.track_shift = cfg->max_track_shift ? MIN(cfg->max_track_shift, 20) : 9,
	};
}

/* A controller that is no MMC reports nothing of all this (Base 2.1, 5.1.13: HMLMS shall be 0 on secondary controllers);
 * HMPRE is 0 everywhere, because a Host Memory Buffer cannot be migrated. */
void nvme_hmlm_identify(struct nvme_ctrl *c, struct nvme_id_ctrl *id)
{
	struct nvme_hmlm_limits l = nvme_hmlm_limits(c->ss);

	id->hmpre = le32_of(0);
	if (!nvme_hmlm_on(c))
		return;
	id->oacs = le16_of(le16_get(id->oacs) | NVME_OACS_HMLM);
	id->cmmrtd = le16_of(l.track_ranges);
	id->nmmrtd = le16_of(l.track_ranges);
	id->minmrtg = 0;
	id->maxmrtg = l.track_shift;
	id->trattr = NVME_TRATTR_THMCS | NVME_TRATTR_TUDCS;
	id->mcudmq = le16_of(l.udmqs);
	id->mnsudmq = le16_of(l.udmqs);
	id->mcmr = le16_of(l.cdq_prps);
	id->nmcmr = le16_of(l.cdq_ranges);
	id->mcdqpc = le16_of(l.cdq_prps);
}

/* RLA bit 0: hard limits (the positions are not in the text we have; docs/choices.md). Only on the MMC: a guest must not
 * learn that it can be throttled. RALBAS is true for every controller. */
void nvme_hmlm_identify_nvm(struct nvme_ctrl *c, struct nvme_id_ctrl_nvm *id)
{
	id->aocs = le16_of(le16_get(id->aocs) | NVME_AOCS_RALBAS);
	id->lbamqf = 0;
	id->rla = nvme_hmlm_on(c) ? 1 : 0;
	id->slmc = le16_of(0);
}

void nvme_hmlm_identify_ns_nvm(struct nvme_ns *ns, struct nvme_id_ns_nvm *id)
{
	uint64_t bytes = (uint64_t)ns->blk->alloc_blocks * ns->blk->block_bytes;

	id->tlbaag = le32_of((uint32_t)MAX(bytes >> ns->lba_shift, 1));
}

/* CNS 20h: one version, value 0, and one UUID; both lists count from 1 (Base 2.1, 5.1.13.2.20). */
nvme_status nvme_identify_state_formats(struct nvme_req *req)
{
	static const uint8_t uuid[16] = FERRY_STATE_UUID;

	if (!nvme_hmlm_on(req->ctrl))
		return NVME_INVALID_FIELD;
	memset(req->buf, 0, req->len);
	if (req->len < 4 + sizeof(uuid))
		return NVME_INVALID_FIELD;
	req->buf[0] = 1;
	req->buf[1] = 1;
	memcpy(req->buf + 4, uuid, sizeof(uuid));
	return NVME_SUCCESS;
}

/* The MMC with the lowest CNTLID is taken for the primary of every MC; a further MMC has no secondaries. */
static bool is_primary(const struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->cntlid; i++)
		if (c->ss->ctrl[i] && c->ss->ctrl[i]->mmc)
			return false;
	return true;
}

nvme_status nvme_identify_secondary(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl, *mc;
	struct nvme_secondary *e = (struct nvme_secondary *)(void *)(req->buf + 32);
	unsigned n = 0;

	if (!nvme_hmlm_on(c))
		return NVME_INVALID_FIELD;
	memset(req->buf, 0, req->len);
	for (unsigned id = nvme_identify_cntid(&req->sqe); id < NVME_CTRL_MAX && is_primary(c); id++) {
		mc = nvme_mc_find(c->ss, (uint16_t)id);
		if (!mc || 32 + (n + 1) * sizeof(*e) > req->len || n == 127)
			continue;
		e[n++] = (struct nvme_secondary){
			.scid = le16_of((uint16_t)id), .pcid = le16_of(c->cntlid), .scs = mc->online,
			.nvq = le16_of(mc->max_ioq), .nvi = le16_of(NVME_MSIX_VECTORS),
		};
	}
	req->buf[0] = (uint8_t)n;
	return NVME_SUCCESS;
}

/* Base 2.1, 8.1.12 and Migration Send, Suspend: what goes with an MMC, and that an MC's own reset leaves its UDMQ and its
 * memory tracking alone (they belong to the MMC). Queues go before suspensions end, so that no marker is posted. */
void nvme_hmlm_clr(struct nvme_ctrl *c)
{
	struct nvme_subsys *ss = c->ss;
	struct nvme_ctrl *mc;

	for (unsigned i = 0; c->mmc && i < ARRAY_LEN(ss->cdq); i++)
		if (ss->cdq[i].live && ss->cdq[i].mmc == c)
			nvme_cdq_delete(&ss->cdq[i]);
	for (unsigned i = 0; c->mmc && i < ARRAY_LEN(ss->ctrl); i++) {
		mc = ss->ctrl[i];
		if (!mc || mc == c)
			continue;
		if (mc->tracked_by == c)
			nvme_track_stop(mc);
		/* A manager that died must not leave its throttle on the guest (design rule 4). */
		memset(&mc->rate.cfg, 0, sizeof(mc->rate.cfg));
		nvme_rate_reset(mc);
	}
	nvme_migration_clr(c);
}

/* Nothing may keep pointing at a controller that goes away: unlike a reset this ends its UDMQ and tracking as well. */
void nvme_hmlm_fini(struct nvme_ctrl *c)
{
	nvme_hmlm_clr(c);
	if (c->udmq)
		nvme_cdq_delete(c->udmq);
	if (c->tracked_by)
		nvme_track_stop(c);
	buf_fini(&c->inbound.image);
	c->inbound.open = false;
}
