/* Inside the NVMe device: the structures its files share. Included by device/nvme files and white-box tests only.
 *
 * Who writes what:
 *   subsys.c    subsystem, namespaces, attachment            ctrl.c      properties, enable, resets, poll, suspend
 *   queue.c     SQ/CQ rings, doorbells, interrupts           req.c       a command's life: fetch, data, run, complete
 *   xfer.c      PRP and SGL -> iovec, bounce for messages    admin.c     the admin table and small admin commands
 *   identify.c, features.c, logs.c, event.c (AER), io.c, ranges.c, pieces.c (NVM commands), format.c
 *   cdq.c, track.c, migration.c, state.c, rate.c, lbastatus.c: Host Managed Live Migration
 */
#ifndef FERRY_DEVICE_NVME_NVME_H
#define FERRY_DEVICE_NVME_NVME_H

#include "base/buf.h"
#include "base/list.h"
#include "device/common/pci.h"
#include "device/nvme/subsys.h"
#include "spec/nvme.h"

enum {
	NVME_PAGE = 4096,			/* CAP.MPSMIN = MPSMAX = 0 */
	NVME_MDTS = 5,				/* 2^5 pages = 128 KiB */
	NVME_XFER_MAX = NVME_PAGE << NVME_MDTS,
	NVME_IOV_MAX = (NVME_XFER_MAX / NVME_PAGE) + 1,
	NVME_WIDE_IOV = NVME_XFER_MAX / 512 + 1,	/* segments of an SGL: block by block, wherever it begins */
	NVME_WIDES = 4,				/* commands of a controller that may have more than NVME_IOV_MAX at a time */
	NVME_BUFS = 5,				/* bounce and scratch buffers of NVME_XFER_MAX bytes, per controller */
	NVME_AER_MAX = 8,			/* outstanding AERs (AERL + 1) */
	NVME_ADMIN_REQS = 4,			/* requests that I/O commands leave to the admin queue, */
	NVME_ADMIN_BUFS = 1,			/* and buffers */
	NVME_ERRLOG_ENTRIES = 64,
	NVME_VERSION = 0x00020100,		/* Base 2.1: property VS and Identify Controller */
	NVME_NVM_VERSION = 0x00010200,		/* NVM Command Set 1.2 */
	NVME_SGLS = 1 << 16 | 1,		/* SGLs of any alignment, bit buckets; what xfer.c takes */
	NVME_QSIZE_MAX = 4096,			/* entries; CAP.MQES + 1 */
	NVME_WORK_MAX = 4 << 20,		/* bytes one poll may give to backends; beyond, what can wait waits for the next */
	NVME_HELD_MAX = 256			/* completions waiting for CQ room; more stop fetching from I/O queues. A state image carries them all */
};

struct nvme_ns {
	struct nvme_subsys *ss;
	uint32_t nsid;				/* the subsystem's */
	struct blk *blk;
	struct nvme_ns_ids ids;
	unsigned lba_shift;			/* 9 or 12 */
	uint64_t nsze;				/* blocks */
	unsigned inflight;			/* commands holding it; not removed or formatted while > 0 */
	bool busy_format;
	enum { NVME_SYNC_NONE, NVME_SYNC_WANTED, NVME_SYNC_OUT, NVME_SYNC_DONE } sync; /* of a medium that was made longer */
	int sync_rc;
	bool sync_forgotten;			/* nobody waits for it any more */
	bool uncut;				/* became smaller, and the medium still has what was behind the end */
	struct blk_io sync_io;
};

struct nvme_sq {
	bool live, deleting;
	uint16_t qid, cqid, size;		/* entries, one-based */
	uint8_t prio;
	uint64_t prp1;
	uint16_t head, tail;			/* next to fetch; last doorbell value taken */
	uint32_t inflight;			/* fetched and not yet completed (AERs count) */
	const uint8_t *ptr;			/* direct, valid while generation matches; NULL: by message */
	uint64_t generation;
	bool fetching;				/* a by-message fetch is out */
	struct nvme_cq *cq;
	/* derived */
	uint32_t db_bad;			/* doorbell value already complained about; 0 none (0 is never bad) */
	uint64_t stuck;				/* gmem generation in which a fetch failed: not tried again before it changes (queue.c) */
	struct nvme_req *delete_req;		/* Delete I/O SQ waiting for the last command (deleting) */
};

struct nvme_cq {
	bool live, ien, irq_wanted, deleting;
	uint16_t qid, size, iv;
	uint64_t prp1;
	uint16_t head, tail;			/* last doorbell value taken; next slot to post */
	bool phase;				/* of the next entry to post */
	unsigned sqs;				/* SQs that use it */
	uint8_t *ptr;
	uint64_t generation;
	struct list held;			/* nvme_req waiting for room (or, by message, for their turn) */
	unsigned waiting;			/* how many those are */
	/* derived */
	bool posting;				/* by message: the first of held is on its way */
	uint32_t db_bad;
	uint64_t stuck;
	struct nvme_req *delete_req;		/* Delete I/O CQ waiting for that message (deleting) */
};

struct nvme_wide {
	bool used;
	struct iovec iov[NVME_WIDE_IOV];
	uint64_t iova[NVME_WIDE_IOV];
};

struct nvme_req {
	struct list link;
	struct nvme_ctrl *ctrl;
	struct nvme_sq *sq;			/* NULL: orphan, its queue was deleted or the controller reset: finish silently */
	struct nvme_sqe sqe;			/* the one copy: what the guest changes later is never seen */
	const struct nvme_cmd_row *row;
	struct nvme_ns *ns;			/* rows with NVME_ROW_NS: resolved and held */
	nvme_status status;
	uint32_t dw0, dw1;			/* of the completion */
	/* Data. For run(): iov (len bytes) is directly usable by a backend; for LINEAR rows buf holds len bytes instead. */
	uint32_t len;
	int iovcnt;
	struct iovec *iov;			/* iov_own and iova_own, or the arrays of wide */
	uint64_t *iova;				/* guest address of each iov, for tracking and by-message write back */
	struct nvme_wide *wide;			/* of an SGL that is too long for the own arrays; NULL */
	struct iovec iov_own[NVME_IOV_MAX];
	uint64_t iova_own[NVME_IOV_MAX];
	uint8_t *buf, *scratch;			/* NVME_XFER_MAX bytes each, if the row asked */
	struct iovec siov;			/* for commands that point a backend at scratch */
	bool bounced;				/* iov points into buf, data goes by message */
	bool holds_gmem;
	bool forsaken;				/* POSTING, and its queue was deleted meanwhile: not tried again */
	uint64_t rate_bytes;			/* what the rate limiter took for it beforehand; 0 nothing */
	/* the command's own progress, over several backend requests */
	struct blk_io bio;
	uint64_t bio_since_ns;			/* slow.c: 0 none is out; NVME_BIO_UNSEEN; when a look first found it out */
	bool bio_told;				/* as a slow one */
	int step;
	uint32_t idx;
	uint64_t w[6];
	/* xfer's own */
	struct gmem_op gop;
	uint32_t xfer_at;
	int state;
	uint64_t touch;				/* gmem_touched() what must be so before the host hears of it; 0 nothing */
	uint64_t throttled_ns;			/* when it went there */
	/* req.c's own */
	uint8_t where;				/* enum nvme_where, core.h */
	bool in_blk, blk_again;
	uint32_t map_len, map_want;		/* xfer.c: bytes mapped or moved so far; list entries being read */
	uint8_t map_chains;
	bool map_last;
	void (*next)(struct nvme_req *, int rc);
	struct nvme_cq *cq;			/* once it has its completion */
	struct nvme_cqe cqe;
};

enum { NVME_BIO_UNSEEN = 1 };

enum nvme_row_flags {
	NVME_ROW_IN = 1 << 0,			/* host -> controller data */
	NVME_ROW_OUT = 1 << 1,			/* controller -> host data */
	NVME_ROW_LINEAR = 1 << 2,		/* run() wants the data in req->buf; len <= NVME_XFER_MAX */
	NVME_ROW_SCRATCH = 1 << 3,		/* run() wants req->scratch */
	NVME_ROW_NS = 1 << 4,			/* NSID must be an attached namespace -> req->ns */
	NVME_ROW_NS_OR_ALL = 1 << 5,		/* same, but FFFFFFFFh gives ns = NULL */
	NVME_ROW_MMC = 1 << 6,			/* only on an MMC, else INVALID_OPCODE */
	NVME_ROW_RATE = 1 << 7,			/* counted by the rate limiter */
	NVME_ROW_NOSGL = 1 << 8			/* PRP1 is not a data pointer; PSDT must be 0 */
};

/* One command. The core judges flags (FUSE, PSDT), namespace and size, moves the data, and calls run().
 * run() returns the status, or NVME_ASYNC and calls nvme_req_done() later (it may also call it before returning). */
struct nvme_cmd_row {
	uint8_t opc;
	uint16_t flags;
	/* Bytes to transfer; judges what it needs for that. NULL: 0. Over NVME_XFER_MAX the core answers INVALID_FIELD. */
	nvme_status (*size)(struct nvme_req *, uint32_t *len);
	nvme_status (*run)(struct nvme_req *);
	uint32_t effects;			/* dword for log page 05h */
	/* OUT rows that consume what they report (Track Receive): run() succeeded, but the data could not be written to the host.
	 * buf and len are as run() left them. May be NULL. */
	void (*undelivered)(struct nvme_req *);
};

extern const struct nvme_cmd_row nvme_admin_rows[];	/* admin.c; ends with run == NULL */
extern const struct nvme_cmd_row nvme_io_rows[];	/* io.c */

/* A UDMQ (the only type): ring in the MMC's host memory, about the changes of one MC. cdq.c */
struct nvme_cdq {
	bool live;
	uint16_t id;
	struct nvme_ctrl *mmc, *mc;
	uint32_t slots, head, tail;
	bool phase;				/* of the next slot */
	bool logging, full;
	bool etpt;
	uint32_t tpt;
	uint32_t npages;
	uint64_t *pages;			/* IOVA of each page, copied at create */
	uint64_t base;				/* contiguous: IOVA of slot 0 */
	bool contiguous;
};

/* Asynchronous events waiting for an AER to carry them. event.c */
struct nvme_event { uint8_t aet, aei, lid; uint32_t dw1; };
enum { NVME_EVENTS_MAX = 2 * 64 + 16 };

/* Feature values of one controller: all of it is saved in our vendor state (state.c lists each with its tag). */
struct nvme_features {
	uint32_t arbitration, power, temp_over, temp_under, error_recovery, vwc, num_queues, irq_coalesce;
	uint32_t write_atomic, aer_config, sw_progress;
	uint32_t irq_vector[NVME_MSIX_VECTORS];		/* FID 09h: bit 16 coalescing disabled */
	uint64_t timestamp_ms;				/* value set by the host (0: never), and when, on our clock */
	uint64_t timestamp_set_ns;
	uint8_t timestamp_origin;
	uint8_t host_behavior[512];
	uint8_t host_id[16];
	bool host_id_ext;
};

/* Rate limiter (FID 28h), per controller. rate.c. Configuration is saved; tokens are derived (start full). */
struct nvme_rate {
	struct nvme_rate_limit cfg;			/* as set; rlc.RLE says if on */
	double tok_tbw, tok_wbw, tok_tio, tok_wio;
	uint64_t last_ns;
	uint32_t turns;					/* patience_ends(): how many have to share it, since somebody waits */
};

/* What the guest takes this controller for. Moves with it. */
struct nvme_identity {
	char subnqn[256], sn[20], mn[40], fr[8];
	uint16_t cntlid;
};

struct nvme_smart { /* counters for log page 02h: saved */
	uint64_t units_read, units_written;		/* 512-byte blocks; reported in thousands */
	uint64_t host_reads, host_writes, busy_ns, power_cycles, media_errors, error_entries;
	uint64_t power_on_ns;				/* before this server took it over */
	uint64_t power_on_since_ns;
};

struct nvme_errlog_entry { uint64_t count; uint16_t sqid, cid, status, loc; uint64_t lba; uint32_t nsid; };

enum nvme_suspend { NVME_RUNNING, NVME_DRAINING, NVME_SUSPENDED };

/* A controller's state image being received (Set Controller State), kept on the MC. migration.c */
struct nvme_inbound {
	bool open;
	struct nvme_ctrl *mmc;				/* who is sending */
	uint8_t csvi, csuuidi;				/* as the first piece gave them */
	struct buf image;
};

struct nvme_ctrl {
	struct device dev;				/* first: struct device * <-> struct nvme_ctrl * */
	struct nvme_subsys *ss;
	uint16_t cntlid;
	bool mmc, online, held;
	uint16_t max_ioq, max_reqs;
	struct nvme_identity who;
	struct pci pci;					/* config space, MSI-X table, PBA */

	/* properties */
	uint64_t cap, asq, acq;
	uint32_t cc, csts, aqa, intms;
	bool enabled;					/* CC.EN seen and acted upon */

	/* doorbells: index 2*qid + is_cq; either our own array or the page shared with the client */
	volatile uint32_t *db;
	uint32_t db_own[2 * (NVME_IOQ_MAX + 1)];
	bool dbbuf;					/* shadow doorbells on */
	uint64_t dbbuf_shadow, dbbuf_eventidx;		/* IOVA */
	volatile uint32_t *dbbuf_shadow_ptr, *dbbuf_eventidx_ptr;
	uint64_t dbbuf_generation;

	struct nvme_sq sq[NVME_IOQ_MAX + 1];		/* [0]: admin */
	struct nvme_cq cq[NVME_IOQ_MAX + 1];
	uint32_t cq_pending_irq[(NVME_MSIX_VECTORS + 31) / 32];

	struct nvme_req *reqs;
	struct list req_free, buf_wait, wide_wait, throttled, retry, telling;	/* nvme_req */
	unsigned req_count;				/* in req_free */
	unsigned inflight;				/* all requests out, orphans too, AERs not */
	uint8_t *bufs[NVME_BUFS];
	uint32_t bufs_free;				/* bit map */
	struct nvme_wide wide[NVME_WIDES];
	unsigned held_count;				/* completions waiting for CQ room, all queues */
	struct nvme_ctrl_stats stats;			/* derived */
	uint64_t work;					/* derived: bytes given to backends since the last poll began */
	uint64_t unstick_ns;				/* derived: when stuck queues are tried again; 0 none is */
	unsigned sq_top, cq_top, sq_turn;		/* derived: highest live qid + 1; where the next fetch round starts */
	struct blk_io shn_io;				/* derived: the flush of a shutdown */
#ifdef FERRY_BREAK_DIRTY_LATE
	struct { uint64_t iova, len; } late[NVME_WIDE_IOV];
	int late_count;
#endif
	uint32_t shn_ns;				/* derived: attachment it has come to; 0 none under way */
	bool shn_out;

	struct nvme_req *aer[NVME_AER_MAX];
	unsigned aer_count;
	struct nvme_event event[NVME_EVENTS_MAX];
	unsigned event_count;
	uint32_t event_masked;				/* bit per AET: reported, log page not read yet */
	uint32_t changed_ns[NVME_NSID_MAX / 32 + 1];	/* guest NSIDs for log page 04h */

	struct nvme_ns *attach[NVME_NSID_MAX + 1];	/* by guest NSID */
	struct nvme_features feat, feat_saved_default;
	struct nvme_rate rate;
	struct nvme_smart smart;
	struct nvme_errlog_entry errlog[NVME_ERRLOG_ENTRIES];
	uint64_t errlog_count;

	/* migration */
	enum nvme_suspend suspend;
	struct nvme_ctrl *suspended_by;			/* the MMC whose reset releases us */
	struct nvme_req *suspend_req;			/* Migration Sends waiting for our drain, chained through w[0] */
	uint64_t suspended_at_ns;			/* while SUSPENDED: what "now" is in a state image, so that its pieces agree */
	bool suspend_dudmq;
	struct nvme_ctrl *tracked_by;			/* MMC that tracks our memory, NULL none */
	uint16_t track_ranges;
	struct gmem_cursor track_cursor;
	struct nvme_cdq *udmq;				/* bound to us, NULL none */
	struct nvme_inbound inbound;
};

struct nvme_subsys {
	struct nvme_subsys_cfg cfg;
	struct env *env;
	struct nvme_ns *ns[NVME_NSID_MAX + 1];
	struct nvme_ctrl *ctrl[NVME_CTRL_MAX];		/* by CNTLID */
	unsigned ns_top, ctrl_top;			/* no index so far was as large: what a poll looks at */
	struct nvme_cdq cdq[NVME_CTRL_MAX];
};

static inline struct nvme_ctrl *nvme_ctrl_of(struct device *d) { return (struct nvme_ctrl *)d; }
static inline uint64_t nvme_now(struct nvme_ctrl *c) { return env_now_ns(c->ss->env); }
struct nvme_ctrl *nvme_ctrl_find(struct nvme_subsys *, uint16_t cntlid); /* NULL */

/* ---- ctrl.c */
void nvme_ctrl_clr(struct nvme_ctrl *);			/* Controller Level Reset: queues gone, requests orphaned, hooks below called */
void nvme_ctrl_fatal(struct nvme_ctrl *, const char *why);	/* CSTS.CFS = 1, stop fetching */
/* Suspend: stop fetching now; when the last fetched command is complete (AERs and completions held for CQ room excepted)
 * the controller becomes SUSPENDED and nvme_migration_drained() is called once, from poll. */
void nvme_ctrl_suspend(struct nvme_ctrl *);
void nvme_ctrl_resume(struct nvme_ctrl *);

/* ---- queue.c. A queue is live through create only, and create zeroes its doorbells: whoever restores one sets head, tail,
 * phase and c->db[2 * qid (+ 1)] behind it. Judges IOSQES/IOCQES only while the controller is enabled. */
nvme_status nvme_sq_create(struct nvme_ctrl *, uint16_t qid, uint16_t cqid, uint32_t size, uint64_t prp1, uint8_t prio);
nvme_status nvme_cq_create(struct nvme_ctrl *, uint16_t qid, uint32_t size, uint64_t prp1, bool ien, uint16_t iv);
void nvme_sq_delete(struct nvme_sq *);			/* at once: its commands become orphans */
/* Delete I/O SQ: no more fetching, SUCCESS once the last command is complete (a host may reuse its buffers then).
 * Returns the status or NVME_ASYNC. */
nvme_status nvme_sq_delete_wait(struct nvme_sq *, struct nvme_req *);
void nvme_cq_delete(struct nvme_cq *);			/* at once */
/* Delete I/O CQ: SUCCESS once no completion is on its way into its memory any more. Returns the status or NVME_ASYNC. */
nvme_status nvme_cq_delete_wait(struct nvme_cq *, struct nvme_req *);
void nvme_doorbells_latch(struct nvme_ctrl *);		/* sq->tail and cq->head from the doorbells: before they are saved */
void nvme_dbbuf_begin(struct nvme_ctrl *, uint64_t shadow, uint64_t eventidx);	/* shadow doorbells from now on; both are mapped */
/* Puts a completion back that waited for CQ room when the controller was saved. False: no request free. */
bool nvme_held_restore(struct nvme_sq *, uint16_t cid, uint16_t status, uint32_t dw0, uint32_t dw1);

/* ---- req.c */
void nvme_req_done(struct nvme_req *, nvme_status);	/* once per command */
/* A LINEAR row that learns from the first bytes that it needs more (Track Memory Changes): fetches len bytes from the start
 * and calls run() again. Returns NVME_ASYNC or a status. */
nvme_status nvme_req_refetch(struct nvme_req *, uint32_t len);
nvme_status nvme_blk_status(int rc, enum blk_op);	/* what a backend's 0 or -errno means for the command */
/* Submits req->bio; a full backend is retried. `next` is called with the result from here or later. Returns NVME_ASYNC. */
nvme_status nvme_req_blk(struct nvme_req *, enum blk_op, uint64_t lba, uint64_t nlb, const struct iovec *, int iovcnt,
			 void (*next)(struct nvme_req *, int rc));

/* ---- event.c */
void nvme_event_post(struct nvme_ctrl *, struct nvme_event);
void nvme_event_discard(struct nvme_ctrl *, uint8_t aet, uint8_t aei, uint32_t dw1);	/* a pending one-shot */
void nvme_event_log_read(struct nvme_ctrl *, uint8_t lid);	/* unmasks */
void nvme_event_ns_changed(struct nvme_ctrl *, uint32_t guest_nsid);
void nvme_event_reset(struct nvme_ctrl *);
nvme_status nvme_aer(struct nvme_req *);		/* parked in c->aer; nvme_req_done takes it out again */
bool nvme_aer_restore(struct nvme_ctrl *, uint16_t cid);	/* an outstanding AER of a saved controller; false: no room */

/* ---- commands, named in the tables */
nvme_status nvme_identify(struct nvme_req *), nvme_get_log(struct nvme_req *);
nvme_status nvme_set_features(struct nvme_req *), nvme_get_features(struct nvme_req *);
nvme_status nvme_identify_size(struct nvme_req *, uint32_t *), nvme_get_log_size(struct nvme_req *, uint32_t *);
nvme_status nvme_set_features_size(struct nvme_req *, uint32_t *), nvme_get_features_size(struct nvme_req *, uint32_t *);
nvme_status nvme_format(struct nvme_req *);
nvme_status nvme_flush(struct nvme_req *);		/* req->ns, or with NULL every attached namespace */
uint32_t nvme_fid_effects(const struct nvme_ctrl *, unsigned fid);	/* dword of LID 12h; 0: unsupported */
enum { NVME_TEMP_NOW = 313, NVME_TEMP_WARNING = 343, NVME_TEMP_CRITICAL = 353 };	/* kelvins; ours never changes */
enum { NVME_WARNING_TEMP = 1 << 1 };			/* bit of critical_warning and of FID 0Bh */
uint8_t nvme_critical_warning(const struct nvme_ctrl *);
void nvme_features_reset(struct nvme_ctrl *);
void nvme_errlog_add(struct nvme_ctrl *, const struct nvme_req *, nvme_status);

/* ---- Host Managed Live Migration */
nvme_status nvme_cdq_cmd(struct nvme_req *);
nvme_status nvme_track_send(struct nvme_req *), nvme_track_receive(struct nvme_req *);
nvme_status nvme_migration_send(struct nvme_req *), nvme_migration_receive(struct nvme_req *);
nvme_status nvme_lba_status(struct nvme_req *);
void nvme_track_undelivered(struct nvme_req *);		/* row.undelivered of Track Receive */
nvme_status nvme_track_send_size(struct nvme_req *, uint32_t *), nvme_track_receive_size(struct nvme_req *, uint32_t *);
nvme_status nvme_migration_send_size(struct nvme_req *, uint32_t *), nvme_migration_receive_size(struct nvme_req *, uint32_t *);
nvme_status nvme_lba_status_size(struct nvme_req *, uint32_t *);
/* FID 21h, FID 28h: called by features.c; get fills req->buf and req->dw0 */
nvme_status nvme_fid_cdq_set(struct nvme_req *), nvme_fid_cdq_get(struct nvme_req *);
nvme_status nvme_fid_rate_set(struct nvme_req *), nvme_fid_rate_get(struct nvme_req *);
/* CNS 20h, CNS 15h, LID 28h into req->buf */
nvme_status nvme_identify_state_formats(struct nvme_req *);
nvme_status nvme_identify_secondary(struct nvme_req *);
/* Fills the migration fields of Identify Controller, of CNS 06h and of CNS 05h. */
void nvme_hmlm_identify(struct nvme_ctrl *, struct nvme_id_ctrl *);
void nvme_hmlm_identify_nvm(struct nvme_ctrl *, struct nvme_id_ctrl_nvm *);
void nvme_hmlm_identify_ns_nvm(struct nvme_ns *, struct nvme_id_ns_nvm *);
/* A change of user data by a command of `mc`: after the medium has it, before the CQE is visible (design rule 2). nlb > 0.
 * Called for every controller; does nothing where nobody logs. */
void nvme_log_change(struct nvme_ctrl *mc, struct nvme_ns *, uint64_t slba, uint64_t nlb, bool dealloc);
void nvme_log_namespace(struct nvme_ctrl *mc, struct nvme_ns *);	/* everything changed (Format) */
/* Takes a Suspend back that waits for its drain: for the caller to complete. NULL: there is none of that name. */
struct nvme_req *nvme_suspend_take(struct nvme_ctrl *mmc, uint32_t sqid, uint32_t cid);
/* Called from ctrl.c */
void nvme_migration_drained(struct nvme_ctrl *mc);
void nvme_hmlm_clr(struct nvme_ctrl *);		/* that controller (MMC or MC) was reset */
void nvme_hmlm_fini(struct nvme_ctrl *);	/* that controller is about to be freed: nothing may point at it any more */
/* Rate limiter: true if the command may run now (and takes its tokens). deadline: when one that may not could. */
bool nvme_rate_admit(struct nvme_ctrl *, struct nvme_req *);
void nvme_rate_wait(struct nvme_ctrl *, struct nvme_req *);	/* it may not: before it joins throttled */
/* What a list of ranges really moves, once it is known: the rest of what was taken for it is given back. */
void nvme_rate_settle(struct nvme_req *, uint64_t bytes);
uint64_t nvme_rate_deadline(struct nvme_ctrl *);
void nvme_rate_reset(struct nvme_ctrl *);
/* The state image (outer structure 6.1, v0 and our vendor part). save appends to out. load judges everything before it changes
 * anything: on a bad image the controller is untouched. */
nvme_status nvme_state_save(struct nvme_ctrl *, unsigned csvi, unsigned csuuidi, bool suspended, struct buf *out);
nvme_status nvme_state_load(struct nvme_ctrl *, unsigned csvi, unsigned csuuidi, const void *image, size_t len);

/* Build switches that break one rule each, for the tests that must notice: FERRY_BREAK_DIRTY_LATE, _LOG_EARLY,
 * _UNDO_AFTER_COMMIT, _ADMIN_PHASE, _DSM_RANGE, _OVERFLOW, _NO_TOUCH, _TOUCH_LATE. */
#endif
