/* A namespace gets another size while controllers have it: what hosts see, who is told, and in which order things happen. */
#include "cmds.h"
#include "hmlm.h"

enum { OLD = 8192, NEW = 3 * OLD };

static uint8_t page[4096];
static uint32_t dw(unsigned at) { uint32_t v; memcpy(&v, page + at, 4); return v; }
static uint64_t qw(unsigned at) { uint64_t v; memcpy(&v, page + at, 8); return v; }

/* NVM Command Set, Identify Namespace (CNS 00h): NSZE 7:0, NCAP 15:8, NUSE 23:16. */
static uint64_t size_seen(struct rig *r, struct nvme_ctrl *c, uint32_t nsid)
{
	EXPECT_STATUS(cmd_identify(r, c, 0, nsid, 0, 0, page), NVME_SUCCESS);
	EXPECT_EQ(qw(8), qw(0));
	EXPECT(qw(16) <= qw(8));
	return qw(0);
}

/* The host's view: from one moment to the next the blocks are there, are zero and keep what is written. Before, they are not. */
TEST(larger)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);

	EXPECT_STATUS(cmd_write(&r, r.mc, 1, OLD - 1, 1, 0x11), NVME_SUCCESS);
	spy_last->hold = 1 << BLK_FLUSH;
	for (unsigned i = 0; i < 5; i++) {
		EXPECT_EQ(nvme_ns_extend(ns, NEW, &r.err), -EAGAIN);
		rig_settle(&r);
	}
	EXPECT_EQ(size_seen(&r, r.mc, 1), OLD);
	EXPECT_STATUS(cmd_write(&r, r.mc, 1, OLD, 1, 0x22), NVME_LBA_OUT_OF_RANGE);
	EXPECT_EQ(nvme_ns_remove(ns, &r.err), -EBUSY);
	spy_release(spy_last);
	EXPECT_EQ(nvme_ns_extend(ns, NEW, &r.err), 0);
	EXPECT_EQ(size_seen(&r, r.mc, 1), OLD);
	nvme_ns_set_size(ns, NEW);
	EXPECT_EQ(size_seen(&r, r.mc, 1), NEW);
	EXPECT(cmd_holds(&r, r.mc, 1, OLD - 1, 1, 0x11));
	EXPECT(cmd_holds(&r, r.mc, 1, OLD, 8, 0));
	EXPECT_STATUS(cmd_write(&r, r.mc, 1, NEW - 1, 1, 0x33), NVME_SUCCESS);
	EXPECT(cmd_holds(&r, r.mc, 1, NEW - 1, 1, 0x33));
	EXPECT_STATUS(cmd_write(&r, r.mc, 1, NEW - 1, 2, 0x33), NVME_LBA_OUT_OF_RANGE);
}

/* A disk that hangs is not waited for: the namespace keeps its size, and the sync that comes late is not taken for the next one's. */
TEST(larger_given_up)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);

	nvme_ns_extend_stop(ns); /* nothing is under way */
	spy_last->hold = 1 << BLK_FLUSH;
	EXPECT_EQ(nvme_ns_extend(ns, NEW, &r.err), -EAGAIN);
	rig_settle(&r);
	nvme_ns_extend_stop(ns);
	EXPECT_EQ(size_seen(&r, r.mc, 1), OLD);
	EXPECT_EQ(nvme_ns_remove(ns, &r.err), -EBUSY);
	EXPECT_EQ(nvme_ns_extend(ns, 2 * NEW, &r.err), -EAGAIN); /* the disk still has it */
	spy_release(spy_last);
	EXPECT_EQ(nvme_ns_extend(ns, 2 * NEW, &r.err), -EAGAIN);
	EXPECT_EQ(nvme_ns_blk(ns)->blocks, 2 * NEW);
	rig_settle(&r);
	EXPECT_EQ(nvme_ns_extend(ns, 2 * NEW, &r.err), 0);
	nvme_ns_set_size(ns, 2 * NEW);
	EXPECT_EQ(size_seen(&r, r.mc, 1), 2 * NEW);
}

/* A guest under load never has a moment without commands: it must not be able to keep its disk from growing. */
TEST(larger_while_commands_are_out)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, OLD - 8, 8);
	uint8_t *p = memset(rig_alloc(&r, r.mc, 4096), 0x44, 4096);
	uint16_t cid;

	spy_last->hold = 1 << BLK_WRITE;
	rig_data(&r, r.mc, &s, p, 4096);
	cid = rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	EXPECT_EQ(rig_resize(&r, 1, NEW), 0);
	EXPECT_EQ(size_seen(&r, r.mc, 1), NEW);
	spy_release(spy_last);
	EXPECT_STATUS(rig_wait(&r, r.mc, 1, cid), NVME_SUCCESS);
	EXPECT(cmd_holds(&r, r.mc, 1, OLD - 8, 8, 0x44));
	EXPECT(cmd_holds(&r, r.mc, 1, OLD, 8, 0));
}

/* Nobody sees the rest from the first moment on, but the medium keeps it until the command that reaches into it is over: the write
 * of a cut file would make it longer again. What was there does not come back with the blocks. */
TEST(smaller)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);
	struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, OLD - 8, 8);
	uint8_t *p = memset(rig_alloc(&r, r.mc, 4096), 0x55, 4096);
	uint16_t cid;

	EXPECT_STATUS(cmd_write(&r, r.mc, 1, 99, 2, 0x66), NVME_SUCCESS);
	spy_last->hold = 1 << BLK_WRITE;
	rig_data(&r, r.mc, &s, p, 4096);
	cid = rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	EXPECT_EQ(nvme_ns_may_resize(ns, 100, &r.err), 0);
	nvme_ns_set_size(ns, 100);
	EXPECT_EQ(size_seen(&r, r.mc, 1), 100);
	EXPECT_EQ(nvme_ns_trim(ns, &r.err), -EAGAIN);
	EXPECT_EQ(nvme_ns_blk(ns)->blocks, OLD);
	EXPECT_EQ(nvme_ns_extend(ns, OLD, &r.err), -EAGAIN); /* the old rest would be there */
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 100, 1), p, 512), NVME_LBA_OUT_OF_RANGE);
	spy_release(spy_last);
	EXPECT_STATUS(rig_wait(&r, r.mc, 1, cid), NVME_SUCCESS);
	EXPECT_EQ(nvme_ns_trim(ns, &r.err), 0);
	EXPECT_EQ(nvme_ns_blk(ns)->blocks, 100);
	EXPECT_EQ(rig_resize(&r, 1, OLD), 0);
	EXPECT(cmd_holds(&r, r.mc, 1, 99, 1, 0x66));
	EXPECT(cmd_holds(&r, r.mc, 1, 100, 1, 0));
	EXPECT(cmd_holds(&r, r.mc, 1, OLD - 8, 8, 0));
}

/* A medium that could not be cut (its disk failed that moment) still has the old rest when the namespace grows again. */
TEST(smaller_and_larger_without_a_cut)
{
	RIG(r, .queues = 1);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);

	EXPECT_STATUS(cmd_write(&r, r.mc, 1, 2000, 1, 0x77), NVME_SUCCESS);
	nvme_ns_set_size(ns, 1000);
	EXPECT_EQ(rig_resize(&r, 1, 4000), 0);
	EXPECT(cmd_holds(&r, r.mc, 1, 2000, 1, 0));
}

/* The program could not write the longer size down, and tries again with less: until it has, nothing is cut off, because what it wrote may
 * be there after a crash all the same. */
TEST(larger_again_after_a_record_that_failed)
{
	RIG(r, .queues = 1);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);
	int rc;

	while ((rc = nvme_ns_extend(ns, NEW, &r.err)) == -EAGAIN)
		rig_poll(&r);
	EXPECT_EQ(rc, 0);
	EXPECT_EQ(nvme_ns_blk(ns)->blocks, NEW);
	EXPECT_EQ(size_seen(&r, r.mc, 1), OLD);
	while ((rc = nvme_ns_extend(ns, 2 * OLD, &r.err)) == -EAGAIN) {
		EXPECT_EQ(nvme_ns_blk(ns)->blocks, NEW);
		rig_poll(&r);
	}
	EXPECT_EQ(rc, 0);
	nvme_ns_set_size(ns, 2 * OLD);
	EXPECT_EQ(nvme_ns_trim(ns, &r.err), 0);
	EXPECT_EQ(nvme_ns_blk(ns)->blocks, 2 * OLD);
	EXPECT_EQ(size_seen(&r, r.mc, 1), 2 * OLD);
	EXPECT(cmd_holds(&r, r.mc, 1, OLD, 8, 0));
}

/* Base, Namespace Attribute Changed: every controller that has it is told under the NSID its host knows; nobody else. */
TEST(who_is_told)
{
	RIG(r, .mcs = 3, .no_namespace = true);
	struct nvme_ctrl *a = r.host[1].ctrl, *b = r.host[2].ctrl, *other = r.host[3].ctrl;
	struct nvme_ns *ns = nvme_ns_add(r.ss, 7, blk_ram_open(512, OLD, NULL), NULL, NULL);
	struct nvme_sqe aer = { .opc = NVME_OP_AER };
	uint16_t wait[RIG_CTRLS];
	struct nvme_cqe e;

	EXPECT_EQ(nvme_ctrl_attach(r.mmc, 7, ns), 0);
	EXPECT_EQ(nvme_ctrl_attach(a, 1, ns), 0);
	EXPECT_EQ(nvme_ctrl_attach(b, 5, ns), 0);
	for (unsigned i = 0; i < RIG_CTRLS; i++) {
		cmd_log(&r, r.host[i].ctrl, NVME_LID_CHANGED_NS, 4096, 0, NULL);	/* attaching was a change */
		cmd_set(&r, r.host[i].ctrl, NVME_FID_AER, 1 << 8);
		wait[i] = rig_submit(&r, r.host[i].ctrl, 0, aer);
	}
	rig_settle(&r);
	EXPECT_EQ(rig_resize(&r, 7, NEW), 0);
	rig_settle(&r);
	for (unsigned i = 0; i < RIG_CTRLS; i++) {
		struct nvme_ctrl *c = r.host[i].ctrl;
		bool told = rig_try(&r, c, 0, wait[i], &e);

		EXPECT_EQ(told, c != other);
		if (told)
			EXPECT_EQ(cmd_dw0(e), NVME_LID_CHANGED_NS << 16 | NVME_AET_NOTICE);
		cmd_log(&r, c, NVME_LID_CHANGED_NS, 4096, 0, page);
		EXPECT_EQ(dw(0), c == r.mmc ? 7u : c == a ? 1u : c == b ? 5u : 0u);
		EXPECT_EQ(dw(4), 0);
	}
}

/* The feature's bit 8 off: the log page has it, no event comes. It does not come later either: what was off was not to be told. */
TEST(not_told_who_did_not_ask)
{
	RIG(r);
	struct nvme_sqe aer = { .opc = NVME_OP_AER };
	struct nvme_cqe e;
	uint16_t cid;

	cmd_log(&r, r.mc, NVME_LID_CHANGED_NS, 4096, 0, NULL);
	cmd_set(&r, r.mc, NVME_FID_AER, 0);
	cid = rig_submit(&r, r.mc, 0, aer);
	EXPECT_EQ(rig_resize(&r, 1, NEW), 0);
	cmd_set(&r, r.mc, NVME_FID_AER, 1 << 8);
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 0, cid, &e));
	cmd_log(&r, r.mc, NVME_LID_CHANGED_NS, 4096, 0, page);
	EXPECT_EQ(dw(0), 1);
}

/* A mover has taken down the sizes. Each of these is somebody moving the controller; when it is over, the size may change. */
TEST(not_while_the_controller_is_moved)
{
	RIG(r, .queues = 1);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);

	EXPECT_EQ(nvme_ns_may_resize(ns, NEW, &r.err), 0);	/* a queue that logs nothing yet */
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_EQ(nvme_ns_extend(ns, NEW, &r.err), -EBUSY);
	EXPECT(strstr(r.err.text, "controller 2"));
	EXPECT_EQ(nvme_ns_may_resize(ns, 100, &r.err), -EBUSY);
	EXPECT_STATUS(hm_log(&r, &q, 0), NVME_SUCCESS);
	EXPECT_EQ(nvme_ns_may_resize(ns, NEW, &r.err), 0);
	EXPECT_STATUS(hm_suspend(&r, r.mmc, 2, false), NVME_SUCCESS);
	EXPECT_EQ(nvme_ns_extend(ns, NEW, &r.err), -EBUSY);
	EXPECT_STATUS(hm_resume(&r, r.mmc, 2), NVME_SUCCESS);
	EXPECT_EQ(rig_resize(&r, 1, NEW), 0);
	EXPECT_EQ(size_seen(&r, r.mc, 1), NEW);
}

/* The next move: the new blocks are logged, and found by who asks which blocks are allocated. */
TEST(the_new_blocks_are_logged_and_listed)
{
	RIG(r, .queues = 1);
	struct hm_ring q = hm_ring_of(&r, r.mmc, r.mc, 128);
	struct nvme_sqe s = hm_cmd(0x86, OLD, 0, 4096 / 4 - 1, 0x02000000, 0);
	uint32_t unit = nvme_ns_blk(nvme_ns_find(r.ss, 1))->alloc_blocks;
	struct nvme_lbamq e;

	EXPECT_EQ(rig_resize(&r, 1, NEW), 0);
	s.nsid = le32_of(1);
	EXPECT_STATUS(cmd_get(&r, r.mmc, s, page), NVME_SUCCESS);
	EXPECT_EQ(dw(0), 0);
	EXPECT_STATUS(hm_log(&r, &q, 1), NVME_SUCCESS);
	EXPECT_EQ(hm_esa(&(struct nvme_lbamq){ .lbamqa = hm_must(&q).lbamqa }), 1);	/* logging has begun */
	EXPECT_STATUS(cmd_write(&r, r.mc, 1, NEW - 4, 2, 0x88), NVME_SUCCESS);
	e = hm_must(&q);
	EXPECT_EQ(le64_get(e.slba), NEW - 4);
	EXPECT_STATUS(cmd_get(&r, r.mmc, s, page), NVME_SUCCESS);
	EXPECT_EQ(dw(0), 1);
	EXPECT_EQ(qw(8), NEW - unit);
}

/* Nothing has changed when it cannot be done: no backend, no such size, a disk that cannot make it durable. */
TEST(refused)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);

	cmd_log(&r, r.mc, NVME_LID_CHANGED_NS, 4096, 0, NULL);
	EXPECT_EQ(rig_resize(&r, 1, 0), -EINVAL);
	EXPECT_EQ(rig_resize(&r, 1, 1ull << 54), -EINVAL);
	EXPECT_EQ(rig_resize(&r, 1, UINT64_MAX), -EINVAL);
	spy_last->fixed = true;
	EXPECT_EQ(rig_resize(&r, 1, NEW), -ENOTSUP);
	EXPECT(strstr(r.err.text, "spy"));
	spy_last->fixed = false;
	spy_last->fail = -EIO;
	spy_last->fail_ops = 1 << BLK_FLUSH;
	EXPECT_EQ(rig_resize(&r, 1, NEW), -EIO);
	EXPECT_EQ(nvme_ns_blocks(ns), OLD);
	EXPECT_EQ(size_seen(&r, r.mc, 1), OLD);
	cmd_log(&r, r.mc, NVME_LID_CHANGED_NS, 4096, 0, page);
	EXPECT_EQ(dw(0), 0);
	spy_last->fail = 0;
	EXPECT_EQ(rig_resize(&r, 1, NEW), 0);
	EXPECT_EQ(size_seen(&r, r.mc, 1), NEW);
}

/* Format counts its way up to the size: smaller, it would count past it. Larger, it goes on to the new end. */
TEST(while_it_is_formatted)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	uint16_t cid;

	spy_last->hold = 1 << BLK_DEALLOC;
	cid = rig_submit(&r, r.mc, 0, cmd_format(1, 0));
	rig_settle(&r);
	EXPECT_EQ(rig_resize(&r, 1, 100), -EBUSY);
	EXPECT_EQ(rig_resize(&r, 1, NEW), 0);
	spy_release(spy_last);
	EXPECT_STATUS(rig_wait(&r, r.mc, 0, cid), NVME_SUCCESS);
	EXPECT_EQ(size_seen(&r, r.mc, 1), NEW);
}
