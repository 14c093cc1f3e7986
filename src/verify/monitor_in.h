/* What the monitor's files share. Flow of a message: monitor_flow.c takes it off a socket, monitor_msg.c decodes (and, for three kinds,
 * changes) it, monitor_ctrl.c and its neighbours keep the model, then it goes on. The model always sees a message before its receiver.
 */
#ifndef FERRY_VERIFY_MONITOR_IN_H
#define FERRY_VERIFY_MONITOR_IN_H

#include <signal.h>

#include "base/list.h"
#include "spec/nvme.h"
#include "transport/vuser_sock.h"
#include "verify/inject.h"
#include "verify/monitor.h"

enum {
	MON_MSG_MAX = (16 << 20) + 65536,	/* longest message we cut out; longer ones are passed on unread */
	MON_FDS = 64,
	MON_PENDING = 8192,			/* unanswered messages per direction that are remembered */
	MON_VECTORS = 4096,			/* vectors whose signals are passed on by us */
	MON_CMDS = 65536,			/* commands out per controller that are remembered */
	MON_DONE = 64,				/* completed ones kept for late accesses */
	MON_RANGES = 65536,			/* pieces of one command's data that are remembered */
	MON_QUEUES = 65536,
	MON_BACKLOG = 4 << 20,			/* bytes a slow receiver may let pile up before we stop reading its sender */
	MON_LINGER_NS = 2000000000,		/* time to deliver the last messages of somebody who left */
	MON_REGS = 0x40,
	MON_READ_MAX = 4 << 20,			/* a command's data that we want to read ourselves */
	MON_LISTS = 4096,			/* PRP list pages or SGL segments of one command */
	MON_CDQS = 1024,
	MON_KEPT = 64 << 20,			/* bytes of commands' data that we keep, all together */
	MON_PAGE_SHIFT = 12,
	MON_PAGES = 1 << 18,			/* pages written and not reported, of one tracked controller: 1 GiB, in 24 MiB */
};

struct span { uint64_t at, len; };

/* ---- guest memory -------------------------------------------------------------------------------------------------- */

struct mon_map {
	uint64_t iova, size;
	uint8_t *ptr;				/* NULL: by message only */
	bool read, write;
};
struct mon_mem {
	struct mon_map *map;
	unsigned count, cap;
	volatile sig_atomic_t lost;
	uint64_t gone;				/* maps taken away so far */
};
void mem_fini(struct mon_mem *);
/* fd < 0: by message. The fd stays the caller's. */
bool mem_add(struct mon_mem *, uint64_t iova, uint64_t size, uint64_t off, bool read, bool write, int fd); /* false: overlaps, or no memory */
void mem_del(struct mon_mem *, uint64_t iova, uint64_t size);
bool mem_covers(const struct mon_mem *, uint64_t iova, uint64_t len, bool write);	/* mapped with that right, in whichever way */
bool mem_read(const struct mon_mem *, uint64_t iova, void *p, uint64_t len);		/* false: some of it we cannot see */
bool mem_hash(const struct mon_mem *, const struct span *, unsigned n, uint64_t *hash);
const uint8_t *mem_at(const struct mon_mem *, uint64_t iova, uint64_t len);	/* NULL: not in one piece, or we cannot see it */

/* ---- the model ----------------------------------------------------------------------------------------------------- */

struct cmd {
	struct list link;			/* in a bucket, or among those done */
	uint64_t uid;
	struct nvme_sqe sqe;
	uint16_t sq, cid;
	uint32_t index;				/* of its slot */
	char dir;				/* N H C as in the opcode, '?' unknown */
	bool bounded;				/* span[] is all it may touch */
	bool exact;				/* and it moves all of it; else at most */
	bool sgl, last_segment;
	bool eager;
	uint64_t nth;				/* which of the queue's entries it is, counted for ever; 0: from before we looked */
	bool walked;				/* span[] is complete; else `list` is where it goes on */
	uint64_t length, left;			/* bytes it moves; those whose place is not known yet */
	uint64_t list, list_len;		/* PRP list page or SGL segment that is to be read next */
	struct span *span, *lists;		/* data; PRP list pages and SGL segments read so far */
	struct span *meta;
	unsigned spans, list_count, metas, hops;
	struct lent *lent;			/* monitor_guard.c's; NULL none */
	uint8_t *data;				/* of commands that we read ourselves: `length` bytes, NULL none */
	uint64_t filled;			/* of them, from the first on, have been seen */
	uint64_t born;				/* when it was seen: monitor.clock */
	uint64_t rang;				/* when the doorbell rang that announced it, 0 unknown */
};

enum { CMD_BUCKETS = 64 };
struct msq {
	uint16_t qid, cqid;
	uint32_t size;
	uint64_t base;				/* PRP1 */
	uint64_t *page, list;			/* of a queue that is not contiguous: its pages, and where they are listed */
	bool lost;				/* and the list cannot be read */
	bool pc, odd;				/* as it was created; odd: its host broke a rule, so that its pointers may be anything */
	uint8_t prio;
	uint16_t tail, head, seen;		/* doorbell; by SQHD; entries before it are known to us */
	uint16_t low;				/* the last tail that the server has certainly heard of, if not this one; */
	uint64_t rung;				/* for when that was written */
	uint64_t passed;			/* entries the head has passed, counted for ever */
	uint64_t known;				/* entries seen, likewise */
	uint32_t shadow;			/* what stood in the shadow doorbell */
	uint64_t dbl_uid;
	struct list cmds[CMD_BUCKETS];
	unsigned out;
};
struct mcq {
	uint16_t qid, iv;
	bool ien, lost;
	bool new;				/* its memory has not been looked at yet */
	uint32_t size;
	uint64_t base, *page, list;
	bool pc, odd;				/* as in a submission queue */
	uint16_t low;
	uint64_t rung;
	uint16_t head, tail;			/* consumed by doorbell; next slot to be posted */
	bool phase;				/* of the next entry */
	uint32_t shadow;
	struct nvme_cqe before;			/* what the next slot held when the one before it was taken */
	bool before_known;
	uint8_t part[sizeof(struct nvme_cqe)];	/* message mode: what of the next slot has been written */
	uint32_t have;				/* a bit per byte */
};
struct vector {
	uint64_t surplus;			/* entries posted that no signal has announced yet */
	uint64_t allowed;			/* signals that may come without one */
	uint64_t last_cqe, last_ns;
	bool masked;
};

struct cdq {
	struct list link;
	uint16_t id, cntlid;
	uint64_t base, *page, list;
	bool leaving;				/* its Delete is out: as soon as that is done its memory is the host's */
	bool dead, lost;			/* lost: its page list cannot be read */
	uint32_t slots, tail, head;
	uint32_t freed;				/* the head that a Set Features which is out asks for; else as head */
	bool phase;
	enum { CDQ_IDLE, CDQ_STARTING, CDQ_LOGGING, CDQ_ENDED } log;
	uint8_t last_esa;
	uint8_t part[sizeof(struct nvme_lbamq)];	/* message mode: what of the next slot has been written */
	uint32_t have;
};

struct ctrl {
	struct list link;
	struct monitor *m;
	uint16_t number;
	uint16_t cntlid;			/* REC_NONE unknown */
	struct mon_mem mem;
	uint8_t regs[MON_REGS];
	uint8_t cfg[256];			/* configuration space as far as it passed */
	bool sure;				/* we saw it being enabled: its queues are all known */
	bool message;				/* in message mode */
	bool mapped;				/* a client maps its doorbells */
	bool enabled, blurred;			/* blurred: doorbells can be rung unseen */
	bool in_scan;				/* its entries are being taken */
	bool suspended;
	bool leaving;				/* disabled, and CSTS.RDY not yet seen to be 0: it may still end what it was at */
	bool older;				/* what is being looked at was said before that */
	uint16_t suspended_by;			/* that controller's number */
	uint64_t resume_uid;			/* a Resume that is out and may have begun to work */
	unsigned stride;			/* of doorbells, bytes */
	uint64_t page_bytes;
	struct msq **sq;
	struct mcq **cq;
	unsigned sqs, cqs;			/* slots in the arrays */
	struct vector *vec;			/* MON_VECTORS */
	uint64_t shadow, events;		/* Doorbell Buffer Config's pages, 0 none */
	unsigned cmds_out;
	struct list done;
	unsigned done_count;
	uint64_t ended;				/* commands so far */
	struct list lent;			/* monitor_guard.c's: of the commands that are out */
	unsigned lents;
	bool odd;				/* one of them differs */
	struct list cdqs;
	struct { uint32_t nsid; uint32_t bytes, meta; bool inlined; } ns[64];	/* block sizes, as Identify tells them */
	unsigned ns_count;
	struct { uint8_t *p; uint32_t len; uint16_t cntlid; } state;	/* pieces of Set Controller State so far */
	uint64_t still_since;			/* when it was seen to be suspended: monitor.clock */
	uint64_t heard, heard_at;		/* what the client said until then the server has taken in; when that was learned */
	uint64_t ringing;			/* the doorbell that is being followed, 0 none */
	bool doubt;				/* what is being looked at may have been said before the last report of its memory was made */
	struct track *track;			/* its memory is tracked; NULL not, or not judged */
	struct {				/* pieces of Get Controller State so far, in their order */
		uint8_t *p;
		uint32_t len;
		uint16_t by;			/* number of the controller that was asked */
		uint64_t born;			/* when the first was asked for */
		unsigned formats;		/* CSVI and CSUUIDI */
		bool counted, judged;
	} got;
};

/* ---- lanes --------------------------------------------------------------------------------------------------------- */

struct pending {				/* asked and not answered; the rest is what the reply is understood by */
	uint16_t id, cmd;
	bool undo;				/* DMA_MAP: added a map */
	uint64_t uid;				/* of its record */
	uint64_t addr, size, offset;		/* iova, or offset in a region; offset in the file */
	uint32_t region, flags, index, start, count;
	uint8_t *bools;				/* SET_IRQS */
	uint64_t born;				/* when it was seen: monitor.clock */
	int fd;					/* DMA_MAP of what an unanswered DMA_UNMAP still holds: ours, until the answer; -1 none */
};
struct lane;
struct watch { enum { WATCH_LISTEN, WATCH_CLIENT, WATCH_SERVER, WATCH_IRQ } what; struct lane *lane; };

struct binding {				/* a vector's eventfd: the server signals ours, we signal the client's */
	struct list link;
	struct watch watch;
	unsigned index;
	uint32_t vector;
	int ours, theirs;
	uint64_t uid;				/* of the SET_IRQS that made it */
	bool live;				/* and it was answered */
};


struct half {					/* one direction: what its sender says */
	struct vuser_sock sock;			/* the sender's socket; its output is the other half's input */
	bool open, eof, want_out, no_in;
	bool parked;				/* it hung up while we do not read it */
	bool raw;				/* framing is lost: bytes pass unread */
	uint64_t older;				/* place in the stream: what begins before it was said before the controller was suspended */
	uint64_t told;				/* likewise: perhaps before the last report of what it has written */
	struct pending *pend;			/* asked by this sender, not answered: a ring, oldest first */
	unsigned first, count;
	bool forgot;				/* too many: replies are no longer judged */
	struct watch watch;
	/* monitor_inject.c's, of what goes to this socket */
	struct buf aside;			/* a message that goes behind the next one, or when its time is over */
	bool cut;				/* its sender died in the middle of a message */
	uint64_t aside_ns, hold_ns;		/* hold: nothing is sent until then; 0 not */
};
enum { FROM_CLIENT, FROM_SERVER };

struct lane {
	struct list link;
	struct monitor *m;
	struct ctrl *c;
	char listen_path[108], to[108];
	int listen_fd;
	uint64_t dev, ino;
	struct half half[2];
	bool attached, busy;
	uint64_t linger_ns;			/* deadline for the last bytes, 0: nobody left */
	struct list bindings;
	unsigned binds;
	bool listening;
	struct watch watch;
};

struct monitor {
	struct monitor_cfg cfg;
	int ep;
	struct list lanes, ctrls;
	struct monitor_stats n;
	uint64_t msg_uid;			/* record of the message being looked at, 0 none */
	uint32_t msg_id;
	bool scanning;
	uint64_t lent_bytes;			/* copied of what is lent */
	uint64_t clock;				/* counts what happens, so that "before" can be asked */
	uint64_t kept;				/* bytes of commands' data */
	unsigned eager;				/* commands out whose data we must read before the host uses the memory again */
};

static inline uint64_t mon_now(struct monitor *m) { return env_now_ns(m->cfg.env); }
struct rec mon_rec(struct ctrl *, enum rec_kind, enum rec_actor);
uint64_t mon_put(struct monitor *, struct rec *);
/* A rule is broken. who: record it hangs on, 0 none. Its uid. */
uint64_t mon_break(struct ctrl *, enum monitor_rule, uint64_t who, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
struct ctrl *mon_ctrl_by_cntlid(struct monitor *, uint16_t cntlid);	/* NULL */

/* monitor_flow.c */
bool flow_pump(struct lane *, unsigned from);	/* moves what there is in one direction; true if anything */
void flow_mark(struct lane *);			/* what the server has said so far, read or not, is older than another lane's word */
void flow_told(struct lane *);			/* or than a report, likewise */
bool flow_caught_up(const struct lane *);	/* and what flow_mark meant has all been looked at */
void flow_end(struct lane *);			/* ends the session */
void flow_hung_up(struct lane *, unsigned which);
void flow_tick(struct lane *);			/* time has passed */

/* monitor_inject.c. What waits in the other socket from `start` on is the message. False: the session is over. */
bool inject_message(struct lane *, unsigned from, uint16_t cmd, size_t start);
bool inject_tick(struct lane *);
void inject_forget(struct half *);

/* monitor.c */
void mon_watch(struct monitor *, int fd, struct watch *, bool in, bool out, bool anew);
void mon_unwatch(struct monitor *, int fd);
void mon_lane_listen(struct lane *, bool on);
void mon_scan(struct monitor *);		/* all controllers: what appeared in memory since */

/* monitor_msg.c: looks at a message and puts it, perhaps changed, into `out`. False: no memory, the session is over. */
bool msg_pass(struct lane *, unsigned from, const struct vuser_msg *, int *fds, unsigned nfds);
void msg_forget(struct half *);			/* what was asked and will not be answered */
/* monitor_reg.c: register and configuration accesses, cut into what they hit */
void reg_written(struct lane *, uint32_t region, uint64_t off, const uint8_t *p, uint32_t len);
void reg_read(struct lane *, uint32_t region, uint64_t off, const uint8_t *p, uint32_t len);

/* monitor_irq.c */
void irq_asked(struct lane *, const struct pending *, int *fds, unsigned nfds);	/* replaces descriptors by ours where it can */
void irq_answered(struct lane *, const struct pending *, bool ok);
bool irq_pump(struct binding *);		/* passes signals on */
void irq_pump_all(struct lane *);
void irq_close(struct lane *);

/* monitor_ctrl.c */
struct ctrl *ctrl_new(struct monitor *, uint16_t number);
void ctrl_free(struct ctrl *);
void ctrl_reg_write(struct ctrl *, uint64_t off, const uint8_t *p, uint32_t len);	/* BAR0 */
void ctrl_reg_value(struct ctrl *, uint64_t off, const uint8_t *p, uint32_t len);	/* a read brought it */
void ctrl_reset(struct ctrl *, bool sure);	/* queues and commands are gone; sure: and nothing makes new ones unseen */
void ctrl_resumed(struct ctrl *);		/* it may fetch again */
void ctrl_scan(struct ctrl *);			/* looks for what appeared in memory */
void ctrl_irq(struct ctrl *, uint32_t vector, uint64_t signals);
/* Nothing may come from it: it is suspended, and what is being looked at is not older than that. */
static inline bool ctrl_still(const struct ctrl *c) { return c->suspended && !c->older; }
/* The server has taken in what the client said until then: it takes messages in their order. */
static inline void ctrl_heard(struct ctrl *c, uint64_t until)
{
	if (until <= c->heard)
		return;
	c->heard = until;
	c->heard_at = ++c->m->clock;
}
static inline bool ctrl_judged(const struct ctrl *c) { return c->sure && !c->blurred; }

/* monitor_queue.c */
void ctrl_doorbell(struct ctrl *, unsigned index, uint32_t val);
void queue_shadow(struct ctrl *);		/* doorbells in guest memory */
void queue_advance(struct ctrl *, struct msq *, uint16_t tail);	/* entries up to there are taken to be submitted */
void queue_fetch(struct ctrl *, struct msq *);	/* reads what was submitted as far as memory lets us */
struct msq *ctrl_sq_new(struct ctrl *, uint16_t qid, uint32_t size, uint64_t base, bool contiguous, uint16_t cqid);
struct mcq *ctrl_cq_new(struct ctrl *, uint16_t qid, uint32_t size, uint64_t base, bool contiguous, bool ien, uint16_t iv);
void ctrl_sq_del(struct ctrl *, uint16_t qid);
void ctrl_cq_del(struct ctrl *, uint16_t qid);
/* Where byte `off` of a queue lies; page NULL: contiguous from base. */
static inline uint64_t queue_addr(const struct ctrl *c, uint64_t base, const uint64_t *page, uint64_t off)
{
	return page ? page[off / c->page_bytes] + off % c->page_bytes : base + off;
}
/* The other way round: offset in the queue, or UINT64_MAX. */
uint64_t queue_off(const struct ctrl *, uint64_t base, const uint64_t *page, uint64_t bytes, uint64_t at);
uint64_t *queue_pages(struct ctrl *, uint64_t list, uint64_t bytes);	/* of a queue that is not contiguous; NULL: cannot be read */
static inline struct msq *ctrl_sq(struct ctrl *c, unsigned qid) { return qid < c->sqs ? c->sq[qid] : NULL; }
static inline struct mcq *ctrl_cq(struct ctrl *c, unsigned qid) { return qid < c->cqs ? c->cq[qid] : NULL; }
/* (a - b) in a ring. */
static inline uint32_t ring_diff(uint32_t a, uint32_t b, uint32_t size) { return a >= b ? a - b : a + size - b; }

/* monitor_cmd.c */
void cmd_seen(struct ctrl *, struct msq *, uint32_t index, const struct nvme_sqe *);
struct cmd *cmd_find(struct msq *, uint16_t cid);
void cmd_ended(struct ctrl *, struct msq *, struct cmd *, uint32_t status);	/* to those done */
void cmd_free(struct ctrl *, struct cmd *);
void cmd_forget(struct ctrl *, struct msq *);	/* all of a queue, without completion */
const char *cmd_name(const struct cmd *);
void cmd_data_recs(struct ctrl *, struct cmd *, const char *note);	/* DATA records from what memory holds now */
bool cmd_load(struct ctrl *, struct cmd *);	/* fills data from memory; false: not all can be seen */

/* monitor_walk.c: where a command's data lies */
void walk_start(struct ctrl *, struct cmd *);
void walk_list(struct ctrl *, struct cmd *, const uint8_t *p);	/* the list page or segment at cmd->list has been read */
bool walk_touches(const struct cmd *, uint64_t at, uint64_t len);	/* all of it lies in its data */
bool walk_lists(const struct cmd *, uint64_t at, uint64_t len);	/* or in its lists */

/* monitor_cq.c */
void cq_scan(struct ctrl *, struct mcq *);
void cq_look(struct ctrl *, struct mcq *);	/* at its memory, before anything can be posted: nothing has been submitted to it yet */
void cq_entry(struct ctrl *, struct mcq *, const struct nvme_cqe *); /* in the next slot */
bool cq_torn(struct ctrl *, struct mcq *);	/* the next slot changed, but its phase did not */

/* monitor_guard.c: what commands lend for reading only */
void guard_lend(struct ctrl *, const struct msq *, struct cmd *);
void guard_look(struct ctrl *);			/* before completions are looked for */
void guard_judge(struct ctrl *);		/* and after */
void guard_done(struct ctrl *, struct cmd *);	/* its completion was found */
void guard_end(struct ctrl *, struct cmd *);
void guard_free(struct cmd *);

/* monitor_done.c: what admin commands mean for the model */
void done_effects(struct ctrl *, struct cmd *, const struct nvme_cqe *, uint64_t uid /* of its record */);
void done_submitted(struct ctrl *, struct cmd *); /* effects that may begin before the completion */
bool done_wants(const struct cmd *);		/* its data is to be kept in cmd->data */

/* monitor_state.c */
void state_taken(struct ctrl *mc, const uint8_t *p, uint32_t len);	/* a whole image was set on it */

/* monitor_pages.c */
enum page_what { PAGE_DATA, PAGE_CQ, PAGE_OTHER, PAGE_NOT /* refused by the host */ };
struct page {					/* written, and not reported yet */
	uint64_t at;
	uint64_t uid, cmd;			/* record of the write; and of its command, 0 none */
	uint64_t sure;				/* when it became certain that a report must have it, 0 not yet */
	uint64_t arrived;			/* when the host said that it has it, 0 not */
	enum page_what what;
	bool used;
};
struct pages { struct page *slot; uint32_t cap, count; };
struct page *pages_find(const struct pages *, uint64_t at);	/* NULL */
struct page *pages_put(struct pages *, uint64_t at);	/* made if it is not there; NULL: no room */
typedef bool pages_drop(void *ctx, const struct page *);
void pages_sweep(struct pages *, pages_drop *, void *ctx);
void pages_fini(struct pages *);
unsigned runs_sort(struct span *, unsigned n);	/* and joins them; how many are left */
unsigned runs_behind(const struct span *, unsigned n, uint64_t at);	/* index of the first that begins behind it */
bool runs_hold(const struct span *, unsigned n, uint64_t at);

/* monitor_track.c: of a controller whose memory is tracked; nothing for others */
struct wrote { enum page_what what; uint64_t uid, cmd; bool found /* in memory: so the host sees it */; };
void track_wrote(struct ctrl *, uint64_t at, uint64_t len, const struct wrote *);
void track_arrived(struct ctrl *, uint64_t at, uint64_t len, bool ok);	/* the host's answer to that */
void track_completed(struct ctrl *, const struct cmd *, bool ok);
void track_suspended(struct ctrl *);
void track_resumed(struct ctrl *);
void track_unmapped(struct ctrl *, uint64_t at, uint64_t len);
void track_forget(struct ctrl *);		/* and what it tracks */
void track_sent(struct ctrl *by, struct cmd *);	/* Track Send: Track Memory Changes, with success */
void track_received(struct ctrl *by, struct cmd *, uint64_t uid);
bool answer_seen(struct ctrl *, struct cmd *);	/* what it brought is in cmd->data, and was not changed meanwhile */

/* monitor_shadow.c */
void shadow_got(struct ctrl *by, struct cmd *, const struct nvme_cqe *, uint64_t uid);	/* Get Controller State, with success */
void shadow_forget(struct ctrl *);

/* monitor_dma.c: accesses by message */
void dma_read_asked(struct ctrl *, uint64_t at, uint64_t len);
void dma_read_done(struct ctrl *, uint64_t at, const uint8_t *p, uint64_t len);
void dma_written(struct ctrl *, uint64_t at, const uint8_t *p, uint64_t len);
void dma_nearest(struct ctrl *, uint64_t at, uint64_t uid);	/* links that record to the three commands whose data lies nearest */

/* monitor_cdq.c */
void cdq_new(struct ctrl *, uint16_t id, uint16_t cntlid, uint32_t slots, uint64_t base, bool contiguous);
void cdq_del(struct ctrl *, struct cdq *);
void cdq_free(struct cdq *);
struct cdq *cdq_find(struct ctrl *, uint16_t id);	/* living */
struct cdq *cdq_find_mc(struct ctrl *, uint16_t cntlid);
void cdq_scan(struct ctrl *, struct cdq *);
bool cdq_written(struct ctrl *, uint64_t at, const uint8_t *p, uint64_t len);	/* true: it was in one of them */
const struct cdq *cdq_grave(struct ctrl *, uint64_t at);	/* a deleted one that was there, NULL none */

#endif
