/* What only somebody hostile to the monitor itself does: what it holds in its hands must not be taken away under it. */
#include "monrig.h"

/* The Suspend's completion makes us look at the controller that is suspended, and there a completion says that a state
 * was set on the very controller whose Suspend we are in the middle of. */
TEST(set_on_who_is_being_looked_at)
{
	struct nvme_state_head h = { .vss = le64_of((12 + 52 + 20) / 4), .csattr = NVME_CSATTR_CP };
	uint8_t format[12] = { 1, 0, 1, 0, 4, 0, 0, 0, 1 }, props[8 + 44] = { 2, 0, 1, 0, 41 }, admin[8 + 12] = { 3, 0, 1, 0, 12 };
	struct nvme_sqe s = mr_migration_send(NVME_MIG_SET_STATE), susp = mr_migration_send(NVME_MIG_SUSPEND);
	struct mport *mc, *mmc;
	struct nvme_cqe e;
	uint8_t *p;

	MRIG(r, false);
	mmc = &r->p[0], mc = &r->p[1];
	p = mc->mem + MR_DATA;
	props[8 + 40] = 1; /* the admin queues are to be made anew */
	memcpy(p, &h, 48), memcpy(p + 48, format, 12), memcpy(p + 60, props, 52), memcpy(p + 112, admin, 20);
	s.prp1 = le64_of(MR_DATA);
	s.cid = le16_of(0x55), susp.cid = le16_of(0x56);
	nvme_migration_send_cntlid_put(&s, MR_MMC_ID);
	nvme_migration_send_seqind_put(&s, NVME_SEQ_ONLY);
	nvme_migration_send_numd_put(&s, 132 / 4);
	mr_submit(mc, 0, &s);
	mr_submit(mmc, 0, &susp);
	e = mr_cqe(mc, 0, 0, 0x55, 0, 0);
	memcpy(mc->mem + mr_cq(0) + 16u * mc->cq_tail[0], &e, sizeof(e));
	e = mr_cqe(mmc, 0, 0, 0x56, 0, 0);
	memcpy(mmc->mem + mr_cq(0) + 16u * mmc->cq_tail[0], &e, sizeof(e));
	mr_raise(mmc, 0);
	EXPECT_EQ(monitor_stats(r->m)->commands, monitor_stats(r->m)->completions);
}
