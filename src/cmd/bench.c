/* `ferry bench`: how fast this is on this machine, as ratios to what the machine itself can do. bench.h says how.
 *
 * The rows and their goals are one table. A row that cannot be measured says why; nothing is asserted here: a
 * goal that is missed on a busy machine is no error.
 */
#include "cmd/bench_rig.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cli.h"

#define T struct bench_vals
_Static_assert(sizeof(T) <= COMMAND_VALS_MAX, "values fit");
const struct opt bench_opts[] = {
	OPT(T, only, "only", 'o', OPT_STR, "NAME", "only the rows whose name begins so"),
	OPT(T, seconds, "seconds", 's', OPT_TIME, "TIME", "how long to measure each row, yardstick included", .dflt = "1s"),
	OPT(T, size, "size", 0, OPT_BYTES, "BYTES", "namespace of the data path rows; less if memory is short", .dflt = "1G"),
	OPT(T, moves, "moves", 'm', OPT_NUM, "N", "moves of the guest for the rows about the gap", .dflt = "10"),
	OPT(T, json, "json", 'j', OPT_FLAG, NULL, "one JSON object per row"),
	OPT(T, list, "list", 'l', OPT_FLAG, NULL, "only say which rows there are"),
	OPT_END
};
#undef T

#define COPY "bare copy of random 4 KiB blocks"
static const struct bench_row rows[] = {
	{ "read-4k", "4 KiB random reads, QD 128, RAM", "/s", COPY, BENCH_AT_LEAST, 0.60, 0, bench_read4k },
	{ "write-4k", "4 KiB random writes, QD 128, RAM", "/s", COPY, BENCH_AT_LEAST, 0.50, 0, bench_write4k },
	{ "rate-512", "512 B random reads, QD 128, RAM", "/s", "the 4 KiB rate", BENCH_AT_LEAST, 1.7, 0, bench_rate512 },
	{ "latency", "4 KiB read, QD 1, both sides polling", "ns", "shared-memory ping-pong", BENCH_AT_MOST, 3.5, 1500, bench_latency },
	{ "null", "commands, QD 128, null backend", "/s", NULL, BENCH_AT_LEAST, 5.5e6, 0, bench_null },
	{ "sequential", "128 KiB sequential reads, QD 16", "B/s", "memcpy of 128 KiB", BENCH_AT_LEAST, 0.85, 0, bench_sequential },
	{ "cycles", "cycles per 4 KiB read in the server", "", NULL, BENCH_AT_MOST, 1500, 0, bench_cycles },
	{ "tracking", "4 KiB mixed, logged and tracked", "/s", "neither", BENCH_AT_LEAST, 0.97, 0, bench_tracking },
	{ "state-bytes", "state image, 64 queue pairs", "B", NULL, BENCH_AT_MOST, 65536, 0, bench_state_bytes },
	{ "state-time", "Get or Set Controller State, 64 queue pairs", "us", NULL, BENCH_AT_MOST, 500, 0, bench_state_time },
	{ "device-gap", "Suspend sent -> Resume done, 64 queue pairs", "us", NULL, BENCH_AT_MOST, 1000, 0, bench_device_gap },
	{ "memory-ctrl", "memory of a controller", "MiB", NULL, BENCH_AT_MOST, 1, 0, bench_mem_ctrl },
	{ "memory-tracked", "memory per TiB that is tracked", "MiB", NULL, BENCH_AT_MOST, 64, 0, bench_mem_tracked },
	{ "bulk", "copy between two servers, plain", "B/s", "one TCP stream over loopback", BENCH_AT_LEAST, 0.50, 0, bench_bulk },
	{ "gap", "the guest's gap in a move, median", "ms", NULL, BENCH_AT_MOST, 10, 0, bench_gap },
	{ "gap-worst", "the guest's gap in a move, worst", "ms", NULL, BENCH_AT_MOST, 50, 0, bench_gap_worst },
	{ "gap-handover", "the guest's gap in a handover, median", "ms", "the gap of a copy", BENCH_AT_MOST, 3, 0, bench_gap_handover },
	{ "link-bytes", "bytes on the link per byte to be moved", "", NULL, BENCH_AT_MOST, 1.15, 0, bench_link_bytes },
	{ "idle", "idle server with 10 guests", "%", NULL, BENCH_AT_MOST, 1, 0, bench_idle },
};

/* ---- tools */

uint64_t bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t bench_tsc(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t v;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
	return v;
#else
	return 0;
#endif
}

static double tsc_hz(void)
{
#if defined(__x86_64__) /* elsewhere it does not count at the rate of the processor's cycles */
	uint64_t t = bench_tsc(), begin = bench_now(), now;

	while ((now = bench_now()) - begin < 20 * NS_PER_MS)
		;
	return (double)(bench_tsc() - t) * 1e9 / (double)(now - begin);
#else
	return 0;
#endif
}

static cpu_set_t allowed;

void bench_pin_off(void) { sched_setaffinity(0, sizeof(allowed), &allowed); }

/* The first two processors we may use: one for the device, one for its host. */
static void choose_cpus(struct bench *b)
{
	int cpu[2] = { -1, -1 }, n = 0;

	if (!sched_getaffinity(0, sizeof(allowed), &allowed))
		for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
			if (CPU_ISSET(i, &allowed))
				cpu[n++] = i;
	b->cpu_host = n == 2 ? cpu[0] : -1;
	b->cpu_device = n == 2 ? cpu[1] : -1;
}

void bench_pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int bench_thread(int cpu, pthread_t *t, void *(*fn)(void *), void *arg)
{
	pthread_attr_t a;
	cpu_set_t set;
	int rc;

	CPU_ZERO(&set);
	pthread_attr_init(&a);
	if (cpu >= 0) {
		CPU_SET(cpu, &set);
		pthread_attr_setaffinity_np(&a, sizeof(set), &set);
	}
	rc = -pthread_create(t, &a, fn, arg);
	pthread_attr_destroy(&a);
	return rc;
}

uint64_t bench_rss(int pid)
{
	char path[64];
	unsigned long long size, pages = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%llu %llu", &size, &pages) != 2)
		pages = 0;
	if (f)
		fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int smaller(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), smaller);
	return n & 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Interrupted, the row under way ends as it can, cleans up behind itself, and no other begins. */
static volatile sig_atomic_t stop_wanted;
static void on_signal(int sig)
{
	(void)sig;
	stop_wanted = 1;
}
bool bench_stopped(void) { return stop_wanted; }

int bench_turns(struct bench *b, bench_fn *ours, bench_fn *yard, void *ctx, struct bench_out *out)
{
	double o[BENCH_TURNS], y[BENCH_TURNS], r[BENCH_TURNS];

	b->turn_ns = b->v->seconds / BENCH_TURNS / (yard ? 2 : 1);
	for (unsigned i = 0; i < BENCH_TURNS; i++) {
		o[i] = ours(b, ctx);
		y[i] = o[i] >= 0 && yard ? yard(b, ctx) : 0;
		if (o[i] < 0 || y[i] < 0)
			return -EIO;
		if (stop_wanted)
			return err_set(&b->err, -EINTR, "interrupted");
		r[i] = yard ? o[i] / y[i] : o[i];
	}
	out->value = bench_median(o, BENCH_TURNS);
	out->yard = bench_median(y, BENCH_TURNS);
	out->ratio = bench_median(r, BENCH_TURNS);
	return 0;
}

/* ---- printing */

static bool met(const struct bench_row *r, const struct bench_out *o)
{
	double v = o->ratio;

	if (r->or_value && (r->sense == BENCH_AT_LEAST ? o->value >= r->or_value : o->value <= r->or_value))
		return true;
	return r->sense == BENCH_AT_LEAST ? v >= r->goal : v <= r->goal;
}

static char *human(char *buf, size_t cap, double v, const char *unit)
{
	if (v >= 1e9)
		snprintf(buf, cap, "%.2f G%s", v / 1e9, unit);
	else if (v >= 1e6)
		snprintf(buf, cap, "%.2f M%s", v / 1e6, unit);
	else if (v >= 1e4)
		snprintf(buf, cap, "%.1f k%s", v / 1e3, unit);
	else
		snprintf(buf, cap, "%.*f %s", v < 100 ? 2 : 0, v, unit);
	return buf;
}

static void print_row(const struct bench_row *r, const struct bench_out *o)
{
	const char *sign = r->sense == BENCH_AT_LEAST ? ">=" : "<=";
	char v[32], y[32], g[32];

	printf("%-15s %-45s %12s", r->name, r->what, human(v, sizeof(v), o->value, r->unit));
	if (r->yardstick)
		printf("  %5.2f of %s (%s)  goal %s %.2f", o->ratio, human(y, sizeof(y), o->yard, r->unit), r->yardstick, sign, r->goal);
	else
		printf("  goal %s %s", sign, human(g, sizeof(g), r->goal, r->unit));
	if (r->or_value)
		printf(" or %s %s", sign, human(g, sizeof(g), r->or_value, r->unit));
	printf("  %s\n", met(r, o) ? "met" : "NOT MET");
	if (o->note[0])
		printf("%15s %s\n", "", o->note);
}

static void print_json(const struct bench_row *r, const struct bench_out *o, const char *why)
{
	json_object *j = json_object_new_object();

	json_object_object_add(j, "row", json_object_new_string(r->name));
	json_object_object_add(j, "what", json_object_new_string(r->what));
	if (why) {
		json_object_object_add(j, "skipped", json_object_new_string(why));
	} else {
		json_object_object_add(j, "value", json_object_new_double(o->value));
		json_object_object_add(j, "unit", json_object_new_string(r->unit));
		if (r->yardstick) {
			json_object_object_add(j, "yardstick", json_object_new_string(r->yardstick));
			json_object_object_add(j, "yard", json_object_new_double(o->yard));
			json_object_object_add(j, "ratio", json_object_new_double(o->ratio));
		}
		json_object_object_add(j, "goal", json_object_new_double(r->goal));
		json_object_object_add(j, "sense", json_object_new_string(r->sense == BENCH_AT_LEAST ? "at least" : "at most"));
		json_object_object_add(j, "met", json_object_new_boolean(met(r, o)));
		if (o->note[0])
			json_object_object_add(j, "note", json_object_new_string(o->note));
	}
	cli_print_json(j);
	json_object_put(j);
}

static void run_row(struct bench *b, const struct bench_row *r)
{
	struct bench_out o = { 0 };
	int rc;

	b->err.text[0] = '\0';
	rc = r->run(b, &o);
	if (b->v->json)
		print_json(r, &o, rc ? b->err.text : NULL);
	else if (rc)
		printf("%-15s %-45s not measured: %s\n", r->name, r->what, b->err.text[0] ? b->err.text : strerror(-rc));
	else
		print_row(r, &o);
	fflush(stdout);
}

/* ---- the whole */

static bool wanted(const struct bench_vals *v, const struct bench_row *r)
{
	return !v->only || !strncmp(r->name, v->only, strlen(v->only));
}

/* Two of them and some room to breathe must fit into what is free. */
static uint64_t affordable(uint64_t bytes)
{
	uint64_t room = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	while (bytes > room / 3 && bytes > 16 * MIB)
		bytes /= 2;
	return MAX(round_down(bytes, MIB), 16 * MIB);
}

static int prepare(struct bench *b, struct bench_vals *v)
{
	uint64_t asked = v->size;

	if (v->seconds < 10 * NS_PER_MS)
		return err_set(&b->err, -EINVAL, "--seconds: less than 10 ms measures nothing");
	v->size = affordable(v->size);
	if (v->size != asked)
		fprintf(stderr, "ferry bench: a namespace of %" PRIu64 " bytes instead of %" PRIu64 ": that is what memory allows\n", v->size,
			asked);
	choose_cpus(b);
	b->tsc_hz = tsc_hz();
	b->plain = mmap(NULL, v->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b->plain == MAP_FAILED)
		return err_set(&b->err, -ENOMEM, "no memory for the yardsticks");
	memset(b->plain, 0x5a, v->size);
	return 0;
}

int cmd_bench(const struct command *self, void *vals, int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct bench b = { .v = vals };
	struct bench_vals *v = vals;
	unsigned n = 0;

	(void)self, (void)argc, (void)argv;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		n += wanted(v, &rows[i]);
	if (!n) {
		fprintf(stderr, "ferry bench: no row begins with '%s'; --list shows them\n", v->only);
		return EXIT_FERRY_USAGE;
	}
	for (unsigned i = 0; v->list && i < ARRAY_LEN(rows); i++)
		printf("%-15s %s\n", rows[i].name, rows[i].what);
	if (v->list)
		return EXIT_FERRY_OK;
	if (prepare(&b, v)) {
		fprintf(stderr, "ferry bench: %s\n", b.err.text);
		return EXIT_FERRY_FAILED;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	for (unsigned i = 0; i < ARRAY_LEN(rows) && !stop_wanted; i++)
		if (wanted(v, &rows[i]))
			run_row(&b, &rows[i]);
	brig_free(b.ram);
	munmap(b.plain, v->size);
	return EXIT_FERRY_OK;
}
