/* A backend under a controller of tests/hmlm.h that answers when it is told to, and counts: for .wrap of a RIG. One at a time. */
#ifndef FERRY_TESTS_TAP_H
#define FERRY_TESTS_TAP_H

#include <stdlib.h>

#include "block/block.h"

struct tap { struct blk b; struct list out; bool hold; uint64_t bytes; };
static struct tap *tap;

static int tap_submit(struct blk *b, struct blk_io *io)
{
	struct tap *t = (struct tap *)b;

	t->bytes += io->nlb * b->block_bytes;
	if (!t->hold)
		return blk_submit(b->below, io);
	list_push(&t->out, &io->link);
	return 0;
}
static int tap_poll(struct blk *b) { return blk_poll(b->below); }
static void tap_close(struct blk *b)
{
	blk_close(b->below);
	free(b);
	tap = NULL;
}
static const struct blk_ops tap_ops = { .name = "tap", .submit = tap_submit, .poll = tap_poll, .close = tap_close };
static struct blk *tap_wrap(struct blk *below)
{
	tap = calloc(1, sizeof(*tap));
	tap->b = *below;
	tap->b.ops = &tap_ops;
	tap->b.below = below;
	list_init(&tap->out);
	return &tap->b;
}

/* The first that waits. False: none does. */
static bool tap_release(void)
{
	struct list *l = tap ? list_pop(&tap->out) : NULL;
	struct blk_io *io;

	if (!l)
		return false;
	io = LIST_ENTRY(l, struct blk_io, link);
	io->done(io, blk_submit(tap->b.below, io) == BLK_DONE ? 0 : -EIO);
	return true;
}

static inline void tap_release_all(void)
{
	tap->hold = false;
	while (tap_release())
		;
}

#endif
