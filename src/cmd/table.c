/* The subcommands of ferry, in the order in which help shows them. */
#include "cmd/command.h"

static const char about_serve[] =
	"Serves the guests, namespaces and pools of a configuration file until SIGTERM or SIGINT. docs/configuration.md lists the\n"
	"sections and keys. Guests whose journal says that they run elsewhere are not served, and kept for their return.";
static const char about_migrate[] =
	"Asks the server at the control socket to move GUEST to the server whose link address is given with --to, and shows the\n"
	"move until it ends. On a terminal it is a live view; otherwise one JSON object per line. Ctrl-C asks for the move to be\n"
	"cancelled and waits for the answer; a second Ctrl-C leaves the move to itself. In doubt (exit code 4) nobody runs the guest\n"
	"until the target has answered: the source keeps asking, and `ferry status` says whom.";
static const char about_status[] =
	"Says for each guest (or for GUEST) who may run it, in which epoch, why, and what is to be done when it is in doubt.\n"
	"Ends with code 4 if a guest shown is in doubt.";
static const char about_resolve[] =
	"For a guest in doubt whose target server will never answer again (it burnt down): tells this server what happened there.\n"
	"Also for a guest whose ownership record (state_dir/guest-NAME.journal) is damaged or gone. Saying something untrue makes two servers\n"
	"run one guest and destroys its data, so --force is needed.";
static const char about_resize[] =
	"Gives namespace NSID (1, 2, ... as the guest counts them) of a GUEST that runs here another SIZE, while it runs. Larger: the file\n"
	"grows (sparse), a block device must have been made larger before; the guest gets NVMe's notice of a changed namespace and sees\n"
	"the new capacity without a rescan (file systems are then grown in the guest). Smaller only with --shrink: whatever lies behind\n"
	"the new end is gone. The size is kept in the server's record of guests and outlasts a restart; a move takes it along. Not while\n"
	"the guest is being moved (exit code 3).";
static const char about_guest[] =
	"Runs the embedded guest in this process: memory, an NVMe driver and a workload that writes stamped blocks, reads them back\n"
	"and checks every one. It prints its verdict (lost, invented, corrupt) when it is stopped.";
static const char about_demo[] =
	"Two servers, a guest that never stops writing, and a file system full of real files: the guest is moved from A to B and back,\n"
	"then every block the guest wrote and every file is checked. Everything happens in a directory of its own and is stopped and\n"
	"removed at the end, also after Ctrl-C (exit code 5).";

static const char about_bench[] =
	"Measures in turns what is ours and what the bare machine does (a copy loop, a ping-pong between two cores, memcpy, one TCP\n"
	"stream), and prints the ratio of the medians beside its goal. Takes about a second per row and two processors; on a busy\n"
	"machine give it longer. Nothing is left behind.";

static const char about_decode[] =
	"FILE may be - for standard input. What cannot be understood ends the output with a sentence and exit code 1; what stands before it\n"
	"is printed. Nothing in FILE is believed.";

const struct command ferry_commands[] = {
	{ "serve", "", "serve guests' NVMe controllers and take part in moves", about_serve, serve_opts, 0, 0, cmd_serve },
	{ "migrate", "GUEST", "move a guest to another server", about_migrate, migrate_opts, 1, 1, cmd_migrate },
	{ "status", "[GUEST]", "say who runs which guest and why", about_status, status_opts, 0, 1, cmd_status },
	{ "watch", "[GUEST]", "print events of moves as JSON lines", NULL, watch_opts, 0, 1, cmd_watch },
	{ "cancel", "GUEST", "cancel a move that is under way", NULL, cancel_opts, 1, 1, cmd_cancel },
	{ "resolve", "GUEST", "tell a server in doubt what became of a guest (dangerous)", about_resolve, resolve_opts, 1, 1,
	  cmd_resolve },
	{ "resize", "GUEST NSID SIZE", "make a namespace of a running guest larger, or smaller", about_resize, resize_opts, 3, 3, cmd_resize },
	{ "nvme", "", "send NVMe commands to a server's migration management controller", NULL, NULL, 0, 0, NULL,
	  nvme_commands },
	{ "vm", "", "start QEMU for a guest", NULL, NULL, 0, 0, NULL, vm_commands },
	{ "verify", "", "check a device against the specification", NULL, NULL, 0, 0, NULL, verify_commands },
	{ "decode", "FILE", "print a recording, a state image, a link stream or queue entries, field by field", about_decode, decode_opts, 1, 1,
	  cmd_decode },
	{ "guest", "", "run the embedded guest", about_guest, guest_opts, 0, 0, cmd_guest },
	{ "demo", "", "move a guest between two servers on this machine and check everything", about_demo, demo_opts, 0, 0,
	  cmd_demo },
	{ "bench", "", "measure speed, as ratios to what this machine can do", about_bench, bench_opts, 0, 0, cmd_bench },
	{ "shutdown", "", "stop a server in an orderly way", NULL, shutdown_opts, 0, 0, cmd_shutdown },
	{ "help", "[COMMAND]", "say what there is, or more about a command", NULL, help_opts, 0, 1, cmd_help },
	{ .name = NULL }
};
