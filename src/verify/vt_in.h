/* Between the files of vt: not for tests. */
#ifndef FERRY_VERIFY_VT_IN_H
#define FERRY_VERIFY_VT_IN_H

#include "verify/vt.h"

void vt_others_free(struct vctl *, bool unmap);	/* memory of vt_mem_as */
void vt_down(struct vctl *);			/* queues and commands are gone, on our side */
bool vt_reap(struct vctl *);			/* takes what has completed */
const char *vt_set_text(const uint16_t *set, char *buf, size_t cap);
/* vt_inject.c. False: the command is not to be submitted. */
bool vt_inject_sqe(struct vctl *, struct vcmd *, bool *twice);
int vt_inject_bell(struct vctl *, unsigned index, uint32_t val);
void vt_inject_turn(struct vt *);			/* doorbells that were held back long enough */
/* vt_guard.c: memory that is not lent must stay as it is. open: 0 or -1, no memory. */
int vt_guard_open(struct vctl *);
void vt_guard_close(struct vctl *);
void vt_guard_sent(struct vctl *, const struct vcmd *, const struct vmem *exact, uint32_t len);	/* exact: its data, by PRPs of vt_data; NULL: of its own */
void vt_guard_done(struct vctl *, const struct vcmd *);
void vt_guard_reset(struct vctl *);
void vt_guard_adopt(struct vctl *to, const struct vctl *from);
void vt_guard_taken(struct vctl *);			/* memory was given to a test */
void vt_guard_before(struct vt *, const struct vcmd *);			/* from here to `after` we write nothing but queues */
void vt_guard_after(struct vt *, const struct vcmd *);	/* which was out meanwhile */
void vt_guard_rest(struct vt *);			/* never used memory holds nothing */
void vt_guard_fresh(struct vt *);
const char *vt_status_text(unsigned status, char buf[64]);

#endif
