/* Inside the source's half of a move: what its files share. Included by move_out.c and out_*.c only.
 *
 *   move_out.c    start, the phase table and its driver, undo, cancel, progress
 *   out_link.c    the connection: hello, reconnect with what was not acknowledged, frames from the target
 *   out_track.c   phase track: CDQ, logs, throttle; draining the change log; overflow
 *   out_pump.c    the copying machine: reads in flight, in order, onto the link; pages
 *   out_rounds.c  phase pre-copy: rounds and the decisions between them
 *   out_stream.c  a VMM that moves its memory itself: its stream, and leave to stop
 *   out_stop.c    phases stop and transfer
 *   out_commit.c  phases commit and clean-up, asking, doubt
 *
 * The ordering rule that keeps the copy right: a block leaves its dirty set before the read of it is submitted, and what the
 * change log reports puts it back; results go onto the link in the order of submission; the target applies frames in order.
 * So whatever is sent last for a block was read after the last change the log has not yet put back into the set.
 */
#ifndef FERRY_MIGRATE_OUT_H
#define FERRY_MIGRATE_OUT_H

#include "base/step.h"
#include "host/hmlm.h"
#include "migrate/converge.h"
#include "migrate/dirty.h"
#include "migrate/frame.h"
#include "migrate/link.h"
#include "migrate/mcmd.h"
#include "migrate/move.h"

enum {
	OUT_SLOTS = 16,			/* reads in flight */
	OUT_RING_SLOTS = 4096,		/* of the change log: 128 KiB */
	OUT_SOFT_BACKLOG = 256 << 10,	/* bytes waiting for the stream before new work is started: what the stream does not take
					 * yet is better not read yet, the kernel has buffers enough */
	OUT_RETREATS_MAX = 3,		/* stops taken back because too much was left, or the log overflowed */
	OUT_RELINKS_MAX = 5,		/* new connections tried one after another without success */
	OUT_BROKEN_ROUNDS = 4,		/* rounds lost to an overflow one after another before the guest is slowed down */
	OUT_REC_TRIES_MAX = 100,	/* of writing `released`, 100 ms apart */
	OUT_PUMP_MAX = 32		/* new pieces per poll: the guest's I/O shares our thread */
};

enum out_slot_kind {
	SLOT_READ,			/* blocks to send */
	SLOT_STAT,			/* Get LBA Status of a range: allocated parts become dirty, holes are sent as zeroes */
	SLOT_SUM			/* blocks to sum up for the target to compare */
};

struct out_slot {
	enum out_slot_kind kind;
	struct mcmd cmd;
	uint8_t *buf;			/* o->piece bytes of the arena; NULL: the slot is free */
	unsigned ns, tries;
	uint64_t lba, nlb;
};

struct out_ns {
	struct move_ns id;
	struct dirty dirty;		/* to be read and sent */
	struct dirty ask;		/* to be asked for: allocated or a hole? */
	struct dirty sent, synced;	/* sent since the last SYNC; sent before the SYNC that is not yet acknowledged */
	uint64_t cursor, ask_cursor, sum_at;
	unsigned stats;			/* SLOT_STATs in flight */
	bool pass_done;
	uint64_t allocated, sent_bytes;
};

enum out_link_state { OUT_LINK_DOWN, OUT_LINK_HELLO, OUT_LINK_UP };

struct move_out {
	struct move_site site;
	struct move_plan plan;
	struct env *env;
	struct hnvme *mmc;
	struct move_guest guest;
	struct journal *journal;
	struct vm *vm;
	struct vm_info vmi;
	uint8_t id[16];
	uint64_t epoch;			/* the one the target would get */

	/* phases */
	unsigned row;			/* index in the phase table */
	int at, sub_at, undo_at, stop_at;	/* steps of run, of what run calls, of undo, of asking to stop */
	uint64_t phase_ns;		/* entered */
	uint64_t wake_ns;
	bool ended, undoing, recovering;
	bool by_hand;			/* a person gave the answer, not the target */
	bool handed;			/* HANDED is durable: nothing here may bring the guest back but `not started` */
	int rc;				/* of the end, or the reason to undo */
	char why[256];
	bool cancel, retreat_wanted;
	char cancel_why[160];
	struct move_progress p;
	uint64_t measured_ns;		/* progress sets counted */

	/* link */
	struct link *link;
	enum out_link_state link_state;
	unsigned relinks;
	uint64_t relink_ns, sent_ns, link_base, heard_ns;
	bool ready, refused, resumed, prepared, started, not_started;
	bool target_failed;		/* ERROR */
	char say[FRAME_TEXT_MAX + 1];	/* what the target said last, in words */
	uint64_t sync_sent, sync_acked, sync_ns, rtt_ns;
	uint64_t unsynced, synced_bytes;	/* bytes sent and not acknowledged: since the last SYNC, before it */

	/* controller */
	struct mcmd cmd, head_cmd, track_cmd, state_cmd, abort_cmd;
	int track_at, state_at;		/* steps of the collector and of the state's capture */
	bool vm_open, vm_tracking, vm_paused, mem_tracked, suspend_sent, suspended, notified;
	uint8_t *page;			/* 4 KiB for cmd */
	uint8_t *track_page;		/* 4 KiB for track_cmd */
	uint8_t csvi, csuuidi;
	struct nvme_rate_limit *rate_was; /* arena: as found, to be put back exactly */
	struct nvme_rate_limit *rate_new;
	bool rate_known, throttled;
	unsigned step;
	uint64_t limit;
	uint8_t *ring_mem;
	uint32_t ring_slots;
	struct hmlm_ring ring;
	bool cdq_making, cdq_live, logging, log_broken, marker_seen, first_due, head_sent, no_stat;
	uint16_t cdqid;
	uint32_t head_hp;
	char log_why[120];
	unsigned retreats;

	/* copying */
	uint32_t piece;
	struct out_slot slot[OUT_SLOTS];
	uint8_t *spare[OUT_SLOTS];		/* buffers no slot uses; the one used last is the first to be used again: it is in the cache */
	unsigned spares;
	unsigned slot_first, slot_count;	/* ring, oldest first */
	unsigned ns_count, ns_turn;
	struct out_ns ns[MOVE_NS_MAX];
	struct dirty_mem mem, mem_sent, mem_synced;
	uint64_t mem_cursor;
	bool mem_pass_done, summing;
	double tokens;			/* bytes the bandwidth cap allows now */
	uint64_t tokens_ns;

	/* rounds */
	struct conv_rates rates;
	uint64_t round_ns, round_link, last_remaining;
	unsigned stuck, broken_rounds;
	bool promised;			/* the bound was said */
	bool track_more;
	unsigned track_asks;

	/* a VMM that streams */
	int stream_at;
	bool stream_live, stream_open;	/* something to undo; bytes may come */
	bool may_stop, stands;		/* we let it stop the processors; it has */
	bool stream_last;		/* it sent the last frame, not the blocks */
	bool stream_over, stream_sent;	/* no more bytes; the target was told so */
	unsigned stream_grown;
	uint64_t stream_grow_ns, stands_ns, stream_rate, stream_stop_ns;
	uint8_t *stream_buf;		/* FRAME_PIECE_MAX */
	uint8_t *vm_image;		/* VM_IMAGE_MAX */
	uint32_t vm_image_len;

	/* stop */
	uint64_t pause_ns, suspend_ns;
	uint64_t gathered_ns, prepared_ns, handed_ns;	/* for the account of the gap */
	uint8_t *state_buf;		/* one piece of the arena */
	uint8_t *image;			/* FRAME_STATE_MAX, taken before the pause */
	uint32_t image_len, image_got, image_sent;
	bool state_done, collected, judged;
	bool unlocking, unlocked;	/* handover: our lock on the storage is, or may be, given up */
	bool lock_said, cancel_said;
	uint64_t lock_ns, lock_since_ns; /* next try to have it again, and since when we try */
	unsigned flush_ns;
	unsigned rec_tries;
	uint64_t rec_ns;		/* next try */
	uint64_t ask_ns;		/* when the last question went out */
};

/* ---- move_out.c */
void out_event(struct move_out *, const char *kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Notes why the move ends (the first reason stays) and returns rc. */
int out_fail(struct move_out *, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void out_phase(struct move_out *, enum move_phase);
void out_measure(struct move_out *);		/* recounts the sets for progress */
uint64_t out_remaining(struct move_out *);	/* bytes that a stop now would have to send */
uint64_t out_now(const struct move_out *);
uint64_t out_silence_ns(const struct move_out *);
bool out_copying(const struct move_out *);	/* copy mode: namespaces travel */

/* ---- out_link.c */
int out_connect_run(struct move_out *);
int out_connect_undo(struct move_out *);
/* Moves bytes and frames, keeps the link alive. -errno: it is lost and this phase cannot do without it. */
int out_link_poll(struct move_out *);
void out_link_open(struct move_out *);		/* starts a connection; state HELLO or DOWN with a time to try again */
void out_link_close(struct move_out *);
int out_send(struct move_out *, uint16_t type, const void *head, size_t head_len, const void *data, size_t len);
/* The same for data that nobody changes meanwhile: it need not be copied. */
int out_send_still(struct move_out *, uint16_t type, const void *head, size_t head_len, const void *data, size_t len);
int out_say(struct move_out *, uint16_t type, int code, const char *text);
int out_sync(struct move_out *);		/* sends SYNC */
void out_commit_frame(const struct move_out *, struct frame_commit *);

/* ---- out_track.c */
int out_track_run(struct move_out *);
int out_track_undo(struct move_out *);
int out_ring_drain(struct move_out *);		/* 0; -errno: the move cannot go on */
void out_scan_all(struct move_out *);		/* nothing is known about any block */
int out_log_restart(struct move_out *);		/* step in sub_at: after an overflow */
int out_throttle(struct move_out *, uint64_t limit); /* step in sub_at */
int out_throttle_lift(struct move_out *);	/* step in sub_at */
/* Step in track_at: brings in everything the controller and the processors wrote until now. */
int out_collect(struct move_out *);

/* ---- out_pump.c */
int out_pump_init(struct move_out *);
void out_pump_fini(struct move_out *);	/* buffers; no command may be out */
void out_sets_fini(struct move_out *);
bool out_pump(struct move_out *, bool start_new, int *rc);	/* true if anything moved */
bool out_pump_waits(const struct move_out *);	/* something is finished and goes out when the link is empty */
bool out_pump_idle(const struct move_out *);	/* nothing in flight, nothing finished and unsent */
void out_pass_begin(struct move_out *);
bool out_pass_over(struct move_out *);
void out_sum_begin(struct move_out *);		/* the next pass sends sums instead of blocks */
bool out_sum_over(const struct move_out *);
void out_requeue(struct move_out *);		/* what was not acknowledged is dirty again */
bool out_busy(const struct move_out *);		/* the driver still holds a command of ours */

/* ---- out_rounds.c */
int out_precopy_run(struct move_out *);
int out_precopy_undo(struct move_out *);
void out_conv_in(struct move_out *, struct conv_in *);

/* ---- out_stream.c: for VMs with streams only, except _poll and _undo, which do nothing for others */
int out_stream_begin(struct move_out *);	/* step */
int out_stream_poll(struct move_out *);		/* bytes onto the link, leave to stop. 0; -errno */
void out_stream_allow(struct move_out *, bool may_stop);
int out_stream_end(struct move_out *);		/* step: touches, the rest, the end told */
int out_stream_undo(struct move_out *);		/* step (sub_at) */

/* ---- out_stop.c */
int out_stop_run(struct move_out *);
int out_stop_undo(struct move_out *);
int out_lock_take(struct move_out *);		/* 0; -EAGAIN, for as long as somebody else has it */
void out_suspend_abort(struct move_out *);	/* gives up a Suspend that is out */
int out_transfer_run(struct move_out *);

/* ---- out_commit.c */
int out_commit_run(struct move_out *);
int out_cleanup_run(struct move_out *);

#endif
