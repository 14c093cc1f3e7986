/* What a guest process shares with whoever controls it: one page of words and a bitmap, in a memfd beside the guest's memory.
 *
 * Over the control socket everybody who connects gets a guest_hello with two descriptors (memory, this). The socket stays open:
 * its end is the process's end. The reader trusts the hello only as far as the descriptors bear it out (sizes, seals).
 */
#ifndef FERRY_VM_EMBEDDED_CONTROL_H
#define FERRY_VM_EMBEDDED_CONTROL_H

#include "vm/embedded/guest.h"

enum { GUEST_CONTROL_MAGIC = 0x43477946, GUEST_CONTROL_VERSION = 1, GUEST_CONTROL_DIRTY = 8192 };

struct guest_hello {
	uint32_t magic, version;
	uint64_t mem_bytes, control_bytes;
};

enum guest_want { GUEST_WANT_PAUSE, GUEST_WANT_RUN, GUEST_WANT_QUIT };
enum guest_is { GUEST_IS_INCOMING, GUEST_IS_PAUSED, GUEST_IS_BOOTING, GUEST_IS_RUNNING, GUEST_IS_LOST, GUEST_IS_FAILED, GUEST_IS_GONE };

/* Atomics. Pausing: the controller stores `want` and then reads `is`; the process stores `is` and then reads `want`, both
 * sequentially consistent, so that one of them always sees the other. */
struct guest_control {
	uint32_t magic, version;
	uint32_t want;			/* futex: wake after changing */
	uint32_t is;
	uint64_t heartbeat;		/* grows while the process lives */
	uint32_t stats_seq;		/* odd while stats are being written */
	uint32_t rsvd;
	char why[128];			/* of FAILED */
	struct guest_stats stats;
	/* at GUEST_CONTROL_DIRTY: one bit per page of memory */
};
_Static_assert(sizeof(struct guest_control) <= GUEST_CONTROL_DIRTY, "the bitmap starts behind the words");

static inline uint64_t guest_control_bytes(uint64_t mem_bytes)
{
	return round_up(GUEST_CONTROL_DIRTY + (mem_bytes / GUEST_PAGE + 63) / 64 * 8, GUEST_PAGE);
}
static inline uint64_t *guest_control_dirty(struct guest_control *c) { return (uint64_t *)(void *)((uint8_t *)c + GUEST_CONTROL_DIRTY); }

#endif
