/* Sets of guest pages, for monitor_track.c: those that were written and not reported yet, and runs of those that a report names.
 *
 * A set is a hash table of pages of 4 KiB, whatever the granularity that was asked for: a report must cover what was written, and may cover
 * more. It grows as needed up to MON_PAGES; who fills it beyond that is told so, and nothing is remembered wrongly.
 */
#include <stdlib.h>

#include "verify/monitor_in.h"

static struct page *slot_of(struct page *slot, uint32_t cap, uint64_t at)
{
	uint32_t i = (uint32_t)((at >> MON_PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> 32) & (cap - 1);

	while (slot[i].used && slot[i].at != at)
		i = (i + 1) & (cap - 1);
	return &slot[i];
}

struct page *pages_find(const struct pages *s, uint64_t at)
{
	struct page *p = s->cap ? slot_of(s->slot, s->cap, at) : NULL;

	return p && p->used ? p : NULL;
}

/* Into a table of that size, leaving out what `drop` says. False: no memory, nothing has changed. */
static bool rebuild(struct pages *s, uint32_t cap, pages_drop *drop, void *ctx)
{
	struct page *slot = calloc(cap, sizeof(*slot));
	uint32_t count = 0;

	if (!slot)
		return false;
	for (uint32_t i = 0; i < s->cap; i++)
		if (s->slot[i].used && !(drop && drop(ctx, &s->slot[i]))) {
			*slot_of(slot, cap, s->slot[i].at) = s->slot[i];
			count++;
		}
	free(s->slot);
	*s = (struct pages){ slot, cap, count };
	return true;
}

struct page *pages_put(struct pages *s, uint64_t at)
{
	struct page *p = pages_find(s, at);

	if (p)
		return p;
	if (s->count >= MON_PAGES || (s->count >= s->cap / 2 && !rebuild(s, s->cap ? s->cap * 2 : 64, NULL, NULL)))
		return NULL;
	p = slot_of(s->slot, s->cap, at);
	*p = (struct page){ .at = at, .used = true };
	s->count++;
	return p;
}

void pages_fini(struct pages *s)
{
	free(s->slot);
	*s = (struct pages){ 0 };
}

void pages_sweep(struct pages *s, pages_drop *drop, void *ctx)
{
	/* Without memory for the rest all of it goes: what is not remembered is not demanded. */
	if (s->cap && !rebuild(s, s->cap, drop, ctx))
		pages_fini(s);
}

/* ---- runs -------------------------------------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
	uint64_t x = ((const struct span *)a)->at, y = ((const struct span *)b)->at;

	return x < y ? -1 : x > y;
}

unsigned runs_sort(struct span *v, unsigned n)
{
	unsigned kept = 0;

	qsort(v, n, sizeof(*v), by_place);
	for (unsigned i = 0; i < n; i++) {
		struct span *last = kept ? &v[kept - 1] : NULL;

		if (last && v[i].at - last->at <= last->len)
			last->len = MAX(last->len, v[i].at - last->at + v[i].len);
		else
			v[kept++] = v[i];
	}
	return kept;
}

unsigned runs_behind(const struct span *v, unsigned n, uint64_t at)
{
	unsigned lo = 0, hi = n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (v[mid].at <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool runs_hold(const struct span *v, unsigned n, uint64_t at)
{
	unsigned i = runs_behind(v, n, at);

	return i && at - v[i - 1].at < v[i - 1].len;
}
