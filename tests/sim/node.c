#include "sim/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"

#define GUEST_NAME "vm1"

/* ---- a disk that stays when its server dies ------------------------------------------------------------------ */

/* A request is carried out when its time has come, not when it is given: until then the medium has the old data, and of two
 * requests either may come first. That is what real disks do, and what a log written too early betrays. */
struct keep { struct blk blk; struct node *node; struct list queue; };

static bool has_lock(const struct node *n) { return !n->lock || (*n->lock == n && !n->unlocking); }

static int keep_submit(struct blk *b, struct blk_io *io)
{
	struct keep *k = (struct keep *)b;

	if (k->node->dead)
		return -EIO;
	if (!has_lock(k->node))
		return -EBUSY;
	if (!k->node->cfg->delay_max_ns)
		return blk_submit(b->below, io);
	k->node->io_out++;
	io->priv[0] = sim_now_ns(k->node->world) + sim_rand(k->node->world, k->node->cfg->delay_max_ns);
	list_push(&k->queue, &io->link);
	return 0;
}
static int keep_poll(struct blk *b)
{
	struct keep *k = (struct keep *)b;
	struct list due;
	int n = 0;

	list_init(&due);
	LIST_EACH(&k->queue, it) {
		struct blk_io *io = LIST_ENTRY(it, struct blk_io, link);

		if (!k->node->dead && io->priv[0] > sim_now_ns(k->node->world))
			continue;
		list_del(it);
		list_push(&due, it);
	}
	for (struct list *it; (it = list_pop(&due)) != NULL; n++) {
		struct blk_io *io = LIST_ENTRY(it, struct blk_io, link);
		int rc = k->node->dead ? -EIO : blk_submit(b->below, io);

		k->node->io_out--;
		k->node->trespassed |= !k->node->dead && k->node->lock && *k->node->lock != k->node;
		io->done(io, rc == BLK_DONE ? 0 : rc);
	}
	return n;
}
static int keep_next(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len)
{
	return blk_next_allocated(b->below, lba, start, len);
}
static int keep_fd(struct blk *b) { (void)b; return -1; }
static void keep_close(struct blk *b) { free(b); }
static const struct blk_ops keep_ops = { .name = "keep", .submit = keep_submit, .poll = keep_poll, .next_allocated = keep_next,
					 .wait_fd = keep_fd, .close = keep_close };

static struct blk *disk_open(struct node *n, unsigned i)
{
	struct keep *k = calloc(1, sizeof(*k));
	struct blk *b = n->disk[i].ram;
	struct err e;

	k->blk = *b;
	k->blk.ops = &keep_ops;
	k->blk.below = b;
	k->node = n;
	list_init(&k->queue);
	b = &k->blk;
	b = n->faults[i] = blk_error_open(b, &(struct blk_error_cfg){ .seed = sim_rand(n->world, 1 << 30), .rc = -EIO }, &e);
	CHECK(b);
	return b;
}

static void disk_make(struct node *n, unsigned i, const struct move_ns *id)
{
	struct err e;

	n->disk[i].ram = blk_ram_open(id->block_bytes, id->blocks, &e);
	CHECK(n->disk[i].ram);
	n->disk[i].id = *id;
}

/* ---- ports that die with the server -------------------------------------------------------------------------- */

static struct port *inner(struct port *p) { return ((struct sim_port *)p)->inner; }
#define FORWARD(p, call, ...) (inner(p) ? inner(p)->ops->call(inner(p), __VA_ARGS__) : -ENODEV)
static int sp_reg_read(struct port *p, uint32_t off, unsigned b, uint64_t *v) { return FORWARD(p, reg_read, off, b, v); }
static int sp_reg_write(struct port *p, uint32_t off, unsigned b, uint64_t v) { return FORWARD(p, reg_write, off, b, v); }
static int sp_doorbell(struct port *p, unsigned i, uint32_t v) { return FORWARD(p, doorbell, i, v); }
static int sp_cfg_read(struct port *p, uint32_t off, void *b, uint32_t l) { return FORWARD(p, cfg_read, off, b, l); }
static int sp_cfg_write(struct port *p, uint32_t off, const void *b, uint32_t l) { return FORWARD(p, cfg_write, off, b, l); }
static int sp_map(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t off)
{
	return FORWARD(p, dma_map, iova, ptr, size, fd, off);
}
static int sp_unmap(struct port *p, uint64_t iova, uint64_t size) { return FORWARD(p, dma_unmap, iova, size); }
static int sp_reset(struct port *p) { return inner(p) ? inner(p)->ops->reset(inner(p)) : -ENODEV; }
static void sp_close(struct port *p) { (void)p; }
static const struct port_ops sim_port_ops = { sp_reg_read, sp_reg_write, sp_doorbell, sp_cfg_read, sp_cfg_write,
					      sp_map, sp_unmap, NULL, sp_reset, sp_close };

static void port_open(struct sim_port *sp, struct devloop *loop, struct nvme_ctrl *c)
{
	struct err e;

	devloop_attach(loop, nvme_ctrl_device(c), NULL, NULL);
	sp->port.ops = &sim_port_ops;
	sp->inner = port_loop_new(loop, NULL, NULL, &e);
	CHECK(sp->inner);
}
static void port_die(struct sim_port *sp)
{
	if (sp->inner)
		sp->inner->ops->close(sp->inner);
	sp->inner = NULL;
}

/* ---- the guest process and its adapter ------------------------------------------------------------------------ */

static void guest_make(struct node *n)
{
	n->guest = (struct guest_host){ .bytes = n->cfg->mem_bytes, .fd = -1, .port = &n->guest_port.port, .env = n->env };
	n->guest.mem = mmap(NULL, n->guest.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	n->guest.dirty = calloc(n->guest.bytes / GUEST_PAGE / 64 + 1, 8);
	CHECK(n->guest.mem != MAP_FAILED && n->guest.dirty);
	n->guest_exists = n->guest_paused = true;
	n->vm_tracking = false;
	vmm_reset(n);
}
static void guest_end(struct node *n)
{
	if (n->guest_exists) {
		munmap(n->guest.mem, n->guest.bytes);
		free(n->guest.dirty);
	}
	vmm_reset(n);
	n->guest_exists = false;
}

static struct node *vm_node(struct vm *v) { return CONTAINER_OF(v, struct node, vm); }
static int vm_open(struct vm *v, struct vm_info *i, struct err *e)
{
	struct node *n = vm_node(v);

	if (!n->guest_exists)
		return err_set(e, -ENODEV, "the guest process is not there");
	*i = (struct vm_info){ .kind = "embedded", .moves_memory = true, .ranges = 1, .range = { { 0, n->guest.bytes } } };
	return 0;
}
static void *vm_mem(struct vm *v, uint64_t gpa, uint64_t len)
{
	struct node *n = vm_node(v);

	return n->guest_exists && range_inside(gpa, len, n->guest.bytes) ? n->guest.mem + gpa : NULL;
}
static int vm_track(struct vm *v, bool on)
{
	struct node *n = vm_node(v);

	if (on && n->guest_exists)
		memset(n->guest.dirty, 0, (n->guest.bytes / GUEST_PAGE / 64 + 1) * 8);
	n->vm_tracking = on;
	return 0;
}
static int vm_dirty_next(struct vm *v, uint64_t *cursor, uint64_t *gpa, uint64_t *bytes)
{
	struct node *n = vm_node(v);

	for (; n->guest_exists && *cursor < n->guest.bytes / GUEST_PAGE; ++*cursor) {
		uint64_t bit = 1ull << *cursor % 64;

		if (!(n->guest.dirty[*cursor / 64] & bit))
			continue;
		n->guest.dirty[*cursor / 64] &= ~bit;
		*gpa = *cursor * GUEST_PAGE;
		*bytes = GUEST_PAGE;
		++*cursor;
		return 0;
	}
	return -ENOENT;
}
static int vm_pause(struct vm *v, struct err *e)
{
	struct node *n = vm_node(v);

	if (!n->guest_exists)
		return err_set(e, -ENODEV, "the guest process is gone");
	n->guest_paused = true;
	return 0;
}
static int vm_resume(struct vm *v, struct err *e)
{
	struct node *n = vm_node(v);

	if (!n->guest_exists)
		return err_set(e, -ENODEV, "the guest process is gone");
	n->guest_paused = false;
	return 0;
}
int node_vm_discard(struct vm *v)
{
	struct node *n = vm_node(v);

	vmm_detach(n);
	port_die(&n->guest_port);
	guest_end(n);
	return 0;
}
int node_vm_alive(struct vm *v, struct err *e) { return vm_node(v)->guest_exists ? 0 : err_set(e, -ENODEV, "the guest process is gone"); }
void node_vm_close(struct vm *v) { (void)v; }
static const struct vm_ops sim_vm_ops = { vm_open, vm_mem, vm_track, vm_dirty_next, vm_pause, vm_resume, node_vm_discard, node_vm_alive,
					 node_vm_close };

/* ---- the site --------------------------------------------------------------------------------------------------- */

static void mc_make(struct node *n)
{
	struct err e;

	n->mc = nvme_ctrl_new(n->ss, &(struct nvme_ctrl_cfg){ .max_ioq = 8, .max_reqs = 64 }, &e);
	CHECK(n->mc);
	for (unsigned i = 0; i < SIM_NS_MAX; i++) {
		struct move_ns *id = &n->disk[i].id;
		struct nvme_ns_ids ids;
		struct nvme_ns *ns;

		if (!n->disk[i].ram)
			continue;
		memcpy(ids.nguid, id->nguid, 16);
		memcpy(ids.eui64, id->eui64, 8);
		memcpy(ids.uuid, id->uuid, 16);
		ns = id->nsid ? nvme_ns_find(n->ss, id->nsid) : NULL;
		if (!ns)
			ns = nvme_ns_add(n->ss, 0, disk_open(n, i), &ids, &e);
		CHECK(ns);
		id->nsid = nvme_ns_nsid(ns);
		nvme_ctrl_attach(n->mmc, id->nsid, ns);
		CHECK(nvme_ctrl_attach(n->mc, id->guest_nsid, ns) == 0);
	}
	port_open(&n->guest_port, &n->mc_loop, n->mc);
	if (n->guest_exists)
		CHECK(guest_attach(&n->guest, &e) == 0);
}

/* The controller goes once nothing is in flight any more. */
static void mc_retire(struct node *n)
{
	if (!n->mc)
		return;
	CHECK(!n->mc_dying);
	vmm_detach(n);
	port_die(&n->guest_port);
	nvme_ctrl_set_online(n->mc, false);
	n->mc_dying = n->mc;
	n->dying_loop = n->mc_loop;
	n->mc = NULL;
}
static bool mc_bury(struct node *n)
{
	if (!n->mc_dying || !nvme_ctrl_is_quiet(n->mc_dying) || devloop_detach(&n->dying_loop) || nvme_ctrl_free(n->mc_dying))
		return false;
	n->mc_dying = NULL;
	return true;
}

static void describe(struct node *n, struct move_guest *g)
{
	*g = (struct move_guest){ .cntlid = nvme_ctrl_cntlid(n->mc), .vm = &n->vm };
	snprintf(g->name, sizeof(g->name), GUEST_NAME);
	for (unsigned i = 0; i < SIM_NS_MAX; i++)
		if (n->disk[i].ram)
			g->ns[g->ns_count++] = n->disk[i].id;
}

static int site_find(void *ctx, const char *guest, struct move_guest *g, struct err *e)
{
	struct node *n = ctx;

	if (strcmp(guest, GUEST_NAME) || !n->mc)
		return err_set(e, -ENOENT, "no guest '%s' on server %s", guest, n->name);
	describe(n, g);
	return 0;
}

static int site_place(void *ctx, const char *guest, bool make_ns, const struct move_ns *ns, unsigned count, struct move_guest *g,
		      struct err *e)
{
	struct node *n = ctx;

	(void)guest;
	if (n->mc_dying)
		return -EAGAIN;
	if (n->mc)
		return err_set(e, -EEXIST, "guest '%s' has a controller on server %s already", guest, n->name);
	if (count > SIM_NS_MAX)
		return err_set(e, -ENOSPC, "no room for %u namespaces", count);
	for (unsigned i = 0; i < count; i++) {
		if (!n->disk[i].ram && !make_ns)
			return err_set(e, -ENOENT, "namespace %u is not here", ns[i].guest_nsid);
		if (!n->disk[i].ram)
			disk_make(n, i, &(struct move_ns){ .block_bytes = ns[i].block_bytes, .blocks = ns[i].blocks });
		uint32_t nsid = n->disk[i].id.nsid;
		n->disk[i].id = ns[i];
		n->disk[i].id.nsid = nsid;
	}
	guest_end(n);
	guest_make(n);
	mc_make(n);
	describe(n, g);
	return 0;
}
static int lock_give(struct node *n)
{
	if (!n->lock || *n->lock != n)
		return 0;
	n->unlocking = true;
	if (n->io_out)
		return -EAGAIN;
	n->unlocking = false;
	*n->lock = NULL;
	sim_trace(n->world, "%s gives the storage up", n->name);
	return 0;
}
static int lock_take(struct node *n)
{
	if (n->lock && *n->lock && *n->lock != n)
		return -EBUSY;
	n->unlocking = false;
	if (n->lock && !*n->lock)
		sim_trace(n->world, "%s takes the storage", n->name);
	if (n->lock)
		*n->lock = n;
	return 0;
}
static void site_unplace(void *ctx, const char *guest)
{
	struct node *n = ctx;

	(void)guest;
	mc_retire(n);
	guest_end(n);
	CHECK(!n->lock || *n->lock != n || !n->io_out);
	lock_give(n);
}
static void site_gone(void *ctx, const char *guest)
{
	struct node *n = ctx;

	(void)guest;
	mc_retire(n);
	n->moved++;
}
static void site_hold(void *ctx, const char *guest, bool on)
{
	struct node *n = ctx;

	(void)guest;
	if (n->mc)
		nvme_ctrl_hold(n->mc, on);
}
static int site_touch(void *ctx, const char *guest, enum move_touch what, struct err *e)
{
	(void)guest;
	return vmm_touch(ctx, what, e);
}
static int site_lock(void *ctx, const char *guest, bool take, struct err *e)
{
	struct node *n = ctx;
	int rc;

	if (!sim_node_up(n->world, n->name))	/* it is dead already, and only does not know it yet */
		return err_set(e, -EIO, "server %s is dead", n->name);
	rc = take ? lock_take(n) : lock_give(n);
	return rc == -EBUSY ? err_set(e, rc, "somebody else has the storage of guest '%s' locked", guest) : rc;
}
static struct journal *site_journal(void *ctx, const char *guest)
{
	struct node *n = ctx;

	return strcmp(guest, GUEST_NAME) || !n->journal_ok ? NULL : &n->journal;
}
static void site_event(void *ctx, const char *guest, const struct move_event *ev)
{
	struct node *n = ctx;

	(void)guest;
	n->last = ev->progress;
	snprintf(n->event, sizeof(n->event), "%s: %s", ev->kind, ev->text);
	sim_trace(n->world, "%s %s %s: %s", n->name, move_phase_name(ev->phase), ev->kind, ev->text);
	if (!strcmp(ev->kind, "phase")) {
		struct inj_event at = { .at = INJ_PHASE, .ctrl = n->number, .what = (uint16_t)ev->phase };
		struct inj_order o = inj_ask(n->inj, &at);

		if (o.act != INJ_PASS)
			n->wish = o;
	}
}

/* Some servers work off the manager's commands whenever it asks for that, others when it is their turn. */
static void pump(void *ctx)
{
	struct node *n = ctx;
	struct device *d = nvme_ctrl_device(n->mmc);

	nvme_subsys_poll(n->ss);
	d->ops->poll(d, 1 + (unsigned)sim_rand(n->world, 16));
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

void node_init(struct node *n, struct sim *w, const char *name, const struct sim_cfg *cfg)
{
	*n = (struct node){ .name = name, .world = w, .cfg = cfg };
	n->vm.ops = cfg->streams ? &sim_vmm_ops : &sim_vm_ops;
	n->guest_port.port.ops = &sim_port_ops;
	n->site = (struct move_site){ .ctx = n, .find = site_find, .place = site_place, .unplace = site_unplace, .gone = site_gone, .hold = site_hold, .touch = site_touch,
				      .lock = site_lock, .journal = site_journal, .event = site_event };
}

void node_first_start(struct node *n)
{
	struct err e;

	n->env = sim_env_new(n->world, n->name);
	for (unsigned i = 0; i < n->cfg->ns_count; i++) {
		struct move_ns id = { .guest_nsid = i + 1, .block_bytes = 4096, .blocks = n->cfg->blocks };

		memset(id.nguid, 0x10 + (int)i, 16);
		memset(id.eui64, 0x20 + (int)i, 8);
		memset(id.uuid, 0x30 + (int)i, 16);
		disk_make(n, i, &id);
	}
	guest_make(n);
	CHECK(guest_init(&n->guest, &n->cfg->guest, &e) == 0);
	do {	/* the first record may meet a fault too; nothing runs before it is there */
		if (!sim_node_up(n->world, n->name))
			n->env = sim_env_new(n->world, n->name);
		CHECK(journal_load(&n->journal, n->env, GUEST_NAME, &e) == 0);
	} while (journal_set(&n->journal, OWN_OWNER, 1, NULL, NULL, "first start"));
	node_start(n);
}

void node_share(struct node *n, const struct node *with, struct node **lock)
{
	n->lock = lock;
	for (unsigned i = 0; i < SIM_NS_MAX; i++) {
		n->disk[i] = with->disk[i];
		n->disk[i].borrowed = true;
	}
}

/* What `ferry serve` does for each guest when it starts; `by journal` is the whole of it. */
static void start_by_journal(struct node *n)
{
	struct err e;

	n->journal_ok = journal_load(&n->journal, n->env, GUEST_NAME, &e) == 0;
	CHECK(n->journal_ok);
	if (n->journal.own == OWN_RESERVED)
		return;		/* poll_moves refuses that move before anybody is listened to */
	if (n->journal.own != OWN_OWNER && n->journal.own != OWN_HANDED) {
		guest_end(n);
		return;
	}
	/* A session that the crash cut off may still have it locked for a moment. */
	n->wants_lock = n->journal.own == OWN_OWNER && lock_take(n);
	if (n->wants_lock)
		return;
	mc_make(n);
	if (n->journal.own == OWN_HANDED) {
		nvme_ctrl_set_online(n->mc, false);
		n->guest_paused = true;
	} else if (n->guest_exists) {
		guest_reattach(&n->guest);
		n->vm.ops->track(&n->vm, false);
		n->guest_paused = false;
	}
}

void node_start(struct node *n)
{
	struct err e;

	n->env = sim_env_new(n->world, n->name);
	n->dead = false;
	n->up = true;
	n->guest.env = n->env;
	n->ss = nvme_subsys_new(&(struct nvme_subsys_cfg){ .env = n->env }, &e);
	CHECK(n->ss);
	n->mmc = nvme_ctrl_new(n->ss, &(struct nvme_ctrl_cfg){ .mmc = true, .max_ioq = 2 }, &e);
	CHECK(n->mmc);
	for (unsigned i = 0; i < SIM_NS_MAX; i++)
		n->disk[i].id.nsid = 0;
	port_open(&n->mmc_port, &n->mmc_loop, n->mmc);
	n->hn = hnvme_new(&(struct hnvme_cfg){ .env = n->env, .port = &n->mmc_port.port, .io_queues = 1, .queue_size = 64,
					       .mem_bytes = 8 << 20, .mem_fd = -1 }, &e);
	CHECK(n->hn);
	n->hn_ready = false;
	n->site.env = n->env;
	n->site.mmc = n->hn;
	n->site.pump = sim_rand(n->world, 2) ? pump : NULL;
	start_by_journal(n);
	sim_trace(n->world, "%s starts: %s epoch %lu", n->name, own_name(n->journal.own), (unsigned long)n->journal.epoch);
}

/* Behind a crash: the code of the dead server ran on until here, without effect (sim.h); now its memory goes. */
void node_crash(struct node *n)
{
	if (!n->up)
		return;
	n->crashes++;
	vmm_detach(n);
	vmm_reset(n);
	sim_trace(n->world, "%s crashes", n->name);
	sim_node_crash(n->world, n->name);
	n->dead = true;
	n->up = false;
	if (n->lock && *n->lock == n)
		*n->lock = NULL;
	n->unlocking = n->wants_lock = false;
	port_die(&n->guest_port);
	port_die(&n->mmc_port);
	move_out_free(n->out);
	move_in_free(n->in);
	n->out = NULL;
	n->in = NULL;
	n->recovering = false;
	for (struct nvme_ctrl **c = (struct nvme_ctrl *[]){ n->mmc, n->mc, n->mc_dying, NULL }, **e = c + 3; c < e; c++)
		if (*c)
			nvme_ctrl_set_online(*c, false);
	for (unsigned i = 0; i < 100000; i++) {
		struct nvme_ctrl *all[] = { n->mmc, n->mc, n->mc_dying };
		bool quiet = true;

		nvme_subsys_poll(n->ss);
		for (unsigned k = 0; k < 3; k++)
			if (all[k]) {
				nvme_ctrl_device(all[k])->ops->poll(nvme_ctrl_device(all[k]), 64);
				quiet &= nvme_ctrl_is_quiet(all[k]);
			}
		if (quiet)
			break;
		CHECK(i < 99999);
	}
	CHECK(devloop_detach(&n->mmc_loop) == 0);
	if (n->mc)
		CHECK(devloop_detach(&n->mc_loop) == 0);
	if (n->mc_dying)
		CHECK(devloop_detach(&n->dying_loop) == 0);
	hnvme_free(n->hn);
	nvme_subsys_free(n->ss);
	n->ss = NULL;
	n->mmc = n->mc = n->mc_dying = NULL;
	n->hn = NULL;
}

void node_fini(struct node *n)
{
	node_crash(n);
	guest_end(n);
	for (unsigned i = 0; i < SIM_NS_MAX; i++)
		if (!n->disk[i].borrowed)
			blk_close(n->disk[i].ram);
}

static bool poll_moves(struct node *n)
{
	struct env_conn *c = sim_accept(n->env);
	const char *why;
	struct err e;
	bool busy = false;

	if (!n->hn_ready) {
		if (c)
			env_conn_close(c);
		if (hnvme_start(n->hn, &e))
			return hnvme_poll(n->hn);
		if (n->journal.own == OWN_RESERVED) {	/* a move into the server that died: it must not start any more */
			uint8_t move[16];

			memcpy(move, n->journal.move, 16);
			if (journal_refuse(&n->journal, move))
				return true;
			guest_end(n);
		}
		n->hn_ready = true;
		n->in = move_in_new(&n->site);
		CHECK(n->in);
		sim_listen(n->env);
		if (n->journal.own == OWN_HANDED) {
			n->out = move_out_recover(&n->site, GUEST_NAME, &e);
			CHECK(n->out);
			n->recovering = true;
		}
		return true;
	}
	if (n->wants_lock) {
		start_by_journal(n);
		busy = !n->wants_lock;
	}
	if (c) {
		move_in_accept(n->in, c);
		busy = true;
	}
	busy |= move_in_poll(n->in);
	if (!n->out)
		return busy;
	busy |= move_out_poll(n->out);
	if (!move_out_ended(n->out, &n->out_rc, &why))
		return busy;
	snprintf(n->why, sizeof(n->why), "%s", why ? why : "");
	sim_trace(n->world, "%s move ended %d: %s", n->name, n->out_rc, n->why);
	if (n->out_rc) {
		n->failed++;
		n->failed_rc = n->out_rc;
	}
	move_out_free(n->out);
	n->out = NULL;
	/* `not started` after a restart: nothing of the controller is left but the guest, which finds a new one. */
	if (n->recovering && n->journal.own == OWN_OWNER && n->mc) {
		nvme_ctrl_set_online(n->mc, true);
		if (n->guest_exists) {
			guest_reattach(&n->guest);
			n->vm.ops->track(&n->vm, false);
			n->guest_paused = false;
		}
	}
	n->recovering = false;
	return true;
}

bool node_poll(struct node *n, unsigned part)
{
	struct device *d;
	bool busy;

	if (!n->up)
		return false;
	switch (part % NODE_PARTS) {
	case 0:
		busy = nvme_subsys_poll(n->ss);
		return mc_bury(n) || busy;
	case 1:
		d = nvme_ctrl_device(n->mmc);
		return d->ops->poll(d, 1 + (unsigned)sim_rand(n->world, 16));
	case 2:
		d = n->mc ? nvme_ctrl_device(n->mc) : n->mc_dying ? nvme_ctrl_device(n->mc_dying) : NULL;
		busy = vmm_poll(n);
		return (d && d->ops->poll(d, 1 + (unsigned)sim_rand(n->world, 8))) || busy;
	case 3:
		return n->hn_ready && hnvme_poll(n->hn);
	default:
		return poll_moves(n);
	}
}

bool node_guest_poll(struct node *n, unsigned budget)
{
	return node_runs_guest(n) && guest_poll(&n->guest, budget);
}

int node_move(struct node *n, const struct move_plan *plan, struct err *e)
{
	if (!n->hn_ready || n->out)
		return -EBUSY;
	n->out = move_out_start(&n->site, plan, e);
	return n->out ? 0 : -EINVAL;
}

void node_disk_faults(struct node *n, uint32_t per_million)
{
	for (unsigned i = 0; n->up && i < SIM_NS_MAX; i++)
		for (unsigned op = 0; n->disk[i].id.nsid && op < BLK_OP_COUNT; op++)
			blk_error_cfg(n->faults[i])->per_million[op] = per_million;
}

bool node_runs_ctrl(const struct node *n)
{
	return n->up && n->mc && nvme_ctrl_is_online(n->mc) && !nvme_ctrl_is_suspended(n->mc) && n->mc->csts & NVME_CSTS_RDY;
}
bool node_runs_guest(const struct node *n) { return n->guest_exists && !n->guest_paused; }

uint64_t node_deadline(const struct node *n)
{
	uint64_t t = UINT64_MAX;

	if (!n->up)
		return t;
	for (struct nvme_ctrl *const *c = (struct nvme_ctrl *const[]){ n->mmc, n->mc, n->mc_dying }, *const *end = c + 3; c < end; c++)
		if (*c && nvme_ctrl_device(*c)->ops->deadline)
			t = MIN(t, nvme_ctrl_device(*c)->ops->deadline(nvme_ctrl_device(*c)));
	if (n->out)
		t = MIN(t, move_out_deadline(n->out));
	if (n->in)
		t = MIN(t, move_in_deadline(n->in));
	return t;
}
