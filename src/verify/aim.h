/* Stimulus for a point of coverage: each call brings the controllers where they must be, sends what hits the point, and judges the answer.
 * The arguments are the point's place in its cross, so that a hole in the list and the call that closes it are one and the same; the
 * hole list prints these calls, `--stubs` makes tests of them, and the XC group goes through whole crosses with them.
 * Every call expects freshly reset controllers and leaves them as they come: the next test's reset puts them right.
 */
#ifndef FERRY_VERIFY_AIM_H
#define FERRY_VERIFY_AIM_H

#include "verify/cover.h"
#include "verify/vh.h"

void aim_field(struct vt *, enum vfid, enum vbin);
void aim_status(struct vt *, enum vop, unsigned status);
void aim_state(struct vt *, enum vop, enum mstate);
void aim_pair(struct vt *, enum vop first, enum vop then);
void aim_header(struct vt *, enum cov_header);
void aim_data(struct vt *, enum cov_data);
void aim_shape(struct vt *, enum cov_queue, enum cov_shape, enum cov_tag, enum cov_ien, enum cov_share);
void aim_logged(struct vt *, enum cov_log, enum cov_mod, enum cov_extent);
void aim_fill(struct vt *, enum cov_fill, enum cov_learn);
void aim_reset(struct vt *, enum cov_reset, enum cov_phase, enum cov_side);
void aim_fault(struct vt *, enum cov_fault, enum cov_phase);
void aim_two(struct vt *, enum vop, enum vop);

void aim_point(struct vt *, const struct cov_point *);
/* All points of a kind that this DUT can reach, each from a reset; fails when one was not hit though its answers were right. */
void aim_kind(struct vt *, enum cov_kind);

/* ---- what they are made of, and what tests share with them */

/* A command that is right in itself for this controller, with what it rests on already there: a queue, tracking, a suspension. */
struct nvme_sqe aim_command(struct vt *, enum vop, struct vctl *mc);
/* The same without anything there. way: of Suspend the STYPE, of Set State whether it is whole, of Log the LACT. */
struct nvme_sqe aim_bare(struct vt *, enum vop, uint16_t cntlid, unsigned way);
uint32_t aim_value(struct vt *, const struct nvme_sqe *, enum vfid, enum vbin);
uint16_t aim_reach(struct vt *, enum mstate);	/* brings MC 0 there; the CNTLID to name */
/* MC 0 as far as this phase of a move, with everything of the phases before; CDQID, 0 none. */
uint16_t aim_phase(struct vt *, enum cov_phase);
void aim_reset_now(struct vctl *, enum cov_reset);
void aim_subsystem_reset(struct vctl *);
void aim_round(struct vt *);			/* a whole new round of log, tracking, suspension and resumption works */
unsigned aim_send(struct vt *, const struct nvme_sqe *);	/* to the MMC, judged by the shadow */

#endif
