/* The outside world, as the core sees it: time, chance, byte streams to a peer, small durable records.
 *
 * Two suppliers: env/linux (real) and env/sim (one thread, one seed). device/, migrate/, host/ and vm/embedded
 * take everything from here and nothing from libc's world (design rule 7). All calls are made from the thread that
 * polls the caller; none blocks, except rec_store, which returns only when the record is durable.
 */
#ifndef FERRY_ENV_ENV_H
#define FERRY_ENV_ENV_H

#include <sys/types.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "base/err.h"

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

struct env_conn;

struct env {
	const struct env_ops *ops;
};

struct env_ops {
	/* Monotonic, ns. On one machine all processes read the same clock. */
	uint64_t (*now_ns)(struct env *);
	/* Unpredictable (real) or seeded (simulated) bytes. */
	void (*random)(struct env *, void *p, size_t len);
	/* Starts a stream to a peer ("unix:PATH" or "tcp:HOST:PORT"). The stream may be used at once; a failure to
	 * connect shows as an error of send/recv. Returns NULL with a sentence only for an address nobody could use. */
	struct env_conn *(*connect)(struct env *, const char *addr, struct err *);
	/* Replaces the record `name` (letters, digits, '-', '_', '.'), whole or not at all, durable on return.
	 * 0 or -errno; after an error the old or the new record is there, never a mixture. */
	int (*rec_store)(struct env *, const char *name, const void *p, size_t len);
	/* Reads it: bytes read (at most cap), -ENOENT if there is none, -errno. */
	ssize_t (*rec_load)(struct env *, const char *name, void *p, size_t cap);
};

static inline uint64_t env_now_ns(struct env *e) { return e->ops->now_ns(e); }
static inline void env_random(struct env *e, void *p, size_t len) { e->ops->random(e, p, len); }
static inline struct env_conn *env_connect(struct env *e, const char *addr, struct err *err)
{
	return e->ops->connect(e, addr, err);
}
static inline int env_rec_store(struct env *e, const char *name, const void *p, size_t len)
{
	return e->ops->rec_store(e, name, p, len);
}
static inline ssize_t env_rec_load(struct env *e, const char *name, void *p, size_t cap)
{
	return e->ops->rec_load(e, name, p, cap);
}

/* A byte stream to one peer, ordered, both ways. Owned by whoever connected or accepted it. */
struct env_conn {
	const struct env_conn_ops *ops;
};

struct env_conn_ops {
	/* Bytes taken (may be fewer than offered), -EAGAIN when nothing fits now, -errno when the stream is dead. */
	ssize_t (*send)(struct env_conn *, const struct iovec *, int n);
	/* Bytes read, 0 at the peer's orderly end, -EAGAIN when nothing is there, -errno when the stream is dead. */
	ssize_t (*recv)(struct env_conn *, void *p, size_t cap);
	void (*close)(struct env_conn *); /* frees it */
};

static inline ssize_t env_conn_send(struct env_conn *c, const struct iovec *v, int n) { return c->ops->send(c, v, n); }
static inline ssize_t env_conn_recv(struct env_conn *c, void *p, size_t cap) { return c->ops->recv(c, p, cap); }
static inline void env_conn_close(struct env_conn *c) { c->ops->close(c); }

#endif
