/* Shared mode: memory that commands lend for reading only. A byte that a device changes there is named; what a host may do is held
 * against nobody. The rig's addresses are below 1 MiB: data from MR_DATA on, lists at LISTS.
 */
#include "monrig.h"

enum { LISTS = 0x30000, PAGE = 4096, PER_PAGE = 8 /* blocks */ };

#define GRIG(r, how)                  \
	mr_guard = MONITOR_GUARD_##how; \
	MRIG(r, false)

static uint64_t unsure(struct mrig *r) { return monitor_stats(r->m)->lent_unsure; }

/* Nothing but this, of that command, with these words in it. */
static void expect_told(struct mrig *r, const char *words)
{
	struct rec_reader *rd;
	struct rec_item it;
	unsigned n = 0;

	EXPECT_RULE(r, MEM_LENT, 1);
	rec_flush(r->store);
	rd = rec_reader_open(r->path, NULL);
	while (rec_read(rd, &it, NULL) == 1)
		if (it.what == REC_ITEM_TXN && it.rec.kind == REC_VIOLATION) {
			if (!strstr(it.rec.note, words))
				fail_msg("%s: not in: %s", words, it.rec.note);
			n += it.rec.parent != 0;
		}
	rec_reader_close(rd);
	EXPECT_EQ(n, 1);
}

/* Pages of data from MR_DATA on, by PRPs; with more than two of them in a list that ends in front of somebody else's bytes. */
static struct nvme_sqe rw(struct mport *p, uint8_t opc, uint16_t cid, unsigned pages)
{
	struct nvme_sqe s = mr_rw(opc, cid, MR_DATA, PER_PAGE * pages);

	s.prp2 = le64_of(pages > 2 ? LISTS : MR_DATA + PAGE);
	for (unsigned i = 1; pages > 2 && i < pages; i++) {
		le64 e = le64_of(MR_DATA + (uint64_t)i * PAGE);

		memcpy(p->mem + LISTS + 8 * (i - 1), &e, 8);
	}
	return s;
}

static void poke(struct mrig *r, uint64_t at)
{
	r->p[1].mem[at] ^= 0x20;
	for (unsigned i = 0; i < 64; i++) /* some of it at a time */
		mr_pump(r);
}

/* The completion is in memory, and nobody has looked yet. */
static void complete_quietly(struct mport *p, uint16_t cid)
{
	struct nvme_cqe e = mr_cqe(p, 1, 1, cid, 0, 0);

	memcpy(p->mem + mr_cq(1) + 16u * p->cq_tail[1]++, &e, sizeof(e));
}

/* ---- what a device may not ------------------------------------------------------------------------------------------------- */

static void data_changes(unsigned pages, uint64_t at, const char *words)
{
	struct nvme_sqe s;

	GRIG(r, ALL);
	s = rw(&r->p[1], NVME_NVM_WRITE, 7, pages);
	mr_submit(&r->p[1], 1, &s);
	EXPECT_CLEAN(r);
	poke(r, at);
	expect_told(r, words);
	poke(r, at); /* once is enough */
	mr_done(&r->p[1], 1, 7, 0, 0);
	expect_told(r, words);
	EXPECT_EQ(unsure(r), 0);
}
TEST(data_of_a_write) { data_changes(1, MR_DATA + 4095, "the data of Write, SQ 1, CID 0x7: byte at 0x40fff is 20h, was 00h, while it is out"); }
TEST(second_page) { data_changes(2, MR_DATA + 5000, "byte at 0x41388"); }
TEST(page_in_a_list) { data_changes(4, MR_DATA + 3 * PAGE, "byte at 0x43000"); }
TEST(large_data_has_sums) { data_changes(32, MR_DATA + 31 * PAGE + 9, "one of the 4096 bytes at 0x5f000"); }
TEST(first_bytes_of_large_data_are_known) { data_changes(32, MR_DATA + 9, "byte at 0x40009"); }

TEST(data_at_the_completion)
{
	struct nvme_sqe s;

	GRIG(r, ALL);
	s = rw(&r->p[1], NVME_NVM_WRITE, 7, 1);
	mr_submit(&r->p[1], 1, &s);
	r->p[1].mem[MR_DATA + 3] ^= 1;
	complete_quietly(&r->p[1], 7);
	mr_pump(r);
	expect_told(r, "byte at 0x40003 is 01h, was 00h, when it has completed");
}

static void ranges_change(uint8_t opc, uint64_t at, bool lent)
{
	struct nvme_sqe s = { .opc = opc, .cid = le16_of(3), .nsid = le32_of(1), .prp1 = le64_of(MR_DATA) };

	GRIG(r, ALL);
	if (opc == NVME_NVM_DSM)
		nvme_dsm_nr0_put(&s, 2);
	else
		nvme_copy_nr0_put(&s, 2);
	mr_submit(&r->p[1], 1, &s);
	poke(r, at);
	if (lent)
		expect_told(r, "the data of");
	else
		EXPECT_CLEAN(r);
}
TEST(ranges_of_a_dsm) { ranges_change(NVME_NVM_DSM, MR_DATA + 47, true); }
TEST(behind_the_ranges_of_a_dsm) { ranges_change(NVME_NVM_DSM, MR_DATA + 48, false); }
TEST(ranges_of_a_copy) { ranges_change(NVME_NVM_COPY, MR_DATA + 95, true); }
TEST(behind_the_ranges_of_a_copy) { ranges_change(NVME_NVM_COPY, MR_DATA + 96, false); }

static void list_changes(uint8_t opc, uint64_t at, bool lent)
{
	struct nvme_sqe s;

	GRIG(r, LISTS);
	s = rw(&r->p[1], opc, 7, 4);
	mr_submit(&r->p[1], 1, &s);
	poke(r, at);
	if (lent)
		expect_told(r, "a PRP list or SGL segment");
	else
		EXPECT_CLEAN(r);
}
TEST(list_of_a_read) { list_changes(NVME_NVM_READ, LISTS + 23, true); }
TEST(list_of_a_write) { list_changes(NVME_NVM_WRITE, LISTS, true); }
TEST(behind_the_list) { list_changes(NVME_NVM_READ, LISTS + 24, false); }

/* The last entry of a list page leads to the next page, where one entry is used. */
TEST(list_of_two_pages)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 7, MR_DATA, PER_PAGE * 4);

	GRIG(r, LISTS);
	for (unsigned i = 0; i < 2; i++)
		memcpy(r->p[1].mem + LISTS + PAGE - 16 + 8 * i, &(le64){ { 0, 0x10, (uint8_t)(i ? 3 : 4) } }, 8); /* 41000h, 31000h */
	for (unsigned i = 0; i < 2; i++)
		memcpy(r->p[1].mem + LISTS + PAGE + 8 * i, &(le64){ { 0, (uint8_t)(0x20 + 0x10 * i), 4 } }, 8);
	s.prp2 = le64_of(LISTS + PAGE - 16);
	mr_submit(&r->p[1], 1, &s);
	poke(r, LISTS + PAGE + 16);
	poke(r, LISTS + PAGE - 17);
	EXPECT_CLEAN(r);
	poke(r, LISTS + PAGE + 15);
	expect_told(r, "byte at 0x3100f");
}

TEST(an_sgl_segment)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 7, 0, PER_PAGE);
	struct nvme_sgl d = { .addr = le64_of(LISTS), .len = le32_of(32), .type = NVME_SGL_LAST << 4 };

	GRIG(r, LISTS);
	s.flags = NVME_PSDT_SGL;
	memcpy(&s.prp1, &d, sizeof(d));
	for (unsigned i = 0; i < 2; i++) {
		d = (struct nvme_sgl){ .addr = le64_of(MR_DATA + 0x10000ull * i), .len = le32_of(2048), .type = NVME_SGL_DATA << 4 };
		memcpy(r->p[1].mem + LISTS + 16 * i, &d, sizeof(d));
	}
	mr_submit(&r->p[1], 1, &s);
	poke(r, LISTS + 32);
	EXPECT_CLEAN(r);
	poke(r, LISTS + 31);
	expect_told(r, "a PRP list or SGL segment of Read");
}

TEST(a_submission_entry)
{
	struct nvme_sqe s;

	GRIG(r, LISTS);
	s = rw(&r->p[1], NVME_NVM_WRITE, 7, 1);
	mr_submit(&r->p[1], 1, &s);
	poke(r, mr_sq(1) + 40);
	expect_told(r, "the submission entry of Write, SQ 1, CID 0x7: byte at 0x3028");
}

/* ---- what a host may -------------------------------------------------------------------------------------------------------- */

TEST(a_good_device)
{
	GRIG(r, ALL);
	for (uint16_t i = 0; i < 10 * MR_Q; i++) {
		struct nvme_sqe s = rw(&r->p[1], i & 1 ? NVME_NVM_READ : NVME_NVM_WRITE, i, 1 + i % 40);

		mr_submit(&r->p[1], 1, &s);
		for (unsigned k = 0; i & 1 && k < (1u + i % 40) * PAGE; k += 100)
			r->p[1].mem[MR_DATA + k] = (uint8_t)i;
		mr_pump(r);
		mr_done(&r->p[1], 1, i, 0, 0);
		memset(r->p[1].mem + mr_sq(1) + 64u * (i % MR_Q), 0xff, 64);	/* the slot, the list and the data are the host's again */
		memset(r->p[1].mem + LISTS, i, PAGE);
		memset(r->p[1].mem + MR_DATA, i, PAGE);
		mr_consume(&r->p[1], 1);
	}
	EXPECT_CLEAN(r);
	EXPECT_EQ(unsure(r), 0);
	EXPECT_EQ(monitor_stats(r->m)->unjudged, 0);
	EXPECT_EQ(monitor_stats(r->m)->lent, monitor_stats(r->m)->commands);
}

/* Linux may change a page while it is being written. */
TEST(an_operating_system_changes_data)
{
	struct nvme_sqe s;

	GRIG(r, LISTS);
	s = rw(&r->p[1], NVME_NVM_WRITE, 7, 2);
	mr_submit(&r->p[1], 1, &s);
	poke(r, MR_DATA);
	mr_done(&r->p[1], 1, 7, 0, 0);
	EXPECT_CLEAN(r);
}

/* A host that polls is done with the command before we look, and uses entry and list for something else. */
TEST(a_host_that_polls)
{
	struct nvme_sqe s;

	GRIG(r, LISTS);
	s = rw(&r->p[1], NVME_NVM_WRITE, 7, 4);
	mr_submit(&r->p[1], 1, &s);
	complete_quietly(&r->p[1], 7);
	memset(r->p[1].mem + mr_sq(1), 0xff, 64);
	memset(r->p[1].mem + LISTS, 0xff, PAGE);
	mr_pump(r);
	EXPECT_CLEAN(r);
}

/* The doorbell that says so is what we hear first: then the data may be the host's again. */
TEST(a_host_that_rang)
{
	struct nvme_sqe s;

	GRIG(r, ALL);
	s = rw(&r->p[1], NVME_NVM_WRITE, 7, 1);
	mr_submit(&r->p[1], 1, &s);
	complete_quietly(&r->p[1], 7);
	r->p[1].mem[MR_DATA] ^= 1;
	mr_consume(&r->p[1], 1);
	EXPECT_CLEAN(r);
	EXPECT_EQ(unsure(r), 1);
}

/* The slot is free as soon as another completion has said that the head has passed it. */
TEST(a_slot_that_was_passed)
{
	struct nvme_sqe a, b;

	GRIG(r, ALL);
	a = rw(&r->p[1], NVME_NVM_READ, 7, 1);
	b = rw(&r->p[1], NVME_NVM_READ, 8, 1);
	mr_submit(&r->p[1], 1, &a);
	mr_submit(&r->p[1], 1, &b);
	complete_quietly(&r->p[1], 8);
	poke(r, mr_sq(1) + 8);
	EXPECT_CLEAN(r);
	EXPECT_EQ(unsure(r), 0);
}

/* One buffer in two commands: the reading one may write it, whichever of them is over first. */
static void shared_buffer(bool over)
{
	struct nvme_sqe w, rd;

	GRIG(r, ALL);
	w = rw(&r->p[1], NVME_NVM_WRITE, 7, 1);
	rd = rw(&r->p[1], NVME_NVM_READ, 8, 1);
	mr_submit(&r->p[1], 1, &w);
	mr_submit(&r->p[1], 1, &rd);
	if (over) {
		complete_quietly(&r->p[1], 8);
		mr_pump(r);
	}
	poke(r, MR_DATA + 17);
	EXPECT_CLEAN(r);
	EXPECT_EQ(unsure(r), 1);
}
TEST(a_buffer_of_two_commands) { shared_buffer(false); }
TEST(a_buffer_of_two_commands_one_is_over) { shared_buffer(true); }

/* A completion queue in the middle of it. (No host does this.) */
TEST(a_queue_in_the_data)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_WRITE, 7, mr_cq(0), PER_PAGE);

	GRIG(r, ALL);
	mr_submit(&r->p[1], 1, &s);
	mr_admin(&r->p[1], (struct nvme_sqe){ .opc = NVME_OP_ABORT }, 0);
	EXPECT_CLEAN(r);
}

TEST(memory_that_is_taken_away)
{
	struct vuser_dma_unmap u = { le32_of(24), le32_of(0), le64_of(0), le64_of(MR_MEM) };
	struct nvme_sqe s;
	struct mport *p;

	GRIG(r, ALL);
	p = &r->p[1];
	s = rw(p, NVME_NVM_WRITE, 7, 1);
	mr_submit(p, 1, &s);
	mr_ask(p, VUSER_DMA_UNMAP, &u, sizeof(u), NULL, 0, &u, sizeof(u));
	p->mem[MR_DATA] ^= 1;
	mr_map(p);
	mr_pump(r);
	EXPECT_CLEAN(r);
}

/* Off is off, and in message mode the accesses themselves are judged. */
TEST(off)
{
	struct nvme_sqe s;

	GRIG(r, OFF);
	s = rw(&r->p[1], NVME_NVM_WRITE, 7, 4);
	mr_submit(&r->p[1], 1, &s);
	poke(r, LISTS);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->lent, 0);
}

/* The last case. */
TEST(zz_every_rule_was_broken) { mr_every_rule("MEM_", 20); }
