/* Which blocks and which pages must still be sent.
 *
 * struct dirty: blocks of one namespace, at a granule (a few blocks), as a compressed set: a TiB that is half dirty in 4 KiB
 * pieces costs 32 MiB, one that is all dirty next to nothing. Sizes are rounded outwards: a set may say too much, never too little.
 * struct dirty_mem: pages of guest memory, as plain bits.
 *
 * Polled by one thread, the mover's. Taking order is ascending from a cursor, so it is the same in every run.
 */
#ifndef FERRY_MIGRATE_DIRTY_H
#define FERRY_MIGRATE_DIRTY_H

#include "base/bytes.h"
#include "vm/vm.h"

struct dirty {
	void *bits;			/* roaring_bitmap_t */
	uint64_t blocks;		/* of the namespace */
	unsigned shift;			/* granule: 1 << shift blocks */
};

/* -ENOMEM; -EINVAL for a size of 0. Granule: at least 4 KiB, and so large that 2^32 of them cover the namespace. */
int dirty_init(struct dirty *, uint64_t blocks, uint32_t block_bytes);
void dirty_fini(struct dirty *);		/* {0} is a fine argument */
void dirty_add(struct dirty *, uint64_t lba, uint64_t nlb); /* clipped to the namespace */
void dirty_remove_inner(struct dirty *, uint64_t lba, uint64_t nlb); /* only granules wholly inside */
void dirty_all(struct dirty *);
void dirty_none(struct dirty *);
void dirty_merge(struct dirty *into, struct dirty *from); /* of the same namespace; from is empty afterwards */
bool dirty_any(const struct dirty *);
uint64_t dirty_blocks(const struct dirty *);	/* walks the set: not for every poll */
/* Takes out the next run at or after *cursor, at most max blocks (rounded down to granules, at least one); the cursor moves behind
 * it. False: nothing left from there on. */
bool dirty_take(struct dirty *, uint64_t *cursor, uint64_t max, uint64_t *lba, uint64_t *nlb);

struct dirty_mem {
	unsigned ranges;
	struct vm_range range[VM_RANGES_MAX];
	uint64_t *bits[VM_RANGES_MAX];
	uint64_t pages;			/* dirty ones */
};

int dirty_mem_init(struct dirty_mem *, const struct vm_range *, unsigned ranges); /* clean; -ENOMEM */
void dirty_mem_fini(struct dirty_mem *);
void dirty_mem_add(struct dirty_mem *, uint64_t gpa, uint64_t bytes); /* what lies outside the ranges is no one's memory */
void dirty_mem_all(struct dirty_mem *);
void dirty_mem_none(struct dirty_mem *);
void dirty_mem_merge(struct dirty_mem *into, struct dirty_mem *from);
uint64_t dirty_mem_total(const struct dirty_mem *); /* bytes of all ranges */
/* Next run inside one range, at most max bytes. The cursor counts pages over all ranges. */
bool dirty_mem_take(struct dirty_mem *, uint64_t *cursor, uint64_t max, uint64_t *gpa, uint64_t *bytes);

#endif
