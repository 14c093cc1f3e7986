/* What blocks may hold. See board.h. */
#include "verify/board.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/crc16.h"
#include "base/rng.h"

void board_init(struct board *b, uint32_t lba, unsigned dlfeat)
{
	memset(b, 0, sizeof(*b));
	b->lba = lba;
	b->dlfeat = (uint8_t)dlfeat;
	for (unsigned i = 0; i < BOARD_BLOCKS; i++)
		b->block[i].n = BOARD_ANY;
}

void board_any(struct bblock *k)
{
	k->n = BOARD_ANY;
	k->alloc = BA_UNSURE;
	k->maybe_gone = true;
	k->gone_by = 0;
}

static bool same(const struct bval *a, const struct bval *b)
{
	return a->kind == b->kind && a->v == b->v && a->tagged == b->tagged && !memcmp(a->tuple, b->tuple, sizeof(a->tuple));
}

static void add(struct bblock *k, const struct bval *v)
{
	if (k->n == BOARD_ANY)
		return;
	for (unsigned i = 0; i < k->n; i++)
		if (same(&k->cand[i], v))
			return;
	if (k->n < BOARD_CANDS)
		k->cand[k->n++] = *v;
	else
		k->n = BOARD_ANY;
}

/* What was written is allocated even if what it wrote is in doubt, as long as it was before. */
static void allocated(struct bblock *k, bool known)
{
	if (known)
		k->alloc = BA_WRITTEN;
	else if (k->alloc != BA_WRITTEN)
		k->alloc = BA_UNSURE;
	k->gone_by = 0;
}

void board_put(struct bblock *k, const struct bval *v, bool known)
{
	if (known)
		k->n = 0;
	add(k, v);
	allocated(k, known);
	if (v->kind == BV_ZEROES) /* zeroes may be kept by deallocating where that reads as zeroes */
		k->alloc = BA_UNSURE;
}

/* Its tags are all ones; its guard too, or that of what is read (DLFEAT bit 4). */
static void add_gone(const struct board *b, struct bblock *k, enum bkind kind)
{
	struct bval v = { .kind = (uint8_t)kind };

	if (b->pi) {
		uint8_t data[4096];

		memset(data, kind == BV_ONES ? 0xff : 0, sizeof(data));
		v.crc = crc16_t10dif(data, MIN(b->lba, (uint32_t)sizeof(data)));
		v.tagged = true;
		memset(v.tuple, 0xff, sizeof(v.tuple));
		if (b->dlfeat & 16)
			v.tuple[0] = (uint8_t)(v.crc >> 8), v.tuple[1] = (uint8_t)v.crc;
	}
	add(k, &v);
}

void board_gone(const struct board *b, struct bblock *k, uint64_t by, bool known)
{
	unsigned reads = b->dlfeat & 7;

	if (reads == 0 || reads == 1)
		add_gone(b, k, BV_ZEROES);
	if (reads == 0 || reads == 2)
		add_gone(b, k, BV_ONES);
	k->alloc = known ? BA_GONE : BA_UNSURE;
	k->gone_by = known ? by : 0;
}

void board_copy(struct bblock *to, const struct bblock *from, bool known)
{
	if (known)
		to->n = 0;
	if (from->n == BOARD_ANY)
		to->n = BOARD_ANY;
	else
		for (unsigned i = 0; i < from->n; i++)
			if (from->cand[i].kind != BV_BAD)
				add(to, &from->cand[i]);
	to->alloc = known && from->alloc == BA_WRITTEN ? BA_WRITTEN : BA_UNSURE;
	to->gone_by = 0;
}

static bool all(const uint8_t *p, uint32_t len, uint8_t v)
{
	for (uint32_t i = 0; i < len; i++)
		if (p[i] != v)
			return false;
	return true;
}

static bool stamped(const uint8_t *p, uint32_t len, uint64_t seed)
{
	struct rng r = { seed };

	for (uint32_t i = 0; i + 8 <= len; i += 8) {
		uint64_t v = rng_next(&r);

		if (memcmp(p + i, &v, 8))
			return false;
	}
	return true;
}

static bool holds(const struct bval *v, const uint8_t *p, uint32_t len)
{
	switch ((enum bkind)v->kind) {
	case BV_SEED: return stamped(p, len, v->v);
	case BV_ZEROES: return all(p, len, 0);
	case BV_ONES: return all(p, len, 0xff);
	case BV_SUM: return XXH3_64bits(p, len) == v->v;
	case BV_BAD: return false;
	}
	return false;
}

static bool is(const struct board *b, const struct bval *v, const uint8_t *p, const uint8_t *tuple)
{
	return (!tuple || !v->tagged || !memcmp(v->tuple, tuple, sizeof(v->tuple))) && holds(v, p, b->lba);
}

static void learn(struct bval *v, const uint8_t *tuple)
{
	if (!tuple)
		return;
	v->tagged = true;
	memcpy(v->tuple, tuple, sizeof(v->tuple));
}

static void fix(const struct board *b, struct bblock *k, const uint8_t *p, const uint8_t *tuple)
{
	k->n = 1;
	k->cand[0] = (struct bval){ .kind = BV_SUM, .v = XXH3_64bits(p, b->lba), .crc = b->pi ? crc16_t10dif(p, b->lba) : 0 };
	learn(&k->cand[0], tuple);
}

/* Several may be left: the same data beside tuples that were not looked at. */
bool board_saw(const struct board *b, struct bblock *k, const uint8_t *p, const uint8_t *tuple, bool keep)
{
	unsigned n = 0;

	if (k->n == BOARD_ANY) {
		if (keep)
			fix(b, k, p, tuple);
		return true;
	}
	for (unsigned i = 0; i < k->n; i++) {
		struct bval v = k->cand[i];

		if (!is(b, &v, p, tuple))
			continue;
		if (!keep)
			return true;
		learn(&v, tuple);
		k->cand[n++] = v;
	}
	if (n)
		k->n = (uint8_t)n;
	return n;
}

bool board_may_be_bad(const struct board *b, const struct bblock *k)
{
	for (unsigned i = 0; i < k->n && k->n != BOARD_ANY; i++)
		if (k->cand[i].kind == BV_BAD)
			return true;
	return b->bad && k->n == BOARD_ANY;
}

bool board_is_bad(const struct bblock *k) { return k->n == 1 && k->cand[0].kind == BV_BAD; }

void board_read_failed(struct bblock *k, bool alone)
{
	if (!alone)
		return;
	k->cand[0] = (struct bval){ .kind = BV_BAD };
	k->n = 1;
}

void board_change_sent(struct bblock *k, bool deallocates)
{
	k->named = false;
	k->live = !deallocates;
	k->maybe_gone |= deallocates;
}

/* The entry may have come first. */
void board_must_log(struct bblock *k)
{
	k->must_log = !k->named;
	k->must_live = k->live;
}

bool board_named(struct bblock *k, bool deallocated)
{
	if (!deallocated || !k->must_live)
		k->must_log = false;
	if (!deallocated || !k->live)
		k->named = true;
	return !deallocated || k->maybe_gone;
}

bool board_unit_gone(const struct board *b, uint64_t first, uint64_t unit)
{
	for (uint64_t i = first; i < first + unit; i++)
		if (i >= BOARD_BLOCKS || b->block[i].alloc != BA_GONE || !b->block[i].gone_by || b->block[i].gone_by != b->block[first].gone_by)
			return false;
	return true;
}
