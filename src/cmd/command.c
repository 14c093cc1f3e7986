/* Finds and runs a subcommand, and prints what the tables say about it.
 *
 * The same rows make --help and docs/ferry-*.1.md, and tests/unit/test_options.c compares the two: a page cannot get old.
 */
#include "cmd/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const char *exit_text(int code)
{
#define EXIT_CASE_(name, value, text) if (code == value) return text;
	FERRY_EXITS(EXIT_CASE_)
	return "unknown exit code";
}

static void option_line(const struct opt *o, struct buf *out, bool markdown)
{
	char left[80];

	snprintf(left, sizeof(left), "--%s%s%s%s%c", o->name, o->arg ? " " : "", o->arg ? o->arg : "",
		 o->letter ? ", -" : "", o->letter ? o->letter : '\0');
	if (markdown)
		buf_printf(out, "| `%s` | %s%s", left, o->help, o->needed ? " (needed)" : "");
	else
		buf_printf(out, "  %-28s %s%s", left, o->help, o->needed ? " (needed)" : "");
	if (o->dflt)
		buf_printf(out, " [%s]", o->dflt);
	buf_printf(out, markdown ? " |\n" : "\n");
}

static void usage_line(const struct command *c, const char *path, struct buf *out)
{
	buf_printf(out, "%s %s%s%s%s", path, c->name, c->opts && c->opts[0].name ? " [OPTIONS]" : "",
		   c->args && c->args[0] ? " " : "", c->args ? c->args : "");
}

void command_usage(const struct command *c, const char *path, struct buf *out)
{
	buf_printf(out, "usage: ");
	usage_line(c, path, out);
	buf_printf(out, "\n%s\n", c->brief);
	if (c->about)
		buf_printf(out, "\n%s\n", c->about);
	if (c->opts && c->opts[0].name)
		buf_printf(out, "\n");
	for (const struct opt *o = c->opts; o && o->name; o++)
		option_line(o, out, false);
	for (const struct command *s = c->sub; s && s->name; s++)
		buf_printf(out, "  %-18s %s\n", s->name, s->brief);
}

void command_page(const struct command *c, const char *path, struct buf *out)
{
	char deeper[128];

	buf_printf(out, "## %s %s\n\n%s.\n\n```\n", path, c->name, c->brief);
	if (!c->sub)
		usage_line(c, path, out);
	else
		buf_printf(out, "%s %s VERB ...", path, c->name);
	buf_printf(out, "\n```\n");
	if (c->about)
		buf_printf(out, "\n%s\n", c->about);
	if (c->opts && c->opts[0].name)
		buf_printf(out, "\n| option | meaning |\n| --- | --- |\n");
	for (const struct opt *o = c->opts; o && o->name; o++)
		option_line(o, out, true);
	snprintf(deeper, sizeof(deeper), "%s %s", path, c->name);
	for (const struct command *s = c->sub; s && s->name; s++) {
		buf_printf(out, "\n");
		command_page(s, deeper, out);
	}
}

void command_overview(struct buf *out)
{
	buf_printf(out, "# ferry\n\nMoves a running NVMe controller, its data and its VM from one server to another.\n\n"
		   "```\nferry COMMAND [OPTIONS] ...\nferry COMMAND --help\n```\n\n| command | what it does |\n| --- | --- |\n");
	for (const struct command *c = ferry_commands; c->name; c++)
		buf_printf(out, "| [`%s`](ferry-%s.1.md) | %s |\n", c->name, c->name, c->brief);
	buf_printf(out, "\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
#define EXIT_ROW_(name, value, text) buf_printf(out, "| %d | %s |\n", value, text);
	FERRY_EXITS(EXIT_ROW_)
}

static void print_table(const struct command *table, const char *path, FILE *f)
{
	fprintf(f, "usage: %s COMMAND [OPTIONS] ...\n\n", path);
	for (const struct command *c = table; c->name; c++)
		fprintf(f, "  %-18s %s\n", c->name, c->brief);
	fprintf(f, "\n%s COMMAND --help says more about each.\n", path);
}

static int usage_error(const struct command *c, const char *path, const char *what)
{
	fprintf(stderr, "%s %s: %s\n", path, c->name, what);
	fprintf(stderr, "Try '%s %s --help'.\n", path, c->name);
	return EXIT_FERRY_USAGE;
}

static int print_help(const struct command *c, const char *path)
{
	struct buf text = { 0 };

	command_usage(c, path, &text);
	if (!text.failed)
		fwrite(text.data, 1, text.len, stdout);
	buf_fini(&text);
	return EXIT_FERRY_OK;
}

static int run_leaf(const struct command *c, const char *path, int argc, char **argv)
{
	void *vals = calloc(1, COMMAND_VALS_MAX);
	struct err err = { "" };
	int first = argc, rc = vals ? 0 : -ENOMEM;

	if (!rc)
		rc = opt_parse(c->opts, vals, argc, argv, &first, &err);
	if (rc == OPT_HELP) {
		rc = print_help(c, path);
	} else if (rc) {
		rc = usage_error(c, path, err.text);
	} else if ((unsigned)(argc - first) < c->operands_min || (unsigned)(argc - first) > c->operands_max) {
		snprintf(err.text, sizeof(err.text), "expects %s, not %d operands",
			 c->args && c->args[0] ? c->args : "no operands", argc - first);
		rc = usage_error(c, path, err.text);
	} else {
		rc = c->run(c, vals, argc - first, argv + first);
	}
	free(vals);
	return rc;
}

int command_main(const struct command *table, const char *path, int argc, char **argv)
{
	char deeper[128];

	if (argc < 1) {
		print_table(table, path, stderr);
		return EXIT_FERRY_USAGE;
	}
	if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h")) {
		print_table(table, path, stdout);
		return EXIT_FERRY_OK;
	}
	for (const struct command *c = table; c->name; c++) {
		if (strcmp(c->name, argv[0]))
			continue;
		if (!c->sub)
			return run_leaf(c, path, argc, argv);
		snprintf(deeper, sizeof(deeper), "%s %s", path, c->name);
		return command_main(c->sub, deeper, argc - 1, argv + 1);
	}
	fprintf(stderr, "%s: there is no command '%s'\nTry '%s --help'.\n", path, argv[0], path);
	return EXIT_FERRY_USAGE;
}
