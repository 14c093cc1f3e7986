/* `ferry demo`: two servers, a guest that writes without a break, and a file system full of real files; there and back again.
 *
 * What it proves, it proves from outside: the servers, the guest and the moves are separate processes of this same program, the
 * files are the machine's own, and e2fsck and debugfs read what is left at the end. Whatever fails, everything is stopped by
 * its pid and removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "cmd/config.h"
#include "cmd/demo_files.h"
#include "cmd/proc.h"
#include "cmd/progress.h"

enum { START_S = 20, MOVE_S = 90, GUEST_S = 60, TOOL_S = 120, NS_MIB = 1024, FS_MIB = 512,
	ROOM_MIB = 2 * NS_MIB + 450 /* both servers' namespaces, and the files before and after */ };
#define GUEST "vm1"

struct demo_vals { const char *dir, *rate, *memory; bool keep; };
_Static_assert(sizeof(struct demo_vals) <= COMMAND_VALS_MAX, "values fit");
const struct opt demo_opts[] = {
	OPT(struct demo_vals, dir, "dir", 0, OPT_STR, "DIR", "where to work; made, and removed at the end", .dflt = "demo-work"),
	OPT(struct demo_vals, rate, "rate", 0, OPT_STR, "RATE", "bytes per second the guest reads and writes", .dflt = "200M"),
	OPT(struct demo_vals, memory, "memory", 0, OPT_STR, "BYTES", "memory of the guest", .dflt = "256M"),
	OPT(struct demo_vals, keep, "keep", 0, OPT_FLAG, NULL, "leave the directory (and the logs in it) there"),
	OPT_END
};

struct side { const char *name; char run[64], control[96], link[112], guest_ctl[96], guest_sock[96]; struct proc serve; };

struct demo {
	struct demo_vals *v;
	char self[512], dir[512], run[40], files_dir[560], log[560], image[560], tree[580];
	struct side a, b;
	struct proc guest[3];		/* at A, then at B, then at A again */
	struct demo_files files;
	struct progress view;
	bool tty, dir_made, files_made;
	json_object *move[2];		/* last progress of each move */
	struct timespec began;
	struct err err;
};

static volatile sig_atomic_t stop_wanted;
static void on_signal(int sig)
{
	(void)sig;
	stop_wanted = 1;
}

static double seconds(const struct demo *d)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)(t.tv_sec - d->began.tv_sec) + (double)(t.tv_nsec - d->began.tv_nsec) / 1e9;
}

static void step(struct demo *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void step(struct demo *d, const char *fmt, ...)
{
	va_list ap;

	printf("[%5.1f s] ", seconds(d));
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

static int interrupted(struct demo *d)
{
	return stop_wanted ? err_set(&d->err, -EINTR, "interrupted") : 0;
}

/* ---- 1: real files in an image */

/* mke2fs leaves hundreds of MiB of dirty pages; the servers read past the page cache and would wait for them, and the guest with
 * them: that is not what the demo is about. */
static int settle(struct demo *d)
{
	int fd = open(d->image, O_RDWR | O_CLOEXEC), bad = fd < 0 || fsync(fd);

	if (fd >= 0)
		close(fd);
	return bad ? err_set(&d->err, -EIO, "cannot write %s: %s", d->image, strerror(errno)) : 0;
}

static int make_image(struct demo *d)
{
	char size[16];
	char *mkfs[] = { "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", d->tree, d->image, size, NULL };
	int rc = demo_files_copy(&d->files, "/usr", d->tree, &d->err);
	FILE *f;

	if (rc)
		return rc;
	step(d, "%zu files, %" PRIu64 " MiB, taken from /usr and summed", d->files.count, d->files.bytes >> 20);
	f = fopen(d->image, "we");
	rc = !f || ftruncate(fileno(f), (off_t)NS_MIB << 20) ? -errno : 0;
	if (f)
		fclose(f);
	if (rc)
		return err_set(&d->err, rc, "cannot make %s: %s", d->image, strerror(-rc));
	snprintf(size, sizeof(size), "%dM", FS_MIB);
	rc = proc_run(d->log, TOOL_S * 1000, mkfs, &d->err);
	if (rc)
		return err_wrap(&d->err, rc, "mke2fs (see %s)", d->log);
	step(d, "an ext4 of %d MiB with them in a namespace of %d MiB; behind it the guest writes stamped blocks", FS_MIB, NS_MIB);
	rc = settle(d);
	return rc ? rc : demo_remove_tree(d->tree);
}

/* ---- 2: two servers */

static int write_config(struct demo *d, struct side *s, char *path, size_t cap)
{
	FILE *f;

	snprintf(path, cap, "%s/%s.ini", d->dir, s->name);
	f = fopen(path, "we");
	if (!f)
		return err_set(&d->err, -errno, "cannot write %s: %s", path, strerror(errno));
	fprintf(f, "[server]\nname=%s\nrun_dir=%s\nstate_dir=%s/state-%s\ncontrol=%s\nlink=%s\n\n[pool local]\nkind=file\ndir=%s/pool-%s\n",
		s->name, s->run, d->dir, s->name, s->control, s->link, d->dir, s->name);
	if (s == &d->a)
		fprintf(f, "\n[namespace disk]\nsize=%dM\npath=%s\n\n[guest %s]\nnamespaces=disk\nvm=embedded:%s\n", NS_MIB, d->image, GUEST,
			s->guest_ctl);
	return fclose(f) ? err_set(&d->err, -EIO, "cannot write %s", path) : 0;
}

static int wait_server(struct demo *d, struct side *s)
{
	for (int i = 0; i < START_S * 50 && !interrupted(d); i++) {
		struct rpc_peer *p = rpc_peer_open(s->control, &d->err);

		rpc_peer_close(p);
		if (p)
			return 0;
		if (!proc_running(&s->serve))
			return err_set(&d->err, -ECHILD, "server %s ended at once; see %s", s->name, d->log);
		usleep(20000);
	}
	return err_set(&d->err, -ETIMEDOUT, "server %s does not answer; see %s", s->name, d->log);
}

static int start_server(struct demo *d, struct side *s, const char *name)
{
	char config[600];
	char *argv[] = { d->self, "serve", "--verbose", "--config", config, NULL };
	int rc;

	s->name = name;
	snprintf(s->run, sizeof(s->run), "%s/%s", d->run, name);
	snprintf(s->control, sizeof(s->control), "%s/control.sock", s->run);
	snprintf(s->link, sizeof(s->link), "unix:%s/link.sock", s->run);
	snprintf(s->guest_ctl, sizeof(s->guest_ctl), "%s/" GUEST ".ctl", s->run);
	snprintf(s->guest_sock, sizeof(s->guest_sock), "%s/" GUEST ".sock", s->run);
	rc = write_config(d, s, config, sizeof(config));
	if (!rc)
		rc = proc_start(&s->serve, name, d->log, argv, &d->err);
	return rc ? rc : wait_server(d, s);
}

/* ---- 3: the guest */

static int start_guest(struct demo *d, unsigned i, struct side *s, bool incoming)
{
	char area[32], protect[32], stats[600];
	char *fresh[] = { d->self, "guest", "--control", s->guest_ctl, "--socket", s->guest_sock, "--memory", (char *)d->v->memory,
			  "--rate", (char *)d->v->rate, "--area-offset", area, "--area", area, "--protect", protect, "--report", stats, NULL };
	char *arriving[] = { d->self, "guest", "--control", s->guest_ctl, "--socket", s->guest_sock, "--memory", (char *)d->v->memory,
			     "--incoming", "--report", stats, NULL };
	struct stat st;
	int rc;

	snprintf(area, sizeof(area), "%dM", FS_MIB);
	snprintf(protect, sizeof(protect), "%dM", FS_MIB);
	snprintf(stats, sizeof(stats), "%s/guest-%u.json", d->dir, i);
	rc = proc_start(&d->guest[i], "guest", d->log, incoming ? arriving : fresh, &d->err);
	for (int n = 0; !rc && stat(s->guest_ctl, &st); n++) {
		if (!proc_running(&d->guest[i]) || n > GUEST_S * 50 || interrupted(d))
			return err_set(&d->err, -ECHILD, "the guest does not start; see %s", d->log);
		usleep(20000);
	}
	return rc;
}

/* Ctrl-C ends this wait too. */
static int wait_ended(struct demo *d, struct proc *p)
{
	for (int i = 0; i < GUEST_S * 5 && !interrupted(d); i++) {
		int rc = proc_wait(p, 200, &d->err);

		if (rc != -ETIMEDOUT)
			return rc;
	}
	return stop_wanted ? -EINTR : proc_wait(p, 0, &d->err);
}

/* ---- 4: moves, shown as they go */

static void show_event(struct demo *d, json_object *e)
{
	const char *kind = json_str(e, "kind"), *text = json_str(e, "text");
	bool phase = !strcmp(kind, "phase");

	if (!strcmp(kind, "end") || !strcmp(kind, "done"))
		return;
	if (!d->tty) {
		step(d, phase ? "  %s%.0s" : "    %.0s%s", json_str(e, "phase"), text);
		return;
	}
	if (!phase)
		progress_line(&d->view, "          %s", text);
	progress_draw(&d->view, json_get(e, "progress"), "");
}

static json_object *params(const char *to)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "guest", json_object_new_string(GUEST));
	if (to)
		json_object_object_add(o, "to", json_object_new_string(to));
	return o;
}

static int follow(struct demo *d, struct rpc_peer *p, int id, unsigned which)
{
	double until = seconds(d) + MOVE_S;
	struct err err = { "" };

	while (seconds(d) < until && !interrupted(d)) {
		json_object *msg = NULL, *res, *event;
		int rc = rpc_peer_next(p, 200, &msg, &d->err), code;
		bool ended;

		if (rc && rc != -EAGAIN && rc != -EINTR)
			return rc;
		if (msg && rpc_is_answer(msg, id, &code, &res, &err) && code) {
			json_object_put(msg);
			return err_set(&d->err, -EIO, "the move was refused: %s", err.text);
		}
		event = json_get(msg, "params");
		ended = !strcmp(json_str(event, "kind"), "end");
		if (event)
			show_event(d, event);
		if (ended && !json_num(event, "exit"))
			d->move[which] = json_object_get(json_get(event, "progress"));
		else if (ended)
			err_set(&d->err, -EIO, "the move failed: %s", json_str(event, "text"));
		json_object_put(msg);
		if (ended)
			return d->move[which] ? 0 : -EIO;
	}
	return stop_wanted ? -EINTR : err_set(&d->err, -ETIMEDOUT, "the move did not end within %d s", MOVE_S);
}

static int move(struct demo *d, struct side *from, struct side *to, unsigned which)
{
	struct rpc_peer *p = rpc_peer_open(from->control, &d->err);
	int id = -1, rc = -EIO;

	snprintf(d->view.title, sizeof(d->view.title), "move %s -> %s", from->name, to->name);
	d->view.lines = 0;
	if (p && rpc_peer_send(p, "watch", params(NULL), &d->err) > 0)
		id = rpc_peer_send(p, "migrate", params(to->link), &d->err);
	if (id > 0)
		rc = follow(d, p, id, which);
	rpc_peer_close(p);
	if (!rc)
		rc = wait_ended(d, &d->guest[which]) == -ETIMEDOUT ? -ETIMEDOUT : interrupted(d); /* its life went on elsewhere */
	return rc;
}

/* ---- 5 and 6: the verdicts */

static json_object *report(struct demo *d, unsigned i)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/guest-%u.json", d->dir, i);
	return json_object_from_file(path);
}

static int guest_verdict(struct demo *d)
{
	json_object *r;
	int rc;

	step(d, "the guest reads back and checks everything it ever wrote");
	kill(d->guest[2].pid, SIGTERM);
	rc = wait_ended(d, &d->guest[2]);
	if (interrupted(d))
		return -EINTR;
	r = report(d, 2);
	if (!r)
		return err_set(&d->err, rc ? rc : -ENOENT, "the guest left no report; see %s", d->log);
	step(d, "guest: %" PRIu64 " MiB written, %" PRIu64 " MiB read, %" PRIu64 " blocks checked, lost %" PRIu64 ", invented %" PRIu64
	     ", other violations %" PRIu64, json_u64(r, "bytes_written") >> 20, json_u64(r, "bytes_read") >> 20,
	     json_u64(r, "blocks_checked"), json_u64(r, "lost"), json_u64(r, "invented"), json_u64(r, "other"));
	step(d, "guest: longest silence of its disk %.1f ms, longest stop of its processor %.1f ms", (double)json_u64(r, "max_gap_ns") / 1e6,
	     (double)json_u64(r, "max_stall_ns") / 1e6);
	if (!rc && (!json_u64(r, "verify_passes") || json_u64(r, "lost") || json_u64(r, "invented") || json_u64(r, "other")))
		rc = err_set(&d->err, -EBADMSG, "the guest found its data wrong, or could not check all of it");
	json_object_put(r);
	return rc;
}

static int files_verdict(struct demo *d)
{
	char request[600], out[580];
	char *fsck[] = { "e2fsck", "-fn", d->image, NULL };
	char *dump[] = { "debugfs", "-R", request, d->image, NULL };
	int rc;

	snprintf(out, sizeof(out), "%s/back", d->files_dir);
	snprintf(request, sizeof(request), "rdump / %s", out);
	rc = mkdir(out, 0700) ? err_set(&d->err, -errno, "cannot make %s: %s", out, strerror(errno)) : 0;
	if (!rc && (rc = proc_run(d->log, TOOL_S * 1000, fsck, &d->err)))
		return err_wrap(&d->err, rc, "e2fsck finds the file system damaged (see %s)", d->log);
	step(d, "e2fsck -fn: clean");
	if (!rc)
		rc = proc_run(d->log, TOOL_S * 1000, dump, &d->err);
	if (!rc)
		rc = interrupted(d);
	if (!rc)
		rc = demo_files_compare(&d->files, out, &d->err);
	if (!rc)
		step(d, "all %zu files are as they were", d->files.count);
	return rc;
}

/* A server that leaks, or was killed, does not end with 0. */
static int stop_servers(struct demo *d)
{
	struct side *const both[] = { &d->a, &d->b };
	int rc = 0;

	for (unsigned i = 0; i < ARRAY_LEN(both); i++) {
		kill(both[i]->serve.pid, SIGTERM);
		rc = proc_wait(&both[i]->serve, START_S * 1000, rc ? NULL : &d->err) ? -ECHILD : rc;
	}
	return rc;
}

static void summary(struct demo *d)
{
	for (unsigned i = 0; i < 2; i++) {
		json_object *p = d->move[i], *list = json_get(p, "namespaces");
		uint64_t whole = json_u64(p, "mem_total");
		char text[256];

		for (size_t k = 0; k < json_object_array_length(list); k++)
			whole += json_u64(json_object_array_get_idx(list, k), "total");
		progress_summary(p, text, sizeof(text));
		step(d, "move %s: %s; %.2f times what was to be moved", i ? "B -> A" : "A -> B", text,
		     whole ? (double)json_u64(p, "link_bytes") / (double)whole : 0.0);
	}
	printf("lost 0, invented 0\n");
}

/* ---- the whole */

/* Said before anything is begun: a disk that fills up under mke2fs or a server says it less clearly. */
static int judge_room(struct demo *d)
{
	struct statvfs v;
	uint64_t have;

	if (statvfs(d->dir, &v))
		return err_set(&d->err, -errno, "cannot tell how much room is in %s: %s", d->dir, strerror(errno));
	have = ((uint64_t)v.f_bavail * v.f_frsize) >> 20;
	return have >= ROOM_MIB ? 0 : err_set(&d->err, -ENOSPC, "%s has room for %" PRIu64 " MiB, and the demo needs %d; choose another place "
					      "with --dir", d->dir, have, ROOM_MIB);
}

/* Thousands of small files, made twice and removed twice: in memory if there is plenty, because a disk that discards takes half a
 * minute for that. The namespaces are on the disk in any case. */
static void pick_files_dir(struct demo *d)
{
	struct statvfs v;

	snprintf(d->files_dir, sizeof(d->files_dir), "/dev/shm/ferry-XXXXXX");
	if (!statvfs("/dev/shm", &v) && (uint64_t)v.f_bavail * v.f_frsize > 4 * GIB && mkdtemp(d->files_dir))
		d->files_made = true;
	else
		snprintf(d->files_dir, sizeof(d->files_dir), "%s", d->dir);
}

static int prepare(struct demo *d)
{
	ssize_t n = readlink("/proc/self/exe", d->self, sizeof(d->self) - 1);
	const char *tmp = getenv("TMPDIR");

	if (n <= 0 || !getcwd(d->dir, sizeof(d->dir) - 64))
		return err_set(&d->err, -errno, "cannot tell where we are: %s", strerror(errno));
	if (d->v->dir[0] == '/')
		snprintf(d->dir, sizeof(d->dir), "%.400s", d->v->dir);
	else
		snprintf(d->dir + strlen(d->dir), 60, "/%.58s", d->v->dir);
	/* Sockets have short names, so they get a directory of their own. */
	snprintf(d->run, sizeof(d->run), "%.20s/ferry-XXXXXX", tmp && strlen(tmp) <= 20 ? tmp : "/tmp");
	if (mkdir(d->dir, 0700))
		return err_set(&d->err, -errno, "cannot make %s: %s; remove it if it is an old one", d->dir, strerror(errno));
	d->dir_made = true;
	if (judge_room(d))
		return -ENOSPC;
	if (!mkdtemp(d->run)) {
		d->run[0] = '\0';
		return err_set(&d->err, -errno, "cannot make a directory for sockets: %s", strerror(errno));
	}
	snprintf(d->log, sizeof(d->log), "%s/log", d->dir);
	snprintf(d->image, sizeof(d->image), "%s/disk.img", d->dir);
	pick_files_dir(d);
	snprintf(d->tree, sizeof(d->tree), "%s/tree", d->files_dir);
	return mkdir(d->tree, 0700) ? err_set(&d->err, -errno, "cannot make %s", d->tree) : 0;
}

static int play(struct demo *d)
{
	int rc = prepare(d);

	if (!rc)
		rc = make_image(d);
	if (!rc)
		rc = start_server(d, &d->a, "A");
	if (!rc)
		rc = start_server(d, &d->b, "B");
	if (!rc)
		rc = start_guest(d, 0, &d->a, false);
	if (rc)
		return rc;
	step(d, "servers A and B run; the guest has booted at A and works at %s bytes/s", d->v->rate);
	for (int i = 0; i < 30 && !stop_wanted; i++)
		usleep(100000); /* let it write a little: a demo, not a test */
	rc = start_guest(d, 1, &d->b, true);
	if (!rc)
		rc = move(d, &d->a, &d->b, 0);
	if (!rc)
		rc = start_guest(d, 2, &d->a, true);
	if (!rc)
		rc = move(d, &d->b, &d->a, 1);
	if (!rc)
		rc = guest_verdict(d);
	if (!rc)
		rc = stop_servers(d);
	return rc ? rc : files_verdict(d);
}

static void clean(struct demo *d)
{
	for (unsigned i = 0; i < ARRAY_LEN(d->guest); i++)
		proc_stop(&d->guest[i]);
	proc_stop(&d->a.serve);
	proc_stop(&d->b.serve);
	if (d->run[0])
		demo_remove_tree(d->run);
	if (d->files_made)
		demo_remove_tree(d->files_dir);
	if (d->dir_made && !d->v->keep)
		demo_remove_tree(d->dir);
	for (unsigned i = 0; i < 2; i++)
		json_object_put(d->move[i]);
	demo_files_fini(&d->files);
}

static void print_log_end(const struct demo *d)
{
	char line[512];
	FILE *f = fopen(d->log, "re");
	long at;

	if (!f || fseek(f, 0, SEEK_END))
		goto out;
	at = ftell(f);
	fseek(f, at > 4000 ? at - 4000 : 0, SEEK_SET);
	fprintf(stderr, "--- end of %s\n", d->log);
	while (fgets(line, sizeof(line), f))
		fputs(line, stderr);
out:
	if (f)
		fclose(f);
}

int cmd_demo(const struct command *self, void *vals, int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct demo d = { .v = vals };
	int rc;

	(void)self, (void)argc, (void)argv;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	clock_gettime(CLOCK_MONOTONIC, &d.began);
	d.tty = isatty(STDOUT_FILENO);
	d.view.to = stdout;
	rc = play(&d);
	if (!rc) {
		summary(&d);
	} else {
		fprintf(stderr, "ferry demo: %s\n", stop_wanted ? "interrupted; everything is stopped and removed" : d.err.text);
		if (!stop_wanted && d.log[0])
			print_log_end(&d);
	}
	clean(&d);
	return !rc ? EXIT_FERRY_OK : stop_wanted ? EXIT_FERRY_CANCELLED : EXIT_FERRY_FAILED;
}
