/* The scoreboard's rules (verify/board.h), one by one. */
#include "t.h"

#include <string.h>

#include "verify/board.h"

static struct board board;
static uint8_t zeroes[512], ones[512], other[512];

static struct bblock *fresh(unsigned dlfeat)
{
	memset(ones, 0xff, sizeof(ones));
	memset(other, 0x5a, sizeof(other));
	board_init(&board, 512, dlfeat);
	return &board.block[7];
}
static bool saw(struct bblock *b, const uint8_t *data) { return board_saw(&board, b, data, NULL, true); }
static void zero(struct bblock *b, bool known) { board_put(b, &(struct bval){ .kind = BV_ZEROES }, known); }

TEST(what_is_unknown_is_settled_by_the_first_read)
{
	struct bblock *b = fresh(1);

	EXPECT(saw(b, other));
	EXPECT(!saw(b, ones));
	EXPECT(saw(b, other));
}

TEST(a_write_that_was_lost_is_there_or_not_and_then_for_good)
{
	struct bblock *b = fresh(1);

	EXPECT(saw(b, other));
	zero(b, false);
	EXPECT(board_saw(&board, b, zeroes, NULL, false) && board_saw(&board, b, other, NULL, false) && !board_saw(&board, b, ones, NULL, false));
	EXPECT(saw(b, other));
	EXPECT(!saw(b, zeroes));
}

TEST(deallocated_blocks_read_as_dlfeat_says_but_steadily)
{
	static const struct { unsigned dlfeat; bool zeroes, ones; } says[] = { { 0, true, true }, { 1, true, false }, { 2, false, true }, { 3, false, false } };

	for (unsigned i = 0; i < ARRAY_LEN(says); i++) {
		struct bblock *b = fresh(says[i].dlfeat);

		EXPECT(saw(b, other));
		board_gone(&board, b, 1, true);
		EXPECT_EQ(board_saw(&board, b, zeroes, NULL, false), says[i].zeroes);
		EXPECT_EQ(board_saw(&board, b, ones, NULL, false), says[i].ones);
		EXPECT(saw(b, other)); /* deallocating is advice */
		EXPECT(!saw(b, zeroes) && !saw(b, ones));
	}
}

TEST(a_unit_is_gone_when_one_range_took_it_whole)
{
	fresh(1);
	for (unsigned i = 0; i < 8; i++)
		board_gone(&board, &board.block[i], i < 4 ? 1 : 2, true);
	EXPECT(!board_unit_gone(&board, 0, 8));
	for (unsigned i = 0; i < 8; i++)
		board_gone(&board, &board.block[i], 3, true);
	EXPECT(board_unit_gone(&board, 0, 8));
	zero(&board.block[5], false);
	EXPECT(!board_unit_gone(&board, 0, 8));
	EXPECT(!board_unit_gone(&board, BOARD_BLOCKS - 4, 8));
}

TEST(an_uncorrectable_block_is_no_content)
{
	struct bblock *b = fresh(1);

	zero(b, true);
	EXPECT(!board_may_be_bad(&board, b));
	board_put(b, &(struct bval){ .kind = BV_BAD }, false);
	EXPECT(board_may_be_bad(&board, b) && !board_is_bad(b));
	board_read_failed(b, true);
	EXPECT(board_is_bad(b) && !saw(b, zeroes));
	board_put(b, &(struct bval){ .kind = BV_ONES }, true);
	EXPECT(!board_may_be_bad(&board, b) && saw(b, ones));
}

TEST(a_copy_holds_what_its_source_may_hold)
{
	struct bblock *from = fresh(1), *to = &board.block[9];

	zero(from, true);
	board_put(from, &(struct bval){ .kind = BV_ONES }, false);
	board_copy(to, from, true);
	EXPECT(board_saw(&board, to, zeroes, NULL, false) && board_saw(&board, to, ones, NULL, false) && !board_saw(&board, to, other, NULL, false));
	board_any(from);
	board_copy(to, from, true);
	EXPECT(saw(to, other));
}

/* Stress, seed 7216: a deallocation is over and its entry unread when a write is sent. The entry is still the deallocation's. */
TEST(an_entry_is_judged_by_the_change_that_is_over)
{
	struct bblock *b = fresh(1);

	board_change_sent(b, true);
	board_must_log(b);
	EXPECT(b->must_log);
	board_change_sent(b, false);
	EXPECT(board_named(b, true));
	EXPECT(!b->must_log);
	board_must_log(b); /* the write is over too, and not named yet */
	EXPECT(b->must_log);
	EXPECT(board_named(b, true));
	EXPECT(b->must_log);
	EXPECT(board_named(b, false));
	EXPECT(!b->must_log);
}

TEST(nobody_deallocated_it)
{
	struct bblock *b = fresh(1);

	board_change_sent(b, false);
	EXPECT(!board_named(b, true));
}

/* PI-13: zeroes that were written and zeroes that were deallocated differ in their tuples; a read that does not show them settles nothing. */
TEST(the_same_data_beside_other_tuples)
{
	struct bval v = { .kind = BV_ZEROES, .tagged = true, .tuple = { 0, 0, 0x11, 0x22 } };
	uint8_t none[8];
	struct bblock *b = fresh(1);

	board.pi = 3;
	memset(none, 0xff, sizeof(none));
	board_put(b, &v, true);
	board_gone(&board, b, 1, true);
	EXPECT(saw(b, zeroes));
	EXPECT(board_saw(&board, b, zeroes, none, false) && board_saw(&board, b, zeroes, v.tuple, false));
	EXPECT(board_saw(&board, b, zeroes, none, true));
	EXPECT(!board_saw(&board, b, zeroes, v.tuple, true));
}
