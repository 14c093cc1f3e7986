/* What coverage looks like: heat maps on one static page, and the list of holes with the call that closes each. */
#include <inttypes.h>

#include "verify/cover.h"

void cov_stub(const struct cov_point *p, struct buf *b)
{
	static const char *const of_bin[] = {
		[VB_LEGAL] = "a legal value", [VB_LOW] = "0", [VB_HIGH] = "just beyond the limit", [VB_RSVD_VALUE] = "0x80",
		[VB_RSVD_BIT] = "1", [VB_WRONG] = "somebody else's id", [VB_STALE] = "the id of a deleted one", [VB_OVERFLOW] = "0xfffffff8",
		[VB_INDEX] = "200"
	};

	buf_printf(b, "vop_init(&s, VOP_%s);", vops[p->op].name);
	if (p->kind == COV_FIELD)
		buf_printf(b, " vf_put(&s, VF_%s_%s, %s);", vops[p->op].name, vfields[p->a].name, of_bin[p->b]);
	buf_printf(b, " vt_do(t->mmc, 0, &s, set);");
	if (p->kind == COV_STATUS)
		buf_printf(b, " /* must end with %03xh */", p->b);
	else if (p->kind == COV_STATE)
		buf_printf(b, " /* its target %s */", mstate_name(p->a));
	else if (p->kind == COV_PAIR)
		buf_printf(b, " /* then %s */", vops[p->a].text);
}

void cov_holes(const struct cov *c, uint32_t caps, struct buf *b)
{
	for (unsigned k = 0; k < COV_KINDS; k++) {
		unsigned hit, all;

		cov_kind_sum(c, (enum cov_kind)k, caps, &hit, &all);
		buf_printf(b, "%s: %u of %u\n", cov_kind_name(k), hit, all);
		for (unsigned i = 0; i < cov_points(c); i++) {
			const struct cov_point *p = cov_point(c, i);
			const char *why = cov_excuse(p, caps);

			if (p->kind != k || cov_hits(c, i))
				continue;
			buf_printf(b, "  %-44s ", p->name);
			if (why)
				buf_printf(b, "out of reach: %s", why);
			else
				cov_stub(p, b);
			buf_printf(b, "\n");
		}
	}
}

static unsigned shade(uint64_t hits)
{
	unsigned s = 0;

	for (; hits && s < 9; hits /= 4)
		s++;
	return s;
}

static void cell(struct buf *b, const struct cov *c, uint32_t caps, unsigned i)
{
	static const char *const colour[] = { "#f6c6c6", "#eef8ee", "#ddf2dd", "#cbebcb", "#b8e4b8", "#a4dca4", "#8fd38f", "#79ca79",
					      "#61c061", "#45b545" };
	const char *why = cov_excuse(cov_point(c, i), caps);

	if (why && !cov_hits(c, i))
		buf_printf(b, "<td style=\"background:#ddd\" title=\"%s: out of reach\">", cov_point(c, i)->name);
	else
		buf_printf(b, "<td style=\"background:%s\" title=\"%s\">%" PRIu64, colour[shade(cov_hits(c, i))], cov_point(c, i)->name, cov_hits(c, i));
}

/* Points of one kind, op by op; `column` is what distinguishes them. */
static void fields_map(struct buf *b, const struct cov *c, uint32_t caps)
{
	buf_printf(b, "<table id=\"fields\"><tr><th>field");
	for (unsigned v = 0; v < VB_COUNT; v++)
		buf_printf(b, "<th>%s", vbin_name(v));
	for (unsigned f = 0; f < VF_COUNT; f++) {
		buf_printf(b, "\n<tr><td>%s.%s", vops[vfields[f].op].name, vfields[f].name);
		for (unsigned v = 0; v < VB_COUNT; v++) {
			unsigned i = 0;

			while (i < cov_points(c) && !(cov_point(c, i)->kind == COV_FIELD && cov_point(c, i)->a == f && cov_point(c, i)->b == v))
				i++;
			if (i < cov_points(c))
				cell(b, c, caps, i);
			else
				buf_printf(b, "<td>");
		}
	}
	buf_printf(b, "</table>\n");
}

static void row_map(struct buf *b, const struct cov *c, uint32_t caps, enum cov_kind kind, const char *id)
{
	buf_printf(b, "<table id=\"%s\">", id);
	for (unsigned o = 0; o < VOP_COUNT; o++) {
		buf_printf(b, "\n<tr><td>%s", vops[o].name);
		for (unsigned i = 0; i < cov_points(c); i++)
			if (cov_point(c, i)->kind == kind && cov_point(c, i)->op == (enum vop)o) {
				buf_printf(b, "<td>%s", strpbrk(cov_point(c, i)->name, "=@>") + 1);
				cell(b, c, caps, i);
			}
	}
	buf_printf(b, "</table>\n");
}

static void pair_map(struct buf *b, const struct cov *c, uint32_t caps)
{
	buf_printf(b, "<table id=\"pairs\"><tr><th>first \\ then");
	for (unsigned o = 0; o < VOP_COUNT; o++)
		buf_printf(b, "<th>%s", vops[o].name);
	for (unsigned o = 0; o < VOP_COUNT; o++) {
		buf_printf(b, "\n<tr><td>%s", vops[o].name);
		for (unsigned i = 0; i < cov_points(c); i++)
			if (cov_point(c, i)->kind == COV_PAIR && cov_point(c, i)->op == (enum vop)o)
				cell(b, c, caps, i);
	}
	buf_printf(b, "</table>\n");
}

void cov_html(const struct cov *c, uint32_t caps, struct buf *b)
{
	struct buf holes = { 0 };

	buf_printf(b, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>ferry verify: coverage</title><style>"
		   "body{font:13px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:1px 6px}"
		   "th{background:#eee}pre{background:#f6f6f6;padding:1em;overflow:auto}</style>\n<h1>Coverage</h1><p>Red: a hole. Grey: out of "
		   "reach. Green: hits, darker by powers of four.</p><ul>");
	for (unsigned k = 0; k < COV_KINDS; k++) {
		unsigned hit, all;

		cov_kind_sum(c, (enum cov_kind)k, caps, &hit, &all);
		buf_printf(b, "<li>%s: %u of %u", cov_kind_name(k), hit, all);
	}
	buf_printf(b, "</ul>\n<h2>Fields</h2>");
	fields_map(b, c, caps);
	buf_printf(b, "<h2>Operation x status</h2>");
	row_map(b, c, caps, COV_STATUS, "statuses");
	buf_printf(b, "<h2>Operation x state of the target</h2>");
	row_map(b, c, caps, COV_STATE, "states");
	buf_printf(b, "<h2>Operation after operation</h2>");
	pair_map(b, c, caps);
	cov_holes(c, caps, &holes);
	buf_printf(b, "<h2>Holes</h2><pre>");
	for (size_t i = 0; i < holes.len; i++)
		if (holes.data[i] == '&')
			buf_printf(b, "&amp;");
		else if (holes.data[i] == '<' || holes.data[i] == '>')
			buf_printf(b, holes.data[i] == '<' ? "&lt;" : "&gt;");
		else
			buf_printf(b, "%c", holes.data[i]);
	buf_printf(b, "</pre></html>\n");
	buf_fini(&holes);
}
