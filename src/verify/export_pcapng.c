/* Packets: one per vfio-user message, link type USER0, with 16 bytes of ours in front (tools/vfio-user.lua reads them):
 *
 *   0 u8 version 1   1 u8 by (0 host, 1 device)   2 u16 controller   4 u32 descriptors   8 u64 uid in the record
 */
#include <errno.h>

#include "verify/export.h"

enum { BLOCK_SECTION = 0x0a0d0d0a, BLOCK_INTERFACE = 1, BLOCK_PACKET = 6, LINK_USER0 = 147, OPT_END = 0, OPT_NAME = 2, OPT_TSRESOL = 9,
       OPT_FLAGS = 2, HEAD = 16 };

static void put16(FILE *f, uint16_t v) { le16 w = le16_of(v); fwrite(&w, 2, 1, f); }
static void put32(FILE *f, uint32_t v) { le32 w = le32_of(v); fwrite(&w, 4, 1, f); }
static void pad(FILE *f, uint32_t n) { fwrite("\0\0\0", 1, (4 - n % 4) % 4, f); }
static uint32_t padded(uint32_t n) { return (n + 3) & ~3u; }

static void section(FILE *f)
{
	put32(f, BLOCK_SECTION);
	put32(f, 28);
	put32(f, 0x1a2b3c4d);
	put16(f, 1), put16(f, 0);
	put32(f, 0xffffffff), put32(f, 0xffffffff);	/* length: not said */
	put32(f, 28);
}

static void interface(FILE *f)
{
	static const char name[] = "vfio-user";
	uint32_t len = 20 + 4 + padded(sizeof(name) - 1) + 4 + 4 + 4;

	put32(f, BLOCK_INTERFACE);
	put32(f, len);
	put16(f, LINK_USER0), put16(f, 0);
	put32(f, 0);
	put16(f, OPT_NAME), put16(f, sizeof(name) - 1);
	fwrite(name, 1, sizeof(name) - 1, f);
	pad(f, sizeof(name) - 1);
	put16(f, OPT_TSRESOL), put16(f, 1);
	putc(9, f);					/* 10^-9 s */
	pad(f, 1);
	put16(f, OPT_END), put16(f, 0);
	put32(f, len);
}

static void packet(FILE *f, const struct rec *r)
{
	uint32_t got = HEAD + r->raw_len, whole = HEAD + r->len, len = 32 + padded(got) + 8 + 4;
	le32 fds = le32_of((uint32_t)(r->val >> 32));
	le16 ctrl = le16_of(r->ctrl);
	le64 uid = le64_of(r->uid);

	put32(f, BLOCK_PACKET);
	put32(f, len);
	put32(f, 0);
	put32(f, (uint32_t)(r->t0_ns >> 32)), put32(f, (uint32_t)r->t0_ns);
	put32(f, got), put32(f, whole > got ? whole : got);
	putc(1, f), putc(r->actor == REC_BY_DEV, f);
	fwrite(&ctrl, 2, 1, f), fwrite(&fds, 4, 1, f), fwrite(&uid, 8, 1, f);
	if (r->raw_len)
		fwrite(r->raw, 1, r->raw_len, f);
	pad(f, got);
	put16(f, OPT_FLAGS), put16(f, 4);
	put32(f, r->actor == REC_BY_DEV ? 1 : 2);	/* inbound, outbound: as the host sees it */
	put16(f, OPT_END), put16(f, 0);
	put32(f, len);
}

int export_pcapng(const char *record, FILE *f, struct err *err)
{
	struct rec_reader *rd = rec_reader_open(record, err);
	struct rec_item it;
	int rc;

	if (!rd)
		return -ENOENT;
	section(f);
	interface(f);
	while ((rc = rec_read(rd, &it, err)) == 1)
		if (it.what == REC_ITEM_TXN && it.rec.kind == REC_VFIO_MSG)
			packet(f, &it.rec);
	rec_reader_close(rd);
	return rc;
}
