/* Submission and completion queues: rings in guest memory, doorbells, interrupts.
 *
 * Called from ctrl.c's poll (fetch, flush, arm), from req.c (post) and from the admin commands (create, delete). Device thread.
 * Rings are reached by pointer where the guest memory has one, looked up again whenever the memory map changes; by message
 * where it has none, one command or completion at a time per queue: slow, and right. Memory that is not mapped at the moment
 * makes a queue wait (firmware takes all memory away for a moment while it rearranges it), it is no error.
 */
#include "device/nvme/core.h"

#include "base/check.h"

enum {
	BURST = 16,	/* commands one queue may have before the next one has its turn */
	CQ_WAITING_MAX = 16, /* completions without room in one CQ; more stop fetching from its SQs */
	HINT_AHEAD = 3	/* commands between a look and the command's turn: about as long as memory takes to answer */
};

/* ---- create and delete ---- */

static void tops_update(struct nvme_ctrl *c)
{
	c->sq_top = c->cq_top = 0;
	for (unsigned i = 0; i <= NVME_IOQ_MAX; i++) {
		if (c->sq[i].live)
			c->sq_top = i + 1;
		if (c->cq[i].live)
			c->cq_top = i + 1;
	}
}

static void sq_set(struct nvme_ctrl *c, uint16_t qid, uint16_t cqid, uint32_t size, uint64_t prp1, uint8_t prio)
{
	struct nvme_sq *sq = &c->sq[qid];

	*sq = (struct nvme_sq){ .live = true, .qid = qid, .cqid = cqid, .size = (uint16_t)size, .prio = prio, .prp1 = prp1,
				.cq = &c->cq[cqid] };
	sq->cq->sqs++;
	c->db[2 * qid] = 0;
	tops_update(c);
}

static void cq_set(struct nvme_ctrl *c, uint16_t qid, uint32_t size, uint64_t prp1, bool ien, uint16_t iv)
{
	struct nvme_cq *cq = &c->cq[qid];

	*cq = (struct nvme_cq){ .live = true, .qid = qid, .size = (uint16_t)size, .prp1 = prp1, .ien = ien, .iv = iv,
				.phase = true };
	list_init(&cq->held);
	c->db[2 * qid + 1] = 0;
	tops_update(c);
}

/* Base, CC.IOSQES and CC.IOCQES: judged when a queue is made, not before. */
static nvme_status queue_judge(const struct nvme_ctrl *c, uint16_t qid, uint32_t size, uint64_t prp1, unsigned shift,
			       unsigned entry_log2)
{
	if (qid == 0 || qid > c->max_ioq)
		return NVME_QID_INVALID;
	if (size < 2 || size > NVME_QSIZE_MAX)
		return NVME_QSIZE_INVALID;
	if (c->enabled && (c->cc >> shift & 15) != entry_log2)
		return NVME_QSIZE_INVALID;
	if (prp1 & (NVME_PAGE - 1))
		return NVME_PRP_OFFSET;
	return NVME_SUCCESS;
}

nvme_status nvme_sq_create(struct nvme_ctrl *c, uint16_t qid, uint16_t cqid, uint32_t size, uint64_t prp1, uint8_t prio)
{
	nvme_status st = queue_judge(c, qid, size, prp1, NVME_CC_IOSQES_SHIFT, 6);

	if (st != NVME_SUCCESS)
		return st;
	if (c->sq[qid].live || cqid == 0 || cqid > c->max_ioq)
		return NVME_QID_INVALID;
	if (!c->cq[cqid].live || c->cq[cqid].deleting)
		return NVME_CQ_INVALID;
	sq_set(c, qid, cqid, size, prp1, prio);
	return NVME_SUCCESS;
}

nvme_status nvme_cq_create(struct nvme_ctrl *c, uint16_t qid, uint32_t size, uint64_t prp1, bool ien, uint16_t iv)
{
	nvme_status st = queue_judge(c, qid, size, prp1, NVME_CC_IOCQES_SHIFT, 4);

	if (st != NVME_SUCCESS)
		return st;
	if (c->cq[qid].live)
		return NVME_QID_INVALID;
	if (iv >= c->pci.msix_count)
		return NVME_IV_INVALID;
	cq_set(c, qid, size, prp1, ien, iv);
	return NVME_SUCCESS;
}

void nvme_admin_queues_create(struct nvme_ctrl *c)
{
	cq_set(c, 0, (c->aqa >> 16 & 0xfff) + 1, c->acq, true, 0);
	sq_set(c, 0, 0, (c->aqa & 0xfff) + 1, c->asq, 0);
}

static void held_add(struct nvme_cq *cq, struct nvme_req *req)
{
	list_push(&cq->held, &req->link);
	cq->waiting++;
}

static void held_del(struct nvme_cq *cq, struct nvme_req *req)
{
	list_del(&req->link);
	cq->waiting--;
}

/* Completions that still wait are dropped: to the host, deleting the queue ended its commands. */
static void held_drop(struct nvme_cq *cq, const struct nvme_sq *only)
{
	LIST_EACH(&cq->held, it) {
		struct nvme_req *req = LIST_ENTRY(it, struct nvme_req, link);

		if (only && req->sq != only)
			continue;
		if (req->where == NVME_REQ_POSTING) {
			if (only) {
				req->forsaken = true;
				continue;	/* the slot is half written: let it finish */
			}
			held_del(cq, req);
			req->sq = NULL;
			continue;
		}
		held_del(cq, req);
		req->ctrl->held_count--;
		nvme_req_free(req);
	}
}

void nvme_sq_delete(struct nvme_sq *sq)
{
	struct nvme_ctrl *c = nvme_sq_ctrl(sq);

	sq->live = false;
	nvme_reqs_orphan(c, sq);
	held_drop(sq->cq, sq);
	sq->cq->sqs--;
	tops_update(c);
}

nvme_status nvme_sq_delete_wait(struct nvme_sq *sq, struct nvme_req *req)
{
	if (sq->deleting)
		return NVME_QID_INVALID; /* for the host it is gone already */
	sq->deleting = true;
	if (!sq->inflight && !sq->fetching) {
		nvme_sq_delete(sq);
		return NVME_SUCCESS;
	}
	sq->delete_req = req;
	return NVME_ASYNC;
}

void nvme_sq_quiet(struct nvme_sq *sq)
{
	struct nvme_req *req = sq->delete_req;

	if (!sq->deleting || sq->inflight || sq->fetching || !req)
		return;
	sq->delete_req = NULL;
	nvme_sq_delete(sq);
	nvme_req_done(req, NVME_SUCCESS);
}

void nvme_cq_delete(struct nvme_cq *cq)
{
	held_drop(cq, NULL);
	cq->live = false;
	tops_update(nvme_cq_ctrl(cq));
}

nvme_status nvme_cq_delete_wait(struct nvme_cq *cq, struct nvme_req *req)
{
	if (cq->deleting)
		return NVME_QID_INVALID;
	if (!cq->posting) {
		nvme_cq_delete(cq);
		return NVME_SUCCESS;
	}
	cq->deleting = true;
	cq->delete_req = req;
	return NVME_ASYNC;
}

static void cq_quiet(struct nvme_cq *cq)
{
	struct nvme_req *req = cq->delete_req;

	if (!cq->deleting || cq->posting || !req)
		return;
	cq->delete_req = NULL;
	nvme_cq_delete(cq);
	nvme_req_done(req, NVME_SUCCESS);
}

void nvme_queues_reset(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i <= NVME_IOQ_MAX; i++) {
		if (c->cq[i].live)
			held_drop(&c->cq[i], NULL);
		c->sq[i] = (struct nvme_sq){ .qid = (uint16_t)i };
		c->cq[i] = (struct nvme_cq){ .qid = (uint16_t)i };
		list_init(&c->cq[i].held);
		c->db[2 * i] = c->db[2 * i + 1] = 0;
	}
	c->sq_top = c->cq_top = c->sq_turn = c->held_count = 0;
	memset(c->cq_pending_irq, 0, sizeof(c->cq_pending_irq));
}

/* ---- doorbells ---- */

/* Shadow doorbells (Doorbell Buffer Config) are for I/O queues only. While their pages are not mapped no doorbell of an I/O queue
 * is looked at: the real ones are as old as the guest's last ring, and would have old entries run again. */
static bool dbbuf_here(struct nvme_ctrl *c)
{
	struct gmem *g = &c->dev.gmem;

	if (c->dbbuf_generation != g->generation) {
		c->dbbuf_shadow_ptr = gmem_ptr(g, c->dbbuf_shadow, NVME_PAGE, false);
		c->dbbuf_eventidx_ptr = gmem_ptr(g, c->dbbuf_eventidx, NVME_PAGE, true);
		c->dbbuf_generation = g->generation;
	}
	return c->dbbuf_shadow_ptr && c->dbbuf_eventidx_ptr;
}

static uint32_t doorbell_read(struct nvme_ctrl *c, unsigned index, bool shadow)
{
	volatile uint32_t *p = shadow && index >= 2 ? &c->dbbuf_shadow_ptr[index] : &c->db[index];

	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* Base, Asynchronous Event Information - Error Status 01h: a value that no ring of this size can have. Said once, then the
 * value is ignored until it changes. */
static void doorbell_bad(struct nvme_ctrl *c, uint32_t *said, uint32_t value)
{
	if (*said == value)
		return;
	*said = value;
	nvme_event_post(c, (struct nvme_event){ .aet = NVME_AET_ERROR, .aei = 1, .lid = NVME_LID_ERROR });
}

static void sq_latch(struct nvme_ctrl *c, struct nvme_sq *sq, bool shadow)
{
	uint32_t v = doorbell_read(c, 2u * sq->qid, shadow);

	if (v == sq->tail)
		return;
	if (v >= sq->size)
		doorbell_bad(c, &sq->db_bad, v);
	else
		sq->tail = (uint16_t)v;
}

static unsigned ring_distance(unsigned from, unsigned to, unsigned size)
{
	return to >= from ? to - from : to + size - from;
}

/* The head may only move up to what has been posted. */
uint32_t nvme_sq_backlog(const struct nvme_ctrl *c)
{
	uint32_t n = 0;

	for (unsigned i = 1; i < c->sq_top; i++)
		if (c->sq[i].live)
			n += ring_distance(c->sq[i].head, c->sq[i].tail, c->sq[i].size);
	return n;
}

static void cq_latch(struct nvme_ctrl *c, struct nvme_cq *cq, bool shadow)
{
	uint32_t v = doorbell_read(c, 2u * cq->qid + 1, shadow);

	if (v == cq->head)
		return;
	if (v >= cq->size || ring_distance(cq->head, v, cq->size) > ring_distance(cq->head, cq->tail, cq->size))
		doorbell_bad(c, &cq->db_bad, v);
	else
		cq->head = (uint16_t)v;
}

void nvme_doorbells_latch(struct nvme_ctrl *c)
{
	bool shadow = c->dbbuf && dbbuf_here(c);
	unsigned sqs = c->dbbuf && !shadow ? MIN(c->sq_top, 1u) : c->sq_top, cqs = c->dbbuf && !shadow ? MIN(c->cq_top, 1u) : c->cq_top;

	for (unsigned i = 0; i < sqs; i++)
		if (c->sq[i].live)
			sq_latch(c, &c->sq[i], shadow);
	for (unsigned i = 0; i < cqs; i++)
		if (c->cq[i].live)
			cq_latch(c, &c->cq[i], shadow);
}

/* Only where nothing has been written yet: a host that keeps its shadows up to date before it gives them to us knows better. */
static void shadow_begin(struct nvme_ctrl *c, uint32_t *page, unsigned index, uint32_t value)
{
	uint32_t zero = 0;

	if (value && __atomic_compare_exchange_n(&page[index], &zero, value, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		gmem_mark_ring(&c->dev.gmem, c->dbbuf_shadow + 4ull * index, 4);
}

/* Queues may have been used before: a shadow that is still 0 would move their tails back, and commands that ran long ago would run once
 * more. So it begins with the doorbell's value. */
void nvme_dbbuf_begin(struct nvme_ctrl *c, uint64_t shadow, uint64_t eventidx)
{
	uint32_t *page = gmem_ptr(&c->dev.gmem, shadow, NVME_PAGE, true);

	nvme_doorbells_latch(c);
	c->dbbuf_shadow = shadow;
	c->dbbuf_eventidx = eventidx;
	c->dbbuf_shadow_ptr = c->dbbuf_eventidx_ptr = NULL;
	c->dbbuf_generation = 0;
	c->dbbuf = true;
	for (unsigned i = 1; page && i < c->sq_top; i++)
		if (c->sq[i].live)
			shadow_begin(c, page, 2 * i, c->sq[i].tail);
	for (unsigned i = 1; page && i < c->cq_top; i++)
		if (c->cq[i].live)
			shadow_begin(c, page, 2 * i + 1, c->cq[i].head);
}

static bool eventidx_set(struct nvme_ctrl *c, unsigned index, uint16_t value)
{
	if (c->dbbuf_eventidx_ptr[index] == value)
		return false;
	c->dbbuf_eventidx_ptr[index] = value;
	gmem_mark_ring(&c->dev.gmem, c->dbbuf_eventidx + 4ull * index, 4);
	return true;
}

/* Says how far we have looked, so that the guest rings the real doorbell beyond that; then looks once more, since it may
 * have written between our look and our word. Completion queues matter only while something waits for room. */
bool nvme_queues_arm(struct nvme_ctrl *c)
{
	bool more = false;

	if (!c->dbbuf || !c->enabled || c->suspend == NVME_SUSPENDED || !dbbuf_here(c))
		return false;
	for (unsigned i = 1; i < c->sq_top; i++)
		if (c->sq[i].live)
			eventidx_set(c, 2 * i, c->sq[i].tail);
	for (unsigned i = 1; i < c->cq_top; i++)
		if (c->cq[i].live && !list_empty(&c->cq[i].held))
			eventidx_set(c, 2 * i + 1, c->cq[i].head);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (unsigned i = 1; i < c->sq_top; i++) {
		uint32_t v = c->sq[i].live ? doorbell_read(c, 2 * i, true) : 0;

		more |= c->sq[i].live && v != c->sq[i].tail && v != c->sq[i].db_bad;
	}
	for (unsigned i = 1; i < c->cq_top; i++) {
		struct nvme_cq *cq = &c->cq[i];
		uint32_t v = cq->live && !list_empty(&cq->held) ? doorbell_read(c, 2 * i + 1, true) : cq->head;

		more |= cq->live && v != cq->head && v != cq->db_bad;
	}
	return more;
}

/* ---- fetching ---- */

/* A ring that could not be reached: not tried again before the memory map changes, or a second has gone by. A VMM refuses while its guest
 * has bus mastering off, and we hear of that afterwards; one that was stopped does not answer at all. Both come back without a new map. */
static uint64_t stuck(struct nvme_ctrl *c)
{
	c->unstick_ns = nvme_now(c) + NS_PER_S;
	return c->dev.gmem.generation;
}

bool nvme_queues_unstick(struct nvme_ctrl *c)
{
	if (!c->unstick_ns || nvme_now(c) < c->unstick_ns)
		return false;
	c->unstick_ns = 0;
	for (unsigned i = 0; i < c->sq_top; i++)
		c->sq[i].stuck = 0;
	for (unsigned i = 0; i < c->cq_top; i++)
		c->cq[i].stuck = 0;
	return true;
}

/* A backend that does not answer, or many queues, must not take the last requests: what a driver does about commands that take too long
 * (Abort, Delete I/O SQ, Get Log Page) are admin commands. */
static struct nvme_req *req_for(struct nvme_ctrl *c, const struct nvme_sq *sq)
{
	return sq->qid && c->req_count <= NVME_ADMIN_REQS ? NULL : nvme_req_take(c);
}

static void sq_advance(struct nvme_ctrl *c, struct nvme_sq *sq)
{
	sq->head = sq->head + 1u == sq->size ? 0 : (uint16_t)(sq->head + 1);
	sq->inflight++;
	c->stats.fetched++;
}

/* The request exists but is not a fetched command until the message is back: a controller that stops meanwhile leaves it in
 * the queue, where the target finds it. */
static bool sq_fetch_by_message(struct nvme_ctrl *c, struct nvme_sq *sq)
{
	struct nvme_req *req = req_for(c, sq);
	int rc;

	if (!req)
		return false;
	req->sq = sq;
	sq->fetching = true;
	rc = nvme_gop_submit(req, NVME_GOP_FETCH, sq->prp1 + 64ull * sq->head, &req->sqe, sizeof(req->sqe), false);
	if (rc != 0)
		nvme_sq_fetched(req, rc < 0 ? rc : 0);
	return rc >= 0;
}

void nvme_sq_fetched(struct nvme_req *req, int rc)
{
	struct nvme_ctrl *c = req->ctrl;
	struct nvme_sq *sq = req->sq;

	c->inflight--;
	if (sq)
		sq->fetching = false;
	if (sq && rc)
		sq->stuck = stuck(c);
	if (!sq || rc || sq->deleting || !nvme_ctrl_may_fetch(c)) {
		nvme_req_free(req);
		if (sq)
			nvme_sq_quiet(sq);
		return;
	}
	c->inflight++;
	sq_advance(c, sq);
	nvme_req_start(req);
}

/* A CQ that its host does not empty stops the SQs that use it and no others, the admin queue least of all: deleting the queue, or
 * aborting, may be how the host means to go on. */
static bool cq_patient(const struct nvme_ctrl *c, const struct nvme_sq *sq)
{
	return sq->cq->waiting < CQ_WAITING_MAX && (!sq->qid || c->held_count < NVME_HELD_MAX);
}

static bool sq_ready(const struct nvme_ctrl *c, const struct nvme_sq *sq)
{
	return sq->live && !sq->deleting && !sq->fetching && sq->head != sq->tail && sq->stuck != c->dev.gmem.generation &&
	       cq_patient(c, sq);
}

/* Looks at the command that stands HINT_AHEAD behind the head and lets its backend warm up. The guest may change it meanwhile:
 * nothing read here is kept or believed, the copy is made and judged when its turn comes. */
static void sq_hint(struct nvme_ctrl *c, const struct nvme_sq *sq)
{
	unsigned slot = sq->head + (unsigned)HINT_AHEAD, nsid;
	const struct nvme_sqe *s;
	struct nvme_ns *ns;

	if (!sq->qid || ring_distance(sq->head, sq->tail, sq->size) <= HINT_AHEAD)
		return;
	s = (const void *)(sq->ptr + 64u * (slot >= sq->size ? slot - sq->size : slot));
	nsid = __atomic_load_n((const uint32_t *)(const void *)&s->nsid, __ATOMIC_RELAXED); /* once: the guest may change it */
	ns = nsid <= NVME_NSID_MAX ? c->attach[nsid] : NULL;
	if (!ns || !ns->blk->ops->hint)
		return;
	if (s->opc == NVME_NVM_READ)
		ns->blk->ops->hint(ns->blk, BLK_READ, nvme_slba(s), nvme_rw_nlb0(s) + 1u);
	else if (s->opc == NVME_NVM_WRITE)
		ns->blk->ops->hint(ns->blk, BLK_WRITE, nvme_slba(s), nvme_rw_nlb0(s) + 1u);
}

static unsigned sq_fetch(struct nvme_ctrl *c, struct nvme_sq *sq, unsigned max)
{
	struct gmem *g = &c->dev.gmem;
	unsigned n = 0;

	if (sq->generation != g->generation) {
		sq->ptr = gmem_ptr(g, sq->prp1, 64ull * sq->size, false);
		sq->generation = g->generation;
	}
	if (!sq->ptr)
		return sq_fetch_by_message(c, sq);
	while (n < max && sq->live && !sq->deleting && sq->head != sq->tail) {
		struct nvme_req *req = req_for(c, sq);

		if (!req)
			break;
		sq_hint(c, sq);
		memcpy(&req->sqe, sq->ptr + 64u * sq->head, sizeof(req->sqe));
		req->sq = sq;
		sq_advance(c, sq);
		nvme_req_start(req);
		n++;
	}
	return n;
}

/* Rounds of bursts, beginning where the last call left off, so that no queue's flood delays another's commands by more than
 * one burst each. Running a command may stop the controller, so that is asked before each burst. */
bool nvme_queues_fetch(struct nvme_ctrl *c, unsigned budget)
{
	unsigned done = 0, idle = 0;

	if (c->sq_turn >= c->sq_top)
		c->sq_turn = 0;
	while (done < budget && idle < c->sq_top && c->work < NVME_WORK_MAX && nvme_ctrl_may_fetch(c)) {
		struct nvme_sq *sq = &c->sq[c->sq_turn];
		unsigned n = sq_ready(c, sq) ? sq_fetch(c, sq, MIN(BURST, budget - done)) : 0;

		idle = n ? 0 : idle + 1;
		done += n;
		if (++c->sq_turn >= c->sq_top)
			c->sq_turn = 0;
	}
	return done > 0;
}

/* ---- completing ---- */

static bool cq_has_room(const struct nvme_cq *cq)
{
	unsigned next = cq->tail + 1u == cq->size ? 0 : cq->tail + 1u;

	return next != cq->head;
}

/* The phase is the queue's, the head the submission queue's as it is now. */
static void cqe_finish(struct nvme_req *req, struct nvme_cq *cq)
{
	uint16_t status = (uint16_t)(req->status << 1 | cq->phase);

	req->cqe = (struct nvme_cqe){ .dw0 = le32_of(req->dw0), .dw1 = le32_of(req->dw1), .sqhd = le16_of(req->sq->head),
				      .sqid = le16_of(req->sq->qid), .cid = req->sqe.cid, .status = le16_of(status) };
}

static void cq_advance(struct nvme_ctrl *c, struct nvme_cq *cq)
{
	gmem_mark_ring(&c->dev.gmem, cq->prp1 + 16ull * cq->tail, 16);
	if (++cq->tail == cq->size) {
		cq->tail = 0;
		cq->phase = !cq->phase;
	}
	if (cq->ien)
		c->cq_pending_irq[cq->iv / 32] |= 1u << (cq->iv % 32);
	c->stats.completed++;
}

static uint8_t *cq_ptr(struct nvme_ctrl *c, struct nvme_cq *cq)
{
	struct gmem *g = &c->dev.gmem;

	if (cq->generation != g->generation) {
		cq->ptr = gmem_ptr(g, cq->prp1, 16ull * cq->size, true);
		cq->generation = g->generation;
	}
	return cq->ptr;
}

/* 12 bytes, then the dword with the phase bit: who sees the phase sees the rest. Made in place from registers: an entry that is built
 * elsewhere and copied in larger pieces than it was built of makes the processor wait for all stores before it, among them the
 * command's data on its way to memory. */
static void cq_write(struct nvme_ctrl *c, struct nvme_cq *cq, uint8_t *ring, const struct nvme_req *req)
{
	struct nvme_cqe *slot = (void *)(ring + 16u * cq->tail);
	uint16_t status = (uint16_t)(req->status << 1 | cq->phase);
	le32 last = le32_of((uint32_t)le16_get(req->sqe.cid) | (uint32_t)status << 16);
	uint32_t raw;

	slot->dw0 = le32_of(req->dw0);
	slot->dw1 = le32_of(req->dw1);
	slot->sqhd = le16_of(req->sq->head);
	slot->sqid = le16_of(req->sq->qid);
	memcpy(&raw, &last, 4);
	__atomic_store_n((uint32_t *)(void *)((uint8_t *)slot + 12), raw, __ATOMIC_RELEASE);
	cq_advance(c, cq);
}

/* First the body and, when that is there, the dword with the phase: a client may copy a message in any order. */
static void cq_write_by_message(struct nvme_ctrl *c, struct nvme_cq *cq, struct nvme_req *req)
{
	int rc;

	cqe_finish(req, cq);
	req->where = NVME_REQ_POSTING;
	cq->posting = true;
	c->held_count--;
	c->inflight++;
	rc = nvme_gop_submit(req, NVME_GOP_CQE_BODY, cq->prp1 + 16ull * cq->tail, &req->cqe, 12, true);
	if (rc != 0)
		nvme_cq_posted(req, rc < 0 ? rc : 0);
}

static int cq_write_last(struct nvme_req *req)
{
	struct nvme_cq *cq = req->cq;

	return nvme_gop_submit(req, NVME_GOP_CQE_LAST, cq->prp1 + 16ull * cq->tail + 12, (uint8_t *)&req->cqe + 12, 4, true);
}

/* A message came back. A failed one is tried again: the guest still waits for it. */
void nvme_cq_posted(struct nvme_req *req, int rc)
{
	struct nvme_ctrl *c = req->ctrl;
	struct nvme_cq *cq = req->cq;

	if (req->sq && rc == 0 && req->state == NVME_GOP_CQE_BODY) {
		rc = cq_write_last(req);
		if (rc == 0)
			return;
		rc = rc < 0 ? rc : 0;
	}
	c->inflight--;
	if (!req->sq) {			/* orphan: the queue is another one by now */
		nvme_req_free(req);
		return;
	}
	cq->posting = false;
	if (rc && req->forsaken) {	/* nobody waits for it, and a state image could not name its queue */
		held_del(cq, req);
		nvme_req_free(req);
		cq_quiet(cq);
		return;
	}
	if (rc) {
		req->where = NVME_REQ_HELD;
		c->held_count++;
		cq->stuck = stuck(c);
		return;
	}
	held_del(cq, req);
	cq_advance(c, cq);
	nvme_req_free(req);
	cq_quiet(cq);
}

void nvme_cq_post(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	struct nvme_cq *cq = req->sq->cq;
	uint8_t *ring = cq_ptr(c, cq);

	req->cq = cq;
	if (!cq_has_room(cq) && (!cq->qid || !c->dbbuf || dbbuf_here(c)))
		cq_latch(c, cq, c->dbbuf && cq->qid);
	if (ring && list_empty(&cq->held) && cq_has_room(cq)) {
		cq_write(c, cq, ring, req);
		nvme_req_free(req);
		return;
	}
	req->where = NVME_REQ_HELD;
	held_add(cq, req);
	c->held_count++;
}

static bool cq_flush(struct nvme_ctrl *c, struct nvme_cq *cq)
{
	bool any = false;

	while (!list_empty(&cq->held) && !cq->posting && cq_has_room(cq) && cq->stuck != c->dev.gmem.generation) {
		struct nvme_req *req = LIST_ENTRY(cq->held.next, struct nvme_req, link);
		uint8_t *ring = cq_ptr(c, cq);

		any = true;
		if (!ring) {
			cq_write_by_message(c, cq, req);
			continue;
		}
		held_del(cq, req);
		c->held_count--;
		cq_write(c, cq, ring, req);
		nvme_req_free(req);
	}
	return any;
}

bool nvme_queues_flush(struct nvme_ctrl *c)
{
	bool any = false;

	for (unsigned i = 0; i < c->cq_top && c->held_count; i++)
		if (c->cq[i].live)
			any |= cq_flush(c, &c->cq[i]);
	return any;
}

bool nvme_held_restore(struct nvme_sq *sq, uint16_t cid, uint16_t status, uint32_t dw0, uint32_t dw1)
{
	struct nvme_ctrl *c = nvme_sq_ctrl(sq);
	struct nvme_req *req = nvme_req_take(c);

	if (!req)
		return false;
	c->inflight--;
	req->sq = sq;
	req->cq = sq->cq;
	req->sqe.cid = le16_of(cid);
	req->status = (nvme_status)(status & 0x7fff);
	req->dw0 = dw0;
	req->dw1 = dw1;
	req->where = NVME_REQ_HELD;
	held_add(sq->cq, req);
	c->held_count++;
	return true;
}

/* ---- interrupts ---- */

static void irq_fire(struct nvme_ctrl *c, unsigned v)
{
	uint32_t bit = 1u << (v % 32);

	if (pci_msix_enabled(&c->pci) && !pci_msix_masked(&c->pci, v) && c->dev.irq && c->dev.irq(c->dev.irq_ctx, v))
		c->pci.pba[v / 32] &= ~bit;
	else
		c->pci.pba[v / 32] |= bit;
}

static bool irq_allowed(const struct nvme_ctrl *c)
{
	return c->online && c->suspend != NVME_SUSPENDED;
}

/* Once per poll, once per vector, whatever was posted. */
void nvme_irq_flush(struct nvme_ctrl *c)
{
	if (!irq_allowed(c))
		return;
	for (unsigned w = 0; w < ARRAY_LEN(c->cq_pending_irq); w++) {
		uint32_t bits = c->cq_pending_irq[w];

		c->cq_pending_irq[w] = 0;
		for (; bits; bits &= bits - 1)
			irq_fire(c, 32 * w + (unsigned)__builtin_ctz(bits));
	}
}

/* An interrupt raised just before the standstill may have gone where nobody looks any more (an event descriptor that its VMM had not
 * read when its guest left). One too many is harmless, one too few is a driver that waits for half a minute. */
void nvme_irq_again(struct nvme_ctrl *c)
{
	nvme_doorbells_latch(c);
	for (unsigned i = 0; i < c->cq_top; i++) {
		const struct nvme_cq *cq = &c->cq[i];

		if (cq->live && cq->ien && cq->head != cq->tail)
			c->cq_pending_irq[cq->iv / 32] |= 1u << (cq->iv % 32);
	}
}

/* Vectors that could not be delivered before: bound, unmasked or enabled now. */
void nvme_irq_retry(struct nvme_ctrl *c, unsigned first, unsigned count)
{
	if (!irq_allowed(c))
		return;
	for (unsigned v = first; v < first + count && v < NVME_MSIX_VECTORS; v++)
		if (c->pci.pba[v / 32] >> (v % 32) & 1)
			irq_fire(c, v);
}
