/* The migration commands and a little I/O as calls for tests: each builds one command from the field table, sends it, and judges its status
 * by the set it is given. Nothing is hidden: whoever needs another bit builds the SQE with vop_init and vf_put.
 */
#ifndef FERRY_VERIFY_VH_H
#define FERRY_VERIFY_VH_H

#include "verify/fields.h"
#include "verify/vt.h"

/* The host's end of a user data migration queue. */
struct vring {
	struct vctl *mmc;
	struct vmem m;
	uint16_t id;
	uint32_t slots, head;
	bool phase;
	uint64_t taken;
};
struct ventry { uint32_t nsid; uint64_t slba, nlb; unsigned esa, lbacir; bool dealloc; uint8_t raw[32]; };
enum { ESA_NONE = 0, ESA_FIRST = 1, ESA_STOPPED = 2, ESA_SUSPENDED = 3, ESA_FULL = 7 };

unsigned vh_cdq(struct vctl *mmc, uint16_t cntlid, uint32_t slots, struct vring *, const uint16_t *want);
unsigned vh_cdq_delete(struct vctl *mmc, uint16_t id, const uint16_t *want);
unsigned vh_log(struct vctl *mmc, uint16_t id, unsigned lact, const uint16_t *want);
unsigned vh_set_cdq(struct vctl *mmc, uint16_t id, uint32_t hp, bool etpt, uint32_t tpt, const uint16_t *want);
unsigned vh_get_cdq(struct vctl *mmc, uint16_t id, uint32_t *hp, uint32_t *tpt, bool *etpt, const uint16_t *want);
unsigned vh_suspend(struct vctl *mmc, uint16_t cntlid, unsigned stype, bool dudmq, const uint16_t *want);
unsigned vh_resume(struct vctl *mmc, uint16_t cntlid, const uint16_t *want);
unsigned vh_get(struct vctl *mmc, uint16_t cntlid, unsigned csvi, unsigned csuuidi, uint64_t off, const struct vmem *, uint32_t len,
		const uint16_t *want);
unsigned vh_set(struct vctl *mmc, uint16_t cntlid, unsigned seqind, unsigned csvi, unsigned csuuidi, uint64_t off, const struct vmem *,
		uint32_t dwords, const uint16_t *want);
struct vrange { uint64_t addr; uint32_t len; /* granules */ };
unsigned vh_track(struct vctl *mmc, uint16_t cntlid, bool on, unsigned rmrtg, const struct vrange *, unsigned n, const uint16_t *want);
unsigned vh_receive(struct vctl *mmc, uint16_t cntlid, const struct vmem *, uint32_t len, const uint16_t *want);
unsigned vh_feature(struct vctl *, bool set, unsigned fid, uint32_t cdw11, uint32_t cdw12, const uint16_t *want);
unsigned vh_identify(struct vctl *, unsigned cns, uint32_t nsid, unsigned cntid, unsigned csi, struct vmem *out, const uint16_t *want);

/* Next entry if it is there; each is judged by the rules that hold for every entry (reserved bits, codes, what must be 0). */
bool vh_next(struct vring *, struct ventry *);
void vh_await(struct vring *, struct ventry *);			/* waits for one; fails when none comes */
void vh_await_esa(struct vring *, unsigned esa, struct ventry *);	/* reads on until this one */
void vh_told(struct vring *);					/* FID 21h: everything read is given back */
/* Reads entries until every block of the range is named, then returns how many entries that took. dealloc: NULL, or gets whether
 * all of it was last reported as deallocated. */
unsigned vh_covered(struct vring *, uint32_t nsid, uint64_t slba, uint64_t nlb, bool *dealloc);
void vh_expect_silent_ring(struct vring *);			/* nothing is posted while we watch */

/* A queue for this controller with logging started; the start marker is not waited for. */
struct vring vh_logging(struct vctl *mmc, struct vctl *mc, uint32_t slots);
uint32_t vh_visible(const struct vring *);			/* entries posted and not read */
void vh_await_visible(struct vring *, uint32_t n);
/* n writes of one block, two blocks apart from `from` on: nothing that could be merged into fewer entries. */
void vh_scatter(struct vctl *mc, unsigned qid, uint64_t from, unsigned n);
struct vcmd *vh_aer(struct vctl *);
bool vh_is_done(void *cmd);					/* for vt_until */
bool vh_done_soon(struct vt *, struct vcmd *);			/* within the time for what must not happen */

/* What Track Receive reports of a controller's memory, page by page; asks until MTR=0, with a buffer of `bytes`. */
struct vdirty { uint8_t page[8192]; unsigned pages, reports, descriptors; bool susp; };
void vh_dirty(struct vctl *mmc, struct vctl *mc, uint32_t bytes, struct vdirty *);
void vh_track_all(struct vctl *mmc, struct vctl *mc);		/* the whole arena of mc, finest granularity */
void vh_expect_dirty(struct vt *, const struct vdirty *, const struct vctl *, const struct vmem *, const char *what);

/* The whole state of a controller, read as clients do: head first. Length in bytes. */
uint32_t vh_image(struct vctl *mmc, struct vctl *mc, unsigned csvi, unsigned csuuidi, struct vmem *out);
unsigned vh_uuids(struct vctl *mmc);				/* vendor formats listed by CNS 20h */
struct nvme_state_sq *vh_state_sq(const struct vmem *image, unsigned i);
struct nvme_state_cq *vh_state_cq(const struct vmem *image, unsigned i);
/* The queues, memory and commands that are out go with the state: from now on they are `to`'s. */
void vh_adopt(struct vctl *to, struct vctl *from);		/* memory too, but for the admin queues */

/* A vendor's part may change for good what a controller calls itself: the state of one that is to be overwritten is kept, and put back. */
void vsv_keep_own(struct vt *, struct vctl *);
void vsv_put_back(struct vt *, struct vctl *);

/* ---- I/O. Data carries its seed and place, so that whoever reads it knows which write it was. */
void vh_fill(struct vmem *, uint32_t len, uint64_t seed);
bool vh_same(const struct vmem *, uint32_t len, uint64_t seed);
void vh_rw_sqe(struct nvme_sqe *, unsigned opc, uint32_t nsid, uint64_t slba, uint32_t nlb);
unsigned vh_write(struct vctl *, unsigned qid, uint32_t nsid, uint64_t slba, uint32_t nlb, uint64_t seed, const uint16_t *want);
void vh_read_is(struct vctl *, unsigned qid, uint32_t nsid, uint64_t slba, uint32_t nlb, uint64_t seed);	/* seed 0: zeroes */
unsigned vh_io(struct vctl *, unsigned qid, unsigned opc, uint32_t nsid, uint64_t slba, uint32_t nlb, const uint16_t *want);
struct vspan { uint64_t slba; uint32_t nlb; };
unsigned vh_dsm(struct vctl *, unsigned qid, uint32_t nsid, const struct vspan *, unsigned n, const uint16_t *want);
unsigned vh_copy(struct vctl *, unsigned qid, uint32_t nsid, uint64_t to, const struct vspan *, unsigned n, const uint16_t *want);
static inline uint32_t vh_lba(const struct vctl *c) { return c->ns[0].lba; }

#endif
