/* Bytes into words: queue entries, vfio-user messages, data queue entries, field by field, from the tables of spec/. Used by the
 * textual log, the other exports and `ferry decode`. What is described may come from anywhere: every length is judged, nothing fails.
 *
 * Pure functions; any thread.
 */
#ifndef FERRY_VERIFY_DESCRIBE_H
#define FERRY_VERIFY_DESCRIBE_H

#include "base/buf.h"
#include "spec/nvme.h"

enum { DESCRIBE_NAME = 40 };

/* "migration_receive", "write", "admin_c5"; returns out. */
const char *describe_op(bool admin, uint8_t opc, char out[DESCRIBE_NAME]);
const char *describe_sct(unsigned status);		/* "Generic", "Command Specific", ... */

/* One line per field, "%*s: value", width columns for the name. Zero fields that a command does not have are left out. */
void describe_sqe(struct buf *, const struct nvme_sqe *, bool admin, int width);
void describe_cqe(struct buf *, const struct nvme_cqe *, bool admin, int opc, int width);	/* opc -1: unknown */
void describe_cdq(struct buf *, const struct nvme_lbamq *, int width);
void describe_message(struct buf *, const uint8_t *p, size_t len, int width);	/* header and as much payload as there is */
/* One line without its end: "DMA_MAP 0x0+0x4000000 rw". */
void describe_message_brief(struct buf *, const uint8_t *p, size_t len);

#endif
