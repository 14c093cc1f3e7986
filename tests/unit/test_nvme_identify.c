/* Identify: every CNS, on both kinds of controller; what a driver relies on, and what a guest must not see. */
#include "cmds.h"

static uint8_t page[4096];

static bool all(uint8_t v)
{
	for (unsigned i = 0; i < sizeof(page); i++)
		if (page[i] != v)
			return false;
	return true;
}

/* Base, Identify: a CNS that is not supported is an invalid field. An MC must not support 15h and 20h (Base, HMLM). */
TEST(every_cns_on_both_kinds)
{
	static const uint8_t mc[] = { 0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x10, 0x11, 0x12, 0x13, 0x1c };
	static const uint8_t mmc[] = { 0x14, 0x15, 0x17, 0x20 };
	RIG(r);

	for (unsigned cns = 0; cns < 256; cns++) {
		bool list = cns == 0x02 || cns == 0x07 || cns == 0x10, for_mc = memchr(mc, (int)cns, sizeof(mc));
		bool for_mmc = for_mc || memchr(mmc, (int)cns, sizeof(mmc));
		unsigned cntid = cns == 0x1c ? 0xffff : 0;

		EXPECT_STATUS(cmd_identify(&r, r.mc, cns, !list, cntid, 0, page), for_mc ? NVME_SUCCESS : NVME_INVALID_FIELD);
		EXPECT_STATUS(cmd_identify(&r, r.mmc, cns, !list, cntid, 0, page), for_mmc ? NVME_SUCCESS : NVME_INVALID_FIELD);
	}
}

/* NVM is the only command set. */
TEST(other_command_sets_are_refused)
{
	static const uint8_t cns[] = { 0x05, 0x06, 0x07 };
	RIG(r);

	for (unsigned i = 0; i < ARRAY_LEN(cns); i++)
		for (unsigned csi = 1; csi < 256; csi = csi * 2 + 1)
			EXPECT_STATUS(cmd_identify(&r, r.mc, cns[i], 1, 0, csi, page), NVME_INVALID_FIELD);
}

/* What Linux and SPDK decide by. */
TEST(controller_fields)
{
	RIG(r);
	struct nvme_id_ctrl id;

	EXPECT_STATUS(cmd_identify(&r, r.mc, NVME_CNS_CTRL, 0, 0, 0, &id), NVME_SUCCESS);
	EXPECT_EQ(id.mdts, 5);
	EXPECT_EQ(id.sqes, 0x66);
	EXPECT_EQ(id.cqes, 0x44);
	EXPECT_EQ(le32_get(id.nn), NVME_NSID_MAX);
	EXPECT_EQ(le32_get(id.ver), rig_reg(r.mc, NVME_REG_VS, 4));
	EXPECT_EQ(id.cntrltype, 1);
	EXPECT_EQ(id.vwc, 7);
	EXPECT_EQ(le16_get(id.fuses), 0);
	EXPECT_EQ(le32_get(id.hmpre), 0);	/* HMLM-ID: every controller beside an MMC */
	EXPECT_EQ(le32_get(id.hmmin), 0);
	EXPECT_EQ(id.aerl + 1, NVME_AER_MAX);
	EXPECT_EQ(id.elpe, 63);
	EXPECT_EQ(id.npss, 0);
	EXPECT_EQ(id.frmw & 0xf, 3);
	EXPECT_EQ(le16_get(id.oncs), 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8);
	EXPECT_EQ(le32_get(id.oaes) & 1 << 8, 1 << 8);
	EXPECT_EQ(id.lpa & 1 << 1, 1 << 1);
	EXPECT_EQ(le16_get(id.cdfs), 1);
	EXPECT_EQ(le32_get(id.sgls) & 3, 1);
	EXPECT_EQ(le16_get(id.oacs) & ~(1u << 11), 1 << 1 | 1 << 8);	/* no NMS, no firmware, no virtualization */
	EXPECT_EQ(id.subnqn[255], 0);
	EXPECT(!strncmp((char *)id.subnqn, "nqn.", 4));
	for (unsigned i = 0; i < sizeof(id.sn); i++)
		EXPECT(id.sn[i] >= 0x20 && id.sn[i] < 0x7f);
}

/* HMLMS is the MMC's alone. */
TEST(only_the_mmc_manages_migration)
{
	RIG(r);
	struct nvme_id_ctrl id;

	cmd_identify(&r, r.mmc, NVME_CNS_CTRL, 0, 0, 0, &id);
	EXPECT_EQ(le16_get(id.oacs) >> 11 & 1, 1);
	EXPECT_EQ(le32_get(id.hmpre), 0);
	cmd_identify(&r, r.mc, NVME_CNS_CTRL, 0, 0, 0, &id);
	EXPECT_EQ(le16_get(id.oacs) >> 11 & 1, 0);
}

/* A moved controller shows the identity its guest knows, wherever that is shown; short strings are padded with spaces. */
TEST(identity_moves_with_the_controller)
{
	RIG(r, .mcs = 2);
	struct nvme_id_ctrl id;
	le16 list[2048];

	memset(&r.mc->who, 0, sizeof(r.mc->who));
	strcpy(r.mc->who.subnqn, "nqn.2014-08.org.example:far");
	memcpy(r.mc->who.sn, "S1", 3);
	memcpy(r.mc->who.mn, "Elsewhere", 10);
	memcpy(r.mc->who.fr, "9.9", 4);
	r.mc->who.cntlid = 0x1234;
	cmd_identify(&r, r.mc, NVME_CNS_CTRL, 0, 0, 0, &id);
	EXPECT_MEM(id.sn, "S1                  ", 20);
	EXPECT_MEM(id.mn, "Elsewhere                               ", 40);
	EXPECT_MEM(id.fr, "9.9     ", 8);
	EXPECT_STR((char *)id.subnqn, "nqn.2014-08.org.example:far");
	EXPECT_EQ(le16_get(id.cntlid), 0x1234);
	cmd_identify(&r, r.mc, NVME_CNS_CTRLS, 0, 0, 0, list);
	EXPECT_EQ(le16_get(list[0]), 1);	/* itself, and nothing of its neighbours */
	EXPECT_EQ(le16_get(list[1]), 0x1234);
	cmd_identify(&r, r.mc, NVME_CNS_CTRLS, 0, 0x1235, 0, list);
	EXPECT_EQ(le16_get(list[0]), 0);
	EXPECT_STATUS(cmd_identify(&r, r.mc, NVME_CNS_CSETS, 0, 0x1234, 0, page), NVME_SUCCESS);
	EXPECT_STATUS(cmd_identify(&r, r.mc, NVME_CNS_CSETS, 0, nvme_ctrl_cntlid(r.mmc), 0, page), NVME_INVALID_FIELD);
}

TEST(the_mmc_sees_all_controllers)
{
	RIG(r, .mcs = 3);
	le16 list[2048];

	cmd_identify(&r, r.mmc, NVME_CNS_CTRLS, 0, 0, 0, list);
	EXPECT_EQ(le16_get(list[0]), 4);
	for (unsigned i = 0; i < 4; i++)
		EXPECT_EQ(le16_get(list[1 + i]), nvme_ctrl_cntlid(r.host[i].ctrl));
	cmd_identify(&r, r.mmc, NVME_CNS_CTRLS, 0, nvme_ctrl_cntlid(r.host[2].ctrl), 0, list);
	EXPECT_EQ(le16_get(list[0]), 2);
	EXPECT_STATUS(cmd_identify(&r, r.mmc, NVME_CNS_NS_CTRLS, 1, 0, 0, list), NVME_SUCCESS);
	EXPECT_EQ(le16_get(list[0]), 4);
}

/* ---- namespaces */

/* Base, Identify, CNS 00h/05h/08h/11h: inactive is a page of zeroes, invalid (0, above NN, broadcast without NS Management) is an error. */
TEST(nsid_judged)
{
	static const uint8_t cns[] = { 0x00, 0x05, 0x08, 0x11 };
	static const uint32_t bad[] = { 0, NVME_NSID_MAX + 1, 0xfffffffe, 0xffffffff };
	RIG(r);

	for (unsigned i = 0; i < ARRAY_LEN(cns); i++) {
		EXPECT_STATUS(cmd_identify(&r, r.mc, cns[i], NVME_NSID_MAX, 0, 0, page), NVME_SUCCESS);
		EXPECT(all(0));
		EXPECT_STATUS(cmd_identify(&r, r.mc, cns[i], 1, 0, 0, page), NVME_SUCCESS);
		for (unsigned b = 0; b < ARRAY_LEN(bad); b++) {
			EXPECT_STATUS(cmd_identify(&r, r.mc, cns[i], bad[b], 0, 0, page), NVME_INVALID_NAMESPACE);
			EXPECT(all(0xee));	/* a failed command transfers nothing */
		}
	}
	EXPECT_STATUS(cmd_identify(&r, r.mc, NVME_CNS_NS_DESC, 2, 0, 0, page), NVME_INVALID_NAMESPACE);
	EXPECT_STATUS(cmd_identify(&r, r.mc, NVME_CNS_NS_DESC, 0xffffffff, 0, 0, page), NVME_INVALID_NAMESPACE);
}

TEST(namespace_fields)
{
	RIG(r, .block_bytes = 4096, .blocks = 1000);
	struct nvme_id_ns id;
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);
	le64 cap;

	EXPECT_STATUS(cmd_identify(&r, r.mc, NVME_CNS_NS, 1, 0, 0, &id), NVME_SUCCESS);
	EXPECT_EQ(le64_get(id.nsze), 1000);
	EXPECT_EQ(le64_get(id.ncap), 1000);
	EXPECT_EQ(le64_get(id.nuse), 1000);
	memcpy(&cap, id.nvmcap, 8);
	EXPECT_EQ(le64_get(cap), 4096000);
	EXPECT_EQ(id.nlbaf, 0);
	EXPECT_EQ(id.flbas, 0);
	EXPECT_EQ(id.lbaf[2], 12);
	EXPECT_EQ(id.lbaf[0] | id.lbaf[1] | id.lbaf[3] | id.lbaf[6], 0);
	EXPECT_EQ(id.dlfeat & 7, 1);	/* deallocated blocks read as zeroes */
	EXPECT_EQ(id.dlfeat >> 3 & 1, 1);	/* DEAC */
	EXPECT_EQ(id.nsfeat >> 4 & 1, 1);
	EXPECT_EQ(le16_get(id.npdg) + 1, nvme_ns_blk(ns)->alloc_blocks);
	EXPECT(le16_get(id.mssrl) > 0 && le32_get(id.mcl) >= le16_get(id.mssrl));
	EXPECT_EQ(id.dps | id.dpc | id.mc, 0);
	EXPECT_MEM(id.nguid, nvme_ns_ids(ns)->nguid, 16);
	EXPECT_MEM(id.eui64, nvme_ns_ids(ns)->eui64, 8);
	EXPECT_STATUS(cmd_identify(&r, r.mc, NVME_CNS_INDEP_NS, 1, 0, 0, page), NVME_SUCCESS);
	EXPECT_EQ(page[14] & 1, 1);	/* NSTAT.NRDY: Linux ignores a namespace without it */
}

/* Base, CNS 03h: each identifier that is not zero, and always the command set. */
TEST(namespace_descriptors)
{
	static const struct nvme_ns_ids some = { .nguid = { 1, 2 }, .uuid = { [15] = 9 } };
	RIG(r);

	nvme_ns_set_ids(nvme_ns_find(r.ss, 1), &some);
	EXPECT_STATUS(cmd_identify(&r, r.mc, NVME_CNS_NS_DESC, 1, 0, 0, page), NVME_SUCCESS);
	EXPECT_EQ(page[0], 2);
	EXPECT_EQ(page[1], 16);
	EXPECT_MEM(page + 4, some.nguid, 16);
	EXPECT_EQ(page[20], 3);
	EXPECT_EQ(page[21], 16);
	EXPECT_MEM(page + 24, some.uuid, 16);
	EXPECT_EQ(page[40], 4);
	EXPECT_EQ(page[41], 1);
	EXPECT_EQ(page[44], 0);
	EXPECT_EQ(page[45], 0);
	EXPECT_EQ(page[46], 0);
}

/* Lists hold the numbers above NSID, ascending; FFFFFFFEh and FFFFFFFFh have none above them. */
TEST(namespace_lists)
{
	static const uint8_t cns[] = { 0x02, 0x07, 0x10 };
	RIG(r, .namespaces = 5);
	le32 list[1024];

	for (unsigned i = 0; i < ARRAY_LEN(cns); i++) {
		EXPECT_STATUS(cmd_identify(&r, r.mc, cns[i], 0, 0, 0, list), NVME_SUCCESS);
		for (unsigned n = 0; n < 5; n++)
			EXPECT_EQ(le32_get(list[n]), n + 1);
		EXPECT_EQ(le32_get(list[5]), 0);
		EXPECT_STATUS(cmd_identify(&r, r.mc, cns[i], 4, 0, 0, list), NVME_SUCCESS);
		EXPECT_EQ(le32_get(list[0]), 5);
		EXPECT_EQ(le32_get(list[1]), 0);
		EXPECT_STATUS(cmd_identify(&r, r.mc, cns[i], NVME_NSID_MAX + 5, 0, 0, list), NVME_SUCCESS);
		EXPECT_EQ(le32_get(list[0]), 0);
		EXPECT_STATUS(cmd_identify(&r, r.mc, cns[i], 0xfffffffe, 0, 0, list), NVME_INVALID_NAMESPACE);
		EXPECT_STATUS(cmd_identify(&r, r.mc, cns[i], 0xffffffff, 0, 0, list), NVME_INVALID_NAMESPACE);
	}
}

/* A guest knows its namespaces by its own numbers, and does not learn of those it has not. */
TEST(guest_numbers_and_foreign_namespaces)
{
	RIG(r, .no_namespace = true);
	struct nvme_ns *ns[2];
	le32 list[1024];

	for (unsigned i = 0; i < 2; i++) {
		ns[i] = nvme_ns_add(r.ss, 0, blk_ram_open(512, 64 << i, &r.err), NULL, &r.err);
		EXPECT(ns[i]);
	}
	EXPECT_EQ(nvme_ctrl_attach(r.mc, 7, ns[1]), 0);
	cmd_identify(&r, r.mc, NVME_CNS_ACTIVE_NS, 0, 0, 0, list);
	EXPECT_EQ(le32_get(list[0]), 7);
	EXPECT_EQ(le32_get(list[1]), 0);
	cmd_identify(&r, r.mc, NVME_CNS_ALLOC_NS_LIST, 0, 0, 0, list);
	EXPECT_EQ(le32_get(list[0]), 7);
	EXPECT_EQ(le32_get(list[1]), 0);
	cmd_identify(&r, r.mc, NVME_CNS_NS, 7, 0, 0, page);
	EXPECT_EQ(le64_get(((struct nvme_id_ns *)page)->nsze), 128);
	cmd_identify(&r, r.mmc, NVME_CNS_ALLOC_NS_LIST, 0, 0, 0, list);
	EXPECT_EQ(le32_get(list[0]), 1);
	EXPECT_EQ(le32_get(list[1]), 2);
	cmd_identify(&r, r.mmc, NVME_CNS_ALLOC_NS, 1, 0, 0, page);	/* allocated, attached to nobody */
	EXPECT_EQ(le64_get(((struct nvme_id_ns *)page)->nsze), 64);
	cmd_identify(&r, r.mmc, NVME_CNS_NS, 1, 0, 0, page);
	EXPECT(all(0));
}

/* NVM Command Set, WZSL: the largest Write Zeroes there is must be within it; DMRL, DMRSL, DMSL 0: no limit. */
TEST(nvm_limits)
{
	RIG(r);
	struct nvme_id_ctrl_nvm id;

	EXPECT_STATUS(cmd_identify(&r, r.mc, NVME_CNS_CSI_CTRL, 0, 0, 0, &id), NVME_SUCCESS);
	EXPECT((4096ull << id.wzsl) >= 0x10000ull * 4096);
	EXPECT_EQ(id.dmrl, 0);
	EXPECT_EQ(le32_get(id.dmrsl), 0);
	EXPECT_EQ(le64_get(id.dmsl), 0);
}

TEST(the_mmcs_own_pages)
{
	static const uint8_t uuid[16] = FERRY_STATE_UUID;
	RIG(r);

	EXPECT_STATUS(cmd_identify(&r, r.mmc, NVME_CNS_PRIMARY_CAPS, 0, 0, 0, page), NVME_SUCCESS);
	EXPECT_EQ(page[0] | page[1] << 8, nvme_ctrl_cntlid(r.mmc));
	EXPECT_STATUS(cmd_identify(&r, r.mmc, NVME_CNS_UUIDS, 0, 0, 0, page), NVME_SUCCESS);
	EXPECT_MEM(page + 48, uuid, 16);
	EXPECT_STATUS(cmd_identify(&r, r.mmc, NVME_CNS_CSETS, 0, 0xffff, 0, page), NVME_SUCCESS);
	EXPECT_EQ(page[0], 1);
	EXPECT_EQ(page[8], 0);
}
