/* The stubs `ferry verify coverage --stubs` makes of holes: generated when this is built, out of no run at all, so there is one for every
 * point. They compile, each runs against our device, and each closes the hole it was made of. Made by tests/meson.build.
 */
#include "t.h"

#include <setjmp.h>
#include <stdlib.h>

#include "cmd/verify_rig.h"
#include "verify/cover.h"
#include "verify/test.h"

extern const struct vtest cov_stubs[];

static const struct cov_point *named(const struct cov *c, const char *name, unsigned *at)
{
	for (unsigned i = 0; i < cov_points(c); i++)
		if (!strcmp(cov_point(c, i)->name, name)) {
			*at = i;
			return cov_point(c, i);
		}
	return NULL;
}

/* Runs it from a reset; how often its point was hit on the way. */
static uint64_t hits_of(struct vt *t, const struct vtest *stub, unsigned at)
{
	uint64_t before;
	struct err err = { "" };

	t->trace.len = 0;
	t->test = stub->id;
	if (!vt_bring_up(t, &err))
		fail_msg("%s: %s", stub->title, err.text);
	before = cov_hits(t->cov, at);
	t->deadline_ns = vt_now_ns() + 120000000000ull;
	if (setjmp(t->out)) {
		print_message("# %s (%s): %s\n", stub->title, stub->id, t->why);
		return 0;
	}
	stub->run(t);
	return cov_hits(t->cov, at) - before;
}

TEST(every_stub_closes_its_hole)
{
	struct verify_rig_cfg cfg = { 0 };
	struct vt *t = calloc(1, sizeof(*t));
	struct model *m = calloc(1, sizeof(*m));
	struct cov *c = cov_new();
	unsigned ran = 0, open = 0, stubs = 0;
	struct err err = { "" };
	struct dut d;

	assert_true(t && m && c);
	EXPECT_EQ(verify_rig_open(&d, &cfg, &err), 0);
	t->cmd_ns = 60000000000ull;
	t->quiet_ns = 1000000;
	EXPECT_EQ(vt_open(t, &d, &err), 0);
	model_init(m, t);
	t->model = m;
	t->cov = c;
	for (const struct vtest *s = cov_stubs; s->id; s++) {
		unsigned at = 0;
		const struct cov_point *p = named(c, s->title, &at);

		assert_non_null(p);
		stubs++;
		if (cov_excuse(p, t->caps))
			continue;
		ran++;
		if (!hits_of(t, s, at)) {
			print_message("# %s is still a hole\n", p->name);
			open++;
		}
	}
	print_message("# %u points, %u stubs, %u run, %u holes left\n", cov_points(c), stubs, ran, open);
	EXPECT_EQ(open, 0);
	EXPECT(ran > 800 && stubs > ran);
	vt_close(t);
	dut_close(&d);
	cov_free(c);
	free(m);
	free(t);
}
