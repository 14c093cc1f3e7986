/* Controller Data Queues: create, delete, ring, entries, FID 21h and events (checklist CDQ, RING, FEAT, EVT). */
#include "hmlm.h"

#include "device/nvme/hmlm.h"

/* ---- create and delete */

/* Section 12: 128 slots of 32 bytes are 400h dwords, contiguous, for controller 2. A size counted from 0 or in bytes would
 * make a ring of another length than the host polls. */
TEST(hmlm_cdq_01_06_golden_create_delete)
{
	RIG(r);
	uint64_t at = rig_iova(&r, r.mmc, rig_alloc(&r, r.mmc, 4096));
	struct nvme_sqe s = { .opc = 0x45, .cdw10 = le32_of(0x00000000), .cdw11 = le32_of(0x00020001), .cdw12 = le32_of(0x400) };
	struct nvme_cqe c;

	EXPECT_EQ(r.mc->cntlid, 2);
	s.prp1 = le64_of(at);
	c = rig_admin(&r, r.mmc, s);
	EXPECT_STATUS(c, NVME_SUCCESS);
	EXPECT_EQ(le32_get(c.dw0), 1);
	EXPECT_EQ(r.mc->udmq->slots, 128);
	s = (struct nvme_sqe){ .opc = 0x45, .cdw10 = le32_of(1), .cdw11 = le32_of(0x00000001) };
	EXPECT_STATUS(rig_admin(&r, r.mmc, s), NVME_SUCCESS);
	EXPECT(!r.mc->udmq);
}

/* Two queues of one MMC have different ids; a deleted id may come again. */
TEST(hmlm_cdq_02_ids_differ)
{
	RIG(r, .mcs = 2);
	struct hm_ring a = hm_ring_of(&r, r.mmc, r.host[1].ctrl, 128), b = hm_ring_of(&r, r.mmc, r.host[2].ctrl, 128), c;

	EXPECT(a.id != b.id);
	EXPECT_STATUS(hm_delete(&r, r.mmc, a.id), NVME_SUCCESS);
	c = hm_ring_of(&r, r.mmc, r.host[1].ctrl, 128);
	EXPECT(c.id != b.id);
}

static struct nvme_cqe create(struct rig *r, unsigned cntlid, uint32_t dwords)
{
	return hm_create(r, r->mmc, rig_iova(r, r->mmc, rig_alloc(r, r->mmc, 4096)), cntlid, dwords, true);
}

/* A part of a slot at the end would be a slot that only one side believes in. */
TEST(hmlm_cdq_04_05_sizes)
{
	RIG(r);
	EXPECT_STATUS(create(&r, 2, 0), NVME_INVALID_FIELD);
	EXPECT_STATUS(create(&r, 2, 9), NVME_INVALID_FIELD);
	EXPECT_STATUS(create(&r, 2, 7), NVME_INVALID_FIELD);
	EXPECT_STATUS(create(&r, 2, 8), NVME_INVALID_FIELD); /* one slot can hold nothing */
	EXPECT_STATUS(create(&r, 2, 16), NVME_SUCCESS);
}

TEST(hmlm_cdq_07_page_offset)
{
	RIG(r);
	uint64_t at = rig_iova(&r, r.mmc, rig_alloc(&r, r.mmc, 8192));

	EXPECT_STATUS(hm_create(&r, r.mmc, at + 32, 2, 0x400, true), NVME_PRP_OFFSET);
	EXPECT_STATUS(hm_create(&r, r.mmc, at + 8, 2, 0x400, false), NVME_PRP_OFFSET);
}

/* An entry of the list, not only its address. And nothing of a refused queue may stay. */
TEST(hmlm_cdq_07_page_offset_in_list)
{
	RIG(r);
	le64 *list = rig_alloc(&r, r.mmc, 4096);
	uint64_t pages = rig_iova(&r, r.mmc, rig_alloc(&r, r.mmc, 8192));

	list[0] = le64_of(pages);
	list[1] = le64_of(pages + 4096 + 64);
	EXPECT_STATUS(hm_create(&r, r.mmc, rig_iova(&r, r.mmc, list), 2, 0x800, false), NVME_PRP_OFFSET);
	EXPECT(!r.mc->udmq);
	list[1] = le64_of(pages + 4096);
	EXPECT_STATUS(hm_create(&r, r.mmc, rig_iova(&r, r.mmc, list), 2, 0x800, false), NVME_SUCCESS);
}

/* Memory that is not there: the queue would be lost with its first entry. */
TEST(hmlm_cdq_08_not_host_memory)
{
	RIG(r);
	EXPECT_STATUS(hm_create(&r, r.mmc, 0x1000, 2, 0x400, true), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_create(&r, r.mmc, 0x1000, 2, 0x400, false), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_create(&r, r.mmc, UINT64_MAX - 4095, 2, 0x400, true), NVME_INVALID_FIELD);
}

TEST(hmlm_cdq_09_second_udmq_of_one_mc)
{
	RIG(r);
	hm_ring_of(&r, r.mmc, r.mc, 128);
	EXPECT_STATUS(create(&r, 2, 0x400), NVME_INVALID_FIELD);
}

TEST(hmlm_cdq_10_11_count_limit)
{
	RIG(r, .mcs = 3, .ss.max_udmq = 2);
	hm_ring_of(&r, r.mmc, r.host[1].ctrl, 128);
	hm_ring_of(&r, r.mmc, r.host[2].ctrl, 128);
	EXPECT_STATUS(create(&r, 4, 0x400), NVME_NOT_ENOUGH_RESOURCES);
}

/* MCMR and MCDQPC: 4 here, so a list of 5 pages is one too many. */
TEST(hmlm_cdq_12_14_list_limit)
{
	RIG(r, .ss.max_cdq_prps = 4);
	le64 *list = rig_alloc(&r, r.mmc, 4096);
	uint64_t pages = rig_iova(&r, r.mmc, rig_alloc(&r, r.mmc, 5 * 4096));

	for (unsigned i = 0; i < 5; i++)
		list[i] = le64_of(pages + i * 4096);
	EXPECT_STATUS(hm_create(&r, r.mmc, rig_iova(&r, r.mmc, list), 2, 5 * 0x400, false), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_create(&r, r.mmc, rig_iova(&r, r.mmc, list), 2, 4 * 0x400, false), NVME_SUCCESS);
}

/* NMCMR is 4 times MCMR: 4 ranges in the subsystem here. */
TEST(hmlm_cdq_13_ranges_of_the_subsystem)
{
	RIG(r, .mcs = 3);
	le64 *list = rig_alloc(&r, r.mmc, 4096);
	uint8_t *pages = rig_alloc(&r, r.mmc, 64 * 4096);

	for (unsigned i = 0; i < 64; i++)
		list[i] = le64_of(rig_iova(&r, r.mmc, pages + i * 4096));
	EXPECT_EQ(nvme_hmlm_limits(r.ss).cdq_ranges, 256);
	r.ss->cfg.max_cdq_prps = 64;
	for (unsigned id = 2; id <= 4; id++)
		EXPECT_STATUS(hm_create(&r, r.mmc, rig_iova(&r, r.mmc, list), id, 64 * 0x400, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_delete(&r, r.mmc, r.host[3].ctrl->udmq->id), NVME_SUCCESS);
	r.ss->cfg.max_cdq_prps = 33;	/* NMCMR 132: 128 are taken, 4 are left */
	EXPECT_STATUS(hm_create(&r, r.mmc, rig_iova(&r, r.mmc, list), 4, 5 * 0x400, false), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_create(&r, r.mmc, rig_iova(&r, r.mmc, list), 4, 4 * 0x400, false), NVME_SUCCESS);
}

TEST(hmlm_cdq_15_reserved_selectors)
{
	RIG(r);
	for (unsigned sel = 2; sel <= 0xff; sel += 0x7b)
		EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x45, sel, 0x00020001, 0x400, 0, 0)), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x45, 1 << 16, 0x00020001, 0x400, 0, 0)), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_admin(&r, r.mmc, hm_cmd(0x45, 0xbf << 16, 0x00020001, 0x400, 0, 0)), NVME_INVALID_FIELD);
}

TEST(hmlm_cdq_16_17_controllers)
{
	RIG(r);
	EXPECT_STATUS(create(&r, 77, 0x400), NVME_INVALID_CNTLID);
	EXPECT_STATUS(create(&r, 0xffff, 0x400), NVME_INVALID_CNTLID);
	EXPECT_STATUS(create(&r, r.mmc->cntlid, 0x400), NVME_INVALID_CNTLID);
}

/* Slots go on from page to page of a list, in the list's order, whatever the addresses are. */
TEST(hmlm_cdq_18_prp_list)
{
	RIG(r, .queues = 1);
	le64 *list = rig_alloc(&r, r.mmc, 4096);
	uint8_t *mem = rig_alloc(&r, r.mmc, 8192), *data = rig_alloc(&r, r.mc, 512);
	struct hm_ring q = { .mmc = r.mmc, .slots = 256, .phase = true };
	struct nvme_cqe c;

	list[0] = le64_of(rig_iova(&r, r.mmc, mem + 4096));	/* second page first */
	list[1] = le64_of(rig_iova(&r, r.mmc, mem));
	c = hm_create(&r, r.mmc, rig_iova(&r, r.mmc, list), 2, 0x800, false);
	EXPECT_STATUS(c, NVME_SUCCESS);
	q.id = (uint16_t)le32_get(c.dw0);
	memset(list, 0xff, 4096);				/* the device has its copy */
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	for (unsigned i = 0; i < 130; i++)
		EXPECT_STATUS(hm_write(&r, r.mc, 1, i, 1, data), NVME_SUCCESS);
	EXPECT_EQ(mem[4096 + 31], 0x83);			/* slot 0: start marker */
	for (unsigned i = 1; i < 131; i++) {
		const uint8_t *slot = i < 128 ? mem + 4096 + i * 32 : mem + (i - 128) * 32;

		EXPECT_EQ(slot[31], 0x01);
		EXPECT_EQ(slot[8], i - 1);
	}
}

/* More entries than one list page holds: its last entry is the next list page. */
TEST(hmlm_cdq_18_chained_list)
{
	RIG(r, .queues = 1, .ss.max_cdq_prps = 600);
	le64 *list = rig_alloc(&r, r.mmc, 8192);
	uint8_t *mem = rig_alloc(&r, r.mmc, 513 * 4096);
	struct nvme_cqe c;

	for (unsigned i = 0; i < 511; i++)
		list[i] = le64_of(rig_iova(&r, r.mmc, mem + i * 4096));
	list[511] = le64_of(rig_iova(&r, r.mmc, list + 512));
	list[512] = le64_of(rig_iova(&r, r.mmc, mem + 511 * 4096));
	list[513] = le64_of(rig_iova(&r, r.mmc, mem + 512 * 4096));
	c = hm_create(&r, r.mmc, rig_iova(&r, r.mmc, list), 2, 513 * 0x400, false);
	EXPECT_STATUS(c, NVME_SUCCESS);
	EXPECT_EQ(r.mc->udmq->pages[511], rig_iova(&r, r.mmc, mem + 511 * 4096));
	EXPECT_EQ(r.mc->udmq->pages[512], rig_iova(&r, r.mmc, mem + 512 * 4096));
	EXPECT_STATUS(hm_delete(&r, r.mmc, le32_get(c.dw0)), NVME_SUCCESS);
	/* exactly one list page full of pages: the last entry is a page then, not a chain */
	list[511] = le64_of(rig_iova(&r, r.mmc, mem + 511 * 4096));
	EXPECT_STATUS(hm_create(&r, r.mmc, rig_iova(&r, r.mmc, list), 2, 512 * 0x400, false), NVME_SUCCESS);
	EXPECT_EQ(r.mc->udmq->pages[511], rig_iova(&r, r.mmc, mem + 511 * 4096));
}

TEST(hmlm_cdq_19_delete_unknown)
{
	RIG(r);
	EXPECT_STATUS(hm_delete(&r, r.mmc, 1), NVME_INVALID_CDQ);
	EXPECT_STATUS(hm_delete(&r, r.mmc, 0), NVME_INVALID_CDQ);
}

/* The host frees the memory when the delete is complete. */
TEST(hmlm_cdq_20_no_write_after_delete)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	uint8_t *data = rig_alloc(&r, r.mc, 512);

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_delete(&r, r.mmc, q.id), NVME_SUCCESS);
	memset(q.mem, 0, 4096);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, data), NVME_SUCCESS);
	for (unsigned i = 0; i < 4096; i++)
		EXPECT_EQ(q.mem[i], 0);
}

TEST(hmlm_cdq_21_mmc_reset_deletes)
{
	RIG(r);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);

	rig_reg_put(r.mmc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	EXPECT(!r.mc->udmq);
	rig_enable(&r, r.mmc);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, false, 0), NVME_INVALID_CDQ);
}

/* The queue belongs to the MMC: a guest that resets its controller must not be able to end the log of what it wrote. */
TEST(hmlm_cdq_22_mc_reset_keeps)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	uint8_t *data = rig_alloc(&r, r.mc, 512);

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	hm_must(&q);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	rig_enable(&r, r.mc);
	rig_make_queue(&r, r.mc, 1, 32);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 9, 1, data), NVME_SUCCESS);
	EXPECT_EQ(le64_get(hm_must(&q).slba), 9);
}

TEST(hmlm_cdq_23_new_queue_starts_over)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 4);

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_delete(&r, r.mmc, q.id), NVME_SUCCESS);
	q = hm_ring_of(&r, r.mmc, r.mc, 4);
	EXPECT(hm_empty(&q));	/* 24: create alone posts nothing */
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_EQ(q.mem[31], 0x83);
}

/* The wall: a guest's controller has none of this (ID-17, ID-18). */
TEST(hmlm_id_17_18_mc_has_no_such_commands)
{
	RIG(r);
	static const uint8_t ops[] = { 0x3d, 0x3e, 0x41, 0x42, 0x45 };

	for (unsigned i = 0; i < ARRAY_LEN(ops); i++)
		EXPECT_STATUS(rig_admin(&r, r.mc, hm_cmd(ops[i], 0, 0x00020001, 0x400, 0, 0)), NVME_INVALID_OPCODE);
	EXPECT_STATUS(hm_head(&r, r.mc, 1, 0, false, 0), NVME_INVALID_FIELD);
}

/* A subsystem without the facility: the MMC is an ordinary controller. */
TEST(hmlm_id_17_no_hmlm)
{
	RIG(r, .ss.no_hmlm = true);
	static const uint8_t ops[] = { 0x3d, 0x3e, 0x41, 0x42, 0x45 };

	for (unsigned i = 0; i < ARRAY_LEN(ops); i++)
		EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(ops[i], 0, 0x00020001, 0x400, 0, 0),
					     rig_alloc(&r, r.mmc, 8192), 8192), NVME_INVALID_OPCODE);
}

/* NSID means nothing to these commands. */
TEST(hmlm_x_02_nsid_ignored)
{
	RIG(r);
	struct nvme_sqe s = hm_cmd(0x45, 0, 0x00020001, 0x400, 0, 0);

	s.nsid = le32_of(0x1234);
	s.prp1 = le64_of(rig_iova(&r, r.mmc, rig_alloc(&r, r.mmc, 4096)));
	EXPECT_STATUS(rig_admin(&r, r.mmc, s), NVME_SUCCESS);
}

/* ---- the ring */

/* First pass 1, second 0, and so on; markers and data alike. */
TEST(hmlm_ring_01_phase_flips_on_wrap)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 4);
	uint8_t *data = rig_alloc(&r, r.mc, 512);

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x83);
	for (unsigned i = 0; i < 20; i++) {
		struct nvme_lbamq e;

		EXPECT_STATUS(hm_head(&r, r.mmc, q.id, q.at, false, 0), NVME_SUCCESS);
		EXPECT_STATUS(hm_write(&r, r.mc, 1, i, 1, data), NVME_SUCCESS);
		e = hm_must(&q);
		EXPECT_EQ(e.lbamqa, (i + 1) / 4 % 2 ? 0x00 : 0x01);
		EXPECT_EQ(le64_get(e.slba), i);
		EXPECT(hm_empty(&q));
	}
}

/* slots - 1 entries fit, the last of them says that the log ends, and nothing follows. */
TEST(hmlm_ring_10_full_entry_is_last)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 4);
	uint8_t *data = rig_alloc(&r, r.mc, 512);
	struct nvme_lbamq e;

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	for (unsigned i = 0; i < 5; i++)
		EXPECT_STATUS(hm_write(&r, r.mc, 1, i, 1, data), NVME_SUCCESS); /* the guest is never held up */
	EXPECT_EQ(hm_must(&q).lbamqa, 0x83);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x01);
	e = hm_must(&q);
	EXPECT_EQ(e.lbamqa, 0x0f);
	EXPECT_EQ(le64_get(e.slba), 1);
	EXPECT_EQ(q.mem[3 * 32 + 31], 0); /* slot 3 is the one that stays free */
	EXPECT(hm_empty(&q));
	EXPECT(!r.mc->udmq->logging);
}

/* A marker that takes the last slot: the same, without a range. */
TEST(hmlm_ring_10_fill_marker)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 2);

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_EQ(hm_must(&q).lbamqa, 0x8f);
	EXPECT(!r.mc->udmq->logging);
}

TEST(hmlm_ring_06_07_11_start_and_stop_markers)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	static const uint8_t none[31];

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 0), NVME_SUCCESS);
	EXPECT_MEM(q.mem, none, 31);
	EXPECT_EQ(q.mem[31], 0x83);
	EXPECT_MEM(q.mem + 32, none, 31);
	EXPECT_EQ(q.mem[63], 0x85);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, rig_alloc(&r, r.mc, 512)), NVME_SUCCESS);
	EXPECT_EQ(q.mem[95], 0);	/* nothing after the stop */
}

/* The whole entry, byte by byte: NSID 1, 3 blocks (zero-based 2) at 12345678h. */
TEST(hmlm_ring_14_15_23_golden_entry)
{
	RIG(r, .queues = 1, .blocks = 0x20000);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	static const uint8_t want[32] = { 1, 0, 0, 0, 2, 0, 0, 0, 0x56, 0x34, 0x01, 0, 0, 0, 0, 0, [31] = 0x01 };

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0x13456, 3, rig_alloc(&r, r.mc, 1536)), NVME_SUCCESS);
	EXPECT_MEM(q.mem + 32, want, 32);
}

/* NSID in an entry is the subsystem's: its reader is the MMC's host, whatever number the guest uses. */
TEST(hmlm_ring_15_nsid_is_the_subsystems)
{
	RIG(r, .queues = 1, .no_namespace = true);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	struct nvme_ns *ns = nvme_ns_add(r.ss, 1, blk_ram_open(512, 64, &r.err), NULL, &r.err);

	EXPECT_EQ(nvme_ctrl_attach(r.mc, 7, ns), 0);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, r.mc, 7, 5, 1, rig_alloc(&r, r.mc, 512)), NVME_SUCCESS);
	hm_must(&q);
	EXPECT_EQ(le32_get(hm_must(&q).nsid), 1);
}

/* 2^32 blocks fit one entry; one more makes two. */
TEST(hmlm_ring_14_split_at_32_bits)
{
	RIG(r);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	struct nvme_lbamq e;

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	hm_must(&q);
	nvme_log_change(r.mc, nvme_ns_find(r.ss, 1), 10, (1ull << 32) + 5, true);
	e = hm_must(&q);
	EXPECT_EQ(le64_get(e.slba), 10);
	EXPECT_EQ(le32_get(e.nlb0), 0xffffffff);
	EXPECT_EQ(e.lbamqa, 0x21);
	e = hm_must(&q);
	EXPECT_EQ(le64_get(e.slba), 10 + (1ull << 32));
	EXPECT_EQ(le32_get(e.nlb0), 4);
	EXPECT(hm_empty(&q));
}

/* The log says which blocks to read again: they must read as new the moment the entry is there. */
TEST(hmlm_ring_16_readable_when_logged)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	uint8_t *w = rig_alloc(&r, r.mc, 512), *rd = rig_alloc(&r, r.mmc, 512);
	struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 3, 1);
	struct nvme_lbamq e;

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	hm_must(&q);
	memset(w, 0x5a, 512);
	rig_data(&r, r.mc, &s, w, 512);
	rig_submit(&r, r.mc, 1, s);
	for (unsigned i = 0; i < RIG_POLLS && !hm_next(&q, &e); i++)
		rig_poll(&r);
	EXPECT_STATUS(rig_io_data(&r, r.mmc, 1, rig_rw(NVME_NVM_READ, 1, 3, 1), rd, 512), NVME_SUCCESS);
	EXPECT_MEM(rd, w, 512);
}

/* Deallocation by DSM: one range, DLBA set. */
TEST(hmlm_ring_17_dsm)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	struct nvme_dsm_range *d = rig_alloc(&r, r.mc, 32);
	struct nvme_sqe s = { .opc = NVME_NVM_DSM, .nsid = le32_of(1), .cdw10 = le32_of(1), .cdw11 = le32_of(4) };
	struct nvme_lbamq e;

	d[0] = (struct nvme_dsm_range){ .nlb = le32_of(8), .slba = le64_of(16) };
	d[1] = (struct nvme_dsm_range){ .nlb = le32_of(16), .slba = le64_of(64) };
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, s, d, 32), NVME_SUCCESS);
	hm_must(&q);
	e = hm_must(&q);
	EXPECT_EQ(e.lbamqa & 0xdf, 0x01);
	EXPECT_EQ(le64_get(e.slba), 16);
	EXPECT_EQ(le32_get(e.nlb0), 7);
	e = hm_must(&q);
	EXPECT_EQ(le64_get(e.slba), 64);
	EXPECT_EQ(le32_get(e.nlb0), 15);
}

TEST(hmlm_ring_18_write_zeroes)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	struct nvme_sqe s = rig_rw(NVME_NVM_WRITE_ZEROES, 1, 32, 8);
	struct nvme_lbamq e;

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	hm_must(&q);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_SUCCESS);
	e = hm_must(&q);
	EXPECT_EQ(le64_get(e.slba), 32);
	EXPECT_EQ(le32_get(e.nlb0), 7);
	nvme_rw_deac_put(&s, 1);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_SUCCESS);
	EXPECT_EQ(le64_get(hm_must(&q).slba), 32);
}

TEST(hmlm_ring_19_copy_destination)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	struct nvme_copy_range *cr = rig_alloc(&r, r.mc, 32);
	struct nvme_sqe s = { .opc = NVME_NVM_COPY, .nsid = le32_of(1) };
	uint64_t covered = 0;
	struct nvme_lbamq e;

	nvme_slba_put(&s, 100);
	cr[0] = (struct nvme_copy_range){ .slba = le64_of(10), .nlb0 = le16_of(3) };
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	hm_must(&q);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, s, cr, 32), NVME_SUCCESS);
	while (hm_next(&q, &e)) {
		EXPECT(le64_get(e.slba) >= 100 && le64_get(e.slba) < 104);
		covered += le32_get(e.nlb0) + 1ull;
	}
	EXPECT_EQ(covered, 4);
}

/* Only what the MC itself wrote: the MMC's own copying must not feed its own log. */
TEST(hmlm_ring_20_22_others_and_reads)
{
	RIG(r, .mcs = 2, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	struct nvme_ctrl *other = r.host[2].ctrl;

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	hm_must(&q);
	EXPECT_STATUS(hm_write(&r, r.mmc, 1, 0, 1, rig_alloc(&r, r.mmc, 512)), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, other, 1, 0, 1, rig_alloc(&r, other, 512)), NVME_SUCCESS);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 0, 1), rig_alloc(&r, r.mc, 512), 512), NVME_SUCCESS);
	EXPECT(hm_empty(&q));
}

/* two logs, one writer each. */
TEST(hmlm_x_04_05_two_logs)
{
	RIG(r, .mcs = 2, .queues = 1);
	struct nvme_ctrl *other = r.host[2].ctrl;
	struct hm_ring a = hm_ring_of(&r, r.mmc, r.mc, 128), b = hm_ring_of(&r, r.mmc, other, 128);

	EXPECT_STATUS(hm_log(&r, &a, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &b, 1), NVME_SUCCESS);
	hm_must(&a);
	hm_must(&b);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 1, 1, rig_alloc(&r, r.mc, 512)), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, other, 1, 2, 1, rig_alloc(&r, other, 512)), NVME_SUCCESS);
	EXPECT_EQ(le64_get(hm_must(&a).slba), 1);
	EXPECT_EQ(le64_get(hm_must(&b).slba), 2);
	EXPECT(hm_empty(&a) && hm_empty(&b));
}

/* The host unmaps the ring while it is logged into: the log is lost, said by the event, and nobody falls over. */
TEST(hmlm_ring_memory_gone)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	struct rig_host *h = rig_host(&r, r.mmc);
	uint8_t *data = rig_alloc(&r, r.mc, 512);

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	rig_settle(&r);
	EXPECT_EQ(gmem_del(&h->dev->gmem, h->iova, RIG_MEM, NULL), 0);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, data), NVME_SUCCESS);
	EXPECT(!r.mc->udmq->logging);
	EXPECT_EQ(gmem_add(&h->dev->gmem, h->iova, RIG_MEM, h->mem, true, true), 0);
	EXPECT_EQ(le32_get(rig_admin(&r, r.mmc, hm_cmd(0x0c, 0, 0, 0, 0, 0)).dw0), 0x104);
}

/* ---- FID 21h */

static void fill(struct rig *r, struct hm_ring *q, unsigned writes)
{
	uint8_t *data = rig_alloc(r, r->mc, 512);

	EXPECT_STATUS(hm_log(r, q, 1), NVME_SUCCESS);
	for (unsigned i = 0; i < writes; i++)
		EXPECT_STATUS(hm_write(r, r->mc, 1, i, 1, data), NVME_SUCCESS);
}

/* Section 12: HP=5, TPT=7 armed. Entries 0..5 are posted, so 5 is a posted slot. */
TEST(hmlm_feat_01_10_golden_set_and_get)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	struct nvme_sqe s = { .opc = 0x09, .cdw10 = le32_of(0x21), .cdw11 = le32_of(0x80000001), .cdw12 = le32_of(5), .cdw13 = le32_of(7) };
	uint8_t *buf = rig_alloc(&r, r.mmc, 4096);
	struct nvme_cqe c;

	fill(&r, &q, 5);
	EXPECT_STATUS(rig_admin(&r, r.mmc, s), NVME_SUCCESS);
	memset(buf, 0xff, 4096);
	c = rig_admin_data(&r, r.mmc, hm_cmd(0x0a, 0x21, 1, 0, 0, 0), buf, 512);
	EXPECT_STATUS(c, NVME_SUCCESS);
	EXPECT_EQ(le32_get(c.dw0), 0x80000001);
	EXPECT_EQ(buf[0], 5);
	EXPECT_EQ(buf[4], 7);
	EXPECT_EQ(buf[8], 0);
	EXPECT_EQ(buf[511], 0);
	EXPECT_EQ(buf[512], 0xff);
	/* 11: bit 31 of the question means nothing */
	c = rig_admin_data(&r, r.mmc, hm_cmd(0x0a, 0x21, 0x80000001, 0, 0, 0), buf, 512);
	EXPECT_STATUS(c, NVME_SUCCESS);
}

/* For nvme-cli, whose buffer is 8 bytes long: nothing may be written behind it. */
TEST(hmlm_feat_10_eight_bytes)
{
	RIG(r, .ss.get_cdq_8_bytes = true);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	uint8_t *buf = rig_alloc(&r, r.mmc, 4096);

	memset(buf, 0xff, 4096);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x0a, 0x21, q.id, 0, 0, 0), buf, 8), NVME_SUCCESS);
	EXPECT_EQ(buf[7], 0);
	EXPECT_EQ(buf[8], 0xff);
}

TEST(hmlm_feat_02_03_04_05_heads)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 8);

	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 1, false, 0), NVME_INVALID_FIELD);	/* empty */
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, false, 0), NVME_SUCCESS);
	fill(&r, &q, 2);								/* slots 0..2, tail 3 */
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 4, false, 0), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 8, false, 0), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0xffffffff, false, 0), NVME_INVALID_FIELD);
	EXPECT_EQ(r.mc->udmq->head, 0);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 2, false, 0), NVME_SUCCESS);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 1, false, 0), NVME_INVALID_FIELD);	/* back */
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 3, false, 0), NVME_SUCCESS);		/* all */
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 4, false, 0), NVME_INVALID_FIELD);
}

TEST(hmlm_feat_06_07_unknown)
{
	RIG(r);
	uint8_t *buf = rig_alloc(&r, r.mmc, 4096);

	EXPECT_STATUS(hm_head(&r, r.mmc, 1, 0, false, 0), NVME_INVALID_CDQ);
	EXPECT_STATUS(rig_admin_data(&r, r.mmc, hm_cmd(0x0a, 0x21, 1, 0, 0, 0), buf, 512), NVME_INVALID_CDQ);
}

TEST(hmlm_feat_08_09_14_16_trigger_slot)
{
	RIG(r);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 8);
	struct nvme_sqe sv = hm_cmd(0x09, 0x80000021, q.id, 0, 0, 0);

	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, true, 5), NVME_SUCCESS);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, true, 8), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 7, true, 2), NVME_INVALID_FIELD);
	EXPECT(r.mc->udmq->etpt);
	EXPECT_EQ(r.mc->udmq->tpt, 5);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, false, 0xffffffff), NVME_SUCCESS);
	EXPECT(!r.mc->udmq->etpt);
	EXPECT_STATUS(rig_admin(&r, r.mmc, sv), NVME_FEATURE_NOT_SAVEABLE);
}

TEST(hmlm_feat_17_head_wraps)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 4);
	uint8_t *data = rig_alloc(&r, r.mc, 512);

	fill(&r, &q, 1);							/* slots 0, 1 */
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 2, false, 0), NVME_SUCCESS);
	for (unsigned i = 0; i < 2; i++)					/* 2, 3: tail 0 */
		EXPECT_STATUS(hm_write(&r, r.mc, 1, i, 1, data), NVME_SUCCESS);
	EXPECT_EQ(r.mc->udmq->tail, 0);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 1, false, 0), NVME_INVALID_FIELD);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, false, 0), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, data), NVME_SUCCESS);
	EXPECT_EQ(r.mc->udmq->tail, 1);
}

/* ---- events */

static uint16_t aer(struct rig *r) { return rig_submit(r, r->mmc, 0, hm_cmd(0x0c, 0, 0, 0, 0, 0)); }
static bool aer_came(struct rig *r, uint16_t cid, uint32_t dw0, uint32_t dw1)
{
	struct nvme_cqe c;

	rig_settle(r);
	if (!rig_try(r, r->mmc, 0, cid, &c))
		return false;
	EXPECT_EQ(le32_get(c.dw0), dw0);
	EXPECT_EQ(le32_get(c.dw1), dw1);
	return true;
}

/* Armed at slot 2 with the default reading: when the tail becomes 2, that is with the entry in slot 1. Once. */
TEST(hmlm_evt_01_03_04_tail_event)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);
	uint8_t *data = rig_alloc(&r, r.mc, 512), *buf = rig_alloc(&r, r.mmc, 512);
	uint16_t cid = aer(&r);

	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, true, 2), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT(!aer_came(&r, cid, 0, 0));
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, data), NVME_SUCCESS);
	EXPECT(aer_came(&r, cid, 0x00000004, q.id));
	/* FEAT-12: fired is disarmed */
	EXPECT_EQ(le32_get(rig_admin_data(&r, r.mmc, hm_cmd(0x0a, 0x21, q.id, 0, 0, 0), buf, 512).dw0), q.id);
	cid = aer(&r);
	for (unsigned i = 0; i < 3; i++)
		EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, data), NVME_SUCCESS);
	EXPECT(!aer_came(&r, cid, 0, 0));
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, true, 6), NVME_SUCCESS);	/* 04: armed again, nothing else needed */
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, data), NVME_SUCCESS);
	EXPECT(aer_came(&r, cid, 0x00000004, q.id));
}

/* The slot that is about to be posted next: "slot TPT is posted" comes first then. */
TEST(hmlm_evt_08_slot_posted)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);
	uint16_t cid = aer(&r);

	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, true, 0), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT(aer_came(&r, cid, 0x00000004, q.id));
}

TEST(hmlm_evt_08_tail_only)
{
	RIG(r, .queues = 1, .ss.tpt_only_tail = true);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);
	uint16_t cid = aer(&r);

	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, true, 0), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);		/* slot 0 posted, tail 1 */
	EXPECT(!aer_came(&r, cid, 0, 0));
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, true, 2), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, rig_alloc(&r, r.mc, 512)), NVME_SUCCESS);
	EXPECT(aer_came(&r, cid, 0x00000004, q.id));
}

/* FEAT-13: no AER was there when it happened; the next Set takes the event back. */
TEST(hmlm_feat_13_set_discards_pending)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);

	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 0, true, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 1, false, 0), NVME_SUCCESS);
	EXPECT(!aer_came(&r, aer(&r), 0, 0));
}

TEST(hmlm_evt_02_05_full_event_waits_for_an_aer)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 4);

	fill(&r, &q, 3);
	EXPECT(aer_came(&r, aer(&r), 0x00000104, q.id));
}

TEST(hmlm_evt_06_track_send_discards_full)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 4);

	fill(&r, &q, 3);
	EXPECT_STATUS(hm_head(&r, r.mmc, q.id, 3, false, 0), NVME_SUCCESS);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT(!aer_came(&r, aer(&r), 0, 0));
}

/* An event of a deleted queue would be taken for one of the queue that has its id next. */
TEST(hmlm_evt_delete_discards)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 4);

	fill(&r, &q, 3);
	EXPECT_STATUS(hm_delete(&r, r.mmc, q.id), NVME_SUCCESS);
	EXPECT(!aer_came(&r, aer(&r), 0, 0));
}

TEST(hmlm_evt_07_mmc_reset_drops)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 4);

	fill(&r, &q, 3);
	rig_reg_put(r.mmc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	rig_enable(&r, r.mmc);
	EXPECT(!aer_came(&r, aer(&r), 0, 0));
}
