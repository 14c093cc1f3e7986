/* A controller's state image: the head and the queues as the book has them (NVMe Controller State version 0), and our vendor part as
 * docs/stream.md has it.
 *
 * A payload's layout is a word: B W D Q numbers of 1 2 4 8 bytes, Hn bytes in hexadecimal, Tn text, Cn a completion entry, xn skipped;
 * "N*" repeats the next one, "[" says that the rest repeats to the end. A name follows each that is shown.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "spec/nvme.h"
#include "verify/decode.h"

#define FEATURES "D arbitration D power D over_temperature D under_temperature D error_recovery D write_cache D queues " \
	"D irq_coalescing D write_atomicity D events D software_progress 65*D irq_vector Q timestamp_ms Q timestamp_age_ns B timestamp_origin " \
	"H512 host_behavior H16 host_id B host_id_128"

static const struct { uint16_t tag; const char *name, *layout; } tags[] = {
	{ 0x0001, "FORMAT", "D version" },
	{ 0x0002, "PROPS", "Q cap Q asq Q acq D cc D csts D aqa D intms B enabled" },
	{ 0x0003, "ADMIN", "W sq_head W sq_tail W cq_head W cq_tail B phase B irq_wanted x2" },
	{ 0x0004, "IDENTITY", "T256 subnqn T20 sn T40 mn T8 fr W cntlid" },
	{ 0x0005, "NAMESPACES", "[ D nsid B block_shift x3 Q nsze H16 nguid H8 eui64 H16 uuid" },
	{ 0x0006, "QUEUES", "[ W qid B phase B irq_wanted" },
	{ 0x0007, "HELD", "[ W cqid x2 H16 cqe" },
	{ 0x0008, "AERS", "[ W cid x2" },
	{ 0x0009, "EVENTS", "[ B type B information B log_page x1 D dw1" },
	{ 0x000a, "NOTICES", "D masked 9*D changed_ns" },
	{ 0x000b, "IRQS", "3*D not_sent" },
	{ 0x000c, "FEATURES", FEATURES },
	{ 0x000d, "DEFAULTS", FEATURES },
	{ 0x000e, "RATE", "H1024 rate_limit" },
	{ 0x000f, "PCI", "H4096 configuration" },
	{ 0x0010, "MSIX", "512*D table 4*D pending" },
	{ 0x0011, "DBBUF", "B on Q shadow Q event_indices" },
	{ 0x0012, "DOORBELLS", "130*D value" },
	{ 0x0013, "SMART", "Q units_read Q units_written Q commands_read Q commands_written Q busy_ns Q power_cycles Q media_errors Q error_entries "
			   "Q powered_before_ns Q age_ns" },
	{ 0x0014, "ERRLOG", "Q errors [ Q count W sqid W cid W status W location Q lba D nsid x4" },
};

static uint64_t num(const uint8_t *p, unsigned len)
{
	uint64_t v = 0;

	while (len--)
		v = v << 8 | p[len];
	return v;
}

/* ---- payloads -------------------------------------------------------------------------------------------------------------------- */

struct item { unsigned times, bytes; char kind; const char *name; int name_len; };

/* The item at *w, which moves behind it. False: the layout is over. */
static bool next_item(const char **w, struct item *it)
{
	const char *p = *w + strspn(*w, " ");
	char *end;

	if (!*p)
		return false;
	*it = (struct item){ .times = 1 };
	if (isdigit((unsigned char)*p)) {
		it->times = (unsigned)strtoul(p, &end, 10);
		p = end + 1; /* the star */
	}
	it->kind = *p++;
	it->bytes = it->kind == 'B' ? 1 : it->kind == 'W' ? 2 : it->kind == 'D' ? 4 : it->kind == 'Q' ? 8 : (unsigned)strtoul(p, &end, 10);
	if (strchr("HTx", it->kind))
		p = end;
	if (!strchr("x[", it->kind)) {
		p += strspn(p, " ");
		it->name = p;
		it->name_len = (int)strcspn(p, " ");
		p += it->name_len;
	}
	*w = p;
	return true;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n && !p[n - 1])
		n--;
	return !n;
}

static void show(const struct item *it, unsigned i, const uint8_t *p, FILE *out)
{
	char name[64];

	if (it->kind == 'x' || (it->times > 4 && all_zero(p, it->bytes)))
		return; /* long arrays: only what is set */
	if (it->times > 1)
		snprintf(name, sizeof(name), "%.*s[%u]", it->name_len, it->name, i);
	else
		snprintf(name, sizeof(name), "%.*s", it->name_len, it->name);
	fprintf(out, "%24s: ", name);
	if (it->kind == 'T') {
		for (unsigned k = 0; k < it->bytes && p[k]; k++)
			putc(p[k] >= 0x20 && p[k] < 0x7f ? p[k] : '.', out);
	} else if (it->kind == 'H') {
		if (it->bytes > 16 && all_zero(p, it->bytes))
			fprintf(out, "%u zero bytes", it->bytes);
		else
			for (unsigned k = 0; k < it->bytes; k++)
				fprintf(out, "%s%02x", it->bytes > 32 && k && k % 32 == 0 ? "\n                          " : "", p[k]);
	} else {
		fprintf(out, "%" PRIx64, num(p, it->bytes));
	}
	putc('\n', out);
}

/* False: the payload is not of that layout. */
static bool payload(const char *layout, const uint8_t *p, size_t n, FILE *out)
{
	const char *w = layout, *again = NULL;
	struct item it;
	size_t at = 0;

	for (;;) {
		if (again && at == n && (w == again || !*w))
			return true;
		if (!next_item(&w, &it)) {
			if (!again)
				return at == n;
			w = again;
			continue;
		}
		if (it.kind == '[') {
			again = w;
			continue;
		}
		for (unsigned i = 0; i < it.times; i++, at += it.bytes) {
			if (!range_inside(at, it.bytes, n))
				return false;
			show(&it, i, p + at, out);
		}
	}
}

/* ---- the vendor part ----------------------------------------------------------------------------------------------------------------- */

static int vendor(const uint8_t *p, size_t n, FILE *out, struct err *err)
{
	size_t at = 0;

	while (n - at >= 8) {
		uint16_t tag = (uint16_t)num(p + at, 2), flags = (uint16_t)num(p + at + 2, 2);
		size_t len = num(p + at + 4, 4), i = 0;

		if (len > n - at - 8)
			return err_set(err, -EPROTO, "decode: vendor part, byte %zu: a record of %zu bytes, and %zu are there", at, len, n - at - 8);
		while (i < ARRAY_LEN(tags) && tags[i].tag != tag)
			i++;
		fprintf(out, "  %04xh %s, %s, %zu bytes\n", tag, i < ARRAY_LEN(tags) ? tags[i].name : "unknown", flags & 1 ? "required" : "optional", len);
		if (i < ARRAY_LEN(tags) && !payload(tags[i].layout, p + at + 8, len, out))
			return err_set(err, -EPROTO, "decode: vendor part, byte %zu: %zu bytes are not a %s", at, len, tags[i].name);
		at += 8 + MIN(round_up(len, 4), n - at - 8);
	}
	return n == at ? 0 : err_set(err, -EPROTO, "decode: vendor part: %zu bytes behind the last record", n - at);
}

/* ---- the standard part --------------------------------------------------------------------------------------------------------------- */

static void show_sq(const uint8_t *p, FILE *out)
{
	struct nvme_state_sq s;

	memcpy(&s, p, sizeof(s));
	fprintf(out, "  SQ %u: CQ %u, %u entries at %" PRIx64 ", head %u, tail %u, attributes %x\n", le16_get(s.qid), le16_get(s.cqid),
		le16_get(s.qsize0) + 1u, le64_get(s.prp1), le16_get(s.head), le16_get(s.tail), le16_get(s.attr));
}

static void show_cq(const uint8_t *p, FILE *out)
{
	struct nvme_state_cq c;
	uint32_t a;

	memcpy(&c, p, sizeof(c));
	a = le32_get(c.attr);
	fprintf(out, "  CQ %u: %u entries at %" PRIx64 ", head %u, tail %u, vector %u%s, slot 0 has phase %d%s\n", le16_get(c.qid), le16_get(c.qsize0) + 1u,
		le64_get(c.prp1), le16_get(c.head), le16_get(c.tail), a >> NVME_STATE_CQ_IV_SHIFT, a & NVME_STATE_CQ_IEN ? "" : " (off)",
		!!(a & NVME_STATE_CQ_S0PT), a & NVME_STATE_CQ_PC ? "" : ", not contiguous");
}

static int standard(const uint8_t *p, size_t n, FILE *out, struct err *err)
{
	struct nvme_state_v0 v;
	size_t sqs, cqs;

	if (n < sizeof(v))
		return err_set(err, -EPROTO, "decode: standard part: %zu bytes are too few", n);
	memcpy(&v, p, sizeof(v));
	sqs = le16_get(v.niosq);
	cqs = le16_get(v.niocq);
	fprintf(out, "  version %u, %zu submission queues, %zu completion queues\n", le16_get(v.ver), sqs, cqs);
	if (le16_get(v.ver))
		return err_set(err, -EPROTO, "decode: standard part: version %u is not known", le16_get(v.ver));
	if (n - sizeof(v) != 24 * (sqs + cqs))
		return err_set(err, -EPROTO, "decode: standard part: %zu bytes for %zu queues", n - sizeof(v), sqs + cqs);
	p += sizeof(v);
	for (size_t i = 0; i < sqs; i++, p += 24)
		show_sq(p, out);
	for (size_t i = 0; i < cqs; i++, p += 24)
		show_cq(p, out);
	return 0;
}

int decode_state(const uint8_t *p, size_t n, FILE *out, struct err *err)
{
	struct nvme_state_head h;
	uint64_t css, vss;
	int rc = 0;

	if (n < sizeof(h))
		return err_set(err, -EPROTO, "decode: a state image has a head of 48 bytes, here are %zu", n);
	memcpy(&h, p, sizeof(h));
	css = le64_get(h.nvmecss);
	vss = le64_get(h.vss);
	fprintf(out, "state image: version %u, attributes %02x (%s), NVMe part %" PRIu64 " dwords, vendor part %" PRIu64 " dwords\n", le16_get(h.ver),
		h.csattr, h.csattr & NVME_CSATTR_CP ? "suspended throughout" : "was running: may contradict itself", css, vss);
	if (le16_get(h.ver) || le64_get(h.nvmecss_hi) || le64_get(h.vss_hi))
		return err_set(err, -EPROTO, "decode: version %u, or sizes beyond 64 bits", le16_get(h.ver));
	n -= sizeof(h);
	p += sizeof(h);
	if (css > n / 4 || vss > n / 4 - css)
		return err_set(err, -EPROTO, "decode: the parts have %" PRIu64 " and %" PRIu64 " dwords, behind the head are %zu bytes", css, vss, n);
	if (css)
		rc = standard(p, 4 * css, out, err);
	if (!rc && vss) {
		fprintf(out, "  vendor part\n");
		rc = vendor(p + 4 * css, 4 * vss, out, err);
	}
	if (!rc && n > 4 * (css + vss))
		fprintf(out, "  %" PRIu64 " bytes behind the image are ignored\n", n - 4 * (css + vss));
	return rc;
}
