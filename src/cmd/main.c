/* The program. What there is stands in table.c; how it is found and run, in command.c. */
#include <signal.h>

#include "cmd/command.h"

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); /* a peer or reader that left is an error of write(), not our end */
	return command_main(ferry_commands, "ferry", argc - 1, argv + 1);
}
