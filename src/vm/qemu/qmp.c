/* See qmp.h. */
#include "vm/qemu/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/step.h"

enum { LINES_PER_POLL = 256, JSON_DEPTH = 24 };	/* a flood of events must not keep the manager here */

/* ---- members */

json_object *qmp_member(json_object *o, const char *path, json_type type)
{
	char name[QMP_WORD];

	for (;;) {
		size_t n = strcspn(path, ".");

		if (n >= sizeof(name) || !json_object_is_type(o, json_type_object))
			return NULL;
		memcpy(name, path, n);
		name[n] = '\0';
		if (!json_object_object_get_ex(o, name, &o))
			return NULL;
		if (!path[n])
			return json_object_is_type(o, type) ? o : NULL;
		path += n + 1;
	}
}

const char *qmp_text(json_object *o, const char *path)
{
	json_object *s = qmp_member(o, path, json_type_string);

	return s ? json_object_get_string(s) : "";
}

uint64_t qmp_number(json_object *o, const char *path)
{
	json_object *i = qmp_member(o, path, json_type_int), *d = i ? NULL : qmp_member(o, path, json_type_double);
	double v = d ? json_object_get_double(d) : 0;
	int64_t n = i ? json_object_get_int64(i) : 0;

	if (d)
		return v > 0 && v < 9e18 ? (uint64_t)v : 0;
	return n > 0 ? (uint64_t)n : 0;
}

bool qmp_true(json_object *o, const char *path)
{
	json_object *b = qmp_member(o, path, json_type_boolean);

	return b && json_object_get_boolean(b);
}

size_t qmp_length(json_object *list) { return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0; }

/* ---- life */

int qmp_init(struct qmp *q, const char *path, uint64_t patience_ns, struct err *err)
{
	memset(q, 0, sizeof(*q));
	line_init(&q->line);
	q->patience_ns = patience_ns;
	if (snprintf(q->path, sizeof(q->path), "%s", path) >= (int)sizeof(q->path))
		return err_set(err, -ENAMETOOLONG, "%s: the path of a socket may have %zu bytes", path, sizeof(q->path) - 1);
	q->tok = json_tokener_new_ex(JSON_DEPTH);
	return q->tok ? 0 : err_set(err, -ENOMEM, "no memory for QEMU's monitor");
}

static void calls_drop(struct qmp *q)
{
	for (unsigned i = 0; i < QMP_CALLS_MAX; i++) {
		json_object_put(q->call[i].ret);
		q->call[i] = (struct qmp_call){ 0 };
	}
}

void qmp_hang_up(struct qmp *q)
{
	line_hang_up(&q->line);
	calls_drop(q);
	q->at = q->broken = 0;
	q->greeted = false;
	q->hello_id = 0;
	q->seen = (struct qmp_seen){ 0 };
}

void qmp_fini(struct qmp *q)
{
	if (!q->tok)
		return;
	qmp_hang_up(q);
	json_tokener_free(q->tok);
	q->tok = NULL;
}

bool qmp_is_open(const struct qmp *q) { return q->line.fd >= 0 && q->greeted && !q->hello_id && !q->at && !q->broken; }

static int broken(struct qmp *q, int rc, const char *why)
{
	q->broken = rc;
	snprintf(q->why, sizeof(q->why), "%s", why);
	return rc;
}

/* ---- what comes in */

static struct qmp_call *call_of(struct qmp *q, uint32_t id)
{
	for (unsigned i = 0; id && i < QMP_CALLS_MAX; i++)
		if (q->call[i].id == id)
			return &q->call[i];
	return NULL;
}

static void on_event(struct qmp *q, const char *name, json_object *o)
{
	struct qmp_seen *s = &q->seen;

	if (!strcmp(name, "STOP"))
		s->stops++;
	else if (!strcmp(name, "RESUME")) {
		s->resumes++;
		s->shutdown = false; /* with -no-shutdown it may be started again */
	}
	else if (!strcmp(name, "RESET"))
		s->resets++;
	else if (!strcmp(name, "SHUTDOWN")) {
		s->shutdown = true;
		s->by_guest = qmp_true(o, "data.guest");
		line_clean(s->reason, sizeof(s->reason), qmp_text(o, "data.reason"));
	} else if (!strcmp(name, "MIGRATION")) {
		s->migrations++;
		line_clean(s->migration, sizeof(s->migration), qmp_text(o, "data.status"));
	}
}

/* Only ids that we gave, and each once. One that was given up (deadline, forgotten) is no longer in the table, but not a lie either. */
static int on_answer(struct qmp *q, json_object *o)
{
	json_object *id = qmp_member(o, "id", json_type_int), *e = qmp_member(o, "error", json_type_object), *ret = NULL;
	int64_t n = id ? json_object_get_int64(id) : 0;
	struct qmp_call *c;
	char why[200];

	if (e && !json_object_object_get_ex(o, "id", NULL)) {
		line_clean(why, sizeof(why), qmp_text(e, "desc"));
		return broken(q, -EPROTO, why);
	}
	if (n <= 0 || n > q->last_id || (!e && !json_object_object_get_ex(o, "return", &ret)))
		return broken(q, -EPROTO, "it answers what was not asked");
	c = call_of(q, (uint32_t)n);
	if (!c || c->answered)
		return 0;
	c->answered = true;
	c->ret = json_object_get(ret);
	if (e) {
		c->rc = -EIO;
		line_clean(c->why, sizeof(c->why), qmp_text(e, "desc"));
	}
	return 0;
}

static int on_greeting(struct qmp *q, json_object *o)
{
	if (!qmp_member(o, "QMP.version.qemu", json_type_object))
		return broken(q, -EPROTO, "it does not greet as a QEMU does");
	q->major = (unsigned)MIN(qmp_number(o, "QMP.version.qemu.major"), 9999u);
	q->minor = (unsigned)MIN(qmp_number(o, "QMP.version.qemu.minor"), 9999u);
	q->micro = (unsigned)MIN(qmp_number(o, "QMP.version.qemu.micro"), 9999u);
	q->greeted = true;
	return 0;
}

static int on_line(struct qmp *q, const char *text, size_t len)
{
	json_object *o;
	const char *event;
	int rc = 0;

	json_tokener_reset(q->tok);
	o = json_tokener_parse_ex(q->tok, text, (int)len + 1); /* with the NUL, so that a bare number ends too */
	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		return broken(q, -EPROTO, "what it says is not JSON");
	}
	event = qmp_text(o, "event");
	if (!q->greeted)
		rc = on_greeting(q, o);
	else if (event[0])
		on_event(q, event, o);
	else
		rc = on_answer(q, o);
	json_object_put(o);
	return rc;
}

static int take_lines(struct qmp *q)
{
	size_t len;
	char *text;

	for (unsigned i = 0; i < LINES_PER_POLL && !q->broken; i++) {
		int rc = line_get(&q->line, &text, &len);

		if (rc == -EAGAIN)
			return 0;
		if (rc == -EMSGSIZE)
			return broken(q, rc, "it sends a line longer than a megabyte");
		if (rc)
			return broken(q, rc, rc == -EPIPE ? "it has closed the connection" : strerror(-rc));
		if (len)
			rc = on_line(q, text, len);
		if (rc)
			return rc;
	}
	return q->broken;
}

int qmp_poll(struct qmp *q, struct err *err)
{
	if (q->line.fd < 0)
		return err_set(err, -ENOTCONN, "not connected to a QEMU at %s", q->path);
	line_flush(&q->line); /* an end shows when reading */
	if (!q->broken && take_lines(q) == 0)
		return 0;
	if (q->seen.shutdown && q->seen.by_guest)
		return err_set(err, -ENODEV, "the guest has powered off (QEMU at %s has ended)", q->path);
	if (q->seen.shutdown)
		return err_set(err, -ENODEV, "QEMU at %s has ended: it was told to (%s)", q->path, q->seen.reason);
	if (q->broken == -EPIPE || q->broken == -ECONNRESET)
		return err_set(err, -ENODEV, "QEMU at %s is gone", q->path);
	return err_set(err, q->broken, "what answers at %s is not a QEMU monitor that can be used: %s", q->path, q->why);
}

/* ---- commands */

int64_t qmp_send(struct qmp *q, const char *command, json_object *args, int pass, struct err *err)
{
	json_object *o = json_object_new_object();
	struct qmp_call *c = NULL;
	struct buf text = { 0 };
	int rc = -ENOMEM;

	for (unsigned i = 0; i < QMP_CALLS_MAX && !c; i++)
		c = q->call[i].id ? NULL : &q->call[i];
	if (o && c) {
		json_object_object_add(o, "execute", json_object_new_string(command));
		json_object_object_add(o, "id", json_object_new_int64(q->last_id + 1));
		if (args)
			json_object_object_add(o, "arguments", json_object_get(args));
		buf_printf(&text, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
		rc = text.failed ? -ENOMEM : line_put(&q->line, (char *)text.data, text.len, pass);
	}
	if (rc && pass >= 0)
		close(pass);
	buf_fini(&text);
	json_object_put(o);
	json_object_put(args);
	if (rc == -EPIPE || rc == -ECONNRESET)
		return err_set(err, -ENODEV, "QEMU at %s is gone", q->path);
	if (rc)
		return err_set(err, rc, "'%s' cannot be sent to QEMU at %s: %s", command, q->path, c ? strerror(-rc) : "too much waits for an answer");
	*c = (struct qmp_call){ .id = ++q->last_id, .deadline_ns = line_now_ns() + q->patience_ns };
	snprintf(c->command, sizeof(c->command), "%s", command);
	return c->id;
}

void qmp_forget(struct qmp *q, uint32_t id)
{
	struct qmp_call *c = call_of(q, id);

	if (!c)
		return;
	json_object_put(c->ret);
	*c = (struct qmp_call){ 0 };
}

int qmp_take(struct qmp *q, uint32_t id, json_object **ret, struct err *err)
{
	struct qmp_call *c = call_of(q, id);
	int rc;

	*ret = NULL;
	if (!c)
		return err_set(err, -ESTALE, "a command to QEMU at %s was given up", q->path);
	rc = c->answered ? 0 : qmp_poll(q, err);
	if (!rc && !c->answered && line_now_ns() < c->deadline_ns)
		return -EAGAIN;
	if (!rc && !c->answered)
		rc = err_set(err, -ETIMEDOUT, "QEMU at %s did not answer '%s' within %llu s", q->path, c->command,
			     (unsigned long long)(q->patience_ns / 1000000000ull));
	else if (c->answered && c->rc)
		rc = err_set(err, c->rc, "QEMU at %s refuses '%s': %s", q->path, c->command, c->why);
	else if (c->answered) {
		rc = 0; /* also if the connection ended right behind the answer */
		*ret = json_object_get(c->ret);
	}
	qmp_forget(q, id);
	return rc;
}

/* QEMU drops commands that wait when their sender hangs up, and often has not looked yet. So our end of the connection goes to QEMU with
 * the command: it stays open, as long as QEMU does, though we close it here. */
void qmp_quit(struct qmp *q)
{
	int ours = qmp_is_open(q) ? fcntl(q->line.fd, F_DUPFD_CLOEXEC, 0) : -1;

	if (ours >= 0 && qmp_send(q, "quit", NULL, ours, NULL) > 0)
		line_flush(&q->line);
	qmp_hang_up(q);
}

/* ---- open */

static int dial(struct qmp *q, struct err *err)
{
	int rc = line_dial(&q->line, q->path);

	if (!rc || rc == -EAGAIN)
		return rc;
	return err_set(err, rc, "no QEMU answers at %s (%s): is it running, with -qmp unix:%s,server=on,wait=off ?", q->path, strerror(-rc),
		       q->path);
}

static int silent(struct qmp *q, struct err *err)
{
	return err_set(err, -ETIMEDOUT, "QEMU's monitor at %s has not greeted within %llu s: is another client connected to it? give ferry a "
		       "-qmp of its own", q->path, (unsigned long long)(q->patience_ns / 1000000000ull));
}

static int open_steps(struct qmp *q, struct err *err)
{
	json_object *ret;
	int64_t id;
	int rc;

	STEP_BEGIN(q->at);
	qmp_hang_up(q);
	q->deadline_ns = line_now_ns() + q->patience_ns;
	STEP_WAIT(q->at, (rc = dial(q, err)) != -EAGAIN || line_now_ns() >= q->deadline_ns);
	if (rc)
		return rc == -EAGAIN ? silent(q, err) : rc;
	STEP_WAIT(q->at, (rc = qmp_poll(q, err)) || q->greeted || line_now_ns() >= q->deadline_ns);
	if (rc)
		return rc;
	if (!q->greeted)
		return silent(q, err);
	id = qmp_send(q, "qmp_capabilities", NULL, -1, err);
	if (id < 0)
		return (int)id;
	q->hello_id = (uint32_t)id;
	STEP_WAIT(q->at, (rc = qmp_take(q, q->hello_id, &ret, err)) != -EAGAIN);
	json_object_put(ret);
	if (rc)
		return rc;
	q->hello_id = 0;
	STEP_END(q->at);
}

int qmp_open(struct qmp *q, struct err *err)
{
	int rc = qmp_is_open(q) ? 0 : open_steps(q, err);

	if (rc && rc != -EAGAIN)
		qmp_hang_up(q);
	return rc;
}
