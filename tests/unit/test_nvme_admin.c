/* Admin commands: queues, Abort, Keep Alive, Doorbell Buffer Config, Format, and which opcodes exist at all. */
#include "cmds.h"

#define PC 1u
#define IEN 2u

static uint64_t ring(struct rig *r) { return rig_iova(r, r->mc, rig_alloc(r, r->mc, 4096)); }

/* Base, Create I/O Completion Queue: each field's bad values and their status. A queue that half-exists would survive a move. */
TEST(create_cq_judges_every_field)
{
	static const struct { uint16_t qid, qsize0; uint32_t cdw11, off; unsigned status; } t[] = {
		{ 0, 7, PC, 0, NVME_QID_INVALID },
		{ NVME_IOQ_MAX + 1, 7, PC, 0, NVME_QID_INVALID },
		{ 0xffff, 7, PC, 0, NVME_QID_INVALID },
		{ 1, 0, PC, 0, NVME_QSIZE_INVALID },
		{ 1, NVME_QSIZE_MAX, PC, 0, NVME_QSIZE_INVALID },
		{ 1, 0xffff, PC, 0, NVME_QSIZE_INVALID },
		{ 1, 7, 0, 0, NVME_INVALID_FIELD },
		{ 1, 7, PC, 8, NVME_PRP_OFFSET },
		{ 1, 7, PC, 2048, NVME_PRP_OFFSET },
		{ 1, 7, PC | IEN | NVME_MSIX_VECTORS << 16, 0, NVME_IV_INVALID },
		{ 1, 7, PC | 0xffffu << 16, 0, NVME_IV_INVALID },
	};
	RIG(r);
	uint64_t prp = ring(&r);

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_cq(t[i].qid, t[i].qsize0, t[i].cdw11, prp + t[i].off)), t[i].status);
		EXPECT(!r.mc->cq[1].live);
	}
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_cq(1, 7, PC | IEN | (NVME_MSIX_VECTORS - 1u) << 16, prp)), NVME_SUCCESS);
	EXPECT_EQ(r.mc->cq[1].size, 8);
	EXPECT_EQ(r.mc->cq[1].iv, NVME_MSIX_VECTORS - 1);
	EXPECT(r.mc->cq[1].ien);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_cq(1, 7, PC, prp)), NVME_QID_INVALID);
}

/* The largest queue: MQES is zero-based, like QSIZE. */
TEST(create_cq_largest)
{
	RIG(r);

	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_cq(1, NVME_QSIZE_MAX - 1, PC,
			rig_iova(&r, r.mc, rig_alloc(&r, r.mc, NVME_QSIZE_MAX * 16)))), NVME_SUCCESS);
	EXPECT_EQ(r.mc->cq[1].size, NVME_QSIZE_MAX);
}

/* Base, Create I/O Submission Queue: the admin CQ and ids out of range are no queue identifiers; in range but missing is no CQ. */
TEST(create_sq_judges_every_field)
{
	static const struct { uint16_t qid, qsize0; uint32_t cdw11, off; unsigned status; } t[] = {
		{ 0, 7, PC | 1 << 16, 0, NVME_QID_INVALID },
		{ NVME_IOQ_MAX + 1, 7, PC | 1 << 16, 0, NVME_QID_INVALID },
		{ 1, 7, PC | 0 << 16, 0, NVME_QID_INVALID },
		{ 1, 7, PC | (NVME_IOQ_MAX + 1) << 16, 0, NVME_QID_INVALID },
		{ 1, 7, PC | 2 << 16, 0, NVME_CQ_INVALID },
		{ 1, 0, PC | 1 << 16, 0, NVME_QSIZE_INVALID },
		{ 1, NVME_QSIZE_MAX, PC | 1 << 16, 0, NVME_QSIZE_INVALID },
		{ 1, 7, 1 << 16, 0, NVME_INVALID_FIELD },
		{ 1, 7, PC | 1 << 16, 4, NVME_PRP_OFFSET },
	};
	RIG(r);
	uint64_t prp = ring(&r);

	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_cq(1, 7, PC, prp)), NVME_SUCCESS);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_sq(t[i].qid, t[i].qsize0, t[i].cdw11, prp + t[i].off)), t[i].status);
		EXPECT(!r.mc->sq[1].live);
		EXPECT_EQ(r.mc->cq[1].sqs, 0);
	}
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_sq(1, 7, PC | 2 << 1 | 1 << 16, prp)), NVME_SUCCESS);
	EXPECT_EQ(r.mc->sq[1].size, 8);
	EXPECT_EQ(r.mc->sq[1].cqid, 1);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_sq(1, 7, PC | 1 << 16, prp)), NVME_QID_INVALID);
}

/* Number of Queues bounds the identifiers: a host gets no queue it was not given. */
TEST(queue_ids_are_those_that_were_given)
{
	RIG(r);
	uint64_t prp = ring(&r);

	EXPECT_EQ(cmd_dw0(cmd_set(&r, r.mc, NVME_FID_NUM_QUEUES, 2 << 16 | 1)), 2 << 16 | 1);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_cq(4, 7, PC, prp)), NVME_QID_INVALID);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_cq(3, 7, PC, prp)), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_sq(3, 7, PC | 3 << 16, prp)), NVME_QID_INVALID);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_create_sq(2, 7, PC | 3 << 16, prp)), NVME_SUCCESS);
}

/* Base, Delete I/O Completion Queue: not while a submission queue uses it. */
TEST(delete_in_order_only)
{
	RIG(r, .queues = 2);

	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_delete(NVME_OP_DELETE_CQ, 1)), NVME_QUEUE_DELETION);
	EXPECT(r.mc->cq[1].live);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_delete(NVME_OP_DELETE_SQ, 1)), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_delete(NVME_OP_DELETE_SQ, 1)), NVME_QID_INVALID);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_delete(NVME_OP_DELETE_CQ, 1)), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_delete(NVME_OP_DELETE_CQ, 1)), NVME_QID_INVALID);
	EXPECT(r.mc->sq[2].live && r.mc->cq[2].live);
}

TEST(delete_of_what_is_not_there)
{
	static const uint16_t qid[] = { 0, 2, NVME_IOQ_MAX, NVME_IOQ_MAX + 1, 0xffff };
	RIG(r, .queues = 1);

	for (unsigned i = 0; i < ARRAY_LEN(qid); i++) {
		EXPECT_STATUS(rig_admin(&r, r.mc, cmd_delete(NVME_OP_DELETE_SQ, qid[i])), NVME_QID_INVALID);
		EXPECT_STATUS(rig_admin(&r, r.mc, cmd_delete(NVME_OP_DELETE_CQ, qid[i])), NVME_QID_INVALID);
	}
}

/* A host may reuse its buffers once the deletion is complete: so it completes after the queue's last command. */
TEST(delete_sq_waits_for_its_commands)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, 0, 8);
	struct nvme_cqe e;
	uint16_t io, del;

	rig_data(&r, r.mc, &s, rig_alloc(&r, r.mc, 4096), 4096);
	spy_last->hold = 1 << BLK_READ;
	io = rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	del = rig_submit(&r, r.mc, 0, cmd_delete(NVME_OP_DELETE_SQ, 1));
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 0, del, &e));
	spy_release(spy_last);
	EXPECT_STATUS(rig_wait(&r, r.mc, 0, del), NVME_SUCCESS);
	EXPECT(rig_try(&r, r.mc, 1, io, &e));
	EXPECT_STATUS(e, NVME_SUCCESS);
	EXPECT(!r.mc->sq[1].live);
}

static struct nvme_sqe abort_sqe(uint16_t sqid, uint16_t cid)
{
	struct nvme_sqe s = { .opc = NVME_OP_ABORT };

	nvme_abort_sqid_put(&s, sqid);
	nvme_abort_cid_put(&s, cid);
	return s;
}

/* Base, Abort: DW0 bit 0 says whether it was not aborted. An AER can always be taken back, and only the one that is named. */
TEST(abort_takes_back_an_aer)
{
	RIG(r);
	uint16_t aer[2] = { rig_submit(&r, r.mc, 0, (struct nvme_sqe){ .opc = NVME_OP_AER }),
			    rig_submit(&r, r.mc, 0, (struct nvme_sqe){ .opc = NVME_OP_AER }) };
	struct nvme_cqe e;

	rig_settle(&r);
	EXPECT_EQ(r.mc->aer_count, 2);
	e = rig_admin(&r, r.mc, abort_sqe(0, aer[0]));
	EXPECT_STATUS(e, NVME_SUCCESS);
	EXPECT_EQ(cmd_dw0(e) & 1, 0);
	EXPECT_STATUS(rig_wait(&r, r.mc, 0, aer[0]), NVME_ABORT_REQUESTED);
	EXPECT_EQ(r.mc->aer_count, 1);
	EXPECT(!rig_try(&r, r.mc, 0, aer[1], &e));
	EXPECT_EQ(cmd_dw0(rig_admin(&r, r.mc, abort_sqe(0, aer[0]))) & 1, 1);
}

TEST(abort_of_unknown_or_running_commands_changes_nothing)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, 0, 8);
	uint16_t io;

	EXPECT_EQ(cmd_dw0(rig_admin(&r, r.mc, abort_sqe(1, 77))) & 1, 1);
	EXPECT_EQ(cmd_dw0(rig_admin(&r, r.mc, abort_sqe(0xffff, 0xffff))) & 1, 1);
	rig_data(&r, r.mc, &s, rig_alloc(&r, r.mc, 4096), 4096);
	spy_last->hold = 1 << BLK_READ;
	io = rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	EXPECT_EQ(cmd_dw0(rig_admin(&r, r.mc, abort_sqe(1, io))) & 1, 1);
	spy_release(spy_last);
	EXPECT_STATUS(rig_wait(&r, r.mc, 1, io), NVME_SUCCESS);
}

TEST(keep_alive)
{
	RIG(r);

	EXPECT_STATUS(rig_admin(&r, r.mc, (struct nvme_sqe){ .opc = NVME_OP_KEEP_ALIVE }), NVME_SUCCESS);
}

/* Base, Doorbell Buffer Config: both pages aligned, and ours to write. */
TEST(dbbuf_judges_its_pages)
{
	RIG(r);
	uint64_t a = ring(&r), b = ring(&r), outside = 0x1000;
	const struct { uint64_t prp1, prp2; unsigned status; } t[] = {
		{ a + 4, b, NVME_INVALID_FIELD }, { a, b + 2048, NVME_INVALID_FIELD },
		{ outside, b, NVME_DATA_TRANSFER_ERROR }, { a, outside, NVME_DATA_TRANSFER_ERROR },
	};
	struct nvme_sqe s = { .opc = NVME_OP_DBBUF };

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		s.prp1 = le64_of(t[i].prp1);
		s.prp2 = le64_of(t[i].prp2);
		EXPECT_STATUS(rig_admin(&r, r.mc, s), t[i].status);
		EXPECT(!r.mc->dbbuf);
	}
	s.prp1 = le64_of(a);
	s.prp2 = le64_of(b);
	EXPECT_STATUS(rig_admin(&r, r.mc, s), NVME_SUCCESS);
	EXPECT(r.mc->dbbuf);
	EXPECT_EQ(r.mc->dbbuf_shadow, a);
	EXPECT_EQ(r.mc->dbbuf_eventidx, b);
}

/* ---- which opcodes there are: written down here, not taken from the tables */

static bool in(const uint8_t *set, size_t n, unsigned v)
{
	return memchr(set, (int)v, n) != NULL;
}

static void expect_opcodes(struct rig *r, struct nvme_ctrl *c, unsigned qid, const uint8_t *set, size_t n)
{
	uint8_t *page = rig_alloc(r, c, 4096);

	for (unsigned opc = 0; opc < 256; opc++) {
		struct nvme_sqe s = { .opc = (uint8_t)opc };
		struct nvme_cqe e;

		if (qid == 0 && opc == NVME_OP_AER)
			continue;	/* never answers */
		rig_data(r, c, &s, page, 4096);
		e = rig_io(r, c, qid, s);
		if ((nvme_cqe_status(&e) != NVME_INVALID_OPCODE) != in(set, n, opc))
			fail_msg("opcode %02x: %s", opc, nvme_status_name(nvme_cqe_status(&e)));
	}
}

/* An MC must not know the migration commands (Base, Host Managed Live Migration): its guest could suspend its neighbours. */
TEST(opcodes_of_a_migratable_controller)
{
	static const uint8_t admin[] = { 0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x18, 0x7c, 0x80, 0x86 };
	static const uint8_t io[] = { 0x00, 0x01, 0x02, 0x05, 0x08, 0x09, 0x0c, 0x19 };
	RIG(r, .queues = 1);

	expect_opcodes(&r, r.mc, 0, admin, sizeof(admin));
	expect_opcodes(&r, r.mc, 1, io, sizeof(io));
}

TEST(opcodes_of_a_management_controller)
{
	static const uint8_t admin[] = { 0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x18, 0x7c, 0x80, 0x86,
					 0x3d, 0x3e, 0x41, 0x42, 0x45 };
	RIG(r);

	expect_opcodes(&r, r.mmc, 0, admin, sizeof(admin));
}

/* ---- Format NVM */

TEST(format_judges_every_field)
{
	static const struct { uint32_t nsid, cdw10; unsigned status; } t[] = {
		{ 0xffffffff, 0, NVME_INVALID_FIELD },			/* FNA bit 3 */
		{ 0, 0, NVME_INVALID_NAMESPACE }, { 2, 0, NVME_INVALID_FIELD }, { 0xfffffffe, 0, NVME_INVALID_NAMESPACE },
		{ 1, 2 << 9, NVME_INVALID_FIELD },			/* cryptographic erase */
		{ 1, 3 << 9, NVME_INVALID_FIELD }, { 1, 7 << 9, NVME_INVALID_FIELD },
		{ 1, 1, NVME_FORMAT_INVALID }, { 1, 15, NVME_FORMAT_INVALID }, { 1, 1 << 12, NVME_FORMAT_INVALID },
		{ 1, 1 << 5, NVME_FORMAT_INVALID }, { 1, 7 << 5, NVME_FORMAT_INVALID },
	};
	RIG(r, .queues = 1);

	EXPECT_STATUS(cmd_write(&r, r.mc, 1, 5, 8, 0xab), NVME_SUCCESS);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct nvme_sqe s = cmd_format(t[i].nsid, 0);

		s.cdw10 = le32_of(t[i].cdw10);
		EXPECT_STATUS(rig_admin(&r, r.mc, s), t[i].status);
		EXPECT(cmd_holds(&r, r.mc, 1, 5, 8, 0xab));
	}
}

/* With and without user data erase: everything reads as zeroes and nothing stays allocated; other namespaces are not touched. */
TEST(format_erases_this_namespace_only)
{
	RIG(r, .queues = 1, .namespaces = 2);
	uint64_t start, len;

	for (unsigned ses = 0; ses <= 1; ses++) {
		EXPECT_STATUS(cmd_write(&r, r.mc, 1, 0, 8, 0x11), NVME_SUCCESS);
		EXPECT_STATUS(cmd_write(&r, r.mc, 1, 8184, 8, 0x12), NVME_SUCCESS);
		EXPECT_STATUS(cmd_write(&r, r.mc, 2, 0, 8, 0x22), NVME_SUCCESS);
		EXPECT_STATUS(rig_admin(&r, r.mc, cmd_format(1, ses)), NVME_SUCCESS);
		EXPECT(cmd_holds(&r, r.mc, 1, 0, 8, 0));
		EXPECT(cmd_holds(&r, r.mc, 1, 8184, 8, 0));
		EXPECT(cmd_holds(&r, r.mc, 2, 0, 8, 0x22));
		EXPECT_EQ(blk_next_allocated(nvme_ns_blk(nvme_ns_find(r.ss, 1)), 0, &start, &len), -ENOENT);
	}
}

/* NVM Command Set: while it runs, commands on the namespace are answered Format In Progress, whoever sends them. */
TEST(format_keeps_everybody_out)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	struct nvme_sqe dsm = { .opc = NVME_NVM_DSM, .nsid = le32_of(1) };
	uint8_t *page = rig_alloc(&r, r.mc, 4096);
	uint16_t cid;

	spy_last->hold = 1 << BLK_DEALLOC;
	cid = rig_submit(&r, r.mc, 0, cmd_format(1, 0));
	rig_settle(&r);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 0, 1), page, 512), NVME_FORMAT_IN_PROGRESS);
	EXPECT_STATUS(cmd_write(&r, r.mmc, 1, 0, 1, 1), NVME_FORMAT_IN_PROGRESS);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE_ZEROES, 1, 0, 1)), NVME_FORMAT_IN_PROGRESS);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_FLUSH, 1, 0, 1)), NVME_FORMAT_IN_PROGRESS);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_FLUSH, 0xffffffff, 0, 1)), NVME_FORMAT_IN_PROGRESS);
	dsm.cdw11 = le32_of(4);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, dsm, memset(page, 0, 4096), 16), NVME_FORMAT_IN_PROGRESS);
	EXPECT_STATUS(rig_admin(&r, r.mmc, cmd_format(1, 0)), NVME_FORMAT_IN_PROGRESS);
	spy_release(spy_last);
	EXPECT_STATUS(rig_wait(&r, r.mc, 0, cid), NVME_SUCCESS);
	EXPECT_STATUS(cmd_write(&r, r.mc, 1, 0, 1, 1), NVME_SUCCESS);
}

/* A command that is still on the medium could write what was just erased: Command Sequence Error. */
TEST(format_waits_for_nobody)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 0, 8);
	uint16_t cid;

	rig_data(&r, r.mmc, &s, memset(rig_alloc(&r, r.mmc, 4096), 0x5a, 4096), 4096);
	spy_last->hold = 1 << BLK_WRITE;
	cid = rig_submit(&r, r.mmc, 1, s);
	rig_settle(&r);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_format(1, 0)), NVME_COMMAND_SEQUENCE);
	EXPECT_EQ(spy_last->count[BLK_DEALLOC], 0);
	spy_release(spy_last);
	EXPECT_STATUS(rig_wait(&r, r.mmc, 1, cid), NVME_SUCCESS);
	EXPECT(cmd_holds(&r, r.mc, 1, 0, 8, 0x5a));
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_format(1, 0)), NVME_SUCCESS);
}

/* A failed format gives the namespace back, and says so. */
TEST(format_failing_leaves_a_usable_namespace)
{
	RIG(r, .queues = 1, .wrap = spy_open);

	spy_last->fail = -EIO;
	spy_last->fail_ops = 1 << BLK_DEALLOC;
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_format(1, 0)), NVME_WRITE_FAULT);
	spy_last->fail = 0;
	EXPECT_STATUS(cmd_write(&r, r.mc, 1, 0, 1, 1), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_format(1, 0)), NVME_SUCCESS);
}

/* Every controller that has the namespace learns that it changed. */
TEST(format_is_told_to_all)
{
	RIG(r, .queues = 1, .mcs = 2);
	le32 list[1024];

	for (unsigned i = 0; i < r.hosts; i++)	/* attaching was a change */
		EXPECT_STATUS(cmd_log(&r, r.host[i].ctrl, NVME_LID_CHANGED_NS, 4096, 0, list), NVME_SUCCESS);
	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_format(1, 0)), NVME_SUCCESS);
	for (unsigned i = 0; i < r.hosts; i++) {
		EXPECT_STATUS(cmd_log(&r, r.host[i].ctrl, NVME_LID_CHANGED_NS, 4096, 0, list), NVME_SUCCESS);
		EXPECT_EQ(le32_get(list[0]), 1);
		EXPECT_EQ(le32_get(list[1]), 0);
	}
}
