/* The vfio-user server against hand-written bytes: greeting, information, registers, interrupts, and the message order of the
 * clients people use. Clause numbers are those of the protocol's description. */
#include "vuser_rig.h"

/* ---- VERSION (2.3) ------------------------------------------------------------------------------------------- */

/* A proposal with JSON is answered with a short one that QEMU accepts, in one message. */
TEST(version_with_json)
{
	static const char gold[] = "\0\0\0\0{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576,"
				   "\"write_multiple\":false}}";
	static const char json[] = "{\"capabilities\":{\"pgsizes\":4096,\"max_msg_fds\":16,\"max_dma_maps\":65535,"
				   "\"max_data_xfer_size\":1048576,\"migration\":{\"max_bitmap_size\":268435456,\"pgsize\":4096},"
				   "\"write_multiple\":true}}";
	VRIG_RAW(r);
	struct vreply *a = ask(r, 1, bytes_more(B(u16(0), u16(0)), json, sizeof(json)));

	EXPECT_OK(a, sizeof(gold));
	EXPECT_MEM(a->p, gold, sizeof(gold));
	EXPECT(a->size <= 214);
}

/* SPDK's client sends the two numbers and nothing else. */
TEST(version_without_json)
{
	VRIG_RAW(r);
	struct vreply *a = ask(r, 1, B(u16(0), u16(0)));

	EXPECT_EQ(a->error, 0);
	EXPECT(a->size > 16 + 4 && a->size <= 4096);
	EXPECT_EQ(a->p[a->size - 17], 0);
}

/* The reply never promises more than the proposal: a transfer size above the client's is lowered. */
TEST(version_lowers_transfer_size)
{
	static const char json[] = "{\"capabilities\":{\"max_data_xfer_size\":4096}}";
	VRIG_RAW(r);
	struct vreply *a = ask(r, 1, bytes_more(B(u16(0), u16(0)), json, sizeof(json)));

	EXPECT(strstr((char *)a->p + 4, "\"max_data_xfer_size\":4096,") != NULL);
}

/* write_multiple is offered only when both sides want it. */
TEST(version_write_multiple)
{
	static const char json[] = "{\"capabilities\":{\"write_multiple\":true,\"strange\":{\"a\":[]}}}";
	VRIG_RAW(r, .write_multiple = true);
	struct vreply *a = ask(r, 1, bytes_more(B(u16(0), u16(0)), json, sizeof(json)));

	EXPECT(strstr((char *)a->p + 4, "\"write_multiple\":true") != NULL);
}

/* Another major, a missing NUL, text that is no JSON: told, and hung up on. The next client is served. */
TEST(version_refused)
{
	const struct bytes bad[] = {
		B(u16(1), u16(0)), B(u16(0)), bytes_more(B(u16(0), u16(0)), "{}", 2), bytes_more(B(u16(0), u16(0)), "{", 2),
		bytes_more(B(u16(0), u16(0)), "{}\0", 4),
	};
	VRIG_RAW(r);

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		EXPECT_EQ(ask(r, 1, bad[i])->flags, 0x21);
		EXPECT(closed(r));
		close(r->fd);
		r->fd = vrig_dial(r);
	}
	vrig_version(r);
	EXPECT_EQ(vuser_server_counters(r->s)->dropped, ARRAY_LEN(bad));
}

/* Nothing is served before VERSION. */
TEST(version_comes_first)
{
	VRIG_RAW(r);

	EXPECT_ERR(ask(r, 13, NOTHING), EINVAL);
	EXPECT(closed(r));
	EXPECT_EQ(r->f.resets, 0);
}

/* A second VERSION is an error, not a new start. */
TEST(version_twice)
{
	VRIG(r);

	EXPECT_ERR(ask(r, 1, B(u16(0), u16(0))), EINVAL);
	EXPECT_OK(ask(r, 13, NOTHING), 0);
}

/* ---- information (2.5) --------------------------------------------------------------------------------------- */

TEST(device_info)
{
	VRIG(r);
	struct vreply *a = ask(r, 4, B(u32(16), u32(0), u32(0), u32(0)));
	struct bytes gold = B(u32(16), u32(3), u32(9), u32(5));

	EXPECT_OK(a, 16);
	EXPECT_MEM(a->p, gold.b, 16);
	EXPECT_ERR(ask(r, 4, B(u32(15), u32(0), u32(0), u32(0))), EINVAL);
	EXPECT_ERR(ask(r, 4, B(u32(16), u32(0), u32(0))), EINVAL); /* short */
}

static struct bytes region_ask(uint32_t argsz, uint32_t index) { return B(u32(argsz), u32(0), u32(index), u32(0), u64(0), u64(0)); }

/* A region without mapping: flags 3, no capabilities, no descriptor. An absent one: size 0, flags 0, success. */
TEST(region_info_plain)
{
	VRIG(r);
	struct bytes bar = B(u32(32), u32(3), u32(0), u32(0), u64(0x4000), u64(0)), none = B(u32(32), u32(0), u32(1), u32(0), u64(0), u64(0));
	struct bytes ro = B(u32(32), u32(1), u32(4), u32(0), u64(0x1000), u64(0));
	struct vreply *a = ask(r, 5, region_ask(64, 0));

	EXPECT_OK(a, 32);
	EXPECT_EQ(a->nfds, 0);
	EXPECT_MEM(a->p, bar.b, 32);
	EXPECT_MEM(ask(r, 5, region_ask(32, 1))->p, none.b, 32);
	EXPECT_MEM(ask(r, 5, region_ask(32, 4))->p, ro.b, 32);
	EXPECT_ERR(ask(r, 5, region_ask(32, 9)), EINVAL);
	EXPECT_ERR(ask(r, 5, region_ask(31, 0)), EINVAL);
}

/* With mapping: 64 bytes, one sparse area, one descriptor, but only for a client that has room for all of it. The short answer says where
 * the capabilities would be: QEMU 11.1 refuses a device whose flags promise them at offset 0. */
TEST(region_info_sparse)
{
	VRIG(r, .map_doorbells = true);
	struct bytes small = B(u32(64), u32(0xf), u32(0), u32(32), u64(0x4000), u64(0));
	struct bytes full = B(u32(64), u32(0xf), u32(0), u32(32), u64(0x4000), u64(0), u16(1), u16(1), u32(0), u32(1), u32(0),
			      u64(0x1000), u64(0x1000));
	struct vreply *a = ask(r, 5, region_ask(32, 0));
	struct stat st;

	EXPECT_OK(a, 32);
	EXPECT_EQ(a->nfds, 0);
	EXPECT_MEM(a->p, small.b, 32);
	a = ask(r, 5, region_ask(64, 0));
	EXPECT_OK(a, 64);
	EXPECT_EQ(a->nfds, 1);
	EXPECT_MEM(a->p, full.b, 64);
	EXPECT_EQ(fstat(a->fd[0], &st), 0);
	EXPECT(st.st_size >= 0x2000);
	close(a->fd[0]);
	a = ask(r, 5, region_ask(64, 7)); /* config space is never mapped */
	EXPECT_OK(a, 32);
	EXPECT_EQ(a->nfds, 0);
}

/* The area is the device's doorbell memory: what the client stores there the device reads, without a message. */
TEST(doorbells_shared)
{
	VRIG(r, .map_doorbells = true);
	struct vreply *a = ask(r, 5, region_ask(4064, 0));
	uint32_t *p = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd[0], 0x1000);
	uint32_t seen;

	EXPECT(p != MAP_FAILED);
	p[3] = 0x55aa;
	memcpy(&seen, r->f.shared + 12, 4);
	EXPECT_EQ(seen, 0x55aa);
	EXPECT_EQ(ftruncate(a->fd[0], 0), -1); /* or our next doorbell read would be a SIGBUS */
	close(a->fd[0]);
	vrig_hang_up(r);
	EXPECT(r->f.shared == NULL); /* contents carried over */
	memcpy(&seen, r->f.bar + 0x100c, 4);
	EXPECT_EQ(seen, 0x55aa);
	r->fd = vrig_dial(r);
	vrig_version(r);
	p[3] = 0x66; /* a client that is gone must not ring its successor's bells */
	memcpy(&seen, r->f.shared + 12, 4);
	EXPECT_EQ(seen, 0x55aa);
	munmap(p, 0x1000);
}

TEST(irq_info)
{
	static const uint32_t gold[5][2] = { { 7, 1 }, { 0, 0 }, { 1, FAKE_VECTORS }, { 1, 1 }, { 0, 0 } };
	VRIG(r);

	for (unsigned i = 0; i < 5; i++) {
		struct bytes g = B(u32(16), u32(gold[i][0]), u32(i), u32(gold[i][1]));
		struct vreply *a = ask(r, 7, B(u32(16), u32(0), u32(i), u32(0)));

		EXPECT_OK(a, 16);
		EXPECT_MEM(a->p, g.b, 16);
	}
	EXPECT_ERR(ask(r, 7, B(u32(16), u32(0), u32(5), u32(0))), EINVAL);
	EXPECT_ERR(ask(r, 7, B(u32(8), u32(0), u32(2), u32(0))), EINVAL);
}

/* 2.7: no notification descriptors: count 0. */
TEST(region_io_fds_none)
{
	VRIG(r);
	struct bytes gold = B(u32(16), u32(0), u32(0), u32(0));
	struct vreply *a = ask(r, 6, B(u32(1024), u32(0), u32(0), u32(0)));

	EXPECT_OK(a, 16);
	EXPECT_EQ(a->nfds, 0);
	EXPECT_MEM(a->p, gold.b, 16);
	EXPECT_ERR(ask(r, 6, B(u32(16), u32(0), u32(9), u32(0))), EINVAL);
	EXPECT_ERR(ask(r, 6, B(u32(16), u32(1), u32(0), u32(0))), EINVAL);
}

/* 2.8: migration messages are refused in an orderly way, as are retired, unknown and the server's own commands. */
TEST(commands_not_served)
{
	static const unsigned cmds[] = { 0, 11, 12, 14, 16, 17, 18, 19, 0xffff };
	VRIG(r);

	for (unsigned i = 0; i < ARRAY_LEN(cmds); i++)
		EXPECT_ERR(ask(r, cmds[i], B(u32(16), u32(0x10001), u64(0))), ENOTSUP);
	EXPECT_OK(ask(r, 13, NOTHING), 0);
}

TEST(reset)
{
	VRIG(r);

	EXPECT_OK(ask(r, 13, NOTHING), 0);
	EXPECT_EQ(r->f.resets, 1);
}

/* ---- registers (2.6) ----------------------------------------------------------------------------------------- */

static struct bytes access_msg(uint64_t off, uint32_t region, uint32_t count) { return B(u64(off), u32(region), u32(count)); }
static struct bytes write_msg(uint64_t off, uint32_t region, uint32_t count, uint64_t v)
{
	struct bytes b = access_msg(off, region, count);

	return bytes_more(b, &v, count);
}

TEST(region_read_and_write_widths)
{
	VRIG(r);

	for (uint32_t w = 1; w <= 8; w *= 2) {
		struct bytes head = access_msg(0x20, 0, w);
		uint64_t v = 0x8877665544332211ull * w, got = 0, want = 0;
		struct vreply *a = ask(r, 10, write_msg(0x20, 0, w, v));

		EXPECT_OK(a, 16);
		EXPECT_MEM(a->p, head.b, 16);
		a = ask(r, 9, head);
		EXPECT_OK(a, 16 + w);
		EXPECT_MEM(a->p, head.b, 16);
		memcpy(&got, a->p + 16, w);
		memcpy(&want, &v, w);
		EXPECT_EQ(got, want);
	}
}

/* QEMU reads the whole configuration space in one message. */
TEST(config_read_whole)
{
	VRIG(r);
	struct vreply *a = ask(r, 9, access_msg(0, 7, 4096));

	EXPECT_OK(a, 16 + 4096);
	EXPECT_MEM(a->p + 16, r->f.cfg, 4096);
}

TEST(region_access_refused)
{
	static const struct { uint64_t off; uint32_t region, count; } bad[] = {
		{ 0x4000, 0, 1 }, { 0x3ffd, 0, 4 }, { UINT64_MAX, 0, 4 }, { UINT64_MAX - 3, 0, 8 }, { 0, 0, 0 }, { 0, 1, 4 }, { 0, 9, 4 },
		{ 0, 0xffffffff, 4 }, { 0, 7, 4097 }, { 0, 7, 0xffffffff }, { 0, 0, 3 }, { 1ull << 32, 0, 4 },
	};
	VRIG(r);

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		EXPECT_ERR(ask(r, 9, access_msg(bad[i].off, bad[i].region, bad[i].count)), EINVAL);
		if (bad[i].count && bad[i].count <= 8)
			EXPECT_ERR(ask(r, 10, write_msg(bad[i].off, bad[i].region, bad[i].count, 1)), EINVAL);
	}
	EXPECT_ERR(ask(r, 10, write_msg(0, 4, 4, 1)), EINVAL);		/* read only */
	EXPECT_ERR(ask(r, 10, access_msg(0, 0, 4)), EINVAL);		/* data missing */
	EXPECT_ERR(ask(r, 10, bytes_more(write_msg(0, 0, 4, 1), "x", 1)), EINVAL); /* too much */
	EXPECT_EQ(r->f.writes, 0);
}

/* A transfer above the agreed size is refused, not cut. */
TEST(region_access_above_transfer_size)
{
	VRIG(r, .max_data_xfer = 256);

	EXPECT_OK(ask(r, 9, access_msg(0, 7, 256)), 16 + 256);
	EXPECT_ERR(ask(r, 9, access_msg(0, 7, 257)), EINVAL);
}

/* 2.1: No_reply gets none, even on failure; what follows is answered. */
TEST(posted_writes)
{
	VRIG(r);

	say(r, 10, 0x10, write_msg(0x1000, 0, 4, 1), NULL, 0);
	say(r, 10, 0x10, write_msg(0x4000, 0, 4, 1), NULL, 0);		/* outside */
	say(r, 9, 0x10, access_msg(0, 7, 64), NULL, 0);			/* a read nobody wants to hear about */
	EXPECT_OK(ask(r, 9, access_msg(0x1000, 0, 4)), 20);
	EXPECT(!hear(r)->there);
	EXPECT_EQ(r->f.writes, 1);
	EXPECT_EQ(vuser_server_counters(r->s)->posted, 3);
}

/* A burst of doorbells that came in one piece is handled in one poll, in order. */
TEST(posted_burst_in_one_poll)
{
	static uint8_t burst[1000 * 36];
	VRIG(r);

	for (unsigned i = 0; i < 1000; i++) {
		struct bytes w = write_msg(0x1000, 0, 4, i), m = message(0, 10, 0x10, &w);

		memcpy(burst + i * 36, m.b, 36);
	}
	EXPECT_EQ(send(r->fd, burst, sizeof(burst), MSG_DONTWAIT), sizeof(burst));
	EXPECT(vuser_server_poll(r->s));
	EXPECT_EQ(r->f.writes, 1000);
	for (unsigned i = 0; i < 1000; i++)
		EXPECT_EQ(r->f.log[i].val, i);
}

/* Bytes may come in any portions. */
TEST(one_byte_at_a_time)
{
	VRIG(r);
	struct bytes w = write_msg(0x20, 0, 4, 77), m = message(9, 10, 0, &w);

	for (size_t i = 0; i < m.n; i++) {
		EXPECT_EQ(send(r->fd, m.b + i, 1, 0), 1);
		pump(r);
		EXPECT_EQ(r->f.writes, i + 1 == m.n);
	}
	EXPECT_EQ(hear(r)->id, 9);
}

/* REGION_WRITE_MULTI: in order; the number is echoed; a bad one stops the rest. */
TEST(write_multi)
{
	VRIG(r, .write_multiple = true);
	struct bytes two = B(u64(2), u64(0x20), u32(0), u32(4), u64(5), u64(0x24), u32(0), u32(2), u64(0x12345678));
	struct bytes bad = B(u64(3), u64(0x20), u32(0), u32(4), u64(6), u64(0x4000), u32(0), u32(4), u64(0), u64(0x20), u32(0), u32(4), u64(7));
	struct bytes gold = B(u64(2));
	struct vreply *a = ask(r, 15, two);

	EXPECT_OK(a, 8);
	EXPECT_MEM(a->p, gold.b, 8);
	EXPECT_EQ(r->f.writes, 2);
	EXPECT_EQ(r->f.log[1].val, 0x5678);
	EXPECT_ERR(ask(r, 15, bad), EINVAL);
	EXPECT_EQ(r->f.bar[0x20], 6);
	EXPECT_ERR(ask(r, 15, B(u64(3), u64(0x20), u32(0), u32(4), u64(5))), EINVAL);	/* says 3, brings 1 */
	EXPECT_ERR(ask(r, 15, B(u64(1ull << 61), u64(0x20), u32(0), u32(4), u64(5))), EINVAL);
	EXPECT_ERR(ask(r, 15, B(u64(1), u64(0x20), u32(0), u32(9), u64(5))), EINVAL);	/* more than 8 bytes */
	EXPECT_ERR(ask(r, 15, B(u64(1), u64(0x20), u32(0), u32(0), u64(5))), EINVAL);
	EXPECT_OK(ask(r, 15, B(u64(0))), 8);
	say(r, 15, 0x10, two, NULL, 0);
	EXPECT(!hear(r)->there);
	EXPECT_EQ(r->f.bar[0x20], 5);
}

/* ---- interrupts: all rows of 2.5 ----------------------------------------------------------------------------- */

static struct bytes set_msg(uint32_t flags, uint32_t index, uint32_t start, uint32_t count)
{
	return B(u32(20), u32(flags), u32(index), u32(start), u32(count));
}

struct bells { int fd[16]; };

static struct bells bells_open(void)
{
	struct bells b;

	for (unsigned i = 0; i < 16; i++)
		b.fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return b;
}
static void bells_close(struct bells *b)
{
	for (unsigned i = 0; i < 16; i++)
		close(b->fd[i]);
}
#define BELLS(b) struct bells b __attribute__((cleanup(bells_close))) = bells_open()

static uint64_t rung(int fd) /* how often since the last look */
{
	uint64_t v = 0;

	return read(fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

/* 0x24 with descriptors binds, in a batch of 8; each vector rings its own. */
TEST(irq_bind_and_raise)
{
	VRIG(r);
	BELLS(b);

	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 3, 8), b.fd, 8), 0);
	for (unsigned v = 3; v < 11; v++) {
		EXPECT(r->f.d.irq(r->f.d.irq_ctx, v));
		for (unsigned i = 0; i < 8; i++)
			EXPECT_EQ(rung(b.fd[i]), i == v - 3);
	}
	EXPECT(!r->f.d.irq(r->f.d.irq_ctx, 2));
	EXPECT(!r->f.d.irq(r->f.d.irq_ctx, 11));
	EXPECT(!r->f.d.irq(r->f.d.irq_ctx, FAKE_VECTORS));
	EXPECT_EQ(vuser_server_counters(r->s)->irqs, 8);
}

/* A VM that is started again, or the next one, is interrupted like the first. (QEMU's guest waited 60 s for its first completion.) */
TEST(irq_of_the_next_client)
{
	VRIG(r);
	BELLS(b);

	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 0, 2), b.fd, 2), 0);
	vrig_hang_up(r);
	EXPECT_EQ(r->f.detached, 1);
	r->fd = vrig_dial(r);
	vrig_version(r);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 0, 2), b.fd, 2), 0);
	EXPECT(r->f.d.irq != NULL);
	EXPECT(r->f.d.irq(r->f.d.irq_ctx, 1));
	EXPECT_EQ(rung(b.fd[1]), 1);
	EXPECT_EQ(rung(b.fd[0]), 0);
}

/* 16 descriptors where so many were announced; above the announced number they are refused and closed. */
TEST(irq_batches)
{
	VRIG(r, .max_msg_fds = 16);
	BELLS(b);

	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 0, 16), b.fd, 16), 0);
	EXPECT(r->f.d.irq(r->f.d.irq_ctx, 15));
	EXPECT_EQ(rung(b.fd[15]), 1);
}

TEST(irq_too_many_fds)
{
	VRIG(r);
	BELLS(b);

	EXPECT_ERR(ask_fds(r, 8, set_msg(0x24, 2, 0, 9), b.fd, 9), EINVAL);
	EXPECT(!r->f.d.irq(r->f.d.irq_ctx, 0));
}

/* 0x24 without descriptors unbinds; binding again replaces. */
TEST(irq_unbind_and_rebind)
{
	VRIG(r);
	BELLS(b);

	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 0, 2), b.fd, 2), 0);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 0, 1), b.fd + 2, 1), 0);
	EXPECT(r->f.d.irq(r->f.d.irq_ctx, 0));
	EXPECT_EQ(rung(b.fd[0]), 0);
	EXPECT_EQ(rung(b.fd[2]), 1);
	EXPECT_OK(ask(r, 8, set_msg(0x24, 2, 0, 1)), 0);
	EXPECT(!r->f.d.irq(r->f.d.irq_ctx, 0));
	EXPECT(r->f.d.irq(r->f.d.irq_ctx, 1));
}

/* Raised while unbound: the device keeps it, and it rings at the bind. */
TEST(irq_pending_until_bound)
{
	VRIG(r);
	BELLS(b);

	fake_raise(&r->f, 5);
	EXPECT(r->f.pending[5]);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 5, 1), b.fd, 1), 0);
	EXPECT(!r->f.pending[5]);
	EXPECT_EQ(rung(b.fd[0]), 1);
}

/* 0x21 with count 0 disables the whole index, from any vector on to the last. */
TEST(irq_disable)
{
	VRIG(r);
	BELLS(b);

	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 12, 8), b.fd, 8), 0);
	EXPECT_ERR(ask(r, 8, set_msg(0x21, 2, 1, 0)), EINVAL); /* start must be 0 */
	EXPECT_OK(ask(r, 8, set_msg(0x21, 2, 0, 0)), 0);
	for (unsigned v = 12; v < 20; v++)
		EXPECT(!r->f.d.irq(r->f.d.irq_ctx, v));
}

/* 0x21 fires now, 0x22 fires where the byte is not 0. */
TEST(irq_fire)
{
	VRIG(r);
	BELLS(b);

	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 0, 4), b.fd, 4), 0);
	EXPECT_OK(ask(r, 8, set_msg(0x21, 2, 1, 2)), 0);
	EXPECT_EQ(rung(b.fd[0]), 0);
	EXPECT_EQ(rung(b.fd[1]), 1);
	EXPECT_EQ(rung(b.fd[2]), 1);
	EXPECT_OK(ask(r, 8, bytes_more(set_msg(0x22, 2, 0, 4), "\1\0\0\1", 4)), 0);
	EXPECT_EQ(rung(b.fd[0]), 1);
	EXPECT_EQ(rung(b.fd[1]), 0);
	EXPECT_EQ(rung(b.fd[3]), 1);
	EXPECT_ERR(ask(r, 8, bytes_more(set_msg(0x22, 2, 0, 4), "\1\0\0", 3)), EINVAL); /* a byte short */
}

/* 0x09 masks: the device keeps what it raises; 0x11 unmasks and it rings. */
TEST(irq_mask)
{
	VRIG(r);
	BELLS(b);

	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 0, 1), b.fd, 1), 0);
	EXPECT_OK(ask(r, 8, set_msg(0x09, 2, 0, 1)), 0);
	fake_raise(&r->f, 0);
	EXPECT_EQ(rung(b.fd[0]), 0);
	EXPECT_OK(ask(r, 8, set_msg(0x11, 2, 0, 1)), 0);
	EXPECT_EQ(rung(b.fd[0]), 1);
}

/* 0x0c and 0x14 bring an eventfd of the client's; INTx is never raised here, so it is taken and closed. */
TEST(irq_mask_by_eventfd)
{
	VRIG(r);
	BELLS(b);

	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 0, 0, 1), b.fd, 1), 0);
	EXPECT_OK(ask(r, 8, set_msg(0x09, 0, 0, 1)), 0);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x14, 0, 0, 1), b.fd + 1, 1), 0);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x0c, 0, 0, 1), b.fd + 2, 1), 0);
	EXPECT_ERR(ask(r, 8, set_msg(0x14, 0, 0, 1)), EINVAL); /* none came */
	EXPECT_OK(ask(r, 8, set_msg(0x11, 0, 0, 1)), 0);
	EXPECT_OK(ask(r, 8, set_msg(0x21, 0, 0, 0)), 0);
}

TEST(irq_refused)
{
	const struct { uint32_t flags, index, start, count; unsigned nfds; } bad[] = {
		{ 0x24, 5, 0, 1, 1 }, { 0x24, 2, 20, 1, 1 }, { 0x24, 2, 19, 2, 2 }, { 0x24, 2, 0xffffffff, 2, 2 }, { 0x24, 2, 0, 3, 2 },
		{ 0x24, 2, 0, 1, 2 }, { 0x24, 2, 0, 0, 0 }, { 0x24, 1, 0, 1, 1 }, { 0x21, 2, 0, 21, 0 }, { 0x21, 2, 0, 1, 1 },
		{ 0x21, 2, 0, 0xffffffff, 0 }, { 0, 2, 0, 1, 0 }, { 0x20, 2, 0, 1, 0 }, { 0x27, 2, 0, 1, 0 }, { 0x39, 2, 0, 1, 0 },
		{ 0x09, 2, 0, 0, 0 }, { 0x09, 3, 0, 1, 0 }, { 0x11, 3, 0, 1, 0 }, { 0x64, 2, 0, 1, 1 }, { 0x24, 0xffffffff, 0, 1, 1 },
	};
	VRIG(r);
	BELLS(b);

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		EXPECT_ERR(ask_fds(r, 8, set_msg(bad[i].flags, bad[i].index, bad[i].start, bad[i].count), b.fd, bad[i].nfds), EINVAL);
	EXPECT_ERR(ask(r, 8, B(u32(16), u32(0x21), u32(2), u32(0), u32(0))), EINVAL);
	EXPECT_ERR(ask(r, 8, B(u32(20), u32(0x21), u32(2), u32(0))), EINVAL);
}

/* A pipe whose reader is gone would kill us at the first interrupt, a full file or socket would stop us: only an eventfd will do. */
TEST(irq_only_eventfds)
{
	VRIG(r);
	int p[2], fd = memory(4096);

	EXPECT_EQ(pipe(p), 0);
	close(p[0]);
	EXPECT_ERR(ask_fds(r, 8, set_msg(0x24, 2, 0, 1), &p[1], 1), EINVAL);
	EXPECT_ERR(ask_fds(r, 8, set_msg(0x24, 2, 0, 1), &fd, 1), EINVAL);
	EXPECT_ERR(ask_fds(r, 8, set_msg(0x24, 2, 0, 1), &r->fd, 1), EINVAL);
	close(p[1]);
	close(fd);
}

/* A blocking eventfd with a full counter does not stop the device. */
TEST(irq_full_eventfd)
{
	VRIG(r);
	uint64_t most = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_CLOEXEC);

	EXPECT_EQ(write(fd, &most, 8), 8);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 0, 1), &fd, 1), 0);
	EXPECT(r->f.d.irq(r->f.d.irq_ctx, 0));
	close(fd);
}

/* ---- whole conversations ------------------------------------------------------------------------------------- */

static void config_dance(struct vrig *r) /* 3.3: steps 6 to 9 */
{
	EXPECT_OK(ask(r, 9, access_msg(0, 7, 4096)), 16 + 4096);
	EXPECT_OK(ask(r, 9, access_msg(0x30, 7, 4)), 20);
	EXPECT_OK(ask(r, 10, write_msg(0x30, 7, 4, 0xfffff800)), 16);
	EXPECT_OK(ask(r, 9, access_msg(0x30, 7, 4)), 20);
	EXPECT_OK(ask(r, 10, write_msg(0x30, 7, 4, 0)), 16);
	for (unsigned bar = 0; bar < 6; bar++)
		EXPECT_OK(ask(r, 9, access_msg(0x10 + 4 * bar, 7, 4)), 20);
	EXPECT_OK(ask(r, 7, B(u32(16), u32(0), u32(2), u32(0))), 16);
	EXPECT_OK(ask(r, 9, access_msg(0x3d, 7, 1)), 17);
}

static void reset_dance(struct vrig *r, struct bells *b) /* 3.3: steps 10 to 12 */
{
	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 0, 0, 1), b->fd, 1), 0);
	EXPECT_OK(ask(r, 8, set_msg(0x09, 0, 0, 1)), 0);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x14, 0, 0, 1), b->fd + 1, 1), 0);
	EXPECT_OK(ask(r, 8, set_msg(0x11, 0, 0, 1)), 0);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 3, 0, 1), b->fd + 2, 1), 0);
	EXPECT_OK(ask(r, 8, set_msg(0x21, 0, 0, 0)), 0);
	EXPECT_OK(ask(r, 10, write_msg(4, 7, 2, 0)), 16);
	EXPECT_OK(ask(r, 13, NOTHING), 0);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 0, 0, 1), b->fd, 1), 0);
	for (unsigned bar = 0; bar < 6; bar++)
		EXPECT_OK(ask(r, 10, write_msg(0x10 + 4 * bar, 7, 4, 0)), 16);
}

/* 3.3: QEMU 11.1's order from connect to boot. RAM vanishes for a moment and comes back cut differently; our own BAR is mapped
 * without a descriptor. */
TEST(qemu_trace_order)
{
	VRIG(r, .map_doorbells = true);
	BELLS(b);
	int ram = memory(0x200000);
	struct vreply *a;

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0, 0x200000), &ram, 1), 0);
	EXPECT_OK(ask(r, 2, map_msg(1, 0, 0xfffc0000, 0x40000)), 0);
	EXPECT_OK(ask(r, 4, B(u32(16), u32(0), u32(0), u32(0))), 16);
	for (unsigned i = 0; i < 8; i++) {
		uint32_t need;

		if (i == 6)
			continue;
		a = ask(r, 5, region_ask(32, i));
		EXPECT_OK(a, 32);
		memcpy(&need, a->p, 4);
		if (need == 32)
			continue;
		a = ask(r, 5, region_ask(need, i));
		EXPECT_OK(a, need);
		EXPECT_EQ(a->nfds, 1);
		close(a->fd[0]);
	}
	EXPECT_OK(ask(r, 7, B(u32(16), u32(0), u32(3), u32(0))), 16);
	config_dance(r);
	reset_dance(r, &b);
	EXPECT_OK(ask(r, 3, unmap_msg(0, 0, 0x200000)), 24);
	EXPECT_EQ(r->f.d.gmem.count, 1);
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0, 0xc0000), &ram, 1), 0);
	EXPECT_OK(ask_fds(r, 2, map_msg(1, 0xc0000, 0xc0000, 0x40000), &ram, 1), 0);
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0x100000, 0x100000, 0x100000), &ram, 1), 0);
	EXPECT_OK(ask(r, 10, write_msg(0x10, 7, 4, 0xfebf8000)), 16);
	EXPECT_OK(ask(r, 10, write_msg(4, 7, 2, 0x406)), 16);
	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0xfebf9000, 0x1000)), 0);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 0, 1), b.fd + 3, 1), 0);
	EXPECT_OK(ask_fds(r, 8, set_msg(0x24, 2, 1, 1), b.fd + 4, 1), 0);
	EXPECT_OK(ask(r, 3, unmap_msg(0, 0xfebf9000, 0x1000)), 24);
	EXPECT_EQ(r->f.d.gmem.count, 4);
	EXPECT_EQ(r->f.resets, 1);
	close(ram);
}

static struct bytes padded(struct bytes b, size_t n) /* SPDK sends its whole buffer */
{
	b.n = n;
	return b;
}

/* Section 6: SPDK's client. Message id always 0, no JSON, region requests of 4064 bytes, replies within 4096 and in one piece,
 * a descriptor on DMA_UNMAP. */
TEST(spdk_sequence)
{
	VRIG_RAW(r, .map_doorbells = true);
	int mem = memory(4 << 20);
	struct vreply *a;

	r->id = 0xffff; /* say() counts up: 0 */
	EXPECT_EQ(ask(r, 1, B(u16(0), u16(0)))->error, 0);
	for (unsigned i = 0; i < 9; i++) {
		r->id = 0xffff;
		a = ask(r, 5, padded(region_ask(4064, i), 4064));
		EXPECT_OK(a, i == 0 ? 64 : 32);
		EXPECT_EQ(a->nfds, i == 0);
		if (a->nfds)
			close(a->fd[0]);
	}
	r->id = 0xffff;
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0x200000, 0x200000200000ull, 0x200000), &mem, 1), 0);
	EXPECT_OK(ask(r, 9, access_msg(4, 7, 2)), 18);
	EXPECT_OK(ask(r, 10, write_msg(4, 7, 2, 0x404)), 16);
	EXPECT_OK(ask(r, 9, access_msg(0, 0, 8)), 24);
	EXPECT_OK(ask(r, 10, write_msg(0x14, 0, 4, 0x460001)), 16);
	EXPECT_OK(ask_fds(r, 3, unmap_msg(0, 0x200000200000ull, 0x200000), &mem, 1), 24);
	EXPECT_EQ(r->f.d.gmem.count, 0);
	close(mem);
}

/* The header and the payload come in one read: SPDK reads the payload only once. */
TEST(reply_in_one_piece)
{
	VRIG(r);
	uint8_t b[8192];

	say(r, 9, 0, access_msg(0, 7, 4096), NULL, 0);
	pump(r);
	EXPECT_EQ(recv(r->fd, b, sizeof(b), MSG_DONTWAIT), 16 + 16 + 4096);
}

/* ---- listening ----------------------------------------------------------------------------------------------- */

/* A live socket is refused with a sentence that names it; what it serves is not disturbed. */
TEST(listen_live_socket)
{
	VRIG(r);
	struct vuser_server_cfg cfg = { .path = r->path };
	struct fake other;
	struct err err = { "" };

	fake_init(&other);
	EXPECT(vuser_server_new(NULL, &other.d, &cfg, &err) == NULL);
	EXPECT(strstr(err.text, r->path) && strstr(err.text, "another server"));
	EXPECT(other.d.irq == NULL);
	EXPECT_OK(ask(r, 13, NOTHING), 0);
}

/* What a killed server left behind is replaced; something else of that name is not. */
TEST(listen_stale_socket)
{
	static struct fake f;
	char path[64];
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct vuser_server_cfg cfg = { .path = path };
	struct vuser_server *s;
	struct err err = { "" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	fake_init(&f);
	snprintf(path, sizeof(path), "/tmp/ferry-stale-%d", (int)getpid());
	strcpy(a.sun_path, path);
	EXPECT_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	s = vuser_server_new(NULL, &f.d, &cfg, &err);
	EXPECT(s != NULL);
	vuser_server_free(s);
	EXPECT(access(path, F_OK) != 0);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	EXPECT(vuser_server_new(NULL, &f.d, &cfg, &err) == NULL);
	EXPECT_EQ(access(path, F_OK), 0);
	unlink(path);
}

TEST(listen_path_too_long)
{
	static struct fake f;
	char path[200];
	struct vuser_server_cfg cfg = { .path = path };
	struct err err = { "" };

	fake_init(&f);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	EXPECT(vuser_server_new(NULL, &f.d, &cfg, &err) == NULL);
	EXPECT(err.text[0] != 0);
}

/* One client at a time: the second waits, and is served when the first has left. */
TEST(second_client_waits)
{
	VRIG(r);
	int first = r->fd;

	r->fd = vrig_dial(r);
	say(r, 1, 0, B(u16(0), u16(0)), NULL, 0);
	EXPECT(!hear(r)->there);
	close(first);
	EXPECT(hear(r)->there);
	EXPECT_EQ(r->f.detached, 1);
	EXPECT_EQ(vuser_server_counters(r->s)->clients, 2);
}

/* The last posted writes of a client that leaves have happened. */
TEST(writes_before_leaving)
{
	VRIG(r);

	for (unsigned i = 0; i < 50; i++)
		say(r, 10, 0x10, write_msg(0x1000, 0, 4, i), NULL, 0);
	vrig_hang_up(r);
	EXPECT_EQ(r->f.writes, 50);
	EXPECT_EQ(r->f.detached, 1);
	EXPECT_EQ(vuser_server_counters(r->s)->dropped, 0);
}

/* adopt: a connected socket instead of a path; a second one is refused and closed. */
TEST(adopt)
{
	VRIG_RAW(r);
	int p[2], q[2];

	close(r->fd);
	pump(r);
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, q), 0);
	EXPECT_EQ(vuser_server_adopt(r->s, p[1]), 0);
	EXPECT_EQ(vuser_server_adopt(r->s, q[1]), -EBUSY);
	close(q[0]);
	r->fd = p[0];
	vrig_version(r);
}
