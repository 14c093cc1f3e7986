/* Memory with rights: what a host gives for reading only, or for writing only, as an IOMMU or a hypervisor would. The server's descriptor
 * allows no more than that either. An access against the rights ends the command with an error, changes nothing there, and the
 * controller goes on; where a whole queue lies in such memory it may refuse it, or fall silent until it is reset.
 */
#include "verify/test.h"

#define REFUSED ST(S_XFER, S_IF, S_PRP, S_INTERNAL)
enum { PAGES = 5, MARK = 0x3c };

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : t->mmc; }
static uint32_t per_page(const struct vctl *c) { return VT_PAGE / vh_lba(c); }

static struct vmem marked(struct vctl *c, uint32_t bytes, bool read, bool write)
{
	struct vmem m = vt_mem_as(c, bytes, read, write);

	memset(m.p, MARK, m.len);
	return m;
}

static void expect_marked(struct vt *t, const struct vmem *m, const char *what)
{
	for (uint32_t i = 0; i < m->len; i++)
		VEXPECT(t, m->p[i] == MARK, "%s was written: byte %u at %llxh is %02xh", what, i, (unsigned long long)(m->iova + i), m->p[i]);
}

/* It works, with memory that it may use. */
static void expect_well(struct vctl *c)
{
	struct vmark mark = vt_mark(c);
	uint64_t seed = rng_next(&c->t->rng) | 1;

	vh_write(c, 1, c->ns[0].nsid, 16, 4, seed, ST(S_OK));
	vh_read_is(c, 1, c->ns[0].nsid, 16, 4, seed);
	vt_back(c, mark);
}

/* Whatever became of it, a reset makes it good. */
static void expect_well_again(struct vctl *c)
{
	vt_fresh(c->t);
	vt_io_make(c, 1, 16);
	expect_well(c);
}

/* A transfer of n pages of which number `odd` lies in `m`, by PRP1, PRP2 or a list. */
static struct nvme_sqe pages_of(struct vctl *c, unsigned opc, unsigned n, unsigned odd, const struct vmem *m, const struct vmem *rest, const struct vmem *list)
{
	struct nvme_sqe s;

	vh_rw_sqe(&s, opc, c->ns[0].nsid, 0, n * per_page(c));
	for (unsigned i = 0; i < n; i++) {
		le64 a = le64_of(i == odd ? m->iova : rest->iova + (uint64_t)i * VT_PAGE);

		if (!i)
			s.prp1 = a;
		else if (n == 2)
			s.prp2 = a;
		else
			memcpy(list->p + 8 * (i - 1), &a, sizeof(a));
	}
	if (n > 2)
		s.prp2 = le64_of(list->iova);
	return s;
}

static void against(struct vt *t, unsigned opc, bool read, bool write, const char *what)
{
	struct vctl *c = one(t);
	struct vmem m = marked(c, VT_PAGE, read, write), rest, list;

	vt_io_make(c, 1, 16);
	rest = vt_mem(c, PAGES * VT_PAGE);
	list = vt_mem(c, VT_PAGE);
	for (unsigned n = 1; n <= PAGES; n++)
		for (unsigned odd = 0; odd < n; odd++) {
			struct nvme_sqe s = pages_of(c, opc, n, odd, &m, &rest, &list);

			vt_do(c, 1, &s, REFUSED);
			expect_marked(t, &m, what);
		}
	expect_well(c);
}
static void read_only(struct vt *t) { against(t, NVME_NVM_READ, true, false, "memory that may only be read"); }
static void write_only(struct vt *t) { against(t, NVME_NVM_WRITE, false, true, "memory that may only be written, by a Write,"); }
static void neither(struct vt *t)
{
	against(t, NVME_NVM_READ, false, false, "memory that may not be reached");
	vt_fresh(t);
	against(t, NVME_NVM_WRITE, false, false, "memory that may not be reached");
}

/* What is allowed works: data and list of a Write from one kind, data of a Read into the other. */
static void allowed(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem from = vt_mem_as(c, PAGES * VT_PAGE, true, false), into = vt_mem_as(c, PAGES * VT_PAGE, false, true), list = vt_mem_as(c, VT_PAGE, true, false);
	uint32_t bytes = PAGES * VT_PAGE;
	struct nvme_sqe s;

	vt_io_make(c, 1, 16);
	vh_fill(&from, bytes, 77);
	s = pages_of(c, NVME_NVM_WRITE, PAGES, PAGES, NULL, &from, &list);
	vt_do(c, 1, &s, ST(S_OK));
	s = pages_of(c, NVME_NVM_READ, PAGES, PAGES, NULL, &into, &list);
	vt_do(c, 1, &s, ST(S_OK));
	VEXPECT(t, vh_same(&into, bytes, 77), "what was written from memory that may only be read is not what is read into memory that may only be written");
	VEXPECT(t, vh_same(&from, bytes, 77), "memory that may only be read has changed");
}

/* A list is read whichever way the data goes. */
static void list_write_only(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem list = vt_mem_as(c, VT_PAGE, false, true), rest;
	uint8_t was[VT_PAGE];

	vt_io_make(c, 1, 16);
	rest = vt_mem(c, PAGES * VT_PAGE);
	for (unsigned i = 0; i < 2; i++) {
		struct nvme_sqe s = pages_of(c, i ? NVME_NVM_WRITE : NVME_NVM_READ, PAGES, PAGES, NULL, &rest, &list);

		memcpy(was, list.p, VT_PAGE);
		vt_do(c, 1, &s, REFUSED);
		VEXPECT(t, !memcmp(was, list.p, VT_PAGE), "a PRP list in memory that may only be written has changed");
	}
	expect_well(c);
}

/* ---- admin commands */

static void into_read_only(struct vctl *c, struct nvme_sqe s, const struct vmem *m)
{
	s.prp1 = le64_of(m->iova);
	vt_do(c, 0, &s, REFUSED);
	expect_marked(c->t, m, "memory that may only be read");
}

static void admin_data(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		struct vctl *c = &t->ctl[i];
		struct vmem m = marked(c, VT_PAGE, true, false), good;

		into_read_only(c, (struct nvme_sqe){ .opc = NVME_OP_IDENTIFY, .cdw10 = le32_of(NVME_CNS_CTRL) }, &m);
		into_read_only(c, (struct nvme_sqe){ .opc = NVME_OP_GET_LOG, .nsid = le32_of(0xffffffff), .cdw10 = le32_of(NVME_LID_ERROR | 15 << 16) }, &m);
		good = vt_mem(c, VT_PAGE);
		vh_identify(c, NVME_CNS_CTRL, 0, 0, 0, &good, ST(S_OK));
	}
}

/* The state of a controller goes neither into the one kind of memory nor comes from the other. */
static void state_data(struct vt *t)
{
	struct vctl *mmc = t->mmc, *mc = t->mc[0];
	struct vmem ro = marked(mmc, VT_PAGE, true, false), wo = marked(mmc, VT_PAGE, false, true), image;
	uint32_t len;

	vt_io_make(mc, 1, 16);
	vh_suspend(mmc, mc->cntlid, 1, false, ST(S_OK));
	vh_get(mmc, mc->cntlid, 1, 0, 0, &ro, 512, REFUSED);
	expect_marked(t, &ro, "memory that may only be read");
	len = vh_image(mmc, mc, 1, 0, &image);
	VEXPECT(t, len <= VT_PAGE, "the state of an empty controller is %u bytes long", len);
	memcpy(wo.p, image.p, len);
	vt_reset(mc); /* the image goes into a controller that has nothing */
	vh_suspend(mmc, mc->cntlid, 1, false, ST(S_OK));
	vh_set(mmc, mc->cntlid, 3, 1, 0, 0, &wo, len / 4, REFUSED);
	VEXPECT(t, !memcmp(wo.p, image.p, len), "a state in memory that may only be written has changed");
	vh_set(mmc, mc->cntlid, 3, 1, 0, 0, &image, len / 4, ST(S_OK)); /* and the refused one has left nothing behind */
	expect_well_again(mc);
}

/* ---- queues */

static const char *csts_text(struct vctl *c)
{
	uint64_t v = vt_reg(c, NVME_REG_CSTS, 4);

	return v & NVME_CSTS_CFS ? "silence, CSTS.CFS=1" : "silence, CSTS.CFS=0";
}

/* A queue of ours at that place. */
static void adopt(struct vctl *c, bool cq, const struct vmem *m)
{
	if (cq)
		c->cq[2] = (struct vcq){ .live = true, .hold = true, .ien = false, .qid = 2, .iv = 2, .size = 16, .m = *m, .phase = true };
	else
		c->sq[2] = (struct vsq){ .live = true, .qid = 2, .cqid = 2, .size = 16, .m = *m };
}

static void cq_read_only(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem m = vt_mem_as(c, VT_PAGE, true, false);
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_CQ, .cdw10 = le32_of(2 | 15 << 16), .cdw11 = le32_of(1), .prp1 = le64_of(m.iova) };
	uint8_t none[VT_PAGE] = { 0 };
	const char *took = "refused";

	vt_io_make(c, 1, 16);
	if (vt_do(c, 0, &s, ST(S_OK, S_XFER, S_IF, S_PRP, S_INTERNAL)) == S_OK) {
		adopt(c, true, &m);
		vt_sq_make(c, 2, 2, 16, ST(S_OK));
		s = (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) };
		vt_send(c, 2, &s, ST(S_OK));
		vt_watch_silent(c);
		took = csts_text(c);
	}
	vt_reading(t, "a completion queue in memory that may only be read", "%s", took);
	VEXPECT(t, !memcmp(m.p, none, VT_PAGE), "a completion queue in memory that may only be read was written");
	expect_well_again(c);
}

static void sq_write_only(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem m = vt_mem_as(c, VT_PAGE, false, true);
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_SQ, .cdw10 = le32_of(2 | 15 << 16), .cdw11 = le32_of(1 | 2 << 16), .prp1 = le64_of(m.iova) };
	const char *took = "refused";

	vt_io_make(c, 1, 16);
	vt_cq_make(c, 2, 16, ST(S_OK));
	if (vt_do(c, 0, &s, ST(S_OK, S_XFER, S_IF, S_PRP, S_INTERNAL)) == S_OK) {
		struct vcmd *k;

		adopt(c, false, &m);
		s = (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(c->ns[0].nsid) };
		k = vt_send(c, 2, &s, REFUSED); /* its status is judged when it comes */
		took = vh_done_soon(t, k) ? "an error" : csts_text(c);
	}
	vt_reading(t, "a submission queue in memory that may only be written", "%s", took);
	expect_well_again(c);
}

/* Which of the admin queues is where it cannot work: no host can learn more than that nothing comes. */
static void admin_queues(struct vt *t)
{
	struct vctl *c = one(t);

	for (unsigned cq = 0; cq < 2; cq++) {
		struct vmem bad, good;
		struct nvme_sqe s = { .opc = NVME_OP_ABORT };

		vt_fresh(t);
		bad = vt_mem_as(c, VT_PAGE, cq, !cq);
		good = vt_mem(c, VT_PAGE);
		vt_disable(c);
		memcpy(cq ? good.p : bad.p, &s, sizeof(s));
		vt_reg_put(c, NVME_REG_AQA, 4, 15 | 15 << 16);
		vt_reg_put(c, NVME_REG_ASQ, 8, cq ? good.iova : bad.iova);
		vt_reg_put(c, NVME_REG_ACQ, 8, cq ? bad.iova : good.iova);
		vt_reg_put(c, NVME_REG_CC, 4, NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT);
		vt_watch_silent(c);
		vt_doorbell(c, 0, 1);
		vt_watch_silent(c);
		vt_reading(t, cq ? "ACQ in memory that may only be read" : "ASQ in memory that may only be written", "RDY=%u, %s",
			   (unsigned)(vt_reg(c, NVME_REG_CSTS, 4) & NVME_CSTS_RDY), csts_text(c));
		for (unsigned i = 0; cq && i < VT_PAGE; i++)
			VEXPECT(t, !bad.p[i], "ACQ in memory that may only be read was written, byte %u", i);
		vt_disable(c);
		expect_well_again(c);
	}
}

static void cdq_read_only(struct vt *t)
{
	enum { SLOTS = 64 };
	struct vctl *mmc = t->mmc, *mc = t->mc[0];
	struct vmem m = marked(mmc, SLOTS * 32, true, false);
	const char *took = "refused";
	struct nvme_sqe s;

	vt_io_make(mc, 1, 16);
	vop_init(&s, VOP_CDQ_CREATE);
	vf_put(&s, VF_CDQ_CREATE_pc, 1);
	vf_put(&s, VF_CDQ_CREATE_cntlid, mc->cntlid);
	vf_put(&s, VF_CDQ_CREATE_cdqsize, SLOTS * 8);
	s.prp1 = le64_of(m.iova);
	if (vt_do(mmc, 0, &s, ST(S_OK, S_XFER, S_IF, S_PRP, S_INTERNAL)) == S_OK) {
		vh_log(mmc, (uint16_t)le32_get(t->last.dw0), 1, ST_ANY);
		expect_well(mc);
		took = csts_text(mmc);
	}
	vt_reading(t, "a data queue in memory that may only be read", "%s", took);
	expect_marked(t, &m, "a data queue in memory that may only be read");
	expect_well_again(mc);
}

#define N (DUT_MEM | DUT_NS | DUT_RIGHTS)
const struct vtest tests_mp[] = {
	{ "MP-01", N, "B-PRP-4 B-PRP-5", read_only, "a Read into memory that may only be read", "negative" },
	{ "MP-02", N, "B-PRP-4 B-PRP-5", write_only, "a Write from memory that may only be written", "negative" },
	{ "MP-03", N, "B-PRP-4 B-PRP-5", neither, "data in memory that may not be reached", "negative" },
	{ "MP-04", N, "B-PRP-5", allowed, "what the rights allow works", NULL },
	{ "MP-05", N, "B-PRP-4 B-PRP-5", list_write_only, "a PRP list in memory that may only be written", "negative" },
	{ "MP-06", N, "B-PRP-5", admin_data, "data of admin commands into memory that may only be read", "negative" },
	{ "MP-07", N | NEED_MM, "B-PRP-5", state_data, "state out of and into memory that does not allow it", NULL },
	{ "MP-08", N, "B-PRP-5", cq_read_only, "a completion queue in memory that may only be read", "hostile" },
	{ "MP-09", N, "B-PRP-5", sq_write_only, "a submission queue in memory that may only be written", "hostile" },
	{ "MP-10", N | DUT_REGS, "B-PRP-5", admin_queues, "admin queues in memory that does not allow them", "hostile" },
	{ "MP-11", N | NEED_LOG, "B-PRP-5", cdq_read_only, "a data queue in memory that may only be read", "hostile" },
	{ .id = NULL }
};
