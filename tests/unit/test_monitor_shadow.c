/* Get Controller State against what passed: a controller that tells its queues as they are is told nothing; each field that is wrong is
 * found by its name. The controller has two I/O submission queues, 1 and 3, and their completion queues, used unevenly.
 */
#include "monrig.h"

enum { STATE_AT = 0x30000, SQS = 2, CQS = 2 };

struct image {
	struct nvme_state_head h;
	struct nvme_state_v0 v;
	struct nvme_state_sq sq[SQS];
	struct nvme_state_cq cq[CQS];
};

static uint16_t qid_of(unsigned i) { return i ? 3 : 1; }

/* As the book has it, from what the test did. */
static struct image image_of(struct mrig *r)
{
	struct image x = { .h = { .nvmecss = le64_of(2 + 6 * (SQS + CQS)), .csattr = NVME_CSATTR_CP }, .v = { .niosq = le16_of(SQS), .niocq = le16_of(CQS) } };
	struct mport *p = &r->p[1];

	for (unsigned i = 0; i < SQS; i++) {
		uint16_t q = qid_of(i);
		bool s0pt = p->cq_tail[q] ? p->phase[q] : !p->phase[q];

		x.sq[i] = (struct nvme_state_sq){ .prp1 = le64_of(mr_sq(q)), .qsize0 = le16_of(MR_Q - 1), .qid = le16_of(q), .cqid = le16_of(q),
						  .attr = le16_of(1), .head = le16_of(p->sq_head[q]), .tail = le16_of(p->sq_tail[q]) };
		x.cq[i] = (struct nvme_state_cq){ .prp1 = le64_of(mr_cq(q)), .qsize0 = le16_of(MR_Q - 1), .qid = le16_of(q), .head = le16_of(p->cq_head[q]),
						  .tail = le16_of(p->cq_tail[q]),
						  .attr = le32_of(NVME_STATE_CQ_PC | NVME_STATE_CQ_IEN | (s0pt ? NVME_STATE_CQ_S0PT : 0) |
								  (uint32_t)q << NVME_STATE_CQ_IV_SHIFT) };
	}
	return x;
}

static void work(struct mrig *r, unsigned q, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .cid = le16_of((uint16_t)(0x40 + i)) };

		mr_submit(&r->p[1], q, &s);
		mr_done(&r->p[1], q, (uint16_t)(0x40 + i), 0, 0);
		mr_consume(&r->p[1], q);
	}
}

static struct nvme_sqe get(uint64_t off, uint32_t len)
{
	struct nvme_sqe s = { .opc = NVME_OP_MIGRATION_RECEIVE, .prp1 = le64_of(STATE_AT) };

	nvme_migration_receive_csvi_put(&s, 1);
	nvme_migration_receive_cntlid_put(&s, MR_MC_ID);
	nvme_migration_receive_ol_put(&s, (uint32_t)off);
	nvme_migration_receive_numdl0_put(&s, len / 4 - 1);
	return s;
}

static void answer(struct mrig *r, const struct image *x)
{
	mr_admin_data(&r->p[0], get(0, sizeof(*x)), x, sizeof(*x), 1);
}

static void ready(struct mrig *r)
{
	mr_queues(&r->p[1], 3);
	work(r, 1, 5);
	work(r, 3, MR_Q + 3); /* another lap: its phase is 0 */
}

/* ---- nothing is wrong ------------------------------------------------------------------------------------------------- */

static void honest(struct mrig *r)
{
	struct image x;

	ready(r);
	for (unsigned i = 0; i < 2 * MR_Q + 1; i++) { /* every place of the ring, both phases */
		mr_suspend(r);
		x = image_of(r);
		answer(r, &x);
		mr_resume(r);
		work(r, 1 + 2 * (i & 1), 1);
	}
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->states, 2 * MR_Q + 1);
	EXPECT_EQ(monitor_stats(r->m)->unjudged, 0);
}
BOTH(honest)

static void give_pieces(struct mrig *r, struct image *x)
{
	for (unsigned at = 0; at < sizeof(*x); at += 40) {
		unsigned n = MIN(40u, (unsigned)sizeof(*x) - at);

		mr_admin_data(&r->p[0], get(at, n), (uint8_t *)x + at, n, 1);
	}
}

TEST(in_pieces)
{
	struct image x;

	MRIG(r, true);
	ready(r);
	mr_suspend(r);
	x = image_of(r);
	mr_admin_data(&r->p[0], get(0, 48), &x, 48, 1); /* how long is it? */
	EXPECT_EQ(monitor_stats(r->m)->states, 0);
	give_pieces(r, &x);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->states, 1);
	x.cq[1].tail = le16_of(1);
	give_pieces(r, &x);
	EXPECT_RULE(r, STATE_QUEUES, 1);
	EXPECT_EQ(monitor_stats(r->m)->states, 2);
}

/* In memory a piece may be something else by now, and nothing tells. */
TEST(in_pieces_shared)
{
	struct image x;

	MRIG(r, false);
	ready(r);
	mr_suspend(r);
	x = image_of(r);
	mr_admin_data(&r->p[0], get(0, 48), &x, 48, 1);
	memset(&x.cq, 0, sizeof(x.cq));
	give_pieces(r, &x);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->states, 0);
}

/* Of a running controller the fields need not fit together. */
static void while_it_runs(struct mrig *r)
{
	struct image x = { 0 };

	ready(r);
	mr_admin_data(&r->p[0], get(0, sizeof(x)), &x, sizeof(x), 0);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->states, 0);
}
BOTH(while_it_runs)

/* A controller whose queues were made before its client came to us. */
TEST(unknown_queues)
{
	struct image x = { .h = { .nvmecss = le64_of(2), .csattr = NVME_CSATTR_CP } };

	MRIG(r, true);
	mr_ask(&r->p[1], VUSER_DEVICE_RESET, NULL, 0, NULL, 0, NULL, 0); /* after which something else may have enabled it */
	mr_suspend(r);
	answer(r, &x);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->states, 0);
	EXPECT(monitor_stats(r->m)->unjudged > 0);
}

/* ---- each field ---------------------------------------------------------------------------------------------------------- */

/* What differs in memory may have been changed since by its host: nothing is said of it. */
static void expect_told(struct mrig *r, unsigned n)
{
	EXPECT_RULE(r, STATE_QUEUES, r->message ? n : 0);
}

enum { IN_HEAD = 0, IN_SQ = offsetof(struct image, sq[1]), IN_CQ = offsetof(struct image, cq[1]) };
static const struct lie { unsigned off; uint8_t flip; const char *what; bool by_message; } lies[] = {
	{ IN_HEAD + 2, 1, "CP is 0x0", true },
	{ IN_HEAD + 16, 4, "NVMECSS is 0x1e", true },
	{ IN_HEAD + 24, 1, "NVMECSS is 0x1a", true },
	{ offsetof(struct image, v) + 2, 1, "the number of submission queues is 0x3", true },
	{ offsetof(struct image, v) + 4, 3, "the number of completion queues is 0x1", true },
	{ IN_SQ + 0, 0, "SQ 3: PRP1 is 0x7080, and was 0x7000", false },
	{ IN_SQ + 8, 1, "SQ 3: QSIZE is 0x6", false },
	{ IN_SQ + 10, 1, "SQ 3: the identifier in its place is 0x2", false },
	{ IN_SQ + 12, 2, "SQ 3: CQID is 0x1", false },
	{ IN_SQ + 14, 1, "SQ 3: PC is 0x0", false },
	{ IN_SQ + 14, 2, "SQ 3: QPRIO is 0x1", false },
	{ IN_SQ + 16, 1, "SQ 3: the head is 0x2, and was 0x3", false },
	{ IN_SQ + 18, 1, "SQ 3: the tail is 0x2, and was 0x3", false },
	{ IN_CQ + 1, 1, "CQ 3: PRP1 is 0x8100", false },
	{ IN_CQ + 8, 8, "CQ 3: QSIZE is 0xf", false },
	{ IN_CQ + 10, 1, "CQ 3: the identifier in its place is 0x2", false },
	{ IN_CQ + 12, 1, "CQ 3: the head is 0x2, and was 0x3", false },
	{ IN_CQ + 14, 1, "CQ 3: the tail is 0x2, and was 0x3", false },
	{ IN_CQ + 16, 1, "CQ 3: PC is 0x0", false },
	{ IN_CQ + 16, 2, "CQ 3: IEN is 0x0", false },
	{ IN_CQ + 16, 4, "CQ 3: S0PT is 0x1, and was 0x0", false },
	{ IN_CQ + 18, 1, "CQ 3: the vector is 0x2", false },
};

static void each_field(struct mrig *r)
{
	unsigned told = 0;
	uint64_t unjudged;
	struct image x;

	ready(r);
	/* A command that completes tells that what the client said before it was heard: also the doorbell that consumed in the other queue. */
	work(r, 1, 1);
	mr_suspend(r);
	for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
		if (lies[i].by_message && !r->message)
			continue; /* in memory that is no answer, and may be anything */
		x = image_of(r);
		((uint8_t *)&x)[lies[i].off] ^= lies[i].flip ? lies[i].flip : 0x80;
		unjudged = monitor_stats(r->m)->unjudged;
		answer(r, &x);
		if (!r->message) {
			EXPECT(monitor_stats(r->m)->unjudged > unjudged);
			continue;
		}
		if (!strstr(mr_last_note(r), lies[i].what))
			fail_msg("\"%s\" was to be found; last: %s", lies[i].what, mr_last_note(r));
		EXPECT(monitor_stats(r->m)->broken[RULE_STATE_QUEUES] > told);
		told = (unsigned)monitor_stats(r->m)->broken[RULE_STATE_QUEUES];
		EXPECT_EQ(monitor_broken(r->m), told);
	}
	x = image_of(r);
	answer(r, &x);
	EXPECT_EQ(monitor_broken(r->m), told);
	if (!r->message)
		return;
	mr_admin_data(&r->p[0], get(0, sizeof(x)), &x, sizeof(x), 0);
	EXPECT_EQ(monitor_broken(r->m), told + 1);
	EXPECT(strstr(mr_last_note(r), "CSUP is 0x0"));
}
BOTH(each_field)

/* A queue that was deleted is not there; one that nobody made is. */
static void a_queue_too_many(struct mrig *r)
{
	struct nvme_sqe s = { .opc = NVME_OP_DELETE_SQ };
	struct image x;

	ready(r);
	x = image_of(r);
	nvme_delete_q_qid_put(&s, 3);
	mr_admin(&r->p[1], s, 0);
	s.opc = NVME_OP_DELETE_CQ;
	mr_admin(&r->p[1], s, 0);
	mr_suspend(r);
	answer(r, &x);
	expect_told(r, 2);
	x.h.nvmecss = le64_of(2 + 12);
	x.v.niosq = x.v.niocq = le16_of(1);
	x.sq[1] = (struct nvme_state_sq){ 0 };
	memcpy(&x.sq[1], &x.cq[0], sizeof(x.cq[0]));
	answer(r, &x);
	expect_told(r, 2);
	EXPECT_EQ(monitor_stats(r->m)->states, 1);
}
BOTH(a_queue_too_many)

/* ---- doorbells ------------------------------------------------------------------------------------------------------------ */

/* Rung while it is suspended: the tail may be the old one or the new one, until the server has answered something that came later. */
static void a_doorbell_on_its_way(struct mrig *r)
{
	struct { struct vuser_region_access a; le32 csts; } back = { { le64_of(NVME_REG_CSTS), le32_of(0), le32_of(4) }, le32_of(NVME_CSTS_RDY) };
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .cid = le16_of(0x99) };
	struct mport *p = &r->p[1];
	struct image x;

	ready(r);
	work(r, 1, 1);
	mr_suspend(r);
	mr_put(p, 1, &s);
	mr_put(p, 1, &s);
	mr_doorbell(p, 2, p->sq_tail[1]);
	x = image_of(r);
	answer(r, &x);
	x.sq[0].tail = x.sq[0].head; /* it has not heard of it yet */
	answer(r, &x);
	EXPECT_CLEAN(r);
	x.sq[0].tail = le16_of((p->sq_tail[1] + 1) % MR_Q); /* which nobody ever wrote */
	answer(r, &x);
	expect_told(r, 1);
	mr_ask(p, VUSER_REGION_READ, &back.a, sizeof(back.a), NULL, 0, &back, sizeof(back));
	x.sq[0].tail = x.sq[0].head;
	answer(r, &x);
	expect_told(r, 2);
	x = image_of(r);
	answer(r, &x);
	expect_told(r, 2);
	EXPECT_EQ(monitor_stats(r->m)->states, r->message ? 5 : 3);
}
BOTH(a_doorbell_on_its_way)

/* ---- a state that was set ------------------------------------------------------------------------------------------------- */

/* The Get at the target has to give back what the Set brought. */
static void set_and_got(struct mrig *r)
{
	struct nvme_sqe s = mr_migration_send(NVME_MIG_SET_STATE);
	struct image x;
	struct mport *mmc = &r->p[0];

	ready(r);
	x = image_of(r);
	x.sq[0].head = le16_of(3), x.sq[0].tail = le16_of(6); /* three to be fetched */
	mr_enable(&r->p[1]);
	mr_suspend(r);
	s.prp1 = le64_of(STATE_AT + 0x1000);
	s.cid = le16_of(0x55);
	nvme_migration_send_seqind_put(&s, NVME_SEQ_ONLY);
	nvme_migration_send_csvi_put(&s, 1);
	nvme_migration_send_numd_put(&s, sizeof(x) / 4);
	memcpy(mmc->mem + STATE_AT + 0x1000, &x, sizeof(x));
	mr_submit(mmc, 0, &s);
	if (r->message)
		mr_dma(mmc, false, STATE_AT + 0x1000, NULL, sizeof(x));
	mr_done(mmc, 0, 0x55, 0, 0);
	mr_consume(mmc, 0);
	answer(r, &x);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->states, 1);
	x.sq[0].head = le16_of(4);
	answer(r, &x);
	expect_told(r, 1);
	EXPECT(!r->message || strstr(mr_last_note(r), "SQ 1: the head is 0x4, and was 0x3"));
}
BOTH(set_and_got)

/* ---- in shared mode ------------------------------------------------------------------------------------------------------- */

/* What stands in memory is no answer any more: the host was faster. */
TEST(no_answer_any_more)
{
	struct image x;

	MRIG(r, false);
	ready(r);
	mr_suspend(r);
	memset(&x, 0, sizeof(x));
	answer(r, &x);
	memset(&x, 0x5a, sizeof(x));
	answer(r, &x);
	EXPECT_CLEAN(r);
	EXPECT_EQ(monitor_stats(r->m)->states, 0);
}

TEST(zz_every_rule_was_broken) { mr_every_rule("STATE_", 10); }
