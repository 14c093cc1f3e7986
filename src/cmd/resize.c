/* `ferry resize`: asks the server for another size of one of a guest's namespaces. */
#include <stdio.h>

#include "cmd/cli.h"

struct resize_vals { const char *control; uint64_t timeout; bool shrink; };
_Static_assert(sizeof(struct resize_vals) <= COMMAND_VALS_MAX, "values fit");
const struct opt resize_opts[] = {
	OPT_CONTROL(struct resize_vals),
	OPT(struct resize_vals, shrink, "shrink", 0, OPT_FLAG, NULL, "also make it smaller: what is behind the new end is lost for ever"),
	OPT(struct resize_vals, timeout, "timeout", 0, OPT_TIME, "TIME", "how long to wait for a disk that does not answer", .dflt = "60s"),
	OPT_END
};

int cmd_resize(const struct command *self, void *vals, int argc, char **argv)
{
	struct resize_vals *v = vals;
	json_object *o, *r = NULL;
	uint64_t nsid, bytes;
	char now[24], was[24];
	int code;

	(void)self, (void)argc;
	if (opt_num(argv[1], &nsid) || opt_bytes(argv[2], &bytes)) {
		fprintf(stderr, "ferry resize: '%s' is not a namespace's number, or '%s' not a size (try 1 20G)\n", argv[1], argv[2]);
		return EXIT_FERRY_USAGE;
	}
	o = json_object_new_object();
	json_object_object_add(o, "guest", json_object_new_string(argv[0]));
	json_object_object_add(o, "nsid", json_object_new_uint64(nsid));
	json_object_object_add(o, "bytes", json_object_new_uint64(bytes));
	json_object_object_add(o, "shrink", json_object_new_boolean(v->shrink));
	json_object_object_add(o, "timeout_ns", json_object_new_uint64(v->timeout));
	code = rpc_call_once(cli_control(v->control), "resize", o, &r);
	if (!code)
		printf("%s: namespace %s has %s, before %s\n", argv[0], argv[1], opt_bytes_text(now, sizeof(now), json_u64(r, "bytes")),
		       opt_bytes_text(was, sizeof(was), json_u64(r, "was")));
	if (!code && json_str(r, "note")[0])
		fprintf(stderr, "ferry: %s\n", json_str(r, "note"));
	json_object_put(r);
	return code;
}
