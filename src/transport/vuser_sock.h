/* A vfio-user stream: whole messages out of a non-blocking unix socket with their descriptors, and a send queue into it.
 *
 * Used by server and client. Reads as much as there is, so that a burst of posted doorbells costs one system call.
 * Knows framing only: what a message means is the caller's.
 */
#ifndef FERRY_TRANSPORT_VUSER_SOCK_H
#define FERRY_TRANSPORT_VUSER_SOCK_H

#include <sys/types.h>

#include "base/buf.h"
#include "transport/vuser_codec.h"

enum { VUSER_SOCK_FDS = 64 /* received and not yet taken */, VUSER_SOCK_OUT_FDS = 128 };

struct vuser_sock {
	int fd;
	uint32_t max_msg;	/* longest message we accept, bytes */
	/* input: [done, len) is unread; `base` is the place of in[0] in the stream */
	uint8_t *in;
	size_t cap, len, done;
	uint64_t base;
	struct { uint64_t at; int fd; } in_fd[VUSER_SOCK_FDS];	/* `at`: stream offset of a byte of its message */
	unsigned in_fds;
	/* output: [sent, out.len) is waiting */
	struct buf out;
	size_t sent;
	struct { size_t start, end; int fd; } out_fd[VUSER_SOCK_OUT_FDS]; /* one descriptor for each such message */
	unsigned out_fds;
};

/* Takes fd. 0 or -errno (fd is closed). */
int vuser_sock_init(struct vuser_sock *, int fd, uint32_t max_msg);
void vuser_sock_fini(struct vuser_sock *); /* closes the socket and every descriptor nobody took */

/* One read. Bytes; 0 at the end of the stream; -EAGAIN nothing there; -ENOBUFS the input is full of messages nobody has
 * read; -E2BIG too many descriptors; -errno. */
ssize_t vuser_sock_fill(struct vuser_sock *);
/* The message that starts at input offset `at`: 1; 0 not all of it is here; -EPROTO framing is lost. */
int vuser_sock_peek(struct vuser_sock *, size_t at, struct vuser_msg *);
/* Takes the descriptors that came with the message at input offset `at`: how many; those beyond max are closed and counted. */
unsigned vuser_sock_take_fds(struct vuser_sock *, size_t at, uint32_t size, int *fds, unsigned max);
void vuser_sock_consume(struct vuser_sock *, size_t upto); /* input offset before which all is done with */

/* Queues a message and returns where its payload goes (valid until the next call), NULL: out of memory. */
uint8_t *vuser_sock_put(struct vuser_sock *, uint16_t id, uint16_t cmd, uint32_t flags, uint32_t error, size_t payload);
/* The message put last travels with nfds descriptors (duplicated here). 0 or -errno; then the message is taken back. */
int vuser_sock_put_fds(struct vuser_sock *, const int *fds, unsigned nfds, size_t payload);
void vuser_sock_unput(struct vuser_sock *, size_t payload); /* takes back the message put last */
static inline size_t vuser_sock_waiting(const struct vuser_sock *s) { return s->out.len - s->sent; }
/* 0 all is sent, -EAGAIN the peer does not take more now, -errno the stream is dead. */
int vuser_sock_flush(struct vuser_sock *);

#endif
