/* A liar between verifier and device: a port that passes everything on and falsifies, as told, what the device says: statuses, data, log
 * entries, interrupts of the ring's order; or what it is told. For tests/unit/test_verify_*.c: each lie must turn a test that passes into
 * one that fails. liar_run() runs one test of the suite under one lie.
 */
#ifndef FERRY_TESTS_LIAR_H
#define FERRY_TESTS_LIAR_H

#include "t.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/verify_rig.h"
#include "verify/checklist.h"
#include "verify/fields.h"
#include "verify/run.h"
#include "verify/store.h"

struct liar;
struct lie {
	const char *what, *test;
	/* Before the verifier sees a completion of an admin command. ctrl 0 is the MMC. */
	void (*tell)(struct liar *, unsigned ctrl, const struct nvme_sqe *, struct nvme_cqe *);
	/* After each turn of the device: log entries and memory. */
	void (*turn)(struct liar *);
	/* Before the device sees a command: what it does is then not what it was told. ctrl, queue. */
	void (*alter)(struct liar *, unsigned ctrl, unsigned qid, struct nvme_sqe *);
	/* What a register says. */
	uint64_t (*reg)(struct liar *, unsigned ctrl, uint32_t off, uint64_t val);
	bool patient;			/* commands may take long: what is looked for is no silence */
};

enum { QUEUES = 16, SENT = 256 };
struct watched { uint64_t base; uint32_t size, head; bool phase; };	/* base 0: there is none */
struct side { struct port port; struct port *real; struct liar *l; uint8_t *mem; uint64_t iova, bytes; struct watched sq[QUEUES], cq[QUEUES]; struct nvme_sqe sent[QUEUES][SENT]; };
struct liar {
	struct side side[DUT_CTRLS];
	unsigned sides;
	const struct lie *lie;
	bool (*pump)(void *);
	void *pump_ctx;
	uint8_t *ring;			/* of the last CDQ that was made, all memory the MMC's */
	uint32_t slots, seen;
	bool ring_phase;
	unsigned told, n, qid;		/* qid: of the completion that is being looked at */
};
static struct liar liar;
enum { MC = 2 };			/* the first migratable controller: two MMCs come before it */

static uint8_t *mem(struct liar *l, unsigned ctrl, uint64_t iova, uint64_t len)
{
	struct side *s = &l->side[ctrl];

	return s->mem && range_inside(iova - s->iova, len, s->bytes) ? s->mem + (iova - s->iova) : NULL;
}
static inline uint8_t *data(struct liar *l, unsigned ctrl, const struct nvme_sqe *s, uint64_t len) { return mem(l, ctrl, le64_get(s->prp1), len); }
static inline void status_is(struct nvme_cqe *c, unsigned st) { c->status = le16_of((uint16_t)((le16_get(c->status) & 1) | st << 1)); }

/* ---- the port between */

static struct side *of(struct port *p) { return CONTAINER_OF(p, struct side, port); }
static int l_read(struct port *p, uint32_t off, unsigned n, uint64_t *v)
{
	struct side *s = of(p);
	int rc = s->real->ops->reg_read(s->real, off, n, v);

	if (!rc && s->l->lie && s->l->lie->reg)
		*v = s->l->lie->reg(s->l, (unsigned)(s - s->l->side), off, *v);
	return rc;
}
static int l_write(struct port *p, uint32_t off, unsigned n, uint64_t v)
{
	struct side *s = of(p);

	if (off == NVME_REG_AQA)
		s->sq[0].size = s->cq[0].size = (uint32_t)(v >> 16 & 0xfff) + 1;
	else if (off == NVME_REG_ASQ)
		s->sq[0].base = v;
	else if (off == NVME_REG_ACQ)
		s->cq[0].base = v;
	else if (off == NVME_REG_CC && v & 1) {
		for (unsigned i = 1; i < QUEUES; i++)
			s->sq[i].base = s->cq[i].base = 0;
		s->cq[0].head = 0, s->cq[0].phase = true;
		s->sq[0].head = 0;
	}
	return s->real->ops->reg_write(s->real, off, n, v);
}
static int l_bell(struct port *p, unsigned i, uint32_t v)
{
	struct side *s = of(p);
	struct watched *q = &s->sq[MIN(i / 2, QUEUES - 1u)];
	uint8_t *sq = i % 2 || !q->base ? NULL : mem(s->l, (unsigned)(s - s->l->side), q->base, q->size * 64);

	/* Seen when it is rung: the verifier overwrites a slot as soon as SQHD has passed it. */
	for (; sq && v < q->size && q->head != v; q->head = (q->head + 1) % q->size) {
		struct nvme_sqe *e = (struct nvme_sqe *)(sq + 64 * q->head);

		s->sent[MIN(i / 2, QUEUES - 1u)][le16_get(e->cid) % SENT] = *e;
		if (s->l->lie && s->l->lie->alter)
			s->l->lie->alter(s->l, (unsigned)(s - s->l->side), i / 2, e);
	}
	return s->real->ops->doorbell(s->real, i, v);
}
static int l_cfg(struct port *p, uint32_t o, void *b, uint32_t n) { return of(p)->real->ops->cfg_read(of(p)->real, o, b, n); }
static int l_cfg_put(struct port *p, uint32_t o, const void *b, uint32_t n) { return of(p)->real->ops->cfg_write(of(p)->real, o, b, n); }
static int l_map(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t off)
{
	struct side *s = of(p);

	s->mem = ptr;
	s->iova = iova;
	s->bytes = size;
	return s->real->ops->dma_map(s->real, iova, ptr, size, fd, off);
}
static int l_map_as(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t off, bool r, bool w)
{
	return of(p)->real->ops->dma_map_as(of(p)->real, iova, ptr, size, fd, off, r, w);
}
static int l_unmap(struct port *p, uint64_t iova, uint64_t size) { return of(p)->real->ops->dma_unmap(of(p)->real, iova, size); }
static int l_reset(struct port *p) { return of(p)->real->ops->reset(of(p)->real); }
static const struct port_ops l_ops = { .reg_read = l_read, .reg_write = l_write, .doorbell = l_bell, .cfg_read = l_cfg, .cfg_write = l_cfg_put,
				       .dma_map = l_map, .dma_map_as = l_map_as, .dma_unmap = l_unmap, .reset = l_reset };

static void remember(struct liar *l, const struct nvme_sqe *s, const struct nvme_cqe *c)
{
	if (s->opc != NVME_OP_CDQ || le32_get(s->cdw10) & 0xff || nvme_cqe_status(c))
		return;
	l->slots = le32_get(s->cdw12) / 8;
	l->ring = mem(l, 0, le64_get(s->prp1), l->slots * 32);
	l->seen = 0;
	l->ring_phase = true;
}

/* I/O queues are watched from their creation on: lies may concern them too. */
static void remember_queue(struct side *s, const struct nvme_sqe *e, const struct nvme_cqe *c)
{
	unsigned qid = le32_get(e->cdw10) & 0xffff;
	struct watched w = { le64_get(e->prp1), (le32_get(e->cdw10) >> 16) + 1, 0, true };

	if (nvme_cqe_status(c) || !qid || qid >= QUEUES)
		return;
	if (e->opc == NVME_OP_CREATE_CQ)
		s->cq[qid] = w;
	else if (e->opc == NVME_OP_CREATE_SQ)
		s->sq[qid] = w;
	else if (e->opc == NVME_OP_DELETE_CQ)
		s->cq[qid].base = 0;
}

static void new_completions(struct liar *l, unsigned i, unsigned qid)
{
	struct side *s = &l->side[i];
	struct watched *q = &s->cq[qid];
	uint8_t *cq = s->mem && q->base ? mem(l, i, q->base, q->size * 16) : NULL;

	for (unsigned n = 0; cq && n < q->size; n++) {
		struct nvme_cqe *c = (struct nvme_cqe *)(cq + 16 * q->head);
		struct nvme_sqe e;

		if (nvme_cqe_phase(c) != q->phase)
			return;
		e = s->sent[MIN(le16_get(c->sqid), QUEUES - 1)][le16_get(c->cid) % SENT];
		if (!qid)
			remember_queue(s, &e, c);
		if (!i && !qid)
			remember(l, &e, c);
		l->qid = qid;
		if (l->lie->tell)
			l->lie->tell(l, i, &e, c);
		if (++q->head == q->size) {
			q->head = 0;
			q->phase = !q->phase;
		}
	}
}

static bool l_pump(void *ctx)
{
	struct liar *l = ctx;
	bool any = l->pump(l->pump_ctx);

	for (unsigned i = 0; l->lie && i < l->sides; i++)
		for (unsigned q = 0; q < QUEUES; q++)
			new_completions(l, i, q);
	if (l->lie && l->lie->turn)
		l->lie->turn(l);
	return any;
}

/* New entries of the log since last asked; NULL: none. */
static inline uint8_t *next_entry(struct liar *l)
{
	uint8_t *e = l->ring ? l->ring + 32 * l->seen : NULL;

	if (!e || (e[31] & 1) != l->ring_phase)
		return NULL;
	if (++l->seen == l->slots) {
		l->seen = 0;
		l->ring_phase = !l->ring_phase;
	}
	return e;
}

/* ---- running one test under one lie */

enum { WHY = 900 };

static uint64_t run_seed = 5, run_cmd_ns = 50000000;
static const char *run_store;	/* failures are kept there; NULL nowhere */

static inline enum vt_verdict run(const struct lie *lie, const char *id, char *why)
{
	struct verify_rig_cfg rig = { 0 };
	/* Where nobody lies nothing may be judged by the clock of a machine that is busy. */
	struct vrun_cfg cfg = { .id = id, .seed = run_seed, .cmd_ns = lie->patient ? 60000000000ull : run_cmd_ns, .test_ns = 300000000000ull,
				.quiet_ns = 2000000 };
	struct err err = { "" };
	struct vrun r = { 0 };
	struct port *real[DUT_CTRLS];
	enum vt_verdict v = VT_ERROR;
	struct dut d;

	memset(&liar, 0, sizeof(liar));
	EXPECT_EQ(verify_rig_open(&d, &rig, &err), 0);
	liar.lie = lie;
	liar.pump = d.pump;
	liar.pump_ctx = d.ctx;
	liar.sides = d.ctrls;
	for (unsigned i = 0; i < d.ctrls; i++) {
		real[i] = d.ctrl[i].port;
		liar.side[i] = (struct side){ .port.ops = &l_ops, .real = real[i], .l = &liar };
		d.ctrl[i].port = &liar.side[i].port;
	}
	d.pump = l_pump;
	{
		void *rig_ctx = d.ctx;

		d.ctx = &liar;
		if (!vrun_run(&r, &d, &cfg, &err) && r.results == 1) {
			v = r.result[0].verdict;
			snprintf(why, WHY, "%.*s", WHY - 1, r.result[0].why);
			if (run_store)
				EXPECT_EQ(store_run(run_store, &r, NULL, &err), 0);
		} else {
			snprintf(why, WHY, "%.*s", WHY - 1, err.text);
		}
		liar.lie = NULL;
		vrun_free(&r);
		d.ctx = rig_ctx;
	}
	for (unsigned i = 0; i < d.ctrls; i++)
		d.ctrl[i].port = real[i];
	dut_close(&d);
	return v;
}

/* ---- lies about statuses */

static inline bool hmlm_op(const struct nvme_sqe *s)
{
	unsigned fid = le32_get(s->cdw10) & 0xff;

	return !liar.qid && (s->opc == 0x3d || s->opc == 0x3e || s->opc == 0x41 || s->opc == 0x42 || s->opc == 0x45 || s->opc == NVME_OP_GET_LBA_STATUS ||
	       ((s->opc == NVME_OP_SET_FEATURES || s->opc == NVME_OP_GET_FEATURES) && (fid == 0x21 || fid == NVME_FID_RATE_LIMIT)) ||
	       (s->opc == NVME_OP_IDENTIFY && (fid == 0x20 || fid == 0x21)));
}
static inline void all_succeed(struct liar *l, unsigned ctrl, const struct nvme_sqe *s, struct nvme_cqe *c)
{
	(void)ctrl;
	l->told += hmlm_op(s) && nvme_cqe_status(c);
	if (hmlm_op(s))
		status_is(c, 0);
}
/* The same of what migration rests on: every queue, every command. */
static inline void refuses_nothing(struct liar *l, unsigned ctrl, const struct nvme_sqe *s, struct nvme_cqe *c)
{
	(void)ctrl, (void)s;
	l->told += nvme_cqe_status(c) != 0;
	status_is(c, 0);
}

#endif
