/* Phases commit and clean-up: the point of no return (design rule 1; docs/ownership.md).
 *
 * Once HANDED is durable nothing here brings the guest back except the target's `not started`, which it gives only after it has
 * durably refused this move. Until one of the two answers comes we ask, for ever, and nobody runs the guest from here.
 */
#include <errno.h>
#include <stdio.h>

#include "migrate/out.h"

static uint64_t ask_every_ns(const struct move_out *o) { return MIN(out_silence_ns(o) / 4, NS_PER_S); }

static void hold(struct move_out *o, bool on)
{
	if (o->site.hold)
		o->site.hold(o->site.ctx, o->plan.guest, on);
}

static int hand_over(struct move_out *o)
{
	char why[128];
	int rc;

	hold(o, true);

	snprintf(why, sizeof(why), "handed over to %.100s", o->plan.to);
	rc = journal_set(o->journal, OWN_HANDED, o->epoch, o->id, o->plan.to, why);
	if (rc) {
		/* The record on disk may be the old or the new one; nothing was said to the target, so the old one is right. */
		journal_set(o->journal, OWN_OWNER, o->journal->epoch, o->journal->move, "", "a move ended before it was committed");
		hold(o, false);
		return out_fail(o, rc, "the ownership record could not be written: %s", strerror(-rc));
	}
	o->handed = true;
	o->handed_ns = out_now(o);
	return 0;
}

/* Where the time of the pause went; the target's own account of its last part is an event there. */
static void account_for(struct move_out *o, uint64_t now)
{
	o->p.gap_ns = o->pause_ns ? now - o->pause_ns : 0;
	o->p.device_gap_ns = o->suspend_ns ? now - o->suspend_ns : 0;
	out_event(o, "decision", "%s runs on %s; the guest stood still for about %.2f ms", o->plan.guest, o->plan.to,
		  (double)o->p.gap_ns / 1e6);
	if (o->recovering)
		return;
	out_event(o, "decision", "of it, in ms: %.2f until the processors stood, %.2f controller suspended and last data, %.2f state set at "
		  "the target and compared, %.2f our record, %.2f its record and start", (double)(o->suspend_ns - o->pause_ns) / 1e6,
		  (double)(o->gathered_ns - o->suspend_ns) / 1e6, (double)(o->prepared_ns - o->gathered_ns) / 1e6,
		  (double)(o->handed_ns - o->prepared_ns) / 1e6, (double)(now - o->handed_ns) / 1e6);
}

static int send_commit(struct move_out *o)
{
	struct frame_commit c;

	out_commit_frame(o, &c);
	o->ask_ns = out_now(o);
	return o->link ? out_send(o, FRAME_COMMIT, &c, sizeof(c), NULL, 0) : 0;
}

static void ask(struct move_out *o)
{
	struct frame_commit c;

	if (!o->link) {
		if (out_now(o) >= o->relink_ns) {
			out_link_open(o);	/* asks at once */
			o->ask_ns = out_now(o);
		}
		return;
	}
	if (out_now(o) - link_heard_ns(o->link) > out_silence_ns(o)) {
		out_link_close(o);
		return;
	}
	if (out_now(o) - o->ask_ns < ask_every_ns(o))
		return;
	out_commit_frame(o, &c);
	out_send(o, FRAME_ASK, &c, sizeof(c), NULL, 0);
	o->ask_ns = out_now(o);
}

/* The target can never start it any more: it is ours again, under a higher epoch than the one that was offered. */
static int take_back(struct move_out *o)
{
	int rc;

	if (out_now(o) < o->relink_ns || out_lock_take(o))
		return -EAGAIN;
	rc = journal_set(o->journal, OWN_OWNER, o->epoch + 1, NULL, "",
			 o->by_hand ? "resolved by hand: never started at the target" : "the target did not start it");
	if (rc) {
		o->relink_ns = out_now(o) + NS_PER_S;
		out_event(o, "error", "the target did not start it, but the ownership record cannot be written (%s): nobody runs it; "
			  "trying again", strerror(-rc));
		return -EAGAIN;
	}
	o->handed = false;
	hold(o, false);
	return out_fail(o, -ECONNABORTED, "%s did not start it: %s", o->plan.to, o->say);
}

static int answer(struct move_out *o)
{
	if (o->started)
		return 0;
	if (o->not_started)
		return take_back(o);
#ifdef FERRY_BREAK_UNDO_AFTER_COMMIT
	if (!o->link) {
		o->handed = false;
		return out_fail(o, -ECONNRESET, "broken on purpose: undone after commit");
	}
#endif
	ask(o);
	if (o->p.phase == MOVE_COMMIT && out_now(o) - o->phase_ns > out_silence_ns(o)) {
		out_phase(o, MOVE_DOUBT);
		out_event(o, "error", "handed over to %s, but it does not say whether it runs%s%s. The guest stays stopped here; asking on. "
			  "Look there with 'ferry status'", o->plan.to, *o->say ? "; it said: " : "", o->say);
	}
	return -EAGAIN;
}

int out_commit_run(struct move_out *o)
{
	int rc = 0;

	STEP_BEGIN(o->at);
	*o->say = 0;
	if (!o->recovering) {
		rc = hand_over(o);
		if (rc)
			return rc;
		STEP_WAIT(o->at, send_commit(o) != -EAGAIN);
	}
	o->relink_ns = 0;
	STEP_WAIT(o->at, (rc = answer(o)) != -EAGAIN);
	if (rc)
		return rc;
	account_for(o, out_now(o));
	STEP_END(o->at);
}

/* True when the record says RELEASED, or has refused to for too long: then the target is asked again after a restart. */
static bool released(struct move_out *o)
{
	int rc;

	if (o->rec_tries && out_now(o) < o->rec_ns)
		return false;
	rc = journal_set(o->journal, OWN_RELEASED, o->epoch, o->id, o->plan.to,
			 o->by_hand ? "resolved by hand: runs at the target" : "moved away");
	if (!rc)
		return true;
	o->rec_ns = out_now(o) + 100 * NS_PER_MS;
	if (o->rec_tries++ == 0)
		out_event(o, "retry", "the ownership record could not be written (%s); trying again", strerror(-rc));
	if (o->rec_tries < OUT_REC_TRIES_MAX)
		return false;
	out_event(o, "error", "the ownership record could not be written (%s): after a restart the target is asked again", strerror(-rc));
	return true;
}

/* Ending a VMM with gigabytes of memory takes a processor for as long as the pause itself took. On one machine (a VMM's upgrade) that is
 * the processor on which the guest begins with cold caches: measured, it doubled what the guest sees. */
#define OUT_LEAVE_IN_PEACE_NS (300 * NS_PER_MS)

/* What fails here harms nobody: the guest runs elsewhere. It is told and the rest is done. */
int out_cleanup_run(struct move_out *o)
{
	struct err err;
	int rc;

	STEP_BEGIN(o->at);
	STEP_WAIT(o->at, released(o));
	STEP_WAIT(o->at, !o->vm_open || !o->vmi.streams || out_now(o) - o->phase_ns >= OUT_LEAVE_IN_PEACE_NS);
	if (o->cdq_live) {
		o->cdq_live = o->logging = false;
		hmlm_cdq_delete(mcmd_prep(&o->cmd, "Delete Controller Data Queue", NULL, 0), o->cdqid);
		STEP_WAIT(o->at, mcmd_run(&o->cmd, o->mmc, 0));
		if (mcmd_result(&o->cmd, &err))
			out_event(o, "error", "while cleaning up: %s", err.text);
	}
	/* After a restart it is connected only now; its process may have ended long ago, and that is as well. */
	if (o->vm && !o->vm_open)
		STEP_WAIT(o->at, (o->vm_open = !(rc = o->vm->ops->open(o->vm, &o->vmi, &err))) || rc != -EAGAIN);
	if (o->vm && o->vm_open) {
		STEP_WAIT(o->at, (rc = o->vm->ops->discard(o->vm)) != -EAGAIN);
		if (rc)
			out_event(o, "error", "while cleaning up: the old VM could not be ended: %s", strerror(-rc));
	}
	if (o->stream_live && o->site.touch)
		o->site.touch(o->site.ctx, o->plan.guest, MOVE_TOUCH_OFF, &err);
	o->site.gone(o->site.ctx, o->plan.guest);
	if (o->mem_tracked) {
		/* Not possible while it was suspended (Base 5.1.27). gone() has reset it; if it does not exist any more, so much the better. */
		o->mem_tracked = false;
		hmlm_track_mem(mcmd_prep(&o->cmd, "Track Send, stop memory", NULL, 0), o->guest.cntlid, false);
		STEP_WAIT(o->at, mcmd_run(&o->cmd, o->mmc, 0));
	}
	STEP_WAIT(o->at, !out_busy(o));
	STEP_END(o->at);
}
