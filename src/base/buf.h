/* A growing run of bytes: for state images, frames being built, text. Never on a request path.
 *
 * `failed` latches when memory ran out, so that a writer checks once, at the end.
 */
#ifndef FERRY_BASE_BUF_H
#define FERRY_BASE_BUF_H

#include "base/bytes.h"

struct buf {
	uint8_t *data;
	size_t len, cap;
	bool failed;
};

void buf_fini(struct buf *b);                        /* frees, leaves an empty one; {0} is an empty one too */
bool buf_reserve(struct buf *b, size_t more);        /* room for `more` bytes behind len */
void *buf_grow(struct buf *b, size_t n);             /* n new bytes, zeroed; NULL when memory ran out */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* keeps a NUL behind len */
void buf_drop_front(struct buf *b, size_t n);        /* forgets the first n bytes */

#endif
