/* Counting. The page and the hole list are in cover_page.c. */
#include "verify/cover.h"

#include <stdio.h>
#include <stdlib.h>

const char *const cov_statuses[VOP_COUNT] = {
	[VOP_CDQ_CREATE] = "OK IF PRP 1F 38", [VOP_CDQ_DELETE] = "OK 37", [VOP_LOG] = "OK IF 37 39 3B", [VOP_TRACK_MEM] = "OK IF 1F 38 39",
	[VOP_TRACK_RECV] = "OK IF 1F", [VOP_SUSPEND] = "OK IF 1F", [VOP_RESUME] = "OK SEQ 1F 3A", [VOP_SET_STATE] = "OK IF SEQ 1F 38",
	[VOP_GET_STATE] = "OK IF 1F", [VOP_SET_CDQ] = "OK IF 37 0D", [VOP_GET_CDQ] = "OK 37", [VOP_FORMATS] = "OK IF",
	[VOP_LBA_STATUS] = "OK IF 80 0B",
};

static const struct { const char *word; uint16_t status; } words[] = {
	{ "OK", S_OK }, { "IF", S_IF }, { "SEQ", S_SEQ }, { "PRP", S_PRP }, { "1F", S_1F }, { "37", S_37 }, { "38", S_38 }, { "39", S_39 },
	{ "3A", S_3A }, { "3B", S_3B }, { "0D", S_NOSAVE }, { "80", S_LBA }, { "0B", S_NS }
};

struct cov {
	struct cov_point *p;
	uint64_t *hits;
	unsigned n, cap;
	/* number of the first point of a kind that is found by arithmetic */
	unsigned field[VF_COUNT][VB_COUNT], state[VOP_COUNT][MS_COUNT], pair[VOP_COUNT][VOP_COUNT];
	enum vop last;
};

static unsigned add(struct cov *c, struct cov_point p)
{
	if (c->n == c->cap) {
		unsigned cap = c->cap ? 2 * c->cap : 1024;
		struct cov_point *np = realloc(c->p, cap * sizeof(*np));

		if (!np)
			return 0;
		c->p = np;
		c->cap = cap;
	}
	c->p[c->n] = p;
	return ++c->n; /* 1-based: 0 is none */
}

static void add_fields(struct cov *c)
{
	for (unsigned f = 0; f < VF_COUNT; f++)
		for (unsigned b = 0; b < VB_COUNT; b++) {
			struct cov_point p = { COV_FIELD, vfields[f].op, f, b, "" };

			if (!vbin_exists(&vfields[f], (enum vbin)b))
				continue;
			snprintf(p.name, sizeof(p.name), "%s.%s/%s", vops[p.op].name, vfields[f].name, vbin_name(b));
			c->field[f][b] = add(c, p);
		}
}

static void add_statuses(struct cov *c)
{
	for (unsigned o = 0; o < VOP_COUNT; o++)
		for (unsigned w = 0; w < ARRAY_LEN(words); w++) {
			struct cov_point p = { COV_STATUS, (enum vop)o, w, words[w].status, "" };
			const char *at = strstr(cov_statuses[o], words[w].word);
			size_t n = strlen(words[w].word);

			if (!at || (at != cov_statuses[o] && at[-1] != ' ') || (at[n] && at[n] != ' '))
				continue;
			snprintf(p.name, sizeof(p.name), "%s=%s", vops[o].name, words[w].word);
			add(c, p);
		}
}

static void add_crosses(struct cov *c)
{
	for (unsigned o = 0; o < VOP_COUNT; o++)
		for (unsigned s = 0; s < MS_COUNT; s++) {
			struct cov_point p = { COV_STATE, (enum vop)o, s, 0, "" };

			if (!model_cell((enum vop)o, (enum mstate)s)[0])
				continue;
			snprintf(p.name, sizeof(p.name), "%s@%s", vops[o].name, mstate_name(s));
			c->state[o][s] = add(c, p);
		}
	for (unsigned o = 0; o < VOP_COUNT; o++)
		for (unsigned s = 0; s < VOP_COUNT; s++) {
			struct cov_point p = { COV_PAIR, (enum vop)o, s, 0, "" };

			snprintf(p.name, sizeof(p.name), "%s>%s", vops[o].name, vops[s].name);
			c->pair[o][s] = add(c, p);
		}
}

struct cov *cov_new(void)
{
	struct cov *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->last = VOP_NONE;
	add_fields(c);
	add_statuses(c);
	add_crosses(c);
	c->hits = calloc(c->n ? c->n : 1, sizeof(*c->hits));
	if (c->hits)
		return c;
	cov_free(c);
	return NULL;
}

void cov_free(struct cov *c)
{
	if (!c)
		return;
	free(c->p);
	free(c->hits);
	free(c);
}

unsigned cov_points(const struct cov *c) { return c->n; }
const struct cov_point *cov_point(const struct cov *c, unsigned i) { return &c->p[i]; }
uint64_t cov_hits(const struct cov *c, unsigned i) { return c->hits[i]; }

void cov_add(struct cov *c, const char *name, uint64_t hits)
{
	for (unsigned i = 0; i < c->n; i++)
		if (!strcmp(c->p[i].name, name)) {
			c->hits[i] += hits;
			return;
		}
}

const char *cov_kind_name(unsigned k)
{
	static const char *const name[] = { "field bins", "operation x status", "operation x state of the target", "operation after operation" };

	return k < COV_KINDS ? name[k] : "?";
}

static bool is(const struct cov_point *p, const char *name) { return !strcmp(p->name, name); }

const char *cov_excuse(const struct cov_point *p, uint32_t caps)
{
	bool cdq = p->op == VOP_CDQ_CREATE || p->op == VOP_CDQ_DELETE || p->op == VOP_LOG || p->op == VOP_SET_CDQ || p->op == VOP_GET_CDQ;

	if (!(caps & DUT_MMC))
		return dut_cap_why(DUT_BIT_MMC);
	if (cdq && !(caps & DUT_TUDCS))
		return dut_cap_why(DUT_BIT_TUDCS);
	if ((p->op == VOP_TRACK_MEM || p->op == VOP_TRACK_RECV) && !(caps & DUT_THMCS))
		return dut_cap_why(DUT_BIT_THMCS);
	if (p->op == VOP_LBA_STATUS && !(caps & DUT_RALBAS))
		return dut_cap_why(DUT_BIT_RALBAS);
	if (is(p, "TRACK_MEM=38"))
		return "only where the controller lacks resources for ranges it announces; none of our sizes provokes it";
	if (is(p, "LOG@self (MMC)"))
		return "a queue cannot be made for the MMC, so none can be named";
	if (is(p, "SET_STATE.numd/boundary+") && !(caps & DUT_MEM))
		return dut_cap_why(DUT_BIT_MEM);
	return NULL;
}

void cov_kind_sum(const struct cov *c, enum cov_kind k, uint32_t caps, unsigned *hit, unsigned *all)
{
	*hit = *all = 0;
	for (unsigned i = 0; i < c->n; i++)
		if (c->p[i].kind == k && !cov_excuse(&c->p[i], caps)) {
			(*all)++;
			*hit += c->hits[i] > 0;
		}
}

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

static void hit(struct cov *c, unsigned number)
{
	if (number)
		c->hits[number - 1]++;
}

/* A reserved selector belongs to no operation; it is counted at those that share its opcode. */
static void reserved_selector(struct cov *v, const struct nvme_sqe *s)
{
	for (unsigned f = 0; f < VF_COUNT; f++)
		if (vfields[f].kind == VK_CONST && vops[vfields[f].op].opc == s->opc && s->opc != NVME_OP_SET_FEATURES &&
		    s->opc != NVME_OP_GET_FEATURES && s->opc != NVME_OP_IDENTIFY)
			hit(v, v->field[f][VB_RSVD_VALUE]);
}

void cov_sent(struct cov *v, struct vctl *c, struct vcmd *k)
{
	struct model *m = c->t->model;
	uint16_t id;
	enum mstate st;

	k->op = (int8_t)(k->qid ? VOP_NONE : vop_of(&k->sqe));
	k->mstate = MS_COUNT;
	if (!m || k->qid)
		return;
	if (k->op == VOP_NONE) {
		if (v)
			reserved_selector(v, &k->sqe);
		return;
	}
	if (model_target(m, c, &k->sqe, &id, &st))
		k->mstate = (uint8_t)st;
	for (unsigned f = 0; v && f < VF_COUNT; f++)
		if (vfields[f].op == (enum vop)k->op)
			hit(v, v->field[f][classify(m, c, &k->sqe, &vfields[f], vf_get(&k->sqe, (enum vfid)f))]);
}

void cov_done(struct cov *v, struct vctl *c, struct vcmd *k)
{
	unsigned st = nvme_cqe_status(&k->cqe);

	if (v && k->op >= 0) {
		for (unsigned i = 0; i < v->n; i++)
			if (v->p[i].kind == COV_STATUS && v->p[i].op == (enum vop)k->op && v->p[i].b == st)
				v->hits[i]++;
		if (k->mstate < MS_COUNT)
			hit(v, v->state[k->op][k->mstate]);
		if (v->last >= 0)
			hit(v, v->pair[v->last][k->op]);
		v->last = (enum vop)k->op;
	}
	if (c->t->model)
		model_done(c->t->model, c, k->qid, &k->sqe, &k->cqe);
}
