/* One NVMe command of the mover and what became of it: prepared, submitted when there is room, polled until it is done.
 *
 * move_out and move_in keep a few of these as members; the memory must stay until mcmd_busy is false. One thread.
 */
#ifndef FERRY_MIGRATE_MCMD_H
#define FERRY_MIGRATE_MCMD_H

#include "host/hnvme.h"

enum mcmd_state { MCMD_IDLE, MCMD_WANT, MCMD_OUT, MCMD_DONE };

struct mcmd {
	struct hnvme_cmd c;
	enum mcmd_state state;
	const char *what;		/* "Suspend": for sentences */
	int rc;				/* < 0: no completion came */
	unsigned status;		/* SCT and SC, without flags */
	uint32_t dw0, dw1;
	void (*abandoned)(void *ctx);	/* set by an owner that had to go while the driver still held this: called when it is done */
	void *ctx;
};

/* A fresh SQE to be filled in by the caller; data lies in the driver's arena. */
struct nvme_sqe *mcmd_prep(struct mcmd *, const char *what, void *data, uint32_t len);
/* Submits if that is still to be done; true once the command is done (also when it could not be submitted at all). */
bool mcmd_run(struct mcmd *, struct hnvme *, unsigned qid);
bool mcmd_busy(const struct mcmd *);		/* the driver holds it */
/* Of a command that is done: 0, or -errno with a sentence. */
int mcmd_result(const struct mcmd *, struct err *);

#endif
