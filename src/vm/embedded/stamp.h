/* Blocks that say what they are: each 512-byte sector carries who wrote it, where, when, and a checksum.
 *
 * A block's content is named by an id: 0 is all zeroes, else the block it was first written to (high half) and that block's
 * generation (low half). Content follows from the id alone, so it can be made again for Compare and after a Copy. Pure.
 */
#ifndef FERRY_VM_EMBEDDED_STAMP_H
#define FERRY_VM_EMBEDDED_STAMP_H

#include "base/bytes.h"

enum { STAMP_BLOCK = 4096, STAMP_SECTOR = 512, STAMP_SECTORS = STAMP_BLOCK / STAMP_SECTOR };

struct stamp_key { uint64_t seed; uint32_t guest; };

static inline uint64_t stamp_id(uint32_t block, uint32_t gen) { return (uint64_t)block << 32 | gen; }

void stamp_fill(void *block, const struct stamp_key *, uint64_t id);

enum stamp_kind { STAMP_ZERO, STAMP_VALID, STAMP_ALIEN };
/* What stands in sector `index` of a block; *id is set for VALID (ours, whole, in the right place of its block) and 0 for ZERO. */
enum stamp_kind stamp_read(const void *sector, const struct stamp_key *, unsigned index, uint64_t *id);

#endif
