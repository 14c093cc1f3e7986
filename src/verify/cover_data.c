/* Classes of the structures migration commands carry: state images that are sent whole, pieces of such images by where they lie, and the
 * ranges of Track Memory Changes. They are read from the host's memory as the controller will, once, before it does.
 */
#include "verify/cover_in.h"

enum { QID_MAX = 64 };

static void seen(struct cov *v, enum cov_data d) { cov_cross(v, COV_DATA, d, 0, 0, 0, 0); }
static void seen_if(struct cov *v, bool is, enum cov_data d)
{
	if (is)
		seen(v, d);
}

/* What a command's PRP1 points at, as far as it lies in the controller's memory. */
static const uint8_t *data_at(const struct vctl *c, const struct nvme_sqe *s, uint64_t want, uint64_t *len)
{
	uint64_t at = le64_get(s->prp1) - c->iova;

	if (!c->mem || !c->port || at >= c->bytes)
		return NULL;
	*len = MIN(want, c->bytes - at);
	return c->mem + at;
}

static struct vctl *target_of(struct vctl *mmc, uint16_t cntlid)
{
	struct mctrl *x = model_ctrl(mmc->t->model, cntlid);

	return x && !x->c->mmc ? x->c : NULL;
}

/* ---- images */

struct image {
	struct nvme_state_head h;
	struct nvme_state_v0 v0;
	const uint8_t *lists;
	unsigned sqs, cqs;		/* that are there */
	uint64_t behind;		/* bytes behind the lists */
};

static struct nvme_state_sq sq_at(const struct image *m, unsigned i)
{
	struct nvme_state_sq s;

	memcpy(&s, m->lists + sizeof(s) * i, sizeof(s));
	return s;
}

static struct nvme_state_cq cq_at(const struct image *m, unsigned i)
{
	struct nvme_state_cq s;

	memcpy(&s, m->lists + sizeof(s) * (m->sqs + i), sizeof(s));
	return s;
}

static void sizes(struct cov *v, const struct image *m, uint64_t len)
{
	uint64_t css = le64_get(m->h.nvmecss), need = 2 + 6ull * (le16_get(m->v0.niosq) + le16_get(m->v0.niocq));
	bool high = le64_get(m->h.nvmecss_hi), lists_fit = need * 4 + 48 <= len;

	seen_if(v, high, CD_IMAGE_CSS_HIGH);
	seen_if(v, css >> 63, CD_IMAGE_CSS_63);
	seen_if(v, !css && !high, CD_IMAGE_CSS_0);
	seen_if(v, css > (len - 48) / 4 && !(css >> 63) && !high, CD_IMAGE_CSS_MORE);
	seen_if(v, css && css < need && lists_fit && !high, CD_IMAGE_CSS_LESS);
	seen_if(v, le64_get(m->h.vss), CD_IMAGE_VSS);
	seen_if(v, le64_get(m->h.vss_hi), CD_IMAGE_VSS_HIGH);
	seen_if(v, !le16_get(m->v0.niosq) && css > 2 && !(css >> 40), CD_IMAGE_SQ_0);
	seen_if(v, !le16_get(m->v0.niocq) && css > 2 && !(css >> 40), CD_IMAGE_CQ_0);
	seen_if(v, le16_get(m->v0.niosq) == 65535, CD_IMAGE_SQ_MANY);
	seen_if(v, le16_get(m->v0.niocq) == 65535, CD_IMAGE_CQ_MANY);
	seen_if(v, css == need && lists_fit && len > need * 4 + 48 && !le64_get(m->h.vss), CD_IMAGE_TRAILING);
}

/* Marks of one queue's members; a good image has none. */
struct marks { bool bad[CD_COUNT]; };

static void ring(struct marks *k, const struct vctl *to, uint64_t prp, unsigned size0, unsigned head, unsigned tail)
{
	k->bad[CD_IMAGE_SIZE_0] |= !size0;
	k->bad[CD_IMAGE_SIZE_HIGH] |= to && size0 > (to->cap & 0xffff);
	k->bad[CD_IMAGE_HEAD] |= head > size0;
	k->bad[CD_IMAGE_TAIL] |= tail > size0;
	k->bad[CD_IMAGE_OFFSET] |= (prp & (VT_PAGE - 1)) != 0;
	k->bad[CD_IMAGE_NOWHERE] |= to && prp - to->iova >= to->bytes;
}

static void ids(struct marks *k, unsigned qid, unsigned before, bool first)
{
	k->bad[CD_IMAGE_QID_0] |= !qid;
	k->bad[CD_IMAGE_QID_HIGH] |= qid > QID_MAX;
	k->bad[CD_IMAGE_QID_TWICE] |= !first && qid == before;
	k->bad[CD_IMAGE_QID_ORDER] |= !first && qid < before && qid;
}

static bool has_cq(const struct image *m, unsigned qid)
{
	for (unsigned i = 0; i < m->cqs; i++) {
		struct nvme_state_cq q = cq_at(m, i);

		if (le16_get(q.qid) == qid)
			return true;
	}
	return false;
}

static void queues(struct marks *k, const struct image *m, const struct vctl *to)
{
	unsigned before = 0;

	for (unsigned i = 0; i < m->sqs; i++) {
		struct nvme_state_sq q = sq_at(m, i);

		ring(k, to, le64_get(q.prp1), le16_get(q.qsize0), le16_get(q.head), le16_get(q.tail));
		ids(k, le16_get(q.qid), before, !i);
		before = le16_get(q.qid);
		k->bad[CD_IMAGE_CQID] |= !has_cq(m, le16_get(q.cqid));
		k->bad[CD_IMAGE_PC_0] |= !(le16_get(q.attr) & 1);
		k->bad[CD_IMAGE_QPRIO] |= le16_get(q.attr) & 6;
		k->bad[CD_IMAGE_RESERVED] |= le16_get(q.attr) & 0xfff8;
	}
	for (unsigned i = 0; i < m->cqs; i++) {
		struct nvme_state_cq q = cq_at(m, i);

		ring(k, to, le64_get(q.prp1), le16_get(q.qsize0), le16_get(q.head), le16_get(q.tail));
		ids(k, le16_get(q.qid), before, !i);
		before = le16_get(q.qid);
		k->bad[CD_IMAGE_PC_0] |= !(le32_get(q.attr) & NVME_STATE_CQ_PC);
		k->bad[CD_IMAGE_IV] |= le32_get(q.attr) >> NVME_STATE_CQ_IV_SHIFT == 65535;
		k->bad[CD_IMAGE_RESERVED] |= le32_get(q.attr) & 0xfff8;
	}
}

static void image(struct cov *v, struct vctl *c, const struct nvme_sqe *s)
{
	struct vctl *to = target_of(c, (uint16_t)vf_get(s, VF_SET_STATE_cntlid));
	uint64_t want = 4ull * vf_get(s, VF_SET_STATE_numd), len = 0;
	const uint8_t *p = data_at(c, s, want, &len);
	struct marks k = { { false } };
	struct image m = { .lists = NULL };
	bool good;

	if (!p || len < want || vf_get(s, VF_SET_STATE_csvi) != 1 || vf_get(s, VF_SET_STATE_csuuidi) || vf_get(s, VF_SET_STATE_csol))
		return;
	if (len < sizeof(m.h) + sizeof(m.v0)) {
		seen(v, CD_IMAGE_CUT);
		return;
	}
	memcpy(&m.h, p, sizeof(m.h));
	memcpy(&m.v0, p + sizeof(m.h), sizeof(m.v0));
	m.lists = p + sizeof(m.h) + sizeof(m.v0);
	m.behind = len - sizeof(m.h) - sizeof(m.v0);
	k.bad[CD_IMAGE_VER] = le16_get(m.h.ver);
	k.bad[CD_IMAGE_INNER_VER] = le16_get(m.v0.ver);
	k.bad[CD_IMAGE_CP_0] = !(m.h.csattr & NVME_CSATTR_CP);
	k.bad[CD_IMAGE_CUT] = le64_get(m.h.nvmecss) == 2 + 6ull * (le16_get(m.v0.niosq) + le16_get(m.v0.niocq)) && len < 48 + 4 * le64_get(m.h.nvmecss);
	m.sqs = le16_get(m.v0.niosq);
	m.cqs = le16_get(m.v0.niocq);
	sizes(v, &m, len);
	good = le64_get(m.h.nvmecss) == 2 + 6ull * (m.sqs + m.cqs) && !le64_get(m.h.vss) && len == 48 + 4 * le64_get(m.h.nvmecss);
	if (24ull * (m.sqs + m.cqs) <= m.behind)
		queues(&k, &m, to);
	for (unsigned i = 0; i < CD_COUNT; i++) {
		seen_if(v, k.bad[i], (enum cov_data)i);
		good &= !k.bad[i];
	}
	seen_if(v, good && m.sqs, CD_IMAGE_GOOD);
}

/* ---- pieces */

static void piece(struct cov *v, struct vctl *c, const struct nvme_sqe *s)
{
	struct vctl *to = target_of(c, (uint16_t)vf_get(s, VF_SET_STATE_cntlid));
	struct mctrl *x = to ? model_ctrl(c->t->model, to->cntlid) : NULL;
	unsigned seq = vf_get(s, VF_SET_STATE_seqind);
	struct cov_piece now = { vf_get(s, VF_SET_STATE_csol), vf_get(s, VF_SET_STATE_csol) + 4ull * vf_get(s, VF_SET_STATE_numd) }, *last;

	if (!to || seq == 3 || vf_get(s, VF_SET_STATE_csou) || now.end - now.at > MIB)
		return;
	last = &v->piece[to->index];
	if (seq != 1 && x->partial && now.end > now.at) {
		bool again = now.at == last->at && now.end == last->end;

		seen_if(v, now.at == last->end, CD_PIECE_NEXT);
		seen_if(v, again, CD_PIECE_AGAIN);
		seen_if(v, !again && now.at < last->end, CD_PIECE_OVERLAP);
		seen_if(v, now.at > last->end, CD_PIECE_GAP);
	}
	*last = now;
}

/* ---- ranges */

static bool overlap(const struct nvme_track_mem_range *a, const struct nvme_track_mem_range *b, uint64_t unit)
{
	return le64_get(a->saddr) < le64_get(b->saddr) + unit * le32_get(b->len) && le64_get(b->saddr) < le64_get(a->saddr) + unit * le32_get(a->len);
}

static void one_range(struct cov *v, const struct vctl *of, const struct nvme_track_mem_range *r, uint64_t unit)
{
	uint64_t at = le64_get(r->saddr);

	seen_if(v, at % unit, CD_RANGE_MISALIGNED);
	seen_if(v, of && at - of->iova >= of->bytes, CD_RANGE_NOWHERE);
	seen_if(v, !le32_get(r->len), CD_RANGE_EMPTY);
	seen_if(v, of && at - of->iova < of->bytes && unit * le32_get(r->len) > of->bytes, CD_RANGE_LONG);
}

static void ranges(struct cov *v, struct vctl *c, const struct nvme_sqe *s)
{
	struct vctl *of = target_of(c, (uint16_t)vf_get(s, VF_TRACK_MEM_cntlid));
	struct nvme_track_mem_range r, before = { .len = le32_of(0) };
	struct nvme_track_mem h;
	uint64_t len, unit;
	uint32_t n;
	const uint8_t *p = data_at(c, s, VT_PAGE, &len);

	if (!p || len < sizeof(h))
		return;
	memcpy(&h, p, sizeof(h));
	n = le32_get(h.rnmrtd);
	seen_if(v, h.ver, CD_RANGE_VER);
	seen_if(v, h.rmrtg < c->id.minmrtg, CD_RANGE_UNDER);
	seen_if(v, h.rmrtg == c->id.minmrtg, CD_RANGE_MIN);
	seen_if(v, h.rmrtg == c->id.maxmrtg, CD_RANGE_MAX);
	seen_if(v, h.rmrtg > c->id.maxmrtg, CD_RANGE_OVER);
	seen_if(v, !n, CD_RANGE_NONE);
	seen_if(v, n == 1, CD_RANGE_ONE);
	seen_if(v, n > 1 && n <= le16_get(c->id.cmmrtd), CD_RANGE_SEVERAL);
	seen_if(v, n > le16_get(c->id.cmmrtd), CD_RANGE_MANY);
	if (h.rmrtg > c->id.maxmrtg)
		return;
	unit = (uint64_t)VT_PAGE << h.rmrtg;
	for (uint32_t i = 0; i < n && sizeof(h) + sizeof(r) * (i + 1) <= len; i++, before = r) {
		memcpy(&r, p + sizeof(h) + sizeof(r) * i, sizeof(r));
		one_range(v, of, &r, unit);
		seen_if(v, i && le32_get(r.len) && le32_get(before.len) && overlap(&r, &before, unit), CD_RANGE_OVERLAP);
	}
}

void cov_data_sent(struct cov *v, struct vctl *c, const struct nvme_sqe *s)
{
	if (!c->mmc)
		return;
	if (vop_of(s) == VOP_SET_STATE) {
		piece(v, c, s);
		if (vf_get(s, VF_SET_STATE_seqind) == 3)
			image(v, c, s);
	}
	if (vop_of(s) == VOP_TRACK_MEM && vf_get(s, VF_TRACK_MEM_tact))
		ranges(v, c, s);
}
