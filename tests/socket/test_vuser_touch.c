/* Touches over a socket: DMA_WRITEs of one byte, many at once, beside all other traffic and in nobody's way. */
#include "vuser_rig.h"

#include "spec/vfio_user.h"

enum { SLOTS = 128, BASE = 0x100000, PAGES = 512 };

#define TRIG(r, late_max, ...)                                                              \
	VRIG(r, __VA_ARGS__);                                                               \
	struct gmem *g = &r->f.d.gmem;                                                      \
	int fd = memory(PAGES * 4096);                                                      \
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, BASE, PAGES * 4096), &fd, 1), 0);             \
	close(fd);                                                                          \
	EXPECT_EQ(gmem_touch_start(g, late_max), 0)

static void wrote(struct gmem *g, unsigned page, uint8_t byte)
{
	*(uint8_t *)gmem_ptr(g, BASE + page * 4096ull + 8, 1, true) = byte;
	gmem_mark(g, BASE + page * 4096ull + 8, 16);
}

static void reply(struct vrig *r, unsigned id, unsigned cmd, uint32_t flags, uint32_t error, struct bytes p)
{
	struct bytes m = B(u16(id), u16(cmd), u32(16 + p.n), u32(flags), u32(error));

	m = bytes_more(m, p.b, p.n);
	EXPECT_EQ(send_fds(r->fd, m.b, m.n, NULL, 0), m.n);
	pump(r);
}

static unsigned hear_touch(struct vrig *r, unsigned page)
{
	struct bytes gold = B(u64(BASE + page * 4096ull + 8), u64(1));
	struct vreply *a = hear(r);

	EXPECT(a->there);
	EXPECT_EQ(a->cmd, 12);
	EXPECT_EQ(a->flags, 0);
	EXPECT_EQ(a->size, 33);
	EXPECT_MEM(a->p, gold.b, 16);
	return a->id;
}

/* QEMU answers with a bare header, libvfio-user with address and length. Both will do. */
TEST(one_byte_and_its_answer)
{
	TRIG(r, 0);
	unsigned id;

	wrote(g, 3, 0xab);
	id = hear_touch(r, 3);
	EXPECT_EQ(hear(r)->there, false);
	EXPECT(!gmem_touched(g, 1));
	reply(r, id, 12, 1, 0, NOTHING);
	EXPECT(gmem_touched(g, 1));
	wrote(g, 4, 0xcd);
	id = hear_touch(r, 4);
	reply(r, id, 12, 1, 0, B(u64(BASE + 4 * 4096 + 8), u64(1)));
	EXPECT(gmem_touched(g, 2));
	EXPECT_EQ(g->touch.late_count, 0);
	EXPECT_EQ(vuser_server_counters(r->s)->touches, 2);
	EXPECT_EQ(vuser_server_counters(r->s)->dma_writes, 0);
}

/* The byte is the one in memory when it is sent. */
TEST(the_byte_itself)
{
	TRIG(r, 0);
	struct vreply *a;

	wrote(g, 1, 0x5e);
	a = hear(r);
	EXPECT_EQ(a->p[16], 0x5e);
}

/* Refused, or answered by something that makes no sense: the page is late and nobody waits. */
TEST(errors_make_late)
{
	TRIG(r, 0);

	wrote(g, 0, 1);
	reply(r, hear_touch(r, 0), 12, 0x21, ENODEV, NOTHING);
	wrote(g, 1, 1);
	reply(r, hear_touch(r, 1), 12, 1, 0, B(u64(BASE), u64(1)));
	wrote(g, 2, 1);
	reply(r, hear_touch(r, 2), 12, 1, 0, B(u32(1)));
	EXPECT(gmem_touched(g, 3));
	EXPECT_EQ(g->touch.late_count, 3);
	EXPECT_EQ(g->touch.failed, 0);
	EXPECT_EQ(gmem_touch_flush(g), -EAGAIN);
	reply(r, hear_touch(r, 2), 12, 1, 0, NOTHING);
	reply(r, hear_touch(r, 1), 12, 1, 0, NOTHING);
	reply(r, hear_touch(r, 0), 12, 0x21, ENODEV, NOTHING);
	EXPECT_EQ(gmem_touch_flush(g), -EIO);
	EXPECT_EQ(g->touch.rc, -ENODEV);
}

/* Answers to nothing, to another command, or twice, are passed over. */
TEST(answers_to_nothing)
{
	TRIG(r, 0);
	unsigned id;

	reply(r, 0x8000, 12, 1, 0, NOTHING);
	wrote(g, 0, 1);
	id = hear_touch(r, 0);
	EXPECT(id & 0x8000);
	reply(r, id & 0x7fff, 12, 1, 0, NOTHING);
	reply(r, id ^ 1, 12, 1, 0, NOTHING);
	reply(r, id ^ 0x80, 12, 1, 0, NOTHING);
	reply(r, id, 11, 1, 0, NOTHING);
	EXPECT(!gmem_touched(g, 1));
	reply(r, id, 12, 1, 0, NOTHING);
	reply(r, id, 12, 1, 0, NOTHING);
	EXPECT(gmem_touched(g, 1));
	EXPECT_OK(ask(r, 13, NOTHING), 0);
}

/* As many at once as there are slots, answered last first; then the next. */
TEST(many_at_once)
{
	TRIG(r, 0);
	static unsigned id[PAGES];
	unsigned got = 0, done = 0;

	for (unsigned i = 0; i < PAGES; i++)
		wrote(g, i, 1);
	while (done < PAGES) {
		struct vreply *a;

		while ((a = hear(r))->there)
			id[got++] = a->id;
		EXPECT_EQ(got - done, SLOTS);
		EXPECT(!gmem_touched(g, done + 1));
		for (unsigned i = got; i-- > done;)
			reply(r, id[i], 12, 1, 0, NOTHING);
		/* each answer made room for another, which went out behind it */
		done = got;
		EXPECT(gmem_touched(g, done));
	}
	EXPECT_EQ(vuser_server_counters(r->s)->touches, PAGES);
}

/* Memory by message and touches have places of their own: all of the one out, the other goes on. */
static void op_count(struct gmem_op *op, int rc) { *(unsigned *)op->ctx += !rc; }

TEST(neither_kind_starves_the_other)
{
	TRIG(r, 0);
	enum { N = 70 };
	static struct gmem_op op[N];
	static uint8_t buf[N][8];
	unsigned done = 0, reads = 0, touches = 0, last = 0;
	struct vreply *a;

	EXPECT_OK(ask(r, 2, map_msg(3, 0, BASE + PAGES * 4096, 0x10000)), 0);
	for (unsigned i = 0; i < N; i++) {
		op[i] = (struct gmem_op){ .iova = BASE + PAGES * 4096 + i * 8, .buf = buf[i], .len = 8, .done = op_count, .ctx = &done };
		EXPECT_EQ(gmem_submit(g, &op[i]), 0);
	}
	for (unsigned i = 0; i < PAGES; i++)
		wrote(g, i, 1);
	while ((a = hear(r))->there) {
		reads += a->cmd == 11;
		touches += a->cmd == 12;
		last = a->cmd == 12 ? a->id : last;
	}
	EXPECT_EQ(reads, 64);
	EXPECT_EQ(touches, SLOTS);
	reply(r, last, 12, 1, 0, NOTHING);
	EXPECT_EQ(hear(r)->cmd, 12);
	EXPECT_EQ(hear(r)->there, false);
	EXPECT_OK(ask(r, 9, B(u64(0), u32(7), u32(4))), 20); /* and the client's own commands are answered */
}

/* A bare header is the answer to a DMA_WRITE with data, too. */
TEST(bare_answer_to_data)
{
	TRIG(r, 0);
	unsigned done = 0;
	uint8_t buf[8] = { 0 };
	struct gmem_op op = { .iova = BASE + PAGES * 4096, .buf = buf, .len = 8, .write = true, .done = op_count, .ctx = &done };

	EXPECT_OK(ask(r, 2, map_msg(3, 0, BASE + PAGES * 4096, 0x1000)), 0);
	EXPECT_EQ(gmem_submit(g, &op), 0);
	reply(r, hear(r)->id, 12, 1, 0, NOTHING);
	EXPECT_EQ(done, 1);
}

/* ---- memory that goes and comes ---- */

/* QEMU waits for the answer to an unmap with its lock held, and answers no DMA_WRITE before it has it. */
TEST(unmap_is_answered_with_touches_out)
{
	TRIG(r, 0);
	int again = memory(4096);
	unsigned id;

	wrote(g, 0, 1);
	id = hear_touch(r, 0);
	EXPECT_OK(ask(r, 3, unmap_msg(0, BASE, PAGES * 4096)), 24);
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, BASE, 4096), &again, 1), 0);
	reply(r, id, 12, 1, 0, NOTHING);
	EXPECT(gmem_touched(g, 1));
	close(again);
}

/* While an unmap waits for the device nothing new is sent, but answers are taken. */
TEST(unmap_waiting_for_the_device)
{
	TRIG(r, 0);
	unsigned id;

	wrote(g, 0, 1);
	id = hear_touch(r, 0);
	gmem_hold(g);
	say(r, 3, 0, unmap_msg(0, BASE, PAGES * 4096), NULL, 0);
	EXPECT(!hear(r)->there);
	wrote(g, 1, 1);
	EXPECT(!hear(r)->there);
	reply(r, id, 12, 1, 0, NOTHING);
	EXPECT(gmem_touched(g, 1));
	gmem_release(g);
	EXPECT_EQ(hear(r)->cmd, 3);
	EXPECT(gmem_touched(g, 2));	/* the second one is late: its memory is gone for the moment */
	EXPECT_EQ(g->touch.late_count, 1);
}

/* Firmware takes all memory away and maps the same file again, cut differently: the flush finds every page. */
static void remapped(bool same, int expect)
{
	VRIG(r);
	struct gmem *g = &r->f.d.gmem;
	int fd = memory(0x10000), other = memory(0x10000), use = same ? fd : other;
	struct vreply *a;
	int rc;

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0x2000, BASE, 0x8000), &fd, 1), 0);
	EXPECT_EQ(gmem_touch_start(g, 10), 0);
	wrote(g, 1, 1);
	wrote(g, 6, 1);
	EXPECT_OK(ask(r, 3, unmap_msg(2, 0, 0)), 24);
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0x2000, BASE, 0x3000), &use, 1), 0);
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0x5000, BASE + 0x3000, 0x5000), &use, 1), 0);
	while ((rc = gmem_touch_flush(g)) == -EAGAIN) {
		while ((a = hear(r))->there)
			reply(r, a->id, 12, 1, 0, NOTHING);
	}
	EXPECT_EQ(rc, expect);
	EXPECT_EQ(vuser_server_counters(r->s)->touches, same ? 2 : 0);
	close(fd);
	close(other);
}

TEST(the_same_memory_again) { remapped(true, 0); }
TEST(other_memory_in_its_place) { remapped(false, -EIO); }

/* The file shrank under the page: there is nothing to tell, and no command is blamed for it. */
TEST(vanished_page)
{
	VRIG(r);
	struct gmem *g = &r->f.d.gmem;
	int fd = memory(0x4000);

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, BASE, 0x4000), &fd, 1), 0);
	EXPECT_EQ(gmem_touch_start(g, 10), 0);
	wrote(g, 3, 1);
	EXPECT_EQ(ftruncate(fd, 0x1000), 0);
	EXPECT_EQ(gmem_touch_flush(g), -EAGAIN);
	EXPECT(!hear(r)->there);
	EXPECT_EQ(gmem_touch_flush(g), -EIO);
	EXPECT_EQ(g->lost, 0);
	close(fd);
}

/* ---- a client that does not answer, or goes ---- */

/* What is overdue fails the move; who waits, waits on: the byte may still be written. */
TEST(never_answered)
{
	TRIG(r, 0, .dma_timeout_ms = 1);
	unsigned id;

	EXPECT_EQ(vuser_server_deadline(r->s), UINT64_MAX);
	wrote(g, 0, 1);
	id = hear_touch(r, 0);
	while (!g->touch.failed)
		vuser_server_poll(r->s);
	EXPECT_EQ(g->touch.rc, -ETIMEDOUT);
	EXPECT_EQ(vuser_server_deadline(r->s), UINT64_MAX);	/* said once */
	for (unsigned i = 0; i < 100; i++)
		vuser_server_poll(r->s);
	EXPECT_EQ(g->touch.failed, 1);
	EXPECT(!gmem_touched(g, 1));
	reply(r, id, 12, 1, 0, NOTHING);
	EXPECT(gmem_touched(g, 1));
	EXPECT_EQ(gmem_touch_flush(g), -EIO);
}

TEST(client_leaves)
{
	TRIG(r, 0);

	for (unsigned i = 0; i < 200; i++)
		wrote(g, i, 1);
	pump(r);
	EXPECT(!gmem_touched(g, 1));
	vrig_hang_up(r);
	EXPECT(gmem_touched(g, 200));
	EXPECT_EQ(gmem_touch_flush(g), -EIO);
	EXPECT_EQ(g->touch.rc, -ENOTCONN);
	gmem_touch_stop(g);
	EXPECT_EQ(gmem_touch_start(g, 0), -ENOTCONN);
	r->fd = vrig_dial(r);
	EXPECT_EQ(gmem_touch_start(g, 0), -ENOTCONN);
	vrig_version(r);
	EXPECT_EQ(gmem_touch_start(g, 0), 0);
}

/* A server that looks at its idle socket only now and then still sends at once what the device's doing made necessary. */
TEST(with_idle_skip)
{
	VRIG_RAW(r, .idle_skip = 50);
	struct gmem *g = &r->f.d.gmem;
	int fd = memory(0x4000);

	say(r, 1, 0, B(u16(0), u16(0)), NULL, 0);
	for (unsigned i = 0; i < 60; i++)
		vuser_server_poll(r->s);
	EXPECT(hear(r)->there);
	say(r, 2, 0, map_msg(3, 0, BASE, 0x4000), &fd, 1);
	for (unsigned i = 0; i < 60; i++)
		vuser_server_poll(r->s);
	EXPECT_EQ(hear(r)->cmd, 2);
	EXPECT_EQ(gmem_touch_start(g, 0), 0);
	wrote(g, 0, 1);
	vuser_server_poll(r->s);
	hear_touch(r, 0);
	close(fd);
	close(r->fd);
	r->fd = -1;
	for (unsigned i = 0; i < 120; i++)
		vuser_server_poll(r->s);
}
