/* Between the files of group BE; interrupts of a guest that moved belong to group SV. */
#ifndef FERRY_VERIFY_T_BE_H
#define FERRY_VERIFY_T_BE_H

#include "verify/test.h"

/* t_be_irq.c */
void be_other_vector(struct vt *);
void be_function_mask(struct vt *);
void be_mask_suspended(struct vt *);
void be_vector_mask(struct vt *);
void be_table_reads(struct vt *);
void be_table_flr(struct vt *);
/* `move` takes the state of `from` to `to`. */
void sv_table(struct vt *, struct vctl *from, struct vctl *to, void (*move)(void *), void *ctx);

#endif
