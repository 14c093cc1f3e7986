/* The embedded guest: a memory image that contains everything of a small computer (NVMe driver, workload, its knowledge of what it
 * wrote, statistics), and one function that runs it for a bounded step.
 *
 * The image is relocatable: offsets only, no pointers. Copied elsewhere between two guest_poll calls, it goes on there, in
 * the middle of its queues, with another port. Guest physical address = offset = IOVA.
 *
 * Users: the guest process (process.c), the simulator and tests, which call guest_poll themselves. One thread. Nothing blocks.
 *
 * Dirty pages: guest_poll marks each page it wrote to *after* the write and before it returns. A collector takes a mark
 * (atomic exchange) and copies the page then; a write that its copy missed, or caught half, is marked later and
 * so copied again; once polling has stopped all marks are there. Marking is unconditional: a "tracking on" flag could be seen too late.
 */
#ifndef FERRY_VM_EMBEDDED_GUEST_H
#define FERRY_VM_EMBEDDED_GUEST_H

#include "base/err.h"
#include "env/env.h"
#include "host/port.h"

enum { GUEST_PAGE = 4096, GUEST_QUEUES_MAX = 16, GUEST_DEPTH_MAX = 256, GUEST_BLOCKS_MAX = 32, GUEST_DETAILS = 16, GUEST_GAPS = 16 };

#define GUEST_OPS(O) /* name, text, default weight */                                          \
	O(WRITE, "write", 40) O(READ, "read", 30) O(ZEROES, "write zeroes", 4) O(DSM, "deallocate", 4) \
	O(COPY, "copy", 4) O(FLUSH, "flush", 2) O(COMPARE, "compare", 6) O(REWRITE, "rewrite", 6)      \
	O(ADMIN, "identify", 1)
#define GUEST_OP_ENUM_(name, text, w) GUEST_##name,
enum guest_op { GUEST_OPS(GUEST_OP_ENUM_) GUEST_OP_COUNT };
const char *guest_op_name(unsigned);

struct guest_cfg {
	uint32_t id;			/* goes into every stamp */
	uint32_t nsid;
	uint64_t seed;
	/* The stamped area, and a protected one (say, a file system) whose bytes are only ever written back as they were read.
	 * Bytes, multiples of 4096. protect_bytes 0: none. area_bytes 0: all from area_off to the end of the namespace is not
	 * known before the guest has booted, so it must be given. */
	uint64_t area_off, area_bytes, protect_off, protect_bytes;
	uint32_t queues, queue_size, depth;	/* 0: 4, 64, 32 (in all) */
	uint32_t max_blocks;		/* largest command in 4 KiB blocks; 0: 32 */
	uint32_t hot_blocks;		/* nine of ten commands go to the first so many blocks; 0: no hot part */
	uint32_t weight[GUEST_OP_COUNT];	/* all 0: defaults */
	uint64_t rate;			/* bytes/s of commands; 0: as fast as it goes */
	uint64_t timeout_ns;		/* a command out for longer is a violation; 0: 10 s */
	uint8_t area_zeroed;		/* the area reads as zeroes at the start: then that is checked too */
	uint8_t dsm_lax;		/* deallocated blocks need not read as zeroes */
	uint8_t rsvd[6];
};

enum guest_state { GUEST_OFF, GUEST_BOOT, GUEST_RUN, GUEST_LOST, GUEST_FAILED };
enum guest_mode { GUEST_WORK, GUEST_IDLE, GUEST_VERIFY };	/* VERIFY reads the whole area once, then IDLE */

#define GUEST_VIOLATIONS(V)                                                                    \
	V(LOST, "acknowledged data lost") V(INVENTED, "data nobody wrote") V(COMPARE, "compare failed") \
	V(IDENTITY, "the controller became another") V(MEMORY, "memory changed behind the processor") \
	V(OVERDUE, "command never completed") V(STRAY, "completion for no command")
#define GUEST_VIOLATION_ENUM_(name, text) GUEST_BAD_##name,
enum guest_violation { GUEST_VIOLATIONS(GUEST_VIOLATION_ENUM_) GUEST_BAD_COUNT };
const char *guest_violation_name(unsigned);

struct guest_detail {
	uint32_t kind, op;
	uint64_t at_ns, lba, a, b, found;	/* content ids: stamp.h */
	uint32_t block, sector;
};

struct guest_gap { uint64_t at_ns, ns; };

/* Lives in guest memory, so it moves; the process mirrors it into the control block. */
struct guest_stats {
	uint64_t done[GUEST_OP_COUNT], errors[GUEST_OP_COUNT];
	uint64_t bytes_read, bytes_written;
	uint64_t bad[GUEST_BAD_COUNT];
	uint32_t details, last_status;		/* last_status: of the last command that failed */
	struct guest_detail detail[GUEST_DETAILS];
	uint64_t blocks_checked, torn, resolved, unknown;	/* unknown: outcomes that were never told */
	uint64_t verify_passes, resets, events, pages_touched;
	/* Time between consecutive completions while something was out; and between two guest_polls (the processor stood still). */
	uint64_t max_gap_ns, max_stall_ns, last_done_ns;
	uint64_t gap_log2[48];
	uint32_t gaps;				/* of 1 ms and more; gap[] is a ring of the last of them */
	uint32_t rsvd;
	struct guest_gap gap[GUEST_GAPS];
	uint32_t state, mode, out, boot;
	uint64_t area_blocks;
	char why[128];				/* of FAILED and LOST */
};

/* The world around the image; not part of it. */
struct guest_host {
	uint8_t *mem;
	uint64_t bytes;
	int fd;				/* of mem, for the port; -1 none */
	struct port *port;
	struct env *env;
	uint64_t *dirty;		/* bit per page, atomic; NULL: nobody collects */
};

uint64_t guest_bytes_needed(const struct guest_cfg *);
/* A guest that has not booted, into zeroed memory. 0 or -EINVAL/-ENOSPC with a sentence. */
int guest_init(struct guest_host *, const struct guest_cfg *, struct err *);
/* Is this a guest we can run? For memory that came from elsewhere. 0 or -EPROTO with a sentence. */
int guest_check(const struct guest_host *, struct err *);
/* Maps its memory at the port. Once for each port. 0 or -errno. */
int guest_attach(struct guest_host *, struct err *);
/* One step: collects completions, sends at most `budget` commands. True if anything was done. */
bool guest_poll(struct guest_host *, unsigned budget);
/* After LOST, with a new port (attached): boots the controller again; what was out stays unknown and is checked. */
void guest_reattach(struct guest_host *);
void guest_set_mode(struct guest_host *, enum guest_mode);
void guest_set_rate(struct guest_host *, uint64_t bytes_per_s);
const struct guest_stats *guest_stats(const struct guest_host *);
uint64_t guest_violations(const struct guest_stats *); /* all kinds */

#endif
