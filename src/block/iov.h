/* Walking an iovec piece by piece. The vector itself is never changed: it is the caller's. */
#ifndef FERRY_BLOCK_IOV_H
#define FERRY_BLOCK_IOV_H

#include <sys/uio.h>

#include "base/bytes.h"

struct iov_pos {
	const struct iovec *v;
	int n;
	size_t off;	/* into v[0] */
};

static inline struct iov_pos iov_start(const struct iovec *v, int n) { return (struct iov_pos){ v, n, 0 }; }

/* The next contiguous piece of at most `max` bytes; 0 at the end. */
static inline size_t iov_next(struct iov_pos *p, size_t max, uint8_t **ptr)
{
	size_t n;

	while (p->n > 0 && p->off == p->v->iov_len) {
		p->v++;
		p->n--;
		p->off = 0;
	}
	if (p->n <= 0)
		return 0;
	n = MIN(max, p->v->iov_len - p->off);
	*ptr = (uint8_t *)p->v->iov_base + p->off;
	p->off += n;
	return n;
}

static inline void iov_skip(struct iov_pos *p, size_t bytes)
{
	uint8_t *unused;
	size_t n;

	while (bytes && (n = iov_next(p, bytes, &unused)))
		bytes -= n;
}

#endif
