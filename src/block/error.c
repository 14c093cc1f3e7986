/* A wrapper that fails requests by chance: for tests and for `--break` style fault injection by the verifier.
 *
 * Called from the device thread. A request that is not chosen goes below untouched. A chosen one fails inside submit, or, as
 * a write with half_done, after its first half has been written. For failures that come later, put a delay above.
 */
#include "block/block.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/rng.h"
#include "block/iov.h"

enum { SLOTS = 32, IOV_MAX_HALF = 64 };

struct slot {			/* a write of which only a part will happen */
	struct blk_io child;
	struct blk_io *io;
	struct error *e;
	int rc;
	struct iovec iov[IOV_MAX_HALF];
	struct list link;
};

struct error {
	struct blk b;
	struct blk_error_cfg cfg;
	struct rng rng;
	struct list free;
	unsigned out;
	struct slot slots[SLOTS];
};

static struct error *error_of(struct blk *b) { return CONTAINER_OF(b, struct error, b); }

static bool chosen(struct error *e, const struct blk_io *io)
{
	const struct blk_error_cfg *c = &e->cfg;

	if (io->op >= BLK_OP_COUNT || !c->per_million[io->op])
		return false;
	if (c->nlb && io->op != BLK_FLUSH && !ranges_overlap(io->lba, io->nlb, c->lba, c->nlb))
		return false;
	return rng_chance(&e->rng, c->per_million[io->op]);
}

/* Fills the slot's vector with the first `bytes` of io's, as far as it has entries; bytes covered. */
static size_t cut_iov(struct slot *s, const struct blk_io *io, size_t bytes)
{
	struct iov_pos pos = iov_start(io->iov, io->iovcnt);
	size_t have = 0, n;
	uint8_t *p;

	s->child.iov = s->iov;
	s->child.iovcnt = 0;
	while (have < bytes && s->child.iovcnt < IOV_MAX_HALF && (n = iov_next(&pos, bytes - have, &p))) {
		s->iov[s->child.iovcnt++] = (struct iovec){ p, n };
		have += n;
	}
	return have;
}

static void half_end(struct slot *s)
{
	list_push(&s->e->free, &s->link);
	s->e->out--;
}

static void half_done(struct blk_io *child, int rc)
{
	struct slot *s = CONTAINER_OF(child, struct slot, child);
	struct blk_io *io = s->io;

	(void)rc; /* the whole fails either way */
	rc = s->rc;
	half_end(s);
	io->done(io, rc);
}

static int submit_half(struct error *e, struct blk_io *io)
{
	struct list *l = list_pop(&e->free);
	uint32_t bs = e->b.block_bytes;
	struct slot *s;
	int rc = 0;

	if (!l)
		return -EAGAIN;
	s = LIST_ENTRY(l, struct slot, link);
	e->out++;
	s->io = io;
	s->rc = e->cfg.rc;
	s->child = *io;
	s->child.done = half_done;
	s->child.nlb = cut_iov(s, io, io->nlb / 2 * bs) / bs;
	if (cut_iov(s, io, s->child.nlb * bs) && !(rc = blk_submit(e->b.below, &s->child)))
		return 0;
	half_end(s);
	return s->child.nlb && rc == -EAGAIN ? rc : e->cfg.rc;
}

static int error_submit(struct blk *b, struct blk_io *io)
{
	struct error *e = error_of(b);

	if (!chosen(e, io))
		return blk_submit(b->below, io);
	if (io->op == BLK_WRITE && e->cfg.half_done)
		return submit_half(e, io);
	return e->cfg.rc;
}

static int error_poll(struct blk *b) { return blk_poll(b->below); }

static int error_next_allocated(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len)
{
	return blk_next_allocated(b->below, lba, start, len);
}

static int error_resize(struct blk *b, uint64_t blocks)
{
	int rc = b->below->ops->resize ? b->below->ops->resize(b->below, blocks) : -ENOTSUP;

	b->blocks = b->below->blocks;
	return rc;
}

static int error_wait_fd(struct blk *b) { return b->below->ops->wait_fd(b->below); }

static void error_close(struct blk *b)
{
	struct error *e = error_of(b);

	CHECK(!e->out);
	blk_close(b->below);
	free(e);
}

static const struct blk_ops error_ops = {
	.name = "error", .submit = error_submit, .poll = error_poll, .next_allocated = error_next_allocated,
	.resize = error_resize, .wait_fd = error_wait_fd, .close = error_close,
};

struct blk *blk_error_open(struct blk *below, const struct blk_error_cfg *cfg, struct err *err)
{
	struct error *e = calloc(1, sizeof(*e));

	/* 0 and positive numbers would look like success, -EAGAIN like "try again" for ever. */
	if (!e || cfg->rc >= 0 || cfg->rc == -EAGAIN) {
		if (e)
			err_set(err, -EINVAL, "error: %d is not an error a disk can give", cfg->rc);
		else
			err_set(err, -ENOMEM, "error: out of memory");
		free(e);
		blk_close(below);
		return NULL;
	}
	e->b = *below;
	e->b.ops = &error_ops;
	e->b.below = below;
	e->cfg = *cfg;
	e->rng.s = cfg->seed;
	list_init(&e->free);
	for (unsigned i = 0; i < SLOTS; i++) {
		e->slots[i].e = e;
		list_push(&e->free, &e->slots[i].link);
	}
	return &e->b;
}

struct blk_error_cfg *blk_error_cfg(struct blk *error_wrapper) { return &error_of(error_wrapper)->cfg; }
