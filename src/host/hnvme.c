/* Commands: arena, submission, completion, time-outs. A controller that answers nonsense or not at all costs its commands, never
 * the program: unknown CIDs are counted and dropped, an overdue command gives the controller up (and a reset may bring it back).
 */
#include "host/hnvme_in.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/log.h"

/* ---- arena: first fit over pages. A few hundred allocations at configuration, none per command. */

void *hnvme_mem(struct hnvme *h, size_t bytes)
{
	uint64_t n = (bytes + HNVME_PAGE - 1) / HNVME_PAGE, run = 0;

	if (!bytes || n > h->pages)
		return NULL;
	for (uint64_t i = 0; i < h->pages; i++) {
		run = h->used[i] ? 0 : run + 1;
		if (run == n) {
			memset(h->used + i + 1 - n, 1, n);
			return h->mem + (i + 1 - n) * HNVME_PAGE;
		}
	}
	return NULL;
}

void hnvme_mem_free(struct hnvme *h, void *p, size_t bytes)
{
	uint64_t at, n = (bytes + HNVME_PAGE - 1) / HNVME_PAGE;

	if (!p)
		return;
	at = (uint64_t)((uint8_t *)p - h->mem) / HNVME_PAGE;
	CHECK(range_inside(at, n, h->pages));
	memset(h->used + at, 0, n);
}

static bool in_arena(const struct hnvme *h, const void *p, uint32_t len)
{
	uint64_t off = hnvme_iova(p) - hnvme_iova(h->mem); /* wraps to something huge when p is below */

	return range_inside(off, len, h->pages * HNVME_PAGE);
}

/* ---- life */

struct hnvme *hnvme_new(const struct hnvme_cfg *cfg, struct err *err)
{
	struct hnvme *h = calloc(1, sizeof(*h));
	bool shared = cfg->mem_fd >= 0;

	if (!h)
		goto nomem;
	h->cfg = *cfg;
	h->port = cfg->port;
	h->cfg.queue_size = cfg->queue_size ? MIN(MAX(cfg->queue_size, 2u), (uint32_t)HQ_MAX) : 256;
	h->cfg.mem_bytes = cfg->mem_bytes ? round_up(cfg->mem_bytes, HNVME_PAGE) : 16 * MIB;
	h->cfg.timeout_ns = cfg->timeout_ns ? cfg->timeout_ns : 10 * NS_PER_S;
	h->pages = h->cfg.mem_bytes / HNVME_PAGE;
	h->used = calloc(h->pages, 1);
	h->mem = mmap(NULL, h->cfg.mem_bytes, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
		      shared ? cfg->mem_fd : -1, 0);
	if (h->mem == MAP_FAILED)
		h->mem = NULL;
	if (h->used && h->mem)
		return h;
	hnvme_free(h);
nomem:
	err_set(err, -ENOMEM, "no memory for an NVMe driver with %llu bytes of buffers", (unsigned long long)cfg->mem_bytes);
	return NULL;
}

static bool unmap(struct hnvme *h)
{
	int rc;

	for (int i = 0; i < 10000; i++) {
		rc = h->port->ops->dma_unmap(h->port, hnvme_iova(h->mem), h->cfg.mem_bytes);
		if (rc != -EAGAIN)
			return true;	/* gone, or the whole device is */
		if (h->port->ops->poll)
			h->port->ops->poll(h->port);
	}
	return false;
}

void hnvme_free(struct hnvme *h)
{
	if (!h)
		return;
	if (h->state == HNVME_STARTING || h->state == HNVME_READY)
		hnvme_give_up(h, -ECANCELED);
	for (unsigned i = 0; i <= HNVME_IOQ_MAX; i++) {
		free(h->queue[i].by_cid);
		free(h->queue[i].cids);
	}
	/* A device in our own process that still holds a pointer into the arena would write into freed memory: then rather leave it. */
	if (h->mapped && !unmap(h))
		log_error("NVMe driver: the controller does not let go of %llu bytes; they stay allocated",
			  (unsigned long long)h->cfg.mem_bytes);
	else if (h->mem)
		munmap(h->mem, h->cfg.mem_bytes);
	free(h->used);
	free(h);
}

static void fail_queue(struct hnvme_queue *q, int rc)
{
	for (uint32_t cid = 0; q->by_cid && cid < q->q.size; cid++) {
		struct hnvme_cmd *c = q->by_cid[cid];

		q->by_cid[cid] = NULL;
		if (c)
			c->done(c, rc, NULL);
	}
}

void hnvme_give_up(struct hnvme *h, int rc)
{
	if (h->state == HNVME_DEAD)
		return;
	h->state = HNVME_DEAD;
	h->revive_ns = env_now_ns(h->cfg.env) + NS_PER_S;
	/* Best effort: a disabled controller writes no more into memory whose owner believes the command is over. */
	h->port->ops->reg_write(h->port, NVME_REG_CC, 4, 0);
	for (unsigned i = 0; i <= h->queues_made; i++)
		fail_queue(&h->queue[i], rc);
}

int hnvme_queue_make(struct hnvme *h, unsigned qid, uint32_t size)
{
	struct hnvme_queue *q = &h->queue[qid];
	uint8_t *sq = h->mem + q->q.sq_off, *cq = h->mem + q->q.cq_off;

	if (!q->prps) { /* else this is a controller that comes back: the same memory again */
		sq = hnvme_mem(h, size * sizeof(struct nvme_sqe));
		cq = hnvme_mem(h, size * sizeof(struct nvme_cqe));
		q->prps = hnvme_mem(h, (size_t)size * HNVME_PRPS * 8);
		free(q->by_cid);
		free(q->cids);
		q->by_cid = calloc(size, sizeof(*q->by_cid));
		q->cids = calloc(size, sizeof(*q->cids));
	} else {
		size = MIN(size, q->q.size);
	}
	if (!sq || !cq || !q->prps || !q->by_cid || !q->cids)
		return -ENOMEM;
	hqueue_init(&q->q, h->mem, qid, size, (uint64_t)(sq - h->mem), (uint64_t)(cq - h->mem));
	for (q->free = 0; q->free < size - 1; q->free++)
		q->cids[q->free] = (uint16_t)(size - 2 - q->free);
	return 0;
}

/* ---- submission */

/* Base 4.3.1: PRP1 may start inside a page, everything after is whole pages; more than two need a list. */
static void prp_put(struct hnvme_cmd *c, uint8_t *list)
{
	uint64_t at = hnvme_iova(c->data), end = at + c->len, page = round_down(at, HNVME_PAGE) + HNVME_PAGE;
	unsigned n = 0;

	c->sqe.prp1 = le64_of(at);
	c->sqe.prp2 = le64_of(0);
	if (end <= page)
		return;
	if (end <= page + HNVME_PAGE) {
		c->sqe.prp2 = le64_of(page);
		return;
	}
	for (; page < end; page += HNVME_PAGE, n++) {
		le64 v = le64_of(page);

		memcpy(list + 8 * n, &v, 8);
	}
	c->prp_page = hnvme_iova(list);
	c->sqe.prp2 = le64_of(c->prp_page);
}

int hnvme_submit(struct hnvme *h, unsigned qid, struct hnvme_cmd *c)
{
	struct hnvme_queue *q;

	if (h->state == HNVME_DEAD || h->state == HNVME_NEW || (h->state == HNVME_STARTING && c != &h->boot))
		return -ENODEV;
	if (qid > h->io_queues || (qid && h->state != HNVME_READY))
		return -EINVAL;
	q = &h->queue[qid];
	if (c->data && (!c->len || !in_arena(h, c->data, c->len) || c->len > HNVME_XFER_MAX || hnvme_iova(c->data) & 3))
		return -EINVAL;
	if (!q->free || hqueue_full(&q->q))
		return -EAGAIN;
	c->qid = (uint16_t)qid;
	c->cid = q->cids[--q->free];
	c->sqe.cid = le16_of(c->cid);
	if (c->data)
		prp_put(c, q->prps + (size_t)c->cid * HNVME_PRPS * 8);
	c->out = (c->sqe.opc & 3) == 1;
	c->deadline_ns = qid == 0 && c->sqe.opc == NVME_OP_AER ? UINT64_MAX : env_now_ns(h->cfg.env) + h->cfg.timeout_ns;
	q->by_cid[c->cid] = c;
	hqueue_push(&q->q, h->mem, &c->sqe);
	if (hqueue_kick(&q->q, h->port)) {
		/* Nobody is there to see the entry. The caller hears -ENODEV here, so `done` must not be called for it as well. */
		q->by_cid[c->cid] = NULL;
		hnvme_give_up(h, -ENODEV);
		return -ENODEV;
	}
	return 0;
}

/* ---- completion */

static void complete(struct hnvme *h, struct hnvme_queue *q, const struct nvme_cqe *cqe)
{
	uint16_t cid = le16_get(cqe->cid);
	struct hnvme_cmd *c = cid < q->q.size ? q->by_cid[cid] : NULL;

	if (!c || le16_get(cqe->sqid) != q->q.qid) {
		if (!h->strays++)
			log_warn("NVMe driver: completion on queue %u for CID %u, which is not out; ignored", q->q.qid, cid);
		return;
	}
	q->by_cid[cid] = NULL;
	q->cids[q->free++] = cid;
	c->done(c, 0, cqe);
}

/* At most one ring's worth, so that a controller that posts for ever cannot keep us. */
static bool poll_queue(struct hnvme *h, struct hnvme_queue *q)
{
	struct nvme_cqe cqe;
	unsigned n = 0;

	while (h->state != HNVME_DEAD && n < q->q.size && hqueue_reap(&q->q, h->mem, &cqe)) {
		n++;
		complete(h, q, &cqe);
	}
	if (n && h->state != HNVME_DEAD && hqueue_ack(&q->q, h->port))
		hnvme_give_up(h, -ENODEV);
	return n > 0;
}

static bool overdue(struct hnvme *h, uint64_t now)
{
	for (unsigned i = 0; i <= h->queues_made; i++) {
		struct hnvme_queue *q = &h->queue[i];

		for (uint32_t cid = 0; cid < q->q.size; cid++) {
			struct hnvme_cmd *c = q->by_cid[cid];

			if (!c || now < c->deadline_ns)
				continue;
			q->by_cid[cid] = NULL;
			log_warn("NVMe driver: command %02xh on queue %u had no answer for %llu ms; the controller is given up",
				 c->sqe.opc, i, (unsigned long long)(h->cfg.timeout_ns / NS_PER_MS));
			c->done(c, -ETIMEDOUT, NULL);
			return true;
		}
	}
	return false;
}

bool hnvme_poll(struct hnvme *h)
{
	bool busy = false;
	uint64_t now;

	if (h->port->ops->poll)
		busy = h->port->ops->poll(h->port);
	if (h->cfg.revive && (h->reviving || h->state == HNVME_DEAD))
		busy |= hnvme_revive(h);
	if (h->state == HNVME_NEW || h->state == HNVME_DEAD)
		return busy;
	for (unsigned i = 0; i <= h->queues_made && h->state != HNVME_DEAD; i++)
		busy |= poll_queue(h, &h->queue[i]);
	now = env_now_ns(h->cfg.env);
	if (h->state != HNVME_DEAD && now >= h->scan_ns) {
		h->scan_ns = now + MIN(h->cfg.timeout_ns / 16, 10 * NS_PER_MS);
		if (overdue(h, now)) {
			hnvme_give_up(h, -ENODEV);
			busy = true;
		}
	}
	return busy;
}

bool hnvme_ready(const struct hnvme *h) { return h->state == HNVME_READY; }

void hnvme_hold(struct hnvme *h) { h->holds++; }

void hnvme_release(struct hnvme *h)
{
	CHECK(h->holds);
	h->holds--;
}

unsigned hnvme_io_queues(const struct hnvme *h) { return h->io_queues; }
const struct nvme_id_ctrl *hnvme_id(const struct hnvme *h) { return &h->id; }
uint32_t hnvme_max_transfer(const struct hnvme *h) { return h->max_transfer; }

/* ---- asynchronous events */

static void event_done(struct hnvme_cmd *c, int rc, const struct nvme_cqe *cqe)
{
	struct hnvme *h = c->ctx;

	c->ctx = NULL;
	if (rc || nvme_cqe_status(cqe))
		return;		/* refused (limit) or gone: the others stay */
	if (h->event)
		h->event(h->event_ctx, le32_get(cqe->dw0), le32_get(cqe->dw1));
	c->ctx = h;
	if (hnvme_submit(h, 0, c))
		c->ctx = NULL;
}

void hnvme_arm_events(struct hnvme *h)
{
	for (unsigned i = 0; i < MIN((unsigned)HNVME_AERS, h->id.aerl + 1u); i++) {
		h->aer[i] = (struct hnvme_cmd){ .sqe.opc = NVME_OP_AER, .done = event_done, .ctx = h };
		if (hnvme_submit(h, 0, &h->aer[i]))
			return;
	}
}

void hnvme_on_event(struct hnvme *h, void (*fn)(void *ctx, uint32_t dw0, uint32_t dw1), void *ctx)
{
	h->event = fn;
	h->event_ctx = ctx;
}
