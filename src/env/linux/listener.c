/* Listening sockets (loop.h). A unix socket file outlives its program: it is replaced only when nobody answers on it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "env/linux/addr.h"
#include "env/linux/conn.h"

enum { BACKLOG = 64 };

struct listener {
	struct loop *loop;
	int fd;
	int spare;		/* given up to take a connection that there is no descriptor for, and end it */
	bool full;		/* said that there are none */
	bool is_unix, bound;
	struct addr addr;
	dev_t dev;		/* the socket file we made: only that one is removed */
	ino_t ino;
	char text[300];
};

const char *listener_addr(const struct listener *s) { return s->text; }

/* Does anybody accept on this socket file? Only a refusal proves that nobody does. */
static bool answers(const struct addr *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool yes = fd < 0 || !connect(fd, &a->sa, a->len) || errno != ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return yes;
}

static int replace_stale(struct listener *s, struct err *err)
{
	const char *path = s->addr.un.sun_path;
	struct stat st;

	if (lstat(path, &st))
		return err_set(err, -errno, "cannot look at %s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, -EADDRINUSE, "%s exists and is no socket; choose another path", path);
	if (answers(&s->addr))
		return err_set(err, -EADDRINUSE, "somebody already listens on %s; end that program first, or choose another path", path);
	if (unlink(path) && errno != ENOENT)
		return err_set(err, -errno, "cannot remove the stale socket %s: %s", path, strerror(errno));
	if (bind(s->fd, &s->addr.sa, s->addr.len))
		return err_set(err, -errno, "cannot listen on %s: %s", path, strerror(errno));
	return 0;
}

static int bind_unix(struct listener *s, struct err *err)
{
	const char *path = s->addr.un.sun_path;
	struct stat st;
	int rc = 0;

	if (bind(s->fd, &s->addr.sa, s->addr.len))
		rc = errno == EADDRINUSE ? replace_stale(s, err)
					 : err_set(err, -errno, "cannot listen on %s: %s", path, strerror(errno));
	if (rc)
		return rc;
	/* Before listen: nobody but us ever gets in. */
	if (chmod(path, 0600) || lstat(path, &st))
		return err_set(err, -errno, "cannot set up %s: %s", path, strerror(errno));
	s->bound = true;
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	return 0;
}

static int bind_tcp(struct listener *s, const char *text, struct err *err)
{
	int one = 1;

	setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s->fd, &s->addr.sa, s->addr.len))
		return err_set(err, -errno, "cannot listen on %s: %s%s", text, strerror(errno),
			       errno == EADDRINUSE ? "; end the program that does, or choose another port" : "");
	return 0;
}

static void name_it(struct listener *s, const struct addr_text *t)
{
	socklen_t len = sizeof(s->addr.in6);
	bool v6 = strchr(t->host, ':');

	if (s->is_unix)
		snprintf(s->text, sizeof(s->text), "unix:%s", t->host);
	else if (!getsockname(s->fd, &s->addr.sa, &len)) /* port: at the same place for IPv4 and IPv6 */
		snprintf(s->text, sizeof(s->text), v6 ? "tcp:[%s]:%u" : "tcp:%s:%u", t->host, ntohs(s->addr.in.sin_port));
}

static int listener_setup(struct listener *s, const char *text, struct err *err)
{
	struct addr_text t;
	int rc = addr_parse(&t, text, err);

	if (rc)
		return rc;
	s->is_unix = t.is_unix;
	if (!addr_numeric(&t, &s->addr)) {
		rc = addr_lookup(&t, &s->addr, 1);
		if (rc < 0)
			return err_set(err, rc, "cannot look up %s", text);
	}
	s->fd = socket(s->addr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return err_set(err, -errno, "cannot make a socket for %s: %s", text, strerror(errno));
	rc = t.is_unix ? bind_unix(s, err) : bind_tcp(s, text, err);
	if (rc)
		return rc;
	if (listen(s->fd, BACKLOG) || loop_watch(s->loop, s->fd, false))
		return err_set(err, -errno, "cannot listen on %s: %s", text, strerror(errno));
	name_it(s, &t);
	return 0;
}

struct listener *listener_new(struct loop *l, const char *addr, struct err *err)
{
	struct listener *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(err, -ENOMEM, "%s: out of memory", addr), NULL;
	s->loop = l;
	s->fd = -1;
	s->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (!listener_setup(s, addr, err))
		return s;
	listener_free(s);
	return NULL;
}

/* A connection that is not taken stays ready, and the loop would never sleep again. */
static void turn_away(struct listener *s)
{
	int fd;

	if (!s->full)
		log_warn("%s: connections are refused, because there are no more file descriptors; raise the limit (ulimit -n)", s->text);
	s->full = true;
	if (s->spare >= 0)
		close(s->spare);
	fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	s->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

struct env_conn *listener_accept(struct listener *s)
{
	int one = 1, fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			turn_away(s);
		return NULL;
	}
	s->full = false;
	if (!s->is_unix)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return conn_from_fd(s->loop, fd);
}

void listener_free(struct listener *s)
{
	struct stat st;

	if (!s)
		return;
	if (s->bound && !lstat(s->addr.un.sun_path, &st) && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->addr.un.sun_path);
	if (s->fd >= 0) {
		loop_unwatch(s->loop, s->fd);
		close(s->fd);
	}
	if (s->spare >= 0)
		close(s->spare);
	free(s);
}
