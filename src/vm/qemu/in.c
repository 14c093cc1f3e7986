/* The target: QEMU loads what the stream brings and then stands; we put back what the stream does not carry, and compare. Nobody runs
 * the guest before resume.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vm/qemu/inside.h"

enum { STATUS, MIGRATE, CAPS };
enum { A_STATUS, A_PCI };

/* ---- begin */

static int ask_begin(struct vm_qemu *v, struct err *err)
{
	static const char *const commands[] = { [STATUS] = "query-status", [MIGRATE] = "query-migrate", [CAPS] = "query-migrate-capabilities" };
	int rc = 0;

	qemu_asks_clear(v);
	for (size_t i = 0; !rc && i < ARRAY_LEN(commands); i++)
		rc = qemu_ask(v, commands[i], NULL, err);
	return rc;
}

static int judge_begin(struct vm_qemu *v, struct err *err)
{
	char word[QMP_WORD];

	if (strcmp(qmp_text(v->got[STATUS], "status"), "inmigrate"))
		return err_set(err, -EBUSY, "QEMU at %s does not wait for a guest, its state is '%s': start it with -incoming defer", v->qmp.path,
			       line_clean(word, sizeof(word), qmp_text(v->got[STATUS], "status")));
	if (qmp_text(v->got[MIGRATE], "status")[0] && strcmp(qmp_text(v->got[MIGRATE], "status"), "none"))
		return err_set(err, -EBUSY, "QEMU at %s has begun to receive a guest already (%s): start a new one with -incoming defer", v->qmp.path,
			       line_clean(word, sizeof(word), qmp_text(v->got[MIGRATE], "status")));
	return 0;
}

/* `stop`: the guest then stands when it has arrived, even if QEMU was started without -S. */
static int prepare(struct vm_qemu *v, struct err *err)
{
	json_object *caps = json_object_get(v->got[CAPS]);
	int rc = judge_begin(v, err), theirs = -1;

	qemu_asks_clear(v);
	v->side = rc ? SIDE_NONE : SIDE_IN;
	rc = rc ? rc : qemu_stream_open(v, &theirs, err);
	rc = rc ? rc : qemu_ask(v, "stop", NULL, err);
	rc = rc ? rc : qemu_caps(v, caps, true, err);
	rc = rc ? rc : qemu_ask(v, "migrate-set-parameters", qemu_args("tls-creds", qemu_str("")), err);
	if (!rc) {
		rc = qemu_ask_with(v, "getfd", qemu_args("fdname", qemu_str("ferry")), theirs, err);
		theirs = -1;
	}
	if (theirs >= 0)
		close(theirs);
	json_object_put(caps);
	return rc;
}

static int ask_early(struct vm_qemu *v, struct err *err)
{
	int rc;

	qemu_asks_clear(v);
	rc = qemu_ask(v, "query-pci", NULL, err);
	return rc ? rc : qemu_look_latch(v, err);
}

static int ask_config(struct vm_qemu *v, uint8_t bus, uint8_t devfn, uint32_t latch, uint64_t dwords, struct err *err)
{
	pci_image_ask_config(&v->list, bus, devfn, latch, dwords);
	return qtest_start(&v->qtest, &v->list, err);
}

static void take_config(struct vm_qemu *v, uint64_t dwords)
{
	memset(v->have, 0, sizeof(v->have));
	pci_image_take_config(&v->list, dwords, v->have);
}

int qemu_in_begin_steps(struct vm_qemu *v, struct err *err)
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
	v->resumes = v->qmp.seen.resumes;
	/* Without exit-on-error it stays and can say what was wrong with the stream. */
	rc = qemu_ask(v, "migrate-incoming", qemu_args2("uri", qemu_str("fd:ferry"), "exit-on-error", json_object_new_boolean(false)), err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	if (rc)
		return rc;
	v->deadline_ns = line_now_ns() + v->qmp.patience_ns;
	STEP_WAIT(v->at, (rc = qtest_open(&v->qtest, err)) != -EAGAIN || line_now_ns() >= v->deadline_ns);
	rc = rc ? rc : ask_early(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qtest_run(&v->qtest, err)) != -EAGAIN);
	v->early = !rc && !qemu_find_pci(v, v->got[0], &v->early_bus, &v->early_devfn, NULL);
	rc = rc || !v->early ? rc : ask_config(v, v->early_bus, v->early_devfn, v->list.a[0].value, pci_image_usual(), err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qtest_run(&v->qtest, err)) != -EAGAIN);
	if (rc)
		return rc;
	if (v->early)
		take_config(v, pci_image_usual());
	v->begun = true;
	STEP_END(v->at);
}

/* ---- the stream */

/* Has loading failed? -EIO with QEMU's own reason; 0: not as far as we know. */
static int failed(struct vm_qemu *v, struct err *err)
{
	if (strcmp(v->watch.status, "failed") && strcmp(v->watch.status, "failing"))
		return 0;
	return err_set(err, -EIO, "QEMU at %s cannot take the guest: %s", v->qmp.path,
		       v->watch.why[0] ? v->watch.why : "it does not say why (see what it printed)");
}

/* QEMU takes no more: it says why in a moment. */
static int64_t write_failed(struct vm_qemu *v, int why, struct err *err)
{
	int rc = qemu_watch(v, false, err);

	rc = rc ? rc : failed(v, err);
	if (rc)
		return rc;
	if (!v->quiet_ns)
		v->quiet_ns = line_now_ns();
	if (line_now_ns() - v->quiet_ns < v->qmp.patience_ns)
		return -EAGAIN;
	return err_set(err, why, "QEMU at %s takes no more of the guest and does not say why", v->qmp.path);
}

int64_t qemu_in_write(struct vm *vm, const void *buf, size_t len, struct err *err)
{
	struct vm_qemu *v = (struct vm_qemu *)vm;
	ssize_t n;

	if (v->side != SIDE_IN || !v->begun)
		return err_set(err, -ESTALE, "QEMU at %s receives nothing", v->qmp.path);
	if (!len)
		return shutdown(v->fd, SHUT_WR) ? write_failed(v, -errno, err) : 0;
	n = send(v->fd, buf, len, MSG_NOSIGNAL);
	if (n > 0) {
		v->quiet_ns = 0;
		return n;
	}
	return !n || errno == EAGAIN || errno == EINTR ? -EAGAIN : write_failed(v, -errno, err);
}

/* ---- arrive */

static int loaded(struct vm_qemu *v, struct err *err)
{
	int rc = qemu_watch(v, false, err);

	rc = rc ? rc : failed(v, err);
	if (rc || !strcmp(v->watch.status, "completed"))
		return rc;
	if (line_now_ns() < v->deadline_ns)
		return -EAGAIN;
	return err_set(err, -ETIMEDOUT, "QEMU at %s has the whole stream and has not loaded it within %llu s (its migration is '%s')", v->qmp.path,
		       (unsigned long long)(v->qmp.patience_ns / QEMU_NS_PER_S), v->watch.status);
}

static int ask_place(struct vm_qemu *v, struct err *err)
{
	int rc;

	qemu_asks_clear(v);
	rc = qemu_ask(v, "query-status", NULL, err);
	return rc ? rc : qemu_ask(v, "query-pci", NULL, err);
}

static int judge_place(struct vm_qemu *v, uint8_t *bus, uint8_t *devfn, struct err *err)
{
	int rc;

	if (qmp_true(v->got[A_STATUS], "running") || v->qmp.seen.resumes != v->resumes)
		return err_set(err, -ESTALE, "the guest of QEMU at %s runs already: somebody else has started it", v->qmp.path);
	rc = qemu_find_pci(v, v->got[A_PCI], bus, devfn, err);
	if (rc || (*bus == v->image.bus && *devfn == v->image.devfn))
		return rc;
	return err_set(err, -EINVAL, "the device '%s' was at %02x:%02x.%x at the source and is at %02x:%02x.%x here", v->id, v->image.bus,
		       v->image.devfn >> 3, v->image.devfn & 7, *bus, *devfn >> 3, *devfn & 7);
}

static int replay(struct vm_qemu *v, struct err *err)
{
	int rc = pci_image_fits(&v->image, v->have, err);

	if (rc)
		return rc;
	pci_image_replay(&v->image, v->have, v->table, &v->list);
	return qtest_start(&v->qtest, &v->list, err);
}

/* What the function reads is asked for before the stream comes: the guest does not wait for it then. Loading does not touch a device that
 * it brings nothing for; if it did, the comparison at the end would say so. Behind a bridge the number of the bus comes with the guest. */
static bool early_fits(const struct vm_qemu *v)
{
	return v->early && !v->early_bus && !v->image.bus && v->early_devfn == v->image.devfn && v->image.known == pci_image_usual();
}

int qemu_in_arrive_steps(struct vm_qemu *v, const void *image, size_t len, struct err *err)
{
	uint8_t bus, devfn;
	int rc;

	STEP_BEGIN(v->at);
	rc = pci_image_unpack(&v->image, image, len, err);
	if (rc)
		return rc;
	v->deadline_ns = line_now_ns() + v->qmp.patience_ns;
	STEP_WAIT(v->at, (rc = loaded(v, err)) != -EAGAIN);
	rc = rc ? rc : ask_place(v, err);
	if (rc)
		return rc;
	if (!early_fits(v)) {
		STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
		rc = rc ? rc : judge_place(v, &bus, &devfn, err);
		rc = rc ? rc : ask_config(v, bus, devfn, v->image.latch, v->image.known, err);
		if (rc)
			return rc;
		STEP_WAIT(v->at, (rc = qtest_run(&v->qtest, err)) != -EAGAIN);
		if (rc)
			return rc;
		take_config(v, v->image.known);
	}
	rc = replay(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qtest_run(&v->qtest, err)) != -EAGAIN);
	rc = rc ? rc : pci_image_compare(&v->image, &v->list, v->table, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	rc = rc ? rc : judge_place(v, &bus, &devfn, err);
	if (rc)
		return rc;
	v->arrived = true;
	STEP_END(v->at);
}

/* ---- resume */

/* 0: it runs, or `cont` was not to be said. */
static int judge_runs(struct vm_qemu *v, struct err *err)
{
	json_object *last = v->got[v->asks - 1];
	char word[QMP_WORD];

	if (qmp_true(last, "running") || !v->image.running)
		return 0;
	return err_set(err, -EIO, "the guest of QEMU at %s does not run: its state is '%s'", v->qmp.path,
		       line_clean(word, sizeof(word), qmp_text(last, "status")));
}

int qemu_in_resume_steps(struct vm_qemu *v, struct err *err)
{
	int rc = 0;

	STEP_BEGIN(v->at);
	qemu_asks_clear(v);
	if (v->image.running) /* the move found it running */
		rc = qemu_ask(v, "cont", NULL, err);
	rc = rc ? rc : qemu_ask(v, "query-status", NULL, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	rc = rc ? rc : judge_runs(v, err);
	if (rc)
		return rc;
	qemu_stream_forget(v);
	v->side = SIDE_NONE;
	v->at_rest = true;
	STEP_END(v->at);
}
