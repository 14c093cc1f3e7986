/* Interrupts around a standstill: a driver that missed one waits for half a minute, one too many costs it nothing. */
#include "hmlm.h"

static const struct nvme_sqe flush = { .opc = NVME_NVM_FLUSH, .nsid = { { 1 } } };

static void suspend(struct rig *r) { EXPECT_STATUS(hm_suspend(r, r->mmc, r->mc->cntlid, false), NVME_SUCCESS); }
static void resume(struct rig *r) { EXPECT_STATUS(hm_resume(r, r->mmc, r->mc->cntlid), NVME_SUCCESS); }

/* The completion was posted and its interrupt given to an eventfd that the VMM never read. */
TEST(resume_raises_what_was_not_taken)
{
	RIG(r, .queues = 2);
	struct rig_host *h = rig_host(&r, r.mc);
	uint16_t cid = rig_submit(&r, r.mc, 1, flush);
	unsigned before[3];

	rig_settle(&r);
	EXPECT_EQ(h->irqs[1], 1);
	suspend(&r);
	memcpy(before, h->irqs, sizeof(before));
	resume(&r);
	EXPECT_EQ(h->irqs[1], before[1] + 1);
	EXPECT_EQ(h->irqs[2], before[2]);		/* nothing waits there */
	EXPECT_EQ(h->irqs[0], before[0]);
	EXPECT_STATUS(rig_wait(&r, r.mc, 1, cid), NVME_SUCCESS);
	suspend(&r);
	resume(&r);
	EXPECT_EQ(h->irqs[1], before[1] + 1);		/* taken by now */
}

/* A host that polls its queue asked for no interrupts. */
TEST(resume_respects_ien)
{
	RIG(r, .queues = 1);
	struct rig_host *h = rig_host(&r, r.mc);

	r.mc->cq[1].ien = false;
	rig_submit(&r, r.mc, 1, flush);
	rig_settle(&r);
	suspend(&r);
	resume(&r);
	EXPECT_EQ(h->irqs[1], 0);
}

/* The way of a move: vectors are bound at the target, then the state arrives, then it resumes. The interrupt was pending at the
 * source (nobody had bound it), or raised there and not taken. */
static void arrives(bool deaf)
{
	static uint8_t image[65536];
	RIG(r, .mcs = 2, .queues = 1, .qsize = 16);
	struct nvme_ctrl *to = r.host[2].ctrl;
	struct rig_host *h = rig_host(&r, r.mc), *t = rig_host(&r, to);
	void *p = rig_alloc(&r, r.mmc, sizeof(image));

	h->irq_deaf = deaf;
	rig_submit(&r, r.mc, 1, flush);
	rig_settle(&r);
	EXPECT_EQ(h->irqs[1], deaf ? 0 : 1);
	suspend(&r);
	EXPECT_STATUS(hm_get(&r, r.mmc, r.mc->cntlid, 1, 1, 0, p, sizeof(image)), NVME_SUCCESS);
	/* the target: one that never had queues */
	nvme_sq_delete(&to->sq[1]);
	nvme_cq_delete(&to->cq[1]);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, to->cntlid, false), NVME_SUCCESS);
	EXPECT_EQ(gmem_del(&to->dev.gmem, t->iova, RIG_MEM, NULL), 0);
	EXPECT_EQ(gmem_add(&to->dev.gmem, h->iova, RIG_MEM, h->mem, true, true), 0);
	for (unsigned vec = 0; vec < 4; vec++)
		to->dev.ops->irq_bound(&to->dev, vec);
	memset(t->irqs, 0, sizeof(t->irqs));
	EXPECT_STATUS(hm_set(&r, r.mmc, to->cntlid, 3, 1, 1, 0, p, sizeof(image)), NVME_SUCCESS);
	EXPECT_EQ(t->irqs[1], 0);
	EXPECT_STATUS(hm_resume(&r, r.mmc, to->cntlid), NVME_SUCCESS);
	EXPECT(t->irqs[1] >= 1);
	EXPECT_EQ(to->pci.pba[0] & 2, 0);
}

TEST(pending_at_the_source_fires_at_the_target) { arrives(true); }
TEST(raised_at_the_source_fires_at_the_target) { arrives(false); }

/* Pending, though the queue has nothing left to take (the host polled meanwhile): the bit alone is enough. */
TEST(pending_bit_alone_fires_at_resume)
{
	RIG(r, .queues = 1);
	struct rig_host *h = rig_host(&r, r.mc);

	suspend(&r);
	r.mc->pci.pba[0] |= 1 << 3;
	h->irqs[3] = 0;
	r.mc->dev.ops->irq_bound(&r.mc->dev, 3);
	EXPECT_EQ(h->irqs[3], 0);			/* not while suspended */
	resume(&r);
	EXPECT_EQ(h->irqs[3], 1);
	EXPECT_EQ(r.mc->pci.pba[0], 0);
}
