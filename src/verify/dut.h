/* The device under test as the verifier sees it: some controllers behind ports, and what the way to them can carry.
 *
 * Back ends make one: sockets of any vfio-user server (dut_vuser.c), a kernel's admin passthrough (dut_ioctl.c), or the program hands
 * in ports to a device of its own process (cmd/verify_rig.c). Nothing here knows whose device it is. One thread.
 */
#ifndef FERRY_VERIFY_DUT_H
#define FERRY_VERIFY_DUT_H

#include "host/port.h"
#include "spec/nvme.h"

struct inj;
enum { DUT_CTRLS = 8 };

/* What a test may need; new ones at the end, because stores keep their bits. The first row comes from the back end, the others from looking at the controllers (vt_discover).
 * bit, name, what its absence means */
#define DUT_CAPS(C)                                                                                             \
	C(MEM, "mem", "the back end cannot give the controller queues and PRPs of our own")                    \
	C(REGS, "regs", "the back end has no access to properties")                                            \
	C(FLR, "flr", "the back end cannot reset a function")                                                  \
	C(IRQ, "irq", "the back end does not show interrupts")                                                 \
	C(ACCESS, "access", "the back end does not show the controller's accesses to memory (inprocess: --by-message)") \
	C(DESTROY, "destroy", "this would destroy data, and --yes-destroy was not given")                      \
	C(MMC, "mmc", "no controller reports OACS.HMLMS=1: Host Managed Live Migration is not supported")      \
	C(MC, "mc", "no migratable controller can be reached")                                                 \
	C(MC2, "mc2", "fewer than two migratable controllers can be reached")                                  \
	C(MMC2, "mmc2", "fewer than two migration management controllers can be reached")                      \
	C(NS, "ns", "the migratable controller has no namespace attached")                                     \
	C(NS_MMC, "ns_mmc", "the MMC cannot see the migratable controller's namespace")                        \
	C(SHARED, "shared", "no namespace is attached to two migratable controllers")                          \
	C(TUDCS, "tudcs", "TRATTR.TUDCS=0: user data changes are not logged")                                  \
	C(THMCS, "thmcs", "TRATTR.THMCS=0: memory changes are not tracked")                                    \
	C(MRTLL, "mrtll", "TRATTR.MRTLL=0: range lengths are not restricted")                                  \
	C(RALBAS, "ralbas", "AOCS.RALBAS=0: allocated blocks are not reported")                                \
	C(DSM, "dsm", "ONCS: no Dataset Management")                                                           \
	C(WZ, "wz", "ONCS: no Write Zeroes")                                                                   \
	C(WU, "wu", "ONCS: no Write Uncorrectable")                                                            \
	C(COPY, "copy", "ONCS: no Copy")                                                                       \
	C(COMPARE, "compare", "ONCS: no Compare")                                                              \
	C(FORMAT, "format", "OACS: no Format NVM")                                                             \
	C(SANITIZE, "sanitize", "SANICAP: no Sanitize")                                                        \
	C(NSSR, "nssr", "CAP.NSSRS=0: no NVM Subsystem Reset")                                                 \
	C(CMB, "cmb", "CAP.CMBS=0: no Controller Memory Buffer")                                               \
	C(MINMRTG, "minmrtg", "MINMRTG=0: there is no granularity below the least")                           \
	C(LIMIT, "limit", "MCUDMQ: the controller has as many data queues as there are MCs: it never runs out") \
	C(SGL, "sgl", "SGLS: no SGLs")                                                                         \
	C(BUCKET, "bucket", "SGLS bit 16: no bit buckets")                                                     \
	C(FUSES, "fuses", "FUSES: Compare and Write cannot be fused")                                                 \
	C(FAR, "far", "no second subsystem with an MMC and an MC of its own can be reached")                  \
	C(MEDIA, "media", "the back end cannot make a medium fail (inprocess can)")                            \
	C(RESIZE, "resize", "the back end cannot give a namespace another size (inprocess can)")               \
	C(PI, "pi", "no namespace formatted with protection information, or one that may be formatted so")     \
	C(RIGHTS, "rights", "the back end cannot give memory that may only be read or only be written")
#define DUT_CAP_BIT_(name, text, why) DUT_BIT_##name,
enum { DUT_CAPS(DUT_CAP_BIT_) DUT_CAP_COUNT };
_Static_assert(DUT_CAP_COUNT <= 63, "a store keeps them in a signed number of 64 bits");
#define DUT_CAP_ENUM_(name, text, why) DUT_##name = 1ull << DUT_BIT_##name,
enum dut_cap { DUT_CAPS(DUT_CAP_ENUM_) };
const char *dut_cap_name(unsigned bit);
const char *dut_cap_why(unsigned bit);	/* why a test that needs it is skipped */

struct dut_ctrl {
	char name[24];			/* in messages: "socket vm1.sock" */
	struct port *port;		/* NULL: passthrough only */
	/* Admin command without queues of our own: 0 and *cqe (DW0 and status only), or -errno. NULL: the port does it. */
	void *pass_ctx;
	int (*pass)(struct dut_ctrl *, const struct nvme_sqe *, void *data, uint32_t len, struct nvme_cqe *);
	/* Interrupts of that vector since last asked. NULL: cannot be seen. */
	uint64_t (*irqs)(struct dut_ctrl *, unsigned vector);
	/* The client goes away without a word; the next one has a new port, and memory, interrupts and state are as at the beginning. 0 or
	 * -errno with a sentence. NULL: cannot be. */
	int (*again)(struct dut_ctrl *, struct err *);
	char path[108];			/* the back end's own */
	int fd;				/* the back end's own */
	int irq_fd[32];
	unsigned irq_fds;
};

/* What a medium cannot do, on purpose. */
struct dut_media {
	uint64_t slba, nlb;		/* requests that touch these blocks fail; flushes fail wherever they are */
	bool read, change, flush;	/* change: Write, Write Zeroes, deallocation */
	bool half;			/* a Write that fails has written its first half */
};

struct dut {
	const char *backend;
	char about[160];		/* for reports */
	struct dut_ctrl ctrl[DUT_CTRLS];
	unsigned ctrls;
	uint64_t caps;			/* DUT_MEM .. DUT_DESTROY, DUT_MEDIA */
	struct inj *inj;		/* faults on purpose (inject.h); NULL: none. The runner's */
	/* From now on that controller's namespace is like this (NULL: healthy). 0 or -errno. NULL: cannot be. */
	int (*media)(struct dut *, unsigned ctrl, uint32_t nsid, const struct dut_media *);
	/* That namespace gets another size, as an administrator would do it. 0 or -errno. NULL: cannot be. */
	int (*resize)(struct dut *, unsigned ctrl, uint32_t nsid, uint64_t blocks);
	bool (*pump)(void *ctx);	/* runs a device of our own process once; NULL: it runs by itself */
	void *ctx;
	void (*close)(struct dut *);	/* frees what the back end took */
};

/* Sockets: any order, MMC and MCs are told apart by Identify. 0 or -errno with a sentence; then nothing is held. */
int dut_vuser_open(struct dut *, const char *const *paths, unsigned count, struct err *);
/* A character device (/dev/nvmeX). `twice` must be the same name again for anything that changes the device; NULL: read only. */
int dut_ioctl_open(struct dut *, const char *path, const char *twice, bool yes_destroy, struct err *);
void dut_close(struct dut *);

#endif
