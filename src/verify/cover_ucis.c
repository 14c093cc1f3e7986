/* Coverage as Accellera UCIS 1.0 in XML, for tools that collect it from everywhere: a run is a history node, a kind a covergroup, a row a
 * coverpoint, a point one of its bins. What is out of reach is an ignored bin with the reason as an attribute. Written for
 * `ferry verify coverage --ucis`; nothing of ours reads it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "verify/cover_in.h"

static void text(struct buf *b, const char *s)
{
	for (; *s; s++)
		if (*s == '&' || *s == '<' || *s == '>' || *s == '"')
			buf_printf(b, "&#%d;", *s);
		else if ((unsigned char)*s >= ' ')
			buf_printf(b, "%c", *s);
}

static void attr(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, " %s=\"", name);
	text(b, value);
	buf_printf(b, "\"");
}

/* Runs carry no date of their own: the time of writing stands for it. */
static void date_of(char out[32])
{
	time_t now = time(NULL);
	struct tm tm;

	strftime(out, 32, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now, &tm));
}

static void history(struct buf *b, const struct cov_runs *r, const char *date)
{
	unsigned n = MIN(r->n, (unsigned)COV_RUNS);

	for (unsigned i = 0; i < MAX(n, 1u); i++) {
		buf_printf(b, "<historyNodes historyNodeId=\"%u\" logicalName=\"run %u\" testStatus=\"%s\"", i, i + 1, !n || r->run[i].good ? "true" : "false");
		if (n) {
			buf_printf(b, " cpuTime=\"%.3f\" seed=\"%" PRIu64 "\"", r->run[i].seconds, r->run[i].seed);
			attr(b, "cmd", "ferry verify run");
			attr(b, "comment", r->run[i].dut);
		}
		attr(b, "date", date);
		buf_printf(b, " toolCategory=\"UCIS:simulator\" ucisVersion=\"1.0\" vendorId=\"Ferry\" vendorTool=\"ferry verify\" vendorToolVersion=\"1\"/>\n");
	}
}

/* What the row of a point is called, and the point within it. */
static void place(const struct cov_point *p, char row[80], char bin[80])
{
	const struct cov_cross_row *r = cov_cross_of(p->kind);
	const char *cut = strchr(p->name, p->kind == COV_STATUS ? '=' : '/');
	unsigned last = 0;

	if (!r) {
		snprintf(row, 80, "%.*s", (int)(cut - p->name), p->name);
		snprintf(bin, 80, "%s", cut + 1);
		return;
	}
	while (last + 1 < COV_DIMS && r->dim[last + 1])
		last++;
	snprintf(bin, 80, "%s", r->dim[last]->text[p->d[last]]);
	if (last)
		snprintf(row, 80, "%.*s", (int)(strlen(p->name) - strlen(bin) - strlen(r->between)), p->name);
	else
		snprintf(row, 80, "%s", cov_kind_name(p->kind));
}

static void bin(struct buf *b, const struct cov *c, unsigned i, const char *name, unsigned key, uint64_t caps)
{
	const char *why = cov_excuse(cov_point(c, i), caps);

	buf_printf(b, "<coverpointBin");
	attr(b, "name", name);
	buf_printf(b, " key=\"%u\" type=\"%s\"><range from=\"%u\" to=\"%u\"><contents coverageCount=\"%" PRIu64 "\"/></range>", key,
		   why && !cov_hits(c, i) ? "ignore" : "bins", key, key, cov_hits(c, i));
	if (why && !cov_hits(c, i)) {
		buf_printf(b, "<userAttr key=\"reason\" type=\"str\">");
		text(b, why);
		buf_printf(b, "</userAttr>");
	}
	buf_printf(b, "</coverpointBin>\n");
}

static void group(struct buf *b, const struct cov *c, enum cov_kind k, uint64_t caps)
{
	char row[80], name[80], open[80] = "";
	unsigned points = 0, bins = 0;

	buf_printf(b, "<cgInstance");
	attr(b, "name", cov_kind_name(k));
	buf_printf(b, " key=\"%d\"><options goal=\"%u\"/><cgId", k, cov_kind_target(k));
	attr(b, "cgName", cov_kind_name(k));
	buf_printf(b, " moduleName=\"dut\"><cginstSourceId file=\"1\" line=\"1\" inlineCount=\"1\"/><cgSourceId file=\"1\" line=\"1\" inlineCount=\"1\"/></cgId>\n");
	for (unsigned i = 0; i < cov_points(c); i++) {
		if (cov_point(c, i)->kind != k)
			continue;
		place(cov_point(c, i), row, name);
		if (strcmp(row, open)) {
			buf_printf(b, "%s<coverpoint", points ? "</coverpoint>\n" : "");
			attr(b, "name", row);
			buf_printf(b, " key=\"%u\"><options/>\n", points++);
			strcpy(open, row);
			bins = 0;
		}
		bin(b, c, i, name, bins++, caps);
	}
	buf_printf(b, "%s</cgInstance>\n", points ? "</coverpoint>\n" : "");
}

void cov_ucis(const struct cov *c, uint64_t caps, const struct cov_runs *runs, struct buf *b)
{
	char date[32];

	date_of(date);
	buf_printf(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<UCIS ucisVersion=\"1.0\" writtenBy=\"ferry verify\"");
	attr(b, "writtenTime", date);
	buf_printf(b, ">\n<sourceFiles fileName=\"src/verify/cover.c\" id=\"1\"/>\n");
	history(b, runs, date);
	buf_printf(b, "<instanceCoverages name=\"dut\" key=\"0\" instanceId=\"0\" moduleName=\"dut\"><id file=\"1\" line=\"1\" inlineCount=\"1\"/>\n"
		      "<covergroupCoverage>\n");
	for (unsigned k = 0; k < COV_KINDS; k++)
		group(b, c, (enum cov_kind)k, caps);
	buf_printf(b, "</covergroupCoverage>\n</instanceCoverages>\n</UCIS>\n");
}
