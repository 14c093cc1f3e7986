/* Bytes into words. See describe.h. Which fields a command has is one table, made from NVME_ALL_FIELDS. */
#include "verify/describe.h"

#include <inttypes.h>
#include <stdio.h>

#include "spec/vfio_user.h"
#include "transport/vuser_codec.h"

/* ---- names ---------------------------------------------------------------------------------------------------------------- */

static const char *op_macro(bool admin, uint8_t opc)
{
#define NAME_(name, value, dir, text) case value: return #name;
	if (admin)
		switch (opc) { NVME_ADMIN_OPS(NAME_) }
	else
		switch (opc) { NVME_NVM_OPS(NAME_) }
#undef NAME_
	return NULL;
}

const char *describe_op(bool admin, uint8_t opc, char out[DESCRIBE_NAME])
{
	const char *p = op_macro(admin, opc);
	size_t n = 0;

	if (!p) {
		snprintf(out, DESCRIBE_NAME, "%s_%02x", admin ? "admin" : "io", opc);
		return out;
	}
	for (; *p && n + 1 < DESCRIBE_NAME; p++)
		out[n++] = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
	out[n] = 0;
	return out;
}

const char *describe_sct(unsigned status)
{
	static const char *const sct[8] = { "Generic", "Command Specific", "Media and Data Integrity", "Path Related", "Reserved", "Reserved",
					    "Reserved", "Vendor Specific" };

	return sct[status >> 8 & 7];
}

static void line(struct buf *b, int width, const char *name, uint64_t v)
{
	buf_printf(b, "%*s: %" PRIx64 "\n", width, name, v);
}
static void line_text(struct buf *b, int width, const char *name, uint64_t v, const char *text)
{
	buf_printf(b, "%*s: %" PRIx64 " (%s)\n", width, name, v, text);
}

/* ---- submission entries --------------------------------------------------------------------------------------------------- */

struct field { const char *op, *name; uint8_t dword, lo, hi; };
#define FIELD_(op, name, dw, lo, hi, kind, max) { #op, #name, dw, lo, hi },
static const struct field fields[] = { NVME_ALL_FIELDS(FIELD_) };
#undef FIELD_

/* Fields that exist only with some values of SEL. */
static const struct { const char *op, *name; uint8_t sels; } only[] = {
	{ "cdq", "qt", 1 << 0 }, { "cdq", "pc", 1 << 0 }, { "cdq", "cqs", 1 << 0 }, { "cdq", "cdqsize", 1 << 0 }, { "cdq", "cdqid", 1 << 1 },
	{ "track_send", "lact", 1 << 0 }, { "track_send", "cdqid", 1 << 0 }, { "track_send", "tact", 1 << 1 }, { "track_send", "cntlid", 1 << 1 },
	{ "migration_send", "stype", 1 << 0 }, { "migration_send", "dudmq", 1 << 0 }, { "migration_send", "seqind", 1 << 2 },
	{ "migration_send", "csvi", 1 << 2 }, { "migration_send", "csuuidi", 1 << 2 }, { "migration_send", "csol", 1 << 2 },
	{ "migration_send", "csou", 1 << 2 }, { "migration_send", "numd", 1 << 2 },
};

static bool applies(const struct field *f, const struct nvme_sqe *s)
{
	unsigned sel = le32_get(s->cdw10) & 0xff;

	for (unsigned i = 0; i < ARRAY_LEN(only); i++)
		if (!strcmp(only[i].op, f->op) && !strcmp(only[i].name, f->name))
			return sel < 8 && only[i].sels >> sel & 1;
	return true;
}

static const char *fields_of(bool admin, uint8_t opc)
{
	static char name[DESCRIBE_NAME];

	if (admin && (opc == NVME_OP_DELETE_SQ || opc == NVME_OP_DELETE_CQ))
		return "delete_q";
	if (!admin && op_macro(false, opc) && opc != NVME_NVM_FLUSH && opc != NVME_NVM_DSM && opc != NVME_NVM_COPY)
		return "rw";
	return describe_op(admin, opc, name);
}

static uint32_t dword(const struct nvme_sqe *s, unsigned n)
{
	le32 v;

	memcpy(&v, (const uint8_t *)s + 4 * n, 4);
	return le32_get(v);
}

void describe_sqe(struct buf *b, const struct nvme_sqe *s, bool admin, int width)
{
	const char *op = fields_of(admin, s->opc);
	uint32_t told[16] = { 0 };

	for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
		const struct field *f = &fields[i];
		uint32_t mask = (uint32_t)(0xffffffffull >> (31 - f->hi + f->lo));

		if (strcmp(f->op, op) || !applies(f, s))
			continue;
		line(b, width, f->name, dword(s, f->dword) >> f->lo & mask);
		told[f->dword] |= mask << f->lo;
	}
	for (unsigned n = 10; n < 16; n++) { /* bits that no field of this command holds */
		char name[16];

		snprintf(name, sizeof(name), "dword %u rest", n);
		if (dword(s, n) & ~told[n])
			line(b, width, name, dword(s, n) & ~told[n]);
	}
	if (le32_get(s->cdw2) | le32_get(s->cdw3)) {
		line(b, width, "dword 2", le32_get(s->cdw2));
		line(b, width, "dword 3", le32_get(s->cdw3));
	}
	if (s->flags)
		line_text(b, width, "flags", s->flags, (s->flags & NVME_PSDT_MASK) == NVME_PSDT_PRP ? "PRP" : "SGL");
	line(b, width, "nsid", le32_get(s->nsid));
	if (le64_get(s->mptr))
		line(b, width, "mptr", le64_get(s->mptr));
	line(b, width, "prp2", le64_get(s->prp2));
	line(b, width, "prp1", le64_get(s->prp1));
	line(b, width, "cmd id", le16_get(s->cid));
}

/* ---- completions ------------------------------------------------------------------------------------------------------------- */

static void describe_dw0(struct buf *b, const struct nvme_cqe *c, bool admin, int opc, int width)
{
	uint32_t v = le32_get(c->dw0);

	if (admin && opc == NVME_OP_MIGRATION_RECEIVE) {
		line(b, width, "csup", v & 1);
	} else if (admin && opc == NVME_OP_CDQ) {
		line(b, width, "cdqid", v & 0xffff);
	} else if (admin && opc == NVME_OP_AER) {
		line(b, width, "aet", v & 7);
		line(b, width, "aei", v >> 8 & 0xff);
		line(b, width, "lid", v >> 16 & 0xff);
		line(b, width, "dw1", le32_get(c->dw1));
	} else if (admin && opc == NVME_OP_ABORT) {
		line(b, width, "not aborted", v & 1);
	} else {
		line(b, width, "dw0", v);
		if (le32_get(c->dw1))
			line(b, width, "dw1", le32_get(c->dw1));
	}
}

void describe_cqe(struct buf *b, const struct nvme_cqe *c, bool admin, int opc, int width)
{
	unsigned st = le16_get(c->status);

	line(b, width, "dnr", st >> 15);
	line(b, width, "more", st >> 14 & 1);
	line(b, width, "crd", st >> 12 & 3);
	line_text(b, width, "sct", st >> 9 & 7, describe_sct(st >> 1));
	line_text(b, width, "sc", st >> 1 & 0xff, nvme_status_name(st >> 1));
	line(b, width, "p", st & 1);
	buf_printf(b, "%*s: %04x\n", width, "sq head", le16_get(c->sqhd));
	line(b, width, "sq id", le16_get(c->sqid));
	line(b, width, "cmd id", le16_get(c->cid));
	describe_dw0(b, c, admin, opc, width);
}

/* ---- data queue entries --------------------------------------------------------------------------------------------------------- */

void describe_cdq(struct buf *b, const struct nvme_lbamq *e, int width)
{
	static const char *const esa[8] = { "ordinary", "first", "last: stopped", "last: suspended", "reserved", "reserved", "reserved", "last: full" };
	static const char *const ir[4] = { "range", "whole namespace", "nothing", "reserved" };
	unsigned rest = 0;

	for (unsigned i = 0; i < sizeof(e->rsvd16); i++)
		rest |= e->rsvd16[i];
	line(b, width, "nsid", le32_get(e->nsid));
	line(b, width, "slba", le64_get(e->slba));
	line(b, width, "nlb", le32_get(e->nlb0));
	line(b, width, "cdqp", e->lbamqa & 1);
	line_text(b, width, "esa", e->lbamqa >> 1 & 7, esa[e->lbamqa >> 1 & 7]);
	line(b, width, "dlba", e->lbamqa >> 5 & 1);
	line_text(b, width, "lbacir", e->lbamqa >> 6, ir[e->lbamqa >> 6]);
	if (rest || e->lbamqa & 0x10)
		line(b, width, "reserved bits", 1);
}

/* ---- vfio-user messages --------------------------------------------------------------------------------------------------------- */

/* The members of a message's fixed part, by their list. */
struct member { uint8_t off, len; const char *name; };
#define MEMBER_(off, type, name) { off, sizeof(type), #name },
#define BYTES_(off, len, name)
#define LIST_(tag, LIST) static const struct member tag[] = { LIST(MEMBER_, BYTES_) { 0, 0, NULL } };
LIST_(m_version, VUSER_VERSION_HEAD)
LIST_(m_map, VUSER_DMA_MAP_MSG)
LIST_(m_unmap, VUSER_DMA_UNMAP_MSG)
LIST_(m_access, VUSER_DMA_ACCESS)
LIST_(m_device, VUSER_DEVICE_INFO)
LIST_(m_region, VUSER_REGION_INFO)
LIST_(m_io_fds, VUSER_REGION_IO_FDS)
LIST_(m_irq, VUSER_IRQ_INFO)
LIST_(m_set, VUSER_IRQ_SET)
LIST_(m_reg, VUSER_REGION_ACCESS)
LIST_(m_multi, VUSER_WRITE_MULTI)
LIST_(m_feature, VUSER_FEATURE)
LIST_(m_data, VUSER_MIG_DATA)
#undef LIST_

static const struct member *const payloads[VUSER_COMMAND_COUNT] = {
	[VUSER_VERSION] = m_version, [VUSER_DMA_MAP] = m_map, [VUSER_DMA_UNMAP] = m_unmap, [VUSER_DEVICE_GET_INFO] = m_device,
	[VUSER_DEVICE_GET_REGION_INFO] = m_region, [VUSER_DEVICE_GET_REGION_IO_FDS] = m_io_fds, [VUSER_DEVICE_GET_IRQ_INFO] = m_irq,
	[VUSER_DEVICE_SET_IRQS] = m_set, [VUSER_REGION_READ] = m_reg, [VUSER_REGION_WRITE] = m_reg, [VUSER_DMA_READ] = m_access,
	[VUSER_DMA_WRITE] = m_access, [VUSER_REGION_WRITE_MULTI] = m_multi, [VUSER_DEVICE_FEATURE] = m_feature,
	[VUSER_MIG_DATA_READ] = m_data, [VUSER_MIG_DATA_WRITE] = m_data,
};

static uint64_t number(const uint8_t *p, unsigned len)
{
	uint64_t v = 0;

	while (len--)
		v = v << 8 | p[len];
	return v;
}

static void hex(struct buf *b, const uint8_t *p, size_t n, size_t most)
{
	for (size_t i = 0; i < n && i < most; i++)
		buf_printf(b, "%02x", p[i]);
	if (n > most)
		buf_printf(b, "...");
}

static void text(struct buf *b, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n && i < 256 && p[i]; i++)
		buf_printf(b, "%c", p[i] >= 0x20 && p[i] < 0x7f ? p[i] : '.');
}

void describe_message(struct buf *b, const uint8_t *p, size_t len, int width)
{
	const struct member *m;
	struct vuser_hdr h;
	size_t at = 0;

	if (len < sizeof(h)) {
		buf_printf(b, "%*s: %zu bytes\n", width, "cut short", len);
		return;
	}
	memcpy(&h, p, sizeof(h));
	p += sizeof(h);
	len -= sizeof(h);
	line(b, width, "id", le16_get(h.id));
	line_text(b, width, "command", le16_get(h.cmd), vuser_command_name(le16_get(h.cmd)));
	line(b, width, "size", le32_get(h.size));
	line_text(b, width, "flags", le32_get(h.flags), (le32_get(h.flags) & VUSER_TYPE_MASK) == VUSER_TYPE_REPLY ? "reply" : "command");
	if (le32_get(h.flags) & VUSER_ERROR)
		line(b, width, "error", le32_get(h.error));
	m = le16_get(h.cmd) < VUSER_COMMAND_COUNT ? payloads[le16_get(h.cmd)] : NULL;
	for (; m && m->name && m->off + m->len <= len; m++) {
		line(b, width, m->name, number(p + m->off, m->len));
		at = m->off + m->len;
	}
	if (len == at)
		return;
	buf_printf(b, "%*s: ", width, le16_get(h.cmd) == VUSER_VERSION ? "capabilities" : "data");
	if (le16_get(h.cmd) == VUSER_VERSION)
		text(b, p + at, len - at);
	else
		hex(b, p + at, len - at, 64);
	buf_printf(b, "\n");
}

static bool brief_number(const struct member *m, const char *name, const uint8_t *p, size_t len, uint64_t *v)
{
	for (; m && m->name; m++)
		if (!strcmp(m->name, name) && m->off + m->len <= len) {
			*v = number(p + m->off, m->len);
			return true;
		}
	return false;
}

void describe_message_brief(struct buf *b, const uint8_t *p, size_t len)
{
	static const char *const shown[] = { "index", "region", "offset", "addr", "size", "start", "count" };
	const struct member *m;
	struct vuser_hdr h;
	uint64_t v;

	if (len < sizeof(h)) {
		buf_printf(b, "cut short");
		return;
	}
	memcpy(&h, p, sizeof(h));
	m = le16_get(h.cmd) < VUSER_COMMAND_COUNT ? payloads[le16_get(h.cmd)] : NULL;
	buf_printf(b, "%s%s", vuser_command_name(le16_get(h.cmd)), (le32_get(h.flags) & VUSER_TYPE_MASK) == VUSER_TYPE_REPLY ? " reply" : "");
	if (le32_get(h.flags) & VUSER_ERROR)
		buf_printf(b, " error %" PRIu32, le32_get(h.error));
	for (unsigned i = 0; i < ARRAY_LEN(shown); i++)
		if (brief_number(m, shown[i], p + sizeof(h), len - sizeof(h), &v))
			buf_printf(b, " %s 0x%" PRIx64, shown[i], v);
}
