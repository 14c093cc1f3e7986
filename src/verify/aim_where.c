/* Situations: headers, structures, shapes of queues, logs, resets, faults, two controllers at once. See aim.h. */
#include <stdlib.h>

#include "verify/aim.h"

enum { MIDDLE = 0, FIRST = 1, ONLY = 3, SLOTS = 64 };
#define NOWHERE 0x7fff00000000ull

static uint16_t target(struct vt *t) { return t->mc[0]->cntlid; }

/* ---- what all commands have */

void aim_header(struct vt *t, enum cov_header h)
{
	struct nvme_sqe s = aim_command(t, VOP_GET_STATE, t->mc[0]);
	const uint16_t *ok = ST(S_OK), *refused = ST(S_IF), *fused = ST(S_IF, S_MISSING), *loose = ST(S_OK, S_IF), *any_ns = ST(S_OK, S_IF, S_NS);
	const uint16_t *want = ok, *nowhere = ST(S_XFER, S_IF, S_INTERNAL);

	vf_put(&s, VF_GET_STATE_numdl, 13);
	switch (h) {
	case CH_FUSE_FIRST: s.flags |= 1, want = fused; break;
	case CH_FUSE_SECOND: s.flags |= 2, want = fused; break;
	case CH_FUSE_RESERVED: s.flags |= 3, want = refused; break;
	case CH_PSDT_SGL: s.flags |= NVME_PSDT_SGL, want = refused; break;
	case CH_PSDT_SEGMENT: s.flags |= NVME_PSDT_SGL_MSEG, want = refused; break;
	case CH_PSDT_RESERVED: s.flags |= NVME_PSDT_MASK, want = refused; break;
	case CH_NSID_LIVE: s.nsid = le32_of(t->mmc->nss ? t->mmc->ns[0].nsid : 1), want = any_ns; break;
	case CH_NSID_ALL: s.nsid = le32_of(UINT32_MAX), want = any_ns; break;
	case CH_NSID_ABSENT: s.nsid = le32_of(0xfffffff0), want = any_ns; break;
	case CH_MPTR_SET: s.mptr = le64_of(0x1000), want = loose; break;
	case CH_CDW2_SET: s.cdw2 = s.cdw3 = le32_of(1), want = loose; break;
	case CH_PRP_OFFSET: s.prp1 = le64_of(le64_get(s.prp1) + 256); break;
	case CH_PRP_NOWHERE: s.prp1 = le64_of(NOWHERE), want = nowhere; break;
	case CH_BY_MC: vt_do(t->mc[0], 0, &s, ST(S_IO)); return;
	default: break;
	}
	vt_do(t->mmc, 0, &s, want);
}

/* ---- images */

enum { SQ0 = 56, SQ1 = 80, CQ0 = 104, CQ1 = 128, IMAGE_LEN = 152, QSIZE = 8 };

/* Two queue pairs of a controller that has none, in its own memory: good in every respect. */
static struct vmem queue_image(struct vt *t, struct vctl *mc)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_state_head h = { .csattr = NVME_CSATTR_CP, .nvmecss = le64_of(26) };
	struct nvme_state_v0 v0 = { .niosq = le16_of(2), .niocq = le16_of(2) };

	memcpy(m.p, &h, sizeof(h));
	memcpy(m.p + 48, &v0, sizeof(v0));
	for (unsigned i = 0; i < 2; i++) {
		struct nvme_state_sq s = { .prp1 = le64_of(vt_mem(mc, VT_PAGE).iova), .qsize0 = le16_of(QSIZE - 1), .qid = le16_of((uint16_t)(i + 1)),
					   .cqid = le16_of((uint16_t)(i + 1)), .attr = le16_of(1) };
		struct nvme_state_cq c = { .prp1 = le64_of(vt_mem(mc, VT_PAGE).iova), .qsize0 = le16_of(QSIZE - 1), .qid = le16_of((uint16_t)(i + 1)),
					   .attr = le32_of(NVME_STATE_CQ_PC | NVME_STATE_CQ_IEN | i << NVME_STATE_CQ_IV_SHIFT) };

		memcpy(m.p + SQ0 + 24 * i, &s, 24);
		memcpy(m.p + CQ0 + 24 * i, &c, 24);
	}
	return m;
}

/* What is put where, and whether the book leaves it to the controller. len: 0, the whole. */
static const struct lie { enum cov_data d; unsigned at, bytes; uint64_t val; bool may; unsigned len; } lies[] = {
	{ CD_IMAGE_VER, 0, 2, 1, true, 0 }, { CD_IMAGE_INNER_VER, 48, 2, 1, true, 0 }, { CD_IMAGE_CUT, 0, 0, 0, false, 40 },
	{ CD_IMAGE_TRAILING, 0, 0, 0, true, IMAGE_LEN + 8 }, { CD_IMAGE_CSS_0, 16, 8, 0, true, 0 }, { CD_IMAGE_CSS_MORE, 16, 8, 32, false, 0 },
	{ CD_IMAGE_CSS_LESS, 16, 8, 25, false, 0 }, { CD_IMAGE_CSS_63, 16, 8, (1ull << 63) + 26, false, 0 },
	{ CD_IMAGE_CSS_HIGH, 24, 8, 1, false, 0 }, { CD_IMAGE_VSS, 32, 8, 1, false, 0 }, { CD_IMAGE_VSS_HIGH, 40, 8, 1, false, 0 },
	{ CD_IMAGE_SQ_0, 50, 2, 0, false, 0 }, { CD_IMAGE_CQ_0, 52, 2, 0, false, 0 }, { CD_IMAGE_SQ_MANY, 50, 2, 65535, false, 0 },
	{ CD_IMAGE_CQ_MANY, 52, 2, 65535, false, 0 }, { CD_IMAGE_QID_0, SQ0 + 10, 2, 0, false, 0 }, { CD_IMAGE_QID_TWICE, SQ0 + 10, 2, 2, false, 0 },
	{ CD_IMAGE_QID_ORDER, SQ0 + 10, 2, 3, true, 0 }, { CD_IMAGE_QID_HIGH, SQ1 + 10, 2, 65535, false, 0 },
	{ CD_IMAGE_CQID, SQ0 + 12, 2, 9, false, 0 }, { CD_IMAGE_SIZE_0, SQ0 + 8, 2, 0, false, 0 }, { CD_IMAGE_SIZE_HIGH, CQ0 + 8, 2, 65535, false, 0 },
	{ CD_IMAGE_HEAD, SQ0 + 16, 2, QSIZE, false, 0 }, { CD_IMAGE_TAIL, CQ1 + 14, 2, 65535, false, 0 }, { CD_IMAGE_OFFSET, SQ0, 1, 0x10, true, 0 },
	{ CD_IMAGE_NOWHERE, CQ0, 8, NOWHERE, true, 0 }, { CD_IMAGE_PC_0, SQ0 + 14, 2, 0, true, 0 }, { CD_IMAGE_QPRIO, SQ0 + 14, 2, 3, true, 0 },
	{ CD_IMAGE_IV, CQ0 + 18, 2, 65535, true, 0 }, { CD_IMAGE_RESERVED, SQ0 + 14, 2, 0xfff9, true, 0 }, { CD_IMAGE_CP_0, 2, 1, 0, true, 0 },
	{ CD_IMAGE_GOOD, 0, 0, 0, true, 0 },
};

static void send_image(struct vt *t, const struct lie *l)
{
	struct vmem m = queue_image(t, t->mc[0]), back = vt_mem(t->mmc, VT_PAGE);
	uint64_t v = htole64(l->val);
	unsigned st;

	memcpy(m.p + l->at, &v, l->bytes);
	vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
	st = vh_set(t->mmc, target(t), ONLY, 1, 0, 0, &m, (l->len ? l->len : IMAGE_LEN) / 4,
		    l->d == CD_IMAGE_GOOD ? ST(S_OK) : l->may ? ST(S_OK, S_IF, S_38, S_SEQ, S_PRP) : ST(S_IF, S_38, S_SEQ, S_PRP));
	vh_get(t->mmc, target(t), 1, 0, 0, &back, 56, ST(S_OK));
	VEXPECT(t, st == S_OK || !(back.p[50] | back.p[52]), "the image was answered with %s, and there are queues", nvme_status_name(st));
	VEXPECT(t, l->d != CD_IMAGE_GOOD || (back.p[50] == 2 && back.p[52] == 2), "a good image was taken and made no queues");
}

static void send_pieces(struct vt *t, enum cov_data d)
{
	struct vmem m = queue_image(t, t->mc[0]);
	uint32_t at = d == CD_PIECE_NEXT ? 72 : d == CD_PIECE_AGAIN ? 48 : d == CD_PIECE_OVERLAP ? 60 : 96;
	struct vmem part = vt_mem(t->mmc, VT_PAGE);

	vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
	vh_set(t->mmc, target(t), FIRST, 1, 0, 0, &m, 12, ST(S_OK));
	memcpy(part.p, m.p + 48, 24);
	vh_set(t->mmc, target(t), MIDDLE, 1, 0, 48, &part, 6, ST(S_OK));
	part = vt_mem(t->mmc, VT_PAGE);
	memcpy(part.p, m.p + at, 24);
	vh_set(t->mmc, target(t), MIDDLE, 1, 0, at, &part, 6, d == CD_PIECE_NEXT ? ST(S_OK) : ST(S_OK, S_IF, S_SEQ));
}

/* ---- ranges of Track Memory Changes */

static void send_ranges(struct vt *t, enum cov_data d)
{
	struct vctl *mc = t->mc[0], *c = t->mmc;
	unsigned least = c->id.minmrtg, most = c->id.maxmrtg, many = le16_get(c->id.cmmrtd) + 1u, n = 1, rmrtg = least;
	uint64_t at = mc->iova;
	uint32_t len = 1;
	const uint16_t *bad = ST(S_IF), *want = ST(S_OK, S_38), *loose = ST(S_OK, S_IF, S_38), *many_bad = ST(S_IF, S_38);
	struct nvme_track_mem h;
	struct nvme_sqe s;
	struct vmem m;

	switch (d) {
	case CD_RANGE_UNDER: rmrtg = least - 1, want = bad; break;
	case CD_RANGE_MAX: rmrtg = most; break;
	case CD_RANGE_OVER: rmrtg = most + 1, want = bad; break;
	case CD_RANGE_NONE: n = 0, want = loose; break;
	case CD_RANGE_SEVERAL:
	case CD_RANGE_OVERLAP: n = 2, want = d == CD_RANGE_OVERLAP ? loose : want; break;
	case CD_RANGE_MANY: n = many, want = many_bad; break;
	case CD_RANGE_MISALIGNED: at += 8, want = bad; break;
	case CD_RANGE_NOWHERE: at = NOWHERE, want = bad; break;
	case CD_RANGE_EMPTY: len = 0, want = loose; break;
	case CD_RANGE_LONG: len = UINT32_MAX, want = bad; break;
	case CD_RANGE_VER: want = bad; break;
	default: break;
	}
	if (d == CD_RANGE_SEVERAL && le16_get(c->id.cmmrtd) < 2)
		vt_skip(t, "CMMRTD is %u", le16_get(c->id.cmmrtd));
	m = vt_mem(c, 8 + 12 * MAX(n, 1u));
	h = (struct nvme_track_mem){ .ver = d == CD_RANGE_VER, .rmrtg = (uint8_t)rmrtg, .rnmrtd = le32_of(n) };
	memcpy(m.p, &h, sizeof(h));
	for (unsigned i = 0; i < n; i++) {
		uint64_t step = d == CD_RANGE_OVERLAP ? 0 : (uint64_t)i * VT_PAGE << rmrtg;
		struct nvme_track_mem_range r = { .saddr = le64_of(at + step), .len = le32_of(len) };

		memcpy(m.p + 8 + 12 * i, &r, sizeof(r));
	}
	vop_init(&s, VOP_TRACK_MEM);
	vf_put(&s, VF_TRACK_MEM_tact, 1);
	vf_put(&s, VF_TRACK_MEM_cntlid, mc->cntlid);
	vt_do_data(c, 0, &s, &m, 8 + 12 * MAX(n, 1u), want);
}

void aim_data(struct vt *t, enum cov_data d)
{
	if (d >= CD_RANGE_VER) {
		send_ranges(t, d);
		return;
	}
	if (d >= CD_PIECE_NEXT) {
		send_pieces(t, d);
		return;
	}
	for (unsigned i = 0; i < ARRAY_LEN(lies); i++)
		if (lies[i].d == d)
			send_image(t, &lies[i]);
}

/* ---- shapes */

struct held { struct vctl *c; unsigned at; bool phase; };
static bool has_posted(void *ctx)
{
	struct held *h = ctx;
	uint8_t last = __atomic_load_n(h->c->cq[1].m.p + 16 * h->at + 14, __ATOMIC_ACQUIRE);

	return (last & 1) == h->phase;
}

/* A queue of 8 whose ring has gone round as often as its phase wants, then `n` entries in it: of the SQ those that wait, of the CQ those
 * nobody has taken. Afterwards everything that is out completes. */
void aim_shape(struct vt *t, enum cov_queue q, enum cov_shape shape, enum cov_tag tag, enum cov_ien ien, enum cov_share share)
{
	static const unsigned count[] = { [CS_EMPTY] = 0, [CS_ONE] = 1, [CS_FULL] = QSIZE - 1, [CS_WRAPPED] = 4 };
	struct vctl *mc = t->mc[0];
	struct nvme_sqe flush = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(mc->nss ? mc->ns[0].nsid : 1) };
	unsigned n = count[shape], before = 6;
	struct vcmd *k[QSIZE];
	struct vmem image;

	if ((before + (q == CQ_CQ ? n : 0)) / QSIZE % 2 == (unsigned)tag) /* the first lap has phase 1 */
		before += QSIZE;
	vt_cq_make_ien(mc, 1, QSIZE, ien, ST(S_OK));
	for (unsigned i = 1; i <= 1u + share; i++)
		vt_sq_make(mc, i, 1, QSIZE, ST(S_OK));
	for (unsigned i = 0; i < before; i++)
		vt_do(mc, 1, &flush, ST(S_OK, S_NS));
	if (q == CQ_CQ) {
		struct held h = { mc, (before + n - 1) % QSIZE, (before + n - 1) / QSIZE % 2 == 0 };

		mc->cq[1].hold = true;
		for (unsigned i = 0; i < n; i++)
			k[i] = vt_send(mc, 1, &flush, ST(S_OK, S_NS));
		VEXPECT(t, !n || vt_until(t, has_posted, &h, t->cmd_ns), "commands were not completed into a CQ with room");
	}
	vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
	if (q == CQ_SQ)
		for (unsigned i = 0; i < n; i++)
			k[i] = vt_send(mc, 1, &flush, ST(S_OK, S_NS));
	vh_image(t->mmc, mc, 1, 0, &image);
	VEQ(t, image.p[50] | image.p[52] << 8, (1u + share) | 1 << 8, "queues in the image");
	mc->cq[1].hold = false;
	vh_resume(t->mmc, target(t), ST(S_OK));
	for (unsigned i = 0; i < n; i++)
		vt_finish(t, k[i]);
}

/* ---- commands under a log */

/* Every block of the spans is named, in whatever order; of a whole namespace entries may come in its order only. */
static void all_covered(struct vt *t, struct vring *r, const struct vspan *span, unsigned n)
{
	uint64_t left = 0, next[2] = { 0 };
	struct ventry e;

	for (unsigned i = 0; i < n; i++)
		left += span[i].nlb;
	while (left) {
		vh_await(r, &e);
		if (e.lbacir == 2 || e.nsid != t->mc[0]->ns[0].mmc_nsid)
			continue;
		for (unsigned i = 0; i < n; i++)
			for (; next[i] < span[i].nlb && (e.lbacir == 1 || span[i].slba + next[i] - e.slba < e.nlb); left--)
				next[i]++;
	}
}

/* One command; what it changes is told in spans. */
static unsigned modify(struct vt *t, enum cov_mod m, enum cov_extent e, struct vspan span[2])
{
	struct vctl *mc = t->mc[0];
	uint32_t nsid = mc->ns[0].nsid;
	struct nvme_sqe format = { .opc = NVME_OP_FORMAT, .nsid = le32_of(nsid) };
	unsigned n = 1 + (e == CE_RANGES);
	struct vmem id;

	span[0] = e == CE_WHOLE ? (struct vspan){ 0, (uint32_t)mc->ns[0].blocks } : e == CE_UNALIGNED ? (struct vspan){ 3, 5 } : (struct vspan){ 16, 8 };
	span[1] = (struct vspan){ 41, 3 };
	if (e == CE_WHOLE && m != CM_FORMAT && m != CM_DSM && mc->ns[0].blocks > 65536)
		vt_skip(t, "the namespace is larger than one command can name");
	switch (m) {
	case CM_WRITE: vh_write(mc, 1, nsid, span[0].slba, span[0].nlb, 7, ST(S_OK)); break;
	case CM_WZ: vh_io(mc, 1, NVME_NVM_WRITE_ZEROES, nsid, span[0].slba, span[0].nlb, ST(S_OK)); break;
	case CM_WU: vh_io(mc, 1, NVME_NVM_WRITE_UNCORRECTABLE, nsid, span[0].slba, span[0].nlb, ST(S_OK)); break;
	case CM_DSM: vh_dsm(mc, 1, nsid, span, n, ST(S_OK)); break;
	case CM_COPY: { /* from behind to span[0]; two sources make one destination */
		struct vspan from[2] = { { 300, span[0].nlb }, { 400, 3 } };

		vh_copy(mc, 1, nsid, span[0].slba, from, n, ST(S_OK));
		span[0].nlb += n == 2 ? 3 : 0;
		return 1;
	}
	case CM_FORMAT:
		vh_identify(mc, NVME_CNS_NS, nsid, 0, 0, &id, ST(S_OK));
		format.cdw10 = le32_of(id.p[26] & 15);
		vt_do(mc, 0, &format, ST(S_OK));
		break;
	default: break;
	}
	return n;
}

void aim_logged(struct vt *t, enum cov_log log, enum cov_mod m, enum cov_extent e)
{
	struct vctl *mc = t->mc[0];
	struct vring r = { 0 };
	struct vspan span[2];
	struct ventry first;
	unsigned n;

	vt_io_make(mc, 1, 16);
	vh_scatter(mc, 1, 300, 60); /* something to copy and to deallocate */
	if (log != CL_NONE)
		vh_cdq(t->mmc, mc->cntlid, SLOTS, &r, ST(S_OK));
	if (log == CL_ON)
		vh_log(t->mmc, r.id, 1, ST(S_OK));
	vh_scatter(mc, 1, 16, 4); /* what is under the command is not zeroes already: that would not be a change */
	vh_scatter(mc, 1, 3, 3);
	n = modify(t, m, e, span);
	if (log == CL_ON) /* the entries of the writes below it name every second block at most */
		all_covered(t, &r, span, n);
	if (log == CL_STOPPED)
		VEXPECT(t, !vh_next(&r, &first), "an entry in a log that was not started");
}

/* ---- fill of a log and how it is learnt */

void aim_fill(struct vt *t, enum cov_fill fill, enum cov_learn how)
{
	enum { RING = 8 };
	static const unsigned count[] = { [CU_EMPTY] = 0, [CU_ONE] = 1, [CU_TRIGGER] = 3, [CU_LESS] = RING - 2, [CU_FULL] = RING - 1 };
	struct vring r = vh_logging(t->mmc, t->mc[0], RING);
	unsigned n = count[fill];
	struct vcmd *aer = NULL;
	struct ventry e;

	vt_io_make(t->mc[0], 1, 64);
	vh_scatter(t->mc[0], 1, 20000, 1); /* where the start marker comes late it comes with this */
	vh_covered(&r, t->mc[0]->ns[0].mmc_nsid, 20000, 1, NULL);
	while (vh_next(&r, &e))
		;
	vh_told(&r);
	if (fill == CU_TRIGGER || (how != CN_POLL && fill != CU_FULL))
		vh_set_cdq(t->mmc, r.id, r.head, true, (r.head + n - 1) % RING, ST(S_OK));
	if (how == CN_AER)
		aer = vh_aer(t->mmc);
	vh_scatter(t->mc[0], 1, 0, n);
	vh_await_visible(&r, n);
	if (how == CN_AER)
		vt_finish(t, aer);
	for (unsigned i = 0; i < n; i++)
		VEXPECT(t, vh_next(&r, &e), "entry %u of %u is not there", i, n);
	if (how == CN_BOTH) { /* it has been pending since */
		aer = vh_aer(t->mmc);
		vt_finish(t, aer);
	}
	vh_told(&r);
}

/* ---- phases, resets, faults */

uint16_t aim_phase(struct vt *t, enum cov_phase p)
{
	struct vring r = { 0 };
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_state_head h = { .nvmecss = le64_of(2) }; /* an image without queues */

	memcpy(m.p, &h, sizeof(h));
	if (p >= CP_QUEUE)
		vh_cdq(t->mmc, target(t), SLOTS, &r, ST(S_OK));
	if (p >= CP_LOGGING)
		vh_log(t->mmc, r.id, 1, ST(S_OK));
	if (p >= CP_TRACKING)
		vh_track_all(t->mmc, t->mc[0]);
	if (p >= CP_SUSPENDED)
		vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
	if (p == CP_PARTIAL)
		vh_set(t->mmc, target(t), FIRST, 1, 0, 0, &m, 12, ST(S_OK));
	if (p >= CP_COMMITTED)
		vh_set(t->mmc, target(t), ONLY, 1, 0, 0, &m, 14, ST(S_OK));
	return r.id;
}

/* CSTS.NSSRO tells that it has happened; it is cleared by writing a one. Until then registers are not what they will be. */
void aim_subsystem_reset(struct vctl *c)
{
	uint64_t end = vt_now_ns() + c->t->cmd_ns;

	vt_reg_put(c, NVME_REG_CSTS, 4, NVME_CSTS_NSSRO);
	vt_reg_put(c, NVME_REG_NSSR, 4, NVME_NSSR_MAGIC);
	while (!(vt_reg(c, NVME_REG_CSTS, 4) & NVME_CSTS_NSSRO)) {
		VEXPECT(c->t, vt_now_ns() < end, "%s: CSTS.NSSRO does not become 1 after a subsystem reset", c->name);
		vt_poll(c->t);
	}
	VEQ(c->t, vt_reg(c, NVME_REG_CC, 4) & 1, 0, "CC.EN after a subsystem reset");
}

/* Causes it, and makes the controller usable again. A subsystem reset concerns the others too: they are enabled again by the caller. */
void aim_reset_now(struct vctl *c, enum cov_reset k)
{
	static const char *const name[] = { "CC.EN", "function reset", "subsystem reset" };

	vt_trace(c->t, "%s: %s", c->name, name[k]);
	c->how = (uint8_t)k;
	if (k == CR_FLR && c->port->ops->reset(c->port))
		vt_error(c->t, "%s: the function cannot be reset", c->name);
	if (k == CR_SUBSYSTEM)
		aim_subsystem_reset(c);
	if (k != CR_CC_EN)
		vt_port_again(c);
	vt_reset(c);
}

void aim_reset(struct vt *t, enum cov_reset k, enum cov_phase p, enum cov_side side)
{
	aim_phase(t, p);
	aim_reset_now(side == CB_MMC ? t->mmc : t->mc[0], k);
}

void aim_round(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vring r = vh_logging(t->mmc, mc, SLOTS);
	struct vmem image;

	vh_track_all(t->mmc, mc);
	vt_io_make(mc, 1, 16);
	vh_write(mc, 1, mc->ns[0].nsid, 5, 2, 9, ST(S_OK));
	vh_covered(&r, mc->ns[0].mmc_nsid, 5, 2, NULL);
	vh_suspend(t->mmc, target(t), 1, true, ST(S_OK));
	vh_image(t->mmc, mc, 1, 0, &image);
	VEQ(t, image.p[50] + image.p[52], 2, "queues in the state of the new round");
	vh_resume(t->mmc, target(t), ST(S_OK));
	vh_read_is(mc, 1, mc->ns[0].nsid, 5, 2, 9);
}

static void overflow(struct vt *t, uint16_t id)
{
	struct mcdq *q = model_cdq(t->model, t->mmc, id);
	struct vring r = { .mmc = t->mmc, .id = id, .slots = q->slots, .phase = true };
	struct ventry e;

	r.m.p = t->mmc->mem + (q->iova - t->mmc->iova);
	vt_io_make(t->mc[0], 1, 64);
	vh_scatter(t->mc[0], 1, 0, SLOTS + 8);
	do
		vh_await(&r, &e);
	while (e.esa != ESA_FULL);
}

static void cancel(struct vt *t, enum cov_phase p, uint16_t id)
{
	if (p == CP_QUEUE || p == CP_LOGGING)
		vh_cdq_delete(t->mmc, id, ST(S_OK));
	else if (p == CP_TRACKING)
		vh_track(t->mmc, target(t), false, 0, NULL, 0, ST(S_OK));
	else
		vh_resume(t->mmc, target(t), p == CP_PARTIAL ? ST(S_SEQ) : ST(S_OK));
}

static void format_by_mmc(struct vt *t)
{
	struct nvme_sqe s = { .opc = NVME_OP_FORMAT, .nsid = le32_of(t->mc[0]->ns[0].mmc_nsid) };
	uint64_t end = vt_now_ns() + t->cmd_ns;
	struct vmem id;

	vh_identify(t->mmc, NVME_CNS_NS, t->mc[0]->ns[0].mmc_nsid, 0, 0, &id, ST(S_OK));
	s.cdw10 = le32_of(id.p[26] & 15);
	/* While something of a former life still runs on the namespace it may be refused, and is given again. */
	while (vt_do(t->mmc, 0, &s, ST(S_OK, S_SEQ)) == S_SEQ) {
		VEXPECT(t, vt_now_ns() < end, "Format NVM is refused for longer than a command may take");
		vt_poll(t);
	}
}

static void bad_address(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct nvme_sqe s;

	vt_io_make(mc, 1, 16);
	vh_rw_sqe(&s, NVME_NVM_WRITE, mc->ns[0].nsid, 0, 1);
	s.prp1 = le64_of(NOWHERE);
	vt_do(mc, 1, &s, ST(S_XFER, S_IF, S_INTERNAL));
}

void aim_fault(struct vt *t, enum cov_fault f, enum cov_phase p)
{
	uint16_t id = aim_phase(t, p);
	struct vmem m = vt_mem(t->mmc, VT_PAGE);

	switch (f) {
	case CF_OVERFLOW: overflow(t, id); break;
	case CF_BAD_HEAD: vh_set_cdq(t->mmc, id, SLOTS + 5, false, 0, ST(S_IF)); break;
	case CF_SHUTDOWN: vt_reg_put(t->mc[0], NVME_REG_CC, 4, vt_reg(t->mc[0], NVME_REG_CC, 4) | 1u << NVME_CC_SHN_SHIFT); break;
	case CF_SECOND: vh_cdq(t->mmc2, target(t), SLOTS, NULL, ST(S_IF, S_37, S_38, S_39)); break;
	case CF_CANCEL: cancel(t, p, id); break;
	case CF_FORMAT: format_by_mmc(t); break;
	case CF_BAD_IMAGE: vh_set(t->mmc, target(t), ONLY, 200, 0, 0, &m, 14, ST(S_IF)); break;
	case CF_BAD_ADDRESS: bad_address(t); break;
	default: break;
	}
}

/* ---- two at once */

void aim_two(struct vt *t, enum vop first, enum vop second)
{
	struct nvme_sqe a = aim_command(t, first, t->mc[0]), b = aim_command(t, second, t->mc[1]);
	uint16_t set_a[MODEL_SET], set_b[MODEL_SET];
	struct vcmd *ka, *kb;

	model_accept(t->model, t->mmc, &a, set_a);
	model_accept(t->model, t->mmc, &b, set_b);
	ka = vt_queue(t->mmc, 0, &a, set_a);
	kb = vt_queue(t->mmc, 0, &b, set_b);
	vt_ring(t->mmc, 0);
	vt_finish(t, ka);
	vt_finish(t, kb);
}

/* ---- points */

void aim_point(struct vt *t, const struct cov_point *p)
{
	const uint8_t *d = p->d;

	switch (p->kind) {
	case COV_FIELD:
	case COV_ALONE: aim_field(t, (enum vfid)p->a, (enum vbin)p->b); break;
	case COV_STATUS: aim_status(t, p->op, p->b); break;
	case COV_STATE: aim_state(t, (enum vop)d[0], (enum mstate)d[1]); break;
	case COV_PAIR: aim_pair(t, (enum vop)d[0], (enum vop)d[1]); break;
	case COV_HEADER: aim_header(t, (enum cov_header)d[0]); break;
	case COV_DATA: aim_data(t, (enum cov_data)d[0]); break;
	case COV_SHAPE: aim_shape(t, (enum cov_queue)d[0], (enum cov_shape)d[1], (enum cov_tag)d[2], (enum cov_ien)d[3], (enum cov_share)d[4]); break;
	case COV_LOGGED: aim_logged(t, (enum cov_log)d[0], (enum cov_mod)d[1], (enum cov_extent)d[2]); break;
	case COV_FILL: aim_fill(t, (enum cov_fill)d[0], (enum cov_learn)d[1]); break;
	case COV_RESET: aim_reset(t, (enum cov_reset)d[0], (enum cov_phase)d[1], (enum cov_side)d[2]); break;
	case COV_FAULT: aim_fault(t, (enum cov_fault)d[0], (enum cov_phase)d[1]); break;
	case COV_TWO: aim_two(t, (enum vop)d[0], (enum vop)d[1]); break;
	default: break;
	}
}

void aim_kind(struct vt *t, enum cov_kind kind)
{
	static struct cov *points; /* of the process: whatever fails leaves this function without coming back */

	if (!points)
		points = cov_new();
	if (!points)
		vt_error(t, "no memory");
	for (unsigned i = 0; i < cov_points(points); i++) {
		const struct cov_point *p = cov_point(points, i);
		uint64_t before;

		if (p->kind != kind || cov_excuse(p, t->caps))
			continue;
		vt_fresh(t);
		vt_trace(t, "point: %s", p->name);
		before = t->cov ? cov_hits(t->cov, i) : 0;
		aim_point(t, p);
		if (t->cov && cov_hits(t->cov, i) == before)
			vt_reading(t, "a point that answers in its own way", "%s", p->name);
	}
}
