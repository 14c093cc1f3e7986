/* Asynchronous events: what has happened waits here for an Asynchronous Event Request to carry it.
 *
 * Called by whoever has news (queue.c, logs.c, cdq.c, subsys.c) and by the AER command. Device thread. Events of the types
 * error, SMART and notice are masked once reported, until the host reads their log page; one-shot events (AET 4) are not
 * (Base 5.2.2). A suspended controller keeps everything to itself until it is resumed.
 */
#include "device/nvme/core.h"

#include "base/log.h"

enum { AER_CONFIG_NS_CHANGED = 1 << 8 };

static bool event_masked(const struct nvme_ctrl *c, const struct nvme_event *e)
{
	return e->aet != NVME_AET_ONESHOT && c->event_masked >> e->aet & 1;
}

static void event_remove(struct nvme_ctrl *c, unsigned at)
{
	c->event_count--;
	memmove(c->event + at, c->event + at + 1, (c->event_count - at) * sizeof(c->event[0]));
}

static void event_report(struct nvme_ctrl *c, struct nvme_event e)
{
	struct nvme_req *req = c->aer[0];

	if (e.aet != NVME_AET_ONESHOT)
		c->event_masked |= 1u << e.aet;
	req->dw0 = e.aet | (uint32_t)e.aei << 8 | (uint32_t)e.lid << 16;
	req->dw1 = e.dw1;
	nvme_req_done(req, NVME_SUCCESS);
}

void nvme_event_deliver(struct nvme_ctrl *c)
{
	unsigned i = 0;

	while (c->aer_count && i < c->event_count && c->suspend != NVME_SUSPENDED) {
		struct nvme_event e = c->event[i];

		if (event_masked(c, &e)) {
			i++;
			continue;
		}
		event_remove(c, i);
		event_report(c, e);
	}
}

void nvme_event_post(struct nvme_ctrl *c, struct nvme_event e)
{
	for (unsigned i = 0; i < c->event_count; i++) {
		struct nvme_event *o = &c->event[i];

		if (o->aet == e.aet && o->aei == e.aei && o->lid == e.lid && o->dw1 == e.dw1)
			return; /* told once is enough */
	}
	if (c->event_count == NVME_EVENTS_MAX) {
		log_warn("controller %u: more than %u events wait for a request, one is dropped", c->cntlid, NVME_EVENTS_MAX);
		return;
	}
	c->event[c->event_count++] = e;
	nvme_event_deliver(c);
}

void nvme_event_discard(struct nvme_ctrl *c, uint8_t aet, uint8_t aei, uint32_t dw1)
{
	for (unsigned i = c->event_count; i-- > 0;)
		if (c->event[i].aet == aet && c->event[i].aei == aei && c->event[i].dw1 == dw1)
			event_remove(c, i);
}

static uint8_t lid_aet(uint8_t lid)
{
	return lid == NVME_LID_ERROR ? NVME_AET_ERROR : lid == NVME_LID_SMART ? NVME_AET_SMART : NVME_AET_NOTICE;
}

/* The host has seen the page: what waits to announce it is no news any more. */
void nvme_event_log_read(struct nvme_ctrl *c, uint8_t lid)
{
	for (unsigned i = c->event_count; i-- > 0;)
		if (c->event[i].aet != NVME_AET_ONESHOT && c->event[i].lid == lid)
			event_remove(c, i);
	c->event_masked &= ~(1u << lid_aet(lid));
	nvme_event_deliver(c);
}

/* The log page learns of it always, the host only if it asked (FID 0Bh bit 8). */
void nvme_event_ns_changed(struct nvme_ctrl *c, uint32_t guest_nsid)
{
	c->changed_ns[guest_nsid / 32] |= 1u << (guest_nsid % 32);
	if (c->enabled && c->feat.aer_config & AER_CONFIG_NS_CHANGED)
		nvme_event_post(c, (struct nvme_event){ .aet = NVME_AET_NOTICE, .aei = NVME_AEI_NS_CHANGED,
							.lid = NVME_LID_CHANGED_NS });
}

void nvme_event_reset(struct nvme_ctrl *c)
{
	c->event_count = 0;
	c->event_masked = 0;
	memset(c->changed_ns, 0, sizeof(c->changed_ns));
}

/* ---- the requests ---- */

static void aer_park(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	req->where = NVME_REQ_PARKED;
	c->aer[c->aer_count++] = req;
	c->inflight--;
}

/* Whoever completes a parked request (an event, Abort, a reset) gets it counted again. */
void nvme_aer_unpark(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	for (unsigned i = 0; i < c->aer_count; i++) {
		if (c->aer[i] != req)
			continue;
		c->aer_count--;
		memmove(c->aer + i, c->aer + i + 1, (c->aer_count - i) * sizeof(c->aer[0]));
		break;
	}
	req->where = NVME_REQ_OUT;
	c->inflight++;
}

nvme_status nvme_aer(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	if (c->aer_count == NVME_AER_MAX)
		return NVME_AER_LIMIT;
	aer_park(req);
	nvme_event_deliver(c);
	return NVME_ASYNC;
}

bool nvme_aer_restore(struct nvme_ctrl *c, uint16_t cid)
{
	struct nvme_req *req = c->aer_count < NVME_AER_MAX ? nvme_req_take(c) : NULL;

	if (!req)
		return false;
	req->sqe.cid = le16_of(cid);
	req->sqe.opc = NVME_OP_AER;
	req->sq = &c->sq[0];
	req->sq->inflight++;
	aer_park(req);
	return true;
}
