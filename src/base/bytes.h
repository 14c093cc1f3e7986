/* Little-endian integers as structs of bytes, and the few helpers everybody needs.
 *
 * A wire structure is made of these types only, so the compiler can neither pad it nor let anyone
 * add to a field that is still in wire order. On the machines we run on a get or a put is one move.
 */
#ifndef FERRY_BASE_BYTES_H
#define FERRY_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct { uint8_t b[2]; } le16;
typedef struct { uint8_t b[4]; } le32;
typedef struct { uint8_t b[8]; } le64;

/* By way of memcpy, because compilers see one move in it; put together from bytes they do not always, and moves that overlap others of
 * a different size wait for all stores before them. */
static inline uint16_t le16_get(le16 v)
{
	uint16_t raw;

	memcpy(&raw, &v, sizeof(raw));
	return le16toh(raw);
}
static inline le16 le16_of(uint16_t v)
{
	uint16_t raw = htole16(v);
	le16 out;

	memcpy(&out, &raw, sizeof(out));
	return out;
}
static inline uint32_t le32_get(le32 v)
{
	uint32_t raw;

	memcpy(&raw, &v, sizeof(raw));
	return le32toh(raw);
}
static inline le32 le32_of(uint32_t v)
{
	uint32_t raw = htole32(v);
	le32 out;

	memcpy(&out, &raw, sizeof(out));
	return out;
}
static inline uint64_t le64_get(le64 v)
{
	uint64_t raw;

	memcpy(&raw, &v, sizeof(raw));
	return le64toh(raw);
}
static inline le64 le64_of(uint64_t v)
{
	uint64_t raw = htole64(v);
	le64 out;

	memcpy(&out, &raw, sizeof(out));
	return out;
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
