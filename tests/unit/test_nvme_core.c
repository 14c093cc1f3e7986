/* The device core: enabling, rings, doorbells, requests, transfers, resets, suspend, events. White box where it must be. */
#include "rig.h"

/* ---- a backend that answers when it is told to ---- */

struct slow { struct blk b; struct list out; bool full; unsigned count; };
static struct slow *slow;

static int slow_submit(struct blk *b, struct blk_io *io)
{
	struct slow *s = (struct slow *)b;

	if (s->full)
		return -EAGAIN;
	list_push(&s->out, &io->link);
	s->count++;
	return 0;
}
static int slow_poll(struct blk *b) { return blk_poll(b->below); }
static void slow_close(struct blk *b)
{
	blk_close(b->below);
	free(b);
	slow = NULL;
}
static const struct blk_ops slow_ops = { .name = "slow", .submit = slow_submit, .poll = slow_poll, .close = slow_close };
static struct blk *slow_wrap(struct blk *below)
{
	slow = calloc(1, sizeof(*slow));
	slow->b = *below;
	slow->b.ops = &slow_ops;
	slow->b.below = below;
	list_init(&slow->out);
	return &slow->b;
}
/* Does the oldest request with rc as its answer. False: none. */
static bool slow_finish(int rc)
{
	struct list *l = slow ? list_pop(&slow->out) : NULL;
	struct blk_io *io;

	if (!l)
		return false;
	io = LIST_ENTRY(l, struct blk_io, link);
	slow->count--;
	if (rc == 0 && blk_submit(slow->b.below, io) != BLK_DONE)
		fail_msg("RAM answers at once");
	io->done(io, rc);
	return true;
}
static void slow_finish_all(void)
{
	while (slow_finish(0))
		;
}

static struct nvme_sqe sqe(unsigned opc) { return (struct nvme_sqe){ .opc = (uint8_t)opc }; }
static struct nvme_sqe flush_sqe(void) { return (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(1) }; }
static void fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 31 + seed + (i >> 8));
}

/* ---- enabling ---- */

TEST(properties_at_reset)
{
	RIG(r, .disabled = true);
	uint64_t cap = rig_reg(r.mc, NVME_REG_CAP, 8);

	EXPECT_EQ(cap & 0xffff, 4095);
	EXPECT(cap >> 16 & 1);
	EXPECT_EQ(cap >> 32 & 15, 0);
	EXPECT_EQ(cap >> 48 & 0xff, 0);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_VS, 4), 0x00020100);
	EXPECT_EQ(rig_csts(r.mc), 0);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_CMBSZ, 4), 0);
}

/* Base 3.1.4.5: what the controller cannot do is a fatal status, not a controller that half works. */
TEST(enable_judges_what_it_is_given)
{
	static const struct { uint32_t cc, aqa; uint64_t asq_off; } bad[] = {
		{ RIG_CC | 1 << NVME_CC_MPS_SHIFT, 0x001f001f, 0 },
		{ RIG_CC | 6 << NVME_CC_CSS_SHIFT, 0x001f001f, 0 },
		{ RIG_CC | 1 << NVME_CC_AMS_SHIFT, 0x001f001f, 0 },
		{ RIG_CC, 0x001f0000, 0 },
		{ RIG_CC, 0x0000001f, 0 },
		{ RIG_CC, 0x001f001f, 1ull << 40 },
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		RIG(r, .disabled = true);
		void *mem = rig_alloc(&r, r.mc, 8192);

		rig_reg_put(r.mc, NVME_REG_AQA, 4, bad[i].aqa);
		rig_reg_put(r.mc, NVME_REG_ASQ, 8, rig_iova(&r, r.mc, mem) + bad[i].asq_off);
		rig_reg_put(r.mc, NVME_REG_ACQ, 8, rig_iova(&r, r.mc, mem) + 4096);
		rig_reg_put(r.mc, NVME_REG_CC, 4, bad[i].cc);
		EXPECT_EQ(rig_csts(r.mc) & 3, NVME_CSTS_CFS);
		rig_reg_put(r.mc, NVME_REG_CC, 4, bad[i].cc & ~(uint32_t)NVME_CC_EN); /* Controller Reset heals it */
		EXPECT_EQ(rig_csts(r.mc) & 3, 0);
	}
}

TEST(enable_disable_enable)
{
	RIG(r, .queues = 2);

	EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_KEEP_ALIVE)), NVME_SUCCESS);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT(!(rig_csts(r.mc) & NVME_CSTS_RDY));
	EXPECT(!r.mc->sq[1].live && !r.mc->cq[2].live);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_AQA, 4), 0x001f001f); /* these three outlive a Controller Reset */
	rig_enable(&r, r.mc);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_KEEP_ALIVE)), NVME_SUCCESS);
}

TEST(register_access_widths)
{
	RIG(r, .disabled = true);
	struct device *d = nvme_ctrl_device(r.mc);
	uint8_t b[16] = { 0 };

	EXPECT_EQ(d->ops->region_write(d, 0, NVME_REG_CC, b, 2), -EINVAL);
	EXPECT_EQ(d->ops->region_write(d, 0, NVME_REG_CC + 2, b, 4), -EINVAL);
	EXPECT_EQ(d->ops->region_write(d, 0, 0x4000, b, 4), -EINVAL);
	EXPECT_EQ(d->ops->region_write(d, 0, UINT64_MAX - 3, b, 4), -EINVAL);
	EXPECT_EQ(d->ops->region_read(d, 1, 0, b, 4), -EINVAL);
	EXPECT_EQ(d->ops->region_read(d, 100, 0, b, 4), -EINVAL);
	EXPECT_EQ(d->ops->region_write(d, 0, 0x1000, b, 8), -EINVAL);
	EXPECT_EQ(d->ops->region_read(d, 0, 0x3ffc, b, 4), 0);
	EXPECT_EQ(d->ops->region_write(d, 0, 0x3ffc, b, 4), 0);
}

TEST(shutdown_flushes_then_says_so)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);

	rig_reg_put(r.mc, NVME_REG_CC, 4, RIG_CC | 1 << NVME_CC_SHN_SHIFT);
	EXPECT_EQ(rig_csts(r.mc) >> NVME_CSTS_SHST_SHIFT & 3, 1);
	rig_settle(&r);
	EXPECT_EQ(rig_csts(r.mc) >> NVME_CSTS_SHST_SHIFT & 3, 1);
	EXPECT(slow_finish(0));
	rig_settle(&r);
	EXPECT_EQ(rig_csts(r.mc) >> NVME_CSTS_SHST_SHIFT & 3, 2);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT_EQ(rig_csts(r.mc), 0);
}

TEST(subsystem_reset_resets_everybody)
{
	RIG(r, .queues = 1);

	rig_reg_put(r.mmc, NVME_REG_NSSR, 4, 1);
	rig_poll(&r);
	EXPECT(rig_csts(r.mmc) & NVME_CSTS_RDY);
	rig_reg_put(r.mmc, NVME_REG_NSSR, 4, NVME_NSSR_MAGIC);
	rig_poll(&r);
	EXPECT_EQ(rig_csts(r.mmc), NVME_CSTS_NSSRO);
	EXPECT_EQ(rig_csts(r.mc), NVME_CSTS_NSSRO);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_CC, 4), 0);
	rig_reg_put(r.mc, NVME_REG_CSTS, 4, NVME_CSTS_NSSRO);
	EXPECT_EQ(rig_csts(r.mc), 0);
}

/* Base, NVM Subsystem Reset: it has happened when its write has. A host that enables a controller right behind it keeps it enabled. */
TEST(enabled_right_after_a_subsystem_reset)
{
	RIG(r, .queues = 1);
	uint64_t aqa = rig_reg(r.mc, NVME_REG_AQA, 4), asq = rig_reg(r.mc, NVME_REG_ASQ, 8), acq = rig_reg(r.mc, NVME_REG_ACQ, 8);
	uint64_t cc = rig_reg(r.mc, NVME_REG_CC, 4);

	rig_reg_put(r.mmc, NVME_REG_NSSR, 4, NVME_NSSR_MAGIC);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_CC, 4), 0);
	rig_reg_put(r.mc, NVME_REG_AQA, 4, aqa);
	rig_reg_put(r.mc, NVME_REG_ASQ, 8, asq);
	rig_reg_put(r.mc, NVME_REG_ACQ, 8, acq);
	rig_reg_put(r.mc, NVME_REG_CC, 4, cc);
	rig_poll(&r);
	rig_poll(&r);
	EXPECT_EQ(rig_csts(r.mc), NVME_CSTS_NSSRO | NVME_CSTS_RDY);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_CC, 4), cc);
}

TEST(flr_forgets_everything)
{
	RIG(r, .queues = 1);
	uint32_t v = 0x8000;
	struct device *d = nvme_ctrl_device(r.mc);

	EXPECT_EQ(d->ops->region_write(d, DEV_REGION_CONFIG, r.mc->pci.pcie_cap + 8u, &v, 2), 0);
	EXPECT_EQ(rig_csts(r.mc), 0);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_ASQ, 8), 0);
	EXPECT(!pci_bus_master(&r.mc->pci));
}

TEST(offline_stops_and_online_starts_anew)
{
	RIG(r, .queues = 1);

	nvme_ctrl_set_online(r.mc, false);
	EXPECT(rig_csts(r.mc) & NVME_CSTS_CFS);
	rig_submit(&r, r.mc, 1, flush_sqe());
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.fetched, 0);
	nvme_ctrl_set_online(r.mc, true);
	EXPECT_EQ(rig_csts(r.mc), 0);
	rig_enable(&r, r.mc);
}

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

static void many(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		rig_submit(r, r->mc, 1, flush_sqe());
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

/* ---- requests ---- */

TEST(flags_are_judged)
{
	RIG(r, .queues = 1);
	struct nvme_sqe s = flush_sqe();

	s.flags = 1;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_INVALID_FIELD);
	s.flags = 0xc0;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_INVALID_FIELD);
	s = sqe(NVME_OP_KEEP_ALIVE);
	s.flags = NVME_PSDT_SGL;
	EXPECT_STATUS(rig_admin(&r, r.mc, s), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, sqe(0x7f)), NVME_INVALID_OPCODE);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_MIGRATION_SEND)), NVME_INVALID_OPCODE); /* the MMC's alone */
}

TEST(namespaces_are_judged)
{
	static const uint32_t bad[] = { 0, 2, 256, 257, 0x80000000, 0xfffffffe, 0xffffffff };
	RIG(r, .queues = 1);
	uint8_t *b = rig_alloc(&r, r.mc, 512);

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, bad[i], 0, 1), b, 512), NVME_INVALID_NAMESPACE);
	EXPECT_EQ(nvme_ns_find(r.ss, 1)->inflight, 0);
}

/* A backend that is full is asked again; the command does not fail. */
TEST(full_backend_is_retried)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);
	struct nvme_cqe c;
	uint16_t cid;

	slow->full = true;
	cid = rig_submit(&r, r.mc, 1, flush_sqe());
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 1, cid, &c));
	slow->full = false;
	rig_settle(&r);
	EXPECT_EQ(slow->count, 1);
	slow_finish_all();
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 1, cid, &c));
}

TEST(backend_errors_have_their_status)
{
	static const struct { int rc; unsigned opc, status; } t[] = {
		{ -EIO, NVME_NVM_READ, NVME_UNRECOVERED_READ }, { -EILSEQ, NVME_NVM_READ, NVME_UNRECOVERED_READ },
		{ -EIO, NVME_NVM_WRITE, NVME_WRITE_FAULT }, { -ENOSPC, NVME_NVM_WRITE, NVME_CAPACITY_EXCEEDED },
		{ -EFAULT, NVME_NVM_WRITE, NVME_DATA_TRANSFER_ERROR },
	};
	RIG(r, .queues = 1, .wrap = slow_wrap);
	uint8_t *b = rig_alloc(&r, r.mc, 512);

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct nvme_sqe s = rig_rw(t[i].opc, 1, 0, 1);
		struct nvme_cqe c = { 0 };
		uint16_t cid;

		rig_data(&r, r.mc, &s, b, 512);
		cid = rig_submit(&r, r.mc, 1, s);
		rig_settle(&r);
		EXPECT(slow_finish(t[i].rc));
		rig_settle(&r);
		EXPECT(rig_try(&r, r.mc, 1, cid, &c));
		EXPECT_STATUS(c, t[i].status);
	}
	EXPECT_EQ(r.mc->stats.errors, ARRAY_LEN(t));
}

/* A guest page that vanished (SIGBUS) fails the command that touched it, and only that. */
TEST(lost_page_fails_the_command)
{
	RIG(r, .queues = 1);

	nvme_ctrl_device(r.mc)->gmem.lost = 1;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, flush_sqe()), NVME_DATA_TRANSFER_ERROR);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, flush_sqe()), NVME_SUCCESS);
}

/* More commands than requests: they wait in their queue, all are served. */
TEST(few_requests_many_commands)
{
	RIG(r, .queues = 1, .qsize = 100, .max_reqs = 16, .wrap = slow_wrap);

	many(&r, 90);
	rig_settle(&r);
	EXPECT_EQ(slow->count, 16);
	for (unsigned i = 0; i < 90; i++) {
		EXPECT(slow_finish(0));
		rig_settle(&r);
	}
	EXPECT_EQ(r.mc->stats.completed, 90);
}

/* ---- transfers ---- */

enum { NS_BYTES = 8192 * 512 };

/* Write through one kind of data pointer, read back through another: every length and offset around a page border. */
TEST(prp_lengths_and_offsets)
{
	static const unsigned offs[] = { 0, 4, 512, 2048, 4092 }, blocks[] = { 1, 7, 8, 9, 16, 17, 64, 255, 256 };
	RIG(r, .queues = 1);
	uint8_t *mem = rig_alloc(&r, r.mc, 140 * KIB), *back = rig_alloc(&r, r.mc, 140 * KIB);

	for (unsigned o = 0; o < ARRAY_LEN(offs); o++)
		for (unsigned b = 0; b < ARRAY_LEN(blocks); b++) {
			size_t len = blocks[b] * 512;

			rig_host(&r, r.mc)->used = 2 << 20; /* lists are made anew */
			fill(mem + offs[o], len, o * 10 + b);
			memset(back, 0, 140 * KIB);
			EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, 3, blocks[b]), mem + offs[o], len),
				      NVME_SUCCESS);
			EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 3, blocks[b]), back, len), NVME_SUCCESS);
			EXPECT_MEM(mem + offs[o], back, len);
		}
	EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
}

/* The list goes on in another page where its page ends; the read must find every page in its order. */
TEST(prp_list_chains)
{
	RIG(r, .queues = 1);
	uint8_t *src = rig_alloc(&r, r.mc, 64 * KIB), *dst = rig_alloc(&r, r.mc, 64 * KIB);
	le64 *l1 = rig_alloc(&r, r.mc, 4096), *l2 = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, 0, 128);

	fill(src, 64 * KIB, 5);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, 0, 128), src, 64 * KIB), NVME_SUCCESS);
	s.prp1 = le64_of(rig_iova(&r, r.mc, dst) + 15 * 4096); /* pages in reverse */
	for (unsigned i = 0; i < 3; i++)
		l1[508 + i] = le64_of(rig_iova(&r, r.mc, dst) + (14 - i) * 4096);
	l1[511] = le64_of(rig_iova(&r, r.mc, l2));
	for (unsigned i = 0; i < 12; i++)
		l2[i] = le64_of(rig_iova(&r, r.mc, dst) + (11 - i) * 4096);
	s.prp2 = le64_of(rig_iova(&r, r.mc, l1) + 508 * 8);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_SUCCESS);
	for (unsigned i = 0; i < 16; i++)
		EXPECT_MEM(dst + (15 - i) * 4096, src + i * 4096, 4096);
}

/* Every wrong data pointer has a status of its own, and leaves nothing held. */
TEST(prp_nonsense)
{
	RIG(r, .queues = 1);
	uint64_t mem = rig_iova(&r, r.mc, rig_alloc(&r, r.mc, 64 * KIB)), gone = 1ull << 50;
	le64 *list = rig_alloc(&r, r.mc, 8192);
	uint64_t li = rig_iova(&r, r.mc, list);
	struct { unsigned blocks; uint64_t prp1, prp2, entry0, last; unsigned status; } t[] = {
		{ 8, mem + 1, 0, 0, 0, NVME_PRP_OFFSET },
		{ 8, mem + 2, 0, 0, 0, NVME_PRP_OFFSET },
		{ 16, mem, mem + 8, 0, 0, NVME_PRP_OFFSET },
		{ 24, mem, li + 4, 0, 0, NVME_PRP_OFFSET },
		{ 24, mem, li, mem + 512, 0, NVME_PRP_OFFSET },
		{ 24, mem, li + 4088, 0, li + 8, NVME_PRP_OFFSET },
		{ 8, gone, 0, 0, 0, NVME_DATA_TRANSFER_ERROR },
		{ 16, mem, gone, 0, 0, NVME_DATA_TRANSFER_ERROR },
		{ 24, mem, gone, 0, 0, NVME_DATA_TRANSFER_ERROR },
		{ 24, mem, li, gone, 0, NVME_DATA_TRANSFER_ERROR },
		{ 24, mem, li + 4088, 0, gone, NVME_DATA_TRANSFER_ERROR },
		{ 8, UINT64_MAX - 3, 0, 0, 0, NVME_DATA_TRANSFER_ERROR },
	};

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct nvme_sqe s = rig_rw(i & 1 ? NVME_NVM_WRITE : NVME_NVM_READ, 1, 0, t[i].blocks);

		s.prp1 = le64_of(t[i].prp1);
		s.prp2 = le64_of(t[i].prp2);
		list[0] = le64_of(t[i].entry0);
		list[1] = le64_of(mem);
		list[511] = le64_of(t[i].last);
		print_message("# row %u\n", i);
		EXPECT_STATUS(rig_io(&r, r.mc, 1, s), t[i].status);
		EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
		EXPECT_EQ(r.mc->bufs_free, 15);
	}
}

static struct nvme_sgl sgl(unsigned type, uint64_t addr, uint32_t len)
{
	return (struct nvme_sgl){ .addr = le64_of(addr), .len = le32_of(len), .type = (uint8_t)type };
}
static struct nvme_sqe sgl_sqe(unsigned opc, unsigned blocks, struct nvme_sgl d)
{
	struct nvme_sqe s = rig_rw(opc, 1, 0, blocks);

	s.flags = NVME_PSDT_SGL;
	memcpy(&s.prp1, &d, sizeof(d));
	return s;
}

/* Base 4.3.2: segments of any byte length, chained; bit buckets swallow what the host does not want. */
TEST(sgl_scatter_and_bit_bucket)
{
	RIG(r, .queues = 1);
	uint8_t *src = rig_alloc(&r, r.mc, 8192), *dst = rig_alloc(&r, r.mc, 8192);
	struct nvme_sgl *s1 = rig_alloc(&r, r.mc, 4096), *s2 = rig_alloc(&r, r.mc, 4096);
	uint64_t a = rig_iova(&r, r.mc, src), d = rig_iova(&r, r.mc, dst);

	fill(src, 4096, 9);
	s1[0] = sgl(0x00, a, 1000);
	s1[1] = sgl(0x00, a, 0);
	s1[2] = sgl(0x10, 0, 77);	/* ignored in a source */
	s1[3] = sgl(0x30, rig_iova(&r, r.mc, s2), 32);
	s2[0] = sgl(0x00, a + 1000, 1);
	s2[1] = sgl(0x00, a + 1001, 3095);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, sgl_sqe(NVME_NVM_WRITE, 8, sgl(0x20, rig_iova(&r, r.mc, s1), 64))), NVME_SUCCESS);
	s1[0] = sgl(0x00, d + 5, 100);
	s1[1] = sgl(0x10, 0, 3000);
	s1[2] = sgl(0x00, d + 200, 996);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, sgl_sqe(NVME_NVM_READ, 8, sgl(0x30, rig_iova(&r, r.mc, s1), 48))), NVME_SUCCESS);
	EXPECT_MEM(dst + 5, src, 100);
	EXPECT_MEM(dst + 200, src + 3100, 996);
	EXPECT_EQ(dst[105], 0);
	EXPECT_EQ(dst[1196], 0);
	EXPECT_EQ(r.mc->bufs_free, 15);
}

TEST(sgl_nonsense)
{
	RIG(r, .queues = 1);
	uint64_t mem = rig_iova(&r, r.mc, rig_alloc(&r, r.mc, 8192)), gone = 1ull << 50;
	struct nvme_sgl *list = rig_alloc(&r, r.mc, 8192);
	uint64_t li = rig_iova(&r, r.mc, list);
	struct { struct nvme_sgl d, l0, l1; unsigned status; } t[] = {
		{ sgl(0x01, mem, 4096), sgl(0, 0, 0), sgl(0, 0, 0), NVME_SGL_TYPE },			/* subtype */
		{ sgl(0x40, mem, 4096), sgl(0, 0, 0), sgl(0, 0, 0), NVME_SGL_TYPE },			/* keyed */
		{ sgl(0x00, mem, 4095), sgl(0, 0, 0), sgl(0, 0, 0), NVME_SGL_DATA_LENGTH },
		{ sgl(0x00, mem, 4097), sgl(0, 0, 0), sgl(0, 0, 0), NVME_SGL_DATA_LENGTH },
		{ sgl(0x00, gone, 4096), sgl(0, 0, 0), sgl(0, 0, 0), NVME_DATA_TRANSFER_ERROR },
		{ sgl(0x30, li, 15), sgl(0, 0, 0), sgl(0, 0, 0), NVME_INVALID_SGL_SEGMENT },
		{ sgl(0x30, li, 0), sgl(0, 0, 0), sgl(0, 0, 0), NVME_INVALID_SGL_SEGMENT },
		{ sgl(0x30, gone, 32), sgl(0, 0, 0), sgl(0, 0, 0), NVME_DATA_TRANSFER_ERROR },
		{ sgl(0x30, li, 0xfffffff0), sgl(0, 0, 0), sgl(0, 0, 0), NVME_INVALID_SGL_COUNT },
		{ sgl(0x30, li, 16), sgl(0x20, li, 16), sgl(0, 0, 0), NVME_INVALID_SGL_SEGMENT },	/* the last one chains */
		{ sgl(0x20, li, 32), sgl(0x20, li, 16), sgl(0x00, mem, 1), NVME_INVALID_SGL_SEGMENT }, /* not at the end */
		{ sgl(0x20, li, 16), sgl(0x00, mem, 4096), sgl(0, 0, 0), NVME_INVALID_SGL_SEGMENT },	/* ends without a last one */
		{ sgl(0x20, li, 16), sgl(0x20, li, 16), sgl(0, 0, 0), NVME_INVALID_SGL_COUNT },	/* a ring */
		{ sgl(0x30, li, 32), sgl(0x00, mem, 4096), sgl(0x00, mem, 1), NVME_SGL_DATA_LENGTH },
		{ sgl(0x30, li, 32), sgl(0x00, mem, 4000), sgl(0x00, mem, 0xffffffff), NVME_SGL_DATA_LENGTH },
		{ sgl(0x30, li, 32), sgl(0x00, mem, 4000), sgl(0x50, mem, 96), NVME_SGL_TYPE },
	};

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		list[0] = t[i].l0;
		list[1] = t[i].l1;
		print_message("# row %u\n", i);
		EXPECT_STATUS(rig_io(&r, r.mc, 1, sgl_sqe(i & 1 ? NVME_NVM_WRITE : NVME_NVM_READ, 8, t[i].d)), t[i].status);
		EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
	}
}

/* Memory the device may not write is no place for a Read's data. */
TEST(read_only_memory_is_not_written)
{
	RIG(r, .queues = 1);
	static uint8_t rom[4096] __attribute__((aligned(4096)));
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, 0, 1);

	memset(rom, 0x5a, sizeof(rom));
	EXPECT_EQ(gmem_add(&nvme_ctrl_device(r.mc)->gmem, 0x1000, 0x1000, rom, true, false), 0);
	s.prp1 = le64_of(0x1000);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_DATA_TRANSFER_ERROR);
	EXPECT_EQ(rom[0], 0x5a);
	s.opc = NVME_NVM_WRITE;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_SUCCESS);
}

/* Everything by message: rings, lists, data, completions, in order and with an interrupt behind them. */
TEST(by_message_memory)
{
	RIG(r, .queues = 1, .qsize = 8, .by_message = true);
	uint8_t *w = rig_alloc(&r, r.mc, 128 * KIB), *b = rig_alloc(&r, r.mc, 128 * KIB);

	for (unsigned i = 0; i < 10; i++) {
		fill(w, 128 * KIB, i);
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, i, 256), w, 128 * KIB), NVME_SUCCESS);
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, i, 256), b, 128 * KIB), NVME_SUCCESS);
		EXPECT_MEM(w, b, 128 * KIB);
	}
	EXPECT(rig_host(&r, r.mc)->irqs[1] >= 20);
	EXPECT_EQ(r.mc->inflight, 0);
	EXPECT_EQ(r.mc->bufs_free, 15);
	EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
}

/* More commands than bounce buffers: they wait for one another, none is lost. */
TEST(bounce_buffers_are_waited_for)
{
	RIG(r, .queues = 1, .by_message = true, .wrap = slow_wrap);
	uint8_t *b = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, 0, 8);

	rig_data(&r, r.mc, &s, b, 4096);
	for (unsigned i = 0; i < 12; i++)
		rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	EXPECT_EQ(slow->count, NVME_BUFS);
	for (unsigned i = 0; i < 12; i++) {
		EXPECT(slow_finish(0));
		rig_settle(&r);
	}
	EXPECT_EQ(r.mc->stats.completed, 12);
	EXPECT_EQ(r.mc->bufs_free, 15);
}

/* The client answers no message any more when the controller is reset: what comes back late is nobody's. */
TEST(reset_with_messages_out)
{
	for (unsigned polls = 0; polls < 40; polls++) {
		RIG(r, .queues = 1, .by_message = true);
		uint8_t *b = rig_alloc(&r, r.mc, 16 * KIB);
		struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 0, 32);

		rig_data(&r, r.mc, &s, b, 16 * KIB);
		rig_submit(&r, r.mc, 1, s);
		s.opc = NVME_NVM_READ;
		rig_submit(&r, r.mc, 1, s);
		for (unsigned i = 0; i < polls; i++)
			rig_poll(&r);
		rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
		rig_settle(&r);
		EXPECT_EQ(r.mc->inflight, 0);
		EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
		EXPECT_EQ(r.mc->bufs_free, 15);
		rig_enable(&r, r.mc);
		EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_KEEP_ALIVE)), NVME_SUCCESS);
	}
}

/* Unmapping waits for the backend that reads the memory, stops new fetches meanwhile, and lets them go on behind. */
TEST(unmap_drains)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);
	static uint8_t extra[4096] __attribute__((aligned(4096)));
	struct gmem *g = &nvme_ctrl_device(r.mc)->gmem;
	struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 0, 1);

	EXPECT_EQ(gmem_add(g, 0x1000, 0x1000, extra, true, true), 0);
	s.prp1 = le64_of(0x1000);
	rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	EXPECT_EQ(gmem_del(g, 0x1000, 0x1000, NULL), -EAGAIN);
	rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	EXPECT_EQ(slow->count, 1);
	EXPECT(slow_finish(0));
	EXPECT_EQ(gmem_del(g, 0x1000, 0x1000, NULL), 0);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 2);
	EXPECT_EQ(r.mc->stats.errors, 1); /* its memory is gone */
}

/* Firmware takes all memory away for a moment: the queues wait and go on. */
TEST(ring_memory_may_vanish_for_a_moment)
{
	RIG(r, .queues = 1);
	struct rig_host *h = rig_host(&r, r.mc);
	struct nvme_cqe c;

	EXPECT_EQ(gmem_del(&h->dev->gmem, h->iova, RIG_MEM, NULL), 0);
	many(&r, 3);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.fetched, 0);
	EXPECT(!(rig_csts(r.mc) & NVME_CSTS_CFS));
	EXPECT_EQ(gmem_add(&h->dev->gmem, h->iova, RIG_MEM, h->mem, true, true), 0);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 3);
	EXPECT(rig_reap(&r, r.mc, 1, &c));
}

/* ---- resets with work in flight ---- */

/* The old life's read lands before CSTS.RDY says 0, and no completion of it is ever seen. */
TEST(reset_with_backend_io_in_flight)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);
	uint8_t *b = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, 0, 8);

	rig_data(&r, r.mc, &s, b, 4096);
	rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);		/* not finished: the read may still write */
	EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 1);
	rig_reg_put(r.mc, NVME_REG_CC, 4, RIG_CC);	/* a host in a hurry */
	rig_settle(&r);
	EXPECT(!r.mc->enabled);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT(slow_finish(0));
	rig_settle(&r);
	EXPECT_EQ(rig_csts(r.mc), 0);
	EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
	EXPECT_EQ(r.mc->stats.completed, 0);
	EXPECT_EQ(nvme_ns_find(r.ss, 1)->inflight, 0);
	rig_enable(&r, r.mc);
	rig_make_queue(&r, r.mc, 1, 16);
	rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	slow_finish_all();
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 1);
}

/* Reset at each of many moments, with a backend that is slow, full, or both: no request is lost, none is used twice. */
TEST(reset_storm)
{
	RIG(r, .queues = 2, .wrap = slow_wrap, .max_reqs = 24);
	uint8_t *b = rig_alloc(&r, r.mc, 64 * KIB);
	uint64_t used = rig_host(&r, r.mc)->used;

	for (unsigned round = 0; round < 60; round++) {
		for (unsigned i = 0; i < 20; i++) {
			struct nvme_sqe s = rig_rw(i % 3 ? NVME_NVM_READ : NVME_NVM_WRITE, 1, i, 1 + i * 5);

			rig_host(&r, r.mc)->used = used + 8192 * i;
			rig_data(&r, r.mc, &s, b, (1 + i * 5) * 512);
			rig_submit(&r, r.mc, 1 + i % 2, s);
			rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER));
			slow->full = (round + i) % 5 == 0;
			rig_poll(&r);
			if ((round * 7 + i) % 4 == 0)
				slow_finish((round + i) % 3 ? 0 : -EIO);
		}
		slow->full = false;
		rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
		EXPECT_EQ(r.mc->aer_count, 0);
		rig_settle(&r);
		slow_finish_all();
		rig_settle(&r);
		slow_finish_all(); /* what had waited for the backend */
		rig_settle(&r);
		EXPECT_EQ(r.mc->inflight, 0);
		EXPECT_EQ(r.mc->held_count, 0);
		unsigned free_reqs = 0;
		LIST_EACH(&r.mc->req_free, it)
			free_reqs++;
		EXPECT_EQ(free_reqs, 24);
		rig_enable(&r, r.mc);
		rig_make_queue(&r, r.mc, 1, 32);
		rig_make_queue(&r, r.mc, 2, 32);
	}
}

/* ---- suspend ---- */

/* nvme-hmlm 5.2: fetching stops at once, what was fetched is completed, what was not stays in the ring for the target. */
TEST(suspend_drains_and_resume_goes_on)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);

	many(&r, 3);
	rig_settle(&r);
	nvme_ctrl_suspend(r.mc);
	many(&r, 2);
	rig_settle(&r);
	EXPECT_EQ(slow->count, 3);
	EXPECT(!nvme_ctrl_is_suspended(r.mc));
	slow_finish_all();
	rig_settle(&r);
	EXPECT(nvme_ctrl_is_suspended(r.mc));
	EXPECT_EQ(r.mc->stats.completed, 3);
	EXPECT_EQ(r.mc->sq[1].head, 3);
	EXPECT_EQ(r.mc->sq[1].tail, 5);		/* doorbells are still taken */
	nvme_ctrl_resume(r.mc);
	rig_settle(&r);
	slow_finish_all();
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 5);
}

/* (c) of Suspend: no completion, no interrupt, not even of an event; all of it comes at Resume. */
TEST(suspended_is_silent)
{
	RIG(r, .queues = 1);
	struct nvme_event e = { .aet = NVME_AET_ONESHOT, .aei = 1, .dw1 = 5 };
	struct rig_host *h = rig_host(&r, r.mc);
	uint16_t cid = rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER));
	struct nvme_cqe c;

	rig_settle(&r);
	nvme_ctrl_suspend(r.mc);
	rig_settle(&r);
	EXPECT(nvme_ctrl_is_suspended(r.mc)); /* an outstanding AER does not hold it up */
	nvme_event_post(r.mc, e);
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 0, cid, &c));
	EXPECT_EQ(h->irqs[0], 0);
	nvme_ctrl_resume(r.mc);
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 0, cid, &c));
	EXPECT_EQ(le32_get(c.dw0), 0x0104);
	EXPECT_EQ(le32_get(c.dw1), 5);
	EXPECT_EQ(h->irqs[0], 1);
}

/* A host that takes no completions cannot hold up the drain; they are kept, and posted behind the resume. */
TEST(suspend_with_held_completions)
{
	RIG(r, .queues = 1, .qsize = 4);
	struct nvme_cqe c;
	unsigned got = 0;

	many(&r, 3);
	rig_settle(&r);
	many(&r, 3);
	rig_settle(&r);
	EXPECT_EQ(r.mc->held_count, 3);
	nvme_ctrl_suspend(r.mc);
	rig_settle(&r);
	EXPECT(nvme_ctrl_is_suspended(r.mc));
	while (rig_reap(&r, r.mc, 1, &c))
		got++;
	rig_settle(&r);
	EXPECT_EQ(got, 3);
	EXPECT(!rig_reap(&r, r.mc, 1, &c));
	nvme_ctrl_resume(r.mc);
	rig_settle(&r);
	while (rig_reap(&r, r.mc, 1, &c))
		got++;
	EXPECT_EQ(got, 6);
}

/* nvme-hmlm 8.2: a reset of the controller itself ends its suspension. */
TEST(controller_reset_ends_suspension)
{
	RIG(r, .queues = 1);

	nvme_ctrl_suspend(r.mc);
	rig_settle(&r);
	EXPECT(nvme_ctrl_is_suspended(r.mc));
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT(!nvme_ctrl_is_suspended(r.mc));
	rig_enable(&r, r.mc);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_KEEP_ALIVE)), NVME_SUCCESS);
}

/* Suspended by message too: fetches that are out are given back to the ring, not run and not lost. */
TEST(suspend_by_message_at_every_moment)
{
	for (unsigned polls = 0; polls < 30; polls++) {
		RIG(r, .queues = 1, .by_message = true);
		unsigned before;

		many(&r, 5);
		for (unsigned i = 0; i < polls; i++)
			rig_poll(&r);
		nvme_ctrl_suspend(r.mc);
		rig_settle(&r);
		EXPECT(nvme_ctrl_is_suspended(r.mc));
		before = (unsigned)r.mc->stats.completed;
		EXPECT_EQ(r.mc->sq[1].head, before);
		rig_settle(&r);
		EXPECT_EQ(r.mc->stats.completed, before);
		nvme_ctrl_resume(r.mc);
		rig_settle(&r);
		EXPECT_EQ(r.mc->stats.completed, 5);
	}
}

/* ---- memory tracking: data before its completion, completion slots too (design rule 2) ---- */

TEST(every_page_the_device_writes_is_marked)
{
	RIG(r, .queues = 1, .qsize = 1024);
	struct gmem *g = &nvme_ctrl_device(r.mc)->gmem;
	struct rig_host *h = rig_host(&r, r.mc);
	uint8_t *b = rig_alloc(&r, r.mc, 16 * KIB);
	struct gmem_cursor cur = { 0 };
	uint64_t iova, n;

	EXPECT_EQ(gmem_track_start(g, &(struct gmem_track_range){ .iova = h->iova, .len = RIG_MEM }, 1, 12), 0);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 0, 20), b + 1024, 20 * 512), NVME_SUCCESS);
	EXPECT_EQ(gmem_track_next(g, &cur, 100, true, &iova, &n), 0);
	EXPECT_EQ(iova, rig_iova(&r, r.mc, h->q[1].cq));
	EXPECT_EQ(n, 1);
	EXPECT_EQ(gmem_track_next(g, &cur, 100, true, &iova, &n), 0);
	EXPECT_EQ(iova, rig_iova(&r, r.mc, b));
	EXPECT_EQ(n, 3);
	EXPECT_EQ(gmem_track_next(g, &cur, 100, true, &iova, &n), -ENOENT);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, 0, 20), b, 20 * 512), NVME_SUCCESS);
	EXPECT_EQ(gmem_track_next(g, &cur, 100, true, &iova, &n), 0);
	EXPECT_EQ(iova, rig_iova(&r, r.mc, h->q[1].cq)); /* a Write changes no guest memory but its completion */
	EXPECT_EQ(gmem_track_next(g, &cur, 100, true, &iova, &n), -ENOENT);
	gmem_track_stop(g);
}

/* ---- events ---- */

/* Base 5.2.2: one more than AERL + 1 is refused, at once. */
TEST(aer_limit)
{
	RIG(r, .queues = 0);

	for (unsigned i = 0; i < NVME_AER_MAX; i++)
		rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER));
	rig_settle(&r);
	EXPECT_EQ(r.mc->aer_count, NVME_AER_MAX);
	EXPECT_EQ(r.mc->inflight, 0);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_AER)), NVME_AER_LIMIT);
}

/* Events of a page are masked from their report until the page is read; one-shot events never are. */
TEST(masking_and_one_shots)
{
	RIG(r, .queues = 0);
	struct nvme_cqe c;
	uint16_t cid[3];

	for (unsigned i = 0; i < 3; i++)
		cid[i] = rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER));
	rig_settle(&r);
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ERROR, .aei = 1, .lid = NVME_LID_ERROR });
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ERROR, .aei = 0, .lid = NVME_LID_ERROR });
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 0, cid[0], &c));
	EXPECT_EQ(le32_get(c.dw0), 0x010100);
	EXPECT(!rig_try(&r, r.mc, 0, cid[1], &c));	/* masked */
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = 1, .dw1 = 3 });
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = 1, .dw1 = 4 });
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 0, cid[1], &c));
	EXPECT_EQ(le32_get(c.dw1), 3);
	EXPECT(rig_try(&r, r.mc, 0, cid[2], &c));
	EXPECT_EQ(le32_get(c.dw1), 4);
	nvme_event_log_read(r.mc, NVME_LID_ERROR);	/* unmasks, and what waited is old news */
	EXPECT_EQ(r.mc->event_count, 0);
	cid[0] = rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER));
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ERROR, .aei = 2, .lid = NVME_LID_ERROR });
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 0, cid[0], &c));
}

TEST(pending_one_shot_can_be_discarded)
{
	RIG(r, .queues = 0);

	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = 0, .dw1 = 3 });
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = 0, .dw1 = 3 });
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = 0, .dw1 = 4 });
	EXPECT_EQ(r.mc->event_count, 2);
	nvme_event_discard(r.mc, NVME_AET_ONESHOT, 0, 3);
	EXPECT_EQ(r.mc->event_count, 1);
	EXPECT_EQ(r.mc->event[0].dw1, 4);
}

TEST(namespace_notice_only_if_asked_for)
{
	RIG(r, .queues = 0);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);

	r.mc->feat.aer_config = 0;
	memset(r.mc->changed_ns, 0, sizeof(r.mc->changed_ns));
	EXPECT_EQ(nvme_ns_resize(ns, 4096, &r.err), 0);
	EXPECT_EQ(r.mc->event_count, 0);
	EXPECT_EQ(r.mc->changed_ns[0], 2);
	r.mc->feat.aer_config = 1 << 8;
	EXPECT_EQ(nvme_ns_remove(ns, &r.err), 0);
	EXPECT_EQ(r.mc->event_count, 1);
	EXPECT(!nvme_ctrl_attached(r.mc, 1));
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

/* ---- the subsystem ---- */

TEST(namespace_in_use_is_not_removed)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);

	many(&r, 1);
	rig_settle(&r);
	EXPECT_EQ(nvme_ns_remove(ns, &r.err), -EBUSY);
	EXPECT_EQ(nvme_ctrl_free(r.mc), -EBUSY);
	slow_finish_all();
	EXPECT_EQ(nvme_ns_remove(ns, NULL), 0);
}

/* docs/identity.md: a guest may know a namespace under its own number, the MMC's host may not. */
TEST(attachment)
{
	RIG(r, .no_namespace = true);
	struct nvme_ns *ns = nvme_ns_add(r.ss, 7, blk_ram_open(512, 64, NULL), NULL, NULL);

	EXPECT(ns);
	EXPECT_EQ(nvme_ctrl_attach(r.mmc, 1, ns), -EINVAL);
	EXPECT_EQ(nvme_ctrl_attach(r.mmc, 7, ns), 0);
	EXPECT_EQ(nvme_ctrl_attach(r.mc, 1, ns), 0);
	EXPECT_EQ(nvme_ctrl_attach(r.mc, 2, ns), -EEXIST);
	EXPECT_EQ(nvme_ctrl_attach(r.mc, 0, ns), -EINVAL);
	EXPECT_EQ(nvme_ctrl_attach(r.mc, 257, ns), -EINVAL);
	EXPECT(!nvme_ns_add(r.ss, 7, blk_ram_open(512, 64, NULL), NULL, NULL));
	EXPECT(!nvme_ctrl_new(r.ss, &(struct nvme_ctrl_cfg){ .cntlid = 1 }, NULL));
}
