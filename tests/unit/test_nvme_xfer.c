/* The device core: what a command is judged by, and how its data moves. White box where it must be. */
#include "slow.h"

/* ---- requests ---- */

TEST(flags_are_judged)
{
	RIG(r, .queues = 1);
	struct nvme_sqe s = flush_sqe();

	s.flags = 1;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_INVALID_FIELD);
	s.flags = 0xc0;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_INVALID_FIELD);
	s = sqe(NVME_OP_KEEP_ALIVE);
	s.flags = NVME_PSDT_SGL;
	EXPECT_STATUS(rig_admin(&r, r.mc, s), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, sqe(0x7f)), NVME_INVALID_OPCODE);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_MIGRATION_SEND)), NVME_INVALID_OPCODE); /* the MMC's alone */
}

TEST(namespaces_are_judged)
{
	static const uint32_t bad[] = { 0, 257, 0x80000000, 0xfffffffe }, away[] = { 2, 256, 0xffffffff };
	RIG(r, .queues = 1);
	uint8_t *b = rig_alloc(&r, r.mc, 512);

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, bad[i], 0, 1), b, 512), NVME_INVALID_NAMESPACE);
	for (unsigned i = 0; i < ARRAY_LEN(away); i++)
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, away[i], 0, 1), b, 512), NVME_INVALID_FIELD);
	EXPECT_EQ(nvme_ns_find(r.ss, 1)->inflight, 0);
}

/* A backend that is full is asked again; the command does not fail. */
TEST(full_backend_is_retried)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);
	struct nvme_cqe c;
	uint16_t cid;

	slow->full = true;
	cid = rig_submit(&r, r.mc, 1, flush_sqe());
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 1, cid, &c));
	slow->full = false;
	rig_settle(&r);
	EXPECT_EQ(slow->count, 1);
	slow_finish_all();
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 1, cid, &c));
}

TEST(backend_errors_have_their_status)
{
	static const struct { int rc; unsigned opc, status; } t[] = {
		{ -EIO, NVME_NVM_READ, NVME_UNRECOVERED_READ }, { -EILSEQ, NVME_NVM_READ, NVME_UNRECOVERED_READ },
		{ -EIO, NVME_NVM_WRITE, NVME_WRITE_FAULT }, { -ENOSPC, NVME_NVM_WRITE, NVME_CAPACITY_EXCEEDED },
		{ -EFAULT, NVME_NVM_WRITE, NVME_DATA_TRANSFER_ERROR },
	};
	RIG(r, .queues = 1, .wrap = slow_wrap);
	uint8_t *b = rig_alloc(&r, r.mc, 512);

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct nvme_sqe s = rig_rw(t[i].opc, 1, 0, 1);
		struct nvme_cqe c = { 0 };
		uint16_t cid;

		rig_data(&r, r.mc, &s, b, 512);
		cid = rig_submit(&r, r.mc, 1, s);
		rig_settle(&r);
		EXPECT(slow_finish(t[i].rc));
		rig_settle(&r);
		EXPECT(rig_try(&r, r.mc, 1, cid, &c));
		EXPECT_STATUS(c, t[i].status);
	}
	EXPECT_EQ(r.mc->stats.errors, ARRAY_LEN(t));
}

/* A guest page that vanished (SIGBUS) fails the command that touched it, and only that. */
TEST(lost_page_fails_the_command)
{
	RIG(r, .queues = 1);

	nvme_ctrl_device(r.mc)->gmem.lost = 1;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, flush_sqe()), NVME_DATA_TRANSFER_ERROR);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, flush_sqe()), NVME_SUCCESS);
}

/* More commands than requests: they wait in their queue, all are served. */
TEST(few_requests_many_commands)
{
	RIG(r, .queues = 1, .qsize = 100, .max_reqs = 16, .wrap = slow_wrap);

	many(&r, 90);
	rig_settle(&r);
	EXPECT_EQ(slow->count, 16 - NVME_ADMIN_REQS);
	for (unsigned i = 0; i < 90; i++) {
		EXPECT(slow_finish(0));
		rig_settle(&r);
	}
	EXPECT_EQ(r.mc->stats.completed, 90);
}

/* ---- transfers ---- */

enum { NS_BYTES = 8192 * 512 };

/* Write through one kind of data pointer, read back through another: every length and offset around a page border. */
TEST(prp_lengths_and_offsets)
{
	static const unsigned offs[] = { 0, 4, 512, 2048, 4092 }, blocks[] = { 1, 7, 8, 9, 16, 17, 64, 255, 256 };
	RIG(r, .queues = 1);
	uint8_t *mem = rig_alloc(&r, r.mc, 140 * KIB), *back = rig_alloc(&r, r.mc, 140 * KIB);

	for (unsigned o = 0; o < ARRAY_LEN(offs); o++)
		for (unsigned b = 0; b < ARRAY_LEN(blocks); b++) {
			size_t len = blocks[b] * 512;

			rig_host(&r, r.mc)->used = 2 << 20; /* lists are made anew */
			fill(mem + offs[o], len, o * 10 + b);
			memset(back, 0, 140 * KIB);
			EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, 3, blocks[b]), mem + offs[o], len),
				      NVME_SUCCESS);
			EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 3, blocks[b]), back, len), NVME_SUCCESS);
			EXPECT_MEM(mem + offs[o], back, len);
		}
	EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
}

/* The list goes on in another page where its page ends; the read must find every page in its order. */
TEST(prp_list_chains)
{
	RIG(r, .queues = 1);
	uint8_t *src = rig_alloc(&r, r.mc, 64 * KIB), *dst = rig_alloc(&r, r.mc, 64 * KIB);
	le64 *l1 = rig_alloc(&r, r.mc, 4096), *l2 = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, 0, 128);

	fill(src, 64 * KIB, 5);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, 0, 128), src, 64 * KIB), NVME_SUCCESS);
	s.prp1 = le64_of(rig_iova(&r, r.mc, dst) + 15 * 4096); /* pages in reverse */
	for (unsigned i = 0; i < 3; i++)
		l1[508 + i] = le64_of(rig_iova(&r, r.mc, dst) + (14 - i) * 4096);
	l1[511] = le64_of(rig_iova(&r, r.mc, l2));
	for (unsigned i = 0; i < 12; i++)
		l2[i] = le64_of(rig_iova(&r, r.mc, dst) + (11 - i) * 4096);
	s.prp2 = le64_of(rig_iova(&r, r.mc, l1) + 508 * 8);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_SUCCESS);
	for (unsigned i = 0; i < 16; i++)
		EXPECT_MEM(dst + (15 - i) * 4096, src + i * 4096, 4096);
}

/* Every wrong data pointer has a status of its own, and leaves nothing held. */
TEST(prp_nonsense)
{
	RIG(r, .queues = 1);
	uint64_t mem = rig_iova(&r, r.mc, rig_alloc(&r, r.mc, 64 * KIB)), gone = 1ull << 50;
	le64 *list = rig_alloc(&r, r.mc, 8192);
	uint64_t li = rig_iova(&r, r.mc, list);
	struct { unsigned blocks; uint64_t prp1, prp2, entry0, last; unsigned status; } t[] = {
		{ 8, mem + 1, 0, 0, 0, NVME_PRP_OFFSET },
		{ 8, mem + 2, 0, 0, 0, NVME_PRP_OFFSET },
		{ 16, mem, mem + 8, 0, 0, NVME_PRP_OFFSET },
		{ 24, mem, li + 4, 0, 0, NVME_PRP_OFFSET },
		{ 24, mem, li, mem + 512, 0, NVME_PRP_OFFSET },
		{ 24, mem, li + 4088, 0, li + 8, NVME_PRP_OFFSET },
		{ 8, gone, 0, 0, 0, NVME_DATA_TRANSFER_ERROR },
		{ 16, mem, gone, 0, 0, NVME_DATA_TRANSFER_ERROR },
		{ 24, mem, gone, 0, 0, NVME_DATA_TRANSFER_ERROR },
		{ 24, mem, li, gone, 0, NVME_DATA_TRANSFER_ERROR },
		{ 24, mem, li + 4088, 0, gone, NVME_DATA_TRANSFER_ERROR },
		{ 8, UINT64_MAX - 3, 0, 0, 0, NVME_DATA_TRANSFER_ERROR },
	};

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct nvme_sqe s = rig_rw(i & 1 ? NVME_NVM_WRITE : NVME_NVM_READ, 1, 0, t[i].blocks);

		s.prp1 = le64_of(t[i].prp1);
		s.prp2 = le64_of(t[i].prp2);
		list[0] = le64_of(t[i].entry0);
		list[1] = le64_of(mem);
		list[511] = le64_of(t[i].last);
		print_message("# row %u\n", i);
		EXPECT_STATUS(rig_io(&r, r.mc, 1, s), t[i].status);
		EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
		EXPECT_EQ(r.mc->bufs_free, (1u << NVME_BUFS) - 1);
	}
}

static struct nvme_sgl sgl(unsigned type, uint64_t addr, uint32_t len)
{
	return (struct nvme_sgl){ .addr = le64_of(addr), .len = le32_of(len), .type = (uint8_t)type };
}
static struct nvme_sqe sgl_sqe(unsigned opc, unsigned blocks, struct nvme_sgl d)
{
	struct nvme_sqe s = rig_rw(opc, 1, 0, blocks);

	s.flags = NVME_PSDT_SGL;
	memcpy(&s.prp1, &d, sizeof(d));
	return s;
}

/* Base 4.3.2: segments of any byte length, chained; bit buckets swallow what the host does not want. */
TEST(sgl_scatter_and_bit_bucket)
{
	RIG(r, .queues = 1);
	uint8_t *src = rig_alloc(&r, r.mc, 8192), *dst = rig_alloc(&r, r.mc, 8192);
	struct nvme_sgl *s1 = rig_alloc(&r, r.mc, 4096), *s2 = rig_alloc(&r, r.mc, 4096);
	uint64_t a = rig_iova(&r, r.mc, src), d = rig_iova(&r, r.mc, dst);

	fill(src, 4096, 9);
	s1[0] = sgl(0x00, a, 1000);
	s1[1] = sgl(0x00, a, 0);
	s1[2] = sgl(0x10, 0, 77);	/* ignored in a source */
	s1[3] = sgl(0x30, rig_iova(&r, r.mc, s2), 32);
	s2[0] = sgl(0x00, a + 1000, 1);
	s2[1] = sgl(0x00, a + 1001, 3095);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, sgl_sqe(NVME_NVM_WRITE, 8, sgl(0x20, rig_iova(&r, r.mc, s1), 64))), NVME_SUCCESS);
	s1[0] = sgl(0x00, d + 5, 100);
	s1[1] = sgl(0x10, 0, 3000);
	s1[2] = sgl(0x00, d + 200, 996);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, sgl_sqe(NVME_NVM_READ, 8, sgl(0x30, rig_iova(&r, r.mc, s1), 48))), NVME_SUCCESS);
	EXPECT_MEM(dst + 5, src, 100);
	EXPECT_MEM(dst + 200, src + 3100, 996);
	EXPECT_EQ(dst[105], 0);
	EXPECT_EQ(dst[1196], 0);
	EXPECT_EQ(r.mc->bufs_free, (1u << NVME_BUFS) - 1);
}

TEST(sgl_nonsense)
{
	RIG(r, .queues = 1);
	uint64_t mem = rig_iova(&r, r.mc, rig_alloc(&r, r.mc, 8192)), gone = 1ull << 50;
	struct nvme_sgl *list = rig_alloc(&r, r.mc, 8192);
	uint64_t li = rig_iova(&r, r.mc, list);
	struct { struct nvme_sgl d, l0, l1; unsigned status; } t[] = {
		{ sgl(0x01, mem, 4096), sgl(0, 0, 0), sgl(0, 0, 0), NVME_SGL_TYPE },			/* subtype */
		{ sgl(0x40, mem, 4096), sgl(0, 0, 0), sgl(0, 0, 0), NVME_SGL_TYPE },			/* keyed */
		{ sgl(0x00, mem, 4095), sgl(0, 0, 0), sgl(0, 0, 0), NVME_SGL_DATA_LENGTH },
		{ sgl(0x00, mem, 4097), sgl(0, 0, 0), sgl(0, 0, 0), NVME_SGL_DATA_LENGTH },
		{ sgl(0x00, gone, 4096), sgl(0, 0, 0), sgl(0, 0, 0), NVME_DATA_TRANSFER_ERROR },
		{ sgl(0x30, li, 15), sgl(0, 0, 0), sgl(0, 0, 0), NVME_INVALID_SGL_SEGMENT },
		{ sgl(0x30, li, 0), sgl(0, 0, 0), sgl(0, 0, 0), NVME_INVALID_SGL_SEGMENT },
		{ sgl(0x30, gone, 32), sgl(0, 0, 0), sgl(0, 0, 0), NVME_DATA_TRANSFER_ERROR },
		{ sgl(0x30, li, 0xfffffff0), sgl(0, 0, 0), sgl(0, 0, 0), NVME_INVALID_SGL_COUNT },
		{ sgl(0x30, li, 16), sgl(0x20, li, 16), sgl(0, 0, 0), NVME_INVALID_SGL_SEGMENT },	/* the last one chains */
		{ sgl(0x20, li, 32), sgl(0x20, li, 16), sgl(0x00, mem, 1), NVME_INVALID_SGL_SEGMENT }, /* not at the end */
		{ sgl(0x20, li, 16), sgl(0x00, mem, 4096), sgl(0, 0, 0), NVME_INVALID_SGL_SEGMENT },	/* ends without a last one */
		{ sgl(0x20, li, 16), sgl(0x20, li, 16), sgl(0, 0, 0), NVME_INVALID_SGL_COUNT },	/* a ring */
		{ sgl(0x30, li, 32), sgl(0x00, mem, 4096), sgl(0x00, mem, 1), NVME_SGL_DATA_LENGTH },
		{ sgl(0x30, li, 32), sgl(0x00, mem, 4000), sgl(0x00, mem, 0xffffffff), NVME_SGL_DATA_LENGTH },
		{ sgl(0x30, li, 32), sgl(0x00, mem, 4000), sgl(0x50, mem, 96), NVME_SGL_TYPE },
	};

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		list[0] = t[i].l0;
		list[1] = t[i].l1;
		print_message("# row %u\n", i);
		EXPECT_STATUS(rig_io(&r, r.mc, 1, sgl_sqe(i & 1 ? NVME_NVM_WRITE : NVME_NVM_READ, 8, t[i].d)), t[i].status);
		EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
	}
}

/* Memory the device may not write is no place for a Read's data. */
TEST(read_only_memory_is_not_written)
{
	RIG(r, .queues = 1);
	static uint8_t rom[4096] __attribute__((aligned(4096)));
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, 0, 1);

	memset(rom, 0x5a, sizeof(rom));
	EXPECT_EQ(gmem_add(&nvme_ctrl_device(r.mc)->gmem, 0x1000, 0x1000, rom, true, false), 0);
	s.prp1 = le64_of(0x1000);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_DATA_TRANSFER_ERROR);
	EXPECT_EQ(rom[0], 0x5a);
	s.opc = NVME_NVM_WRITE;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, s), NVME_SUCCESS);
}

/* Everything by message: rings, lists, data, completions, in order and with an interrupt behind them. */
TEST(by_message_memory)
{
	RIG(r, .queues = 1, .qsize = 8, .by_message = true);
	uint8_t *w = rig_alloc(&r, r.mc, 128 * KIB), *b = rig_alloc(&r, r.mc, 128 * KIB);

	for (unsigned i = 0; i < 10; i++) {
		fill(w, 128 * KIB, i);
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, i, 256), w, 128 * KIB), NVME_SUCCESS);
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, i, 256), b, 128 * KIB), NVME_SUCCESS);
		EXPECT_MEM(w, b, 128 * KIB);
	}
	EXPECT(rig_host(&r, r.mc)->irqs[1] >= 20);
	EXPECT_EQ(r.mc->inflight, 0);
	EXPECT_EQ(r.mc->bufs_free, (1u << NVME_BUFS) - 1);
	EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
}

/* More commands than bounce buffers: they wait for one another, none is lost. */
TEST(bounce_buffers_are_waited_for)
{
	RIG(r, .queues = 1, .by_message = true, .wrap = slow_wrap);
	uint8_t *b = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, 0, 8);

	rig_data(&r, r.mc, &s, b, 4096);
	for (unsigned i = 0; i < 12; i++)
		rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	EXPECT_EQ(slow->count, NVME_BUFS - NVME_ADMIN_BUFS);
	for (unsigned i = 0; i < 12; i++) {
		EXPECT(slow_finish(0));
		rig_settle(&r);
	}
	EXPECT_EQ(r.mc->stats.completed, 12);
	EXPECT_EQ(r.mc->bufs_free, (1u << NVME_BUFS) - 1);
}

/* The client answers no message any more when the controller is reset: what comes back late is nobody's. */
TEST(reset_with_messages_out)
{
	for (unsigned polls = 0; polls < 40; polls++) {
		RIG(r, .queues = 1, .by_message = true);
		uint8_t *b = rig_alloc(&r, r.mc, 16 * KIB);
		struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 0, 32);

		rig_data(&r, r.mc, &s, b, 16 * KIB);
		rig_submit(&r, r.mc, 1, s);
		s.opc = NVME_NVM_READ;
		rig_submit(&r, r.mc, 1, s);
		for (unsigned i = 0; i < polls; i++)
			rig_poll(&r);
		rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
		rig_settle(&r);
		EXPECT_EQ(r.mc->inflight, 0);
		EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
		EXPECT_EQ(r.mc->bufs_free, (1u << NVME_BUFS) - 1);
		rig_enable(&r, r.mc);
		EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_KEEP_ALIVE)), NVME_SUCCESS);
	}
}

/* Unmapping waits for the backend that reads the memory, stops new fetches meanwhile, and lets them go on behind. */
TEST(unmap_drains)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);
	static uint8_t extra[4096] __attribute__((aligned(4096)));
	struct gmem *g = &nvme_ctrl_device(r.mc)->gmem;
	struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 0, 1);

	EXPECT_EQ(gmem_add(g, 0x1000, 0x1000, extra, true, true), 0);
	s.prp1 = le64_of(0x1000);
	rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	EXPECT_EQ(gmem_del(g, 0x1000, 0x1000, NULL), -EAGAIN);
	rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	EXPECT_EQ(slow->count, 1);
	EXPECT(slow_finish(0));
	EXPECT_EQ(gmem_del(g, 0x1000, 0x1000, NULL), 0);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 2);
	EXPECT_EQ(r.mc->stats.errors, 1); /* its memory is gone */
}

/* Firmware takes all memory away for a moment: the queues wait and go on. */
TEST(ring_memory_may_vanish_for_a_moment)
{
	RIG(r, .queues = 1);
	struct rig_host *h = rig_host(&r, r.mc);
	struct nvme_cqe c;

	EXPECT_EQ(gmem_del(&h->dev->gmem, h->iova, RIG_MEM, NULL), 0);
	many(&r, 3);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.fetched, 0);
	EXPECT(!(rig_csts(r.mc) & NVME_CSTS_CFS));
	EXPECT_EQ(gmem_add(&h->dev->gmem, h->iova, RIG_MEM, h->mem, true, true), 0);
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 3);
	EXPECT(rig_reap(&r, r.mc, 1, &c));
}
