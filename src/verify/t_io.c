/* Reads, writes and what else changes blocks, and how data is found by PRPs. */
#include "verify/test.h"

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : t->mmc; }
#define NS(t) (&one(t)->ns[0])

static void write_read(struct vt *t)
{
	struct vctl *c = one(t);

	vt_io_make(c, 1, 64);
	for (unsigned i = 0; i < 40; i++) {
		struct vmark mark = vt_mark(c);
		uint32_t nlb = 1 + (uint32_t)rng_below(&t->rng, MIN(64u, 131072 / NS(t)->lba));
		uint64_t lba = rng_below(&t->rng, NS(t)->blocks - nlb);

		vh_write(c, 1, NS(t)->nsid, lba, nlb, i + 1, ST(S_OK));
		vh_read_is(c, 1, NS(t)->nsid, lba, nlb, i + 1);
		vt_back(c, mark);
	}
}

static void out_of_range(struct vt *t)
{
	struct vctl *c = one(t);

	vt_io_make(c, 1, 16);
	vh_write(c, 1, NS(t)->nsid, NS(t)->blocks - 4, 4, 1, ST(S_OK));
	vh_write(c, 1, NS(t)->nsid, NS(t)->blocks - 3, 4, 2, ST(S_LBA));
	vh_write(c, 1, NS(t)->nsid, UINT64_MAX, 2, 2, ST(S_LBA));
	vh_write(c, 1, NS(t)->nsid, UINT64_MAX - 3, 8, 2, ST(S_LBA));
	vh_read_is(c, 1, NS(t)->nsid, NS(t)->blocks - 4, 4, 1);
	if (t->caps & DUT_WZ)
		vh_io(c, 1, NVME_NVM_WRITE_ZEROES, NS(t)->nsid, NS(t)->blocks - 1, 2, ST(S_LBA));
}

/* A valid NSID without a namespace of this controller; 0: there is none. */
static uint32_t inactive(struct vctl *c)
{
	uint32_t nsid = 1;
	struct vmem m;

	vh_identify(c, NVME_CNS_ACTIVE_NS, 0, 0, 0, &m, ST(S_OK));
	for (unsigned i = 0; i < VT_PAGE && (m.p[i] | m.p[i + 1] | m.p[i + 2] | m.p[i + 3]); i += 4) {
		le32 used;

		memcpy(&used, m.p + i, 4);
		nsid += nsid == le32_get(used);
	}
	return nsid <= le32_get(c->id.nn) ? nsid : 0;
}

/* Base 4.1, NSID: what cannot exist, what is not there, and "all" for a command that does not take it. */
static void bad_nsid(struct vt *t)
{
	static const uint32_t nsid[] = { 0, 0xfffffffe };
	struct vctl *c = one(t);
	uint32_t nobody;

	vt_io_make(c, 1, 16);
	for (unsigned i = 0; i < ARRAY_LEN(nsid); i++)
		vh_write(c, 1, nsid[i], 0, 1, 1, ST(S_NS));
	vh_write(c, 1, 0xffffffff, 0, 1, 1, ST(S_IF));
	nobody = inactive(c);
	if (nobody)
		vh_write(c, 1, nobody, 0, 1, 1, ST(S_IF));
}

static void too_long(struct vt *t)
{
	struct vctl *c = one(t);
	uint32_t most = c->id.mdts && c->id.mdts < 20 ? (4096u << c->id.mdts) / NS(t)->lba : 0;
	struct vmem m;
	struct nvme_sqe s;

	if (!most || most >= 65536)
		vt_skip(t, "MDTS %u is no limit for one command", c->id.mdts);
	vt_io_make(c, 1, 16);
	m = vt_mem(c, VT_PAGE);
	vh_rw_sqe(&s, NVME_NVM_READ, NS(t)->nsid, 0, most + 1);
	s.prp1 = le64_of(m.iova);
	s.prp2 = le64_of(m.iova);
	vt_do(c, 1, &s, ST(S_IF));
}

static void zeroes(struct vt *t)
{
	struct vctl *c = one(t);

	vt_io_make(c, 1, 16);
	vh_write(c, 1, NS(t)->nsid, 0, 32, 1, ST(S_OK));
	vh_io(c, 1, NVME_NVM_WRITE_ZEROES, NS(t)->nsid, 4, 8, ST(S_OK));
	vh_read_is(c, 1, NS(t)->nsid, 4, 8, 0);
}

static void deallocate(struct vt *t)
{
	struct vctl *c = one(t);
	struct vspan s = { 0, 64 };
	struct vmem id, a, b;
	struct nvme_sqe r;
	unsigned dlfeat;

	vh_identify(c, NVME_CNS_NS, NS(t)->nsid, 0, 0, &id, ST(S_OK));
	dlfeat = id.p[33] & 7;
	vt_io_make(c, 1, 16);
	vh_write(c, 1, NS(t)->nsid, 0, 64, 1, ST(S_OK));
	vh_dsm(c, 1, NS(t)->nsid, &s, 1, ST(S_OK));
	a = vt_mem(c, 64 * NS(t)->lba);
	b = vt_mem(c, 64 * NS(t)->lba);
	vh_rw_sqe(&r, NVME_NVM_READ, NS(t)->nsid, 0, 64);
	vt_do_data(c, 1, &r, &a, 64 * NS(t)->lba, ST(S_OK));
	vt_do_data(c, 1, &r, &b, 64 * NS(t)->lba, ST(S_OK));
	VEXPECT(t, !memcmp(a.p, b.p, 64 * NS(t)->lba), "deallocated blocks read differently each time");
	if (dlfeat == 1)
		for (unsigned i = 0; i < 64 * NS(t)->lba; i++)
			VEXPECT(t, !a.p[i] || vh_same(&a, 64 * NS(t)->lba, 1), "DLFEAT promises zeroes, byte %u is %02xh", i, a.p[i]);
}

static void copy(struct vt *t)
{
	static const struct vspan s[] = { { 10, 4 }, { 50, 2 }, { 30, 1 } };
	struct vctl *c = one(t);

	vt_io_make(c, 1, 16);
	for (unsigned i = 0; i < 3; i++)
		vh_write(c, 1, NS(t)->nsid, s[i].slba, s[i].nlb, 70 + i, ST(S_OK));
	vh_copy(c, 1, NS(t)->nsid, 200, s, 3, ST(S_OK));
	vh_read_is(c, 1, NS(t)->nsid, 200, 4, 70);
	vh_read_is(c, 1, NS(t)->nsid, 204, 2, 71);
	vh_read_is(c, 1, NS(t)->nsid, 206, 1, 72);
}

static void compare(struct vt *t)
{
	struct vctl *c = one(t);
	uint32_t len = 4 * NS(t)->lba;
	struct vmem m = vt_mem(c, len);
	struct nvme_sqe s;

	vt_io_make(c, 1, 16);
	vh_write(c, 1, NS(t)->nsid, 0, 4, 5, ST(S_OK));
	vh_fill(&m, len, 5);
	vh_rw_sqe(&s, NVME_NVM_COMPARE, NS(t)->nsid, 0, 4);
	vt_do_data(c, 1, &s, &m, len, ST(S_OK));
	m.p[len - 1] ^= 1;
	vt_do_data(c, 1, &s, &m, len, ST(0x285));
}

static void opcodes(struct vt *t)
{
	static const uint8_t opc[] = { 0x03, 0x06, 0x07, 0x0a, 0x20, 0x7f };
	struct vctl *c = one(t);

	vt_io_make(c, 1, 16);
	for (unsigned i = 0; i < ARRAY_LEN(opc); i++) {
		struct nvme_sqe s = { .opc = opc[i], .nsid = le32_of(NS(t)->nsid) };

		vt_do(c, 1, &s, ST(S_IO));
	}
}

static void flush(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(NS(t)->nsid) };

	vt_io_make(c, 1, 16);
	vt_do(c, 1, &s, ST(S_OK));
}

/* Data that starts inside a page, for every number of pages a command of 16 KiB can have. */
static void prp_offset(struct vt *t)
{
	static const uint32_t off[] = { 0, 4, 512, 2048, 4092 };
	struct vctl *c = one(t);
	uint32_t lens[] = { NS(t)->lba, 4096, 8192, 12288, 16384 };

	vt_io_make(c, 1, 16);
	for (unsigned i = 0; i < ARRAY_LEN(off); i++)
		for (unsigned k = 0; k < ARRAY_LEN(lens); k++) {
			struct vmark mark = vt_mark(c);
			uint32_t len = lens[k], first = MIN(len, VT_PAGE - off[i]), pages = (len - first + VT_PAGE - 1) / VT_PAGE;
			struct vmem data = vt_mem(c, len + 2 * VT_PAGE), list = vt_mem(c, VT_PAGE);
			struct nvme_sqe s;

			vh_write(c, 1, NS(t)->nsid, 0, len / NS(t)->lba, 9 + k, ST(S_OK));
			memset(data.p, 0xab, data.len);
			vh_rw_sqe(&s, NVME_NVM_READ, NS(t)->nsid, 0, len / NS(t)->lba);
			s.prp1 = le64_of(data.iova + off[i]);
			s.prp2 = le64_of(pages == 1 ? data.iova + VT_PAGE : pages ? list.iova : 0);
			for (unsigned p = 0; p < pages; p++) {
				le64 a = le64_of(data.iova + (p + 1) * (uint64_t)VT_PAGE);

				memcpy(list.p + 8 * p, &a, 8);
			}
			vt_do(c, 1, &s, ST(S_OK));
			VEXPECT(t, vh_same(&(struct vmem){ data.p + off[i], 0, len }, len, 9 + k), "offset %u, %u bytes: wrong data", off[i], len);
			for (uint32_t b = 0; b < data.len; b++)
				if (b < off[i] || b >= off[i] + len)
					VEXPECT(t, data.p[b] == 0xab, "offset %u, %u bytes: byte %u was written", off[i], len, b);
			vt_back(c, mark);
		}
}

static void prp2_offset(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem m, list;
	struct nvme_sqe s;

	vt_io_make(c, 1, 16);
	m = vt_mem(c, 8 * VT_PAGE);
	list = vt_mem(c, VT_PAGE);
	vh_rw_sqe(&s, NVME_NVM_READ, NS(t)->nsid, 0, 8192 / NS(t)->lba);
	s.prp1 = le64_of(m.iova);
	s.prp2 = le64_of(m.iova + VT_PAGE + 512);
	vt_do(c, 1, &s, ST(S_PRP, S_IF));
	for (unsigned i = 0; i < 3; i++) {
		le64 a = le64_of(m.iova + (i + 1) * VT_PAGE + (i == 1 ? 8 : 0));

		memcpy(list.p + 8 * i, &a, 8);
	}
	vh_rw_sqe(&s, NVME_NVM_READ, NS(t)->nsid, 0, 16384 / NS(t)->lba);
	s.prp1 = le64_of(m.iova);
	s.prp2 = le64_of(list.iova);
	vt_do(c, 1, &s, ST(S_PRP, S_IF));
}

static void prp_nowhere(struct vt *t)
{
	static const uint64_t bad[] = { 0x7fff00000000ull, 0xfffffffffffff000ull, 0 };
	struct vctl *c = one(t);
	struct nvme_sqe s;

	vt_io_make(c, 1, 16);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		vh_rw_sqe(&s, i & 1 ? NVME_NVM_WRITE : NVME_NVM_READ, NS(t)->nsid, 0, 1);
		s.prp1 = le64_of(bad[i]);
		vt_do(c, 1, &s, ST(S_XFER, S_IF, S_PRP, S_INTERNAL));
	}
	vh_write(c, 1, NS(t)->nsid, 0, 1, 3, ST(S_OK));
	vh_read_is(c, 1, NS(t)->nsid, 0, 1, 3);
}

/* A list that is its own next page: bounded, and the controller goes on. */
static void prp_loop(struct vt *t)
{
	struct vctl *c = one(t);
	uint32_t len = c->id.mdts && c->id.mdts < 12 ? 4096u << c->id.mdts : 131072;
	struct vmem list;
	struct nvme_sqe s;

	vt_io_make(c, 1, 16);
	list = vt_mem(c, VT_PAGE);
	for (unsigned i = 0; i < VT_PAGE / 8; i++) {
		le64 a = le64_of(list.iova);

		memcpy(list.p + 8 * i, &a, 8);
	}
	vh_rw_sqe(&s, NVME_NVM_WRITE, NS(t)->nsid, 0, len / NS(t)->lba);
	s.prp1 = le64_of(list.iova);
	s.prp2 = le64_of(list.iova);
	vt_do(c, 1, &s, ST(S_OK, S_IF, S_XFER, S_PRP));
	vh_write(c, 1, NS(t)->nsid, 0, 1, 3, ST(S_OK));
}

/* Several queues at once on the same blocks: each block holds one of the writes, whole. */
static void overlapping(struct vt *t)
{
	struct vctl *c = one(t);
	struct vcmd *k[32];
	struct vmem m[4], in;
	uint32_t len = 8 * NS(t)->lba;
	struct nvme_sqe s;

	for (unsigned q = 0; q < 4; q++) {
		vt_io_make(c, q + 1, 16);
		m[q] = vt_mem(c, len);
		memset(m[q].p, 0x10 + (int)q, len);
	}
	in = vt_mem(c, len);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < ARRAY_LEN(k); i++) {
			vh_rw_sqe(&s, NVME_NVM_WRITE, NS(t)->nsid, 0, 8);
			vt_data(c, &s, &m[i % 4], len);
			k[i] = vt_send(c, 1 + i % 4, &s, ST(S_OK));
		}
		for (unsigned i = 0; i < ARRAY_LEN(k); i++)
			vt_finish(t, k[i]);
		vh_rw_sqe(&s, NVME_NVM_READ, NS(t)->nsid, 0, 8);
		vt_do_data(c, 1, &s, &in, len, ST(S_OK));
		for (unsigned b = 0; b < 8; b++)
			for (unsigned i = 1; i < NS(t)->lba; i++)
				VEXPECT(t, in.p[b * NS(t)->lba + i] == in.p[b * NS(t)->lba] && in.p[b * NS(t)->lba] >= 0x10, "LBA %u is torn", b);
	}
}

/* Every page of data apart from the others, and a list that begins near the end of its page and goes on in another. */
static void prp_chain(struct vt *t)
{
	struct vctl *c = one(t);
	uint32_t pages = c->id.mdts && c->id.mdts < 5 ? 1u << c->id.mdts : 32, lba = NS(t)->lba;

	vt_io_make(c, 1, 16);
	for (unsigned first = 1; first < 6; first++) { /* entries in the first page of the list, its pointer included */
		struct vmark mark = vt_mark(c);
		struct vmem data = vt_mem(c, 2 * pages * VT_PAGE), list = vt_mem(c, VT_PAGE), next = vt_mem(c, VT_PAGE), plain;
		uint8_t *at = list.p + VT_PAGE - 8 * first;
		struct nvme_sqe s;

		vh_write(c, 1, NS(t)->nsid, 0, pages * (VT_PAGE / lba), 40 + first, ST(S_OK));
		vh_rw_sqe(&s, NVME_NVM_READ, NS(t)->nsid, 0, pages * (VT_PAGE / lba));
		s.prp1 = le64_of(data.iova);
		s.prp2 = le64_of(list.iova + VT_PAGE - 8 * first);
		for (unsigned i = 1, n = 1; i < pages; n++, at += 8) {
			le64 a = le64_of(n == first ? next.iova : data.iova + 2ull * i++ * VT_PAGE);

			memcpy(at, &a, 8);
			if (n == first)
				at = next.p - 8;
		}
		vt_do(c, 1, &s, ST(S_OK));
		plain = vt_mem(c, pages * VT_PAGE);
		for (unsigned i = 0; i < pages; i++)
			memcpy(plain.p + i * VT_PAGE, data.p + 2 * i * VT_PAGE, VT_PAGE);
		VEXPECT(t, vh_same(&plain, pages * VT_PAGE, 40 + first), "a list with %u entries in its first page: wrong data", first);
		vt_back(c, mark);
	}
}

static void compare_scattered(struct vt *t)
{
	struct vctl *c = one(t);
	struct vmem m = vt_mem(c, VT_PAGE), n = vt_mem(c, VT_PAGE), both = vt_mem(c, 2 * VT_PAGE);
	uint32_t nlb = 2 * VT_PAGE / NS(t)->lba;
	struct nvme_sqe s;

	vt_io_make(c, 1, 16);
	vh_write(c, 1, NS(t)->nsid, 0, nlb, 5, ST(S_OK));
	vh_fill(&both, 2 * VT_PAGE, 5);
	memcpy(m.p, both.p, VT_PAGE);
	memcpy(n.p, both.p + VT_PAGE, VT_PAGE);
	vh_rw_sqe(&s, NVME_NVM_COMPARE, NS(t)->nsid, 0, nlb);
	s.prp1 = le64_of(m.iova);
	s.prp2 = le64_of(n.iova);
	vt_do(c, 1, &s, ST(S_OK));
	n.p[VT_PAGE - 1] ^= 1;
	vt_do(c, 1, &s, ST(0x285));
}

static void dsm_edges(struct vt *t)
{
	struct vctl *c = one(t);
	struct nvme_dsm_range r[2] = { { .nlb = le32_of(8), .slba = le64_of(0) }, { .nlb = le32_of(8), .slba = le64_of(NS(t)->blocks - 4) } };
	struct nvme_sqe s = { .opc = NVME_NVM_DSM, .nsid = le32_of(NS(t)->nsid), .cdw10 = le32_of(1), .cdw11 = le32_of(4) };
	struct vmem m = vt_mem(c, VT_PAGE);

	vt_io_make(c, 1, 16);
	vh_write(c, 1, NS(t)->nsid, 0, 8, 6, ST(S_OK));
	memcpy(m.p, r, sizeof(r));
	vt_do_data(c, 1, &s, &m, sizeof(r), ST(S_LBA));
	s.cdw10 = le32_of(0);
	s.cdw11 = le32_of(3); /* hints: data that will be read and written as a whole */
	vt_do_data(c, 1, &s, &m, sizeof(r[0]), ST(S_OK));
	vh_read_is(c, 1, NS(t)->nsid, 0, 8, 6);
}

static void copy_edges(struct vt *t)
{
	struct vctl *c = one(t);
	const struct vspan s = { 10, 8 };
	struct vmem id;
	unsigned mssrl;

	vt_io_make(c, 1, 16);
	vh_write(c, 1, NS(t)->nsid, NS(t)->blocks - 4, 4, 8, ST(S_OK));
	vh_copy(c, 1, NS(t)->nsid, NS(t)->blocks - 4, &s, 1, ST(S_LBA));
	vh_read_is(c, 1, NS(t)->nsid, NS(t)->blocks - 4, 4, 8);
	vh_identify(c, NVME_CNS_NS, NS(t)->nsid, 0, 0, &id, ST(S_OK));
	mssrl = le16_get(((struct nvme_id_ns *)id.p)->mssrl);
	if (mssrl && mssrl < NS(t)->blocks / 2)
		vh_copy(c, 1, NS(t)->nsid, NS(t)->blocks / 2, &(struct vspan){ 0, mssrl + 1 }, 1, ST(0x183));
}

static void verify(struct vt *t)
{
	struct vctl *c = one(t);

	if (!(le16_get(c->id.oncs) & NVME_ONCS_VERIFY))
		vt_skip(t, "ONCS: no Verify");
	vt_io_make(c, 1, 16);
	vh_io(c, 1, NVME_NVM_VERIFY, NS(t)->nsid, NS(t)->blocks - 8, 8, ST(S_OK));
	vh_io(c, 1, NVME_NVM_VERIFY, NS(t)->nsid, NS(t)->blocks - 7, 8, ST(S_LBA));
}

/* Every command that would return such a block says so; a write ends it, and only for the blocks it wrote. */
static void uncorrectable(struct vt *t)
{
	struct vctl *c = one(t);
	const struct vspan s = { 10, 4 };
	uint32_t len = 4 * NS(t)->lba;
	struct vmem m = vt_mem(c, len);
	struct nvme_sqe r, w;

	vt_io_make(c, 1, 16);
	vh_write(c, 1, NS(t)->nsid, 8, 8, 3, ST(S_OK));
	vh_write(c, 1, NS(t)->nsid, 200, 4, 4, ST(S_OK));
	vh_io(c, 1, NVME_NVM_WRITE_UNCORRECTABLE, NS(t)->nsid, 12, 1, ST(S_OK));
	vh_rw_sqe(&r, NVME_NVM_READ, NS(t)->nsid, 10, 4);
	vt_do_data(c, 1, &r, &m, len, ST(S_UNREAD));
	vh_rw_sqe(&w, NVME_NVM_READ, NS(t)->nsid, 8, 4);
	vt_do_data(c, 1, &w, &m, len, ST(S_OK));
	if (t->caps & DUT_COMPARE) {
		r.opc = NVME_NVM_COMPARE;
		vt_do_data(c, 1, &r, &m, len, ST(S_UNREAD));
	}
	if (t->caps & DUT_COPY)
		vh_copy(c, 1, NS(t)->nsid, 200, &s, 1, ST(S_UNREAD));
	vh_write(c, 1, NS(t)->nsid, 12, 1, 5, ST(S_OK));
	vh_read_is(c, 1, NS(t)->nsid, 12, 1, 5);
	r.opc = NVME_NVM_READ;
	vt_do_data(c, 1, &r, &m, len, ST(S_OK));
}

static void set_dulbe(struct vt *t, bool on)
{
	struct nvme_sqe s = { .opc = NVME_OP_SET_FEATURES, .nsid = le32_of(NS(t)->nsid), .cdw10 = le32_of(NVME_FID_ERROR_RECOVERY),
			      .cdw11 = le32_of(on ? 1u << 16 : 0) };

	vt_do(one(t), 0, &s, ST(S_OK));
}

static void unwritten(struct vt *t)
{
	enum { NSFEAT_DAE = 4, UNWRITTEN = 0x287 };
	struct vctl *c = one(t);
	struct vspan gone = { 0, 64 };
	uint32_t len = 8 * NS(t)->lba;
	struct vmem id, m = vt_mem(c, len);
	struct nvme_sqe r;

	vh_identify(c, NVME_CNS_NS, NS(t)->nsid, 0, 0, &id, ST(S_OK));
	if (!(((struct nvme_id_ns *)id.p)->nsfeat & NSFEAT_DAE))
		vt_skip(t, "NSFEAT bit 2: deallocated blocks are never an error");
	vt_io_make(c, 1, 16);
	vh_write(c, 1, NS(t)->nsid, 0, 64, 1, ST(S_OK));
	vh_dsm(c, 1, NS(t)->nsid, &gone, 1, ST(S_OK));
	vh_rw_sqe(&r, NVME_NVM_READ, NS(t)->nsid, 8, 8);
	vt_do_data(c, 1, &r, &m, len, ST(S_OK)); /* nobody asked */
	set_dulbe(t, true);
	vt_do_data(c, 1, &r, &m, len, ST(UNWRITTEN));
	vh_write(c, 1, NS(t)->nsid, 8, 8, 2, ST(S_OK));
	vh_read_is(c, 1, NS(t)->nsid, 8, 8, 2);
	set_dulbe(t, false);
	vh_rw_sqe(&r, NVME_NVM_READ, NS(t)->nsid, 16, 8);
	vt_do_data(c, 1, &r, &m, len, ST(S_OK));
}

enum { N = DUT_MEM | DUT_REGS | DUT_NS };
const struct vtest tests_io[] = {
	{ "IO-01", N, "B-IO-1", write_read, "what is written is read", "random" },
	{ "IO-02", N, "B-IO-2", out_of_range, "ranges beyond the namespace", "negative" },
	{ "IO-03", N, "B-IO-3", bad_nsid, "namespaces that are not active", "negative" },
	{ "IO-04", N, "B-IO-4", too_long, "more than MDTS", "negative" },
	{ "IO-05", N | DUT_WZ, "B-IO-5", zeroes, "Write Zeroes", NULL },
	{ "IO-06", N | DUT_DSM, "B-IO-6", deallocate, "deallocated blocks read steadily", NULL },
	{ "IO-07", N | DUT_COPY, "B-IO-7", copy, "Copy", NULL },
	{ "IO-08", N | DUT_COMPARE, "B-IO-8", compare, "Compare", NULL },
	{ "IO-09", N, "B-IO-9", opcodes, "I/O opcodes that are not there", "negative" },
	{ "IO-10", N, "B-IO-10", flush, "Flush", NULL },
	{ "IO-11", N, "B-PRP-1 B-PRP-3", prp_offset, "data that starts inside a page", NULL },
	{ "IO-12", N, "B-PRP-2", prp2_offset, "PRP2 and list entries with offsets", "negative" },
	{ "IO-13", N, "B-PRP-4", prp_nowhere, "PRPs that point at nothing", "negative hostile" },
	{ "IO-14", N, "B-PRP-4", prp_loop, "a PRP list that leads back into itself", "hostile" },
	{ "IO-15", N, "B-IO-1", overlapping, "four queues on the same blocks: no block is torn", "race" },
	{ "IO-16", N, "B-PRP-1", prp_chain, "a PRP list that begins inside a page and goes on in another", NULL },
	{ "IO-17", N | DUT_COMPARE, "B-IO-8", compare_scattered, "Compare of pages apart from each other", NULL },
	{ "IO-18", N | DUT_DSM, "B-IO-2 B-IO-6", dsm_edges, "Dataset Management: a range too far, and hints", "negative" },
	{ "IO-19", N | DUT_COPY, "B-IO-2 B-IO-7", copy_edges, "Copy: a destination too far, a range too long", "negative" },
	{ "IO-20", N, "B-IO-2", verify, "Verify", "negative" },
	{ "IO-21", N | DUT_WU, "B-IO-11", uncorrectable, "Write Uncorrectable: an error until it is written", "negative" },
	{ "IO-22", N | DUT_DSM, "B-IO-12", unwritten, "Error Recovery, DULBE: deallocated blocks are an error where the host asks for it", "negative" },
	{ .id = NULL }
};
