/* Little-endian integers as structs of bytes, and the few helpers everybody needs.
 *
 * A wire structure is made of these types only, so the compiler can neither pad it nor let anyone
 * add to a field that is still in wire order. On the machines we run on a get or a put is one move.
 */
#ifndef FERRY_BASE_BYTES_H
#define FERRY_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct { uint8_t b[2]; } le16;
typedef struct { uint8_t b[4]; } le32;
typedef struct { uint8_t b[8]; } le64;

static inline uint16_t le16_get(le16 v) { return (uint16_t)(v.b[0] | v.b[1] << 8); }
static inline uint32_t le32_get(le32 v)
{
	return (uint32_t)v.b[0] | (uint32_t)v.b[1] << 8 | (uint32_t)v.b[2] << 16 | (uint32_t)v.b[3] << 24;
}
static inline uint64_t le64_get(le64 v)
{
	le32 lo, hi;
	memcpy(&lo, v.b, 4);
	memcpy(&hi, v.b + 4, 4);
	return le32_get(lo) | (uint64_t)le32_get(hi) << 32;
}
static inline le16 le16_of(uint16_t v) { return (le16){{ (uint8_t)v, (uint8_t)(v >> 8) }}; }
static inline le32 le32_of(uint32_t v)
{
	return (le32){{ (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) }};
}
static inline le64 le64_of(uint64_t v)
{
	return (le64){{ (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24),
			(uint8_t)(v >> 32), (uint8_t)(v >> 40), (uint8_t)(v >> 48), (uint8_t)(v >> 56) }};
}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)

/* True if [off, off+len) lies inside [0, size); never overflows, whatever a peer sends. */
static inline bool range_inside(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}
static inline bool ranges_overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return alen && blen && a - b < blen ? true : alen && blen && b - a < alen;
}
static inline uint64_t round_down(uint64_t v, uint64_t pow2) { return v & ~(pow2 - 1); }
static inline uint64_t round_up(uint64_t v, uint64_t pow2) { return (v + pow2 - 1) & ~(pow2 - 1); }
static inline bool is_pow2(uint64_t v) { return v && !(v & (v - 1)); }

#endif
