/* Commands made of several backend requests, one after the other: Flush of all, Write Zeroes, Verify, DSM, Copy, Format.
 *
 * nvme_req_blk sees to it that a backend that answers at once does not nest us once per piece. Uses req->w[3]; w[0..2], step
 * and idx are the command's.
 */
#ifndef FERRY_DEVICE_NVME_PIECES_H
#define FERRY_DEVICE_NVME_PIECES_H

#include "device/nvme/nvme.h"

struct nvme_pieces {
	/* Submits the next backend request with nvme_piece() and returns what that returns, or, when none is left, the
	 * command's status. */
	nvme_status (*next)(struct nvme_req *);
	/* Takes a request's result. NVME_SUCCESS: go on with the next; anything else ends the command with it. */
	nvme_status (*done)(struct nvme_req *, int rc);
	/* Called once, at the end, whatever the end is. May be NULL. */
	void (*end)(struct nvme_req *, nvme_status);
};

nvme_status nvme_pieces_run(struct nvme_req *, const struct nvme_pieces *);
nvme_status nvme_piece(struct nvme_req *, enum blk_op, uint64_t lba, uint64_t nlb, const struct iovec *, int iovcnt);

/* What the guest is told when a backend said -errno. */
nvme_status nvme_status_of_read(struct nvme_req *, int rc);
nvme_status nvme_status_of_write(struct nvme_req *, int rc);
/* Tells the logs of a change; marks it deallocated only where whole allocation units are gone (HMLM-RING-17). */
/* The part of a range that is whole allocation units: [first, last). */
void nvme_io_whole_units(const struct nvme_ns *, uint64_t slba, uint64_t nlb, uint64_t *first, uint64_t *last);
void nvme_io_changed(struct nvme_req *, uint64_t slba, uint64_t nlb, bool dealloc);
/* Must what this command writes be durable before its completion? FUA, or no volatile cache. */
bool nvme_io_write_through(const struct nvme_req *);

/* Limits of Copy, shown in Identify Namespace. ranges.c */
enum { NVME_COPY_RANGES = 128, NVME_COPY_RANGE_BLOCKS = 4096, NVME_COPY_BLOCKS = 16384 };
nvme_status nvme_dsm_size(struct nvme_req *, uint32_t *), nvme_dsm(struct nvme_req *);
nvme_status nvme_copy_size(struct nvme_req *, uint32_t *), nvme_copy(struct nvme_req *);

#endif
