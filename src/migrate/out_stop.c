/* Phases stop and transfer: from the pause of the guest until the target holds everything and says so.
 *
 * The pause runs from here, so nothing is connected, allocated or asked that could have been before; what does not depend on each
 * other is in flight together: the last blocks, the memory list, the state.
 */
#include <errno.h>

#include "migrate/out.h"

/* A stop that finds more than this many budgets left was predicted wrongly: the guest is let go on instead. */
enum { TOO_MUCH = 4 };

static int pause_vm(struct move_out *o)
{
	struct err err = { "" };
	int rc;

	o->vm_paused = true;	/* from the first call on: undo must resume it */
	rc = o->vm->ops->pause(o->vm, &err);
	return rc && rc != -EAGAIN ? out_fail(o, rc, "the guest could not be paused: %s", err.text) : rc;
}

static int suspend(struct move_out *o)
{
	struct err err;

	STEP_BEGIN(o->sub_at);
	o->suspend_sent = true;
	o->suspend_ns = out_now(o);
	o->marker_seen = false;
	hmlm_suspend(mcmd_prep(&o->cmd, "Suspend", NULL, 0), o->guest.cntlid, NVME_STYPE_SUSPEND, false);
	STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 0));
	if (mcmd_result(&o->cmd, &err))
		return out_fail(o, -EIO, "%s", err.text);
	o->suspended = true;
	STEP_END(o->sub_at);
}

static int take_state(struct move_out *o, uint32_t want)
{
	struct hmlm_state st;
	struct err err;
	int rc = mcmd_result(&o->state_cmd, &err);
	uint32_t n;

	if (!rc && !(o->state_cmd.dw0 & 1))	/* CSUP (Base 5.1.16): somebody reset or resumed it, the image is worth nothing */
		return out_fail(o, -ESTALE, "the controller did not stay suspended while its state was read");
	if (!rc && !o->image_got) {
		rc = hmlm_state_parse(o->state_buf, want, &st, &err);
		if (!rc && (!st.suspended || !st.nvme_bytes || st.total > FRAME_STATE_MAX))
			rc = err_set(&err, -EPROTO, "the state image has %llu bytes%s", (unsigned long long)st.total,
				     st.suspended ? "" : " and says that the controller was running");
		if (!rc)
			o->image_len = (uint32_t)st.total;
	}
	if (rc)
		return out_fail(o, rc, "%s", err.text);
	n = MIN(want, o->image_len - o->image_got);
	memcpy(o->image + o->image_got, o->state_buf, n);
	o->image_got += n;
	return 0;
}

/* One command if it fits one transfer: asking for more than there is costs nothing (Base 5.1.16). */
static int capture(struct move_out *o)
{
	uint32_t want;
	int rc;

	STEP_BEGIN(o->state_at);
	o->image_got = o->image_len = 0;
	do {
		want = o->image_len ? MIN(o->piece, (uint32_t)round_up(o->image_len - o->image_got, 4)) : o->piece;
		hmlm_get_state(mcmd_prep(&o->state_cmd, "Get Controller State", o->state_buf, want), o->guest.cntlid, o->csvi,
			       o->csuuidi, o->image_got, want);
		STEP_WAIT(o->state_at, mcmd_run(&o->state_cmd, o->mmc, 0));
		rc = take_state(o, o->state_cmd.c.len);
		if (rc)
			return rc;
	} while (o->image_got < o->image_len);
	STEP_END(o->state_at);
}

static bool too_much(struct move_out *o)
{
	struct conv_in in;

	out_conv_in(o, &in);
	in.budget_ns *= TOO_MUCH;
	return !o->plan.force && o->retreats < OUT_RETREATS_MAX && !conv_fits(&in);
}

static void want_retreat(struct move_out *o, const char *why)
{
	o->retreat_wanted = true;
	out_event(o, "decision", "the guest goes on here for now: %s", why);
}

/* A stop is taken back, and the copy goes on: not with a VMM that has stopped itself and cannot go back to sending. */
static int retreat(struct move_out *o, const char *why)
{
	if (o->vmi.streams)
		return out_fail(o, -EOVERFLOW, "%s while the guest stood, and its VMM cannot take a stop back: move it again", why);
	want_retreat(o, why);
	return 0;
}

static bool anything_dirty(const struct move_out *o)
{
	for (unsigned i = 0; i < o->ns_count; i++)
		if (dirty_any(&o->ns[i].dirty) || dirty_any(&o->ns[i].ask) || o->ns[i].stats)
			return true;
	return o->mem.pages;
}

/* Handover: the target can have the storage from here on, and so could anybody. Not before it is certain that this stop lasts. */
static int unlock(struct move_out *o)
{
	struct err err = { "" };
	int rc;

	if (o->plan.mode != MOVE_HANDOVER || !o->site.lock || o->unlocked)
		return 0;
	o->unlocking = true;	/* before the answer: whoever cancels meanwhile must take it back */
	rc = o->site.lock(o->site.ctx, o->plan.guest, false, &err);
	o->unlocked = !rc;
	return rc && rc != -EAGAIN ? out_fail(o, rc, "the storage could not be handed over: %s", err.text) : rc;
}

/* Everything that is left, in parallel. 0 also when the stop must be taken back (retreat_wanted). */
static int gather(struct move_out *o)
{
	bool listed = o->collected && (!o->logging || o->marker_seen);
	int rc;

	if (o->log_broken) {
		if (o->retreats >= OUT_RETREATS_MAX)
			return out_fail(o, -EOVERFLOW, "%s during the stop, for the %uth time", o->log_why, o->retreats + 1);
		return retreat(o, o->log_why);
	}
	if (!o->collected) {
		rc = out_collect(o);
		if (rc && rc != -EAGAIN)
			return rc;
		o->collected = !rc;
	}
	if (!o->state_done) {
		rc = capture(o);
		if (rc && rc != -EAGAIN)
			return rc;
		o->state_done = !rc;
	}
	if (o->stream_live && !o->stream_sent) {
		rc = out_stream_end(o);
		if (rc && rc != -EAGAIN)
			return rc;
	}
	if (listed && !o->judged && !o->vmi.streams) {
		o->judged = true;
		out_measure(o);
		if (too_much(o)) {
			want_retreat(o, "more was left than the last round let expect");
			return 0;
		}
	}
	if (listed) {
		rc = unlock(o);
		if (rc && rc != -EAGAIN)
			return rc;
		listed = !rc;
	}
	out_pump(o, true, &rc);
	if (rc)
		return rc;
	if (out_pass_over(o) && anything_dirty(o))
		out_pass_begin(o);	/* the log's last entries lay behind the cursor */
	return listed && o->state_done && o->stream_sent == o->stream_live && out_pump_idle(o) && !anything_dirty(o) ? 0 : -EAGAIN;
}

static int send_sums(struct move_out *o)
{
	int rc;

	if (!o->summing)
		out_sum_begin(o);
	out_pump(o, true, &rc);
	if (rc || !out_sum_over(o))
		return rc ? rc : -EAGAIN;
	o->summing = false;
	return 0;
}

int out_stop_run(struct move_out *o)
{
	int rc = 0;

	STEP_BEGIN(o->at);
	o->retreat_wanted = o->collected = o->state_done = o->judged = false;
	o->pause_ns = o->stands ? o->stands_ns : out_now(o);
	STEP_WAIT(o->at, (rc = pause_vm(o)) != -EAGAIN);
	if (rc)
		return rc;
	o->sub_at = 0;
	STEP_WAIT(o->at, (rc = suspend(o)) != -EAGAIN);
	if (rc)
		return rc;
	o->sub_at = 0;
	STEP_WAIT(o->at, (rc = out_throttle_lift(o)) != -EAGAIN);
	if (rc)
		return rc;
	o->track_at = o->state_at = o->stream_at = 0;
	out_pass_begin(o);
	STEP_WAIT(o->at, (rc = gather(o)) != -EAGAIN);
	if (rc)
		return rc;
	if (o->retreat_wanted) {
		o->undo_at = 0;
		STEP_WAIT(o->at, (rc = out_stop_undo(o)) != -EAGAIN);
		o->retreats++;
		return -ERESTART;
	}
	if (o->plan.verify && out_copying(o)) {
		STEP_WAIT(o->at, (rc = send_sums(o)) != -EAGAIN);
		if (rc)
			return rc;
	}
	STEP_END(o->at);
}

/* The target, or somebody else, has it: then the guest is not run here either, however long that lasts. */
#define LOCK_PATIENCE_NS (2 * NS_PER_S)

int out_lock_take(struct move_out *o)
{
	struct err err = { "" };
	uint64_t now = out_now(o);
	int rc;

	if (!o->site.lock)
		return 0;
	if (now < o->lock_ns)
		return -EAGAIN;
	o->lock_since_ns = o->lock_since_ns ? o->lock_since_ns : now;
	rc = o->site.lock(o->site.ctx, o->plan.guest, true, &err);
	if (!rc) {
		if (o->lock_said)
			out_event(o, "decision", "the storage of %s is ours again", o->plan.guest);
		o->unlocking = o->unlocked = o->lock_said = false;
		o->lock_ns = o->lock_since_ns = 0;
		return 0;
	}
	if (!o->lock_said && rc != -EAGAIN && now - o->lock_since_ns > LOCK_PATIENCE_NS) {
		o->lock_said = true;
		out_event(o, "error", "the guest stays stopped, because its storage is not ours any more: %s. Trying again each second", err.text);
	}
	o->lock_ns = now + (o->lock_said ? NS_PER_S : 5 * NS_PER_MS);
	return -EAGAIN;
}

/* First of all the storage: without it nobody may run here. A target that has taken it already must hear that it is not to keep it. */
static int take_back(struct move_out *o)
{
	if (!o->unlocking)
		return 0;
	if (o->undoing && o->link && !o->cancel_said && !o->target_failed) {
		o->cancel_said = true;
		out_say(o, FRAME_CANCEL, o->rc, o->why);
	}
	return out_lock_take(o);
}

/* A Suspend ends when the slowest disk says so, which may be never; until then the guest stands. It is taken back (Base 5.1.1). If that comes
 * too late, it has ended; where a controller does not know how, the driver's time limit ends it. */
void out_suspend_abort(struct move_out *o)
{
	if (!o->suspend_sent || o->suspended || !mcmd_busy(&o->cmd))
		return;
	if (o->abort_cmd.state == MCMD_IDLE)
		hmlm_abort(mcmd_prep(&o->abort_cmd, "Abort", NULL, 0), o->cmd.c.qid, o->cmd.c.cid);
	mcmd_run(&o->abort_cmd, o->mmc, 0);
}

/* The controller first, then the processors: a guest that runs against a suspended controller sees its commands hang. */
int out_stop_undo(struct move_out *o)
{
	struct err err = { "" };
	int rc;

	STEP_BEGIN(o->undo_at);
	STEP_WAIT(o->undo_at, !mcmd_busy(&o->cmd) && !mcmd_busy(&o->track_cmd) && !mcmd_busy(&o->state_cmd));
	STEP_WAIT(o->undo_at, take_back(o) != -EAGAIN);
	if (o->suspend_sent) {
		hmlm_resume(mcmd_prep(&o->cmd, "Resume", NULL, 0), o->guest.cntlid);
		o->first_due = true;	/* logging that lasted through the suspension begins again with a first entry */
		STEP_WAIT(o->undo_at, mcmd_run(&o->cmd, o->mmc, 0));
		if (mcmd_result(&o->cmd, &err) && o->cmd.status != NVME_CTRL_NOT_SUSPENDED)
			out_event(o, "error", "while undoing: %s: the guest's controller may hang; reset it", err.text);
		o->suspend_sent = o->suspended = o->marker_seen = false;
	}
	if (o->vm_paused) {
		STEP_WAIT(o->undo_at, (rc = o->vm->ops->resume(o->vm, &err)) != -EAGAIN);
		if (rc)
			out_event(o, "error", "while undoing: the guest could not be resumed: %s", err.text);
		o->vm_paused = false;
	}
	STEP_END(o->undo_at);
}

/* ---- phase transfer -------------------------------------------------------------------------------------------------- */

static int send_image(struct move_out *o)
{
	while (o->image_sent < o->image_len) {
		uint32_t n = MIN(o->image_len - o->image_sent, (uint32_t)FRAME_PIECE_MAX);
		struct frame_state h = { .total = le32_of(o->image_len), .off = le32_of(o->image_sent) };
		int rc = out_send(o, FRAME_STATE, &h, sizeof(h), o->image + o->image_sent, n);

		if (rc)
			return rc;
		o->image_sent += n;
	}
	return 0;
}

static int send_prepare(struct move_out *o)
{
	struct frame_prepare p = { .seq = le64_of(o->sync_sent + 1), .state_bytes = le32_of(o->image_len) };
	int rc = out_send(o, FRAME_PREPARE, &p, sizeof(p), NULL, 0);

	if (!rc)
		o->sync_sent++;
	return rc;
}

int out_transfer_run(struct move_out *o)
{
	int rc = 0;

	STEP_BEGIN(o->at);
	o->image_sent = 0;
	o->prepared = false;
	o->gathered_ns = out_now(o);
	STEP_WAIT(o->at, (rc = send_image(o)) != -EAGAIN);
	if (rc)
		return rc;
	STEP_WAIT(o->at, (rc = send_prepare(o)) != -EAGAIN);
	if (rc)
		return rc;
	STEP_WAIT(o->at, o->prepared);
	o->prepared_ns = out_now(o);
	STEP_END(o->at);
}
