/* Logging of user data changes. What matters is cover: which blocks the entries name, however they are cut or merged. */
#include "verify/test.h"

#define NSID(t) ((t)->mc[0]->ns[0].nsid)
#define MNSID(t) ((t)->mc[0]->ns[0].mmc_nsid)

static struct vring begin(struct vt *t, uint32_t slots)
{
	struct vring r = vh_logging(t->mmc, t->mc[0], slots);

	vt_io_make(t->mc[0], 1, 64);
	return r;
}

static void first_entry(struct vt *t)
{
	struct vring r = begin(t, 64);
	struct ventry e;

	vh_scatter(t->mc[0], 1, 0, 1);
	vh_await(&r, &e);
	VEQ(t, e.esa, ESA_FIRST, "ESA of the first entry");
	vt_reading(t, "start marker", e.lbacir == 2 ? "an entry of its own" : "on the first range");
}

static void stop_entry(struct vt *t)
{
	struct vring r = begin(t, 64);
	struct ventry e;

	vh_scatter(t->mc[0], 1, 0, 3);
	vh_log(t->mmc, r.id, 0, ST(S_OK));
	vh_await_esa(&r, ESA_STOPPED, &e);
	vh_scatter(t->mc[0], 1, 100, 3);
	vh_expect_silent_ring(&r);
}

static void restart(struct vt *t)
{
	struct vring r = begin(t, 16);
	struct ventry e;

	for (unsigned i = 0; i < 8; i++) {
		vh_scatter(t->mc[0], 1, 10 * i, 1);
		vh_log(t->mmc, r.id, 0, ST(S_OK));
		vh_await_esa(&r, ESA_STOPPED, &e);
		vh_told(&r);
		vh_log(t->mmc, r.id, 1, ST(S_OK));
		vh_scatter(t->mc[0], 1, 1000 + 10 * i, 1);
		vh_await(&r, &e);
		VEQ(t, e.esa, ESA_FIRST, "ESA of the first entry after a restart");
		vh_covered(&r, MNSID(t), 2000, 0, NULL);
	}
}

static void start_twice(struct vt *t)
{
	struct vring r = begin(t, 64);

	vh_log(t->mmc, r.id, 1, ST(S_37));
	vh_scatter(t->mc[0], 1, 0, 1);
	vh_covered(&r, MNSID(t), 0, 1, NULL); /* and goes on */
}

static void unknown_queue(struct vt *t)
{
	vh_log(t->mmc, 0x1234, 1, ST(S_37));
	vh_log(t->mmc, 0x1234, 0, ST(S_37));
	vh_log(t->mmc, 0xffff, 1, ST(S_37));
}

static void suspended(struct vt *t)
{
	struct vring r;

	vh_cdq(t->mmc, t->mc[0]->cntlid, 64, &r, ST(S_OK));
	vh_suspend(t->mmc, t->mc[0]->cntlid, 1, false, ST(S_OK));
	vh_log(t->mmc, r.id, 1, ST(S_39));
	vh_log(t->mmc, r.id, 0, ST(S_39));
	vh_resume(t->mmc, t->mc[0]->cntlid, ST(S_OK));
	vh_log(t->mmc, r.id, 1, ST(S_OK));
}

static void reserved_lact(struct vt *t)
{
	struct vring r = begin(t, 64);

	for (unsigned lact = 2; lact < 16; lact++)
		vh_log(t->mmc, r.id, lact, ST(S_IF));
	vh_scatter(t->mc[0], 1, 0, 1);
	vh_covered(&r, MNSID(t), 0, 1, NULL);
}

static void stop_idle(struct vt *t)
{
	struct vring r;
	unsigned st;

	vh_cdq(t->mmc, t->mc[0]->cntlid, 64, &r, ST(S_OK));
	st = vh_log(t->mmc, r.id, 0, ST(S_OK, S_IF, S_37));
	vt_reading(t, "log stop when not logging", "%s", nvme_status_name(st));
}

static void not_supported(struct vt *t)
{
	struct nvme_sqe s;

	if ((t->caps & (DUT_TUDCS | DUT_THMCS)) == (DUT_TUDCS | DUT_THMCS))
		vt_skip(t, "both kinds of tracking are supported");
	vop_init(&s, t->caps & DUT_TUDCS ? VOP_TRACK_MEM : VOP_LOG);
	vt_do(t->mmc, 0, &s, ST(S_IF, S_IO));
}

static void write_cover(struct vt *t)
{
	struct vring r = begin(t, 256);
	struct vctl *mc = t->mc[0];

	for (unsigned i = 0; i < 40; i++) {
		struct vmark mark = vt_mark(mc);
		uint32_t nlb = 1 + (uint32_t)rng_below(&t->rng, 64);
		uint64_t lba = rng_below(&t->rng, mc->ns[0].blocks - 64);

		vh_write(mc, 1, NSID(t), lba, nlb, i + 1, ST(S_OK));
		vh_covered(&r, MNSID(t), lba, nlb, NULL);
		vt_back(mc, mark);
	}
}

static void one_block(struct vt *t)
{
	struct vring r = begin(t, 64);
	struct ventry e;

	vh_scatter(t->mc[0], 1, 77, 1);
	do
		vh_await(&r, &e);
	while (e.lbacir == 2);
	VEQ(t, e.slba, 77, "SLBA of the entry of a write of block 77");
	VEQ(t, e.nlb, 1, "blocks in the entry of a write of one block (NLB is zero-based)");
	VEQ(t, e.nsid, MNSID(t), "NSID of the entry");
	VEXPECT(t, !e.dealloc, "DLBA is 1 for a block that was written");
}

static void last_blocks(struct vt *t)
{
	struct vring r = begin(t, 64);
	struct vctl *mc = t->mc[0];

	vh_write(mc, 1, NSID(t), mc->ns[0].blocks - 8, 8, 5, ST(S_OK));
	vh_covered(&r, MNSID(t), mc->ns[0].blocks - 8, 8, NULL);
}

static void zeroes(struct vt *t)
{
	struct vring r = begin(t, 64);
	struct vctl *mc = t->mc[0];

	vh_write(mc, 1, NSID(t), 0, 64, 9, ST(S_OK));
	vh_covered(&r, MNSID(t), 0, 64, NULL);
	vh_io(mc, 1, NVME_NVM_WRITE_ZEROES, NSID(t), 8, 32, ST(S_OK));
	vh_covered(&r, MNSID(t), 8, 32, NULL);
}

static void zeroes_deac(struct vt *t)
{
	struct vring r = begin(t, 64);
	struct vctl *mc = t->mc[0];
	struct nvme_sqe s;

	vh_write(mc, 1, NSID(t), 0, 64, 9, ST(S_OK));
	vh_covered(&r, MNSID(t), 0, 64, NULL);
	vh_rw_sqe(&s, NVME_NVM_WRITE_ZEROES, NSID(t), 8, 32);
	s.cdw12 = le32_of(le32_get(s.cdw12) | 1u << 25);
	vt_do(mc, 1, &s, ST(S_OK));
	vh_covered(&r, MNSID(t), 8, 32, NULL);
}

/* Several ranges, apart from each other and not in order: each must be there. A list once merged here lost the one that did not fit. */
static void deallocate(struct vt *t)
{
	static const struct vspan span[] = { { 512, 64 }, { 0, 64 }, { 1024, 8 }, { 576, 64 }, { 2048, 128 } };
	struct vring r = begin(t, 256);
	struct vctl *mc = t->mc[0];

	for (unsigned i = 0; i < ARRAY_LEN(span); i++)
		vh_write(mc, 1, NSID(t), span[i].slba, span[i].nlb, 10 + i, ST(S_OK));
	for (unsigned i = 0; i < ARRAY_LEN(span); i++)
		if (!i) /* whatever order they came in: read everything that is there */
			vh_covered(&r, MNSID(t), span[4].slba, span[4].nlb, NULL);
	vh_dsm(mc, 1, NSID(t), span, ARRAY_LEN(span), ST(S_OK));
	{
		uint8_t seen[ARRAY_LEN(span)][128] = { { 0 } };
		unsigned left = 64 + 64 + 8 + 64 + 128;
		struct ventry e;

		while (left) {
			vh_await(&r, &e);
			for (unsigned i = 0; i < ARRAY_LEN(span); i++)
				for (unsigned b = 0; e.lbacir == 0 && b < span[i].nlb; b++)
					if (span[i].slba + b - e.slba < e.nlb && !seen[i][b]) {
						seen[i][b] = 1;
						left--;
					}
		}
	}
}

/* An entry that says "deallocated" of a block that holds data would lose it at the destination. */
static void dealloc_truth(struct vt *t)
{
	struct vring r = begin(t, 256);
	struct vctl *mc = t->mc[0];
	struct vspan part = { 3, 2 }; /* less than any allocation unit a 4 KiB granularity has */
	bool dealloc;

	vh_write(mc, 1, NSID(t), 0, 64, 9, ST(S_OK));
	vh_covered(&r, MNSID(t), 0, 64, NULL);
	vh_dsm(mc, 1, NSID(t), &part, 1, ST(S_OK));
	vh_write(mc, 1, NSID(t), 3, 1, 11, ST(S_OK));
	vh_covered(&r, MNSID(t), 3, 1, &dealloc);
	VEXPECT(t, !dealloc, "the last entry of a block that was written says that it was deallocated");
}

/* Zeroes that were written are data, unless the controller gave the blocks back as well. */
static void zeroes_truth(struct vt *t)
{
	struct vring r = begin(t, 256);
	struct vctl *mc = t->mc[0];
	struct nvme_sqe s;
	struct vmem m = vt_mem(mc, VT_PAGE);
	bool dealloc;

	vh_write(mc, 1, NSID(t), 0, 64, 9, ST(S_OK));
	vh_covered(&r, MNSID(t), 0, 64, NULL);
	vh_io(mc, 1, NVME_NVM_WRITE_ZEROES, NSID(t), 0, 64, ST(S_OK));
	vh_covered(&r, MNSID(t), 0, 64, &dealloc);
	if (!dealloc)
		return;
	vop_init(&s, VOP_LBA_STATUS);
	s.nsid = le32_of(NSID(t));
	vf_put(&s, VF_LBA_STATUS_atype, 2);
	vf_put(&s, VF_LBA_STATUS_mndw, 1023);
	vf_put(&s, VF_LBA_STATUS_rl, 64);
	vt_do_data(mc, 0, &s, &m, VT_PAGE, ST(S_OK));
	VEXPECT(t, !m.p[0], "zeroes were logged as deallocated, and Get LBA Status calls them allocated");
}

static void copy(struct vt *t)
{
	static const struct vspan span[] = { { 100, 8 }, { 300, 4 } };
	struct vring r = begin(t, 64);
	struct vctl *mc = t->mc[0];
	struct ventry e;

	vh_write(mc, 1, NSID(t), 100, 8, 1, ST(S_OK));
	vh_write(mc, 1, NSID(t), 300, 4, 2, ST(S_OK));
	vh_covered(&r, MNSID(t), 300, 4, NULL);
	vh_copy(mc, 1, NSID(t), 5000, span, 2, ST(S_OK));
	vh_await(&r, &e);
	VEXPECT(t, e.slba >= 4096, "a Copy's source (SLBA %llu) was logged before its destination", (unsigned long long)e.slba);
	if (e.nlb < 12 || e.slba != 5000)
		vh_covered(&r, MNSID(t), e.slba == 5000 ? 5000 + e.nlb : 5000, e.slba == 5000 ? 12 - e.nlb : 12, NULL);
}

static void uncorrectable(struct vt *t)
{
	struct vring r = begin(t, 64);
	struct vctl *mc = t->mc[0];

	vh_io(mc, 1, NVME_NVM_WRITE_UNCORRECTABLE, NSID(t), 40, 8, ST(S_OK));
	vh_covered(&r, MNSID(t), 40, 8, NULL);
	vh_io(mc, 1, NVME_NVM_WRITE_ZEROES, NSID(t), 40, 8, ST(S_OK));
}

static void not_logged(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vring r;
	struct ventry e;
	struct vmem m;
	struct nvme_sqe s;

	vt_io_make(mc, 1, 64);
	vh_write(mc, 1, NSID(t), 0, 8, 3, ST(S_OK));
	vh_cdq(t->mmc, mc->cntlid, 64, &r, ST(S_OK));
	vh_log(t->mmc, r.id, 1, ST(S_OK));
	vh_scatter(mc, 1, 100, 1);
	vh_covered(&r, MNSID(t), 100, 1, NULL);
	while (vh_next(&r, &e))
		;
	for (unsigned i = 0; i < 10; i++)
		vh_read_is(mc, 1, NSID(t), 0, 8, 3);
	s = (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(NSID(t)) };
	vt_do(mc, 1, &s, ST(S_OK));
	if (t->caps & DUT_COMPARE) {
		m = vt_mem(mc, 8 * vh_lba(mc));
		vh_fill(&m, 8 * vh_lba(mc), 3);
		vh_rw_sqe(&s, NVME_NVM_COMPARE, NSID(t), 0, 8);
		vt_do_data(mc, 1, &s, &m, 8 * vh_lba(mc), ST(S_OK));
	}
	vh_expect_silent_ring(&r);
}

static void other_controllers(struct vt *t)
{
	struct vring r = begin(t, 64);
	struct vctl *mc = t->mc[0];
	struct ventry e;

	vh_scatter(mc, 1, 0, 1);
	vh_covered(&r, MNSID(t), 0, 1, NULL);
	while (vh_next(&r, &e))
		;
	vt_io_make(t->mmc, 1, 16);
	{
		struct vmem m = vt_mem(t->mmc, VT_PAGE);
		struct nvme_sqe s;

		vh_rw_sqe(&s, NVME_NVM_WRITE, MNSID(t), 50, 1);
		vt_do_data(t->mmc, 1, &s, &m, mc->ns[0].lba, ST(S_OK));
	}
	vh_expect_silent_ring(&r);
}

struct watch { struct vring *r; struct ventry e; };
static bool range_entry(void *ctx)
{
	struct watch *w = ctx;

	while (vh_next(w->r, &w->e))
		if (w->e.lbacir == 0)
			return true;
	return false;
}

/* As soon as an entry is there, the MMC reads the new data. */
static void readable(struct vt *t)
{
	struct vring r = begin(t, 64);
	struct vctl *mc = t->mc[0];
	uint32_t len = 8 * vh_lba(mc);
	struct vmem out = vt_mem(mc, len), in;
	bool early = false;

	vt_io_make(t->mmc, 1, 16);
	in = vt_mem(t->mmc, len);
	for (unsigned i = 1; i <= 50; i++) {
		struct watch w = { &r, { 0 } };
		struct nvme_sqe s;
		struct vcmd *k;

		vh_fill(&out, len, 100 + i);
		vh_rw_sqe(&s, NVME_NVM_WRITE, NSID(t), 8 * i, 8);
		vt_data(mc, &s, &out, len);
		k = vt_send(mc, 1, &s, ST(S_OK));
		VEXPECT(t, vt_until(t, range_entry, &w, t->cmd_ns), "no entry for a write");
		early |= !k->done;
		vh_rw_sqe(&s, NVME_NVM_READ, MNSID(t), w.e.slba, (uint32_t)MIN(w.e.nlb, 8ull));
		vt_do_data(t->mmc, 1, &s, &in, len, ST(S_OK));
		VEXPECT(t, w.e.slba != 8 * i || vh_same(&in, (uint32_t)MIN(w.e.nlb, 8ull) * vh_lba(mc), 100 + i),
			"the entry for LBA %u is there, and the MMC reads old data", 8 * i);
		vt_finish(t, k);
		vh_covered(&r, MNSID(t), 0, 0, NULL);
		vh_told(&r);
	}
	vt_reading(t, "X10 entry and completion of a write", early ? "the entry may come first" : "the completion comes first or with it");
}

/* The same for what is not a plain Write: what the MMC reads once the entry is there is what it reads when all is done. */
static void others_readable(struct vt *t, bool copying)
{
	struct vring r = begin(t, 64);
	struct vctl *mc = t->mc[0];
	uint32_t len = 8 * vh_lba(mc);
	struct vmem in, again, ranges = vt_mem(mc, 64);

	vt_io_make(t->mmc, 1, 16);
	in = vt_mem(t->mmc, len);
	again = vt_mem(t->mmc, len);
	for (unsigned i = 1; i <= 30; i++) {
		struct vmark mark = vt_mark(mc);
		struct watch w = { &r, { 0 } };
		struct nvme_sqe s = { .opc = copying ? NVME_NVM_COPY : NVME_NVM_DSM, .nsid = le32_of(NSID(t)) }, read;
		uint64_t to = 16 * i;
		struct vcmd *k;

		vh_write(mc, 1, NSID(t), 4096, 8, i, ST(S_OK));
		vh_write(mc, 1, NSID(t), to, 8, 1000 + i, ST(S_OK));
		vh_covered(&r, MNSID(t), to, 8, NULL);
		vh_told(&r);
		memset(ranges.p, 0, 64);
		if (copying) {
			struct nvme_copy_range c = { .slba = le64_of(4096), .nlb0 = le16_of(7) };

			memcpy(ranges.p, &c, sizeof(c));
			s.cdw10 = le32_of((uint32_t)to);
		} else {
			struct nvme_dsm_range d = { .slba = le64_of(to), .nlb = le32_of(8) };

			memcpy(ranges.p, &d, sizeof(d));
			s.cdw11 = le32_of(4);
		}
		s.prp1 = le64_of(ranges.iova);
		k = vt_send(mc, 1, &s, ST(S_OK));
		VEXPECT(t, vt_until(t, range_entry, &w, t->cmd_ns), "no entry");
		vh_rw_sqe(&read, NVME_NVM_READ, MNSID(t), to, 8);
		vt_do_data(t->mmc, 1, &read, &in, len, ST(S_OK));
		vt_finish(t, k);
		vt_do_data(t->mmc, 1, &read, &again, len, ST(S_OK));
		VEXPECT(t, !memcmp(in.p, again.p, len), "the entry for LBA %llu was there before its effect", (unsigned long long)to);
		VEXPECT(t, !copying || vh_same(&again, len, i), "a Copy brought other data");
		vh_covered(&r, MNSID(t), 0, 0, NULL);
		vh_told(&r);
		vt_back(mc, mark);
	}
}

static void copy_readable(struct vt *t) { others_readable(t, true); }
static void dealloc_readable(struct vt *t) { others_readable(t, false); }

static void failed_write(struct vt *t)
{
	struct vring r = begin(t, 64);
	struct vctl *mc = t->mc[0];
	struct ventry e;

	vh_scatter(mc, 1, 0, 1);
	vh_covered(&r, MNSID(t), 0, 1, NULL);
	while (vh_next(&r, &e))
		;
	vh_write(mc, 1, NSID(t), mc->ns[0].blocks, 1, 1, ST(S_LBA));
	vh_write(mc, 1, NSID(t), mc->ns[0].blocks - 1, 2, 1, ST(S_LBA));
	vh_write(mc, 1, 0xfffffff0, 0, 1, 1, ST(S_NS));
	vh_expect_silent_ring(&r);
}

static void wraps(struct vt *t)
{
	struct vring r = begin(t, 16);

	for (unsigned i = 0; i < 60; i++) {
		vh_scatter(t->mc[0], 1, 20 * i, 3);
		vh_covered(&r, MNSID(t), 20 * i + 4, 1, NULL);
		vh_told(&r);
	}
	VEXPECT(t, r.taken >= 180, "%llu entries for 180 writes that cannot be merged", (unsigned long long)r.taken);
}

/* slots - 1 entries fit; the one that fills the queue says so, and is the last. */
static void capacity(struct vt *t)
{
	enum { SLOTS = 16 };
	struct vring r = begin(t, SLOTS);
	struct ventry e;

	vh_scatter(t->mc[0], 1, 0, 3 * SLOTS);
	vh_await_visible(&r, SLOTS - 1);
	for (unsigned i = 0; i < SLOTS - 1; i++) {
		VEXPECT(t, vh_next(&r, &e), "entry %u is missing", i);
		VEXPECT(t, (e.esa == ESA_FULL) == (i == SLOTS - 2), "ESA of entry %u of %u is %u", i + 1, SLOTS - 1, e.esa);
	}
	vh_expect_silent_ring(&r);
}

static void full_again(struct vt *t)
{
	struct vring r = begin(t, 8);
	struct ventry e;
	unsigned st;

	vh_scatter(t->mc[0], 1, 0, 20);
	vh_await_esa(&r, ESA_FULL, &e);
	vh_scatter(t->mc[0], 1, 100, 3); /* I/O is never held up by a full log */
	st = vh_log(t->mmc, r.id, 1, ST(S_3B, S_OK));
	vt_reading(t, "log start on a full queue", "%s", nvme_status_name(st));
	vh_told(&r);
	if (st == S_3B)
		vh_log(t->mmc, r.id, 1, ST(S_OK));
	vh_scatter(t->mc[0], 1, 500, 1);
	vh_await(&r, &e);
	VEQ(t, e.esa, ESA_FIRST, "ESA of the first entry after the queue was full");
}

static void two_logs(struct vt *t)
{
	struct vring a = vh_logging(t->mmc, t->mc[0], 64), b = vh_logging(t->mmc, t->mc[1], 64);
	struct ventry e;

	vt_io_make(t->mc[0], 1, 16);
	vt_io_make(t->mc[1], 1, 16);
	vh_scatter(t->mc[0], 1, 10, 1);
	vh_covered(&a, MNSID(t), 10, 1, NULL);
	while (vh_next(&b, &e))
		VEXPECT(t, e.lbacir == 2, "a write by MC0 came into the queue of MC1");
	vh_scatter(t->mc[1], 1, 30, 1);
	vh_covered(&b, t->mc[1]->ns[0].mmc_nsid, 30, 1, NULL);
	vh_expect_silent_ring(&a);
	vh_log(t->mmc, a.id, 0, ST(S_OK));
	vh_scatter(t->mc[1], 1, 60, 1);
	vh_covered(&b, t->mc[1]->ns[0].mmc_nsid, 60, 1, NULL);
}

static void shared_namespace(struct vt *t)
{
	struct vring a = vh_logging(t->mmc, t->mc[0], 64), b = vh_logging(t->mmc, t->mc[1], 64);
	struct ventry e;

	vt_io_make(t->mc[0], 1, 16);
	vh_write(t->mc[0], 1, t->mc[0]->ns[1].nsid, 8, 4, 1, ST(S_OK));
	vh_covered(&a, t->mc[0]->ns[1].mmc_nsid, 8, 4, NULL);
	while (vh_next(&b, &e))
		VEXPECT(t, e.lbacir == 2, "MC0's write to a shared namespace came into the queue of MC1");
	vh_expect_silent_ring(&b);
}

/* Writes are under way while logging starts: what is in no entry must be among the allocated blocks. Here: all of them must. */
static void race_with_start(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vspan all = { 0, 1024 };
	struct vmem st = vt_mem(t->mmc, VT_PAGE), buf = vt_mem(mc, VT_PAGE);
	struct vcmd *k[32];
	struct nvme_sqe s;
	struct vring r;
	uint64_t found = 0;
	struct ventry e;

	vt_io_make(mc, 1, 64);
	vh_dsm(mc, 1, NSID(t), &all, 1, ST(S_OK));
	vh_cdq(t->mmc, mc->cntlid, 128, &r, ST(S_OK));
	for (unsigned i = 0; i < ARRAY_LEN(k); i++) {
		vh_rw_sqe(&s, NVME_NVM_WRITE, NSID(t), i * 32, 8);
		s.prp1 = le64_of(buf.iova);
		k[i] = vt_queue(mc, 1, &s, ST(S_OK));
	}
	vt_ring(mc, 1);
	vh_log(t->mmc, r.id, 1, ST(S_OK));
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		vt_finish(t, k[i]);
	vop_init(&s, VOP_LBA_STATUS);
	s.nsid = le32_of(MNSID(t));
	vf_put(&s, VF_LBA_STATUS_mndw, 1023);
	vf_put(&s, VF_LBA_STATUS_rl, 1024);
	vt_do_data(t->mmc, 0, &s, &st, VT_PAGE, ST(S_OK));
	for (unsigned i = 0; i < ARRAY_LEN(k); i++) {
		struct nvme_lbas d;
		unsigned n = st.p[0] | st.p[1] << 8;

		for (unsigned j = 0; j < n && j < 255; j++) {
			memcpy(&d, st.p + 8 + 16 * j, sizeof(d));
			found |= (uint64_t)(i * 32 - le64_get(d.dslba) <= le32_get(d.nlb0)) << i;
		}
	}
	while (vh_next(&r, &e))
		for (unsigned i = 0; e.lbacir == 0 && i < ARRAY_LEN(k); i++)
			found |= (uint64_t)(i * 32 - e.slba < e.nlb) << i;
	VEQ(t, found, 0xffffffff, "writes racing with the start that are in the queue or allocated (a bit each)");
}

static void phase_last(struct vt *t)
{
	struct vring r = begin(t, 256);
	struct vctl *mc = t->mc[0];
	struct vmem buf = vt_mem(mc, VT_PAGE);

	for (unsigned round = 0; round < 20; round++) {
		struct vcmd *k[32];
		struct ventry e;
		struct nvme_sqe s;

		for (unsigned i = 0; i < ARRAY_LEN(k); i++) {
			vh_rw_sqe(&s, NVME_NVM_WRITE, NSID(t), 2 * i, 1);
			s.prp1 = le64_of(buf.iova);
			k[i] = vt_queue(mc, 1, &s, ST(S_OK));
		}
		vt_ring(mc, 1);
		for (unsigned left = ARRAY_LEN(k); left;) {
			for (unsigned i = 0; i < 200; i++) /* look at the ring as often as the device writes it */
				if (vh_next(&r, &e))
					VEXPECT(t, e.lbacir == 2 || e.nsid == MNSID(t), "an entry whose phase is right has NSID %u", e.nsid);
			vt_poll(t);
			left = 0;
			for (unsigned i = 0; i < ARRAY_LEN(k); i++)
				left += !k[i]->done;
			VEXPECT(t, vt_now_ns() < t->deadline_ns, "writes do not complete");
		}
		for (unsigned i = 0; i < ARRAY_LEN(k); i++)
			vt_forget(k[i]);
		while (vh_next(&r, &e))
			;
		vh_told(&r);
	}
}

/* Format by the MC: everything changed, by a whole-namespace entry or by ranges. */
static void format(struct vt *t)
{
	struct vring r = begin(t, 256);
	struct vctl *mc = t->mc[0];
	struct nvme_sqe s = { .opc = NVME_OP_FORMAT, .nsid = le32_of(NSID(t)) };
	uint64_t next = 0;
	struct vmem m;
	struct ventry e;

	vh_identify(mc, NVME_CNS_NS, NSID(t), 0, 0, &m, ST(S_OK));
	s.cdw10 = le32_of(m.p[26] & 15);
	vh_scatter(mc, 1, 0, 1);
	vh_covered(&r, MNSID(t), 0, 1, NULL);
	vt_do(mc, 0, &s, ST(S_OK));
	while (next < mc->ns[0].blocks) {
		vh_await(&r, &e);
		if (e.lbacir == 1)
			break;
		if (e.lbacir == 0 && e.slba <= next && e.slba + e.nlb > next)
			next = e.slba + e.nlb;
	}
	vt_reading(t, "Format while logging", e.lbacir == 1 ? "one entry for the whole namespace" : "entries with ranges");
}

const struct vtest tests_ts[] = {
	{ "TS-01", NEED_LOG, "TS-01 RING-06 TS-08", first_entry, "the first entry is marked as first", NULL },
	{ "TS-02", NEED_LOG, "RING-07 TS-08", stop_entry, "stop: a last entry, and nothing after it", NULL },
	{ "TS-03", NEED_LOG, "TS-09", restart, "stop and start again, in one queue", NULL },
	{ "TS-04", NEED_LOG, "TS-02", start_twice, "a second start is refused and disturbs nothing", "negative" },
	{ "TS-05", NEED_CDQ, "TS-03", unknown_queue, "a queue that is not there", "negative" },
	{ "TS-06", NEED_CDQ, "TS-04", suspended, "no start and no stop while the controller is suspended", "negative" },
	{ "TS-07", NEED_LOG, "TS-05", reserved_lact, "reserved LACT", "negative" },
	{ "TS-08", NEED_CDQ, "TS-07", stop_idle, "stop when not logging", "reading" },
	{ "TS-09", DUT_MMC | DUT_MEM, "TS-13", not_supported, "a kind of tracking that is not supported", "negative" },
	{ "TS-10", NEED_LOG, "RING-15 V-TS-9 V-TS-11", write_cover, "40 writes of random place and length are covered", "random" },
	{ "TS-11", NEED_LOG, "RING-14 RING-05", one_block, "the entry of one block", NULL },
	{ "TS-12", NEED_LOG, "RING-15 V-TS-12", last_blocks, "the last blocks of a namespace", NULL },
	{ "TS-13", NEED_LOG | DUT_WZ, "RING-18 V-TS-9", zeroes, "Write Zeroes is logged", NULL },
	{ "TS-14", NEED_LOG | DUT_WZ, "RING-18 V-TS-9", zeroes_deac, "Write Zeroes that deallocates is logged", NULL },
	{ "TS-15", NEED_LOG | DUT_DSM, "RING-17 V-TS-9", deallocate, "Deallocate with several ranges: each is logged", NULL },
	{ "TS-16", NEED_LOG | DUT_DSM, "RING-17 RING-24", dealloc_truth, "a block that holds data is not called deallocated", NULL },
	{ "TS-17", NEED_LOG | DUT_COPY, "RING-19 V-TS-9", copy, "Copy: its destination is logged", NULL },
	{ "TS-18", NEED_LOG | DUT_WU | DUT_WZ, "V-TS-9", uncorrectable, "Write Uncorrectable is logged", NULL },
	{ "TS-19", NEED_LOG, "RING-22", not_logged, "Read, Compare and Flush are not logged", NULL },
	{ "TS-20", NEED_LOG, "RING-20", other_controllers, "writes by the MMC are not in the MC's log", NULL },
	{ "TS-21", NEED_LOG, "RING-16", readable, "what an entry names can be read by the MMC", "race" },
	{ "TS-22", NEED_LOG, "RING-21", failed_write, "writes that fail and change nothing are not logged", NULL },
	{ "TS-23", NEED_LOG, "RING-01 RING-11 RING-13 RING-23", wraps, "phase and format of entries over many laps", "stress" },
	{ "TS-24", NEED_LOG, "RING-02 RING-03 RING-10", capacity, "all but one slot fill; the last entry says full", NULL },
	{ "TS-25", NEED_LOG, "TS-06 TS-10 X-08", full_again, "a full queue holds up no I/O and can be started again", NULL },
	{ "TS-26", NEED_LOG | DUT_MC2, "X-04", two_logs, "two logs are independent", NULL },
	{ "TS-27", NEED_LOG | DUT_SHARED, "X-05 RING-20", shared_namespace, "a shared namespace: only the writer's log has the entry", NULL },
	{ "TS-28", NEED_LOG | DUT_RALBAS | DUT_DSM, "TS-11", race_with_start, "writes that race with the start are not lost", "race" },
	{ "TS-29", NEED_LOG, "RING-04", phase_last, "an entry whose phase is right is whole", "race stress" },
	{ "TS-30", NEED_LOG | DUT_FORMAT | DUT_DESTROY, "V-TS-9 RING-12", format, "Format by the logged controller covers the namespace", "destructive" },
	{ "TS-31", NEED_LOG | DUT_COPY, "RING-16", copy_readable, "the entry of a Copy comes when its destination can be read", "race" },
	{ "TS-32", NEED_LOG | DUT_DSM, "RING-16", dealloc_readable, "the entry of a Deallocate comes when it has been done", "race" },
	{ "TS-33", NEED_LOG | DUT_WZ | DUT_RALBAS, "RING-24", zeroes_truth, "zeroes are called deallocated only if they are", NULL },
	{ .id = NULL }
};
