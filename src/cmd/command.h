/* What a subcommand is: one row that feeds the parser, `ferry help` and the manual pages in docs/.
 *
 * A verb with verbs of its own (`ferry nvme lm create-cdq`) has `sub` instead of `run`. Exit codes are one table too.
 */
#ifndef FERRY_CMD_COMMAND_H
#define FERRY_CMD_COMMAND_H

#include "cmd/opt.h"

#define FERRY_EXITS(X)                                                                                        \
	X(OK, 0, "done")                                                                                      \
	X(FAILED, 1, "tried and failed; a failed move leaves the guest running where it was")                 \
	X(USAGE, 2, "the command line or the configuration file is wrong; nothing was tried")                 \
	X(REFUSED, 3, "not possible as things are (unknown guest, wrong state, target says no); nothing was changed") \
	X(DOUBT, 4, "in doubt: the other server has not said whether it runs the guest; nobody runs it until it does") \
	X(CANCELLED, 5, "cancelled before the point of no return; the guest runs where it was")               \
	X(UNREACHABLE, 6, "no server answers at the control socket")
#define FERRY_EXIT_ENUM_(name, value, text) EXIT_FERRY_##name = value,
enum { FERRY_EXITS(FERRY_EXIT_ENUM_) EXIT_FERRY_COUNT };
const char *exit_text(int code); /* never NULL */

struct command {
	const char *name;
	const char *args;		/* operands, for the usage line: "GUEST", "" */
	const char *brief;		/* one line */
	const char *about;		/* paragraphs for the manual page; NULL: none */
	const struct opt *opts;		/* ends with name NULL; NULL: none */
	unsigned operands_min, operands_max;
	/* argc, argv: the operands only. vals: what opt_parse filled, the struct the table's offsets are of. */
	int (*run)(const struct command *, void *vals, int argc, char **argv);
	const struct command *sub;	/* ends with name NULL */
	void (*aux)(void);		/* the runner's own */
};

extern const struct command ferry_commands[]; /* table.c */

/* Finds the verb, parses, runs. `path` is what stands before argv[0] on the line ("ferry nvme"). Returns an exit code. */
int command_main(const struct command *table, const char *path, int argc, char **argv);
/* Pages, as text for a terminal or as markdown for docs/. */
void command_usage(const struct command *, const char *path, struct buf *out);
void command_page(const struct command *, const char *path, struct buf *out);
void command_overview(struct buf *out);		/* docs/ferry.1.md */

/* ---- the runners, one file each */
typedef int command_run(const struct command *, void *vals, int argc, char **argv);
command_run cmd_serve, cmd_migrate, cmd_status, cmd_cancel, cmd_watch, cmd_resolve, cmd_resize, cmd_guest, cmd_demo, cmd_help;
command_run cmd_shutdown, cmd_bench, cmd_verify_monitor, cmd_verify_export, cmd_decode;
extern const struct opt serve_opts[], migrate_opts[], status_opts[], cancel_opts[], watch_opts[], resolve_opts[], resize_opts[],
	guest_opts[], demo_opts[], help_opts[], shutdown_opts[], bench_opts[];
enum { COMMAND_VALS_MAX = 512 };	/* bytes: no subcommand's struct of values is larger */
extern const struct opt verify_monitor_opts[], verify_export_opts[], decode_opts[];
extern const struct command nvme_commands[], vm_commands[], verify_commands[];

#endif
