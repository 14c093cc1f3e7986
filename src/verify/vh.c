/* Migration commands for tests. See vh.h. */
#include "verify/vh.h"

#include "verify/cover.h"
#include "verify/vt_in.h"

/* ---- commands */

unsigned vh_cdq(struct vctl *mmc, uint16_t cntlid, uint32_t slots, struct vring *r, const uint16_t *want)
{
	struct vmem m = vt_mem(mmc, slots * 32);
	struct nvme_sqe s;
	unsigned st;

	for (uint32_t i = 0; i < slots; i++) /* the host clears the phase; what an entry says of the rest is the controller's */
		memset(m.p + 32 * i, 0xa5, 31);

	vop_init(&s, VOP_CDQ_CREATE);
	vf_put(&s, VF_CDQ_CREATE_pc, 1);
	vf_put(&s, VF_CDQ_CREATE_cntlid, cntlid);
	vf_put(&s, VF_CDQ_CREATE_cdqsize, slots * 8);
	s.prp1 = le64_of(m.iova);
	st = vt_do(mmc, 0, &s, want);
	if (r)
		*r = (struct vring){ .mmc = mmc, .m = m, .id = (uint16_t)le32_get(mmc->t->last.dw0), .slots = slots, .phase = true };
	if (st == S_OK)
		VEQ(mmc->t, le32_get(mmc->t->last.dw0) >> 16, 0, "DW0 31:16 of CDQ create");
	return st;
}

unsigned vh_cdq_delete(struct vctl *mmc, uint16_t id, const uint16_t *want)
{
	struct nvme_sqe s;

	vop_init(&s, VOP_CDQ_DELETE);
	vf_put(&s, VF_CDQ_DELETE_cdqid, id);
	return vt_do(mmc, 0, &s, want);
}

unsigned vh_log(struct vctl *mmc, uint16_t id, unsigned lact, const uint16_t *want)
{
	struct nvme_sqe s;

	vop_init(&s, VOP_LOG);
	vf_put(&s, VF_LOG_lact, lact);
	vf_put(&s, VF_LOG_cdqid, id);
	return vt_do(mmc, 0, &s, want);
}

unsigned vh_set_cdq(struct vctl *mmc, uint16_t id, uint32_t hp, bool etpt, uint32_t tpt, const uint16_t *want)
{
	struct nvme_sqe s;

	vop_init(&s, VOP_SET_CDQ);
	vf_put(&s, VF_SET_CDQ_cdqid, id);
	vf_put(&s, VF_SET_CDQ_etpt, etpt);
	vf_put(&s, VF_SET_CDQ_hp, hp);
	vf_put(&s, VF_SET_CDQ_tpt, tpt);
	return vt_do(mmc, 0, &s, want);
}

unsigned vh_get_cdq(struct vctl *mmc, uint16_t id, uint32_t *hp, uint32_t *tpt, bool *etpt, const uint16_t *want)
{
	struct vmem m = vt_mem(mmc, VT_PAGE);
	struct nvme_sqe s;
	le32 w[2];
	unsigned st;

	vop_init(&s, VOP_GET_CDQ);
	vf_put(&s, VF_GET_CDQ_cdqid, id);
	st = vt_do_data(mmc, 0, &s, &m, 512, want);
	memcpy(w, m.p, sizeof(w));
	if (hp)
		*hp = le32_get(w[0]);
	if (tpt)
		*tpt = le32_get(w[1]);
	if (etpt)
		*etpt = le32_get(mmc->t->last.dw0) >> 31;
	if (st == S_OK) {
		VEQ(mmc->t, le32_get(mmc->t->last.dw0) & 0xffff, id, "CDQID in DW0 of Get Features 21h");
		VEQ(mmc->t, le32_get(mmc->t->last.dw0) >> 16 & 0x7fff, 0, "reserved bits in DW0 of Get Features 21h");
	}
	return st;
}

unsigned vh_suspend(struct vctl *mmc, uint16_t cntlid, unsigned stype, bool dudmq, const uint16_t *want)
{
	struct nvme_sqe s;

	vop_init(&s, VOP_SUSPEND);
	vf_put(&s, VF_SUSPEND_cntlid, cntlid);
	vf_put(&s, VF_SUSPEND_stype, stype);
	vf_put(&s, VF_SUSPEND_dudmq, dudmq);
	return vt_do(mmc, 0, &s, want);
}

unsigned vh_resume(struct vctl *mmc, uint16_t cntlid, const uint16_t *want)
{
	struct nvme_sqe s;

	vop_init(&s, VOP_RESUME);
	vf_put(&s, VF_RESUME_cntlid, cntlid);
	return vt_do(mmc, 0, &s, want);
}

unsigned vh_get(struct vctl *mmc, uint16_t cntlid, unsigned csvi, unsigned csuuidi, uint64_t off, const struct vmem *m, uint32_t len,
		const uint16_t *want)
{
	struct nvme_sqe s;

	vop_init(&s, VOP_GET_STATE);
	vf_put(&s, VF_GET_STATE_cntlid, cntlid);
	vf_put(&s, VF_GET_STATE_csvi, csvi);
	vf_put(&s, VF_GET_STATE_csuuidi, csuuidi);
	vf_put(&s, VF_GET_STATE_ol, (uint32_t)off);
	vf_put(&s, VF_GET_STATE_ou, (uint32_t)(off >> 32));
	vf_put(&s, VF_GET_STATE_numdl, len / 4 - 1);
	return vt_do_data(mmc, 0, &s, m, len, want);
}

unsigned vh_set(struct vctl *mmc, uint16_t cntlid, unsigned seqind, unsigned csvi, unsigned csuuidi, uint64_t off, const struct vmem *m,
		uint32_t dwords, const uint16_t *want)
{
	struct nvme_sqe s;

	vop_init(&s, VOP_SET_STATE);
	vf_put(&s, VF_SET_STATE_cntlid, cntlid);
	vf_put(&s, VF_SET_STATE_seqind, seqind);
	vf_put(&s, VF_SET_STATE_csvi, csvi);
	vf_put(&s, VF_SET_STATE_csuuidi, csuuidi);
	vf_put(&s, VF_SET_STATE_csol, (uint32_t)off);
	vf_put(&s, VF_SET_STATE_csou, (uint32_t)(off >> 32));
	vf_put(&s, VF_SET_STATE_numd, dwords);
	if (!m || !dwords)
		return vt_do(mmc, 0, &s, want);
	return vt_do_data(mmc, 0, &s, m, dwords * 4, want);
}

unsigned vh_track(struct vctl *mmc, uint16_t cntlid, bool on, unsigned rmrtg, const struct vrange *r, unsigned n, const uint16_t *want)
{
	struct vmem m = vt_mem(mmc, 8 + 12 * n);
	struct nvme_track_mem head = { .rmrtg = (uint8_t)rmrtg, .rnmrtd = le32_of(n) };
	struct nvme_sqe s;

	memcpy(m.p, &head, sizeof(head));
	for (unsigned i = 0; i < n; i++) {
		struct nvme_track_mem_range d = { .saddr = le64_of(r[i].addr), .len = le32_of(r[i].len) };

		memcpy(m.p + 8 + 12 * i, &d, sizeof(d));
	}
	vop_init(&s, VOP_TRACK_MEM);
	vf_put(&s, VF_TRACK_MEM_tact, on);
	vf_put(&s, VF_TRACK_MEM_cntlid, cntlid);
	return vt_do_data(mmc, 0, &s, &m, 8 + 12 * n, want);
}

unsigned vh_receive(struct vctl *mmc, uint16_t cntlid, const struct vmem *m, uint32_t len, const uint16_t *want)
{
	struct nvme_sqe s;

	memset(m->p, 0, len);
	vop_init(&s, VOP_TRACK_RECV);
	vf_put(&s, VF_TRACK_RECV_cntlid, cntlid);
	vf_put(&s, VF_TRACK_RECV_numdl, len / 4 - 1);
	return vt_do_data(mmc, 0, &s, m, len, want);
}

unsigned vh_feature(struct vctl *c, bool set, unsigned fid, uint32_t cdw11, uint32_t cdw12, const uint16_t *want)
{
	struct nvme_sqe s = { .opc = set ? NVME_OP_SET_FEATURES : NVME_OP_GET_FEATURES, .cdw10 = le32_of(fid), .cdw11 = le32_of(cdw11),
			      .cdw12 = le32_of(cdw12) };

	return vt_do(c, 0, &s, want);
}

unsigned vh_identify(struct vctl *c, unsigned cns, uint32_t nsid, unsigned cntid, unsigned csi, struct vmem *out, const uint16_t *want)
{
	struct nvme_sqe s = { .opc = NVME_OP_IDENTIFY, .nsid = le32_of(nsid), .cdw10 = le32_of(cns | cntid << 16), .cdw11 = le32_of(csi << 24) };

	*out = c->port ? vt_mem(c, VT_PAGE) : (struct vmem){ c->mem, 0, VT_PAGE };
	return vt_do_data(c, 0, &s, out, VT_PAGE, want);
}

/* ---- the ring */

static void judge_entry(struct vt *t, const struct ventry *e)
{
	VEXPECT(t, e->esa <= ESA_SUSPENDED || e->esa == ESA_FULL, "CDQ entry with reserved ESA %u", e->esa);
	VEXPECT(t, e->lbacir != 3, "CDQ entry with reserved LBACIR 11b");
	VEXPECT(t, !(e->raw[31] & 1 << 4), "CDQ entry: reserved bit 4 of byte 31 is set");
	for (unsigned i = 16; i < 31; i++)
		VEXPECT(t, !e->raw[i], "CDQ entry: reserved byte %u is %02xh", i, e->raw[i]);
	VEXPECT(t, e->esa != ESA_NONE || e->lbacir == 0, "CDQ entry with ESA 000b has LBACIR %u", e->lbacir);
	if (e->lbacir == 2)
		VEXPECT(t, !e->nsid && !e->slba && e->nlb == 1, "CDQ entry without a range names NSID %u, SLBA %llu, NLB %llu", e->nsid,
			(unsigned long long)e->slba, (unsigned long long)e->nlb - 1);
	if (e->lbacir == 1)
		VEXPECT(t, e->nsid && !e->slba, "CDQ entry for a whole namespace has NSID %u, SLBA %llu", e->nsid, (unsigned long long)e->slba);
}

bool vh_next(struct vring *r, struct ventry *e)
{
	uint8_t *slot = r->m.p + 32u * r->head, last = __atomic_load_n(slot + 31, __ATOMIC_ACQUIRE);
	struct nvme_lbamq q;

	if ((last & 1) != r->phase)
		return false;
	memcpy(&q, slot, sizeof(q));
	memcpy(e->raw, &q, sizeof(q));
	e->nsid = le32_get(q.nsid);
	e->slba = le64_get(q.slba);
	e->nlb = (uint64_t)le32_get(q.nlb0) + 1;
	e->esa = q.lbamqa >> 1 & 7;
	e->dealloc = q.lbamqa >> 5 & 1;
	e->lbacir = q.lbamqa >> 6;
	if (++r->head == r->slots) {
		r->head = 0;
		r->phase = !r->phase;
	}
	r->taken++;
	vt_trace(r->mmc->t, "cdq %u entry: nsid %u slba %llu nlb %llu esa %u lbacir %u%s", r->id, e->nsid, (unsigned long long)e->slba,
		 (unsigned long long)e->nlb, e->esa, e->lbacir, e->dealloc ? " deallocated" : "");
	cov_entry(r->mmc->t->cov, r->mmc, r->id, e->esa);
	judge_entry(r->mmc->t, e);
	return true;
}

struct wait_entry { struct vring *r; struct ventry *e; };
static bool entry_there(void *ctx)
{
	struct wait_entry *w = ctx;

	return vh_next(w->r, w->e);
}

void vh_await(struct vring *r, struct ventry *e)
{
	/* cppcheck-suppress ctuuninitvar ; it is where the entry goes */
	struct wait_entry w = { r, e };

	*e = (struct ventry){ 0 };
	if (!vt_until(r->mmc->t, entry_there, &w, r->mmc->t->cmd_ns))
		vt_fail(r->mmc->t, "no entry came into data queue %u (slot %u)", r->id, r->head);
}

void vh_await_esa(struct vring *r, unsigned esa, struct ventry *e)
{
	do
		vh_await(r, e);
	while (e->esa != esa && e->esa != ESA_FULL);
	VEXPECT(r->mmc->t, e->esa == esa, "data queue %u ended with ESA 111b (full) before the entry with ESA %u", r->id, esa);
}

void vh_told(struct vring *r) { vh_set_cdq(r->mmc, r->id, r->head, false, 0, ST(S_OK)); }

unsigned vh_covered(struct vring *r, uint32_t nsid, uint64_t slba, uint64_t nlb, bool *dealloc)
{
	enum { MAX_BLOCKS = 4096 };
	static uint8_t seen[MAX_BLOCKS]; /* 1 modified, 2 deallocated; one thread */
	struct vt *t = r->mmc->t;
	uint64_t left = nlb;
	unsigned n = 0;
	struct ventry e;

	if (nlb > MAX_BLOCKS)
		vt_error(t, "vh_covered looks at most at %d blocks", MAX_BLOCKS);
	memset(seen, 0, sizeof(seen));
	while (left || vh_next(r, &e)) {
		if (left)
			vh_await(r, &e);
		n++;
		if (e.nsid != nsid || e.lbacir == 2)
			continue;
		for (uint64_t b = 0; b < nlb; b++)
			if (e.lbacir == 1 || slba + b - e.slba < e.nlb) {
				left -= !seen[b];
				seen[b] = e.dealloc ? 2 : 1;
			}
	}
	if (dealloc) {
		*dealloc = true;
		for (uint64_t b = 0; b < nlb; b++)
			*dealloc &= seen[b] == 2;
	}
	return n;
}

void vh_expect_silent_ring(struct vring *r)
{
	struct ventry e;
	struct wait_entry w = { r, &e };

	if (vt_until(r->mmc->t, entry_there, &w, r->mmc->t->quiet_ns))
		vt_fail(r->mmc->t, "an entry (ESA %u, NSID %u, SLBA %llu) came into data queue %u where none may come", e.esa, e.nsid,
			(unsigned long long)e.slba, r->id);
}

/* ---- state */

uint32_t vh_image(struct vctl *mmc, struct vctl *mc, unsigned csvi, unsigned csuuidi, struct vmem *out)
{
	enum { PIECE = 64 << 10, MOST = 1 << 20 };
	struct vt *t = mmc->t;
	struct vmem head = vt_mem(mmc, VT_PAGE);
	struct nvme_state_head h;
	uint64_t total;

	vh_get(mmc, mc->cntlid, csvi, csuuidi, 0, &head, 48, ST(S_OK));
	memcpy(&h, head.p, sizeof(h));
	VEXPECT(t, !le64_get(h.nvmecss_hi) && !le64_get(h.vss_hi) && le64_get(h.nvmecss) < MOST && le64_get(h.vss) < MOST,
		"the state of %s claims %llu + %llu dwords", mc->name, (unsigned long long)le64_get(h.nvmecss),
		(unsigned long long)le64_get(h.vss));
	total = 48 + 4 * (le64_get(h.nvmecss) + le64_get(h.vss));
	*out = vt_mem(mmc, (uint32_t)round_up(total, VT_PAGE));
	for (uint64_t at = 0; at < total; at += PIECE) {
		struct vmem part = { out->p + at, out->iova + at, PIECE };

		vh_get(mmc, mc->cntlid, csvi, csuuidi, at, &part, (uint32_t)MIN(total - at, (uint64_t)PIECE), ST(S_OK));
	}
	return (uint32_t)total;
}

unsigned vh_uuids(struct vctl *mmc)
{
	struct vmem m;

	vh_identify(mmc, 0x20, 0, 0, 0, &m, ST(S_OK));
	return m.p[1];
}

struct nvme_state_sq *vh_state_sq(const struct vmem *m, unsigned i) { return (struct nvme_state_sq *)(m->p + 56 + 24 * i); }

struct nvme_state_cq *vh_state_cq(const struct vmem *m, unsigned i)
{
	unsigned sqs = m->p[50] | m->p[51] << 8;

	return (struct nvme_state_cq *)(m->p + 56 + 24 * (sqs + i));
}

void vh_adopt(struct vctl *to, struct vctl *from)
{
	uint64_t own = to->asq.iova + round_up(to->asq.len, VT_PAGE) + VT_PAGE - to->iova; /* admin queues stay each other's */

	if (to->iova != from->iova || to->acq.iova != from->acq.iova || to->asq.iova != from->asq.iova)
		vt_error(to->t, "%s and %s do not have their memory at the same addresses", to->name, from->name);
	memcpy(to->mem + own, from->mem + own, from->used - own);
	memcpy(to->red, from->red, sizeof(to->red));
	to->used = from->used;
	vt_guard_adopt(to, from);
	to->reds = from->reds;
	for (unsigned i = 1; i < VT_QUEUES; i++) {
		to->sq[i] = from->sq[i];
		to->cq[i] = from->cq[i];
		from->sq[i].live = from->cq[i].live = false;
		to->sq[i].m.p = to->mem + (to->sq[i].m.iova - to->iova);
		to->cq[i].m.p = to->mem + (to->cq[i].m.iova - to->iova);
	}
	for (unsigned i = 0; i < VT_CMDS; i++)
		if (to->t->cmd[i].used && to->t->cmd[i].c == from && to->t->cmd[i].qid)
			to->t->cmd[i].c = to;
}

/* ---- I/O */

void vh_fill(struct vmem *m, uint32_t len, uint64_t seed)
{
	struct rng r = { seed };

	for (uint32_t i = 0; i + 8 <= len; i += 8) {
		uint64_t v = rng_next(&r);

		memcpy(m->p + i, &v, 8);
	}
}

bool vh_same(const struct vmem *m, uint32_t len, uint64_t seed)
{
	struct rng r = { seed };

	for (uint32_t i = 0; i + 8 <= len; i += 8) {
		uint64_t v = seed ? rng_next(&r) : 0;

		if (memcmp(m->p + i, &v, 8))
			return false;
	}
	return true;
}

void vh_rw_sqe(struct nvme_sqe *s, unsigned opc, uint32_t nsid, uint64_t slba, uint32_t nlb)
{
	*s = (struct nvme_sqe){ .opc = (uint8_t)opc, .nsid = le32_of(nsid), .cdw10 = le32_of((uint32_t)slba),
				.cdw11 = le32_of((uint32_t)(slba >> 32)), .cdw12 = le32_of((nlb - 1) & 0xffff) };
}

unsigned vh_write(struct vctl *c, unsigned qid, uint32_t nsid, uint64_t slba, uint32_t nlb, uint64_t seed, const uint16_t *want)
{
	uint32_t len = nlb * vh_lba(c);
	struct vmem m = vt_mem(c, len);
	struct nvme_sqe s;

	vh_fill(&m, len, seed);
	vh_rw_sqe(&s, NVME_NVM_WRITE, nsid, slba, nlb);
	return vt_do_data(c, qid, &s, &m, len, want);
}

void vh_read_is(struct vctl *c, unsigned qid, uint32_t nsid, uint64_t slba, uint32_t nlb, uint64_t seed)
{
	uint32_t len = nlb * vh_lba(c);
	struct vmem m = vt_mem(c, len);
	struct nvme_sqe s;

	memset(m.p, 0xee, len);
	vh_rw_sqe(&s, NVME_NVM_READ, nsid, slba, nlb);
	vt_do_data(c, qid, &s, &m, len, ST(S_OK));
	VEXPECT(c->t, vh_same(&m, len, seed), "%s: LBA %llu..%llu of namespace %u do not hold what was last written (%s)", c->name,
		(unsigned long long)slba, (unsigned long long)slba + nlb - 1, nsid, seed ? "stamped data" : "zeroes");
}

unsigned vh_io(struct vctl *c, unsigned qid, unsigned opc, uint32_t nsid, uint64_t slba, uint32_t nlb, const uint16_t *want)
{
	struct nvme_sqe s;

	vh_rw_sqe(&s, opc, nsid, slba, nlb);
	return vt_do(c, qid, &s, want);
}

unsigned vh_dsm(struct vctl *c, unsigned qid, uint32_t nsid, const struct vspan *r, unsigned n, const uint16_t *want)
{
	struct vmem m = vt_mem(c, 16 * n);
	struct nvme_sqe s = { .opc = NVME_NVM_DSM, .nsid = le32_of(nsid), .cdw10 = le32_of(n - 1), .cdw11 = le32_of(4) };

	for (unsigned i = 0; i < n; i++) {
		struct nvme_dsm_range d = { .nlb = le32_of(r[i].nlb), .slba = le64_of(r[i].slba) };

		memcpy(m.p + 16 * i, &d, sizeof(d));
	}
	return vt_do_data(c, qid, &s, &m, 16 * n, want);
}

unsigned vh_copy(struct vctl *c, unsigned qid, uint32_t nsid, uint64_t to, const struct vspan *r, unsigned n, const uint16_t *want)
{
	struct vmem m = vt_mem(c, 32 * n);
	struct nvme_sqe s = { .opc = NVME_NVM_COPY, .nsid = le32_of(nsid), .cdw10 = le32_of((uint32_t)to),
			      .cdw11 = le32_of((uint32_t)(to >> 32)), .cdw12 = le32_of(n - 1) };

	for (unsigned i = 0; i < n; i++) {
		struct nvme_copy_range d = { .slba = le64_of(r[i].slba), .nlb0 = le16_of((uint16_t)(r[i].nlb - 1)) };

		memcpy(m.p + 32 * i, &d, sizeof(d));
	}
	return vt_do_data(c, qid, &s, &m, 32 * n, want);
}

/* ---- more of rings, events and tracking */

struct vring vh_logging(struct vctl *mmc, struct vctl *mc, uint32_t slots)
{
	struct vring r;

	vh_cdq(mmc, mc->cntlid, slots, &r, ST(S_OK));
	vh_log(mmc, r.id, 1, ST(S_OK));
	return r;
}

uint32_t vh_visible(const struct vring *r)
{
	uint32_t n = 0, at = r->head;
	bool phase = r->phase;

	for (; n < r->slots && (__atomic_load_n(r->m.p + 32u * at + 31, __ATOMIC_ACQUIRE) & 1) == phase; n++)
		if (++at == r->slots) {
			at = 0;
			phase = !phase;
		}
	return n;
}

struct wait_visible { const struct vring *r; uint32_t n; };
static bool visible(void *ctx)
{
	struct wait_visible *w = ctx;

	return vh_visible(w->r) >= w->n;
}

void vh_await_visible(struct vring *r, uint32_t n)
{
	struct wait_visible w = { r, n };

	if (!vt_until(r->mmc->t, visible, &w, r->mmc->t->cmd_ns))
		vt_fail(r->mmc->t, "data queue %u has %u entries, not %u", r->id, vh_visible(r), n);
}

void vh_scatter(struct vctl *mc, unsigned qid, uint64_t from, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct vmark mark = vt_mark(mc);

		vh_write(mc, qid, mc->ns[0].nsid, from + 2 * i, 1, 1000 + from + i, ST(S_OK));
		vt_back(mc, mark);
	}
}

struct vcmd *vh_aer(struct vctl *c)
{
	struct nvme_sqe s = { .opc = NVME_OP_AER };

	return vt_send(c, 0, &s, ST(S_OK));
}

bool vh_is_done(void *k) { return ((struct vcmd *)k)->done; }
bool vh_done_soon(struct vt *t, struct vcmd *k) { return vt_until(t, vh_is_done, k, t->quiet_ns); }

void vh_track_all(struct vctl *mmc, struct vctl *mc)
{
	struct vrange r = { mc->iova, (uint32_t)(mc->bytes >> 12 >> mmc->id.minmrtg) };

	vh_track(mmc, mc->cntlid, true, mmc->id.minmrtg, &r, 1, ST(S_OK));
}

static void dirty_one(struct vctl *mc, const struct nvme_tracked_range *d, unsigned shift, struct vdirty *v)
{
	uint64_t a = le64_get(d->saddr), granule = 4096ull << shift, n = (uint64_t)le32_get(d->len) * granule;
	struct vt *t = mc->t;

	for (unsigned i = 0; i < sizeof(d->rsvd12); i++)
		VEQ(t, d->rsvd12[i], 0, "reserved byte of a Track Receive descriptor");
	VEXPECT(t, a % granule == 0 && n, "Track Receive: SADDR %llxh, LEN %u are not whole granules of %llu bytes", (unsigned long long)a,
		le32_get(d->len), (unsigned long long)granule);
	VEXPECT(t, a >= mc->iova && range_inside(a - mc->iova, n, mc->bytes), "Track Receive reports %llxh + %llxh, which nobody asked to track",
		(unsigned long long)a, (unsigned long long)n);
	for (uint64_t p = (a - mc->iova) >> 12; p < (a + n - mc->iova) >> 12 && p < ARRAY_LEN(v->page); p++) {
		v->pages += !v->page[p];
		v->page[p] = 1;
	}
}

void vh_dirty(struct vctl *mmc, struct vctl *mc, uint32_t bytes, struct vdirty *v)
{
	enum { REPORTS_MAX = 20000 };
	struct vt *t = mmc->t;
	struct vmem m = vt_mem(mmc, bytes);
	struct nvme_tracked h;
	bool said_more = false;

	memset(v, 0, sizeof(*v));
	do {
		vh_receive(mmc, mc->cntlid, &m, bytes, ST(S_OK));
		memcpy(&h, m.p, sizeof(h));
		VEQ(t, h.ver, 0, "VER of Track Receive");
		VEQ(t, h.attrb & 0xfc, 0, "reserved bits of ATTRB");
		VEQ(t, le16_get(h.cntlid), mc->cntlid, "CNTLID in Track Receive");
		VEXPECT(t, le32_get(h.ntmcd) <= (bytes - 16) / 16, "NTMCD %u does not fit into %u bytes", le32_get(h.ntmcd), bytes);
		VEXPECT(t, le32_get(h.ntmcd) || !(h.attrb & 1), "NTMCD is 0 and MTR is 1");
		VEXPECT(t, le32_get(h.ntmcd) || !said_more, "MTR was 1 and nothing more came");
		said_more = h.attrb & 1;
		VEXPECT(t, le16_get(h.rpmpg) <= 30, "RPMPG is %u", le16_get(h.rpmpg));
		for (uint32_t i = 0; i < le32_get(h.ntmcd); i++) {
			struct nvme_tracked_range d;

			memcpy(&d, m.p + 16 + 16 * i, sizeof(d));
			dirty_one(mc, &d, le16_get(h.rpmpg), v);
		}
		v->descriptors += le32_get(h.ntmcd);
		v->susp = h.attrb >> 1 & 1;
		VEXPECT(t, ++v->reports < REPORTS_MAX, "Track Receive never ends (MTR stays 1)");
	} while (h.attrb & 1);
}

void vh_expect_dirty(struct vt *t, const struct vdirty *v, const struct vctl *c, const struct vmem *m, const char *what)
{
	for (uint64_t a = m->iova; a < m->iova + m->len; a += VT_PAGE)
		VEXPECT(t, v->page[(a - c->iova) >> 12], "%s: page %llxh was written by the controller and is not reported", what,
			(unsigned long long)a);
}
