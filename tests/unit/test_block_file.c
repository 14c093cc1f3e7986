/* block/file: sizes, holes, the two descriptors, what a file or disk can do to us. */
#include "blkrig.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

static struct blk *open_file(struct rig *r, const struct blk_file_cfg *cfg, struct err *e)
{
	struct blk_file_cfg c = *cfg;

	c.path = r->path;
	c.block_bytes = c.block_bytes ? c.block_bytes : r->bs;
	e->text[0] = 0;
	return blk_file_open(&c, e);
}

static void plain_file(struct rig *r, off_t bytes)
{
	int fd;

	*r = (struct rig){ .bs = 4096 };
	rig_dir(r);
	fd = open(r->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	EXPECT(fd >= 0 && !ftruncate(fd, bytes));
	close(fd);
}

static void rig_clean(struct rig *r)
{
	r->b = NULL;
	rig_close(r);
}

/* Two servers on one image destroy it; the second must hear why, in words. */
TEST(file_in_use_is_refused)
{
	struct rig r;
	struct blk *b;
	struct err e;
	int status;
	pid_t pid;

	plain_file(&r, 1 << 20);
	b = need(open_file(&r, &(struct blk_file_cfg){ 0 }, &e), &e);
	EXPECT_EQ(b->blocks, 256);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ 0 }, &e)); /* in the same process */
	EXPECT(strstr(e.text, "in use"));
	pid = fork();
	if (!pid)
		_exit(open_file(&r, &(struct blk_file_cfg){ 0 }, &e) ? 1 : strstr(e.text, "in use") ? 0 : 2);
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	blk_close(b);
	b = need(open_file(&r, &(struct blk_file_cfg){ 0 }, &e), &e); /* and is free again */
	blk_close(b);
	rig_clean(&r);
}

TEST(file_of_a_wrong_size_is_refused_with_numbers)
{
	struct rig r;
	struct err e;

	plain_file(&r, 5 * 4096);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .blocks = 6 }, &e));
	EXPECT(strstr(e.text, "holds 5 blocks") && strstr(e.text, "6 were asked"));
	EXPECT(!truncate(r.path, 5 * 4096 + 512));
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ 0 }, &e));
	EXPECT(strstr(e.text, "multiple"));
	EXPECT(!truncate(r.path, 0));
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ 0 }, &e));
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .create = true }, &e));
	EXPECT(strstr(e.text, "how large"));
	unlink(r.path);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .blocks = 6 }, &e));
	EXPECT(strstr(e.text, "No such file"));
	rig_clean(&r);
}

/* A create that fails leaves nothing behind; one that meets an image never empties it. */
TEST(file_create_is_careful)
{
	uint8_t *buf = pages(4096);
	struct rig r;
	struct err e;

	plain_file(&r, 8 * 4096);
	memset(buf, 9, 4096);
	r.b = need(open_file(&r, &(struct blk_file_cfg){ 0 }, &e), &e);
	EXPECT_EQ(rw(&r, BLK_WRITE, 3, 1, buf), 0);
	blk_close(r.b);
	r.b = need(open_file(&r, &(struct blk_file_cfg){ .create = true, .blocks = 8 }, &e), &e);
	memset(buf, 0, 4096);
	EXPECT_EQ(rw(&r, BLK_READ, 3, 1, buf), 0);
	EXPECT_EQ(buf[77], 9);
	blk_close(r.b);
	unlink(r.path);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .create = true, .blocks = 1ull << 48 }, &e)); /* no file system takes that */
	EXPECT_EQ(access(r.path, F_OK), -1);
	rig_clean(&r);
	munmap(buf, 4096);
}

TEST(file_that_is_no_file_is_refused)
{
	struct rig r = { .bs = 512 };
	struct err e;

	rig_dir(&r);
	EXPECT_EQ(mkfifo(r.path, 0600), 0);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ 0 }, &e));
	EXPECT(strstr(e.text, "neither"));
	rig_clean(&r);
}

/* Whoever deallocates wants the space back. */
TEST(file_holes_give_space_back)
{
	uint8_t *buf = pages(1 << 20);
	struct stat before, full, after;
	struct rig r;

	memset(buf, 1, 1 << 20);
	rig_open(&r, &stacks[2], 4096);
	EXPECT_EQ(stat(r.path, &before), 0);
	EXPECT_EQ(rw(&r, BLK_WRITE, 0, 256, buf), 0);
	EXPECT_EQ(range(&r, BLK_FLUSH, 0, 0, false), 0);
	EXPECT_EQ(stat(r.path, &full), 0);
	EXPECT(full.st_blocks >= before.st_blocks + 2048);
	EXPECT_EQ(range(&r, BLK_DEALLOC, 0, 255, false), 0);
	EXPECT_EQ(stat(r.path, &after), 0);
	EXPECT(after.st_blocks <= before.st_blocks + 64);
	EXPECT_EQ(after.st_size, BLOCKS * 4096);
	rig_close(&r);
	munmap(buf, 1 << 20);
}

/* Somebody cut the image while we serve it: an error, not zeroes, and no endless retry. */
TEST(file_cut_under_us_is_an_error)
{
	uint8_t *buf = pages(8 * 4096);

	for (int s = 1; s <= 3; s++) {
		struct rig r;

		rig_open(&r, &stacks[s], 4096);
		EXPECT_EQ(truncate(r.path, 6 * 4096), 0);
		EXPECT(rw(&r, BLK_READ, 4, 8, buf) == -EIO);
		EXPECT_EQ(rw(&r, BLK_READ, 4, 2, buf), 0);
		rig_close(&r);
	}
	munmap(buf, 8 * 4096);
}

/* Design rule 5: guest memory that vanished between fetch and transfer is the guest's error. */
TEST(file_vanished_memory_is_efault)
{
	uint8_t *buf = pages(8192);

	munmap(buf + 4096, 4096);
	for (int s = 1; s <= 3; s++) {
		struct rig r;

		rig_open(&r, &stacks[s], 4096);
		EXPECT(rw(&r, BLK_WRITE, 0, 1, buf + 4096) == -EFAULT);
		EXPECT(rw(&r, BLK_READ, 0, 1, buf + 4096) != 0);
		EXPECT_EQ(rw(&r, BLK_WRITE, 0, 1, buf), 0);
		rig_close(&r);
	}
	munmap(buf, 4096);
}

/* More requests than the ring holds, none lost; the caller hears -EAGAIN, not an error. */
TEST(file_ring_full_says_again)
{
	enum { MANY = 400 };
	static struct blk_io io[MANY];
	static struct wait w[MANY];
	uint8_t *buf = pages(MANY * 4096ul);
	struct iovec v[MANY];
	bool full = false;
	struct rig r;

	rig_open(&r, &stacks[1], 4096);
	memset(w, 0, sizeof(w));
	for (int i = 0; i < MANY; i++) {
		int rc;

		v[i] = (struct iovec){ buf + i * 4096, 4096 };
		memset(v[i].iov_base, i, 4096);
		io[i] = (struct blk_io){ .op = BLK_WRITE, .lba = (uint64_t)i, .nlb = 1, .iov = &v[i], .iovcnt = 1,
					 .done = io_done, .ctx = &w[i] };
		while ((rc = blk_submit(r.b, &io[i])) == -EAGAIN) {
			full = true;
			rig_turn(&r);
		}
		EXPECT_EQ(rc, 0);
	}
	EXPECT(full);
	for (int i = 0; i < MANY; i++) {
		while (!w[i].done)
			rig_turn(&r);
		EXPECT_EQ(w[i].rc, 0);
	}
	memset(buf, 0, MANY * 4096ul);
	EXPECT_EQ(rw(&r, BLK_READ, 0, MANY, buf), 0);
	for (int i = 0; i < MANY; i++)
		EXPECT_EQ(buf[i * 4096 + 4095], (uint8_t)i);
	rig_close(&r);
	munmap(buf, MANY * 4096ul);
}

/* Design rule 2: the map is read while writes are under way; those not yet begun by the kernel are in it as well. */
TEST(file_map_has_writes_under_way)
{
	uint8_t *buf = pages(4096);
	struct iovec v = { buf, 4096 };
	struct wait w = { 0 };
	struct blk_io io = { .op = BLK_WRITE, .lba = 40, .nlb = 1, .iov = &v, .iovcnt = 1, .done = io_done, .ctx = &w };
	uint64_t start, len;
	struct rig r;

	rig_open(&r, &stacks[1], 4096);
	EXPECT_EQ(blk_submit(r.b, &io), 0); /* gathered only: the kernel has not seen it */
	EXPECT_EQ(blk_next_allocated(r.b, 0, &start, &len), 0);
	EXPECT_EQ(start, 40);
	EXPECT_EQ(len, 1);
	while (!w.done)
		rig_turn(&r);
	EXPECT(in_map(&r, 40));
	rig_close(&r);
	munmap(buf, 4096);
}

/* file.c: a page is changed past the cache or through it, not both at once. The loss this prevents is too rare to wait for, so
 * the rule itself is looked at. */
TEST(file_neighbour_of_a_direct_write_waits)
{
	uint8_t *buf = pages(2 * 4096);
	struct iovec v[3] = { { buf, 4096 }, { buf + 4096, 512 }, { buf + 4096, 512 } };
	struct wait w[3] = { { 0 }, { 0 }, { 0 } };
	struct blk_io io[3];
	struct rig r;
	int fd;

	for (int i = 0; i < 3; i++)
		io[i] = (struct blk_io){ .op = BLK_WRITE, .lba = 8, .nlb = i ? 1 : 8, .iov = &v[i], .iovcnt = 1, .done = io_done, .ctx = &w[i] };
	rig_open(&r, &stacks[2], 512);
	fd = open(r.path, O_RDWR | O_DIRECT);
	if (fd < 0) {
		rig_close(&r);
		munmap(buf, 2 * 4096);
		print_message("# skipped: no O_DIRECT in this directory\n");
		skip();
	}
	close(fd);
	io[1].lba = 15;
	io[2].lba = 16; /* the next page */
	EXPECT_EQ(blk_submit(r.b, &io[0]), 0);
	EXPECT(blk_submit(r.b, &io[1]) == -EAGAIN);
	io[1].op = BLK_DEALLOC;
	EXPECT(blk_submit(r.b, &io[1]) == -EAGAIN);
	io[1].op = BLK_READ;
	EXPECT_EQ(blk_submit(r.b, &io[1]), 0);
	EXPECT_EQ(blk_submit(r.b, &io[2]), 0);
	while (!w[0].done || !w[1].done || !w[2].done)
		rig_turn(&r);
	io[1].op = BLK_WRITE;
	EXPECT_EQ(rw(&r, BLK_WRITE, 15, 1, buf), 0); /* its turn has come */
	rig_close(&r);
	munmap(buf, 2 * 4096);
}

/* 512-byte neighbours, one past the page cache and one through it, at once: neither may undo the other. */
TEST(file_direct_and_cached_neighbours)
{
	uint8_t *buf = pages(2 * 4096), *back = pages(4096);
	struct rng rng = { 5 };
	struct rig r;

	rig_open(&r, &stacks[2], 512);
	for (int round = 0; round < 200; round++) {
		struct iovec v[2] = { { buf, 4096 }, { buf + 4096, 512 } };
		struct wait w[2] = { { 0 }, { 0 } };
		struct blk_io io[2] = {
			{ .op = BLK_WRITE, .lba = 8, .nlb = 8, .iov = &v[0], .iovcnt = 1, .done = io_done, .ctx = &w[0] },
			{ .op = BLK_WRITE, .lba = 8 + rng_below(&rng, 8), .nlb = 1, .iov = &v[1], .iovcnt = 1, .done = io_done, .ctx = &w[1] },
		};
		int first = (int)rng_below(&rng, 2);

		memset(buf, round * 2 + 1, 4096);
		memset(buf + 4096, round * 2 + 2, 512);
		for (int k = 0; k < 2; k++)
			while (blk_submit(r.b, &io[k ^ first]) == -EAGAIN)
				rig_turn(&r);
		while (!w[0].done || !w[1].done)
			rig_turn(&r);
		EXPECT(!w[0].rc && !w[1].rc);
		EXPECT_EQ(rw(&r, BLK_READ, 8, 8, back), 0);
		for (uint64_t i = 0; i < 8; i++) /* where both wrote, either may have won */
			if (8 + i != io[1].lba)
				EXPECT_EQ(back[i * 512 + 9], (uint8_t)(round * 2 + 1));
	}
	rig_close(&r);
	munmap(buf, 2 * 4096);
	munmap(back, 4096);
}

/* A full disk is the caller's to report; the image and what was in it stay usable. */
TEST(file_full_disk_is_enospc)
{
	uint8_t *buf = pages(1 << 20);
	struct rig r = { .bs = 4096 };
	struct err e;
	int rc = 0;

	rig_dir(&r);
	if (geteuid() || mount("none", r.dir, "tmpfs", 0, "size=512k")) {
		rig_clean(&r);
		munmap(buf, 1 << 20);
		print_message("# skipped: a small tmpfs can be mounted by root only\n");
		skip();
	}
	r.b = need(open_file(&r, &(struct blk_file_cfg){ .create = true, .blocks = 256, .direct = true }, &e), &e);
	memset(buf, 3, 1 << 20);
	EXPECT_EQ(rw(&r, BLK_WRITE, 0, 64, buf), 0);
	for (uint64_t lba = 64; lba < 256 && !rc; lba += 16)
		rc = rw(&r, BLK_WRITE, lba, 16, buf);
	EXPECT(rc == -ENOSPC);
	memset(buf, 0, 1 << 20);
	EXPECT_EQ(rw(&r, BLK_READ, 0, 64, buf), 0);
	EXPECT_EQ(buf[64 * 4096 - 1], 3);
	/* tmpfs has no ZERO_RANGE: the zeroes are written, in place */
	EXPECT_EQ(range(&r, BLK_ZERO, 1, 40, false), 0);
	EXPECT_EQ(rw(&r, BLK_READ, 0, 64, buf), 0);
	EXPECT_EQ(buf[0], 3);
	EXPECT(all_zero(buf + 4096, 40 * 4096));
	EXPECT_EQ(buf[41 * 4096], 3);
	blk_close(r.b);
	EXPECT_EQ(umount(r.dir), 0);
	rig_clean(&r);
	munmap(buf, 1 << 20);
}

/* A server that was killed, and started again at once: what it had asked the disk for still holds the lock for a while. */
TEST(file_in_use_for_a_moment_is_waited_for)
{
	struct rig r;
	struct blk *b;
	struct err e;
	int held[2], status;
	char c;
	pid_t pid;

	plain_file(&r, 1 << 20);
	EXPECT_EQ(pipe(held), 0);
	pid = fork();
	if (!pid) {
		b = open_file(&r, &(struct blk_file_cfg){ 0 }, &e);
		if (!b || write(held[1], "x", 1) != 1)
			_exit(1);
		usleep(100 * 1000);	/* nobody can see from here that the other one waits; if it comes later it need not */
		_exit(0);
	}
	EXPECT_EQ(read(held[0], &c, 1), 1);
	b = need(open_file(&r, &(struct blk_file_cfg){ .patience_ms = 60000 }, &e), &e);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .patience_ms = 20 }, &e));
	EXPECT(strstr(e.text, "in use"));
	EXPECT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	close(held[0]);
	close(held[1]);
	blk_close(b);
	rig_clean(&r);
}

/* A disk grows while requests are out, and no request that comes late can undo that it became smaller. */
TEST(file_resize_with_requests_out)
{
	uint8_t *buf = memset(pages(4096), 0x5c, 4096);
	struct wait w = { 0 };
	struct rig r;
	struct iovec v = { buf, 4096 };
	struct blk_io io = { .op = BLK_WRITE, .lba = 255, .nlb = 1, .iov = &v, .iovcnt = 1, .done = io_done, .ctx = &w };
	struct stat st;
	struct err e;

	plain_file(&r, 1 << 20);
	r.b = need(open_file(&r, &(struct blk_file_cfg){ 0 }, &e), &e);
	if (blk_submit(r.b, &io))
		skip();		/* no io_uring here: nothing is ever out */
	EXPECT_EQ(r.b->ops->resize(r.b, 255), -EBUSY);
	EXPECT_EQ(r.b->blocks, 256);
	EXPECT_EQ(r.b->ops->resize(r.b, 512), 0);
	EXPECT_EQ(r.b->ops->resize(r.b, 256), 0);
	EXPECT_EQ(r.b->ops->resize(r.b, 300), 0);
	while (!w.done)
		rig_turn(&r);
	EXPECT_EQ(w.rc, 0);
	EXPECT_EQ(rw(&r, BLK_READ, 255, 1, buf), 0);
	EXPECT_EQ(buf[0], 0x5c);
	EXPECT_EQ(r.b->ops->resize(r.b, 255), 0);
	EXPECT(!stat(r.path, &st) && st.st_size == 255 * 4096);
	rig_close(&r);
	munmap(buf, 4096);
}

/* What a longer file holds behind the namespace's end was somebody's; as new blocks it would be readable by another. */
TEST(file_grows_over_old_data_with_zeroes)
{
	uint8_t *buf = memset(pages(4096), 0x77, 4096);
	struct rig r;
	struct err e;
	int fd;

	plain_file(&r, 1 << 20);
	fd = open(r.path, O_RDWR);
	EXPECT_EQ(pwrite(fd, buf, 4096, 200 * 4096), 4096);
	close(fd);
	r.b = need(open_file(&r, &(struct blk_file_cfg){ .blocks = 100 }, &e), &e);
	EXPECT_EQ(r.b->ops->resize(r.b, 250), 0);
	EXPECT_EQ(rw(&r, BLK_READ, 200, 1, buf), 0);
	EXPECT(all_zero(buf, 4096));
	EXPECT(!in_map(&r, 200));
	rig_close(&r);
	munmap(buf, 4096);
}

/* grow: a shorter file is made longer, a longer one is left alone. Without it the shorter one is refused. */
TEST(file_made_to_fit)
{
	struct rig r;
	struct stat st;
	struct err e;

	plain_file(&r, 1 << 20);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .blocks = 300 }, &e));
	EXPECT(strstr(e.text, "300"));
	blk_close(need(open_file(&r, &(struct blk_file_cfg){ .blocks = 300, .grow = true }, &e), &e));
	EXPECT(!stat(r.path, &st) && st.st_size == 300 * 4096);
	r.b = need(open_file(&r, &(struct blk_file_cfg){ .blocks = 200, .grow = true }, &e), &e);
	EXPECT_EQ(r.b->blocks, 200);
	EXPECT(!stat(r.path, &st) && st.st_size == 300 * 4096);
	rig_close(&r);
}

/* ---- a file that is handed over ---- */

static int hold(struct rig *r, struct blk *b, bool on, struct err *e)
{
	int rc;

	e->text[0] = 0;
	while ((rc = blk_hold(b, on, e)) == -EAGAIN)
		rig_turn(r);
	return rc;
}

/* Two servers pass a file on: at no time both have it, and who does not have it does not touch it. */
TEST(file_is_handed_over_and_back)
{
	static const bool blocking[] = { false, true };
	uint8_t *buf = memset(pages(4096), 0x5c, 4096);
	struct rig r, s;
	struct err e;

	for (unsigned i = 0; i < ARRAY_LEN(blocking); i++) {
		plain_file(&r, 1 << 20);
		s = r;
		r.b = need(open_file(&r, &(struct blk_file_cfg){ .blocking = blocking[i], .direct = true }, &e), &e);
		s.b = need(open_file(&s, &(struct blk_file_cfg){ .blocking = blocking[i], .direct = true, .lock = BLK_FILE_THEIRS }, &e), &e);
		EXPECT(s.b->away && !r.b->away);
		EXPECT_EQ(rw(&s, BLK_READ, 0, 1, buf), -EBUSY);
		EXPECT_EQ(hold(&s, s.b, true, &e), -EBUSY);
		EXPECT(strstr(e.text, "two writers"));
		EXPECT_EQ(rw(&r, BLK_WRITE, 7, 1, buf), 0);
		EXPECT_EQ(hold(&r, r.b, false, &e), 0);
		EXPECT_EQ(hold(&r, r.b, false, &e), 0); /* done already */
		EXPECT(r.b->away);
		EXPECT_EQ(rw(&r, BLK_WRITE, 7, 1, buf), -EBUSY);
		EXPECT_EQ(range(&r, BLK_FLUSH, 0, 0, false), -EBUSY);
		EXPECT_EQ(range(&r, BLK_DEALLOC, 0, 8, false), -EBUSY);
		EXPECT_EQ(r.b->ops->resize(r.b, 10), -EBUSY);
		EXPECT_EQ(hold(&s, s.b, true, &e), 0);
		EXPECT_EQ(rw(&s, BLK_READ, 7, 1, memset(buf, 0, 4096)), 0);
		EXPECT_EQ(buf[0], 0x5c);
		EXPECT_EQ(hold(&r, r.b, true, &e), -EBUSY);
		EXPECT_EQ(hold(&s, s.b, false, &e), 0); /* nothing was written: nothing to wait for */
		EXPECT_EQ(hold(&r, r.b, true, &e), 0);
		EXPECT_EQ(rw(&r, BLK_WRITE, 7, 1, buf), 0);
		blk_close(s.b);
		blk_close(r.b);
		rig_clean(&r);
	}
	munmap(buf, 4096);
}

/* What is under way is waited for; who thinks better of it meanwhile still has the file. */
TEST(file_is_given_up_when_the_last_request_is_done)
{
	uint8_t *buf = memset(pages(4096), 0x5c, 4096);
	struct wait w = { 0 };
	struct rig r;
	struct iovec v = { buf, 4096 };
	struct blk_io io = { .op = BLK_WRITE, .lba = 3, .nlb = 1, .iov = &v, .iovcnt = 1, .done = io_done, .ctx = &w };
	struct err e;

	plain_file(&r, 1 << 20);
	r.b = need(open_file(&r, &(struct blk_file_cfg){ 0 }, &e), &e);
	EXPECT_EQ(blk_submit(r.b, &io), 0);
	EXPECT_EQ(blk_hold(r.b, false, &e), -EAGAIN);
	EXPECT(!w.done);
	EXPECT_EQ(rw(&r, BLK_READ, 0, 1, buf), -EBUSY); /* nothing new */
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ 0 }, &e)); /* the lock is still there */
	EXPECT_EQ(blk_hold(r.b, true, &e), 0);
	while (!w.done)
		rig_turn(&r);
	EXPECT_EQ(w.rc, 0);
	EXPECT_EQ(rw(&r, BLK_READ, 3, 1, buf), 0);
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ 0 }, &e));
	/* The same when it waits for its own sync, and when it is closed in the middle of that. */
	EXPECT_EQ(blk_hold(r.b, false, &e), -EAGAIN);
	EXPECT_EQ(blk_hold(r.b, true, &e), 0);
	EXPECT_EQ(rw(&r, BLK_WRITE, 3, 1, buf), 0);
	EXPECT_EQ(hold(&r, r.b, false, &e), 0);
	EXPECT_EQ(hold(&r, r.b, true, &e), 0);
	EXPECT_EQ(rw(&r, BLK_WRITE, 3, 1, buf), 0);
	EXPECT_EQ(blk_hold(r.b, false, &e), -EAGAIN);
	blk_close(r.b);
	r.b = need(open_file(&r, &(struct blk_file_cfg){ .patience_ms = 60000 }, &e), &e);
	blk_close(r.b);
	rig_clean(&r);
	munmap(buf, 4096);
}

/* What a killed server had under way past the cache still has its descriptor, when the one through the cache is closed already. Nobody else
 * may have the file then, and whoever tries leaves nothing locked behind. */
TEST(file_is_in_use_until_both_descriptors_are_done)
{
	struct flock rest = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)1 << 62 };
	struct rig r, s;
	struct err e;
	int fd;

	plain_file(&r, 1 << 20);
	s = r;
	r.b = need(open_file(&r, &(struct blk_file_cfg){ .direct = true, .lock = BLK_FILE_AWAY }, &e), &e);
	fd = open(r.path, O_RDWR);
	EXPECT(fd >= 0 && !fcntl(fd, F_OFD_SETLK, &rest));
	EXPECT_EQ(hold(&r, r.b, true, &e), -EBUSY);
	EXPECT(!open_file(&s, &(struct blk_file_cfg){ .direct = true }, &e));
	EXPECT(!open_file(&s, &(struct blk_file_cfg){ 0 }, &e));
	blk_close(need(open_file(&s, &(struct blk_file_cfg){ .lock = BLK_FILE_THEIRS }, &e), &e));
	rest.l_type = F_UNLCK;
	EXPECT(!fcntl(fd, F_OFD_SETLK, &rest));
	blk_close(need(open_file(&s, &(struct blk_file_cfg){ .direct = true }, &e), &e));
	EXPECT_EQ(hold(&r, r.b, true, &e), 0);
	EXPECT(fcntl(fd, F_OFD_SETLK, &(struct flock){ .l_type = F_WRLCK, .l_start = (off_t)1 << 62 }) && errno == EAGAIN);
	close(fd);
	blk_close(r.b);
	rig_clean(&r);
}

/* Its lock is the proof that a file is the one that the other server uses. And it may be another one when it is taken. */
TEST(file_that_nobody_uses_is_not_theirs)
{
	struct rig r, s;
	struct err e;

	plain_file(&r, 1 << 20);
	s = r;
	EXPECT(!open_file(&r, &(struct blk_file_cfg){ .lock = BLK_FILE_THEIRS }, &e));
	EXPECT(strstr(e.text, "nobody has locked"));
	r.b = need(open_file(&r, &(struct blk_file_cfg){ .lock = BLK_FILE_AWAY }, &e), &e);
	EXPECT(!open_file(&s, &(struct blk_file_cfg){ .lock = BLK_FILE_THEIRS }, &e)); /* open is not locked */
	EXPECT(!truncate(r.path, 1 << 19));
	EXPECT_EQ(hold(&r, r.b, true, &e), -EINVAL);
	EXPECT(strstr(e.text, "shorter"));
	s.b = need(open_file(&s, &(struct blk_file_cfg){ 0 }, &e), &e); /* it did not keep the lock */
	blk_close(s.b);
	EXPECT(!truncate(r.path, 1 << 20));
	EXPECT_EQ(hold(&r, r.b, true, &e), 0);
	blk_close(r.b);
	rig_clean(&r);
}

/* Memory has no lock: it cannot be given up, through whatever wrapper. */
TEST(memory_is_not_handed_over)
{
	struct rig r = { .bs = 4096 };
	struct err e;

	r.b = make_tower(&r);
	EXPECT_EQ(blk_hold(r.b, false, &e), -ENOTSUP);
	EXPECT_EQ(range(&r, BLK_FLUSH, 0, 0, false), 0);
	rig_close(&r);
}

/* A block device is somebody else's to resize: we take what it has got, and no more. */
TEST(file_on_a_device_takes_what_is_there)
{
	char dev[64] = "", cmd[256];
	struct rig r;
	struct err e;
	struct stat st;
	FILE *p;

	plain_file(&r, 1 << 20);
	snprintf(cmd, sizeof(cmd), "losetup --find --show %s 2>/dev/null", r.path);
	p = popen(cmd, "re");
	if (!p || !fgets(dev, sizeof(dev), p))
		dev[0] = 0;
	if (p)
		pclose(p);
	dev[strcspn(dev, "\n")] = 0;
	if (!dev[0] || stat(dev, &st)) {
		rig_clean(&r);
		skip();		/* no loop devices here */
	}
	r.b = blk_file_open(&(struct blk_file_cfg){ .path = dev, .block_bytes = 4096, .blocks = 100 }, &e);
	snprintf(cmd, sizeof(cmd), "losetup -d %s", dev);
	if (r.b) {
		EXPECT_EQ(r.b->ops->resize(r.b, 257), -ENOSPC);
		EXPECT_EQ(r.b->blocks, 100);
		EXPECT_EQ(r.b->ops->resize(r.b, 256), 0);
		EXPECT_EQ(r.b->ops->resize(r.b, 50), 0);
		EXPECT_EQ(r.b->blocks, 50);
		blk_close(r.b);
	}
	EXPECT_EQ(system(cmd), 0);
	EXPECT(r.b);
	rig_clean(&r);
}
