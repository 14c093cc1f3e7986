/* A disk that keeps nothing: always empty, always fast. For measuring what everything else costs.
 *
 * Reads give zeroes rather than leave the buffer alone: a buffer that came by way of a message may still hold somebody
 * else's data.
 */
#include "block/block.h"

#include <stdlib.h>

#include "block/geometry.h"
#include "block/iov.h"

static int null_submit(struct blk *b, struct blk_io *io)
{
	struct iov_pos pos = iov_start(io->iov, io->iovcnt);
	uint64_t left = io->nlb * b->block_bytes;
	uint8_t *p;
	size_t n;

	if (io->op == BLK_FLUSH)
		return BLK_DONE;
	if (!range_inside(io->lba, io->nlb, b->blocks))
		return -EINVAL;
	for (; io->op == BLK_READ && left; left -= n) {
		n = iov_next(&pos, left, &p);
		if (!n)
			return -EINVAL;
		memset(p, 0, n);
	}
	return BLK_DONE;
}

static int null_poll(struct blk *b)
{
	(void)b;
	return 0;
}

static int null_next_allocated(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len)
{
	(void)b, (void)lba, (void)start, (void)len;
	return -ENOENT;
}

static int null_resize(struct blk *b, uint64_t blocks)
{
	int rc = blk_geometry_check(b->block_bytes, blocks, NULL);

	if (!rc)
		b->blocks = blocks;
	return rc;
}

static int null_wait_fd(struct blk *b)
{
	(void)b;
	return -1;
}

static void null_close(struct blk *b) { free(b); }

static const struct blk_ops null_ops = {
	.name = "null", .submit = null_submit, .poll = null_poll, .next_allocated = null_next_allocated,
	.resize = null_resize, .wait_fd = null_wait_fd, .close = null_close,
};

struct blk *blk_null_open(uint32_t block_bytes, uint64_t blocks, struct err *err)
{
	struct blk *b;

	if (blk_geometry_check(block_bytes, blocks, err))
		return NULL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return err_set(err, -ENOMEM, "null: out of memory"), NULL;
	*b = (struct blk){ .ops = &null_ops, .block_bytes = block_bytes, .blocks = blocks,
			   .alloc_blocks = 4096 / block_bytes };
	return b;
}
