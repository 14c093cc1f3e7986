/* What a controller's state image carries beyond the standard part: every member of struct nvme_ctrl and of the structures
 * in it is a row here, either saved, with the record that has it, or derived, with the reason (design rule 6).
 *
 *   V(record, member)          an integer or bool          A(record, member, width)  an array of elements of that width
 *   E(record, member)          a time on our clock: saved as what has elapsed since
 *   C(record, member)          saved by code of its own    D(member, reason)         not saved
 *
 * state_vsd.c makes its table of V and A rows from these lists, tests/unit/test_hmlm_state.c proves that no member lacks a row,
 * docs/stream.md describes the records. A record once released never changes: what is new gets a new tag.
 */
#ifndef FERRY_DEVICE_NVME_STATE_ROWS_H
#define FERRY_DEVICE_NVME_STATE_ROWS_H

#include "device/nvme/nvme.h"

/* Records: name, tag, required (a reader that does not know the tag refuses the image). In image order. */
#define NVME_STATE_RECORDS(R)                                                                  \
	R(FORMAT, 0x0001, 1) R(PROPS, 0x0002, 1) R(ADMIN, 0x0003, 1) R(IDENTITY, 0x0004, 1)    \
	R(NAMESPACES, 0x0005, 1) R(QUEUES, 0x0006, 1) R(HELD, 0x0007, 1) R(AERS, 0x0008, 1)    \
	R(EVENTS, 0x0009, 1) R(NOTICES, 0x000a, 1) R(IRQS, 0x000b, 1) R(FEATURES, 0x000c, 1)   \
	R(DEFAULTS, 0x000d, 1) R(RATE, 0x000e, 1) R(PCI, 0x000f, 1) R(MSIX, 0x0010, 1)         \
	R(DBBUF, 0x0011, 1) R(DOORBELLS, 0x0012, 1) R(SMART, 0x0013, 0) R(ERRLOG, 0x0014, 0)
#define NVME_STATE_ENUM_(name, tag, req) NVME_STATE_##name = tag,
enum nvme_state_tag { NVME_STATE_RECORDS(NVME_STATE_ENUM_) };

#define NVME_STATE_TLV(X, A) X(0, le16, tag) X(2, le16, flags) X(4, le32, len)
WIRE_STRUCT(nvme_state_tlv, 8, NVME_STATE_TLV);
enum { NVME_STATE_TLV_REQUIRED = 1 << 0, NVME_STATE_FORMAT_VERSION = 1 };

/* Elements of the records that are lists */
#define NVME_STATE_ADMIN_Q(X, A) X(0, le16, sq_head) X(2, le16, sq_tail) X(4, le16, cq_head) X(6, le16, cq_tail) \
	X(8, uint8_t, phase) X(9, uint8_t, irq) A(10, 2, rsvd10)
WIRE_STRUCT(nvme_state_admin_q, 12, NVME_STATE_ADMIN_Q);
#define NVME_STATE_NS(X, A) X(0, le32, nsid) X(4, uint8_t, lba_shift) A(5, 3, rsvd5) X(8, le64, nsze) \
	A(16, 16, nguid) A(32, 8, eui64) A(40, 16, uuid)
WIRE_STRUCT(nvme_state_ns, 56, NVME_STATE_NS);
#define NVME_STATE_CQX(X, A) X(0, le16, qid) X(2, uint8_t, phase) X(3, uint8_t, irq)
WIRE_STRUCT(nvme_state_cqx, 4, NVME_STATE_CQX);
#define NVME_STATE_HELDX(X, A) X(0, le16, cqid) A(2, 2, rsvd2) A(4, 16, cqe)
WIRE_STRUCT(nvme_state_heldx, 20, NVME_STATE_HELDX);
#define NVME_STATE_AER(X, A) X(0, le16, cid) A(2, 2, rsvd2)
WIRE_STRUCT(nvme_state_aer, 4, NVME_STATE_AER);
#define NVME_STATE_EVENT(X, A) X(0, uint8_t, aet) X(1, uint8_t, aei) X(2, uint8_t, lid) X(3, uint8_t, rsvd3) X(4, le32, dw1)
WIRE_STRUCT(nvme_state_event, 8, NVME_STATE_EVENT);
#define NVME_STATE_ERR(X, A) X(0, le64, count) X(8, le16, sqid) X(10, le16, cid) X(12, le16, status) X(14, le16, loc) \
	X(16, le64, lba) X(24, le32, nsid) A(28, 4, rsvd28)
WIRE_STRUCT(nvme_state_err, 32, NVME_STATE_ERR);

#define NVME_CTRL_ROWS(V, A, E, C, D)                                                             \
	D(dev, "the transport's; memory is mapped anew, pending interrupts are raised at resume") \
	D(ss, "where it lives") D(cntlid, "this subsystem's; the guest's is in who")           \
	D(mmc, "an MMC cannot be migrated") D(online, "this server's decision")                \
	D(held, "this server's decision")                                                     \
	D(max_ioq, "configuration; queue ids are judged against it")                           \
	D(max_reqs, "configuration")                                                           \
	C(IDENTITY, who) C(PCI, pci)                                                           \
	V(PROPS, cap) V(PROPS, asq) V(PROPS, acq) V(PROPS, cc) V(PROPS, csts) V(PROPS, aqa)    \
	V(PROPS, intms) V(PROPS, enabled)                                                      \
	D(db, "pointer; the values are saved") C(DOORBELLS, db_own)                            \
	V(DBBUF, dbbuf) V(DBBUF, dbbuf_shadow) V(DBBUF, dbbuf_eventidx)                        \
	D(dbbuf_shadow_ptr, "pointer") D(dbbuf_eventidx_ptr, "pointer")                        \
	D(dbbuf_generation, "of the pointers")                                                 \
	C(ADMIN, sq) C(ADMIN, cq) A(IRQS, cq_pending_irq, 4)                                   \
	D(reqs, "a suspended controller has none but those in AERS and HELD")                  \
	D(req_free, "as reqs") D(req_count, "as reqs") D(buf_wait, "as reqs") D(wide_wait, "as reqs") D(wide, "as reqs") D(throttled, "as reqs") D(retry, "as reqs") D(telling, "as reqs") \
	D(inflight, "follows from HELD") D(held_count, "follows from HELD") D(bufs, "memory") D(bufs_free, "as reqs")             \
	D(work, "of one poll") D(unstick_ns, "of this server's memory table") D(stats, "this server's counters, for its operator")                                   \
	D(sq_top, "follows from the SQs") D(cq_top, "follows from the CQs") D(sq_turn, "fairness only") \
	D(shn_io, "none after a drain") D(shn_out, "false after a drain") \
	D(shn_ns, "a shutdown under way starts over: flushing twice is harmless")              \
	C(AERS, aer) C(AERS, aer_count) C(EVENTS, event) C(EVENTS, event_count)                \
	V(NOTICES, event_masked) A(NOTICES, changed_ns, 4)                                     \
	C(NAMESPACES, attach) C(FEATURES, feat) C(DEFAULTS, feat_saved_default) C(RATE, rate)  \
	C(SMART, smart) C(ERRLOG, errlog) C(ERRLOG, errlog_count)                              \
	D(suspend, "where the image comes from is suspended, where it goes too")               \
	D(suspended_by, "the MMC here") D(suspend_req, "the MMC's command")                    \
	D(suspended_at_ns, "this server's clock; times are saved as elapsed until it")         \
	D(suspend_dudmq, "the MMC's command")                                                  \
	D(tracked_by, "the MMC's") D(track_ranges, "the MMC's") D(track_cursor, "the MMC's")   \
	D(udmq, "the MMC's") D(inbound, "the MMC's")

#define NVME_SQ_ROWS(V, A, E, C, D)                                                               \
	C(V0, live) D(deleting, "false after a drain") C(V0, qid) C(V0, cqid) C(V0, size)      \
	C(V0, prio) C(V0, prp1) C(V0, head) C(V0, tail)                                        \
	D(inflight, "follows from AERS and HELD") D(ptr, "pointer") D(generation, "of ptr")    \
	D(fetching, "false after a drain") D(cq, "pointer; cqid is saved") \
	D(db_bad, "only avoids repeated complaints") D(stuck, "of this server's memory table") \
	D(delete_req, "none after a drain")
#define NVME_CQ_ROWS(V, A, E, C, D)                                                               \
	C(V0, live) C(V0, ien) C(QUEUES, irq_wanted) C(V0, qid) C(V0, size) C(V0, iv)          \
	C(V0, prp1) C(V0, head) C(V0, tail) C(QUEUES, phase) D(sqs, "follows from the SQs")    \
	D(ptr, "pointer") D(generation, "of ptr") C(HELD, held) D(waiting, "follows from HELD") \
	D(posting, "false after a drain") D(db_bad, "only avoids repeated complaints")         \
	D(stuck, "of this server's memory table") D(deleting, "false after a drain")           \
	D(delete_req, "none after a drain")

#define NVME_IDENTITY_ROWS(V, A, E, C, D)                                                         \
	A(IDENTITY, subnqn, 1) A(IDENTITY, sn, 1) A(IDENTITY, mn, 1) A(IDENTITY, fr, 1) V(IDENTITY, cntlid)

#define NVME_PCI_ROWS(V, A, E, C, D)                                                              \
	A(PCI, cfg, 1) D(wmask, "configuration") D(bar_size, "configuration")                  \
	D(msix_count, "configuration") D(pm_cap, "configuration") D(pcie_cap, "configuration") \
	D(msix_cap, "configuration") A(MSIX, msix, 4) A(MSIX, pba, 4)

#define NVME_FEATURES_ROWS_(R, V, A, E)                                                        \
	V(R, arbitration) V(R, power) V(R, temp_over) V(R, temp_under) V(R, error_recovery)    \
	V(R, vwc) V(R, num_queues) V(R, irq_coalesce) V(R, write_atomic) V(R, aer_config)      \
	V(R, sw_progress) A(R, irq_vector, 4) V(R, timestamp_ms) E(R, timestamp_set_ns)        \
	V(R, timestamp_origin) A(R, host_behavior, 1) A(R, host_id, 1) V(R, host_id_ext)
#define NVME_FEATURES_ROWS(V, A, E, C, D) NVME_FEATURES_ROWS_(FEATURES, V, A, E)
#define NVME_DEFAULTS_ROWS(V, A, E, C, D) NVME_FEATURES_ROWS_(DEFAULTS, V, A, E)

#define NVME_RATE_ROWS(V, A, E, C, D)                                                             \
	A(RATE, cfg, 1) D(tok_tbw, "starts full") D(tok_wbw, "starts full") D(tok_tio, "starts full") \
	D(tok_wio, "starts full") D(last_ns, "this server's clock") D(turns, "nothing waits")

#define NVME_SMART_ROWS(V, A, E, C, D)                                                            \
	V(SMART, units_read) V(SMART, units_written) V(SMART, host_reads) V(SMART, host_writes) \
	V(SMART, busy_ns) V(SMART, power_cycles) V(SMART, media_errors) V(SMART, error_entries) \
	V(SMART, power_on_ns) E(SMART, power_on_since_ns)

#define NVME_ERRLOG_ROWS(V, A, E, C, D)                                                           \
	C(ERRLOG, count) C(ERRLOG, sqid) C(ERRLOG, cid) C(ERRLOG, status) C(ERRLOG, loc) C(ERRLOG, lba) C(ERRLOG, nsid)
#define NVME_EVENT_ROWS(V, A, E, C, D) C(EVENTS, aet) C(EVENTS, aei) C(EVENTS, lid) C(EVENTS, dw1)

#endif
