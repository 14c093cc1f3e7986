/* What ctrl.c, queue.c, req.c, xfer.c and event.c share and nobody else calls. */
#ifndef FERRY_DEVICE_NVME_CORE_H
#define FERRY_DEVICE_NVME_CORE_H

#include "device/nvme/nvme.h"

/* Where a request is. OUT, RETRY and POSTING have something out that will call back. */
enum nvme_where {
	NVME_REQ_FREE,
	NVME_REQ_OUT,		/* running, or moving data */
	NVME_REQ_WAITING,	/* in buf_wait, wide_wait or throttled: not begun */
	NVME_REQ_RETRY,		/* in retry: the backend had no room */
	NVME_REQ_PARKED,	/* an AER */
	NVME_REQ_TELLING,	/* in telling: done, but the VMM does not know of all the pages it wrote yet */
	NVME_REQ_HELD,		/* complete, in its CQ's held list */
	NVME_REQ_POSTING	/* complete, its entry is on its way by message; still first in the held list */
};

/* What the one message of a request is for. */
enum nvme_gop { NVME_GOP_FETCH, NVME_GOP_LIST, NVME_GOP_IN, NVME_GOP_OUT, NVME_GOP_CQE_BODY, NVME_GOP_CQE_LAST };

static inline struct nvme_ctrl *nvme_sq_ctrl(struct nvme_sq *sq)
{
	return CONTAINER_OF(sq - sq->qid, struct nvme_ctrl, sq);
}
static inline struct nvme_ctrl *nvme_cq_ctrl(struct nvme_cq *cq)
{
	return CONTAINER_OF(cq - cq->qid, struct nvme_ctrl, cq);
}

/* ctrl.c */
bool nvme_ctrl_may_fetch(const struct nvme_ctrl *);
bool nvme_ctrl_housekeep(struct nvme_ctrl *);	/* deferred work that needs no client: drain, enable, ready, shutdown */
int nvme_ctrl_setup(struct nvme_ctrl *, struct nvme_subsys *, const struct nvme_ctrl_cfg *, struct err *);
void nvme_ctrl_teardown(struct nvme_ctrl *);

/* queue.c */
void nvme_admin_queues_create(struct nvme_ctrl *);
void nvme_queues_reset(struct nvme_ctrl *);	/* all gone; the requests are dealt with already */
bool nvme_queues_fetch(struct nvme_ctrl *, unsigned budget);
bool nvme_queues_flush(struct nvme_ctrl *);	/* posts held completions that have room now */
bool nvme_queues_arm(struct nvme_ctrl *);	/* before sleeping: event indices; true if something came meanwhile */
bool nvme_queues_unstick(struct nvme_ctrl *);	/* rings that could not be reached are tried again, when it is time */
void nvme_cq_post(struct nvme_req *);		/* req->cqe is made but for SQHD and phase; frees the request when it is out */
void nvme_cq_posted(struct nvme_req *, int rc);	/* the message came back */
void nvme_sq_fetched(struct nvme_req *, int rc);
uint32_t nvme_sq_backlog(const struct nvme_ctrl *);	/* commands that were announced and not fetched, of all I/O queues */
void nvme_sq_quiet(struct nvme_sq *);		/* a command of it is complete: a waiting Delete may go on */
void nvme_irq_flush(struct nvme_ctrl *);
void nvme_irq_again(struct nvme_ctrl *);	/* after a standstill: every vector whose queue has entries the host has not taken */
void nvme_irq_retry(struct nvme_ctrl *, unsigned first, unsigned count);

/* req.c */
void nvme_reqs_init(struct nvme_ctrl *);
struct nvme_req *nvme_req_take(struct nvme_ctrl *); /* NULL: none free */
void nvme_req_free(struct nvme_req *);
void nvme_req_start(struct nvme_req *);		/* req->sqe and req->sq are set */
/* Room for NVME_WIDE_IOV segments; those there are so far stay. ASYNC: it waits for some, and is mapped again from the start. */
nvme_status nvme_req_widen(struct nvme_req *);
void nvme_req_mapped(struct nvme_req *, nvme_status);	/* xfer: the segments are known, or are bad */
void nvme_req_moved(struct nvme_req *, bool in, nvme_status);	/* xfer: the data is here, or there */
void nvme_reqs_orphan(struct nvme_ctrl *, const struct nvme_sq *only); /* NULL: of all queues */
bool nvme_reqs_poll(struct nvme_ctrl *);
void nvme_rows_init(void);

/* xfer.c */
nvme_status nvme_xfer_map(struct nvme_req *);	/* fills iova[] and iov[].iov_len; ASYNC: nvme_req_mapped later */
bool nvme_xfer_direct(struct nvme_req *);	/* iov[] points into guest memory now */
bool nvme_xfer_reachable(struct nvme_req *);
void nvme_xfer_bounce(struct nvme_req *);	/* iov[] points into buf now */
nvme_status nvme_xfer_move(struct nvme_req *, bool in); /* between buf and guest; ASYNC: nvme_req_moved later */
void nvme_xfer_mark(struct nvme_req *);		/* all of the guest memory that a direct command may have written */
int nvme_gop_submit(struct nvme_req *, enum nvme_gop, uint64_t iova, void *buf, uint32_t len, bool write);

/* slow.c */
void nvme_slow_over(struct nvme_req *, int rc);	/* a request that was told of as slow is done */

/* event.c */
void nvme_event_deliver(struct nvme_ctrl *);
void nvme_aer_unpark(struct nvme_req *);

#endif
