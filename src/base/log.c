#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static void to_stderr(void *ctx, enum log_level level, const char *line)
{
	static const char *const name[] = { "error", "warning", "info", "debug" };

	(void)ctx;
	fprintf(stderr, "ferry: %s: %s\n", name[level], line);
}

static struct { log_sink *sink; void *ctx; enum log_level upto; } log_state = { to_stderr, NULL, LOG_WARN };

void log_set(log_sink *sink, void *ctx, enum log_level upto)
{
	log_state.sink = sink ? sink : to_stderr;
	log_state.ctx = ctx;
	log_state.upto = upto;
}

enum log_level log_upto(void) { return log_state.upto; }

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (level > log_state.upto)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_state.sink(log_state.ctx, level, line);
}
