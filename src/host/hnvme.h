/* An NVMe driver for programs: one controller, its admin queue and I/O queues, commands with a callback each.
 * The manager drives the MMC with it, `ferry nvme` sends raw commands with it, tests use it.
 *
 * Everything is asynchronous; hnvme_poll makes progress and calls `done`. One thread. Memory the device reaches comes from
 * the driver's own arena (hnvme_mem), mapped at the port with IOVA = address.
 */
#ifndef FERRY_HOST_HNVME_H
#define FERRY_HOST_HNVME_H

#include "env/env.h"
#include "host/hqueue.h"

struct hnvme;

struct hnvme_cfg {
	struct env *env;
	struct port *port;		/* borrowed */
	uint32_t queue_size;		/* entries; 0: 256 */
	uint32_t io_queues;		/* wanted; the controller may give fewer; at least one unless 0 */
	uint64_t mem_bytes;		/* arena; 0: 16 MiB */
	int mem_fd;			/* -1: anonymous memory. Else a shared file of mem_bytes (for a port over a socket) */
	uint64_t timeout_ns;		/* for enable and for each command; 0: 10 s. An overdue command completes with rc -ETIMEDOUT and
					 * the controller is given up (every later command -ENODEV) */
	bool revive;			/* one that was given up is reset and started again, by hnvme_poll, every second until it works */
};

struct hnvme_cmd {
	struct nvme_sqe sqe;		/* cid is filled in by submit, the data pointer too if data is not NULL */
	void *data;			/* inside the arena; NULL none */
	uint32_t len;
	/* rc 0: cqe is valid (whatever its status). rc < 0: no completion came (-ENODEV, -ETIMEDOUT, -ECANCELED). */
	void (*done)(struct hnvme_cmd *, int rc, const struct nvme_cqe *cqe);
	void *ctx;
	/* driver's own */
	uint16_t qid, cid;
	uint64_t deadline_ns;
	uint64_t prp_page;
	bool out;
};

struct hnvme *hnvme_new(const struct hnvme_cfg *, struct err *);
void hnvme_free(struct hnvme *);		/* disables the controller if it still answers */
/* Reset, admin queue, enable, Identify, I/O queues. -EAGAIN until ready (call hnvme_poll between); 0; -errno with sentence. */
int hnvme_start(struct hnvme *, struct err *);
/* qid 0 admin. 0; -EAGAIN queue full (nothing happened); -ENODEV; -EINVAL data not in the arena. */
int hnvme_submit(struct hnvme *, unsigned qid, struct hnvme_cmd *);
bool hnvme_poll(struct hnvme *);		/* true if anything completed */
bool hnvme_ready(const struct hnvme *);
/* Whoever keeps something in the controller (a data queue, a suspension) holds the driver as long: it is not revived before all have let
 * go. Afterwards what they had is gone, and its numbers may be somebody else's. Each hold is released once. */
void hnvme_hold(struct hnvme *);
void hnvme_release(struct hnvme *);
unsigned hnvme_io_queues(const struct hnvme *);
const struct nvme_id_ctrl *hnvme_id(const struct hnvme *);
uint32_t hnvme_max_transfer(const struct hnvme *); /* bytes, from MDTS */
/* Page aligned memory from the arena; NULL when it is used up. */
void *hnvme_mem(struct hnvme *, size_t bytes);
void hnvme_mem_free(struct hnvme *, void *, size_t bytes);
/* Asynchronous events: called from hnvme_poll for each AER completion; AERs are kept outstanding by the driver. */
void hnvme_on_event(struct hnvme *, void (*fn)(void *ctx, uint32_t dw0, uint32_t dw1), void *ctx);

#endif
