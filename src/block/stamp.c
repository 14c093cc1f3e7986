/* A wrapper that notices a disk which gives back something else than was written.
 *
 * Called from the device thread. Keeps one checksum per block, outside the disk: of the last data written, of zeroes where
 * the block is deallocated or zeroed, or "not known" (there before we came, or after a failed or clashing write). A read is
 * compared when it is finished; a mismatch is -EILSEQ. Requests that overlap while under way have no order, so what
 * they leave or read is not judged. The checksum of a write is taken when it is done, from the caller's memory, which must
 * not change meanwhile.
 */
#include "block/block.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "base/check.h"
#include "block/iov.h"

enum { SLOTS = 1024 };
enum { ZEROED = 0, UNKNOWN = 1 };	/* table entries that are no checksums; a fresh mapping says ZEROED */

struct slot {
	struct blk_io child;
	struct blk_io *io;
	struct stamp *st;
	bool clash;			/* met another change while under way */
	struct list link;		/* free or out */
};

struct stamp {
	struct blk b;
	uint64_t *table, zero_hash;
	size_t table_bytes;
	struct list free, out;
	struct slot slots[SLOTS];
};

static struct stamp *stamp_of(struct blk *b) { return CONTAINER_OF(b, struct stamp, b); }

static uint64_t as_entry(XXH64_hash_t h) { return h <= UNKNOWN ? h + 2 : h; }

/* Checksum of the next block of the vector; one that is split is gathered first. */
static uint64_t hash_next(struct iov_pos *pos, uint32_t bytes)
{
	uint8_t block[4096], *p = block;
	size_t n = iov_next(pos, bytes, &p), have = 0;

	if (n == bytes)
		return as_entry(XXH3_64bits(p, n));
	for (; n; n = iov_next(pos, bytes - have, &p)) {
		memcpy(block + have, p, n);
		have += n;
	}
	return as_entry(XXH3_64bits(block, have));
}

static void set_range(struct stamp *st, const struct blk_io *io, uint64_t entry)
{
	for (uint64_t i = 0; i < io->nlb; i++)
		if (st->table[io->lba + i] != entry) /* an empty disk's table stays unwritten */
			st->table[io->lba + i] = entry;
}

static bool changes_blocks(const struct blk_io *io) { return io->op != BLK_READ && io->op != BLK_FLUSH; }

static int judge_read(struct stamp *st, const struct blk_io *io)
{
	struct iov_pos pos = iov_start(io->iov, io->iovcnt);
	int rc = 0;

	for (uint64_t i = 0; i < io->nlb; i++) {
		uint64_t want = st->table[io->lba + i], have = hash_next(&pos, st->b.block_bytes);

		if (want != UNKNOWN && have != (want == ZEROED ? st->zero_hash : want))
			rc = -EILSEQ;
	}
	return rc;
}

static void note_write(struct stamp *st, const struct blk_io *io)
{
	struct iov_pos pos = iov_start(io->iov, io->iovcnt);

	for (uint64_t i = 0; i < io->nlb; i++)
		st->table[io->lba + i] = hash_next(&pos, st->b.block_bytes);
}

/* What a finished request tells us; its result as seen above. */
static int judge(struct slot *s, int rc)
{
	struct stamp *st = s->st;

	if (s->io->op == BLK_READ)
		return rc || s->clash ? rc : judge_read(st, s->io);
	if (!changes_blocks(s->io))
		return rc;
	if (rc || s->clash) /* old data, new data or a part of each */
		set_range(st, s->io, UNKNOWN);
	else if (s->io->op == BLK_WRITE)
		note_write(st, s->io);
	else
		set_range(st, s->io, ZEROED);
	return rc;
}

static void mark_clashes(struct stamp *st, struct slot *s)
{
	if (s->io->op == BLK_FLUSH)
		return;
	LIST_EACH(&st->out, it) {
		struct slot *o = LIST_ENTRY(it, struct slot, link);

		if (o->io->op == BLK_FLUSH || !ranges_overlap(o->io->lba, o->io->nlb, s->io->lba, s->io->nlb))
			continue;
		if (changes_blocks(o->io) || changes_blocks(s->io))
			o->clash = s->clash = true;
	}
}

static void release(struct slot *s)
{
	list_del(&s->link);
	list_push(&s->st->free, &s->link);
}

static void child_done(struct blk_io *child, int rc)
{
	struct slot *s = CONTAINER_OF(child, struct slot, child);
	struct blk_io *io = s->io;

	rc = judge(s, rc);
	release(s);
	io->done(io, rc);
}

static int stamp_submit(struct blk *b, struct blk_io *io)
{
	struct stamp *st = stamp_of(b);
	struct list *l;
	struct slot *s;
	int rc;

	if (io->op != BLK_FLUSH && !range_inside(io->lba, io->nlb, b->blocks))
		return -EINVAL;
	l = list_pop(&st->free);
	if (!l)
		return -EAGAIN;
	s = LIST_ENTRY(l, struct slot, link);
	s->io = io;
	s->child = *io;
	s->child.done = child_done;
	s->clash = false;
	rc = blk_submit(b->below, &s->child);
	if (rc != -EAGAIN)
		mark_clashes(st, s);
	if (!rc) {
		list_push(&st->out, &s->link);
		return 0;
	}
	list_push(&st->free, &s->link);
	if (rc == -EAGAIN)
		return rc;
	rc = judge(s, rc == BLK_DONE ? 0 : rc);
	return rc ? rc : BLK_DONE;
}

static int stamp_poll(struct blk *b) { return blk_poll(b->below); }

static int stamp_next_allocated(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len)
{
	return blk_next_allocated(b->below, lba, start, len);
}

/* What the disk held before we came is not known; the rest of it must read as zero. */
static int learn_map(struct stamp *st, uint64_t lba)
{
	uint64_t start, len;
	int rc;

	while (lba < st->b.blocks && !(rc = blk_next_allocated(st->b.below, lba, &start, &len))) {
		set_range(st, &(struct blk_io){ .lba = start, .nlb = len }, UNKNOWN);
		lba = start + len;
	}
	return lba < st->b.blocks && rc != -ENOENT ? rc : 0;
}

/* New blocks read as zero: the part of the table that goes is forgotten, so that it is fresh when it comes back. */
static int stamp_resize(struct blk *b, uint64_t blocks)
{
	struct stamp *st = stamp_of(b);
	void *p = NULL;
	uint64_t was;
	int rc;

	if (!b->below->ops->resize)
		return -ENOTSUP;
	if (!blocks || blocks > SIZE_MAX / 16)
		return -EINVAL;
	if (blocks * 8 > st->table_bytes) {
		p = mremap(st->table, st->table_bytes, blocks * 8, MREMAP_MAYMOVE);
		if (p == MAP_FAILED)
			return -errno;
		st->table = p;
		st->table_bytes = blocks * 8;
	}
	rc = b->below->ops->resize(b->below, blocks);
	if (!rc && blocks < b->blocks)
		memset(st->table + blocks, 0, (b->blocks - blocks) * 8);
	was = b->blocks;
	b->blocks = b->below->blocks;
	return rc ? rc : learn_map(st, was); /* on a block device they are not zero */
}

static int stamp_wait_fd(struct blk *b) { return b->below->ops->wait_fd(b->below); }

static void stamp_close(struct blk *b)
{
	struct stamp *st = stamp_of(b);

	CHECK(list_empty(&st->out));
	blk_close(b->below);
	munmap(st->table, st->table_bytes);
	free(st);
}

static const struct blk_ops stamp_ops = {
	.name = "stamp", .submit = stamp_submit, .poll = stamp_poll, .next_allocated = stamp_next_allocated,
	.resize = stamp_resize, .wait_fd = stamp_wait_fd, .close = stamp_close,
};

struct blk *blk_stamp_open(struct blk *below, struct err *err)
{
	static const uint8_t zero_block[4096];
	struct stamp *st = calloc(1, sizeof(*st));

	if (!st)
		return err_set(err, -ENOMEM, "stamp: out of memory"), blk_close(below), NULL;
	st->b = *below;
	st->b.ops = &stamp_ops;
	st->b.below = below;
	st->zero_hash = as_entry(XXH3_64bits(zero_block, below->block_bytes));
	st->table_bytes = below->blocks * 8;
	st->table = mmap(NULL, st->table_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	list_init(&st->free);
	list_init(&st->out);
	for (unsigned i = 0; i < SLOTS; i++) {
		st->slots[i].st = st;
		list_push(&st->free, &st->slots[i].link);
	}
	if (st->table == MAP_FAILED || learn_map(st, 0)) {
		err_set(err, -EIO, "stamp: cannot map the table of checksums, or read the disk's allocated map");
		blk_close(below);
		if (st->table != MAP_FAILED)
			munmap(st->table, st->table_bytes);
		free(st);
		return NULL;
	}
	return &st->b;
}
