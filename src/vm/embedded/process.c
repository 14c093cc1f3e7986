/* The guest process's main loop. Touches the world: memfds, sockets, futex, sleep. One thread.
 *
 * `want` is read before every step and a sleep is a wait on it, so a pause takes effect within one step (microseconds). While there
 * is nothing to do it spins a little, then sleeps 50 us at a time: a rate-capped guest must not burn a core.
 */
#include "vm/embedded/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "host/port_vuser.h"
#include "transport/vuser_client.h"
#include "vm/embedded/control.h"

enum { CLIENTS = 16, BUDGET = 32, SPINS = 200, NAP_NS = 50000, PAUSED_NAP_NS = 2000000 };

struct process {
	const struct guest_process_cfg *cfg;
	struct guest_host h;
	struct guest_control *ctl;
	uint64_t ctl_bytes;
	int ctl_fd, listen_fd, client[CLIENTS];
	bool fresh;			/* memory that came from elsewhere was not looked at yet */
	bool ending;			/* quit was asked for: verifying */
	unsigned idle;
	uint64_t house_ns, connect_ns;
	struct err err;
};

/* ---- shared memory */

static void *share(const char *name, uint64_t bytes, int *fd)
{
	void *p;

	*fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0 || ftruncate(*fd, (off_t)bytes))
		return NULL;
	/* Whoever maps it must not be hit by our cutting it off. */
	if (fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return NULL;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static int set_up_memory(struct process *p, struct err *err)
{
	p->h.mem = share("ferry-guest-memory", p->h.bytes, &p->h.fd);
	p->ctl_bytes = guest_control_bytes(p->h.bytes);
	p->ctl = share("ferry-guest-control", p->ctl_bytes, &p->ctl_fd);
	if (!p->h.mem || !p->ctl)
		return err_set(err, -ENOMEM, "no shared memory for a guest of %llu bytes", (unsigned long long)p->h.bytes);
	p->ctl->magic = GUEST_CONTROL_MAGIC;
	p->ctl->version = GUEST_CONTROL_VERSION;
	p->h.dirty = guest_control_dirty(p->ctl);
	return 0;
}

/* ---- control socket */

static int listen_on(struct process *p, const char *path, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (snprintf(a.sun_path, sizeof(a.sun_path), "%s", path) >= (int)sizeof(a.sun_path))
		return err_set(err, -ENAMETOOLONG, "control socket %s: the path is too long", path);
	p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->listen_fd < 0)
		return err_set(err, -errno, "no socket for control");
	unlink(path); /* a stale one of ours: the directory belongs to whoever started us */
	if (bind(p->listen_fd, (struct sockaddr *)&a, sizeof(a)) || listen(p->listen_fd, 8)) {
		int rc = -errno;

		return err_set(err, rc, "cannot listen on control socket %s", path);
	}
	return 0;
}

static bool send_hello(struct process *p, int fd)
{
	struct guest_hello hello = { GUEST_CONTROL_MAGIC, GUEST_CONTROL_VERSION, p->h.bytes, p->ctl_bytes };
	int fds[2] = { p->h.fd, p->ctl_fd };
	union { struct cmsghdr c; char b[CMSG_SPACE(sizeof(fds))]; } u = { 0 };
	struct iovec v = { &hello, sizeof(hello) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = sizeof(u.b) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(hello);
}

static void drop_dead_clients(struct process *p)
{
	char x;

	for (unsigned i = 0; i < CLIENTS; i++) {
		ssize_t n = p->client[i] < 0 ? 1 : recv(p->client[i], &x, 1, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			close(p->client[i]);
			p->client[i] = -1;
		}
	}
}

static void accept_clients(struct process *p)
{
	unsigned slot;
	int fd;

	drop_dead_clients(p);
	for (slot = 0; slot < CLIENTS && p->client[slot] >= 0; slot++)
		;
	if (slot == CLIENTS)
		return; /* they wait in the backlog until somebody leaves */
	fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (send_hello(p, fd))
		p->client[slot] = fd;
	else
		close(fd);
}

/* ---- words */

static uint32_t want(struct process *p) { return __atomic_load_n(&p->ctl->want, __ATOMIC_SEQ_CST); }
static uint32_t is(struct process *p) { return __atomic_load_n(&p->ctl->is, __ATOMIC_SEQ_CST); }
static void set_is(struct process *p, uint32_t v) { __atomic_store_n(&p->ctl->is, v, __ATOMIC_SEQ_CST); }

static void nap(struct process *p, uint32_t seen, long ns)
{
	struct timespec t = { .tv_nsec = ns };

	syscall(SYS_futex, &p->ctl->want, FUTEX_WAIT, seen, &t, NULL, 0);
}

static void mirror_stats(struct process *p)
{
	struct guest_control *c = p->ctl;

	__atomic_store_n(&c->stats_seq, c->stats_seq + 1, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!p->fresh)
		memcpy(&c->stats, guest_stats(&p->h), sizeof(c->stats));
	__atomic_store_n(&c->stats_seq, c->stats_seq + 1, __ATOMIC_RELEASE);
}

/* Everything that is not the guest's own work; about once a millisecond. */
static void housekeeping(struct process *p)
{
	uint64_t now = env_now_ns(p->cfg->env);

	if (now < p->house_ns)
		return;
	p->house_ns = now + NS_PER_MS;
	__atomic_fetch_add(&p->ctl->heartbeat, 1, __ATOMIC_RELAXED);
	accept_clients(p);
	mirror_stats(p);
}

/* ---- the controller */

static int connect_device(struct process *p, struct err *err)
{
	int rc;

	if (p->h.port)
		p->h.port->ops->close(p->h.port);
	p->h.port = port_vuser_new(p->cfg->device, NULL, NULL, err);
	if (!p->h.port)
		return -ECONNREFUSED;
	rc = guest_attach(&p->h, err);
	if (rc) {
		p->h.port->ops->close(p->h.port);
		p->h.port = NULL;
	}
	return rc;
}

/* At the start: a server that was started together with us may not listen yet. */
static int connect_patiently(struct process *p, struct err *err)
{
	int rc = connect_device(p, err);

	for (int i = 0; rc && i < 40 && !(p->cfg->quit && *p->cfg->quit); i++) {
		nap(p, GUEST_WANT_PAUSE, 50000000);
		rc = connect_device(p, err);
	}
	return rc;
}

static bool retry_connect(struct process *p)
{
	uint64_t now = env_now_ns(p->cfg->env);

	if (now < p->connect_ns)
		return false;
	p->connect_ns = now + 100 * NS_PER_MS;
	return !connect_device(p, &p->err);
}

/* A move to here that came to nothing takes its controller away; the next move brings another one. A guest that was running must
 * notice such a thing by itself (it is a reset); one that waits for its memory must not keep the old one. */
static void drop_dead_port(struct process *p)
{
	if (is(p) != GUEST_IS_INCOMING || !p->h.port || vuser_client_poll(port_vuser_client(p->h.port)) >= 0)
		return;
	p->h.port->ops->close(p->h.port);
	p->h.port = NULL;
}

/* ---- running and standing still */

static void fail(struct process *p)
{
	snprintf(p->ctl->why, sizeof(p->ctl->why), "%.127s", p->err.text);
	set_is(p, GUEST_IS_FAILED);
}

static void stand_still(struct process *p)
{
	if (is(p) != GUEST_IS_INCOMING && is(p) != GUEST_IS_PAUSED) {
		mirror_stats(p);
		set_is(p, GUEST_IS_PAUSED); /* after the last step's marks */
	}
	drop_dead_port(p);
	if (!p->h.port)
		retry_connect(p); /* warm before it is needed */
	else if (p->h.port->ops->poll)
		p->h.port->ops->poll(p->h.port);
	housekeeping(p);
	nap(p, GUEST_WANT_PAUSE, PAUSED_NAP_NS);
}

static bool first_look(struct process *p)
{
	if (!p->fresh)
		return true;
	if (guest_check(&p->h, &p->err)) {
		fail(p);
		return false;
	}
	p->fresh = false;
	return true;
}

static void show_state(struct process *p)
{
	static const uint32_t map[] = { [GUEST_OFF] = GUEST_IS_BOOTING, [GUEST_BOOT] = GUEST_IS_BOOTING, [GUEST_RUN] = GUEST_IS_RUNNING,
					[GUEST_LOST] = GUEST_IS_LOST, [GUEST_FAILED] = GUEST_IS_FAILED };
	uint32_t s = guest_stats(&p->h)->state, now = s < ARRAY_LEN(map) ? map[s] : GUEST_IS_FAILED;

	if (is(p) == now)
		return;
	if (now == GUEST_IS_FAILED) {
		err_set(&p->err, -EIO, "%s", guest_stats(&p->h)->why);
		fail(p);
		return;
	}
	set_is(p, now);
}

static void step(struct process *p)
{
	bool busy = false;

	if (guest_stats(&p->h)->state == GUEST_LOST || !p->h.port) {
		if (retry_connect(p) && guest_stats(&p->h)->state == GUEST_LOST)
			guest_reattach(&p->h);
	}
	if (p->h.port)
		busy = guest_poll(&p->h, BUDGET);
	show_state(p);
	housekeeping(p);
	p->idle = busy ? 0 : p->idle + 1;
	if (p->idle > SPINS)
		nap(p, GUEST_WANT_RUN, NAP_NS);
}

static void run(struct process *p)
{
	uint32_t was = is(p);

	if (was == GUEST_IS_PAUSED || was == GUEST_IS_INCOMING) {
		/* Say so, then look at `want` again before anything is written to memory (control.h). */
		set_is(p, GUEST_IS_BOOTING);
		return;
	}
	if (was == GUEST_IS_FAILED || !first_look(p)) {
		housekeeping(p);
		nap(p, GUEST_WANT_RUN, PAUSED_NAP_NS);
		return;
	}
	step(p);
}

/* Asked to end. True when it is time. */
static bool end_now(struct process *p)
{
	sig_atomic_t q = p->cfg->quit ? *p->cfg->quit : 0;
	uint32_t now = is(p);

	if (want(p) == GUEST_WANT_QUIT || q > 1)
		return true;
	if (now == GUEST_IS_FAILED && !p->cfg->incoming)
		return true; /* an arriving one stays, so that the manager can be told why */
	if (!q)
		return false;
	if (now != GUEST_IS_RUNNING && now != GUEST_IS_BOOTING)
		return true; /* not running: nothing to verify */
	if (!p->ending) {
		guest_set_mode(&p->h, GUEST_VERIFY);
		p->ending = true;
	}
	return guest_stats(&p->h)->mode == GUEST_IDLE;
}

static void loop(struct process *p)
{
	while (!end_now(p)) {
		if (want(p) == GUEST_WANT_RUN)
			run(p);
		else
			stand_still(p);
	}
}

static void tear_down(struct process *p)
{
	if (p->ctl)
		set_is(p, GUEST_IS_GONE);
	if (p->h.port)
		p->h.port->ops->close(p->h.port);
	for (unsigned i = 0; i < CLIENTS; i++)
		if (p->client[i] >= 0)
			close(p->client[i]);
	if (p->listen_fd >= 0) {
		close(p->listen_fd);
		unlink(p->cfg->control);
	}
	if (p->h.mem)
		munmap(p->h.mem, p->h.bytes);
	if (p->ctl)
		munmap(p->ctl, p->ctl_bytes);
	if (p->h.fd >= 0)
		close(p->h.fd);
	if (p->ctl_fd >= 0)
		close(p->ctl_fd);
}

static int begin(struct process *p, struct err *err)
{
	int rc = set_up_memory(p, err);

	if (rc)
		return rc;
	if (p->cfg->incoming) {
		p->ctl->is = GUEST_IS_INCOMING;
		p->ctl->want = GUEST_WANT_PAUSE;
		p->fresh = true;
	} else {
		rc = guest_init(&p->h, &p->cfg->guest, err);
		if (!rc)
			rc = connect_patiently(p, err);
		if (rc)
			return rc;
		p->ctl->is = GUEST_IS_BOOTING;
		p->ctl->want = GUEST_WANT_RUN;
	}
	return listen_on(p, p->cfg->control, err);
}

int guest_process_run(const struct guest_process_cfg *cfg, struct guest_stats *stats, struct err *err)
{
	struct process p = { .cfg = cfg, .ctl_fd = -1, .listen_fd = -1 };
	int rc;

	for (unsigned i = 0; i < CLIENTS; i++)
		p.client[i] = -1;
	p.h = (struct guest_host){ .bytes = cfg->mem_bytes ? round_up(cfg->mem_bytes, GUEST_PAGE) : 64 * MIB, .fd = -1, .env = cfg->env };
	prctl(PR_SET_TIMERSLACK, 1000ul);
	rc = begin(&p, err);
	if (!rc) {
		loop(&p);
		if (is(&p) == GUEST_IS_FAILED && want(&p) != GUEST_WANT_QUIT)
			rc = err_set(err, -EIO, "the guest failed: %s", p.ctl->why);
		if (stats && !p.fresh)
			*stats = *guest_stats(&p.h);
	}
	tear_down(&p);
	return rc;
}
