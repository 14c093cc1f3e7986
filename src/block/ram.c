/* Blocks in memory: one sparse private mapping, and a bitmap of the granules that ever got data.
 *
 * Called from the device thread. Every request is done inside submit, without allocation, and without a system call
 * except for large deallocations and for large writes to pages never used. A granule whose bit is clear is all zeroes in the
 * mapping too, so a write to a part of it needs no preparation; reads of it do not touch the mapping, so that scanning an
 * empty disk takes no memory.
 */
#include "block/block.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "block/geometry.h"
#include "block/iov.h"

enum {
	GRANULE_SHIFT = 12,
	GRANULE = 1 << GRANULE_SHIFT,
	CACHE_LINE = 64,
	HINT_MAX = 32 * CACHE_LINE,	/* bytes of a range; measured: half as much and twice as much are slower */
	TAKE_MIN = 32 * 1024,		/* bytes; below this the call costs what it saves */
	GIVE_BACK_MIN = 64 * 1024,	/* bytes; below this zeroing is cheaper than the call that gives pages back */
};

struct ram {
	struct blk b;
	uint8_t *data;
	uint64_t *bits;			/* one per granule */
	size_t data_bytes, bits_bytes;	/* as mapped */
};

static struct ram *ram_of(struct blk *b) { return CONTAINER_OF(b, struct ram, b); }

static bool bit_get(const struct ram *r, uint64_t g) { return r->bits[g / 64] >> g % 64 & 1; }

static uint64_t word_mask(uint64_t g, uint64_t end) /* the bits of g's word from g on, below end */
{
	uint64_t up = end - round_down(g, 64);

	return (~0ull << g % 64) & (up >= 64 ? ~0ull : ~(~0ull << up));
}

/* Looks before it stores: the bitmap of an empty disk stays unwritten, and so takes no memory. */
static void bits_put(struct ram *r, uint64_t g, uint64_t end, bool on)
{
	for (; g < end; g = round_down(g, 64) + 64) {
		uint64_t m = word_mask(g, end), w = r->bits[g / 64];

		if ((w & m) != (on ? m : 0))
			r->bits[g / 64] = on ? w | m : w & ~m;
	}
}

/* First granule in [g, end) whose bit is `on`; end if there is none. */
static uint64_t bits_find(const struct ram *r, uint64_t g, uint64_t end, bool on)
{
	for (; g < end; g = round_down(g, 64) + 64) {
		uint64_t w = (on ? r->bits[g / 64] : ~r->bits[g / 64]) & word_mask(g, end);

		if (w)
			return round_down(g, 64) + (uint64_t)__builtin_ctzll(w);
	}
	return end;
}

static void read_piece(struct ram *r, uint64_t off, uint8_t *to, size_t n)
{
	uint64_t end = off + n;

	while (off < end) {
		uint64_t g = off >> GRANULE_SHIFT, last = (end + GRANULE - 1) >> GRANULE_SHIFT;
		bool on = bit_get(r, g);
		uint64_t stop = bits_find(r, g, last, !on) << GRANULE_SHIFT;

		stop = MIN(stop, end);
		if (on)
			memcpy(to, r->data + off, stop - off);
		else
			memset(to, 0, stop - off);
		to += stop - off;
		off = stop;
	}
}

/* Memory for a large write at once: page faults one by one cost twice what the copy does. Where that fails, they do it. */
static void take_pages(struct ram *r, uint64_t off, size_t n)
{
	uint64_t from = round_down(off, GRANULE), end = round_up(off + n, GRANULE);

	if (n >= TAKE_MIN && bits_find(r, from >> GRANULE_SHIFT, end >> GRANULE_SHIFT, false) < end >> GRANULE_SHIFT)
		madvise(r->data + from, end - from, MADV_POPULATE_WRITE);
}

static int ram_copy(struct ram *r, const struct blk_io *io, uint64_t off, uint64_t len)
{
	struct iov_pos pos = iov_start(io->iov, io->iovcnt);
	uint64_t at = off, end = off + len;
	uint8_t *p;
	size_t n;

	for (; at < end; at += n) {
		n = iov_next(&pos, end - at, &p);
		if (!n)
			break;
		if (io->op == BLK_READ) {
			read_piece(r, at, p, n);
			continue;
		}
		take_pages(r, at, n);
		memcpy(r->data + at, p, n);
	}
	if (io->op == BLK_WRITE && at > off)
		bits_put(r, off >> GRANULE_SHIFT, (at + GRANULE - 1) >> GRANULE_SHIFT, true);
	return at == end ? BLK_DONE : -EINVAL; /* a vector shorter than nlb */
}

static void zero_part(struct ram *r, uint64_t off, uint64_t end) /* inside one granule */
{
	if (off < end && bit_get(r, off >> GRANULE_SHIFT))
		memset(r->data + off, 0, end - off);
}

/* Whole granules: zeroed and no longer allocated. */
static void drop_granules(struct ram *r, uint64_t off, uint64_t end)
{
	uint64_t g = off >> GRANULE_SHIFT, last = end >> GRANULE_SHIFT;

	if (end - off < GIVE_BACK_MIN || madvise(r->data + off, end - off, MADV_DONTNEED))
		while ((g = bits_find(r, g, last, true)) < last) { /* also where pages are locked and cannot be given back */
			memset(r->data + (g << GRANULE_SHIFT), 0, GRANULE);
			g++;
		}
	bits_put(r, off >> GRANULE_SHIFT, last, false);
}

static void ram_drop(struct ram *r, uint64_t off, uint64_t len)
{
	uint64_t end = off + len, first = round_up(off, GRANULE), last = round_down(end, GRANULE);

	if (first > last) {
		zero_part(r, off, end);
		return;
	}
	zero_part(r, off, first);
	if (first < last)
		drop_granules(r, first, last);
	zero_part(r, last, end);
}

static void ram_zero(struct ram *r, uint64_t off, uint64_t len)
{
	memset(r->data + off, 0, len);
	bits_put(r, off >> GRANULE_SHIFT, (off + len + GRANULE - 1) >> GRANULE_SHIFT, true);
}

static int ram_submit(struct blk *b, struct blk_io *io)
{
	struct ram *r = ram_of(b);
	uint64_t off = io->lba * b->block_bytes, len = io->nlb * b->block_bytes;

	if (io->op == BLK_FLUSH)
		return BLK_DONE;
	if (!range_inside(io->lba, io->nlb, b->blocks))
		return -EINVAL;
	switch (io->op) {
	case BLK_READ:
	case BLK_WRITE:
		return ram_copy(r, io, off, len);
	case BLK_ZERO:
		if (io->dealloc)
			ram_drop(r, off, len);
		else if (len)
			ram_zero(r, off, len);
		return BLK_DONE;
	case BLK_DEALLOC:
		ram_drop(r, off, len);
		return BLK_DONE;
	default:
		return -EINVAL;
	}
}

/* About as much as the processor can have under way at a time; its own prefetcher then sees the pattern and takes the rest. */
static void ram_hint(struct blk *b, enum blk_op op, uint64_t lba, uint64_t nlb)
{
	const uint8_t *p, *end;

	if (!range_inside(lba, nlb, b->blocks))
		return;
	p = ram_of(b)->data + lba * b->block_bytes;
	end = p + MIN(nlb * b->block_bytes, (uint64_t)HINT_MAX);
	if (op == BLK_READ)
		for (; p < end; p += CACHE_LINE)
			__builtin_prefetch(p, 0, 2);
	else
		for (; p < end; p += CACHE_LINE)
			__builtin_prefetch(p, 1, 2);
}

static int ram_poll(struct blk *b)
{
	(void)b;
	return 0;
}

static int ram_next_allocated(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len)
{
	struct ram *r = ram_of(b);
	uint64_t end = (b->blocks * b->block_bytes + GRANULE - 1) >> GRANULE_SHIFT, per = b->alloc_blocks;
	uint64_t g, stop;

	if (lba >= b->blocks)
		return -ENOENT;
	g = bits_find(r, lba / per, end, true);
	if (g == end)
		return -ENOENT;
	stop = bits_find(r, g, end, false);
	*start = MAX(lba, g * per);
	*len = MIN(stop * per, b->blocks) - *start;
	return 0;
}

static void *map_new(size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static void map_sizes(uint32_t block_bytes, uint64_t blocks, size_t *data, size_t *bits)
{
	*data = round_up(blocks * block_bytes, GRANULE);
	*bits = round_up(*data >> GRANULE_SHIFT, 64) / 8;
}

static int map_resize(void *mapp, size_t *have, size_t want)
{
	void **map = mapp, *p = mremap(*map, *have, want, MREMAP_MAYMOVE);

	if (p == MAP_FAILED)
		return -errno;
	*map = p;
	*have = want;
	return 0;
}

static int ram_resize(struct blk *b, uint64_t blocks)
{
	struct ram *r = ram_of(b);
	size_t data, bits;
	int rc;

	if (!blocks || blocks > INT64_MAX / 2 / b->block_bytes)
		return -EINVAL;
	/* What goes must not come back when the disk grows again. */
	if (blocks < b->blocks)
		ram_drop(r, blocks * b->block_bytes, (b->blocks - blocks) * b->block_bytes);
	map_sizes(b->block_bytes, blocks, &data, &bits);
	/* Growing may fail between the two; then both are merely larger than needed. */
	rc = blocks > b->blocks ? map_resize(&r->bits, &r->bits_bytes, MAX(bits, r->bits_bytes)) : 0;
	if (!rc)
		rc = map_resize(&r->data, &r->data_bytes, data);
	if (!rc)
		b->blocks = blocks;
	return rc;
}

static int ram_wait_fd(struct blk *b)
{
	(void)b;
	return -1;
}

static void ram_close(struct blk *b)
{
	struct ram *r = ram_of(b);

	munmap(r->data, r->data_bytes);
	munmap(r->bits, r->bits_bytes);
	free(r);
}

static const struct blk_ops ram_ops = {
	.name = "ram", .submit = ram_submit, .poll = ram_poll, .next_allocated = ram_next_allocated,
	.resize = ram_resize, .hint = ram_hint, .wait_fd = ram_wait_fd, .close = ram_close,
};

struct blk *blk_ram_open(uint32_t block_bytes, uint64_t blocks, struct err *err)
{
	struct ram *r;

	if (blk_geometry_check(block_bytes, blocks, err))
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, -ENOMEM, "ram: out of memory"), NULL;
	map_sizes(block_bytes, blocks, &r->data_bytes, &r->bits_bytes);
	r->data = map_new(r->data_bytes);
	r->bits = r->data == MAP_FAILED ? MAP_FAILED : map_new(r->bits_bytes);
	if (r->bits == MAP_FAILED) {
		if (r->data != MAP_FAILED)
			munmap(r->data, r->data_bytes);
		free(r);
		err_set(err, -ENOMEM, "ram: cannot map %llu blocks of %u bytes: %s; make the namespace smaller, or use a file",
			(unsigned long long)blocks, block_bytes, strerror(errno));
		return NULL;
	}
	r->b = (struct blk){ .ops = &ram_ops, .block_bytes = block_bytes, .blocks = blocks,
			     .alloc_blocks = GRANULE / block_bytes };
	return &r->b;
}
