/* Faults on purpose: at a hook point, by a rule, one action. The one interface for all who carry something that can go wrong.
 *
 * A carrier (vt_inject.c for commands and doorbells, the in-process rig for accesses to memory, the monitor for messages, the simulator
 * for the manager's phases) shows what it is about to do with inj_ask and does what it is told instead. Which faults there are is decided
 * by whoever drives: tests and the stress put rules in. Corruption is done here, in the carrier's copy; reset and kill are wishes, because
 * only the driver knows what a host does then. No rule, no change. One thread; nothing here is random but by a rule's seed.
 */
#ifndef FERRY_VERIFY_INJECT_H
#define FERRY_VERIFY_INJECT_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/rng.h"

/* D drop, L delay, U duplicate, C corrupt, O reorder, S cut short, R reset, K kill: what the carrier of that point can do. */
#define INJ_POINTS(P)                                                                                           \
	P(SUBMIT, "submit", "DUCRK", "a command before it is put into its queue")                               \
	P(BELL, "doorbell", "DLUCORK", "a doorbell before it is written")                                       \
	P(FETCH, "fetch", "DLUCORK", "a submission entry that the controller reads")                            \
	P(DATA, "data", "DLUCORK", "a beat of data or of a list that the controller reads or writes")           \
	P(CQE, "cqe", "DLUCORK", "a completion before it is visible")                                           \
	P(MSG, "message", "DLUCOSK", "a vfio-user message, either way")                                         \
	P(PHASE, "phase", "DLRK", "the manager enters a phase: the link cut, the link deaf for a while, the guest's controller reset, a server killed")
#define INJ_POINT_ENUM_(name, text, acts, about) INJ_##name,
enum inj_point { INJ_POINTS(INJ_POINT_ENUM_) INJ_POINT_COUNT };

#define INJ_ACTS(A)                                                                                             \
	A(PASS, "pass", '-') A(DROP, "drop", 'D') A(DELAY, "delay", 'L') A(DUPLICATE, "duplicate", 'U')         \
	A(CORRUPT, "corrupt", 'C') A(REORDER, "reorder", 'O') A(CUT, "cut", 'S') A(RESET, "reset", 'R') A(KILL, "kill", 'K')
#define INJ_ACT_ENUM_(name, text, letter) INJ_##name,
enum inj_act { INJ_ACTS(INJ_ACT_ENUM_) INJ_ACT_COUNT };

const char *inj_point_name(unsigned);
const char *inj_act_name(unsigned);
bool inj_can(enum inj_point, enum inj_act);	/* does that point's carrier know that action? */

struct inj_event {
	enum inj_point at;
	uint16_t ctrl;			/* number of the controller or lane */
	uint16_t what;			/* opcode (SUBMIT, FETCH), index (BELL), CID (CQE), command (MSG), phase (PHASE); else 0 */
	bool write;			/* DATA: by the controller; MSG: by the server; PHASE: on server b */
	uint64_t addr;			/* of an access */
	void *data;			/* the carrier's copy: what may be corrupted */
	uint32_t len;
};

enum { INJ_RULES = 32, INJ_ANY = 0xffff };
struct inj_rule {
	enum inj_point at;
	enum inj_act act;
	uint16_t ctrl, what;		/* INJ_ANY: whichever */
	uint64_t skip, count;		/* so many events are left alone first; then so many are hit (0: all) */
	uint32_t per_million;		/* chance of each of them; 0: certain */
	unsigned turns;			/* DELAY: of the carrier */
	uint64_t seed;			/* of chance and of what is corrupted */
	bool (*when)(void *ctx, const struct inj_event *);			/* NULL: always */
	void (*corrupt)(void *ctx, struct inj_event *, struct rng *);		/* NULL: one bit, anywhere */
	void *ctx;
	struct rng rng;			/* the rest is inject.c's */
	uint64_t met, did;
	bool used;
};

struct inj {
	struct inj_rule rule[INJ_RULES];
	uint64_t met[INJ_POINT_COUNT], did[INJ_POINT_COUNT][INJ_ACT_COUNT];	/* since inj_init */
	uint32_t reset, kill;		/* wishes, a bit per controller: the driver's to fulfil and to clear */
	/* After an action was decided: `ev` as it goes on. NULL: nobody needs to know. */
	void (*told)(void *ctx, const struct inj_event *ev, enum inj_act);
	void *told_ctx;
	/* Which point an access of that controller is (FETCH, DATA or CQE). */
	enum inj_point (*place)(void *ctx, unsigned ctrl, uint64_t addr);
	void *place_ctx;
};
struct inj_order { enum inj_act act; unsigned turns; };

void inj_init(struct inj *);
/* The rule's place, or NULL: too many, or that point cannot do that. Rules that are used up make room by themselves. */
struct inj_rule *inj_add(struct inj *, const struct inj_rule *);
void inj_clear(struct inj *);		/* no rules, no wishes; what was counted stays */
/* inj may be NULL. The first rule that hits decides. */
struct inj_order inj_ask(struct inj *, struct inj_event *);
uint64_t inj_done(const struct inj *);	/* actions so far */
/* "POINT:ACTION[:N]" (one in N; without it each): how the command line says it. 0 or -EINVAL with a sentence. */
int inj_parse(const char *text, uint64_t seed, struct inj_rule *out, struct err *);

#endif
