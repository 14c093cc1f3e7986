/* The verifier's tables: every statement that says "shall" has a test or a reason, every name leads somewhere, and the field table
 * makes the commands the book prints. */
#include "t.h"

#include <stdio.h>

#include "verify/checklist.h"
#include "verify/fields.h"
#include "verify/test.h"

TEST(every_shall_has_a_test)
{
	unsigned bad = 0;

	for (unsigned i = 0; vitem_at(i); i++) {
		const struct vitem *v = vitem_at(i);
		bool covered = false;

		for (unsigned k = 0; vtest_at(k); k++)
			covered |= vtest_covers(vtest_at(k), v);
		if (covered && vitem_waiver(v)) {
			print_message("# %s is waived and has a test: remove the waiver\n", v->key);
			bad++;
		}
		if (v->class == VC_SHALL && !covered && !vitem_waiver(v)) {
			print_message("# no test covers %s: %s\n", v->key, v->text);
			bad++;
		}
	}
	EXPECT_EQ(bad, 0);
}

TEST(the_checklist_is_whole)
{
	unsigned hmlm = 0, base = 0;

	while (checklist_hmlm[hmlm].key)
		hmlm++;
	while (checklist_base[base].key)
		base++;
	EXPECT(hmlm >= 217 + 20 && base >= 40);
	EXPECT_EQ(vitem_count(), hmlm + base);
}

TEST(names_are_unique)
{
	for (unsigned i = 0; vitem_at(i); i++) {
		EXPECT(vitem_find(vitem_at(i)->key) == vitem_at(i));
		EXPECT(vitem_find(vitem_at(i)->id) == vitem_at(i));
	}
	for (unsigned i = 0; vtest_at(i); i++)
		EXPECT(vtest_find(vtest_at(i)->id) == vtest_at(i));
}

/* A word in `covers` that names nothing would be a statement that only looks tested. */
TEST(covers_lead_somewhere)
{
	unsigned bad = 0;

	for (unsigned i = 0; vtest_at(i); i++) {
		const struct vtest *v = vtest_at(i);
		char copy[256], *save = NULL;

		EXPECT(v->covers && v->covers[0] && v->title && v->run);
		EXPECT(strlen(v->covers) < sizeof(copy));
		strcpy(copy, v->covers);
		for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
			if (!vitem_find(w)) {
				print_message("# %s covers %s, which is in no list\n", v->id, w);
				bad++;
			}
	}
	EXPECT_EQ(bad, 0);
}

TEST(tests_are_in_their_groups)
{
	for (const struct vgroup *g = vgroups; g->name; g++)
		for (const struct vtest *v = g->tests; v->id; v++)
			EXPECT(vtest_in_group(v, g->name));
	EXPECT(vtest_count() >= 280);
}

struct golden { enum vop op; uint8_t opc; uint32_t cdw10, cdw11, cdw12, cdw13, cdw15; };
static void is(const struct nvme_sqe *s, struct golden g)
{
	EXPECT_EQ(s->opc, g.opc);
	EXPECT_EQ(le32_get(s->cdw10), g.cdw10);
	EXPECT_EQ(le32_get(s->cdw11), g.cdw11);
	EXPECT_EQ(le32_get(s->cdw12), g.cdw12);
	EXPECT_EQ(le32_get(s->cdw13), g.cdw13);
	EXPECT_EQ(le32_get(s->cdw15), g.cdw15);
	EXPECT_EQ(vop_of(s), g.op);
}

/* CNTLID 2, CDQID 1: the encodings worked out in the reference, section 12. */
TEST(golden_encodings)
{
	struct nvme_sqe s;

	vop_init(&s, VOP_CDQ_CREATE);
	vf_put(&s, VF_CDQ_CREATE_pc, 1), vf_put(&s, VF_CDQ_CREATE_cntlid, 2), vf_put(&s, VF_CDQ_CREATE_cdqsize, 1024);
	is(&s, (struct golden){ VOP_CDQ_CREATE, 0x45, 0, 0x00020001, 0x400, 0, 0 });
	vop_init(&s, VOP_CDQ_DELETE);
	vf_put(&s, VF_CDQ_DELETE_cdqid, 1);
	is(&s, (struct golden){ VOP_CDQ_DELETE, 0x45, 1, 1, 0, 0, 0 });
	vop_init(&s, VOP_LOG);
	vf_put(&s, VF_LOG_lact, 1), vf_put(&s, VF_LOG_cdqid, 1);
	is(&s, (struct golden){ VOP_LOG, 0x3d, 0x00010000, 1, 0, 0, 0 });
	vop_init(&s, VOP_TRACK_MEM);
	vf_put(&s, VF_TRACK_MEM_tact, 1), vf_put(&s, VF_TRACK_MEM_cntlid, 2);
	is(&s, (struct golden){ VOP_TRACK_MEM, 0x3d, 0x00010001, 2, 0, 0, 0 });
	vop_init(&s, VOP_TRACK_RECV);
	vf_put(&s, VF_TRACK_RECV_cntlid, 2), vf_put(&s, VF_TRACK_RECV_numdl, 0x3ff);
	is(&s, (struct golden){ VOP_TRACK_RECV, 0x3e, 0, 2, 0x3ff, 0, 0 });
	vop_init(&s, VOP_SUSPEND);
	vf_put(&s, VF_SUSPEND_cntlid, 2), vf_put(&s, VF_SUSPEND_stype, 1), vf_put(&s, VF_SUSPEND_dudmq, 1);
	is(&s, (struct golden){ VOP_SUSPEND, 0x41, 0, 0x80010002, 0, 0, 0 });
	vop_init(&s, VOP_RESUME);
	vf_put(&s, VF_RESUME_cntlid, 2);
	is(&s, (struct golden){ VOP_RESUME, 0x41, 1, 2, 0, 0, 0 });
	vop_init(&s, VOP_SET_STATE);
	vf_put(&s, VF_SET_STATE_seqind, 3), vf_put(&s, VF_SET_STATE_csvi, 1), vf_put(&s, VF_SET_STATE_cntlid, 2);
	vf_put(&s, VF_SET_STATE_numd, 26);
	is(&s, (struct golden){ VOP_SET_STATE, 0x41, 0x00030002, 0x00010002, 0, 0, 0x1a });
	vop_init(&s, VOP_GET_STATE);
	vf_put(&s, VF_GET_STATE_csvi, 1), vf_put(&s, VF_GET_STATE_cntlid, 2), vf_put(&s, VF_GET_STATE_numdl, 0x3ff);
	is(&s, (struct golden){ VOP_GET_STATE, 0x42, 0x00010000, 2, 0, 0, 0x3ff });
	vop_init(&s, VOP_SET_CDQ);
	vf_put(&s, VF_SET_CDQ_etpt, 1), vf_put(&s, VF_SET_CDQ_cdqid, 1), vf_put(&s, VF_SET_CDQ_hp, 5), vf_put(&s, VF_SET_CDQ_tpt, 7);
	is(&s, (struct golden){ VOP_SET_CDQ, 0x09, 0x21, 0x80000001, 5, 7, 0 });
	vop_init(&s, VOP_FORMATS);
	is(&s, (struct golden){ VOP_FORMATS, 0x06, 0x20, 0, 0, 0, 0 });
	vop_init(&s, VOP_LBA_STATUS);
	vf_put(&s, VF_LBA_STATUS_mndw, 0x3ff);
	is(&s, (struct golden){ VOP_LBA_STATUS, 0x86, 0, 0, 0x3ff, 0x02000000, 0 });
}

/* Every bit of the dwords a command uses belongs to one field, and a field gives back what was put. */
TEST(fields_do_not_overlap)
{
	for (unsigned i = 0; i < VF_COUNT; i++) {
		const struct vfield *f = &vfields[i];
		struct nvme_sqe s = { 0 };
		uint32_t all = (uint32_t)(0xffffffffull >> (31 - f->hi + f->lo));

		EXPECT(f->lo <= f->hi && f->hi < 32 && f->dw >= 10 && f->dw <= 15);
		vf_put(&s, (enum vfid)i, 0xffffffff);
		EXPECT_EQ(vf_get(&s, (enum vfid)i), all);
		for (unsigned k = 0; k < VF_COUNT; k++)
			if (k != i && vfields[k].op == f->op)
				EXPECT_EQ(vf_get(&s, (enum vfid)k), 0);
		EXPECT(vbin_exists(f, VB_LEGAL));
	}
}

TEST(printing)
{
	struct buf b = { 0 };
	struct nvme_sqe s;

	vop_init(&s, VOP_SUSPEND);
	vf_put(&s, VF_SUSPEND_cntlid, 2), vf_put(&s, VF_SUSPEND_stype, 1);
	vop_print(&s, &b);
	EXPECT_STR((char *)b.data, "Migration Send, suspend cntlid=2h stype=1h");
	buf_fini(&b);
}
