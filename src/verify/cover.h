/* Functional coverage: counts, for every command that is sent, which bins of its fields it hits, for every completion the cells
 * operation x status and operation x state of the target, and the crosses that say in which situation something was done: shapes of
 * queues, phases of a move, commands under a log. Directed and random tests count alike, by passing through vt_cmd.c; a test cannot claim
 * a bin. Flat counters by number; numbers are named, so that stores of different builds can be merged by name.
 * Crosses are rows of one table (cover.c) with dimensions as lists; what cannot be is left out by a rule, not by hand. What a DUT or
 * anybody cannot reach is excused by a row with its reason (cover_why.c).
 * Called from the run's thread. A NULL cov counts nothing.
 */
#ifndef FERRY_VERIFY_COVER_H
#define FERRY_VERIFY_COVER_H

#include "verify/fields.h"
#include "verify/model.h"
#include "verify/vt.h"

/* Statuses each operation can end with (words of the checklist), by its own list and the rules that hold for all commands. */
extern const char *const cov_statuses[VOP_COUNT];

/* Kind, what it is called, percent of its reachable points a whole run must hit */
#define COV_KIND_LIST(K)                                                     \
	K(FIELD, "field bins", 100)                                          \
	K(STATUS, "operation x status", 100)                                 \
	K(STATE, "operation x state of the target", 100)                     \
	K(PAIR, "operation after operation", 95)                             \
	K(ALONE, "one wrong field x status", 95)                             \
	K(HEADER, "what all commands have", 100)                             \
	K(DATA, "classes of images and ranges", 100)                         \
	K(SHAPE, "shape of queues in the state that is read", 100)           \
	K(LOGGED, "modifying command x log", 100)                            \
	K(FILL, "fill of a log x how it is learnt", 100)                     \
	K(RESET, "kind of reset x phase x side", 100)                        \
	K(FAULT, "fault x phase", 95)                                        \
	K(TWO, "operation on one controller while another on the other", 95)
#define COV_KIND_ENUM_(name, text, percent) COV_##name,
enum cov_kind { COV_KIND_LIST(COV_KIND_ENUM_) COV_KINDS };

/* ---- dimensions of crosses: name, text */

#define COV_PHASES(P)                                                                                                          \
	P(IDLE, "idle") P(QUEUE, "queue made") P(LOGGING, "logging") P(TRACKING, "tracking") P(SUSPENDED, "suspended") P(PARTIAL, "partly set") \
	P(COMMITTED, "set")
#define COV_HEADERS(H)                                                                                                         \
	H(FUSE_FIRST, "FUSE first") H(FUSE_SECOND, "FUSE second") H(FUSE_RESERVED, "FUSE reserved") H(PSDT_SGL, "PSDT SGL")    \
	H(PSDT_SEGMENT, "PSDT SGL, metadata too") H(PSDT_RESERVED, "PSDT reserved") H(NSID_ZERO, "NSID 0") H(NSID_LIVE, "NSID of a namespace") \
	H(NSID_ALL, "NSID FFFFFFFFh") H(NSID_ABSENT, "NSID of none") H(MPTR_SET, "MPTR not 0") H(CDW2_SET, "CDW2, CDW3 not 0") \
	H(PRP_OFFSET, "PRP1 with an offset") H(PRP_NOWHERE, "PRP1 in no memory") H(BY_MMC, "sent to the MMC") H(BY_MC, "sent to an MC") \
	H(PLAIN, "nothing special")
/* Of a state image that is sent whole, of the pieces of one, and of the ranges of Track Memory Changes. */
#define COV_DATAS(D)                                                                                                           \
	D(IMAGE_GOOD, "image good") D(IMAGE_VER, "image VER not 0") D(IMAGE_INNER_VER, "image inner VER not 0")               \
	D(IMAGE_CUT, "image cut off") D(IMAGE_TRAILING, "image with more behind it") D(IMAGE_CSS_0, "image NVMECSS 0")         \
	D(IMAGE_CSS_MORE, "image NVMECSS too large") D(IMAGE_CSS_LESS, "image NVMECSS too small")                              \
	D(IMAGE_CSS_63, "image NVMECSS 2^63") D(IMAGE_CSS_HIGH, "image NVMECSS beyond 64 bits") D(IMAGE_VSS, "image VSS without UUID") \
	D(IMAGE_VSS_HIGH, "image VSS beyond 64 bits") D(IMAGE_SQ_0, "image NIOSQ 0 with queues behind") D(IMAGE_CQ_0, "image NIOCQ 0 with queues behind") \
	D(IMAGE_SQ_MANY, "image NIOSQ 65535") D(IMAGE_CQ_MANY, "image NIOCQ 65535") D(IMAGE_QID_0, "image QID 0")              \
	D(IMAGE_QID_TWICE, "image QID twice") D(IMAGE_QID_ORDER, "image QIDs descending") D(IMAGE_QID_HIGH, "image QID 65535") \
	D(IMAGE_CQID, "image CQID of none") D(IMAGE_SIZE_0, "image QSIZE 0") D(IMAGE_SIZE_HIGH, "image QSIZE above MQES")      \
	D(IMAGE_HEAD, "image head outside") D(IMAGE_TAIL, "image tail outside") D(IMAGE_OFFSET, "image PRP1 with an offset")   \
	D(IMAGE_NOWHERE, "image PRP1 in no memory") D(IMAGE_PC_0, "image PC 0") D(IMAGE_QPRIO, "image QPRIO not 0")            \
	D(IMAGE_IV, "image vector 65535") D(IMAGE_RESERVED, "image reserved bits") D(IMAGE_CP_0, "image CSATTR.CP 0")          \
	D(PIECE_NEXT, "piece in order") D(PIECE_AGAIN, "piece repeated") D(PIECE_OVERLAP, "piece overlaps") D(PIECE_GAP, "piece leaves a gap") \
	D(RANGE_VER, "ranges VER not 0") D(RANGE_UNDER, "ranges RMRTG below the least") D(RANGE_MIN, "ranges RMRTG least")     \
	D(RANGE_MAX, "ranges RMRTG largest") D(RANGE_OVER, "ranges RMRTG above the largest") D(RANGE_NONE, "ranges RNMRTD 0")  \
	D(RANGE_ONE, "ranges one") D(RANGE_SEVERAL, "ranges several") D(RANGE_MANY, "ranges more than CMMRTD")                 \
	D(RANGE_MISALIGNED, "ranges SADDR misaligned") D(RANGE_NOWHERE, "ranges SADDR in no memory") D(RANGE_EMPTY, "ranges LEN 0") \
	D(RANGE_LONG, "ranges LEN beyond memory") D(RANGE_OVERLAP, "ranges overlap")
#define COV_SHAPES(S) S(EMPTY, "empty") S(ONE, "one entry") S(FULL, "full") S(WRAPPED, "wrapped")
#define COV_QUEUES(Q) Q(SQ, "SQ") Q(CQ, "CQ")
#define COV_PHASE_TAGS(B) B(0, "phase 0") B(1, "phase 1")
#define COV_IENS(B) B(0, "IEN 0") B(1, "IEN 1")
#define COV_SHARED(B) B(OWN, "own CQ") B(SHARED, "shared CQ")
#define COV_LOGS(L) L(NONE, "no queue") L(STOPPED, "not logging") L(ON, "logging")
#define COV_MODS(M) \
	M(WRITE, "Write") M(WZ, "Write Zeroes") M(WU, "Write Uncorrectable") M(DSM, "Deallocate") M(COPY, "Copy") M(FORMAT, "Format")
#define COV_EXTENTS(E) E(ALIGNED, "aligned") E(UNALIGNED, "unaligned") E(RANGES, "several ranges") E(WHOLE, "whole namespace")
#define COV_FILLS(F) F(EMPTY, "empty") F(ONE, "one entry") F(TRIGGER, "trigger slot") F(LESS, "one less than full") F(FULL, "full")
#define COV_LEARNS(L) L(POLL, "polled") L(AER, "event") L(BOTH, "polled, then event")
#define COV_RESETS(R) R(CC_EN, "CC.EN") R(FLR, "function reset") R(SUBSYSTEM, "subsystem reset")
#define COV_SIDES(S) S(MMC, "MMC") S(MC, "MC")
#define COV_FAULTS(F)                                                                                                          \
	F(OVERFLOW, "log overflows") F(BAD_HEAD, "head that cannot be") F(SHUTDOWN, "guest shuts down") F(SECOND, "second manager")    \
	F(CANCEL, "cancelled") F(FORMAT, "namespace formatted") F(BAD_IMAGE, "image refused") F(BAD_ADDRESS, "guest's address is nowhere")

#define CP_(n, t) CP_##n,
#define CH_(n, t) CH_##n,
#define CD_(n, t) CD_##n,
#define CS_(n, t) CS_##n,
#define CQ_(n, t) CQ_##n,
#define CT_(n, t) CT_##n,
#define CI_(n, t) CI_##n,
#define CW_(n, t) CW_##n,
#define CL_(n, t) CL_##n,
#define CM_(n, t) CM_##n,
#define CE_(n, t) CE_##n,
#define CU_(n, t) CU_##n,
#define CN_(n, t) CN_##n,
#define CR_(n, t) CR_##n,
#define CB_(n, t) CB_##n,
#define CF_(n, t) CF_##n,
enum cov_phase { COV_PHASES(CP_) CP_COUNT };
enum cov_header { COV_HEADERS(CH_) CH_COUNT };
enum cov_data { COV_DATAS(CD_) CD_COUNT };
enum cov_shape { COV_SHAPES(CS_) CS_COUNT };
enum cov_queue { COV_QUEUES(CQ_) CQ_COUNT };
enum cov_tag { COV_PHASE_TAGS(CT_) CT_COUNT };
enum cov_ien { COV_IENS(CI_) CI_COUNT };
enum cov_share { COV_SHARED(CW_) CW_COUNT };
enum cov_log { COV_LOGS(CL_) CL_COUNT };
enum cov_mod { COV_MODS(CM_) CM_COUNT };
enum cov_extent { COV_EXTENTS(CE_) CE_COUNT };
enum cov_fill { COV_FILLS(CU_) CU_COUNT };
enum cov_learn { COV_LEARNS(CN_) CN_COUNT };
enum cov_reset { COV_RESETS(CR_) CR_COUNT };
enum cov_side { COV_SIDES(CB_) CB_COUNT };
enum cov_fault { COV_FAULTS(CF_) CF_COUNT };

enum { COV_DIMS = 5 };
struct cov_point {
	enum cov_kind kind;
	uint8_t d[COV_DIMS];		/* crosses: place in each dimension */
	enum vop op;			/* FIELD, ALONE, STATUS */
	unsigned a;			/* FIELD, ALONE: enum vfid; STATUS: place among all statuses */
	unsigned b;			/* FIELD, ALONE: enum vbin; STATUS: SCT << 8 | SC */
	const char *set;		/* ALONE: words of what may answer it */
	char name[80];			/* "SUSPEND.stype/reserved-value", "SUSPEND=1F", "SUSPEND@running", "logging, Write, aligned" */
};

struct cov;
struct cov *cov_new(void);
void cov_free(struct cov *);
unsigned cov_points(const struct cov *);
const struct cov_point *cov_point(const struct cov *, unsigned i);
uint64_t cov_hits(const struct cov *, unsigned i);
void cov_add(struct cov *, const char *name, uint64_t hits);	/* from a store; unknown names are ignored */
/* Where it cannot be hit with this DUT or at all, and why; NULL: it can. */
const char *cov_excuse(const struct cov_point *, uint64_t caps);
/* Rows of excuses that are wrong: they name no point, or one that was hit though it cannot be. Each is told in out; how many. */
unsigned cov_bad_excuses(const struct cov *, struct buf *out);
void cov_kind_sum(const struct cov *, enum cov_kind, uint64_t caps, unsigned *hit, unsigned *all);
const char *cov_kind_name(unsigned);
unsigned cov_kind_target(unsigned);				/* percent */
/* Everything a whole run must have hit; what is missing is told in out. */
bool cov_gate(const struct cov *, uint64_t caps, struct buf *out);

bool cov_word_is(const char *words, unsigned status);	/* is it among these words? */
/* Classes of values that could be the reason of a refusal: the words that may answer them; NULL: nothing wrong with them. */
const char *cov_wrong(const struct vfield *, enum vbin);

/* ---- from where things pass (vt_cmd.c, vt.c, vh.c) */
void cov_sent(struct cov *, struct vctl *, struct vcmd *);
void cov_done(struct cov *, struct vctl *, struct vcmd *);
void cov_down(struct cov *, struct vctl *);			/* before the shadow learns of the reset */
void cov_entry(struct cov *, struct vctl *mmc, uint16_t cdqid, unsigned esa);	/* the host has read a log entry */
void cov_shutdown(struct cov *, struct vctl *);

/* ---- for people and programs */
enum { COV_RUNS = 256 };
struct cov_runs { unsigned n; struct { uint64_t seed; double seconds; bool good; char backend[16], dut[160]; } run[COV_RUNS]; };	/* the first of them in detail */
void cov_ucis(const struct cov *, uint64_t caps, const struct cov_runs *, struct buf *out);	/* Accellera UCIS 1.0 as XML */
void cov_html(const struct cov *, uint64_t caps, struct buf *out);	/* a static page: heat maps and holes */
void cov_holes(const struct cov *, uint64_t caps, struct buf *out);
void cov_stub(const struct cov_point *, struct buf *out);	/* the statements that hit it: what stands in a test (aim.h) */
/* Holes as a C file: a test for each (aim.h), and their table `cov_stubs` (struct vtest, ended by id NULL). */
void cov_stubs_c(const struct cov *, uint64_t caps, struct buf *out);

#endif
