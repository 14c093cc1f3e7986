/* Addresses as text, and looking up names without waiting.
 *
 * The system's resolver may take seconds, and the thread that asks polls running guests; so a name is looked up by a
 * thread of its own, which shares nothing with us but struct resolve.
 */
#include "env/linux/addr.h"
#include "env/linux/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static bool port_ok(const char *p)
{
	char *end;
	unsigned long v;

	if (*p < '0' || *p > '9')
		return false;
	v = strtoul(p, &end, 10);
	return !*end && v <= 65535 && end - p <= 5;
}

static int parse_unix(struct addr_text *t, const char *path, struct err *err)
{
	size_t max = sizeof(((struct sockaddr_un *)0)->sun_path);

	if (!*path || strlen(path) >= max)
		return err_set(err, -EINVAL, "unix:%.60s: the path of a socket has 1 to %zu characters", path, max - 1);
	t->is_unix = true;
	strcpy(t->host, path);
	return 0;
}

static int parse_tcp(struct addr_text *t, const char *text, struct err *err)
{
	const char *colon = strrchr(text, ':'), *host = text;
	size_t n = colon ? (size_t)(colon - text) : 0;

	if (n >= 2 && host[0] == '[' && host[n - 1] == ']')
		host++, n -= 2;
	else if (memchr(text, ':', n))
		return err_set(err, -EINVAL, "tcp:%.80s: write an IPv6 address in brackets: tcp:[::1]:PORT", text);
	if (!n || n >= sizeof(t->host) || !port_ok(colon + 1))
		return err_set(err, -EINVAL, "tcp:%.80s: expected tcp:HOST:PORT", text);
	memcpy(t->host, host, n);
	t->host[n] = 0;
	strcpy(t->port, colon + 1);
	return 0;
}

int addr_parse(struct addr_text *t, const char *text, struct err *err)
{
	*t = (struct addr_text){ 0 };
	if (!strncmp(text, "unix:", 5))
		return parse_unix(t, text + 5, err);
	if (!strncmp(text, "tcp:", 4))
		return parse_tcp(t, text + 4, err);
	return err_set(err, -EINVAL, "%.80s: expected unix:PATH or tcp:HOST:PORT", text);
}

int addr_judge(const char *text, struct err *err)
{
	struct addr_text t;

	return addr_parse(&t, text, err);
}

int addr_numeric(const struct addr_text *t, struct addr *a)
{
	uint16_t port = htons((uint16_t)atoi(t->port));

	memset(a, 0, sizeof(*a));
	if (t->is_unix) {
		a->un.sun_family = AF_UNIX;
		strcpy(a->un.sun_path, t->host);
		a->len = sizeof(a->un);
	} else if (inet_pton(AF_INET, t->host, &a->in.sin_addr) == 1) {
		a->in.sin_family = AF_INET;
		a->in.sin_port = port;
		a->len = sizeof(a->in);
	} else if (inet_pton(AF_INET6, t->host, &a->in6.sin6_addr) == 1) {
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = port;
		a->len = sizeof(a->in6);
	}
	return a->len != 0;
}

int addr_lookup(const struct addr_text *t, struct addr *out, int max)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list, *it;
	int rc = getaddrinfo(t->host, t->port, &hints, &list), n = 0;

	if (rc)
		return rc == EAI_SYSTEM ? -errno : rc == EAI_MEMORY ? -ENOMEM : rc == EAI_AGAIN ? -EHOSTDOWN : -ENXIO;
	for (it = list; it && n < max; it = it->ai_next) {
		if (it->ai_addrlen > sizeof(out[n].in6))
			continue;
		memcpy(&out[n].sa, it->ai_addr, it->ai_addrlen);
		out[n++].len = it->ai_addrlen;
	}
	freeaddrinfo(list);
	return n ? n : -ENXIO;
}

struct resolve {
	atomic_int users;	/* asker and thread; the last one frees */
	atomic_bool ready;
	int fd, count;
	struct addr_text text;
	struct addr found[ADDR_MAX];
};

void resolve_free(struct resolve *r)
{
	if (!r || atomic_fetch_sub(&r->users, 1) > 1)
		return;
	close(r->fd);
	free(r);
}

static void *resolve_run(void *arg)
{
	struct resolve *r = arg;
	uint64_t one = 1;

	r->count = addr_lookup(&r->text, r->found, ADDR_MAX);
	atomic_store(&r->ready, true);
	(void)!write(r->fd, &one, sizeof(one));
	resolve_free(r);
	return NULL;
}

struct resolve *resolve_start(const struct addr_text *t)
{
	struct resolve *r = calloc(1, sizeof(*r));
	pthread_attr_t attr;
	pthread_t id;
	int rc;

	if (!r)
		return NULL;
	r->text = *t;
	r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_init(&r->users, 2);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = r->fd < 0 ? EMFILE : pthread_create(&id, &attr, resolve_run, r);
	pthread_attr_destroy(&attr);
	if (!rc)
		return r;
	if (r->fd >= 0)
		close(r->fd);
	free(r);
	return NULL;
}

int resolve_fd(const struct resolve *r) { return r->fd; }

int resolve_take(struct resolve *r, struct addr *out, int max)
{
	if (!atomic_load(&r->ready))
		return -EAGAIN;
	if (r->count > 0)
		memcpy(out, r->found, sizeof(*out) * (size_t)MIN(r->count, max));
	return MIN(r->count, max);
}
