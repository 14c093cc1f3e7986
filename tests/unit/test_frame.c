/* What a hostile source can send: each frame that cannot be ends its session with a sentence, and touches nothing. */
#include "moverig.h"

#include "migrate/frame.h"
#include "migrate/link.h"

/* A server b that waits, and a "source" made of a bare link from node a. The guest's own server exists but is left alone. */
struct evil {
	struct world w;
	struct link *l;
	struct link_msg last;
	uint8_t data[4096];
	char said[FRAME_TEXT_MAX + 1];
	unsigned said_type;
	bool closed;
};

static void evil_close(struct evil *e)
{
	link_free(e->l);
	world_close(&e->w);
}

static void evil_connect(struct evil *e)
{
	struct err err;

	link_free(e->l);
	e->closed = false;
	e->l = link_new(e->w.s[0].env, env_connect(e->w.s[0].env, "sim:b", &err));
}

static void evil_open(struct evil *e)
{
	memset(e, 0, sizeof(*e));
	world_open(&e->w, &(struct world_cfg){ 0 });
	e->w.s[0].vm.running = false;
	evil_connect(e);
}

#define EVIL(e) struct evil e __attribute__((cleanup(evil_close))); evil_open(&e)

/* Turns until a frame that is not ALIVE comes, or the target closes. Its type; 0: closed. */
static unsigned answer(struct evil *e)
{
	int rc;

	for (int i = 0; i < 100000 && !e->closed; i++) {
		world_turn(&e->w);
		link_poll(e->l);
		while ((rc = link_recv(e->l, &e->last)) == 1) {
			if (e->last.type == FRAME_ALIVE)
				continue;
			memset(e->said, 0, sizeof(e->said));
			if (e->last.len > sizeof(struct frame_say))
				memcpy(e->said, e->last.data + sizeof(struct frame_say),
				       MIN(e->last.len - sizeof(struct frame_say), (size_t)FRAME_TEXT_MAX));
			return e->said_type = e->last.type;
		}
		e->closed = rc < 0;
	}
	return 0;
}

static void send2(struct evil *e, uint16_t type, const void *a, size_t alen, const void *b, size_t blen)
{
	struct iovec v[2] = { { (void *)a, alen }, { (void *)b, blen } };

	EXPECT_EQ(link_send(e->l, type, v, 2), 0);
}

struct hello { struct frame_hello h; struct frame_ns ns; struct frame_range r; };

static struct hello good(struct evil *e)
{
	static const uint8_t uuid[16] = FERRY_STATE_UUID;
	struct hello x = { .h = { .move = { 7 }, .version = le32_of(FRAME_VERSION), .flags = HELLO_MEMORY, .ns_count = le16_of(1),
				  .range_count = le16_of(1), .epoch = le64_of(2), .guest = "g", .here = "sim:a" },
			   .ns = { .guest_nsid = le32_of(1), .block_bytes = le32_of(MR_BLOCK), .blocks = le64_of(e->w.blocks) },
			   .r = { .len = le64_of(e->w.s[1].vm.h.bytes) } };

	memcpy(x.h.state_uuid, uuid, 16);
	return x;
}

static unsigned hello(struct evil *e, const struct hello *x)
{
	send2(e, FRAME_HELLO, x, sizeof(*x), NULL, 0);
	return answer(e);
}

static void ready(struct evil *e)
{
	struct hello x = good(e);

	EXPECT_EQ(hello(e, &x), FRAME_READY);
}

/* Ended with a sentence; the move refused durably; the place given back; the server serves on. */
static void ended(struct evil *e, const char *words)
{
	EXPECT_EQ(answer(e), FRAME_ERROR);
	if (!strstr(e->said, words))
		fail_msg("'%s' does not say '%s'", e->said, words);
	world_until(&e->w, e->w.s[1].unplaces == e->w.s[1].places);
	EXPECT_EQ(e->w.s[1].journal.own, OWN_NONE);
	EXPECT(!e->w.s[1].vm.running);
}

TEST(a_good_hello_is_ready)
{
	EVIL(e);

	ready(&e);
	EXPECT_EQ(e.w.s[1].journal.own, OWN_RESERVED);
	EXPECT(nvme_ctrl_is_suspended(e.w.s[1].mc));
}

#define BAD_HELLO(name, change, words)                          \
	TEST(hello_##name)                                      \
	{                                                       \
		EVIL(e);                                        \
		struct hello x = good(&e);                      \
								\
		change;                                         \
		EXPECT_EQ(hello(&e, &x), FRAME_REFUSED);        \
		if (!strstr(e.said, words))                     \
			fail_msg("'%s'", e.said);               \
		EXPECT_EQ(e.w.s[1].places, 0);                  \
		EXPECT_EQ(e.w.s[1].journal.own, OWN_NONE);      \
	}

BAD_HELLO(version, x.h.version = le32_of(9), "version 9")
BAD_HELLO(too_many_namespaces, x.h.ns_count = le16_of(65535), "at most")
BAD_HELLO(too_many_ranges, x.h.range_count = le16_of(17), "at most")
BAD_HELLO(counts_beyond_the_frame, x.h.ns_count = le16_of(2), "at most")
BAD_HELLO(name_with_a_slash, memcpy(x.h.guest, "../g", 5), "name")
BAD_HELLO(name_without_end, memset(x.h.guest, 'g', 64), "name")
BAD_HELLO(name_empty, x.h.guest[0] = 0, "name")
BAD_HELLO(address_with_an_escape, x.h.here[0] = 27, "cannot be")
BAD_HELLO(mode, x.h.mode = 2, "mode")
BAD_HELLO(epoch_zero, x.h.epoch = le64_of(0), "epoch")
BAD_HELLO(state_format, x.h.state_uuid[3] ^= 1, "format")
BAD_HELLO(block_size, x.ns.block_bytes = le32_of(0), "cannot be")
BAD_HELLO(size_that_wraps, x.ns.blocks = le64_of(UINT64_MAX), "cannot be")
BAD_HELLO(range_that_wraps, x.r.at = le64_of(UINT64_MAX - 4095), "cannot be")
BAD_HELLO(range_misaligned, x.r.len = le64_of(1), "cannot be")
BAD_HELLO(resume_of_nothing, x.h.flags |= HELLO_RESUME, "not under way")

/* The VM that waits has other memory than the source's: before anything is copied. */
TEST(hello_other_memory)
{
	EVIL(e);
	struct hello x = good(&e);

	x.r.len = le64_of(e.w.s[1].vm.h.bytes - VM_PAGE);
	EXPECT_EQ(hello(&e, &x), FRAME_REFUSED);
	EXPECT(strstr(e.said, "memory range"));
	world_until(&e.w, e.w.s[1].unplaces == 1);
	EXPECT_EQ(e.w.s[1].journal.own, OWN_NONE);
}

static void data_frame(struct evil *e, uint32_t ns, uint64_t lba, size_t len)
{
	struct frame_data h = { .ns = le32_of(ns), .lba = le64_of(lba) };

	memset(e->data, 0xee, sizeof(e->data));
	send2(e, FRAME_DATA, &h, sizeof(h), e->data, len);
}

TEST(data_last_block_is_fine)
{
	EVIL(e);
	struct frame_sync s = { le64_of(5) };

	ready(&e);
	data_frame(&e, 0, e.w.blocks - 1, MR_BLOCK);
	send2(&e, FRAME_SYNC, &s, sizeof(s), NULL, 0);
	EXPECT_EQ(answer(&e), FRAME_SYNC_ACK);
}

/* The last frame for a block is the last on the medium, though the disk lets writes overtake each other. */
TEST(data_of_one_block_stays_in_order)
{
	EVIL(e);
	struct frame_data h = { .lba = le64_of(9) };
	struct frame_sync s = { le64_of(5) };
	uint8_t *got;

	e.w.lifo_disk = true;
	ready(&e);
	for (int i = 0; i < 40; i++) {
		memset(e.data, i, MR_BLOCK);
		send2(&e, FRAME_DATA, &h, sizeof(h), e.data, MR_BLOCK);
	}
	send2(&e, FRAME_SYNC, &s, sizeof(s), NULL, 0);
	EXPECT_EQ(answer(&e), FRAME_SYNC_ACK);
	got = ns_read(&e.w.s[1]);
	EXPECT_EQ(got[9 * MR_BLOCK], 39);
	free(got);
}
TEST(data_beyond_the_end) { EVIL(e); ready(&e); data_frame(&e, 0, e.w.blocks - 1, 2 * MR_BLOCK); ended(&e, "cannot be"); }
TEST(data_at_the_end_of_numbers) { EVIL(e); ready(&e); data_frame(&e, 0, UINT64_MAX, MR_BLOCK); ended(&e, "cannot be"); }
TEST(data_of_no_namespace) { EVIL(e); ready(&e); data_frame(&e, 1, 0, MR_BLOCK); ended(&e, "cannot be"); }
TEST(data_of_half_a_block) { EVIL(e); ready(&e); data_frame(&e, 0, 0, MR_BLOCK + 1); ended(&e, "cannot be"); }

static void zero_frame(struct evil *e, uint32_t count, uint64_t lba, uint64_t n, size_t ranges)
{
	struct frame_zero h = { .count = le32_of(count) };
	struct frame_range r[4] = { { le64_of(lba), le64_of(n) }, { le64_of(0), le64_of(1) } };

	send2(e, FRAME_ZERO, &h, sizeof(h), r, ranges * sizeof(*r));
}
TEST(zero_count_lies) { EVIL(e); ready(&e); zero_frame(&e, 0x10000001, 0, 1, 1); ended(&e, "cannot be"); }
TEST(zero_beyond_the_end) { EVIL(e); ready(&e); zero_frame(&e, 1, 1, UINT64_MAX, 1); ended(&e, "cannot be"); }

/* Judged whole before any of it is applied: the good range before the bad one is not zeroed. */
TEST(zero_second_range_bad)
{
	EVIL(e);
	struct frame_zero h = { .count = le32_of(2) };
	struct frame_range r[2] = { { le64_of(0), le64_of(8) }, { le64_of(e.w.blocks), le64_of(1) } };
	uint8_t *before, *after;

	ready(&e);
	ns_write(&e.w.s[1], 0, 8, 1);
	before = ns_read(&e.w.s[1]);
	send2(&e, FRAME_ZERO, &h, sizeof(h), r, sizeof(r));
	ended(&e, "cannot be");
	after = ns_read(&e.w.s[1]);
	EXPECT_MEM(before, after, 8 * MR_BLOCK);
	free(before);
	free(after);
}

static void mem_frame(struct evil *e, uint64_t gpa, size_t len)
{
	struct frame_mem h = { le64_of(gpa) };
	uint8_t *p = calloc(1, len);

	send2(e, FRAME_MEM, &h, sizeof(h), p, len);
	free(p);
}
TEST(mem_beyond_the_end) { EVIL(e); ready(&e); mem_frame(&e, e.w.s[1].vm.h.bytes, VM_PAGE); ended(&e, "memory"); }
TEST(mem_across_the_end) { EVIL(e); ready(&e); mem_frame(&e, e.w.s[1].vm.h.bytes - VM_PAGE, 2 * VM_PAGE); ended(&e, "memory"); }
TEST(mem_wraps) { EVIL(e); ready(&e); mem_frame(&e, UINT64_MAX - VM_PAGE + 1, VM_PAGE); ended(&e, "memory"); }
TEST(mem_misaligned) { EVIL(e); ready(&e); mem_frame(&e, 1, VM_PAGE); ended(&e, "memory"); }
TEST(mem_zero_wraps)
{
	EVIL(e);
	struct frame_range r = { le64_of(VM_PAGE), le64_of(UINT64_MAX - VM_PAGE + 1) };

	ready(&e);
	send2(&e, FRAME_MEM_ZERO, &r, sizeof(r), NULL, 0);
	ended(&e, "memory");
}

static void state_frame(struct evil *e, uint32_t total, uint32_t off, size_t len)
{
	struct frame_state h = { le32_of(total), le32_of(off) };

	send2(e, FRAME_STATE, &h, sizeof(h), e->data, len);
}
TEST(state_too_large) { EVIL(e); ready(&e); state_frame(&e, UINT32_MAX - 3, 0, 64); ended(&e, "state"); }
TEST(state_with_a_gap) { EVIL(e); ready(&e); state_frame(&e, 4096, 64, 64); ended(&e, "state"); }
TEST(state_longer_than_said) { EVIL(e); ready(&e); state_frame(&e, 64, 0, 128); ended(&e, "state"); }
TEST(state_changes_its_size)
{
	EVIL(e);

	ready(&e);
	state_frame(&e, 4096, 0, 64);
	state_frame(&e, 8192, 64, 64);
	ended(&e, "state");
}

static void prepare_frame(struct evil *e, uint32_t bytes)
{
	struct frame_prepare p = { .seq = le64_of(1), .state_bytes = le32_of(bytes) };

	send2(e, FRAME_PREPARE, &p, sizeof(p), NULL, 0);
}
TEST(prepare_without_state) { EVIL(e); ready(&e); prepare_frame(&e, 0); ended(&e, "state"); }
TEST(prepare_with_half_a_state) { EVIL(e); ready(&e); state_frame(&e, 4096, 0, 64); prepare_frame(&e, 4096); ended(&e, "state"); }
TEST(prepare_with_rubbish) { EVIL(e); ready(&e); memset(e.data, 0xff, 4096); state_frame(&e, 4096, 0, 4096); prepare_frame(&e, 4096); ended(&e, "state"); }

/* COMMIT before PREPARED: nothing is started, and nothing of this move ever will be. */
TEST(commit_too_early)
{
	EVIL(e);
	struct frame_commit c = { .move = { 7 }, .epoch = le64_of(2), .guest = "g" };

	ready(&e);
	send2(&e, FRAME_COMMIT, &c, sizeof(c), NULL, 0);
	EXPECT_EQ(answer(&e), FRAME_LATER);
	world_until(&e.w, e.w.s[1].journal.own == OWN_NONE);
	EXPECT(!e.w.s[1].vm.running);
	EXPECT(journal_refused(&e.w.s[1].journal, c.move));
	send2(&e, FRAME_ASK, &c, sizeof(c), NULL, 0);
	EXPECT_EQ(answer(&e), FRAME_NOT_STARTED);
}

/* A move that nobody here ever heard of: refused for ever before it is said; a HELLO for it comes too late. */
TEST(ask_for_the_unknown)
{
	EVIL(e);
	struct frame_commit c = { .move = { 7 }, .epoch = le64_of(2), .guest = "g" };
	struct hello x = good(&e);

	send2(&e, FRAME_ASK, &c, sizeof(c), NULL, 0);
	EXPECT_EQ(answer(&e), FRAME_LATER);	/* a record that was lost would not know it either */
	EXPECT(!journal_refused(&e.w.s[1].journal, c.move));
	EXPECT_EQ(journal_set(&e.w.s[1].journal, OWN_RESERVED, 2, c.move, "", ""), 0);
	send2(&e, FRAME_ASK, &c, sizeof(c), NULL, 0);
	EXPECT_EQ(answer(&e), FRAME_NOT_STARTED);
	EXPECT(journal_refused(&e.w.s[1].journal, c.move));
	evil_connect(&e);
	EXPECT_EQ(hello(&e, &x), FRAME_REFUSED);
	EXPECT(strstr(e.said, "refused before"));
}

/* The owner says so, to whoever asks about the move that brought the guest. */
TEST(ask_the_owner)
{
	EVIL(e);
	struct frame_commit c = { .move = { 7 }, .epoch = le64_of(2), .guest = "g" };

	e.w.one_owner_unchecked = true;
	EXPECT_EQ(journal_set(&e.w.s[1].journal, OWN_OWNER, 2, c.move, "", ""), 0);
	send2(&e, FRAME_ASK, &c, sizeof(c), NULL, 0);
	EXPECT_EQ(answer(&e), FRAME_STARTED);
}

TEST(data_before_hello)
{
	EVIL(e);

	data_frame(&e, 0, 0, MR_BLOCK);
	EXPECT_EQ(answer(&e), FRAME_ERROR);
	EXPECT_EQ(answer(&e), 0);
	EXPECT(e.closed);
}

TEST(second_hello)
{
	EVIL(e);
	struct hello x = good(&e);

	ready(&e);
	send2(&e, FRAME_HELLO, &x, sizeof(x), NULL, 0);
	ended(&e, "frame");
}

TEST(frames_of_the_target)
{
	EVIL(e);
	struct frame_sync s = { le64_of(1) };

	ready(&e);
	send2(&e, FRAME_PREPARED, &s, sizeof(s), NULL, 0);
	ended(&e, "frame");
}

TEST(unknown_type) { EVIL(e); ready(&e); send2(&e, 999, "x", 1, NULL, 0); ended(&e, "frame"); }
TEST(short_frame) { EVIL(e); ready(&e); send2(&e, FRAME_SYNC, "x", 1, NULL, 0); ended(&e, "frame"); }

/* Another move of the same guest while one is under way. */
TEST(two_moves_of_one_guest)
{
	EVIL(e);
	struct hello x = good(&e);
	struct link *first;

	ready(&e);
	first = e.l;
	e.l = NULL;
	evil_connect(&e);
	x.h.move[0] = 8;
	EXPECT_EQ(hello(&e, &x), FRAME_REFUSED);
	EXPECT(strstr(e.said, "under way"));
	EXPECT_EQ(e.w.s[1].journal.own, OWN_RESERVED);
	link_free(first);
}

/* Connections are bounded; one more is closed, the others live. */
TEST(many_connections)
{
	EVIL(e);
	struct env_conn *c[64];
	struct err err;
	uint8_t b;
	unsigned open = 0;

	ready(&e);
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		c[i] = env_connect(e.w.s[0].env, "sim:b", &err);
	for (int i = 0; i < 100; i++)
		world_turn(&e.w);
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		open += env_conn_recv(c[i], &b, 1) == -EAGAIN;
	EXPECT_EQ(open, 31);	/* and ours, which has a move */
	for (unsigned i = 0; i < ARRAY_LEN(c); i++)
		env_conn_close(c[i]);
	EXPECT_EQ(link_send(e.l, FRAME_ALIVE, NULL, 0), 0);
	for (int i = 0; i < 100; i++)
		world_turn(&e.w);
	EXPECT_EQ(e.w.s[1].journal.own, OWN_RESERVED);
}

/* A source that dies: the session is given up after its grace, durably. */
TEST(silence_ends_a_session)
{
	EVIL(e);

	ready(&e);
	link_free(e.l);
	e.l = NULL;
	sim_advance(e.w.sim, sim_now_ns(e.w.sim) + NS_PER_MS);
	world_turn(&e.w);
	for (int i = 0; i < 200 && e.w.s[1].journal.own != OWN_NONE; i++) {
		for (uint64_t t = sim_now_ns(e.w.sim) + 100 * NS_PER_MS; sim_now_ns(e.w.sim) < t;)
			sim_advance(e.w.sim, t);
		world_turn(&e.w);
	}
	EXPECT_EQ(e.w.s[1].journal.own, OWN_NONE);
	EXPECT_EQ(e.w.s[1].unplaces, 1);
}
