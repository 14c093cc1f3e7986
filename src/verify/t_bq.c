/* Queues as hosts use them when something is wrong with them, or before something is switched on. */
#include "verify/test.h"

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : t->mmc; }
static struct nvme_sqe flush(const struct vctl *c) { return (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) }; }

/* More commands than any CQ has room for, and nobody reads: other queues go on, and so does the admin queue, which is how a host gets rid
 * of the one that stands. */
static void full_cq_alone(struct vt *t)
{
	struct vctl *c = one(t);
	unsigned size = MIN((unsigned)(c->cap & 0xffff) + 1, 1024u);
	struct nvme_sqe s = flush(c);
	struct vmem id;
	static struct vcmd *k[1024];

	vt_cq_make(c, 1, 2, ST(S_OK));
	vt_sq_make(c, 1, 1, size, ST(S_OK));
	vt_io_make(c, 2, 16);
	c->cq[1].hold = true;
	for (unsigned i = 0; i < size - 1; i++)
		k[i] = vt_queue(c, 1, &s, ST(S_OK, S_SQ_GONE));
	vt_ring(c, 1);
	for (unsigned i = 0; i < 40; i++)
		vt_do(c, 2, &s, ST(S_OK));
	vh_identify(c, NVME_CNS_CTRL, 0, 0, 0, &id, ST(S_OK));
	vt_q_delete(c, false, 1, ST(S_OK));
	vt_q_delete(c, true, 1, ST(S_OK));
	for (unsigned i = 0; i < size - 1; i++)
		vt_forget(k[i]);
	vt_io_make(c, 1, 16);
	vt_do(c, 1, &s, ST(S_OK));
}

/* A command by its shadow; the doorbell is rung besides, which is always allowed. */
static struct vcmd *by_shadow(struct vctl *c, const struct vmem *shadow, unsigned qid)
{
	struct nvme_sqe s = flush(c);
	struct vcmd *k = vt_queue(c, qid, &s, ST(S_OK));
	le32 tail = le32_of(c->sq[qid].tail), head = le32_of(c->cq[qid].head);

	memcpy(shadow->p + 8 * qid + 4, &head, sizeof(head));
	memcpy(shadow->p + 8 * qid, &tail, sizeof(tail));
	vt_ring(c, qid);
	return k;
}

/* What lies in the rings has run and may not run again (its completion would belong to no command), and what follows is not lost. */
static void shadow_late(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem shadow = vt_mem(c, VT_PAGE), index = vt_mem(c, VT_PAGE);
	struct nvme_sqe s = flush(c), config = { .opc = NVME_OP_DBBUF, .prp1 = le64_of(shadow.iova), .prp2 = le64_of(index.iova) };

	if (!(le16_get(c->id.oacs) & NVME_OACS_DBBUF))
		vt_skip(t, "OACS: no Doorbell Buffer Config");
	vt_io_make(c, 1, 16);
	vt_io_make(c, 2, 16);
	for (unsigned i = 0; i < 5; i++)
		vt_do(c, 1, &s, ST(S_OK));
	if (vt_do(c, 0, &config, ST(S_OK, S_XFER)) != S_OK)
		vt_skip(t, "the controller cannot reach the pages directly");
	vt_watch_silent(c);
	for (unsigned i = 0; i < 5; i++) {
		vt_finish(t, by_shadow(c, &shadow, 1));
		vt_finish(t, by_shadow(c, &shadow, 2));
	}
}

enum { QN = DUT_MEM | DUT_REGS | DUT_NS };
const struct vtest tests_bq[] = {
	{ "BQ-01", QN, "B-Q-4", full_cq_alone, "a CQ that nobody reads stops no other queue and can be deleted", "hostile" },
	{ "BQ-02", QN, "B-Q-2", shadow_late, "Doorbell Buffer Config for queues that were used before", NULL },
	{ .id = NULL }
};
