/* Set Controller State: sequences of pieces and who may take them; the group's table. The source is MC0, the target MC1 with the source's memory at the same addresses. */
#include "verify/t_st.h"

struct st_pair st_prepare_n(struct vt *t, unsigned writes)
{
	struct st_pair p = { t->mc[0], t->mc[1] };

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
struct st_pair st_prepare(struct vt *t) { return st_prepare_n(t, 5); }

unsigned st_set(struct vt *t, const struct st_pair *p, unsigned seq, uint64_t off, uint32_t bytes, const uint16_t *want)
{
	struct vmem part = { p->image.p + off, p->image.iova + off, bytes };
	struct vmem copy;

	if (!bytes)
		return vh_set(t->mmc, p->to->cntlid, seq, 1, 0, off, NULL, 0, want);
	copy = vt_mem(t->mmc, bytes); /* page aligned whatever the offset */
	memcpy(copy.p, part.p, bytes);
	return vh_set(t->mmc, p->to->cntlid, seq, 1, 0, off, &copy, bytes / 4, want);
}

unsigned st_queues_of(struct vt *t, struct vctl *c)
{
	struct vmem m;

	vh_image(t->mmc, c, 1, 0, &m);
	return (unsigned)(m.p[50] + m.p[52]);
}

void st_works(struct vt *t, struct st_pair *p)
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
	struct st_pair p = st_prepare(t);

	st_set(t, &p, ONLY, 0, p.len, ST(S_OK));
	VEQ(t, st_queues_of(t, p.to), 4, "queues of the target after the commit");
	st_works(t, &p);
}

static void in_pieces(struct vt *t)
{
	static const uint32_t step[] = { 4, 24, 48, 52, 100 };

	for (unsigned i = 0; i < ARRAY_LEN(step); i++) {
		struct st_pair p;
		uint32_t at = 0;

		if (i)
			vt_fresh(t);
		p = st_prepare(t);
		st_set(t, &p, FIRST, 0, step[i], ST(S_OK));
		for (at = step[i]; at + step[i] < p.len; at += step[i])
			st_set(t, &p, MIDDLE, at, step[i], ST(S_OK));
		st_set(t, &p, LAST, at, p.len - at, ST(S_OK));
		VEQ(t, st_queues_of(t, p.to), 4, "queues of the target after the last piece");
		st_works(t, &p);
	}
}

static void empty_last(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	st_set(t, &p, FIRST, 0, p.len, ST(S_OK));
	st_set(t, &p, LAST, p.len, 0, ST(S_OK));
	st_works(t, &p);
}

static void empty_others(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	st_set(t, &p, FIRST, 0, 0, ST(S_IF));
	st_set(t, &p, ONLY, 0, 0, ST(S_IF));
	st_set(t, &p, FIRST, 0, 48, ST(S_OK));
	st_set(t, &p, MIDDLE, 48, 0, ST(S_IF));
}

static void no_sequence(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	st_set(t, &p, MIDDLE, 0, 48, ST(S_SEQ));
	st_set(t, &p, LAST, 0, p.len, ST(S_SEQ));
	st_set(t, &p, FIRST, 0, 48, ST(S_OK));
	st_set(t, &p, LAST, 48, p.len - 48, ST(S_OK));
	st_set(t, &p, LAST, p.len, 0, ST(S_SEQ)); /* it is closed */
	st_works(t, &p);
}

static void first_again(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	struct vmem junk = vt_mem(t->mmc, VT_PAGE);

	memset(junk.p, 0xff, 64);
	vh_set(t->mmc, p.to->cntlid, FIRST, 1, 0, 0, &junk, 16, ST(S_OK, S_IF));
	st_set(t, &p, FIRST, 0, p.len, ST(S_OK)); /* whole, but for its last piece: nothing of it may be left after a new first piece */
	st_set(t, &p, FIRST, 0, 48, ST(S_OK));
	st_set(t, &p, LAST, 48, 0, ST(S_IF));
	VEQ(t, st_queues_of(t, p.to), 0, "queues out of a sequence that was begun anew");
	st_set(t, &p, FIRST, 0, p.len, ST(S_OK));
	st_set(t, &p, FIRST, 0, 48, ST(S_OK)); /* what came before is gone: the rest of it cannot complete this one */
	st_set(t, &p, LAST, p.len, 0, ST(S_IF, S_SEQ));
	st_set(t, &p, FIRST, 0, 48, ST(S_OK));
	st_set(t, &p, LAST, 48, p.len - 48, ST(S_OK));
	st_works(t, &p);
}

static void only_while_open(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	unsigned st;

	st_set(t, &p, FIRST, 0, 48, ST(S_OK));
	st = st_set(t, &p, ONLY, 0, p.len, ST(S_OK, S_SEQ));
	vt_reading(t, "11b while a sequence is open", "%s", nvme_status_name(st));
	if (st == S_OK)
		st_works(t, &p);
}

static void both_zero(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	vh_set(t->mmc, p.to->cntlid, ONLY, 0, 0, 0, &p.image, p.len / 4, ST(S_IF));
	VEQ(t, st_queues_of(t, p.to), 0, "queues of the target");
}

/* The sizes in the image must fit the indices in the command. A device that looks for CSVI where Get has it fails here. */
static void mismatch(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	if (vh_uuids(t->mmc))
		vh_set(t->mmc, p.to->cntlid, ONLY, 0, 1, 0, &p.image, p.len / 4, ST(S_IF));
	p.image.p[32] = 1; /* VSS without CSUUIDI */
	st_set(t, &p, ONLY, 0, p.len, ST(S_IF));
	p.image.p[32] = 0;
	p.image.p[16] += 2; /* the part is said, and sent, longer than its queues are */
	st_set(t, &p, ONLY, 0, p.len + 8, ST(S_IF));
	p.image.p[16] -= 2;
	if (vh_uuids(t->mmc)) {
		uint64_t minus = htole64(0 - (uint64_t)p.image.p[16]); /* both parts together: nothing, modulo 2^64 */
		struct vmem copy = vt_mem(t->mmc, p.len);

		memcpy(copy.p, p.image.p, p.len);
		memcpy(copy.p + 32, &minus, 8);
		vh_set(t->mmc, p.to->cntlid, ONLY, 1, 1, 0, &copy, p.len / 4, ST(S_IF));
	}
	VEQ(t, st_queues_of(t, p.to), 0, "queues of the target");
}

static void unknown_index(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	unsigned nu = vh_uuids(t->mmc);

	vh_set(t->mmc, p.to->cntlid, ONLY, 200, 0, 0, &p.image, p.len / 4, ST(S_IF));
	vh_set(t->mmc, p.to->cntlid, ONLY, 1, nu + 1, 0, &p.image, p.len / 4, ST(S_IF));
	vh_set(t->mmc, p.to->cntlid, FIRST, 0, 255, 0, &p.image, p.len / 4, ST(S_IF));
}

static void queues_exist(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	struct st_pair back = { .from = p.to, .to = p.from, .image = p.image, .len = p.len };

	st_set(t, &back, ONLY, 0, p.len, ST(S_IF)); /* the source still has its queues */
	st_set(t, &p, ONLY, 0, p.len, ST(S_OK));
	st_set(t, &p, ONLY, 0, p.len, ST(S_IF)); /* and now the target has them */
	st_works(t, &p);
}

static void disabled_target(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	vh_resume(t->mmc, p.to->cntlid, ST(S_OK));
	vt_disable(p.to);
	st_set(t, &p, ONLY, 0, p.len, ST(S_1F));
	st_set(t, &p, FIRST, 0, 48, ST(S_1F));
}

static void enabled_target(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	unsigned st;

	vh_resume(t->mmc, p.to->cntlid, ST(S_OK));
	st = st_set(t, &p, ONLY, 0, p.len, ST(S_OK, S_1F));
	vt_reading(t, "state set on an enabled, running controller", "%s", nvme_status_name(st));
	VEXPECT(t, st == S_OK, "CC.EN is 1: the state may be set, yet the answer is Invalid Controller Identifier");
}

static void bad_offset(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	for (unsigned off = 1; off < 4; off++)
		vh_set(t->mmc, p.to->cntlid, ONLY, 1, 0, off, &p.image, p.len / 4, ST(S_IF));
	vh_set(t->mmc, p.to->cntlid, FIRST, 1, 0, 0x100000000ull, &p.image, 12, ST(S_IF));
	vh_set(t->mmc, p.to->cntlid, ONLY, 1, 0, 0xfffffffffffffffcull, &p.image, 12, ST(S_IF));
}

static void gap(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	unsigned st;

	st_set(t, &p, FIRST, 0, 48, ST(S_OK));
	st = st_set(t, &p, MIDDLE, 56, 24, ST(S_OK, S_IF));
	vt_reading(t, "a piece that leaves a gap", "%s", nvme_status_name(st));
	if (st == S_OK) /* then the gap must be noticed at the end, or the state would be made up */
		st_set(t, &p, LAST, 80, p.len - 80, ST(S_IF, S_SEQ));
	st_set(t, &p, FIRST, 0, 72, ST(S_OK)); /* head and tail of a queue: zeroes there would be a good image */
	if (st_set(t, &p, LAST, 76, p.len - 76, ST(S_OK, S_IF, S_SEQ)) == S_OK)
		vt_fail(t, "an image was taken of which four bytes were never sent");
	VEQ(t, st_queues_of(t, p.to), 0, "queues of the target");
}

static void failed_then_good(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	st_set(t, &p, FIRST, 0, 48, ST(S_OK));
	vh_set(t->mmc, p.to->cntlid, MIDDLE, 1, 0, 1, &p.image, 12, ST(S_IF));
	st_set(t, &p, FIRST, 0, 60, ST(S_OK));
	st_set(t, &p, MIDDLE, 60, 40, ST(S_OK));
	st_set(t, &p, LAST, 100, p.len - 100, ST(S_OK));
	st_works(t, &p);
}

static void survives_reset(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	struct vmem m;

	st_set(t, &p, ONLY, 0, p.len, ST(S_OK));
	vt_reset(p.to);
	VEQ(t, st_queues_of(t, p.to), 0, "I/O queues after a reset");
	vh_identify(p.to, NVME_CNS_CTRL, 0, 0, 0, &m, ST(S_OK));
	vt_io_make(p.to, 1, 16);
	vh_write(p.to, 1, p.to->ns[0].nsid, 0, 1, 1, ST(S_OK));
	vh_resume(t->mmc, p.to->cntlid, ST(S_3A));
}

static void two_sequences(struct vt *t)
{
	struct st_pair p, q;
	uint32_t half;

	if (t->mcs < 3)
		vt_skip(t, "fewer than three migratable controllers can be reached");
	p = st_prepare(t);
	q = p;
	q.to = t->mc[2];
	half = p.len / 8 * 4;
	vh_suspend(t->mmc, q.to->cntlid, 1, false, ST(S_OK));
	st_set(t, &p, FIRST, 0, half, ST(S_OK));
	st_set(t, &q, FIRST, 0, 48, ST(S_OK));
	st_set(t, &p, LAST, half, p.len - half, ST(S_OK));
	vh_resume(t->mmc, q.to->cntlid, ST(S_SEQ));
	st_set(t, &q, LAST, 48, p.len - 48, ST(S_OK));
	VEQ(t, st_queues_of(t, q.to), 4, "queues of the second target");
	st_works(t, &p);
}

static void mmc_reset_inside(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	uint8_t keep[512];

	memcpy(keep, p.image.p, p.len);
	st_set(t, &p, FIRST, 0, 48, ST(S_OK));
	vt_reset(t->mmc);
	p.image = vt_mem(t->mmc, VT_PAGE);
	memcpy(p.image.p, keep, p.len);
	vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
	st_set(t, &p, LAST, 48, p.len - 48, ST(S_SEQ));
	st_set(t, &p, ONLY, 0, p.len, ST(S_OK));
}

static void mc_reset_inside(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	unsigned st;

	st_set(t, &p, FIRST, 0, 48, ST(S_OK));
	vt_reset(p.to);
	vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
	st = st_set(t, &p, LAST, 48, p.len - 48, ST(S_SEQ, S_OK));
	vt_reading(t, "reset of the target inside a sequence", st == S_OK ? "the sequence goes on" : "the sequence is over");
}

static void bad_cntlid(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	vh_set(t->mmc, 0xfffe, ONLY, 1, 0, 0, &p.image, p.len / 4, ST(S_1F));
	vh_set(t->mmc, t->mmc->cntlid, ONLY, 1, 0, 0, &p.image, p.len / 4, ST(S_1F, S_IF));
}

/* A sequence belongs to the MMC that began it. */
static void other_mmc(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	struct vmem m = vt_mem(t->mmc2, VT_PAGE);

	st_set(t, &p, FIRST, 0, 48, ST(S_OK));
	memcpy(m.p, p.image.p + 48, p.len - 48);
	vh_set(t->mmc2, p.to->cntlid, LAST, 1, 0, 48, &m, (p.len - 48) / 4, ST(S_SEQ, S_IF, S_1F));
	VEQ(t, st_queues_of(t, p.to), 0, "queues of the target");
	st_set(t, &p, LAST, 48, p.len - 48, ST(S_OK));
	st_works(t, &p);
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
	{ "ST-16", NEED, "SCS-13", st_versions, "versions that are not 0", "negative" },
	{ "ST-17", NEED, "SCS-14 SCS-15", st_hostile, "images that lie, one field at a time", "negative hostile" },
	{ "ST-18", NEED, "SCS-14", st_truncated, "images cut off at every dword", "negative hostile" },
	{ "ST-19", NEED, "SCS-14 SCS-15", st_noise, "200 images with random bytes", "random hostile" },
	{ "ST-20", NEED, "SCS-15", failed_then_good, "after a failure everything can be sent again", NULL },
	{ "ST-21", NEED, "SCS-16", survives_reset, "a reset after the commit", "reset" },
	{ "ST-22", NEED, "SCS-18 E2E-15", st_too_many_queues, "more queues than there can be", "negative hostile" },
	{ "ST-23", NEED, "SCS-19", st_round_trip, "what was set is read back byte for byte", NULL },
	{ "ST-24", NEED, "SCS-19", st_vendor_round_trip, "the same with the vendor's part", NULL },
	{ "ST-25", NEED, "SCS-20 SCS-01", st_phases, "the first completion at every position of the ring", "stress" },
	{ "ST-26", NEED, "V-ST-15", two_sequences, "sequences for two controllers at once", NULL },
	{ "ST-27", NEED, "V-RE-5 SCS-05", mmc_reset_inside, "a reset of the MMC inside a sequence", "reset" },
	{ "ST-28", NEED, "SCS-05", mc_reset_inside, "a reset of the target inside a sequence", "reset reading" },
	{ "ST-29", NEED, "SCS-11", bad_cntlid, "controllers that are not there, and the MMC", "negative" },
	{ "ST-30", NEED, "SCS-14", st_huge, "NUMD whose bytes do not fit into 32 bits", "negative hostile" },
	{ "ST-31", NEED, "SCS-19 E2E-12", st_vendor_admin, "a vendor's part we know: admin queue and identity go on", NULL },
	{ "ST-32", NEED | DUT_MMC2, "V-ST-15", other_mmc, "another MMC cannot go on with a sequence", "negative" },
	{ "ST-33", NEED, "SCS-15", st_all_or_nothing, "an image that cannot be installed leaves nothing", NULL },
	{ "ST-34", NEED, "SCS-01 SCS-20 GCS-08", st_unread, "completions that nobody has read", NULL },
	{ .id = NULL }
};
