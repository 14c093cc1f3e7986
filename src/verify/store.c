/* SQLite. Every statement is prepared; nothing of a run's text becomes SQL. */
#include "verify/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>

#include "verify/checklist.h"
#include "verify/report.h"
#include "verify/signature.h"
#include "verify/store_bucket.h"

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS run(id INTEGER PRIMARY KEY, backend TEXT, dut TEXT, seed INTEGER, seconds REAL, commands INTEGER, caps INTEGER);"
	"CREATE TABLE IF NOT EXISTS test(run INTEGER REFERENCES run(id), id TEXT, verdict TEXT, seconds REAL, commands INTEGER, why TEXT);"
	"CREATE TABLE IF NOT EXISTS bin(id INTEGER PRIMARY KEY, name TEXT UNIQUE, kind TEXT);"
	"CREATE TABLE IF NOT EXISTS hit(run INTEGER REFERENCES run(id), bin INTEGER REFERENCES bin(id), count INTEGER);"
	"CREATE TABLE IF NOT EXISTS checklist(run INTEGER REFERENCES run(id), item TEXT, class TEXT, state TEXT);"
	"CREATE TABLE IF NOT EXISTS failure(run INTEGER REFERENCES run(id), test TEXT, signature TEXT, why TEXT, trace TEXT);";

static int wrong(sqlite3 *db, const char *path, struct err *err)
{
	return err_set(err, -EIO, "%s: %s", path, db ? sqlite3_errmsg(db) : "no memory");
}

static int open_db(const char *path, sqlite3 **db, struct err *err)
{
	if (sqlite3_open(path, db) || sqlite3_busy_timeout(*db, 5000) || sqlite3_exec(*db, schema, NULL, NULL, NULL) ||
	    sqlite3_exec(*db, bucket_schema, NULL, NULL, NULL)) {
		int rc = wrong(*db, path, err);

		sqlite3_close(*db);
		*db = NULL;
		return rc;
	}
	return 0;
}

/* A statement with its values: i integer, f double, t text. */
static int put(sqlite3 *db, const char *sql, const char *types, ...)
{
	sqlite3_stmt *s = NULL;
	va_list ap;
	int rc = sqlite3_prepare_v2(db, sql, -1, &s, NULL);

	va_start(ap, types);
	for (int i = 1; !rc && types[i - 1]; i++)
		if (types[i - 1] == 'i')
			rc = sqlite3_bind_int64(s, i, va_arg(ap, sqlite3_int64));
		else if (types[i - 1] == 'f')
			rc = sqlite3_bind_double(s, i, va_arg(ap, double));
		else
			rc = sqlite3_bind_text(s, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
	va_end(ap);
	if (!rc && sqlite3_step(s) != SQLITE_DONE)
		rc = sqlite3_errcode(db);
	sqlite3_finalize(s);
	return rc;
}

#define I(x) ((sqlite3_int64)(x))

static int put_tests(sqlite3 *db, sqlite3_int64 run, const struct vrun *r)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < r->results; i++) {
		const struct vresult *t = &r->result[i];
		char sig[SIG_MAX];

		rc = put(db, "INSERT INTO test VALUES(?,?,?,?,?,?)", "ittfit", run, t->test->id, vt_verdict_name(t->verdict),
			 (double)t->ns / 1e9, I(t->commands), t->why);
		if (rc || (t->verdict != VT_FAIL && t->verdict != VT_ERROR && t->verdict != VT_XFAIL))
			continue;
		sig_of(t, sig);
		rc = put(db, "INSERT INTO failure VALUES(?,?,?,?,?)", "itttt", run, t->test->id, sig, t->why, t->trace ? t->trace : "");
		if (!rc)
			rc = bucket_put(db, sig, r->cfg.seed, t->commands, t->why);
	}
	return rc;
}

static int put_hits(sqlite3 *db, sqlite3_int64 run, const struct cov *c)
{
	int rc = 0;

	for (unsigned i = 0; !rc && c && i < cov_points(c); i++) {
		const struct cov_point *p = cov_point(c, i);

		rc = put(db, "INSERT OR IGNORE INTO bin(name,kind) VALUES(?,?)", "tt", p->name, cov_kind_name(p->kind));
		if (!rc && cov_hits(c, i))
			rc = put(db, "INSERT INTO hit SELECT ?, id, ? FROM bin WHERE name=?", "iit", run, I(cov_hits(c, i)), p->name);
	}
	return rc;
}

static int put_checklist(sqlite3 *db, sqlite3_int64 run, const struct vrun *r)
{
	int rc = 0;

	for (unsigned i = 0; !rc && vitem_at(i); i++)
		rc = put(db, "INSERT INTO checklist VALUES(?,?,?,?)", "ittt", run, vitem_at(i)->id, vclass_name(vitem_at(i)->class),
			 report_item_name(report_item(r, vitem_at(i))));
	return rc;
}

int store_run(const char *path, const struct vrun *r, const struct cov *c, struct err *err)
{
	sqlite3_int64 run;
	sqlite3 *db;
	int rc = open_db(path, &db, err);

	if (rc)
		return rc;
	rc = put(db, "BEGIN", "");
	if (!rc)
		rc = put(db, "INSERT INTO run(backend,dut,seed,seconds,commands,caps) VALUES(?,?,?,?,?,?)", "ttifii", r->dut->backend, r->dut->about,
			 I(r->cfg.seed), (double)r->ns / 1e9, I(r->commands), I(r->vt->caps));
	run = sqlite3_last_insert_rowid(db);
	if (!rc)
		rc = put_tests(db, run, r);
	if (!rc)
		rc = put_hits(db, run, c);
	if (!rc)
		rc = put_checklist(db, run, r);
	if (!rc)
		rc = put(db, "COMMIT", "");
	if (rc)
		rc = wrong(db, path, err);
	sqlite3_close(db);
	return rc;
}

static void column(sqlite3_stmt *s, int n, char *out, size_t cap)
{
	const unsigned char *text = sqlite3_column_text(s, n);

	snprintf(out, cap, "%s", text ? (const char *)text : "");
}

static void one_run(struct cov_runs *r, sqlite3_stmt *s)
{
	unsigned i = r->n++;

	if (i >= COV_RUNS)
		return;
	r->run[i].seed = (uint64_t)sqlite3_column_int64(s, 1);
	r->run[i].seconds = sqlite3_column_double(s, 2);
	r->run[i].good = !sqlite3_column_int64(s, 5);
	column(s, 3, r->run[i].backend, sizeof(r->run[i].backend));
	column(s, 4, r->run[i].dut, sizeof(r->run[i].dut));
}

int store_coverage(const char *path, struct cov *c, uint64_t *caps, struct cov_runs *runs, struct err *err)
{
	sqlite3_stmt *s = NULL;
	sqlite3 *db;
	FILE *f = fopen(path, "re"); /* SQLite would make an empty one */
	int rc;

	if (!f)
		return err_set(err, -errno, "%s cannot be read: %s", path, strerror(errno));
	fclose(f);
	rc = open_db(path, &db, err);
	if (rc)
		return rc;
	rc = sqlite3_prepare_v2(db, "SELECT caps, seed, seconds, backend, dut, (SELECT COUNT(*) FROM failure WHERE failure.run = run.id) FROM run", -1,
				&s, NULL);
	while (!rc && sqlite3_step(s) == SQLITE_ROW) {
		*caps |= (uint64_t)sqlite3_column_int64(s, 0);
		one_run(runs, s);
	}
	sqlite3_finalize(s);
	s = NULL;
	if (!rc)
		rc = sqlite3_prepare_v2(db, "SELECT bin.name, SUM(hit.count) FROM hit JOIN bin ON bin.id = hit.bin GROUP BY bin.name", -1, &s, NULL);
	while (!rc && sqlite3_step(s) == SQLITE_ROW)
		cov_add(c, (const char *)sqlite3_column_text(s, 0), (uint64_t)sqlite3_column_int64(s, 1));
	sqlite3_finalize(s);
	if (rc)
		rc = wrong(db, path, err);
	sqlite3_close(db);
	return rc;
}
