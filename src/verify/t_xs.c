/* Every operation in every state of its target: the model's table, cell by cell. What the table leaves open is recorded. */
#include <stdio.h>

#include "verify/aim.h"
#include "verify/test.h"

static void cell(struct vt *t, enum vop op, enum mstate state, unsigned way)
{
	uint16_t set[MODEL_SET], cntlid, id;
	struct vring ring = { 0 };
	struct nvme_sqe s;
	enum mstate now;

	vt_fresh(t);
	if (op == VOP_LOG) /* the queue must be there before its controller is in that state */
		vh_cdq(t->mmc, t->mc[0]->cntlid, 64, &ring, ST(S_OK));
	if (op == VOP_TRACK_RECV)
		vh_track_all(t->mmc, t->mc[0]);
	cntlid = aim_reach(t, state);
	s = aim_bare(t, op, cntlid, way);
	if (op == VOP_LOG)
		vf_put(&s, VF_LOG_cdqid, state == MS_ABSENT ? 0x7777 : ring.id);
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
