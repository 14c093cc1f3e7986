/* A disk that does not answer: which requests are told of, when, how often, and that it is told when they are done after all. */
#include "cmds.h"

static struct { struct nvme_slow last; unsigned begun, over; } heard;

static void hear(void *ctx, const struct nvme_slow *s)
{
	EXPECT(ctx == &heard);
	heard.last = *s;
	heard.begun += !s->over;
	heard.over += s->over;
}

#define SLOW_RIG(r, ...)                                                                                                   \
	RIG(r, .queues = 1, .wrap = spy_open, .ss = { .slow = hear, .slow_ctx = &heard, .slow_ns = 5 * NS_PER_S }, __VA_ARGS__); \
	memset(&heard, 0, sizeof(heard))

static void look_after(struct rig *r, uint64_t seconds)
{
	for (uint64_t i = 0; i < seconds; i++) {
		r->now += NS_PER_S;
		nvme_subsys_look(r->ss);
	}
}

static unsigned slow_now(struct rig *r, uint32_t nsid, uint64_t *oldest_ns)
{
	unsigned n;

	nvme_ns_slow(nvme_ns_find(r->ss, nsid), &n, oldest_ns);
	return n;
}

/* Once, with what a person needs to find it; and once more when it is done. Not before its time, not again and again. */
TEST(a_request_is_told_of_once_and_when_it_is_done)
{
	SLOW_RIG(r);
	struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 40, 8);
	uint8_t *p = memset(rig_alloc(&r, r.mc, 4096), 0x44, 4096);
	uint64_t oldest;
	uint16_t cid;

	spy_last->hold = 1 << BLK_WRITE;
	rig_data(&r, r.mc, &s, p, 4096);
	cid = rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	look_after(&r, 5);	/* the first look only finds it */
	EXPECT_EQ(heard.begun, 0);
	EXPECT_EQ(slow_now(&r, 1, &oldest), 0);
	look_after(&r, 1);
	EXPECT_EQ(heard.begun, 1);
	EXPECT(heard.last.ns == nvme_ns_find(r.ss, 1) && heard.last.op == BLK_WRITE && !heard.last.over);
	EXPECT(heard.last.lba == 40 && heard.last.nlb == 8 && heard.last.age_ns == 5 * NS_PER_S);
	look_after(&r, 60);
	EXPECT_EQ(heard.begun, 1);
	EXPECT_EQ(heard.over, 0);
	EXPECT_EQ(slow_now(&r, 1, &oldest), 1);
	EXPECT_EQ(oldest, 65 * NS_PER_S);
	spy_release(spy_last);
	EXPECT_STATUS(rig_wait(&r, r.mc, 1, cid), NVME_SUCCESS);
	EXPECT_EQ(heard.over, 1);
	EXPECT(heard.last.over && heard.last.lba == 40 && heard.last.rc == 0 && heard.last.age_ns == 65 * NS_PER_S);
	EXPECT_EQ(slow_now(&r, 1, &oldest), 0);
	EXPECT_EQ(oldest, 0);
	look_after(&r, 60);
	EXPECT_EQ(heard.begun + heard.over, 2);
}

/* The next command has the same place in memory: it does not inherit the age of the one before. */
TEST(a_busy_disk_is_not_slow)
{
	SLOW_RIG(r);

	for (unsigned i = 0; i < 20; i++) {
		struct nvme_sqe s = rig_rw(NVME_NVM_WRITE, 1, 40, 8);
		uint8_t *p = memset(rig_alloc(&r, r.mc, 4096), 0x44, 4096);
		uint16_t cid;

		spy_last->hold = 1 << BLK_WRITE;
		rig_data(&r, r.mc, &s, p, 4096);
		cid = rig_submit(&r, r.mc, 1, s);
		rig_settle(&r);
		look_after(&r, 2);
		spy_release(spy_last);
		EXPECT_STATUS(rig_wait(&r, r.mc, 1, cid), NVME_SUCCESS);
	}
	EXPECT_EQ(heard.begun + heard.over, 0);
}

/* A guest with many commands at a dead disk fills no log at once; but each is told of. Its queue may be gone by then. */
TEST(many_are_told_of_a_few_at_a_time)
{
	SLOW_RIG(r, .qsize = 128);
	uint64_t oldest;

	spy_last->hold = 1 << BLK_FLUSH;
	for (unsigned i = 0; i < 100; i++)
		rig_submit(&r, r.mc, 1, (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(1) });
	rig_settle(&r);
	look_after(&r, 6);
	EXPECT_EQ(heard.begun, 32);
	EXPECT_EQ(heard.last.op, BLK_FLUSH);
	EXPECT_EQ(slow_now(&r, 1, &oldest), 100);
	look_after(&r, 2);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);	/* reset: they are orphans */
	look_after(&r, 10);
	EXPECT_EQ(heard.begun, 100);
	spy_release(spy_last);
	rig_settle(&r);
	EXPECT_EQ(heard.over, 100);
}

TEST(nobody_who_wants_to_know)
{
	RIG(r, .queues = 1, .wrap = spy_open, .ss = { .slow = hear, .slow_ctx = &heard });

	memset(&heard, 0, sizeof(heard));
	spy_last->hold = 1 << BLK_FLUSH;
	rig_submit(&r, r.mc, 1, (struct nvme_sqe){ .opc = NVME_NVM_FLUSH, .nsid = le32_of(1) });
	rig_settle(&r);
	look_after(&r, 100);
	EXPECT_EQ(heard.begun, 0);
	spy_release(spy_last);
	rig_settle(&r);
	EXPECT_EQ(heard.over, 0);
}
