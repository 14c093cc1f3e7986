/* See line.h. Plain recv() drops descriptors that a peer attaches, so a hostile one cannot fill our table. */
#include "vm/qemu/line.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"

enum { CHUNK = 64 * 1024 };

uint64_t line_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

char *line_clean(char *to, size_t cap, const char *from)
{
	size_t n = 0;

	for (; from && from[n] && n + 1 < cap; n++)
		to[n] = (unsigned char)from[n] < 0x20 || from[n] == 0x7f ? ' ' : from[n];
	to[n] = '\0';
	return to;
}

void line_init(struct line *l) { *l = (struct line){ .fd = -1, .pass = -1 }; }

void line_hang_up(struct line *l)
{
	if (l->fd >= 0)
		close(l->fd);
	if (l->pass >= 0)
		close(l->pass);
	buf_fini(&l->in);
	buf_fini(&l->out);
	line_init(l);
}

int line_dial(struct line *l, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int rc;

	if (snprintf(a.sun_path, sizeof(a.sun_path), "%s", path) >= (int)sizeof(a.sun_path))
		return -ENAMETOOLONG;
	line_hang_up(l);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return -errno;
	if (!connect(l->fd, (struct sockaddr *)&a, sizeof(a)))
		return 0;
	rc = -errno;
	line_hang_up(l);
	return rc;
}

/* Sends up to `len` bytes, with the descriptor if it is due at the first of them. */
static ssize_t send_some(struct line *l, const uint8_t *p, size_t len, bool with_pass)
{
	union { struct cmsghdr c; char b[CMSG_SPACE(sizeof(int))]; } u = { 0 };
	struct iovec v = { (void *)p, len };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (with_pass) {
		m.msg_control = u.b;
		m.msg_controllen = sizeof(u.b);
		u.c.cmsg_level = SOL_SOCKET;
		u.c.cmsg_type = SCM_RIGHTS;
		u.c.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&u.c), &l->pass, sizeof(int));
	}
	return sendmsg(l->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int line_flush(struct line *l)
{
	while (!l->mute && l->out.len) {
		bool due = l->pass >= 0 && !l->pass_at;
		size_t len = l->pass >= 0 && l->pass_at ? l->pass_at : l->out.len; /* bytes before it go alone */
		ssize_t n = send_some(l, l->out.data, len, due);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return -EAGAIN;
		if (n < 0) {
			l->mute = -errno; /* what it said before it closed can still be read */
			break;
		}
		if (due) {
			close(l->pass);
			l->pass = -1;
		}
		if (l->pass >= 0)
			l->pass_at -= (size_t)n;
		buf_drop_front(&l->out, (size_t)n);
	}
	return l->mute;
}

int line_put(struct line *l, const char *text, size_t len, int pass)
{
	CHECK(len && text[len - 1] == '\n');
	if (l->fd < 0 || l->mute)
		return l->mute ? l->mute : -ENOTCONN;
	if (l->out.len + len > LINE_MAX_BYTES)
		return -ENOBUFS;
	if (pass >= 0 && l->pass >= 0)
		return -EBUSY;
	if (!buf_reserve(&l->out, len)) {
		l->out.failed = false; /* nothing was added: what waits is whole */
		return -ENOMEM;
	}
	if (pass >= 0) {
		l->pass = pass;
		l->pass_at = l->out.len;
	}
	buf_add(&l->out, text, len);
	line_flush(l); /* what came of it shows at the next call that reads */
	return 0;
}

static int fill(struct line *l)
{
	ssize_t n;

	buf_drop_front(&l->in, l->taken); /* here, not per line: a flood of short lines must not be moved again for each of them */
	l->seen -= l->taken;
	l->taken = 0;
	if (l->in.len >= LINE_MAX_BYTES)
		return -EMSGSIZE;
	if (!buf_reserve(&l->in, CHUNK + 1))
		return -ENOMEM;
	do
		n = recv(l->fd, l->in.data + l->in.len, CHUNK, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	l->in.len += (size_t)n;
	return n ? 0 : -EPIPE;
}

int line_get(struct line *l, char **text, size_t *len)
{
	if (l->fd < 0)
		return -ENOTCONN;
	while (!l->dead) {
		uint8_t *from = l->in.data + l->taken;
		uint8_t *end = l->in.len > l->seen ? memchr(l->in.data + l->seen, '\n', l->in.len - l->seen) : NULL;
		int rc;

		if (end) {
			*len = (size_t)(end - from);
			l->taken += *len + 1;
			l->seen = l->taken;
			if (*len && from[*len - 1] == '\r')
				--*len;
			from[*len] = '\0';
			*text = (char *)from;
			return 0;
		}
		l->seen = l->in.len;
		rc = fill(l);
		if (rc == -EAGAIN)
			return rc;
		l->dead = rc;
	}
	return l->dead;
}
