/* The QEMU adapter by hand: lines in (an operation of vm.h and what it is done to), one line out each. adapter.py drives real QEMUs with it.
 *
 *   new A QMP-PATH DEVICE-SOCKET     open A   shape A   begin A out|in   settle A MS [WAIT-MS]   pause A   image A   finish A   arrive A
 *   resume A   discard A   alive A   close A   flow A B (from now on A's stream goes to B)   dry (no longer)   idle MS   patience A MS
 *
 * Answers: OK or the error's number, microseconds it took, calls, bytes of stream carried so far, a sentence.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vm/qemu/vm_qemu.h"

enum { CHUNK = 1 << 20, WAIT_MS = 30000 };

struct one { struct vm *vm; char op[16]; };
static struct one vms[26];
static struct vm *from, *to;
static uint8_t chunk[CHUNK], image[VM_IMAGE_MAX];
static size_t have, given;
static int64_t image_bytes;
static uint64_t carried;
static bool ended, told;
static struct vm_stream progress;
static char flow_why[512];

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* One turn of carrying, as the manager does it. to == NULL: into the void. */
static bool flow(void)
{
	struct err err = { "" };
	int64_t n;

	if (!from)
		return false;
	if (given == have && !ended) {
		n = from->ops->stream_read(from, chunk, sizeof(chunk), &err);
		if (n < 0 && n != -EAGAIN)
			snprintf(flow_why, sizeof(flow_why), "read: %s", err.text), ended = true;
		if (n < 0)
			return false;
		ended = !n;
		given = 0;
		have = (size_t)n;
	}
	if (!to || told)
		return given = have, !ended;
	if (given == have && !ended)
		return false;
	n = to->ops->stream_write(to, chunk + given, have - given, &err);
	if (n < 0 && n != -EAGAIN)
		snprintf(flow_why, sizeof(flow_why), "write: %s", err.text), told = true;
	if (n < 0)
		return false;
	told = ended && given == have;
	given += (size_t)n;
	carried += (uint64_t)n;
	return true;
}

static int call(struct vm *vm, const char *op, const char *arg, struct err *err)
{
	struct vm_info info;
	int rc;

	if (!strcmp(op, "open") || !strcmp(op, "shape")) {
		rc = vm->ops->open(vm, &info, err);
		if (!rc && op[0] == 's')
			snprintf(err->text, sizeof(err->text), "%s", info.shape);
		return rc;
	}
	if (!strcmp(op, "begin"))
		return vm->ops->stream_begin(vm, !strcmp(arg, "in"), err);
	if (!strcmp(op, "settle"))
		return vm->ops->stream_settle(vm, strtoull(arg, NULL, 10) * 1000000, &progress, err);
	if (!strcmp(op, "pause"))
		return vm->ops->pause(vm, err);
	if (!strcmp(op, "image")) {
		image_bytes = vm->ops->image(vm, image, sizeof(image), err);
		return image_bytes < 0 ? (int)image_bytes : 0;
	}
	if (!strcmp(op, "spoil")) /* test of the test, and of the checksum */
		return image[image_bytes / 2] ^= 1, 0;
	if (!strcmp(op, "finish"))
		return vm->ops->stream_finish(vm, err);
	if (!strcmp(op, "arrive"))
		return from && to && !told && !flow_why[0] ? -EAGAIN : vm->ops->arrive(vm, image, (size_t)image_bytes, err);
	if (!strcmp(op, "resume"))
		return vm->ops->resume(vm, err);
	if (!strcmp(op, "discard"))
		return vm->ops->discard(vm);
	if (!strcmp(op, "alive"))
		return vm->ops->alive(vm, err);
	return -ENOSYS;
}

static void say(int rc, uint64_t us, unsigned calls, const char *text)
{
	printf("%d %llu %u %llu | %s\n", rc, (unsigned long long)us, calls, (unsigned long long)carried, text);
	fflush(stdout);
}

static void run(struct one *o, const char *op, const char *arg, uint64_t wait_ms)
{
	uint64_t at = now_us(), until = at + wait_ms * 1000;
	struct err err = { "" };
	unsigned calls = 0;
	bool busy;
	int rc;

	for (;; calls++) {
		busy = flow();
		rc = call(o->vm, op, arg, &err);
		if (rc != -EAGAIN || now_us() >= until)
			break;
		if (!busy)
			nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
	}
	if (!strcmp(op, "settle") && !err.text[0])
		snprintf(err.text, sizeof(err.text), "left %llu of %llu rate %llu rounds %llu stop_ns %llu", (unsigned long long)progress.left,
			 (unsigned long long)progress.total, (unsigned long long)progress.rate, (unsigned long long)progress.rounds,
			 (unsigned long long)progress.stop_ns);
	if (!strcmp(op, "image") && !rc)
		snprintf(err.text, sizeof(err.text), "%lld bytes", (long long)image_bytes);
	say(rc, now_us() - at, calls + 1, rc && (flow_why[0] == 'w' || (flow_why[0] && !err.text[0])) ? flow_why : err.text);
}

int main(void)
{
	char line[600], op[32], name[8], a[300], b[300];

	while (fgets(line, sizeof(line), stdin)) {
		struct err err = { "" };
		struct one *o;

		op[0] = name[0] = a[0] = b[0] = '\0';
		if (sscanf(line, "%31s %7s %299s %299s", op, name, a, b) < 1)
			continue;
		o = &vms[(unsigned)(name[0] - 'A') % 26];
		if (!strcmp(op, "new")) {
			o->vm = vm_qemu_new(a, b, &err);
			say(o->vm ? 0 : -1, 0, 0, err.text);
		} else if (!strcmp(op, "flow")) {
			from = o->vm;
			to = a[0] ? vms[(unsigned)(a[0] - 'A') % 26].vm : NULL;
			have = given = 0, carried = 0, ended = told = false, flow_why[0] = '\0';
			say(0, 0, 0, "");
		} else if (!strcmp(op, "dry")) {
			from = to = NULL;
			flow_why[0] = '\0';
			say(0, 0, 0, "");
		} else if (!strcmp(op, "idle")) {
			for (uint64_t until = now_us() + strtoull(name, NULL, 10) * 1000; now_us() < until;)
				if (!flow())
					nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
			say(0, 0, 0, "");
		} else if (!o->vm)
			say(-1, 0, 0, "no such vm");
		else if (!strcmp(op, "patience"))
			vm_qemu_patience(o->vm, strtoull(a, NULL, 10) * 1000000), say(0, 0, 0, "");
		else if (!strcmp(op, "close")) {
			if (o->vm == from || o->vm == to)
				from = to = NULL;
			o->vm->ops->close(o->vm);
			o->vm = NULL;
			say(0, 0, 0, "");
		} else
			run(o, op, a, b[0] ? strtoull(b, NULL, 10) : WAIT_MS);
	}
	return 0;
}
