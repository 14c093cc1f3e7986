/* Track Receive. The test knows which pages the controller wrote, because it made it write them: each must be reported, once. */
#include "verify/test.h"

static uint16_t target(struct vt *t) { return t->mc[0]->cntlid; }

/* A read of whole pages by the MC; the pages are what must be reported. */
static struct vmem dirty_pages(struct vt *t, unsigned pages)
{
	struct vctl *mc = t->mc[0];
	struct vmem m = vt_mem(mc, pages * VT_PAGE);
	struct nvme_sqe s;

	vh_rw_sqe(&s, NVME_NVM_READ, mc->ns[0].nsid, 0, pages * VT_PAGE / mc->ns[0].lba);
	vt_do_data(mc, 1, &s, &m, pages * VT_PAGE, ST(S_OK));
	return m;
}

static void begin(struct vt *t)
{
	vt_io_make(t->mc[0], 1, 64);
	vh_track_all(t->mmc, t->mc[0]);
}

static void complete(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem a, b, id;
	struct vdirty v;

	begin(t);
	a = dirty_pages(t, 4);
	b = dirty_pages(t, 1);
	vh_identify(mc, NVME_CNS_CTRL, 0, 0, 0, &id, ST(S_OK));
	vh_dirty(t->mmc, mc, 64 * KIB, &v);
	vh_expect_dirty(t, &v, mc, &a, "data of a Read");
	vh_expect_dirty(t, &v, mc, &b, "data of a Read");
	vh_expect_dirty(t, &v, mc, &id, "Identify data");
	vh_expect_dirty(t, &v, mc, &(struct vmem){ NULL, mc->cq[1].m.iova, 1 }, "an I/O completion queue");
	vh_expect_dirty(t, &v, mc, &(struct vmem){ NULL, mc->cq[0].m.iova, 1 }, "the admin completion queue");
}

/* Writes by the MC only read memory: what it did not write need not come, and mostly must not. */
static void once(struct vt *t)
{
	struct vdirty v;

	begin(t);
	dirty_pages(t, 8);
	vh_dirty(t->mmc, t->mc[0], 64 * KIB, &v);
	VEXPECT(t, v.pages >= 8, "only %u pages are reported", v.pages);
	vh_dirty(t->mmc, t->mc[0], 64 * KIB, &v);
	VEQ(t, v.pages, 0, "pages in a second report, nothing having been written");
}

static void idle(struct vt *t)
{
	struct vdirty v;

	vt_io_make(t->mc[0], 1, 64);
	dirty_pages(t, 8);
	vh_track_all(t->mmc, t->mc[0]);
	vh_dirty(t->mmc, t->mc[0], 64 * KIB, &v);
	VEQ(t, v.pages, 0, "pages reported that were written before tracking began");
}

static void small_buffer(struct vt *t)
{
	struct vmem m[6];
	struct vdirty v;

	begin(t);
	for (unsigned i = 0; i < ARRAY_LEN(m); i++)
		m[i] = dirty_pages(t, 1); /* guard pages between them: they cannot be one range */
	vh_dirty(t->mmc, t->mc[0], 32, &v);
	VEXPECT(t, v.reports >= ARRAY_LEN(m), "%u ranges came in %u reports of one descriptor each", v.descriptors, v.reports);
	for (unsigned i = 0; i < ARRAY_LEN(m); i++)
		vh_expect_dirty(t, &v, t->mc[0], &m[i], "data of a Read");
}

static void susp_bit(struct vt *t)
{
	struct vdirty v;

	begin(t);
	vh_dirty(t->mmc, t->mc[0], 4096, &v);
	VEQ(t, v.susp, 0, "SUSP of a running controller");
	vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
	vh_dirty(t->mmc, t->mc[0], 4096, &v);
	VEQ(t, v.susp, 1, "SUSP of a suspended controller");
	vh_dirty(t->mmc, t->mc[0], 4096, &v);
	VEQ(t, v.pages, 0, "pages reported after the last report of a suspended controller");
	vh_resume(t->mmc, target(t), ST(S_OK));
	vh_dirty(t->mmc, t->mc[0], 4096, &v);
	VEQ(t, v.susp, 0, "SUSP after Resume");
}

/* Commands that were under way at Suspend have written by the time it completes. */
static void drained(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem m[24];
	struct vcmd *k[24];
	struct vdirty v;

	begin(t);
	for (unsigned i = 0; i < ARRAY_LEN(k); i++) {
		struct nvme_sqe s;

		m[i] = vt_mem(mc, VT_PAGE);
		vh_rw_sqe(&s, NVME_NVM_READ, mc->ns[0].nsid, 8 * i, VT_PAGE / mc->ns[0].lba);
		s.prp1 = le64_of(m[i].iova);
		memset(m[i].p, 0xd1, VT_PAGE);
		k[i] = vt_queue(mc, 1, &s, ST(S_OK));
	}
	vt_ring(mc, 1);
	vt_wait(t, k[rng_below(&t->rng, 8)]); /* some have been done, some not even fetched */
	vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
	vt_reap_now(mc);
	vh_dirty(t->mmc, mc, 64 * KIB, &v);
	VEQ(t, v.susp, 1, "SUSP");
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		if (k[i]->done)
			vh_expect_dirty(t, &v, mc, &m[i], "data of a Read that was completed before the suspension");
	vh_resume(t->mmc, target(t), ST(S_OK));
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		vt_finish(t, k[i]);
}

static void oversize(struct vt *t)
{
	struct vdirty v;

	begin(t);
	dirty_pages(t, 2);
	vh_dirty(t->mmc, t->mc[0], 128 * KIB, &v);
	VEXPECT(t, v.pages >= 2, "only %u pages are reported", v.pages);
}

static void failure_keeps(struct vt *t)
{
	struct nvme_sqe s;
	struct vdirty v;
	struct vmem m;

	begin(t);
	m = dirty_pages(t, 4);
	vop_init(&s, VOP_TRACK_RECV);
	vf_put(&s, VF_TRACK_RECV_cntlid, target(t));
	vf_put(&s, VF_TRACK_RECV_numdl, 1023);
	s.prp1 = le64_of(0x7fff00000000ull); /* nobody's memory */
	vt_do(t->mmc, 0, &s, ST(S_IF, S_XFER));
	vf_put(&s, VF_TRACK_RECV_sel, 1);
	vt_do(t->mmc, 0, &s, ST(S_IF, S_XFER));
	vh_dirty(t->mmc, t->mc[0], 64 * KIB, &v);
	vh_expect_dirty(t, &v, t->mc[0], &m, "data of a Read, after a Track Receive that failed");
}

static void untracked(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	unsigned st = vh_receive(t->mmc, target(t), &m, VT_PAGE, ST(S_1F, S_IF));

	vt_reading(t, "X9 Track Receive of a controller that is not tracked", "%s", nvme_status_name(st));
	vh_receive(t->mmc, 0xfffe, &m, VT_PAGE, ST(S_1F, S_IF));
	vh_receive(t->mmc, t->mmc->cntlid, &m, VT_PAGE, ST(S_1F, S_IF));
}

static void after_reset(struct vt *t)
{
	struct vmem m;

	begin(t);
	dirty_pages(t, 1);
	vt_reset(t->mmc);
	m = vt_mem(t->mmc, VT_PAGE);
	vh_receive(t->mmc, target(t), &m, VT_PAGE, ST(S_1F, S_IF));
	vh_track_all(t->mmc, t->mc[0]);
}

static void only_ranges(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem in = vt_mem(mc, 4 * VT_PAGE), out;
	struct vrange r = { in.iova, 4 };
	struct vdirty v;
	struct nvme_sqe s;

	if (t->mmc->id.minmrtg)
		vt_skip(t, "the finest granularity is %llu bytes", 4096ull << t->mmc->id.minmrtg);
	vt_io_make(mc, 1, 64);
	vh_track(t->mmc, target(t), true, 0, &r, 1, ST(S_OK));
	out = dirty_pages(t, 4);
	vh_rw_sqe(&s, NVME_NVM_READ, mc->ns[0].nsid, 0, VT_PAGE / mc->ns[0].lba);
	s.prp1 = le64_of(in.iova + VT_PAGE);
	vt_do(mc, 1, &s, ST(S_OK));
	vh_dirty(t->mmc, mc, 4096, &v);
	VEXPECT(t, v.page[(in.iova + VT_PAGE - mc->iova) >> 12], "the page that was read into is not reported");
	VEXPECT(t, !v.page[(out.iova - mc->iova) >> 12], "a page outside the tracked ranges is reported");
	VEXPECT(t, v.pages <= 4, "%u pages reported of 4 tracked", v.pages);
}

static void after_resume(struct vt *t)
{
	struct vdirty v;
	struct vmem m;

	begin(t);
	vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
	vh_dirty(t->mmc, t->mc[0], 4096, &v);
	vh_resume(t->mmc, target(t), ST(S_OK));
	m = dirty_pages(t, 3);
	vh_dirty(t->mmc, t->mc[0], 64 * KIB, &v);
	vh_expect_dirty(t, &v, t->mc[0], &m, "data of a Read after Resume");
}

static void coarse(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	unsigned g = MIN(t->mmc->id.maxmrtg, 4u);
	struct vrange r = { mc->iova, (uint32_t)(mc->bytes >> 12 >> g) };
	struct vdirty v;
	struct vmem m;

	vt_io_make(mc, 1, 64);
	vh_track(t->mmc, target(t), true, g, &r, 1, ST(S_OK));
	m = dirty_pages(t, 2);
	vh_dirty(t->mmc, mc, 64 * KIB, &v);
	vh_expect_dirty(t, &v, mc, &m, "data of a Read at a coarse granularity");
}

static void log_page_data(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem m = vt_mem(mc, 512);
	struct nvme_sqe s = { .opc = NVME_OP_GET_LOG, .cdw10 = le32_of(NVME_LID_SMART | 127 << 16), .nsid = le32_of(0xffffffff) };
	struct vdirty v;

	begin(t);
	vt_do_data(mc, 0, &s, &m, 512, ST(S_OK));
	vh_dirty(t->mmc, mc, 64 * KIB, &v);
	vh_expect_dirty(t, &v, mc, &m, "log page data");
}

static void scattered(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem m[32];
	struct vdirty v;

	begin(t);
	for (unsigned round = 0; round < 5; round++) {
		struct vmark mark = vt_mark(mc);

		for (unsigned i = 0; i < ARRAY_LEN(m); i++)
			m[i] = dirty_pages(t, 1 + (unsigned)rng_below(&t->rng, 4));
		vh_dirty(t->mmc, mc, 16 + 16 * (1 + (uint32_t)rng_below(&t->rng, 20)), &v);
		for (unsigned i = 0; i < ARRAY_LEN(m); i++)
			vh_expect_dirty(t, &v, mc, &m[i], "data of a Read");
		vt_back(mc, mark);
	}
}

/* One command into pages apart from each other, far apart. */
static void far_apart(struct vt *t)
{
	static const unsigned page[] = { 0, 1, 67, 200, 330, 455, 456, 600 };
	struct vctl *mc = t->mc[0];
	struct vmem m, list;
	struct nvme_sqe s;
	struct vdirty v;

	begin(t);
	m = vt_mem(mc, 601 * VT_PAGE);
	list = vt_mem(mc, VT_PAGE);
	for (unsigned i = 1; i < ARRAY_LEN(page); i++) {
		le64 a = le64_of(m.iova + (uint64_t)page[i] * VT_PAGE);

		memcpy(list.p + 8 * (i - 1), &a, 8);
	}
	vh_rw_sqe(&s, NVME_NVM_READ, mc->ns[0].nsid, 0, ARRAY_LEN(page) * (VT_PAGE / mc->ns[0].lba));
	s.prp1 = le64_of(m.iova);
	s.prp2 = le64_of(list.iova);
	vt_do(mc, 1, &s, ST(S_OK));
	vh_dirty(t->mmc, mc, 64 * KIB, &v);
	for (unsigned i = 0; i < ARRAY_LEN(page); i++)
		vh_expect_dirty(t, &v, mc, &(struct vmem){ NULL, m.iova + (uint64_t)page[i] * VT_PAGE, VT_PAGE }, "one of the pages of a Read");
}

static void two_ranges(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vmem m = vt_mem(mc, 2 * VT_PAGE), n = vt_mem(mc, 2 * VT_PAGE);
	unsigned g = t->mmc->id.minmrtg;
	struct vrange r[2] = { { m.iova, 2 }, { n.iova, 2 } };
	struct vdirty v;
	struct nvme_sqe s;

	if (g || le16_get(t->mmc->id.cmmrtd) < 2)
		vt_skip(t, "two ranges of two pages cannot be tracked");
	vt_io_make(mc, 1, 64);
	vh_track(t->mmc, target(t), true, 0, r, 2, ST(S_OK));
	vh_rw_sqe(&s, NVME_NVM_READ, mc->ns[0].nsid, 0, VT_PAGE / mc->ns[0].lba);
	for (unsigned i = 0; i < 2; i++) {
		s.prp1 = le64_of((i ? n : m).iova + VT_PAGE);
		vt_do(mc, 1, &s, ST(S_OK));
	}
	vh_dirty(t->mmc, mc, 4096, &v);
	vh_expect_dirty(t, &v, mc, &(struct vmem){ NULL, m.iova + VT_PAGE, VT_PAGE }, "a page of the first range");
	vh_expect_dirty(t, &v, mc, &(struct vmem){ NULL, n.iova + VT_PAGE, VT_PAGE }, "a page of the second range");
}

static void other_mmc(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc2, VT_PAGE), d;
	struct vdirty v;

	begin(t);
	d = dirty_pages(t, 4);
	vh_receive(t->mmc2, target(t), &m, VT_PAGE, ST(S_1F, S_IF));
	vh_track(t->mmc2, target(t), false, 0, NULL, 0, ST(S_1F, S_IF, S_OK)); /* "does not track it" is a success too */
	vh_dirty(t->mmc, t->mc[0], 64 * KIB, &v);
	vh_expect_dirty(t, &v, t->mc[0], &d, "data of a Read, while another MMC asked for it and stopped it");
}

/* A report with SUSP is the last: whoever has it goes on to the next thing. */
static void susp_is_last(struct vt *t)
{
	struct vctl *mc = t->mc[0];

	for (unsigned round = 0; round < 12; round++) {
		struct vmark mark;
		struct vcmd *k[24], *s_;
		struct nvme_sqe s;
		struct vdirty v;

		vt_fresh(t);
		begin(t);
		mark = vt_mark(mc);
		for (unsigned i = 0; i < ARRAY_LEN(k); i++) {
			struct vmem m = vt_mem(mc, VT_PAGE);

			vh_rw_sqe(&s, NVME_NVM_READ, mc->ns[0].nsid, 8 * i, VT_PAGE / mc->ns[0].lba);
			s.prp1 = le64_of(m.iova);
			k[i] = vt_queue(mc, 1, &s, ST(S_OK));
		}
		vt_ring(mc, 1);
		vt_wait(t, k[rng_below(&t->rng, 8)]);
		vop_init(&s, VOP_SUSPEND);
		vf_put(&s, VF_SUSPEND_cntlid, target(t));
		vf_put(&s, VF_SUSPEND_stype, 1);
		s_ = vt_send(t->mmc, 0, &s, ST(S_OK));
		vh_dirty(t->mmc, mc, 64 * KIB, &v);
		if (v.susp) {
			vt_finish(t, s_);
			vh_dirty(t->mmc, mc, 64 * KIB, &v);
			VEQ(t, v.pages, 0, "pages written after a report with SUSP=1");
		} else {
			vt_finish(t, s_);
		}
		vh_resume(t->mmc, target(t), ST(S_OK));
		for (unsigned i = 0; i < ARRAY_LEN(k); i++)
			vt_finish(t, k[i]);
		vt_back(mc, mark);
	}
}

enum { NEED = NEED_TRACK | DUT_NS };
const struct vtest tests_tr[] = {
	{ "TR-01", NEED, "TR-01 TR-04 TR-07", complete, "data, Identify data and completion queues are all reported", NULL },
	{ "TR-02", NEED, "TR-02", once, "what was reported is not reported again", NULL },
	{ "TR-03", NEED, "TR-02 TR-12", idle, "what was written before tracking is not reported", NULL },
	{ "TR-04", NEED, "TR-03 TR-04", small_buffer, "a buffer of one descriptor: MTR leads to the rest", NULL },
	{ "TR-05", NEED, "TR-05 TR-06", susp_bit, "SUSP follows the suspension", NULL },
	{ "TR-06", NEED, "TR-01 TR-06 SUS-02", drained, "what was written up to the suspension is reported after it", NULL },
	{ "TR-07", NEED, "TR-08", oversize, "a buffer that is too large", NULL },
	{ "TR-08", NEED, "TR-09", failure_keeps, "a failed Track Receive consumes nothing", "negative" },
	{ "TR-09", NEED_TRACK, "TR-10", untracked, "controllers that are not tracked", "negative reading" },
	{ "TR-10", NEED, "TR-11", after_reset, "a reset of the MMC stops tracking", "reset" },
	{ "TR-11", NEED, "TR-12 V-TM-17", only_ranges, "only the ranges asked for are reported", NULL },
	{ "TR-12", NEED, "RES-05", after_resume, "tracking goes on after Resume", NULL },
	{ "TR-13", NEED, "TR-07", coarse, "a coarse granularity", NULL },
	{ "TR-14", NEED, "TR-01", log_page_data, "log page data is reported", NULL },
	{ "TR-15", NEED, "TR-01 TR-03", scattered, "scattered pages, buffers of random size", "random" },
	{ "TR-16", NEED, "TR-01 TR-03", far_apart, "one command into pages far apart", NULL },
	{ "TR-17", NEED, "TR-01 TR-12", two_ranges, "two ranges", NULL },
	{ "TR-18", NEED | DUT_MMC2, "TR-10", other_mmc, "another MMC neither reads nor ends it", "negative" },
	{ "TR-19", NEED, "TR-05 TR-06", susp_is_last, "nothing comes after a report with SUSP", "race" },
	{ .id = NULL }
};
