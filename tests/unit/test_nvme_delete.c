/* Delete I/O Completion Queue while a completion is on its way into its memory by message. */
#include "cmds.h"

/* Polls until the client has been asked to write into CQ 1, and keeps that request back. */
static struct gmem_op *keep_cqe(struct rig *r)
{
	struct rig_host *h = rig_host(r, r->mc);
	uint64_t cq = rig_iova(r, r->mc, h->q[1].cq);

	for (unsigned i = 0; i < RIG_POLLS; i++) {
		LIST_EACH(&h->messages, l) {
			struct gmem_op *op = LIST_ENTRY(l, struct gmem_op, link);

			if (op->write && op->iova - cq < 4096) {
				list_del(l);
				return op;
			}
		}
		rig_poll(r);
	}
	fail_msg("no completion on its way");
	return NULL;
}

static void let_go(struct rig *r, struct gmem_op *op)
{
	list_push(&rig_host(r, r->mc)->messages, &op->link);
	rig_settle(r);
}

static struct gmem_op *half_posted(struct rig *r)
{
	struct gmem_op *op;

	rig_submit(r, r->mc, 1, (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(1) });
	op = keep_cqe(r);
	EXPECT_STATUS(rig_admin(r, r->mc, (struct nvme_sqe){ .opc = NVME_OP_DELETE_SQ, .cdw10 = le32_of(1) }), NVME_SUCCESS);
	return op;
}

/* The host frees the queue's memory when it sees the answer: so that comes last. Meanwhile nothing can be made on the queue. */
TEST(delete_cq_waits_for_its_last_completion)
{
	RIG(r, .queues = 1, .by_message = true);
	struct gmem_op *op = half_posted(&r);
	struct nvme_sqe del = { .opc = NVME_OP_DELETE_CQ, .cdw10 = le32_of(1) }, make = { .opc = NVME_OP_CREATE_SQ };
	uint16_t cid = rig_submit(&r, r.mc, 0, del);
	struct nvme_cqe e;

	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 0, cid, &e));
	EXPECT_STATUS(rig_admin(&r, r.mc, del), NVME_QID_INVALID);
	make.cdw10 = le32_of(7u << 16 | 1);
	make.cdw11 = le32_of(1u << 16 | 1);
	make.prp1 = le64_of(rig_iova(&r, r.mc, rig_host(&r, r.mc)->q[1].sq));
	EXPECT_STATUS(rig_admin(&r, r.mc, make), NVME_CQ_INVALID);
	EXPECT(r.mc->cq[1].live);
	let_go(&r, op);
	EXPECT_STATUS(rig_wait(&r, r.mc, 0, cid), NVME_SUCCESS);
	EXPECT(!r.mc->cq[1].live);
	EXPECT_EQ(r.mc->inflight, 0);
}

/* The message fails: there is nothing to wait for either. */
TEST(delete_cq_waits_for_a_failure_too)
{
	RIG(r, .queues = 1, .by_message = true);
	struct gmem_op *op = half_posted(&r);
	uint16_t cid = rig_submit(&r, r.mc, 0, (struct nvme_sqe){ .opc = NVME_OP_DELETE_CQ, .cdw10 = le32_of(1) });
	struct nvme_cqe e;

	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 0, cid, &e));
	op->done(op, -EFAULT);
	EXPECT_STATUS(rig_wait(&r, r.mc, 0, cid), NVME_SUCCESS);
	EXPECT(!r.mc->cq[1].live);
	EXPECT_EQ(r.mc->inflight, 0);
}

/* A reset while Delete waits: the command ends unseen, RDY falls when the message is back. */
TEST(reset_while_delete_cq_waits)
{
	RIG(r, .queues = 1, .by_message = true);
	struct gmem_op *op = half_posted(&r);

	rig_submit(&r, r.mc, 0, (struct nvme_sqe){ .opc = NVME_OP_DELETE_CQ, .cdw10 = le32_of(1) });
	rig_settle(&r);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);
	let_go(&r, op);
	EXPECT(!(rig_csts(r.mc) & NVME_CSTS_RDY));
	EXPECT_EQ(r.mc->inflight, 0);
	rig_enable(&r, r.mc);
	rig_make_queue(&r, r.mc, 1, 16);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(1) }), NVME_SUCCESS);
}
