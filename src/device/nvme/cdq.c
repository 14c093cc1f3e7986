/* Controller Data Queues (Base 2.1, 8.1.6): create, delete, the ring, FID 21h; and what goes into the only kind there is,
 * the User Data Migration Queue (NVM CS 1.2, 5.6): changes that one MC made to its namespaces.
 *
 * The ring lies in the MMC's host memory and is written directly: an entry is posted on the MC's request path, which may
 * not wait for a message. Memory that is not, or no longer, mapped makes the queue a lost one: logging ends as if it were full and the
 * host is told by the same event. It then rescans: overflow is an event, not a loss (design rule 3).
 *
 * Called by the admin table, features.c and by io.c through nvme_log_change. Device thread.
 */
#include <stdlib.h>

#include "base/log.h"
#include "device/nvme/hmlm.h"

enum { SLOTS_PER_PAGE = NVME_PAGE / NVME_CDQ_SLOT, PRPS_PER_PAGE = NVME_PAGE / 8 };

/* ---- the ring */

static uint32_t slot_next(const struct nvme_cdq *q, uint32_t slot)
{
	return slot + 1 == q->slots ? 0 : slot + 1;
}

bool nvme_cdq_is_full(const struct nvme_cdq *q)
{
	return slot_next(q, q->tail) == q->head;
}

static uint64_t slot_iova(const struct nvme_cdq *q, uint32_t slot)
{
	if (q->contiguous)
		return q->base + (uint64_t)slot * NVME_CDQ_SLOT;
	return q->pages[slot / SLOTS_PER_PAGE] + slot % SLOTS_PER_PAGE * NVME_CDQ_SLOT;
}

/* The host polls byte 31 without a lock: everything else must be there before it (Base 2.1, 8.1.6). Member by member: copied in larger
 * pieces than it was built of, the entry would wait for the stores of the data just written (as in queue.c). */
static bool slot_write(struct nvme_cdq *q, const struct nvme_lbamq *e)
{
	uint64_t iova = slot_iova(q, q->tail);
	struct nvme_lbamq *p = gmem_ptr(&q->mmc->dev.gmem, iova, sizeof(*e), true);

	if (!p)
		return false;
	p->nsid = e->nsid;
	p->nlb0 = e->nlb0;
	p->slba = e->slba;
	memset(p->rsvd16, 0, sizeof(p->rsvd16));
	__atomic_store_n(&p->lbamqa, e->lbamqa, __ATOMIC_RELEASE);
	gmem_mark_ring(&q->mmc->dev.gmem, iova, sizeof(*e));
	return true;
}

static void event(struct nvme_cdq *q, uint8_t aei)
{
	nvme_event_post(q->mmc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = aei, .dw1 = q->id });
}

static void overflowed(struct nvme_cdq *q)
{
	q->logging = false;
	q->full = true;
	event(q, NVME_AEI_CDQ_FULL);
}

/* FID 21h says "slot TPT is posted", the queue section says "tail equals TPT"; clients rely on the latter. Whichever comes
 * first, unless configured strictly; once per arming. */
static void tail_trigger(struct nvme_cdq *q, uint32_t posted)
{
	if (!q->etpt || (q->tail != q->tpt && (posted != q->tpt || q->mmc->ss->cfg.tpt_only_tail)))
		return;
	q->etpt = false;
	event(q, NVME_AEI_CDQ_TAIL);
}

/* e->lbamqa: ESA, DLBA and LBACIR; the phase is added here. Only while logging. */
static void post(struct nvme_cdq *q, struct nvme_lbamq *e)
{
	uint32_t posted = q->tail;
	bool last = slot_next(q, slot_next(q, q->tail)) == q->head;

#ifdef FERRY_BREAK_OVERFLOW
	if (nvme_cdq_is_full(q))
		return;
	last = false;
#endif
	if (nvme_cdq_is_full(q)) {	/* started on a full queue cannot happen: Track Send refuses */
		overflowed(q);
		return;
	}
	if (last)
		e->lbamqa |= NVME_ESA_FULL << NVME_LBAMQ_ESA_SHIFT;
	e->lbamqa |= q->phase ? NVME_LBAMQ_PHASE : 0;
	if (!slot_write(q, e)) {
		log_warn("nvme: memory of controller data queue %u is gone; its log is lost", q->id);
		overflowed(q);
		return;
	}
	q->tail = slot_next(q, q->tail);
	if (q->tail == 0)
		q->phase = !q->phase;
	tail_trigger(q, posted);
	if (last)
		overflowed(q);
}

/* An entry without a range has NSID, NLB and SLBA 0. */
void nvme_cdq_mark(struct nvme_cdq *q, unsigned esa)
{
	struct nvme_lbamq e = { .lbamqa = (uint8_t)(NVME_LBACIR_NONE << NVME_LBAMQ_LBACIR_SHIFT | esa << NVME_LBAMQ_ESA_SHIFT) };

	if (q->logging)
		post(q, &e);
}

void nvme_cdq_start(struct nvme_cdq *q)
{
	q->full = false;
	q->logging = true;
	nvme_cdq_mark(q, NVME_ESA_FIRST);
}

void nvme_cdq_stop(struct nvme_cdq *q)
{
	nvme_cdq_mark(q, NVME_ESA_STOPPED);
	q->logging = false;
}

/* ---- changes. The caller keeps the order: the medium has it, then this, then the CQE (design rule 2). */

void nvme_log_change(struct nvme_ctrl *mc, struct nvme_ns *ns, uint64_t slba, uint64_t nlb, bool dealloc)
{
	struct nvme_cdq *q = mc->udmq;

	while (q && q->logging && nlb) {
		uint64_t n = MIN(nlb, 1ull << 32);	/* NLB is 32 bits, zero-based */
		struct nvme_lbamq e = {
			.nsid = le32_of(ns->nsid), .nlb0 = le32_of((uint32_t)(n - 1)), .slba = le64_of(slba),
			.lbamqa = dealloc ? NVME_LBAMQ_DLBA : 0,
		};

		post(q, &e);
		slba += n;
		nlb -= n;
	}
}

/* "Whole namespace" (LBACIR=01b) may stand only on an entry with ESA other than 000b, which a change in mid-stream is not
 * (NVM CS 1.2, 5.6): so the full range. */
void nvme_log_namespace(struct nvme_ctrl *mc, struct nvme_ns *ns)
{
	nvme_log_change(mc, ns, 0, ns->nsze, false);
}

/* ---- create */

static unsigned udmqs(const struct nvme_subsys *ss, const struct nvme_ctrl *mmc) /* NULL: of the whole subsystem */
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_LEN(ss->cdq); i++)
		n += ss->cdq[i].live && (!mmc || ss->cdq[i].mmc == mmc);
	return n;
}

static unsigned ranges_used(const struct nvme_subsys *ss)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_LEN(ss->cdq); i++)
		if (ss->cdq[i].live)
			n += ss->cdq[i].contiguous ? 1 : ss->cdq[i].npages;
	return n;
}

/* Reads the PRP list, once: the last entry of a list page points to the next one while entries remain (Base 2.1, 4.1.1).
 * The host may not change the list while the queue lives; we keep a copy so that it cannot. */
static nvme_status pages_read(struct gmem *g, uint64_t list, uint32_t n, uint64_t *pages)
{
	le64 entry;

	for (uint32_t i = 0, at = 0; i < n; at++) {
		const uint8_t *p = gmem_ptr(g, list + 8 * at, 8, false);

		if (!p)
			return NVME_INVALID_FIELD;
		memcpy(&entry, p, 8);
		if (le64_get(entry) % NVME_PAGE)
			return NVME_PRP_OFFSET;
		if (at == PRPS_PER_PAGE - 1 && i < n - 1) {
			list = le64_get(entry);
			at = UINT32_MAX;
		} else {
			pages[i++] = le64_get(entry);
		}
	}
	return NVME_SUCCESS;
}

/* Host memory that we can write directly, or nothing: a ring that is not there when a write wants to be logged is lost. */
static nvme_status place(struct nvme_cdq *q, uint64_t prp1)
{
	struct gmem *g = &q->mmc->dev.gmem;
	uint64_t bytes = (uint64_t)q->slots * NVME_CDQ_SLOT;
	nvme_status st;

	if (q->contiguous) {
		q->base = prp1;
		return gmem_ptr(g, prp1, bytes, true) ? NVME_SUCCESS : NVME_INVALID_FIELD;
	}
	q->pages = calloc(q->npages, sizeof(*q->pages));
	if (!q->pages)
		return NVME_NOT_ENOUGH_RESOURCES;
	st = pages_read(g, prp1, q->npages, q->pages);
	for (uint32_t i = 0; !st && i < q->npages; i++)
		if (!gmem_ptr(g, q->pages[i], MIN(bytes - (uint64_t)i * NVME_PAGE, NVME_PAGE), true))
			st = NVME_INVALID_FIELD;
	if (st) {
		free(q->pages);
		q->pages = NULL;
	}
	return st;
}

/* Each PRP entry counts as one memory range: the conservative reading. */
static nvme_status judge_ranges(const struct nvme_req *req, uint64_t dwords)
{
	struct nvme_hmlm_limits l = nvme_hmlm_limits(req->ctrl->ss);
	uint64_t n = nvme_cdq_pc(&req->sqe) ? 1 : (dwords * 4 + NVME_PAGE - 1) / NVME_PAGE;

	if (le64_get(req->sqe.prp1) % NVME_PAGE)
		return NVME_PRP_OFFSET;
	if (n > l.cdq_prps || n + ranges_used(req->ctrl->ss) > l.cdq_ranges)
		return NVME_INVALID_FIELD;
	return NVME_SUCCESS;
}

static nvme_status judge_create(const struct nvme_req *req, struct nvme_ctrl **mc)
{
	const struct nvme_sqe *s = &req->sqe;
	struct nvme_subsys *ss = req->ctrl->ss;
	struct nvme_hmlm_limits l = nvme_hmlm_limits(ss);
	uint32_t dwords = nvme_cdq_cdqsize(s);

	if (nvme_cdq_qt(s) != NVME_CDQ_QT_UDMQ)
		return NVME_INVALID_FIELD;
	/* One slot could never be used: a ring holds one entry less than it has slots. */
	if (dwords % (NVME_CDQ_SLOT / 4) || dwords < 2 * NVME_CDQ_SLOT / 4)
		return NVME_INVALID_FIELD;
	*mc = nvme_mc_find(ss, (uint16_t)nvme_cdq_cqs(s));
	if (!*mc)
		return NVME_INVALID_CNTLID;
	if ((*mc)->udmq)
		return NVME_INVALID_FIELD;
	if (udmqs(ss, req->ctrl) >= l.udmqs || udmqs(ss, NULL) >= l.udmqs)
		return NVME_NOT_ENOUGH_RESOURCES;
	return judge_ranges(req, dwords);
}

/* Lowest from 1 that this MMC does not use: 0 would be legal, but then a zeroed field names a queue. */
static uint16_t id_free(struct nvme_ctrl *mmc)
{
	uint16_t id = 1;

	while (nvme_cdq_find(mmc, id))
		id++;
	return id;
}

static nvme_status create(struct nvme_req *req)
{
	struct nvme_subsys *ss = req->ctrl->ss;
	struct nvme_cdq *q = ss->cdq;
	struct nvme_ctrl *mc;
	nvme_status st = judge_create(req, &mc);

	if (st)
		return st;
	while (q->live)		/* there is one: udmqs() is below the limit */
		q++;
	*q = (struct nvme_cdq){
		.mmc = req->ctrl, .mc = mc, .phase = true, .contiguous = nvme_cdq_pc(&req->sqe),
		.id = id_free(req->ctrl), .slots = nvme_cdq_cdqsize(&req->sqe) / (NVME_CDQ_SLOT / 4),
	};
	q->npages = (uint32_t)(((uint64_t)q->slots * NVME_CDQ_SLOT + NVME_PAGE - 1) / NVME_PAGE);
	st = place(q, le64_get(req->sqe.prp1));
	if (st)
		return st;
	q->live = true;
	mc->udmq = q;
	req->dw0 = q->id;
	return NVME_SUCCESS;
}

/* ---- delete, and the command */

struct nvme_cdq *nvme_cdq_find(struct nvme_ctrl *mmc, uint16_t cdqid)
{
	for (unsigned i = 0; i < ARRAY_LEN(mmc->ss->cdq); i++)
		if (mmc->ss->cdq[i].live && mmc->ss->cdq[i].mmc == mmc && mmc->ss->cdq[i].id == cdqid)
			return &mmc->ss->cdq[i];
	return NULL;
}

/* Nothing is posted to say so. Its events go too: they would name a queue that is not there, or a later one. */
void nvme_cdq_delete(struct nvme_cdq *q)
{
	nvme_event_discard(q->mmc, NVME_AET_ONESHOT, NVME_AEI_CDQ_TAIL, q->id);
	nvme_event_discard(q->mmc, NVME_AET_ONESHOT, NVME_AEI_CDQ_FULL, q->id);
	q->mc->udmq = NULL;
	free(q->pages);
	*q = (struct nvme_cdq){ 0 };
}

nvme_status nvme_cdq_cmd(struct nvme_req *req)
{
	struct nvme_cdq *q;

	if (!nvme_hmlm_on(req->ctrl))
		return NVME_INVALID_OPCODE;
	switch (nvme_cdq_sel(&req->sqe)) {
	case NVME_CDQ_CREATE:
		return create(req);
	case NVME_CDQ_DELETE:
		q = nvme_cdq_find(req->ctrl, (uint16_t)nvme_cdq_cdqid(&req->sqe));
		if (!q)
			return NVME_INVALID_CDQ;
		nvme_cdq_delete(q);
		return NVME_SUCCESS;
	}
	return NVME_INVALID_FIELD;
}

/* ---- FID 21h (Base 2.1, 5.1.25.1.23) */

/* HP may move over posted entries only; HP == tail empties the queue. */
static bool head_allowed(const struct nvme_cdq *q, uint32_t hp)
{
	uint32_t posted = (uint32_t)(((uint64_t)q->tail + q->slots - q->head) % q->slots);

	return hp < q->slots && ((uint64_t)hp + q->slots - q->head) % q->slots <= posted;
}

nvme_status nvme_fid_cdq_set(struct nvme_req *req)
{
	uint32_t cdw11 = nvme_set_features_cdw11(&req->sqe), hp = nvme_set_features_cdw12(&req->sqe);
	uint32_t tpt = nvme_set_features_cdw13(&req->sqe);
	bool etpt = cdw11 >> 31;
	struct nvme_cdq *q;

	if (!nvme_hmlm_on(req->ctrl))
		return NVME_INVALID_FIELD;
	if (nvme_set_features_sv(&req->sqe))
		return NVME_FEATURE_NOT_SAVEABLE;
	q = nvme_cdq_find(req->ctrl, (uint16_t)cdw11);
	if (!q)
		return NVME_INVALID_CDQ;
	if (!head_allowed(q, hp) || (etpt && tpt >= q->slots))
		return NVME_INVALID_FIELD;
	nvme_event_discard(req->ctrl, NVME_AET_ONESHOT, NVME_AEI_CDQ_TAIL, q->id);
	q->head = hp;
	q->etpt = etpt;
	q->tpt = etpt ? tpt : 0;
	return NVME_SUCCESS;
}

nvme_status nvme_fid_cdq_get(struct nvme_req *req)
{
	struct nvme_fid_cdq_data d = { 0 };
	struct nvme_cdq *q;

	if (!nvme_hmlm_on(req->ctrl))
		return NVME_INVALID_FIELD;
	q = nvme_cdq_find(req->ctrl, (uint16_t)nvme_get_features_cdw11(&req->sqe));
	if (!q)
		return NVME_INVALID_CDQ;
	d.hp = le32_of(q->head);
	d.tpt = le32_of(q->etpt ? q->tpt : 0);
	memcpy(req->buf, &d, MIN(req->len, sizeof(d)));
	req->dw0 = q->id | (q->etpt ? 1u << 31 : 0);
	return NVME_SUCCESS;
}
