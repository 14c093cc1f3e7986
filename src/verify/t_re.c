/* Resets, of either controller, of every kind, in every state migration knows. */
#include "verify/aim.h"
#include "verify/test.h"

static const char *const kind_name[] = { "CC.EN", "function reset", "subsystem reset" };

static uint16_t target(struct vt *t) { return t->mc[0]->cntlid; }

static bool can(struct vt *t, enum cov_reset k) { return k != CR_SUBSYSTEM || t->caps & DUT_NSSR; }

/* Everything the MMC holds for migration. */
static struct vring load(struct vt *t)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], 64);

	vh_track_all(t->mmc, t->mc[0]);
	return r;
}

static void mmc_kinds(struct vt *t)
{
	for (unsigned k = 0; k < CR_COUNT; k++) {
		struct vmem m;
		struct vring r;

		if (!can(t, k))
			continue;
		vt_fresh(t);
		r = load(t);
		vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
		aim_reset_now(t->mmc, k);
		m = vt_mem(t->mmc, VT_PAGE);
		vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_37));
		vh_log(t->mmc, r.id, 1, ST(S_37));
		vh_receive(t->mmc, target(t), &m, VT_PAGE, ST(S_1F, S_IF));
		vt_reading(t, "X2 by kind of reset", "%s: %s", kind_name[k],
			   vh_resume(t->mmc, target(t), ST(S_OK, S_3A)) == S_3A ? "released" : "still suspended");
		vt_reset(t->mc[0]);
		load(t);
	}
}

static void mc_kinds(struct vt *t)
{
	for (unsigned k = 0; k < CR_COUNT; k++) {
		struct vring r;
		struct vmem m;

		if (!can(t, k))
			continue;
		vt_fresh(t);
		r = load(t);
		vt_io_make(t->mc[0], 1, 16);
		vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
		aim_reset_now(t->mc[0], k);
		if (k == CR_SUBSYSTEM && !(vt_reg(t->mmc, NVME_REG_CSTS, 4) & 1)) {
			vt_reading(t, "subsystem reset asked for by an MC", "resets the MMC too");
			vt_fresh(t);
			continue;
		}
		vh_resume(t->mmc, target(t), ST(S_3A));
		vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_OK));
		m = vt_mem(t->mmc, VT_PAGE);
		vh_get(t->mmc, target(t), 1, 0, 0, &m, 64, ST(S_OK));
		VEQ(t, m.p[50] | m.p[52], 0, "I/O queues after a reset");
		VEQ(t, le32_get(t->last.dw0) & 1, 0, "CSUP after a reset");
	}
}

/* ---- every kind of reset, of either side, in every phase of a move */

enum { RESUMED = CP_COUNT, PHASES };	/* one phase more than coverage knows: a move that is over */

static uint16_t go_to(struct vt *t, unsigned p)
{
	uint16_t id = aim_phase(t, p == RESUMED ? CP_COMMITTED : (enum cov_phase)p);

	if (p == RESUMED)
		vh_resume(t->mmc, target(t), ST(S_OK));
	return id;
}

static void every_phase(struct vt *t, bool mmc)
{
	for (unsigned p = 0; p < PHASES; p++)
		for (unsigned k = 0; k < CR_COUNT; k++) {
			struct vmem m;
			uint16_t id;

			if (!can(t, k))
				continue;
			vt_fresh(t);
			id = go_to(t, p);
			vt_trace(t, "reset in phase %u", p);
			aim_reset_now(mmc ? t->mmc : t->mc[0], k);
			if (!(vt_reg(t->mmc, NVME_REG_CSTS, 4) & 1))
				vt_fresh(t); /* an MC's subsystem reset may take the MMC with it */
			m = vt_mem(t->mmc, VT_PAGE);
			if (mmc) {
				vh_get_cdq(t->mmc, id ? id : 1, NULL, NULL, NULL, ST(S_37));
				vh_receive(t->mmc, target(t), &m, VT_PAGE, ST(S_1F, S_IF));
				vh_resume(t->mmc, target(t), ST(S_3A, S_OK)); /* X2 */
				vt_reset(t->mc[0]);
			} else {
				vh_resume(t->mmc, target(t), ST(S_3A, S_SEQ)); /* a partial image may outlive its controller's reset */
				vh_get(t->mmc, target(t), 1, 0, 0, &m, 56, ST(S_OK));
				VEQ(t, le32_get(t->last.dw0) & 1, 0, "CSUP after a reset of the controller");
				vt_reset(t->mmc);
			}
			aim_round(t);
		}
}

static void mmc_every_phase(struct vt *t) { every_phase(t, true); }
static void mc_every_phase(struct vt *t) { every_phase(t, false); }

static void log_after_mc_reset(struct vt *t)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], 64);
	struct vctl *mc = t->mc[0];
	unsigned st;

	vt_io_make(mc, 1, 16);
	vh_scatter(mc, 1, 0, 1);
	vh_covered(&r, mc->ns[0].mmc_nsid, 0, 1, NULL);
	vt_reset(mc);
	vt_io_make(mc, 1, 16);
	st = vh_log(t->mmc, r.id, 1, ST(S_OK, S_37)); /* 37: still logging */
	vt_reading(t, "logging across a reset of the controller", st == S_37 ? "goes on" : "ends");
	vh_scatter(mc, 1, 100, 1);
	vh_covered(&r, mc->ns[0].mmc_nsid, 100, 1, NULL);
}

static void subsystem(struct vt *t)
{
	struct vmem m;
	struct vring r = load(t);

	for (unsigned i = 0; i < t->mcs; i++)
		vh_suspend(t->mmc, t->mc[i]->cntlid, 1, false, ST(S_OK));
	aim_subsystem_reset(t->mmc);
	for (unsigned i = 0; i < t->ctls; i++) {
		if (t->ctl[i].sub) {
			VEQ(t, vt_reg(&t->ctl[i], NVME_REG_CSTS, 4) & NVME_CSTS_RDY, NVME_CSTS_RDY, "CSTS.RDY in another subsystem than the one that was reset");
			continue;
		}
		VEQ(t, vt_reg(&t->ctl[i], NVME_REG_CC, 4) & NVME_CC_EN, 0, "CC.EN of a controller whose subsystem was reset");
		vt_port_again(&t->ctl[i]);
		vt_reset(&t->ctl[i]);
	}
	vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_37));
	m = vt_mem(t->mmc, VT_PAGE);
	vh_receive(t->mmc, target(t), &m, VT_PAGE, ST(S_1F, S_IF));
	for (unsigned i = 0; i < t->mcs; i++)
		vh_resume(t->mmc, t->mc[i]->cntlid, ST(S_3A));
}

static void under_way(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem buf;

	for (unsigned round = 0; round < 10; round++) {
		vt_fresh(t);
		vt_io_make(mc, 1, 64);
		buf = vt_mem(mc, VT_PAGE);
		for (unsigned i = 0; i < 40; i++) {
			struct nvme_sqe s;

			vh_rw_sqe(&s, NVME_NVM_WRITE, mc->ns[0].nsid, i, 1);
			s.prp1 = le64_of(buf.iova);
			vt_queue(mc, 1, &s, ST(S_OK));
		}
		vt_ring(mc, 1);
		for (unsigned i = (unsigned)rng_below(&t->rng, 10); i; i--)
			vt_poll(t);
		vt_disable(mc);
		memset(mc->mem + (mc->acq.iova - mc->iova), 0, 4096);
		vt_enable(mc, true);
		vt_watch_silent(mc); /* nothing of before comes now */
		vt_io_make(mc, 1, 64);
		vh_write(mc, 1, mc->ns[0].nsid, 0, 1, 7, ST(S_OK));
		vh_read_is(mc, 1, mc->ns[0].nsid, 0, 1, 7);
	}
}

static void mmc_under_way(struct vt *t)
{
	struct vcmd *k[20];

	for (unsigned i = 0; i < ARRAY_LEN(k); i++) {
		struct nvme_sqe s;

		vop_init(&s, VOP_SUSPEND);
		vf_put(&s, VF_SUSPEND_cntlid, target(t));
		vf_put(&s, VF_SUSPEND_stype, i & 1);
		k[i] = vt_queue(t->mmc, 0, &s, ST(S_OK, S_IF, S_3A));
	}
	vt_ring(t->mmc, 0);
	vt_disable(t->mmc);
	vt_enable(t->mmc, true);
	vt_reset(t->mc[0]);
	vh_resume(t->mmc, target(t), ST(S_3A));
	load(t);
}

static void shutdown_suspended(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	uint64_t end;

	vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
	vt_reg_put(mc, NVME_REG_CC, 4, vt_reg(mc, NVME_REG_CC, 4) | 1u << NVME_CC_SHN_SHIFT);
	for (end = vt_now_ns() + 20000000; vt_now_ns() < end && (vt_reg(mc, NVME_REG_CSTS, 4) >> 2 & 3) != 2;)
		vt_poll(t);
	vt_reading(t, "shutdown of a suspended controller", "SHST %u", (unsigned)(vt_reg(mc, NVME_REG_CSTS, 4) >> 2 & 3));
	vt_reset(mc);
	vh_resume(t->mmc, target(t), ST(S_3A));
}

static void two_mmcs(struct vt *t)
{
	struct vring a = vh_logging(t->mmc, t->mc[0], 64), b;
	unsigned st = vh_cdq(t->mmc2, target(t), 64, &b, ST(S_IF, S_OK));

	if (st == S_OK)
		vh_log(t->mmc2, b.id, 1, ST(S_37));
	vt_reading(t, "a second MMC logging the same controller", st == S_OK ? "refused at start" : "refused at create");
	vh_get_cdq(t->mmc, a.id, NULL, NULL, NULL, ST(S_OK));
}

/* While a Sanitize runs, the family is not among the commands that are allowed. */
static void during_sanitize(struct vt *t)
{
	struct nvme_sqe s = { .opc = NVME_OP_SANITIZE, .cdw10 = le32_of(2) };
	unsigned st;

	vt_do(t->mmc, 0, &s, ST(S_OK));
	st = vh_suspend(t->mmc, target(t), 0, false, ST(0x01d, S_OK));
	vt_reading(t, "Migration Send right after a Sanitize began", "%s", nvme_status_name(st));
}

/* What one MMC holds is no business of another's reset. */
static void other_mmc(struct vt *t)
{
	for (enum cov_reset k = CR_CC_EN; k <= CR_FLR; k++) {
		struct vmem m;
		struct vring r;

		vt_fresh(t);
		m = vt_mem(t->mmc, VT_PAGE);
		r = load(t);
		vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
		aim_reset_now(t->mmc2, k);
		vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_OK));
		vh_receive(t->mmc, target(t), &m, VT_PAGE, ST(S_OK));
		vh_resume(t->mmc, target(t), ST(S_OK));
	}
}

/* Commands are under way in the controller that is to stand still, and it is reset: Suspend ends all the same. */
static void suspend_under_way(struct vt *t)
{
	struct vctl *mc = t->mc[0];

	for (unsigned round = 0; round < 10; round++) {
		struct nvme_sqe s;
		struct vcmd *k;

		vt_fresh(t);
		vt_io_make(mc, 1, 64);
		for (unsigned i = 0; i < 24; i++) {
			struct vmem m = vt_mem(mc, VT_PAGE);

			vh_rw_sqe(&s, NVME_NVM_READ, mc->ns[0].nsid, 8 * i, 1);
			s.prp1 = le64_of(m.iova);
			vt_queue(mc, 1, &s, ST_ANY);
		}
		vt_ring(mc, 1);
		vt_poll(t);
		vt_poll(t);
		vop_init(&s, VOP_SUSPEND);
		vf_put(&s, VF_SUSPEND_cntlid, target(t));
		vf_put(&s, VF_SUSPEND_stype, 1);
		k = vt_send(t->mmc, 0, &s, ST_ANY);
		for (uint64_t n = rng_below(&t->rng, 3); n; n--)
			vt_poll(t);
		vt_reset(mc);
		vt_finish(t, k);
		vt_reset(mc);
		vh_resume(t->mmc, target(t), ST(S_3A));
	}
}

const struct vtest tests_re[] = {
	{ "RE-01", NEED_CDQ | DUT_THMCS | DUT_FLR, "CDQ-21 TR-11 SUS-17 V-RE-4", mmc_kinds, "every kind of reset of the MMC ends what it held", "reset" },
	{ "RE-02", NEED_CDQ | DUT_THMCS | DUT_FLR, "CDQ-22 SUS-16 V-RE-4 V-RE-6", mc_kinds, "every kind of reset of the MC: unsuspended, no queues; the log's queue stays", "reset" },
	{ "RE-03", NEED_LOG, "CDQ-22", log_after_mc_reset, "logging across a reset of the MC", "reset reading" },
	{ "RE-04", NEED_CDQ | DUT_THMCS | DUT_NSSR, "X-01", subsystem, "a subsystem reset clears everything everywhere", "reset" },
	{ "RE-05", NEED_MM | DUT_NS, "B-REG-3", under_way, "commands under way at a reset never come back", "reset race" },
	{ "RE-06", NEED_CDQ | DUT_THMCS, "V-RE-4 SUS-17", mmc_under_way, "migration commands under way at a reset of the MMC", "reset race" },
	{ "RE-07", NEED_MM, "SUS-15", shutdown_suspended, "shutdown of a suspended controller", "reset reading" },
	{ "RE-08", NEED_CDQ | DUT_MMC2, "X-03", two_mmcs, "two MMCs cannot log the same controller", "negative" },
	{ "RE-09", NEED_MM | DUT_SANITIZE | DUT_DESTROY, "X-11", during_sanitize, "the family during a Sanitize", "destructive" },
	{ "RE-10", NEED_LOG | DUT_THMCS | DUT_FLR, "CDQ-21 TR-11 SUS-17 V-RE-4", mmc_every_phase, "each reset of the MMC in each phase of a move", "reset stress" },
	{ "RE-11", NEED_LOG | DUT_THMCS | DUT_FLR, "SUS-16 CDQ-22 V-RE-4 V-RE-6", mc_every_phase, "each reset of the MC in each phase of a move", "reset stress" },
	{ "RE-12", NEED_CDQ | DUT_THMCS | DUT_MMC2, "CDQ-21 TR-11 SUS-17", other_mmc, "a reset of one MMC leaves what another holds", "reset" },
	{ "RE-13", NEED_MM | DUT_NS, "V-RE-4 SUS-16", suspend_under_way, "a reset of the MC while Suspend waits for it", "reset race" },
	{ .id = NULL }
};
