/* See stamp.h. The head repeats id and place, the tail is a checksum over everything before it: a sector mixed of two writes
 * is neither.
 */
#include "vm/embedded/stamp.h"

#include <xxhash.h>

enum { STAMP_MAGIC = 0x70537946 }; /* "FySp" */

struct stamp_sector {
	uint32_t magic, guest;
	uint64_t id, seed;
	uint32_t index, rsvd;
	uint64_t body[59];
	uint64_t hash;
};
_Static_assert(sizeof(struct stamp_sector) == STAMP_SECTOR, "a stamp fills its sector");

static uint64_t mix(uint64_t x) /* splitmix64 */
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

void stamp_fill(void *block, const struct stamp_key *key, uint64_t id)
{
	struct stamp_sector s = { .magic = STAMP_MAGIC, .guest = key->guest, .id = id, .seed = key->seed };

	if (!id) {
		memset(block, 0, STAMP_BLOCK);
		return;
	}
	for (unsigned i = 0; i < STAMP_SECTORS; i++) {
		uint64_t x = id ^ key->seed ^ (uint64_t)i << 57;

		s.index = i;
		for (unsigned w = 0; w < ARRAY_LEN(s.body); w++)
			s.body[w] = mix(x += 0x9e3779b97f4a7c15ull);
		s.hash = XXH64(&s, offsetof(struct stamp_sector, hash), key->seed);
		memcpy((uint8_t *)block + i * STAMP_SECTOR, &s, sizeof(s));
	}
}

static bool all_zero(const uint8_t *p, size_t n) { return !p[0] && !memcmp(p, p + 1, n - 1); }

enum stamp_kind stamp_read(const void *sector, const struct stamp_key *key, unsigned index, uint64_t *id)
{
	struct stamp_sector s;

	*id = 0;
	memcpy(&s, sector, sizeof(s));
	if (!s.magic && all_zero((const uint8_t *)&s, sizeof(s)))
		return STAMP_ZERO;
	if (s.magic != STAMP_MAGIC || s.guest != key->guest || s.seed != key->seed || s.index != index || !s.id ||
	    s.hash != XXH64(&s, offsetof(struct stamp_sector, hash), key->seed))
		return STAMP_ALIEN;
	*id = s.id;
	return STAMP_VALID;
}
