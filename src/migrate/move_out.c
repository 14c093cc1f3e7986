/* The source's half of a move: start, the table of phases and its driver, undo, progress. `ferry serve` and the simulator poll it
 * from the thread that also runs the device; nothing here waits.
 *
 * A phase is a row. run is called until it returns 0 (next row), -ERESTART (back to pre-copy: a stop was taken back) or another
 * error: then every row entered so far is undone, newest first, so that the guest goes on before anything is tidied up.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "migrate/out.h"

enum { UNDO_LIMIT_MS = 15000, MEASURE_MS = 20, ROWS_PER_POLL = 8 };

static int nothing(struct move_out *o)
{
	(void)o;
	return 0;
}

static const struct row {
	enum move_phase phase;
	int (*run)(struct move_out *), (*undo)(struct move_out *);
	uint32_t limit_ms;		/* 0: the phase has its own */
} rows[] = {
	{ MOVE_CONNECT, out_connect_run, out_connect_undo, 120000 },
	{ MOVE_TRACK, out_track_run, out_track_undo, 30000 },
	{ MOVE_PRECOPY, out_precopy_run, out_precopy_undo, 0 },	/* give_up_ns, rounds without progress, silence of the link */
	{ MOVE_STOP, out_stop_run, out_stop_undo, 5000 },	/* and what the prediction says: see limit_ns */
	{ MOVE_TRANSFER, out_transfer_run, nothing, 10000 },
	{ MOVE_COMMIT, out_commit_run, nothing, 0 },		/* asks for ever: doubt */
	{ MOVE_CLEANUP, out_cleanup_run, nothing, 30000 },
};
enum { ROW_PRECOPY = 2, ROW_COMMIT = 5, ROW_CLEANUP = 6 };

const char *move_phase_name(enum move_phase p)
{
#define PHASE_NAME_(name, text) text,
	static const char *const name[] = { MOVE_PHASES(PHASE_NAME_) };

	_Static_assert(ARRAY_LEN(name) == MOVE_PHASE_COUNT, "a name for each phase");
	return (unsigned)p < MOVE_PHASE_COUNT ? name[p] : "invalid";
}

uint64_t out_now(const struct move_out *o) { return env_now_ns(o->env); }
uint64_t out_silence_ns(const struct move_out *o) { return o->plan.peer_silence_ns; }
bool out_copying(const struct move_out *o) { return o->plan.mode == MOVE_COPY && o->ns_count; }

/* ---- accounts -------------------------------------------------------------------------------------------------------- */

uint64_t out_remaining(struct move_out *o)
{
	uint64_t n = o->unsynced + o->synced_bytes + o->mem.pages * VM_PAGE;

	for (unsigned i = 0; i < o->ns_count; i++)
		n += dirty_blocks(&o->ns[i].dirty) * o->ns[i].id.block_bytes;
	for (unsigned i = 0; i < o->slot_count; i++) {
		const struct out_slot *s = &o->slot[(o->slot_first + i) % OUT_SLOTS];

		n += s->kind == SLOT_READ ? s->nlb * o->ns[s->ns].id.block_bytes : 0;
	}
	return n;
}

void out_measure(struct move_out *o)
{
	o->measured_ns = out_now(o);
	o->p.at_ns = o->measured_ns;
	o->p.link_bytes = o->link_base + (o->link ? link_sent(o->link) : 0);
	o->p.mem_dirty = o->mem.pages * VM_PAGE;
	o->p.ns_count = o->ns_count;
	for (unsigned i = 0; i < o->ns_count; i++) {
		const struct out_ns *n = &o->ns[i];

		o->p.ns_total[i] = n->allocated * n->id.block_bytes;
		o->p.ns_sent[i] = n->sent_bytes;
		o->p.ns_dirty[i] = dirty_blocks(&n->dirty) * n->id.block_bytes;
	}
}

static void event(struct move_out *o, const char *kind, const char *text)
{
	struct move_event e = { .kind = kind, .phase = o->p.phase };

	out_measure(o);
	e.at_ns = o->p.at_ns;
	e.progress = o->p;
	snprintf(e.text, sizeof(e.text), "%s", text);
	if (o->site.event)
		o->site.event(o->site.ctx, o->plan.guest, &e);
}

void out_event(struct move_out *o, const char *kind, const char *fmt, ...)
{
	char text[sizeof(((struct move_event *)0)->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	event(o, kind, text);
}

int out_fail(struct move_out *o, int rc, const char *fmt, ...)
{
	char text[sizeof(o->why)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (o->handed || o->undoing) {	/* there is no way back any more, or we are on it */
		event(o, "error", text);
	} else if (!o->rc) {
		o->rc = rc;
		memcpy(o->why, text, sizeof(text));
		event(o, "error", text);
	}
	return rc;
}

void out_phase(struct move_out *o, enum move_phase p)
{
	enum move_phase from = o->p.phase;

	if (from == p)
		return;
	o->p.phase = p;
	out_event(o, "phase", "%s -> %s", move_phase_name(from), move_phase_name(p));
}

/* ---- start ----------------------------------------------------------------------------------------------------------- */

static bool memory_for(struct move_out *o)
{
	o->ring_slots = o->plan.cdq_slots ? MIN(o->plan.cdq_slots, (uint32_t)OUT_RING_SLOTS) : OUT_RING_SLOTS;
	o->page = hnvme_mem(o->mmc, 4096);
	o->track_page = hnvme_mem(o->mmc, 4096);
	o->rate_was = hnvme_mem(o->mmc, 4096);
	o->rate_new = hnvme_mem(o->mmc, 4096);
	o->ring_mem = hnvme_mem(o->mmc, o->ring_slots * sizeof(struct nvme_lbamq));
	o->piece = MIN(hnvme_max_transfer(o->mmc), (uint32_t)FRAME_PIECE_MAX);
	o->state_buf = hnvme_mem(o->mmc, o->piece);
	o->image = malloc(FRAME_STATE_MAX);
	if (o->image)
		memset(o->image, 0, 256 * KIB);	/* touched now, not in the pause */
	return o->page && o->track_page && o->rate_was && o->rate_new && o->ring_mem && o->state_buf && o->image;
}

/* The program ends in the middle of a move: the driver still holds commands of ours, whose memory goes when the last one is done. */
static void last_gone(void *ctx)
{
	if (!out_busy(ctx))
		free(ctx);
}

static void abandon(struct move_out *o)
{
	struct mcmd *const one[] = { &o->cmd, &o->head_cmd, &o->track_cmd, &o->state_cmd, &o->abort_cmd };

	for (unsigned i = 0; i < ARRAY_LEN(one); i++) {
		one[i]->abandoned = last_gone;
		one[i]->ctx = o;
	}
	for (unsigned i = 0; i < OUT_SLOTS; i++) {
		o->slot[i].cmd.abandoned = last_gone;
		o->slot[i].cmd.ctx = o;
	}
}

void move_out_free(struct move_out *o)
{
	if (!o)
		return;
	if (o->link)
		link_free(o->link);
	free(o->image);
	free(o->stream_buf);
	out_sets_fini(o);
	if (out_busy(o)) {
		abandon(o);
		return;
	}
	hnvme_release(o->mmc);
	out_pump_fini(o);
	if (o->page)
		hnvme_mem_free(o->mmc, o->page, 4096);
	if (o->track_page)
		hnvme_mem_free(o->mmc, o->track_page, 4096);
	if (o->rate_was)
		hnvme_mem_free(o->mmc, o->rate_was, 4096);
	if (o->rate_new)
		hnvme_mem_free(o->mmc, o->rate_new, 4096);
	if (o->ring_mem)
		hnvme_mem_free(o->mmc, o->ring_mem, o->ring_slots * sizeof(struct nvme_lbamq));
	if (o->state_buf)
		hnvme_mem_free(o->mmc, o->state_buf, o->piece);
	free(o);
}

static void defaults(struct move_plan *p)
{
	p->downtime_ns = p->downtime_ns ? p->downtime_ns : 10 * NS_PER_MS;
	p->peer_silence_ns = p->peer_silence_ns ? p->peer_silence_ns : 10 * NS_PER_S;
}

static struct move_out *make(const struct move_site *site, const struct move_plan *plan, struct err *err)
{
	struct move_out *o = calloc(1, sizeof(*o));

	if (!o) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	o->site = *site;
	o->plan = *plan;
	o->env = site->env;
	o->mmc = site->mmc;
	defaults(&o->plan);
	o->journal = site->journal(site->ctx, plan->guest);
	o->p.started_ns = o->phase_ns = out_now(o);
	o->p.eta_ns = UINT64_MAX;
	if (!o->journal) {
		err_set(err, -ENOENT, "no ownership record for guest '%s'", plan->guest);
		free(o);
		return NULL;
	}
	hnvme_hold(o->mmc);
	return o;
}

static int judge_start(struct move_out *o, struct err *err)
{
	int rc = o->site.find(o->site.ctx, o->plan.guest, &o->guest, err);

	if (rc)
		return rc;
	if (!*o->plan.guest || !*o->plan.to || !memchr(o->plan.guest, 0, sizeof(o->plan.guest)) ||
	    !memchr(o->plan.to, 0, sizeof(o->plan.to)) || !memchr(o->plan.here, 0, sizeof(o->plan.here)))
		return err_set(err, -EINVAL, "a move needs a guest and the address of a target");
	if (o->guest.ns_count > MOVE_NS_MAX)
		return err_set(err, -E2BIG, "guest '%s' has %u namespaces, %d can be moved", o->plan.guest, o->guest.ns_count, MOVE_NS_MAX);
	if (o->journal->own != OWN_OWNER)
		return err_set(err, -EPERM, "guest '%s' is not owned here (%s, epoch %llu%s%s)", o->plan.guest, own_name(o->journal->own),
			       (unsigned long long)o->journal->epoch, *o->journal->peer ? ", ask " : "", o->journal->peer);
	if (!o->guest.vm)
		return err_set(err, -EINVAL, "guest '%s' has no VM adapter", o->plan.guest);
	return 0;
}

struct move_out *move_out_start(const struct move_site *site, const struct move_plan *plan, struct err *err)
{
	struct move_out *o = make(site, plan, err);

	if (!o)
		return NULL;
	if (judge_start(o, err))
		goto fail;
	o->vm = o->guest.vm;
	o->ns_count = o->plan.mode == MOVE_COPY ? o->guest.ns_count : 0;
	o->epoch = o->journal->epoch + 1;
	env_random(o->env, o->id, sizeof(o->id));
	if (!memory_for(o) || out_pump_init(o)) {
		err_set(err, -ENOMEM, "not enough memory for a move: the manager's NVMe arena is used up, or there are too many moves");
		goto fail;
	}
	o->tokens_ns = out_now(o);
	out_phase(o, MOVE_CONNECT);
	return o;
fail:
	o->ended = true;
	move_out_free(o);
	return NULL;
}

struct move_out *move_out_recover(const struct move_site *site, const char *guest, struct err *err)
{
	struct move_plan plan = { .guest = "" };
	struct move_out *o;

	snprintf(plan.guest, sizeof(plan.guest), "%s", guest);
	o = make(site, &plan, err);
	if (!o)
		return NULL;
	if (o->journal->own != OWN_HANDED) {
		err_set(err, -EINVAL, "guest '%s' is not in doubt here (%s)", guest, own_name(o->journal->own));
		free(o);
		return NULL;
	}
	/* The guest's controller may or may not have been made again; asking needs neither. */
	if (!site->find(site->ctx, guest, &o->guest, NULL))
		o->vm = o->guest.vm;
	snprintf(o->plan.to, sizeof(o->plan.to), "%s", o->journal->peer);
	memcpy(o->id, o->journal->move, sizeof(o->id));
	o->epoch = o->journal->epoch;
	o->recovering = o->handed = true;
	o->row = ROW_COMMIT;
	out_phase(o, MOVE_COMMIT);
	return o;
}

/* ---- the driver ------------------------------------------------------------------------------------------------------ */

static uint64_t limit_ns(const struct move_out *o)
{
	uint64_t limit = rows[o->row].limit_ms * NS_PER_MS;

	if (!limit)
		return UINT64_MAX;
	if (o->plan.verify && (rows[o->row].phase == MOVE_STOP || rows[o->row].phase == MOVE_TRANSFER))
		return 24 * 3600 * NS_PER_S;	/* everything is read again on both sides; silence of the link still ends it */
	if (rows[o->row].phase == MOVE_STOP && o->p.predicted_stop_ns < 3600 * NS_PER_S)
		limit += 4 * o->p.predicted_stop_ns;
	return limit;
}

static void enter(struct move_out *o, unsigned row)
{
	o->row = row;
	o->at = o->sub_at = o->undo_at = 0;
	o->phase_ns = out_now(o);
	out_phase(o, rows[row].phase);
}

static void end(struct move_out *o, int rc)
{
	out_phase(o, rc ? MOVE_FAILED : MOVE_DONE);
	if (o->link)
		out_link_close(o);
	o->rc = rc;
	o->ended = true;
	out_event(o, "done", "%s", rc ? o->why : "moved");
}

static void undo_begin(struct move_out *o)
{
	o->undoing = true;
	o->at = o->sub_at = o->track_at = o->state_at = o->undo_at = 0;
	o->phase_ns = out_now(o);
	out_phase(o, MOVE_UNDO);
}

/* Reads whose results nobody wants any more, and a Suspend. */
static bool drained(struct move_out *o)
{
	struct mcmd *const one[] = { &o->cmd, &o->head_cmd, &o->track_cmd, &o->state_cmd };

	for (unsigned i = 0; i < ARRAY_LEN(one); i++)
		if (one[i]->state == MCMD_WANT)
			one[i]->state = MCMD_IDLE;
	for (unsigned i = 0; i < OUT_SLOTS; i++)
		if (o->slot[i].cmd.state == MCMD_WANT)
			o->slot[i].cmd.state = MCMD_IDLE;
	out_suspend_abort(o);
	if (out_busy(o))
		return false;
	o->slot_count = 0;
	o->head_sent = false;
	return true;
}

/* One call undoes as much as goes. A row whose undo takes too long is left as it is, and said. */
static int undo(struct move_out *o)
{
	int rc;

	if (!o->at) {
		if (!drained(o))	/* the driver's own time limit ends this wait */
			return -EAGAIN;
		o->at = 1;
		o->phase_ns = out_now(o);
	}
	for (;;) {
		rc = rows[o->row].undo(o);
		if (rc == -EAGAIN && (o->unlocking || out_now(o) - o->phase_ns < UNDO_LIMIT_MS * NS_PER_MS))
			return rc;	/* without its storage a guest is not run, whatever the time */
		if (rc)
			out_event(o, "error", "undoing %s did not end: %s", move_phase_name(rows[o->row].phase), strerror(-rc));
		o->undo_at = o->sub_at = 0;
		o->phase_ns = out_now(o);
		if (!o->row)
			break;
		o->row--;
	}
	if (out_busy(o))
		return -EAGAIN;
	end(o, o->rc);
	return 0;
}

static int vm_alive(struct move_out *o)
{
	struct err err = { "" };
	int rc;

	if (!o->vm_open || rows[o->row].phase != MOVE_PRECOPY || out_now(o) - o->measured_ns < MEASURE_MS * NS_PER_MS)
		return 0;
	out_measure(o);
	rc = o->vm->ops->alive(o->vm, &err);
	return rc ? out_fail(o, rc, "the guest's VM is gone: %s", err.text) : 0;
}

static int watch(struct move_out *o)
{
	int rc = out_link_poll(o);

	if (!rc)
		rc = out_ring_drain(o);
	if (!rc && !o->handed)
		rc = out_stream_poll(o);
	if (!rc && o->cancel && !o->handed)
		rc = out_fail(o, -ECANCELED, "cancelled: %s", o->cancel_why);
	if (!rc)
		rc = vm_alive(o);
	if (!rc && out_now(o) - o->phase_ns > limit_ns(o))
		rc = out_fail(o, -ETIMEDOUT, "phase %s took longer than %.1f s", move_phase_name(rows[o->row].phase),
			      (double)limit_ns(o) / 1e9);
	return rc;
}

/* 0: a step forward was made; -EAGAIN. */
static int forward(struct move_out *o)
{
	int rc = watch(o);

	if (!rc)
		rc = rows[o->row].run(o);
	if (rc == -EAGAIN)
		return rc;
	if (rc == -ERESTART) {
		enter(o, ROW_PRECOPY);
	} else if (rc && o->row == ROW_CLEANUP) {
		if (out_busy(o))
			return -EAGAIN;
		end(o, 0);	/* the guest runs at the target, whatever is left here */
	} else if (rc && o->handed) {
		return -EAGAIN;	/* said already; there is only asking on */
	} else if (rc) {
		if (!o->rc)
			out_fail(o, rc, "%s: %s", move_phase_name(rows[o->row].phase), strerror(-rc));
		undo_begin(o);
	} else if (o->row == ROW_CLEANUP) {
		end(o, 0);
	} else {
		enter(o, o->row + 1);
	}
	return 0;
}

static uint64_t nap_ns(const struct move_out *o)
{
	switch (o->p.phase) {
	case MOVE_STOP: case MOVE_TRANSFER: case MOVE_COMMIT: return 50 * NS_PER_US;
	case MOVE_DOUBT: return 20 * NS_PER_MS;
	default: return NS_PER_MS;
	}
}

bool move_out_poll(struct move_out *o)
{
	uint64_t before = o->link ? link_sent(o->link) + link_received(o->link) : 0;
	bool did;
	int rc = 0;

	if (o->ended)
		return false;
	did = hnvme_poll(o->mmc);
	for (int i = 0; i < ROWS_PER_POLL && !o->ended; i++) {
		if (o->undoing && o->link)
			out_link_poll(o);
		rc = o->undoing ? undo(o) : forward(o);
		if (rc == -EAGAIN)
			break;
		did = true;
	}
	if (o->link && !o->ended)
		link_poll(o->link);	/* what this poll queued leaves with it */
	did |= before != (o->link ? link_sent(o->link) + link_received(o->link) : 0);
	o->wake_ns = did ? out_now(o) : out_now(o) + nap_ns(o);
	return did;
}

uint64_t move_out_deadline(const struct move_out *o) { return o->ended ? UINT64_MAX : o->wake_ns; }

bool move_out_ended(const struct move_out *o, int *rc, const char **why)
{
	*rc = o->ended ? o->rc : -EINPROGRESS;
	*why = o->ended ? o->why : o->p.phase == MOVE_DOUBT ? o->say : "";
	return o->ended;
}

const struct move_progress *move_out_progress(const struct move_out *o) { return &o->p; }

int move_out_resolve(struct move_out *o, bool runs_here)
{
	if (!o->handed || o->ended || o->row != ROW_COMMIT || o->started || o->not_started)
		return -EINVAL;
	snprintf(o->say, sizeof(o->say), "resolved by hand");
	o->by_hand = true;
	o->started = !runs_here;
	o->not_started = runs_here;
	o->relink_ns = 0;
	move_out_poll(o);
	if (o->journal->own == (runs_here ? OWN_OWNER : OWN_RELEASED))
		return 0;
	if (!o->lock_since_ns)
		return -EIO;
	/* Somebody has its storage locked, so it is not as the person said: asking goes on. */
	o->by_hand = o->not_started = o->lock_said = false;
	o->lock_since_ns = o->lock_ns = 0;
	return -EBUSY;
}

int move_out_cancel(struct move_out *o, const char *why)
{
	if (o->handed || (o->ended && !o->rc))
		return -EALREADY;
	if (!o->cancel)
		snprintf(o->cancel_why, sizeof(o->cancel_why), "%s", why && *why ? why : "as asked");
	o->cancel = true;
	return 0;
}
