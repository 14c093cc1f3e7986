/* A move as people see it: a few lines on a terminal, redrawn in place. Fed with the events of the control socket. */
#ifndef FERRY_CMD_PROGRESS_H
#define FERRY_CMD_PROGRESS_H

#include <json-c/json.h>
#include <stdio.h>

struct progress {
	FILE *to;
	unsigned lines;		/* drawn last time, to be drawn over */
	char title[160];
};

/* progress: the object in events and status. text: the last decision, or "". */
void progress_draw(struct progress *, json_object *progress, const char *text);
void progress_line(struct progress *, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* a lasting line above */
/* "moved in 3.1 s, gap 4.2 ms ..." one line from the last progress. */
void progress_summary(json_object *progress, char *out, size_t cap);

#endif
