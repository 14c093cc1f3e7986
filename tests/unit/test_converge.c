/* Convergence: numbers in, decision out. Each case is one thing an operator would call wrong. */
#include "t.h"

#include <math.h>

#include "migrate/converge.h"

static struct conv_in base(void)
{
	return (struct conv_in){ .now = { .rate = 1e9, .dirty_rate = 1e8 }, .budget_ns = 10000000, .fixed_ns = 1000000,
				 .round = 3, .may_throttle = true };
}

/* 10 ms at 1 GB/s are 10 MB. */
TEST(stops_when_the_rest_fits)
{
	struct conv_in in = base();
	struct conv_out o;

	in.remaining = 10000000;
	EXPECT(conv_fits(&in));
	conv_decide(&in, &o);
	EXPECT_EQ(o.act, CONV_STOP);
	EXPECT_EQ(o.stop_ns, 11000000);
	EXPECT_EQ(o.eta_ns, 0);
	in.remaining = 10000001;
	EXPECT(!conv_fits(&in));
	conv_decide(&in, &o);
	EXPECT(o.act != CONV_STOP);
}

/* Without a measured rate nothing that is left fits: a first guess may not stop a guest. */
TEST(unknown_rate_does_not_stop)
{
	struct conv_in in = base();

	in.now.rate = 0;
	in.remaining = 1;
	EXPECT(!conv_fits(&in));
	in.remaining = 0;
	EXPECT(conv_fits(&in));
}

TEST(shrinking_rounds_go_on)
{
	struct conv_in in = base();
	struct conv_out o;

	in.remaining = 100000000;
	in.last_remaining = 1000000000;
	conv_decide(&in, &o);
	EXPECT_EQ(o.act, CONV_GO_ON);
	EXPECT(o.converges);
	EXPECT_EQ(o.eta_ns, 100000000);	/* (100 MB - 10 MB) / (1000 - 100 MB/s) */
}

TEST(rounds_that_do_not_shrink_throttle_stepwise)
{
	struct conv_in in = base();
	struct conv_out o;

	in.now.dirty_rate = 2e9;
	in.remaining = in.last_remaining = 1000000000;
	conv_decide(&in, &o);
	EXPECT_EQ(o.act, CONV_THROTTLE);
	EXPECT_EQ(o.limit, 800000000);
	EXPECT(!o.converges);
	EXPECT_EQ(o.eta_ns, UINT64_MAX);
	in.step = 1;
	in.limit = o.limit;
	conv_decide(&in, &o);
	EXPECT_EQ(o.act, CONV_THROTTLE);
	EXPECT(o.limit < 800000000);
	/* A link that got faster must not lift a limit that did not help. */
	in.now.rate = 1e11;
	in.remaining = in.last_remaining = 100000000000;
	conv_decide(&in, &o);
	EXPECT_EQ(o.act, CONV_THROTTLE);
	EXPECT(o.limit <= in.limit);
}

TEST(never_below_the_floor)
{
	EXPECT_EQ(conv_limit(1, CONV_STEPS), MIB);
	EXPECT_EQ(conv_limit(1e9, 1), 800000000);
}

TEST(not_throttled_when_forbidden_and_said)
{
	struct conv_in in = base();
	struct conv_out o;

	in.may_throttle = false;
	in.remaining = in.last_remaining = 1000000000;
	conv_decide(&in, &o);
	EXPECT_EQ(o.act, CONV_GO_ON);
	EXPECT(strstr(o.why, "throttling is not allowed"));
	in.stuck = 20;
	conv_decide(&in, &o);
	EXPECT_EQ(o.act, CONV_GIVE_UP);	/* never an endless loop */
	in.force = true;
	conv_decide(&in, &o);
	EXPECT_EQ(o.act, CONV_STOP);
	EXPECT(strstr(o.why, "force"));
}

TEST(gives_up_in_time)
{
	struct conv_in in = base();
	struct conv_out o;

	in.remaining = 100000000;
	in.last_remaining = 1000000000;	/* even if it shrinks */
	in.give_up_ns = 5;
	in.elapsed_ns = 6;
	conv_decide(&in, &o);
	EXPECT_EQ(o.act, CONV_GIVE_UP);
	in.force = true;
	conv_decide(&in, &o);
	EXPECT_EQ(o.act, CONV_STOP);
}

/* One slow moment must not halve the rate that a stop is planned with; a lasting change must get through. */
TEST(rates_are_smooth)
{
	struct conv_rates r = { 0 };

	conv_sample_rate(&r, 1000000000, 1000);
	EXPECT_EQ(r.rate, 1000);
	conv_sample_rate(&r, 10000000, 1);	/* 100 B/s for 10 ms */
	EXPECT(r.rate > 950);
	for (int i = 0; i < 500; i++)
		conv_sample_rate(&r, 10000000, 1);
	EXPECT(r.rate < 110);
	conv_sample_dirty(&r, 1000000000, 0);
	EXPECT_EQ(r.dirty_rate, 0);
}

/* design.md 8: with throttling allowed any guest ends in bounded time, and the bound is known beforehand. A guest that always dirties
 * as fast as it may, and one that does so only every other round, against the link's arithmetic. */
TEST(bound_holds_for_a_guest_that_writes_as_it_may)
{
	static const double wants[] = { 0.1, 0.5, 0.79, 0.81, 1, 3, 100 };
	const double all = 10e9, rate = 500e6;

	for (size_t i = 0; i < 2 * ARRAY_LEN(wants); i++) {
		struct conv_in in = base();
		struct conv_out o;
		double left = all, spent = 0, bound;
		unsigned round = 0;

		in.now.rate = rate;
		in.may_throttle = true;
		in.fixed_ns = 1000000;
		bound = (double)conv_bound_ns(&in, (uint64_t)all);
		EXPECT(bound < 1e12);
		do {
			double t = left / rate, may = in.limit ? (double)in.limit : INFINITY;
			double want = i % 2 && round % 2 ? 0.1 : wants[i / 2];

			spent += round ? t * 1e9 + (double)in.fixed_ns : 0;
			left = MIN(MIN(want * rate, may) * t, all);
			in.now.dirty_rate = t > 0 ? left / t : 0;
			in.last_remaining = round ? in.remaining : 0;
			in.remaining = (uint64_t)left;
			in.round = ++round;
			conv_decide(&in, &o);
			if (o.act == CONV_THROTTLE) {
				in.limit = o.limit;
				in.step++;
			}
			EXPECT(spent <= bound);
		} while (o.act != CONV_STOP && round < 1000);
		EXPECT_EQ(o.act, CONV_STOP);
	}
}

/* A link slower than the lowest limit can lose against the guest for ever; nothing is promised then. */
TEST(no_bound_on_a_link_slower_than_the_lowest_limit)
{
	struct conv_in in = base();

	in.may_throttle = true;
	in.now.rate = 500e3;
	EXPECT_EQ(conv_bound_ns(&in, 1 << 30), UINT64_MAX);
	in.now.rate = 500e6;
	EXPECT(conv_bound_ns(&in, 1 << 30) != UINT64_MAX);
	in.may_throttle = false;
	EXPECT_EQ(conv_bound_ns(&in, 1 << 30), UINT64_MAX);
}
