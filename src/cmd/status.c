/* `ferry status`, and the short commands that ask a server one thing: watch, cancel, resolve, shutdown. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/cli.h"
#include "cmd/progress.h"

struct plain_vals { const char *control; bool json; };
struct resolve_vals { const char *control, *runs; bool force; };
_Static_assert(sizeof(struct resolve_vals) <= COMMAND_VALS_MAX && sizeof(struct plain_vals) <= COMMAND_VALS_MAX, "values fit");
const struct opt status_opts[] = {
	OPT_CONTROL(struct plain_vals), OPT(struct plain_vals, json, "json", 'j', OPT_FLAG, NULL, "as JSON"), OPT_END
};
const struct opt watch_opts[] = { OPT_CONTROL(struct plain_vals), OPT_END };
const struct opt cancel_opts[] = { OPT_CONTROL(struct plain_vals), OPT_END };
const struct opt shutdown_opts[] = { OPT_CONTROL(struct plain_vals), OPT_END };
const struct opt resolve_opts[] = {
	OPT_CONTROL(struct resolve_vals),
	OPT(struct resolve_vals, runs, "runs", 0, OPT_STR, "here|there", "where the guest is to be taken to run", .needed = true),
	OPT(struct resolve_vals, force, "force", 'f', OPT_FLAG, NULL, "yes, I have looked at the other server"),
	OPT_END
};

const char *cli_control(const char *given)
{
	const char *e = getenv("FERRY_CONTROL");

	return given ? given : e && *e ? e : CLI_CONTROL_DEFAULT;
}

void cli_print_json(json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	fflush(stdout);
}

static json_object *named(const char *guest)
{
	json_object *o = json_object_new_object();

	if (guest)
		json_object_object_add(o, "guest", json_object_new_string(guest));
	return o;
}

static void print_move(const char *what, json_object *p)
{
	struct progress view = { .to = stdout };

	if (!p)
		return;
	snprintf(view.title, sizeof(view.title), "  %s", what);
	progress_draw(&view, p, "");
}

static void print_guest(json_object *g)
{
	json_object *list = json_get(g, "namespaces");
	char size[32];

	printf("%s: %s, epoch %" PRIu64 "\n  %s\n", json_str(g, "name"), json_str(g, "own"), json_u64(g, "epoch"), json_str(g, "says"));
	if (json_str(g, "why")[0])
		printf("  because: %s\n", json_str(g, "why"));
	if (json_get(g, "cntlid"))
		printf("  controller %" PRIu64 ", %s, %s; %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64 " errors\n",
		       json_u64(g, "cntlid"), json_object_get_boolean(json_get(g, "attached")) ? "VM attached" : "no VM attached",
		       json_object_get_boolean(json_get(g, "suspended")) ? "suspended" :
		       json_object_get_boolean(json_get(g, "served")) ? "running" : "offline",
		       json_u64(g, "reads"), json_u64(g, "writes"), json_u64(g, "errors"));
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
		json_object *n = json_object_array_get_idx(list, i);

		printf("  namespace %" PRIu64 " (%" PRIu64 " in the subsystem): %s of %s %s\n", json_u64(n, "guest_nsid"),
		       json_u64(n, "nsid"), opt_bytes_text(size, sizeof(size), json_u64(n, "bytes")), json_str(n, "from"),
		       json_str(n, "path"));
		if (json_u64(n, "slow_requests"))
			printf("    its disk does not answer: %" PRIu64 " requests are out, the oldest for %.1f s\n", json_u64(n, "slow_requests"),
			       (double)json_u64(n, "slow_oldest_ns") / 1e9);
	}
	print_move("moving away", json_get(g, "moving_out"));
	print_move("moving here", json_get(g, "moving_in"));
	if (json_get(g, "last_move")) {
		char sum[256];

		/* The target of a move knows neither its gap nor its bytes: the source has counted them. */
		progress_summary(json_get(g, "last_move"), sum, sizeof(sum));
		if (!strcmp(json_str(json_get(g, "last_move"), "phase"), "failed"))
			printf("  last move: failed; the guest stayed where it was\n");
		else if (json_u64(json_get(g, "last_move"), "link_bytes"))
			printf("  last move: %s\n", sum);
		else
			printf("  last move: arrived\n");
	}
}

int cmd_status(const struct command *self, void *vals, int argc, char **argv)
{
	struct plain_vals *v = vals;
	json_object *r, *list;
	int code = rpc_call_once(cli_control(v->control), "status", named(argc ? argv[0] : NULL), &r);

	(void)self;
	if (code)
		return code;
	list = json_get(r, "guests");
	if (!json_object_is_type(list, json_type_array)) {
		fprintf(stderr, "ferry: what answers at %s is no ferry server, or another version\n", cli_control(v->control));
		json_object_put(r);
		return EXIT_FERRY_UNREACHABLE;
	}
	if (v->json) {
		cli_print_json(r);
	} else {
		printf("server %s (pid %" PRIu64 "), link %s\n", json_str(r, "server"), json_u64(r, "pid"), json_str(r, "link"));
		for (size_t i = 0; i < json_object_array_length(list); i++)
			print_guest(json_object_array_get_idx(list, i));
	}
	for (size_t i = 0; i < json_object_array_length(list); i++)
		if (json_object_get_boolean(json_get(json_object_array_get_idx(list, i), "in_doubt")))
			code = EXIT_FERRY_DOUBT;
	json_object_put(r);
	return code;
}

int cmd_watch(const struct command *self, void *vals, int argc, char **argv)
{
	struct plain_vals *v = vals;
	struct err err = { "" };
	struct rpc_peer *p = rpc_peer_open(cli_control(v->control), &err);
	json_object *msg;
	int rc;

	(void)self;
	if (!p || rpc_peer_send(p, "watch", named(argc ? argv[0] : NULL), &err) < 0) {
		fprintf(stderr, "ferry: %s\n", err.text);
		rpc_peer_close(p);
		return EXIT_FERRY_UNREACHABLE;
	}
	while (!(rc = rpc_peer_next(p, -1, &msg, &err))) {
		if (json_get(msg, "params"))
			cli_print_json(json_get(msg, "params"));
		json_object_put(msg);
	}
	rpc_peer_close(p);
	return rc == -EPIPE || rc == -EINTR ? EXIT_FERRY_OK : EXIT_FERRY_FAILED;
}

static int simple(const char *control, const char *method, json_object *params)
{
	json_object *r;
	int code = rpc_call_once(cli_control(control), method, params, &r);

	if (!code)
		puts(r ? json_object_get_string(r) : "");
	json_object_put(r);
	return code;
}

int cmd_cancel(const struct command *self, void *vals, int argc, char **argv)
{
	(void)self, (void)argc;
	return simple(((struct plain_vals *)vals)->control, "cancel", named(argv[0]));
}

int cmd_shutdown(const struct command *self, void *vals, int argc, char **argv)
{
	(void)self, (void)argc, (void)argv;
	return simple(((struct plain_vals *)vals)->control, "shutdown", NULL);
}

int cmd_resolve(const struct command *self, void *vals, int argc, char **argv)
{
	struct resolve_vals *v = vals;
	json_object *o = named(argv[0]);

	(void)self, (void)argc;
	json_object_object_add(o, "runs", json_object_new_string(v->runs));
	json_object_object_add(o, "force", json_object_new_boolean(v->force));
	return simple(v->control, "resolve", o);
}
