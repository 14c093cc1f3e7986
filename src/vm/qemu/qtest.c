/* See qtest.h. Lines: `outl 0xcf8 0x80000000`, `inl 0xcfc`, `read ADDR SIZE`, `write ADDR SIZE 0xHEX`; answers `OK [0xVALUE]` or `FAIL why`. */
#include "vm/qemu/qtest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINES_PER_RUN = 2 * ACCESS_MAX };	/* as many again may be interrupt notes */

int qtest_init(struct qtest *q, const char *path, uint64_t patience_ns, struct err *err)
{
	memset(q, 0, sizeof(*q));
	line_init(&q->line);
	q->patience_ns = patience_ns;
	if (snprintf(q->path, sizeof(q->path), "%s", path) >= (int)sizeof(q->path))
		return err_set(err, -ENAMETOOLONG, "%s: the path of a socket is too long", path);
	return 0;
}

void qtest_hang_up(struct qtest *q)
{
	line_hang_up(&q->line);
	q->list = NULL;
	q->ignore = 0;
}

int qtest_open(struct qtest *q, struct err *err)
{
	int rc = q->line.fd >= 0 ? 0 : line_dial(&q->line, q->path);

	if (!rc || rc == -EAGAIN)
		return rc;
	return err_set(err, rc, "no QEMU answers at %s (%s): start it with -qtest unix:%s,server=on,wait=off -qtest-log none", q->path,
		       strerror(-rc), q->path);
}

static void put_access(struct buf *b, const struct access *a)
{
	static const char *const out[] = { [ACCESS_OUTB] = "outb", [ACCESS_OUTW] = "outw", [ACCESS_OUTL] = "outl" };

	switch (a->op) {
	case ACCESS_INL:
		buf_printf(b, "inl 0x%llx\n", (unsigned long long)a->at);
		return;
	case ACCESS_OUTB:
	case ACCESS_OUTW:
	case ACCESS_OUTL:
		buf_printf(b, "%s 0x%llx 0x%x\n", out[a->op], (unsigned long long)a->at, a->value);
		return;
	case ACCESS_READ:
		buf_printf(b, "read 0x%llx 0x%x\n", (unsigned long long)a->at, a->bytes);
		return;
	case ACCESS_WRITE:
		buf_printf(b, "write 0x%llx 0x%x 0x", (unsigned long long)a->at, a->bytes);
		for (uint32_t i = 0; i < a->bytes; i++)
			buf_printf(b, "%02x", a->data[i]);
		buf_printf(b, "\n");
	}
}

static int lost(struct qtest *q, int rc, const char *why, struct err *err)
{
	qtest_hang_up(q);
	return err_set(err, rc, "QEMU's qtest socket at %s: %s", q->path, why);
}

int qtest_start(struct qtest *q, struct access_list *l, struct err *err)
{
	struct buf text = { 0 };
	int rc;

	CHECK(!q->list && l->n);
	for (unsigned i = 0; i < l->n; i++)
		put_access(&text, &l->a[i]);
	rc = text.failed ? -ENOMEM : line_put(&q->line, (char *)text.data, text.len, -1);
	buf_fini(&text);
	if (rc)
		return lost(q, rc, strerror(-rc), err);
	q->list = l;
	q->next = 0;
	q->deadline_ns = line_now_ns() + q->patience_ns;
	return 0;
}

static int nibble(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool take_bytes(const char *hex, uint8_t *to, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++) {
		int hi = nibble(hex[2 * i]), lo = hi < 0 ? -1 : nibble(hex[2 * i + 1]);

		if (lo < 0)
			return false;
		to[i] = (uint8_t)(hi << 4 | lo);
	}
	return !hex[2 * (size_t)bytes];
}

static bool take_number(const char *text, uint32_t *value)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(text, &end, 16);
	*value = (uint32_t)v;
	return end != text && !*end && !errno && v <= UINT32_MAX;
}

/* One answer to the access it belongs to. */
static bool take_answer(struct access *a, const char *text)
{
	const char *value = text[2] == ' ' && !strncmp(text + 3, "0x", 2) ? text + 5 : NULL;

	if (a->op == ACCESS_INL)
		return value && take_number(value, &a->value);
	if (a->op == ACCESS_READ)
		return value && take_bytes(value, a->data, a->bytes);
	return !text[2];
}

static int on_line(struct qtest *q, const char *text, struct err *err)
{
	char why[160], said[120];

	if (!strncmp(text, "IRQ ", 4))
		return 0;
	if (q->ignore) {
		q->ignore--;
		return 0;
	}
	line_clean(said, sizeof(said), text);
	if (!q->list || q->next == q->list->n || strncmp(text, "OK", 2) || !take_answer(&q->list->a[q->next], text)) {
		snprintf(why, sizeof(why), "it answers '%s'", said);
		return lost(q, -EPROTO, why, err);
	}
	q->next++;
	return 0;
}

int qtest_run(struct qtest *q, struct err *err)
{
	char why[120];
	char *text;
	size_t len;
	int rc = 0;

	if (q->line.fd < 0)
		return err_set(err, -ENOTCONN, "not connected to QEMU's qtest socket at %s", q->path);
	line_flush(&q->line);
	for (unsigned i = 0; i < LINES_PER_RUN && !rc && q->list && q->next < q->list->n; i++) {
		rc = line_get(&q->line, &text, &len);
		if (rc && rc != -EAGAIN)
			return lost(q, rc, rc == -EPIPE ? "QEMU is gone" : strerror(-rc), err);
		if (!rc)
			rc = on_line(q, text, err);
		if (rc && rc != -EAGAIN)
			return rc;
	}
	if (!q->list || q->next == q->list->n) {
		q->list = NULL;
		return 0;
	}
	if (line_now_ns() < q->deadline_ns)
		return -EAGAIN;
	snprintf(why, sizeof(why), "no answer within %llu s: is another client connected to it?", (unsigned long long)(q->patience_ns / 1000000000ull));
	return lost(q, -ETIMEDOUT, why, err);
}

void qtest_give_up(struct qtest *q)
{
	if (q->list)
		q->ignore += q->list->n - q->next;
	q->list = NULL;
}
