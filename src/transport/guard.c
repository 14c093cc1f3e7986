#include "transport/guard.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CHUNK = 256, CHUNKS = 1024 };

/* base is written last and cleared first, so the handler never believes half a slot. */
struct slot {
	_Atomic uintptr_t base;
	_Atomic size_t len, page;
	_Atomic int prot;
	volatile sig_atomic_t *_Atomic lost;
};

/* Chunks are made under the lock, published whole and never freed: the handler walks them without one. */
static struct {
	pthread_mutex_t lock;
	struct slot *_Atomic chunk[CHUNKS];
	unsigned hint;	/* slots below are taken */
	bool installed;
	struct sigaction before;
} guard = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct slot *slot_at(unsigned i)
{
	struct slot *c = atomic_load_explicit(&guard.chunk[i / CHUNK], memory_order_acquire);

	return c ? &c[i % CHUNK] : NULL;
}

/* Only raw system calls from here on: it runs inside a signal. */
static bool patch(struct slot *s, uintptr_t addr)
{
	uintptr_t base = atomic_load(&s->base);
	size_t len = atomic_load(&s->len), page = atomic_load(&s->page);
	int prot = atomic_load(&s->prot);
	volatile sig_atomic_t *lost = atomic_load(&s->lost);
	uintptr_t at = addr & ~(page - 1);

	if (!base || addr - base >= len || atomic_load(&s->base) != base)
		return false;
	if (syscall(SYS_mmap, at, page, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == -1)
		return false;
	*lost = 1;
	return true;
}

static void chain(int sig, siginfo_t *info, void *uctx)
{
	if (guard.before.sa_flags & SA_SIGINFO) {
		guard.before.sa_sigaction(sig, info, uctx);
	} else if (guard.before.sa_handler != SIG_DFL && guard.before.sa_handler != SIG_IGN) {
		guard.before.sa_handler(sig);
	} else {
		struct sigaction dfl = { .sa_handler = SIG_DFL };

		sigaction(sig, &dfl, NULL);
		if (info->si_code <= 0)
			raise(sig); /* sent by somebody: nothing would fault again */
	}
}

static void on_sigbus(int sig, siginfo_t *info, void *uctx)
{
	int saved = errno;

	if (info->si_code > 0) {
		for (unsigned i = 0; i < CHUNK * CHUNKS; i++) {
			struct slot *s = slot_at(i);

			if (!s)
				break;
			if (patch(s, (uintptr_t)info->si_addr)) {
				errno = saved;
				return;
			}
		}
	}
	chain(sig, info, uctx);
	errno = saved;
}

static int install(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER }, now;

	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGBUS, NULL, &now))
		return -errno;
	guard.installed = true;
	if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_sigbus)
		return 0;
	guard.before = now;
	return sigaction(SIGBUS, &sa, NULL) ? -errno : 0;
}

int guard_install(void)
{
	int rc;

	pthread_mutex_lock(&guard.lock);
	rc = install();
	pthread_mutex_unlock(&guard.lock);
	return rc;
}

/* The hint is its number. */
static struct slot *free_slot(void)
{
	for (; guard.hint < CHUNK * CHUNKS; guard.hint++) {
		struct slot *s = slot_at(guard.hint);

		if (!s) {
			s = calloc(CHUNK, sizeof(*s));
			if (!s)
				return NULL;
			atomic_store_explicit(&guard.chunk[guard.hint / CHUNK], s, memory_order_release);
		}
		if (!atomic_load(&s->base))
			return s;
	}
	return NULL;
}

int guard_add_slot(void *ptr, size_t len, size_t page, int prot, volatile sig_atomic_t *lost, unsigned *slot)
{
	struct slot *s;
	int rc;

	pthread_mutex_lock(&guard.lock);
	rc = guard.installed ? 0 : install();
	s = rc ? NULL : free_slot();
	if (s) {
		atomic_store(&s->len, len);
		atomic_store(&s->page, page);
		atomic_store(&s->prot, prot);
		atomic_store(&s->lost, lost);
		atomic_store(&s->base, (uintptr_t)ptr);
		*slot = guard.hint;
	} else if (!rc) {
		rc = -ENOMEM;
	}
	pthread_mutex_unlock(&guard.lock);
	return rc;
}

int guard_add(void *ptr, size_t len, size_t page, int prot, volatile sig_atomic_t *lost)
{
	unsigned slot;

	return guard_add_slot(ptr, len, page, prot, lost, &slot);
}

void guard_del_slot(unsigned slot)
{
	pthread_mutex_lock(&guard.lock);
	atomic_store(&slot_at(slot)->base, 0);
	guard.hint = MIN(guard.hint, slot);
	pthread_mutex_unlock(&guard.lock);
}

void guard_del(void *ptr)
{
	pthread_mutex_lock(&guard.lock);
	for (unsigned i = 0; i < CHUNK * CHUNKS; i++) {
		struct slot *s = slot_at(i);

		if (!s)
			break;
		if (atomic_load(&s->base) == (uintptr_t)ptr) {
			atomic_store(&s->base, 0);
			guard.hint = MIN(guard.hint, i);
			break;
		}
	}
	pthread_mutex_unlock(&guard.lock);
}
