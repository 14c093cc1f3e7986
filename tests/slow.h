/* A backend that answers when the test tells it to, and a few commands; for the tests of the device core. Only one at a time. */
#ifndef FERRY_TESTS_SLOW_H
#define FERRY_TESTS_SLOW_H

#include "rig.h"

struct slow { struct blk b; struct list out; bool full; unsigned count; };
static struct slow *slow;

static inline int slow_submit(struct blk *b, struct blk_io *io)
{
	struct slow *s = (struct slow *)b;

	if (s->full)
		return -EAGAIN;
	list_push(&s->out, &io->link);
	s->count++;
	return 0;
}
static inline int slow_poll(struct blk *b) { return blk_poll(b->below); }
static inline void slow_close(struct blk *b)
{
	blk_close(b->below);
	free(b);
	slow = NULL;
}
static const struct blk_ops slow_ops = { .name = "slow", .submit = slow_submit, .poll = slow_poll, .close = slow_close };
static inline struct blk *slow_wrap(struct blk *below)
{
	slow = calloc(1, sizeof(*slow));
	slow->b = *below;
	slow->b.ops = &slow_ops;
	slow->b.below = below;
	list_init(&slow->out);
	return &slow->b;
}
/* Does the oldest request with rc as its answer. False: none. */
static inline bool slow_finish(int rc)
{
	struct list *l = slow ? list_pop(&slow->out) : NULL;
	struct blk_io *io;

	if (!l)
		return false;
	io = LIST_ENTRY(l, struct blk_io, link);
	slow->count--;
	if (rc == 0 && blk_submit(slow->b.below, io) != BLK_DONE)
		fail_msg("RAM answers at once");
	io->done(io, rc);
	return true;
}
static inline void slow_finish_all(void)
{
	while (slow_finish(0))
		;
}

static inline struct nvme_sqe sqe(unsigned opc) { return (struct nvme_sqe){ .opc = (uint8_t)opc }; }
static inline struct nvme_sqe flush_sqe(void) { return (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(1) }; }
static inline void fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 31 + seed + (i >> 8));
}

static inline void many(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		rig_submit(r, r->mc, 1, flush_sqe());
}

#endif
