/* The sets of pages behind the judgement of memory tracking: nothing is lost in growing and sweeping, and the limit holds. */
#include "t.h"
#include "verify/monitor_in.h"

static bool odd(void *ctx, const struct page *p)
{
	++*(unsigned *)ctx;
	return p->at >> MON_PAGE_SHIFT & 1;
}

/* Addresses as a guest has them: the low end, the top of the address space, and far apart. */
static uint64_t nth(uint32_t i)
{
	return i % 3 == 0 ? (uint64_t)i << MON_PAGE_SHIFT : i % 3 == 1 ? UINT64_MAX - ((uint64_t)i << MON_PAGE_SHIFT) - 4095 : (uint64_t)i << 40;
}

TEST(up_to_the_limit)
{
	struct pages s = { 0 };
	unsigned seen = 0, left = 0;

	for (uint32_t i = 0; i < MON_PAGES; i++) {
		struct page *p = pages_put(&s, nth(i));

		EXPECT(p && p->at == nth(i) && !p->uid);
		p->uid = i + 1;
	}
	EXPECT_EQ(s.count, MON_PAGES);
	EXPECT(!pages_put(&s, 0x123456000));
	EXPECT(pages_put(&s, nth(5)) && pages_put(&s, nth(5))->uid == 6); /* what is there can still be found */
	pages_sweep(&s, odd, &seen);
	EXPECT_EQ(seen, MON_PAGES);
	for (uint32_t i = 0; i < MON_PAGES; i++) {
		struct page *p = pages_find(&s, nth(i));

		EXPECT_EQ(p != NULL, !(nth(i) >> MON_PAGE_SHIFT & 1));
		EXPECT(!p || p->uid == i + 1);
		left += p != NULL;
	}
	EXPECT_EQ(s.count, left);
	EXPECT(pages_put(&s, 0x123457000) && s.count == left + 1);
	pages_fini(&s);
	EXPECT(!pages_find(&s, nth(0)));
	pages_sweep(&s, odd, &seen);
	pages_fini(&s);
}

TEST(runs)
{
	struct span v[] = { { 0x5000, 0x1000 }, { 0x1000, 0x1000 }, { 0x2000, 0x2000 }, { 0x2000, 0 }, { 0x8000, 0x4000 }, { 0x9000, 0x1000 },
			    { UINT64_MAX - 0xfff, 0xfff } };
	unsigned n = runs_sort(v, ARRAY_LEN(v));

	EXPECT_EQ(n, 4);
	EXPECT(v[0].at == 0x1000 && v[0].len == 0x3000 && v[1].at == 0x5000 && v[2].at == 0x8000 && v[2].len == 0x4000);
	EXPECT(!runs_hold(v, n, 0) && runs_hold(v, n, 0x1000) && runs_hold(v, n, 0x3fff) && !runs_hold(v, n, 0x4000) && runs_hold(v, n, 0xbfff));
	EXPECT(!runs_hold(v, n, 0xc000) && runs_hold(v, n, UINT64_MAX - 0xfff));
	EXPECT_EQ(runs_behind(v, n, 0x5000), 2);
	EXPECT(!runs_hold(NULL, 0, 0));
}
