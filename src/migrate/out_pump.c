/* The copying machine of the source: several commands in flight through the MMC, their results onto the link in the order of
 * submission, and guest pages. Called from the phases of move_out, a bounded amount each time (out.h has the ordering rule).
 */
#include <errno.h>
#include <stdlib.h>

#include "migrate/out.h"
#include "migrate/sum.h"

enum { STAT_BYTES = 4096, MEM_RUN = 256 * 1024, STAT_RANGES = STAT_BYTES / 16 + 1 };

int out_pump_init(struct move_out *o)
{
	o->piece = MIN(hnvme_max_transfer(o->mmc), (uint32_t)FRAME_PIECE_MAX);
	while (o->spares < OUT_SLOTS) {
		o->spare[o->spares] = hnvme_mem(o->mmc, o->piece);
		if (!o->spare[o->spares])
			return -ENOMEM;
		o->spares++;
	}
	for (unsigned i = 0; i < o->ns_count; i++) {
		struct out_ns *n = &o->ns[i];
		struct dirty *const set[] = { &n->dirty, &n->ask, &n->sent, &n->synced };

		n->id = o->guest.ns[i];
		for (unsigned k = 0; k < ARRAY_LEN(set); k++)
			if (dirty_init(set[k], n->id.blocks, n->id.block_bytes))
				return -ENOMEM;
		if ((uint64_t)n->id.block_bytes << n->dirty.shift > o->piece)
			return -EFBIG;	/* a granule must fit one read: hundreds of TiB are needed to come here */
	}
	return 0;
}

void out_pump_fini(struct move_out *o)
{
	while (o->spares)
		hnvme_mem_free(o->mmc, o->spare[--o->spares], o->piece);
	for (unsigned i = 0; i < OUT_SLOTS; i++)
		if (o->slot[i].buf)
			hnvme_mem_free(o->mmc, o->slot[i].buf, o->piece);
}

void out_sets_fini(struct move_out *o)
{
	for (unsigned i = 0; i < o->ns_count; i++) {
		dirty_fini(&o->ns[i].dirty);
		dirty_fini(&o->ns[i].ask);
		dirty_fini(&o->ns[i].sent);
		dirty_fini(&o->ns[i].synced);
	}
	dirty_mem_fini(&o->mem);
	dirty_mem_fini(&o->mem_sent);
	dirty_mem_fini(&o->mem_synced);
}

bool out_busy(const struct move_out *o)
{
	for (unsigned i = 0; i < OUT_SLOTS; i++)
		if (mcmd_busy(&o->slot[i].cmd))
			return true;
	return mcmd_busy(&o->cmd) || mcmd_busy(&o->head_cmd) || mcmd_busy(&o->track_cmd) || mcmd_busy(&o->state_cmd) ||
	       mcmd_busy(&o->abort_cmd);
}

static bool all_zero(const uint8_t *p, size_t len) { return !len || (!p[0] && !memcmp(p, p + 1, len - 1)); }

static void account(struct move_out *o, uint64_t bytes)
{
	o->unsynced += bytes;
	o->tokens -= (double)bytes;
}

/* ---- results, oldest first ------------------------------------------------------------------------------------------- */

static int send_zero(struct move_out *o, unsigned ns, const struct frame_range *r, unsigned count)
{
	struct frame_zero h = { .ns = le32_of(ns), .count = le32_of(count) };
	int rc = count ? out_send(o, FRAME_ZERO, &h, sizeof(h), r, count * sizeof(*r)) : 0;

	if (rc)
		return rc;
	for (unsigned i = 0; i < count; i++)
		dirty_add(&o->ns[ns].sent, le64_get(r[i].at), le64_get(r[i].len));
	account(o, count * sizeof(*r));
	return 0;
}

static int finish_read(struct move_out *o, struct out_slot *s)
{
	struct out_ns *n = &o->ns[s->ns];
	size_t len = s->nlb * n->id.block_bytes;
	struct frame_data h = { .ns = le32_of(s->ns), .lba = le64_of(s->lba) };
	int rc;

	if (all_zero(s->buf, len)) {
		struct frame_range r = { le64_of(s->lba), le64_of(s->nlb) };

		rc = send_zero(o, s->ns, &r, 1);
	} else {
		rc = out_send_still(o, FRAME_DATA, &h, sizeof(h), s->buf, len);
		if (!rc)
			account(o, len);
	}
	if (rc)
		return rc;
	dirty_add(&n->sent, s->lba, s->nlb);
	n->sent_bytes += len;
	return 0;
}

static int finish_sum(struct move_out *o, struct out_slot *s)
{
	XXH128_hash_t x = XXH3_128bits(s->buf, s->nlb * o->ns[s->ns].id.block_bytes);
	struct frame_digest d = { .ns = le32_of(s->ns), .nlb = le32_of((uint32_t)s->nlb), .lba = le64_of(s->lba),
				  .lo = le64_of(x.low64), .hi = le64_of(x.high64) };

	return out_send(o, FRAME_DIGEST, &d, sizeof(d), NULL, 0);
}

static void hole(struct frame_range *r, unsigned *count, uint64_t from, uint64_t to)
{
	if (from < to)
		r[(*count)++] = (struct frame_range){ le64_of(from), le64_of(to - from) };
}

/* Splits the range asked about into holes (sent as zeroes, behind everything read before) and allocated parts (to be read).
 * The answer may end early; what it did not cover is asked for again. Nothing is changed before the holes are on the link. */
static int finish_stat(struct move_out *o, struct out_slot *s)
{
	struct out_ns *n = &o->ns[s->ns];
	uint64_t end = s->lba + s->nlb, pos = s->lba, at, len, gran = 1ull << n->ask.shift;
	struct frame_range holes[STAT_RANGES];
	struct hmlm_lbas l;
	struct err err;
	unsigned count = 0;
	int rc = hmlm_lbas_parse(s->buf, STAT_BYTES, s->lba, &l, &err);

	while (!rc && pos < end && (rc = hmlm_lbas_next(&l, &at, &len)) == 1) {
		rc = 0;
		if (at >= end) {
			hole(holes, &count, pos, end);
			pos = end;
			break;
		}
		hole(holes, &count, pos, at);
		pos = at + len;
	}
	if (rc < 0)
		return out_fail(o, rc, "Get LBA Status of namespace %u at LBA %llu: the answer makes no sense", n->id.nsid,
				(unsigned long long)s->lba);
	if (pos < end && !l.more) {
		hole(holes, &count, pos, end);
		pos = end;
	}
	rc = send_zero(o, s->ns, holes, count);
	if (rc)
		return rc;
	hmlm_lbas_parse(s->buf, STAT_BYTES, s->lba, &l, NULL);
	while (hmlm_lbas_next(&l, &at, &len) == 1 && at < end) {
		len = MIN(len, end - at);
		dirty_add(&n->dirty, at, len);
		n->allocated = MIN(n->allocated + len, n->id.blocks);
	}
	if (pos < end && pos % gran) {	/* never ask about half a granule: it would be asked for again and again */
		dirty_add(&n->dirty, pos, 1);
		pos = round_up(pos, gran);
	}
	if (pos < end)
		dirty_add(&n->ask, pos, end - pos);
	n->stats--;
	return 0;
}

static int finish(struct move_out *o, struct out_slot *s)
{
	switch (s->kind) {
	case SLOT_READ: return finish_read(o, s);
	case SLOT_STAT: return finish_stat(o, s);
	case SLOT_SUM: return finish_sum(o, s);
	}
	return -EINVAL;
}

static void prepare(struct move_out *o, struct out_slot *s)
{
	struct out_ns *n = &o->ns[s->ns];

	if (s->kind == SLOT_STAT)
		hmlm_lba_status(mcmd_prep(&s->cmd, "Get LBA Status", s->buf, STAT_BYTES), n->id.nsid, s->lba,
				s->nlb <= UINT16_MAX ? (uint16_t)s->nlb : 0, STAT_BYTES);
	else
		hmlm_rw(mcmd_prep(&s->cmd, "Read", s->buf, (uint32_t)s->nlb * n->id.block_bytes), NVME_NVM_READ, n->id.nsid, s->lba,
			(uint32_t)s->nlb);
}

/* Get LBA Status is an admin command (NVM Command Set 4.2.1). */
static bool slot_run(struct move_out *o, struct out_slot *s) { return mcmd_run(&s->cmd, o->mmc, s->kind == SLOT_STAT ? 0 : 1); }

/* A read that failed is tried once more; then the move ends, naming the block, and the guest stays where its data is. */
static int retry(struct move_out *o, struct out_slot *s)
{
	struct err err;

	mcmd_result(&s->cmd, &err);
	if (s->cmd.rc || s->tries++)
		return out_fail(o, s->cmd.rc ? s->cmd.rc : -EIO, "namespace %u, %llu blocks at LBA %llu: %s", o->ns[s->ns].id.nsid,
				(unsigned long long)s->nlb, (unsigned long long)s->lba, err.text);
	out_event(o, "retry", "namespace %u, LBA %llu: %s; trying once more", o->ns[s->ns].id.nsid, (unsigned long long)s->lba,
		  err.text);
	prepare(o, s);
	return -EAGAIN;
}

/* While bytes of an earlier frame wait, a frame would have to be copied behind them. It stays where it is instead. */
static bool takes(struct move_out *o)
{
	if (o->link && link_backlog(o->link))
		link_poll(o->link);
	return !o->link || !link_backlog(o->link);
}

/* 0: the oldest is finished and gone; -EAGAIN: not yet; -errno. */
static int finish_oldest(struct move_out *o)
{
	struct out_slot *s = &o->slot[o->slot_first];
	int rc;

	if (!slot_run(o, s) || !takes(o))
		return -EAGAIN;
	rc = s->cmd.rc || s->cmd.status ? retry(o, s) : o->link_state == OUT_LINK_UP ? finish(o, s) : -EAGAIN;
	if (rc)
		return rc;
	o->stream_last = false;
	s->cmd.state = MCMD_IDLE;
	o->spare[o->spares++] = s->buf;
	s->buf = NULL;
	o->slot_first = (o->slot_first + 1) % OUT_SLOTS;
	o->slot_count--;
	return 0;
}

/* ---- new work -------------------------------------------------------------------------------------------------------- */

static void start(struct move_out *o, enum out_slot_kind kind, unsigned ns, uint64_t lba, uint64_t nlb)
{
	struct out_slot *s = &o->slot[(o->slot_first + o->slot_count++) % OUT_SLOTS];

	*s = (struct out_slot){ .kind = kind, .ns = ns, .lba = lba, .nlb = nlb, .buf = o->spare[--o->spares] };
	o->ns[ns].stats += kind == SLOT_STAT;
	prepare(o, s);
	slot_run(o, s);
}

static bool start_sum(struct move_out *o, unsigned ns)
{
	struct out_ns *n = &o->ns[ns];
	uint64_t nlb = MIN(o->piece / n->id.block_bytes, n->id.blocks - n->sum_at);

	if (!nlb)
		return false;
	start(o, SLOT_SUM, ns, n->sum_at, nlb);
	n->sum_at += nlb;
	return true;
}

static bool start_blocks(struct move_out *o, unsigned ns)
{
	struct out_ns *n = &o->ns[ns];
	uint64_t lba, nlb;

	if (dirty_any(&n->ask)) {
		if (!dirty_take(&n->ask, &n->ask_cursor, UINT64_MAX, &lba, &nlb)) {
			n->ask_cursor = 0;
			dirty_take(&n->ask, &n->ask_cursor, UINT64_MAX, &lba, &nlb);
		}
		start(o, SLOT_STAT, ns, lba, nlb);
		return true;
	}
	if (dirty_take(&n->dirty, &n->cursor, o->piece / n->id.block_bytes, &lba, &nlb)) {
		start(o, SLOT_READ, ns, lba, nlb);
		return true;
	}
	n->pass_done = !n->stats;
	return false;
}

static bool start_one(struct move_out *o)
{
	for (unsigned k = 0; k < o->ns_count; k++) {
		unsigned ns = o->ns_turn++ % o->ns_count;

		if (o->summing ? start_sum(o, ns) : start_blocks(o, ns))
			return true;
	}
	return false;
}

/* ---- pages ----------------------------------------------------------------------------------------------------------- */

static int send_pages(struct move_out *o, uint64_t gpa, const uint8_t *p, uint64_t bytes, bool zero)
{
	struct frame_range z = { le64_of(gpa), le64_of(bytes) };
	struct frame_mem h = { .gpa = le64_of(gpa) };
	int rc = zero ? out_send(o, FRAME_MEM_ZERO, &z, sizeof(z), NULL, 0)
		      : out_send(o, FRAME_MEM, &h, sizeof(h), p, bytes);

	if (rc)
		return rc;
	dirty_mem_add(&o->mem_sent, gpa, bytes);
	account(o, zero ? sizeof(z) : bytes);
	o->p.mem_sent += bytes;
	return 0;
}

/* One run of dirty pages, in stretches that are all zero or all not. The bits are clear before the pages are copied, so a write
 * during the copy marks them again. What the link does not take goes back into the set. */
static int pump_pages(struct move_out *o)
{
	uint64_t gpa, bytes, at = 0;
	const uint8_t *p;

	if (!dirty_mem_take(&o->mem, &o->mem_cursor, MEM_RUN, &gpa, &bytes)) {
		o->mem_pass_done = true;
		return -ENOENT;
	}
	p = o->vm->ops->mem(o->vm, gpa, bytes);
	if (!p)
		return out_fail(o, -EFAULT, "guest memory at %llx is not accessible", (unsigned long long)gpa);
	while (at < bytes) {
		bool zero = all_zero(p + at, VM_PAGE);
		uint64_t n = VM_PAGE;
		int rc;

		while (at + n < bytes && all_zero(p + at + n, VM_PAGE) == zero)
			n += VM_PAGE;
		rc = send_pages(o, gpa + at, p + at, n, zero);
		if (rc) {
			dirty_mem_add(&o->mem, gpa + at, bytes - at);
			o->mem_cursor -= (bytes - at) / VM_PAGE;
			return rc;
		}
		at += n;
	}
	return 0;
}

/* ---- the machine ----------------------------------------------------------------------------------------------------- */

/* Token bucket of the bandwidth cap, a tenth of a second deep. The stop does not wait for it: there the pause counts. */
static bool may_start(struct move_out *o)
{
	uint64_t now = out_now(o);

	if (o->link_state != OUT_LINK_UP || link_backlog(o->link) > OUT_SOFT_BACKLOG)
		return false;
	if (!o->plan.bandwidth || o->vm_paused)
		return true;
	o->tokens += (double)(now - o->tokens_ns) / 1e9 * (double)o->plan.bandwidth;
	o->tokens = MIN(o->tokens, (double)o->plan.bandwidth / 10);
	o->tokens_ns = now;
	return o->tokens > 0;
}

/* What is done, oldest first, and into the queue what found no room. 0 or -errno. */
static int finish_some(struct move_out *o, bool *moved)
{
	int rc = 0;

	while (o->slot_count && !(rc = finish_oldest(o)))
		*moved = true;
	for (unsigned i = 0; i < o->slot_count; i++) {
		struct out_slot *s = &o->slot[(o->slot_first + i) % OUT_SLOTS];

		if (!slot_run(o, s) && !mcmd_busy(&s->cmd))
			break;	/* no room in the queue: later ones wait their turn */
	}
	return rc == -EAGAIN ? 0 : rc;
}

/* 0: something was started; -ENOENT: there is nothing, or no slot for it; -errno. */
static int start_some(struct move_out *o)
{
	bool any = o->slot_count < OUT_SLOTS && start_one(o);
	int rc = o->vmi.moves_memory && !o->summing ? pump_pages(o) : -ENOENT;

	if (rc && rc != -ENOENT && rc != -EAGAIN)
		return rc;
	return any || !rc ? 0 : -ENOENT;
}

bool out_pump(struct move_out *o, bool start_new, int *rc)
{
	bool moved = false;

	*rc = finish_some(o, &moved);
	for (unsigned i = 0; !*rc && start_new && i < OUT_PUMP_MAX && may_start(o) && !(*rc = start_some(o)); i++) {
		moved = true;
		if (!o->site.pump)
			continue;
		o->site.pump(o->site.ctx);
		hnvme_poll(o->mmc);
		*rc = finish_some(o, &moved);
	}
	if (*rc == -ENOENT)
		*rc = 0;
	return moved || *rc;
}

bool out_pump_waits(const struct move_out *o)
{
	return o->slot_count && o->slot[o->slot_first].cmd.state == MCMD_DONE;
}

bool out_pump_idle(const struct move_out *o) { return !o->slot_count; }

void out_pass_begin(struct move_out *o)
{
	for (unsigned i = 0; i < o->ns_count; i++) {
		o->ns[i].cursor = 0;
		o->ns[i].pass_done = false;
	}
	o->mem_cursor = 0;
	o->mem_pass_done = !o->vmi.moves_memory;
}

bool out_pass_over(struct move_out *o)
{
	for (unsigned i = 0; i < o->ns_count; i++)
		if (!o->ns[i].pass_done || dirty_any(&o->ns[i].ask))
			return false;
	return o->mem_pass_done && out_pump_idle(o) && o->link_state == OUT_LINK_UP;
}

void out_sum_begin(struct move_out *o)
{
	o->summing = true;
	for (unsigned i = 0; i < o->ns_count; i++)
		o->ns[i].sum_at = 0;
}

bool out_sum_over(const struct move_out *o)
{
	for (unsigned i = 0; i < o->ns_count; i++)
		if (o->ns[i].sum_at < o->ns[i].id.blocks)
			return false;
	return out_pump_idle(o);
}

/* Nobody knows which of these the target applied. They are asked about again, because they may have been holes. */
void out_requeue(struct move_out *o)
{
	for (unsigned i = 0; i < o->ns_count; i++) {
		dirty_merge(&o->ns[i].ask, &o->ns[i].sent);
		dirty_merge(&o->ns[i].ask, &o->ns[i].synced);
		o->ns[i].pass_done = false;
	}
	if (o->vmi.moves_memory) {
		dirty_mem_merge(&o->mem, &o->mem_sent);
		dirty_mem_merge(&o->mem, &o->mem_synced);
		o->mem_pass_done = false;
	}
	o->unsynced = o->synced_bytes = 0;
	o->sync_acked = o->sync_sent;
}
