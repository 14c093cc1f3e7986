/* What conn.c offers inside env/linux. */
#ifndef FERRY_ENV_LINUX_CONN_H
#define FERRY_ENV_LINUX_CONN_H

#include "env/linux/loop.h"

struct env_conn *conn_connect(struct loop *, const char *addr, struct err *);
struct env_conn *conn_from_fd(struct loop *, int fd);	/* takes a connected socket; NULL: out of memory (fd is closed) */

#endif
