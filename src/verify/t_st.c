/* Set Controller State. The source is MC0, the target MC1 with the source's memory at the same addresses. */
#include "verify/test.h"

struct pair { struct vctl *from, *to; struct vmem image; uint32_t len; };
enum { MIDDLE = 0, FIRST = 1, LAST = 2, ONLY = 3 };

/* Two queue pairs that have worked, both controllers suspended, the image read. */
static struct pair prepare_n(struct vt *t, unsigned writes)
{
	struct pair p = { t->mc[0], t->mc[1] };

	vt_io_make(p.from, 1, 8);
	vt_io_make(p.from, 2, 16);
	for (unsigned i = 0; i < writes; i++) {
		vh_write(p.from, 1, p.from->ns[0].nsid, i, 1, i + 1, ST(S_OK));
		if (i % 3 == 0)
			vh_write(p.from, 2, p.from->ns[0].nsid, 100 + i, 1, i + 1, ST(S_OK));
	}
	vh_suspend(t->mmc, p.from->cntlid, 1, false, ST(S_OK));
	vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
	p.len = vh_image(t->mmc, p.from, 1, 0, &p.image);
	return p;
}
static struct pair prepare(struct vt *t) { return prepare_n(t, 5); }

static unsigned set(struct vt *t, const struct pair *p, unsigned seq, uint64_t off, uint32_t bytes, const uint16_t *want)
{
	struct vmem part = { p->image.p + off, p->image.iova + off, bytes };
	struct vmem copy;

	if (!bytes)
		return vh_set(t->mmc, p->to->cntlid, seq, 1, 0, off, NULL, 0, want);
	copy = vt_mem(t->mmc, bytes); /* page aligned whatever the offset */
	memcpy(copy.p, part.p, bytes);
	return vh_set(t->mmc, p->to->cntlid, seq, 1, 0, off, &copy, bytes / 4, want);
}

static unsigned queues_of(struct vt *t, struct vctl *c)
{
	struct vmem m;

	vh_image(t->mmc, c, 1, 0, &m);
	return (unsigned)(m.p[50] + m.p[52]);
}

/* The target takes the source's place: what it has not done yet it does, and its first completion is where the rings go on. */
static void works(struct vt *t, struct pair *p)
{
	struct vctl *to = p->to;

	vh_adopt(to, p->from);
	vh_resume(t->mmc, to->cntlid, ST(S_OK));
	for (unsigned i = 0; i < 20; i++) {
		vh_write(to, 1 + i % 2, to->ns[0].nsid, 200 + i, 1, 500 + i, ST(S_OK));
		vh_read_is(to, 2 - i % 2, to->ns[0].nsid, 200 + i, 1, 500 + i);
	}
}

static void whole(struct vt *t)
{
	struct pair p = prepare(t);

	set(t, &p, ONLY, 0, p.len, ST(S_OK));
	VEQ(t, queues_of(t, p.to), 4, "queues of the target after the commit");
	works(t, &p);
}

static void in_pieces(struct vt *t)
{
	static const uint32_t step[] = { 4, 24, 48, 52, 100 };

	for (unsigned i = 0; i < ARRAY_LEN(step); i++) {
		struct pair p;
		uint32_t at = 0;

		if (i)
			vt_fresh(t);
		p = prepare(t);
		set(t, &p, FIRST, 0, step[i], ST(S_OK));
		for (at = step[i]; at + step[i] < p.len; at += step[i])
			set(t, &p, MIDDLE, at, step[i], ST(S_OK));
		set(t, &p, LAST, at, p.len - at, ST(S_OK));
		VEQ(t, queues_of(t, p.to), 4, "queues of the target after the last piece");
		works(t, &p);
	}
}

static void empty_last(struct vt *t)
{
	struct pair p = prepare(t);

	set(t, &p, FIRST, 0, p.len, ST(S_OK));
	set(t, &p, LAST, p.len, 0, ST(S_OK));
	works(t, &p);
}

static void empty_others(struct vt *t)
{
	struct pair p = prepare(t);

	set(t, &p, FIRST, 0, 0, ST(S_IF));
	set(t, &p, ONLY, 0, 0, ST(S_IF));
	set(t, &p, FIRST, 0, 48, ST(S_OK));
	set(t, &p, MIDDLE, 48, 0, ST(S_IF));
}

static void no_sequence(struct vt *t)
{
	struct pair p = prepare(t);

	set(t, &p, MIDDLE, 0, 48, ST(S_SEQ));
	set(t, &p, LAST, 0, p.len, ST(S_SEQ));
	set(t, &p, FIRST, 0, 48, ST(S_OK));
	set(t, &p, LAST, 48, p.len - 48, ST(S_OK));
	set(t, &p, LAST, p.len, 0, ST(S_SEQ)); /* it is closed */
	works(t, &p);
}

static void first_again(struct vt *t)
{
	struct pair p = prepare(t);
	struct vmem junk = vt_mem(t->mmc, VT_PAGE);

	memset(junk.p, 0xff, 64);
	vh_set(t->mmc, p.to->cntlid, FIRST, 1, 0, 0, &junk, 16, ST(S_OK, S_IF));
	set(t, &p, FIRST, 0, p.len, ST(S_OK)); /* whole, but for its last piece: nothing of it may be left after a new first piece */
	set(t, &p, FIRST, 0, 48, ST(S_OK));
	set(t, &p, LAST, 48, 0, ST(S_IF));
	VEQ(t, queues_of(t, p.to), 0, "queues out of a sequence that was begun anew");
	set(t, &p, FIRST, 0, p.len, ST(S_OK));
	set(t, &p, FIRST, 0, 48, ST(S_OK)); /* what came before is gone: the rest of it cannot complete this one */
	set(t, &p, LAST, p.len, 0, ST(S_IF, S_SEQ));
	set(t, &p, FIRST, 0, 48, ST(S_OK));
	set(t, &p, LAST, 48, p.len - 48, ST(S_OK));
	works(t, &p);
}

static void only_while_open(struct vt *t)
{
	struct pair p = prepare(t);
	unsigned st;

	set(t, &p, FIRST, 0, 48, ST(S_OK));
	st = set(t, &p, ONLY, 0, p.len, ST(S_OK, S_SEQ));
	vt_reading(t, "11b while a sequence is open", "%s", nvme_status_name(st));
	if (st == S_OK)
		works(t, &p);
}

static void both_zero(struct vt *t)
{
	struct pair p = prepare(t);

	vh_set(t->mmc, p.to->cntlid, ONLY, 0, 0, 0, &p.image, p.len / 4, ST(S_IF));
	VEQ(t, queues_of(t, p.to), 0, "queues of the target");
}

/* The sizes in the image must fit the indices in the command. A device that looks for CSVI where Get has it fails here. */
static void mismatch(struct vt *t)
{
	struct pair p = prepare(t);

	if (vh_uuids(t->mmc))
		vh_set(t->mmc, p.to->cntlid, ONLY, 0, 1, 0, &p.image, p.len / 4, ST(S_IF));
	p.image.p[32] = 1; /* VSS without CSUUIDI */
	set(t, &p, ONLY, 0, p.len, ST(S_IF));
	p.image.p[32] = 0;
	p.image.p[16] += 2; /* the part is said, and sent, longer than its queues are */
	set(t, &p, ONLY, 0, p.len + 8, ST(S_IF));
	p.image.p[16] -= 2;
	if (vh_uuids(t->mmc)) {
		uint64_t minus = htole64(0 - (uint64_t)p.image.p[16]); /* both parts together: nothing, modulo 2^64 */
		struct vmem copy = vt_mem(t->mmc, p.len);

		memcpy(copy.p, p.image.p, p.len);
		memcpy(copy.p + 32, &minus, 8);
		vh_set(t->mmc, p.to->cntlid, ONLY, 1, 1, 0, &copy, p.len / 4, ST(S_IF));
	}
	VEQ(t, queues_of(t, p.to), 0, "queues of the target");
}

static void unknown_index(struct vt *t)
{
	struct pair p = prepare(t);
	unsigned nu = vh_uuids(t->mmc);

	vh_set(t->mmc, p.to->cntlid, ONLY, 200, 0, 0, &p.image, p.len / 4, ST(S_IF));
	vh_set(t->mmc, p.to->cntlid, ONLY, 1, nu + 1, 0, &p.image, p.len / 4, ST(S_IF));
	vh_set(t->mmc, p.to->cntlid, FIRST, 0, 255, 0, &p.image, p.len / 4, ST(S_IF));
}

static void queues_exist(struct vt *t)
{
	struct pair p = prepare(t);
	struct pair back = { .from = p.to, .to = p.from, .image = p.image, .len = p.len };

	set(t, &back, ONLY, 0, p.len, ST(S_IF)); /* the source still has its queues */
	set(t, &p, ONLY, 0, p.len, ST(S_OK));
	set(t, &p, ONLY, 0, p.len, ST(S_IF)); /* and now the target has them */
	works(t, &p);
}

static void disabled_target(struct vt *t)
{
	struct pair p = prepare(t);

	vh_resume(t->mmc, p.to->cntlid, ST(S_OK));
	vt_disable(p.to);
	set(t, &p, ONLY, 0, p.len, ST(S_1F));
	set(t, &p, FIRST, 0, 48, ST(S_1F));
}

static void enabled_target(struct vt *t)
{
	struct pair p = prepare(t);
	unsigned st;

	vh_resume(t->mmc, p.to->cntlid, ST(S_OK));
	st = set(t, &p, ONLY, 0, p.len, ST(S_OK, S_1F));
	vt_reading(t, "state set on an enabled, running controller", "%s", nvme_status_name(st));
	VEXPECT(t, st == S_OK, "CC.EN is 1: the state may be set, yet the answer is Invalid Controller Identifier");
}

static void bad_offset(struct vt *t)
{
	struct pair p = prepare(t);

	for (unsigned off = 1; off < 4; off++)
		vh_set(t->mmc, p.to->cntlid, ONLY, 1, 0, off, &p.image, p.len / 4, ST(S_IF));
	vh_set(t->mmc, p.to->cntlid, FIRST, 1, 0, 0x100000000ull, &p.image, 12, ST(S_IF));
	vh_set(t->mmc, p.to->cntlid, ONLY, 1, 0, 0xfffffffffffffffcull, &p.image, 12, ST(S_IF));
}

static void gap(struct vt *t)
{
	struct pair p = prepare(t);
	unsigned st;

	set(t, &p, FIRST, 0, 48, ST(S_OK));
	st = set(t, &p, MIDDLE, 56, 24, ST(S_OK, S_IF));
	vt_reading(t, "a piece that leaves a gap", "%s", nvme_status_name(st));
	if (st == S_OK) /* then the gap must be noticed at the end, or the state would be made up */
		set(t, &p, LAST, 80, p.len - 80, ST(S_IF, S_SEQ));
	set(t, &p, FIRST, 0, 72, ST(S_OK)); /* head and tail of a queue: zeroes there would be a good image */
	if (set(t, &p, LAST, 76, p.len - 76, ST(S_OK, S_IF, S_SEQ)) == S_OK)
		vt_fail(t, "an image was taken of which four bytes were never sent");
	VEQ(t, queues_of(t, p.to), 0, "queues of the target");
}

static void versions(struct vt *t)
{
	struct pair p = prepare(t);

	p.image.p[0] = 1;
	set(t, &p, ONLY, 0, p.len, ST(S_IF));
	p.image.p[0] = 0;
	p.image.p[48] = 1;
	set(t, &p, ONLY, 0, p.len, ST(S_IF));
	p.image.p[48] = 0;
	VEQ(t, queues_of(t, p.to), 0, "queues of the target");
	set(t, &p, ONLY, 0, p.len, ST(S_OK));
}

/* What an image may not say. Offsets: 56 is the first SQ, 80 the second, 104 the first CQ, 128 the second. */
static void hostile(struct vt *t)
{
	static const struct { const char *what; unsigned at, bytes; uint64_t val; bool may; } lies[] = {
		{ "NVMECSS one too many", 16, 8, 27, false }, { "NVMECSS one too few", 16, 8, 25, false },
		{ "NVMECSS 0 with CSVI 1", 16, 8, 0, true }, { "NVMECSS 2^62", 16, 8, 1ull << 62, false }, { "NVMECSS 2^63 + 26", 16, 8, (1ull << 63) + 26, false },
		{ "NVMECSS beyond 64 bits", 24, 8, 1, false }, { "VSS 1", 32, 8, 1, false }, { "VSS beyond 64 bits", 40, 8, 1, false },
		{ "NIOSQ 3", 50, 2, 3, false }, { "NIOSQ 65535", 50, 2, 65535, false }, { "NIOSQ 0", 50, 2, 0, false },
		{ "NIOCQ 0", 52, 2, 0, false }, { "NIOCQ 65535", 52, 2, 65535, false },
		{ "SQ with QID 0", 56 + 10, 2, 0, false }, { "SQ with the QID of the next", 56 + 10, 2, 2, false },
		{ "SQ with QID 65535", 80 + 10, 2, 65535, false }, { "SQ with a CQ that is not there", 56 + 12, 2, 9, false },
		{ "SQ with CQ 0", 56 + 12, 2, 0, false }, { "SQ of one entry", 56 + 8, 2, 0, false },
		{ "SQ larger than CAP.MQES", 56 + 8, 2, 65535, false }, { "SQ head outside", 56 + 16, 2, 8, false },
		{ "SQ tail outside", 56 + 18, 2, 8, false }, { "SQ head far outside", 56 + 16, 2, 65535, false },
		{ "CQ with QID 0", 104 + 10, 2, 0, false }, { "CQ with the QID of the next", 104 + 10, 2, 2, false },
		{ "CQ head outside", 104 + 12, 2, 8, false }, { "CQ tail outside", 104 + 14, 2, 8, false },
		{ "CQ of one entry", 104 + 8, 2, 0, false }, { "CQ larger than CAP.MQES", 104 + 8, 2, 65535, false },
		{ "SQ with an offset in PRP1", 56, 8, 0x100000010ull, true }, { "CQ with an offset in PRP1", 104, 8, 0x100000010ull, true },
		{ "SQ in memory nobody gave", 56, 8, 0x7fff00000000ull, true }, { "CQ with vector 65535", 104 + 18, 2, 65535, true },
		{ "reserved bits of IOSQA", 56 + 14, 2, 0xfff9, true }, { "CSATTR.CP 0", 2, 1, 0, true },
	};
	struct pair p = prepare(t);
	uint8_t good[512];

	VEXPECT(t, p.len == 152, "an image of two queue pairs has %u bytes", p.len);
	memcpy(good, p.image.p, p.len);
	for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
		struct vmark mark = vt_mark(t->mmc);
		uint64_t v = htole64(lies[i].val);
		unsigned st;

		memcpy(p.image.p, good, p.len);
		memcpy(p.image.p + lies[i].at, &v, lies[i].bytes);
		vt_trace(t, "image: %s", lies[i].what);
		st = set(t, &p, ONLY, 0, p.len, ST(S_IF, S_38, S_SEQ, S_PRP, S_OK));
		VEXPECT(t, lies[i].may || st == S_IF || st == S_38 || st == S_SEQ, "%s: answered with %s", lies[i].what, nvme_status_name(st));
		if (lies[i].may)
			vt_reading(t, lies[i].what, "%s", nvme_status_name(st));
		if (st == S_OK) { /* accepted: put the target back */
			vt_reset(p.to);
			vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
		}
		VEXPECT(t, queues_of(t, p.to) == 0, "%s: refused, and queues were made", lies[i].what);
		vt_back(t->mmc, mark);
	}
	memcpy(p.image.p, good, p.len);
	set(t, &p, ONLY, 0, p.len, ST(S_OK)); /* and after all that a good one is taken */
	works(t, &p);
}

static void truncated(struct vt *t)
{
	struct pair p = prepare(t);

	for (uint32_t len = 4; len < p.len; len += 4) {
		struct vmark mark = vt_mark(t->mmc);

		set(t, &p, ONLY, 0, len, ST(S_IF));
		vt_back(t->mmc, mark);
	}
	VEQ(t, queues_of(t, p.to), 0, "queues of the target");
	set(t, &p, ONLY, 0, p.len, ST(S_OK));
}

/* Random bytes in a good image: refused, or taken and then a controller that still answers. */
static void noise(struct vt *t)
{
	struct pair p = prepare(t);
	uint8_t good[512];

	memcpy(good, p.image.p, MIN(p.len, 512u));
	for (unsigned i = 0; i < 200; i++) {
		struct vmark mark = vt_mark(t->mmc);
		unsigned st;

		memcpy(p.image.p, good, MIN(p.len, 512u));
		for (unsigned n = 1 + (unsigned)rng_below(&t->rng, 4); n; n--)
			p.image.p[rng_below(&t->rng, MIN(p.len, 512u))] = (uint8_t)rng_next(&t->rng);
		st = set(t, &p, ONLY, 0, p.len, ST(S_OK, S_IF, S_38, S_SEQ, S_PRP));
		if (st == S_OK) {
			vt_reset(p.to);
			vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
		}
		vt_back(t->mmc, mark);
	}
}

static void failed_then_good(struct vt *t)
{
	struct pair p = prepare(t);

	set(t, &p, FIRST, 0, 48, ST(S_OK));
	vh_set(t->mmc, p.to->cntlid, MIDDLE, 1, 0, 1, &p.image, 12, ST(S_IF));
	set(t, &p, FIRST, 0, 60, ST(S_OK));
	set(t, &p, MIDDLE, 60, 40, ST(S_OK));
	set(t, &p, LAST, 100, p.len - 100, ST(S_OK));
	works(t, &p);
}

static void survives_reset(struct vt *t)
{
	struct pair p = prepare(t);
	struct vmem m;

	set(t, &p, ONLY, 0, p.len, ST(S_OK));
	vt_reset(p.to);
	VEQ(t, queues_of(t, p.to), 0, "I/O queues after a reset");
	vh_identify(p.to, NVME_CNS_CTRL, 0, 0, 0, &m, ST(S_OK));
	vt_io_make(p.to, 1, 16);
	vh_write(p.to, 1, p.to->ns[0].nsid, 0, 1, 1, ST(S_OK));
	vh_resume(t->mmc, p.to->cntlid, ST(S_3A));
}

static void too_many_queues(struct vt *t)
{
	enum { N = 600, LEN = 56 + 48 * N };
	struct pair p = prepare(t);
	struct vmem m = vt_mem(t->mmc, LEN);

	memcpy(m.p, p.image.p, 56);
	m.p[16] = (uint8_t)(2 + 12 * N);
	m.p[17] = (uint8_t)((2 + 12 * N) >> 8);
	m.p[50] = m.p[52] = (uint8_t)N;
	m.p[51] = m.p[53] = (uint8_t)(N >> 8);
	for (unsigned i = 0; i < N; i++) {
		struct nvme_state_sq s = { .prp1 = le64_of(p.to->iova), .qsize0 = le16_of(7), .qid = le16_of((uint16_t)(i + 1)),
					   .cqid = le16_of((uint16_t)(i + 1)), .attr = le16_of(1) };
		struct nvme_state_cq c = { .prp1 = le64_of(p.to->iova), .qsize0 = le16_of(7), .qid = le16_of((uint16_t)(i + 1)),
					   .attr = le32_of(1) };

		memcpy(m.p + 56 + 24 * i, &s, 24);
		memcpy(m.p + 56 + 24 * (N + i), &c, 24);
	}
	vh_set(t->mmc, p.to->cntlid, ONLY, 1, 0, 0, &m, LEN / 4, ST(S_38, S_IF));
	vt_reading(t, "an image with 600 queue pairs", "%s", nvme_status_name(nvme_cqe_status(&t->last)));
	VEQ(t, queues_of(t, p.to), 0, "queues of the target");
}

static void round_trip(struct vt *t)
{
	struct pair p = prepare(t);
	struct vmem again;
	uint32_t len;

	set(t, &p, ONLY, 0, p.len, ST(S_OK));
	len = vh_image(t->mmc, p.to, 1, 0, &again);
	VEQ(t, len, p.len, "bytes of the image read back");
	for (uint32_t i = 0; i < len; i++)
		VEXPECT(t, again.p[i] == p.image.p[i], "byte %u of the image read back is %02xh, not %02xh", i, again.p[i], p.image.p[i]);
}

/* A vendor's part may change for good what a controller calls itself, and the next run would take it for another. So the target's own is kept,
 * and put back. */
static struct { uint8_t image[256 << 10]; uint32_t len; } own_;

void vsv_keep_own(struct vt *t, struct vctl *c)
{
	struct vmem m;

	vt_fresh(t);
	vh_suspend(t->mmc, c->cntlid, 1, false, ST(S_OK));
	own_.len = vh_image(t->mmc, c, 1, 1, &m);
	if (own_.len > sizeof(own_.image))
		vt_skip(t, "the state with the vendor's part has %u bytes: it could not be put back", own_.len);
	memcpy(own_.image, m.p, own_.len);
	vt_fresh(t);
}

void vsv_put_back(struct vt *t, struct vctl *c)
{
	struct vmem m, id;

	vt_fresh(t);
	m = vt_mem(t->mmc, own_.len);
	memcpy(m.p, own_.image, own_.len);
	vh_suspend(t->mmc, c->cntlid, 1, false, ST(S_OK));
	vh_set(t->mmc, c->cntlid, ONLY, 1, 1, 0, &m, own_.len / 4, ST(S_OK));
	vt_fresh(t);
	vh_identify(c, NVME_CNS_CTRL, 0, 0, 0, &id, ST(S_OK));
	VEXPECT(t, !memcmp(id.p, &c->id, 588), "the target's own state was put back, and Identify Controller is not what it was");
}

static void vendor_round_trip(struct vt *t)
{
	struct pair p;
	struct vmem image, again;
	uint32_t len;

	if (!vh_uuids(t->mmc))
		vt_skip(t, "no vendor format is listed");
	vsv_keep_own(t, t->mc[1]);
	p = prepare(t);
	len = vh_image(t->mmc, p.from, 1, 1, &image);
	vh_set(t->mmc, p.to->cntlid, ONLY, 1, 1, 0, &image, len / 4, ST(S_OK));
	vh_image(t->mmc, p.to, 1, 0, &again);
	VEXPECT(t, !memcmp(again.p + 48, p.image.p + 48, p.len - 48), "the NVMe part read back differs");
	vsv_put_back(t, p.to);
}

/* A vendor's part whose meaning we know (docs/stream.md): the admin queue goes on where it was, and the guest reads the controller it knew. */
static void vendor_admin(struct vt *t)
{
	static const uint8_t known[16] = FERRY_STATE_UUID;

	for (unsigned n = 0; n < 130; n += 43) { /* different positions and phases of an admin queue of 64 */
		struct vmem f, image, id;
		struct pair p;
		uint32_t len;

		if (n)
			vt_fresh(t);
		vh_identify(t->mmc, 0x20, 0, 0, 0, &f, ST(S_OK));
		if (!f.p[1] || memcmp(f.p + 2 + 2 * f.p[0], known, 16))
			vt_skip(t, "the vendor format at index 1 is not one we know");
		if (!n)
			vsv_keep_own(t, t->mc[1]);
		for (unsigned i = 0; i < n; i++)
			vh_feature(t->mc[0], false, NVME_FID_TEMP, 0, 0, ST(S_OK));
		p = prepare(t);
		len = vh_image(t->mmc, p.from, 1, 1, &image);
		vh_set(t->mmc, p.to->cntlid, ONLY, 1, 1, 0, &image, len / 4, ST(S_OK));
		vh_adopt(p.to, p.from);
		memcpy(p.to->acq.p, p.from->acq.p, p.to->acq.len);
		memcpy(p.to->asq.p, p.from->asq.p, p.to->asq.len);
		p.to->sq[0].tail = p.from->sq[0].tail;
		p.to->sq[0].rung = p.from->sq[0].rung;
		p.to->sq[0].head = p.from->sq[0].head;
		p.to->cq[0].head = p.from->cq[0].head;
		p.to->cq[0].phase = p.from->cq[0].phase;
		vh_resume(t->mmc, p.to->cntlid, ST(S_OK));
		vh_identify(p.to, NVME_CNS_CTRL, 0, 0, 0, &id, ST(S_OK));
		VEXPECT(t, !memcmp(id.p, &p.from->id, 588), "Identify Controller at the target is not what the guest knew");
		for (unsigned i = 0; i < 70; i++)
			vh_feature(p.to, false, NVME_FID_TEMP, 0, 0, ST(S_OK));
		vh_write(p.to, 1, p.to->ns[0].nsid, 9, 1, 77, ST(S_OK));
		vh_read_is(p.to, 2, p.to->ns[0].nsid, 9, 1, 77);
	}
	vsv_put_back(t, t->mc[1]);
}

/* The first completion after the move, at every position of a ring of 8. */
static void phases(struct vt *t)
{
	for (unsigned n = 0; n < 18; n++) {
		struct pair p;

		if (n)
			vt_fresh(t);
		p = prepare_n(t, n);
		set(t, &p, ONLY, 0, p.len, ST(S_OK));
		works(t, &p);
	}
}

static void two_sequences(struct vt *t)
{
	struct pair p, q;
	uint32_t half;

	if (t->mcs < 3)
		vt_skip(t, "fewer than three migratable controllers can be reached");
	p = prepare(t);
	q = p;
	q.to = t->mc[2];
	half = p.len / 8 * 4;
	vh_suspend(t->mmc, q.to->cntlid, 1, false, ST(S_OK));
	set(t, &p, FIRST, 0, half, ST(S_OK));
	set(t, &q, FIRST, 0, 48, ST(S_OK));
	set(t, &p, LAST, half, p.len - half, ST(S_OK));
	vh_resume(t->mmc, q.to->cntlid, ST(S_SEQ));
	set(t, &q, LAST, 48, p.len - 48, ST(S_OK));
	VEQ(t, queues_of(t, q.to), 4, "queues of the second target");
	works(t, &p);
}

static void mmc_reset_inside(struct vt *t)
{
	struct pair p = prepare(t);
	uint8_t keep[512];

	memcpy(keep, p.image.p, p.len);
	set(t, &p, FIRST, 0, 48, ST(S_OK));
	vt_reset(t->mmc);
	p.image = vt_mem(t->mmc, VT_PAGE);
	memcpy(p.image.p, keep, p.len);
	vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
	set(t, &p, LAST, 48, p.len - 48, ST(S_SEQ));
	set(t, &p, ONLY, 0, p.len, ST(S_OK));
}

static void mc_reset_inside(struct vt *t)
{
	struct pair p = prepare(t);
	unsigned st;

	set(t, &p, FIRST, 0, 48, ST(S_OK));
	vt_reset(p.to);
	vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
	st = set(t, &p, LAST, 48, p.len - 48, ST(S_SEQ, S_OK));
	vt_reading(t, "reset of the target inside a sequence", st == S_OK ? "the sequence goes on" : "the sequence is over");
}

static void bad_cntlid(struct vt *t)
{
	struct pair p = prepare(t);

	vh_set(t->mmc, 0xfffe, ONLY, 1, 0, 0, &p.image, p.len / 4, ST(S_1F));
	vh_set(t->mmc, t->mmc->cntlid, ONLY, 1, 0, 0, &p.image, p.len / 4, ST(S_1F, S_IF));
}

static void huge(struct vt *t)
{
	struct pair p = prepare(t);
	struct nvme_sqe s;

	vop_init(&s, VOP_SET_STATE);
	vf_put(&s, VF_SET_STATE_cntlid, p.to->cntlid);
	vf_put(&s, VF_SET_STATE_seqind, ONLY);
	vf_put(&s, VF_SET_STATE_csvi, 1);
	vf_put(&s, VF_SET_STATE_numd, 0xffffffff);
	s.prp1 = le64_of(p.image.iova);
	vt_do(t->mmc, 0, &s, ST(S_IF, S_38, S_XFER));
	vf_put(&s, VF_SET_STATE_numd, 0x40000001); /* times four it wraps to 4 */
	vt_do(t->mmc, 0, &s, ST(S_IF, S_38, S_XFER));
	vf_put(&s, VF_SET_STATE_seqind, FIRST); /* and as a first piece four bytes would be fine */
	vt_do(t->mmc, 0, &s, ST(S_IF, S_38, S_XFER));
}

/* A sequence belongs to the MMC that began it. */
static void other_mmc(struct vt *t)
{
	struct pair p = prepare(t);
	struct vmem m = vt_mem(t->mmc2, VT_PAGE);

	set(t, &p, FIRST, 0, 48, ST(S_OK));
	memcpy(m.p, p.image.p + 48, p.len - 48);
	vh_set(t->mmc2, p.to->cntlid, LAST, 1, 0, 48, &m, (p.len - 48) / 4, ST(S_SEQ, S_IF, S_1F));
	VEQ(t, queues_of(t, p.to), 0, "queues of the target");
	set(t, &p, LAST, 48, p.len - 48, ST(S_OK));
	works(t, &p);
}

/* Refused or taken, but never by half: a target whose entry sizes let it make the CQs of an image and not its SQs. */
static void all_or_nothing(struct vt *t)
{
	struct pair p = prepare(t);

	vh_resume(t->mmc, p.to->cntlid, ST(S_OK));
	vt_reset(p.to);
	vt_reg_put(p.to, NVME_REG_CC, 4, NVME_CC_EN | 4 << NVME_CC_IOCQES_SHIFT);
	vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
	if (set(t, &p, ONLY, 0, p.len, ST_ANY) != S_OK)
		VEQ(t, queues_of(t, p.to), 0, "queues of a target that refused its image");
}

/* Completions the host has not read go with the state, and the ring is as full at the target as it was. */
static void unread(struct vt *t)
{
	struct pair p = { t->mc[0], t->mc[1] };
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(p.from->ns[0].nsid) };
	struct vcmd *k[13];

	vt_cq_make(p.from, 1, 8, ST(S_OK));
	vt_sq_make(p.from, 1, 1, 32, ST(S_OK));
	vt_cq_make(p.from, 2, 8, ST(S_OK));
	vt_sq_make(p.from, 2, 2, 8, ST(S_OK));
	for (unsigned i = 0; i < 5; i++)
		vt_do(p.from, 1, &s, ST(S_OK));
	p.from->cq[1].hold = true;
	for (unsigned i = 0; i < 4; i++)
		k[i] = vt_send(p.from, 1, &s, ST(S_OK));
	vt_watch_silent(p.from);
	vh_suspend(t->mmc, p.from->cntlid, 1, false, ST(S_OK));
	vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
	p.len = vh_image(t->mmc, p.from, 1, 0, &p.image);
	VEQ(t, le16_get(vh_state_cq(&p.image, 0)->head), 5, "IOCQHP with four completions unread");
	VEQ(t, le16_get(vh_state_cq(&p.image, 0)->tail), 1, "IOCQTP with four completions unread");
	set(t, &p, ONLY, 0, p.len, ST(S_OK));
	vh_adopt(p.to, p.from);
	vh_resume(t->mmc, p.to->cntlid, ST(S_OK));
	vt_watch_silent(p.to);
	for (unsigned i = 4; i < ARRAY_LEN(k); i++)
		k[i] = vt_queue(p.to, 1, &s, ST(S_OK));
	vt_ring(p.to, 1);
	vt_watch_silent(p.to);
	p.to->cq[1].hold = false;
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		vt_finish(t, k[i]);
}

enum { NEED = NEED_MM | DUT_MC2 | DUT_NS };
const struct vtest tests_st[] = {
	{ "ST-01", NEED, "SCS-01 SCS-20", whole, "a whole image makes queues that work", NULL },
	{ "ST-02", NEED, "SCS-02", in_pieces, "pieces of every size are as good as one", NULL },
	{ "ST-03", NEED, "SCS-03", empty_last, "a last piece without data commits", NULL },
	{ "ST-04", NEED, "SCS-04", empty_others, "other pieces without data", "negative" },
	{ "ST-05", NEED, "SCS-05", no_sequence, "middle and last without first", "negative" },
	{ "ST-06", NEED, "SCS-06", first_again, "first starts anew", NULL },
	{ "ST-07", NEED, "SCS-06", only_while_open, "only, while a sequence is open", "reading" },
	{ "ST-08", NEED, "SCS-07", both_zero, "both indices 0", "negative" },
	{ "ST-09", NEED, "SCS-08 SCS-17", mismatch, "sizes that do not fit the indices", "negative" },
	{ "ST-10", NEED, "SCS-09 V-ST-16", unknown_index, "indices that are not listed", "negative" },
	{ "ST-11", NEED, "SCS-10", queues_exist, "queues exist already", "negative" },
	{ "ST-12", NEED, "SCS-11", disabled_target, "a target that is neither suspended nor enabled", "negative" },
	{ "ST-13", NEED, "SCS-11", enabled_target, "a target that is enabled and running", "reading" },
	{ "ST-14", NEED, "SCS-12", bad_offset, "offsets that are not whole dwords or beyond the image", "negative" },
	{ "ST-15", NEED, "SCS-12 SCS-14", gap, "a piece is left out", "negative reading" },
	{ "ST-16", NEED, "SCS-13", versions, "versions that are not 0", "negative" },
	{ "ST-17", NEED, "SCS-14 SCS-15", hostile, "images that lie, one field at a time", "negative hostile" },
	{ "ST-18", NEED, "SCS-14", truncated, "images cut off at every dword", "negative hostile" },
	{ "ST-19", NEED, "SCS-14 SCS-15", noise, "200 images with random bytes", "random hostile" },
	{ "ST-20", NEED, "SCS-15", failed_then_good, "after a failure everything can be sent again", NULL },
	{ "ST-21", NEED, "SCS-16", survives_reset, "a reset after the commit", "reset" },
	{ "ST-22", NEED, "SCS-18 E2E-15", too_many_queues, "more queues than there can be", "negative hostile" },
	{ "ST-23", NEED, "SCS-19", round_trip, "what was set is read back byte for byte", NULL },
	{ "ST-24", NEED, "SCS-19", vendor_round_trip, "the same with the vendor's part", NULL },
	{ "ST-25", NEED, "SCS-20 SCS-01", phases, "the first completion at every position of the ring", "stress" },
	{ "ST-26", NEED, "V-ST-15", two_sequences, "sequences for two controllers at once", NULL },
	{ "ST-27", NEED, "V-RE-5 SCS-05", mmc_reset_inside, "a reset of the MMC inside a sequence", "reset" },
	{ "ST-28", NEED, "SCS-05", mc_reset_inside, "a reset of the target inside a sequence", "reset reading" },
	{ "ST-29", NEED, "SCS-11", bad_cntlid, "controllers that are not there, and the MMC", "negative" },
	{ "ST-30", NEED, "SCS-14", huge, "NUMD whose bytes do not fit into 32 bits", "negative hostile" },
	{ "ST-31", NEED, "SCS-19 E2E-12", vendor_admin, "a vendor's part we know: admin queue and identity go on", NULL },
	{ "ST-32", NEED | DUT_MMC2, "V-ST-15", other_mmc, "another MMC cannot go on with a sequence", "negative" },
	{ "ST-33", NEED, "SCS-15", all_or_nothing, "an image that cannot be installed leaves nothing", NULL },
	{ "ST-34", NEED, "SCS-01 SCS-20 GCS-08", unread, "completions that nobody has read", NULL },
	{ .id = NULL }
};
