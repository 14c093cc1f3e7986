/* env/linux: streams over real sockets, listeners, and records that survive whatever stops us. */
#include "t.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "env/linux/loop.h"

struct rig {
	struct loop *loop;
	struct env *env;
	char dir[64], state[96], sock[128], path[96];
};

static void rig_open(struct rig *r)
{
	struct err e;

	memset(r, 0, sizeof(*r));
	strcpy(r->dir, "/tmp/ferry-env-XXXXXX");
	EXPECT(mkdtemp(r->dir));
	snprintf(r->state, sizeof(r->state), "%s/state", r->dir);
	snprintf(r->path, sizeof(r->path), "%s/sock", r->dir);
	snprintf(r->sock, sizeof(r->sock), "unix:%s", r->path);
	r->loop = loop_new(&e);
	r->env = env_linux_new(r->loop, r->state, &e);
	EXPECT(r->loop && r->env);
}

static void remove_all(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			if (unlinkat(dirfd(d), e->d_name, 0))
				unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
	if (d)
		closedir(d);
}

static void rig_close(struct rig *r)
{
	env_linux_free(r->env);
	loop_free(r->loop);
	remove_all(r->state);
	remove_all(r->dir);
	EXPECT_EQ(rmdir(r->dir), 0);
}

/* Waits for the loop, with a limit that only a failure reaches. */
static void turn(struct rig *r) { loop_wait(r->loop, env_now_ns(r->env) + 10 * NS_PER_S); }

static struct env_conn *wait_accept(struct rig *r, struct listener *s)
{
	struct env_conn *c;

	while (!(c = listener_accept(s)))
		turn(r);
	return c;
}

static ssize_t wait_recv(struct rig *r, struct env_conn *c, void *p, size_t cap)
{
	ssize_t n;

	while ((n = env_conn_recv(c, p, cap)) == -EAGAIN)
		turn(r);
	return n;
}

static void wait_send(struct rig *r, struct env_conn *c, const char *text)
{
	struct iovec v[2] = { { (void *)text, 1 }, { (void *)(text + 1), strlen(text) - 1 } };
	ssize_t n;

	while ((n = env_conn_send(c, v, 2)) == -EAGAIN)
		turn(r);
	EXPECT_EQ(n, strlen(text));
}

/* More than any socket buffer holds, both ways at once: order kept, nothing lost, nobody stuck. */
static void pump(struct rig *r, struct env_conn *a, struct env_conn *b)
{
	enum { TOTAL = 24 << 20, CHUNK = 300000 };
	uint8_t *out = malloc(CHUNK), *in = malloc(CHUNK);
	struct env_conn *c[2] = { a, b };
	size_t sent[2] = { 0 }, got[2] = { 0 };

	while (got[0] < TOTAL || got[1] < TOTAL) {
		bool moved = false;

		for (int i = 0; i < 2; i++) {
			size_t n = MIN((size_t)CHUNK, TOTAL - sent[i]);
			struct iovec v[3] = { { out, n / 3 }, { out + n / 3, 0 }, { out + n / 3, n - n / 3 } };
			ssize_t s, g;

			for (size_t k = 0; k < n; k++)
				out[k] = (uint8_t)((sent[i] + k) * 7 + ((sent[i] + k) >> 8) + (size_t)i);
			s = n ? env_conn_send(c[i], v, 3) : -EAGAIN;
			g = env_conn_recv(c[!i], in, CHUNK);
			EXPECT(s > 0 || s == -EAGAIN);
			EXPECT(g > 0 || g == -EAGAIN);
			for (ssize_t k = 0; k < g; k++)
				if (in[k] != (uint8_t)((got[i] + (size_t)k) * 7 + ((got[i] + (size_t)k) >> 8) + (size_t)i))
					fail_msg("byte %zu of stream %d is wrong", got[i] + (size_t)k, i);
			sent[i] += s > 0 ? (size_t)s : 0;
			got[i] += g > 0 ? (size_t)g : 0;
			moved |= s > 0 || g > 0;
		}
		if (!moved)
			turn(r);
	}
	free(out);
	free(in);
}

static void talk_over(const char *addr)
{
	struct env_conn *a, *b;
	struct listener *s;
	struct rig r;
	struct err e;
	char buf[16];

	rig_open(&r);
	s = listener_new(r.loop, addr ? addr : r.sock, &e);
	EXPECT(s);
	EXPECT(!listener_accept(s));
	a = env_connect(r.env, listener_addr(s), &e);
	EXPECT(a);
	wait_send(&r, a, "hello"); /* usable at once */
	b = wait_accept(&r, s);
	EXPECT_EQ(wait_recv(&r, b, buf, sizeof(buf)), 5);
	EXPECT_MEM(buf, "hello", 5);
	EXPECT(env_conn_recv(b, buf, sizeof(buf)) == -EAGAIN);
	EXPECT_EQ(env_conn_send(b, NULL, 0), 0);
	pump(&r, a, b);
	wait_send(&r, b, "bye");
	env_conn_close(b);
	EXPECT_EQ(wait_recv(&r, a, buf, sizeof(buf)), 3);
	EXPECT_EQ(wait_recv(&r, a, buf, sizeof(buf)), 0); /* the orderly end */
	EXPECT_EQ(wait_recv(&r, a, buf, sizeof(buf)), 0);
	env_conn_close(a);
	listener_free(s);
	rig_close(&r);
}

TEST(unix_stream_keeps_order_under_pressure) { talk_over(NULL); }
TEST(tcp_stream_keeps_order_under_pressure) { talk_over("tcp:127.0.0.1:0"); }

/* A name is looked up beside us; here by the hosts file. The listener may be on any of its addresses. */
TEST(tcp_by_name) { talk_over("tcp:localhost:0"); }

/* A peer that went away must not kill us (SIGPIPE), and what it said last can still be read. */
TEST(send_to_a_closed_peer_is_an_error)
{
	struct env_conn *a, *b;
	struct listener *s;
	struct iovec v = { "x", 1 };
	struct rig r;
	struct err e;
	char buf[8];
	ssize_t n;

	rig_open(&r);
	s = listener_new(r.loop, r.sock, &e);
	a = env_connect(r.env, r.sock, &e);
	b = wait_accept(&r, s);
	wait_send(&r, b, "words");
	env_conn_close(b);
	while ((n = env_conn_send(a, &v, 1)) >= 0 || n == -EAGAIN)
		;
	EXPECT(n == -EPIPE || n == -ECONNRESET);
	EXPECT(env_conn_send(a, &v, 1) == n); /* and stays one */
	EXPECT_EQ(wait_recv(&r, a, buf, sizeof(buf)), 5);
	EXPECT_MEM(buf, "words", 5);
	env_conn_close(a);
	listener_free(s);
	rig_close(&r);
}

static void expect_nobody(struct rig *r, const char *addr, int rc)
{
	struct iovec v = { "x", 1 };
	struct err e = { "" };
	struct env_conn *c = env_connect(r->env, addr, &e);
	char b;

	EXPECT(c); /* the address is fine, only nobody is there */
	EXPECT(wait_recv(r, c, &b, 1) == rc);
	EXPECT(env_conn_recv(c, &b, 1) == rc);
	EXPECT(env_conn_send(c, &v, 1) == rc);
	env_conn_close(c);
}

TEST(connect_to_nobody_shows_at_recv_and_send)
{
	struct listener *s;
	char gone[300];
	struct rig r;
	struct err e;

	rig_open(&r);
	expect_nobody(&r, r.sock, -ENOENT);
	s = listener_new(r.loop, "tcp:127.0.0.1:0", &e);
	strcpy(gone, listener_addr(s));
	listener_free(s);
	expect_nobody(&r, gone, -ECONNREFUSED);
	rig_close(&r);
}

TEST(connect_to_nonsense_is_refused_with_a_sentence)
{
	static const char *const bad[] = { "", "unix:", "tcp:", "tcp:host", "tcp::80", "tcp:h:", "tcp:h:65536", "tcp:h:-1", "tcp:h:8x",
					   "tcp:::1:80", "tcp:[]:80", "http:x:80", "sim:a" };
	char longer[512];
	struct rig r;
	struct err e;

	rig_open(&r);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		e.text[0] = 0;
		EXPECT(!env_connect(r.env, bad[i], &e));
		EXPECT(e.text[0]);
	}
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	memcpy(longer, "unix:", 5);
	EXPECT(!env_connect(r.env, longer, &e));
	memcpy(longer, "tcp: ", 5);
	memcpy(longer + 500, ":80", 4);
	EXPECT(!env_connect(r.env, longer, &e));
	rig_close(&r);
}

/* A crashed server's socket file must not keep its successor from starting; a living one's must. */
TEST(listener_replaces_a_stale_socket_only)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct listener *s, *t;
	struct stat st;
	struct rig r;
	struct err e;
	int fd;

	rig_open(&r);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(un.sun_path, r.path);
	EXPECT_EQ(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd); /* the file stays, as after a crash */
	s = listener_new(r.loop, r.sock, &e);
	EXPECT(s);
	EXPECT_EQ(stat(r.path, &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0600);
	t = listener_new(r.loop, r.sock, &e);
	EXPECT(!t);
	EXPECT(strstr(e.text, "already listens"));
	EXPECT_EQ(access(r.path, F_OK), 0); /* and the refusal did not take it away */
	listener_free(s);
	EXPECT_EQ(access(r.path, F_OK), -1);
	rig_close(&r);
}

/* --listen unix:IMAGE by mistake must not cost the image. */
TEST(listener_never_replaces_a_file)
{
	struct rig r;
	struct err e;
	int fd;

	rig_open(&r);
	fd = open(r.path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	EXPECT(!listener_new(r.loop, r.sock, &e));
	EXPECT(strstr(e.text, "no socket"));
	EXPECT_EQ(access(r.path, F_OK), 0);
	rig_close(&r);
}

TEST(listener_tcp_taken_is_refused)
{
	struct listener *s, *t;
	struct rig r;
	struct err e;

	rig_open(&r);
	s = listener_new(r.loop, "tcp:127.0.0.1:0", &e);
	EXPECT(s);
	t = listener_new(r.loop, listener_addr(s), &e);
	EXPECT(!t);
	EXPECT(strstr(e.text, "Address already in use"));
	listener_free(s);
	rig_close(&r);
}

static unsigned warned;
static void count_line(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)line;
	warned += level == LOG_WARN;
}

/* Out of descriptors: a connection that is left waiting keeps the loop from sleeping, and each turn wrote a line into the log. */
TEST(listener_without_descriptors_turns_away)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int client[3], hog[1024], n = 0;
	struct rlimit was, few;
	struct listener *s;
	struct rig r;
	struct err e;
	char byte;

	rig_open(&r);
	s = listener_new(r.loop, r.sock, &e);
	EXPECT(s);
	strcpy(a.sun_path, r.path);
	getrlimit(RLIMIT_NOFILE, &was);
	few = was;
	few.rlim_cur = 128;
	EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (int i = 0; i < 3; i++)
		client[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while ((hog[n] = dup(client[0])) >= 0)
		n++;
	log_set(count_line, NULL, LOG_WARN);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(connect(client[i], (struct sockaddr *)&a, sizeof(a)), 0);
	for (int i = 0; i < 3; i++)
		EXPECT(!listener_accept(s));
	EXPECT_EQ(warned, 1);
	EXPECT_EQ(recv(client[2], &byte, 1, MSG_DONTWAIT), 0);	/* ended, not left waiting */
	EXPECT(!loop_wait(r.loop, 0));
	while (n)
		close(hog[--n]);
	close(client[2]);
	client[2] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	EXPECT_EQ(connect(client[2], (struct sockaddr *)&a, sizeof(a)), 0);
	env_conn_close(wait_accept(&r, s));
	log_set(NULL, NULL, LOG_WARN);
	setrlimit(RLIMIT_NOFILE, &was);
	for (int i = 0; i < 3; i++)
		close(client[i]);
	listener_free(s);
	rig_close(&r);
}

TEST(loop_tells_ready_from_time_over)
{
	struct rig r;
	int p[2];

	rig_open(&r);
	EXPECT_EQ(pipe(p), 0);
	EXPECT_EQ(loop_watch(r.loop, p[0], false), 0);
	EXPECT(!loop_wait(r.loop, 0));
	EXPECT(!loop_wait(r.loop, env_now_ns(r.env) + NS_PER_MS));
	EXPECT(!loop_wait(r.loop, 1)); /* long ago */
	EXPECT_EQ(write(p[1], "x", 1), 1);
	EXPECT(loop_wait(r.loop, UINT64_MAX));
	EXPECT(loop_wait(r.loop, 0)); /* still: nobody read it */
	loop_unwatch(r.loop, p[0]);
	EXPECT(!loop_wait(r.loop, 0));
	EXPECT(loop_watch(r.loop, -1, false) == -EBADF);
	close(p[0]);
	close(p[1]);
	rig_close(&r);
}

TEST(random_differs_and_fills_all)
{
	uint8_t a[1000] = { 0 }, b[1000] = { 0 };
	struct rig r;
	int same = 0;

	rig_open(&r);
	env_random(r.env, a, sizeof(a));
	env_random(r.env, b, sizeof(b));
	for (size_t i = 0; i < sizeof(a); i++)
		same += a[i] == b[i];
	EXPECT(same < 100); /* expected 4 of 1000 */
	rig_close(&r);
}

/* ---- records ---- */

static void expect_rec(struct rig *r, const char *name, const char *text)
{
	char buf[64];
	ssize_t n = env_rec_load(r->env, name, buf, sizeof(buf));

	EXPECT_EQ(n, strlen(text));
	EXPECT_MEM(buf, text, strlen(text));
}

TEST(records_are_kept_and_replaced)
{
	struct rig r;
	struct stat st;
	struct err e;
	char buf[4];

	rig_open(&r);
	EXPECT(env_rec_load(r.env, "g1.journal", buf, 4) == -ENOENT);
	EXPECT_EQ(env_rec_store(r.env, "g1.journal", "first, long", 11), 0);
	EXPECT_EQ(env_rec_store(r.env, "g1.journal", "second", 6), 0);
	EXPECT_EQ(env_rec_store(r.env, "..x", "", 0), 0);
	env_linux_free(r.env);
	r.env = env_linux_new(r.loop, r.state, &e);
	EXPECT(r.env);
	expect_rec(&r, "g1.journal", "second");
	expect_rec(&r, "..x", "");
	EXPECT_EQ(env_rec_load(r.env, "g1.journal", buf, 4), 4); /* at most cap */
	EXPECT_EQ(stat(r.state, &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0700);
	rig_close(&r);
}

/* Guest names come from a peer: none may lead out of the directory or onto a file that is being written. */
TEST(record_names_are_checked)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "../x", "/etc/x", "a b", "x~", "a\nb", "\xc3\xa4", "a:b" };
	char longer[300], buf[4];
	struct rig r;

	rig_open(&r);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	EXPECT(env_rec_store(r.env, longer, "x", 1) == -EINVAL);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		EXPECT(env_rec_store(r.env, bad[i], "x", 1) == -EINVAL);
		EXPECT(env_rec_load(r.env, bad[i], buf, 4) == -EINVAL);
	}
	longer[200] = 0;
	EXPECT_EQ(env_rec_store(r.env, longer, "x", 1), 0);
	rig_close(&r);
}

/* Design rule 1 rests on this: the disk fills up in the middle of a record, and the old one is still whole. */
TEST(record_survives_a_write_cut_short)
{
	struct rlimit old, tight = { 10, 10 };
	char path[128];
	struct rig r;
	int rc;

	rig_open(&r);
	EXPECT_EQ(env_rec_store(r.env, "own", "the old record", 14), 0);
	getrlimit(RLIMIT_FSIZE, &old);
	tight.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
	rc = env_rec_store(r.env, "own", "a new record that is longer than ten", 36);
	EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
	EXPECT(rc == -EFBIG);
	expect_rec(&r, "own", "the old record");
	snprintf(path, sizeof(path), "%s/own~", r.state);
	EXPECT_EQ(access(path, F_OK), -1); /* nothing left over */
	rig_close(&r);
}

TEST(record_that_cannot_be_written_leaves_the_old)
{
	char path[128];
	struct rig r;

	rig_open(&r);
	EXPECT_EQ(env_rec_store(r.env, "own", "old", 3), 0);
	snprintf(path, sizeof(path), "%s/own~", r.state);
	EXPECT_EQ(mkdir(path, 0700), 0);
	EXPECT(env_rec_store(r.env, "own", "new", 3) == -EISDIR);
	expect_rec(&r, "own", "old");
	EXPECT_EQ(rmdir(path), 0);
	EXPECT_EQ(symlink("/dev/null", path), 0); /* nor through a link somebody put there */
	EXPECT(env_rec_store(r.env, "own", "new", 3) == -ELOOP);
	expect_rec(&r, "own", "old");
	EXPECT_EQ(env_rec_store(r.env, "own", "new", 3), 0); /* the failed try removed the link */
	expect_rec(&r, "own", "new");
	rig_close(&r);
}

/* The directory may not be ours to write (run as somebody else when we are root). */
TEST(unwritable_state_dir_fails_cleanly)
{
	struct rig r;
	int status;
	pid_t pid;

	rig_open(&r);
	EXPECT_EQ(env_rec_store(r.env, "own", "old", 3), 0);
	EXPECT_EQ(chmod(r.state, 0555), 0);
	pid = fork();
	if (!pid) {
		if (!geteuid() && setresuid(65534, 65534, 65534))
			_exit(3);
		_exit(env_rec_store(r.env, "own", "new", 3) == -EACCES ? 0 : 1);
	}
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(chmod(r.state, 0700), 0);
	expect_rec(&r, "own", "old");
	rig_close(&r);
}

/* Killed at any moment while it replaces a record again and again: one whole record is there. */
TEST(record_is_whole_after_a_kill)
{
	struct rig r;
	char buf[3000];

	rig_open(&r);
	memset(buf, 'a', sizeof(buf));
	EXPECT_EQ(env_rec_store(r.env, "own", buf, sizeof(buf)), 0);
	for (int round = 0; round < 10; round++) {
		pid_t pid;
		char ready;
		ssize_t n;
		int p[2];

		EXPECT_EQ(pipe(p), 0);
		pid = fork();
		if (!pid)
			prctl(PR_SET_PDEATHSIG, SIGKILL); /* should a check fail meanwhile */
		if (!pid)
			for (int i = 0;; i++) {
				memset(buf, 'a' + i % 26, (size_t)(100 + i % 7 * 400));
				env_rec_store(r.env, "own", buf, (size_t)(100 + i % 7 * 400));
				if (i >= round)
					(void)!write(p[1], "x", 1);
			}
		EXPECT_EQ(read(p[0], &ready, 1), 1);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close(p[0]);
		close(p[1]);
		n = env_rec_load(r.env, "own", buf, sizeof(buf));
		EXPECT(n >= 100 && (n - 100) % 400 == 0);
		for (ssize_t i = 1; i < n; i++)
			EXPECT_EQ(buf[i], buf[0]);
	}
	rig_close(&r);
}

TEST(no_state_dir_is_read_only)
{
	struct rig r;
	struct env *e;
	struct err err;
	char b;

	rig_open(&r);
	e = env_linux_new(r.loop, NULL, &err);
	EXPECT(e);
	EXPECT(env_rec_store(e, "x", "y", 1) == -EROFS);
	EXPECT(env_rec_load(e, "x", &b, 1) == -EROFS);
	env_linux_free(e);
	EXPECT(!env_linux_new(r.loop, "/nonexistent/ferry/state", &err));
	EXPECT(strstr(err.text, "parent"));
	rig_close(&r);
}
