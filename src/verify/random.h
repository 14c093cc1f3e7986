/* Constrained random: sequences of migration commands, I/O, resets and readings of change logs, over all controllers at once. Each command is
 * made from the field table with mostly legal values, judged by the shadow (model.h); each block is kept in a scoreboard that knows of
 * writes whose outcome a reset has hidden; each completed write of a logged controller must be named by its log.
 *
 * A step is a handful of random numbers and gets its meaning from the state it meets: any subset of a sequence is a sequence, and that is
 * how a failing one is shrunk. The same seed makes the same commands, whatever the device's pace: what is to be done never depends on what
 * has completed by then. Not repeated are the heads the log is given back to (as many entries as there were), the moment a command is
 * fetched, and whether a reset comes before or after its completion.
 */
#ifndef FERRY_VERIFY_RANDOM_H
#define FERRY_VERIFY_RANDOM_H

#include "verify/vt.h"

struct rstep { uint64_t draw[8]; bool plain; };	/* plain: nothing odd in fields that do not matter */
enum { RANDOM_STEPS_MAX = 4000 };

/* Runs a sequence of n steps; does not return when it fails, after having shrunk it: the trace then ends with the shortest one found. */
void random_run(struct vt *, unsigned n);
/* The same with faults among the steps, at every hook point of a host (inject.h), resets and clients that go away. What a fault hides stays
 * unknown; what it must not touch is judged as ever. Ends with everything healed and every block of every namespace compared. */
void random_stress(struct vt *, unsigned n);
/* A doorbell is lost, and again when it is rung again: sooner or later the command is carried out. (Once the host forgot it then.) */
void random_bell_lost_again(struct vt *);

#endif
