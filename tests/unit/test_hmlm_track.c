/* Track Send and Track Receive: user data logging on and off, memory tracking (checklist TS, TR). */
#include "hmlm.h"

/* ---- Log User Data Changes */

/* Section 12: start 00010000h, stop 00000000h, CDQID in CDW11. */
TEST(hmlm_ts_01_golden_start_stop)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	struct nvme_sqe s = { .opc = 0x3d, .cdw10 = le32_of(0x00010000), .cdw11 = le32_of(0x00000001) };

	EXPECT_EQ(q.id, 1);
	EXPECT_STATUS(rig_admin(&r, r.mmc, s), NVME_SUCCESS);
	EXPECT(r.mc->udmq->logging);
	s.cdw10 = le32_of(0);
	EXPECT_STATUS(rig_admin(&r, r.mmc, s), NVME_SUCCESS);
	EXPECT(!r.mc->udmq->logging);
}

TEST(hmlm_ts_02_start_twice)
{
	RIG(r);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_INVALID_CDQ);
	hm_must(&q);
	EXPECT(hm_empty(&q));	/* and no second marker */
}

TEST(hmlm_ts_03_05_07_12_refusals)
{
	RIG(r);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128), none = { .mmc = r.mmc, .id = 9 };

	EXPECT_STATUS(hm_log(&r, &none, 1), NVME_INVALID_CDQ);
	EXPECT_STATUS(hm_log(&r, &none, 0), NVME_INVALID_CDQ);
	EXPECT_STATUS(hm_log(&r, &q, 2), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_log(&r, &q, 15), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_log(&r, &q, 0), NVME_SUCCESS);		/* not logging: nothing to stop, nothing posted */
	EXPECT(hm_empty(&q));
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x3d, 2, q.id, 0, 0, 0)), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x3d, 0xff, q.id, 0, 0, 0)), NVME_INVALID_FIELD);
}

TEST(hmlm_ts_04_suspended)
{
	RIG(r);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);

	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_CTRL_SUSPENDED);
	EXPECT_STATUS(hm_log(&r, &q, 0), NVME_CTRL_SUSPENDED);
}

/* While full nothing can be started; with room it goes on behind what is there, phase and all (TS-06, TS-10). */
TEST(hmlm_ts_06_10_restart_after_full)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 4);
	uint8_t *data = rig_alloc(&r, r.mc, 512);

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	for (unsigned i = 0; i < 4; i++)
		EXPECT_STATUS(hm_write(&r, r.mc, 1, i, 1, data), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_CDQ_FULL);
	for (unsigned i = 0; i < 3; i++)
		hm_must(&q);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, q.at, false, 0), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x83);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 7, 1, data), NVME_SUCCESS);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x00);	/* second pass */
}

TEST(hmlm_ts_09_restart_after_stop)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 0), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x83);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x85);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x83);
}

/* ---- Track Memory Changes */


/* The structure by hand: VER, two reserved, RMRTG, RNMRTD, then 8 bytes of address and 4 of length each. */
static struct nvme_cqe track(struct rig *r, unsigned cntlid, unsigned ver, unsigned rmrtg, uint32_t n, const uint64_t *saddr,
			     const uint32_t *len)
{
	uint32_t there = MIN(n, 7);
	uint8_t *b = rig_alloc(r, r->mmc, 4096);
	struct nvme_sqe s = hm_cmd(0x3d, 0x00010001, cntlid, 0, 0, 0);

	b[0] = (uint8_t)ver;
	b[3] = (uint8_t)rmrtg;
	memcpy(b + 4, &n, 4);
	for (uint32_t i = 0; i < there; i++) {
		memcpy(b + 8 + 12 * i, &saddr[i], 8);
		memcpy(b + 16 + 12 * i, &len[i], 4);
	}
	return rig_admin_data(r, r->mmc, s, b, 8 + 12 * there);
}
static struct nvme_cqe track_all(struct rig *r)
{
	uint64_t at = rig_host(r, r->mc)->iova;
	uint32_t len = RIG_MEM / 4096;

	return track(r, 2, 0, 0, 1, &at, &len);
}
static struct nvme_cqe track_off(struct rig *r, unsigned cntlid)
{
	return rig_admin(r, r->mmc, hm_cmd(0x3d, 0x00000001, cntlid, 0, 0, 0));
}
static struct nvme_cqe receive(struct rig *r, unsigned cntlid, uint8_t *buf, uint32_t bytes)
{
	return rig_admin_data(r, r->mmc, hm_cmd(0x3e, 0, cntlid, bytes / 4 - 1, 0, 0), buf, bytes);
}
static bool reported(const uint8_t *buf, uint64_t page)
{
	uint32_t n;

	memcpy(&n, buf + 4, 4);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t at;
		uint32_t len;

		memcpy(&at, buf + 16 + 16 * i, 8);
		memcpy(&len, buf + 24 + 16 * i, 4);
		if (page - at < (uint64_t)len * 4096)
			return true;
	}
	return false;
}

TEST(hmlm_ts_20_21_controllers)
{
	RIG(r, .mcs = 2);
	uint64_t at = rig_host(&r, r.mc)->iova;
	uint32_t len = 1;

	EXPECT_STATUS(track(&r, 1, 0, 0, 1, &at, &len), NVME_INVALID_CNTLID);	/* itself */
	EXPECT_STATUS(track(&r, 99, 0, 0, 1, &at, &len), NVME_INVALID_CNTLID);
	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &at, &len), NVME_SUCCESS);
	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &at, &len), NVME_INVALID_CNTLID);
	EXPECT_STATUS(track_off(&r, 2), NVME_SUCCESS);
	EXPECT_STATUS(track_off(&r, 2), NVME_SUCCESS);				/* off already */
	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &at, &len), NVME_SUCCESS);
}

/* The text does not limit it to a start: tracking ends by Resume and a stop, or by a reset. */
TEST(hmlm_ts_22_suspended)
{
	RIG(r);
	EXPECT_STATUS(track_all(&r), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(track_off(&r, 2), NVME_CTRL_SUSPENDED);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_SUCCESS);
	EXPECT_STATUS(track_off(&r, 2), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(track_all(&r), NVME_CTRL_SUSPENDED);
}

TEST(hmlm_ts_23_24_25_28_structure)
{
	RIG(r);
	uint64_t at = rig_host(&r, r.mc)->iova, odd = at + 4096, out = at + RIG_MEM, wrap = UINT64_MAX - 4095;
	uint32_t one = 1, big = RIG_MEM / 4096 + 1, huge = UINT32_MAX, none = 0;

	EXPECT_STATUS(track(&r, 2, 1, 0, 1, &at, &one), NVME_INVALID_FIELD);		/* VER */
	EXPECT_STATUS(track(&r, 2, 0, 10, 1, &at, &one), NVME_INVALID_FIELD);		/* above MAXMRTG (9) */
	EXPECT_STATUS(track(&r, 2, 0, 255, 1, &at, &one), NVME_INVALID_FIELD);
	EXPECT_STATUS(track(&r, 2, 0, 1, 1, &odd, &one), NVME_INVALID_FIELD);		/* 4 KiB aligned, 8 wanted */
	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &out, &one), NVME_INVALID_FIELD);
	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &wrap, &huge), NVME_INVALID_FIELD);
	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &at, &big), NVME_INVALID_FIELD);
	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &at, &none), NVME_INVALID_FIELD);
	EXPECT_STATUS(track(&r, 2, 0, 0, 0, &at, &one), NVME_INVALID_FIELD);		/* RNMRTD 0 */
	EXPECT(!r.mc->tracked_by);
	EXPECT_STATUS(track(&r, 2, 0, 9, 1, &at, &one), NVME_SUCCESS);			/* 2 MiB: 8 of them are there */
}

/* Descriptors of all controllers together; and the length of the data follows from the count (TS-31). */
TEST(hmlm_ts_26_31_descriptor_count)
{
	RIG(r, .mcs = 2, .ss.max_track_ranges = 6);
	uint64_t at[7], at2[3];
	uint32_t len[7];

	for (unsigned i = 0; i < 7; i++) {
		at[i] = rig_host(&r, r.mc)->iova + i * 8192;
		len[i] = 1;
	}
	for (unsigned i = 0; i < 3; i++)
		at2[i] = r.host[2].iova + i * 8192;
	EXPECT_STATUS(track(&r, 2, 0, 0, 7, at, len), NVME_INVALID_FIELD);
	EXPECT_STATUS(track(&r, 2, 0, 0, 0x15555556, at, len), NVME_INVALID_FIELD);	/* times 12 is 8 in 32 bits */
	EXPECT_STATUS(track(&r, 2, 0, 0, 4, at, len), NVME_SUCCESS);
	EXPECT_STATUS(track(&r, 3, 0, 0, 3, at2, len), NVME_INVALID_FIELD);
	EXPECT_STATUS(track(&r, 3, 0, 0, 2, at2, len), NVME_SUCCESS);
}

/* Not Enough Resources says what would do: with 2^28 granules at most, 2 TiB at 4 KiB must become 8 KiB. */
TEST(hmlm_ts_29_not_enough_resources)
{
	RIG(r);
	uint64_t at[2] = { 1ull << 50, (1ull << 50) + (1ull << 40) };
	uint32_t len[2] = { 1u << 28, 1u << 28 };
	struct nvme_cqe c;

	/* reserved address space, never touched: only its size matters here */
	EXPECT_EQ(gmem_add(&r.mc->dev.gmem, at[0], 2ull << 40, r.host[1].mem, true, true), 0);
	c = track(&r, 2, 0, 0, 2, at, len);
	EXPECT_STATUS(c, NVME_NOT_ENOUGH_RESOURCES);
	EXPECT_EQ(le32_get(c.dw0), 1);
	EXPECT_EQ(le32_get(c.dw1), 1);
	EXPECT(!r.mc->tracked_by);
}

/* Data of a read, its completion, the answer of an admin command: all of it is written by the controller. */
TEST(hmlm_tr_01_02_what_is_marked)
{
	RIG(r, .queues = 1);
	uint8_t *data = rig_alloc(&r, r.mc, 8192), *id = rig_alloc(&r, r.mc, 4096), *buf = rig_alloc(&r, r.mmc, 4096);
	struct rig_host *h = rig_host(&r, r.mc);

	EXPECT_STATUS(track_all(&r), NVME_SUCCESS);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 0, 8), data + 2048, 4096), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin_data(&r, r.mc, hm_cmd(0x06, 1, 0, 0, 0, 0), id, 4096), NVME_SUCCESS);
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT(reported(buf, rig_iova(&r, r.mc, data)));
	EXPECT(reported(buf, rig_iova(&r, r.mc, data) + 4096));
	EXPECT(reported(buf, rig_iova(&r, r.mc, id)));
	EXPECT(reported(buf, rig_iova(&r, r.mc, h->q[1].cq)));
	EXPECT(reported(buf, rig_iova(&r, r.mc, h->q[0].cq)));
	EXPECT(!reported(buf, rig_iova(&r, r.mc, h->q[1].sq)));		/* 12: read, not written */
	EXPECT_EQ(buf[1], 0);
	EXPECT_EQ(buf[2], 2);						/* CNTLID comes back */
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT_EQ(buf[4], 0);						/* 02, 04: nothing twice */
	EXPECT_EQ(buf[1], 0);
}

/* A write takes data from the guest: only the completion is written. */
TEST(hmlm_tr_12_writes_mark_no_data)
{
	RIG(r, .queues = 1);
	uint8_t *data = rig_alloc(&r, r.mc, 4096), *buf = rig_alloc(&r, r.mmc, 4096);

	EXPECT_STATUS(track_all(&r), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 8, data), NVME_SUCCESS);
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT(!reported(buf, rig_iova(&r, r.mc, data)));
}

/* Section 12: Track Receive of 4096 bytes is NUMDL 3FFh. Room for one: the rest comes next time, MTR says so. And what was just told is
 * not told again before the others, though it is written all the time. */
TEST(hmlm_tr_03_08_more_and_fair)
{
	RIG(r, .queues = 1);
	uint8_t *pages = rig_alloc(&r, r.mc, 16 * 4096), *buf = rig_alloc(&r, r.mmc, 4096);
	uint64_t at = rig_iova(&r, r.mc, pages), got;
	uint32_t len = 16;

	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &at, &len), NVME_SUCCESS);
	for (unsigned i = 0; i < 16; i += 4)
		gmem_mark(&r.mc->dev.gmem, at + i * 4096, 1);
	for (unsigned i = 0; i < 16; i += 4) {
		EXPECT_STATUS(receive(&r, 2, buf, 32), NVME_SUCCESS);
		EXPECT_EQ(buf[4], 1);
		memcpy(&got, buf + 16, 8);
		EXPECT_EQ(got, at + i * 4096);
		EXPECT_EQ(buf[24], 1);
		EXPECT_EQ(buf[1] & 1, 1);
		gmem_mark(&r.mc->dev.gmem, at, 1);
	}
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT_EQ(buf[4], 1);
	EXPECT_EQ(buf[1] & 1, 0);
}

TEST(hmlm_tr_07_granularity)
{
	RIG(r);
	uint64_t at = rig_host(&r, r.mc)->iova, got;
	uint32_t len = 4;
	uint8_t *buf = rig_alloc(&r, r.mmc, 4096);

	EXPECT_STATUS(track(&r, 2, 0, 2, 1, &at, &len), NVME_SUCCESS);	/* 16 KiB */
	gmem_mark(&r.mc->dev.gmem, at + 0x5000, 1);
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT_EQ(buf[8], 2);						/* RPMPG */
	memcpy(&got, buf + 16, 8);
	EXPECT_EQ(got, at + 0x4000);
	EXPECT_EQ(buf[24], 1);
}

/* Suspended: what the last commands wrote is still told, then nothing more comes. */
TEST(hmlm_tr_05_06_suspended)
{
	RIG(r, .queues = 1);
	uint8_t *data = rig_alloc(&r, r.mc, 4096), *buf = rig_alloc(&r, r.mmc, 4096);

	EXPECT_STATUS(track_all(&r), NVME_SUCCESS);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 0, 8), data, 4096), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT(reported(buf, rig_iova(&r, r.mc, data)));
	EXPECT_EQ(buf[1], 2);
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT_EQ(buf[1], 2);
	EXPECT_EQ(buf[4], 0);
	/* RES-05: it goes on after Resume */
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_SUCCESS);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 0, 8), data, 4096), NVME_SUCCESS);
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT(reported(buf, rig_iova(&r, r.mc, data)));
	EXPECT_EQ(buf[1], 0);
}

/* What could not be told is still to be told: a page lost here is a corrupt guest there. */
TEST(hmlm_tr_09_failed_receive_keeps_marks)
{
	RIG(r);
	uint8_t *buf = rig_alloc(&r, r.mmc, 4096);
	uint64_t at = rig_host(&r, r.mc)->iova;
	struct nvme_sqe s = hm_cmd(0x3e, 0, 2, 1023, 0, 0);
	uint32_t len = 16;

	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &at, &len), NVME_SUCCESS);
	gmem_mark(&r.mc->dev.gmem, at + 4096, 1);
	s.prp1 = le64_of(0x1000);		/* nothing is mapped there */
	EXPECT(nvme_cqe_status(&(struct nvme_cqe){ .status = rig_admin(&r, r.mmc, s).status }) != 0);
	s = hm_cmd(0x3e, 1, 2, 1023, 0, 0);	/* reserved SEL */
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, s, buf, 4096), NVME_INVALID_FIELD);
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT(reported(buf, at + 4096));
}

/* The same where the memory goes away after the report was made: the row's undelivered puts the marks back. */
TEST(hmlm_tr_09_undelivered)
{
	RIG(r);
	uint64_t at = rig_host(&r, r.mc)->iova;
	uint32_t len = 16;
	uint8_t *buf = rig_alloc(&r, r.mmc, 4096), local[4096];
	struct nvme_req req = { .ctrl = r.mmc, .buf = local, .len = sizeof(local), .sqe = hm_cmd(0x3e, 0, 2, 1023, 0, 0) };

	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &at, &len), NVME_SUCCESS);
	gmem_mark(&r.mc->dev.gmem, at + 4096, 8192);
	EXPECT_EQ(nvme_track_receive(&req), NVME_SUCCESS);
	nvme_track_undelivered(&req);
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT(reported(buf, at + 4096) && reported(buf, at + 8192));
	EXPECT(!reported(buf, at) && !reported(buf, at + 12288));
	for (const struct nvme_cmd_row *row = nvme_admin_rows; row->run; row++)
		EXPECT(row->opc != 0x3e || row->undelivered == nvme_track_undelivered);
}

/* A buffer without room for a descriptor loses nothing; beyond the transfer limit is refused. */
TEST(hmlm_tr_08_sizes)
{
	RIG(r);
	uint64_t at = rig_host(&r, r.mc)->iova;
	uint32_t len = 16;
	uint8_t *buf = rig_alloc(&r, r.mmc, 4096);

	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &at, &len), NVME_SUCCESS);
	gmem_mark(&r.mc->dev.gmem, at, 1);
	EXPECT_STATUS(receive(&r, 2, buf, 4), NVME_SUCCESS);
	EXPECT_STATUS(receive(&r, 2, buf, 16), NVME_SUCCESS);
	EXPECT_EQ(buf[4], 0);
	EXPECT_EQ(buf[1], 0);
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x3e, 0, 2, 0xffffffff, 0, 0)), NVME_INVALID_FIELD);
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT(reported(buf, at));
}

TEST(hmlm_tr_10_not_tracked)
{
	RIG(r);
	uint8_t *buf = rig_alloc(&r, r.mmc, 4096);

	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_INVALID_CNTLID);
	EXPECT_STATUS(receive(&r, 1, buf, 4096), NVME_INVALID_CNTLID);
	EXPECT_STATUS(receive(&r, 77, buf, 4096), NVME_INVALID_CNTLID);
}

TEST(hmlm_tr_11_mmc_reset_stops)
{
	RIG(r);
	EXPECT_STATUS(track_all(&r), NVME_SUCCESS);
	rig_reg_put(r.mmc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	EXPECT(!r.mc->tracked_by);
	EXPECT_EQ(r.mc->dev.gmem.track_count, 0);
}

/* Memory reached by message only is tracked like any other. */
TEST(hmlm_tr_01_undirect_memory)
{
	RIG(r, .queues = 1, .by_message = true);
	uint64_t at = rig_host(&r, r.mc)->iova;
	uint32_t len = RIG_MEM / 4096;
	uint8_t *data = rig_alloc(&r, r.mc, 4096), *buf = rig_alloc(&r, r.mmc, 4096);

	EXPECT_STATUS(track(&r, 2, 0, 0, 1, &at, &len), NVME_SUCCESS);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 0, 8), data, 4096), NVME_SUCCESS);
	EXPECT_STATUS(receive(&r, 2, buf, 4096), NVME_SUCCESS);
	EXPECT(reported(buf, rig_iova(&r, r.mc, data)));
	EXPECT(reported(buf, rig_iova(&r, r.mc, rig_host(&r, r.mc)->q[1].cq)));
}
