/* For the tests of live migration: its commands as dwords, written out as the book has them and not through our own putters,
 * and the host's side of a User Data Migration Queue. */
#ifndef FERRY_TESTS_HMLM_H
#define FERRY_TESTS_HMLM_H

#include "rig.h"

static inline struct nvme_sqe hm_cmd(uint8_t opc, uint32_t d10, uint32_t d11, uint32_t d12, uint32_t d13, uint32_t d15)
{
	return (struct nvme_sqe){ .opc = opc, .cdw10 = le32_of(d10), .cdw11 = le32_of(d11), .cdw12 = le32_of(d12),
				  .cdw13 = le32_of(d13), .cdw15 = le32_of(d15) };
}

/* ---- a UDMQ as its host sees it */
struct hm_ring { struct nvme_ctrl *mmc; uint8_t *mem; uint32_t slots, at; uint16_t id; bool phase; };

static inline struct nvme_cqe hm_create(struct rig *r, struct nvme_ctrl *mmc, uint64_t prp1, unsigned cntlid, uint32_t dwords, bool pc)
{
	struct nvme_sqe s = hm_cmd(0x45, 0, cntlid << 16 | pc, dwords, 0, 0);

	s.prp1 = le64_of(prp1);
	return rig_admin(r, mmc, s);
}
static inline struct hm_ring hm_ring_of(struct rig *r, struct nvme_ctrl *mmc, struct nvme_ctrl *mc, uint32_t slots)
{
	struct hm_ring q = { .mmc = mmc, .slots = slots, .phase = true };
	struct nvme_cqe c;

	q.mem = rig_alloc(r, mmc, slots * 32);
	c = hm_create(r, mmc, rig_iova(r, mmc, q.mem), mc->cntlid, slots * 8, true);
	EXPECT_STATUS(c, NVME_SUCCESS);
	q.id = (uint16_t)le32_get(c.dw0);
	return q;
}
static inline struct nvme_cqe hm_delete(struct rig *r, struct nvme_ctrl *mmc, unsigned id)
{
	return rig_admin(r, mmc, hm_cmd(0x45, 1, id, 0, 0, 0));
}
static inline struct nvme_cqe hm_log(struct rig *r, const struct hm_ring *q, unsigned lact)
{
	return rig_admin(r, q->mmc, hm_cmd(0x3d, lact << 16, q->id, 0, 0, 0));
}
/* Next entry that the phase says is there. */
static inline bool hm_next(struct hm_ring *q, struct nvme_lbamq *e)
{
	memcpy(e, q->mem + 32 * q->at, 32);
	if ((e->lbamqa & 1) != q->phase)
		return false;
	if (++q->at == q->slots) {
		q->at = 0;
		q->phase = !q->phase;
	}
	return true;
}
static inline struct nvme_lbamq hm_must(struct hm_ring *q)
{
	struct nvme_lbamq e;

	if (!hm_next(q, &e))
		fail_msg("no entry in the queue");
	return e;
}
static inline bool hm_empty(struct hm_ring *q)
{
	return ((q->mem[32 * q->at + 31] & 1) != q->phase);
}
static inline unsigned hm_esa(const struct nvme_lbamq *e) { return e->lbamqa >> 1 & 7; }
/* Set Features 21h: head (and TPT if armed). */
static inline struct nvme_cqe hm_head(struct rig *r, struct nvme_ctrl *mmc, unsigned id, uint32_t hp, bool etpt, uint32_t tpt)
{
	return rig_admin(r, mmc, hm_cmd(0x09, 0x21, id | (etpt ? 0x80000000u : 0), hp, tpt, 0));
}

/* ---- migration */
static inline struct nvme_cqe hm_suspend(struct rig *r, struct nvme_ctrl *mmc, unsigned cntlid, bool dudmq)
{
	return rig_admin(r, mmc, hm_cmd(0x41, 0, (dudmq ? 0x80010000u : 0x00010000u) | cntlid, 0, 0, 0));
}
static inline struct nvme_cqe hm_resume(struct rig *r, struct nvme_ctrl *mmc, unsigned cntlid)
{
	return rig_admin(r, mmc, hm_cmd(0x41, 1, cntlid, 0, 0, 0));
}
/* Get Controller State: CSVI in CDW10 23:16, CSUUIDI in CDW11 23:16, NUMDL zero-based. */
static inline struct nvme_cqe hm_get(struct rig *r, struct nvme_ctrl *mmc, unsigned cntlid, unsigned csvi, unsigned csuuidi,
				     uint32_t off, void *p, uint32_t bytes)
{
	return rig_admin_data(r, mmc, hm_cmd(0x42, csvi << 16, csuuidi << 16 | cntlid, off, 0, bytes / 4 - 1), p, bytes);
}
/* Set Controller State: CSUUIDI in CDW11 31:24, CSVI 23:16, NUMD one-based. seq: 1 first, 0 middle, 2 last, 3 only. */
static inline struct nvme_cqe hm_set(struct rig *r, struct nvme_ctrl *mmc, unsigned cntlid, unsigned seq, unsigned csvi,
				     unsigned csuuidi, uint32_t off, void *p, uint32_t bytes)
{
	struct nvme_sqe s = hm_cmd(0x41, seq << 16 | 2, csuuidi << 24 | csvi << 16 | cntlid, off, 0, bytes / 4);

	return bytes ? rig_admin_data(r, mmc, s, p, bytes) : rig_admin(r, mmc, s);
}

/* ---- the guest */
static inline struct nvme_cqe hm_write(struct rig *r, struct nvme_ctrl *c, uint32_t nsid, uint64_t slba, unsigned nlb, void *data)
{
	return rig_io_data(r, c, 1, rig_rw(NVME_NVM_WRITE, nsid, slba, nlb), data, nlb * 512);
}

#endif
