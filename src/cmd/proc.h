/* Child processes that are certain to end: each is known by its pid, told to stop, waited for, and killed only if it does not. */
#ifndef FERRY_CMD_PROC_H
#define FERRY_CMD_PROC_H

#include <sys/types.h>

#include "base/bytes.h"
#include "base/err.h"

struct proc { pid_t pid; char name[32]; int status; bool ended; };

/* Output goes to the file `log` (appended), or stays ours if NULL. The child dies with us (PR_SET_PDEATHSIG). */
int proc_start(struct proc *, const char *name, const char *log, char *const argv[], struct err *);
bool proc_running(struct proc *);			/* false: ended, status is set */
/* Waits. 0 it ended with exit code 0; -ETIMEDOUT; -ECHILD ended otherwise (sentence). limit_ms is of the monotonic clock. */
int proc_wait(struct proc *, unsigned limit_ms, struct err *);
void proc_stop(struct proc *);				/* SIGTERM, 20 s, SIGKILL. Harmless when it is not running */
int proc_run(const char *log, unsigned limit_ms, char *const argv[], struct err *);	/* start and wait */

/* A process of its own that outlives us and that nobody waits for; the caller ignores SIGCHLD. 0 or -errno with a sentence. */
int proc_release(char *const argv[], struct err *);

#endif
