/* Perfetto's native trace: protobuf written by hand, because all of it is varints and lengths. Commands of one queue overlap, and slices
 * of one track must nest, so a queue has as many tracks as it ever has commands out. What is still out when the record ends is ended there,
 * and says so. What leads to what (export_flow.h) is drawn as flows. tests/e2e/perfetto.py says when a trace is right.
 *
 * Field numbers are those of the public trace schema (TracePacket, TrackDescriptor, TrackEvent, DebugAnnotation).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/buf.h"
#include "verify/describe.h"
#include "verify/export.h"
#include "verify/export_flow.h"
#include "verify/monitor.h"

enum { PACKET = 1, TIMESTAMP = 8, SEQUENCE = 10, EVENT = 11, SEQ_FLAGS = 13, DESCRIPTOR = 60 };
enum { D_UUID = 1, D_NAME = 2, D_PARENT = 5 };
enum { E_ANNOTATION = 4, E_TYPE = 9, E_TRACK = 11, E_CATEGORY = 22, E_NAME = 23, E_FLOW = 47, E_FLOW_END = 48 };
enum { A_UINT = 3, A_STRING = 6, A_POINTER = 7, A_NAME = 10 };
enum { BEGIN = 1, END = 2, INSTANT = 3 };

/* ---- protobuf ----------------------------------------------------------------------------------------------------------------- */

static void varint(struct buf *b, uint64_t v)
{
	uint8_t out[10];
	size_t n = 0;

	do {
		out[n++] = (uint8_t)(v & 0x7f) | (v > 0x7f ? 0x80 : 0);
		v >>= 7;
	} while (v);
	buf_add(b, out, n);
}
static void put_uint(struct buf *b, unsigned field, uint64_t v)
{
	varint(b, field << 3 | 0);
	varint(b, v);
}
static void put_fixed(struct buf *b, unsigned field, uint64_t v)
{
	le64 w = le64_of(v);

	varint(b, field << 3 | 1);
	buf_add(b, &w, 8);
}
static void put_bytes(struct buf *b, unsigned field, const void *p, size_t n)
{
	varint(b, field << 3 | 2);
	varint(b, n);
	buf_add(b, p, n);
}
static void put_text(struct buf *b, unsigned field, const char *s) { put_bytes(b, field, s, strlen(s)); }

/* ---- tracks -------------------------------------------------------------------------------------------------------------------- */

enum { KIND_CTRL, KIND_SQ, KIND_VECTOR, KIND_BELL, KIND_MSG, KIND_CDQ, KIND_BAD };
static uint64_t track_uuid(uint16_t ctrl, unsigned kind, unsigned a, unsigned slot)
{
	return 1 + (((uint64_t)ctrl << 40) | ((uint64_t)kind << 36) | ((uint64_t)(a & 0xffff) << 16) | (slot & 0xffff)) * 2;
}

struct open_cmd { uint64_t uid, track; unsigned queue; unsigned slot; };
struct queue { uint32_t key; uint8_t *busy; unsigned slots; };

struct trace {
	FILE *f;
	struct buf packet, event, note;
	uint64_t *known;		/* tracks described so far: an open-addressed set */
	unsigned known_cap, known_count;
	struct open_cmd *cmd;		/* out now: a hash by uid */
	unsigned cmd_cap, cmd_count;
	struct queue *queue;
	unsigned queues;
	struct flows *flows;
	uint64_t last_ns;		/* of what was written */
	bool failed;
};

static void send(struct trace *t, uint64_t ts, bool timed)
{
	struct buf *p = &t->packet, frame = { 0 };

	if (timed)
		put_uint(p, TIMESTAMP, ts);
	put_uint(p, SEQUENCE, 1);
	put_bytes(&frame, PACKET, p->data, p->len);
	t->failed |= frame.failed || p->failed || fwrite(frame.data, 1, frame.len, t->f) != frame.len;
	buf_fini(&frame);
	p->len = 0;
}

static bool remember(struct trace *t, uint64_t uuid)
{
	if (2 * t->known_count >= t->known_cap) {
		unsigned cap = t->known_cap ? 2 * t->known_cap : 256;
		uint64_t *p = calloc(cap, sizeof(*p));

		if (!p) {
			t->failed = true;
			return true;
		}
		for (unsigned i = 0; i < t->known_cap; i++)
			if (t->known[i]) {
				unsigned j = (unsigned)(t->known[i] * 0x9e3779b97f4a7c15ull >> 32) & (cap - 1);

				while (p[j])
					j = (j + 1) & (cap - 1);
				p[j] = t->known[i];
			}
		free(t->known);
		t->known = p;
		t->known_cap = cap;
	}
	for (unsigned j = (unsigned)(uuid * 0x9e3779b97f4a7c15ull >> 32) & (t->known_cap - 1);; j = (j + 1) & (t->known_cap - 1)) {
		if (t->known[j] == uuid)
			return true;
		if (!t->known[j]) {
			t->known[j] = uuid;
			t->known_count++;
			return false;
		}
	}
}

static uint64_t track(struct trace *t, uint16_t ctrl, unsigned kind, unsigned a, unsigned slot, const char *name)
{
	uint64_t uuid = track_uuid(ctrl, kind, a, slot);
	char top[32];

	if (remember(t, uuid))
		return uuid;
	t->event.len = 0;
	put_uint(&t->event, D_UUID, uuid);
	if (kind != KIND_CTRL) {
		snprintf(top, sizeof(top), "controller %u", ctrl);
		struct buf keep = t->event;

		t->event = (struct buf){ 0 };
		put_uint(&keep, D_PARENT, track(t, ctrl, KIND_CTRL, 0, 0, top));
		buf_fini(&t->event);
		t->event = keep;
	}
	put_text(&t->event, D_NAME, name);
	put_bytes(&t->packet, DESCRIPTOR, t->event.data, t->event.len);
	send(t, 0, false);
	return uuid;
}

/* ---- events -------------------------------------------------------------------------------------------------------------------- */

static void begin_event(struct trace *t, unsigned type, uint64_t uuid)
{
	t->event.len = 0;
	put_uint(&t->event, E_TYPE, type);
	put_uint(&t->event, E_TRACK, uuid);
}
static void annotate(struct trace *t, const char *name, uint64_t v, bool address)
{
	t->note.len = 0;
	put_text(&t->note, A_NAME, name);
	put_uint(&t->note, address ? A_POINTER : A_UINT, v);
	put_bytes(&t->event, E_ANNOTATION, t->note.data, t->note.len);
}
static void annotate_text(struct trace *t, const char *name, const char *v)
{
	t->note.len = 0;
	put_text(&t->note, A_NAME, name);
	put_text(&t->note, A_STRING, v);
	put_bytes(&t->event, E_ANNOTATION, t->note.data, t->note.len);
}
static void end_event(struct trace *t, uint64_t ts)
{
	put_bytes(&t->packet, EVENT, t->event.data, t->event.len);
	t->last_ns = MAX(t->last_ns, ts);
	send(t, ts, true);
}

static void put_flow_begin(struct trace *t, uint64_t uid)
{
	if (flow_begins(t->flows, uid))
		put_fixed(&t->event, E_FLOW, uid);
}
static void put_flow_join(struct trace *t, uint64_t uid)
{
	enum flow_point at = flow_joins(t->flows, uid);

	if (at != FLOW_NONE)
		put_fixed(&t->event, at == FLOW_LAST ? E_FLOW_END : E_FLOW, uid);
}

/* ---- commands that are out ------------------------------------------------------------------------------------------------------- */

static struct open_cmd *cmd_slot(struct trace *t, uint64_t uid)
{
	unsigned i = (unsigned)(uid * 0x9e3779b97f4a7c15ull >> 32) & (t->cmd_cap - 1);

	while (t->cmd[i].uid && t->cmd[i].uid != uid)
		i = (i + 1) & (t->cmd_cap - 1);
	return &t->cmd[i];
}

static bool cmd_room(struct trace *t)
{
	struct open_cmd *old = t->cmd;
	unsigned cap = t->cmd_cap;

	if (2 * t->cmd_count < t->cmd_cap)
		return true;
	t->cmd_cap = cap ? 2 * cap : 256;
	t->cmd = calloc(t->cmd_cap, sizeof(*t->cmd));
	if (!t->cmd) {
		t->cmd = old;
		t->cmd_cap = cap;
		return false;
	}
	for (unsigned i = 0; i < cap; i++)
		if (old[i].uid)
			*cmd_slot(t, old[i].uid) = old[i];
	free(old);
	return true;
}

static struct open_cmd *cmd_out(struct trace *t, uint64_t uid)
{
	struct open_cmd *c = t->cmd_cap && uid ? cmd_slot(t, uid) : NULL;

	return c && c->uid ? c : NULL;
}

/* Takes it out; those behind it in its chain move up. */
static void cmd_drop(struct trace *t, struct open_cmd *c)
{
	unsigned i = (unsigned)(c - t->cmd);

	t->queue[c->queue].busy[c->slot] = 0;
	c->uid = 0;
	t->cmd_count--;
	for (i = (i + 1) & (t->cmd_cap - 1); t->cmd[i].uid; i = (i + 1) & (t->cmd_cap - 1)) {
		struct open_cmd moved = t->cmd[i];

		t->cmd[i].uid = 0;
		*cmd_slot(t, moved.uid) = moved;
	}
}

static int queue_of(struct trace *t, uint16_t ctrl, uint16_t sq)
{
	uint32_t key = (uint32_t)ctrl << 16 | sq;
	struct queue *p;

	for (unsigned i = 0; i < t->queues; i++)
		if (t->queue[i].key == key)
			return (int)i;
	p = realloc(t->queue, (t->queues + 1) * sizeof(*p));
	if (!p)
		return -1;
	t->queue = p;
	p[t->queues] = (struct queue){ .key = key };
	return (int)t->queues++;
}

static int slot_of(struct queue *q)
{
	uint8_t *p;

	for (unsigned i = 0; i < q->slots; i++)
		if (!q->busy[i])
			return (int)i;
	p = realloc(q->busy, q->slots + 1);
	if (!p)
		return -1;
	q->busy = p;
	p[q->slots] = 0;
	return (int)q->slots++;
}

static void cmd_begin(struct trace *t, const struct rec *r)
{
	char name[DESCRIBE_NAME], tname[64];
	int q = queue_of(t, r->ctrl, r->sq), slot = q < 0 ? -1 : slot_of(&t->queue[q]);
	struct open_cmd *c;

	if (slot < 0 || !cmd_room(t)) {
		t->failed = true;
		return;
	}
	c = cmd_slot(t, r->uid);
	if (c->uid)
		return; /* a record that says it twice */
	snprintf(tname, sizeof(tname), "SQ %u, %d", r->sq, slot);
	*c = (struct open_cmd){ r->uid, track(t, r->ctrl, KIND_SQ, r->sq, (unsigned)slot, tname), (unsigned)q, (unsigned)slot };
	t->queue[q].busy[slot] = 1;
	t->cmd_count++;
	begin_event(t, BEGIN, c->track);
	put_text(&t->event, E_CATEGORY, "nvme");
	put_text(&t->event, E_NAME, describe_op(!r->sq, r->opc, name));
	put_flow_join(t, flow_before(t->flows, r->uid));
	annotate(t, "uid", r->uid, false);
	annotate(t, "cid", r->cid, false);
	annotate(t, "sqe", r->addr, true);
	annotate(t, "bytes", r->len, false);
	end_event(t, r->t0_ns);
}

static void cmd_end(struct trace *t, const struct rec *done)
{
	struct open_cmd *c = cmd_out(t, done->uid);

	if (!c)
		return;
	begin_event(t, END, c->track);
	if (done->status != REC_STATUS_NONE)
		annotate_text(t, "status", nvme_status_name(done->status));
	else
		annotate_text(t, "status", "none: the queue is gone");
	end_event(t, done->t1_ns);
	cmd_drop(t, c);
}

static void end_what_is_out(struct trace *t)
{
	for (unsigned i = 0; i < t->cmd_cap; i++) {
		if (!t->cmd[i].uid)
			continue;
		begin_event(t, END, t->cmd[i].track);
		annotate_text(t, "status", "none: out when the record ends");
		end_event(t, t->last_ns);
	}
}

/* Something of a command stands inside its slice; what has none on the controller's own track. */
static void instant(struct trace *t, const struct rec *r, uint64_t uuid, const char *name)
{
	struct open_cmd *c = cmd_out(t, r->parent);

	begin_event(t, INSTANT, c ? c->track : uuid);
	put_text(&t->event, E_CATEGORY, rec_kind_name(r->kind));
	put_text(&t->event, E_NAME, name);
	put_flow_begin(t, r->uid);
	if (r->kind == REC_MSIX)
		put_flow_join(t, r->parent);
	annotate(t, "uid", r->uid, false);
	if (r->addr)
		annotate(t, "addr", r->addr, true);
	if (r->len)
		annotate(t, "len", r->len, false);
	annotate(t, "val", r->val, false);
	if (r->note[0])
		annotate_text(t, "note", r->note);
	end_event(t, r->t0_ns);
}

static void put_msg(struct trace *t, const struct rec *r)
{
	struct buf b = { 0 };

	describe_message_brief(&b, r->raw, r->raw_len);
	instant(t, r, track(t, r->ctrl, KIND_MSG, r->actor, 0, r->actor == REC_BY_HOST ? "messages of the host" : "messages of the device"),
		b.data ? (char *)b.data : "?");
	buf_fini(&b);
}

static void put_txn(struct trace *t, const struct rec *r)
{
	char name[64];

	switch (r->kind) {
	case REC_CMD:
		cmd_begin(t, r);
		return;
	case REC_VFIO_MSG:
		put_msg(t, r);
		return;
	case REC_DBL:
		snprintf(name, sizeof(name), "%s %u %s", r->cq == REC_NONE ? "SQ" : "CQ", r->cq == REC_NONE ? r->sq : r->cq,
			 r->cq == REC_NONE ? "tail" : "head");
		instant(t, r, track(t, r->ctrl, KIND_BELL, 0, 0, "doorbells"), name);
		return;
	case REC_MSIX:
		snprintf(name, sizeof(name), "vector %u", (unsigned)r->val);
		instant(t, r, track(t, r->ctrl, KIND_VECTOR, (unsigned)r->val, 0, name), "interrupt");
		return;
	case REC_MASK:
		snprintf(name, sizeof(name), "vector %u", (unsigned)r->val);
		instant(t, r, track(t, r->ctrl, KIND_VECTOR, (unsigned)r->val, 0, name), r->status ? "masked" : "unmasked");
		return;
	case REC_CDQ_ENTRY:
		snprintf(name, sizeof(name), "data queue %u", r->cq);
		instant(t, r, track(t, r->ctrl, KIND_CDQ, r->cq, 0, name), "entry");
		return;
	case REC_VIOLATION:
		instant(t, r, track(t, r->ctrl, KIND_BAD, 0, 0, "violations"), r->val < RULE_COUNT ? monitor_rules[r->val].id : "violation");
		return;
	case REC_CQE:
		instant(t, r, track(t, r->ctrl, KIND_BAD, 1, 0, "completions of nothing"), "completion");
		return;
	default:
		snprintf(name, sizeof(name), "controller %u", r->ctrl);
		instant(t, r, track(t, r->ctrl, KIND_CTRL, 0, 0, name), rec_kind_name(r->kind));
		return;
	}
}

static void trace_fini(struct trace *t)
{
	for (unsigned i = 0; i < t->queues; i++)
		free(t->queue[i].busy);
	free(t->queue);
	free(t->cmd);
	free(t->known);
	flows_free(t->flows);
	buf_fini(&t->packet);
	buf_fini(&t->event);
	buf_fini(&t->note);
}

int export_perfetto(const char *record, FILE *f, struct err *err)
{
	struct rec_reader *rd = rec_reader_open(record, err);
	struct trace t = { .f = f, .flows = rd ? flows_read(record, err) : NULL };
	struct rec_item it;
	int rc = rd ? t.flows ? 0 : -EIO : -ENOENT;

	while (!rc && !t.failed && (rc = rec_read(rd, &it, err)) == 1) {
		if (it.what == REC_ITEM_TXN)
			put_txn(&t, &it.rec);
		else if (it.what == REC_ITEM_DONE)
			cmd_end(&t, &it.rec);
		rc = 0;
	}
	if (!rc)
		end_what_is_out(&t);
	if (t.failed)
		rc = err_set(err, -EIO, "perfetto: out of memory, or the disk is full");
	trace_fini(&t);
	if (rd)
		rec_reader_close(rd);
	return rc;
}
