/* A VMM that moves its guest's memory itself (vm.h, streams): its bytes onto the link, leave to stop the guest, and the end.
 *
 * It begins when the namespaces are nearly equal, so that the controller's writes need not be told to it for longer than its own copy
 * takes; rounds go on meanwhile. It decides itself when to stop the processors, within what it is allowed: nothing while blocks are
 * behind, the budget otherwise, and more the longer it does not get there. What was put on the link cannot be asked for again, so a
 * connection lost from here on ends the move.
 */
#include <errno.h>

#include "migrate/out.h"

enum { PER_POLL = 2 << 20, GROW_EVERY_S = 3, GIVE_UP_AFTER = 10 /* times that, at the most that is allowed */ };
#define ALLOWED_MAX_NS (2 * NS_PER_S)	/* unless the user said to stop whatever it takes */

static int touch(struct move_out *o, enum move_touch what)
{
	struct err err = { "" };
	int rc = o->site.touch ? o->site.touch(o->site.ctx, o->plan.guest, what, &err) : 0;

	return rc && rc != -EAGAIN ? out_fail(o, rc, "the VM cannot be told what the controller writes: %s", err.text) : rc;
}

int out_stream_begin(struct move_out *o)
{
	struct err err = { "" };
	int rc;

	STEP_BEGIN(o->stream_at);
	o->stream_live = true;	/* from here on undo has something to do */
	o->stream_over = o->stream_sent = o->stands = o->may_stop = false;
	o->stream_grown = 0;
	rc = touch(o, MOVE_TOUCH_ON);
	if (rc)
		return rc;
	STEP_WAIT(o->stream_at, (rc = o->vm->ops->stream_begin(o->vm, false, &err)) != -EAGAIN);
	if (rc)
		return out_fail(o, rc, "the VM does not begin to move its memory: %s", err.text);
	o->stream_open = true;
	out_event(o, "decision", "the namespaces are nearly equal: the VM begins to send its memory");
	STEP_END(o->stream_at);
}

void out_stream_allow(struct move_out *o, bool may_stop)
{
	if (may_stop && !o->may_stop)
		o->stream_grow_ns = out_now(o) + GROW_EVERY_S * NS_PER_S;
	o->may_stop = may_stop;
}

static uint64_t allowed(struct move_out *o, const struct vm_stream *s)
{
	uint64_t now = out_now(o), ns = o->plan.downtime_ns << MIN(o->stream_grown, 16u);

	if (!o->plan.force)
		ns = MIN(ns, MAX(ALLOWED_MAX_NS, o->plan.downtime_ns));
	if (!o->may_stop || o->log_broken) /* lost this very moment: any block may be behind, and a stop cannot be taken back */
		return 0;
	if (now < o->stream_grow_ns)
		return ns;
	o->stream_grow_ns = now + GROW_EVERY_S * NS_PER_S;
	o->stream_grown++;
	if (ns >= ALLOWED_MAX_NS && !o->plan.force)
		return ns;
	out_event(o, "decision", "the VM's memory does not settle: %.1f MiB left, sent at %.1f MiB/s, it would stand still for %.0f ms; it may now "
		  "for %.0f ms", (double)s->left / MIB, (double)s->rate / MIB, (double)s->stop_ns / 1e6, (double)ns * 2 / 1e6);
	return ns * 2;
}

/* It was allowed the most for long, and did not get there. */
static bool hopeless(const struct move_out *o)
{
	return !o->plan.force && o->stream_grown > GIVE_UP_AFTER &&
	       o->plan.downtime_ns << (o->stream_grown - GIVE_UP_AFTER) >= ALLOWED_MAX_NS;
}

static int settle(struct move_out *o)
{
	struct err err = { "" };
	struct vm_stream s = { .total = o->p.mem_total, .sent = o->p.mem_sent, .left = o->p.mem_dirty, .rate = o->stream_rate,
			       .stop_ns = o->stream_stop_ns };
	int rc = o->vm->ops->stream_settle(o->vm, allowed(o, &s), &s, &err);

	o->p.mem_total = s.total;
	o->p.mem_sent = s.sent;
	o->p.mem_dirty = s.left;
	o->stream_rate = s.rate;
	o->stream_stop_ns = s.stop_ns;
	if (rc == -EAGAIN && hopeless(o))
		return out_fail(o, -ETIME, "the VM's memory does not settle: %.1f MiB are left, and it did not stop though it might have stood still for "
				"%.1f s; make the guest write less, or allow more with --downtime or --force", (double)s.left / MIB,
				(double)MAX(ALLOWED_MAX_NS, o->plan.downtime_ns) / 1e9);
	if (rc == -EAGAIN)
		return 0;
	if (rc)
		return out_fail(o, rc, "the VM gave up sending its memory: %s", err.text);
	o->stands = true;
	o->stands_ns = out_now(o);
	return 0;
}

/* Bytes that are read are gone from the VMM: only when the link can take them. It always has some, and blocks go out only onto an
 * empty link (out_pump.c): so they take turns. */
static bool my_turn(const struct move_out *o)
{
	return o->link_state == OUT_LINK_UP && !link_backlog(o->link) && !(o->stream_last && out_pump_waits(o));
}

static int carry(struct move_out *o)
{
	struct err err = { "" };
	size_t moved = 0;

	while (!o->stream_over && moved < PER_POLL && my_turn(o)) {
		int64_t n = o->vm->ops->stream_read(o->vm, o->stream_buf, FRAME_PIECE_MAX, &err);

		if (n == -EAGAIN)
			break;
		if (n < 0)
			return out_fail(o, (int)n, "the VM's memory stream broke: %s", err.text);
		o->stream_over = n == 0;
		if (n && out_send_still(o, FRAME_VM, NULL, 0, o->stream_buf, (size_t)n))
			return out_fail(o, -ECONNRESET, "the connection to %s was lost while the VM's memory was sent", o->plan.to);
		moved += (size_t)n;
		o->stream_last = true;
		link_poll(o->link);
	}
	return moved ? 1 : 0;
}

int out_stream_poll(struct move_out *o)
{
	int rc = 0;

	if (!o->stream_open || o->undoing || !o->link)
		return 0;
	rc = carry(o);
	if (rc >= 0 && !o->stands)
		rc = settle(o);
	return MIN(rc, 0);
}

static int image(struct move_out *o)
{
	struct err err = { "" };
	int64_t n = o->vm->ops->image(o->vm, o->vm_image, VM_IMAGE_MAX, &err);

	if (n < 0)
		return out_fail(o, (int)n, "what the VM does not carry could not be read from it: %s", err.text);
	o->vm_image_len = (uint32_t)n;
	return 0;
}

/* The processors stand and the controller is suspended: nothing is written any more. */
int out_stream_end(struct move_out *o)
{
	struct err err = { "" };
	int rc;

	STEP_BEGIN(o->stream_at);
	STEP_WAIT(o->stream_at, (rc = touch(o, MOVE_TOUCH_FLUSH)) != -EAGAIN);
	if (rc)
		return rc;
	STEP_WAIT(o->stream_at, (rc = o->vm->ops->stream_finish(o->vm, &err)) != -EAGAIN);
	if (rc)
		return out_fail(o, rc, "the VM could not send the rest of itself: %s", err.text);
	rc = image(o);
	if (rc)
		return rc;
	/* All is in the stream now; what cannot be read at once is not there. */
	STEP_WAIT(o->stream_at, (rc = carry(o)) <= 0 && (rc || o->stream_over || my_turn(o)));
	if (rc)
		return rc;
	STEP_WAIT(o->stream_at, (rc = out_send(o, FRAME_VM_END, NULL, 0, o->vm_image, o->vm_image_len)) != -EAGAIN);
	if (rc)
		return rc;
	o->stream_sent = true;
	STEP_END(o->stream_at);
}

/* The guest goes on; then nobody need be told of pages any more. */
int out_stream_undo(struct move_out *o)
{
	struct err err = { "" };
	int rc;

	STEP_BEGIN(o->sub_at);
	if (o->stream_live) {
		STEP_WAIT(o->sub_at, (rc = o->vm->ops->resume(o->vm, &err)) != -EAGAIN);
		if (rc)
			out_event(o, "error", "while undoing: the guest could not be resumed: %s", err.text);
		touch(o, MOVE_TOUCH_OFF);
		o->stream_live = o->stream_open = o->stands = false;
	}
	STEP_END(o->sub_at);
}
