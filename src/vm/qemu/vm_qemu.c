/* vm_ops over a QEMU process: jobs, what both ends share, and the operations that belong to neither. See inside.h for the parts.
 *
 * QEMU may wait for an answer of our own vfio-user server while we wait for QEMU: nothing here waits.
 */
#include "vm/qemu/vm_qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "vm/qemu/inside.h"

enum { PATIENCE_S = 10 };

static struct vm_qemu *of(struct vm *v) { return (struct vm_qemu *)v; }

/* ---- asking */

json_object *qemu_str(const char *text) { return json_object_new_string(text); }

static void add(json_object *o, const char *name, json_object *value)
{
	if (!o || json_object_object_add(o, name, value))
		json_object_put(value);
}

json_object *qemu_args(const char *name, json_object *value)
{
	json_object *o = json_object_new_object();

	add(o, name, value);
	return o;
}

json_object *qemu_args2(const char *name, json_object *value, const char *name2, json_object *value2)
{
	json_object *o = qemu_args(name, value);

	add(o, name2, value2);
	return o;
}

void qemu_asks_clear(struct vm_qemu *v)
{
	for (unsigned i = 0; i < v->asks; i++) {
		qmp_forget(&v->qmp, v->ask[i]);
		json_object_put(v->got[i]);
		v->got[i] = NULL;
	}
	v->asks = v->polled = 0;
}

int qemu_ask_with(struct vm_qemu *v, const char *command, json_object *args, int pass, struct err *err)
{
	int64_t id;

	CHECK(v->asks < QEMU_ASKS_MAX);
	id = qmp_send(&v->qmp, command, args, pass, err);
	if (id < 0)
		return (int)id;
	v->ask[v->asks++] = (uint32_t)id;
	return 0;
}

int qemu_ask(struct vm_qemu *v, const char *command, json_object *args, struct err *err)
{
	return qemu_ask_with(v, command, args, -1, err);
}

/* Answers come in the order of the questions. */
int qemu_answers(struct vm_qemu *v, struct err *err)
{
	for (; v->polled < v->asks; v->polled++) {
		int rc = qmp_take(&v->qmp, v->ask[v->polled], &v->got[v->polled], err);

		if (rc)
			return rc;
	}
	return 0;
}

int qemu_look_latch(struct vm_qemu *v, struct err *err)
{
	v->list.n = 0;
	access_add(&v->list, ACCESS_INL, 0xcf8, 0);
	return qtest_start(&v->qtest, &v->list, err);
}

/* ---- jobs */

static void job_drop(struct vm_qemu *v)
{
	qemu_asks_clear(v);
	qtest_give_up(&v->qtest);
	v->job = JOB_NONE;
	v->at = 0;
}

static void job_take(struct vm_qemu *v, enum qemu_job job)
{
	if (v->job != job)
		job_drop(v);
	v->job = job;
}

static int job_end(struct vm_qemu *v, int rc)
{
	if (rc != -EAGAIN)
		job_drop(v);
	return rc;
}

static int job_run(struct vm_qemu *v, enum qemu_job job, int (*steps)(struct vm_qemu *, struct err *), struct err *err)
{
	job_take(v, job);
	return job_end(v, steps(v, err));
}

/* ---- query-migrate */

bool qemu_migrating(const char *status)
{
	return status[0] && strcmp(status, "none") && strcmp(status, "completed") && strcmp(status, "failed") && strcmp(status, "cancelled");
}

static void progress_take(struct vm_qemu *v, json_object *o)
{
	struct vm_stream *p = &v->progress;
	json_object *mbps = qmp_member(o, "ram.mbps", json_type_double);
	double rate = mbps ? json_object_get_double(mbps) * 1e6 / 8 : (double)qmp_number(o, "ram.mbps") * 1e6 / 8;

	if (!qmp_member(o, "ram", json_type_object))
		return;
	p->total = qmp_number(o, "ram.total");
	p->sent = qmp_number(o, "ram.transferred");
	p->left = qmp_number(o, "ram.remaining");
	p->rounds = qmp_number(o, "ram.dirty-sync-count");
	p->rate = rate >= 1 && rate < 1e15 ? (uint64_t)rate : 0;
	p->stop_ns = p->rate ? (uint64_t)MIN((double)p->left / (double)p->rate * 1e9, 1e18) + 1 : 0;
}

/* A page not yet sent will be at least 9 bytes of stream (8 of address and flags, one that says all zero). What QEMU and the socket
 * hold already counts as read: it is out of our hands. */
static void hold_take(struct vm_qemu *v)
{
	uint64_t least = v->progress.left / VM_PAGE * 9, reserve = 2 * QEMU_SNDBUF + 96 * KIB;

	v->read_until = v->watch.read_at_ask + (least > reserve ? least - reserve : 0);
}

static int watch_answer(struct vm_qemu *v, struct err *err)
{
	struct qemu_watch *w = &v->watch;
	json_object *o;
	int rc = qmp_take(&v->qmp, w->id, &o, err);

	if (rc == -EAGAIN)
		return 0;
	w->id = 0;
	if (rc)
		return rc;
	w->answered = true;
	line_clean(w->status, sizeof(w->status), qmp_text(o, "status"));
	line_clean(w->why, sizeof(w->why), qmp_text(o, "error-desc"));
	progress_take(v, o);
	if (qmp_member(o, "ram", json_type_object))
		hold_take(v);
	json_object_put(o);
	return 0;
}

void qemu_watch_reset(struct vm_qemu *v)
{
	qmp_forget(&v->qmp, v->watch.id);
	qmp_forget(&v->qmp, v->steer_id);
	v->watch = (struct qemu_watch){ .id = 0 };
	v->steer_id = 0;
	v->qmp.seen.migration[0] = '\0'; /* what was told of an earlier one does not count */
}

int qemu_watch(struct vm_qemu *v, bool often, struct err *err)
{
	struct qemu_watch *w = &v->watch;
	int64_t id;
	int rc = w->id ? watch_answer(v, err) : qmp_poll(&v->qmp, err);

	if (rc || w->id)
		return rc;
	if (!often && w->migrations == v->qmp.seen.migrations && line_now_ns() < w->due_ns)
		return 0;
	w->migrations = v->qmp.seen.migrations;
	w->due_ns = line_now_ns() + QEMU_POLL_MS * QEMU_NS_PER_MS;
	w->read_at_ask = v->read_bytes;
	id = qmp_send(&v->qmp, "query-migrate", NULL, -1, err);
	if (id < 0)
		return (int)id;
	w->id = (uint32_t)id;
	return 0;
}

/* ---- both ends */

int qemu_find_pci(struct vm_qemu *v, json_object *buses, uint8_t *bus, uint8_t *devfn, struct err *err)
{
	json_object *todo[64]; /* lists of devices still to be looked through */
	unsigned n = 0;

	for (size_t i = 0; i < qmp_length(buses) && n < ARRAY_LEN(todo); i++)
		todo[n++] = qmp_member(json_object_array_get_idx(buses, i), "devices", json_type_array);
	while (n) {
		json_object *list = todo[--n];

		for (size_t i = 0; i < qmp_length(list); i++) {
			json_object *d = json_object_array_get_idx(list, i), *below = qmp_member(d, "pci_bridge.devices", json_type_array);

			if (!strcmp(qmp_text(d, "qdev_id"), v->id)) {
				*bus = (uint8_t)qmp_number(d, "bus");
				*devfn = (uint8_t)((qmp_number(d, "slot") & 31) << 3 | (qmp_number(d, "function") & 7));
				return 0;
			}
			if (below && n < ARRAY_LEN(todo))
				todo[n++] = below;
		}
	}
	return err_set(err, -ENODEV, "the device '%s' of QEMU at %s has no place in the guest's PCI now", v->id, v->qmp.path);
}

void qemu_stream_forget(struct vm_qemu *v)
{
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
	qemu_watch_reset(v);
	v->begun = v->at_rest = v->standing = v->paused = v->continued = v->finished = v->arrived = v->early = false;
	v->quiet_ns = 0;
}

int qemu_stream_open(struct vm_qemu *v, int *theirs, struct err *err)
{
	int fd[2], bytes = QEMU_SNDBUF;

	qemu_stream_forget(v);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
		return err_set(err, -errno, "no socket for the stream of QEMU at %s: %s", v->qmp.path, strerror(errno));
	if (fcntl(fd[0], F_SETFL, O_NONBLOCK) || (v->side == SIDE_OUT && setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)))) {
		close(fd[0]);
		close(fd[1]);
		return err_set(err, -EIO, "no socket for the stream of QEMU at %s", v->qmp.path);
	}
	v->fd = fd[0];
	*theirs = fd[1];
	return 0;
}

static json_object *cap_of(const char *name, bool on)
{
	return qemu_args2("capability", qemu_str(name), "state", json_object_new_boolean(on));
}

/* All that we do not know the stream to work with is off; QEMU names only what it knows. */
int qemu_caps(struct vm_qemu *v, json_object *have, bool incoming, struct err *err)
{
	static const char *const on[] = { "events", "pause-before-switchover", "auto-converge" };
	json_object *set = json_object_new_array(), *old = json_object_new_array();
	unsigned found = 0;

	for (size_t i = 0; set && old && i < qmp_length(have); i++) {
		json_object *c = json_object_array_get_idx(have, i);
		const char *name = qmp_text(c, "capability");
		bool is = qmp_true(c, "state"), want = false;

		for (size_t k = 0; k < ARRAY_LEN(on) - incoming; k++)
			want |= !strcmp(name, on[k]);
		found += want;
		if (is == want)
			continue;
		json_object_array_add(set, cap_of(name, want));
		json_object_array_add(old, cap_of(name, is));
	}
	json_object_put(v->old_caps);
	v->old_caps = old;
	if (found == ARRAY_LEN(on) - incoming)
		return qemu_ask(v, "migrate-set-capabilities", qemu_args("capabilities", set), err);
	json_object_put(set);
	return err_set(err, -ENOTSUP, "QEMU at %s lacks a capability of migration that is needed (events, pause-before-switchover, auto-converge)",
		       v->qmp.path);
}

/* ---- operations */

static bool lives(struct vm_qemu *v) { return v->open && qmp_is_open(&v->qmp) && !qmp_poll(&v->qmp, NULL); }

static int vm_open(struct vm *vm, struct vm_info *info, struct err *err)
{
	struct vm_qemu *v = of(vm);
	int rc = v->job != JOB_OPEN && lives(v) ? 0 : job_run(v, JOB_OPEN, qemu_open_steps, err);

	if (!rc)
		*info = v->info;
	else if (rc != -EAGAIN)
		v->open = false;
	return rc;
}

static int vm_alive(struct vm *vm, struct err *err)
{
	struct vm_qemu *v = of(vm);
	int rc;

	if (!v->open)
		return err_set(err, -ENODEV, "QEMU at %s is not connected", v->qmp.path);
	rc = qmp_poll(&v->qmp, err);
	if (!rc && v->qmp.seen.shutdown) /* with -no-shutdown it stays, but its guest does not */
		rc = err_set(err, -ENODEV, v->qmp.seen.by_guest ? "the guest of QEMU at %s has powered off" : "QEMU at %s is ending", v->qmp.path);
	return rc;
}

static int not_open(struct vm_qemu *v, struct err *err)
{
	return err_set(err, -ENOTCONN, "QEMU at %s is not connected", v->qmp.path);
}

static int vm_begin(struct vm *vm, bool incoming, struct err *err)
{
	struct vm_qemu *v = of(vm);

	if (!v->open)
		return not_open(v, err);
	if (v->begun && v->side == (incoming ? SIDE_IN : SIDE_OUT))
		return 0;
	if (v->side != SIDE_NONE && v->job != JOB_BEGIN)
		return err_set(err, -ESTALE, "a stream of QEMU at %s was begun and not taken back", v->qmp.path);
	return job_run(v, JOB_BEGIN, incoming ? qemu_in_begin_steps : qemu_out_begin_steps, err);
}

static int vm_pause(struct vm *vm, struct err *err)
{
	struct vm_qemu *v = of(vm);

	if (v->paused)
		return 0;
	if (!v->standing)
		return err_set(err, -ESTALE, "the processors of QEMU at %s do not stand yet", v->qmp.path);
	return job_run(v, JOB_PAUSE, qemu_out_pause_steps, err);
}

static int vm_finish(struct vm *vm, struct err *err)
{
	struct vm_qemu *v = of(vm);

	if (v->finished)
		return 0;
	if (!v->paused)
		return err_set(err, -ESTALE, "QEMU at %s was not paused", v->qmp.path);
	return job_run(v, JOB_FINISH, qemu_out_finish_steps, err);
}

static int vm_arrive(struct vm *vm, const void *image, size_t len, struct err *err)
{
	struct vm_qemu *v = of(vm);

	if (v->arrived)
		return 0;
	if (v->side != SIDE_IN || !v->begun)
		return err_set(err, -ESTALE, "QEMU at %s receives nothing", v->qmp.path);
	job_take(v, JOB_ARRIVE);
	return job_end(v, qemu_in_arrive_steps(v, image, len, err));
}

static int vm_resume(struct vm *vm, struct err *err)
{
	struct vm_qemu *v = of(vm);

	if (!v->open)
		return not_open(v, err);
	if (v->at_rest)
		return 0;
	if (v->side == SIDE_IN && !v->arrived)
		return err_set(err, -ESTALE, "the guest of QEMU at %s has not arrived: half a guest must not run", v->qmp.path);
	return job_run(v, JOB_RESUME, v->side == SIDE_IN ? qemu_in_resume_steps : qemu_out_resume_steps, err);
}

static int discard_steps(struct vm_qemu *v, struct err *err)
{
	int rc;

	STEP_BEGIN(v->at);
	qemu_asks_clear(v);
	rc = qemu_ask(v, "query-status", NULL, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	if (rc)
		return rc;
	if (!strcmp(qmp_text(v->got[0], "status"), "inmigrate"))
		return 0; /* not the guest that went: somebody has started it for the way back */
	rc = qemu_ask(v, "quit", NULL, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	if (rc)
		return rc;
	STEP_END(v->at);
}

static int vm_discard(struct vm *vm)
{
	struct vm_qemu *v = of(vm);
	struct err err = { "" };
	int rc;

	if (!v->open)
		return -ENODEV;
	rc = job_run(v, JOB_DISCARD, discard_steps, &err);
	if (rc == -ENODEV) /* gone: what was asked for */
		return 0;
	if (rc && rc != -EAGAIN)
		log_warn("a QEMU whose guest runs elsewhere could not be ended: %s", err.text);
	return rc;
}

static void *vm_mem(struct vm *vm, uint64_t gpa, uint64_t len)
{
	(void)vm, (void)gpa, (void)len;
	return NULL;
}
static int vm_track(struct vm *vm, bool on)
{
	(void)vm, (void)on;
	return 0;
}
static int vm_dirty_next(struct vm *vm, uint64_t *cursor, uint64_t *gpa, uint64_t *bytes)
{
	(void)vm, (void)cursor, (void)gpa, (void)bytes;
	return -ENOENT;
}

static void vm_close(struct vm *vm)
{
	struct vm_qemu *v = of(vm);

	job_drop(v);
	if (v->side == SIDE_IN)
		qmp_quit(&v->qmp);
	qmp_fini(&v->qmp);
	qtest_hang_up(&v->qtest);
	if (v->fd >= 0)
		close(v->fd);
	json_object_put(v->old_caps);
	json_object_put(v->old_params);
	free(v);
}

static const struct vm_ops ops = {
	.open = vm_open, .mem = vm_mem, .track = vm_track, .dirty_next = vm_dirty_next, .pause = vm_pause, .resume = vm_resume,
	.discard = vm_discard, .alive = vm_alive, .close = vm_close, .stream_begin = vm_begin, .stream_read = qemu_out_read,
	.stream_write = qemu_in_write, .stream_settle = qemu_out_settle, .image = qemu_out_image, .stream_finish = vm_finish,
	.arrive = vm_arrive,
};

void vm_qemu_patience(struct vm *vm, uint64_t ns) { of(vm)->qmp.patience_ns = of(vm)->qtest.patience_ns = ns; }

struct vm *vm_qemu_new(const char *path, const char *device_socket, struct err *err)
{
	struct vm_qemu *v = calloc(1, sizeof(*v));
	char qtest_path[sizeof(v->qtest.path)];

	if (!v) {
		err_set(err, -ENOMEM, "no memory for a guest's handle");
		return NULL;
	}
	v->vm.ops = &ops;
	v->fd = -1;
	snprintf(v->device_socket, sizeof(v->device_socket), "%s", device_socket);
	snprintf(qtest_path, sizeof(qtest_path), "%.110s.qtest", path);
	line_init(&v->qtest.line);
	if (!qmp_init(&v->qmp, path, PATIENCE_S * QEMU_NS_PER_S, err) && !qtest_init(&v->qtest, qtest_path, PATIENCE_S * QEMU_NS_PER_S, err))
		return &v->vm;
	vm_close(&v->vm);
	return NULL;
}
