/* Convergence arithmetic. out_rounds.c calls it at the end of each round. */
#include "migrate/converge.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "spec/nvme.h"

enum { STUCK_MAX = 20 };

static const double tau_s = 0.5;	/* smoothing: a sample of this length counts for 63 % */
static const double shrink_enough = 0.8; /* a round that leaves more than this share of the last one does not count as progress */

static double smooth(double old, double dt_s, double sample)
{
	return old > 0 ? old + (sample - old) * (1 - exp(-dt_s / tau_s)) : sample;
}

void conv_sample_rate(struct conv_rates *r, uint64_t dt_ns, uint64_t sent)
{
	double dt = (double)dt_ns / 1e9;

	if (dt_ns && sent)
		r->rate = smooth(r->rate, dt, (double)sent / dt);
}

void conv_sample_dirty(struct conv_rates *r, uint64_t dt_ns, uint64_t dirtied)
{
	double dt = (double)dt_ns / 1e9;

	if (dt_ns)
		r->dirty_rate = r->dirty_rate > 0 ? smooth(r->dirty_rate, dt, (double)dirtied / dt) : (double)dirtied / dt;
}

uint64_t conv_limit(double rate, unsigned step)
{
	double v = rate * 0.8 * pow(2.0 / 3.0, step ? step - 1 : 0);

	return v > (double)MIB ? (uint64_t)v : MIB;
}

static double data_ns(const struct conv_in *in)
{
	if (!in->remaining)
		return 0;
	return in->now.rate > 0 ? (double)in->remaining / in->now.rate * 1e9 : INFINITY;
}

static uint64_t to_ns(double ns) { return ns < 9e18 ? (uint64_t)ns : UINT64_MAX; }

bool conv_fits(const struct conv_in *in) { return data_ns(in) <= (double)in->budget_ns; }

/* Time until remaining has shrunk to what fits the budget, at the rates as they are. */
static double eta_ns(const struct conv_in *in)
{
	double goal = in->now.rate * (double)in->budget_ns / 1e9;
	double net = in->now.rate - in->now.dirty_rate;

	if (conv_fits(in))
		return 0;
	return net > 0 ? ((double)in->remaining - goal) / net * 1e9 : INFINITY;
}

/* No round is longer than `all` takes. Free, a round that leaves 80 % or more is the last free one: the shrinking ones before it sum up
 * to less than 5 times `all`, and then it. The same again at step 1, whose limit is 80 % of the link. From step 2 on (53 %) each round
 * leaves at most 53 %, so no further step is ever taken: less than 2.2 times `all`. A round also costs its fixed time. */
uint64_t conv_bound_ns(const struct conv_in *in, uint64_t all)
{
	double whole, goal = in->now.rate * (double)in->budget_ns / 1e9, rounds;

	if (!in->may_throttle || in->now.rate <= 0 || (double)conv_limit(in->now.rate, 2) > 0.6 * in->now.rate)
		return UINT64_MAX;
	whole = (double)all / in->now.rate * 1e9;
	rounds = 3 * (2 + log(MAX((double)all / MAX(goal, 1.0), 1.0)) / log(1 / shrink_enough));
	return to_ns(15 * whole + rounds * (double)in->fixed_ns);
}

uint64_t conv_waiting_max(const struct conv_in *in) { return conv_limit(in->now.rate, 2) * NVME_RATE_PATIENCE_S; }

static void say(struct conv_out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct conv_out *o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(o->why, sizeof(o->why), fmt, ap);
	va_end(ap);
}

static double mib(double bytes) { return bytes / (double)MIB; }

static void decide_slow(const struct conv_in *in, struct conv_out *o)
{
	double share = in->now.rate > 0 ? in->now.dirty_rate / in->now.rate : 0;

	if (in->may_throttle && in->step < CONV_STEPS && (!in->limit || in->limit > MIB) && in->now.rate > 0) {
		o->act = CONV_THROTTLE;
		o->limit = conv_limit(in->now.rate, in->step + 1);
		if (in->limit)
			o->limit = MIN(o->limit, in->limit);
		say(o, "the guest dirties %.1f MiB/s and the link carries %.1f (%.0f %%): writes limited to %.1f MiB/s, step %u of %d",
		    mib(in->now.dirty_rate), mib(in->now.rate), share * 100, mib((double)o->limit), in->step + 1, CONV_STEPS);
		return;
	}
	if (in->force) {
		o->act = CONV_STOP;
		say(o, "%.1f MiB remain and do not shrink; stopping as asked (force): about %.0f ms instead of %.0f",
		    mib((double)in->remaining), (double)o->stop_ns / 1e6, (double)in->budget_ns / 1e6);
		return;
	}
	if (in->stuck >= STUCK_MAX) {
		o->act = CONV_GIVE_UP;
		say(o, "%d rounds brought no progress: %.1f MiB remain, the guest dirties %.1f MiB/s, the link carries %.1f%s",
		    STUCK_MAX, mib((double)in->remaining), mib(in->now.dirty_rate), mib(in->now.rate),
		    in->may_throttle ? " with writes at the lowest limit" : " and throttling is not allowed");
		return;
	}
	say(o, "round %u left %.1f MiB of %.1f: does not shrink%s", in->round, mib((double)in->remaining),
	    mib((double)in->last_remaining), in->may_throttle ? "" : " and throttling is not allowed");
}

void conv_decide(const struct conv_in *in, struct conv_out *o)
{
	*o = (struct conv_out){ .act = CONV_GO_ON };
	o->stop_ns = to_ns(data_ns(in) + (double)in->fixed_ns);
	o->eta_ns = to_ns(eta_ns(in));
	o->converges = o->eta_ns != UINT64_MAX;
	o->shrank = !in->last_remaining || (double)in->remaining < shrink_enough * (double)in->last_remaining;
	if (conv_fits(in)) {
		o->act = CONV_STOP;
		say(o, "%.2f MiB remain: %.2f ms at %.1f MiB/s, the budget is %.2f ms", mib((double)in->remaining),
		    data_ns(in) / 1e6, mib(in->now.rate), (double)in->budget_ns / 1e6);
		return;
	}
	if (in->give_up_ns && in->elapsed_ns > in->give_up_ns) {
		o->act = in->force ? CONV_STOP : CONV_GIVE_UP;
		say(o, "after %.1f s %.1f MiB remain (%.0f ms at %.1f MiB/s, the budget is %.0f ms)%s", (double)in->elapsed_ns / 1e9,
		    mib((double)in->remaining), data_ns(in) / 1e6, mib(in->now.rate), (double)in->budget_ns / 1e6,
		    in->force ? ": stopping as asked (force)" : ": given up as asked");
		return;
	}
	if (o->shrank)
		say(o, "round %u left %.1f MiB: %.0f ms at %.1f MiB/s; next round", in->round, mib((double)in->remaining),
		    data_ns(in) / 1e6, mib(in->now.rate));
	else
		decide_slow(in, o);
}
