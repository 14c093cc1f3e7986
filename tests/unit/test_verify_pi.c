/* The group PI against a device that has protection information: our own has none, so a small honest one of this test's stands before it. It
 * keeps data and tuples of the first migratable controller's first namespace in memory, does there what the commands say, and gives our
 * device something of the same kind to do (a write for a write), so that queues, logs and Get LBA Status stay the device's. It also has a
 * Write Uncorrectable, and the error for deallocated blocks (DULBE). Then it lies, and each lie must be noticed by the test that is there for it.
 */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc16.h"
#include "cmd/verify_rig.h"
#include "verify/checklist.h"
#include "verify/run.h"
#include "verify/test.h"

enum lie {
	HONEST, NO_WRITE_GUARD, NO_READ_GUARD, NO_REF, NO_MASK, NO_APP, NOT_INSERTED, NOT_STRIPPED, STRIPPED_UNCHECKED, TYPE3_COUNTS, NEVER_COUNTS, NO_ESCAPE,
	ESCAPE_BY_APP, ZEROES_LOSE, OTHER_STATUS, TUPLE_FIRST, COPY_LOSES, COPY_KEEPS, COPY_UNCHECKED, GUARD_SWAPPED, GONE_CHECKED, GONE_KEEPS,
	COMPARE_UNCHECKED, ANY_FORMAT, WRITTEN_ANYWAY, METADATA_LONG, SOME_LOST, BAD_IS_READ, BAD_FOR_EVER, PASSES_MADE, GONE_IS_ERROR, GONE_IS_NONE
};

enum { MC = 2, QUEUES = 16, SENT = 4096, BLOCKS = 32768, LBA = 512, STATUSES = 0x10000, GUARD = 4, APP = 2, REF = 1, ACT = 8 };

struct tuple { uint16_t guard, app; uint32_t ref; };
struct block { uint8_t data[LBA]; struct tuple pi; bool bad, gone; };
struct watch { uint64_t base; uint32_t size, head; bool phase; };
static struct shim {
	struct port port, *real;
	bool (*pump)(void *);
	void *pump_ctx;
	uint8_t *mem;
	uint64_t iova, bytes;
	struct watch sq[QUEUES], cq[QUEUES];
	struct { struct nvme_sqe was, now, *slot; uint16_t status; } sent[QUEUES][SENT];	/* now: as the device is told */
	struct block *block;
	unsigned lbaf, type, pil, writes;
	bool ext, dulbe;
	enum lie lie;
} shim;

static uint8_t *at(uint64_t iova, uint64_t len)
{
	return shim.mem && range_inside(iova - shim.iova, len, shim.bytes) ? shim.mem + (iova - shim.iova) : NULL;
}

/* ---- protection information, once more and on its own: nothing of the verifier's is used here */

struct want { unsigned info; uint16_t app, mask; uint32_t ref; };

static uint32_t ref_of(const struct want *w, unsigned i)
{
	bool counts = shim.lie == NEVER_COUNTS ? false : shim.type != 3 || shim.lie == TYPE3_COUNTS;

	return w->ref + (counts ? i : 0);
}
static bool free_of_checks(const struct tuple *t)
{
	if (shim.lie == NO_ESCAPE || t->app != 0xffff)
		return false;
	return shim.type != 3 || t->ref == 0xffffffff || shim.lie == ESCAPE_BY_APP;
}
static unsigned check(const struct tuple *t, const uint8_t *data, const struct want *w, unsigned i, bool write)
{
	uint16_t mask = shim.lie == NO_MASK ? 0xffff : w->mask;

	if (!shim.type || free_of_checks(t))
		return 0;
	if (w->info & GUARD && t->guard != crc16_t10dif(data, LBA) && shim.lie != (write ? NO_WRITE_GUARD : NO_READ_GUARD))
		return shim.lie == OTHER_STATUS ? 0x284 : 0x282;
	if (w->info & APP && (t->app & mask) != (w->app & mask) && shim.lie != NO_APP)
		return 0x283;
	if (w->info & REF && t->ref != ref_of(w, i) && shim.lie != NO_REF)
		return 0x284;
	return 0;
}
static unsigned judge(const struct want *w, uint64_t slba)
{
	if (shim.type == 3 && w->info & REF)
		return 0x181;
	return shim.type == 1 && w->info & REF && w->ref != (uint32_t)slba ? 0x181 : 0;
}
static struct tuple made(const uint8_t *data, const struct want *w, unsigned i)
{
	if (shim.lie == NOT_INSERTED)
		return (struct tuple){ 0, 0, 0 };
	return (struct tuple){ crc16_t10dif(data, LBA), w->app, ref_of(w, i) };
}
static struct tuple parse(const uint8_t *p)
{
	uint16_t guard = (uint16_t)(shim.lie == GUARD_SWAPPED ? p[1] << 8 | p[0] : p[0] << 8 | p[1]);

	return (struct tuple){ guard, (uint16_t)(p[2] << 8 | p[3]), (uint32_t)p[4] << 24 | (uint32_t)p[5] << 16 | (uint32_t)p[6] << 8 | p[7] };
}
static void print(uint8_t *p, const struct tuple *t)
{
	const uint8_t b[8] = { (uint8_t)(t->guard >> 8), (uint8_t)t->guard, (uint8_t)(t->app >> 8), (uint8_t)t->app,
			       (uint8_t)(t->ref >> 24), (uint8_t)(t->ref >> 16), (uint8_t)(t->ref >> 8), (uint8_t)t->ref };

	memcpy(p, b, 8);
	if (shim.lie == GUARD_SWAPPED)
		p[0] = b[1], p[1] = b[0];
}
static const struct tuple nothing = { 0xffff, 0xffff, 0xffffffff };

/* ---- data as a command carries it */

struct view { uint8_t *data[64], *pi[64]; unsigned n; bool ok; };
static struct view view_of(const struct nvme_sqe *s)
{
	struct view v = { .n = nvme_rw_nlb0(s) + 1, .ok = true };
	bool carried = shim.type && (!(nvme_rw_prinfo(s) & ACT) || (shim.lie == NOT_STRIPPED && shim.ext)), ext = carried && shim.ext;
	uint32_t step = LBA + (ext ? 8 : 0);

	v.ok = v.n <= 64;
	for (unsigned i = 0; v.ok && i < v.n; i++) {
		v.data[i] = at(le64_get(s->prp1) + (uint64_t)i * step, step);
		v.pi[i] = !carried ? NULL : ext ? v.data[i] + LBA : at(le64_get(s->mptr) + 8ull * i, 8);
		v.ok = v.data[i] && (!carried || v.pi[i]);
		if (v.ok && ext && shim.lie == TUPLE_FIRST) {
			v.pi[i] = v.data[i];
			v.data[i] += 8;
		}
	}
	return v;
}
static struct want want_of(const struct nvme_sqe *s)
{
	return (struct want){ nvme_rw_prinfo(s), (uint16_t)le32_get(s->cdw15), (uint16_t)(le32_get(s->cdw15) >> 16), le32_get(s->cdw14) };
}

/* ---- the commands */

static unsigned do_write(const struct nvme_sqe *s, struct block *b)
{
	struct want w = want_of(s);
	struct view v = view_of(s);
	unsigned st = judge(&w, nvme_slba(s));

	if (!v.ok)
		return 4;
	for (unsigned i = 0; i < v.n && !st && shim.type && !(w.info & ACT); i++) {
		struct tuple t = parse(v.pi[i]);

		st = check(&t, v.data[i], &w, i, true);
	}
	for (unsigned i = 0; i < v.n && (!st || (shim.lie == WRITTEN_ANYWAY && st == 0x282)); i++) {
		memcpy(b[i].data, v.data[i], LBA);
		b[i].pi = !shim.type || w.info & ACT || shim.lie == PASSES_MADE ? made(v.data[i], &w, i) : parse(v.pi[i]);
		b[i].bad = b[i].bad && shim.lie == BAD_FOR_EVER;
		b[i].gone = false;
		if (shim.lie == SOME_LOST && ++shim.writes % 20 == 0)
			b[i].pi.app ^= 1;
	}
	return st;
}
static unsigned stored(const struct nvme_sqe *s, const struct block *b, const struct want *w, unsigned n)
{
	unsigned st = judge(w, nvme_slba(s));

	for (unsigned i = 0; i < n && !st; i++) {
		if (b[i].bad && shim.lie != BAD_IS_READ)
			return 0x281;
		if (b[i].gone && shim.lie != GONE_IS_NONE && (shim.dulbe || shim.lie == GONE_IS_ERROR))
			return 0x287;
		if (!(shim.lie == STRIPPED_UNCHECKED && w->info & ACT))
			st = check(&b[i].pi, b[i].data, w, i, false);
	}
	return st;
}
static unsigned do_read(const struct nvme_sqe *s, const struct block *b)
{
	struct want w = want_of(s);
	struct view v = view_of(s);
	unsigned st = stored(s, b, &w, v.n);

	if (!v.ok)
		return 4;
	for (unsigned i = 0; i < v.n && !st; i++) {
		memcpy(v.data[i], b[i].data, LBA);
		if (v.pi[i])
			print(v.pi[i], &b[i].pi);
	}
	if (!st && shim.lie == METADATA_LONG && v.pi[0] && !shim.ext)
		print(v.pi[v.n - 1] + 8, &b[v.n - 1].pi);
	return st;
}
static unsigned do_compare(const struct nvme_sqe *s, const struct block *b)
{
	struct want w = want_of(s);
	struct view v = view_of(s);
	unsigned st;

	if (shim.lie == COMPARE_UNCHECKED)
		w.info = 0;
	st = v.ok ? stored(s, b, &w, v.n) : 4;
	for (unsigned i = 0; i < v.n && !st; i++) {
		uint8_t p[8];

		print(p, &b[i].pi);
		if (memcmp(v.data[i], b[i].data, LBA) || (v.pi[i] && memcmp(p, v.pi[i], 8)))
			st = 0x285;
	}
	return st;
}
static unsigned do_zeroes(const struct nvme_sqe *s, struct block *b)
{
	struct want w = want_of(s);

	for (unsigned i = 0; i <= nvme_rw_nlb0(s); i++) {
		memset(b[i].data, 0, LBA);
		b[i].pi = w.info & ACT && shim.lie != ZEROES_LOSE ? made(b[i].data, &w, i) : nothing;
		b[i].bad = b[i].gone = false;
	}
	return 0;
}
static unsigned do_bad(const struct nvme_sqe *s, struct block *b)
{
	for (unsigned i = 0; i <= nvme_rw_nlb0(s); i++)
		b[i].bad = true, b[i].gone = false;
	return 0;
}
static unsigned do_dsm(const struct nvme_sqe *s)
{
	for (unsigned k = 0; k <= nvme_dsm_nr0(s) && nvme_dsm_ad(s); k++) {
		const struct nvme_dsm_range *d = (const void *)at(le64_get(s->prp1) + 16 * k, 16);

		if (!d || !range_inside(le64_get(d->slba), le32_get(d->nlb), BLOCKS))
			return 0x80;
		for (uint32_t i = 0; i < le32_get(d->nlb); i++) {
			struct block *b = &shim.block[le64_get(d->slba) + i];

			memset(b->data, 0, LBA);
			b->bad = false;
			b->gone = true;
			if (shim.lie != GONE_KEEPS)
				b->pi = nothing;
			if (shim.lie == GONE_CHECKED)
				b->pi.app = 0xfffe;
		}
	}
	return 0;
}
static unsigned copy_block(const struct block *from, struct block *to, const struct want *r, const struct want *w, unsigned i, unsigned k)
{
	struct block b = *from;
	unsigned st = 0;

	if (from->bad && shim.lie != BAD_IS_READ)
		return 0x281;
	if (shim.lie != COPY_UNCHECKED)
		st = check(&b.pi, b.data, r, i, false);
	if (!st && w->info & ACT && shim.lie != COPY_KEEPS)
		b.pi = made(b.data, w, k);
	else if (!st && !(w->info & ACT))
		st = check(&b.pi, b.data, w, k, true);
	if (shim.lie == COPY_LOSES && !(w->info & ACT))
		b.pi = nothing;
	b.bad = b.gone = false;
	if (!st)
		*to = b;
	return st;
}
static unsigned do_copy(const struct nvme_sqe *s)
{
	struct want w = want_of(s);
	unsigned k = 0, st = 0;

	w.info = nvme_copy_prinfow(s);
	for (unsigned n = 0; n <= nvme_copy_nr0(s) && !st; n++) {
		const struct nvme_copy_range *d = (const void *)at(le64_get(s->prp1) + 32 * n, 32);
		struct want r;

		if (!d || !range_inside(le64_get(d->slba), le16_get(d->nlb0) + 1u, BLOCKS) || !range_inside(nvme_slba(s), k + le16_get(d->nlb0) + 1u, BLOCKS))
			return 0x80;
		r = (struct want){ nvme_copy_prinfor(s), le16_get(d->elbat), le16_get(d->elbatm), le32_get(d->eilbrt) };
		st = judge(&r, le64_get(d->slba));
		if (!st)
			st = judge(&w, nvme_slba(s));
		for (unsigned i = 0; i <= le16_get(d->nlb0) && !st; i++, k++)
			st = copy_block(&shim.block[le64_get(d->slba) + i], &shim.block[nvme_slba(s) + k], &r, &w, i, k);
	}
	return st;
}
static unsigned do_format(struct nvme_sqe *s)
{
	unsigned lbaf = nvme_format_lbafl(s), type = nvme_format_pi(s);

	if ((lbaf > 1 || type > 3 || (type && !lbaf)) && shim.lie != ANY_FORMAT)
		return 0x10a;
	shim.lbaf = lbaf & 1;
	shim.type = lbaf ? type & 3 : 0;
	shim.ext = lbaf && nvme_format_mset(s);
	shim.pil = nvme_format_pil(s);
	memset(shim.block, 0, BLOCKS * sizeof(*shim.block));
	for (unsigned i = 0; i < BLOCKS; i++)
		shim.block[i].pi = nothing, shim.block[i].gone = true;
	return 0;
}

/* What our device is given to do instead: the same to the same blocks, without what it does not know; nothing after a failure. */
static void instead(struct nvme_sqe *s, unsigned st, const struct watch *q)
{
	struct nvme_sqe was = *s;
	uint32_t nlb0 = nvme_rw_nlb0(s);

	if (st || s->opc == NVME_NVM_READ || s->opc == NVME_NVM_COMPARE) {
		*s = (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .cid = was.cid, .nsid = was.nsid };
		return;
	}
	s->mptr = le64_of(0);
	s->cdw14 = s->cdw15 = le32_of(0);
	if (s->opc == NVME_NVM_COPY) {
		nvme_copy_prinfor_put(s, 0);
		nvme_copy_prinfow_put(s, 0);
	} else if (s->opc != NVME_NVM_DSM) {
		nvme_rw_prinfo_put(s, 0);
	}
	if (s->opc == NVME_NVM_WRITE_UNCORRECTABLE) {
		s->opc = NVME_NVM_WRITE;
		s->cdw12 = le32_of(MIN(nlb0, 7u));
		s->prp1 = le64_of(q->base);
	}
}

static unsigned serve(struct nvme_sqe *s, const struct watch *q)
{
	struct block *b = &shim.block[MIN(nvme_slba(s), (uint64_t)BLOCKS - 1)];
	unsigned st;

	if (s->opc != NVME_NVM_DSM && s->opc != NVME_NVM_COPY && !range_inside(nvme_slba(s), nvme_rw_nlb0(s) + 1ull, BLOCKS))
		return 0;
	switch (s->opc) {
	case NVME_NVM_WRITE: st = do_write(s, b); break;
	case NVME_NVM_READ: st = do_read(s, b); break;
	case NVME_NVM_COMPARE: st = do_compare(s, b); break;
	case NVME_NVM_WRITE_ZEROES: st = do_zeroes(s, b); break;
	case NVME_NVM_WRITE_UNCORRECTABLE: st = do_bad(s, b); break;
	case NVME_NVM_DSM: st = do_dsm(s); break;
	case NVME_NVM_COPY: st = do_copy(s); break;
	default: return 0;
	}
	instead(s, st, q);
	return st;
}
static unsigned serve_admin(struct nvme_sqe *s)
{
	const struct nvme_sqe harmless = { .opc = NVME_OP_GET_FEATURES, .cid = s->cid, .cdw10 = le32_of(NVME_FID_NUM_QUEUES) };
	unsigned st;

	if (s->opc == NVME_OP_SET_FEATURES && nvme_set_features_fid(s) == NVME_FID_ERROR_RECOVERY && le32_get(s->nsid) == 1) {
		shim.dulbe = nvme_set_features_cdw11(s) >> 16 & 1;
		*s = harmless;
		return 0;
	}
	if (s->opc != NVME_OP_FORMAT)
		return 0;
	st = do_format(s);
	if (st)
		*s = harmless;
	else
		s->cdw10 = le32_of(0);
	return st;
}

/* ---- completions */

static void tell(unsigned qid, const struct nvme_sqe *s, unsigned st, struct nvme_cqe *c)
{
	unsigned cns = le32_get(s->cdw10) & 0xff;
	struct nvme_id_ns *ns;
	struct nvme_id_ctrl *ctrl;
	struct watch w = { le64_get(s->prp1), (le32_get(s->cdw10) >> 16) + 1, 0, true };

	if (nvme_cqe_status(c))
		return;
	if (st)
		c->status = le16_of((uint16_t)((le16_get(c->status) & 1) | st << 1));
	if (qid)
		return;
	if (s->opc == NVME_OP_CREATE_CQ && cns && cns < QUEUES)
		shim.cq[cns] = w;
	if (s->opc == NVME_OP_CREATE_SQ && cns && cns < QUEUES)
		shim.sq[cns] = w;
	ns = s->opc == NVME_OP_IDENTIFY && cns == NVME_CNS_NS && le32_get(s->nsid) == 1 ? (void *)at(w.base, 4096) : NULL;
	ctrl = s->opc == NVME_OP_IDENTIFY && cns == NVME_CNS_CTRL ? (void *)at(w.base, 4096) : NULL;
	if (ctrl)
		ctrl->oncs = le16_of(le16_get(ctrl->oncs) | NVME_ONCS_WRITE_UNCOR);
	if (ns) {
		ns->nlbaf = 1;
		ns->nsfeat |= 4;
		ns->flbas = (uint8_t)(shim.lbaf | shim.ext << 4);
		ns->mc = 3;
		ns->dpc = 0x1f;
		ns->dps = (uint8_t)(shim.type | shim.pil << 3);
		memcpy(ns->lbaf + 4, (uint8_t[]){ 8, 0, 9, 0 }, 4);
	}
}

/* The host looks whether its entry is still what it was. */
static void put_back(unsigned qid, unsigned cid)
{
	if (!memcmp(shim.sent[qid][cid].slot, &shim.sent[qid][cid].now, sizeof(struct nvme_sqe)))
		*shim.sent[qid][cid].slot = shim.sent[qid][cid].was;
}

static void completions(unsigned qid)
{
	struct watch *q = &shim.cq[qid];
	uint8_t *cq = q->base ? at(q->base, q->size * 16) : NULL;

	for (unsigned n = 0; cq && n < q->size; n++) {
		struct nvme_cqe *c = (struct nvme_cqe *)(cq + 16 * q->head);
		unsigned sqid = MIN(le16_get(c->sqid), QUEUES - 1), cid = le16_get(c->cid) % SENT;

		if (nvme_cqe_phase(c) != q->phase)
			return;
		if (shim.sent[sqid][cid].slot)
			put_back(sqid, cid);
		tell(qid, &shim.sent[sqid][cid].was, shim.sent[sqid][cid].status, c);
		if (++q->head == q->size) {
			q->head = 0;
			q->phase = !q->phase;
		}
	}
}

/* ---- the port between */

static int s_read(struct port *p, uint32_t off, unsigned n, uint64_t *v) { (void)p; return shim.real->ops->reg_read(shim.real, off, n, v); }
static int s_write(struct port *p, uint32_t off, unsigned n, uint64_t v)
{
	(void)p;
	if (off == NVME_REG_AQA)
		shim.sq[0].size = shim.cq[0].size = (uint32_t)(v >> 16 & 0xfff) + 1;
	else if (off == NVME_REG_ASQ)
		shim.sq[0].base = v;
	else if (off == NVME_REG_ACQ)
		shim.cq[0].base = v;
	else if (off == NVME_REG_CC && v & 1) {
		for (unsigned i = 1; i < QUEUES; i++)
			shim.sq[i].base = shim.cq[i].base = 0;
		shim.cq[0].head = shim.sq[0].head = 0;
		shim.cq[0].phase = true;
		shim.dulbe = false;
	}
	return shim.real->ops->reg_write(shim.real, off, n, v);
}
static int s_bell(struct port *p, unsigned i, uint32_t v)
{
	unsigned qid = MIN(i / 2, QUEUES - 1u);
	struct watch *q = &shim.sq[qid];
	uint8_t *sq = i % 2 || !q->base ? NULL : at(q->base, q->size * 64);

	(void)p;
	for (; sq && v < q->size && q->head != v; q->head = (q->head + 1) % q->size) {
		struct nvme_sqe *s = (struct nvme_sqe *)(sq + 64 * q->head);
		unsigned cid = le16_get(s->cid) % SENT;

		shim.sent[qid][cid].was = *s;
		shim.sent[qid][cid].status = (uint16_t)(qid ? le32_get(s->nsid) == 1 ? serve(s, q) : 0 : serve_admin(s));
		shim.sent[qid][cid].now = *s;
		shim.sent[qid][cid].slot = s;
	}
	return shim.real->ops->doorbell(shim.real, i, v);
}
static int s_cfg(struct port *p, uint32_t o, void *b, uint32_t n) { (void)p; return shim.real->ops->cfg_read(shim.real, o, b, n); }
static int s_cfg_put(struct port *p, uint32_t o, const void *b, uint32_t n) { (void)p; return shim.real->ops->cfg_write(shim.real, o, b, n); }
static int s_map(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t off)
{
	(void)p;
	shim.mem = ptr;
	shim.iova = iova;
	shim.bytes = size;
	return shim.real->ops->dma_map(shim.real, iova, ptr, size, fd, off);
}
static int s_unmap(struct port *p, uint64_t iova, uint64_t size)
{
	(void)p;
	shim.mem = NULL;
	return shim.real->ops->dma_unmap(shim.real, iova, size);
}
static int s_reset(struct port *p) { (void)p; return shim.real->ops->reset(shim.real); }
static const struct port_ops s_ops = { .reg_read = s_read, .reg_write = s_write, .doorbell = s_bell, .cfg_read = s_cfg, .cfg_write = s_cfg_put,
				       .dma_map = s_map, .dma_unmap = s_unmap, .reset = s_reset };
static bool s_pump(void *ctx)
{
	bool any = shim.pump(shim.pump_ctx);

	(void)ctx;
	for (unsigned q = 0; q < QUEUES; q++)
		completions(q);
	return any;
}

/* ---- running one test */

enum { WHY = 900 };

static enum vt_verdict run(enum lie lie, const char *id, uint64_t seed, char *why)
{
	struct vrun_cfg cfg = { .id = id, .seed = seed, .cmd_ns = 30000000000ull, .test_ns = 300000000000ull, .quiet_ns = 2000000 };
	struct verify_rig_cfg rig = { 0 };
	struct err err = { "" };
	struct vrun r = { 0 };
	enum vt_verdict v = VT_ERROR;
	struct dut d;

	memset(&shim, 0, sizeof(shim));
	shim.block = calloc(BLOCKS, sizeof(*shim.block));
	EXPECT(shim.block && !verify_rig_open(&d, &rig, &err));
	shim.lie = lie;
	shim.pump = d.pump;
	shim.pump_ctx = d.ctx;
	shim.real = d.ctrl[MC].port;
	shim.port.ops = &s_ops;
	d.ctrl[MC].port = &shim.port;
	d.pump = s_pump;
	if (!vrun_run(&r, &d, &cfg, &err) && r.results == 1) {
		v = r.result[0].verdict;
		snprintf(why, WHY, "%.*s", WHY - 1, r.result[0].why);
	} else {
		snprintf(why, WHY, "%.*s", WHY - 1, err.text);
	}
	EXPECT(!r.vt || !r.vt->format.c); /* whatever happened, the namespace is as it was */
	EXPECT(v == VT_ERROR || (!shim.type && !shim.lbaf));
	vrun_free(&r);
	d.ctrl[MC].port = shim.real;
	dut_close(&d);
	free(shim.block);
	return v;
}

/* The check value of the field: the catalogue's nine digits; and a block of zeroes, whose guard is 0. */
TEST(crc_is_t10_dif)
{
	static const uint8_t zeroes[512];

	EXPECT_EQ(crc16_t10dif("123456789", 9), 0xd0db);
	EXPECT_EQ(crc16_t10dif(zeroes, sizeof(zeroes)), 0);
}

TEST(an_honest_device_passes)
{
	for (unsigned i = 0; vtest_at(i); i++) {
		const struct vtest *t = vtest_at(i);
		enum vt_verdict v;
		char why[WHY] = "";

		if (!vtest_in_group(t, "PI") && strcmp(t->id, "IO-21") && strcmp(t->id, "IO-22"))
			continue;
		v = run(HONEST, t->id, 5, why);
		if (v != VT_PASS)
			fail_msg("%s: %s %s", t->id, vt_verdict_name(v), why);
	}
}

/* Without protection information too: here Write Uncorrectable meets the scoreboard. */
TEST(an_honest_device_passes_random_sequences)
{
	char why[WHY] = "";

	for (uint64_t seed = 1; seed <= 4; seed++)
		if (run(HONEST, "RN-02", seed, why) != VT_PASS || run(HONEST, "PI-13", seed, why) != VT_PASS)
			fail_msg("seed %u: %s", (unsigned)seed, why);
}

static const struct { enum lie lie; const char *test, *what; } lies[] = {
	{ NO_WRITE_GUARD, "PI-05", "the guard is not checked by writes" }, { NO_READ_GUARD, "PI-05", "the guard is not checked by reads" },
	{ WRITTEN_ANYWAY, "PI-05", "a wrong guard is refused and the block is written" }, { OTHER_STATUS, "PI-05", "a wrong guard has the status of a tag" },
	{ NO_REF, "PI-07", "the reference tag is not checked" }, { NEVER_COUNTS, "PI-07", "the reference tag does not count" },
	{ NEVER_COUNTS, "PI-02", "the reference tag does not count" }, { TYPE3_COUNTS, "PI-02", "type 3 counts the reference tag" },
	{ NO_MASK, "PI-06", "the mask of the application tag is ignored" }, { NO_APP, "PI-06", "the application tag is not checked" },
	{ NOT_INSERTED, "PI-02", "PRACT inserts nothing" }, { NOT_STRIPPED, "PI-03", "PRACT strips nothing" },
	{ STRIPPED_UNCHECKED, "PI-03", "what PRACT strips is not checked" }, { NO_ESCAPE, "PI-08", "there is no escape" },
	{ ESCAPE_BY_APP, "PI-08", "type 3 escapes by the application tag alone" }, { ZEROES_LOSE, "PI-10", "Write Zeroes loses its tags" },
	{ TUPLE_FIRST, "PI-02", "tuples before their blocks" },
	{ PASSES_MADE, "PI-04", "what the host gives is made anew" }, { METADATA_LONG, "PI-04", "eight bytes too many of metadata" },
	{ GUARD_SWAPPED, "PI-02", "the guard is little endian" }, { GONE_CHECKED, "PI-09", "deallocated blocks are checked" },
	{ GONE_KEEPS, "PI-09", "deallocated blocks keep their tags" }, { COPY_LOSES, "PI-12", "a Copy leaves the tags behind" },
	{ COPY_KEEPS, "PI-12", "a Copy with PRACT keeps the old tags" }, { COPY_UNCHECKED, "PI-12", "a Copy does not check its source" },
	{ COMPARE_UNCHECKED, "PI-11", "Compare checks nothing" }, { ANY_FORMAT, "PI-01", "any format will do" },
	{ SOME_LOST, "PI-13", "a tag is wrong in every 20th block" }, { COPY_LOSES, "PI-13", "a Copy leaves the tags behind" },
	{ NO_READ_GUARD, "PI-13", "the guard is not checked by reads" }, { NO_MASK, "PI-13", "the mask of the application tag is ignored" },
	{ BAD_IS_READ, "IO-21", "an uncorrectable block is read" }, { BAD_FOR_EVER, "IO-21", "an uncorrectable block stays so when it is written" },
	{ GONE_IS_ERROR, "IO-22", "deallocated blocks are an error unasked" }, { GONE_IS_NONE, "IO-22", "deallocated blocks are never an error" },
	{ GONE_IS_ERROR, "RN-02", "deallocated blocks are an error unasked" },
	{ BAD_IS_READ, "RN-02", "an uncorrectable block is read" }, { BAD_FOR_EVER, "RN-02", "an uncorrectable block stays so when it is written" },
};

TEST(each_lie_is_noticed)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
		char why[WHY] = "";
		enum vt_verdict v = run(lies[i].lie, lies[i].test, 5, why);

		if (v != VT_FAIL) {
			print_message("# %s: %s says %s %s\n", lies[i].what, lies[i].test, vt_verdict_name(v), why);
			bad++;
		}
	}
	EXPECT_EQ(bad, 0);
}

/* Each statement of the book on protection information has a lie that breaks it. */
TEST(every_statement_was_broken)
{
	for (unsigned i = 0; vitem_at(i); i++) {
		const struct vitem *v = vitem_at(i);
		bool broken = strncmp(v->key, "B-PI-", 5) != 0;

		for (unsigned k = 0; k < ARRAY_LEN(lies); k++)
			broken |= vtest_covers(vtest_find(lies[k].test), v);
		if (!broken)
			fail_msg("%s: %s", v->key, v->text);
	}
}
