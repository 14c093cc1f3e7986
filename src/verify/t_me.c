/* Media that fail: what a host is told of it, what stays whole beside it, and that a manager learns of everything that may have changed.
 * A block whose Write failed holds its old data or the new, for ever: until somebody looks, nobody knows which (verification.md 6.4, rules 3 and 6).
 */
#include "verify/test.h"

enum { S_WRITE_FAULT = 0x280, FROM = 64, BLOCKS = 32, BAD = FROM + 13, BADS = 2, OLD = 1, NEW = 2 };
static const struct dut_media unreadable = { BAD, BADS, .read = true }, unwritable = { BAD, BADS, .change = true },
			      torn = { BAD, BADS, .change = true, .half = true };

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : t->mmc; }
static struct vns *ns(struct vt *t) { return &one(t)->ns[0]; }

/* Every block by itself, so that each can be told from its old content; `as`: OLD or NEW. */
static uint64_t seed_of(uint64_t lba, unsigned as) { return lba * 4 + as; }

static void fill(struct vt *t, struct vmem *m, uint64_t from, uint32_t n, unsigned as)
{
	for (uint32_t i = 0; i < n; i++)
		vh_fill(&(struct vmem){ m->p + i * ns(t)->lba, 0, ns(t)->lba }, ns(t)->lba, seed_of(from + i, as));
}

static unsigned put(struct vt *t, uint64_t from, uint32_t n, unsigned as, const uint16_t *want)
{
	struct vmem m = vt_mem(one(t), n * ns(t)->lba);
	struct nvme_sqe s;

	fill(t, &m, from, n, as);
	vh_rw_sqe(&s, NVME_NVM_WRITE, ns(t)->nsid, from, n);
	return vt_do_data(one(t), 1, &s, &m, n * ns(t)->lba, want);
}

/* Read or Compare, whatever the data. */
static void get(struct vt *t, unsigned opc, uint32_t nsid, uint64_t from, uint32_t n, const uint16_t *want)
{
	struct vmark mark = vt_mark(one(t));
	struct vmem m = vt_mem(one(t), n * ns(t)->lba);
	struct nvme_sqe s;

	vh_rw_sqe(&s, opc, nsid, from, n);
	vt_do_data(one(t), 1, &s, &m, n * ns(t)->lba, want);
	vt_back(one(t), mark);
}

/* What each block holds: OLD, NEW, 0 for zeroes; anything else is a failure. */
static void look(struct vt *t, uint64_t from, uint32_t n, unsigned *holds)
{
	uint32_t lba = ns(t)->lba;
	struct vmark mark = vt_mark(one(t));
	struct vmem m = vt_mem(one(t), n * lba);
	struct nvme_sqe s;

	vh_rw_sqe(&s, NVME_NVM_READ, ns(t)->nsid, from, n);
	vt_do_data(one(t), 1, &s, &m, n * lba, ST(S_OK));
	for (uint32_t i = 0; i < n; i++) {
		const struct vmem b = { m.p + i * lba, 0, lba };

		holds[i] = vh_same(&b, lba, seed_of(from + i, OLD)) ? OLD : vh_same(&b, lba, seed_of(from + i, NEW)) ? NEW : 0;
		VEXPECT(t, holds[i] || vh_same(&b, lba, 0), "LBA %llu is torn: neither what was there nor what was written", (unsigned long long)from + i);
	}
	vt_back(one(t), mark);
}

static void expect_all(struct vt *t, uint64_t from, uint32_t n, unsigned as)
{
	unsigned holds[BLOCKS];

	look(t, from, n, holds);
	for (uint32_t i = 0; i < n; i++)
		VEXPECT(t, holds[i] == as, "LBA %llu does not hold what it held, though no command changed it", (unsigned long long)from + i);
}

static void begin(struct vt *t)
{
	vt_io_make(one(t), 1, 64);
	put(t, FROM, BLOCKS, OLD, ST(S_OK));
}

/* Every length and place around the bad blocks: those that touch them fail, the others bring their data. */
static void read_fails(struct vt *t)
{
	struct vctl *c = one(t);
	uint32_t nsid = ns(t)->nsid;

	begin(t);
	vt_media(c, nsid, &unreadable);
	for (uint64_t from = BAD - 3; from < BAD + BADS + 2; from++)
		for (uint32_t n = 1; n <= 4; n++) {
			bool bad = from < BAD + BADS && from + n > BAD;

			if (bad)
				get(t, NVME_NVM_READ, nsid, from, n, ST(S_UNREAD));
			else
				expect_all(t, from, n, OLD);
		}
	for (unsigned i = 1; i < c->nss; i++) /* other media are well */
		get(t, NVME_NVM_READ, c->ns[i].nsid, BAD, 1, ST(S_OK));
	vt_media(c, nsid, NULL);
	expect_all(t, FROM, BLOCKS, OLD);
}

/* Whatever reads, not only Read. */
static void others_read(struct vt *t)
{
	struct vctl *c = one(t);
	uint32_t nsid = ns(t)->nsid;

	begin(t);
	vt_media(c, nsid, &unreadable);
	if (le16_get(c->id.oncs) & NVME_ONCS_VERIFY) {
		vh_io(c, 1, NVME_NVM_VERIFY, nsid, BAD - 4, 8, ST(S_UNREAD));
		vh_io(c, 1, NVME_NVM_VERIFY, nsid, BAD - 4, 4, ST(S_OK));
	}
	if (t->caps & DUT_COMPARE)
		get(t, NVME_NVM_COMPARE, nsid, BAD, 1, ST(S_UNREAD));
	if (t->caps & DUT_COPY) {
		vh_copy(c, 1, nsid, FROM + BLOCKS, &(struct vspan){ BAD - 4, 8 }, 1, ST(S_UNREAD, S_WRITE_FAULT));
		vh_copy(c, 1, nsid, FROM + BLOCKS, &(struct vspan){ BAD - 4, 4 }, 1, ST(S_OK));
	}
	vt_media(c, nsid, NULL);
	expect_all(t, FROM, BLOCKS, OLD);
}

/* A Write that fails: each of its blocks is old or new, whole, and what it is stays so; its neighbours are as they were. */
static void write_fails(struct vt *t)
{
	unsigned holds[BLOCKS], again[BLOCKS];
	struct vctl *c = one(t);

	begin(t);
	vt_media(c, ns(t)->nsid, &torn);
	put(t, BAD - 6, 8, NEW, ST(S_WRITE_FAULT));
	put(t, BAD - 8, 2, NEW, ST(S_OK));
	if (t->caps & DUT_WZ)
		vh_io(c, 1, NVME_NVM_WRITE_ZEROES, ns(t)->nsid, BAD, 4, ST(S_WRITE_FAULT));
	look(t, FROM, BLOCKS, holds);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint64_t lba = FROM + i;
		bool written = lba >= BAD - 8 && lba < BAD + 2, zeroed = t->caps & DUT_WZ && lba >= BAD && lba < BAD + 4;

		VEXPECT(t, written || zeroed || holds[i] == OLD, "LBA %llu is another one, and no command named it", (unsigned long long)lba);
		VEXPECT(t, zeroed || holds[i], "LBA %llu is zeroes, and nobody asked for that", (unsigned long long)lba);
		VEXPECT(t, lba < BAD - 8 || lba >= BAD - 6 || holds[i] == NEW, "LBA %llu: a Write beside the bad blocks is lost", (unsigned long long)lba);
	}
	vt_media(c, ns(t)->nsid, NULL);
	look(t, FROM, BLOCKS, again);
	VEXPECT(t, !memcmp(holds, again, sizeof(holds)), "what a failed Write left behind is not the same when it is read again");
	put(t, BAD - 6, 8, NEW, ST(S_OK));
	expect_all(t, BAD - 6, 8, NEW);
}

static void flush_fails(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(ns(t)->nsid) };

	begin(t);
	vt_do(c, 1, &s, ST(S_OK));
	vt_media(c, ns(t)->nsid, &(struct dut_media){ .flush = true });
	vt_do(c, 1, &s, ST(S_WRITE_FAULT, S_INTERNAL));
	expect_all(t, FROM, BLOCKS, OLD);
	vt_media(c, ns(t)->nsid, NULL);
	vt_do(c, 1, &s, ST(S_OK));
}

/* ---- what the logs say */

static uint64_t at(const struct vmem *m, unsigned off, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = bytes; i--;)
		v = v << 8 | m->p[off + i];
	return v;
}

static struct vmem log_page(struct vctl *c, unsigned lid)
{
	struct nvme_sqe s = { .opc = NVME_OP_GET_LOG, .nsid = le32_of(UINT32_MAX), .cdw10 = le32_of(lid | 127 << 16) };
	struct vmem m = vt_mem(c, 512);

	vt_do_data(c, 0, &s, &m, 512, ST(S_OK));
	return m;
}

static void expect_entry(struct vt *t, uint64_t before, unsigned cid, unsigned status, uint64_t slba, uint32_t nlb)
{
	struct vmem log = log_page(one(t), NVME_LID_ERROR);
	uint64_t lba = at(&log, 16, 8);

	VEXPECT(t, at(&log, 0, 8) > before, "a command failed and the error log has no newer entry");
	VEQ(t, at(&log, 8, 2), 1, "SQID in the error log");
	VEQ(t, at(&log, 10, 2), cid, "CID in the error log");
	VEQ(t, at(&log, 12, 2) >> 1 & 0x7ff, status, "status in the error log");
	VEQ(t, at(&log, 24, 4), ns(t)->nsid, "NSID in the error log");
	VEXPECT(t, lba - slba < nlb, "the error log names LBA %llu, and the command began at %llu with %u blocks", (unsigned long long)lba,
		(unsigned long long)slba, nlb);
	if (slba != BAD)
		vt_reading(t, "LBA in the error log", lba == slba ? "the first of the command" : lba == BAD ? "the first that failed" : "another");
}

static void logs(struct vt *t)
{
	enum { MEDIA_ERRORS = 160, ENTRIES = 176 };
	struct vctl *c = one(t);
	struct vmem before, after;
	uint64_t newest;

	begin(t);
	vt_media(c, ns(t)->nsid, &(struct dut_media){ BAD, BADS, .read = true, .change = true });
	before = log_page(c, NVME_LID_SMART);
	newest = at(&(struct vmem){ log_page(c, NVME_LID_ERROR).p, 0, 512 }, 0, 8);
	get(t, NVME_NVM_READ, ns(t)->nsid, BAD - 2, 4, ST(S_UNREAD));
	expect_entry(t, newest, le16_get(t->last.cid), S_UNREAD, BAD - 2, 4);
	put(t, BAD, 1, NEW, ST(S_WRITE_FAULT));
	expect_entry(t, newest + 1, le16_get(t->last.cid), S_WRITE_FAULT, BAD, 1);
	after = log_page(c, NVME_LID_SMART);
	VEXPECT(t, at(&after, MEDIA_ERRORS, 8) > at(&before, MEDIA_ERRORS, 8), "a Read could not be done, and SMART counts no more media errors");
	VEQ(t, at(&after, ENTRIES, 8) - at(&before, ENTRIES, 8), 2, "entries of the error log that SMART counts for two failures");
}

/* ---- under a log */

struct named { bool named[BLOCKS], dealloc[BLOCKS]; };

static void take(struct vt *t, const struct ventry *e, struct named *n)
{
	for (uint32_t i = 0; i < BLOCKS && e->nsid == ns(t)->mmc_nsid && e->lbacir != 2; i++)
		if (e->lbacir == 1 || FROM + i - e->slba < e->nlb)
			n->named[i] = true, n->dealloc[i] = e->dealloc;
}

/* Reads until logging has stopped: then everything is there. */
static void read_all(struct vt *t, struct vring *r, unsigned until_esa, struct named *n)
{
	struct ventry e = { .esa = ESA_NONE };

	while (e.esa != until_esa) {
		vh_await(r, &e);
		take(t, &e, n);
		VEXPECT(t, e.esa != ESA_FULL, "the log is full");
	}
}

static void expect_named(struct vt *t, const struct named *n, const char *what)
{
	unsigned holds[BLOCKS];

	look(t, FROM, BLOCKS, holds);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		VEXPECT(t, holds[i] == OLD || n->named[i], "%s failed and changed LBA %u, and the log does not name it", what, FROM + i);
		VEXPECT(t, !holds[i] || !n->dealloc[i], "%s failed, LBA %u holds data, and the log calls it deallocated", what, FROM + i);
	}
}

/* While the controller is suspended its manager reads what a mover would read. */
static void expect_named_by_mmc(struct vt *t, struct vmem *m, const struct named *n)
{
	uint32_t lba = ns(t)->lba;
	struct nvme_sqe s;

	vh_rw_sqe(&s, NVME_NVM_READ, ns(t)->mmc_nsid, FROM, BLOCKS);
	vt_do_data(t->mmc, 1, &s, m, BLOCKS * lba, ST(S_OK));
	for (uint32_t i = 0; i < BLOCKS; i++) {
		const struct vmem b = { m->p + i * lba, 0, lba };

		VEXPECT(t, n->named[i] || vh_same(&b, lba, seed_of(FROM + i, OLD)),
			"a Write failed while Suspend waited and changed LBA %u, and the log ends without naming it", FROM + i);
	}
}

static void zeroes_deac(struct vt *t)
{
	struct nvme_sqe s;

	vh_rw_sqe(&s, NVME_NVM_WRITE_ZEROES, ns(t)->nsid, FROM, BLOCKS);
	s.cdw12 = le32_of(le32_get(s.cdw12) | 1u << 25);
	vt_do(one(t), 1, &s, ST(S_WRITE_FAULT));
}
static void write_new(struct vt *t) { put(t, BAD - 9, 12, NEW, ST(S_WRITE_FAULT)); }
static void copy_there(struct vt *t)
{
	put(t, 4096, 8, NEW, ST(S_OK)); /* other data than any block here may hold: so it would be torn, were it not zeroes */
	vh_io(one(t), 1, NVME_NVM_WRITE_ZEROES, ns(t)->nsid, 4096, 16, ST(S_OK));
	vh_copy(one(t), 1, ns(t)->nsid, BAD - 8, (struct vspan[]){ { 4096, 8 }, { 4104, 4 } }, 2, ST(S_WRITE_FAULT));
}
static void deallocate(struct vt *t)
{
	vh_dsm(one(t), 1, ns(t)->nsid, (struct vspan[]){ { 4200, 4 }, { FROM, BLOCKS } }, 2, ST(S_OK, S_WRITE_FAULT));
}

/* What failed may have changed something: what it changed is in the log, and is called what it is (RING-21). */
static void failed_is_logged(struct vt *t)
{
	const struct { const char *name; uint64_t needs; void (*run)(struct vt *); bool half; } how[] = {
		{ "a Write", 0, write_new, true }, { "Write Zeroes with DEAC", DUT_WZ, zeroes_deac, false },
		{ "a Copy", DUT_COPY | DUT_WZ, copy_there, true }, { "a deallocation", DUT_DSM, deallocate, false },
	};
	struct vring r;

	vt_io_make(one(t), 1, 64);
	r = vh_logging(t->mmc, one(t), 256);
	for (unsigned i = 0; i < ARRAY_LEN(how); i++) {
		struct named n = { .named = { false } };

		if (how[i].needs & ~t->caps)
			continue;
		put(t, FROM, BLOCKS, OLD, ST(S_OK));
		vh_log(t->mmc, r.id, 0, ST(S_OK));
		read_all(t, &r, ESA_STOPPED, &n);
		memset(&n, 0, sizeof(n));
		vh_told(&r);
		vh_log(t->mmc, r.id, 1, ST(S_OK));
		vt_media(one(t), ns(t)->nsid, how[i].half ? &torn : &unwritable);
		how[i].run(t);
		vh_log(t->mmc, r.id, 0, ST(S_OK));
		read_all(t, &r, ESA_STOPPED, &n);
		vt_media(one(t), ns(t)->nsid, NULL);
		expect_named(t, &n, how[i].name);
		vh_told(&r);
		vh_log(t->mmc, r.id, 1, ST(S_OK));
	}
}

enum { MANY = 24, ROUNDS = 12 };

/* Reads of the whole and Writes of the whole, in turn. */
static void send_many(struct vt *t, struct vmem *m, struct vcmd **k)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct nvme_sqe s;

		vh_rw_sqe(&s, i % 3 ? NVME_NVM_WRITE : NVME_NVM_READ, ns(t)->nsid, FROM, BLOCKS);
		vt_data(one(t), &s, &m[i % 3 ? 1 : 0], BLOCKS * ns(t)->lba);
		k[i] = vt_queue(one(t), 1, &s, i % 3 ? ST(S_OK, S_WRITE_FAULT) : ST(S_OK));
	}
	vt_ring(one(t), 1);
}

/* Suspend waits for what is under way, also for what fails then; what it changed stands in the log before the end of it. */
static void suspend_over_failures(struct vt *t)
{
	struct vctl *c = one(t);
	struct vring r;
	struct vmem m[2] = { vt_mem(c, BLOCKS * ns(t)->lba), vt_mem(c, BLOCKS * ns(t)->lba) }, read = vt_mem(t->mmc, BLOCKS * ns(t)->lba);
	struct vcmd *k[MANY];
	unsigned failed = 0;

	begin(t);
	fill(t, &m[1], FROM, BLOCKS, NEW);
	r = vh_logging(t->mmc, c, 256);
	vt_io_make(t->mmc, 1, 16);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct named n = { .named = { false } };
		struct vmark mark = vt_mark(c);

		vt_media(c, ns(t)->nsid, &torn);
		send_many(t, m, k);
		for (uint64_t turns = rng_below(&t->rng, 4ull << round / 2); turns && t->dut->pump; turns--)
			t->dut->pump(t->dut->ctx);
		vh_suspend(t->mmc, c->cntlid, 1, false, ST(S_OK));
		vt_reap_now(c);
		for (unsigned i = 0; i < MANY; i++)
			if (k[i]->done && i % 3) {
				VEQ(t, nvme_cqe_status(&k[i]->cqe), S_WRITE_FAULT, "status of a Write to blocks that cannot be written");
				failed++;
			}
		read_all(t, &r, ESA_SUSPENDED, &n);
		expect_named_by_mmc(t, &read, &n);
		vh_told(&r);
		vt_media(c, ns(t)->nsid, NULL);
		vh_resume(t->mmc, c->cntlid, ST(S_OK)); /* what was not fetched is done now */
		for (unsigned i = 0; i < MANY; i++)
			vt_finish(t, k[i]);
		put(t, FROM, BLOCKS, OLD, ST(S_OK));
		vt_back(c, mark);
	}
	VEXPECT(t, failed || !t->dut->pump, "no Write was under way at any Suspend");
}

/* A guest's bad disk is no trouble of its manager's: every step of a move works while nothing can be read or written. */
static void migration_goes_on(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem image;
	struct vring r;

	begin(t);
	vt_media(c, ns(t)->nsid, &(struct dut_media){ 0, ns(t)->blocks, .read = true, .change = true, .flush = true });
	r = vh_logging(t->mmc, c, 64);
	get(t, NVME_NVM_READ, ns(t)->nsid, BAD, 1, ST(S_UNREAD));
	put(t, BAD, 1, NEW, ST(S_WRITE_FAULT));
	vh_suspend(t->mmc, c->cntlid, 1, false, ST(S_OK));
	vh_await_esa(&r, ESA_SUSPENDED, &(struct ventry){ .esa = 0 });
	vh_image(t->mmc, c, 0, 0, &image);
	vh_resume(t->mmc, c->cntlid, ST(S_OK));
	get(t, NVME_NVM_READ, ns(t)->nsid, BAD, 1, ST(S_UNREAD));
	vh_cdq_delete(t->mmc, r.id, ST(S_OK));
	vt_media(c, ns(t)->nsid, NULL);
	expect_all(t, FROM, BLOCKS, OLD);
}

enum { M = DUT_MEM | DUT_REGS | DUT_NS | DUT_MEDIA, L = NEED_LOG | DUT_MEDIA };
const struct vtest tests_me[] = {
	{ "ME-01", M, "B-ME-1", read_fails, "blocks that cannot be read", NULL },
	{ "ME-02", M, "B-ME-1", others_read, "blocks that cannot be read: Verify, Compare, Copy", NULL },
	{ "ME-03", M, "B-ME-2", write_fails, "blocks that cannot be written", NULL },
	{ "ME-04", M, "B-ME-3", flush_fails, "a Flush that fails", NULL },
	{ "ME-05", M, "B-ME-4 B-ME-5", logs, "what the error log and SMART say of it", NULL },
	{ "ME-06", L, "RING-21", failed_is_logged, "what failed and changed something is in the log", NULL },
	{ "ME-07", L, "SUS-02 RING-21", suspend_over_failures, "Suspend over commands that fail", "race" },
	{ "ME-08", L, "SUS-01 GCS-01", migration_goes_on, "the migration commands on a controller whose medium is gone", NULL },
	{ .id = NULL }
};
