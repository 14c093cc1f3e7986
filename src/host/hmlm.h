/* Host Managed Live Migration from the host's side: commands from arguments, and readers of the data they bring back.
 *
 * Used by the manager, by `ferry nvme` and by tests. A builder zeroes the SQE and fills everything except the CID and the
 * data pointer (hnvme_submit does those). A reader trusts nothing: a controller that lies gets -EPROTO, never a read
 * outside the buffer, never an endless loop. A controller may still be writing what is read here, so each reader copies
 * what it judges and keeps its own numbers. No state, no I/O; any thread.
 */
#ifndef FERRY_HOST_HMLM_H
#define FERRY_HOST_HMLM_H

#include "base/err.h"
#include "spec/nvme.h"

/* ---- commands (golden values: tests/wire/test_hmlm_encode.c) ------------------------------------------------------ */

/* PRP1 is the queue's address, not a transfer: it is set here, so submit with data NULL. `dwords` is one-based and a multiple of
 * 8 (one slot); memory must be zeroed before (hmlm_ring_init does). contiguous false: iova is a PRP list's address. DW0 15:0 of the CQE is the CDQID. */
void hmlm_cdq_create(struct nvme_sqe *, uint16_t cntlid, uint32_t dwords, uint64_t iova, bool contiguous);
void hmlm_cdq_delete(struct nvme_sqe *, uint16_t cdqid);
void hmlm_track_log(struct nvme_sqe *, uint16_t cdqid, bool start);	/* user data changes into the CDQ */
void hmlm_track_mem(struct nvme_sqe *, uint16_t cntlid, bool start);	/* start: data is hmlm_track_mem_build's */
void hmlm_track_receive(struct nvme_sqe *, uint16_t cntlid, uint32_t bytes); /* multiple of 4, at least 16 + 16; destructive */
void hmlm_suspend(struct nvme_sqe *, uint16_t cntlid, unsigned stype, bool dudmq);
void hmlm_abort(struct nvme_sqe *, uint16_t sqid, uint16_t cid);	/* of a command that is out */
void hmlm_resume(struct nvme_sqe *, uint16_t cntlid);
/* The offset is a multiple of 4. dwords one-based; 0 only with NVME_SEQ_LAST (commit without data). */
void hmlm_set_state(struct nvme_sqe *, uint16_t cntlid, unsigned seqind, uint8_t csvi, uint8_t csuuidi, uint64_t offset, uint32_t dwords);
void hmlm_get_state(struct nvme_sqe *, uint16_t cntlid, uint8_t csvi, uint8_t csuuidi, uint64_t offset, uint32_t bytes); /* CQE DW0 bit 0: was suspended */
void hmlm_set_cdq(struct nvme_sqe *, uint16_t cdqid, uint32_t hp, bool etpt, uint32_t tpt);	/* FID 21h; no data */
void hmlm_get_cdq(struct nvme_sqe *, uint16_t cdqid);					/* 512 bytes: nvme_fid_cdq_data */
void hmlm_set_rate(struct nvme_sqe *, uint16_t cntlid);	/* FID 28h; 1024 bytes: hmlm_rate_build's */
void hmlm_get_rate(struct nvme_sqe *, uint16_t cntlid);
void hmlm_lba_status(struct nvme_sqe *, uint32_t nsid, uint64_t slba, uint16_t blocks, uint32_t bytes); /* ATYPE 02h; blocks 0: to the end */
void hmlm_identify(struct nvme_sqe *, unsigned cns, uint32_t nsid, uint16_t cntid, unsigned csi);	/* 4096 bytes */

/* The rest of what a mover sends. nlb is one-based, 1..65536. */
void hmlm_rw(struct nvme_sqe *, uint8_t opc, uint32_t nsid, uint64_t slba, uint32_t nlb);	/* any command with SLBA and NLB */
void hmlm_write_zeroes(struct nvme_sqe *, uint32_t nsid, uint64_t slba, uint32_t nlb, bool deac);
void hmlm_dsm(struct nvme_sqe *, uint32_t nsid, unsigned ranges);	/* 1..256; deallocate; data: ranges times nvme_dsm_range */
void hmlm_flush(struct nvme_sqe *, uint32_t nsid);
void hmlm_features(struct nvme_sqe *, bool set, uint8_t fid, uint32_t cdw11, uint32_t cdw12);
void hmlm_log_page(struct nvme_sqe *, uint8_t lid, uint32_t nsid, uint64_t offset, uint32_t bytes);

/* ---- data the host sends ------------------------------------------------------------------------------------------- */

struct hmlm_range { uint64_t addr, bytes; };

/* Track Memory Changes structure; granule = 4 KiB << rmrtg. Returns its length, or 0 if it does not fit into cap or a range is
 * not a multiple of the granule. */
size_t hmlm_track_mem_build(void *buf, size_t cap, uint8_t rmrtg, const struct hmlm_range *, unsigned count);
/* Limits in bytes/s and commands/s; 0: no limit of that kind; all 0: limiter off. Bandwidth is rounded up to MiB/s. */
void hmlm_rate_build(struct nvme_rate_limit *, uint64_t total_bw, uint64_t write_bw, uint32_t total_iops, uint32_t write_iops);

/* ---- LBA Migration Queue: the host's end of a UDMQ -------------------------------------------------------------------- */

struct hmlm_ring {
	uint8_t *mem;			/* slots * 32 bytes */
	uint32_t slots;
	uint32_t head;			/* next slot to read: the HP to tell */
	uint32_t told;			/* HP the controller knows */
	bool phase;			/* expected in the next slot */
};

struct hmlm_entry {
	uint32_t nsid;			/* the subsystem's */
	uint64_t slba, nlb;		/* one-based count; valid if lbacir is NVME_LBACIR_RANGE */
	uint8_t esa, lbacir;		/* independent of each other: a marker may carry a range */
	bool dealloc;
};

void hmlm_ring_init(struct hmlm_ring *, void *mem, uint32_t slots);	/* zeroes mem: the host's duty before Create */
/* 1 an entry; 0 none now; -EPROTO the slot cannot be what a controller may post (the log is then worth nothing: rescan).
 * At most slots - 1 entries come between two hmlm_ring_told: a controller that overruns its ring cannot keep us here. */
int hmlm_ring_next(struct hmlm_ring *, struct hmlm_entry *);
/* Slots read and not yet given back by FID 21h. */
uint32_t hmlm_ring_untold(const struct hmlm_ring *);
void hmlm_ring_told(struct hmlm_ring *, uint32_t hp);	/* Set Features with that HP succeeded */

/* ---- Controller State (48-byte head, v0 part, vendor part) --------------------------------------------------------- */

enum { HMLM_STATE_HEAD = 48, HMLM_STATE_MAX = 64 << 20 };

struct hmlm_state {
	uint64_t nvme_bytes, vendor_off, vendor_bytes, total;	/* total: bytes of the whole image; the v0 part stands at 48 */
	bool suspended;			/* CSATTR.CP: suspended for the whole Get */
	uint16_t niosq, niocq;		/* 0 until the image is at hand */
};

/* `p` holds the first `len` bytes of an image, at least the head. 0; -EPROTO with a sentence. total > len: read on, parse again. */
int hmlm_state_parse(const void *p, size_t len, struct hmlm_state *, struct err *);
bool hmlm_state_sq(const void *p, size_t len, const struct hmlm_state *, unsigned i, struct nvme_state_sq *);
bool hmlm_state_cq(const void *p, size_t len, const struct hmlm_state *, unsigned i, struct nvme_state_cq *);
/* In a CNS 20h page of 4096 bytes: 1-based index for CSVI / CSUUIDI, 0 if it is not listed. */
uint8_t hmlm_format_version(const void *page, uint16_t version);
uint8_t hmlm_format_uuid(const void *page, const uint8_t uuid[16]);

/* ---- Track Receive ---------------------------------------------------------------------------------------------------- */

struct hmlm_tracked {
	const uint8_t *p;
	uint32_t count, at;
	uint64_t granule;		/* bytes */
	uint16_t cntlid;
	bool more, suspended;		/* MTR: ask again; SUSP: the controller was suspended meanwhile */
};

int hmlm_tracked_parse(const void *p, size_t len, struct hmlm_tracked *, struct err *);	/* 0; -EPROTO */
int hmlm_tracked_next(struct hmlm_tracked *, struct hmlm_range *);	/* 1; 0 end; -EPROTO misaligned, empty or wrapping */

/* ---- Get LBA Status ------------------------------------------------------------------------------------------------ */

struct hmlm_lbas {
	const uint8_t *p;
	uint32_t count, at;
	uint64_t next;			/* descriptors ascend: nothing before this. With more: where to ask again */
	bool more;			/* CMPC = incomplete: ask again from `next`, once all are read */
};

/* slba: as asked for. 0; -EPROTO also for an incomplete list without any descriptor, which would never end. */
int hmlm_lbas_parse(const void *p, size_t len, uint64_t slba, struct hmlm_lbas *, struct err *);
int hmlm_lbas_next(struct hmlm_lbas *, uint64_t *slba, uint64_t *nlb);	/* 1; 0 end; -EPROTO */

#endif
