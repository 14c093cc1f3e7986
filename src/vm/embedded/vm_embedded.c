/* vm_ops over a guest process. The process is not trusted: sizes come from its descriptors, which must be sealed against
 * shrinking (or its later truncating them would kill us), words are read once, and its end is noticed at the socket.
 */
#include "vm/embedded/vm_embedded.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

struct vm_embedded {
	struct vm vm;
	struct sockaddr_un addr;
	int sock;
	uint8_t *mem;
	uint64_t mem_bytes, ctl_bytes;
	struct guest_control *ctl;
};

static struct vm_embedded *of(struct vm *v) { return (struct vm_embedded *)v; }

static void hang_up(struct vm_embedded *e)
{
	if (e->mem)
		munmap(e->mem, e->mem_bytes);
	if (e->ctl)
		munmap(e->ctl, e->ctl_bytes);
	if (e->sock >= 0)
		close(e->sock);
	e->mem = NULL;
	e->ctl = NULL;
	e->sock = -1;
}

/* ---- open */

static int dial(struct vm_embedded *e, struct err *err)
{
	int rc;

	e->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (e->sock < 0)
		return err_set(err, -errno, "no socket for a guest");
	if (!connect(e->sock, (struct sockaddr *)&e->addr, sizeof(e->addr)))
		return 0;
	rc = -errno;
	hang_up(e);
	if (rc == -EAGAIN) /* its backlog is full */
		return rc;
	return err_set(err, rc, "no guest answers at %s: is its process running?", e->addr.sun_path);
}

/* Descriptors that came with the message; -1 where none did. More than two are closed at once. */
static void take_fds(struct msghdr *m, int fd[2])
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		unsigned n = c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS ? (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;

		for (unsigned i = 0; i < n; i++) {
			int got, at = fd[0] < 0 ? 0 : fd[1] < 0 ? 1 : -1;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (at >= 0)
				fd[at] = got;
			else
				close(got);
		}
	}
}

static void *map_sealed(int fd, uint64_t bytes)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *p;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) || st.st_size < 0 || (uint64_t)st.st_size < bytes)
		return NULL;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static int understand(struct vm_embedded *e, const struct guest_hello *h, const int fd[2], struct err *err)
{
	const char *path = e->addr.sun_path;

	if (h->magic != GUEST_CONTROL_MAGIC || h->version != GUEST_CONTROL_VERSION)
		return err_set(err, -EPROTO, "what answers at %s is not a guest of this version", path);
	if (!h->mem_bytes || h->mem_bytes % VM_PAGE || h->mem_bytes > 1ull << 46 || h->control_bytes != guest_control_bytes(h->mem_bytes))
		return err_set(err, -EPROTO, "the guest at %s claims impossible sizes", path);
	e->mem_bytes = h->mem_bytes;
	e->ctl_bytes = h->control_bytes;
	e->mem = map_sealed(fd[0], e->mem_bytes);
	e->ctl = map_sealed(fd[1], e->ctl_bytes);
	if (!e->mem || !e->ctl)
		return err_set(err, -EPROTO, "the guest at %s gave memory that is smaller than it says, or not sealed", path);
	return 0;
}

static int hear_hello(struct vm_embedded *e, struct err *err)
{
	struct guest_hello hello;
	union { struct cmsghdr c; char b[CMSG_SPACE(4 * sizeof(int))]; } u;
	struct iovec v = { &hello, sizeof(hello) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = sizeof(u.b) };
	int fd[2] = { -1, -1 }, rc;
	ssize_t n = recvmsg(e->sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (n > 0)
		take_fds(&m, fd);
	if (n != sizeof(hello) || fd[1] < 0)
		rc = err_set(err, -EPROTO, "the guest at %s did not say what it is", e->addr.sun_path);
	else
		rc = understand(e, &hello, fd, err);
	for (int i = 0; i < 2; i++)
		if (fd[i] >= 0)
			close(fd[i]); /* the mapping keeps the memory */
	return rc;
}

static int vm_open(struct vm *v, struct vm_info *info, struct err *err)
{
	struct vm_embedded *e = of(v);
	int rc = 0;

	if (!e->ctl) {
		if (e->sock < 0)
			rc = dial(e, err);
		if (!rc)
			rc = hear_hello(e, err);
		if (rc == -EAGAIN)
			return rc;
		if (rc) {
			hang_up(e);
			return rc;
		}
	}
	*info = (struct vm_info){ .kind = "embedded", .moves_memory = true, .ranges = 1, .range = { { 0, e->mem_bytes } } };
	return 0;
}

static int vm_alive(struct vm *v, struct err *err)
{
	struct vm_embedded *e = of(v);
	ssize_t n;
	char x;

	if (!e->ctl)
		return err_set(err, -ENODEV, "the guest at %s is not connected", e->addr.sun_path);
	n = recv(e->sock, &x, 1, MSG_DONTWAIT | MSG_PEEK);
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return 0;
	return err_set(err, -ENODEV, "the guest's process at %s is gone", e->addr.sun_path);
}

/* ---- memory and its log */

static void *vm_mem(struct vm *v, uint64_t gpa, uint64_t len)
{
	struct vm_embedded *e = of(v);

	return e->mem && range_inside(gpa, len, e->mem_bytes) ? e->mem + gpa : NULL;
}

/* The guest always marks (guest.h); starting means forgetting what was marked before, because everything is copied now. */
static int vm_track(struct vm *v, bool on)
{
	struct vm_embedded *e = of(v);
	uint64_t *bits;

	if (!e->ctl)
		return -ENODEV;
	bits = guest_control_dirty(e->ctl);
	for (uint64_t i = 0; on && i < (e->mem_bytes / VM_PAGE + 63) / 64; i++)
		__atomic_exchange_n(&bits[i], 0, __ATOMIC_SEQ_CST);
	return 0;
}

/* Takes the marks of the first run at or behind page `at` out of its word; pages in *n, 0 if that word has none. */
static uint64_t take_run(uint64_t *bits, uint64_t at, uint64_t pages, uint64_t *first)
{
	uint64_t base = at / 64 * 64, word = __atomic_load_n(&bits[at / 64], __ATOMIC_SEQ_CST) & ~0ull << at % 64, run, mask;
	unsigned lo;

	if (pages - base < 64)
		word &= (1ull << (pages - base)) - 1; /* bits behind the end are not pages, whoever set them */
	if (!word)
		return 0;
	lo = (unsigned)__builtin_ctzll(word);
	run = ~(word >> lo) ? (uint64_t)__builtin_ctzll(~(word >> lo)) : 64;
	run = MIN(run, 64ull - lo);
	mask = (run == 64 ? ~0ull : (1ull << run) - 1) << lo;
	__atomic_fetch_and(&bits[at / 64], ~mask, __ATOMIC_SEQ_CST); /* before the pages are copied */
	*first = base + lo;
	return run;
}

static int vm_dirty_next(struct vm *v, uint64_t *cursor, uint64_t *gpa, uint64_t *bytes)
{
	struct vm_embedded *e = of(v);
	uint64_t pages = e->mem_bytes / VM_PAGE, at = *cursor, first = 0, n = 0, more, next;

	if (!e->ctl)
		return -ENODEV;
	for (; at < pages && !(n = take_run(guest_control_dirty(e->ctl), at, pages, &first)); at = at / 64 * 64 + 64)
		;
	if (!n) {
		*cursor = 0;
		return -ENOENT;
	}
	/* A run may go on in the next word. */
	while ((first + n) % 64 == 0 && first + n < pages) {
		if (!(__atomic_load_n(&guest_control_dirty(e->ctl)[(first + n) / 64], __ATOMIC_SEQ_CST) & 1))
			break;
		more = take_run(guest_control_dirty(e->ctl), first + n, pages, &next);
		if (!more)
			break;
		n += more;
	}
	*gpa = first * VM_PAGE;
	*bytes = n * VM_PAGE;
	*cursor = first + n;
	return 0;
}

/* ---- processors */

static void say(struct vm_embedded *e, uint32_t want)
{
	if (__atomic_exchange_n(&e->ctl->want, want, __ATOMIC_SEQ_CST) != want)
		syscall(SYS_futex, &e->ctl->want, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int vm_pause(struct vm *v, struct err *err)
{
	struct vm_embedded *e = of(v);
	uint32_t is;

	if (vm_alive(v, err))
		return -ENODEV;
	say(e, GUEST_WANT_PAUSE);
	is = __atomic_load_n(&e->ctl->is, __ATOMIC_SEQ_CST);
	return is == GUEST_IS_PAUSED || is == GUEST_IS_INCOMING ? 0 : -EAGAIN;
}

static int vm_resume(struct vm *v, struct err *err)
{
	struct vm_embedded *e = of(v);
	uint32_t is;

	if (vm_alive(v, err))
		return -ENODEV;
	say(e, GUEST_WANT_RUN);
	is = __atomic_load_n(&e->ctl->is, __ATOMIC_SEQ_CST);
	if (is == GUEST_IS_PAUSED || is == GUEST_IS_INCOMING)
		return -EAGAIN;
	if (is == GUEST_IS_FAILED)
		return err_set(err, -EIO, "the guest at %s cannot run: %.127s", e->addr.sun_path, e->ctl->why);
	return is == GUEST_IS_GONE ? err_set(err, -ENODEV, "the guest at %s has ended", e->addr.sun_path) : 0;
}

static int vm_discard(struct vm *v)
{
	struct vm_embedded *e = of(v);

	if (!e->ctl)
		return -ENODEV;
	/* One that waits with empty memory is not the guest that went: somebody has started it for the way back. */
	if (__atomic_load_n(&e->ctl->is, __ATOMIC_SEQ_CST) == GUEST_IS_INCOMING)
		return 0;
	say(e, GUEST_WANT_QUIT);
	return 0;
}

static void vm_close(struct vm *v)
{
	hang_up(of(v));
	free(of(v));
}

static const struct vm_ops ops = {
	.open = vm_open, .mem = vm_mem, .track = vm_track, .dirty_next = vm_dirty_next, .pause = vm_pause, .resume = vm_resume,
	.discard = vm_discard, .alive = vm_alive, .close = vm_close,
};

int vm_embedded_stats(struct vm *v, struct guest_stats *out, uint32_t *is)
{
	struct vm_embedded *e = of(v);
	uint32_t seq;

	if (!e->ctl)
		return -ENODEV;
	seq = __atomic_load_n(&e->ctl->stats_seq, __ATOMIC_ACQUIRE);
	memcpy(out, &e->ctl->stats, sizeof(*out));
	*is = __atomic_load_n(&e->ctl->is, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return seq & 1 || __atomic_load_n(&e->ctl->stats_seq, __ATOMIC_RELAXED) != seq ? -EAGAIN : 0;
}

struct vm *vm_embedded_new(const char *path, struct err *err)
{
	struct vm_embedded *e = calloc(1, sizeof(*e));

	if (!e) {
		err_set(err, -ENOMEM, "no memory for a guest's handle");
		return NULL;
	}
	e->vm.ops = &ops;
	e->sock = -1;
	e->addr.sun_family = AF_UNIX;
	if (snprintf(e->addr.sun_path, sizeof(e->addr.sun_path), "%s", path) >= (int)sizeof(e->addr.sun_path)) {
		err_set(err, -ENAMETOOLONG, "%s: the path of a socket may have %zu bytes", path, sizeof(e->addr.sun_path) - 1);
		free(e);
		return NULL;
	}
	return &e->vm;
}
