/* Between the files of cover: not for others. */
#ifndef FERRY_VERIFY_COVER_IN_H
#define FERRY_VERIFY_COVER_IN_H

#include "verify/cover.h"

/* A log as the host can know it: where its memory is, what it has been given back, and how its owner learnt of entries. */
struct cov_cdq {
	bool live, phase, armed, polled;
	enum cov_learn how;
	bool learnt;
	struct vctl *mmc;
	uint16_t id;
	uint64_t iova;
	uint32_t slots, head, tpt;
};
struct cov_piece { uint64_t at, end; };	/* the last piece of an image that is being sent */

struct cov {
	struct cov_point *p;
	uint64_t *hits;
	unsigned n, cap;
	/* number + 1 of points that are found by arithmetic; 0: there is none */
	unsigned field[VF_COUNT][VB_COUNT], alone[VF_COUNT][VB_COUNT];
	unsigned *cross[COV_KINDS];
	enum vop last;
	struct cov_cdq cdq[MODEL_CDQS];
	struct cov_piece piece[DUT_CTRLS];
};

void cov_hit(struct cov *, unsigned number);		/* number + 1; 0 does nothing */
void cov_cross(struct cov *, enum cov_kind, unsigned, unsigned, unsigned, unsigned, unsigned);

/* cover_data.c */
void cov_data_sent(struct cov *, struct vctl *, const struct nvme_sqe *);

/* One dimension of a cross, for names and for stubs. */
struct cov_dim { const char *const *text, *const *code; unsigned n; };
struct cov_cross_row {
	enum cov_kind kind;
	const char *aim;		/* the call of aim.h that gets there */
	const char *between;		/* in names */
	const struct cov_dim *dim[COV_DIMS];
	bool (*cannot)(const uint8_t *d);	/* by rule; NULL: all can */
};
extern const struct cov_cross_row cov_crosses[];	/* ended by dim[0] NULL */
const struct cov_cross_row *cov_cross_of(enum cov_kind);

#endif
