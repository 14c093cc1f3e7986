/* One queue pair from the host's side, relocatable: no pointers, only offsets into the host's memory, so that a guest whose
 * memory is copied to another server goes on in the middle of its queue (the embedded guest keeps these in guest memory).
 *
 * Memory is `base`: byte 0 of it has IOVA `iova`. The caller passes base each time. One thread.
 */
#ifndef FERRY_HOST_HQUEUE_H
#define FERRY_HOST_HQUEUE_H

#include "host/port.h"
#include "spec/nvme.h"

enum { HQ_MAX = 1024 };	/* entries */

struct hqueue {
	uint32_t qid, size;		/* entries, both rings */
	uint64_t sq_off, cq_off;	/* offsets of the rings from base; page aligned */
	uint16_t sq_tail, sq_head;	/* head as last told by a CQE */
	uint16_t cq_head;
	uint16_t db_cq;			/* CQ head last written to the doorbell */
	uint8_t phase;			/* expected of the next CQE */
	uint8_t pad;
	uint16_t out;			/* commands out */
	uint16_t db_sq;			/* SQ tail last written to the doorbell */
};

/* Zeroes the rings. */
void hqueue_init(struct hqueue *, uint8_t *base, uint32_t qid, uint32_t size, uint64_t sq_off, uint64_t cq_off);
bool hqueue_full(const struct hqueue *);
/* Puts the SQE (cid already in it) into the ring; the doorbell rings at hqueue_kick. False when full. */
bool hqueue_push(struct hqueue *, uint8_t *base, const struct nvme_sqe *);
int hqueue_kick(struct hqueue *, struct port *);
/* Next completion if there is one (acquire order: data the device wrote before it is visible). */
bool hqueue_reap(struct hqueue *, uint8_t *base, struct nvme_cqe *);
int hqueue_ack(struct hqueue *, struct port *); /* writes the CQ head doorbell if it moved */

#endif
