/* Readers of what a controller sends back during a move. Written against a controller that lies: sizes are compared with the
 * buffer at hand, sums cannot wrap, every loop is bounded by the buffer.
 */
#include "host/hmlm.h"

#include <errno.h>

/* ---- LBA Migration Queue */

void hmlm_ring_init(struct hmlm_ring *r, void *mem, uint32_t slots)
{
	memset(mem, 0, (size_t)slots * sizeof(struct nvme_lbamq));
	*r = (struct hmlm_ring){ .mem = mem, .slots = slots, .phase = true };
}

uint32_t hmlm_ring_untold(const struct hmlm_ring *r)
{
	return r->head >= r->told ? r->head - r->told : r->head + r->slots - r->told;
}

static int judge(const struct nvme_lbamq *q, struct hmlm_entry *e)
{
	e->nsid = le32_get(q->nsid);
	e->slba = le64_get(q->slba);
	e->nlb = (uint64_t)le32_get(q->nlb0) + 1;
	e->esa = q->lbamqa >> NVME_LBAMQ_ESA_SHIFT & 7;
	e->lbacir = q->lbamqa >> NVME_LBAMQ_LBACIR_SHIFT;
	e->dealloc = q->lbamqa & NVME_LBAMQ_DLBA;
	if (e->esa > NVME_ESA_SUSPENDED && e->esa != NVME_ESA_FULL)
		return -EPROTO;
	if (e->lbacir > NVME_LBACIR_NONE)
		return -EPROTO;
	if (e->lbacir == NVME_LBACIR_RANGE && e->slba > UINT64_MAX - e->nlb)
		return -EPROTO;
	return 1;
}

int hmlm_ring_next(struct hmlm_ring *r, struct hmlm_entry *e)
{
	struct nvme_lbamq q;
	uint8_t *slot;
	uint8_t attr;
	int rc;

	/* Full is HEAD == TAIL + 1, so one slot always stays free (Base 8.1.6): whatever stands there, nobody may have posted it. */
	if (r->slots < 2 || hmlm_ring_untold(r) >= r->slots - 1)
		return 0;
	slot = r->mem + (size_t)r->head * sizeof(q);
	/* The phase bit is written last; reading it first, with acquire, makes the body the one that belongs to it. */
	attr = __atomic_load_n(slot + offsetof(struct nvme_lbamq, lbamqa), __ATOMIC_ACQUIRE);
	if ((attr & NVME_LBAMQ_PHASE) != r->phase)
		return 0;
	memcpy(&q, slot, sizeof(q));
	q.lbamqa = attr;
	rc = judge(&q, e);
	if (rc < 0)
		return rc;
	if (++r->head == r->slots) {
		r->head = 0;
		r->phase = !r->phase;
	}
	return 1;
}

void hmlm_ring_told(struct hmlm_ring *r, uint32_t hp) { r->told = hp; }

/* ---- Controller State */

int hmlm_state_parse(const void *p, size_t len, struct hmlm_state *st, struct err *err)
{
	struct nvme_state_head h;
	struct nvme_state_v0 v;
	uint64_t nv, vs;

	*st = (struct hmlm_state){ 0 };
	if (len < sizeof(h))
		return err_set(err, -EPROTO, "controller state of %zu bytes has no head", len);
	memcpy(&h, p, sizeof(h));
	nv = le64_get(h.nvmecss);
	vs = le64_get(h.vss);
	if (le16_get(h.ver) != 0)
		return err_set(err, -EPROTO, "controller state version %u, only 0 is known", le16_get(h.ver));
	if (le64_get(h.nvmecss_hi) || le64_get(h.vss_hi) || nv > HMLM_STATE_MAX / 4 || vs > HMLM_STATE_MAX / 4)
		return err_set(err, -EPROTO, "controller state claims more than %u MiB", HMLM_STATE_MAX >> 20);
	st->suspended = h.csattr & NVME_CSATTR_CP;
	st->nvme_bytes = 4 * nv;
	st->vendor_bytes = 4 * vs;
	st->vendor_off = sizeof(h) + st->nvme_bytes;
	st->total = st->vendor_off + st->vendor_bytes;
	if (!nv || len < sizeof(h) + sizeof(v))
		return 0;
	memcpy(&v, (const uint8_t *)p + sizeof(h), sizeof(v));
	if (le16_get(v.ver) == 0 && /* NVMECSS = 2 + 6 * (NIOSQ + NIOCQ) */
	    nv != 2 + 6 * ((uint64_t)le16_get(v.niosq) + le16_get(v.niocq)))
		return err_set(err, -EPROTO, "controller state counts %u + %u queues in %llu dwords", le16_get(v.niosq),
			       le16_get(v.niocq), (unsigned long long)nv);
	if (le16_get(v.ver) == 0) {
		st->niosq = le16_get(v.niosq);
		st->niocq = le16_get(v.niocq);
	}
	return 0;
}

static bool queue_state(const void *p, size_t len, uint64_t index, void *out)
{
	uint64_t off = sizeof(struct nvme_state_head) + sizeof(struct nvme_state_v0) + 24 * index;

	if (!range_inside(off, 24, len))
		return false;
	memcpy(out, (const uint8_t *)p + off, 24);
	return true;
}

bool hmlm_state_sq(const void *p, size_t len, const struct hmlm_state *st, unsigned i, struct nvme_state_sq *sq)
{
	return i < st->niosq && queue_state(p, len, i, sq);
}

bool hmlm_state_cq(const void *p, size_t len, const struct hmlm_state *st, unsigned i, struct nvme_state_cq *cq)
{
	return i < st->niocq && queue_state(p, len, (uint64_t)st->niosq + i, cq);
}

uint8_t hmlm_format_version(const void *page, uint16_t version)
{
	const uint8_t *b = page;
	unsigned nv = b[0];

	for (unsigned i = 1; i <= nv; i++) /* at most 2 + 2 * 255 bytes: inside the page */
		if ((b[2 * i] | b[2 * i + 1] << 8) == version)
			return (uint8_t)i;
	return 0;
}

uint8_t hmlm_format_uuid(const void *page, const uint8_t uuid[16])
{
	const uint8_t *b = page;
	unsigned nv = b[0], nuuid = b[1];

	for (unsigned k = 1; k <= nuuid; k++) {
		size_t off = 2 * (nv + 1) + 16 * (k - 1);

		if (!range_inside(off, 16, 4096)) /* 255 of each would not fit */
			return 0;
		if (!memcmp(b + off, uuid, 16))
			return (uint8_t)k;
	}
	return 0;
}

/* ---- Track Receive */

int hmlm_tracked_parse(const void *p, size_t len, struct hmlm_tracked *t, struct err *err)
{
	struct nvme_tracked h;

	*t = (struct hmlm_tracked){ .p = p };
	if (len < sizeof(h))
		return err_set(err, -EPROTO, "tracked memory list of %zu bytes has no head", len);
	memcpy(&h, p, sizeof(h));
	t->count = le32_get(h.ntmcd);
	t->cntlid = le16_get(h.cntlid);
	t->more = h.attrb & NVME_TRACKED_MTR;
	t->suspended = h.attrb & NVME_TRACKED_SUSP;
	if (h.ver)
		return err_set(err, -EPROTO, "tracked memory list version %u, only 0 is known", h.ver);
	if (t->count > (len - sizeof(h)) / sizeof(struct nvme_tracked_range))
		return err_set(err, -EPROTO, "tracked memory list of %u descriptors in %zu bytes", t->count, len);
	if (le16_get(h.rpmpg) > 40)
		return err_set(err, -EPROTO, "tracked memory granularity of 2^%u pages", le16_get(h.rpmpg));
	if (!t->count && t->more) /* Base 5.1.26: NTMCD = 0 means MTR = 0; otherwise we might ask for ever */
		return err_set(err, -EPROTO, "tracked memory list is empty and says there is more");
	t->granule = 4096ull << le16_get(h.rpmpg);
	return 0;
}

int hmlm_tracked_next(struct hmlm_tracked *t, struct hmlm_range *r)
{
	struct nvme_tracked_range d;

	if (t->at >= t->count)
		return 0;
	memcpy(&d, t->p + sizeof(struct nvme_tracked) + (size_t)t->at * sizeof(d), sizeof(d));
	r->addr = le64_get(d.saddr);
	if (!le32_get(d.len) || r->addr % t->granule || le32_get(d.len) > UINT64_MAX / t->granule)
		return -EPROTO;
	r->bytes = le32_get(d.len) * t->granule;
	if (r->addr > UINT64_MAX - r->bytes)
		return -EPROTO;
	t->at++;
	return 1;
}

/* ---- Get LBA Status */

int hmlm_lbas_parse(const void *p, size_t len, uint64_t slba, struct hmlm_lbas *l, struct err *err)
{
	struct nvme_lbas_head h;

	*l = (struct hmlm_lbas){ .p = p, .next = slba };
	if (len < sizeof(h))
		return err_set(err, -EPROTO, "LBA status list of %zu bytes has no head", len);
	memcpy(&h, p, sizeof(h));
	l->count = le32_get(h.nlsd);
	l->more = h.cmpc == NVME_CMPC_INCOMPLETE;
	if (l->count > (len - sizeof(h)) / sizeof(struct nvme_lbas))
		return err_set(err, -EPROTO, "LBA status list of %u descriptors in %zu bytes", l->count, len);
	if (h.cmpc != NVME_CMPC_INCOMPLETE && h.cmpc != NVME_CMPC_COMPLETE)
		return err_set(err, -EPROTO, "LBA status list does not say whether it is complete (CMPC %u)", h.cmpc);
	if (l->more && !l->count)
		return err_set(err, -EPROTO, "LBA status list is empty and says there is more");
	return 0;
}

int hmlm_lbas_next(struct hmlm_lbas *l, uint64_t *slba, uint64_t *nlb)
{
	struct nvme_lbas d;

	if (l->at >= l->count)
		return 0;
	memcpy(&d, l->p + sizeof(struct nvme_lbas_head) + (size_t)l->at * sizeof(d), sizeof(d));
	*slba = le64_get(d.dslba);
	*nlb = (uint64_t)le32_get(d.nlb0) + 1;
	if (*slba < l->next || *slba > UINT64_MAX - *nlb)
		return -EPROTO;
	l->next = *slba + *nlb;
	l->at++;
	return 1;
}
