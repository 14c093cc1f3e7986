/* How long the server takes itself for idle: decides how often it looks at doorbells that wake nobody. */
#include "t.h"

#include "cmd/idle.h"

enum { MS = 1000 * 1000 };

/* A guest with one command at a time is busy for a turn or two that read no clock: these count. Forgotten, the server takes its
 * guest for asleep and each of its commands waits for the longest sleep (10 ms; Linux's driver starts with thirty of them). */
TEST(one_command_at_a_time_is_not_idleness)
{
	struct idle i = { .busy_ns = 0 };
	uint64_t now = 5000ull * MS;

	EXPECT_EQ(idle_look_ns(idle_ns(&i, now)), IDLE_SLEEP_DOZE_NS);
	idle_turn(&i, true);	/* fetched; no clock */
	idle_turn(&i, false);	/* nothing more; now the clock is read */
	EXPECT_EQ(idle_ns(&i, now + MS), 0);
	EXPECT_EQ(idle_look_ns(0), IDLE_SLEEP_MIN_NS);
}

/* What was done is dated once: from then on idleness grows. */
TEST(idleness_grows)
{
	struct idle i = { .busy_ns = 0 };

	idle_turn(&i, true);
	EXPECT_EQ(idle_ns(&i, 100), 0);
	idle_turn(&i, false);
	EXPECT_EQ(idle_ns(&i, 150), 50);
	EXPECT_EQ(idle_ns(&i, 400), 300);
}

TEST(looks_get_rarer_within_bounds)
{
	EXPECT_EQ(idle_look_ns(8ull * 30 * 1000), 30 * 1000);
	EXPECT_EQ(idle_look_ns(900ull * MS), IDLE_SLEEP_MAX_NS);
	EXPECT_EQ(idle_look_ns(1001ull * MS), IDLE_SLEEP_DOZE_NS);
}

