/* The ownership record (design rule 1). move_out.c, move_in.c and the server's start call it; any thread that polls them.
 *
 * The record is a fixed little-endian structure with a checksum, replaced whole by env_rec_store. The table below is the only
 * place that says which change is allowed; whoever wants another one is refused, not believed.
 */
#include "migrate/journal.h"

#include <errno.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/wire.h"

#define JOURNAL_REC(X, A)                                                                      \
	X(0, le32, magic) X(4, le16, version) X(6, uint8_t, own) X(7, uint8_t, rsvd) X(8, le64, epoch) \
	A(16, 16, move) A(32, 64, guest) A(96, 128, peer) A(224, 160, why) A(384, 128, refused)  \
	X(512, le64, ran) X(520, le64, sum)
WIRE_STRUCT(journal_rec, 528, JOURNAL_REC);

/* Version 1 had its sum where `ran` is. It is still read; what it does not say is made up for in load_ran. */
enum { JOURNAL_MAGIC = 0x4c4e524a /* "JRNL" */, JOURNAL_VERSION = 2, JOURNAL_BYTES_1 = 520 };

/* may[from] has a bit for each state that may follow; a state may always be written again (new epoch or reason).
 * HANDED -> OWNER happens only on the target's durable `not started`; move_out.c sees to that. */
#define TO(s) (1u << (s))
static const uint8_t may[OWN_COUNT] = {
	[OWN_NONE] = TO(OWN_NONE) | TO(OWN_OWNER) | TO(OWN_RESERVED) | TO(OWN_RELEASED),	/* RELEASED: by hand, for a lost record */
	[OWN_OWNER] = TO(OWN_OWNER) | TO(OWN_HANDED),
	[OWN_RESERVED] = TO(OWN_RESERVED) | TO(OWN_OWNER) | TO(OWN_NONE) | TO(OWN_RELEASED),
	[OWN_HANDED] = TO(OWN_HANDED) | TO(OWN_OWNER) | TO(OWN_RELEASED),
	[OWN_RELEASED] = TO(OWN_RELEASED) | TO(OWN_RESERVED) | TO(OWN_NONE),
};

const char *own_name(enum own own)
{
	static const char *const name[] = { "none", "owner", "reserved", "handed over", "released" };

	_Static_assert(ARRAY_LEN(name) == OWN_COUNT, "a name for each state");
	return own < OWN_COUNT ? name[own] : "invalid";
}

static void rec_name(char *out, size_t cap, const char *guest) { snprintf(out, cap, "guest-%s.journal", guest); }

static uint64_t rec_sum(const struct journal_rec *r) { return XXH3_64bits(r, offsetof(struct journal_rec, sum)); }

/* The sum is the last thing of a record of either version. */
static bool sum_ok(const struct journal_rec *r, ssize_t bytes)
{
	const uint8_t *p = (const uint8_t *)r;
	le64 sum;

	if (bytes != sizeof(*r) && bytes != JOURNAL_BYTES_1)
		return false;
	memcpy(&sum, p + bytes - sizeof(sum), sizeof(sum));
	return le64_get(sum) == XXH3_64bits(p, (size_t)bytes - sizeof(sum));
}

static uint16_t version_of(ssize_t bytes) { return bytes == JOURNAL_BYTES_1 ? 1 : JOURNAL_VERSION; }

/* HANDED has the target's epoch; but whoever asks about one that is not higher than that asks about a move that came before. */
static bool runs_here(enum own own) { return own == OWN_OWNER || own == OWN_HANDED; }

static uint64_t load_ran(const struct journal_rec *r, ssize_t bytes)
{
	if (bytes == sizeof(*r))
		return le64_get(r->ran);
	return runs_here(r->own) || r->own == OWN_RELEASED ? le64_get(r->epoch) : 0;
}

static int store(struct journal *j)
{
	struct journal_rec r = { .magic = le32_of(JOURNAL_MAGIC), .version = le16_of(JOURNAL_VERSION),
				 .own = (uint8_t)j->own, .epoch = le64_of(j->epoch), .ran = le64_of(j->ran) };
	char name[96];

	memcpy(r.move, j->move, sizeof(r.move));
	memcpy(r.guest, j->guest, sizeof(r.guest));
	memcpy(r.peer, j->peer, sizeof(r.peer));
	memcpy(r.why, j->why, sizeof(r.why));
	memcpy(r.refused, j->refused, sizeof(r.refused));
	r.sum = le64_of(rec_sum(&r));
	rec_name(name, sizeof(name), j->guest);
	return env_rec_store(j->env, name, &r, sizeof(r));
}

static bool text_ends(const uint8_t *p, size_t cap) { return memchr(p, 0, cap) != NULL; }

int journal_load(struct journal *j, struct env *env, const char *guest, struct err *err)
{
	struct journal_rec r;
	char name[96];
	ssize_t n;

	*j = (struct journal){ .env = env, .own = OWN_NONE };
	if (snprintf(j->guest, sizeof(j->guest), "%s", guest) >= (int)sizeof(j->guest))
		return err_set(err, -ENAMETOOLONG, "guest name '%s' is longer than %zu characters", guest, sizeof(j->guest) - 1);
	rec_name(name, sizeof(name), guest);
	n = env_rec_load(env, name, &r, sizeof(r));
	if (n == -ENOENT)
		return 0;
	if (n < 0)
		return err_set(err, (int)n, "cannot read the ownership record of guest '%s': %s", guest, strerror((int)-n));
	if (n < (ssize_t)JOURNAL_BYTES_1 || le32_get(r.magic) != JOURNAL_MAGIC || !sum_ok(&r, n) || r.own >= OWN_COUNT ||
	    !text_ends(r.guest, sizeof(r.guest)) || !text_ends(r.peer, sizeof(r.peer)) || !text_ends(r.why, sizeof(r.why)) ||
	    strcmp((char *)r.guest, guest))
		return err_set(err, -EBADMSG, "the ownership record of guest '%s' is damaged (%s): nobody runs it here. Find out on the "
			       "other server who owns it ('ferry status'), then use 'ferry resolve'", guest, name);
	if (le16_get(r.version) != version_of(n))
		return err_set(err, -EPROTO, "the ownership record of guest '%s' has version %u, this ferry knows %d", guest,
			       le16_get(r.version), JOURNAL_VERSION);
	j->own = r.own;
	j->epoch = le64_get(r.epoch);
	j->ran = load_ran(&r, n);
	memcpy(j->move, r.move, sizeof(j->move));
	memcpy(j->peer, r.peer, sizeof(j->peer));
	memcpy(j->why, r.why, sizeof(j->why));
	memcpy(j->refused, r.refused, sizeof(j->refused));
	return 0;
}

int journal_set(struct journal *j, enum own own, uint64_t epoch, const uint8_t move[16], const char *peer, const char *why)
{
	struct journal was = *j;
	int rc;

	if (own >= OWN_COUNT || !(may[j->own] & TO(own)) || epoch < j->epoch)
		return -EPERM;
	if (own == OWN_OWNER && move && journal_refused(j, move))
		return -EPERM;	/* `not started` was said of this move: it can never start here */
	j->own = own;
	j->epoch = epoch;
	if (runs_here(own))
		j->ran = MAX(j->ran, epoch);
	if (move)
		memmove(j->move, move, sizeof(j->move));	/* a caller may pass the record's own */
	else
		memset(j->move, 0, sizeof(j->move));
	memset(j->peer, 0, sizeof(j->peer));
	memset(j->why, 0, sizeof(j->why));
	snprintf(j->peer, sizeof(j->peer), "%s", peer ? peer : "");
	snprintf(j->why, sizeof(j->why), "%s", why ? why : "");
	rc = store(j);
	if (rc)
		*j = was;
	return rc;
}

int journal_refuse(struct journal *j, const uint8_t move[16])
{
	struct journal was = *j;
	int rc;

	if (journal_refused(j, move))
		return 0;
	if (j->own == OWN_OWNER && !memcmp(j->move, move, 16))
		return -EPERM;	/* it did start */
	memmove(j->refused[1], j->refused[0], sizeof(j->refused) - sizeof(j->refused[0]));
	memcpy(j->refused[0], move, 16);
	if (j->own == OWN_RESERVED && !memcmp(j->move, move, 16)) {
		j->own = OWN_NONE;
		snprintf(j->why, sizeof(j->why), "a move to here ended before it was committed");
	}
	rc = store(j);
	if (rc)
		*j = was;
	return rc;
}

bool journal_started(const struct journal *j, const uint8_t move[16], uint64_t epoch)
{
	if (journal_refused(j, move))
		return false;
	return (j->own == OWN_OWNER && !memcmp(j->move, move, 16)) || j->ran >= epoch;
}

bool journal_refused(const struct journal *j, const uint8_t move[16])
{
	static const uint8_t none[16];

	for (size_t i = 0; memcmp(move, none, 16) && i < ARRAY_LEN(j->refused); i++)
		if (!memcmp(j->refused[i], move, 16))
			return true;
	return false;
}
