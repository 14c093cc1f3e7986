/* What in a record leads to what, for the Perfetto export's arrows: a doorbell to the commands it announces, a completion to its interrupts.
 *
 * A flow must begin and end, and a doorbell does not know yet whether it announces anything: so the record is read once before, and what
 * has nothing behind it gets no flow. One thread, one export.
 */
#ifndef FERRY_VERIFY_EXPORT_FLOW_H
#define FERRY_VERIFY_EXPORT_FLOW_H

#include "base/bytes.h"
#include "base/err.h"

enum flow_point { FLOW_NONE, FLOW_ON, FLOW_LAST };
struct flows;

/* NULL with a sentence when the record cannot be read. What is no file (standard input, a pipe) cannot be read twice: then there are no flows. */
struct flows *flows_read(const char *record, struct err *);
void flows_free(struct flows *);
bool flow_begins(struct flows *, uint64_t uid);			/* something follows this transaction */
uint64_t flow_before(const struct flows *, uint64_t cmd);	/* the doorbell that announced it; 0: none */
enum flow_point flow_joins(struct flows *, uint64_t uid);	/* the next one that follows `uid` is here */

#endif
