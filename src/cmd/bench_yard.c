/* The yardsticks: what this machine can do when nothing but the bare thing is done. Each runs for b->turn_ns. */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/bench.h"

enum { BLOCK = 4096, BUFS = 128, PIECE = 128 * 1024, PIECES = 16, LOOK_EVERY = 256 };

/* The copies must not be taken out by the compiler: somebody might look at them. */
static void looked_at(const void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }

double bench_yard_copy4k(struct bench *b)
{
	uint8_t *to = aligned_alloc(BLOCK, BUFS * BLOCK);
	uint64_t blocks = b->v->size / BLOCK, seed = 1, n = 0, begin, now;

	if (!to)
		return err_set(&b->err, -ENOMEM, "no memory"), -1;
	memset(to, 1, BUFS * BLOCK);
	bench_pin(b->cpu_device);
	for (begin = now = bench_now(); now - begin < b->turn_ns; now = bench_now())
		for (unsigned i = 0; i < LOOK_EVERY; i++, n++) {
			uint64_t at = (uint64_t)((unsigned __int128)bench_random(&seed) * blocks >> 64);

			memcpy(to + n % BUFS * BLOCK, b->plain + at * BLOCK, BLOCK);
			looked_at(to);
		}
	free(to);
	return (double)n * 1e9 / (double)(now - begin);
}

double bench_yard_memcpy(struct bench *b)
{
	uint8_t *to = aligned_alloc(BLOCK, PIECES * PIECE);
	uint64_t pieces = b->v->size / PIECE, n = 0, begin, now;

	if (!to)
		return err_set(&b->err, -ENOMEM, "no memory"), -1;
	memset(to, 1, PIECES * PIECE);
	bench_pin(b->cpu_device);
	for (begin = now = bench_now(); now - begin < b->turn_ns; now = bench_now())
		for (unsigned i = 0; i < PIECES; i++, n++) {
			memcpy(to + n % PIECES * PIECE, b->plain + n % pieces * PIECE, PIECE);
			looked_at(to);
		}
	free(to);
	return (double)n * PIECE * 1e9 / (double)(now - begin);
}

/* ---- ping-pong */

struct pong { _Alignas(128) atomic_uint ping; _Alignas(128) atomic_uint pong; atomic_bool stop; };

static void *pong_thread(void *arg)
{
	struct pong *p = arg;

	while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
		unsigned v = atomic_load_explicit(&p->ping, memory_order_acquire);

		atomic_store_explicit(&p->pong, v, memory_order_release);
	}
	return NULL;
}

double bench_yard_pingpong(struct bench *b)
{
	struct pong p = { 0 };
	uint64_t begin, now;
	unsigned n = 0;
	pthread_t t;

	bench_pin(b->cpu_host);
	if (bench_thread(b->cpu_device, &t, pong_thread, &p))
		return err_set(&b->err, -EAGAIN, "no second thread"), -1;
	for (atomic_store(&p.ping, ++n); atomic_load(&p.pong) != n;)
		sched_yield();
	n = 0;
	for (begin = now = bench_now(); now - begin < b->turn_ns; now = bench_now())
		for (unsigned i = 0; i < LOOK_EVERY; i++) {
			atomic_store_explicit(&p.ping, ++n + 1, memory_order_release);
			while (atomic_load_explicit(&p.pong, memory_order_acquire) != n + 1)
				;
		}
	atomic_store(&p.stop, true);
	pthread_join(t, NULL);
	return (double)(now - begin) / n;
}

/* ---- one TCP stream over loopback */

struct sink { int listener; uint64_t bytes; };

static void *sink_thread(void *arg)
{
	struct sink *s = arg;
	uint8_t *buf = malloc(PIECE * 8);
	int fd = accept(s->listener, NULL, NULL);
	ssize_t n;

	while (buf && fd >= 0 && (n = recv(fd, buf, PIECE * 8, 0)) > 0)
		s->bytes += (uint64_t)n;
	if (fd >= 0)
		close(fd);
	free(buf);
	return NULL;
}

static int listen_local(struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (fd >= 0 && !bind(fd, (void *)a, sizeof(*a)) && !listen(fd, 1) && !getsockname(fd, (void *)a, &len))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

double bench_yard_tcp(struct bench *b)
{
	struct sockaddr_in a;
	struct sink s = { .listener = listen_local(&a) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = -1;
	uint64_t begin = bench_now(), at = 0;
	pthread_t t;

	if (s.listener < 0 || fd < 0 || connect(fd, (void *)&a, sizeof(a)) || bench_thread(b->cpu_host, &t, sink_thread, &s))
		goto out;
	bench_pin(b->cpu_device);
	for (rc = 0; bench_now() - begin < b->turn_ns; at = (at + PIECE) % (b->v->size - PIECE))
		if (send(fd, b->plain + at, PIECE, MSG_NOSIGNAL) < 0)
			rc = -1;
	shutdown(fd, SHUT_WR);
	pthread_join(t, NULL);
	begin = bench_now() - begin;
out:
	if (fd >= 0)
		close(fd);
	if (s.listener >= 0)
		close(s.listener);
	return rc ? err_set(&b->err, -EIO, "no TCP over loopback here"), -1 : (double)s.bytes * 1e9 / (double)begin;
}
