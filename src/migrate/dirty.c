/* Dirty sets: blocks as roaring bitmaps, pages as words. out_*.c calls this, from its one thread. */
#include "migrate/dirty.h"

#include <errno.h>
#include <roaring/roaring.h>
#include <stdlib.h>

/* ---- blocks ---------------------------------------------------------------------------------------------------------- */

static uint64_t granules(const struct dirty *d) { return ((d->blocks - 1) >> d->shift) + 1; }

int dirty_init(struct dirty *d, uint64_t blocks, uint32_t block_bytes)
{
	*d = (struct dirty){ .blocks = blocks };
	if (!blocks || !block_bytes)
		return -EINVAL;
	while (((uint64_t)block_bytes << d->shift) < 4096)
		d->shift++;
	while (granules(d) > UINT32_MAX)
		d->shift++;
	d->bits = roaring_bitmap_create();
	return d->bits ? 0 : -ENOMEM;
}

void dirty_fini(struct dirty *d)
{
	if (d->bits)
		roaring_bitmap_free(d->bits);
	*d = (struct dirty){ 0 };
}

void dirty_add(struct dirty *d, uint64_t lba, uint64_t nlb)
{
	uint32_t first, last;

	if (lba >= d->blocks || !nlb)
		return;
	nlb = MIN(nlb, d->blocks - lba);
	first = (uint32_t)(lba >> d->shift);
	last = (uint32_t)((lba + nlb - 1) >> d->shift);
	if (first == last)	/* most writes, and much cheaper than a range of one */
		roaring_bitmap_add(d->bits, first);
	else
		roaring_bitmap_add_range_closed(d->bits, first, last);
}

void dirty_remove_inner(struct dirty *d, uint64_t lba, uint64_t nlb)
{
	uint64_t first, end;

	if (lba >= d->blocks || !nlb)
		return;
	nlb = MIN(nlb, d->blocks - lba);
	first = (lba + (1ull << d->shift) - 1) >> d->shift;
	/* The last granule may be shorter than the others: it is inside when the range reaches the end. */
	end = lba + nlb == d->blocks ? granules(d) : (lba + nlb) >> d->shift;
	if (first < end)
		roaring_bitmap_remove_range_closed(d->bits, (uint32_t)first, (uint32_t)(end - 1));
}

void dirty_all(struct dirty *d) { dirty_add(d, 0, d->blocks); }

void dirty_none(struct dirty *d) { roaring_bitmap_clear(d->bits); }

void dirty_merge(struct dirty *into, struct dirty *from)
{
	roaring_bitmap_or_inplace(into->bits, from->bits);
	roaring_bitmap_clear(from->bits);
}

bool dirty_any(const struct dirty *d) { return !roaring_bitmap_is_empty(d->bits); }

uint64_t dirty_blocks(const struct dirty *d)
{
	return MIN(roaring_bitmap_get_cardinality(d->bits) << d->shift, d->blocks);
}

/* Length of the run that starts at g, at most max granules: doubling steps, so that a set that is all dirty is not walked. */
static uint64_t run_length(const roaring_bitmap_t *b, uint64_t g, uint64_t max)
{
	uint64_t have = 1, step = 1;

	while (have < max) {
		uint64_t n = MIN(step, max - have);

		if (roaring_bitmap_contains_range(b, g + have, g + have + n)) {
			have += n;
			step *= 2;
		} else if (n == 1) {
			break;
		} else {
			step = n / 2;
			max = have + n - 1;
		}
	}
	return have;
}

bool dirty_take(struct dirty *d, uint64_t *cursor, uint64_t max, uint64_t *lba, uint64_t *nlb)
{
	roaring_uint32_iterator_t it;
	uint64_t g, n;

	if (*cursor >= d->blocks)
		return false;
	roaring_init_iterator(d->bits, &it);
	if (!roaring_move_uint32_iterator_equalorlarger(&it, (uint32_t)(*cursor >> d->shift)) || !it.has_value)
		return false;
	g = it.current_value;
	n = run_length(d->bits, g, MIN(MAX(max >> d->shift, 1), granules(d) - g));
	roaring_bitmap_remove_range_closed(d->bits, (uint32_t)g, (uint32_t)(g + n - 1));
	*lba = g << d->shift;
	*nlb = MIN(n << d->shift, d->blocks - *lba);
	*cursor = *lba + *nlb;
	return true;
}

/* ---- pages ----------------------------------------------------------------------------------------------------------- */

static uint64_t pages(const struct vm_range *r) { return r->bytes / VM_PAGE; }

int dirty_mem_init(struct dirty_mem *d, const struct vm_range *r, unsigned ranges)
{
	*d = (struct dirty_mem){ .ranges = ranges };
	for (unsigned i = 0; i < ranges; i++) {
		d->range[i] = r[i];
		d->bits[i] = calloc((pages(&r[i]) + 63) / 64 + 1, sizeof(uint64_t));
		if (!d->bits[i]) {
			dirty_mem_fini(d);
			return -ENOMEM;
		}
	}
	return 0;
}

void dirty_mem_fini(struct dirty_mem *d)
{
	for (unsigned i = 0; i < d->ranges; i++)
		free(d->bits[i]);
	*d = (struct dirty_mem){ 0 };
}

static void set_pages(struct dirty_mem *d, unsigned i, uint64_t from, uint64_t to)
{
	for (; from < to; from++) {
		uint64_t bit = 1ull << from % 64, *w = &d->bits[i][from / 64];

		d->pages += !(*w & bit);
		*w |= bit;
	}
}

void dirty_mem_add(struct dirty_mem *d, uint64_t gpa, uint64_t bytes)
{
	uint64_t end = bytes > UINT64_MAX - gpa ? UINT64_MAX : gpa + bytes;

	for (unsigned i = 0; i < d->ranges; i++) {
		uint64_t from = MAX(gpa, d->range[i].gpa), to = MIN(end, d->range[i].gpa + d->range[i].bytes);

		if (from < to)
			set_pages(d, i, (from - d->range[i].gpa) / VM_PAGE, (to - d->range[i].gpa - 1) / VM_PAGE + 1);
	}
}

void dirty_mem_all(struct dirty_mem *d)
{
	for (unsigned i = 0; i < d->ranges; i++)
		set_pages(d, i, 0, pages(&d->range[i]));
}

void dirty_mem_none(struct dirty_mem *d)
{
	for (unsigned i = 0; i < d->ranges; i++)
		memset(d->bits[i], 0, ((pages(&d->range[i]) + 63) / 64) * 8);
	d->pages = 0;
}

void dirty_mem_merge(struct dirty_mem *into, struct dirty_mem *from)
{
	for (unsigned i = 0; i < into->ranges; i++)
		for (uint64_t w = 0; w < (pages(&into->range[i]) + 63) / 64; w++) {
			into->pages += (unsigned)__builtin_popcountll(from->bits[i][w] & ~into->bits[i][w]);
			into->bits[i][w] |= from->bits[i][w];
		}
	dirty_mem_none(from);
}

uint64_t dirty_mem_total(const struct dirty_mem *d)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < d->ranges; i++)
		n += d->range[i].bytes;
	return n;
}

/* First dirty page of range i at or after `from`; pages(range) if there is none. */
static uint64_t first_page(const struct dirty_mem *d, unsigned i, uint64_t from)
{
	uint64_t n = pages(&d->range[i]);

	while (from < n) {
		uint64_t w = d->bits[i][from / 64] >> from % 64;

		if (w)
			return MIN(from + (unsigned)__builtin_ctzll(w), n);
		from = (from / 64 + 1) * 64;
	}
	return n;
}

static bool test_and_clear(struct dirty_mem *d, unsigned i, uint64_t page)
{
	uint64_t bit = 1ull << page % 64, *w = &d->bits[i][page / 64];

	if (!(*w & bit))
		return false;
	*w &= ~bit;
	d->pages--;
	return true;
}

bool dirty_mem_take(struct dirty_mem *d, uint64_t *cursor, uint64_t max, uint64_t *gpa, uint64_t *bytes)
{
	uint64_t base = 0, most = MAX(max / VM_PAGE, 1);

	for (unsigned i = 0; i < d->ranges; base += pages(&d->range[i++])) {
		uint64_t n = pages(&d->range[i]), at, run = 0;

		if (*cursor >= base + n)
			continue;
		at = first_page(d, i, *cursor > base ? *cursor - base : 0);
		if (at == n)
			continue;
		while (run < most && at + run < n && test_and_clear(d, i, at + run))
			run++;
		*cursor = base + at + run;
		*gpa = d->range[i].gpa + at * VM_PAGE;
		*bytes = run * VM_PAGE;
		return true;
	}
	return false;
}
