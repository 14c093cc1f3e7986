/* The embedded guest against a small controller of the tests' own (fake_nvme.h): it must run clean for long, survive being
 * copied in the middle of its queues, and must notice every kind of damage. What it does not notice, no test of a move would.
 */
#include "t.h"

#include <errno.h>

#include "fake_nvme.h"
#include "vm/embedded/guest_in.h"

enum { MEM = 16 << 20, DISK = 8 << 20, AREA_OFF = 1 << 20, AREA = 6 << 20 };

struct bench {
	struct env env;
	uint64_t now;
	struct fake f;
	struct guest_host h;
	uint64_t dirty[MEM / 4096 / 64];
	struct err err;
};

static uint64_t bench_now(struct env *e) { return CONTAINER_OF(e, struct bench, env)->now += 1000; }
static const struct env_ops bench_env = { .now_ns = bench_now };

static void bench_open(struct bench *b, struct guest_cfg cfg)
{
	memset(b, 0, sizeof(*b));
	b->env.ops = &bench_env;
	b->now = NS_PER_S;
	fake_open(&b->f, DISK);
	memset(b->f.disk, 0x5a, AREA_OFF); /* what an earlier owner left: the protected part */
	b->h = (struct guest_host){ .mem = aligned_alloc(4096, MEM), .bytes = MEM, .fd = -1, .port = &b->f.port, .env = &b->env,
				    .dirty = b->dirty };
	memset(b->h.mem, 0, MEM);
	cfg.id = 5;
	cfg.seed = cfg.seed ? cfg.seed : 42;
	cfg.area_off = AREA_OFF;
	cfg.area_bytes = AREA;
	cfg.protect_bytes = AREA_OFF;
	cfg.area_zeroed = 1;
	EXPECT_EQ(guest_init(&b->h, &cfg, &b->err), 0);
	EXPECT_EQ(guest_attach(&b->h, &b->err), 0);
}

static void bench_close(struct bench *b)
{
	free(b->h.mem);
	free(b->f.disk);
}

#define BENCH(b, ...) struct bench b __attribute__((cleanup(bench_close))); bench_open(&b, (struct guest_cfg){ __VA_ARGS__ })

static uint64_t total(const struct guest_stats *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < GUEST_OP_COUNT; i++)
		n += s->done[i];
	return n;
}

static void turn(struct bench *b)
{
	guest_poll(&b->h, 4);
	fake_poll(&b->f, 3); /* slower than the guest: its queues fill */
}

static void run_until(struct bench *b, uint64_t ops)
{
	const struct guest_stats *s = guest_stats(&b->h);

	for (uint64_t i = 0; i < 100000 + 4 * ops && total(s) < ops && s->state < GUEST_LOST; i++)
		turn(b);
}

static void verify(struct bench *b)
{
	uint64_t before = guest_stats(&b->h)->verify_passes;

	guest_set_mode(&b->h, GUEST_VERIFY);
	for (int i = 0; i < 100000 && guest_stats(&b->h)->verify_passes == before; i++)
		turn(b);
	EXPECT_EQ(guest_stats(&b->h)->verify_passes, before + 1);
}

static void expect_clean(struct bench *b)
{
	const struct guest_stats *s = guest_stats(&b->h);

	for (unsigned i = 0; i < GUEST_BAD_COUNT; i++)
		if (s->bad[i])
			print_message("%s: %llu, first: %s block %u sector %u a %llx b %llx found %llx\n", guest_violation_name(i),
				      (unsigned long long)s->bad[i], guest_op_name(s->detail[0].op), s->detail[0].block,
				      s->detail[0].sector, (unsigned long long)s->detail[0].a,
				      (unsigned long long)s->detail[0].b, (unsigned long long)s->detail[0].found);
	EXPECT_EQ(guest_violations(s), 0);
}

/* All operations, a full pass at the end, and the protected part as it was. */
TEST(runs_clean)
{
	BENCH(b, .queues = 3);
	uint8_t *same = malloc(AREA_OFF);

	run_until(&b, 30000);
	verify(&b);
	expect_clean(&b);
	for (unsigned i = 0; i < GUEST_OP_COUNT; i++)
		EXPECT(guest_stats(&b.h)->done[i] > 20);
	EXPECT(guest_stats(&b.h)->blocks_checked > AREA / 4096);
	EXPECT(guest_stats(&b.h)->pages_touched > 1000);
	memset(same, 0x5a, AREA_OFF);
	EXPECT_MEM(b.f.disk, same, AREA_OFF);
	free(same);
}

/* Frozen anywhere, copied elsewhere, it goes on: the first image is scribbled over to prove that nothing points back. */
TEST(relocates)
{
	BENCH(b, .depth = 64);
	struct err err;

	for (unsigned move = 1; move <= 20; move++) {
		uint8_t *other = aligned_alloc(4096, MEM);

		run_until(&b, move * 500);
		for (unsigned k = 0; k < move; k++)
			guest_poll(&b.h, 7);
		EXPECT(guest_stats(&b.h)->out > 0);
		memcpy(other, b.h.mem, MEM);
		memset(b.h.mem, 0xee, MEM);
		free(b.h.mem);
		b.h.mem = other;
		b.f.host = other;	/* the controller's state moved as well */
		EXPECT_EQ(guest_check(&b.h, &err), 0);
	}
	run_until(&b, 12000);
	verify(&b);
	expect_clean(&b);
}

/* Even in the middle of bringing the controller up. */
TEST(relocates_while_booting)
{
	BENCH(b, .queues = 4);

	for (int i = 0; i < 60; i++) {
		uint8_t *other = aligned_alloc(4096, MEM);

		turn(&b);
		memcpy(other, b.h.mem, MEM);
		free(b.h.mem);
		b.h.mem = other;
		b.f.host = other;
	}
	run_until(&b, 1000);
	EXPECT(total(guest_stats(&b.h)) >= 1000);
	expect_clean(&b);
}

/* The collector's promise: an image kept up to date from dirty bits alone (and the device's own writes) equals the memory. */
TEST(dirty_bits_are_complete)
{
	BENCH(b, .depth = 16);
	uint8_t *copy = malloc(MEM), *before = malloc(MEM);

	memcpy(copy, b.h.mem, MEM);
	memset(b.dirty, 0, sizeof(b.dirty));
	for (int i = 0; i < 4000; i++) {
		guest_poll(&b.h, 4);
		for (unsigned p = 0; p < MEM / 4096; p++)
			if (b.dirty[p / 64] >> p % 64 & 1)
				memcpy(copy + 4096 * p, b.h.mem + 4096 * p, 4096);
		memset(b.dirty, 0, sizeof(b.dirty));
		if (i % 200 == 0) { /* at times, else this would take long */
			EXPECT_MEM(copy, b.h.mem, MEM);
		}
		memcpy(before, b.h.mem, MEM * (i % 200 == 199));
		fake_poll(&b.f, 3); /* the device's writes: Track Receive's business */
		if (i % 200 == 199)
			memcpy(copy, b.h.mem, MEM);
		else
			for (unsigned p = 0; p < MEM / 4096; p++)
				if (p >= guest_of(&b.h)->admin_off / 4096 && p < guest_of(&b.h)->ballast_gen_off / 4096)
					memcpy(copy + 4096 * p, b.h.mem + 4096 * p, 4096);
	}
	EXPECT_MEM(copy, b.h.mem, guest_of(&b.h)->admin_off);
	EXPECT_MEM(copy + guest_of(&b.h)->ballast_gen_off, b.h.mem + guest_of(&b.h)->ballast_gen_off,
		   MEM - guest_of(&b.h)->ballast_gen_off);
	EXPECT(guest_stats(&b.h)->done[GUEST_WRITE] > 100);
	free(copy);
	free(before);
}

/* ---- it must notice */

static bool find_stamped(struct bench *b, uint32_t *block)
{
	struct hist *t = guest_hist(&b->h);

	for (*block = 0; *block < guest_of(&b->h)->area; ++*block)
		if (hist_certain(&t[*block]) && t[*block].a)
			return true;
	return false;
}

TEST(notices_one_flipped_bit)
{
	BENCH(b);
	uint32_t block;

	run_until(&b, 3000);
	guest_set_mode(&b.h, GUEST_IDLE);
	for (int i = 0; i < 100; i++)
		turn(&b);
	EXPECT(find_stamped(&b, &block));
	b.f.disk[AREA_OFF + 4096ull * block + 1234] ^= 4;
	verify(&b);
	EXPECT_EQ(guest_stats(&b.h)->bad[GUEST_BAD_INVENTED], 1);
	EXPECT_EQ(guest_stats(&b.h)->detail[0].block, block);
	EXPECT_EQ(guest_stats(&b.h)->detail[0].sector, 2);
	EXPECT_EQ(guest_violations(guest_stats(&b.h)), 1);
}

/* A block that went back in time: what a mover that missed a dirty bit leaves behind. */
TEST(notices_an_old_block)
{
	BENCH(b);
	uint8_t *old = malloc(DISK);

	run_until(&b, 2000);
	memcpy(old, b.f.disk, DISK);
	run_until(&b, 8000);
	guest_set_mode(&b.h, GUEST_IDLE);
	for (int i = 0; i < 100; i++)
		turn(&b);
	memcpy(b.f.disk + AREA_OFF, old + AREA_OFF, AREA);
	verify(&b);
	EXPECT(guest_stats(&b.h)->bad[GUEST_BAD_LOST] > 100);
	EXPECT_EQ(guest_stats(&b.h)->bad[GUEST_BAD_INVENTED], 0); /* all of it was written once */
	free(old);
}

TEST(notices_an_acknowledged_write_not_done)
{
	BENCH(b, .seed = 9);

	run_until(&b, 500);
	b.f.lose_in = 10;
	run_until(&b, 3000);
	verify(&b);
	EXPECT(guest_violations(guest_stats(&b.h)) > 0);
}

TEST(notices_another_controller)
{
	BENCH(b);

	run_until(&b, 1000);
	b.f.sn = 'X';
	run_until(&b, 2000);
	EXPECT(guest_stats(&b.h)->bad[GUEST_BAD_IDENTITY] > 0);
}

TEST(notices_lost_memory)
{
	BENCH(b);
	struct guest *g = guest_of(&b.h);

	run_until(&b, 20000);
	EXPECT_EQ(guest_violations(&g->st), 0);
	memset(b.h.mem + g->ballast_off, 0, (uint64_t)g->ballast * 4096);
	run_until(&b, 21000);
	EXPECT(g->st.bad[GUEST_BAD_MEMORY] > 0);
}

TEST(notices_a_command_that_never_completes)
{
	BENCH(b, .timeout_ns = NS_PER_S);

	run_until(&b, 1000);
	b.f.mute = true;
	for (int i = 0; i < 100; i++) {
		b.now += 20 * NS_PER_MS;
		turn(&b);
	}
	EXPECT_EQ(guest_stats(&b.h)->bad[GUEST_BAD_OVERDUE], guest_stats(&b.h)->out + (guest_of(&b.h)->admin_out != 0));
}

TEST(notices_completions_for_nothing)
{
	BENCH(b);

	run_until(&b, 100);
	b.f.flood = 5;
	run_until(&b, 2000);
	EXPECT(guest_stats(&b.h)->bad[GUEST_BAD_STRAY] >= 1);
	EXPECT_EQ(guest_stats(&b.h)->bad[GUEST_BAD_LOST], 0);
}

/* ---- it must not cry wolf */

/* A command that fails may have happened or not. */
TEST(failures_leave_either)
{
	BENCH(b);

	for (int i = 0; i < 400; i++) {
		b.f.fail_in = 1 + (unsigned)i % 7;
		b.f.fail_did_it = i & 1;
		run_until(&b, 50 * (unsigned)(i + 1));
	}
	b.f.fail_in = 0;
	verify(&b);
	EXPECT(guest_stats(&b.h)->errors[GUEST_WRITE] > 20);
	EXPECT(guest_stats(&b.h)->resolved > 10);
	expect_clean(&b);
}

/* The server dies with commands out, some done and some not; a new controller with the same data is given. */
TEST(survives_a_lost_controller)
{
	BENCH(b, .depth = 64);

	for (unsigned i = 1; i <= 30; i++) {
		run_until(&b, 300 * i);
		guest_poll(&b.h, 20);
		fake_poll(&b.f, i % 5);
		b.f.gone = true;
		for (int k = 0; k < 300 && guest_stats(&b.h)->state == GUEST_RUN; k++) {
			b.now += NS_PER_MS;
			guest_poll(&b.h, 4);
		}
		EXPECT_EQ(guest_stats(&b.h)->state, GUEST_LOST);
		EXPECT(!guest_poll(&b.h, 4));
		b.f.gone = false;
		b.f.csts = 0;
		guest_reattach(&b.h);
	}
	run_until(&b, 10000);
	verify(&b);
	EXPECT_EQ(guest_stats(&b.h)->resets, 30);
	EXPECT(guest_stats(&b.h)->unknown > 100);
	expect_clean(&b);
}

/* ---- configuration, damage, statistics */

TEST(refuses_what_does_not_fit)
{
	BENCH(b);
	struct guest_cfg c = { .area_bytes = 1ull << 40 };

	EXPECT_EQ(guest_init(&b.h, &c, &b.err), -ENOSPC);
	c = (struct guest_cfg){ .area_bytes = 4095 };
	EXPECT_EQ(guest_init(&b.h, &c, &b.err), -EINVAL);
	c = (struct guest_cfg){ .area_bytes = 0 };
	EXPECT_EQ(guest_init(&b.h, &c, &b.err), -EINVAL);
	c = (struct guest_cfg){ .area_bytes = 8192, .protect_off = 4096, .protect_bytes = 4096 };
	EXPECT_EQ(guest_init(&b.h, &c, &b.err), -EINVAL);
}

TEST(namespace_too_small)
{
	BENCH(b);

	b.f.blocks = 100;
	run_until(&b, 10);
	EXPECT_EQ(guest_stats(&b.h)->state, GUEST_FAILED);
	EXPECT(strstr(guest_stats(&b.h)->why, "smaller"));
}

/* Memory that came from elsewhere is checked before it is run. */
TEST(damaged_image_is_refused)
{
	BENCH(b);
	struct guest *g;

	run_until(&b, 500);
	g = guest_of(&b.h);
	EXPECT_EQ(guest_check(&b.h, &b.err), 0);
	g->hist_off += 4096;
	EXPECT_EQ(guest_check(&b.h, &b.err), -EPROTO);
	g->hist_off -= 4096;
	g->q[1].sq_tail = 9999;
	EXPECT_EQ(guest_check(&b.h, &b.err), -EPROTO);
	g->q[1].sq_tail = 0;
	guest_cmds(&b.h)[0] = (struct guest_cmd){ .out = 1, .nr = 200 };
	EXPECT_EQ(guest_check(&b.h, &b.err), -EPROTO);
	memset(b.h.mem, 0, 4096);
	EXPECT_EQ(guest_check(&b.h, &b.err), -EPROTO);
}

/* The gap a guest feels is between completions while something is out; an idle time is none. */
TEST(gap_is_recorded)
{
	BENCH(b);
	uint64_t before;

	run_until(&b, 1000);
	before = guest_stats(&b.h)->max_gap_ns;
	EXPECT(before < 10 * NS_PER_MS);
	for (int i = 0; i < 100 && !guest_stats(&b.h)->out; i++)
		guest_poll(&b.h, 4);
	b.now += 40 * NS_PER_MS;
	run_until(&b, 1100);
	EXPECT(guest_stats(&b.h)->max_gap_ns >= 40 * NS_PER_MS);
	EXPECT(guest_stats(&b.h)->max_gap_ns < 50 * NS_PER_MS);
	EXPECT(guest_stats(&b.h)->max_stall_ns >= 40 * NS_PER_MS);
	EXPECT(guest_stats(&b.h)->gaps >= 1);
	guest_set_mode(&b.h, GUEST_IDLE);
	for (int i = 0; i < 1000 && guest_stats(&b.h)->out; i++)
		turn(&b);
	b.now += 500 * NS_PER_MS;
	guest_set_mode(&b.h, GUEST_WORK);
	run_until(&b, 1500);
	EXPECT(guest_stats(&b.h)->max_gap_ns < 50 * NS_PER_MS);
}

/* Another machine's clock may be behind: nothing becomes overdue, no gap of centuries. */
TEST(clock_goes_back)
{
	BENCH(b);

	b.now = 1000 * NS_PER_S;
	run_until(&b, 1000);
	b.now = 5 * NS_PER_S;
	run_until(&b, 3000);
	EXPECT(guest_stats(&b.h)->max_gap_ns < NS_PER_S);
	EXPECT(total(guest_stats(&b.h)) >= 3000);
	expect_clean(&b);
}

/* The cap holds over time (clock of the test's own): at most a tenth above. */
TEST(rate_cap)
{
	BENCH(b, .rate = 10 << 20, .weight = { [GUEST_WRITE] = 1 });
	uint64_t start, bytes;

	run_until(&b, 5);
	start = b.now;
	bytes = guest_stats(&b.h)->bytes_written;
	for (int i = 0; i < 20000; i++) {
		b.now += 100 * NS_PER_US;
		turn(&b);
	}
	bytes = guest_stats(&b.h)->bytes_written - bytes;
	EXPECT(bytes < (double)(b.now - start) / 1e9 * (11 << 20));
	EXPECT(bytes > (double)(b.now - start) / 1e9 * (8 << 20));
}
