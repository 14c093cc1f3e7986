/* The target's side of transfer and commit: everything durable, the state in, read back and compared; then, on COMMIT, owner. */
#include <errno.h>
#include <stdio.h>

#include "migrate/in.h"

/* ---- PREPARE --------------------------------------------------------------------------------------------------------- */

static unsigned seqind(const struct in_session *s, uint32_t n)
{
	bool first = !s->image_at, last = s->image_at + n == s->image_len;

	return first && last ? NVME_SEQ_ONLY : first ? NVME_SEQ_FIRST : last ? NVME_SEQ_LAST : NVME_SEQ_MIDDLE;
}

static void set_piece(struct in_session *s)
{
	uint32_t n = MIN(s->piece, s->image_len - s->image_at);
	uint8_t *buf = s->slot[0].buf;	/* no write is in flight any more */

	memcpy(buf, s->image + s->image_at, n);
	hmlm_set_state(mcmd_prep(&s->cmd, "Set Controller State", buf, n), s->guest.cntlid, seqind(s, n), s->csvi, s->csuuidi,
		       s->image_at, n / 4);
}

static void get_piece(struct in_session *s)
{
	uint32_t n = MIN(s->piece, s->image_len - s->image_at);

	hmlm_get_state(mcmd_prep(&s->cmd, "Get Controller State", s->slot[0].buf, n), s->guest.cntlid, s->csvi, s->csuuidi,
		       s->image_at, n);
}

/* What the controller says it is now must be what it was at the source, byte for byte: its times stand still while it is suspended. */
static int compare_piece(struct in_session *s)
{
	const uint8_t *got = s->slot[0].buf;
	uint32_t n = s->cmd.c.len;
	struct hmlm_state st;

	if (!(s->cmd.dw0 & 1))
		return in_fail(s, -ESTALE, "the controller did not stay suspended while its state was read back");
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = s->image_at + i;

		if (got[i] == s->image[at])
			continue;
		hmlm_state_parse(s->image, s->image_len, &st, NULL);
		return in_fail(s, -EILSEQ, "the controller's state read back differs from what was set, at byte %u of %u (%s)", at, s->image_len,
			       at < HMLM_STATE_HEAD ? "head" : at < st.vendor_off ? "standard part" : "vendor part");
	}
	return 0;
}

static int judge_image(struct in_session *s)
{
	struct hmlm_state st;
	struct err err;

	if (hmlm_state_parse(s->image, s->image_len, &st, &err))
		return in_fail(s, -EPROTO, "%s", err.text);
	if (st.total != s->image_len || !st.suspended || !st.nvme_bytes)
		return in_fail(s, -EPROTO, "the state image claims %llu bytes and has %u", (unsigned long long)st.total, s->image_len);
	return 0;
}

static int arrive(struct in_session *s)
{
	struct err err = { "" };
	int rc = s->stream ? s->vm->ops->arrive(s->vm, s->vm_image, s->vm_image_len, &err) : 0;

	return rc && rc != -EAGAIN ? in_fail(s, rc, "the VM here could not be made what it was: %s", err.text) : rc;
}

/* Handover: the source has given its storage up before it said PREPARE. */
static int lock(struct in_session *s)
{
	const struct move_site *site = &s->m->site;
	struct err err = { "" };
	int rc = s->mode == MOVE_HANDOVER && site->lock ? site->lock(site->ctx, s->guest.name, true, &err) : 0;

	return rc && rc != -EAGAIN ? in_fail(s, rc, "the storage that was handed over cannot be taken: %s", err.text) : rc;
}

int in_prepare_run(struct in_session *s)
{
	struct hnvme *h = s->m->site.mmc;
	struct frame_sync done = { le64_of(s->sync_seq) };
	struct err err;
	int rc;

	STEP_BEGIN(s->at);
	rc = judge_image(s);
	if (rc)
		return rc;
	STEP_WAIT(s->at, in_slots_idle(s));
	STEP_WAIT(s->at, (rc = lock(s)) != -EAGAIN);
	if (rc)
		return rc;
	arrive(s);	/* begun now, waited for below: it does not need the disk */
	for (s->flush_ns = 0; s->mode == MOVE_COPY && s->flush_ns < s->ns_count; s->flush_ns++) {
		hmlm_flush(mcmd_prep(&s->cmd, "Flush", NULL, 0), s->guest.ns[s->flush_ns].nsid);
		STEP_WAIT(s->at, mcmd_run(&s->cmd, h, 1));
		if (mcmd_result(&s->cmd, &err))
			return in_fail(s, -EIO, "%s", err.text);
	}
	/* Before the state is set: the VMM writes to the controller's PCI configuration, and so the last word is the state's. */
	STEP_WAIT(s->at, (rc = arrive(s)) != -EAGAIN);
	if (rc)
		return rc;
	for (s->image_at = 0; s->image_at < s->image_len; s->image_at += s->cmd.c.len) {
		set_piece(s);
		STEP_WAIT(s->at, mcmd_run(&s->cmd, h, 0));
		if (mcmd_result(&s->cmd, &err))
			return in_fail(s, -EIO, "%s", err.text);
	}
	for (s->image_at = 0; s->image_at < s->image_len; s->image_at += s->cmd.c.len) {
		get_piece(s);
		STEP_WAIT(s->at, mcmd_run(&s->cmd, h, 0));
		rc = mcmd_result(&s->cmd, &err);
		if (rc)
			return in_fail(s, rc, "%s", err.text);
		rc = compare_piece(s);
		if (rc)
			return rc;
	}
	STEP_WAIT(s->at, !s->conn || in_send(s->conn, FRAME_PREPARED, &done, sizeof(done)) != -EAGAIN);
	STEP_END(s->at);
}

/* ---- COMMIT ---------------------------------------------------------------------------------------------------------- */

static int own(struct in_session *s)
{
	char why[128];
	int rc;

	snprintf(why, sizeof(why), "moved here from %.100s", s->peer);
	rc = journal_set(s->journal, OWN_OWNER, s->epoch, s->id, s->peer, why);
	if (rc)
		return in_fail(s, rc, "the ownership record cannot be written: %s", strerror(-rc));
	s->owner = true;
	return 0;
}

/* The guest is ours and nobody else may start it: what fails is tried again, and the source is told to wait (LATER). */
static void stuck(struct in_session *s, const char *what)
{
	snprintf(s->why, sizeof(s->why), "it is owned here but cannot be started yet: %s", what);
	in_event(s, "error", "%s; trying again", s->why);
	s->retry_ns = in_now(s->m) + NS_PER_S;
}

int in_start_run(struct in_session *s)
{
	struct hnvme *h = s->m->site.mmc;
	struct err err = { "" };
	int rc;

	STEP_BEGIN(s->at);
	/* A VM that died while it waited: not owned yet, so the source can have its guest back. */
	rc = s->vm->ops->alive(s->vm, &err);
	if (rc)
		return in_fail(s, rc, "the VM that waited here is gone: %s", err.text);
	rc = own(s);
	if (rc)
		return rc;
	s->owned_ns = in_now(s->m);
	/* Nothing of ours is in the controller from here on but a suspension. A driver that gave the controller up comes back when nobody holds
	 * it, and the reset has then resumed the guest's controller already. */
	in_let_go(s);
	for (;;) {
		hmlm_resume(mcmd_prep(&s->cmd, "Resume", NULL, 0), s->guest.cntlid);
		STEP_WAIT(s->at, mcmd_run(&s->cmd, h, 0));
		if (!mcmd_result(&s->cmd, &err) || s->cmd.status == NVME_CTRL_NOT_SUSPENDED)
			break;
		stuck(s, err.text);
		STEP_WAIT(s->at, in_now(s->m) >= s->retry_ns);
	}
	s->resumed_ns = in_now(s->m);
	for (;;) {
		STEP_WAIT(s->at, (rc = s->vm->ops->resume(s->vm, &err)) != -EAGAIN);
		if (!rc)
			break;
		stuck(s, err.text);
		STEP_WAIT(s->at, in_now(s->m) >= s->retry_ns);
	}
	STEP_WAIT(s->at, !s->conn || in_say(s->conn, FRAME_STARTED, s->id, 0, "it runs") != -EAGAIN);
	in_event(s, "decision", "started; in ms: %.2f our record, %.2f controller, %.2f processors", (double)(s->owned_ns - s->state_ns) / 1e6,
		 (double)(s->resumed_ns - s->owned_ns) / 1e6, (double)(in_now(s->m) - s->resumed_ns) / 1e6);
	STEP_END(s->at);
}
