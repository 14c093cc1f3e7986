/* `ferry help`: the tables as text, and as the pages in docs/. */
#include <errno.h>
#include <stdio.h>

#include "cmd/command.h"
#include "cmd/config.h"

struct help_vals { const char *write_docs; };
const struct opt help_opts[] = {
	OPT(struct help_vals, write_docs, "write-docs", 0, OPT_STR, "DIR", "write the pages of docs/ that are made from tables"),
	OPT_END
};

static int write_page(const char *dir, const char *name, struct buf *text)
{
	char path[512];
	FILE *f;
	int bad;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = text->failed ? NULL : fopen(path, "we");
	bad = !f || fwrite(text->data, 1, text->len, f) != text->len;
	if (f && fclose(f))
		bad = 1;
	buf_fini(text);
	if (bad)
		fprintf(stderr, "ferry: cannot write %s\n", path);
	return bad;
}

static int write_docs(const char *dir)
{
	struct buf text = { 0 };
	char name[64];
	int bad;

	command_overview(&text);
	bad = write_page(dir, "ferry.1.md", &text);
	config_page(&text);
	bad |= write_page(dir, "configuration.md", &text);
	for (const struct command *c = ferry_commands; c->name; c++) {
		command_page(c, "ferry", &text);
		snprintf(name, sizeof(name), "ferry-%s.1.md", c->name);
		bad |= write_page(dir, name, &text);
	}
	return bad ? EXIT_FERRY_FAILED : EXIT_FERRY_OK;
}

int cmd_help(const struct command *self, void *vals, int argc, char **argv)
{
	struct help_vals *v = vals;
	char *help[] = { argc ? argv[0] : "--help", "--help", NULL };

	(void)self;
	if (v->write_docs)
		return write_docs(v->write_docs);
	int code = command_main(ferry_commands, "ferry", argc ? 2 : 1, help);
	if (!argc) {
		printf("\nexit codes:\n");
#define EXIT_LINE_(name, value, text) printf("  %d  %s\n", value, text);
		FERRY_EXITS(EXIT_LINE_)
	}
	return code;
}
