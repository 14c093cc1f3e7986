/* The passthrough back end: a kernel's /dev/nvmeX. It carries a data buffer, not PRPs, and queues stay the kernel's, so it is good for
 * statuses and identify data only. What would let the controller write into memory after the command (CDQ create), take the kernel's
 * queues or events away, or change media is never sent; what changes the state of controllers only when it was asked for twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "verify/dut_ioctl.h"
#include "verify/fields.h"

enum { TIMEOUT_MS = 10000 };
enum level { NEVER, CHANGES, READS };

/* Anything that is not listed is never sent. */
static enum level level_of(const struct nvme_sqe *s)
{
	unsigned sel = le32_get(s->cdw10) & 0xff;

	switch (s->opc) {
	case NVME_OP_IDENTIFY:
	case NVME_OP_GET_FEATURES:
	case NVME_OP_GET_LBA_STATUS:
	case NVME_OP_MIGRATION_RECEIVE: return READS;
	case NVME_OP_GET_LOG: return sel == NVME_LID_EFFECTS || sel == NVME_LID_FID_EFFECTS || sel == NVME_LID_SUPPORTED ? READS : NEVER;
	case NVME_OP_TRACK_RECEIVE: /* what is reported is gone */
	case NVME_OP_TRACK_SEND:
	case NVME_OP_MIGRATION_SEND: return CHANGES;
	case NVME_OP_SET_FEATURES: return sel == NVME_FID_CDQ ? CHANGES : NEVER;
	case NVME_OP_CDQ: return sel == 1 ? CHANGES : NEVER; /* create: the controller would write into memory long after */
	default: return NEVER;
	}
}

static int pass(struct dut_ctrl *c, const struct nvme_sqe *s, void *data, uint32_t len, struct nvme_cqe *cqe)
{
	struct dut_ioctl *d = CONTAINER_OF(c->pass_ctx, struct dut_ioctl, self);
	struct nvme_passthru_cmd p = { .opcode = s->opc, .nsid = le32_get(s->nsid), .addr = (uintptr_t)data, .data_len = data ? len : 0,
				       .cdw2 = le32_get(s->cdw2), .cdw3 = le32_get(s->cdw3), .cdw10 = le32_get(s->cdw10),
				       .cdw11 = le32_get(s->cdw11), .cdw12 = le32_get(s->cdw12), .cdw13 = le32_get(s->cdw13),
				       .cdw14 = le32_get(s->cdw14), .cdw15 = le32_get(s->cdw15), .timeout_ms = TIMEOUT_MS };
	enum level l = level_of(s);
	int rc;

	if (l == NEVER || (l == CHANGES && !d->may_change))
		return -EPERM;
	rc = d->call(d->ctx, &p);
	if (rc < 0)
		return rc;
	memset(cqe, 0, sizeof(*cqe));
	cqe->dw0 = le32_of(p.result);
	cqe->status = le16_of((uint16_t)((unsigned)rc << 1));
	return 0;
}

void dut_ioctl_attach(struct dut *dut, struct dut_ioctl *d)
{
	d->self = 0;
	*dut = (struct dut){ .backend = "ioctl", .ctrls = 1, .caps = d->may_change ? DUT_DESTROY : 0 };
	dut->ctrl[0].pass = pass;
	dut->ctrl[0].pass_ctx = &d->self;
	snprintf(dut->ctrl[0].name, sizeof(dut->ctrl[0].name), "passthrough");
	snprintf(dut->about, sizeof(dut->about), "admin passthrough%s", d->may_change ? ", changes allowed" : ", reading only");
}

/* ---- the real thing */

struct device { struct dut_ioctl d; int fd; };
static struct device device_; /* one per process */

static int kernel(void *ctx, struct nvme_passthru_cmd *p)
{
	int rc = ioctl(((struct device *)ctx)->fd, NVME_IOCTL_ADMIN_CMD, p);

	return rc < 0 ? -errno : rc;
}

static void device_close(struct dut *d)
{
	(void)d;
	close(device_.fd);
}

int dut_ioctl_open(struct dut *d, const char *path, const char *twice, bool yes_destroy, struct err *err)
{
	struct stat st;

	if (!path)
		return err_set(err, -EINVAL, "say which device: --device /dev/nvmeX");
	if ((twice || yes_destroy) && (!twice || !yes_destroy || strcmp(path, twice)))
		return err_set(err, -EINVAL, "to allow changes name the device twice (--device %s --device-again %s) and give --yes-destroy", path, path);
	device_ = (struct device){ .d = { .may_change = yes_destroy, .call = kernel, .ctx = &device_ } };
	device_.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (device_.fd < 0)
		return err_set(err, -errno, "%s cannot be opened: %s", path, strerror(errno));
	if (fstat(device_.fd, &st) || !S_ISCHR(st.st_mode)) {
		close(device_.fd);
		return err_set(err, -ENOTTY, "%s is not a character device of an NVMe controller", path);
	}
	dut_ioctl_attach(d, &device_.d);
	d->close = device_close;
	return 0;
}
