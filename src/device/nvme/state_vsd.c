/* Our vendor specific state: everything a driver relies on that the standard part lacks (docs/stream.md).
 *
 * A run of records { tag, flags, length, payload padded to dwords }, the format record first. Plain members come from the
 * lists of state_rows.h through one table; lists have code here. Loading decodes into a controller nobody uses, judges it
 * together with the lists, and only then copies: what is refused has changed nothing. Called by state.c. Device thread.
 */
#include <stdlib.h>

#include "device/nvme/core.h"
#include "device/nvme/state.h"

/* ---- the table of plain members */

struct row { uint16_t tag; uint8_t width; bool boolean, elapsed; uint32_t off, count; };

#define MEMBER_(m) ((struct nvme_ctrl *)0)->m
#define IS_BOOL_(m) _Generic(MEMBER_(m), bool: true, default: false)
#define V_ROW_(rec, m) { NVME_STATE_##rec, sizeof(MEMBER_(m)), IS_BOOL_(m), false, offsetof(struct nvme_ctrl, m), 1 },
#define E_ROW_(rec, m) { NVME_STATE_##rec, sizeof(MEMBER_(m)), false, true, offsetof(struct nvme_ctrl, m), 1 },
#define A_ROW_(rec, m, w) { NVME_STATE_##rec, w, false, false, offsetof(struct nvme_ctrl, m), sizeof(MEMBER_(m)) / (w) },
#define NO_ROW_(...)

#define V_C_(r, m) V_ROW_(r, m)
#define A_C_(r, m, w) A_ROW_(r, m, w)
#define E_C_(r, m) E_ROW_(r, m)
#define V_WHO_(r, m) V_ROW_(r, who.m)
#define A_WHO_(r, m, w) A_ROW_(r, who.m, w)
#define A_PCI_(r, m, w) A_ROW_(r, pci.m, w)
#define V_FEAT_(r, m) V_ROW_(r, feat.m)
#define A_FEAT_(r, m, w) A_ROW_(r, feat.m, w)
#define E_FEAT_(r, m) E_ROW_(r, feat.m)
#define V_DFLT_(r, m) V_ROW_(r, feat_saved_default.m)
#define A_DFLT_(r, m, w) A_ROW_(r, feat_saved_default.m, w)
#define E_DFLT_(r, m) E_ROW_(r, feat_saved_default.m)
#define A_RATE_(r, m, w) A_ROW_(r, rate.m, w)
#define V_SMART_(r, m) V_ROW_(r, smart.m)
#define E_SMART_(r, m) E_ROW_(r, smart.m)

static const struct row rows[] = {
	NVME_CTRL_ROWS(V_C_, A_C_, E_C_, NO_ROW_, NO_ROW_)
	NVME_IDENTITY_ROWS(V_WHO_, A_WHO_, NO_ROW_, NO_ROW_, NO_ROW_)
	NVME_PCI_ROWS(NO_ROW_, A_PCI_, NO_ROW_, NO_ROW_, NO_ROW_)
	NVME_FEATURES_ROWS(V_FEAT_, A_FEAT_, E_FEAT_, NO_ROW_, NO_ROW_)
	NVME_DEFAULTS_ROWS(V_DFLT_, A_DFLT_, E_DFLT_, NO_ROW_, NO_ROW_)
	NVME_RATE_ROWS(NO_ROW_, A_RATE_, NO_ROW_, NO_ROW_, NO_ROW_)
	NVME_SMART_ROWS(V_SMART_, NO_ROW_, E_SMART_, NO_ROW_, NO_ROW_)
};

static uint64_t value_get(const uint8_t *p, unsigned width)
{
	uint64_t v = 0;

	memcpy(&v, p, width);	/* little-endian machines only, as everywhere (base/bytes.h) */
	return v;
}

static void row_save(const struct nvme_ctrl *c, const struct row *r, uint64_t now, struct buf *out)
{
	const uint8_t *p = (const uint8_t *)c + r->off;
	uint8_t *to = buf_grow(out, (size_t)r->width * r->count);

	if (!to)
		return;
	if (r->elapsed) {
		uint64_t v = now - value_get(p, 8);

		memcpy(to, &v, 8);
	} else {
		memcpy(to, p, (size_t)r->width * r->count);
	}
}

static nvme_status row_load(struct nvme_ctrl *s, const struct row *r, uint64_t now, const uint8_t *from)
{
	uint8_t *p = (uint8_t *)s + r->off;

	if (r->boolean && *from > 1)
		return NVME_INVALID_FIELD;
	if (r->elapsed) {
		uint64_t v = now - value_get(from, 8);

		memcpy(p, &v, 8);
	} else {
		memcpy(p, from, (size_t)r->width * r->count);
	}
	return NVME_SUCCESS;
}

/* Bytes of a record's plain members; 0: it has none. */
static uint32_t rows_len(uint16_t tag)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].tag == tag)
			n += (uint32_t)rows[i].width * rows[i].count;
	return n;
}

/* ---- out: the records that are lists */

static void admin_save(struct nvme_ctrl *c, struct buf *out)
{
	struct nvme_state_admin_q e = { 0 };

	if (c->sq[0].live)
		e = (struct nvme_state_admin_q){
			.sq_head = le16_of(c->sq[0].head), .sq_tail = le16_of(c->sq[0].tail),
			.cq_head = le16_of(c->cq[0].head), .cq_tail = le16_of(c->cq[0].tail),
			.phase = c->cq[0].phase, .irq = c->cq[0].irq_wanted,
		};
	buf_add(out, &e, sizeof(e));
}

static void namespaces_save(struct nvme_ctrl *c, struct buf *out)
{
	for (uint32_t nsid = 1; nsid <= NVME_NSID_MAX; nsid++) {
		const struct nvme_ns *ns = c->attach[nsid];
		struct nvme_state_ns e = { .nsid = le32_of(nsid) };

		if (!ns)
			continue;
		e.lba_shift = (uint8_t)ns->lba_shift;
		e.nsze = le64_of(ns->nsze);
		memcpy(e.nguid, ns->ids.nguid, sizeof(e.nguid));
		memcpy(e.eui64, ns->ids.eui64, sizeof(e.eui64));
		memcpy(e.uuid, ns->ids.uuid, sizeof(e.uuid));
		buf_add(out, &e, sizeof(e));
	}
}

static void queues_save(struct nvme_ctrl *c, bool queues, struct buf *out)
{
	for (unsigned i = 1; queues && i <= NVME_IOQ_MAX; i++) {
		struct nvme_state_cqx e = { .qid = le16_of((uint16_t)i), .phase = c->cq[i].phase, .irq = c->cq[i].irq_wanted };

		if (c->cq[i].live)
			buf_add(out, &e, sizeof(e));
	}
}

/* The phase and SQHD are given when an entry is posted; here both are 0. */
static void held_save_one(const struct nvme_req *req, uint16_t cqid, struct buf *out)
{
	struct nvme_state_heldx e = { .cqid = le16_of(cqid) };
	struct nvme_cqe cqe = { .dw0 = le32_of(req->dw0), .dw1 = le32_of(req->dw1), .cid = req->sqe.cid,
				.status = le16_of((uint16_t)(req->status << 1)) };

	if (!req->sq)
		return;
	cqe.sqid = le16_of(req->sq->qid);
	memcpy(e.cqe, &cqe, sizeof(cqe));
	buf_add(out, &e, sizeof(e));
}

static void held_save(struct nvme_ctrl *c, bool queues, struct buf *out)
{
	for (uint16_t i = 0; i <= (queues ? NVME_IOQ_MAX : 0); i++) {
		if (!c->cq[i].live)
			continue;
		LIST_EACH(&c->cq[i].held, it)
			held_save_one(LIST_ENTRY(it, struct nvme_req, link), i, out);
	}
}

static void aers_save(struct nvme_ctrl *c, struct buf *out)
{
	for (unsigned i = 0; i < c->aer_count; i++) {
		struct nvme_state_aer e = { .cid = c->aer[i]->sqe.cid };

		buf_add(out, &e, sizeof(e));
	}
}

static void events_save(struct nvme_ctrl *c, struct buf *out)
{
	for (unsigned i = 0; i < c->event_count; i++) {
		const struct nvme_event *ev = &c->event[i];
		struct nvme_state_event e = { ev->aet, ev->aei, ev->lid, 0, le32_of(ev->dw1) };

		buf_add(out, &e, sizeof(e));
	}
}

static void doorbells_save(struct nvme_ctrl *c, struct buf *out)
{
	for (unsigned i = 0; i < ARRAY_LEN(c->db_own); i++) {
		le32 v = le32_of(c->db[i]);

		buf_add(out, &v, sizeof(v));
	}
}

/* The array as it stands: entries that were ever filled. */
static void errlog_save(struct nvme_ctrl *c, struct buf *out)
{
	le64 count = le64_of(c->errlog_count);

	buf_add(out, &count, sizeof(count));
	for (unsigned i = 0; i < MIN(c->errlog_count, NVME_ERRLOG_ENTRIES); i++) {
		const struct nvme_errlog_entry *l = &c->errlog[i];
		struct nvme_state_err e = {
			.count = le64_of(l->count), .sqid = le16_of(l->sqid), .cid = le16_of(l->cid), .status = le16_of(l->status),
			.loc = le16_of(l->loc), .lba = le64_of(l->lba), .nsid = le32_of(l->nsid),
		};

		buf_add(out, &e, sizeof(e));
	}
}

static void payload_save(struct nvme_ctrl *c, uint16_t tag, bool queues, struct buf *out)
{
	le32 version = le32_of(NVME_STATE_FORMAT_VERSION);

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].tag == tag)
			row_save(c, &rows[i], nvme_state_now(c), out);
	switch (tag) {
	case NVME_STATE_FORMAT: buf_add(out, &version, sizeof(version)); break;
	case NVME_STATE_ADMIN: admin_save(c, out); break;
	case NVME_STATE_NAMESPACES: namespaces_save(c, out); break;
	case NVME_STATE_QUEUES: queues_save(c, queues, out); break;
	case NVME_STATE_HELD: held_save(c, queues, out); break;
	case NVME_STATE_AERS: aers_save(c, out); break;
	case NVME_STATE_EVENTS: events_save(c, out); break;
	case NVME_STATE_DOORBELLS: doorbells_save(c, out); break;
	case NVME_STATE_ERRLOG: errlog_save(c, out); break;
	}
}

static const struct record { uint16_t tag; bool required; } records[] = {
#define RECORD_(name, tag, req) { tag, req },
	NVME_STATE_RECORDS(RECORD_)
};

void nvme_vsd_save(struct nvme_ctrl *c, bool queues, struct buf *out)
{
	for (unsigned i = 0; i < ARRAY_LEN(records); i++) {
		struct nvme_state_tlv t = {
			.tag = le16_of(records[i].tag), .flags = le16_of(records[i].required ? NVME_STATE_TLV_REQUIRED : 0),
		};
		size_t at = out->len, len;

		buf_grow(out, sizeof(t));
		payload_save(c, records[i].tag, queues, out);
		if (out->failed)
			return;
		len = out->len - at - sizeof(t);
		t.len = le32_of((uint32_t)len);
		memcpy(out->data + at, &t, sizeof(t));
		buf_grow(out, round_up(len, 4) - len);
	}
}

/* ---- in: decoding */

static nvme_status rows_load(struct nvme_vsd *in, uint16_t tag, const uint8_t *p)
{
	nvme_status st = NVME_SUCCESS;

	for (unsigned i = 0; !st && i < ARRAY_LEN(rows); i++) {
		if (rows[i].tag != tag)
			continue;
		st = row_load(in->s, &rows[i], in->now, p);
		p += (size_t)rows[i].width * rows[i].count;
	}
	return st;
}

static nvme_status list_set(const void *p, uint32_t len, size_t each, unsigned max, const void *list, unsigned *count)
{
	if (len % each || len / each > max)
		return NVME_INVALID_FIELD;
	memcpy((void *)(uintptr_t)list, &p, sizeof(p));
	*count = (unsigned)(len / each);
	return NVME_SUCCESS;
}
#define LIST_SET(name, max) list_set(p, len, sizeof(*in->name), max, &in->name, &in->name##_count)

static nvme_status errlog_load(struct nvme_vsd *in, const uint8_t *p, uint32_t len)
{
	le64 count;

	if (len < sizeof(count))
		return NVME_INVALID_FIELD;
	memcpy(&count, p, sizeof(count));
	in->s->errlog_count = le64_get(count);
	in->errlog = p + sizeof(count);
	in->errlog_count = (unsigned)MIN(le64_get(count), NVME_ERRLOG_ENTRIES);
	return len == sizeof(count) + in->errlog_count * sizeof(struct nvme_state_err) ? NVME_SUCCESS : NVME_INVALID_FIELD;
}

static nvme_status format_load(const uint8_t *p, uint32_t len)
{
	return len == 4 && value_get(p, 4) == NVME_STATE_FORMAT_VERSION ? NVME_SUCCESS : NVME_INVALID_FIELD;
}

static nvme_status payload_load(struct nvme_vsd *in, uint16_t tag, const uint8_t *p, uint32_t len)
{
	switch (tag) {
	case NVME_STATE_FORMAT:
		return format_load(p, len);
	case NVME_STATE_ADMIN:
		if (len != sizeof(in->admin))
			return NVME_INVALID_FIELD;
		memcpy(&in->admin, p, len);
		return NVME_SUCCESS;
	case NVME_STATE_NAMESPACES:
		return LIST_SET(ns, NVME_NSID_MAX);
	case NVME_STATE_QUEUES:
		return LIST_SET(cqx, NVME_IOQ_MAX);
	case NVME_STATE_HELD:
		return LIST_SET(held, UINT16_MAX);	/* judged against max_reqs */
	case NVME_STATE_AERS:
		return LIST_SET(aer, NVME_AER_MAX);
	case NVME_STATE_EVENTS:
		return LIST_SET(event, NVME_EVENTS_MAX);
	case NVME_STATE_DOORBELLS:
		in->doorbells = p;
		return len == sizeof(in->s->db_own) ? NVME_SUCCESS : NVME_INVALID_FIELD;
	case NVME_STATE_ERRLOG:
		return errlog_load(in, p, len);
	}
	return len == rows_len(tag) ? rows_load(in, tag, p) : NVME_INVALID_FIELD;
}

static int record_index(uint16_t tag)
{
	for (unsigned i = 0; i < ARRAY_LEN(records); i++)
		if (records[i].tag == tag)
			return (int)i;
	return -1;
}

/* A tag we do not know is skipped unless its writer says that without it the state is wrong. */
static nvme_status record_load(struct nvme_vsd *in, const struct nvme_state_tlv *t, const uint8_t *p)
{
	int i = record_index(le16_get(t->tag));

	if (i < 0)
		return le16_get(t->flags) & NVME_STATE_TLV_REQUIRED ? NVME_INVALID_FIELD : NVME_SUCCESS;
	if (in->seen & 1u << i || (i > 0 && !(in->seen & 1)))
		return NVME_INVALID_FIELD;	/* twice, or before the format is known */
	in->seen |= 1u << i;
	return payload_load(in, le16_get(t->tag), p, le32_get(t->len));
}

static nvme_status records_load(struct nvme_vsd *in, const uint8_t *p, uint64_t len)
{
	nvme_status st = NVME_SUCCESS;

	while (!st && len) {
		const struct nvme_state_tlv *t = (const void *)p;
		uint64_t whole;

		if (len < sizeof(*t))
			return NVME_INVALID_FIELD;
		whole = sizeof(*t) + round_up(le32_get(t->len), 4);
		if (whole > len)
			return NVME_INVALID_FIELD;
		st = record_load(in, t, p + sizeof(*t));
		p += whole;
		len -= whole;
	}
	for (unsigned i = 0; !st && i < ARRAY_LEN(records); i++)
		if (records[i].required && !(in->seen & 1u << i))
			st = NVME_INVALID_FIELD;
	return st;
}

/* ---- in: judging */

static bool props_good(const struct nvme_ctrl *c, const struct nvme_vsd *in, const struct nvme_v0 *v)
{
	const struct nvme_ctrl *s = in->s;
	unsigned iosqes = s->cc >> NVME_CC_IOSQES_SHIFT & 15, iocqes = s->cc >> NVME_CC_IOCQES_SHIFT & 15;

	if (s->cap != c->cap || s->csts >> 6)	/* a driver has seen CAP and counts on it */
		return false;
	if (!s->enabled)
		return !v->nsq && !v->ncq && !in->aer_count && !in->held_count;
	return (s->cc & NVME_CC_EN) && !(s->cc >> NVME_CC_MPS_SHIFT & 15) && s->asq % NVME_PAGE == 0 && s->acq % NVME_PAGE == 0 &&
	       (s->aqa & 0xfff) && (s->aqa >> 16 & 0xfff) && ((!v->nsq && !v->ncq) || (iosqes == 6 && iocqes == 4));
}

static bool admin_good(const struct nvme_vsd *in)
{
	unsigned asqs = in->s->aqa & 0xfff, acqs = in->s->aqa >> 16 & 0xfff;

	return !in->s->enabled || (le16_get(in->admin.sq_head) <= asqs && le16_get(in->admin.sq_tail) <= asqs &&
				   le16_get(in->admin.cq_head) <= acqs && le16_get(in->admin.cq_tail) <= acqs &&
				   in->admin.phase <= 1 && in->admin.irq <= 1);
}

/* What the guest knows of its namespaces must be what is attached here, no more and no less. Identities are taken over. */
static bool namespaces_good(const struct nvme_ctrl *c, const struct nvme_vsd *in)
{
	unsigned attached = 0;
	uint32_t before = 0;

	for (unsigned i = 1; i <= NVME_NSID_MAX; i++)
		attached += c->attach[i] != NULL;
	for (unsigned i = 0; i < in->ns_count; i++) {
		uint32_t nsid = le32_get(in->ns[i].nsid);
		const struct nvme_ns *ns = nsid > before && nsid <= NVME_NSID_MAX ? c->attach[nsid] : NULL;

		if (!ns || ns->lba_shift != in->ns[i].lba_shift || ns->nsze != le64_get(in->ns[i].nsze))
			return false;
		before = nsid;
	}
	return attached == in->ns_count;
}

/* One for each completion queue of the standard part, in its order, and none else. */
static bool cqx_good(const struct nvme_vsd *in, const struct nvme_v0 *v)
{
	if (in->cqx_count != v->ncq)
		return false;
	for (unsigned i = 0, before = 0; i < in->cqx_count; i++) {
		unsigned qid = le16_get(in->cqx[i].qid);

		if (qid <= before || qid > NVME_IOQ_MAX || !v->cq_by_id[qid] || in->cqx[i].phase > 1 || in->cqx[i].irq > 1)
			return false;
		before = qid;
	}
	return true;
}

static bool held_good(const struct nvme_vsd *in, const struct nvme_v0 *v)
{
	for (unsigned i = 0; i < in->held_count; i++) {
		const struct nvme_cqe *cqe = (const void *)in->held[i].cqe;
		unsigned cqid = le16_get(in->held[i].cqid), sqid = le16_get(cqe->sqid);

		if (cqid > NVME_IOQ_MAX || sqid > NVME_IOQ_MAX || !cqid != !sqid || nvme_cqe_phase(cqe))
			return false;
		if (sqid && (!v->sq_by_id[sqid] || le16_get(v->sq_by_id[sqid]->cqid) != cqid))
			return false;
	}
	return true;
}

static bool events_good(const struct nvme_vsd *in)
{
	for (unsigned i = 0; i < in->event_count; i++)
		if (in->event[i].aet > NVME_AET_NOTICE)
			return false;
	return true;
}

static bool features_good(const struct nvme_ctrl *c, const struct nvme_features *f)
{
	return (f->num_queues & 0xffff) < c->max_ioq && f->num_queues >> 16 < c->max_ioq;
}

/* Bits a guest cannot write say what kind of function this is: it has seen them, so they must be the same here. */
static bool pci_good(const struct nvme_ctrl *c, const struct nvme_ctrl *s)
{
	for (unsigned i = 0; i < PCI_CFG_BYTES; i++)
		if ((c->pci.cfg[i] ^ s->pci.cfg[i]) & ~c->pci.wmask[i] & 0xff)
			return false;
	return true;
}

/* Interrupts to be raised at resume: of vectors we have. */
static bool irqs_good(const struct nvme_ctrl *s)
{
	for (unsigned v = NVME_MSIX_VECTORS; v < 32 * ARRAY_LEN(s->cq_pending_irq); v++)
		if (s->cq_pending_irq[v / 32] >> (v % 32) & 1)
			return false;
	return true;
}

static bool dbbuf_good(const struct nvme_ctrl *s)
{
	return !s->dbbuf || (s->dbbuf_shadow % NVME_PAGE == 0 && s->dbbuf_eventidx % NVME_PAGE == 0);
}

static nvme_status judge(struct nvme_ctrl *c, const struct nvme_v0 *v, const struct nvme_vsd *in)
{
	const struct nvme_ctrl *s = in->s;

	if (!props_good(c, in, v) || !admin_good(in) || !namespaces_good(c, in) || !cqx_good(in, v) || !held_good(in, v) ||
	    !events_good(in) || !features_good(c, &s->feat) || !pci_good(c, s) || !dbbuf_good(s) || !irqs_good(s) ||
	    memchr(s->who.subnqn, 0, sizeof(s->who.subnqn)) == NULL)
		return NVME_INVALID_FIELD;
	return in->held_count + in->aer_count > c->max_reqs ? NVME_NOT_ENOUGH_RESOURCES : NVME_SUCCESS;
}

/* The whole controller is replaced: nothing of the present one may be running or exist as an I/O queue. */
static bool replaceable(const struct nvme_ctrl *c)
{
	for (unsigned i = 1; i <= NVME_IOQ_MAX; i++)
		if (c->sq[i].live || c->cq[i].live)
			return false;
	return c->suspend == NVME_SUSPENDED || (!c->online && !c->inflight);
}

nvme_status nvme_vsd_judge(struct nvme_ctrl *c, const struct nvme_v0 *v, const uint8_t *p, uint64_t len, struct nvme_vsd *in)
{
	nvme_status st;

	if (!replaceable(c))
		return NVME_INVALID_FIELD;
	in->s = calloc(1, sizeof(*in->s));
	if (!in->s)
		return NVME_NOT_ENOUGH_RESOURCES;
	in->now = nvme_now(c);
	st = records_load(in, p, len);
	return st ? st : judge(c, v, in);
}

void nvme_vsd_fini(struct nvme_vsd *in)
{
	free(in->s);
	in->s = NULL;
}

/* ---- in: installing. Nothing here can fail. */

static bool seen(const struct nvme_vsd *in, uint16_t tag)
{
	return in->seen >> record_index(tag) & 1;
}

static void rows_install(struct nvme_ctrl *c, const struct nvme_vsd *in)
{
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (seen(in, rows[i].tag))
			memcpy((uint8_t *)c + rows[i].off, (const uint8_t *)in->s + rows[i].off,
			       (size_t)rows[i].width * rows[i].count);
}

static void admin_install(struct nvme_ctrl *c, const struct nvme_vsd *in)
{
	const struct nvme_state_admin_q *e = &in->admin;

	if (!c->enabled)
		return;
	nvme_admin_queues_create(c);
	c->sq[0].head = le16_get(e->sq_head);
	c->sq[0].tail = le16_get(e->sq_tail);
	c->cq[0].head = le16_get(e->cq_head);
	c->cq[0].tail = le16_get(e->cq_tail);
	c->cq[0].irq_wanted = e->irq;
#ifndef FERRY_BREAK_ADMIN_PHASE
	c->cq[0].phase = e->phase;
#endif
}

static void errlog_install(struct nvme_ctrl *c, const struct nvme_vsd *in)
{
	if (!seen(in, NVME_STATE_ERRLOG))
		return;
	memset(c->errlog, 0, sizeof(c->errlog));
	c->errlog_count = in->s->errlog_count;
	for (unsigned i = 0; i < in->errlog_count; i++) {
		struct nvme_state_err e;

		memcpy(&e, in->errlog + i * sizeof(e), sizeof(e));
		c->errlog[i] = (struct nvme_errlog_entry){
			.count = le64_get(e.count), .sqid = le16_get(e.sqid), .cid = le16_get(e.cid), .status = le16_get(e.status),
			.loc = le16_get(e.loc), .lba = le64_get(e.lba), .nsid = le32_get(e.nsid),
		};
	}
}

static void namespaces_install(struct nvme_ctrl *c, const struct nvme_vsd *in)
{
	for (unsigned i = 0; i < in->ns_count; i++) {
		struct nvme_ns_ids ids;

		memcpy(ids.nguid, in->ns[i].nguid, sizeof(ids.nguid));
		memcpy(ids.eui64, in->ns[i].eui64, sizeof(ids.eui64));
		memcpy(ids.uuid, in->ns[i].uuid, sizeof(ids.uuid));
		nvme_ns_set_ids(c->attach[le32_get(in->ns[i].nsid)], &ids);
	}
}

/* An event that finds an AER would complete it at once: so AERs come last, and both are copied, not posted. */
static void events_install(struct nvme_ctrl *c, const struct nvme_vsd *in)
{
	c->event_count = in->event_count;
	for (unsigned i = 0; i < in->event_count; i++)
		c->event[i] = (struct nvme_event){ in->event[i].aet, in->event[i].aei, in->event[i].lid, le32_get(in->event[i].dw1) };
	for (unsigned i = 0; i < in->aer_count; i++)
		nvme_aer_restore(c, le16_get(in->aer[i].cid));
}

void nvme_vsd_install(struct nvme_ctrl *c, const struct nvme_vsd *in)
{
	nvme_reqs_orphan(c, NULL);
	nvme_event_reset(c);
	nvme_queues_reset(c);
	rows_install(c, in);
	if (c->suspend == NVME_SUSPENDED)
		c->suspended_at_ns = in->now;	/* so that the same times come out again */
	if (!c->online)
		c->csts |= NVME_CSTS_CFS;
	c->dbbuf_shadow_ptr = c->dbbuf_eventidx_ptr = NULL;
	c->dbbuf_generation = 0;
	admin_install(c, in);
	events_install(c, in);
	namespaces_install(c, in);
	errlog_install(c, in);
	nvme_rate_reset(c);
}

static void held_install(struct nvme_ctrl *c, const struct nvme_vsd *in)
{
	for (unsigned i = 0; i < in->held_count; i++) {
		const struct nvme_cqe *e = (const void *)in->held[i].cqe;

		nvme_held_restore(&c->sq[le16_get(e->sqid)], le16_get(e->cid), le16_get(e->status) >> 1, le32_get(e->dw0),
				  le32_get(e->dw1));
	}
}

void nvme_vsd_install_queues(struct nvme_ctrl *c, const struct nvme_vsd *in)
{
	for (unsigned i = 0; i < in->cqx_count; i++) {
		struct nvme_cq *cq = &c->cq[le16_get(in->cqx[i].qid)];

		cq->phase = in->cqx[i].phase;
		cq->irq_wanted = in->cqx[i].irq;
	}
	held_install(c, in);
	for (unsigned i = 0; i < ARRAY_LEN(c->db_own); i++)
		c->db[i] = (uint32_t)value_get(in->doorbells + 4 * i, 4);
}
