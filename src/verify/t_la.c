/* Get LBA Status, allocated blocks: what a copier may leave out. Sent through the MMC, written through the MC. */
#include "verify/test.h"

#define NSID(t) ((t)->mc[0]->ns[0].nsid)
#define MNSID(t) ((t)->mc[0]->ns[0].mmc_nsid)

static void wipe(struct vt *t)
{
	struct vctl *mc = t->mc[0];
	struct vspan all = { 0, (uint32_t)MIN(mc->ns[0].blocks, 0xffffffffull) };

	vt_io_make(mc, 1, 64);
	vh_dsm(mc, 1, NSID(t), &all, 1, ST(S_OK));
}

static struct nvme_sqe ask(struct vt *t, uint64_t slba, uint32_t rl, uint32_t bytes)
{
	struct nvme_sqe s;

	vop_init(&s, VOP_LBA_STATUS);
	s.nsid = le32_of(MNSID(t));
	vf_put(&s, VF_LBA_STATUS_slba_lo, (uint32_t)slba);
	vf_put(&s, VF_LBA_STATUS_slba_hi, (uint32_t)(slba >> 32));
	vf_put(&s, VF_LBA_STATUS_mndw, bytes / 4 - 1);
	vf_put(&s, VF_LBA_STATUS_rl, rl);
	return s;
}

struct list { unsigned n; uint8_t cmpc; struct nvme_lbas d[255]; };

/* One command, its list judged by what holds for every list. */
static void get(struct vt *t, uint64_t slba, uint32_t rl, uint32_t bytes, struct list *l)
{
	struct nvme_sqe s = ask(t, slba, rl, bytes);
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	uint64_t next = slba, end = rl ? MIN(slba + rl, t->mc[0]->ns[0].blocks) : t->mc[0]->ns[0].blocks;

	memset(m.p, 0xcd, VT_PAGE);
	vt_do_data(t->mmc, 0, &s, &m, bytes, ST(S_OK));
	l->n = m.p[0] | m.p[1] << 8 | m.p[2] << 16;
	l->cmpc = m.p[4];
	VEXPECT(t, l->n <= (bytes - 8) / 16, "NLSD %u does not fit into %u bytes", l->n, bytes);
	VEXPECT(t, l->cmpc == 1 || l->cmpc == 2, "CMPC is %u", l->cmpc);
	VEQ(t, m.p[5] | m.p[6] | m.p[7], 0, "reserved bytes of the list's head");
	for (uint32_t i = bytes; i < VT_PAGE; i++)
		VEXPECT(t, m.p[i] == 0xcd, "byte %u is written, the command asked for %u", i, bytes);
	for (unsigned i = 0; i < l->n; i++) {
		struct nvme_lbas *d = &l->d[i];

		memcpy(d, m.p + 8 + 16 * i, 16);
		VEXPECT(t, le64_get(d->dslba) >= next, "descriptor %u starts at %llu, before %llu", i, (unsigned long long)le64_get(d->dslba),
			(unsigned long long)next);
		next = le64_get(d->dslba) + le32_get(d->nlb0) + 1;
		VEXPECT(t, next <= end, "descriptor %u ends at %llu, beyond what was asked (%llu)", i, (unsigned long long)next,
			(unsigned long long)end);
		VEQ(t, d->stas & 7, 2, "LBARS");
		VEQ(t, (d->stas & 0xf8) | d->rsvd12 | d->rsvd14[0] | d->rsvd14[1], 0, "reserved bits of a descriptor");
	}
}

static bool has(const struct list *l, uint64_t lba)
{
	for (unsigned i = 0; i < l->n; i++)
		if (lba - le64_get(l->d[i].dslba) <= le32_get(l->d[i].nlb0) && lba >= le64_get(l->d[i].dslba))
			return true;
	return false;
}

static void empty(struct vt *t)
{
	struct list l;

	wipe(t);
	get(t, 0, 0, 4096, &l);
	VEQ(t, l.n, 0, "descriptors of a namespace without allocated blocks");
	VEQ(t, l.cmpc, 2, "CMPC");
}

static void allocated(struct vt *t)
{
	struct list l;

	wipe(t);
	vh_write(t->mc[0], 1, NSID(t), 64, 16, 1, ST(S_OK));
	vh_write(t->mc[0], 1, NSID(t), 1024, 1, 2, ST(S_OK));
	get(t, 0, 0, 4096, &l);
	for (unsigned i = 0; i < 16; i++)
		VEXPECT(t, has(&l, 64 + i), "LBA %u was written and is not reported", 64 + i);
	VEXPECT(t, has(&l, 1024), "LBA 1024, one block of a unit, was written and is not reported");
	VEXPECT(t, !has(&l, 512) && !has(&l, 20000), "blocks far from anything written are reported");
	VEQ(t, l.cmpc, 2, "CMPC");
}

static void range_zero(struct vt *t)
{
	struct list l;
	uint64_t last = t->mc[0]->ns[0].blocks - 1;

	wipe(t);
	vh_write(t->mc[0], 1, NSID(t), last, 1, 1, ST(S_OK));
	get(t, 100, 0, 4096, &l);
	VEXPECT(t, has(&l, last), "RL 0 does not reach the last block");
}

static void range_clipped(struct vt *t)
{
	struct list l;

	wipe(t);
	vh_write(t->mc[0], 1, NSID(t), 0, 64, 1, ST(S_OK));
	get(t, 3, 5, 4096, &l); /* inside one unit */
	VEXPECT(t, has(&l, 3) && has(&l, 7), "blocks 3 to 7 are allocated and not reported");
	get(t, 60, 100, 4096, &l);
	VEXPECT(t, has(&l, 63), "block 63 is allocated and not reported");
}

static void small_buffer(struct vt *t)
{
	uint64_t at = 0;
	unsigned found = 0, rounds = 0;
	struct list l;

	wipe(t);
	for (unsigned i = 0; i < 10; i++)
		vh_write(t->mc[0], 1, NSID(t), 256 * i, 8, 1, ST(S_OK));
	do {
		get(t, at, 0, 24 + 16, &l); /* two descriptors */
		for (unsigned i = 0; i < l.n; i++) {
			found += le64_get(l.d[i].dslba) % 256 == 0;
			at = le64_get(l.d[i].dslba) + le32_get(l.d[i].nlb0) + 1;
		}
		VEXPECT(t, l.n || l.cmpc == 2, "an incomplete list without a descriptor would never end");
		VEXPECT(t, rounds++ < 50, "the list does not end");
	} while (l.cmpc == 1);
	VEQ(t, found, 10, "written places found in small pieces");
	VEXPECT(t, rounds >= 5, "CMPC said complete too early");
}

static void deallocated(struct vt *t)
{
	struct vspan gone = { 0, 1024 };
	struct list l;

	wipe(t);
	vh_write(t->mc[0], 1, NSID(t), 128, 64, 1, ST(S_OK));
	get(t, 0, 0, 4096, &l);
	VEXPECT(t, has(&l, 128), "written and not reported");
	vh_dsm(t->mc[0], 1, NSID(t), &gone, 1, ST(S_OK));
	get(t, 0, 0, 4096, &l);
	VEXPECT(t, !has(&l, 128), "deallocated and still reported");
}

static void partly(struct vt *t)
{
	struct vspan part = { 0, 3 };
	struct list l;

	wipe(t);
	vh_write(t->mc[0], 1, NSID(t), 0, 64, 1, ST(S_OK));
	vh_dsm(t->mc[0], 1, NSID(t), &part, 1, ST(S_OK));
	get(t, 0, 0, 4096, &l);
	for (unsigned i = 3; i < 64; i++)
		VEXPECT(t, has(&l, i), "LBA %u still holds data and is not reported", i);
}

static void beyond(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_sqe s = ask(t, t->mc[0]->ns[0].blocks, 0, 4096);
	unsigned st = vt_do_data(t->mmc, 0, &s, &m, 4096, ST(S_LBA, S_IF));

	vt_reading(t, "Get LBA Status beyond the end", "%s", nvme_status_name(st));
	s = ask(t, UINT64_MAX, 1, 4096);
	vt_do_data(t->mmc, 0, &s, &m, 4096, ST(S_LBA, S_IF));
}

static void reserved_atype(struct vt *t)
{
	static const uint8_t atype[] = { 0, 1, 3, 0x0f, 0x12, 0xff };
	struct vmem m = vt_mem(t->mmc, VT_PAGE);

	for (unsigned i = 0; i < ARRAY_LEN(atype); i++) {
		struct nvme_sqe s = ask(t, 0, 0, 4096);

		vf_put(&s, VF_LBA_STATUS_atype, atype[i]);
		vt_do_data(t->mmc, 0, &s, &m, 4096, ST(S_IF));
	}
	if (!(le16_get(t->mmc->id.oacs) & NVME_OACS_LBA_STATUS))
		for (unsigned a = 0x10; a <= 0x11; a++) {
			struct nvme_sqe s = ask(t, 0, 0, 4096);

			vf_put(&s, VF_LBA_STATUS_atype, a);
			vt_do_data(t->mmc, 0, &s, &m, 4096, ST(S_IF));
		}
}

static void bad_nsid(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_sqe s = ask(t, 0, 0, 4096);

	s.nsid = le32_of(0xfffffff0);
	vt_do_data(t->mmc, 0, &s, &m, 4096, ST(S_NS, S_IF));
}

static void tiny_buffer(struct vt *t)
{
	struct list l;

	wipe(t);
	vh_write(t->mc[0], 1, NSID(t), 0, 8, 1, ST(S_OK));
	get(t, 0, 0, 8, &l); /* the head alone */
	VEQ(t, l.n, 0, "descriptors in 8 bytes");
	VEQ(t, l.cmpc, 1, "CMPC when nothing fits");
	get(t, 0, 0, 24, &l);
	VEQ(t, l.n, 1, "descriptors in 24 bytes");
	{
		struct nvme_sqe s = ask(t, 0, 0, 4); /* not even the head */
		struct vmem m = vt_mem(t->mmc, VT_PAGE);

		vt_reading(t, "Get LBA Status of one dword", "%s", nvme_status_name(vt_do_data(t->mmc, 0, &s, &m, 4, ST(S_OK, S_IF))));
		VEXPECT(t, !m.p[4], "more than one dword was written");
	}
}

enum { NEED = NEED_MM | DUT_NS | DUT_NS_MMC | DUT_RALBAS | DUT_DSM };
const struct vtest tests_la[] = {
	{ "LA-01", NEED, "LBA-08", empty, "nothing allocated, nothing reported", NULL },
	{ "LA-02", NEED, "LBA-02 LBA-03 LBA-04", allocated, "what was written is reported", NULL },
	{ "LA-03", NEED, "LBA-05", range_zero, "RL 0 reaches to the end", NULL },
	{ "LA-04", NEED, "LBA-04", range_clipped, "reports stay inside the range", NULL },
	{ "LA-05", NEED, "LBA-06 LBA-07", small_buffer, "a list in pieces", NULL },
	{ "LA-06", NEED, "LBA-09", deallocated, "what was deallocated is not reported", NULL },
	{ "LA-07", NEED, "LBA-02", partly, "a unit deallocated in part is reported", NULL },
	{ "LA-08", NEED, "LBA-01", beyond, "a start beyond the namespace", "negative reading" },
	{ "LA-09", NEED, "LBA-01", reserved_atype, "reserved and unsupported ATYPE", "negative" },
	{ "LA-10", NEED, "LBA-01", bad_nsid, "a namespace that is not there", "negative" },
	{ "LA-11", NEED, "LBA-06 LBA-07", tiny_buffer, "room for no descriptor, and for one", NULL },
	{ .id = NULL }
};
