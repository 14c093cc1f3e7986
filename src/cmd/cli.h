/* What the client subcommands share: where the server is, and how to print. */
#ifndef FERRY_CMD_CLI_H
#define FERRY_CMD_CLI_H

#include <json-c/json.h>

#include "cmd/command.h"
#include "cmd/rpc_client.h"

#define CLI_CONTROL_DEFAULT "/run/ferry/control.sock"
/* The first option of every subcommand that talks to a server. */
#define OPT_CONTROL(type) \
	OPT(type, control, "control", 0, OPT_STR, "SOCK", "the server's control socket (or $FERRY_CONTROL)")

const char *cli_control(const char *given);	/* option, else $FERRY_CONTROL, else the default */
void cli_print_json(json_object *);		/* one line */

#endif
