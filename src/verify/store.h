/* Runs kept in SQLite, so that coverage of many runs adds up and failures can be asked for. Tables: run, test, bin, hit, checklist,
 * failure. One run is written in one transaction: all of it or nothing.
 */
#ifndef FERRY_VERIFY_STORE_H
#define FERRY_VERIFY_STORE_H

#include "verify/cover.h"
#include "verify/run.h"

int store_run(const char *path, const struct vrun *, const struct cov *, struct err *);
/* Adds the hits of every run of the store to *c, its DUTs' capabilities to *caps, the number of runs to *runs: stores merge by being
 * read one after the other. Bins are matched by name. */
int store_coverage(const char *path, struct cov *, uint64_t *caps, struct cov_runs *, struct err *);

#endif
