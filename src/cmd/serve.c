/* `ferry serve`: start, one loop, orderly stop.
 *
 * The loop polls everything while there is something to do, spins a little longer, then sleeps in epoll until the next deadline.
 * A doorbell in shared memory wakes nobody, so with such a client attached sleep is short and grows with idleness: a busy device
 * is answered in microseconds, an idle one costs some hundred wake-ups a second. The clock decides nothing but how long to sleep.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/command.h"
#include "cmd/serve.h"
#include "cmd/test_stop.h"
#include "host/port_loop.h"

enum {
	SPIN_NS = 50 * 1000,		/* idle this long before the first sleep */
	SLEEP_ANY_NS = 250 * 1000 * 1000, /* command timeouts are looked at this often */
	LOOK_SLOW_NS = 1000 * 1000 * 1000, /* for requests that a disk does not give back */
	LOOK_EVERY = 64,		/* turns between looks at control and link sockets while busy */
	STOP_LIMIT_S = 15,		/* for moves to be undone, for sizes to be changed */
	DRAIN_LIMIT_S = 10		/* for disks to be done with what they have, all together */
};

struct serve_vals { const char *config; bool verbose, check; };
_Static_assert(sizeof(struct serve_vals) <= COMMAND_VALS_MAX, "values fit");
const struct opt serve_opts[] = {
	OPT(struct serve_vals, config, "config", 'c', OPT_STR, "FILE", "configuration", .needed = true),
	OPT(struct serve_vals, check, "check", 0, OPT_FLAG, NULL, "only say whether the configuration is right"),
	OPT(struct serve_vals, verbose, "verbose", 'v', OPT_FLAG, NULL, "log phases and decisions too"),
	OPT_END
};

/* ---- start */

static int make_dir(const char *path, struct err *err)
{
	if (!mkdir(path, 0700) || errno == EEXIST)
		return 0;
	return err_set(err, -errno, "cannot make the directory %s: %s", path, strerror(errno));
}

/* One server per directory: two with the same journals would both be owner. */
static int lock_dir(const char *dir, int *fd, struct err *err)
{
	char path[CFG_PATH_MAX + 8], pid[16];

	snprintf(path, sizeof(path), "%s/lock", dir);
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*fd < 0)
		return err_set(err, -errno, "cannot make %s: %s", path, strerror(errno));
	if (flock(*fd, LOCK_EX | LOCK_NB)) {
		ssize_t n = pread(*fd, pid, sizeof(pid) - 1, 0);

		pid[n > 0 ? n : 0] = '\0';
		return err_set(err, -EBUSY, "another 'ferry serve' uses %s already (pid %s); stop it, or give this one directories of its "
			       "own", dir, n > 0 ? pid : "unknown");
	}
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (ftruncate(*fd, 0) || pwrite(*fd, pid, strlen(pid), 0) < 0)
		return err_set(err, -errno, "cannot write %s: %s", path, strerror(errno));
	return 0;
}

static int prepare_dirs(struct serve *s, struct err *err)
{
	const struct cfg_server *c = &s->cfg.server;
	int rc = make_dir(c->run_dir, err);

	s->lock_fd[0] = s->lock_fd[1] = s->signal_fd = -1;
	if (!rc)
		rc = make_dir(c->state_dir, err);
	for (unsigned i = 0; !rc && i < s->cfg.pools; i++)
		if (s->cfg.pool[i].kind == CFG_FILE)
			rc = make_dir(s->cfg.pool[i].dir, err);
	if (!rc)
		rc = lock_dir(c->run_dir, &s->lock_fd[0], err);
	if (!rc && strcmp(c->run_dir, c->state_dir))
		rc = lock_dir(c->state_dir, &s->lock_fd[1], err);
	return rc;
}

static int prepare_world(struct serve *s, struct err *err)
{
	sigset_t set;

	s->loop = loop_new(err);
	if (!s->loop)
		return -ENOMEM;
	s->env = env_linux_new(s->loop, s->cfg.server.state_dir, err);
	if (!s->env)
		return -EIO;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGCHLD, SIG_IGN);	/* VMs that we start (start=) are nobody's children */
	signal(SIGXFSZ, SIG_IGN);	/* a file that may not become so large is an error of one write, not our end */
	s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (s->signal_fd < 0 || loop_watch(s->loop, s->signal_fd, false))
		return err_set(err, -EIO, "cannot wait for signals: %s", strerror(errno));
	s->started_ns = env_now_ns(s->env);
	return 0;
}

void serve_pump_mmc(void *ctx)
{
	struct serve *s = ctx;
	struct device *d = nvme_ctrl_device(s->mmc_ctrl);

	nvme_subsys_poll(s->ss);
	d->ops->poll(d, 64);
}

/* mmc_socket: doorbells by message, so that a sleeping server wakes at once. */
static int start_mmc_socket(struct serve *s, struct err *err)
{
	struct vuser_server_cfg v = { .path = s->cfg.server.mmc_socket };

	s->mmc_sock = vuser_server_new(s->loop, nvme_ctrl_device(s->mmc_ctrl), &v, err);
	return s->mmc_sock ? 0 : err_wrap(err, -EADDRINUSE, "the migration management controller");
}

static int start_mmc(struct serve *s, struct err *err)
{
	struct nvme_ctrl_cfg mmc = { .mmc = true };
	/* Our own MMC cannot vanish; what takes long is the storage behind it, and a disk that writes back gigabytes may stand still for
	 * many seconds. Giving the controller up for that would fail every move under way; it is reset then and started again. */
	struct hnvme_cfg h = { .env = s->env, .io_queues = 1, .queue_size = 256, .mem_bytes = 64 * MIB, .mem_fd = -1,
			       .timeout_ns = 120 * NS_PER_S, .revive = true };
	int rc;

	s->mmc_ctrl = nvme_ctrl_new(s->ss, &mmc, err);
	if (!s->mmc_ctrl)
		return -EIO;
	nvme_ctrl_set_online(s->mmc_ctrl, true);
	if (s->cfg.server.mmc_socket[0])
		return start_mmc_socket(s, err);
	devloop_attach(&s->mmc_loop, nvme_ctrl_device(s->mmc_ctrl), NULL, NULL);
	s->mmc_port = port_loop_new(&s->mmc_loop, serve_pump_mmc, s, err);
	if (!s->mmc_port)
		return -ENOMEM;
	h.port = s->mmc_port;
	s->mmc = hnvme_new(&h, err);
	if (!s->mmc)
		return -ENOMEM;
	while ((rc = hnvme_start(s->mmc, err)) == -EAGAIN) {
		serve_pump_mmc(s);
		hnvme_poll(s->mmc);
	}
	return rc ? err_wrap(err, rc, "the migration management controller does not start") : 0;
}

static const char *disk_of(const struct serve *s, const struct nvme_ns *ns, char *text, size_t cap)
{
	for (unsigned i = 0; i < s->guests; i++)
		for (unsigned k = 0; k < s->guest[i]->ns_count; k++)
			if (s->guest[i]->ns[k].ns == ns)
				snprintf(text, cap, "guest %s, namespace %u", s->guest[i]->name, s->guest[i]->ns[k].guest_nsid);
	return text;
}

static void say_slow(void *ctx, const struct nvme_slow *r)
{
	static const char *const op[BLK_OP_COUNT] = { "read", "write", "flush", "write of zeroes", "deallocation" };
	char disk[MOVE_NAME_MAX + 40] = "a namespace", what[80] = "flush";

	disk_of(ctx, r->ns, disk, sizeof(disk));
	if (r->op != BLK_FLUSH)
		snprintf(what, sizeof(what), "%s of %llu blocks at %llu", op[r->op], (unsigned long long)r->nlb, (unsigned long long)r->lba);
	if (r->over)
		log_warn("%s: the disk is done with the %s, after %.1f s: %s", disk, what, (double)r->age_ns / 1e9,
			 r->rc ? strerror(-r->rc) : "all is well");
	else
		log_warn("%s: the disk has had a %s for %.1f s and does not answer", disk, what, (double)r->age_ns / 1e9);
}

static int start_device(struct serve *s, struct err *err)
{
	struct nvme_subsys_cfg c = { .env = s->env, .get_cdq_8_bytes = s->cfg.server.get_cdq_8_bytes, .slow = say_slow, .slow_ctx = s,
				     .slow_ns = s->cfg.server.slow_ns };

	snprintf(c.nqn, sizeof(c.nqn), "nqn.2026-01.org.ferry:%s", s->cfg.server.name);
	s->ss = nvme_subsys_new(&c, err);
	return s->ss ? start_mmc(s, err) : -EIO;
}

static int start_sockets(struct serve *s, struct err *err)
{
	char addr[CFG_PATH_MAX + 8];

	if (s->mmc) { /* nobody can move a guest to a server whose MMC is somebody else's */
		s->link = listener_new(s->loop, s->cfg.server.link, err);
		if (!s->link)
			return -EADDRINUSE;
	}
	snprintf(addr, sizeof(addr), "unix:%s", s->cfg.server.control);
	s->control = listener_new(s->loop, addr, err);
	return s->control ? 0 : -EADDRINUSE;
}

static int start(struct serve *s, struct err *err)
{
	int rc = prepare_dirs(s, err);

	if (!rc)
		rc = prepare_world(s, err);
	if (!rc)
		rc = start_device(s, err);
	if (rc)
		return rc;
	site_init(s);
	s->rpc = rpc_new(control_methods, s);
	s->in = s->mmc ? move_in_new(&s->site) : NULL;
	if (!s->rpc || (s->mmc && !s->in))
		return err_set(err, -ENOMEM, "no memory");
	rc = store_load(s, err);
	for (unsigned i = 0; !rc && i < s->guests; i++)
		served_sweep(s->guest[i]);
	if (!rc)
		rc = store_start(s, err);
	return rc ? rc : start_sockets(s, err); /* last: whoever can connect finds everything in place */
}

/* ---- the loop */

static bool poll_sockets(struct serve *s)
{
	struct signalfd_siginfo info;
	struct env_conn *c;
	bool any = false;

	while ((c = listener_accept(s->control))) {
		rpc_accept(s->rpc, c);
		any = true;
	}
	while (!s->stop && s->link && (c = listener_accept(s->link))) {
		move_in_accept(s->in, c);
		any = true;
	}
	if (read(s->signal_fd, &info, sizeof(info)) == sizeof(info))
		s->stop = any = true;
	return rpc_poll(s->rpc) || any;
}

static bool poll_devices(struct serve *s)
{
	struct device *mmc = nvme_ctrl_device(s->mmc_ctrl);
	bool any = nvme_subsys_poll(s->ss);

	for (unsigned i = 0; i < s->guests; i++)
		any |= served_poll(s->guest[i]);
	if (s->mmc_sock)
		any |= vuser_server_poll(s->mmc_sock);
	any |= mmc->ops->poll(mmc, 64);
	if (s->mmc)
		any |= hnvme_poll(s->mmc);
	return any;
}

static uint64_t deadline(struct serve *s, uint64_t now, uint64_t idle)
{
	struct device *mmc = nvme_ctrl_device(s->mmc_ctrl);
	uint64_t t = now + SLEEP_ANY_NS;
	bool must_look = false;

	t = MIN(t, mmc->ops->deadline(mmc));
	t = MIN(t, site_deadline(s));
	if (s->mmc_sock)
		t = MIN(t, vuser_server_deadline(s->mmc_sock));
	for (unsigned i = 0; i < s->guests; i++) {
		struct served *g = s->guest[i];

		t = MIN(t, served_deadline(g));
		must_look |= g->leaving || (g->sock && g->mapped && vuser_server_attached(g->sock));
	}
	if (must_look)
		t = MIN(t, now + idle_look_ns(idle));
	return t;
}

static void look(struct serve *s, uint64_t now)
{
	if (now < s->look_ns)
		return;
	s->look_ns = now + LOOK_SLOW_NS;
	nvme_subsys_look(s->ss);
}

static void turn(struct serve *s)
{
	bool any = poll_devices(s);
	uint64_t now, idle;

	any |= site_poll(s);
	for (unsigned i = 0; i < s->guests; i++)
		any |= resize_poll(s->guest[i]);
	test_stop_turn();
	/* An answer or event that devices or moves have just made is on no descriptor yet: nothing but this look sends it. */
	if (++s->turn % LOOK_EVERY == 0 || s->io_ready || !rpc_drained(s->rpc))
		any |= poll_sockets(s);
	idle_turn(&s->idle, any);
	if (any && s->turn % LOOK_EVERY)
		return; /* the clock and epoll cost more than a command */
	now = env_now_ns(s->env);
	look(s, now);
	idle = idle_ns(&s->idle, now);
	if (any || s->cfg.server.poll || idle < SPIN_NS)
		s->io_ready = loop_wait(s->loop, 0);
	else
		s->io_ready = loop_wait(s->loop, deadline(s, now, idle));
}

/* What was begun and ends by itself: moves that are undone or cleaned up behind, sizes that change. */
static bool ending(const struct serve *s)
{
	for (unsigned i = 0; i < s->guests; i++)
		if ((s->guest[i]->out && s->guest[i]->journal.own != OWN_HANDED) || s->guest[i]->resize.call)
			return true;
	return false;
}

static void run(struct serve *s)
{
	uint64_t until;

	s->idle.busy_ns = env_now_ns(s->env);
	while (!s->stop)
		turn(s);
	/* A move before its commit is undone, so that the target need not find out by silence. */
	site_cancel_all(s, "the source server is stopping");
	until = env_now_ns(s->env) + STOP_LIMIT_S * NS_PER_S;
	while ((ending(s) || !rpc_drained(s->rpc)) && env_now_ns(s->env) < until)
		turn(s);
}

/* ---- stop: takes a half-made server too */

static bool all_quiet(const struct serve *s)
{
	for (unsigned i = 0; i < s->guests; i++)
		if (s->guest[i]->mc && !nvme_ctrl_is_quiet(s->guest[i]->mc))
			return false;
	return true;
}

/* Let the medium finish what it has: acknowledged or not, nothing is cut in half, and no read lands in a guest's memory when we are gone
 * and the guest uses it for something else. */
static void drain_guests(struct serve *s)
{
	uint64_t now, until;

	for (unsigned i = 0; i < s->guests; i++)
		if (s->guest[i]->mc)
			nvme_ctrl_set_online(s->guest[i]->mc, false);
	if (!s->guests)
		return;
	now = env_now_ns(s->env);
	for (until = now + DRAIN_LIMIT_S * NS_PER_S; !all_quiet(s) && now < until; now = env_now_ns(s->env))
		if (!poll_devices(s))
			loop_wait(s->loop, now + NS_PER_MS);
}

static void stop_guests(struct serve *s)
{
	drain_guests(s);
	for (unsigned i = 0; i < s->guests; i++) {
		served_fini(s->guest[i]);
		for (unsigned k = 0; k < s->guest[i]->ns_count; k++)
			served_close_ns(s->guest[i], &s->guest[i]->ns[k], false);
		free(s->guest[i]);
	}
	s->guests = 0;
}

static void stop_mmc(struct serve *s)
{
	if (s->mmc_sock) {
		nvme_ctrl_set_online(s->mmc_ctrl, false);
		for (int n = 0; !nvme_ctrl_is_quiet(s->mmc_ctrl) && n < 100000; n++)
			poll_devices(s);
		vuser_server_free(s->mmc_sock);
		s->mmc_sock = NULL;
	}
	if (s->mmc)
		hnvme_free(s->mmc);
	for (int n = 0; s->mmc_loop.dev && devloop_detach(&s->mmc_loop) == -EAGAIN && n < 100000; n++)
		serve_pump_mmc(s);
	if (s->mmc_port)
		s->mmc_port->ops->close(s->mmc_port);
	if (s->ss)
		nvme_subsys_free(s->ss);
}

static void stop(struct serve *s)
{
	if (s->control)
		listener_free(s->control);
	if (s->link)
		listener_free(s->link);
	if (s->in)
		move_in_free(s->in);
	stop_guests(s);
	stop_mmc(s);
	rpc_free(s->rpc); /* after the driver: it answers calls whose commands it gives up */
	if (s->signal_fd >= 0) {
		loop_unwatch(s->loop, s->signal_fd);
		close(s->signal_fd);
	}
	if (s->env)
		env_linux_free(s->env);
	if (s->loop)
		loop_free(s->loop);
	for (int i = 0; i < 2; i++)
		if (s->lock_fd[i] >= 0)
			close(s->lock_fd[i]);
}

int cmd_serve(const struct command *self, void *vals, int argc, char **argv)
{
	struct serve_vals *v = vals;
	struct serve *s = calloc(1, sizeof(*s));
	struct err err = { "no memory" };
	int rc = s ? config_load(&s->cfg, v->config, &err) : -ENOMEM, code = EXIT_FERRY_OK;

	(void)self, (void)argc, (void)argv;
	if (rc || v->check) {
		fprintf(rc ? stderr : stdout, "ferry: %s\n", rc ? err.text : "the configuration is right");
		free(s);
		return rc ? EXIT_FERRY_USAGE : EXIT_FERRY_OK;
	}
	test_stop_init();
	log_set(NULL, NULL, v->verbose ? LOG_INFO : LOG_WARN);
	rc = start(s, &err);
	if (rc) {
		fprintf(stderr, "ferry: %s\n", err.text);
		code = rc == -EBUSY || rc == -EADDRINUSE ? EXIT_FERRY_REFUSED : EXIT_FERRY_FAILED;
	} else {
		printf("ferry: %s serves; control %s, link %s\n", s->cfg.server.name, s->cfg.server.control,
		       s->link ? s->cfg.server.link : "none (mmc_socket)");
		fflush(stdout);
		run(s);
	}
	stop(s);
	free(s);
	return code;
}
