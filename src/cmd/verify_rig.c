/* The verifier's device under test in our own process. See verify_rig.h. */
#include "cmd/verify_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "block/block.h"
#include "device/nvme/subsys.h"
#include "env/linux/loop.h"
#include "host/port_loop.h"
#include "verify/inject.h"

enum { MMCS = 2, BUDGET = 64, BLOCK = 512, BLOCKS = 32768, VECTORS = 65, DRAIN = 100000, FAR_QUEUES = 4, FAR_BLOCKS = 8192, FAR_NSID = 50, ALWAYS = 1000000, MEMS = 8 };

struct vrig_side {
	struct vrig *rig;
	struct nvme_ctrl *ctrl;
	struct devloop loop;
	uint64_t irqs[VECTORS];
	/* by message: its memory is ours to give, access by access */
	bool by_message;
	struct port_ops ops;		/* the loop port's, but for these */
	int (*unmap)(struct port *, uint64_t iova, uint64_t size);	/* the loop port's */
	struct { uint8_t *p; uint64_t iova, bytes; } mem[MEMS];
	struct list held;		/* of struct access */
};
struct vrig_ns { struct nvme_ns *ns; struct blk *error; };
struct vrig_at { const struct nvme_ctrl *ctrl; uint32_t nsid; struct nvme_ns *ns; struct blk *error; };	/* which medium a controller knows under which number */
enum { ATTACHED = 64 };
struct vrig {
	struct loop *loop;
	struct env *env;
	struct nvme_subsys *ss, *far;	/* far: NULL, there is one only */
	struct vrig_side side[DUT_CTRLS];
	unsigned sides;
	struct dut *dut;
	struct vrig_at at[ATTACHED];
	unsigned ats;
	uint64_t turn;
};
static struct vrig *rig_of_dut; /* a dut_ctrl has no place for a context; there is one rig per process */

static bool on_irq(void *ctx, unsigned vector)
{
	struct vrig_side *s = ctx;

	if (vector < VECTORS)
		s->irqs[vector]++;
	return true;
}

static uint64_t take_irqs(struct dut_ctrl *c, unsigned vector)
{
	struct vrig_side *s = &rig_of_dut->side[c - rig_of_dut->dut->ctrl];
	uint64_t n = vector < VECTORS ? s->irqs[vector] : 0;

	if (vector < VECTORS)
		s->irqs[vector] = 0;
	return n;
}

/* ---- accesses by message: each is a beat that may be late, lost, doubled, falsified or out of order (inject.h) */

enum { BEHIND_TURNS = 50 };
struct access { struct list link; struct gmem_op *op; uint64_t due; enum inj_act act; };

static enum inj_act ask(struct vrig_side *s, struct gmem_op *op, unsigned *turns)
{
	struct inj *inj = s->rig->dut->inj;
	uint16_t n = (uint16_t)(s - s->rig->side);
	struct inj_event ev = { .ctrl = n, .write = op->write, .addr = op->iova, .data = op->buf, .len = op->len };
	struct inj_order o;

	if (!inj)
		return INJ_PASS;
	ev.at = inj->place ? inj->place(inj->place_ctx, n, op->iova) : INJ_DATA;
	if (ev.at == INJ_FETCH)
		ev.what = op->buf[0];
	else if (ev.at == INJ_CQE && op->len == sizeof(struct nvme_cqe))
		ev.what = (uint16_t)(op->buf[12] | op->buf[13] << 8);
	o = inj_ask(inj, &ev);
	*turns = o.turns;
	return o.act;
}

static uint8_t *place_of(struct vrig_side *s, const struct gmem_op *op)
{
	for (unsigned i = 0; i < MEMS; i++)
		if (s->mem[i].p && range_inside(op->iova - s->mem[i].iova, op->len, s->mem[i].bytes))
			return s->mem[i].p + (op->iova - s->mem[i].iova);
	return NULL;
}

/* A read brings what stands there now; a write takes effect when it is answered. */
static int on_access(void *ctx, struct gmem_op *op)
{
	struct vrig_side *s = ctx;
	struct access *a = calloc(1, sizeof(*a));
	uint8_t *p = place_of(s, op);
	unsigned turns = 0;

	if (!p || !a) {
		free(a);
		return p ? -ENOMEM : -EFAULT;
	}
	if (!op->write)
		memcpy(op->buf, p, op->len);
	a->op = op;
	a->act = ask(s, op, &turns);
	a->due = s->rig->turn + 1 + (a->act == INJ_DELAY ? turns : a->act == INJ_REORDER ? BEHIND_TURNS : 0);
	list_push(&s->held, &a->link);
	return 0;
}

static void answer(struct vrig_side *s, struct access *a, int rc)
{
	struct gmem_op *op = a->op;
	uint8_t *p = place_of(s, op);
	unsigned times = a->act == INJ_DUPLICATE ? 2 : 1;

	list_del(&a->link);
	if (a->act == INJ_DROP || !p)
		rc = -EIO;
	for (unsigned i = 0; i < times && !rc; i++) {
		if (op->write)
			memcpy(p, op->buf, op->len);
		else if (i)
			memcpy(op->buf, p, op->len);
	}
	free(a);
	op->done(op, rc);
}

/* What was put behind the next one follows it. */
static bool answer_side(struct vrig_side *s)
{
	bool any = false;

	LIST_EACH(&s->held, it) {
		struct access *a = LIST_ENTRY(it, struct access, link);

		if (a->due > s->rig->turn)
			continue;
		answer(s, a, 0);
		any = true;
	}
	if (any)
		LIST_EACH(&s->held, it)
			if (LIST_ENTRY(it, struct access, link)->act == INJ_REORDER)
				LIST_ENTRY(it, struct access, link)->due = s->rig->turn;
	return any;
}

static bool answer_all(struct vrig *r)
{
	bool any = false;

	for (unsigned i = 0; i < r->sides; i++)
		any |= r->side[i].by_message && answer_side(&r->side[i]);
	return any;
}

static struct vrig_side *side_of(const struct port *p)
{
	for (unsigned i = 0; i < rig_of_dut->sides; i++)
		if (rig_of_dut->dut->ctrl[i].port == p)
			return &rig_of_dut->side[i];
	return NULL;
}

static int map_by_message_as(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t fd_off, bool read, bool write)
{
	struct vrig_side *s = side_of(p);
	unsigned i = 0;
	int rc;

	(void)fd, (void)fd_off;
	while (s && i < MEMS && s->mem[i].p)
		i++;
	rc = !s ? -ENODEV : i == MEMS ? -ENOSPC : devloop_dma_map(&s->loop, iova, size, NULL, read, write);
	if (rc)
		return rc;
	s->mem[i].p = ptr;
	s->mem[i].iova = iova;
	s->mem[i].bytes = size;
	return 0;
}

static int map_by_message(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t fd_off)
{
	return map_by_message_as(p, iova, ptr, size, fd, fd_off, true, true);
}

static int unmap_by_message(struct port *p, uint64_t iova, uint64_t size)
{
	struct vrig_side *s = side_of(p);
	int rc = s ? s->unmap(p, iova, size) : -ENODEV;

	for (unsigned i = 0; !rc && i < MEMS; i++)
		if (s->mem[i].iova == iova)
			s->mem[i].p = NULL;
	return rc;
}

static void serve_by_message(struct vrig_side *s, struct port *p)
{
	struct gmem *g = &nvme_ctrl_device(s->ctrl)->gmem;

	s->by_message = true;
	s->ops = *p->ops;
	s->unmap = s->ops.dma_unmap;
	s->ops.dma_map = map_by_message;
	s->ops.dma_map_as = map_by_message_as;
	s->ops.dma_unmap = unmap_by_message;
	p->ops = &s->ops;
	g->remote = on_access;
	g->remote_ctx = s;
}

static bool pump(void *ctx)
{
	struct vrig *r = ctx;
	bool any = nvme_subsys_poll(r->ss);

	any |= answer_all(r);
	r->turn++;
	if (r->far)
		any |= nvme_subsys_poll(r->far);
	for (unsigned i = 0; i < r->sides; i++) {
		struct device *d = nvme_ctrl_device(r->side[i].ctrl);

		any |= d->ops->poll(d, BUDGET);
	}
	return any;
}

static void pump_only(void *ctx) { pump(ctx); }

/* The client has gone: whatever the controller asked of its memory fails, then all of it goes. */
static int again(struct dut_ctrl *c, struct err *err)
{
	struct vrig_side *s = &rig_of_dut->side[c - rig_of_dut->dut->ctrl];
	struct gmem *g = &nvme_ctrl_device(s->ctrl)->gmem;
	int rc = -EAGAIN;

	memset(s->mem, 0, sizeof(s->mem));
	for (unsigned n = 0; n < DRAIN && (rc = devloop_detach(&s->loop)) == -EAGAIN; n++) {
		LIST_EACH(&s->held, it)
			LIST_ENTRY(it, struct access, link)->due = 0;
		pump(s->rig);
	}
	if (rc)
		return err_set(err, rc, "the device does not let go of its client's memory");
	devloop_attach(&s->loop, nvme_ctrl_device(s->ctrl), on_irq, s);
	if (s->by_message) {
		g->remote = on_access;
		g->remote_ctx = s;
	}
	return 0;
}

static void rig_close(struct dut *d)
{
	struct vrig *r = d->ctx;

	for (unsigned i = 0; i < r->sides; i++) {
		nvme_ctrl_set_online(r->side[i].ctrl, false);
		for (unsigned n = 0; n < DRAIN && (!nvme_ctrl_is_quiet(r->side[i].ctrl) || devloop_detach(&r->side[i].loop) == -EAGAIN); n++)
			pump(r);
		if (d->ctrl[i].port)
			d->ctrl[i].port->ops->close(d->ctrl[i].port);
	}
	if (r->far)
		nvme_subsys_free(r->far);
	if (r->ss)
		nvme_subsys_free(r->ss);
	if (r->env)
		env_linux_free(r->env);
	if (r->loop)
		loop_free(r->loop);
	free(r);
	rig_of_dut = NULL;
}

/* ---- a medium whose effect comes late, and not in order: without it nothing would ever be under way when the verifier looks, and a log
 * that runs ahead of its data would look like one that does not. A request waits here for a few turns before it reaches the RAM, and
 * one in fifty so long that whole resets fit in between: what came before one must not land behind it. */

enum { TURNS_MAX = 12, TURNS_LONG = 600, SELDOM = 50 };
struct late { struct blk b; struct list held; struct rng rng; uint64_t turn; };

static int late_submit(struct blk *b, struct blk_io *io)
{
	struct late *l = CONTAINER_OF(b, struct late, b);

	io->priv[0] = l->turn + rng_below(&l->rng, rng_below(&l->rng, SELDOM) ? TURNS_MAX : TURNS_LONG); /* ours until it goes below */
	list_push(&l->held, &io->link);
	return 0;
}

static int late_poll(struct blk *b)
{
	struct late *l = CONTAINER_OF(b, struct late, b);
	struct list due;
	int n = blk_poll(b->below);

	l->turn++;
	list_init(&due);
	LIST_EACH(&l->held, it)
		if (LIST_ENTRY(it, struct blk_io, link)->priv[0] <= l->turn) {
			list_del(it);
			list_push(&due, it);
		}
	for (struct list *it; (it = list_pop(&due)); n++) {
		struct blk_io *io = LIST_ENTRY(it, struct blk_io, link);
		int rc = blk_submit(b->below, io);

		if (rc == -EAGAIN)
			list_push(&l->held, it);
		else if (rc)
			io->done(io, rc == BLK_DONE ? 0 : rc);
	}
	return n;
}

static int late_next(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len) { return blk_next_allocated(b->below, lba, start, len); }
/* What is held here has not reached the medium yet. */
static int late_resize(struct blk *b, uint64_t blocks)
{
	int rc = 0;

	LIST_EACH(&CONTAINER_OF(b, struct late, b)->held, it) {
		const struct blk_io *io = LIST_ENTRY(it, struct blk_io, link);

		if (io->op != BLK_FLUSH && io->lba + io->nlb > blocks)
			rc = -EBUSY;
	}
	rc = rc ? rc : b->below->ops->resize(b->below, blocks);
	b->blocks = b->below->blocks;
	return rc;
}
static int late_fd(struct blk *b) { return b->below->ops->wait_fd(b->below); }
static void late_close(struct blk *b)
{
	blk_close(b->below);
	free(CONTAINER_OF(b, struct late, b));
}
static const struct blk_ops late_ops = { .name = "late", .submit = late_submit, .poll = late_poll, .next_allocated = late_next, .resize = late_resize,
					 .wait_fd = late_fd, .close = late_close };

static struct blk *late_open(struct blk *below, uint64_t seed, struct err *err)
{
	struct late *l = below ? calloc(1, sizeof(*l)) : NULL;

	if (!l) {
		if (below)
			blk_close(below);
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	l->b = *below;
	l->b.ops = &late_ops;
	l->b.below = below;
	l->rng.s = seed;
	list_init(&l->held);
	return &l->b;
}

/* ---- the subsystem */

/* The medium can be made to fail, behind what makes it late. ns NULL: it could not be made. */
static struct vrig_ns add_ns(struct nvme_subsys *ss, uint32_t nsid, uint64_t blocks, struct err *err)
{
	struct nvme_ns_ids ids = { .nguid = { 0xfe, 0x44, 0x79, (uint8_t)nsid }, .uuid = { 0xaa, (uint8_t)nsid } };
	struct blk *ram = blk_ram_open(BLOCK, blocks, err), *error = ram ? blk_error_open(ram, &(struct blk_error_cfg){ .rc = -EIO }, err) : NULL;
	struct blk *b = late_open(error, nsid, err);

	return (struct vrig_ns){ b ? nvme_ns_add(ss, nsid, b, &ids, err) : NULL, error };
}

static int attach(struct vrig *r, struct nvme_ctrl *c, uint32_t nsid, const struct vrig_ns *n)
{
	if (!n->ns || r->ats == ATTACHED)
		return -ENOMEM;
	r->at[r->ats++] = (struct vrig_at){ c, nsid, n->ns, n->error };
	return nvme_ctrl_attach(c, nsid, n->ns);
}

static const struct vrig_at *attached(unsigned ctrl, uint32_t nsid)
{
	struct vrig *r = rig_of_dut; /* who stands between pump and us may have its own in the DUT's ctx */

	for (unsigned i = 0; ctrl < r->sides && i < r->ats; i++)
		if (r->at[i].ctrl == r->side[ctrl].ctrl && r->at[i].nsid == nsid)
			return &r->at[i];
	return NULL;
}

static int resize(struct dut *d, unsigned ctrl, uint32_t nsid, uint64_t blocks)
{
	const struct vrig_at *a = attached(ctrl, nsid);
	struct err err = { "" };
	int rc = -EAGAIN;

	(void)d;
	if (!a)
		return -ENOENT;
	if (blocks > nvme_ns_blocks(a->ns)) {
		for (unsigned n = 0; n < DRAIN && (rc = nvme_ns_extend(a->ns, blocks, &err)) == -EAGAIN; n++)
			pump(rig_of_dut);
		if (!rc)
			nvme_ns_set_size(a->ns, blocks);
		return rc;
	}
	rc = nvme_ns_may_resize(a->ns, blocks, &err);
	if (rc)
		return rc;
	nvme_ns_set_size(a->ns, blocks);
	for (unsigned n = 0; n < DRAIN && (rc = nvme_ns_trim(a->ns, &err)) == -EAGAIN; n++)
		pump(rig_of_dut);
	return rc;
}

static int media(struct dut *d, unsigned ctrl, uint32_t nsid, const struct dut_media *m)
{
	const struct vrig_at *a = attached(ctrl, nsid);
	struct blk_error_cfg *c = a ? blk_error_cfg(a->error) : NULL;

	(void)d;
	if (!c)
		return -ENOENT;
	*c = (struct blk_error_cfg){ .rc = -EIO };
	if (!m)
		return 0;
	c->lba = m->slba;
	c->nlb = m->nlb;
	c->half_done = m->half;
	c->per_million[BLK_READ] = m->read ? ALWAYS : 0;
	c->per_million[BLK_WRITE] = c->per_million[BLK_ZERO] = c->per_million[BLK_DEALLOC] = m->change ? ALWAYS : 0;
	c->per_million[BLK_FLUSH] = m->flush ? ALWAYS : 0;
	return 0;
}

static int add_side(struct vrig *r, struct dut *d, struct nvme_subsys *ss, bool mmc, bool by_message, struct err *err)
{
	struct nvme_ctrl_cfg c = { .mmc = mmc, .max_ioq = ss == r->far && !mmc ? FAR_QUEUES : 0 };
	struct vrig_side *s = &r->side[r->sides];

	s->rig = r;
	list_init(&s->held);
	s->ctrl = nvme_ctrl_new(ss, &c, err);
	if (!s->ctrl)
		return -EIO;
	nvme_ctrl_set_online(s->ctrl, true);
	devloop_attach(&s->loop, nvme_ctrl_device(s->ctrl), on_irq, s);
	d->ctrl[r->sides] = (struct dut_ctrl){ .irqs = take_irqs, .again = again, .port = port_loop_new(&s->loop, pump_only, r, err) };
	snprintf(d->ctrl[r->sides].name, sizeof(d->ctrl[0].name), "inprocess %u", r->sides);
	if (by_message && d->ctrl[r->sides].port)
		serve_by_message(s, d->ctrl[r->sides].port);
	r->sides++;
	d->ctrls = r->sides;
	return d->ctrl[r->sides - 1].port ? 0 : -ENOMEM;
}

/* Every MC has a namespace of its own under NSID 1 and shares the one it knows as 2; the MMC sees all, under other numbers. */
static int add_namespaces(struct vrig *r, unsigned first, struct err *err) /* first: of the MCs */
{
	struct vrig_ns shared = add_ns(r->ss, 100, BLOCKS, err);
	int rc = shared.ns ? 0 : -ENOMEM;

	for (unsigned k = 0; !rc && k < first; k++)
		rc = attach(r, r->side[k].ctrl, 100, &shared);
	for (unsigned i = first; !rc && i < r->sides; i++) {
		struct vrig_ns own = add_ns(r->ss, 10 + i, BLOCKS, err);

		rc = attach(r, r->side[i].ctrl, 1, &own);
		if (!rc)
			rc = attach(r, r->side[i].ctrl, 2, &shared);
		for (unsigned k = 0; !rc && k < first; k++)
			rc = attach(r, r->side[k].ctrl, 10 + i, &own);
	}
	return rc;
}

static int add_far(struct vrig *r, struct dut *d, struct err *err)
{
	struct nvme_subsys_cfg c = { .env = r->env, .max_udmq = 1 };
	struct vrig_ns ns;
	int rc;

	snprintf(c.nqn, sizeof(c.nqn), "nqn.2026-01.org.ferry:far");
	r->far = nvme_subsys_new(&c, err);
	rc = r->far ? add_side(r, d, r->far, true, false, err) : -ENOMEM;
	if (!rc)
		rc = add_side(r, d, r->far, false, false, err);
	if (rc)
		return rc;
	ns = add_ns(r->far, FAR_NSID, FAR_BLOCKS, err);
	rc = attach(r, r->side[r->sides - 1].ctrl, 1, &ns);
	return rc ? rc : attach(r, r->side[r->sides - 2].ctrl, FAR_NSID, &ns);
}

int verify_rig_open(struct dut *d, const struct verify_rig_cfg *cfg, struct err *err)
{
	unsigned mcs = MIN(cfg->mcs ? cfg->mcs : 3u, (unsigned)DUT_CTRLS - MMCS - 2 * cfg->far);
	struct nvme_subsys_cfg c = { .no_hmlm = cfg->no_hmlm, .max_udmq = cfg->max_udmq ? cfg->max_udmq : (uint16_t)MAX(mcs - 1, 1u) };
	struct vrig *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(err, -ENOMEM, "no memory");
	*d = (struct dut){ .backend = "inprocess", .media = media, .resize = resize, .pump = pump, .ctx = r, .close = rig_close,
			   .caps = DUT_MEM | DUT_REGS | DUT_FLR | DUT_IRQ | DUT_DESTROY | DUT_MEDIA | DUT_RESIZE | DUT_RIGHTS | (cfg->by_message ? DUT_ACCESS : 0) };
	snprintf(d->about, sizeof(d->about), "ferry's own device in this process, %u MCs%s%s", mcs, cfg->by_message ? ", memory by message" : "",
		 cfg->far ? ", and a smaller subsystem" : "");
	r->dut = d;
	rig_of_dut = r;
	r->loop = loop_new(err);
	r->env = r->loop ? env_linux_new(r->loop, NULL, err) : NULL;
	c.env = r->env;
	snprintf(c.nqn, sizeof(c.nqn), "nqn.2026-01.org.ferry:verify");
	r->ss = r->env ? nvme_subsys_new(&c, err) : NULL;
	rc = r->ss ? 0 : -ENOMEM;
	for (unsigned i = 0; !rc && !cfg->no_hmlm && i < MMCS; i++)
		rc = add_side(r, d, r->ss, true, false, err);
	for (unsigned i = 0; !rc && i < mcs; i++)
		rc = add_side(r, d, r->ss, false, cfg->by_message, err);
	if (!rc)
		rc = add_namespaces(r, cfg->no_hmlm ? 0 : MMCS, err);
	if (!rc && cfg->far)
		rc = add_far(r, d, err);
	if (rc)
		dut_close(d);
	return rc;
}
