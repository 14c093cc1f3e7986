/* Protection information: what a controller puts beside a block, checks, and gives back. Each test is run for every type and both places of
 * metadata that the first namespace can be formatted with, or for what it has if it cannot be formatted; at the end it is formatted back.
 */
#include "base/crc16.h"
#include "verify/pi.h"
#include "verify/random.h"
#include "verify/test.h"

enum { NLB = 4, AT = 40, ALL = PI_GUARD | PI_APP | PI_REF, DPC_FIRST = 8, DPC_LAST = 16, TAIL = 64, UNTOUCHED = 0xcd };

struct bench {
	struct vt *t;
	struct vctl *c;
	struct vns *n;
	struct pi_format f;
	struct vmem data, meta;		/* as they are transferred */
	uint8_t plain[NLB * VT_PAGE];	/* data alone, and tuples alone */
	struct pi_tuple pi[NLB];
};
static struct bench bench_;		/* one test at a time */

/* ---- commands */

struct io { unsigned opc; uint64_t lba; struct pi_ask ask; };
static bool carries(const struct io *io) { return !(io->ask.info & PI_ACT); }	/* 8 bytes are stripped and inserted whole */
static uint32_t stride(const struct bench *b, const struct io *io) { return b->n->lba + (b->f.ext && carries(io) ? PI_BYTES : 0); }
static uint8_t *tuple_at(struct bench *b, const struct io *io, unsigned i)
{
	return b->f.ext ? b->data.p + i * stride(b, io) + b->n->lba : b->meta.p + PI_BYTES * i;
}

static void lay_out(struct bench *b, const struct io *io)
{
	memset(b->data.p, UNTOUCHED, b->data.len);
	memset(b->meta.p, UNTOUCHED, b->meta.len);
	for (unsigned i = 0; i < NLB && io->opc != NVME_NVM_READ; i++) {
		memcpy(b->data.p + i * stride(b, io), b->plain + i * b->n->lba, b->n->lba);
		if (carries(io))
			pi_put(tuple_at(b, io, i), &b->pi[i]);
	}
}

static void take(struct bench *b, const struct io *io)
{
	for (unsigned i = 0; i < NLB; i++) {
		memcpy(b->plain + i * b->n->lba, b->data.p + i * stride(b, io), b->n->lba);
		if (carries(io))
			b->pi[i] = pi_get(tuple_at(b, io, i));
	}
	for (uint32_t at = NLB * stride(b, io); at < b->data.len; at++)
		VEXPECT(b->t, b->data.p[at] == UNTOUCHED, "type %u: byte %u behind the data is written", b->f.type, at);
	for (uint32_t at = b->f.ext || !carries(io) ? 0 : NLB * PI_BYTES; at < b->meta.len; at++)
		VEXPECT(b->t, b->meta.p[at] == UNTOUCHED, "type %u: byte %u of metadata is written, and does not belong to the command", b->f.type, at);
}

static unsigned run(struct bench *b, const struct io *io, const uint16_t *want)
{
	struct nvme_sqe s;
	unsigned st;

	vh_rw_sqe(&s, io->opc, b->n->nsid, io->lba, NLB);
	pi_ask_sqe(&s, &io->ask);
	lay_out(b, io);
	if (!b->f.ext && carries(io))
		s.mptr = le64_of(b->meta.iova);
	vt_trace(b->t, "type %u, metadata %s", b->f.type, b->f.ext ? "behind each block" : "by MPTR");
	st = io->opc == NVME_NVM_WRITE_ZEROES ? vt_do(b->c, 1, &s, want) : vt_do_data(b->c, 1, &s, &b->data, NLB * stride(b, io), want);
	if (io->opc == NVME_NVM_READ && st == S_OK)
		take(b, io);
	return st;
}

static uint32_t first_ref(const struct bench *b, uint64_t lba) { return b->f.type == 1 ? (uint32_t)lba : 0x10000 + (uint32_t)lba; }
static struct pi_ask ask_of(const struct bench *b, uint64_t lba, unsigned info, uint16_t app)
{
	return (struct pi_ask){ info & (b->f.type == 3 ? ~(unsigned)PI_REF : ~0u), app, 0xffff, first_ref(b, lba) };
}
static uint16_t crc_of(const struct bench *b, unsigned i) { return crc16_t10dif(b->plain + i * b->n->lba, b->n->lba); }

/* Data by its seed, and beside it what is right for it. */
static void fill(struct bench *b, uint64_t seed, uint64_t lba, uint16_t app)
{
	struct pi_ask a = ask_of(b, lba, 0, app);

	vh_fill(&(struct vmem){ b->plain, 0, sizeof(b->plain) }, NLB * b->n->lba, seed);
	for (unsigned i = 0; i < NLB; i++)
		b->pi[i] = pi_made(b->f.type, crc_of(b, i), &a, i);
}

static unsigned put(struct bench *b, uint64_t lba, unsigned info, uint16_t app, const uint16_t *want)
{
	return run(b, &(struct io){ NVME_NVM_WRITE, lba, ask_of(b, lba, info, app) }, want);
}
static unsigned get(struct bench *b, uint64_t lba, unsigned info, uint16_t app, const uint16_t *want)
{
	return run(b, &(struct io){ NVME_NVM_READ, lba, ask_of(b, lba, info, app) }, want);
}

/* ---- what the last read brought */

static void is_data(struct bench *b, uint64_t seed)
{
	VEXPECT(b->t, vh_same(&(struct vmem){ b->plain, 0, sizeof(b->plain) }, NLB * b->n->lba, seed), "type %u: other data than was written", b->f.type);
}
static void is_tuple(struct bench *b, unsigned i, struct pi_tuple want, const char *what)
{
	VEXPECT(b->t, pi_same(&b->pi[i], &want), "type %u, %s: block %u has guard %04x, application tag %04x, reference tag %08x, not %04x %04x %08x", b->f.type,
		what, i, b->pi[i].guard, b->pi[i].app, b->pi[i].ref, want.guard, want.app, want.ref);
}
static void are_made(struct bench *b, uint64_t lba, uint16_t app, const char *what)
{
	struct pi_ask a = ask_of(b, lba, 0, app);

	for (unsigned i = 0; i < NLB; i++)
		is_tuple(b, i, pi_made(b->f.type, crc_of(b, i), &a, i), what);
}

/* ---- formats */

static bool may_format(const struct vt *t) { return (t->caps & DUT_FORMAT) && (t->caps & DUT_DESTROY) && bench_.n->pi_lbaf < 16; }

static struct nvme_sqe format(const struct vns *n, unsigned lbaf, unsigned type, bool ext)
{
	struct nvme_sqe s = { .opc = NVME_OP_FORMAT, .nsid = le32_of(n->nsid) };

	nvme_format_lbafl_put(&s, lbaf);
	nvme_format_pi_put(&s, type);
	nvme_format_mset_put(&s, ext);
	nvme_format_pil_put(&s, !(n->dpc & DPC_LAST));
	return s;
}

static void keep_format(struct vt *t, struct bench *b)
{
	struct nvme_sqe s = format(b->n, b->n->flbas & 15, b->n->dps & 7, b->n->flbas & 16);

	if (b->n->flbas & 15)
		nvme_format_pil_put(&s, b->n->dps >> 3 & 1);
	if (!t->format.c)
		t->format = (struct vt_format){ b->c, b->n->nsid, le32_get(s.cdw10) };
}

static void open_bench(struct vt *t)
{
	struct bench *b = &bench_;

	memset(b, 0, sizeof(*b));
	b->t = t;
	b->c = t->mcs ? t->mc[0] : t->mmc;
	b->n = &b->c->ns[0];
	b->f = pi_format_of(b->n);
	vt_io_make(b->c, 1, 16);
	b->data = vt_mem(b->c, NLB * (b->n->lba + PI_BYTES) + TAIL);
	b->meta = vt_mem(b->c, NLB * PI_BYTES + TAIL);
}

static void make(struct bench *b, unsigned type, bool ext)
{
	struct nvme_sqe s = format(b->n, b->n->pi_lbaf, type, ext);

	keep_format(b->t, b);
	vt_do(b->c, 0, &s, ST(S_OK));
	vt_learn_ns(b->c, b->n);
	b->f = pi_format_of(b->n);
	VEQ(b->t, b->f.type, type, "the type that Identify names after Format");
	VEQ(b->t, b->f.ext, ext, "FLBAS bit 4 after Format");
}

static void each(struct vt *t, void (*body)(struct bench *))
{
	struct bench *b = &bench_;
	unsigned made = 0;

	open_bench(t);
	if (!may_format(t)) {
		body(b);
		return;
	}
	for (unsigned i = 0; i < 6; i++) {
		struct vmark mark = vt_mark(b->c);

		if (!(b->n->dpc >> i / 2 & 1) || !(b->n->mc >> (i % 2 ? 0 : 1) & 1))
			continue;
		make(b, 1 + i / 2, i % 2);
		body(b);
		made++;
		vt_back(b->c, mark);
	}
	vt_format_put_back(t);
	VEXPECT(t, made, "DPC %02xh and MC %02xh leave no way to format with protection information", b->n->dpc, b->n->mc);
}

/* ---- the tests */

static void inserted(struct bench *b)
{
	fill(b, 1, AT, 0);
	memset(b->pi, 0, sizeof(b->pi));
	put(b, AT, PI_ACT, 0xbeef, ST(S_OK));
	get(b, AT, 0, 0, ST(S_OK));
	is_data(b, 1);
	are_made(b, AT, 0xbeef, "inserted by PRACT");
}
static void inserts(struct vt *t) { each(t, inserted); }

static void stripped(struct bench *b)
{
	fill(b, 2, AT, 0x1234);
	put(b, AT, ALL, 0x1234, ST(S_OK));
	get(b, AT, PI_ACT | ALL, 0x1234, ST(S_OK));
	is_data(b, 2);
	get(b, AT, PI_ACT | ALL, 0x1235, ST(S_APPTAG)); /* what is stripped is checked before */
}
static void strips(struct vt *t) { each(t, stripped); }

static void passed(struct bench *b)
{
	struct pi_tuple odd[NLB];

	fill(b, 3, AT, 0);
	for (unsigned i = 0; i < NLB; i++)
		b->pi[i] = odd[i] = (struct pi_tuple){ (uint16_t)rng_next(&b->t->rng), (uint16_t)rng_next(&b->t->rng), (uint32_t)rng_next(&b->t->rng) };
	put(b, AT, 0, 0, ST(S_OK));
	get(b, AT, 0, 0, ST(S_OK));
	is_data(b, 3);
	for (unsigned i = 0; i < NLB; i++)
		is_tuple(b, i, odd[i], "passed through unchecked");
}
static void passes(struct vt *t) { each(t, passed); }

static void guarded(struct bench *b)
{
	fill(b, 4, AT, 7);
	put(b, AT, ALL, 7, ST(S_OK));
	fill(b, 5, AT, 7);
	b->pi[NLB - 1].guard ^= 1;
	put(b, AT, PI_GUARD, 7, ST(S_GUARD));
	get(b, AT, 0, 0, ST(S_OK));
	VEXPECT(b->t, b->pi[NLB - 1].guard == crc_of(b, NLB - 1), "type %u: a block whose guard was wrong is written", b->f.type);
	fill(b, 5, AT, 7);
	b->pi[NLB - 1].guard ^= 1;
	put(b, AT, PI_APP | PI_REF, 7, ST(S_OK));
	get(b, AT, PI_APP | PI_REF, 7, ST(S_OK));
	is_data(b, 5);
	get(b, AT, PI_GUARD, 7, ST(S_GUARD));
	get(b, AT, PI_ACT | PI_GUARD, 7, ST(S_GUARD));
}
static void guards(struct vt *t) { each(t, guarded); }

static void tag_is(struct bench *b, unsigned opc, uint16_t app, uint16_t mask, const uint16_t *want)
{
	struct io io = { opc, AT, ask_of(b, AT, PI_APP, app) };

	io.ask.mask = mask;
	fill(b, 6, AT, 0x1234);
	run(b, &io, want);
}
static void app_tagged(struct bench *b)
{
	tag_is(b, NVME_NVM_WRITE, 0x1234, 0xffff, ST(S_OK));
	tag_is(b, NVME_NVM_WRITE, 0x1235, 0xffff, ST(S_APPTAG));
	tag_is(b, NVME_NVM_WRITE, 0x1235, 0xfffe, ST(S_OK));
	tag_is(b, NVME_NVM_READ, 0x1234, 0xffff, ST(S_OK));
	tag_is(b, NVME_NVM_READ, 0x9234, 0xffff, ST(S_APPTAG));
	tag_is(b, NVME_NVM_READ, 0x9234, 0x7fff, ST(S_OK));
	tag_is(b, NVME_NVM_READ, 0x9234, 0x8000, ST(S_APPTAG));
	tag_is(b, NVME_NVM_READ, 0x9999, 0, ST(S_OK));
	get(b, AT, PI_GUARD | PI_REF, 0x9999, ST(S_OK)); /* not asked for: not checked */
}
static void app_tags(struct vt *t) { each(t, app_tagged); }

static void ref_is(struct bench *b, unsigned opc, uint32_t ref, const uint16_t *want)
{
	struct io io = { opc, AT, { PI_REF, 0, 0xffff, ref } };

	run(b, &io, want);
}
static void ref_tagged(struct bench *b)
{
	uint32_t ref = first_ref(b, AT);

	fill(b, 7, AT, 1);
	if (b->f.type == 3) { /* the host's alone: nothing to check it by */
		vt_reading(b->t, "PRCHK bit 0 with type 3", "%s",
			   nvme_status_name(run(b, &(struct io){ NVME_NVM_WRITE, AT, { PI_REF, 1, 0xffff, ref } }, ST(S_PI, S_IF))));
		return;
	}
	ref_is(b, NVME_NVM_WRITE, ref, ST(S_OK));
	ref_is(b, NVME_NVM_READ, ref, ST(S_OK));
	if (b->f.type == 2)
		ref_is(b, NVME_NVM_READ, ref + 1, ST(S_REFTAG));
	else
		ref_is(b, NVME_NVM_READ, ref + 1, ST(S_REFTAG, S_PI));
	fill(b, 8, AT, 1);
	b->pi[1].ref = b->pi[0].ref; /* it counts */
	ref_is(b, NVME_NVM_WRITE, ref, ST(S_REFTAG));
	fill(b, 8, AT, 1);
	b->pi[NLB - 1].ref++;
	put(b, AT, 0, 1, ST(S_OK));
	ref_is(b, NVME_NVM_READ, ref, ST(S_REFTAG));
	get(b, AT, PI_GUARD | PI_APP, 1, ST(S_OK));
}
static void ref_tags(struct vt *t) { each(t, ref_tagged); }

static void all_are(struct bench *b, struct pi_tuple v)
{
	fill(b, 9, AT, 1);
	for (unsigned i = 0; i < NLB; i++)
		b->pi[i] = (struct pi_tuple){ (uint16_t)(crc_of(b, i) ^ 0x5555), v.app, v.ref };
	put(b, AT, 0, 1, ST(S_OK));
}
static void escaped(struct bench *b)
{
	all_are(b, (struct pi_tuple){ 0, 0xffff, 0xffffffff });
	get(b, AT, ALL, 3, ST(S_OK));
	is_data(b, 9);
	all_are(b, (struct pi_tuple){ 0, 0xffff, 5 });
	get(b, AT, PI_GUARD, 3, b->f.type == 3 ? ST(S_GUARD) : ST(S_OK));
	all_are(b, (struct pi_tuple){ 0, 0xfffe, 0xffffffff });
	get(b, AT, PI_GUARD, 3, ST(S_GUARD));
}
static void escapes(struct vt *t) { each(t, escaped); }

static void trimmed(struct bench *b)
{
	struct vspan all = { 0, 128 };
	struct vmem id;

	fill(b, 10, AT, 0x77);
	put(b, AT, ALL, 0x77, ST(S_OK));
	vh_identify(b->c, NVME_CNS_NS, b->n->nsid, 0, 0, &id, ST(S_OK));
	vh_dsm(b->c, 1, b->n->nsid, &all, 1, ST(S_OK));
	get(b, AT, 0, 0, ST(S_OK));
	if (b->pi[0].app != 0xffff) { /* deallocating is advice */
		is_data(b, 10);
		are_made(b, AT, 0x77, "not deallocated");
		vt_skip(b->t, "Dataset Management deallocated nothing");
	}
	for (unsigned i = 0; i < NLB; i++) {
		struct pi_tuple none = pi_none();

		if (id.p[33] & 16)
			none.guard = crc_of(b, i);
		is_tuple(b, i, none, "deallocated");
	}
	get(b, AT, ALL, 0x4444, ST(S_OK));
}
static void trims(struct vt *t) { each(t, trimmed); }

static void zeroed(struct bench *b)
{
	fill(b, 11, AT, 0x99);
	put(b, AT, ALL, 0x99, ST(S_OK));
	run(b, &(struct io){ NVME_NVM_WRITE_ZEROES, AT, ask_of(b, AT, PI_ACT, 0x55) }, ST(S_OK));
	get(b, AT, ALL, 0x55, ST(S_OK));
	is_data(b, 0);
	are_made(b, AT, 0x55, "Write Zeroes with PRACT");
	fill(b, 11, AT, 0x99);
	put(b, AT, ALL, 0x99, ST(S_OK));
	run(b, &(struct io){ NVME_NVM_WRITE_ZEROES, AT, ask_of(b, AT, 0, 0x55) }, ST(S_OK));
	get(b, AT, 0, 0, ST(S_OK));
	is_data(b, 0);
	VEXPECT(b->t, b->pi[0].app == 0xffff || !b->pi[0].app, "type %u: after Write Zeroes without PRACT the tag is %04x", b->f.type, b->pi[0].app);
	vt_reading(b->t, "Write Zeroes without PRACT", "%s", b->pi[0].app ? "says: not to be checked" : "zeroes");
}
static void zeroes(struct vt *t) { each(t, zeroed); }

static void compared(struct bench *b)
{
	fill(b, 12, AT, 0x21);
	put(b, AT, PI_ACT, 0x21, ST(S_OK));
	fill(b, 12, AT, 0x21);
	run(b, &(struct io){ NVME_NVM_COMPARE, AT, ask_of(b, AT, ALL, 0x21) }, ST(S_OK));
	run(b, &(struct io){ NVME_NVM_COMPARE, AT, ask_of(b, AT, PI_ACT, 0x21) }, ST(S_OK));
	run(b, &(struct io){ NVME_NVM_COMPARE, AT, ask_of(b, AT, PI_APP, 0x22) }, ST(S_APPTAG));
	fill(b, 13, AT, 0x21);
	run(b, &(struct io){ NVME_NVM_COMPARE, AT, ask_of(b, AT, ALL, 0x21) }, ST(0x285));
}
static void compares(struct vt *t) { each(t, compared); }

static unsigned copy(struct bench *b, uint64_t from, uint64_t to, const struct pi_ask *r, const struct pi_ask *w, const uint16_t *want)
{
	struct nvme_copy_range d = { .slba = le64_of(from), .nlb0 = le16_of(NLB - 1), .eilbrt = le32_of(r->ref), .elbat = le16_of(r->app),
				     .elbatm = le16_of(r->mask) };
	struct nvme_sqe s = { .opc = NVME_NVM_COPY, .nsid = le32_of(b->n->nsid), .cdw14 = le32_of(w->ref),
			      .cdw15 = le32_of(w->app | (uint32_t)w->mask << 16) };
	struct vmem m = vt_mem(b->c, sizeof(d));

	nvme_slba_put(&s, to);
	nvme_copy_prinfor_put(&s, r->info);
	nvme_copy_prinfow_put(&s, w->info);
	memcpy(m.p, &d, sizeof(d));
	return vt_do_data(b->c, 1, &s, &m, sizeof(d), want);
}
static void copied(struct bench *b)
{
	struct pi_ask from = ask_of(b, AT, 0, 0x31), to = ask_of(b, 80, 0, 0x32);
	struct pi_tuple was[NLB];

	fill(b, 14, AT, 0x31);
	memcpy(was, b->pi, sizeof(was));
	put(b, AT, ALL, 0x31, ST(S_OK));
	copy(b, AT, 80, &from, &to, ST(S_OK));
	get(b, 80, 0, 0, ST(S_OK));
	is_data(b, 14);
	for (unsigned i = 0; i < NLB; i++)
		is_tuple(b, i, was[i], "copied as it was");
	from = ask_of(b, AT, PI_ACT | ALL, 0x31);
	to = ask_of(b, 100, PI_ACT, 0x32);
	copy(b, AT, 100, &from, &to, ST(S_OK));
	get(b, 100, ALL, 0x32, ST(S_OK));
	is_data(b, 14);
	are_made(b, 100, 0x32, "copied with PRACT");
	from.app++;
	copy(b, AT, 80, &from, &to, ST(S_APPTAG));
}
static void copies(struct vt *t) { each(t, copied); }

static void formats(struct vt *t)
{
	struct vns *n;
	struct nvme_sqe s;

	open_bench(t);
	n = bench_.n;
	VEXPECT(t, (n->dps & 7) <= 3, "DPS names type %u", n->dps & 7);
	VEXPECT(t, !(n->dps & 7) || n->dpc >> ((n->dps & 7) - 1) & 1, "DPS names type %u, and DPC %02xh does not have it", n->dps & 7, n->dpc);
	VEXPECT(t, !(n->dpc & 7) || n->dpc & (DPC_FIRST | DPC_LAST), "DPC has types and no place for them");
	if (!may_format(t))
		return;
	keep_format(t, &bench_);
	s = format(n, n->pi_lbaf, 4, false);
	vt_do(bench_.c, 0, &s, ST(S_FORMAT, S_IF)); /* reserved */
	for (unsigned type = 1; type <= 3; type++) {
		s = format(n, n->pi_lbaf, type, false);
		if (!(n->dpc >> (type - 1) & 1))
			vt_do(bench_.c, 0, &s, ST(S_FORMAT));
	}
	s = format(n, n->flbas & 15, 1, false);
	if (!n->ms)
		vt_do(bench_.c, 0, &s, ST(S_FORMAT)); /* no room for it */
	vt_format_put_back(t);
}

static void sequence(struct bench *b)
{
	for (unsigned i = 0; i < 3; i++)
		random_run(b->t, 200);
	vt_fresh(b->t);
}
static void sequences(struct vt *t)
{
	struct bench *b = &bench_;
	unsigned type, tries = 0;

	open_bench(t);
	if (!may_format(t)) {
		sequence(b);
		return;
	}
	do
		type = 1 + (unsigned)rng_below(&t->rng, 3);
	while (!(b->n->dpc >> (type - 1) & 1) && tries++ < 100);
	make(b, type, (b->n->mc & 3) == 3 ? rng_below(&t->rng, 2) : b->n->mc & 1);
	sequence(b);
	vt_format_put_back(t);
}

enum { N = DUT_MEM | DUT_REGS | DUT_NS };
#define P (N | DUT_PI)
const struct vtest tests_pi[] = {
	{ "PI-01", P, "B-PI-1", formats, "what can be formatted with protection information, and what is refused", "negative" },
	{ "PI-02", P, "B-PI-2", inserts, "PRACT: a write inserts guard and tags", NULL },
	{ "PI-03", P, "B-PI-2", strips, "PRACT: a read checks and strips", "negative" },
	{ "PI-04", P, "B-PI-3", passes, "without PRACT and PRCHK metadata passes through as it is", NULL },
	{ "PI-05", P, "B-PI-4", guards, "the guard is checked, where asked", "negative" },
	{ "PI-06", P, "B-PI-5", app_tags, "the application tag is checked under its mask", "negative" },
	{ "PI-07", P, "B-PI-6", ref_tags, "the reference tag is checked, block by block", "negative reading" },
	{ "PI-08", P, "B-PI-7", escapes, "tags that say: do not check", "negative" },
	{ "PI-09", P | DUT_DSM, "B-PI-8", trims, "deallocated blocks are not checked", NULL },
	{ "PI-10", P | DUT_WZ, "B-PI-9", zeroes, "Write Zeroes", "reading" },
	{ "PI-11", P | DUT_COMPARE, "B-PI-10", compares, "Compare", "negative" },
	{ "PI-12", P | DUT_COPY, "B-PI-11", copies, "Copy, with the tags as they are and with new ones", "negative" },
	{ "PI-13", P | NEED_LOG | DUT_THMCS, "B-PI-2 B-PI-3 B-PI-4 B-PI-5 B-PI-6", sequences, "random sequences on blocks with protection information",
	  "random" },
	{ .id = NULL }
};
