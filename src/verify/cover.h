/* Functional coverage: counts, for every command that is sent, which bins of its fields it hits, and for every completion the cells
 * operation x status and operation x state of the target. Directed and random tests count alike, by passing through vt_cmd.c.
 * Called from the run's thread. A NULL cov counts nothing.
 */
#ifndef FERRY_VERIFY_COVER_H
#define FERRY_VERIFY_COVER_H

#include "verify/fields.h"
#include "verify/vt.h"

void cov_sent(struct cov *, struct vctl *, unsigned qid, const struct nvme_sqe *);
void cov_done(struct cov *, struct vctl *, unsigned qid, const struct nvme_sqe *, const struct nvme_cqe *);

#endif
