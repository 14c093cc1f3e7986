/* Waveforms: a value change dump with string signals. Two passes over the record, because a dump names its signals first. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "verify/describe.h"
#include "verify/export.h"

enum { SIGNALS = 8192 };
enum signal_kind { SIG_SQ_CMD, SIG_SQ_TAIL, SIG_CQ_HEAD, SIG_CQ_DONE, SIG_VECTOR, SIG_MASK, SIG_CDQ, SIG_MSG_HOST, SIG_MSG_DEV, SIG_RULE, SIG_KINDS };
static const struct { const char *name; bool text; } kinds[SIG_KINDS] = {
	[SIG_SQ_CMD] = { "sq%u_command", true }, [SIG_SQ_TAIL] = { "sq%u_tail", false }, [SIG_CQ_HEAD] = { "cq%u_head", false },
	[SIG_CQ_DONE] = { "cq%u_completion", true }, [SIG_VECTOR] = { "vector%u_count", false }, [SIG_MASK] = { "vector%u_masked", false },
	[SIG_CDQ] = { "cdq%u_entry", true }, [SIG_MSG_HOST] = { "message_host", true }, [SIG_MSG_DEV] = { "message_device", true },
	[SIG_RULE] = { "violation", true },
};

struct signal { uint64_t key; uint64_t count; };
struct vcd {
	FILE *f;
	struct signal sig[SIGNALS];	/* open-addressed */
	unsigned count;
	uint64_t base, now;
	bool begun, stamped;
};

static uint64_t key_of(uint16_t ctrl, enum signal_kind kind, uint64_t a)
{
	return 1ull << 63 | (uint64_t)ctrl << 32 | (uint64_t)kind << 24 | (a & 0xffff);
}

/* NULL: there are too many signals; those that came late are left out. */
static struct signal *find(struct vcd *v, uint64_t key, bool make)
{
	for (unsigned n = 0, i = (unsigned)(key * 0x9e3779b97f4a7c15ull >> 48) % SIGNALS; n < SIGNALS; n++, i = (i + 1) % SIGNALS) {
		if (v->sig[i].key == key)
			return &v->sig[i];
		if (v->sig[i].key)
			continue;
		if (!make || v->count >= SIGNALS / 2)
			return NULL;
		v->count++;
		v->sig[i].key = key;
		return &v->sig[i];
	}
	return NULL;
}

/* Identifiers are printable characters; ours are the signal's place in base 94. */
static const char *ident(const struct vcd *v, const struct signal *s, char out[8])
{
	size_t n = (size_t)(s - v->sig), i = 0;

	do {
		out[i++] = (char)('!' + n % 94);
		n /= 94;
	} while (n);
	out[i] = 0;
	return out;
}

/* ---- the two passes see a transaction the same way ------------------------------------------------------------------------------- */

typedef void change(struct vcd *, uint64_t t, uint64_t key, uint64_t num, const char *text);

static void declare(struct vcd *v, uint64_t t, uint64_t key, uint64_t num, const char *text)
{
	(void)t, (void)num, (void)text;
	find(v, key, true);
}

/* A string value must be one word. */
static void word(FILE *f, const char *s)
{
	putc('s', f);
	for (unsigned i = 0; s[i] && i < 200; i++)
		putc(s[i] > ' ' && s[i] < 0x7f ? s[i] : '_', f);
}

static void dump(struct vcd *v, uint64_t t, uint64_t key, uint64_t num, const char *text)
{
	struct signal *s = find(v, key, false);
	char id[8];

	if (!s)
		return;
	t = t > v->base ? t - v->base : 0;
	if (t > v->now || !v->stamped) { /* time never runs back in a dump */
		v->now = MAX(t, v->now);
		v->stamped = true;
		fprintf(v->f, "#%" PRIu64 "\n", v->now);
	}
	if (text) {
		word(v->f, text);
		fprintf(v->f, " %s\n", ident(v, s, id));
		return;
	}
	putc('b', v->f);
	for (int bit = 31; bit >= 0; bit--)
		putc('0' + (int)(num >> bit & 1), v->f);
	fprintf(v->f, " %s\n", ident(v, s, id));
}

static void message(struct vcd *v, const struct rec *r, change *fn)
{
	struct buf b = { 0 };

	describe_message_brief(&b, r->raw, r->raw_len);
	fn(v, r->t0_ns, key_of(r->ctrl, r->actor == REC_BY_HOST ? SIG_MSG_HOST : SIG_MSG_DEV, 0), 0, b.data ? (char *)b.data : "?");
	buf_fini(&b);
}

static void completion(struct vcd *v, const struct rec *r, change *fn)
{
	char name[DESCRIBE_NAME], text[160];

	snprintf(text, sizeof(text), "%s#%" PRIx64 ":%s", describe_op(!r->sq, r->opc, name), r->parent, nvme_status_name(r->status));
	fn(v, r->t0_ns, key_of(r->ctrl, SIG_CQ_DONE, r->cq), 0, text);
}

static void see(struct vcd *v, const struct rec *r, change *fn)
{
	char name[DESCRIBE_NAME], text[128];
	struct signal *s;

	switch (r->kind) {
	case REC_CMD:
		snprintf(text, sizeof(text), "%s#%" PRIx64, describe_op(!r->sq, r->opc, name), r->uid);
		fn(v, r->t0_ns, key_of(r->ctrl, SIG_SQ_CMD, r->sq), 0, text);
		return;
	case REC_DBL:
		fn(v, r->t0_ns, r->cq == REC_NONE ? key_of(r->ctrl, SIG_SQ_TAIL, r->sq) : key_of(r->ctrl, SIG_CQ_HEAD, r->cq), r->val, NULL);
		return;
	case REC_CQE:
		completion(v, r, fn);
		return;
	case REC_MSIX:
		s = find(v, key_of(r->ctrl, SIG_VECTOR, r->val), false);
		fn(v, r->t0_ns, key_of(r->ctrl, SIG_VECTOR, r->val), s ? s->count += r->len : 0, NULL);
		return;
	case REC_MASK:
		fn(v, r->t0_ns, key_of(r->ctrl, SIG_MASK, r->val), r->status & 1, NULL);
		return;
	case REC_CDQ_ENTRY:
		snprintf(text, sizeof(text), "slot%" PRIu64 "#%" PRIx64, r->val, r->uid);
		fn(v, r->t0_ns, key_of(r->ctrl, SIG_CDQ, r->cq), 0, text);
		return;
	case REC_VFIO_MSG:
		message(v, r, fn);
		return;
	case REC_VIOLATION:
		fn(v, r->t0_ns, key_of(r->ctrl, SIG_RULE, 0), 0, r->note);
		return;
	default:
		return;
	}
}

static int pass(struct vcd *v, const char *record, change *fn, struct err *err)
{
	struct rec_reader *rd = rec_reader_open(record, err);
	struct rec_item it;
	int rc;

	if (!rd)
		return -ENOENT;
	while ((rc = rec_read(rd, &it, err)) == 1) {
		if (it.what != REC_ITEM_TXN)
			continue;
		if (!v->begun)
			v->base = it.rec.t0_ns;
		v->begun = true;
		see(v, &it.rec, fn);
	}
	rec_reader_close(rd);
	return rc;
}

/* ---- the head --------------------------------------------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	uint64_t x = (*(struct signal *const *)a)->key, y = (*(struct signal *const *)b)->key;

	return x < y ? -1 : x > y;
}

static void head(struct vcd *v, struct signal **order)
{
	unsigned n = 0, scope = UINT32_MAX;
	char id[8];

	for (unsigned i = 0; i < SIGNALS; i++) {
		v->sig[i].count = 0;
		if (v->sig[i].key)
			order[n++] = &v->sig[i];
	}
	qsort(order, n, sizeof(*order), by_key);
	fprintf(v->f, "$timescale 1ns $end\n$scope module ferry $end\n");
	for (unsigned i = 0; i < n; i++) {
		unsigned ctrl = order[i]->key >> 32 & 0xffff, kind = order[i]->key >> 24 & 0xff;

		if (ctrl != scope)
			fprintf(v->f, "%s$scope module controller%u $end\n", scope == UINT32_MAX ? "" : "$upscope $end\n", ctrl);
		scope = ctrl;
		fprintf(v->f, kinds[kind].text ? "$var string 1 %s " : "$var wire 32 %s ", ident(v, order[i], id));
		fprintf(v->f, kinds[kind].name, (unsigned)(order[i]->key & 0xffff));
		fprintf(v->f, " $end\n");
	}
	fprintf(v->f, "%s$upscope $end\n$enddefinitions $end\n", scope == UINT32_MAX ? "" : "$upscope $end\n");
}

int export_vcd(const char *record, FILE *f, struct err *err)
{
	struct vcd *v = calloc(1, sizeof(*v));
	struct signal **order = calloc(SIGNALS, sizeof(*order));
	int rc = v && order ? 0 : err_set(err, -ENOMEM, "vcd: out of memory");

	if (!rc && !strcmp(record, "-"))
		rc = err_set(err, -EINVAL, "vcd: the record is read twice, so it must be a file");
	if (!rc) {
		v->f = f;
		rc = pass(v, record, declare, err);
	}
	if (!rc) {
		head(v, order);
		rc = pass(v, record, dump, err);
	}
	free(order);
	free(v);
	return rc;
}
