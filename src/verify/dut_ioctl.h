/* Inside the passthrough back end: the call that reaches the kernel can be somebody else's (tests). */
#ifndef FERRY_VERIFY_DUT_IOCTL_H
#define FERRY_VERIFY_DUT_IOCTL_H

#include "verify/dut.h"

struct nvme_passthru_cmd;
struct dut_ioctl {
	char self;			/* what a dut_ctrl points at */
	bool may_change;
	/* 0 or the status the controller gave (SCT << 8 | SC, with flags); -errno. */
	int (*call)(void *ctx, struct nvme_passthru_cmd *);
	void *ctx;
};
void dut_ioctl_attach(struct dut *, struct dut_ioctl *);	/* borrowed */

#endif
