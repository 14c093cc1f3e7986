/* Decoding: which kind it is, reading, and the kinds that are a few lines each. */
#include "verify/decode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "transport/vuser_codec.h"
#include "verify/describe.h"
#include "verify/record.h"

enum { WIDTH = 24, READ_MAX = 1 << 30, LINK_MAGIC = 0x59525246 };

#define NAME_(name, text, about) text,
static const char *const names[] = { DECODE_KINDS(NAME_) };
#undef NAME_

const char *decode_kind_name(unsigned kind) { return kind < DECODE_COUNT ? names[kind] : "?"; }

int decode_kind_of(const char *name)
{
	for (int i = 0; i < DECODE_COUNT; i++)
		if (!strcmp(names[i], name))
			return i;
	return -EINVAL;
}

/* ---- what is it ----------------------------------------------------------------------------------------------------------------- */

static uint64_t num(const uint8_t *p, unsigned len)
{
	uint64_t v = 0;

	while (len--)
		v = v << 8 | p[len];
	return v;
}

static bool looks_like_state(const uint8_t *p, size_t n)
{
	struct nvme_state_head h;

	if (n < sizeof(h))
		return false;
	memcpy(&h, p, sizeof(h));
	return !le16_get(h.ver) && !(h.csattr & ~NVME_CSATTR_CP) && !le64_get(h.nvmecss_hi) && !le64_get(h.vss_hi) &&
	       le64_get(h.nvmecss) <= n / 4 && le64_get(h.vss) <= n / 4 && sizeof(h) + 4 * (le64_get(h.nvmecss) + le64_get(h.vss)) <= n &&
	       (le64_get(h.nvmecss) || le64_get(h.vss));
}

static bool looks_like_message(const uint8_t *p, size_t n)
{
	struct vuser_hdr h;

	if (n < sizeof(h))
		return false;
	memcpy(&h, p, sizeof(h));
	return le16_get(h.cmd) && le16_get(h.cmd) < VUSER_COMMAND_COUNT && le32_get(h.size) >= sizeof(h) && le32_get(h.size) <= n &&
	       (le32_get(h.flags) & ~0x31u) == 0;
}

enum decode_kind decode_guess(const uint8_t *p, size_t n)
{
	if (n >= 2 && p[0] == '{' && p[1] == '"')
		return DECODE_RECORD;
	if (n >= 4 && num(p, 4) == LINK_MAGIC)
		return DECODE_LINK;
	if (looks_like_state(p, n))
		return DECODE_STATE;
	if (looks_like_message(p, n))
		return DECODE_MESSAGE;
	return n == 64 ? DECODE_SQE : n == 32 ? DECODE_CDQ : n == 16 ? DECODE_CQE : DECODE_AUTO;
}

/* ---- entries ---------------------------------------------------------------------------------------------------------------------- */

static void flush(struct buf *b, FILE *out)
{
	if (!b->failed && b->len)
		fwrite(b->data, 1, b->len, out);
	b->len = 0;
}

static void one_entry(enum decode_kind kind, const uint8_t *p, struct buf *b)
{
	char name[DESCRIBE_NAME];
	struct nvme_sqe s;
	struct nvme_cqe c;
	struct nvme_lbamq e;

	if (kind == DECODE_CQE) {
		memcpy(&c, p, sizeof(c));
		buf_printf(b, "completion: %s SC %s\n", describe_sct(nvme_cqe_status(&c)), nvme_status_name(nvme_cqe_status(&c)));
		describe_cqe(b, &c, true, -1, WIDTH);
	} else if (kind == DECODE_CDQ) {
		memcpy(&e, p, sizeof(e));
		buf_printf(b, "LBA migration queue entry\n");
		describe_cdq(b, &e, WIDTH);
	} else {
		memcpy(&s, p, sizeof(s));
		buf_printf(b, "%s\n", describe_op(kind == DECODE_SQE, s.opc, name));
		describe_sqe(b, &s, kind == DECODE_SQE, WIDTH);
	}
}

static int entries(enum decode_kind kind, const uint8_t *p, size_t n, FILE *out, struct err *err)
{
	size_t each = kind == DECODE_CQE ? 16 : kind == DECODE_CDQ ? 32 : 64;
	struct buf b = { 0 };
	size_t at;

	for (at = 0; n - at >= each; at += each) {
		one_entry(kind, p + at, &b);
		flush(&b, out);
	}
	buf_fini(&b);
	return at == n && n ? 0 : err_set(err, -EPROTO, "decode: %zu bytes are no whole number of entries of %zu", n, each);
}

static int messages(const uint8_t *p, size_t n, FILE *out, struct err *err)
{
	struct buf b = { 0 };
	size_t at = 0;
	int rc = 0;

	while (at < n && !rc) {
		struct vuser_hdr h;
		size_t size;

		if (n - at < sizeof(h)) {
			rc = err_set(err, -EPROTO, "decode: at byte %zu: %zu bytes are no message", at, n - at);
			break;
		}
		memcpy(&h, p + at, sizeof(h));
		size = le32_get(h.size);
		if (size < sizeof(h) || size > n - at)
			rc = err_set(err, -EPROTO, "decode: at byte %zu: a message of %zu bytes, and %zu are there", at, size, n - at);
		buf_printf(&b, "message at %zu\n", at);
		describe_message(&b, p + at, rc ? n - at : size, WIDTH);
		flush(&b, out);
		at += size;
	}
	buf_fini(&b);
	return rc;
}

/* ---- recordings --------------------------------------------------------------------------------------------------------------------- */

static void raw_of(const struct rec *r, struct buf *b)
{
	struct nvme_sqe s;
	struct nvme_cqe c;
	struct nvme_lbamq e;

	if (r->kind == REC_VFIO_MSG) {
		describe_message(b, r->raw, r->raw_len, WIDTH);
	} else if (r->kind == REC_CMD && r->raw_len == sizeof(s)) {
		memcpy(&s, r->raw, sizeof(s));
		describe_sqe(b, &s, !r->sq, WIDTH);
	} else if (r->kind == REC_CQE && r->raw_len == sizeof(c)) {
		memcpy(&c, r->raw, sizeof(c));
		describe_cqe(b, &c, !r->sq, r->parent ? r->opc : -1, WIDTH);
	} else if (r->kind == REC_CDQ_ENTRY && r->raw_len == sizeof(e)) {
		memcpy(&e, r->raw, sizeof(e));
		describe_cdq(b, &e, WIDTH);
	}
}

static void one_record(const struct rec *r, struct buf *b)
{
	char name[DESCRIBE_NAME];

	buf_printf(b, "#%" PRIx64 " %s by %s @%" PRIu64, r->uid, rec_kind_name(r->kind), rec_actor_name(r->actor), r->t0_ns);
	if (r->parent)
		buf_printf(b, " of #%" PRIx64, r->parent);
#define NUM_(text, value, absent) if ((value) != (absent)) buf_printf(b, " " text " 0x%" PRIx64, (uint64_t)(value))
	NUM_("ctrl", r->ctrl, REC_NONE);
	NUM_("sq", r->sq, REC_NONE);
	NUM_("cq", r->cq, REC_NONE);
	NUM_("cid", r->cid, REC_NONE);
	NUM_("addr", r->addr, 0);
	NUM_("len", r->len, 0);
	NUM_("val", r->val, 0);
	NUM_("status", r->status, REC_STATUS_NONE);
	NUM_("message", r->msg_id, REC_STATUS_NONE);
	NUM_("hash", r->hash, 0);
#undef NUM_
	if (r->kind == REC_CMD)
		buf_printf(b, " %s", describe_op(!r->sq, r->opc, name));
	buf_printf(b, "%s%s\n", r->note[0] ? " " : "", r->note);
	raw_of(r, b);
}

static int record(const uint8_t *p, size_t n, FILE *out, struct err *err)
{
	FILE *f = fmemopen((void *)(uintptr_t)p, n, "r");
	struct rec_reader *rd = f ? rec_reader_file(f, err) : NULL;
	struct buf b = { 0 };
	struct rec_item it;
	int rc = rd ? 0 : err_set(err, -ENOMEM, "decode: out of memory");

	while (rd && (rc = rec_read(rd, &it, err)) == 1) {
		switch (it.what) {
		case REC_ITEM_RUN:
			buf_printf(&b, "run \"%s\", seed %" PRIu64 "\n", it.rec.note, it.seed);
			break;
		case REC_ITEM_TEST:
			buf_printf(&b, "test \"%s\"\n", it.rec.note);
			break;
		case REC_ITEM_LINK:
			buf_printf(&b, "#%" PRIx64 " %s #%" PRIx64 "\n", it.from, rec_link_name(it.link), it.to);
			break;
		case REC_ITEM_DONE:
			buf_printf(&b, "#%" PRIx64 " done @%" PRIu64 " status 0x%" PRIx32 "\n", it.rec.uid, it.rec.t1_ns, it.rec.status);
			break;
		case REC_ITEM_TXN:
			one_record(&it.rec, &b);
		}
		flush(&b, out);
	}
	buf_fini(&b);
	rec_reader_close(rd);
	if (f)
		fclose(f);
	return rc;
}

/* ---- the ways in ---------------------------------------------------------------------------------------------------------------------- */

int decode_bytes(enum decode_kind kind, const uint8_t *p, size_t n, FILE *out, struct err *err)
{
	if (kind == DECODE_AUTO)
		kind = decode_guess(p, n);
	switch (kind) {
	case DECODE_RECORD: return n ? record(p, n, out, err) : 0;
	case DECODE_STATE: return decode_state(p, n, out, err);
	case DECODE_LINK: return decode_link(p, n, out, err);
	case DECODE_SQE: case DECODE_IO_SQE: case DECODE_CQE: case DECODE_CDQ: return entries(kind, p, n, out, err);
	case DECODE_MESSAGE: return messages(p, n, out, err);
	default: return err_set(err, -EPROTO, "decode: %zu bytes that look like nothing known; say what they are with --as", n);
	}
}

static int read_all(FILE *f, struct buf *b, struct err *err)
{
	for (;;) {
		uint8_t *p = buf_reserve(b, 65536) ? b->data + b->len : NULL;
		size_t n = p ? fread(p, 1, 65536, f) : 0;

		if (!p)
			return err_set(err, -ENOMEM, "decode: out of memory");
		b->len += n;
		if (b->len > READ_MAX)
			return err_set(err, -EFBIG, "decode: more than a GiB");
		if (!n)
			return ferror(f) ? err_set(err, -EIO, "decode: cannot read") : 0;
	}
}

static int unhex(struct buf *b, struct err *err)
{
	size_t n = 0;
	int high = -1;

	for (size_t i = 0; i < b->len; i++) {
		int c = b->data[i], d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;

		if (d < 0 && (c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == ':'))
			continue;
		if (d < 0)
			return err_set(err, -EPROTO, "decode: character %zu is no hexadecimal digit", i);
		if (high < 0) {
			high = d;
		} else {
			b->data[n++] = (uint8_t)(high << 4 | d);
			high = -1;
		}
	}
	b->len = n;
	return high < 0 ? 0 : err_set(err, -EPROTO, "decode: an odd number of hexadecimal digits");
}

int decode_file(enum decode_kind kind, const char *path, bool hex, FILE *out, struct err *err)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "re") : stdin;
	struct buf b = { 0 };
	int rc;

	if (!f)
		return err_set(err, -errno, "decode: cannot open %s: %s", path, strerror(errno));
	rc = read_all(f, &b, err);
	if (f != stdin)
		fclose(f);
	rc = rc || !hex ? rc : unhex(&b, err);
	rc = rc ? rc : decode_bytes(kind, b.data, b.len, out, err);
	buf_fini(&b);
	return rc;
}
