/* The scoreboard: what each block at the beginning of a namespace may hold, and so what a read of it, a comparison, the change log and Get
 * LBA Status may say. The random sequences keep one per migratable controller and tell it of every command and every outcome. Judged are
 * the books only. One thread. The rules, block by block:
 *
 * 1. What a command that succeeded wrote is what every later read returns.
 * 2. What a command left whose outcome nobody will tell (a reset, a lost client) may be there or not; once a read has shown which, the
 *    other never returns.
 * 3. A command that failed for a reason of its own (a block that cannot be read, a comparison that differs) has changed nothing it does
 *    not name; one that a fault of ours hit may have left anything: any data is right, but the first read fixes it.
 * 4. A block is never a mixture of two writes.
 * 5. A deallocated block reads as DLFEAT says: zeroes, ones, or (where it does not say) either or what was last there; deallocating is
 *    advice, so what was last there is always right too. The first read fixes it. Units that one range deallocated whole are not
 *    reported as allocated, blocks that were written since are.
 * 6. After Write Uncorrectable every read, comparison and copy that touches the block fails with 2/81h, until it is written.
 * 7. A copy holds what its source may hold.
 * 8. Protection information stands beside data as it was written, inserted or copied; beside what was deallocated it says that it is not
 *    to be checked. A read that asks for checks fails where a tuple fails them, and nowhere else.
 * 9. An entry that says "deallocated" names blocks that were deallocated while logging, and a block written after that is named once more.
 */
#ifndef FERRY_VERIFY_BOARD_H
#define FERRY_VERIFY_BOARD_H

#include "base/bytes.h"

enum { BOARD_BLOCKS = 128, BOARD_CANDS = 8, BOARD_ANY = 0xff };

/* SEED: what vh_fill makes of v. SUM: seen once, nobody knows who wrote it: v is its hash. BAD: it cannot be read.
 * tagged: and beside it stands this tuple of protection information; crc: the guard its data should have. */
enum bkind { BV_SEED, BV_ZEROES, BV_ONES, BV_SUM, BV_BAD };
struct bval { uint8_t kind; bool tagged; uint16_t crc; uint8_t tuple[8]; uint64_t v; };
enum balloc { BA_UNSURE, BA_WRITTEN, BA_GONE };
struct bblock {
	uint8_t n;			/* values it may hold; BOARD_ANY: anything */
	uint8_t alloc;			/* enum balloc */
	bool busy;			/* a command that names it has its place still */
	bool must_log, must_live;	/* an entry has to come, of the last change that is over; and it may not say "deallocated" */
	bool named, live;		/* likewise of the last change that was sent: an entry has come; it may not say so */
	bool maybe_gone;		/* it was deallocated while logging: an entry may say so */
	uint64_t gone_by;		/* which range of which command deallocated it; 0 none */
	struct bval cand[BOARD_CANDS];
};
struct board {
	uint32_t lba;			/* bytes */
	uint8_t dlfeat;
	uint8_t pi;			/* type of protection information, 0 none */
	bool bad;			/* there is a Write Uncorrectable */
	struct bblock block[BOARD_BLOCKS];
};

void board_init(struct board *, uint32_t lba, unsigned dlfeat);
void board_any(struct bblock *);
/* A change to one value. known: it has happened; else it may have, or may yet. */
void board_put(struct bblock *, const struct bval *, bool known);
void board_gone(const struct board *, struct bblock *, uint64_t by, bool known);
void board_copy(struct bblock *to, const struct bblock *from, bool known);
/* Does it hold this? tuple: NULL, not seen. keep: and from now on it holds nothing else. */
bool board_saw(const struct board *, struct bblock *, const uint8_t *data, const uint8_t *tuple, bool keep);
bool board_may_be_bad(const struct board *, const struct bblock *);
bool board_is_bad(const struct bblock *);	/* and nothing else */
void board_read_failed(struct bblock *, bool alone);	/* 2/81h came; alone: no other block can have been the reason */
void board_change_sent(struct bblock *, bool deallocates);
void board_must_log(struct bblock *);		/* that change is over, and while logging */
/* An entry of the log names it. False: it says "deallocated" and nobody did that. */
bool board_named(struct bblock *, bool deallocated);
/* One range has deallocated all of these, and nothing has touched them since: Get LBA Status may not report them. */
bool board_unit_gone(const struct board *, uint64_t first, uint64_t unit);

#endif
