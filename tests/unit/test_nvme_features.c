/* Set Features and Get Features: which there are, their defaults, bounds, side effects, and what a reset leaves. */
#include "cmds.h"

static uint8_t page[4096];
#define MAXQ (NVME_IOQ_MAX - 1u)

/* Base, Get Features: an unknown identifier is an invalid field. 21h and 28h are the MMC's: a guest could lift its own throttle. */
TEST(every_fid_on_both_kinds)
{
	static const uint8_t mc[] = { 0x01, 0x02, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0e, 0x16, 0x80, 0x81 };
	static const uint8_t mmc[] = { 0x21, 0x28 };
	RIG(r);

	for (unsigned fid = 0; fid < 256; fid++) {
		bool for_mc = memchr(mc, (int)fid, sizeof(mc)), for_mmc = for_mc || memchr(mmc, (int)fid, sizeof(mmc));
		struct nvme_cqe e = cmd_getf(&r, r.mc, fid, 3, 0, NULL);

		EXPECT_STATUS(e, for_mc ? NVME_SUCCESS : NVME_INVALID_FIELD);
		if (for_mc)	/* changeable, not saveable; Error Recovery belongs to namespaces */
			EXPECT_EQ(cmd_dw0(e), fid == 0x05 ? 6 : 4);
		EXPECT_STATUS(cmd_getf(&r, r.mmc, fid, 3, 0, NULL), for_mmc ? NVME_SUCCESS : NVME_INVALID_FIELD);
		if (!for_mc)
			EXPECT_STATUS(cmd_set_data(&r, r.mc, fid, 0, page, 4096), NVME_INVALID_FIELD);
	}
}

/* Set, then Get current; what is not in the feature's fields does not stick. Default and saved stay. */
TEST(set_get_and_defaults)
{
	static const struct { uint8_t fid; uint32_t set, want, dflt; } t[] = {
		{ NVME_FID_ARBITRATION, 0x04030201, 0x04030201, 0 },
		{ NVME_FID_POWER, 0xe0, 0xe0, 0 },
		{ NVME_FID_TEMP, 350, 350, 343 },
		{ NVME_FID_ERROR_RECOVERY, 0x1234, 0x1234, 0 },
		{ NVME_FID_VWC, 0xfffffffe, 0, 1 },
		{ NVME_FID_NUM_QUEUES, 3 << 16 | 5, 3 << 16 | 5, MAXQ << 16 | MAXQ },
		{ NVME_FID_IRQ_COALESCE, 0xffff0a07, 0x0a07, 0 },
		{ NVME_FID_WRITE_ATOMIC, 0xffffffff, 1, 0 },
		{ NVME_FID_AER, 0xffffffff, 0x11f, 0 },		/* only what OAES offers */
		{ NVME_FID_SW_PROGRESS, 0xffffff42, 0x42, 0 },
	};
	RIG(r);

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, t[i].fid, 0, 0, NULL)), t[i].dflt);
		EXPECT_STATUS(cmd_set(&r, r.mc, t[i].fid, t[i].set), NVME_SUCCESS);
		EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, t[i].fid, 0, 0, NULL)), t[i].want);
		EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, t[i].fid, 1, 0, NULL)), t[i].dflt);
		EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, t[i].fid, 2, 0, NULL)), t[i].dflt);
	}
	for (unsigned sel = 4; sel < 8; sel++)
		EXPECT_STATUS(cmd_getf(&r, r.mc, NVME_FID_VWC, sel, 0, NULL), NVME_INVALID_FIELD);
}

TEST(set_refuses)
{
	static const struct { uint8_t fid; uint32_t cdw11; unsigned status; } t[] = {
		{ NVME_FID_POWER, 1, NVME_INVALID_FIELD },			/* NPSS = 0 */
		{ NVME_FID_POWER, 31, NVME_INVALID_FIELD },
		{ NVME_FID_TEMP, 1 << 16 | 300, NVME_INVALID_FIELD },		/* no sensor 1 */
		{ NVME_FID_TEMP, 8 << 16 | 300, NVME_INVALID_FIELD },
		{ NVME_FID_TEMP, 2 << 20 | 300, NVME_INVALID_FIELD },
		{ NVME_FID_ERROR_RECOVERY, 1 << 16, NVME_INVALID_FIELD },	/* DULBE without NSFEAT.DAE */
		{ NVME_FID_NUM_QUEUES, 0xffff, NVME_INVALID_FIELD },
		{ NVME_FID_NUM_QUEUES, 0xffff0000, NVME_INVALID_FIELD },
		{ NVME_FID_IRQ_VECTOR, NVME_MSIX_VECTORS, NVME_INVALID_FIELD },
		{ NVME_FID_IRQ_VECTOR, 0xffff, NVME_INVALID_FIELD },
	};
	RIG(r);

	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		EXPECT_STATUS(cmd_set(&r, r.mc, t[i].fid, t[i].cdw11), t[i].status);
	EXPECT_MEM(&r.mc->feat, &r.mc->feat_saved_default, offsetof(struct nvme_features, timestamp_ms));
}

/* Nothing is saveable (Base, Set Features): SV = 1 is an error of its own, and changes nothing. */
TEST(nothing_is_saveable)
{
	RIG(r);
	struct nvme_sqe s = cmd_set_sqe(NVME_FID_VWC, 0);

	nvme_set_features_sv_put(&s, 1);
	EXPECT_STATUS(rig_admin(&r, r.mc, s), NVME_FEATURE_NOT_SAVEABLE);
	EXPECT_EQ(r.mc->feat.vwc, 1);
	s = cmd_set_sqe(0x7f, 0);
	nvme_set_features_sv_put(&s, 1);
	EXPECT_STATUS(rig_admin(&r, r.mc, s), NVME_INVALID_FIELD);
}

/* Base, Set Features: a namespace with a feature of the controller. */
TEST(nsid_only_where_it_belongs)
{
	static const struct { uint8_t fid; uint32_t nsid; unsigned status; } t[] = {
		{ NVME_FID_VWC, 0, NVME_SUCCESS }, { NVME_FID_VWC, 0xffffffff, NVME_SUCCESS },
		{ NVME_FID_VWC, 1, NVME_FEATURE_NOT_NS }, { NVME_FID_VWC, 2, NVME_INVALID_FIELD },
		{ NVME_FID_VWC, NVME_NSID_MAX + 1, NVME_INVALID_NAMESPACE },
		{ NVME_FID_ERROR_RECOVERY, 1, NVME_SUCCESS }, { NVME_FID_ERROR_RECOVERY, 0xffffffff, NVME_SUCCESS },
		{ NVME_FID_ERROR_RECOVERY, 2, NVME_INVALID_FIELD },
	};
	RIG(r);

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct nvme_sqe s = cmd_set_sqe(t[i].fid, 1);

		s.nsid = le32_of(t[i].nsid);
		EXPECT_STATUS(rig_admin(&r, r.mc, s), t[i].status);
	}
}

/* Base, Number of Queues: more than there are gives what there are; not once queues exist. */
TEST(number_of_queues)
{
	RIG(r);
	struct nvme_cqe e = cmd_set(&r, r.mc, NVME_FID_NUM_QUEUES, 0xfffeu << 16 | 0xfffe);

	EXPECT_STATUS(e, NVME_SUCCESS);
	EXPECT_EQ(cmd_dw0(e), MAXQ << 16 | MAXQ);
	EXPECT_EQ(cmd_dw0(cmd_set(&r, r.mc, NVME_FID_NUM_QUEUES, 1 << 16)), 1 << 16);
	rig_make_queue(&r, r.mc, 1, 8);
	EXPECT_STATUS(cmd_set(&r, r.mc, NVME_FID_NUM_QUEUES, 3 << 16 | 3), NVME_COMMAND_SEQUENCE);
	EXPECT_EQ(r.mc->feat.num_queues, 1 << 16);
}

TEST(irq_vectors_are_separate)
{
	RIG(r);

	EXPECT_STATUS(cmd_set(&r, r.mc, NVME_FID_IRQ_VECTOR, 1 << 16 | 3), NVME_SUCCESS);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_IRQ_VECTOR, 0, 3, NULL)), 1 << 16 | 3);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_IRQ_VECTOR, 0, 2, NULL)), 2);
	EXPECT_STATUS(cmd_getf(&r, r.mc, NVME_FID_IRQ_VECTOR, 0, NVME_MSIX_VECTORS, NULL), NVME_INVALID_FIELD);
	EXPECT_STATUS(cmd_set(&r, r.mc, NVME_FID_IRQ_VECTOR, 3), NVME_SUCCESS);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_IRQ_VECTOR, 0, 3, NULL)), 3);
}

/* Over and under thresholds are two values; crossing one warns in the log and, if asked for, by an event. */
TEST(temperature_threshold)
{
	RIG(r);
	uint16_t aer;
	struct nvme_cqe e;

	EXPECT_STATUS(cmd_set(&r, r.mc, NVME_FID_AER, 1 << 1), NVME_SUCCESS);
	aer = rig_submit(&r, r.mc, 0, (struct nvme_sqe){ .opc = NVME_OP_AER });
	EXPECT_STATUS(cmd_set(&r, r.mc, NVME_FID_TEMP, 1 << 20 | 280), NVME_SUCCESS);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_TEMP, 0, 1 << 20, NULL)), 280);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_TEMP, 0, 0, NULL)), 343);
	EXPECT_STATUS(cmd_getf(&r, r.mc, NVME_FID_TEMP, 0, 1 << 16, NULL), NVME_INVALID_FIELD);
	EXPECT(!rig_try(&r, r.mc, 0, aer, &e));
	cmd_log(&r, r.mc, NVME_LID_SMART, 512, 0, page);
	EXPECT_EQ(page[0], 0);
	EXPECT_STATUS(cmd_set(&r, r.mc, NVME_FID_TEMP, 0xf << 16 | 300), NVME_SUCCESS);	/* 40 degrees are over that */
	e = rig_wait(&r, r.mc, 0, aer);
	EXPECT_EQ(cmd_dw0(e), NVME_LID_SMART << 16 | 1 << 8 | NVME_AET_SMART);
	cmd_log(&r, r.mc, NVME_LID_SMART, 512, 0, page);
	EXPECT_EQ(page[0], 1 << 1);
}

/* Base, Timestamp: counts on from what was set, with the origin; 48 bits. A reset starts at 0. */
TEST(timestamp)
{
	RIG(r);
	le64 set = le64_of(0xffff123456789abcull), got;

	cmd_getf(&r, r.mc, NVME_FID_TIMESTAMP, 0, 0, page);
	EXPECT_EQ(page[6] >> 1 & 7, 0);
	EXPECT_STATUS(cmd_set_data(&r, r.mc, NVME_FID_TIMESTAMP, 0, &set, 8), NVME_SUCCESS);
	r.now += 1500 * NS_PER_MS;
	EXPECT_STATUS(cmd_getf(&r, r.mc, NVME_FID_TIMESTAMP, 0, 0, page), NVME_SUCCESS);
	memcpy(&got, page, 8);
	EXPECT_EQ(le64_get(got), (0x123456789abcull + 1500) | 1ull << 49);
	EXPECT_EQ(page[8], 0xee);	/* eight bytes, no more */
	cmd_getf(&r, r.mc, NVME_FID_TIMESTAMP, 1, 0, page);
	memcpy(&got, page, 8);
	EXPECT_EQ(le64_get(got), 0);
}

TEST(host_identifier)
{
	static const uint8_t id[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 }, none[8];
	RIG(r);

	EXPECT_STATUS(cmd_set_data(&r, r.mc, NVME_FID_HOST_ID, 1, id, 16), NVME_SUCCESS);
	EXPECT_STATUS(cmd_getf(&r, r.mc, NVME_FID_HOST_ID, 0, 1, page), NVME_SUCCESS);
	EXPECT_MEM(page, id, 16);
	EXPECT_EQ(page[16], 0xee);
	EXPECT_STATUS(cmd_set_data(&r, r.mc, NVME_FID_HOST_ID, 0, id, 8), NVME_SUCCESS);
	EXPECT_STATUS(cmd_getf(&r, r.mc, NVME_FID_HOST_ID, 0, 1, page), NVME_SUCCESS);
	EXPECT_MEM(page, id, 8);
	EXPECT_MEM(page + 8, none, 8);	/* the upper half of the old one is gone */
}

TEST(host_behavior)
{
	static const struct { uint8_t at, v; unsigned status; } t[] = {
		{ 0, 1, NVME_SUCCESS }, { 0, 2, NVME_INVALID_FIELD }, { 1, 1, NVME_SUCCESS }, { 1, 0xff, NVME_INVALID_FIELD },
		{ 2, 1, NVME_INVALID_FIELD },	/* LBAFEE needs CTRATT.ELBAS */
		{ 4, 4, NVME_INVALID_FIELD },	/* Copy descriptor format 2h */
		{ 100, 7, NVME_SUCCESS },	/* reserved: not looked at, not kept */
	};
	uint8_t data[512], zero[512] = { 0 };
	RIG(r);

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		memset(data, 0, sizeof(data));
		data[t[i].at] = t[i].v;
		EXPECT_STATUS(cmd_set_data(&r, r.mc, NVME_FID_HOST_BEHAVIOR, 0, data, 512), t[i].status);
	}
	EXPECT_STATUS(cmd_getf(&r, r.mc, NVME_FID_HOST_BEHAVIOR, 0, 0, page), NVME_SUCCESS);
	EXPECT_MEM(page, zero, 512);
}

/* Switching the write cache off makes durable what it holds, in every namespace. */
TEST(vwc_off_flushes)
{
	RIG(r, .queues = 1, .namespaces = 1, .wrap = spy_open);

	EXPECT_STATUS(cmd_set(&r, r.mc, NVME_FID_VWC, 1), NVME_SUCCESS);
	EXPECT_EQ(spy_last->count[BLK_FLUSH], 0);
	EXPECT_STATUS(cmd_set(&r, r.mc, NVME_FID_VWC, 0), NVME_SUCCESS);
	EXPECT_EQ(spy_last->count[BLK_FLUSH], 1);
	EXPECT_EQ(nvme_ns_find(r.ss, 1)->inflight, 0);
	cmd_write(&r, r.mc, 1, 0, 1, 1);
	EXPECT(spy_last->fua);
	cmd_set(&r, r.mc, NVME_FID_VWC, 1);
	cmd_write(&r, r.mc, 1, 0, 1, 1);
	EXPECT(!spy_last->fua);
}

/* A Controller Level Reset brings the defaults back; Software Progress Marker alone persists. */
TEST(reset_restores_defaults)
{
	RIG(r);

	cmd_set(&r, r.mc, NVME_FID_ARBITRATION, 7);
	cmd_set(&r, r.mc, NVME_FID_AER, 0x11f);
	cmd_set(&r, r.mc, NVME_FID_NUM_QUEUES, 0);
	cmd_set(&r, r.mc, NVME_FID_IRQ_VECTOR, 1 << 16 | 1);
	cmd_set(&r, r.mc, NVME_FID_VWC, 0);
	cmd_set(&r, r.mc, NVME_FID_SW_PROGRESS, 9);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	rig_enable(&r, r.mc);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_ARBITRATION, 0, 0, NULL)), 0);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_AER, 0, 0, NULL)), 0);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_NUM_QUEUES, 0, 0, NULL)), MAXQ << 16 | MAXQ);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_IRQ_VECTOR, 0, 1, NULL)), 1);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_VWC, 0, 0, NULL)), 1);
	EXPECT_EQ(cmd_dw0(cmd_getf(&r, r.mc, NVME_FID_SW_PROGRESS, 0, 0, NULL)), 9);
}
