/* The link's frames and the ownership journal, over streams and records kept in memory. */
#include "t.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "migrate/journal.h"
#include "migrate/link.h"

/* ---- a world of two byte pipes and one record ---- */
struct pipe_buf { uint8_t b[1 << 22]; size_t len; size_t step; bool cut; };
struct mem_conn { struct env_conn c; struct pipe_buf *tx, *rx; };
static struct pipe_buf pipes[2];
static struct { uint8_t data[1024]; size_t len; bool there; int fail; } rec;

static ssize_t mem_send(struct env_conn *c, const struct iovec *v, int n)
{
	struct pipe_buf *p = ((struct mem_conn *)c)->tx;
	size_t left = MIN(p->step, sizeof(p->b) - p->len), all = left;

	for (int i = 0; i < n && left; i++) {
		size_t k = MIN(v[i].iov_len, left);

		memcpy(p->b + p->len, v[i].iov_base, k);
		p->len += k;
		left -= k;
	}
	return all - left ? (ssize_t)(all - left) : -EAGAIN;
}
static ssize_t mem_recv(struct env_conn *c, void *out, size_t cap)
{
	struct pipe_buf *p = ((struct mem_conn *)c)->rx;
	size_t k = MIN(MIN(cap, p->len), p->step);

	if (!k)
		return p->cut ? 0 : -EAGAIN;
	memcpy(out, p->b, k);
	memmove(p->b, p->b + k, p->len - k);
	p->len -= k;
	return (ssize_t)k;
}
static void mem_close(struct env_conn *c) { free(c); }
static const struct env_conn_ops mem_conn_ops = { mem_send, mem_recv, mem_close };

static uint64_t mem_now(struct env *e) { (void)e; return 1; }
static int mem_store(struct env *e, const char *name, const void *p, size_t len)
{
	(void)e;
	EXPECT_STR(name, "guest-vm1.journal");
	if (rec.fail)
		return rec.fail;
	memcpy(rec.data, p, len);
	rec.len = len;
	rec.there = true;
	return 0;
}
static ssize_t mem_load(struct env *e, const char *name, void *p, size_t cap)
{
	(void)e;
	(void)name;
	if (!rec.there)
		return -ENOENT;
	memcpy(p, rec.data, MIN(cap, rec.len));
	return (ssize_t)MIN(cap, rec.len);
}
static const struct env_ops mem_ops = { .now_ns = mem_now, .rec_store = mem_store, .rec_load = mem_load };
static struct env env = { &mem_ops };

static struct link *end_new(int i)
{
	struct mem_conn *c = calloc(1, sizeof(*c));

	*c = (struct mem_conn){ { &mem_conn_ops }, &pipes[i], &pipes[!i] };
	return link_new(&env, &c->c);
}
static void pair(struct link *l[2], size_t step)
{
	memset(pipes, 0, sizeof(pipes));
	pipes[0].step = pipes[1].step = step;
	l[0] = end_new(0);
	l[1] = end_new(1);
}
static void send_bytes(struct link *l, uint16_t type, const void *p, size_t n)
{
	struct iovec v = { (void *)(uintptr_t)p, n };

	EXPECT_EQ(link_send(l, type, &v, 1), 0);
}

/* A payload that is sent from where it lies arrives as if it had been copied, wherever the stream stopped taking, and behind what
 * waited already; its owner may change it as soon as the call is over. */
TEST(link_still_payload_is_not_needed_afterwards)
{
	static const size_t steps[] = { 5, 31, 48, 20000, 50011, 1 << 21 };
	static uint8_t big[100000], want[sizeof(big)];
	struct iovec v[2] = { { big, 16 }, { big + 16, sizeof(big) - 16 } };
	struct link_msg m;
	struct link *l[2];

	for (size_t i = 0; i < sizeof(big); i++)
		want[i] = (uint8_t)(i * 11);
	for (size_t s = 0; s < 2 * ARRAY_LEN(steps); s++) {
		unsigned got = 0;

		pair(l, steps[s / 2]);
		if (s % 2)
			send_bytes(l[0], 5, want, 3000);	/* waits in front */
		memcpy(big, want, sizeof(big));
		EXPECT_EQ(link_send_still(l[0], 6, v, 2), 0);
		memset(big, 0xee, sizeof(big));
		send_bytes(l[0], 7, NULL, 0);
		while (got < 2 + s % 2) {
			int rc;

			link_poll(l[0]);
			rc = link_recv(l[1], &m);
			EXPECT(rc >= 0);
			if (rc <= 0)
				continue;
			EXPECT_EQ(m.type, 7 - (1 + s % 2 - got));
			EXPECT_MEM(m.data, want, m.len);
			EXPECT_EQ(m.len, m.type == 6 ? sizeof(big) : m.type == 5 ? 3000 : 0);
			got++;
		}
		EXPECT_EQ(link_sent(l[0]), link_received(l[1]));
		link_free(l[0]);
		link_free(l[1]);
	}
}

/* However the stream splits the bytes, frames come out whole, in order, with what was put in. */
TEST(link_survives_any_split)
{
	static const size_t steps[] = { 1, 7, 33, 4096, 1 << 21 };
	static uint8_t big[100000];
	struct link_msg m;
	struct link *l[2];

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7);
	for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
		unsigned got = 0;

		pair(l, steps[s]);
		send_bytes(l[0], 5, "hello", 5);
		send_bytes(l[0], 6, big, sizeof(big));
		send_bytes(l[0], 7, NULL, 0);
		while (got < 3) {
			int rc;

			link_poll(l[0]);
			rc = link_recv(l[1], &m);
			EXPECT(rc >= 0);
			if (!rc)
				continue;
			EXPECT_EQ(m.type, 5 + got);
			EXPECT_EQ(m.len, got == 0 ? 5 : got == 1 ? sizeof(big) : 0);
			if (got == 1)
				EXPECT_MEM(m.data, big, sizeof(big));
			got++;
		}
		link_free(l[0]);
		link_free(l[1]);
	}
}

/* Every single bit of a frame is covered: whatever flips, the link ends, it never delivers. */
TEST(link_refuses_every_flipped_bit)
{
	struct link_msg m;
	struct link *l[2];

	for (size_t bit = 0; bit < (32 + 5) * 8; bit++) {
		pair(l, 1 << 20);
		send_bytes(l[0], 5, "hello", 5);
		link_poll(l[0]);
		pipes[0].b[bit / 8] ^= (uint8_t)(1 << bit % 8);
		pipes[0].cut = true;
		EXPECT(link_recv(l[1], &m) < 0);
		EXPECT(link_error(l[1])[0]);
		link_free(l[0]);
		link_free(l[1]);
	}
}

/* A frame that comes a second time is not applied a second time. */
TEST(link_refuses_replay)
{
	struct link_msg m;
	struct link *l[2];

	pair(l, 1 << 20);
	send_bytes(l[0], 5, "hello", 5);
	link_poll(l[0]);
	memcpy(pipes[0].b + 37, pipes[0].b, 37);
	pipes[0].len = 74;
	EXPECT_EQ(link_recv(l[1], &m), 1);
	EXPECT_EQ(link_recv(l[1], &m), -EBADMSG);
	link_free(l[0]);
	link_free(l[1]);
}

/* Frames that arrived before the peer died are handed out before the end is reported: a COMMIT must not get lost so. */
TEST(link_delivers_what_came_before_the_end)
{
	struct link_msg m;
	struct link *l[2];

	pair(l, 1 << 20);
	send_bytes(l[0], 5, "a", 1);
	send_bytes(l[0], 6, "b", 1);
	link_poll(l[0]);
	pipes[0].cut = true;
	EXPECT_EQ(link_recv(l[1], &m), 1);
	EXPECT_EQ(link_recv(l[1], &m), 1);
	EXPECT_EQ(m.type, 6);
	EXPECT_EQ(link_recv(l[1], &m), -EPIPE);
	link_free(l[0]);
	link_free(l[1]);
}

TEST(link_backlog_is_bounded)
{
	static uint8_t big[LINK_PAYLOAD_MAX];
	struct link *l[2];
	struct iovec v = { big, sizeof(big) };
	unsigned n = 0;

	pair(l, 0);
	while (n < 100 && link_send(l[0], 1, &v, 1) == 0)
		n++;
	EXPECT(n < 6);
	EXPECT_EQ(link_send(l[0], 1, &v, 1), -EAGAIN);
	v.iov_len++;
	EXPECT_EQ(link_send(l[0], 1, &v, 1), -EMSGSIZE);
	link_free(l[0]);
	link_free(l[1]);
}

/* ---- journal ---- */
static const uint8_t move_a[16] = { 1 }, move_b[16] = { 2 };

static void reload(struct journal *j)
{
	EXPECT_EQ(journal_load(j, &env, "vm1", NULL), 0);
}

/* Design rule 1: the record says after a restart what it said before, and only allowed changes are made. */
TEST(journal_keeps_state_over_restart)
{
	struct journal j;

	memset(&rec, 0, sizeof(rec));
	reload(&j);
	EXPECT_EQ(j.own, OWN_NONE);
	EXPECT_EQ(journal_set(&j, OWN_OWNER, 1, NULL, NULL, "first start"), 0);
	EXPECT_EQ(journal_set(&j, OWN_RELEASED, 2, NULL, NULL, ""), -EPERM);
	EXPECT_EQ(journal_set(&j, OWN_HANDED, 2, move_a, "unix:b", "moving"), 0);
	reload(&j);
	EXPECT_EQ(j.own, OWN_HANDED);
	EXPECT_EQ(j.epoch, 2);
	EXPECT_STR(j.peer, "unix:b");
	EXPECT_MEM(j.move, move_a, 16);
	EXPECT_EQ(journal_set(&j, OWN_NONE, 2, NULL, NULL, ""), -EPERM);
	EXPECT_EQ(journal_set(&j, OWN_OWNER, 1, NULL, NULL, ""), -EPERM);	/* epochs never go back */
}

/* Once `not started` was said of a move, that move can never start: the source may already run again. */
TEST(journal_refused_move_never_starts)
{
	struct journal j;

	memset(&rec, 0, sizeof(rec));
	reload(&j);
	EXPECT_EQ(journal_set(&j, OWN_RESERVED, 5, move_a, "unix:a", ""), 0);
	EXPECT_EQ(journal_refuse(&j, move_a), 0);
	reload(&j);
	EXPECT_EQ(j.own, OWN_NONE);
	EXPECT(journal_refused(&j, move_a));
	EXPECT(!journal_refused(&j, move_b));
	EXPECT_EQ(journal_set(&j, OWN_RESERVED, 5, move_b, "unix:a", ""), 0);
	EXPECT_EQ(journal_set(&j, OWN_OWNER, 5, move_a, NULL, ""), -EPERM);
	EXPECT_EQ(journal_set(&j, OWN_OWNER, 5, move_b, NULL, ""), 0);
	EXPECT_EQ(journal_refuse(&j, move_b), -EPERM);	/* it did start: `not started` would be a lie */
}

TEST(journal_failed_write_changes_nothing)
{
	struct journal j;

	memset(&rec, 0, sizeof(rec));
	reload(&j);
	EXPECT_EQ(journal_set(&j, OWN_OWNER, 1, NULL, NULL, ""), 0);
	rec.fail = -ENOSPC;
	EXPECT_EQ(journal_set(&j, OWN_HANDED, 2, move_a, "unix:b", ""), -ENOSPC);
	EXPECT_EQ(j.own, OWN_OWNER);
	EXPECT_EQ(journal_refuse(&j, move_b), -ENOSPC);
	EXPECT(!journal_refused(&j, move_b));
}

/* A damaged record is not "no record": with NONE a first start could run a guest that runs elsewhere. */
TEST(journal_damage_is_reported)
{
	struct journal j;
	struct err e;

	memset(&rec, 0, sizeof(rec));
	reload(&j);
	EXPECT_EQ(journal_set(&j, OWN_OWNER, 1, NULL, NULL, ""), 0);
	for (size_t i = 0; i < rec.len; i++) {
		rec.data[i] ^= 0x40;
		EXPECT(journal_load(&j, &env, "vm1", &e) < 0);
		rec.data[i] ^= 0x40;
	}
	rec.len--;
	EXPECT(journal_load(&j, &env, "vm1", &e) < 0);
}

/* What came since does not make it untrue that a move started the guest here: neither that it went on, nor a move back that came to
 * nothing, nor that so many were refused that the record has forgotten some. */
TEST(journal_knows_what_has_run_here)
{
	struct journal j;
	uint8_t id[16] = { 9 };

	memset(&rec, 0, sizeof(rec));
	reload(&j);
	EXPECT_EQ(journal_set(&j, OWN_RESERVED, 5, move_a, "unix:a", ""), 0);
	EXPECT(!journal_started(&j, move_a, 5));
	EXPECT_EQ(journal_set(&j, OWN_OWNER, 5, move_a, "", ""), 0);
	EXPECT_EQ(journal_set(&j, OWN_HANDED, 6, move_b, "unix:c", ""), 0);
	EXPECT_EQ(journal_set(&j, OWN_RELEASED, 6, move_b, "unix:c", ""), 0);
	for (unsigned i = 0; i < 10; i++) {
		id[1] = (uint8_t)i;
		EXPECT_EQ(journal_set(&j, OWN_RESERVED, 9, id, "unix:c", ""), 0);
		EXPECT(journal_started(&j, move_a, 5));
		EXPECT_EQ(journal_refuse(&j, id), 0);
		reload(&j);
		EXPECT_EQ(j.own, OWN_NONE);
		EXPECT(journal_started(&j, move_a, 5));
		EXPECT(!journal_started(&j, id, 9));
	}
	id[1] = 0;	/* not in the record any more: it did not run here all the same */
	EXPECT(!journal_refused(&j, id));
	EXPECT(!journal_started(&j, id, 9));
}

/* A server made newer finds the records that it wrote before. */
TEST(journal_of_version_1_is_read)
{
	struct journal j;
	uint64_t sum;

	memset(&rec, 0, sizeof(rec));
	reload(&j);
	EXPECT_EQ(journal_set(&j, OWN_OWNER, 7, move_a, NULL, "here"), 0);
	rec.data[4] = 1;
	sum = XXH3_64bits(rec.data, 512);
	for (unsigned i = 0; i < 8; i++)
		rec.data[512 + i] = (uint8_t)(sum >> 8 * i);
	rec.len = 520;
	reload(&j);
	EXPECT_EQ(j.own, OWN_OWNER);
	EXPECT_EQ(j.epoch, 7);
	EXPECT(journal_started(&j, move_a, 7));
	EXPECT(!journal_started(&j, move_b, 8));
	EXPECT_EQ(journal_set(&j, OWN_HANDED, 8, move_b, "unix:b", ""), 0);
	EXPECT_EQ(rec.len, 528);
	rec.data[4] = 1;	/* a length that is not that version's */
	sum = XXH3_64bits(rec.data, 520);
	for (unsigned i = 0; i < 8; i++)
		rec.data[520 + i] = (uint8_t)(sum >> 8 * i);
	EXPECT(journal_load(&j, &env, "vm1", NULL) < 0);
}
