/* env/sim: a world that can be trusted to be cruel in the same way twice. */
#include "t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "env/sim/sim.h"

enum { MILLION = 1000000 };

struct chat {	/* two nodes and a stream between them */
	struct sim *w;
	struct env *a, *b;
	struct env_conn *ca, *cb;
};

static void chat_open(struct chat *t, uint64_t seed, const struct sim_knobs *k)
{
	struct err e;

	t->w = sim_new(seed, k);
	t->a = sim_env_new(t->w, "a");
	t->b = sim_env_new(t->w, "b");
	sim_listen(t->b);
	t->ca = env_connect(t->a, "sim:b", &e);
	EXPECT(t->ca);
	while (!(t->cb = sim_accept(t->b)))
		EXPECT(sim_advance(t->w, UINT64_MAX));
}

static void chat_close(struct chat *t)
{
	if (t->ca)
		env_conn_close(t->ca);
	if (t->cb)
		env_conn_close(t->cb);
	sim_free(t->w);
}

static ssize_t say(struct env_conn *c, const void *p, size_t n)
{
	struct iovec v[2] = { { (void *)p, n / 2 }, { (uint8_t *)p + n / 2, n - n / 2 } };

	return env_conn_send(c, v, 2);
}

/* Until the end has an answer other than "again". */
static ssize_t hear(struct chat *t, struct env_conn *c, void *p, size_t cap)
{
	ssize_t n;

	while ((n = env_conn_recv(c, p, cap)) == -EAGAIN)
		EXPECT(sim_advance(t->w, UINT64_MAX));
	return n;
}

static void say_all(struct chat *t, struct env_conn *c, const char *text)
{
	size_t at = 0, len = strlen(text);

	while (at < len) {
		ssize_t n = say(c, text + at, len - at);

		if (n == -EAGAIN)
			EXPECT(sim_advance(t->w, UINT64_MAX));
		else
			EXPECT(n > 0);
		at += n > 0 ? (size_t)n : 0;
	}
}

static uint8_t byte_at(uint64_t i) { return (uint8_t)(i * 31 + (i >> 8)); }

/* Sends total bytes from one end to the other while time passes; how many arrived, in order, before the stream ended. */
static size_t pour(struct chat *t, struct env_conn *from, struct env_conn *to, size_t total, size_t *sent_out)
{
	uint8_t buf[5000];
	size_t sent = 0, got = 0;
	bool out = true, in = true;

	while (in) {
		bool busy = false;
		ssize_t n;

		if (out && sent < total) {
			size_t len = MIN(sizeof(buf), total - sent);

			for (size_t i = 0; i < len; i++)
				buf[i] = byte_at(sent + i);
			n = say(from, buf, len);
			busy |= n > 0;
			sent += n > 0 ? (size_t)n : 0;
			out = n > 0 || n == -EAGAIN;
		}
		n = env_conn_recv(to, buf, sizeof(buf));
		busy |= n > 0;
		for (ssize_t i = 0; i < n; i++)
			EXPECT_EQ(buf[i], byte_at(got + (size_t)i));
		got += n > 0 ? (size_t)n : 0;
		in = (n > 0 || n == -EAGAIN) && got < total;
		if (in && !busy && !sim_advance(t->w, UINT64_MAX))
			break;
	}
	*sent_out = sent;
	return got;
}

TEST(order_and_bytes_are_preserved)
{
	static const struct sim_knobs k[] = {
		{ 0 },
		{ SIM_KNOBS_MILD },
		{ .delay_min_ns = 1, .delay_max_ns = 10 * NS_PER_MS, .split_per_million = 900000, .again_per_million = 300000,
		  .window_bytes = 1000, .bytes_per_s = 1000000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(k); i++)
		for (uint64_t seed = 1; seed <= 5; seed++) {
			struct chat t;
			size_t sent;

			chat_open(&t, seed, &k[i]);
			EXPECT_EQ(pour(&t, t.ca, t.cb, 200000, &sent), 200000);
			EXPECT_EQ(pour(&t, t.cb, t.ca, 100000, &sent), 100000);
			chat_close(&t);
		}
}

TEST(orderly_end_comes_after_the_last_byte)
{
	struct chat t;
	char buf[16];
	ssize_t n;

	chat_open(&t, 1, &(struct sim_knobs){ SIM_KNOBS_MILD });
	say_all(&t, t.ca, "farewell");
	env_conn_close(t.ca);
	t.ca = NULL;
	for (size_t got = 0; got < 8; got += (size_t)n)
		EXPECT((n = hear(&t, t.cb, buf, sizeof(buf))) > 0);
	EXPECT_EQ(hear(&t, t.cb, buf, sizeof(buf)), 0);
	EXPECT_EQ(hear(&t, t.cb, buf, sizeof(buf)), 0);
	EXPECT(say(t.cb, "x", 1) == -EPIPE);
	chat_close(&t);
}

/* A cut may take only what was on its way: never a byte from the middle, never one that is made up. */
TEST(cut_loses_the_tail_only)
{
	int cuts = 0, tails = 0;

	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct chat t;
		size_t sent, got;

		chat_open(&t, seed, &(struct sim_knobs){ SIM_KNOBS_MILD, .cut_per_million = 20000 });
		got = pour(&t, t.ca, t.cb, 400000, &sent); /* checks each byte */
		EXPECT(got <= sent);
		if (got < 400000) {
			uint8_t b;

			cuts++;
			tails += got < sent;
			EXPECT(hear(&t, t.cb, &b, 1) == -ECONNRESET);
			EXPECT(hear(&t, t.ca, &b, 1) == -ECONNRESET);
			EXPECT(say(t.ca, "x", 1) == -ECONNRESET);
		}
		chat_close(&t);
	}
	EXPECT(cuts > 10 && tails > 10);
}

/* A peer that lost power says nothing: the manager's own patience must end it, so the world must offer that. */
TEST(deaf_side_hears_nothing_for_ever)
{
	struct chat t;
	char b[8];
	bool deaf_a, deaf_b;

	chat_open(&t, 3, &(struct sim_knobs){ SIM_KNOBS_MILD, .deaf_per_million = MILLION });
	say_all(&t, t.ca, "lost");
	sim_link_cut(t.w, "a", "b");
	while (sim_advance(t.w, UINT64_MAX))
		;
	deaf_a = env_conn_recv(t.ca, b, 8) == -EAGAIN;
	deaf_b = env_conn_recv(t.cb, b, 8) == -EAGAIN;
	EXPECT(deaf_a != deaf_b);
	sim_knobs(t.w)->again_per_million = sim_knobs(t.w)->split_per_million = 0;
	for (int i = 0; i < 65536 / 4; i++) /* it may go on talking until its window is full */
		EXPECT(say(deaf_a ? t.ca : t.cb, "into", 4) != -ECONNRESET);
	EXPECT(say(deaf_a ? t.ca : t.cb, "x", 1) == -EAGAIN);
	chat_close(&t);
}

TEST(window_and_bandwidth_hold_back)
{
	struct sim_knobs k = { .delay_min_ns = 5, .delay_max_ns = 5, .window_bytes = 100, .bytes_per_s = 1000 };
	uint8_t buf[200] = { 0 };
	struct chat t;
	uint64_t began;

	chat_open(&t, 1, &k);
	began = sim_now_ns(t.w);
	EXPECT_EQ(say(t.ca, buf, 200), 100);
	EXPECT(say(t.ca, buf, 1) == -EAGAIN);
	EXPECT_EQ(hear(&t, t.cb, buf, 200), 100);
	EXPECT_EQ(sim_now_ns(t.w) - began, 100 * NS_PER_MS + 5); /* 100 bytes at 1000/s, and the way */
	EXPECT_EQ(say(t.ca, buf, 200), 100);
	chat_close(&t);
}

TEST(connect_to_nobody_is_refused)
{
	struct sim *w = sim_new(1, &(struct sim_knobs){ SIM_KNOBS_MILD });
	struct env *a = sim_env_new(w, "a"), *b = sim_env_new(w, "b");
	struct err e = { "" };
	struct env_conn *c;
	char buf[4];

	EXPECT(!env_connect(a, "sim:nobody", &e));
	EXPECT(!env_connect(a, "tcp:b:1", &e));
	EXPECT(e.text[0]);
	c = env_connect(a, "sim:b", &e); /* is up, does not listen */
	EXPECT(env_conn_recv(c, buf, 4) == -EAGAIN);
	EXPECT(sim_advance(w, UINT64_MAX));
	EXPECT(env_conn_recv(c, buf, 4) == -ECONNREFUSED);
	EXPECT(say(c, "x", 1) == -ECONNREFUSED);
	env_conn_close(c);
	sim_knobs(w)->refuse_per_million = MILLION;
	sim_listen(b);
	c = env_connect(a, "sim:b", &e);
	EXPECT(sim_advance(w, UINT64_MAX));
	EXPECT(env_conn_recv(c, buf, 4) == -ECONNREFUSED);
	EXPECT(!sim_accept(b));
	env_conn_close(c);
	EXPECT(!sim_advance(w, UINT64_MAX)); /* nothing will ever happen */
	sim_free(w);
}

/* An outage delays by its length and loses nothing. */
TEST(link_down_stalls_and_up_delivers)
{
	struct chat t;
	char buf[8];
	struct env_conn *late;
	struct err e;
	uint64_t up;

	chat_open(&t, 1, &(struct sim_knobs){ .delay_min_ns = 100, .delay_max_ns = 100 });
	EXPECT_EQ(say(t.ca, "one", 3), 3);
	sim_link_set(t.w, "b", "a", false);
	EXPECT_EQ(say(t.ca, "two", 3), 3);
	late = env_connect(t.b, "sim:a", &e);
	sim_listen(t.a);
	EXPECT(!sim_advance(t.w, UINT64_MAX));
	EXPECT(sim_advance(t.w, sim_now_ns(t.w) + NS_PER_S));
	EXPECT(env_conn_recv(t.cb, buf, 8) == -EAGAIN);
	EXPECT(!sim_accept(t.a));
	sim_link_set(t.w, "a", "b", true);
	up = sim_now_ns(t.w);
	EXPECT_EQ(hear(&t, t.cb, buf, 8), 6);
	EXPECT_MEM(buf, "onetwo", 6);
	EXPECT_EQ(sim_now_ns(t.w), up + 100);
	env_conn_close(late);
	late = sim_accept(t.a);
	EXPECT(late); /* it arrived; that its maker left is read from it */
	env_conn_close(late);
	chat_close(&t);
}

/* ---- crashes and records ---- */

TEST(crash_keeps_records_and_breaks_streams)
{
	struct chat t;
	struct env *again;
	struct env_conn *d;
	struct err e;
	char buf[16];
	uint64_t r1, r2;

	chat_open(&t, 1, &(struct sim_knobs){ SIM_KNOBS_MILD });
	EXPECT_EQ(env_rec_store(t.b, "own", "epoch 1", 7), 0);
	env_random(t.b, &r1, 8);
	d = env_connect(t.a, "sim:b", &e); /* on its way when it happens */
	sim_node_crash(t.w, "b");
	EXPECT(!sim_node_up(t.w, "b"));
	/* what the dead server's code still does has no effect */
	EXPECT(env_rec_store(t.b, "own", "epoch 2", 7) == -EIO);
	EXPECT(env_rec_load(t.b, "own", buf, 16) == -EIO);
	EXPECT(say(t.cb, "ghost", 5) == -ECONNRESET);
	EXPECT(env_conn_recv(t.cb, buf, 16) == -ECONNRESET);
	EXPECT(!sim_accept(t.b));
	EXPECT(hear(&t, t.ca, buf, 16) == -ECONNRESET);
	EXPECT(hear(&t, d, buf, 16) == -ECONNREFUSED);
	env_conn_close(d);
	again = sim_env_new(t.w, "b");
	EXPECT(again && again != t.b && sim_node_up(t.w, "b"));
	EXPECT_EQ(sim_node_boots(t.w, "b"), 2);
	EXPECT(env_rec_store(t.b, "own", "epoch 2", 7) == -EIO); /* the old boot stays dead */
	EXPECT_EQ(env_rec_load(again, "own", buf, 16), 7);
	EXPECT_MEM(buf, "epoch 1", 7);
	EXPECT(env_rec_load(t.a, "own", buf, 16) == -ENOENT); /* per node */
	env_random(again, &r2, 8);
	EXPECT(r1 != r2);
	EXPECT(sim_env_new(t.w, "b") == again);
	chat_close(&t);
}

TEST(record_store_fails_as_asked)
{
	struct sim *w = sim_new(1, NULL);
	struct env *a = sim_env_new(w, "a");
	char buf[8];

	EXPECT_EQ(env_rec_store(a, "r", "old", 3), 0);
	sim_knobs(w)->rec_fail_per_million = MILLION;
	EXPECT(env_rec_store(a, "r", "new", 3) == -EIO);
	EXPECT_EQ(env_rec_load(a, "r", buf, 8), 3);
	EXPECT_MEM(buf, "old", 3);
	sim_knobs(w)->rec_fail_per_million = 0;
	sim_knobs(w)->rec_late_per_million = MILLION;
	EXPECT(env_rec_store(a, "r", "newer", 5) == -EIO);
	EXPECT_EQ(env_rec_load(a, "r", buf, 4), 4);
	EXPECT_MEM(buf, "newe", 4);
	EXPECT(env_rec_store(a, "a/b", "x", 1) == -EINVAL);
	sim_free(w);
}

/* A crash inside a store: afterwards the old or the new record, both of them over the seeds, and never a third thing. */
TEST(crash_in_a_store_leaves_old_or_new)
{
	int old = 0, new = 0;

	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct sim *w = sim_new(seed, NULL);
		struct env *a = sim_env_new(w, "a");
		char buf[8];

		EXPECT_EQ(env_rec_store(a, "r", "old", 3), 0);
		sim_knobs(w)->rec_crash_per_million = MILLION;
		EXPECT(env_rec_store(a, "r", "new", 3) == -EIO);
		EXPECT(!sim_node_up(w, "a"));
		a = sim_env_new(w, "a");
		EXPECT_EQ(env_rec_load(a, "r", buf, 8), 3);
		old += !memcmp(buf, "old", 3);
		new += !memcmp(buf, "new", 3);
		sim_free(w);
	}
	EXPECT_EQ(old + new, 30);
	EXPECT(old > 5 && new > 5);
}

/* ---- the same again ---- */

enum { NODES = 3, CONNS = 24 };

/* Three servers that connect, talk, crash and restart at random: everything the world can do. */
static uint64_t story(uint64_t seed, uint64_t *shape)
{
	struct sim_knobs k = { SIM_KNOBS_MILD, .cut_per_million = 3000, .deaf_per_million = 300000, .refuse_per_million = 50000,
			       .rec_fail_per_million = 50000, .rec_late_per_million = 50000, .rec_crash_per_million = 20000 };
	static const char *const name[NODES] = { "x", "y", "z" }, *const addr[NODES] = { "sim:x", "sim:y", "sim:z" };
	struct env_conn *c[CONNS] = { 0 };
	struct sim *w = sim_new(seed, &k);
	struct env *e[NODES];
	uint8_t buf[4000];
	uint64_t hash;

	for (int i = 0; i < NODES; i++)
		sim_listen(e[i] = sim_env_new(w, name[i]));
	for (int step = 0; step < 4000; step++) {
		int n = (int)sim_rand(w, NODES), m = (int)sim_rand(w, NODES), s = (int)sim_rand(w, CONNS);
		ssize_t rc = 0;

		switch (sim_rand(w, 12)) {
		case 0:
			if (!c[s])
				c[s] = env_connect(e[n], addr[m], NULL);
			break;
		case 1:
			if (!c[s])
				c[s] = sim_accept(e[n]);
			break;
		case 2:
			env_random(e[n], buf, 100);
			rc = env_rec_store(e[n], "r", buf, 1 + sim_rand(w, 100));
			break;
		case 3:
			rc = env_rec_load(e[n], "r", buf, sizeof(buf));
			break;
		case 4:
			if (sim_chance(w, 50000))
				sim_node_crash(w, name[n]);
			if (!sim_node_up(w, name[n]))
				sim_listen(e[n] = sim_env_new(w, name[n]));
			break;
		case 5:
			sim_link_set(w, name[n], name[m], sim_rand(w, 3));
			break;
		case 6:
			if (c[s] && sim_chance(w, 200000))
				env_conn_close(c[s]), c[s] = NULL;
			break;
		case 7:
			sim_advance(w, sim_now_ns(w) + sim_rand(w, NS_PER_MS));
			break;
		default:
			env_random(e[n], buf, sizeof(buf));
			rc = !c[s] ? 0 : sim_rand(w, 2) ? say(c[s], buf, 1 + sim_rand(w, sizeof(buf))) : env_conn_recv(c[s], buf, sizeof(buf));
		}
		sim_trace(w, "step %d rc %zd", step, rc);
		shape[rc > 0 ? 0 : rc == -EAGAIN ? 1 : rc == -ECONNRESET ? 2 : rc == -ECONNREFUSED ? 3 : rc == -EIO ? 4 : rc == -EPIPE ? 5 : 6]++;
	}
	hash = sim_hash(w);
	for (int i = 0; i < CONNS; i += 2) /* the others are left to sim_free */
		if (c[i])
			env_conn_close(c[i]);
	sim_free(w);
	return hash;
}

/* Design rule 7: one seed, one commit, one exact replay. */
TEST(same_seed_same_hash)
{
	uint64_t first[20], shape[7] = { 0 };
	void *shift = NULL;

	for (uint64_t seed = 0; seed < 20; seed++)
		first[seed] = story(seed, shape);
	for (uint64_t seed = 0; seed < 20; seed++) {
		void *p = malloc(100 + seed * 1000); /* other addresses than before */

		if (story(seed, shape) != first[seed])
			fail_msg("seed %d told another story the second time", (int)seed);
		free(shift);
		shift = p;
		for (uint64_t other = 0; other < seed; other++)
			EXPECT(first[other] != first[seed]);
	}
	free(shift);
	for (size_t i = 0; i < ARRAY_LEN(shape); i++) /* every kind of answer was among them */
		EXPECT(shape[i] > 0);
}

/* A tool that looks at a run must not change it, nor may a scenario's own dice change the network's. */
static void show_line(void *ctx, uint64_t at_ns, const char *line) { *(uint64_t *)ctx += at_ns + strlen(line); }

TEST(chance_streams_are_separate)
{
	uint64_t lines = 0, at[2];

	for (int i = 0; i < 2; i++) {
		struct chat t;
		uint8_t junk[64];
		char b[8];

		chat_open(&t, 9, &(struct sim_knobs){ .delay_min_ns = 1, .delay_max_ns = NS_PER_S });
		if (i) {
			sim_trace_to(t.w, show_line, &lines);
			sim_rand(t.w, 7);
			env_random(t.a, junk, sizeof(junk));
		}
		EXPECT_EQ(say(t.ca, "x", 1), 1);
		EXPECT_EQ(hear(&t, t.cb, b, 8), 1);
		at[i] = sim_now_ns(t.w);
		chat_close(&t);
	}
	EXPECT_EQ(at[0], at[1]);
	EXPECT(lines > 0);
}
