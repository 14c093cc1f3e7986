/* Reports. Flat on purpose: each shape is one pass over the results. */
#include "verify/report.h"

#include <errno.h>
#include <inttypes.h>

#include "verify/checklist.h"
#include "verify/signature.h"

enum { BUCKETS = 64 };

void report_text_json(struct buf *b, const char *s)
{
	for (; s && *s; s++)
		if (*s == '"' || *s == '\\')
			buf_printf(b, "\\%c", *s);
		else if (*s == '\n')
			buf_printf(b, "\\n");
		else
			buf_printf(b, "%c", (unsigned char)*s < 32 || (unsigned char)*s > 126 ? '?' : *s);
}

void report_text_xml(struct buf *b, const char *s)
{
	for (; s && *s; s++)
		if (*s == '<')
			buf_printf(b, "&lt;");
		else if (*s == '>')
			buf_printf(b, "&gt;");
		else if (*s == '&')
			buf_printf(b, "&amp;");
		else if (*s == '"')
			buf_printf(b, "&quot;");
		else
			buf_printf(b, "%c", *s == '\n' ? '\n' : (unsigned char)*s < 32 || (unsigned char)*s > 126 ? '?' : *s);
}

static void group_of(const struct vtest *v, char out[16])
{
	snprintf(out, 16, "%.*s", (int)MIN(strcspn(v->id, "-"), (size_t)15), v->id);
}

const char *report_item_name(enum vitem_state s)
{
	static const char *const name[] = { "uncovered", "waived", "not run", "skipped", "passed", "known failure", "failed" };

	return s < ARRAY_LEN(name) ? name[s] : "?";
}

enum vitem_state report_item(const struct vrun *r, const struct vitem *item)
{
	enum vitem_state s = VI_UNCOVERED;

	for (unsigned i = 0; vtest_at(i); i++)
		if (s == VI_UNCOVERED && vtest_covers(vtest_at(i), item))
			s = VI_NOT_RUN;
	if (s == VI_UNCOVERED)
		return vitem_waiver(item) ? VI_WAIVED : s;
	for (unsigned i = 0; i < r->results; i++) {
		static const enum vitem_state of[] = { VI_PASSED, VI_FAILED, VI_FAILED, VI_SKIPPED, VI_KNOWN, VI_FAILED };

		if (vtest_covers(r->result[i].test, item))
			s = MAX(s, of[r->result[i].verdict]);
	}
	return s;
}

const char *report_item_why(const struct vrun *r, const struct vitem *item)
{
	enum vitem_state s = report_item(r, item);

	if (s == VI_WAIVED)
		return vitem_waiver(item);
	for (unsigned i = 0; (s == VI_SKIPPED || s == VI_FAILED) && i < r->results; i++)
		if (vtest_covers(r->result[i].test, item) && r->result[i].verdict != VT_PASS &&
		    (s == VI_SKIPPED) == (r->result[i].verdict == VT_SKIP))
			return r->result[i].why;
	return "";
}

/* ---- JSON */

static void json_result(const struct vresult *r, struct buf *b)
{
	char group[16];

	group_of(r->test, group);
	buf_printf(b, "{\"id\":\"%s\",\"group\":\"%s\",\"title\":\"", r->test->id, group);
	report_text_json(b, r->test->title);
	buf_printf(b, "\",\"verdict\":\"%s\",\"began_ns\":%" PRIu64 ",\"seconds\":%.6f,\"commands\":%" PRIu64 ",\"sequence\":\"%016" PRIx64
		   "\",\"seed\":%" PRIu64 ",\"checklist\":\"%s\",\"tags\":\"%s\"", vt_verdict_name(r->verdict), r->began_ns, (double)r->ns / 1e9,
		   r->commands, r->sequence, r->seed, r->test->covers ? r->test->covers : "",
		   r->test->tags ? r->test->tags : "");
	buf_printf(b, ",\"why\":\"");
	report_text_json(b, r->why);
	buf_printf(b, "\",\"known\":\"");
	report_text_json(b, r->known);
	buf_printf(b, "\",\"trace\":\"");
	report_text_json(b, r->trace);
	buf_printf(b, "\"}");
}

static void json_checklist(const struct vrun *r, struct buf *b)
{
	buf_printf(b, "\"checklist\":[");
	for (unsigned i = 0; vitem_at(i); i++) {
		const struct vitem *v = vitem_at(i);

		buf_printf(b, "%s\n{\"id\":\"%s\",\"key\":\"%s\",\"class\":\"%s\",\"section\":\"%s\",\"state\":\"%s\",\"text\":\"", i ? "," : "",
			   v->id, v->key, vclass_name(v->class), v->section, report_item_name(report_item(r, v)));
		report_text_json(b, v->text);
		buf_printf(b, "\",\"accept\":\"");
		report_text_json(b, v->accept);
		buf_printf(b, "\",\"why\":\"");
		report_text_json(b, report_item_why(r, v));
		buf_printf(b, "\"}");
	}
	buf_printf(b, "]");
}

/* Failures that are one defect, once. */
static void json_buckets(const struct vrun *r, struct buf *b)
{
	static struct sig_bucket k[BUCKETS];
	unsigned n = sig_fold(r, k, BUCKETS);

	buf_printf(b, "\"buckets\":[");
	for (unsigned i = 0; i < n; i++) {
		buf_printf(b, "%s\n{\"signature\":\"", i ? "," : "");
		report_text_json(b, k[i].sig);
		buf_printf(b, "\",\"count\":%u,\"test\":\"%s\",\"why\":\"", k[i].count, k[i].least->test->id);
		report_text_json(b, k[i].least->why);
		buf_printf(b, "\"}");
	}
	buf_printf(b, "],\n");
}

void report_json(const struct vrun *r, struct buf *b)
{
	buf_printf(b, "{\"format\":\"ferry-verify-1\",\"backend\":\"%s\",\"dut\":\"", r->dut->backend);
	report_text_json(b, r->dut->about);
	buf_printf(b, "\",\"seed\":%" PRIu64 ",\"seconds\":%.6f,\"commands\":%" PRIu64 ",\"replay\":\"", r->cfg.seed, (double)r->ns / 1e9, r->commands);
	report_text_json(b, r->cfg.replay);
	buf_printf(b, "\",\"counts\":{");
	for (unsigned v = 0; v < VT_VERDICTS; v++)
		buf_printf(b, "%s\"%s\":%u", v ? "," : "", vt_verdict_name(v), r->count[v]);
	buf_printf(b, "},\"capabilities\":[");
	for (unsigned c = 0, n = 0; c < DUT_CAP_COUNT; c++)
		if (r->vt->caps >> c & 1)
			buf_printf(b, "%s\"%s\"", n++ ? "," : "", dut_cap_name(c));
	buf_printf(b, "],\n\"tests\":[");
	for (unsigned i = 0; i < r->results; i++) {
		buf_printf(b, i ? ",\n" : "\n");
		json_result(&r->result[i], b);
	}
	buf_printf(b, "],\n\"readings\":[");
	for (unsigned i = 0; i < r->vt->readings; i++) {
		const struct vt_reading *d = &r->vt->reading[i];

		buf_printf(b, "%s\n{\"test\":\"%s\",\"what\":\"", i ? "," : "", d->test);
		report_text_json(b, d->what);
		buf_printf(b, "\",\"took\":\"");
		report_text_json(b, d->took);
		buf_printf(b, "\"}");
	}
	buf_printf(b, "],\n");
	json_buckets(r, b);
	json_checklist(r, b);
	buf_printf(b, "}\n");
}

/* ---- JUnit */

static void junit_case(const struct vrun *run, const struct vresult *r, struct buf *b)
{
	static const char *const tag[] = { NULL, "failure", "error", "skipped", "skipped", "failure" };
	char group[16];

	group_of(r->test, group);
	buf_printf(b, "<testcase classname=\"ferry.verify.%s\" name=\"%s ", group, r->test->id);
	report_text_xml(b, r->test->title);
	buf_printf(b, "\" time=\"%.6f\">\n<properties><property name=\"checklist\" value=\"%s\"/><property name=\"seed\" value=\"%" PRIu64
		   "\"/><property name=\"backend\" value=\"%s\"/></properties>\n", (double)r->ns / 1e9, r->test->covers ? r->test->covers : "",
		   r->seed, run->dut->backend);
	if (tag[r->verdict]) {
		buf_printf(b, "<%s message=\"", tag[r->verdict]);
		if (r->verdict == VT_XFAIL)
			buf_printf(b, "known: ");
		else if (r->verdict == VT_XPASS)
			buf_printf(b, "passes, but is listed as failing: ");
		report_text_xml(b, r->known[0] ? r->known : r->why);
		buf_printf(b, "\"%s", r->trace ? ">" : "/>\n");
		if (r->trace) {
			report_text_xml(b, r->trace);
			buf_printf(b, "</%s>\n", tag[r->verdict]);
		}
	}
	buf_printf(b, "</testcase>\n");
}

void report_junit(const struct vrun *r, struct buf *b)
{
	buf_printf(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"ferry verify\" tests=\"%u\" failures=\"%u\" errors=\"%u\" "
		   "skipped=\"%u\" time=\"%.6f\">\n", r->results, r->count[VT_FAIL] + r->count[VT_XPASS], r->count[VT_ERROR],
		   r->count[VT_SKIP] + r->count[VT_XFAIL], (double)r->ns / 1e9);
	for (unsigned i = 0; i < r->results; i++)
		junit_case(r, &r->result[i], b);
	buf_printf(b, "</testsuite>\n");
}

/* ---- TAP */

void report_tap(const struct vrun *r, struct buf *b)
{
	buf_printf(b, "TAP version 14\n1..%u\n", r->results);
	for (unsigned i = 0; i < r->results; i++) {
		const struct vresult *t = &r->result[i];
		bool ok = t->verdict == VT_PASS || t->verdict == VT_SKIP;

		buf_printf(b, "%sok %u - %s %s", ok ? "" : "not ", i + 1, t->test->id, t->test->title);
		if (t->verdict == VT_SKIP)
			buf_printf(b, " # SKIP %s", t->why);
		else if (t->verdict == VT_XFAIL)
			buf_printf(b, " # TODO %s", t->known);
		buf_printf(b, "\n");
		if (!ok) {
			buf_printf(b, "  ---\n  verdict: %s\n  why: \"", vt_verdict_name(t->verdict));
			report_text_json(b, t->why);
			buf_printf(b, "\"\n  again: \"ferry verify replay --seed %" PRIu64 " --id %s\"\n  ...\n", r->cfg.seed, t->test->id);
		}
	}
}

/* ---- HTML */

static const char html_head[] =
	"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>ferry verify</title><style>"
	"body{font:14px/1.4 sans-serif;margin:2em;max-width:110em}table{border-collapse:collapse;margin:1em 0}"
	"td,th{border:1px solid #ccc;padding:2px 8px;text-align:left;vertical-align:top}th{background:#eee}"
	".PASS,.passed{background:#d8f0d8}.FAIL,.XPASS,.failed{background:#f6c6c6}.ERROR{background:#f0b0e0}"
	".SKIP,.skipped,.waived{background:#eee}.XFAIL,.known{background:#fbe9b5}.uncovered{background:#f6c6c6}"
	"pre{background:#f6f6f6;padding:1em;overflow:auto;max-height:24em}summary{cursor:pointer}</style>\n";

static void html_groups(const struct vrun *r, struct buf *b)
{
	buf_printf(b, "<h2>Groups</h2><table id=\"groups\"><tr><th>group<th>what<th>tests");
	for (unsigned v = 0; v < VT_VERDICTS; v++)
		buf_printf(b, "<th>%s", vt_verdict_name(v));
	for (const struct vgroup *g = vgroups; g->name; g++) {
		unsigned n[VT_VERDICTS] = { 0 }, all = 0;

		for (unsigned i = 0; i < r->results; i++)
			if (vtest_in_group(r->result[i].test, g->name))
				n[r->result[i].verdict]++, all++;
		buf_printf(b, "<tr><td>%s<td>%s<td>%u", g->name, g->about, all);
		for (unsigned v = 0; v < VT_VERDICTS; v++)
			buf_printf(b, "<td%s%s>%u", n[v] ? " class=" : "", n[v] ? vt_verdict_name(v) : "", n[v]);
	}
	buf_printf(b, "</table>\n");
}

static void html_buckets(const struct vrun *r, struct buf *b)
{
	static struct sig_bucket k[BUCKETS];
	unsigned n = sig_fold(r, k, BUCKETS);

	if (!n)
		return;
	buf_printf(b, "<h2>Failures, each once</h2><table id=\"buckets\"><tr><th>times<th>signature<th>shortest\n");
	for (unsigned i = 0; i < n; i++) {
		buf_printf(b, "<tr><td>%u<td>", k[i].count);
		report_text_xml(b, k[i].sig);
		buf_printf(b, "<td>%s\n", k[i].least->test->id);
	}
	buf_printf(b, "</table>\n");
}

static void html_tests(const struct vrun *r, struct buf *b)
{
	buf_printf(b, "<h2>Tests</h2><table id=\"tests\"><tr><th>test<th>verdict<th>what<th>checklist<th>ms<th>why\n");
	for (unsigned i = 0; i < r->results; i++) {
		const struct vresult *t = &r->result[i];

		buf_printf(b, "<tr><td>%s<td class=%s>%s<td>", t->test->id, vt_verdict_name(t->verdict), vt_verdict_name(t->verdict));
		report_text_xml(b, t->test->title);
		buf_printf(b, "<td>%s<td>%.1f<td>", t->test->covers ? t->test->covers : "", (double)t->ns / 1e6);
		report_text_xml(b, t->why);
		if (t->known[0]) {
			buf_printf(b, "<br>known: ");
			report_text_xml(b, t->known);
		}
		if (t->trace) {
			buf_printf(b, "<details><summary>last commands; again: ferry verify replay --seed %" PRIu64 " --id %s</summary><pre>",
				   r->cfg.seed, t->test->id);
			report_text_xml(b, t->trace);
			buf_printf(b, "</pre></details>");
		}
		buf_printf(b, "\n");
	}
	buf_printf(b, "</table>\n");
}

static void html_readings(const struct vrun *r, struct buf *b)
{
	buf_printf(b, "<h2>Readings</h2><p>Where the book is silent or contradicts itself, this is what the device does.</p>"
		   "<table id=\"readings\"><tr><th>test<th>question<th>taken\n");
	for (unsigned i = 0; i < r->vt->readings; i++) {
		buf_printf(b, "<tr><td>%s<td>", r->vt->reading[i].test);
		report_text_xml(b, r->vt->reading[i].what);
		buf_printf(b, "<td>");
		report_text_xml(b, r->vt->reading[i].took);
		buf_printf(b, "\n");
	}
	buf_printf(b, "</table>\n");
}

static void html_checklist(const struct vrun *r, struct buf *b)
{
	buf_printf(b, "<h2>Checklist</h2><table id=\"checklist\"><tr><th>id<th>key<th>class<th>section<th>state<th>statement\n");
	for (unsigned i = 0; vitem_at(i); i++) {
		const struct vitem *v = vitem_at(i);
		const char *state = report_item_name(report_item(r, v));

		buf_printf(b, "<tr><td>%s<td>%s<td>%s<td>%s<td class=\"%s\">%s<td>", v->id, v->key, vclass_name(v->class), v->section, state, state);
		report_text_xml(b, v->text);
		if (v->accept) {
			buf_printf(b, "<br><i>");
			report_text_xml(b, v->accept);
			buf_printf(b, "</i>");
		}
		if (*report_item_why(r, v)) {
			buf_printf(b, "<br><b>");
			report_text_xml(b, report_item_why(r, v));
			buf_printf(b, "</b>");
		}
		buf_printf(b, "\n");
	}
	buf_printf(b, "</table>\n");
}

void report_html(const struct vrun *r, struct buf *b)
{
	unsigned state[VI_STATES] = { 0 };

	for (unsigned i = 0; vitem_at(i); i++)
		state[report_item(r, vitem_at(i))]++;
	buf_printf(b, "%s<h1>ferry verify: %s</h1><p>", html_head, vrun_good(r) ? "as expected" : "not as expected");
	report_text_xml(b, r->dut->about);
	buf_printf(b, "; back end %s; seed %" PRIu64 "; %u tests, %" PRIu64 " commands in %.1f s.</p><p id=\"verdicts\">", r->dut->backend,
		   r->cfg.seed, r->results, r->commands, (double)r->ns / 1e9);
	for (unsigned v = 0; v < VT_VERDICTS; v++)
		buf_printf(b, "<span class=%s>&nbsp;%u %s&nbsp;</span> ", vt_verdict_name(v), r->count[v], vt_verdict_name(v));
	buf_printf(b, "</p><p>Checklist:");
	for (unsigned s = 0; s < VI_STATES; s++)
		if (state[s])
			buf_printf(b, " %u %s;", state[s], report_item_name(s));
	buf_printf(b, "</p>\n");
	html_groups(r, b);
	html_buckets(r, b);
	html_tests(r, b);
	html_readings(r, b);
	html_checklist(r, b);
	buf_printf(b, "</html>\n");
}

/* ---- to files and people */

static void summary_buckets(const struct vrun *r, FILE *f)
{
	static struct sig_bucket k[BUCKETS];
	unsigned n = sig_fold(r, k, BUCKETS);

	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%4u times: %s\n", k[i].count, k[i].sig);
}

void report_summary(const struct vrun *r, FILE *f)
{
	fprintf(f, "%-6s %5s %5s %5s %5s %5s %5s  %s\n", "group", "tests", "PASS", "FAIL", "ERROR", "SKIP", "XFAIL", "what");
	for (const struct vgroup *g = vgroups; g->name; g++) {
		unsigned n[VT_VERDICTS] = { 0 }, all = 0;

		for (unsigned i = 0; i < r->results; i++)
			if (vtest_in_group(r->result[i].test, g->name))
				n[r->result[i].verdict]++, all++;
		if (all)
			fprintf(f, "%-6s %5u %5u %5u %5u %5u %5u  %s\n", g->name, all, n[VT_PASS], n[VT_FAIL] + n[VT_XPASS], n[VT_ERROR],
				n[VT_SKIP], n[VT_XFAIL], g->about);
	}
	summary_buckets(r, f);
	fprintf(f, "%u tests, %" PRIu64 " commands, %.1f s: %u passed, %u failed, %u errors, %u skipped, %u known to fail", r->results,
		r->commands, (double)r->ns / 1e9, r->count[VT_PASS], r->count[VT_FAIL], r->count[VT_ERROR], r->count[VT_SKIP], r->count[VT_XFAIL]);
	if (r->count[VT_XPASS])
		fprintf(f, ", %u pass though listed as failing", r->count[VT_XPASS]);
	fprintf(f, "\n");
}

int report_write(const struct vrun *r, const char *path, struct err *err)
{
	static const struct { const char *end; void (*make)(const struct vrun *, struct buf *); } shape[] = {
		{ ".json", report_json }, { ".xml", report_junit }, { ".tap", report_tap }, { ".html", report_html }
	};
	const char *dot = strrchr(path, '.');
	struct buf b = { 0 };
	FILE *f;
	int rc = -EINVAL;

	for (unsigned i = 0; dot && i < ARRAY_LEN(shape); i++)
		if (!strcmp(dot, shape[i].end)) {
			shape[i].make(r, &b);
			rc = 0;
		}
	if (rc)
		return err_set(err, rc, "%s: a report ends with .json, .xml, .tap or .html", path);
	f = b.failed ? NULL : fopen(path, "we");
	if (!f || fwrite(b.data, 1, b.len, f) != b.len)
		rc = err_set(err, errno ? -errno : -ENOMEM, "%s cannot be written: %s", path, strerror(errno ? errno : ENOMEM));
	if (f && fclose(f) && !rc)
		rc = err_set(err, -errno, "%s cannot be written: %s", path, strerror(errno));
	buf_fini(&b);
	return rc;
}
