/* The NVM subsystem from outside: what configuration makes and what a program that serves it needs.
 *
 * A subsystem has namespaces (NSID = the subsystem's own numbers) and controllers: at most a few Migration Management
 * Controllers (primary) and many Migratable Controllers (secondary). A controller sees the namespaces attached to it,
 * each under the NSID its guest knows it by; for the MMC that is the subsystem's NSID. UDMQ entries carry the
 * subsystem's NSID, because their reader is the MMC's host. docs/identity.md says why.
 *
 * Thread: all calls from the device thread.
 */
#ifndef FERRY_DEVICE_NVME_SUBSYS_H
#define FERRY_DEVICE_NVME_SUBSYS_H

#include "block/block.h"
#include "device/device.h"
#include "env/env.h"

enum { NVME_NSID_MAX = 256, NVME_CTRL_MAX = 128, NVME_IOQ_MAX = 64, NVME_MSIX_VECTORS = NVME_IOQ_MAX + 1 };

struct nvme_subsys;
struct nvme_ctrl;
struct nvme_ns;

struct nvme_slow {			/* a disk has had a request for long; or (over) now gives it back, with rc */
	struct nvme_ns *ns;
	enum blk_op op;
	uint64_t lba, nlb, age_ns;	/* a flush has no blocks */
	bool over;
	int rc;
};

struct nvme_subsys_cfg {
	struct env *env;
	char nqn[224], serial[21], model[41], firmware[9];	/* empty: defaults */
	/* Limits of the migration facility; 0 = the default in brackets */
	uint16_t max_udmq;		/* MCUDMQ and MNSUDMQ [64] */
	uint16_t max_cdq_prps;		/* MCMR, MCDQPC [64]; NMCMR is 4 times that */
	uint16_t max_track_ranges;	/* CMMRTD, NMMRTD [64] */
	uint8_t max_track_shift;	/* MAXMRTG [9 = 2 MiB] */
	bool no_hmlm;			/* an ordinary NVMe subsystem */
	/* The two readings where a client could differ (docs/choices.md) */
	bool tpt_only_tail;		/* tail trigger fires only on tail == TPT */
	bool get_cdq_8_bytes;		/* Get Features 21h transfers 8 bytes, for nvme-cli's short buffer */
	/* Requests that a namespace's disk has had for slow_ns or longer are told of, once, and again when they are done. NULL or 0: not */
	void (*slow)(void *ctx, const struct nvme_slow *);
	void *slow_ctx;
	uint64_t slow_ns;
};

/* NULL and a sentence on failure. Free frees all controllers and namespaces (and closes their blk). */
struct nvme_subsys *nvme_subsys_new(const struct nvme_subsys_cfg *, struct err *);
void nvme_subsys_free(struct nvme_subsys *);
/* Finishes what backends have finished, runs every controller's deferred work. True if anything was done. */
bool nvme_subsys_poll(struct nvme_subsys *);
/* Looks for requests that are slow: to be called about once a second. Ages are up to the time between two looks too short. */
void nvme_subsys_look(struct nvme_subsys *);
/* NVM Subsystem Reset: a Controller Level Reset of every controller. */
void nvme_subsys_reset(struct nvme_subsys *);

struct nvme_ns_ids { uint8_t nguid[16], eui64[8], uuid[16]; };

/* Takes ownership of blk, also on error. nsid 0: the lowest free one. */
struct nvme_ns *nvme_ns_add(struct nvme_subsys *, uint32_t nsid, struct blk *, const struct nvme_ns_ids *, struct err *);
/* -EBUSY while commands are running on it; detaches it everywhere (guests get a Namespace Attribute Changed notice). */
int nvme_ns_remove(struct nvme_ns *, struct err *);
/* Another size, in steps: between them the program writes down the new size where it outlasts a crash, so that at no instant the
 * medium is shorter than what is written down.
 *   larger:   nvme_ns_extend, then the program's record, then nvme_ns_set_size
 *   smaller:  nvme_ns_may_resize, then the record, then nvme_ns_set_size, then nvme_ns_trim
 * may_resize: 0, -EINVAL, or -EBUSY while a controller that has it is suspended, tracked or logged, or (smaller) it is formatted. */
int nvme_ns_may_resize(struct nvme_ns *, uint64_t blocks, struct err *);
/* The medium is longer, and durably so; nobody sees it yet. -EAGAIN: poll the subsystem and call again with the same size. */
int nvme_ns_extend(struct nvme_ns *, uint64_t blocks, struct err *);
/* The extension is not waited for any longer: the medium may be longer, the namespace is not. Harmless at any time. */
void nvme_ns_extend_stop(struct nvme_ns *);
/* From now on this is its size; every controller that has it gets a notice. The medium has at least as much. */
void nvme_ns_set_size(struct nvme_ns *, uint64_t blocks);
/* Cuts the medium behind the namespace's end. -EAGAIN while commands reach beyond it; else 0 or -errno with a sentence. */
int nvme_ns_trim(struct nvme_ns *, struct err *);
uint64_t nvme_ns_blocks(const struct nvme_ns *);
/* Requests that its disk has now had for slow_ns or longer. */
void nvme_ns_slow(const struct nvme_ns *, unsigned *count, uint64_t *oldest_ns);
struct nvme_ns *nvme_ns_find(struct nvme_subsys *, uint32_t nsid); /* NULL if there is none */
uint32_t nvme_ns_nsid(const struct nvme_ns *);
const struct nvme_ns_ids *nvme_ns_ids(const struct nvme_ns *);
void nvme_ns_set_ids(struct nvme_ns *, const struct nvme_ns_ids *);
struct blk *nvme_ns_blk(struct nvme_ns *);

struct nvme_ctrl_cfg {
	bool mmc;
	uint16_t cntlid;		/* 0: lowest free (>= 1) */
	uint16_t max_ioq;		/* I/O queue pairs; 0: NVME_IOQ_MAX */
	uint16_t max_reqs;		/* commands in flight; 0: 512 */
};
struct nvme_ctrl *nvme_ctrl_new(struct nvme_subsys *, const struct nvme_ctrl_cfg *, struct err *);
/* Requests must be drained: -EBUSY otherwise (offline it and poll until it is quiet). */
int nvme_ctrl_free(struct nvme_ctrl *);
struct device *nvme_ctrl_device(struct nvme_ctrl *);
uint16_t nvme_ctrl_cntlid(const struct nvme_ctrl *); /* in the subsystem; what the guest reads may differ after a move */
/* The guest knows the namespace as guest_nsid. 0, -EEXIST, -EINVAL. */
int nvme_ctrl_attach(struct nvme_ctrl *, uint32_t guest_nsid, struct nvme_ns *);
struct nvme_ns *nvme_ctrl_attached(struct nvme_ctrl *, uint32_t guest_nsid);
/* Offline (design rule 1): no fetch, no DMA, CSTS.CFS=1, until online again. Offline -> online is a Controller Level Reset.
 * Quiet: no command in flight. */
void nvme_ctrl_set_online(struct nvme_ctrl *, bool online);
/* Held (design rule 1): a suspension ends with any reset, and whoever sits at the guest's socket can cause one. While held nothing is
 * fetched and CC.EN = 1 waits, whatever is reset meanwhile. For the time between `handed over` and the target's answer. */
void nvme_ctrl_hold(struct nvme_ctrl *, bool held);
bool nvme_ctrl_is_online(const struct nvme_ctrl *);
bool nvme_ctrl_is_quiet(const struct nvme_ctrl *);
bool nvme_ctrl_is_suspended(const struct nvme_ctrl *);

struct nvme_ctrl_stats { uint64_t reads, writes, read_blocks512, write_blocks512, errors, fetched, completed; };
void nvme_ctrl_stats(const struct nvme_ctrl *, struct nvme_ctrl_stats *);

#endif
