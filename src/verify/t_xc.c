/* The crosses of the coverage plan, each gone through whole: every situation of its list is brought about and its answer judged. */
#include "verify/aim.h"
#include "verify/test.h"

static void alone(struct vt *t) { aim_kind(t, COV_ALONE); }
static void fields(struct vt *t) { aim_kind(t, COV_FIELD); }
static void pairs(struct vt *t) { aim_kind(t, COV_PAIR); }
static void headers(struct vt *t) { aim_kind(t, COV_HEADER); }
static void data(struct vt *t) { aim_kind(t, COV_DATA); }
static void shapes(struct vt *t) { aim_kind(t, COV_SHAPE); }
static void logged(struct vt *t) { aim_kind(t, COV_LOGGED); }
static void fills(struct vt *t) { aim_kind(t, COV_FILL); }
static void two(struct vt *t) { aim_kind(t, COV_TWO); }

/* Whatever went wrong, after a reset a whole round works again. */
static void faults(struct vt *t)
{
	aim_kind(t, COV_FAULT);
	vt_fresh(t);
	aim_round(t);
}

enum { NEED = NEED_LOG | DUT_THMCS };
const struct vtest tests_xc[] = {
	{ "XC-01", NEED, "SUS-09 SUS-21 TS-05 TS-12 GCS-16 CDQ-15 CDQ-19 FEAT-05 FEAT-06 FEAT-07 GCS-03 SCS-09", alone, "every wrong value of every field, one at a time", "negative" },
	{ "XC-02", NEED, "FEAT-09 SUS-20", fields, "every class of values of every field", NULL },
	{ "XC-03", NEED, "X-07", pairs, "every operation after every other", NULL },
	{ "XC-04", NEED, "X-02", headers, "what all commands have: FUSE, PSDT, NSID, MPTR", "negative" },
	{ "XC-05", NEED, "SCS-14 SCS-08 TS-23 TS-24 TS-25 TS-28", data, "every class of state images and of ranges", "negative hostile" },
	{ "XC-06", NEED, "GCS-08 SUS-06 RES-03", shapes, "every shape of a queue at a suspension", "stress" },
	{ "XC-07", NEED, "RING-15 RING-17 RING-18 RING-19 CDQ-24", logged, "every modifying command, logged or not, of every extent", NULL },
	{ "XC-08", NEED, "EVT-01 EVT-02 EVT-05 RING-03", fills, "every fill of a log, learnt by polling and by events", "event" },
	{ "XC-09", NEED | DUT_MC2, "X-04 V-ST-15", two, "every operation on one controller while another is under way on the other", "race" },
	{ "XC-10", NEED, "X-08 SUS-16 RES-07", faults, "every fault in every phase of a move", "hostile" },
	{ .id = NULL }
};
