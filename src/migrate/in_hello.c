/* A HELLO from somebody: judged as what it is, bytes from a stranger. Then the place for the guest, step by step. */
#include <errno.h>
#include <stdio.h>

#include "migrate/in.h"

/* ---- judging --------------------------------------------------------------------------------------------------------- */

/* A name becomes part of a record's name and of what people read. */
static bool good_name(const uint8_t *p, size_t cap)
{
	size_t n = strnlen((const char *)p, cap);

	if (!n || n == cap || p[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!(p[i] >= 'a' && p[i] <= 'z') && !(p[i] >= 'A' && p[i] <= 'Z') && !(p[i] >= '0' && p[i] <= '9') &&
		    p[i] != '-' && p[i] != '_' && p[i] != '.')
			return false;
	return true;
}

static bool good_text(const uint8_t *p, size_t cap)
{
	size_t n = strnlen((const char *)p, cap);

	for (size_t i = 0; i < n; i++)
		if (p[i] < 0x20 || p[i] > 0x7e)
			return false;
	return n < cap;
}

static int take_ns(struct in_session *s, unsigned i, const uint8_t *p, struct err *err)
{
	struct move_ns *n = &s->ns[i];
	struct frame_ns f;

	memcpy(&f, p, sizeof(f));
	*n = (struct move_ns){ .guest_nsid = le32_get(f.guest_nsid), .block_bytes = le32_get(f.block_bytes),
			       .blocks = le64_get(f.blocks) };
	memcpy(n->nguid, f.nguid, sizeof(n->nguid));
	memcpy(n->eui64, f.eui64, sizeof(n->eui64));
	memcpy(n->uuid, f.uuid, sizeof(n->uuid));
	if (!n->guest_nsid || n->guest_nsid == UINT32_MAX || (n->block_bytes != 512 && n->block_bytes != 4096) || !n->blocks ||
	    n->blocks > (1ull << 62) / n->block_bytes)
		return err_set(err, -EINVAL, "namespace %u: %llu blocks of %u bytes cannot be", n->guest_nsid,
			       (unsigned long long)n->blocks, n->block_bytes);
	for (unsigned k = 0; k < i; k++)
		if (s->ns[k].guest_nsid == n->guest_nsid)
			return err_set(err, -EINVAL, "namespace %u is named twice", n->guest_nsid);
	return 0;
}

static int take_range(struct in_session *s, unsigned i, const uint8_t *p, struct err *err)
{
	struct vm_range *r = &s->range[i];
	struct frame_range f;

	memcpy(&f, p, sizeof(f));
	*r = (struct vm_range){ le64_get(f.at), le64_get(f.len) };
	if (r->gpa % VM_PAGE || r->bytes % VM_PAGE || !r->bytes || r->bytes > 1ull << 52 || r->gpa > UINT64_MAX - r->bytes)
		return err_set(err, -EINVAL, "memory range %llx of %llu bytes cannot be", (unsigned long long)r->gpa,
			       (unsigned long long)r->bytes);
	for (unsigned k = 0; k < i; k++)
		if (ranges_overlap(s->range[k].gpa, s->range[k].bytes, r->gpa, r->bytes))
			return err_set(err, -EINVAL, "memory ranges overlap at %llx", (unsigned long long)r->gpa);
	return 0;
}

static int judge_head(const struct frame_hello *h, uint32_t len, struct err *err)
{
	static const uint8_t uuid[16] = FERRY_STATE_UUID;
	unsigned nns = le16_get(h->ns_count), nr = le16_get(h->range_count);

	if (le32_get(h->version) != FRAME_VERSION)
		return err_set(err, -EPROTO, "the source speaks version %u of the move, this server %d", le32_get(h->version), FRAME_VERSION);
	if (nns > MOVE_NS_MAX || nr > VM_RANGES_MAX || le32_get(h->shape_bytes) >= VM_SHAPE_MAX ||
	    len != sizeof(*h) + nns * sizeof(struct frame_ns) + nr * sizeof(struct frame_range) + le32_get(h->shape_bytes))
		return err_set(err, -EINVAL, "%u namespaces and %u memory ranges in %u bytes: at most %d and %d are possible", nns, nr, len,
			       MOVE_NS_MAX, VM_RANGES_MAX);
	if (!good_name(h->guest, sizeof(h->guest)) || !good_text(h->here, sizeof(h->here)) || h->mode > MOVE_HANDOVER ||
	    h->flags & ~(HELLO_RESUME | HELLO_VERIFY | HELLO_MEMORY | HELLO_STREAM) || !le64_get(h->epoch) ||
	    (h->flags & HELLO_STREAM && (h->flags & HELLO_MEMORY || nr)))
		return err_set(err, -EINVAL, "a hello with a name, mode, flag or epoch that cannot be");
	if (le16_get(h->state_version) != 0 || memcmp(h->state_uuid, uuid, sizeof(uuid)))
		return err_set(err, -ENOTSUP, "the source's controller state has a format this server does not know");
	return 0;
}

int in_hello_judge(struct in_session *s, const struct link_msg *m, bool *resume, struct err *err)
{
	struct frame_hello h;
	const uint8_t *p = m->data + sizeof(h);
	int rc;

	memcpy(&h, m->data, sizeof(h));
	rc = judge_head(&h, m->len, err);
	if (rc)
		return rc;
	memcpy(s->id, h.move, sizeof(s->id));
	memcpy(s->guest.name, h.guest, sizeof(s->guest.name));
	memcpy(s->peer, h.here, sizeof(s->peer));
	s->epoch = le64_get(h.epoch);
	s->mode = h.mode;
	s->memory = h.flags & HELLO_MEMORY;
	s->stream = h.flags & HELLO_STREAM;
	s->ns_count = le16_get(h.ns_count);
	s->range_count = le16_get(h.range_count);
	*resume = h.flags & HELLO_RESUME;
	for (unsigned i = 0; !rc && i < s->ns_count; i++, p += sizeof(struct frame_ns))
		rc = take_ns(s, i, p, err);
	for (unsigned i = 0; !rc && i < s->range_count; i++, p += sizeof(struct frame_range))
		rc = take_range(s, i, p, err);
	if (rc)
		return rc;
	memcpy(s->shape, p, le32_get(h.shape_bytes));
	if (!good_text((const uint8_t *)s->shape, sizeof(s->shape)))
		return err_set(err, -EINVAL, "a hello whose VM has a shape that cannot be");
	return 0;
}

/* ---- making the place ------------------------------------------------------------------------------------------------- */

/* Somebody must answer for the guest: one record, one owner. A reservation whose move is not under way here was left by a crash. */
static int reserve(struct in_session *s)
{
	struct journal *j = s->journal;
	uint8_t stale[16];
	char why[128];
	int rc;

	if (journal_refused(j, s->id))
		return in_fail(s, -ESTALE, "this move was refused before: start a new one");
	if (j->own == OWN_OWNER)
		return in_fail(s, -EEXIST, "guest '%s' is already here (epoch %llu)", s->guest.name, (unsigned long long)j->epoch);
	if (j->own == OWN_HANDED)
		return in_fail(s, -EBUSY, "guest '%s' is in doubt here: it was handed over to %s, which has not answered", s->guest.name,
			       j->peer);
	if (j->own == OWN_RESERVED) {
		memcpy(stale, j->move, sizeof(stale));
		rc = journal_refuse(j, stale);
		if (rc)
			return in_fail(s, rc, "the ownership record cannot be written: %s", strerror(-rc));
	}
	snprintf(why, sizeof(why), "a move from %.90s is under way", s->peer);
	rc = journal_set(j, OWN_RESERVED, s->epoch, s->id, s->peer, why);
	if (rc == -EPERM)
		return in_fail(s, rc, "guest '%s': epoch %llu is older than what this server has seen (%llu, %s)", s->guest.name,
			       (unsigned long long)s->epoch, (unsigned long long)j->epoch, own_name(j->own));
	if (rc)
		return in_fail(s, rc, "the ownership record cannot be written: %s", strerror(-rc));
	s->reserved = true;
	return 0;
}

static int place(struct in_session *s)
{
	const struct move_site *site = &s->m->site;
	struct err err = { "" };
	struct move_guest g = { 0 };
	int rc = site->place(site->ctx, s->guest.name, s->mode == MOVE_COPY, s->ns, s->ns_count, &g, &err);

	s->placed = rc == -EAGAIN || !rc;
	if (rc)
		return rc == -EAGAIN ? rc : in_fail(s, rc, "%s", err.text);
	if (g.ns_count != s->ns_count || !g.vm)
		return in_fail(s, -EINVAL, "the place made for guest '%s' has %u namespaces instead of %u%s", s->guest.name, g.ns_count,
			       s->ns_count, g.vm ? "" : " and no VM");
	for (unsigned i = 0; i < g.ns_count; i++)
		if (g.ns[i].guest_nsid != s->ns[i].guest_nsid || g.ns[i].blocks != s->ns[i].blocks ||
		    g.ns[i].block_bytes != s->ns[i].block_bytes)
			return in_fail(s, -EINVAL, "namespace %u of guest '%s' is %llu blocks of %u bytes here, %llu of %u at the source",
				       s->ns[i].guest_nsid, s->guest.name, (unsigned long long)g.ns[i].blocks, g.ns[i].block_bytes,
				       (unsigned long long)s->ns[i].blocks, s->ns[i].block_bytes);
	memcpy(g.name, s->guest.name, sizeof(g.name));
	s->guest = g;
	s->vm = g.vm;
	return 0;
}

static int open_vm(struct in_session *s)
{
	struct err err = { "" };
	int rc = s->vm->ops->open(s->vm, &s->vmi, &err);

	if (rc)
		return rc == -EAGAIN ? rc : in_fail(s, rc, "the waiting VM does not answer: %s", err.text);
	if (s->stream != s->vmi.streams)
		return in_fail(s, -EINVAL, "the waiting VM (%s) %s its memory itself, the source's %s", s->vmi.kind,
			       s->vmi.streams ? "moves" : "does not move", s->stream ? "does" : "does not");
	if (s->stream && strcmp(s->shape, s->vmi.shape))
		return in_fail(s, -EINVAL, "the waiting VM is another one: '%.90s' here, '%.90s' at the source", s->vmi.shape, s->shape);
	if (!s->memory)
		return 0;
	if (!s->vmi.moves_memory || s->vmi.ranges != s->range_count)
		return in_fail(s, -EINVAL, "the waiting VM has %u memory ranges, the source's %u%s", s->vmi.ranges, s->range_count,
			       s->vmi.moves_memory ? "" : " (and moves its memory itself)");
	for (unsigned i = 0; i < s->range_count; i++)
		if (s->vmi.range[i].gpa != s->range[i].gpa || s->vmi.range[i].bytes != s->range[i].bytes)
			return in_fail(s, -EINVAL, "the waiting VM's memory range %u is %llx+%llx, the source's %llx+%llx", i,
				       (unsigned long long)s->vmi.range[i].gpa, (unsigned long long)s->vmi.range[i].bytes,
				       (unsigned long long)s->range[i].gpa, (unsigned long long)s->range[i].bytes);
	return 0;
}

static int begin_stream(struct in_session *s)
{
	struct err err = { "" };
	int rc = s->vm->ops->stream_begin(s->vm, true, &err);

	return rc && rc != -EAGAIN ? in_fail(s, rc, "the waiting VM cannot receive: %s", err.text) : rc;
}

static int formats(struct in_session *s)
{
	static const uint8_t uuid[16] = FERRY_STATE_UUID;

	s->csvi = hmlm_format_version(s->page, 0);
	s->csuuidi = hmlm_format_uuid(s->page, uuid);
	return s->csvi && s->csuuidi ? 0 : in_fail(s, -ENOTSUP, "the controller here does not take the source's state format");
}

/* WZSL, WZDSL (CNS 06h): powers of two of the smallest page, 0 for no limit; NLB ends at 65536 blocks anyway. */
static void zero_limit(struct in_session *s)
{
	const struct nvme_id_ctrl_nvm *nvm = (const void *)s->page;
	uint8_t limit = nvm->wzdsl ? nvm->wzdsl : nvm->wzsl;

	s->zero_blocks = 65536;
	for (unsigned i = 0; i < s->ns_count; i++)
		if (limit && limit < 20)
			s->zero_blocks = MIN(s->zero_blocks, MAX((4096u << limit) / s->ns[i].block_bytes, 1));
}

/* The controller is suspended before a single byte arrives: in the pause nothing is left to prepare. */
int in_place_run(struct in_session *s)
{
	struct frame_ready r = { .version = le32_of(FRAME_VERSION) };
	struct hnvme *h = s->m->site.mmc;
	struct err err;
	int rc;

	STEP_BEGIN(s->at);
	rc = reserve(s);
	if (rc)
		return rc;
	STEP_WAIT(s->at, (rc = place(s)) != -EAGAIN);
	if (rc)
		return rc;
	STEP_WAIT(s->at, (rc = open_vm(s)) != -EAGAIN);
	if (rc)
		return rc;
	if (in_apply_init(s))
		return in_fail(s, -ENOMEM, "not enough memory for another move to this server");
	hmlm_identify(mcmd_prep(&s->cmd, "Identify, state formats", s->page, 4096), NVME_CNS_STATE_FORMATS, 0, 0, 0);
	STEP_WAIT(s->at, mcmd_run(&s->cmd, h, 0));
	if (mcmd_result(&s->cmd, &err))
		return in_fail(s, -EIO, "%s", err.text);
	rc = formats(s);
	if (rc)
		return rc;
	hmlm_identify(mcmd_prep(&s->cmd, "Identify, NVM command set", s->page, 4096), NVME_CNS_CSI_CTRL, 0, 0, 0);
	STEP_WAIT(s->at, mcmd_run(&s->cmd, h, 0));
	if (mcmd_result(&s->cmd, &err))
		return in_fail(s, -EIO, "%s", err.text);
	zero_limit(s);
	hmlm_suspend(mcmd_prep(&s->cmd, "Suspend", NULL, 0), s->guest.cntlid, NVME_STYPE_SUSPEND, false);
	STEP_WAIT(s->at, mcmd_run(&s->cmd, h, 0));
	if (mcmd_result(&s->cmd, &err))
		return in_fail(s, -EIO, "%s", err.text);
	if (s->stream)
		STEP_WAIT(s->at, (rc = begin_stream(s)) != -EAGAIN);
	else
		rc = 0;
	if (rc)
		return rc;
	memcpy(r.move, s->id, sizeof(r.move));
	if (s->conn)
		in_send(s->conn, FRAME_READY, &r, sizeof(r));
	STEP_END(s->at);
}
