/* What the manager asks of this server (struct move_site): find a guest, make room for one, let one go.
 *
 * The manager itself speaks only NVMe to controllers; names, files, sockets and VMs are ours. Requests of a peer are judged here
 * like any other input: names become file names, sizes take our disk.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/proc.h"
#include "cmd/serve.h"
#include "cmd/vm_none.h"
#include "vm/embedded/vm_embedded.h"
#include "vm/qemu/vm_qemu.h"

#define WAKE_EVERY_NS (10 * NS_PER_MS)

static bool has_vm(const struct served *g) { return !g->cfg || g->cfg->vm[0]; }

static void vm_path(const struct served *g, char *path, size_t cap)
{
	if (g->cfg && g->cfg->vm[0])
		snprintf(path, cap, "%s", g->cfg->vm);
	else
		snprintf(path, cap, "%s/%s.ctl", g->s->cfg.server.run_dir, g->name);
}

static int make_vm(struct served *g, struct err *err)
{
	char path[CFG_PATH_MAX + MOVE_NAME_MAX + 8];

	if (g->vm)
		return 0;
	vm_path(g, path, sizeof(path));
	if (!has_vm(g))
		g->vm = vm_none_new();
	else if (g->cfg && g->cfg->vm_kind == CFG_VM_QEMU)
		g->vm = vm_qemu_new(path, g->cfg->socket, err);
	else
		g->vm = vm_embedded_new(path, err);
	return g->vm ? 0 : err_wrap(err, -ENOMEM, "guest %s", g->name);
}

static void drop_vm(struct served *g)
{
	if (g->vm)
		g->vm->ops->close(g->vm);
	g->vm = NULL;
}

static void tell(struct served *g, struct move_guest *out)
{
	*out = (struct move_guest){ .cntlid = nvme_ctrl_cntlid(g->mc), .ns_count = g->ns_count, .vm = g->vm };
	snprintf(out->name, sizeof(out->name), "%s", g->name);
	for (unsigned i = 0; i < g->ns_count; i++) {
		struct served_ns *n = &g->ns[i];

		out->ns[i] = (struct move_ns){ .guest_nsid = n->guest_nsid, .nsid = nvme_ns_nsid(n->ns),
					       .block_bytes = (uint32_t)n->block, .blocks = nvme_ns_blocks(n->ns) };
		memcpy(out->ns[i].nguid, nvme_ns_ids(n->ns)->nguid, 16);
		memcpy(out->ns[i].eui64, nvme_ns_ids(n->ns)->eui64, 8);
		memcpy(out->ns[i].uuid, nvme_ns_ids(n->ns)->uuid, 16);
	}
}

/* ---- source */

static int site_find(void *ctx, const char *name, struct move_guest *out, struct err *err)
{
	struct served *g = served_find(ctx, name);
	int rc;

	if (!g || !g->mc || g->leaving)
		return err_set(err, -ENOENT, "guest '%s' is not served here", name);
	rc = make_vm(g, err);
	if (!rc)
		tell(g, out);
	return rc;
}

static void site_gone(void *ctx, const char *name)
{
	struct served *g = served_find(ctx, name);

	if (!g)
		return;
	served_end(g);
	drop_vm(g);
}

static void site_hold(void *ctx, const char *name, bool on)
{
	struct served *g = served_find(ctx, name);

	if (g && g->mc)
		nvme_ctrl_hold(g->mc, on);
}

static int site_lock(void *ctx, const char *name, bool take, struct err *err)
{
	struct served *g = served_find(ctx, name);
	bool wait = false;

	if (!g)
		return err_set(err, -ENOENT, "guest '%s' is not served here", name);
	for (unsigned i = 0; i < g->ns_count; i++) {
		int rc = g->ns[i].ns ? blk_hold(nvme_ns_blk(g->ns[i].ns), take, err) : 0;

		if (rc == -EAGAIN)
			wait = true;
		else if (rc && !(rc == -ENOTSUP && take)) /* what cannot be given up was not */
			return err_wrap(err, rc, "namespace %u of guest %s", g->ns[i].guest_nsid, name);
	}
	return wait ? -EAGAIN : 0;
}

/* Pages of data that may wait for the stop to be told: about a millisecond's worth. */
enum { TOUCH_LATE_MAX = 512 };

static int site_touch(void *ctx, const char *name, enum move_touch what, struct err *err)
{
	struct served *g = served_find(ctx, name);
	struct gmem *mem = g && g->mc ? &nvme_ctrl_device(g->mc)->gmem : NULL;
	int rc = 0;

	if (!mem)
		return what == MOVE_TOUCH_OFF ? 0 : err_set(err, -ENODEV, "its controller is gone");
	if (g->cfg && !g->cfg->touch)
		return 0;
	switch (what) {
	case MOVE_TOUCH_ON: rc = gmem_touch_start(mem, TOUCH_LATE_MAX); break;
	case MOVE_TOUCH_FLUSH: rc = gmem_touch_flush(mem); break;
	case MOVE_TOUCH_OFF: gmem_touch_stop(mem); break;
	}
	if (rc && rc != -EAGAIN)
		err_set(err, rc, "%llu pages could not be told (%s)", (unsigned long long)mem->touch.failed,
			strerror(mem->touch.rc ? -mem->touch.rc : -rc));
	return rc;
}

static struct journal *site_journal(void *ctx, const char *name)
{
	struct served *g = served_find(ctx, name);

	/* Also of a guest that is nothing to us now: it may have been refused once, and that must be remembered. Good until the next call, or while
	 * there is a session for it: the rows of guests that are nothing to us are given to others when there are no more (served_add). */
	if (!g)
		g = served_add(ctx, name, NULL);
	return g && !g->trouble[0] ? &g->journal : NULL;
}

static void site_event(void *ctx, const char *name, const struct move_event *e)
{
	struct served *g = served_find(ctx, name);

	if (g) {
		g->last = e->progress;
		snprintf(g->last_text, sizeof(g->last_text), "%s", e->text);
	}
	control_event(ctx, name, e);
}

/* ---- target: room */

uint64_t site_pool_used(const struct serve *s, const char *pool)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < s->guests; i++)
		for (unsigned k = 0; k < s->guest[i]->ns_count; k++)
			if (s->guest[i]->ns[k].pool && !strcmp(s->guest[i]->ns[k].from, pool))
				sum += s->guest[i]->ns[k].blocks * s->guest[i]->ns[k].block;
	return sum;
}

const struct cfg_pool *site_pool(const struct serve *s, const char *name)
{
	for (unsigned i = 0; i < s->cfg.pools; i++)
		if (!strcmp(s->cfg.pool[i].name, name))
			return &s->cfg.pool[i];
	return NULL;
}

static const struct cfg_pool *pool_for(const struct serve *s, uint64_t bytes)
{
	for (unsigned i = 0; i < s->cfg.pools; i++) {
		const struct cfg_pool *p = &s->cfg.pool[i];

		if (!p->max_bytes || (site_pool_used(s, p->name) <= p->max_bytes && bytes <= p->max_bytes - site_pool_used(s, p->name)))
			return p;
	}
	return NULL;
}

static int judge_request(const struct move_ns *ns, unsigned count, uint64_t *bytes, struct err *err)
{
	*bytes = 0;
	if (!count || count > MOVE_NS_MAX)
		return err_set(err, -EINVAL, "a guest with %u namespaces cannot come here (1 to %d can)", count, MOVE_NS_MAX);
	for (unsigned i = 0; i < count; i++) {
		if (!ns[i].guest_nsid || ns[i].guest_nsid > NVME_NSID_MAX || (ns[i].block_bytes != 512 && ns[i].block_bytes != 4096) ||
		    !ns[i].blocks || ns[i].blocks > (UINT64_MAX >> 1) / ns[i].block_bytes / MOVE_NS_MAX)
			return err_set(err, -EINVAL, "namespace %u: geometry of %u byte blocks times %llu is not possible here",
				       ns[i].guest_nsid, ns[i].block_bytes, (unsigned long long)ns[i].blocks);
		for (unsigned k = 0; k < i; k++)
			if (ns[k].guest_nsid == ns[i].guest_nsid)
				return err_set(err, -EINVAL, "namespace %u comes twice", ns[i].guest_nsid);
		*bytes += ns[i].blocks * ns[i].block_bytes;
	}
	return 0;
}

static void copy_ids(struct nvme_ns_ids *to, const struct move_ns *from)
{
	memcpy(to->nguid, from->nguid, 16);
	memcpy(to->eui64, from->eui64, 8);
	memcpy(to->uuid, from->uuid, 16);
}

/* Are the namespaces the guest left behind its own, one by one? */
static bool same_shape(const struct served *g, const struct move_ns *ns, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (i >= g->ns_count || g->ns[i].guest_nsid != ns[i].guest_nsid || g->ns[i].block != ns[i].block_bytes)
			return false;
	return g->ns_count == count;
}

/* They were resized while it was away if not. */
static bool same_sizes(const struct served *g, const struct move_ns *ns)
{
	for (unsigned i = 0; i < g->ns_count; i++)
		if (g->ns[i].blocks != ns[i].blocks)
			return false;
	return true;
}

static bool in_use(const struct serve *s, const struct cfg_ns *c)
{
	for (unsigned i = 0; i < s->guests; i++)
		for (unsigned k = 0; k < s->guest[i]->ns_count; k++)
			if (!s->guest[i]->ns[k].pool && !strcmp(s->guest[i]->ns[k].from, c->name))
				return true;
	return false;
}

/* Handover: the blocks stay where they are; our configuration names the same storage by the same identity. */
static int claim_shared(struct served *g, const struct move_ns *want, struct served_ns *n, struct err *err)
{
	struct serve *s = g->s;
	const struct cfg_ns *unsaid = NULL;

	for (unsigned i = 0; i < s->cfg.nss; i++) {
		const struct cfg_ns *c = &s->cfg.ns[i];

		if (in_use(s, c) || c->block != want->block_bytes ||
		    !((c->has_nguid && !memcmp(c->nguid, want->nguid, 16)) || (c->has_uuid && !memcmp(c->uuid, want->uuid, 16))))
			continue;
		if (!c->shared) {
			unsaid = c;
			continue;
		}
		*n = (struct served_ns){ .guest_nsid = want->guest_nsid, .backend = c->backend, .block = c->block,
					 .blocks = want->blocks, .shared = true };
		snprintf(n->from, sizeof(n->from), "%s", c->name);
		snprintf(n->path, sizeof(n->path), "%s", c->path);
		copy_ids(&n->ids, want);
		return 0;
	}
	if (unsaid)
		return err_set(err, -EINVAL, "namespace %u of guest %s cannot be handed over to here: namespace %s does not say shared=yes, so "
			       "its file is for one server, and there would be two writers. Say so on both servers if both reach the same file, "
			       "or move with --mode copy", want->guest_nsid, g->name, unsaid->name);
	return err_set(err, -ENOENT, "handover needs the same storage here: no free [namespace] has the block size and the nguid or uuid of "
		       "namespace %u of guest %s; add one, or move with --mode copy", want->guest_nsid, g->name);
}

static int make_in_pool(struct served *g, const struct cfg_pool *p, const struct move_ns *want, struct served_ns *n, struct err *err)
{
	struct stat st;

	*n = (struct served_ns){ .guest_nsid = want->guest_nsid, .pool = true, .backend = p->kind, .block = want->block_bytes,
				 .blocks = want->blocks };
	snprintf(n->from, sizeof(n->from), "%s", p->name);
	if (p->kind == CFG_FILE) {
		snprintf(n->path, sizeof(n->path), "%s/%s-%u.img", p->dir, g->name, want->guest_nsid);
		if (!stat(n->path, &st)) /* not in our record: somebody else's */
			return err_set(err, -EEXIST, "%s is there already and is not ours; move it away", n->path);
	}
	copy_ids(&n->ids, want);
	return 0;
}

static int plan_new(struct served *g, bool make_ns, const struct move_ns *ns, unsigned count, uint64_t bytes, struct err *err)
{
	const struct cfg_pool *p = make_ns ? pool_for(g->s, bytes) : NULL;
	int rc = 0;

	if (make_ns && !p)
		return err_set(err, -ENOSPC, "no [pool] here has room for the %llu MiB of guest %s; add one or raise max_bytes",
			       (unsigned long long)(bytes >> 20), g->name);
	for (unsigned i = 0; !rc && i < count; i++) {
		rc = make_ns ? make_in_pool(g, p, &ns[i], &g->ns[i], err) : claim_shared(g, &ns[i], &g->ns[i], err);
		g->ns_count += !rc;
	}
	if (rc)
		g->ns_count = 0;
	return rc;
}

/* Opened anew with the size it has now. For a copy a file is made longer; storage that is handed over must have the blocks already. */
static int take_resized(struct served *g, struct served_ns *n, bool make_ns, uint64_t blocks, struct err *err)
{
	uint64_t was = n->blocks;
	int rc;

	served_close_ns(g, n, false);
	n->blocks = blocks;
	rc = served_open_ns(g, n, make_ns ? SERVED_OPEN_FRESH | SERVED_OPEN_FIT : SERVED_OPEN_THEIRS, err);
	if (!rc)
		return 0;
	n->blocks = was; /* what is there is still that */
	return err_wrap(err, rc, "it has %llu bytes now, %llu when it was here", (unsigned long long)(blocks * n->block),
			(unsigned long long)(was * n->block));
}

/* Whatever the old blocks hold: a copy sends every block that is not a hole, and the holes. */
static int take_old(struct served *g, bool make_ns, const struct move_ns *ns, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < g->ns_count; i++) {
		struct served_ns *n = &g->ns[i];

		copy_ids(&n->ids, &ns[i]);
		/* Without its lock, or perhaps another file by now. */
		if (n->ns && served_ns_shared(g, n))
			served_close_ns(g, n, false);
		n->shared = !make_ns;
		if (n->blocks != ns[i].blocks)
			rc = take_resized(g, n, make_ns, ns[i].blocks, err);
		else if (n->ns)
			nvme_ns_set_ids(n->ns, &n->ids);
		else
			rc = served_open_ns(g, n, make_ns ? SERVED_OPEN_FRESH : SERVED_OPEN_THEIRS, err);
	}
	return rc;
}

/* Namespaces are decided, recorded, then made: a crash between leaves a record of something missing, never a file nobody knows. */
static int place_ns(struct served *g, bool make_ns, const struct move_ns *ns, unsigned count, uint64_t bytes, struct err *err)
{
	int rc = make_ns ? 0 : served_judge_shared(g, err);

	if (rc)
		return rc;
	for (unsigned i = 0; !make_ns && i < g->ns_count; i++)
		if (!g->ns[i].shared)
			return err_set(err, -EINVAL, "what is here of guest %s is an old copy, and a handover would take it for what the guest has now: "
				       "move it with --mode copy", g->name);
	/* In a pool, other sizes are taken off the pool's room anew. */
	if (g->ns_count && same_shape(g, ns, count) && (!g->ns[0].pool || same_sizes(g, ns))) {
		rc = take_old(g, make_ns, ns, err);
		return rc ? rc : store_save(g->s);
	}
	if (g->ns_count && !g->ns[0].pool)
		return err_set(err, -EINVAL, "guest %s has namespaces in the configuration here, but others, or with other block sizes; "
			       "change them to what it has now", g->name);
	served_forget_ns(g, true);
	rc = plan_new(g, make_ns, ns, count, bytes, err);
	if (!rc && (rc = store_save(g->s)))
		err_set(err, rc, "cannot write the record of guests in %s: %s", g->s->cfg.server.state_dir, strerror(-rc));
	for (unsigned i = 0; !rc && i < g->ns_count; i++)
		rc = served_open_ns(g, &g->ns[i], make_ns ? SERVED_OPEN_FRESH : SERVED_OPEN_THEIRS, err);
	return rc;
}

/* Whoever starts the VM is no child of ours: it outlives us, and we do not wait for it. */
static int run_start(const struct served *g, struct err *err)
{
	char *const argv[] = { (char *)"sh", (char *)"-c", (char *)g->cfg->start, NULL };

	setenv("FERRY_GUEST", g->name, 1);
	setenv("FERRY_SOCKET", g->cfg->socket, 1);
	setenv("FERRY_VM", g->cfg->vm, 1);
	return proc_release(argv, err);
}

static int place_first(struct served *g, bool make_ns, const struct move_ns *ns, unsigned count, struct err *err)
{
	uint64_t bytes;
	int rc = judge_request(ns, count, &bytes, err);

	if (rc)
		return rc;
	if (g->trouble[0])
		return err_set(err, -EBUSY, "guest %s here: %.200s", g->name, g->trouble);
	g->placing = true;
	rc = place_ns(g, make_ns, ns, count, bytes, err);
	/* Online, but nobody drives it: the manager suspends it before the state comes, and its VM waits. */
	if (!rc)
		rc = served_begin(g, true, err);
	if (!rc)
		rc = make_vm(g, err);
	if (!rc && g->cfg && g->cfg->start[0])
		rc = run_start(g, err);
	g->place_until_ns = env_now_ns(g->s->env) + SERVED_WAIT_VM_S * NS_PER_S;
	return rc;
}

/* Of a handover that came to nothing: the source waits for its storage. True if it has been given up. */
static bool unlock_poll(struct served *g)
{
	struct err err = { "" };
	int rc = 0;

	if (!g->unlocking)
		return false;
	for (unsigned i = 0; i < g->ns_count; i++) {
		struct served_ns *n = &g->ns[i];
		int one = n->ns && n->shared ? blk_hold(nvme_ns_blk(n->ns), false, &err) : 0;

		rc = one == -EAGAIN || !rc ? one : rc;
	}
	if (rc == -EAGAIN)
		return false;
	if (rc)
		log_warn("guest %s: its storage stays locked here: %s", g->name, err.text);
	g->unlocking = false;
	return true;
}

static void site_unplace(void *ctx, const char *name)
{
	struct served *g = served_find(ctx, name);

	if (!g || !g->placing)
		return;
	g->placing = false;
	served_end(g);
	drop_vm(g);
	g->unlocking = true;
	unlock_poll(g);
	/* A guest that was never here goes without a trace, when its controller has gone (site_poll). */
}

static int wait_vm(struct served *g, struct err *err)
{
	struct vm_info info;
	char path[CFG_PATH_MAX + MOVE_NAME_MAX + 8], sock[CFG_PATH_MAX + MOVE_NAME_MAX + 8];
	bool qemu = g->cfg && g->cfg->vm_kind == CFG_VM_QEMU;
	int rc = g->vm->ops->open(g->vm, &info, err);

	if (!rc && (!has_vm(g) || vuser_server_attached(g->sock)))
		return 0; /* warm: it sees its controller before anything is paused */
	if (rc && rc != -EAGAIN && rc != -ENOENT && rc != -ECONNREFUSED)
		return rc;
	if (env_now_ns(g->s->env) < g->place_until_ns)
		return -EAGAIN;
	vm_path(g, path, sizeof(path));
	served_socket(g, sock, sizeof(sock));
	if (!rc && qemu)
		return err_set(err, -ETIMEDOUT, "the QEMU that waits at %s is not connected to its controller; give it a vfio-user-pci device with the "
			       "socket %s ('ferry vm run %s --incoming' does)", path, sock, g->name);
	if (!rc)
		return err_set(err, -ETIMEDOUT, "the guest that waits at %s does not connect to its controller; start it with --socket %s", path, sock);
	if (qemu)
		return err_wrap(err, -ETIMEDOUT, "no QEMU waits at %s; start it there when the move begins (ferry vm run %s --incoming), or put "
				"start= into [guest %s]", path, g->name, g->name);
	return err_set(err, -ETIMEDOUT, "no guest waits at %s; start it there first: ferry guest --incoming --control %s", path, path);
}

static int site_place(void *ctx, const char *name, bool make_ns, const struct move_ns *ns, unsigned count, struct move_guest *out,
		      struct err *err)
{
	struct served *g = served_find(ctx, name);
	int rc = 0;

	/* Half a place is not left behind: what comes next fails by itself, and takes it back. */
	if (!(g && g->placing) && !hnvme_ready(((struct serve *)ctx)->mmc))
		return err_set(err, -EBUSY, "the migration management controller here did not answer and is being reset; try again later");
	if (g && (g->leaving || (g->out && move_out_progress(g->out)->phase == MOVE_CLEANUP)))
		return -EAGAIN; /* its old controller is being put away */
	if (g && !g->placing && (g->mc || g->out || g->journal.own == OWN_OWNER || g->journal.own == OWN_HANDED))
		return err_set(err, -EEXIST, "a guest '%s' is here already (%s, epoch %llu)", name, own_name(g->journal.own),
			       (unsigned long long)g->journal.epoch);
	if (!g && !(g = served_add(ctx, name, err)))
		return -ENOSPC;
	if (g->unlocking)
		return -EAGAIN;
	if (!g->placing)
		rc = place_first(g, make_ns, ns, count, err);
	if (!rc)
		rc = wait_vm(g, err);
	if (!rc)
		tell(g, out);
	else if (rc != -EAGAIN)
		site_unplace(ctx, name);
	return rc;
}

/* ---- after a crash */

/* A guest's processors stand still from `stop` on. Who died between, and owns the guest, or has released it, must still tell them. */
void site_wake(struct served *g, enum served_wake what)
{
	g->wake = has_vm(g) ? what : WAKE_NONE;
	g->wake_ns = env_now_ns(g->s->env);
	g->wake_until_ns = g->wake_ns + SERVED_WAIT_VM_S * NS_PER_S;
}

static bool may_wake(const struct served *g)
{
	if (g->out || g->placing)
		return false; /* the move tells it */
	return g->wake == WAKE_RUN ? g->journal.own == OWN_OWNER && g->mc && nvme_ctrl_is_online(g->mc) : g->journal.own == OWN_RELEASED;
}

static bool wake_poll(struct served *g)
{
	struct err err = { "" };
	struct vm_info info;
	uint64_t now;
	int rc;

	if (!g->wake || (now = env_now_ns(g->s->env)) < g->wake_ns)
		return false;
	g->wake_ns = now + WAKE_EVERY_NS;
	rc = may_wake(g) ? make_vm(g, &err) : -ENOENT;
	if (!rc)
		rc = g->vm->ops->open(g->vm, &info, &err);
	if (!rc)
		rc = g->wake == WAKE_RUN ? g->vm->ops->resume(g->vm, &err) : g->vm->ops->discard(g->vm);
	if (rc == -EAGAIN && now < g->wake_until_ns)
		return false;
	if (rc && rc != -ENOENT && rc != -ECONNREFUSED) /* no process: nobody to tell */
		log_warn("guest %s: %s", g->name, err.text[0] ? err.text : strerror(-rc));
	g->wake = WAKE_NONE;
	if (!g->out && !g->placing)
		drop_vm(g);
	return true;
}

/* ---- the moves themselves */

static void out_ended(struct served *g, int rc, const char *why)
{
	const struct move_progress *p = move_out_progress(g->out);
	char text[300];

	snprintf(text, sizeof(text), "%s", why ? why : "");
	g->last = *p;
	control_end(g->s, g->name, rc, text, &g->last);
	move_out_free(g->out);
	g->out = NULL;
	/* We asked after a restart and the target never started it: the guest is ours again. */
	if (g->out_recovering && g->mc && !g->leaving && g->journal.own == OWN_OWNER) {
		nvme_ctrl_set_online(g->mc, true);
		site_wake(g, WAKE_RUN);
	}
	g->out_recovering = false;
	if (g->journal.own == OWN_OWNER)
		drop_vm(g);
}

/* True if the record of guests has to be written. */
static bool tidy(struct served *g)
{
	/* The move to here has ended well: the guest is an ordinary one now. */
	if (g->placing && g->journal.own == OWN_OWNER)
		g->placing = false;
	if (!g->ns_count || !g->ns[0].pool || g->placing || g->mc || g->out || g->trouble[0] || g->journal.own != OWN_NONE)
		return false;
	served_forget_ns(g, true); /* a move to here came to nothing */
	return true;
}

bool site_poll(struct serve *s)
{
	bool any = s->in && move_in_poll(s->in), changed = false;
	const char *why;
	int rc;

	for (unsigned i = 0; i < s->guests; i++) {
		struct served *g = s->guest[i];

		if (g->out) {
			any |= move_out_poll(g->out);
			if (move_out_ended(g->out, &rc, &why))
				out_ended(g, rc, why);
		}
		changed |= tidy(g);
		any |= unlock_poll(g);
		any |= wake_poll(g);
	}
	if (changed && store_save(s))
		log_warn("cannot write the record of guests in %s", s->cfg.server.state_dir);
	return any || changed;
}

uint64_t site_deadline(struct serve *s)
{
	uint64_t t = s->in ? move_in_deadline(s->in) : UINT64_MAX;

	for (unsigned i = 0; i < s->guests; i++)
		t = MIN(t, s->guest[i]->out ? move_out_deadline(s->guest[i]->out) : s->guest[i]->wake ? s->guest[i]->wake_ns : t);
	return t;
}

void site_cancel_all(struct serve *s, const char *why)
{
	for (unsigned i = 0; i < s->guests; i++)
		if (s->guest[i]->out)
			move_out_cancel(s->guest[i]->out, why);
}

void site_init(struct serve *s)
{
	s->site = (struct move_site){ .ctx = s, .env = s->env, .mmc = s->mmc, .pump = serve_pump_mmc, .find = site_find, .place = site_place,
				      .unplace = site_unplace, .gone = site_gone, .hold = site_hold,
				      .touch = site_touch, .lock = site_lock, .journal = site_journal, .event = site_event };
}
