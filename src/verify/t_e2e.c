/* Whole moves: the eight steps of the book between two controllers of one subsystem, with work going on, and every block accounted for.
 *
 * MC0 is the source, MC1 the target, or the MC of another subsystem; the test is the manager, the guest, and the one who checks. Two independent checks: a scoreboard
 * that knows for each block which write it must hold (every block carries its place and number), and a comparison of both namespaces
 * byte for byte, read through the MMC after the suspension. Where commands were out at the suspension they must be completed at the
 * target, each once.
 */
#include "verify/test.h"

enum { AREA = 2048, OPS = 24, CHUNK = 16, KIND_READ = 1, KIND_WRITE = 2, KIND_DSM = 4, KIND_WZ = 8 };

struct fop { struct vcmd *k; unsigned kind; uint64_t lba; uint32_t nlb; uint64_t seq; uint64_t buf; };
struct flow {
	struct vt *t;
	struct vctl *from, *to, *at;	/* at: where the guest runs */
	struct vctl *mmc, *to_mmc;	/* who manages them: one MMC, or that of each subsystem */
	/* what the test wants */
	unsigned kinds, queues, qsize, slots, rounds, work, hot;
	bool shared_cq, sparse, in_flight;
	/* what it knows */
	uint64_t want[AREA];		/* number of the write each block holds; 0: zeroes, 1: unknown (deallocated) */
	uint8_t busy[AREA];
	uint64_t seq;
	struct fop op[OPS];
	uint32_t max_nlb;
	struct vring ring;
	struct vmem copy_buf, to_buf;	/* of the one and the other MMC; the same where they are */
	uint64_t copied;		/* blocks */
	unsigned overflows, completed;
	/* memory only the device writes */
	struct vdirty dirty;
	bool tracking;
};
static struct flow flow_; /* one at a time; too large for a stack */

static uint8_t *ptr(struct flow *f, uint64_t iova) { return f->at->mem + (iova - f->at->iova); }

static uint64_t block_seed(uint64_t lba, uint64_t seq) { return lba << 32 ^ seq * 0x9e3779b97f4a7c15ull ^ 0x5eed; }

static void block_is(struct flow *f, const uint8_t *p, uint64_t lba, uint64_t seq, const char *who)
{
	struct vmem m = { (uint8_t *)(uintptr_t)p, 0, f->from->ns[0].lba };

	if (seq == 1)
		return;
	VEXPECT(f->t, vh_same(&m, m.len, seq ? block_seed(lba, seq) : 0), "%s: LBA %llu does not hold write %llu%s", who,
		(unsigned long long)lba, (unsigned long long)seq, seq ? "" : " (zeroes)");
}

/* ---- the guest's work */

static void op_finish(struct flow *f, struct fop *o)
{
	uint32_t lba = f->from->ns[0].lba;

	for (uint32_t i = 0; i < o->nlb; i++) {
		uint64_t b = o->lba + i;

		if (o->kind == KIND_READ)
			block_is(f, ptr(f, o->buf) + i * lba, b, f->want[b], "a Read");
		else
			f->want[b] = o->kind == KIND_WRITE ? o->seq : o->kind == KIND_WZ ? 0 : 1;
		f->busy[b] = 0;
	}
	vt_forget(o->k);
	o->k = NULL;
	f->completed++;
}

static void reap_ops(struct flow *f)
{
	for (unsigned i = 0; i < OPS; i++)
		if (f->op[i].k && f->op[i].k->done)
			op_finish(f, &f->op[i]);
}

static bool claim(struct flow *f, struct fop *o)
{
	uint64_t area = f->hot ? f->hot : AREA;

	o->nlb = 1 + (uint32_t)rng_below(&f->t->rng, f->max_nlb);
	o->lba = rng_below(&f->t->rng, area - o->nlb);
	for (uint32_t i = 0; i < o->nlb; i++)
		if (f->busy[o->lba + i])
			return false;
	memset(f->busy + o->lba, 1, o->nlb);
	return true;
}

static unsigned pick(struct flow *f)
{
	static const unsigned all[] = { KIND_READ, KIND_WRITE, KIND_WRITE, KIND_DSM, KIND_WZ };
	unsigned k;

	do
		k = all[rng_below(&f->t->rng, ARRAY_LEN(all))];
	while (!(f->kinds & k));
	return k;
}

static void op_start(struct flow *f, struct fop *o, bool ring)
{
	uint32_t lba = f->from->ns[0].lba, len;
	unsigned qid = 1 + (unsigned)rng_below(&f->t->rng, f->queues);
	struct vsq *q = &f->at->sq[qid];
	struct nvme_sqe s;
	static const uint8_t opc[] = { [KIND_READ] = NVME_NVM_READ, [KIND_WRITE] = NVME_NVM_WRITE, [KIND_WZ] = NVME_NVM_WRITE_ZEROES,
				       [KIND_DSM] = NVME_NVM_DSM };

	if ((q->tail + 1u) % q->size == q->head || !claim(f, o))
		return;
	o->kind = pick(f);
	len = o->nlb * lba;
	vh_rw_sqe(&s, opc[o->kind], f->from->ns[0].nsid, o->lba, o->nlb);
	if (o->kind == KIND_WRITE) {
		o->seq = ++f->seq;
		for (uint32_t i = 0; i < o->nlb; i++) {
			struct vmem m = { ptr(f, o->buf) + i * lba, 0, lba };

			vh_fill(&m, lba, block_seed(o->lba + i, o->seq));
		}
	} else if (o->kind == KIND_DSM) {
		struct nvme_dsm_range d = { .nlb = le32_of(o->nlb), .slba = le64_of(o->lba) };

		memcpy(ptr(f, o->buf), &d, sizeof(d));
		s.cdw10 = le32_of(0);
		s.cdw11 = le32_of(4);
		s.cdw12 = le32_of(0);
		len = 16;
	}
	if (o->kind != KIND_WZ) {
		s.prp1 = le64_of(o->buf);
		s.prp2 = le64_of(len > VT_PAGE ? o->buf + VT_PAGE : 0);
	}
	o->k = vt_queue(f->at, qid, &s, ST(S_OK));
	if (ring)
		vt_ring(f->at, qid);
}

static void work(struct flow *f, unsigned n)
{
	for (unsigned i = 0; f->kinds && i < n; i++) {
		struct fop *o = &f->op[rng_below(&f->t->rng, OPS)];

		if (!o->k)
			op_start(f, o, true);
		vt_poll(f->t);
		reap_ops(f);
	}
}

static void settle(struct flow *f)
{
	for (unsigned i = 0; i < OPS; i++)
		if (f->op[i].k) {
			vt_wait(f->t, f->op[i].k);
			op_finish(f, &f->op[i]);
		}
}

/* ---- the manager's copy */

/* What stands in copy_buf goes to the target. */
static void put_target(struct flow *f, uint64_t slba, uint32_t n)
{
	struct nvme_sqe s;

	if (f->to_buf.p != f->copy_buf.p)
		memcpy(f->to_buf.p, f->copy_buf.p, n * f->from->ns[0].lba);
	vh_rw_sqe(&s, NVME_NVM_WRITE, f->to->ns[0].mmc_nsid, slba, n);
	vt_do_data(f->to_mmc, 1, &s, &f->to_buf, n * f->from->ns[0].lba, ST(S_OK));
}

static void copy_range(struct flow *f, uint64_t slba, uint64_t nlb)
{
	uint32_t lba = f->from->ns[0].lba;

	for (uint64_t end = MIN(slba + nlb, (uint64_t)AREA); slba < end;) {
		uint32_t n = (uint32_t)MIN(end - slba, (uint64_t)MIN(CHUNK, 8192 / lba));
		struct nvme_sqe s;

		vh_rw_sqe(&s, NVME_NVM_READ, f->from->ns[0].mmc_nsid, slba, n);
		vt_do_data(f->mmc, 1, &s, &f->copy_buf, n * lba, ST(S_OK));
		put_target(f, slba, n);
		f->copied += n;
		slba += n;
	}
}

static void copy_allocated(struct flow *f)
{
	struct vmem m = vt_mem(f->mmc, VT_PAGE);
	uint64_t at = 0;
	uint8_t cmpc;

	do {
		struct nvme_sqe s;
		unsigned n;

		vop_init(&s, VOP_LBA_STATUS);
		s.nsid = le32_of(f->from->ns[0].mmc_nsid);
		vf_put(&s, VF_LBA_STATUS_slba_lo, (uint32_t)at);
		vf_put(&s, VF_LBA_STATUS_mndw, 1023);
		vf_put(&s, VF_LBA_STATUS_rl, (uint32_t)(AREA - at));
		vt_do_data(f->mmc, 0, &s, &m, VT_PAGE, ST(S_OK));
		n = m.p[0] | m.p[1] << 8;
		cmpc = m.p[4];
		for (unsigned i = 0; i < n; i++) {
			struct nvme_lbas d;

			memcpy(&d, m.p + 8 + 16 * i, sizeof(d));
			at = le64_get(d.dslba) + le32_get(d.nlb0) + 1;
			copy_range(f, le64_get(d.dslba), (uint64_t)le32_get(d.nlb0) + 1);
			work(f, 4);
		}
	} while (cmpc == 1 && at < AREA);
}

/* Everything the ring says, copied; what overflowed is copied whole, after the log was started again. That cannot be while the source is
 * suspended (39h), and need not: nothing changes any more, and no other entry comes. ESA of the last entry. */
static unsigned drain(struct flow *f, bool suspended)
{
	struct ventry e;
	unsigned esa = ESA_NONE;

	while (vh_next(&f->ring, &e)) {
		esa = e.esa;
		if (e.lbacir == 1)
			copy_range(f, 0, AREA);
		else if (e.lbacir == 0 && e.nsid == f->from->ns[0].mmc_nsid)
			copy_range(f, e.slba, e.nlb);
		if (vh_visible(&f->ring) == 0 || f->ring.taken % 32 == 0)
			vh_told(&f->ring);
	}
	if (esa == ESA_FULL) {
		f->overflows++;
		if (!suspended)
			vh_log(f->mmc, f->ring.id, 1, ST(S_OK));
		copy_range(f, 0, AREA);
		esa = suspended ? ESA_SUSPENDED : ESA_NONE;
	}
	return esa;
}

/* ---- steps */

static void make_queues(struct flow *f)
{
	if (f->shared_cq)
		vt_cq_make(f->from, 1, f->qsize * f->queues, ST(S_OK));
	for (unsigned q = 1; q <= f->queues; q++) {
		if (!f->shared_cq)
			vt_cq_make(f->from, q, f->qsize, ST(S_OK));
		vt_sq_make(f->from, q, f->shared_cq ? 1 : q, f->qsize, ST(S_OK));
	}
	for (unsigned i = 0; i < OPS; i++)
		f->op[i].buf = vt_mem(f->from, 8192).iova;
}

/* The source holds known data; what the target holds must not look like it. */
static void lay_out(struct flow *f)
{
	uint32_t lba = f->from->ns[0].lba, n = 8192 / lba;
	struct nvme_sqe s;

	vt_io_make(f->mmc, 1, 32);
	f->copy_buf = f->to_buf = vt_mem(f->mmc, 8192);
	if (f->to_mmc != f->mmc) {
		vt_io_make(f->to_mmc, 1, 32);
		f->to_buf = vt_mem(f->to_mmc, 8192);
	}
	for (uint64_t b = 0; b < AREA; b += n) {
		bool hole = f->sparse && b / 256 % 2;

		memset(f->copy_buf.p, 0, 8192);
		for (uint32_t i = 0; !hole && i < n; i++) {
			struct vmem m = { f->copy_buf.p + i * lba, 0, lba };

			f->want[b + i] = ++f->seq + 1;
			vh_fill(&m, lba, block_seed(b + i, f->want[b + i]));
		}
		f->seq++;
		if (!hole) {
			vh_rw_sqe(&s, NVME_NVM_WRITE, f->from->ns[0].mmc_nsid, b, n);
			vt_do_data(f->mmc, 1, &s, &f->copy_buf, 8192, ST(S_OK));
		} else if (f->t->caps & DUT_DSM) {
			struct vspan span = { b, n };

			for (uint32_t i = 0; i < n; i++)
				f->want[b + i] = 1;
			vh_dsm(f->mmc, 1, f->from->ns[0].mmc_nsid, &span, 1, ST(S_OK));
		}
		memset(f->copy_buf.p, 0xdd, 8192);
		if (!f->sparse)
			put_target(f, b, n);
		else {
			struct vspan span = { b, n };

			vh_dsm(f->to_mmc, 1, f->to->ns[0].mmc_nsid, &span, 1, ST(S_OK));
		}
	}
}

static void pre_copy(struct flow *f)
{
	if (f->sparse)
		copy_allocated(f);
	for (uint64_t b = 0; !f->sparse && b < AREA; b += 64) {
		copy_range(f, b, 64);
		work(f, f->work);
		drain(f, false);
	}
	for (unsigned r = 0; r < f->rounds; r++) {
		work(f, f->work * 4);
		drain(f, false);
	}
}

static void suspend(struct flow *f)
{
	struct ventry e;

	if (f->in_flight) { /* a burst nobody waits for; part of it is announced only after the suspension */
		for (unsigned i = 0; i < OPS; i++)
			if (!f->op[i].k)
				op_start(f, &f->op[i], i % 3 != 0);
	}
	vh_suspend(f->mmc, f->from->cntlid, 1, false, ST(S_OK));
	vt_reap_now(f->from);
	reap_ops(f);
	for (unsigned q = 1; f->in_flight && q <= f->queues; q++)
		vt_ring(f->from, q);
	f->t->quiet_watch = true; /* from here to the end nothing may complete at the source */
	f->t->frozen = f->from;
	for (unsigned esa = drain(f, true); esa != ESA_SUSPENDED;) {
		if (!vh_visible(&f->ring)) {
			vh_await_visible(&f->ring, 1);
			esa = drain(f, true);
		}
	}
	VEXPECT(f->t, !vh_next(&f->ring, &e), "an entry came after the suspended one");
	if (f->tracking) {
		vh_dirty(f->mmc, f->from, 64 * KIB, &f->dirty);
		VEXPECT(f->t, f->dirty.susp, "SUSP is 0 after the suspension");
	}
}

/* The second check, which knows nothing of the first. */
static void same_images(struct flow *f)
{
	uint32_t lba = f->from->ns[0].lba, n = 8192 / lba;
	struct vmem b = vt_mem(f->to_mmc, 8192);

	for (uint64_t at = 0; at < AREA; at += n) {
		struct nvme_sqe s;

		vh_rw_sqe(&s, NVME_NVM_READ, f->from->ns[0].mmc_nsid, at, n);
		vt_do_data(f->mmc, 1, &s, &f->copy_buf, 8192, ST(S_OK));
		vh_rw_sqe(&s, NVME_NVM_READ, f->to->ns[0].mmc_nsid, at, n);
		vt_do_data(f->to_mmc, 1, &s, &b, 8192, ST(S_OK));
		for (uint32_t i = 0; i < n; i++)
			VEXPECT(f->t, !memcmp(b.p + i * lba, f->copy_buf.p + i * lba, lba) || (f->want[at + i] == 1 && !f->busy[at + i]),
				"source and target differ in LBA %llu after the last round", (unsigned long long)at + i);
	}
}

/* The source's state, in the memory of the target's MMC. */
static struct vmem take_state(struct flow *f, uint32_t *len)
{
	struct vmem image, there;

	*len = vh_image(f->mmc, f->from, 1, 0, &image);
	VEQ(f->t, le32_get(f->t->last.dw0) & 1, 1, "CSUP");
	if (f->to_mmc == f->mmc)
		return image;
	there = vt_mem(f->to_mmc, *len);
	memcpy(there.p, image.p, *len);
	return there;
}

static void move_state(struct flow *f)
{
	struct vmem image, back;
	uint32_t len;

	image = take_state(f, &len);
	vh_suspend(f->to_mmc, f->to->cntlid, 1, false, ST(S_OK));
	vh_set(f->to_mmc, f->to->cntlid, 3, 1, 0, 0, &image, len / 4, ST(S_OK));
	len = vh_image(f->to_mmc, f->to, 1, 0, &back);
	VEXPECT(f->t, !memcmp(back.p + 48, image.p + 48, len - 48), "the state read back from the target differs");
}

static void hand_over(struct flow *f)
{
	vh_adopt(f->to, f->from);
	f->at = f->to;
	f->t->quiet_watch = false;
	vh_resume(f->to_mmc, f->to->cntlid, ST(S_OK));
	settle(f);
}

static void audit(struct flow *f)
{
	uint32_t lba = f->from->ns[0].lba, n = f->max_nlb;
	struct vmem b = vt_mem(f->at, 8192);

	settle(f);
	for (uint64_t at = 0; at + n <= AREA; at += n) {
		struct nvme_sqe s;

		vh_rw_sqe(&s, NVME_NVM_READ, f->at->ns[0].nsid, at, n);
		vt_do_data(f->at, 1, &s, &b, n * lba, ST(S_OK));
		for (uint32_t i = 0; i < n; i++)
			block_is(f, b.p + i * lba, at + i, f->want[at + i], "the last look at the target");
	}
}

static struct flow *flow_between(struct vt *t, struct vctl *to, struct vctl *to_mmc)
{
	struct flow *f = &flow_;

	memset(f, 0, sizeof(*f));
	f->t = t;
	f->mmc = t->mmc;
	f->from = f->at = t->mc[0];
	f->to = to;
	f->to_mmc = to_mmc;
	f->queues = 2;
	f->qsize = 16;
	f->slots = 512;
	f->rounds = 4;
	f->work = 12;
	f->seq = 10;
	f->max_nlb = MIN(8u, 8192 / t->mc[0]->ns[0].lba);
	if (f->from->ns[0].nsid != f->to->ns[0].nsid || f->from->ns[0].lba != f->to->ns[0].lba || !f->to->ns[0].mmc_nsid ||
	    MIN(f->from->ns[0].blocks, f->to->ns[0].blocks) < AREA)
		vt_skip(t, "the two controllers have no namespaces that could stand for each other (same NSID and format, %d blocks)", AREA);
	return f;
}

static struct flow *flow_new(struct vt *t) { return flow_between(t, t->mc[1], t->mmc); }
static struct flow *flow_far(struct vt *t) { return flow_between(t, t->far_mc, t->far_mmc); }

/* The whole of it. */
static void go(struct flow *f)
{
	lay_out(f);
	make_queues(f);
	f->ring = vh_logging(f->mmc, f->from, f->slots);
	if (f->t->caps & DUT_THMCS) {
		vh_track_all(f->mmc, f->from);
		f->tracking = true;
	}
	pre_copy(f);
	suspend(f);
	same_images(f);
	move_state(f);
	hand_over(f);
	work(f, 40);
	audit(f);
}

/* ---- the flows */

static void idle(struct vt *t) { go(flow_new(t)); }

static void with(struct vt *t, unsigned kinds)
{
	struct flow *f = flow_new(t);

	f->kinds = kinds;
	go(f);
	VEXPECT(t, f->completed > 100, "only %u commands of the guest were completed", f->completed);
}

static void reads(struct vt *t) { with(t, KIND_READ); }
static void writes(struct vt *t) { with(t, KIND_READ | KIND_WRITE); }

static void hot_set(struct vt *t)
{
	struct flow *f = flow_new(t);

	f->kinds = KIND_READ | KIND_WRITE;
	f->hot = 64;
	f->rounds = 12;
	go(f);
}

static void dealloc_mix(struct vt *t)
{
	struct flow *f = flow_new(t);

	f->kinds = KIND_READ | KIND_WRITE | KIND_DSM | (t->caps & DUT_WZ ? KIND_WZ : 0);
	go(f);
}

static void every_position(struct vt *t)
{
	for (unsigned n = 0; n < 12; n++) {
		struct flow *f;

		if (n)
			vt_fresh(t);
		f = flow_new(t);
		f->kinds = KIND_WRITE;
		f->queues = 1;
		f->qsize = 5;
		f->rounds = 0;
		f->work = 0;
		lay_out(f);
		make_queues(f);
		f->ring = vh_logging(t->mmc, f->from, f->slots);
		while (f->completed < n)
			work(f, 1);
		settle(f);
		copy_range(f, 0, AREA);
		suspend(f);
		same_images(f);
		move_state(f);
		hand_over(f);
		work(f, 30);
		audit(f);
	}
}

static void in_flight(struct vt *t)
{
	for (unsigned i = 0; i < 8; i++) {
		struct flow *f;

		if (i)
			vt_fresh(t);
		f = flow_new(t);
		f->kinds = KIND_READ | KIND_WRITE;
		f->in_flight = true;
		f->rounds = i % 3;
		f->work = 3;
		go(f);
	}
}

static void shared_cq(struct vt *t)
{
	struct flow *f = flow_new(t);

	f->kinds = KIND_READ | KIND_WRITE;
	f->queues = 4;
	f->shared_cq = f->in_flight = true;
	go(f);
}

static void aers(struct vt *t)
{
	struct flow *f = flow_new(t);
	struct vcmd *a = vh_aer(f->from), *b;

	f->kinds = KIND_WRITE;
	go(f);
	VEXPECT(t, !a->done, "the source's event request was completed");
	b = vh_aer(f->to); /* the manager's replay */
	VEXPECT(t, !vh_done_soon(t, b), "an event request at the target was completed at once");
}

static void many_queues(struct vt *t)
{
	struct flow *f = flow_new(t);
	unsigned n;

	vh_feature(f->from, true, NVME_FID_NUM_QUEUES, 63 | 63 << 16, 0, ST(S_OK));
	n = MIN(le32_get(t->last.dw0) & 0xffff, le32_get(t->last.dw0) >> 16) + 1;
	f->kinds = KIND_READ | KIND_WRITE;
	f->queues = MIN(n, 64u);
	f->in_flight = true;
	go(f);
	vt_reading(t, "queue pairs moved", "%u", f->queues);
}

static void ping_pong(struct vt *t)
{
	struct flow *f = flow_new(t);

	f->kinds = KIND_READ | KIND_WRITE;
	go(f);
	for (unsigned i = 0; i < 5; i++) {
		struct vctl *old = f->from;

		settle(f);
		vh_cdq_delete(t->mmc, f->ring.id, ST(S_OK));
		if (f->tracking) /* of a controller that is suspended tracking cannot be stopped: its reset comes first */
			vt_reset(old), vh_track(t->mmc, old->cntlid, false, 0, NULL, 0, ST(S_OK));
		else
			vt_reset(old);
		f->from = f->at;
		f->to = old;
		f->ring = vh_logging(t->mmc, f->from, f->slots);
		if (f->tracking)
			vh_track_all(t->mmc, f->from);
		pre_copy(f);
		suspend(f);
		same_images(f);
		move_state(f);
		hand_over(f);
		work(f, 40);
		audit(f);
	}
}

/* What the guest's driver read at boot must still be true. CNTLID and names may be virtualised by whoever stands between. */
static void identity(struct vt *t)
{
	const struct nvme_id_ctrl *a = &t->mc[0]->id;
	struct flow *f = flow_new(t);
	struct nvme_id_ctrl b;
	struct vmem m;

	f->kinds = KIND_WRITE;
	go(f);
	vh_identify(f->to, NVME_CNS_CTRL, 0, 0, 0, &m, ST(S_OK));
	memcpy(&b, m.p, sizeof(b));
	VEQ(t, b.mdts, a->mdts, "MDTS");
	VEQ(t, le16_get(b.oacs), le16_get(a->oacs), "OACS");
	VEQ(t, le16_get(b.oncs), le16_get(a->oncs), "ONCS");
	VEQ(t, b.sqes << 8 | b.cqes, a->sqes << 8 | a->cqes, "SQES and CQES");
	VEQ(t, le32_get(b.sgls), le32_get(a->sgls), "SGLS");
	VEQ(t, b.aerl, a->aerl, "AERL");
	VEQ(t, b.vwc, a->vwc, "VWC");
	VEXPECT(t, !memcmp(b.fr, a->fr, 8), "the firmware revision differs");
	vt_reading(t, "serial number after a move without the vendor's part", memcmp(b.sn, a->sn, 20) ? "another" : "the same");
	vt_reading(t, "CNTLID after a move without the vendor's part", le16_get(b.cntlid) == le16_get(a->cntlid) ? "the same" : "another");
}

static void sparse(struct vt *t)
{
	struct flow *f = flow_new(t);

	f->sparse = true;
	f->kinds = KIND_READ | KIND_WRITE;
	go(f);
	VEXPECT(t, f->copied < 20 * AREA, "%llu blocks were copied for a sparse namespace of %d", (unsigned long long)f->copied, AREA);
	vt_reading(t, "blocks copied of a half empty namespace", "%llu of %d", (unsigned long long)f->copied, AREA);
}

static void too_fast(struct vt *t)
{
	struct flow *f = flow_new(t);

	f->kinds = KIND_WRITE;
	f->slots = 8;
	f->work = 60;
	go(f);
	VEXPECT(t, f->overflows, "the log never overflowed: the flow did not try what it is for");
}

/* ---- to another subsystem */

static unsigned queues_granted(struct vctl *c)
{
	vh_feature(c, true, NVME_FID_NUM_QUEUES, 63 | 63 << 16, 0, ST(S_OK));
	return MIN(le32_get(c->t->last.dw0) & 0xffff, le32_get(c->t->last.dw0) >> 16) + 1;
}

static void far(struct vt *t)
{
	struct flow *f = flow_far(t);

	f->kinds = KIND_READ | KIND_WRITE;
	go(f);
	VEXPECT(t, f->completed > 100, "only %u commands of the guest were completed", f->completed);
}

static void far_in_flight(struct vt *t)
{
	for (unsigned i = 0; i < 4; i++) {
		struct flow *f;

		if (i)
			vt_fresh(t);
		f = flow_far(t);
		f->queues = MIN(queues_granted(f->to), 4u);
		f->kinds = KIND_READ | KIND_WRITE;
		f->in_flight = true;
		f->work = 3;
		go(f);
	}
}

/* As many queues as the target has are moved; one more is refused, no queue is made, and the source goes on with all it had: nothing is
 * lost of what was in its queues or under its log. The rest of the geometry is for a manager to compare before it suspends anything. */
static void smaller_target(struct vt *t)
{
	struct flow *f = flow_far(t);
	unsigned granted = queues_granted(f->to), has = queues_granted(f->from);
	struct vmem image, back;
	struct ventry e;
	uint32_t len;

	if (has <= granted)
		vt_skip(t, "the target has as many queues as the source: %u", granted);
	f->queues = granted + 1;
	f->kinds = KIND_READ | KIND_WRITE;
	f->in_flight = true;
	lay_out(f);
	make_queues(f);
	f->ring = vh_logging(f->mmc, f->from, f->slots);
	pre_copy(f);
	suspend(f);
	image = take_state(f, &len);
	vh_suspend(f->to_mmc, f->to->cntlid, 1, false, ST(S_OK));
	vh_set(f->to_mmc, f->to->cntlid, 3, 1, 0, 0, &image, len / 4, ST(S_38, S_IF));
	vh_image(f->to_mmc, f->to, 1, 0, &back);
	VEQ(t, back.p[50] | back.p[52], 0, "queues of the target after its refusal");
	t->quiet_watch = false;
	vh_resume(f->mmc, f->from->cntlid, ST(S_OK)); /* the move is off */
	settle(f);
	work(f, 40);
	audit(f);
	vh_await(&f->ring, &e);
	VEQ(t, e.esa, ESA_FIRST, "ESA of the first entry after the source has gone on");
	vt_reading(t, "a target that is smaller", "queues %u of %u, blocks %llu of %llu, MDTS %u of %u", granted, has,
		   (unsigned long long)f->to->ns[0].blocks, (unsigned long long)f->from->ns[0].blocks, f->to->id.mdts, f->from->id.mdts);
}

/* A number of one subsystem means nothing in the other, even where both have it. */
static void strangers(struct vt *t)
{
	struct vctl *near = t->mc[0], *other = t->far_mc;
	struct vring r = vh_logging(t->mmc, near, 64);
	struct vmem m = vt_mem(t->far_mmc, VT_PAGE);

	vh_track_all(t->mmc, near);
	vh_get_cdq(t->far_mmc, r.id, NULL, NULL, NULL, ST(S_37));
	vh_log(t->far_mmc, r.id, 0, ST(S_37));
	vh_receive(t->far_mmc, other->cntlid, &m, VT_PAGE, ST(S_1F, S_IF));
	vh_suspend(t->mmc, near->cntlid, 1, false, ST(S_OK));
	vh_resume(t->far_mmc, other->cntlid, ST(S_3A));
	vt_io_make(other, 1, 16);
	vh_write(other, 1, other->ns[0].nsid, 0, 1, 3, ST(S_OK));
	vh_read_is(other, 1, other->ns[0].nsid, 0, 1, 3);
	vt_reset(t->far_mmc);
	vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_OK));
	vh_resume(t->mmc, near->cntlid, ST(S_OK));
	for (unsigned i = 0, id; i < t->mcs; i++) /* a CNTLID only the other subsystem has */
		if ((id = t->mc[i]->cntlid) != other->cntlid && id != t->far_mmc->cntlid)
			vh_suspend(t->far_mmc, (uint16_t)id, 1, false, ST(S_1F, S_IF));
}

enum { NEED = NEED_LOG | DUT_MC2, NEED_FAR = NEED_LOG | DUT_FAR };
const struct vtest tests_e2e[] = {
	{ "E2E-01", NEED, "E2E-01 X-06", idle, "a move of an idle controller", "flow" },
	{ "E2E-02", NEED, "E2E-02 X-06", reads, "a move under reads", "flow random" },
	{ "E2E-03", NEED, "E2E-03 X-06", writes, "a move under reads and writes", "flow random" },
	{ "E2E-04", NEED, "E2E-04", hot_set, "a move while a few blocks are overwritten again and again", "flow random" },
	{ "E2E-05", NEED | DUT_DSM, "E2E-05", dealloc_mix, "a move with deallocation in the mix", "flow random" },
	{ "E2E-06", NEED, "E2E-06", every_position, "moves at every position of a ring of 5", "flow" },
	{ "E2E-07", NEED, "E2E-07 SUS-06", in_flight, "commands out at the suspension are completed at the target, once", "flow random" },
	{ "E2E-08", NEED, "E2E-08", shared_cq, "a move of queues that share a CQ", "flow random" },
	{ "E2E-09", NEED, "E2E-09", aers, "event requests outstanding at the move", "flow" },
	{ "E2E-10", NEED, "E2E-10 X-09", many_queues, "a move of as many queues as are granted", "flow random" },
	{ "E2E-11", NEED, "E2E-11", ping_pong, "there and back again, six moves", "flow random" },
	{ "E2E-12", NEED, "E2E-12", identity, "what the guest reads of its controller stays the same", "flow" },
	{ "E2E-13", NEED | DUT_RALBAS | DUT_DSM, "E2E-13 X-06", sparse, "a sparse namespace is copied by its allocated blocks", "flow random" },
	{ "E2E-14", NEED, "E2E-14 X-08", too_fast, "the log overflows: everything is copied again, nothing is lost", "flow random" },
	{ "E2E-15", NEED_FAR, "E2E-15 SCS-18 X-07", smaller_target, "a target with fewer queues refuses the state, and the source goes on", "flow negative" },
	{ "E2E-16", NEED_FAR, "E2E-03 X-06", far, "a move to another subsystem under reads and writes", "flow random" },
	{ "E2E-17", NEED_FAR, "E2E-07 SUS-06", far_in_flight, "commands out at the suspension are completed in another subsystem, once", "flow random" },
	{ "E2E-18", NEED_FAR, "CDQ-03 SUS-18 TR-10", strangers, "numbers of one subsystem mean nothing in another", "negative" },
	{ .id = NULL }
};
