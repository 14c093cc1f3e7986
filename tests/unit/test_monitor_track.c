/* Memory tracking, as the monitor judges it: a device that reports each page it wrote is told nothing; one that forgets a page, or is late
 * with it, or writes after its last word, is. Data of Reads lies at MR_DATA + page * PAGE; what is tracked is 8 pages from MR_DATA, and the
 * second I/O completion queue.
 */
#include "monrig.h"

enum { PAGE = 4096, LIST_AT = 0x20000, REPORT_AT = 0x30000, MTR = NVME_TRACKED_MTR, SUSP = NVME_TRACKED_SUSP };

static uint64_t page(unsigned n) { return MR_DATA + (uint64_t)n * PAGE; }

static void track(struct mrig *r, bool on)
{
	struct nvme_track_mem h = { .rnmrtd = le32_of(2) };
	struct nvme_track_mem_range d[2] = { { le64_of(page(0)), le32_of(8) }, { le64_of(mr_cq(1)), le32_of(1) } };
	struct nvme_sqe s = { .opc = NVME_OP_TRACK_SEND, .prp1 = le64_of(LIST_AT) };
	struct mport *p = &r->p[0];

	nvme_track_send_sel_put(&s, NVME_TRACK_MEMORY);
	nvme_track_send_tact_put(&s, on);
	nvme_track_send_cntlid_put(&s, MR_MC_ID);
	s.cid = le16_of(0x600);
	memcpy(p->mem + LIST_AT, &h, sizeof(h));
	memcpy(p->mem + LIST_AT + sizeof(h), d, sizeof(d));
	mr_submit(p, 0, &s);
	if (on && r->message) {
		mr_dma(p, false, LIST_AT, NULL, sizeof(h));
		mr_dma(p, false, LIST_AT, NULL, sizeof(h) + sizeof(d));
	}
	mr_done(p, 0, 0x600, 0, 0);
	mr_consume(p, 0);
}

/* The MC reads a block into that page, all the way to the completion. */
static void dirty(struct mrig *r, unsigned n)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, (uint16_t)(0x40 + n), page(n), 1);
	uint8_t data[512] = { 1 };

	mr_submit(&r->p[1], 1, &s);
	if (r->message)
		mr_dma(&r->p[1], true, page(n), data, sizeof(data));
	mr_done(&r->p[1], 1, (uint16_t)(0x40 + n), 0, 0);
	mr_consume(&r->p[1], 1);
}

/* A report: runs of pages, each as first << 8 | count. */
struct rep { struct nvme_tracked h; struct nvme_tracked_range d[8]; };
static struct rep report_of(unsigned attrb, unsigned n, const struct nvme_tracked_range *d)
{
	struct rep x = { .h = { .attrb = (uint8_t)attrb, .cntlid = le16_of(MR_MC_ID), .ntmcd = le32_of(n) } };

	memcpy(x.d, d, n * sizeof(*d));
	return x;
}

static struct nvme_sqe receive(void)
{
	struct nvme_sqe s = { .opc = NVME_OP_TRACK_RECEIVE, .prp1 = le64_of(REPORT_AT) };

	nvme_track_receive_cntlid_put(&s, MR_MC_ID);
	nvme_track_receive_numdl0_put(&s, sizeof(struct rep) / 4 - 1);
	return s;
}

static void report(struct mrig *r, struct rep x)
{
	mr_admin_data(&r->p[0], receive(), &x, sizeof(x), 0);
}

#define RUN(first, count) { le64_of(page(first)), le32_of(count), { 0 } }
#define CQ_RUN { le64_of(mr_cq(1)), le32_of(1), { 0 } }
#define REPORT(r, attrb, ...) do {                                                                                     \
		struct nvme_tracked_range d_[] = { __VA_ARGS__ };                                                      \
		report(r, report_of(attrb, sizeof(d_) / sizeof(d_[0]), d_));                                           \
	} while (0)
static void report_nothing(struct mrig *r, unsigned attrb) { report(r, report_of(attrb, 0, (struct nvme_tracked_range[1]){ 0 })); }

/* ---- nothing is wrong ------------------------------------------------------------------------------------------------- */

static void honest(struct mrig *r)
{
	dirty(r, 7); /* before it is tracked */
	track(r, true);
	dirty(r, 0), dirty(r, 1), dirty(r, 3);
	REPORT(r, MTR, RUN(0, 2));
	REPORT(r, 0, RUN(3, 1), CQ_RUN);
	report_nothing(r, 0);
	dirty(r, 3);
	REPORT(r, 0, RUN(2, 4), CQ_RUN); /* more than was written */
	dirty(r, 5);
	mr_suspend(r);
	REPORT(r, SUSP | MTR, CQ_RUN);
	REPORT(r, SUSP, RUN(5, 1));
	report_nothing(r, SUSP);
	mr_resume(r);
	dirty(r, 6);
	REPORT(r, 0, RUN(6, 1), CQ_RUN);
	dirty(r, 1);
	mr_suspend(r);
	REPORT(r, SUSP, RUN(1, 1), CQ_RUN); /* the last word was that of the standstill before */
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->reports, 7);
	EXPECT_EQ(monitor_stats(r->m)->unjudged, 0);
}
BOTH(honest)

/* Who stops the tracking is asked for nothing; who starts it anew only for what came since. */
static void begun_anew(struct mrig *r)
{
	track(r, true);
	dirty(r, 0);
	track(r, false);
	dirty(r, 1);
	track(r, true);
	report_nothing(r, 0);
	EXPECT_CLEAN(r);
	dirty(r, 1);
	report_nothing(r, 0);
	EXPECT(monitor_stats(r->m)->broken[RULE_TRACK_MISSED] > 0);
}
BOTH(begun_anew)

/* Resets of either controller end it, and so does a client that leaves. */
TEST(ended_by_a_reset)
{
	for (unsigned i = 0; i < 2; i++) {
		MRIG(r, true);
		track(r, true);
		dirty(r, 0);
		mr_enable(&r->p[i]);
		mr_queues(&r->p[i], 1);
		report_nothing(r, 0); /* it ought to say that it tracks nothing; but that is not for this rule */
		EXPECT_CLEAN(r);
		EXPECT_EQ(monitor_stats(r->m)->reports, 0);
	}
}

/* A report that failed has taken nothing away. */
static void failed(struct mrig *r)
{
	struct nvme_sqe s = receive();
	struct mport *p = &r->p[0];

	track(r, true);
	dirty(r, 2);
	s.cid = le16_of(0x77);
	mr_submit(p, 0, &s);
	mr_done(p, 0, 0x77, NVME_INVALID_FIELD, 0);
	mr_consume(p, 0);
	EXPECT_CLEAN(r);
	REPORT(r, 0, CQ_RUN);
	EXPECT_RULE(r, TRACK_MISSED, 1);
}
BOTH(failed)

/* ---- a page is forgotten ------------------------------------------------------------------------------------------------ */

static void forgotten(struct mrig *r)
{
	track(r, true);
	dirty(r, 0), dirty(r, 2), dirty(r, 4);
	REPORT(r, 0, RUN(0, 1), RUN(4, 1), CQ_RUN);
	EXPECT_RULE(r, TRACK_MISSED, 1);
	EXPECT(strstr(mr_last_note(r), "page 0x42000 (data), written by record "));
	EXPECT(strstr(mr_last_note(r), "reported before it: 0x40000+0x1000; behind it: 0x44000"));
	report_nothing(r, 0); /* told once */
	EXPECT_RULE(r, TRACK_MISSED, 1);
}
BOTH(forgotten)

static void reported_only_later(struct mrig *r)
{
	track(r, true);
	dirty(r, 2);
	REPORT(r, 0, CQ_RUN);
	REPORT(r, 0, RUN(2, 1));
	EXPECT_RULE(r, TRACK_MISSED, 1);
}
BOTH(reported_only_later)

/* As long as there is more to come, nothing is missing. */
static void more_to_come(struct mrig *r)
{
	track(r, true);
	dirty(r, 2), dirty(r, 3);
	REPORT(r, MTR, CQ_RUN);
	EXPECT_CLEAN(r);
	REPORT(r, 0, RUN(3, 1));
	EXPECT_RULE(r, TRACK_MISSED, 1);
}
BOTH(more_to_come)

/* A completion queue's page in shared memory, where the host sees it; by message only when it must be done: see below. */
TEST(completion_queue_forgotten)
{
	MRIG(r, false);
	track(r, true);
	dirty(r, 2);
	REPORT(r, 0, RUN(2, 1));
	EXPECT_RULE(r, TRACK_MISSED, 1);
	EXPECT(strstr(mr_last_note(r), "(completion queue)"));
}

/* By message, the entry's write is known to be done when the controller has acted on a doorbell that came behind the answer to it. */
TEST(completion_queue_forgotten_by_message)
{
	MRIG(r, true);
	track(r, true);
	dirty(r, 2);
	REPORT(r, 0, RUN(2, 1));
	EXPECT_CLEAN(r);
	dirty(r, 3);
	REPORT(r, 0, RUN(3, 1));
	EXPECT_RULE(r, TRACK_MISSED, 1);
	EXPECT(strstr(mr_last_note(r), "(completion queue)"));
}

/* Many are told as a few. */
TEST(everything_forgotten)
{
	MRIG(r, true);
	track(r, true);
	for (unsigned i = 0; i < 8; i++)
		dirty(r, i);
	report_nothing(r, 0);
	EXPECT_RULE(r, TRACK_MISSED, 8);
}

/* ---- what is not certain ----------------------------------------------------------------------------------------------- */

/* By message a write is not done before its command is, or before the controller can have heard that it arrived. */
TEST(not_yet_completed)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, page(2), 1);
	uint8_t data[512] = { 2 };

	MRIG(r, true);
	track(r, true);
	mr_submit(&r->p[1], 1, &s);
	mr_dma(&r->p[1], true, page(2), data, sizeof(data));
	report_nothing(r, 0);
	EXPECT_CLEAN(r);
	mr_done(&r->p[1], 1, 5, 0, 0);
	report_nothing(r, 0);
	EXPECT_RULE(r, TRACK_MISSED, 1);
}

/* In shared memory nobody sees when data was written: it may have been in a report before its completion came. */
TEST(reported_before_it_completed)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, page(2), 1);

	MRIG(r, false);
	track(r, true);
	mr_submit(&r->p[1], 1, &s);
	REPORT(r, 0, RUN(2, 1));
	mr_done(&r->p[1], 1, 5, 0, 0);
	REPORT(r, 0, CQ_RUN);
	EXPECT_CLEAN(r);
}

/* Said before the report was made, read after it: it may be in that one, and is not asked for in the next. */
TEST(on_its_way_while_reported)
{
	struct { struct vuser_hdr h; struct vuser_dma_access a; uint8_t data[512]; } w = {
		{ le16_of(0x7001), le16_of(VUSER_DMA_WRITE), le32_of(sizeof(w)), le32_of(0), le32_of(0) }, { le64_of(page(2)), le64_of(512) }, { 0 } };
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, page(2), 1);
	struct mport *mc;

	MRIG(r, true);
	mc = &r->p[1];
	track(r, true);
	mr_submit(mc, 1, &s);
	EXPECT_EQ(send(mc->server, &w, 100, MSG_NOSIGNAL), 100);
	mr_pump(r);
	REPORT(r, 0, RUN(2, 1));
	EXPECT_EQ(send(mc->server, (uint8_t *)&w + 100, sizeof(w) - 100, MSG_NOSIGNAL), sizeof(w) - 100);
	mr_hear(mc, mc->client);
	mr_send(mc, mc->client, 0x7001, VUSER_DMA_WRITE, VUSER_TYPE_REPLY, &w.a, sizeof(w.a), NULL, 0, NULL, 0);
	mr_hear(mc, mc->server);
	mr_done(mc, 1, 5, 0, 0);
	REPORT(r, 0, CQ_RUN);
	EXPECT_CLEAN(r);
	mr_consume(mc, 1);
	dirty(r, 2); /* but this one is new */
	REPORT(r, 0, CQ_RUN);
	EXPECT_RULE(r, TRACK_MISSED, 1);
}

/* Another report that is out may have it. */
TEST(two_reports_at_once)
{
	struct rep has = report_of(0, 2, (struct nvme_tracked_range[]){ RUN(2, 1), CQ_RUN }), none = report_of(0, 0, (struct nvme_tracked_range[1]){ 0 });
	struct nvme_sqe a = receive(), b = receive();
	struct mport *p;

	MRIG(r, true);
	p = &r->p[0];
	track(r, true);
	dirty(r, 2);
	a.cid = le16_of(0x71), b.cid = le16_of(0x72);
	b.prp1 = le64_of(REPORT_AT + PAGE);
	mr_submit(p, 0, &a);
	mr_submit(p, 0, &b);
	mr_dma(p, true, REPORT_AT, &has, sizeof(has));
	mr_dma(p, true, REPORT_AT + PAGE, &none, sizeof(none));
	mr_done(p, 0, 0x72, 0, 0);
	mr_done(p, 0, 0x71, 0, 0);
	EXPECT_CLEAN(r);
}

/* What the host refuses was not written. */
TEST(refused_by_the_host)
{
	struct vuser_dma_access a = { le64_of(page(2)), le64_of(512) };
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, page(2), 1);
	uint8_t data[512] = { 0 };
	struct mport *mc;

	MRIG(r, true);
	mc = &r->p[1];
	track(r, true);
	mr_submit(mc, 1, &s);
	mr_send(mc, mc->server, 0x7001, VUSER_DMA_WRITE, 0, &a, sizeof(a), data, sizeof(data), NULL, 0);
	mr_hear(mc, mc->client);
	mr_send(mc, mc->client, 0x7001, VUSER_DMA_WRITE, VUSER_TYPE_REPLY | VUSER_ERROR, NULL, 0, NULL, 0, NULL, 0);
	mr_hear(mc, mc->server);
	mr_done(mc, 1, 5, NVME_DATA_TRANSFER_ERROR, 0);
	mr_suspend(r);
	REPORT(r, SUSP, CQ_RUN);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->reports, 1);
}

/* Ranges that are not the host's memory any more. */
TEST(unmapped_while_tracked)
{
	struct vuser_dma_unmap u = { le32_of(24), le32_of(0), le64_of(0), le64_of(MR_MEM) };

	MRIG(r, true);
	track(r, true);
	dirty(r, 2);
	mr_ask(&r->p[1], VUSER_DMA_UNMAP, &u, sizeof(u), NULL, 0, &u, sizeof(u));
	report_nothing(r, 0);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->reports, 0);
}

/* In shared mode the host may have used the report's memory before we came to read it. */
TEST(no_report_any_more)
{
	struct rep junk;

	MRIG(r, false);
	memset(&junk, 0x5a, sizeof(junk));
	track(r, true);
	dirty(r, 2);
	report(r, junk);
	report_nothing(r, 0); /* whatever that one said, it may have been this page */
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->unjudged, 1);
}

/* ---- the last report --------------------------------------------------------------------------------------------------- */

/* When it is suspended all that it did is done: also what it never completed. */
static void last_leaves_out(struct mrig *r)
{
	track(r, true);
	dirty(r, 2);
	REPORT(r, 0, RUN(2, 1), CQ_RUN);
	dirty(r, 3);
	mr_suspend(r);
	REPORT(r, SUSP, RUN(3, 1));
	EXPECT_RULE(r, TRACK_FINAL, 1);
	EXPECT(strstr(mr_last_note(r), "(completion queue)"));
}
BOTH(last_leaves_out)

TEST(last_leaves_out_what_failed)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, page(2), 1);
	uint8_t data[512] = { 0 };

	MRIG(r, true);
	track(r, true);
	mr_submit(&r->p[1], 1, &s);
	mr_dma(&r->p[1], true, page(2), data, sizeof(data));
	mr_done(&r->p[1], 1, 5, 0x281, 0);
	report_nothing(r, 0); /* some of it may not have been written */
	EXPECT_CLEAN(r);
	mr_suspend(r);
	REPORT(r, SUSP, CQ_RUN);
	EXPECT_RULE(r, TRACK_FINAL, 1);
}

/* Nobody sees how much of its data a command that failed has written. */
TEST(failed_in_shared_memory)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, page(2), 1);

	MRIG(r, false);
	track(r, true);
	mr_submit(&r->p[1], 1, &s);
	mr_done(&r->p[1], 1, 5, 0x281, 0);
	mr_suspend(r);
	REPORT(r, SUSP, CQ_RUN);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->reports, 1);
}

TEST(write_after_the_last_report)
{
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, page(2), 1);
	uint8_t data[512] = { 0 };

	MRIG(r, true);
	track(r, true);
	mr_submit(&r->p[1], 1, &s);
	mr_suspend(r);
	mr_dma(&r->p[1], true, page(2), data, sizeof(data));
	EXPECT_RULE(r, SUSP_DMA, 1);
	REPORT(r, SUSP, RUN(2, 1));
	EXPECT_RULE(r, SUSP_DMA, 1);
	mr_dma(&r->p[1], true, page(2), data, sizeof(data));
	EXPECT_EQ(monitor_stats(r->m)->broken[RULE_SUSP_DMA], 2);
	EXPECT_EQ(monitor_stats(r->m)->broken[RULE_TRACK_FINAL], 1);
}

static void report_after_the_last(struct mrig *r)
{
	track(r, true);
	dirty(r, 2);
	mr_suspend(r);
	REPORT(r, SUSP, RUN(2, 1), CQ_RUN);
	EXPECT_CLEAN(r);
	REPORT(r, SUSP, RUN(2, 1));
	EXPECT_RULE(r, TRACK_FINAL, 1);
}
BOTH(report_after_the_last)

/* Read from its socket after the Suspend, and after the report, but said before: it had to be in that report or an earlier one, so it is
 * asked for by the next; and an honest controller has it there. */
TEST(older_than_the_suspend)
{
	struct { struct vuser_hdr h; struct vuser_dma_access a; uint8_t data[512]; } w = {
		{ le16_of(0x7001), le16_of(VUSER_DMA_WRITE), le32_of(sizeof(w)), le32_of(0), le32_of(0) }, { le64_of(page(2)), le64_of(512) }, { 0 } };
	struct nvme_sqe s = mr_rw(NVME_NVM_READ, 5, page(2), 1);
	struct mport *mc;

	MRIG(r, true);
	mc = &r->p[1];
	track(r, true);
	mr_submit(mc, 1, &s);
	EXPECT_EQ(send(mc->server, &w, 100, MSG_NOSIGNAL), 100);
	mr_pump(r);
	mr_suspend(r);
	EXPECT_EQ(send(mc->server, (uint8_t *)&w + 100, sizeof(w) - 100, MSG_NOSIGNAL), sizeof(w) - 100);
	mr_hear(mc, mc->client);
	EXPECT_CLEAN(r);
	report_nothing(r, SUSP);
	EXPECT_RULE(r, TRACK_FINAL, 1);
}

/* ---- reports that cannot be ------------------------------------------------------------------------------------------- */

TEST(report_contradicts_itself)
{
	static const struct { const char *why; struct nvme_tracked h; } bad[] = {
		{ "MTR is 1", { .attrb = MTR, .cntlid = { { MR_MC_ID } } } },
		{ "CNTLID", { .cntlid = { { MR_MC_ID + 1 } } } },
		{ "VER", { .ver = 1, .cntlid = { { MR_MC_ID } } } },
		{ "reserved", { .attrb = 4, .cntlid = { { MR_MC_ID } } } },
		{ "reserved", { .cntlid = { { MR_MC_ID } }, .rsvd10 = { 1 } } },
		{ "NTMCD", { .cntlid = { { MR_MC_ID } }, .ntmcd = { { 9 } } } },
		{ "RPMPG is larger", { .cntlid = { { MR_MC_ID } }, .rpmpg = { { 60 } } } },
		{ "SADDR", { .cntlid = { { MR_MC_ID } }, .ntmcd = { { 1 } }, .rpmpg = { { 1 } } } },
	};
	MRIG(r, true);
	track(r, true);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct rep x = { .h = bad[i].h, .d = { RUN(1, 1) } };

		report(r, x);
		EXPECT_RULE(r, TRACK_REPORT, i + 1);
		EXPECT(strstr(mr_last_note(r), bad[i].why));
	}
	report_nothing(r, 0);
	EXPECT_RULE(r, TRACK_REPORT, ARRAY_LEN(bad));
	mr_suspend(r);
	report_nothing(r, 0);
	EXPECT_RULE(r, TRACK_REPORT, ARRAY_LEN(bad) + 1);
	EXPECT(strstr(mr_last_note(r), "SUSP is 0"));
}

/* Larger units: what was written is inside, that is enough. */
TEST(coarse_report)
{
	struct rep x = report_of(0, 2, (struct nvme_tracked_range[]){ RUN(0, 2), CQ_RUN });

	MRIG(r, true);
	track(r, true);
	dirty(r, 3), dirty(r, 7);
	x.h.rpmpg = le16_of(2);
	report(r, x);
	EXPECT_CLEAN(r);
	dirty(r, 4);
	x.d[0].len = le32_of(1);
	report(r, x);
	EXPECT_RULE(r, TRACK_MISSED, 1);
}

TEST(zz_every_rule_was_broken) { mr_every_rule("TRACK_", 20); }
