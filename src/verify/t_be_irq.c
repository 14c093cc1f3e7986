/* Group BE, interrupts: vectors, masks, what is pending; by MSI-X's control word, and by its table where the port reaches that. */
#include "verify/t_be.h"

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : t->mmc; }
static struct nvme_sqe flush(struct vctl *c) { return (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) }; }

static uint64_t irqs(struct vctl *c, unsigned v) { return c->dut->irqs(c->dut, v); }

static void irqs_forget(struct vctl *c)
{
	vt_watch_silent(c);
	for (unsigned v = 0; v < 8; v++)
		irqs(c, v);
}

static void irq_await(struct vctl *c, unsigned v, const char *what)
{
	uint64_t end = vt_now_ns() + c->t->cmd_ns;

	while (!irqs(c, v)) {
		VEXPECT(c->t, vt_now_ns() < end, "no interrupt on vector %u %s", v, what);
		vt_poll(c->t);
	}
}

static void make_with(struct vctl *c, unsigned qid, bool ien, unsigned iv)
{
	struct vcq q = { .live = true, .qid = (uint16_t)qid, .iv = (uint16_t)iv, .size = 16, .m = vt_mem(c, 16 * 16), .phase = true };
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_CQ, .cdw10 = le32_of(qid | 15 << 16), .cdw11 = le32_of(1 | ien << 1 | iv << 16),
			      .prp1 = le64_of(q.m.iova) };

	vt_do(c, 0, &s, ST(S_OK));
	c->cq[qid] = q;
	vt_sq_make(c, qid, qid, 16, ST(S_OK));
}

void be_other_vector(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = flush(c);

	make_with(c, 1, true, 3);
	make_with(c, 2, false, 2);
	irqs_forget(c);
	for (unsigned i = 0; i < 4; i++) {
		vt_do(c, 1, &s, ST(S_OK));
		vt_do(c, 2, &s, ST(S_OK));
	}
	irq_await(c, 3, "for completions in a CQ that was made with it");
	VEXPECT(t, !irqs(c, 1), "an interrupt on vector 1, which no CQ has");
	VEXPECT(t, !irqs(c, 2), "an interrupt for a CQ with IEN=0");
}

static unsigned msix_at(struct vctl *c)
{
	uint8_t at = 0, cap[2];

	if (c->port->ops->cfg_read(c->port, 0x34, &at, 1))
		return 0;
	for (unsigned n = 0; at >= 0x40 && n < 48 && !c->port->ops->cfg_read(c->port, at, cap, 2); n++, at = cap[1])
		if (cap[0] == 0x11)
			return at;
	return 0;
}

static void mask_all(struct vctl *c, unsigned at, bool on)
{
	uint8_t ctl[2];

	c->port->ops->cfg_read(c->port, at + 2, ctl, 2);
	ctl[1] = (uint8_t)((ctl[1] & 0xbf) | on << 6);
	c->port->ops->cfg_write(c->port, at + 2, ctl, 2);
}

/* MSI-X Function Mask: what comes meanwhile is pending, and is raised once when the mask goes. */
void be_function_mask(struct vt *t)
{
	struct vctl *c = one(t);
	unsigned at = msix_at(c);
	struct nvme_sqe s = flush(c);

	if (!at)
		vt_skip(t, "no MSI-X capability can be seen");
	vt_io_make(c, 1, 16);
	irqs_forget(c);
	mask_all(c, at, true);
	vt_do(c, 1, &s, ST(S_OK));
	vt_watch_silent(c);
	VEXPECT(t, !irqs(c, 1), "an interrupt while all vectors are masked");
	mask_all(c, at, false);
	irq_await(c, 1, "once it is unmasked");
	vt_watch_silent(c);
	mask_all(c, at, false);
	vt_watch_silent(c);
	VEXPECT(t, !irqs(c, 1), "a second interrupt for the same completion");
}

void be_mask_suspended(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	unsigned at = msix_at(mc);
	struct nvme_sqe s = flush(mc);

	if (!at)
		vt_skip(t, "no MSI-X capability can be seen");
	vt_io_make(mc, 1, 16);
	irqs_forget(mc);
	mask_all(mc, at, true);
	vt_do(mc, 1, &s, ST(S_OK));
	vh_suspend(t->mmc, mc->cntlid, 1, false, ST(S_OK));
	mask_all(mc, at, false);
	vt_watch_silent(mc);
	VEXPECT(t, !irqs(mc, 1), "a suspended controller raised an interrupt");
	vh_resume(t->mmc, mc->cntlid, ST(S_OK));
	irq_await(mc, 1, "after Resume, which was pending before");
}

/* ---- the table: per vector address, data, mask; and the pending bits beside it */

struct entry { le32 addr_lo, addr_hi, data, ctrl; };
struct table { struct vctl *c; unsigned bar, pba_bar; uint32_t at, pba; };

static bool dwords(struct vctl *c, bool write, unsigned bar, uint32_t at, void *p, unsigned n)
{
	const struct port_ops *o = c->port->ops;
	int rc = 0;

	for (unsigned i = 0; i < n && !rc; i++)
		rc = write ? o->bar_write(c->port, bar, at + 4 * i, (uint8_t *)p + 4 * i, 4) : o->bar_read(c->port, bar, at + 4 * i, (uint8_t *)p + 4 * i, 4);
	return !rc;
}

/* Where it is; leaves the test when it cannot be reached. */
static struct table table_of(struct vctl *c)
{
	unsigned cap = msix_at(c);
	le32 where[2];
	struct entry e;
	struct table m;

	if (!cap || !c->port->ops->bar_read || c->port->ops->cfg_read(c->port, cap + 4, where, 8))
		vt_skip(c->t, "no MSI-X table can be reached");
	m = (struct table){ c, le32_get(where[0]) & 7, le32_get(where[1]) & 7, le32_get(where[0]) & ~7u, le32_get(where[1]) & ~7u };
	if (!dwords(c, false, m.bar, m.at, &e, 4))
		vt_skip(c->t, "the MSI-X table cannot be read");
	return m;
}

static struct entry entry_get(const struct table *m, unsigned v)
{
	struct entry e;

	if (!dwords(m->c, false, m->bar, m->at + 16 * v, &e, 4))
		vt_error(m->c->t, "entry %u of the MSI-X table cannot be read", v);
	return e;
}

static void entry_put(const struct table *m, unsigned v, struct entry e)
{
	if (!dwords(m->c, true, m->bar, m->at + 16 * v, &e, 4))
		vt_error(m->c->t, "entry %u of the MSI-X table cannot be written", v);
}

static bool pending(const struct table *m, unsigned v)
{
	le32 bits;

	if (!dwords(m->c, false, m->pba_bar, m->pba + v / 32 * 4, &bits, 1))
		vt_error(m->c->t, "the MSI-X pending bits cannot be read");
	return le32_get(bits) >> v % 32 & 1;
}

static struct entry message(unsigned data, bool mask) { return (struct entry){ le32_of(0xfee00000), le32_of(0), le32_of(data), le32_of(mask) }; }

/* One vector's mask: what comes meanwhile is pending and seen to be, is raised once when the mask goes, and others are not held. */
void be_vector_mask(struct vt *t)
{
	struct vctl *c = one(t);
	struct table m = table_of(c);
	struct entry had = entry_get(&m, 1);
	struct nvme_sqe s = flush(c);
	uint64_t early, others, again;
	bool is_pending, stays;

	vt_io_make(c, 1, 16);
	vt_io_make(c, 2, 16);
	irqs_forget(c);
	entry_put(&m, 1, message(0x41, true));
	vt_do(c, 1, &s, ST(S_OK));
	vt_do(c, 2, &s, ST(S_OK));
	irq_await(c, 2, "while another vector is masked");
	vt_watch_silent(c);
	early = irqs(c, 1);
	is_pending = pending(&m, 1);
	entry_put(&m, 1, message(0x41, false));
	irq_await(c, 1, "once its vector is unmasked");
	vt_watch_silent(c);
	stays = pending(&m, 1);
	entry_put(&m, 1, message(0x41, true));
	entry_put(&m, 1, message(0x41, false));
	vt_watch_silent(c);
	again = irqs(c, 1);
	others = irqs(c, 2);
	entry_put(&m, 1, had); /* whatever comes of it: the next test finds its vectors as they were */
	VEXPECT(t, !early, "an interrupt on a vector that is masked");
	VEXPECT(t, is_pending, "an interrupt waits for its mask, and its pending bit is 0");
	VEXPECT(t, !stays, "an interrupt was raised, and its pending bit is still 1");
	VEXPECT(t, !again && !others, "an interrupt for nothing when a mask came and went");
}

/* Reserved bits of Vector Control cannot be set, the rest reads as it was written. */
void be_table_reads(struct vt *t)
{
	struct vctl *c = one(t);
	struct table m = table_of(c);
	struct entry had[4], got[4], want[4];

	for (unsigned v = 0; v < 4; v++)
		had[v] = entry_get(&m, v);
	for (unsigned v = 0; v < 4; v++) {
		want[v] = message(0x50 + v, v & 1);
		entry_put(&m, v, want[v]);
	}
	for (unsigned v = 0; v < 4; v++)
		got[v] = entry_get(&m, v);
	for (unsigned v = 0; v < 4; v++)
		entry_put(&m, v, had[v]);
	VEXPECT(t, !memcmp(got, want, sizeof(got)), "the MSI-X table does not read as it was written");
}

/* PCIe: the Mask Bit of every entry is 1 after a reset. */
void be_table_flr(struct vt *t)
{
	struct vctl *c = one(t);
	struct table m = table_of(c);
	struct entry got;

	entry_put(&m, 1, message(0x41, false));
	if (c->port->ops->reset(c->port))
		vt_error(t, "the function cannot be reset");
	got = entry_get(&m, 1);
	vt_port_again(c);
	vt_reset(c);
	VEQ(t, le32_get(got.ctrl) & 1, 1, "Mask Bit of a vector after a function level reset");
}

/* Where and with what the guest's interrupts go, and which are masked, goes along with it. */
void sv_table(struct vt *t, struct vctl *from, struct vctl *to, void (*move)(void *), void *ctx)
{
	struct table a = table_of(from), b = table_of(to);
	struct entry was[4], had = entry_get(&a, 0), got[4];

	for (unsigned v = 0; v < 4; v++)
		was[v] = message(0x60 + v, v & 1);
	for (unsigned v = 0; v < 4; v++)
		entry_put(&a, v, was[v]);
	move(ctx);
	for (unsigned v = 0; v < 4; v++)
		got[v] = entry_get(&b, v);
	for (unsigned v = 0; v < 4; v++) {
		entry_put(&a, v, had);
		entry_put(&b, v, had);
	}
	VEXPECT(t, !memcmp(got, was, sizeof(got)), "the guest's MSI-X table is another one at the target");
}
