/* The monitor's rules: a device (or a host) that breaks one is told so, by that rule and no other; one that keeps them all is not. */
#include "monrig.h"

/* docs/monitor.md has the rules as the table has them. */
TEST(rules_are_documented)
{
	static char path[512], text[1 << 16], row[512];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/docs/monitor.md", getenv("FERRY_SRC") ? getenv("FERRY_SRC") : ".");
	f = fopen(path, "r");
	EXPECT(f != NULL);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	fclose(f);
	for (unsigned i = 0; i < RULE_COUNT; i++) {
		snprintf(row, sizeof(row), "| %s | %c | %s (%s) |\n", monitor_rules[i].id, monitor_rules[i].who, monitor_rules[i].text, monitor_rules[i].clause);
		if (!strstr(text, row))
			fail_msg("docs/monitor.md lacks: %s", row);
	}
}

/* ---- nothing is wrong ------------------------------------------------------------------------------------------------- */

static void ten_laps(struct mrig *r)
{
	struct mport *p = &r->p[1];
	uint8_t data[1024];

	memset(data, 0x5a, sizeof(data));
	for (unsigned i = 0; i < 10 * MR_Q; i++) {
		struct nvme_sqe w = mr_rw(i & 1 ? NVME_NVM_READ : NVME_NVM_WRITE, (uint16_t)i, MR_DATA + 0x1000, 2);

		mr_submit(p, 1, &w);
		if (r->message)
			mr_dma(p, i & 1, MR_DATA + 0x1000, data, sizeof(data));
		mr_done(p, 1, (uint16_t)i, 0, 0);
		mr_raise(p, 1);
		mr_consume(p, 1);
	}
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->unjudged, 0);
	EXPECT_EQ(monitor_stats(r->m)->interrupts, 10 * MR_Q);
}

TEST(a_good_device_shared)
{
	uint64_t n;

	MRIG(r, false);
	ten_laps(r);
	EXPECT_EQ(read(r->p[1].irq[1], &n, 8), 8); /* the client got its signals */
	EXPECT_EQ(n, 10 * MR_Q);
}

TEST(a_good_device_by_message)
{
	MRIG(r, true);
	ten_laps(r);
}

/* ---- the stream ---------------------------------------------------------------------------------------------------------- */

TEST(reply_to_nothing)
{
	MRIG(r, false);
	mr_send(&r->p[1], r->p[1].server, 77, VUSER_DEVICE_RESET, VUSER_TYPE_REPLY, NULL, 0, NULL, 0, NULL, 0);
	mr_hear(&r->p[1], r->p[1].client); /* it is passed on all the same */
	EXPECT_RULE(r, VU_REPLY, 1);
}

/* Bytes that are no message, with a descriptor among them: they pass, and what follows them too. */
TEST(framing_lost)
{
	static const char junk[] = "GET / HTTP/1.0\r\n\r\nand some more of it";
	char got[64];

	MRIG(r, false);
	EXPECT_EQ(send(r->p[1].client, junk, 5, 0), 5);
	mr_pump(r);
	EXPECT_EQ(send(r->p[1].client, junk + 5, sizeof(junk) - 5, 0), sizeof(junk) - 5);
	mr_pump(r);
	EXPECT_EQ(recv(r->p[1].server, got, sizeof(got), MSG_DONTWAIT), sizeof(junk));
	EXPECT_MEM(got, junk, sizeof(junk));
	EXPECT_EQ(send(r->p[1].client, "x", 1, 0), 1);
	mr_pump(r);
	EXPECT_EQ(recv(r->p[1].server, got, sizeof(got), MSG_DONTWAIT), 1);
	EXPECT_RULE(r, VU_FRAMING, 1);
}

TEST(access_to_unmapped_memory)
{
	MRIG(r, true);
	mr_dma(&r->p[1], true, MR_MEM - 2, "abcd", 4);
	EXPECT_RULE(r, VU_UNMAPPED, 1);
}

/* QEMU takes memory away and gives parts of it back without waiting for the answers between. */
TEST(memory_is_mapped_anew)
{
	struct vuser_dma_unmap u = { le32_of(24), le32_of(0), le64_of(0), le64_of(MR_MEM) };
	struct vuser_dma_map a = { le32_of(32), le32_of(3), le64_of(0), le64_of(0), le64_of(MR_MEM / 2) };
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .cid = le16_of(9) };
	struct mport *p;

	MRIG(r, false);
	p = &r->p[1];
	mr_send(p, p->client, 0x300, VUSER_DMA_UNMAP, 0, &u, sizeof(u), NULL, 0, NULL, 0);
	mr_send(p, p->client, 0x301, VUSER_DMA_MAP, 0, &a, sizeof(a), NULL, 0, &p->memfd, 1);
	mr_hear(p, p->server);
	close(mr_hear(p, p->server)->fd[0]);
	mr_send(p, p->server, 0x300, VUSER_DMA_UNMAP, 1, &u, sizeof(u), NULL, 0, NULL, 0);
	mr_send(p, p->server, 0x301, VUSER_DMA_MAP, 1, NULL, 0, NULL, 0, NULL, 0);
	mr_hear(p, p->client), mr_hear(p, p->client);
	mr_submit(p, 1, &s);
	EXPECT_EQ(monitor_stats(r->m)->commands, 9); /* four of each admin queue, and this one: its entry can be read */
	mr_done(p, 1, 9, 0, 0);
	mr_consume(p, 1);
	EXPECT_CLEAN(r);
}

/* ---- the host -------------------------------------------------------------------------------------------------------------- */

TEST(doorbell_out_of_range)
{
	MRIG(r, false);
	mr_doorbell(&r->p[1], 2, MR_Q);
	EXPECT_RULE(r, DBL_RANGE, 1);
	mr_doorbell(&r->p[1], 3, 0xffffffff);
	EXPECT_RULE(r, DBL_RANGE, 2);
}

TEST(doorbell_of_no_queue)
{
	MRIG(r, false);
	mr_doorbell(&r->p[1], 4, 1);
	EXPECT_RULE(r, DBL_ABSENT, 1);
}

TEST(doorbell_with_its_value)
{
	MRIG(r, false);
	mr_doorbell(&r->p[1], 2, 0);
	EXPECT_RULE(r, DBL_SAME, 1);
}

TEST(doorbell_while_disabled)
{
	MRIG(r, false);
	mr_write(&r->p[1], NVME_REG_CC, 0x460000, 4);
	mr_doorbell(&r->p[1], 0, 1);
	EXPECT_RULE(r, DBL_DISABLED, 1);
}

TEST(too_many_entries)
{
	MRIG(r, false);
	for (uint16_t i = 0; i < MR_Q - 1; i++) {
		struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .cid = le16_of(i) };

		mr_put(&r->p[1], 1, &s);
	}
	mr_doorbell(&r->p[1], 2, MR_Q - 1);
	EXPECT_CLEAN(r);
	mr_doorbell(&r->p[1], 2, 1); /* two more than there is room for; what it overwrites has a used identifier */
	EXPECT_EQ(monitor_stats(r->m)->broken[RULE_SQ_OVER], 1);
}

TEST(entries_consumed_that_never_were)
{
	MRIG(r, false);
	mr_doorbell(&r->p[1], 3, 2);
	EXPECT_RULE(r, CQ_HEAD_OVER, 1);
}

TEST(cid_used_twice)
{
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .cid = le16_of(9) };

	MRIG(r, false);
	mr_submit(&r->p[1], 1, &s);
	mr_submit(&r->p[1], 1, &s);
	EXPECT_RULE(r, CID_REUSE, 1);
}

/* ---- completions ------------------------------------------------------------------------------------------------------------ */

static void flushes(struct mport *p, unsigned n)
{
	for (uint16_t i = 0; i < n; i++) {
		struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .cid = le16_of((uint16_t)(0x1000 + i)) };

		mr_submit(p, 1, &s);
	}
}

/* One more than the ring takes, which only works when submissions get ahead of it: seven, one consumed nowhere, one more. */
static void overflow_cq(struct mrig *r)
{
	struct mport *p = &r->p[1];
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .cid = le16_of(0x2000) };

	flushes(p, MR_Q - 1);
	for (uint16_t i = 0; i < MR_Q - 1; i++)
		mr_done(p, 1, (uint16_t)(0x1000 + i), 0, 0);
	EXPECT_CLEAN(r);
	mr_submit(p, 1, &s);
	mr_done(p, 1, 0x2000, 0, 0);
	EXPECT_RULE(r, CQ_OVER, 1);
}
TEST(full_cq_shared) { MRIG(r, false); overflow_cq(r); }
TEST(full_cq_by_message) { MRIG(r, true); overflow_cq(r); }

/* In shared memory an entry without its phase inverted is one that never comes; the interrupt gives it away. */
TEST(phase_not_inverted_shared)
{
	struct nvme_cqe e;

	MRIG(r, false);
	flushes(&r->p[1], 1);
	for (unsigned v = 0; v < 2; v++) /* what binding allows */
		mr_raise(&r->p[1], 1);
	EXPECT_EQ(monitor_stats(r->m)->broken[RULE_IRQ_EARLY], 1);
	e = mr_cqe(&r->p[1], 1, 1, 0x1000, 0, 0);
	e.status.b[0] ^= 1;
	mr_post(&r->p[1], 1, &e);
	mr_raise(&r->p[1], 1);
	EXPECT_EQ(monitor_stats(r->m)->broken[RULE_CQ_PHASE], 1);
	EXPECT_EQ(monitor_broken(r->m), 2);
}

TEST(phase_not_inverted_by_message)
{
	struct nvme_cqe e;

	MRIG(r, true);
	flushes(&r->p[1], 1);
	e = mr_cqe(&r->p[1], 1, 1, 0x1000, 0, 0);
	e.status.b[0] ^= 1;
	mr_post(&r->p[1], 1, &e);
	EXPECT_RULE(r, CQ_PHASE, 1);
}

/* Two parts are fine when the phase comes with the second; the other way round a host may see half an entry. */
TEST(entry_in_parts)
{
	struct mport *p;
	struct nvme_cqe e;

	MRIG(r, true);
	p = &r->p[1];
	flushes(p, 2);
	e = mr_cqe(p, 1, 1, 0x1000, 0, 0);
	mr_dma(p, true, mr_cq(1), &e, 12);
	mr_dma(p, true, mr_cq(1) + 12, (uint8_t *)&e + 12, 4);
	EXPECT_CLEAN(r);
	e = mr_cqe(p, 1, 1, 0x1001, 0, 0);
	mr_dma(p, true, mr_cq(1) + 16 + 12, (uint8_t *)&e + 12, 4);
	EXPECT_EQ(monitor_stats(r->m)->broken[RULE_CQ_PHASE], 1);
}

TEST(entry_in_the_wrong_slot)
{
	struct nvme_cqe e;

	MRIG(r, true);
	flushes(&r->p[1], 1);
	e = mr_cqe(&r->p[1], 1, 1, 0x1000, 0, 0);
	mr_dma(&r->p[1], true, mr_cq(1) + 32, &e, sizeof(e));
	EXPECT_RULE(r, CQ_SLOT, 1);
}

static void unknown_cid(struct mrig *r)
{
	flushes(&r->p[1], 1);
	mr_done(&r->p[1], 1, 0x77, 0, 0);
	EXPECT_RULE(r, CQE_CID, 1);
}
TEST(completion_of_nothing_shared) { MRIG(r, false); unknown_cid(r); }
TEST(completion_of_nothing_by_message) { MRIG(r, true); unknown_cid(r); }

TEST(completed_twice)
{
	MRIG(r, false);
	flushes(&r->p[1], 1);
	mr_done(&r->p[1], 1, 0x1000, 0, 0);
	mr_done(&r->p[1], 1, 0x1000, 0, 0);
	EXPECT_RULE(r, CQE_TWICE, 1);
}

TEST(completed_in_another_queue)
{
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH };
	struct nvme_cqe e;

	MRIG(r, false);
	mr_queues(&r->p[1], 2);
	s.cid = le16_of(0x2000);
	mr_submit(&r->p[1], 2, &s); /* a completion queue is looked at from the first command for it on */
	mr_done(&r->p[1], 2, 0x2000, 0, 0);
	flushes(&r->p[1], 1);
	e = mr_cqe(&r->p[1], 2, 1, 0x1000, 0, 0);
	mr_post(&r->p[1], 2, &e);
	EXPECT_RULE(r, CQE_SQID, 1);
}

TEST(head_beyond_tail)
{
	MRIG(r, false);
	flushes(&r->p[1], 2);
	r->p[1].sq_head[1] = 3;
	mr_done(&r->p[1], 1, 0x1000, 0, 0);
	EXPECT_RULE(r, SQHD, 1);
}

TEST(head_moves_backwards)
{
	MRIG(r, false);
	flushes(&r->p[1], 2);
	mr_done(&r->p[1], 1, 0x1000, 0, 0);
	EXPECT_CLEAN(r);
	r->p[1].sq_head[1] = 1;
	mr_done(&r->p[1], 1, 0x1001, 0, 0);
	EXPECT_RULE(r, SQHD, 1);
}

TEST(head_before_what_completes)
{
	MRIG(r, false);
	flushes(&r->p[1], 2);
	r->p[1].sq_head[1] = 1;
	mr_done(&r->p[1], 1, 0x1001, 0, 0);
	EXPECT_RULE(r, SQHD, 1);
}

/* ---- interrupts ------------------------------------------------------------------------------------------------------------- */

TEST(interrupt_without_an_entry)
{
	MRIG(r, false);
	flushes(&r->p[1], 2);
	mr_raise(&r->p[1], 1); /* a vector that was just bound may fire once */
	mr_done(&r->p[1], 1, 0x1000, 0, 0);
	mr_raise(&r->p[1], 1);
	EXPECT_CLEAN(r);
	mr_raise(&r->p[1], 1);
	EXPECT_RULE(r, IRQ_EARLY, 1);
	mr_done(&r->p[1], 1, 0x1001, 0, 0);
	EXPECT_RULE(r, IRQ_EARLY, 1);
}

/* An entry polled away long ago is no excuse for a signal today. */
TEST(an_old_entry_excuses_nothing)
{
	MRIG(r, false);
	flushes(&r->p[1], 1);
	mr_raise(&r->p[1], 1);
	mr_done(&r->p[1], 1, 0x1000, 0, 0);
	r->now += 11 * NS_PER_S;
	mr_raise(&r->p[1], 1);
	EXPECT_RULE(r, IRQ_EARLY, 1);
}

static void set_mask(struct mport *p, uint32_t action, uint32_t vector)
{
	struct vuser_irq_set a = { le32_of(sizeof(a)), le32_of(VUSER_SET_NONE | action), le32_of(2), le32_of(vector), le32_of(1) };

	mr_ask(p, VUSER_DEVICE_SET_IRQS, &a, sizeof(a), NULL, 0, NULL, 0);
}

TEST(interrupt_while_masked)
{
	MRIG(r, false);
	flushes(&r->p[1], 2);
	mr_done(&r->p[1], 1, 0x1000, 0, 0);
	mr_raise(&r->p[1], 1);
	set_mask(&r->p[1], VUSER_SET_MASK, 1);
	EXPECT_CLEAN(r);
	mr_done(&r->p[1], 1, 0x1001, 0, 0);
	mr_raise(&r->p[1], 1);
	EXPECT_RULE(r, IRQ_MASKED, 1);
	set_mask(&r->p[1], VUSER_SET_UNMASK, 1);
	mr_raise(&r->p[1], 1);
	EXPECT_RULE(r, IRQ_MASKED, 1);
	EXPECT_EQ(rec_count(r->store, REC_MASK), 2);
}

/* ---- accesses by message ------------------------------------------------------------------------------------------------------- */

TEST(entry_fetched_too_soon)
{
	MRIG(r, true);
	mr_dma(&r->p[1], false, mr_sq(1), NULL, 64);
	EXPECT_RULE(r, SQE_BEYOND, 1);
}

TEST(stray_write)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, MR_DATA + 0x4000, 1);
	struct rec_reader *rd;
	struct rec_item it;
	unsigned near = 0;

	MRIG(r, true);
	mr_submit(&r->p[1], 1, &s);
	mr_dma(&r->p[1], true, MR_DATA + 0x4000, r->p[1].mem, 512);
	EXPECT_CLEAN(r);
	mr_dma(&r->p[1], true, MR_DATA + 0x4000 + 512, r->p[1].mem, 1); /* one byte behind it */
	EXPECT_RULE(r, DMA_ORPHAN, 1);
	rec_flush(r->store);
	rd = rec_reader_open(r->path, NULL);
	while (rec_read(rd, &it, NULL) == 1)
		near += it.what == REC_ITEM_LINK && it.link == REC_LINK_NEAREST;
	EXPECT_EQ(near, 1);
	rec_reader_close(rd);
}

/* A controller that is being reset may end what it was at, until it says that it is done. */
TEST(until_it_is_not_ready)
{
	struct { struct vuser_region_access a; le32 csts; } back = { { le64_of(NVME_REG_CSTS), le32_of(0), le32_of(4) }, le32_of(NVME_CSTS_RDY) };
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, MR_DATA + 0x4000, 1);
	struct mport *p;

	MRIG(r, true);
	p = &r->p[1];
	mr_submit(p, 1, &s);
	mr_write(p, NVME_REG_CC, 0x460000, 4);
	mr_dma(p, true, MR_DATA + 0x4000, p->mem, 512);
	mr_raise(p, 1);
	mr_ask(p, VUSER_REGION_READ, &back.a, sizeof(back.a), NULL, 0, &back, sizeof(back));
	mr_dma(p, true, mr_cq(1), p->mem, 16);
	EXPECT_CLEAN(r);
	back.csts = le32_of(0);
	mr_ask(p, VUSER_REGION_READ, &back.a, sizeof(back.a), NULL, 0, &back, sizeof(back));
	mr_dma(p, true, MR_DATA + 0x4000, p->mem, 512);
	EXPECT_RULE(r, DMA_ORPHAN, 1);
	mr_raise(p, 1); /* one may come since it was bound */
	mr_raise(p, 1);
	EXPECT_EQ(monitor_stats(r->m)->broken[RULE_IRQ_EARLY], 1);
}

TEST(stray_read)
{
	MRIG(r, true);
	mr_dma(&r->p[1], false, MR_DATA + 0x4000, NULL, 512);
	EXPECT_RULE(r, DMA_ORPHAN, 1);
}

TEST(against_the_direction)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_WRITE, 5, MR_DATA, 1);

	MRIG(r, true);
	mr_submit(&r->p[1], 1, &s);
	mr_dma(&r->p[1], true, MR_DATA, r->p[1].mem, 512);
	EXPECT_RULE(r, DMA_DIR, 1);
	mr_dma(&r->p[1], true, mr_sq(1), r->p[1].mem, 64);
	EXPECT_RULE(r, DMA_DIR, 2);
}

TEST(after_its_completion)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, MR_DATA, 1);

	MRIG(r, true);
	mr_submit(&r->p[1], 1, &s);
	mr_done(&r->p[1], 1, 5, 0, 0);
	mr_dma(&r->p[1], true, MR_DATA, r->p[1].mem, 512);
	EXPECT_RULE(r, DMA_LATE, 1);
}

/* 16 KiB and a half through a list whose page the controller must read first; and by SGL. */
static void lists(struct mrig *r, bool by_list)
{
	struct mport *p = &r->p[1];
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, MR_DATA + 512, 33);
	static uint8_t data[4096];

	for (unsigned i = 0; i < 5; i++) {
		le64 at = le64_of(MR_DATA + 0x10000 + 0x2000 * i);

		memcpy(p->mem + MR_DATA + 0x8000 + 8 * i, &at, 8);
	}
	s.prp2 = le64_of(MR_DATA + 0x8000);
	mr_submit(p, 1, &s);
	if (by_list)
		mr_dma(p, false, MR_DATA + 0x8000, NULL, 32);
	mr_dma(p, true, MR_DATA + 512, data, 3584);
	for (unsigned i = 0; i < 3; i++)
		mr_dma(p, true, MR_DATA + 0x10000 + 0x2000 * i, data, 4096);
	mr_dma(p, true, MR_DATA + 0x10000 + 0x2000 * 3, data, 1024);
	EXPECT_CLEAN(r);
	mr_dma(p, true, MR_DATA + 0x10000 + 0x2000 * 3 + 1024, data, 1);
	EXPECT_RULE(r, DMA_ORPHAN, 1);
}
TEST(prp_lists) { MRIG(r, true); lists(r, true); }

TEST(sgls)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_WRITE, 5, 0, 4);
	struct nvme_sgl last = { le64_of(MR_DATA + 0x8000), le32_of(32), { 0 }, NVME_SGL_LAST << 4 };
	struct nvme_sgl two[2] = { { le64_of(MR_DATA + 0x4000), le32_of(1000), { 0 }, 0 }, { le64_of(MR_DATA + 0x5000), le32_of(1048), { 0 }, 0 } };

	MRIG(r, true);
	memcpy(r->p[1].mem + MR_DATA + 0x8000, two, sizeof(two));
	s.flags = NVME_PSDT_SGL;
	memcpy((uint8_t *)&s + 24, &last, 16);
	mr_submit(&r->p[1], 1, &s);
	mr_dma(&r->p[1], false, MR_DATA + 0x8000, NULL, 32);
	mr_dma(&r->p[1], false, MR_DATA + 0x4000, NULL, 1000);
	mr_dma(&r->p[1], false, MR_DATA + 0x5000, NULL, 1048);
	EXPECT_CLEAN(r);
	mr_dma(&r->p[1], false, MR_DATA + 0x4000 + 1000, NULL, 1);
	EXPECT_RULE(r, DMA_ORPHAN, 1);
}

/* ---- suspension ---------------------------------------------------------------------------------------------------------------- */

static struct nvme_sqe mig_send(unsigned sel)
{
	struct nvme_sqe s = { .opc = NVME_OP_MIGRATION_SEND };

	nvme_migration_send_sel_put(&s, sel);
	nvme_migration_send_cntlid_put(&s, MR_MC_ID);
	nvme_migration_send_stype_put(&s, sel == NVME_MIG_SUSPEND ? NVME_STYPE_SUSPEND : 0);
	return s;
}

TEST(suspended_and_it_completes)
{
	MRIG(r, false);
	flushes(&r->p[1], 2);
	mr_done(&r->p[1], 1, 0x1000, 0, 0);
	mr_raise(&r->p[1], 1);
	mr_admin(&r->p[0], mig_send(NVME_MIG_SUSPEND), 0);
	EXPECT_CLEAN(r);
	mr_done(&r->p[1], 1, 0x1001, 0, 0);
	EXPECT_RULE(r, SUSP_CQE, 1);
}

/* What it did before the Suspend completed, but we see only now, is not held against it. */
TEST(done_before_the_suspend)
{
	struct mport *mc, *mmc;
	struct nvme_cqe e;
	struct nvme_sqe s = mig_send(NVME_MIG_SUSPEND);
	uint64_t one = 1;

	MRIG(r, false);
	mc = &r->p[1], mmc = &r->p[0];
	flushes(mc, 1);
	s.cid = le16_of(0x700);
	mr_submit(mmc, 0, &s);
	e = mr_cqe(mc, 1, 1, 0x1000, 0, 0);
	memcpy(mc->mem + mr_cq(1), &e, sizeof(e)); /* completion, signal, and the Suspend's completion, all before the monitor looks */
	EXPECT_EQ(write(mc->fire[1], &one, 8), 8);
	e = mr_cqe(mmc, 0, 0, 0x700, 0, 0);
	memcpy(mmc->mem + mr_cq(0) + 16u * mmc->cq_tail[0], &e, sizeof(e));
	mr_pump(r);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->interrupts, 1);
	mr_raise(mc, 1);
	EXPECT_EQ(monitor_stats(r->m)->broken[RULE_SUSP_IRQ], 1);
}

/* The same, found in the middle of a message on the suspended controller's own lane; and what it does afterwards is held against it. */
TEST(found_by_its_own_message)
{
	struct mport *mc, *mmc;
	struct nvme_cqe e;
	struct nvme_sqe s = mig_send(NVME_MIG_SUSPEND);
	struct vuser_region_access a = { le64_of(NVME_REG_DOORBELLS + 4 * 3), le32_of(0), le32_of(4) };
	struct { struct vuser_hdr h; struct vuser_region_access a; le32 v; } msg = {
		{ le16_of(0x7000), le16_of(VUSER_REGION_WRITE), le32_of(sizeof(msg)), le32_of(VUSER_NO_REPLY), le32_of(0) }, a, le32_of(1) };
	uint64_t one = 1;

	MRIG(r, false);
	mc = &r->p[1], mmc = &r->p[0];
	flushes(mc, 1);
	s.cid = le16_of(0x700);
	mr_submit(mmc, 0, &s);
	mr_done(mc, 1, 0x1000, 0, 0);
	/* The client's message comes first in the set, so the signal is still unread when the Suspend's completion is found. */
	EXPECT_EQ(send(mc->client, &msg, sizeof(msg), MSG_NOSIGNAL), sizeof(msg));
	EXPECT_EQ(write(mc->fire[1], &one, 8), 8);
	e = mr_cqe(mmc, 0, 0, 0x700, 0, 0);
	memcpy(mmc->mem + mr_cq(0) + 16u * mmc->cq_tail[0], &e, sizeof(e));
	mr_pump(r);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->interrupts, 1);
	mr_raise(mc, 1);
	EXPECT_EQ(monitor_stats(r->m)->broken[RULE_SUSP_IRQ], 1);
}

/* By message: what was sent before is told from what was sent after by its place in the stream, also when all of it waits together. */
TEST(said_before_the_suspend)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, MR_DATA, 1), susp = mig_send(NVME_MIG_SUSPEND);
	struct { struct vuser_hdr h; struct vuser_dma_access a; uint8_t data[512]; } before = {
		{ le16_of(0x7001), le16_of(VUSER_DMA_WRITE), le32_of(sizeof(before)), le32_of(0), le32_of(0) }, { le64_of(MR_DATA), le64_of(512) }, { 0 } };
	struct mport *mc, *mmc;
	struct nvme_cqe e;

	MRIG(r, true);
	mc = &r->p[1], mmc = &r->p[0];
	mr_submit(mc, 1, &s);
	susp.cid = le16_of(0x700);
	mr_submit(mmc, 0, &susp);
	/* Half of it first, so that the rest is read after the Suspend has completed. */
	EXPECT_EQ(send(mc->server, &before, 100, MSG_NOSIGNAL), 100);
	mr_pump(r);
	e = mr_cqe(mmc, 0, 0, 0x700, 0, 0);
	mr_post(mmc, 0, &e);
	EXPECT_EQ(send(mc->server, (uint8_t *)&before + 100, sizeof(before) - 100, MSG_NOSIGNAL), sizeof(before) - 100);
	mr_hear(mc, mc->client);
	EXPECT_CLEAN(r);
	mr_dma(mc, true, MR_DATA, mc->mem, 512);
	EXPECT_RULE(r, SUSP_DMA, 1);
}

TEST(suspended_and_it_interrupts)
{
	MRIG(r, false);
	mr_admin(&r->p[0], mig_send(NVME_MIG_SUSPEND), 0);
	mr_raise(&r->p[1], 1);
	EXPECT_RULE(r, SUSP_IRQ, 1);
}

TEST(suspended_and_it_fetches)
{
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .cid = le16_of(1) };

	MRIG(r, true);
	mr_admin(&r->p[0], mig_send(NVME_MIG_SUSPEND), 0);
	mr_put(&r->p[1], 1, &s);
	mr_doorbell(&r->p[1], 2, 1);
	EXPECT_CLEAN(r); /* the host may */
	mr_dma(&r->p[1], false, mr_sq(1), NULL, 64);
	EXPECT_RULE(r, SUSP_FETCH, 1);
}

TEST(suspended_and_it_writes)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, MR_DATA, 1);

	MRIG(r, true);
	mr_submit(&r->p[1], 1, &s);
	mr_admin(&r->p[0], mig_send(NVME_MIG_SUSPEND), 0);
	mr_dma(&r->p[1], true, MR_DATA, r->p[1].mem, 512);
	EXPECT_RULE(r, SUSP_DMA, 1);
}

static void resumed(struct mrig *r)
{
	flushes(&r->p[1], 1);
	mr_admin(&r->p[0], mig_send(NVME_MIG_SUSPEND), 0);
	mr_admin(&r->p[0], mig_send(NVME_MIG_RESUME), 0);
	mr_done(&r->p[1], 1, 0x1000, 0, 0);
	mr_raise(&r->p[1], 1);
	EXPECT_CLEAN(r);
}
TEST(resumed_shared) { MRIG(r, false); resumed(r); }
TEST(resumed_by_message) { MRIG(r, true); resumed(r); }

/* A Resume that fails leaves it suspended; a controller level reset of either lifts it. */
TEST(not_resumed)
{
	struct nvme_sqe s = mig_send(NVME_MIG_RESUME);

	MRIG(r, false);
	mr_admin(&r->p[0], mig_send(NVME_MIG_SUSPEND), 0);
	s.cid = le16_of(0x701);
	mr_submit(&r->p[0], 0, &s);
	mr_done(&r->p[0], 0, 0x701, NVME_COMMAND_SEQUENCE, 0);
	mr_raise(&r->p[1], 1);
	EXPECT_RULE(r, SUSP_IRQ, 1);
	mr_write(&r->p[0], NVME_REG_CC, 0x460000, 4);
	mr_raise(&r->p[1], 2);
	EXPECT_RULE(r, SUSP_IRQ, 1);
}

/* State that is set makes queues without Create commands: they are judged like others. */
TEST(queues_out_of_a_state)
{
	struct nvme_state_head h = { .nvmecss = le64_of(2 + 12), .csattr = NVME_CSATTR_CP };
	struct nvme_state_v0 v = { .niosq = le16_of(1), .niocq = le16_of(1) };
	struct nvme_state_sq sq = { .prp1 = le64_of(mr_sq(3)), .qsize0 = le16_of(MR_Q - 1), .qid = le16_of(3), .cqid = le16_of(3),
				    .attr = le16_of(1), .head = le16_of(4), .tail = le16_of(5) };
	struct nvme_state_cq cq = { .prp1 = le64_of(mr_cq(3)), .qsize0 = le16_of(MR_Q - 1), .qid = le16_of(3), .head = le16_of(4),
				    .tail = le16_of(4), .attr = le32_of(NVME_STATE_CQ_PC | NVME_STATE_CQ_IEN | 3 << NVME_STATE_CQ_IV_SHIFT) };
	struct nvme_sqe s = { .opc = NVME_OP_MIGRATION_SEND, .prp1 = le64_of(MR_DATA) }, queued = { .opc = NVME_NVM_FLUSH, .cid = le16_of(0x3333) };
	uint8_t *p;

	MRIG(r, false);
	p = r->p[0].mem + MR_DATA;
	for (unsigned i = 0; i < MR_Q; i++)
		r->p[1].mem[mr_cq(3) + 16 * i + 14] = i >= 4;
	memcpy(p, &h, 48), memcpy(p + 48, &v, 8), memcpy(p + 56, &sq, 24), memcpy(p + 80, &cq, 24);
	memcpy(r->p[1].mem + mr_sq(3) + 64 * 4, &queued, 64);
	nvme_migration_send_sel_put(&s, NVME_MIG_SET_STATE);
	nvme_migration_send_cntlid_put(&s, MR_MC_ID);
	nvme_migration_send_seqind_put(&s, NVME_SEQ_ONLY);
	nvme_migration_send_csvi_put(&s, 1);
	nvme_migration_send_numd_put(&s, 104 / 4);
	mr_admin(&r->p[0], s, 0);
	/* Second lap of this queue: S0PT 0 with a tail that is not 0 says that entries now carry phase 0. */
	r->p[1].phase[3] = false;
	r->p[1].cq_tail[3] = 4;
	r->p[1].sq_head[3] = 5;
	mr_done(&r->p[1], 3, 0x3333, 0, 0);
	mr_raise(&r->p[1], 3);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->unjudged, 0);
	mr_done(&r->p[1], 3, 0x3333, 0, 0);
	EXPECT_RULE(r, CQE_TWICE, 1);
}

/* Linux clears its admin queue after it has enabled the controller, not before: what is left there from before is no completion. */
TEST(cleared_after_it_is_enabled)
{
	struct mport *p;

	MRIG(r, false);
	p = &r->p[1];
	mr_admin(p, (struct nvme_sqe){ .opc = NVME_OP_GET_FEATURES }, 0);
	mr_write(p, NVME_REG_CC, 0, 4);
	mr_write(p, NVME_REG_CC, 0x460001, 4);
	memset(p->mem + mr_cq(0), 0, 16 * MR_Q);
	p->sq_tail[0] = p->sq_head[0] = p->cq_tail[0] = p->cq_head[0] = 0;
	p->phase[0] = true;
	mr_admin(p, (struct nvme_sqe){ .opc = NVME_OP_GET_FEATURES }, 0);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->commands, monitor_stats(r->m)->completions);
	mr_done(p, 0, 0x999, 0, 0);
	EXPECT_RULE(r, CQE_CID, 1);
}

/* A doorbell that was on its way while the host went on in memory is no step back, nor a lap of the queue. */
TEST(a_doorbell_behind_its_shadow)
{
	struct nvme_sqe s = { .opc = NVME_OP_DBBUF, .prp1 = le64_of(MR_DATA + 0x8000), .prp2 = le64_of(MR_DATA + 0x9000) };
	struct mport *p;
	uint64_t before;
	le32 v;

	MRIG(r, false);
	p = &r->p[1];
	mr_admin(p, s, 0);
	before = monitor_stats(r->m)->commands;
	s = (struct nvme_sqe){ .opc = NVME_NVM_FLUSH };
	for (unsigned i = 0; i < 3; i++) {
		s.cid = le16_of((uint16_t)(0x40 + i));
		mr_put(p, 1, &s);
	}
	v = le32_of(3);
	memcpy(p->mem + MR_DATA + 0x8000 + 2 * 4, &v, 4);
	mr_pump(r);
	mr_doorbell(p, 2, 1);
	mr_doorbell(p, 2, 3);
	EXPECT_EQ(monitor_stats(r->m)->commands - before, 3);
	EXPECT_CLEAN(r);
}

/* Our vendor part brings the admin queue, whose completions announce themselves like any other's. */
TEST(an_admin_queue_out_of_a_state)
{
	struct nvme_state_head h = { .vss = le64_of((12 + 52 + 20) / 4), .csattr = NVME_CSATTR_CP };
	struct nvme_sqe s = mig_send(NVME_MIG_SET_STATE);
	uint8_t format[12] = { 1, 0, 1, 0, 4, 0, 0, 0, 1 }, props[8 + 44] = { 2, 0, 1, 0, 41 };
	uint8_t admin[8 + 12] = { 3, 0, 1, 0, 12, 0, 0, 0, 2, 0, 2, 0, 2, 0, 2, 0, 1 }; /* two done and taken, none out */
	le64 asq = le64_of(mr_sq(0)), acq = le64_of(mr_cq(0));
	struct mport *mc;
	uint8_t *p;

	MRIG(r, false);
	mc = &r->p[1];
	p = r->p[0].mem + MR_DATA;
	memcpy(props + 8 + 8, &asq, 8), memcpy(props + 8 + 16, &acq, 8);
	props[8 + 24] = NVME_CC_EN, props[8 + 32] = MR_Q - 1, props[8 + 34] = MR_Q - 1, props[8 + 40] = 1;
	memcpy(p, &h, 48), memcpy(p + 48, format, 12), memcpy(p + 60, props, 52), memcpy(p + 112, admin, 20);
	s.prp1 = le64_of(MR_DATA);
	nvme_migration_send_seqind_put(&s, NVME_SEQ_ONLY);
	nvme_migration_send_numd_put(&s, 132 / 4);
	r->now += 11 * NS_PER_S; /* what came before is stale */
	mr_raise(mc, 0);
	mr_admin(&r->p[0], mig_send(NVME_MIG_SUSPEND), 0);
	mr_admin(&r->p[0], s, 0);
	memset(mc->mem + mr_cq(0) + 32, 0, 16 * (MR_Q - 2));
	mc->sq_tail[0] = mc->sq_head[0] = mc->cq_tail[0] = mc->cq_head[0] = 2;
	mc->phase[0] = true;
	mr_admin(&r->p[0], mig_send(NVME_MIG_RESUME), 0);
	mr_raise(mc, 0); /* what was announced there may be announced here */
	s = (struct nvme_sqe){ .opc = NVME_OP_GET_FEATURES };
	mr_admin(mc, s, 0);
	mr_raise(mc, 0);
	EXPECT_CLEAN(r);
	mr_raise(mc, 0);
	EXPECT_RULE(r, IRQ_EARLY, 1);
}

/* After a move a guest reads the identity it knew: the management controller goes on calling the controller by its own. */
TEST(the_first_word_about_an_identity)
{
	MRIG(r, false);
	mr_identify(&r->p[1], MR_MC_ID + 1);
	mr_admin(&r->p[0], mig_send(NVME_MIG_SUSPEND), 0);
	EXPECT_CLEAN(r);
	mr_raise(&r->p[1], 1);
	EXPECT_RULE(r, SUSP_IRQ, 1);
}

/* ---- data queues ---------------------------------------------------------------------------------------------------------------- */

enum { CDQ_AT = MR_DATA + 0x20000, CDQ_SLOTS = 4 };

static void cdq_make(struct mrig *r)
{
	struct nvme_sqe s = { .opc = NVME_OP_CDQ, .prp1 = le64_of(CDQ_AT) };

	nvme_cdq_pc_put(&s, 1);
	nvme_cdq_cqs_put(&s, MR_MC_ID);
	nvme_cdq_cdqsize_put(&s, CDQ_SLOTS * 8);
	mr_admin(&r->p[0], s, 5);
	s = (struct nvme_sqe){ .opc = NVME_OP_TRACK_SEND };
	nvme_track_send_lact_put(&s, 1);
	nvme_track_send_cdqid_put(&s, 5);
	mr_admin(&r->p[0], s, 0);
}

static void cdq_post(struct mrig *r, unsigned slot, unsigned phase, unsigned esa, unsigned lbacir, uint32_t nsid)
{
	struct nvme_lbamq e = { .nsid = le32_of(nsid), .lbamqa = (uint8_t)(phase | esa << 1 | lbacir << 6) };

	if (r->message)
		mr_dma(&r->p[0], true, CDQ_AT + 32 * slot, &e, 32);
	else
		memcpy(r->p[0].mem + CDQ_AT + 32 * slot, &e, 32);
	mr_pump(r);
}

static void cdq_head(struct mrig *r, uint32_t hp)
{
	struct nvme_sqe s = { .opc = NVME_OP_SET_FEATURES };

	nvme_set_features_fid_put(&s, NVME_FID_CDQ);
	nvme_set_features_cdw11_put(&s, 5);
	nvme_set_features_cdw12_put(&s, hp);
	mr_admin(&r->p[0], s, 0);
}

static void cdq_good(struct mrig *r)
{
	cdq_make(r);
	cdq_post(r, 0, 1, NVME_ESA_FIRST, NVME_LBACIR_NONE, 0);
	cdq_post(r, 1, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1);
	cdq_head(r, 2);
	cdq_post(r, 2, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1);
	cdq_post(r, 3, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1);
	cdq_post(r, 0, 0, NVME_ESA_FULL, NVME_LBACIR_RANGE, 1);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->cdq_entries, 5);
}
TEST(data_queue_shared) { MRIG(r, false); cdq_good(r); }
TEST(data_queue_by_message) { MRIG(r, true); cdq_good(r); }

TEST(data_queue_phase)
{
	MRIG(r, true);
	cdq_make(r);
	cdq_post(r, 0, 0, NVME_ESA_FIRST, NVME_LBACIR_NONE, 0);
	EXPECT_RULE(r, CDQ_PHASE, 1);
	cdq_post(r, 1, 1, NVME_ESA_FIRST, NVME_LBACIR_NONE, 0);
	EXPECT_RULE(r, CDQ_PHASE, 2);
}

TEST(data_queue_full)
{
	MRIG(r, false);
	cdq_make(r);
	cdq_post(r, 0, 1, NVME_ESA_FIRST, NVME_LBACIR_NONE, 0);
	cdq_post(r, 1, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1);
	EXPECT_CLEAN(r);
	cdq_post(r, 2, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1); /* the last that fits must say so */
	EXPECT_RULE(r, CDQ_OVER, 1);
	cdq_post(r, 3, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1);
	EXPECT_RULE(r, CDQ_OVER, 2);
}

/* While a new head is asked for, and also when it was refused, the one before it is right. */
TEST(data_queue_head_refused)
{
	struct nvme_sqe s = { .opc = NVME_OP_SET_FEATURES, .cid = le16_of(0x99) };

	MRIG(r, false);
	cdq_make(r);
	cdq_post(r, 0, 1, NVME_ESA_FIRST, NVME_LBACIR_NONE, 0);
	nvme_set_features_fid_put(&s, NVME_FID_CDQ);
	nvme_set_features_cdw11_put(&s, 5);
	nvme_set_features_cdw12_put(&s, 3); /* of an entry that is not there */
	mr_submit(&r->p[0], 0, &s);
	cdq_post(r, 1, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1);
	EXPECT_CLEAN(r);
	mr_done(&r->p[0], 0, 0x99, NVME_INVALID_FIELD, 0);
	mr_consume(&r->p[0], 0);
	nvme_set_features_cdw12_put(&s, 1);
	mr_submit(&r->p[0], 0, &s);
	cdq_post(r, 2, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1); /* not the last one, if the new head holds */
	EXPECT_CLEAN(r);
	mr_done(&r->p[0], 0, 0x99, NVME_INVALID_FIELD, 0);
	mr_consume(&r->p[0], 0);
	cdq_post(r, 3, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1); /* but it did not */
	EXPECT_RULE(r, CDQ_OVER, 1);
}

TEST(data_queue_attributes)
{
	MRIG(r, false);
	cdq_make(r);
	cdq_post(r, 0, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1); /* the first says that it is */
	EXPECT_RULE(r, CDQ_ESA, 1);
	cdq_post(r, 1, 1, NVME_ESA_FIRST, NVME_LBACIR_RANGE, 1); /* and only the first */
	EXPECT_RULE(r, CDQ_ESA, 2);
	cdq_head(r, 2);
	cdq_post(r, 2, 1, 4, NVME_LBACIR_RANGE, 1); /* reserved */
	EXPECT_RULE(r, CDQ_ESA, 3);
	cdq_head(r, 3);
	cdq_post(r, 3, 1, NVME_ESA_STOPPED, NVME_LBACIR_NONE, 0);
	cdq_head(r, 0);
	EXPECT_RULE(r, CDQ_ESA, 3);
	cdq_post(r, 0, 0, NVME_ESA_NONE, NVME_LBACIR_RANGE, 1); /* after the last */
	EXPECT_RULE(r, CDQ_ESA, 4);
}

TEST(data_queue_change_information)
{
	MRIG(r, false);
	cdq_make(r);
	cdq_post(r, 0, 1, NVME_ESA_FIRST, 3, 1); /* reserved */
	EXPECT_RULE(r, CDQ_LBACIR, 1);
	cdq_head(r, 1);
	cdq_post(r, 1, 1, NVME_ESA_NONE, NVME_LBACIR_NONE, 0); /* an ordinary entry with nothing in it */
	EXPECT_RULE(r, CDQ_LBACIR, 2);
	cdq_head(r, 2);
	cdq_post(r, 2, 1, NVME_ESA_NONE, NVME_LBACIR_RANGE, 0); /* of no namespace */
	EXPECT_RULE(r, CDQ_LBACIR, 3);
}

TEST(data_queue_deleted)
{
	struct nvme_sqe s = { .opc = NVME_OP_CDQ };

	MRIG(r, true);
	cdq_make(r);
	nvme_cdq_sel_put(&s, NVME_CDQ_DELETE);
	nvme_cdq_cdqid_put(&s, 5);
	mr_admin(&r->p[0], s, 0);
	cdq_post(r, 0, 1, NVME_ESA_STOPPED, NVME_LBACIR_NONE, 0);
	EXPECT_RULE(r, CDQ_GONE, 1);
}

TEST(zz_every_rule_was_broken) { mr_every_rule("VU_ DBL_ SQ CQ CID_ IRQ_ DMA_ SUSP_ CDQ_", 30); }
