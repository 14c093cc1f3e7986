/* What the two managers say to each other: the payloads of the link's frames, as tables. docs/stream.md is written from here.
 *
 * Every number from the peer is judged where the frame is read (move_in.c, in_hello.c, out_link.c); nothing here judges.
 * Namespaces are named by their index in HELLO, so that neither side ever uses the other's NSIDs.
 *
 * One thread; no state.
 */
#ifndef FERRY_MIGRATE_FRAME_H
#define FERRY_MIGRATE_FRAME_H

#include "base/wire.h"

/* name, number, direction (S: source to target, T: back, B: both), shortest and longest payload, meaning */
#define MOVE_FRAMES(F)                                                                              \
	F(HELLO, 1, S, 256, 2304, "what is to be moved, or (flag) which move goes on over a new connection") \
	F(READY, 2, T, 32, 32, "accepted: the place is made and its controller suspended")              \
	F(REFUSED, 3, T, 24, 600, "not accepted, with a sentence; the target keeps nothing")           \
	F(ALIVE, 4, B, 0, 0, "nothing to say for a while, but here")                                   \
	F(DATA, 5, S, 528, 2097152, "blocks of a namespace")                                           \
	F(ZERO, 6, S, 24, 16384, "ranges of blocks that read as zeroes and need no space")             \
	F(MEM, 7, S, 4104, 2097152, "pages of guest memory")                                           \
	F(MEM_ZERO, 8, S, 16, 16384, "runs of guest memory that are zero")                             \
	F(SYNC, 9, S, 8, 8, "answer when everything before this is applied")                           \
	F(SYNC_ACK, 10, T, 8, 8, "applied up to that SYNC")                                            \
	F(DIGEST, 11, S, 32, 32, "compare these blocks with this sum")                                 \
	F(STATE, 12, S, 12, 2097152, "a piece of the controller's state image")                        \
	F(PREPARE, 13, S, 16, 16, "that was all: flush, set the state, read it back, compare")         \
	F(PREPARED, 14, T, 8, 8, "done; only COMMIT is missing")                                       \
	F(COMMIT, 15, S, 88, 88, "the source is durably out: start it")                                \
	F(ASK, 16, S, 88, 88, "did you start this move? the first frame of a connection")              \
	F(STARTED, 17, T, 24, 600, "it is owned and runs here")                                        \
	F(NOT_STARTED, 18, T, 24, 600, "it is not, and durably never will be under this move")         \
	F(LATER, 19, T, 24, 600, "neither can be said yet, with a sentence: ask again")                \
	F(CANCEL, 20, S, 24, 600, "the move is over, with a sentence: forget it")                      \
	F(ERROR, 21, B, 24, 600, "the sender gives the move up, with a sentence")                      \
	F(VM, 22, S, 1, 1048576, "bytes of the stream in which the VMM moves its memory itself")       \
	F(VM_END, 23, S, 0, 65536, "that was the stream; and what the VMM does not carry of the function")

#define MOVE_FRAME_ENUM_(name, num, dir, min, max, text) FRAME_##name = num,
enum move_frame { MOVE_FRAMES(MOVE_FRAME_ENUM_) FRAME_END };

enum {
	FRAME_VERSION = 2,
	FRAME_RANGES_MAX = 512,			/* in ZERO and MEM_ZERO */
	FRAME_STATE_MAX = 4 << 20,		/* bytes of a state image: 64 KiB are usual */
	FRAME_TEXT_MAX = 500,
	FRAME_PIECE_MAX = 1 << 20		/* data bytes in one DATA or MEM frame */
};

enum { HELLO_RESUME = 1 << 0, HELLO_VERIFY = 1 << 1, HELLO_MEMORY = 1 << 2 /* the manager moves the memory */,
       HELLO_STREAM = 1 << 3 /* the VMM moves it, in VM frames */ };

/* Followed by ns_count frame_ns, range_count frame_range and shape_bytes of text: what the VMs must have in common (HELLO_STREAM). */
#define FRAME_HELLO_LIST(X, A)                                                                      \
	A(0, 16, move) X(16, le32, version) X(20, uint8_t, mode) X(21, uint8_t, flags)              \
	X(22, le16, ns_count) X(24, le16, range_count) X(26, le16, state_version) X(28, le32, shape_bytes) \
	X(32, le64, epoch) A(40, 64, guest) A(104, 128, here) A(232, 16, state_uuid) X(248, le64, rsvd2)
WIRE_STRUCT(frame_hello, 256, FRAME_HELLO_LIST);

#define FRAME_NS_LIST(X, A)                                                                         \
	X(0, le32, guest_nsid) X(4, le32, block_bytes) X(8, le64, blocks)                           \
	A(16, 16, nguid) A(32, 8, eui64) A(40, 16, uuid) A(56, 8, rsvd)
WIRE_STRUCT(frame_ns, 64, FRAME_NS_LIST);

#define FRAME_RANGE_LIST(X, A) X(0, le64, at) X(8, le64, len) /* bytes, or blocks in ZERO */
WIRE_STRUCT(frame_range, 16, FRAME_RANGE_LIST);

#define FRAME_READY_LIST(X, A) A(0, 16, move) X(16, le32, version) X(20, le32, flags) X(24, le64, synced)
WIRE_STRUCT(frame_ready, 32, FRAME_READY_LIST);

/* REFUSED, STARTED, NOT_STARTED, LATER, CANCEL, ERROR: followed by text, without a NUL. code: a positive errno. */
#define FRAME_SAY_LIST(X, A) A(0, 16, move) X(16, le32, code) X(20, le32, rsvd)
WIRE_STRUCT(frame_say, 24, FRAME_SAY_LIST);

#define FRAME_DATA_LIST(X, A) X(0, le32, ns) X(4, le32, rsvd) X(8, le64, lba) /* then whole blocks */
WIRE_STRUCT(frame_data, 16, FRAME_DATA_LIST);

#define FRAME_ZERO_LIST(X, A) X(0, le32, ns) X(4, le32, count) /* then frame_range, in blocks */
WIRE_STRUCT(frame_zero, 8, FRAME_ZERO_LIST);

#define FRAME_MEM_LIST(X, A) X(0, le64, gpa) /* then whole pages; MEM_ZERO is frame_range alone */
WIRE_STRUCT(frame_mem, 8, FRAME_MEM_LIST);

#define FRAME_SYNC_LIST(X, A) X(0, le64, seq) /* SYNC, SYNC_ACK, PREPARED */
WIRE_STRUCT(frame_sync, 8, FRAME_SYNC_LIST);

#define FRAME_PREPARE_LIST(X, A) X(0, le64, seq) X(8, le32, state_bytes) X(12, le32, rsvd)
WIRE_STRUCT(frame_prepare, 16, FRAME_PREPARE_LIST);

#define FRAME_DIGEST_LIST(X, A) X(0, le32, ns) X(4, le32, nlb) X(8, le64, lba) X(16, le64, lo) X(24, le64, hi)
WIRE_STRUCT(frame_digest, 32, FRAME_DIGEST_LIST);

#define FRAME_STATE_LIST(X, A) X(0, le32, total) X(4, le32, off) /* then bytes */
WIRE_STRUCT(frame_state, 8, FRAME_STATE_LIST);

#define FRAME_COMMIT_LIST(X, A) A(0, 16, move) X(16, le64, epoch) A(24, 64, guest) /* COMMIT, ASK */
WIRE_STRUCT(frame_commit, 88, FRAME_COMMIT_LIST);

/* Length limits of a frame type; false: no such type. */
static inline bool frame_limits(uint16_t type, uint32_t *min, uint32_t *max, const char **name)
{
#define MOVE_FRAME_CASE_(n, num, dir, lo, hi, text) case num: *min = lo; *max = hi; *name = #n; return true;
	switch (type) { MOVE_FRAMES(MOVE_FRAME_CASE_) }
	return false;
}

#endif
