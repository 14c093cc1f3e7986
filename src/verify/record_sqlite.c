/* A record as tables, for people who want to ask questions with sqlite3. Called by `ferry verify export --format sqlite`. The record
 * stays the truth; this is a view of it, made in one transaction into a new file.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "verify/record.h"

static const char schema[] =
	"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
	"CREATE TABLE run(id INTEGER PRIMARY KEY, title TEXT, seed INTEGER);"
	"CREATE TABLE txn(uid INTEGER PRIMARY KEY, parent INTEGER, kind TEXT NOT NULL, actor TEXT, t_start INTEGER, t_end INTEGER,"
	" ctrl INTEGER, sq INTEGER, cq INTEGER, cid INTEGER, opc INTEGER, addr INTEGER, len INTEGER, val INTEGER, status INTEGER,"
	" msg INTEGER, hash TEXT, note TEXT, raw BLOB, test TEXT);"
	"CREATE TABLE txn_link(src INTEGER NOT NULL, dst INTEGER NOT NULL, kind TEXT NOT NULL);"
	"BEGIN;";
static const char finish[] =
	"CREATE INDEX txn_parent ON txn(parent, kind); CREATE INDEX txn_kind ON txn(kind, t_start); CREATE INDEX txn_link_src ON txn_link(src);"
	"CREATE VIEW orphan AS SELECT * FROM txn WHERE parent IS NOT NULL AND parent NOT IN (SELECT uid FROM txn);"
	"COMMIT;";

struct sink { sqlite3 *db; sqlite3_stmt *run, *txn, *done, *link; char test[REC_NOTE_MAX]; };

static int db_fail(struct sink *s, struct err *err, const char *path)
{
	return err_set(err, -EIO, "sqlite: %s: %s", path, s->db ? sqlite3_errmsg(s->db) : "out of memory");
}

static bool prepare(struct sink *s)
{
	return !sqlite3_prepare_v2(s->db, "INSERT INTO run(title, seed) VALUES(?, ?)", -1, &s->run, NULL) &&
	       !sqlite3_prepare_v2(s->db, "INSERT INTO txn VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", -1, &s->txn, NULL) &&
	       !sqlite3_prepare_v2(s->db, "UPDATE txn SET t_end=?, status=coalesce(?, status) WHERE uid=?", -1, &s->done, NULL) &&
	       !sqlite3_prepare_v2(s->db, "INSERT INTO txn_link VALUES(?,?,?)", -1, &s->link, NULL);
}

static void bind(sqlite3_stmt *st, int at, uint64_t v, uint64_t absent)
{
	if (v == absent)
		sqlite3_bind_null(st, at);
	else
		sqlite3_bind_int64(st, at, (int64_t)v);
}

static void bind_text(sqlite3_stmt *st, int at, const char *text)
{
	if (*text)
		sqlite3_bind_text(st, at, text, -1, SQLITE_TRANSIENT);
	else
		sqlite3_bind_null(st, at);
}

static bool step(sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	sqlite3_reset(st);
	return rc == SQLITE_DONE;
}

static bool put_txn(struct sink *s, const struct rec *r)
{
	char hash[24] = "";

	if (r->hash)
		snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)r->hash);
	bind(s->txn, 1, r->uid, 0);
	bind(s->txn, 2, r->parent, 0);
	bind_text(s->txn, 3, rec_kind_name(r->kind));
	bind_text(s->txn, 4, rec_actor_name(r->actor));
	sqlite3_bind_int64(s->txn, 5, (int64_t)r->t0_ns);
	bind(s->txn, 6, r->t1_ns, 0);
	bind(s->txn, 7, r->ctrl, REC_NONE);
	bind(s->txn, 8, r->sq, REC_NONE);
	bind(s->txn, 9, r->cq, REC_NONE);
	bind(s->txn, 10, r->cid, REC_NONE);
	sqlite3_bind_int64(s->txn, 11, r->opc);
	sqlite3_bind_int64(s->txn, 12, (int64_t)r->addr);
	sqlite3_bind_int64(s->txn, 13, r->len);
	sqlite3_bind_int64(s->txn, 14, (int64_t)r->val);
	bind(s->txn, 15, r->status, REC_STATUS_NONE);
	bind(s->txn, 16, r->msg_id, REC_STATUS_NONE);
	bind_text(s->txn, 17, hash);
	bind_text(s->txn, 18, r->note);
	if (r->raw_len)
		sqlite3_bind_blob(s->txn, 19, r->raw, (int)r->raw_len, SQLITE_TRANSIENT);
	else
		sqlite3_bind_null(s->txn, 19);
	bind_text(s->txn, 20, s->test);
	return step(s->txn);
}

static bool put_item(struct sink *s, const struct rec_item *it)
{
	switch (it->what) {
	case REC_ITEM_RUN:
		bind_text(s->run, 1, it->rec.note);
		sqlite3_bind_int64(s->run, 2, (int64_t)it->seed);
		return step(s->run);
	case REC_ITEM_TXN:
		return put_txn(s, &it->rec);
	case REC_ITEM_DONE:
		sqlite3_bind_int64(s->done, 1, (int64_t)it->rec.t1_ns);
		bind(s->done, 2, it->rec.status, REC_STATUS_NONE);
		sqlite3_bind_int64(s->done, 3, (int64_t)it->rec.uid);
		return step(s->done);
	case REC_ITEM_LINK:
		sqlite3_bind_int64(s->link, 1, (int64_t)it->from);
		sqlite3_bind_int64(s->link, 2, (int64_t)it->to);
		bind_text(s->link, 3, rec_link_name(it->link));
		return step(s->link);
	case REC_ITEM_TEST:
		memcpy(s->test, it->rec.note, sizeof(s->test));
		return true;
	}
	return true;
}

static int fill(struct sink *s, struct rec_reader *rd, const char *out, struct err *err)
{
	struct rec_item it;
	int rc;

	if (sqlite3_exec(s->db, schema, NULL, NULL, NULL) || !prepare(s))
		return db_fail(s, err, out);
	while ((rc = rec_read(rd, &it, err)) == 1)
		if (!put_item(s, &it))
			return db_fail(s, err, out);
	if (rc)
		return rc;
	return sqlite3_exec(s->db, finish, NULL, NULL, NULL) ? db_fail(s, err, out) : 0;
}

int rec_sqlite(const char *record, const char *out, struct err *err)
{
	struct rec_reader *rd = rec_reader_open(record, err);
	struct sink s = { 0 };
	int rc = rd ? 0 : -ENOENT;

	if (!rc && !access(out, F_OK))
		rc = err_set(err, -EEXIST, "sqlite: %s is there already", out);
	if (!rc && sqlite3_open(out, &s.db))
		rc = db_fail(&s, err, out);
	rc = rc ? rc : fill(&s, rd, out, err);
	sqlite3_finalize(s.run);
	sqlite3_finalize(s.txn);
	sqlite3_finalize(s.done);
	sqlite3_finalize(s.link);
	sqlite3_close(s.db);
	rec_reader_close(rd);
	return rc;
}
