/* `ferry verify stress`: `ferry verify run` over and over, each seed in a process of its own, so that a crash is a finding like others and
 * the line that is printed for a finding is exactly what ran. Everything ends in one store, folded by signature (verify/signature.h).
 */
#include "cmd/verify_stress.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "verify/store_bucket.h"
#include "verify/vt.h"

struct stress_vals {
	const char *socket, *id, *store;
	uint64_t seed, rounds, how_long, timeout, mcs;
	bool has_seed, verbose;
};
_Static_assert(sizeof(struct stress_vals) <= COMMAND_VALS_MAX, "values fit");
#define S struct stress_vals
const struct opt verify_stress_opts[] = {
	OPT(S, socket, "socket", 's', OPT_STR, "LIST", "vfio-user sockets of the controllers; without: ferry's own device in this process"),
	OPT(S, how_long, "for", 0, OPT_TIME, "TIME", "for so long", .dflt = "600s"),
	OPT(S, rounds, "rounds", 'n', OPT_NUM, "N", "at most so many seeds; 0: as many as there is time for", .dflt = "0"),
	OPT(S, seed, "seed", 0, OPT_NUM, "N", "the first one; else one is chosen and printed", .has = offsetof(S, has_seed)),
	OPT(S, id, "id", 'i', OPT_STR, "LIST", "which tests", .dflt = "RN-04"),
	OPT(S, timeout, "timeout", 0, OPT_TIME, "TIME", "how long a command may take", .dflt = "20s"),
	OPT(S, mcs, "mcs", 0, OPT_NUM, "N", "in process: migratable controllers", .dflt = "3"),
	OPT(S, store, "store", 0, OPT_STR, "FILE", "SQLite file the failures are kept in (ferry verify failures); else for this time only"),
	OPT(S, verbose, "verbose", 'v', OPT_FLAG, NULL, "a line per seed"),
	OPT_END
};
#undef S
const char verify_stress_about[] =
	"Random migration commands and I/O on all controllers at once, with faults at every hook: commands, doorbells, fetches, data and\n"
	"completions lost, late, doubled, falsified or out of order, resets, clients that go away and come back. What a fault hides is unknown,\n"
	"everything else is judged, and at the end of each seed every block of every namespace is compared. In process the same seed is the same\n"
	"run, every fourth seed with memory that is shared instead of reached by message. Failures are told once, however many seeds meet\n"
	"them; code 1 if there was one. Resets every controller and overwrites namespaces.";

/* ---- frames of a crash */

static void on_crash(int sig)
{
	static const char word[] = "ferry: frame ";
	void *frame[32];
	int n = backtrace(frame, ARRAY_LEN(frame));

	for (int i = 2; i < n; i++) { /* behind this function and the kernel's trampoline */
		ssize_t rc = write(STDERR_FILENO, word, sizeof(word) - 1);

		(void)rc;
		backtrace_symbols_fd(&frame[i], 1, STDERR_FILENO);
	}
	signal(sig, SIG_DFL);
	raise(sig);
}

void verify_crash_frames(void)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
	struct sigaction old, sa = { .sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND };
	void *warm[1];

	backtrace(warm, 1); /* loads its library now, not in the handler */
	for (unsigned i = 0; i < ARRAY_LEN(fatal); i++)
		if (!sigaction(fatal[i], NULL, &old) && old.sa_handler == SIG_DFL)
			sigaction(fatal[i], &sa, NULL);
}

/* ---- one seed */

enum { ARGS = 24, KEEP = 65536 };
struct child { const char *argv[ARGS]; unsigned n; char seed[24], mcs[24], timeout[32], store[200]; };

static void arg(struct child *c, const char *a) { c->argv[c->n++] = a; }

static void arguments(struct child *c, const struct stress_vals *v, uint64_t seed, const char *store)
{
	snprintf(c->seed, sizeof(c->seed), "%" PRIu64, seed);
	snprintf(c->mcs, sizeof(c->mcs), "%" PRIu64, v->mcs);
	snprintf(c->timeout, sizeof(c->timeout), "%" PRIu64 "ms", v->timeout / 1000000);
	snprintf(c->store, sizeof(c->store), "%s", store);
	for (unsigned i = 0; i < 3; i++)
		arg(c, ((const char *const[]){ "ferry", "verify", "run" })[i]);
	arg(c, "--seed"), arg(c, c->seed);
	arg(c, "--id"), arg(c, v->id);
	arg(c, "--timeout"), arg(c, c->timeout);
	if (v->socket) {
		arg(c, "--socket"), arg(c, v->socket);
	} else {
		arg(c, "--backend"), arg(c, "inprocess"), arg(c, "--mcs"), arg(c, c->mcs);
		if (seed % 4)
			arg(c, "--by-message");
	}
	arg(c, "--store"), arg(c, c->store);
}

/* Everything the child says, the end of it if that is long. */
static void listen_to(int fd, struct buf *said)
{
	char part[4096];
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) > 0 || (n < 0 && errno == EINTR)) {
		if (n > 0)
			buf_add(said, part, (size_t)n);
		if (said->len > 2 * KEEP)
			buf_drop_front(said, said->len - KEEP);
	}
	buf_add(said, "", 1);
}

/* Its exit status, or -errno. */
static int run_child(struct child *c, struct buf *said)
{
	int fd[2], status = 0;
	pid_t pid;

	c->argv[c->n] = NULL;
	if (pipe2(fd, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		close(fd[0]);
		close(fd[1]);
		return -errno;
	}
	if (!pid) {
		dup2(fd[1], STDOUT_FILENO);
		dup2(fd[1], STDERR_FILENO);
		execv("/proc/self/exe", (char **)(uintptr_t)c->argv);
		_exit(127);
	}
	close(fd[1]);
	listen_to(fd[0], said);
	close(fd[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void print_line(const struct child *c)
{
	printf("  again: ferry verify replay");
	for (unsigned i = 3; i + 2 < c->n; i++)
		printf(" %s", c->argv[i]);
	printf("\n");
}

/* What a process that died could not write down itself. */
static int note_crash(const struct stress_vals *v, uint64_t seed, int status, const struct buf *said, const char *store, struct err *err)
{
	const char *text = said->data ? (const char *)said->data : "";
	char sig[SIG_MAX];

	sig_crash(v->id, WIFSIGNALED(status) ? WTERMSIG(status) : 0, text, sig);
	printf("seed %" PRIu64 ": %s\n", seed, sig);
	return store_failure(store, sig, seed, sig, err);
}

/* 0 it passed, 1 a finding was kept, -errno: it could not even be tried. */
static int one_seed(const struct stress_vals *v, uint64_t seed, const char *store, struct err *err)
{
	struct child c = { .n = 0 };
	struct buf said = { 0 };
	int status, rc = 0;

	arguments(&c, v, seed, store);
	status = run_child(&c, &said);
	if (status < 0)
		rc = err_set(err, status, "no process for seed %" PRIu64 ": %s", seed, strerror(-status));
	else if (WIFEXITED(status) && (WEXITSTATUS(status) == EXIT_FERRY_USAGE || WEXITSTATUS(status) == 127))
		rc = err_set(err, -EINVAL, "seed %" PRIu64 " could not be run: %.300s", seed, said.data ? (const char *)said.data : "");
	else if (!WIFEXITED(status) || WEXITSTATUS(status) > EXIT_FERRY_FAILED)
		rc = note_crash(v, seed, status, &said, store, err) ? -EIO : 1;
	else
		rc = WEXITSTATUS(status);
	if (rc == 1 && WIFEXITED(status) && said.data)
		printf("%s", (const char *)said.data);
	if (rc == 1)
		print_line(&c);
	else if (!rc && v->verbose)
		printf("seed %" PRIu64 ": passed\n", seed);
	fflush(stdout);
	buf_fini(&said);
	return rc;
}

/* ---- all of them */

static void print_bucket(void *ctx, const struct bucket *b)
{
	(void)ctx;
	printf("%5" PRIu64 " times, %s to %s, shortest with seed %" PRIu64 ": %s\n      %s\n", b->count, b->first_seen, b->last_seen, b->seed, b->sig, b->why);
}

int cmd_verify_failures(const struct command *self, void *vals, int argc, char **argv)
{
	struct err err = { "" };
	int n = store_buckets(argv[0], print_bucket, NULL, &err);

	(void)self, (void)vals, (void)argc;
	if (n < 0) {
		fprintf(stderr, "ferry: %s\n", err.text);
		return EXIT_FERRY_FAILED;
	}
	printf("%d defects\n", n);
	return n ? EXIT_FERRY_FAILED : EXIT_FERRY_OK;
}

static void forget_store(const char *path)
{
	char other[220];

	unlink(path);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(other, sizeof(other), "%s%s", path, ((const char *const[]){ "-journal", "-wal", "-shm" })[i]);
		unlink(other);
	}
}

static int stress(const struct stress_vals *v, const char *store)
{
	uint64_t until = vt_now_ns() + v->how_long, first = v->has_seed ? v->seed : vt_now_ns() % 1000000007, n = 0, bad = 0;
	struct err err = { "" };
	int rc = 0;

	printf("ferry verify stress: %s, from seed %" PRIu64 "\n", v->socket ? v->socket : "ferry's own device", first);
	fflush(stdout);
	do {
		rc = one_seed(v, first + n, store, &err);
		n++;
		bad += rc > 0;
	} while (rc >= 0 && vt_now_ns() < until && (!v->rounds || n < v->rounds));
	if (rc < 0)
		fprintf(stderr, "ferry: %s\n", err.text);
	if (bad)
		store_buckets(store, print_bucket, NULL, &err);
	printf("%" PRIu64 " seeds, the last %" PRIu64 ": %" PRIu64 " passed, %" PRIu64 " failed\n", n, first + n - 1, n - bad - (rc < 0), bad);
	return rc < 0 ? EXIT_FERRY_USAGE : bad ? EXIT_FERRY_FAILED : EXIT_FERRY_OK;
}

int cmd_verify_stress(const struct command *self, void *vals, int argc, char **argv)
{
	const struct stress_vals *v = vals;
	char own[] = "/tmp/ferry-stress-XXXXXX";
	int fd, code;

	(void)self, (void)argc, (void)argv;
	if (v->store)
		return stress(v, v->store);
	fd = mkstemp(own);
	if (fd < 0) {
		fprintf(stderr, "ferry: no temporary file: %s\n", strerror(errno));
		return EXIT_FERRY_FAILED;
	}
	close(fd);
	code = stress(v, own);
	forget_store(own);
	return code;
}
