/* `ferry resize`, the server's part: another size for a namespace of a guest that runs here.
 *
 * Called by rpc.c (the method) and by the main loop, which goes on with what was begun. The record of guests (store.c) is the one place
 * that says how large a namespace is. Larger: first the medium, durably, then the record, then the guest is told. Smaller: first
 * the record, then the guest is told, then the medium is cut. So whenever we die, the medium has at least what the record says.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "block/geometry.h"
#include "cmd/opt.h"
#include "cmd/rpc_client.h"
#include "cmd/serve.h"
#include "cmd/test_stop.h"

enum { RESIZE_LIMIT_S = 60 };	/* for a disk that does not answer */

/* ---- may it be done? */

static struct served_ns *ns_of(struct served *g, uint64_t guest_nsid)
{
	for (unsigned i = 0; i < g->ns_count; i++)
		if (g->ns[i].guest_nsid == guest_nsid)
			return &g->ns[i];
	return NULL;
}

static int judge_guest(const struct served *g, const char *name, struct err *err)
{
	if (!g || !served_known(g))
		return err_set(err, -ENOENT, "guest '%s' is unknown here", name);
	if (g->resize.call)
		return err_set(err, -EBUSY, "namespace %u of guest %s is being resized already", g->resize.n->guest_nsid, name);
	if (g->out)
		return err_set(err, -EBUSY, "guest %s is being moved (%s); resize it when that has ended, where it runs then", name,
			       move_phase_name(move_out_progress(g->out)->phase));
	if (g->trouble[0])
		return err_set(err, -EBUSY, "guest %s: %s", name, g->trouble);
	if (g->journal.own != OWN_OWNER || !g->mc || g->leaving)
		return err_set(err, -EPERM, "guest %s is not run here (%s, epoch %" PRIu64 "): resize it where it runs%s%s", name,
			       own_name(g->journal.own), g->journal.epoch, g->journal.peer[0] ? ", perhaps " : "", g->journal.peer);
	return 0;
}

static int judge_size(const struct served *g, const struct served_ns *n, uint64_t bytes, bool shrink, struct err *err)
{
	uint64_t have = n->blocks * n->block;
	char now[24], then[24];

	if (!bytes || bytes % n->block)
		return err_set(err, -EINVAL, "namespace %u of guest %s has blocks of %" PRIu64 " bytes: %" PRIu64 " bytes are no whole number of "
			       "them", n->guest_nsid, g->name, n->block, bytes);
	if (blk_geometry_check((uint32_t)n->block, bytes / n->block, err))
		return -EINVAL;
	if (bytes < have && !shrink)
		return err_set(err, -EPERM, "namespace %u of guest %s has %s: with %s everything behind that is lost for ever. Make what the guest "
			       "has on it smaller first, then use --shrink", n->guest_nsid, g->name, opt_bytes_text(now, sizeof(now), have),
			       opt_bytes_text(then, sizeof(then), bytes));
	return 0;
}

static int judge_pool(const struct served *g, const struct served_ns *n, uint64_t bytes, struct err *err)
{
	const struct cfg_pool *p = n->pool ? site_pool(g->s, n->from) : NULL;
	uint64_t used = p ? site_pool_used(g->s, p->name) - n->blocks * n->block : 0;
	char room[24];

	if (!p || !p->max_bytes || bytes < n->blocks * n->block || (used <= p->max_bytes && bytes <= p->max_bytes - used))
		return 0;
	return err_set(err, -ENOSPC, "pool %s has room for %s of this namespace; raise its max_bytes", p->name,
		       opt_bytes_text(room, sizeof(room), used < p->max_bytes ? p->max_bytes - used : 0));
}

/* The file is sparse: what is promised to the guest need not be there when it comes to use it. */
static void note_room(const struct served_ns *n, uint64_t more, char *note, size_t cap)
{
	struct statvfs v;
	char room[24];

	note[0] = '\0';
	if (!n->path[0] || statvfs(n->path, &v) || more <= (uint64_t)v.f_bavail * v.f_frsize)
		return;
	snprintf(note, cap, "only %s are free where its file is: the guest gets write errors when they are used up",
		 opt_bytes_text(room, sizeof(room), (uint64_t)v.f_bavail * v.f_frsize));
}

/* ---- doing it */

static void end(struct served *g, int rc, const struct err *err)
{
	struct resize *r = &g->resize;
	json_object *o;

	if (rc) {
		log_warn("guest %s, namespace %u: not resized: %s", g->name, r->n->guest_nsid, err->text);
		rpc_fail(r->call, control_code(rc), "%s", err->text);
	} else {
		log_info("guest %s, namespace %u: %" PRIu64 " blocks, before %" PRIu64, g->name, r->n->guest_nsid, r->n->blocks, r->was);
		o = json_object_new_object();
		json_object_object_add(o, "bytes", json_object_new_uint64(r->n->blocks * r->n->block));
		json_object_object_add(o, "was", json_object_new_uint64(r->was * r->n->block));
		json_object_object_add(o, "note", json_object_new_string(r->note));
		rpc_reply(r->call, o);
	}
	*r = (struct resize){ 0 };
}

/* The record says it, then the guest learns it. If the record cannot be written it may say either: so the medium keeps the longer. */
static int commit(struct served *g, struct err *err)
{
	struct resize *r = &g->resize;
	int rc = nvme_ns_may_resize(r->n->ns, r->blocks, err);

	/* Others may have taken the pool's room meanwhile. */
	rc = rc ? rc : judge_pool(g, r->n, r->blocks * r->n->block, err);
	if (rc)
		return rc;
	test_stop_phase("resize-extended");
	r->n->blocks = r->blocks;
	rc = store_save(g->s);
	if (rc) {
		r->n->blocks = r->was;
		return err_set(err, rc, "cannot write the record of guests in %s: %s", g->s->cfg.server.state_dir, strerror(-rc));
	}
	r->committed = true;
	test_stop_phase("resize-recorded");
	nvme_ns_set_size(r->n->ns, r->blocks);
	return 0;
}

/* What cannot be cut is merely longer than needed: no reason to call it a failure after the guest has seen the new size. */
static int trim(struct resize *r)
{
	struct err err = { "" };
	int rc = nvme_ns_trim(r->n->ns, &err);

	if (rc && rc != -EAGAIN)
		snprintf(r->note, sizeof(r->note), "%.140s", err.text);
	return rc == -EAGAIN ? rc : 0;
}

/* Cutting a file, or making it longer, is done in our thread: not on a disk that is known to hang, or all guests here would hang with it. */
static bool disk_hangs(const struct resize *r)
{
	uint64_t oldest_ns;
	unsigned n;

	nvme_ns_slow(r->n->ns, &n, &oldest_ns);
	return n;
}

/* Smaller, written down and told to the guest: that is done, but for the cut. Otherwise nobody knows of another size yet. */
static int too_late(struct served *g, struct err *err)
{
	struct resize *r = &g->resize;
	double limit_s = (double)r->limit_ns / 1e9;

	if (env_now_ns(g->s->env) < r->until_ns)
		return -EAGAIN;
	if (r->committed) {
		snprintf(r->note, sizeof(r->note), "the disk has not answered for %.1f s: what it has behind the new end is not cut off yet", limit_s);
		return 0;
	}
	nvme_ns_extend_stop(r->n->ns);
	return err_set(err, -ETIMEDOUT, "the disk has not answered for %.1f s: namespace %u of guest %s keeps its size. Look at 'ferry status', and "
		       "try again when the disk is well", limit_s, r->n->guest_nsid, g->name);
}

static int step(struct served *g, struct err *err)
{
	struct resize *r = &g->resize;
	int rc = disk_hangs(r) ? -EAGAIN : 0;

	if (!rc && !r->committed && r->blocks > r->was)
		rc = nvme_ns_extend(r->n->ns, r->blocks, err);
	if (!rc && !r->committed)
		rc = commit(g, err);
	if (!rc)
		rc = trim(r);
	return rc == -EAGAIN ? too_late(g, err) : rc;
}

bool resize_poll(struct served *g)
{
	struct err err = { "" };
	int rc;

	if (!g->resize.call)
		return false;
	rc = step(g, &err);
	if (rc == -EAGAIN)
		return false;
	end(g, rc, &err);
	return true;
}

void control_resize(void *ctx, struct rpc_call *call, json_object *params)
{
	struct serve *s = ctx;
	const char *name = json_str(params, "guest");
	struct served *g = served_find(s, name);
	bool shrink = json_object_get_boolean(json_get(params, "shrink"));
	uint64_t bytes = json_u64(params, "bytes");
	struct served_ns *n = NULL;
	struct err err = { "" };
	int rc = s->stop ? err_set(&err, -EBUSY, "this server is stopping") : judge_guest(g, name, &err);

	if (!rc && (!json_object_is_type(json_get(params, "bytes"), json_type_int) || !json_object_is_type(json_get(params, "nsid"), json_type_int)))
		rc = err_set(&err, -EINVAL, "nsid and bytes are numbers, and needed");
	if (!rc && !(n = ns_of(g, json_u64(params, "nsid"))))
		rc = err_set(&err, -ENOENT, "guest %s has no namespace %" PRIu64, name, json_u64(params, "nsid"));
	if (!rc)
		rc = judge_size(g, n, bytes, shrink, &err);
	if (!rc)
		rc = judge_pool(g, n, bytes, &err);
	if (rc) {
		rpc_fail(call, control_code(rc), "%s", err.text);
		return;
	}
	g->resize = (struct resize){ .call = call, .n = n, .was = n->blocks, .blocks = bytes / n->block };
	g->resize.limit_ns = json_u64(params, "timeout_ns") ? json_u64(params, "timeout_ns") : RESIZE_LIMIT_S * NS_PER_S;
	g->resize.until_ns = env_now_ns(s->env) + MIN(g->resize.limit_ns, (uint64_t)INT64_MAX);
	if (bytes / n->block == n->blocks)
		end(g, 0, NULL);
	else if (bytes / n->block > n->blocks)
		note_room(n, bytes - n->blocks * n->block, g->resize.note, sizeof(g->resize.note));
	resize_poll(g);
}
