/* The record of a run: every transaction that was seen, one after the other. The seam between those who see (monitor*.c, the runner) and
 * those who read (exports, reports, `ferry decode`, checks on what a controller did after Suspend).
 *
 * On disk: JSON Lines, append only, so that after a crash everything up to the last flush is there and a torn last line is the only loss.
 * Memory is bounded: one output buffer. rec_sqlite() turns a record into tables for people who want to ask questions.
 *
 * A transaction that lasts (a command) is put when it begins and closed by rec_done() with its end and its status: a reader sees both
 * lines. Whatever belongs to something names it in `parent`; what is merely related (the interrupt that announced a completion) is a
 * link. Times are env_now_ns of one clock; uids are unique in the run, never 0, and grow with time.
 *
 * Writer: one thread (the one that polls the monitor). Reader: any, also while somebody still writes.
 */
#ifndef FERRY_VERIFY_RECORD_H
#define FERRY_VERIFY_RECORD_H

#include <stdio.h>

#include "base/bytes.h"
#include "base/err.h"

/* name, text in files, what addr / len / val / status / opc mean for it */
#define REC_KINDS(K)                                                                                              \
	K(CMD, "cmd", "a command. addr: of the SQE; val: its index in the ring; raw: the 64 bytes; status: of its CQE") \
	K(DBL, "dbl", "a doorbell. addr: offset in BAR0; val: written; sq or cq says which")                      \
	K(SQE_FETCH, "sqe_fetch", "the controller reads submission entries (message mode). addr, len")           \
	K(PRP_FETCH, "prp_fetch", "a PRP list page or an SGL segment. addr, len; raw: what it held")             \
	K(DATA, "data", "a run of a command's data. addr, len, hash; val: 1 the controller writes, 0 it reads")    \
	K(CQE, "cqe", "a completion. addr; val: DW0 | DW1 << 32; status with flags (CQE status >> 1); raw: the 16 bytes") \
	K(MSIX, "msix", "an interrupt is raised. val: vector; len: signals counted")                              \
	K(MASK, "mask", "a vector is masked or unmasked. val: vector; status: 1 masked, 0 unmasked")             \
	K(CDQ_ENTRY, "cdq_entry", "a controller data queue entry is posted. addr; val: slot; raw: the entry")    \
	K(REG, "reg", "a property or configuration access. addr: offset; len; val; opc: region; status: 1 write") \
	K(VFIO_MSG, "vfio_msg", "a vfio-user message. opc: command; val: flags; len: bytes; status: errno; raw: its beginning") \
	K(MGR_EVENT, "mgr_event", "what the manager or the runner does; test marks. note")                       \
	K(FAULT, "fault", "a fault that was injected. note")                                                      \
	K(VIOLATION, "violation", "an invariant is broken. val: index in monitor_rules; parent: by whom; note: a sentence")
#define REC_KIND_ENUM_(name, text, about) REC_##name,
enum rec_kind { REC_KINDS(REC_KIND_ENUM_) REC_KIND_COUNT };

#define REC_ACTORS(A) A(HOST, "host") A(DEV, "dev") A(MON, "mon") A(MGR, "mgr")
#define REC_ACTOR_ENUM_(name, text) REC_BY_##name,
enum rec_actor { REC_ACTORS(REC_ACTOR_ENUM_) REC_ACTOR_COUNT };

#define REC_LINKS(L) L(ANNOUNCES, "announces") /* doorbell -> command */ L(SIGNALS, "signals") /* interrupt -> completion */ \
	L(NEAREST, "nearest") /* orphan -> what it might belong to */ L(CARRIES, "carries") /* message -> what it did */
#define REC_LINK_ENUM_(name, text) REC_LINK_##name,
enum rec_link { REC_LINKS(REC_LINK_ENUM_) REC_LINK_COUNT };

enum {
	REC_NONE = 0xffff,			/* ctrl, sq, cq, cid: has none */
	REC_RAW_MAX = 4096,			/* bytes kept of anything; hash and len are of all of it */
	REC_NOTE_MAX = 232,
	REC_LINE_MAX = 16384
};
#define REC_STATUS_NONE 0xffffffffu

struct rec {
	uint64_t uid, parent;			/* uid 0: rec_put gives one; parent 0: has none */
	uint64_t t0_ns, t1_ns;			/* t1 0: not over */
	uint64_t hash;				/* XXH3-64 of the data, 0 unknown */
	uint64_t addr, val;
	uint32_t len, status, msg_id;		/* msg_id: of the vfio-user message that carried it, REC_STATUS_NONE: none */
	enum rec_kind kind;
	enum rec_actor actor;
	uint16_t ctrl, sq, cq, cid;		/* ctrl: which of the run's controllers, not CNTLID */
	uint8_t opc;
	uint32_t raw_len;
	const uint8_t *raw;			/* put: copied. read: valid until the next rec_read */
	char note[REC_NOTE_MAX];
};
/* All fields that can be absent are. */
struct rec rec_blank(enum rec_kind, enum rec_actor, uint64_t now_ns);
const char *rec_kind_name(unsigned kind); /* never NULL */
const char *rec_actor_name(unsigned actor);
const char *rec_link_name(unsigned link);
uint64_t rec_hash(const void *p, size_t len);

/* ---- writing ------------------------------------------------------------------------------------------------------- */

struct rec_store;
struct rec_cfg {
	const char *path;			/* made; -EEXIST if it is there. NULL: counts and forgets */
	const char *title;			/* what runs, for the run table; NULL "" */
	uint64_t seed;
	uint64_t max_bytes;			/* of the file; then records are only counted. 0: no limit */
	/* Also told of each record, before it is written: live checks. NULL: nobody. */
	void (*tap)(void *ctx, const struct rec *);
	void *tap_ctx;
};
struct rec_store *rec_open(const struct rec_cfg *, struct err *); /* NULL and a sentence */
uint64_t rec_put(struct rec_store *, struct rec *);	/* its uid; fills r->uid; NULL store: 0 */
void rec_done(struct rec_store *, uint64_t uid, uint64_t t1_ns, uint32_t status);
void rec_link(struct rec_store *, uint64_t from, uint64_t to, enum rec_link);
/* From here on records belong to this test (until the next call; "" none). */
void rec_test(struct rec_store *, uint64_t now_ns, const char *name);
/* Writes out what waits. A disk that is full ends the recording, not the run: the error is kept for rec_close. */
void rec_flush(struct rec_store *);
uint64_t rec_count(const struct rec_store *, enum rec_kind);
uint64_t rec_lost(const struct rec_store *);	/* not on disk: limit or error */
/* 0, or the -errno that ended the recording early, with a sentence. Frees. */
int rec_close(struct rec_store *, struct err *);

/* ---- reading ------------------------------------------------------------------------------------------------------- */

enum rec_what { REC_ITEM_RUN, REC_ITEM_TXN, REC_ITEM_DONE, REC_ITEM_LINK, REC_ITEM_TEST };
struct rec_item {
	enum rec_what what;
	struct rec rec;				/* TXN; DONE: uid, t1_ns, status; TEST and RUN: t0_ns, note */
	uint64_t from, to;			/* LINK */
	enum rec_link link;
	uint64_t seed;				/* RUN */
};
struct rec_reader;
struct rec_reader *rec_reader_open(const char *path, struct err *); /* "-": standard input */
struct rec_reader *rec_reader_file(FILE *, struct err *);	/* which stays the caller's */
/* 1 an item, 0 the end (a torn last line is the end), -EPROTO with a sentence that names the line: not a record. */
int rec_read(struct rec_reader *, struct rec_item *, struct err *);
void rec_reader_close(struct rec_reader *);

/* Tables run, txn, txn_link in a new file. 0 or -errno with a sentence. */
int rec_sqlite(const char *record, const char *out, struct err *);

#endif
