/* Options as tables: one row per option feeds the parser, the usage text and the manual pages.
 *
 * A row names the place of its value by offset into the subcommand's own struct. Numbers take 0x, sizes take K M G T
 * (powers of 1024), times take ns us ms s (ms when bare).
 */
#ifndef FERRY_CMD_OPT_H
#define FERRY_CMD_OPT_H

#include "base/buf.h"
#include "base/err.h"

enum opt_kind {
	OPT_FLAG,	/* bool */
	OPT_STR,	/* const char * (points into argv) */
	OPT_NUM,	/* uint64_t */
	OPT_BYTES,	/* uint64_t, bytes */
	OPT_TIME	/* uint64_t, ns */
};

struct opt {
	const char *name;	/* long name; NULL ends the table */
	char letter;		/* 0: none */
	enum opt_kind kind;
	size_t off;
	const char *arg;	/* what the value is called: "FILE"; NULL for flags */
	const char *help;
	const char *dflt;	/* parsed like a value given; NULL: zero */
	bool needed;
	size_t has;		/* offset of a bool that says it was given; 0: nobody asks */
};

#define OPT(type, member, nm, let, kd, ar, hp, ...) \
	{ .name = nm, .letter = let, .kind = kd, .off = offsetof(type, member), .arg = ar, .help = hp, ##__VA_ARGS__ }
#define OPT_END { .name = NULL }

enum { OPT_HELP = -1 };		/* --help was asked for */
/* Fills vals (zeroed by the caller) with defaults and argv[1..]; operands are moved to the end of argv, *first is their index.
 * 0, OPT_HELP, or -EINVAL with a sentence. */
int opt_parse(const struct opt *opts, void *vals, int argc, char **argv, int *first, struct err *);

/* The value readers, for configuration files too: 0 or -EINVAL. Whole text must be used up. */
int opt_num(const char *text, uint64_t *out);
int opt_bytes(const char *text, uint64_t *out);
int opt_time(const char *text, uint64_t *out);

/* Formatting for people: "1.5 GiB", "12.3 ms". Returns buf. */
char *opt_bytes_text(char *buf, size_t cap, uint64_t bytes);
char *opt_time_text(char *buf, size_t cap, uint64_t ns);

#endif
