/* Commands, fields, statuses, states, pairs. Situations are in aim_where.c. See aim.h. */
#include "verify/aim.h"

#include <stdio.h>

enum { FIRST = 1, LAST = 2, ONLY = 3, SLOTS = 64, ABSENT = 0xfffe };

/* ---- commands */

/* An image without queues, so that a commit changes nothing anybody must know of. */
static struct vmem empty_image(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_state_head h = { .csattr = NVME_CSATTR_CP, .nvmecss = le64_of(2) };

	memcpy(m.p, &h, sizeof(h));
	return m;
}

static struct vmem one_range(struct vt *t, const struct vctl *mc)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_track_mem h = { .rmrtg = t->mmc->id.minmrtg, .rnmrtd = le32_of(1) };
	struct nvme_track_mem_range r = { .saddr = le64_of(mc->iova), .len = le32_of(1) };

	memcpy(m.p, &h, sizeof(h));
	memcpy(m.p + sizeof(h), &r, sizeof(r));
	return m;
}

/* However long a transfer is, it goes where it harms nobody: a list whose entries are one page and whose last is itself. */
static le64 sink(struct vt *t)
{
	struct vmem list = vt_mem(t->mmc, VT_PAGE), page = vt_mem(t->mmc, VT_PAGE);

	for (unsigned i = 0; i < VT_PAGE / 8; i++) {
		le64 a = le64_of(i == VT_PAGE / 8 - 1 ? list.iova : page.iova);

		memcpy(list.p + 8 * i, &a, 8);
	}
	return le64_of(list.iova);
}

static struct vmem data_of(struct vt *t, enum vop op, uint16_t cntlid)
{
	const struct mctrl *x = model_ctrl(t->model, cntlid);

	if (op == VOP_SET_STATE)
		return empty_image(t);
	if (op == VOP_TRACK_MEM)
		return one_range(t, x && !x->c->mmc ? x->c : t->mc[0]);
	return vt_mem(t->mmc, VT_PAGE);
}

static void put_target(struct nvme_sqe *s, enum vop op, uint16_t cntlid)
{
	for (unsigned f = 0; f < VF_COUNT; f++)
		if (vfields[f].op == op && vfields[f].kind == VK_CNTLID)
			vf_put(s, (enum vfid)f, cntlid);
}

struct nvme_sqe aim_bare(struct vt *t, enum vop op, uint16_t cntlid, unsigned way)
{
	struct vmem data = data_of(t, op, cntlid);
	struct nvme_sqe s;

	vop_init(&s, op);
	put_target(&s, op, cntlid);
	s.prp1 = le64_of(data.iova);
	switch (op) {
	case VOP_SUSPEND: vf_put(&s, VF_SUSPEND_stype, way); break;
	case VOP_SET_STATE:
		vf_put(&s, VF_SET_STATE_csvi, 1), vf_put(&s, VF_SET_STATE_numd, 14), vf_put(&s, VF_SET_STATE_seqind, way ? ONLY : FIRST);
		break;
	case VOP_GET_STATE: vf_put(&s, VF_GET_STATE_csvi, 1), vf_put(&s, VF_GET_STATE_numdl, 1023); break;
	case VOP_TRACK_MEM: vf_put(&s, VF_TRACK_MEM_tact, 1); break;
	case VOP_TRACK_RECV: vf_put(&s, VF_TRACK_RECV_numdl, 1023); break;
	case VOP_CDQ_CREATE: vf_put(&s, VF_CDQ_CREATE_pc, 1), vf_put(&s, VF_CDQ_CREATE_cdqsize, 1024); break;
	case VOP_LOG: vf_put(&s, VF_LOG_lact, way); break;
	case VOP_LBA_STATUS:
		s.nsid = le32_of(t->mmc->nss ? t->mmc->ns[0].nsid : 1);
		vf_put(&s, VF_LBA_STATUS_mndw, 1023);
		break;
	default: break;
	}
	return s;
}

static bool names_queue(enum vop op) { return op == VOP_LOG || op == VOP_CDQ_DELETE || op == VOP_SET_CDQ || op == VOP_GET_CDQ; }

static void put_cdqid(struct nvme_sqe *s, enum vop op, uint16_t id)
{
	for (unsigned f = 0; f < VF_COUNT; f++)
		if (vfields[f].op == op && vfields[f].kind == VK_CDQID)
			vf_put(s, (enum vfid)f, id);
}

struct nvme_sqe aim_command(struct vt *t, enum vop op, struct vctl *mc)
{
	struct mcdq *q = model_cdq_of(t->model, mc->cntlid);
	struct vring ring = { .id = q ? q->id : 0 };
	struct nvme_sqe s;

	if (names_queue(op) && !q)
		vh_cdq(t->mmc, mc->cntlid, SLOTS, &ring, ST(S_OK));
	if (op == VOP_TRACK_RECV && !model_ctrl(t->model, mc->cntlid)->tracker)
		vh_track_all(t->mmc, mc);
	if (op == VOP_RESUME)
		vh_suspend(t->mmc, mc->cntlid, 1, false, ST(S_OK));
	s = aim_bare(t, op, mc->cntlid, 1);
	put_cdqid(&s, op, ring.id);
	return s;
}

unsigned aim_send(struct vt *t, const struct nvme_sqe *s)
{
	uint16_t set[MODEL_SET];
	enum vop op = vop_of(s);

	if (op == VOP_FORMATS || op == VOP_LBA_STATUS)
		return vt_do(t->mmc, 0, s, ST(S_OK, S_IF, S_LBA, S_NS, S_XFER));
	model_accept(t->model, t->mmc, s, set);
	return vt_do(t->mmc, 0, s, set);
}

/* ---- values of classes */

static uint32_t id_value(struct vt *t, const struct vfield *f, uint32_t now, enum vbin b)
{
	if (b == VB_LEGAL)
		return now;
	if (f->kind == VK_CNTLID)
		return b == VB_WRONG ? t->mmc->cntlid : ABSENT;
	return b == VB_HIGH ? 0xf000 : b == VB_STALE ? t->model->last_dead : 0x7777;
}

static uint32_t slots_of(struct vt *t, const struct nvme_sqe *s)
{
	struct mcdq *q = model_cdq(t->model, t->mmc, (uint16_t)(le32_get(s->cdw11) & 0xffff));

	return q ? q->slots : SLOTS;
}

uint32_t aim_value(struct vt *t, const struct nvme_sqe *s, enum vfid id, enum vbin b)
{
	const struct vfield *f = &vfields[id];
	uint32_t now = vf_get(s, id);

	switch (f->kind) {
	case VK_CONST: return b == VB_LEGAL ? now : 0x80;
	case VK_ENUM: return b == VB_LEGAL ? now : f->max + (b == VB_HIGH ? 1 : 2);
	case VK_BIT: return b != VB_LEGAL;
	case VK_RESERVED: return b != VB_LEGAL;
	case VK_CNTLID:
	case VK_CDQID: return id_value(t, f, now, b);
	case VK_SIZE: return b == VB_LOW ? 0 : b == VB_HIGH ? 1001 : b == VB_OVERFLOW ? 0xfffffff8 : now;
	case VK_COUNT0: return b == VB_LOW ? 0 : b == VB_HIGH ? 0x4000 : 1023;
	case VK_COUNT: return b == VB_LOW ? 0 : b == VB_HIGH ? 0xffffffff : now;
	case VK_OFFSET: return b == VB_LOW ? 0 : b == VB_HIGH ? 1 : b == VB_OVERFLOW ? 0x80000000 : 4;
	case VK_HIGH: return b == VB_OVERFLOW;
	case VK_VERSION:
	case VK_UUID: return b == VB_LOW ? 0 : b == VB_INDEX ? 200 : 1;
	case VK_SLOT: return b == VB_LOW ? 0 : b == VB_HIGH ? slots_of(t, s) : 1;
	case VK_LBA: return b == VB_LOW ? 0 : b == VB_OVERFLOW ? 0xfffffff0 : b == VB_HIGH && t->mmc->nss ? (uint32_t)t->mmc->ns[0].blocks : 8;
	case VK_OPAQUE: return b != VB_LEGAL;
	case VK_FIXED: break;
	}
	return now;
}

/* A queue that is not contiguous needs a list that stays. */
static void real_list(struct vt *t, struct nvme_sqe *s)
{
	struct vmem list = vt_mem(t->mmc, VT_PAGE), page = vt_mem(t->mmc, VT_PAGE);
	le64 a = le64_of(page.iova);

	memcpy(list.p, &a, sizeof(a));
	s->prp1 = le64_of(list.iova);
}

/* The statuses behind words, as a set. */
static const uint16_t *set_of(const char *words, uint16_t set[16])
{
	unsigned n = 0;

	for (unsigned st = 0; words && st < 0x200 && n < 15; st++)
		if (cov_word_is(words, st))
			set[n++] = (uint16_t)st;
	set[n] = ST_END;
	return set;
}

void aim_field(struct vt *t, enum vfid id, enum vbin b)
{
	struct nvme_sqe s = aim_command(t, vfields[id].op, t->mc[0]);
	const char *words = cov_wrong(&vfields[id], b);
	uint16_t set[16];

	if (vfields[id].kind == VK_CDQID && b == VB_STALE)
		vh_cdq_delete(t->mmc, model_cdq_of(t->model, t->mc[0]->cntlid)->id, ST(S_OK));
	vf_put(&s, id, aim_value(t, &s, id, b));
	s.prp2 = sink(t);
	if (id == VF_CDQ_CREATE_pc && b == VB_LEGAL)
		real_list(t, &s);
	if (words)
		vt_do(t->mmc, 0, &s, set_of(words, set));
	else
		aim_send(t, &s);
}

/* ---- statuses */

static void many_creates(struct vt *t)
{
	for (unsigned i = 0; i < t->mcs; i++) {
		struct nvme_sqe s = aim_bare(t, VOP_CDQ_CREATE, t->mc[i]->cntlid, 1);

		if (vt_do(t->mmc, 0, &s, ST(S_OK, S_38, S_IF)) != S_OK)
			return;
	}
}

static void log_full(struct vt *t)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], 4);

	vt_io_make(t->mc[0], 1, 16);
	vh_scatter(t->mc[0], 1, 0, 8);
	vh_await_visible(&r, 3);
	vh_log(t->mmc, r.id, 1, ST(S_3B, S_OK)); /* or success without room */
}

static void last_alone(struct vt *t)
{
	struct vmem m = empty_image(t);

	vh_suspend(t->mmc, t->mc[0]->cntlid, 1, false, ST(S_OK));
	vh_set(t->mmc, t->mc[0]->cntlid, LAST, 1, 0, 0, &m, 14, ST(S_SEQ));
}

static void prp_offset(struct vt *t)
{
	struct nvme_sqe s = aim_command(t, VOP_CDQ_CREATE, t->mc[0]);

	s.prp1 = le64_of(le64_get(s.prp1) + 8);
	vt_do(t->mmc, 0, &s, ST(S_PRP));
}

/* More queues than any controller has. */
static void too_many_queues(struct vt *t)
{
	enum { N = 600, LEN = 56 + 48 * N };
	struct vctl *to = t->mc[0];
	struct vmem m = vt_mem(t->mmc, LEN);
	struct nvme_state_head h = { .csattr = NVME_CSATTR_CP, .nvmecss = le64_of(2 + 12 * N) };
	struct nvme_state_v0 v0 = { .niosq = le16_of(N), .niocq = le16_of(N) };

	memcpy(m.p, &h, sizeof(h));
	memcpy(m.p + 48, &v0, sizeof(v0));
	for (unsigned i = 0; i < N; i++) {
		struct nvme_state_sq s = { .prp1 = le64_of(to->iova), .qsize0 = le16_of(7), .qid = le16_of((uint16_t)(i + 1)),
					   .cqid = le16_of((uint16_t)(i + 1)), .attr = le16_of(1) };
		struct nvme_state_cq c = { .prp1 = le64_of(to->iova), .qsize0 = le16_of(7), .qid = le16_of((uint16_t)(i + 1)), .attr = le32_of(1) };

		memcpy(m.p + 56 + 24 * i, &s, 24);
		memcpy(m.p + 56 + 24 * (N + i), &c, 24);
	}
	vh_suspend(t->mmc, to->cntlid, 1, false, ST(S_OK));
	vh_set(t->mmc, to->cntlid, ONLY, 1, 0, 0, &m, LEN / 4, ST(S_38, S_IF));
}

static void formats_of_mc(struct vt *t)
{
	struct vmem m;

	vh_identify(t->mc[0], 0x20, 0, 0, 0, &m, ST(S_IF));
}

static void absent_namespace(struct vt *t)
{
	struct nvme_sqe s = aim_bare(t, VOP_LBA_STATUS, 0, 0);

	s.nsid = le32_of(0xfffffff0);
	vt_do(t->mmc, 0, &s, ST(S_NS));
}

static void bad_ranges(struct vt *t) { aim_data(t, CD_RANGE_VER); }

/* Statuses that one wrong field brings about, or a state, or a small scene. */
void aim_status(struct vt *t, enum vop op, unsigned status)
{
	static const struct { enum vop op; uint16_t status; void (*scene)(struct vt *); enum mstate state; enum vfid f; enum vbin b; } ways[] = {
#define SCENE(op, st, fn) { VOP_##op, st, fn, MS_COUNT, VF_COUNT, VB_COUNT }
#define STATE(op, st, ms) { VOP_##op, st, NULL, MS_##ms, VF_COUNT, VB_COUNT }
#define FIELD(op, st, f, b) { VOP_##op, st, NULL, MS_COUNT, VF_##op##_##f, VB_##b }
		FIELD(CDQ_CREATE, S_IF, qt, HIGH), SCENE(CDQ_CREATE, S_PRP, prp_offset), FIELD(CDQ_CREATE, S_1F, cntlid, HIGH),
		SCENE(CDQ_CREATE, S_38, many_creates), FIELD(CDQ_DELETE, S_37, cdqid, HIGH), FIELD(LOG, S_IF, lact, HIGH),
		FIELD(LOG, S_37, cdqid, HIGH), STATE(LOG, S_39, SUSPENDED), SCENE(LOG, S_3B, log_full), SCENE(TRACK_MEM, S_IF, bad_ranges),
		FIELD(TRACK_MEM, S_1F, cntlid, HIGH), STATE(TRACK_MEM, S_39, SUSPENDED), FIELD(TRACK_RECV, S_IF, sel, HIGH),
		FIELD(TRACK_RECV, S_1F, cntlid, HIGH), FIELD(SUSPEND, S_IF, stype, HIGH), FIELD(SUSPEND, S_1F, cntlid, HIGH),
		STATE(RESUME, S_SEQ, PARTIAL), FIELD(RESUME, S_1F, cntlid, HIGH), STATE(RESUME, S_3A, RUNNING),
		FIELD(SET_STATE, S_IF, csvi, INDEX), SCENE(SET_STATE, S_SEQ, last_alone), FIELD(SET_STATE, S_1F, cntlid, HIGH),
		SCENE(SET_STATE, S_38, too_many_queues), FIELD(GET_STATE, S_IF, csvi, INDEX), FIELD(GET_STATE, S_1F, cntlid, HIGH),
		FIELD(SET_CDQ, S_IF, hp, HIGH), FIELD(SET_CDQ, S_37, cdqid, HIGH), FIELD(SET_CDQ, S_NOSAVE, sv, HIGH),
		FIELD(GET_CDQ, S_37, cdqid, HIGH), SCENE(FORMATS, S_IF, formats_of_mc), FIELD(LBA_STATUS, S_IF, atype, RSVD_VALUE),
		FIELD(LBA_STATUS, S_LBA, slba_lo, HIGH), SCENE(LBA_STATUS, S_NS, absent_namespace),
	};
	struct nvme_sqe s;

	if (status == S_OK) {
		s = aim_command(t, op, t->mc[0]);
		vt_do(t->mmc, 0, &s, ST(S_OK));
		return;
	}
	for (unsigned i = 0; i < ARRAY_LEN(ways); i++) {
		if (ways[i].op != op || ways[i].status != status)
			continue;
		if (ways[i].scene)
			ways[i].scene(t);
		else if (ways[i].state != MS_COUNT)
			aim_state(t, op, ways[i].state);
		else
			aim_field(t, ways[i].f, ways[i].b);
		return;
	}
	vt_skip(t, "no way to %s with status %03x is known", vops[op].text, status);
}

/* ---- states and pairs */

uint16_t aim_reach(struct vt *t, enum mstate s)
{
	struct vctl *mc = t->mc[0];
	struct vmem m = empty_image(t);

	if (s == MS_ABSENT)
		return ABSENT;
	if (s == MS_SELF)
		return t->mmc->cntlid;
	if (s == MS_DISABLED)
		vt_disable(mc);
	if (s == MS_SUSPENDED || s == MS_PARTIAL || s == MS_COMMITTED)
		vh_suspend(t->mmc, mc->cntlid, 1, false, ST(S_OK));
	if (s == MS_PARTIAL || s == MS_RPARTIAL)
		vh_set(t->mmc, mc->cntlid, FIRST, 1, 0, 0, &m, 12, ST(S_OK));
	if (s == MS_COMMITTED)
		vh_set(t->mmc, mc->cntlid, ONLY, 1, 0, 0, &m, 14, ST(S_OK));
	return mc->cntlid;
}

void aim_state(struct vt *t, enum vop op, enum mstate state)
{
	struct vring ring = { 0 };
	struct nvme_sqe s;
	uint16_t cntlid;

	if (op == VOP_LOG) /* the queue must be there before its controller is in that state */
		vh_cdq(t->mmc, t->mc[0]->cntlid, SLOTS, &ring, ST(S_OK));
	if (op == VOP_TRACK_RECV)
		vh_track_all(t->mmc, t->mc[0]);
	cntlid = aim_reach(t, state);
	s = aim_bare(t, op, cntlid, 1);
	if (op == VOP_LOG)
		vf_put(&s, VF_LOG_cdqid, state == MS_ABSENT ? 0x7777 : ring.id);
	aim_send(t, &s);
}

void aim_pair(struct vt *t, enum vop first, enum vop then)
{
	struct nvme_sqe a, b;

	if (first != VOP_RESUME)
		a = aim_command(t, first, t->mc[0]);
	b = aim_command(t, then, t->mc[0]);
	if (first == VOP_RESUME) /* what the other rests on cannot be had of a suspended controller */
		a = aim_command(t, first, t->mc[0]);
	aim_send(t, &a);
	aim_send(t, &b);
}
