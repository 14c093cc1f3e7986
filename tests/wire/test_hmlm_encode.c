/* Commands of the move as literal dwords, and readers against controllers that lie. The numbers are worked out by hand from
 * the tables of Base 2.1 (5.1.4, 5.1.16, 5.1.17, 5.1.26, 5.1.27, 5.1.25.1.23) and NVM CS 1.2 (4.2.1, 5.6), not by our macros.
 * MC CNTLID 0002h, CDQID 0001h. */
#include "t.h"

#include <errno.h>

#include "host/hmlm.h"

struct dwords { uint32_t d[16]; };

static struct dwords dw(const struct nvme_sqe *s)
{
	struct dwords w;

	memcpy(&w, s, sizeof(w)); /* the machines we run on are little-endian, as the wire is */
	return w;
}

#define GOLD(opc, ...)                                                                   \
	do {                                                                             \
		const uint32_t want_[6] = { __VA_ARGS__ };                               \
		struct dwords w_ = dw(&s);                                               \
		EXPECT_EQ(w_.d[0], opc);                                                 \
		for (int i_ = 0; i_ < 6; i_++)                                           \
			EXPECT_EQ(w_.d[10 + i_], want_[i_]);                             \
	} while (0)

/* Base 5.1.4: CDQSIZE counts dwords, one-based, unlike every other queue size. */
TEST(cdq)
{
	struct nvme_sqe s;

	hmlm_cdq_create(&s, 2, 1024, 0x123456000ull, true);
	GOLD(0x45, 0x00000000, 0x00020001, 0x00000400, 0, 0, 0);
	EXPECT_EQ(dw(&s).d[6], 0x23456000);
	EXPECT_EQ(dw(&s).d[7], 1);
	EXPECT_EQ(dw(&s).d[1], 0); /* no NSID */
	hmlm_cdq_delete(&s, 1);
	GOLD(0x45, 0x00000001, 0x00000001, 0, 0, 0, 0);
}

/* Base 5.1.27: the operation specific bits are 31:16. */
TEST(track_send)
{
	struct nvme_sqe s;

	hmlm_track_log(&s, 1, true);
	GOLD(0x3d, 0x00010000, 0x00000001, 0, 0, 0, 0);
	hmlm_track_log(&s, 1, false);
	GOLD(0x3d, 0x00000000, 0x00000001, 0, 0, 0, 0);
	hmlm_track_mem(&s, 2, true);
	GOLD(0x3d, 0x00010001, 0x00000002, 0, 0, 0, 0);
	hmlm_track_mem(&s, 2, false);
	GOLD(0x3d, 0x00000001, 0x00000002, 0, 0, 0, 0);
}

TEST(track_receive)
{
	struct nvme_sqe s;

	hmlm_track_receive(&s, 2, 4096);
	GOLD(0x3e, 0x00000000, 0x00000002, 0x000003ff, 0, 0, 0);
}

/* Base 5.1.17.1.1: STYPE 0h only announces; DUDMQ is bit 31. */
TEST(suspend_resume)
{
	struct nvme_sqe s;

	hmlm_suspend(&s, 2, NVME_STYPE_NOTIFY, false);
	GOLD(0x41, 0x00000000, 0x00000002, 0, 0, 0, 0);
	hmlm_suspend(&s, 2, NVME_STYPE_SUSPEND, false);
	GOLD(0x41, 0x00000000, 0x00010002, 0, 0, 0, 0);
	hmlm_suspend(&s, 2, NVME_STYPE_SUSPEND, true);
	GOLD(0x41, 0x00000000, 0x80010002, 0, 0, 0, 0);
	hmlm_resume(&s, 2);
	GOLD(0x41, 0x00000001, 0x00000002, 0, 0, 0, 0);
}

/* Base 5.1.17.1.3: NUMD is one-based, and CSVI/CSUUIDI stand elsewhere than in Get. */
TEST(set_state)
{
	struct nvme_sqe s;

	hmlm_set_state(&s, 2, NVME_SEQ_ONLY, 1, 0, 0, 26);
	GOLD(0x41, 0x00030002, 0x00010002, 0, 0, 0, 0x0000001a);
	hmlm_set_state(&s, 2, NVME_SEQ_FIRST, 1, 0, 0, 1024);
	GOLD(0x41, 0x00010002, 0x00010002, 0, 0, 0, 0x400);
	hmlm_set_state(&s, 2, NVME_SEQ_MIDDLE, 1, 0, 0x100001000ull, 1024);
	GOLD(0x41, 0x00000002, 0x00010002, 0x1000, 1, 0, 0x400);
	hmlm_set_state(&s, 2, NVME_SEQ_LAST, 1, 3, 8192, 0);
	GOLD(0x41, 0x00020002, 0x03010002, 0x2000, 0, 0, 0);
}

TEST(get_state)
{
	struct nvme_sqe s;

	hmlm_get_state(&s, 2, 1, 0, 0, 4096);
	GOLD(0x42, 0x00010000, 0x00000002, 0, 0, 0, 0x000003ff);
	hmlm_get_state(&s, 2, 1, 1, 0x500000004ull, 48);
	GOLD(0x42, 0x00010000, 0x00010002, 4, 5, 0, 11);
}

TEST(features)
{
	struct nvme_sqe s;

	hmlm_set_cdq(&s, 1, 5, true, 7);
	GOLD(0x09, 0x00000021, 0x80000001, 0x00000005, 0x00000007, 0, 0);
	hmlm_set_cdq(&s, 1, 5, false, 7);
	GOLD(0x09, 0x00000021, 0x00000001, 0x00000005, 0, 0, 0);
	hmlm_get_cdq(&s, 1);
	GOLD(0x0a, 0x00000021, 0x00000001, 0, 0, 0, 0);
	hmlm_set_rate(&s, 2);
	GOLD(0x09, 0x00000028, 0x00000002, 0, 0, 0, 0);
}

TEST(identify_and_lba_status)
{
	struct nvme_sqe s;

	hmlm_identify(&s, 0x20, 0, 0, 0);
	GOLD(0x06, 0x00000020, 0, 0, 0, 0, 0);
	hmlm_identify(&s, 0x05, 9, 0, 0);
	GOLD(0x06, 0x00000005, 0, 0, 0, 0, 0);
	EXPECT_EQ(dw(&s).d[1], 9);
	hmlm_lba_status(&s, 3, 0x200000001ull, 0, 4096);
	GOLD(0x86, 1, 2, 0x000003ff, 0x02000000, 0, 0);
	EXPECT_EQ(dw(&s).d[1], 3);
}

/* NLB is zero-based on the wire (NVM CS 3.3.3, 3.3.8), NR in DSM too. */
TEST(nvm_commands)
{
	struct nvme_sqe s;

	hmlm_rw(&s, 0x01, 1, 0x1122334455667788ull, 32);
	GOLD(0x01, 0x55667788, 0x11223344, 31, 0, 0, 0);
	hmlm_write_zeroes(&s, 1, 8, 65536, true);
	GOLD(0x08, 8, 0, 0x0200ffff, 0, 0, 0);
	hmlm_dsm(&s, 1, 256);
	GOLD(0x09, 255, 4, 0, 0, 0, 0);
	hmlm_log_page(&s, 0x02, 0xffffffff, 0, 512);
	GOLD(0x02, 0x007f0002, 0, 0, 0, 0, 0);
}

/* Base 5.1.27.1.2: 8 bytes of head, 12 of each range; LEN counts granules. */
TEST(track_mem_data)
{
	const uint8_t want[20] = { 0, 0, 0, 1, 1, 0, 0, 0, 0, 0x20, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0 };
	struct hmlm_range r = { 0x100002000ull, 3 * 8192 };
	uint8_t b[20];

	EXPECT_EQ(hmlm_track_mem_build(b, sizeof(b), 1, &r, 1), 20);
	EXPECT_MEM(b, want, 20);
	EXPECT_EQ(hmlm_track_mem_build(b, 19, 1, &r, 1), 0);	/* no room */
	r.bytes += 4096;
	EXPECT_EQ(hmlm_track_mem_build(b, sizeof(b), 1, &r, 1), 0);	/* half a granule would stay untracked */
	EXPECT_EQ(hmlm_track_mem_build(b, sizeof(b), 0, &r, 0), 0);
}

/* FID 28h: rounded up, because a limit of 0 would mean no limit. */
TEST(rate_data)
{
	struct nvme_rate_limit r;

	hmlm_rate_build(&r, 0, 1, 0, 0);
	EXPECT_EQ(le16_get(r.rlc), 0x8000);
	EXPECT_EQ(le64_get(r.wbwv), 1);
	EXPECT_EQ(r.bwsf, 0);
	hmlm_rate_build(&r, 0, 0, 0, 0);
	EXPECT_EQ(le16_get(r.rlc), 0);
	EXPECT(r.bw_w && r.bw_r && r.iops_w && r.iops_r);
}

/* ---- the ring */

static void put(uint8_t *mem, unsigned slot, uint32_t nsid, uint64_t slba, uint32_t nlb0, uint8_t attr)
{
	uint8_t *p = mem + 32 * slot;

	memcpy(p, &nsid, 4);
	memcpy(p + 4, &nlb0, 4);
	memcpy(p + 8, &slba, 8);
	p[31] = attr;
}

/* NVM CS 5.6: the attribute byte's literal values, first and second pass. */
TEST(ring_entries)
{
	uint8_t mem[4 * 32];
	struct hmlm_entry e;
	struct hmlm_ring r;

	memset(mem, 0xff, sizeof(mem));
	hmlm_ring_init(&r, mem, 4);
	EXPECT_EQ(hmlm_ring_next(&r, &e), 0); /* zeroed */
	put(mem, 0, 0, 0, 0, 0x83);
	put(mem, 1, 7, 100, 9, 0x01);
	put(mem, 2, 7, 5, 0xffffffff, 0x21);
	EXPECT_EQ(hmlm_ring_next(&r, &e), 1);
	EXPECT(e.esa == 1 && e.lbacir == 2);
	EXPECT_EQ(hmlm_ring_next(&r, &e), 1);
	EXPECT(e.nsid == 7 && e.slba == 100 && e.nlb == 10 && e.esa == 0 && e.lbacir == 0 && !e.dealloc);
	EXPECT_EQ(hmlm_ring_next(&r, &e), 1);
	EXPECT(e.nlb == 0x100000000ull && e.dealloc);
	EXPECT_EQ(r.head, 3);
	hmlm_ring_told(&r, 3);
	put(mem, 3, 7, 1, 0, 0x0f); /* a data entry that filled the queue */
	put(mem, 0, 0, 0, 0, 0x86); /* second pass: suspend marker */
	EXPECT_EQ(hmlm_ring_next(&r, &e), 1);
	EXPECT(e.esa == 7 && e.lbacir == 0 && e.nlb == 1);
	EXPECT_EQ(hmlm_ring_next(&r, &e), 1);
	EXPECT(e.esa == 3 && e.lbacir == 2);
	EXPECT_EQ(hmlm_ring_next(&r, &e), 0); /* slot 1 still has the first pass's phase */
	EXPECT_EQ(r.head, 1);
}

/* Capacity is slots - 1: a controller that posts without room must not keep the reader busy for ever. */
TEST(ring_overrun)
{
	uint8_t mem[4 * 32];
	struct hmlm_entry e;
	struct hmlm_ring r;

	hmlm_ring_init(&r, mem, 4);
	for (unsigned i = 0; i < 4; i++)
		put(mem, i, 1, i, 0, 0x01);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(hmlm_ring_next(&r, &e), 1);
	EXPECT_EQ(hmlm_ring_next(&r, &e), 0);
	EXPECT_EQ(hmlm_ring_untold(&r), 3);
	hmlm_ring_told(&r, 3);
	EXPECT_EQ(hmlm_ring_next(&r, &e), 1);
	hmlm_ring_init(&r, mem, 1); /* never usable */
	EXPECT_EQ(hmlm_ring_next(&r, &e), 0);
}

TEST(ring_nonsense)
{
	uint8_t mem[4 * 32];
	struct hmlm_entry e;
	struct hmlm_ring r;
	static const uint8_t bad[] = { 0x09, 0x0b, 0x0d, 0xc1 }; /* ESA 100b, 101b, 110b; LBACIR 11b */

	for (unsigned i = 0; i < sizeof(bad); i++) {
		hmlm_ring_init(&r, mem, 4);
		put(mem, 0, 1, 0, 0, bad[i]);
		EXPECT_EQ(hmlm_ring_next(&r, &e), -EPROTO);
		EXPECT_EQ(r.head, 0);
	}
	hmlm_ring_init(&r, mem, 4);
	put(mem, 0, 1, UINT64_MAX, 0, 0x01);
	EXPECT_EQ(hmlm_ring_next(&r, &e), -EPROTO); /* the range wraps */
	put(mem, 0, 5, UINT64_MAX, 7, 0x41);	/* whole namespace: the range is to be ignored */
	EXPECT_EQ(hmlm_ring_next(&r, &e), 1);
	EXPECT(e.lbacir == 1 && e.nsid == 5);
}

/* ---- state */

/* Base figure of the Controller State structure: one queue pair is 104 bytes. */
TEST(state_image)
{
	uint8_t im[104] = { 0 };
	struct hmlm_state st;
	struct nvme_state_sq sq;
	struct nvme_state_cq cq;

	im[2] = 1;		/* CP */
	im[16] = 14;		/* NVMECSS */
	im[50] = 1, im[52] = 1;	/* NIOSQ, NIOCQ */
	im[56 + 10] = 0x34;	/* SQ's QID */
	im[80 + 10] = 0x35;	/* CQ's QID */
	EXPECT_EQ(hmlm_state_parse(im, 48, &st, NULL), 0); /* the head alone: how much there is */
	EXPECT_EQ(st.total, 104);
	EXPECT_EQ(st.niosq, 0);
	EXPECT_EQ(hmlm_state_parse(im, sizeof(im), &st, NULL), 0);
	EXPECT(st.suspended && st.niosq == 1 && st.niocq == 1 && st.vendor_bytes == 0);
	EXPECT(hmlm_state_sq(im, sizeof(im), &st, 0, &sq) && le16_get(sq.qid) == 0x34);
	EXPECT(hmlm_state_cq(im, sizeof(im), &st, 0, &cq) && le16_get(cq.qid) == 0x35);
	EXPECT(!hmlm_state_sq(im, sizeof(im), &st, 1, &sq));
	EXPECT(!hmlm_state_cq(im, 103, &st, 0, &cq)); /* cut off */
}

TEST(state_lies)
{
	uint8_t im[104] = { 0 };
	struct hmlm_state st;
	struct err err;

	EXPECT_EQ(hmlm_state_parse(im, 47, &st, &err), -EPROTO);
	im[31] = 1; /* high half of the 128-bit count */
	EXPECT_EQ(hmlm_state_parse(im, sizeof(im), &st, &err), -EPROTO);
	im[31] = 0;
	memset(im + 32, 0xff, 8);
	EXPECT_EQ(hmlm_state_parse(im, sizeof(im), &st, &err), -EPROTO);
	memset(im + 32, 0, 8);
	im[16] = 14, im[50] = 3;
	EXPECT_EQ(hmlm_state_parse(im, sizeof(im), &st, &err), -EPROTO); /* three queues do not fit into 14 dwords */
	im[0] = 1;
	EXPECT_EQ(hmlm_state_parse(im, sizeof(im), &st, &err), -EPROTO); /* version */
}

/* Base 5.1.13.2.21: both lists are one-based; index 0 means "none". */
TEST(state_formats)
{
	static uint8_t page[4096];
	uint8_t uuid[16] = { 1, 2, 3 };

	page[0] = 2, page[1] = 1;
	page[2] = 9;			/* version 9 first, version 0 second */
	memcpy(page + 6, uuid, 16);
	EXPECT_EQ(hmlm_format_version(page, 0), 2);
	EXPECT_EQ(hmlm_format_version(page, 9), 1);
	EXPECT_EQ(hmlm_format_version(page, 1), 0);
	EXPECT_EQ(hmlm_format_uuid(page, uuid), 1);
	page[0] = page[1] = 255;	/* 4592 bytes: more than the page has */
	uuid[0] = 77;
	EXPECT_EQ(hmlm_format_uuid(page, uuid), 0);
}

/* ---- tracked memory, LBA status */

TEST(tracked_list)
{
	uint8_t b[48] = { 0, 3, 2, 0, 2, 0, 0, 0, 1, 0 };
	struct hmlm_tracked t;
	struct hmlm_range r;

	b[17] = 0x20, b[24] = 2;	/* 2000h, two granules of 8 KiB */
	b[33] = 0x10, b[40] = 1;	/* 1000h is not aligned to them */
	EXPECT_EQ(hmlm_tracked_parse(b, sizeof(b), &t, NULL), 0);
	EXPECT(t.more && t.suspended && t.cntlid == 2 && t.count == 2);
	EXPECT_EQ(hmlm_tracked_next(&t, &r), 1);
	EXPECT(r.addr == 0x2000 && r.bytes == 16384);
	EXPECT_EQ(hmlm_tracked_next(&t, &r), -EPROTO);
	EXPECT_EQ(hmlm_tracked_parse(b, 47, &t, NULL), -EPROTO);	/* the second is cut off */
	b[4] = 0;
	EXPECT_EQ(hmlm_tracked_parse(b, sizeof(b), &t, NULL), -EPROTO);	/* nothing, but more */
	b[1] = 0;
	EXPECT_EQ(hmlm_tracked_parse(b, sizeof(b), &t, NULL), 0);
	EXPECT_EQ(hmlm_tracked_next(&t, &r), 0);
	b[9] = 1;
	EXPECT_EQ(hmlm_tracked_parse(b, sizeof(b), &t, NULL), -EPROTO);	/* 2^257 pages */
}

TEST(tracked_wraps)
{
	uint8_t b[32] = { 0, 0, 0, 0, 1 };
	struct hmlm_tracked t;
	struct hmlm_range r;

	memset(b + 17, 0xff, 7);
	b[17] = 0xf0, b[24] = 2;	/* the last page of the address space, and one more */
	EXPECT_EQ(hmlm_tracked_parse(b, sizeof(b), &t, NULL), 0);
	EXPECT_EQ(hmlm_tracked_next(&t, &r), -EPROTO);
}

TEST(lba_status_list)
{
	uint8_t b[40] = { 2, 0, 0, 0, 1 };
	struct hmlm_lbas l;
	uint64_t slba, nlb;

	b[8] = 10, b[16] = 4;	/* 10..14 */
	b[24] = 14;		/* 14: inside the first */
	EXPECT_EQ(hmlm_lbas_parse(b, sizeof(b), 10, &l, NULL), 0);
	EXPECT(l.more);
	EXPECT_EQ(hmlm_lbas_next(&l, &slba, &nlb), 1);
	EXPECT(slba == 10 && nlb == 5 && l.next == 15);
	EXPECT_EQ(hmlm_lbas_next(&l, &slba, &nlb), -EPROTO); /* must ascend, or a scan goes round for ever */
	EXPECT_EQ(hmlm_lbas_parse(b, sizeof(b), 11, &l, NULL), 0);
	EXPECT_EQ(hmlm_lbas_next(&l, &slba, &nlb), -EPROTO); /* before what was asked for */
	EXPECT_EQ(hmlm_lbas_parse(b, 39, 10, &l, NULL), -EPROTO);
	b[0] = 0;
	EXPECT_EQ(hmlm_lbas_parse(b, sizeof(b), 10, &l, NULL), -EPROTO);
	b[4] = 2;
	EXPECT_EQ(hmlm_lbas_parse(b, sizeof(b), 10, &l, NULL), 0);
	EXPECT_EQ(hmlm_lbas_next(&l, &slba, &nlb), 0);
}
