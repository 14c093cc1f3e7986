/* A sentence for a person: what was tried, on what, what came back, what to try.
 *
 * Functions that can fail for reasons a person must understand take a struct err *, fill it and return
 * -errno. A NULL err is allowed. Text is cut at the end, never overrun.
 */
#ifndef FERRY_BASE_ERR_H
#define FERRY_BASE_ERR_H

struct err {
	char text[512];
};

/* Returns code, so that `return err_set(e, -EINVAL, "...")` reads well. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts "fmt: " in front of what is there. */
int err_wrap(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
