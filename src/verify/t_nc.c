/* Namespaces that change their size while a guest works: who has asked for notices is told, once until it has looked, and what it then reads
 * of the namespace is true.
 */
#include "verify/test.h"

enum { ASKED = 1 << 8, EVENT = NVME_LID_CHANGED_NS << 16 | 2, MORE = 1024 };

static struct vctl *one(struct vt *t) { return t->mcs ? t->mc[0] : t->mmc; }
static struct vns *ns(struct vt *t) { return &one(t)->ns[0]; }

static uint64_t nsze(struct vctl *c, uint32_t nsid)
{
	struct vmem m;

	vh_identify(c, NVME_CNS_NS, nsid, 0, 0, &m, ST(S_OK));
	return le64_get(((struct nvme_id_ns *)m.p)->nsze);
}

/* The list of changed namespaces; reading it with RAE=0 lets the next event come. */
static void expect_changed(struct vctl *c, uint32_t nsid)
{
	struct nvme_sqe s = { .opc = NVME_OP_GET_LOG, .nsid = le32_of(UINT32_MAX), .cdw10 = le32_of(NVME_LID_CHANGED_NS | 1023u << 16) };
	struct vmem m = vt_mem(c, VT_PAGE);
	le32 list[2];

	vt_do_data(c, 0, &s, &m, VT_PAGE, ST(S_OK));
	memcpy(list, m.p, sizeof(list));
	VEQ(c->t, le32_get(list[0]), nsid, "first entry of the Changed Namespace List");
	VEQ(c->t, le32_get(list[1]), 0, "second entry of the Changed Namespace List");
}

static void larger(struct vt *t)
{
	struct vctl *c = one(t);
	uint64_t blocks = ns(t)->blocks;
	struct vcmd *aer;

	vt_io_make(c, 1, 16);
	vh_write(c, 1, ns(t)->nsid, blocks - 8, 8, 7, ST(S_OK));
	vh_feature(c, true, NVME_FID_AER, ASKED, 0, ST(S_OK));
	aer = vh_aer(c);
	VEXPECT(t, !vh_done_soon(t, aer), "a notice before anything has changed");
	vt_resize(c, ns(t)->nsid, blocks + MORE);
	vt_finish(t, aer);
	VEQ(t, le32_get(t->last.dw0), EVENT, "DW0 of the event of a namespace that changed");
	VEQ(t, nsze(c, ns(t)->nsid), blocks + MORE, "NSZE of a namespace that became larger");
	vh_write(c, 1, ns(t)->nsid, blocks + MORE - 8, 8, 9, ST(S_OK));
	vh_read_is(c, 1, ns(t)->nsid, blocks + MORE - 8, 8, 9);
	vh_read_is(c, 1, ns(t)->nsid, blocks - 8, 8, 7);
	vh_io(c, 1, NVME_NVM_FLUSH, ns(t)->nsid, 0, 1, ST(S_OK));
	aer = vh_aer(c);
	vt_resize(c, ns(t)->nsid, blocks + 2 * MORE);
	VEXPECT(t, !vh_done_soon(t, aer), "a second notice came before the list was read");
	expect_changed(c, ns(t)->nsid);
	vt_resize(c, ns(t)->nsid, blocks + MORE);
	vt_finish(t, aer);
	expect_changed(c, ns(t)->nsid);
	if (c->nss < 2)
		return;
	aer = vh_aer(c);
	vt_resize(c, c->ns[1].nsid, c->ns[1].blocks + MORE);
	vt_finish(t, aer);
	vt_resize(c, c->ns[1].nsid, c->ns[1].blocks);
	expect_changed(c, c->ns[1].nsid);	/* and no more the one that was read of before */
}

static void smaller(struct vt *t)
{
	struct vctl *c = one(t);
	uint64_t blocks = ns(t)->blocks;
	struct vcmd *aer;

	vt_io_make(c, 1, 16);
	vh_write(c, 1, ns(t)->nsid, blocks - MORE - 8, 8, 3, ST(S_OK));
	vh_write(c, 1, ns(t)->nsid, blocks - 8, 8, 4, ST(S_OK));
	vh_feature(c, true, NVME_FID_AER, ASKED, 0, ST(S_OK));
	aer = vh_aer(c);
	vt_resize(c, ns(t)->nsid, blocks - MORE);
	vt_finish(t, aer);
	expect_changed(c, ns(t)->nsid);
	VEQ(t, nsze(c, ns(t)->nsid), blocks - MORE, "NSZE of a namespace that became smaller");
	vh_io(c, 1, NVME_NVM_WRITE_ZEROES, ns(t)->nsid, blocks - MORE, 1, ST(S_LBA));
	vh_io(c, 1, NVME_NVM_WRITE_ZEROES, ns(t)->nsid, blocks - MORE - 1, 2, ST(S_LBA));
	vh_read_is(c, 1, ns(t)->nsid, blocks - MORE - 8, 8, 3);
	vt_resize(c, ns(t)->nsid, blocks);
	vh_read_is(c, 1, ns(t)->nsid, blocks - 8, 8, 0);
	vh_read_is(c, 1, ns(t)->nsid, blocks - MORE - 8, 8, 3);
}

/* Each controller by itself: who has the namespace and has asked is told, nobody else. */
static void who(struct vt *t)
{
	struct vctl *a = t->mc[0], *b = t->mc[1];
	struct vcmd *told, *silent;

	vh_feature(a, true, NVME_FID_AER, ASKED, 0, ST(S_OK));
	vh_feature(b, true, NVME_FID_AER, ASKED, 0, ST(S_OK));
	told = vh_aer(a);
	silent = vh_aer(b);
	vt_resize(a, a->ns[0].nsid, a->ns[0].blocks + MORE);
	vt_finish(t, told);
	expect_changed(a, a->ns[0].nsid);
	VEXPECT(t, !vh_done_soon(t, silent), "%s was told of a namespace that it does not have", b->name);
	vh_feature(a, true, NVME_FID_AER, 0, 0, ST(S_OK));
	told = vh_aer(a);
	vt_resize(a, a->ns[0].nsid, a->ns[0].blocks);
	VEXPECT(t, !vh_done_soon(t, told), "a notice that was not asked for");
}

/* A controller of the same namespace as the one it was changed by. */
static void shared(struct vt *t)
{
	struct vctl *a = t->mc[0], *b = t->mc[1];
	struct vcmd *k[2];

	for (unsigned i = 0; i < 2; i++) {
		vh_feature(t->mc[i], true, NVME_FID_AER, ASKED, 0, ST(S_OK));
		k[i] = vh_aer(t->mc[i]);
	}
	vt_resize(a, a->ns[1].nsid, a->ns[1].blocks + MORE);
	vt_finish(t, k[0]);
	vt_finish(t, k[1]);
	VEQ(t, le32_get(t->last.dw0), EVENT, "DW0 of the other controller's event");
	expect_changed(b, b->ns[1].nsid);
	VEQ(t, nsze(b, b->ns[1].nsid), a->ns[1].blocks + MORE, "NSZE as the other controller sees it");
}

enum { N = DUT_MEM | DUT_REGS | DUT_NS | DUT_RESIZE };
const struct vtest tests_nc[] = {
	{ "NC-01", N, "B-NC-1 B-NC-2", larger, "a namespace becomes larger", NULL },
	{ "NC-02", N | DUT_WZ, "B-NC-1", smaller, "a namespace becomes smaller, and its old end does not come back", NULL },
	{ "NC-03", N | DUT_MC2, "B-NC-2", who, "who is told of another size", NULL },
	{ "NC-04", N | DUT_MC2 | DUT_SHARED, "B-NC-2", shared, "a shared namespace gets another size", NULL },
	{ .id = NULL }
};
