/* `ferry verify --backend inprocess`: a subsystem of our own in this process, handed to the verifier as ports. The verifier knows no more
 * of it than of a stranger's; only this file knows what stands behind.
 */
#ifndef FERRY_CMD_VERIFY_RIG_H
#define FERRY_CMD_VERIFY_RIG_H

#include "verify/dut.h"

struct verify_rig_cfg {
	unsigned mcs;			/* 0: 3 */
	bool by_message;		/* MCs reach memory access by access, so that faults can be put there; MMCs do not */
	bool no_hmlm;			/* an ordinary subsystem: no MMC */
	bool far;			/* a second subsystem beside it: one MMC, one MC, fewer queues, a smaller namespace */
	uint16_t max_udmq;		/* 0: one less than there are MCs, so that the limit can be met */
};
/* Fills the DUT; dut_close ends it. 0 or -errno with a sentence. */
int verify_rig_open(struct dut *, const struct verify_rig_cfg *, struct err *);

#endif
