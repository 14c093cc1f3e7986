/* Inside the driver: what hnvme.c (commands) and hnvme_start.c (bringing the controller up) share. */
#ifndef FERRY_HOST_HNVME_IN_H
#define FERRY_HOST_HNVME_IN_H

#include "host/hnvme.h"

enum {
	HNVME_PAGE = 4096,
	HNVME_IOQ_MAX = 64,
	HNVME_PRPS = 64,		/* entries of a command's PRP list: 512 bytes, so that 8 lists share a page and none crosses one */
	HNVME_XFER_MAX = HNVME_PRPS * HNVME_PAGE,
	HNVME_AERS = 4
};

enum hnvme_state { HNVME_NEW, HNVME_STARTING, HNVME_READY, HNVME_DEAD };

struct hnvme_queue {
	struct hqueue q;
	struct hnvme_cmd **by_cid;	/* size entries; NULL: free */
	uint16_t *cids;			/* stack of free CIDs */
	unsigned free;
	uint8_t *prps;			/* a PRP list for each CID */
};

struct hnvme {
	struct hnvme_cfg cfg;
	struct port *port;
	enum hnvme_state state;
	int at;				/* step of hnvme_start */
	uint64_t deadline_ns, scan_ns;
	uint64_t cap;
	uint8_t *mem;			/* arena; IOVA = address */
	uint64_t pages;
	uint8_t *used;			/* one byte per page */
	bool mapped;
	struct hnvme_queue queue[HNVME_IOQ_MAX + 1];
	unsigned io_queues, queues_made, want;
	struct nvme_id_ctrl id;
	uint32_t max_transfer;
	/* start's own command */
	struct hnvme_cmd boot;
	bool boot_out;
	int boot_rc;
	struct nvme_cqe boot_cqe;
	void *boot_page;
	/* events */
	struct hnvme_cmd aer[HNVME_AERS];
	void (*event)(void *ctx, uint32_t dw0, uint32_t dw1);
	void *event_ctx;
	uint64_t strays;		/* completions that belong to no command */
	struct err why;			/* of HNVME_DEAD */
	bool reviving;			/* started once before, and given up */
	unsigned holds;
	uint64_t revive_ns;		/* not before */
};

int hnvme_queue_make(struct hnvme *, unsigned qid, uint32_t size);	/* 0, -ENOMEM */
void hnvme_give_up(struct hnvme *, int rc);				/* everything out completes with rc; nothing more is taken */
void hnvme_arm_events(struct hnvme *);
bool hnvme_revive(struct hnvme *);					/* true if anything was done */
static inline uint64_t hnvme_iova(const void *p) { return (uint64_t)(uintptr_t)p; }

#endif
