/* Tests as rows: what a test is called, what it needs, which items of the checklist it covers. One file per group (t_*.c), each ends
 * with its table; tests.c lists the tables.
 */
#ifndef FERRY_VERIFY_TEST_H
#define FERRY_VERIFY_TEST_H

#include "verify/vh.h"
#include "verify/vt.h"

struct vtest {
	const char *id;			/* "CQ-07"; what stands before '-' is the group */
	uint64_t needs;			/* DUT_*: else SKIP with the reason */
	const char *covers;		/* keys of the checklist, with spaces between */
	void (*run)(struct vt *);
	const char *title;
	const char *tags;		/* "negative reset destructive ..."; NULL: none */
};
struct vgroup { const char *name, *about; const struct vtest *tests; };	/* tests end with id NULL; groups with name NULL */
extern const struct vgroup vgroups[];

/* What nearly every test of migration needs. */
enum { NEED_MM = DUT_MMC | DUT_MC | DUT_MEM, NEED_CDQ = NEED_MM | DUT_TUDCS, NEED_LOG = NEED_CDQ | DUT_NS | DUT_NS_MMC,
	NEED_TRACK = NEED_MM | DUT_THMCS };

extern const struct vtest tests_id[], tests_cq[], tests_ft[], tests_ts[], tests_tm[], tests_tr[], tests_mr[], tests_su[], tests_rs[],
	tests_st[], tests_re[], tests_la[], tests_ba[], tests_io[], tests_e2e[], tests_rn[], tests_xs[], tests_xc[], tests_sg[], tests_fu[], tests_fi[], tests_be[], tests_sv[], tests_me[], tests_db[], tests_rl[], tests_bq[], tests_nc[], tests_pi[], tests_mp[];

unsigned vtest_count(void);
const struct vtest *vtest_at(unsigned i);
const struct vtest *vtest_find(const char *id);	/* NULL */
/* Does `list` (words with spaces between) name `word`? */
bool vtest_lists(const char *list, const char *word);
struct vitem;
bool vtest_covers(const struct vtest *, const struct vitem *);
bool vtest_in_group(const struct vtest *, const char *group);

#endif
