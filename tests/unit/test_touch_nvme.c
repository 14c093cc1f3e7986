/* Touching, a whole controller: a guest hears of nothing before the VMM knows of the pages, whatever happens meanwhile, and has its
 * memory to itself from then on. The VMM is vmm.h's; nothing is answered unless a case says so. */
#include "cmds.h"
#include "hmlm.h"
#include "vmm.h"

#define TOUCH(r, v, late_max, ...)                                                                                 \
	RIG(r, .queues = 2, ##__VA_ARGS__);                                                                        \
	struct vmm *v __attribute__((cleanup(vmm_off))) = vmm_on(&r.mc->dev.gmem);                                 \
	EXPECT_EQ(gmem_touch_start(v->g, late_max), 0)

static struct nvme_sqe read_into(struct rig *r, uint64_t slba, unsigned nlb, void *p)
{
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, slba, nlb);

	rig_data(r, r->mc, &s, p, nlb * 512);
	return s;
}

static uint16_t submit_read(struct rig *r, uint64_t slba, unsigned nlb, void *p)
{
	return rig_submit(r, r->mc, 1, read_into(r, slba, nlb, p));
}

static bool completed(struct rig *r, unsigned qid, uint16_t cid)
{
	struct nvme_cqe e;

	rig_settle(r);
	return rig_try(r, r->mc, qid, cid, &e);
}

static void vmm_take_one(struct vmm *v)
{
	struct told *t = &v->out[v->count];

	EXPECT(gmem_touch_next(v->g, &t->number, &t->iova, &t->byte));
	v->taken++;
	v->count++;
}

/* ---- waiting ---- */

/* Data is there, the VMM does not know yet: no completion, no interrupt. Who wrote nothing is not kept waiting. */
TEST(completion_waits_for_the_vmm)
{
	TOUCH(r, v, 0);
	uint8_t *p = rig_alloc(&r, r.mc, 4096), *w = rig_alloc(&r, r.mc, 4096);
	struct rig_host *h = rig_host(&r, r.mc);
	unsigned irqs;
	uint16_t cid;

	memset(w, 0x77, 512);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 3, 1, w), NVME_SUCCESS);
	irqs = h->irqs[1];
	cid = submit_read(&r, 3, 1, p);
	EXPECT(!completed(&r, 1, cid));
	EXPECT_EQ(p[0], 0x77);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 4, 1, w), NVME_SUCCESS);
	irqs = h->irqs[1] - irqs;
	vmm_take(v);
	EXPECT_EQ(v->count, 1);
	EXPECT_EQ(v->out[0].iova, rig_iova(&r, r.mc, p));
	EXPECT_EQ(v->out[0].byte, 0x77);
	EXPECT(!completed(&r, 1, cid));
	EXPECT_EQ(h->irqs[1], irqs + 1);
	vmm_answer_all(v);
	EXPECT(completed(&r, 1, cid));
	EXPECT_EQ(h->irqs[1], irqs + 2);
}

/* Each command waits for its own pages and those before them, not for later ones. */
TEST(each_waits_for_its_own)
{
	TOUCH(r, v, 0);
	uint8_t *p = rig_alloc(&r, r.mc, 4096 * 4);
	uint16_t a = submit_read(&r, 0, 16, p), b = submit_read(&r, 0, 8, p + 8192);

	rig_settle(&r);
	vmm_take(v);
	EXPECT_EQ(v->count, 3);
	vmm_answer(v, 1, 0);
	EXPECT(!completed(&r, 1, a));
	vmm_answer(v, 0, 0);
	EXPECT(completed(&r, 1, a));
	EXPECT(!completed(&r, 1, b));
	vmm_answer(v, 0, 0);
	EXPECT(completed(&r, 1, b));
}

/* Admin data is copied by another path. */
TEST(admin_data_waits)
{
	TOUCH(r, v, 0);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = { .opc = NVME_OP_IDENTIFY };
	uint16_t cid;

	nvme_identify_cns_put(&s, 1);
	rig_data(&r, r.mc, &s, p + 100, 4096);
	cid = rig_submit(&r, r.mc, 0, s);
	EXPECT(!completed(&r, 0, cid));
	vmm_take(v);
	EXPECT_EQ(v->count, 2);
	EXPECT_EQ(v->out[0].iova, rig_iova(&r, r.mc, p + 100));
	EXPECT_EQ(v->out[1].iova, rig_iova(&r, r.mc, p + 4096));
	vmm_answer_all(v);
	EXPECT(completed(&r, 0, cid));
}

/* Half of the buffer by pointer, half by message: bounced. The message has told of its half. */
TEST(bounced_data_waits)
{
	TOUCH(r, v, 0);
	struct rig_host *h = rig_host(&r, r.mc);
	uint8_t *p = rig_alloc(&r, r.mc, 8192);
	uint64_t at = rig_iova(&r, r.mc, p), end = h->iova + RIG_MEM;
	struct gmem *g = v->g;
	uint16_t cid;

	EXPECT_EQ(gmem_del(g, h->iova, RIG_MEM, NULL), 0);
	EXPECT_EQ(gmem_add(g, h->iova, at + 4096 - h->iova, h->mem, true, true), 0);
	EXPECT_EQ(gmem_add(g, at + 4096, 4096, NULL, true, true), 0);
	EXPECT_EQ(gmem_add(g, at + 8192, end - at - 8192, h->mem + (at + 8192 - h->iova), true, true), 0);
	g->remote = rig_remote;
	g->remote_ctx = h;
	cid = submit_read(&r, 0, 16, p);
	EXPECT(!completed(&r, 1, cid));
	EXPECT_EQ(r.messages, 1);
	vmm_take(v);
	EXPECT_EQ(v->count, 1);
	EXPECT_EQ(v->out[0].iova, at);
	vmm_answer_all(v);
	EXPECT(completed(&r, 1, cid));
}

static struct blk *spied(struct blk *b) { return spy_open(b); }

/* A read that fails may have written a part: told all the same. */
TEST(failed_data_waits)
{
	TOUCH(r, v, 0, .wrap = spied);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);
	struct nvme_cqe e;
	uint16_t cid;

	spy_last->fail = -EIO;
	spy_last->fail_ops = 1 << BLK_READ;
	cid = submit_read(&r, 0, 8, p);
	EXPECT(!completed(&r, 1, cid));
	vmm_take(v);
	EXPECT_EQ(v->count, 1);
	vmm_answer_all(v);
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 1, cid, &e));
	EXPECT_STATUS(e, NVME_UNRECOVERED_READ);
}

/* Refused, the move called off, the client gone: nobody is left waiting. */
TEST(nobody_waits_for_ever)
{
	for (unsigned how = 0; how < 3; how++) {
		TOUCH(r, v, 0);
		uint8_t *p = rig_alloc(&r, r.mc, 8192);
		uint16_t cid = submit_read(&r, 0, 8, p);

		EXPECT(!completed(&r, 1, cid));
		if (how == 0) {
			vmm_take(v);
			vmm_answer(v, 0, -ENODEV);
		} else if (how == 1) {
			gmem_touch_stop(v->g);
		} else {
			vmm_off(&v);
		}
		EXPECT(completed(&r, 1, cid));
		cid = submit_read(&r, 0, 8, p); /* what was refused is late by now */
		EXPECT(completed(&r, 1, cid));
	}
}

/* Called off with a byte on its way: if the guest had its completion now, that byte would fall on what it writes next. */
TEST(stop_does_not_let_go_too_early)
{
	TOUCH(r, v, 0);
	uint8_t *p = rig_alloc(&r, r.mc, 8192);
	uint16_t a = submit_read(&r, 0, 8, p), b;

	rig_settle(&r);
	vmm_take(v);
	b = submit_read(&r, 0, 8, p + 4096);
	rig_settle(&r);
	gmem_touch_stop(v->g);
	EXPECT(!completed(&r, 1, a));
	EXPECT(!completed(&r, 1, b));
	vmm_answer_all(v);
	EXPECT(completed(&r, 1, a));
	EXPECT(completed(&r, 1, b));
}

/* ---- late ---- */

/* A guest that reads into the same pages again and again pays nothing; the rings cost nothing; the flush tells of all. */
TEST(late_pages_until_the_stop)
{
	TOUCH(r, v, 2);
	uint8_t *p = rig_alloc(&r, r.mc, 8192);
	struct rig_host *h = rig_host(&r, r.mc);

	for (unsigned i = 0; i < 50; i++)
		EXPECT_STATUS(rig_io(&r, r.mc, 1, read_into(&r, 0, 16, p)), NVME_SUCCESS);
	EXPECT_EQ(v->g->touch.queued, 0);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, r.mc->cntlid, false), NVME_SUCCESS);
	EXPECT_EQ(gmem_touch_flush(v->g), -EAGAIN);
	vmm_take(v);
	EXPECT_EQ(v->count, 3);
	EXPECT(vmm_has(v, rig_iova(&r, r.mc, p)));
	EXPECT(vmm_has(v, rig_iova(&r, r.mc, p + 4096)));
	EXPECT(vmm_has(v, rig_iova(&r, r.mc, h->q[1].cq)));
	vmm_answer_all(v);
	EXPECT_EQ(gmem_touch_flush(v->g), 0);
}

/* The page of the event indices is written for ever: late, like the rings. */
TEST(event_indices_are_late)
{
	TOUCH(r, v, 0);
	uint8_t *shadow = rig_alloc(&r, r.mc, 4096), *eventidx = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = { .opc = NVME_OP_DBBUF, .prp1 = le64_of(rig_iova(&r, r.mc, shadow)),
			      .prp2 = le64_of(rig_iova(&r, r.mc, eventidx)) };
	struct rig_queue *q = &rig_host(&r, r.mc)->q[1];

	EXPECT_STATUS(rig_admin(&r, r.mc, s), NVME_SUCCESS);
	s = (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(1) };
	memcpy(q->sq + 64 * q->tail, &s, 64);
	q->tail++;
	memcpy(shadow + 8, (uint32_t[]){ q->tail }, 4);
	rig_settle(&r);
	EXPECT_EQ(eventidx[8], 1);
	EXPECT_EQ(v->g->touch.queued, 0);
	EXPECT_EQ(gmem_touch_flush(v->g), -EAGAIN);
	vmm_take(v);
	EXPECT(vmm_has(v, rig_iova(&r, r.mc, eventidx)));
}

/* A change log lies in its host's memory and has no completion that could wait: late. */
TEST(change_log_entries_are_late)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 16);
	struct vmm *v __attribute__((cleanup(vmm_off))) = vmm_on(&r.mmc->dev.gmem);

	EXPECT_EQ(gmem_touch_start(v->g, 0), 0);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_STATUS(hm_write(&r, r.mc, 1, 0, 1, rig_alloc(&r, r.mc, 4096)), NVME_SUCCESS);
	EXPECT(!hm_empty(&q));
	EXPECT_EQ(v->g->touch.queued, 0);
	EXPECT_EQ(gmem_touch_flush(v->g), -EAGAIN);
	vmm_take(v);
	EXPECT(vmm_has(v, rig_iova(&r, r.mmc, q.mem)));
}

/* ---- what the guest polls for ---- */

/* Suspend: a command that was fetched is completed, and it is not before the VMM has answered. */
TEST(suspend_waits)
{
	TOUCH(r, v, 0);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);
	struct nvme_cqe e;
	uint16_t cid = submit_read(&r, 0, 8, p), sus;

	rig_settle(&r);
	vmm_take(v);
	sus = rig_submit(&r, r.mmc, 0, hm_cmd(0x41, 0, 0x00010000u | r.mc->cntlid, 0, 0, 0));
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mmc, 0, sus, &e));
	vmm_answer_all(v);
	EXPECT_STATUS(rig_wait(&r, r.mmc, 0, sus), NVME_SUCCESS);
	EXPECT(completed(&r, 1, cid));
	EXPECT_EQ(vmm_flush(v), 0);
}

/* Delete I/O SQ: the host reuses the buffers of its commands after that. */
TEST(delete_sq_waits)
{
	TOUCH(r, v, 0);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);
	uint16_t cid = submit_read(&r, 0, 8, p), del;

	rig_settle(&r);
	vmm_take(v);
	del = rig_submit(&r, r.mc, 0, (struct nvme_sqe){ .opc = NVME_OP_DELETE_SQ, .cdw10 = le32_of(1) });
	EXPECT(!completed(&r, 0, del));
	vmm_answer_all(v);
	EXPECT(completed(&r, 0, del));
	EXPECT(completed(&r, 1, cid));
}

/* The register write is answered at once; RDY stays until the bytes on their way have arrived; those that wait their turn are never
 * sent, because by then the memory is the guest's. */
TEST(controller_reset_waits)
{
	TOUCH(r, v, 0);
	uint8_t *p = rig_alloc(&r, r.mc, 4096 * 8);

	submit_read(&r, 0, 32, p);
	submit_read(&r, 0, 8, p + 4096 * 4);
	rig_settle(&r);
	vmm_take_one(v);
	vmm_take_one(v);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);
	vmm_take(v);
	EXPECT_EQ(v->taken, 2);
	vmm_answer(v, 1, 0);
	rig_settle(&r);
	EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);
	vmm_answer(v, 0, 0);
	rig_settle(&r);
	EXPECT(!(rig_csts(r.mc) & NVME_CSTS_RDY));
	rig_enable(&r, r.mc);
	EXPECT_EQ(v->taken, 2);
	EXPECT_EQ(vmm_flush(v), 0);
	EXPECT_EQ(v->taken, 5);
}

/* Function level reset and DEVICE_RESET: answered whatever is on its way, nothing is sent behind them. */
TEST(function_reset_does_not_wait)
{
	for (unsigned how = 0; how < 2; how++) {
		TOUCH(r, v, 0);
		uint8_t *p = rig_alloc(&r, r.mc, 4096 * 8);

		submit_read(&r, 0, 64, p);
		rig_settle(&r);
		vmm_take_one(v);
		if (how == 0)
			r.mc->dev.ops->reset(&r.mc->dev);
		else
			rig_cfg_put16(r.mc, r.mc->pci.pcie_cap + 8, 0x8000);
		EXPECT_EQ(rig_reg(r.mc, NVME_REG_CC, 4), 0);
		rig_settle(&r);
		vmm_take(v);
		EXPECT_EQ(v->taken, 1);
		EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);
		vmm_answer(v, 0, -ENODEV);	/* bus mastering is off */
		rig_settle(&r);
		EXPECT(!(rig_csts(r.mc) & NVME_CSTS_RDY));
		EXPECT_EQ(v->g->touch.failed, 0);
		EXPECT_EQ(vmm_flush(v), 0);
	}
}

/* Data that arrives for a command of the time before a reset: nobody waits, and no byte is sent that could fall on the guest's. */
TEST(data_after_a_reset_is_late)
{
	TOUCH(r, v, 0, .wrap = spied);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);

	spy_last->hold = 1 << BLK_READ;
	submit_read(&r, 0, 8, p);
	rig_settle(&r);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);
	spy_release(spy_last);
	rig_settle(&r);
	EXPECT(!(rig_csts(r.mc) & NVME_CSTS_RDY));
	EXPECT_EQ(v->g->touch.queued, 0);
	EXPECT_EQ(gmem_touch_flush(v->g), -EAGAIN);
	vmm_take(v);
	EXPECT(vmm_has(v, rig_iova(&r, r.mc, p)));
}

/* QEMU answers no DMA_WRITE while it waits for our answer to an unmap: so that never waits for a command that waits for QEMU. */
TEST(unmap_while_a_command_waits)
{
	TOUCH(r, v, 0);
	struct rig_host *h = rig_host(&r, r.mc);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);
	uint16_t cid = submit_read(&r, 0, 8, p);

	rig_settle(&r);
	vmm_take(v);
	EXPECT_EQ(gmem_del(v->g, h->iova, RIG_MEM, NULL), 0);
	EXPECT_EQ(gmem_add(v->g, h->iova, RIG_MEM, h->mem, true, true), 0);
	EXPECT(!completed(&r, 1, cid));
	vmm_answer_all(v);
	EXPECT(completed(&r, 1, cid));
}

/* A command that waits holds no buffer and no namespace: others are not stopped by it. */
TEST(who_waits_keeps_nothing)
{
	TOUCH(r, v, 0);
	struct nvme_sqe s = { .opc = NVME_OP_IDENTIFY };
	uint16_t cid[12];

	nvme_identify_cns_put(&s, 1);
	for (unsigned i = 0; i < ARRAY_LEN(cid); i++) {	/* more than there are buffers */
		rig_data(&r, r.mc, &s, rig_alloc(&r, r.mc, 4096), 4096);
		cid[i] = rig_submit(&r, r.mc, 0, s);
	}
	submit_read(&r, 0, 8, rig_alloc(&r, r.mc, 4096));
	rig_settle(&r);
	EXPECT_EQ(v->g->touch.queued, ARRAY_LEN(cid) + 1);
	EXPECT_EQ(v->g->held, 0);
	EXPECT_EQ(r.mc->attach[1]->inflight, 0);
	vmm_take(v);
	vmm_answer_all(v);
	for (unsigned i = 0; i < ARRAY_LEN(cid); i++)
		EXPECT(completed(&r, 0, cid[i]));
}

/* ---- everything at once ---- */

enum { BUFS = 24, BUF_PAGES = 3, ARENA = BUFS * BUF_PAGES, ROUNDS = 4000 };
struct buf_state { bool busy; uint16_t cid; unsigned qid, off, bytes; uint64_t slba; uint8_t fill; };
static uint8_t copy[RIG_MEM];
static bool dirty[RIG_MEM / 4096];

struct world { struct rig *r; struct vmm *v; uint8_t *arena; struct buf_state b[BUFS]; uint64_t rng; unsigned reads; };

static unsigned rnd(struct world *w, unsigned below)
{
	w->rng = w->rng * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(w->rng >> 33) % below;
}

static uint8_t *bytes_of(struct world *w, unsigned i) { return w->arena + i * BUF_PAGES * 4096; }

static void cpu_wrote(struct world *w, const uint8_t *p, size_t len)
{
	size_t at = (size_t)(p - rig_host(w->r, w->r->mc)->mem);

	for (size_t i = at / 4096; len && i <= (at + len - 1) / 4096; i++)
		dirty[i] = true;
}

static void vmm_copy(struct world *w, unsigned page)
{
	dirty[page] = false;
	memcpy(copy + page * 4096, rig_host(w->r, w->r->mc)->mem + page * 4096, 4096);
}

static void begin_read(struct world *w, unsigned i)
{
	struct buf_state *b = &w->b[i];
	unsigned nlb = 1 + rnd(w, 16);

	*b = (struct buf_state){ .busy = true, .qid = 1 + rnd(w, 2), .off = rnd(w, 1024) * 4, .bytes = nlb * 512, .slba = rnd(w, 1000),
				 .fill = b->fill };
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, b->slba, nlb);
	uint64_t used = rig_host(w->r, w->r->mc)->used;

	rig_data(w->r, w->r->mc, &s, bytes_of(w, i) + b->off, b->bytes);
	b->cid = rig_submit(w->r, w->r->mc, b->qid, s);
	rig_poll(w->r);	/* the list has been read when the command is fetched */
	rig_host(w->r, w->r->mc)->used = used;
	w->reads++;
}

/* The guest checks what it got and writes to the whole buffer at once. */
static void guest_uses(struct world *w, unsigned i)
{
	struct buf_state *b = &w->b[i];
	uint8_t *p = bytes_of(w, i);

	for (unsigned n = 0; n < b->bytes; n++)
		EXPECT_EQ(p[b->off + n], (uint8_t)(b->slba + n / 512));
	b->busy = false;
	b->fill = (uint8_t)rnd(w, 256);
	memset(p, b->fill, BUF_PAGES * 4096);
	cpu_wrote(w, p, BUF_PAGES * 4096);
}

/* Nothing but the guest may have written to a buffer that is the guest's. */
static void guest_looks(struct world *w, unsigned i)
{
	for (unsigned n = 0; !w->b[i].busy && n < BUF_PAGES * 4096; n++)
		EXPECT_EQ(bytes_of(w, i)[n], w->b[i].fill);
}

static void vmm_writes(struct world *w)
{
	struct told t;

	if (!w->v->count)
		return;
	t = vmm_answer(w->v, rnd(w, w->v->count), 0);
	dirty[(t.iova - rig_host(w->r, w->r->mc)->iova) / 4096] = true;
}

static void reap(struct world *w)
{
	struct nvme_cqe e;

	for (unsigned i = 0; i < BUFS; i++)
		if (w->b[i].busy && rig_try(w->r, w->r->mc, w->b[i].qid, w->b[i].cid, &e)) {
			EXPECT_STATUS(e, NVME_SUCCESS);
			guest_uses(w, i);
		}
}

static void step(struct world *w)
{
	unsigned i = rnd(w, BUFS);

	switch (rnd(w, 6)) {
	case 0:
		if (!w->b[i].busy) {
			guest_looks(w, i);
			begin_read(w, i);
		}
		break;
	case 1: rig_poll(w->r); break;
	case 2: vmm_take(w->v); break;
	case 3: vmm_writes(w); break;
	case 4: reap(w); break;
	case 5: vmm_copy(w, rnd(w, 2) ? (unsigned)((bytes_of(w, i) - rig_host(w->r, w->r->mc)->mem) / 4096) + rnd(w, BUF_PAGES) :
			 rnd(w, RIG_MEM / 4096)); break;
	}
}

/* Reads into small pieces of pages, a guest that writes all around as soon as it may, a VMM that copies, writes and answers when it
 * likes. No byte of the guest's is ever overwritten, and after suspend and flush the copy is the memory, rings included. */
TEST(nothing_is_lost_and_nothing_corrupted)
{
	for (uint64_t seed = 1; seed <= 8; seed++) {
		TOUCH(r, v, seed % 4 * 10, .blocks = 1024);
		struct world w = { .r = &r, .v = v, .rng = seed };
		uint8_t *block = rig_alloc(&r, r.mc, 4096);
		struct rig_host *h = rig_host(&r, r.mc);

		for (unsigned i = 0; i < 1024; i++) {
			memset(block, (int)i, 512);
			EXPECT_STATUS(hm_write(&r, r.mc, 1, i, 1, block), NVME_SUCCESS);
		}
		w.arena = rig_alloc(&r, r.mc, ARENA * 4096);
		memset(dirty, 1, sizeof(dirty));
		for (unsigned n = 0; n < ROUNDS; n++)
			step(&w);
		EXPECT(w.reads > 100);
		while (gmem_touched(v->g, v->g->touch.queued) == false) {
			vmm_take(v);
			vmm_writes(&w);
		}
		EXPECT_STATUS(hm_suspend(&r, r.mmc, r.mc->cntlid, false), NVME_SUCCESS);
		while (gmem_touch_flush(v->g) == -EAGAIN) {
			vmm_take(v);
			vmm_writes(&w);
		}
		EXPECT_EQ(gmem_touch_flush(v->g), 0);
		for (unsigned i = 0; i < 3; i++)
			cpu_wrote(&w, h->q[i].sq, 64 * h->q[i].size);
		cpu_wrote(&w, w.arena + ARENA * 4096, 64 * 4096);	/* PRP lists */
		for (unsigned i = 0; i < RIG_MEM / 4096; i++)
			if (dirty[i])
				vmm_copy(&w, i);
		EXPECT_MEM(copy, h->mem, RIG_MEM);
		for (unsigned i = 0; i < BUFS; i++)
			guest_looks(&w, i);
	}
}
