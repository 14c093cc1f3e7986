/* Phase track: the change log (CDQ), memory tracking, the guest's rate limit; and what is done with them until the end.
 *
 * The log is emptied at every poll and its head told each quarter of the ring. If it ever fills, or shows a gap, everything is
 * unknown: logging is started again first, then every namespace is asked about as in the beginning (design rule 3).
 */
#include <errno.h>
#include <stdio.h>

#include "migrate/out.h"

enum { TRACK_BYTES = 4096, TRACK_ASKS = 64, ASK_DEALLOC_BYTES = 1 << 20 };

/* ---- the change log -------------------------------------------------------------------------------------------------- */

static void broken(struct move_out *o, const char *why)
{
	if (!o->log_broken)
		snprintf(o->log_why, sizeof(o->log_why), "%s", why);
	o->log_broken = true;
}

static struct out_ns *ns_of(struct move_out *o, uint32_t nsid)
{
	for (unsigned i = 0; i < o->ns_count; i++)
		if (o->ns[i].id.nsid == nsid)
			return &o->ns[i];
	return NULL;
}

static void unknown(struct move_out *o, struct out_ns *n)
{
	dirty_all(o->no_stat ? &n->dirty : &n->ask);
	n->allocated = 0;
}

void out_scan_all(struct move_out *o)
{
	for (unsigned i = 0; i < o->ns_count; i++)
		unknown(o, &o->ns[i]);
}

/* A large deallocation is asked about instead of read: the entry alone does not prove a hole, because a write of the same blocks that
 * ran beside it may have taken effect after it and been logged before it. */
static int on_change(struct move_out *o, const struct hmlm_entry *e)
{
	struct out_ns *n = ns_of(o, e->nsid);

	if (!n)
		return out_fail(o, -ESTALE, "the guest changed namespace %u, which is not part of the move: was one attached meanwhile?",
				e->nsid);
	if (e->lbacir == NVME_LBACIR_NAMESPACE) {
		unknown(o, n);
	} else if (e->dealloc && !o->no_stat && e->nlb >= ASK_DEALLOC_BYTES / n->id.block_bytes) {
		dirty_remove_inner(&n->dirty, e->slba, e->nlb);
		dirty_add(&n->ask, e->slba, e->nlb);
	} else {
		dirty_add(&n->dirty, e->slba, e->nlb);
	}
	return 0;
}

static void on_marker(struct move_out *o, unsigned esa)
{
	switch (esa) {
	case NVME_ESA_FIRST:
		if (!o->first_due)
			broken(o, "logging was started again by someone else");
		o->first_due = false;
		break;
	case NVME_ESA_STOPPED:
		if (o->logging)
			broken(o, "logging was stopped by someone else");
		break;
	case NVME_ESA_SUSPENDED:
		if (!o->suspend_sent)
			broken(o, "the controller was suspended by someone else");
		o->marker_seen = true;
		break;
	case NVME_ESA_FULL:
		o->logging = false;
		broken(o, "the change log overflowed");
		break;
	}
}

static int tell_head(struct move_out *o, bool all)
{
	struct err err;

	if (o->head_sent) {
		if (!mcmd_run(&o->head_cmd, o->mmc, 0))
			return -EAGAIN;
		o->head_sent = false;
		if (mcmd_result(&o->head_cmd, &err))
			return out_fail(o, -EIO, "the change log's head was not taken: %s", err.text);
		hmlm_ring_told(&o->ring, o->head_hp);
	}
	if (!o->cdq_live || hmlm_ring_untold(&o->ring) < (all ? 1 : o->ring_slots / 4))
		return 0;
	o->head_hp = o->ring.head;
	o->head_sent = true;
	hmlm_set_cdq(mcmd_prep(&o->head_cmd, "Set Features, CDQ head", NULL, 0), o->cdqid, o->head_hp, false, 0);
	mcmd_run(&o->head_cmd, o->mmc, 0);
	return -EAGAIN;
}

int out_ring_drain(struct move_out *o)
{
	struct hmlm_entry e;
	int rc = 0, r;

	if (!o->cdq_live)
		return 0;
	while (!rc && (r = hmlm_ring_next(&o->ring, &e)) != 0) {
		if (r < 0)
			return out_fail(o, r, "the change log holds an entry that cannot be");
		if (e.lbacir != NVME_LBACIR_NONE)
			rc = on_change(o, &e);
		on_marker(o, e.esa);
	}
	if (rc)
		return rc;
	rc = tell_head(o, false);
	return rc == -EAGAIN ? 0 : rc;
}

/* ---- commands in steps ------------------------------------------------------------------------------------------------ */

static int start_log(struct move_out *o)
{
	struct err err;

	STEP_BEGIN(o->undo_at);	/* nobody undoes while this runs, and undo starts it from 0 */
	hmlm_track_log(mcmd_prep(&o->cmd, "Track Send, start logging", NULL, 0), o->cdqid, true);
	/* Set before the command goes out: the log can overflow again, and we read so, before we see the command's completion. */
	o->first_due = o->logging = true;
	o->log_broken = false;
	STEP_WAIT(o->undo_at, mcmd_run(&o->cmd, o->mmc, 0));
	if (mcmd_result(&o->cmd, &err))
		return o->undo_at = 0, o->logging = false, out_fail(o, -EIO, "%s", err.text);
	STEP_END(o->undo_at);
}

int out_log_restart(struct move_out *o)
{
	struct err err;
	int rc;

	STEP_BEGIN(o->sub_at);
	o->p.overflows++;
	out_event(o, "overflow", "%s (%llu so far): logging is started again and everything is looked at again", o->log_why,
		  (unsigned long long)o->p.overflows);
	if (o->logging) {
		o->logging = false;
		hmlm_track_log(mcmd_prep(&o->cmd, "Track Send, stop logging", NULL, 0), o->cdqid, false);
		STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 0));
		if (mcmd_result(&o->cmd, &err))
			return out_fail(o, -EIO, "%s", err.text);
	}
	STEP_WAIT(o->sub_at, (rc = out_ring_drain(o)) || (rc = tell_head(o, true)) != -EAGAIN);
	if (rc)
		return rc;
	STEP_WAIT(o->sub_at, (rc = start_log(o)) != -EAGAIN);
	if (rc)
		return rc;
	out_scan_all(o);
	STEP_END(o->sub_at);
}

static int make_cdq(struct move_out *o)
{
	struct err err;

	STEP_BEGIN(o->sub_at);
	hmlm_ring_init(&o->ring, o->ring_mem, o->ring_slots);
	hmlm_cdq_create(mcmd_prep(&o->cmd, "Create Controller Data Queue", NULL, 0), o->guest.cntlid,
			o->ring_slots * sizeof(struct nvme_lbamq) / 4, (uintptr_t)o->ring_mem, true);
	o->cdq_making = true;
	STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 0));
	o->cdq_making = false;
	if (mcmd_result(&o->cmd, &err))
		return out_fail(o, -EIO, "%s (is another move or watcher at work on controller %u?)", err.text, o->guest.cntlid);
	o->cdqid = (uint16_t)o->cmd.dw0;
	o->cdq_live = true;
	STEP_END(o->sub_at);
}

static int track_memory(struct move_out *o)
{
	struct hmlm_range r[VM_RANGES_MAX];
	struct err err;
	size_t len;

	STEP_BEGIN(o->sub_at);
	for (unsigned i = 0; i < o->vmi.ranges; i++)
		r[i] = (struct hmlm_range){ o->vmi.range[i].gpa, o->vmi.range[i].bytes };
	len = hmlm_track_mem_build(o->page, 4096, hnvme_id(o->mmc)->minmrtg, r, o->vmi.ranges);
	if (!len)
		return out_fail(o, -EINVAL, "the guest's memory ranges do not fit the controller's tracking granularity");
	hmlm_track_mem(mcmd_prep(&o->cmd, "Track Send, memory", o->page, (uint32_t)round_up(len, 4)), o->guest.cntlid, true);
	o->mem_tracked = true;	/* before the answer: whoever cancels meanwhile must undo it */
	STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 0));
	if (mcmd_result(&o->cmd, &err))
		return o->mem_tracked = false, out_fail(o, -EIO, "%s", err.text);
	if (o->vm->ops->track(o->vm, true))
		return out_fail(o, -EIO, "the guest's VM cannot track its memory");
	o->vm_tracking = true;
	dirty_mem_all(&o->mem);
	STEP_END(o->sub_at);
}

/* What the manager relies on, from Identify; and the guest's rate limit as it is. */
static int look(struct move_out *o)
{
	static const uint8_t uuid[16] = FERRY_STATE_UUID;
	const struct nvme_id_ctrl_nvm *nvm;
	struct err err;

	STEP_BEGIN(o->sub_at);
	hmlm_identify(mcmd_prep(&o->cmd, "Identify, state formats", o->page, 4096), NVME_CNS_STATE_FORMATS, 0, 0, 0);
	STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 0));
	if (mcmd_result(&o->cmd, &err))
		return out_fail(o, -EIO, "%s", err.text);
	o->csvi = hmlm_format_version(o->page, 0);
	o->csuuidi = hmlm_format_uuid(o->page, uuid);
	if (!o->csvi || !o->csuuidi)
		return out_fail(o, -ENOTSUP, "the controller does not offer %s", o->csvi ? "our vendor state format" : "state version 0");
	hmlm_identify(mcmd_prep(&o->cmd, "Identify, NVM command set", o->page, 4096), NVME_CNS_CSI_CTRL, 0, 0, 0);
	STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 0));
	if (mcmd_result(&o->cmd, &err))
		return out_fail(o, -EIO, "%s", err.text);
	nvm = (const void *)o->page;
	o->no_stat = !(le16_get(nvm->aocs) & NVME_AOCS_RALBAS);
	if (nvm->lbamqf)
		return out_fail(o, -ENOTSUP, "the change log's entries have format %02Xh, only 0 is known", nvm->lbamqf);
	hmlm_get_rate(mcmd_prep(&o->cmd, "Get Features, rate limit", o->rate_was, sizeof(*o->rate_was)), o->guest.cntlid);
	STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 0));
	o->rate_known = !mcmd_result(&o->cmd, &err);
	if (!o->rate_known)
		out_event(o, "decision", "this controller cannot be throttled: %s", err.text);
	STEP_END(o->sub_at);
}

int out_track_run(struct move_out *o)
{
	int rc = 0;

	STEP_BEGIN(o->at);
	o->sub_at = 0;
	STEP_WAIT(o->at, (rc = look(o)) != -EAGAIN);
	if (!rc && out_copying(o)) {
		STEP_WAIT(o->at, (rc = make_cdq(o)) != -EAGAIN);
		if (rc)
			return rc;
		STEP_WAIT(o->at, (rc = start_log(o)) != -EAGAIN);
		if (!rc)	/* only now: a change made before logging began is seen by asking, one made after it is logged */
			out_scan_all(o);
	}
	if (!rc && o->vmi.moves_memory) {
		o->sub_at = 0;
		STEP_WAIT(o->at, (rc = track_memory(o)) != -EAGAIN);
	}
	if (rc)
		return rc;
	STEP_END(o->at);
}

int out_track_undo(struct move_out *o)
{
	struct err err;

	STEP_BEGIN(o->undo_at);
	if (o->cdq_making && o->cmd.state == MCMD_DONE && !mcmd_result(&o->cmd, NULL)) {	/* stopped between the command and its answer */
		o->cdqid = (uint16_t)o->cmd.dw0;
		o->cdq_live = true;
	}
	o->cdq_making = false;
	if (o->cdq_live) {
		o->cdq_live = o->logging = false;
		hmlm_cdq_delete(mcmd_prep(&o->cmd, "Delete Controller Data Queue", NULL, 0), o->cdqid);
		STEP_WAIT(o->undo_at, mcmd_run(&o->cmd, o->mmc, 0));
		if (mcmd_result(&o->cmd, &err))
			out_event(o, "error", "while undoing: %s", err.text);
	}
	if (o->mem_tracked) {
		o->mem_tracked = false;
		hmlm_track_mem(mcmd_prep(&o->cmd, "Track Send, stop memory", NULL, 0), o->guest.cntlid, false);
		STEP_WAIT(o->undo_at, mcmd_run(&o->cmd, o->mmc, 0));
		if (mcmd_result(&o->cmd, &err))
			out_event(o, "error", "while undoing: %s", err.text);
	}
	if (o->vm_tracking && o->vm->ops->track(o->vm, false))
		out_event(o, "error", "while undoing: the VM did not stop tracking its memory");
	o->vm_tracking = false;
	STEP_END(o->undo_at);
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

static int take_tracked(struct move_out *o)
{
	struct hmlm_tracked t;
	struct hmlm_range r;
	struct err err;
	int rc = mcmd_result(&o->track_cmd, &err);

	if (!rc)
		rc = hmlm_tracked_parse(o->track_page, TRACK_BYTES, &t, &err);
	if (rc)
		return out_fail(o, rc, "%s", err.text);
	while ((rc = hmlm_tracked_next(&t, &r)) == 1)
		dirty_mem_add(&o->mem, r.addr, r.bytes);
	if (rc)
		return out_fail(o, rc, "Track Receive: a descriptor that cannot be");
	/* Suspended, the list is complete only with SUSP = 1 and MTR = 0 (Base 5.1.26). Running, it never is: enough is enough. */
	o->track_more = o->suspended ? t.more || !t.suspended : t.more && ++o->track_asks < TRACK_ASKS;
	return 0;
}

static int take_processors(struct move_out *o)
{
	uint64_t cursor = 0, gpa, bytes;
	int rc;

	while ((rc = o->vm->ops->dirty_next(o->vm, &cursor, &gpa, &bytes)) == 0)
		dirty_mem_add(&o->mem, gpa, bytes);
	return rc == -ENOENT ? 0 : out_fail(o, rc, "the VM does not tell which memory it wrote");
}

int out_collect(struct move_out *o)
{
	int rc;

	STEP_BEGIN(o->track_at);
	o->track_asks = 0;
	while (o->vmi.moves_memory) {
		hmlm_track_receive(mcmd_prep(&o->track_cmd, "Track Receive", o->track_page, TRACK_BYTES), o->guest.cntlid, TRACK_BYTES);
		STEP_WAIT(o->track_at, mcmd_run(&o->track_cmd, o->mmc, 0));
		rc = take_tracked(o);
		if (rc)
			return rc;
		if (!o->track_more)
			break;
	}
	rc = o->vmi.moves_memory ? take_processors(o) : 0;
	if (rc)
		return rc;
	STEP_END(o->track_at);
}

/* ---- throttle -------------------------------------------------------------------------------------------------------- */

static uint64_t in_mib(uint64_t value, uint8_t scale)
{
	static const uint64_t unit[] = { 1, 10, 100, 1024, 10240, 102400 };
	uint64_t u = scale < ARRAY_LEN(unit) ? unit[scale] : 1;

	return value > UINT64_MAX / u ? UINT64_MAX : value * u;
}

static uint64_t lower(uint64_t was, uint64_t want) { return was && was < want ? was : want; }

/* A limit the operator had set already stays in force where it is the lower one. Reads are limited only where they dirty memory
 * that has to be sent. */
static void build_rate(struct move_out *o, uint64_t limit)
{
	const struct nvme_rate_limit *was = o->rate_was;
	bool on = le16_get(was->rlc) & NVME_RLC_RLE;
	uint64_t mib = MAX(limit / MIB, 1);
	uint64_t tb = on ? in_mib(le64_get(was->tbwv), was->bwsf) : 0, wb = on ? in_mib(le64_get(was->wbwv), was->bwsf) : 0;

	hmlm_rate_build(o->rate_new, 0, MIB, on ? le32_get(was->tiops) : 0, on ? le32_get(was->wiops) : 0);
	if (on) {
		o->rate_new->iops_r = MAX(was->iops_r, 1);
		o->rate_new->iops_w = MAX(was->iops_w, 1);
		o->rate_new->bw_r = MAX(was->bw_r, 1);
		o->rate_new->bw_w = MAX(was->bw_w, 1);
	}
	o->rate_new->wbwv = le64_of(lower(wb, mib));
	o->rate_new->tbwv = le64_of(o->vmi.moves_memory || o->vmi.streams ? lower(tb, mib) : tb);
}

int out_throttle(struct move_out *o, uint64_t limit)
{
	struct err err;

	STEP_BEGIN(o->sub_at);
	build_rate(o, limit);
	o->throttled = true;
	hmlm_set_rate(mcmd_prep(&o->cmd, "Set Features, rate limit", o->rate_new, sizeof(*o->rate_new)), o->guest.cntlid);
	STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 0));
	if (mcmd_result(&o->cmd, &err)) {
		o->rate_known = false;
		out_event(o, "throttle", "the guest cannot be throttled: %s", err.text);
	} else {
		o->limit = o->p.throttle = limit;
		o->step++;
	}
	STEP_END(o->sub_at);
}

/* Puts back, byte for byte, what was found. Before the state is captured: the limit would travel with it. */
int out_throttle_lift(struct move_out *o)
{
	struct err err;

	STEP_BEGIN(o->sub_at);
	if (o->throttled) {
		hmlm_set_rate(mcmd_prep(&o->cmd, "Set Features, rate limit", o->rate_was, sizeof(*o->rate_was)), o->guest.cntlid);
		STEP_WAIT(o->sub_at, mcmd_run(&o->cmd, o->mmc, 0));
		if (mcmd_result(&o->cmd, &err))
			return out_fail(o, -EIO, "the guest's rate limit could not be put back: %s", err.text);
		o->throttled = false;
		o->limit = o->p.throttle = 0;
		o->step = 0;
	}
	STEP_END(o->sub_at);
}
