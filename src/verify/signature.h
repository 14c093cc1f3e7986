/* What a failure is called when it comes again, from another seed or another day: the same defect, the same words. Made of what does not
 * depend on chance: statement of the checklist, operation, state of its target, classes of its odd fields, status got and expected; else
 * the sentence without its numbers; the frame of a crash. Reports and the store fold by it.
 */
#ifndef FERRY_VERIFY_SIGNATURE_H
#define FERRY_VERIFY_SIGNATURE_H

#include "verify/run.h"

enum { SIG_MAX = 480 };

void sig_of(const struct vresult *, char out[SIG_MAX]);
/* Of a process that died: `text` is what it wrote to stderr. The innermost frame of our own, or "?". */
void sig_frame(const char *text, char *out, size_t cap);
void sig_crash(const char *id, int sig, const char *text, char out[SIG_MAX]);
/* At the moment of a wrong status: what it was, for sig_of. */
void sig_note(struct vt *, const struct vcmd *);

struct sig_bucket { char sig[SIG_MAX]; unsigned count; const struct vresult *least; };	/* least: fewest commands */
/* Buckets of a run's failures, most frequent first; at most `max`. */
unsigned sig_fold(const struct vrun *, struct sig_bucket *out, unsigned max);

#endif
