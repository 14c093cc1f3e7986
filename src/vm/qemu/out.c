/* The source: QEMU sends its memory, stops the processors when what is left fits the time allowed, and waits there (pre-switchover)
 * until our own device's last writes and state are out. Then the rest goes. Until then everything can be taken back (resume).
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "vm/qemu/inside.h"

enum { STATUS, MIGRATE, CAPS, PARAMS };	/* answers of begin's first round */
enum { P_STATUS, P_MIGRATE, P_PCI };	/* of pause's */
enum { COMMAND_DWORD = 1 << 1 };	/* as a bit, see pci_image.h */
enum { LIMIT_MAX_MS = 2000000 };	/* QEMU's own */

/* ---- begin */

static int judge_begin(struct vm_qemu *v, struct err *err)
{
	const char *status = qmp_text(v->got[STATUS], "status"), *migration = qmp_text(v->got[MIGRATE], "status");
	json_object *blocked = qmp_member(v->got[MIGRATE], "blocked-reasons", json_type_array);
	char word[QMP_WORD], why[200];

	line_clean(word, sizeof(word), status);
	v->was_running = qmp_true(v->got[STATUS], "running");
	if (!strcmp(status, "inmigrate"))
		return err_set(err, -EBUSY, "QEMU at %s has no guest to move: it waits for one (-incoming)", v->qmp.path);
	if (!v->was_running && strcmp(status, "paused") && strcmp(status, "prelaunch"))
		return err_set(err, -EBUSY, "the guest of QEMU at %s cannot be moved now: its state is '%s'", v->qmp.path, word);
	if (qemu_migrating(migration))
		return err_set(err, -EBUSY, "QEMU at %s is being migrated by somebody else already (%s): let that end, or migrate_cancel it",
			       v->qmp.path, line_clean(word, sizeof(word), migration));
	if (qmp_length(blocked))
		return err_set(err, -ENOTSUP, "QEMU at %s refuses to be migrated: %s", v->qmp.path,
			       line_clean(why, sizeof(why), json_object_get_string(json_object_array_get_idx(blocked, 0))));
	return 0;
}

/* What we set, and what was set: it is put back if the move is given up. Encryption is the link's business, not of a socket inside this machine. */
static int set_params(struct vm_qemu *v, json_object *have, struct err *err)
{
	static const char *const names[] = { "max-bandwidth", "avail-switchover-bandwidth", "downtime-limit" };
	json_object *set = json_object_new_object(), *old = json_object_new_object();

	for (size_t i = 0; set && old && i < ARRAY_LEN(names); i++) {
		json_object_object_add(set, names[i], json_object_new_int64(0)); /* unlimited; measure it; never */
		json_object_object_add(old, names[i], json_object_new_int64((int64_t)qmp_number(have, names[i])));
	}
	if (set && old && qmp_text(have, "tls-creds")[0]) {
		json_object_object_add(set, "tls-creds", qemu_str(""));
		json_object_object_add(old, "tls-creds", qemu_str(qmp_text(have, "tls-creds")));
	}
	json_object_put(v->old_params);
	v->old_params = old;
	return qemu_ask(v, "migrate-set-parameters", set, err);
}

static int ask_begin(struct vm_qemu *v, struct err *err)
{
	static const char *const commands[] = { [STATUS] = "query-status", [MIGRATE] = "query-migrate", [CAPS] = "query-migrate-capabilities",
						[PARAMS] = "query-migrate-parameters" };
	int rc = 0;

	qemu_asks_clear(v);
	for (size_t i = 0; !rc && i < ARRAY_LEN(commands); i++)
		rc = qemu_ask(v, commands[i], NULL, err);
	return rc;
}

static int prepare(struct vm_qemu *v, struct err *err)
{
	json_object *caps = json_object_get(v->got[CAPS]), *params = json_object_get(v->got[PARAMS]);
	int rc = judge_begin(v, err), theirs = -1;

	qemu_asks_clear(v);
	v->side = rc ? SIDE_NONE : SIDE_OUT; /* from here on resume has something to take back */
	v->at_rest = rc != 0;
	rc = rc ? rc : qemu_stream_open(v, &theirs, err);
	rc = rc ? rc : qemu_caps(v, caps, false, err);
	rc = rc ? rc : set_params(v, params, err);
	if (!rc) {
		rc = qemu_ask_with(v, "getfd", qemu_args("fdname", qemu_str("ferry")), theirs, err);
		theirs = -1;
	}
	if (theirs >= 0)
		close(theirs);
	json_object_put(caps);
	json_object_put(params);
	return rc;
}

int qemu_out_begin_steps(struct vm_qemu *v, struct err *err)
{
	int rc;

	STEP_BEGIN(v->at);
	rc = ask_begin(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	rc = rc ? rc : prepare(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	if (rc)
		return rc;
	v->progress = (struct vm_stream){ 0 };
	v->hold = true;
	v->read_bytes = 0;
	v->read_until = 16 * KIB; /* headers; the first answer to query-migrate says more */
	v->limit_ms = v->steered_ns = 0;
	v->resumes = v->qmp.seen.resumes;
	rc = qemu_ask(v, "migrate", qemu_args("uri", qemu_str("fd:ferry")), err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	if (rc)
		return rc;
	v->begun = true;
	STEP_END(v->at);
}

/* ---- the stream */

int64_t qemu_out_read(struct vm *vm, void *buf, size_t cap, struct err *err)
{
	struct vm_qemu *v = (struct vm_qemu *)vm;
	ssize_t n;

	if (v->side != SIDE_OUT || !v->begun || v->fd < 0)
		return err_set(err, -ESTALE, "QEMU at %s sends nothing", v->qmp.path);
	if (v->hold && !v->standing) {
		if (v->read_bytes >= v->read_until)
			return -EAGAIN;
		cap = MIN(cap, v->read_until - v->read_bytes);
	}
	n = recv(v->fd, buf, cap, 0);
	if (n >= 0) {
		v->read_bytes += (uint64_t)n;
		v->quiet_ns = 0;
		return n;
	}
	if (errno != EAGAIN && errno != EINTR)
		return err_set(err, -errno, "the stream of QEMU at %s has broken off: %s", v->qmp.path, strerror(errno));
	if (!v->quiet_ns)
		v->quiet_ns = line_now_ns();
	return -EAGAIN;
}

/* Tells QEMU the time allowed when it has changed, at most ten times a second. */
static int steer(struct vm_qemu *v, uint64_t allowed_ns, struct err *err)
{
	uint64_t ms = allowed_ns ? MIN(MAX(allowed_ns / QEMU_NS_PER_MS, 1u), (uint64_t)LIMIT_MAX_MS) : 0, now = line_now_ns();
	json_object *o;
	int64_t id;
	int rc;

	if (v->steer_id) {
		rc = qmp_take(&v->qmp, v->steer_id, &o, err);
		if (rc == -EAGAIN)
			return 0;
		json_object_put(o);
		v->steer_id = 0;
		if (rc)
			return rc;
	}
	if (ms)
		v->hold = false;
	if (ms == v->limit_ms || (ms && v->limit_ms && now - v->steered_ns < QEMU_POLL_MS * QEMU_NS_PER_MS))
		return 0;
	id = qmp_send(&v->qmp, "migrate-set-parameters", qemu_args("downtime-limit", json_object_new_int64((int64_t)ms)), -1, err);
	if (id < 0)
		return (int)id;
	v->steer_id = (uint32_t)id;
	v->limit_ms = ms;
	v->steered_ns = now;
	return 0;
}

static bool stands(const struct vm_qemu *v)
{
	return !strcmp(v->qmp.seen.migration, "pre-switchover") || !strcmp(v->watch.status, "pre-switchover");
}

static int ended_early(struct vm_qemu *v, struct err *err)
{
	if (v->watch.id || v->watch.migrations != v->qmp.seen.migrations || qemu_migrating(v->watch.status) || !v->watch.answered)
		return 0;
	return err_set(err, -EIO, "the migration of QEMU at %s has ended before its time (%s)%s%s", v->qmp.path, v->watch.status[0] ? v->watch.status : "none",
		       v->watch.why[0] ? ": " : "", v->watch.why);
}

int qemu_out_settle(struct vm *vm, uint64_t allowed_ns, struct vm_stream *progress, struct err *err)
{
	struct vm_qemu *v = (struct vm_qemu *)vm;
	int rc = 0;

	if (v->side != SIDE_OUT || !v->begun)
		return err_set(err, -ESTALE, "QEMU at %s sends nothing", v->qmp.path);
	if (!v->standing) {
		/* Held back, and what the last answer let us read is read: ask at once, or the first pass would crawl. */
		bool starved = v->hold && v->read_bytes >= v->read_until && v->read_bytes != v->watch.read_at_ask;

		rc = qemu_watch(v, starved, err);
		rc = rc ? rc : steer(v, allowed_ns, err);
		v->standing = !rc && stands(v);
		rc = rc ? rc : v->standing ? 0 : ended_early(v, err) ? -EIO : -EAGAIN;
	}
	*progress = v->progress;
	return rc;
}

/* ---- pause: the processors stand already */

static int judge_pause(struct vm_qemu *v, struct err *err)
{
	char word[QMP_WORD];

	if (qmp_true(v->got[P_STATUS], "running") || strcmp(qmp_text(v->got[P_MIGRATE], "status"), "pre-switchover"))
		return err_set(err, -ESTALE, "QEMU at %s does not stand any more (%s, migration %s): somebody else has resumed it", v->qmp.path,
			       line_clean(word, sizeof(word), qmp_text(v->got[P_STATUS], "status")), qmp_text(v->got[P_MIGRATE], "status"));
	v->resets = v->qmp.seen.resets;
	v->resumes = v->qmp.seen.resumes;
	v->image.latch = v->list.a[0].value;
	return qemu_find_pci(v, v->got[P_PCI], &v->image.bus, &v->image.devfn, err);
}

static int ask_pause(struct vm_qemu *v, struct err *err)
{
	static const char *const commands[] = { [P_STATUS] = "query-status", [P_MIGRATE] = "query-migrate", [P_PCI] = "query-pci" };
	int rc = 0;

	qemu_asks_clear(v);
	for (size_t i = 0; !rc && i < ARRAY_LEN(commands); i++)
		rc = qemu_ask(v, commands[i], NULL, err);
	return rc ? rc : qemu_look_latch(v, err);
}

static int ask_config(struct vm_qemu *v, uint64_t dwords, struct err *err)
{
	v->image.known = dwords;
	pci_image_ask_config(&v->list, v->image.bus, v->image.devfn, v->image.latch, dwords);
	return qtest_start(&v->qtest, &v->list, err);
}

/* Reading the command register goes through QEMU to our own server (the identifiers may be QEMU's own), behind every register write that
 * the processors have posted: when it is answered, they have arrived there. That is what pause promises. */
int qemu_out_pause_steps(struct vm_qemu *v, struct err *err)
{
	int rc;

	STEP_BEGIN(v->at);
	v->deadline_ns = line_now_ns() + v->qmp.patience_ns;
	STEP_WAIT(v->at, (rc = qtest_open(&v->qtest, err)) != -EAGAIN || line_now_ns() >= v->deadline_ns);
	rc = rc ? rc : ask_pause(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qtest_run(&v->qtest, err)) != -EAGAIN);
	rc = rc ? rc : judge_pause(v, err);
	rc = rc ? rc : ask_config(v, COMMAND_DWORD, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qtest_run(&v->qtest, err)) != -EAGAIN);
	if (rc)
		return rc;
	v->paused = true;
	STEP_END(v->at);
}

static int ask_one(struct vm_qemu *v, const char *command, struct err *err)
{
	qemu_asks_clear(v);
	return qemu_ask(v, command, NULL, err);
}

/* ---- finish */

/* QEMU resumes its guest by itself when the rest cannot be sent, and lets it be reset while it stands: then what was sent is not true. */
static int still_true(struct vm_qemu *v, struct err *err)
{
	if (v->qmp.seen.resets != v->resets)
		return err_set(err, -ESTALE, "the guest of QEMU at %s was reset while it was being moved", v->qmp.path);
	if (v->qmp.seen.resumes != v->resumes)
		return err_set(err, -ESTALE, "the guest of QEMU at %s was resumed while it was being moved%s%s", v->qmp.path,
			       v->watch.why[0] ? ": " : "", v->watch.why);
	return 0;
}

static int sent_all(struct vm_qemu *v, struct err *err)
{
	const char *told = v->qmp.seen.migration;
	bool quiet = v->quiet_ns && line_now_ns() - v->quiet_ns > MIN(QEMU_NS_PER_S, v->qmp.patience_ns);
	int rc = qmp_poll(&v->qmp, err);

	/* While it sends, QEMU answers nobody, however long we take to carry that away: its event says when to ask. */
	if (rc || (!v->watch.id && !quiet && (!told[0] || qemu_migrating(told))))
		return rc ? rc : -EAGAIN;
	rc = qemu_watch(v, false, err);
	if (rc)
		return rc;
	if (!strcmp(v->watch.status, "completed"))
		return 0;
	rc = ended_early(v, err);
	if (rc)
		return rc;
	if (v->quiet_ns && line_now_ns() - v->quiet_ns > v->qmp.patience_ns)
		return err_set(err, -ETIMEDOUT, "QEMU at %s has sent nothing for %llu s, and does not say that it is done", v->qmp.path,
			       (unsigned long long)(v->qmp.patience_ns / QEMU_NS_PER_S));
	return -EAGAIN;
}

/* The rest, if this function is laid out otherwise than ours usually are. */
static int ask_rest(struct vm_qemu *v, struct err *err)
{
	memset(v->image.cfg, 0, sizeof(v->image.cfg));
	pci_image_take_config(&v->list, v->image.known, v->image.cfg);
	return pci_image_needs(v->image.cfg, v->image.known) & ~v->image.known ? ask_config(v, ~0ull, err) : 0;
}

static int ask_table(struct vm_qemu *v, struct err *err)
{
	struct access *a;
	uint64_t at = 0;
	int rc;

	pci_image_take_config(&v->list, v->image.known, v->image.cfg);
	v->image.table_bytes = 0;
	rc = pci_image_table_at(v->image.cfg, &at, &v->image.table_bytes, err);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	v->list.n = 0;
	a = access_add(&v->list, ACCESS_READ, at, 0);
	a->bytes = v->image.table_bytes;
	a->data = v->image.table;
	return qtest_start(&v->qtest, &v->list, err);
}

/* What QEMU does not send is read when it has sent everything else: the target loads meanwhile. */
int qemu_out_finish_steps(struct vm_qemu *v, struct err *err)
{
	int rc;

	STEP_BEGIN(v->at);
	rc = still_true(v, err);
	if (rc)
		return rc;
	qemu_asks_clear(v);
	v->continued = true;
	rc = qemu_ask(v, "migrate-continue", qemu_args("state", qemu_str("pre-switchover")), err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	if (rc)
		return rc;
	v->quiet_ns = 0;
	STEP_WAIT(v->at, (rc = sent_all(v, err)) != -EAGAIN);
	if (rc)
		return rc;
	rc = ask_config(v, pci_image_usual(), err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qtest_run(&v->qtest, err)) != -EAGAIN);
	rc = rc ? rc : ask_rest(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qtest_run(&v->qtest, err)) != -EAGAIN);
	rc = rc ? rc : ask_table(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qtest_run(&v->qtest, err)) != -EAGAIN);
	rc = rc ? rc : ask_one(v, "query-status", err);
	if (rc)
		return rc;
	/* Its answer comes behind all events that matter. */
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	rc = rc ? rc : still_true(v, err);
	if (rc)
		return rc;
	v->image.running = v->was_running;
	v->finished = true;
	STEP_END(v->at);
}

int64_t qemu_out_image(struct vm *vm, void *buf, size_t cap, struct err *err)
{
	struct vm_qemu *v = (struct vm_qemu *)vm;
	size_t n;

	if (!v->finished)
		return err_set(err, -ESTALE, "QEMU at %s has not sent everything", v->qmp.path);
	n = pci_image_pack(&v->image, buf, cap);
	return n ? (int64_t)n : err_set(err, -EMSGSIZE, "the image of the PCI function has more than %zu bytes", cap);
}

/* ---- resume: whatever was going on is taken back */

/* Goes on when the migration has ended, however: a cancel may come too late, then it is complete, and the guest is still here. */
static int cancelled(struct vm_qemu *v, struct err *err)
{
	int rc = qemu_watch(v, false, err);

	if (rc)
		return rc;
	if (v->watch.answered && !qemu_migrating(v->watch.status) && !v->watch.id)
		return 0;
	if (line_now_ns() < v->deadline_ns)
		return -EAGAIN;
	return err_set(err, -ETIMEDOUT, "QEMU at %s does not end its migration: its state is '%s'", v->qmp.path, v->watch.status);
}

static bool leave_paused(const struct vm_qemu *v) { return v->side == SIDE_OUT && !v->was_running; }

/* Asks for `cont` if it does not run; then, or at once, for its status again. */
static int ask_run(struct vm_qemu *v, struct err *err)
{
	static const char *const may[] = { "paused", "postmigrate", "prelaunch", "finish-migrate" };
	const char *status = qmp_text(v->got[0], "status");
	bool running = qmp_true(v->got[0], "running"), known = false;
	char word[QMP_WORD];
	int rc = 0;

	line_clean(word, sizeof(word), status);
	for (size_t i = 0; i < ARRAY_LEN(may); i++)
		known |= !strcmp(word, may[i]);
	if (!strcmp(word, "inmigrate"))
		return err_set(err, -ESTALE, "QEMU at %s waits for a guest: there is none to run", v->qmp.path);
	if (!running && !known)
		return err_set(err, -EIO, "the guest of QEMU at %s cannot run: its state is '%s'", v->qmp.path, word);
	qemu_asks_clear(v);
	if (!running && !leave_paused(v))
		rc = qemu_ask(v, "cont", NULL, err);
	return rc ? rc : qemu_ask(v, "query-status", NULL, err);
}

static int judge_run(struct vm_qemu *v, struct err *err)
{
	json_object *last = v->got[v->asks - 1];
	char word[QMP_WORD];

	if (qmp_true(last, "running") || leave_paused(v))
		return 0;
	return err_set(err, -EIO, "the guest of QEMU at %s does not run: its state is '%s'", v->qmp.path,
		       line_clean(word, sizeof(word), qmp_text(last, "status")));
}

/* Capabilities first: parameters are judged by them. That a setting stays as we made it is no reason to call the guest's return a failure. */
static void ask_put_back(struct vm_qemu *v)
{
	qemu_asks_clear(v);
	if (v->side == SIDE_OUT && qmp_length(v->old_caps))
		qemu_ask(v, "migrate-set-capabilities", qemu_args("capabilities", json_object_get(v->old_caps)), NULL);
	if (v->side == SIDE_OUT && v->old_params)
		qemu_ask(v, "migrate-set-parameters", json_object_get(v->old_params), NULL);
}

int qemu_out_resume_steps(struct vm_qemu *v, struct err *err)
{
	struct err ignored = { "" };
	int rc;

	STEP_BEGIN(v->at);
	/* While it sends the rest, QEMU answers nobody: it would wait for us to read on, and we for its answer. Without a reader it fails, and
	 * the guest stays here. */
	if (v->continued && !v->finished && v->fd >= 0) {
		close(v->fd);
		v->fd = -1;
	}
	rc = ask_one(v, "query-migrate", err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	if (rc)
		return rc;
	if (qemu_migrating(qmp_text(v->got[0], "status"))) {
		rc = ask_one(v, "migrate_cancel", err);
		if (rc)
			return rc;
		STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
		if (rc)
			return rc;
		qemu_watch_reset(v);
		v->deadline_ns = line_now_ns() + v->qmp.patience_ns;
		STEP_WAIT(v->at, (rc = cancelled(v, err)) != -EAGAIN);
		if (rc)
			return rc;
	}
	qemu_stream_forget(v);
	rc = ask_one(v, "query-status", err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	rc = rc ? rc : ask_run(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	rc = rc ? rc : judge_run(v, err);
	if (rc)
		return rc;
	ask_put_back(v);
	STEP_WAIT(v->at, (rc = qemu_answers(v, &ignored)) != -EAGAIN);
	if (rc)
		log_warn("settings of migration were not put back: %s", ignored.text);
	v->side = SIDE_NONE;
	v->at_rest = true;
	STEP_END(v->at);
}
