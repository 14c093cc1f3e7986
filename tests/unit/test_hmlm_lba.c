/* Get LBA Status, ATYPE 02h: which parts of a namespace are allocated (checklist LBA). */
#include "hmlm.h"

enum { BUF = 4096 };

static struct nvme_cqe status(struct rig *r, struct nvme_ctrl *c, uint64_t slba, unsigned rl, uint8_t *buf, uint32_t bytes)
{
	struct nvme_sqe s = hm_cmd(0x86, (uint32_t)slba, (uint32_t)(slba >> 32), bytes / 4 - 1, 0x02000000 | rl, 0);

	s.nsid = le32_of(1);
	memset(buf, 0xff, BUF);
	return rig_admin_data(r, c, s, buf, bytes);
}
static uint32_t count(const uint8_t *b) { uint32_t n; memcpy(&n, b, 4); return n; }
static uint64_t dslba(const uint8_t *b, unsigned i) { uint64_t v; memcpy(&v, b + 8 + 16 * i, 8); return v; }
static uint32_t nlb0(const uint8_t *b, unsigned i) { uint32_t v; memcpy(&v, b + 16 + 16 * i, 4); return v; }

#define LBA_RIG(r) RIG(r, .queues = 1, .blocks = 65536); uint8_t *b = rig_alloc(&r, r.mmc, BUF), *data = rig_alloc(&r, r.mc, 4096); \
	uint64_t unit = nvme_ns_find(r.ss, 1)->blk->alloc_blocks; (void)unit; (void)data; (void)b

TEST(hmlm_lba_08_never_written)
{
	LBA_RIG(r);
	EXPECT_STATUS(status(&r, r.mmc, 0, 0, b, BUF), NVME_SUCCESS);
	EXPECT_EQ(count(b), 0);
	EXPECT_EQ(b[4], 2);
}

/* One block written allocates its unit, and the unit is what is reported: 02h says "one or more blocks". */
TEST(hmlm_lba_02_03_05_units)
{
	LBA_RIG(r);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 5 * unit + 1, 1, data), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 9 * unit, 1, data), NVME_SUCCESS);
	EXPECT_STATUS(status(&r, r.mmc, 0, 0, b, BUF), NVME_SUCCESS);
	EXPECT_EQ(count(b), 2);
	EXPECT_EQ(b[4], 2);
	EXPECT_EQ(dslba(b, 0), 5 * unit);
	EXPECT_EQ(nlb0(b, 0), unit - 1);
	EXPECT_EQ(b[8 + 13], 2);
	EXPECT_EQ(dslba(b, 1), 9 * unit);
	for (unsigned i = 5; i < 8; i++)
		EXPECT_EQ(b[i], 0);
}

/* Neighbours are one descriptor. */
TEST(hmlm_lba_04_merged)
{
	LBA_RIG(r);
	for (unsigned i = 3; i < 7; i++)
		EXPECT_STATUS(hm_write(&r, r.mc, 1, i * unit, 1, data), NVME_SUCCESS);
	EXPECT_STATUS(status(&r, r.mmc, 0, 0, b, BUF), NVME_SUCCESS);
	EXPECT_EQ(count(b), 1);
	EXPECT_EQ(dslba(b, 0), 3 * unit);
	EXPECT_EQ(nlb0(b, 0), 4 * unit - 1);
}

/* Nothing outside the range that was asked for, also where a unit crosses its ends. */
TEST(hmlm_lba_04_clipped)
{
	LBA_RIG(r);
	EXPECT(unit >= 4);
	for (unsigned i = 3; i < 7; i++)
		EXPECT_STATUS(hm_write(&r, r.mc, 1, i * unit, 1, data), NVME_SUCCESS);
	EXPECT_STATUS(status(&r, r.mmc, 3 * unit + 1, (unsigned)unit, b, BUF), NVME_SUCCESS);
	EXPECT_EQ(count(b), 1);
	EXPECT_EQ(dslba(b, 0), 3 * unit + 1);
	EXPECT_EQ(nlb0(b, 0), unit - 1);
	EXPECT_EQ(b[4], 2);
}

/* More than fits: what is there, CMPC 1; going on behind the last descriptor finds the rest. */
TEST(hmlm_lba_06_07_incomplete)
{
	LBA_RIG(r);
	for (unsigned i = 0; i < 5; i++)
		EXPECT_STATUS(hm_write(&r, r.mc, 1, 2 * i * unit, 1, data), NVME_SUCCESS);
	EXPECT_STATUS(status(&r, r.mmc, 0, 0, b, 8 + 2 * 16), NVME_SUCCESS);
	EXPECT_EQ(count(b), 2);
	EXPECT_EQ(b[4], 1);
	EXPECT_EQ(b[40], 0xff);		/* nothing behind MNDW dwords */
	EXPECT_STATUS(status(&r, r.mmc, dslba(b, 1) + nlb0(b, 1) + 1, 0, b, 8 + 3 * 16), NVME_SUCCESS);
	EXPECT_EQ(count(b), 3);
	EXPECT_EQ(b[4], 2);		/* exactly full is still complete */
	EXPECT_EQ(dslba(b, 0), 4 * unit);
}

TEST(hmlm_lba_07_tiny_buffers)
{
	LBA_RIG(r);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, data), NVME_SUCCESS);
	EXPECT_STATUS(status(&r, r.mmc, 0, 0, b, 4), NVME_SUCCESS);
	EXPECT_EQ(count(b), 0);
	EXPECT_EQ(b[4], 0xff);
	EXPECT_STATUS(status(&r, r.mmc, 0, 0, b, 8), NVME_SUCCESS);
	EXPECT_EQ(count(b), 0);
	EXPECT_EQ(b[4], 1);
}

TEST(hmlm_lba_09_deallocated_again)
{
	LBA_RIG(r);
	struct nvme_dsm_range *d = rig_alloc(&r, r.mc, 16);
	struct nvme_sqe s = { .opc = NVME_NVM_DSM, .nsid = le32_of(1), .cdw11 = le32_of(4) };

	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, data), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 4 * unit, 1, data), NVME_SUCCESS);
	d[0] = (struct nvme_dsm_range){ .nlb = le32_of((uint32_t)unit), .slba = le64_of(0) };
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, s, d, 16), NVME_SUCCESS);
	EXPECT_STATUS(status(&r, r.mmc, 0, 0, b, BUF), NVME_SUCCESS);
	EXPECT_EQ(count(b), 1);
	EXPECT_EQ(dslba(b, 0), 4 * unit);
}

/* Types for damaged blocks are not offered (01); ranges outside are refused, an RL beyond the end is cut. */
TEST(hmlm_lba_01_refusals)
{
	LBA_RIG(r);
	struct nvme_sqe s = hm_cmd(0x86, 0, 0, 1023, 0x10000000, 0);

	s.nsid = le32_of(1);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, s, b, BUF), NVME_INVALID_FIELD);
	s.cdw13 = le32_of(0x11000000);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, s, b, BUF), NVME_INVALID_FIELD);
	s.cdw13 = le32_of(0);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, s, b, BUF), NVME_INVALID_FIELD);
	EXPECT_STATUS(status(&r, r.mmc, 65536, 0, b, BUF), NVME_LBA_OUT_OF_RANGE);
	EXPECT_STATUS(status(&r, r.mmc, UINT64_MAX, 1, b, BUF), NVME_LBA_OUT_OF_RANGE);
	EXPECT_STATUS(status(&r, r.mmc, 65535, 0xffff, b, BUF), NVME_SUCCESS);
	s = hm_cmd(0x86, 0, 0, 0xffffffff, 0x02000000, 0);
	s.nsid = le32_of(1);
	EXPECT_STATUS(rig_admin(&r, r.mmc, s), NVME_INVALID_FIELD);
	s.nsid = le32_of(9);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, s, b, BUF), NVME_INVALID_FIELD);
}

/* A guest's own controller has it too: it is an ordinary command. */
TEST(hmlm_lba_on_an_mc)
{
	LBA_RIG(r);
	uint8_t *g = rig_alloc(&r, r.mc, BUF);

	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, data), NVME_SUCCESS);
	EXPECT_STATUS(status(&r, r.mc, 0, 0, g, BUF), NVME_SUCCESS);
	EXPECT_EQ(count(g), 1);
}

TEST(hmlm_id_11_12_13_fields)
{
	LBA_RIG(r);
	uint8_t *g = rig_alloc(&r, r.mc, BUF);
	uint32_t tlbaag;
	struct nvme_sqe s = hm_cmd(0x06, 5, 0, 0, 0, 0);

	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x06, 6, 0, 0, 0, 0), b, BUF), NVME_SUCCESS);
	EXPECT_EQ(b[18] & 1, 1);
	EXPECT_EQ(b[24], 0);
	EXPECT_EQ(b[25], 1);
	EXPECT_STATUS(rig_admin_data(&r, r.mc, hm_cmd(0x06, 6, 0, 0, 0, 0), g, BUF), NVME_SUCCESS);
	EXPECT_EQ(g[18] & 1, 1);
	EXPECT_EQ(g[25], 0);		/* a guest does not learn that it can be throttled */
	s.nsid = le32_of(1);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, s, b, BUF), NVME_SUCCESS);
	memcpy(&tlbaag, b + 292, 4);
	EXPECT_EQ(tlbaag, unit);
}
