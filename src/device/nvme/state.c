/* A controller's state image (Base 2.1, Controller State data structure): a 48-byte head, the standard part (version 0: the
 * I/O queues) and our vendor part (state_vsd.c). docs/stream.md describes it byte by byte.
 *
 * Loading judges everything before it changes anything: the image came over a network. Called by migration.c. Device thread.
 */
#include "base/log.h"
#include "device/nvme/core.h"
#include "device/nvme/state.h"

uint64_t nvme_state_now(struct nvme_ctrl *c)
{
	return c->suspend == NVME_SUSPENDED ? c->suspended_at_ns : nvme_now(c);
}

/* ---- out */

/* S0PT is the phase tag in slot 0: that of the present pass once something is in it, of the pass before until then. */
static bool s0pt_of(const struct nvme_cq *cq)
{
	return cq->tail ? cq->phase : !cq->phase;
}
static bool phase_of(uint16_t tail, bool s0pt)
{
	return tail ? s0pt : !s0pt;
}

static void sq_save(const struct nvme_sq *sq, struct buf *out)
{
	struct nvme_state_sq e = {
		.prp1 = le64_of(sq->prp1), .qsize0 = le16_of((uint16_t)(sq->size - 1)), .qid = le16_of(sq->qid),
		.cqid = le16_of(sq->cqid), .attr = le16_of((uint16_t)(1 | sq->prio << 1)), .head = le16_of(sq->head),
		.tail = le16_of(sq->tail),
	};

	buf_add(out, &e, sizeof(e));
}

static void cq_save(const struct nvme_cq *cq, struct buf *out)
{
	struct nvme_state_cq e = {
		.prp1 = le64_of(cq->prp1), .qsize0 = le16_of((uint16_t)(cq->size - 1)), .qid = le16_of(cq->qid),
		.head = le16_of(cq->head), .tail = le16_of(cq->tail),
		.attr = le32_of(NVME_STATE_CQ_PC | (cq->ien ? NVME_STATE_CQ_IEN : 0) | (s0pt_of(cq) ? NVME_STATE_CQ_S0PT : 0) |
				(uint32_t)cq->iv << NVME_STATE_CQ_IV_SHIFT),
	};

	buf_add(out, &e, sizeof(e));
}

static void v0_save(struct nvme_ctrl *c, struct buf *out)
{
	struct nvme_state_v0 h = { 0 };
	unsigned nsq = 0, ncq = 0;
	size_t at = out->len;

	buf_grow(out, sizeof(h));
	for (unsigned i = 1; i <= NVME_IOQ_MAX; i++)
		if (c->sq[i].live) {
			sq_save(&c->sq[i], out);
			nsq++;
		}
	for (unsigned i = 1; i <= NVME_IOQ_MAX; i++)
		if (c->cq[i].live) {
			cq_save(&c->cq[i], out);
			ncq++;
		}
	h.niosq = le16_of((uint16_t)nsq);
	h.niocq = le16_of((uint16_t)ncq);
	if (!out->failed)
		memcpy(out->data + at, &h, sizeof(h));
}

nvme_status nvme_state_save(struct nvme_ctrl *c, unsigned csvi, unsigned csuuidi, bool suspended, struct buf *out)
{
	struct nvme_state_head h = { .csattr = suspended ? NVME_CSATTR_CP : 0 };
	size_t at = out->len, v0_at, vsd_at;

	if (csvi > 1 || csuuidi > 1)
		return NVME_INVALID_FIELD;
	nvme_doorbells_latch(c);
	buf_grow(out, sizeof(h));
	v0_at = out->len;
	if (csvi)
		v0_save(c, out);
	vsd_at = out->len;
	if (csuuidi)
		nvme_vsd_save(c, csvi, out);
	if (out->failed)
		return NVME_NOT_ENOUGH_RESOURCES;
	h.nvmecss = le64_of((vsd_at - v0_at) / 4);
	h.vss = le64_of((out->len - vsd_at) / 4);
	memcpy(out->data + at, &h, sizeof(h));
	return NVME_SUCCESS;
}

/* ---- in: judging */

struct outer { const uint8_t *v0, *vsd; uint64_t v0_len, vsd_len; };

/* Counts are dwords and may lie. Bytes behind the image are ignored: a host may send a whole buffer. */
static nvme_status outer_parse(unsigned csvi, unsigned csuuidi, const uint8_t *p, size_t len, struct outer *o)
{
	const struct nvme_state_head *h = (const void *)p;
	uint64_t css, vss;

	if (csvi > 1 || csuuidi > 1 || (!csvi && !csuuidi) || len < sizeof(*h))
		return NVME_INVALID_FIELD;
	css = le64_get(h->nvmecss);
	vss = le64_get(h->vss);
	if (le16_get(h->ver) || le64_get(h->nvmecss_hi) || le64_get(h->vss_hi))
		return NVME_INVALID_FIELD;
	len = (len - sizeof(*h)) / 4;
	if (css > len || vss > len - css || (!csvi && css) || (!csuuidi && vss))
		return NVME_INVALID_FIELD;
	*o = (struct outer){ p + sizeof(*h), p + sizeof(*h) + css * 4, css * 4, vss * 4 };
	return NVME_SUCCESS;
}

/* A queue id we could never have is an image made by somebody with more queues than we offer. */
static nvme_status judge_qid(const struct nvme_ctrl *c, uint16_t qid)
{
	if (!qid)
		return NVME_INVALID_FIELD;
	return qid > MIN(c->max_ioq, NVME_IOQ_MAX) ? NVME_NOT_ENOUGH_RESOURCES : NVME_SUCCESS;
}

static bool ring_good(uint64_t prp1, unsigned qsize0, unsigned head, unsigned tail)
{
	return prp1 % NVME_PAGE == 0 && qsize0 >= 1 && qsize0 < NVME_QSIZE_MAX && head <= qsize0 && tail <= qsize0;
}

static nvme_status judge_cq(const struct nvme_ctrl *c, struct nvme_v0 *v, const struct nvme_state_cq *e)
{
	uint32_t attr = le32_get(e->attr), known = NVME_STATE_CQ_PC | NVME_STATE_CQ_IEN | NVME_STATE_CQ_S0PT;
	nvme_status st = judge_qid(c, le16_get(e->qid));

	if (st)
		return st;
	if (v->cq_by_id[le16_get(e->qid)] || !(attr & NVME_STATE_CQ_PC) || (attr & 0xffff & ~known) ||
	    attr >> NVME_STATE_CQ_IV_SHIFT >= c->pci.msix_count ||
	    !ring_good(le64_get(e->prp1), le16_get(e->qsize0), le16_get(e->head), le16_get(e->tail)))
		return NVME_INVALID_FIELD;
	v->cq_by_id[le16_get(e->qid)] = e;
	return NVME_SUCCESS;
}

static nvme_status judge_sq(const struct nvme_ctrl *c, struct nvme_v0 *v, const struct nvme_state_sq *e)
{
	uint16_t cqid = le16_get(e->cqid), attr = le16_get(e->attr);
	nvme_status st = judge_qid(c, le16_get(e->qid));

	if (st)
		return st;
	if (v->sq_by_id[le16_get(e->qid)] || cqid > NVME_IOQ_MAX || !v->cq_by_id[cqid] || !(attr & 1) || attr >> 3 ||
	    !ring_good(le64_get(e->prp1), le16_get(e->qsize0), le16_get(e->head), le16_get(e->tail)))
		return NVME_INVALID_FIELD;
	v->sq_by_id[le16_get(e->qid)] = e;
	return NVME_SUCCESS;
}

static bool has_io_queues(const struct nvme_ctrl *c)
{
	for (unsigned i = 1; i <= NVME_IOQ_MAX; i++)
		if (c->sq[i].live || c->cq[i].live)
			return true;
	return false;
}

static nvme_status v0_judge(const struct nvme_ctrl *c, const uint8_t *p, uint64_t len, struct nvme_v0 *v)
{
	const struct nvme_state_v0 *h = (const void *)p;
	nvme_status st = NVME_SUCCESS;

	if (!len)
		return NVME_SUCCESS;
	if (has_io_queues(c) || len < sizeof(*h) || le16_get(h->ver))
		return NVME_INVALID_FIELD;
	v->nsq = le16_get(h->niosq);
	v->ncq = le16_get(h->niocq);
	if (len != sizeof(*h) + (uint64_t)v->nsq * sizeof(*v->sq) + (uint64_t)v->ncq * sizeof(*v->cq))
		return NVME_INVALID_FIELD;
	v->sq = (const void *)(p + sizeof(*h));
	v->cq = (const void *)(v->sq + v->nsq);
	for (unsigned i = 0; !st && i < v->ncq; i++)
		st = judge_cq(c, v, &v->cq[i]);
	for (unsigned i = 0; !st && i < v->nsq; i++)
		st = judge_sq(c, v, &v->sq[i]);
	return st;
}

/* ---- in: installing */

static nvme_status cq_install(struct nvme_ctrl *c, const struct nvme_state_cq *e)
{
	uint32_t attr = le32_get(e->attr);
	uint16_t qid = le16_get(e->qid);
	nvme_status st = nvme_cq_create(c, qid, le16_get(e->qsize0) + 1u, le64_get(e->prp1), attr & NVME_STATE_CQ_IEN,
					(uint16_t)(attr >> NVME_STATE_CQ_IV_SHIFT));

	if (st)
		return st;
	c->cq[qid].head = le16_get(e->head);
	c->cq[qid].tail = le16_get(e->tail);
	c->cq[qid].phase = phase_of(c->cq[qid].tail, attr & NVME_STATE_CQ_S0PT);
	c->db[2 * qid + 1] = c->cq[qid].head;
	return NVME_SUCCESS;
}

static nvme_status sq_install(struct nvme_ctrl *c, const struct nvme_state_sq *e)
{
	uint16_t qid = le16_get(e->qid);
	nvme_status st = nvme_sq_create(c, qid, le16_get(e->cqid), le16_get(e->qsize0) + 1u, le64_get(e->prp1),
					(uint8_t)(le16_get(e->attr) >> 1 & 3));

	if (st)
		return st;
	c->sq[qid].head = le16_get(e->head);
	c->sq[qid].tail = le16_get(e->tail);
	c->db[2 * qid] = c->sq[qid].tail;
	return NVME_SUCCESS;
}

static nvme_status v0_install(struct nvme_ctrl *c, const struct nvme_v0 *v)
{
	nvme_status st = NVME_SUCCESS;

	for (unsigned i = 0; !st && i < v->ncq; i++)
		st = cq_install(c, &v->cq[i]);
	for (unsigned i = 0; !st && i < v->nsq; i++)
		st = sq_install(c, &v->sq[i]);
	if (!st)
		return st;
	for (unsigned i = 1; i <= NVME_IOQ_MAX; i++)
		if (c->sq[i].live)
			nvme_sq_delete(&c->sq[i]);
	for (unsigned i = 1; i <= NVME_IOQ_MAX; i++)
		if (c->cq[i].live)
			nvme_cq_delete(&c->cq[i]);
	return st;
}

/* With our part nothing is refused any more: what creating a queue could object to has been judged. The standard part alone
 * meets a controller with its own entry sizes (CC.IOSQES), which create judges; then nothing stays. */
static nvme_status install(struct nvme_ctrl *c, const struct nvme_v0 *v, const struct nvme_vsd *in)
{
	nvme_status st;

	if (in)
		nvme_vsd_install(c, in);
	st = v0_install(c, v);
	if (!st && in)
		nvme_vsd_install_queues(c, in);
	return st;
}

/* Our part replaces the whole controller, so nobody may be using it: suspended, or offline. The standard part alone may also
 * be given to a running one (Base 2.1, Set Controller State). */
nvme_status nvme_state_load(struct nvme_ctrl *c, unsigned csvi, unsigned csuuidi, const void *image, size_t len)
{
	struct nvme_v0 v = { 0 };
	struct nvme_vsd in = { 0 };
	struct outer o;
	nvme_status st = outer_parse(csvi, csuuidi, image, len, &o);

	if (!st)
		st = v0_judge(c, o.v0, o.v0_len, &v);
	if (!st && o.vsd_len)
		st = nvme_vsd_judge(c, &v, o.vsd, o.vsd_len, &in);
	if (!st)
		st = install(c, &v, o.vsd_len ? &in : NULL);
	nvme_vsd_fini(&in);
	if (st)
		log_info("nvme: controller %u refuses a state image of %zu bytes: %s", c->cntlid, len, nvme_status_name(st));
	return st;
}
