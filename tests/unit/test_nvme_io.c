/* The NVM command set: bounds, statuses, what reaches the medium, what a failure leaves, what is logged and when; and a
 * random run against a plain array. */
#include "cmds.h"

enum { BLOCKS = 8192 };

static struct nvme_sqe with12(struct nvme_sqe s, uint32_t bits)
{
	s.cdw12 = le32_of(le32_get(s.cdw12) | bits);
	return s;
}

static struct nvme_sqe copy_sqe(uint64_t sdlba, unsigned n)
{
	struct nvme_sqe s = { .opc = NVME_NVM_COPY, .nsid = le32_of(1) };

	nvme_slba_put(&s, sdlba);
	nvme_copy_nr0_put(&s, n - 1);
	return s;
}

/* Commands are looked at before their turn, as hints to the backend: whatever stands there, each is judged as itself when it comes
 * (Base, Submission Queue Entry). Namespaces that are not, and blocks that are not. */
TEST(commands_behind_the_head_are_not_believed)
{
	static const struct { uint32_t nsid; uint64_t slba; unsigned status; } t[] = {
		{ 1, 0, NVME_SUCCESS }, { 0, 0, NVME_INVALID_NAMESPACE }, { 2, 0, NVME_INVALID_FIELD },
		{ NVME_NSID_MAX, 0, NVME_INVALID_FIELD }, { NVME_NSID_MAX + 1, 0, NVME_INVALID_NAMESPACE },
		{ UINT32_MAX, 0, NVME_INVALID_FIELD }, { 1, BLOCKS, NVME_LBA_OUT_OF_RANGE },
		{ 1, UINT64_MAX, NVME_LBA_OUT_OF_RANGE }, { 1, BLOCKS - 1, NVME_SUCCESS }, { UINT32_MAX - 1, 1, NVME_INVALID_NAMESPACE },
	};
	RIG(r, .queues = 1, .qsize = 16);
	uint16_t cid[ARRAY_LEN(t)];
	void *p = rig_alloc(&r, r.mc, 4096);

	for (unsigned round = 0; round < 3; round++) {	/* so that they stand across the end of the ring too */
		for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
			struct nvme_sqe s = rig_rw(i & 1 ? NVME_NVM_WRITE : NVME_NVM_READ, t[i].nsid, t[i].slba, 1);

			rig_data(&r, r.mc, &s, p, 512);
			cid[i] = rig_submit(&r, r.mc, 1, s);
		}
		for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
			struct nvme_cqe c = rig_wait(&r, r.mc, 1, cid[i]);

			EXPECT_EQ(nvme_cqe_status(&c) & 0x7ff, t[i].status);
		}
	}
}

/* ---- fields of the commands on one range */

#define DEAC (1u << 25)
#define FUA (1u << 30)
#define LR (1u << 31)

/* NVM CS: bounds are LBA Out of Range whatever overflows; what we do not have is an Invalid Field; NLB is zero-based. */
TEST(range_commands_judge_every_field)
{
	static const uint8_t ops[] = { NVME_NVM_WRITE, NVME_NVM_READ, NVME_NVM_COMPARE, NVME_NVM_WRITE_ZEROES, NVME_NVM_VERIFY };
	static const struct { uint32_t nsid; uint64_t slba; unsigned nlb; uint32_t cdw12; unsigned status; } t[] = {
		{ 1, BLOCKS, 1, 0, NVME_LBA_OUT_OF_RANGE },
		{ 1, BLOCKS - 1, 2, 0, NVME_LBA_OUT_OF_RANGE },
		{ 1, BLOCKS - 7, 8, 0, NVME_LBA_OUT_OF_RANGE },
		{ 1, UINT64_MAX, 1, 0, NVME_LBA_OUT_OF_RANGE },
		{ 1, UINT64_MAX, 2, 0, NVME_LBA_OUT_OF_RANGE },	/* the sum wraps to 1 */
		{ 1, UINT64_MAX - 7, 8, 0, NVME_LBA_OUT_OF_RANGE },
		{ 1, 1ull << 32, 1, 0, NVME_LBA_OUT_OF_RANGE },	/* the upper half counts */
		{ 1, 0, 1, 1 << 26, NVME_INVALID_FIELD },	/* PRINFO: no protection information here */
		{ 1, 0, 1, 8u << 26, NVME_INVALID_FIELD },
		{ 1, 0, 1, 1 << 24, NVME_INVALID_FIELD },	/* STC */
		{ 1, 0, 1, 1 << 16, NVME_INVALID_FIELD },	/* command extension */
		{ 0, 0, 1, 0, NVME_INVALID_NAMESPACE },
		{ 2, 0, 1, 0, NVME_INVALID_FIELD },	/* Base 4.1: not attached, */
		{ 0xffffffff, 0, 1, 0, NVME_INVALID_FIELD },
		{ NVME_NSID_MAX + 1, 0, 1, 0, NVME_INVALID_NAMESPACE },
	};
	RIG(r, .queues = 1);
	uint8_t *p = rig_alloc(&r, r.mc, 8192);

	cmd_write(&r, r.mc, 1, 0, 8, 0x77);
	cmd_write(&r, r.mc, 1, BLOCKS - 8, 8, 0x78);
	for (unsigned o = 0; o < ARRAY_LEN(ops); o++)
		for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
			struct nvme_sqe s = with12(rig_rw(ops[o], t[i].nsid, t[i].slba, t[i].nlb), t[i].cdw12);

			EXPECT_STATUS(rig_io_data(&r, r.mc, 1, s, memset(p, 0x5a, 8192), t[i].nlb * 512), t[i].status);
			EXPECT_EQ(p[0], 0x5a);
		}
	EXPECT(cmd_holds(&r, r.mc, 1, 0, 8, 0x77));
	EXPECT(cmd_holds(&r, r.mc, 1, BLOCKS - 8, 8, 0x78));
}

/* Directives are not supported: DTYPE is refused where it is defined. */
TEST(directives_are_refused)
{
	RIG(r, .queues = 1);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);

	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, with12(rig_rw(NVME_NVM_WRITE, 1, 0, 1), 1 << 20), p, 512), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, with12(rig_rw(NVME_NVM_WRITE_ZEROES, 1, 0, 1), 1 << 23)), NVME_INVALID_FIELD);
}

/* The last block is in range, and MDTS is the largest transfer, a block more is too much; without data MDTS does not bind. */
TEST(largest_and_last)
{
	RIG(r, .queues = 1);
	uint8_t *p = rig_alloc(&r, r.mc, NVME_XFER_MAX + 4096);

	EXPECT_STATUS(cmd_write(&r, r.mc, 1, BLOCKS - 1, 1, 3), NVME_SUCCESS);
	EXPECT(cmd_holds(&r, r.mc, 1, BLOCKS - 1, 1, 3));
	memset(p, 4, NVME_XFER_MAX);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, 0, 256), p, NVME_XFER_MAX), NVME_SUCCESS);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_COMPARE, 1, 0, 256), p, NVME_XFER_MAX), NVME_SUCCESS);
	for (unsigned opc = NVME_NVM_WRITE; opc <= NVME_NVM_READ; opc++)
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(opc, 1, 0, 257), p, NVME_XFER_MAX + 512), NVME_INVALID_FIELD);
	EXPECT(cmd_holds(&r, r.mc, 1, 248, 8, 4));
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_VERIFY, 1, 0, BLOCKS)), NVME_SUCCESS);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE_ZEROES, 1, 0, BLOCKS)), NVME_SUCCESS);
	EXPECT(cmd_holds(&r, r.mc, 1, 0, 8, 0));
	EXPECT(cmd_holds(&r, r.mc, 1, BLOCKS - 1, 1, 0));
}

TEST(compare)
{
	RIG(r, .queues = 1);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);

	cmd_write(&r, r.mc, 1, 16, 8, 0x42);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_COMPARE, 1, 16, 8), memset(p, 0x42, 4096), 4096), NVME_SUCCESS);
	p[4095] ^= 1;
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_COMPARE, 1, 16, 8), p, 4096), NVME_COMPARE_FAILURE);
	p[4095] ^= 1;
	p[0] ^= 0x80;
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_COMPARE, 1, 16, 8), p, 4096), NVME_COMPARE_FAILURE);
	EXPECT(cmd_holds(&r, r.mc, 1, 16, 8, 0x42));
}

/* FUA and a switched off cache make a write durable with its completion; so does what has no FUA in the backend. */
TEST(force_unit_access)
{
	RIG(r, .queues = 1, .wrap = spy_open);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);
	struct spy *s = spy_last;

	rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, 0, 1), p, 512);
	EXPECT(!s->fua);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, with12(rig_rw(NVME_NVM_WRITE, 1, 0, 1), FUA | LR), p, 512), NVME_SUCCESS);
	EXPECT(s->fua);
	rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 0, 1), p, 512);
	EXPECT_EQ(s->count[BLK_FLUSH], 0);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, with12(rig_rw(NVME_NVM_READ, 1, 0, 1), FUA), p, 512), NVME_SUCCESS);
	EXPECT_EQ(s->count[BLK_FLUSH], 1);
	rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE_ZEROES, 1, 0, 1));
	EXPECT_EQ(s->count[BLK_FLUSH], 1);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, with12(rig_rw(NVME_NVM_WRITE_ZEROES, 1, 0, 1), FUA)), NVME_SUCCESS);
	EXPECT_EQ(s->count[BLK_FLUSH], 2);
	memset(p, 0, 4096);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, copy_sqe(64, 2), p, 64), NVME_SUCCESS);
	EXPECT_EQ(s->count[BLK_FLUSH], 2);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, with12(copy_sqe(64, 2), FUA), p, 64), NVME_SUCCESS);
	EXPECT_EQ(s->count[BLK_FLUSH], 3);
}

/* Flush: one namespace or, with FFFFFFFFh (VWC bits 2:1), all that are attached to this controller. */
TEST(flush)
{
	RIG(r, .queues = 1, .namespaces = 3, .wrap = spy_open);
	struct spy *s = spy_last;	/* namespace 3's */

	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_FLUSH, 1, 0, 1)), NVME_SUCCESS);
	EXPECT_EQ(s->count[BLK_FLUSH], 0);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_FLUSH, 3, 0, 1)), NVME_SUCCESS);
	EXPECT_EQ(s->count[BLK_FLUSH], 1);
	s->hold = 1 << BLK_FLUSH;
	uint16_t cid = rig_submit(&r, r.mc, 1, rig_rw(NVME_NVM_FLUSH, 0xffffffff, 0, 1));
	rig_settle(&r);
	EXPECT_EQ(s->count[BLK_FLUSH], 2);
	EXPECT_EQ(nvme_ns_find(r.ss, 3)->inflight, 1);	/* held while it is flushed */
	EXPECT_EQ(nvme_ns_find(r.ss, 1)->inflight, 0);
	spy_release(s);
	EXPECT_STATUS(rig_wait(&r, r.mc, 1, cid), NVME_SUCCESS);
	EXPECT_EQ(nvme_ns_find(r.ss, 3)->inflight, 0);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_FLUSH, 4, 0, 1)), NVME_INVALID_FIELD);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_FLUSH, 0, 0, 1)), NVME_INVALID_NAMESPACE);
	s->fail = -EIO;
	s->fail_ops = 1 << BLK_FLUSH;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_FLUSH, 0xffffffff, 0, 1)), NVME_WRITE_FAULT);
	EXPECT_EQ(nvme_ns_find(r.ss, 3)->inflight, 0);
}

/* What a backend says reaches the host as the right kind of media error, and is counted. */
TEST(backend_errors)
{
	static const struct { uint8_t opc; unsigned op; int rc; unsigned status; } t[] = {
		{ NVME_NVM_READ, BLK_READ, -EIO, NVME_UNRECOVERED_READ }, { NVME_NVM_COMPARE, BLK_READ, -EIO, NVME_UNRECOVERED_READ },
		{ NVME_NVM_VERIFY, BLK_READ, -EILSEQ, NVME_UNRECOVERED_READ }, { NVME_NVM_WRITE, BLK_WRITE, -EIO, NVME_WRITE_FAULT },
		{ NVME_NVM_WRITE, BLK_WRITE, -ENOSPC, NVME_CAPACITY_EXCEEDED },
		{ NVME_NVM_WRITE_ZEROES, BLK_ZERO, -EIO, NVME_WRITE_FAULT }, { NVME_NVM_FLUSH, BLK_FLUSH, -EIO, NVME_WRITE_FAULT },
	};
	RIG(r, .queues = 1, .wrap = spy_open);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		spy_last->fail = t[i].rc;
		spy_last->fail_ops = 1u << t[i].op;
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(t[i].opc, 1, 0, 1), p, 512), t[i].status);
		spy_last->fail = 0;
	}
	EXPECT_EQ(r.mc->smart.media_errors, 6);
	EXPECT_EQ(nvme_ns_find(r.ss, 1)->inflight, 0);
}

/* Verify reads all of its range: an error in the last block is found. */
TEST(verify_reads_to_the_end)
{
	RIG(r, .queues = 1, .wrap = spy_open);

	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_VERIFY, 1, 3, 1000)), NVME_SUCCESS);
	EXPECT_EQ(spy_last->count[BLK_READ], 4);	/* of 128 KiB */
	spy_last->fail = -EIO;
	spy_last->fail_ops = 1 << BLK_READ;
	spy_last->fail_after = 3;
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_VERIFY, 1, 3, 1000)), NVME_UNRECOVERED_READ);
}

/* ---- Dataset Management */

struct range { uint64_t slba; uint32_t nlb; };

static struct nvme_cqe dsm(struct rig *r, struct nvme_ctrl *c, const struct range *v, unsigned n, bool ad)
{
	struct nvme_sqe s = { .opc = NVME_NVM_DSM, .nsid = le32_of(1) };
	struct nvme_dsm_range *d = cmd_page(r, c);

	for (unsigned i = 0; i < n; i++)
		d[i] = (struct nvme_dsm_range){ .nlb = le32_of(v[i].nlb), .slba = le64_of(v[i].slba) };
	nvme_dsm_nr0_put(&s, n - 1);
	nvme_dsm_ad_put(&s, ad);
	return rig_io_data(r, c, 1, s, d, n * 16);
}

/* All ranges act, gaps do not; lengths count from 1; without AD nothing acts. */
TEST(dsm_deallocates_its_ranges_only)
{
	static const struct range v[] = { { 0, 8 }, { 24, 8 }, { 40, 0 }, { 43, 2 }, { BLOCKS + 9, 0 } };
	RIG(r, .queues = 1);

	for (unsigned lba = 0; lba < 64; lba += 8)
		cmd_write(&r, r.mc, 1, lba, 8, 0x66);
	EXPECT_STATUS(dsm(&r, r.mc, v, 5, false), NVME_SUCCESS);
	for (unsigned lba = 0; lba < 64; lba += 8)
		EXPECT(cmd_holds(&r, r.mc, 1, lba, 8, 0x66));
	EXPECT_STATUS(dsm(&r, r.mc, v, 5, true), NVME_SUCCESS);
	for (unsigned lba = 0; lba < 64; lba++)
		EXPECT(cmd_holds(&r, r.mc, 1, lba, 1, lba < 8 || (lba >= 24 && lba < 32) || lba == 43 || lba == 44 ? 0 : 0x66));
}

/* Every range is judged before the first acts. */
TEST(dsm_judges_all_before_any)
{
	static const struct range bad[] = {
		{ BLOCKS, 1 }, { BLOCKS - 1, 2 }, { UINT64_MAX, 2 }, { 0, UINT32_MAX }, { UINT64_MAX - UINT32_MAX + 2, UINT32_MAX }
	};
	RIG(r, .queues = 1);

	cmd_write(&r, r.mc, 1, 0, 8, 0x66);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct range v[2] = { { 0, 8 }, bad[i] };

		EXPECT_STATUS(dsm(&r, r.mc, v, 2, true), NVME_LBA_OUT_OF_RANGE);
		EXPECT_STATUS(dsm(&r, r.mc, v, 2, false), NVME_LBA_OUT_OF_RANGE);
		EXPECT(cmd_holds(&r, r.mc, 1, 0, 8, 0x66));
	}
	EXPECT_STATUS(dsm(&r, r.mc, (struct range[]){ { 0, BLOCKS } }, 1, true), NVME_SUCCESS);
	EXPECT(cmd_holds(&r, r.mc, 1, 0, 8, 0));
}

/* All 256 ranges: more than would be safe if each nested in the one before. */
TEST(dsm_with_all_its_ranges)
{
	struct range v[256];
	RIG(r, .queues = 1);

	for (unsigned i = 0; i < 256; i++) {
		v[i] = (struct range){ 16 * i, 8 };
		cmd_write(&r, r.mc, 1, 16 * i, 8, 1);
	}
	EXPECT_STATUS(dsm(&r, r.mc, v, 256, true), NVME_SUCCESS);
	for (unsigned i = 0; i < 256; i++)
		EXPECT(cmd_holds(&r, r.mc, 1, 16 * i, 8, 0));
}

/* ---- Copy */

static struct nvme_cqe copy(struct rig *r, struct nvme_ctrl *c, uint64_t sdlba, const struct range *v, unsigned n)
{
	struct nvme_copy_range *d = cmd_page(r, c);

	memset(d, 0, 4096);
	for (unsigned i = 0; i < MIN(n, 128u); i++) {
		d[i].slba = le64_of(v[i].slba);
		d[i].nlb0 = le16_of((uint16_t)(v[i].nlb - 1));
	}
	return rig_io_data(r, c, 1, copy_sqe(sdlba, n), d, MIN(n, 128u) * 32);
}

/* Sources are laid down one behind the other in their order. */
TEST(copy_gathers)
{
	static const struct range v[] = { { 8, 3 }, { 0, 2 }, { 16, 8 } };
	RIG(r, .queues = 1);
	struct nvme_cqe e;

	for (unsigned i = 0; i < 3; i++)
		cmd_write(&r, r.mc, 1, 8 * i, 8, (uint8_t)(i + 1));
	cmd_write(&r, r.mc, 1, 100, 8, 9);
	cmd_write(&r, r.mc, 1, 108, 8, 9);
	e = copy(&r, r.mc, 101, v, 3);
	EXPECT_STATUS(e, NVME_SUCCESS);
	EXPECT(cmd_holds(&r, r.mc, 1, 100, 1, 9));
	EXPECT(cmd_holds(&r, r.mc, 1, 101, 3, 2));
	EXPECT(cmd_holds(&r, r.mc, 1, 104, 2, 1));
	EXPECT(cmd_holds(&r, r.mc, 1, 106, 8, 3));
	EXPECT(cmd_holds(&r, r.mc, 1, 114, 2, 9));
}

/* Limits are those of Identify Namespace; the largest copy passes and needs many pieces. */
TEST(copy_limits)
{
	RIG(r, .queues = 1, .blocks = 65536);
	struct nvme_id_ns id;
	struct range v[128];

	cmd_identify(&r, r.mc, NVME_CNS_NS, 1, 0, 0, &id);
	for (unsigned i = 0; i < 128; i++)
		v[i] = (struct range){ 40000, le16_get(id.mssrl) };
	cmd_write(&r, r.mc, 1, 40000, 8, 0x31);
	cmd_write(&r, r.mc, 1, 40000 + le16_get(id.mssrl) - 8, 8, 0x32);
	v[0].nlb++;
	EXPECT_STATUS(copy(&r, r.mc, 0, v, 1), NVME_SIZE_LIMIT);
	v[0].nlb--;
	EXPECT_STATUS(copy(&r, r.mc, 0, v, le32_get(id.mcl) / le16_get(id.mssrl) + 1), NVME_SIZE_LIMIT);
	EXPECT(cmd_holds(&r, r.mc, 1, 0, 8, 0));
	EXPECT_STATUS(copy(&r, r.mc, 0, v, le32_get(id.mcl) / le16_get(id.mssrl)), NVME_SUCCESS);
	EXPECT(cmd_holds(&r, r.mc, 1, le32_get(id.mcl) - le16_get(id.mssrl), 8, 0x31));
	EXPECT(cmd_holds(&r, r.mc, 1, le32_get(id.mcl) - 8, 8, 0x32));
	for (unsigned i = 0; i < 128; i++)
		v[i].nlb = 1;
	EXPECT_STATUS(copy(&r, r.mc, 0, v, id.msrc + 1), NVME_SUCCESS);
	EXPECT_STATUS(copy(&r, r.mc, 0, v, id.msrc + 2), NVME_SIZE_LIMIT);
}

/* Out of range anywhere, or a source that the copy itself would overwrite: nothing is written. */
TEST(copy_judges_all_before_any)
{
	static const struct { uint64_t sdlba; struct range v[2]; unsigned status; } t[] = {
		{ 100, { { 0, 8 }, { BLOCKS, 1 } }, NVME_LBA_OUT_OF_RANGE },
		{ 100, { { 0, 8 }, { BLOCKS - 1, 2 } }, NVME_LBA_OUT_OF_RANGE },
		{ 100, { { 0, 8 }, { UINT64_MAX, 2 } }, NVME_LBA_OUT_OF_RANGE },
		{ BLOCKS - 8, { { 0, 8 }, { 0, 1 } }, NVME_LBA_OUT_OF_RANGE },
		{ UINT64_MAX - 3, { { 0, 8 }, { 0, 8 } }, NVME_LBA_OUT_OF_RANGE },
		{ 100, { { 0, 8 }, { 108, 8 } }, NVME_OVERLAPPING_IO_RANGE },
		{ 100, { { 0, 8 }, { 93, 8 } }, NVME_OVERLAPPING_IO_RANGE },
		{ 4, { { 0, 8 }, { 500, 8 } }, NVME_OVERLAPPING_IO_RANGE },
	};
	static const uint32_t fields[] = { 1 << 8, 2 << 8, 15 << 8, 1 << 12, 1 << 26, 1 << 16, 1 << 20 };
	RIG(r, .queues = 1);
	struct range ok = { 0, 8 };

	cmd_write(&r, r.mc, 1, 0, 8, 0x55);
	cmd_write(&r, r.mc, 1, 100, 8, 0x66);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		EXPECT_STATUS(copy(&r, r.mc, t[i].sdlba, t[i].v, 2), t[i].status);
		EXPECT(cmd_holds(&r, r.mc, 1, 0, 8, 0x55));
		EXPECT(cmd_holds(&r, r.mc, 1, 100, 8, 0x66));
	}
	for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {	/* formats, protection, extension, directive */
		struct nvme_sqe s = with12(copy_sqe(100, 1), fields[i]);
		struct nvme_copy_range *d = memset(cmd_page(&r, r.mc), 0, 4096);

		d->nlb0 = le16_of(7);
		EXPECT_STATUS(rig_io_data(&r, r.mc, 1, s, d, 32), NVME_INVALID_FIELD);
	}
	EXPECT(cmd_holds(&r, r.mc, 1, 100, 8, 0x66));
	EXPECT_STATUS(copy(&r, r.mc, 8, &ok, 1), NVME_SUCCESS);	/* touching is not overlapping */
	EXPECT(cmd_holds(&r, r.mc, 1, 8, 8, 0x55));
}

/* NVM CS, Copy: DW0 of a failure is the first source range that was not copied whole. */
TEST(copy_says_how_far_it_came)
{
	static const struct range v[] = { { 0, 8 }, { 8, 8 }, { 16, 8 } };
	RIG(r, .queues = 1, .wrap = spy_open);
	struct nvme_cqe e;

	for (unsigned i = 0; i < 3; i++)
		cmd_write(&r, r.mc, 1, 8 * i, 8, (uint8_t)(i + 1));
	spy_last->fail = -EIO;
	spy_last->fail_ops = 1 << BLK_WRITE;
	spy_last->fail_after = 1;
	e = copy(&r, r.mc, 100, v, 3);
	spy_last->fail = 0;
	EXPECT_STATUS(e, NVME_WRITE_FAULT);
	EXPECT_EQ(cmd_dw0(e), 1);
	EXPECT(cmd_holds(&r, r.mc, 1, 100, 8, 1));
	EXPECT(cmd_holds(&r, r.mc, 1, 116, 8, 0));
}

/* ---- what is logged (design rule 2): read back from a User Data Migration Queue */

struct log { struct nvme_lbamq *slot; unsigned at; };

static struct log log_start(struct rig *r)
{
	struct log l = { .slot = rig_alloc(r, r->mmc, 256 * 32) };
	struct nvme_sqe s = { .opc = NVME_OP_CDQ, .prp1 = le64_of(rig_iova(r, r->mmc, l.slot)) };
	struct nvme_cqe e;

	nvme_cdq_pc_put(&s, 1);
	nvme_cdq_cqs_put(&s, nvme_ctrl_cntlid(r->mc));
	nvme_cdq_cdqsize_put(&s, 256 * 8);
	e = rig_admin(r, r->mmc, s);
	EXPECT_STATUS(e, NVME_SUCCESS);
	s = (struct nvme_sqe){ .opc = NVME_OP_TRACK_SEND };
	nvme_track_send_sel_put(&s, NVME_TRACK_LOG);
	nvme_track_send_lact_put(&s, 1);
	nvme_track_send_cdqid_put(&s, cmd_dw0(e) & 0xffff);
	EXPECT_STATUS(rig_admin(r, r->mmc, s), NVME_SUCCESS);
	return l;
}

/* The next entry about data, NULL if there is none; entries without a range are skipped. One round of the ring only. */
static const struct nvme_lbamq *log_next(struct log *l)
{
	while (l->slot[l->at].lbamqa & NVME_LBAMQ_PHASE) {
		const struct nvme_lbamq *e = &l->slot[l->at++];

		if (e->lbamqa >> NVME_LBAMQ_LBACIR_SHIFT != NVME_LBACIR_NONE)
			return e;
	}
	return NULL;
}
#define EXPECT_LOGGED(l, slba_, nlb_, dealloc_)                                                     \
	do {                                                                                         \
		const struct nvme_lbamq *e_ = log_next(l);                                           \
		EXPECT(e_);                                                                          \
		EXPECT_EQ(le64_get(e_->slba), slba_);                                                \
		EXPECT_EQ(le32_get(e_->nlb0) + 1, nlb_);                                             \
		EXPECT_EQ(!!(e_->lbamqa & NVME_LBAMQ_DLBA), dealloc_);                               \
		EXPECT_EQ(e_->lbamqa >> NVME_LBAMQ_LBACIR_SHIFT, NVME_LBACIR_RANGE);                 \
	} while (0)

/* RING-15, -18, -19, -22: writes, zeroes and Copy's destination are logged, reading is not. */
TEST(changes_are_logged)
{
	static const struct range v[] = { { 8, 8 }, { 32, 4 } };
	RIG(r, .queues = 1);
	struct log l = log_start(&r);
	uint8_t *p = rig_alloc(&r, r.mc, 4096);

	cmd_write(&r, r.mc, 1, 3, 5, 1);
	EXPECT_LOGGED(&l, 3, 5, false);
	rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE_ZEROES, 1, 8, 8));
	EXPECT_LOGGED(&l, 8, 8, false);
	rig_io(&r, r.mc, 1, with12(rig_rw(NVME_NVM_WRITE_ZEROES, 1, 8, 5), DEAC));
	EXPECT_LOGGED(&l, 8, 5, false);		/* part of a unit may stay allocated: RING-17 */
	copy(&r, r.mc, 100, v, 2);
	EXPECT_LOGGED(&l, 100, 8, false);
	EXPECT_LOGGED(&l, 108, 4, false);
	cmd_holds(&r, r.mc, 1, 0, 8, 0);
	rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_COMPARE, 1, 0, 8), p, 4096);
	rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_VERIFY, 1, 0, 8));
	rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_FLUSH, 1, 0, 1));
	dsm(&r, r.mc, v, 2, false);
	cmd_write(&r, r.mmc, 1, 3, 5, 1);	/* RING-20: somebody else's */
	cmd_write(&r, r.mc, 1, BLOCKS, 1, 1);	/* refused */
	EXPECT(!log_next(&l));
}

/* Every range of a Dataset Management, the last one too (a build that forgets it must fail here); DLBA where units are whole. */
TEST(dsm_logs_every_range)
{
	RIG(r, .queues = 1);
	unsigned unit = nvme_ns_blk(nvme_ns_find(r.ss, 1))->alloc_blocks;
	struct range v[] = { { 0, unit }, { 3 * unit + 1, unit }, { BLOCKS - unit, unit } };
	struct log l = log_start(&r);

	EXPECT_STATUS(dsm(&r, r.mc, v, 3, true), NVME_SUCCESS);
	EXPECT_LOGGED(&l, 0, unit, true);
	EXPECT_LOGGED(&l, 3 * unit + 1, unit, unit == 1);
	EXPECT_LOGGED(&l, BLOCKS - unit, unit, true);
	EXPECT(!log_next(&l));
}

/* A unit that the namespace's end cuts short is whole when all there is of it is gone. */
TEST(dsm_of_the_last_cut_unit)
{
	RIG(r, .queues = 1, .blocks = 8187);
	struct log l = log_start(&r);

	EXPECT_STATUS(dsm(&r, r.mc, (struct range[]){ { 8184, 3 } }, 1, true), NVME_SUCCESS);
	EXPECT_LOGGED(&l, 8184, 3, true);
	EXPECT_STATUS(dsm(&r, r.mc, (struct range[]){ { 8184, 2 } }, 1, true), NVME_SUCCESS);
	EXPECT_LOGGED(&l, 8184, 2, false);
}

/* RING-16: no entry before the medium has it, and one by the time the completion is there. */
TEST(logged_after_the_medium_before_the_completion)
{
	static const struct { uint8_t opc; unsigned op; } t[] = {
		{ NVME_NVM_WRITE, BLK_WRITE }, { NVME_NVM_WRITE_ZEROES, BLK_ZERO }, { NVME_NVM_DSM, BLK_DEALLOC }, { NVME_NVM_COPY, BLK_WRITE }
	};
	RIG(r, .queues = 1, .wrap = spy_open);
	struct log l = log_start(&r);

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct nvme_sqe s = rig_rw(t[i].opc, 1, 64, 8);
		uint8_t *p = memset(cmd_page(&r, r.mc), 0, 4096);
		struct nvme_cqe e;
		uint16_t cid;

		if (t[i].opc == NVME_NVM_DSM) {
			s = (struct nvme_sqe){ .opc = NVME_NVM_DSM, .nsid = le32_of(1) };
			nvme_dsm_ad_put(&s, 1);
			((struct nvme_dsm_range *)p)->nlb = le32_of(8);
			((struct nvme_dsm_range *)p)->slba = le64_of(64);
		}
		if (t[i].opc == NVME_NVM_COPY) {
			s = copy_sqe(64, 1);
			((struct nvme_copy_range *)p)->nlb0 = le16_of(7);
		}
		rig_data(&r, r.mc, &s, p, 4096);
		spy_last->hold = 1u << t[i].op;
		cid = rig_submit(&r, r.mc, 1, s);
		rig_settle(&r);
		EXPECT(!list_empty(&spy_last->held));
		EXPECT(!log_next(&l));
		spy_release(spy_last);
		while (!rig_try(&r, r.mc, 1, cid, &e))
			rig_poll(&r);
		EXPECT_STATUS(e, NVME_SUCCESS);
		EXPECT_LOGGED(&l, 64, 8, t[i].opc == NVME_NVM_DSM);
	}
}

/* RING-21: a command that failed on the medium may have changed blocks. What was never begun is not logged. */
TEST(failures_are_logged_as_far_as_they_came)
{
	static const struct range v[] = { { 0, 8 }, { 16, 8 }, { 32, 8 } };
	RIG(r, .queues = 1, .wrap = spy_open);
	struct log l = log_start(&r);

	spy_last->fail = -EIO;
	spy_last->fail_ops = 1 << BLK_WRITE | 1 << BLK_ZERO | 1 << BLK_DEALLOC;
	EXPECT_STATUS(cmd_write(&r, r.mc, 1, 8, 8, 1), NVME_WRITE_FAULT);
	EXPECT_LOGGED(&l, 8, 8, false);
	EXPECT_STATUS(rig_io(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE_ZEROES, 1, 8, 8)), NVME_WRITE_FAULT);
	EXPECT_LOGGED(&l, 8, 8, false);
	spy_last->fail_after = 1;
	EXPECT_STATUS(dsm(&r, r.mc, v, 3, true), NVME_WRITE_FAULT);
	EXPECT_LOGGED(&l, 0, 8, true);
	EXPECT_LOGGED(&l, 16, 8, false);
	spy_last->fail_after = 1;
	EXPECT_STATUS(copy(&r, r.mc, 200, v, 3), NVME_WRITE_FAULT);
	EXPECT_LOGGED(&l, 200, 8, false);
	EXPECT_LOGGED(&l, 208, 8, false);
	EXPECT(!log_next(&l));
}

/* Format NVM by the MC changes the whole namespace: one entry that says so, or that covers it. */
TEST(format_is_logged_as_a_whole)
{
	RIG(r, .queues = 1);
	struct log l = log_start(&r);
	const struct nvme_lbamq *e;

	EXPECT_STATUS(rig_admin(&r, r.mc, cmd_format(1, 0)), NVME_SUCCESS);
	e = log_next(&l);
	EXPECT(e);
	EXPECT_EQ(le32_get(e->nsid), 1);
	if (e->lbamqa >> NVME_LBAMQ_LBACIR_SHIFT == NVME_LBACIR_RANGE) {
		EXPECT_EQ(le64_get(e->slba), 0);
		EXPECT_EQ(le32_get(e->nlb0), BLOCKS - 1);
	}
	EXPECT(!log_next(&l));
}

/* ---- a random run against a plain array, with every layout a host may choose */

enum { MODEL_BYTES = 1 << 20, BUF_BYTES = 256 << 10, MODEL_STEPS = 3000 };

struct model {
	struct rig *r;
	unsigned shift, blocks;
	uint64_t rnd;
	uint8_t *want;			/* the namespace as it should be */
	uint8_t *buf, *lists, *flat;	/* guest memory: data, PRP or SGL lists; flat: what the command carries, in order */
	uint8_t *thrown;		/* 1: that byte of the last command went into a bit bucket */
};

static uint32_t rnd(struct model *m, uint32_t below)
{
	m->rnd ^= m->rnd << 13;
	m->rnd ^= m->rnd >> 7;
	m->rnd ^= m->rnd << 17;
	return (uint32_t)((m->rnd * 0x2545f4914f6cdd1dull >> 32) % below);
}

struct piece { uint8_t *p; uint32_t len; bool bucket; };
struct layout { struct piece v[64]; unsigned n; };

/* PRPs: any dword offset in the first page, then pages in any order. */
static void lay_prp(struct model *m, struct nvme_sqe *s, uint32_t len, struct layout *l)
{
	uint32_t off = rnd(m, 3) ? 4 * rnd(m, 1024) : 0, page = 0, used[64];
	le64 *list = (le64 *)m->lists;
	unsigned extra = 0;

	l->n = 0;
	for (unsigned i = 0; i < 64; i++)
		used[i] = i;
	while (len) {
		uint32_t pick = page + rnd(m, 64 - page), n = MIN(len, 4096 - off), t = used[pick];

		used[pick] = used[page];
		used[page++] = t;
		l->v[l->n++] = (struct piece){ m->buf + 4096 * t + off, n, false };
		if (l->n == 1)
			s->prp1 = le64_of(rig_iova(m->r, m->r->mc, m->buf + 4096 * t + off));
		else
			list[extra++] = le64_of(rig_iova(m->r, m->r->mc, m->buf + 4096 * t));
		len -= n;
		off = 0;
	}
	if (extra == 1)
		s->prp2 = list[0];
	else if (extra)
		s->prp2 = le64_of(rig_iova(m->r, m->r->mc, list));
}

static void sgl_put(struct nvme_sgl *d, unsigned type, uint64_t addr, uint32_t len)
{
	*d = (struct nvme_sgl){ .addr = le64_of(addr), .len = le32_of(len), .type = (uint8_t)(type << 4) };
}

/* SGLs: pieces of any length, for reads also bit buckets, in one segment or two. */
static void lay_sgl(struct model *m, struct nvme_sqe *s, uint32_t len, bool read, struct layout *l)
{
	struct nvme_sgl *d = (struct nvme_sgl *)m->lists, first;
	uint32_t at = rnd(m, 64);
	unsigned cut;

	l->n = 0;
	while (len) {
		uint32_t n = l->n == 15 ? len : MIN(len, 1 + rnd(m, len));

		l->v[l->n] = (struct piece){ m->buf + at, n, read && !rnd(m, 6) };
		sgl_put(&d[l->n + (l->n >= 8)], l->v[l->n].bucket ? NVME_SGL_BIT_BUCKET : NVME_SGL_DATA,
			l->v[l->n].bucket ? 0 : rig_iova(m->r, m->r->mc, m->buf + at), n);
		at += n + rnd(m, 128);
		len -= n;
		l->n++;
	}
	cut = l->n > 9 ? 8 : l->n;	/* descriptor 8 leads to the rest */
	if (l->n == 9)
		d[8] = d[9];		/* just one more: no need for another segment */
	s->flags = NVME_PSDT_SGL;
	if (l->n == 1)
		first = d[0];
	else if (cut == 8 && l->n > 9) {
		sgl_put(&d[8], NVME_SGL_LAST, rig_iova(m->r, m->r->mc, d + 9), (l->n - 8) * 16);
		sgl_put(&first, NVME_SGL_SEGMENT, rig_iova(m->r, m->r->mc, d), 9 * 16);
	} else
		sgl_put(&first, NVME_SGL_LAST, rig_iova(m->r, m->r->mc, d), l->n * 16);
	memcpy(&s->prp1, &first, 16);
}

/* Spreads flat over the guest's buffer, runs the command, and gathers what is there afterwards. */
static struct nvme_cqe run(struct model *m, struct nvme_sqe s, uint32_t len, bool read)
{
	struct layout l = { .n = 0 };
	struct nvme_cqe e;
	uint8_t *f = m->flat;

	if (rnd(m, 2))
		lay_prp(m, &s, len, &l);
	else
		lay_sgl(m, &s, len, read, &l);
	for (unsigned i = 0; i < l.n; f += l.v[i++].len)
		if (!l.v[i].bucket)
			memcpy(l.v[i].p, f, l.v[i].len);
	e = rig_io(m->r, m->r->mc, 1, s);
	f = m->flat;
	for (unsigned i = 0; read && i < l.n; f += l.v[i++].len) {
		memset(m->thrown + (f - m->flat), l.v[i].bucket, l.v[i].len);
		if (!l.v[i].bucket)
			memcpy(f, l.v[i].p, l.v[i].len);
	}
	return e;
}

static void range_any(struct model *m, uint64_t *lba, uint32_t *nlb, uint32_t max)
{
	*nlb = 1 + rnd(m, rnd(m, 4) ? MIN(max, 16u) : max);
	*lba = rnd(m, m->blocks - *nlb + 1);
}

static void step_write(struct model *m)
{
	uint64_t lba;
	uint32_t nlb, len;

	range_any(m, &lba, &nlb, NVME_XFER_MAX >> m->shift);
	len = nlb << m->shift;
	for (uint32_t i = 0; i < len; i++)
		m->flat[i] = (uint8_t)(m->rnd >> i % 57) ^ (uint8_t)i;
	memcpy(m->want + (lba << m->shift), m->flat, len);
	EXPECT_STATUS(run(m, rig_rw(NVME_NVM_WRITE, 1, lba, nlb), len, false), NVME_SUCCESS);
}

static void step_read(struct model *m)
{
	uint64_t lba;
	uint32_t nlb, len;

	range_any(m, &lba, &nlb, NVME_XFER_MAX >> m->shift);
	len = nlb << m->shift;
	for (uint32_t i = 0; i < len; i++)
		m->flat[i] = m->want[(lba << m->shift) + i] ^ 0xff;
	EXPECT_STATUS(run(m, rig_rw(NVME_NVM_READ, 1, lba, nlb), len, true), NVME_SUCCESS);
	for (uint32_t i = 0; i < len; i++)
		if (!m->thrown[i] && m->flat[i] != m->want[(lba << m->shift) + i])
			fail_msg("block %u byte %u", (unsigned)lba, i);
}

/* What the model says, sometimes with one bit changed. */
static void step_compare(struct model *m)
{
	uint64_t lba;
	uint32_t nlb, len;
	bool differ = rnd(m, 3) == 0;

	range_any(m, &lba, &nlb, NVME_XFER_MAX >> m->shift);
	len = nlb << m->shift;
	memcpy(m->flat, m->want + (lba << m->shift), len);
	if (differ)
		m->flat[rnd(m, len)] ^= 1 << rnd(m, 8);
	EXPECT_STATUS(run(m, rig_rw(NVME_NVM_COMPARE, 1, lba, nlb), len, false), differ ? NVME_COMPARE_FAILURE : NVME_SUCCESS);
}

static void step_zeroes(struct model *m)
{
	uint64_t lba;
	uint32_t nlb;

	range_any(m, &lba, &nlb, m->blocks / 4);
	memset(m->want + (lba << m->shift), 0, (size_t)nlb << m->shift);
	EXPECT_STATUS(rig_io(m->r, m->r->mc, 1, with12(rig_rw(NVME_NVM_WRITE_ZEROES, 1, lba, nlb), rnd(m, 2) ? DEAC : 0)), NVME_SUCCESS);
}

static void step_dsm(struct model *m)
{
	struct nvme_dsm_range *d = (struct nvme_dsm_range *)m->flat;
	struct nvme_sqe s = { .opc = NVME_NVM_DSM, .nsid = le32_of(1) };
	unsigned n = 1 + rnd(m, rnd(m, 5) ? 4 : 256);
	bool ad = rnd(m, 4);

	nvme_dsm_nr0_put(&s, n - 1);
	nvme_dsm_ad_put(&s, ad);
	for (unsigned i = 0; i < n; i++) {
		uint64_t lba;
		uint32_t nlb;

		range_any(m, &lba, &nlb, 32);
		nlb -= !rnd(m, 8) ? nlb : 0;
		d[i] = (struct nvme_dsm_range){ .nlb = le32_of(nlb), .slba = le64_of(lba) };
		if (ad)
			memset(m->want + (lba << m->shift), 0, (size_t)nlb << m->shift);
	}
	EXPECT_STATUS(run(m, s, n * 16, false), NVME_SUCCESS);
}

static void step_copy(struct model *m)
{
	struct nvme_copy_range *d = (struct nvme_copy_range *)m->flat;
	unsigned n = 1 + rnd(m, 6), half = m->blocks / 2, total = 0, most = half / 8, dst = rnd(m, half - 6 * most);
	bool up = rnd(m, 2);
	uint8_t *to = m->want + ((size_t)(dst + (up ? half : 0)) << m->shift);

	memset(d, 0, n * sizeof(*d));
	for (unsigned i = 0; i < n; i++) {
		unsigned nlb = 1 + rnd(m, most), lba = rnd(m, half - nlb) + (up ? 0 : half);

		d[i].slba = le64_of(lba);
		d[i].nlb0 = le16_of((uint16_t)(nlb - 1));
		memcpy(to + ((size_t)total << m->shift), m->want + ((size_t)lba << m->shift), (size_t)nlb << m->shift);
		total += nlb;
	}
	EXPECT_STATUS(run(m, copy_sqe(dst + (up ? half : 0), n), n * 32, false), NVME_SUCCESS);
}

/* Everything the model says, compared in the largest pieces. */
static void check_all(struct model *m)
{
	uint32_t n = NVME_XFER_MAX >> m->shift;

	for (uint64_t lba = 0; lba < m->blocks; lba += n) {
		memcpy(m->flat, m->want + (lba << m->shift), NVME_XFER_MAX);
		EXPECT_STATUS(run(m, rig_rw(NVME_NVM_COMPARE, 1, lba, n), NVME_XFER_MAX, false), NVME_SUCCESS);
	}
}

static void model_run(unsigned shift, uint64_t seed, bool by_message)
{
	static void (*const steps[])(struct model *) = {
		step_write, step_write, step_read, step_read, step_compare, step_zeroes, step_dsm, step_copy
	};
	RIG(r, .queues = 1, .block_bytes = 1u << shift, .blocks = MODEL_BYTES >> shift, .by_message = by_message);
	struct model m = { .r = &r, .shift = shift, .blocks = MODEL_BYTES >> shift, .rnd = seed };

	m.want = calloc(1, MODEL_BYTES);
	m.flat = malloc(NVME_XFER_MAX);
	m.thrown = calloc(1, NVME_XFER_MAX);
	m.buf = rig_alloc(&r, r.mc, BUF_BYTES);
	m.lists = rig_alloc(&r, r.mc, 4096);
	for (unsigned i = 0; i < MODEL_STEPS / (by_message ? 4 : 1); i++)
		steps[rnd(&m, ARRAY_LEN(steps))](&m);
	check_all(&m);
	EXPECT_EQ(nvme_ns_find(r.ss, 1)->inflight, 0);
	free(m.want);
	free(m.flat);
	free(m.thrown);
}

TEST(model_512) { model_run(9, 0x9e3779b97f4a7c15ull, false); }
TEST(model_512_again) { model_run(9, 12345, false); }
TEST(model_4096) { model_run(12, 0xdeadbeefcafef00dull, false); }
TEST(model_by_message) { model_run(9, 77, true); }
