/* Guest memory through the vfio-user server: mapping, unmapping while the device holds on, and memory by message both ways. */
#include <signal.h>

#include "vuser_rig.h"

/* ---- DMA_MAP (2.4) ------------------------------------------------------------------------------------------- */

/* A map with a descriptor is the same memory, from the file offset on. */
TEST(map_is_shared)
{
	VRIG(r);
	int fd = memory(0x10000);
	uint8_t *mine = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *theirs;

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0x4000, 0x100000000ull, 0x8000), &fd, 1), 0);
	theirs = gmem_ptr(&r->f.d.gmem, 0x100000010ull, 0x7ff0, true);
	EXPECT(theirs != NULL);
	mine[0x4010] = 42;
	EXPECT_EQ(theirs[0], 42);
	theirs[1] = 43;
	EXPECT_EQ(mine[0x4011], 43);
	EXPECT(gmem_ptr(&r->f.d.gmem, 0x100007fffull, 2, false) == NULL);
	munmap(mine, 0x10000);
	close(fd);
}

/* More than 4 GiB, in one map. */
TEST(map_large)
{
	VRIG(r);
	uint64_t size = 6ull << 30;
	int fd = memory(size);
	uint8_t *p;

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0x100000000ull, size), &fd, 1), 0);
	p = gmem_ptr(&r->f.d.gmem, 0x100000000ull + size - 8, 8, true);
	EXPECT(p != NULL);
	p[0] = 9;
	EXPECT_EQ(pread(fd, (uint8_t[8]){ 0 }, 8, (off_t)size - 8), 8);
	EXPECT_OK(ask(r, 3, unmap_msg(0, 0x100000000ull, size)), 24);
	close(fd);
}

/* Rights are what the flags say: the device cannot write a read-only map. */
TEST(map_rights)
{
	VRIG(r);
	int fd = memory(0x2000);

	EXPECT_OK(ask_fds(r, 2, map_msg(1, 0, 0, 0x1000), &fd, 1), 0);
	EXPECT_OK(ask(r, 2, map_msg(1, 0, 0xfffc0000, 0x40000)), 0);
	EXPECT(gmem_ptr(&r->f.d.gmem, 0, 16, false) != NULL);
	EXPECT(gmem_ptr(&r->f.d.gmem, 0, 16, true) == NULL);
	EXPECT(gmem_covers(&r->f.d.gmem, 0xfffc0000, 16, false));
	EXPECT(!gmem_covers(&r->f.d.gmem, 0xfffc0000, 16, true));
	EXPECT(gmem_ptr(&r->f.d.gmem, 0xfffc0000, 16, false) == NULL); /* by message */
	close(fd);
}

/* The identical map again is success and changes nothing; anything else over it is EEXIST. */
TEST(map_overlaps)
{
	VRIG(r);
	int fd = memory(0x10000), other = memory(0x10000);

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0x10000, 0x4000), &fd, 1), 0);
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0x10000, 0x4000), &fd, 1), 0);
	EXPECT_EQ(r->f.d.gmem.count, 1);
	EXPECT_ERR(ask_fds(r, 2, map_msg(3, 0, 0x10000, 0x4000), &other, 1), EEXIST);
	EXPECT_ERR(ask(r, 2, map_msg(3, 0, 0x10000, 0x4000)), EEXIST);
	EXPECT_ERR(ask_fds(r, 2, map_msg(1, 0, 0x10000, 0x4000), &fd, 1), EEXIST);
	EXPECT_ERR(ask_fds(r, 2, map_msg(3, 0x1000, 0x10000, 0x4000), &fd, 1), EEXIST);
	EXPECT_ERR(ask_fds(r, 2, map_msg(3, 0, 0x13000, 0x4000), &fd, 1), EEXIST);
	EXPECT_ERR(ask_fds(r, 2, map_msg(3, 0, 0xf000, 0x2000), &fd, 1), EEXIST);
	EXPECT_ERR(ask_fds(r, 2, map_msg(3, 0, 0x11000, 0x1000), &fd, 1), EEXIST);
	EXPECT_ERR(ask_fds(r, 2, map_msg(3, 0, 0xf000, 0x10000), &fd, 1), EEXIST);
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0x14000, 0x4000), &fd, 1), 0);
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0xc000, 0x4000), &fd, 1), 0);
	EXPECT_EQ(r->f.d.gmem.count, 3);
	close(fd);
	close(other);
}

TEST(map_refused)
{
	static const struct { uint32_t flags; uint64_t off, iova, size; } bad[] = {
		{ 3, 0, 0, 0 }, { 3, 0, 0x800, 0x1000 }, { 3, 0, 0, 0x800 }, { 3, 0x10, 0, 0x1000 }, { 3, 0, 0, 0x20000 },
		{ 3, 0xf000, 0, 0x2000 }, { 3, UINT64_MAX - 0xfff, 0, 0x1000 }, { 3, UINT64_MAX - 0xfff, 0, 0x2000 },
		{ 3, 0, UINT64_MAX - 0xfff, 0x2000 }, { 3, 0, 0x1000, UINT64_MAX - 0xfff }, { 3, 0x7ffffffffffff000ull, 0, 0x1000 },
		{ 0x13, 0, 0, 0x1000 }, { 0x80000003, 0, 0, 0x1000 },
	};
	VRIG(r);
	int fd = memory(0x10000), two[2] = { fd, fd }, dir = open("/tmp", O_RDONLY | O_DIRECTORY), p[2];
	struct bytes shorter = map_msg(3, 0, 0, 0x1000);

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		EXPECT_ERR(ask_fds(r, 2, map_msg(bad[i].flags, bad[i].off, bad[i].iova, bad[i].size), &fd, 1), EINVAL);
	EXPECT_ERR(ask_fds(r, 2, map_msg(3, 0, 0, 0x1000), two, 2), EINVAL);
	EXPECT_ERR(ask(r, 2, map_msg(7, 0, 0, 0x1000)), EINVAL);		/* mmap or file I/O without a file */
	EXPECT_ERR(ask(r, 2, map_msg(0xb, 0, 0, 0x1000)), EINVAL);
	EXPECT_ERR(ask_fds(r, 2, map_msg(1, 0, 0, 0x1000), &dir, 1), EINVAL);
	EXPECT_EQ(pipe(p), 0);
	EXPECT_ERR(ask_fds(r, 2, map_msg(1, 0, 0, 0x1000), &p[0], 1), EINVAL);
	shorter.n = 31;
	EXPECT_ERR(ask_fds(r, 2, shorter, &fd, 1), EINVAL);
	shorter.n = 32;
	shorter.b[0] = 31;
	EXPECT_ERR(ask_fds(r, 2, shorter, &fd, 1), EINVAL);
	EXPECT_EQ(r->f.d.gmem.count, 0);
	EXPECT_OK(ask_fds(r, 2, map_msg(7, 0, 0, 0x1000), &fd, 1), 0);		/* and the rig still works */
	close(fd);
	close(dir);
	close(p[0]);
	close(p[1]);
}

/* A client cannot take all of our address space. */
TEST(map_too_much)
{
	VRIG(r);
	uint64_t size = 9ull << 40;
	int fd = memory(size);

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0, size), &fd, 1), 0);
	EXPECT_ERR(ask_fds(r, 2, map_msg(3, 0, size, size), &fd, 1), ENOMEM);
	EXPECT_OK(ask(r, 3, unmap_msg(0, 0, size)), 24);
	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, size, size), &fd, 1), 0);
	close(fd);
}

/* A file we may not write cannot be mapped for writing. */
TEST(map_read_only_file)
{
	VRIG(r);
	int fd = memory(0x1000), ro;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	EXPECT(ro >= 0);
	EXPECT_ERR(ask_fds(r, 2, map_msg(3, 0, 0, 0x1000), &ro, 1), EACCES);
	EXPECT_OK(ask_fds(r, 2, map_msg(1, 0, 0, 0x1000), &ro, 1), 0);
	close(fd);
	close(ro);
}

/* A client that shrinks its file costs a command, not the server: the page reads as zeroes and the table says so. */
TEST(map_file_shrinks)
{
	VRIG(r);
	int fd = memory(0x4000);
	uint8_t *p;

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0, 0x4000), &fd, 1), 0);
	p = gmem_ptr(&r->f.d.gmem, 0, 0x4000, true);
	p[0x3000] = 1;
	EXPECT_EQ(ftruncate(fd, 0x1000), 0);
	EXPECT_EQ(r->f.d.gmem.lost, 0);
	EXPECT_EQ(*(volatile uint8_t *)&p[0x3000], 0);
	EXPECT_EQ(r->f.d.gmem.lost, 1);
	*(volatile uint8_t *)&p[0x2000] = 5;
	EXPECT_OK(ask(r, 3, unmap_msg(0, 0, 0x4000)), 24);
	close(fd);
}

/* ---- DMA_UNMAP ----------------------------------------------------------------------------------------------- */

TEST(unmap_exact)
{
	VRIG(r);
	struct bytes gold = unmap_msg(0, 0x10000, 0x4000);
	int fd = memory(0x4000);
	struct vreply *a;

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0x10000, 0x4000), &fd, 1), 0);
	EXPECT_ERR(ask(r, 3, unmap_msg(0, 0x10000, 0x3000)), ENOENT);
	EXPECT_ERR(ask(r, 3, unmap_msg(0, 0x11000, 0x3000)), ENOENT);
	EXPECT_ERR(ask(r, 3, unmap_msg(0, 0, 0)), ENOENT);
	EXPECT_ERR(ask(r, 3, unmap_msg(1, 0x10000, 0x4000)), EINVAL);
	EXPECT_ERR(ask(r, 3, unmap_msg(2, 0x10000, 0x4000)), EINVAL);
	EXPECT_ERR(ask(r, 3, unmap_msg(4, 0x10000, 0x4000)), EINVAL);
	EXPECT_ERR(ask(r, 3, B(u32(24), u32(0), u64(0x10000), u32(0x4000))), EINVAL);
	a = ask(r, 3, gold);
	EXPECT_OK(a, 24);
	EXPECT_MEM(a->p, gold.b, 24);
	EXPECT_ERR(ask(r, 3, gold), ENOENT);
	close(fd);
}

TEST(unmap_all)
{
	VRIG(r);
	int fd = memory(0x4000);

	for (unsigned i = 0; i < 100; i++)
		EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, i * 0x8000, 0x4000), &fd, i % 2), 0);
	EXPECT_EQ(r->f.d.gmem.count, 100);
	EXPECT_OK(ask(r, 3, unmap_msg(2, 0, 0)), 24);
	EXPECT_EQ(r->f.d.gmem.count, 0);
	EXPECT_OK(ask(r, 3, unmap_msg(2, 0, 0)), 24); /* of nothing */
	close(fd);
}

/* The reply comes only when the device has let go; what the client said afterwards waits, in order; nobody else waits. */
TEST(unmap_waits_for_device)
{
	VRIG(r);
	int fd = memory(0x4000);
	uint8_t *p;

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0, 0x4000), &fd, 1), 0);
	p = gmem_ptr(&r->f.d.gmem, 0, 8, true);
	gmem_hold(&r->f.d.gmem);
	say(r, 3, 0, unmap_msg(0, 0, 0x4000), &fd, 1);
	say(r, 10, 0x10, bytes_more(B(u64(0x20), u32(0), u32(4)), "\1\2\3\4", 4), NULL, 0);
	say(r, 2, 0, map_msg(3, 0, 0, 0x2000), &fd, 1);
	EXPECT(!hear(r)->there);
	EXPECT(r->f.d.gmem.draining);
	EXPECT_EQ(r->f.writes, 0);
	p[0] = 1; /* still mapped */
	EXPECT(!vuser_server_poll(r->s)); /* waiting burns nothing */
	gmem_release(&r->f.d.gmem);
	EXPECT_EQ(hear(r)->cmd, 3);
	EXPECT_EQ(hear(r)->cmd, 2);
	EXPECT_EQ(r->f.writes, 1);
	EXPECT_EQ(r->f.d.gmem.maps[0].size, 0x2000);
	close(fd);
}

TEST(unmap_all_waits_for_device)
{
	VRIG(r);

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x4000)), 0);
	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0x8000, 0x4000)), 0);
	gmem_hold(&r->f.d.gmem);
	say(r, 3, 0, unmap_msg(2, 0, 0), NULL, 0);
	EXPECT(!hear(r)->there);
	gmem_release(&r->f.d.gmem);
	EXPECT(hear(r)->there);
	EXPECT_EQ(r->f.d.gmem.count, 0);
}

/* A server that looks at its idle socket only now and then still answers the unmap at once when the device lets go: only the
 * device's own doing wakes the loop then. */
TEST(unmap_with_idle_skip)
{
	VRIG_RAW(r, .idle_skip = 50);

	say(r, 1, 0, B(u16(0), u16(0)), NULL, 0);
	for (unsigned i = 0; i < 60; i++)
		vuser_server_poll(r->s);
	EXPECT(hear(r)->there);
	say(r, 2, 0, map_msg(3, 0, 0, 0x4000), NULL, 0);
	say(r, 3, 0, unmap_msg(0, 0, 0x4000), NULL, 0);
	gmem_hold(&r->f.d.gmem);
	for (unsigned i = 0; i < 60; i++)
		vuser_server_poll(r->s);
	EXPECT_EQ(hear(r)->cmd, 2);
	gmem_release(&r->f.d.gmem);
	EXPECT(vuser_server_poll(r->s));
	EXPECT_EQ(hear(r)->cmd, 3);
	close(r->fd);
	r->fd = -1;
	for (unsigned i = 0; i < 120; i++)
		vuser_server_poll(r->s);
}

/* A client that leaves while the device holds its memory: the memory stays until the device lets go, then the next may come. */
TEST(leave_while_held)
{
	VRIG(r);
	int fd = memory(0x4000);
	uint8_t *p;

	EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, 0, 0x4000), &fd, 1), 0);
	p = gmem_ptr(&r->f.d.gmem, 0, 8, true);
	gmem_hold(&r->f.d.gmem);
	vrig_hang_up(r);
	EXPECT_EQ(r->f.detached, 0);
	p[0] = 7;
	r->fd = vrig_dial(r);
	say(r, 1, 0, B(u16(0), u16(0)), NULL, 0);
	EXPECT(!hear(r)->there);
	gmem_release(&r->f.d.gmem);
	EXPECT(hear(r)->there);
	EXPECT_EQ(r->f.detached, 1);
	close(fd);
}

/* ---- memory by message (2.6) --------------------------------------------------------------------------------- */

static struct done { unsigned n; int rc; } done_of[256];

static void on_done(struct gmem_op *op, int rc)
{
	struct done *d = op->ctx;

	d->n++;
	d->rc = rc;
}

static int submit(struct vrig *r, struct gmem_op *op, uint64_t iova, void *buf, uint32_t len, bool write, unsigned i)
{
	done_of[i] = (struct done){ 0 };
	*op = (struct gmem_op){ .iova = iova, .buf = buf, .len = len, .write = write, .done = on_done, .ctx = &done_of[i] };
	return gmem_submit(&r->f.d.gmem, op);
}

static void reply(struct vrig *r, unsigned id, unsigned cmd, uint32_t flags, uint32_t error, struct bytes p)
{
	struct bytes m = B(u16(id), u16(cmd), u32(16 + p.n), u32(flags), u32(error));

	m = bytes_more(m, p.b, p.n);
	EXPECT_EQ(send_fds(r->fd, m.b, m.n, NULL, 0), m.n);
	pump(r);
}

/* DMA_READ: 16 bytes ask, 64-bit count; the answer's data lands in the device's buffer. */
TEST(dma_read)
{
	VRIG(r);
	struct bytes gold = B(u64(0x1010), u64(8));
	struct gmem_op op;
	uint8_t buf[8] = "";
	struct vreply *a;

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0x1000, 0x1000)), 0);
	EXPECT_EQ(submit(r, &op, 0x1010, buf, 8, false, 0), 0);
	a = hear(r);
	EXPECT(a->there);
	EXPECT_EQ(a->cmd, 11);
	EXPECT_EQ(a->flags, 0);
	EXPECT_EQ(a->size, 32);
	EXPECT_MEM(a->p, gold.b, 16);
	EXPECT_EQ(done_of[0].n, 0);
	reply(r, a->id, 11, 1, 0, bytes_more(gold, "abcdefg", 8));
	EXPECT_EQ(done_of[0].n, 1);
	EXPECT_EQ(done_of[0].rc, 0);
	EXPECT_STR(buf, "abcdefg");
}

/* DMA_WRITE: ask carries the data, the answer is 16 bytes. */
TEST(dma_write)
{
	VRIG(r);
	struct bytes gold = B(u64(0x1ff8), u64(8));
	struct gmem_op op;
	uint8_t buf[8] = "1234567";
	struct vreply *a;

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0x1000, 0x1000)), 0);
	EXPECT_EQ(submit(r, &op, 0x1ff8, buf, 8, true, 0), 0);
	a = hear(r);
	EXPECT_EQ(a->cmd, 12);
	EXPECT_EQ(a->size, 40);
	EXPECT_MEM(a->p, gold.b, 16);
	EXPECT_MEM(a->p + 16, buf, 8);
	reply(r, a->id, 12, 1, 0, gold);
	EXPECT_EQ(done_of[0].n, 1);
	EXPECT_EQ(done_of[0].rc, 0);
}

/* Many at once, answered last first, with the client's own commands in between: none waits for another. */
TEST(dma_reordered)
{
	VRIG(r);
	enum { N = 100 };
	static struct gmem_op op[N];
	static uint32_t buf[N];
	unsigned id[N], got = 0, out;

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x10000)), 0);
	for (unsigned i = 0; i < N; i++)
		EXPECT_EQ(submit(r, &op[i], i * 16, &buf[i], 4, false, i), 0);
	while (got < N) { /* the server keeps as many in flight as it has places for */
		struct vreply *a;
		unsigned first = got;

		for (a = hear(r); a->there; a = hear(r)) {
			uint64_t addr;

			memcpy(&addr, a->p, 8);
			EXPECT_EQ(addr, got * 16);
			id[got++] = a->id;
		}
		EXPECT(got > first);
		EXPECT_OK(ask(r, 9, B(u64(0), u32(7), u32(4))), 20);
		for (out = got; out-- > first;)
			reply(r, id[out], 11, 1, 0, B(u64(out * 16), u64(4), u32(out + 1000)));
	}
	for (unsigned i = 0; i < N; i++) {
		EXPECT_EQ(done_of[i].n, 1);
		EXPECT_EQ(done_of[i].rc, 0);
		EXPECT_EQ(buf[i], i + 1000);
	}
}

/* A transfer above what the client can take goes in parts. */
TEST(dma_in_parts)
{
	static const char json[] = "{\"capabilities\":{\"max_data_xfer_size\":4096}}";
	VRIG_RAW(r);
	static uint8_t buf[10000];
	struct gmem_op op;
	uint64_t at = 0;

	EXPECT_EQ(ask(r, 1, bytes_more(B(u16(0), u16(0)), json, sizeof(json)))->error, 0);
	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x10000)), 0);
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 11);
	EXPECT_EQ(submit(r, &op, 0x100, buf, sizeof(buf), true, 0), 0);
	while (at < sizeof(buf)) {
		struct vreply *a = hear(r);
		uint64_t v[2];

		EXPECT_EQ(a->cmd, 12);
		memcpy(v, a->p, 16);
		EXPECT_EQ(v[0], 0x100 + at);
		EXPECT(v[1] <= 4096);
		EXPECT_MEM(a->p + 16, buf + at, v[1]);
		EXPECT_EQ(done_of[0].n, 0);
		at += v[1];
		reply(r, a->id, 12, 1, 0, B(u64(v[0]), u64(v[1])));
	}
	EXPECT_EQ(done_of[0].n, 1);
	EXPECT_EQ(done_of[0].rc, 0);
}

/* QEMU loses what its socket does not take at once: however much is to be read, no more is asked for than a socket holds that nobody reads. */
TEST(dma_reads_fit_a_socket)
{
	enum { N = 8, LEN = 131072, HOLDS = 65536 };
	static uint8_t buf[N][LEN];
	struct { unsigned id; uint64_t n; } out[64];
	struct gmem_op op[N];
	unsigned first = 0, last = 0, ended = 0;
	uint64_t sum = 0;
	VRIG(r);

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, N * LEN)), 0);
	for (unsigned i = 0; i < N; i++)
		EXPECT_EQ(submit(r, &op[i], i * LEN, buf[i], LEN, false, i), 0);
	for (;;) {
		struct vreply *a = hear(r);

		if (a->there) {
			EXPECT(last < ARRAY_LEN(out));
			out[last].id = a->id;
			memcpy(&out[last].n, a->p + 8, 8);
			sum += out[last++].n;
			EXPECT(sum <= HOLDS);
			continue;
		}
		if (first == last)
			break;
		sum -= out[first].n;
		reply(r, out[first++].id, 11, 0x21, EIO, NOTHING);
	}
	for (unsigned i = 0; i < N; i++)
		ended += done_of[i].n;
	EXPECT_EQ(ended, N);
	EXPECT(last >= N);
}

/* An error answer fails the transfer with its number; QEMU says ENODEV while bus mastering is off. */
TEST(dma_error_reply)
{
	VRIG(r);
	struct gmem_op op;
	uint8_t buf[8];

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x1000)), 0);
	EXPECT_EQ(submit(r, &op, 0, buf, 8, false, 0), 0);
	reply(r, hear(r)->id, 11, 0x21, ENODEV, NOTHING);
	EXPECT_EQ(done_of[0].rc, -ENODEV);
}

/* An answer that does not fit the question is no data. */
TEST(dma_wrong_replies)
{
	const struct { unsigned cmd; struct bytes p; } bad[] = {
		{ 11, NOTHING }, { 11, B(u64(0), u64(8)) }, { 11, B(u64(0), u64(8), u32(1)) }, { 11, B(u64(0), u64(4), u64(1)) },
		{ 11, B(u64(8), u64(8), u64(1)) }, { 11, B(u64(0), u64(8), u64(1), u64(2)) },
	};
	VRIG(r);
	struct gmem_op op;
	uint8_t buf[8] = "";

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x1000)), 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		EXPECT_EQ(submit(r, &op, 0, buf, 8, false, 0), 0);
		reply(r, hear(r)->id, bad[i].cmd, 1, 0, bad[i].p);
		EXPECT_EQ(done_of[0].n, 1);
		EXPECT_EQ(done_of[0].rc, -EIO);
		EXPECT_EQ(buf[0], 0);
	}
}

/* Answers to nothing, to another command, or twice, are passed over. */
TEST(dma_replies_to_nothing)
{
	VRIG(r);
	struct bytes data = B(u64(0), u64(8), u64(5));
	struct gmem_op op;
	uint64_t buf = 0;
	unsigned id;

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x1000)), 0);
	reply(r, 0, 11, 1, 0, data);
	EXPECT_EQ(submit(r, &op, 0, (uint8_t *)&buf, 8, false, 0), 0);
	id = hear(r)->id;
	reply(r, id + 1, 11, 1, 0, data);
	reply(r, id + 64, 11, 1, 0, data);
	reply(r, id, 12, 1, 0, data);
	EXPECT_EQ(done_of[0].n, 0);
	reply(r, id, 11, 1, 0, data);
	reply(r, id, 11, 1, 0, data);
	EXPECT_EQ(done_of[0].n, 1);
	EXPECT_EQ(buf, 5);
	EXPECT_OK(ask(r, 13, NOTHING), 0);
}

static struct gmem_op *held_op;
static void on_done_release(struct gmem_op *op, int rc)
{
	on_done(op, rc);
	gmem_release(&CONTAINER_OF(op->own.g, struct device, gmem)->gmem);
}

/* An unmap waits for a transfer by message, whose answer comes behind the unmap: it must still be read, or nobody would move. */
TEST(unmap_waits_for_message)
{
	VRIG(r);
	struct gmem_op op = { .iova = 0, .buf = (uint8_t[8]){ 0 }, .len = 8, .done = on_done_release, .ctx = &done_of[0] };
	unsigned id;

	done_of[0] = (struct done){ 0 };
	held_op = &op;
	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x1000)), 0);
	gmem_hold(&r->f.d.gmem);
	EXPECT_EQ(gmem_submit(&r->f.d.gmem, &op), 0);
	id = hear(r)->id;
	say(r, 3, 0, unmap_msg(0, 0, 0x1000), NULL, 0);
	say(r, 9, 0, B(u64(0), u32(7), u32(4)), NULL, 0);
	EXPECT(!hear(r)->there);
	reply(r, id, 11, 1, 0, B(u64(0), u64(8), u64(5)));
	EXPECT_EQ(done_of[0].n, 1);
	EXPECT_EQ(hear(r)->cmd, 3);
	EXPECT_EQ(hear(r)->cmd, 9);
}

/* Even where the device does not hold the table: a request on its way pins its map. */
TEST(unmap_waits_for_unheld_message)
{
	VRIG(r);
	struct gmem_op op;
	uint64_t buf = 0;
	unsigned id;

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x1000)), 0);
	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0x1000, 0x1000)), 0);
	EXPECT_EQ(submit(r, &op, 0, &buf, 8, true, 0), 0);
	id = hear(r)->id;
	EXPECT_OK(ask(r, 3, unmap_msg(0, 0x1000, 0x1000)), 24); /* the other map is free to go */
	say(r, 3, 0, unmap_msg(0, 0, 0x1000), NULL, 0);
	EXPECT(!hear(r)->there);
	reply(r, id, 12, 1, 0, B(u64(0), u64(8)));
	EXPECT_EQ(done_of[0].rc, 0);
	EXPECT_EQ(hear(r)->cmd, 3);
}

/* The client goes: every transfer out or waiting ends with an error, once; new ones are refused. */
TEST(dma_client_leaves)
{
	VRIG(r);
	enum { N = 80 };
	static struct gmem_op op[N], late;
	static uint64_t buf[N];

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x10000)), 0);
	for (unsigned i = 0; i < N; i++)
		EXPECT_EQ(submit(r, &op[i], i * 8, &buf[i], 8, i % 2, i), 0);
	vrig_hang_up(r);
	for (unsigned i = 0; i < N; i++) {
		EXPECT_EQ(done_of[i].n, 1);
		EXPECT_EQ(done_of[i].rc, -ENODEV);
	}
	EXPECT(submit(r, &late, 0, buf, 8, false, 0) < 0);
	EXPECT(r->f.d.gmem.remote == NULL);
}

/* A client that never answers: the transfer fails, a late answer changes nothing. */
TEST(dma_never_answered)
{
	VRIG(r, .dma_timeout_ms = 1);
	struct gmem_op op;
	uint64_t buf = 0;
	unsigned id;

	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x1000)), 0);
	EXPECT_EQ(vuser_server_deadline(r->s), UINT64_MAX);
	EXPECT_EQ(submit(r, &op, 0, &buf, 8, false, 0), 0);
	EXPECT(vuser_server_deadline(r->s) != UINT64_MAX);
	while (!done_of[0].n)
		vuser_server_poll(r->s);
	EXPECT_EQ(done_of[0].rc, -ETIMEDOUT);
	id = hear(r)->id;
	reply(r, id, 11, 1, 0, B(u64(0), u64(8), u64(5)));
	EXPECT_EQ(done_of[0].n, 1);
	EXPECT_EQ(buf, 0);
	EXPECT_OK(ask(r, 13, NOTHING), 0);
}

/* One op whose `done` asks again: the queue is used while it is being emptied. */
static struct vrig *again_rig;
static unsigned again_left;
static void on_done_again(struct gmem_op *op, int rc)
{
	on_done(op, rc);
	if (!rc && again_left) {
		again_left--;
		EXPECT_EQ(gmem_submit(&again_rig->f.d.gmem, op), 0);
	}
}

TEST(dma_from_done)
{
	VRIG(r);
	uint64_t buf = 7;
	struct gmem_op op = { .iova = 8, .buf = (uint8_t *)&buf, .len = 8, .write = true, .done = on_done_again, .ctx = &done_of[0] };

	done_of[0] = (struct done){ 0 };
	again_rig = r;
	again_left = 200;
	EXPECT_OK(ask(r, 2, map_msg(3, 0, 0, 0x1000)), 0);
	EXPECT_EQ(gmem_submit(&r->f.d.gmem, &op), 0);
	for (unsigned i = 0; i < 201; i++)
		reply(r, hear(r)->id, 12, 1, 0, B(u64(8), u64(8)));
	EXPECT_EQ(done_of[0].n, 201);
	EXPECT_EQ(vuser_server_counters(r->s)->dma_writes, 201);
}

/* ---- very many maps */

enum { MANY = 3000, MORE = 9000 };
static void map_many(struct vrig *r, int fd, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		EXPECT_OK(ask_fds(r, 2, map_msg(3, 0, (uint64_t)i * 0x2000, 0x1000), &fd, 1), 0);
	EXPECT_EQ(r->f.d.gmem.count, n);
}

/* One poll takes a part of them away, says that there is more to do, and commands behind it wait for the rest. */
TEST(unmap_all_of_very_many_goes_in_parts)
{
	VRIG(r);
	int fd = memory(0x1000);
	unsigned polls = 0;

	map_many(r, fd, MANY);
	say(r, 3, 0, unmap_msg(2, 0, 0), NULL, 0);
	say(r, 4, 0, B(u32(16), u32(0), u32(0), u32(0)), NULL, 0);
	for (; r->f.d.gmem.count && polls < MANY; polls++) {
		unsigned before = r->f.d.gmem.count;

		EXPECT(vuser_server_poll(r->s));
		EXPECT(r->f.d.gmem.count < before && before - r->f.d.gmem.count <= MANY / 2);
	}
	EXPECT(polls > 1);
	EXPECT_EQ(hear(r)->cmd, 3);
	EXPECT_EQ(hear(r)->cmd, 4);
	map_many(r, fd, MANY);	/* and a client that goes away */
	close(r->fd);
	r->fd = -1;
	for (polls = 0; r->f.d.gmem.count && polls < MANY; polls++)
		EXPECT(vuser_server_poll(r->s));
	EXPECT(polls > 1);
	r->fd = vrig_dial(r);
	vrig_version(r);
	map_many(r, fd, MANY);	/* and a server that ends: VRIG finds no descriptor left over, the sanitizer no memory */
	close(fd);
}

/* A DMA_MAP among very many others is more work than a message: one poll takes fewer of them. */
TEST(one_poll_maps_less_the_more_there_are)
{
	VRIG(r);
	int fd = memory(0x1000);
	unsigned most = 0;

	map_many(r, fd, MORE);
	for (unsigned i = 0; i < 200; i++)
		say(r, 2, 0, map_msg(3, 0, (uint64_t)(MORE + i) * 0x2000, 0x1000), &fd, 1);
	for (unsigned i = 0; i < 1000 && r->f.d.gmem.count < MORE + 200; i++) {
		unsigned before = r->f.d.gmem.count;

		EXPECT(vuser_server_poll(r->s));
		most = MAX(most, r->f.d.gmem.count - before);
	}
	EXPECT_EQ(r->f.d.gmem.count, MORE + 200);
	EXPECT(most < 200);
	close(fd);
}
