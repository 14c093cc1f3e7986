/* The record store, writing side: lines into one buffer, the buffer into a file. Called by the monitor and the runner, from the one
 * thread that polls them; the file is also read while it grows, so lines leave whole.
 */
#include "verify/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.h"

enum { OUT_BYTES = 256 * 1024 };

struct rec_store {
	int fd;				/* -1: nothing is written */
	int rc;				/* why writing ended */
	uint64_t uid, written, max_bytes, lost, flushed;
	uint64_t count[REC_KIND_COUNT];
	void (*tap)(void *ctx, const struct rec *);
	void *tap_ctx;
	size_t len;
	char path[256];
	char out[OUT_BYTES];
};

#define TEXT_(name, text, ...) text,
static const char *const kind_names[] = { REC_KINDS(TEXT_) };
static const char *const actor_names[] = { REC_ACTORS(TEXT_) };
static const char *const link_names[] = { REC_LINKS(TEXT_) };
#undef TEXT_

const char *rec_kind_name(unsigned k) { return k < REC_KIND_COUNT ? kind_names[k] : "?"; }
const char *rec_actor_name(unsigned a) { return a < REC_ACTOR_COUNT ? actor_names[a] : "?"; }
const char *rec_link_name(unsigned l) { return l < REC_LINK_COUNT ? link_names[l] : "?"; }
uint64_t rec_hash(const void *p, size_t len) { return XXH3_64bits(p, len); }

struct rec rec_blank(enum rec_kind kind, enum rec_actor actor, uint64_t now_ns)
{
	return (struct rec){ .kind = kind, .actor = actor, .t0_ns = now_ns, .t1_ns = now_ns, .status = REC_STATUS_NONE,
			     .msg_id = REC_STATUS_NONE, .ctrl = REC_NONE, .sq = REC_NONE, .cq = REC_NONE, .cid = REC_NONE };
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

static void give_up(struct rec_store *s, int rc)
{
	s->rc = s->rc ? s->rc : rc;
	s->len = 0;
}

void rec_flush(struct rec_store *s)
{
	size_t at = 0;

	if (!s || s->fd < 0 || s->rc)
		return;
	while (at < s->len) {
		ssize_t n = write(s->fd, s->out + at, s->len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			give_up(s, n < 0 ? -errno : -EIO);
			return;
		}
		at += (size_t)n;
	}
	s->flushed += s->len;
	s->len = 0;
}

/* One line is built in place; it counts only when end_line finds that it fits whole. */
struct line { struct rec_store *s; size_t at; };

static bool begin_line(struct rec_store *s, struct line *l)
{
	if (s->fd < 0)
		return false;
	if (s->rc || (s->max_bytes && s->written + REC_LINE_MAX > s->max_bytes)) {
		s->lost++;
		return false;
	}
	if (sizeof(s->out) - s->len < REC_LINE_MAX)
		rec_flush(s);
	if (s->rc) {
		s->lost++;
		return false;
	}
	*l = (struct line){ s, s->len };
	return true;
}

__attribute__((format(printf, 2, 3))) static void add(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->s->out + l->at, sizeof(l->s->out) - l->at, fmt, ap);
	va_end(ap);
	CHECK(n >= 0 && (size_t)n < sizeof(l->s->out) - l->at); /* REC_LINE_MAX is more than any record needs */
	l->at += (size_t)n;
}

static void add_text(struct line *l, const char *key, const char *text)
{
	add(l, ",\"%s\":\"", key);
	for (size_t i = 0; i < REC_NOTE_MAX && text[i]; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			add(l, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			add(l, "\\u%04x", c);	/* bytes above ASCII come from names others chose: kept as code points */
		else
			l->s->out[l->at++] = (char)c;
	}
	add(l, "\"");
}

static void add_hex(struct line *l, const char *key, const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	add(l, ",\"%s\":\"", key);
	for (size_t i = 0; i < n; i++) {
		l->s->out[l->at++] = digits[p[i] >> 4];
		l->s->out[l->at++] = digits[p[i] & 15];
	}
	add(l, "\"");
}

static void end_line(struct line *l)
{
	add(l, "}\n");
	l->s->written += l->at - l->s->len;
	l->s->len = l->at;
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

struct rec_store *rec_open(const struct rec_cfg *cfg, struct err *err)
{
	struct rec_store *s = calloc(1, sizeof(*s));
	struct line l;

	if (!s) {
		err_set(err, -ENOMEM, "record: out of memory");
		return NULL;
	}
	s->fd = -1;
	s->max_bytes = cfg->max_bytes;
	s->tap = cfg->tap;
	s->tap_ctx = cfg->tap_ctx;
	if (!cfg->path)
		return s;
	snprintf(s->path, sizeof(s->path), "%s", cfg->path);
	s->fd = open(cfg->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
	if (s->fd < 0) {
		err_set(err, -errno, "record: cannot make %s: %s", cfg->path, strerror(errno));
		free(s);
		return NULL;
	}
	if (begin_line(s, &l)) {
		add(&l, "{\"run\":1,\"seed\":%" PRIu64, cfg->seed);
		add_text(&l, "note", cfg->title ? cfg->title : "");
		end_line(&l);
	}
	return s;
}

/* Fields that are absent are left out: most records have few. */
static void write_rec(struct rec_store *s, const struct rec *r)
{
	uint32_t raw = MIN(r->raw_len, (uint32_t)REC_RAW_MAX);
	struct line l;

	if (!begin_line(s, &l))
		return;
	add(&l, "{\"uid\":%" PRIu64 ",\"kind\":\"%s\",\"by\":\"%s\",\"t0\":%" PRIu64, r->uid, kind_names[r->kind], actor_names[r->actor], r->t0_ns);
#define NUM_(key, value, absent) if ((value) != (absent)) add(&l, ",\"" key "\":%" PRIu64, (uint64_t)(value))
	NUM_("t1", r->t1_ns, r->t0_ns);
	NUM_("parent", r->parent, 0);
	NUM_("ctrl", r->ctrl, REC_NONE);
	NUM_("sq", r->sq, REC_NONE);
	NUM_("cq", r->cq, REC_NONE);
	NUM_("cid", r->cid, REC_NONE);
	NUM_("opc", r->opc, 0);
	NUM_("addr", r->addr, 0);
	NUM_("len", r->len, 0);
	NUM_("val", r->val, 0);
	NUM_("status", r->status, REC_STATUS_NONE);
	NUM_("msg", r->msg_id, REC_STATUS_NONE);
#undef NUM_
	if (r->hash)
		add(&l, ",\"hash\":\"%016" PRIx64 "\"", r->hash);
	if (r->note[0])
		add_text(&l, "note", r->note);
	if (raw)
		add_hex(&l, "raw", r->raw, raw);
	end_line(&l);
}

uint64_t rec_put(struct rec_store *s, struct rec *r)
{
	if (!s)
		return 0;
	CHECK(r->kind < REC_KIND_COUNT && r->actor < REC_ACTOR_COUNT);
	r->uid = r->uid ? r->uid : ++s->uid;
	s->count[r->kind]++;
	if (s->tap)
		s->tap(s->tap_ctx, r);
	write_rec(s, r);
	return r->uid;
}

void rec_done(struct rec_store *s, uint64_t uid, uint64_t t1_ns, uint32_t status)
{
	struct line l;

	if (!s || !uid || !begin_line(s, &l))
		return;
	add(&l, "{\"done\":%" PRIu64 ",\"t1\":%" PRIu64, uid, t1_ns);
	if (status != REC_STATUS_NONE)
		add(&l, ",\"status\":%" PRIu32, status);
	end_line(&l);
}

void rec_link(struct rec_store *s, uint64_t from, uint64_t to, enum rec_link link)
{
	struct line l;

	if (!s || !from || !to || !begin_line(s, &l))
		return;
	add(&l, "{\"link\":\"%s\",\"from\":%" PRIu64 ",\"to\":%" PRIu64, rec_link_name(link), from, to);
	end_line(&l);
}

void rec_test(struct rec_store *s, uint64_t now_ns, const char *name)
{
	struct line l;

	if (!s || !begin_line(s, &l))
		return;
	add(&l, "{\"test\":1,\"t0\":%" PRIu64, now_ns);
	add_text(&l, "note", name);
	end_line(&l);
}

uint64_t rec_count(const struct rec_store *s, enum rec_kind kind) { return s ? s->count[kind] : 0; }
uint64_t rec_lost(const struct rec_store *s) { return s ? s->lost : 0; }

int rec_close(struct rec_store *s, struct err *err)
{
	int rc;

	if (!s)
		return 0;
	rec_flush(s);
	rc = s->rc;
	if (s->fd >= 0 && close(s->fd) && !rc)
		rc = -errno;
	if (rc)
		err_set(err, rc, "record: %s stops early, %" PRIu64 " lines are missing: %s", s->path, s->lost, strerror(-rc));
	else if (s->lost)
		rc = err_set(err, -EFBIG, "record: %s reached its limit, %" PRIu64 " lines are missing", s->path, s->lost);
	free(s);
	return rc;
}
