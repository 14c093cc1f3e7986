/* What a hostile guest tried, each attack once: the rules are design rules 2 and 5, and the clause beside the case. */
#include "hmlm.h"
#include "tap.h"

static struct nvme_sqe sqe(unsigned opc, uint32_t nsid) { return (struct nvme_sqe){ .opc = (uint8_t)opc, .nsid = le32_of(nsid) }; }
static struct nvme_cqe admin(struct rig *r, unsigned opc) { return rig_admin(r, r->mc, sqe(opc, 0)); }

/* ---- resets */

/* Design rule 5: NSSR of one guest must not reset another, nor the manager, nor end anybody's suspension. */
TEST(subsystem_reset_of_a_guest_is_its_own)
{
	RIG(r, .mcs = 2, .queues = 1);
	struct nvme_ctrl *neighbour = r.host[2].ctrl;

	EXPECT_STATUS(hm_suspend(&r, r.mmc, neighbour->cntlid, false), NVME_SUCCESS);
	rig_reg_put(r.mc, NVME_REG_NSSR, 4, NVME_NSSR_MAGIC);
	rig_settle(&r);
	EXPECT_EQ(rig_csts(r.mc), NVME_CSTS_NSSRO);
	EXPECT(rig_csts(r.mmc) & NVME_CSTS_RDY);
	EXPECT(rig_csts(neighbour) & NVME_CSTS_RDY);
	EXPECT(nvme_ctrl_is_suspended(neighbour));
	EXPECT(neighbour->sq[1].live);
}

/* Base 3.7.2: a write of a former life must have ended before the first command of the next one, after each kind of reset. */
TEST(no_command_before_the_orphans_are_gone)
{
	for (unsigned kind = 0; kind < 3; kind++) {
		RIG(r, .queues = 1, .wrap = tap_wrap);
		uint8_t *a = rig_alloc(&r, r.mc, 4096);
		struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 0, 1);
		struct rig_host *h = rig_host(&r, r.mc);

		rig_data(&r, r.mc, &s, a, 512);
		tap->hold = true;
		rig_submit(&r, r.mc, 1, s);
		rig_settle(&r);
		if (kind == 0)
			rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
		else if (kind == 1)
			h->dev->ops->reset(h->dev);
		else
			rig_reg_put(r.mc, NVME_REG_NSSR, 4, NVME_NSSR_MAGIC);
		rig_settle(&r);
		EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);
		rig_cfg_put16(r.mc, 4, 0x0006);
		rig_ring(h, 0, r.qsize);
		rig_reg_put(r.mc, NVME_REG_AQA, 4, (r.qsize - 1) << 16 | (r.qsize - 1));
		rig_reg_put(r.mc, NVME_REG_ASQ, 8, rig_iova(&r, r.mc, h->q[0].sq));
		rig_reg_put(r.mc, NVME_REG_ACQ, 8, rig_iova(&r, r.mc, h->q[0].cq));
		rig_reg_put(r.mc, NVME_REG_CC, 4, RIG_CC);
		rig_settle(&r);
		EXPECT(!r.mc->enabled);		/* asked to, and waits */
		EXPECT(tap_release());
		tap->hold = false;
		rig_settle(&r);
		EXPECT(r.mc->enabled);
	}
}

/* ---- doorbells */

/* Shadow doorbells whose page is away for a moment: the real ones are old, and following them would run old entries again. */
TEST(lost_shadow_page_runs_nothing_twice)
{
	RIG(r, .queues = 1, .qsize = 16);
	static uint32_t shadow[1024] __attribute__((aligned(4096)));
	struct gmem *g = &nvme_ctrl_device(r.mc)->gmem;
	struct rig_queue *q = &rig_host(&r, r.mc)->q[1];
	struct nvme_sqe s = sqe(NVME_OP_DBBUF, 0), f = sqe(NVME_NVM_FLUSH, 1);

	memset(shadow, 0, sizeof(shadow));
	EXPECT_EQ(gmem_add(g, 0x10000, 4096, shadow, true, true), 0);
	s.prp1 = le64_of(0x10000);
	s.prp2 = le64_of(rig_iova(&r, r.mc, rig_alloc(&r, r.mc, 4096)));
	EXPECT_STATUS(rig_admin(&r, r.mc, s), NVME_SUCCESS);
	for (unsigned i = 1; i <= 5; i++)
		memcpy(q->sq + 64 * (i - 1), &f, 64);
	shadow[2] = 5;
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 6);
	EXPECT_EQ(gmem_del(g, 0x10000, 4096, NULL), 0);
	rig_settle(&r);
	EXPECT_EQ(r.mc->sq[1].tail, 5);
	EXPECT_EQ(r.mc->stats.completed, 6);
	EXPECT_EQ(gmem_add(g, 0x10000, 4096, shadow, true, true), 0);
	memcpy(q->sq + 64 * 5, &f, 64);
	shadow[2] = 6;
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 7);
}

/* By message nobody could poll them: the command is refused, and the host stays with the real doorbells. */
TEST(shadow_doorbells_need_memory_that_is_mapped)
{
	RIG(r, .by_message = true);
	struct nvme_sqe s = sqe(NVME_OP_DBBUF, 0);

	s.prp1 = s.prp2 = le64_of(rig_iova(&r, r.mc, rig_alloc(&r, r.mc, 4096)));
	EXPECT_STATUS(rig_admin(&r, r.mc, s), NVME_DATA_TRANSFER_ERROR);
	EXPECT(!r.mc->dbbuf);
}

/* ---- data pointers */

/* An SGL address of all ones is no bit bucket: a write that names it has no data. */
TEST(sgl_address_of_all_ones_is_memory_that_is_not_there)
{
	RIG(r, .queues = 1);
	uint8_t *b = rig_alloc(&r, r.mc, 4096);
	struct nvme_sgl seg[2] = { { .addr = le64_of(UINT64_MAX), .len = le32_of(256) },
				   { .addr = le64_of(rig_iova(&r, r.mc, b)), .len = le32_of(256) } };
	struct nvme_sgl last = { .addr = le64_of(rig_iova(&r, r.mc, b) + 1024), .len = le32_of(sizeof(seg)), .type = NVME_SGL_LAST << 4 };
	struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 0, 1);

	memcpy(b + 1024, seg, sizeof(seg));
	memcpy(&s.prp1, &last, sizeof(last));
	s.flags = 1 << 6;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_DATA_TRANSFER_ERROR);
	s.opc = NVME_NVM_READ;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_DATA_TRANSFER_ERROR);
}

/* Answers reads of submission queue entries only. */
static void answer_fetches(struct rig *r, struct rig_host *h)
{
	rig_poll(r);
	LIST_EACH(&h->messages, it) {
		struct gmem_op *op = LIST_ENTRY(it, struct gmem_op, link);

		if (op->write || op->len != 64)
			continue;
		list_del(&op->link);
		memcpy(op->buf, h->mem + (op->iova - h->iova), op->len);
		op->done(op, 0);
		return;
	}
}

/* Commands that fetch a second time keep their buffer: they may not queue up behind those who wait for one. */
TEST(refetch_does_not_deadlock)
{
	RIG(r, .by_message = true);
	uint8_t *b = rig_alloc(&r, r.mmc, 4096);
	struct nvme_track_mem *h = (void *)b;
	struct nvme_track_mem_range *d = (void *)(b + sizeof(*h));
	uint16_t cid[NVME_BUFS * 2];

	h->rnmrtd = le32_of(1);
	*d = (struct nvme_track_mem_range){ .saddr = le64_of(rig_host(&r, r.mc)->iova), .len = le32_of(1) };
	for (unsigned i = 0; i < ARRAY_LEN(cid); i++) {
		struct nvme_sqe s = hm_cmd(NVME_OP_TRACK_SEND, 0x10001, r.mc->cntlid, 0, 0, 0);

		rig_data(&r, r.mmc, &s, b, 20);
		cid[i] = rig_submit(&r, r.mmc, 0, s);
	}
	r.hold_messages = true;	/* until all buffers are taken and as many commands wait for one */
	for (unsigned i = 0; i < 100; i++)
		answer_fetches(&r, rig_host(&r, r.mmc));
	EXPECT(!list_empty(&r.mmc->buf_wait));
	r.hold_messages = false;
	EXPECT_STATUS(rig_wait(&r, r.mmc, 0, cid[0]), NVME_SUCCESS);
	for (unsigned i = 1; i < ARRAY_LEN(cid); i++)
		EXPECT_STATUS(rig_wait(&r, r.mmc, 0, cid[i]), NVME_INVALID_CNTLID);
	EXPECT_EQ(r.mmc->bufs_free, (1u << NVME_BUFS) - 1);
}

/* ---- floods */

/* Design rule 5: one poll does a bounded amount for a guest, however large its commands are. */
TEST(one_poll_does_a_bounded_amount)
{
	RIG(r, .queues = 1, .blocks = 65536 * 2, .wrap = tap_wrap);
	struct nvme_cqe c;
	unsigned polls = 0, done = 0;

	for (unsigned i = 0; i < 16; i++)
		rig_submit(&r, r.mc, 1, rig_rw(NVME_NVM_VERIFY, 1, 0, 65536));	/* 32 MiB each */
	for (; done < 16 && polls < 100000; polls++) {
		tap->bytes = 0;
		rig_poll(&r);
		EXPECT(tap->bytes <= 2 * (NVME_WORK_MAX + 32 * NVME_XFER_MAX));
		while (rig_reap(&r, r.mc, 1, &c)) {
			EXPECT_STATUS(c, NVME_SUCCESS);
			done++;
		}
	}
	EXPECT_EQ(done, 16);
	EXPECT(polls > 32);
}

/* A medium that has to write its zeroes: one command may name 32 MiB of them here, and 256 MiB with larger blocks. */
TEST(one_poll_writes_a_bounded_amount_of_zeroes)
{
	RIG(r, .queues = 1, .blocks = 65536, .wrap = tap_wrap);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);
	struct nvme_lbamq e;
	struct nvme_cqe c = { 0 };
	unsigned polls = 0;
	uint16_t cid;

	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	hm_must(&q);
	cid = rig_submit(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE_ZEROES, 1, 1, 65535));
	for (tap->bytes = 0; !rig_try(&r, r.mc, 1, cid, &c) && polls < 1000; polls++) {
		EXPECT(tap->bytes <= 2 * NVME_WORK_MAX);
		tap->bytes = 0;
		rig_poll(&r);
	}
	EXPECT_STATUS(c, NVME_SUCCESS);
	EXPECT(polls >= 4);
	e = hm_must(&q);	/* one entry for all of it */
	EXPECT_EQ(le64_get(e.slba), 1);
	EXPECT_EQ(le32_get(e.nlb0) + 1, 65535);
	EXPECT(hm_empty(&q));
}

/* A drain finds the commands that wait for the next poll. */
TEST(suspend_waits_for_work_that_was_put_off)
{
	RIG(r, .queues = 1, .blocks = 65536 * 2, .wrap = tap_wrap);

	for (unsigned i = 0; i < 4; i++)
		rig_submit(&r, r.mc, 1, rig_rw(NVME_NVM_VERIFY, 1, 0, 65536));
	rig_poll(&r);
	rig_poll(&r);
	EXPECT(r.mc->inflight > 0);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, r.mc->cntlid, false), NVME_SUCCESS);
	EXPECT_EQ(r.mc->inflight, 0);
	EXPECT_EQ(r.mc->stats.completed, r.mc->stats.fetched);
}

/* ---- the rate limit: bytes a mover has to carry, whatever command makes them */

static void limit(struct rig *r, unsigned mib)
{
	struct nvme_rate_limit *l = rig_alloc(r, r->mmc, 4096);

	l->rlc = le16_of(NVME_RLC_RLE);
	l->wbwv = le64_of(mib);
	l->iops_r = l->iops_w = l->bw_r = l->bw_w = 1;
	EXPECT_STATUS(rig_admin_data(r, r->mmc, hm_cmd(NVME_OP_SET_FEATURES, NVME_FID_RATE_LIMIT, r->mc->cntlid, 0, 0, 0), l, sizeof(*l)),
		      NVME_SUCCESS);
}

static struct nvme_sqe copy_sqe(struct rig *r, unsigned ranges, unsigned nlb)
{
	struct nvme_copy_range *c = rig_alloc(r, r->mc, 4096);
	struct nvme_sqe s = sqe(NVME_NVM_COPY, 1);

	for (unsigned i = 0; i < ranges; i++)
		c[i].nlb0 = le16_of((uint16_t)(nlb - 1));
	nvme_slba_put(&s, 16384);
	nvme_copy_nr0_put(&s, ranges - 1);
	rig_data(r, r->mc, &s, c, ranges * sizeof(*c));
	return s;
}

/* Runs one command after another for `ms`; how many completed. */
static unsigned keep(struct rig *r, struct nvme_sqe s, unsigned ms)
{
	struct nvme_cqe c;
	unsigned done = 0, out = 0;

	for (unsigned i = 0; i < ms; i++) {
		for (; out < 8; out++)
			rig_submit(r, r->mc, 1, s);
		rig_settle(r);
		for (; rig_reap(r, r->mc, 1, &c); done++, out--)
			EXPECT_STATUS(c, NVME_SUCCESS);
		r->now += NS_PER_MS;
	}
	return done;
}

/* 4 ranges of 2 MiB: 8 MiB a command; 16 MiB/s let two a second through. */
TEST(copy_pays_for_what_it_writes)
{
	RIG(r, .queues = 1, .blocks = 65536);
	unsigned n;

	limit(&r, 16);
	n = keep(&r, copy_sqe(&r, 4, 4096), 2000);
	EXPECT(n >= 3 && n <= 6);
}

/* And not for what it might have written: 128 KiB a command, 128 a second. */
TEST(small_copy_is_not_charged_as_a_large_one)
{
	RIG(r, .queues = 1, .blocks = 65536);
	unsigned n;

	limit(&r, 16);
	n = keep(&r, copy_sqe(&r, 1, 256), 1000);
	EXPECT(n >= 110 && n <= 135);
}

/* What a Copy took beyond the bucket is not forgotten by a reset: else a guest copies, resets, copies. */
TEST(reset_refills_no_bucket)
{
	RIG(r, .queues = 1, .blocks = 65536);
	struct nvme_sqe s;

	limit(&r, 1);
	s = copy_sqe(&r, 4, 4096);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_SUCCESS);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	rig_enable(&r, r.mc);
	rig_make_queue(&r, r.mc, 1, r.qsize);
	rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 1);
	r.now += 9 * NS_PER_S;
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 2);
}

/* ---- the log */

/* HMLM-RING-17: only whole units are reported as deallocated, and only the edges as changed: a guest that misses alignment by
 * one block must not make the mover carry the whole range. */
TEST(deallocation_is_logged_in_parts)
{
	RIG(r, .queues = 1);
	struct hm_ring q = { 0 };
	struct nvme_dsm_range *d = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = sqe(NVME_NVM_DSM, 1);
	static const struct { uint64_t slba, nlb; unsigned dlba; } want[] = { { 1, 7, 0 }, { 8, 1016, 1 }, { 1024, 1, 0 } };
	uint8_t *ring = rig_alloc(&r, r.mmc, 4096);
	struct nvme_cqe c = hm_create(&r, r.mmc, rig_iova(&r, r.mmc, ring), r.mc->cntlid, 1024, true);

	EXPECT_STATUS(c, NVME_SUCCESS);
	q = (struct hm_ring){ .mmc = r.mmc, .mem = ring, .slots = 128, .id = (uint16_t)le32_get(c.dw0), .phase = true };
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_EQ(hm_esa(&(struct nvme_lbamq){ .lbamqa = hm_must(&q).lbamqa }), 1);
	*d = (struct nvme_dsm_range){ .nlb = le32_of(1024), .slba = le64_of(1) };
	s.cdw11 = le32_of(1 << 2);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, s, d, sizeof(*d)), NVME_SUCCESS);
	for (unsigned i = 0; i < ARRAY_LEN(want); i++) {
		struct nvme_lbamq e = hm_must(&q);

		EXPECT_EQ(le64_get(e.slba), want[i].slba);
		EXPECT_EQ(le32_get(e.nlb0) + 1, want[i].nlb);
		EXPECT_EQ(!!(e.lbamqa & NVME_LBAMQ_DLBA), want[i].dlba);
	}
	EXPECT(hm_empty(&q));
}

/* ---- state */

/* Completions that wait for room: however many a guest lets pile up, the state that carries them is taken in again. */
TEST(many_held_completions_move)
{
	RIG(r, .mcs = 2, .qsize = 1024, .wrap = tap_wrap);
	struct nvme_ctrl *to = r.host[2].ctrl;
	struct rig_host *h = rig_host(&r, r.mc), *h2 = rig_host(&r, to);
	uint8_t *image = rig_alloc(&r, r.mmc, 64 * KIB);
	struct nvme_cqe c;

	rig_ring(h, 1, 1024);
	EXPECT_EQ(nvme_cq_create(r.mc, 1, 2, rig_iova(&r, r.mc, h->q[1].cq), false, 1), NVME_SUCCESS);	/* room for one */
	EXPECT_EQ(nvme_sq_create(r.mc, 1, 1, 1024, rig_iova(&r, r.mc, h->q[1].sq), 0), NVME_SUCCESS);
	tap->hold = true;
	for (unsigned i = 0; i < 400; i++)
		rig_submit(&r, r.mc, 1, sqe(NVME_NVM_FLUSH, 1));
	rig_settle(&r);
	while (tap_release())
		;
	tap->hold = false;
	EXPECT(r.mc->held_count > NVME_HELD_MAX);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, r.mc->cntlid, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_get(&r, r.mmc, r.mc->cntlid, 1, 1, 0, image, 64 * KIB), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, to->cntlid, false), NVME_SUCCESS);
	(void)h2;
	c = hm_set(&r, r.mmc, to->cntlid, 3, 1, 1, 0, image, 64 * KIB);
	EXPECT_STATUS(c, NVME_SUCCESS);
	EXPECT_EQ(to->held_count, r.mc->held_count);
}

/* ---- privilege */

/* Without the facility, and on an MC, the five opcodes do not exist: that is said before any field, namespace, data pointer is judged. */
TEST(migration_opcodes_do_not_exist)
{
	static const uint8_t opc[] = { 0x3d, 0x3e, 0x41, 0x42, 0x45 };

	for (unsigned on = 0; on < 2; on++) {
		RIG(r, .ss.no_hmlm = !on);

		for (unsigned i = 0; i < ARRAY_LEN(opc); i++) {
			struct nvme_sqe bad = { .opc = opc[i], .flags = 0xc3, .nsid = le32_of(0xdeadbeef), .prp1 = le64_of(3),
						.cdw10 = le32_of(0xffffffff), .cdw15 = le32_of(0xffffffff) };

			EXPECT_STATUS(rig_admin(&r, on ? r.mc : r.mmc, sqe(opc[i], 0)), NVME_INVALID_OPCODE);
			EXPECT_STATUS(rig_admin(&r, on ? r.mc : r.mmc, bad), NVME_INVALID_OPCODE);
		}
	}
}

/* ---- queues */

/* A completion on its way by message whose queue was deleted: when the message fails it is forgotten, and the state that is saved
 * afterwards names no queue that is not there. */
TEST(completion_of_a_deleted_queue_is_not_kept)
{
	RIG(r, .mcs = 1, .queues = 1, .by_message = true);
	struct rig_host *h = rig_host(&r, r.mc);
	struct gmem_op *op;
	struct list *l;

	rig_submit(&r, r.mc, 1, sqe(NVME_NVM_FLUSH, 1));
	for (unsigned i = 0; i < 100 && !r.mc->cq[1].posting; i++)
		rig_poll(&r);
	EXPECT(r.mc->cq[1].posting);
	nvme_sq_delete(&r.mc->sq[1]);
	l = list_pop(&h->messages);
	EXPECT(l != NULL);
	op = LIST_ENTRY(l, struct gmem_op, link);
	op->done(op, -EIO);
	EXPECT(list_empty(&r.mc->cq[1].held));
	EXPECT_EQ(r.mc->held_count, 0);
	EXPECT_EQ(r.mc->inflight, 0);
	EXPECT_STATUS(admin(&r, NVME_OP_KEEP_ALIVE), NVME_SUCCESS);
}

/* Design rule 1: between `handed over` and the target's answer, a VMM at the source that resets and enables its controller again
 * (a reset ends any suspension, Base 8.1.12) must not get it to run. */
TEST(a_held_controller_runs_after_no_reset)
{
	RIG(r, .queues = 1);
	struct nvme_ctrl *mc = r.mc;
	uint64_t fetched;

	EXPECT_STATUS(hm_suspend(&r, r.mmc, mc->cntlid, false), NVME_SUCCESS);
	nvme_ctrl_hold(mc, true);
	rig_reg_put(mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	fetched = mc->smart.host_reads;
	rig_reg_put(mc, NVME_REG_AQA, 4, 0x000f000f);
	rig_reg_put(mc, NVME_REG_ASQ, 8, rig_host(&r, mc)->iova);
	rig_reg_put(mc, NVME_REG_ACQ, 8, rig_host(&r, mc)->iova + 4096);
	rig_reg_put(mc, NVME_REG_CC, 4, 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT | NVME_CC_EN);
	rig_reg_put(mc, NVME_REG_DOORBELLS, 4, 1);
	rig_settle(&r);
	EXPECT(!(mc->csts & NVME_CSTS_RDY));
	EXPECT_EQ(mc->smart.host_reads, fetched);
	EXPECT_EQ(mc->inflight, 0);
	nvme_ctrl_hold(mc, false);	/* `not started`: it may again */
	rig_settle(&r);
	EXPECT(mc->csts & NVME_CSTS_RDY);
}
