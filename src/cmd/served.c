/* One guest at one server: its namespaces, its controller, its socket.
 *
 * Called from start, from the manager's requests (site.c) and from the main loop. Everything here can be undone: whoever
 * begins something and fails leaves nothing behind.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/serve.h"

struct served *served_find(struct serve *s, const char *name)
{
	for (unsigned i = 0; i < s->guests; i++)
		if (!strcmp(s->guest[i]->name, name))
			return s->guest[i];
	return NULL;
}

/* Whoever asks about a guest, or is refused with one, leaves its name here. The rows are for guests that are something to us. */
static bool forgettable(const struct served *g)
{
	return !served_known(g) && !g->mc && !g->vm && !g->out && !g->placing && !g->resize.call &&
	       !(g->s->in && move_in_progress(g->s->in, g->name));
}

static void forget_one(struct serve *s)
{
	for (unsigned i = 0; i < s->guests; i++) {
		if (!forgettable(s->guest[i]))
			continue;
		free(s->guest[i]);
		s->guest[i] = s->guest[--s->guests];
		return;
	}
}

struct served *served_add(struct serve *s, const char *name, struct err *err)
{
	struct err mine = { "" };
	struct served *g;
	int rc;

	if (s->guests == SERVED_MAX)
		forget_one(s);
	if (s->guests == SERVED_MAX || !config_name_ok(name)) {
		err_set(err, -ENOSPC, "guest '%s': %s", name,
			s->guests == SERVED_MAX ? "this server has as many guests as it can hold" : "not a name a guest may have");
		return NULL;
	}
	g = calloc(1, sizeof(*g));
	if (!g) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	g->s = s;
	snprintf(g->name, sizeof(g->name), "%s", name);
	rc = journal_load(&g->journal, s->env, name, &mine);
	if (rc)
		snprintf(g->trouble, sizeof(g->trouble), "%.290s", mine.text);
	g->lost = rc == -EBADMSG;
	s->guest[s->guests++] = g;
	return g;
}

/* ---- namespaces */

static const struct cfg_ns *cfg_of(const struct served *g, const struct served_ns *n)
{
	const struct config *c = &g->s->cfg;

	for (unsigned i = 0; !n->pool && i < c->nss; i++)
		if (!strcmp(c->ns[i].name, n->from))
			return &c->ns[i];
	return NULL;
}

bool served_ns_shared(const struct served *g, const struct served_ns *n)
{
	const struct cfg_ns *c = cfg_of(g, n);

	return c && c->shared;
}

bool served_ns_away(const struct served *g, const struct served_ns *n)
{
	return g->journal.own != OWN_OWNER && (n->shared || served_ns_shared(g, n));
}

int served_judge_shared(const struct served *g, struct err *err)
{
	for (unsigned i = 0; i < g->ns_count; i++)
		if (!served_ns_shared(g, &g->ns[i]))
			return err_set(err, -EINVAL, "namespace %u of guest %s cannot be handed over: %s %s does not say shared=yes here, so its "
				       "lock is not passed on, and without it there would be two writers. Say so on both servers if both reach the "
				       "same file, or move with --mode copy", g->ns[i].guest_nsid, g->name,
				       g->ns[i].pool ? "pool" : "namespace", g->ns[i].from);
	return 0;
}

bool served_has_storage(const struct served *g)
{
	for (unsigned i = 0; i < g->ns_count; i++)
		if (g->ns[i].ns && blk_bottom(nvme_ns_blk(g->ns[i].ns))->away)
			return false;
	return true;
}

static uint64_t clock_ns(void *ctx) { return env_now_ns(ctx); }

static struct blk *wrap(struct serve *s, const struct cfg_ns *c, struct blk *b, struct err *err)
{
	uint64_t seed = 1;

	env_random(s->env, &seed, sizeof(seed));
	if (b && c->error_ppm) {
		struct blk_error_cfg e = { .seed = seed, .rc = -EIO };

		e.per_million[BLK_READ] = e.per_million[BLK_WRITE] = (uint32_t)c->error_ppm;
		b = blk_error_open(b, &e, err);
	}
	if (b && c->delay_ns)
		b = blk_delay_open(b, c->delay_ns, c->delay_ns, seed, clock_ns, s->env, err);
	if (b && c->stamp)
		b = blk_stamp_open(b, err);
	return b;
}

/* All guests together: a file that is somebody else's for good must not hold up each of them. */
static unsigned patience_ms(const struct serve *s)
{
	uint64_t until = s->started_ns + SERVED_START_S * NS_PER_S, now = env_now_ns(s->env);

	return now < until ? (unsigned)((until - now) / NS_PER_MS) : 0;
}

static struct blk *open_blk(struct served *g, struct served_ns *n, unsigned how, struct err *err)
{
	struct blk_file_cfg f = { .path = n->path, .block_bytes = (uint32_t)n->block, .blocks = n->blocks, .direct = true,
				  .grow = how & SERVED_OPEN_FIT };
	const struct cfg_ns *c = cfg_of(g, n);
	struct blk *b;

	f.create = how & SERVED_OPEN_FRESH && (!c || c->create);
	f.lock = how & SERVED_OPEN_THEIRS ? BLK_FILE_THEIRS : how & SERVED_OPEN_AWAY ? BLK_FILE_AWAY : BLK_FILE_OURS;
	f.patience_ms = how & SERVED_OPEN_START ? patience_ms(g->s) : 0;
	if (n->backend == CFG_RAM)
		b = blk_ram_open((uint32_t)n->block, n->blocks, err);
	else
		b = blk_file_open(&f, err);
	return b && c ? wrap(g->s, c, b, err) : b;
}

static void watch_blk(struct serve *s, struct nvme_ns *ns, bool on)
{
	for (struct blk *b = nvme_ns_blk(ns); b; b = b->below) {
		int fd = b->ops->wait_fd ? b->ops->wait_fd(b) : -1;

		if (fd < 0)
			continue;
		if (on)
			loop_watch(s->loop, fd, false);
		else
			loop_unwatch(s->loop, fd);
		return; /* a wrapper hands the descriptor below up */
	}
}

int served_open_ns(struct served *g, struct served_ns *n, unsigned how, struct err *err)
{
	const struct cfg_ns *c = cfg_of(g, n);
	bool fresh = how & SERVED_OPEN_FRESH;
	struct blk *b;
	int rc;

	if (!n->pool && !c)
		return err_set(err, -ENOENT, "namespace '%s' is not in the configuration any more; put [namespace %s] back", n->from,
			       n->from);
	if (n->pool && n->backend == CFG_RAM && !fresh)
		return err_set(err, -ENODATA, "its data was in memory (pool %s) and went with the process that held it", n->from);
	b = open_blk(g, n, how, err);
	if (!b)
		return err_wrap(err, -EIO, "namespace %u of guest %s", n->guest_nsid, g->name);
	n->blocks = b->blocks;
	n->ns = nvme_ns_add(g->s->ss, 0, b, &n->ids, err);
	if (!n->ns)
		return err_wrap(err, -EIO, "namespace %u of guest %s", n->guest_nsid, g->name);
	rc = nvme_ctrl_attach(g->s->mmc_ctrl, nvme_ns_nsid(n->ns), n->ns);
	if (rc && rc != -EEXIST)
		log_warn("namespace %u of %s: the manager cannot see it: %s", n->guest_nsid, g->name, strerror(-rc));
	watch_blk(g->s, n->ns, true);
	return 0;
}

void served_close_ns(struct served *g, struct served_ns *n, bool remove_data)
{
	struct err err = { "" };

	if (n->ns) {
		watch_blk(g->s, n->ns, false);
		if (nvme_ns_remove(n->ns, &err))
			log_warn("guest %s, namespace %u stays open: %s", g->name, n->guest_nsid, err.text);
		n->ns = NULL;
	}
	if (remove_data && n->pool && n->path[0] && unlink(n->path) && errno != ENOENT)
		log_warn("cannot remove %s: %s", n->path, strerror(errno));
}

void served_forget_ns(struct served *g, bool remove_data)
{
	for (unsigned i = 0; i < g->ns_count; i++)
		served_close_ns(g, &g->ns[i], remove_data);
	g->ns_count = 0;
}

bool served_known(const struct served *g)
{
	return g->cfg || g->ns_count || g->trouble[0] || g->journal.own != OWN_NONE;
}

/* ---- controller and socket */

static int attach_all(struct served *g, struct err *err)
{
	for (unsigned i = 0; i < g->ns_count; i++) {
		int rc = g->ns[i].ns ? nvme_ctrl_attach(g->mc, g->ns[i].guest_nsid, g->ns[i].ns) : -ENODEV;

		if (rc)
			return err_set(err, rc, "guest %s: cannot attach namespace %u: %s", g->name, g->ns[i].guest_nsid, strerror(-rc));
	}
	return 0;
}

void served_socket(const struct served *g, char *path, size_t cap)
{
	if (g->cfg)
		snprintf(path, cap, "%s", g->cfg->socket);
	else
		snprintf(path, cap, "%s/%s.sock", g->s->cfg.server.run_dir, g->name);
}

/* A VM that waits for its socket must not find the one of a server that was killed. */
void served_sweep(const struct served *g)
{
	char path[CFG_PATH_MAX + MOVE_NAME_MAX + 8];

	served_socket(g, path, sizeof(path));
	vuser_server_sweep(path);
}

static int open_socket(struct served *g, struct err *err)
{
	char path[CFG_PATH_MAX + MOVE_NAME_MAX + 8];
	struct vuser_server_cfg v = { .path = path, .map_doorbells = !g->cfg || g->cfg->doorbells == CFG_MAPPED, .idle_skip = 32 };

	served_socket(g, path, sizeof(path));
	g->mapped = v.map_doorbells;
	g->sock = vuser_server_new(g->s->loop, nvme_ctrl_device(g->mc), &v, err);
	return g->sock ? 0 : err_wrap(err, -EIO, "guest %s", g->name);
}

int served_begin(struct served *g, bool online, struct err *err)
{
	struct nvme_ctrl_cfg c = { .max_ioq = (uint16_t)(g->cfg ? g->cfg->queues : 0) };
	int rc;

	if (g->mc)
		return err_set(err, -EBUSY, "guest %s is being put away; try again", g->name);
	g->mc = nvme_ctrl_new(g->s->ss, &c, err);
	if (!g->mc)
		return err_wrap(err, -ENOSPC, "guest %s: no controller", g->name);
	g->leaving = false;
	nvme_ctrl_set_online(g->mc, online);
	rc = attach_all(g, err);
	if (!rc)
		rc = open_socket(g, err);
	if (rc)
		served_end(g);
	return rc;
}

void served_end(struct served *g)
{
	if (!g->mc)
		return;
	nvme_ctrl_set_online(g->mc, false);
	g->leaving = true;
}

/* A controller still finishing commands holds guest memory: socket and controller wait until it is quiet. */
static bool put_away(struct served *g)
{
	if (!nvme_ctrl_is_quiet(g->mc))
		return false;
	if (g->sock)
		vuser_server_free(g->sock);
	g->sock = NULL;
	if (nvme_ctrl_free(g->mc))
		return false;
	g->mc = NULL;
	g->leaving = false;
	return true;
}

bool served_poll(struct served *g)
{
	struct device *d;
	bool any = false;

	if (!g->mc)
		return false;
	d = nvme_ctrl_device(g->mc);
	if (g->sock)
		any |= vuser_server_poll(g->sock);
	any |= d->ops->poll(d, 64);
	if (g->leaving)
		any |= put_away(g);
	return any;
}

uint64_t served_deadline(const struct served *g)
{
	uint64_t t = UINT64_MAX;
	struct device *d;

	if (!g->mc)
		return t;
	d = nvme_ctrl_device(g->mc);
	t = d->ops->deadline(d);
	return g->sock ? MIN(t, vuser_server_deadline(g->sock)) : t;
}

void served_fini(struct served *g)
{
	move_out_free(g->out);
	g->out = NULL;
	if (g->vm)
		g->vm->ops->close(g->vm);
	g->vm = NULL;
	if (g->sock)
		vuser_server_free(g->sock);
	g->sock = NULL;
	if (g->mc && nvme_ctrl_free(g->mc))
		log_debug("guest %s: controller goes with the subsystem", g->name);
	g->mc = NULL;
}
