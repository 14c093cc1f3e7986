/* The verifier must be able to fail: every negative test is tried with a device that never refuses and with one that refuses wrongly; and what
 * becomes of a failure: sequences are shrunk, silence ends, the same defect is one bucket. More lies: test_verify_lies.c.
 */
#include "liar.h"

#include "verify/store_bucket.h"

/* ---- lies about statuses */

static void other_status(struct liar *l, unsigned ctrl, const struct nvme_sqe *s, struct nvme_cqe *c)
{
	(void)ctrl;
	l->told += hmlm_op(s) && nvme_cqe_status(c);
	if (hmlm_op(s) && nvme_cqe_status(c))
		status_is(c, NVME_INTERNAL_ERROR);
}

static void refuses_wrongly(struct liar *l, unsigned ctrl, const struct nvme_sqe *s, struct nvme_cqe *c)
{
	(void)ctrl, (void)s;
	l->told += nvme_cqe_status(c) != 0;
	if (nvme_cqe_status(c))
		status_is(c, NVME_FORMAT_IN_PROGRESS); /* nothing any of them may say */
}

/* Every negative test must notice a device that never refuses, and one that refuses with a wrong status. */
static void negatives(const char *name, void (*tell)(struct liar *, unsigned, const struct nvme_sqe *, struct nvme_cqe *), bool base, unsigned least)
{
	const struct lie lie = { name, NULL, tell, NULL };
	unsigned tried = 0, bad = 0;

	for (unsigned i = 0; vtest_at(i); i++) {
		const struct vtest *t = vtest_at(i);
		enum vt_verdict v;
		char why[WHY];

		if (!vtest_lists(t->tags, "negative") || !(t->needs & DUT_MMC) != base)
			continue;
		v = run(&lie, t->id, why);
		tried += v != VT_SKIP && liar.told;
		if (v == VT_PASS) { /* whether or not the lie was told: what a device may say here must matter */
			print_message("# %s passes though %s (told %u times)\n", t->id, name, liar.told);
			bad++;
		}
	}
	EXPECT(tried >= least);
	EXPECT_EQ(bad, 0);
}
TEST(everything_succeeds) { negatives("everything succeeds", all_succeed, false, 50); }
TEST(every_refusal_is_an_internal_error) { negatives("every refusal is an Internal Error", other_status, false, 50); }
TEST(nothing_is_refused) { negatives("nothing is refused", refuses_nothing, true, 25); }
TEST(everything_is_refused_wrongly) { negatives("every refusal has a wrong status", refuses_wrongly, true, 25); }

/* A random sequence that fails is cut down to the few steps that matter. */
TEST(sequences_are_shrunk)
{
	static const struct lie lie = { "everything succeeds", NULL, all_succeed, NULL, .patient = true };
	char why[WHY] = "", *at;
	unsigned from = 0, to = 0;

	EXPECT_EQ(run(&lie, "RN-02", why), VT_FAIL);
	at = strstr(why, " steps, shrunk to ");
	EXPECT(at != NULL);
	while (at > why && at[-1] >= '0' && at[-1] <= '9')
		at--;
	EXPECT_EQ(sscanf(at, "%u steps, shrunk to %u", &from, &to), 2);
	EXPECT_EQ(from, 300);
	EXPECT(to >= 1 && to <= 5);
}

/* A device that stops answering: this test fails, the ones after it are errors, and nothing hangs. */
static void never(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c, (void)s;
	e->status = le16_of(le16_get(e->status) ^ 1); /* the phase is wrong for ever: nobody sees it */
}
TEST(silence_is_a_failure)
{
	const struct lie lie = { "silence", NULL, never, NULL };
	char why[WHY] = "";
	enum vt_verdict v = run(&lie, "ID-18", why);

	EXPECT(v == VT_FAIL || v == VT_ERROR);
}

/* An honest device, and a list that calls its first test a known failure: passing is not as expected either. */
static unsigned ran(bool fail_fast)
{
	struct vrun_cfg cfg = { .group = "ID", .xfail = "ID-02 known\n", .seed = 5, .fail_fast = fail_fast };
	struct verify_rig_cfg rig = { 0 };
	struct err err = { "" };
	struct vrun r = { 0 };
	struct dut d;
	unsigned n;

	EXPECT_EQ(verify_rig_open(&d, &rig, &err), 0);
	EXPECT_EQ(vrun_run(&r, &d, &cfg, &err), 0);
	EXPECT(!vrun_good(&r) && r.count[VT_XPASS] == 1);
	n = r.results;
	vrun_free(&r);
	dut_close(&d);
	return n;
}
TEST(fail_fast_stops_at_the_first_surprise)
{
	EXPECT_EQ(ran(true), 2);
	EXPECT(ran(false) > 20);
}

/* ---- the same defect, met by many seeds, is one bucket; another one is another */

static void resume_always(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c;
	if (s->opc == 0x41 && (le32_get(s->cdw10) & 0xff) == 1 && nvme_cqe_status(e) == 0x13a)
		status_is(e, 0);
}
static void track_always(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c;
	if (s->opc == 0x3e && nvme_cqe_status(e) == 0x11f)
		status_is(e, 0);
}

struct seen { struct bucket b[8]; unsigned n; };
static void see(void *ctx, const struct bucket *b)
{
	struct seen *s = ctx;

	if (s->n < ARRAY_LEN(s->b))
		s->b[s->n] = *b;
	s->n++;
}

static void meet(const struct lie *lie, uint64_t from, unsigned seeds)
{
	char why[WHY];

	run_cmd_ns = 30000000000ull; /* a busy machine is no second defect */
	for (run_seed = from; run_seed < from + seeds; run_seed++)
		if (run(lie, "RN-02", why) != VT_FAIL)
			fail_msg("seed %u: %s", (unsigned)run_seed, why);
	run_seed = 5;
	run_cmd_ns = 50000000;
}

TEST(one_defect_is_one_bucket)
{
	static const struct lie a = { "Resume never refuses", NULL, resume_always, NULL }, b = { "Track Receive never refuses", NULL, track_always, NULL };
	char path[] = "/tmp/ferry-buckets-XXXXXX";
	struct seen s = { .n = 0 };
	struct err err = { "" };
	int fd = mkstemp(path);

	EXPECT(fd >= 0);
	close(fd);
	run_store = path;
	meet(&a, 100, 12);
	EXPECT(store_buckets(path, see, &s, &err) > 0);
	for (unsigned i = 0; i < s.n; i++)
		print_message("# %u times: %s\n", (unsigned)s.b[i].count, s.b[i].sig);
	EXPECT_EQ(s.n, 1);
	EXPECT_EQ(s.b[0].count, 12);
	EXPECT(s.b[0].seed >= 100 && s.b[0].seed < 112);
	EXPECT(strstr(s.b[0].sig, "RESUME@running got 0/00 want 1/3a") != NULL);
	meet(&b, 100, 5);
	run_store = NULL;
	s.n = 0;
	EXPECT_EQ(store_buckets(path, see, &s, &err), 2);
	EXPECT_EQ(s.b[0].count, 12);
	EXPECT_EQ(s.b[1].count, 5);
	EXPECT_EQ(store_failure(path, "RN-04 CRASH Aborted in somewhere", 9, "it died", &err), 0);
	s.n = 0;
	EXPECT_EQ(store_buckets(path, see, &s, &err), 3);
	unlink(path);
}
