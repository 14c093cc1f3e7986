/* A state that was set: what the model knows of the controller afterwards. The book's part has the I/O queues; our vendor part
 * (docs/stream.md) has the admin queues and what was out. Somebody else's vendor part may have anything, so the model then lets go.
 * Called by monitor_done.c when the last piece was accepted.
 */
#include "verify/monitor_in.h"

enum { TAG_FORMAT = 1, TAG_PROPS = 2, TAG_ADMIN = 3, TAG_HELD = 7, TAG_AERS = 8 };

static uint64_t num(const uint8_t *p, unsigned len)
{
	uint64_t v = 0;

	while (len--)
		v = v << 8 | p[len];
	return v;
}

/* ---- the book's part --------------------------------------------------------------------------------------------------------------- */

static void take_cq(struct ctrl *mc, const uint8_t *p)
{
	struct nvme_state_cq q;
	struct mcq *n;
	uint32_t attr;

	memcpy(&q, p, sizeof(q));
	attr = le32_get(q.attr);
	n = !le16_get(q.qid) ? NULL : ctrl_cq_new(mc, le16_get(q.qid), le16_get(q.qsize0) + 1u, le64_get(q.prp1), attr & NVME_STATE_CQ_PC,
						  attr & NVME_STATE_CQ_IEN, (uint16_t)(attr >> NVME_STATE_CQ_IV_SHIFT));
	if (!n || le16_get(q.head) >= n->size || le16_get(q.tail) >= n->size)
		return;
	n->head = le16_get(q.head);
	n->tail = le16_get(q.tail);
	n->phase = n->tail ? !!(attr & NVME_STATE_CQ_S0PT) : !(attr & NVME_STATE_CQ_S0PT);
}

static void take_sq(struct ctrl *mc, const uint8_t *p)
{
	struct nvme_state_sq s;
	struct msq *n;

	memcpy(&s, p, sizeof(s));
	n = !le16_get(s.qid) ? NULL : ctrl_sq_new(mc, le16_get(s.qid), le16_get(s.qsize0) + 1u, le64_get(s.prp1), le16_get(s.attr) & 1, le16_get(s.cqid));
	if (!n || le16_get(s.head) >= n->size || le16_get(s.tail) >= n->size)
		return;
	n->prio = le16_get(s.attr) >> 1 & 3;
	n->head = n->seen = le16_get(s.head);
	queue_advance(mc, n, le16_get(s.tail));
}

static void take_queues(struct ctrl *mc, const uint8_t *p, uint64_t len)
{
	struct nvme_state_v0 v;
	size_t sqs, cqs;

	if (len < sizeof(v))
		return;
	memcpy(&v, p, sizeof(v));
	p += sizeof(v);
	sqs = le16_get(v.niosq);
	cqs = le16_get(v.niocq);
	if (le16_get(v.ver) || len - sizeof(v) < 24 * (sqs + cqs))
		return;
	for (size_t i = 0; i < cqs; i++)
		take_cq(mc, p + 24 * (sqs + i));
	for (size_t i = 0; i < sqs; i++)
		take_sq(mc, p + 24 * i);
}

/* ---- our vendor part ---------------------------------------------------------------------------------------------------------------- */

/* The payload of a record, NULL if it is not there or too short. */
static const uint8_t *find(const uint8_t *p, uint64_t len, uint16_t tag, uint32_t least, uint32_t *got)
{
	while (len >= 8) {
		uint64_t n = num(p + 4, 4), step = 8 + round_up(n, 4);

		if (n > len - 8)
			return NULL;
		if (num(p, 2) == tag) {
			*got = (uint32_t)n;
			return n >= least ? p + 8 : NULL;
		}
		if (step >= len)
			return NULL;
		p += step;
		len -= step;
	}
	return NULL;
}

static void take_admin(struct ctrl *mc, const uint8_t *props, const uint8_t *admin)
{
	uint32_t aqa = (uint32_t)num(props + 32, 4), cc = (uint32_t)num(props + 24, 4);
	struct mcq *q = ctrl_cq_new(mc, 0, (aqa >> 16 & 0xfff) + 1, num(props + 16, 8), true, true, 0);
	struct msq *s = ctrl_sq_new(mc, 0, (aqa & 0xfff) + 1, num(props + 8, 8), true, 0);

	memcpy(mc->regs + NVME_REG_CC, props + 24, 4);
	memcpy(mc->regs + NVME_REG_AQA, props + 32, 4);
	memcpy(mc->regs + NVME_REG_ASQ, props + 8, 8);
	memcpy(mc->regs + NVME_REG_ACQ, props + 16, 8);
	mc->page_bytes = 4096ull << MIN(cc >> NVME_CC_MPS_SHIFT & 0xf, 4u);
	mc->enabled = mc->sure = true;
	if (!q || !s)
		return;
	q->head = (uint16_t)(num(admin + 4, 2) % q->size);
	q->tail = (uint16_t)(num(admin + 6, 2) % q->size);
	q->phase = admin[8] & 1;
	s->head = s->seen = (uint16_t)(num(admin, 2) % s->size);
	queue_advance(mc, s, (uint16_t)(num(admin + 2, 2) % s->size));
}

/* Commands whose completion is still to come, though they were fetched elsewhere. */
static void take_out(struct ctrl *mc, uint16_t sq, uint16_t cid, uint8_t opc)
{
	struct msq *q = ctrl_sq(mc, sq);
	struct nvme_sqe s = { .opc = opc, .cid = le16_of(cid) };
	struct cmd *k;

	if (!q)
		return;
	cmd_seen(mc, q, q->head, &s);
	k = cmd_find(q, cid);
	q->known--;
	if (k)
		k->nth = 0;
}

static bool take_vendor(struct ctrl *mc, const uint8_t *p, uint64_t len)
{
	uint32_t n = 0;
	const uint8_t *format = find(p, len, TAG_FORMAT, 4, &n), *props = find(p, len, TAG_PROPS, 41, &n), *admin = find(p, len, TAG_ADMIN, 12, &n);
	const uint8_t *r;

	if (!format || num(format, 4) != 1 || !props || !admin)
		return false;
	if (props[40])
		take_admin(mc, props, admin);
	n = 0;
	r = find(p, len, TAG_AERS, 0, &n);
	for (uint32_t i = 0; r && i + 4 <= n; i += 4)
		take_out(mc, 0, (uint16_t)num(r + i, 2), NVME_OP_AER);
	n = 0;
	r = find(p, len, TAG_HELD, 0, &n);
	for (uint32_t i = 0; r && i + 20 <= n; i += 20)
		take_out(mc, (uint16_t)num(r + i + 4 + 10, 2), (uint16_t)num(r + i + 4 + 12, 2), NVME_NVM_FLUSH);
	return true;
}

void state_taken(struct ctrl *mc, const uint8_t *p, uint32_t len)
{
	struct nvme_state_head h;
	uint64_t css, vss;

	if (len < sizeof(h))
		return;
	memcpy(&h, p, sizeof(h));
	css = le64_get(h.nvmecss);
	vss = le64_get(h.vss);
	len -= (uint32_t)sizeof(h);
	p += sizeof(h);
	if (css > len / 4 || vss > len / 4 - css)
		return;
	if (css)
		take_queues(mc, p, 4 * css);
	if (vss && !take_vendor(mc, p + 4 * css, 4 * vss))
		mc->sure = false;
	for (unsigned i = 0; i < mc->cqs && !mc->suspended; i++) /* it goes on at once */
		if (mc->cq[i])
			cq_look(mc, mc->cq[i]);
}
