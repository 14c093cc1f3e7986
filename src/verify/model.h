/* The shadow: what state every controller is in, by the completions that were seen, and which statuses a migration command may therefore
 * end with. The heart is a table, operation by state of the target, from the book (its cells name the clause's answer); what depends on
 * fields is added by model_accept. It never looks at a device. One thread.
 */
#ifndef FERRY_VERIFY_MODEL_H
#define FERRY_VERIFY_MODEL_H

#include "verify/fields.h"
#include "verify/vt.h"

#define MSTATES(S)                                                                                         \
	S(RUNNING, "running") S(SUSPENDED, "suspended") S(PARTIAL, "suspended+partial") S(COMMITTED, "suspended+committed") \
	S(RPARTIAL, "running+partial") S(DISABLED, "CC.EN=0") S(ABSENT, "absent") S(SELF, "self (MMC)")
#define MSTATE_ENUM_(name, text) MS_##name,
enum mstate { MSTATES(MSTATE_ENUM_) MS_COUNT };
const char *mstate_name(unsigned);

enum { MODEL_CDQS = 32, MODEL_SET = 24 };
/* room: whoever drives it knows that it cannot have overflowed. */
struct mcdq { bool live, logging, room; struct vctl *mmc; uint16_t id, cntlid; uint32_t slots; uint64_t iova; };
struct mctrl {
	struct vctl *c;
	bool enabled, suspended, partial, committed, unsure;	/* unsure: a reading of the text decides, ask the controller */
	bool maybe_partial;		/* a piece was refused while a sequence was open: it may have ended it */
	struct vctl *tracker;		/* who tracks its memory; NULL nobody */
	unsigned queues;		/* I/O queues that were made by command or by state */
};
struct model {
	struct vt *t;
	struct mctrl ctrl[DUT_CTRLS];
	struct mcdq cdq[MODEL_CDQS];
	uint16_t last_dead;		/* a CDQID that was deleted; 0xffff none */
	bool releases;			/* reset of the MMC releases (X2); learnt */
};

void model_init(struct model *, struct vt *);
void model_reset(struct model *, struct vctl *);		/* CC.EN went to 0 */
void model_enabled(struct model *, struct vctl *);
void model_done(struct model *, struct vctl *, unsigned qid, const struct nvme_sqe *, const struct nvme_cqe *);
struct mctrl *model_ctrl(struct model *, uint16_t cntlid);	/* of the first subsystem; NULL: absent */
struct mcdq *model_cdq(struct model *, const struct vctl *mmc, uint16_t id);
struct mcdq *model_cdq_of(struct model *, uint16_t cntlid);
/* The controller a command concerns, and its state; false: the command has no target. */
bool model_target(struct model *, const struct vctl *mmc, const struct nvme_sqe *, uint16_t *cntlid, enum mstate *);
/* Statuses this command may end with, ended by ST_END. Returns whether success is among them. */
bool model_accept(struct model *, const struct vctl *mmc, const struct nvme_sqe *, uint16_t set[MODEL_SET]);
const char *model_cell(enum vop, enum mstate);			/* the table's text: "OK", "39", "OK 1F" */

#endif
