/* NVM Express as tables: Base 2.1+, NVM Command Set 1.2, and Host Managed Live Migration. No behaviour.
 *
 * Lists hold facts once; structures, getters, setters, name tables, printers, generators and docs are made from them.
 * Zero-based fields keep a 0 at the end of their name (nlb0) and are converted where they enter or leave.
 */
#ifndef FERRY_SPEC_NVME_H
#define FERRY_SPEC_NVME_H

#include "base/wire.h"

/* ---- status: SCT in bits 10:8, SC in bits 7:0 (Base 4.2.3) ------------------------------------------------- */

#define NVME_STATUSES(S)                                                                      \
	S(SUCCESS, 0x000, "Successful Completion")                                            \
	S(INVALID_OPCODE, 0x001, "Invalid Command Opcode")                                    \
	S(INVALID_FIELD, 0x002, "Invalid Field in Command")                                   \
	S(CID_CONFLICT, 0x003, "Command ID Conflict")                                         \
	S(DATA_TRANSFER_ERROR, 0x004, "Data Transfer Error")                                  \
	S(INTERNAL_ERROR, 0x006, "Internal Error")                                            \
	S(ABORT_REQUESTED, 0x007, "Command Abort Requested")                                  \
	S(ABORT_SQ_DELETED, 0x008, "Command Aborted due to SQ Deletion")                      \
	S(ABORT_FAILED_FUSED, 0x009, "Command Aborted due to Failed Fused Command")           \
	S(ABORT_MISSING_FUSED, 0x00a, "Command Aborted due to Missing Fused Command")         \
	S(INVALID_NAMESPACE, 0x00b, "Invalid Namespace or Format")                            \
	S(COMMAND_SEQUENCE, 0x00c, "Command Sequence Error")                                  \
	S(INVALID_SGL_SEGMENT, 0x00d, "Invalid SGL Segment Descriptor")                       \
	S(INVALID_SGL_COUNT, 0x00e, "Invalid Number of SGL Descriptors")                      \
	S(SGL_DATA_LENGTH, 0x00f, "Data SGL Length Invalid")                                  \
	S(SGL_METADATA_LENGTH, 0x010, "Metadata SGL Length Invalid")                          \
	S(SGL_TYPE, 0x011, "SGL Descriptor Type Invalid")                                     \
	S(INVALID_CMB_USE, 0x012, "Invalid Use of Controller Memory Buffer")                  \
	S(PRP_OFFSET, 0x013, "PRP Offset Invalid")                                            \
	S(SGL_OFFSET, 0x016, "SGL Offset Invalid")                                            \
	S(SANITIZE_IN_PROGRESS, 0x01d, "Sanitize In Progress")                                \
	S(SGL_GRANULARITY, 0x01e, "SGL Data Block Granularity Invalid")                       \
	S(NOT_SUPPORTED_IN_CMB, 0x01f, "Command Not Supported for Queue in CMB")              \
	S(WRITE_PROTECTED, 0x020, "Namespace is Write Protected")                             \
	S(SANITIZE_NS_IN_PROGRESS, 0x02c, "Sanitize Namespace In Progress")                   \
	S(LBA_OUT_OF_RANGE, 0x080, "LBA Out of Range")                                        \
	S(CAPACITY_EXCEEDED, 0x081, "Capacity Exceeded")                                      \
	S(NAMESPACE_NOT_READY, 0x082, "Namespace Not Ready")                                  \
	S(RESERVATION_CONFLICT, 0x083, "Reservation Conflict")                                \
	S(FORMAT_IN_PROGRESS, 0x084, "Format In Progress")                                    \
	S(CQ_INVALID, 0x100, "Completion Queue Invalid")                                      \
	S(QID_INVALID, 0x101, "Invalid Queue Identifier")                                     \
	S(QSIZE_INVALID, 0x102, "Invalid Queue Size")                                         \
	S(ABORT_LIMIT, 0x103, "Abort Command Limit Exceeded")                                 \
	S(AER_LIMIT, 0x105, "Asynchronous Event Request Limit Exceeded")                      \
	S(FIRMWARE_SLOT, 0x106, "Invalid Firmware Slot")                                      \
	S(FIRMWARE_IMAGE, 0x107, "Invalid Firmware Image")                                    \
	S(IV_INVALID, 0x108, "Invalid Interrupt Vector")                                      \
	S(LOG_INVALID, 0x109, "Invalid Log Page")                                             \
	S(FORMAT_INVALID, 0x10a, "Invalid Format")                                            \
	S(QUEUE_DELETION, 0x10c, "Invalid Queue Deletion")                                    \
	S(FEATURE_NOT_SAVEABLE, 0x10d, "Feature Identifier Not Saveable")                     \
	S(FEATURE_NOT_CHANGEABLE, 0x10e, "Feature Not Changeable")                            \
	S(FEATURE_NOT_NS, 0x10f, "Feature Not Namespace Specific")                            \
	S(OVERLAPPING_RANGE, 0x114, "Overlapping Range")                                      \
	S(NS_INSUFFICIENT_CAPACITY, 0x115, "Namespace Insufficient Capacity")                 \
	S(NS_ID_UNAVAILABLE, 0x116, "Namespace Identifier Unavailable")                       \
	S(NS_ALREADY_ATTACHED, 0x118, "Namespace Already Attached")                           \
	S(NS_IS_PRIVATE, 0x119, "Namespace Is Private")                                       \
	S(NS_NOT_ATTACHED, 0x11a, "Namespace Not Attached")                                   \
	S(THIN_NOT_SUPPORTED, 0x11b, "Thin Provisioning Not Supported")                       \
	S(CTRL_LIST_INVALID, 0x11c, "Controller List Invalid")                                \
	S(SELF_TEST_IN_PROGRESS, 0x11d, "Device Self-test In Progress")                       \
	S(INVALID_CNTLID, 0x11f, "Invalid Controller Identifier")                             \
	S(SECONDARY_STATE, 0x120, "Invalid Secondary Controller State")                       \
	S(RESOURCE_COUNT, 0x121, "Invalid Number of Controller Resources")                    \
	S(RESOURCE_ID, 0x122, "Invalid Resource Identifier")                                  \
	S(INVALID_CDQ, 0x137, "Invalid Controller Data Queue")                                \
	S(NOT_ENOUGH_RESOURCES, 0x138, "Not Enough Resources")                                \
	S(CTRL_SUSPENDED, 0x139, "Controller Suspended")                                      \
	S(CTRL_NOT_SUSPENDED, 0x13a, "Controller Not Suspended")                              \
	S(CDQ_FULL, 0x13b, "Controller Data Queue Full")                                      \
	S(CONFLICTING_ATTRIBUTES, 0x180, "Conflicting Attributes")                            \
	S(INVALID_PI, 0x181, "Invalid Protection Information")                                \
	S(READ_ONLY_RANGE, 0x182, "Attempted Write to Read Only Range")                       \
	S(SIZE_LIMIT, 0x183, "Command Size Limit Exceeded")                                   \
	S(OVERLAPPING_IO_RANGE, 0x187, "Overlapping I/O Range")                               \
	S(WRITE_FAULT, 0x280, "Write Fault")                                                  \
	S(UNRECOVERED_READ, 0x281, "Unrecovered Read Error")                                  \
	S(GUARD_CHECK, 0x282, "End-to-end Guard Check Error")                                 \
	S(APPTAG_CHECK, 0x283, "End-to-end Application Tag Check Error")                      \
	S(REFTAG_CHECK, 0x284, "End-to-end Reference Tag Check Error")                        \
	S(COMPARE_FAILURE, 0x285, "Compare Failure")                                          \
	S(ACCESS_DENIED, 0x286, "Access Denied")                                              \
	S(UNWRITTEN_BLOCK, 0x287, "Deallocated or Unwritten Logical Block")

#define NVME_STATUS_ENUM_(name, value, text) NVME_##name = value,
typedef enum nvme_status {
	NVME_STATUSES(NVME_STATUS_ENUM_)
	NVME_DNR = 0x4000,	/* or'ed in: retrying will not help */
	NVME_MORE = 0x2000,	/* or'ed in: an error log entry tells more */
	NVME_ASYNC = 0xffff	/* not a status: the handler will call nvme_req_done() itself */
} nvme_status;

const char *nvme_status_name(unsigned status); /* "Invalid Field in Command"; flags ignored; never NULL */

/* ---- opcodes -------------------------------------------------------------------------------------------------- */

/* dir: data direction of the buffer, from bits 1:0 of the opcode: N none, H host to controller, C controller to host.
 * CDQ's PRP1 is a queue address, not a transfer, so its dir is N. */
#define NVME_ADMIN_OPS(O)                                                    \
	O(DELETE_SQ, 0x00, N, "Delete I/O Submission Queue")                 \
	O(CREATE_SQ, 0x01, N, "Create I/O Submission Queue")                 \
	O(GET_LOG, 0x02, C, "Get Log Page")                                  \
	O(DELETE_CQ, 0x04, N, "Delete I/O Completion Queue")                 \
	O(CREATE_CQ, 0x05, N, "Create I/O Completion Queue")                 \
	O(IDENTIFY, 0x06, C, "Identify")                                     \
	O(ABORT, 0x08, N, "Abort")                                           \
	O(SET_FEATURES, 0x09, H, "Set Features")                             \
	O(GET_FEATURES, 0x0a, C, "Get Features")                             \
	O(AER, 0x0c, N, "Asynchronous Event Request")                        \
	O(NS_MGMT, 0x0d, H, "Namespace Management")                          \
	O(FW_COMMIT, 0x10, N, "Firmware Commit")                             \
	O(FW_DOWNLOAD, 0x11, H, "Firmware Image Download")                   \
	O(SELF_TEST, 0x14, N, "Device Self-test")                            \
	O(NS_ATTACH, 0x15, H, "Namespace Attachment")                        \
	O(KEEP_ALIVE, 0x18, N, "Keep Alive")                                 \
	O(VIRT_MGMT, 0x1c, N, "Virtualization Management")                   \
	O(TRACK_SEND, 0x3d, H, "Track Send")                                 \
	O(TRACK_RECEIVE, 0x3e, C, "Track Receive")                           \
	O(MIGRATION_SEND, 0x41, H, "Migration Send")                         \
	O(MIGRATION_RECEIVE, 0x42, C, "Migration Receive")                   \
	O(CDQ, 0x45, N, "Controller Data Queue")                             \
	O(DBBUF, 0x7c, N, "Doorbell Buffer Config")                          \
	O(FORMAT, 0x80, N, "Format NVM")                                     \
	O(SANITIZE, 0x84, N, "Sanitize")                                     \
	O(GET_LBA_STATUS, 0x86, C, "Get LBA Status")

#define NVME_NVM_OPS(O)                                                      \
	O(FLUSH, 0x00, N, "Flush")                                           \
	O(WRITE, 0x01, H, "Write")                                           \
	O(READ, 0x02, C, "Read")                                             \
	O(WRITE_UNCORRECTABLE, 0x04, N, "Write Uncorrectable")               \
	O(COMPARE, 0x05, H, "Compare")                                       \
	O(WRITE_ZEROES, 0x08, N, "Write Zeroes")                             \
	O(DSM, 0x09, H, "Dataset Management")                                \
	O(VERIFY, 0x0c, N, "Verify")                                         \
	O(COPY, 0x19, H, "Copy")

#define NVME_OP_ENUM_(name, value, dir, text) NVME_OP_##name = value,
enum nvme_admin_op { NVME_ADMIN_OPS(NVME_OP_ENUM_) };
#define NVME_NVM_ENUM_(name, value, dir, text) NVME_NVM_##name = value,
enum nvme_nvm_op { NVME_NVM_OPS(NVME_NVM_ENUM_) };

const char *nvme_admin_op_name(unsigned opc); /* never NULL */
const char *nvme_nvm_op_name(unsigned opc);

/* ---- queue entries -------------------------------------------------------------------------------------------- */

#define NVME_SQE(X, A)                                                       \
	X(0, uint8_t, opc) X(1, uint8_t, flags) X(2, le16, cid)              \
	X(4, le32, nsid) X(8, le32, cdw2) X(12, le32, cdw3)                  \
	X(16, le64, mptr) X(24, le64, prp1) X(32, le64, prp2)                \
	X(40, le32, cdw10) X(44, le32, cdw11) X(48, le32, cdw12)             \
	X(52, le32, cdw13) X(56, le32, cdw14) X(60, le32, cdw15)
WIRE_STRUCT(nvme_sqe, 64, NVME_SQE);

#define NVME_CQE(X, A)                                                       \
	X(0, le32, dw0) X(4, le32, dw1) X(8, le16, sqhd) X(10, le16, sqid)   \
	X(12, le16, cid) X(14, le16, status) /* bit 0 phase, 15:1 status */
WIRE_STRUCT(nvme_cqe, 16, NVME_CQE);

static inline unsigned nvme_cqe_status(const struct nvme_cqe *c) { return le16_get(c->status) >> 1 & 0x7ff; }
static inline bool nvme_cqe_phase(const struct nvme_cqe *c) { return c->status.b[0] & 1; }

/* SGL descriptor (Base 4.3.2): type in bits 7:4 of byte 15, subtype in 3:0 */
#define NVME_SGL(X, A) X(0, le64, addr) X(8, le32, len) A(12, 3, rsvd) X(15, uint8_t, type)
WIRE_STRUCT(nvme_sgl, 16, NVME_SGL);
enum { NVME_SGL_DATA = 0x0, NVME_SGL_BIT_BUCKET = 0x1, NVME_SGL_SEGMENT = 0x2, NVME_SGL_LAST = 0x3 };
enum { NVME_PSDT_MASK = 0xc0, NVME_PSDT_PRP = 0x00, NVME_PSDT_SGL = 0x40, NVME_PSDT_SGL_MSEG = 0x80 };
enum { NVME_FUSE_MASK = 0x03 };

/* ---- command fields: F(op, name, dword, low bit, high bit, kind, largest defined value) --------------------------
 * One list per command gives nvme_OP_NAME(sqe) and nvme_OP_NAME_put(sqe, v), and feeds decoder, generator, coverage,
 * printer and docs. Fields wider than a dword come in _lo/_hi halves. Kinds: ENUM, BIT, BITS, COUNT0 (zero-based),
 * COUNT, LBA, ID, ADDR, OFFSET, OPAQUE. */

#define NVME_FIELDS_create_sq(F)                                             \
	F(create_sq, qid, 10, 0, 15, ID, 0xffff)                             \
	F(create_sq, qsize0, 10, 16, 31, COUNT0, 0xffff)                     \
	F(create_sq, pc, 11, 0, 0, BIT, 1)                                   \
	F(create_sq, qprio, 11, 1, 2, ENUM, 3)                               \
	F(create_sq, cqid, 11, 16, 31, ID, 0xffff)                           \
	F(create_sq, nvmsetid, 12, 0, 15, ID, 0xffff)
#define NVME_FIELDS_create_cq(F)                                             \
	F(create_cq, qid, 10, 0, 15, ID, 0xffff)                             \
	F(create_cq, qsize0, 10, 16, 31, COUNT0, 0xffff)                     \
	F(create_cq, pc, 11, 0, 0, BIT, 1)                                   \
	F(create_cq, ien, 11, 1, 1, BIT, 1)                                  \
	F(create_cq, iv, 11, 16, 31, ID, 2047)
#define NVME_FIELDS_delete_q(F) F(delete_q, qid, 10, 0, 15, ID, 0xffff)
#define NVME_FIELDS_identify(F)                                              \
	F(identify, cns, 10, 0, 7, ENUM, 0x20)                               \
	F(identify, cntid, 10, 16, 31, ID, 0xffff)                           \
	F(identify, cnssid, 11, 0, 15, ID, 0xffff)                           \
	F(identify, csi, 11, 24, 31, ENUM, 3)                                \
	F(identify, uidx, 14, 0, 6, ID, 127)
#define NVME_FIELDS_get_log(F)                                               \
	F(get_log, lid, 10, 0, 7, ENUM, 0x28)                                \
	F(get_log, lsp, 10, 8, 14, BITS, 0x7f)                               \
	F(get_log, rae, 10, 15, 15, BIT, 1)                                  \
	F(get_log, numdl, 10, 16, 31, COUNT0, 0xffff)                        \
	F(get_log, numdu, 11, 0, 15, COUNT0, 0xffff)                         \
	F(get_log, lsi, 11, 16, 31, ID, 0xffff)                              \
	F(get_log, lpol, 12, 0, 31, OFFSET, 0xffffffff)                      \
	F(get_log, lpou, 13, 0, 31, OFFSET, 0xffffffff)                      \
	F(get_log, uidx, 14, 0, 6, ID, 127)                                  \
	F(get_log, ot, 14, 23, 23, BIT, 1)                                   \
	F(get_log, csi, 14, 24, 31, ENUM, 3)
#define NVME_FIELDS_abort(F)                                                 \
	F(abort, sqid, 10, 0, 15, ID, 0xffff)                                \
	F(abort, cid, 10, 16, 31, ID, 0xffff)
#define NVME_FIELDS_set_features(F)                                          \
	F(set_features, fid, 10, 0, 7, ENUM, 0xff)                           \
	F(set_features, sv, 10, 31, 31, BIT, 1)                              \
	F(set_features, cdw11, 11, 0, 31, OPAQUE, 0xffffffff)                \
	F(set_features, cdw12, 12, 0, 31, OPAQUE, 0xffffffff)                \
	F(set_features, cdw13, 13, 0, 31, OPAQUE, 0xffffffff)                \
	F(set_features, uidx, 14, 0, 6, ID, 127)
#define NVME_FIELDS_get_features(F)                                          \
	F(get_features, fid, 10, 0, 7, ENUM, 0xff)                           \
	F(get_features, sel, 10, 8, 10, ENUM, 3)                             \
	F(get_features, cdw11, 11, 0, 31, OPAQUE, 0xffffffff)                \
	F(get_features, uidx, 14, 0, 6, ID, 127)
#define NVME_FIELDS_format(F)                                                \
	F(format, lbafl, 10, 0, 3, ID, 15)                                   \
	F(format, mset, 10, 4, 4, BIT, 1)                                    \
	F(format, pi, 10, 5, 7, ENUM, 3)                                     \
	F(format, pil, 10, 8, 8, BIT, 1)                                     \
	F(format, ses, 10, 9, 11, ENUM, 2)                                   \
	F(format, lbafu, 10, 12, 13, ID, 3)
#define NVME_FIELDS_ns_mgmt(F) F(ns_mgmt, sel, 10, 0, 3, ENUM, 1) F(ns_mgmt, csi, 11, 24, 31, ENUM, 3)
#define NVME_FIELDS_ns_attach(F) F(ns_attach, sel, 10, 0, 3, ENUM, 1)
#define NVME_FIELDS_get_lba_status(F)                                        \
	F(get_lba_status, slba_lo, 10, 0, 31, LBA, 0xffffffff)               \
	F(get_lba_status, slba_hi, 11, 0, 31, LBA, 0xffffffff)               \
	F(get_lba_status, mndw0, 12, 0, 31, COUNT0, 0xffffffff)              \
	F(get_lba_status, rl, 13, 0, 15, COUNT, 0xffff)                      \
	F(get_lba_status, atype, 13, 24, 31, ENUM, 0x11)
#define NVME_FIELDS_cdq(F)                                                   \
	F(cdq, sel, 10, 0, 7, ENUM, 1)                                       \
	F(cdq, qt, 10, 16, 23, ENUM, 0)                                      \
	F(cdq, pc, 11, 0, 0, BIT, 1)                                         \
	F(cdq, cqs, 11, 16, 31, ID, 0xffff)                                  \
	F(cdq, cdqsize, 12, 0, 31, COUNT, 0xffffffff)                        \
	F(cdq, cdqid, 11, 0, 15, ID, 0xffff) /* Delete */
#define NVME_FIELDS_track_send(F)                                            \
	F(track_send, sel, 10, 0, 7, ENUM, 1)                                \
	F(track_send, lact, 10, 16, 19, ENUM, 1) /* SEL 0h */                \
	F(track_send, cdqid, 11, 0, 15, ID, 0xffff) /* SEL 0h */             \
	F(track_send, tact, 10, 16, 16, BIT, 1) /* SEL 1h */                 \
	F(track_send, cntlid, 11, 0, 15, ID, 0xffff) /* SEL 1h */
#define NVME_FIELDS_track_receive(F)                                         \
	F(track_receive, sel, 10, 0, 7, ENUM, 0)                             \
	F(track_receive, cntlid, 11, 0, 15, ID, 0xffff)                      \
	F(track_receive, numdl0, 12, 0, 31, COUNT0, 0xffffffff)
#define NVME_FIELDS_migration_send(F)                                        \
	F(migration_send, sel, 10, 0, 7, ENUM, 2)                            \
	F(migration_send, cntlid, 11, 0, 15, ID, 0xffff)                     \
	F(migration_send, stype, 11, 16, 23, ENUM, 1) /* SEL 0h */           \
	F(migration_send, dudmq, 11, 31, 31, BIT, 1) /* SEL 0h */            \
	F(migration_send, seqind, 10, 16, 17, ENUM, 3) /* SEL 2h */          \
	F(migration_send, csvi, 11, 16, 23, ID, 0xff) /* SEL 2h */           \
	F(migration_send, csuuidi, 11, 24, 31, ID, 0xff) /* SEL 2h */        \
	F(migration_send, csol, 12, 0, 31, OFFSET, 0xffffffff)               \
	F(migration_send, csou, 13, 0, 31, OFFSET, 0xffffffff)               \
	F(migration_send, uidx, 14, 0, 6, ID, 127)                           \
	F(migration_send, numd, 15, 0, 31, COUNT, 0xffffffff) /* 1's based */
#define NVME_FIELDS_migration_receive(F)                                     \
	F(migration_receive, sel, 10, 0, 7, ENUM, 0)                         \
	F(migration_receive, csvi, 10, 16, 23, ID, 0xff)                     \
	F(migration_receive, cntlid, 11, 0, 15, ID, 0xffff)                  \
	F(migration_receive, csuuidi, 11, 16, 23, ID, 0xff)                  \
	F(migration_receive, csuidxp, 11, 24, 31, OPAQUE, 0xff)              \
	F(migration_receive, ol, 12, 0, 31, OFFSET, 0xffffffff)              \
	F(migration_receive, ou, 13, 0, 31, OFFSET, 0xffffffff)              \
	F(migration_receive, uidx, 14, 0, 6, ID, 127)                        \
	F(migration_receive, numdl0, 15, 0, 31, COUNT0, 0xffffffff)
#define NVME_FIELDS_rw(F) /* Read, Write, Compare, Write Zeroes, Verify, Write Uncorrectable */ \
	F(rw, slba_lo, 10, 0, 31, LBA, 0xffffffff)                           \
	F(rw, slba_hi, 11, 0, 31, LBA, 0xffffffff)                           \
	F(rw, nlb0, 12, 0, 15, COUNT0, 0xffff)                               \
	F(rw, deac, 12, 25, 25, BIT, 1) /* Write Zeroes */                   \
	F(rw, prinfo, 12, 26, 29, BITS, 15)                                  \
	F(rw, fua, 12, 30, 30, BIT, 1)                                       \
	F(rw, lr, 12, 31, 31, BIT, 1)
#define NVME_FIELDS_dsm(F)                                                   \
	F(dsm, nr0, 10, 0, 7, COUNT0, 255)                                   \
	F(dsm, ad, 11, 2, 2, BIT, 1)
#define NVME_FIELDS_copy(F)                                                  \
	F(copy, sdlba_lo, 10, 0, 31, LBA, 0xffffffff)                        \
	F(copy, sdlba_hi, 11, 0, 31, LBA, 0xffffffff)                        \
	F(copy, nr0, 12, 0, 7, COUNT0, 255)                                  \
	F(copy, df, 12, 8, 11, ENUM, 1)                                      \
	F(copy, prinfor, 12, 12, 15, BITS, 15)                               \
	F(copy, prinfow, 12, 26, 29, BITS, 15)                               \
	F(copy, fua, 12, 30, 30, BIT, 1)

#define NVME_ALL_FIELDS(F)                                                                     \
	NVME_FIELDS_create_sq(F) NVME_FIELDS_create_cq(F) NVME_FIELDS_delete_q(F)              \
	NVME_FIELDS_identify(F) NVME_FIELDS_get_log(F) NVME_FIELDS_abort(F)                    \
	NVME_FIELDS_set_features(F) NVME_FIELDS_get_features(F) NVME_FIELDS_format(F)          \
	NVME_FIELDS_ns_mgmt(F) NVME_FIELDS_ns_attach(F) NVME_FIELDS_get_lba_status(F)          \
	NVME_FIELDS_cdq(F) NVME_FIELDS_track_send(F) NVME_FIELDS_track_receive(F)              \
	NVME_FIELDS_migration_send(F) NVME_FIELDS_migration_receive(F)                         \
	NVME_FIELDS_rw(F) NVME_FIELDS_dsm(F) NVME_FIELDS_copy(F)

#define NVME_GETTER_(op, name, dw, lo, hi, kind, max)                                          \
	static inline uint32_t nvme_##op##_##name(const struct nvme_sqe *s)                    \
	{                                                                                      \
		return le32_get(s->cdw##dw) >> (lo) & (uint32_t)(0xffffffffull >> (31 - (hi) + (lo))); \
	}                                                                                      \
	static inline void nvme_##op##_##name##_put(struct nvme_sqe *s, uint32_t v)            \
	{                                                                                      \
		uint32_t m = (uint32_t)(0xffffffffull >> (31 - (hi) + (lo)));                  \
		s->cdw##dw = le32_of((le32_get(s->cdw##dw) & ~(m << (lo))) | (v & m) << (lo)); \
	}
NVME_ALL_FIELDS(NVME_GETTER_)

static inline uint64_t nvme_slba(const struct nvme_sqe *s) /* rw, copy (SDLBA), Get LBA Status: dwords 10, 11 */
{
	return le32_get(s->cdw10) | (uint64_t)le32_get(s->cdw11) << 32;
}
static inline void nvme_slba_put(struct nvme_sqe *s, uint64_t lba)
{
	s->cdw10 = le32_of((uint32_t)lba);
	s->cdw11 = le32_of((uint32_t)(lba >> 32));
}

/* Selectors of the migration commands */
enum { NVME_CDQ_CREATE = 0, NVME_CDQ_DELETE = 1, NVME_CDQ_QT_UDMQ = 0 };
enum { NVME_TRACK_LOG = 0, NVME_TRACK_MEMORY = 1 };
enum { NVME_MIG_SUSPEND = 0, NVME_MIG_RESUME = 1, NVME_MIG_SET_STATE = 2, NVME_MIG_GET_STATE = 0 };
enum { NVME_STYPE_NOTIFY = 0, NVME_STYPE_SUSPEND = 1 };
enum { NVME_SEQ_MIDDLE = 0, NVME_SEQ_FIRST = 1, NVME_SEQ_LAST = 2, NVME_SEQ_ONLY = 3 };
enum { NVME_ATYPE_ALLOCATED = 0x02 };

/* ---- properties (registers, Base 3.1.4) ------------------------------------------------------------------------- */

#define NVME_PROPS(P) /* offset, bytes, name */                                                \
	P(0x00, 8, CAP) P(0x08, 4, VS) P(0x0c, 4, INTMS) P(0x10, 4, INTMC) P(0x14, 4, CC)      \
	P(0x1c, 4, CSTS) P(0x20, 4, NSSR) P(0x24, 4, AQA) P(0x28, 8, ASQ) P(0x30, 8, ACQ)      \
	P(0x38, 4, CMBLOC) P(0x3c, 4, CMBSZ) P(0x68, 4, CRTO)
#define NVME_PROP_ENUM_(off, len, name) NVME_REG_##name = off,
enum nvme_reg { NVME_PROPS(NVME_PROP_ENUM_) NVME_REG_DOORBELLS = 0x1000 };

enum { /* CC */
	NVME_CC_EN = 1 << 0, NVME_CC_CSS_SHIFT = 4, NVME_CC_MPS_SHIFT = 7, NVME_CC_AMS_SHIFT = 11, NVME_CC_SHN_SHIFT = 14,
	NVME_CC_IOSQES_SHIFT = 16, NVME_CC_IOCQES_SHIFT = 20
};
enum { /* CSTS */
	NVME_CSTS_RDY = 1 << 0, NVME_CSTS_CFS = 1 << 1, NVME_CSTS_SHST_SHIFT = 2, NVME_CSTS_NSSRO = 1 << 4,
	NVME_CSTS_PP = 1 << 5
};
#define NVME_NSSR_MAGIC 0x4e564d65u /* "NVMe" */

/* ---- features, log pages, events ------------------------------------------------------------------------------- */

enum nvme_fid {
	NVME_FID_ARBITRATION = 0x01, NVME_FID_POWER = 0x02, NVME_FID_LBA_RANGE = 0x03, NVME_FID_TEMP = 0x04,
	NVME_FID_ERROR_RECOVERY = 0x05, NVME_FID_VWC = 0x06, NVME_FID_NUM_QUEUES = 0x07, NVME_FID_IRQ_COALESCE = 0x08,
	NVME_FID_IRQ_VECTOR = 0x09, NVME_FID_WRITE_ATOMIC = 0x0a, NVME_FID_AER = 0x0b, NVME_FID_TIMESTAMP = 0x0e,
	NVME_FID_HOST_BEHAVIOR = 0x16, NVME_FID_CDQ = 0x21, NVME_FID_RATE_LIMIT = 0x28, NVME_FID_SW_PROGRESS = 0x80,
	NVME_FID_HOST_ID = 0x81
};
enum nvme_lid {
	NVME_LID_SUPPORTED = 0x00, NVME_LID_ERROR = 0x01, NVME_LID_SMART = 0x02, NVME_LID_FIRMWARE = 0x03,
	NVME_LID_CHANGED_NS = 0x04, NVME_LID_EFFECTS = 0x05, NVME_LID_SELF_TEST = 0x06, NVME_LID_FID_EFFECTS = 0x12,
	NVME_LID_MI_EFFECTS = 0x13, NVME_LID_RATE_LIMIT = 0x28
};
enum { /* AER completion DW0: AET 2:0, AEI 15:8, LID 23:16 */
	NVME_AET_ERROR = 0, NVME_AET_SMART = 1, NVME_AET_NOTICE = 2, NVME_AET_ONESHOT = 4,
	NVME_AEI_TRANSIENT_INTERNAL = 0x04, NVME_AEI_TEMP = 0x01, NVME_AEI_NS_CHANGED = 0x00,
	NVME_AEI_CDQ_TAIL = 0x00, NVME_AEI_CDQ_FULL = 0x01
};
enum nvme_cns {
	NVME_CNS_NS = 0x00, NVME_CNS_CTRL = 0x01, NVME_CNS_ACTIVE_NS = 0x02, NVME_CNS_NS_DESC = 0x03,
	NVME_CNS_CSI_NS = 0x05, NVME_CNS_CSI_CTRL = 0x06, NVME_CNS_CSI_ACTIVE_NS = 0x07, NVME_CNS_INDEP_NS = 0x08,
	NVME_CNS_ALLOC_NS_LIST = 0x10, NVME_CNS_ALLOC_NS = 0x11, NVME_CNS_NS_CTRLS = 0x12, NVME_CNS_CTRLS = 0x13,
	NVME_CNS_PRIMARY_CAPS = 0x14, NVME_CNS_SECONDARY = 0x15, NVME_CNS_UUIDS = 0x17, NVME_CNS_CSETS = 0x1c,
	NVME_CNS_STATE_FORMATS = 0x20
};
enum { /* OACS */
	NVME_OACS_FORMAT = 1 << 1, NVME_OACS_FIRMWARE = 1 << 2, NVME_OACS_NS_MGMT = 1 << 3, NVME_OACS_VIRT = 1 << 7,
	NVME_OACS_DBBUF = 1 << 8, NVME_OACS_LBA_STATUS = 1 << 9, NVME_OACS_HMLM = 1 << 11
};
enum { /* ONCS */
	NVME_ONCS_COMPARE = 1 << 0, NVME_ONCS_WRITE_UNCOR = 1 << 1, NVME_ONCS_DSM = 1 << 2, NVME_ONCS_WRITE_ZEROES = 1 << 3,
	NVME_ONCS_SAVE = 1 << 4, NVME_ONCS_TIMESTAMP = 1 << 6, NVME_ONCS_VERIFY = 1 << 7, NVME_ONCS_COPY = 1 << 8
};
enum { /* dwords of log pages 05h (commands) and 12h (features) */
	NVME_EFFECTS_SUPP = 1 << 0, NVME_EFFECTS_LBCC = 1 << 1, NVME_EFFECTS_NCC = 1 << 2, NVME_EFFECTS_NIC = 1 << 3,
	NVME_EFFECTS_CCC = 1 << 4, NVME_EFFECTS_CSE_NS = 1 << 16, NVME_EFFECTS_CSE_ALL = 2 << 16,
	NVME_EFFECTS_USS = 1 << 19, NVME_EFFECTS_SCOPE_NS = 1 << 20, NVME_EFFECTS_SCOPE_CTRL = 1 << 21,
	NVME_EFFECTS_SCOPE_CDQ = 1 << 26
};
enum { NVME_TRATTR_THMCS = 1 << 0, NVME_TRATTR_TUDCS = 1 << 1, NVME_TRATTR_MRTLL = 1 << 2 };
enum { NVME_AOCS_RALBAS = 1 << 0 };

/* ---- identify ----------------------------------------------------------------------------------------------------- */

#define NVME_ID_CTRL(X, A)                                                                     \
	X(0, le16, vid) X(2, le16, ssvid) A(4, 20, sn) A(24, 40, mn) A(64, 8, fr)              \
	X(72, uint8_t, rab) A(73, 3, ieee) X(76, uint8_t, cmic) X(77, uint8_t, mdts)           \
	X(78, le16, cntlid) X(80, le32, ver) X(84, le32, rtd3r) X(88, le32, rtd3e)             \
	X(92, le32, oaes) X(96, le32, ctratt) X(100, le16, rrls) A(102, 9, rsvd102)            \
	X(111, uint8_t, cntrltype) A(112, 16, fguid) X(128, le16, crdt1) X(130, le16, crdt2)   \
	X(132, le16, crdt3) A(134, 122, rsvd134)                                               \
	X(256, le16, oacs) X(258, uint8_t, acl) X(259, uint8_t, aerl) X(260, uint8_t, frmw)    \
	X(261, uint8_t, lpa) X(262, uint8_t, elpe) X(263, uint8_t, npss) X(264, uint8_t, avscc) \
	X(265, uint8_t, apsta) X(266, le16, wctemp) X(268, le16, cctemp) X(270, le16, mtfa)    \
	X(272, le32, hmpre) X(276, le32, hmmin) A(280, 16, tnvmcap) A(296, 16, unvmcap)        \
	X(312, le32, rpmbs) X(316, le16, edstt) X(318, uint8_t, dsto) X(319, uint8_t, fwug)    \
	X(320, le16, kas) X(322, le16, hctma) X(324, le16, mntmt) X(326, le16, mxtmt)          \
	X(328, le32, sanicap) X(332, le32, hmminds) X(336, le16, hmmaxd) X(338, le16, nsetidmax) \
	X(340, le16, endgidmax) X(342, uint8_t, anatt) X(343, uint8_t, anacap)                 \
	X(344, le32, anagrpmax) X(348, le32, nanagrpid) X(352, le32, pels)                     \
	X(356, le16, domain) A(358, 10, rsvd358) A(368, 16, megcap) A(384, 128, rsvd384)       \
	X(512, uint8_t, sqes) X(513, uint8_t, cqes) X(514, le16, maxcmd) X(516, le32, nn)      \
	X(520, le16, oncs) X(522, le16, fuses) X(524, uint8_t, fna) X(525, uint8_t, vwc)       \
	X(526, le16, awun) X(528, le16, awupf) X(530, uint8_t, icsvscc) X(531, uint8_t, nwpc)  \
	X(532, le16, acwu) X(534, le16, cdfs) X(536, le32, sgls) X(540, le32, mnan)            \
	A(544, 16, maxdna) X(560, le32, maxcna) X(564, le32, oaqd) A(568, 2, rsvd568)          \
	X(570, le16, cmmrtd) X(572, le16, nmmrtd) X(574, uint8_t, minmrtg)                     \
	X(575, uint8_t, maxmrtg) X(576, uint8_t, trattr) X(577, uint8_t, rsvd577)              \
	X(578, le16, mcudmq) X(580, le16, mnsudmq) X(582, le16, mcmr) X(584, le16, nmcmr)      \
	X(586, le16, mcdqpc) A(588, 180, rsvd588) A(768, 256, subnqn) A(1024, 768, rsvd1024)   \
	A(1792, 256, fabrics) A(2048, 1024, psd) A(3072, 1024, vs)
WIRE_STRUCT(nvme_id_ctrl, 4096, NVME_ID_CTRL);

#define NVME_LBAF(X, A) X(0, le16, ms) X(2, uint8_t, lbads) X(3, uint8_t, rp)
WIRE_STRUCT(nvme_lbaf, 4, NVME_LBAF);

#define NVME_ID_NS(X, A)                                                                       \
	X(0, le64, nsze) X(8, le64, ncap) X(16, le64, nuse) X(24, uint8_t, nsfeat)             \
	X(25, uint8_t, nlbaf) X(26, uint8_t, flbas) X(27, uint8_t, mc) X(28, uint8_t, dpc)     \
	X(29, uint8_t, dps) X(30, uint8_t, nmic) X(31, uint8_t, rescap) X(32, uint8_t, fpi)    \
	X(33, uint8_t, dlfeat) X(34, le16, nawun) X(36, le16, nawupf) X(38, le16, nacwu)       \
	X(40, le16, nabsn) X(42, le16, nabo) X(44, le16, nabspf) X(46, le16, noiob)            \
	A(48, 16, nvmcap) X(64, le16, npwg) X(66, le16, npwa) X(68, le16, npdg)                \
	X(70, le16, npda) X(72, le16, nows) X(74, le16, mssrl) X(76, le32, mcl)                \
	X(80, uint8_t, msrc) A(81, 11, rsvd81) X(92, le32, anagrpid) A(96, 3, rsvd96)          \
	X(99, uint8_t, nsattr) X(100, le16, nvmsetid) X(102, le16, endgid) A(104, 16, nguid)   \
	A(120, 8, eui64) A(128, 256, lbaf) A(384, 3712, vs)
WIRE_STRUCT(nvme_id_ns, 4096, NVME_ID_NS);

#define NVME_ID_NS_NVM(X, A) /* CNS 05h, CSI 00h */                                            \
	X(0, le64, lbstm) X(8, uint8_t, pic) A(9, 3, rsvd9) A(12, 256, elbaf)                  \
	X(268, le32, npdgl) X(272, le32, nprg) X(276, le32, npra) X(280, le32, nors)           \
	X(284, le32, npdal) X(288, le32, lbapss) X(292, le32, tlbaag) A(296, 3800, rsvd296)
WIRE_STRUCT(nvme_id_ns_nvm, 4096, NVME_ID_NS_NVM);

#define NVME_ID_CTRL_NVM(X, A) /* CNS 06h, CSI 00h */                                          \
	X(0, uint8_t, vsl) X(1, uint8_t, wzsl) X(2, uint8_t, wusl) X(3, uint8_t, dmrl)         \
	X(4, le32, dmrsl) X(8, le64, dmsl) X(16, uint8_t, kpiocap) X(17, uint8_t, wzdsl)       \
	X(18, le16, aocs) X(20, le32, ver) X(24, uint8_t, lbamqf) X(25, uint8_t, rla)          \
	X(26, le16, slmc) A(28, 4068, rsvd28)
WIRE_STRUCT(nvme_id_ctrl_nvm, 4096, NVME_ID_CTRL_NVM);

#define NVME_SECONDARY(X, A) /* CNS 15h entry */                                               \
	X(0, le16, scid) X(2, le16, pcid) X(4, uint8_t, scs) A(5, 3, rsvd5) X(8, le16, vfn)    \
	X(10, le16, nvq) X(12, le16, nvi) A(14, 18, rsvd14)
WIRE_STRUCT(nvme_secondary, 32, NVME_SECONDARY);

/* ---- data structures of the migration commands ------------------------------------------------------------------- */

#define NVME_LBAMQ(X, A) /* LBA Migration Queue entry type 0, NVM CS 5.6 */                    \
	X(0, le32, nsid) X(4, le32, nlb0) X(8, le64, slba) A(16, 15, rsvd16) X(31, uint8_t, lbamqa)
WIRE_STRUCT(nvme_lbamq, 32, NVME_LBAMQ);
enum { /* lbamqa: phase 0, ESA 3:1, DLBA 5, LBACIR 7:6 */
	NVME_LBAMQ_PHASE = 1 << 0, NVME_LBAMQ_ESA_SHIFT = 1, NVME_LBAMQ_DLBA = 1 << 5, NVME_LBAMQ_LBACIR_SHIFT = 6,
	NVME_ESA_NONE = 0, NVME_ESA_FIRST = 1, NVME_ESA_STOPPED = 2, NVME_ESA_SUSPENDED = 3, NVME_ESA_FULL = 7,
	NVME_LBACIR_RANGE = 0, NVME_LBACIR_NAMESPACE = 1, NVME_LBACIR_NONE = 2
};

#define NVME_TRACK_MEM(X, A) X(0, uint8_t, ver) A(1, 2, rsvd1) X(3, uint8_t, rmrtg) X(4, le32, rnmrtd)
WIRE_STRUCT(nvme_track_mem, 8, NVME_TRACK_MEM);
#define NVME_TRACK_MEM_RANGE(X, A) X(0, le64, saddr) X(8, le32, len)
WIRE_STRUCT(nvme_track_mem_range, 12, NVME_TRACK_MEM_RANGE);

#define NVME_TRACKED(X, A)                                                                     \
	X(0, uint8_t, ver) X(1, uint8_t, attrb) X(2, le16, cntlid) X(4, le32, ntmcd)           \
	X(8, le16, rpmpg) A(10, 6, rsvd10)
WIRE_STRUCT(nvme_tracked, 16, NVME_TRACKED);
enum { NVME_TRACKED_MTR = 1 << 0, NVME_TRACKED_SUSP = 1 << 1 };
#define NVME_TRACKED_RANGE(X, A) X(0, le64, saddr) X(8, le32, len) A(12, 4, rsvd12)
WIRE_STRUCT(nvme_tracked_range, 16, NVME_TRACKED_RANGE);

#define NVME_STATE_HEAD(X, A) /* 128-bit sizes in dwords: the high halves must be 0 for anything real */ \
	X(0, le16, ver) X(2, uint8_t, csattr) A(3, 13, rsvd3) X(16, le64, nvmecss) X(24, le64, nvmecss_hi) \
	X(32, le64, vss) X(40, le64, vss_hi)
WIRE_STRUCT(nvme_state_head, 48, NVME_STATE_HEAD);
enum { NVME_CSATTR_CP = 1 << 0 };
#define NVME_STATE_V0(X, A) X(0, le16, ver) X(2, le16, niosq) X(4, le16, niocq) A(6, 2, rsvd6)
WIRE_STRUCT(nvme_state_v0, 8, NVME_STATE_V0);
#define NVME_STATE_SQ(X, A)                                                                    \
	X(0, le64, prp1) X(8, le16, qsize0) X(10, le16, qid) X(12, le16, cqid) X(14, le16, attr) \
	X(16, le16, head) X(18, le16, tail) A(20, 4, rsvd20)
WIRE_STRUCT(nvme_state_sq, 24, NVME_STATE_SQ);
#define NVME_STATE_CQ(X, A)                                                                    \
	X(0, le64, prp1) X(8, le16, qsize0) X(10, le16, qid) X(12, le16, head) X(14, le16, tail) \
	X(16, le32, attr) A(20, 4, rsvd20)
WIRE_STRUCT(nvme_state_cq, 24, NVME_STATE_CQ);
enum { NVME_STATE_CQ_PC = 1 << 0, NVME_STATE_CQ_IEN = 1 << 1, NVME_STATE_CQ_S0PT = 1 << 2, NVME_STATE_CQ_IV_SHIFT = 16 };

#define NVME_LBAS_HEAD(X, A) X(0, le32, nlsd) X(4, uint8_t, cmpc) A(5, 3, rsvd5)
WIRE_STRUCT(nvme_lbas_head, 8, NVME_LBAS_HEAD);
#define NVME_LBAS(X, A) X(0, le64, dslba) X(8, le32, nlb0) X(12, uint8_t, rsvd12) X(13, uint8_t, stas) A(14, 2, rsvd14)
WIRE_STRUCT(nvme_lbas, 16, NVME_LBAS);
enum { NVME_CMPC_INCOMPLETE = 1, NVME_CMPC_COMPLETE = 2, NVME_LBARS_ALLOCATED = 2 };

#define NVME_FID_CDQ_DATA(X, A) X(0, le32, hp) X(4, le32, tpt) A(8, 504, rsvd8)
WIRE_STRUCT(nvme_fid_cdq_data, 512, NVME_FID_CDQ_DATA);

#define NVME_RATE_LIMIT(X, A) /* FID 28h data, NVM CS 1.3 */                                   \
	X(0, le16, rlc) A(2, 5, rsvd2) X(7, uint8_t, bwsf) X(8, le64, tbwv) X(16, le64, wbwv)  \
	X(24, le32, tiops) X(28, le32, wiops) X(32, uint8_t, iops_r) X(33, uint8_t, iops_w)    \
	X(34, uint8_t, bw_r) X(35, uint8_t, bw_w) A(36, 476, rsvd36) A(512, 512, vs)
WIRE_STRUCT(nvme_rate_limit, 1024, NVME_RATE_LIMIT);
enum { NVME_RLC_RLE = 1 << 15 };
/* Ours, not the book's: no command is held longer for want of tokens, or the guest's driver takes its controller for broken (Linux after
 * 30 s). A host that limits must reckon with it: so many seconds' worth of the limit may wait, more gets through. */
enum { NVME_RATE_PATIENCE_S = 5 };

#define NVME_DSM_RANGE(X, A) X(0, le32, cattr) X(4, le32, nlb) X(8, le64, slba)
WIRE_STRUCT(nvme_dsm_range, 16, NVME_DSM_RANGE);
#define NVME_COPY_RANGE(X, A) /* format 0h; format 1h appends 8 bytes of tags */               \
	A(0, 8, rsvd0) X(8, le64, slba) X(16, le16, nlb0) A(18, 6, rsvd18) X(24, le32, eilbrt) \
	X(28, le16, elbat) X(30, le16, elbatm)
WIRE_STRUCT(nvme_copy_range, 32, NVME_COPY_RANGE);

/* Ferry's vendor specific state (docs/stream.md): the UUID that CNS 20h lists at index 1, bytes as transmitted. */
#define FERRY_STATE_UUID { 0x8c, 0x1f, 0x5e, 0x4a, 0x20, 0x6d, 0x4f, 0x0b, 0x9a, 0x57, 0xfe, 0x44, 0x79, 0x4e, 0x56, 0x31 }

#endif
