/* Functional coverage: counts, for every command that is sent, which bins of its fields it hits, and for every completion the cells
 * operation x status, operation x state of the target, and operation after operation. Directed and random tests count alike, by passing
 * through vt_cmd.c. Flat counters by bin number; numbers are named, so that stores of different builds can be merged by name.
 * Called from the run's thread. A NULL cov counts nothing.
 */
#ifndef FERRY_VERIFY_COVER_H
#define FERRY_VERIFY_COVER_H

#include "verify/fields.h"
#include "verify/model.h"
#include "verify/vt.h"

/* Statuses each operation can end with (words of the checklist), by its own list and the rules that hold for all commands. */
extern const char *const cov_statuses[VOP_COUNT];

enum cov_kind { COV_FIELD, COV_STATUS, COV_STATE, COV_PAIR, COV_KINDS };
struct cov_point {
	enum cov_kind kind;
	enum vop op;
	unsigned a;			/* FIELD: enum vfid; STATUS: its number in the list; STATE: enum mstate; PAIR: second op */
	unsigned b;			/* FIELD: enum vbin; STATUS: SCT << 8 | SC */
	char name[64];			/* "SUSPEND.stype/reserved-value", "SUSPEND=1F", "SUSPEND@running", "SUSPEND>RESUME" */
};

struct cov;
struct cov *cov_new(void);
void cov_free(struct cov *);
unsigned cov_points(const struct cov *);
const struct cov_point *cov_point(const struct cov *, unsigned i);
uint64_t cov_hits(const struct cov *, unsigned i);
void cov_add(struct cov *, const char *name, uint64_t hits);	/* from a store; unknown names are ignored */
/* Where it cannot be hit with this DUT or at all, and why; NULL: it can. */
const char *cov_excuse(const struct cov_point *, uint32_t caps);
void cov_kind_sum(const struct cov *, enum cov_kind, uint32_t caps, unsigned *hit, unsigned *all);
const char *cov_kind_name(unsigned);
/* The call that would hit it, for whoever closes the hole. */
void cov_stub(const struct cov_point *, struct buf *out);

/* ---- from vt_cmd.c */
void cov_sent(struct cov *, struct vctl *, struct vcmd *);
void cov_done(struct cov *, struct vctl *, struct vcmd *);

/* ---- a static page: heat maps and holes */
void cov_html(const struct cov *, uint32_t caps, struct buf *out);
void cov_holes(const struct cov *, uint32_t caps, struct buf *out);

#endif
