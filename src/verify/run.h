/* Runs tests against a DUT: chooses, resets before each, judges, keeps what happened for the reports. One thread. */
#ifndef FERRY_VERIFY_RUN_H
#define FERRY_VERIFY_RUN_H

#include <stdio.h>

#include "verify/test.h"

struct vrun_cfg {
	const char *group, *tag, *id, *checklist;	/* comma lists; NULL: all */
	uint64_t seed;
	uint64_t test_ns, cmd_ns, quiet_ns;		/* 0: six times cmd_ns and at least 30 s, 5 s, 5 ms */
	const char *xfail;				/* text: a line "ID reason" per test that is known to fail; NULL none */
	const char *replay;				/* what to put behind "ferry verify replay" to reach this DUT again */
	FILE *progress;					/* a line per test as it ends; NULL: silent */
	bool verbose;					/* PASS lines too */
	bool guard;					/* all memory is looked at around each command */
	bool fail_fast;					/* nothing runs after the first test that is not as expected */
	struct cov *cov;				/* NULL: not counted */
};

struct vresult {
	const struct vtest *test;
	enum vt_verdict verdict;
	char why[1024];
	char known[160];		/* XFAIL, XPASS: the reason that was given */
	char *trace;			/* last commands; NULL: none */
	char wrong[300];		/* the status that was wrong, in the signature's words; "": it was something else */
	uint64_t began_ns, ns, seed, commands;	/* began: of the monotonic clock, as in a recording */
	uint64_t sequence;		/* digest of what was sent */
};

struct vrun {
	struct vrun_cfg cfg;
	struct vt *vt;
	struct dut *dut;
	struct vresult *result;
	unsigned results;
	unsigned count[VT_VERDICTS];
	uint64_t ns, commands;
};

/* 0, or -errno with a sentence when the DUT cannot even be looked at. Verdicts are in r, also of what was not reached. */
int vrun_run(struct vrun *r, struct dut *, const struct vrun_cfg *, struct err *);
void vrun_free(struct vrun *);
bool vrun_good(const struct vrun *);	/* no FAIL, no ERROR, no XPASS, and something ran */
bool vrun_chosen(const struct vrun_cfg *, const struct vtest *);

#endif
