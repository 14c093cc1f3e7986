/* Is this a QEMU whose guest can be moved, and which of its devices is ours? Asked once, at open; what must be equal at both ends becomes
 * the shape. What can change later (status, migrations, blockers) is asked when the stream begins.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vm/qemu/inside.h"

enum { MAJOR_MIN = 11, MINOR_MIN = 1 };
enum { TARGET, MEMDEV, MEMORY, CPUS, MACHINE, NAMED, UNNAMED };	/* answers of the first round */
enum { MEMBERS, ADDR, BUS };					/* of the second */

static int judge_version(struct vm_qemu *v, struct err *err)
{
	const struct qmp *q = &v->qmp;

	if (q->major > MAJOR_MIN || (q->major == MAJOR_MIN && q->minor >= MINOR_MIN))
		return 0;
	return err_set(err, -ENOTSUP, "QEMU %u.%u.%u at %s cannot be used: moving a guest needs 11.1, the first that carries a vfio-user-pci "
		       "device through a migration without giving it up", q->major, q->minor, q->micro, q->path);
}

/* Our server writes into guest memory by its own mapping, and QEMU must send what we wrote: all of it is to be the same pages. */
static int judge_memory(struct vm_qemu *v, struct err *err)
{
	uint64_t need = qmp_number(v->got[MEMORY], "base-memory") + qmp_number(v->got[MEMORY], "plugged-memory"), shared = 0;
	char name[64];

	for (size_t i = 0; i < qmp_length(v->got[MEMDEV]); i++) {
		json_object *m = json_object_array_get_idx(v->got[MEMDEV], i);

		if (!qmp_true(m, "share"))
			return err_set(err, -ENOTSUP, "the memory '%s' of QEMU at %s is not shared: start it with -object "
				       "memory-backend-memfd,id=mem,size=%lluM,share=on -machine ...,memory-backend=mem",
				       line_clean(name, sizeof(name), qmp_text(m, "id")), v->qmp.path, (unsigned long long)(need / MIB));
		shared += MIN(qmp_number(m, "size"), UINT64_MAX / 1024);
	}
	if (need && shared >= need)
		return 0;
	return err_set(err, -ENOTSUP, "QEMU at %s shares %llu of %llu MiB of its memory: start it with -object "
		       "memory-backend-memfd,id=mem,size=%lluM,share=on -machine ...,memory-backend=mem", v->qmp.path,
		       (unsigned long long)(shared / MIB), (unsigned long long)(need / MIB), (unsigned long long)(need / MIB));
}

/* Counts the vfio-user-pci in one of QEMU's lists of devices, remembers the last. */
static unsigned count_ours(struct vm_qemu *v, json_object *list, const char *folder)
{
	unsigned n = 0;

	for (size_t i = 0; i < qmp_length(list); i++) {
		json_object *m = json_object_array_get_idx(list, i);

		if (strcmp(qmp_text(m, "type"), "child<vfio-user-pci>"))
			continue;
		n++;
		line_clean(v->id, sizeof(v->id), qmp_text(m, "name"));
		snprintf(v->qom, sizeof(v->qom), "%s/%s", folder, v->id);
	}
	return n;
}

static int find_device(struct vm_qemu *v, struct err *err)
{
	unsigned unnamed = count_ours(v, v->got[UNNAMED], "/machine/peripheral-anon");
	unsigned named = count_ours(v, v->got[NAMED], "/machine/peripheral");

	if (!named && !unnamed)
		return err_set(err, -ENODEV, "QEMU at %s has no vfio-user-pci device: start it with one whose socket is %s", v->qmp.path,
			       v->device_socket);
	if (named + unnamed > 1)
		return err_set(err, -ENOTSUP, "QEMU at %s has %u vfio-user-pci devices, and a migration carries the state of none: all but the one "
			       "at %s would be lost", v->qmp.path, named + unnamed, v->device_socket);
	if (unnamed)
		return err_set(err, -ENOTSUP, "the vfio-user-pci device of QEMU at %s has no name: give it one (\"id\":\"nvme0\"), the same at both ends",
			       v->qmp.path);
	return 0;
}

/* QEMU does not let the property be read, but names the device's memory regions after it: "vfio-user:PATH BAR 0[0]", with '/' and some other
 * characters of PATH as \x2f. Takes PATH out of such a name. */
static bool socket_of(const char *name, char *path, size_t cap)
{
	const char *end = strstr(name, " base BAR ");
	size_t n = 0;

	end = end ? end : strstr(name, " BAR ");
	if (strncmp(name, "vfio-user:", 10) || !end)
		return false;
	for (name += 10; name < end && n + 1 < cap; n++) {
		char hex[3] = "";

		if (end - name >= 4 && name[0] == '\\' && name[1] == 'x') {
			memcpy(hex, name + 2, 2);
			path[n] = (char)strtoul(hex, NULL, 16);
			name += 4;
		} else
			path[n] = *name++;
	}
	path[n] = '\0';
	return n && name == end;
}

/* The same socket, by its text, or by where it leads. A QEMU in another root names it otherwise; then the file's own name must do. */
static bool same_socket(const char *theirs, const char *ours)
{
	const char *a = strrchr(theirs, '/'), *b = strrchr(ours, '/');
	char *x, *y;
	bool same;

	if (!strcmp(theirs, ours))
		return true;
	x = realpath(theirs, NULL);
	y = realpath(ours, NULL);
	same = x ? y && !strcmp(x, y) : !strcmp(a ? a + 1 : theirs, b ? b + 1 : ours);
	free(x);
	free(y);
	return same;
}

static int judge_device(struct vm_qemu *v, struct err *err)
{
	char path[160], shown[160];

	for (size_t i = 0; i < qmp_length(v->got[MEMBERS]); i++) {
		if (!socket_of(qmp_text(json_object_array_get_idx(v->got[MEMBERS], i), "name"), path, sizeof(path)))
			continue;
		if (same_socket(path, v->device_socket))
			return 0;
		return err_set(err, -ENODEV, "the vfio-user-pci device '%s' of QEMU at %s is connected to %s, not to this guest's %s", v->id,
			       v->qmp.path, line_clean(shown, sizeof(shown), path), v->device_socket);
	}
	return err_set(err, -ENODEV, "cannot tell which socket the vfio-user-pci device '%s' of QEMU at %s is connected to", v->id, v->qmp.path);
}

static void shape(struct vm_qemu *v)
{
	uint64_t addr = json_object_is_type(v->got[ADDR], json_type_int) ? (uint64_t)json_object_get_int64(v->got[ADDR]) : 0;
	char bus[100];

	line_clean(bus, sizeof(bus), json_object_is_type(v->got[BUS], json_type_string) ? json_object_get_string(v->got[BUS]) : "");
	snprintf(v->info.shape + strlen(v->info.shape), sizeof(v->info.shape) - strlen(v->info.shape), " device %s at %02x.%x of %s", v->id,
		 (unsigned)(addr >> 3 & 31), (unsigned)(addr & 7), bus);
}

static int first_round(struct vm_qemu *v, struct err *err)
{
	static const char *const plain[] = { [TARGET] = "query-target", [MEMDEV] = "query-memdev", [MEMORY] = "query-memory-size-summary",
					     [CPUS] = "query-cpus-fast" };
	int rc = 0;

	qemu_asks_clear(v);
	for (size_t i = 0; !rc && i < ARRAY_LEN(plain); i++)
		rc = qemu_ask(v, plain[i], NULL, err);
	rc = rc ? rc : qemu_ask(v, "qom-get", qemu_args2("path", qemu_str("/machine"), "property", qemu_str("type")), err);
	rc = rc ? rc : qemu_ask(v, "qom-list", qemu_args("path", qemu_str("/machine/peripheral")), err);
	rc = rc ? rc : qemu_ask(v, "qom-list", qemu_args("path", qemu_str("/machine/peripheral-anon")), err);
	return rc ? rc : qemu_look_latch(v, err); /* proves that somebody answers there */
}

static int judge_first(struct vm_qemu *v, struct err *err)
{
	const char *machine = json_object_is_type(v->got[MACHINE], json_type_string) ? json_object_get_string(v->got[MACHINE]) : "";
	const char *arch = qmp_text(v->got[TARGET], "arch");
	char name[80], cpu[60];
	int rc;

	if (strcmp(arch, "x86_64") && strcmp(arch, "i386"))
		return err_set(err, -ENOTSUP, "QEMU at %s is a machine of another kind (%s): its PCI configuration is not reached by the ports of a PC",
			       v->qmp.path, line_clean(name, sizeof(name), arch));
	rc = judge_memory(v, err);
	rc = rc ? rc : find_device(v, err);
	snprintf(v->info.shape, sizeof(v->info.shape), "qemu %s memory %llu MiB cpus %zu %s", line_clean(name, sizeof(name), machine),
		 (unsigned long long)((qmp_number(v->got[MEMORY], "base-memory") + qmp_number(v->got[MEMORY], "plugged-memory")) / MIB),
		 qmp_length(v->got[CPUS]),
		 line_clean(cpu, sizeof(cpu), qmp_length(v->got[CPUS]) ? qmp_text(json_object_array_get_idx(v->got[CPUS], 0), "qom-type") : ""));
	return rc;
}

static int second_round(struct vm_qemu *v, struct err *err)
{
	static const char *const names[] = { "addr", "parent_bus" };
	int rc;

	qemu_asks_clear(v);
	rc = qemu_ask(v, "qom-list", qemu_args("path", qemu_str(v->qom)), err);
	for (size_t i = 0; !rc && i < ARRAY_LEN(names); i++)
		rc = qemu_ask(v, "qom-get", qemu_args2("path", qemu_str(v->qom), "property", qemu_str(names[i])), err);
	return rc;
}

int qemu_open_steps(struct vm_qemu *v, struct err *err)
{
	int rc;

	STEP_BEGIN(v->at);
	v->open = false;
	qemu_stream_forget(v); /* of a QEMU that is gone */
	v->side = SIDE_NONE;
	v->info = (struct vm_info){ .kind = "qemu", .streams = true };
	STEP_WAIT(v->at, (rc = qmp_open(&v->qmp, err)) != -EAGAIN);
	rc = rc ? rc : judge_version(v, err);
	if (rc)
		return rc;
	qtest_hang_up(&v->qtest);
	v->deadline_ns = line_now_ns() + v->qmp.patience_ns;
	STEP_WAIT(v->at, (rc = qtest_open(&v->qtest, err)) != -EAGAIN || line_now_ns() >= v->deadline_ns);
	if (rc == -EAGAIN)
		rc = err_set(err, -ETIMEDOUT, "QEMU's qtest socket at %s takes no connection: are other clients waiting there?", v->qtest.path);
	rc = rc ? rc : first_round(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	rc = rc ? rc : judge_first(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qtest_run(&v->qtest, err)) != -EAGAIN);
	rc = rc ? rc : second_round(v, err);
	if (rc)
		return rc;
	STEP_WAIT(v->at, (rc = qemu_answers(v, err)) != -EAGAIN);
	rc = rc ? rc : judge_device(v, err);
	if (rc)
		return rc;
	shape(v);
	v->open = true;
	STEP_END(v->at);
}
