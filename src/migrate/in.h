/* Inside the target's half of a move: what its files share. Included by move_in.c and in_*.c only.
 *
 *   move_in.c    connections, the first frame of each, sessions' life and end, questions (ASK)
 *   in_hello.c   judging a HELLO; making the place: journal, site, controller suspended
 *   in_apply.c   frames onto the medium and into memory, several writes in flight, never two over the same blocks
 *   in_state.c   PREPARE (flush, state in, read back, compare) and COMMIT (owner, resume, started)
 *
 * A session is one move. It outlives its connection for a while, so that the source can go on over a new one. Everything the peer
 * sends is judged before it is used; what it can hold of our memory and controller is bounded by the enums below.
 */
#ifndef FERRY_MIGRATE_IN_H
#define FERRY_MIGRATE_IN_H

#include "base/list.h"
#include "base/step.h"
#include "host/hmlm.h"
#include "migrate/frame.h"
#include "migrate/link.h"
#include "migrate/mcmd.h"
#include "migrate/move.h"

enum {
	IN_CONNS_MAX = 32, IN_SESSIONS_MAX = 16, IN_SLOTS = 16,
	IN_FRAMES_PER_POLL = 64,
	IN_BYTES_PER_POLL = 2 << 20	/* other guests' I/O shares our thread */
};
#define IN_GRACE_NS (10 * NS_PER_S)		/* a session without a connection, a connection without a first frame */
#define IN_PLACE_NS (60 * NS_PER_S)		/* making the place */
#define IN_PREPARE_NS (60 * NS_PER_S)		/* flush and state, after all data */

enum in_state {
	IN_PLACE,			/* making the place */
	IN_APPLY,			/* data comes */
	IN_PREPARE,			/* PREPARE came */
	IN_PREPARED,			/* only COMMIT is missing */
	IN_STARTING,			/* COMMIT came: from here on it can only end in STARTED (or durably never) */
	IN_STARTED,
	IN_ENDING,			/* refuse durably, give back the place */
	IN_GONE
};

struct in_conn {
	struct list node;
	struct env *env;
	struct link *link;
	struct in_session *s;		/* NULL: no first frame yet, or only questions */
	uint64_t opened_ns, sent_ns;
	bool closing;			/* closed when what is queued has left */
};

enum in_slot_kind { IN_WRITE, IN_ZERO, IN_SUM };

struct in_slot {
	bool used;
	enum in_slot_kind kind;
	struct mcmd cmd;
	uint8_t *buf;
	unsigned ns, tries;
	uint64_t lba, nlb, lo, hi;
};

struct in_session {
	struct list node;
	struct move_in *m;
	struct in_conn *conn;		/* NULL: cut */
	enum in_state state;
	int at, sub_at;
	uint64_t state_ns, lost_ns, retry_ns;
	int rc;				/* why it ends; 0: the source said so */
	char why[256];
	bool refuse_only;		/* ends before anything was promised: REFUSED instead of ERROR */

	/* from HELLO */
	uint8_t id[16];
	uint64_t epoch;
	enum move_mode mode;
	bool memory, stream;		/* the manager moves the memory; the VMM does */
	char shape[VM_SHAPE_MAX];
	char peer[MOVE_ADDR_MAX];
	unsigned ns_count, range_count;
	struct move_ns ns[MOVE_NS_MAX];
	struct vm_range range[VM_RANGES_MAX];

	struct journal *journal;
	struct move_guest guest;
	bool reserved, placed, owner;
	struct vm *vm;
	struct vm_info vmi;
	uint8_t csvi, csuuidi;
	uint32_t piece, zero_blocks;	/* bytes of a write; blocks of a Write Zeroes */
	uint8_t *page;
	struct mcmd cmd;
	bool holds;			/* the driver: something of ours is in the controller */

	/* applying */
	struct link_msg msg;
	bool have_msg, judged;
	uint64_t msg_at;		/* how much of it is under way */
	uint32_t zero_at;		/* range of a ZERO frame */
	struct in_slot slot[IN_SLOTS];
	unsigned flush_ns;
	uint64_t sync_seq;
	uint8_t *image;
	uint32_t image_len, image_got, image_at;
	struct move_progress p;
	uint8_t vm_image[VM_IMAGE_MAX];
	uint32_t vm_image_len;
	bool stream_ended;
	uint64_t paused_ns, owned_ns, resumed_ns;
};

struct move_in {
	struct move_site site;
	struct env *env;
	struct list conns, sessions;
	unsigned conn_count, session_count;
	uint64_t wake_ns;
};

/* ---- move_in.c */
uint64_t in_now(const struct move_in *);
void in_event(struct in_session *, const char *kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void in_enter(struct in_session *, enum in_state, enum move_phase);
/* Notes why the session ends and returns rc; the caller lets it end. */
int in_fail(struct in_session *, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int in_send(struct in_conn *, uint16_t type, const void *p, size_t len);	/* 0, -EAGAIN; a dead link counts as sent */
int in_say(struct in_conn *, uint16_t type, const uint8_t move[16], int code, const char *text);
struct in_session *in_find(struct move_in *, const uint8_t move[16]);
void in_answer(struct move_in *, struct in_conn *, const struct frame_commit *);	/* ASK */
bool in_busy(const struct in_session *);

/* ---- in_hello.c */
/* Judges; fills id, guest name, namespaces, ranges of a session. 0; -errno with a sentence. */
int in_hello_judge(struct in_session *, const struct link_msg *, bool *resume, struct err *);
int in_place_run(struct in_session *);	/* step: journal, place, VM, controller suspended, READY */

/* ---- in_apply.c */
int in_apply_init(struct in_session *);
void in_let_go(struct in_session *);		/* of the driver (hnvme_hold); harmless twice */
void in_apply_fini(struct in_session *);
int in_slots_poll(struct in_session *);	/* 0; -errno: a write failed */
bool in_slots_idle(const struct in_session *);
int in_apply_poll(struct in_session *, bool *did);

/* ---- in_state.c */
int in_prepare_run(struct in_session *);
int in_start_run(struct in_session *);

#endif
