/* See store_bucket.h. */
#include "verify/store_bucket.h"

#include <errno.h>
#include <stdio.h>

const char bucket_schema[] =
	"CREATE TABLE IF NOT EXISTS bucket(signature TEXT PRIMARY KEY, first_seen TEXT, last_seen TEXT, count INTEGER, seed INTEGER, commands INTEGER, "
	"why TEXT);";

static int bind_all(sqlite3_stmt *s, const char *sig, uint64_t seed, uint64_t commands, const char *why)
{
	int rc = sqlite3_bind_text(s, 1, sig, -1, SQLITE_TRANSIENT);

	rc = rc ? rc : sqlite3_bind_int64(s, 2, (sqlite3_int64)seed);
	rc = rc ? rc : sqlite3_bind_int64(s, 3, (sqlite3_int64)commands);
	return rc ? rc : sqlite3_bind_text(s, 4, why, -1, SQLITE_TRANSIENT);
}

int bucket_put(sqlite3 *db, const char *sig, uint64_t seed, uint64_t commands, const char *why)
{
	static const char sql[] = "INSERT INTO bucket VALUES(?1, datetime('now'), datetime('now'), 1, ?2, ?3, ?4) ON CONFLICT(signature) DO UPDATE SET "
				  "last_seen = datetime('now'), count = count + 1, "
				  "seed = CASE WHEN ?3 < commands THEN ?2 ELSE seed END, why = CASE WHEN ?3 < commands THEN ?4 ELSE why END, "
				  "commands = MIN(commands, ?3)";
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);

	rc = rc ? rc : bind_all(s, sig, seed, commands, why);
	if (!rc && sqlite3_step(s) != SQLITE_DONE)
		rc = sqlite3_errcode(db);
	sqlite3_finalize(s);
	return rc;
}

static int open_it(const char *path, sqlite3 **db, struct err *err)
{
	if (!sqlite3_open(path, db) && !sqlite3_busy_timeout(*db, 5000) && !sqlite3_exec(*db, bucket_schema, NULL, NULL, NULL))
		return 0;
	err_set(err, -EIO, "%s: %s", path, *db ? sqlite3_errmsg(*db) : "no memory");
	sqlite3_close(*db);
	return -EIO;
}

int store_failure(const char *path, const char *sig, uint64_t seed, const char *why, struct err *err)
{
	sqlite3 *db = NULL;
	int rc = open_it(path, &db, err);

	if (rc)
		return rc;
	if (bucket_put(db, sig, seed, INT64_MAX, why))
		rc = err_set(err, -EIO, "%s: %s", path, sqlite3_errmsg(db));
	sqlite3_close(db);
	return rc;
}

static void column(sqlite3_stmt *s, int n, char *out, size_t cap)
{
	const unsigned char *text = sqlite3_column_text(s, n);

	snprintf(out, cap, "%s", text ? (const char *)text : "");
}

int store_buckets(const char *path, void (*each)(void *ctx, const struct bucket *), void *ctx, struct err *err)
{
	FILE *f = fopen(path, "re"); /* SQLite would make an empty one */
	sqlite3_stmt *s = NULL;
	sqlite3 *db = NULL;
	int rc, n = 0;

	if (!f)
		return err_set(err, -errno, "%s cannot be read: %s", path, strerror(errno));
	fclose(f);
	rc = open_it(path, &db, err);
	if (rc)
		return rc;
	rc = sqlite3_prepare_v2(db, "SELECT signature, why, first_seen, last_seen, count, seed, commands FROM bucket ORDER BY count DESC, signature", -1,
				&s, NULL);
	while (!rc && (rc = sqlite3_step(s)) == SQLITE_ROW) {
		struct bucket b;

		column(s, 0, b.sig, sizeof(b.sig));
		column(s, 1, b.why, sizeof(b.why));
		column(s, 2, b.first_seen, sizeof(b.first_seen));
		column(s, 3, b.last_seen, sizeof(b.last_seen));
		b.count = (uint64_t)sqlite3_column_int64(s, 4);
		b.seed = (uint64_t)sqlite3_column_int64(s, 5);
		b.commands = (uint64_t)sqlite3_column_int64(s, 6);
		each(ctx, &b);
		n++;
		rc = 0;
	}
	if (rc != SQLITE_DONE)
		n = err_set(err, -EIO, "%s: %s", path, sqlite3_errmsg(db));
	sqlite3_finalize(s);
	sqlite3_close(db);
	return n;
}
