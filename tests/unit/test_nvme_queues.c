/* The device core: rings, doorbells (shadow ones too), interrupts. White box where it must be. */
#include "slow.h"

/* ---- queues ---- */

TEST(queue_create_judges)
{
	RIG(r, .disabled = false);

	EXPECT_EQ(nvme_cq_create(r.mc, 0, 16, 0x1000, true, 0), NVME_QID_INVALID);
	EXPECT_EQ(nvme_cq_create(r.mc, 65, 16, 0x1000, true, 0), NVME_QID_INVALID);
	EXPECT_EQ(nvme_cq_create(r.mc, 1, 1, 0x1000, true, 0), NVME_QSIZE_INVALID);
	EXPECT_EQ(nvme_cq_create(r.mc, 1, 4097, 0x1000, true, 0), NVME_QSIZE_INVALID);
	EXPECT_EQ(nvme_cq_create(r.mc, 1, 16, 0x1800, true, 0), NVME_PRP_OFFSET);
	EXPECT_EQ(nvme_cq_create(r.mc, 1, 16, 0x1000, true, 65), NVME_IV_INVALID);
	EXPECT_EQ(nvme_sq_create(r.mc, 1, 1, 16, 0x1000, 0), NVME_CQ_INVALID);
	EXPECT_EQ(nvme_cq_create(r.mc, 1, 4096, 0x1000, true, 64), NVME_SUCCESS);
	EXPECT_EQ(nvme_cq_create(r.mc, 1, 16, 0x1000, true, 0), NVME_QID_INVALID);
	EXPECT_EQ(nvme_sq_create(r.mc, 1, 0, 16, 0x1000, 0), NVME_QID_INVALID);
	EXPECT_EQ(nvme_sq_create(r.mc, 2, 1, 4096, 0x1000, 0), NVME_SUCCESS);
	EXPECT_EQ(nvme_sq_create(r.mc, 2, 1, 16, 0x1000, 0), NVME_QID_INVALID);
	EXPECT_EQ(r.mc->cq[1].sqs, 1);
}

/* Base 3.1.4.5: entry sizes are judged when a queue is made. */
TEST(queue_create_needs_entry_sizes)
{
	RIG(r, .disabled = true);

	rig_enable(&r, r.mc);
	rig_reg_put(r.mc, NVME_REG_CC, 4, NVME_CC_EN);
	EXPECT_EQ(nvme_cq_create(r.mc, 1, 16, 0x1000, true, 0), NVME_QSIZE_INVALID);
}

static unsigned make(struct rig *r, uint8_t opc, uint16_t qid, uint64_t prp1)
{
	struct nvme_sqe s = { .opc = opc, .cdw10 = le32_of(qid | 63u << 16), .cdw11 = le32_of(1 | (opc == NVME_OP_CREATE_SQ ? 1u << 16 : 0)),
			      .prp1 = le64_of(prp1) };
	struct nvme_cqe e = rig_admin(r, r->mc, s);

	return nvme_cqe_status(&e);
}

/* A queue in memory that is not there, ends, or goes the other way would take commands and never answer: it is refused, not half made. */
TEST(queue_needs_memory_it_can_use)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));
	enum { READ_ONLY = 1u << 30, WRITE_ONLY = READ_ONLY + 8192, END = RIG_MEM - 4096 };
	uint64_t iova;

	RIG(r, .disabled = false);
	iova = rig_host(&r, r.mc)->iova;
	EXPECT_EQ(gmem_add(&r.mc->dev.gmem, READ_ONLY, 4096, page, true, false), 0);
	EXPECT_EQ(gmem_add(&r.mc->dev.gmem, WRITE_ONLY, 4096, page, false, true), 0);
	EXPECT_EQ(make(&r, NVME_OP_CREATE_CQ, 1, 0x7fff0000000), NVME_INVALID_FIELD);
	EXPECT_EQ(make(&r, NVME_OP_CREATE_CQ, 1, READ_ONLY), NVME_INVALID_FIELD);
	EXPECT_EQ(make(&r, NVME_OP_CREATE_CQ, 1, WRITE_ONLY), NVME_SUCCESS);
	EXPECT_EQ(make(&r, NVME_OP_CREATE_SQ, 2, WRITE_ONLY), NVME_INVALID_FIELD);
	EXPECT_EQ(make(&r, NVME_OP_CREATE_SQ, 2, iova + END + 4096), NVME_INVALID_FIELD);
	EXPECT(!r.mc->sq[2].live);
	EXPECT_EQ(r.mc->cq[1].sqs, 0);
	EXPECT_EQ(make(&r, NVME_OP_CREATE_SQ, 2, READ_ONLY), NVME_SUCCESS);
	EXPECT_EQ(make(&r, NVME_OP_CREATE_SQ, 3, iova + END), NVME_SUCCESS);
}

/* Three times around both rings: phase, heads and data stay right. */
TEST(phase_over_wrap)
{
	RIG(r, .queues = 1, .qsize = 7);
	uint8_t *w = rig_alloc(&r, r.mc, 512), *b = rig_alloc(&r, r.mc, 512);

	for (unsigned i = 0; i < 22; i++) {
		struct nvme_cqe c;

		fill(w, 512, i);
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, i, 1), w, 512), NVME_SUCCESS);
		c = rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, i, 1), b, 512);
		EXPECT_STATUS(c, NVME_SUCCESS);
		EXPECT_EQ(le16_get(c.sqhd), (2 * i + 2) % 7);
		EXPECT_MEM(w, b, 512);
	}
	EXPECT_EQ(r.mc->stats.reads, 22);
	EXPECT_EQ(r.mc->stats.write_blocks512, 22);
}

static unsigned errors_waiting(struct nvme_ctrl *c, unsigned aei)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->event_count; i++)
		n += c->event[i].aet == NVME_AET_ERROR && c->event[i].aei == aei;
	return n;
}

/* Base, Error Status 01h: said once, ignored, and the queue works on with the next good value. */
TEST(doorbell_nonsense_is_told_and_ignored)
{
	RIG(r, .queues = 1, .qsize = 16);

	rig_doorbell(r.mc, 2, 16);
	rig_settle(&r);
	EXPECT_EQ(errors_waiting(r.mc, 1), 1);
	EXPECT_EQ(r.mc->sq[1].tail, 0);
	rig_doorbell(r.mc, 2, 0xffffffff);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.fetched, 0);
	rig_doorbell(r.mc, 3, 5); /* a head beyond what was posted */
	rig_settle(&r);
	EXPECT_EQ(r.mc->cq[1].head, 0);
	rig_doorbell(r.mc, 3, 0);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, flush_sqe()), NVME_SUCCESS);
}

TEST(doorbell_of_no_queue_is_told)
{
	RIG(r, .queues = 1);

	rig_doorbell(r.mc, 2 * 9, 1);
	EXPECT_EQ(errors_waiting(r.mc, 0), 1);
	rig_doorbell(r.mc, 1000, 1);
	EXPECT_EQ(errors_waiting(r.mc, 1), 0);
}

/* Queue 2's one command is served although queue 1 is flooded: bursts go round. */
TEST(a_flood_does_not_starve_a_neighbour)
{
	RIG(r, .queues = 2, .qsize = 256, .mcs = 1);

	r.qsize = 256;
	for (unsigned i = 0; i < 200; i++)
		rig_submit(&r, r.mc, 1, flush_sqe());
	rig_submit(&r, r.mc, 2, flush_sqe());
	nvme_ctrl_device(r.mc)->ops->poll(nvme_ctrl_device(r.mc), 32);
	EXPECT_EQ(r.mc->cq[2].tail, 1);
	EXPECT(r.mc->cq[1].tail < 32);
}

/* A host that does not take its completions gets every one of them later, in order; nothing is overwritten. */
TEST(full_cq_holds_and_releases)
{
	RIG(r, .queues = 0);
	struct rig_host *h = rig_host(&r, r.mc);
	struct nvme_cqe c;

	rig_make_queue(&r, r.mc, 1, 32);
	nvme_sq_delete(&r.mc->sq[1]);
	nvme_cq_delete(&r.mc->cq[1]);
	EXPECT_EQ(nvme_cq_create(r.mc, 1, 4, rig_iova(&r, r.mc, h->q[1].cq), true, 1), NVME_SUCCESS);
	EXPECT_EQ(nvme_sq_create(r.mc, 1, 1, 32, rig_iova(&r, r.mc, h->q[1].sq), 0), NVME_SUCCESS);
	many(&r, 20);
	rig_settle(&r);
	EXPECT_EQ(r.mc->held_count, 17);
	EXPECT_EQ(r.mc->inflight, 0);
	h->q[1].size = 4; /* reap with the completion ring's size */
	for (unsigned i = 0; i < 20; i++) {
		EXPECT(rig_reap(&r, r.mc, 1, &c));
		EXPECT_EQ(le16_get(c.cid), i);
		rig_settle(&r);
	}
	EXPECT(!rig_reap(&r, r.mc, 1, &c));
	EXPECT_EQ(r.mc->held_count, 0);
}

/* Base, Create I/O CQ: one interrupt for a batch; none without IEN; kept in the PBA while nothing is bound. */
TEST(interrupts)
{
	RIG(r, .queues = 1);
	struct rig_host *h = rig_host(&r, r.mc);

	many(&r, 5);
	rig_settle(&r);
	EXPECT_EQ(h->irqs[1], 1);
	h->irq_deaf = true;
	many(&r, 1);
	rig_settle(&r);
	EXPECT_EQ(r.mc->pci.pba[0], 2);
	h->irq_deaf = false;
	h->dev->ops->irq_bound(h->dev, 1);
	EXPECT_EQ(h->irqs[1], 2);
	EXPECT_EQ(r.mc->pci.pba[0], 0);
	rig_cfg_put16(r.mc, r.mc->pci.msix_cap + 2u, 0);
	many(&r, 1);
	rig_settle(&r);
	EXPECT_EQ(h->irqs[1], 2);
	rig_cfg_put16(r.mc, r.mc->pci.msix_cap + 2u, 0x8000); /* enabling sends what waits */
	EXPECT_EQ(h->irqs[1], 3);
}

TEST(no_fetch_without_bus_mastering)
{
	RIG(r, .queues = 1);

	rig_cfg_put16(r.mc, 4, 2);
	many(&r, 1);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.fetched, 0);
	rig_cfg_put16(r.mc, 4, 6);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 1);
}

/* Giving the doorbell page to the client and taking it back loses no value. */
TEST(doorbells_in_a_shared_page)
{
	RIG(r, .queues = 1);
	struct device *d = nvme_ctrl_device(r.mc);
	static uint32_t page[1024] __attribute__((aligned(4096)));

	memset(page, 0, sizeof(page));
	many(&r, 1);
	d->ops->region_share(d, 0, page);
	EXPECT_EQ(page[2], 1);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 1);
	many(&r, 1);
	page[2] = 2; /* the client's own store */
	rig_settle(&r);
	d->ops->region_share(d, 0, NULL);
	many(&r, 1);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 3);
}

/* Delete I/O SQ completes behind the last command of the queue: its buffers are the host's again. */
TEST(delete_sq_waits_for_its_commands)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);
	struct nvme_sqe del = sqe(NVME_OP_DELETE_SQ);
	struct nvme_cqe c;
	uint16_t io, cid;

	io = rig_submit(&r, r.mc, 1, flush_sqe());
	rig_settle(&r);
	nvme_delete_q_qid_put(&del, 1);
	cid = rig_submit(&r, r.mc, 0, del);
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 0, cid, &c));
	EXPECT(slow_finish(0));
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 0, cid, &c));
	EXPECT_STATUS(c, NVME_SUCCESS);
	EXPECT(rig_try(&r, r.mc, 1, io, &c));
	EXPECT(!r.mc->sq[1].live);
	EXPECT_EQ(r.mc->cq[1].sqs, 0);
}

/* A reset while Delete I/O SQ waits: both end, nothing is left behind. */
TEST(reset_while_delete_sq_waits)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);
	struct nvme_sqe del = sqe(NVME_OP_DELETE_SQ);

	rig_submit(&r, r.mc, 1, flush_sqe());
	rig_settle(&r);
	nvme_delete_q_qid_put(&del, 1);
	rig_submit(&r, r.mc, 0, del);
	rig_settle(&r);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT_EQ(r.mc->inflight, 1);
	slow_finish_all();
	EXPECT_EQ(r.mc->inflight, 0);
}

/* ---- shadow doorbells ---- */

TEST(shadow_doorbells)
{
	RIG(r, .queues = 1);
	volatile uint32_t *shadow = rig_alloc(&r, r.mc, 4096), *idx = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = sqe(NVME_OP_DBBUF), f = flush_sqe();
	struct rig_queue *q = &rig_host(&r, r.mc)->q[1];

	s.prp1 = le64_of(rig_iova(&r, r.mc, (void *)shadow));
	s.prp2 = le64_of(rig_iova(&r, r.mc, (void *)idx));
	EXPECT_STATUS(rig_admin(&r, r.mc, s), NVME_SUCCESS);
	for (unsigned i = 1; i <= 5; i++) {
		memcpy(q->sq + 64 * (i - 1), &f, 64);
		shadow[2] = i;		/* no doorbell is rung */
		rig_settle(&r);
		EXPECT_EQ(r.mc->stats.completed, 1 + i);
		EXPECT_EQ(idx[2], i);	/* armed: beyond this, ring */
	}
	shadow[2] = 0x12345;		/* nonsense, told once */
	rig_settle(&r);
	EXPECT_EQ(r.mc->sq[1].tail, 5);
	EXPECT_EQ(errors_waiting(r.mc, 1), 1);
	EXPECT_EQ(idx[0], 0);		/* the admin queue has none */
}
