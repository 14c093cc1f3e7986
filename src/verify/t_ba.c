/* What migration rests on: registers, queues, Identify, features, events. */
#include "verify/test.h"

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : t->mmc; }

static struct nvme_sqe create_cq(struct vctl *c, unsigned qid, unsigned qsize0, unsigned flags, unsigned iv)
{
	struct vmem m = vt_mem(c, VT_PAGE);
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_CQ, .cdw10 = le32_of(qid | qsize0 << 16), .cdw11 = le32_of(flags | iv << 16) };

	s.prp1 = le64_of(m.iova);
	return s;
}

static struct nvme_sqe create_sq(struct vctl *c, unsigned qid, unsigned qsize0, unsigned cqid)
{
	struct vmem m = vt_mem(c, VT_PAGE);
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_SQ, .cdw10 = le32_of(qid | qsize0 << 16), .cdw11 = le32_of(1 | cqid << 16) };

	s.prp1 = le64_of(m.iova);
	return s;
}

static unsigned granted(struct vt *t)
{
	vh_feature(one(t), true, NVME_FID_NUM_QUEUES, 0x7fff7fff, 0, ST(S_OK));
	return MIN(le32_get(t->last.dw0) & 0xffff, le32_get(t->last.dw0) >> 16) + 1;
}

static void version(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		uint64_t vs = vt_reg(&t->ctl[i], NVME_REG_VS, 4);

		VEXPECT(t, vs >= 0x10000 && (vs >> 16) < 0x10, "VS is %llxh", (unsigned long long)vs);
		VEXPECT(t, t->ctl[i].cap >> 37 & 1, "CAP.CSS has no NVM command set");
		VEXPECT(t, (t->ctl[i].cap & 0xffff) >= 1, "CAP.MQES is 0");
		VEXPECT(t, t->ctl[i].cap >> 24 & 0xff, "CAP.TO is 0");
		if (t->ctl[i].mmc)
			VEXPECT(t, vs >= 0x20100, "an MMC reports version %llxh; HMLM came with 2.1", (unsigned long long)vs);
	}
}

static void ready(struct vt *t)
{
	for (unsigned i = 0; i < 20; i++)
		for (unsigned k = 0; k < t->ctls; k++)
			vt_reset(&t->ctl[k]);
}

static void forgets(struct vt *t)
{
	struct vctl *c = one(t);

	vt_io_make(c, 1, 16);
	vt_reset(c);
	vt_q_delete(c, false, 1, ST(S_QID));
	vt_q_delete(c, true, 1, ST(S_QID));
	vt_io_make(c, 1, 16);
}

static void read_back(struct vt *t)
{
	struct vctl *c = one(t);

	vt_disable(c);
	vt_reg_put(c, NVME_REG_AQA, 4, 0x001f000f);
	vt_reg_put(c, NVME_REG_ASQ, 8, 0x123456000ull);
	vt_reg_put(c, NVME_REG_ACQ, 8, 0x987654000ull);
	VEQ(t, vt_reg(c, NVME_REG_AQA, 4), 0x001f000f, "AQA");
	VEQ(t, vt_reg(c, NVME_REG_ASQ, 8), 0x123456000ull, "ASQ");
	VEQ(t, vt_reg(c, NVME_REG_ACQ, 8), 0x987654000ull, "ACQ");
	VEQ(t, vt_reg(c, NVME_REG_ACQ, 4), 0x87654000, "the lower half of ACQ");
	VEQ(t, vt_reg(c, NVME_REG_ACQ + 4, 4), 9, "the upper half of ACQ");
	vt_enable(c, true);
}

static void shutdown(struct vt *t)
{
	struct vctl *c = one(t);
	uint64_t end = vt_now_ns() + t->cmd_ns;

	vt_reg_put(c, NVME_REG_CC, 4, vt_reg(c, NVME_REG_CC, 4) | 1u << NVME_CC_SHN_SHIFT);
	while ((vt_reg(c, NVME_REG_CSTS, 4) >> 2 & 3) != 2) {
		VEXPECT(t, vt_now_ns() < end, "CSTS.SHST does not become 10b");
		vt_poll(t);
	}
	vt_reset(c);
}

/* Laps of small rings: phase, SQHD and CID are judged at every completion. */
static void laps(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) };

	vt_io_make(c, 1, 2);
	vt_io_make(c, 2, 7);
	for (unsigned i = 0; i < 60; i++)
		vt_do(c, 1 + i % 2, &s, ST(S_OK));
	VEXPECT(t, c->cq[1].posted >= 30 && c->cq[2].posted >= 30, "completions are missing");
}

static void full_depth(struct vt *t)
{
	struct vctl *c = one(t);
	unsigned size = MIN((unsigned)(c->cap & 0xffff) + 1, 256u);
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) };
	struct vcmd *k[256];

	vt_io_make(c, 1, size);
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < size - 1; i++)
			k[i] = vt_queue(c, 1, &s, ST(S_OK));
		vt_ring(c, 1);
		for (unsigned i = 0; i < size - 1; i++)
			vt_finish(t, k[i]);
	}
}

static void shared_cq(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) };
	struct vcmd *k[30];

	vt_cq_make(c, 1, 64, ST(S_OK));
	for (unsigned i = 1; i <= 3; i++)
		vt_sq_make(c, i, 1, 16, ST(S_OK));
	for (unsigned i = 0; i < 30; i++)
		k[i] = vt_queue(c, 1 + i % 3, &s, ST(S_OK));
	for (unsigned i = 1; i <= 3; i++)
		vt_ring(c, i);
	for (unsigned i = 0; i < 30; i++)
		vt_finish(t, k[i]);
}

/* A CQ smaller than its SQ, and nobody reads it for a while. */
static void full_cq(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) };
	struct vcmd *k[20];

	vt_cq_make(c, 1, 4, ST(S_OK));
	vt_sq_make(c, 1, 1, 32, ST(S_OK));
	c->cq[1].hold = true;
	for (unsigned i = 0; i < 20; i++)
		k[i] = vt_queue(c, 1, &s, ST(S_OK));
	vt_ring(c, 1);
	vt_watch_silent(c);
	for (unsigned i = 0; i < 3; i++)
		VEXPECT(t, c->cq[1].m.p[16 * i + 14] & 1, "completion %u of a queue of 4 is not there", i);
	VEXPECT(t, !(c->cq[1].m.p[16 * 3 + 14] & 1), "a completion was posted into a full CQ");
	c->cq[1].hold = false;
	for (unsigned i = 0; i < 20; i++)
		vt_finish(t, k[i]);
}

static void cq_qid(struct vt *t)
{
	struct vctl *c = one(t);
	unsigned n = granted(t);
	struct nvme_sqe s = create_cq(c, 0, 7, 3, 0);

	vt_do(c, 0, &s, ST(S_QID));
	s = create_cq(c, n + 1, 7, 3, 0);
	vt_do(c, 0, &s, ST(S_QID));
	s = create_cq(c, 0xffff, 7, 3, 0);
	vt_do(c, 0, &s, ST(S_QID));
	vt_cq_make(c, 1, 8, ST(S_OK));
	s = create_cq(c, 1, 7, 3, 0);
	vt_do(c, 0, &s, ST(S_QID));
}

static void cq_size(struct vt *t)
{
	struct vctl *c = one(t);
	unsigned mqes = (unsigned)(c->cap & 0xffff);
	struct nvme_sqe s = create_cq(c, 1, 0, 3, 1);

	vt_do(c, 0, &s, ST(S_QSIZE));
	s = create_sq(c, 1, 0, 1);
	vt_cq_make(c, 1, 8, ST(S_OK));
	vt_do(c, 0, &s, ST(S_QSIZE));
	if (mqes == 0xffff)
		return;
	s = create_cq(c, 2, mqes + 1, 3, 1);
	vt_do(c, 0, &s, ST(S_QSIZE));
	s = create_sq(c, 1, mqes + 1, 1);
	vt_do(c, 0, &s, ST(S_QSIZE));
}

static void cq_vector(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = create_cq(c, 1, 7, 3, 0xffff);

	vt_do(c, 0, &s, ST(S_IV));
	s = create_cq(c, 1, 7, 3, 2048);
	vt_do(c, 0, &s, ST(S_IV));
}

static void cq_offset(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = create_cq(c, 1, 7, 3, 1);

	s.prp1 = le64_of(le64_get(s.prp1) + 16);
	vt_do(c, 0, &s, ST(S_PRP, S_IF));
	vt_cq_make(c, 1, 8, ST(S_OK));
	s = create_sq(c, 1, 7, 1);
	s.prp1 = le64_of(le64_get(s.prp1) + 64);
	vt_do(c, 0, &s, ST(S_PRP, S_IF));
}

static void cq_contiguous(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = create_cq(c, 1, 7, 2, 1);

	if (!(c->cap >> 16 & 1))
		vt_skip(t, "CAP.CQR is 0: queues need not be contiguous");
	vt_do(c, 0, &s, ST(S_IF));
}

static void sq_cqid(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = create_sq(c, 1, 7, 5);

	vt_do(c, 0, &s, ST(S_CQ));
	s = create_sq(c, 1, 7, 0);
	vt_do(c, 0, &s, ST(S_CQ, S_QID));
	s = create_sq(c, 1, 7, 0xfff0);
	vt_do(c, 0, &s, ST(S_CQ, S_QID));
}

static void sq_qid(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s;

	vt_io_make(c, 1, 8);
	s = create_sq(c, 1, 7, 1);
	vt_do(c, 0, &s, ST(S_QID));
	s = create_sq(c, 0, 7, 1);
	vt_do(c, 0, &s, ST(S_QID));
	s = create_sq(c, 0xffff, 7, 1);
	vt_do(c, 0, &s, ST(S_QID));
}

static void delete_used(struct vt *t)
{
	struct vctl *c = one(t);

	vt_io_make(c, 1, 8);
	vt_q_delete(c, true, 1, ST(S_QDEL));
	vt_q_delete(c, false, 1, ST(S_OK));
	vt_q_delete(c, true, 1, ST(S_OK));
}

static void delete_absent(struct vt *t)
{
	struct vctl *c = one(t);

	vt_q_delete(c, false, 3, ST(S_QID));
	vt_q_delete(c, true, 3, ST(S_QID));
	vt_q_delete(c, false, 0, ST(S_QID));
	vt_q_delete(c, true, 0, ST(S_QID));
}

static void make_again(struct vt *t)
{
	struct vctl *c = one(t);

	for (unsigned i = 0; i < 20; i++) {
		vt_io_make(c, 1, 8);
		if (c->nss) {
			vh_write(c, 1, c->ns[0].nsid, i, 1, i + 1, ST(S_OK));
			vh_read_is(c, 1, c->ns[0].nsid, i, 1, i + 1);
		}
		vt_q_delete(c, false, 1, ST(S_OK));
		vt_q_delete(c, true, 1, ST(S_OK));
	}
}

static void opcodes(struct vt *t)
{
	static const uint8_t opc[] = { 0x03, 0x07, 0x0b, 0x3c, 0x3f, 0x40, 0x43, 0x44, 0x46, 0x7f, 0xbf };

	for (unsigned i = 0; i < ARRAY_LEN(opc); i++) {
		struct nvme_sqe s = { .opc = opc[i] };

		vt_do(one(t), 0, &s, ST(S_IO));
	}
}

static void cns(struct vt *t)
{
	static const uint8_t bad[] = { 0x0f, 0x3f, 0x80, 0xbf };
	struct vmem m;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		vh_identify(one(t), bad[i], 0, 0, 0, &m, ST(S_IF));
}

static void ns_list(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem m, above;
	uint32_t last = 0;
	unsigned n = 0;

	vh_identify(c, NVME_CNS_ACTIVE_NS, 0, 0, 0, &m, ST(S_OK));
	for (unsigned i = 0; i < 1024; i++) {
		le32 v;
		uint32_t id;

		memcpy(&v, m.p + 4 * i, 4);
		id = le32_get(v);
		if (!id) {
			for (unsigned k = 4 * i; k < VT_PAGE; k++)
				VEXPECT(t, !m.p[k], "byte %u behind the list is %02xh", k, m.p[k]);
			break;
		}
		VEXPECT(t, id > last, "NSID %u after %u", id, last);
		last = id;
		n++;
	}
	VEXPECT(t, n <= le32_get(c->id.nn), "%u active namespaces, NN is %u", n, le32_get(c->id.nn));
	vh_identify(c, NVME_CNS_ACTIVE_NS, last, 0, 0, &above, ST(S_OK));
	VEXPECT(t, !(above.p[0] | above.p[1] | above.p[2] | above.p[3]), "the list above the last NSID is not empty");
}

static void ns_absent(struct vt *t)
{
	struct vctl *c = one(t);
	uint32_t nn = le32_get(c->id.nn);
	struct vmem m;

	vh_identify(c, NVME_CNS_NS, 0, 0, 0, &m, ST(S_NS));
	if (nn < 0xfffffff0)
		vh_identify(c, NVME_CNS_NS, nn + 1, 0, 0, &m, ST(S_NS));
	vh_identify(c, NVME_CNS_NS, 0xfffffffe, 0, 0, &m, ST(S_NS));
	if (nn > c->nss && vh_identify(c, NVME_CNS_NS, nn, 0, 0, &m, ST(S_OK)) == S_OK && c->ns[c->nss - 1].nsid != nn)
		for (unsigned i = 0; i < VT_PAGE; i++)
			VEXPECT(t, !m.p[i], "byte %u of an inactive namespace is %02xh", i, m.p[i]);
}

static void abort_absent(struct vt *t)
{
	struct nvme_sqe s = { .opc = NVME_OP_ABORT, .cdw10 = le32_of(0x12340000) };

	vt_do(one(t), 0, &s, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0) & 1, 1, "DW0 bit 0 of an Abort of nothing");
	s.cdw10 = le32_of(0x0001 << 16 | 0x33); /* an SQ that is not there */
	vt_do(one(t), 0, &s, ST(S_OK, S_IF));
}

static void too_many_aers(struct vt *t)
{
	struct vctl *c = one(t);
	unsigned limit = c->id.aerl + 1u;
	struct nvme_sqe s = { .opc = NVME_OP_AER };

	if (limit > 60)
		vt_skip(t, "AERL %u needs a deeper admin queue", c->id.aerl);
	for (unsigned i = 0; i < limit; i++)
		vh_aer(c);
	vt_do(c, 0, &s, ST(S_AER));
	vt_watch_silent(c); /* and the others stay */
}

static void bad_log(struct vt *t)
{
	static const uint8_t lid[] = { 0x1f, 0x7f, 0xbf };
	struct vctl *c = one(t);

	for (unsigned i = 0; i < ARRAY_LEN(lid); i++) {
		struct vmem m = vt_mem(c, VT_PAGE);
		struct nvme_sqe s = { .opc = NVME_OP_GET_LOG, .cdw10 = le32_of(lid[i] | 127 << 16) };

		vt_do_data(c, 0, &s, &m, 512, ST(S_LOG, S_IF));
	}
}

static void feature(struct vt *t)
{
	struct vctl *c = one(t);
	uint32_t was;

	vh_feature(c, false, NVME_FID_TEMP, 0, 0, ST(S_OK));
	was = le32_get(t->last.dw0);
	vh_feature(c, true, NVME_FID_TEMP, was ^ 0x11, 0, ST(S_OK));
	vh_feature(c, false, NVME_FID_TEMP, 0, 0, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0), was ^ 0x11, "temperature threshold");
	vt_reset(c);
	vh_feature(c, false, NVME_FID_TEMP, 0, 0, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0), was, "temperature threshold after a reset");
}

static void bad_feature(struct vt *t)
{
	static const uint8_t fid[] = { 0x00, 0x3f, 0x7f };

	for (unsigned i = 0; i < ARRAY_LEN(fid); i++) {
		vh_feature(one(t), false, fid[i], 0, 0, ST(S_IF));
		vh_feature(one(t), true, fid[i], 0, 0, ST(S_IF));
	}
}

static void queues_late(struct vt *t)
{
	struct vctl *c = one(t);

	granted(t);
	vt_cq_make(c, 1, 8, ST(S_OK));
	vh_feature(c, true, NVME_FID_NUM_QUEUES, 0x00010001, 0, ST(S_SEQ));
}

/* The vector of a CQ is raised when something is posted there, and not without. */
static void interrupts(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) };
	uint64_t n = 0, end;

	vt_io_make(c, 1, 16);
	vt_io_make(c, 2, 16);
	for (unsigned v = 0; v < 4; v++)
		c->dut->irqs(c->dut, v);
	for (unsigned i = 0; i < 5; i++)
		vt_do(c, 2, &s, ST(S_OK));
	for (end = vt_now_ns() + t->cmd_ns; !n && vt_now_ns() < end;) {
		vt_poll(t);
		n = c->dut->irqs(c->dut, 2);
	}
	VEXPECT(t, n, "no interrupt on vector 2 for completions in CQ 2");
	VEXPECT(t, !c->dut->irqs(c->dut, 1), "an interrupt on vector 1, and nothing was posted in CQ 1");
}

static void bad_doorbells(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) };

	vt_io_make(c, 1, 16);
	vt_doorbell(c, 2 * 40, 3);	/* no such queue */
	vt_doorbell(c, 2 * 40 + 1, 3);
	vt_doorbell(c, 2 * 1, 99);	/* outside the queue */
	vt_doorbell(c, 2 * 1 + 1, 99);
	vt_watch_silent(c);
	vt_reset(c);			/* the controller may have stopped the queue, but not itself */
	vt_io_make(c, 1, 16);
	vt_do(c, 1, &s, ST(S_OK));
}

enum { Q = DUT_MEM | DUT_REGS, QN = DUT_MEM | DUT_REGS | DUT_NS };
const struct vtest tests_ba[] = {
	{ "BA-01", Q, "B-REG-1", version, "CAP and VS", NULL },
	{ "BA-02", Q, "B-REG-2", ready, "CC.EN off and on, 20 times", "reset" },
	{ "BA-03", Q, "B-REG-3", forgets, "a reset deletes I/O queues", "reset" },
	{ "BA-04", Q, "B-REG-4", read_back, "AQA, ASQ and ACQ read back", NULL },
	{ "BA-05", Q, "B-REG-5", shutdown, "a shutdown is reported", "reset" },
	{ "BA-06", QN, "B-Q-1 B-Q-2", laps, "phases over many laps of small rings", NULL },
	{ "BA-07", QN, "B-Q-2", full_depth, "queues filled to the last slot", "stress" },
	{ "BA-08", QN, "B-Q-3", shared_cq, "three SQs share a CQ", NULL },
	{ "BA-09", QN, "B-Q-4", full_cq, "a full CQ: nothing is overwritten, nothing is lost", NULL },
	{ "BA-10", Q, "B-CQ-1", cq_qid, "Create CQ: QIDs", "negative" },
	{ "BA-11", Q, "B-CQ-2 B-SQ-3", cq_size, "Create CQ and SQ: sizes", "negative" },
	{ "BA-12", Q, "B-CQ-3", cq_vector, "Create CQ: vectors", "negative" },
	{ "BA-13", Q, "B-CQ-4", cq_offset, "Create CQ and SQ: offsets", "negative" },
	{ "BA-14", Q, "B-CQ-5", cq_contiguous, "Create CQ: PC=0 where CQR=1", "negative" },
	{ "BA-15", Q, "B-SQ-1", sq_cqid, "Create SQ: CQIDs", "negative" },
	{ "BA-16", Q, "B-SQ-2", sq_qid, "Create SQ: QIDs", "negative" },
	{ "BA-17", Q, "B-DQ-1", delete_used, "a CQ in use cannot be deleted", "negative" },
	{ "BA-18", Q, "B-DQ-2", delete_absent, "queues that are not there", "negative" },
	{ "BA-19", Q, "B-DQ-3", make_again, "queues made again 20 times", NULL },
	{ "BA-20", Q, "B-ADM-1 V-ID-13", opcodes, "admin opcodes that are not there", "negative" },
	{ "BA-21", Q, "B-ADM-2", cns, "reserved CNS", "negative" },
	{ "BA-22", Q, "B-ADM-3", ns_list, "the active namespace list", NULL },
	{ "BA-23", QN, "B-ADM-4", ns_absent, "Identify of namespaces that are not there", "negative" },
	{ "BA-24", Q, "B-ADM-5", abort_absent, "Abort of a command that is not out", NULL },
	{ "BA-25", Q, "B-ADM-6 B-ADM-7", too_many_aers, "one event request too many", "negative" },
	{ "BA-26", Q, "B-ADM-8", bad_log, "log pages that are not there", "negative" },
	{ "BA-27", Q, "B-FT-1 B-FT-2", feature, "a feature reads back, and a reset clears it", "reset" },
	{ "BA-28", Q, "B-FT-3", bad_feature, "features that are not there", "negative" },
	{ "BA-29", Q, "B-FT-4", queues_late, "Number of Queues after a queue was made", "negative" },
	{ "BA-30", QN | DUT_IRQ, "B-Q-1", interrupts, "interrupts come on the vector of the CQ", NULL },
	{ "BA-31", QN, "B-REG-2", bad_doorbells, "doorbells of no queue and beyond a queue", "hostile" },
	{ .id = NULL }
};
