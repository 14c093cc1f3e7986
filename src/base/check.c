#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *expr, const char *file, int line)
{
	fprintf(stderr, "ferry: internal error at %s:%d: expected %s\n"
		"ferry: this is a defect in ferry, please report it with the lines above\n", file, line, expr);
	abort();
}
