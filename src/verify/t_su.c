/* Suspend and Resume: what stands still, what goes on, and that nothing is lost or done twice. */
#include "verify/test.h"

#define NSID(t) ((t)->mc[0]->ns[0].nsid)
static uint16_t target(struct vt *t) { return t->mc[0]->cntlid; }
static void suspend(struct vt *t) { vh_suspend(t->mmc, target(t), 1, false, ST(S_OK)); }
static void resume(struct vt *t) { vh_resume(t->mmc, target(t), ST(S_OK)); }

/* n reads into memory of their own, queued; the doorbell is the caller's. */
static void queue_reads(struct vt *t, struct vcmd **k, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct vctl *mc = t->mc[0];
		struct vmem m = vt_mem(mc, VT_PAGE);
		struct nvme_sqe s;

		vh_rw_sqe(&s, NVME_NVM_READ, NSID(t), 8 * i, 1);
		s.prp1 = le64_of(m.iova);
		k[i] = vt_queue(mc, 1, &s, ST(S_OK));
	}
}

static void finish(struct vt *t, struct vcmd **k, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vt_finish(t, k[i]);
}

static void notification(struct vt *t)
{
	struct vcmd *k[8];

	vt_io_make(t->mc[0], 1, 64);
	vh_suspend(t->mmc, target(t), 0, false, ST(S_OK));
	queue_reads(t, k, 8);
	vt_ring(t->mc[0], 1);
	finish(t, k, 8);
	vh_resume(t->mmc, target(t), ST(S_3A));
}

/* Doorbells are taken, nothing is fetched, nothing is written, no interrupt; after Resume everything runs. */
static void frozen(struct vt *t)
{
	static uint8_t before[24 << 20];
	struct vctl *mc = t->mc[0];
	struct nvme_sqe id = { .opc = NVME_OP_IDENTIFY, .cdw10 = le32_of(NVME_CNS_CTRL) };
	struct vcmd *k[16], *a;
	struct vmem m;

	vt_io_make(mc, 1, 64);
	m = vt_mem(mc, VT_PAGE);
	suspend(t);
	queue_reads(t, k, 16);
	id.prp1 = le64_of(m.iova);
	a = vt_queue(mc, 0, &id, ST(S_OK));
	memcpy(before, mc->mem, MIN(mc->bytes, (uint64_t)sizeof(before)));
	for (unsigned v = 0; mc->dut->irqs && v < 2; v++)
		mc->dut->irqs(mc->dut, v);
	vt_ring(mc, 1);
	vt_ring(mc, 0);
	vt_watch_silent(mc);
	VEXPECT(t, !memcmp(before, mc->mem, MIN(mc->bytes, (uint64_t)sizeof(before))), "memory changed while the controller was suspended");
	for (unsigned v = 0; mc->dut->irqs && v < 2; v++)
		VEXPECT(t, !mc->dut->irqs(mc->dut, v), "interrupt %u came while the controller was suspended", v);
	resume(t);
	finish(t, k, 16);
	vt_finish(t, a);
}

/* Suspend in the middle of a burst: whatever was fetched is complete with Suspend's completion, the rest comes after Resume. */
static void burst(struct vt *t)
{
	struct vctl *mc = t->mc[0];

	vt_io_make(mc, 1, 64);
	for (unsigned round = 0; round < 30; round++) {
		struct vmark mark = vt_mark(mc);
		struct vcmd *k[48];
		unsigned done = 0, later = 0;

		queue_reads(t, k, 48);
		vt_ring(mc, 1);
		for (unsigned i = (unsigned)rng_below(&t->rng, 20); i; i--)
			vt_poll(t);
		suspend(t);
		vt_reap_now(mc);
		for (unsigned i = 0; i < 48; i++)
			done += k[i]->done;
		vt_watch_silent(mc);
		for (unsigned i = 0; i < 48; i++)
			later += k[i]->done;
		VEQ(t, later, done, "commands completed after Suspend's completion");
		resume(t);
		for (unsigned i = 0; i < 48; i++)
			vt_finish(t, k[i]);
		vt_back(mc, mark);
	}
}

static void events_stay(struct vt *t)
{
	struct vcmd *a = vh_aer(t->mc[0]);

	suspend(t);
	vt_watch_silent(t->mc[0]);
	resume(t);
	VEXPECT(t, !vh_done_soon(t, a), "an Asynchronous Event Request was completed by Suspend or Resume");
}

static void repeat(struct vt *t)
{
	for (unsigned i = 0; i < 3; i++)
		suspend(t);
	resume(t);
	vh_resume(t->mmc, target(t), ST(S_3A));
	for (unsigned i = 0; i < 2; i++)
		vh_suspend(t->mmc, target(t), 0, false, ST(S_OK));
}

static void reserved_stype(struct vt *t)
{
	static const uint8_t stype[] = { 2, 3, 0x7f, 0x80, 0xff };
	struct vmem m = vt_mem(t->mmc, VT_PAGE);

	for (unsigned i = 0; i < ARRAY_LEN(stype); i++)
		vh_suspend(t->mmc, target(t), stype[i], false, ST(S_IF));
	vh_get(t->mmc, target(t), 0, 0, 0, &m, 48, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0) & 1, 0, "CSUP after Suspends that failed");
}

static void with_queue_deleted(struct vt *t)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], 64);
	struct ventry e;
	bool marker = false;

	vt_io_make(t->mc[0], 1, 64);
	vh_scatter(t->mc[0], 1, 0, 5);
	vh_suspend(t->mmc, target(t), 1, true, ST(S_OK));
	while (vh_next(&r, &e))
		marker |= e.esa == ESA_SUSPENDED;
	vt_reading(t, "X5 suspended entry with DUDMQ=1", marker ? "posted" : "not posted");
	vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_37));
	vh_cdq_delete(t->mmc, r.id, ST(S_37));
	memset(r.m.p, 0x77, r.m.len);
	resume(t);
	vh_scatter(t->mc[0], 1, 100, 5);
	for (unsigned i = 0; i < r.m.len; i++)
		VEXPECT(t, r.m.p[i] == 0x77, "byte %u of the deleted queue was written", i);
	vh_cdq(t->mmc, target(t), 64, &r, ST(S_OK));
}

static void no_queue_to_delete(struct vt *t)
{
	vh_suspend(t->mmc, target(t), 1, true, ST(S_OK));
	resume(t);
}

static void with_queue_kept(struct vt *t)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], 128);
	struct vcmd *k[32];
	struct vmem m;
	struct ventry e;
	unsigned written = 0, named = 0;
	uint8_t seen[32] = { 0 };

	vt_io_make(t->mc[0], 1, 64);
	m = vt_mem(t->mc[0], VT_PAGE);
	for (unsigned i = 0; i < 32; i++) {
		struct nvme_sqe s;

		vh_rw_sqe(&s, NVME_NVM_WRITE, NSID(t), 2 * i, 1);
		s.prp1 = le64_of(m.iova);
		k[i] = vt_queue(t->mc[0], 1, &s, ST(S_OK));
	}
	vt_ring(t->mc[0], 1);
	suspend(t);
	vt_reap_now(t->mc[0]);
	for (unsigned i = 0; i < 32; i++)
		written += k[i]->done;
	do {
		vh_await(&r, &e);
		for (unsigned i = 0; e.lbacir == 0 && i < 32; i++)
			if (2 * i - e.slba < e.nlb && !seen[i]++)
				named += k[i]->done;
	} while (e.esa != ESA_SUSPENDED);
	VEQ(t, named, written, "writes completed before the suspension that are named before the suspended entry");
	vh_expect_silent_ring(&r);
	vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_OK));
	vh_told(&r);
	resume(t);
	for (unsigned i = 0; i < 32; i++)
		vt_finish(t, k[i]);
}

static void bad_cntlid(struct vt *t)
{
	unsigned st = vh_suspend(t->mmc, 0xfffe, 1, false, ST(S_1F, S_IF));

	vt_reading(t, "Suspend of a controller that is not there", "%s", nvme_status_name(st));
	st = vh_suspend(t->mmc, t->mmc->cntlid, 1, false, ST(S_1F, S_IF));
	vt_reading(t, "Suspend of the MMC itself", "%s", nvme_status_name(st));
	vh_suspend(t->mmc, 0xffff, 1, false, ST(S_1F, S_IF));
}

static void registers(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	uint64_t cap = mc->cap, asq;

	asq = vt_reg(mc, NVME_REG_ASQ, 8);
	suspend(t);
	VEQ(t, vt_reg(mc, NVME_REG_CAP, 8), cap, "CAP while suspended");
	VEQ(t, vt_reg(mc, NVME_REG_ASQ, 8), asq, "ASQ while suspended");
	VEQ(t, vt_reg(mc, NVME_REG_CC, 4) & 1, 1, "CC.EN while suspended");
	VEQ(t, vt_reg(mc, NVME_REG_CSTS, 4) & (NVME_CSTS_RDY | NVME_CSTS_CFS), NVME_CSTS_RDY, "CSTS while suspended");
	vt_reg_put(mc, NVME_REG_INTMS, 4, 1);
	vt_reg_put(mc, NVME_REG_INTMC, 4, 1);
	resume(t);
}

static void mc_reset(struct vt *t)
{
	struct vmem m;

	suspend(t);
	vt_reset(t->mc[0]);
	vh_resume(t->mmc, target(t), ST(S_3A));
	vh_identify(t->mc[0], NVME_CNS_CTRL, 0, 0, 0, &m, ST(S_OK));
}

static void mmc_reset(struct vt *t)
{
	unsigned st;

	suspend(t);
	vt_reset(t->mmc);
	st = vh_resume(t->mmc, target(t), ST(S_3A, S_OK));
	vt_reading(t, "X2 reset of the MMC while a controller is suspended", st == S_3A ? "releases it" : "leaves it suspended");
	{
		struct vmem m;

		vh_identify(t->mc[0], NVME_CNS_CTRL, 0, 0, 0, &m, ST(S_OK));
	}
}

static void others_run(struct vt *t)
{
	struct vctl *other = t->mc[1];

	vt_io_make(other, 1, 64);
	suspend(t);
	for (unsigned i = 0; i < 20; i++)
		vh_write(other, 1, other->ns[0].nsid, i, 1, i + 1, ST(S_OK));
	vh_feature(t->mmc, false, NVME_FID_NUM_QUEUES, 0, 0, ST(S_OK));
	vh_suspend(t->mmc, other->cntlid, 1, false, ST(S_OK));
	vh_resume(t->mmc, other->cntlid, ST(S_OK));
	vh_read_is(other, 1, other->ns[0].nsid, 19, 1, 20);
	resume(t);
}

static void sanitize(struct vt *t)
{
	struct nvme_sqe s = { .opc = NVME_OP_SANITIZE, .cdw10 = le32_of(2) };

	suspend(t);
	vt_do(t->mmc, 0, &s, ST(S_39));
	resume(t);
}

static void reserved_mos(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_sqe s;
	unsigned st;

	vop_init(&s, VOP_SUSPEND);
	vf_put(&s, VF_SUSPEND_cntlid, target(t));
	vf_put(&s, VF_SUSPEND_stype, 1);
	vf_put(&s, VF_SUSPEND_mos, 0xffff);
	st = vt_do(t->mmc, 0, &s, ST(S_OK, S_IF));
	vt_reading(t, "MOS bits of Suspend", st == S_OK ? "ignored" : "refused");
	vh_get(t->mmc, target(t), 0, 0, 0, &m, 48, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0) & 1, st == S_OK, "CSUP");
}

static void disabled(struct vt *t)
{
	unsigned st;

	vt_disable(t->mc[0]);
	st = vh_suspend(t->mmc, target(t), 1, false, ST_ANY);
	vt_reading(t, "Suspend of a disabled controller", "%s", nvme_status_name(st));
	VEXPECT(t, st == S_OK || st >= 0x100 || st == S_IF || st == S_SEQ, "Suspend of a disabled controller ended with %03xh", st);
	vt_enable(t->mc[0], false);
	if (st == S_OK)
		vt_reading(t, "CC.EN=1 while suspended", vt_reg(t->mc[0], NVME_REG_CSTS, 4) & 1 ? "ready" : "not ready");
	vh_resume(t->mmc, target(t), ST(S_OK, S_3A));
	vt_reset(t->mc[0]);
}

/* The queue goes with Suspend's completion, not before: what was under way is in the ring. */
static void deleted_last(struct vt *t)
{
	struct vctl *mc = t->mc[0];

	for (unsigned round = 0; round < 6; round++) {
		struct vcmd *k[32];
		struct vring r;
		uint8_t named[32] = { 0 };
		struct ventry e;
		struct vmem m;

		vt_fresh(t);
		vt_io_make(mc, 1, 64);
		r = vh_logging(t->mmc, mc, 128);
		m = vt_mem(mc, VT_PAGE);
		for (unsigned i = 0; i < ARRAY_LEN(k); i++) {
			struct nvme_sqe s;

			vh_rw_sqe(&s, NVME_NVM_WRITE, NSID(t), 2 * i, 1);
			s.prp1 = le64_of(m.iova);
			k[i] = vt_queue(mc, 1, &s, ST(S_OK));
		}
		vt_ring(mc, 1);
		vt_wait(t, k[rng_below(&t->rng, 8)]);
		vh_suspend(t->mmc, target(t), 1, true, ST(S_OK));
		vt_reap_now(mc);
		while (vh_next(&r, &e))
			for (unsigned i = 0; i < ARRAY_LEN(k) && e.lbacir == 0; i++)
				named[i] |= 2 * i - e.slba < e.nlb;
		for (unsigned i = 0; i < ARRAY_LEN(k); i++)
			VEXPECT(t, !k[i]->done || named[i], "a Write of LBA %u was completed before the suspension and is not in the log", 2 * i);
		resume(t);
		finish(t, k, ARRAY_LEN(k));
	}
}

static void deleted_later(struct vt *t)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], 64);

	suspend(t);
	vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_OK));
	vh_suspend(t->mmc, target(t), 1, true, ST(S_OK));
	vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_37));
	resume(t);
}

static void notification_dudmq(struct vt *t)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], 64);
	unsigned st;

	vh_suspend(t->mmc, target(t), 0, true, ST(S_OK, S_IF));
	st = vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_OK, S_37));
	vt_reading(t, "DUDMQ=1 with a Suspend Notification", st == S_OK ? "the queue stays" : "the queue is deleted");
}

static void not_logging(struct vt *t)
{
	struct vring r;
	struct ventry e;

	vh_cdq(t->mmc, target(t), 64, &r, ST(S_OK));
	suspend(t);
	vt_watch_silent(t->mc[0]);
	if (vh_next(&r, &e)) {
		VEQ(t, e.esa, ESA_SUSPENDED, "ESA of an entry posted by Suspend");
		vt_reading(t, "suspended entry when logging is off", "posted");
	} else {
		vt_reading(t, "suspended entry when logging is off", "not posted");
	}
	resume(t);
}

static void cycles(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem m;
	struct vcmd *k[24] = { NULL };
	unsigned done = 0;

	vt_io_make(mc, 1, 32);
	m = vt_mem(mc, VT_PAGE);
	for (unsigned i = 0; i < 300; i++) {
		for (unsigned j = 0; j < ARRAY_LEN(k); j++) {
			struct nvme_sqe s;

			if (k[j] && !k[j]->done)
				continue;
			if (k[j]) {
				vt_forget(k[j]);
				done++;
			}
			vh_rw_sqe(&s, rng_below(&t->rng, 2) ? NVME_NVM_WRITE : NVME_NVM_READ, NSID(t), rng_below(&t->rng, 256), 1);
			s.prp1 = le64_of(m.iova);
			k[j] = vt_send(mc, 1, &s, ST(S_OK));
		}
		for (unsigned n = (unsigned)rng_below(&t->rng, 4); n; n--)
			vt_poll(t);
		suspend(t);
		vt_reap_now(mc);
		resume(t);
	}
	for (unsigned j = 0; j < ARRAY_LEN(k); j++)
		vt_finish(t, k[j]);
	VEXPECT(t, done > 100, "only %u commands were completed in 300 rounds", done);
}

/* ---- Resume */

static void resume_running(struct vt *t)
{
	vh_resume(t->mmc, target(t), ST(S_3A));
	suspend(t);
	resume(t);
	vh_resume(t->mmc, target(t), ST(S_3A));
}

static void resume_uncommitted(struct vt *t)
{
	struct vmem image, m = vt_mem(t->mmc, VT_PAGE);
	uint32_t len;

	suspend(t);
	len = vh_image(t->mmc, t->mc[0], 1, 0, &image);
	vh_set(t->mmc, target(t), 1, 1, 0, 0, &image, MIN(len / 4, 12u), ST(S_OK));
	vh_resume(t->mmc, target(t), ST(S_SEQ));
	vh_get(t->mmc, target(t), 0, 0, 0, &m, 48, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0) & 1, 1, "CSUP after a Resume that was refused");
}

static void resume_bad_cntlid(struct vt *t)
{
	unsigned st = vh_resume(t->mmc, 0xfffe, ST(S_1F, S_IF));

	vt_reading(t, "Resume of a controller that is not there", "%s", nvme_status_name(st));
	vh_resume(t->mmc, t->mmc->cntlid, ST(S_1F, S_3A, S_IF));
}

static void resume_marker(struct vt *t)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], 64);
	struct ventry e;

	vt_io_make(t->mc[0], 1, 64);
	for (unsigned i = 0; i < 4; i++) {
		vh_scatter(t->mc[0], 1, 10 * i, 2);
		suspend(t);
		vh_await_esa(&r, ESA_SUSPENDED, &e);
		resume(t);
		vh_scatter(t->mc[0], 1, 1000 + 10 * i, 1);
		vh_await(&r, &e);
		VEQ(t, e.esa, ESA_FIRST, "ESA of the first entry after Resume");
		if (e.lbacir == 2)
			vh_covered(&r, t->mc[0]->ns[0].mmc_nsid, 1000 + 10 * i, 1, NULL);
		vh_told(&r);
	}
}

/* An aborted migration: suspended, looked at, resumed; the log goes on and nothing that was written in between is missing. */
static void abort_path(struct vt *t)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], 256);
	struct vctl *mc = t->mc[0];
	struct vmem image;

	vt_io_make(mc, 1, 64);
	for (unsigned i = 0; i < 10; i++) {
		vh_write(mc, 1, NSID(t), 100 * i, 4, i + 1, ST(S_OK));
		suspend(t);
		vh_image(t->mmc, mc, 1, 0, &image);
		resume(t);
		vh_write(mc, 1, NSID(t), 100 * i + 50, 4, i + 100, ST(S_OK));
		vh_covered(&r, mc->ns[0].mmc_nsid, 100 * i, 4, NULL);
		if (vh_visible(&r))
			vt_error(t, "vh_covered leaves entries");
		vh_told(&r);
		vh_write(mc, 1, NSID(t), 100 * i + 80, 2, i + 200, ST(S_OK));
		vh_covered(&r, mc->ns[0].mmc_nsid, 100 * i + 80, 2, NULL);
		vh_read_is(mc, 1, NSID(t), 100 * i + 50, 4, i + 100);
	}
}

const struct vtest tests_su[] = {
	{ "SU-01", NEED_MM | DUT_NS, "SUS-08 RES-01", notification, "a notification changes nothing", NULL },
	{ "SU-02", NEED_MM | DUT_NS, "SUS-01 SUS-03 SUS-05 SUS-06 RES-03", frozen, "nothing is fetched, written or signalled until Resume", NULL },
	{ "SU-03", NEED_MM | DUT_NS, "SUS-02 SUS-06 RES-03", burst, "in the middle of a burst: every command exactly once", "race stress" },
	{ "SU-04", NEED_MM, "SUS-04", events_stay, "event requests stay outstanding", NULL },
	{ "SU-05", NEED_MM, "SUS-07 RES-07", repeat, "the same Suspend again", NULL },
	{ "SU-06", NEED_MM, "SUS-09", reserved_stype, "reserved STYPE", "negative" },
	{ "SU-07", NEED_LOG, "SUS-10 SUS-13 V-CQ-25", with_queue_deleted, "DUDMQ=1: the queue is gone with the completion", NULL },
	{ "SU-08", NEED_MM, "SUS-11", no_queue_to_delete, "DUDMQ=1 without a queue", NULL },
	{ "SU-09", NEED_LOG, "SUS-12 SUS-13 RING-08", with_queue_kept, "DUDMQ=0: every completed write is named, then comes the suspended entry", NULL },
	{ "SU-10", NEED_MM, "SUS-14", bad_cntlid, "controllers that cannot be suspended", "negative reading" },
	{ "SU-11", NEED_MM, "SUS-15", registers, "registers of a suspended controller", NULL },
	{ "SU-12", NEED_MM, "SUS-16", mc_reset, "a reset of the MC ends the suspension", "reset" },
	{ "SU-13", NEED_MM, "SUS-17", mmc_reset, "a reset of the MMC, the MC being suspended", "reset reading" },
	{ "SU-14", NEED_MM | DUT_MC2 | DUT_NS, "SUS-18", others_run, "other controllers go on", NULL },
	{ "SU-15", NEED_MM | DUT_SANITIZE | DUT_DESTROY, "SUS-19", sanitize, "no Sanitize while a controller is suspended", "negative destructive" },
	{ "SU-16", NEED_MM, "SUS-20", reserved_mos, "MOS bits of Suspend", "reading" },
	{ "SU-17", NEED_MM, "SUS-15", disabled, "Suspend of a disabled controller", "reading" },
	{ "SU-18", NEED_CDQ, "SUS-12", notification_dudmq, "DUDMQ=1 with a notification", "reading" },
	{ "SU-19", NEED_CDQ, "RING-08", not_logging, "the suspended entry when logging is off", "reading" },
	{ "SU-20", NEED_MM | DUT_NS, "SUS-02 SUS-06 SUS-07", cycles, "300 times, commands under way", "stress random" },
	{ "SU-21", NEED_LOG, "SUS-10 SUS-13", deleted_last, "DUDMQ=1 with writes under way: each is in the log before its queue goes", "race" },
	{ "SU-22", NEED_LOG, "SUS-10", deleted_later, "DUDMQ=1 for a controller that is suspended already", NULL },
	{ .id = NULL }
};

const struct vtest tests_rs[] = {
	{ "RS-01", NEED_MM, "RES-01 RES-07", resume_running, "Resume of a running controller, and twice", "negative" },
	{ "RS-02", NEED_MM, "RES-02", resume_uncommitted, "Resume with an image half received", "negative" },
	{ "RS-03", NEED_MM, "RES-06", resume_bad_cntlid, "controllers that cannot be resumed", "negative reading" },
	{ "RS-04", NEED_LOG, "RES-04 RING-09", resume_marker, "the first entry after Resume is marked as first", NULL },
	{ "RS-05", NEED_LOG, "X-07 RES-03", abort_path, "an aborted migration loses no change", NULL },
	{ .id = NULL }
};
