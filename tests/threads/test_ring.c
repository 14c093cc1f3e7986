/* A host and a device in different threads with nothing between them but memory: rings, doorbells, data. Meant to be run under
 * TSan too (meson setup build-tsan -Db_sanitize=thread): what orders their accesses must be doorbells and phase bits alone.
 *
 * The device's thread polls; the case is the host. No sleeping: both spin, and give way when they find nothing.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "rig.h"
#include "host/hqueue.h"

enum { BLOCKS = 64, BLOCK = 512, DEPTH_MAX = 32, HOSTS = 2 };

struct side {				/* one host and its queue pair */
	struct port port;
	volatile uint32_t *db;
	uint8_t *base;			/* IOVA iova */
	uint64_t iova;
	struct hqueue q, cq;		/* of q only the SQ is used, of cq only the CQ, so that their sizes may differ */
	uint8_t *data;			/* DEPTH_MAX blocks */
	uint64_t first;			/* of its own BLOCKS of the namespace */
	uint32_t stamp[BLOCKS];		/* what each must hold; 0: never written */
	bool busy[BLOCKS];
	struct { bool out, write; unsigned block; uint32_t stamp; } cmd[DEPTH_MAX];
	uint64_t rnd, done, wrong;
	uint32_t stamps;
	unsigned ack_every;		/* completions are given back this rarely */
};

struct both {
	struct rig *r;
	uint32_t *page;
	pthread_t thread;
	atomic_bool stop;
	bool suspends;
	unsigned suspended;		/* by the device's thread; read when it has ended */
	struct side side[HOSTS];
};

static int bell(struct port *p, unsigned index, uint32_t v)
{
	__atomic_store_n(&CONTAINER_OF(p, struct side, port)->db[index], v, __ATOMIC_RELEASE);
	return 0;
}
static const struct port_ops bell_ops = { .doorbell = bell };

/* ---- the device's thread */

static void *device(void *arg)
{
	struct both *b = arg;
	unsigned n = 0;

	while (!atomic_load(&b->stop)) {
		if (!rig_poll(b->r))
			sched_yield();
		if (!b->suspends || ++n % 64)
			continue;
		nvme_ctrl_suspend(b->r->mc);
		while (!nvme_ctrl_is_suspended(b->r->mc))
			rig_poll(b->r);
		for (unsigned i = 0; i < 8; i++)
			rig_poll(b->r);	/* the host rings on: nothing of it may be fetched */
		b->suspended++;
		nvme_ctrl_resume(b->r->mc);
	}
	return NULL;
}

static void side_open(struct both *b, unsigned i, unsigned size, unsigned cq_size)
{
	struct side *s = &b->side[i];
	struct rig_host *h = rig_host(b->r, b->r->mc);
	uint8_t *sq = rig_alloc_at(h, size * 64), *cq = rig_alloc_at(h, MAX(size, cq_size) * 16);

	s->port.ops = &bell_ops;
	s->db = b->page;
	s->base = h->mem;
	s->iova = h->iova;
	s->data = rig_alloc_at(h, DEPTH_MAX * BLOCK);
	s->first = i * BLOCKS;
	s->rnd = 88172645463325252ull + i;
	s->ack_every = 1;
	hqueue_init(&s->q, s->base, i + 1, size, (uint64_t)(sq - h->mem), (uint64_t)(cq - h->mem));
	s->cq = s->q;
	s->cq.size = cq_size;
	EXPECT_EQ(nvme_cq_create(b->r->mc, (uint16_t)(i + 1), cq_size, h->iova + s->q.cq_off, true, (uint16_t)(i + 1)), NVME_SUCCESS);
	EXPECT_EQ(nvme_sq_create(b->r->mc, (uint16_t)(i + 1), (uint16_t)(i + 1), size, h->iova + s->q.sq_off, 0), NVME_SUCCESS);
}

static void both_open(struct both *b, struct rig *r, unsigned sides, unsigned size, unsigned cq_size)
{
	struct device *d = nvme_ctrl_device(r->mc);

	*b = (struct both){ .r = r };
	b->page = aligned_alloc(4096, 4096);
	memset(b->page, 0, 4096);
	d->ops->region_share(d, DEV_REGION_BAR0, b->page);
	for (unsigned i = 0; i < sides; i++)
		side_open(b, i, size, cq_size);
}

static void both_run(struct both *b) { EXPECT_EQ(pthread_create(&b->thread, NULL, device, b), 0); }
static void both_close(struct both *b)
{
	struct device *d = nvme_ctrl_device(b->r->mc);

	atomic_store(&b->stop, true);
	pthread_join(b->thread, NULL);
	d->ops->region_share(d, DEV_REGION_BAR0, NULL);
	free(b->page);
}

/* ---- a host: random writes and reads of its own blocks, each block one command at a time */

static uint32_t rnd(struct side *s)
{
	s->rnd = s->rnd * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(s->rnd >> 33);
}

static void paint(uint8_t *p, uint32_t stamp)
{
	for (unsigned i = 0; i < BLOCK; i += 4)
		memcpy(p + i, &stamp, 4);
}

static bool painted(const uint8_t *p, uint32_t stamp)
{
	for (unsigned i = 0; i < BLOCK; i += 4)
		if (memcmp(p + i, &stamp, 4))
			return false;
	return true;
}

static void submit(struct side *s, uint16_t cid)
{
	unsigned block = rnd(s) % BLOCKS;
	bool write = rnd(s) & 1;
	struct nvme_sqe q;

	if (s->busy[block])
		return;
	s->busy[block] = s->cmd[cid].out = true;
	s->cmd[cid].write = write;
	s->cmd[cid].block = block;
	s->cmd[cid].stamp = write ? ++s->stamps : s->stamp[block];
	paint(s->data + cid * BLOCK, write ? s->stamps : ~0u);
	q = rig_rw(write ? NVME_NVM_WRITE : NVME_NVM_READ, 1, s->first + block, 1);
	q.cid = le16_of(cid);
	q.prp1 = le64_of(s->iova + (uint64_t)(s->data + cid * BLOCK - s->base));
	hqueue_push(&s->q, s->base, &q);
}

static void complete(struct side *s, const struct nvme_cqe *c)
{
	uint16_t cid = le16_get(c->cid);

	s->done++;
	if (cid >= DEPTH_MAX || !s->cmd[cid].out || nvme_cqe_status(c)) {
		s->wrong++;
		return;
	}
	if (s->cmd[cid].write)
		s->stamp[s->cmd[cid].block] = s->cmd[cid].stamp;
	else if (!painted(s->data + cid * BLOCK, s->cmd[cid].stamp))
		s->wrong++;
	s->busy[s->cmd[cid].block] = s->cmd[cid].out = false;
}

static void work(struct side *s, uint64_t commands)
{
	struct nvme_cqe c;

	for (uint64_t idle = 0; (s->done < commands || s->q.out) && idle < 10000000; idle++) {
		bool any = false;

		for (uint16_t cid = 0; cid < DEPTH_MAX && s->done < commands && !hqueue_full(&s->q); cid++)
			if (!s->cmd[cid].out)
				submit(s, cid);
		hqueue_kick(&s->q, &s->port);
		while (hqueue_reap(&s->cq, s->base, &c)) {
			s->q.out--;
			complete(s, &c);
			any = true;
			idle = 0;
		}
		/* Nothing came: then the slots read so far may be what the device waits for. */
		if (!any || rnd(s) % s->ack_every == 0)
			hqueue_ack(&s->cq, &s->port);
		if (!any)
			sched_yield();
	}
	hqueue_ack(&s->cq, &s->port);
}

/* NVMe Base, Submission Queue Tail Doorbell and Phase Tag: they alone say whose turn it is. A block read must hold what was last
 * written to it, in every byte. */
TEST(ring_data_is_there_with_the_completion)
{
	RIG(r, .blocks = BLOCKS * HOSTS);
	struct both b;

	both_open(&b, &r, 1, 33, 33);
	both_run(&b);
	work(&b.side[0], 20000);
	both_close(&b);
	EXPECT_EQ(b.side[0].wrong, 0);
	EXPECT_EQ(b.side[0].q.out, 0);
}

/* The smallest queue wraps with every second command and turns its phase each time; more commands than 16 bits count. */
TEST(ring_of_two_entries_wraps)
{
	RIG(r, .blocks = BLOCKS * HOSTS);
	struct both b;

	both_open(&b, &r, 1, 2, 2);
	both_run(&b);
	work(&b.side[0], 70000);
	both_close(&b);
	EXPECT_EQ(b.side[0].wrong, 0);
	EXPECT_EQ(b.side[0].done, 70000);
}

/* Completion Queue Head Doorbell: with more commands out than the queue has slots, and a host that gives them back late, no
 * completion may be lost or overwritten. */
TEST(ring_full_completion_queue)
{
	RIG(r, .blocks = BLOCKS * HOSTS);
	struct both b;

	both_open(&b, &r, 1, 33, 5);
	b.side[0].ack_every = 4;
	both_run(&b);
	work(&b.side[0], 20000);
	both_close(&b);
	EXPECT_EQ(b.side[0].wrong, 0);
	EXPECT_EQ(b.side[0].q.out, 0);
}

struct turn { struct side *s; uint64_t commands; };
static void *second_host(void *arg)
{
	struct turn *t = arg;

	work(t->s, t->commands);
	return NULL;
}

/* Two processors of a guest, each with a queue pair of its own: they share the doorbell page and nothing else. */
TEST(ring_two_hosts)
{
	RIG(r, .blocks = BLOCKS * HOSTS);
	struct both b;
	struct turn t = { &b.side[1], 10000 };
	pthread_t second;

	both_open(&b, &r, 2, 9, 9);
	both_run(&b);
	EXPECT_EQ(pthread_create(&second, NULL, second_host, &t), 0);
	work(&b.side[0], 10000);
	pthread_join(second, NULL);
	both_close(&b);
	EXPECT_EQ(b.side[0].wrong, 0);
	EXPECT_EQ(b.side[1].wrong, 0);
}

/* Base, Migration Send, Suspend: what was fetched completes, what is only queued waits for Resume and then runs once (design rule
 * 2). The host knows nothing of it and rings all the time. */
TEST(ring_suspended_meanwhile)
{
	RIG(r, .blocks = BLOCKS * HOSTS);
	struct both b;

	both_open(&b, &r, 1, 17, 17);
	b.suspends = true;
	both_run(&b);
	work(&b.side[0], 20000);
	both_close(&b);
	EXPECT_EQ(b.side[0].wrong, 0);
	EXPECT_EQ(b.side[0].q.out, 0);
	EXPECT(b.suspended > 0);
}
