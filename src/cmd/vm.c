/* `ferry vm`: QEMU's command line for a guest of ours, printed or run.
 *
 * Everything comes from the guest's section of the configuration, so that the lines of two servers agree where they must, and a
 * person needs to know nothing of what QEMU wants for a vfio-user device: shared memory, JSON, monitors that are ours alone.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "cmd/config.h"

enum { ARGS_MAX = 256, TEXT_BYTES = 16384 };

struct vm_vals {
	const char *config;
	bool incoming, print;
	uint64_t wait;
};
_Static_assert(sizeof(struct vm_vals) <= COMMAND_VALS_MAX, "values fit");
#define T struct vm_vals
static const struct opt vm_run_opts[] = {
	OPT(T, config, "config", 'c', OPT_STR, "FILE", "the server's configuration file", .needed = true),
	OPT(T, incoming, "incoming", 'i', OPT_FLAG, NULL, "be the VM that waits for a move: wait for the guest's socket, start stopped"),
	OPT(T, wait, "wait", 'w', OPT_TIME, "TIME", "how long to wait for the guest's socket; 0: for ever", .dflt = "30s"),
	OPT(T, print, "print", 'p', OPT_FLAG, NULL, "print the command line instead of running it"),
	OPT_END
};
#undef T

struct line {			/* a command line being made; texts live in `text` */
	char *arg[ARGS_MAX + 1];
	unsigned n;
	char text[TEXT_BYTES];
	size_t used;
	bool full;
};

static void add(struct line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int k;

	va_start(ap, fmt);
	k = vsnprintf(l->text + l->used, sizeof(l->text) - l->used, fmt, ap);
	va_end(ap);
	if (l->n == ARGS_MAX || k < 0 || l->used + (size_t)k + 1 > sizeof(l->text)) {
		l->full = true;
		return;
	}
	l->arg[l->n++] = l->text + l->used;
	l->arg[l->n] = NULL;
	l->used += (size_t)k + 1;
}

/* Words separated by blanks; no quoting: what needs it goes behind `--` or into a script. */
static void add_words(struct line *l, const char *words)
{
	while (*words) {
		size_t k = strcspn(words, " \t");

		if (k)
			add(l, "%.*s", (int)k, words);
		words += k + strspn(words + k, " \t");
	}
}

/* A JSON string may hold anything but these two; a socket path with them is refused before (config.c takes any path). */
static bool plain(const char *path)
{
	for (; *path; path++)
		if (*path == '"' || *path == '\\' || *path == ',' || (unsigned char)*path < 0x20)
			return false;
	return true;
}

static void build(struct line *l, const struct cfg_guest *g, bool incoming, int argc, char **argv)
{
	unsigned long long mib = g->memory >> 20;

	add_words(l, g->qemu);
	add(l, "-name");
	add(l, "%s", g->name);
	add(l, "-machine");
	add(l, "%s,memory-backend=ferry-mem", g->machine);
	add(l, "-accel");
	add(l, "kvm");
	add(l, "-accel");
	add(l, "tcg");
	add(l, "-m");
	add(l, "%lluM", mib);
	add(l, "-smp");
	add(l, "%llu", (unsigned long long)g->cpus);
	add(l, "-object");	/* shared, so that the server reaches it through descriptors instead of messages */
	add(l, "memory-backend-memfd,id=ferry-mem,size=%lluM,share=on", mib);
	add(l, "-device");	/* `socket` is a structured property: only the JSON form takes it. The fixed place is part of what must agree. */
	add(l, "{\"driver\":\"vfio-user-pci\",\"id\":\"ferry0\",\"addr\":\"10.0\",\"socket\":{\"type\":\"unix\",\"path\":\"%s\"}%s}", g->socket,
	    g->boot ? ",\"bootindex\":0" : "");
	add(l, "-qmp");
	add(l, "unix:%s,server=on,wait=off", g->vm);
	add(l, "-qtest");
	add(l, "unix:%s.qtest,server=on,wait=off", g->vm);
	add(l, "-qtest-log");
	add(l, "none");
	if (incoming) {
		add(l, "-S");
		add(l, "-incoming");
		add(l, "defer");
	}
	add_words(l, g->qemu_args);
	for (int i = 0; i < argc; i++)
		add(l, "%s", argv[i]);
}

static void print_line(const struct line *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		const char *a = l->arg[i];
		bool quote = !*a || strpbrk(a, " \t\"'\\$`*?{}()<>|&;!#~") != NULL;

		printf("%s%s", i ? " " : "", quote ? "'" : "");
		for (; *a; a++)
			printf(*a == '\'' ? "'\\''" : "%c", *a);
		printf("%s", quote ? "'" : "");
	}
	printf("\n");
}

/* Somebody listens there: asked by a connection that is closed at once would look like a client to the server, so only the file and
 * the kernel's word on it are looked at. */
static bool socket_there(const char *path) { return access(path, F_OK) == 0; }

static int wait_socket(const struct cfg_guest *g, uint64_t limit_ns)
{
	struct timespec nap = { .tv_nsec = 20000000 };
	uint64_t waited = 0;

	while (!socket_there(g->socket)) {
		if (limit_ns && waited >= limit_ns) {
			fprintf(stderr, "ferry: vm run: no controller waits at %s: is the server up, and is a move of %s to here under way?\n",
				g->socket, g->name);
			return -ETIMEDOUT;
		}
		nanosleep(&nap, NULL);
		waited += (uint64_t)nap.tv_nsec;
	}
	return 0;
}

static int judge(const struct cfg_guest *g, const char *name, const char *file)
{
	if (!g)
		fprintf(stderr, "ferry: vm run: %s has no [guest %s]\n", file, name);
	else if (g->vm_kind != CFG_VM_QEMU)
		fprintf(stderr, "ferry: vm run: guest %s is not a QEMU guest: put vm=qemu:/PATH/OF/QMP/SOCKET into its section of %s\n", name, file);
	else if (!plain(g->socket) || !plain(g->vm))
		fprintf(stderr, "ferry: vm run: guest %s: QEMU cannot be told paths with commas, quotes or backslashes (%s, %s)\n", name, g->socket,
			g->vm);
	else
		return 0;
	return -EINVAL;
}

static int cmd_vm_run(const struct command *self, void *vals, int argc, char **argv)
{
	static struct config cfg;
	static struct line line;
	struct vm_vals *v = vals;
	const struct cfg_guest *g;
	struct err err = { "" };

	(void)self;
	if (config_load(&cfg, v->config, &err)) {
		fprintf(stderr, "ferry: vm run: %s\n", err.text);
		return EXIT_FERRY_USAGE;
	}
	g = config_guest(&cfg, argv[0]);
	if (judge(g, argv[0], v->config))
		return EXIT_FERRY_USAGE;
	build(&line, g, v->incoming, argc - 1, argv + 1);
	if (line.full) {
		fprintf(stderr, "ferry: vm run: more than %d arguments or %d characters\n", ARGS_MAX, TEXT_BYTES);
		return EXIT_FERRY_USAGE;
	}
	if (v->print)
		return print_line(&line), EXIT_FERRY_OK;
	if (wait_socket(g, v->wait))
		return EXIT_FERRY_UNREACHABLE;
	execvp(line.arg[0], line.arg);
	fprintf(stderr, "ferry: vm run: cannot run %s: %s\n", line.arg[0], strerror(errno));
	return EXIT_FERRY_FAILED;
}

static const char about_run[] =
	"Starts QEMU (11.1 or newer) for a guest whose section of the configuration has vm=qemu:PATH: shared memory, the guest's controller\n"
	"at slot 10h, and two monitors for the server that moves it (PATH and PATH.qtest). With --incoming it waits until a move has made\n"
	"the guest's socket here, and starts stopped. What stands behind the name goes to QEMU as it is; put -- before it. The machine, memory,\n"
	"processors and further devices must be the same on both servers.";
const struct command vm_commands[] = {
	{ "run", "GUEST [-- QEMU-ARGUMENTS]", "start QEMU for a guest, or print its command line", about_run, vm_run_opts, 1, ARGS_MAX, cmd_vm_run },
	{ .name = NULL }
};
