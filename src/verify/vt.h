/* A test's world: controllers with queues and memory of their own, commands with the statuses that are allowed, and the verdict.
 *
 * A test is a function of a few lines. Whatever fails leaves it at once (vt_fail does not return), because everything a test takes
 * belongs to the runner: memory comes from an arena that is thrown away, and every controller is reset before the next test.
 * Every submission names the set of statuses that are right; anything else is a failure wherever it happens. What comes back unasked
 * (a completion for no command, a write into memory nobody offered) is a failure too. One thread.
 */
#ifndef FERRY_VERIFY_VT_H
#define FERRY_VERIFY_VT_H

#include <setjmp.h>

#include "base/buf.h"
#include "base/rng.h"
#include "verify/dut.h"
#include "verify/inject.h"

struct vt;
struct cov;
struct model;

enum { VT_QUEUES = 65, VT_CMDS = 2048, VT_NS = 16, VT_PAGE = 4096, VT_READINGS = 256 };

/* Statuses by the names the checklist uses (SCT << 8 | SC). */
enum {
	S_OK = 0x000, S_IO = 0x001, S_IF = 0x002, S_XFER = 0x004, S_INTERNAL = 0x006, S_ABORTED = 0x007, S_SQ_GONE = 0x008, S_MISSING = 0x00a, S_NS = 0x00b,
	S_SEQ = 0x00c, S_PRP = 0x013, S_LBA = 0x080, S_CQ = 0x100, S_QID = 0x101, S_QSIZE = 0x102, S_AER = 0x105, S_IV = 0x108, S_LOG = 0x109,
	S_QDEL = 0x10c, S_NOSAVE = 0x10d, S_1F = 0x11f, S_37 = 0x137, S_38 = 0x138, S_39 = 0x139, S_3A = 0x13a, S_3B = 0x13b,
	S_UNREAD = 0x281, ST_END = 0xffff
};
#define ST(...) (const uint16_t[]){ __VA_ARGS__, ST_END }
#define ST_ANY ((const uint16_t *)0)	/* the book is silent: any answer, but an answer */

/* Memory a controller reaches. Page aligned; a page of pattern behind it tells of writes that missed. */
struct vmem { uint8_t *p; uint64_t iova; uint32_t len; };

struct vcq {
	bool live, hold, ien;		/* hold: leave what is posted there; ien: interrupts enabled */
	bool shadowed;			/* its head is told by memory: no doorbell (t_db.c) */
	uint16_t qid, iv;
	uint32_t size;			/* entries */
	struct vmem m;
	uint16_t head;
	bool phase;			/* expected of the next entry */
	uint64_t posted;
};

struct vsq {
	bool live;
	uint16_t qid, cqid;
	uint32_t size;
	struct vmem m;
	uint16_t tail, rung;		/* next slot to fill; as last told to the controller */
	uint16_t head;			/* as last told by a CQE */
	uint16_t next_cid;
	uint64_t put, passed;		/* entries, counted for ever: into the queue; by its head, as far as we know */
};

struct vctl;
struct vcmd {
	bool used, done;
	bool stray;			/* nobody waits for it: it is forgotten when it completes */
	struct vcmd *twin;		/* the same, sent again by a fault: its buffer is busy until twin->used goes */
	struct vctl *c;
	uint16_t qid, cid, slot;	/* slot: of its entry in the queue */
	struct nvme_sqe sqe;
	struct nvme_cqe cqe;
	uint16_t want[16];		/* a copy: the set may live shorter than the command */
	bool any;
	int8_t op;			/* enum vop, -1 none of ours; and the target's state when it was sent */
	uint8_t mstate;
	uint16_t odd, target;		/* of cover_see.c: the one wrong field; CNTLID */
	uint64_t nth;			/* entry of its queue, counted for ever */
	uint64_t sent_ns, order;	/* order: of completion, run wide */
};

struct vns {
	uint32_t nsid;			/* as this controller knows it */
	uint64_t blocks;
	uint32_t lba;			/* bytes */
	uint8_t nguid[16], eui64[8], uuid[16];
	uint32_t mmc_nsid;		/* the same namespace as the MMC knows it; 0: it does not see it */
	/* metadata: bytes per block; as Identify Namespace has them; a format with the same blocks and protection information, 16 none */
	uint16_t ms;
	uint8_t flbas, mc, dpc, dps, pi_lbaf;
};

struct vctl {
	struct vt *t;
	struct dut_ctrl *dut;
	struct port *port;
	unsigned index;			/* in vt.ctl */
	char name[16];			/* "MMC0", "MC1" */
	bool mmc, mapped, up;
	uint8_t how;			/* the next reset is of this kind (enum cov_reset); 0: CC.EN */
	uint16_t cntlid;
	uint8_t sub;			/* subsystem: 0, the one all tests are about, or another */
	uint64_t cap;
	struct nvme_id_ctrl id;
	struct nvme_id_ctrl_nvm id_nvm;
	int fd;
	uint8_t *mem;
	uint64_t iova, bytes, used;
	struct vmem acq, asq;		/* the admin queue: one place from bring-up to bring-up */
	struct vsq sq[VT_QUEUES];
	struct vcq cq[VT_QUEUES];
	struct vns ns[VT_NS];
	unsigned nss;
	struct { uint64_t off; } red[1024];	/* guard pages in mem */
	struct vbell { unsigned index; uint32_t val; unsigned turns; bool behind; } bell[16];	/* held back on purpose */
	unsigned bells;
	unsigned reds;
	struct { struct vmem m; int fd; } other[6];	/* memory with other rights, mapped beside mem */
	unsigned others;
	struct vguard *guard;		/* vt_guard.c; NULL: memory is not looked at */
};

enum vt_verdict { VT_PASS, VT_FAIL, VT_ERROR, VT_SKIP, VT_XFAIL, VT_XPASS, VT_VERDICTS };
const char *vt_verdict_name(enum vt_verdict);

struct vt_reading { char test[16], what[96], took[64]; };

struct vt {
	struct dut *dut;
	struct vctl ctl[DUT_CTRLS];
	unsigned ctls;
	struct vctl *mmc, *mmc2;	/* NULL: there is none */
	struct vctl *mc[DUT_CTRLS];
	unsigned mcs;
	struct vctl *far_mmc, *far_mc;	/* of another subsystem; NULL: there is none */
	uint64_t caps;			/* the DUT's and what was discovered */
	struct rng rng;
	uint64_t seed;
	struct { struct vctl *c; uint32_t nsid; uint64_t blocks; } sized;	/* a namespace that has another size; c NULL: none */
	uint64_t cmd_ns, quiet_ns;	/* how long a command may take; how long to watch for what must not happen */
	uint64_t deadline_ns;		/* of the test */
	struct vcmd cmd[VT_CMDS];
	unsigned cmd_next;
	uint64_t order, submitted, completed;
	uint64_t sequence;		/* of what was sent in this test: a digest of all but what the device decides */
	struct nvme_cqe last;		/* of the last vt_do */
	bool quiet_watch;		/* a completion from `frozen` is a failure */
	struct vctl *frozen;
	/* verdict */
	const char *test;		/* id */
	jmp_buf out;
	bool running;
	enum vt_verdict verdict;
	char why[1024];
	struct vt_wrong { bool set; char text[300]; } wrong;	/* the status that was wrong, for signature.c */
	bool guard_all;			/* all memory is looked at around each command, not a part of it */
	bool lost;			/* the DUT does not answer any more */
	struct vt_reading reading[VT_READINGS];
	unsigned readings;
	struct cov *cov;		/* NULL: not counted */
	struct model *model;		/* the shadow */
	struct buf trace;		/* last commands of the test, for the report of a failure */
	void *scratch;			/* of random.c */
	struct vt_format { struct vctl *c; uint32_t nsid, cdw10; } format;	/* how a namespace is to be formatted again; c NULL: nothing to do */
	struct { unsigned ctrl; uint32_t nsid; } sick[VT_NS];	/* media that fail on purpose */
	unsigned sicks;
	struct inj inj;			/* faults on purpose: nothing while vt_inject_on was not called in this test */
	uint64_t injected[INJ_POINT_COUNT][INJ_ACT_COUNT];	/* over all tests */
};

/* ---- life (runner) */
int vt_open(struct vt *, struct dut *, struct err *);	/* maps memory, looks at every controller */
void vt_close(struct vt *);
bool vt_bring_up(struct vt *, struct err *);		/* reset of everything, admin queues; false: the DUT is lost */
uint64_t vt_now_ns(void);

/* ---- verdicts: none of these returns */
_Noreturn void vt_fail(struct vt *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void vt_error(struct vt *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void vt_skip(struct vt *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define VEXPECT(t, c, ...) ((c) ? (void)0 : vt_fail(t, __VA_ARGS__))
#define VEQ(t, got, want, what)                                                                              \
	do {                                                                                                 \
		unsigned long long got_ = (unsigned long long)(got), want_ = (unsigned long long)(want);     \
		if (got_ != want_)                                                                           \
			vt_fail(t, "%s is %llu (%llxh), not %llu (%llxh)", what, got_, got_, want_, want_);  \
	} while (0)
/* Which of several readings of the text the DUT took; for the report. */
void vt_reading(struct vt *, const char *what, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void vt_trace(struct vt *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- memory */
struct vmem vt_mem(struct vctl *, uint32_t bytes);			/* zeroed */
/* Whole pages that the controller may only read, or only write, or neither (NEED: DUT_RIGHTS). Zeroed; the runner takes them back. Not
 * looked at for what is written there: it must be the test's business. */
struct vmem vt_mem_as(struct vctl *, uint32_t bytes, bool read, bool write);
/* What was taken since the mark is free again (after a look at its guard pages): for tests that loop. */
struct vmark { uint64_t used; unsigned reds; };
static inline struct vmark vt_mark(const struct vctl *c) { return (struct vmark){ c->used, c->reds }; }
void vt_back(struct vctl *, struct vmark);
void vt_red_check(struct vt *);

/* ---- commands */
void vt_data(struct vctl *, struct nvme_sqe *, const struct vmem *, uint32_t len);	/* PRPs; the list comes from the arena */
struct vcmd *vt_queue(struct vctl *, unsigned qid, const struct nvme_sqe *, const uint16_t *want); /* into the ring, no doorbell */
void vt_ring(struct vctl *, unsigned qid);
struct vcmd *vt_send(struct vctl *, unsigned qid, const struct nvme_sqe *, const uint16_t *want);
void vt_wait(struct vt *, struct vcmd *);				/* completed, and with a status it may have */
unsigned vt_finish(struct vt *, struct vcmd *);				/* the same; its status; the command is forgotten */
/* Send and wait; returns the status, t->last is the CQE. */
unsigned vt_do(struct vctl *, unsigned qid, const struct nvme_sqe *, const uint16_t *want);
unsigned vt_do_data(struct vctl *, unsigned qid, const struct nvme_sqe *, const struct vmem *, uint32_t len, const uint16_t *want);
void vt_forget(struct vcmd *);						/* nobody waits for it any more (reset) */
void vt_reap_now(struct vctl *);						/* takes what has completed, without giving the DUT a turn */
bool vt_poll(struct vt *);						/* one turn: the DUT's work, our completions */
bool vt_is(const uint16_t *set, unsigned status);
/* Polls until `*flag`, the command timeout or the test's deadline. */
bool vt_until(struct vt *, bool (*ready)(void *ctx), void *ctx, uint64_t limit_ns);
/* Nothing may complete on c while we watch (an observation, not a wait: its length is --quiet). */
void vt_watch_silent(struct vctl *c);

/* ---- registers; a port that fails is an ERROR */
uint64_t vt_reg(struct vctl *, uint32_t off, unsigned bytes);
void vt_reg_put(struct vctl *, uint32_t off, unsigned bytes, uint64_t val);
void vt_doorbell(struct vctl *, unsigned index, uint32_t val);
void vt_disable(struct vctl *);						/* CC.EN=0, waits for RDY=0; queues are gone */
void vt_enable(struct vctl *, bool wait);				/* fresh admin queue; wait: for RDY=1 */
void vt_reset(struct vctl *);						/* both */
void vt_port_again(struct vctl *);					/* what a function reset took: bus master, MSI-X */
void vt_again(struct vctl *);						/* the client goes away without a word and comes back; not enabled */
void vt_fresh(struct vt *);						/* as at the beginning of a test */
void vt_format_put_back(struct vt *);					/* a namespace that a test formatted: as it was */
void vt_learn_ns(struct vctl *, struct vns *);				/* again: its format has changed */
void vt_inject_on(struct vt *);						/* rules may be put into t->inj */
void vt_inject_off(struct vt *);					/* the runner's, after each test */
void vt_media(struct vctl *, uint32_t nsid, const struct dut_media *);	/* NULL: healthy again; so is everything after the test */
void vt_resize(struct vctl *, uint32_t nsid, uint64_t blocks);		/* one namespace at a time; after the test it is as it was */

/* ---- queues */
unsigned vt_cq_make(struct vctl *, unsigned qid, uint32_t size, const uint16_t *want);	/* contiguous, interrupts on, vector qid */
unsigned vt_cq_make_ien(struct vctl *, unsigned qid, uint32_t size, bool ien, const uint16_t *want);
unsigned vt_sq_make(struct vctl *, unsigned qid, unsigned cqid, uint32_t size, const uint16_t *want);
void vt_io_make(struct vctl *, unsigned qid, uint32_t size);
unsigned vt_q_delete(struct vctl *, bool cq, unsigned qid, const uint16_t *want);

#endif
