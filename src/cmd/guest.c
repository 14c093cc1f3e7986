/* `ferry guest`: the embedded guest as a process, what a VM is elsewhere. All it does is in vm/embedded; here are its options, its
 * signals and its report.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/cli.h"
#include "env/linux/loop.h"
#include "vm/embedded/process.h"

struct guest_vals {
	const char *socket, *control, *report;
	uint64_t memory, rate, area_off, area, protect, queues, depth, seed, id, nsid, hot, blocks, timeout;
	bool incoming, zeroed;
};
_Static_assert(sizeof(struct guest_vals) <= COMMAND_VALS_MAX, "values fit");
#define T struct guest_vals
const struct opt guest_opts[] = {
	OPT(T, socket, "socket", 's', OPT_STR, "SOCK", "vfio-user socket of its controller", .needed = true),
	OPT(T, control, "control", 'c', OPT_STR, "SOCK", "control socket to listen on, for the server that moves it", .needed = true),
	OPT(T, incoming, "incoming", 'i', OPT_FLAG, NULL, "wait, with empty memory, for a move to bring the guest here"),
	OPT(T, memory, "memory", 'm', OPT_BYTES, "BYTES", "memory", .dflt = "64M"),
	OPT(T, area_off, "area-offset", 0, OPT_BYTES, "BYTES", "where the stamped area starts in the namespace"),
	OPT(T, area, "area", 'a', OPT_BYTES, "BYTES", "length of the stamped area", .dflt = "64M"),
	OPT(T, zeroed, "area-zeroed", 0, OPT_FLAG, NULL, "the area reads as zeroes at the start: check that too"),
	OPT(T, protect, "protect", 0, OPT_BYTES, "BYTES", "start of the namespace (a file system) that is read and written back unchanged"),
	OPT(T, rate, "rate", 'r', OPT_BYTES, "RATE", "bytes per second of commands; 0: as fast as it goes"),
	OPT(T, queues, "queues", 'q', OPT_NUM, "N", "I/O queue pairs", .dflt = "4"),
	OPT(T, depth, "depth", 'd', OPT_NUM, "N", "commands in flight", .dflt = "32"),
	OPT(T, blocks, "max-blocks", 0, OPT_NUM, "N", "largest command, in 4 KiB blocks", .dflt = "32"),
	OPT(T, hot, "hot-blocks", 0, OPT_NUM, "N", "nine of ten commands go to the first so many blocks; 0: everywhere alike"),
	OPT(T, timeout, "timeout", 0, OPT_TIME, "TIME", "a command out for longer counts as a violation", .dflt = "10s"),
	OPT(T, nsid, "namespace-id", 'n', OPT_NUM, "NSID", "namespace", .dflt = "1"),
	OPT(T, seed, "seed", 0, OPT_NUM, "N", "of the workload", .dflt = "1"),
	OPT(T, id, "id", 0, OPT_NUM, "N", "goes into every stamp", .dflt = "1"),
	OPT(T, report, "report", 0, OPT_STR, "FILE", "write the verdict there as JSON"),
	OPT_END
};
#undef T

static volatile sig_atomic_t quit;
static void on_signal(int sig)
{
	(void)sig;
	quit = quit + 1;
}

static uint64_t others(const struct guest_stats *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < GUEST_BAD_COUNT; i++)
		if (i != GUEST_BAD_LOST && i != GUEST_BAD_INVENTED)
			n += s->bad[i];
	return n;
}

static json_object *verdict(const struct guest_stats *s)
{
	json_object *o = json_object_new_object(), *bad = json_object_new_object(), *done = json_object_new_object();

#define NUM_(key, value) json_object_object_add(o, key, json_object_new_uint64(value))
	NUM_("lost", s->bad[GUEST_BAD_LOST]);
	NUM_("invented", s->bad[GUEST_BAD_INVENTED]);
	NUM_("other", others(s));
	NUM_("bytes_read", s->bytes_read);
	NUM_("bytes_written", s->bytes_written);
	NUM_("blocks_checked", s->blocks_checked);
	NUM_("verify_passes", s->verify_passes);
	NUM_("unknown", s->unknown);
	NUM_("resets", s->resets);
	NUM_("max_gap_ns", s->max_gap_ns);
	NUM_("max_stall_ns", s->max_stall_ns);
	for (unsigned i = 0; i < GUEST_BAD_COUNT; i++)
		json_object_object_add(bad, guest_violation_name(i), json_object_new_uint64(s->bad[i]));
	for (unsigned i = 0; i < GUEST_OP_COUNT; i++)
		json_object_object_add(done, guest_op_name(i), json_object_new_uint64(s->done[i]));
	json_object_object_add(o, "violations", bad);
	json_object_object_add(o, "done", done);
	if (s->why[0])
		json_object_object_add(o, "why", json_object_new_string_len(s->why, (int)strnlen(s->why, sizeof(s->why))));
	return o;
}

static void print_details(const struct guest_stats *s)
{
	for (unsigned i = 0; i < s->details && i < GUEST_DETAILS; i++) {
		const struct guest_detail *d = &s->detail[i];

		fprintf(stderr, "ferry: guest: %s: %s, LBA %" PRIu64 ", block %u, sector %u: may hold %" PRIu64 "..%" PRIu64 ", found %" PRIu64 "\n",
			guest_op_name(d->op), guest_violation_name(d->kind), d->lba, d->block, d->sector, d->a, d->b, d->found);
	}
}

static int finish(const struct guest_vals *v, const struct guest_stats *s)
{
	json_object *o = verdict(s);
	int bad = 0;

	print_details(s);
	if (v->report)
		bad = json_object_to_file_ext(v->report, o, JSON_C_TO_STRING_PRETTY);
	cli_print_json(o);
	json_object_put(o);
	if (bad)
		fprintf(stderr, "ferry: cannot write %s\n", v->report);
	return bad || guest_violations(s) ? EXIT_FERRY_FAILED : EXIT_FERRY_OK;
}

int cmd_guest(const struct command *self, void *vals, int argc, char **argv)
{
	static struct guest_stats stats;
	struct sigaction sa = { .sa_handler = on_signal };
	struct guest_vals *v = vals;
	struct err err = { "no memory" };
	struct loop *loop = loop_new(&err);
	struct env *env = loop ? env_linux_new(loop, NULL, &err) : NULL;
	struct guest_process_cfg c = { .device = v->socket, .control = v->control, .mem_bytes = v->memory, .incoming = v->incoming,
				       .env = env, .quit = &quit };
	int rc = -ENOMEM, code = EXIT_FERRY_FAILED;

	(void)self, (void)argc, (void)argv;
	c.guest = (struct guest_cfg){ .id = (uint32_t)v->id, .nsid = (uint32_t)v->nsid, .seed = v->seed, .area_off = v->area_off,
				      .area_bytes = v->area, .protect_bytes = v->protect, .queues = (uint32_t)v->queues,
				      .depth = (uint32_t)v->depth, .max_blocks = (uint32_t)v->blocks, .hot_blocks = (uint32_t)v->hot,
				      .rate = v->rate, .timeout_ns = v->timeout, .area_zeroed = v->zeroed };
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	if (env)
		rc = guest_process_run(&c, &stats, &err);
	if (rc)
		fprintf(stderr, "ferry: guest: %s\n", err.text);
	code = finish(v, &stats);
	if (env)
		env_linux_free(env);
	if (loop)
		loop_free(loop);
	return rc ? EXIT_FERRY_FAILED : code;
}
