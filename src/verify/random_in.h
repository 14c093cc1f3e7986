/* Between random.c (sequences and their judgement) and random_fault.c (faults in them). */
#ifndef FERRY_VERIFY_RANDOM_IN_H
#define FERRY_VERIFY_RANDOM_IN_H

#include "verify/random.h"
#include "verify/vh.h"

enum { AREA = 128, OPS = 20, RINGS = 6, RING_BYTES = 8192, CANDS = 6, UNKNOWN = 0xff };

/* out: not completed. held: its place and its blocks stay taken until the step `due`, however soon it is completed: what is done next must
 * not depend on how fast the device is, or a seed would not make the same commands again. doubt: a fault hit it, and neither its status nor its effect is known. cut_off: but an access to its data
 * failed, so it cannot have succeeded. wild: and it may have become a write to there. sick: blocks of it may be refused by the medium. */
struct rop {
	struct vcmd *k;
	bool out, held, write, doubt, wild, cut_off, sick;
	uint64_t lba, wild_lba, wild_nlb;
	uint32_t nlb;
	uint64_t seq;
	unsigned epoch, due;
	struct vmem buf;
};
/* What a block may hold: one of `n` writes; UNKNOWN: anything. */
struct rblock { uint8_t n; bool busy, must_log, named; uint64_t cand[CANDS]; };	/* named: by the log, since the last write was sent */
struct rmc {
	struct vctl *c;
	struct rop op[OPS];
	struct rblock block[AREA];
	struct vmark mark;
	bool queue;			/* SQ and CQ 1 exist */
	unsigned epoch;			/* changes with everything that touches its logging */
	unsigned stuck;			/* for so many steps, 0 no: only a reset brings it back */
	unsigned unrung;		/* likewise: a doorbell was lost */
	struct dut_media sick;		/* what its medium cannot do; nlb 0: it is healthy */
};
struct rring { struct vmem mem; struct vring r; bool used, overflowed; uint16_t cntlid; uint64_t told; };	/* told: entries given back */
struct rnd {
	struct vt *t;
	struct rmc mc[DUT_CTRLS];
	unsigned mcs;
	struct rring ring[RINGS];
	struct vmem page, sink, list;
	unsigned now;			/* number of the step */
	uint64_t seq;
	bool uuid;
	bool faults;			/* steps may be faults too */
	struct rmc *sending_mc;		/* whose command is being put into its queue; NULL nobody's */
	struct rop *sending;
	bool unsent;			/* and it was dropped */
};

static inline uint64_t pick(uint64_t *draw, uint64_t n)
{
	uint64_t v = *draw % n;

	*draw /= n;
	return v;
}
static inline bool chance(uint64_t *draw, unsigned percent) { return pick(draw, 100) < percent; }

void random_reset_mc(struct rnd *, struct rmc *, bool leave_off);
void random_lose_ops(struct rmc *);

/* random_fault.c */
void fault_begin(struct rnd *);
void fault_step(struct rnd *, uint64_t *draw);		/* one more fault lies in wait */
void fault_after_step(struct rnd *);			/* wishes are fulfilled, now and then something is healed */
void fault_heal(struct rnd *);				/* no more faults; everything that was hit is brought back */
void fault_settle(struct rmc *, struct rop *);		/* where a wild command may have written, anything may stand */
bool fault_clouds(const struct rmc *, uint64_t lba);	/* one that is out may still write there */
bool fault_of_medium(const struct rmc *, const struct rop *);	/* blocks of it may be refused now */
unsigned fault_corrupt_admin(struct rnd *, struct nvme_sqe *, uint64_t *draw);	/* flips a bit; the bit, or 512: none */

/* Every block of every namespace, before and after. Where a fault may have sent a write, anything may stand. */
void audit_begin(struct vt *);
void audit_wild(const struct vctl *, uint32_t nsid, uint64_t lba, uint64_t nlb);	/* UINT64_MAX blocks: all */
void audit_end(struct vt *);

#endif
