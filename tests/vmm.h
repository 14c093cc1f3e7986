/* A pretend VMM that copies its guest's memory itself: it is told of pages (gmem_touch_next), writes the bytes and answers when the
 * test says so, in any order, or refuses. One at a time. */
#ifndef FERRY_TESTS_VMM_H
#define FERRY_TESTS_VMM_H

#include <errno.h>

#include "t.h"
#include "device/gmem.h"

enum { VMM_OUT = 40000 };
struct told { uint64_t number, iova; uint8_t byte; };
struct vmm {
	struct gmem *g;
	struct told out[VMM_OUT];	/* taken and not answered */
	unsigned count;
	uint64_t taken, answered;
};

static inline struct vmm *vmm_on(struct gmem *g)
{
	static struct vmm v;

	memset(&v, 0, sizeof(v));
	v.g = g;
	gmem_touch_teller(g, true);
	return &v;
}

static inline void vmm_take(struct vmm *v)
{
	struct told *t = &v->out[v->count];

	while (v->count < VMM_OUT && gmem_touch_next(v->g, &t->number, &t->iova, &t->byte)) {
		v->taken++;
		t = &v->out[++v->count];
	}
}

/* Writes the byte and says so, or refuses. */
static inline struct told vmm_answer(struct vmm *v, unsigned i, int rc)
{
	struct told t = v->out[i];
	uint8_t *p = gmem_ptr(v->g, t.iova, 1, true);

	memmove(v->out + i, v->out + i + 1, (--v->count - i) * sizeof(t));
	if (!rc && p)
		*p = t.byte;
	v->answered++;
	gmem_touch_answer(v->g, t.number, rc);
	return t;
}

static inline void vmm_answer_all(struct vmm *v)
{
	while (v->count)
		vmm_answer(v, 0, 0);
}

static inline bool vmm_has(const struct vmm *v, uint64_t iova)
{
	for (unsigned i = 0; i < v->count; i++)
		if (v->out[i].iova / 4096 == iova / 4096)
			return true;
	return false;
}

static inline int vmm_flush(struct vmm *v) /* to the end, everything is answered */
{
	int rc = -EAGAIN;

	for (unsigned i = 0; rc == -EAGAIN && i < 100; i++) {
		rc = gmem_touch_flush(v->g);
		vmm_take(v);
		vmm_answer_all(v);
	}
	return rc;
}

/* The client hangs up. */
static inline void vmm_off(struct vmm **v)
{
	while ((*v)->count)
		vmm_answer(*v, 0, -ENOTCONN);
	gmem_touch_teller((*v)->g, false);
}

#endif
