/* Whole moves between two servers in one thread: the real manager, devices, link and journal; a pretend network. */
#include "moverig.h"

/* ---- it works -------------------------------------------------------------------------------------------------------- */

/* The reason for everything: a guest that writes all the time arrives identical and goes on. */
TEST(move_under_load)
{
	WORLD(w, .net = { SIM_KNOBS_MILD });
	struct move_plan p = plan_to('b');

	world_move(&w, 0, &p);
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(w.compared, 1);
	EXPECT_EQ(w.s[0].journal.own, OWN_RELEASED);
	EXPECT_EQ(w.s[1].journal.own, OWN_OWNER);
	EXPECT_EQ(w.s[1].journal.epoch, 2);
	EXPECT(w.s[0].vm.discarded);
	EXPECT_EQ(w.s[0].gones, 1);
	guest_is_well(&w, 1);
}
