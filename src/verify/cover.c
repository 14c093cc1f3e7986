/* The points: fields by class, operations by status, and the crosses, which are rows of a table with lists for dimensions. What counts them
 * is in cover_see.c and cover_data.c, what excuses them in cover_why.c, the page and the hole list in cover_page.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "verify/cover_in.h"

const char *const cov_statuses[VOP_COUNT] = {
	[VOP_CDQ_CREATE] = "OK IF PRP 1F 38", [VOP_CDQ_DELETE] = "OK 37", [VOP_LOG] = "OK IF 37 39 3B", [VOP_TRACK_MEM] = "OK IF 1F 38 39",
	[VOP_TRACK_RECV] = "OK IF 1F", [VOP_SUSPEND] = "OK IF 1F", [VOP_RESUME] = "OK SEQ 1F 3A", [VOP_SET_STATE] = "OK IF SEQ 1F 38",
	[VOP_GET_STATE] = "OK IF 1F", [VOP_SET_CDQ] = "OK IF 37 0D", [VOP_GET_CDQ] = "OK 37", [VOP_FORMATS] = "OK IF",
	[VOP_LBA_STATUS] = "OK IF 80 0B",
};

static const struct { const char *word; uint16_t status; } words[] = {
	{ "OK", S_OK }, { "IF", S_IF }, { "SEQ", S_SEQ }, { "PRP", S_PRP }, { "1F", S_1F }, { "37", S_37 }, { "38", S_38 }, { "39", S_39 },
	{ "3A", S_3A }, { "3B", S_3B }, { "0D", S_NOSAVE }, { "80", S_LBA }, { "0B", S_NS }, { "XFER", S_XFER }
};

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (!p[n] || p[n] == ' '))
			return true;
	return false;
}

bool cov_word_is(const char *list, unsigned status)
{
	for (unsigned w = 0; w < ARRAY_LEN(words); w++)
		if (words[w].status == status && has_word(list, words[w].word))
			return true;
	return false;
}

const char *cov_kind_name(unsigned k)
{
#define NAME_(n, text, percent) text,
	static const char *const name[] = { COV_KIND_LIST(NAME_) };

	return k < COV_KINDS ? name[k] : "?";
}

unsigned cov_kind_target(unsigned k)
{
#define TARGET_(n, text, percent) percent,
	static const uint8_t target[] = { COV_KIND_LIST(TARGET_) };

	return k < COV_KINDS ? target[k] : 100;
}

/* ---- dimensions */

#define TEXT_(n, t) t,
#define DIM_(list, prefix)                                                                              \
	static const char *const text_##list[] = { list(TEXT_) }, *const code_##list[] = { list(prefix) }; \
	static const struct cov_dim dim_##list = { text_##list, code_##list, ARRAY_LEN(text_##list) };
#define CODE_CP_(n, t) "CP_" #n,
#define CODE_CH_(n, t) "CH_" #n,
#define CODE_CD_(n, t) "CD_" #n,
#define CODE_CS_(n, t) "CS_" #n,
#define CODE_CQ_(n, t) "CQ_" #n,
#define CODE_CT_(n, t) "CT_" #n,
#define CODE_CI_(n, t) "CI_" #n,
#define CODE_CW_(n, t) "CW_" #n,
#define CODE_CL_(n, t) "CL_" #n,
#define CODE_CM_(n, t) "CM_" #n,
#define CODE_CE_(n, t) "CE_" #n,
#define CODE_CU_(n, t) "CU_" #n,
#define CODE_CN_(n, t) "CN_" #n,
#define CODE_CR_(n, t) "CR_" #n,
#define CODE_CB_(n, t) "CB_" #n,
#define CODE_CF_(n, t) "CF_" #n,
#define CODE_MS_(n, t) "MS_" #n,
DIM_(COV_PHASES, CODE_CP_)
DIM_(COV_HEADERS, CODE_CH_)
DIM_(COV_DATAS, CODE_CD_)
DIM_(COV_SHAPES, CODE_CS_)
DIM_(COV_QUEUES, CODE_CQ_)
DIM_(COV_PHASE_TAGS, CODE_CT_)
DIM_(COV_IENS, CODE_CI_)
DIM_(COV_SHARED, CODE_CW_)
DIM_(COV_LOGS, CODE_CL_)
DIM_(COV_MODS, CODE_CM_)
DIM_(COV_EXTENTS, CODE_CE_)
DIM_(COV_FILLS, CODE_CU_)
DIM_(COV_LEARNS, CODE_CN_)
DIM_(COV_RESETS, CODE_CR_)
DIM_(COV_SIDES, CODE_CB_)
DIM_(COV_FAULTS, CODE_CF_)
DIM_(MSTATES, CODE_MS_)
#define OP_TEXT_(name, opc, mask, val, text) #name,
#define OP_CODE_(name, opc, mask, val, text) "VOP_" #name,
static const char *const text_ops[] = { VOPS(OP_TEXT_) }, *const code_ops[] = { VOPS(OP_CODE_) };
static const struct cov_dim dim_ops = { text_ops, code_ops, VOP_COUNT };

/* ---- what cannot be, by rule */

static bool no_cell(const uint8_t *d) { return !model_cell((enum vop)d[0], (enum mstate)d[1])[0]; }

/* Write and Copy name one range or several by themselves; a whole namespace fits a command without data. */
static bool no_extent(const uint8_t *d)
{
	enum cov_extent e = d[2];

	switch ((enum cov_mod)d[1]) {
	case CM_WRITE: return e == CE_RANGES || e == CE_WHOLE;
	case CM_WZ:
	case CM_WU: return e == CE_RANGES;
	case CM_COPY: return e == CE_WHOLE;
	case CM_FORMAT: return e != CE_WHOLE;
	default: return false;
	}
}

/* No event comes of an empty log. */
static bool no_fill(const uint8_t *d) { return d[0] == CU_EMPTY && d[1] != CN_POLL; }

static bool no_fault(const uint8_t *d)
{
	enum cov_phase p = d[1];

	switch ((enum cov_fault)d[0]) {
	case CF_OVERFLOW: return p != CP_LOGGING && p != CP_TRACKING;	/* only a log that is on overflows */
	case CF_BAD_HEAD:
	case CF_SECOND: return p == CP_IDLE;				/* there is no log, nothing a second one could take */
	case CF_CANCEL: return p == CP_IDLE || p == CP_COMMITTED;	/* nothing to cancel; what ends it is the move's success */
	case CF_BAD_ADDRESS: return p >= CP_SUSPENDED;			/* a suspended controller fetches nothing */
	default: return false;
	}
}

/* Migration commands concern one controller only if they name it. */
static bool no_target(const uint8_t *d)
{
	for (unsigned i = 0; i < 2; i++)
		if (!model_cell((enum vop)d[i], MS_RUNNING)[0])
			return true;
	return false;
}

const struct cov_cross_row cov_crosses[] = {
	{ COV_STATE, "aim_state", "@", { &dim_ops, &dim_MSTATES }, no_cell },
	{ COV_PAIR, "aim_pair", ">", { &dim_ops, &dim_ops }, NULL },
	{ COV_HEADER, "aim_header", ", ", { &dim_COV_HEADERS }, NULL },
	{ COV_DATA, "aim_data", ", ", { &dim_COV_DATAS }, NULL },
	{ COV_SHAPE, "aim_shape", ", ", { &dim_COV_QUEUES, &dim_COV_SHAPES, &dim_COV_PHASE_TAGS, &dim_COV_IENS, &dim_COV_SHARED }, NULL },
	{ COV_LOGGED, "aim_logged", ", ", { &dim_COV_LOGS, &dim_COV_MODS, &dim_COV_EXTENTS }, no_extent },
	{ COV_FILL, "aim_fill", ", ", { &dim_COV_FILLS, &dim_COV_LEARNS }, no_fill },
	{ COV_RESET, "aim_reset", ", ", { &dim_COV_RESETS, &dim_COV_PHASES, &dim_COV_SIDES }, NULL },
	{ COV_FAULT, "aim_fault", ", ", { &dim_COV_FAULTS, &dim_COV_PHASES }, no_fault },
	{ COV_TWO, "aim_two", "|", { &dim_ops, &dim_ops }, no_target },
	{ .dim = { NULL } }
};

const struct cov_cross_row *cov_cross_of(enum cov_kind k)
{
	for (const struct cov_cross_row *r = cov_crosses; r->dim[0]; r++)
		if (r->kind == k)
			return r;
	return NULL;
}

/* ---- classes that could be the reason of a refusal */

const char *cov_wrong(const struct vfield *f, enum vbin b)
{
	if (b == VB_LEGAL || !vbin_exists(f, b))
		return NULL;
	switch (f->kind) {
	case VK_CONST:
	case VK_ENUM: return "IF";
	case VK_RESERVED: return "OK IF";
	case VK_CNTLID: return model_cell(f->op, b == VB_WRONG ? MS_SELF : MS_ABSENT);
	case VK_CDQID: return "37";
	case VK_SIZE: return b == VB_LOW ? "OK IF 38" : b == VB_HIGH ? "IF" : "IF 38 XFER";
	case VK_COUNT: return b == VB_LOW ? "IF" : b == VB_HIGH ? "IF XFER" : NULL;
	case VK_OFFSET: return b == VB_LOW ? NULL : "IF";
	case VK_HIGH: return f->op == VOP_LBA_STATUS ? "80 IF" : "IF XFER";
	case VK_VERSION:
	case VK_UUID: return b == VB_INDEX ? "IF" : NULL;
	case VK_SLOT: return b != VB_HIGH ? NULL : f == &vfields[VF_SET_CDQ_tpt] ? "OK IF" : "IF";
	case VK_LBA: return b == VB_LOW ? NULL : "80 IF";
	case VK_BIT: return f == &vfields[VF_SET_CDQ_sv] ? "0D" : NULL;
	default: return NULL;
	}
}

/* ---- making them */

static unsigned add(struct cov *c, const struct cov_point *p)
{
	if (c->n == c->cap) {
		unsigned cap = c->cap ? 2 * c->cap : 2048;
		struct cov_point *np = realloc(c->p, cap * sizeof(*np));

		if (!np)
			return 0;
		c->p = np;
		c->cap = cap;
	}
	c->p[c->n] = *p;
	return ++c->n;
}

static void add_fields(struct cov *c)
{
	for (unsigned f = 0; f < VF_COUNT; f++)
		for (unsigned b = 0; b < VB_COUNT; b++) {
			struct cov_point p = { .kind = COV_FIELD, .op = vfields[f].op, .a = f, .b = b };

			if (!vbin_exists(&vfields[f], (enum vbin)b))
				continue;
			snprintf(p.name, sizeof(p.name), "%s.%s/%s", vops[p.op].name, vfields[f].name, vbin_name(b));
			c->field[f][b] = add(c, &p);
			p.set = cov_wrong(&vfields[f], (enum vbin)b);
			if (!p.set)
				continue;
			p.kind = COV_ALONE;
			snprintf(p.name, sizeof(p.name), "%s.%s/%s: %s", vops[p.op].name, vfields[f].name, vbin_name(b), p.set);
			c->alone[f][b] = add(c, &p);
		}
}

static void add_statuses(struct cov *c)
{
	for (unsigned o = 0; o < VOP_COUNT; o++)
		for (unsigned w = 0; w < ARRAY_LEN(words); w++) {
			struct cov_point p = { .kind = COV_STATUS, .op = (enum vop)o, .a = w, .b = words[w].status };

			if (!has_word(cov_statuses[o], words[w].word))
				continue;
			snprintf(p.name, sizeof(p.name), "%s=%s", vops[o].name, words[w].word);
			add(c, &p);
		}
}

static unsigned cells(const struct cov_cross_row *r)
{
	unsigned n = 1;

	for (unsigned i = 0; i < COV_DIMS && r->dim[i]; i++)
		n *= r->dim[i]->n;
	return n;
}

static void cross_name(const struct cov_cross_row *r, struct cov_point *p)
{
	size_t n = 0;

	for (unsigned i = 0; i < COV_DIMS && r->dim[i] && n < sizeof(p->name); i++)
		n += (size_t)snprintf(p->name + n, sizeof(p->name) - n, "%s%s", i ? r->between : "", r->dim[i]->text[p->d[i]]);
}

static bool add_cross(struct cov *c, const struct cov_cross_row *r)
{
	unsigned n = cells(r);

	c->cross[r->kind] = calloc(n, sizeof(unsigned));
	for (unsigned i = 0; c->cross[r->kind] && i < n; i++) {
		struct cov_point p = { .kind = r->kind, .op = VOP_NONE };
		unsigned left = i;

		for (unsigned k = COV_DIMS; k--;)
			if (r->dim[k]) {
				p.d[k] = (uint8_t)(left % r->dim[k]->n);
				left /= r->dim[k]->n;
			}
		if (r->cannot && r->cannot(p.d))
			continue;
		cross_name(r, &p);
		c->cross[r->kind][i] = add(c, &p);
	}
	return c->cross[r->kind];
}

struct cov *cov_new(void)
{
	struct cov *c = calloc(1, sizeof(*c));
	bool good = c;

	if (!c)
		return NULL;
	c->last = VOP_NONE;
	add_fields(c);
	add_statuses(c);
	for (const struct cov_cross_row *r = cov_crosses; r->dim[0]; r++)
		good &= add_cross(c, r);
	c->hits = calloc(c->n ? c->n : 1, sizeof(*c->hits));
	if (good && c->hits)
		return c;
	cov_free(c);
	return NULL;
}

void cov_free(struct cov *c)
{
	if (!c)
		return;
	for (unsigned k = 0; k < COV_KINDS; k++)
		free(c->cross[k]);
	free(c->p);
	free(c->hits);
	free(c);
}

/* ---- counting and summing */

void cov_hit(struct cov *c, unsigned number)
{
	if (number)
		c->hits[number - 1]++;
}

void cov_cross(struct cov *c, enum cov_kind k, unsigned d0, unsigned d1, unsigned d2, unsigned d3, unsigned d4)
{
	const struct cov_cross_row *r = cov_cross_of(k);
	const unsigned d[COV_DIMS] = { d0, d1, d2, d3, d4 };
	unsigned at = 0;

	CHECK(r);
	for (unsigned i = 0; i < COV_DIMS && r->dim[i]; i++) {
		if (d[i] >= r->dim[i]->n)
			return;
		at = at * r->dim[i]->n + d[i];
	}
	cov_hit(c, c->cross[k][at]);
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

void cov_kind_sum(const struct cov *c, enum cov_kind k, uint64_t caps, unsigned *hit, unsigned *all)
{
	*hit = *all = 0;
	for (unsigned i = 0; i < c->n; i++)
		if (c->p[i].kind == k && !cov_excuse(&c->p[i], caps)) {
			(*all)++;
			*hit += c->hits[i] > 0;
		}
}

static void tell_missing(const struct cov *c, enum cov_kind k, uint64_t caps, struct buf *b)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->p[i].kind == k && !c->hits[i] && !cov_excuse(&c->p[i], caps))
			buf_printf(b, "  %s\n", c->p[i].name);
}

bool cov_gate(const struct cov *c, uint64_t caps, struct buf *b)
{
	bool good = !cov_bad_excuses(c, b);

	for (unsigned k = 0; k < COV_KINDS; k++) {
		unsigned hit, all;

		cov_kind_sum(c, (enum cov_kind)k, caps, &hit, &all);
		if (hit * 100 >= all * cov_kind_target(k))
			continue;
		good = false;
		buf_printf(b, "%s: %u of %u, %u %% are asked for\n", cov_kind_name(k), hit, all, cov_kind_target(k));
		tell_missing(c, (enum cov_kind)k, caps, b);
	}
	return good;
}
