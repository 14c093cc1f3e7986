/* A pretend QEMU behind two unix sockets, polled by the test in its own thread: as much of QMP and the qtest protocol as the adapter uses, a
 * migration that has states but moves nothing, a PCI function (fake_pci.h). What it says can be bent in every way that a test needs.
 */
#ifndef FERRY_TESTS_FAKE_QEMU_H
#define FERRY_TESTS_FAKE_QEMU_H

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "fake_pci.h"

struct fq_end { int listener, fd; struct buf in, out; };

struct fake_qemu {
	char dir[64], qmp_path[96], qtest_path[104], device[96];
	struct fq_end qmp, qtest;
	struct fake_pci pci;

	/* What it is. */
	int major, minor;
	bool share, unnamed, deaf;	/* deaf: takes no connection to the monitor */
	unsigned devices, memory_mib;
	const char *arch, *greeting, *socket_shown, *blocked;
	uint8_t bus;

	/* What it does. */
	char status[32], migration[32], error_desc[80];
	bool running, incoming, autostart;
	bool caps_on[5];
	unsigned long long limit;
	int stream, got;	/* fd of migrate(-incoming); the one getfd brought */
	const char *refuse, *mute, *absurd;	/* this command: refused, never answered, answered with absurd_answer */
	const char *absurd_answer;
	unsigned mute_qtest, fail_qtest;	/* countdown: this line of qtest; 0 none */
	unsigned qtest_lines;
	bool slow_cancel, no_settle, ended;
	char log[8192];		/* commands, a blank behind each */
};

static const char *const fq_caps[5] = { "xbzrle", "events", "pause-before-switchover", "auto-converge", "multifd" };

static inline int fq_listen(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 1))
		abort();
	return fd;
}

static inline void fq_say(struct fake_qemu *q, const char *line)
{
	buf_printf(&q->qmp.out, "%s\r\n", line);
}

static inline void fq_event(struct fake_qemu *q, const char *name, const char *data)
{
	buf_printf(&q->qmp.out, "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"%s\"%s%s}\r\n", name, data ? ", \"data\": " : "",
		   data ? data : "");
}

static inline void fq_migration(struct fake_qemu *q, const char *status)
{
	char data[64];

	snprintf(q->migration, sizeof(q->migration), "%s", status);
	snprintf(data, sizeof(data), "{\"status\": \"%s\"}", status);
	fq_event(q, "MIGRATION", data);
}

static inline void fq_run(struct fake_qemu *q, bool run, const char *status)
{
	if (run != q->running)
		fq_event(q, run ? "RESUME" : "STOP", NULL);
	q->running = run;
	snprintf(q->status, sizeof(q->status), "%s", status);
}

static inline void fq_init(struct fake_qemu *q, bool incoming)
{
	memset(q, 0, sizeof(*q));
	snprintf(q->dir, sizeof(q->dir), "/tmp/ferry-fq-XXXXXX");
	if (!mkdtemp(q->dir))
		abort();
	snprintf(q->qmp_path, sizeof(q->qmp_path), "%s/qmp", q->dir);
	snprintf(q->qtest_path, sizeof(q->qtest_path), "%s/qmp.qtest", q->dir);
	snprintf(q->device, sizeof(q->device), "%s/vm1.sock", q->dir);
	q->qmp = (struct fq_end){ fq_listen(q->qmp_path), -1, { 0 }, { 0 } };
	q->qtest = (struct fq_end){ fq_listen(q->qtest_path), -1, { 0 }, { 0 } };
	fp_init(&q->pci);
	q->major = 11, q->minor = 1;
	q->share = true;
	q->devices = 1;
	q->memory_mib = 256;
	q->arch = "x86_64";
	q->stream = q->got = -1;
	q->incoming = incoming;
	q->autostart = true;
	q->running = !incoming;
	q->limit = 300;
	strcpy(q->status, incoming ? "inmigrate" : "running");
}

static inline void fq_end_close(struct fq_end *e)
{
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
	buf_fini(&e->in);
	buf_fini(&e->out);
}

static inline void fq_fini(struct fake_qemu *q)
{
	fq_end_close(&q->qmp);
	fq_end_close(&q->qtest);
	if (q->qmp.listener >= 0)
		close(q->qmp.listener);
	if (q->qtest.listener >= 0)
		close(q->qtest.listener);
	if (q->stream >= 0)
		close(q->stream);
	if (q->got >= 0)
		close(q->got);
	unlink(q->qmp_path);
	unlink(q->qtest_path);
	rmdir(q->dir);
}

/* ---- QMP */

static inline void fq_devices(struct fake_qemu *q, struct buf *b, bool unnamed)
{
	buf_printf(b, "[{\"name\": \"type\", \"type\": \"string\"}");
	for (unsigned i = 0; q->unnamed == unnamed && i < q->devices; i++)
		buf_printf(b, ", {\"name\": \"%s%u\", \"type\": \"child<vfio-user-pci>\"}", unnamed ? "device[0]" : "nvme", i);
	buf_printf(b, ", {\"name\": \"rp0\", \"type\": \"child<pcie-root-port>\"}]");
}

static inline void fq_members(struct fake_qemu *q, struct buf *b)
{
	const char *s = q->socket_shown ? q->socket_shown : q->device;

	buf_printf(b, "[{\"name\": \"addr\", \"type\": \"str\"}, {\"name\": \"vfio-user:");
	for (; *s; s++)
		buf_printf(b, *s == '/' ? "\\\\x2f" : "%c", *s);
	buf_printf(b, " base BAR 0[0]\", \"type\": \"child<memory-region>\"}]");
}

static inline void fq_query_migrate(struct fake_qemu *q, struct buf *b)
{
	buf_printf(b, "{");
	if (q->blocked)
		buf_printf(b, "\"blocked-reasons\": [\"%s\"]", q->blocked);
	if (q->migration[0])
		buf_printf(b, "%s\"status\": \"%s\"", q->blocked ? ", " : "", q->migration);
	if (!strcmp(q->migration, "failed"))
		buf_printf(b, ", \"error-desc\": \"%s\"", q->error_desc[0] ? q->error_desc : "it would not go");
	if (!strcmp(q->migration, "active"))
		buf_printf(b, ", \"ram\": {\"total\": 268435456, \"transferred\": 1000, \"remaining\": 200000000, \"mbps\": 800.5, \"dirty-sync-count\": 1}");
	buf_printf(b, "}");
}

static inline void fq_set_caps(struct fake_qemu *q, json_object *args)
{
	json_object *list, *name, *state;

	json_object_object_get_ex(args, "capabilities", &list);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *c = json_object_array_get_idx(list, i);

		json_object_object_get_ex(c, "capability", &name);
		json_object_object_get_ex(c, "state", &state);
		for (unsigned k = 0; k < 5; k++)
			if (!strcmp(fq_caps[k], json_object_get_string(name)))
				q->caps_on[k] = json_object_get_boolean(state);
	}
}

static inline const char *fq_arg(json_object *args, const char *name)
{
	json_object *v;

	return json_object_object_get_ex(args, name, &v) ? json_object_get_string(v) : "";
}

/* Moves the pretend migration on by what was said. */
static inline void fq_settle(struct fake_qemu *q)
{
	if (!strcmp(q->migration, "active") && !q->incoming && q->limit && !q->no_settle) {
		fq_run(q, false, "finish-migrate");
		fq_migration(q, "pre-switchover");
	}
}

static inline void fq_stream(struct fake_qemu *q)
{
	if (q->stream >= 0)
		close(q->stream);
	q->stream = q->got;
	q->got = -1;
}

/* The value into b; or why not. */
static inline const char *fq_command(struct fake_qemu *q, const char *name, json_object *args, struct buf *b)
{
	if (!strcmp(name, "query-target"))
		buf_printf(b, "{\"arch\": \"%s\"}", q->arch);
	else if (!strcmp(name, "query-memdev"))
		buf_printf(b, "[{\"id\": \"mem0\", \"share\": %s, \"size\": 268435456}]", q->share ? "true" : "false");
	else if (!strcmp(name, "query-memory-size-summary"))
		buf_printf(b, "{\"base-memory\": %llu, \"plugged-memory\": 0}", (unsigned long long)q->memory_mib << 20);
	else if (!strcmp(name, "query-cpus-fast"))
		buf_printf(b, "[{\"cpu-index\": 0, \"qom-type\": \"max-x86_64-cpu\"}, {\"cpu-index\": 1}]");
	else if (!strcmp(name, "qom-get") && !strcmp(fq_arg(args, "property"), "type"))
		buf_printf(b, "\"pc-q35-11.1-machine\"");
	else if (!strcmp(name, "qom-get") && !strcmp(fq_arg(args, "property"), "addr"))
		buf_printf(b, "32");
	else if (!strcmp(name, "qom-get"))
		buf_printf(b, "\"/machine/q35/pcie.0\"");
	else if (!strcmp(name, "qom-list") && !strcmp(fq_arg(args, "path"), "/machine/peripheral"))
		fq_devices(q, b, false);
	else if (!strcmp(name, "qom-list") && !strcmp(fq_arg(args, "path"), "/machine/peripheral-anon"))
		fq_devices(q, b, true);
	else if (!strcmp(name, "qom-list"))
		fq_members(q, b);
	else if (!strcmp(name, "query-status"))
		buf_printf(b, "{\"status\": \"%s\", \"running\": %s}", q->status, q->running ? "true" : "false");
	else if (!strcmp(name, "query-migrate"))
		fq_query_migrate(q, b);
	else if (!strcmp(name, "query-migrate-capabilities")) {
		buf_printf(b, "[");
		for (unsigned k = 0; k < 5; k++)
			buf_printf(b, "%s{\"capability\": \"%s\", \"state\": %s}", k ? ", " : "", fq_caps[k], q->caps_on[k] ? "true" : "false");
		buf_printf(b, "]");
	} else if (!strcmp(name, "query-migrate-parameters"))
		buf_printf(b, "{\"max-bandwidth\": 134217728, \"downtime-limit\": %llu, \"avail-switchover-bandwidth\": 0, \"tls-creds\": \"\"}", q->limit);
	else if (!strcmp(name, "query-pci"))
		buf_printf(b, "[{\"bus\": 0, \"devices\": [{\"qdev_id\": \"\", \"bus\": 0, \"slot\": 0, \"function\": 0}, {\"qdev_id\": \"rp0\", \"bus\": 0, "
			   "\"slot\": 2, \"function\": 0, \"pci_bridge\": {\"devices\": [{\"qdev_id\": \"nvme0\", \"bus\": %u, \"slot\": %u, \"function\": %u}]}}]}]",
			   q->bus, q->pci.devfn >> 3, q->pci.devfn & 7);
	else if (!strcmp(name, "migrate-set-capabilities"))
		fq_set_caps(q, args);
	else if (!strcmp(name, "migrate-set-parameters")) {
		if (fq_arg(args, "downtime-limit")[0])
			q->limit = strtoull(fq_arg(args, "downtime-limit"), NULL, 10);
		fq_settle(q);
	} else if (!strcmp(name, "getfd") && q->got < 0)
		return "No file descriptor supplied via SCM_RIGHTS";
	else if (!strcmp(name, "migrate")) {
		fq_stream(q);
		fq_migration(q, "setup");
		fq_migration(q, "active");
	} else if (!strcmp(name, "migrate-incoming")) {
		fq_stream(q);
		fq_migration(q, "active");
	} else if (!strcmp(name, "migrate-continue")) {
		if (strcmp(q->migration, "pre-switchover"))
			return "Migration not in expected state";
		fq_migration(q, "device");
		if (q->stream >= 0 && send(q->stream, "the rest", 8, MSG_NOSIGNAL) == 8) {
			close(q->stream);
			q->stream = -1;
			fq_run(q, false, "postmigrate");
			fq_migration(q, "completed");
		}
	} else if (!strcmp(name, "migrate_cancel")) {
		if (q->slow_cancel)
			fq_migration(q, "cancelling");
		else if (q->migration[0] && strcmp(q->migration, "completed") && strcmp(q->migration, "failed")) {
			if (!strcmp(q->status, "finish-migrate"))
				fq_run(q, true, "running");
			fq_migration(q, "cancelled");
		}
	} else if (!strcmp(name, "cont")) {
		if (!strcmp(q->status, "inmigrate"))
			q->autostart = true;
		else
			fq_run(q, true, "running");
	} else if (!strcmp(name, "stop")) {
		if (!strcmp(q->status, "inmigrate"))
			q->autostart = false;
		else
			fq_run(q, false, "paused");
	} else if (!strcmp(name, "quit"))
		q->ended = true;
	else if (strcmp(name, "getfd") && strcmp(name, "qmp_capabilities"))
		return "The command has not been found";
	return NULL;
}

static inline void fq_line(struct fake_qemu *q, const char *text)
{
	json_object *o = json_tokener_parse(text), *id = NULL, *args = NULL;
	struct buf b = { 0 };
	char name[64];
	const char *why;

	snprintf(name, sizeof(name), "%s", fq_arg(o, "execute"));
	json_object_object_get_ex(o, "id", &id);
	json_object_object_get_ex(o, "arguments", &args);
	snprintf(q->log + strlen(q->log), sizeof(q->log) - strlen(q->log), "%s ", name);
	if (q->mute && !strcmp(q->mute, name))
		goto out;
	if (q->refuse && !strcmp(q->refuse, name))
		why = "the pretend QEMU will not";
	else if (q->absurd && !strcmp(q->absurd, name)) {
		buf_printf(&b, "%s", q->absurd_answer);
		why = NULL;
	} else
		why = fq_command(q, name, args, &b);
	if (why)
		buf_printf(&q->qmp.out, "{\"id\": %lld, \"error\": {\"class\": \"GenericError\", \"desc\": \"%s\"}}\r\n", (long long)json_object_get_int64(id),
			   why);
	else
		buf_printf(&q->qmp.out, "{\"return\": %s, \"id\": %lld}\r\n", b.len ? (char *)b.data : "{}", (long long)json_object_get_int64(id));
	if (!strcmp(name, "migrate"))
		fq_settle(q);
out:
	buf_fini(&b);
	json_object_put(o);
}

/* ---- qtest */

static inline void fq_qtest_line(struct fake_qemu *q, const char *text)
{
	unsigned long long at = 0, n = 0;
	char op[16] = "", hex[5000] = "";
	struct buf *out = &q->qtest.out;
	uint8_t mem[2048];

	q->qtest_lines++;
	sscanf(text, "%15s %llx %llx %4999s", op, &at, &n, hex);
	if (q->mute_qtest && !--q->mute_qtest)
		return;
	if (q->fail_qtest && !--q->fail_qtest) {
		buf_printf(out, "FAIL because\n");
		return;
	}
	if (q->qtest_lines % 3 == 0)
		buf_printf(out, "IRQ raise 4\n");
	if (!strcmp(op, "inl"))
		buf_printf(out, "OK 0x%04x\n", fp_in(&q->pci, at));
	else if (!strncmp(op, "out", 3)) {
		fp_out(&q->pci, at, op[3] == 'b' ? 1 : op[3] == 'w' ? 2 : 4, (uint32_t)n);
		buf_printf(out, "OK\n");
	} else if (!strcmp(op, "read") && n <= sizeof(mem)) {
		fp_read(&q->pci, at, mem, (uint32_t)n);
		buf_printf(out, "OK 0x");
		for (unsigned i = 0; i < n; i++)
			buf_printf(out, "%02x", mem[i]);
		buf_printf(out, "\n");
	} else if (!strcmp(op, "write") && n <= sizeof(mem)) {
		for (unsigned i = 0; i < n; i++)
			sscanf(hex + 2 + 2 * i, "%2hhx", &mem[i]);
		fp_write(&q->pci, at, mem, (uint32_t)n);
		buf_printf(out, "OK\n");
	} else
		buf_printf(out, "FAIL Unknown command '%s'\n", op);
}

/* ---- both */

static inline void fq_accept(struct fake_qemu *q, struct fq_end *e, bool greet)
{
	int fd = e->fd < 0 && e->listener >= 0 ? accept4(e->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;

	if (fd < 0)
		return;
	e->fd = fd;
	if (greet && q->greeting)
		fq_say(q, q->greeting);
	else if (greet)
		buf_printf(&e->out, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 3, \"minor\": %d, \"major\": %d}, \"package\": \"\"}, "
			   "\"capabilities\": [\"oob\"]}}\r\n", q->minor, q->major);
}

static inline void fq_recv(struct fake_qemu *q, struct fq_end *e)
{
	union { struct cmsghdr c; char b[CMSG_SPACE(sizeof(int))]; } u = { 0 };
	char p[4096];
	struct iovec v = { p, sizeof(p) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = sizeof(u.b) };
	ssize_t n = recvmsg(e->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n > 0 && CMSG_FIRSTHDR(&m)) {
		if (q->got >= 0)
			close(q->got);
		memcpy(&q->got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	}
	if (n > 0)
		buf_add(&e->in, p, (size_t)n);
	else if (!n)
		fq_end_close(e);
}

static inline void fq_serve(struct fake_qemu *q, struct fq_end *e, void (*line)(struct fake_qemu *, const char *))
{
	uint8_t *end;
	ssize_t n;

	if (e->fd >= 0)
		fq_recv(q, e);
	while (e->fd >= 0 && e->in.len && (end = memchr(e->in.data, '\n', e->in.len))) {
		*end = '\0';
		line(q, (char *)e->in.data);
		buf_drop_front(&e->in, (size_t)(end - e->in.data) + 1);
	}
	n = e->fd >= 0 && e->out.len ? send(e->fd, e->out.data, e->out.len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	if (n > 0)
		buf_drop_front(&e->out, (size_t)n);
}

/* The stream of a waiting one: it is whole at its end. */
static inline void fq_load(struct fake_qemu *q)
{
	char p[256];
	ssize_t n = recv(q->stream, p, sizeof(p), MSG_DONTWAIT);

	if (n > 0 && !memcmp(p, "garbage", 7)) {
		fq_migration(q, "failed");
		close(q->stream);
		q->stream = -1;
	} else if (!n) {
		close(q->stream);
		q->stream = -1;
		fq_run(q, q->autostart, q->autostart ? "running" : "paused");
		fq_migration(q, "completed");
	}
}

static inline void fq_poll(struct fake_qemu *q)
{
	if (!q->deaf)
		fq_accept(q, &q->qmp, true);
	fq_accept(q, &q->qtest, false);
	fq_serve(q, &q->qmp, fq_line);
	fq_serve(q, &q->qtest, fq_qtest_line);
	if (q->incoming && q->stream >= 0)
		fq_load(q);
	if (q->ended && !q->qmp.out.len)
		fq_end_close(&q->qmp), fq_end_close(&q->qtest);
}

#endif
