/* Track Send, memory: starting and stopping, and everything a structure can say wrong. */
#include "verify/test.h"

static uint64_t granule(struct vt *t) { return 4096ull << t->mmc->id.minmrtg; }
static uint16_t target(struct vt *t) { return t->mc[0]->cntlid; }
static struct vrange small(struct vt *t) { return (struct vrange){ t->mc[0]->iova, 1 }; }

/* With what a test wants different in the structure. */
static unsigned raw(struct vt *t, uint8_t ver, uint8_t rmrtg, uint32_t rnmrtd, const struct vrange *r, unsigned n, const uint16_t *want)
{
	struct vmem m = vt_mem(t->mmc, 8 + 12 * n);
	struct nvme_track_mem head = { .ver = ver, .rmrtg = rmrtg, .rnmrtd = le32_of(rnmrtd) };
	struct nvme_sqe s;

	memcpy(m.p, &head, sizeof(head));
	for (unsigned i = 0; i < n; i++) {
		struct nvme_track_mem_range d = { .saddr = le64_of(r[i].addr), .len = le32_of(r[i].len) };

		memcpy(m.p + 8 + 12 * i, &d, sizeof(d));
	}
	vop_init(&s, VOP_TRACK_MEM);
	vf_put(&s, VF_TRACK_MEM_tact, 1);
	vf_put(&s, VF_TRACK_MEM_cntlid, target(t));
	return vt_do_data(t->mmc, 0, &s, &m, (uint32_t)round_up(8 + 12 * n, 4), want);
}

/* Stop takes no buffer: none is given. */
static void start_stop(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_sqe s;

	for (unsigned i = 0; i < 5; i++) {
		vh_track_all(t->mmc, t->mc[0]);
		vop_init(&s, VOP_TRACK_MEM);
		vf_put(&s, VF_TRACK_MEM_cntlid, target(t));
		vt_do(t->mmc, 0, &s, ST(S_OK));
	}
	vh_receive(t->mmc, target(t), &m, 32, ST(S_1F, S_IF));
}

static void self(struct vt *t)
{
	struct vrange r = { t->mmc->iova, 1 };

	vh_track(t->mmc, t->mmc->cntlid, true, t->mmc->id.minmrtg, &r, 1, ST(S_1F));
}

static void twice(struct vt *t)
{
	struct vrange r = small(t);

	vh_track_all(t->mmc, t->mc[0]);
	vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg, &r, 1, ST(S_1F));
}

static void suspended(struct vt *t)
{
	struct vrange r = small(t);
	unsigned st;

	vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
	vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg, &r, 1, ST(S_39));
	vh_resume(t->mmc, target(t), ST(S_OK));
	vh_track_all(t->mmc, t->mc[0]);
	vh_suspend(t->mmc, target(t), 1, false, ST(S_OK));
	st = vh_track(t->mmc, target(t), false, 0, NULL, 0, ST(S_39, S_OK));
	vt_reading(t, "stop of memory tracking while suspended", "%s", nvme_status_name(st));
}

static void granularity(struct vt *t)
{
	unsigned min = t->mmc->id.minmrtg, max = t->mmc->id.maxmrtg;
	struct vrange r = { t->mc[0]->iova, 1 };

	if (max < 255)
		vh_track(t->mmc, target(t), true, max + 1, &r, 1, ST(S_IF));
	vh_track(t->mmc, target(t), true, 255, &r, 1, ST(S_IF));
	if (min > 0)
		vh_track(t->mmc, target(t), true, min - 1, &r, 1, ST(S_IF));
	if ((4096ull << max) > t->mc[0]->bytes || t->mc[0]->iova % (4096ull << max))
		return;
	vh_track(t->mmc, target(t), true, max, &r, 1, ST(S_OK));
}

static void version(struct vt *t)
{
	static const uint8_t ver[] = { 1, 2, 0x80, 0xff };
	struct vrange r = small(t);

	for (unsigned i = 0; i < ARRAY_LEN(ver); i++)
		raw(t, ver[i], t->mmc->id.minmrtg, 1, &r, 1, ST(S_IF));
}

static void misaligned(struct vt *t)
{
	static const uint32_t off[] = { 1, 4, 512, 2048, 4095 };

	for (unsigned i = 0; i < ARRAY_LEN(off); i++) {
		struct vrange r = { t->mc[0]->iova + off[i], 1 };

		vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg, &r, 1, ST(S_IF));
	}
	if (t->mmc->id.maxmrtg > t->mmc->id.minmrtg) {
		struct vrange r = { t->mc[0]->iova + granule(t), 1 };

		vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg + 1u, &r, 1, ST(S_IF));
	}
}

static void too_many(struct vt *t)
{
	unsigned most = le16_get(t->mmc->id.cmmrtd), n = most + 1;
	struct vrange r[512];

	if (n > ARRAY_LEN(r))
		vt_skip(t, "CMMRTD %u is more than this test sends", most);
	for (unsigned i = 0; i < n; i++)
		r[i] = (struct vrange){ t->mc[0]->iova + 2ull * i * granule(t), 1 };
	vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg, r, n, ST(S_IF));
	vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg, r, most, ST(S_OK, S_38));
	if (t->mcs > 1 && nvme_cqe_status(&t->last) == S_OK)
		vh_track(t->mmc, t->mc[1]->cntlid, true, t->mmc->id.minmrtg, r, 1, ST(S_IF)); /* the sum counts */
}

static void huge_count(struct vt *t)
{
	static const uint32_t n[] = { 0xffffffff, 0x80000000, 0x15555555, 0x10000 };
	struct vrange r = small(t);

	for (unsigned i = 0; i < ARRAY_LEN(n); i++)
		raw(t, 0, t->mmc->id.minmrtg, n[i], &r, 1, ST(S_IF, S_38));
}

static void power_of_two(struct vt *t)
{
	struct vrange r = { t->mc[0]->iova, 3 };

	vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg, &r, 1, ST(S_IF));
}

static void not_host_memory(struct vt *t)
{
	uint64_t end = t->mc[0]->iova + t->mc[0]->bytes;
	struct vrange bad[] = { { 0x7fff00000000ull, 1 }, { end, 1 }, { end - granule(t), 2 }, { 0xfffffffffffff000ull & ~(granule(t) - 1), 2 } };

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg, &bad[i], 1, ST(S_IF));
}

static void resources(struct vt *t)
{
	struct vrange r = { t->mc[0]->iova, (uint32_t)(t->mc[0]->bytes / granule(t)) };
	unsigned st = vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg, &r, 1, ST(S_OK, S_38));

	if (st == S_OK) {
		vt_reading(t, "tracking 24 MiB at the finest granularity", "accepted");
		vt_skip(t, "Not Enough Resources could not be provoked");
	}
	VEXPECT(t, (le32_get(t->last.dw0) & 0xffff) > t->mmc->id.minmrtg || le32_get(t->last.dw1),
		"Not Enough Resources without a granularity (DW0) or count (DW1) that would do");
}

static void count_zero(struct vt *t)
{
	unsigned st = raw(t, 0, t->mmc->id.minmrtg, 0, NULL, 0, ST(S_IF, S_OK));

	vt_reading(t, "RNMRTD 0", "%s", nvme_status_name(st));
}

static void overlapping(struct vt *t)
{
	struct vrange r[2] = { { t->mc[0]->iova, 4 }, { t->mc[0]->iova + 2 * granule(t), 4 } };
	unsigned st = vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg, r, 2, ST(S_OK, S_IF));

	vt_reading(t, "ranges that overlap", "%s", nvme_status_name(st));
}

static void absent(struct vt *t)
{
	struct vrange r = small(t);

	vh_track(t->mmc, 0xfffe, true, t->mmc->id.minmrtg, &r, 1, ST(S_1F));
	vh_track(t->mmc, 0xffff, true, t->mmc->id.minmrtg, &r, 1, ST(S_1F));
}

/* The structure ends with the last byte of a page, and behind it is nothing: who reads more than 8 + 12 n fails. */
static void exact_length(struct vt *t)
{
	enum { N = 3, LEN = 8 + 12 * N };
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_track_mem head = { .rmrtg = t->mmc->id.minmrtg, .rnmrtd = le32_of(N) };
	uint8_t *p = m.p + VT_PAGE - LEN;
	struct nvme_sqe s;

	memcpy(p, &head, sizeof(head));
	for (unsigned i = 0; i < N; i++) {
		struct nvme_track_mem_range d = { .saddr = le64_of(t->mc[0]->iova + 4 * i * granule(t)), .len = le32_of(2) };

		memcpy(p + 8 + 12 * i, &d, sizeof(d));
	}
	vop_init(&s, VOP_TRACK_MEM);
	vf_put(&s, VF_TRACK_MEM_tact, 1);
	vf_put(&s, VF_TRACK_MEM_cntlid, target(t));
	s.prp1 = le64_of(m.iova + VT_PAGE - LEN);
	vt_do(t->mmc, 0, &s, ST(S_OK));
}

static void across_pages(struct vt *t)
{
	enum { N = 5, BEFORE = 20 };
	struct vmem m = vt_mem(t->mmc, 4 * VT_PAGE);
	struct nvme_track_mem head = { .rmrtg = t->mmc->id.minmrtg, .rnmrtd = le32_of(N) };
	uint8_t whole[8 + 12 * N];
	struct nvme_sqe s;

	memcpy(whole, &head, sizeof(head));
	for (unsigned i = 0; i < N; i++) {
		struct nvme_track_mem_range d = { .saddr = le64_of(t->mc[0]->iova + 4 * i * granule(t)), .len = le32_of(2) };

		memcpy(whole + 8 + 12 * i, &d, sizeof(d));
	}
	memcpy(m.p + VT_PAGE - BEFORE, whole, BEFORE);
	memcpy(m.p + 3 * VT_PAGE, whole + BEFORE, sizeof(whole) - BEFORE); /* not the next page in memory */
	vop_init(&s, VOP_TRACK_MEM);
	vf_put(&s, VF_TRACK_MEM_tact, 1);
	vf_put(&s, VF_TRACK_MEM_cntlid, target(t));
	s.prp1 = le64_of(m.iova + VT_PAGE - BEFORE);
	s.prp2 = le64_of(m.iova + 3 * VT_PAGE);
	vt_do(t->mmc, 0, &s, ST(S_OK));
}

static void stop_idle(struct vt *t)
{
	unsigned st = vh_track(t->mmc, target(t), false, 0, NULL, 0, ST(S_OK, S_1F, S_IF));

	vt_reading(t, "stop of memory tracking that was not started", "%s", nvme_status_name(st));
}

static void failed_start(struct vt *t)
{
	struct vrange r[2] = { { t->mc[0]->iova, 1 }, { 0x7fff00000000ull, 1 } };

	vh_track(t->mmc, target(t), true, t->mmc->id.minmrtg, r, 2, ST(S_IF));
	vh_track_all(t->mmc, t->mc[0]); /* nothing of the first is left */
}

const struct vtest tests_tm[] = {
	{ "TM-01", NEED_TRACK, "V-TM-1 TS-30 TR-10", start_stop, "start and stop; stop needs no buffer", NULL },
	{ "TM-02", NEED_TRACK, "TS-20", self, "the MMC does not track itself", "negative" },
	{ "TM-03", NEED_TRACK, "TS-21", twice, "a controller that is tracked already", "negative" },
	{ "TM-04", NEED_TRACK, "TS-22", suspended, "a controller that is suspended", "negative reading" },
	{ "TM-05", NEED_TRACK, "TS-23", granularity, "granularity outside the limits", "negative" },
	{ "TM-06", NEED_TRACK, "TS-24", version, "VER other than 0", "negative" },
	{ "TM-07", NEED_TRACK, "TS-25", misaligned, "a start that is not on a granule", "negative" },
	{ "TM-08", NEED_TRACK, "TS-26", too_many, "more descriptors than CMMRTD, alone and in sum", "negative" },
	{ "TM-09", NEED_TRACK, "TS-26 TS-31", huge_count, "RNMRTD far beyond the buffer", "negative" },
	{ "TM-10", NEED_TRACK | DUT_MRTLL, "TS-27", power_of_two, "a length that is no power of two where MRTLL=1", "negative" },
	{ "TM-11", NEED_TRACK, "TS-28", not_host_memory, "ranges outside the controller's host memory", "negative" },
	{ "TM-12", NEED_TRACK, "TS-29", resources, "Not Enough Resources says what would do", "reading" },
	{ "TM-13", NEED_TRACK, "V-TM-15", count_zero, "RNMRTD 0", "reading" },
	{ "TM-14", NEED_TRACK, "V-TM-16", overlapping, "ranges that overlap", "reading" },
	{ "TM-15", NEED_TRACK, "TS-20", absent, "CNTLID of no controller", "negative" },
	{ "TM-16", NEED_TRACK, "TS-31", exact_length, "not a byte behind the descriptors is read", NULL },
	{ "TM-17", NEED_TRACK, "TS-31", across_pages, "a structure that crosses pages", NULL },
	{ "TM-18", NEED_TRACK, "TS-30", stop_idle, "stop when not tracking", "reading" },
	{ "TM-19", NEED_TRACK, "TS-28", failed_start, "a start that failed leaves nothing behind", "negative" },
	{ .id = NULL }
};
