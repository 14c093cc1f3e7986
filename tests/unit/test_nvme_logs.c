/* Get Log Page: which pages there are, offsets and lengths, what reading them does, and what goes into the error log. */
#include "cmds.h"

static uint8_t page[4096];
static uint32_t dw(unsigned off) { le32 v; memcpy(&v, page + off, 4); return le32_get(v); }
static uint64_t qw(unsigned off) { le64 v; memcpy(&v, page + off, 8); return le64_get(v); }
static uint16_t hw(unsigned off) { le16 v; memcpy(&v, page + off, 2); return le16_get(v); }

static const struct { uint8_t lid; uint16_t bytes; } there[] = {
	{ 0x00, 1024 }, { 0x01, 4096 }, { 0x02, 512 }, { 0x03, 512 }, { 0x04, 4096 }, { 0x05, 4096 }, { 0x12, 1024 }, { 0x13, 4096 }
};
static unsigned bytes_of(unsigned lid)
{
	for (unsigned i = 0; i < ARRAY_LEN(there); i++)
		if (there[i].lid == lid)
			return there[i].bytes;
	return 0;
}

/* Base, Get Log Page: an unknown page is Invalid Log Page; page 00h lists exactly those that are answered. */
TEST(every_lid)
{
	RIG(r);
	uint32_t listed[256];

	EXPECT_STATUS(cmd_log(&r, r.mc, 0, 1024, 0, page), NVME_SUCCESS);
	for (unsigned lid = 0; lid < 256; lid++)
		listed[lid] = dw(4 * lid);
	for (unsigned lid = 0; lid < 256; lid++) {
		EXPECT_STATUS(cmd_log(&r, r.mc, lid, 512, 0, NULL), bytes_of(lid) ? NVME_SUCCESS : NVME_LOG_INVALID);
		EXPECT_EQ(listed[lid], bytes_of(lid) ? 1 : 0);
	}
}

/* Offsets: dword aligned, not beyond the end; at the end there is nothing, which is no error. Both halves count. */
TEST(offsets)
{
	RIG(r);

	for (unsigned i = 0; i < ARRAY_LEN(there); i++) {
		unsigned lid = there[i].lid, end = there[i].bytes;

		EXPECT_STATUS(cmd_log(&r, r.mc, lid, 4, end - 4, NULL), NVME_SUCCESS);
		EXPECT_STATUS(cmd_log(&r, r.mc, lid, 64, end, page), NVME_SUCCESS);
		EXPECT_EQ(dw(0) | dw(60), 0);
		EXPECT_STATUS(cmd_log(&r, r.mc, lid, 4, end + 4, NULL), NVME_INVALID_FIELD);
		EXPECT_STATUS(cmd_log(&r, r.mc, lid, 4, 1ull << 32, NULL), NVME_INVALID_FIELD);
		EXPECT_STATUS(cmd_log(&r, r.mc, lid, 4, UINT64_MAX - 3, NULL), NVME_INVALID_FIELD);
		for (unsigned bad = 1; bad < 4; bad++)
			EXPECT_STATUS(cmd_log(&r, r.mc, lid, 4, bad, NULL), NVME_INVALID_FIELD);
	}
}

/* The same bytes in pieces as in one; behind the end come zeroes, never something of ours. */
TEST(pieces_equal_the_whole)
{
	RIG(r);
	uint8_t whole[4096];

	cmd_log(&r, r.mc, NVME_LID_EFFECTS, 4096, 0, whole);
	for (unsigned off = 0; off < 4096; off += 1020) {
		unsigned n = MIN(1020u, 4096 - off);

		cmd_log(&r, r.mc, NVME_LID_EFFECTS, 1020, off, page);
		EXPECT_MEM(page, whole + off, n);
		for (unsigned i = n; i < 1020; i++)
			EXPECT_EQ(page[i], 0);
		EXPECT_EQ(page[1020], 0xee);	/* NUMD is kept to */
	}
}

/* NUMDU counts: 128 KiB is the largest transfer (MDTS), a dword more is too much, and so is the largest number there is. */
TEST(lengths)
{
	RIG(r);
	uint8_t *big = rig_alloc(&r, r.mc, NVME_XFER_MAX);
	struct nvme_sqe s = cmd_log_sqe(NVME_LID_SMART, NVME_XFER_MAX, 0, false);

	memset(big, 0xee, NVME_XFER_MAX);
	EXPECT_STATUS(rig_admin_data(&r, r.mc, s, big, NVME_XFER_MAX), NVME_SUCCESS);
	EXPECT_EQ(big[3], 100);
	EXPECT_EQ(big[512], 0);
	EXPECT_EQ(big[NVME_XFER_MAX - 1], 0);
	s = cmd_log_sqe(NVME_LID_SMART, NVME_XFER_MAX + 4, 0, false);
	EXPECT_STATUS(rig_admin_data(&r, r.mc, s, big, NVME_XFER_MAX), NVME_INVALID_FIELD);
	nvme_get_log_numdl_put(&s, 0xffff);
	nvme_get_log_numdu_put(&s, 0xffff);
	EXPECT_STATUS(rig_admin_data(&r, r.mc, s, big, NVME_XFER_MAX), NVME_INVALID_FIELD);
}

TEST(selectors_that_do_not_exist)
{
	RIG(r);
	struct nvme_sqe s = cmd_log_sqe(NVME_LID_ERROR, 64, 0, false);

	nvme_get_log_ot_put(&s, 1);	/* no page has an index */
	EXPECT_STATUS(cmd_get(&r, r.mc, s, NULL), NVME_INVALID_FIELD);
	s = cmd_log_sqe(NVME_LID_EFFECTS, 64, 0, false);
	nvme_get_log_csi_put(&s, 2);	/* only the NVM command set */
	EXPECT_STATUS(cmd_get(&r, r.mc, s, NULL), NVME_INVALID_FIELD);
	s = cmd_log_sqe(NVME_LID_SMART, 64, 0, false);
	s.nsid = le32_of(1);		/* LPA bit 0 is 0 */
	EXPECT_STATUS(cmd_get(&r, r.mc, s, NULL), NVME_INVALID_FIELD);
	s.nsid = le32_of(0xffffffff);
	EXPECT_STATUS(cmd_get(&r, r.mc, s, NULL), NVME_SUCCESS);
}

/* ---- the pages */

static bool answers(struct rig *r, struct nvme_ctrl *c, unsigned qid, unsigned opc)
{
	struct nvme_sqe s = { .opc = (uint8_t)opc };
	struct nvme_cqe e;

	if (qid == 0 && opc == NVME_OP_AER)
		return true;
	rig_data(r, c, &s, cmd_page(r, c), 4096);
	e = rig_io(r, c, qid, s);
	return nvme_cqe_status(&e) != NVME_INVALID_OPCODE;
}

/* Commands Supported and Effects: exactly the opcodes that are answered; Linux freezes queues and rescans by the rest. */
TEST(effects_match_what_is_answered)
{
	RIG(r, .queues = 1);
	uint8_t log[4096];

	for (unsigned i = 0; i < r.hosts; i++) {
		cmd_log(&r, r.host[i].ctrl, NVME_LID_EFFECTS, 4096, 0, log);
		for (unsigned opc = 0; opc < 256; opc++) {
			EXPECT_EQ(log[4 * opc] & 1, answers(&r, r.host[i].ctrl, 0, opc));
			EXPECT_EQ(log[1024 + 4 * opc] & 1, answers(&r, r.host[i].ctrl, 1, opc));
		}
	}
	memcpy(page, log, 4096);
	EXPECT_EQ(dw(4 * NVME_OP_FORMAT), 1 << 0 | 1 << 1 | 1 << 16);
	EXPECT_EQ(dw(1024 + 4 * NVME_NVM_WRITE), 3);
	EXPECT_EQ(dw(1024 + 4 * NVME_NVM_READ), 1);
	EXPECT_EQ(dw(1024 + 4 * NVME_NVM_DSM), 3);
	EXPECT_EQ(dw(1024 + 4 * NVME_NVM_COPY), 3);
}

/* HMLM-ID-15: the scope of FID 21h is a controller data queue. The page lists exactly the features that are answered. */
TEST(feature_effects)
{
	RIG(r);

	for (unsigned i = 0; i < r.hosts; i++) {
		struct nvme_ctrl *c = r.host[i].ctrl;

		cmd_log(&r, c, NVME_LID_FID_EFFECTS, 1024, 0, page);
		for (unsigned fid = 0; fid < 256; fid++) {
			struct nvme_cqe e = cmd_getf(&r, c, fid, 3, 0, NULL);

			EXPECT_EQ(page[4 * fid] & 1, nvme_cqe_status(&e) == NVME_SUCCESS);
		}
		EXPECT_EQ(dw(4 * NVME_FID_CDQ), c->mmc ? 1u << 26 | 1 : 0);
		EXPECT_EQ(dw(4 * NVME_FID_VWC), 1u << 21 | 1);
	}
}

/* A subsystem without migration: its primary controller is an ordinary one, in every list. */
TEST(effects_without_migration)
{
	static const uint8_t ops[] = { 0x3d, 0x3e, 0x41, 0x42, 0x45 }, cns[] = { 0x14, 0x15, 0x17, 0x20 };
	RIG(r, .ss.no_hmlm = true);
	uint8_t log[4096];

	cmd_log(&r, r.mmc, NVME_LID_EFFECTS, 4096, 0, log);
	for (unsigned i = 0; i < sizeof(ops); i++) {
		EXPECT_EQ(log[4 * ops[i]], 0);
		EXPECT(!answers(&r, r.mmc, 0, ops[i]));
	}
	cmd_log(&r, r.mmc, NVME_LID_FID_EFFECTS, 1024, 0, page);
	EXPECT_EQ(dw(4 * NVME_FID_CDQ) | dw(4 * NVME_FID_RATE_LIMIT), 0);
	EXPECT_STATUS(cmd_getf(&r, r.mmc, NVME_FID_CDQ, 3, 0, NULL), NVME_INVALID_FIELD);
	for (unsigned i = 0; i < sizeof(cns); i++)
		EXPECT_STATUS(cmd_identify(&r, r.mmc, cns[i], 0, 0, 0, NULL), NVME_INVALID_FIELD);
}

TEST(firmware_slot)
{
	RIG(r);

	memcpy(r.mc->who.fr, "far 7.1 ", 8);
	cmd_log(&r, r.mc, NVME_LID_FIRMWARE, 512, 0, page);
	EXPECT_EQ(page[0], 1);
	EXPECT_MEM(page + 8, "far 7.1 ", 8);
	EXPECT_EQ(page[16], 0);
}

/* Data units are thousands of 512 bytes, rounded up; hours come from what the controller ran before it moved here, and since. */
TEST(smart_counts)
{
	RIG(r, .queues = 1);
	uint64_t hours;

	cmd_log(&r, r.mc, NVME_LID_SMART, 512, 0, page);
	hours = qw(128);
	EXPECT_EQ(qw(32) | qw(48) | qw(64) | qw(80), 0);
	for (unsigned i = 0; i < 126; i++)	/* 1008 blocks */
		cmd_write(&r, r.mc, 1, 0, 8, 1);
	cmd_holds(&r, r.mc, 1, 0, 8, 1);
	r.mc->smart.power_on_ns += 5 * 3600 * NS_PER_S;
	r.now += 3 * 3600 * NS_PER_S;
	cmd_log(&r, r.mc, NVME_LID_SMART, 512, 0, page);
	EXPECT_EQ(qw(32), 1);
	EXPECT_EQ(qw(48), 2);
	EXPECT_EQ(qw(64), 1);
	EXPECT_EQ(qw(80), 126);
	EXPECT_EQ(qw(128), hours + 8);
	EXPECT_EQ(page[1] | page[2] << 8, 313);
	EXPECT_EQ(page[5], 0);
}

/* Newest first, with who, what and where; a success leaves no trace. */
TEST(error_log)
{
	RIG(r, .queues = 1);
	uint16_t cid;

	cmd_write(&r, r.mc, 1, 0, 1, 1);
	cmd_log(&r, r.mc, NVME_LID_ERROR, 4096, 0, page);
	EXPECT_EQ(qw(0), 0);
	cmd_identify(&r, r.mc, 0xff, 0, 0, 0, NULL);
	cid = rig_host(&r, r.mc)->q[1].cid;
	cmd_write(&r, r.mc, 1, 8192, 1, 1);
	cmd_log(&r, r.mc, NVME_LID_ERROR, 4096, 0, page);
	EXPECT_EQ(qw(0), 2);
	EXPECT_EQ(hw(8), 1);
	EXPECT_EQ(hw(10), cid);
	EXPECT_EQ(hw(12) >> 1 & 0x7ff, NVME_LBA_OUT_OF_RANGE);
	EXPECT_EQ(qw(16), 8192);
	EXPECT_EQ(dw(24), 1);
	EXPECT_EQ(qw(64), 1);
	EXPECT_EQ(hw(64 + 8), 0);
	EXPECT_EQ(hw(64 + 12) >> 1 & 0x7ff, NVME_INVALID_FIELD);
	EXPECT_EQ(qw(128), 0);
	cmd_log(&r, r.mc, NVME_LID_SMART, 512, 0, page);
	EXPECT_EQ(qw(176), 2);
}

/* The ring keeps the newest 64, counts go on. */
TEST(error_log_wraps)
{
	RIG(r);

	for (unsigned i = 0; i < 70; i++)
		cmd_identify(&r, r.mc, 0xff, 0, 0, 0, NULL);
	cmd_log(&r, r.mc, NVME_LID_ERROR, 4096, 0, page);
	for (unsigned i = 0; i < 64; i++)
		EXPECT_EQ(qw(64 * i), 70 - i);
}

/* What is asked for is no error: a Compare that differs, a taken back AER. */
TEST(error_log_skips_what_was_asked_for)
{
	RIG(r, .queues = 1);
	struct nvme_sqe s = { .opc = NVME_OP_ABORT };
	uint8_t *p = memset(rig_alloc(&r, r.mc, 4096), 9, 512);
	uint16_t aer = rig_submit(&r, r.mc, 0, (struct nvme_sqe){ .opc = NVME_OP_AER });

	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_COMPARE, 1, 0, 1), p, 512), NVME_COMPARE_FAILURE);
	nvme_abort_cid_put(&s, aer);
	rig_admin(&r, r.mc, s);
	EXPECT_STATUS(rig_wait(&r, r.mc, 0, aer), NVME_ABORT_REQUESTED);
	cmd_log(&r, r.mc, NVME_LID_ERROR, 64, 0, page);
	EXPECT_EQ(qw(0), 0);
}

/* Base, Changed Attached Namespace List: ascending; RAE = 1 leaves it, RAE = 0 starts a new one. */
TEST(changed_namespaces)
{
	RIG(r, .namespaces = 3);

	cmd_log(&r, r.mc, NVME_LID_CHANGED_NS, 4096, 0, NULL);	/* attaching was a change */
	EXPECT_EQ(rig_resize(&r, 3, 8200), 0);
	EXPECT_EQ(rig_resize(&r, 1, 8200), 0);
	for (unsigned i = 0; i < 2; i++) {
		EXPECT_STATUS(cmd_get(&r, r.mc, cmd_log_sqe(NVME_LID_CHANGED_NS, 4096, 0, i == 0), page), NVME_SUCCESS);
		EXPECT_EQ(dw(0), 1);
		EXPECT_EQ(dw(4), 3);
		EXPECT_EQ(dw(8), 0);
	}
	cmd_log(&r, r.mc, NVME_LID_CHANGED_NS, 4096, 0, page);
	EXPECT_EQ(dw(0), 0);
}

/* An event is not sent again before its page was read with RAE = 0. */
TEST(reading_unmasks_the_event)
{
	RIG(r);
	struct nvme_cqe e;
	uint16_t aer;

	cmd_set(&r, r.mc, NVME_FID_AER, 1 << 8);
	aer = rig_submit(&r, r.mc, 0, (struct nvme_sqe){ .opc = NVME_OP_AER });
	rig_resize(&r, 1, 8200);
	e = rig_wait(&r, r.mc, 0, aer);
	EXPECT_EQ(cmd_dw0(e), NVME_LID_CHANGED_NS << 16 | NVME_AET_NOTICE);
	aer = rig_submit(&r, r.mc, 0, (struct nvme_sqe){ .opc = NVME_OP_AER });
	rig_resize(&r, 1, 8300);
	cmd_get(&r, r.mc, cmd_log_sqe(NVME_LID_CHANGED_NS, 4096, 0, true), page);
	rig_resize(&r, 1, 8350);
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 0, aer, &e));
	cmd_log(&r, r.mc, NVME_LID_CHANGED_NS, 4096, 0, page);
	rig_resize(&r, 1, 8400);
	e = rig_wait(&r, r.mc, 0, aer);
	EXPECT_EQ(cmd_dw0(e), NVME_LID_CHANGED_NS << 16 | NVME_AET_NOTICE);
}
