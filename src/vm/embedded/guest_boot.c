/* The guest's driver brings its controller up (Base 3.5.1), one admin command at a time. Where it stands is in guest memory as a
 * number of our own, not a line of source, so that a move in the middle works between different builds too.
 */
#include "vm/embedded/guest_in.h"

#include <errno.h>
#include <stdio.h>

#include "host/hmlm.h"

static bool fail(struct guest *g, const char *what, unsigned status)
{
	g->st.state = GUEST_FAILED;
	if (status)
		snprintf(g->st.why, sizeof(g->st.why), "%s: %s", what, nvme_status_name(status));
	else
		snprintf(g->st.why, sizeof(g->st.why), "%s", what);
	return true;
}

bool guest_admin_send(struct guest_host *h, struct nvme_sqe *s, bool with_page)
{
	struct guest *g = guest_of(h);

	g->admin_cid = (uint16_t)(GUEST_CID_ADMIN | ((g->admin_cid + 1) & 0xff));
	s->cid = le16_of(g->admin_cid);
	if (with_page)
		s->prp1 = le64_of(g->admin_off);
	if (!guest_push(h, 0, s))
		return false;
	g->admin_out = 1;
	g->admin_ns = env_now_ns(h->env);
	if (hqueue_kick(&g->q[0], h->port))
		guest_lost(h, "the controller does not take commands any more");
	return true;
}

/* One event request is always out, so that a move finds one to carry. */
static void arm_event(struct guest_host *h)
{
	struct guest *g = guest_of(h);
	struct nvme_sqe s = { .opc = NVME_OP_AER, .cid = le16_of(GUEST_CID_AER) };

	if (!g->aer_out && guest_push(h, 0, &s)) {
		g->aer_out = 1;
		hqueue_kick(&g->q[0], h->port);
	}
}

static void admin_done(struct guest_host *h, const struct nvme_cqe *c)
{
	struct guest *g = guest_of(h);
	uint16_t cid = le16_get(c->cid);

	if (cid == GUEST_CID_AER && g->aer_out) {
		g->aer_out = 0;
		g->st.events++;
		if (!nvme_cqe_status(c) && g->st.state == GUEST_RUN)
			arm_event(h);
	} else if (cid == g->admin_cid && g->admin_out) {
		g->admin_out = 0;
		g->admin_status = (uint16_t)nvme_cqe_status(c);
		g->admin_dw0 = le32_get(c->dw0);
	} else {
		guest_bad(h, GUEST_BAD_STRAY, &(struct guest_detail){ .op = GUEST_ADMIN, .found = cid });
	}
}

void guest_admin_reap(struct guest_host *h, bool *busy)
{
	struct guest *g = guest_of(h);
	struct nvme_cqe c;

	for (unsigned n = 0; n < g->q[0].size && hqueue_reap(&g->q[0], h->mem, &c); n++) {
		*busy = true;
		admin_done(h, &c);
	}
	hqueue_ack(&g->q[0], h->port);
}

/* ---- steps */

static int reg(struct guest_host *h, uint32_t off, unsigned bytes, uint64_t *v)
{
	int rc = h->port->ops->reg_read(h->port, off, bytes, v);

	return rc ? rc : bytes == 4 && *v == UINT32_MAX ? -ENODEV : 0;
}

static bool reset(struct guest_host *h)
{
	struct guest *g = guest_of(h);
	uint8_t cmd[2];

	if (h->port->ops->reg_write(h->port, NVME_REG_CC, 4, 0)) {
		guest_lost(h, "the controller does not answer");
		return true;
	}
	if (!h->port->ops->cfg_read(h->port, 4, cmd, 2)) {
		cmd[0] |= 6;	/* memory space, bus master */
		h->port->ops->cfg_write(h->port, 4, cmd, 2);
	}
	g->boot_ns = env_now_ns(h->env);
	g->st.boot = BOOT_DISABLED;
	return true;
}

/* 1 yes, 0 not yet, -1 state changed. */
static int ready_is(struct guest_host *h, bool want)
{
	struct guest *g = guest_of(h);
	uint64_t csts;

	if (reg(h, NVME_REG_CSTS, 4, &csts)) {
		guest_lost(h, "the controller does not answer");
		return -1;
	}
	if ((csts & NVME_CSTS_RDY) == want)
		return 1;
	if (env_now_ns(h->env) - g->boot_ns > g->cfg.timeout_ns || (want && csts & NVME_CSTS_CFS)) {
		fail(g, want ? "the controller did not become ready" : "the controller did not stop", 0);
		return -1;
	}
	return 0;
}

static uint64_t ring_off(const struct guest *g, unsigned qid, bool cq)
{
	uint64_t each = round_up((uint64_t)g->cfg.queue_size * 64, GUEST_PAGE);

	return qid ? g->ring_off + 2 * GUEST_PAGE + (2 * (qid - 1) + cq) * each : g->ring_off + cq * (uint64_t)GUEST_PAGE;
}

static void make_queue(struct guest_host *h, unsigned qid, uint32_t size)
{
	struct guest *g = guest_of(h);

	hqueue_init(&g->q[qid], h->mem, qid, size, ring_off(g, qid, false), ring_off(g, qid, true));
	guest_mark(h, h->mem + g->q[qid].sq_off, size * 64ull);
	guest_mark(h, h->mem + g->q[qid].cq_off, size * 16ull);
}

static bool enable(struct guest_host *h)
{
	const struct port_ops *o = h->port->ops;
	struct guest *g = guest_of(h);
	uint64_t cap;

	if (reg(h, NVME_REG_CAP, 8, &cap) || cap >> 32 & 15 || cap >> 48 & 15)
		return fail(g, "the controller's doorbell stride or page size is not supported", 0);
	if ((cap & 0xffff) + 1 < g->cfg.queue_size)
		return fail(g, "the controller allows only shorter queues", 0);
	make_queue(h, 0, GUEST_ADMIN_SIZE);
	g->admin_out = g->aer_out = 0;
	o->reg_write(h->port, NVME_REG_AQA, 4, (GUEST_ADMIN_SIZE - 1) | (GUEST_ADMIN_SIZE - 1) << 16);
	o->reg_write(h->port, NVME_REG_ASQ, 8, g->q[0].sq_off);
	o->reg_write(h->port, NVME_REG_ACQ, 8, g->q[0].cq_off);
	if (o->reg_write(h->port, NVME_REG_CC, 4, NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT)) {
		guest_lost(h, "the controller does not answer");
		return true;
	}
	g->boot_ns = env_now_ns(h->env);
	g->st.boot = BOOT_ENABLED;
	return true;
}

static void send_create(struct guest_host *h, bool cq)
{
	struct guest *g = guest_of(h);
	struct hqueue *q = &g->q[g->boot_queue];
	struct nvme_sqe s = { .opc = cq ? NVME_OP_CREATE_CQ : NVME_OP_CREATE_SQ };

	nvme_create_cq_qid_put(&s, q->qid);
	nvme_create_cq_qsize0_put(&s, q->size - 1);
	nvme_create_cq_pc_put(&s, 1);
	if (!cq)
		nvme_create_sq_cqid_put(&s, q->qid);
	s.prp1 = le64_of(cq ? q->cq_off : q->sq_off);
	guest_admin_send(h, &s, false);
	g->st.boot = cq ? BOOT_CQ : BOOT_SQ;
}

static void learn_ctrl(struct guest_host *h)
{
	struct guest *g = guest_of(h);
	struct nvme_id_ctrl id;
	struct nvme_sqe s;

	memcpy(&id, h->mem + g->admin_off, sizeof(id));
	memcpy(h->mem + g->id_off, &id, sizeof(id));
	guest_mark(h, h->mem + g->id_off, sizeof(id));
	g->oncs = le16_get(id.oncs);
	g->max_blocks = g->cfg.max_blocks;
	if (id.mdts && id.mdts < 16)
		g->max_blocks = MIN(g->max_blocks, 1u << id.mdts);
	hmlm_identify(&s, NVME_CNS_NS, g->cfg.nsid, 0, 0);
	guest_admin_send(h, &s, true);
	g->st.boot = BOOT_NS;
}

static bool learn_ns(struct guest_host *h)
{
	struct guest *g = guest_of(h);
	struct nvme_id_ns id;
	struct nvme_lbaf f;
	struct nvme_sqe s;
	uint64_t bytes;

	memcpy(&id, h->mem + g->admin_off, sizeof(id));
	memcpy(&f, id.lbaf + 4 * (id.flbas & 15), sizeof(f));
	if (f.lbads < 9 || f.lbads > 12 || le16_get(f.ms))
		return fail(g, "the namespace's format is not supported: 512 to 4096 byte blocks without metadata are", 0);
	if (le64_get(id.nsze) > UINT64_MAX >> f.lbads)
		return fail(g, "the namespace claims an impossible size", 0);
	bytes = le64_get(id.nsze) << f.lbads;
	if (!range_inside(g->cfg.area_off, g->cfg.area_bytes, bytes) ||
	    (g->cfg.protect_bytes && !range_inside(g->cfg.protect_off, g->cfg.protect_bytes, bytes)))
		return fail(g, "the namespace is smaller than the guest's areas", 0);
	g->lba_shift = f.lbads;
	g->lbas = STAMP_BLOCK >> f.lbads;
	g->copy_ranges = MIN(id.msrc + 1u, GUEST_RANGES - 1u);
	g->copy_range_blocks = le16_get(id.mssrl) / g->lbas;
	g->copy_blocks = le32_get(id.mcl) / g->lbas;
	if (!(g->oncs & NVME_ONCS_COPY) || !g->copy_range_blocks || !g->copy_blocks)
		g->copy_ranges = 0;
	hmlm_features(&s, true, NVME_FID_NUM_QUEUES, (g->cfg.queues - 1) | (g->cfg.queues - 1) << 16, 0);
	guest_admin_send(h, &s, false);
	g->st.boot = BOOT_COUNT;
	return true;
}

static bool next_queue(struct guest_host *h)
{
	struct guest *g = guest_of(h);

	if (g->boot_queue < g->queues) {
		g->boot_queue++;
		make_queue(h, g->boot_queue, g->cfg.queue_size);
		send_create(h, true);
		return true;
	}
	g->st.boot = BOOT_DONE;
	g->st.state = GUEST_RUN;
	g->busy_since_ns = 0;
	arm_event(h);
	return true;
}

static bool start_identify(struct guest_host *h)
{
	struct nvme_sqe s;
	int is = ready_is(h, true);

	if (is <= 0)
		return is < 0;
	hmlm_identify(&s, NVME_CNS_CTRL, 0, 0, 0);
	guest_admin_send(h, &s, true);
	guest_of(h)->st.boot = BOOT_ID;
	return true;
}

bool guest_boot(struct guest_host *h)
{
	static const char *const what[] = { [BOOT_ID] = "Identify Controller", [BOOT_NS] = "Identify Namespace",
		[BOOT_COUNT] = "Set Features (Number of Queues)", [BOOT_CQ] = "Create I/O Completion Queue",
		[BOOT_SQ] = "Create I/O Submission Queue" };
	struct guest *g = guest_of(h);
	bool busy = false;
	int is;

	switch (g->st.boot) {
	case BOOT_RESET:
		return reset(h);
	case BOOT_DISABLED:
		is = ready_is(h, false);
		return is > 0 ? enable(h) : is < 0;
	case BOOT_ENABLED:
		return start_identify(h);
	}
	guest_admin_reap(h, &busy);
	if (g->admin_out) {
		if (env_now_ns(h->env) - g->admin_ns > g->cfg.timeout_ns)
			return fail(g, "the controller does not answer admin commands", 0);
		return busy;
	}
	if (g->admin_status)
		return fail(g, what[g->st.boot], g->admin_status);
	switch (g->st.boot) {
	case BOOT_ID:
		learn_ctrl(h);
		return true;
	case BOOT_NS:
		return learn_ns(h);
	case BOOT_COUNT:
		g->queues = MIN(g->cfg.queues, MIN(g->admin_dw0 & 0xffff, g->admin_dw0 >> 16) + 1);
		g->boot_queue = 0;
		return next_queue(h);
	case BOOT_CQ:
		send_create(h, false);
		return true;
	default:
		return next_queue(h);
	}
}
