/* Byte streams over sockets, never waiting, and the listeners they come from.
 *
 * Called from the thread of their loop. A stream is usable while it still looks up its host or connects: send and recv then
 * say -EAGAIN and drive it on. The first error is kept and repeated: the socket itself tells it only once.
 */
#include "env/linux/conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "env/linux/addr.h"

enum phase { LOOKING_UP, TO_CONNECT, CONNECTING, OPEN };

struct conn {
	struct env_conn c;
	struct loop *loop;
	int fd;			/* -1: none yet, or dead */
	enum phase phase;
	bool out_watched, ended;
	int dead, send_dead;	/* first error, -errno */
	struct resolve *resolve;
	struct addr to[ADDR_MAX];
	int to_count, to_at;
};

static struct conn *conn_of(struct env_conn *c) { return CONTAINER_OF(c, struct conn, c); }

static void drop_fd(struct conn *c)
{
	if (c->fd < 0)
		return;
	loop_unwatch(c->loop, c->fd);
	close(c->fd);
	c->fd = -1;
}

static void drop_resolve(struct conn *c)
{
	if (!c->resolve)
		return;
	loop_unwatch(c->loop, resolve_fd(c->resolve));
	resolve_free(c->resolve);
	c->resolve = NULL;
}

static int die(struct conn *c, int rc)
{
	if (!c->dead)
		c->dead = rc;
	drop_fd(c);
	drop_resolve(c);
	return c->dead;
}

static void watch_out(struct conn *c, bool on)
{
	if (c->out_watched != on && c->fd >= 0 && !loop_watch(c->loop, c->fd, on))
		c->out_watched = on;
}

/* A connection refused by one of a name's addresses may be taken by the next. */
static int next_address(struct conn *c, int rc)
{
	drop_fd(c);
	if (++c->to_at >= c->to_count)
		return die(c, rc);
	c->phase = TO_CONNECT;
	return 0;
}

static int open_socket(struct conn *c, const struct addr *a)
{
	int one = 1;

	c->fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	if (a->sa.sa_family != AF_UNIX)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->out_watched = true;
	return loop_watch(c->loop, c->fd, true); /* output: it becomes writable when connected */
}

static int to_connect(struct conn *c)
{
	const struct addr *a = &c->to[c->to_at];
	int rc = c->fd < 0 ? open_socket(c, a) : 0;

	if (rc)
		return next_address(c, rc);
	if (!connect(c->fd, &a->sa, a->len))
		c->phase = OPEN;
	else if (errno == EINPROGRESS)
		c->phase = CONNECTING;
	else if (errno == EAGAIN)	/* a unix listener whose queue is full: ask again later, with the same socket */
		return -EAGAIN;
	else
		return next_address(c, -errno);
	return 0;
}

static int connecting(struct conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int e = 0;

	if (poll(&p, 1, 0) <= 0)
		return -EAGAIN;
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len))
		e = errno;
	if (e)
		return next_address(c, -e);
	c->phase = OPEN;
	return 0;
}

static int looking_up(struct conn *c)
{
	int n = resolve_take(c->resolve, c->to, ADDR_MAX);

	if (n == -EAGAIN)
		return n;
	drop_resolve(c);
	if (n <= 0)
		return die(c, n ? n : -ENXIO);
	c->to_count = n;
	c->phase = TO_CONNECT;
	return 0;
}

/* On towards OPEN, as far as it goes. 0 when there, -EAGAIN, or the error it died of. */
static int go_on(struct conn *c)
{
	static int (*const steps[])(struct conn *) = { looking_up, to_connect, connecting };
	int rc = c->dead;

	if (!rc && c->phase == OPEN)
		return 0;
	while (!rc && c->phase != OPEN)
		rc = steps[c->phase](c);
	if (!rc)
		watch_out(c, false);
	return rc;
}

static ssize_t conn_send(struct env_conn *ec, const struct iovec *v, int n)
{
	struct conn *c = conn_of(ec);
	struct msghdr m = { .msg_iov = (struct iovec *)v, .msg_iovlen = (size_t)MIN(n, 1024) };
	ssize_t rc = go_on(c);
	size_t offered = 0;

	if (rc || (rc = c->send_dead))
		return rc;
	for (int i = 0; i < MIN(n, 1024); i++)
		offered += v[i].iov_len;
	if (!offered)
		return 0;
	do
		rc = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	if (rc < 0 && errno != EAGAIN && errno != ENOBUFS) {
		c->send_dead = -errno; /* what the peer said before it went can still be read */
		watch_out(c, false);
		return c->send_dead;
	}
	watch_out(c, rc < (ssize_t)offered); /* the rest: wake us when it fits */
	return rc < 0 ? -EAGAIN : rc;
}

static ssize_t conn_recv(struct env_conn *ec, void *p, size_t cap)
{
	struct conn *c = conn_of(ec);
	ssize_t rc = go_on(c);

	if (rc)
		return rc;
	if (c->ended || !cap)
		return 0;
	do
		rc = recv(c->fd, p, cap, MSG_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return errno == EAGAIN ? -EAGAIN : die(c, -errno);
	if (!rc) { /* an ended stream stays readable: stop it from waking us for ever */
		c->ended = true;
		loop_unwatch(c->loop, c->fd);
		c->out_watched = false;
	}
	return rc;
}

static void conn_close(struct env_conn *ec)
{
	struct conn *c = conn_of(ec);

	drop_fd(c);
	drop_resolve(c);
	free(c);
}

static const struct env_conn_ops conn_ops = { .send = conn_send, .recv = conn_recv, .close = conn_close };

static struct conn *conn_new(struct loop *l)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->c.ops = &conn_ops;
	c->loop = l;
	c->fd = -1;
	return c;
}

struct env_conn *conn_connect(struct loop *l, const char *addr, struct err *err)
{
	struct addr_text t;
	struct conn *c;

	if (addr_parse(&t, addr, err))
		return NULL;
	c = conn_new(l);
	if (!c)
		return err_set(err, -ENOMEM, "%s: out of memory", addr), NULL;
	if (addr_numeric(&t, &c->to[0])) {
		c->to_count = 1;
		c->phase = TO_CONNECT;
	} else {
		c->phase = LOOKING_UP;
		c->resolve = resolve_start(&t);
		if (!c->resolve || loop_watch(l, resolve_fd(c->resolve), false))
			die(c, -ENOMEM);
	}
	go_on(c);
	return &c->c;
}

struct env_conn *conn_from_fd(struct loop *l, int fd)
{
	struct conn *c = conn_new(l);

	if (!c || loop_watch(l, fd, false)) {
		close(fd);
		free(c);
		return NULL;
	}
	c->fd = fd;
	c->phase = OPEN;
	return &c->c;
}
