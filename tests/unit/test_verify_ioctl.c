/* The passthrough back end against a pretended kernel: what reaches it, what never does, and what comes back. */
#include "t.h"

#include <errno.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <stdlib.h>

#include "verify/dut_ioctl.h"
#include "verify/run.h"

struct kernel { unsigned calls, by_opc[256]; bool gone, mmc; };

static int call(void *ctx, struct nvme_passthru_cmd *p)
{
	struct kernel *k = ctx;
	uint8_t *b = (uint8_t *)(uintptr_t)p->addr;

	k->calls++;
	k->by_opc[p->opcode]++;
	if (k->gone)
		return -ENODEV;
	if (p->opcode == NVME_OP_IDENTIFY && (p->cdw10 & 0xff) == NVME_CNS_CTRL) {
		struct nvme_id_ctrl id = { .cntlid = le16_of(7), .oacs = le16_of(k->mmc ? NVME_OACS_HMLM : 0), .trattr = 3, .minmrtg = 0,
					   .maxmrtg = 9, .mcudmq = le16_of(1), .mnsudmq = le16_of(1), .mcmr = le16_of(4), .nmcmr = le16_of(4) };

		memcpy(b, &id, p->data_len < sizeof(id) ? p->data_len : sizeof(id));
		return 0;
	}
	if (p->opcode == NVME_OP_IDENTIFY && (p->cdw10 & 0xff) == 0x20 && k->mmc) {
		memset(b, 0, p->data_len);
		b[0] = 1;
		return 0;
	}
	if (p->opcode == NVME_OP_IDENTIFY && (p->cdw10 & 0xff) == NVME_CNS_ACTIVE_NS) {
		memset(b, 0, p->data_len);
		return 0;
	}
	if (p->opcode == NVME_OP_MIGRATION_RECEIVE) {
		p->result = 0x1234;
		return 0x4000 | 0x11f; /* with DNR */
	}
	return 0x4002;
}

static struct kernel k;
static struct dut_ioctl d;
static struct dut dut;

static int send(unsigned opc, unsigned cdw10, struct nvme_cqe *c)
{
	struct nvme_sqe s = { .opc = (uint8_t)opc, .cdw10 = le32_of(cdw10) };
	uint8_t data[4096];

	return dut.ctrl[0].pass(&dut.ctrl[0], &s, data, sizeof(data), c);
}

static void open_one(bool may_change)
{
	memset(&k, 0, sizeof(k));
	k.mmc = true;
	d = (struct dut_ioctl){ .may_change = may_change, .call = call, .ctx = &k };
	dut_ioctl_attach(&dut, &d);
}

TEST(reading_only)
{
	static const struct { unsigned opc, cdw10; } no[] = {
		{ 0x41, 0 }, { 0x41, 1 }, { 0x41, 2 }, { 0x3d, 0 }, { 0x3d, 1 }, { 0x3e, 0 }, { 0x45, 0 }, { 0x45, 1 }, { 0x09, 0x21 }
	};
	struct nvme_cqe c;

	open_one(false);
	EXPECT(!(dut.caps & DUT_DESTROY));
	for (unsigned i = 0; i < ARRAY_LEN(no); i++)
		EXPECT_EQ(send(no[i].opc, no[i].cdw10, &c), -EPERM);
	EXPECT_EQ(k.calls, 0);
	EXPECT_EQ(send(0x06, 1, &c), 0);
	EXPECT_EQ(k.calls, 1);
}

TEST(what_is_never_sent)
{
	static const struct { unsigned opc, cdw10; } no[] = {
		{ 0x45, 0 }, { 0x45, 0xc0 }, { 0x00, 1 }, { 0x01, 1 }, { 0x04, 1 }, { 0x05, 1 }, { 0x0c, 0 }, { 0x80, 0 }, { 0x84, 2 }, { 0x10, 0 },
		{ 0x11, 0 }, { 0x0d, 0 }, { 0x15, 0 }, { 0x1c, 7 }, { 0x7c, 0 }, { 0x09, 7 }, { 0x02, 2 }, { 0xc1, 0 }
	};
	struct nvme_cqe c;

	open_one(true);
	for (unsigned i = 0; i < ARRAY_LEN(no); i++)
		EXPECT_EQ(send(no[i].opc, no[i].cdw10, &c), -EPERM);
	EXPECT_EQ(k.calls, 0);
	EXPECT_EQ(send(0x45, 1, &c), 0); /* delete */
	EXPECT_EQ(send(0x41, 0, &c), 0);
	EXPECT_EQ(k.calls, 2);
}

TEST(status_and_result)
{
	struct nvme_cqe c;

	open_one(false);
	EXPECT_EQ(send(0x42, 0, &c), 0);
	EXPECT_EQ(nvme_cqe_status(&c), 0x11f);
	EXPECT_EQ(le32_get(c.dw0), 0x1234);
	k.gone = true;
	EXPECT_EQ(send(0x42, 0, &c), -ENODEV);
}

/* What runs is what needs no queues of ours; everything else is skipped with a reason. */
TEST(a_run)
{
	struct vrun_cfg cfg = { .seed = 1 };
	struct err err = { "" };
	struct vrun r;
	unsigned ran = 0;

	open_one(false);
	EXPECT_EQ(vrun_run(&r, &dut, &cfg, &err), 0);
	for (unsigned i = 0; i < r.results; i++) {
		EXPECT(r.result[i].verdict != VT_ERROR);
		EXPECT(r.result[i].verdict != VT_SKIP || r.result[i].why[0]);
		ran += r.result[i].verdict == VT_PASS || r.result[i].verdict == VT_FAIL;
		if (!strcmp(r.result[i].test->id, "ID-07"))
			EXPECT_EQ(r.result[i].verdict, VT_PASS);
		if (!strcmp(r.result[i].test->id, "CQ-01"))
			EXPECT_EQ(r.result[i].verdict, VT_SKIP);
	}
	EXPECT(ran >= 6);
	EXPECT_EQ(k.by_opc[0x45] + k.by_opc[0x41] + k.by_opc[0x3d] + k.by_opc[0x3e] + k.by_opc[0x09], 0);
	vrun_free(&r);
}

TEST(a_device_that_vanishes)
{
	struct vrun_cfg cfg = { .seed = 1 };
	struct err err = { "" };
	struct vrun r;

	open_one(false);
	k.gone = true;
	EXPECT(vrun_run(&r, &dut, &cfg, &err) < 0);
	EXPECT(strlen(err.text) > 0);
	vrun_free(&r);
}

TEST(twice_or_not_at_all)
{
	struct err err;
	struct dut x;

	EXPECT_EQ(dut_ioctl_open(&x, "/dev/null", NULL, true, &err), -EINVAL);
	EXPECT_EQ(dut_ioctl_open(&x, "/dev/null", "/dev/zero", true, &err), -EINVAL);
	EXPECT_EQ(dut_ioctl_open(&x, "/dev/null", "/dev/null", false, &err), -EINVAL);
	EXPECT_EQ(dut_ioctl_open(&x, "/etc/passwd", NULL, false, &err), -ENOTTY);
	EXPECT(dut_ioctl_open(&x, "/nothing/here", NULL, false, &err) < 0);
}
