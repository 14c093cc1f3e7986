/* A client that means harm, or is broken: it gets an error or is sent away; the server does not crash, leak, hang or block, and
 * serves the next one. Every case ends with the count of open descriptors (vuser_rig.h). */
#include "vuser_rig.h"

static void next_client_works(struct vrig *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = vrig_dial(r);
	vrig_version(r);
	EXPECT_OK(ask(r, 13, NOTHING), 0);
}

/* ---- framing -------------------------------------------------------------------------------------------------- */

/* Sizes below the header or above all reason, and types that are none, end the connection: nobody knows where the next message is. */
TEST(framing_lost)
{
	static const struct { uint32_t size, flags; } bad[] = {
		{ 0, 0 }, { 15, 0 }, { 0xffffffff, 0 }, { 0x80000000, 0 }, { 2 << 20, 0 }, { 16, 2 }, { 16, 15 },
	};
	VRIG(r);

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct bytes m = B(u16(1), u16(4), u32(bad[i].size), u32(bad[i].flags), u32(0));

		EXPECT_EQ(send(r->fd, m.b, m.n, 0), m.n);
		EXPECT(closed(r));
		EXPECT_EQ(vuser_server_counters(r->s)->dropped, i + 1);
		next_client_works(r);
	}
}

/* What came whole before the nonsense has been handled. */
TEST(framing_lost_after_good)
{
	VRIG(r);
	struct bytes nothing = NOTHING, m = message(1, 13, 0, &nothing), junk = B(u64(0), u64(0));

	m = bytes_more(m, junk.b, junk.n);
	EXPECT_EQ(send(r->fd, m.b, m.n, 0), m.n);
	EXPECT(hear(r)->there);
	EXPECT_EQ(r->f.resets, 1);
	EXPECT(closed(r));
}

/* Half a message and gone, at every length of a real one. */
TEST(half_a_message)
{
	VRIG(r);
	struct bytes p = map_msg(3, 0, 0, 0x1000), m = message(1, 2, 0, &p);
	int fd = memory(0x1000);

	for (size_t n = 1; n < m.n; n++) {
		EXPECT_EQ(send_fds(r->fd, m.b, n, &fd, 1), n);
		vrig_hang_up(r);
		EXPECT_EQ(r->f.d.gmem.count, 0);
		r->fd = vrig_dial(r);
		vrig_version(r);
	}
	EXPECT_EQ(r->f.detached, m.n - 1);
	close(fd);
}

/* An error bit in a command, flags nobody knows. */
TEST(odd_flags)
{
	VRIG(r);

	say(r, 13, 0x20, NOTHING, NULL, 0);
	EXPECT_ERR(hear(r), EINVAL);
	say(r, 13, 0xffffff00, NOTHING, NULL, 0);
	EXPECT_OK(hear(r), 0);
	EXPECT_EQ(r->f.resets, 1);
}

/* Each command with each length from nothing to more than it needs: an answer every time, always whole. */
TEST(every_command_every_length)
{
	VRIG(r);

	for (unsigned cmd = 2; cmd < 20; cmd++)
		for (size_t n = 0; n <= 48; n++) {
			struct bytes b = { .n = n };

			memset(b.b, 0xff, n);
			EXPECT(ask(r, cmd, b)->there);
			memset(b.b, 0, n);
			EXPECT(ask(r, cmd, b)->there);
		}
	EXPECT_OK(ask(r, 13, NOTHING), 0);
}

/* ---- descriptors ---------------------------------------------------------------------------------------------- */

/* Descriptors on messages that take none: refused, closed. DMA_UNMAP alone is forgiven (SPDK). */
TEST(fds_on_wrong_messages)
{
	VRIG(r);
	int fd = memory(0x1000);

	EXPECT_ERR(ask_fds(r, 4, B(u32(16), u32(0), u32(0), u32(0)), &fd, 1), EINVAL);
	EXPECT_ERR(ask_fds(r, 9, B(u64(0), u32(7), u32(4)), &fd, 1), EINVAL);
	EXPECT_ERR(ask_fds(r, 13, NOTHING, &fd, 1), EINVAL);
	EXPECT_ERR(ask_fds(r, 16, B(u64(0)), &fd, 1), EINVAL);
	EXPECT_ERR(ask_fds(r, 99, NOTHING, &fd, 1), ENOTSUP);
	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x1000)), 0);
	EXPECT_OK(ask_fds(r, 3, unmap_msg(0, 0, 0x1000), &fd, 1), 24);
	say(r, 9, 1, NOTHING, &fd, 1); /* a reply to nothing, with one */
	EXPECT_OK(ask(r, 13, NOTHING), 0);
	close(fd);
}

/* Far too many on one message, as many as the kernel carries. */
TEST(fds_by_the_hundred)
{
	VRIG(r);
	int fd = memory(0x1000), many[253];

	for (unsigned i = 0; i < 253; i++)
		many[i] = fd;
	EXPECT_ERR(ask_fds(r, 2, map_msg(3, 0, 0, 0x1000), many, 60), EINVAL);
	say(r, 2, 0, map_msg(3, 0, 0, 0x1000), many, 253);
	EXPECT(closed(r));
	next_client_works(r);
	close(fd);
}

/* One descriptor on each byte of a long message: more than anyone needs before the message is whole. */
TEST(fds_on_each_byte)
{
	VRIG(r);
	struct bytes zero = { .n = 400 }, m = message(1, 10, 0, &zero);
	int fd = memory(0x1000);

	for (size_t i = 0; i < m.n; i++) {
		if (send_fds(r->fd, m.b + i, 1, &fd, 1) != 1)
			break;
		pump(r);
	}
	EXPECT(closed(r));
	next_client_works(r);
	close(fd);
}

/* A descriptor belongs to its message, wherever the sender hung it: on the header, on the payload, and behind others. */
TEST(fds_find_their_message)
{
	VRIG(r);
	struct bytes p = map_msg(3, 0, 0, 0x1000), m = message(1, 2, 0, &p), q = map_msg(3, 0x1000, 0x1000, 0x1000), k = message(2, 2, 0, &q);
	struct bytes w = B(u64(0x20), u32(0), u32(4), u32(1)), n = message(3, 10, 0x10, &w);
	int fd = memory(0x1000), big = memory(0x2000);
	uint8_t seen = 0;

	EXPECT_EQ(send(r->fd, n.b, n.n, 0), n.n); /* a write, glued to the front by the kernel */
	EXPECT_EQ(send_fds(r->fd, m.b, 16, &fd, 1), 16);
	EXPECT_EQ(send(r->fd, m.b + 16, m.n - 16, 0), m.n - 16);
	EXPECT_EQ(send(r->fd, k.b, 16, 0), 16);
	EXPECT_EQ(send_fds(r->fd, k.b + 16, k.n - 16, &big, 1), k.n - 16);
	EXPECT_EQ(send(r->fd, n.b, n.n, 0), n.n);
	EXPECT_OK(hear(r), 0);
	EXPECT_OK(hear(r), 0);
	EXPECT_EQ(r->f.writes, 2);
	EXPECT(gmem_ptr(&r->f.d.gmem, 0, 8, true) != NULL);
	*(uint8_t *)gmem_ptr(&r->f.d.gmem, 0x1000, 1, true) = 9; /* only the larger file reaches so far */
	EXPECT_EQ(pread(big, &seen, 1, 0x1000), 1);
	EXPECT_EQ(seen, 9);
	close(fd);
	close(big);
}

/* ---- not reading, sending too much ---------------------------------------------------------------------------- */

/* Asks without reading until the server hangs up; false if it took `most` bytes. */
static bool bury_in(struct vrig *r, size_t most)
{
	struct bytes p = B(u64(0), u32(7), u32(4096)), m = message(1, 9, 0, &p);

	for (size_t sent = 0; sent < most; sent += m.n) {
		ssize_t n = send(r->fd, m.b, m.n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return true;
		vuser_server_poll(r->s);
	}
	return false;
}

/* A client that asks and never reads is sent away when its answers fill the queue. The server never blocked. */
TEST(never_reads)
{
	VRIG(r, .max_data_xfer = 4096);

	EXPECT(bury_in(r, 16 << 20));
	EXPECT_EQ(vuser_server_counters(r->s)->dropped, 1);
	next_client_works(r);
}

/* One that reads nothing for long is sent away even if its answers are few: a transfer may wait behind them. */
TEST(reads_nothing_for_long)
{
	VRIG(r, .max_data_xfer = 4096, .max_send_queue = 64 << 20, .dma_timeout_ms = 1);

	for (unsigned i = 0; i < 200; i++) /* more than a socket takes */
		say(r, 9, 0x0, B(u64(0), u32(7), u32(4096)), NULL, 0);
	while (!vuser_server_counters(r->s)->dropped)
		vuser_server_poll(r->s);
	next_client_works(r);
}

/* A flood behind an unmap that waits is not taken into memory without end. */
TEST(flood_behind_unmap)
{
	VRIG(r);
	static uint8_t junk[65536];
	struct bytes b = { .n = 4000 }, m = message(1, 10, 0x10, &b);
	size_t taken = 0;

	for (size_t at = 0; at + m.n <= sizeof(junk); at += m.n)
		memcpy(junk + at, m.b, m.n);
	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x1000)), 0);
	gmem_hold(&r->f.d.gmem);
	say(r, 3, 0, unmap_msg(0, 0, 0x1000), NULL, 0);
	for (unsigned i = 0; i < 2000; i++) {
		ssize_t n = send(r->fd, m.b, m.n, MSG_DONTWAIT | MSG_NOSIGNAL);

		taken += n > 0 ? (size_t)n : 0;
		vuser_server_poll(r->s);
	}
	EXPECT(taken < 4 << 20);
	gmem_release(&r->f.d.gmem);
	EXPECT_EQ(hear(r)->cmd, 3); /* it goes on as if nothing had been */
	EXPECT_OK(ask(r, 13, NOTHING), 0);
}

/* ---- killed at every step ------------------------------------------------------------------------------------- */

struct step { unsigned cmd; struct bytes p; unsigned fds; bool eventfds; };

static void steps_of(struct step *s)
{
	s[0] = (struct step){ 1, B(u16(0), u16(0)), 0, false };
	s[1] = (struct step){ 2, map_msg(3, 0, 0, 0x10000), 1, false };
	s[2] = (struct step){ 2, map_msg(3, 0, 0x100000, 0x1000), 0, false };
	s[3] = (struct step){ 5, B(u32(64), u32(0), u32(0), u32(0), u64(0), u64(0)), 0, false };
	s[4] = (struct step){ 8, B(u32(20), u32(0x24), u32(2), u32(0), u32(8)), 8, true };
	s[5] = (struct step){ 8, B(u32(20), u32(0x14), u32(0), u32(0), u32(1)), 1, true };
	s[6] = (struct step){ 10, B(u64(0x20), u32(0), u32(4), u32(1)), 0, false };
	s[7] = (struct step){ 9, B(u64(0), u32(7), u32(4096)), 0, false };
	s[8] = (struct step){ 3, unmap_msg(0, 0, 0x10000), 1, false };
	s[9] = (struct step){ 13, NOTHING, 0, false };
}

static void step_run(struct vrig *r, const struct step *s, bool listen_for_reply)
{
	int mem = memory(0x10000), bell = eventfd(0, EFD_CLOEXEC), fds[8];

	for (unsigned i = 0; i < 8; i++)
		fds[i] = s->eventfds ? bell : mem;
	say(r, s->cmd, 0, s->p, fds, s->fds);
	if (listen_for_reply) {
		struct vreply *a = hear(r);

		EXPECT(a->there);
		EXPECT_EQ(a->error, 0);
		for (unsigned i = 0; i < a->nfds; i++)
			close(a->fd[i]);
	}
	close(mem);
	close(bell);
}

/* Checklist 9: the client dies after each step, before or after it has read the answer: no descriptor is left, the device keeps
 * its state, the next client starts afresh. */
TEST(killed_at_every_step)
{
	static struct step s[10];
	VRIG(r, .map_doorbells = true);
	unsigned base = 0;

	steps_of(s);
	for (unsigned reads = 0; reads < 2; reads++)
		for (unsigned last = 0; last < ARRAY_LEN(s); last++) {
			unsigned before;

			vrig_hang_up(r);
			base = fds_open();
			r->f.bar[0x30] = (uint8_t)last;
			r->fd = vrig_dial(r);
			before = r->f.detached;
			for (unsigned i = 0; i <= last; i++)
				step_run(r, &s[i], i < last || reads);
			vrig_hang_up(r);
			EXPECT_EQ(fds_open(), base);
			EXPECT_EQ(r->f.detached, before + 1);
			EXPECT_EQ(r->f.d.gmem.count, 0);
			EXPECT(!r->f.d.irq || !r->f.d.irq(r->f.d.irq_ctx, 0));
			EXPECT_EQ(r->f.bar[0x30], last);
			r->fd = vrig_dial(r);
			vrig_version(r);
		}
}

/* ---- chance ---------------------------------------------------------------------------------------------------- */

static uint64_t rnd(uint64_t *s) /* splitmix64 */
{
	uint64_t z = *s += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* A real conversation with some bytes changed, lengths off, messages left out, doubled, cut in odd places. */
static struct bytes mutant(uint64_t *seed)
{
	static const uint64_t odd[] = { 0, 1, 2, 4, 0xfff, 0x1000, 0x4000, 0x7fffffff, 0xffffffff, UINT64_MAX - 0xfff, 1ull << 63 };
	static struct step s[10];
	struct step *t;
	struct bytes m;

	steps_of(s);
	t = &s[1 + rnd(seed) % 9];
	m = message((uint16_t)rnd(seed), rnd(seed) % 8 ? t->cmd : rnd(seed) % 24, rnd(seed) % 6 ? 0 : (uint32_t)(rnd(seed) & 0x31), &t->p);
	for (unsigned k = rnd(seed) % 4; k--;) {
		uint64_t v = rnd(seed) % 2 ? odd[rnd(seed) % ARRAY_LEN(odd)] : rnd(seed);
		size_t at = 16 + (rnd(seed) % 64 & ~3ull), w = rnd(seed) % 2 ? 4 : 8;

		if (at + w <= m.n)
			memcpy(m.b + at, &v, w);
	}
	if (rnd(seed) % 40 == 0)
		m.b[rnd(seed) % m.n] ^= (uint8_t)(1u << rnd(seed) % 8);
	return m;
}

static struct gmem_op chance_op;
static bool chance_out;
static void chance_done(struct gmem_op *op, int rc) { (void)op; (void)rc; chance_out = false; }

static void chance_client(struct vrig *r, uint64_t seed)
{
	static uint8_t buf[64];
	int fd = memory(0x10000), bell = eventfd(0, EFD_CLOEXEC), fds[20];
	uint8_t sink[4096];

	for (unsigned i = 0; i < 60; i++) {
		struct bytes m = mutant(&seed);
		unsigned nfds = rnd(&seed) % 3 ? 0 : rnd(&seed) % 20;
		size_t cut = rnd(&seed) % 10 ? m.n : 1 + rnd(&seed) % m.n;

		for (unsigned k = 0; k < nfds; k++)
			fds[k] = rnd(&seed) % 2 ? fd : bell;
		if (send_fds(r->fd, m.b, cut, fds, nfds) < 0)
			break;
		if (cut < m.n && rnd(&seed) % 4)
			(void)!send(r->fd, m.b + cut, m.n - cut, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (!chance_out && rnd(&seed) % 4 == 0) {
			chance_op = (struct gmem_op){ .iova = 0x100000, .buf = buf, .len = 64, .write = rnd(&seed) & 1, .done = chance_done };
			chance_out = gmem_submit(&r->f.d.gmem, &chance_op) == 0;
		}
		if (rnd(&seed) % 3)
			pump(r);
		while (rnd(&seed) % 2 && recv(r->fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
		fake_raise(&r->f, (unsigned)(rnd(&seed) % FAKE_VECTORS));
	}
	close(fd);
	close(bell);
}

/* A thousand clients of chance, fixed seeds. FERRY_SEED runs one of them. */
TEST(clients_of_chance)
{
	const char *only = getenv("FERRY_SEED");
	uint64_t first = only ? strtoull(only, NULL, 0) : 1, last = only ? first : 1000;
	VRIG(r, .map_doorbells = true);

	for (uint64_t seed = first; seed <= last; seed++) {
		unsigned base;

		vrig_hang_up(r);
		base = fds_open();
		r->fd = vrig_dial(r);
		say(r, 1, 0, B(u16(0), u16(0)), NULL, 0);
		pump(r);
		chance_client(r, seed);
		vrig_hang_up(r);
		if (fds_open() != base || r->f.d.gmem.count || chance_out)
			print_error("seed %llu: left over after a client of chance; repeat with FERRY_SEED=%llu PROGRAM clients_of_chance\n",
				    (unsigned long long)seed, (unsigned long long)seed);
		EXPECT_EQ(fds_open(), base);
		EXPECT_EQ(r->f.d.gmem.count, 0);
		EXPECT(!chance_out);
		r->fd = vrig_dial(r);
	}
	vrig_version(r);
	EXPECT_OK(ask(r, 13, NOTHING), 0);
}
