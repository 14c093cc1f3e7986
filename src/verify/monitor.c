/* The monitor's life: lanes, their sockets, one epoll set. Called by the runner or `ferry verify monitor`, from one thread. */
#include "verify/monitor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "verify/monitor_in.h"

enum { POLL_EVENTS = 256, EAGER_LOOKS = 2000 };

#define ROW_(id, who, text, clause) { #id, #who[0], text, clause },
const struct monitor_rule_row monitor_rules[RULE_COUNT] = { MONITOR_RULES(ROW_) };
#undef ROW_

/* ---- records ------------------------------------------------------------------------------------------------------- */

struct rec mon_rec(struct ctrl *c, enum rec_kind kind, enum rec_actor actor)
{
	struct rec r = rec_blank(kind, actor, mon_now(c->m));

	r.ctrl = c->number;
	r.msg_id = c->m->msg_id;
	return r;
}

uint64_t mon_put(struct monitor *m, struct rec *r) { return rec_put(m->cfg.store, r); }

uint64_t mon_break(struct ctrl *c, enum monitor_rule rule, uint64_t who, const char *fmt, ...)
{
	struct rec r = mon_rec(c, REC_VIOLATION, REC_BY_MON);
	va_list ap;
	int n = snprintf(r.note, sizeof(r.note), "%s: ", monitor_rules[rule].id);

	va_start(ap, fmt);
	vsnprintf(r.note + n, sizeof(r.note) - (size_t)n, fmt, ap);
	va_end(ap);
	r.val = rule;
	r.parent = who;
	c->m->n.broken[rule]++;
	return mon_put(c->m, &r);
}

uint64_t monitor_broken(const struct monitor *m)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < RULE_COUNT; i++)
		n += m->n.broken[i];
	return n;
}

const struct monitor_stats *monitor_stats(const struct monitor *m) { return &m->n; }

/* ---- controllers --------------------------------------------------------------------------------------------------- */

static struct ctrl *ctrl_numbered(struct monitor *m, uint16_t number)
{
	LIST_EACH(&m->ctrls, l)
		if (LIST_ENTRY(l, struct ctrl, link)->number == number)
			return LIST_ENTRY(l, struct ctrl, link);
	return NULL;
}

struct ctrl *mon_ctrl_by_cntlid(struct monitor *m, uint16_t cntlid)
{
	LIST_EACH(&m->ctrls, l)
		if (LIST_ENTRY(l, struct ctrl, link)->cntlid == cntlid)
			return LIST_ENTRY(l, struct ctrl, link);
	return NULL;
}

void monitor_cntlid(struct monitor *m, uint16_t number, uint16_t cntlid)
{
	struct ctrl *c = ctrl_numbered(m, number);

	if (c)
		c->cntlid = cntlid;
}

void mon_scan(struct monitor *m)
{
	if (m->scanning)
		return; /* a Suspend found by a scan drains other lanes, whose messages scan */
	m->scanning = true;
	LIST_EACH(&m->ctrls, l)
		ctrl_scan(LIST_ENTRY(l, struct ctrl, link));
	m->scanning = false;
}

/* ---- the epoll set -------------------------------------------------------------------------------------------------- */

void mon_watch(struct monitor *m, int fd, struct watch *w, bool in, bool out, bool anew)
{
	struct epoll_event e = { .events = (in ? EPOLLIN : 0u) | (out ? EPOLLOUT : 0u), .data.ptr = w };

	epoll_ctl(m->ep, anew ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e);
}

void mon_unwatch(struct monitor *m, int fd) { epoll_ctl(m->ep, EPOLL_CTL_DEL, fd, NULL); }

/* While a client is attached the next one waits in the backlog: servers take one at a time too. */
void mon_lane_listen(struct lane *l, bool on)
{
	if (l->listen_fd < 0 || l->listening == on)
		return;
	if (on)
		mon_watch(l->m, l->listen_fd, &l->watch, true, false, true);
	else
		mon_unwatch(l->m, l->listen_fd);
	l->listening = on;
}

/* ---- sessions ------------------------------------------------------------------------------------------------------ */

static void half_start(struct lane *l, unsigned which)
{
	struct half *h = &l->half[which];

	h->open = true;
	h->watch = (struct watch){ which == FROM_CLIENT ? WATCH_CLIENT : WATCH_SERVER, l };
	mon_watch(l->m, h->sock.fd, &h->watch, true, false, true);
}

/* Takes both. */
static int session_start(struct lane *l, int client, int server)
{
	int rc = vuser_sock_init(&l->half[FROM_CLIENT].sock, client, MON_MSG_MAX);

	if (rc) {
		close(server);
		return rc;
	}
	rc = vuser_sock_init(&l->half[FROM_SERVER].sock, server, MON_MSG_MAX);
	if (rc) {
		vuser_sock_fini(&l->half[FROM_CLIENT].sock);
		return rc;
	}
	half_start(l, FROM_CLIENT);
	half_start(l, FROM_SERVER);
	l->attached = true;
	l->linger_ns = 0;
	l->m->n.clients++;
	mon_lane_listen(l, false);
	return 0;
}

static int dial(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(a.sun_path, path, strlen(path) + 1);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd < 0 ? -errno : fd;
}

static bool accept_one(struct lane *l)
{
	int client = accept4(l->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), server;

	if (client < 0)
		return false;
	server = dial(l->to);
	if (server < 0) {
		struct rec r = mon_rec(l->c, REC_MGR_EVENT, REC_BY_MON);

		snprintf(r.note, sizeof(r.note), "the server at %.120s does not answer: %s", l->to, strerror(-server));
		mon_put(l->m, &r);
		close(client);
		return true;
	}
	session_start(l, client, server);
	return true;
}

/* ---- lanes --------------------------------------------------------------------------------------------------------- */

static int lane_listen(struct lane *l, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	strcpy(a.sun_path, l->listen_path);
	if (!lstat(a.sun_path, &st)) {
		if (!S_ISSOCK(st.st_mode))
			return err_set(err, -EEXIST, "monitor: %s is there and no socket", a.sun_path);
		fd = dial(a.sun_path);
		if (fd >= 0)
			close(fd);
		if (fd != -ECONNREFUSED)
			return err_set(err, -EADDRINUSE, "monitor: somebody answers at %s", a.sun_path);
		unlink(a.sun_path);
	}
	l->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->listen_fd < 0 || bind(l->listen_fd, (struct sockaddr *)&a, sizeof(a)) || listen(l->listen_fd, 4) || lstat(a.sun_path, &st))
		return err_set(err, -errno, "monitor: cannot listen at %s: %s", a.sun_path, strerror(errno));
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	mon_lane_listen(l, true);
	return 0;
}

static void lane_free(struct lane *l)
{
	struct stat st;

	flow_end(l);
	if (l->listen_fd >= 0)
		close(l->listen_fd);
	if (l->ino && !lstat(l->listen_path, &st) && (uint64_t)st.st_dev == l->dev && (uint64_t)st.st_ino == l->ino)
		unlink(l->listen_path); /* only our own: somebody may have put theirs there meanwhile */
	list_del(&l->link);
	free(l);
}

static struct lane *lane_new(struct monitor *m, const struct monitor_lane_cfg *cfg)
{
	struct lane *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->m = m;
	l->listen_fd = -1;
	l->half[0].sock.fd = l->half[1].sock.fd = -1;
	l->watch = (struct watch){ WATCH_LISTEN, l };
	list_init(&l->bindings);
	list_push(&m->lanes, &l->link);
	l->c = ctrl_numbered(m, cfg->ctrl);
	if (!l->c && (l->c = ctrl_new(m, cfg->ctrl)))
		list_push(&m->ctrls, &l->c->link);
	if (l->c) {
		l->c->message = m->cfg.message_mode && !cfg->shared;
		return l;
	}
	lane_free(l);
	return NULL;
}

int monitor_lane(struct monitor *m, const struct monitor_lane_cfg *cfg, struct err *err)
{
	struct lane *l = lane_new(m, cfg);
	int rc;

	if (!l) {
		if (!cfg->listen) {
			close(cfg->client_fd);
			close(cfg->server_fd);
		}
		return err_set(err, -ENOMEM, "monitor: out of memory");
	}
	if (!cfg->listen) {
		rc = session_start(l, cfg->client_fd, cfg->server_fd);
		if (rc)
			err_set(err, rc, "monitor: %s", strerror(-rc));
	} else if (strlen(cfg->listen) >= sizeof(l->listen_path) || strlen(cfg->to) >= sizeof(l->to) || !*cfg->listen || !*cfg->to) {
		rc = err_set(err, -ENAMETOOLONG, "monitor: a socket's path has 1 to %zu characters", sizeof(l->to) - 1);
	} else {
		strcpy(l->listen_path, cfg->listen);
		strcpy(l->to, cfg->to);
		rc = lane_listen(l, err);
	}
	if (rc)
		lane_free(l);
	return rc;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

struct monitor *monitor_new(const struct monitor_cfg *cfg, struct err *err)
{
	struct monitor *m = calloc(1, sizeof(*m));

	if (!m) {
		err_set(err, -ENOMEM, "monitor: out of memory");
		return NULL;
	}
	m->cfg = *cfg;
	m->cfg.raw_bytes = m->cfg.raw_bytes ? MIN(m->cfg.raw_bytes, 2048u) : 64;
	m->msg_id = REC_STATUS_NONE;
	list_init(&m->lanes);
	list_init(&m->ctrls);
	m->ep = epoll_create1(EPOLL_CLOEXEC);
	if (m->ep >= 0)
		return m;
	err_set(err, -errno, "monitor: epoll: %s", strerror(errno));
	free(m);
	return NULL;
}

void monitor_free(struct monitor *m)
{
	if (!m)
		return;
	LIST_EACH(&m->lanes, l)
		lane_free(LIST_ENTRY(l, struct lane, link));
	LIST_EACH(&m->ctrls, l)
		ctrl_free(LIST_ENTRY(l, struct ctrl, link));
	rec_flush(m->cfg.store);
	close(m->ep);
	free(m);
}

int monitor_fd(const struct monitor *m) { return m->ep; }

unsigned monitor_clients(const struct monitor *m)
{
	unsigned n = 0;

	LIST_EACH((struct list *)(uintptr_t)&m->lanes, l)
		n += LIST_ENTRY(l, struct lane, link)->attached;
	return n;
}

/* One event at a time: handling one may close what the next would have been about. */
static bool one_event(struct monitor *m)
{
	struct epoll_event e;
	struct watch *w;

	if (epoll_wait(m->ep, &e, 1, 0) != 1)
		return false;
	w = e.data.ptr;
	switch (w->what) {
	case WATCH_LISTEN:
		return accept_one(w->lane);
	case WATCH_CLIENT:
	case WATCH_SERVER:
		if (e.events & (EPOLLHUP | EPOLLERR))
			flow_hung_up(w->lane, w->what == WATCH_CLIENT ? FROM_CLIENT : FROM_SERVER);
		flow_pump(w->lane, w->what == WATCH_CLIENT ? FROM_CLIENT : FROM_SERVER);
		return true;
	case WATCH_IRQ:
		irq_pump(CONTAINER_OF(w, struct binding, watch));
		return true;
	}
	return false;
}

/* A host that polls reads what it asked for as soon as it is there, and may then use the memory for something else. Where we want to read it
 * too (who a controller is, how large blocks are) we look again and again for a moment. */
static void look_closely(struct monitor *m)
{
	for (unsigned i = 0; i < EAGER_LOOKS && m->eager; i++)
		mon_scan(m);
}

bool monitor_poll(struct monitor *m)
{
	unsigned n = 0;

	while (n < POLL_EVENTS && one_event(m)) {
		look_closely(m);
		n++;
	}
	LIST_EACH(&m->lanes, it) {
		struct lane *l = LIST_ENTRY(it, struct lane, link);

		flow_tick(l);
		if (l->linger_ns && mon_now(m) >= l->linger_ns)
			flow_end(l);
	}
	mon_scan(m);
	rec_flush(m->cfg.store);
	return n > 0;
}
