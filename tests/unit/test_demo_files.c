/* The demo's verdict on files must be able to say no: one byte, one missing byte, one missing file. */
#include "t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/demo_files.h"

struct rig { char dir[32], from[48], to[48]; struct demo_files files; struct err err; };

static void put(const char *dir, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	EXPECT(f != NULL);
	fputs(text, f);
	fclose(f);
}

static void rig_init(struct rig *r)
{
	char deep[64];

	*r = (struct rig){ .dir = "/tmp/ferry-t-XXXXXX" };
	EXPECT(mkdtemp(r->dir) != NULL);
	snprintf(r->from, sizeof(r->from), "%s/from", r->dir);
	snprintf(r->to, sizeof(r->to), "%s/to", r->dir);
	snprintf(deep, sizeof(deep), "%s/d", r->from);
	EXPECT(!mkdir(r->from, 0700) && !mkdir(r->to, 0700) && !mkdir(deep, 0700));
	put(r->from, "one", "first");
	put(r->from, "d/two", "second");
	EXPECT_EQ(demo_files_add(&r->files, r->from, r->to, "one"), 0);
	EXPECT_EQ(demo_files_add(&r->files, r->from, r->to, "d/two"), 0);
}

static void rig_fini(struct rig *r)
{
	demo_files_fini(&r->files);
	EXPECT_EQ(demo_remove_tree(r->dir), 0);
	EXPECT(access(r->dir, F_OK));
}

TEST(equal_trees_are_equal)
{
	struct rig r;

	rig_init(&r);
	EXPECT_EQ(r.files.count, 2);
	EXPECT_EQ(r.files.bytes, 11);
	EXPECT_EQ(demo_files_compare(&r.files, r.to, &r.err), 0);
	rig_fini(&r);
}

TEST(each_difference_is_found_and_named)
{
	struct rig r;
	char path[64];

	rig_init(&r);
	put(r.to, "d/two", "sec0nd");
	EXPECT_EQ(demo_files_compare(&r.files, r.to, &r.err), -EBADMSG);
	EXPECT_STR(r.err.text, "d/two came back different");
	put(r.to, "d/two", "secon");
	EXPECT_EQ(demo_files_compare(&r.files, r.to, &r.err), -EBADMSG);
	put(r.to, "d/two", "second");
	EXPECT_EQ(demo_files_compare(&r.files, r.to, &r.err), 0);
	snprintf(path, sizeof(path), "%s/one", r.to);
	EXPECT_EQ(unlink(path), 0);
	EXPECT_EQ(demo_files_compare(&r.files, r.to, &r.err), -EBADMSG);
	rig_fini(&r);
}
