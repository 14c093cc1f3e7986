/* What `ferry bench` measures on: a real subsystem with a Migratable Controller in this process, polled by a thread of its own, and a
 * host in the main thread that reaches it only through shared memory, as a VM does: rings, and the doorbell page that
 * device_ops.region_share gives away. No socket and no system call is on the path.
 *
 * Between brig_run and brig_halt the device belongs to its thread; everything else here is called while it is halted, and may
 * then call into the device itself.
 */
#ifndef FERRY_CMD_BENCH_RIG_H
#define FERRY_CMD_BENCH_RIG_H

#include "cmd/bench.h"
#include "device/nvme/subsys.h"
#include "host/hnvme.h"

enum { BRIG_DEPTH_MAX = 128, BRIG_DATA_MAX = 128 * 1024, BRIG_RING = 1024, BRIG_NS = 1 };

struct brig;

struct brig_cfg {
	bool null;			/* a backend that keeps nothing */
	uint64_t bytes;			/* of the namespace */
	unsigned queues;		/* I/O queue pairs of the MC; the load uses the first */
};

struct brig_job {
	unsigned depth, bytes;		/* commands out; size of each */
	unsigned write_percent;
	bool sequential;
};

struct brig *brig_new(const struct brig_cfg *, struct err *);
void brig_free(struct brig *);
/* Writes every block once, so that reads have something to read. */
int brig_fill(struct brig *, struct err *);
void brig_run(struct brig *, const struct bench *);	/* starts the device's thread */
void brig_halt(struct brig *);				/* ends it */
/* Runs the job for so long; commands completed per second, or -1 with a sentence. The device's thread runs. */
double brig_load(struct brig *, const struct brig_job *, uint64_t ns, struct err *);
/* Of the polls that did anything since brig_run: TSC ticks and commands. While halted. */
void brig_busy(const struct brig *, uint64_t *ticks, uint64_t *commands);
/* Logs and tracks (on), or no longer, what the MC changes; the manager's part of it then runs on the device's thread too. */
int brig_track(struct brig *, bool on, struct err *);
uint64_t brig_tracked(const struct brig *);		/* entries taken from the change log so far */
/* One admin command to the MMC (mmc) or the MC, device halted: polls both until it is done. 0, or -errno with a sentence. */
int brig_admin(struct brig *, bool mmc, struct hnvme_cmd *, uint32_t *dw0, struct err *);
void *brig_mmc_mem(struct brig *, size_t bytes);	/* as hnvme_mem */
uint16_t brig_cntlid(const struct brig *);
struct nvme_subsys *brig_subsys(struct brig *);

#endif
