/* Random sequences, of several lengths: short ones find shallow mistakes fast and shrink well, long ones reach deep states. */
#include "verify/random.h"
#include "verify/test.h"

static void fifty(struct vt *t)
{
	for (unsigned i = 0; i < 20; i++)
		random_run(t, 50);
}
static void three_hundred(struct vt *t)
{
	for (unsigned i = 0; i < 5; i++)
		random_run(t, 300);
}
static void two_thousand(struct vt *t) { random_run(t, 2000); }
static void stress(struct vt *t) { random_stress(t, 4000); }
static void lost_again(struct vt *t) { random_bell_lost_again(t); }

enum { NEED = NEED_LOG | DUT_THMCS | DUT_REGS };
const struct vtest tests_rn[] = {
	{ "RN-01", NEED, "X-07 SUS-02 RING-15", fifty, "20 random sequences of 50 steps", "random stress" },
	{ "RN-02", NEED, "X-07 SUS-02 RING-15", three_hundred, "5 random sequences of 300 steps", "random stress" },
	{ "RN-03", NEED, "X-07 SUS-02 RING-15", two_thousand, "a random sequence of 2000 steps", "random stress" },
	{ "RN-04", NEED, "X-07 SUS-02 RING-15", stress, "4000 random steps with faults at every hook, resets and lost clients; every block compared",
	  "random stress fault" },
	{ "RN-05", NEED, "X-07 SUS-02 RING-15", lost_again, "a doorbell is lost, and again when it is rung again", "random fault" },
	{ .id = NULL }
};
