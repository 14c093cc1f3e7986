/* See test_stop.h. Without the variable nothing here does anything. */
#include "cmd/test_stop.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char at[32];		/* "": off, or done */
static unsigned long turns;
static bool counting;

void test_stop_init(void)
{
	const char *v = getenv("FERRY_TEST_STOP_AT"), *plus = v ? strchr(v, '+') : NULL;

	snprintf(at, sizeof(at), "%.*s", v ? (int)(plus ? plus - v : (long)strlen(v)) : 0, v ? v : "");
	turns = plus ? strtoul(plus + 1, NULL, 10) : 0;
}

static void stop_now(void)
{
	at[0] = '\0';
	counting = false;
	raise(SIGSTOP);
}

void test_stop_phase(const char *phase)
{
	bool over = !strcmp(phase, "done") || !strcmp(phase, "failed");

	if (counting && over)
		stop_now();	/* the move was quicker than its turns */
	if (!at[0] || counting || strcmp(phase, at))
		return;
	counting = true;
	if (!turns)
		stop_now();
}

void test_stop_turn(void)
{
	if (counting && turns-- <= 1)
		stop_now();
}
