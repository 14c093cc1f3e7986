/* Set Controller State: images that may not be taken, and that leave nothing behind. */
#include "verify/t_st.h"

void st_versions(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	p.image.p[0] = 1;
	st_set(t, &p, ONLY, 0, p.len, ST(S_IF));
	p.image.p[0] = 0;
	p.image.p[48] = 1;
	st_set(t, &p, ONLY, 0, p.len, ST(S_IF));
	p.image.p[48] = 0;
	VEQ(t, st_queues_of(t, p.to), 0, "queues of the target");
	st_set(t, &p, ONLY, 0, p.len, ST(S_OK));
}

/* What an image may not say. Offsets: 56 is the first SQ, 80 the second, 104 the first CQ, 128 the second. */
void st_hostile(struct vt *t)
{
	static const struct { const char *what; unsigned at, bytes; uint64_t val; bool may; } lies[] = {
		{ "NVMECSS one too many", 16, 8, 27, false }, { "NVMECSS one too few", 16, 8, 25, false },
		{ "NVMECSS 0 with CSVI 1", 16, 8, 0, true }, { "NVMECSS 2^62", 16, 8, 1ull << 62, false }, { "NVMECSS 2^63 + 26", 16, 8, (1ull << 63) + 26, false },
		{ "NVMECSS beyond 64 bits", 24, 8, 1, false }, { "VSS 1", 32, 8, 1, false }, { "VSS beyond 64 bits", 40, 8, 1, false },
		{ "NIOSQ 3", 50, 2, 3, false }, { "NIOSQ 65535", 50, 2, 65535, false }, { "NIOSQ 0", 50, 2, 0, false },
		{ "NIOCQ 0", 52, 2, 0, false }, { "NIOCQ 65535", 52, 2, 65535, false },
		{ "SQ with QID 0", 56 + 10, 2, 0, false }, { "SQ with the QID of the next", 56 + 10, 2, 2, false },
		{ "SQ with QID 65535", 80 + 10, 2, 65535, false }, { "SQ with a CQ that is not there", 56 + 12, 2, 9, false },
		{ "SQ with CQ 0", 56 + 12, 2, 0, false }, { "SQ of one entry", 56 + 8, 2, 0, false },
		{ "SQ larger than CAP.MQES", 56 + 8, 2, 65535, false }, { "SQ head outside", 56 + 16, 2, 8, false },
		{ "SQ tail outside", 56 + 18, 2, 8, false }, { "SQ head far outside", 56 + 16, 2, 65535, false },
		{ "CQ with QID 0", 104 + 10, 2, 0, false }, { "CQ with the QID of the next", 104 + 10, 2, 2, false },
		{ "CQ head outside", 104 + 12, 2, 8, false }, { "CQ tail outside", 104 + 14, 2, 8, false },
		{ "CQ of one entry", 104 + 8, 2, 0, false }, { "CQ larger than CAP.MQES", 104 + 8, 2, 65535, false },
		{ "SQ with an offset in PRP1", 56, 8, 0x100000010ull, true }, { "CQ with an offset in PRP1", 104, 8, 0x100000010ull, true },
		{ "SQ in memory nobody gave", 56, 8, 0x7fff00000000ull, true }, { "CQ with vector 65535", 104 + 18, 2, 65535, true },
		{ "reserved bits of IOSQA", 56 + 14, 2, 0xfff9, true }, { "CSATTR.CP 0", 2, 1, 0, true },
	};
	struct st_pair p = st_prepare(t);
	uint8_t good[512];

	VEXPECT(t, p.len == 152, "an image of two queue pairs has %u bytes", p.len);
	memcpy(good, p.image.p, p.len);
	for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
		struct vmark mark = vt_mark(t->mmc);
		uint64_t v = htole64(lies[i].val);
		unsigned st;

		memcpy(p.image.p, good, p.len);
		memcpy(p.image.p + lies[i].at, &v, lies[i].bytes);
		vt_trace(t, "image: %s", lies[i].what);
		st = st_set(t, &p, ONLY, 0, p.len, ST(S_IF, S_38, S_SEQ, S_PRP, S_OK));
		VEXPECT(t, lies[i].may || st == S_IF || st == S_38 || st == S_SEQ, "%s: answered with %s", lies[i].what, nvme_status_name(st));
		if (lies[i].may)
			vt_reading(t, lies[i].what, "%s", nvme_status_name(st));
		if (st == S_OK) { /* accepted: put the target back */
			vt_reset(p.to);
			vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
		}
		VEXPECT(t, st_queues_of(t, p.to) == 0, "%s: refused, and queues were made", lies[i].what);
		vt_back(t->mmc, mark);
	}
	memcpy(p.image.p, good, p.len);
	st_set(t, &p, ONLY, 0, p.len, ST(S_OK)); /* and after all that a good one is taken */
	st_works(t, &p);
}

void st_truncated(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	for (uint32_t len = 4; len < p.len; len += 4) {
		struct vmark mark = vt_mark(t->mmc);

		st_set(t, &p, ONLY, 0, len, ST(S_IF));
		vt_back(t->mmc, mark);
	}
	VEQ(t, st_queues_of(t, p.to), 0, "queues of the target");
	st_set(t, &p, ONLY, 0, p.len, ST(S_OK));
}

/* Random bytes in a good image: refused, or taken and then a controller that still answers. */
void st_noise(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	uint8_t good[512];

	memcpy(good, p.image.p, MIN(p.len, 512u));
	for (unsigned i = 0; i < 200; i++) {
		struct vmark mark = vt_mark(t->mmc);
		unsigned st;

		memcpy(p.image.p, good, MIN(p.len, 512u));
		for (unsigned n = 1 + (unsigned)rng_below(&t->rng, 4); n; n--)
			p.image.p[rng_below(&t->rng, MIN(p.len, 512u))] = (uint8_t)rng_next(&t->rng);
		st = st_set(t, &p, ONLY, 0, p.len, ST(S_OK, S_IF, S_38, S_SEQ, S_PRP));
		if (st == S_OK) {
			vt_reset(p.to);
			vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
		}
		vt_back(t->mmc, mark);
	}
}

void st_too_many_queues(struct vt *t)
{
	enum { N = 600, LEN = 56 + 48 * N };
	struct st_pair p = st_prepare(t);
	struct vmem m = vt_mem(t->mmc, LEN);

	memcpy(m.p, p.image.p, 56);
	m.p[16] = (uint8_t)(2 + 12 * N);
	m.p[17] = (uint8_t)((2 + 12 * N) >> 8);
	m.p[50] = m.p[52] = (uint8_t)N;
	m.p[51] = m.p[53] = (uint8_t)(N >> 8);
	for (unsigned i = 0; i < N; i++) {
		struct nvme_state_sq s = { .prp1 = le64_of(p.to->iova), .qsize0 = le16_of(7), .qid = le16_of((uint16_t)(i + 1)),
					   .cqid = le16_of((uint16_t)(i + 1)), .attr = le16_of(1) };
		struct nvme_state_cq c = { .prp1 = le64_of(p.to->iova), .qsize0 = le16_of(7), .qid = le16_of((uint16_t)(i + 1)),
					   .attr = le32_of(1) };

		memcpy(m.p + 56 + 24 * i, &s, 24);
		memcpy(m.p + 56 + 24 * (N + i), &c, 24);
	}
	vh_set(t->mmc, p.to->cntlid, ONLY, 1, 0, 0, &m, LEN / 4, ST(S_38, S_IF));
	vt_reading(t, "an image with 600 queue pairs", "%s", nvme_status_name(nvme_cqe_status(&t->last)));
	VEQ(t, st_queues_of(t, p.to), 0, "queues of the target");
}

void st_huge(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	struct nvme_sqe s;

	vop_init(&s, VOP_SET_STATE);
	vf_put(&s, VF_SET_STATE_cntlid, p.to->cntlid);
	vf_put(&s, VF_SET_STATE_seqind, ONLY);
	vf_put(&s, VF_SET_STATE_csvi, 1);
	vf_put(&s, VF_SET_STATE_numd, 0xffffffff);
	s.prp1 = le64_of(p.image.iova);
	vt_do(t->mmc, 0, &s, ST(S_IF, S_38, S_XFER));
	vf_put(&s, VF_SET_STATE_numd, 0x40000001); /* times four it wraps to 4 */
	vt_do(t->mmc, 0, &s, ST(S_IF, S_38, S_XFER));
	vf_put(&s, VF_SET_STATE_seqind, FIRST); /* and as a first piece four bytes would be fine */
	vt_do(t->mmc, 0, &s, ST(S_IF, S_38, S_XFER));
}

/* Refused or taken, but never by half: a target whose entry sizes let it make the CQs of an image and not its SQs. */
void st_all_or_nothing(struct vt *t)
{
	struct st_pair p = st_prepare(t);

	vh_resume(t->mmc, p.to->cntlid, ST(S_OK));
	vt_reset(p.to);
	vt_reg_put(p.to, NVME_REG_CC, 4, NVME_CC_EN | 4 << NVME_CC_IOCQES_SHIFT);
	vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
	if (st_set(t, &p, ONLY, 0, p.len, ST_ANY) != S_OK)
		VEQ(t, st_queues_of(t, p.to), 0, "queues of a target that refused its image");
}
