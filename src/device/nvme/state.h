/* Between state.c (the outer structure and the standard part) and state_vsd.c (our vendor part). Device thread. */
#ifndef FERRY_DEVICE_NVME_STATE_H
#define FERRY_DEVICE_NVME_STATE_H

#include "device/nvme/hmlm.h"
#include "device/nvme/state_rows.h"

/* The standard part, judged: pointers into the image. */
struct nvme_v0 {
	const struct nvme_state_sq *sq;
	const struct nvme_state_cq *cq;
	unsigned nsq, ncq;
	/* by queue id; NULL: no such queue */
	const struct nvme_state_sq *sq_by_id[NVME_IOQ_MAX + 1];
	const struct nvme_state_cq *cq_by_id[NVME_IOQ_MAX + 1];
};

/* The vendor part, judged: rows are decoded into a controller that nobody uses, lists are pointers into the image. */
struct nvme_vsd {
	struct nvme_ctrl *s;
	uint32_t seen;				/* bit per record, in the order of NVME_STATE_RECORDS */
	struct nvme_state_admin_q admin;
	const uint8_t *doorbells;
	const struct nvme_state_ns *ns;
	const struct nvme_state_cqx *cqx;
	const struct nvme_state_heldx *held;
	const struct nvme_state_aer *aer;
	const struct nvme_state_event *event;
	const uint8_t *errlog;
	unsigned ns_count, cqx_count, held_count, aer_count, event_count, errlog_count;
	uint64_t now;				/* what elapsed times are counted from */
};

/* queues: with what belongs to I/O queues (they are in the image). */
void nvme_vsd_save(struct nvme_ctrl *, bool queues, struct buf *out);
/* Fills *in. On an error nothing has happened but memory to be given back; nvme_vsd_fini does that either way. */
nvme_status nvme_vsd_judge(struct nvme_ctrl *, const struct nvme_v0 *, const uint8_t *p, uint64_t len, struct nvme_vsd *in);
/* Everything but the I/O queues: the controller's own admin queue, outstanding AERs and events are replaced. */
void nvme_vsd_install(struct nvme_ctrl *, const struct nvme_vsd *);
/* What needs the I/O queues to be there: phases, held completions, doorbell values. */
void nvme_vsd_install_queues(struct nvme_ctrl *, const struct nvme_vsd *);
void nvme_vsd_fini(struct nvme_vsd *);

#endif
