/* The event loop: an epoll set, level-triggered, whose events are only a reason to wake up (loop.h). */
#include "env/linux/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

struct loop {
	int fd;
};

struct loop *loop_new(struct err *err)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (l)
		l->fd = epoll_create1(EPOLL_CLOEXEC);
	if (l && l->fd >= 0)
		return l;
	err_set(err, -errno, "cannot make an event loop: %s", strerror(errno));
	free(l);
	return NULL;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	close(l->fd);
	free(l);
}

int loop_watch(struct loop *l, int fd, bool want_out)
{
	struct epoll_event ev = { .events = EPOLLIN | (want_out ? EPOLLOUT : 0u), .data.fd = fd };

	if (!epoll_ctl(l->fd, EPOLL_CTL_MOD, fd, &ev))
		return 0;
	if (errno == ENOENT && !epoll_ctl(l->fd, EPOLL_CTL_ADD, fd, &ev))
		return 0;
	return -errno;
}

void loop_unwatch(struct loop *l, int fd) { epoll_ctl(l->fd, EPOLL_CTL_DEL, fd, NULL); }

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Kernels before 5.11 know milliseconds only; waking late by less than one is better than spinning until then. */
static int wait_ms(struct loop *l, struct epoll_event *ev, bool for_ever, uint64_t left_ns)
{
	uint64_t ms = (left_ns + NS_PER_MS - 1) / NS_PER_MS;

	return epoll_wait(l->fd, ev, 1, for_ever ? -1 : (int)MIN(ms, 1u << 30));
}

bool loop_wait(struct loop *l, uint64_t until_ns)
{
	uint64_t now = until_ns && until_ns != UINT64_MAX ? now_ns() : 0;
	uint64_t left = until_ns > now ? until_ns - now : 0;
	struct timespec t = { (time_t)(left / NS_PER_S), (long)(left % NS_PER_S) };
	struct epoll_event ev;
	int n;

	/* One event is enough to know: everything is polled afterwards anyhow. */
	n = epoll_pwait2(l->fd, &ev, 1, until_ns == UINT64_MAX ? NULL : &t, NULL);
	if (n < 0 && errno == ENOSYS)
		n = wait_ms(l, &ev, until_ns == UINT64_MAX, left);
	return n > 0;
}
