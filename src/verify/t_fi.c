/* Faults on purpose, one at a time: at every hook point a host has, every action its carrier knows (inject.h). What must come of it is the
 * book's: what is falsified is judged by what its bits say now; what is lost leads to no progress and to nothing else; what is late, doubled
 * or out of order is not noticed; and a reset, or a client that is lost, in the middle of anything leaves a controller that works.
 */
#include <stdlib.h>

#include "verify/test.h"

enum { LBA = 64, NLB = 8, DEPTH = 12 };

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : &t->ctl[0]; }
static struct vns *ns(struct vt *t) { return &one(t)->ns[0]; }
static uint32_t bytes(struct vt *t) { return NLB * ns(t)->lba; }

/* One rule, for the I/O controller. */
static struct inj_rule *arm(struct vt *t, enum inj_point at, enum inj_act act, uint64_t count, unsigned turns)
{
	struct inj_rule r = { .at = at, .act = act, .ctrl = (uint16_t)one(t)->index, .what = INJ_ANY, .count = count, .turns = turns, .seed = t->seed };
	struct inj_rule *made;

	vt_inject_on(t);
	made = inj_add(&t->inj, &r);
	if (!made)
		vt_error(t, "%s cannot %s", inj_point_name(at), inj_act_name(act));
	return made;
}

static void must_have_happened(struct vt *t, enum inj_point at, enum inj_act act)
{
	VEXPECT(t, t->inj.did[at][act], "no %s was met: the controller does not do what the test is about", inj_point_name(at));
}

/* A write of `seed` that is out; its data stays in m. */
static struct vcmd *write_out(struct vt *t, uint64_t lba, struct vmem *m, uint64_t seed, const uint16_t *want)
{
	struct vctl *c = one(t);
	struct nvme_sqe s;

	if (!m->p)
		*m = vt_mem(c, bytes(t));
	vh_fill(m, bytes(t), seed);
	vh_rw_sqe(&s, NVME_NVM_WRITE, ns(t)->nsid, lba, NLB);
	vt_data(c, &s, m, bytes(t));
	return vt_send(c, 1, &s, want);
}

static bool holds(struct vt *t, uint64_t lba, uint64_t seed)
{
	struct vmem m = vt_mem(one(t), bytes(t));
	struct nvme_sqe s;

	vh_rw_sqe(&s, NVME_NVM_READ, ns(t)->nsid, lba, NLB);
	vt_do_data(one(t), 1, &s, &m, bytes(t), ST(S_OK));
	return vh_same(&m, bytes(t), seed);
}

static void ready(struct vt *t)
{
	vt_io_make(one(t), 1, 32);
	vh_write(one(t), 1, ns(t)->nsid, LBA, NLB, 1, ST(S_OK));
}

/* After the reset: everything works, and the block holds one of two writes, whole. */
static void works_again(struct vt *t, uint64_t before, uint64_t doubtful)
{
	inj_clear(&t->inj);
	vt_io_make(one(t), 1, 32);
	VEXPECT(t, holds(t, LBA, before) || holds(t, LBA, doubtful), "after the reset the blocks hold neither what was there nor what was being written");
	vh_write(one(t), 1, ns(t)->nsid, LBA, NLB, 77, ST(S_OK));
	vh_read_is(one(t), 1, ns(t)->nsid, LBA, NLB, 77);
}

/* ---- falsified entries: before they are in the queue, or as the controller reads them */

static const struct twist { const char *what; unsigned byte; uint8_t xor; const uint16_t *want; } twists[] = {
	{ "opcode", 0, 0x7e, (const uint16_t[]){ S_IO, ST_END } },		/* Write 01h becomes 7Fh */
	{ "NSID", 7, 0x80, (const uint16_t[]){ S_NS, S_IF, ST_END } },
	{ "SLBA", 47, 0x40, (const uint16_t[]){ S_LBA, ST_END } },
	{ "PRP1", 31, 0x40, (const uint16_t[]){ S_XFER, S_IF, S_PRP, ST_END } },
	{ "reserved dword 2", 8, 0x01, (const uint16_t[]){ S_OK, S_IF, ST_END } },
};
static void twist(void *ctx, struct inj_event *ev, struct rng *g)
{
	const struct twist *w = ctx;

	(void)g;
	((uint8_t *)ev->data)[w->byte] ^= w->xor;
}

static void falsified(struct vt *t, enum inj_point at)
{
	ready(t);
	for (unsigned i = 0; i < ARRAY_LEN(twists); i++) {
		struct vmem m = { NULL, 0, 0 };
		struct inj_rule *r = arm(t, at, INJ_CORRUPT, 1, 0);
		unsigned st;

		r->corrupt = twist;
		r->ctx = (void *)(uintptr_t)&twists[i];
		st = vt_finish(t, write_out(t, LBA, &m, 2, twists[i].want));
		must_have_happened(t, at, INJ_CORRUPT);
		VEXPECT(t, holds(t, LBA, st == S_OK ? 2 : 1), "a Write with a falsified %s ended with %03xh, and the blocks do not agree", twists[i].what, st);
		vh_write(one(t), 1, ns(t)->nsid, LBA, NLB, 1, ST(S_OK));
	}
}
static void submit_corrupt(struct vt *t) { falsified(t, INJ_SUBMIT); }
static void fetch_corrupt(struct vt *t) { falsified(t, INJ_FETCH); }

/* ---- lost */

static void submit_drop(struct vt *t)
{
	struct vmem m = { NULL, 0, 0 };
	struct vcmd *k;

	ready(t);
	arm(t, INJ_SUBMIT, INJ_DROP, 1, 0);
	k = write_out(t, LBA, &m, 2, ST(S_OK));
	vt_watch_silent(one(t));
	vt_forget(k);
	VEXPECT(t, holds(t, LBA, 1), "a Write that was never submitted has changed its blocks");
	must_have_happened(t, INJ_SUBMIT, INJ_DROP);
}

/* No progress, and nothing else; the next doorbell brings both. */
static void bell_drop(struct vt *t)
{
	struct vmem m = { NULL, 0, 0 }, n = { NULL, 0, 0 };
	struct vcmd *k, *l;

	ready(t);
	arm(t, INJ_BELL, INJ_DROP, 1, 0)->what = 2;
	k = write_out(t, LBA, &m, 2, ST(S_OK));
	must_have_happened(t, INJ_BELL, INJ_DROP);
	vt_watch_silent(one(t));
	VEXPECT(t, !k->done, "a command was completed that no doorbell had announced");
	l = write_out(t, LBA + NLB, &n, 3, ST(S_OK));
	vt_finish(t, k);
	vt_finish(t, l);
	VEXPECT(t, holds(t, LBA, 2) && holds(t, LBA + NLB, 3), "what was written is not there");
}

/* The controller cannot read an entry, or cannot say that it is done: it may call that fatal, but a reset brings it back. */
static void lost_access(struct vt *t, enum inj_point at)
{
	struct vmem m = { NULL, 0, 0 };
	struct vcmd *k;

	ready(t);
	arm(t, at, INJ_DROP, 1, 0);
	k = write_out(t, LBA, &m, 2, ST_ANY);
	for (uint64_t end = vt_now_ns() + t->cmd_ns; !t->inj.did[at][INJ_DROP] && vt_now_ns() < end;)
		vt_poll(t);
	must_have_happened(t, at, INJ_DROP);
	vt_until(t, vh_is_done, k, t->quiet_ns);
	if (k->done)
		VEXPECT(t, at != INJ_FETCH || nvme_cqe_status(&k->cqe) != S_OK, "a command succeeded whose entry could not be read");
	vt_reading(t, at == INJ_FETCH ? "an entry cannot be read" : "a completion cannot be written", "%s",
		   vt_reg(one(t), NVME_REG_CSTS, 4) & NVME_CSTS_CFS ? "CSTS.CFS" : k->done ? "completed" : "nothing more happens");
	vt_reset(one(t));
	works_again(t, 1, 2);
}
static void fetch_drop(struct vt *t) { lost_access(t, INJ_FETCH); }
static void cqe_drop(struct vt *t) { lost_access(t, INJ_CQE); }

/* One beat of the data cannot be read: that command fails, its neighbours do not, and the controller goes on. */
static void data_drop(struct vt *t)
{
	struct vmem m = { NULL, 0, 0 }, n = { NULL, 0, 0 };
	struct vcmd *k, *l;
	unsigned st;

	ready(t);
	arm(t, INJ_DATA, INJ_DROP, 1, 0);
	k = write_out(t, LBA, &m, 2, ST_ANY);
	st = vt_finish(t, k);
	must_have_happened(t, INJ_DATA, INJ_DROP);
	VEXPECT(t, st == S_XFER || st == S_INTERNAL || st == S_ABORTED, "a Write whose data could not be read ended with %03xh", st);
	VEXPECT(t, holds(t, LBA, 1), "a Write that got no data has changed its blocks");
	l = write_out(t, LBA + NLB, &n, 3, ST(S_OK));
	vt_finish(t, l);
	VEXPECT(t, holds(t, LBA + NLB, 3), "the next Write did not arrive");
}

/* ---- falsified data: what arrives is what is stored */

static void data_corrupt(struct vt *t)
{
	struct vmem m = { NULL, 0, 0 }, back = vt_mem(one(t), bytes(t));
	struct nvme_sqe s;
	unsigned wrong = 0;

	ready(t);
	arm(t, INJ_DATA, INJ_CORRUPT, 1, 0);
	vt_finish(t, write_out(t, LBA, &m, 2, ST(S_OK)));
	must_have_happened(t, INJ_DATA, INJ_CORRUPT);
	vh_rw_sqe(&s, NVME_NVM_READ, ns(t)->nsid, LBA, NLB);
	vt_do_data(one(t), 1, &s, &back, bytes(t), ST(S_OK));
	for (uint32_t i = 0; i < bytes(t); i++)
		wrong += (unsigned)__builtin_popcount(back.p[i] ^ m.p[i]);
	VEQ(t, wrong, 1, "bits that differ after one was falsified on its way");
}

/* The verifier itself: a completion that names another command is noticed. */
static void other_cid(void *ctx, struct inj_event *ev, struct rng *g)
{
	(void)ctx, (void)g;
	if (ev->len == 16 || (ev->len == 4 && ev->addr % 16 == 12))
		((uint8_t *)ev->data)[ev->len == 16 ? 13 : 1] ^= 0x04;
}
static bool has_cid(void *ctx, const struct inj_event *ev) { (void)ctx; return ev->addr % 16 + ev->len == 16; }

static void cqe_corrupt(struct vt *t)
{
	struct vmem m = { NULL, 0, 0 };
	struct inj_rule *r;
	jmp_buf keep;
	volatile bool noticed = true;

	ready(t);
	r = arm(t, INJ_CQE, INJ_CORRUPT, 1, 0);
	r->corrupt = other_cid;
	r->when = has_cid;
	memcpy(keep, t->out, sizeof(keep));
	if (!setjmp(t->out)) {
		vt_finish(t, write_out(t, LBA, &m, 2, ST(S_OK)));
		noticed = false;
	}
	memcpy(t->out, keep, sizeof(keep));
	must_have_happened(t, INJ_CQE, INJ_CORRUPT);
	VEXPECT(t, noticed && strstr(t->why, "which is not out"), "a completion with another CID was taken for good");
	t->why[0] = '\0';
	vt_reset(one(t));
	works_again(t, 1, 2);
}

/* ---- a doorbell outside of its queue */

static void beyond(void *ctx, struct inj_event *ev, struct rng *g)
{
	le32 v = le32_of(0x7fff);

	(void)ctx, (void)g;
	memcpy(ev->data, &v, sizeof(v));
}

static void bell_corrupt(struct vt *t)
{
	struct vmem m = { NULL, 0, 0 };
	struct inj_rule *r;
	struct vcmd *k;

	ready(t);
	r = arm(t, INJ_BELL, INJ_CORRUPT, 1, 0);
	r->what = 2;
	r->corrupt = beyond;
	k = write_out(t, LBA, &m, 2, ST(S_OK));
	must_have_happened(t, INJ_BELL, INJ_CORRUPT);
	vt_watch_silent(one(t));
	vt_ring(one(t), 1);
	vt_until(t, vh_is_done, k, t->quiet_ns);
	vt_reading(t, "after a doorbell value outside the queue, the right one", k->done ? "is obeyed" : "is not");
	vt_reset(one(t));
	works_again(t, 1, 2);
}

/* ---- late, doubled, out of order: not to be noticed */

static bool twin_is_over(void *twin) { return !((struct vcmd *)twin)->used; }

/* A command that was sent twice is over when both are: its host may not write there again before. */
static unsigned finish_both(struct vt *t, struct vcmd *k)
{
	struct vcmd *twin = k->twin;
	unsigned st = vt_finish(t, k);

	VEXPECT(t, !twin || vt_until(t, twin_is_over, twin, t->cmd_ns), "of a command that was sent twice only one ended");
	return st;
}

static void unnoticed(struct vt *t, enum inj_point at, enum inj_act act)
{
	struct vmem m[DEPTH] = { { NULL, 0, 0 } }, in[DEPTH];
	struct vcmd *k[DEPTH];
	struct nvme_sqe s;

	ready(t);
	for (unsigned i = 0; i < DEPTH; i++)
		in[i] = vt_mem(one(t), bytes(t));
	arm(t, at, act, 40, 25);
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < DEPTH; i++)
			k[i] = write_out(t, LBA + i * NLB, &m[i], 100 * round + i + 2, ST(S_OK));
		for (unsigned i = 0; i < DEPTH; i++)
			finish_both(t, k[i]);
		for (unsigned i = 0; i < DEPTH; i++) {
			vh_rw_sqe(&s, NVME_NVM_READ, ns(t)->nsid, LBA + i * NLB, NLB);
			memset(in[i].p, 0xee, bytes(t));
			vt_data(one(t), &s, &in[i], bytes(t));
			k[i] = vt_send(one(t), 1, &s, ST(S_OK));
		}
		for (unsigned i = 0; i < DEPTH; i++) { /* the data is there when the completion is, however late it was */
			finish_both(t, k[i]);
			VEXPECT(t, vh_same(&in[i], bytes(t), 100 * round + i + 2), "Read %u of round %u completed without its data", i, round);
		}
	}
	must_have_happened(t, at, act);
	vt_watch_silent(one(t)); /* nothing is completed twice */
}
#define UNNOTICED_(name, at, act) static void name(struct vt *t) { unnoticed(t, at, act); }
UNNOTICED_(submit_twice, INJ_SUBMIT, INJ_DUPLICATE)
UNNOTICED_(bell_late, INJ_BELL, INJ_DELAY)
UNNOTICED_(bell_twice, INJ_BELL, INJ_DUPLICATE)
UNNOTICED_(bell_order, INJ_BELL, INJ_REORDER)
UNNOTICED_(fetch_late, INJ_FETCH, INJ_DELAY)
UNNOTICED_(fetch_twice, INJ_FETCH, INJ_DUPLICATE)
UNNOTICED_(fetch_order, INJ_FETCH, INJ_REORDER)
UNNOTICED_(data_late, INJ_DATA, INJ_DELAY)
UNNOTICED_(data_twice, INJ_DATA, INJ_DUPLICATE)
UNNOTICED_(data_order, INJ_DATA, INJ_REORDER)
UNNOTICED_(cqe_late, INJ_CQE, INJ_DELAY)
UNNOTICED_(cqe_twice, INJ_CQE, INJ_DUPLICATE)
UNNOTICED_(cqe_order, INJ_CQE, INJ_REORDER)

/* ---- a reset, or the end of the client, in the middle: at every place of a command's life */

static void in_the_middle(struct vt *t, enum inj_point at, enum inj_act act)
{
	struct vctl *c = one(t);
	struct vmem m = { NULL, 0, 0 }, in = { NULL, 0, 0 };
	uint64_t was = 1;

	if (act == INJ_KILL && !c->dut->again)
		vt_skip(t, "the back end cannot go away and come back");
	ready(t);
	for (unsigned round = 0; round < 6; round++) {
		struct vcmd *k[2];
		struct nvme_sqe s;

		arm(t, at, act, 1, 0)->skip = round;
		for (unsigned n = 0; n < 200 && !t->inj.did[at][act]; n++) {
			k[0] = write_out(t, LBA, &m, 10 + round, ST(S_OK));
			in = in.p ? in : vt_mem(c, bytes(t));
			vh_rw_sqe(&s, NVME_NVM_READ, ns(t)->nsid, LBA + NLB, NLB);
			vt_data(c, &s, &in, bytes(t));
			k[1] = vt_send(c, 1, &s, ST(S_OK));
			for (uint64_t end = vt_now_ns() + t->cmd_ns; !t->inj.did[at][act] && !(k[0]->done && k[1]->done) && vt_now_ns() < end;)
				vt_poll(t);
			if (!t->inj.did[at][act]) {
				vt_finish(t, k[0]);
				vt_finish(t, k[1]);
			}
		}
		must_have_happened(t, at, act);
		if (act == INJ_KILL) {
			vt_again(c);
			vt_enable(c, true);
		} else {
			vt_reset(c);
		}
		memset(in.p, 0x3c, bytes(t)); /* of a former life: nothing may arrive there any more */
		works_again(t, was, 10 + round);
		was = 77;
		for (uint32_t i = 0; i < bytes(t); i++)
			VEXPECT(t, in.p[i] == 0x3c, "data of a command from before the reset arrived behind it");
	}
}
#define MIDDLE_(name, at, act) static void name(struct vt *t) { in_the_middle(t, at, act); }
MIDDLE_(submit_reset, INJ_SUBMIT, INJ_RESET)
MIDDLE_(submit_kill, INJ_SUBMIT, INJ_KILL)
MIDDLE_(bell_reset, INJ_BELL, INJ_RESET)
MIDDLE_(bell_kill, INJ_BELL, INJ_KILL)
MIDDLE_(fetch_reset, INJ_FETCH, INJ_RESET)
MIDDLE_(fetch_kill, INJ_FETCH, INJ_KILL)
MIDDLE_(data_reset, INJ_DATA, INJ_RESET)
MIDDLE_(data_kill, INJ_DATA, INJ_KILL)
MIDDLE_(cqe_reset, INJ_CQE, INJ_RESET)
MIDDLE_(cqe_kill, INJ_CQE, INJ_KILL)

/* What a reset cut off may still be on its way to the medium; it must not land behind what is written after it. */
static void former_life(struct vt *t)
{
	struct vmem m[DEPTH] = { { NULL, 0, 0 } };
	struct vcmd *k[DEPTH];

	ready(t);
	for (unsigned round = 0; round < 40; round++) {
		struct vmark mark;

		for (unsigned i = 0; i < DEPTH; i++)
			write_out(t, LBA + i * NLB, &m[i], 1000 + i, ST(S_OK));
		for (unsigned n = 0; n < 20; n++)
			vt_poll(t);
		vt_reset(one(t));
		mark = vt_mark(one(t));
		vt_io_make(one(t), 1, 32);
		for (unsigned i = 0; i < DEPTH; i++)
			k[i] = write_out(t, LBA + i * NLB, &m[i], 2000 + i, ST(S_OK));
		for (unsigned i = 0; i < DEPTH; i++)
			vt_finish(t, k[i]);
		for (unsigned n = 0; n < 800; n++)
			vt_poll(t);
		for (unsigned i = 0; i < DEPTH; i++)
			VEXPECT(t, holds(t, LBA + i * NLB, 2000 + i), "a Write from before the reset landed behind one from after it");
		vt_reset(one(t));
		vt_back(one(t), mark);
		vt_io_make(one(t), 1, 32);
	}
}

/* ---- suspension and late accesses: when Suspend has completed, nothing is under way any more */

static void suspend_late(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem in[4];
	struct vcmd *k[4];
	uint8_t *copy = malloc(c->used + MIB);
	bool same;

	ready(t);
	if (!copy || c->used + MIB > c->bytes)
		free(copy), vt_error(t, "no memory");
	for (unsigned i = 0; i < 4; i++)
		in[i] = vt_mem(c, bytes(t));
	arm(t, INJ_DATA, INJ_DELAY, 0, 300);
	for (unsigned i = 0; i < 4; i++) {
		struct nvme_sqe s;

		vh_rw_sqe(&s, NVME_NVM_READ, ns(t)->nsid, LBA, NLB);
		vt_data(c, &s, &in[i], bytes(t));
		k[i] = vt_send(c, 1, &s, ST(S_OK));
	}
	for (unsigned i = 0; i < 30; i++)
		vt_poll(t);
	vh_suspend(t->mmc, c->cntlid, 1, false, ST(S_OK));
	memcpy(copy, c->mem, c->used);
	for (unsigned i = 0; i < 1000; i++)
		vt_poll(t);
	same = !memcmp(copy, c->mem, c->used);
	free(copy);
	must_have_happened(t, INJ_DATA, INJ_DELAY);
	VEXPECT(t, same, "memory changed after Suspend had completed");
	vh_resume(t->mmc, c->cntlid, ST(S_OK));
	for (unsigned i = 0; i < 4; i++) {
		vt_finish(t, k[i]);
		VEXPECT(t, vh_same(&in[i], bytes(t), 1), "a Read over the suspension brought something else");
	}
}

/* What random faults once came to. A length above MDTS may be refused, though the field is a legal one; a data queue far larger than anybody
 * needs is made if it lies in memory, and refused if it reaches beyond. */
static void found_by_stress(struct vt *t)
{
	struct vctl *mmc = t->mmc;
	uint64_t most = mmc->id.mdts ? 4096ull << MIN(mmc->id.mdts, 12) : 65536;
	struct vmem list = vt_mem(mmc, VT_PAGE), sink = vt_mem(mmc, VT_PAGE), ring = vt_mem(mmc, MIB);
	struct nvme_sqe s;
	uint32_t dwords;
	unsigned st;

	for (unsigned i = 0; i < VT_PAGE / 8; i++) {
		le64 a = le64_of(i == VT_PAGE / 8 - 1 ? list.iova : sink.iova);

		memcpy(list.p + 8 * i, &a, 8);
	}
	vop_init(&s, VOP_GET_STATE);
	vf_put(&s, VF_GET_STATE_cntlid, one(t)->cntlid);
	vf_put(&s, VF_GET_STATE_csvi, 1);
	vf_put(&s, VF_GET_STATE_numdl, (uint32_t)(most / 4)); /* one dword more than allowed */
	s.prp1 = le64_of(sink.iova);
	s.prp2 = le64_of(list.iova);
	st = vt_do(mmc, 0, &s, ST(S_OK, S_IF));
	vt_reading(t, "Get Controller State of more than MDTS", "%s", st ? "Invalid Field" : "carried out");
	vop_init(&s, VOP_CDQ_CREATE);
	vf_put(&s, VF_CDQ_CREATE_cntlid, one(t)->cntlid);
	vf_put(&s, VF_CDQ_CREATE_pc, 1);
	vf_put(&s, VF_CDQ_CREATE_cdqsize, MIB / 4);
	s.prp1 = le64_of(ring.iova);
	if (vt_do(mmc, 0, &s, ST(S_OK, S_IF, S_38)) == S_OK)
		vh_cdq_delete(mmc, (uint16_t)le32_get(t->last.dw0), ST(S_OK));
	dwords = (uint32_t)(2 * mmc->bytes / 4);
	vf_put(&s, VF_CDQ_CREATE_cdqsize, dwords - dwords % 8);
	vt_do(mmc, 0, &s, ST(S_IF, S_38, S_XFER));
}

enum { N = DUT_MEM | DUT_REGS | DUT_NS, A = N | DUT_ACCESS };
const struct vtest tests_fi[] = {
	{ "FI-01", N, "B-IO-9 B-IO-3 B-IO-2 B-PRP-4", submit_corrupt, "entries falsified before they are submitted", "fault" },
	{ "FI-02", N, "B-Q-2", submit_drop, "a command that is never submitted", "fault" },
	{ "FI-03", N, "B-Q-2", submit_twice, "commands submitted twice", "fault" },
	{ "FI-04", N, "B-REG-3", submit_reset, "a reset while a command is submitted", "fault reset" },
	{ "FI-05", N, "B-REG-3", submit_kill, "the client is lost while a command is submitted", "fault reset" },
	{ "FI-06", N, "B-Q-2", bell_drop, "a doorbell that is lost", "fault" },
	{ "FI-07", N, "B-Q-2", bell_late, "doorbells that come late", "fault" },
	{ "FI-08", N, "B-Q-2", bell_twice, "doorbells that come twice", "fault" },
	{ "FI-09", N, "B-REG-3", bell_corrupt, "a doorbell outside of its queue", "fault" },
	{ "FI-10", N, "B-Q-2", bell_order, "doorbells out of order", "fault" },
	{ "FI-11", N, "B-REG-3", bell_reset, "a reset after a doorbell", "fault reset" },
	{ "FI-12", N, "B-REG-3", bell_kill, "the client is lost after a doorbell", "fault reset" },
	{ "FI-13", A, "B-REG-3", fetch_drop, "an entry that cannot be read", "fault" },
	{ "FI-14", A, "B-Q-2", fetch_late, "entries that arrive late", "fault" },
	{ "FI-15", A, "B-Q-2", fetch_twice, "entries that are read twice", "fault" },
	{ "FI-16", A, "B-IO-9 B-IO-3 B-IO-2 B-PRP-4", fetch_corrupt, "entries falsified on their way", "fault" },
	{ "FI-17", A, "B-Q-2", fetch_order, "entries that arrive out of order", "fault" },
	{ "FI-18", A, "B-REG-3", fetch_reset, "a reset while entries are fetched", "fault reset" },
	{ "FI-19", A, "B-REG-3", fetch_kill, "the client is lost while entries are fetched", "fault reset" },
	{ "FI-20", A, "B-PRP-4", data_drop, "data that cannot be read", "fault" },
	{ "FI-21", A, "B-IO-1", data_late, "data that is late", "fault" },
	{ "FI-22", A, "B-IO-1", data_twice, "data that comes twice", "fault" },
	{ "FI-23", A, "B-IO-1", data_corrupt, "data falsified on its way is stored as it arrived", "fault" },
	{ "FI-24", A, "B-IO-1", data_order, "data out of order", "fault" },
	{ "FI-25", A, "B-REG-3", data_reset, "a reset while data moves", "fault reset" },
	{ "FI-26", A, "B-REG-3", data_kill, "the client is lost while data moves", "fault reset" },
	{ "FI-27", A, "B-REG-3", cqe_drop, "a completion that cannot be written", "fault" },
	{ "FI-28", A, "B-Q-2", cqe_late, "completions that are late", "fault" },
	{ "FI-29", A, "B-Q-2", cqe_twice, "completions that are written twice", "fault" },
	{ "FI-30", A, "B-Q-1", cqe_corrupt, "a falsified completion is noticed", "fault" },
	{ "FI-31", A, "B-Q-2", cqe_order, "completions out of order", "fault" },
	{ "FI-32", A, "B-REG-3", cqe_reset, "a reset while a completion is written", "fault reset" },
	{ "FI-33", A, "B-REG-3", cqe_kill, "the client is lost while a completion is written", "fault reset" },
	{ "FI-34", A | DUT_MMC | DUT_MC, "SUS-02", suspend_late, "Suspend waits for accesses that are late", "fault" },
	{ "FI-35", N, "B-REG-3", former_life, "writes that a reset cut off do not land behind the next ones", "reset race" },
	{ "FI-36", DUT_MMC | DUT_MC | DUT_MEM | DUT_TUDCS, "GCS-10 CDQ-07", found_by_stress, "lengths that faults made: above MDTS, and beyond memory", "fault" },
	{ .id = NULL }
};
