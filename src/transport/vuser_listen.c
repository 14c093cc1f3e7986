/* The socket a vfio-user server listens on: made where a killed server left its own, never where another one lives. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "env/linux/loop.h"
#include "transport/vuser_priv.h"

void vuser_listen_watch(struct vuser_server *s, bool on)
{
	if (!s->loop || s->listen_fd < 0 || s->listen_watched == on)
		return;
	if (on)
		loop_watch(s->loop, s->listen_fd, false);
	else
		loop_unwatch(s->loop, s->listen_fd);
	s->listen_watched = on;
}

static int sock_address(struct sockaddr_un *a, const char *path, struct err *err)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!*path || strlen(path) >= sizeof(a->sun_path))
		return err_set(err, -ENAMETOOLONG, "vfio-user socket %s: the path must have 1 to %zu characters", path,
			       sizeof(a->sun_path) - 1);
	strcpy(a->sun_path, path);
	return 0;
}

/* 0: nobody answers there, the file is gone now. */
static int replace_stale(const struct sockaddr_un *a, struct err *err)
{
	struct stat st;
	int fd, rc;

	if (lstat(a->sun_path, &st))
		return errno == ENOENT ? 0 : err_set(err, -errno, "vfio-user socket %s: %s", a->sun_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, -EEXIST, "vfio-user socket %s: something else of that name exists; move it away", a->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, -errno, "vfio-user socket %s: %s", a->sun_path, strerror(errno));
	rc = connect(fd, (const struct sockaddr *)a, sizeof(*a)) ? -errno : 0;
	close(fd);
	if (rc != -ECONNREFUSED)
		return err_set(err, -EADDRINUSE, "vfio-user socket %s: another server answers there; stop it or take another path",
			       a->sun_path);
	return unlink(a->sun_path) ? err_set(err, -errno, "vfio-user socket %s: cannot remove the stale file: %s", a->sun_path,
					     strerror(errno)) : 0;
}

void vuser_server_sweep(const char *path)
{
	struct sockaddr_un a;

	if (!sock_address(&a, path, NULL))
		replace_stale(&a, NULL);
}

int vuser_listen_start(struct vuser_server *s, struct err *err)
{
	struct sockaddr_un a;
	struct stat st;
	int rc = sock_address(&a, s->cfg.path, err);

	rc = rc ? rc : replace_stale(&a, err);
	if (rc)
		return rc;
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listen_fd < 0 || bind(s->listen_fd, (struct sockaddr *)&a, sizeof(a)))
		return err_set(err, -errno, "vfio-user socket %s: %s", a.sun_path, strerror(errno));
	strcpy(s->path, a.sun_path);
	if (listen(s->listen_fd, 4) || lstat(a.sun_path, &st))
		return err_set(err, -errno, "vfio-user socket %s: %s", a.sun_path, strerror(errno));
	s->path_dev = st.st_dev;
	s->path_ino = st.st_ino;
	vuser_listen_watch(s, true);
	return 0;
}

void vuser_listen_stop(struct vuser_server *s)
{
	struct stat st;

	if (s->listen_fd < 0)
		return;
	vuser_listen_watch(s, false);
	close(s->listen_fd);
	s->listen_fd = -1;
	/* only our own: somebody may have put theirs there meanwhile */
	if (s->path_ino && !lstat(s->path, &st) && st.st_dev == s->path_dev && st.st_ino == s->path_ino)
		unlink(s->path);
}
