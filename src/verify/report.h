/* What a run says, in four shapes. JSON carries everything; JUnit XML and TAP are for machines that collect tests; the HTML page stands
 * alone (no scripts, nothing fetched) and is for people. All are made from the run in memory.
 */
#ifndef FERRY_VERIFY_REPORT_H
#define FERRY_VERIFY_REPORT_H

#include "verify/run.h"

void report_json(const struct vrun *, struct buf *out);
void report_junit(const struct vrun *, struct buf *out);
void report_tap(const struct vrun *, struct buf *out);
void report_html(const struct vrun *, struct buf *out);
void report_summary(const struct vrun *, FILE *);	/* a table per group */
/* out: "FILE" with a shape by its ending: .json .xml .tap .html. 0 or -errno with a sentence. */
int report_write(const struct vrun *, const char *path, struct err *);

/* State of a checklist item in this run: worst of its tests. */
enum vitem_state { VI_UNCOVERED, VI_WAIVED, VI_NOT_RUN, VI_SKIPPED, VI_PASSED, VI_KNOWN, VI_FAILED, VI_STATES };
struct vitem;
enum vitem_state report_item(const struct vrun *, const struct vitem *);
const char *report_item_name(enum vitem_state);
const char *report_item_why(const struct vrun *, const struct vitem *);	/* why it was skipped, waived or failed; "" otherwise */

/* Text safe inside these shapes; out of range bytes become '?'. */
void report_text_json(struct buf *, const char *);
void report_text_xml(struct buf *, const char *);

#endif
