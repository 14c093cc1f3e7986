/* A host with shadow doorbells, for groups DB and SV. */
#ifndef FERRY_VERIFY_T_DB_H
#define FERRY_VERIFY_T_DB_H

#include "verify/test.h"

struct shadow { struct vctl *c; struct vmem db, ei; unsigned rung, kept; };	/* kept: tails and heads that needed no doorbell */

struct shadow db_begin(struct vctl *);			/* Doorbell Buffer Config; leaves the test where that cannot be */
void db_work(struct shadow *, unsigned qid, unsigned n);	/* n commands in bunches, told in memory */

#endif
