/* Rate limits (NVM Command Set 1.3, Feature 28h): a manager slows a controller down so that a copy can catch up with it. How fast a device is
 * nobody can demand; that it is not faster than its limit can be. So every bound here is one from below: a busy machine only makes it truer.
 */
#include "verify/test.h"

enum { S_MIB = 1 << 20, MS = 1000000, PER_WRITE = 8 };

static struct vns *ns(struct vt *t) { return &t->mc[0]->ns[0]; }

static unsigned feature(struct vctl *c, bool set, uint32_t cdw11, struct nvme_rate_limit *l, uint32_t len, const uint16_t *want)
{
	struct nvme_sqe s = { .opc = set ? NVME_OP_SET_FEATURES : NVME_OP_GET_FEATURES, .cdw10 = le32_of(NVME_FID_RATE_LIMIT), .cdw11 = le32_of(cdw11) };
	struct vmark mark = vt_mark(c);
	struct vmem m = vt_mem(c, sizeof(*l));
	unsigned st;

	if (set)
		memcpy(m.p, l, sizeof(*l));
	st = vt_do_data(c, 0, &s, &m, len, want);
	if (!set)
		memcpy(l, m.p, sizeof(*l));
	vt_back(c, mark);
	return st;
}

static struct nvme_rate_limit limit(void) { return (struct nvme_rate_limit){ .rlc = le16_of(NVME_RLC_RLE), .iops_r = 1, .iops_w = 1, .bw_r = 1, .bw_w = 1 }; }
static void set(struct vt *t, struct nvme_rate_limit l) { feature(t->mmc, true, t->mc[0]->cntlid, &l, sizeof(l), ST(S_OK)); }
static void lift(struct vt *t) { set(t, (struct nvme_rate_limit){ .rlc = le16_of(0) }); }

static void begin(struct vt *t)
{
	if (!t->mmc->id_nvm.rla)
		vt_skip(t, "RLA: no rate limits");
	vt_io_make(t->mc[0], 1, 64);
	lift(t);
}

static void reads_back(struct vt *t)
{
	struct nvme_rate_limit l = limit(), got;

	begin(t);
	l.bwsf = 1;
	l.tbwv = le64_of(12345);
	l.wbwv = le64_of(2345);
	l.tiops = le32_of(345678);
	l.wiops = le32_of(45678);
	l.iops_w = 3;
	l.bw_r = 2;
	l.bw_w = 5;
	set(t, l);
	memset(&got, 0, sizeof(got));
	feature(t->mmc, false, t->mc[0]->cntlid, &got, sizeof(got), ST(S_OK));
	lift(t);
	VEXPECT(t, !memcmp(&l, &got, 512), "Get Features returns other limits than were set");
}

static void refused(struct vt *t)
{
	const uint16_t *field = ST(S_IF), *target = ST(S_IF, S_1F);
	uint16_t id = t->mc[0]->cntlid;
	struct nvme_rate_limit l = limit(), before, after;

	begin(t);
	feature(t->mmc, false, id, &before, sizeof(before), ST(S_OK));
	l.wiops = le32_of(1000);
	feature(t->mmc, true, id | 1u << 16, &l, sizeof(l), field);	/* TGT that is reserved */
	feature(t->mmc, true, 0xfffd, &l, sizeof(l), target);
	feature(t->mmc, true, 0xffff, &l, sizeof(l), target);
	feature(t->mmc, true, t->mmc->cntlid, &l, sizeof(l), target);
	feature(t->mmc, false, 0xffff, &after, sizeof(after), target);
	feature(t->mc[0], true, id, &l, sizeof(l), ST(S_IF));		/* a guest may not limit anybody */
	l.bwsf = 6;
	feature(t->mmc, true, id, &l, sizeof(l), field);
	for (unsigned i = 0; i < 4; i++) {
		l = limit();
		*(i == 0 ? &l.iops_r : i == 1 ? &l.iops_w : i == 2 ? &l.bw_r : &l.bw_w) = 0;
		feature(t->mmc, true, id, &l, sizeof(l), field);
	}
	feature(t->mmc, false, id, &after, sizeof(after), ST(S_OK));
	VEXPECT(t, !memcmp(&before, &after, 512), "a limit that was refused was set");
}

/* How long `n` commands of `nlb` blocks take, all sent at once; none may fail. */
static uint64_t took(struct vt *t, unsigned opc, unsigned n, uint32_t nlb)
{
	struct vctl *c = t->mc[0];
	struct vmark mark = vt_mark(c);
	struct vmem m = vt_mem(c, nlb * ns(t)->lba);
	struct vcmd *k[60];
	uint64_t from;

	for (unsigned i = 0; i < n; i++) {
		struct nvme_sqe s;

		vh_rw_sqe(&s, opc, ns(t)->nsid, (uint64_t)i * nlb, nlb);
		vt_data(c, &s, &m, nlb * ns(t)->lba);
		k[i] = vt_queue(c, 1, &s, ST(S_OK));
	}
	from = vt_now_ns();
	vt_ring(c, 1);
	for (unsigned i = 0; i < n; i++)
		vt_finish(t, k[i]);
	vt_back(c, mark);
	return vt_now_ns() - from;
}

static void expect_ms(struct vt *t, uint64_t ns_taken, unsigned ms, const char *what)
{
	if (ns_taken < (uint64_t)ms * MS)
		lift(t);
	VEXPECT(t, ns_taken >= (uint64_t)ms * MS, "%s took %llu us, and its limit allows no less than %u ms", what, (unsigned long long)ns_taken / 1000, ms);
}

/* 40 at 200 per second are 200 ms; half of that leaves a device its burst. */
static void operations(struct vt *t)
{
	struct nvme_rate_limit l = limit();

	begin(t);
	l.wiops = le32_of(200);
	set(t, l);
	expect_ms(t, took(t, NVME_NVM_WRITE, 40, PER_WRITE), 100, "40 Writes at 200 per second");
	l = limit();
	l.tiops = le32_of(200);
	set(t, l);
	expect_ms(t, took(t, NVME_NVM_READ, 40, PER_WRITE), 100, "40 Reads at 200 per second");
	expect_ms(t, took(t, NVME_NVM_WRITE, 40, PER_WRITE), 100, "40 Writes at 200 operations per second in all");
	lift(t);
}

static void ratio(struct vt *t)
{
	struct nvme_rate_limit l = limit();

	begin(t);
	l.tiops = le32_of(1000);
	l.iops_w = 10;
	set(t, l);
	expect_ms(t, took(t, NVME_NVM_WRITE, 30, PER_WRITE), 150, "30 Writes that count 10 times at 1000 per second");
	l = limit();
	l.tbwv = le64_of(40);
	l.bw_w = 8;
	set(t, l);
	expect_ms(t, took(t, NVME_NVM_WRITE, 32, 64 * KIB / ns(t)->lba), 150, "2 MiB of Writes that count 8 times at 40 MiB/s");
	lift(t);
}

/* What a device holds for a burst is its own affair: so the data is three times as much as the largest transfer. */
static void bandwidth(struct vt *t)
{
	struct nvme_rate_limit l = limit();
	uint32_t nlb = 128 * KIB / ns(t)->lba;

	begin(t);
	l.tbwv = le64_of(20);
	set(t, l);
	expect_ms(t, took(t, NVME_NVM_READ, 48, nlb), 150, "6 MiB of Reads at 20 MiB/s");
	l = limit();
	l.wbwv = le64_of(20);
	set(t, l);
	expect_ms(t, took(t, NVME_NVM_WRITE, 48, nlb), 150, "6 MiB of Writes at 20 MiB/s");
	l = limit();
	l.bwsf = 1;
	l.wbwv = le64_of(2);
	set(t, l);
	expect_ms(t, took(t, NVME_NVM_WRITE, 48, nlb), 150, "6 MiB of Writes at 2 times 10 MiB/s");
	lift(t);
}

static unsigned start_slow(struct vt *t, struct vcmd **k, unsigned n)
{
	struct vctl *c = t->mc[0];
	struct nvme_rate_limit l = limit();
	struct vmem m = vt_mem(c, VT_PAGE);

	begin(t);
	l.wiops = le32_of(1);
	set(t, l);
	for (unsigned i = 0; i < n; i++) {
		struct nvme_sqe s;

		vh_rw_sqe(&s, NVME_NVM_WRITE, ns(t)->nsid, 0, 1);
		vt_data(c, &s, &m, ns(t)->lba);
		k[i] = vt_queue(c, 1, &s, ST(S_OK));
	}
	vt_ring(c, 1);
	for (unsigned i = 0; i < 50; i++)
		vt_poll(t);
	return n;
}

/* One per second, thirty wait: when the limit goes they go, and other controllers were never held. */
static void lifted(struct vt *t)
{
	struct vcmd *k[30];
	unsigned waiting = 0;

	start_slow(t, k, ARRAY_LEN(k));
	for (unsigned i = 1; i < t->mcs && t->mc[i]->nss; i++) {
		vt_io_make(t->mc[i], 1, 16);
		for (unsigned n = 0; n < 40; n++)
			vh_write(t->mc[i], 1, t->mc[i]->ns[0].nsid, n, 1, n + 1, ST(S_OK));
	}
	vt_reap_now(t->mc[0]);
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		waiting += !k[i]->done;
	lift(t);
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		vt_finish(t, k[i]);
	vt_reading(t, "Writes that waited at one per second", waiting ? "most" : "none");
}

/* Suspend does not last as long as a limit likes: what was fetched is done at once, what was not is done behind Resume. */
static void suspend(struct vt *t)
{
	struct vcmd *k[30];
	uint64_t from;

	start_slow(t, k, ARRAY_LEN(k));
	from = vt_now_ns();
	vh_suspend(t->mmc, t->mc[0]->cntlid, 1, false, ST(S_OK));
	vt_reading(t, "Suspend of a controller whose limit is one write per second", vt_now_ns() - from < 1000ull * MS ? "within a second" : "later");
	lift(t);
	vh_resume(t->mmc, t->mc[0]->cntlid, ST(S_OK));
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		vt_finish(t, k[i]);
}

enum { N = NEED_MM | DUT_REGS | DUT_NS };
const struct vtest tests_rl[] = {
	{ "RL-01", N, "B-RL-1", reads_back, "a limit reads back", NULL },
	{ "RL-02", N, "B-RL-1", refused, "limits and targets that cannot be", "negative" },
	{ "RL-03", N, "B-RL-2", operations, "operations per second", NULL },
	{ "RL-04", N, "B-RL-3", ratio, "writes count by their ratio", NULL },
	{ "RL-05", N, "B-RL-2", bandwidth, "bytes per second", NULL },
	{ "RL-06", N, "B-RL-4", lifted, "a limit that goes, and other controllers", NULL },
	{ "RL-07", N, "B-RL-4 SUS-02", suspend, "Suspend of a controller that is held back", NULL },
	{ .id = NULL }
};
