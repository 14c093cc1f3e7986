/* Identify: what the controller and its namespaces say about themselves.
 *
 * Called through nvme_admin_rows with req->buf as a zeroed page of 4096 bytes. Device thread.
 *
 * A controller shows its guest the identity it moved in with (ctrl->who), its own namespaces under the guest's numbers, and
 * of other controllers nothing: only an MMC gets lists of the whole subsystem, primary and secondary capabilities, state
 * formats and UUIDs.
 */
#include "device/nvme/pieces.h"

enum { ID_BYTES = 4096 };

nvme_status nvme_identify_size(struct nvme_req *r, uint32_t *len)
{
	(void)r;
	*len = ID_BYTES;
	return NVME_SUCCESS;
}

/* ---- controllers */

/* ASCII fields are padded with spaces, whoever filled them in. */
static void ascii_put(uint8_t *to, const char *from, size_t n)
{
	bool ended = false;

	for (size_t i = 0; i < n; i++) {
		ended |= from[i] == 0;
		to[i] = ended ? ' ' : (uint8_t)from[i];
	}
}

static void ctrl_identity(const struct nvme_ctrl *c, struct nvme_id_ctrl *id)
{
	memcpy(&id->vid, c->pci.cfg + 0x00, 2);
	memcpy(&id->ssvid, c->pci.cfg + 0x2c, 2);
	ascii_put(id->sn, c->who.sn, sizeof(id->sn));
	ascii_put(id->mn, c->who.mn, sizeof(id->mn));
	ascii_put(id->fr, c->who.fr, sizeof(id->fr));
	memcpy(id->subnqn, c->who.subnqn, sizeof(id->subnqn));
	id->subnqn[sizeof(id->subnqn) - 1] = 0;
	id->cntlid = le16_of(c->who.cntlid);
	id->cmic = 1 << 1;			/* the subsystem may have several controllers */
	id->cntrltype = 1;			/* I/O controller */
	id->ver = le32_of(NVME_VERSION);
}

static void ctrl_admin(const struct nvme_ctrl *c, struct nvme_id_ctrl *id)
{
	id->rab = 4;
	id->mdts = NVME_MDTS;
	id->oaes = le32_of(1 << 8);		/* Namespace Attribute Changed */
	id->ctratt = le32_of(1 << 0 | (c->mmc ? 1 << 9 : 0));	/* 128-bit Host Identifier; UUID List */
	id->oacs = le16_of(NVME_OACS_FORMAT | NVME_OACS_DBBUF);
	id->acl = 3;
	id->aerl = NVME_AER_MAX - 1;
	id->frmw = 1 << 1 | 1 << 0;		/* one slot, read only */
	id->lpa = 1 << 1 | 1 << 2 | 1 << 5;	/* effects; NUMDU and offsets; LIDs 00h, 12h, 13h */
	id->elpe = NVME_ERRLOG_ENTRIES - 1;
	id->wctemp = le16_of(NVME_TEMP_WARNING);
	id->cctemp = le16_of(NVME_TEMP_CRITICAL);
	/* KAS = 0 (no timer), HMPRE = 0 (required of every controller beside an MMC), NPSS = 0 */
}

static void ctrl_nvm(struct nvme_id_ctrl *id)
{
	id->sqes = 6 << 4 | 6;
	id->cqes = 4 << 4 | 4;
	id->nn = le32_of(NVME_NSID_MAX);
	id->mnan = le32_of(NVME_NSID_MAX);
	id->oncs = le16_of(NVME_ONCS_COMPARE | NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES | NVME_ONCS_SAVE |
			   NVME_ONCS_TIMESTAMP | NVME_ONCS_VERIFY | NVME_ONCS_COPY);
	id->fna = 1 << 3;			/* Format NVM: not with FFFFFFFFh */
	id->vwc = 3 << 1 | 1;			/* present; Flush takes FFFFFFFFh */
	id->cdfs = le16_of(1 << 0);		/* Copy descriptor format 0h */
	id->sgls = le32_of(NVME_SGLS);
	id->psd[0] = 2500 & 0xff;		/* 25 W, in hundredths */
	id->psd[1] = 2500 >> 8;
}

static nvme_status id_ctrl(struct nvme_req *r)
{
	struct nvme_id_ctrl *id = (struct nvme_id_ctrl *)r->buf;

	ctrl_identity(r->ctrl, id);
	ctrl_admin(r->ctrl, id);
	ctrl_nvm(id);
	nvme_hmlm_identify(r->ctrl, id);
	return NVME_SUCCESS;
}

static bool is_nvm_csi(const struct nvme_req *r) { return nvme_identify_csi(&r->sqe) == 0; }

/* No command limit but NLB's own: 2^16 blocks of 4 KiB are 2^16 pages, so no Write Zeroes exceeds WZSL. DMRL = 0: 256 ranges. */
static nvme_status id_ctrl_nvm(struct nvme_req *r)
{
	struct nvme_id_ctrl_nvm *id = (struct nvme_id_ctrl_nvm *)r->buf;

	if (!is_nvm_csi(r))
		return NVME_INVALID_FIELD;
	id->wzsl = 16;
	id->ver = le32_of(NVME_NVM_VERSION);
	nvme_hmlm_identify_nvm(r->ctrl, id);
	return NVME_SUCCESS;
}

/* ---- namespaces */

/* 1..NN: the namespace or, where none is attached, NULL with success (the answer is a page of zeroes). */
static nvme_status ns_of(struct nvme_req *r, struct nvme_ns **ns)
{
	uint32_t nsid = le32_get(r->sqe.nsid);

	*ns = NULL;
	if (nsid == 0 || nsid > NVME_NSID_MAX)
		return NVME_INVALID_NAMESPACE;
	*ns = r->ctrl->attach[nsid];
	return NVME_SUCCESS;
}

static void ns_hints(const struct nvme_ns *ns, struct nvme_id_ns *id)
{
	uint32_t unit = MIN(ns->blk->alloc_blocks, 0x10000u), page = NVME_PAGE >> ns->lba_shift;

	id->nsfeat = 1 << 4;			/* OPTPERF: the following are valid; all zero-based */
	id->npwg = id->npwa = id->nows = le16_of((uint16_t)(page - 1));
	id->npdg = id->npda = le16_of((uint16_t)(unit - 1));
	id->mssrl = le16_of(NVME_COPY_RANGE_BLOCKS);
	id->mcl = le32_of(NVME_COPY_BLOCKS);
	id->msrc = NVME_COPY_RANGES - 1;
}

static void id_ns_fill(const struct nvme_ns *ns, struct nvme_id_ns *id)
{
	le64 bytes = le64_of(ns->nsze << ns->lba_shift);

	/* THINP = 0, so NUSE = NCAP: counting allocated blocks would let a guest keep us busy with Identify. */
	id->nsze = id->ncap = id->nuse = le64_of(ns->nsze);
	memcpy(id->nvmcap, &bytes, sizeof(bytes));
	id->nmic = 1;				/* the MMC has it too */
	id->dlfeat = 1 << 3 | 1;		/* Write Zeroes deallocates on DEAC; deallocated reads as zeroes */
	id->lbaf[2] = (uint8_t)ns->lba_shift;	/* format 0: LBADS; NLBAF = 0, FLBAS = 0 */
	ns_hints(ns, id);
	memcpy(id->nguid, ns->ids.nguid, sizeof(id->nguid));
	memcpy(id->eui64, ns->ids.eui64, sizeof(id->eui64));
}

static nvme_status id_ns(struct nvme_req *r)
{
	struct nvme_ns *ns;
	nvme_status status = ns_of(r, &ns);

	if (ns)
		id_ns_fill(ns, (struct nvme_id_ns *)r->buf);
	return status;
}

/* Allocated, attached or not: only the MMC can tell them apart. */
static nvme_status id_ns_allocated(struct nvme_req *r)
{
	uint32_t nsid = le32_get(r->sqe.nsid);

	if (!r->ctrl->mmc)
		return id_ns(r);
	if (nsid == 0 || nsid > NVME_NSID_MAX)
		return NVME_INVALID_NAMESPACE;
	if (r->ctrl->ss->ns[nsid])
		id_ns_fill(r->ctrl->ss->ns[nsid], (struct nvme_id_ns *)r->buf);
	return NVME_SUCCESS;
}

static nvme_status id_ns_nvm(struct nvme_req *r)
{
	struct nvme_ns *ns;
	nvme_status status = ns_of(r, &ns);

	if (!is_nvm_csi(r))
		return NVME_INVALID_FIELD;
	if (ns)
		nvme_hmlm_identify_ns_nvm(ns, (struct nvme_id_ns_nvm *)r->buf);
	return status;
}

/* I/O Command Set Independent: NMIC at byte 1, NSTAT at byte 14 (bit 0: ready). */
static nvme_status id_ns_independent(struct nvme_req *r)
{
	struct nvme_ns *ns;
	nvme_status status = ns_of(r, &ns);

	if (!ns)
		return status;
	r->buf[1] = 1;
	r->buf[14] = 1;
	return NVME_SUCCESS;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static uint8_t *desc_put(uint8_t *p, uint8_t type, const uint8_t *id, uint8_t n)
{
	if (all_zero(id, n) && type != 4)
		return p;
	p[0] = type;
	p[1] = n;
	memcpy(p + 4, id, n);
	return p + 4 + n;
}

static nvme_status id_ns_desc(struct nvme_req *r)
{
	static const uint8_t csi_nvm[1] = { 0 };
	struct nvme_ns *ns;
	nvme_status status = ns_of(r, &ns);
	uint8_t *p = r->buf;

	if (!ns)
		return status == NVME_SUCCESS ? NVME_INVALID_NAMESPACE : status;
	p = desc_put(p, 1, ns->ids.eui64, 8);
	p = desc_put(p, 2, ns->ids.nguid, 16);
	p = desc_put(p, 3, ns->ids.uuid, 16);
	desc_put(p, 4, csi_nvm, 1);
	return NVME_SUCCESS;
}

/* ---- lists */

static nvme_status ns_list(struct nvme_req *r, bool exists(const struct nvme_ctrl *, uint32_t nsid))
{
	uint32_t from = le32_get(r->sqe.nsid);
	le32 *out = (le32 *)r->buf;

	if (from >= 0xfffffffe)
		return NVME_INVALID_NAMESPACE;
	for (uint32_t n = from + 1; n <= NVME_NSID_MAX; n++)
		if (exists(r->ctrl, n))
			*out++ = le32_of(n);
	return NVME_SUCCESS;
}

static bool ns_active(const struct nvme_ctrl *c, uint32_t nsid) { return c->attach[nsid]; }
/* Whatever the subsystem has, for the MMC, which knows it by the subsystem's numbers; a guest knows only its own. */
static bool ns_allocated(const struct nvme_ctrl *c, uint32_t nsid)
{
	return c->mmc ? c->ss->ns[nsid] != NULL : c->attach[nsid] != NULL;
}

static nvme_status id_active(struct nvme_req *r) { return ns_list(r, ns_active); }
static nvme_status id_allocated(struct nvme_req *r) { return ns_list(r, ns_allocated); }
static nvme_status id_active_csi(struct nvme_req *r)
{
	return is_nvm_csi(r) ? ns_list(r, ns_active) : NVME_INVALID_FIELD;
}

static bool has_ns(const struct nvme_ctrl *c, const struct nvme_ns *ns)
{
	for (uint32_t n = 1; n <= NVME_NSID_MAX; n++)
		if (c->attach[n] == ns)
			return true;
	return false;
}

/* Controllers from CNTID on that have ns (NULL: all). A count, then the ids. */
static nvme_status ctrl_list(struct nvme_req *r, const struct nvme_ns *ns)
{
	struct nvme_ctrl *me = r->ctrl;
	le16 *out = (le16 *)r->buf;
	uint16_t n = 0;

	if (!me->mmc) {
		if (me->who.cntlid >= nvme_identify_cntid(&r->sqe))
			out[++n] = le16_of(me->who.cntlid);
	} else {
		for (uint32_t id = nvme_identify_cntid(&r->sqe); id < NVME_CTRL_MAX; id++)
			if (me->ss->ctrl[id] && (!ns || has_ns(me->ss->ctrl[id], ns)))
				out[++n] = le16_of((uint16_t)id);
	}
	out[0] = le16_of(n);
	return NVME_SUCCESS;
}

static nvme_status id_ns_ctrls(struct nvme_req *r)
{
	struct nvme_ns *ns;
	nvme_status status = ns_of(r, &ns);

	return ns ? ctrl_list(r, ns) : status;
}

static nvme_status id_ctrls(struct nvme_req *r) { return ctrl_list(r, NULL); }

/* ---- the MMC's own */

/* No flexible resources: everything but the ids is 0. */
static nvme_status id_primary(struct nvme_req *r)
{
	le16 id = le16_of(r->ctrl->who.cntlid);

	memcpy(r->buf, &id, sizeof(id));
	return NVME_SUCCESS;
}

/* One entry of 32 bytes behind a reserved one: header (no association), 15 reserved, UUID. */
static nvme_status id_uuids(struct nvme_req *r)
{
	static const uint8_t uuid[16] = FERRY_STATE_UUID;

	memcpy(r->buf + 32 + 16, uuid, sizeof(uuid));
	return NVME_SUCCESS;
}

/* Combination 0: the NVM command set alone. Of another controller only an MMC may ask. */
static nvme_status id_csets(struct nvme_req *r)
{
	uint32_t id = nvme_identify_cntid(&r->sqe);

	if (id != 0xffff && id != r->ctrl->who.cntlid && !(r->ctrl->mmc && id < NVME_CTRL_MAX && r->ctrl->ss->ctrl[id]))
		return NVME_INVALID_FIELD;
	r->buf[0] = 1;
	return NVME_SUCCESS;
}

/* ---- the table */

struct id_row { uint8_t cns; bool mmc; nvme_status (*fill)(struct nvme_req *); };

static const struct id_row id_rows[] = {
	{ NVME_CNS_NS, false, id_ns },
	{ NVME_CNS_CTRL, false, id_ctrl },
	{ NVME_CNS_ACTIVE_NS, false, id_active },
	{ NVME_CNS_NS_DESC, false, id_ns_desc },
	{ NVME_CNS_CSI_NS, false, id_ns_nvm },
	{ NVME_CNS_CSI_CTRL, false, id_ctrl_nvm },
	{ NVME_CNS_CSI_ACTIVE_NS, false, id_active_csi },
	{ NVME_CNS_INDEP_NS, false, id_ns_independent },
	{ NVME_CNS_ALLOC_NS_LIST, false, id_allocated },
	{ NVME_CNS_ALLOC_NS, false, id_ns_allocated },
	{ NVME_CNS_NS_CTRLS, false, id_ns_ctrls },
	{ NVME_CNS_CTRLS, false, id_ctrls },
	{ NVME_CNS_PRIMARY_CAPS, true, id_primary },
	{ NVME_CNS_SECONDARY, true, nvme_identify_secondary },
	{ NVME_CNS_UUIDS, true, id_uuids },
	{ NVME_CNS_CSETS, false, id_csets },
	{ NVME_CNS_STATE_FORMATS, true, nvme_identify_state_formats },
};

nvme_status nvme_identify(struct nvme_req *r)
{
	for (unsigned i = 0; i < ARRAY_LEN(id_rows); i++)
		if (id_rows[i].cns == nvme_identify_cns(&r->sqe) && (!id_rows[i].mmc || r->ctrl->mmc))
			return id_rows[i].fill(r);
	return NVME_INVALID_FIELD;
}
