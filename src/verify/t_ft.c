/* Feature 21h (heads and triggers of data queues) and the events that come of them. */
#include "verify/test.h"

/* A logged controller with I/O, its start marker read and given back: the queue is empty, nothing is armed. */
static struct vring fresh(struct vt *t, uint32_t slots)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], slots);
	struct ventry e;

	vt_io_make(t->mc[0], 1, 64);
	vh_scatter(t->mc[0], 1, 20000, 1); /* where the start marker comes late it comes with this */
	vh_covered(&r, t->mc[0]->ns[0].mmc_nsid, 20000, 1, NULL);
	while (vh_next(&r, &e))
		;
	vh_told(&r);
	return r;
}

static void head_moves(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct ventry e;
	uint32_t hp;

	vh_scatter(t->mc[0], 1, 0, 5);
	vh_await_visible(&r, 5);
	for (unsigned i = 0; i < 5; i++) {
		vh_next(&r, &e);
		vh_told(&r);
		vh_get_cdq(t->mmc, r.id, &hp, NULL, NULL, ST(S_OK));
		VEQ(t, hp, r.head, "HP after it was moved by one");
	}
}

static void head_to_tail(struct vt *t)
{
	struct vring r = fresh(t, 64);
	uint32_t hp;

	vh_scatter(t->mc[0], 1, 0, 9);
	vh_await_visible(&r, 9);
	vh_set_cdq(t->mmc, r.id, (r.head + 9) % 64, false, 0, ST(S_OK));
	vh_get_cdq(t->mmc, r.id, &hp, NULL, NULL, ST(S_OK));
	VEQ(t, hp, (r.head + 9) % 64, "HP moved to the tail");
}

static void head_empty(struct vt *t)
{
	struct vring r = fresh(t, 64);

	vh_told(&r); /* HP == HEAD: nothing happens */
	vh_set_cdq(t->mmc, r.id, (r.head + 1) % 64, false, 0, ST(S_IF));
	vh_set_cdq(t->mmc, r.id, (r.head + 63) % 64, false, 0, ST(S_IF));
}

static void head_unposted(struct vt *t)
{
	struct vring r = fresh(t, 64);
	uint32_t hp;

	vh_scatter(t->mc[0], 1, 0, 3);
	vh_await_visible(&r, 3);
	vh_set_cdq(t->mmc, r.id, (r.head + 4) % 64, false, 0, ST(S_IF));
	vh_set_cdq(t->mmc, r.id, (r.head + 40) % 64, false, 0, ST(S_IF));
	vh_set_cdq(t->mmc, r.id, (r.head + 63) % 64, false, 0, ST(S_IF)); /* behind the head: consumed before */
	vh_get_cdq(t->mmc, r.id, &hp, NULL, NULL, ST(S_OK));
	VEQ(t, hp, r.head, "HP after Set Features that failed");
}

static void head_outside(struct vt *t)
{
	static const uint32_t hp[] = { 64, 65, 0xffff, 0x10000, 0xffffffff };
	struct vring r = fresh(t, 64);

	vh_scatter(t->mc[0], 1, 0, 3);
	vh_await_visible(&r, 3);
	for (unsigned i = 0; i < ARRAY_LEN(hp); i++)
		vh_set_cdq(t->mmc, r.id, hp[i], false, 0, ST(S_IF));
	vh_cdq_delete(t->mmc, r.id, ST(S_OK));
	vh_cdq(t->mmc, t->mc[0]->cntlid, 64, &r, ST(S_OK)); /* an empty one, whose head is 0: 64 is the same modulo its size */
	for (unsigned i = 0; i < ARRAY_LEN(hp); i++)
		vh_set_cdq(t->mmc, r.id, hp[i], false, 0, ST(S_IF));
}

static void unknown_queue(struct vt *t)
{
	struct vring r = fresh(t, 64);

	vh_set_cdq(t->mmc, (uint16_t)(r.id + 7), 0, false, 0, ST(S_37));
	vh_get_cdq(t->mmc, (uint16_t)(r.id + 7), NULL, NULL, NULL, ST(S_37));
	vh_set_cdq(t->mmc, 0xffff, 0, false, 0, ST(S_37));
	vh_cdq_delete(t->mmc, r.id, ST(S_OK));
	vh_set_cdq(t->mmc, r.id, r.head, false, 0, ST(S_37));
	vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_37));
}

static void trigger_outside(struct vt *t)
{
	static const uint32_t tpt[] = { 64, 65, 0xffffffff };
	struct vring r = fresh(t, 64);
	bool etpt;

	for (unsigned i = 0; i < ARRAY_LEN(tpt); i++)
		vh_set_cdq(t->mmc, r.id, r.head, true, tpt[i], ST(S_IF));
	vh_get_cdq(t->mmc, r.id, NULL, NULL, &etpt, ST(S_OK));
	VEQ(t, etpt, 0, "ETPT after Set Features that failed");
}

static void trigger_ignored(struct vt *t)
{
	struct vring r = fresh(t, 64);
	uint32_t tpt;

	vh_set_cdq(t->mmc, r.id, r.head, false, 0xffffffff, ST(S_OK));
	vh_set_cdq(t->mmc, r.id, r.head, false, 64, ST(S_OK));
	vh_get_cdq(t->mmc, r.id, NULL, &tpt, NULL, ST(S_OK));
	VEQ(t, tpt, 0, "TPT with ETPT=0");
}

static void get_layout(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_sqe s;
	uint32_t tpt;
	bool etpt;

	vh_set_cdq(t->mmc, r.id, r.head, true, 33, ST(S_OK));
	vh_get_cdq(t->mmc, r.id, NULL, &tpt, &etpt, ST(S_OK));
	VEQ(t, etpt, 1, "ETPT of an armed queue");
	VEQ(t, tpt, 33, "TPT of an armed queue");
	vop_init(&s, VOP_GET_CDQ);
	vf_put(&s, VF_GET_CDQ_cdqid, r.id);
	vf_put(&s, VF_GET_CDQ_etpt, 1); /* ignored on the way in */
	vt_do_data(t->mmc, 0, &s, &m, 512, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0), 1u << 31 | r.id, "DW0 of Get Features 21h");
	for (unsigned i = 8; i < 512; i++)
		VEXPECT(t, !m.p[i], "byte %u of Get Features 21h is %02xh", i, m.p[i]);
}

static void failed_set(struct vt *t)
{
	struct vring r = fresh(t, 64);
	uint32_t hp, tpt;
	bool etpt;

	vh_set_cdq(t->mmc, r.id, r.head, true, 40, ST(S_OK));
	vh_set_cdq(t->mmc, r.id, 99, true, 41, ST(S_IF));
	vh_set_cdq(t->mmc, r.id, r.head, true, 99, ST(S_IF));
	vh_scatter(t->mc[0], 1, 0, 3);
	vh_await_visible(&r, 3);
	vh_set_cdq(t->mmc, r.id, (r.head + 2) % 64, true, 99, ST(S_IF)); /* the head would be right */
	vh_get_cdq(t->mmc, r.id, &hp, &tpt, &etpt, ST(S_OK));
	VEQ(t, hp, r.head, "HP after Set Features that failed");
	VEQ(t, tpt, 40, "TPT after Set Features that failed");
	VEQ(t, etpt, 1, "ETPT after Set Features that failed");
}

static void expect_event(struct vt *t, struct vcmd *aer, uint32_t dw0, uint16_t id)
{
	vt_finish(t, aer);
	VEQ(t, le32_get(t->last.dw0), dw0, "DW0 of the event");
	VEQ(t, le32_get(t->last.dw1), id, "DW1 of the event (31:16 are reserved)");
}

static void tail_event(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct vcmd *a = vh_aer(t->mmc), *b;
	bool etpt;

	vh_set_cdq(t->mmc, r.id, r.head, true, (r.head + 4) % 64, ST(S_OK));
	vh_scatter(t->mc[0], 1, 0, 2);
	VEXPECT(t, !vh_done_soon(t, a), "the event came before the trigger's slot");
	vh_scatter(t->mc[0], 1, 100, 6);
	expect_event(t, a, 0x00000004, r.id);
	vh_get_cdq(t->mmc, r.id, NULL, NULL, &etpt, ST(S_OK));
	VEQ(t, etpt, 0, "ETPT after the event");
	b = vh_aer(t->mmc);
	vh_scatter(t->mc[0], 1, 200, 4);
	VEXPECT(t, !vh_done_soon(t, b), "a second event came from one arming");
}

/* The same event of two queues: each is told. */
static void two_queues(struct vt *t)
{
	struct vring r[2];
	uint16_t told[2];

	for (unsigned i = 0; i < 2; i++) {
		vt_io_make(t->mc[i], 1, 64);
		r[i] = vh_logging(t->mmc, t->mc[i], 8);
		vh_scatter(t->mc[i], 1, 0, 12);
	}
	for (unsigned i = 0; i < 2; i++)
		vh_await_visible(&r[i], 7);
	for (unsigned i = 0; i < 2; i++) {
		vt_finish(t, vh_aer(t->mmc));
		VEQ(t, le32_get(t->last.dw0), 0x00000104, "DW0 of the event");
		told[i] = (uint16_t)le32_get(t->last.dw1);
	}
	VEXPECT(t, (told[0] == r[0].id && told[1] == r[1].id) || (told[0] == r[1].id && told[1] == r[0].id),
		"queues %u and %u are full, events came of %u and %u", r[0].id, r[1].id, told[0], told[1]);
}

static void event_waits(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct vcmd *a;

	vh_set_cdq(t->mmc, r.id, r.head, true, (r.head + 1) % 64, ST(S_OK));
	vh_scatter(t->mc[0], 1, 0, 3);
	vh_await_visible(&r, 3);
	a = vh_aer(t->mmc);
	expect_event(t, a, 0x00000004, r.id);
}

static void event_discarded(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct vcmd *a;

	vh_set_cdq(t->mmc, r.id, r.head, true, (r.head + 1) % 64, ST(S_OK));
	vh_scatter(t->mc[0], 1, 0, 3);
	vh_await_visible(&r, 3);
	vh_told(&r);
	a = vh_aer(t->mmc);
	VEXPECT(t, !vh_done_soon(t, a), "a pending tail event was delivered after a successful Set Features");
}

static void event_config(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct vcmd *a = vh_aer(t->mmc);

	vh_feature(t->mmc, true, NVME_FID_AER, 0, 0, ST(S_OK));
	vh_set_cdq(t->mmc, r.id, r.head, true, (r.head + 1) % 64, ST(S_OK));
	vh_scatter(t->mc[0], 1, 0, 3);
	expect_event(t, a, 0x00000004, r.id);
}

static void events_again(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct ventry e;

	for (unsigned i = 0; i < 10; i++) {
		struct vcmd *a = vh_aer(t->mmc);

		vh_set_cdq(t->mmc, r.id, r.head, true, (r.head + 1) % 64, ST(S_OK));
		vh_scatter(t->mc[0], 1, 100 * i, 3);
		expect_event(t, a, 0x00000004, r.id);
		vh_await_visible(&r, 3);
		while (vh_next(&r, &e))
			;
	}
}

/* Slot h+1 is the trigger: does one entry (tail == h+1) or two (slot h+1 posted) raise it? */
static void trigger_reading(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct vcmd *a = vh_aer(t->mmc);

	vh_set_cdq(t->mmc, r.id, r.head, true, (r.head + 1) % 64, ST(S_OK));
	vh_scatter(t->mc[0], 1, 0, 1);
	vh_await_visible(&r, 1);
	if (vh_done_soon(t, a)) {
		vt_reading(t, "tail pointer trigger", "when the tail equals TPT");
	} else {
		vt_reading(t, "tail pointer trigger", "when slot TPT is posted");
		vh_scatter(t->mc[0], 1, 100, 1);
	}
	expect_event(t, a, 0x00000004, r.id);
}

static void rearm(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct vcmd *a = vh_aer(t->mmc);
	uint32_t tpt;

	vh_set_cdq(t->mmc, r.id, r.head, true, (r.head + 2) % 64, ST(S_OK));
	vh_set_cdq(t->mmc, r.id, r.head, true, (r.head + 20) % 64, ST(S_OK));
	vh_get_cdq(t->mmc, r.id, NULL, &tpt, NULL, ST(S_OK));
	VEQ(t, tpt, (r.head + 20) % 64, "TPT after it was set again");
	vh_scatter(t->mc[0], 1, 0, 8);
	vh_await_visible(&r, 8);
	VEXPECT(t, !vh_done_soon(t, a), "the old trigger fired after a new one was set");
}

static void full_event(struct vt *t)
{
	struct vring r = fresh(t, 8);
	struct vcmd *a = vh_aer(t->mmc);

	vh_scatter(t->mc[0], 1, 0, 20);
	expect_event(t, a, 0x00000104, r.id);
}

static void full_event_discarded(struct vt *t)
{
	struct vring r = fresh(t, 8);
	struct ventry e;
	struct vcmd *a;

	vh_scatter(t->mc[0], 1, 0, 20);
	vh_await_esa(&r, ESA_FULL, &e);
	vh_told(&r);
	vh_log(t->mmc, r.id, 1, ST(S_OK));
	a = vh_aer(t->mmc);
	VEXPECT(t, !vh_done_soon(t, a), "a pending full event was delivered after a successful Track Send");
}

static void head_wraps(struct vt *t)
{
	struct vring r = fresh(t, 16);
	struct ventry e;

	for (unsigned i = 0; i < 40; i++) {
		vh_scatter(t->mc[0], 1, 50 * i, 5);
		vh_await_visible(&r, 5);
		for (unsigned k = 0; k < 5; k++)
			vh_next(&r, &e);
		vh_told(&r);
	}
	VEXPECT(t, r.taken >= 200, "only %llu entries came", (unsigned long long)r.taken);
}

static void not_saveable(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct nvme_sqe s;
	unsigned st;

	vop_init(&s, VOP_SET_CDQ);
	vf_put(&s, VF_SET_CDQ_sv, 1);
	vf_put(&s, VF_SET_CDQ_cdqid, r.id);
	vf_put(&s, VF_SET_CDQ_hp, r.head);
	st = vt_do(t->mmc, 0, &s, ST(S_NOSAVE, S_IF));
	vt_reading(t, "feature 21h with SV=1", "%s", nvme_status_name(st));
}

static void gone_after_reset(struct vt *t)
{
	struct vring r = fresh(t, 64);

	vt_reset(t->mmc);
	vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_37));
}

static void events_after_reset(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct vcmd *a;

	vh_set_cdq(t->mmc, r.id, r.head, true, (r.head + 1) % 64, ST(S_OK));
	vh_scatter(t->mc[0], 1, 0, 3);
	vh_await_visible(&r, 3);
	vt_reset(t->mmc);
	a = vh_aer(t->mmc);
	VEXPECT(t, !vh_done_soon(t, a), "an event from before the reset was delivered");
}

static void aers_after_reset(struct vt *t)
{
	struct vcmd *a = vh_aer(t->mmc);

	(void)a; /* forgotten by the reset: any completion of it now is one for a command that is not out */
	vt_reset(t->mmc);
	vt_watch_silent(t->mmc);
}

static void reserved_select(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct vmem m = vt_mem(t->mmc, VT_PAGE);

	for (unsigned sel = 4; sel < 8; sel++) {
		struct nvme_sqe s;

		vop_init(&s, VOP_GET_CDQ);
		vf_put(&s, VF_GET_CDQ_sel, sel);
		vf_put(&s, VF_GET_CDQ_cdqid, r.id);
		vt_do_data(t->mmc, 0, &s, &m, 512, ST(S_IF));
	}
}

static void reserved_bits(struct vt *t)
{
	struct vring r = fresh(t, 64);
	struct nvme_sqe s;
	unsigned st;

	vop_init(&s, VOP_SET_CDQ);
	vf_put(&s, VF_SET_CDQ_cdqid, r.id);
	vf_put(&s, VF_SET_CDQ_hp, r.head);
	vf_put(&s, VF_SET_CDQ_rsvd11_16, 0x7fff);
	st = vt_do(t->mmc, 0, &s, ST(S_OK, S_IF));
	vt_reading(t, "reserved bits of Set Features 21h", st == S_OK ? "not checked" : "refused");
}

const struct vtest tests_ft[] = {
	{ "FT-01", NEED_LOG, "FEAT-01 V-FT-1", head_moves, "HP moves the head, one entry at a time", NULL },
	{ "FT-02", NEED_LOG, "FEAT-01 FEAT-02", head_to_tail, "HP at the tail empties the queue", NULL },
	{ "FT-03", NEED_LOG, "FEAT-03", head_empty, "an empty queue takes only its own head", "negative" },
	{ "FT-04", NEED_LOG, "FEAT-04 FEAT-14", head_unposted, "HP on a slot that holds no entry", "negative" },
	{ "FT-05", NEED_LOG, "FEAT-05", head_outside, "HP outside the queue", "negative" },
	{ "FT-06", NEED_LOG, "FEAT-06 FEAT-07 CDQ-21", unknown_queue, "a queue that is not there", "negative" },
	{ "FT-07", NEED_LOG, "FEAT-08 FEAT-14", trigger_outside, "TPT outside the queue", "negative" },
	{ "FT-08", NEED_LOG, "FEAT-09 FEAT-10", trigger_ignored, "TPT is ignored with ETPT=0", NULL },
	{ "FT-09", NEED_LOG, "FEAT-10 FEAT-11", get_layout, "what Get Features returns of an armed queue", NULL },
	{ "FT-10", NEED_LOG, "FEAT-14", failed_set, "a failed Set Features changes nothing", "negative" },
	{ "FT-11", NEED_LOG, "EVT-01 EVT-03 FEAT-12", tail_event, "the tail event: once, with the CDQID, and ETPT is cleared", "event" },
	{ "FT-12", NEED_LOG, "EVT-05", event_waits, "an event without a request waits for the next", "event" },
	{ "FT-13", NEED_LOG, "FEAT-13", event_discarded, "a successful Set Features discards a pending tail event", "event" },
	{ "FT-14", NEED_LOG, "EVT-09", event_config, "events of queues do not depend on feature 0Bh", "event" },
	{ "FT-15", NEED_LOG, "EVT-04", events_again, "events come again without any log page being read", "event" },
	{ "FT-16", NEED_LOG, "EVT-08", trigger_reading, "which entry raises the trigger", "event reading" },
	{ "FT-17", NEED_LOG, "V-FT-8", rearm, "a new trigger replaces the old", "event" },
	{ "FT-18", NEED_LOG, "EVT-02", full_event, "the full event", "event" },
	{ "FT-19", NEED_LOG, "EVT-06", full_event_discarded, "a successful Track Send discards a pending full event", "event" },
	{ "FT-20", NEED_LOG, "FEAT-17 RING-01", head_wraps, "heads across the end of the queue, many times", "stress" },
	{ "FT-21", NEED_LOG, "FEAT-16", not_saveable, "feature 21h cannot be saved", "negative reading" },
	{ "FT-22", NEED_LOG, "FEAT-15 CDQ-21", gone_after_reset, "nothing of feature 21h outlives a reset", "reset" },
	{ "FT-23", NEED_LOG, "EVT-07", events_after_reset, "a reset of the MMC drops pending events", "reset event" },
	{ "FT-24", DUT_MMC | DUT_MEM, "EVT-07", aers_after_reset, "a reset of the MMC drops event requests without completing them", "reset event" },
	{ "FT-25", NEED_LOG, "F-CQ-1", reserved_bits, "reserved bits of Set Features 21h", "reading" },
	{ "FT-26", NEED_LOG, "FEAT-10", reserved_select, "reserved SEL of Get Features", "negative" },
	{ "FT-27", NEED_LOG | DUT_MC2, "EVT-01 EVT-02", two_queues, "the same event of two queues comes twice", NULL },
	{ .id = NULL }
};
