/* Host Managed Live Migration: what cdq.c, track.c, migration.c, state.c, rate.c and lbastatus.c share. Device thread.
 *
 * The privilege wall: every command here is the MMC's (rows carry NVME_ROW_MMC). A controller they name is found with
 * nvme_mc_find, which never gives out an MMC: it cannot be migrated (Base 2.1, 8.1.12).
 */
#ifndef FERRY_DEVICE_NVME_HMLM_H
#define FERRY_DEVICE_NVME_HMLM_H

#include "device/nvme/nvme.h"

enum {
	NVME_CDQ_SLOT = 32,			/* bytes of an LBA Migration Queue entry, type 0 */
	NVME_STATE_MAX = 1 << 20		/* largest image we take in; ours are below 64 KiB */
};

/* Limits as Identify reports them (cfg with its defaults filled in). hmlm.c */
struct nvme_hmlm_limits { uint16_t udmqs, cdq_prps, cdq_ranges, track_ranges; uint8_t track_shift; };
struct nvme_hmlm_limits nvme_hmlm_limits(const struct nvme_subsys *);
bool nvme_hmlm_on(const struct nvme_ctrl *);			/* is an MMC of a subsystem with the facility */
struct nvme_ctrl *nvme_mc_find(struct nvme_subsys *, uint16_t cntlid);	/* NULL: none, or it is an MMC */

/* cdq.c */
void nvme_cdq_delete(struct nvme_cdq *);
struct nvme_cdq *nvme_cdq_find(struct nvme_ctrl *mmc, uint16_t cdqid);	/* NULL */
bool nvme_cdq_is_full(const struct nvme_cdq *);
/* Starts logging with a 001b entry; stops it with a last entry of that ESA (010b). Both need no room check by the caller. */
void nvme_cdq_start(struct nvme_cdq *);
void nvme_cdq_stop(struct nvme_cdq *);
/* An entry without a range, if the queue is logging: ESA 001b or 011b. Logging goes on. */
void nvme_cdq_mark(struct nvme_cdq *, unsigned esa);

/* track.c */
void nvme_track_stop(struct nvme_ctrl *mc);

/* migration.c */
void nvme_migration_clr(struct nvme_ctrl *);

/* state.c: "now" for an image of this controller */
uint64_t nvme_state_now(struct nvme_ctrl *);

#endif
