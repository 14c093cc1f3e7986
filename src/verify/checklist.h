/* What the book demands, as rows: one testable statement each, with the tests that look at it. A unit test fails when a "shall" has none.
 */
#ifndef FERRY_VERIFY_CHECKLIST_H
#define FERRY_VERIFY_CHECKLIST_H

#include "base/bytes.h"

enum vclass { VC_SHALL, VC_SHOULD, VC_MAY, VC_UNDEFINED };

struct vitem {
	const char *id;			/* NVM21_5_1_4_07: book, revision, section, number within the section */
	const char *key;		/* short: "CDQ-07"; what tests say in `covers` */
	enum vclass class;
	const char *section;		/* of the book */
	const char *text;		/* in our own words */
	const char *accept;		/* where the text contradicts itself or is silent: what is accepted; NULL: nothing to choose */
	const char *also;		/* other names of the same statement; NULL none */
};

/* Rows of all tables, one behind the other. */
unsigned vitem_count(void);
const struct vitem *vitem_at(unsigned i);		/* NULL: behind the last */
const struct vitem *vitem_find(const char *name);	/* by key, id or other name; NULL */
bool vitem_is(const struct vitem *, const char *name);
const char *vclass_name(enum vclass);
/* Why no test covers it; NULL: one must. */
const char *vitem_waiver(const struct vitem *);

extern const struct vitem checklist_hmlm[], checklist_base[];	/* end with key NULL */

#endif
