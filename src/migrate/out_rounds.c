/* Phase pre-copy: rounds, and between them the decision to go on, slow the guest down, stop it, or give up.
 *
 * A round sends what was dirty when its cursor came by, asks the controller and the processors what was written meanwhile, and waits
 * until the target has applied it: only so is the measured rate the rate of the whole way, and `remaining` the truth.
 */
#include <errno.h>

#include "migrate/out.h"

enum { RATE_SAMPLE_BYTES = 64 * 1024 };
#define STREAM_ROUND_NS (5 * NS_PER_MS)	/* while the VMM sends its memory, rounds that have nothing to send are not begun more often */

static uint64_t link_bytes(const struct move_out *o) { return o->link_base + (o->link ? link_sent(o->link) : 0); }

void out_conv_in(struct move_out *o, struct conv_in *in)
{
	*in = (struct conv_in){
		.now = o->rates, .budget_ns = o->plan.downtime_ns, .fixed_ns = NS_PER_MS + 3 * o->rtt_ns,
		.remaining = out_remaining(o), .last_remaining = o->last_remaining, .round = o->p.round,
		.elapsed_ns = out_now(o) - o->phase_ns, .give_up_ns = o->plan.give_up_ns,
		.may_throttle = !o->plan.no_throttle && o->rate_known, .force = o->plan.force,
		.step = o->step, .limit = o->limit, .stuck = o->stuck,
	};
}

static void round_begin(struct move_out *o)
{
	o->p.round++;
	o->round_ns = out_now(o);
	o->round_link = link_bytes(o);
	out_pass_begin(o);
}

/* Until the pass is over, or the log broke and the pass means nothing any more. */
static int copy(struct move_out *o)
{
	int rc;

	if (o->log_broken || o->stands)
		return 0;
	if (o->plan.give_up_ns && !o->plan.force && out_now(o) - o->phase_ns > o->plan.give_up_ns)
		return out_fail(o, -ETIME, "given up as asked: the copy is not finished after %.1f s", (double)o->plan.give_up_ns / 1e9);
	out_pump(o, true, &rc);
	if (rc)
		return rc;
	return out_pass_over(o) ? 0 : -EAGAIN;
}

static int send_sync(struct move_out *o)
{
	if (o->sync_acked != o->sync_sent || o->link_state != OUT_LINK_UP)
		return -EAGAIN;
	return out_sync(o);
}

static void measure_round(struct move_out *o)
{
	uint64_t dt = out_now(o) - o->round_ns, sent = link_bytes(o) - MIN(link_bytes(o), o->round_link);

	if (sent >= RATE_SAMPLE_BYTES || o->rates.rate <= 0)
		conv_sample_rate(&o->rates, dt, sent);
	out_measure(o);
	conv_sample_dirty(&o->rates, dt, out_remaining(o));
	o->p.rate = (uint64_t)o->rates.rate;
	o->p.dirty_rate = (uint64_t)o->rates.dirty_rate;
}

static bool unknown_blocks(const struct move_out *o)
{
	for (unsigned i = 0; i < o->ns_count; i++)
		if (dirty_any(&o->ns[i].ask) || o->ns[i].stats)
			return true;
	return false;
}

/* Said once, after the first round has shown what the link carries. */
static void promise(struct move_out *o, const struct conv_in *in)
{
	uint64_t all = o->p.mem_total, bound;

	for (unsigned i = 0; i < o->ns_count; i++)
		all += o->ns[i].id.blocks * o->ns[i].id.block_bytes;
	bound = conv_bound_ns(in, all);
	if (o->promised || !in->may_throttle)
		return;
	o->promised = true;
	if (bound == UINT64_MAX)
		out_event(o, "decision", "no time can be promised: the link carries %.1f MiB/s, too little for the lowest limit of writes",
			  in->now.rate / (double)MIB);
	else
		out_event(o, "decision", "whatever the guest writes to its disks, the stop comes within %.1f s at %.1f MiB/s, because its writes "
			  "may be slowed down (unless more than %.0f MiB of them wait at a time: none waits longer than %d s)", (double)bound / 1e9,
			  in->now.rate / (double)MIB, (double)conv_waiting_max(in) / (double)MIB, NVME_RATE_PATIENCE_S);
}

static void decide(struct move_out *o, struct conv_out *out)
{
	struct conv_in in;

	measure_round(o);
	if (o->log_broken || unknown_blocks(o)) {	/* after a cut: there is no number to decide with */
		*out = (struct conv_out){ .act = CONV_GO_ON };
		o->last_remaining = 0;
		return;
	}
	out_conv_in(o, &in);
	conv_decide(&in, out);
	o->p.predicted_stop_ns = out->stop_ns;
	o->p.eta_ns = out->eta_ns;
	o->p.converges = out->converges;
	o->stuck = out->shrank || out->act != CONV_GO_ON ? 0 : o->stuck + 1;
	o->last_remaining = in.remaining;
	if (out->act != CONV_STOP)
		promise(o, &in);
	if (o->stream_open && out->act == CONV_STOP)
		return;		/* said before; now it is the VMM's memory that is waited for, round after round */
	out_event(o, out->act == CONV_GO_ON ? "round" : out->act == CONV_THROTTLE ? "throttle" : "decision", "%s", out->why);
}

static int act(struct move_out *o, const struct conv_out *out)
{
	switch (out->act) {
	case CONV_GIVE_UP: return out_fail(o, -ETIME, "%s", out->why);
	case CONV_THROTTLE:
		out_phase(o, MOVE_CONVERGE);
		o->limit = out->limit;
		break;
	case CONV_GO_ON: case CONV_STOP: break;
	}
	return 0;
}

/* Handover: what is in caches is written out while the guest still runs, so that little is left for the pause. */
static int flush(struct move_out *o)
{
	struct err err;

	STEP_BEGIN(o->sub_at);
	for (o->flush_ns = 0; o->plan.mode == MOVE_HANDOVER && o->flush_ns < o->guest.ns_count; o->flush_ns++) {
		hmlm_flush(mcmd_prep(&o->cmd, "Flush", NULL, 0), o->guest.ns[o->flush_ns].nsid);
		STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 1));
		if (mcmd_result(&o->cmd, &err))
			return out_fail(o, -EIO, "%s", err.text);
	}
	STEP_END(o->sub_at);
}

/* Notice is given one round before the stop, so that the controller can get ready while that round runs. */
static int notify(struct move_out *o)
{
	struct err err;

	STEP_BEGIN(o->sub_at);
	hmlm_suspend(mcmd_prep(&o->cmd, "Suspend Notification", NULL, 0), o->guest.cntlid, NVME_STYPE_NOTIFY, false);
	STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 0));
	if (mcmd_result(&o->cmd, &err))
		return out_fail(o, -EIO, "%s", err.text);
	o->notified = true;
	STEP_END(o->sub_at);
}

/* Blocks fit the budget: the guest may stop, now or when its VMM has come as far. 1 now, 0 another round, -errno, -EAGAIN. */
static int may_stop(struct move_out *o)
{
	int rc;

	STEP_BEGIN(o->stop_at);
	if (!o->notified) {
		o->sub_at = 0;
		STEP_WAIT(o->stop_at, (rc = flush(o)) != -EAGAIN);
		if (rc)
			return rc;
		o->sub_at = 0;
		STEP_WAIT(o->stop_at, (rc = notify(o)) != -EAGAIN);
		if (rc)
			return rc;
		if (o->vmi.streams) {
			o->stream_at = 0;
			STEP_WAIT(o->stop_at, (rc = out_stream_begin(o)) != -EAGAIN);
			if (rc)
				return rc;
		}
	} else if (!o->vmi.streams) {
		o->stop_at = 0;
		return 1;
	}
	STEP_END(o->stop_at);
}

/* The log overflows faster than a round gets through: as it is, the copy would begin anew for ever. Slower, then; or the end. */
static int overflow_policy(struct move_out *o)
{
	uint64_t limit;

	if (++o->broken_rounds < OUT_BROKEN_ROUNDS)
		return 0;
	if (o->broken_rounds >= 4 * OUT_BROKEN_ROUNDS)
		return out_fail(o, -EOVERFLOW, "%s %u times without a whole round between%s", o->log_why, o->broken_rounds,
				o->plan.no_throttle ? ": the guest changes blocks faster than the log of its changes can be read; allow throttling" :
				" although the guest was slowed down");
	if (o->plan.no_throttle || !o->rate_known || o->broken_rounds % OUT_BROKEN_ROUNDS)
		return 0;
	limit = o->limit ? MAX(o->limit / 4, MIB) : MAX((uint64_t)(o->rates.rate / 4), MIB);
	out_event(o, "throttle", "%s %u times in a row: writes limited to %.1f MiB/s", o->log_why, o->broken_rounds, (double)limit / MIB);
	out_phase(o, MOVE_CONVERGE);
	o->limit = limit;
	return 1;
}

int out_precopy_run(struct move_out *o)
{
	struct conv_out out;
	int rc = 0;

	STEP_BEGIN(o->at);
	for (;;) {
		if (o->log_broken) {
			out_stream_allow(o, false);	/* everything is unknown again: not now */
			rc = overflow_policy(o);
			if (rc < 0)
				return rc;
			o->sub_at = 0;
			if (rc)
				STEP_WAIT(o->at, (rc = out_throttle(o, o->limit)) != -EAGAIN);
			o->sub_at = 0;
			STEP_WAIT(o->at, (rc = out_log_restart(o)) != -EAGAIN);
			if (rc)
				return rc;
			o->last_remaining = 0;	/* the next round starts from everything: no measure of progress */
		}
		round_begin(o);
		STEP_WAIT(o->at, (rc = copy(o)) != -EAGAIN);
		if (rc)
			return rc;
		if (o->stands)
			break;
		if (o->log_broken)
			continue;
		o->track_at = 0;
		STEP_WAIT(o->at, (rc = out_collect(o)) != -EAGAIN);
		if (rc)
			return rc;
		STEP_WAIT(o->at, (rc = send_sync(o)) != -EAGAIN);
		if (rc)
			return rc;
		STEP_WAIT(o->at, o->sync_acked == o->sync_sent || o->stands);
		if (o->stands)
			break;
		if (!o->log_broken)
			o->broken_rounds = 0;
		decide(o, &out);
		rc = act(o, &out);
		if (rc)
			return rc;
		if (out.act == CONV_THROTTLE) {
			o->sub_at = 0;
			STEP_WAIT(o->at, (rc = out_throttle(o, o->limit)) != -EAGAIN);
			if (rc)
				return rc;
		} else if (out.act == CONV_STOP) {
			o->stop_at = 0;
			STEP_WAIT(o->at, (rc = may_stop(o)) != -EAGAIN);
			if (rc < 0)
				return rc;
			if (rc)
				break;
		}
		/* Asked to stop whatever it takes, a VMM that was let stop once is not called back because a round was a bad one. */
		out_stream_allow(o, out.act == CONV_STOP || (o->may_stop && o->plan.force));
		if (o->stream_open)
			STEP_WAIT(o->at, o->stands || out_now(o) - o->round_ns >= STREAM_ROUND_NS);
	}
	STEP_END(o->at);
}

int out_precopy_undo(struct move_out *o)
{
	int rc;

	STEP_BEGIN(o->undo_at);
	o->sub_at = 0;
	STEP_WAIT(o->undo_at, (rc = out_stream_undo(o)) != -EAGAIN);
	o->sub_at = 0;
	STEP_WAIT(o->undo_at, (rc = out_throttle_lift(o)) != -EAGAIN);
	if (rc)
		return rc;
	STEP_END(o->undo_at);
}
