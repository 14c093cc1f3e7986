/* Why a point cannot be hit: rows of data. A row without a capability holds for everybody; one with it, for a DUT that lacks it. The first
 * that fits is told. A row that names no point, or one for everybody whose point was hit all the same, is a mistake in this table, and the
 * gate says so.
 */
#include <fnmatch.h>

#include "verify/cover_in.h"

#define FOR_ALL (-1)
static const struct { const char *name; int lacks; const char *why; } excuses[] = {
	/* names with * and ?, capability whose absence excuses it, or the reason */
	{ "*", DUT_BIT_MMC, NULL },
	{ "TRACK_MEM=38", FOR_ALL, "Base 2.1 5.1.27.1.2: only a controller without resources for ranges it has announced answers so; one that keeps its word never does" },
	{ "LOG@self (MMC)", FOR_ALL, "Base 2.1 5.1.4.1: no queue can be made for the MMC, so no queue of its own can be named" },
	{ "*CDQ_*", DUT_BIT_TUDCS, NULL },
	{ "*LOG*", DUT_BIT_TUDCS, NULL },
	{ "*logging*", DUT_BIT_TUDCS, NULL },
	{ "*polled*", DUT_BIT_TUDCS, NULL },
	{ "*, event", DUT_BIT_TUDCS, NULL },
	{ "*queue made*", DUT_BIT_TUDCS, NULL },
	{ "log overflows*", DUT_BIT_TUDCS, NULL },
	{ "head that cannot be*", DUT_BIT_TUDCS, NULL },
	{ "*TRACK_*", DUT_BIT_THMCS, NULL },
	{ "*tracking*", DUT_BIT_THMCS, NULL },
	{ "ranges *", DUT_BIT_THMCS, NULL },
	{ "CDQ_CREATE=38", DUT_BIT_LIMIT, NULL },
	{ "ranges RMRTG below the least", DUT_BIT_MINMRTG, NULL },
	{ "*LBA_STATUS*", DUT_BIT_RALBAS, NULL },
	{ "SET_STATE.numd/boundary+*", DUT_BIT_MEM, NULL },
	{ "FUSE*", DUT_BIT_MEM, NULL },
	{ "PSDT*", DUT_BIT_MEM, NULL },
	{ "PRP1*", DUT_BIT_MEM, NULL },
	{ "MPTR*", DUT_BIT_MEM, NULL },
	{ "CDW2*", DUT_BIT_MEM, NULL },
	{ "?Q, *", DUT_BIT_MEM, NULL },
	{ "?Q, *", DUT_BIT_MC, NULL },
	{ "*|*", DUT_BIT_MC2, NULL },
	{ "*, Write*", DUT_BIT_NS, NULL },
	{ "*, Deallocate*", DUT_BIT_DSM, NULL },
	{ "*, Write Zeroes*", DUT_BIT_WZ, NULL },
	{ "*, Write Uncorrectable*", DUT_BIT_WU, NULL },
	{ "*, Copy*", DUT_BIT_COPY, NULL },
	{ "*, Format*", DUT_BIT_FORMAT, NULL },
	{ "namespace formatted*", DUT_BIT_FORMAT, NULL },
	{ "namespace formatted*", DUT_BIT_NS_MMC, NULL },
	{ "namespace formatted*", DUT_BIT_DESTROY, NULL },
	{ "*, Format*", DUT_BIT_DESTROY, NULL },
	{ "guest's address*", DUT_BIT_NS, NULL },
	{ "second manager*", DUT_BIT_MMC2, NULL },
	{ "subsystem reset*", DUT_BIT_NSSR, NULL },
	{ "function reset*", DUT_BIT_FLR, NULL },
	{ "CC.EN*", DUT_BIT_REGS, NULL },
	{ "guest shuts down*", DUT_BIT_REGS, NULL },
};

static bool names(unsigned row, const struct cov_point *p) { return !fnmatch(excuses[row].name, p->name, 0); }

const char *cov_excuse(const struct cov_point *p, uint64_t caps)
{
	for (unsigned i = 0; i < ARRAY_LEN(excuses); i++)
		if ((excuses[i].lacks == FOR_ALL || !(caps >> excuses[i].lacks & 1)) && names(i, p))
			return excuses[i].why ? excuses[i].why : dut_cap_why((unsigned)excuses[i].lacks);
	return NULL;
}

unsigned cov_bad_excuses(const struct cov *c, struct buf *b)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < ARRAY_LEN(excuses); i++) {
		bool any = false;

		for (unsigned k = 0; k < c->n; k++) {
			if (!names(i, &c->p[k]))
				continue;
			any = true;
			if (excuses[i].lacks != FOR_ALL || !c->hits[k])
				continue;
			bad++;
			buf_printf(b, "%s was hit, and the table of excuses says it cannot be: %s\n", c->p[k].name, excuses[i].why);
		}
		if (!any) {
			bad++;
			buf_printf(b, "the table of excuses names '%s', which is no point\n", excuses[i].name);
		}
	}
	return bad;
}
