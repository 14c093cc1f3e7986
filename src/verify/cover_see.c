/* What passes is seen here and counted: commands as they are sent and as they end, resets, entries the host reads. Everything is judged by
 * what a host knows: the commands, its memory, and the shadow. Called from vt_cmd.c, vt.c, vh.c.
 */
#include "verify/cover_in.h"

enum { ODD_NONE = 0, ODD_SEVERAL = 0xffff, ODD_SELECTOR = 0xfffe, NO_TARGET = 0xffff };

/* ---- classes of values */

static unsigned cntlid_class(struct model *m, uint32_t v)
{
	struct mctrl *x = model_ctrl(m, (uint16_t)v);

	return !x ? VB_HIGH : x->c->mmc ? VB_WRONG : VB_LEGAL;
}

static unsigned cdqid_class(struct model *m, const struct vctl *mmc, uint32_t v)
{
	if (model_cdq(m, mmc, (uint16_t)v))
		return VB_LEGAL;
	return v >= 0x8000 ? VB_HIGH : v == m->last_dead ? VB_STALE : VB_WRONG;
}

static unsigned classify(struct model *m, const struct vctl *c, const struct nvme_sqe *s, const struct vfield *f, uint32_t v)
{
	struct mcdq *q;

	switch (f->kind) {
	case VK_ENUM: return v <= f->max ? VB_LEGAL : v == f->max + 1 ? VB_HIGH : VB_RSVD_VALUE;
	case VK_BIT: return v ? VB_HIGH : VB_LEGAL;
	case VK_RESERVED: return v ? VB_RSVD_BIT : VB_LEGAL;
	case VK_CNTLID: return cntlid_class(m, v);
	case VK_CDQID: return cdqid_class(m, c, v);
	case VK_SIZE: return v <= 8 ? VB_LOW : v >= 0x20000000 ? VB_OVERFLOW : v % 8 ? VB_HIGH : VB_LEGAL;
	case VK_COUNT0: return !v ? VB_LOW : v >= 0x4000 ? VB_HIGH : VB_LEGAL;
	case VK_COUNT: return !v ? VB_LOW : v >= 0x10000 ? VB_HIGH : VB_LEGAL;
	case VK_OFFSET: return !v ? VB_LOW : v & 3 ? VB_HIGH : v >= 0x80000000 ? VB_OVERFLOW : VB_LEGAL;
	case VK_HIGH: return v ? VB_OVERFLOW : VB_LEGAL;
	case VK_VERSION:
	case VK_UUID: return !v ? VB_LOW : v == 1 ? VB_LEGAL : VB_INDEX;
	case VK_SLOT:
		q = model_cdq(m, c, (uint16_t)(le32_get(s->cdw11) & 0xffff));
		return !v ? VB_LOW : q && v >= q->slots ? VB_HIGH : VB_LEGAL;
	case VK_LBA: return !v ? VB_LOW : v >= 0xfffffff0 ? VB_OVERFLOW : c->nss && v >= c->ns[0].blocks ? VB_HIGH : VB_LEGAL;
	case VK_OPAQUE: return v ? VB_HIGH : VB_LEGAL;
	case VK_CONST: return v == f->max ? VB_LEGAL : VB_RSVD_VALUE;
	case VK_FIXED: break;
	}
	return VB_LEGAL;
}

/* ---- phases of a move, of one controller */

static enum cov_phase phase_of(struct model *m, const struct mctrl *x)
{
	const struct mcdq *q = model_cdq_of(m, x->c->cntlid);

	if (x->committed)
		return CP_COMMITTED;
	if (x->partial)
		return CP_PARTIAL;
	if (x->suspended)
		return CP_SUSPENDED;
	if (x->tracker)
		return CP_TRACKING;
	return !q ? CP_IDLE : q->logging ? CP_LOGGING : CP_QUEUE;
}

/* The MMC is in the phase its farthest controller is in. */
static enum cov_phase phase_at(struct vctl *c)
{
	struct model *m = c->t->model;
	enum cov_phase far = CP_IDLE;

	for (unsigned i = 0; i < c->t->ctls; i++)
		if (m->ctrl[i].c && !m->ctrl[i].c->sub && !m->ctrl[i].c->mmc && (c->mmc || m->ctrl[i].c == c))
			far = MAX(far, phase_of(m, &m->ctrl[i]));
	return far;
}

static void fault(struct cov *v, enum cov_fault f, struct vt *t, uint16_t cntlid)
{
	struct mctrl *x = model_ctrl(t->model, cntlid);

	if (x && !x->c->mmc)
		cov_cross(v, COV_FAULT, f, phase_of(t->model, x), 0, 0, 0);
}

/* ---- sent */

/* A reserved selector belongs to no operation; it is counted at those that share its opcode. */
static bool shares_selector(enum vfid f, const struct nvme_sqe *s)
{
	return vfields[f].kind == VK_CONST && vops[vfields[f].op].opc == s->opc && vfields[f].op != VOP_LBA_STATUS;
}

static void fields(struct cov *v, struct vctl *c, struct vcmd *k)
{
	for (unsigned f = 0; f < VF_COUNT; f++) {
		unsigned b;

		if (vfields[f].op != (enum vop)k->op)
			continue;
		b = classify(c->t->model, c, &k->sqe, &vfields[f], vf_get(&k->sqe, (enum vfid)f));
		cov_hit(v, v->field[f][b]);
		if (v->alone[f][b])
			k->odd = k->odd == ODD_NONE ? (uint16_t)(f * VB_COUNT + b + 1) : ODD_SEVERAL;
	}
	if (k->op == VOP_SET_STATE && !vf_get(&k->sqe, VF_SET_STATE_csvi) && !vf_get(&k->sqe, VF_SET_STATE_csuuidi))
		k->odd = ODD_SEVERAL; /* each may be 0, not both */
}

static bool in_memory(const struct vctl *c, uint64_t iova, uint64_t len) { return c->mem && range_inside(iova - c->iova, len, c->bytes); }

static void header(struct cov *v, struct vctl *c, const struct nvme_sqe *s, enum vop op)
{
	static const bool has_data[VOP_COUNT] = { [VOP_CDQ_CREATE] = true, [VOP_TRACK_MEM] = true, [VOP_TRACK_RECV] = true, [VOP_SET_STATE] = true,
						  [VOP_GET_STATE] = true, [VOP_GET_CDQ] = true, [VOP_FORMATS] = true, [VOP_LBA_STATUS] = true };
	uint64_t prp = le64_get(s->prp1);
	uint32_t nsid = le32_get(s->nsid);
	bool live = false, plain = !(s->flags & (NVME_FUSE_MASK | NVME_PSDT_MASK)) && !le64_get(s->mptr);

	for (unsigned i = 0; i < c->nss; i++)
		live |= c->ns[i].nsid == nsid;
#define SEEN(what, when) ((when) ? cov_cross(v, COV_HEADER, CH_##what, 0, 0, 0, 0) : (void)0)
	SEEN(FUSE_FIRST, (s->flags & NVME_FUSE_MASK) == 1);
	SEEN(FUSE_SECOND, (s->flags & NVME_FUSE_MASK) == 2);
	SEEN(FUSE_RESERVED, (s->flags & NVME_FUSE_MASK) == 3);
	SEEN(PSDT_SGL, (s->flags & NVME_PSDT_MASK) == NVME_PSDT_SGL);
	SEEN(PSDT_SEGMENT, (s->flags & NVME_PSDT_MASK) == NVME_PSDT_SGL_MSEG);
	SEEN(PSDT_RESERVED, (s->flags & NVME_PSDT_MASK) == NVME_PSDT_MASK);
	SEEN(NSID_ZERO, !nsid);
	SEEN(NSID_LIVE, live);
	SEEN(NSID_ALL, nsid == UINT32_MAX);
	SEEN(NSID_ABSENT, nsid && !live && nsid != UINT32_MAX);
	SEEN(MPTR_SET, le64_get(s->mptr));
	SEEN(CDW2_SET, le32_get(s->cdw2) && le32_get(s->cdw3));
	SEEN(PRP_OFFSET, has_data[op] && prp & (VT_PAGE - 1));
	SEEN(PRP_NOWHERE, has_data[op] && c->port && !in_memory(c, prp, 1));
	SEEN(BY_MMC, c->mmc);
	SEEN(BY_MC, !c->mmc);
	SEEN(PLAIN, plain);
#undef SEEN
}

/* Another migration command that is out, for another controller. */
static void two(struct cov *v, struct vt *t, const struct vcmd *k)
{
	for (unsigned i = 0; t->submitted - t->completed > 1 && i < VT_CMDS; i++) {
		const struct vcmd *o = &t->cmd[i];

		if (o != k && o->used && !o->done && !o->qid && o->op >= 0 && o->target != NO_TARGET && o->target != k->target)
			cov_cross(v, COV_TWO, (unsigned)o->op, (unsigned)k->op, 0, 0, 0);
	}
}

void cov_sent(struct cov *v, struct vctl *c, struct vcmd *k)
{
	struct model *m = c->t->model;
	struct mctrl *x;
	uint16_t id;
	enum mstate st;

	k->op = (int8_t)(k->qid ? VOP_NONE : vop_of(&k->sqe));
	k->mstate = MS_COUNT;
	k->odd = ODD_NONE;
	k->target = NO_TARGET;
	if (c->sub) /* counted is what the first subsystem does */
		v = NULL;
	if (!m || k->qid)
		return;
	if (k->op == VOP_NONE) {
		for (unsigned f = 0; v && f < VF_COUNT; f++)
			if (shares_selector((enum vfid)f, &k->sqe)) {
				cov_hit(v, v->field[f][VB_RSVD_VALUE]);
				k->odd = ODD_SELECTOR;
			}
		return;
	}
	if (model_target(m, c, &k->sqe, &id, &st)) {
		k->mstate = (uint8_t)st;
		x = model_ctrl(m, id);
		k->target = x && !x->c->mmc ? id : NO_TARGET;
	}
	if (!v)
		return;
	fields(v, c, k);
	header(v, c, &k->sqe, (enum vop)k->op);
	cov_data_sent(v, c, &k->sqe);
	if (k->target != NO_TARGET)
		two(v, c->t, k);
}

/* ---- logs */

static struct cov_cdq *cdq_of(struct cov *v, const struct vctl *mmc, uint16_t id)
{
	for (unsigned i = 0; i < ARRAY_LEN(v->cdq); i++)
		if (v->cdq[i].live && v->cdq[i].mmc == mmc && v->cdq[i].id == id)
			return &v->cdq[i];
	return NULL;
}

static void cdq_made(struct cov *v, struct vctl *mmc, const struct nvme_sqe *s, const struct nvme_cqe *e)
{
	struct cov_cdq q = { .live = true, .phase = true, .mmc = mmc, .id = (uint16_t)le32_get(e->dw0), .iova = le64_get(s->prp1),
			     .slots = vf_get(s, VF_CDQ_CREATE_cdqsize) / 8 }, *old = cdq_of(v, mmc, q.id);

	for (unsigned i = 0; !old && i < ARRAY_LEN(v->cdq); i++)
		if (!v->cdq[i].live || !model_cdq(mmc->t->model, v->cdq[i].mmc, v->cdq[i].id))
			old = &v->cdq[i];
	if (old)
		*old = q;
	if (old && (!vf_get(s, VF_CDQ_CREATE_pc) || !q.slots || !in_memory(mmc, q.iova, 32ull * q.slots)))
		old->live = false; /* its entries cannot be counted */
}

/* Entries that are posted and have not been given back. */
static uint32_t posted(const struct cov_cdq *q)
{
	bool phase = q->phase;
	uint32_t n = 0, at = q->head;

	for (; n < q->slots - 1; n++) {
		if ((q->mmc->mem[q->iova - q->mmc->iova + 32ull * at + 31] & 1) != phase)
			break;
		if (++at == q->slots) {
			at = 0;
			phase = !phase;
		}
	}
	return n;
}

static void cdq_given_back(struct cov *v, struct cov_cdq *q, const struct nvme_sqe *s)
{
	uint32_t n = posted(q), hp = vf_get(s, VF_SET_CDQ_hp);
	enum cov_learn how = q->learnt ? q->how : CN_POLL;

	if (hp >= q->slots)
		return;
	if (q->armed && n && (q->tpt + q->slots - q->head) % q->slots == n - 1)
		cov_cross(v, COV_FILL, CU_TRIGGER, how, 0, 0, 0);
	if (n == q->slots - 1 || n + 1 == q->slots - 1 || n < 2)
		cov_cross(v, COV_FILL, !n ? CU_EMPTY : n == q->slots - 1 ? CU_FULL : n == 1 ? CU_ONE : CU_LESS, how, 0, 0, 0);
	if (hp < q->head)
		q->phase = !q->phase;
	q->head = hp;
	q->armed = vf_get(s, VF_SET_CDQ_etpt);
	q->tpt = vf_get(s, VF_SET_CDQ_tpt);
	q->polled = q->learnt = false;
}

static void event(struct cov *v, struct vctl *mmc, const struct nvme_cqe *e)
{
	struct cov_cdq *q = (le32_get(e->dw0) & 7) == 4 ? cdq_of(v, mmc, (uint16_t)le32_get(e->dw1)) : NULL;

	if (!q)
		return;
	q->how = q->polled ? CN_BOTH : CN_AER;
	q->learnt = true;
}

void cov_entry(struct cov *v, struct vctl *mmc, uint16_t id, unsigned esa)
{
	struct cov_cdq *q = v ? cdq_of(v, mmc, id) : NULL;
	struct mcdq *m = mmc->t->model ? model_cdq(mmc->t->model, mmc, id) : NULL;

	if (q)
		q->polled = true;
	if (v && m && esa == 7)
		fault(v, CF_OVERFLOW, mmc->t, m->cntlid);
}

/* ---- shapes of queues */

static unsigned shape(uint32_t from, uint32_t n, uint32_t size)
{
	if (n < 2)
		return n ? CS_ONE : CS_EMPTY;
	return n == size - 1 ? CS_FULL : from + n >= size ? CS_WRAPPED : CS_COUNT;
}

/* Completions that are posted and were not taken; phase: of the entry the device writes next; heads: what they say of SQs. */
static uint32_t untaken(const struct vctl *c, const struct vcq *q, bool *phase, uint16_t *heads)
{
	uint32_t n = 0, at = q->head;

	*phase = q->phase;
	for (; n < q->size; n++) {
		struct nvme_cqe e;

		memcpy(&e, q->m.p + 16u * at, sizeof(e));
		if (nvme_cqe_phase(&e) != *phase)
			break;
		if (le16_get(e.sqid) < VT_QUEUES && le16_get(e.sqhd) < c->sq[le16_get(e.sqid)].size)
			heads[le16_get(e.sqid)] = le16_get(e.sqhd);
		if (++at == q->size) {
			at = 0;
			*phase = !*phase;
		}
	}
	return n;
}

static void shapes(struct cov *v, const struct vctl *c)
{
	uint16_t heads[VT_QUEUES];

	for (unsigned i = 0; i < VT_QUEUES; i++)
		heads[i] = c->sq[i].head;
	for (unsigned i = 1; i < VT_QUEUES; i++) {
		const struct vcq *q = &c->cq[i];
		unsigned sharing = 0;
		uint32_t n;
		bool phase;

		if (!q->live)
			continue;
		n = untaken(c, q, &phase, heads);
		for (unsigned k = 1; k < VT_QUEUES; k++)
			sharing += c->sq[k].live && c->sq[k].cqid == i;
		cov_cross(v, COV_SHAPE, CQ_CQ, shape(q->head, n, q->size), phase, q->ien, sharing > 1);
		for (unsigned k = 1; k < VT_QUEUES; k++) {
			const struct vsq *s = &c->sq[k];

			if (s->live && s->cqid == i)
				cov_cross(v, COV_SHAPE, CQ_SQ, shape(heads[k], (s->rung + s->size - heads[k]) % s->size, s->size), phase, q->ien,
					  sharing > 1);
		}
	}
}

/* ---- commands that change blocks */

static unsigned extent(const struct vctl *c, const struct vns *n, uint64_t slba, uint64_t nlb)
{
	uint64_t unit = VT_PAGE / n->lba;

	(void)c;
	if (!slba && nlb == n->blocks)
		return CE_WHOLE;
	return slba % unit || nlb % unit ? CE_UNALIGNED : CE_ALIGNED;
}

static unsigned ranges_extent(const struct vctl *c, const struct vns *n, const struct nvme_sqe *s, bool dsm)
{
	unsigned count = (le32_get(dsm ? s->cdw10 : s->cdw12) & 0xff) + 1;
	uint64_t at = le64_get(s->prp1);
	le32 nlb;
	le64 slba;

	if (count > 1)
		return CE_RANGES;
	if (!in_memory(c, at, 32))
		return CE_COUNT;
	memcpy(&nlb, c->mem + (at - c->iova) + (dsm ? 4 : 16), 4);
	memcpy(&slba, c->mem + (at - c->iova) + 8, 8);
	if (dsm)
		return extent(c, n, le64_get(slba), le32_get(nlb));
	return extent(c, n, le32_get(s->cdw10) | (uint64_t)le32_get(s->cdw11) << 32, (le32_get(nlb) & 0xffff) + 1ull);
}

static enum cov_log log_state(const struct vctl *c)
{
	struct mcdq *q = model_cdq_of(c->t->model, c->cntlid);

	return !q ? CL_NONE : q->logging ? CL_ON : CL_STOPPED;
}

static const struct vns *ns_of(const struct vctl *c, uint32_t nsid)
{
	for (unsigned i = 0; i < c->nss; i++)
		if (c->ns[i].nsid == nsid)
			return &c->ns[i];
	return NULL;
}

static void modified(struct cov *v, const struct vctl *c, const struct nvme_sqe *s)
{
	const struct vns *n = ns_of(c, le32_get(s->nsid));
	uint64_t slba = le32_get(s->cdw10) | (uint64_t)le32_get(s->cdw11) << 32;
	unsigned e, mod;

	if (!n)
		return;
	e = extent(c, n, slba, (le32_get(s->cdw12) & 0xffff) + 1ull);
	switch (s->opc) {
	case NVME_NVM_WRITE: mod = CM_WRITE; break;
	case NVME_NVM_WRITE_ZEROES: mod = CM_WZ; break;
	case NVME_NVM_WRITE_UNCORRECTABLE: mod = CM_WU; break;
	case NVME_NVM_COPY: mod = CM_COPY; e = ranges_extent(c, n, s, false); break;
	case NVME_NVM_DSM: mod = le32_get(s->cdw11) & 4 ? CM_DSM : CM_COUNT; e = ranges_extent(c, n, s, true); break;
	default: return;
	}
	cov_cross(v, COV_LOGGED, log_state(c), mod, e, 0, 0);
}

static void formatted(struct cov *v, struct vctl *c, const struct nvme_sqe *s)
{
	struct vt *t = c->t;
	uint32_t nsid = le32_get(s->nsid);

	if (!c->mmc && ns_of(c, nsid))
		cov_cross(v, COV_LOGGED, log_state(c), CM_FORMAT, CE_WHOLE, 0, 0);
	if (!c->mmc)
		fault(v, CF_FORMAT, t, c->cntlid);
	for (unsigned i = 0; c == t->mmc && i < t->mcs; i++)
		for (unsigned k = 0; k < t->mc[i]->nss; k++)
			if (t->mc[i]->ns[k].mmc_nsid == nsid)
				fault(v, CF_FORMAT, t, t->mc[i]->cntlid);
}

/* ---- ended */

static void io_done(struct cov *v, struct vctl *c, struct vcmd *k)
{
	unsigned st = nvme_cqe_status(&k->cqe);

	if (c->mmc)
		return;
	if (st == S_OK)
		modified(v, c, &k->sqe);
	else if ((k->sqe.opc == NVME_NVM_WRITE || k->sqe.opc == NVME_NVM_READ) && !in_memory(c, le64_get(k->sqe.prp1), 1))
		fault(v, CF_BAD_ADDRESS, c->t, c->cntlid);
}

static bool somebody_elses(struct model *m, const struct vctl *c, uint16_t cntlid)
{
	struct mcdq *q = model_cdq_of(m, cntlid);
	struct mctrl *x = model_ctrl(m, cntlid);

	return (q && q->mmc != c) || (x && x->tracker && x->tracker != c);
}

static void faults(struct cov *v, struct vctl *c, struct vcmd *k, unsigned st)
{
	struct vt *t = c->t;
	struct mctrl *x = model_ctrl(t->model, k->target);
	struct mcdq *q;

	switch (k->op) {
	case VOP_SET_CDQ:
		q = model_cdq(t->model, c, (uint16_t)vf_get(&k->sqe, VF_SET_CDQ_cdqid));
		if (q && st == S_IF)
			fault(v, CF_BAD_HEAD, t, q->cntlid);
		break;
	case VOP_CDQ_DELETE:
		q = model_cdq(t->model, c, (uint16_t)vf_get(&k->sqe, VF_CDQ_DELETE_cdqid));
		if (q && st == S_OK)
			fault(v, CF_CANCEL, t, q->cntlid);
		break;
	case VOP_TRACK_MEM:
		if (x && x->tracker && st == S_OK && !vf_get(&k->sqe, VF_TRACK_MEM_tact))
			fault(v, CF_CANCEL, t, k->target);
		break;
	case VOP_RESUME:
		if (x && ((x->suspended && st == S_OK) || (x->partial && st == S_SEQ)))
			fault(v, CF_CANCEL, t, k->target);
		break;
	case VOP_SET_STATE:
		if (st == S_IF)
			fault(v, CF_BAD_IMAGE, t, k->target);
		break;
	default: break;
	}
	if (st != S_OK && (k->op == VOP_CDQ_CREATE || k->op == VOP_TRACK_MEM) && x && somebody_elses(t->model, c, k->target))
		fault(v, CF_SECOND, t, k->target);
}

static void wrong_field(struct cov *v, struct vcmd *k, unsigned st)
{
	if (k->odd == ODD_SELECTOR) {
		for (unsigned f = 0; f < VF_COUNT; f++)
			if (shares_selector((enum vfid)f, &k->sqe) && st == S_IF)
				cov_hit(v, v->alone[f][VB_RSVD_VALUE]);
	} else if (k->odd != ODD_NONE && k->odd != ODD_SEVERAL) {
		unsigned f = (k->odd - 1u) / VB_COUNT, b = (k->odd - 1u) % VB_COUNT;

		if (cov_word_is(cov_wrong(&vfields[f], (enum vbin)b), st))
			cov_hit(v, v->alone[f][b]);
	}
}

static void migration_done(struct cov *v, struct vctl *c, struct vcmd *k, unsigned st)
{
	struct cov_cdq *q;
	struct mctrl *x;

	for (unsigned i = 0; i < v->n; i++)
		if (v->p[i].kind == COV_STATUS && v->p[i].op == (enum vop)k->op && v->p[i].b == st)
			v->hits[i]++;
	if (k->mstate < MS_COUNT)
		cov_cross(v, COV_STATE, (unsigned)k->op, k->mstate, 0, 0, 0);
	if (v->last >= 0)
		cov_cross(v, COV_PAIR, (unsigned)v->last, (unsigned)k->op, 0, 0, 0);
	v->last = (enum vop)k->op;
	if (!c->mmc)
		return;
	faults(v, c, k, st);
	if (st != S_OK)
		return;
	if (k->op == VOP_CDQ_CREATE)
		cdq_made(v, c, &k->sqe, &k->cqe);
	if (k->op == VOP_SET_CDQ && (q = cdq_of(v, c, (uint16_t)vf_get(&k->sqe, VF_SET_CDQ_cdqid))) && model_cdq(c->t->model, c, q->id))
		cdq_given_back(v, q, &k->sqe);
	if (k->op == VOP_GET_STATE && le32_get(k->cqe.dw0) & 1 && (x = model_ctrl(c->t->model, k->target)) && x->c->port)
		shapes(v, x->c);
}

void cov_done(struct cov *v, struct vctl *c, struct vcmd *k)
{
	unsigned st = nvme_cqe_status(&k->cqe);

	if (v && c->t->model && !c->sub) {
		wrong_field(v, k, st);
		if (k->qid)
			io_done(v, c, k);
		else if (k->op >= 0)
			migration_done(v, c, k, st);
		else if (k->sqe.opc == NVME_OP_AER && st == S_OK && c->mmc)
			event(v, c, &k->cqe);
		else if (k->sqe.opc == NVME_OP_FORMAT && st == S_OK)
			formatted(v, c, &k->sqe);
	}
	if (c->t->model)
		model_done(c->t->model, c, k->qid, &k->sqe, &k->cqe);
}

/* ---- what is no command */

void cov_down(struct cov *v, struct vctl *c)
{
	if (v && c->t->model && !c->sub)
		cov_cross(v, COV_RESET, c->how, phase_at(c), c->mmc ? CB_MMC : CB_MC, 0, 0);
	c->how = CR_CC_EN;
}

void cov_shutdown(struct cov *v, struct vctl *c)
{
	if (v && c->t->model && !c->sub)
		fault(v, CF_SHUTDOWN, c->t, c->cntlid);
}
