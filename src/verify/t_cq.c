/* Controller Data Queues: making and deleting them. */
#include "verify/test.h"

static uint16_t target(struct vt *t) { return t->mc[0]->cntlid; }

/* A create command with what tests want to be different. */
static struct nvme_sqe create(struct vt *t, struct vmem *m, uint32_t slots)
{
	struct nvme_sqe s;

	*m = vt_mem(t->mmc, slots * 32);
	vop_init(&s, VOP_CDQ_CREATE);
	vf_put(&s, VF_CDQ_CREATE_pc, 1);
	vf_put(&s, VF_CDQ_CREATE_cntlid, target(t));
	vf_put(&s, VF_CDQ_CREATE_cdqsize, slots * 8);
	s.prp1 = le64_of(m->iova);
	return s;
}

static void contiguous(struct vt *t)
{
	struct vring r;
	uint32_t hp, tpt;
	bool etpt;

	vh_cdq(t->mmc, target(t), 128, &r, ST(S_OK));
	vh_get_cdq(t->mmc, r.id, &hp, &tpt, &etpt, ST(S_OK));
	VEQ(t, hp, 0, "HP of a fresh queue");
	VEQ(t, tpt, 0, "TPT of a fresh queue");
	VEQ(t, etpt, 0, "ETPT of a fresh queue");
	vh_expect_silent_ring(&r); /* logging starts with Track Send */
	vh_cdq_delete(t->mmc, r.id, ST(S_OK));
}

/* A list: the queue's pages in an order that memory does not have. Entries must cross its pages in the list's order. */
static void list(struct vt *t)
{
	enum { PAGES = 3, SLOTS = PAGES * VT_PAGE / 32 };
	struct vmem page[PAGES], prps = vt_mem(t->mmc, PAGES * 8);
	struct vctl *mc = t->mc[0];
	struct nvme_sqe s;
	uint16_t id;
	unsigned at = 0;

	for (unsigned i = 0; i < PAGES; i++)
		page[PAGES - 1 - i] = vt_mem(t->mmc, VT_PAGE);
	for (unsigned i = 0; i < PAGES; i++) {
		le64 a = le64_of(page[i].iova);

		memcpy(prps.p + 8 * i, &a, 8);
	}
	if (le16_get(t->mmc->id.mcdqpc) && le16_get(t->mmc->id.mcdqpc) < PAGES)
		vt_skip(t, "MCDQPC is %u", le16_get(t->mmc->id.mcdqpc));
	vop_init(&s, VOP_CDQ_CREATE);
	vf_put(&s, VF_CDQ_CREATE_cntlid, target(t));
	vf_put(&s, VF_CDQ_CREATE_cdqsize, SLOTS * 8);
	s.prp1 = le64_of(prps.iova);
	vt_do(t->mmc, 0, &s, ST(S_OK));
	id = (uint16_t)le32_get(t->last.dw0);
	vh_log(t->mmc, id, 1, ST(S_OK));
	vt_io_make(mc, 1, 64);
	for (unsigned i = 0; i < 400; i++) { /* alternating places, or they may be merged */
		struct vmark mark = vt_mark(mc);
		uint64_t lba = (i * 37) % 300 * 2;

		vh_write(mc, 1, mc->ns[0].nsid, lba, 1, i + 1, ST(S_OK));
		vt_back(mc, mark);
		while (at < SLOTS && page[at / 128].p[at % 128 * 32 + 31] & 1)
			at++;
		if (at >= 200)
			break;
	}
	VEXPECT(t, at >= 130, "only %u entries were posted in order across the pages of the list", at);
	vh_cdq_delete(t->mmc, id, ST(S_OK));
}

static void id_reserved(struct vt *t)
{
	struct vring a, b;

	vh_cdq(t->mmc, target(t), 64, &a, ST(S_OK));
	vh_cdq(t->mmc, t->mc[1]->cntlid, 64, &b, ST(S_OK));
	VEXPECT(t, a.id != b.id, "two live queues have the CDQID %u", a.id);
	vh_cdq_delete(t->mmc, a.id, ST(S_OK));
	vh_get_cdq(t->mmc, b.id, NULL, NULL, NULL, ST(S_OK));
	vh_get_cdq(t->mmc, a.id, NULL, NULL, NULL, ST(S_37));
}

static void size_multiple(struct vt *t)
{
	for (unsigned i = 1; i < 8; i++) {
		struct vmem m;
		struct nvme_sqe s = create(t, &m, 128);

		vf_put(&s, VF_CDQ_CREATE_cdqsize, 128 * 8 - i);
		vt_do(t->mmc, 0, &s, ST(S_IF));
	}
}

static void size_zero(struct vt *t)
{
	struct vmem m;
	struct nvme_sqe s = create(t, &m, 128);
	unsigned st;

	vf_put(&s, VF_CDQ_CREATE_cdqsize, 0);
	st = vt_do(t->mmc, 0, &s, ST(S_IF, S_38));
	vt_reading(t, "CDQSIZE 0", "%s", nvme_status_name(st));
}

/* One slot can never hold an entry. Two can hold one. */
static void size_small(struct vt *t)
{
	struct vring r;
	unsigned st = vh_cdq(t->mmc, target(t), 1, &r, ST(S_OK, S_IF));

	vt_reading(t, "CDQ of one slot", "%s", nvme_status_name(st));
	if (st == S_OK)
		vh_cdq_delete(t->mmc, r.id, ST(S_OK));
	vh_cdq(t->mmc, target(t), 2, &r, ST(S_OK));
}

static void size_huge(struct vt *t)
{
	struct vmem m;
	struct nvme_sqe s = create(t, &m, 128);
	static const uint32_t sizes[] = { 0xfffffff8, 0x80000000, 0x40000000 };

	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		vf_put(&s, VF_CDQ_CREATE_cdqsize, sizes[i]); /* beyond any memory the host gave */
		vt_do(t->mmc, 0, &s, ST(S_IF, S_38, S_XFER));
	}
}

static void offset_prp1(struct vt *t)
{
	static const uint16_t off[] = { 4, 8, 32, 64, 512, 2048, 4092 };

	for (unsigned i = 0; i < ARRAY_LEN(off); i++) {
		struct vmem m;
		struct nvme_sqe s = create(t, &m, 64);

		s.prp1 = le64_of(m.iova + off[i]);
		vt_do(t->mmc, 0, &s, ST(S_PRP));
	}
}

static void offset_list(struct vt *t)
{
	for (unsigned bad = 0; bad < 2; bad++) {
		struct vmem prps = vt_mem(t->mmc, 16), q = vt_mem(t->mmc, 2 * VT_PAGE);
		struct nvme_sqe s;

		for (unsigned i = 0; i < 2; i++) {
			le64 a = le64_of(q.iova + i * VT_PAGE + (i == bad ? 64 : 0));

			memcpy(prps.p + 8 * i, &a, 8);
		}
		vop_init(&s, VOP_CDQ_CREATE);
		vf_put(&s, VF_CDQ_CREATE_cntlid, target(t));
		vf_put(&s, VF_CDQ_CREATE_cdqsize, 2 * VT_PAGE / 4);
		s.prp1 = le64_of(prps.iova);
		vt_do(t->mmc, 0, &s, ST(S_PRP));
	}
}

static void not_host_memory(struct vt *t)
{
	struct vmem m;
	struct nvme_sqe s = create(t, &m, 64);

	s.prp1 = le64_of(0x7fff00000000ull); /* nothing was ever mapped there */
	vt_do(t->mmc, 0, &s, ST(S_IF, S_XFER));
}

static void second_same_mc(struct vt *t)
{
	struct vring a, b;

	vh_cdq(t->mmc, target(t), 64, &a, ST(S_OK));
	vh_cdq(t->mmc, target(t), 64, &b, ST(S_IF));
	vh_get_cdq(t->mmc, a.id, NULL, NULL, NULL, ST(S_OK));
}

static void too_many(struct vt *t)
{
	unsigned most = MIN(le16_get(t->mmc->id.mcudmq), le16_get(t->mmc->id.mnsudmq)), made = 0, st = S_OK;
	struct vring r;

	for (unsigned i = 0; i < t->mcs; i++)
		if ((st = vh_cdq(t->mmc, t->mc[i]->cntlid, 64, &r, ST(S_OK, S_38, S_IF))) == S_OK)
			made++;
	VEXPECT(t, made == MIN(most, t->mcs), "%u queues could be made; MCUDMQ and MNSUDMQ promise %u", made, most);
	if (most >= t->mcs)
		vt_skip(t, "the limit (%u) is not below the controllers we reach (%u)", most, t->mcs);
	vt_reading(t, "X1 limit of queues", "%s", nvme_status_name(st));
}

/* Pages of a list count as ranges; MCMR and MCDQPC bound them. */
static void too_many_ranges(struct vt *t)
{
	unsigned mcmr = le16_get(t->mmc->id.mcmr), mcdqpc = le16_get(t->mmc->id.mcdqpc), most = MAX(mcmr, mcdqpc), st;
	struct vmem prps, q;
	struct nvme_sqe s;

	if (!mcmr && !mcdqpc)
		vt_skip(t, "MCMR and MCDQPC are 0: no limit is reported");
	if (most > 510)
		vt_skip(t, "the limit (%u) needs a longer list than this test builds", most);
	prps = vt_mem(t->mmc, (most + 1) * 8);
	q = vt_mem(t->mmc, VT_PAGE);
	for (unsigned i = 0; i <= most; i++) { /* every other page, so that no reading can join them */
		le64 a = le64_of(q.iova + (uint64_t)i * 2 * VT_PAGE);

		memcpy(prps.p + 8 * i, &a, 8);
	}
	vop_init(&s, VOP_CDQ_CREATE);
	vf_put(&s, VF_CDQ_CREATE_cntlid, target(t));
	vf_put(&s, VF_CDQ_CREATE_cdqsize, (most + 1) * VT_PAGE / 4);
	s.prp1 = le64_of(prps.iova);
	if (mcmr == mcdqpc && (uint64_t)most * 2 * VT_PAGE < t->mmc->bytes / 2) { /* as long as is promised, and then one more */
		struct nvme_sqe fits = s;
		struct vmem room = vt_mem(t->mmc, most * 2 * VT_PAGE);

		for (unsigned i = 0; i < most; i++) {
			le64 a = le64_of(room.iova + (uint64_t)i * 2 * VT_PAGE);

			memcpy(prps.p + 8 * i, &a, 8);
		}
		vf_put(&fits, VF_CDQ_CREATE_cdqsize, most * VT_PAGE / 4);
		vt_do(t->mmc, 0, &fits, ST(S_OK));
		vh_cdq_delete(t->mmc, (uint16_t)le32_get(t->last.dw0), ST(S_OK));
	}
	st = vt_do(t->mmc, 0, &s, ST(S_IF, S_38));
	vt_reading(t, "X11 list longer than MCMR or MCDQPC", "%s", nvme_status_name(st));
}

static void bad_qt(struct vt *t)
{
	static const uint8_t qt[] = { 1, 2, 4, 8, 0x10, 0x20, 0x40, 0x7f, 0x80, 0xbf };

	for (unsigned i = 0; i < ARRAY_LEN(qt); i++) {
		struct vmem m;
		struct nvme_sqe s = create(t, &m, 64);

		vf_put(&s, VF_CDQ_CREATE_qt, qt[i]);
		vt_do(t->mmc, 0, &s, ST(S_IF));
	}
}

static void bad_sel(struct vt *t)
{
	static const uint8_t sel[] = { 2, 3, 0x7f, 0xbf };

	for (unsigned i = 0; i < ARRAY_LEN(sel); i++) {
		struct vmem m;
		struct nvme_sqe s = create(t, &m, 64);

		vf_put(&s, VF_CDQ_CREATE_sel, sel[i]);
		vt_do(t->mmc, 0, &s, ST(S_IF));
	}
}

static void bad_cntlid(struct vt *t)
{
	static const uint16_t id[] = { 0xfffe, 0xffff, 0x7fff };

	for (unsigned i = 0; i < ARRAY_LEN(id); i++)
		vh_cdq(t->mmc, id[i], 64, NULL, ST(S_1F));
}

static void own_cntlid(struct vt *t)
{
	unsigned st = vh_cdq(t->mmc, t->mmc->cntlid, 64, NULL, ST(S_1F, S_IF));

	vt_reading(t, "CDQ for the MMC itself", "%s", nvme_status_name(st));
}

static void delete_unknown(struct vt *t)
{
	struct vring r;

	vh_cdq(t->mmc, target(t), 64, &r, ST(S_OK));
	vh_cdq_delete(t->mmc, (uint16_t)(r.id + 1), ST(S_37));
	vh_cdq_delete(t->mmc, 0xffff, ST(S_37));
	vh_cdq_delete(t->mmc, r.id, ST(S_OK));
	vh_cdq_delete(t->mmc, r.id, ST(S_37));
}

/* After the delete's completion the memory is the host's again. */
static void delete_while_logging(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vring r;
	struct ventry e;

	vh_cdq(t->mmc, target(t), 64, &r, ST(S_OK));
	vh_log(t->mmc, r.id, 1, ST(S_OK));
	vt_io_make(mc, 1, 16);
	vh_write(mc, 1, mc->ns[0].nsid, 0, 1, 1, ST(S_OK));
	vh_covered(&r, mc->ns[0].mmc_nsid, 0, 1, NULL);
	vh_cdq_delete(t->mmc, r.id, ST(S_OK));
	while (vh_next(&r, &e))
		;
	memset(r.m.p, 0x77, r.m.len);
	for (unsigned i = 0; i < 32; i++)
		vh_write(mc, 1, mc->ns[0].nsid, i, 1, i + 2, ST(S_OK));
	for (unsigned i = 0; i < r.m.len; i++)
		VEXPECT(t, r.m.p[i] == 0x77, "byte %u of a deleted queue was written", i);
}

static void again(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct ventry e;
	struct vring r;

	for (unsigned round = 0; round < 3; round++) {
		vh_cdq(t->mmc, target(t), 64, &r, ST(S_OK));
		vh_log(t->mmc, r.id, 1, ST(S_OK));
		if (!round)
			vt_io_make(mc, 1, 16);
		vh_write(mc, 1, mc->ns[0].nsid, round * 8, 1, round + 1, ST(S_OK));
		vh_await(&r, &e); /* phase 1 in slot 0, or it is not seen */
		VEQ(t, e.esa, ESA_FIRST, "ESA of the first entry of a new queue");
		vh_cdq_delete(t->mmc, r.id, ST(S_OK));
	}
}

static void other_mmc_id(struct vt *t)
{
	struct vring r;

	vh_cdq(t->mmc, target(t), 64, &r, ST(S_OK));
	vh_cdq_delete(t->mmc2, r.id, ST(S_37));
	vh_get_cdq(t->mmc2, r.id, NULL, NULL, NULL, ST(S_37));
	vh_get_cdq(t->mmc, r.id, NULL, NULL, NULL, ST(S_OK));
}

static void reserved_bits(struct vt *t)
{
	struct vmem m;
	struct nvme_sqe s = create(t, &m, 64);
	unsigned st;

	vf_put(&s, VF_CDQ_CREATE_rsvd11_1, 0x7fff);
	st = vt_do(t->mmc, 0, &s, ST(S_OK, S_IF));
	vt_reading(t, "reserved bits of CDQ create", st == S_OK ? "not checked" : "refused");
}

static void churn(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, 64 * 32);

	for (unsigned i = 0; i < 300; i++) {
		struct nvme_sqe s;

		memset(m.p, 0, m.len);
		vop_init(&s, VOP_CDQ_CREATE);
		vf_put(&s, VF_CDQ_CREATE_pc, 1);
		vf_put(&s, VF_CDQ_CREATE_cntlid, target(t));
		vf_put(&s, VF_CDQ_CREATE_cdqsize, 64 * 8);
		s.prp1 = le64_of(m.iova);
		vt_do(t->mmc, 0, &s, ST(S_OK));
		vh_cdq_delete(t->mmc, (uint16_t)le32_get(t->last.dw0), ST(S_OK));
	}
}

const struct vtest tests_cq[] = {
	{ "CQ-01", NEED_CDQ, "CDQ-01 CDQ-06 CDQ-24 V-CQ-1", contiguous, "a contiguous queue can be made, is empty, and stays empty", NULL },
	{ "CQ-02", NEED_LOG, "CDQ-18 V-CQ-2", list, "a queue of scattered pages is filled in the list's order", NULL },
	{ "CQ-03", NEED_CDQ | DUT_MC2, "CDQ-02 V-CQ-17", id_reserved, "live queues have different CDQIDs", NULL },
	{ "CQ-04", NEED_CDQ, "CDQ-04", size_multiple, "CDQSIZE that is not whole entries", "negative" },
	{ "CQ-05", NEED_CDQ, "CDQ-05", size_zero, "CDQSIZE 0", "negative reading" },
	{ "CQ-06", NEED_CDQ, "CDQ-06", size_small, "queues of one and two entries", "reading" },
	{ "CQ-07", NEED_CDQ, "CDQ-08", size_huge, "a queue larger than the host's memory", "negative" },
	{ "CQ-08", NEED_CDQ, "CDQ-07", offset_prp1, "PRP1 with an offset", "negative" },
	{ "CQ-09", NEED_CDQ, "CDQ-07", offset_list, "an entry of the PRP list with an offset", "negative" },
	{ "CQ-10", NEED_CDQ, "CDQ-08", not_host_memory, "a queue in memory nobody gave", "negative" },
	{ "CQ-11", NEED_CDQ, "CDQ-09", second_same_mc, "a second queue for the same controller", "negative" },
	{ "CQ-12", NEED_CDQ, "CDQ-10 CDQ-11", too_many, "as many queues as promised, and not more", "reading" },
	{ "CQ-13", NEED_CDQ, "CDQ-12 CDQ-13 CDQ-14 V-CQ-18", too_many_ranges, "a list longer than MCMR and MCDQPC", "negative reading" },
	{ "CQ-14", NEED_CDQ, "CDQ-15", bad_qt, "reserved queue types", "negative" },
	{ "CQ-15", NEED_CDQ, "CDQ-15", bad_sel, "reserved SEL", "negative" },
	{ "CQ-16", NEED_CDQ, "CDQ-16", bad_cntlid, "CNTLID of no controller", "negative" },
	{ "CQ-17", NEED_CDQ, "CDQ-17", own_cntlid, "CNTLID of the MMC", "negative reading" },
	{ "CQ-18", NEED_CDQ, "CDQ-19", delete_unknown, "deleting a queue that is not there", "negative" },
	{ "CQ-19", NEED_LOG, "CDQ-20 V-CQ-21 V-CQ-24", delete_while_logging, "nothing is written once a delete has completed", NULL },
	{ "CQ-20", NEED_LOG, "CDQ-23 RING-06", again, "a new queue for the same controller starts with phase 1 in slot 0", NULL },
	{ "CQ-21", NEED_CDQ | DUT_MMC2, "CDQ-03", other_mmc_id, "a CDQID means nothing to another MMC", "negative" },
	{ "CQ-22", NEED_CDQ, "F-CQ-1", reserved_bits, "reserved bits of create", "reading" },
	{ "CQ-23", NEED_CDQ, "CDQ-02 CDQ-23", churn, "300 queues made and deleted", "stress" },
	{ .id = NULL }
};
