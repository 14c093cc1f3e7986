/* The subsystem: its namespaces, its controllers, who sees what under which number.
 *
 * Called by the program that serves it (configuration, poll) and by the commands that look things up. Device thread.
 */
#include "device/nvme/core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"

enum { FREE_POLLS = 10 * 1000 * 1000 };

static void cfg_default(char *text, size_t size, const char *fallback)
{
	size_t n = MIN(strlen(fallback), size - 1);

	if (text[0])
		return;
	memcpy(text, fallback, n);
	text[n] = 0;
}

static void cfg_defaults(struct nvme_subsys_cfg *cfg)
{
	uint8_t r[16];
	char text[96];

	env_random(cfg->env, r, sizeof(r));
	r[6] = (r[6] & 0x0f) | 0x40;
	r[8] = (r[8] & 0x3f) | 0x80;
	snprintf(text, sizeof(text),
		 "nqn.2014-08.org.nvmexpress:uuid:%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
	cfg_default(cfg->nqn, sizeof(cfg->nqn), text);
	snprintf(text, sizeof(text), "FE%02x%02x%02x%02x%02x%02x", r[0], r[1], r[2], r[3], r[4], r[5]);
	cfg_default(cfg->serial, sizeof(cfg->serial), text);
	cfg_default(cfg->model, sizeof(cfg->model), "Ferry NVMe controller");
	cfg_default(cfg->firmware, sizeof(cfg->firmware), "0.1");
	cfg->max_udmq = cfg->max_udmq ? cfg->max_udmq : 64;
	cfg->max_cdq_prps = cfg->max_cdq_prps ? cfg->max_cdq_prps : 64;
	cfg->max_track_ranges = cfg->max_track_ranges ? cfg->max_track_ranges : 64;
	cfg->max_track_shift = cfg->max_track_shift ? cfg->max_track_shift : 9;
}

struct nvme_subsys *nvme_subsys_new(const struct nvme_subsys_cfg *cfg, struct err *err)
{
	struct nvme_subsys *ss = calloc(1, sizeof(*ss));

	if (!ss) {
		err_set(err, -ENOMEM, "no memory for a subsystem");
		return NULL;
	}
	nvme_rows_init();
	ss->cfg = *cfg;
	ss->env = cfg->env;
	cfg_defaults(&ss->cfg);
	return ss;
}

static bool subsys_quiet(const struct nvme_subsys *ss)
{
	for (unsigned i = 0; i < NVME_CTRL_MAX; i++)
		if (ss->ctrl[i] && !nvme_ctrl_is_quiet(ss->ctrl[i]))
			return false;
	for (unsigned i = 1; i < ss->ns_top; i++)
		if (ss->ns[i] && ss->ns[i]->sync == NVME_SYNC_OUT)
			return false;
	return true;
}

/* Backends must give back what they have before their requests go away. One that never does costs its memory, which is
 * better than having it write into memory that is somebody else's by then. */
void nvme_subsys_free(struct nvme_subsys *ss)
{
	if (!ss)
		return;
	for (unsigned i = 0; i < NVME_CTRL_MAX; i++)
		if (ss->ctrl[i])
			nvme_ctrl_set_online(ss->ctrl[i], false);
	for (unsigned i = 0; i < FREE_POLLS && !subsys_quiet(ss); i++)
		nvme_subsys_poll(ss);
	if (!subsys_quiet(ss)) {
		log_error("subsystem %s: commands are still running at its end; its memory is not freed", ss->cfg.nqn);
		return;
	}
	for (unsigned i = 0; i < NVME_CTRL_MAX; i++)
		if (ss->ctrl[i])
			nvme_ctrl_free(ss->ctrl[i]);
	for (unsigned i = 1; i <= NVME_NSID_MAX; i++) {
		if (ss->ns[i])
			blk_close(ss->ns[i]->blk);
		free(ss->ns[i]);
	}
	free(ss);
}

/* A medium that was made longer must be so after a power cut, before anybody relies on it. */
static void sync_done(struct blk_io *io, int rc)
{
	struct nvme_ns *ns = io->ctx;

	ns->sync = ns->sync_forgotten ? NVME_SYNC_NONE : NVME_SYNC_DONE;
	ns->sync_forgotten = false;
	ns->sync_rc = rc;
}

static void ns_sync(struct nvme_ns *ns)
{
	int rc;

	ns->sync_io = (struct blk_io){ .op = BLK_FLUSH, .done = sync_done, .ctx = ns };
	rc = blk_submit(ns->blk, &ns->sync_io);
	if (rc == -EAGAIN)
		return; /* full: at the next poll */
	ns->sync = NVME_SYNC_OUT;
	if (rc)
		sync_done(&ns->sync_io, rc == BLK_DONE ? 0 : rc);
}

static bool ns_poll(struct nvme_ns *ns)
{
	if (ns->sync == NVME_SYNC_WANTED)
		ns_sync(ns);
	return blk_poll(ns->blk) > 0;
}

bool nvme_subsys_poll(struct nvme_subsys *ss)
{
	bool any = false;

	for (unsigned i = 1; i < ss->ns_top; i++)
		if (ss->ns[i])
			any |= ns_poll(ss->ns[i]);
	for (unsigned i = 0; i < ss->ctrl_top; i++)
		if (ss->ctrl[i])
			any |= nvme_ctrl_housekeep(ss->ctrl[i]);
	return any;
}

/* ---- namespaces ---- */

struct nvme_ns *nvme_ns_find(struct nvme_subsys *ss, uint32_t nsid)
{
	return nsid && nsid <= NVME_NSID_MAX ? ss->ns[nsid] : NULL;
}

uint32_t nvme_ns_nsid(const struct nvme_ns *ns) { return ns->nsid; }
const struct nvme_ns_ids *nvme_ns_ids(const struct nvme_ns *ns) { return &ns->ids; }
struct blk *nvme_ns_blk(struct nvme_ns *ns) { return ns->blk; }

/* Tells every controller that sees it; `gone`: and takes it away from them. */
static void ns_announce(struct nvme_ns *ns, bool gone)
{
	for (unsigned i = 0; i < NVME_CTRL_MAX; i++) {
		struct nvme_ctrl *c = ns->ss->ctrl[i];

		for (uint32_t n = 1; c && n <= NVME_NSID_MAX; n++) {
			if (c->attach[n] != ns)
				continue;
			if (gone)
				c->attach[n] = NULL;
			nvme_event_ns_changed(c, n);
		}
	}
}

void nvme_ns_set_ids(struct nvme_ns *ns, const struct nvme_ns_ids *ids)
{
	ns->ids = *ids;
}

static void ids_default(struct nvme_subsys *ss, struct nvme_ns_ids *ids)
{
	env_random(ss->env, ids, sizeof(*ids));
	ids->uuid[6] = (ids->uuid[6] & 0x0f) | 0x40;
	ids->uuid[8] = (ids->uuid[8] & 0x3f) | 0x80;
}

static uint32_t nsid_pick(const struct nvme_subsys *ss, uint32_t nsid)
{
	for (uint32_t n = 1; !nsid && n <= NVME_NSID_MAX; n++)
		if (!ss->ns[n])
			return n;
	return nsid <= NVME_NSID_MAX && !ss->ns[nsid] ? nsid : 0;
}

struct nvme_ns *nvme_ns_add(struct nvme_subsys *ss, uint32_t nsid, struct blk *blk, const struct nvme_ns_ids *ids,
			    struct err *err)
{
	uint32_t n = nsid_pick(ss, nsid);
	struct nvme_ns *ns = NULL;

	if (!n)
		err_set(err, -EEXIST, "namespace %u: the number is taken or beyond %u", nsid, NVME_NSID_MAX);
	else if (blk->block_bytes != 512 && blk->block_bytes != 4096)
		err_set(err, -EINVAL, "namespace %u: blocks of %u bytes, only 512 and 4096 are possible", n, blk->block_bytes);
	else if (!blk->blocks)
		err_set(err, -EINVAL, "namespace %u: the storage behind it has no blocks", n);
	else if (!(ns = calloc(1, sizeof(*ns))))
		err_set(err, -ENOMEM, "no memory for namespace %u", n);
	if (!ns) {
		blk_close(blk);
		return NULL;
	}
	ns->ss = ss;
	ns->nsid = n;
	ns->blk = blk;
	ns->lba_shift = blk->block_bytes == 512 ? 9 : 12;
	ns->nsze = blk->blocks;
	if (ids)
		ns->ids = *ids;
	else
		ids_default(ss, &ns->ids);
	ss->ns[n] = ns;
	ss->ns_top = MAX(ss->ns_top, n + 1);
	return ns;
}

int nvme_ns_remove(struct nvme_ns *ns, struct err *err)
{
	if (ns->inflight || ns->sync == NVME_SYNC_OUT)
		return err_set(err, -EBUSY, "namespace %u: %u commands are running on it", ns->nsid, ns->inflight);
	ns_announce(ns, true);
	ns->ss->ns[ns->nsid] = NULL;
	blk_close(ns->blk);
	free(ns);
	return 0;
}

/* ---- another size ---- */

/* Who moves a controller has taken down how large its namespaces are, and the state image says it too. */
static bool in_migration(const struct nvme_ctrl *c)
{
	return c->suspend != NVME_RUNNING || c->held || c->tracked_by || c->inbound.open || (c->udmq && c->udmq->logging);
}

static const struct nvme_ctrl *migrated_with(const struct nvme_ns *ns)
{
	for (unsigned i = 0; i < ns->ss->ctrl_top; i++) {
		const struct nvme_ctrl *c = ns->ss->ctrl[i];

		for (uint32_t n = 1; c && in_migration(c) && n <= NVME_NSID_MAX; n++)
			if (c->attach[n] == ns)
				return c;
	}
	return NULL;
}

int nvme_ns_may_resize(struct nvme_ns *ns, uint64_t blocks, struct err *err)
{
	const struct nvme_ctrl *c = migrated_with(ns);

	if (!blocks || blocks > (uint64_t)INT64_MAX / 2 >> ns->lba_shift)
		return err_set(err, -EINVAL, "namespace %u: %llu blocks is not a size it can have", ns->nsid,
			       (unsigned long long)blocks);
	if (c)
		return err_set(err, -EBUSY, "namespace %u: controller %u, which has it, is suspended, tracked or logged by somebody who "
			       "moves it", ns->nsid, c->cntlid);
	/* What is formatted is counted off against the size. */
	if (ns->busy_format && blocks < ns->nsze)
		return err_set(err, -EBUSY, "namespace %u is being formatted", ns->nsid);
	return 0;
}

static int medium_resize(struct nvme_ns *ns, uint64_t blocks, struct err *err)
{
	struct blk *b = ns->blk;
	int rc = b->ops->resize ? b->ops->resize(b, blocks) : -ENOTSUP;

	if (!rc || rc == -EBUSY)
		return rc;
	return err_set(err, rc, "the storage of namespace %u (%s) cannot have %llu bytes: %s", ns->nsid, b->ops->name,
		       (unsigned long long)blocks << ns->lba_shift, strerror(-rc));
}

int nvme_ns_trim(struct nvme_ns *ns, struct err *err)
{
	int rc = ns->blk->blocks > ns->nsze ? medium_resize(ns, ns->nsze, err) : 0;

	ns->uncut &= rc != 0;
	return rc == -EBUSY ? -EAGAIN : rc;
}

/* What was behind the end before the namespace became smaller must not come back. A medium that is merely too long, because the longer size
 * could not be written down, is not cut: perhaps it was written down after all. */
static int extend_begin(struct nvme_ns *ns, uint64_t blocks, struct err *err)
{
	int rc = nvme_ns_may_resize(ns, blocks, err);

	if (!rc && ns->uncut)
		rc = nvme_ns_trim(ns, err);
	if (!rc && blocks > ns->blk->blocks)
		rc = medium_resize(ns, blocks, err);
	if (!rc)
		ns->sync = NVME_SYNC_WANTED;
	return rc;
}

void nvme_ns_extend_stop(struct nvme_ns *ns)
{
	if (ns->sync == NVME_SYNC_OUT)
		ns->sync_forgotten = true;
	else
		ns->sync = NVME_SYNC_NONE;
}

int nvme_ns_extend(struct nvme_ns *ns, uint64_t blocks, struct err *err)
{
	int rc = ns->sync_forgotten ? -EAGAIN : ns->sync == NVME_SYNC_NONE ? extend_begin(ns, blocks, err) : 0;

	if (rc || ns->sync != NVME_SYNC_DONE)
		return rc ? rc : -EAGAIN;
	ns->sync = NVME_SYNC_NONE;
	return ns->sync_rc ? err_set(err, ns->sync_rc, "the longer storage of namespace %u cannot be made durable: %s", ns->nsid,
				     strerror(-ns->sync_rc)) : 0;
}

void nvme_ns_set_size(struct nvme_ns *ns, uint64_t blocks)
{
	CHECK(blocks && blocks <= ns->blk->blocks);
	ns->uncut |= blocks < ns->nsze;
	ns->nsze = blocks;
	ns_announce(ns, false);
}

uint64_t nvme_ns_blocks(const struct nvme_ns *ns) { return ns->nsze; }

/* ---- controllers ---- */

struct nvme_ctrl *nvme_ctrl_find(struct nvme_subsys *ss, uint16_t cntlid)
{
	return cntlid < NVME_CTRL_MAX ? ss->ctrl[cntlid] : NULL;
}

static uint16_t cntlid_pick(const struct nvme_subsys *ss, uint16_t cntlid)
{
	for (uint16_t n = 1; !cntlid && n < NVME_CTRL_MAX; n++)
		if (!ss->ctrl[n])
			return n;
	return cntlid < NVME_CTRL_MAX && !ss->ctrl[cntlid] ? cntlid : 0;
}

/* Padded with spaces, without a NUL, as Identify wants it (Base 1.5, ASCII strings). */
static void pad(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	memset(to, ' ', size);
	memcpy(to, from, MIN(n, size));
}

static void identity_default(struct nvme_ctrl *c)
{
	const struct nvme_subsys_cfg *cfg = &c->ss->cfg;

	snprintf(c->who.subnqn, sizeof(c->who.subnqn), "%s", cfg->nqn);
	pad(c->who.sn, sizeof(c->who.sn), cfg->serial);
	pad(c->who.mn, sizeof(c->who.mn), cfg->model);
	pad(c->who.fr, sizeof(c->who.fr), cfg->firmware);
	c->who.cntlid = c->cntlid;
	c->smart.power_on_since_ns = nvme_now(c);
	c->smart.power_cycles = 1;
}

struct nvme_ctrl *nvme_ctrl_new(struct nvme_subsys *ss, const struct nvme_ctrl_cfg *cfg, struct err *err)
{
	uint16_t id = cntlid_pick(ss, cfg->cntlid);
	struct nvme_ctrl *c;

	if (!id) {
		err_set(err, -EEXIST, "controller %u: the number is taken or beyond %u", cfg->cntlid, NVME_CTRL_MAX - 1);
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		err_set(err, -ENOMEM, "no memory for controller %u", id);
		return NULL;
	}
	c->cntlid = id;
	if (nvme_ctrl_setup(c, ss, cfg, err)) {
		nvme_ctrl_teardown(c);
		return NULL;
	}
	ss->ctrl[id] = c;
	ss->ctrl_top = MAX(ss->ctrl_top, id + 1u);
	identity_default(c);
	return c;
}

int nvme_ctrl_free(struct nvme_ctrl *c)
{
	if (!nvme_ctrl_is_quiet(c))
		return -EBUSY;
	c->ss->ctrl[c->cntlid] = NULL;
	nvme_ctrl_teardown(c);
	return 0;
}

struct device *nvme_ctrl_device(struct nvme_ctrl *c) { return &c->dev; }
uint16_t nvme_ctrl_cntlid(const struct nvme_ctrl *c) { return c->cntlid; }

/* An MMC's host reads NSIDs in UDMQ entries, which are the subsystem's: it must see no other ones. */
int nvme_ctrl_attach(struct nvme_ctrl *c, uint32_t guest_nsid, struct nvme_ns *ns)
{
	if (!guest_nsid || guest_nsid > NVME_NSID_MAX || ns->ss != c->ss || (c->mmc && guest_nsid != ns->nsid))
		return -EINVAL;
	for (uint32_t n = 1; n <= NVME_NSID_MAX; n++)
		if (c->attach[n] == ns || (n == guest_nsid && c->attach[n]))
			return -EEXIST;
	c->attach[guest_nsid] = ns;
	nvme_event_ns_changed(c, guest_nsid);
	return 0;
}

struct nvme_ns *nvme_ctrl_attached(struct nvme_ctrl *c, uint32_t guest_nsid)
{
	return guest_nsid && guest_nsid <= NVME_NSID_MAX ? c->attach[guest_nsid] : NULL;
}

void nvme_ctrl_stats(const struct nvme_ctrl *c, struct nvme_ctrl_stats *out)
{
	*out = c->stats;
}
