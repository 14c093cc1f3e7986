/* The monitor: a transparent vfio-user proxy that sees what passes, keeps a model of each controller's queues from it, records every
 * transaction and judges it by rules that hold at any time. `ferry verify monitor` is a loop around it; the runner puts it in front
 * of a device under test and pumps it while it waits.
 *
 * One lane is one socket: a client on this side, the server's socket on the other. Lanes of one monitor share what they know, so the
 * Suspend that passes on the management controller's lane judges what the suspended controller does on its own.
 *
 * What it changes, and nothing else: doorbells are made visible by taking the mmap capability out of region information (keep_mmap
 * leaves it); interrupt descriptors are replaced by our own, whose signals are passed on; in message mode DMA_MAP loses its
 * descriptor, so that the server must ask for each byte.
 *
 * What each mode sees. Message mode: every access of the controller, judged by address, direction and lifetime. Shared mode: what
 * commands say at their doorbell and what memory holds at doorbells, interrupts and completions. What a command lends for reading
 * only is compared (monitor_guard.c); other stray writes are not seen, and with shadow doorbells (Doorbell Buffer Config) or keep_mmap a queue that wraps between two looks goes unjudged.
 * A controller whose queues were made before its client came to us (a guest that was moved here) is recorded, and not judged until
 * it is enabled anew or its state passes on a lane.
 *
 * Judgement is made from the books. One thread. Nothing a client or server sends can stop it: who breaks the framing is passed through
 * unread.
 */
#ifndef FERRY_VERIFY_MONITOR_H
#define FERRY_VERIFY_MONITOR_H

#include "env/env.h"
#include "verify/record.h"

/* id, who breaks it (H host, D device), sentence, clause */
#define MONITOR_RULES(M)                                                                                                        \
	M(VU_FRAMING, D, "the stream cannot be cut into messages", "vfio-user, Header")                                          \
	M(VU_REPLY, D, "a reply to nothing that was asked", "vfio-user, Header")                                                 \
	M(VU_UNMAPPED, D, "access by message to memory that is not mapped, or against its rights", "vfio-user, DMA_READ, DMA_WRITE") \
	M(DBL_RANGE, H, "a doorbell value outside the queue", "NVMe Base, Submission Queue y Tail Doorbell")                     \
	M(DBL_ABSENT, H, "a doorbell of a queue that does not exist", "NVMe Base, Submission Queue y Tail Doorbell")             \
	M(DBL_SAME, H, "a doorbell is written with the value it has", "NVMe Base, Asynchronous Event: Invalid Doorbell Write Value") \
	M(DBL_DISABLED, H, "a doorbell while the controller is not enabled", "NVMe Base, Controller Configuration")              \
	M(SQ_OVER, H, "more entries submitted than the submission queue holds", "NVMe Base, Full Queue")                         \
	M(CQ_HEAD_OVER, H, "entries consumed that were never posted", "NVMe Base, Completion Queue y Head Doorbell")             \
	M(CID_REUSE, H, "a command identifier that is still in use", "NVMe Base, Command Dword 0")                               \
	M(CQ_OVER, D, "an entry posted into a full completion queue", "NVMe Base, Full Queue")                                   \
	M(CQ_PHASE, D, "an entry whose phase tag is not inverted", "NVMe Base, Completion Queue Entry, Phase Tag")               \
	M(CQ_SLOT, D, "an entry posted elsewhere than in the next slot", "NVMe Base, Completion Queue")                          \
	M(CQE_SQID, D, "a completion in another queue than its submission queue's", "NVMe Base, Completion Queue Entry")         \
	M(CQE_CID, D, "a completion of a command that was never submitted", "NVMe Base, Completion Queue Entry")                 \
	M(CQE_TWICE, D, "a command completed twice", "NVMe Base, Completion Queue Entry")                                        \
	M(SQHD, D, "a submission queue head outside of what was submitted, or moving backwards", "NVMe Base, SQ Head Pointer")   \
	M(IRQ_EARLY, D, "an interrupt before the completion it announces", "NVMe Base, Interrupts; Command Processing")          \
	M(IRQ_MASKED, D, "an interrupt on a vector that is masked", "PCIe MSI-X; vfio-user, DEVICE_SET_IRQS")                    \
	M(SQE_BEYOND, D, "a submission entry fetched that was not submitted", "NVMe Base, Submission Queue y Tail Doorbell")     \
	M(DMA_ORPHAN, D, "an access that belongs to no command", "NVMe Base, Data Pointer: PRPs and SGLs")                       \
	M(DMA_DIR, D, "a command's buffer is accessed against the transfer's direction", "NVMe Base, Opcode: Data Transfer")     \
	M(DMA_LATE, D, "a command's buffer is accessed after its completion", "NVMe Base, Command Processing")                   \
	M(MEM_LENT, D, "memory that a command lends for reading only has changed", "NVMe Base, Data Pointer: PRPs and SGLs; Command Processing") \
	M(SUSP_FETCH, D, "a suspended controller fetches", "NVMe Base, Migration Send: Suspend")                                 \
	M(SUSP_DMA, D, "a suspended controller accesses memory", "NVMe Base, Migration Send: Suspend")                           \
	M(SUSP_CQE, D, "a suspended controller completes a command", "NVMe Base, Migration Send: Suspend")                       \
	M(SUSP_IRQ, D, "a suspended controller interrupts", "NVMe Base, Migration Send: Suspend")                                \
	M(CDQ_PHASE, D, "a data queue entry in another slot than the next, or with the wrong phase", "NVMe Base, Controller Data Queue") \
	M(CDQ_OVER, D, "an entry into a full data queue, or the last one that fits without saying so", "NVM CS, LBA Migration Queue") \
	M(CDQ_ESA, D, "an entry sequence attribute that is reserved or cannot stand here", "NVM CS, LBA Migration Queue Entry")  \
	M(CDQ_LBACIR, D, "a change information that is reserved or contradicts the entry", "NVM CS, LBA Migration Queue Entry")  \
	M(CDQ_GONE, D, "a write into a data queue that was deleted", "NVMe Base, Controller Data Queue: Delete")                 \
	M(TRACK_MISSED, D, "a page was written before, and a report that says that there is no more does not have it", "NVMe Base, Track Receive: Tracked Memory Changes") \
	M(TRACK_FINAL, D, "the last report of a suspended controller leaves something out, or something comes after it", "NVMe Base, Track Receive: Tracked Memory Changes") \
	M(TRACK_REPORT, D, "a report that contradicts itself, or what is known of its controller", "NVMe Base, Track Receive: Tracked Memory Changes") \
	M(STATE_QUEUES, D, "a suspended controller's state is not what was seen of its queues", "NVMe Base, Migration Receive: Get Controller State")
#define MONITOR_RULE_ENUM_(id, who, text, clause) RULE_##id,
enum monitor_rule { MONITOR_RULES(MONITOR_RULE_ENUM_) RULE_COUNT };
struct monitor_rule_row { const char *id; char who; const char *text, *clause; };
extern const struct monitor_rule_row monitor_rules[RULE_COUNT];

struct monitor;
struct inj;
/* How much is compared in shared mode (monitor_guard.c). ALL is for hosts that leave a command's data alone until they have rung their
 * completion queue's doorbell: our verifier does, an operating system does not. */
enum monitor_guard { MONITOR_GUARD_LISTS, MONITOR_GUARD_OFF, MONITOR_GUARD_ALL };
struct monitor_cfg {
	struct env *env;			/* the clock; used until monitor_free */
	struct rec_store *store;		/* may be NULL: judged, not recorded. The caller's */
	bool message_mode;			/* for lanes that do not say otherwise */
	bool keep_mmap;
	enum monitor_guard guard;
	uint32_t raw_bytes;			/* kept of bulk data, per record; 0: 64 */
	struct inj *inj;			/* faults in messages (inject.h); NULL: none. The caller's */
};
struct monitor_lane_cfg {
	const char *listen, *to;		/* sockets' paths. to may be one that appears later: each client tries anew */
	int client_fd, server_fd;		/* instead of paths, when listen is NULL: both taken, also on error */
	uint16_t ctrl;				/* number in records; lanes of one controller share it */
	bool shared;				/* not in message mode, though the others are: not every server can do without descriptors */
};

struct monitor_stats {
	uint64_t messages, bytes, fds, clients;	/* passed on, both ways; clients that came */
	uint64_t commands, completions, interrupts, cdq_entries;
	uint64_t broken[RULE_COUNT];
	uint64_t lent;				/* commands whose memory was kept in mind */
	uint64_t lent_unsure;			/* it had changed, and others than the device may have done it */
	uint64_t reports, states;		/* judged: reports that say that there is no more; controllers' states */
	uint64_t unjudged;			/* transactions of controllers we know too little of */
};

struct monitor *monitor_new(const struct monitor_cfg *, struct err *);
/* 0 or -errno with a sentence. */
int monitor_lane(struct monitor *, const struct monitor_lane_cfg *, struct err *);
void monitor_free(struct monitor *); /* closes everything; clients and servers see the other's end of stream */
/* Passes on what is there. True if anything was done: call again. */
bool monitor_poll(struct monitor *);
int monitor_fd(const struct monitor *); /* readable when monitor_poll has something to do */
unsigned monitor_clients(const struct monitor *); /* attached now */
const struct monitor_stats *monitor_stats(const struct monitor *);
uint64_t monitor_broken(const struct monitor *); /* violations of all rules */
/* The controller is told to us to be that CNTLID; else its Identify tells. */
void monitor_cntlid(struct monitor *, uint16_t ctrl, uint16_t cntlid);

#endif
