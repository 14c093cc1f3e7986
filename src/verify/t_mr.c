/* Get Controller State: the image against what the test itself made and did. */
#include "verify/test.h"

static uint16_t target(struct vt *t) { return t->mc[0]->cntlid; }
/* Two controllers may be reached by two sockets, and what was sent on one is not ordered with the other: an answer on the first says that
 * the doorbells before it have arrived. */
static void arrived(struct vctl *mc) { vt_reg(mc, NVME_REG_CSTS, 4); }

static void suspend(struct vt *t)
{
	arrived(t->mc[0]);
	vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
}

static struct nvme_state_v0 lists(struct vt *t, const struct vmem *m, uint32_t len)
{
	struct nvme_state_head h;
	struct nvme_state_v0 v;

	memcpy(&h, m->p, sizeof(h));
	memcpy(&v, m->p + 48, sizeof(v));
	VEXPECT(t, len >= 56, "the image has %u bytes", len);
	VEQ(t, le64_get(h.nvmecss), 2 + 6ull * (le16_get(v.niosq) + le16_get(v.niocq)), "NVMECSS for that many queues");
	return v;
}

static void suspended_bit(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);

	vh_get(t->mmc, target(t), 1, 0, 0, &m, 64, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0) & 1, 0, "CSUP of a running controller");
	VEQ(t, m.p[2] & 1, 0, "CSATTR.CP of a running controller");
	suspend(t);
	vh_get(t->mmc, target(t), 1, 0, 0, &m, 64, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0) & 1, 1, "CSUP of a suspended controller");
	VEQ(t, m.p[2] & 1, 1, "CSATTR.CP of a suspended controller");
	VEQ(t, le32_get(t->last.dw0) >> 1, 0, "DW0 31:1");
	vh_resume(t->mmc, target(t), ST(S_OK));
	vh_get(t->mmc, target(t), 1, 0, 0, &m, 64, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0) & 1, 0, "CSUP after Resume");
}

static void header(struct vt *t)
{
	struct vmem m;
	struct nvme_state_head h;

	suspend(t);
	vh_image(t->mmc, t->mc[0], 1, 0, &m);
	memcpy(&h, m.p, sizeof(h));
	VEQ(t, le16_get(h.ver), 0, "outer VER");
	VEQ(t, h.csattr & 0xfe, 0, "CSATTR 7:1");
	for (unsigned i = 0; i < sizeof(h.rsvd3); i++)
		VEQ(t, h.rsvd3[i], 0, "reserved byte of the header");
	VEQ(t, m.p[48] | m.p[49] << 8, 0, "VER of the NVMe part (the version at index 1)");
	VEQ(t, m.p[54] | m.p[55], 0, "reserved bytes of the NVMe part");
}

static void parts(struct vt *t)
{
	struct nvme_state_head h;
	struct vmem m = vt_mem(t->mmc, VT_PAGE);

	suspend(t);
	vh_get(t->mmc, target(t), 0, 0, 0, &m, 48, ST(S_OK));
	memcpy(&h, m.p, sizeof(h));
	VEQ(t, le64_get(h.nvmecss) | le64_get(h.vss), 0, "NVMECSS and VSS with both indices 0");
	vh_get(t->mmc, target(t), 1, 0, 0, &m, 48, ST(S_OK));
	memcpy(&h, m.p, sizeof(h));
	VEQ(t, le64_get(h.vss), 0, "VSS with CSUUIDI 0");
	VEXPECT(t, le64_get(h.nvmecss) >= 2, "NVMECSS is %llu with CSVI 1", (unsigned long long)le64_get(h.nvmecss));
	if (!vh_uuids(t->mmc))
		return;
	vh_get(t->mmc, target(t), 0, 1, 0, &m, 48, ST(S_OK));
	memcpy(&h, m.p, sizeof(h));
	VEQ(t, le64_get(h.nvmecss), 0, "NVMECSS with CSVI 0");
}

static void unknown_index(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE), f;
	unsigned nv, nu;

	vh_identify(t->mmc, 0x20, 0, 0, 0, &f, ST(S_OK));
	nv = f.p[0];
	nu = f.p[1];
	vh_get(t->mmc, target(t), nv + 1, 0, 0, &m, 48, ST(S_IF));
	vh_get(t->mmc, target(t), 255, 0, 0, &m, 48, ST(S_IF));
	vh_get(t->mmc, target(t), 0, nu + 1, 0, &m, 48, ST(S_IF));
	vh_get(t->mmc, target(t), 1, 255, 0, &m, 48, ST(S_IF));
}

static void ascending(struct vt *t)
{
	static const unsigned order[] = { 3, 1, 4, 2 };
	struct vmem m;
	struct nvme_state_v0 v;
	uint32_t len;

	for (unsigned i = 0; i < ARRAY_LEN(order); i++)
		vt_io_make(t->mc[0], order[i], 16);
	suspend(t);
	len = vh_image(t->mmc, t->mc[0], 1, 0, &m);
	v = lists(t, &m, len);
	VEQ(t, le16_get(v.niosq), 4, "NIOSQ");
	VEQ(t, le16_get(v.niocq), 4, "NIOCQ");
	for (unsigned i = 0; i < 4; i++) {
		VEQ(t, le16_get(vh_state_sq(&m, i)->qid), i + 1, "QID of an SQ in the list");
		VEQ(t, le16_get(vh_state_cq(&m, i)->qid), i + 1, "QID of a CQ in the list");
	}
}

/* Everything the image says of a queue against our own record of it. */
static void compare(struct vt *t, const struct vmem *m, unsigned i, unsigned qid)
{
	const struct nvme_state_sq *s = vh_state_sq(m, i);
	const struct nvme_state_cq *c = vh_state_cq(m, i);
	const struct vsq *sq = &t->mc[0]->sq[qid];
	const struct vcq *cq = &t->mc[0]->cq[qid];

	VEQ(t, le64_get(s->prp1), sq->m.iova, "IOSQPRP1");
	VEQ(t, le16_get(s->qsize0), sq->size - 1, "IOSQQSIZE");
	VEQ(t, le16_get(s->qid), qid, "IOSQQID");
	VEQ(t, le16_get(s->cqid), sq->cqid, "IOSQCQID");
	VEQ(t, le16_get(s->attr) & 1, 1, "IOSQPC");
	VEQ(t, le16_get(s->attr) >> 3, 0, "IOSQA 15:3");
	VEQ(t, le16_get(s->tail), sq->tail, "IOSQTP (the last doorbell)");
	VEQ(t, le16_get(s->head), sq->head, "IOSQHP (SQHD of the last completion)");
	VEQ(t, le64_get(c->prp1), cq->m.iova, "IOCQPRP1");
	VEQ(t, le16_get(c->qsize0), cq->size - 1, "IOCQQSIZE");
	VEQ(t, le16_get(c->qid), qid, "IOCQQID");
	VEQ(t, le16_get(c->head), cq->head, "IOCQHP (the last doorbell)");
	VEQ(t, le16_get(c->tail), cq->head, "IOCQTP (everything posted was read)");
	VEQ(t, le32_get(c->attr) & 3, 3, "IOCQPC and IOCQIEN");
	VEQ(t, le32_get(c->attr) >> 16, cq->iv, "IOCQIV");
	VEQ(t, le32_get(c->attr) >> 3 & 0x1fff, 0, "IOCQA 15:3");
	VEQ(t, le32_get(c->attr) >> 2 & 1, cq->m.p[14] & 1, "S0PT against slot 0 of the queue in memory");
}

/* Every position of a small ring, over two laps: heads, tails and the phase. */
static void pointers(struct vt *t)
{
	enum { SIZE = 5 };
	struct vctl *mc = t->mc[0];
	uint32_t len;
	struct vmem m;

	vt_io_make(mc, 1, SIZE);
	vt_io_make(mc, 2, 2 * SIZE);
	for (unsigned i = 0; i < 2 * SIZE + 2; i++) {
		suspend(t);
		len = vh_image(t->mmc, mc, 1, 0, &m);
		VEQ(t, le16_get(lists(t, &m, len).niosq), 2, "NIOSQ");
		compare(t, &m, 0, 1);
		compare(t, &m, 1, 2);
		vh_resume(t->mmc, target(t), ST(S_OK));
		vh_write(mc, 1, mc->ns[0].nsid, i, 1, i + 1, ST(S_OK));
		if (i & 1)
			vh_write(mc, 2, mc->ns[0].nsid, 64 + i, 1, i + 1, ST(S_OK));
	}
}

/* Commands announced while suspended are between head and tail. */
static void pending(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(mc->ns[0].nsid) };
	struct vcmd *k[3];
	struct vmem m;

	vt_io_make(mc, 1, 16);
	vh_write(mc, 1, mc->ns[0].nsid, 0, 1, 1, ST(S_OK));
	suspend(t);
	for (unsigned i = 0; i < 3; i++)
		k[i] = vt_queue(mc, 1, &s, ST(S_OK));
	vt_ring(mc, 1);
	arrived(mc);
	vh_image(t->mmc, mc, 1, 0, &m);
	VEQ(t, le16_get(vh_state_sq(&m, 0)->head), 1, "IOSQHP");
	VEQ(t, le16_get(vh_state_sq(&m, 0)->tail), 4, "IOSQTP after a doorbell of a suspended controller");
	vh_resume(t->mmc, target(t), ST(S_OK));
	for (unsigned i = 0; i < 3; i++)
		vt_finish(t, k[i]);
}

static void shared_cq(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem m;

	vt_cq_make(mc, 5, 32, ST(S_OK));
	vt_sq_make(mc, 1, 5, 16, ST(S_OK));
	vt_sq_make(mc, 2, 5, 16, ST(S_OK));
	vh_write(mc, 2, mc->ns[0].nsid, 0, 1, 1, ST(S_OK));
	suspend(t);
	lists(t, &m, vh_image(t->mmc, mc, 1, 0, &m));
	VEQ(t, m.p[50], 2, "NIOSQ");
	VEQ(t, m.p[52], 1, "NIOCQ");
	VEQ(t, le16_get(vh_state_sq(&m, 0)->cqid), 5, "IOSQCQID");
	VEQ(t, le16_get(vh_state_cq(&m, 0)->qid), 5, "IOCQQID");
	VEQ(t, le16_get(vh_state_cq(&m, 0)->tail), 1, "IOCQTP of a shared CQ");
}

static void attributes(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem q = vt_mem(mc, VT_PAGE), m;
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_CQ, .cdw10 = le32_of(7 | 15 << 16), .cdw11 = le32_of(1) /* PC, no interrupts */ };

	s.prp1 = le64_of(q.iova);
	vt_do(mc, 0, &s, ST(S_OK));
	suspend(t);
	vh_image(t->mmc, mc, 1, 0, &m);
	VEQ(t, m.p[50], 0, "NIOSQ");
	VEQ(t, m.p[52], 1, "NIOCQ");
	VEQ(t, le32_get(vh_state_cq(&m, 0)->attr), 1, "IOCQA of a fresh CQ without interrupts (S0PT 0)");
	VEQ(t, le16_get(vh_state_cq(&m, 0)->head) | le16_get(vh_state_cq(&m, 0)->tail), 0, "pointers of a fresh CQ");
}

static void misaligned(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);

	suspend(t);
	for (unsigned off = 1; off < 4; off++)
		vh_get(t->mmc, target(t), 1, 0, off, &m, 48, ST(S_IF));
	vh_get(t->mmc, target(t), 1, 0, 0x100000001ull, &m, 48, ST(S_IF));
}

static void beyond(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE), whole;
	uint32_t len;
	unsigned st;

	suspend(t);
	len = vh_image(t->mmc, t->mc[0], 1, 0, &whole);
	vh_get(t->mmc, target(t), 1, 0, len + 4, &m, 48, ST(S_IF));
	vh_get(t->mmc, target(t), 1, 0, 0x100000000ull, &m, 48, ST(S_IF));
	vh_get(t->mmc, target(t), 1, 0, 0xfffffffffffffffcull, &m, 48, ST(S_IF));
	st = vh_get(t->mmc, target(t), 1, 0, len, &m, 48, ST(S_IF, S_OK));
	vt_reading(t, "Get Controller State at the very end of the image", "%s", nvme_status_name(st));
}

static void pieces(struct vt *t)
{
	static const unsigned step[] = { 4, 20, 48, 64, 100 };
	struct vmem whole, m;
	uint32_t len;

	for (unsigned i = 1; i <= 6; i++)
		vt_io_make(t->mc[0], i, 16);
	suspend(t);
	len = vh_image(t->mmc, t->mc[0], 1, MIN(vh_uuids(t->mmc), 1u), &whole);
	for (unsigned i = 0; i < ARRAY_LEN(step); i++) {
		unsigned n = step[i] == 4 ? MIN(len, 400u) : len;
		struct vmark mark = vt_mark(t->mmc);

		m = vt_mem(t->mmc, VT_PAGE);
		for (uint32_t at = 0; at < n; at += step[i]) {
			uint32_t part = MIN(step[i], len - at);

			vh_get(t->mmc, target(t), 1, MIN(vh_uuids(t->mmc), 1u), at, &m, part, ST(S_OK));
			VEXPECT(t, !memcmp(m.p, whole.p + at, part), "%u bytes at %u differ from the whole image", part, at);
			vt_back(t->mmc, mark);
			m = vt_mem(t->mmc, VT_PAGE);
		}
		vt_back(t->mmc, mark);
	}
}

static void large_buffer(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, 64 * KIB), small;
	uint32_t len;

	suspend(t);
	len = vh_image(t->mmc, t->mc[0], 1, 0, &small);
	vh_get(t->mmc, target(t), 1, 0, 0, &m, 64 * KIB, ST(S_OK));
	VEXPECT(t, !memcmp(m.p, small.p, len), "a larger buffer brings other data");
}

static void bad_cntlid(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	unsigned st;

	vh_get(t->mmc, 0xfffe, 1, 0, 0, &m, 48, ST(S_1F));
	vh_get(t->mmc, 0xffff, 1, 0, 0, &m, 48, ST(S_1F));
	st = vh_get(t->mmc, t->mmc->cntlid, 1, 0, 0, &m, 48, ST(S_1F, S_OK));
	vt_reading(t, "state of the MMC itself", "%s", nvme_status_name(st));
}

static void parameter(struct vt *t)
{
	struct vmem a = vt_mem(t->mmc, VT_PAGE), b = vt_mem(t->mmc, VT_PAGE);
	struct nvme_sqe s;

	suspend(t);
	vh_get(t->mmc, target(t), 1, 0, 0, &a, 64, ST(S_OK));
	vop_init(&s, VOP_GET_STATE);
	vf_put(&s, VF_GET_STATE_cntlid, target(t));
	vf_put(&s, VF_GET_STATE_csvi, 1);
	vf_put(&s, VF_GET_STATE_csuidxp, 0xff);
	vf_put(&s, VF_GET_STATE_numdl, 15);
	vt_do_data(t->mmc, 0, &s, &b, 64, ST(S_OK));
	VEXPECT(t, !memcmp(a.p, b.p, 64), "CSUIDXP changes the image though CSUUIDI is 0");
}

static void no_queues(struct vt *t)
{
	struct vmem m;
	uint32_t len;

	suspend(t);
	len = vh_image(t->mmc, t->mc[0], 1, 0, &m);
	VEQ(t, len, 56, "bytes of the image of a controller without I/O queues");
	VEQ(t, m.p[16], 2, "NVMECSS");
	VEQ(t, m.p[50] | m.p[52], 0, "NIOSQ and NIOCQ");
}

static void uidx(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_sqe s;
	unsigned st;

	suspend(t);
	vop_init(&s, VOP_GET_STATE);
	vf_put(&s, VF_GET_STATE_cntlid, target(t));
	vf_put(&s, VF_GET_STATE_csvi, 1);
	vf_put(&s, VF_GET_STATE_uidx, 0x7f);
	vf_put(&s, VF_GET_STATE_numdl, 11);
	st = vt_do_data(t->mmc, 0, &s, &m, 48, ST(S_OK, S_IF));
	vt_reading(t, "UIDX that names no UUID", "%s", nvme_status_name(st));
}

static void after_reset(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);

	vt_io_make(t->mc[0], 1, 16);
	suspend(t);
	vt_reset(t->mc[0]);
	vh_get(t->mmc, target(t), 1, 0, 0, &m, 64, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0) & 1, 0, "CSUP after a reset of the controller");
	VEQ(t, m.p[50] | m.p[52], 0, "queues in the state after a reset");
}

/* As many queue pairs as are granted, read whole and in pieces. */
static void many_queues(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	unsigned n, pairs;
	struct vmem m, part = vt_mem(t->mmc, VT_PAGE);
	struct nvme_state_v0 v;
	uint32_t len;

	vh_feature(mc, true, NVME_FID_NUM_QUEUES, 63 | 63 << 16, 0, ST(S_OK));
	n = MIN(le32_get(t->last.dw0) & 0xffff, le32_get(t->last.dw0) >> 16) + 1;
	pairs = MIN(n, 64u);
	for (unsigned i = pairs; i; i--)
		vt_io_make(mc, i, 4);
	suspend(t);
	len = vh_image(t->mmc, mc, 1, 0, &m);
	v = lists(t, &m, len);
	VEQ(t, le16_get(v.niosq), pairs, "NIOSQ");
	VEQ(t, len, 48 + 8 + 24 * 2 * pairs, "bytes of the image");
	for (unsigned i = 0; i < pairs; i++)
		compare(t, &m, i, i + 1);
	for (uint32_t at = 0; at < len; at += 512) {
		vh_get(t->mmc, target(t), 1, 0, at, &part, MIN(512u, len - at), ST(S_OK));
		VEXPECT(t, !memcmp(part.p, m.p + at, MIN(512u, len - at)), "512 bytes at %u differ from the whole image", at);
	}
	vt_reading(t, "queue pairs granted", "%u", n);
}

/* A running controller can be read; nothing of it may be used, but nothing breaks. */
static void running(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem buf = vt_mem(mc, VT_PAGE), m = vt_mem(t->mmc, VT_PAGE);

	vt_io_make(mc, 1, 64);
	for (unsigned i = 0; i < 50; i++) {
		struct vcmd *k[20];

		for (unsigned j = 0; j < ARRAY_LEN(k); j++) {
			struct nvme_sqe s;

			vh_rw_sqe(&s, NVME_NVM_WRITE, mc->ns[0].nsid, j, 1);
			s.prp1 = le64_of(buf.iova);
			k[j] = vt_queue(mc, 1, &s, ST(S_OK));
		}
		vt_ring(mc, 1);
		vh_get(t->mmc, target(t), 1, 0, 0, &m, 104, ST(S_OK));
		VEQ(t, le32_get(t->last.dw0) & 1, 0, "CSUP of a running controller");
		VEXPECT(t, le16_get(vh_state_sq(&m, 0)->head) < 64 && le16_get(vh_state_sq(&m, 0)->tail) < 64, "pointers outside the queue");
		for (unsigned j = 0; j < ARRAY_LEN(k); j++)
			vt_finish(t, k[j]);
	}
}

const struct vtest tests_mr[] = {
	{ "MR-01", NEED_MM, "GCS-04 GCS-05", suspended_bit, "CSUP and CSATTR.CP tell suspended from running", NULL },
	{ "MR-02", NEED_MM, "GCS-01", header, "the header and its reserved bytes", NULL },
	{ "MR-03", NEED_MM, "GCS-02", parts, "an index of 0 leaves that part out", NULL },
	{ "MR-04", NEED_MM, "GCS-03", unknown_index, "indices that are not listed", "negative" },
	{ "MR-05", NEED_MM, "GCS-06", ascending, "queues are listed in ascending order", NULL },
	{ "MR-06", NEED_MM | DUT_NS, "GCS-07 GCS-08 GCS-09", pointers, "every field of every queue, at each position of the rings", NULL },
	{ "MR-07", NEED_MM | DUT_NS, "GCS-08", pending, "commands announced during the suspension", NULL },
	{ "MR-08", NEED_MM | DUT_NS, "GCS-06 GCS-08", shared_cq, "queues that share a completion queue", NULL },
	{ "MR-09", NEED_MM, "GCS-07 GCS-09", attributes, "a completion queue without interrupts", NULL },
	{ "MR-10", NEED_MM, "GCS-10", misaligned, "offsets that are not whole dwords", "negative" },
	{ "MR-11", NEED_MM, "GCS-11", beyond, "offsets beyond the image", "negative reading" },
	{ "MR-12", NEED_MM, "GCS-12", pieces, "pieces of every size give the whole image", NULL },
	{ "MR-13", NEED_MM, "GCS-13", large_buffer, "a buffer larger than the image", NULL },
	{ "MR-14", NEED_MM, "GCS-14 V-MR-12", bad_cntlid, "controllers that are not there, and the MMC", "negative reading" },
	{ "MR-15", NEED_MM, "GCS-15", parameter, "CSUIDXP without CSUUIDI", NULL },
	{ "MR-16", NEED_MM, "GCS-17", no_queues, "a controller without I/O queues", NULL },
	{ "MR-17", NEED_MM, "V-MR-14", uidx, "UIDX that names no UUID", "reading" },
	{ "MR-18", NEED_MM, "V-RE-6 GCS-04", after_reset, "after a reset of the controller", "reset" },
	{ "MR-19", NEED_MM, "X-09 GCS-06", many_queues, "as many queue pairs as are granted", NULL },
	{ "MR-20", NEED_MM | DUT_NS, "GCS-05", running, "the state of a controller at work", "race" },
	{ .id = NULL }
};
