/* The edges of what migration rests on: what a driver meets rarely, and a controller that moved must still get right. */
#include "verify/t_be.h"

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : t->mmc; }
static struct nvme_sqe flush(struct vctl *c) { return (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) }; }

/* A queue full of commands that end at once: those behind are not fetched yet when the first completions come. */
static void slots(struct vt *t)
{
	struct vctl *c = one(t);
	unsigned size = MIN((unsigned)(c->cap & 0xffff) + 1, 256u);
	struct nvme_sqe s = { .opc = 0x7f, .nsid = le32_of(c->ns[0].nsid) };
	struct vcmd *k[256];

	vt_io_make(c, 1, size);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < size - 1; i++)
			k[i] = vt_queue(c, 1, &s, ST(S_IO));
		vt_ring(c, 1);
		for (unsigned i = 0; i < size - 1; i++)
			vt_finish(t, k[i]);
	}
}

/* ---- doorbells and error events */

static void read_errors(struct vctl *c, bool rae)
{
	struct vmem m = vt_mem(c, 512);
	struct nvme_sqe s = { .opc = NVME_OP_GET_LOG, .nsid = le32_of(0xffffffff), .cdw10 = le32_of(NVME_LID_ERROR | rae << 15 | 127 << 16) };

	vt_do_data(c, 0, &s, &m, 512, ST(S_OK));
}

static void expect_bad_value(struct vt *t, struct vcmd *aer)
{
	vt_finish(t, aer);
	VEQ(t, le32_get(t->last.dw0), NVME_LID_ERROR << 16 | 1 << 8 | 0, "DW0 of the event of an invalid doorbell value");
}

static void bad_value(struct vt *t)
{
	static const struct { unsigned index; uint32_t value; } bad[] = { { 2, 16 }, { 2, 99 }, { 3, 16 }, { 3, 5 } };

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct vctl *c = one(t);
		struct vcmd *a;

		vt_fresh(t);
		vt_io_make(c, 1, 16);
		a = vh_aer(c);
		vt_trace(t, "doorbell %u = %u in queues of 16, nothing sent", bad[i].index, bad[i].value);
		vt_doorbell(c, bad[i].index, bad[i].value);
		expect_bad_value(t, a);
		vt_watch_silent(c);
	}
}

/* One event of a kind, until the host has read the log page it names, with RAE 0. */
static void masked(struct vt *t)
{
	struct vctl *c = one(t);
	struct vcmd *a;

	vt_io_make(c, 1, 16);
	a = vh_aer(c);
	vt_doorbell(c, 2, 99);
	expect_bad_value(t, a);
	a = vh_aer(c);
	vt_doorbell(c, 2, 98);
	VEXPECT(t, !vh_done_soon(t, a), "a second error event came before the error log was read");
	read_errors(c, true);
	vt_doorbell(c, 2, 96);
	VEXPECT(t, !vh_done_soon(t, a), "an error event came after the error log was read with RAE=1");
	read_errors(c, false);
	vt_doorbell(c, 2, 97);
	expect_bad_value(t, a);
}

/* What happens to a suspended controller is told when it is resumed. */
static void event_suspended(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vcmd *a;

	vt_io_make(mc, 1, 16);
	a = vh_aer(mc);
	vt_watch_silent(mc);	/* it has been fetched */
	vh_suspend(t->mmc, mc->cntlid, 1, false, ST(S_OK));
	vt_doorbell(mc, 2, 99);
	vt_watch_silent(mc);
	vh_resume(t->mmc, mc->cntlid, ST(S_OK));
	expect_bad_value(t, a);
}

/* ---- queues */

/* A queue that is made again knows nothing of the one before, also while nobody has rung yet. */
static void again_idle(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = flush(c);

	for (unsigned n = 1; n < 6; n++) {
		struct vcmd *k[20];

		vt_cq_make(c, 1, 8, ST(S_OK));
		vt_sq_make(c, 1, 1, 32, ST(S_OK));
		vt_watch_silent(c);
		c->cq[1].hold = true;	/* nobody reads: the new CQ's head is 0, whatever the old one's was */
		for (unsigned i = 0; i < ARRAY_LEN(k); i++)
			k[i] = vt_queue(c, 1, &s, ST(S_OK));
		vt_ring(c, 1);
		vt_watch_silent(c);
		c->cq[1].hold = false;
		for (unsigned i = 0; i < ARRAY_LEN(k); i++)
			vt_finish(t, k[i]);
		for (unsigned i = 0; i < n; i++)
			vt_do(c, 1, &s, ST(S_OK));
		vt_q_delete(c, false, 1, ST(S_OK));
		vt_q_delete(c, true, 1, ST(S_OK));
	}
}

enum { READS = 24 };
static void many_reads(struct vctl *c, struct vmem m[READS], const uint16_t *want)
{
	for (unsigned i = 0; i < READS; i++) {
		struct nvme_sqe s;

		m[i] = vt_mem(c, VT_PAGE);
		vh_rw_sqe(&s, NVME_NVM_READ, c->ns[0].nsid, 8 * i, VT_PAGE / c->ns[0].lba);
		s.prp1 = le64_of(m[i].iova);
		vt_queue(c, 1, &s, want);
	}
	vt_ring(c, 1);
}

static void expect_untouched(struct vctl *c, struct vmem m[READS], const char *what)
{
	for (unsigned i = 0; i < READS; i++)
		memset(m[i].p, 0xe7, VT_PAGE);
	vt_watch_silent(c);
	for (unsigned n = 0; n < 64; n++)
		vt_poll(c->t);
	for (unsigned i = 0; i < READS; i++)
		for (unsigned b = 0; b < VT_PAGE; b++)
			VEXPECT(c->t, m[i].p[b] == 0xe7, "a Read wrote its data after %s", what);
}

/* Once a queue is deleted its commands are over: the host may use their memory. */
static void delete_under_way(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem m[READS];

	for (unsigned round = 0; round < 5; round++) {
		struct vmark mark = vt_mark(c);

		vt_io_make(c, 1, 64);
		many_reads(c, m, ST(S_OK, S_ABORTED, S_SQ_GONE));
		vt_q_delete(c, false, 1, ST(S_OK));
		expect_untouched(c, m, "Delete I/O Submission Queue had completed");
		for (unsigned i = 0; i < VT_CMDS; i++)
			if (t->cmd[i].used && t->cmd[i].c == c && t->cmd[i].qid == 1)
				vt_forget(&t->cmd[i]);
		vt_q_delete(c, true, 1, ST(S_OK));
		vt_back(c, mark);
	}
}

static void ready_is_quiet(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem m[READS];

	for (unsigned round = 0; round < 5; round++) {
		struct vmark mark = vt_mark(c);

		vt_io_make(c, 1, 64);
		many_reads(c, m, ST_ANY);
		for (unsigned n = rng_below(&t->rng, 3) + 1; n; n--)
			t->dut->pump ? (void)t->dut->pump(t->dut->ctx) : (void)0;
		vt_disable(c);
		expect_untouched(c, m, "CSTS.RDY had become 0");
		vt_enable(c, true);
		vt_back(c, mark);
	}
}

/* An admin CQ of four entries, and nobody reads it for a while. */
static void small_admin(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = { .opc = NVME_OP_GET_FEATURES, .cdw10 = le32_of(NVME_FID_TEMP) };
	struct vcmd *k[12];

	vt_disable(c);
	memset(c->acq.p, 0, c->acq.len);
	c->cq[0] = (struct vcq){ .live = true, .size = 4, .m = c->acq, .phase = true, .hold = true };
	c->sq[0] = (struct vsq){ .live = true, .size = 32, .m = c->asq };
	vt_reg_put(c, NVME_REG_AQA, 4, 31 | 3 << 16);
	vt_reg_put(c, NVME_REG_CC, 4, NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT);
	c->up = true;
	for (uint64_t end = vt_now_ns() + t->cmd_ns; !(vt_reg(c, NVME_REG_CSTS, 4) & NVME_CSTS_RDY); vt_poll(t))
		VEXPECT(t, vt_now_ns() < end, "not ready with an admin CQ of four entries");
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		k[i] = vt_queue(c, 0, &s, ST(S_OK));
	vt_ring(c, 0);
	vt_watch_silent(c);
	VEXPECT(t, !(c->acq.p[16 * 3 + 14] & 1), "a completion was posted into a full admin CQ");
	c->cq[0].hold = false;
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		vt_finish(t, k[i]);
	vt_reset(c);
}

static void limits(struct vt *t)
{
	struct vctl *c = one(t);
	unsigned mqes = (unsigned)(c->cap & 0xffff), cqs, sqs;
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_CQ };

	vh_feature(c, true, NVME_FID_NUM_QUEUES, 0xffff, 0, ST(S_IF));
	vh_feature(c, true, NVME_FID_NUM_QUEUES, 0xffff0000, 0, ST(S_IF));
	vh_feature(c, true, NVME_FID_NUM_QUEUES, 0x7ffe7ffe, 0, ST(S_OK));
	sqs = le32_get(t->last.dw0);
	vh_feature(c, false, NVME_FID_NUM_QUEUES, 0, 0, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0), sqs, "Number of Queues read back");
	vh_feature(c, true, NVME_FID_NUM_QUEUES, 0x00010001, 0, ST(S_OK));
	sqs = (le32_get(t->last.dw0) & 0xffff) + 1;
	cqs = (le32_get(t->last.dw0) >> 16) + 1;
	vh_feature(c, false, NVME_FID_NUM_QUEUES, 0, 0, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0), (cqs - 1) << 16 | (sqs - 1), "Number of Queues read back");
	s.prp1 = le64_of(vt_mem(c, VT_PAGE).iova);
	s.cdw10 = le32_of((cqs + 1) | 7 << 16);
	s.cdw11 = le32_of(1);
	vt_do(c, 0, &s, ST(S_QID));
	vt_cq_make(c, 1, 16, ST(S_OK));
	s.opc = NVME_OP_CREATE_SQ;
	s.cdw10 = le32_of((sqs + 1) | 7 << 16);
	s.cdw11 = le32_of(1 | 1 << 16);
	vt_do(c, 0, &s, ST(S_QID));
	if (mqes > 4095)
		vt_skip(t, "queues of CAP.MQES (%u) entries are more memory than a test has", mqes);
	vt_q_delete(c, true, 1, ST(S_OK));
	vt_io_make(c, 1, mqes + 1);
	s = flush(c);
	vt_do(c, 1, &s, ST(S_OK));
}

/* ---- registers */

static void registers(struct vt *t)
{
	struct vctl *c = one(t);
	uint64_t end = vt_now_ns() + t->cmd_ns;

	vt_disable(c);
	vt_reg_put(c, NVME_REG_ASQ, 8, 0x123456fffull);
	vt_reg_put(c, NVME_REG_ACQ, 8, 0x987654fffull);
	VEQ(t, vt_reg(c, NVME_REG_ASQ, 8), 0x123456000ull, "ASQ, whose low 12 bits are reserved");
	VEQ(t, vt_reg(c, NVME_REG_ACQ, 8), 0x987654000ull, "ACQ, whose low 12 bits are reserved");
	vt_enable(c, true);
	vt_reg_put(c, NVME_REG_CC, 4, vt_reg(c, NVME_REG_CC, 4) | 1u << NVME_CC_SHN_SHIFT);
	while ((vt_reg(c, NVME_REG_CSTS, 4) >> 2 & 3) != 2) {
		VEXPECT(t, vt_now_ns() < end, "CSTS.SHST does not become 10b");
		vt_poll(t);
	}
	vt_reset(c);
	VEQ(t, vt_reg(c, NVME_REG_CSTS, 4) >> 2 & 3, 0, "CSTS.SHST after a reset");
}

static void nssr_value(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		vt_reg_put(&t->ctl[i], NVME_REG_NSSR, 4, 0x4e564d64);
		vt_watch_silent(&t->ctl[i]);
	}
	for (unsigned i = 0; i < t->ctls; i++)
		VEQ(t, vt_reg(&t->ctl[i], NVME_REG_CSTS, 4) & 1, 1, "CSTS.RDY after NSSR was written with something else than its signature");
}

static void flr(struct vt *t)
{
	struct vctl *c = one(t);
	uint8_t cmd[2] = { 0xff, 0xff };
	uint64_t cc, aqa, asq, acq;

	if (c->port->ops->cfg_read(c->port, 4, cmd, 2) || !(cmd[0] & 4))
		vt_skip(t, "configuration space cannot be seen");
	if (c->port->ops->reset(c->port))
		vt_error(t, "the function cannot be reset");
	c->port->ops->cfg_read(c->port, 4, cmd, 2);
	cc = vt_reg(c, NVME_REG_CC, 4);
	aqa = vt_reg(c, NVME_REG_AQA, 4);
	asq = vt_reg(c, NVME_REG_ASQ, 8);
	acq = vt_reg(c, NVME_REG_ACQ, 8);
	vt_port_again(c);
	vt_reset(c);
	VEXPECT(t, !(cc & 1) && !aqa && !asq && !acq, "CC.EN %u, AQA %llxh, ASQ %llxh, ACQ %llxh after a function level reset", (unsigned)cc & 1,
		(unsigned long long)aqa, (unsigned long long)asq, (unsigned long long)acq);
	VEQ(t, cmd[0] & 4, 0, "Bus Master Enable after a function level reset");
}

/* ---- commands */

static void flags(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = flush(c);
	struct vmem m = vt_mem(c, VT_PAGE);

	vt_io_make(c, 1, 16);
	for (unsigned f = 1; f < 3 && !le16_get(c->id.fuses); f++) {
		s.flags = (uint8_t)f;
		vt_do(c, 1, &s, ST(S_IF));
	}
	s = (struct nvme_sqe){ .opc = NVME_OP_IDENTIFY, .flags = 1 << 6, .cdw10 = le32_of(NVME_CNS_CTRL) };
	vt_do_data(c, 0, &s, &m, VT_PAGE, ST(S_IF));
	s.flags = 3 << 6;
	vt_do_data(c, 0, &s, &m, VT_PAGE, ST(S_IF));
}

static void strings(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		const uint8_t *p = (const uint8_t *)&t->ctl[i].id;

		for (unsigned b = 4; b < 72; b++)
			VEXPECT(t, p[b] >= 0x20 && p[b] < 0x7f, "byte %u of %s's Identify, in a string of ASCII and spaces, is %02xh", b,
				t->ctl[i].name, p[b]);
	}
}

static void list_start(struct vt *t)
{
	struct vmem m;

	vh_identify(one(t), NVME_CNS_ACTIVE_NS, 0xffffffff, 0, 0, &m, ST(S_NS));
	vh_identify(one(t), NVME_CNS_ACTIVE_NS, 0xfffffffe, 0, 0, &m, ST(S_NS));
}

/* Whoever calls itself an MMC knows an MMC's commands. (A CNTLID that is not there.) */
static void every_mmc(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		struct nvme_sqe s = { .opc = 0x41, .cdw11 = le32_of(0xfffe) };

		if (le16_get(t->ctl[i].id.oacs) & NVME_OACS_HMLM)
			vt_do(&t->ctl[i], 0, &s, ST(S_1F));
	}
}

static unsigned get_feature(struct vctl *c, unsigned fid, unsigned sel, const uint16_t *want)
{
	struct nvme_sqe s = { .opc = NVME_OP_GET_FEATURES, .cdw10 = le32_of(fid | sel << 8) };

	return vt_do(c, 0, &s, want);
}

static void feature_select(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = { .opc = NVME_OP_SET_FEATURES, .cdw10 = le32_of(NVME_FID_TEMP | 1u << 31), .cdw11 = le32_of(0x155) };
	uint32_t was;
	bool save;

	get_feature(c, NVME_FID_TEMP, 3, ST(S_OK));
	save = le32_get(t->last.dw0) & 1;
	get_feature(c, NVME_FID_TEMP, 0, ST(S_OK));
	was = le32_get(t->last.dw0);
	vh_feature(c, true, NVME_FID_TEMP, was ^ 0x11, 0, ST(S_OK));
	get_feature(c, NVME_FID_TEMP, 1, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0), was, "the default after another value was set");
	for (unsigned sel = 4; sel < 8; sel++)
		get_feature(c, NVME_FID_TEMP, sel, ST(S_IF));
	if (!save)
		vt_do(c, 0, &s, ST(S_NOSAVE));
	get_feature(c, NVME_FID_TEMP, 0, ST(S_OK));
	VEQ(t, le32_get(t->last.dw0), save ? le32_get(t->last.dw0) : (was ^ 0x11), "the value after a Set Features that was refused");
}

/* ---- logs */

static void log_part(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem all = vt_mem(c, VT_PAGE), part = vt_mem(c, VT_PAGE);
	struct nvme_sqe s = { .opc = NVME_OP_GET_LOG, .cdw10 = le32_of(NVME_LID_EFFECTS | 1023 << 16) };

	if (!(c->id.lpa & 4))
		vt_skip(t, "LPA: no offsets into log pages");
	vt_do_data(c, 0, &s, &all, VT_PAGE, ST(S_OK));
	s.cdw10 = le32_of(NVME_LID_EFFECTS | 127 << 16);
	for (unsigned off = 8; off < 2048; off += 248) {
		s.cdw12 = le32_of(off);
		vt_do_data(c, 0, &s, &part, 512, ST(S_OK));
		VEXPECT(t, !memcmp(part.p, all.p + off, 512), "a log page read from offset %u is not that part of the whole", off);
	}
	s.cdw12 = le32_of(6);
	vt_do_data(c, 0, &s, &part, 512, ST(S_IF));
}

static void error_log(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem m = vt_mem(c, 512);
	struct nvme_sqe bad = { .opc = 0x7f, .nsid = le32_of(c->ns[0].nsid) },
			s = { .opc = NVME_OP_GET_LOG, .nsid = le32_of(0xffffffff), .cdw10 = le32_of(NVME_LID_ERROR | 127 << 16) };
	uint64_t before, after;

	vt_io_make(c, 1, 16);
	vt_do(c, 1, &bad, ST(S_IO));
	vt_do_data(c, 0, &s, &m, 512, ST(S_OK));
	memcpy(&before, m.p, 8);
	if (!before)
		vt_skip(t, "an opcode that is not supported is not logged");
	vh_io(c, 1, NVME_NVM_READ, c->ns[0].nsid, c->ns[0].blocks, 1, ST(S_LBA));
	vt_do_data(c, 0, &s, &m, 512, ST(S_OK));
	memcpy(&after, m.p, 8);
	VEXPECT(t, le64toh(after) > le64toh(before), "the first entry of the error log is not the newest: error count %llu after %llu",
		(unsigned long long)le64toh(after), (unsigned long long)le64toh(before));
}

/* ---- namespaces */

static void format_all(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = { .opc = NVME_OP_FORMAT, .nsid = le32_of(c->ns[0].nsid), .cdw10 = le32_of(1 << 9) };
	const uint64_t at[] = { 0, c->ns[0].blocks / 2 - 4, c->ns[0].blocks / 2, c->ns[0].blocks - 8 };
	struct vmem m;
	struct nvme_sqe r;

	vt_io_make(c, 1, 16);
	for (unsigned i = 0; i < ARRAY_LEN(at); i++)
		vh_write(c, 1, c->ns[0].nsid, at[i], 8, 70 + i, ST(S_OK));
	vt_do(c, 0, &s, ST(S_OK));
	m = vt_mem(c, 8 * vh_lba(c));
	for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
		vh_rw_sqe(&r, NVME_NVM_READ, c->ns[0].nsid, at[i], 4);
		vt_do_data(c, 1, &r, &m, 4 * vh_lba(c), ST(S_OK));
		VEXPECT(t, !vh_same(&m, 4 * vh_lba(c), 70 + i), "LBA %llu was not erased by Format", (unsigned long long)at[i]);
	}
}

/* Another controller formats a namespace that this one sees too; nobody asked to be told. */
static void not_asked(struct vt *t)
{
	struct vctl *a = t->mc[0], *b = t->mc[1];
	struct nvme_sqe s = { .opc = NVME_OP_FORMAT };
	struct vcmd *aer;
	uint32_t nsid = 0;

	for (unsigned i = 0; i < a->nss; i++)
		for (unsigned k = 0; k < b->nss; k++)
			if (!memcmp(a->ns[i].nguid, b->ns[k].nguid, 16))
				nsid = b->ns[k].nsid;
	if (!nsid)
		vt_skip(t, "no namespace is attached to two migratable controllers");
	s.nsid = le32_of(nsid);
	vh_feature(a, true, NVME_FID_AER, 0, 0, ST(S_OK));
	aer = vh_aer(a);
	vt_do(b, 0, &s, ST(S_OK));
	VEXPECT(t, !vh_done_soon(t, aer), "an event came, and every kind of notice is switched off");
}

enum { Q = DUT_MEM | DUT_REGS, QN = DUT_MEM | DUT_REGS | DUT_NS };
const struct vtest tests_be[] = {
	{ "BE-01", QN, "B-Q-5", slots, "a slot is free once SQHD has passed it", "stress" },
	{ "BE-02", QN, "B-EVT-1", bad_value, "an invalid doorbell value is reported, and does nothing else", "hostile" },
	{ "BE-03", QN, "B-EVT-2", masked, "error events wait until the error log has been read", NULL },
	{ "BE-04", QN | NEED_MM, "B-EVT-1 SUS-04", event_suspended, "an event of a suspended controller waits for Resume", NULL },
	{ "BE-05", QN | DUT_IRQ, "B-IRQ-1", be_other_vector, "a CQ interrupts on the vector it was made with, or not at all", NULL },
	{ "BE-06", QN | DUT_IRQ, "B-IRQ-2", be_function_mask, "a masked interrupt is pending, and comes once", NULL },
	{ "BE-07", QN | DUT_IRQ | NEED_MM, "B-IRQ-2 SUS-05", be_mask_suspended, "a pending interrupt waits for Resume", NULL },
	{ "BE-08", QN, "B-DQ-3", again_idle, "a queue made again is empty", NULL },
	{ "BE-09", QN, "B-DQ-4", delete_under_way, "a deleted queue's commands touch no memory", NULL },
	{ "BE-10", QN, "B-REG-2 B-REG-3", ready_is_quiet, "after CSTS.RDY=0 no memory is touched", "reset" },
	{ "BE-11", Q, "B-Q-4", small_admin, "a full admin CQ", NULL },
	{ "BE-12", QN, "B-CQ-1 B-CQ-2 B-FT-4", limits, "the largest queue, and queues beyond what was granted", "negative" },
	{ "BE-13", Q, "B-REG-4 B-REG-5", registers, "reserved bits of ASQ and ACQ; SHST after a reset", "reset" },
	{ "BE-14", Q | DUT_NSSR, "B-REG-6", nssr_value, "NSSR takes its signature only", "hostile" },
	{ "BE-15", Q | DUT_FLR, "B-REG-7", flr, "a function level reset clears the command register", "reset" },
	{ "BE-16", QN, "B-ADM-9", flags, "fused commands and SGLs where there are none", "negative" },
	{ "BE-17", Q, "B-ADM-10", strings, "strings in Identify", NULL },
	{ "BE-18", Q, "B-ADM-3", list_start, "the namespace list from FFFFFFFEh and FFFFFFFFh", "negative" },
	{ "BE-19", Q | DUT_MMC, "ID-16", every_mmc, "every MMC knows its commands", NULL },
	{ "BE-20", Q, "B-FT-5 B-FT-6", feature_select, "default values, reserved SEL, SV", "negative" },
	{ "BE-21", Q, "B-ADM-11", log_part, "a part of a log page", NULL },
	{ "BE-22", QN, "B-ADM-12", error_log, "the error log begins with the newest", NULL },
	{ "BE-23", QN | DUT_FORMAT | DUT_DESTROY, "B-ADM-13", format_all, "Format erases the whole namespace", "destructive" },
	{ "BE-24", QN | DUT_MC2 | DUT_SHARED | DUT_FORMAT | DUT_DESTROY, "B-ADM-7", not_asked, "no namespace event unless asked for", "destructive" },
	{ "BE-25", QN | DUT_IRQ, "B-IRQ-2", be_vector_mask, "a masked vector is pending, others are not held", NULL },
	{ "BE-26", Q, "B-IRQ-3", be_table_reads, "the MSI-X table reads as it was written", NULL },
	{ "BE-27", Q | DUT_FLR, "B-REG-7", be_table_flr, "a function level reset masks every vector", "reset" },
	{ .id = NULL }
};
