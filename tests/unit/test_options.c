/* Options: the tables parse what they promise, and the pages in docs/ are what the tables say. */
#include "t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/command.h"
#include "cmd/config.h"

struct vals { const char *text; uint64_t num, bytes, time; bool flag, has_num; };
static const struct opt opts[] = {
	OPT(struct vals, text, "text", 't', OPT_STR, "TEXT", "text"),
	OPT(struct vals, num, "num", 'n', OPT_NUM, "N", "number", .dflt = "5", .has = offsetof(struct vals, has_num)),
	OPT(struct vals, bytes, "bytes", 0, OPT_BYTES, "BYTES", "size"),
	OPT(struct vals, time, "time", 0, OPT_TIME, "TIME", "time", .dflt = "10ms"),
	OPT(struct vals, flag, "flag", 'f', OPT_FLAG, NULL, "flag"),
	OPT_END
};
static struct vals vals;
static struct err err;
static int first;

static int parse(char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	memset(&vals, 0, sizeof(vals));
	return opt_parse(opts, &vals, argc, argv, &first, &err);
}
#define PARSE(...) parse((char *[]){ "verb", ##__VA_ARGS__, NULL })

TEST(values_and_defaults)
{
	EXPECT_EQ(PARSE("--num", "0x10", "one", "-f", "--bytes=1.5K", "two"), 0);
	EXPECT_EQ(vals.num, 16);
	EXPECT(vals.has_num && vals.flag);
	EXPECT_EQ(vals.bytes, 1536);
	EXPECT_EQ(vals.time, 10000000);
	EXPECT_EQ(first, 5); /* operands stand at the end */
	EXPECT_EQ(PARSE(), 0);
	EXPECT_EQ(vals.num, 5);
	EXPECT(!vals.has_num);
	EXPECT_EQ(PARSE("--help"), OPT_HELP);
}

TEST(wrong_values_are_refused)
{
	EXPECT_EQ(PARSE("--num", "-1"), -EINVAL);
	EXPECT_EQ(PARSE("--num", "1x"), -EINVAL);
	EXPECT_EQ(PARSE("--num", "99999999999999999999"), -EINVAL);
	EXPECT_EQ(PARSE("--bytes", "1e3"), -EINVAL);
	EXPECT_EQ(PARSE("--bytes", ""), -EINVAL);
	EXPECT_EQ(PARSE("--time", "10M"), -EINVAL); /* minutes? milliseconds? */
	EXPECT_EQ(PARSE("--time", "5q"), -EINVAL);
	EXPECT_EQ(PARSE("--nothing"), -EINVAL);
	EXPECT_EQ(PARSE("-z"), -EINVAL);
	EXPECT_EQ(PARSE("--text"), -EINVAL);
}

static void page_matches(const char *name, struct buf *made)
{
	char path[512], *text = calloc(1, 1 << 20);
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/docs/%s", getenv("FERRY_SRC") ? getenv("FERRY_SRC") : ".", name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s is missing: run 'ferry help --write-docs docs'", path);
	n = fread(text, 1, (1 << 20) - 1, f);
	fclose(f);
	if (n != made->len || memcmp(text, made->data, n))
		fail_msg("%s is not what the tables say: run 'ferry help --write-docs docs'", path);
	free(text);
	buf_fini(made);
}

/* A page that says something else than --help is worse than none. */
TEST(docs_are_what_the_tables_say)
{
	struct buf text = { 0 };
	char name[64];

	command_overview(&text);
	page_matches("ferry.1.md", &text);
	config_page(&text);
	page_matches("configuration.md", &text);
	for (const struct command *c = ferry_commands; c->name; c++) {
		command_page(c, "ferry", &text);
		snprintf(name, sizeof(name), "ferry-%s.1.md", c->name);
		page_matches(name, &text);
	}
}

static void each_option(const struct command *table)
{
	for (const struct command *c = table; c->name; c++) {
		bool letter[128] = { false };

		EXPECT(c->brief && (c->run || c->sub));
		for (const struct opt *o = c->opts; o && o->name; o++) {
			EXPECT((o->kind == OPT_FLAG) == !o->arg);
			if (o->letter && letter[(int)o->letter])
				fail_msg("%s has -%c twice", c->name, o->letter);
			letter[(int)o->letter] = true;
			for (const struct opt *p = c->opts; p != o; p++)
				if (!strcmp(p->name, o->name))
					fail_msg("%s has --%s twice", c->name, o->name);
		}
		if (c->sub)
			each_option(c->sub);
	}
}

TEST(every_table_is_sane) { each_option(ferry_commands); }

/* What cannot be a number is refused, and a leading zero changes nothing. */
TEST(numbers_are_what_people_take_them_for)
{
	uint64_t n;

	EXPECT_EQ(opt_num("010", &n), 0);
	EXPECT_EQ(n, 10);
	EXPECT_EQ(opt_num("0x10", &n), 0);
	EXPECT_EQ(n, 16);
	EXPECT_EQ(opt_bytes("1.5G", &n), 0);
	EXPECT_EQ(n, 1536 * MIB);
	EXPECT_EQ(opt_bytes("1.5e300G", &n), -EINVAL);	/* no uint64_t can hold it */
	EXPECT_EQ(opt_time("1.0e3s", &n), -EINVAL);
	EXPECT_EQ(opt_bytes("-1", &n), -EINVAL);
}
