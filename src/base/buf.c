#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_fini(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}

bool buf_reserve(struct buf *b, size_t more)
{
	size_t want;
	uint8_t *p;

	if (b->failed || more > SIZE_MAX / 2 - b->len)
		return b->failed = true, false;
	if (b->len + more <= b->cap)
		return true;
	want = MAX(b->cap * 2, MAX(b->len + more, (size_t)256));
	p = realloc(b->data, want);
	if (!p)
		return b->failed = true, false;
	b->data = p;
	b->cap = want;
	return true;
}

void *buf_grow(struct buf *b, size_t n)
{
	uint8_t *p;

	if (!buf_reserve(b, n))
		return NULL;
	p = b->data + b->len;
	memset(p, 0, n);
	b->len += n;
	return p;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	if (!n || !buf_reserve(b, n))
		return;
	memcpy(b->data + b->len, p, n);
	b->len += n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n >= 0 && buf_reserve(b, (size_t)n + 1)) {
		vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

void buf_drop_front(struct buf *b, size_t n)
{
	n = MIN(n, b->len);
	if (n)
		memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
}
