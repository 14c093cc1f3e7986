/* Who may run a guest: one durable record per guest and server (design rule 1).
 *
 *   NONE      never here, or gone from here and told so
 *   OWNER     may run it, epoch e
 *   RESERVED  a move to here is under way; may not run it. The epoch is the one it would get
 *   HANDED    was owner, has told (or is about to tell) the target to start epoch e; may not run it, may not go back by itself
 *   RELEASED  the target said `started`; the old data is kept until released or taken over by a move back
 *
 * Every change is durable before anything is done about it. The table of allowed changes is in journal.c and docs/ownership.md.
 */
#ifndef FERRY_MIGRATE_JOURNAL_H
#define FERRY_MIGRATE_JOURNAL_H

#include "env/env.h"

enum own { OWN_NONE, OWN_OWNER, OWN_RESERVED, OWN_HANDED, OWN_RELEASED, OWN_COUNT };
const char *own_name(enum own); /* "owner", ... */

struct journal {
	struct env *env;
	char guest[64];
	enum own own;
	uint64_t epoch;
	uint8_t move[16];		/* id of the move that caused the state (RESERVED, HANDED, RELEASED, OWNER by a move) */
	char peer[128];			/* link address of the other side (HANDED: whom to ask) */
	char why[160];			/* for people */
	uint64_t ran;			/* highest epoch of OWNER and HANDED: what later moves to here do not make untrue */
	uint8_t refused[8][16];		/* moves this server has said `not started` to; never to be started (newest first) */
};

/* Reads the record, or gives NONE with epoch 0. -EBADMSG with a sentence if it is damaged (then nobody runs). */
int journal_load(struct journal *, struct env *, const char *guest, struct err *);
/* Changes state durably: -EPERM if the table does not allow it, -errno if it could not be written (state unchanged). */
int journal_set(struct journal *, enum own, uint64_t epoch, const uint8_t move[16], const char *peer, const char *why);
int journal_refuse(struct journal *, const uint8_t move[16]);	/* durable; also leaves RESERVED of that move for NONE/what was before */
/* Has this move started the guest here? It has if the guest was owned here under its epoch or a later one, wherever it is now. */
bool journal_started(const struct journal *, const uint8_t move[16], uint64_t epoch);
bool journal_refused(const struct journal *, const uint8_t move[16]);

#endif
