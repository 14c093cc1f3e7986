/* Between the files of vt: not for tests. */
#ifndef FERRY_VERIFY_VT_IN_H
#define FERRY_VERIFY_VT_IN_H

#include "verify/vt.h"

void vt_down(struct vctl *);			/* queues and commands are gone, on our side */
bool vt_reap(struct vctl *);			/* takes what has completed */
const char *vt_set_text(const uint16_t *set, char *buf, size_t cap);
/* vt_inject.c. False: the command is not to be submitted. */
bool vt_inject_sqe(struct vctl *, struct vcmd *, bool *twice);
int vt_inject_bell(struct vctl *, unsigned index, uint32_t val);
void vt_inject_turn(struct vt *);			/* doorbells that were held back long enough */
const char *vt_status_text(unsigned status, char buf[64]);

#endif
