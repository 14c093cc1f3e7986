/* What coverage looks like: heat maps on one static page, and the list of holes with the call that closes each. */
#include <inttypes.h>

#include "verify/cover_in.h"

/* ---- stubs */

void cov_stub(const struct cov_point *p, struct buf *b)
{
	const struct cov_cross_row *r = cov_cross_of(p->kind);

	if (p->kind == COV_FIELD || p->kind == COV_ALONE)
		buf_printf(b, "aim_field(t, VF_%s_%s, VB_%s);", vops[p->op].name, vfields[p->a].name, vbin_code(p->b));
	else if (p->kind == COV_STATUS)
		buf_printf(b, "aim_status(t, VOP_%s, 0x%03x);", vops[p->op].name, p->b);
	if (!r)
		return;
	buf_printf(b, "%s(t", r->aim);
	for (unsigned i = 0; i < COV_DIMS && r->dim[i]; i++)
		buf_printf(b, ", %s", r->dim[i]->code[p->d[i]]);
	buf_printf(b, ");");
}

static bool is_hole(const struct cov *c, unsigned i, uint64_t caps) { return !cov_hits(c, i) && !cov_excuse(cov_point(c, i), caps); }

void cov_stubs_c(const struct cov *c, uint64_t caps, struct buf *b)
{
	buf_printf(b, "/* A test for each hole, as a beginning: `ferry verify coverage --stubs`. */\n#include \"verify/aim.h\"\n#include \"verify/test.h\"\n\n");
	for (unsigned i = 0; i < cov_points(c); i++)
		if (is_hole(c, i, caps)) {
			buf_printf(b, "static void hole_%u(struct vt *t) /* %s */\n{\n\t", i, cov_point(c, i)->name);
			cov_stub(cov_point(c, i), b);
			buf_printf(b, "\n}\n");
		}
	buf_printf(b, "\nextern const struct vtest cov_stubs[];\nconst struct vtest cov_stubs[] = {\n");
	for (unsigned i = 0; i < cov_points(c); i++)
		if (is_hole(c, i, caps))
			buf_printf(b, "\t{ \"HO-%04u\", DUT_MMC | DUT_MC | DUT_MEM, \"\", hole_%u, \"%s\", NULL },\n", i, i, cov_point(c, i)->name);
	buf_printf(b, "\t{ .id = NULL }\n};\n");
}

/* ---- holes */

void cov_holes(const struct cov *c, uint64_t caps, struct buf *b)
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

static void cell(struct buf *b, const struct cov *c, uint64_t caps, unsigned i)
{
	static const char *const colour[] = { "#f6c6c6", "#eef8ee", "#ddf2dd", "#cbebcb", "#b8e4b8", "#a4dca4", "#8fd38f", "#79ca79",
					      "#61c061", "#45b545" };
	const char *why = cov_excuse(cov_point(c, i), caps);

	if (why && !cov_hits(c, i))
		buf_printf(b, "<td style=\"background:#ddd\" title=\"%s: out of reach\">", cov_point(c, i)->name);
	else
		buf_printf(b, "<td style=\"background:%s\" title=\"%s\">%" PRIu64, colour[shade(cov_hits(c, i))], cov_point(c, i)->name, cov_hits(c, i));
}

/* ---- heat maps */

static void fields_map(struct buf *b, const struct cov *c, uint64_t caps, enum cov_kind kind, const char *id)
{
	buf_printf(b, "<table id=\"%s\"><tr><th>field", id);
	for (unsigned v = 0; v < VB_COUNT; v++)
		buf_printf(b, "<th>%s", vbin_name(v));
	for (unsigned f = 0; f < VF_COUNT; f++) {
		buf_printf(b, "\n<tr><td>%s.%s", vops[vfields[f].op].name, vfields[f].name);
		for (unsigned v = 0; v < VB_COUNT; v++) {
			unsigned number = kind == COV_FIELD ? c->field[f][v] : c->alone[f][v];

			if (number)
				cell(b, c, caps, number - 1);
			else
				buf_printf(b, "<td>");
		}
	}
	buf_printf(b, "</table>\n");
}

static void status_map(struct buf *b, const struct cov *c, uint64_t caps)
{
	buf_printf(b, "<table id=\"statuses\">");
	for (unsigned o = 0; o < VOP_COUNT; o++) {
		buf_printf(b, "\n<tr><td>%s", vops[o].name);
		for (unsigned i = 0; i < cov_points(c); i++)
			if (cov_point(c, i)->kind == COV_STATUS && cov_point(c, i)->op == (enum vop)o) {
				buf_printf(b, "<td>%s", strchr(cov_point(c, i)->name, '=') + 1);
				cell(b, c, caps, i);
			}
	}
	buf_printf(b, "</table>\n");
}

/* The last dimension across, the others down. */
static void cross_map(struct buf *b, const struct cov *c, uint64_t caps, const struct cov_cross_row *r)
{
	unsigned dims = 0, rows = 1, across;

	while (dims < COV_DIMS && r->dim[dims])
		dims++;
	across = r->dim[dims - 1]->n;
	for (unsigned i = 0; i + 1 < dims; i++)
		rows *= r->dim[i]->n;
	buf_printf(b, "<table id=\"cross%d\"><tr><th>", r->kind);
	for (unsigned i = 0; i < across; i++)
		buf_printf(b, "<th>%s", r->dim[dims - 1]->text[i]);
	for (unsigned y = 0; y < rows; y++) {
		buf_printf(b, "\n<tr><td>");
		for (unsigned i = 0, left = rows; i + 1 < dims; i++) {
			left /= r->dim[i]->n;
			buf_printf(b, "%s%s", i ? ", " : "", r->dim[i]->text[y / left % r->dim[i]->n]);
		}
		for (unsigned x = 0; x < across; x++) {
			unsigned number = c->cross[r->kind][y * across + x];

			if (number)
				cell(b, c, caps, number - 1);
			else
				buf_printf(b, "<td>");
		}
	}
	buf_printf(b, "</table>\n");
}

void cov_html(const struct cov *c, uint64_t caps, struct buf *b)
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
	fields_map(b, c, caps, COV_FIELD, "fields");
	buf_printf(b, "<h2>Fields that are the only wrong one</h2>");
	fields_map(b, c, caps, COV_ALONE, "alone");
	buf_printf(b, "<h2>Operation x status</h2>");
	status_map(b, c, caps);
	for (const struct cov_cross_row *r = cov_crosses; r->dim[0]; r++) {
		buf_printf(b, "<h2>%s</h2>", cov_kind_name(r->kind));
		cross_map(b, c, caps, r);
	}
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
