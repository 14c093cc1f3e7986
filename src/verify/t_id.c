/* Discovery: what Identify and the effects logs say, and that it agrees with what is accepted. */
#include "verify/test.h"

static void mmc_bit(struct vt *t)
{
	VEXPECT(t, le16_get(t->mmc->id.oacs) & NVME_OACS_HMLM, "OACS.HMLMS is 0 on the MMC");
	for (unsigned i = 0; i < t->mcs; i++)
		VEXPECT(t, !(le16_get(t->mc[i]->id.oacs) & NVME_OACS_HMLM), "OACS.HMLMS is 1 on %s", t->mc[i]->name);
}

static void no_hmb(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++)
		VEQ(t, le32_get(t->ctl[i].id.hmpre), 0, "HMPRE");
}

static void tudcs_clear(struct vt *t)
{
	if (t->mmc->id.trattr & NVME_TRATTR_TUDCS)
		vt_skip(t, "TRATTR.TUDCS=1: the rule is for controllers without it");
	VEQ(t, le16_get(t->mmc->id.mcudmq), 0, "MCUDMQ");
	VEQ(t, le16_get(t->mmc->id.mnsudmq), 0, "MNSUDMQ");
}

static void thmcs_clear(struct vt *t)
{
	if (t->mmc->id.trattr & NVME_TRATTR_THMCS)
		vt_skip(t, "TRATTR.THMCS=1: the rule is for controllers without it");
	VEQ(t, le16_get(t->mmc->id.cmmrtd) | le16_get(t->mmc->id.nmmrtd) | t->mmc->id.minmrtg | t->mmc->id.maxmrtg, 0, "tracking limits");
}

static void limits_order(struct vt *t)
{
	const struct nvme_id_ctrl *id = &t->mmc->id;

	VEXPECT(t, le16_get(id->nmcmr) >= le16_get(id->mcmr), "NMCMR %u is less than MCMR %u", le16_get(id->nmcmr), le16_get(id->mcmr));
	VEXPECT(t, id->maxmrtg >= id->minmrtg, "MAXMRTG %u is less than MINMRTG %u", id->maxmrtg, id->minmrtg);
	VEXPECT(t, le16_get(id->mnsudmq) >= le16_get(id->mcudmq), "MNSUDMQ %u is less than MCUDMQ %u", le16_get(id->mnsudmq),
		le16_get(id->mcudmq));
}

static void reserved_zero(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		const struct nvme_id_ctrl *id = &t->ctl[i].id;

		VEQ(t, id->trattr & 0xf8, 0, "TRATTR 7:3");
		VEQ(t, id->rsvd577, 0, "Identify byte 577");
		for (unsigned b = 0; b < sizeof(id->rsvd588); b++)
			VEXPECT(t, !id->rsvd588[b], "Identify byte %u is %02xh", 588 + b, id->rsvd588[b]);
	}
}

/* Index lists start at 1; behind them nothing. */
static void formats(struct vt *t)
{
	struct vmem m;
	unsigned nv, nu, end;

	vh_identify(t->mmc, 0x20, 0, 0, 0, &m, ST(S_OK));
	nv = m.p[0];
	nu = m.p[1];
	end = 2 + 2 * nv + 16 * nu;
	VEXPECT(t, nv + nu >= 1, "no state format is listed: nothing could be read or set");
	VEXPECT(t, end <= VT_PAGE, "%u versions and %u UUIDs do not fit into 4096 bytes", nv, nu);
	for (unsigned b = end; b < VT_PAGE; b++)
		VEXPECT(t, !m.p[b], "byte %u behind the lists is %02xh", b, m.p[b]);
	for (unsigned i = 0; i < nu; i++) {
		bool any = false;

		for (unsigned b = 0; b < 16; b++)
			any |= m.p[2 + 2 * nv + 16 * i + b];
		VEXPECT(t, any, "UUID at index %u is zero", i + 1);
	}
	vt_reading(t, "state formats listed", "%u versions, %u UUIDs", nv, nu);
}

static void formats_version0(struct vt *t)
{
	struct vmem m;
	bool found = false;

	vh_identify(t->mmc, 0x20, 0, 0, 0, &m, ST(S_OK));
	for (unsigned i = 0; i < m.p[0]; i++)
		found |= !(m.p[2 + 2 * i] | m.p[3 + 2 * i]);
	vt_reading(t, "version 0 of the controller state", found ? "listed" : "not listed");
	VEXPECT(t, found || m.p[1], "neither version 0 nor a vendor format is listed");
}

static void formats_nsid(struct vt *t)
{
	struct vmem a, b;

	vh_identify(t->mmc, 0x20, 0, 0, 0, &a, ST(S_OK));
	vh_identify(t->mmc, 0x20, 0, 0xffff, 0, &b, ST(S_OK));
	VEXPECT(t, !memcmp(a.p, b.p, VT_PAGE), "CNTID changes CNS 20h");
}

static void formats_mc(struct vt *t)
{
	struct vmem m;

	vh_identify(t->mc[0], 0x20, 0, 0, 0, &m, ST(S_IF));
}

static void cns21(struct vt *t)
{
	struct vmem m;
	unsigned st = vh_identify(t->mmc, 0x21, 0, 0, 0, &m, ST(S_IF, S_OK));

	vt_reading(t, "X3 CNS 21h", st == S_OK ? "supported (the overview's number)" : "reserved, Invalid Field");
}

static void lbamqf(struct vt *t)
{
	unsigned f = t->mmc->id_nvm.lbamqf;

	vt_reading(t, "LBAMQF", "%xh", f);
	VEXPECT(t, f == 0 || f >= 0xc0, "LBAMQF %xh is reserved", f);
}

static void ralbas(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_sqe s;

	vop_init(&s, VOP_LBA_STATUS);
	s.nsid = le32_of(t->mmc->nss ? t->mmc->ns[0].nsid : 1);
	vf_put(&s, VF_LBA_STATUS_mndw, 1023);
	vt_do_data(t->mmc, 0, &s, &m, VT_PAGE, t->caps & DUT_RALBAS ? ST(S_OK) : ST(S_IF, S_IO));
}

static void tlbaag(struct vt *t)
{
	struct vmem m;
	le32 v;

	vh_identify(t->mmc, 0x05, t->mmc->ns[0].nsid, 0, 0, &m, ST(S_OK));
	memcpy(&v, m.p + 292, 4);
	vt_reading(t, "TLBAAG", "%u blocks of %u bytes", le32_get(v), t->mmc->ns[0].lba);
	VEXPECT(t, le32_get(v) <= t->mmc->ns[0].blocks, "TLBAAG %u is larger than the namespace", le32_get(v));
}

static void effects_of(struct vctl *c, le32 out[256])
{
	struct vmem m = vt_mem(c, VT_PAGE);
	struct nvme_sqe s = { .opc = NVME_OP_GET_LOG, .cdw10 = le32_of(0x05 | 1023 << 16) };

	vt_do_data(c, 0, &s, &m, VT_PAGE, ST(S_OK));
	memcpy(out, m.p, 1024);
}

static const uint8_t five[] = { 0x3d, 0x3e, 0x41, 0x42, 0x45 };

static void effects_mmc(struct vt *t)
{
	le32 e[256];

	effects_of(t->mmc, e);
	for (unsigned i = 2; i < 4; i++)
		VEXPECT(t, le32_get(e[five[i]]) & 1, "effects log: CSUPP of %02xh is 0 on the MMC", five[i]);
	if (t->caps & (DUT_TUDCS | DUT_THMCS))
		VEXPECT(t, le32_get(e[0x3d]) & 1, "effects log: CSUPP of Track Send is 0");
	VEXPECT(t, !!(le32_get(e[0x45]) & 1) == !!(t->caps & DUT_TUDCS), "effects log and TRATTR.TUDCS differ on CDQ");
	for (unsigned i = 0; i < ARRAY_LEN(five); i++)
		VEQ(t, le32_get(e[five[i]]) & 0x3fe0, 0, "reserved bits of the effects log");
}

static void effects_mc(struct vt *t)
{
	le32 e[256];

	effects_of(t->mc[0], e);
	for (unsigned i = 0; i < ARRAY_LEN(five); i++)
		VEXPECT(t, !(le32_get(e[five[i]]) & 1), "effects log: an MC claims opcode %02xh", five[i]);
}

static void cdqscp(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_sqe s = { .opc = NVME_OP_GET_LOG, .cdw10 = le32_of(0x12 | 1023 << 16) };
	le32 e;

	if (vt_do_data(t->mmc, 0, &s, &m, VT_PAGE, ST(S_OK, S_LOG, S_IF)) != S_OK)
		vt_skip(t, "log page 12h (feature effects) is not supported");
	memcpy(&e, m.p + 4 * 0x21, 4);
	VEXPECT(t, le32_get(e) & 1, "feature 21h is not reported as supported");
	VEXPECT(t, le32_get(e) >> 26 & 1, "the scope of feature 21h does not say Controller Data Queue");
}

static void opcode(struct vctl *c, unsigned opc, unsigned sel, const uint16_t *want)
{
	struct vmem m = vt_mem(c, VT_PAGE);
	struct nvme_sqe s = { .opc = (uint8_t)opc, .cdw10 = le32_of(sel), .cdw11 = le32_of(0xfffe) };

	vt_do_data(c, 0, &s, &m, VT_PAGE, want);
}

/* A CNTLID that is not there: the command is known, the controller is not. */
static void mmc_commands(struct vt *t)
{
	for (unsigned sel = 0; sel < 2; sel++)
		opcode(t->mmc, 0x41, sel, ST(S_1F));
	opcode(t->mmc, 0x41, 2, ST(S_1F, S_IF, S_SEQ)); /* a middle piece of nothing, for nobody */
	opcode(t->mmc, 0x42, 0, ST(S_1F));
}

static void mc_send(struct vt *t)
{
	for (unsigned sel = 0; sel < 3; sel++)
		opcode(t->mc[0], 0x41, sel, ST(S_IO));
}

static void mc_receive(struct vt *t) { opcode(t->mc[0], 0x42, 0, ST(S_IO)); }
static void mc_track(struct vt *t)
{
	opcode(t->mc[0], 0x3d, 0, ST(S_IO, S_IF));
	opcode(t->mc[0], 0x3d, 1, ST(S_IO, S_IF));
	opcode(t->mc[0], 0x3e, 0, ST(S_IO, S_IF));
}

static void mc_cdq(struct vt *t)
{
	struct vring r;

	vh_cdq(t->mc[0], t->mc[0]->cntlid, 64, &r, ST(S_IO, S_IF));
}

static void mc_feature(struct vt *t) { vh_get_cdq(t->mc[0], 1, NULL, NULL, NULL, ST(S_IF, S_37)); }

static void sel_range(struct vt *t, unsigned opc, unsigned from, unsigned to)
{
	for (unsigned sel = from; sel <= to; sel = sel < to && sel * 2 > to ? to : sel * 2 + 1)
		opcode(t->mmc, opc, sel, ST(S_IF));
}
static void send_sel(struct vt *t) { sel_range(t, 0x41, 3, 0xff); }
static void receive_sel(struct vt *t) { sel_range(t, 0x42, 1, 0xff); }
static void track_send_sel(struct vt *t) { sel_range(t, 0x3d, 2, 0xff); }
static void track_receive_sel(struct vt *t) { sel_range(t, 0x3e, 1, 0xff); }

static void nsid_ignored(struct vt *t)
{
	struct vmem m = vt_mem(t->mmc, VT_PAGE);
	struct nvme_sqe s;
	unsigned st;

	vop_init(&s, VOP_GET_STATE);
	vf_put(&s, VF_GET_STATE_cntlid, t->mc[0]->cntlid);
	vf_put(&s, VF_GET_STATE_csvi, 1);
	vf_put(&s, VF_GET_STATE_numdl, 11);
	vt_do_data(t->mmc, 0, &s, &m, VT_PAGE, ST(S_OK));
	s.nsid = le32_of(0xfffffffe);
	st = vt_do_data(t->mmc, 0, &s, &m, VT_PAGE, ST(S_OK, S_IF, S_NS));
	vt_reading(t, "NSID other than 0 in a migration command", st == S_OK ? "ignored" : "refused (%03xh)", st);
}

static void cntlids_differ(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++)
		for (unsigned k = 0; k < i; k++)
			VEXPECT(t, t->ctl[i].sub != t->ctl[k].sub || t->ctl[i].cntlid != t->ctl[k].cntlid, "%s and %s have the same CNTLID %u", t->ctl[i].name, t->ctl[k].name,
				t->ctl[i].cntlid);
}

/* CNS 13h on the MMC lists controllers of the subsystem; the ones we reach must be there. */
static void controller_list(struct vt *t)
{
	struct vmem m;
	unsigned n, found = 0, ours = 0;

	if (vh_identify(t->mmc, 0x13, 0, 0, 0, &m, ST(S_OK, S_IF)) != S_OK)
		vt_skip(t, "CNS 13h is not supported");
	n = m.p[0] | m.p[1] << 8;
	VEXPECT(t, n <= 2047, "controller list with %u entries", n);
	for (unsigned i = 0; i < n; i++) {
		unsigned id = m.p[2 + 2 * i] | m.p[3 + 2 * i] << 8;

		VEXPECT(t, !i || id > (unsigned)(m.p[2 * i] | m.p[1 + 2 * i] << 8), "controller list is not ascending at %u", i);
		for (unsigned k = 0; k < t->ctls; k++)
			found += !t->ctl[k].sub && t->ctl[k].cntlid == id;
	}
	for (unsigned k = 0; k < t->ctls; k++)
		ours += !t->ctl[k].sub;
	VEQ(t, found, ours, "controllers we reach that are in the controller list");
}

#define MM (DUT_MMC | DUT_MC)
const struct vtest tests_id[] = {
	{ "ID-01", MM, "ID-01 V-ID-1 V-ID-2", mmc_bit, "OACS.HMLMS is 1 on the MMC and 0 on the others", NULL },
	{ "ID-02", MM, "ID-02", no_hmb, "no controller asks for a Host Memory Buffer", NULL },
	{ "ID-03", DUT_MMC, "ID-03", tudcs_clear, "without TUDCS the queue limits are 0", NULL },
	{ "ID-04", DUT_MMC, "ID-04", thmcs_clear, "without THMCS the tracking limits are 0", NULL },
	{ "ID-05", DUT_MMC, "ID-05", limits_order, "limits of the subsystem are not below those of the controller", NULL },
	{ "ID-06", DUT_MMC, "ID-06", reserved_zero, "reserved bytes and bits of Identify are 0", NULL },
	{ "ID-07", DUT_MMC, "ID-07 ID-08 V-ID-11", formats, "the lists of state formats are well formed", NULL },
	{ "ID-08", DUT_MMC, "ID-08", formats_version0, "version 0 or a vendor format is there", NULL },
	{ "ID-09", DUT_MMC, "ID-07", formats_nsid, "CNS 20h does not depend on CNTID", NULL },
	{ "ID-10", MM, "ID-09", formats_mc, "a migratable controller refuses CNS 20h", "negative" },
	{ "ID-11", DUT_MMC, "ID-10", cns21, "CNS 21h (the overview's erratum)", "reading" },
	{ "ID-12", DUT_MMC, "ID-11", lbamqf, "the entry format is a standard or a vendor one", NULL },
	{ "ID-13", DUT_MMC, "ID-12 LBA-01", ralbas, "AOCS.RALBAS agrees with Get LBA Status", NULL },
	{ "ID-14", DUT_MMC | DUT_NS_MMC, "ID-13", tlbaag, "TLBAAG is not larger than the namespace", NULL },
	{ "ID-15", DUT_MMC, "ID-14 V-ID-14", effects_mmc, "the MMC's effects log has the five commands", NULL },
	{ "ID-16", MM, "ID-14 V-ID-14", effects_mc, "an MC's effects log has none of them", NULL },
	{ "ID-17", DUT_MMC, "ID-15", cdqscp, "the scope of feature 21h is the data queue", NULL },
	{ "ID-18", DUT_MMC | DUT_MEM, "ID-16", mmc_commands, "the MMC knows Migration Send and Receive", NULL },
	{ "ID-19", MM | DUT_MEM, "ID-17", mc_send, "an MC does not know Migration Send", "negative" },
	{ "ID-20", MM | DUT_MEM, "ID-17", mc_receive, "an MC does not know Migration Receive", "negative" },
	{ "ID-21", MM | DUT_MEM, "F-ID-1", mc_track, "an MC does not take Track Send and Receive", "negative" },
	{ "ID-22", MM | DUT_MEM, "ID-18", mc_cdq, "an MC makes no user data migration queue", "negative" },
	{ "ID-23", MM | DUT_MEM, "FEAT-07", mc_feature, "an MC has no data queue to ask feature 21h about", "negative" },
	{ "ID-24", DUT_MMC | DUT_MEM, "SUS-21", send_sel, "Migration Send: reserved SEL", "negative" },
	{ "ID-25", DUT_MMC | DUT_MEM, "GCS-16", receive_sel, "Migration Receive: reserved SEL", "negative" },
	{ "ID-26", DUT_MMC | DUT_MEM, "TS-12", track_send_sel, "Track Send: reserved SEL", "negative" },
	{ "ID-27", DUT_MMC | DUT_MEM, "V-TR-9", track_receive_sel, "Track Receive: reserved SEL", "negative" },
	{ "ID-28", NEED_MM, "X-02", nsid_ignored, "migration commands do not depend on NSID", "reading" },
	{ "ID-29", DUT_MMC, "F-ID-2", cntlids_differ, "every controller has its own CNTLID", NULL },
	{ "ID-30", DUT_MMC, "F-ID-3", controller_list, "the controller list is ascending and has those we reach", NULL },
	{ .id = NULL }
};
