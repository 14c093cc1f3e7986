/* A subsystem on the bench: one MMC, some MCs, RAM namespaces, each controller with guest memory and a host that talks to it
 * through real queues, doorbells and registers. One thread, a clock that stands still unless the test moves it.
 *
 *   RIG(r, .queues = 2);                                  opens it; closed at the end of the block
 *   struct nvme_cqe c = rig_admin(&r, r.mmc, sqe);        submits, polls until its completion is there
 *   EXPECT_STATUS(c, NVME_SUCCESS);
 */
#ifndef FERRY_TESTS_RIG_H
#define FERRY_TESTS_RIG_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "t.h"
#include "device/nvme/nvme.h"

enum { RIG_CTRLS = 4, RIG_QUEUES = 8, RIG_MEM = 16 << 20, RIG_POLLS = 20000, RIG_STASH = 1024 };

struct rig_cfg {
	unsigned mcs;			/* Migratable Controllers; 0: 1 */
	unsigned queues;		/* I/O queue pairs of each controller, created at once */
	unsigned qsize;			/* entries; 0: 32 */
	unsigned namespaces;		/* NSID 1..n, attached to every controller under the same number; 0: 1 */
	unsigned block_bytes;		/* 0: 512 */
	uint64_t blocks;		/* 0: 8192 */
	bool no_namespace, disabled;	/* disabled: CC.EN is left 0 */
	bool by_message;		/* guest memory without pointers: everything goes through gmem's remote */
	uint16_t max_reqs;
	struct blk *(*wrap)(struct blk *); /* puts something in front of each namespace's RAM */
	struct nvme_subsys_cfg ss;	/* .env is filled in */
};

struct rig_queue { uint16_t size, tail, head, cid; bool phase; uint8_t *sq, *cq; };
struct rig_host {
	struct nvme_ctrl *ctrl;
	struct device *dev;
	uint8_t *mem;
	uint64_t iova, used;
	uint8_t *cmd_page;			/* cmds.h */
	struct rig_queue q[RIG_QUEUES];
	struct nvme_cqe stash[RIG_STASH];	/* reaped, not asked for yet */
	unsigned stashed;
	struct list messages;			/* gmem_op waiting for the "client" */
	unsigned irqs[NVME_MSIX_VECTORS];
	bool irq_deaf;				/* nothing is bound */
};

struct rig {
	struct env env;
	uint64_t now, rnd;
	struct nvme_subsys *ss;
	struct nvme_ctrl *mmc, *mc;		/* mc: the first one */
	struct rig_host host[RIG_CTRLS];	/* [0] the MMC's */
	unsigned hosts;
	unsigned qsize;
	bool hold_messages;			/* the client does not answer for the moment */
	unsigned messages;			/* answered so far */
	struct err err;
};

#define RIG(r, ...) struct rig r __attribute__((cleanup(rig_close))); rig_open(&r, &(struct rig_cfg){ __VA_ARGS__ })
#define EXPECT_STATUS(cqe, st)                                                                               \
	do {                                                                                                 \
		struct nvme_cqe got_ = (cqe);                                                                \
		if (nvme_cqe_status(&got_) != (unsigned)(st))                                                \
			print_message("%s:%d: got \"%s\" (%03x)\n", __FILE__, __LINE__,                      \
				      nvme_status_name(nvme_cqe_status(&got_)), nvme_cqe_status(&got_));     \
		EXPECT_EQ(nvme_cqe_status(&got_), st);                                                       \
	} while (0)

/* ---- the world: a clock that stands still, chance from a counter ---- */

static inline uint64_t rig_now(struct env *e) { return CONTAINER_OF(e, struct rig, env)->now; }
static inline void rig_random(struct env *e, void *p, size_t len)
{
	struct rig *r = CONTAINER_OF(e, struct rig, env);

	for (size_t i = 0; i < len; i++) {
		r->rnd = r->rnd * 6364136223846793005ull + 1442695040888963407ull;
		((uint8_t *)p)[i] = (uint8_t)(r->rnd >> 56);
	}
}
static const struct env_ops rig_env_ops = { .now_ns = rig_now, .random = rig_random };

static inline struct rig_host *rig_host(struct rig *r, struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < r->hosts; i++)
		if (r->host[i].ctrl == c)
			return &r->host[i];
	fail_msg("no such controller in the rig");
	return NULL;
}

static inline bool rig_irq(void *ctx, unsigned vector)
{
	struct rig_host *h = ctx;

	if (h->irq_deaf)
		return false;
	h->irqs[vector]++;
	return true;
}

/* By-message memory: the op waits until rig_poll answers it. */
static inline int rig_remote(void *ctx, struct gmem_op *op)
{
	struct rig_host *h = ctx;

	list_push(&h->messages, &op->link);
	return 0;
}
static inline bool rig_answer(struct rig *r, struct rig_host *h)
{
	struct list *l = list_pop(&h->messages);
	struct gmem_op *op;

	if (!l)
		return false;
	op = LIST_ENTRY(l, struct gmem_op, link);
	r->messages++;
	if (!range_inside(op->iova - h->iova, op->len, RIG_MEM)) {
		op->done(op, -EFAULT);
		return true;
	}
	if (op->write)
		memcpy(h->mem + (op->iova - h->iova), op->buf, op->len);
	else
		memcpy(op->buf, h->mem + (op->iova - h->iova), op->len);
	op->done(op, 0);
	return true;
}

/* One turn of the whole bench. True if anything was done. */
static inline bool rig_poll(struct rig *r)
{
	bool busy = nvme_subsys_poll(r->ss);

	for (unsigned i = 0; i < r->hosts; i++) {
		if (!r->hold_messages)
			busy |= rig_answer(r, &r->host[i]);
		busy |= r->host[i].dev->ops->poll(r->host[i].dev, 32);
	}
	return busy;
}
static inline void rig_settle(struct rig *r) /* until nothing happens any more */
{
	for (unsigned i = 0, idle = 0; i < RIG_POLLS && idle < 3; i++)
		idle = rig_poll(r) ? 0 : idle + 1;
}

/* Another size for a namespace, as the program that serves it does it. */
static inline int rig_resize(struct rig *r, uint32_t nsid, uint64_t blocks)
{
	struct nvme_ns *ns = nvme_ns_find(r->ss, nsid);
	bool larger = blocks > nvme_ns_blocks(ns);
	int rc;

	while ((rc = larger ? nvme_ns_extend(ns, blocks, &r->err) : nvme_ns_may_resize(ns, blocks, &r->err)) == -EAGAIN)
		rig_poll(r);
	if (rc)
		return rc;
	nvme_ns_set_size(ns, blocks);
	while ((rc = nvme_ns_trim(ns, &r->err)) == -EAGAIN)
		rig_poll(r);
	return rc;
}

/* ---- guest memory ---- */

static inline void *rig_alloc_at(struct rig_host *h, size_t bytes)
{
	void *p = h->mem + h->used;

	h->used += round_up(bytes, 4096);
	if (h->used > RIG_MEM)
		fail_msg("the rig's guest memory is used up");
	memset(p, 0, bytes);
	return p;
}
/* Zeroed, page aligned, for ever. */
static inline void *rig_alloc(struct rig *r, struct nvme_ctrl *c, size_t bytes) { return rig_alloc_at(rig_host(r, c), bytes); }
static inline uint64_t rig_iova(struct rig *r, struct nvme_ctrl *c, const void *p)
{
	struct rig_host *h = rig_host(r, c);

	return h->iova + (uint64_t)((const uint8_t *)p - h->mem);
}
/* PRP1, PRP2 (with a list where it takes one) for len bytes at p, which may start inside a page. */
static inline void rig_data(struct rig *r, struct nvme_ctrl *c, struct nvme_sqe *s, const void *p, size_t len)
{
	uint64_t a = rig_iova(r, c, p), next = round_down(a, 4096) + 4096;
	size_t n = a + len > next ? (a + len - next + 4095) / 4096 : 0;
	le64 *list;

	s->prp1 = le64_of(a);
	s->prp2 = le64_of(n ? next : 0);
	if (n <= 1)
		return;
	list = rig_alloc(r, c, n * 8);
	for (size_t i = 0; i < n; i++)
		list[i] = le64_of(next + i * 4096);
	s->prp2 = le64_of(rig_iova(r, c, list));
}

/* ---- registers and doorbells ---- */

static inline uint64_t rig_reg(struct nvme_ctrl *c, unsigned off, unsigned bytes)
{
	struct device *d = nvme_ctrl_device(c);
	uint64_t v = 0;

	EXPECT_EQ(d->ops->region_read(d, DEV_REGION_BAR0, off, &v, bytes), 0);
	return v;
}
static inline void rig_reg_put(struct nvme_ctrl *c, unsigned off, unsigned bytes, uint64_t v)
{
	struct device *d = nvme_ctrl_device(c);

	EXPECT_EQ(d->ops->region_write(d, DEV_REGION_BAR0, off, &v, bytes), 0);
}
static inline uint32_t rig_csts(struct nvme_ctrl *c) { return (uint32_t)rig_reg(c, NVME_REG_CSTS, 4); }
static inline void rig_doorbell(struct nvme_ctrl *c, unsigned index, uint32_t v)
{
	rig_reg_put(c, NVME_REG_DOORBELLS + 4 * index, 4, v);
}
static inline void rig_cfg_put16(struct nvme_ctrl *c, unsigned off, uint16_t v)
{
	struct device *d = nvme_ctrl_device(c);

	EXPECT_EQ(d->ops->region_write(d, DEV_REGION_CONFIG, off, &v, 2), 0);
}

/* ---- queues ---- */

/* Puts one command into the ring and rings the doorbell; its command identifier. Nothing is polled. */
static inline uint16_t rig_submit(struct rig *r, struct nvme_ctrl *c, unsigned qid, struct nvme_sqe s)
{
	struct rig_queue *q = &rig_host(r, c)->q[qid];

	s.cid = le16_of(q->cid);
	memcpy(q->sq + 64 * q->tail, &s, 64);
	q->tail = (uint16_t)((q->tail + 1) % q->size);
	rig_doorbell(c, 2 * qid, q->tail);
	return q->cid++;
}

/* Takes the next completion out of the ring, if there is one. sqid tells which queue it came from. */
static inline bool rig_reap(struct rig *r, struct nvme_ctrl *c, unsigned qid, struct nvme_cqe *out)
{
	struct rig_queue *q = &rig_host(r, c)->q[qid];

	memcpy(out, q->cq + 16 * q->head, 16);
	if (nvme_cqe_phase(out) != q->phase)
		return false;
	q->head = (uint16_t)(q->head + 1);
	if (q->head == q->size) {
		q->head = 0;
		q->phase = !q->phase;
	}
	rig_doorbell(c, 2 * qid + 1, q->head);
	return true;
}

/* The completion of one command, if it has come; others are kept for whoever asks for them. */
static inline bool rig_try(struct rig *r, struct nvme_ctrl *c, unsigned qid, uint16_t cid, struct nvme_cqe *out)
{
	struct rig_host *h = rig_host(r, c);
	struct nvme_cqe e;

	while (rig_reap(r, c, qid, &e) && h->stashed < RIG_STASH)
		h->stash[h->stashed++] = e;
	for (unsigned i = 0; i < h->stashed; i++) {
		if (le16_get(h->stash[i].cid) != cid || le16_get(h->stash[i].sqid) != qid)
			continue;
		*out = h->stash[i];
		memmove(h->stash + i, h->stash + i + 1, (--h->stashed - i) * sizeof(*h->stash));
		return true;
	}
	return false;
}
static inline struct nvme_cqe rig_wait(struct rig *r, struct nvme_ctrl *c, unsigned qid, uint16_t cid)
{
	struct nvme_cqe e = { 0 };

	for (unsigned i = 0; i < RIG_POLLS; i++) {
		if (rig_try(r, c, qid, cid, &e))
			return e;
		rig_poll(r);
	}
	fail_msg("no completion for qid %u cid %u", qid, cid);
	return e;
}
static inline struct nvme_cqe rig_io(struct rig *r, struct nvme_ctrl *c, unsigned qid, struct nvme_sqe s)
{
	return rig_wait(r, c, qid, rig_submit(r, c, qid, s));
}
static inline struct nvme_cqe rig_admin(struct rig *r, struct nvme_ctrl *c, struct nvme_sqe s) { return rig_io(r, c, 0, s); }
/* With a data buffer of len bytes, PRPs filled in. */
static inline struct nvme_cqe rig_admin_data(struct rig *r, struct nvme_ctrl *c, struct nvme_sqe s, void *p, size_t len)
{
	rig_data(r, c, &s, p, len);
	return rig_admin(r, c, s);
}
static inline struct nvme_cqe rig_io_data(struct rig *r, struct nvme_ctrl *c, unsigned qid, struct nvme_sqe s, void *p, size_t len)
{
	rig_data(r, c, &s, p, len);
	return rig_io(r, c, qid, s);
}
/* Read or Write of nlb blocks. */
static inline struct nvme_sqe rig_rw(unsigned opc, uint32_t nsid, uint64_t slba, unsigned nlb)
{
	struct nvme_sqe s = { .opc = (uint8_t)opc, .nsid = le32_of(nsid) };

	nvme_slba_put(&s, slba);
	nvme_rw_nlb0_put(&s, nlb - 1);
	return s;
}

static inline void rig_ring(struct rig_host *h, unsigned qid, unsigned size)
{
	struct rig_queue *q = &h->q[qid];

	if (!q->sq) {
		q->sq = rig_alloc_at(h, 4096 * 64);
		q->cq = rig_alloc_at(h, 4096 * 16);
	}
	memset(q->cq, 0, 4096 * 16);
	q->size = (uint16_t)size;
	q->tail = q->head = 0;
	q->phase = true;
}
/* One I/O queue pair straight through queue.c (the commands that create queues are tested elsewhere). Vector = qid. */
static inline void rig_make_queue(struct rig *r, struct nvme_ctrl *c, unsigned qid, unsigned size)
{
	struct rig_host *h = rig_host(r, c);

	rig_ring(h, qid, size);
	EXPECT_EQ(nvme_cq_create(c, (uint16_t)qid, size, rig_iova(r, c, h->q[qid].cq), true, (uint16_t)qid), NVME_SUCCESS);
	EXPECT_EQ(nvme_sq_create(c, (uint16_t)qid, (uint16_t)qid, size, rig_iova(r, c, h->q[qid].sq), 0), NVME_SUCCESS);
}

enum { RIG_CC = NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT };

static inline void rig_enable(struct rig *r, struct nvme_ctrl *c)
{
	struct rig_host *h = rig_host(r, c);

	rig_ring(h, 0, r->qsize);
	h->stashed = 0;
	rig_reg_put(c, NVME_REG_AQA, 4, (r->qsize - 1) << 16 | (r->qsize - 1));
	rig_reg_put(c, NVME_REG_ASQ, 8, rig_iova(r, c, h->q[0].sq));
	rig_reg_put(c, NVME_REG_ACQ, 8, rig_iova(r, c, h->q[0].cq));
	rig_reg_put(c, NVME_REG_CC, 4, RIG_CC);
	rig_settle(r);
	EXPECT(rig_csts(c) & NVME_CSTS_RDY);
}

/* ---- open and close ---- */

static inline void rig_add_ctrl(struct rig *r, const struct rig_cfg *cfg, bool mmc)
{
	struct rig_host *h = &r->host[r->hosts];

	h->ctrl = nvme_ctrl_new(r->ss, &(struct nvme_ctrl_cfg){ .mmc = mmc, .max_reqs = cfg->max_reqs }, &r->err);
	if (!h->ctrl)
		fail_msg("%s", r->err.text);
	h->dev = nvme_ctrl_device(h->ctrl);
	h->mem = aligned_alloc(4096, RIG_MEM);
	h->iova = 0x4000000000ull + ((uint64_t)r->hosts << 32);
	list_init(&h->messages);
	EXPECT_EQ(gmem_add(&h->dev->gmem, h->iova, RIG_MEM, cfg->by_message ? NULL : h->mem, true, true), 0);
	if (cfg->by_message) {
		h->dev->gmem.remote = rig_remote;
		h->dev->gmem.remote_ctx = h;
	}
	h->dev->irq = rig_irq;
	h->dev->irq_ctx = h;
	r->hosts++;
	rig_cfg_put16(h->ctrl, 4, 0x0006);				/* memory, bus master */
	rig_cfg_put16(h->ctrl, h->ctrl->pci.msix_cap + 2, 0x8000);	/* MSI-X on */
}

static inline void rig_add_ns(struct rig *r, const struct rig_cfg *cfg, uint32_t nsid)
{
	struct blk *b = blk_ram_open(cfg->block_bytes ? cfg->block_bytes : 512, cfg->blocks ? cfg->blocks : 8192, &r->err);
	struct nvme_ns *ns;

	if (!b)
		fail_msg("%s", r->err.text);
	if (cfg->wrap)
		b = cfg->wrap(b);
	ns = nvme_ns_add(r->ss, nsid, b, NULL, &r->err);
	if (!ns)
		fail_msg("%s", r->err.text);
	for (unsigned i = 0; i < r->hosts; i++)
		EXPECT_EQ(nvme_ctrl_attach(r->host[i].ctrl, nsid, ns), 0);
}

static inline void rig_open(struct rig *r, const struct rig_cfg *cfg)
{
	struct nvme_subsys_cfg ss = cfg->ss;

	memset(r, 0, sizeof(*r));
	r->env.ops = &rig_env_ops;
	r->now = NS_PER_S;
	r->rnd = 1;
	r->qsize = cfg->qsize ? cfg->qsize : 32;
	ss.env = &r->env;
	r->ss = nvme_subsys_new(&ss, &r->err);
	if (!r->ss)
		fail_msg("%s", r->err.text);
	for (unsigned i = 0; i <= (cfg->mcs ? cfg->mcs : 1) && i < RIG_CTRLS; i++)
		rig_add_ctrl(r, cfg, i == 0);
	r->mmc = r->host[0].ctrl;
	r->mc = r->host[1].ctrl;
	for (uint32_t n = 1; !cfg->no_namespace && n <= (cfg->namespaces ? cfg->namespaces : 1); n++)
		rig_add_ns(r, cfg, n);
	for (unsigned i = 0; i < r->hosts && !cfg->disabled; i++) {
		rig_enable(r, r->host[i].ctrl);
		for (unsigned q = 1; q <= cfg->queues; q++)
			rig_make_queue(r, r->host[i].ctrl, q, r->qsize);
	}
}

static inline void rig_close(struct rig *r)
{
	r->hold_messages = false;
	for (unsigned i = 0; i < r->hosts; i++)
		nvme_ctrl_set_online(r->host[i].ctrl, false);
	rig_settle(r);
	nvme_subsys_free(r->ss);
	for (unsigned i = 0; i < r->hosts; i++)
		free(r->host[i].mem);
}

#endif
