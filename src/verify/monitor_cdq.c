/* Controller data queues (LBA Migration Queue, entry type 0) in the model of the controller that made them. */
#include <stdlib.h>

#include "verify/monitor_in.h"

enum { ENTRY = sizeof(struct nvme_lbamq), LBACIR_RESERVED = 3 };

void cdq_new(struct ctrl *c, uint16_t id, uint16_t cntlid, uint32_t slots, uint64_t base, bool contiguous)
{
	struct cdq *q;
	unsigned n = 0;

	LIST_EACH(&c->cdqs, l)
		n++;
	q = slots && n < MON_CDQS ? calloc(1, sizeof(*q)) : NULL;
	if (!q)
		return;
	*q = (struct cdq){ .id = id, .cntlid = cntlid, .slots = slots, .base = base, .phase = true };
	list_push(&c->cdqs, &q->link);
	if (contiguous)
		return;
	q->list = base;
	q->page = queue_pages(c, base, (uint64_t)slots * ENTRY);
	q->lost = !q->page;
}

void cdq_free(struct cdq *q)
{
	list_del(&q->link);
	free(q->page);
	free(q);
}

/* It stays as a grave: writes into it are looked for, until its memory is somebody's again. */
void cdq_del(struct ctrl *c, struct cdq *q)
{
	unsigned graves = 0;

	q->dead = true;
	LIST_EACH(&c->cdqs, l)
		graves += LIST_ENTRY(l, struct cdq, link)->dead;
	LIST_EACH(&c->cdqs, l)
		if (graves > 16 && LIST_ENTRY(l, struct cdq, link)->dead) {
			cdq_free(LIST_ENTRY(l, struct cdq, link));
			return;
		}
}

struct cdq *cdq_find(struct ctrl *c, uint16_t id)
{
	LIST_EACH(&c->cdqs, l)
		if (LIST_ENTRY(l, struct cdq, link)->id == id && !LIST_ENTRY(l, struct cdq, link)->dead)
			return LIST_ENTRY(l, struct cdq, link);
	return NULL;
}

struct cdq *cdq_find_mc(struct ctrl *c, uint16_t cntlid)
{
	LIST_EACH(&c->cdqs, l)
		if (LIST_ENTRY(l, struct cdq, link)->cntlid == cntlid && !LIST_ENTRY(l, struct cdq, link)->dead)
			return LIST_ENTRY(l, struct cdq, link);
	return NULL;
}

/* ---- one entry ---------------------------------------------------------------------------------------------------------------- */

static uint64_t record(struct ctrl *c, const struct cdq *q, const struct nvme_lbamq *e)
{
	struct rec r = mon_rec(c, REC_CDQ_ENTRY, REC_BY_DEV);

	r.addr = queue_addr(c, q->base, q->page, (uint64_t)q->tail * ENTRY);
	r.val = q->tail;
	r.len = ENTRY;
	r.cq = q->id;
	r.parent = c->m->msg_uid;
	r.raw = (const uint8_t *)e;
	r.raw_len = ENTRY;
	return mon_put(c->m, &r);
}

/* Where in its life a log may say what: first, ordinary, last. A mark of suspension may also come while nothing is logged: the
 * book's two places differ. */
static bool esa_fits(const struct cdq *q, unsigned esa)
{
	if (esa > NVME_ESA_SUSPENDED && esa != NVME_ESA_FULL)
		return false;
	if (esa == NVME_ESA_SUSPENDED)
		return q->last_esa != NVME_ESA_SUSPENDED || q->log != CDQ_ENDED;
	if (esa == NVME_ESA_FIRST && q->last_esa == NVME_ESA_SUSPENDED)
		return true; /* resumed, or reset out of its suspension */
	switch (q->log) {
	case CDQ_STARTING: return esa != NVME_ESA_NONE;
	case CDQ_LOGGING: return esa != NVME_ESA_FIRST;
	default: return false;
	}
}

static void judge_range(struct ctrl *c, const struct nvme_lbamq *e, unsigned esa, uint64_t uid)
{
	unsigned ir = e->lbamqa >> NVME_LBAMQ_LBACIR_SHIFT;
	uint32_t nsid = le32_get(e->nsid);

	if (ir == LBACIR_RESERVED || (ir == NVME_LBACIR_NONE && esa == NVME_ESA_NONE))
		mon_break(c, RULE_CDQ_LBACIR, uid, "LBACIR %u with ESA %u", ir, esa);
	else if (ir == NVME_LBACIR_NONE ? nsid || le32_get(e->nlb0) || le64_get(e->slba) : !nsid || (ir == NVME_LBACIR_NAMESPACE && le64_get(e->slba)))
		mon_break(c, RULE_CDQ_LBACIR, uid, "LBACIR %u with NSID %u, SLBA 0x%llx, NLB %u", ir, nsid, (unsigned long long)le64_get(e->slba),
			  le32_get(e->nlb0));
}

static void entry(struct ctrl *c, struct cdq *q, const struct nvme_lbamq *e)
{
	unsigned esa = e->lbamqa >> NVME_LBAMQ_ESA_SHIFT & 7;
	uint32_t behind = (q->tail + 1) % q->slots, next = (q->tail + 2) % q->slots;
	bool over = behind == q->head && behind == q->freed, last = next == q->head && next == q->freed;
	uint64_t uid = record(c, q, e);

	c->m->n.cdq_entries++;
	if (!esa_fits(q, esa))
		mon_break(c, RULE_CDQ_ESA, uid, "CDQ %u slot %u: ESA %u, after %u", q->id, q->tail, esa, q->last_esa);
	if (over || (last && esa != NVME_ESA_FULL))
		mon_break(c, RULE_CDQ_OVER, uid, "CDQ %u slot %u: head %u of %u, ESA %u", q->id, q->tail, q->head, q->slots, esa);
	judge_range(c, e, esa, uid);
	q->log = esa == NVME_ESA_STOPPED || esa == NVME_ESA_SUSPENDED || esa == NVME_ESA_FULL ? CDQ_ENDED : CDQ_LOGGING;
	q->last_esa = (uint8_t)esa;
	q->tail = (q->tail + 1) % q->slots;
	if (!q->tail)
		q->phase = !q->phase;
}

/* ---- where they are found -------------------------------------------------------------------------------------------------------- */

static bool slot_read(struct ctrl *c, struct cdq *q, struct nvme_lbamq *e)
{
	uint64_t at = queue_addr(c, q->base, q->page, (uint64_t)q->tail * ENTRY);
	uint8_t last;

	if (!mem_read(&c->mem, at + ENTRY - 1, &last, 1))
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (!mem_read(&c->mem, at, e, sizeof(*e)))
		return false;
	e->lbamqa = last;
	return true;
}

void cdq_scan(struct ctrl *c, struct cdq *q)
{
	struct nvme_lbamq e;

	for (uint32_t n = q->slots; !c->message && !q->dead && !q->lost && !q->leaving && n && slot_read(c, q, &e); n--) {
		if ((e.lbamqa & NVME_LBAMQ_PHASE) != q->phase)
			return;
		entry(c, q, &e);
	}
}

static bool entry_part(struct ctrl *c, struct cdq *q, uint64_t off, const uint8_t *p, uint32_t len)
{
	uint32_t at = (uint32_t)(off % ENTRY);
	struct nvme_lbamq e;

	memcpy(q->part + at, p, len);
	q->have |= (uint32_t)(((1ull << len) - 1) << at);
	if (at + len < ENTRY && off / ENTRY == q->tail)
		return true;
	memcpy(&e, q->part, sizeof(e));
	if (off / ENTRY != q->tail || q->have != UINT32_MAX || (e.lbamqa & NVME_LBAMQ_PHASE) != q->phase) {
		mon_break(c, RULE_CDQ_PHASE, c->m->msg_uid, "CDQ %u: next is slot %u with phase %d; written: byte %llu, attributes 0x%02x%s", q->id, q->tail,
			  q->phase, (unsigned long long)off, e.lbamqa, q->have != UINT32_MAX ? ", before the rest" : "");
		q->have = 0;
		return false;
	}
	q->have = 0;
	entry(c, q, &e);
	return true;
}

static void entries_written(struct ctrl *c, struct cdq *q, uint64_t off, const uint8_t *p, uint64_t len)
{
	while (len) {
		uint32_t n = (uint32_t)MIN(len, ENTRY - off % ENTRY);

		if (!entry_part(c, q, off, p, n))
			return;
		off += n, p += n, len -= n;
	}
}

bool cdq_written(struct ctrl *c, uint64_t at, const uint8_t *p, uint64_t len)
{
	LIST_EACH(&c->cdqs, l) {
		struct cdq *q = LIST_ENTRY(l, struct cdq, link);
		uint64_t off = q->dead || q->lost ? UINT64_MAX : queue_off(c, q->base, q->page, (uint64_t)q->slots * ENTRY, at);

		if (off == UINT64_MAX)
			continue;
		entries_written(c, q, off, p, len);
		return true;
	}
	return false;
}

const struct cdq *cdq_grave(struct ctrl *c, uint64_t at)
{
	LIST_EACH(&c->cdqs, l) {
		struct cdq *q = LIST_ENTRY(l, struct cdq, link);

		if (q->dead && !q->lost && queue_off(c, q->base, q->page, (uint64_t)q->slots * ENTRY, at) != UINT64_MAX)
			return q;
	}
	return NULL;
}
