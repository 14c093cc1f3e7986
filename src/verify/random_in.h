/* Between random.c (sequences), random_io.c (the guests' I/O and its judgement) and random_fault.c (faults in them). */
#ifndef FERRY_VERIFY_RANDOM_IN_H
#define FERRY_VERIFY_RANDOM_IN_H

#include "verify/board.h"
#include "verify/pi.h"
#include "verify/random.h"
#include "verify/vh.h"

enum { AREA = BOARD_BLOCKS, OPS = 20, RINGS = 6, RING_BYTES = 8192, ROP_BYTES = 8192, ROP_BLOCKS = 64 };
enum rkind { RK_READ, RK_WRITE, RK_ZEROES, RK_DEAC, RK_DSM, RK_COPY, RK_COMPARE, RK_BAD, RK_COUNT };

/* out: not completed. held: its place and its blocks stay taken until the step `due`, however soon it is completed: what is done next must
 * not depend on how fast the device is, or a seed would not make the same commands again. doubt: a fault hit it, and neither its status nor its effect is known. cut_off: but an access to its data
 * failed, so it cannot have succeeded. wild: and it may have become a write to there. sick: blocks of it may be refused by the medium. */
struct rop {
	struct vcmd *k;
	enum rkind kind;
	bool out, held, write, doubt, wild, cut_off, sick;	/* write: it changes blocks */
	uint64_t wild_lba, wild_nlb;
	uint8_t at[ROP_BLOCKS], from[ROP_BLOCKS], by[ROP_BLOCKS];	/* blocks it names; a copy's sources; the number of its range */
	unsigned blocks;
	uint64_t seq;
	unsigned epoch, due;
	unsigned wilds;			/* of its controller, when it was sent */
	struct vmem buf, meta;
	struct pi_ask ask;		/* protection information: what it asks for; info 0 where there is none */
	struct bval value[ROP_BLOCKS];	/* what it writes */
};
struct rmc {
	struct vctl *c;
	struct rop op[OPS];
	struct board board;
	struct pi_format pi;		/* type 0: no protection information */
	struct bval sent[AREA];		/* what blocks would hold had all gone well that was sent */
	uint32_t unit;			/* of Get LBA Status, blocks; 0 not told */
	uint32_t copy_blocks;		/* one Copy of two ranges may have; 0 none */
	struct vmark mark;
	bool queue;			/* SQ and CQ 1 exist */
	unsigned epoch;			/* changes with everything that touches its logging */
	unsigned wilds;			/* beginnings and ends of wild commands: who saw one happen does not know who came first */
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
bool random_logging(struct rnd *, struct rmc *);

/* random_io.c */
void random_io_begin(struct rmc *);
bool random_may_work(struct rnd *, struct rmc *);	/* makes the queue if there is none */
void random_step_io(struct rnd *, uint64_t *draw);
void random_start_op(struct rnd *, struct rmc *, uint64_t *draw);
void random_reap(struct rnd *, struct rmc *);
bool random_over(void *op);				/* for vt_until */
void random_release(struct rmc *, struct rop *);
void random_release_due(struct rnd *);
void random_lose_ops(struct rmc *);
uint32_t random_stride(const struct rmc *, const struct rop *);	/* from block to block in the buffer */

/* random_alloc.c */
void random_check_allocated(struct rnd *, struct rmc *);	/* Get LBA Status against the board */

/* random_pi.c */
void random_pi_plan(struct rmc *, struct rop *, struct rng *);	/* what to ask for, what to put beside the data */
void random_pi_guard(const struct rmc *, struct rop *, unsigned i, const uint8_t *data);	/* data of a write: its tuple, at last */
void random_pi_sqe(const struct rmc *, const struct rop *, struct nvme_sqe *);
bool random_pi_carries(const struct rmc *, const struct rop *);
uint8_t *random_pi_at(const struct rmc *, const struct rop *, unsigned i);	/* where it is transferred; NULL: it is not */
unsigned random_pi_checks(struct rmc *, struct rop *, bool *must);	/* PRCHK bits that may fail; must: one does */
void random_read_all(struct rnd *, struct rmc *);

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
