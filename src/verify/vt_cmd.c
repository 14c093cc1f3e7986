/* Commands: into rings, out of rings, and judged on the way. The CID is the command's place in the run's table, so that a completion
 * names exactly one command of the whole run, whichever controller and queue it comes from. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "verify/cover.h"
#include "verify/signature.h"
#include "verify/vt_in.h"

bool vt_is(const uint16_t *set, unsigned status)
{
	for (; set && *set != ST_END; set++)
		if (*set == status)
			return true;
	return !set;
}

const char *vt_status_text(unsigned status, char buf[64])
{
	snprintf(buf, 64, "%x/%02xh %s", status >> 8 & 7, status & 0xff, nvme_status_name(status));
	return buf;
}

const char *vt_set_text(const uint16_t *set, char *buf, size_t cap)
{
	char one[64];
	size_t n = 0;

	snprintf(buf, cap, "anything");
	for (; set && *set != ST_END && n < cap; set++)
		n += (size_t)snprintf(buf + n, cap - n, "%s%s", n ? " or " : "", vt_status_text(*set, one));
	return buf;
}

static const char *op_name(const struct vcmd *k)
{
	return k->qid ? nvme_nvm_op_name(k->sqe.opc) : nvme_admin_op_name(k->sqe.opc);
}

/* ---- submission */

void vt_data(struct vctl *c, struct nvme_sqe *s, const struct vmem *m, uint32_t len)
{
	unsigned pages = (len + VT_PAGE - 1) / VT_PAGE;

	s->prp1 = le64_of(m->iova);
	s->prp2 = le64_of(pages == 2 ? m->iova + VT_PAGE : 0);
	if (pages > 2) {
		struct vmem list = vt_mem(c, (pages - 1) * 8);

		if (pages - 1 > VT_PAGE / 8)
			vt_error(c->t, "a transfer of %u bytes needs a longer PRP list than tests build", len);
		for (unsigned i = 1; i < pages; i++) {
			le64 a = le64_of(m->iova + (uint64_t)i * VT_PAGE);

			memcpy(list.p + 8 * (i - 1), &a, 8);
		}
		s->prp2 = le64_of(list.iova);
	}
}

static struct vcmd *slot(struct vt *t)
{
	for (unsigned i = 0; i < VT_CMDS; i++) {
		struct vcmd *k = &t->cmd[t->cmd_next];

		t->cmd_next = (t->cmd_next + 1) % VT_CMDS;
		if (!k->used)
			return k;
	}
	vt_error(t, "more than %d commands out", VT_CMDS);
}

static void may_end(struct vcmd *k, const uint16_t *want)
{
	unsigned n = 0;

	k->any = !want;
	for (; want && want[n] != ST_END && n + 1 < ARRAY_LEN(k->want); n++)
		k->want[n] = want[n];
	k->want[n] = ST_END;
}

static void put_sqe(struct vsq *q, struct vcmd *k)
{
	k->slot = q->tail;
	k->nth = ++q->put;
	memcpy(q->m.p + 64u * q->tail, &k->sqe, 64);
	q->tail = (uint16_t)((q->tail + 1) % q->size);
}

/* The same once more, as a host that tries again would: under an identifier of its own. */
static void put_twin(struct vctl *c, struct vsq *q, struct vcmd *k)
{
	struct vcmd *twin;

	if ((q->tail + 1u) % q->size == q->head)
		return;
	twin = slot(c->t);
	*twin = *k;
	twin->cid = (uint16_t)(twin - c->t->cmd);
	twin->sqe.cid = le16_of(twin->cid);
	twin->stray = true;
	k->twin = twin;
	put_sqe(q, twin);
	c->t->submitted++;
	vt_trace(c->t, "%s sq%u cid %u is the same again", c->name, twin->qid, twin->cid);
}

/* Two runs with the same digest sent the same commands in the same order. CIDs are ours, the head of a log is the device's. */
static void note(struct vt *t, const struct vctl *c, unsigned qid, const struct nvme_sqe *s)
{
	struct nvme_sqe e = *s;
	uint64_t h = t->sequence ? t->sequence : 0xcbf29ce484222325ull;

	e.cid = le16_of((uint16_t)(c->index << 8 | qid));
	if (vop_of(s) == VOP_SET_CDQ && !qid)
		e.cdw12 = le32_of(0);
	for (unsigned i = 0; i < sizeof(e); i++)
		h = (h ^ ((const uint8_t *)&e)[i]) * 0x100000001b3ull;
	t->sequence = h;
}

static struct vcmd *queue(struct vctl *c, unsigned qid, const struct nvme_sqe *s, const struct vmem *exact, uint32_t len, const uint16_t *want)
{
	struct vsq *q = &c->sq[qid];
	struct vcmd *k = slot(c->t);
	bool put, twice;

	if (!c->port)
		vt_error(c->t, "%s has no queues of ours", c->name);
	if (!q->live)
		vt_error(c->t, "%s has no SQ %u", c->name, qid);
	if ((q->tail + 1u) % q->size == q->head)
		vt_error(c->t, "SQ %u of %s is full", qid, c->name);
	*k = (struct vcmd){ .used = true, .c = c, .qid = (uint16_t)qid, .cid = (uint16_t)(k - c->t->cmd), .sqe = *s };
	may_end(k, want);
	k->sqe.cid = le16_of(k->cid);
	k->sent_ns = vt_now_ns();
	note(c->t, c, qid, s);
	put = vt_inject_sqe(c, k, &twice);
	vt_guard_sent(c, k, exact, len);
	if (put)
		put_sqe(q, k);
	c->t->submitted++;
	vt_trace(c->t, "%s sq%u cid %u %s nsid %u cdw10 %08x %08x %08x %08x %08x %08x prp1 %llx", c->name, qid, k->cid, op_name(k),
		 le32_get(s->nsid), le32_get(s->cdw10), le32_get(s->cdw11), le32_get(s->cdw12), le32_get(s->cdw13),
		 le32_get(s->cdw14), le32_get(s->cdw15), (unsigned long long)le64_get(s->prp1));
	cov_sent(c->t->cov, c, k);
	if (put && twice)
		put_twin(c, q, k);
	return k;
}

struct vcmd *vt_queue(struct vctl *c, unsigned qid, const struct nvme_sqe *s, const uint16_t *want)
{
	return queue(c, qid, s, NULL, 0, want);
}

void vt_ring(struct vctl *c, unsigned qid)
{
	c->sq[qid].rung = c->sq[qid].tail;
	vt_doorbell(c, 2 * qid, c->sq[qid].tail);
}

struct vcmd *vt_send(struct vctl *c, unsigned qid, const struct nvme_sqe *s, const uint16_t *want)
{
	struct vcmd *k = vt_queue(c, qid, s, want);

	vt_ring(c, qid);
	return k;
}

void vt_forget(struct vcmd *k) { k->used = false; }

/* ---- completion */

static void judge(struct vt *t, struct vcmd *k)
{
	unsigned st = nvme_cqe_status(&k->cqe);
	char got[64], set[400];

	vt_trace(t, "%s sq%u cid %u <- %s dw0 %08x", k->c->name, k->qid, k->cid, vt_status_text(st, got), le32_get(k->cqe.dw0));
	cov_done(t->cov, k->c, k);
	if (!k->any && !vt_is(k->want, st)) {
		sig_note(t, k);
		vt_fail(t, "%s (%s, cdw10 %08x, cdw11 %08x) ended with %s, not with %s", op_name(k), k->c->name,
			le32_get(k->sqe.cdw10), le32_get(k->sqe.cdw11), vt_status_text(st, got), vt_set_text(k->want, set, sizeof(set)));
	}
}

/* What SQHD has passed belongs to the host again: it is overwritten at once, so that a device that tells before it has fetched runs into
 * a command that nobody sent. */
static void free_slots(struct vctl *c, unsigned sqid, unsigned sqhd)
{
	struct vsq *q = &c->sq[sqid];
	unsigned freed = (sqhd + q->size - q->head) % q->size, sent = (q->rung + q->size - q->head) % q->size;

	if (sqhd >= q->size)
		vt_fail(c->t, "%s: SQHD %u, but SQ %u has %u entries", c->name, sqhd, sqid, q->size);
	if (freed > sent)
		vt_fail(c->t, "%s: SQHD of SQ %u goes from %u to %u, the tail doorbell is at %u", c->name, sqid, q->head, sqhd, q->rung);
	q->passed += freed;
	for (; q->head != sqhd; q->head = (uint16_t)((q->head + 1) % q->size))
		memset(q->m.p + 64u * q->head, 0xff, 64);
}

/* The entry is ours until we have heard that the head has passed it: nobody may have written there. */
static void judge_entry(struct vctl *c, const struct vsq *q, const struct vcmd *k)
{
	if (k->nth > q->passed && k->slot < q->size && memcmp(q->m.p + 64u * k->slot, &k->sqe, 64))
		vt_fail(c->t, "%s wrote into SQ %u: the entry of %s (CID %u, slot %u) has changed", c->name, q->qid, op_name(k), k->cid, k->slot);
}

static void match(struct vctl *c, struct vcq *q, const struct nvme_cqe *e)
{
	unsigned cid = le16_get(e->cid), sqid = le16_get(e->sqid);
	struct vcmd *k = cid < VT_CMDS ? &c->t->cmd[cid] : NULL;

	if (c->t->quiet_watch && c->t->frozen == c)
		vt_fail(c->t, "%s completed SQ %u CID %u (%s) while nothing may complete there", c->name, sqid, cid,
			nvme_status_name(nvme_cqe_status(e)));
	if (!k || !k->used || k->done || k->c != c || k->qid != sqid)
		vt_fail(c->t, "%s posted a completion in CQ %u for SQ %u CID %u, which is not out", c->name, q->qid, sqid, cid);
	if (c->sq[sqid].cqid != q->qid)
		vt_fail(c->t, "%s posted the completion of SQ %u in CQ %u, not in CQ %u", c->name, sqid, q->qid, c->sq[sqid].cqid);
	judge_entry(c, &c->sq[sqid], k);
	free_slots(c, sqid, le16_get(e->sqhd));
	k->cqe = *e;
	k->done = true;
	vt_guard_done(c, k);
	k->order = ++c->t->order;
	c->t->completed++;
	judge(c->t, k);
	if (k->stray)
		k->used = false;
}

static bool reap(struct vctl *c, struct vcq *q)
{
	unsigned n = 0;

	for (; n < q->size; n++) {
		uint8_t *slot_ = q->m.p + 16u * q->head;
		struct nvme_cqe e;
		uint32_t last = __atomic_load_n((uint32_t *)(void *)(slot_ + 12), __ATOMIC_ACQUIRE);

		if ((le32toh(last) >> 16 & 1) != q->phase)
			break;
		memcpy(&e, slot_, 12);
		memcpy((uint8_t *)&e + 12, &last, 4);
		q->posted++;
		if (++q->head == q->size) {
			q->head = 0;
			q->phase = !q->phase;
		}
		match(c, q, &e);
	}
	if (n && !q->shadowed)
		vt_doorbell(c, 2u * q->qid + 1, q->head);
	return n;
}

bool vt_reap(struct vctl *c)
{
	bool any = false;

	for (unsigned i = 0; i < VT_QUEUES; i++)
		if (c->cq[i].live && !c->cq[i].hold)
			any |= reap(c, &c->cq[i]);
	return any;
}

void vt_reap_now(struct vctl *c) { vt_reap(c); }

bool vt_poll(struct vt *t)
{
	bool any = t->dut->pump && t->dut->pump(t->dut->ctx);

	vt_inject_turn(t);
	for (unsigned i = 0; i < t->ctls; i++) {
		struct vctl *c = &t->ctl[i];

		if (c->port && c->port->ops->poll)
			any |= c->port->ops->poll(c->port);
		if (c->up)
			any |= vt_reap(c);
	}
	if (!any && !t->dut->pump) { /* somebody else's processor does the work */
		struct timespec nap = { 0, 20000 };

		nanosleep(&nap, NULL);
	}
	return any;
}

#define STOOD_STILL_NS 2000000000ull
bool vt_until(struct vt *t, bool (*ready)(void *ctx), void *ctx, uint64_t limit_ns)
{
	enum { TURNS_LEAST = 1000 };
	uint64_t now = vt_now_ns(), end = MIN(now + limit_ns, t->deadline_ns), was;

	/* A device of our own process that was given no turns has not been slow: we were not running. */
	for (unsigned turns = 0; !ready(ctx); turns++) {
		if (now > end && (!t->dut->pump || turns >= TURNS_LEAST))
			return false;
		vt_poll(t);
		was = now;
		now = vt_now_ns();
		if (now - was > STOOD_STILL_NS) { /* this process was stopped: it has not waited */
			end += now - was;
			t->deadline_ns += now - was;
		}
	}
	return true;
}

static bool cmd_done(void *k) { return ((struct vcmd *)k)->done; }

void vt_wait(struct vt *t, struct vcmd *k)
{
	if (!vt_until(t, cmd_done, k, t->cmd_ns)) {
		if (k->c->port) /* a server that has gone is not a command that hangs */
			vt_reg(k->c, NVME_REG_CSTS, 4);
		vt_fail(t, "%s (%s, cdw10 %08x, cdw11 %08x) was not completed within %llu ms", op_name(k), k->c->name,
			le32_get(k->sqe.cdw10), le32_get(k->sqe.cdw11), (unsigned long long)(t->cmd_ns / 1000000));
	}
}

unsigned vt_finish(struct vt *t, struct vcmd *k)
{
	vt_wait(t, k);
	t->last = k->cqe;
	k->used = false;
	return nvme_cqe_status(&t->last);
}

static unsigned pass(struct vctl *c, unsigned qid, const struct nvme_sqe *s, void *data, uint32_t len, const uint16_t *want)
{
	struct vcmd *k = slot(c->t);
	int rc;

	if (qid || !c->dut->pass)
		vt_error(c->t, "%s takes admin commands only", c->name);
	*k = (struct vcmd){ .used = true, .c = c, .sqe = *s };
	may_end(k, want);
	note(c->t, c, qid, s);
	vt_trace(c->t, "%s passthrough %s cdw10 %08x cdw11 %08x", c->name, op_name(k), le32_get(s->cdw10), le32_get(s->cdw11));
	cov_sent(c->t->cov, c, k);
	rc = c->dut->pass(c->dut, s, data, len, &k->cqe);
	if (rc == -EPERM || rc == -EOPNOTSUPP)
		vt_skip(c->t, "%s cannot be sent safely through a kernel's passthrough", op_name(k));
	if (rc) {
		c->t->lost |= rc == -ENODEV;
		vt_error(c->t, "%s: %s: %s", c->name, op_name(k), strerror(-rc));
	}
	k->done = true;
	c->t->submitted++;
	c->t->completed++;
	c->t->last = k->cqe;
	k->used = false;
	judge(c->t, k);
	return nvme_cqe_status(&k->cqe);
}

/* While we wait for it nobody but devices writes our memory. */
static unsigned alone(struct vctl *c, unsigned qid, struct vcmd *k)
{
	vt_guard_before(c->t, k);
	vt_ring(c, qid);
	vt_wait(c->t, k);
	vt_guard_after(c->t, k);
	return vt_finish(c->t, k);
}

unsigned vt_do(struct vctl *c, unsigned qid, const struct nvme_sqe *s, const uint16_t *want)
{
	if (!c->port)
		return pass(c, qid, s, NULL, 0, want);
	return alone(c, qid, queue(c, qid, s, NULL, 0, want));
}

unsigned vt_do_data(struct vctl *c, unsigned qid, const struct nvme_sqe *s, const struct vmem *m, uint32_t len, const uint16_t *want)
{
	struct nvme_sqe with = *s;

	if (!c->port)
		return pass(c, qid, s, m->p, len, want);
	vt_data(c, &with, m, len);
	return alone(c, qid, queue(c, qid, &with, m, len, want));
}

static bool never(void *ctx) { (void)ctx; return false; }

void vt_watch_silent(struct vctl *c)
{
	struct vt *t = c->t;

	t->quiet_watch = true;
	t->frozen = c;
	vt_until(t, never, NULL, t->quiet_ns);
	t->quiet_watch = false;
}

/* ---- queues */

unsigned vt_cq_make(struct vctl *c, unsigned qid, uint32_t size, const uint16_t *want) { return vt_cq_make_ien(c, qid, size, true, want); }

unsigned vt_cq_make_ien(struct vctl *c, unsigned qid, uint32_t size, bool ien, const uint16_t *want)
{
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_CQ };
	struct vcq q = { .live = true, .ien = ien, .qid = (uint16_t)qid, .iv = (uint16_t)qid, .size = size, .m = vt_mem(c, size * 16), .phase = true };
	unsigned st;

	s.cdw10 = le32_of(qid | (size - 1) << 16);
	s.cdw11 = le32_of(1 | (ien ? 2u : 0) | qid << 16); /* PC, IEN, vector */
	s.prp1 = le64_of(q.m.iova);
	st = vt_do(c, 0, &s, want);
	if (st == S_OK && qid < VT_QUEUES)
		c->cq[qid] = q;
	return st;
}

unsigned vt_sq_make(struct vctl *c, unsigned qid, unsigned cqid, uint32_t size, const uint16_t *want)
{
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_SQ };
	struct vsq q = { .live = true, .qid = (uint16_t)qid, .cqid = (uint16_t)cqid, .size = size, .m = vt_mem(c, size * 64) };
	unsigned st;

	s.cdw10 = le32_of(qid | (size - 1) << 16);
	s.cdw11 = le32_of(1 | cqid << 16);
	s.prp1 = le64_of(q.m.iova);
	st = vt_do(c, 0, &s, want);
	if (st == S_OK && qid < VT_QUEUES)
		c->sq[qid] = q;
	return st;
}

void vt_io_make(struct vctl *c, unsigned qid, uint32_t size)
{
	vt_cq_make(c, qid, size, ST(S_OK));
	vt_sq_make(c, qid, qid, size, ST(S_OK));
}

unsigned vt_q_delete(struct vctl *c, bool cq, unsigned qid, const uint16_t *want)
{
	struct nvme_sqe s = { .opc = cq ? NVME_OP_DELETE_CQ : NVME_OP_DELETE_SQ, .cdw10 = le32_of(qid) };
	unsigned st = vt_do(c, 0, &s, want);

	if (st == S_OK && qid < VT_QUEUES && cq)
		c->cq[qid].live = false;
	else if (st == S_OK && qid < VT_QUEUES)
		c->sq[qid].live = false;
	return st;
}
