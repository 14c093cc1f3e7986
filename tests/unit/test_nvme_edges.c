/* What hosts may do at the edges, each once: queues that are not emptied or were used before something is switched on, backends that do
 * not answer, registers written at the wrong time, memory that runs out. The reason stands beside the case. */
#include "hmlm.h"
#include "tap.h"

static struct nvme_sqe sqe(unsigned opc, uint32_t nsid) { return (struct nvme_sqe){ .opc = (uint8_t)opc, .nsid = le32_of(nsid) }; }

/* ---- who may be kept waiting by whom */

/* An I/O CQ of two entries that nobody empties. Base: what stops is what completes there. The host may still delete the queue, and its
 * neighbours go on. */
TEST(full_cq_stops_nobody_else)
{
	RIG(r, .queues = 2, .qsize = 1024);
	struct rig_host *h = rig_host(&r, r.mc);

	nvme_sq_delete(&r.mc->sq[1]);
	nvme_cq_delete(&r.mc->cq[1]);
	rig_ring(h, 1, 1024);
	EXPECT_EQ(nvme_cq_create(r.mc, 1, 2, rig_iova(&r, r.mc, h->q[1].cq), false, 1), NVME_SUCCESS);
	EXPECT_EQ(nvme_sq_create(r.mc, 1, 1, 1024, rig_iova(&r, r.mc, h->q[1].sq), 0), NVME_SUCCESS);
	for (unsigned i = 0; i < 1000; i++)
		rig_submit(&r, r.mc, 1, sqe(NVME_NVM_FLUSH, 1));
	rig_settle(&r);
	EXPECT(r.mc->held_count > 0);
	EXPECT(r.mc->sq[1].head != r.mc->sq[1].tail);
	EXPECT_STATUS(rig_io(&r, r.mc, 2, sqe(NVME_NVM_FLUSH, 1)), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_KEEP_ALIVE, 0)), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin(&r, r.mc, (struct nvme_sqe){ .opc = NVME_OP_DELETE_SQ, .cdw10 = le32_of(1) }), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin(&r, r.mc, (struct nvme_sqe){ .opc = NVME_OP_DELETE_CQ, .cdw10 = le32_of(1) }), NVME_SUCCESS);
	EXPECT_EQ(r.mc->held_count, 0);
}

/* More commands than there are requests, and a disk that has stopped: what the driver then does are admin commands. */
TEST(stuck_backend_leaves_the_admin_queue_alone)
{
	RIG(r, .queues = 1, .qsize = 256, .max_reqs = 64, .wrap = tap_wrap);

	tap->hold = true;
	for (unsigned i = 0; i < 200; i++)
		rig_submit(&r, r.mc, 1, sqe(NVME_NVM_FLUSH, 1));
	for (unsigned i = 0; i < NVME_AER_MAX; i++)
		rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER, 0));
	rig_settle(&r);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_KEEP_ALIVE, 0)), NVME_SUCCESS);
	tap_release_all();
	rig_settle(&r);
	EXPECT_EQ(r.mc->sq[1].head, r.mc->sq[1].tail);
	EXPECT_EQ(r.mc->inflight, 0);
	EXPECT_EQ(r.mc->req_count, 64 - NVME_AER_MAX);
}

/* The same with buffers: each Verify has one while it is under way, and so must Identify. */
TEST(stuck_backend_leaves_a_buffer)
{
	RIG(r, .queues = 1, .wrap = tap_wrap);
	struct nvme_sqe id = sqe(NVME_OP_IDENTIFY, 0);
	void *page = rig_alloc(&r, r.mc, 4096);

	nvme_identify_cns_put(&id, NVME_CNS_CTRL);
	tap->hold = true;
	for (unsigned i = 0; i < 16; i++)
		rig_submit(&r, r.mc, 1, rig_rw(NVME_NVM_VERIFY, 1, 0, 8));
	rig_settle(&r);
	for (unsigned i = 0; i < 3; i++)
		EXPECT_STATUS(rig_admin_data(&r, r.mc, id, page, 4096), NVME_SUCCESS);
	tap_release_all();
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 16 + 3);
	EXPECT_EQ(r.mc->stats.errors, 0);
	EXPECT_EQ(r.mc->bufs_free, (1u << NVME_BUFS) - 1);
}

/* ---- shadow doorbells */

/* Doorbell Buffer Config for queues that were used already, with pages of zeroes: no command runs twice, none that follows is lost, and
 * who has written its shadow first is believed. */
TEST(shadow_doorbells_of_used_queues)
{
	RIG(r, .queues = 3, .qsize = 16);
	struct rig_queue *q = rig_host(&r, r.mc)->q;
	uint32_t *shadow = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = sqe(NVME_OP_DBBUF, 0), f = sqe(NVME_NVM_FLUSH, 1);
	uint64_t fetched;

	s.prp1 = le64_of(rig_iova(&r, r.mc, shadow));
	s.prp2 = le64_of(rig_iova(&r, r.mc, rig_alloc(&r, r.mc, 4096)));
	for (unsigned i = 0; i < 5; i++)
		EXPECT_STATUS(rig_io(&r, r.mc, 1, f), NVME_SUCCESS);
	memcpy(q[2].sq, &f, 64);
	shadow[4] = 1;		/* rung there alone, before the command */
	EXPECT_STATUS(rig_admin(&r, r.mc, s), NVME_SUCCESS);
	rig_settle(&r);
	fetched = r.mc->stats.fetched;
	EXPECT_EQ(fetched, 5 + 1 + 1);
	EXPECT_EQ(r.mc->sq[1].tail, 5);
	EXPECT_EQ(r.mc->cq[1].head, 5);
	EXPECT_EQ(shadow[2], 5);
	EXPECT_EQ(shadow[3], 5);
	EXPECT_EQ(shadow[6], 0);
	memcpy(q[1].sq + 64 * 5, &f, 64);
	shadow[2] = 6;
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.fetched, fetched + 1);
	EXPECT_EQ(r.mc->stats.errors, 0);
}

/* ---- memory by message */

static int refuse(void *ctx, struct gmem_op *op)
{
	(void)ctx;
	(void)op;
	return -ENODEV;
}

/* QEMU refuses our messages while its guest has bus mastering off. What was under way is done when it is on again: the command that
 * could not be fetched, and the completion that could not be posted. No map has changed. */
TEST(refused_messages_are_sent_again)
{
	RIG(r, .queues = 2, .by_message = true, .wrap = tap_wrap);
	struct device *d = nvme_ctrl_device(r.mc);
	uint16_t done, rung;

	tap->hold = true;
	done = rig_submit(&r, r.mc, 1, sqe(NVME_NVM_FLUSH, 1));
	rig_settle(&r);
	d->gmem.remote = refuse;
	tap_release_all();
	rung = rig_submit(&r, r.mc, 2, sqe(NVME_NVM_FLUSH, 1));
	rig_settle(&r);
	EXPECT_EQ(r.mc->held_count, 1);
	EXPECT_EQ(r.mc->sq[2].head, 0);
	rig_cfg_put16(r.mc, 4, 0x0002);
	d->gmem.remote = rig_remote;
	rig_cfg_put16(r.mc, 4, 0x0006);
	EXPECT(d->ops->deadline(d) > r.now && d->ops->deadline(d) <= r.now + 10 * NS_PER_S);
	r.now = d->ops->deadline(d);
	EXPECT_STATUS(rig_wait(&r, r.mc, 1, done), NVME_SUCCESS);
	EXPECT_STATUS(rig_wait(&r, r.mc, 2, rung), NVME_SUCCESS);
	EXPECT_EQ(d->ops->deadline(d), UINT64_MAX);
}

/* ---- registers */

/* A guest's writes to anything it can reach, but those that reset or disable. */
static void scribble(struct rig *r, struct device *d)
{
	static const unsigned regs[] = { NVME_REG_CAP, NVME_REG_VS, NVME_REG_INTMS, NVME_REG_INTMC, NVME_REG_CSTS, NVME_REG_NSSR, NVME_REG_AQA,
					 NVME_REG_ASQ, NVME_REG_ASQ + 4, NVME_REG_ACQ, NVME_REG_ACQ + 4, NVME_REG_CRTO };
	uint8_t rnd[8];
	uint32_t v, cc;

	rig_random(&r->env, rnd, sizeof(rnd));
	memcpy(&v, rnd + 4, 4);
	cc = (v & ~(3u << NVME_CC_SHN_SHIFT)) | NVME_CC_EN;
	switch (rnd[0] % 8) {
	case 0: d->ops->region_write(d, DEV_REGION_BAR0, NVME_REG_CC, &cc, 4); break;
	case 1: d->ops->region_write(d, DEV_REGION_BAR0 + 4, rnd[1] * 4u, &v, 4); break;
	case 2: d->ops->region_write(d, DEV_REGION_CONFIG, rnd[1] * 4u % 0x68, &v, 4); break; /* Device Control, with the FLR bit, is at 68h */
	case 3: d->ops->region_write(d, DEV_REGION_BAR0, NVME_REG_DOORBELLS + 8 + rnd[1] * 4u, &v, 4); break;
	default: d->ops->region_write(d, DEV_REGION_BAR0, regs[rnd[1] % ARRAY_LEN(regs)], &v, 4); break;
	}
}

/* Whatever a guest writes into its registers, its controller can be moved, and its admin queue stays where it was when it was enabled:
 * AQA, ASQ, ACQ and CC's page size, command set and arbitration are taken when CC.EN becomes 1 (Base 3.1.4), the entry sizes when queues
 * are made. */
TEST(registers_cannot_keep_a_guest_from_moving)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		RIG(r, .mcs = 2, .queues = 0);
		struct nvme_ctrl *to = r.host[2].ctrl;
		uint8_t *image = rig_alloc(&r, r.mmc, 64 * KIB);

		r.rnd = seed;
		rig_make_queue(&r, r.mc, 1, 32);
		for (unsigned i = 0; i < 200; i++) {
			scribble(&r, nvme_ctrl_device(r.mc));
			rig_settle(&r);
		}
		EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);
		EXPECT_STATUS(hm_suspend(&r, r.mmc, r.mc->cntlid, false), NVME_SUCCESS);
		EXPECT_STATUS(hm_get(&r, r.mmc, r.mc->cntlid, 1, 1, 0, image, 64 * KIB), NVME_SUCCESS);
		EXPECT_STATUS(hm_suspend(&r, r.mmc, to->cntlid, false), NVME_SUCCESS);
		EXPECT_STATUS(hm_set(&r, r.mmc, to->cntlid, 3, 1, 1, 0, image, 64 * KIB), NVME_SUCCESS);
		EXPECT_EQ(to->sq[0].prp1, r.mc->sq[0].prp1);
		EXPECT_EQ(to->sq[0].size, r.mc->sq[0].size);
		EXPECT_EQ(to->cq[0].prp1, r.mc->cq[0].prp1);
		EXPECT_EQ(to->cq[0].size, r.mc->cq[0].size);
	}
}

/* ---- data pointers */

static struct nvme_sqe scattered(struct rig *r, unsigned opc, unsigned blocks, uint8_t *data, struct nvme_sgl *list)
{
	struct nvme_sqe s = rig_rw(opc, 1, 0, blocks);
	struct nvme_sgl d = { .addr = le64_of(rig_iova(r, r->mc, list)), .len = le32_of(blocks * 16), .type = NVME_SGL_LAST << 4 };

	for (unsigned i = 0; i < blocks; i++) /* backwards: no two of them follow each other */
		list[i] = (struct nvme_sgl){ .addr = le64_of(rig_iova(r, r->mc, data + 512 * (blocks - 1 - i))), .len = le32_of(512) };
	memcpy(&s.prp1, &d, 16);
	s.flags = NVME_PSDT_SGL;
	return s;
}

/* Nothing tells a host on PCIe how many descriptors an SGL may have: SPDK's driver sends up to 250. Each block by itself; more such
 * commands at a time than have room; and by message. */
TEST(sgl_block_by_block)
{
	for (unsigned by_message = 0; by_message < 2; by_message++) {
		RIG(r, .queues = 1, .by_message = by_message);
		uint8_t *out = rig_alloc(&r, r.mc, 256 * 512), *in = rig_alloc(&r, r.mc, 256 * 512);
		struct nvme_sgl *list = rig_alloc(&r, r.mc, 4096), *back = rig_alloc(&r, r.mc, 4096);
		struct nvme_sqe s = scattered(&r, NVME_NVM_WRITE, 256, out, list);
		uint16_t cid[3 * NVME_WIDES];

		for (unsigned i = 0; i < 256 * 512; i++)
			out[i] = (uint8_t)(i / 512 ^ i);
		EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_SUCCESS);
		s = scattered(&r, NVME_NVM_READ, 256, in, back);
		for (unsigned i = 0; i < ARRAY_LEN(cid); i++)
			cid[i] = rig_submit(&r, r.mc, 1, s);
		for (unsigned i = 0; i < ARRAY_LEN(cid); i++)
			EXPECT_STATUS(rig_wait(&r, r.mc, 1, cid[i]), NVME_SUCCESS);
		EXPECT_MEM(in, out, 256 * 512);
		s = scattered(&r, NVME_NVM_READ, 64, in, back);
		EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_SUCCESS);
		s.prp2 = le64_of((uint64_t)NVME_SGL_LAST << 60 | (NVME_WIDE_IOV + 1) * 16);	/* length and type of the same descriptor */
		EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_INVALID_SGL_COUNT);
		for (unsigned i = 0; i < NVME_WIDES; i++)
			EXPECT(!r.mc->wide[i].used);
		EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
	}
}

/* Deleting the queue and resetting the controller with such commands on the way and others waiting for room. */
TEST(sgl_block_by_block_is_given_up)
{
	for (unsigned reset = 0; reset < 2; reset++) {
		RIG(r, .queues = 1, .wrap = tap_wrap);
		uint8_t *data = rig_alloc(&r, r.mc, 256 * 512);
		struct nvme_sgl *list = rig_alloc(&r, r.mc, 4096);
		uint16_t cid;

		tap->hold = true;
		for (unsigned i = 0; i < 3 * NVME_WIDES; i++)
			rig_submit(&r, r.mc, 1, scattered(&r, NVME_NVM_READ, 256, data, list));
		rig_settle(&r);
		EXPECT(!list_empty(&r.mc->wide_wait));
		if (reset) {
			rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
			rig_settle(&r);
			EXPECT_EQ(r.mc->inflight, NVME_WIDES);
			tap_release_all();
			rig_enable(&r, r.mc);
		} else {
			cid = rig_submit(&r, r.mc, 0, (struct nvme_sqe){ .opc = NVME_OP_DELETE_SQ, .cdw10 = le32_of(1) });
			rig_settle(&r);
			tap_release_all();
			EXPECT_STATUS(rig_wait(&r, r.mc, 0, cid), NVME_SUCCESS);
		}
		rig_settle(&r);
		EXPECT_EQ(r.mc->inflight, 0);
		for (unsigned i = 0; i < NVME_WIDES; i++)
			EXPECT(!r.mc->wide[i].used);
	}
}

/* ---- a drain that does not end */

static struct nvme_cqe abort_of(struct rig *r, uint16_t cid)
{
	return rig_admin(r, r->mmc, (struct nvme_sqe){ .opc = NVME_OP_ABORT, .cdw10 = le32_of((uint32_t)cid << 16) });
}

/* A disk has stopped, and the manager will not wait for it: Abort takes the Suspend back and the guest goes on. One Suspend among several
 * is taken back alone, with its DUDMQ. */
TEST(abort_takes_back_a_suspend)
{
	RIG(r, .queues = 1, .wrap = tap_wrap);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);
	uint16_t cid[2], rung;
	struct nvme_cqe c;

	tap->hold = true;
	rig_submit(&r, r.mc, 1, sqe(NVME_NVM_FLUSH, 1));
	rig_settle(&r);
	for (unsigned i = 0; i < 2; i++)
		cid[i] = rig_submit(&r, r.mmc, 0, hm_cmd(0x41, 0, (i ? 0x80010000u : 0x00010000u) | r.mc->cntlid, 0, 0, 0));
	rig_settle(&r);
	rung = rig_submit(&r, r.mc, 0, sqe(NVME_OP_KEEP_ALIVE, 0));
	c = abort_of(&r, cid[1]);
	EXPECT_EQ(le32_get(c.dw0) & 1, 0);
	EXPECT_STATUS(rig_wait(&r, r.mmc, 0, cid[1]), NVME_ABORT_REQUESTED);
	EXPECT_EQ(r.mc->suspend, NVME_DRAINING);
	EXPECT(!r.mc->suspend_dudmq);
	EXPECT(!rig_try(&r, r.mc, 0, rung, &c));
	c = abort_of(&r, cid[0]);
	EXPECT_EQ(le32_get(c.dw0) & 1, 0);
	EXPECT_STATUS(rig_wait(&r, r.mmc, 0, cid[0]), NVME_ABORT_REQUESTED);
	EXPECT_STATUS(rig_wait(&r, r.mc, 0, rung), NVME_SUCCESS);
	EXPECT_STATUS(hm_resume(&r, r.mmc, r.mc->cntlid), NVME_CTRL_NOT_SUSPENDED);
	c = abort_of(&r, cid[0]);
	EXPECT_EQ(le32_get(c.dw0) & 1, 1);
	tap_release_all();
	EXPECT_STATUS(hm_suspend(&r, r.mmc, r.mc->cntlid, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_resume(&r, r.mmc, r.mc->cntlid), NVME_SUCCESS);
	EXPECT_STATUS(hm_delete(&r, r.mmc, q.id), NVME_SUCCESS);	/* it is still there */
}
