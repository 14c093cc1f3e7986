/* The real event loop: one epoll set, one thread. Nothing is called back: waking up only means "poll everything again".
 *
 * A component watches its descriptors; the program's main loop is
 *
 *   while (run) { busy = poll_everything(); loop_wait(l, busy ? 0 : deadline); }
 */
#ifndef FERRY_ENV_LINUX_LOOP_H
#define FERRY_ENV_LINUX_LOOP_H

#include "env/env.h"

struct loop;

struct loop *loop_new(struct err *);
void loop_free(struct loop *);
/* Watches fd for input, and for output too while want_out. Calling it again changes want_out. 0 or -errno. */
int loop_watch(struct loop *, int fd, bool want_out);
void loop_unwatch(struct loop *, int fd); /* before close(fd) */
/* Returns when a watched fd is ready, at until_ns (monotonic; 0: do not wait; UINT64_MAX: no limit), or on a signal.
 * True if an fd was ready. */
bool loop_wait(struct loop *, uint64_t until_ns);

/* The real env: clock, getrandom, sockets on this loop, records as files in state_dir (made if missing; NULL: records fail
 * with -EROFS). Conns it makes watch themselves. */
struct env *env_linux_new(struct loop *, const char *state_dir, struct err *);
void env_linux_free(struct env *);

/* Listening streams. addr as in env_connect; a unix socket path is unlinked on close, and on open if nobody answers on it.
 * -EADDRINUSE with a sentence if somebody does. */
struct listener;
int addr_judge(const char *addr, struct err *);	/* 0, or -EINVAL with a sentence: an address that nobody could use */
struct listener *listener_new(struct loop *, const char *addr, struct err *);
struct env_conn *listener_accept(struct listener *); /* NULL when nobody waits */
const char *listener_addr(const struct listener *); /* as it can be connected to: "tcp:HOST:0" has got its port */
void listener_free(struct listener *);

#endif
