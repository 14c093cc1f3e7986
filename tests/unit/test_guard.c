/* The SIGBUS guard: guest memory that vanishes costs a page of zeroes, and everybody else's SIGBUS stays theirs. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "t.h"
#include "transport/guard.h"

static sigjmp_buf outside;
static volatile sig_atomic_t chained;

static void before(int sig)
{
	(void)sig;
	chained++;
	siglongjmp(outside, 1);
}

/* A program's own handler first, then the guard (cmocka puts its own there for each case). */
static void handlers(void)
{
	struct sigaction sa = { .sa_handler = before };

	chained = 0;
	EXPECT_EQ(sigaction(SIGBUS, &sa, NULL), 0);
	EXPECT_EQ(guard_install(), 0);
	EXPECT_EQ(guard_install(), 0); /* once more does not make it its own predecessor */
}

static volatile uint8_t *gone(size_t pages, int *fd) /* mapped, then cut off */
{
	uint8_t *p;

	handlers();
	*fd = memfd_create("gone", MFD_CLOEXEC);
	EXPECT_EQ(ftruncate(*fd, (off_t)pages * 4096), 0);
	p = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	EXPECT(p != MAP_FAILED);
	memset(p, 0xaa, pages * 4096);
	EXPECT_EQ(ftruncate(*fd, 4096), 0);
	return p;
}

/* A vanished page reads as zeroes, can be written, and is told; the page that is left is not touched. */
TEST(vanished_page)
{
	volatile sig_atomic_t lost = 0;
	int fd;
	volatile uint8_t *p = gone(4, &fd);

	EXPECT_EQ(guard_add((void *)(uintptr_t)p, 4 * 4096, 4096, PROT_READ | PROT_WRITE, &lost), 0);
	EXPECT_EQ(p[2 * 4096 + 77], 0);
	EXPECT_EQ(lost, 1);
	p[3 * 4096] = 5;
	EXPECT_EQ(p[3 * 4096], 5);
	EXPECT_EQ(p[0], 0xaa);
	EXPECT_EQ(chained, 0);
	guard_del((void *)(uintptr_t)p);
	munmap((void *)(uintptr_t)p, 4 * 4096);
	close(fd);
}

/* Each range has its own flag. */
TEST(own_flag)
{
	volatile sig_atomic_t lost[2] = { 0, 0 };
	int fd[2];
	volatile uint8_t *p[2] = { gone(2, &fd[0]), gone(2, &fd[1]) };

	for (int i = 0; i < 2; i++)
		EXPECT_EQ(guard_add((void *)(uintptr_t)p[i], 2 * 4096, 4096, PROT_READ | PROT_WRITE, &lost[i]), 0);
	EXPECT_EQ(p[1][8191], 0);
	EXPECT_EQ(lost[0], 0);
	EXPECT_EQ(lost[1], 1);
	for (int i = 0; i < 2; i++) {
		guard_del((void *)(uintptr_t)p[i]);
		munmap((void *)(uintptr_t)p[i], 2 * 4096);
		close(fd[i]);
	}
}

/* Outside every range, or behind guard_del, the signal goes to whoever had it before. */
TEST(chained_handler)
{
	volatile sig_atomic_t lost = 0;
	int fd;
	volatile uint8_t *p = gone(2, &fd);

	EXPECT_EQ(guard_add((void *)(uintptr_t)p, 2 * 4096, 4096, PROT_READ | PROT_WRITE, &lost), 0);
	guard_del((void *)(uintptr_t)p);
	if (!sigsetjmp(outside, 1))
		(void)p[4096];
	EXPECT_EQ(chained, 1);
	EXPECT_EQ(lost, 0);
	chained = 0;
	if (!sigsetjmp(outside, 1))
		raise(SIGBUS); /* nobody's address */
	EXPECT_EQ(chained, 1);
	munmap((void *)(uintptr_t)p, 2 * 4096);
	close(fd);
}

/* More ranges than one chunk of the table, freed in the middle, used again. */
TEST(many_ranges)
{
	enum { N = 700 };
	static volatile sig_atomic_t lost[N];
	int fd;
	volatile uint8_t *p = gone(N + 1, &fd);

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < N; i++)
			EXPECT_EQ(guard_add((void *)(uintptr_t)(p + (i + 1) * 4096), 4096, 4096, PROT_READ | PROT_WRITE, &lost[i]), 0);
		for (unsigned i = round; i < N; i += 2)
			EXPECT_EQ(p[(i + 1) * 4096 + 9], 0);
		for (unsigned i = 0; i < N; i++) {
			EXPECT_EQ(lost[i], round ? 1 : i % 2 == 0);
			guard_del((void *)(uintptr_t)(p + (i + 1) * 4096));
		}
	}
	munmap((void *)(uintptr_t)p, (N + 1) * 4096);
	close(fd);
}
