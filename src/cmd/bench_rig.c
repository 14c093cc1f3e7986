/* The bench's controller and its host. See bench_rig.h. */
#include "cmd/bench_rig.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "env/linux/loop.h"
#include "host/hmlm.h"
#include "host/port_loop.h"
#include "migrate/dirty.h"
#include "migrate/mcmd.h"

enum {
	PAGE = 4096, BLOCK = 512,
	BUDGET = 64,			/* commands per poll, as `ferry serve` gives */
	LOG_SLOTS = 4096,		/* as the mover's */
	SETUP_POLLS = 1000000,
	LOOK_EVERY = 64			/* turns of the host's loop between looks at the clock */
};

struct side { struct devloop loop; struct port *port; struct hnvme *host; struct nvme_ctrl *ctrl; };

struct brig {
	struct brig_cfg cfg;
	struct loop *loop;
	struct env *env;
	struct nvme_subsys *ss;
	struct side mmc, mc;
	struct port bell;		/* the load's doorbells: the shared page and nothing else */
	uint32_t *db;
	uint8_t *mem;			/* the load's guest memory: rings, PRP lists, data */
	size_t mem_bytes, at_prps, at_data;
	struct hqueue q;
	struct nvme_sqe sqe[BRIG_DEPTH_MAX];	/* by CID, with their data pointers */
	uint16_t cids[BRIG_DEPTH_MAX];
	unsigned cids_free;
	uint64_t seed, next_lba;
	/* the device's thread */
	pthread_t thread;
	bool running;
	atomic_bool stop, up;
	uint64_t ticks, commands;
	/* the manager's part */
	bool tracking, head_out;
	uint16_t cdqid;
	struct hmlm_ring ring;
	struct dirty dirty;
	struct mcmd head_cmd;
	uint32_t head_hp;
	uint64_t entries;
	atomic_int bad;			/* -errno: what went wrong in the thread */
};

/* ---- the load's doorbells */

static int bell_ring(struct port *p, unsigned index, uint32_t val)
{
	struct brig *r = CONTAINER_OF(p, struct brig, bell);

	__atomic_store_n(&r->db[index], val, __ATOMIC_RELEASE);
	return 0;
}
static const struct port_ops bell_ops = { .doorbell = bell_ring };

/* ---- the device's thread: what `ferry serve` does in a turn of its loop, spinning */

static void manager_turn(struct brig *r)
{
	struct hmlm_entry e;
	struct err err;
	int rc;

	while ((rc = hmlm_ring_next(&r->ring, &e)) == 1) {
		if (e.lbacir == NVME_LBACIR_RANGE)
			dirty_add(&r->dirty, e.slba, e.nlb);
		if (e.esa == NVME_ESA_FULL)
			r->bad = -EOVERFLOW;
		r->entries++;
	}
	if (rc < 0)
		r->bad = rc;
	if (r->head_out && mcmd_run(&r->head_cmd, r->mmc.host, 0)) {
		r->head_out = false;
		if (mcmd_result(&r->head_cmd, &err))
			r->bad = -EIO;
		hmlm_ring_told(&r->ring, r->head_hp);
	}
	if (r->head_out || hmlm_ring_untold(&r->ring) < LOG_SLOTS / 4)
		return;
	r->head_hp = r->ring.head;
	r->head_out = true;
	hmlm_set_cdq(mcmd_prep(&r->head_cmd, "Set Features, CDQ head", NULL, 0), r->cdqid, r->head_hp, false, 0);
	mcmd_run(&r->head_cmd, r->mmc.host, 0);
}

static bool mc_turn(struct brig *r)
{
	struct device *d = nvme_ctrl_device(r->mc.ctrl);

	return d->ops->poll(d, BUDGET);
}

static bool turn(struct brig *r)
{
	struct device *d = nvme_ctrl_device(r->mmc.ctrl);
	bool any = nvme_subsys_poll(r->ss);

	any |= mc_turn(r);
	any |= d->ops->poll(d, BUDGET);
	any |= hnvme_poll(r->mmc.host);
	if (r->tracking)
		manager_turn(r);
	return any;
}

static uint64_t completed(const struct brig *r)
{
	struct nvme_ctrl_stats s;

	nvme_ctrl_stats(r->mc.ctrl, &s);
	return s.completed;
}

static void *device_thread(void *arg)
{
	struct brig *r = arg;
	uint64_t before = completed(r), last, now;

	r->ticks = 0;
	atomic_store(&r->up, true);
	for (last = bench_tsc(); !atomic_load_explicit(&r->stop, memory_order_relaxed); last = now) {
		bool any = turn(r);

		now = bench_tsc();
		if (any)
			r->ticks += now - last;
	}
	r->commands = completed(r) - before;
	return NULL;
}

void brig_run(struct brig *r, const struct bench *b)
{
	r->bad = 0;
	atomic_store(&r->stop, false);
	atomic_store(&r->up, false);
	bench_pin(b->cpu_host);
	r->running = !bench_thread(b->cpu_device, &r->thread, device_thread, r);
	while (r->running && !atomic_load(&r->up))	/* its start is not what is measured */
		sched_yield();
}

void brig_halt(struct brig *r)
{
	if (!r->running)
		return;
	atomic_store(&r->stop, true);
	pthread_join(r->thread, NULL);
	r->running = false;
}

void brig_busy(const struct brig *r, uint64_t *ticks, uint64_t *commands)
{
	*ticks = r->ticks;
	*commands = r->commands;
}

/* ---- admin commands, device halted */

struct answer { bool done; int rc; struct nvme_cqe cqe; };

static void answered(struct hnvme_cmd *c, int rc, const struct nvme_cqe *cqe)
{
	struct answer *a = c->ctx;

	a->done = true;
	a->rc = rc;
	if (!rc)
		a->cqe = *cqe;
}

int brig_admin(struct brig *r, bool mmc, struct hnvme_cmd *c, uint32_t *dw0, struct err *err)
{
	struct hnvme *h = mmc ? r->mmc.host : r->mc.host;
	const char *name = nvme_admin_op_name(c->sqe.opc);
	struct answer a = { 0 };
	int rc;

	c->done = answered;
	c->ctx = &a;
	rc = hnvme_submit(h, 0, c);
	for (unsigned i = 0; !rc && !a.done && i < SETUP_POLLS; i++) {
		turn(r);
		hnvme_poll(r->mc.host);
	}
	if (rc || !a.done || a.rc)
		return err_set(err, rc ? rc : a.done ? a.rc : -ETIMEDOUT, "%s got no answer", name);
	if (nvme_cqe_status(&a.cqe))
		return err_set(err, -EIO, "%s: %s", name, nvme_status_name(nvme_cqe_status(&a.cqe)));
	if (dw0)
		*dw0 = le32_get(a.cqe.dw0);
	return 0;
}

void *brig_mmc_mem(struct brig *r, size_t bytes) { return hnvme_mem(r->mmc.host, bytes); }
uint16_t brig_cntlid(const struct brig *r) { return nvme_ctrl_cntlid(r->mc.ctrl); }
struct nvme_subsys *brig_subsys(struct brig *r) { return r->ss; }
uint64_t brig_tracked(const struct brig *r) { return r->entries; }

/* ---- logging and tracking */

static int track_on(struct brig *r, struct err *err)
{
	struct hnvme_cmd c = { 0 };
	struct hmlm_range range = { (uintptr_t)r->mem, r->mem_bytes };
	uint8_t *page = r->ring.mem ? NULL : hnvme_mem(r->mmc.host, LOG_SLOTS * sizeof(struct nvme_lbamq));
	uint8_t *list = hnvme_mem(r->mmc.host, PAGE);
	uint32_t dw0;
	int rc;

	if ((!page && !r->ring.mem) || !list)
		return err_set(err, -ENOMEM, "no memory for a change log");
	hmlm_ring_init(&r->ring, page ? page : r->ring.mem, LOG_SLOTS);
	hmlm_cdq_create(&c.sqe, brig_cntlid(r), LOG_SLOTS * sizeof(struct nvme_lbamq) / 4, (uintptr_t)r->ring.mem, true);
	rc = brig_admin(r, true, &c, &dw0, err);
	if (!rc) {
		r->cdqid = (uint16_t)dw0;
		hmlm_track_log(&c.sqe, r->cdqid, true);
		rc = brig_admin(r, true, &c, NULL, err);
	}
	c.data = list;
	c.len = (uint32_t)hmlm_track_mem_build(list, PAGE, 0, &range, 1);
	hmlm_track_mem(&c.sqe, brig_cntlid(r), true);
	if (!rc)
		rc = brig_admin(r, true, &c, NULL, err);
	hnvme_mem_free(r->mmc.host, list, PAGE);
	r->tracking = !rc;
	return rc;
}

static int track_off(struct brig *r, struct err *err)
{
	struct hnvme_cmd c = { 0 };
	int rc;

	for (unsigned i = 0; r->head_out && i < SETUP_POLLS; i++)
		turn(r);
	r->tracking = false;
	hmlm_cdq_delete(&c.sqe, r->cdqid);
	rc = brig_admin(r, true, &c, NULL, err);
	hmlm_track_mem(&c.sqe, brig_cntlid(r), false);
	if (!rc)
		rc = brig_admin(r, true, &c, NULL, err);
	return rc;
}

int brig_track(struct brig *r, bool on, struct err *err)
{
	if (on == r->tracking)
		return 0;
	return on ? track_on(r, err) : track_off(r, err);
}

/* ---- the load */

static struct nvme_sqe *next_command(struct brig *r, const struct brig_job *j, uint64_t slots, uint16_t cid)
{
	struct nvme_sqe *s = &r->sqe[cid];
	uint64_t n = bench_random(&r->seed), nlb = j->bytes / BLOCK;

	s->opc = (n & 0xffff) * 100 >> 16 < j->write_percent ? NVME_NVM_WRITE : NVME_NVM_READ;
	if (j->sequential)
		n = r->next_lba++ % slots;
	else
		n = (uint64_t)((unsigned __int128)n * slots >> 64);
	nvme_slba_put(s, n * nlb);
	return s;
}

static void job_prepare(struct brig *r, const struct brig_job *j)
{
	for (unsigned i = 0; i < j->depth; i++) {
		struct nvme_sqe *s = &r->sqe[i];
		uint64_t data = (uintptr_t)r->mem + r->at_data + (uint64_t)i * MAX(j->bytes, (unsigned)PAGE);
		le64 *list = (void *)(r->mem + r->at_prps + i * 512ul);

		*s = (struct nvme_sqe){ .cid = le16_of((uint16_t)i), .nsid = le32_of(BRIG_NS), .prp1 = le64_of(data) };
		nvme_rw_nlb0_put(s, j->bytes / BLOCK - 1);
		for (unsigned k = 1; k < j->bytes / PAGE; k++)
			list[k - 1] = le64_of(data + (uint64_t)k * PAGE);
		s->prp2 = j->bytes <= 2 * PAGE ? le64_of(j->bytes > PAGE ? data + PAGE : 0) : le64_of((uintptr_t)list);
		r->cids[i] = (uint16_t)i;
	}
	r->cids_free = j->depth;
}

/* All completions that are there. -EIO if one of them failed. */
static int reap_all(struct brig *r, uint64_t *done)
{
	struct nvme_cqe c;
	int rc = 0;

	while (hqueue_reap(&r->q, r->mem, &c)) {
		if (nvme_cqe_status(&c))
			rc = -EIO;
		r->cids[r->cids_free++] = le16_get(c.cid);
		(*done)++;
	}
	hqueue_ack(&r->q, &r->bell);
	return rc;
}

double brig_load(struct brig *r, const struct brig_job *j, uint64_t ns, struct err *err)
{
	uint64_t slots = r->cfg.bytes / j->bytes, begin = bench_now(), now = begin, done = 0, turns = 0;
	int rc = 0;

	job_prepare(r, j);
	while (!rc && now - begin < ns) {
		bool any = r->cids_free;

		while (r->cids_free)
			hqueue_push(&r->q, r->mem, next_command(r, j, slots, r->cids[--r->cids_free]));
		if (any)
			hqueue_kick(&r->q, &r->bell);
		rc = reap_all(r, &done);
		if (++turns % LOOK_EVERY == 0)
			now = bench_now();
	}
	/* Counted to the last one; after so long a silence something is wrong. */
	while (!rc && r->q.out && bench_now() - now < 20 * NS_PER_S)
		rc = reap_all(r, &done);
	now = bench_now();
	if (rc || r->q.out || r->bad)
		return err_set(err, -EIO, "%s", r->bad ? "the change log could not be followed" : rc ? "a command failed" :
			       "the controller stopped answering"), -1;
	return (double)done / ((double)(now - begin) / 1e9);
}

int brig_fill(struct brig *r, struct err *err)
{
	struct brig_job j = { .depth = 16, .bytes = BRIG_DATA_MAX, .write_percent = 100, .sequential = true };
	uint64_t left = r->cfg.bytes / j.bytes, done = 0;
	int rc = 0;

	job_prepare(r, &j);
	r->next_lba = 0;
	while (!rc && (left || r->q.out)) {
		for (; left && r->cids_free; left--)
			hqueue_push(&r->q, r->mem, next_command(r, &j, r->cfg.bytes / j.bytes, r->cids[--r->cids_free]));
		hqueue_kick(&r->q, &r->bell);
		turn(r);
		rc = reap_all(r, &done);
	}
	return rc ? err_set(err, rc, "the namespace could not be written") : 0;
}

/* ---- making one */

static int start(struct brig *r, struct side *s, unsigned io_queues, struct err *err)
{
	struct hnvme_cfg h = { .env = r->env, .io_queues = io_queues, .queue_size = 64, .mem_fd = -1 };
	int rc = -EAGAIN;

	s->port = port_loop_new(&s->loop, NULL, NULL, err);
	h.port = s->port;
	s->host = s->port ? hnvme_new(&h, err) : NULL;
	if (!s->host)
		return -ENOMEM;
	while (rc == -EAGAIN) {
		struct device *d = nvme_ctrl_device(s->ctrl);

		nvme_subsys_poll(r->ss);
		d->ops->poll(d, BUDGET);
		hnvme_poll(s->host);
		rc = hnvme_start(s->host, err);
	}
	return rc;
}

/* The load's own pair in the place of the driver's last one: its rings lie in the load's memory, which only the load touches. */
static int load_queue(struct brig *r, unsigned qid, struct err *err)
{
	static const uint8_t gone[] = { NVME_OP_DELETE_SQ, NVME_OP_DELETE_CQ };
	struct hnvme_cmd c = { 0 };
	int rc;

	hqueue_init(&r->q, r->mem, qid, BRIG_RING, 0, BRIG_RING * sizeof(struct nvme_sqe));
	for (unsigned i = 0; i < ARRAY_LEN(gone); i++) {
		c.sqe = (struct nvme_sqe){ .opc = gone[i] };
		nvme_create_cq_qid_put(&c.sqe, qid);
		rc = brig_admin(r, false, &c, NULL, err);
		if (rc)
			return rc;
	}
	for (unsigned sq = 0; sq < 2; sq++) {
		c.sqe = (struct nvme_sqe){ .opc = sq ? NVME_OP_CREATE_SQ : NVME_OP_CREATE_CQ };
		nvme_create_cq_qid_put(&c.sqe, qid);
		nvme_create_cq_qsize0_put(&c.sqe, BRIG_RING - 1);
		nvme_create_cq_pc_put(&c.sqe, 1);
		if (sq)
			nvme_create_sq_cqid_put(&c.sqe, qid);
		c.sqe.prp1 = le64_of((uintptr_t)r->mem + (sq ? r->q.sq_off : r->q.cq_off));
		rc = brig_admin(r, false, &c, NULL, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int make_subsys(struct brig *r, struct err *err)
{
	struct nvme_subsys_cfg cfg = { .env = r->env };
	struct nvme_ctrl_cfg mc = { 0 }, mmc = { .mmc = true };
	struct blk *b = r->cfg.null ? blk_null_open(BLOCK, r->cfg.bytes / BLOCK, err) : blk_ram_open(BLOCK, r->cfg.bytes / BLOCK, err);
	struct nvme_ns *ns;

	if (!b)
		return -ENOMEM;
	r->ss = nvme_subsys_new(&cfg, err);
	if (!r->ss) {
		blk_close(b);
		return -ENOMEM;
	}
	ns = nvme_ns_add(r->ss, BRIG_NS, b, NULL, err);
	r->mmc.ctrl = ns ? nvme_ctrl_new(r->ss, &mmc, err) : NULL;
	r->mc.ctrl = r->mmc.ctrl ? nvme_ctrl_new(r->ss, &mc, err) : NULL;
	return r->mc.ctrl ? nvme_ctrl_attach(r->mc.ctrl, BRIG_NS, ns) : -ENOMEM;
}

static int make_memory(struct brig *r, struct err *err)
{
	r->at_prps = round_up(BRIG_RING * (sizeof(struct nvme_sqe) + sizeof(struct nvme_cqe)), PAGE);
	r->at_data = r->at_prps + BRIG_DEPTH_MAX * 512;
	r->mem_bytes = r->at_data + (size_t)16 * BRIG_DATA_MAX;
	r->mem = mmap(NULL, r->mem_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	r->db = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (r->mem == MAP_FAILED || r->db == MAP_FAILED)
		return err_set(err, -ENOMEM, "no memory for the bench's guest");
	memset(r->mem, 0xa5, r->mem_bytes);
	return devloop_dma_map(&r->mc.loop, (uintptr_t)r->mem, r->mem_bytes, r->mem, true, true);
}

struct brig *brig_new(const struct brig_cfg *cfg, struct err *err)
{
	struct brig *r = calloc(1, sizeof(*r));
	struct device *d;
	int rc;

	if (!r)
		return err_set(err, -ENOMEM, "no memory"), NULL;
	r->cfg = *cfg;
	r->seed = 88172645463325252ull;
	r->bell.ops = &bell_ops;
	r->mem = MAP_FAILED;
	r->db = MAP_FAILED;
	r->loop = loop_new(err);
	r->env = r->loop ? env_linux_new(r->loop, NULL, err) : NULL;
	rc = r->env ? make_subsys(r, err) : -ENOMEM;
	if (rc)
		goto fail;
	devloop_attach(&r->mmc.loop, nvme_ctrl_device(r->mmc.ctrl), NULL, NULL);
	devloop_attach(&r->mc.loop, nvme_ctrl_device(r->mc.ctrl), NULL, NULL);
	rc = make_memory(r, err);
	if (!rc)
		rc = start(r, &r->mmc, 1, err);
	if (!rc)
		rc = start(r, &r->mc, cfg->queues, err);
	if (!rc)
		rc = load_queue(r, cfg->queues, err);
	if (!rc)
		rc = dirty_init(&r->dirty, cfg->bytes / BLOCK, BLOCK);
	if (rc)
		goto fail;
	d = nvme_ctrl_device(r->mc.ctrl);
	d->ops->region_share(d, DEV_REGION_BAR0, r->db);
	return r;
fail:
	brig_free(r);
	return NULL;
}

static void end(struct side *s)
{
	if (s->ctrl)
		nvme_ctrl_set_online(s->ctrl, false);
	hnvme_free(s->host);
	if (s->loop.dev)
		devloop_detach(&s->loop);
	if (s->port)
		s->port->ops->close(s->port);
}

void brig_free(struct brig *r)
{
	if (!r)
		return;
	brig_halt(r);
	if (r->mc.ctrl) {
		struct device *d = nvme_ctrl_device(r->mc.ctrl);

		d->ops->region_share(d, DEV_REGION_BAR0, NULL);
	}
	end(&r->mc);
	end(&r->mmc);
	if (r->ss)
		nvme_subsys_free(r->ss);
	dirty_fini(&r->dirty);
	if (r->mem != MAP_FAILED)
		munmap(r->mem, r->mem_bytes);
	if (r->db != MAP_FAILED)
		munmap(r->db, PAGE);
	if (r->env)
		env_linux_free(r->env);
	loop_free(r->loop);
	free(r);
}
