#include "transport/vuser_sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	IN_BYTES = 65536,	/* input buffer to begin with, and its room beyond a longest message */
	KERNEL_FDS = 253,	/* most descriptors Linux passes at once (SCM_MAX_FD): none is ever cut off */
};

int vuser_sock_init(struct vuser_sock *s, int fd, uint32_t max_msg)
{
	int flags = fcntl(fd, F_GETFL);

	*s = (struct vuser_sock){ .fd = fd, .max_msg = max_msg, .cap = IN_BYTES };
	s->in = malloc(s->cap);
	if (!s->in || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		int rc = s->in ? -errno : -ENOMEM;

		vuser_sock_fini(s);
		return rc;
	}
	return 0;
}

void vuser_sock_fini(struct vuser_sock *s)
{
	for (unsigned i = 0; i < s->in_fds; i++)
		close(s->in_fd[i].fd);
	for (unsigned i = 0; i < s->out_fds; i++)
		close(s->out_fd[i].fd);
	if (s->fd >= 0)
		close(s->fd);
	free(s->in);
	buf_fini(&s->out);
	*s = (struct vuser_sock){ .fd = -1 };
}

/* ---- input --------------------------------------------------------------------------------------------------- */

/* Makes room behind the unread bytes: first by moving them to the front, then by growing as far as two longest messages. */
static bool make_room(struct vuser_sock *s)
{
	size_t most = 2 * ((size_t)s->max_msg + IN_BYTES), want;
	uint8_t *p;

	if (s->done == s->len) {
		s->base += s->len;
		s->len = s->done = 0;
	}
	if (s->cap - s->len >= IN_BYTES / 4)
		return true;
	if (s->done) {
		memmove(s->in, s->in + s->done, s->len - s->done);
		s->base += s->done;
		s->len -= s->done;
		s->done = 0;
	}
	if (s->cap - s->len >= IN_BYTES / 4)
		return true;
	want = MIN(s->cap * 2, most);
	if (want <= s->len)
		return false;
	p = realloc(s->in, want);
	if (!p)
		return s->len < s->cap;
	s->in = p;
	s->cap = want;
	return true;
}

/* The kernel never reads past a block of bytes that carries descriptors, so they belong to the message of the last byte read. */
static int keep_fds(struct vuser_sock *s, struct msghdr *mh)
{
	int rc = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (unsigned i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (s->in_fds < VUSER_SOCK_FDS) {
				s->in_fd[s->in_fds].at = s->base + s->len - 1;
				s->in_fd[s->in_fds++].fd = fd;
			} else {
				close(fd);
				rc = -E2BIG;
			}
		}
	}
	return rc;
}

ssize_t vuser_sock_fill(struct vuser_sock *s)
{
	union { char b[CMSG_SPACE(KERNEL_FDS * sizeof(int))]; struct cmsghdr align; } ctl;
	struct msghdr mh = { .msg_iovlen = 1, .msg_control = ctl.b, .msg_controllen = sizeof(ctl.b) };
	struct iovec v;
	ssize_t n;
	int rc;

	if (!make_room(s))
		return -ENOBUFS;
	v = (struct iovec){ s->in + s->len, s->cap - s->len };
	mh.msg_iov = &v;
	n = recvmsg(s->fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
	s->len += (size_t)n;
	rc = keep_fds(s, &mh);
	return rc ? rc : n;
}

int vuser_sock_peek(struct vuser_sock *s, size_t at, struct vuser_msg *m)
{
	struct vuser_hdr h;

	if (s->len - at < sizeof(h))
		return 0;
	memcpy(&h, s->in + at, sizeof(h));
	if (vuser_hdr_judge(&h, s->max_msg, m))
		return -EPROTO;
	if (s->len - at < m->size)
		return 0;
	m->payload = s->in + at + sizeof(h);
	return 1;
}

unsigned vuser_sock_take_fds(struct vuser_sock *s, size_t at, uint32_t size, int *fds, unsigned max)
{
	uint64_t start = s->base + at, end = start + size;
	unsigned n = 0, left = 0;

	for (unsigned i = 0; i < s->in_fds; i++) {
		if (s->in_fd[i].at < start || s->in_fd[i].at >= end)
			s->in_fd[left++] = s->in_fd[i];
		else if (n++ < max)
			fds[n - 1] = s->in_fd[i].fd;
		else
			close(s->in_fd[i].fd);
	}
	s->in_fds = left;
	return n;
}

void vuser_sock_consume(struct vuser_sock *s, size_t upto) { s->done = upto; }

/* ---- output -------------------------------------------------------------------------------------------------- */

uint8_t *vuser_sock_put(struct vuser_sock *s, uint16_t id, uint16_t cmd, uint32_t flags, uint32_t error, size_t payload)
{
	struct vuser_hdr h = vuser_hdr_of(id, cmd, (uint32_t)(sizeof(h) + payload), flags, error);
	uint8_t *p = buf_grow(&s->out, sizeof(h) + payload);

	if (!p)
		return NULL;
	memcpy(p, &h, sizeof(h));
	return p + sizeof(h);
}

void vuser_sock_unput(struct vuser_sock *s, size_t payload) { s->out.len -= sizeof(struct vuser_hdr) + payload; }

int vuser_sock_put_fds(struct vuser_sock *s, const int *fds, unsigned nfds, size_t payload)
{
	size_t start = s->out.len - sizeof(struct vuser_hdr) - payload;
	unsigned first = s->out_fds;
	int rc = 0;

	for (unsigned i = 0; i < nfds && !rc; i++) {
		int fd = s->out_fds < VUSER_SOCK_OUT_FDS ? fcntl(fds[i], F_DUPFD_CLOEXEC, 0) : (errno = ENOBUFS, -1);

		if (fd < 0) {
			rc = -errno;
			break;
		}
		s->out_fd[s->out_fds].start = start;
		s->out_fd[s->out_fds].end = s->out.len;
		s->out_fd[s->out_fds++].fd = fd;
	}
	if (!rc)
		return 0;
	while (s->out_fds > first)
		close(s->out_fd[--s->out_fds].fd);
	vuser_sock_unput(s, payload);
	return rc;
}

/* How far one sendmsg may go: descriptors ride on exactly their own message, because receivers differ in which byte they
 * look for them. Fills fds with those of the message at `sent`. */
static size_t next_piece(struct vuser_sock *s, int *fds, unsigned *nfds)
{
	size_t end = s->out.len;

	*nfds = 0;
	for (unsigned i = 0; i < s->out_fds; i++) {
		if (s->out_fd[i].start > s->sent)
			return MIN(end, s->out_fd[i].start);
		end = s->out_fd[i].end;
		fds[(*nfds)++] = s->out_fd[i].fd;
		if (i + 1 < s->out_fds && s->out_fd[i + 1].start != s->out_fd[i].start)
			break;
	}
	return end;
}

static void forget_sent_fds(struct vuser_sock *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(s->out_fd[i].fd);
	memmove(s->out_fd, s->out_fd + n, (s->out_fds - n) * sizeof(s->out_fd[0]));
	s->out_fds -= n;
}

static ssize_t send_piece(struct vuser_sock *s)
{
	union { char b[CMSG_SPACE(VUSER_SOCK_OUT_FDS * sizeof(int))]; struct cmsghdr align; } ctl = { 0 };
	int fds[VUSER_SOCK_OUT_FDS];
	unsigned nfds;
	struct iovec v = { s->out.data + s->sent, next_piece(s, fds, &nfds) - s->sent };
	struct msghdr mh = { .msg_iov = &v, .msg_iovlen = 1 };
	ssize_t n;

	if (nfds) {
		struct cmsghdr *c;

		mh.msg_control = ctl.b;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	n = sendmsg(s->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
	s->sent += (size_t)n;
	forget_sent_fds(s, nfds);
	return n;
}

/* The front is forgotten in big pieces, so that a slow reader does not make us move the rest for each of its reads. */
static void drop_front(struct vuser_sock *s)
{
	buf_drop_front(&s->out, s->sent);
	for (unsigned i = 0; i < s->out_fds; i++) {
		s->out_fd[i].start -= s->sent;
		s->out_fd[i].end -= s->sent;
	}
	s->sent = 0;
}

int vuser_sock_flush(struct vuser_sock *s)
{
	ssize_t n = 0;

	if (s->out.failed)
		return -ENOMEM;
	while (vuser_sock_waiting(s)) {
		n = send_piece(s);
		if (n < 0)
			break;
	}
	if (!vuser_sock_waiting(s) || s->sent > s->out.len / 2)
		drop_front(s);
	return n < 0 ? (int)n : 0;
}
