/* Commands for the tests that talk to a controller on the bench (rig.h), and a wrapper that watches a backend. */
#ifndef FERRY_TESTS_CMDS_H
#define FERRY_TESTS_CMDS_H

#include "rig.h"

/* ---- a backend that tells what was asked of it, and can hold or fail requests */

struct spy {
	struct blk b;
	unsigned count[BLK_OP_COUNT];
	bool fua;			/* of the last write */
	unsigned hold;			/* BLK_ ops as bits: kept until spy_release */
	int fail;			/* -errno for the ops in fail_ops, from fail_after requests on */
	unsigned fail_ops, fail_after;
	struct list held;
	bool fixed;			/* cannot be resized */
};
static struct spy *spy_last;		/* of the namespace opened last */

static inline int spy_submit(struct blk *b, struct blk_io *io)
{
	struct spy *s = CONTAINER_OF(b, struct spy, b);

	s->count[io->op]++;
	if (io->op == BLK_WRITE)
		s->fua = io->fua;
	if (s->fail && s->fail_ops >> io->op & 1 && (s->fail_after == 0 || s->fail_after-- == 0))
		return s->fail;
	if (s->hold >> io->op & 1) {
		list_push(&s->held, &io->link);
		return 0;
	}
	return blk_submit(b->below, io);
}
static inline void spy_release(struct spy *s)
{
	struct list *l;

	s->hold = 0;
	while ((l = list_pop(&s->held))) {
		struct blk_io *io = LIST_ENTRY(l, struct blk_io, link);
		int rc = blk_submit(s->b.below, io);

		if (rc)
			io->done(io, rc == BLK_DONE ? 0 : rc);
	}
}
static inline int spy_poll(struct blk *b) { return blk_poll(b->below); }
static inline int spy_next(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len)
{
	return blk_next_allocated(b->below, lba, start, len);
}
static inline int spy_resize(struct blk *b, uint64_t blocks)
{
	struct spy *s = CONTAINER_OF(b, struct spy, b);
	int rc = s->fixed ? -ENOTSUP : 0;

	LIST_EACH(&s->held, it) {
		struct blk_io *io = LIST_ENTRY(it, struct blk_io, link);

		if (io->op != BLK_FLUSH && io->lba + io->nlb > blocks)
			rc = -EBUSY;
	}
	if (!rc)
		rc = b->below->ops->resize(b->below, blocks);
	b->blocks = b->below->blocks;
	return rc;
}
static inline int spy_wait_fd(struct blk *b) { return b->below->ops->wait_fd(b->below); }
static inline void spy_close(struct blk *b)
{
	blk_close(b->below);
	free(CONTAINER_OF(b, struct spy, b));
}
static inline struct blk *spy_open(struct blk *below)
{
	static const struct blk_ops ops = { "spy", spy_submit, spy_poll, spy_next, spy_resize, spy_wait_fd, spy_close, NULL };
	struct spy *s = calloc(1, sizeof(*s));

	s->b = (struct blk){ &ops, below->block_bytes, below->blocks, below->alloc_blocks, below };
	list_init(&s->held);
	spy_last = s;
	return &s->b;
}

/* ---- admin commands with 4096 bytes of data at most */

static inline void *cmd_page(struct rig *r, struct nvme_ctrl *c)
{
	struct rig_host *h = rig_host(r, c);

	if (!h->cmd_page)
		h->cmd_page = rig_alloc(r, c, 4096);
	return memset(h->cmd_page, 0xee, 4096);
}

/* The page's content is in *out (may be NULL). */
static inline struct nvme_cqe cmd_get(struct rig *r, struct nvme_ctrl *c, struct nvme_sqe s, void *out)
{
	uint8_t *page = cmd_page(r, c);
	struct nvme_cqe e = rig_admin_data(r, c, s, page, 4096);

	if (out)
		memcpy(out, page, 4096);
	return e;
}

static inline struct nvme_cqe cmd_identify(struct rig *r, struct nvme_ctrl *c, unsigned cns, uint32_t nsid, unsigned cntid,
					   unsigned csi, void *out)
{
	struct nvme_sqe s = { .opc = NVME_OP_IDENTIFY, .nsid = le32_of(nsid) };

	nvme_identify_cns_put(&s, cns);
	nvme_identify_cntid_put(&s, cntid);
	nvme_identify_csi_put(&s, csi);
	return cmd_get(r, c, s, out);
}

static inline struct nvme_sqe cmd_log_sqe(unsigned lid, uint32_t bytes, uint64_t off, bool rae)
{
	struct nvme_sqe s = { .opc = NVME_OP_GET_LOG };

	nvme_get_log_lid_put(&s, lid);
	nvme_get_log_numdl_put(&s, bytes / 4 - 1);
	nvme_get_log_numdu_put(&s, (bytes / 4 - 1) >> 16);
	nvme_get_log_lpol_put(&s, (uint32_t)off);
	nvme_get_log_lpou_put(&s, (uint32_t)(off >> 32));
	nvme_get_log_rae_put(&s, rae);
	return s;
}
static inline struct nvme_cqe cmd_log(struct rig *r, struct nvme_ctrl *c, unsigned lid, uint32_t bytes, uint64_t off, void *out)
{
	return cmd_get(r, c, cmd_log_sqe(lid, bytes, off, false), out);
}

static inline struct nvme_sqe cmd_set_sqe(unsigned fid, uint32_t cdw11)
{
	struct nvme_sqe s = { .opc = NVME_OP_SET_FEATURES };

	nvme_set_features_fid_put(&s, fid);
	s.cdw11 = le32_of(cdw11);
	return s;
}
static inline struct nvme_cqe cmd_set(struct rig *r, struct nvme_ctrl *c, unsigned fid, uint32_t cdw11)
{
	return rig_admin(r, c, cmd_set_sqe(fid, cdw11));
}
static inline struct nvme_cqe cmd_set_data(struct rig *r, struct nvme_ctrl *c, unsigned fid, uint32_t cdw11, const void *p, size_t n)
{
	uint8_t *page = cmd_page(r, c);

	memcpy(page, p, n);
	return rig_admin_data(r, c, cmd_set_sqe(fid, cdw11), page, n);
}
static inline struct nvme_cqe cmd_getf(struct rig *r, struct nvme_ctrl *c, unsigned fid, unsigned sel, uint32_t cdw11, void *out)
{
	struct nvme_sqe s = { .opc = NVME_OP_GET_FEATURES };

	nvme_get_features_fid_put(&s, fid);
	nvme_get_features_sel_put(&s, sel);
	s.cdw11 = le32_of(cdw11);
	return cmd_get(r, c, s, out);
}
static inline uint32_t cmd_dw0(struct nvme_cqe e) { return le32_get(e.dw0); }

static inline struct nvme_sqe cmd_create_cq(uint16_t qid, uint16_t qsize0, uint32_t cdw11, uint64_t prp1)
{
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_CQ, .prp1 = le64_of(prp1), .cdw11 = le32_of(cdw11) };

	nvme_create_cq_qid_put(&s, qid);
	nvme_create_cq_qsize0_put(&s, qsize0);
	return s;
}
static inline struct nvme_sqe cmd_create_sq(uint16_t qid, uint16_t qsize0, uint32_t cdw11, uint64_t prp1)
{
	struct nvme_sqe s = cmd_create_cq(qid, qsize0, cdw11, prp1);

	s.opc = NVME_OP_CREATE_SQ;
	return s;
}
static inline struct nvme_sqe cmd_delete(unsigned opc, uint16_t qid)
{
	struct nvme_sqe s = { .opc = (uint8_t)opc };

	nvme_delete_q_qid_put(&s, qid);
	return s;
}
static inline struct nvme_sqe cmd_format(uint32_t nsid, unsigned ses)
{
	struct nvme_sqe s = { .opc = NVME_OP_FORMAT, .nsid = le32_of(nsid) };

	nvme_format_ses_put(&s, ses);
	return s;
}

/* ---- I/O of a few blocks through one page */

static inline struct nvme_cqe cmd_write(struct rig *r, struct nvme_ctrl *c, uint32_t nsid, uint64_t lba, unsigned nlb, uint8_t fill)
{
	uint8_t *page = cmd_page(r, c);

	memset(page, fill, 4096);
	return rig_io_data(r, c, 1, rig_rw(NVME_NVM_WRITE, nsid, lba, nlb), page, nlb * 512);
}
/* True if the blocks of 512 bytes hold nothing but `fill`. */
static inline bool cmd_holds(struct rig *r, struct nvme_ctrl *c, uint32_t nsid, uint64_t lba, unsigned nlb, uint8_t fill)
{
	uint8_t *page = cmd_page(r, c);
	struct nvme_cqe e = rig_io_data(r, c, 1, rig_rw(NVME_NVM_READ, nsid, lba, nlb), page, nlb * 512);

	EXPECT_STATUS(e, NVME_SUCCESS);
	for (unsigned i = 0; i < nlb * 512; i++)
		if (page[i] != fill)
			return false;
	return true;
}

#endif
