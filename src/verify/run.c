/* The runner. Every test starts from a reset of every controller. When one does not come back, nothing after it can be judged: ERROR. */
#include "verify/run.h"
#include "verify/checklist.h"
#include "verify/model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Is one of the comma separated words w, by this comparison? */
static bool any_word(const char *list, bool (*is)(const struct vtest *, const char *), const struct vtest *v)
{
	char copy[512], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", list);
	for (char *w = strtok_r(copy, ", ", &save); w; w = strtok_r(NULL, ", ", &save))
		if (is(v, w))
			return true;
	return false;
}

static bool has_id(const struct vtest *v, const char *w) { return !strcmp(v->id, w); }
static bool has_tag(const struct vtest *v, const char *w) { return vtest_lists(v->tags, w); }
static bool has_item(const struct vtest *v, const char *w)
{
	const struct vitem *i = vitem_find(w);

	return i && vtest_covers(v, i);
}

bool vrun_chosen(const struct vrun_cfg *c, const struct vtest *v)
{
	return (!c->group || any_word(c->group, vtest_in_group, v)) && (!c->tag || any_word(c->tag, has_tag, v)) &&
	       (!c->id || any_word(c->id, has_id, v)) && (!c->checklist || any_word(c->checklist, has_item, v));
}

/* The reason given for this test in the list of known failures. */
static bool known(const char *text, const char *id, char *why, size_t cap)
{
	size_t n = strlen(id);

	for (const char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		size_t len = strcspn(p, "\n");

		if (len > n && !strncmp(p, id, n) && p[n] == ' ') {
			snprintf(why, cap, "%.*s", (int)(len - n - 1), p + n + 1);
			return true;
		}
	}
	return false;
}

static uint64_t seed_of(uint64_t run, const char *id)
{
	struct rng r = { run };

	for (; *id; id++)
		r.s = rng_next(&r) + (uint8_t)*id;
	return rng_next(&r);
}

static void missing(uint64_t lacks, char *why, size_t cap)
{
	for (unsigned b = 0; b < DUT_CAP_COUNT; b++)
		if (lacks >> b & 1) {
			snprintf(why, cap, "%s", dut_cap_why(b));
			return;
		}
}

/* Runs the test's function between a reset and the look at what it must not have touched. */
static void execute(struct vt *t, const struct vtest *v)
{
	if (setjmp(t->out))
		return;
	v->run(t);
	vt_red_check(t);
	t->verdict = VT_PASS;
}

/* What a test that failed has formatted is formatted back, or all that follow would fail too. */
static void restore(struct vt *t)
{
	struct err err = { "" };

	if (!t->format.c || t->lost || !vt_bring_up(t, &err))
		return;
	if (!setjmp(t->out))
		vt_format_put_back(t);
}

static void keep_trace(struct vresult *r, struct vt *t)
{
	if (t->trace.len && !t->trace.failed && (r->trace = malloc(t->trace.len + 1))) {
		memcpy(r->trace, t->trace.data, t->trace.len);
		r->trace[t->trace.len] = '\0';
	}
}

static void one(struct vrun *run, struct vresult *r)
{
	struct vt *t = run->vt;
	uint64_t began = vt_now_ns(), before = t->submitted;
	struct err err = { "" };

	r->verdict = VT_ERROR;
	r->seed = run->cfg.seed;
	t->test = r->test->id;
	t->seed = seed_of(run->cfg.seed, r->test->id);
	t->rng = (struct rng){ t->seed };
	t->trace.len = 0;
	t->sequence = 0;
	t->why[0] = '\0';
	t->wrong.set = false;
	t->quiet_watch = false;
	if (t->lost) {
		snprintf(r->why, sizeof(r->why), "the DUT was lost in an earlier test");
	} else if (r->test->needs & ~t->caps) {
		r->verdict = VT_SKIP;
		missing(r->test->needs & ~t->caps, r->why, sizeof(r->why));
	} else if (!vt_bring_up(t, &err)) {
		snprintf(r->why, sizeof(r->why), "the DUT does not come back after a reset: %.900s", err.text);
	} else {
		t->trace.len = 0;
		t->deadline_ns = vt_now_ns() + run->cfg.test_ns;
		execute(t, r->test);
		vt_inject_off(t);
		r->verdict = t->verdict;
		snprintf(r->why, sizeof(r->why), "%s", t->verdict == VT_PASS ? "" : t->why);
		if (t->wrong.set && t->verdict == VT_FAIL)
			snprintf(r->wrong, sizeof(r->wrong), "%s", t->wrong.text);
		if (t->verdict == VT_FAIL || t->verdict == VT_ERROR)
			keep_trace(r, t);
		restore(t);
	}
	if (known(run->cfg.xfail, r->test->id, r->known, sizeof(r->known))) {
		if (r->verdict == VT_FAIL)
			r->verdict = VT_XFAIL;
		else if (r->verdict == VT_PASS)
			r->verdict = VT_XPASS;
	}
	r->began_ns = began;
	r->ns = vt_now_ns() - began;
	r->commands = t->submitted - before;
	r->sequence = t->sequence;
}

static bool unexpected(enum vt_verdict v)
{
	return v == VT_FAIL || v == VT_ERROR || v == VT_XPASS;
}

static void tell(const struct vrun *run, const struct vresult *r)
{
	FILE *f = run->cfg.progress;

	if (!f || ((r->verdict == VT_PASS || r->verdict == VT_SKIP) && !run->cfg.verbose))
		return;
	fprintf(f, "%-5s %-8s %s", vt_verdict_name(r->verdict), r->test->id, r->test->title);
	if (r->why[0])
		fprintf(f, "\n      %s", r->why);
	if (r->known[0])
		fprintf(f, "\n      known: %s", r->known);
	if (unexpected(r->verdict))
		fprintf(f, "\n      again: ferry verify replay --seed %" PRIu64 " --id %s%s%s", run->cfg.seed, r->test->id,
			run->cfg.replay ? " " : "", run->cfg.replay ? run->cfg.replay : "");
	fprintf(f, "\n");
	fflush(f);
}

static void defaults(struct vrun_cfg *c)
{
	c->cmd_ns = c->cmd_ns ? c->cmd_ns : 5000000000ull;
	c->test_ns = c->test_ns ? c->test_ns : MAX(30000000000ull, 6 * c->cmd_ns); /* a slow device has slow tests */
	c->quiet_ns = c->quiet_ns ? c->quiet_ns : 5000000ull;
}

int vrun_run(struct vrun *r, struct dut *d, const struct vrun_cfg *cfg, struct err *err)
{
	uint64_t began = vt_now_ns();
	int rc;

	memset(r, 0, sizeof(*r));
	r->cfg = *cfg;
	r->dut = d;
	defaults(&r->cfg);
	r->vt = calloc(1, sizeof(*r->vt));
	r->result = calloc(vtest_count(), sizeof(*r->result));
	if (!r->vt || !r->result)
		return err_set(err, -ENOMEM, "no memory for a run");
	r->vt->cmd_ns = r->cfg.cmd_ns;
	r->vt->quiet_ns = r->cfg.quiet_ns;
	r->vt->guard_all = r->cfg.guard;
	rc = vt_open(r->vt, d, err);
	if (rc)
		return rc;
	r->vt->cov = r->cfg.cov;
	r->vt->model = calloc(1, sizeof(*r->vt->model));
	if (!r->vt->model)
		return err_set(err, -ENOMEM, "no memory for a run");
	model_init(r->vt->model, r->vt);
	for (unsigned i = 0; vtest_at(i); i++) {
		struct vresult *one_ = &r->result[r->results];

		if (!vrun_chosen(&r->cfg, vtest_at(i)))
			continue;
		one_->test = vtest_at(i);
		r->results++;
		one(r, one_);
		r->count[one_->verdict]++;
		tell(r, one_);
		if (r->cfg.fail_fast && unexpected(one_->verdict))
			break;
	}
	r->ns = vt_now_ns() - began;
	r->commands = r->vt->submitted;
	return 0;
}

void vrun_free(struct vrun *r)
{
	for (unsigned i = 0; i < r->results; i++)
		free(r->result[i].trace);
	if (r->vt) {
		vt_close(r->vt);
		free(r->vt->model);
	}
	free(r->result);
	free(r->vt);
	memset(r, 0, sizeof(*r));
}

bool vrun_good(const struct vrun *r)
{
	return r->results && !r->count[VT_FAIL] && !r->count[VT_ERROR] && !r->count[VT_XPASS];
}
