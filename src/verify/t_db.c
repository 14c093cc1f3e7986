/* Shadow doorbells (Doorbell Buffer Config): the host writes tails and heads into memory and rings only when the controller's EventIdx asks for
 * it. Linux turns this on wherever it is offered, so a guest moves with it. The test is a host that keeps strictly to that: it rings never
 * without being asked, so a controller that looks away too early is waited for in vain.
 */
#include "verify/t_db.h"

#include <stdatomic.h>

enum { OACS_DBBUF = 1 << 8, DEPTH = 8 };

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : t->mmc; }

static struct nvme_sqe config(const struct shadow *s)
{
	return (struct nvme_sqe){ .opc = 0x7c, .prp1 = le64_of(s->db.iova), .prp2 = le64_of(s->ei.iova) };
}

struct shadow db_begin(struct vctl *c)
{
	struct shadow s = { c, vt_mem(c, VT_PAGE), vt_mem(c, VT_PAGE), 0, 0 };
	struct nvme_sqe e = config(&s);

	if (!(le16_get(c->id.oacs) & OACS_DBBUF))
		vt_skip(c->t, "OACS: no Doorbell Buffer Config");
	if (vt_do(c, 0, &e, ST(S_OK, S_XFER)))
		vt_skip(c->t, "the buffers cannot be where this memory is");
	return s;
}

static uint32_t *word(struct vmem *m, unsigned index) { return (uint32_t *)(void *)(m->p + 4 * index); }

/* A new value in its place; then, and only if the controller's word lies between old and new, the real doorbell. */
static void tell(struct shadow *s, unsigned index, uint32_t now)
{
	uint32_t old = *word(&s->db, index);
	uint16_t asked;

	__atomic_store_n(word(&s->db, index), now, __ATOMIC_RELEASE);
	atomic_thread_fence(memory_order_seq_cst);
	asked = (uint16_t)__atomic_load_n(word(&s->ei, index), __ATOMIC_ACQUIRE);
	VEXPECT(s->c->t, asked < (index & 1 ? s->c->cq[index / 2].size : s->c->sq[index / 2].size),
		"EventIdx of %s %u is %u, a place its ring does not have: it would never be reached", index & 1 ? "CQ" : "SQ", index / 2, asked);
	if ((uint16_t)(now - asked - 1) >= (uint16_t)(now - old)) {
		s->kept++;
		return;
	}
	s->rung++;
	vt_doorbell(s->c, index, now);
}

static void announce(struct shadow *s, unsigned qid)
{
	s->c->sq[qid].rung = s->c->sq[qid].tail;
	tell(s, 2 * qid, s->c->sq[qid].tail);
}
static void consumed(struct shadow *s, unsigned qid) { tell(s, 2 * qid + 1, s->c->cq[qid].head); }

static struct vcmd *put(struct vctl *c, unsigned qid)
{
	struct nvme_sqe s;

	vh_rw_sqe(&s, NVME_NVM_FLUSH, c->ns[0].nsid, 0, 1);
	s.cdw12 = le32_of(0);
	return vt_queue(c, qid, &s, ST(S_OK));
}

void db_work(struct shadow *s, unsigned qid, unsigned n)
{
	struct vcmd *k[DEPTH];
	unsigned bunch;

	s->c->cq[qid].shadowed = true;
	for (; n; n -= bunch) {
		bunch = 1 + (unsigned)rng_below(&s->c->t->rng, MIN(n, (unsigned)DEPTH));
		for (unsigned i = 0; i < bunch; i++)
			k[i] = put(s->c, qid);
		announce(s, qid);
		for (unsigned i = 0; i < bunch; i++)
			vt_finish(s->c->t, k[i]);
		consumed(s, qid);
		/* It may fall asleep in between, or not. */
		for (uint64_t pause = rng_below(&s->c->t->rng, 4); pause; pause--)
			vt_poll(s->c->t);
		if (!rng_below(&s->c->t->rng, 16))
			vt_watch_silent(s->c);
	}
}

static void commands(struct vt *t)
{
	struct vctl *c = one(t);
	struct shadow s;

	vt_io_make(c, 1, 16);
	s = db_begin(c);
	db_work(&s, 1, 300);
	vt_cq_make(c, 2, 16, ST(S_OK));	/* and queues that are made later, of two sizes */
	vt_sq_make(c, 2, 2, 64, ST(S_OK));
	db_work(&s, 2, 300);
	db_work(&s, 1, 100);
	VEXPECT(t, s.rung > 0, "no doorbell was asked for in 700 commands: how would a controller that sleeps wake up?");
}

/* A CQ of four entries: whoever has no room must learn from memory, or by a doorbell it asked for, that there is some again. */
static void full(struct vt *t)
{
	struct vctl *c = one(t);
	struct vcmd *k[20];
	struct shadow s;

	s = db_begin(c);
	vt_cq_make(c, 1, 4, ST(S_OK));
	c->cq[1].shadowed = true;
	vt_sq_make(c, 1, 1, 32, ST(S_OK));
	for (unsigned round = 0; round < 4; round++) {
		c->cq[1].hold = true;
		for (unsigned i = 0; i < ARRAY_LEN(k); i++)
			k[i] = put(c, 1);
		announce(&s, 1);
		vt_watch_silent(c);
		c->cq[1].hold = false;
		for (uint64_t end = vt_now_ns() + t->cmd_ns, got = 0; got < ARRAY_LEN(k); consumed(&s, 1)) {
			VEXPECT(t, vt_now_ns() < end, "of %zu commands in a small CQ %u were completed", ARRAY_LEN(k), (unsigned)got);
			vt_poll(t);
			got = 0;
			for (unsigned i = 0; i < ARRAY_LEN(k); i++)
				got += k[i]->done;
		}
		for (unsigned i = 0; i < ARRAY_LEN(k); i++)
			vt_finish(t, k[i]);
	}
}

static void admin_has_none(struct vt *t)
{
	struct vctl *c = one(t);
	struct shadow s;

	vt_io_make(c, 1, 16);
	s = db_begin(c);
	*word(&s.db, 0) = 3;	/* where shadows of the admin queue would be */
	*word(&s.db, 1) = 2;
	vt_watch_silent(c);
	for (unsigned i = 0; i < 80; i++)
		vh_feature(c, false, NVME_FID_TEMP, 0, 0, ST(S_OK));
	db_work(&s, 1, 40);
	for (unsigned i = 0; i < 80; i++)
		vh_feature(c, false, NVME_FID_TEMP, 0, 0, ST(S_OK));
}

static void refused(struct vt *t)
{
	struct vctl *c = one(t);
	struct shadow s = { c, vt_mem(c, 2 * VT_PAGE), vt_mem(c, 2 * VT_PAGE), 0, 0 };
	const uint16_t *want = ST(S_IF, S_PRP, S_XFER);
	struct nvme_sqe e;

	if (!(le16_get(c->id.oacs) & OACS_DBBUF))
		vt_skip(t, "OACS: no Doorbell Buffer Config");
	vt_io_make(c, 1, 16);
	e = config(&s);
	e.prp1 = le64_of(s.db.iova + 8);
	vt_do(c, 0, &e, want);
	e = config(&s);
	e.prp2 = le64_of(s.ei.iova + 512);
	vt_do(c, 0, &e, want);
	e = config(&s);
	e.prp1 = le64_of(c->iova + c->bytes + (1ull << 40));
	vt_do(c, 0, &e, want);
	for (unsigned i = 0; i < 40; i++) { /* doorbells are what they were */
		struct vcmd *k = put(c, 1);

		vt_ring(c, 1);
		vt_finish(t, k);
	}
}

static void reset_ends(struct vt *t)
{
	struct vctl *c = one(t);
	struct shadow s;

	vt_io_make(c, 1, 16);
	s = db_begin(c);
	db_work(&s, 1, 50);
	vt_disable(c);
	vt_enable(c, true);
	memset(s.db.p, 0, VT_PAGE);
	memset(s.ei.p, 0x5a, VT_PAGE);
	vt_io_make(c, 1, 16);
	for (unsigned i = 0; i < 40; i++) {
		struct vcmd *k = put(c, 1);

		vt_ring(c, 1);
		vt_finish(t, k);
	}
	for (unsigned i = 0; i < VT_PAGE; i++)
		VEXPECT(t, s.ei.p[i] == 0x5a, "after a reset the controller still writes its EventIdx");
}

/* A suspended controller looks at no shadow and writes no EventIdx; what was announced meanwhile is done after Resume. */
static void suspended(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct shadow s;
	struct vcmd *k[4];
	uint8_t had[VT_PAGE];

	vt_io_make(mc, 1, 16);
	s = db_begin(mc);
	db_work(&s, 1, 37);
	vh_suspend(t->mmc, mc->cntlid, 1, false, ST(S_OK));
	memcpy(had, s.ei.p, VT_PAGE);
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		k[i] = put(mc, 1);
	announce(&s, 1);
	vt_watch_silent(mc);
	VEXPECT(t, !memcmp(had, s.ei.p, VT_PAGE), "a suspended controller wrote its EventIdx");
	vh_resume(t->mmc, mc->cntlid, ST(S_OK));
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		vt_finish(t, k[i]);
	consumed(&s, 1);
	db_work(&s, 1, 37);
}

/* EventIdx is guest memory that the controller writes: a mover must hear of it. */
static void tracked(struct vt *t)
{
	static struct vdirty d; /* large */
	struct vctl *mc = t->mc[0];
	struct shadow s;
	uint8_t had[VT_PAGE];

	vt_io_make(mc, 1, 16);
	s = db_begin(mc);
	db_work(&s, 1, 5);
	vh_track_all(t->mmc, mc);
	vh_dirty(t->mmc, mc, 64 * KIB, &d);
	memcpy(had, s.ei.p, VT_PAGE);
	db_work(&s, 1, 20);
	if (!memcmp(had, s.ei.p, VT_PAGE))
		vt_skip(t, "the controller's EventIdx did not change");
	vh_dirty(t->mmc, mc, 64 * KIB, &d);
	vh_expect_dirty(t, &d, mc, &s.ei, "EventIdx");
}

enum { Q = DUT_MEM | DUT_REGS | DUT_NS };
const struct vtest tests_db[] = {
	{ "DB-01", Q, "B-DB-1", commands, "commands announced in memory, doorbells only when asked for", "random" },
	{ "DB-02", Q, "B-DB-1 B-Q-4", full, "a full CQ whose head is told in memory", NULL },
	{ "DB-03", Q, "B-DB-2", admin_has_none, "the admin queue has no shadows", NULL },
	{ "DB-04", Q, "B-DB-3", refused, "buffers that cannot be", "negative" },
	{ "DB-05", Q, "B-DB-4", reset_ends, "a reset ends shadow doorbells", "reset" },
	{ "DB-06", Q | NEED_MM, "SUS-01 SUS-05 B-DB-1", suspended, "shadow doorbells across a suspension", NULL },
	{ "DB-07", Q | NEED_TRACK, "TR-01", tracked, "EventIdx is reported as written", NULL },
	{ .id = NULL }
};
