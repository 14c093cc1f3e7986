/* Tables out of the list, and what is mechanical with them. */
#include "verify/fields.h"

#define ROW_OP_(name_, opc_, mask_, val_, text_) [VOP_##name_] = { #name_, text_, opc_, mask_, val_ },
#define ROW_FIELD_(op_, name_, dw_, lo_, hi_, kind_, max_) { VOP_##op_, #name_, dw_, lo_, hi_, VK_##kind_, max_ },
#define ROW_BIN_(name_, text_) text_,

const struct vop_row vops[VOP_COUNT] = { VOPS(ROW_OP_) };
const struct vfield vfields[VF_COUNT] = { VFIELDS(ROW_FIELD_) };

const char *vbin_name(unsigned b)
{
	static const char *const name[] = { VBINS(ROW_BIN_) };

	return b < VB_COUNT ? name[b] : "?";
}

const char *vbin_code(unsigned b)
{
#define ROW_CODE_(name_, text_) #name_,
	static const char *const code[] = { VBINS(ROW_CODE_) };

	return b < VB_COUNT ? code[b] : "?";
}

/* CDW10 to CDW15 stand one behind the other. */
static le32 *dword(struct nvme_sqe *s, unsigned dw) { return (le32 *)((uint8_t *)s + 4 * dw); }

static uint32_t mask(const struct vfield *f) { return (uint32_t)(0xffffffffull >> (31 - f->hi + f->lo)); }

uint32_t vf_get(const struct nvme_sqe *s, enum vfid id)
{
	const struct vfield *f = &vfields[id];

	return le32_get(*dword((struct nvme_sqe *)s, f->dw)) >> f->lo & mask(f);
}

void vf_put(struct nvme_sqe *s, enum vfid id, uint32_t v)
{
	const struct vfield *f = &vfields[id];
	le32 *d = dword(s, f->dw);

	*d = le32_of((le32_get(*d) & ~(mask(f) << f->lo)) | (v & mask(f)) << f->lo);
}

void vop_init(struct nvme_sqe *s, enum vop op)
{
	memset(s, 0, sizeof(*s));
	s->opc = vops[op].opc;
	s->cdw10 = le32_of(vops[op].val);
	if (op == VOP_LBA_STATUS)
		s->cdw13 = le32_of(2u << 24);
}

enum vop vop_of(const struct nvme_sqe *s)
{
	for (unsigned i = 0; i < VOP_COUNT; i++)
		if (s->opc == vops[i].opc && (le32_get(s->cdw10) & vops[i].mask) == vops[i].val)
			return (enum vop)i;
	return VOP_NONE;
}

void vop_print(const struct nvme_sqe *s, struct buf *out)
{
	enum vop op = vop_of(s);

	if (op == VOP_NONE) {
		buf_printf(out, "opcode %02xh cdw10=%xh cdw11=%xh", s->opc, le32_get(s->cdw10), le32_get(s->cdw11));
		return;
	}
	buf_printf(out, "%s", vops[op].text);
	for (unsigned i = 0; i < VF_COUNT; i++)
		if (vfields[i].op == op && vfields[i].kind != VK_CONST && vfields[i].kind != VK_FIXED && vf_get(s, (enum vfid)i))
			buf_printf(out, " %s=%xh", vfields[i].name, vf_get(s, (enum vfid)i));
}

bool vbin_exists(const struct vfield *f, enum vbin b)
{
	static const uint16_t of[] = {
#define BIN(x) (1 << VB_##x)
		[VK_CONST] = BIN(LEGAL) | BIN(RSVD_VALUE),
		[VK_FIXED] = BIN(LEGAL),
		[VK_ENUM] = BIN(LEGAL) | BIN(HIGH) | BIN(RSVD_VALUE),
		[VK_BIT] = BIN(LEGAL) | BIN(HIGH),
		[VK_RESERVED] = BIN(LEGAL) | BIN(RSVD_BIT),
		[VK_CNTLID] = BIN(LEGAL) | BIN(WRONG) | BIN(HIGH),
		[VK_CDQID] = BIN(LEGAL) | BIN(WRONG) | BIN(STALE) | BIN(HIGH),
		[VK_SIZE] = BIN(LEGAL) | BIN(LOW) | BIN(HIGH) | BIN(OVERFLOW),
		[VK_COUNT0] = BIN(LEGAL) | BIN(LOW) | BIN(HIGH),
		[VK_COUNT] = BIN(LEGAL) | BIN(LOW) | BIN(HIGH),
		[VK_OFFSET] = BIN(LEGAL) | BIN(LOW) | BIN(HIGH) | BIN(OVERFLOW),
		[VK_HIGH] = BIN(LEGAL) | BIN(OVERFLOW),
		[VK_VERSION] = BIN(LEGAL) | BIN(LOW) | BIN(INDEX),
		[VK_UUID] = BIN(LEGAL) | BIN(LOW) | BIN(INDEX),
		[VK_SLOT] = BIN(LEGAL) | BIN(LOW) | BIN(HIGH),
		[VK_LBA] = BIN(LEGAL) | BIN(LOW) | BIN(HIGH) | BIN(OVERFLOW),
		[VK_OPAQUE] = BIN(LEGAL) | BIN(HIGH),
#undef BIN
	};

	if (f->kind == VK_ENUM && b != VB_LEGAL && f->max + (b == VB_RSVD_VALUE) >= mask(f))
		return false; /* every value is defined */
	return of[f->kind] >> b & 1;
}
