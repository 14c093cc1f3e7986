/* A controller of a hundred lines behind a struct port, for the host's side: it does what the book says of the few commands a driver
 * needs, and can be told to misbehave. Written from the book, not from src/device: the two must meet, not agree.
 */
#ifndef FERRY_TESTS_FAKE_NVME_H
#define FERRY_TESTS_FAKE_NVME_H

#include <errno.h>
#include <stdlib.h>

#include "host/port.h"
#include "spec/nvme.h"
#include "t.h"

enum { FAKE_QUEUES = 18, FAKE_AERS = 8 };

struct fake_queue { uint64_t sq, cq; uint32_t size, head, tail, cq_tail; bool phase; };

struct fake {
	struct port port;
	uint8_t *host;			/* IOVA 0 of the host's memory (or address 0 for a driver with IOVA = address) */
	uint64_t host_iova;
	uint8_t *disk;
	uint64_t blocks;		/* of 512 bytes */
	uint64_t asq, acq;
	uint32_t cc, csts, aqa, max_queues;
	struct fake_queue q[FAKE_QUEUES];
	uint16_t aer[FAKE_AERS];
	unsigned aers;
	char sn;
	/* misbehaviour */
	bool gone, mute, never_ready, fatal;	/* mute: takes commands and never answers */
	unsigned fail_in;		/* that many I/O commands from now one fails... */
	bool fail_did_it;		/* ...after having been carried out */
	unsigned lose_in;		/* that many writes from now one is acknowledged and not carried out */
	unsigned flood;			/* strange completions to post before the next */
	uint64_t done;
};

static inline uint8_t *fake_mem(struct fake *f, uint64_t iova) { return f->host + (iova - f->host_iova); }

static inline void fake_post(struct fake *f, unsigned qid, uint16_t cid, uint32_t dw0, unsigned status)
{
	struct fake_queue *q = &f->q[qid];
	struct nvme_cqe c = { .dw0 = le32_of(dw0), .sqhd = le16_of((uint16_t)q->head), .sqid = le16_of((uint16_t)qid),
			      .cid = le16_of(cid), .status = le16_of((uint16_t)(status << 1 | q->phase)) };

	memcpy(fake_mem(f, q->cq) + 16 * q->cq_tail, &c, sizeof(c));
	if (++q->cq_tail == q->size) {
		q->cq_tail = 0;
		q->phase = !q->phase;
	}
}

/* Page `i` of a command's data. */
static inline uint8_t *fake_page(struct fake *f, const struct nvme_sqe *s, unsigned i, unsigned pages)
{
	uint64_t a = le64_get(s->prp1);

	if (i && pages <= 2)
		a = le64_get(s->prp2);
	else if (i)
		memcpy(&a, fake_mem(f, le64_get(s->prp2)) + 8 * (i - 1), 8);
	return fake_mem(f, a);
}

static inline int fake_move(struct fake *f, const struct nvme_sqe *s, uint8_t *data, uint64_t len, int how) /* 0 to disk, 1 to host, 2 compare */
{
	unsigned pages = (unsigned)((len + 4095) / 4096);

	for (unsigned i = 0; i < pages; i++) {
		uint8_t *h = fake_page(f, s, i, pages), *d = data + 4096ull * i;
		size_t n = MIN(len - 4096ull * i, (uint64_t)4096);

		if (how == 2 && memcmp(h, d, n))
			return 1;
		if (how == 0)
			memcpy(d, h, n);
		else if (how == 1)
			memcpy(h, d, n);
	}
	return 0;
}

static inline unsigned fake_identify(struct fake *f, const struct nvme_sqe *s)
{
	uint8_t *p = fake_mem(f, le64_get(s->prp1));
	struct nvme_id_ctrl c = { .mdts = 5, .cntlid = le16_of(2), .aerl = 3, .nn = le32_of(1), .sqes = 0x66, .cqes = 0x44,
				  .oncs = le16_of(0x1 | 0x4 | 0x8 | 0x100) };
	struct nvme_id_ns n = { .nsze = le64_of(f->blocks), .ncap = le64_of(f->blocks), .mssrl = le16_of(128), .mcl = le32_of(256), .msrc = 3 };

	memset(c.sn, f->sn ? f->sn : 'S', sizeof(c.sn));
	n.lbaf[2] = 9;
	if (nvme_identify_cns(s) == 1)
		memcpy(p, &c, sizeof(c));
	else if (nvme_identify_cns(s) == 0)
		memcpy(p, &n, sizeof(n));
	else
		return NVME_INVALID_FIELD;
	return 0;
}

static inline void fake_admin(struct fake *f, const struct nvme_sqe *s)
{
	unsigned qid = nvme_create_sq_qid(s), status = 0;
	uint32_t dw0 = 0;

	switch (s->opc) {
	case 0x06: status = fake_identify(f, s); break;
	case 0x09: dw0 = (f->max_queues - 1) << 16 | (f->max_queues - 1); break;
	case 0x0c:
		if (f->aers < FAKE_AERS)
			f->aer[f->aers++] = le16_get(s->cid);
		return;
	case 0x05:
		f->q[qid] = (struct fake_queue){ .cq = le64_get(s->prp1), .size = nvme_create_cq_qsize0(s) + 1, .phase = true };
		break;
	case 0x01: f->q[qid].sq = le64_get(s->prp1); break;
	default: status = NVME_INVALID_OPCODE;
	}
	fake_post(f, 0, le16_get(s->cid), dw0, status);
}

static inline unsigned fake_io(struct fake *f, const struct nvme_sqe *s)
{
	uint64_t slba = nvme_slba(s), nlb = nvme_rw_nlb0(s) + 1, len = nlb * 512;
	uint8_t *d = f->disk + slba * 512;
	struct nvme_dsm_range r;
	struct nvme_copy_range c;

	if (s->opc == NVME_NVM_FLUSH)
		return 0;
	if (s->opc == NVME_NVM_DSM) {
		for (unsigned i = 0; i <= nvme_dsm_nr0(s); i++) {
			memcpy(&r, fake_mem(f, le64_get(s->prp1)) + 16 * i, 16);
			memset(f->disk + le64_get(r.slba) * 512, 0, le32_get(r.nlb) * 512ull);
		}
		return 0;
	}
	if (s->opc == NVME_NVM_COPY) {
		for (unsigned i = 0; i <= nvme_copy_nr0(s); i++) {
			memcpy(&c, fake_mem(f, le64_get(s->prp1)) + 32 * i, 32);
			memmove(d, f->disk + le64_get(c.slba) * 512, (le16_get(c.nlb0) + 1) * 512ull);
			d += (le16_get(c.nlb0) + 1) * 512ull;
		}
		return 0;
	}
	if (!range_inside(slba, nlb, f->blocks))
		return NVME_LBA_OUT_OF_RANGE;
	switch (s->opc) {
	case NVME_NVM_WRITE:
		if (f->lose_in && !--f->lose_in)
			return 0;
		return (unsigned)fake_move(f, s, d, len, 0);
	case NVME_NVM_READ: return (unsigned)fake_move(f, s, d, len, 1);
	case NVME_NVM_COMPARE: return fake_move(f, s, d, len, 2) ? NVME_COMPARE_FAILURE : 0;
	case NVME_NVM_WRITE_ZEROES: memset(d, 0, len); return 0;
	}
	return NVME_INVALID_OPCODE;
}

static inline void fake_one(struct fake *f, unsigned qid)
{
	struct fake_queue *q = &f->q[qid];
	struct nvme_sqe s;
	unsigned status = 0;

	memcpy(&s, fake_mem(f, q->sq) + 64 * q->head, sizeof(s));
	q->head = (q->head + 1) % q->size;
	for (; f->flood; f->flood--)
		fake_post(f, qid, 0xfff0, 0, 0);
	f->done++;
	if (!qid) {
		fake_admin(f, &s);
		return;
	}
	if (f->fail_in && !--f->fail_in) {
		if (f->fail_did_it)
			fake_io(f, &s);
		status = NVME_INTERNAL_ERROR;
	} else {
		status = fake_io(f, &s);
	}
	fake_post(f, qid, le16_get(s.cid), 0, status);
}

/* At most `budget` commands. */
static inline bool fake_poll(struct fake *f, unsigned budget)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_QUEUES && !f->mute && (f->csts & 1); i++)
		for (; f->q[i].head != f->q[i].tail && n < budget; n++)
			fake_one(f, i);
	return n > 0;
}

/* ---- the port */

static inline int fake_read(struct port *p, uint32_t off, unsigned bytes, uint64_t *v)
{
	struct fake *f = (struct fake *)p;

	(void)bytes;
	if (f->gone)
		return -ENODEV;
	*v = off == 0 ? 0x3f | 1ull << 16 | 4ull << 24 | 1ull << 37 : off == 0x1c ? f->csts : 0;
	return 0;
}

static inline int fake_write(struct port *p, uint32_t off, unsigned bytes, uint64_t v)
{
	struct fake *f = (struct fake *)p;

	(void)bytes;
	if (f->gone)
		return -ENODEV;
	if (off == 0x24)
		f->aqa = (uint32_t)v;
	else if (off == 0x28)
		f->asq = v;
	else if (off == 0x30)
		f->acq = v;
	else if (off == 0x14 && !(v & 1)) {
		memset(f->q, 0, sizeof(f->q));
		f->aers = 0;
		f->csts = 0;
	} else if (off == 0x14 && !f->never_ready) {
		f->q[0] = (struct fake_queue){ .sq = f->asq, .cq = f->acq, .size = (f->aqa & 0xfff) + 1, .phase = true };
		f->csts = f->fatal ? 2 : 1;
	}
	return 0;
}

static inline int fake_doorbell(struct port *p, unsigned index, uint32_t v)
{
	struct fake *f = (struct fake *)p;

	if (f->gone)
		return -ENODEV;
	if (!(index & 1) && index / 2 < FAKE_QUEUES && v < f->q[index / 2].size)
		f->q[index / 2].tail = v;
	return 0;
}

static inline int fake_cfg(struct port *p, uint32_t off, void *b, uint32_t len) { (void)p, (void)off; memset(b, 0, len); return 0; }
static inline int fake_cfg_put(struct port *p, uint32_t off, const void *b, uint32_t len) { (void)p, (void)off, (void)b, (void)len; return 0; }
static inline int fake_map(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t fd_off)
{
	struct fake *f = (struct fake *)p;

	(void)size, (void)fd, (void)fd_off;
	f->host = ptr;
	f->host_iova = iova;
	return f->gone ? -ENODEV : 0;
}
static inline int fake_unmap(struct port *p, uint64_t iova, uint64_t size) { (void)p, (void)iova, (void)size; return 0; }
static inline int fake_reset(struct port *p) { return fake_write(p, 0x14, 4, 0); }
static inline void fake_close(struct port *p) { (void)p; }

static const struct port_ops fake_ops = {
	.reg_read = fake_read, .reg_write = fake_write, .doorbell = fake_doorbell, .cfg_read = fake_cfg, .cfg_write = fake_cfg_put,
	.dma_map = fake_map, .dma_unmap = fake_unmap, .reset = fake_reset, .close = fake_close,
};

static inline void fake_open(struct fake *f, uint64_t disk_bytes)
{
	*f = (struct fake){ .port.ops = &fake_ops, .disk = calloc(1, disk_bytes), .blocks = disk_bytes / 512, .max_queues = 16 };
}

#endif
