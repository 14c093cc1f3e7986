/* The fields of the operations of Host Managed Live Migration, once: name, dword, bits, kind, the legal values. From this one list come
 * command builders, printers, coverage bins and the random generator. Written from the book, not from spec/nvme.h: the two are compared
 * by a test (golden encodings). A raw override stays possible everywhere: a command is an SQE, and whoever wants to may set any bit.
 */
#ifndef FERRY_VERIFY_FIELDS_H
#define FERRY_VERIFY_FIELDS_H

#include "base/buf.h"
#include "spec/nvme.h"

/* op, opcode, bits of CDW10 that make it this operation (mask, value), text. The first that matches names a command. */
#define VOPS(O)                                                                             \
	O(CDQ_CREATE, 0x45, 0xff, 0x00, "CDQ create")                                      \
	O(CDQ_DELETE, 0x45, 0xff, 0x01, "CDQ delete")                                      \
	O(LOG, 0x3d, 0xff, 0x00, "Track Send, log user data changes")                      \
	O(TRACK_MEM, 0x3d, 0xff, 0x01, "Track Send, track memory changes")                 \
	O(TRACK_RECV, 0x3e, 0x00, 0x00, "Track Receive")                                   \
	O(SUSPEND, 0x41, 0xff, 0x00, "Migration Send, suspend")                            \
	O(RESUME, 0x41, 0xff, 0x01, "Migration Send, resume")                              \
	O(SET_STATE, 0x41, 0xff, 0x02, "Migration Send, set controller state")             \
	O(GET_STATE, 0x42, 0x00, 0x00, "Migration Receive, get controller state")          \
	O(SET_CDQ, 0x09, 0xff, 0x21, "Set Features 21h")                                   \
	O(GET_CDQ, 0x0a, 0xff, 0x21, "Get Features 21h")                                   \
	O(FORMATS, 0x06, 0xff, 0x20, "Identify, controller state formats")                 \
	O(LBA_STATUS, 0x86, 0x00, 0x00, "Get LBA Status")
#define VOP_ENUM_(name, opc, mask, val, text) VOP_##name,
enum vop { VOPS(VOP_ENUM_) VOP_COUNT, VOP_NONE = -1 };

/* What a field means decides which values are legal, at the edge, or somebody else's. */
enum vkind {
	VK_CONST,	/* selects the operation: other values are reserved or another operation */
	VK_FIXED,	/* selects it among many that are none of ours */
	VK_ENUM,	/* 0..max legal, above reserved */
	VK_BIT,
	VK_RESERVED,	/* bits the book reserves: must be 0, need not be checked */
	VK_CNTLID,	/* of a migratable controller */
	VK_CDQID,	/* of a queue this MMC made */
	VK_SIZE,	/* dwords of a queue, multiple of 8 */
	VK_COUNT0,	/* dwords, zero-based; any */
	VK_COUNT,	/* dwords, one-based */
	VK_OFFSET,	/* bytes, dword aligned; low half */
	VK_HIGH,	/* upper half of an offset or LBA */
	VK_VERSION,	/* index into the list of versions, 0 none */
	VK_UUID,	/* index into the list of UUIDs, 0 none */
	VK_SLOT,	/* of a queue */
	VK_LBA,
	VK_OPAQUE	/* anything may stand there */
};

/* op, name, dword, low bit, high bit, kind, largest legal (ENUM) */
#define VFIELDS(F)                                                     \
	F(CDQ_CREATE, sel, 10, 0, 7, CONST, 0)                        \
	F(CDQ_CREATE, rsvd10_8, 10, 8, 15, RESERVED, 0)               \
	F(CDQ_CREATE, qt, 10, 16, 23, ENUM, 0)                        \
	F(CDQ_CREATE, rsvd10_24, 10, 24, 31, RESERVED, 0)             \
	F(CDQ_CREATE, pc, 11, 0, 0, BIT, 1)                           \
	F(CDQ_CREATE, rsvd11_1, 11, 1, 15, RESERVED, 0)               \
	F(CDQ_CREATE, cntlid, 11, 16, 31, CNTLID, 0)                  \
	F(CDQ_CREATE, cdqsize, 12, 0, 31, SIZE, 0)                    \
	F(CDQ_DELETE, sel, 10, 0, 7, CONST, 1)                        \
	F(CDQ_DELETE, rsvd10_8, 10, 8, 31, RESERVED, 0)               \
	F(CDQ_DELETE, cdqid, 11, 0, 15, CDQID, 0)                     \
	F(CDQ_DELETE, rsvd11_16, 11, 16, 31, RESERVED, 0)             \
	F(LOG, sel, 10, 0, 7, CONST, 0)                               \
	F(LOG, rsvd10_8, 10, 8, 15, RESERVED, 0)                      \
	F(LOG, lact, 10, 16, 19, ENUM, 1)                             \
	F(LOG, rsvd10_20, 10, 20, 31, RESERVED, 0)                    \
	F(LOG, cdqid, 11, 0, 15, CDQID, 0)                            \
	F(LOG, rsvd11_16, 11, 16, 31, RESERVED, 0)                    \
	F(TRACK_MEM, sel, 10, 0, 7, CONST, 1)                         \
	F(TRACK_MEM, rsvd10_8, 10, 8, 15, RESERVED, 0)                \
	F(TRACK_MEM, tact, 10, 16, 16, BIT, 1)                        \
	F(TRACK_MEM, rsvd10_17, 10, 17, 31, RESERVED, 0)              \
	F(TRACK_MEM, cntlid, 11, 0, 15, CNTLID, 0)                    \
	F(TRACK_MEM, rsvd11_16, 11, 16, 31, RESERVED, 0)              \
	F(TRACK_RECV, sel, 10, 0, 7, ENUM, 0)                         \
	F(TRACK_RECV, rsvd10_8, 10, 8, 31, RESERVED, 0)               \
	F(TRACK_RECV, cntlid, 11, 0, 15, CNTLID, 0)                   \
	F(TRACK_RECV, rsvd11_16, 11, 16, 31, RESERVED, 0)             \
	F(TRACK_RECV, numdl, 12, 0, 31, COUNT0, 0)                    \
	F(SUSPEND, sel, 10, 0, 7, CONST, 0)                           \
	F(SUSPEND, rsvd10_8, 10, 8, 15, RESERVED, 0)                  \
	F(SUSPEND, mos, 10, 16, 31, RESERVED, 0)                      \
	F(SUSPEND, cntlid, 11, 0, 15, CNTLID, 0)                      \
	F(SUSPEND, stype, 11, 16, 23, ENUM, 1)                        \
	F(SUSPEND, rsvd11_24, 11, 24, 30, RESERVED, 0)                \
	F(SUSPEND, dudmq, 11, 31, 31, BIT, 1)                         \
	F(SUSPEND, uidx, 14, 0, 6, OPAQUE, 0)                         \
	F(RESUME, sel, 10, 0, 7, CONST, 1)                            \
	F(RESUME, rsvd10_8, 10, 8, 15, RESERVED, 0)                   \
	F(RESUME, mos, 10, 16, 31, RESERVED, 0)                       \
	F(RESUME, cntlid, 11, 0, 15, CNTLID, 0)                       \
	F(RESUME, rsvd11_16, 11, 16, 31, RESERVED, 0)                 \
	F(SET_STATE, sel, 10, 0, 7, CONST, 2)                         \
	F(SET_STATE, rsvd10_8, 10, 8, 15, RESERVED, 0)                \
	F(SET_STATE, seqind, 10, 16, 17, ENUM, 3)                     \
	F(SET_STATE, rsvd10_18, 10, 18, 31, RESERVED, 0)              \
	F(SET_STATE, cntlid, 11, 0, 15, CNTLID, 0)                    \
	F(SET_STATE, csvi, 11, 16, 23, VERSION, 0)                    \
	F(SET_STATE, csuuidi, 11, 24, 31, UUID, 0)                    \
	F(SET_STATE, csol, 12, 0, 31, OFFSET, 0)                      \
	F(SET_STATE, csou, 13, 0, 31, HIGH, 0)                        \
	F(SET_STATE, uidx, 14, 0, 6, OPAQUE, 0)                       \
	F(SET_STATE, numd, 15, 0, 31, COUNT, 0)                       \
	F(GET_STATE, sel, 10, 0, 7, ENUM, 0)                          \
	F(GET_STATE, rsvd10_8, 10, 8, 15, RESERVED, 0)                \
	F(GET_STATE, csvi, 10, 16, 23, VERSION, 0)                    \
	F(GET_STATE, rsvd10_24, 10, 24, 31, RESERVED, 0)              \
	F(GET_STATE, cntlid, 11, 0, 15, CNTLID, 0)                    \
	F(GET_STATE, csuuidi, 11, 16, 23, UUID, 0)                    \
	F(GET_STATE, csuidxp, 11, 24, 31, OPAQUE, 0)                  \
	F(GET_STATE, ol, 12, 0, 31, OFFSET, 0)                        \
	F(GET_STATE, ou, 13, 0, 31, HIGH, 0)                          \
	F(GET_STATE, uidx, 14, 0, 6, OPAQUE, 0)                       \
	F(GET_STATE, numdl, 15, 0, 31, COUNT0, 0)                     \
	F(SET_CDQ, fid, 10, 0, 7, FIXED, 0x21)                        \
	F(SET_CDQ, sv, 10, 31, 31, BIT, 0)                            \
	F(SET_CDQ, cdqid, 11, 0, 15, CDQID, 0)                        \
	F(SET_CDQ, rsvd11_16, 11, 16, 30, RESERVED, 0)                \
	F(SET_CDQ, etpt, 11, 31, 31, BIT, 1)                          \
	F(SET_CDQ, hp, 12, 0, 31, SLOT, 0)                            \
	F(SET_CDQ, tpt, 13, 0, 31, SLOT, 0)                           \
	F(GET_CDQ, fid, 10, 0, 7, FIXED, 0x21)                        \
	F(GET_CDQ, sel, 10, 8, 10, ENUM, 3)                           \
	F(GET_CDQ, cdqid, 11, 0, 15, CDQID, 0)                        \
	F(GET_CDQ, rsvd11_16, 11, 16, 30, RESERVED, 0)                \
	F(GET_CDQ, etpt, 11, 31, 31, BIT, 1)                          \
	F(FORMATS, cns, 10, 0, 7, FIXED, 0x20)                        \
	F(FORMATS, cntid, 10, 16, 31, OPAQUE, 0)                      \
	F(FORMATS, csi, 11, 24, 31, OPAQUE, 0)                        \
	F(LBA_STATUS, slba_lo, 10, 0, 31, LBA, 0)                     \
	F(LBA_STATUS, slba_hi, 11, 0, 31, HIGH, 0)                    \
	F(LBA_STATUS, mndw, 12, 0, 31, COUNT0, 0)                     \
	F(LBA_STATUS, rl, 13, 0, 15, OPAQUE, 0)                       \
	F(LBA_STATUS, rsvd13_16, 13, 16, 23, RESERVED, 0)             \
	F(LBA_STATUS, atype, 13, 24, 31, CONST, 2)
#define VFIELD_ENUM_(op, name, dw, lo, hi, kind, max) VF_##op##_##name,
enum vfid { VFIELDS(VFIELD_ENUM_) VF_COUNT };

struct vop_row { const char *name, *text; uint8_t opc; uint32_t mask, val; };
struct vfield { enum vop op; const char *name; uint8_t dw, lo, hi; enum vkind kind; uint32_t max; };
extern const struct vop_row vops[VOP_COUNT];
extern const struct vfield vfields[VF_COUNT];

void vop_init(struct nvme_sqe *, enum vop);
enum vop vop_of(const struct nvme_sqe *);		/* VOP_NONE: none of ours */
uint32_t vf_get(const struct nvme_sqe *, enum vfid);
void vf_put(struct nvme_sqe *, enum vfid, uint32_t v);
void vop_print(const struct nvme_sqe *, struct buf *out);	/* "suspend cntlid=2 stype=1": fields that are not 0 */

/* Classes of values, the same words for every field. */
#define VBINS(B)                                                                                           \
	B(LEGAL, "legal") B(LOW, "boundary-") B(HIGH, "boundary+") B(RSVD_VALUE, "reserved-value")          \
	B(RSVD_BIT, "reserved-bit") B(WRONG, "wrong-object") B(STALE, "stale") B(OVERFLOW, "overflow")       \
	B(INDEX, "unsupported-index")
#define VBIN_ENUM_(name, text) VB_##name,
enum vbin { VBINS(VBIN_ENUM_) VB_COUNT };
const char *vbin_name(unsigned);
const char *vbin_code(unsigned);			/* "RSVD_BIT", as in enum vbin */
bool vbin_exists(const struct vfield *, enum vbin);	/* does this field have such values at all? */

#endif
