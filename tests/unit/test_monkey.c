/* Monkeys with fixed seeds. One guest sends legal and illegal commands at random and keeps count: each command is answered once,
 * with the right phase, nothing moves while it is suspended or in memory it has taken away, everything is accounted for at the end.
 * Beside it one that does anything at all (rings, doorbells, registers, shadow doorbells over its own queues), of which only is
 * asked that it harms nobody. The manager suspends, resumes, saves and restores, tracks and throttles meanwhile.
 *
 * A failure prints its seed: FERRY_MONKEY=SEED runs that one alone.
 */
#include "hmlm.h"

enum { STEPS = 1500, SEEDS = 16, DATA = 256 * 1024, WINDOW = 65536, IMAGE = 64 * 1024, DEPTH = 100 };
static const uint64_t WINDOW_IOVA = 0x1000000;

struct out { bool waits[65536]; unsigned count; };
struct monkey {
	struct rig *r;
	uint64_t x;
	struct out out[3];			/* by queue */
	uint8_t *data, *image, *ring;
	uint8_t *window;			/* guest memory that comes and goes */
	bool mapped, leaving, by_message;
	uint8_t was[WINDOW];			/* as it was when it went */
	unsigned cdq;				/* id, 0 none */
	unsigned restored, suspended, answered;
};

static uint64_t roll(struct monkey *m, uint64_t below)
{
	m->x ^= m->x << 13;
	m->x ^= m->x >> 7;
	m->x ^= m->x << 17;
	return (m->x >> 11) % below;
}
static bool one_in(struct monkey *m, unsigned n) { return roll(m, n) == 0; }

static struct { unsigned restored, suspended, held; } all;	/* over all seeds: what never happened proves nothing */

/* ---- a backend that takes its time; one for all seeds, as each rig has its own */

struct lazy { struct blk b; struct list out; uint64_t x; };

static int lazy_submit(struct blk *b, struct blk_io *io)
{
	struct lazy *z = (struct lazy *)b;

	z->x = z->x * 6364136223846793005ull + 1;
	switch (z->x >> 61) {
	case 0: return -EAGAIN;
	case 1: return z->x >> 56 & 1 ? -EIO : blk_submit(b->below, io);
	case 2: case 3: case 4:
		list_push(&z->out, &io->link);
		return 0;
	}
	return blk_submit(b->below, io);
}
static int lazy_poll(struct blk *b)
{
	struct lazy *z = (struct lazy *)b;
	struct list *l = list_pop(&z->out);
	struct blk_io *io;
	int rc;

	if (!l)
		return 0;
	io = LIST_ENTRY(l, struct blk_io, link);
	rc = blk_submit(b->below, io);
	io->done(io, rc == BLK_DONE ? 0 : rc);
	return 1;
}
static int lazy_next(struct blk *b, uint64_t lba, uint64_t *s, uint64_t *n) { return blk_next_allocated(b->below, lba, s, n); }
static void lazy_close(struct blk *b)
{
	blk_close(b->below);
	free(b);
}
static const struct blk_ops lazy_ops = { .name = "lazy", .submit = lazy_submit, .poll = lazy_poll, .next_allocated = lazy_next,
					 .close = lazy_close };
static struct blk *lazy_wrap(struct blk *below)
{
	struct lazy *z = calloc(1, sizeof(*z));

	z->b = *below;
	z->b.ops = &lazy_ops;
	z->b.below = below;
	z->x = 7;
	list_init(&z->out);
	return &z->b;
}

/* ---- the guest that counts */

static struct gmem *mem(struct monkey *m) { return &nvme_ctrl_device(m->r->mc)->gmem; }

static void window_step(struct monkey *m)
{
	if (m->leaving && gmem_del(mem(m), WINDOW_IOVA, WINDOW, NULL) == 0) {
		m->leaving = m->mapped = false;
		memcpy(m->was, m->window, WINDOW);
	}
	if (!m->mapped)
		EXPECT_MEM(m->was, m->window, WINDOW);
}

static void turn(struct monkey *m)
{
	m->r->now += 100 * 1000;
	rig_poll(m->r);
	window_step(m);
}

static void reap(struct monkey *m, unsigned qid)
{
	struct nvme_cqe e;

	while (rig_reap(m->r, m->r->mc, qid, &e)) {
		struct out *o = &m->out[le16_get(e.sqid)];

		EXPECT_EQ(le16_get(e.sqid), qid);
		EXPECT(o->waits[le16_get(e.cid)]);	/* once, and only what was asked */
		o->waits[le16_get(e.cid)] = false;
		o->count--;
		m->answered++;
	}
}

static uint64_t address(struct monkey *m)
{
	uint64_t off = one_in(m, 3) ? roll(m, 1024) * 4 : 0;

	switch (roll(m, 8)) {
	case 0: return WINDOW_IOVA + roll(m, WINDOW / 4096) * 4096 + off;
	case 1: return one_in(m, 2) ? UINT64_MAX - roll(m, 8192) : roll(m, 1 << 20) << 12;
	}
	return rig_iova(m->r, m->r->mc, m->data) + roll(m, DATA / 4096) * 4096 + off;
}

/* A page of PRP entries or SGL descriptors somewhere in the data: reads may write over it at any time. */
static uint64_t list_make(struct monkey *m, bool sgl)
{
	uint8_t *page = m->data + roll(m, DATA / 4096) * 4096;

	for (unsigned i = 0; i < 64; i++) {
		struct nvme_sgl d = { .addr = le64_of(address(m)), .len = le32_of((uint32_t)roll(m, 8) * 512),
				      .type = (uint8_t)(one_in(m, 6) ? roll(m, 256) : 0) };
		le64 prp = le64_of(one_in(m, 16) ? address(m) : address(m) & ~4095ull);

		if (sgl)
			memcpy(page + 16 * i, &d, 16);
		else
			memcpy(page + 8 * i, &prp, 8);
	}
	return rig_iova(m->r, m->r->mc, page);
}

static void pointers(struct monkey *m, struct nvme_sqe *s, bool io)
{
	struct nvme_sgl d;

	s->prp1 = le64_of(address(m));
	s->prp2 = le64_of(one_in(m, 2) ? list_make(m, false) : address(m) & ~4095ull);
	if (!io || !one_in(m, 4))
		return;
	d = (struct nvme_sgl){ .addr = le64_of(list_make(m, true)), .len = le32_of((uint32_t)(1 + roll(m, 34)) * 16),
			       .type = (uint8_t)((one_in(m, 2) ? NVME_SGL_LAST : NVME_SGL_SEGMENT) << 4) };
	memcpy(&s->prp1, &d, 16);
	s->flags |= 1 << 6;
}

static struct nvme_sqe io_command(struct monkey *m)
{
	static const uint8_t ops[] = { NVME_NVM_WRITE, NVME_NVM_READ, NVME_NVM_WRITE, NVME_NVM_READ, NVME_NVM_COMPARE, NVME_NVM_FLUSH,
				       NVME_NVM_WRITE_ZEROES, NVME_NVM_DSM, NVME_NVM_VERIFY, NVME_NVM_COPY };
	struct nvme_sqe s = rig_rw(ops[roll(m, ARRAY_LEN(ops))], one_in(m, 20) ? (uint32_t)roll(m, 300) : 1, roll(m, 8300),
				   1 + (unsigned)roll(m, one_in(m, 4) ? 256 : 16));

	if (s.opc == NVME_NVM_DSM || s.opc == NVME_NVM_COPY) {
		if (s.opc == NVME_NVM_DSM)
			s.cdw10 = le32_of((uint32_t)roll(m, 256)), s.cdw11 = le32_of(4);
		else
			s.cdw12 = le32_of((uint32_t)roll(m, 4));
	}
	if (one_in(m, 30))
		s.opc = (uint8_t)roll(m, 256);
	if (one_in(m, 30))
		s.flags = (uint8_t)roll(m, 256);
	if (one_in(m, 20))
		s.cdw12 = le32_of(le32_get(s.cdw12) | (uint32_t)roll(m, 1ull << 32));
	pointers(m, &s, true);
	return s;
}

/* Not the ones that would change the rings it counts by. */
static struct nvme_sqe admin_command(struct monkey *m)
{
	static const uint8_t ops[] = { NVME_OP_GET_LOG, NVME_OP_IDENTIFY, NVME_OP_ABORT, NVME_OP_SET_FEATURES, NVME_OP_GET_FEATURES,
				       NVME_OP_AER, NVME_OP_KEEP_ALIVE, NVME_OP_TRACK_SEND, NVME_OP_MIGRATION_SEND, NVME_OP_CDQ,
				       NVME_OP_FORMAT, NVME_OP_GET_LBA_STATUS, 0xc0 };
	struct nvme_sqe s = { .opc = ops[roll(m, ARRAY_LEN(ops))], .nsid = le32_of((uint32_t)roll(m, 3)) };

	s.cdw10 = le32_of((uint32_t)roll(m, one_in(m, 3) ? 1ull << 32 : 0x30));
	s.cdw11 = le32_of((uint32_t)roll(m, one_in(m, 3) ? 1ull << 32 : 256));
	s.cdw12 = le32_of((uint32_t)roll(m, one_in(m, 3) ? 1ull << 32 : 1024));
	if (s.opc == NVME_OP_ABORT)
		s.cdw10 = le32_of((uint32_t)roll(m, 3) | rig_host(m->r, m->r->mc)->q[roll(m, 3)].cid << 16);
	if (s.opc == NVME_OP_FORMAT)
		s.cdw10 = le32_of(0);
	pointers(m, &s, false);
	return s;
}

static void submit(struct monkey *m, unsigned qid, struct nvme_sqe s)
{
	struct out *o = &m->out[qid];
	struct rig_queue *q = &rig_host(m->r, m->r->mc)->q[qid];
	uint16_t cid = q->cid;

	/* Room in the ring is enough: completions may pile up, and wait for room in theirs. */
	if (o->count >= DEPTH || o->waits[cid] || (q->tail + 1) % q->size == m->r->mc->sq[qid].head)
		return;
	rig_submit(m->r, m->r->mc, qid, s);
	o->waits[cid] = true;
	o->count++;
}

static void forget(struct monkey *m)
{
	memset(m->out, 0, sizeof(m->out));
}

static void settle(struct monkey *m)
{
	for (unsigned i = 0, idle = 0; i < RIG_POLLS && idle < 20; i++) {
		bool busy = rig_poll(m->r);

		m->r->now += 100 * 1000;
		window_step(m);
		idle = busy ? 0 : idle + 1;
	}
}

static void reset(struct monkey *m)
{
	struct rig_host *h = rig_host(m->r, m->r->mc);

	switch (roll(m, 3)) {
	case 0: rig_reg_put(m->r->mc, NVME_REG_CC, 4, 0); break;
	case 1: rig_reg_put(m->r->mc, NVME_REG_NSSR, 4, NVME_NSSR_MAGIC); break;
	case 2: h->dev->ops->reset(h->dev); break;
	}
	forget(m);
	rig_cfg_put16(m->r->mc, 4, 0x0006);
	rig_cfg_put16(m->r->mc, m->r->mc->pci.msix_cap + 2, 0x8000);
	settle(m);
	EXPECT(!(rig_csts(m->r->mc) & NVME_CSTS_RDY));
	rig_enable(m->r, m->r->mc);
	for (unsigned q = 1; q <= 2; q++)
		rig_make_queue(m->r, m->r->mc, q, m->r->qsize);
}

/* ---- the manager */

static struct nvme_cqe mmc(struct monkey *m, struct nvme_sqe s)
{
	struct nvme_cqe e = { 0 };
	uint16_t cid = rig_submit(m->r, m->r->mmc, 0, s);

	for (unsigned i = 0; i < RIG_POLLS; i++) {
		if (rig_try(m->r, m->r->mmc, 0, cid, &e))
			return e;
		turn(m);
	}
	fail_msg("the manager got no answer to %02x", s.opc);
	return e;
}
static struct nvme_cqe mmc_data(struct monkey *m, struct nvme_sqe s, void *p)
{
	s.prp1 = le64_of(rig_iova(m->r, m->r->mmc, p));
	s.prp2 = le64_of(rig_iova(m->r, m->r->mmc, (uint8_t *)p + 4096));
	return mmc(m, s);
}

static struct nvme_sqe move_cmd(struct monkey *m, unsigned sel, bool suspend)
{
	return hm_cmd(NVME_OP_MIGRATION_SEND, sel, (suspend ? 0x10000u : 0) | m->r->mc->cntlid, 0, 0, 0);
}

static uint64_t hash(const uint8_t *p, size_t n)
{
	uint64_t h = 1, w;

	for (size_t i = 0; i + 8 <= n; i += 8) {
		memcpy(&w, p + i, 8);
		h = (h ^ w) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
	}
	return h;
}

/* HMLM-SUS-03: no DMA, no completion, no interrupt. The guest goes on submitting. */
static void stays_silent(struct monkey *m)
{
	struct rig_host *h = rig_host(m->r, m->r->mc);
	uint64_t before;
	unsigned irqs[3];

	for (unsigned i = 0; i < 4; i++)
		submit(m, 1, io_command(m));
	before = hash(h->mem, h->used) ^ hash(m->window, WINDOW);
	memcpy(irqs, h->irqs, sizeof(irqs));
	for (unsigned i = 0; i < 10; i++)
		turn(m);
	EXPECT_EQ(hash(h->mem, h->used) ^ hash(m->window, WINDOW), before);
	EXPECT_MEM(irqs, h->irqs, sizeof(irqs));
	EXPECT(nvme_ctrl_is_suspended(m->r->mc));
}

static void image_read(struct monkey *m)
{
	for (uint32_t off = 0; off < IMAGE; off += 8192)
		if (nvme_cqe_status(&(struct nvme_cqe){ .status = mmc_data(m, hm_cmd(NVME_OP_MIGRATION_RECEIVE, 1 << 16,
		    1 << 16 | m->r->mc->cntlid, off, 0, 2047), m->image + off).status }) != NVME_SUCCESS)
			break;	/* behind the end */
}

static struct nvme_cqe image_write(struct monkey *m)
{
	struct nvme_cqe e = { 0 };

	for (uint32_t off = 0; off < IMAGE; off += 8192)
		e = mmc_data(m, hm_cmd(NVME_OP_MIGRATION_SEND, 2 | (off ? off + 8192 == IMAGE ? 2u : 0 : 1u) << 16,
				       1u << 24 | 1 << 16 | m->r->mc->cntlid, off, 0, 2048), m->image + off);
	return e;
}

/* Saved, reset by its host while it is suspended, suspended again and restored: the guest must not notice. First a few images that
 * lie, of which nothing may stay. */
static void save_and_restore(struct monkey *m)
{
	uint8_t *image = m->image, keep;
	struct rig_host *h = rig_host(m->r, m->r->mc);
	uint32_t at;

	memset(image, 0, IMAGE);
	image_read(m);
	rig_reg_put(m->r->mc, NVME_REG_CC, 4, 0);
	settle(m);
	EXPECT_STATUS(mmc(m, move_cmd(m, 0, true)), NVME_SUCCESS);
	at = (uint32_t)roll(m, 4096);
	keep = image[at];
	image[at] ^= (uint8_t)(1 + roll(m, 255));
	if (nvme_cqe_status(&(struct nvme_cqe){ .status = image_write(m).status }) == NVME_SUCCESS) {
		/* the lie was about something free: clear it away again */
		rig_reg_put(m->r->mc, NVME_REG_CC, 4, NVME_CC_EN);
		rig_reg_put(m->r->mc, NVME_REG_CC, 4, 0);
		settle(m);
		EXPECT_STATUS(mmc(m, move_cmd(m, 0, true)), NVME_SUCCESS);
	}
	image[at] = keep;
	EXPECT_STATUS(image_write(m), NVME_SUCCESS);
	for (unsigned q = 0; q < 3; q++)
		EXPECT_EQ(m->r->mc->sq[q].tail, h->q[q].tail);
	m->restored++;
}

static void suspend(struct monkey *m)
{
	EXPECT_STATUS(mmc(m, move_cmd(m, 0, true)), NVME_SUCCESS);
	EXPECT_EQ(m->r->mc->inflight, 0);
	all.held += m->r->mc->held_count;
	stays_silent(m);
	m->suspended++;
	if (one_in(m, 2)) {
		save_and_restore(m);
		stays_silent(m);
	}
	EXPECT_STATUS(mmc(m, move_cmd(m, 1, false)), NVME_SUCCESS);
}

static void cdq(struct monkey *m)
{
	struct nvme_sqe s = hm_cmd(NVME_OP_CDQ, 0, (uint32_t)m->r->mc->cntlid << 16 | 1, 128 * 8, 0, 0);

	if (!m->cdq) {
		s.prp1 = le64_of(rig_iova(m->r, m->r->mmc, m->ring));
		m->cdq = m->by_message ? 0 : le32_get(mmc(m, s).dw0);
	} else if (one_in(m, 3)) {
		mmc(m, hm_cmd(NVME_OP_CDQ, 1, m->cdq, 0, 0, 0));
		m->cdq = 0;
	} else {
		mmc(m, hm_cmd(NVME_OP_TRACK_SEND, (uint32_t)roll(m, 2) << 16, m->cdq, 0, 0, 0));
	}
}

static void track(struct monkey *m)
{
	struct nvme_track_mem *t = (void *)m->image;
	struct nvme_track_mem_range *d = (void *)(m->image + sizeof(*t));

	memset(m->image, 0, 64);
	t->rnmrtd = le32_of(1);
	*d = (struct nvme_track_mem_range){ .saddr = le64_of(rig_host(m->r, m->r->mc)->iova), .len = le32_of(256) };
	mmc_data(m, hm_cmd(NVME_OP_TRACK_SEND, (uint32_t)roll(m, 2) << 16 | 1, m->r->mc->cntlid, 0, 0, 0), m->image);
	mmc_data(m, hm_cmd(NVME_OP_TRACK_RECEIVE, 0, m->r->mc->cntlid, (uint32_t)roll(m, 1024), 0, 0), m->image);
}

static void throttle(struct monkey *m, bool on)
{
	struct nvme_rate_limit *l = (void *)m->image;

	memset(l, 0, sizeof(*l));
	l->rlc = le16_of(on ? NVME_RLC_RLE : 0);
	l->tbwv = le64_of(1 + roll(m, 64));
	l->tiops = le32_of(1000);
	l->iops_r = l->iops_w = l->bw_r = l->bw_w = 1;
	EXPECT_STATUS(mmc_data(m, hm_cmd(NVME_OP_SET_FEATURES, NVME_FID_RATE_LIMIT, m->r->mc->cntlid, 0, 0, 0), l), NVME_SUCCESS);
}

/* ---- the guest that does anything */

static void chaos(struct monkey *m)
{
	struct rig_host *h = &m->r->host[2];
	static uint32_t page[1024] __attribute__((aligned(4096)));
	uint64_t v = roll(m, 1ull << 32);

	switch (roll(m, 12)) {
	case 0: h->dev->ops->region_write(h->dev, DEV_REGION_BAR0, roll(m, 16) * 4, &v, 4); break;
	case 1: h->dev->ops->region_write(h->dev, DEV_REGION_CONFIG, roll(m, 256), &v, 1 + (uint32_t)roll(m, 4)); break;
	case 2: h->dev->ops->region_write(h->dev, (unsigned)roll(m, 9), roll(m, 0x5000), &v, 1 + (uint32_t)roll(m, 8)); break;
	case 3: h->dev->ops->region_share(h->dev, DEV_REGION_BAR0, one_in(m, 2) ? page : NULL); break;
	case 4:
		if (!one_in(m, 10))
			break;
		rig_cfg_put16(h->ctrl, 4, 0x0006);
		rig_reg_put(h->ctrl, NVME_REG_CC, 4, 0);
		rig_settle(m->r);
		rig_enable(m->r, h->ctrl);
		rig_make_queue(m->r, h->ctrl, 1, m->r->qsize);
		break;
	case 5: case 6:
		for (unsigned i = 0; i < 512; i++)
			h->mem[roll(m, h->used)] = (uint8_t)roll(m, 256);
		break;
	default: {
		struct nvme_sqe s = one_in(m, 2) ? io_command(m) : admin_command(m);

		if (one_in(m, 3))
			s.opc = (uint8_t)roll(m, 16);
		if (one_in(m, 10))
			s.opc = NVME_OP_DBBUF;
		s.prp1 = le64_of(h->iova + roll(m, h->used) / 4096 * 4096);
		s.prp2 = le64_of(h->iova + roll(m, h->used) / 4096 * 4096);
		if (h->q[0].sq)
			memcpy(h->q[0].sq + 64 * roll(m, 32), &s, 64);
		if (h->q[1].sq)
			memcpy(h->q[1].sq + 64 * roll(m, 32), &s, 64);
		v = roll(m, 40);
		h->dev->ops->region_write(h->dev, DEV_REGION_BAR0, NVME_REG_DOORBELLS + roll(m, 12) * 4, &v, 4);
	} }
}

/* ---- the play */

static void step(struct monkey *m)
{
	uint32_t bad = 0x10000 | (uint32_t)roll(m, 1 << 20);
	unsigned q = (unsigned)roll(m, 3);

	switch (roll(m, 200)) {
	case 0: reset(m); return;
	case 1: case 2: suspend(m); return;
	case 3: cdq(m); return;
	case 4: case 5: track(m); return;
	case 6: throttle(m, one_in(m, 2)); return;
	case 7:
		rig_doorbell(m->r->mc, 2 * q, bad);	/* nonsense is ignored */
		turn(m);
		rig_doorbell(m->r->mc, 2 * q, rig_host(m->r, m->r->mc)->q[q].tail);
		return;
	case 8: case 9: case 10:
		if (m->mapped)
			m->leaving = true;
		else
			m->mapped = gmem_add(mem(m), WINDOW_IOVA, WINDOW, m->by_message ? NULL : m->window, true, !one_in(m, 4)) == 0;
		window_step(m);
		return;
	}
	if (one_in(m, 3))
		chaos(m);
	if (one_in(m, 16))
		reap(m, q);
	else if (one_in(m, 4))
		turn(m);
	else
		submit(m, q, q ? io_command(m) : admin_command(m));
}

static unsigned free_reqs(const struct nvme_ctrl *c)
{
	unsigned n = 0;

	LIST_EACH(&c->req_free, it)
		n++;
	return n;
}

/* Everything is answered but AERs, and every request, buffer and hold is back. */
static void account(struct monkey *m)
{
	struct nvme_ctrl *c = m->r->mc;

	throttle(m, false);
	for (unsigned i = 0; i < RIG_POLLS && (i < 100 || m->out[1].count || m->out[2].count || m->out[0].count > c->aer_count); i++) {
		turn(m);
		for (unsigned q = 0; q < 3; q++)
			reap(m, q);
	}
	EXPECT_EQ(m->out[0].count, c->aer_count);
	EXPECT_EQ(m->out[1].count, 0);
	EXPECT_EQ(m->out[2].count, 0);
	EXPECT_EQ(c->inflight, 0);
	EXPECT_EQ(c->held_count, 0);
	EXPECT_EQ(c->bufs_free, (1u << NVME_BUFS) - 1);
	EXPECT_EQ(c->dev.gmem.held, 0);
	EXPECT_EQ(free_reqs(c) + c->aer_count, c->max_reqs);
	EXPECT(m->answered > 100);
	all.restored += m->restored;
	all.suspended += m->suspended;
}

static void play(uint64_t seed)
{
	RIG(r, .mcs = 2, .queues = 2, .by_message = seed % 4 == 3, .max_reqs = seed % 2 ? 24 : 128, .wrap = lazy_wrap);
	struct monkey *m = calloc(1, sizeof(*m));

	print_message("# seed %llu\n", (unsigned long long)seed);
	m->r = &r;
	m->x = seed * 0x9e3779b97f4a7c15ull + 1;
	m->by_message = seed % 4 == 3;
	m->data = rig_alloc(&r, r.mc, 2 * DATA);	/* SGL lengths may lead behind the first half */
	m->image = rig_alloc(&r, r.mmc, IMAGE);
	m->ring = rig_alloc(&r, r.mmc, 4096);
	m->window = aligned_alloc(4096, WINDOW);
	memset(m->window, 0x5a, WINDOW);
	memcpy(m->was, m->window, WINDOW);
	for (unsigned i = 0; i < STEPS; i++)
		step(m);
	account(m);
	EXPECT_EQ(gmem_del(mem(m), WINDOW_IOVA, WINDOW, NULL), m->mapped ? 0 : -ENOENT);
	free(m->window);
	free(m);
}

TEST(monkeys)
{
	const char *one = getenv("FERRY_MONKEY");

	if (one) {
		play(strtoull(one, NULL, 0));
		return;
	}
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		play(seed);
	print_message("# %u suspensions, %u restored, %u completions held\n", all.suspended, all.restored, all.held);
	EXPECT(all.suspended > 50 && all.restored > 20 && all.held > 50);	/* they did meet */
}
