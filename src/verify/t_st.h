/* Between the files of group ST. */
#ifndef FERRY_VERIFY_T_ST_H
#define FERRY_VERIFY_T_ST_H

#include "verify/test.h"

struct st_pair { struct vctl *from, *to; struct vmem image; uint32_t len; };
enum { MIDDLE = 0, FIRST = 1, LAST = 2, ONLY = 3 };

/* Two queue pairs that have worked, both controllers suspended, the image read. */
struct st_pair st_prepare_n(struct vt *, unsigned writes);
struct st_pair st_prepare(struct vt *);
/* A piece of the image. */
unsigned st_set(struct vt *, const struct st_pair *, unsigned seq, uint64_t off, uint32_t bytes, const uint16_t *want);
unsigned st_queues_of(struct vt *, struct vctl *);
/* The target takes the source's place: what it has not done yet it does, and its first completion is where the rings go on. */
void st_works(struct vt *, struct st_pair *);

/* t_st_bad.c */
void st_versions(struct vt *);
void st_hostile(struct vt *);
void st_truncated(struct vt *);
void st_noise(struct vt *);
void st_too_many_queues(struct vt *);
void st_huge(struct vt *);
void st_all_or_nothing(struct vt *);
/* t_st_keep.c */
void st_round_trip(struct vt *);
void st_vendor_round_trip(struct vt *);
void st_vendor_admin(struct vt *);
void st_phases(struct vt *);
void st_unread(struct vt *);

#endif
