/* Data found by SGLs, where SGLS says so, and fused commands, where FUSES says so; and where they do not, that they are refused.
 * A driver may use either at any time, so both must hold under a log, under tracking and across a suspension.
 */
#include "verify/test.h"

enum { FUSE_FIRST = 1, FUSE_SECOND = 2, DATA = 0x00, BUCKET = 0x10, SEGMENT = 0x20, LAST = 0x30, KEYED = 0x40, TRANSPORT = 0x50, VENDOR = 0xf0 };
enum { SGL_SEGMENT = 0x00d, SGL_COUNT = 0x00e, SGL_LENGTH = 0x00f, SGL_TYPE = 0x011, SGL_OFFSET = 0x016, SGL_GRANULARITY = 0x01e, S_COMPARE = 0x285,
	FAILED_FUSED = 0x009, BLOCKS = 8 };

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : t->mmc; }
static struct vns *ns(struct vt *t) { return &one(t)->ns[0]; }
static uint32_t bytes(struct vt *t) { return BLOCKS * ns(t)->lba; }

static struct nvme_sgl desc(unsigned type, uint64_t addr, uint32_t len) { return (struct nvme_sgl){ .addr = le64_of(addr), .len = le32_of(len), .type = (uint8_t)type }; }

static void put(struct vmem *segment, unsigned i, struct nvme_sgl d) { memcpy(segment->p + 16 * i, &d, 16); }

/* A command on the first blocks whose data pointer is this descriptor. */
static struct nvme_sqe command(struct vt *t, unsigned opc, struct nvme_sgl d)
{
	struct nvme_sqe s;

	vh_rw_sqe(&s, opc, ns(t)->nsid, 0, BLOCKS);
	s.flags |= NVME_PSDT_SGL;
	memcpy((uint8_t *)&s + 24, &d, sizeof(d));
	return s;
}

static unsigned run(struct vt *t, unsigned opc, struct nvme_sgl d, const uint16_t *want)
{
	struct nvme_sqe s = command(t, opc, d);

	return vt_do(one(t), 1, &s, want);
}

/* The first blocks hold this. */
static void begin(struct vt *t, uint64_t seed)
{
	vt_io_make(one(t), 1, 16);
	vh_write(one(t), 1, ns(t)->nsid, 0, BLOCKS, seed, ST(S_OK));
}

static void one_block(struct vt *t)
{
	struct vmem m = vt_mem(one(t), bytes(t)), w = vt_mem(one(t), bytes(t));

	begin(t, 1);
	run(t, NVME_NVM_READ, desc(DATA, m.iova, bytes(t)), ST(S_OK));
	VEXPECT(t, vh_same(&m, bytes(t), 1), "a Read by one data block descriptor brought other data");
	vh_fill(&w, bytes(t), 2);
	run(t, NVME_NVM_WRITE, desc(DATA, w.iova, bytes(t)), ST(S_OK));
	vh_read_is(one(t), 1, ns(t)->nsid, 0, BLOCKS, 2);
}

/* Data in pieces of odd places and lengths, over two segments: what is read is what lies there, in order, and no byte beside. */
static void segments(struct vt *t)
{
	static const uint32_t cut[] = { 0, 512, 1024, 1536, 3072 };
	struct vctl *c = one(t);
	bool bytewise = (le32_get(c->id.sgls) & 3) == 1;
	struct vmem first = vt_mem(c, VT_PAGE), second = vt_mem(c, VT_PAGE), flat = vt_mem(c, bytes(t));
	struct vmem part[5];
	struct nvme_sqe s;

	begin(t, 3);
	for (unsigned i = 0; i < 5; i++) {
		uint32_t len = (i < 4 ? cut[i + 1] : bytes(t)) - cut[i];

		part[i] = vt_mem(c, len + 64);
		memset(part[i].p, 0xa5, len + 64);
		put(i < 3 ? &first : &second, i < 3 ? i : i - 3, desc(DATA, part[i].iova + (bytewise ? 3 : 4) * i, len));
	}
	put(&first, 3, desc(LAST, second.iova, 2 * 16));
	run(t, NVME_NVM_READ, desc(SEGMENT, first.iova, 4 * 16), ST(S_OK));
	for (unsigned i = 0; i < 5; i++) {
		uint32_t len = (i < 4 ? cut[i + 1] : bytes(t)) - cut[i], at = (bytewise ? 3 : 4) * i;

		memcpy(flat.p + cut[i], part[i].p + at, len);
		for (uint32_t b = 0; b < at; b++)
			VEQ(t, part[i].p[b], 0xa5, "a byte before what a descriptor names");
		if (i < 4)
			VEQ(t, part[i].p[at + len], 0xa5, "the byte behind what a descriptor names");
	}
	VEXPECT(t, vh_same(&flat, bytes(t), 3), "a Read by two segments brought other data");
	s = command(t, NVME_NVM_WRITE, desc(SEGMENT, first.iova, 4 * 16)); /* and back, to other blocks */
	s.cdw10 = le32_of(100);
	vt_do(c, 1, &s, ST(S_OK));
	vh_read_is(c, 1, ns(t)->nsid, 100, BLOCKS, 3);
}

/* A Read throws away what a bit bucket names; a Write has nothing to take from one. */
static void bit_bucket(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem list = vt_mem(c, VT_PAGE), m = vt_mem(c, bytes(t)), whole = vt_mem(c, bytes(t));
	uint32_t half = bytes(t) / 2;

	begin(t, 4);
	memset(m.p, 0xa5, bytes(t));
	put(&list, 0, desc(BUCKET, 0, half));
	put(&list, 1, desc(DATA, m.iova, half));
	run(t, NVME_NVM_READ, desc(LAST, list.iova, 2 * 16), ST(S_OK));
	vh_fill(&whole, bytes(t), 4);
	VEXPECT(t, !memcmp(m.p, whole.p + half, half), "behind a bit bucket there is other data");
	VEQ(t, m.p[half], 0xa5, "the byte behind what a descriptor names");
	put(&list, 0, desc(BUCKET, 0, half));
	put(&list, 1, desc(DATA, whole.iova, bytes(t)));
	run(t, NVME_NVM_WRITE, desc(LAST, list.iova, 2 * 16), ST(S_OK));
	vh_read_is(c, 1, ns(t)->nsid, 0, BLOCKS, 4);
}

static void no_bucket(struct vt *t)
{
	struct vmem list = vt_mem(one(t), VT_PAGE);

	if (t->caps & DUT_BUCKET)
		vt_skip(t, "SGLS bit 16 is 1: bit buckets are supported");
	begin(t, 4);
	put(&list, 0, desc(BUCKET, 0, bytes(t)));
	run(t, NVME_NVM_READ, desc(LAST, list.iova, 16), ST(SGL_TYPE, S_IF));
}

static void types(struct vt *t)
{
	static const unsigned bad[] = { KEYED, TRANSPORT, 0x60, 0x70, 0xe0, VENDOR };
	struct vctl *c = one(t);
	struct vmem list = vt_mem(c, VT_PAGE), m = vt_mem(c, bytes(t));

	begin(t, 5);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		run(t, NVME_NVM_READ, desc(bad[i], m.iova, bytes(t)), ST(SGL_TYPE, S_IF));
		put(&list, 0, desc(DATA, m.iova, 512));
		put(&list, 1, desc(bad[i], m.iova + 512, bytes(t) - 512));
		run(t, NVME_NVM_WRITE, desc(LAST, list.iova, 32), ST(SGL_TYPE, S_IF));
	}
	run(t, NVME_NVM_READ, desc(DATA | 0x5, m.iova, bytes(t)), ST(SGL_TYPE, S_IF)); /* a reserved subtype */
	vh_read_is(c, 1, ns(t)->nsid, 0, BLOCKS, 5);
}

static void segment_lengths(struct vt *t)
{
	static const uint32_t bad[] = { 0, 1, 8, 15, 17, 24, 0xffffffff };
	struct vctl *c = one(t);
	struct vmem list = vt_mem(c, VT_PAGE), m = vt_mem(c, bytes(t));

	begin(t, 6);
	put(&list, 0, desc(DATA, m.iova, bytes(t)));
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		for (unsigned k = SEGMENT; k <= LAST; k += 0x10)
			run(t, NVME_NVM_WRITE, desc(k, list.iova, bad[i]), ST(SGL_SEGMENT, SGL_COUNT));
	vh_read_is(c, 1, ns(t)->nsid, 0, BLOCKS, 6);
}

/* Where a segment descriptor may not be, and where one is missing. */
static void segment_places(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem list = vt_mem(c, VT_PAGE), more = vt_mem(c, VT_PAGE), m = vt_mem(c, bytes(t));

	begin(t, 7);
	put(&more, 0, desc(DATA, m.iova, bytes(t)));
	put(&list, 0, desc(LAST, more.iova, 16)); /* not the last of its segment */
	put(&list, 1, desc(DATA, m.iova, bytes(t)));
	run(t, NVME_NVM_WRITE, desc(SEGMENT, list.iova, 32), ST(SGL_SEGMENT));
	run(t, NVME_NVM_WRITE, desc(LAST, list.iova, 16), ST(SGL_SEGMENT)); /* in a last segment */
	put(&list, 0, desc(SEGMENT, more.iova, 16));
	run(t, NVME_NVM_WRITE, desc(LAST, list.iova, 16), ST(SGL_SEGMENT));
	put(&list, 0, desc(DATA, m.iova, bytes(t))); /* a segment that ends in data though it is not called last */
	run(t, NVME_NVM_WRITE, desc(SEGMENT, list.iova, 16), ST(SGL_SEGMENT, SGL_LENGTH));
	put(&list, 0, desc(SEGMENT, list.iova, 16)); /* a ring */
	run(t, NVME_NVM_WRITE, desc(SEGMENT, list.iova, 16), ST(SGL_SEGMENT, SGL_COUNT, SGL_LENGTH, S_XFER));
	vh_read_is(c, 1, ns(t)->nsid, 0, BLOCKS, 7);
}

static void lengths(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem list = vt_mem(c, VT_PAGE), m = vt_mem(c, 2 * bytes(t));
	bool longer_ok = le32_get(c->id.sgls) >> 18 & 1;

	begin(t, 8);
	run(t, NVME_NVM_WRITE, desc(DATA, m.iova, bytes(t) - ns(t)->lba), ST(SGL_LENGTH));
	run(t, NVME_NVM_WRITE, desc(DATA, m.iova, 0), ST(SGL_LENGTH));
	run(t, NVME_NVM_READ, desc(DATA, m.iova, 2 * bytes(t)), longer_ok ? ST(S_OK) : ST(SGL_LENGTH));
	put(&list, 0, desc(DATA, m.iova, 512));
	put(&list, 1, desc(DATA, m.iova, 512));
	run(t, NVME_NVM_WRITE, desc(LAST, list.iova, 32), ST(SGL_LENGTH));
	vh_read_is(c, 1, ns(t)->nsid, 0, BLOCKS, 8);
}

static void nowhere(struct vt *t)
{
	static const uint64_t bad[] = { 0x7fff00000000ull, 0xffffffffffffff00ull };
	struct vctl *c = one(t);
	const uint16_t *want = ST(S_XFER, S_IF, S_INTERNAL, SGL_OFFSET);

	begin(t, 9);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		run(t, NVME_NVM_WRITE, desc(DATA, bad[i], bytes(t)), want);
		run(t, NVME_NVM_READ, desc(DATA, bad[i], bytes(t)), want);
		run(t, NVME_NVM_WRITE, desc(SEGMENT, bad[i], 64), want);
	}
	vh_read_is(c, 1, ns(t)->nsid, 0, BLOCKS, 9);
}

static void reserved_psdt(struct vt *t)
{
	struct vmem m = vt_mem(one(t), bytes(t));
	struct nvme_sqe s;

	begin(t, 10);
	s = command(t, NVME_NVM_WRITE, desc(DATA, m.iova, bytes(t)));
	s.flags |= NVME_PSDT_MASK;
	vt_do(one(t), 1, &s, ST(S_IF));
	vh_read_is(one(t), 1, ns(t)->nsid, 0, BLOCKS, 10);
}

static void not_supported(struct vt *t)
{
	struct vmem m = vt_mem(one(t), bytes(t));
	struct nvme_sqe s;

	if (t->caps & DUT_SGL)
		vt_skip(t, "SGLS says that SGLs are supported");
	begin(t, 11);
	s = command(t, NVME_NVM_WRITE, desc(DATA, m.iova, bytes(t)));
	vt_do(one(t), 1, &s, ST(S_IF));
	s.flags = NVME_PSDT_SGL_MSEG;
	vt_do(one(t), 1, &s, ST(S_IF));
	vh_read_is(one(t), 1, ns(t)->nsid, 0, BLOCKS, 11);
}

/* Under a log and under tracking it is the same as by PRPs; what waits at a suspension is done after it. */
static void under_migration(struct vt *t)
{
	static struct vdirty d; /* large */
	struct vctl *mc = t->mc[0];
	struct vmem m, list = vt_mem(mc, VT_PAGE);
	struct vring r;
	struct nvme_sqe s;
	struct vcmd *k;

	begin(t, 12);
	r = vh_logging(t->mmc, mc, 64);
	vh_track_all(t->mmc, mc);
	m = vt_mem(mc, bytes(t));
	vh_dirty(t->mmc, mc, 64 * KIB, &d);
	put(&list, 0, desc(DATA, m.iova, bytes(t)));
	run(t, NVME_NVM_READ, desc(LAST, list.iova, 16), ST(S_OK));
	vh_dirty(t->mmc, mc, 64 * KIB, &d);
	vh_expect_dirty(t, &d, mc, &m, "data of a Read by SGL");
	vh_fill(&m, bytes(t), 13);
	run(t, NVME_NVM_WRITE, desc(DATA, m.iova, bytes(t)), ST(S_OK));
	vh_covered(&r, ns(t)->mmc_nsid, 0, BLOCKS, NULL);
	vh_suspend(t->mmc, mc->cntlid, 1, false, ST(S_OK));
	s = command(t, NVME_NVM_READ, desc(LAST, list.iova, 16));
	memset(m.p, 0, bytes(t));
	k = vt_send(mc, 1, &s, ST(S_OK));
	vt_watch_silent(mc);
	VEXPECT(t, !m.p[0] && !m.p[bytes(t) - 1], "a suspended controller moved data");
	vh_resume(t->mmc, mc->cntlid, ST(S_OK));
	vt_finish(t, k);
	VEXPECT(t, vh_same(&m, bytes(t), 13), "a Read by SGL that waited brought other data");
}

/* ---- fused: Compare, then Write, next to each other in one SQ */

struct fused { struct vcmd *first, *second; };

static struct fused pair(struct vt *t, uint64_t holds, uint64_t becomes, uint64_t second_lba, const uint16_t *want_first, const uint16_t *want_second)
{
	struct vctl *c = one(t);
	struct vmem a = vt_mem(c, bytes(t)), b = vt_mem(c, bytes(t));
	struct nvme_sqe s, w;
	struct fused f;

	vh_fill(&a, bytes(t), holds);
	vh_fill(&b, bytes(t), becomes);
	vh_rw_sqe(&s, NVME_NVM_COMPARE, ns(t)->nsid, 0, BLOCKS);
	vh_rw_sqe(&w, NVME_NVM_WRITE, ns(t)->nsid, second_lba, BLOCKS);
	vt_data(c, &s, &a, bytes(t));
	vt_data(c, &w, &b, bytes(t));
	s.flags |= FUSE_FIRST;
	w.flags |= FUSE_SECOND;
	f.first = vt_queue(c, 1, &s, want_first);
	f.second = vt_queue(c, 1, &w, want_second);
	vt_ring(c, 1); /* one doorbell for both */
	vt_finish(t, f.first);
	vt_finish(t, f.second);
	return f;
}

static void fused_refused(struct vt *t)
{
	const uint16_t *want = ST(S_IF, S_MISSING, FAILED_FUSED);

	if (t->caps & DUT_FUSES)
		vt_skip(t, "FUSES says that Compare and Write may be fused");
	begin(t, 20);
	pair(t, 20, 21, 0, want, want);
	vh_read_is(one(t), 1, ns(t)->nsid, 0, BLOCKS, 20);
}

static void fused_match(struct vt *t)
{
	struct fused f;

	begin(t, 20);
	f = pair(t, 20, 21, 0, ST(S_OK), ST(S_OK));
	VEXPECT(t, f.first->order < f.second->order, "the second command of a fused pair was completed first");
	vh_read_is(one(t), 1, ns(t)->nsid, 0, BLOCKS, 21);
}

static void fused_mismatch(struct vt *t)
{
	begin(t, 20);
	pair(t, 22, 21, 0, ST(S_COMPARE), ST(FAILED_FUSED));
	vh_read_is(one(t), 1, ns(t)->nsid, 0, BLOCKS, 20);
}

static void fused_ranges(struct vt *t)
{
	const uint16_t *want = ST(S_IF, FAILED_FUSED);

	begin(t, 20);
	pair(t, 20, 21, 1, want, want);
	vh_read_is(one(t), 1, ns(t)->nsid, 0, BLOCKS, 20);
}

/* A half without its other half, and FUSE 11b. */
static void fused_half(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem m = vt_mem(c, bytes(t));
	const uint16_t *want = t->caps & DUT_FUSES ? ST(S_MISSING) : ST(S_MISSING, S_IF);
	struct nvme_sqe s, plain;
	struct vcmd *k[2];

	begin(t, 20);
	vh_rw_sqe(&plain, NVME_NVM_READ, ns(t)->nsid, 0, 1);
	vt_data(c, &plain, &m, ns(t)->lba);
	vh_rw_sqe(&s, NVME_NVM_WRITE, ns(t)->nsid, 0, BLOCKS);
	vt_data(c, &s, &m, bytes(t));
	s.flags |= FUSE_SECOND;
	vt_do(c, 1, &s, want);
	s.opc = NVME_NVM_COMPARE;
	s.flags = FUSE_FIRST;
	k[0] = vt_queue(c, 1, &s, want);
	k[1] = vt_queue(c, 1, &plain, ST(S_OK));
	vt_ring(c, 1);
	vt_finish(t, k[0]);
	vt_finish(t, k[1]);
	s.opc = NVME_NVM_WRITE;
	s.flags = FUSE_FIRST | FUSE_SECOND;
	vt_do(c, 1, &s, ST(S_IF));
	vh_read_is(c, 1, ns(t)->nsid, 0, BLOCKS, 20);
}

enum { N = DUT_MEM | DUT_NS, S = N | DUT_SGL, F = N | DUT_COMPARE };
const struct vtest tests_sg[] = {
	{ "SG-01", S, "B-SGL-1", one_block, "one data block descriptor, to and fro", NULL },
	{ "SG-02", S, "B-SGL-2", segments, "a segment, a last segment, odd places", NULL },
	{ "SG-03", S | DUT_BUCKET, "B-SGL-3", bit_bucket, "bit buckets", NULL },
	{ "SG-04", S, "B-SGL-4", no_bucket, "bit buckets where there are none", "negative" },
	{ "SG-05", S, "B-SGL-4", types, "descriptor types that are not there", "negative hostile" },
	{ "SG-06", S, "B-SGL-5", segment_lengths, "segments whose length is none", "negative hostile" },
	{ "SG-07", S, "B-SGL-5", segment_places, "segment descriptors where they may not be, and a ring of them", "negative hostile" },
	{ "SG-08", S, "B-SGL-6", lengths, "descriptors for more or less than the data", "negative" },
	{ "SG-09", S, "B-PRP-4", nowhere, "addresses that are nowhere", "negative hostile" },
	{ "SG-10", N, "B-SGL-7", reserved_psdt, "PSDT 11b", "negative" },
	{ "SG-11", N, "B-SGL-7", not_supported, "SGLs where there are none", "negative" },
	{ "SG-12", NEED_LOG | DUT_THMCS | DUT_SGL, "B-SGL-1 RING-15 TR-01 SUS-05 SUS-06", under_migration, "SGLs under a log, under tracking, across a suspension", NULL },
	{ .id = NULL }
};
const struct vtest tests_fu[] = {
	{ "FU-01", F, "B-FUSE-1", fused_refused, "Compare and Write fused where FUSES says no", "negative" },
	{ "FU-02", F | DUT_FUSES, "B-FUSE-2", fused_match, "Compare and Write fused, and it is as compared", NULL },
	{ "FU-03", F | DUT_FUSES, "B-FUSE-3", fused_mismatch, "Compare and Write fused, and it is not", "negative" },
	{ "FU-04", F | DUT_FUSES, "B-FUSE-3", fused_ranges, "a fused pair with different ranges", "negative" },
	{ "FU-05", F, "B-FUSE-4", fused_half, "one half of a fused pair, and FUSE 11b", "negative" },
	{ .id = NULL }
};
