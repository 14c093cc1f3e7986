/* Protection information as the NVM Command Set has it (end-to-end data protection): 8 bytes of metadata per block, 16 bit guard; types 1 to
 * 3; beside the data (MPTR) or behind each block. Called by the group PI and by the random sequences; judgement is the book's. One thread.
 */
#ifndef FERRY_VERIFY_PI_H
#define FERRY_VERIFY_PI_H

#include "verify/vh.h"

enum { PI_BYTES = 8, PI_REF = 1, PI_APP = 2, PI_GUARD = 4, PI_ACT = 8 };	/* PRINFO: PRACT and what PRCHK names */
enum { S_GUARD = 0x282, S_APPTAG = 0x283, S_REFTAG = 0x284, S_PI = 0x181, S_FORMAT = 0x10a };

struct pi_tuple { uint16_t guard, app; uint32_t ref; };
void pi_put(uint8_t p[PI_BYTES], const struct pi_tuple *);	/* big endian, as on the medium */
struct pi_tuple pi_get(const uint8_t p[PI_BYTES]);
bool pi_same(const struct pi_tuple *, const struct pi_tuple *);

/* What a command asks for: PRINFO; LBAT and LBATM (a write: LBAT), the reference tag of its first block. */
struct pi_ask { unsigned info; uint16_t app, mask; uint32_t ref; };
uint32_t pi_ref(unsigned type, uint32_t first, uint32_t block);		/* of the block-th block of a command */
/* The checks that fail, as bits of PRCHK. crc: what the guard of that data should be. */
unsigned pi_check(unsigned type, const struct pi_tuple *, uint16_t crc, const struct pi_ask *, uint32_t block);
unsigned pi_statuses(unsigned failed, uint16_t *set, unsigned n);	/* adds the statuses such checks end with; the new n */
struct pi_tuple pi_made(unsigned type, uint16_t crc, const struct pi_ask *, uint32_t block);	/* what PRACT inserts */
struct pi_tuple pi_none(void);						/* of a block that was deallocated: not checked */
void pi_ask_sqe(struct nvme_sqe *, const struct pi_ask *);

/* How a namespace is formatted, and may be. */
struct pi_format { unsigned type; bool ext; };
bool pi_usable(const struct vns *);					/* has such information, or a format with it */
struct pi_format pi_format_of(const struct vns *);

#endif
