/* A small seeded generator (SplitMix64): the same seed gives the same numbers everywhere. Not for secrets. */
#ifndef FERRY_BASE_RNG_H
#define FERRY_BASE_RNG_H

#include "base/bytes.h"

struct rng { uint64_t s; };

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->s += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}
/* 0 .. n-1; n > 0. The bias of at most n / 2^64 does not matter to tests. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return (uint64_t)((unsigned __int128)rng_next(r) * n >> 64);
}
static inline uint64_t rng_between(struct rng *r, uint64_t min, uint64_t max) /* both included */
{
	return max <= min ? min : max - min == UINT64_MAX ? rng_next(r) : min + rng_below(r, max - min + 1);
}
static inline bool rng_chance(struct rng *r, uint32_t per_million) { return rng_below(r, 1000000) < per_million; }

#endif
