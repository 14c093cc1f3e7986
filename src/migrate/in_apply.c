/* What arrives, onto the medium and into memory. Called from a session's poll, a bounded number of frames each time.
 *
 * A frame is judged whole before any of it is applied, then goes out in pieces of our controller's size. Several writes are in
 * flight, but never two over the same blocks: the last frame for a block must be the last one on the medium. A frame stays in the
 * link's buffer until its last piece is under way, which is also how a slow disk slows the source down.
 */
#include <errno.h>
#include <stdlib.h>

#include "migrate/in.h"
#include "migrate/sum.h"

enum { ZERO_MAX = 16 << 20 };	/* bytes of memory one frame may clear: a poll stays short whoever sends */

int in_apply_init(struct in_session *s)
{
	struct hnvme *h = s->m->site.mmc;

	hnvme_hold(h);
	s->holds = true;
	s->piece = MIN(hnvme_max_transfer(h), (uint32_t)FRAME_PIECE_MAX);
	s->page = hnvme_mem(h, 4096);
	s->image = malloc(FRAME_STATE_MAX);
	for (unsigned i = 0; i < IN_SLOTS; i++) {
		s->slot[i].buf = hnvme_mem(h, s->piece);
		if (!s->slot[i].buf)
			return -ENOMEM;
	}
	if (s->image)
		memset(s->image, 0, 256 * KIB);	/* touched now, not in the pause */
	return s->page && s->image ? 0 : -ENOMEM;
}

void in_let_go(struct in_session *s)
{
	if (s->holds)
		hnvme_release(s->m->site.mmc);
	s->holds = false;
}

void in_apply_fini(struct in_session *s)
{
	struct hnvme *h = s->m->site.mmc;

	in_let_go(s);
	for (unsigned i = 0; i < IN_SLOTS; i++)
		if (s->slot[i].buf)
			hnvme_mem_free(h, s->slot[i].buf, s->piece);
	if (s->page)
		hnvme_mem_free(h, s->page, 4096);
	free(s->image);
	s->image = NULL;
}

/* ---- writes in flight ------------------------------------------------------------------------------------------------- */

static void prepare(struct in_session *s, struct in_slot *t)
{
	uint32_t nsid = s->guest.ns[t->ns].nsid, bytes = (uint32_t)(t->nlb * s->ns[t->ns].block_bytes);

	switch (t->kind) {
	case IN_WRITE:
		hmlm_rw(mcmd_prep(&t->cmd, "Write", t->buf, bytes), NVME_NVM_WRITE, nsid, t->lba, (uint32_t)t->nlb);
		break;
	case IN_SUM:
		hmlm_rw(mcmd_prep(&t->cmd, "Read", t->buf, bytes), NVME_NVM_READ, nsid, t->lba, (uint32_t)t->nlb);
		break;
	case IN_ZERO:
		hmlm_write_zeroes(mcmd_prep(&t->cmd, "Write Zeroes", NULL, 0), nsid, t->lba, (uint32_t)t->nlb, true);
		break;
	}
}

static int compare_sum(struct in_session *s, const struct in_slot *t)
{
	XXH128_hash_t x = XXH3_128bits(t->buf, t->nlb * s->ns[t->ns].block_bytes);

	if (x.low64 == t->lo && x.high64 == t->hi)
		return 0;
	return in_fail(s, -EILSEQ, "namespace %u, %llu blocks at LBA %llu differ from the source's: the copy is wrong",
		       s->ns[t->ns].guest_nsid, (unsigned long long)t->nlb, (unsigned long long)t->lba);
}

static int slot_done(struct in_session *s, struct in_slot *t)
{
	struct err err;

	if (!mcmd_result(&t->cmd, &err)) {
		t->used = false;
		return t->kind == IN_SUM ? compare_sum(s, t) : 0;
	}
	if (t->cmd.rc || t->tries++)
		return in_fail(s, t->cmd.rc ? t->cmd.rc : -EIO, "namespace %u, LBA %llu: %s", s->ns[t->ns].guest_nsid,
			       (unsigned long long)t->lba, err.text);
	in_event(s, "retry", "namespace %u, LBA %llu: %s; trying once more", s->ns[t->ns].guest_nsid, (unsigned long long)t->lba, err.text);
	prepare(s, t);
	return 0;
}

int in_slots_poll(struct in_session *s)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < IN_SLOTS; i++)
		if (s->slot[i].used && mcmd_run(&s->slot[i].cmd, s->m->site.mmc, 1))
			rc = slot_done(s, &s->slot[i]);
	return rc;
}

bool in_slots_idle(const struct in_session *s)
{
	for (unsigned i = 0; i < IN_SLOTS; i++)
		if (s->slot[i].used)
			return false;
	return true;
}

/* A slot for [lba, lba+nlb) of a namespace; NULL: none free, or something over the same blocks is still in flight. */
static struct in_slot *slot_for(struct in_session *s, enum in_slot_kind kind, unsigned ns, uint64_t lba, uint64_t nlb)
{
	struct in_slot *found = NULL;

	for (unsigned i = 0; i < IN_SLOTS; i++) {
		struct in_slot *t = &s->slot[i];

		if (t->used && t->ns == ns && ranges_overlap(t->lba, t->nlb, lba, nlb))
			return NULL;
		if (!t->used && !found)
			found = t;
	}
	if (found)
		*found = (struct in_slot){ .used = true, .kind = kind, .buf = found->buf, .ns = ns, .lba = lba, .nlb = nlb };
	return found;
}

static void slot_start(struct in_session *s, struct in_slot *t)
{
	prepare(s, t);
	mcmd_run(&t->cmd, s->m->site.mmc, 1);	/* if it is done already, in_slots_poll sees that */
	if (s->m->site.pump) {
		s->m->site.pump(s->m->site.ctx);
		hnvme_poll(s->m->site.mmc);
	}
}

/* ---- frames ---------------------------------------------------------------------------------------------------------- */

static int nonsense(struct in_session *s, const char *what)
{
	return in_fail(s, -EPROTO, "the source sent %s that cannot be", what);
}

static bool blocks_ok(const struct in_session *s, uint32_t ns, uint64_t lba, uint64_t nlb)
{
	return s->mode == MOVE_COPY && ns < s->ns_count && nlb && range_inside(lba, nlb, s->ns[ns].blocks);
}

static int apply_data(struct in_session *s)
{
	struct frame_data h;
	uint32_t len = s->msg.len - sizeof(h), bb, ns;

	memcpy(&h, s->msg.data, sizeof(h));
	ns = le32_get(h.ns);
	if (ns >= s->ns_count || len % s->ns[ns].block_bytes || !blocks_ok(s, ns, le64_get(h.lba), len / s->ns[ns].block_bytes))
		return nonsense(s, "blocks");
	bb = s->ns[ns].block_bytes;
	while (s->msg_at < len) {
		uint32_t n = MIN(s->piece, len - (uint32_t)s->msg_at);
		struct in_slot *t = slot_for(s, IN_WRITE, ns, le64_get(h.lba) + s->msg_at / bb, n / bb);

		if (!t)
			return -EAGAIN;
		memcpy(t->buf, s->msg.data + sizeof(h) + s->msg_at, n);
		slot_start(s, t);
		s->msg_at += n;
	}
	s->p.ns_sent[ns] += len;
	return 0;
}

static struct frame_range range_at(const uint8_t *p, uint32_t i)
{
	struct frame_range r;

	memcpy(&r, p + i * sizeof(r), sizeof(r));
	return r;
}

static int apply_zero(struct in_session *s)
{
	struct frame_zero h;
	const uint8_t *ranges = s->msg.data + sizeof(h);
	uint32_t ns, count;

	memcpy(&h, s->msg.data, sizeof(h));
	ns = le32_get(h.ns);
	count = le32_get(h.count);
	if (!count || count > FRAME_RANGES_MAX || s->msg.len != sizeof(h) + count * sizeof(struct frame_range))
		return nonsense(s, "a list of holes");
	for (uint32_t i = 0; !s->judged && i < count; i++)
		if (!blocks_ok(s, ns, le64_get(range_at(ranges, i).at), le64_get(range_at(ranges, i).len)))
			return nonsense(s, "a hole");
	s->judged = true;
	while (s->zero_at < count) {
		struct frame_range r = range_at(ranges, s->zero_at);
		uint64_t left = le64_get(r.len) - s->msg_at, n = MIN(left, (uint64_t)s->zero_blocks);
		struct in_slot *t = slot_for(s, IN_ZERO, ns, le64_get(r.at) + s->msg_at, n);

		if (!t)
			return -EAGAIN;
		slot_start(s, t);
		s->msg_at = n == left ? 0 : s->msg_at + n;
		s->zero_at += n == left;
	}
	return 0;
}

static int apply_digest(struct in_session *s)
{
	struct frame_digest d;
	struct in_slot *t;
	uint32_t ns, nlb;

	memcpy(&d, s->msg.data, sizeof(d));
	ns = le32_get(d.ns);
	nlb = le32_get(d.nlb);
	if (!blocks_ok(s, ns, le64_get(d.lba), nlb))
		return nonsense(s, "a sum");
	if (nlb > s->piece / s->ns[ns].block_bytes)
		return in_fail(s, -E2BIG, "the source sums up more at once than this server's controller can read: move without verify");
	t = slot_for(s, IN_SUM, ns, le64_get(d.lba), nlb);
	if (!t)
		return -EAGAIN;
	t->lo = le64_get(d.lo);
	t->hi = le64_get(d.hi);
	slot_start(s, t);
	return 0;
}

static uint8_t *memory_at(struct in_session *s, uint64_t gpa, uint64_t bytes)
{
	if (!s->memory || !bytes || gpa % VM_PAGE || bytes % VM_PAGE)
		return NULL;
	for (unsigned i = 0; i < s->range_count; i++)
		if (gpa >= s->range[i].gpa && range_inside(gpa - s->range[i].gpa, bytes, s->range[i].bytes))
			return s->vm->ops->mem(s->vm, gpa, bytes);
	return NULL;
}

static int apply_mem(struct in_session *s)
{
	struct frame_mem h;
	uint32_t len = s->msg.len - sizeof(h);
	uint8_t *p;

	memcpy(&h, s->msg.data, sizeof(h));
	p = memory_at(s, le64_get(h.gpa), len);
	if (!p)
		return nonsense(s, "memory");
	memcpy(p, s->msg.data + sizeof(h), len);
	s->p.mem_sent += len;
	return 0;
}

static int apply_mem_zero(struct in_session *s)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < s->msg.len / sizeof(struct frame_range); i++) {
		struct frame_range r = range_at(s->msg.data, i);
		uint8_t *p = memory_at(s, le64_get(r.at), le64_get(r.len));

		if (!p || (total += le64_get(r.len)) > ZERO_MAX)
			return nonsense(s, "memory");
		memset(p, 0, le64_get(r.len));
	}
	return s->msg.len % sizeof(struct frame_range) ? nonsense(s, "memory") : 0;
}

/* A VMM that is slow to take its bytes slows the whole link down: nothing is kept for it here. */
static int apply_vm(struct in_session *s)
{
	struct err err = { "" };

	if (!s->stream || s->stream_ended)
		return nonsense(s, "a VM's memory");
	while (s->msg_at < s->msg.len) {
		int64_t n = s->vm->ops->stream_write(s->vm, s->msg.data + s->msg_at, s->msg.len - s->msg_at, &err);

		if (n < 0)
			return n == -EAGAIN ? -EAGAIN : in_fail(s, (int)n, "the VM here does not take what is sent to it: %s", err.text);
		s->msg_at += (uint64_t)n;
	}
	s->p.mem_sent += s->msg.len;
	return 0;
}

static int apply_vm_end(struct in_session *s)
{
	if (!s->stream || s->stream_ended || s->msg.len > sizeof(s->vm_image))
		return nonsense(s, "a VM's end");
	memcpy(s->vm_image, s->msg.data, s->msg.len);
	s->vm_image_len = s->msg.len;
	s->stream_ended = true;
	return 0;
}

static int apply_sync(struct in_session *s)
{
	if (!in_slots_idle(s))
		return -EAGAIN;
	return in_send(s->conn, FRAME_SYNC_ACK, s->msg.data, sizeof(struct frame_sync));
}

static int apply_state(struct in_session *s)
{
	struct frame_state h;
	uint32_t len = s->msg.len - sizeof(h), total, off;

	memcpy(&h, s->msg.data, sizeof(h));
	total = le32_get(h.total);
	off = le32_get(h.off);
	if (total > FRAME_STATE_MAX || total < HMLM_STATE_HEAD || total % 4 || off != s->image_got || !range_inside(off, len, total) ||
	    (off && total != s->image_len))
		return nonsense(s, "a piece of state");
	memcpy(s->image + off, s->msg.data + sizeof(h), len);
	s->image_len = total;
	s->image_got = off + len;
	if (!s->paused_ns)
		s->paused_ns = in_now(s->m);
	return 0;
}

static int apply_prepare(struct in_session *s)
{
	struct frame_prepare h;

	memcpy(&h, s->msg.data, sizeof(h));
	if (!s->image_len || s->stream_ended != s->stream || s->image_got != s->image_len || le32_get(h.state_bytes) != s->image_len)
		return nonsense(s, "a state");
	s->sync_seq = le64_get(h.seq);
	in_enter(s, IN_PREPARE, MOVE_TRANSFER);
	return 0;
}

static int apply_commit(struct in_session *s)
{
	struct frame_commit c;

	memcpy(&c, s->msg.data, sizeof(c));
	if (memcmp(c.move, s->id, sizeof(s->id)) || le64_get(c.epoch) != s->epoch)
		return nonsense(s, "a commit");
	in_enter(s, IN_STARTING, MOVE_COMMIT);
	return 0;
}

static int apply_cancel(struct in_session *s)
{
	size_t n = MIN(s->msg.len - sizeof(struct frame_say), sizeof(s->why) - 32);

	in_fail(s, 0, "the source ended it: %.*s", (int)n, (const char *)s->msg.data + sizeof(struct frame_say));
	return -ECANCELED;
}

/* Which frames may come when. */
static int apply(struct in_session *s)
{
	bool data = s->state == IN_APPLY;

	switch (s->msg.type) {
	case FRAME_ALIVE: return 0;
	case FRAME_CANCEL: return s->state < IN_STARTING ? apply_cancel(s) : 0;
	case FRAME_DATA: return data ? apply_data(s) : nonsense(s, "blocks now");
	case FRAME_ZERO: return data ? apply_zero(s) : nonsense(s, "a hole now");
	case FRAME_DIGEST: return data ? apply_digest(s) : nonsense(s, "a sum now");
	case FRAME_MEM: return data ? apply_mem(s) : nonsense(s, "memory now");
	case FRAME_MEM_ZERO: return data ? apply_mem_zero(s) : nonsense(s, "memory now");
	case FRAME_VM: return data ? apply_vm(s) : nonsense(s, "a VM's memory now");
	case FRAME_VM_END: return data ? apply_vm_end(s) : nonsense(s, "a VM's end now");
	case FRAME_SYNC: return data ? apply_sync(s) : nonsense(s, "a sync now");
	case FRAME_STATE: return data ? apply_state(s) : nonsense(s, "a state now");
	case FRAME_PREPARE: return data ? apply_prepare(s) : nonsense(s, "a prepare now");
	case FRAME_COMMIT:
		if (s->state == IN_PREPARED)
			return apply_commit(s);
		__attribute__((fallthrough));	/* too late or too early: answered like a question */
	case FRAME_ASK: {
		struct frame_commit c;

		memcpy(&c, s->msg.data, sizeof(c));
		in_answer(s->m, s->conn, &c);
		return 0;
	}
	case FRAME_ERROR: return apply_cancel(s);
	default: return nonsense(s, "a frame");
	}
}

static int next(struct in_session *s)
{
	uint32_t lo, hi;
	const char *name;
	int rc = link_recv(s->conn->link, &s->msg);

	if (rc <= 0)
		return rc ? -ECONNRESET : -EAGAIN;
	s->have_msg = true;
	s->judged = false;
	s->msg_at = s->zero_at = 0;
	if (!frame_limits(s->msg.type, &lo, &hi, &name) || s->msg.len < lo || s->msg.len > hi)
		return nonsense(s, "a frame");
	return 0;
}

/* -ECONNRESET: the connection is gone (its error says why). Other -errno: the session must end. */
int in_apply_poll(struct in_session *s, bool *did)
{
	enum in_state state = s->state;
	uint64_t bytes = 0;

	for (int i = 0; i < IN_FRAMES_PER_POLL && bytes < IN_BYTES_PER_POLL && s->conn && s->state == state; i++) {
		int rc = s->have_msg ? 0 : next(s);

		if (!rc)
			rc = apply(s);
		if (rc == -EAGAIN)
			return 0;
		if (rc)
			return rc;
		bytes += s->msg.len;
		s->have_msg = false;
		*did = true;
		rc = s->m->site.pump ? in_slots_poll(s) : 0;	/* so that the same slot, whose buffer is in the cache, takes the next */
		if (rc)
			return rc;
	}
	return 0;
}
