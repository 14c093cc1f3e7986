/* `ferry decode` and `ferry verify export`: bytes and records for people and for other programs. All they do is in verify/. */
#include <stdio.h>

#include "cmd/command.h"
#include "verify/decode.h"
#include "verify/export.h"

struct decode_vals { const char *as; bool hex; };
#define T struct decode_vals
const struct opt decode_opts[] = {
	OPT(T, as, "as", 'a', OPT_STR, "KIND", "record state link sqe io-sqe cqe cdq message; else by what it looks like", .dflt = "auto"),
	OPT(T, hex, "hex", 'x', OPT_FLAG, NULL, "the file is text of hexadecimal digits"),
	OPT_END
};
#undef T

int cmd_decode(const struct command *self, void *vals, int argc, char **argv)
{
	struct decode_vals *v = vals;
	int kind = decode_kind_of(v->as);
	struct err err;

	(void)self, (void)argc;
	if (kind < 0) {
		fprintf(stderr, "ferry: decode: nothing is called %s\n", v->as);
		return EXIT_FERRY_USAGE;
	}
	if (!decode_file((enum decode_kind)kind, argv[0], v->hex, stdout, &err))
		return EXIT_FERRY_OK;
	fflush(stdout);
	fprintf(stderr, "ferry: %s\n", err.text);
	return EXIT_FERRY_FAILED;
}

struct export_vals { const char *format; };
#define T struct export_vals
const struct opt verify_export_opts[] = {
	OPT(T, format, "format", 'f', OPT_STR, "NAME", "log perfetto vcd pcapng sqlite", .dflt = "log"),
	OPT_END
};
#undef T

int cmd_verify_export(const struct command *self, void *vals, int argc, char **argv)
{
	struct export_vals *v = vals;
	struct err err;

	(void)self;
	if (!export_record(v->format, argv[0], argc > 1 ? argv[1] : "-", &err))
		return EXIT_FERRY_OK;
	fprintf(stderr, "ferry: %s\n", err.text);
	return EXIT_FERRY_FAILED;
}
