/* The shadow's transitions and judgement. See model.h. */
#include "verify/model.h"

#include "base/check.h"

#define STATE_NAME_(name, text) text,
const char *mstate_name(unsigned s)
{
	static const char *const name[] = { MSTATES(STATE_NAME_) };

	return s < MS_COUNT ? name[s] : "?";
}

/* Operation by target state. Words are statuses; "?" stands where the book is silent: any answer of the command's own list. Success
 * of an operation on a controller it makes no difference to is written OK. */
#define Q "OK IF 1F 37 38 39 3A SEQ"
static const char *const cell[VOP_COUNT][MS_COUNT] = {
	/*                   running      suspended  +partial  +committed  run+partial  CC.EN=0    absent  self */
	[VOP_SUSPEND]    = { "OK",        "OK",      "OK",     "OK",       "OK",        Q,         "1F IF", "1F IF" },
	[VOP_RESUME]     = { "3A",        "OK",      "SEQ",    "OK",       "3A SEQ",    Q,         "1F IF", "1F IF 3A" },
	[VOP_SET_STATE]  = { "OK IF SEQ", "OK IF SEQ", "OK IF SEQ", "OK IF SEQ", "OK IF SEQ", "1F IF SEQ", "1F",   "1F IF" },
	[VOP_GET_STATE]  = { "OK",        "OK",      "OK",     "OK",       "OK",        Q,         "1F",   "1F OK" },
	[VOP_LOG]        = { "OK",        "39",      "39",     "39",       "OK",        Q,         "37",   "37" },
	[VOP_TRACK_MEM]  = { "OK",        "39",      "39",     "39",       "OK",        Q,         "1F",   "1F" },
	[VOP_TRACK_RECV] = { "OK",        "OK",      "OK",     "OK",       "OK",        "OK 1F IF", "1F IF", "1F IF" },
	[VOP_CDQ_CREATE] = { "OK",        Q,         Q,        Q,          "OK",        Q,         "1F",   "1F IF" },
};
#undef Q

const char *model_cell(enum vop op, enum mstate s) { return op >= 0 && op < VOP_COUNT && cell[op][s] ? cell[op][s] : ""; }

/* ---- who is who */

void model_init(struct model *m, struct vt *t)
{
	memset(m, 0, sizeof(*m));
	m->t = t;
	m->last_dead = 0xffff;
	for (unsigned i = 0; i < t->ctls; i++)
		m->ctrl[i].c = &t->ctl[i];
}

static struct mctrl *ctrl_in(struct model *m, unsigned sub, uint16_t cntlid)
{
	for (unsigned i = 0; i < m->t->ctls; i++)
		if (m->ctrl[i].c && m->ctrl[i].c->sub == sub && m->ctrl[i].c->cntlid == cntlid)
			return &m->ctrl[i];
	return NULL;
}

struct mctrl *model_ctrl(struct model *m, uint16_t cntlid) { return ctrl_in(m, 0, cntlid); }

static struct mctrl *of(struct model *m, const struct vctl *c)
{
	for (unsigned i = 0; i < m->t->ctls; i++)
		if (m->ctrl[i].c == c)
			return &m->ctrl[i];
	return NULL;
}

struct mcdq *model_cdq(struct model *m, const struct vctl *mmc, uint16_t id)
{
	for (unsigned i = 0; i < MODEL_CDQS; i++)
		if (m->cdq[i].live && m->cdq[i].mmc == mmc && m->cdq[i].id == id)
			return &m->cdq[i];
	return NULL;
}

static struct mcdq *cdq_in(struct model *m, unsigned sub, uint16_t cntlid)
{
	for (unsigned i = 0; i < MODEL_CDQS; i++)
		if (m->cdq[i].live && m->cdq[i].mmc->sub == sub && m->cdq[i].cntlid == cntlid)
			return &m->cdq[i];
	return NULL;
}

struct mcdq *model_cdq_of(struct model *m, uint16_t cntlid) { return cdq_in(m, 0, cntlid); }

/* ---- transitions */

static void drop_cdq(struct model *m, struct mcdq *q)
{
	m->last_dead = q->id;
	q->live = q->logging = false;
}

void model_reset(struct model *m, struct vctl *c)
{
	struct mctrl *me = of(m, c);

	if (!me)
		return;
	me->maybe_partial |= me->partial;	/* whether a reset of the target ends a sequence is a reading */
	me->enabled = me->suspended = me->partial = me->committed = me->unsure = false;
	me->queues = 0;
	if (!c->mmc)
		return;
	for (unsigned i = 0; i < MODEL_CDQS; i++)
		if (m->cdq[i].live && m->cdq[i].mmc == c)
			drop_cdq(m, &m->cdq[i]);
	for (unsigned i = 0; i < m->t->ctls; i++) {
		struct mctrl *o = &m->ctrl[i];

		if (!o->c || o->c->sub != c->sub)
			continue;
		if (o->tracker == c)
			o->tracker = NULL;
		o->partial = o->maybe_partial = false;
		o->unsure |= o->suspended; /* X2: released, or not; until somebody has looked */
	}
}

void model_enabled(struct model *m, struct vctl *c)
{
	struct mctrl *me = of(m, c);

	if (me)
		me->enabled = true;
}

static void done_set_state(struct mctrl *x, const struct nvme_sqe *s)
{
	unsigned seq = vf_get(s, VF_SET_STATE_seqind);

	x->partial = seq == 1 || (seq == 0 && x->partial);
	x->maybe_partial = false;
	x->committed |= seq >= 2;
	if (seq >= 2)
		x->queues = 1;
}

static void done_cdq_create(struct model *m, struct vctl *c, const struct nvme_sqe *s, const struct nvme_cqe *e)
{
	for (unsigned i = 0; i < MODEL_CDQS; i++)
		if (!m->cdq[i].live) {
			m->cdq[i] = (struct mcdq){ .live = true, .mmc = c, .id = (uint16_t)le32_get(e->dw0),
						   .cntlid = (uint16_t)vf_get(s, VF_CDQ_CREATE_cntlid),
						   .slots = vf_get(s, VF_CDQ_CREATE_cdqsize) / 8, .iova = le64_get(s->prp1) };
			return;
		}
}

static void done_suspend(struct model *m, struct mctrl *x, uint16_t cntlid, const struct nvme_sqe *s)
{
	struct mcdq *q = cdq_in(m, x->c->sub, cntlid);

	if (vf_get(s, VF_SUSPEND_stype) != 1)
		return;
	x->suspended = true;
	x->unsure = false;
	if (vf_get(s, VF_SUSPEND_dudmq) && q)
		drop_cdq(m, q);
}

/* A command that succeeded. */
static void succeeded(struct model *m, struct vctl *c, enum vop op, const struct nvme_sqe *s, const struct nvme_cqe *e)
{
	struct mctrl *x = NULL;
	struct mcdq *q;
	enum mstate st;
	uint16_t id = 0;

	if (model_target(m, c, s, &id, &st))
		x = ctrl_in(m, c->sub, id);
	switch (op) {
	case VOP_CDQ_CREATE: done_cdq_create(m, c, s, e); break;
	case VOP_CDQ_DELETE:
		if ((q = model_cdq(m, c, (uint16_t)vf_get(s, VF_CDQ_DELETE_cdqid))))
			drop_cdq(m, q);
		break;
	case VOP_LOG:
		if ((q = model_cdq(m, c, (uint16_t)vf_get(s, VF_LOG_cdqid))))
			q->logging = vf_get(s, VF_LOG_lact);
		break;
	case VOP_TRACK_MEM:
		if (x)
			x->tracker = vf_get(s, VF_TRACK_MEM_tact) ? c : NULL;
		break;
	case VOP_SUSPEND:
		if (x)
			done_suspend(m, x, id, s);
		break;
	case VOP_RESUME:
		if (x)
			x->suspended = x->committed = x->unsure = x->partial = x->maybe_partial = false;
		break;
	case VOP_SET_STATE:
		if (x)
			done_set_state(x, s);
		break;
	default: break;
	}
}

/* A refusal tells something too: a failed last piece closes its sequence, and Resume of a controller that is not suspended says so. */
static void failed(struct model *m, struct vctl *c, enum vop op, const struct nvme_sqe *s, unsigned status)
{
	struct mctrl *x;
	enum mstate st;
	uint16_t id;

	if (!model_target(m, c, s, &id, &st) || !(x = ctrl_in(m, c->sub, id)))
		return;
	if (op == VOP_RESUME && status == S_3A)
		x->suspended = x->committed = x->unsure = false;
	if (op == VOP_RESUME && status == S_SEQ)
		x->partial = true, x->maybe_partial = false;
	if (op == VOP_SET_STATE && x->partial)
		x->maybe_partial = true;
}

void model_done(struct model *m, struct vctl *c, unsigned qid, const struct nvme_sqe *s, const struct nvme_cqe *e)
{
	enum vop op = vop_of(s);
	struct mctrl *me = of(m, c);

	if (qid || !me)
		return;
	if (!nvme_cqe_status(e) && (s->opc == NVME_OP_CREATE_CQ || s->opc == NVME_OP_CREATE_SQ))
		me->queues++;
	else if (!nvme_cqe_status(e) && (s->opc == NVME_OP_DELETE_CQ || s->opc == NVME_OP_DELETE_SQ) && me->queues)
		me->queues--;
	if (!c->mmc || op == VOP_NONE)
		return;
	if (nvme_cqe_status(e))
		failed(m, c, op, s, nvme_cqe_status(e));
	else
		succeeded(m, c, op, s, e);
}

/* ---- judgement */

static enum mstate state_of(struct model *m, const struct vctl *mmc, uint16_t cntlid)
{
	struct mctrl *x = ctrl_in(m, mmc->sub, cntlid);

	if (!x)
		return MS_ABSENT;
	if (x->c == mmc || x->c->mmc)
		return MS_SELF;
	if (x->suspended)
		return x->partial ? MS_PARTIAL : x->committed ? MS_COMMITTED : MS_SUSPENDED;
	return !x->enabled ? MS_DISABLED : x->partial ? MS_RPARTIAL : MS_RUNNING;
}

bool model_target(struct model *m, const struct vctl *mmc, const struct nvme_sqe *s, uint16_t *cntlid, enum mstate *st)
{
	static const struct { enum vop op; enum vfid f; } at[] = {
		{ VOP_SUSPEND, VF_SUSPEND_cntlid }, { VOP_RESUME, VF_RESUME_cntlid }, { VOP_SET_STATE, VF_SET_STATE_cntlid },
		{ VOP_GET_STATE, VF_GET_STATE_cntlid }, { VOP_TRACK_MEM, VF_TRACK_MEM_cntlid }, { VOP_TRACK_RECV, VF_TRACK_RECV_cntlid },
		{ VOP_CDQ_CREATE, VF_CDQ_CREATE_cntlid }
	};
	enum vop op = vop_of(s);
	struct mcdq *q;

	for (unsigned i = 0; i < ARRAY_LEN(at); i++)
		if (at[i].op == op) {
			*cntlid = (uint16_t)vf_get(s, at[i].f);
			*st = state_of(m, mmc, *cntlid);
			return true;
		}
	if (op != VOP_LOG)
		return false;
	q = model_cdq(m, mmc, (uint16_t)vf_get(s, VF_LOG_cdqid));
	*cntlid = q ? q->cntlid : 0xffff;
	*st = q ? state_of(m, mmc, q->cntlid) : MS_ABSENT;
	return true;
}

struct verdict { uint16_t *set; unsigned n; bool ok; };

static void may(struct verdict *v, unsigned status)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->set[i] == status)
			return;
	if (v->n + 1 < MODEL_SET)
		v->set[v->n++] = (uint16_t)status;
}

/* A reason to refuse: success is out, this answer is in. */
static void must(struct verdict *v, unsigned status)
{
	v->ok = false;
	may(v, status);
}

static unsigned word(const char *w, size_t n)
{
	static const struct { const char *w; uint16_t s; } of_word[] = {
		{ "OK", S_OK }, { "IF", S_IF }, { "SEQ", S_SEQ }, { "1F", S_1F }, { "37", S_37 }, { "38", S_38 }, { "39", S_39 }, { "3A", S_3A }
	};

	for (unsigned i = 0; i < ARRAY_LEN(of_word); i++)
		if (strlen(of_word[i].w) == n && !strncmp(of_word[i].w, w, n))
			return of_word[i].s;
	CHECK(false); /* a word of our own table */
}

static void take_cell(struct verdict *v, const char *text)
{
	bool has_ok = false;

	for (const char *p = text; *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " ");
		unsigned s = word(p, n);

		if (s == S_OK)
			has_ok = true;
		else
			may(v, s);
		p += n;
	}
	v->ok &= has_ok;
}

static void judge_fields(struct verdict *v, enum vop op, const struct nvme_sqe *s)
{
	for (unsigned i = 0; i < VF_COUNT; i++) {
		uint32_t val = vf_get(s, (enum vfid)i);

		if (vfields[i].op != op)
			continue;
		if (vfields[i].kind == VK_RESERVED && val)
			may(v, S_IF);
		if (vfields[i].kind == VK_ENUM && val > vfields[i].max)
			must(v, S_IF);
		if (vfields[i].kind == VK_OPAQUE && val && !strcmp(vfields[i].name, "uidx"))
			may(v, S_IF);
	}
}

static void judge_create(struct model *m, struct verdict *v, const struct vctl *mmc, const struct nvme_sqe *s)
{
	uint32_t size = vf_get(s, VF_CDQ_CREATE_cdqsize);

	may(v, S_38), may(v, S_IF); /* limits of queues and ranges are not modelled */
	if (size % 8 || size > mmc->bytes / 4) {
		must(v, S_IF);
		may(v, S_38), may(v, S_XFER);
	}
	if (size <= 8) {
		may(v, S_IF), may(v, S_38);
		v->ok &= size == 8;
	}
	if (le64_get(s->prp1) & (VT_PAGE - 1))
		must(v, S_PRP);
	if (!vf_get(s, VF_CDQ_CREATE_pc)) /* whatever the page holds is taken for a list */
		may(v, S_PRP), may(v, S_XFER), may(v, S_IF);
	if (cdq_in(m, mmc->sub, (uint16_t)vf_get(s, VF_CDQ_CREATE_cntlid)))
		must(v, S_IF);
}

static void judge_log(struct model *m, struct verdict *v, const struct vctl *mmc, const struct nvme_sqe *s)
{
	struct mcdq *q = model_cdq(m, mmc, (uint16_t)vf_get(s, VF_LOG_cdqid));
	unsigned lact = vf_get(s, VF_LOG_lact);

	if (!q) {
		must(v, S_37);
		return;
	}
	if (lact == 1 && q->logging && q->room)
		must(v, S_37);
	else if (lact == 1 && q->logging)
		may(v, S_37); /* or it had overflowed, and logging had ended */
	if (lact == 1 && !q->room)
		may(v, S_3B); /* full, if nobody gave slots back */
	if (lact == 0 && !q->logging)
		may(v, S_IF), may(v, S_37);
}

static void judge_track(struct model *m, struct verdict *v, const struct vctl *mmc, const struct nvme_sqe *s)
{
	struct mctrl *x = ctrl_in(m, mmc->sub, (uint16_t)vf_get(s, VF_TRACK_MEM_cntlid));

	if (vf_get(s, VF_TRACK_MEM_tact)) {
		if (x && x->tracker)
			must(v, S_1F);
		may(v, S_38);
	} else {
		if (!x || !x->tracker)
			may(v, S_1F), may(v, S_IF);
		if (x && x->suspended)
			v->ok = true; /* the text forbids the start; whether it forbids the stop is a reading */
	}
}

static void judge_set_state(struct model *m, struct verdict *v, const struct vctl *mmc, const struct nvme_sqe *s)
{
	struct mctrl *x = ctrl_in(m, mmc->sub, (uint16_t)vf_get(s, VF_SET_STATE_cntlid));
	unsigned seq = vf_get(s, VF_SET_STATE_seqind);

	/* Whether the image is a good one is not the model's to say: refusals for that are always right. */
	may(v, S_IF), may(v, S_38), may(v, S_PRP);
	if (vf_get(s, VF_SET_STATE_csol) & 3)
		must(v, S_IF);
	if (!vf_get(s, VF_SET_STATE_csvi) && !vf_get(s, VF_SET_STATE_csuuidi))
		must(v, S_IF);
	if (!vf_get(s, VF_SET_STATE_numd) && seq != 2)
		must(v, S_IF);
	if (vf_get(s, VF_SET_STATE_csou) || vf_get(s, VF_SET_STATE_numd) > MIB / 4)
		must(v, S_IF), may(v, S_XFER);
	if (x && !x->c->mmc && (seq == 0 || seq == 2) && !x->partial && !x->maybe_partial && !x->unsure)
		must(v, S_SEQ);
	if (x && (seq == 1 || seq == 3) && !x->unsure)
		for (unsigned i = 0; i < v->n; i++) /* a sequence error would be wrong here */
			if (v->set[i] == S_SEQ)
				v->set[i] = S_IF;
}

/* NUMDL, 0's based. More than MDTS allows may be refused; more than our lists describe ends somewhere else. */
static void judge_length(struct verdict *v, const struct vctl *mmc, uint32_t numdl)
{
	uint64_t most = mmc->id.mdts ? 4096ull << MIN(mmc->id.mdts, 20) : UINT64_MAX;

	if (4ull * numdl + 4 > most || numdl >= MIB / 4)
		may(v, S_IF), may(v, S_XFER);
}

static void judge_get_state(struct verdict *v, const struct vctl *mmc, const struct nvme_sqe *s)
{
	if (vf_get(s, VF_GET_STATE_ol) & 3)
		must(v, S_IF);
	if (vf_get(s, VF_GET_STATE_ol) || vf_get(s, VF_GET_STATE_ou) || vf_get(s, VF_GET_STATE_csvi) > 1 || vf_get(s, VF_GET_STATE_csuuidi))
		may(v, S_IF); /* how long the image is and what is listed is the controller's */
	if (vf_get(s, VF_GET_STATE_ou) || vf_get(s, VF_GET_STATE_csvi) > 200 || vf_get(s, VF_GET_STATE_csuuidi) > 200)
		must(v, S_IF);
	judge_length(v, mmc, vf_get(s, VF_GET_STATE_numdl));
}

static void judge_feature(struct model *m, struct verdict *v, const struct vctl *mmc, enum vop op, const struct nvme_sqe *s)
{
	struct mcdq *q = model_cdq(m, mmc, (uint16_t)(le32_get(s->cdw11) & 0xffff));

	may(v, S_IF);
	if (op == VOP_GET_CDQ && vf_get(s, VF_GET_CDQ_sel)) {
		may(v, S_37); /* default, saved and capabilities are not of one queue */
		return;
	}
	if (op == VOP_SET_CDQ && vf_get(s, VF_SET_CDQ_sv))
		must(v, S_NOSAVE);
	if (!q) {
		must(v, S_37);
		return;
	}
	if (op == VOP_SET_CDQ && vf_get(s, VF_SET_CDQ_hp) >= q->slots)
		must(v, S_IF);
	if (op == VOP_SET_CDQ && vf_get(s, VF_SET_CDQ_etpt) && vf_get(s, VF_SET_CDQ_tpt) >= q->slots)
		must(v, S_IF);
}

bool model_accept(struct model *m, const struct vctl *mmc, const struct nvme_sqe *s, uint16_t set[MODEL_SET])
{
	struct verdict v = { set, 0, true };
	enum vop op = vop_of(s);
	struct mctrl *x = NULL;
	enum mstate st;
	uint16_t id;

	if (op == VOP_NONE) {
		must(&v, S_IF);
	} else if (model_target(m, mmc, s, &id, &st)) {
		take_cell(&v, model_cell(op, st));
		x = ctrl_in(m, mmc->sub, id);
		if (x && x->maybe_partial && !x->c->mmc) {
			take_cell(&v, "SEQ OK");
			v.ok = strstr(model_cell(op, x->suspended ? MS_SUSPENDED : MS_RUNNING), "OK") || strstr(model_cell(op, st), "OK");
		}
		if (x && x->unsure && !x->c->mmc) { /* both readings */
			bool ok = v.ok;

			take_cell(&v, model_cell(op, x->suspended ? MS_RUNNING : MS_SUSPENDED));
			take_cell(&v, model_cell(op, MS_SUSPENDED));
			may(&v, S_SEQ);
			v.ok = ok || strstr(model_cell(op, MS_RUNNING), "OK") || strstr(model_cell(op, MS_SUSPENDED), "OK");
		}
	}
	judge_fields(&v, op, s);
	switch (op) {
	case VOP_CDQ_CREATE: judge_create(m, &v, mmc, s); break;
	case VOP_CDQ_DELETE:
		if (!model_cdq(m, mmc, (uint16_t)vf_get(s, VF_CDQ_DELETE_cdqid)))
			must(&v, S_37);
		break;
	case VOP_LOG: judge_log(m, &v, mmc, s); break;
	case VOP_TRACK_MEM: judge_track(m, &v, mmc, s); break;
	case VOP_TRACK_RECV:
		if (!x || x->tracker != mmc)
			must(&v, S_1F), may(&v, S_IF);
		if (vf_get(s, VF_TRACK_RECV_numdl) < 3)
			may(&v, S_IF), may(&v, S_XFER);
		judge_length(&v, mmc, vf_get(s, VF_TRACK_RECV_numdl));
		break;
	case VOP_SET_STATE: judge_set_state(m, &v, mmc, s); break;
	case VOP_GET_STATE: judge_get_state(&v, mmc, s); break;
	case VOP_SET_CDQ:
	case VOP_GET_CDQ: judge_feature(m, &v, mmc, op, s); break;
	default: break;
	}
	if (v.ok)
		may(&v, S_OK);
	set[v.n] = ST_END;
	return v.ok;
}
