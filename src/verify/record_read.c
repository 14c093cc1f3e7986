/* The record store, reading side: one line at a time, each judged before anything of it is believed. Called by exports, reports and
 * `ferry decode`; any thread, one reader each. Written by hand rather than with a JSON library: our own lines are flat, a record has
 * millions of them, and a file from elsewhere must not be able to make us build trees.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "verify/record.h"

struct rec_reader {
	FILE *f;
	bool not_ours;
	uint64_t line_no;
	char line[REC_LINE_MAX + 2];
	uint8_t raw[REC_RAW_MAX];
};

struct rec_reader *rec_reader_file(FILE *f, struct err *err)
{
	struct rec_reader *r = calloc(1, sizeof(*r));

	if (!r) {
		err_set(err, -ENOMEM, "record: out of memory");
		return NULL;
	}
	r->f = f;
	r->not_ours = true;
	return r;
}

struct rec_reader *rec_reader_open(const char *path, struct err *err)
{
	bool in = !strcmp(path, "-");
	FILE *f = in ? stdin : fopen(path, "re");
	struct rec_reader *r;

	if (!f) {
		err_set(err, -errno, "record: cannot open %s: %s", path, strerror(errno));
		return NULL;
	}
	r = rec_reader_file(f, err);
	if (r)
		r->not_ours = in;
	else if (!in)
		fclose(f);
	return r;
}

void rec_reader_close(struct rec_reader *r)
{
	if (!r)
		return;
	if (!r->not_ours)
		fclose(r->f);
	free(r);
}

/* ---- a flat object: "key": number or string, in any order ------------------------------------------------------------ */

struct field { const char *key; size_t key_len; bool is_text; uint64_t num; const char *text; size_t text_len; };

static const char *blanks(const char *p) { while (*p == ' ' || *p == '\t') p++; return p; }

/* From behind the opening quote to the closing one; NULL if there is none. */
static const char *quote_end(const char *p)
{
	for (; *p && *p != '"'; p++)
		if (*p == '\\' && !*++p)
			return NULL;
	return *p ? p : NULL;
}

static const char *take_number(const char *p, uint64_t *out)
{
	const char *start = p;

	for (*out = 0; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, (uint64_t)(*p - '0'), out))
			return NULL;
	return p == start ? NULL : p;
}

/* Behind the field, or NULL. */
static const char *take_field(const char *p, struct field *f)
{
	const char *end;

	p = blanks(p);
	if (*p++ != '"' || !(end = quote_end(p)))
		return NULL;
	*f = (struct field){ .key = p, .key_len = (size_t)(end - p) };
	p = blanks(end + 1);
	if (*p++ != ':')
		return NULL;
	p = blanks(p);
	if (*p != '"')
		return take_number(p, &f->num);
	f->is_text = true;
	f->text = ++p;
	end = quote_end(p);
	f->text_len = end ? (size_t)(end - p) : 0;
	return end ? end + 1 : NULL;
}

static bool key_is(const struct field *f, const char *key)
{
	return f->key_len == strlen(key) && !memcmp(f->key, key, f->key_len);
}
static bool text_is(const struct field *f, const char *text)
{
	return f->is_text && f->text_len == strlen(text) && !memcmp(f->text, text, f->text_len);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool take_hex(const struct field *f, uint8_t *out, size_t cap, uint32_t *n)
{
	if (!f->is_text || f->text_len % 2 || f->text_len / 2 > cap)
		return false;
	for (size_t i = 0; i < f->text_len / 2; i++) {
		int hi = hex_digit(f->text[2 * i]), lo = hex_digit(f->text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	*n = (uint32_t)(f->text_len / 2);
	return true;
}

static bool take_escape(const char **p, char *out)
{
	unsigned v = 0;

	if (**p != 'u') {
		*out = **p == 'n' ? '\n' : **p == 't' ? '\t' : **p;
		return true;
	}
	for (unsigned i = 1; i <= 4; i++) {
		int d = hex_digit((*p)[i]);

		if (d < 0)
			return false;
		v = v << 4 | (unsigned)d;
	}
	*p += 4;
	*out = v < 256 && v ? (char)v : '?';
	return true;
}

static bool take_note(const struct field *f, char *out)
{
	size_t n = 0;

	if (!f->is_text)
		return false;
	for (const char *p = f->text; p < f->text + f->text_len; p++) {
		char c = *p;

		if (c == '\\' && (++p, !take_escape(&p, &c)))
			return false;
		if (n + 1 >= REC_NOTE_MAX)
			return false;
		out[n++] = c;
	}
	out[n] = 0;
	return true;
}

static bool take_name(const struct field *f, const char *(*name)(unsigned), unsigned count, unsigned *out)
{
	for (unsigned i = 0; i < count; i++)
		if (text_is(f, name(i))) {
			*out = i;
			return true;
		}
	return false;
}

static bool take_hash(const struct field *f, uint64_t *out)
{
	uint8_t b[8];
	uint32_t n;

	if (!take_hex(f, b, sizeof(b), &n) || n != sizeof(b))
		return false;
	*out = 0;
	for (unsigned i = 0; i < 8; i++)
		*out = *out << 8 | b[i];
	return true;
}

/* ---- fields into an item ---------------------------------------------------------------------------------------------- */

/* name in the file, place, bytes, largest */
#define NUMBERS(N) N("uid", uid, UINT64_MAX) N("done", uid, UINT64_MAX) N("parent", parent, UINT64_MAX) N("t0", t0_ns, UINT64_MAX) \
	N("t1", t1_ns, UINT64_MAX) N("addr", addr, UINT64_MAX) N("val", val, UINT64_MAX) N("len", len, UINT32_MAX)             \
	N("status", status, UINT32_MAX) N("msg", msg_id, UINT32_MAX) N("ctrl", ctrl, 0xffff) N("sq", sq, 0xffff)               \
	N("cq", cq, 0xffff) N("cid", cid, 0xffff) N("opc", opc, 0xff)

struct seen { bool run, uid, kind, done, link, test, t1; };

static bool set_field(struct rec_reader *rd, struct rec_item *it, struct seen *seen, const struct field *f)
{
	struct rec *r = &it->rec;
	unsigned i;

	seen->run |= key_is(f, "run");
	seen->uid |= key_is(f, "uid");
	seen->done |= key_is(f, "done");
	seen->test |= key_is(f, "test");
	seen->t1 |= key_is(f, "t1");
#define NUM_(key, member, max) if (key_is(f, key)) { if (f->is_text || f->num > (max)) return false; r->member = f->num; return true; }
	NUMBERS(NUM_)
#undef NUM_
	if (key_is(f, "kind")) {
		seen->kind = take_name(f, rec_kind_name, REC_KIND_COUNT, &i);
		r->kind = seen->kind ? (enum rec_kind)i : 0;
		return seen->kind;
	}
	if (key_is(f, "by"))
		return take_name(f, rec_actor_name, REC_ACTOR_COUNT, &i) && (r->actor = (enum rec_actor)i, true);
	if (key_is(f, "link")) {
		seen->link = take_name(f, rec_link_name, REC_LINK_COUNT, &i);
		it->link = seen->link ? (enum rec_link)i : 0;
		return seen->link;
	}
	if (key_is(f, "hash"))
		return take_hash(f, &r->hash);
	if (key_is(f, "note"))
		return take_note(f, r->note);
	if (key_is(f, "raw")) {
		r->raw = rd->raw;
		return take_hex(f, rd->raw, sizeof(rd->raw), &r->raw_len);
	}
	if (key_is(f, "from") || key_is(f, "to") || key_is(f, "seed")) {
		*(key_is(f, "from") ? &it->from : key_is(f, "to") ? &it->to : &it->seed) = f->num;
		return !f->is_text;
	}
	return true; /* what a later version adds is skipped */
}

static bool parse_line(struct rec_reader *rd, const char *p, struct rec_item *it)
{
	struct seen seen = { 0 };
	struct field f;

	*it = (struct rec_item){ .rec = rec_blank(0, 0, 0) };
	p = blanks(p);
	if (*p++ != '{')
		return false;
	do {
		p = take_field(p, &f);
		if (!p || !set_field(rd, it, &seen, &f))
			return false;
		p = blanks(p);
	} while (*p++ == ',');
	if (p[-1] != '}' || *blanks(p))
		return false;
	if (!seen.t1)
		it->rec.t1_ns = it->rec.t0_ns;
	it->what = seen.run ? REC_ITEM_RUN : seen.done ? REC_ITEM_DONE : seen.link ? REC_ITEM_LINK : seen.test ? REC_ITEM_TEST : REC_ITEM_TXN;
	return it->what != REC_ITEM_TXN || (seen.uid && seen.kind && it->rec.uid);
}

/* A line without its end is one that was being written when the writer died. */
int rec_read(struct rec_reader *rd, struct rec_item *it, struct err *err)
{
	size_t n;

	do {
		if (!fgets(rd->line, sizeof(rd->line), rd->f))
			return 0;
		rd->line_no++;
		n = strlen(rd->line);
		if (!n || rd->line[n - 1] != '\n') {
			if (n < sizeof(rd->line) - 1 && feof(rd->f))
				return 0;
			return err_set(err, -EPROTO, "record: line %llu is too long or not text", (unsigned long long)rd->line_no);
		}
		rd->line[--n] = 0;
	} while (!*blanks(rd->line));
	if (!parse_line(rd, rd->line, it))
		return err_set(err, -EPROTO, "record: line %llu is not a record: %.60s", (unsigned long long)rd->line_no, rd->line);
	return 1;
}
