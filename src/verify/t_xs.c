/* Every operation in every state of its target: the model's table, cell by cell. What the table leaves open is recorded. */
#include <stdio.h>

#include "verify/model.h"
#include "verify/test.h"

enum { FIRST = 1, ONLY = 3 };

/* An image without queues, so that a commit changes nothing anybody must know of. */
static struct vmem image(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_state_head h = { .nvmecss = le64_of(2) };

	memcpy(m.p, &h, sizeof(h));
	return m;
}

/* CNTLID of a controller that is in this state now. */
static uint16_t reach(struct vt *t, enum mstate s)
{
	struct vctl *mc = t->mc[0];
	struct vmem m = image(t);

	if (s == MS_ABSENT)
		return 0xfffe;
	if (s == MS_SELF)
		return t->mmc->cntlid;
	if (s == MS_DISABLED)
		vt_disable(mc);
	if (s == MS_SUSPENDED || s == MS_PARTIAL || s == MS_COMMITTED)
		vh_suspend(t->mmc, mc->cntlid, 1, false, ST(S_OK));
	if (s == MS_PARTIAL || s == MS_RPARTIAL)
		vh_set(t->mmc, mc->cntlid, FIRST, 1, 0, 0, &m, 12, ST(S_OK));
	if (s == MS_COMMITTED)
		vh_set(t->mmc, mc->cntlid, ONLY, 1, 0, 0, &m, 14, ST(S_OK));
	return mc->cntlid;
}

/* A command that is right in itself, for this target. */
static struct nvme_sqe command(struct vt *t, enum vop op, uint16_t cntlid, unsigned way, struct vmem *data)
{
	struct nvme_track_mem h = { .rmrtg = t->mmc->id.minmrtg, .rnmrtd = le32_of(1) };
	struct nvme_track_mem_range r = { .saddr = le64_of(t->mc[0]->iova), .len = le32_of(1) };
	struct nvme_sqe s;

	vop_init(&s, op);
	*data = op == VOP_SET_STATE ? image(t) : vt_mem(t->mmc, VT_PAGE);
	switch (op) {
	case VOP_SUSPEND:
		vf_put(&s, VF_SUSPEND_cntlid, cntlid), vf_put(&s, VF_SUSPEND_stype, way);
		break;
	case VOP_RESUME: vf_put(&s, VF_RESUME_cntlid, cntlid); break;
	case VOP_SET_STATE:
		vf_put(&s, VF_SET_STATE_cntlid, cntlid), vf_put(&s, VF_SET_STATE_csvi, 1), vf_put(&s, VF_SET_STATE_numd, 14);
		vf_put(&s, VF_SET_STATE_seqind, way ? ONLY : FIRST);
		break;
	case VOP_GET_STATE:
		vf_put(&s, VF_GET_STATE_cntlid, cntlid), vf_put(&s, VF_GET_STATE_csvi, 1), vf_put(&s, VF_GET_STATE_numdl, 1023);
		break;
	case VOP_TRACK_MEM:
		memcpy(data->p, &h, sizeof(h));
		memcpy(data->p + 8, &r, sizeof(r));
		vf_put(&s, VF_TRACK_MEM_cntlid, cntlid), vf_put(&s, VF_TRACK_MEM_tact, 1);
		break;
	case VOP_TRACK_RECV: vf_put(&s, VF_TRACK_RECV_cntlid, cntlid), vf_put(&s, VF_TRACK_RECV_numdl, 1023); break;
	case VOP_CDQ_CREATE:
		vf_put(&s, VF_CDQ_CREATE_cntlid, cntlid), vf_put(&s, VF_CDQ_CREATE_pc, 1), vf_put(&s, VF_CDQ_CREATE_cdqsize, 1024);
		break;
	default: break;
	}
	s.prp1 = le64_of(data->iova);
	return s;
}

static void cell(struct vt *t, enum vop op, enum mstate state, unsigned way)
{
	uint16_t set[MODEL_SET], cntlid, id;
	struct vring ring = { 0 };
	struct nvme_sqe s;
	struct vmem data;
	enum mstate now;

	vt_fresh(t);
	if (op == VOP_LOG) /* the queue must be there before its controller is in that state */
		vh_cdq(t->mmc, t->mc[0]->cntlid, 64, &ring, ST(S_OK));
	if (op == VOP_TRACK_RECV)
		vh_track_all(t->mmc, t->mc[0]);
	cntlid = reach(t, state);
	s = command(t, op, cntlid, way, &data);
	if (op == VOP_LOG)
		vf_put(&s, VF_LOG_cdqid, state == MS_ABSENT ? 0x7777 : ring.id), vf_put(&s, VF_LOG_lact, way);
	if (op != VOP_LOG || state != MS_ABSENT)
		if (!model_target(t->model, t->mmc, &s, &id, &now) || now != state)
			vt_error(t, "the controller is %s, not %s", mstate_name(now), mstate_name(state));
	model_accept(t->model, t->mmc, &s, set);
	vt_trace(t, "%s, target %s", vops[op].text, mstate_name(state));
	vt_do(t->mmc, 0, &s, set);
	if (set[0] != ST_END && set[1] != ST_END) {
		char what[96];

		snprintf(what, sizeof(what), "%s%s, target %s", vops[op].text, op == VOP_SUSPEND && !way ? " (notification)" : "", mstate_name(state));
		vt_reading(t, what, "%s", nvme_status_name(nvme_cqe_status(&t->last)));
	}
}

static void all_states(struct vt *t, enum vop op, unsigned ways)
{
	for (unsigned s = 0; s < MS_COUNT; s++)
		for (unsigned w = 0; w < ways; w++)
			if (op != VOP_LOG || s != MS_SELF)
				cell(t, op, (enum mstate)s, w);
}

static void suspend(struct vt *t) { all_states(t, VOP_SUSPEND, 2); }
static void resume(struct vt *t) { all_states(t, VOP_RESUME, 1); }
static void set_state(struct vt *t) { all_states(t, VOP_SET_STATE, 2); }
static void get_state(struct vt *t) { all_states(t, VOP_GET_STATE, 1); }
static void log_changes(struct vt *t) { all_states(t, VOP_LOG, 2); }
static void track(struct vt *t) { all_states(t, VOP_TRACK_MEM, 1); }
static void receive(struct vt *t) { all_states(t, VOP_TRACK_RECV, 1); }
static void create(struct vt *t) { all_states(t, VOP_CDQ_CREATE, 1); }

const struct vtest tests_xs[] = {
	{ "XS-01", NEED_MM, "SUS-07 SUS-08 SUS-14", suspend, "Suspend in every state", "reading" },
	{ "XS-02", NEED_MM, "RES-01 RES-02 RES-06", resume, "Resume in every state", "reading" },
	{ "XS-03", NEED_MM, "SCS-05 SCS-06 SCS-11", set_state, "Set Controller State in every state", "reading" },
	{ "XS-04", NEED_MM, "GCS-05 GCS-14", get_state, "Get Controller State in every state", "reading" },
	{ "XS-05", NEED_CDQ, "TS-04", log_changes, "Log User Data Changes in every state", "reading" },
	{ "XS-06", NEED_TRACK, "TS-20 TS-22", track, "Track Memory Changes in every state", "reading" },
	{ "XS-07", NEED_TRACK, "TR-05 TR-10", receive, "Track Receive in every state", "reading" },
	{ "XS-08", NEED_CDQ, "CDQ-16 CDQ-17", create, "CDQ create in every state", "reading" },
	{ .id = NULL }
};
