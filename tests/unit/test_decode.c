/* Decoding: what is right is printed field by field, what is not ends with a sentence; anything at all is survived. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "t.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"
#include "migrate/frame.h"
#include "spec/nvme.h"
#include "spec/vfio_user.h"
#include "verify/decode.h"

static char *text_of(enum decode_kind kind, const void *p, size_t n, int want)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct err err = { "" };

	EXPECT_EQ(decode_bytes(kind, p, n, f, &err), want);
	EXPECT_EQ(want < 0, err.text[0] != 0);
	fclose(f);
	return text;
}

#define EXPECT_SAYS(text, words) do { if (!strstr(text, words)) fail_msg("'%s' is not in:\n%s", words, text); } while (0)

TEST(entries)
{
	struct nvme_sqe s[2] = { { .opc = NVME_OP_MIGRATION_SEND, .cid = le16_of(0xabc) }, { .opc = 0xc5 } };
	struct nvme_cqe c = { .status = le16_of(NVME_CTRL_SUSPENDED << 1 | 1), .sqhd = le16_of(7) };
	struct nvme_lbamq e = { .slba = le64_of(0x123456789abull), .lbamqa = NVME_ESA_FULL << 1 | 1 };
	char *t;

	nvme_migration_send_sel_put(&s[0], NVME_MIG_SET_STATE);
	nvme_migration_send_seqind_put(&s[0], NVME_SEQ_ONLY);
	nvme_migration_send_cntlid_put(&s[0], 0x77);
	t = text_of(DECODE_SQE, s, sizeof(s), 0);
	EXPECT_SAYS(t, "migration_send\n");
	EXPECT_SAYS(t, "seqind: 3\n");
	EXPECT_SAYS(t, "cntlid: 77\n");
	EXPECT_SAYS(t, "admin_c5\n");
	EXPECT(!strstr(t, "stype")); /* Suspend's, not Set Controller State's */
	free(t);
	t = text_of(DECODE_AUTO, &c, 16, 0);
	EXPECT_SAYS(t, "Controller Suspended");
	EXPECT_SAYS(t, "sq head: 0007");
	free(t);
	t = text_of(DECODE_AUTO, &e, 32, 0);
	EXPECT_SAYS(t, "esa: 7 (last: full)");
	EXPECT_SAYS(t, "slba: 123456789ab");
	free(t);
	s[0] = (struct nvme_sqe){ .opc = NVME_NVM_WRITE };
	nvme_rw_nlb0_put(&s[0], 31);
	t = text_of(DECODE_IO_SQE, s, 64, 0);
	EXPECT_SAYS(t, "write\n");
	EXPECT_SAYS(t, "nlb0: 1f\n");
	free(t);
	free(text_of(DECODE_SQE, s, 63, -EPROTO));
	free(text_of(DECODE_CDQ, s, 33, -EPROTO));
	free(text_of(DECODE_AUTO, s, 7, -EPROTO));
}

/* ---- states ---------------------------------------------------------------------------------------------------------------------- */

/* docs/stream.md's table: tag and how long its payload is; 0: elements of that many bytes, two of them. */
static const struct { uint16_t tag; uint32_t len, each; } records[] = {
	{ 1, 4, 0 }, { 2, 8 * 3 + 4 * 4 + 1, 0 }, { 3, 12, 0 }, { 4, 256 + 20 + 40 + 8 + 2, 0 }, { 5, 0, 56 }, { 6, 0, 4 }, { 7, 0, 20 }, { 8, 0, 4 },
	{ 9, 0, 8 }, { 0xa, 40, 0 }, { 0xb, 12, 0 }, { 0xc, 4 * 11 + 4 * 65 + 17 + 512 + 17, 0 }, { 0xd, 4 * 11 + 4 * 65 + 17 + 512 + 17, 0 },
	{ 0xe, 1024, 0 }, { 0xf, 4096, 0 }, { 0x10, 128 * 16 + 16, 0 }, { 0x11, 17, 0 }, { 0x12, 520, 0 }, { 0x13, 80, 0 }, { 0x14, 8 + 2 * 32, 0 },
};

static void tlv(struct buf *b, uint16_t tag, uint16_t flags, uint32_t len)
{
	uint8_t *p = buf_grow(b, 8 + round_up(len, 4));
	le16 t = le16_of(tag), f = le16_of(flags);
	le32 l = le32_of(len);

	memcpy(p, &t, 2), memcpy(p + 2, &f, 2), memcpy(p + 4, &l, 4);
	for (uint32_t i = 0; i < len; i++)
		p[8 + i] = (uint8_t)(i + tag);
}

static struct buf state_image_bytes(void)
{
	struct nvme_state_head h = { .csattr = NVME_CSATTR_CP, .nvmecss = le64_of(2 + 6 * 3) };
	struct nvme_state_v0 v = { .niosq = le16_of(2), .niocq = le16_of(1) };
	struct nvme_state_sq sq = { .qid = le16_of(1), .cqid = le16_of(1), .qsize0 = le16_of(63), .head = le16_of(5), .tail = le16_of(9), .prp1 = le64_of(0x1000) };
	struct nvme_state_cq cq = { .qid = le16_of(1), .qsize0 = le16_of(63), .attr = le32_of(3 | 9 << NVME_STATE_CQ_IV_SHIFT) };
	struct buf b = { 0 };

	buf_add(&b, &h, sizeof(h));
	buf_add(&b, &v, sizeof(v));
	buf_add(&b, &sq, sizeof(sq));
	sq.qid = le16_of(2);
	buf_add(&b, &sq, sizeof(sq));
	buf_add(&b, &cq, sizeof(cq));
	for (unsigned i = 0; i < ARRAY_LEN(records); i++)
		tlv(&b, records[i].tag, 1, records[i].len ? records[i].len : 2 * records[i].each);
	tlv(&b, 0x7777, 0, 5); /* what a later version may add */
	h.vss = le64_of((b.len - sizeof(h)) / 4 - 20);
	memcpy(b.data, &h, sizeof(h));
	return b;
}

TEST(state_image)
{
	struct buf b = state_image_bytes();
	char *t = text_of(DECODE_AUTO, b.data, b.len, 0);

	EXPECT_SAYS(t, "suspended throughout");
	EXPECT_SAYS(t, "SQ 2: CQ 1, 64 entries at 1000, head 5, tail 9");
	EXPECT_SAYS(t, "CQ 1: 64 entries at 0, head 0, tail 0, vector 9, slot 0 has phase 0");
	EXPECT_SAYS(t, "PROPS, required, 41 bytes");
	EXPECT_SAYS(t, "cap: 908070605040302\n"); /* the bytes 02 03 04 ... in order */
	EXPECT_SAYS(t, "DOORBELLS");
	EXPECT_SAYS(t, "value[129]: ");
	EXPECT_SAYS(t, "7777h unknown, optional, 5 bytes");
	free(t);
	/* A record of the wrong length is told by its name. */
	b.data[48 + 80 + 8 + 4 + 4] = 40;
	t = text_of(DECODE_STATE, b.data, b.len, -EPROTO);
	free(t);
	buf_fini(&b);
}

TEST(state_cut_anywhere)
{
	struct buf b = state_image_bytes();

	for (size_t n = 0; n < b.len; n += n < 400 ? 1 : 13) {
		uint8_t *copy = malloc(n + 1); /* exactly as long, so that a sanitizer sees a read behind it */

		memcpy(copy, b.data, n);
		free(text_of(DECODE_STATE, copy, n, -EPROTO));
		free(copy);
	}
	buf_fini(&b);
}

/* ---- the link -------------------------------------------------------------------------------------------------------------------- */

struct head { le32 magic; le16 version, type; le32 len, rsvd; le64 seq, sum; };

static void frame(struct buf *b, uint16_t type, const void *p, uint32_t len)
{
	struct head h = { le32_of(0x59525246), le16_of(1), le16_of(type), le32_of(len), le32_of(0), le64_of(b->len), le64_of(0) };

	h.sum = le64_of(XXH3_64bits_withSeed(p, len, XXH3_64bits(&h, sizeof(h))));
	buf_add(b, &h, sizeof(h));
	buf_add(b, p, len);
}

TEST(link_stream)
{
	static uint8_t data[528] = { 1, 0, 0, 0, 0, 0, 0, 0, 0x34, 0x12 };
	struct frame_say say = { .code = le32_of(EBUSY) };
	struct { struct frame_say s; char text[24]; } words = { say, "the disk is in use here" };
	struct frame_hello hello = { .ns_count = le16_of(2), .range_count = le16_of(1), .guest = "vm1" };
	uint8_t big[256 + 64 * 2 + 16] = { 0 };
	struct buf b = { 0 };
	char *t;

	memcpy(big, &hello, sizeof(hello));
	frame(&b, FRAME_HELLO, big, sizeof(big));
	frame(&b, FRAME_DATA, data, sizeof(data));
	frame(&b, FRAME_ALIVE, NULL, 0);
	frame(&b, FRAME_REFUSED, &words, sizeof(words));
	t = text_of(DECODE_AUTO, b.data, b.len, 0);
	EXPECT_SAYS(t, "HELLO (1), sequence 0, 400 bytes");
	EXPECT_SAYS(t, "guest: vm1\n");
	EXPECT_SAYS(t, "    namespace 1\n");
	EXPECT_SAYS(t, "lba: 1234\n");
	EXPECT_SAYS(t, "data: 512 bytes");
	EXPECT_SAYS(t, "says: the disk is in use here");
	free(t);
	b.data[40]++; /* a flipped bit */
	t = text_of(DECODE_AUTO, b.data, b.len, -EPROTO);
	free(t);
	b.data[40]--;
	for (size_t n = 1; n < b.len; n++) {
		bool whole = n == 432 || n == 432 + 560 || n == 432 + 560 + 32;
		uint8_t *copy = malloc(n);

		memcpy(copy, b.data, n);
		free(text_of(DECODE_LINK, copy, n, whole ? 0 : -EPROTO));
		free(copy);
	}
	buf_fini(&b);
}

TEST(messages)
{
	struct { struct vuser_hdr h; struct vuser_dma_map m; } a = {
		{ le16_of(3), le16_of(VUSER_DMA_MAP), le32_of(48), le32_of(0), le32_of(0) },
		{ le32_of(32), le32_of(3), le64_of(0), le64_of(0xc0000), le64_of(0x40000) } };
	char *t = text_of(DECODE_AUTO, &a, sizeof(a), 0);

	EXPECT_SAYS(t, "command: 2 (DMA_MAP)");
	EXPECT_SAYS(t, "addr: c0000\n");
	free(t);
	a.h.size = le32_of(49);
	t = text_of(DECODE_MESSAGE, &a, sizeof(a), -EPROTO);
	EXPECT_SAYS(t, "addr: c0000\n"); /* what is there is shown */
	free(t);
}

/* ---- anything ----------------------------------------------------------------------------------------------------------------------- */

TEST(mutants_of_all_kinds)
{
	struct rng rng = { 20261121 };
	struct buf seeds[3] = { state_image_bytes(), { 0 }, { 0 } };
	static const char rec[] = "{\"run\":1,\"seed\":3,\"note\":\"x\"}\n{\"uid\":1,\"kind\":\"cmd\",\"by\":\"host\",\"t0\":5,\"sq\":0,\"raw\":\"00112233\"}\n"
				  "{\"link\":\"signals\",\"from\":1,\"to\":2}\n{\"done\":1,\"t1\":9,\"status\":2}\n";
	FILE *sink = fopen("/dev/null", "w");

	frame(&seeds[1], FRAME_HELLO, (uint8_t[256]){ [22] = 200, [24] = 90 }, 256);
	frame(&seeds[1], FRAME_SYNC, "12345678", 8);
	buf_add(&seeds[2], rec, sizeof(rec) - 1);
	for (unsigned i = 0; i < 6000; i++) {
		const struct buf *s = &seeds[i % 3];
		size_t n = s->len - rng_below(&rng, MIN(s->len, 40));
		uint8_t *p = malloc(n);
		struct err err;

		memcpy(p, s->data, n);
		for (unsigned k = (unsigned)rng_below(&rng, 6); k; k--) {
			size_t among = rng_chance(&rng, 500000) ? n : 200; /* MIN would draw twice */

			p[rng_below(&rng, MIN(n, among))] = (uint8_t)(rng_chance(&rng, 300000) ? 0xff : rng_next(&rng));
		}
		for (unsigned kind = 0; kind < DECODE_COUNT; kind++)
			decode_bytes(kind, p, n, sink, &err);
		free(p);
	}
	fclose(sink);
	for (unsigned i = 0; i < 3; i++)
		buf_fini(&seeds[i]);
}

TEST(names)
{
	for (unsigned i = 0; i < DECODE_COUNT; i++)
		EXPECT_EQ(decode_kind_of(decode_kind_name(i)), i);
	EXPECT_EQ(decode_kind_of("none such"), -EINVAL);
}
