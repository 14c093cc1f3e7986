/* Random sequences: Get LBA Status against the scoreboard. Asked at any time: blocks that a command is out for are left out. See random.h. */
#include "verify/random_in.h"

static bool is_out(const struct rmc *m, unsigned lba)
{
	for (unsigned k = 0; k < OPS; k++)
		for (unsigned i = 0; i < m->op[k].blocks && m->op[k].out; i++)
			if (m->op[k].at[i] == lba)
				return true;
	return fault_clouds(m, lba);
}

/* What is reported of the area, block by block. */
static void ask_allocated(struct rnd *r, struct rmc *m, bool reported[AREA])
{
	uint64_t next = 0;
	unsigned cmpc = 1;

	memset(reported, 0, AREA);
	for (unsigned n = 0; cmpc == 1 && next < AREA; n++) {
		struct nvme_sqe s;
		unsigned count;

		vop_init(&s, VOP_LBA_STATUS);
		s.nsid = le32_of(m->c->ns[0].mmc_nsid);
		vf_put(&s, VF_LBA_STATUS_slba_lo, (uint32_t)next);
		vf_put(&s, VF_LBA_STATUS_mndw, VT_PAGE / 4 - 1);
		vf_put(&s, VF_LBA_STATUS_rl, (uint32_t)(AREA - next));
		vt_do_data(r->t->mmc, 0, &s, &r->page, VT_PAGE, ST(S_OK));
		count = MIN(r->page.p[0] | (unsigned)r->page.p[1] << 8, (VT_PAGE - 8u) / 16);
		cmpc = r->page.p[4];
		VEXPECT(r->t, n < AREA && (count || cmpc == 2), "Get LBA Status of %s does not end", m->c->name);
		for (unsigned i = 0; i < count; i++) {
			struct nvme_lbas d;

			memcpy(&d, r->page.p + 8 + 16 * i, 16);
			VEXPECT(r->t, le64_get(d.dslba) >= next && le64_get(d.dslba) + le32_get(d.nlb0) < AREA,
				"Get LBA Status of %s: descriptor %u is not in the range that was asked for", m->c->name, i);
			next = le64_get(d.dslba) + le32_get(d.nlb0) + 1;
			memset(reported + le64_get(d.dslba), 1, le32_get(d.nlb0) + 1);
		}
	}
}

static void judge_unit(struct rnd *r, struct rmc *m, unsigned first, const bool *out, const bool *reported)
{
	bool any = false;

	for (unsigned b = first; b < first + m->unit; b++)
		any |= out[b];
	if (!any && board_unit_gone(&m->board, first, m->unit))
		VEXPECT(r->t, !reported[first], "%s: the unit of LBA %u was deallocated whole and is reported as allocated", m->c->name, first);
}

void random_check_allocated(struct rnd *r, struct rmc *m)
{
	bool out[AREA], reported[AREA];

	if (!(r->t->caps & DUT_RALBAS) || !m->c->ns[0].mmc_nsid)
		return;
	for (unsigned b = 0; b < AREA; b++)
		out[b] = is_out(m, b);
	ask_allocated(r, m, reported);
	for (unsigned b = 0; b < AREA; b++)
		VEXPECT(r->t, out[b] || reported[b] || m->board.block[b].alloc != BA_WRITTEN, "%s: LBA %u was written and is not reported as allocated",
			m->c->name, b);
	for (unsigned b = 0; m->unit && b + m->unit <= AREA; b += m->unit)
		judge_unit(r, m, b, out, reported);
}
