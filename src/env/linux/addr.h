/* "unix:PATH" and "tcp:HOST:PORT" as socket addresses. Room-private to env/linux. */
#ifndef FERRY_ENV_LINUX_ADDR_H
#define FERRY_ENV_LINUX_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/bytes.h"
#include "base/err.h"

enum { ADDR_MAX = 8 };	/* a host name may stand for several */

struct addr {
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
};

struct addr_text {	/* taken apart, not yet looked up */
	bool is_unix;
	char host[256];	/* or the path */
	char port[8];
};

/* 0, or -EINVAL with a sentence: an address nobody could use. */
int addr_parse(struct addr_text *, const char *text, struct err *);
/* Without asking anybody: 1 filled in, 0 a name that must be looked up. */
int addr_numeric(const struct addr_text *, struct addr *);
/* Asks the resolver and waits for it. How many, or -errno. */
int addr_lookup(const struct addr_text *, struct addr *, int max);

/* The same in a thread of its own, for callers that must not wait. */
struct resolve;
struct resolve *resolve_start(const struct addr_text *);	/* NULL: out of memory or threads */
int resolve_fd(const struct resolve *);				/* readable when there is an answer */
int resolve_take(struct resolve *, struct addr *, int max);	/* -EAGAIN, how many, -errno */
void resolve_free(struct resolve *);				/* at any time: a late answer is thrown away */

#endif
