/* The manager's two halves. move_out is the source's, move_in the target's; both are polled, neither blocks.
 *
 * The program (ferry serve, or the simulator) supplies through struct move_site what lies outside NVMe: finding or making a
 * controller and namespaces for a guest, its VM adapter, its journal. All migration work on the controller itself goes
 * through the MMC by NVMe commands (struct hnvme).
 *
 * Events: everything worth knowing goes to site->event as one struct, with its numbers; text is for people.
 */
#ifndef FERRY_MIGRATE_MOVE_H
#define FERRY_MIGRATE_MOVE_H

#include "base/buf.h"
#include "env/env.h"
#include "host/hnvme.h"
#include "migrate/journal.h"
#include "vm/vm.h"

enum { MOVE_NS_MAX = 16, MOVE_NAME_MAX = 64, MOVE_ADDR_MAX = 128 };

enum move_mode { MOVE_COPY, MOVE_HANDOVER };
enum move_touch { MOVE_TOUCH_OFF, MOVE_TOUCH_ON, MOVE_TOUCH_FLUSH };

/* The phases of design.md section 2, in order. */
#define MOVE_PHASES(P)                                                                          \
	P(IDLE, "idle") P(CONNECT, "connect") P(TRACK, "track") P(PRECOPY, "pre-copy")          \
	P(CONVERGE, "converge") P(STOP, "stop") P(TRANSFER, "transfer") P(COMMIT, "commit")     \
	P(CLEANUP, "clean-up") P(DONE, "done") P(UNDO, "undo") P(FAILED, "failed") P(DOUBT, "in doubt")
#define MOVE_PHASE_ENUM_(name, text) MOVE_##name,
enum move_phase { MOVE_PHASES(MOVE_PHASE_ENUM_) MOVE_PHASE_COUNT };
const char *move_phase_name(enum move_phase);

struct move_ns {			/* a namespace as both sides speak of it */
	uint32_t guest_nsid;		/* as the guest knows it: the same on both sides */
	uint32_t nsid;			/* the subsystem's own here */
	uint32_t block_bytes;
	uint64_t blocks;
	uint8_t nguid[16], eui64[8], uuid[16];
};

struct move_guest {			/* what a site tells of a guest */
	char name[MOVE_NAME_MAX];
	uint16_t cntlid;		/* its MC in this subsystem */
	unsigned ns_count;
	struct move_ns ns[MOVE_NS_MAX];
	struct vm *vm;			/* opened by the move, owned by the site */
};

struct move_plan {
	char guest[MOVE_NAME_MAX];
	char to[MOVE_ADDR_MAX];		/* link address of the target */
	char here[MOVE_ADDR_MAX];	/* our own link address, for the target to ask */
	enum move_mode mode;
	uint64_t downtime_ns;		/* budget for the last round; 0: 10 ms */
	uint64_t bandwidth;		/* bytes/s cap on the link; 0: none */
	bool no_throttle;		/* never slow the guest down */
	uint64_t give_up_ns;		/* pre-copy longer than this fails the move; 0: never */
	bool force;			/* stop even if the budget cannot be met */
	bool verify;			/* compare a digest of every namespace before commit (reads everything again) */
	uint64_t peer_silence_ns;	/* no answer from the target for this long ends the move or leaves it in doubt; 0: 10 s */
	uint32_t cdq_slots;		/* of the change log, a power of two >= 2; 0: 4096. A full log costs a rescan, never data */
};

struct move_progress {
	enum move_phase phase;
	uint64_t at_ns, started_ns;
	unsigned round;
	uint64_t mem_total, mem_sent, mem_dirty;			/* bytes; total = all ranges */
	unsigned ns_count;
	uint64_t ns_total[MOVE_NS_MAX], ns_sent[MOVE_NS_MAX], ns_dirty[MOVE_NS_MAX];	/* bytes; total = allocated when scanned */
	uint64_t link_bytes;						/* everything put on the link */
	uint64_t rate, dirty_rate;					/* bytes/s, smoothed */
	uint64_t predicted_stop_ns;					/* at the present rate */
	uint64_t eta_ns;						/* UINT64_MAX: does not converge as it is */
	uint64_t throttle;						/* bytes/s the guest may write; 0: free */
	bool converges;
	uint64_t gap_ns, device_gap_ns;					/* stop: guest paused -> runs; Suspend sent -> Resume done */
	uint64_t overflows;						/* CDQ full events survived by a rescan */
};

struct move_event {
	uint64_t at_ns;
	const char *kind;		/* "phase", "round", "throttle", "overflow", "retry", "error", "decision", "done" */
	enum move_phase phase;
	char text[256];
	struct move_progress progress;	/* as of now */
};

/* What the program supplies. Callbacks may be called from move_*_poll only. */
struct move_site {
	void *ctx;
	struct env *env;
	struct hnvme *mmc;		/* started */
	/* Lets the MMC work off what was submitted, now (its device is polled in our thread anyhow); NULL: it works by itself. With it a
	 * piece is read and sent, or received and written, while it is in the processor's cache. */
	void (*pump)(void *ctx);
	/* source: the guest and where it lives; -ENOENT with a sentence. */
	int (*find)(void *ctx, const char *guest, struct move_guest *, struct err *);
	/* target: reserve an MC (offline or disabled), claim or make namespaces of exactly these sizes with these identities, attach
	 * them under their guest NSIDs, connect the waiting VM. Fills cntlid, nsid of each, vm. Existing namespaces of a RELEASED
	 * guest of the same name and geometry are taken over. `make_ns` false (handover): they must exist already.
	 * -EAGAIN: call again; -EEXIST, -ENOSPC, -EINVAL, ... with a sentence. */
	int (*place)(void *ctx, const char *guest, bool make_ns, const struct move_ns *, unsigned count, struct move_guest *, struct err *);
	/* target: the move failed: give back what place took. */
	void (*unplace)(void *ctx, const char *guest);
	/* source, after `started`: take the old MC offline and keep or release the data as configured. */
	void (*gone)(void *ctx, const char *guest);
	/* source: from now on the MC must not run, even if its guest's VMM or a reset of the MMC ends its suspension; or it may again.
	 * Called around the time in which the target decides. NULL: the site has no such means. */
	void (*hold)(void *ctx, const char *guest, bool on);
	/* source, a VM that streams its memory itself (vm.h): the VMM learns from now on (MOVE_TOUCH_ON) of each page that the controller
	 * writes: some at once, before the command that wrote it completes, the rest by MOVE_TOUCH_FLUSH, after the processors stand and
	 * the controller is suspended. FLUSH: -EAGAIN until all are told; -EIO with a sentence if some page could not be told at
	 * any time since ON: the copy is worthless then. OFF and ON are done at once. NULL: there is no such VM here. */
	int (*touch)(void *ctx, const char *guest, enum move_touch, struct err *);
	/* Handover: the lock on the guest's storage, which both sides reach. Given up by the source when its controller is suspended: 0 when
	 * everything is durable and the lock gone. Taken by the target before PREPARED, and by the source before a guest that stays runs
	 * again (harmless if it was never given up); what the target took, unplace gives up. -EAGAIN: call again; -EBUSY: somebody else
	 * has it; other -errno, with a sentence. NULL: the site has nothing that could be locked. */
	int (*lock)(void *ctx, const char *guest, bool take, struct err *);
	struct journal *(*journal)(void *ctx, const char *guest);
	void (*event)(void *ctx, const char *guest, const struct move_event *);
};

/* ---- source ---- */
struct move_out;
struct move_out *move_out_start(const struct move_site *, const struct move_plan *, struct err *);
/* After a restart with the journal at HANDED: no copying, only asks the target until it answers. */
struct move_out *move_out_recover(const struct move_site *, const char *guest, struct err *);
bool move_out_poll(struct move_out *);		/* true if anything was done */
uint64_t move_out_deadline(const struct move_out *); /* ns: poll at least then */
bool move_out_ended(const struct move_out *, int *rc, const char **why); /* 0 moved; -errno and a sentence; -EINPROGRESS in doubt is not ended */
const struct move_progress *move_out_progress(const struct move_out *);
/* Asks for a stop. 0: will be undone; -EALREADY: past commit, cannot be. */
int move_out_cancel(struct move_out *, const char *why);
/* A person says what became of a move that was handed over and never answered. As if the target had said it; at once, if the journal
 * can be written. -EINVAL: it is not in doubt; -EIO: the journal cannot be written (tried again and again); -EBUSY: somebody has its storage
 * locked, nothing was done. */
int move_out_resolve(struct move_out *, bool runs_here);
void move_out_free(struct move_out *);		/* an unfinished one must have ended first, except on process exit */

/* ---- target ---- one per accepted link connection; sessions of one move over several connections are joined inside */
struct move_in;					/* all moves into this server */
struct move_in *move_in_new(const struct move_site *);
void move_in_accept(struct move_in *, struct env_conn *);	/* takes the connection */
bool move_in_poll(struct move_in *);
uint64_t move_in_deadline(const struct move_in *);
const struct move_progress *move_in_progress(const struct move_in *, const char *guest); /* NULL: none under way */
void move_in_free(struct move_in *);

#endif
