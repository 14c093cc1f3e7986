/* The source's end of the connection: hello, frames from the target, and going on over a new connection.
 *
 * Until the stop begins a cut costs only what was not acknowledged. During stop and transfer it costs the stop: the guest must
 * not be paused while a network is being waited for. After commit only questions are asked (out_commit.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "migrate/out.h"

enum { FRAMES_PER_POLL = 64 };

/* What a broken link means now. */
enum need { NEED_RESUMABLE, NEED_UNBROKEN, NEED_NONE };

static enum need link_need(const struct move_out *o)
{
	/* Not before out_connect_run has opened it: the hello names the memory ranges, which only an open VM knows. */
	if (o->undoing || o->ended || (o->p.phase == MOVE_CONNECT && !o->vm_open))
		return NEED_NONE;
	switch (o->p.phase) {
	case MOVE_CONNECT: case MOVE_TRACK: case MOVE_PRECOPY: case MOVE_CONVERGE:
		return o->stream_live ? NEED_UNBROKEN : NEED_RESUMABLE;	/* a VMM's stream cannot be taken up again */
	case MOVE_STOP: case MOVE_TRANSFER: return NEED_UNBROKEN;
	default: return NEED_NONE;
	}
}

static const char *what_stands(const struct move_out *o)
{
	return o->p.phase >= MOVE_STOP || o->stands ? "while the guest was stopped" : "while the VM's memory was being sent";
}

static int send(struct move_out *o, int (*how)(struct link *, uint16_t, const struct iovec *, int), uint16_t type, struct iovec v[2])
{
	int rc;

	if (!o->link)
		return -EAGAIN;
	rc = how(o->link, type, v, v[1].iov_len ? 2 : v[0].iov_len ? 1 : 0);
	if (!rc)
		o->sent_ns = out_now(o);
	/* A broken link is noticed and judged in out_link_poll; until then nothing was sent. */
	return rc == -EMSGSIZE ? rc : rc ? -EAGAIN : 0;
}

int out_send(struct move_out *o, uint16_t type, const void *head, size_t head_len, const void *data, size_t len)
{
	struct iovec v[2] = { { (void *)head, head_len }, { (void *)data, len } };

	return send(o, link_send, type, v);
}

int out_send_still(struct move_out *o, uint16_t type, const void *head, size_t head_len, const void *data, size_t len)
{
	struct iovec v[2] = { { (void *)head, head_len }, { (void *)data, len } };

	return send(o, link_send_still, type, v);
}

int out_say(struct move_out *o, uint16_t type, int code, const char *text)
{
	struct frame_say s = { .code = le32_of((uint32_t)(code < 0 ? -code : code)) };

	memcpy(s.move, o->id, sizeof(s.move));
	return out_send(o, type, &s, sizeof(s), text, strnlen(text, FRAME_TEXT_MAX));
}

void out_commit_frame(const struct move_out *o, struct frame_commit *c)
{
	*c = (struct frame_commit){ .epoch = le64_of(o->epoch) };
	memcpy(c->move, o->id, sizeof(c->move));
	memcpy(c->guest, o->plan.guest, sizeof(c->guest));
}

int out_sync(struct move_out *o)
{
	struct frame_sync s = { .seq = le64_of(o->sync_sent + 1) };
	int rc = out_send(o, FRAME_SYNC, &s, sizeof(s), NULL, 0);

	if (rc)
		return rc;
	o->sync_sent++;
	o->sync_ns = out_now(o);
	for (unsigned i = 0; i < o->ns_count; i++)
		dirty_merge(&o->ns[i].synced, &o->ns[i].sent);
	if (o->vmi.moves_memory)
		dirty_mem_merge(&o->mem_synced, &o->mem_sent);
	o->synced_bytes += o->unsynced;
	o->unsynced = 0;
	return 0;
}

static void synced(struct move_out *o, uint64_t seq)
{
	uint64_t took = out_now(o) - o->sync_ns;

	if (seq != o->sync_sent || o->sync_acked == seq)
		return;	/* of a connection that is gone: what it covered has been put back */
	o->sync_acked = seq;
	o->synced_bytes = 0;
	if (took && (!o->rtt_ns || took < o->rtt_ns))
		o->rtt_ns = took;
	for (unsigned i = 0; i < o->ns_count; i++)
		dirty_none(&o->ns[i].synced);
	if (o->vmi.moves_memory)
		dirty_mem_none(&o->mem_synced);
}

/* ---- hello ----------------------------------------------------------------------------------------------------------- */

static int send_hello(struct move_out *o)
{
	static const uint8_t uuid[16] = FERRY_STATE_UUID;
	struct frame_hello h = { .version = le32_of(FRAME_VERSION), .mode = (uint8_t)o->plan.mode,
				 .ns_count = le16_of((uint16_t)o->guest.ns_count), .range_count = le16_of((uint16_t)o->vmi.ranges),
				 .epoch = le64_of(o->epoch) };
	uint8_t tail[MOVE_NS_MAX * sizeof(struct frame_ns) + VM_RANGES_MAX * sizeof(struct frame_range) + VM_SHAPE_MAX], *p = tail;
	size_t shape = o->vmi.streams ? strnlen(o->vmi.shape, VM_SHAPE_MAX - 1) : 0;

	h.flags = (o->ready ? HELLO_RESUME : 0) | (o->plan.verify ? HELLO_VERIFY : 0) | (o->vmi.moves_memory ? HELLO_MEMORY : 0) |
		  (o->vmi.streams ? HELLO_STREAM : 0);
	h.shape_bytes = le32_of((uint32_t)shape);
	memcpy(h.move, o->id, sizeof(h.move));
	memcpy(h.guest, o->plan.guest, sizeof(h.guest));
	memcpy(h.here, o->plan.here, sizeof(h.here));
	memcpy(h.state_uuid, uuid, sizeof(uuid));
	for (unsigned i = 0; i < o->guest.ns_count; i++, p += sizeof(struct frame_ns)) {
		const struct move_ns *n = &o->guest.ns[i];
		struct frame_ns f = { .guest_nsid = le32_of(n->guest_nsid), .block_bytes = le32_of(n->block_bytes),
				      .blocks = le64_of(n->blocks) };

		memcpy(f.nguid, n->nguid, sizeof(f.nguid));
		memcpy(f.eui64, n->eui64, sizeof(f.eui64));
		memcpy(f.uuid, n->uuid, sizeof(f.uuid));
		memcpy(p, &f, sizeof(f));
	}
	for (unsigned i = 0; i < o->vmi.ranges; i++, p += sizeof(struct frame_range)) {
		struct frame_range f = { le64_of(o->vmi.range[i].gpa), le64_of(o->vmi.range[i].bytes) };

		memcpy(p, &f, sizeof(f));
	}
	memcpy(p, o->vmi.shape, shape);
	return out_send(o, FRAME_HELLO, &h, sizeof(h), tail, (size_t)(p - tail) + shape);
}

static int send_first(struct move_out *o)
{
	struct frame_commit ask;

	if (o->p.phase != MOVE_COMMIT && o->p.phase != MOVE_DOUBT)
		return send_hello(o);
	out_commit_frame(o, &ask);
	return out_send(o, FRAME_ASK, &ask, sizeof(ask), NULL, 0);
}

static void down(struct move_out *o)
{
	/* 50 ms, doubled with each try in a row: a peer that restarts needs a moment, a guest that waits has none. */
	o->relink_ns = out_now(o) + (50 * NS_PER_MS << MIN(o->relinks, 6u));
	o->relinks++;
	o->link_state = OUT_LINK_DOWN;
}

void out_link_close(struct move_out *o)
{
	if (o->link) {
		o->link_base += link_sent(o->link);
		link_free(o->link);
	}
	o->link = NULL;
	down(o);
}

void out_link_open(struct move_out *o)
{
	struct err err = { "" };
	struct env_conn *c = env_connect(o->env, o->plan.to, &err);

	o->link = c ? link_new(o->env, c) : NULL;
	if (!o->link) {
		out_event(o, "retry", "cannot connect to %s: %s", o->plan.to, c ? "out of memory" : err.text);
		down(o);
		return;
	}
	o->link_state = OUT_LINK_HELLO;
	send_first(o);
}

/* ---- frames from the target ------------------------------------------------------------------------------------------ */

static bool is_ours(const struct move_out *o, const uint8_t move[16]) { return !memcmp(move, o->id, 16); }

static void take_say(struct move_out *o, const struct link_msg *m, struct frame_say *s)
{
	size_t n = MIN(m->len - sizeof(*s), (size_t)FRAME_TEXT_MAX);

	memcpy(s, m->data, sizeof(*s));
	memcpy(o->say, m->data + sizeof(*s), n);
	o->say[n] = 0;
	for (size_t i = 0; i < n; i++)	/* it goes to people's terminals */
		if ((unsigned char)o->say[i] < 0x20 || o->say[i] == 0x7f)
			o->say[i] = ' ';
}

static int on_ready(struct move_out *o, const struct link_msg *m)
{
	struct frame_ready r;

	memcpy(&r, m->data, sizeof(r));
	if (!is_ours(o, r.move) || le32_get(r.version) != FRAME_VERSION || o->link_state != OUT_LINK_HELLO)
		return out_fail(o, -EPROTO, "the target answered another question than the one asked");
	if (o->ready) {
		out_event(o, "retry", "connected again after %u tries; what was not acknowledged is sent again", o->relinks);
		out_requeue(o);
	}
	o->relinks = 0;
	o->ready = true;
	o->link_state = OUT_LINK_UP;
	return 0;
}

static int on_say(struct move_out *o, const struct link_msg *m)
{
	struct frame_say s;
	bool asking = o->p.phase == MOVE_COMMIT || o->p.phase == MOVE_DOUBT;

	take_say(o, m, &s);
	if (!is_ours(o, s.move))
		return 0;
	switch (m->type) {
	case FRAME_STARTED: o->started = asking; return 0;
	case FRAME_NOT_STARTED: o->not_started = asking && !o->started; return 0;
	case FRAME_LATER: return 0;
	case FRAME_REFUSED:
		o->refused = true;
		return asking ? 0 : out_fail(o, -(int)MIN(MAX(le32_get(s.code), 1u), 4095u), "%s refused: %s", o->plan.to, o->say);
	default:
		o->target_failed = true;
		return asking ? 0 : out_fail(o, -EREMOTEIO, "%s gave up: %s", o->plan.to, o->say);
	}
}

static int on_frame(struct move_out *o, const struct link_msg *m)
{
	uint32_t lo, hi;
	const char *name;
	struct frame_sync s;

	if (!frame_limits(m->type, &lo, &hi, &name) || m->len < lo || m->len > hi)
		return out_fail(o, -EPROTO, "the target sent a frame that cannot be (type %u, %u bytes)", m->type, m->len);
	switch (m->type) {
	case FRAME_ALIVE: return 0;
	case FRAME_READY: return on_ready(o, m);
	case FRAME_SYNC_ACK:
		memcpy(&s, m->data, sizeof(s));
		synced(o, le64_get(s.seq));
		return 0;
	case FRAME_PREPARED:
		memcpy(&s, m->data, sizeof(s));
		o->prepared = o->p.phase == MOVE_TRANSFER && le64_get(s.seq) == o->sync_sent;
		return 0;
	case FRAME_STARTED: case FRAME_NOT_STARTED: case FRAME_LATER: case FRAME_REFUSED: case FRAME_ERROR: return on_say(o, m);
	default: return out_fail(o, -EPROTO, "the target sent %s, which only a source sends", name);
	}
}

static int receive(struct move_out *o)
{
	struct link_msg m;
	int n = 0, rc;

	while (n++ < FRAMES_PER_POLL && (rc = link_recv(o->link, &m)) != 0) {
		if (rc < 0)
			return rc;
		rc = on_frame(o, &m);
		if (rc)
			return rc;
	}
	return 0;
}

static void keep_alive(struct move_out *o)
{
	if (o->link_state == OUT_LINK_UP && out_now(o) - o->sent_ns > MIN(NS_PER_S, out_silence_ns(o) / 4))
		out_send(o, FRAME_ALIVE, NULL, 0, NULL, 0);
}

static int lost(struct move_out *o, int rc, const char *what)
{
	char text[200];

	snprintf(text, sizeof(text), "%s", what);
	out_link_close(o);
	switch (link_need(o)) {
	case NEED_NONE: return 0;
	case NEED_UNBROKEN: return out_fail(o, rc, "the connection to %s was lost %s: %s", o->plan.to,
					  what_stands(o), text);
	case NEED_RESUMABLE: break;
	}
	if (o->relinks > OUT_RELINKS_MAX)
		return out_fail(o, rc, "no connection to %s after %d tries: %s", o->plan.to, OUT_RELINKS_MAX, text);
	out_event(o, "retry", "no connection to %s (%s); trying again", o->plan.to, text);
	return 0;
}

int out_link_poll(struct move_out *o)
{
	int rc;

	if (!o->link) {
		if (link_need(o) == NEED_UNBROKEN)
			return out_fail(o, -ECONNRESET, "the connection to %s was lost %s", o->plan.to, what_stands(o));
		if (link_need(o) != NEED_RESUMABLE || !o->vm_open || out_now(o) < o->relink_ns)
			return 0;	/* a hello tells the VM's memory ranges */
		if (o->relinks > OUT_RELINKS_MAX)
			return out_fail(o, -ECONNRESET, "no connection to %s after %d tries", o->plan.to, OUT_RELINKS_MAX);
		out_link_open(o);
		return 0;
	}
	keep_alive(o);
	link_poll(o->link);
	rc = receive(o);
	if (rc && o->rc)
		return rc;	/* judged already: what the target said, not the connection */
	if (rc || *link_error(o->link))
		return lost(o, rc ? rc : -ECONNRESET, link_error(o->link));
	if (link_need(o) != NEED_NONE && out_now(o) - link_heard_ns(o->link) > out_silence_ns(o))
		return lost(o, -ETIMEDOUT, "no sign of life");
	return 0;
}

/* ---- phase connect --------------------------------------------------------------------------------------------------- */

static int open_vm(struct move_out *o)
{
	struct err err = { "" };
	int rc = o->vm->ops->open(o->vm, &o->vmi, &err);

	if (rc == -EAGAIN)
		return rc;
	if (rc)
		return out_fail(o, rc, "the guest's VM does not answer: %s", err.text);
	if (o->vmi.ranges > VM_RANGES_MAX)
		return out_fail(o, -EINVAL, "the guest has %u memory ranges, %d are possible", o->vmi.ranges, VM_RANGES_MAX);
	o->vm_open = true;
	if (o->vmi.streams && !(o->stream_buf = malloc(FRAME_PIECE_MAX + VM_IMAGE_MAX)))
		return out_fail(o, -ENOMEM, "out of memory for the VM's stream");
	o->vm_image = o->stream_buf ? o->stream_buf + FRAME_PIECE_MAX : NULL;
	if (o->vmi.moves_memory && (dirty_mem_init(&o->mem, o->vmi.range, o->vmi.ranges) ||
				    dirty_mem_init(&o->mem_sent, o->vmi.range, o->vmi.ranges) ||
				    dirty_mem_init(&o->mem_synced, o->vmi.range, o->vmi.ranges)))
		return out_fail(o, -ENOMEM, "out of memory for the dirty map");
	o->p.mem_total = o->vmi.moves_memory ? dirty_mem_total(&o->mem) : 0;
	return 0;
}

int out_connect_run(struct move_out *o)
{
	int rc;

	STEP_BEGIN(o->at);
	STEP_WAIT(o->at, (rc = open_vm(o)) != -EAGAIN);
	if (rc)
		return rc;
	STEP_WAIT(o->at, o->link_state == OUT_LINK_UP);	/* out_link_poll opens it, now and again */
	out_event(o, "decision", "%s is ready to take %s", o->plan.to, o->plan.guest);
	STEP_END(o->at);
}

int out_connect_undo(struct move_out *o)
{
	STEP_BEGIN(o->undo_at);
	if (o->link && !o->target_failed && !o->refused && !o->cancel_said)
		out_say(o, FRAME_CANCEL, o->rc, o->why);
	/* The row's time limit ends this if the stream takes nothing. */
	STEP_WAIT(o->undo_at, !o->link || *link_error(o->link) || !link_backlog(o->link));
	out_link_close(o);
	STEP_END(o->undo_at);
}
