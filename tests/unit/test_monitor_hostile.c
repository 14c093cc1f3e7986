/* What only somebody hostile to the monitor itself does: what it holds in its hands must not be taken away under it. */
#include "monrig.h"
#include "base/rng.h"

/* The Suspend's completion makes us look at the controller that is suspended, and there a completion says that a state
 * was set on the very controller whose Suspend we are in the middle of. */
TEST(set_on_who_is_being_looked_at)
{
	struct nvme_state_head h = { .vss = le64_of((12 + 52 + 20) / 4), .csattr = NVME_CSATTR_CP };
	uint8_t format[12] = { 1, 0, 1, 0, 4, 0, 0, 0, 1 }, props[8 + 44] = { 2, 0, 1, 0, 41 }, admin[8 + 12] = { 3, 0, 1, 0, 12 };
	struct nvme_sqe s = mr_migration_send(NVME_MIG_SET_STATE), susp = mr_migration_send(NVME_MIG_SUSPEND);
	struct mport *mc, *mmc;
	struct nvme_cqe e;
	uint8_t *p;

	MRIG(r, false);
	mmc = &r->p[0], mc = &r->p[1];
	p = mc->mem + MR_DATA;
	props[8 + 40] = 1; /* the admin queues are to be made anew */
	memcpy(p, &h, 48), memcpy(p + 48, format, 12), memcpy(p + 60, props, 52), memcpy(p + 112, admin, 20);
	s.prp1 = le64_of(MR_DATA);
	s.cid = le16_of(0x55), susp.cid = le16_of(0x56);
	nvme_migration_send_cntlid_put(&s, MR_MMC_ID);
	nvme_migration_send_seqind_put(&s, NVME_SEQ_ONLY);
	nvme_migration_send_numd_put(&s, 132 / 4);
	mr_submit(mc, 0, &s);
	mr_submit(mmc, 0, &susp);
	e = mr_cqe(mc, 0, 0, 0x55, 0, 0);
	memcpy(mc->mem + mr_cq(0) + 16u * mc->cq_tail[0], &e, sizeof(e));
	e = mr_cqe(mmc, 0, 0, 0x56, 0, 0);
	memcpy(mmc->mem + mr_cq(0) + 16u * mmc->cq_tail[0], &e, sizeof(e));
	mr_raise(mmc, 0);
	EXPECT_EQ(monitor_stats(r->m)->commands, monitor_stats(r->m)->completions);
}

/* Migration commands made of chance, between a client and a server who both lie: nothing is demanded but that the monitor lives and lets go of
 * everything (sanitizers say more). Lengths, offsets, granularities and counts are often near their limits. */
static uint32_t some(struct rng *g)
{
	static const uint32_t edge[] = { 0, 1, 2, 3, 12, 16, 48, 56, 4095, 4096, 4097, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff };

	return rng_below(g, 3) ? (uint32_t)rng_below(g, 64) : edge[rng_below(g, ARRAY_LEN(edge))];
}

static uint64_t place(struct rng *g)
{
	switch (rng_below(g, 8)) {
	case 0: return rng_next(g);
	case 1: return UINT64_MAX - rng_below(g, 8192);
	case 2: return MR_MEM - rng_below(g, 8192);
	default: return rng_below(g, MR_MEM / 4096) * 4096 + (rng_below(g, 4) ? 0 : 4 * rng_below(g, 1024));
	}
}

static void chance_command(struct mrig *r, struct rng *g, struct mport *p, uint16_t cid)
{
	static const uint8_t opc[] = { NVME_OP_TRACK_SEND, NVME_OP_TRACK_RECEIVE, NVME_OP_TRACK_RECEIVE, NVME_OP_MIGRATION_SEND, NVME_OP_MIGRATION_SEND,
				       NVME_OP_MIGRATION_RECEIVE, NVME_OP_MIGRATION_RECEIVE, NVME_OP_CREATE_SQ, NVME_OP_CREATE_CQ, NVME_OP_DELETE_SQ };
	struct nvme_sqe s = { .opc = opc[rng_below(g, ARRAY_LEN(opc))], .flags = rng_below(g, 8) ? 0 : NVME_PSDT_SGL, .cid = le16_of(cid),
			      .prp1 = le64_of(place(g)), .prp2 = le64_of(place(g)) };

	s.cdw10 = le32_of((uint32_t)rng_below(g, 4) | (uint32_t)rng_below(g, 4) << 16);
	s.cdw11 = le32_of((rng_below(g, 2) ? MR_MC_ID : rng_below(g, 2) ? MR_MMC_ID : some(g) & 0xffff) | (uint32_t)rng_below(g, 3) << 16);
	s.cdw12 = le32_of(some(g)), s.cdw13 = le32_of(rng_below(g, 8) ? 0 : some(g));
	s.cdw15 = le32_of(some(g));
	mr_submit(p, 0, &s);
	(void)r;
}

/* What answers and lists begin with, filled by chance. */
static void chance_memory(struct rng *g, struct mport *p)
{
	uint64_t at = rng_below(g, MR_MEM / 4096 - 1) * 4096;
	le32 v;

	if (at < 0x8000 && rng_below(g, 8))
		return; /* mostly not the queues */
	for (unsigned i = 0; i < 128; i++) {
		v = le32_of(rng_below(g, 2) ? 0 : some(g));
		memcpy(p->mem + at + 4 * i, &v, 4);
	}
	p->mem[at] = p->mem[at + 1] = 0;
	p->mem[at + 2] = rng_below(g, 2) ? MR_MC_ID : p->mem[at + 2];
}

static void chance(struct mrig *r, uint64_t seed)
{
	struct rng g = { seed };
	struct vuser_dma_unmap u = { le32_of(24), le32_of(0), le64_of(0), le64_of(MR_MEM) };
	uint16_t cid = 0;

	for (unsigned i = 0; i < 400; i++) {
		struct mport *p = &r->p[rng_below(&g, 4) == 0];
		struct mport *any = &r->p[rng_below(&g, 2)];
		uint32_t len = (uint32_t)(1 + rng_below(&g, 8192));
		uint64_t at = rng_below(&g, MR_MEM - len);

		chance_memory(&g, any);
		switch (rng_below(&g, 12)) {
		case 0: case 1: case 2: case 3:
			chance_command(r, &g, p, ++cid);
			break;
		case 4: case 5: case 6:
			if (r->message)
				mr_dma(any, rng_below(&g, 2), at, any->mem + at, len);
			break;
		case 7: case 8: case 9:
			mr_done(p, 0, rng_below(&g, 3) ? cid : (uint16_t)rng_below(&g, cid + 1u), rng_below(&g, 4) ? 0 : 2, (uint32_t)rng_below(&g, 2));
			mr_consume(p, 0);
			break;
		case 10:
			mr_raise(any, (unsigned)rng_below(&g, MR_VECTORS));
			break;
		default:
			if (!rng_below(&g, 6))
				mr_enable(any);
			if (rng_below(&g, 12))
				break;
			mr_ask(any, VUSER_DMA_UNMAP, &u, sizeof(u), NULL, 0, &u, sizeof(u));
			mr_map(any);
		}
	}
}

TEST(chance_shared)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		MRIG(r, false);
		chance(r, seed);
	}
}

TEST(chance_by_message)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		MRIG(r, true);
		chance(r, seed);
	}
}
