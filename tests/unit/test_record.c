/* The record store: what is put is what is read, torn and hostile files, limits, tables. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "t.h"
#include "verify/record.h"

static char dir[64];

static const char *path_of(const char *name)
{
	static char path[4][128];
	static unsigned n;
	char *p = path[n++ % 4];

	if (!dir[0]) {
		strcpy(dir, "/tmp/ferry-record-XXXXXX");
		EXPECT(mkdtemp(dir) != NULL);
	}
	snprintf(p, 128, "%s/%s", dir, name);
	unlink(p);
	return p;
}

__attribute__((destructor)) static void sweep(void)
{
	char cmd[96];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	if (dir[0])
		(void)!system(cmd);
}

static void write_file(const char *path, const void *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	EXPECT_EQ(write(fd, p, n), n);
	close(fd);
}

static struct rec full_one(uint8_t *raw)
{
	struct rec r = rec_blank(REC_CMD, REC_BY_HOST, 1000);

	for (unsigned i = 0; i < 64; i++)
		raw[i] = (uint8_t)(i * 37);
	r.t1_ns = 0;
	r.parent = 7;
	r.hash = 0x0123456789abcdefull;
	r.addr = 0xfffffffffffff000ull;
	r.val = UINT64_MAX;
	r.len = 64;
	r.status = 0x4002;
	r.msg_id = 0xffff;
	r.ctrl = 1, r.sq = 0, r.cq = 3, r.cid = 0xfffe, r.opc = 0x45;
	r.raw = raw;
	r.raw_len = 64;
	strcpy(r.note, "a \"quoted\" \\ word\n\x01 and \xff");
	return r;
}

TEST(what_is_put_is_read)
{
	const char *path = path_of("all");
	struct rec_cfg cfg = { .path = path, .title = "t\"t", .seed = 42 };
	struct rec_store *s = rec_open(&cfg, NULL);
	struct rec_reader *rd;
	struct rec_item it;
	uint8_t raw[64];
	struct rec r = full_one(raw), bare = rec_blank(REC_MSIX, REC_BY_DEV, 5);

	EXPECT(s);
	EXPECT_EQ(rec_put(s, &r), 1);
	EXPECT_EQ(rec_put(s, &bare), 2);
	rec_test(s, 6, "some.test");
	rec_link(s, 2, 1, REC_LINK_SIGNALS);
	rec_done(s, 1, 99, 0x39);
	EXPECT_EQ(rec_count(s, REC_CMD), 1);
	EXPECT_EQ(rec_close(s, NULL), 0);

	rd = rec_reader_open(path, NULL);
	EXPECT_EQ(rec_read(rd, &it, NULL), 1);
	EXPECT(it.what == REC_ITEM_RUN && it.seed == 42);
	EXPECT_STR(it.rec.note, "t\"t");
	EXPECT_EQ(rec_read(rd, &it, NULL), 1);
	EXPECT_EQ(it.what, REC_ITEM_TXN);
	EXPECT_EQ(it.rec.raw_len, 64);
	EXPECT_MEM(it.rec.raw, raw, 64);
	it.rec.raw = r.raw;
	EXPECT_STR(it.rec.note, r.note);
	EXPECT(it.rec.uid == r.uid && it.rec.parent == 7 && it.rec.t0_ns == 1000 && it.rec.t1_ns == 0 && it.rec.hash == r.hash);
	EXPECT(it.rec.addr == r.addr && it.rec.val == r.val && it.rec.len == 64 && it.rec.status == 0x4002 && it.rec.msg_id == 0xffff);
	EXPECT(it.rec.kind == REC_CMD && it.rec.actor == REC_BY_HOST && it.rec.ctrl == 1 && it.rec.sq == 0 && it.rec.cq == 3);
	EXPECT(it.rec.cid == 0xfffe && it.rec.opc == 0x45);
	EXPECT_EQ(rec_read(rd, &it, NULL), 1);
	EXPECT(it.rec.kind == REC_MSIX && it.rec.ctrl == REC_NONE && it.rec.status == REC_STATUS_NONE && it.rec.t1_ns == 5);
	EXPECT_EQ(rec_read(rd, &it, NULL), 1);
	EXPECT_EQ(it.what, REC_ITEM_TEST);
	EXPECT_STR(it.rec.note, "some.test");
	EXPECT_EQ(rec_read(rd, &it, NULL), 1);
	EXPECT(it.what == REC_ITEM_LINK && it.from == 2 && it.to == 1 && it.link == REC_LINK_SIGNALS);
	EXPECT_EQ(rec_read(rd, &it, NULL), 1);
	EXPECT(it.what == REC_ITEM_DONE && it.rec.uid == 1 && it.rec.t1_ns == 99 && it.rec.status == 0x39);
	EXPECT_EQ(rec_read(rd, &it, NULL), 0);
	rec_reader_close(rd);
}

/* The writer may be killed at any byte: what was whole is read, the torn rest is not an error. */
TEST(cut_at_every_byte)
{
	const char *path = path_of("whole"), *cut = path_of("cut");
	struct rec_cfg cfg = { .path = path };
	struct rec_store *s = rec_open(&cfg, NULL);
	char text[4096];
	uint8_t raw[64];
	struct rec r = full_one(raw);
	int fd, n;

	rec_put(s, &r);
	r.uid = 0;
	rec_put(s, &r);
	EXPECT_EQ(rec_close(s, NULL), 0);
	fd = open(path, O_RDONLY);
	n = (int)read(fd, text, sizeof(text));
	close(fd);
	EXPECT(n > 200);
	for (int at = 0; at <= n; at++) {
		struct rec_reader *rd;
		struct rec_item it;
		int items = 0, lines = 0, rc;

		for (int i = 0; i < at; i++)
			lines += text[i] == '\n';
		write_file(cut, text, (size_t)at);
		rd = rec_reader_open(cut, NULL);
		while ((rc = rec_read(rd, &it, NULL)) == 1)
			items++;
		EXPECT_EQ(rc, 0);
		EXPECT_EQ(items, lines);
		rec_reader_close(rd);
	}
}

TEST(hostile_lines_are_refused)
{
	static const char *const bad[] = {
		"x\n", "{\n", "{}\n", "{\"uid\":1}\n", "{\"uid\":0,\"kind\":\"cmd\"}\n", "{\"uid\":1,\"kind\":\"none such\"}\n",
		"{\"uid\":1,\"kind\":\"cmd\",\"ctrl\":65536}\n", "{\"uid\":18446744073709551616,\"kind\":\"cmd\"}\n",
		"{\"uid\":-1,\"kind\":\"cmd\"}\n", "{\"uid\":1,\"kind\":\"cmd\",\"raw\":\"0\"}\n", "{\"uid\":1,\"kind\":\"cmd\",\"raw\":\"0g\"}\n",
		"{\"uid\":1,\"kind\":\"cmd\"} more\n", "{\"uid\":1,\"kind\":\"cmd\",\"note\":\"\\u12\"}\n", "{\"uid\":1,\"kind\":cmd}\n",
		"{\"uid\":1,\"kind\":\"cmd\",\"hash\":\"01\"}\n", "{\"uid\":\"1\",\"kind\":\"cmd\"}\n", "{\"uid\":1,\"kind\":\"cmd\",\"note\":\"\\\n",
	};
	const char *path = path_of("bad");
	struct rec_item it;
	struct err err;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct rec_reader *rd;

		write_file(path, bad[i], strlen(bad[i]));
		rd = rec_reader_open(path, NULL);
		EXPECT_EQ(rec_read(rd, &it, &err), -EPROTO);
		EXPECT(strstr(err.text, "line 1") != NULL);
		rec_reader_close(rd);
	}
}

TEST(long_lines_and_notes_are_refused)
{
	static char line[3 * REC_LINE_MAX];
	const char *path = path_of("long");
	size_t sizes[] = { REC_NOTE_MAX + 1, 2 * REC_RAW_MAX + 2, 2 * REC_LINE_MAX };

	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		int n = snprintf(line, sizeof(line), "{\"uid\":1,\"kind\":\"cmd\",\"%s\":\"", i == 1 ? "raw" : "note");
		struct rec_reader *rd;
		struct rec_item it;

		memset(line + n, '0', sizes[i]);
		strcpy(line + n + sizes[i], "\"}\n");
		write_file(path, line, strlen(line));
		rd = rec_reader_open(path, NULL);
		EXPECT_EQ(rec_read(rd, &it, NULL), -EPROTO);
		rec_reader_close(rd);
	}
}

/* A record that reached its limit says so; the run goes on. */
TEST(a_limit_is_told)
{
	struct rec_cfg cfg = { .path = path_of("limit"), .max_bytes = REC_LINE_MAX + 1000 };
	struct rec_store *s = rec_open(&cfg, NULL);
	struct rec r = rec_blank(REC_DBL, REC_BY_HOST, 1);
	struct err err;

	for (unsigned i = 0; i < 1000; i++) {
		r.uid = 0;
		EXPECT_EQ(rec_put(s, &r), i + 1);
	}
	EXPECT(rec_lost(s) > 900);
	EXPECT_EQ(rec_count(s, REC_DBL), 1000);
	EXPECT_EQ(rec_close(s, &err), -EFBIG);
}

TEST(a_full_disk_is_told)
{
	struct rec r = rec_blank(REC_DBL, REC_BY_HOST, 1);
	const char *path = path_of("full");
	struct rec_cfg cfg = { .path = path };
	struct rec_store *s;
	struct err err;

	EXPECT_EQ(rec_close(rec_open(&cfg, NULL), NULL), 0);
	EXPECT(rec_open(&cfg, &err) == NULL); /* never over somebody's record */
	cfg.path = "/dev/full";
	EXPECT(rec_open(&cfg, &err) == NULL);
	unlink(path);
	cfg.path = path;
	s = rec_open(&cfg, NULL);
	for (int fd = 3; fd < 64; fd++) { /* the store's descriptor turns into a full disk */
		char link[64], to[128] = "";

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		if (readlink(link, to, sizeof(to) - 1) > 0 && !strcmp(to, path)) {
			int full = open("/dev/full", O_WRONLY);

			dup2(full, fd);
			close(full);
		}
	}
	rec_put(s, &r);
	rec_flush(s);
	r.uid = 0;
	rec_put(s, &r);
	EXPECT_EQ(rec_close(s, &err), -ENOSPC);
}

static int64_t ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st;
	int64_t v;

	EXPECT_EQ(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	EXPECT_EQ(sqlite3_step(st), SQLITE_ROW);
	v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

TEST(tables)
{
	const char *path = path_of("tables"), *out = path_of("tables.db");
	struct rec_cfg cfg = { .path = path, .title = "title", .seed = 9 };
	struct rec_store *s = rec_open(&cfg, NULL);
	uint8_t raw[64];
	struct rec r = full_one(raw), d = rec_blank(REC_DATA, REC_BY_DEV, 2000);
	sqlite3 *db;

	r.parent = 0;
	r.status = REC_STATUS_NONE;
	rec_put(s, &r);
	rec_test(s, 1500, "x");
	d.parent = r.uid;
	rec_put(s, &d);
	d.uid = 0;
	d.parent = 77;
	rec_put(s, &d);
	rec_done(s, r.uid, 3000, 0x2);
	rec_link(s, d.uid, r.uid, REC_LINK_NEAREST);
	EXPECT_EQ(rec_close(s, NULL), 0);
	EXPECT_EQ(rec_sqlite(path, out, NULL), 0);
	EXPECT_EQ(rec_sqlite(path, out, NULL), -EEXIST);
	EXPECT_EQ(sqlite3_open(out, &db), SQLITE_OK);
	EXPECT_EQ(ask(db, "SELECT seed FROM run"), 9);
	EXPECT_EQ(ask(db, "SELECT count(*) FROM txn"), 3);
	EXPECT_EQ(ask(db, "SELECT status FROM txn WHERE kind='cmd' AND t_end=3000 AND length(raw)=64"), 2);
	EXPECT_EQ(ask(db, "SELECT count(*) FROM txn WHERE test='x'"), 2);
	EXPECT_EQ(ask(db, "SELECT count(*) FROM orphan"), 1);
	EXPECT_EQ(ask(db, "SELECT dst FROM txn_link WHERE kind='nearest'"), 1);
	sqlite3_close(db);
}
