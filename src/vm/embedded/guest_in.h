/* Inside the embedded guest: what its files share. guest.c life and polling, guest_boot.c bringing the controller up,
 * guest_work.c choosing and sending commands, guest_done.c completions and judgement.
 */
#ifndef FERRY_VM_EMBEDDED_GUEST_IN_H
#define FERRY_VM_EMBEDDED_GUEST_IN_H

#include "host/hqueue.h"
#include "vm/embedded/guest.h"
#include "vm/embedded/history.h"

enum {
	GUEST_MAGIC = 0x65477946, GUEST_VERSION = 1,
	GUEST_ADMIN_SIZE = 16,
	GUEST_RANGES = 5,		/* Copy: destination and 4 sources; Deallocate: 4 */
	GUEST_CID_AER = 0x4000, GUEST_CID_ADMIN = 0x2000,
	GUEST_PRPS = 64			/* of one command: 512 bytes */
};

enum guest_boot_step { BOOT_RESET, BOOT_DISABLED, BOOT_ENABLED, BOOT_ID, BOOT_NS, BOOT_COUNT, BOOT_CQ, BOOT_SQ, BOOT_DONE };

struct guest_range { uint32_t block, n; };

struct guest_cmd {
	uint8_t out, op, step, overdue;
	uint16_t qid, nr;
	uint64_t sent_ns;
	struct guest_range r[GUEST_RANGES];	/* blocks this command keeps busy; r[0] is the target */
};

/* Offset 0 of guest memory. */
struct guest {
	uint32_t magic, version;
	uint64_t bytes;
	struct guest_cfg cfg;
	/* layout: offsets, computed from cfg and bytes alone */
	uint64_t cmd_off, hist_off, busy_off, prp_off, buf_off, admin_off, id_off, ring_off, ballast_gen_off, ballast_off;
	uint32_t buf_bytes, ballast;		/* bytes of each command's buffer; ballast pages */
	uint32_t area, blocks;			/* stamped blocks; stamped and protected */
	/* driver */
	uint32_t queues;			/* I/O queue pairs in use */
	struct hqueue q[GUEST_QUEUES_MAX + 1];
	uint32_t lbas;				/* LBAs of a 4 KiB block */
	uint32_t lba_shift;
	uint32_t max_blocks;			/* of one transfer, after MDTS */
	uint32_t copy_ranges, copy_range_blocks, copy_blocks;	/* MSRC, MSSRL, MCL; 0: no Copy */
	uint16_t oncs;
	uint8_t admin_out, aer_out, admin_check;	/* check: what comes is compared with what the controller said at boot */
	uint16_t admin_status, admin_cid;
	uint32_t admin_dw0;
	uint64_t admin_ns, look_ns;
	uint64_t boot_ns;
	uint32_t boot_queue;
	/* workload */
	uint64_t rng;
	int64_t tokens;
	uint64_t tokens_ns, polled_ns, busy_since_ns, scan_ns;
	uint32_t verify_at, rewrite_at, slot_hint;
	struct guest_stats st;
};

static inline struct guest *guest_of(const struct guest_host *h) { return (struct guest *)(void *)h->mem; }
static inline struct guest_cmd *guest_cmds(const struct guest_host *h) { return (void *)(h->mem + guest_of(h)->cmd_off); }
static inline struct hist *guest_hist(const struct guest_host *h) { return (void *)(h->mem + guest_of(h)->hist_off); }
static inline uint8_t *guest_buf(const struct guest_host *h, unsigned slot)
{
	return h->mem + guest_of(h)->buf_off + (uint64_t)slot * guest_of(h)->buf_bytes;
}

/* Marks pages written: after the write (guest.h says why). The atomic or is also the barrier that makes the write visible first. */
static inline void guest_mark(struct guest_host *h, const void *p, size_t len)
{
	uint64_t at = (uint64_t)((const uint8_t *)p - h->mem);

	for (uint64_t page = at / GUEST_PAGE; h->dirty && len && page <= (at + len - 1) / GUEST_PAGE; page++)
		__atomic_fetch_or(&h->dirty[page / 64], 1ull << page % 64, __ATOMIC_SEQ_CST);
}

uint64_t guest_random(struct guest *);
void guest_lost(struct guest_host *, const char *why);		/* the controller is gone */
void guest_bad(struct guest_host *, enum guest_violation, const struct guest_detail *);
/* False when the queue is full. */
bool guest_push(struct guest_host *, unsigned qid, const struct nvme_sqe *);
void guest_prp(struct guest_host *, struct nvme_sqe *, uint64_t off, uint32_t len, uint8_t *list);

/* guest_boot.c */
bool guest_boot(struct guest_host *);
bool guest_admin_send(struct guest_host *, struct nvme_sqe *, bool with_page);
void guest_admin_reap(struct guest_host *, bool *busy);

/* guest_work.c */
bool guest_work(struct guest_host *, unsigned budget);
bool guest_rewrite_back(struct guest_host *, unsigned slot);	/* second half of a rewrite */
void guest_kick(struct guest_host *);
void guest_free(struct guest_host *, struct guest_cmd *);
uint64_t guest_lba(const struct guest *, uint32_t block);

/* guest_done.c */
bool guest_collect(struct guest_host *);
void guest_overdue(struct guest_host *);

#endif
