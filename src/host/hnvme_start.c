/* Bringing a controller up: Base 3.5.1 in order, one step per call until something must be waited for.
 *
 * Every wait has a deadline; a controller that never becomes ready, says it failed, or disappears ends with a sentence.
 */
#include "host/hnvme_in.h"

#include <errno.h>

#include "base/log.h"
#include "base/step.h"
#include "host/hmlm.h"

static int reg(struct hnvme *h, uint32_t off, unsigned bytes, uint64_t *v)
{
	int rc = h->port->ops->reg_read(h->port, off, bytes, v);

	if (!rc && bytes == 4 && *v == UINT32_MAX)
		return -ENODEV;	/* what a bus answers for a function that is not there */
	return rc;
}

static bool late(const struct hnvme *h) { return env_now_ns(h->cfg.env) >= h->deadline_ns; }
static void set_deadline(struct hnvme *h) { h->deadline_ns = env_now_ns(h->cfg.env) + h->cfg.timeout_ns; }

/* 0 reached; -EAGAIN; -errno. */
static int ready_is(struct hnvme *h, bool want, struct err *err)
{
	uint64_t csts;
	int rc = reg(h, NVME_REG_CSTS, 4, &csts);

	if (rc)
		return err_set(err, rc, "the controller does not answer");
	if (want && csts & NVME_CSTS_CFS)
		return err_set(err, -EIO, "the controller reports a fatal error (CSTS %08llxh)", (unsigned long long)csts);
	if ((csts & NVME_CSTS_RDY) == want)
		return 0;
	if (late(h))
		return err_set(err, -ETIMEDOUT, "the controller did not become %s in %llu ms (CSTS %08llxh)",
			       want ? "ready" : "disabled", (unsigned long long)(h->cfg.timeout_ns / NS_PER_MS),
			       (unsigned long long)csts);
	return -EAGAIN;
}

static int look(struct hnvme *h, struct err *err)
{
	uint8_t cmd[2];
	int rc = reg(h, NVME_REG_CAP, 8, &h->cap);

	if (rc || h->cap == UINT64_MAX)
		return err_set(err, rc ? rc : -ENODEV, "the controller does not answer");
	if (h->cap >> 32 & 15)
		return err_set(err, -ENOTSUP, "doorbell stride %u is not supported", (unsigned)(h->cap >> 32 & 15));
	if (h->cap >> 48 & 15)
		return err_set(err, -ENOTSUP, "the controller wants pages larger than 4 KiB");
	/* PCI Command: memory space and bus master, or the function may not reach memory. */
	if (!h->port->ops->cfg_read(h->port, 4, cmd, 2)) {
		cmd[0] |= 6;
		h->port->ops->cfg_write(h->port, 4, cmd, 2);
	}
	if (!h->mapped) {
		rc = h->port->ops->dma_map(h->port, hnvme_iova(h->mem), h->mem, h->cfg.mem_bytes, h->cfg.mem_fd, 0);
		if (rc)
			return err_set(err, rc, "the controller could not be given %llu bytes of memory",
				       (unsigned long long)h->cfg.mem_bytes);
		h->mapped = true;
	}
	return 0;
}

static int enable(struct hnvme *h, struct err *err)
{
	uint32_t mqes = (uint32_t)(h->cap & 0xffff) + 1, size = MIN(MIN(h->cfg.queue_size, mqes), 64u);
	struct port *p = h->port;
	struct hqueue *q = &h->queue[0].q;
	int rc = 0;

	h->cfg.queue_size = MIN(h->cfg.queue_size, mqes);
	if (h->cfg.queue_size < 2)
		return err_set(err, -EPROTO, "the controller allows queues of one entry only");
	if (hnvme_queue_make(h, 0, size))
		return err_set(err, -ENOMEM, "no memory for the admin queue");
	if (!rc)
		rc = p->ops->reg_write(p, NVME_REG_AQA, 4, (size - 1) | (uint64_t)(size - 1) << 16);
	if (!rc)
		rc = p->ops->reg_write(p, NVME_REG_ASQ, 8, hnvme_iova(h->mem + q->sq_off));
	if (!rc)
		rc = p->ops->reg_write(p, NVME_REG_ACQ, 8, hnvme_iova(h->mem + q->cq_off));
	if (!rc)	/* NVM command set, 4 KiB pages, entries of 64 and 16 bytes */
		rc = p->ops->reg_write(p, NVME_REG_CC, 4, NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT);
	h->state = HNVME_STARTING;
	set_deadline(h);
	return rc ? err_set(err, rc, "the controller could not be enabled") : 0;
}

/* ---- one admin command at a time */

static void boot_done(struct hnvme_cmd *c, int rc, const struct nvme_cqe *cqe)
{
	struct hnvme *h = c->ctx;

	h->boot_out = false;
	h->boot_rc = rc;
	if (!rc)
		h->boot_cqe = *cqe;
}

static void boot_send(struct hnvme *h, uint32_t len)
{
	h->boot.data = len ? h->boot_page : NULL;
	h->boot.len = len;
	h->boot.done = boot_done;
	h->boot.ctx = h;
	h->boot_out = true;
	h->boot_rc = hnvme_submit(h, 0, &h->boot);
	if (h->boot_rc)
		h->boot_out = false;
}

static int boot_result(struct hnvme *h, struct err *err)
{
	const char *name = nvme_admin_op_name(h->boot.sqe.opc);

	if (h->boot_rc)
		return err_set(err, h->boot_rc, "%s got no answer", name);
	if (nvme_cqe_status(&h->boot_cqe))
		return err_set(err, -EIO, "%s: %s", name, nvme_status_name(nvme_cqe_status(&h->boot_cqe)));
	return 0;
}

static void send_create(struct hnvme *h, unsigned qid, bool cq)
{
	struct hqueue *q = &h->queue[qid].q;
	struct nvme_sqe *s = &h->boot.sqe;

	*s = (struct nvme_sqe){ .opc = cq ? NVME_OP_CREATE_CQ : NVME_OP_CREATE_SQ };
	nvme_create_cq_qid_put(s, qid);		/* QID, QSIZE and PC stand at the same place in both */
	nvme_create_cq_qsize0_put(s, q->size - 1);
	nvme_create_cq_pc_put(s, 1);
	if (!cq)
		nvme_create_sq_cqid_put(s, qid);
	s->prp1 = le64_of(hnvme_iova(h->mem + (cq ? q->cq_off : q->sq_off)));
	boot_send(h, 0);
}

static void learn_id(struct hnvme *h)
{
	memcpy(&h->id, h->boot_page, sizeof(h->id));
	h->max_transfer = HNVME_XFER_MAX;
	if (h->id.mdts && h->id.mdts < 20)
		h->max_transfer = MIN(h->max_transfer, (uint32_t)HNVME_PAGE << h->id.mdts);
}

static int run(struct hnvme *h, struct err *err)
{
	int rc;

	STEP_BEGIN(h->at);
	if ((rc = look(h, err)))
		return rc;
	if (!h->boot_page && !(h->boot_page = hnvme_mem(h, HNVME_PAGE)))
		return err_set(err, -ENOMEM, "no memory for Identify");
	if ((rc = h->port->ops->reg_write(h->port, NVME_REG_CC, 4, 0)))
		return err_set(err, rc, "the controller could not be reset");
	set_deadline(h);
	STEP_WAIT(h->at, (rc = ready_is(h, false, err)) != -EAGAIN);
	if (rc || (rc = enable(h, err)))
		return rc;
	STEP_WAIT(h->at, (rc = ready_is(h, true, err)) != -EAGAIN);
	if (rc)
		return rc;
	hmlm_identify(&h->boot.sqe, NVME_CNS_CTRL, 0, 0, 0);
	boot_send(h, HNVME_PAGE);
	STEP_WAIT(h->at, !h->boot_out);
	if ((rc = boot_result(h, err)))
		return rc;
	learn_id(h);
	if (h->cfg.io_queues) {
		h->want = MIN(h->cfg.io_queues, (uint32_t)HNVME_IOQ_MAX);
		hmlm_features(&h->boot.sqe, true, NVME_FID_NUM_QUEUES, (h->want - 1) | (h->want - 1) << 16, 0);
		boot_send(h, 0);
		STEP_WAIT(h->at, !h->boot_out);
		if ((rc = boot_result(h, err)))
			return rc;
		/* Both counts come back zero-based; the smaller one is how many pairs there can be. */
		h->want = MIN(h->want, MIN(le32_get(h->boot_cqe.dw0) & 0xffff, le32_get(h->boot_cqe.dw0) >> 16) + 1);
	}
	while (h->queues_made < h->want) {
		if (hnvme_queue_make(h, h->queues_made + 1, h->cfg.queue_size))
			return err_set(err, -ENOMEM, "no memory for I/O queue %u: give the driver more than %llu bytes",
				       h->queues_made + 1, (unsigned long long)h->cfg.mem_bytes);
		h->queues_made++;
		send_create(h, h->queues_made, true);
		STEP_WAIT(h->at, !h->boot_out);
		if ((rc = boot_result(h, err)))
			return rc;
		send_create(h, h->queues_made, false);
		STEP_WAIT(h->at, !h->boot_out);
		if ((rc = boot_result(h, err)))
			return rc;
	}
	h->io_queues = h->want;
	h->state = HNVME_READY;
	hnvme_arm_events(h);
	STEP_END(h->at);
}

int hnvme_start(struct hnvme *h, struct err *err)
{
	int rc;

	if (h->state == HNVME_READY)
		return 0;
	if (h->state == HNVME_DEAD)
		return err_set(err, -ENODEV, "the controller was given up: %s", h->why.text[0] ? h->why.text : "it stopped answering");
	rc = run(h, err ? err : &h->why);
	if (rc && rc != -EAGAIN) {
		if (err)
			h->why = *err;
		hnvme_give_up(h, rc);
	}
	return rc;
}

static void start_over(struct hnvme *h)
{
	h->state = HNVME_NEW;
	h->reviving = true;
	h->at = 0;
	h->boot_out = false;
	h->io_queues = h->queues_made = h->want = 0;
}

/* The reset ends all that commands had made in the controller. Whoever made it has heard that its commands failed, and must have let
 * go: a queue number that he still means to delete would be the next one's. */
bool hnvme_revive(struct hnvme *h)
{
	int rc;

	if (h->state == HNVME_DEAD) {
		if (h->holds || env_now_ns(h->cfg.env) < h->revive_ns)
			return false;
		start_over(h);
	}
	rc = run(h, &h->why);
	if (rc == -EAGAIN)
		return false;
	h->reviving = false;
	if (rc)
		hnvme_give_up(h, rc);
	else
		log_warn("NVMe driver: the controller was reset and works again");
	return true;
}
