/* The real env: kernel clock, kernel random, sockets, and records as files.
 *
 * A record is replaced by writing a second file, making it durable, renaming it over the first, and making the rename
 * durable: at any instant a crash leaves the old or the new one. '~' marks the second file; no record's name may have it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "env/linux/conn.h"
#include "env/name.h"

struct env_linux {
	struct env e;
	struct loop *loop;
	int dir;	/* -1: no records */
};

static struct env_linux *env_of(struct env *e) { return CONTAINER_OF(e, struct env_linux, e); }

static uint64_t linux_now_ns(struct env *e)
{
	struct timespec t;

	(void)e;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void linux_random(struct env *e, void *p, size_t len)
{
	uint8_t *at = p;

	(void)e;
	while (len) {
		ssize_t n = getrandom(at, MIN(len, (size_t)256), 0);

		CHECK(n > 0 || errno == EINTR); /* up to 256 bytes getrandom knows no other failure */
		if (n > 0)
			at += n, len -= (size_t)n;
	}
}

static struct env_conn *linux_connect(struct env *e, const char *addr, struct err *err)
{
	return conn_connect(env_of(e)->loop, addr, err);
}

/* ---- records ---- */

static int write_all(int fd, const uint8_t *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_durably(int dir, const char *name, const void *p, size_t len)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), rc;

	if (fd < 0)
		return -errno;
	rc = write_all(fd, p, len);
	if (!rc && fsync(fd))
		rc = -errno;
	if (close(fd) && !rc)
		rc = -errno;
	return rc;
}

static int linux_rec_store(struct env *e, const char *name, const void *p, size_t len)
{
	int dir = env_of(e)->dir, rc;
	char temp[ENV_REC_NAME_MAX + 2];

	if (!env_rec_name_ok(name))
		return -EINVAL;
	if (dir < 0)
		return -EROFS;
	snprintf(temp, sizeof(temp), "%s~", name);
	rc = write_durably(dir, temp, p, len);
	if (!rc && renameat(dir, temp, dir, name))
		rc = -errno;
	if (rc) {
		unlinkat(dir, temp, 0);
		return rc;
	}
	return fsync(dir) ? -errno : 0;
}

static ssize_t read_all(int fd, uint8_t *p, size_t cap)
{
	size_t have = 0;

	while (have < cap) {
		ssize_t n = read(fd, p + have, cap - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static ssize_t linux_rec_load(struct env *e, const char *name, void *p, size_t cap)
{
	int dir = env_of(e)->dir, fd;
	ssize_t rc;

	if (!env_rec_name_ok(name))
		return -EINVAL;
	if (dir < 0)
		return -EROFS;
	/* Nonblocking: a fifo put there by somebody must not hold us up. */
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	rc = read_all(fd, p, cap);
	close(fd);
	return rc;
}

static const struct env_ops linux_ops = {
	.now_ns = linux_now_ns, .random = linux_random, .connect = linux_connect,
	.rec_store = linux_rec_store, .rec_load = linux_rec_load,
};

/* Makes the last part of the path; durable too, or the first record could vanish together with its directory. */
static int make_dir(const char *path)
{
	char parent[PATH_MAX];
	char *slash;
	int fd, rc;

	if (mkdir(path, 0700))
		return errno == EEXIST ? 0 : -errno;
	snprintf(parent, sizeof(parent), "%s", path);
	while ((slash = strrchr(parent, '/')) && !slash[1] && slash != parent)
		*slash = 0;
	if (!slash)
		strcpy(parent, ".");
	else
		slash[slash == parent] = 0;
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 || fsync(fd) ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int open_state_dir(const char *path, struct err *err)
{
	int rc = strlen(path) < PATH_MAX ? make_dir(path) : -ENAMETOOLONG, fd;

	if (rc)
		return err_set(err, rc, "cannot make the state directory %.200s: %s; make its parent first, or name another", path, strerror(-rc));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "cannot open the state directory %.200s: %s", path, strerror(errno));
	return fd;
}

struct env *env_linux_new(struct loop *l, const char *state_dir, struct err *err)
{
	int dir = state_dir ? open_state_dir(state_dir, err) : -1;
	struct env_linux *e;

	if (state_dir && dir < 0)
		return NULL;
	e = calloc(1, sizeof(*e));
	if (!e) {
		if (dir >= 0)
			close(dir);
		return err_set(err, -ENOMEM, "env: out of memory"), NULL;
	}
	e->e.ops = &linux_ops;
	e->loop = l;
	e->dir = dir;
	return &e->e;
}

void env_linux_free(struct env *env)
{
	struct env_linux *e;

	if (!env)
		return;
	e = env_of(env);
	if (e->dir >= 0)
		close(e->dir);
	free(e);
}
