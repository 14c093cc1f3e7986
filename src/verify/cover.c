#include "verify/cover.h"
void cov_sent(struct cov *v, struct vctl *c, unsigned qid, const struct nvme_sqe *s) { (void)v, (void)c, (void)qid, (void)s; }
void cov_done(struct cov *v, struct vctl *c, unsigned qid, const struct nvme_sqe *s, const struct nvme_cqe *e) { (void)v, (void)c, (void)qid, (void)s, (void)e; }
