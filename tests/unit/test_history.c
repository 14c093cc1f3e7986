/* The checker, fed by hand: it must see a lost write and an invented one, and must not cry over what is allowed. A checker that
 * cannot fail would make every test of a move worthless. */
#include "t.h"

#include "host/hqueue.h"
#include "vm/embedded/history.h"

static const struct stamp_key key = { 77, 3 };

enum { N = 16 };
struct rig { struct hist t[N]; uint8_t data[STAMP_BLOCK]; struct hist_finding f; };

static struct rig rig(bool zeroed)
{
	struct rig r = { 0 };

	for (int i = 0; i < N; i++)
		hist_init(&r.t[i], zeroed);
	return r;
}

/* A write that was acknowledged. Returns its id. */
static uint64_t wrote(struct rig *r, uint32_t b)
{
	uint64_t id = hist_next(&r->t[b], b);

	hist_out(&r->t[b], id);
	hist_ok(&r->t[b]);
	return id;
}

static uint64_t sent(struct rig *r, uint32_t b)	/* no answer, or an error */
{
	uint64_t id = hist_next(&r->t[b], b);

	hist_out(&r->t[b], id);
	return id;
}

static enum hist_verdict sees(struct rig *r, uint32_t b, uint64_t id)
{
	stamp_fill(r->data, &key, id);
	return hist_read(r->t, N, b, &key, r->data, &r->f);
}

TEST(acknowledged_is_there)
{
	struct rig r = rig(true);
	uint64_t id = wrote(&r, 4);

	EXPECT_EQ(sees(&r, 4, id), HIST_FINE);
	id = wrote(&r, 4);
	EXPECT_EQ(sees(&r, 4, id), HIST_FINE);
}

/* Design rule 2: an acknowledged write that is not there was lost, be it an older one or zeroes that stand there. */
TEST(lost)
{
	struct rig r = rig(true);
	uint64_t old = wrote(&r, 4);

	wrote(&r, 4);
	EXPECT_EQ(sees(&r, 4, old), HIST_LOST);
	EXPECT_EQ(r.f.found, old);
	EXPECT_EQ(sees(&r, 4, old), HIST_FINE); /* one loss is one count */
	wrote(&r, 5);
	EXPECT_EQ(sees(&r, 5, 0), HIST_LOST);
}

/* A deallocation that did not arrive: the target still has the old data. */
TEST(lost_zeroes)
{
	struct rig r = rig(true);
	uint64_t id = wrote(&r, 4);

	hist_out(&r.t[4], 0);
	hist_ok(&r.t[4]);
	EXPECT_EQ(sees(&r, 4, id), HIST_LOST);
}

/* One sector of eight is enough. */
TEST(lost_in_part)
{
	struct rig r = rig(true);
	uint64_t old = wrote(&r, 4), new = wrote(&r, 4);
	uint8_t mix[STAMP_BLOCK];

	stamp_fill(mix, &key, new);
	stamp_fill(r.data, &key, old);
	memcpy(mix + 5 * 512, r.data + 5 * 512, 512);
	EXPECT_EQ(hist_read(r.t, N, 4, &key, mix, &r.f), HIST_LOST);
	EXPECT_EQ(r.f.sector, 5);
}

TEST(invented)
{
	struct rig r = rig(true);
	uint64_t id = wrote(&r, 4);

	EXPECT_EQ(sees(&r, 4, id + 1), HIST_INVENTED);		/* a generation that was never sent */
	id = wrote(&r, 5);
	stamp_fill(r.data, &key, id);
	r.data[100] ^= 1;					/* damaged */
	EXPECT_EQ(hist_read(r.t, N, 5, &key, r.data, &r.f), HIST_INVENTED);
	EXPECT_EQ(sees(&r, 6, stamp_id(6, 1)), HIST_INVENTED);	/* never written at all */
}

/* Another guest's data, or another run's, is not ours however well formed. */
TEST(invented_by_others)
{
	struct rig r = rig(true);
	struct stamp_key other = { 77, 4 };
	uint64_t id = wrote(&r, 4);

	stamp_fill(r.data, &other, id);
	EXPECT_EQ(hist_read(r.t, N, 4, &key, r.data, &r.f), HIST_INVENTED);
}

/* Data of one block found in another: written once, so it is not invented; what should be here is lost. */
TEST(misplaced)
{
	struct rig r = rig(true);
	uint64_t id = wrote(&r, 4);

	wrote(&r, 5);
	EXPECT_EQ(sees(&r, 5, id), HIST_LOST);
}

/* The right sectors in the wrong order. */
TEST(sectors_swapped)
{
	struct rig r = rig(true);
	uint8_t s[512];

	stamp_fill(r.data, &key, wrote(&r, 4));
	memcpy(s, r.data, 512);
	memcpy(r.data, r.data + 512, 512);
	memcpy(r.data + 512, s, 512);
	EXPECT_EQ(hist_read(r.t, N, 4, &key, r.data, &r.f), HIST_INVENTED);
}

/* A write without an answer may have happened or not; what the next read shows then holds. */
TEST(either_until_read)
{
	struct rig r = rig(true);
	uint64_t old = wrote(&r, 4), new = sent(&r, 4);

	EXPECT(!hist_certain(&r.t[4]));
	EXPECT_EQ(sees(&r, 4, new), HIST_FINE);
	EXPECT(hist_certain(&r.t[4]));
	EXPECT_EQ(sees(&r, 4, old), HIST_LOST);

	old = wrote(&r, 5), new = sent(&r, 5);
	EXPECT_EQ(sees(&r, 5, old), HIST_FINE);
	EXPECT_EQ(sees(&r, 5, new), HIST_LOST);	/* must not appear later */
}

/* While uncertain the same content is attempted again: there is never a third possibility. */
TEST(attempts_do_not_grow)
{
	struct rig r = rig(true);
	uint64_t old = wrote(&r, 4), new = sent(&r, 4);

	EXPECT_EQ(sent(&r, 4), new);
	EXPECT(!hist_may(&r.t[4], 0));
	EXPECT(hist_may(&r.t[4], new));
	EXPECT_EQ(sees(&r, 4, old), HIST_FINE);
	EXPECT(sent(&r, 4) != new);
}

/* A failed write of 512-byte blocks may be there in part: allowed, but it stays open. */
TEST(torn)
{
	struct rig r = rig(true);
	uint64_t old = wrote(&r, 4), new = sent(&r, 4);
	uint8_t mix[STAMP_BLOCK];

	stamp_fill(mix, &key, new);
	stamp_fill(r.data, &key, old);
	memcpy(mix, r.data, 2048);
	EXPECT_EQ(hist_read(r.t, N, 4, &key, mix, &r.f), HIST_TORN);
	EXPECT(!hist_certain(&r.t[4]));
	EXPECT_EQ(hist_read(r.t, N, 4, &key, mix, &r.f), HIST_TORN);
	EXPECT_EQ(sees(&r, 4, 0), HIST_LOST);
}

/* Before the first write anything may stand there, unless the area was promised to be zeroes. */
TEST(before_the_first_write)
{
	struct rig r = rig(false);

	memset(r.data, 0xa5, sizeof(r.data));
	EXPECT_EQ(hist_read(r.t, N, 4, &key, r.data, &r.f), HIST_FINE);
	EXPECT(hist_unknown(&r.t[4]));
	wrote(&r, 4);
	EXPECT_EQ(hist_read(r.t, N, 4, &key, r.data, &r.f), HIST_INVENTED);
	r = rig(true);
	memset(r.data, 0xa5, sizeof(r.data));
	EXPECT_EQ(hist_read(r.t, N, 4, &key, r.data, &r.f), HIST_INVENTED);
}

/* Copy: content keeps the name of where it was first written. */
TEST(copied)
{
	struct rig r = rig(true);
	uint64_t id = wrote(&r, 4), mine = wrote(&r, 9);

	hist_out(&r.t[9], r.t[4].a);
	hist_ok(&r.t[9]);
	EXPECT_EQ(sees(&r, 9, id), HIST_FINE);
	EXPECT_EQ(sees(&r, 9, mine), HIST_LOST);
}

/* ---- queue arithmetic, without a device */

static uint8_t mem[3 * 4096];
static uint32_t rung[4];

static int ring(struct port *p, unsigned index, uint32_t val)
{
	(void)p;
	rung[index % 4] = val;
	return 0;
}

static const struct port_ops bell_ops = { .doorbell = ring };
static struct port bell = { &bell_ops };

static void post(const struct hqueue *q, unsigned slot, uint16_t cid, uint16_t sqhd, bool phase)
{
	struct nvme_cqe c = { .cid = le16_of(cid), .sqhd = le16_of(sqhd), .sqid = le16_of((uint16_t)q->qid), .status = le16_of(phase) };

	memcpy(mem + q->cq_off + 16 * slot, &c, sizeof(c));
}

/* Base 3.3.1.2: size - 1 commands fill a queue; the phase flips with each round. */
TEST(queue_rounds)
{
	struct nvme_sqe s = { .opc = 2 };
	struct nvme_cqe c;
	struct hqueue q;

	memset(mem, 0xff, sizeof(mem));
	hqueue_init(&q, mem, 1, 4, 0, 4096);
	EXPECT(!hqueue_reap(&q, mem, &c)); /* what stood in the memory before is not a completion */
	for (unsigned i = 0; i < 50; i++) {
		unsigned phase = 1 ^ (i / 4 & 1);

		s.cid = le16_of((uint16_t)i);
		EXPECT(hqueue_push(&q, mem, &s));
		EXPECT_EQ(le16_get(((struct nvme_sqe *)(void *)mem)[i % 4].cid), i);
		hqueue_kick(&q, &bell);
		EXPECT_EQ(rung[2], (i + 1) % 4);
		post(&q, i % 4, (uint16_t)i, 0, phase);
		EXPECT(hqueue_reap(&q, mem, &c));
		EXPECT_EQ(le16_get(c.cid), i);
		EXPECT(!hqueue_reap(&q, mem, &c));
		hqueue_ack(&q, &bell);
		EXPECT_EQ(rung[3], (i + 1) % 4);
	}
}

TEST(queue_full)
{
	struct nvme_sqe s = { .opc = 2 };
	struct hqueue q;

	hqueue_init(&q, mem, 1, 4, 0, 4096);
	for (int i = 0; i < 3; i++)
		EXPECT(hqueue_push(&q, mem, &s));
	EXPECT(!hqueue_push(&q, mem, &s));
	EXPECT_EQ(q.sq_tail, 3);
}

/* A hostile controller: heads outside the ring, completions nobody asked for. The counts stay inside. */
TEST(queue_lies)
{
	struct nvme_sqe s = { .opc = 2 };
	struct nvme_cqe c;
	struct hqueue q;

	hqueue_init(&q, mem, 1, 4, 0, 4096);
	for (unsigned i = 0; i < 4; i++)
		post(&q, i, 999, 60000, true);
	for (unsigned i = 0; i < 4; i++)
		EXPECT(hqueue_reap(&q, mem, &c));
	EXPECT(!hqueue_reap(&q, mem, &c)); /* second round needs the other phase */
	EXPECT_EQ(q.out, 0);
	EXPECT(q.sq_head < 4);
	EXPECT(hqueue_push(&q, mem, &s));
}

/* The whole queue is numbers: a copy goes on where the first one was. */
TEST(queue_relocates)
{
	static uint8_t other[sizeof(mem)];
	struct nvme_sqe s = { .opc = 2, .cid = le16_of(5) };
	struct nvme_cqe c;
	struct hqueue q, moved;

	hqueue_init(&q, mem, 1, 4, 0, 4096);
	hqueue_push(&q, mem, &s);
	post(&q, 0, 5, 1, true);
	memcpy(other, mem, sizeof(mem));
	moved = q;
	memset(mem, 0, sizeof(mem));
	EXPECT(hqueue_reap(&moved, other, &c));
	EXPECT_EQ(le16_get(c.cid), 5);
}
