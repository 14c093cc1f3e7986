/* Migration Send and Receive as commands: suspend, resume, state in pieces, resets (checklist SUS, RES, GCS, SCS, X).
 * What is in an image: test_hmlm_state.c. */
#include "hmlm.h"

/* ---- suspend */

/* Section 12: CDW11 00010002h. The controller answers nothing any more. */
TEST(hmlm_sus_01_05_06_golden_suspend)
{
	RIG(r, .queues = 1);
	uint8_t *data = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe rd = rig_rw(NVME_NVM_READ, 1, 0, 8), id = hm_cmd(0x06, 1, 0, 0, 0, 0);
	struct nvme_sqe s = { .opc = 0x41, .cdw10 = le32_of(0), .cdw11 = le32_of(0x00010002) };
	uint16_t io, ad;
	struct nvme_cqe c;

	EXPECT_STATUS(rig_admin(&r, r.mmc, s), NVME_SUCCESS);
	EXPECT(nvme_ctrl_is_suspended(r.mc));
	rig_data(&r, r.mc, &rd, data, 4096);
	rig_data(&r, r.mc, &id, data, 4096);
	io = rig_submit(&r, r.mc, 1, rd);
	ad = rig_submit(&r, r.mc, 0, id);
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 1, io, &c) && !rig_try(&r, r.mc, 0, ad, &c));
	EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);		/* 15: registers work */
	s.cdw10 = le32_of(1);
	s.cdw11 = le32_of(2);
	EXPECT_STATUS(rig_admin(&r, r.mmc, s), NVME_SUCCESS);
	EXPECT_STATUS(rig_wait(&r, r.mc, 1, io), NVME_SUCCESS);
	EXPECT_STATUS(rig_wait(&r, r.mc, 0, ad), NVME_SUCCESS);
}

static struct rig *slow_rig;
static uint64_t slow_now(void *ctx) { (void)ctx; return slow_rig->now; }
static struct blk *slow(struct blk *below)
{
	struct err e;

	return blk_delay_open(below, NS_PER_MS, NS_PER_MS, 1, slow_now, NULL, &e);
}
#define SLOW_RIG(r, ...) struct rig r __attribute__((cleanup(rig_close))); slow_rig = &r; \
	rig_open(&r, &(struct rig_cfg){ .wrap = slow, __VA_ARGS__ })

/* A command that was fetched completes first: its CQE is there before the Suspend's. Two waiting Suspends are both answered. */
TEST(hmlm_sus_02_07_drain_first)
{
	SLOW_RIG(r, .queues = 1);
	uint8_t *data = rig_alloc(&r, r.mc, 512);
	struct nvme_sqe w = rig_rw(NVME_NVM_WRITE, 1, 0, 1);
	uint16_t io, a, b;
	struct nvme_cqe c;

	rig_data(&r, r.mc, &w, data, 512);
	io = rig_submit(&r, r.mc, 1, w);
	rig_settle(&r);
	a = rig_submit(&r, r.mmc, 0, hm_cmd(0x41, 0, 0x00010002, 0, 0, 0));
	b = rig_submit(&r, r.mmc, 0, hm_cmd(0x41, 0, 0x00010002, 0, 0, 0));
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mmc, 0, a, &c) && !rig_try(&r, r.mmc, 0, b, &c));
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_CTRL_NOT_SUSPENDED);	/* not yet */
	r.now += 2 * NS_PER_MS;
	EXPECT_STATUS(rig_wait(&r, r.mmc, 0, a), NVME_SUCCESS);
	EXPECT_STATUS(rig_wait(&r, r.mmc, 0, b), NVME_SUCCESS);
	EXPECT(rig_try(&r, r.mc, 1, io, &c));
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);		/* and again */
}

TEST(hmlm_sus_04_aers_stay)
{
	RIG(r);
	uint16_t cid = rig_submit(&r, r.mc, 0, hm_cmd(0x0c, 0, 0, 0, 0, 0));
	struct nvme_cqe c;

	rig_settle(&r);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT(!rig_try(&r, r.mc, 0, cid, &c));
	EXPECT_EQ(r.mc->aer_count, 1);
}

/* Section 12: notification is CDW11 00000002h; nvme-cli sends it by default and must not stop a guest by it. */
TEST(hmlm_sus_08_09_21_notification_and_reserved)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);

	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x41, 0, 0x00000002, 0, 0, 0)), NVME_SUCCESS);
	EXPECT_EQ(r.mc->suspend, NVME_RUNNING);
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x41, 0, 0x80000002, 0, 0, 0)), NVME_SUCCESS);
	EXPECT(r.mc->udmq && q.id == r.mc->udmq->id);	/* DUDMQ with a notification deletes nothing */
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x41, 0, 0x00020002, 0, 0, 0)), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x41, 0, 0x00ff0002, 0, 0, 0)), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x41, 3, 0x00010002, 0, 0, 0)), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x41, 0xff, 0x00010002, 0, 0, 0)), NVME_INVALID_FIELD);
}

/* The marker stands behind the last change of the drained commands, and the queue goes before the answer comes. */
TEST(hmlm_sus_10_13_dudmq)
{
	SLOW_RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);
	struct nvme_sqe w = rig_rw(NVME_NVM_WRITE, 1, 5, 1);
	uint16_t a;

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	rig_data(&r, r.mc, &w, rig_alloc(&r, r.mc, 512), 512);
	rig_submit(&r, r.mc, 1, w);
	rig_settle(&r);
	a = rig_submit(&r, r.mmc, 0, hm_cmd(0x41, 0, 0x80010002, 0, 0, 0));
	rig_settle(&r);
	r.now += 2 * NS_PER_MS;
	EXPECT_STATUS(rig_wait(&r, r.mmc, 0, a), NVME_SUCCESS);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x83);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x01);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x87);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, false, 0), NVME_INVALID_CDQ);
}

TEST(hmlm_sus_11_12_dudmq_none_and_kept)
{
	RIG(r, .mcs = 2);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);

	EXPECT_STATUS(hm_suspend(&r, r.mmc, 3, true), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 1, false, 0), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, true), NVME_SUCCESS);	/* already suspended: DUDMQ still counts */
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 1, false, 0), NVME_INVALID_CDQ);
}

/* Logging off: no marker (docs/choices.md). */
TEST(hmlm_sus_13_no_marker_without_logging)
{
	RIG(r);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);

	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_SUCCESS);
	EXPECT(hm_empty(&q));
}

TEST(hmlm_sus_14_controllers)
{
	RIG(r);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 1, false), NVME_INVALID_CNTLID);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 99, false), NVME_INVALID_CNTLID);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 99), NVME_INVALID_CNTLID);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 1), NVME_INVALID_CNTLID);
}

/* A guest that resets its controller runs again; one whose manager died, too. */
TEST(hmlm_sus_16_17_resets_release)
{
	RIG(r, .mcs = 2, .queues = 1);
	uint8_t *data = rig_alloc(&r, r.host[2].ctrl, 512);

	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 3, false), NVME_SUCCESS);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT_EQ(r.mc->suspend, NVME_RUNNING);
	EXPECT_EQ(r.host[2].ctrl->suspend, NVME_SUSPENDED);
	rig_reg_put(r.mmc, NVME_REG_CC, 4, 0);
	EXPECT_EQ(r.host[2].ctrl->suspend, NVME_RUNNING);
	EXPECT_STATUS(hm_write(&r, r.host[2].ctrl, 1, 0, 1, data), NVME_SUCCESS);
}

/* The MMC goes while a Suspend is draining: nobody waits for ever, nothing is touched after it is free. */
TEST(hmlm_sus_17_mmc_reset_while_draining)
{
	SLOW_RIG(r, .queues = 1);
	struct nvme_sqe w = rig_rw(NVME_NVM_WRITE, 1, 0, 1);
	uint16_t io;

	rig_data(&r, r.mc, &w, rig_alloc(&r, r.mc, 512), 512);
	io = rig_submit(&r, r.mc, 1, w);
	rig_settle(&r);
	rig_submit(&r, r.mmc, 0, hm_cmd(0x41, 0, 0x00010002, 0, 0, 0));
	rig_submit(&r, r.mmc, 0, hm_cmd(0x41, 0, 0x00010002, 0, 0, 0));
	rig_settle(&r);
	EXPECT_EQ(r.mc->suspend, NVME_DRAINING);
	rig_reg_put(r.mmc, NVME_REG_CC, 4, 0);
	EXPECT_EQ(r.mc->suspend, NVME_RUNNING);
	EXPECT(!r.mc->suspend_req);
	EXPECT_EQ(r.mmc->inflight, 0);
	r.now += 2 * NS_PER_MS;
	EXPECT_STATUS(rig_wait(&r, r.mc, 1, io), NVME_SUCCESS);
}

TEST(hmlm_sus_16_mc_reset_while_draining)
{
	SLOW_RIG(r, .queues = 1);
	struct nvme_sqe w = rig_rw(NVME_NVM_WRITE, 1, 0, 1);
	uint16_t a;

	rig_data(&r, r.mc, &w, rig_alloc(&r, r.mc, 512), 512);
	rig_submit(&r, r.mc, 1, w);
	rig_settle(&r);
	a = rig_submit(&r, r.mmc, 0, hm_cmd(0x41, 0, 0x00010002, 0, 0, 0));
	rig_settle(&r);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT_STATUS(rig_wait(&r, r.mmc, 0, a), NVME_CTRL_NOT_SUSPENDED);
	EXPECT_EQ(r.mc->suspend, NVME_RUNNING);
	r.now += 2 * NS_PER_MS;
	rig_settle(&r);
}

TEST(hmlm_sus_18_others_run)
{
	RIG(r, .mcs = 2, .queues = 1);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, r.host[2].ctrl, 1, 0, 1, rig_alloc(&r, r.host[2].ctrl, 512)), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, r.mmc, 1, 0, 1, rig_alloc(&r, r.mmc, 512)), NVME_SUCCESS);
}

/* A controller that nobody has enabled may be suspended: that is how a target waits for its image. */
TEST(hmlm_sus_disabled_controller)
{
	RIG(r);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT(nvme_ctrl_is_suspended(r.mc));
}

/* ---- resume */

TEST(hmlm_res_01_07_not_suspended)
{
	RIG(r);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_CTRL_NOT_SUSPENDED);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_SUCCESS);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_CTRL_NOT_SUSPENDED);
}

/* X-07, the abort path: suspended, resumed, and the log goes on with 001b and loses nothing. */
TEST(hmlm_res_04_x_07_log_goes_on)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);
	struct nvme_sqe w = rig_rw(NVME_NVM_WRITE, 1, 9, 1);
	uint16_t io;

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	rig_data(&r, r.mc, &w, rig_alloc(&r, r.mc, 512), 512);
	io = rig_submit(&r, r.mc, 1, w);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_SUCCESS);
	EXPECT_STATUS(rig_wait(&r, r.mc, 1, io), NVME_SUCCESS);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x83);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x87);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x83);
	EXPECT_EQ(le64_get(hm_must(&q).slba), 9);
}

/* ---- state out */

/* Section 12 and 6: one queue pair is 104 bytes; every byte of the standard part. */
TEST(hmlm_gcs_01_golden_v0)
{
	RIG(r, .queues = 1);
	uint8_t *b = rig_alloc(&r, r.mmc, 4096);
	uint64_t sq = rig_iova(&r, r.mc, rig_host(&r, r.mc)->q[1].sq), cq = rig_iova(&r, r.mc, rig_host(&r, r.mc)->q[1].cq);
	uint8_t want[104] = { 0 };
	struct nvme_sqe s = { .opc = 0x42, .cdw10 = le32_of(0x00010000), .cdw11 = le32_of(2), .cdw15 = le32_of(0x3ff) };
	struct nvme_cqe c;

	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, rig_alloc(&r, r.mc, 512)), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	memset(b, 0xff, 4096);
	c = rig_admin_data(&r, r.mmc, s, b, 4096);
	EXPECT_STATUS(c, NVME_SUCCESS);
	EXPECT_EQ(le32_get(c.dw0), 1);		/* CSUP */
	want[2] = 1;				/* CP */
	want[16] = 14;				/* NVMECSS, dwords */
	want[50] = 1;				/* NIOSQ */
	want[52] = 1;				/* NIOCQ */
	memcpy(want + 56, &sq, 8);
	want[64] = 31;				/* QSIZE, zero-based */
	want[66] = 1;				/* QID */
	want[68] = 1;				/* CQID */
	want[70] = 1;				/* PC */
	want[72] = 1;				/* head */
	want[74] = 1;				/* tail */
	memcpy(want + 80, &cq, 8);
	want[88] = 31;
	want[90] = 1;				/* QID */
	want[92] = 1;				/* head: the rig rang its doorbell */
	want[94] = 1;				/* tail */
	want[96] = 1 | 2 | 4;			/* PC, IEN, S0PT: slot 0 has phase 1 */
	want[98] = 1;				/* vector */
	EXPECT_MEM(b, want, sizeof(want));
	for (unsigned i = 104; i < 4096; i++)	/* 13: more was asked than there is */
		EXPECT_EQ(b[i], 0);
}

TEST(hmlm_gcs_02_05_17_parts)
{
	RIG(r);
	uint8_t *b = rig_alloc(&r, r.mmc, 4096);
	struct nvme_cqe c = hm_get(&r, r.mmc, 2, 0, 0, 0, b, 4096);

	EXPECT_STATUS(c, NVME_SUCCESS);
	EXPECT_EQ(le32_get(c.dw0), 0);		/* 05: running */
	EXPECT_EQ(b[2], 0);
	EXPECT_EQ(b[16], 0);
	EXPECT_EQ(b[32], 0);
	EXPECT_STATUS(hm_get(&r, r.mmc, 2, 1, 0, 0, b, 4096), NVME_SUCCESS);
	EXPECT_EQ(b[16], 2);			/* 17: no I/O queues: two dwords */
	EXPECT_EQ(b[32], 0);
	EXPECT_STATUS(hm_get(&r, r.mmc, 2, 0, 1, 0, b, 4096), NVME_SUCCESS);
	EXPECT_EQ(b[16], 0);
	EXPECT(b[32] | b[33]);
}

TEST(hmlm_gcs_03_10_11_14_15_16_refusals)
{
	RIG(r);
	uint8_t *b = rig_alloc(&r, r.mmc, 4096);

	EXPECT_STATUS(hm_get(&r, r.mmc, 2, 2, 0, 0, b, 4096), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_get(&r, r.mmc, 2, 0, 2, 0, b, 4096), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_get(&r, r.mmc, 2, 1, 0, 2, b, 4096), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_get(&r, r.mmc, 2, 1, 0, 60, b, 4096), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_get(&r, r.mmc, 2, 1, 0, 56, b, 4096), NVME_SUCCESS);	/* exactly the end: nothing */
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x42, 1 << 16, 2, 0, 1, 1023), b, 4096), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_get(&r, r.mmc, 1, 1, 0, 0, b, 4096), NVME_INVALID_CNTLID);
	EXPECT_STATUS(hm_get(&r, r.mmc, 99, 1, 0, 0, b, 4096), NVME_INVALID_CNTLID);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x42, 1 << 16, 0xab000002, 0, 0, 1023), b, 4096), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x42, 1 << 16 | 1, 2, 0, 0, 1023), b, 4096), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x42, 1 << 16 | 0xff, 2, 0, 0, 1023), b, 4096), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x42, 1 << 16, 2, 0, 0, 0xffffffff)), NVME_INVALID_FIELD);
}

/* While suspended, pieces are the whole; also when time passes between them (12). */
TEST(hmlm_gcs_12_pieces_equal_the_whole)
{
	RIG(r, .queues = 4);
	enum { ALL = 32768, PIECE = 1020 };
	uint8_t *whole = rig_alloc(&r, r.mmc, ALL), *part = rig_alloc(&r, r.mmc, 4096);

	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_get(&r, r.mmc, 2, 1, 1, 0, whole, ALL), NVME_SUCCESS);
	EXPECT(whole[16] && whole[32] | whole[33]);
	for (unsigned at = 0, total = 48 + 4 * (whole[16] + whole[32] + 256u * whole[33]); at < total; at += PIECE) {
		r.now += 7 * NS_PER_MS;
		EXPECT_STATUS(hm_get(&r, r.mmc, 2, 1, 1, at, part, PIECE), NVME_SUCCESS);
		EXPECT_MEM(part, whole + at, PIECE);
	}
}

/* ---- state in */

/* A valid standard image with one queue pair, by hand. */
static unsigned image_v0(uint8_t *b, uint64_t sq, uint64_t cq)
{
	memset(b, 0, 104);
	b[16] = 14;
	b[50] = b[52] = 1;
	memcpy(b + 56, &sq, 8);
	b[64] = 31;
	b[66] = b[68] = b[70] = 1;
	memcpy(b + 80, &cq, 8);
	b[88] = 31;
	b[90] = 1;
	b[96] = 3;
	return 104;
}
static unsigned prepare(struct rig *r, uint8_t **b)
{
	uint8_t *q = rig_alloc(r, r->mc, 8192);

	*b = rig_alloc(r, r->mmc, 4096);
	EXPECT_STATUS(hm_suspend(r, r->mmc, 2, false), NVME_SUCCESS);
	return image_v0(*b, rig_iova(r, r->mc, q), rig_iova(r, r->mc, q + 4096));
}

/* Section 12: Set State, only, CSVI=1, 104 bytes: 00030002h, 00010002h, NUMD 1Ah. */
TEST(hmlm_scs_01_17_golden_only)
{
	RIG(r);
	uint8_t *b;
	struct nvme_sqe s = { .opc = 0x41, .cdw10 = le32_of(0x00030002), .cdw11 = le32_of(0x00010002), .cdw15 = le32_of(0x1a) };

	prepare(&r, &b);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, s, b, 104), NVME_SUCCESS);
	EXPECT(r.mc->sq[1].live && r.mc->cq[1].live);
	EXPECT_EQ(r.mc->sq[1].size, 32);
	EXPECT(r.mc->cq[1].phase);	/* t = 0, S0PT = 0: the next is phase 1 */
}

/* Section 12: first 00010002h, middle 00000002h, last 00020002h. The same result as in one piece. */
TEST(hmlm_scs_02_03_pieces)
{
	RIG(r);
	uint8_t *b;

	prepare(&r, &b);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 1, 1, 0, 0, b, 48), NVME_SUCCESS);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_COMMAND_SEQUENCE);		/* RES-02 */
	EXPECT(nvme_ctrl_is_suspended(r.mc));
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 0, 1, 0, 48, b + 48, 28), NVME_SUCCESS);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 0, 1, 0, 76, b + 76, 28), NVME_SUCCESS);
	EXPECT(!r.mc->sq[1].live);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 2, 1, 0, 104, NULL, 0), NVME_SUCCESS);	/* 03: NUMD 0 commits */
	EXPECT(r.mc->sq[1].live && r.mc->cq[1].live);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_SUCCESS);
}

/* Pieces may repeat what has come; a hole is refused and changes nothing of what is there. */
TEST(hmlm_scs_02_12_offsets)
{
	RIG(r);
	uint8_t *b;

	prepare(&r, &b);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 1, 1, 0, 4, b, 48), NVME_INVALID_FIELD);	/* a first piece that is not the start */
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 1, 1, 0, 0, b, 48), NVME_SUCCESS);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 0, 1, 0, 2, b, 48), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 0, 1, 0, 52, b + 52, 52), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 0, 1, 0, 32, b + 32, 48), NVME_SUCCESS);	/* overlaps */
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 2, 1, 0, 80, b + 80, 24), NVME_SUCCESS);
	EXPECT(r.mc->sq[1].live);
}

TEST(hmlm_scs_04_05_sequence)
{
	RIG(r);
	uint8_t *b;

	prepare(&r, &b);
	for (unsigned seq = 0; seq <= 3; seq++)
		if (seq != 2)
			EXPECT_STATUS(hm_set(&r, r.mmc, 2, seq, 1, 0, 0, NULL, 0), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 0, 1, 0, 0, b, 48), NVME_COMMAND_SEQUENCE);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 2, 1, 0, 0, b, 104), NVME_COMMAND_SEQUENCE);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 2, 1, 0, 0, NULL, 0), NVME_COMMAND_SEQUENCE);
}

TEST(hmlm_scs_06_first_starts_over)
{
	RIG(r);
	uint8_t *b;

	prepare(&r, &b);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 1, 1, 0, 0, b, 104), NVME_SUCCESS);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 1, 1, 0, 0, b, 48), NVME_SUCCESS);
	EXPECT_EQ(r.mc->inbound.image.len, 48);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 1, 0, 0, b, 104), NVME_SUCCESS);	/* so does an only one */
	EXPECT(r.mc->sq[1].live && !r.mc->inbound.open);
}

TEST(hmlm_scs_07_08_09_indices)
{
	RIG(r);
	uint8_t *b;

	prepare(&r, &b);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 0, 0, 0, b, 104), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 2, 0, 0, b, 104), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 1, 2, 0, b, 104), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 0, 1, 0, b, 104), NVME_INVALID_FIELD);	/* CSVI 0, NVMECSS 14 */
	b[16] = 2;
	b[32] = 12;
	b[50] = b[52] = 0;
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 1, 0, 0, b, 104), NVME_INVALID_FIELD);	/* CSUUIDI 0, VSS 12 */
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 1, 1, 0, 0, b, 48), NVME_SUCCESS);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 2, 1, 1, 48, b + 48, 8), NVME_INVALID_FIELD);	/* not as it began */
}

TEST(hmlm_scs_10_queues_exist)
{
	RIG(r, .queues = 2);
	uint8_t *b;

	prepare(&r, &b);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 1, 0, 0, b, 104), NVME_INVALID_FIELD);
	EXPECT(r.mc->sq[2].live);
}

TEST(hmlm_scs_11_controller_state)
{
	RIG(r);
	uint8_t *b;

	prepare(&r, &b);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_SUCCESS);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 1, 0, 0, b, 104), NVME_INVALID_CNTLID);	/* neither suspended nor enabled */
	EXPECT_STATUS(hm_set(&r, r.mmc, 1, 3, 1, 0, 0, b, 104), NVME_INVALID_CNTLID);
	EXPECT_STATUS(hm_set(&r, r.mmc, 99, 3, 1, 0, 0, b, 104), NVME_INVALID_CNTLID);
	rig_enable(&r, r.mc);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 1, 0, 0, b, 104), NVME_SUCCESS);		/* enabled is enough */
}

/* One image may not eat the server: 1 MiB and then no more. */
TEST(hmlm_scs_bounded)
{
	RIG(r);
	uint8_t *b, *big = rig_alloc(&r, r.mmc, 128 * 1024);

	prepare(&r, &b);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 1, 1, 0, 0, big, 128 * 1024), NVME_SUCCESS);
	for (unsigned i = 1; i < 8; i++)
		EXPECT_STATUS(hm_set(&r, r.mmc, 2, 0, 1, 0, i * 128 * 1024, big, 128 * 1024), NVME_SUCCESS);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 0, 1, 0, 1 << 20, big, 4), NVME_NOT_ENOUGH_RESOURCES);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 1, 0, 0, b, 104), NVME_SUCCESS);
}

/* A refused commit leaves nothing behind and can be done again (15). */
TEST(hmlm_scs_14_15_refused_then_good)
{
	RIG(r);
	uint8_t *b;

	prepare(&r, &b);
	b[68] = 2;		/* CQID that is not there */
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 1, 0, 0, b, 104), NVME_INVALID_FIELD);
	EXPECT(!r.mc->sq[1].live && !r.mc->cq[1].live && !r.mc->inbound.open);
	b[68] = 1;
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 3, 1, 0, 0, b, 104), NVME_SUCCESS);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_SUCCESS);
}

/* Half an image must not survive who sent it, nor the controller's reset. */
TEST(hmlm_scs_reset_drops_partial)
{
	RIG(r);
	uint8_t *b;

	prepare(&r, &b);
	EXPECT_STATUS(hm_set(&r, r.mmc, 2, 1, 1, 0, 0, b, 48), NVME_SUCCESS);
	rig_reg_put(r.mmc, NVME_REG_CC, 4, 0);
	EXPECT(!r.mc->inbound.open && !r.mc->inbound.image.data);
	EXPECT_EQ(r.mc->suspend, NVME_RUNNING);
}

TEST(hmlm_x_01_subsystem_reset)
{
	RIG(r, .mcs = 2);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 3, false), NVME_SUCCESS);
	nvme_subsys_reset(r.ss);
	EXPECT(!r.mc->udmq);
	EXPECT_EQ(r.host[2].ctrl->suspend, NVME_RUNNING);
}

/* ---- what identifies the facility */

TEST(hmlm_id_01_06_identify)
{
	RIG(r);
	uint8_t *b = rig_alloc(&r, r.mmc, 4096), *g = rig_alloc(&r, r.mc, 4096);

	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x06, 1, 0, 0, 0, 0), b, 4096), NVME_SUCCESS);
	EXPECT_EQ(b[257] >> 3 & 1, 1);
	EXPECT_EQ(b[272] | b[273] | b[274] | b[275], 0);
	EXPECT_EQ(b[576], 3);
	EXPECT_EQ(b[575], 9);
	EXPECT_EQ(b[578], 64);
	EXPECT(b[584] + 256u * b[585] >= b[582] + 256u * b[583]);
	for (unsigned i = 588; i < 768; i++)
		EXPECT_EQ(b[i], 0);
	EXPECT_EQ(b[577], 0);
	EXPECT_STATUS(rig_admin_data(&r, r.mc, hm_cmd(0x06, 1, 0, 0, 0, 0), g, 4096), NVME_SUCCESS);
	EXPECT_EQ(g[257] >> 3 & 1, 0);
	for (unsigned i = 570; i < 588; i++)	/* 03, 04: nothing of it on a guest's controller */
		EXPECT_EQ(g[i], 0);
}

TEST(hmlm_id_07_09_10_state_formats)
{
	RIG(r);
	static const uint8_t uuid[16] = { 0x8c, 0x1f, 0x5e, 0x4a, 0x20, 0x6d, 0x4f, 0x0b, 0x9a, 0x57, 0xfe, 0x44, 0x79, 0x4e, 0x56, 0x31 };
	uint8_t *b = rig_alloc(&r, r.mmc, 4096), *g = rig_alloc(&r, r.mc, 4096);

	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x06, 0x20, 0, 0, 0, 0), b, 4096), NVME_SUCCESS);
	EXPECT_EQ(b[0], 1);
	EXPECT_EQ(b[1], 1);
	EXPECT_EQ(b[2] | b[3], 0);
	EXPECT_MEM(b + 4, uuid, 16);
	EXPECT_EQ(b[20], 0);
	EXPECT_STATUS(rig_admin_data(&r, r.mc, hm_cmd(0x06, 0x20, 0, 0, 0, 0), g, 4096), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x06, 0x21, 0, 0, 0, 0), b, 4096), NVME_INVALID_FIELD);
}

TEST(hmlm_id_secondary_list)
{
	RIG(r, .mcs = 3);
	uint8_t *b = rig_alloc(&r, r.mmc, 4096), *g = rig_alloc(&r, r.mc, 4096);

	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x06, 0x15 | 3 << 16, 0, 0, 0, 0), b, 4096), NVME_SUCCESS);
	EXPECT_EQ(b[0], 2);
	EXPECT_EQ(b[32], 3);
	EXPECT_EQ(b[34], 1);
	EXPECT_EQ(b[36], 1);
	EXPECT_EQ(b[64], 4);
	EXPECT_STATUS(rig_admin_data(&r, r.mc, hm_cmd(0x06, 0x15, 0, 0, 0, 0), g, 4096), NVME_INVALID_FIELD);
}
