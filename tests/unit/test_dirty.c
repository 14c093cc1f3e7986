/* Dirty sets: they may say too much, never too little, and what is taken is gone from the set. */
#include "t.h"

#include <stdlib.h>

#include "migrate/dirty.h"

/* A half-written granule must be sent whole, at the end of the namespace too. */
TEST(sizes_round_outwards)
{
	struct dirty d;
	uint64_t cur = 0, lba, nlb;

	EXPECT_EQ(dirty_init(&d, 1003, 512), 0);
	EXPECT_EQ(d.shift, 3);
	dirty_add(&d, 7, 2);
	EXPECT(dirty_take(&d, &cur, 1000, &lba, &nlb));
	EXPECT_EQ(lba, 0);
	EXPECT_EQ(nlb, 16);
	dirty_add(&d, 1002, 1);
	EXPECT(dirty_take(&d, &cur, 1000, &lba, &nlb));
	EXPECT_EQ(lba, 1000);
	EXPECT_EQ(nlb, 3);	/* never past the end */
	EXPECT(!dirty_any(&d));
	dirty_fini(&d);
}

/* What a hostile or mad log entry names outside the namespace is nobody's block. */
TEST(ranges_outside_are_clipped)
{
	struct dirty d;

	dirty_init(&d, 64, 4096);
	dirty_add(&d, 64, 1);
	dirty_add(&d, UINT64_MAX, 1);
	EXPECT(!dirty_any(&d));
	dirty_add(&d, 60, UINT64_MAX);
	EXPECT_EQ(dirty_blocks(&d), 4);
	dirty_fini(&d);
}

TEST(take_is_bounded_and_ascending)
{
	struct dirty d;
	uint64_t cur = 0, lba, nlb, sum = 0, last = 0;

	dirty_init(&d, 1 << 20, 4096);
	dirty_add(&d, 100, 70000);
	dirty_add(&d, 900000, 5);
	while (dirty_take(&d, &cur, 32, &lba, &nlb)) {
		EXPECT(nlb <= 32);
		EXPECT(lba >= last);
		last = lba + nlb;
		sum += nlb;
	}
	EXPECT_EQ(sum, 70005);
	EXPECT(!dirty_any(&d));
	dirty_fini(&d);
}

/* One run of any length comes out whole when asked for whole: asking about a TiB is one command, not 2^28. */
TEST(take_whole_namespace_at_once)
{
	struct dirty d;
	uint64_t cur = 0, lba, nlb;

	dirty_init(&d, (1ull << 40) / 512, 512);
	dirty_all(&d);
	EXPECT(dirty_take(&d, &cur, UINT64_MAX, &lba, &nlb));
	EXPECT_EQ(lba, 0);
	EXPECT_EQ(nlb, (1ull << 40) / 512);
	EXPECT(!dirty_any(&d));
	dirty_fini(&d);
}

TEST(remove_inner_keeps_what_is_only_touched)
{
	struct dirty d;

	dirty_init(&d, 83, 512);
	dirty_all(&d);
	dirty_remove_inner(&d, 4, 20);	/* granules 0..2; only 1 and 2 lie inside */
	EXPECT_EQ(dirty_blocks(&d), 72);
	dirty_remove_inner(&d, 76, 7);	/* the last granule, three blocks, lies inside; 72..79 does not */
	EXPECT_EQ(dirty_blocks(&d), 64);
	dirty_fini(&d);
}

TEST(merge_moves)
{
	struct dirty a, b;

	dirty_init(&a, 100, 4096);
	dirty_init(&b, 100, 4096);
	dirty_add(&a, 1, 2);
	dirty_add(&b, 2, 2);
	dirty_merge(&a, &b);
	EXPECT_EQ(dirty_blocks(&a), 3);
	EXPECT(!dirty_any(&b));
	dirty_fini(&a);
	dirty_fini(&b);
}

/* Against a plain array, with everything the mover does. */
TEST(set_equals_model)
{
	enum { N = 5000 };
	static uint8_t model[N];
	struct dirty d;
	uint64_t cur = 0, lba, nlb;

	srand(7);
	dirty_init(&d, N, 4096);
	for (int i = 0; i < 20000; i++) {
		uint64_t at = (uint64_t)rand() % N, n = 1 + (uint64_t)rand() % 200;

		switch (rand() % 3) {
		case 0:
			dirty_add(&d, at, n);
			for (uint64_t k = at; k < MIN(at + n, N); k++)
				model[k] = 1;
			break;
		case 1:
			dirty_remove_inner(&d, at, n);
			for (uint64_t k = at; k < MIN(at + n, N); k++)
				model[k] = 0;
			break;
		case 2:
			cur = at;
			if (!dirty_take(&d, &cur, n, &lba, &nlb)) {
				for (uint64_t k = at; k < N; k++)
					EXPECT(!model[k]);
				break;
			}
			EXPECT(nlb <= n && lba >= at);
			for (uint64_t k = at; k < lba; k++)
				EXPECT(!model[k]);
			for (uint64_t k = lba; k < lba + nlb; k++) {
				EXPECT(model[k]);
				model[k] = 0;
			}
			EXPECT(nlb == n || lba + nlb == N || !model[lba + nlb]);
			break;
		}
	}
	dirty_fini(&d);
}

static const struct vm_range two[] = { { 0, 65 * VM_PAGE }, { 1ull << 32, 3 * VM_PAGE } };

TEST(pages_by_range)
{
	struct dirty_mem m;
	uint64_t cur = 0, gpa, bytes;

	EXPECT_EQ(dirty_mem_init(&m, two, 2), 0);
	dirty_mem_all(&m);
	EXPECT_EQ(m.pages, 68);
	EXPECT(dirty_mem_take(&m, &cur, 1 << 30, &gpa, &bytes));
	EXPECT_EQ(bytes, 65 * VM_PAGE);	/* a run never spans two ranges: their memory need not be adjacent */
	EXPECT(dirty_mem_take(&m, &cur, 1 << 30, &gpa, &bytes));
	EXPECT_EQ(gpa, 1ull << 32);
	EXPECT_EQ(bytes, 3 * VM_PAGE);
	EXPECT(!dirty_mem_take(&m, &cur, 1 << 30, &gpa, &bytes));
	EXPECT_EQ(m.pages, 0);
	dirty_mem_fini(&m);
}

TEST(pages_add_rounds_and_clips)
{
	struct dirty_mem m;
	uint64_t cur = 0, gpa, bytes;

	dirty_mem_init(&m, two, 2);
	dirty_mem_add(&m, 4095, 2);		/* touches two pages */
	EXPECT_EQ(m.pages, 2);
	dirty_mem_add(&m, 65 * VM_PAGE, 1 << 20);	/* between the ranges */
	dirty_mem_add(&m, UINT64_MAX - 10, UINT64_MAX);
	EXPECT_EQ(m.pages, 2);
	dirty_mem_add(&m, 64 * VM_PAGE, 1ull << 40);	/* end of one, all of the other */
	EXPECT_EQ(m.pages, 6);
	EXPECT(dirty_mem_take(&m, &cur, VM_PAGE, &gpa, &bytes));
	EXPECT_EQ(gpa, 0);
	EXPECT_EQ(bytes, VM_PAGE);
	EXPECT(dirty_mem_take(&m, &cur, VM_PAGE, &gpa, &bytes));
	EXPECT_EQ(gpa, VM_PAGE);
	dirty_mem_fini(&m);
}
