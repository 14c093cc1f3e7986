/* Blocks in a file or on a block device.
 *
 * Called from the device thread. Requests go through io_uring; where that is forbidden (many container profiles do) or
 * not wanted, the same steps are made one after the other inside submit. One request is a chain of steps: what
 * to ask the kernel next is file_plan's decision, what its answer means is file_digest's.
 *
 * Two descriptors: one through the page cache, and one past it (O_DIRECT) for requests whose memory and blocks are page
 * aligned. A write past the cache and a write through it must not share a page while both are under way: the cached page
 * may have been read before the direct write and be written back after it, undoing its neighbour. So the second of the
 * two goes through the cache as well, or waits.
 *
 * A lock on the file says whose it is. It can be given up and taken again (file_hold), for files that several servers reach.
 */
#include "block/block.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "block/geometry.h"
#include "block/iov.h"

enum {
	RING = 256,			/* requests under way */
	PAGE = 4096,
	ZEROES = 64 * 1024,
	IOV_AT_ONCE = 1024,		/* the kernel's limit; a longer vector goes piece by piece */
};

/* The kernel operation that carries a request's present step. */
enum step { STEP_RW, STEP_PUNCH, STEP_ZERO_RANGE, STEP_WRITE_ZEROES, STEP_SYNC };

enum { AGAIN = 1 };			/* digest: there is another step */

/* LEAVING: the lock is still ours, but nothing new is begun. */
enum lease { LEASE_OURS, LEASE_LEAVING, LEASE_AWAY };

struct file {
	struct blk b;
	char *path;
	int fd, direct_fd;		/* -1: none */
	bool device, ring_ok;
	bool no_punch, no_zero_range, no_dsync, no_seek; /* the file system told us */
	struct io_uring ring;
	struct list out;		/* requests under way */
	unsigned count, direct_writes, cached_writes;
	enum lease lease;
	bool unsynced;			/* written since the last sync began, perhaps by who had the lock on this machine before us */
	bool syncing;			/* `sync` is out */
	int sync_rc;
	struct blk_io sync;		/* our own, before the lock is given up */
};

/* What a request keeps in its private words. */
struct way {
	uint64_t done;			/* bytes */
	uint8_t step, direct;
};
_Static_assert(sizeof(struct way) <= sizeof(((struct blk_io *)0)->priv), "fits");

static const uint8_t zeroes[ZEROES] __attribute__((aligned(PAGE)));

static struct file *file_of(struct blk *b) { return CONTAINER_OF(b, struct file, b); }
static struct way *way_of(struct blk_io *io) { return (struct way *)io->priv; }
static uint64_t io_off(const struct file *f, const struct blk_io *io) { return io->lba * f->b.block_bytes; }
static uint64_t io_len(const struct file *f, const struct blk_io *io) { return io->nlb * f->b.block_bytes; }

/* ---- which way a request goes ---- */

static bool page_aligned(const struct file *f, const struct blk_io *io)
{
	if ((io_off(f, io) | io_len(f, io)) % PAGE)
		return false;
	for (int i = 0; i < io->iovcnt; i++)
		if (((uintptr_t)io->iov[i].iov_base | io->iov[i].iov_len) % PAGE)
			return false;
	return true;
}

static bool changes_blocks(const struct blk_io *io) { return io->op != BLK_READ && io->op != BLK_FLUSH; }

/* Is a change of the other kind under way in one of this request's pages? */
static bool meets(const struct file *f, const struct blk_io *io, bool direct)
{
	uint64_t off = round_down(io_off(f, io), PAGE), end = round_up(io_off(f, io) + io_len(f, io), PAGE);

	if (!(direct ? f->direct_writes : f->cached_writes))
		return false;
	LIST_EACH(&f->out, it) {
		struct blk_io *o = LIST_ENTRY(it, struct blk_io, link);
		uint64_t at = round_down(io_off(f, o), PAGE);

		if (changes_blocks(o) && way_of(o)->direct == direct &&
		    ranges_overlap(off, end - off, at, round_up(io_off(f, o) + io_len(f, o), PAGE) - at))
			return true;
	}
	return false;
}

static enum step clear_step(const struct file *f, const struct blk_io *io)
{
	if ((io->op == BLK_DEALLOC || io->dealloc) && !f->no_punch)
		return STEP_PUNCH;
	return f->no_zero_range ? STEP_WRITE_ZEROES : STEP_ZERO_RANGE;
}

static enum step first_step(const struct file *f, const struct blk_io *io)
{
	switch (io->op) {
	case BLK_FLUSH:
		return STEP_SYNC;
	case BLK_ZERO:
	case BLK_DEALLOC:
		return clear_step(f, io);
	default:
		return STEP_RW;
	}
}

static void account(struct file *f, struct blk_io *io, int by)
{
	if (changes_blocks(io))
		*(way_of(io)->direct ? &f->direct_writes : &f->cached_writes) += (unsigned)by;
}

static void go_cached(struct file *f, struct blk_io *io)
{
	account(f, io, -1);
	way_of(io)->direct = false;
	account(f, io, 1);
}

/* ---- one step: ask, digest ---- */

struct ask {
	enum step step;
	int fd, rw_flags, mode;
	bool write;
	const struct iovec *iov;	/* the whole vector, or NULL: */
	int iovcnt;
	void *ptr;			/* one piece */
	uint64_t len, off;
};

static void plan_rw(struct file *f, struct blk_io *io, struct ask *a)
{
	struct way *w = way_of(io);
	struct iov_pos pos = iov_start(io->iov, io->iovcnt);
	uint8_t *p = NULL;

	a->fd = w->direct ? f->direct_fd : f->fd;
	a->write = io->op == BLK_WRITE;
	a->rw_flags = a->write && io->fua && !f->no_dsync ? RWF_DSYNC : 0;
	if (!w->done && io->iovcnt > 1 && io->iovcnt <= IOV_AT_ONCE) {
		a->iov = io->iov;
		a->iovcnt = io->iovcnt;
		return;
	}
	iov_skip(&pos, w->done);
	a->len = iov_next(&pos, MIN(a->len, 1u << 30), &p);
	a->ptr = p;
}

static void file_plan(struct file *f, struct blk_io *io, struct ask *a)
{
	struct way *w = way_of(io);

	*a = (struct ask){ .step = w->step, .fd = f->fd, .off = io_off(f, io) + w->done, .len = io_len(f, io) - w->done };
	switch (a->step) {
	case STEP_RW:
		plan_rw(f, io, a);
		break;
	case STEP_PUNCH:
		a->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case STEP_ZERO_RANGE:
		a->mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
		break;
	case STEP_WRITE_ZEROES:
		a->write = true;
		a->ptr = (void *)zeroes;
		a->len = MIN(a->len, (uint64_t)ZEROES);
		break;
	case STEP_SYNC:
		break;
	}
}

/* All blocks are done; they may still have to be made durable. */
static int digest_end(struct file *f, struct blk_io *io)
{
	struct way *w = way_of(io);
	bool synced = w->step == STEP_RW && !f->no_dsync;

	if (!io->fua || synced || !changes_blocks(io))
		return 0;
	w->step = STEP_SYNC;
	return AGAIN;
}

static int digest_rw(struct file *f, struct blk_io *io, int64_t res)
{
	struct way *w = way_of(io);

	if (res == -EINVAL && w->direct) { /* this file system wants more alignment than a page */
		go_cached(f, io);
		return AGAIN;
	}
	if (res == -EOPNOTSUPP && w->step == STEP_RW && io->fua && !f->no_dsync) {
		f->no_dsync = true;
		return AGAIN;
	}
	if (res <= 0)
		return res ? (int)res : -EIO; /* nothing moved: the file was cut under us, or the vector is too short */
	w->done += (uint64_t)res;
	if (w->done >= io_len(f, io))
		return digest_end(f, io);
	if (w->direct)
		go_cached(f, io); /* the rest need not be aligned */
	return AGAIN;
}

static int digest_clear(struct file *f, struct blk_io *io, int64_t res)
{
	struct way *w = way_of(io);

	if (!res)
		return digest_end(f, io);
	/* Block devices say EINVAL or ENODEV for what they cannot do. */
	if (res != -EOPNOTSUPP && res != -ENOSYS && !(f->device && (res == -EINVAL || res == -ENODEV)))
		return (int)res;
	*(w->step == STEP_PUNCH ? &f->no_punch : &f->no_zero_range) = true;
	w->step = (uint8_t)clear_step(f, io);
	return AGAIN;
}

/* The kernel's answer to the present step: AGAIN for another step, else the request's result. */
static int file_digest(struct file *f, struct blk_io *io, int64_t res)
{
	if (res == -EINTR || res == -EAGAIN)
		return AGAIN;
	switch ((enum step)way_of(io)->step) {
	case STEP_RW:
	case STEP_WRITE_ZEROES:
		return digest_rw(f, io, res);
	case STEP_PUNCH:
	case STEP_ZERO_RANGE:
		return digest_clear(f, io, res);
	default:
		return (int)res;
	}
}

static void ask_ring(struct file *f, struct blk_io *io)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring);
	struct ask a;

	CHECK(sqe); /* RING entries, RING requests at most, each with one step at a time */
	file_plan(f, io, &a);
	if (a.step == STEP_SYNC)
		io_uring_prep_fsync(sqe, a.fd, IORING_FSYNC_DATASYNC);
	else if (a.mode)
		io_uring_prep_fallocate(sqe, a.fd, a.mode, a.off, a.len);
	else if (a.iov && a.write)
		io_uring_prep_writev2(sqe, a.fd, a.iov, (unsigned)a.iovcnt, a.off, a.rw_flags);
	else if (a.iov)
		io_uring_prep_readv2(sqe, a.fd, a.iov, (unsigned)a.iovcnt, a.off, a.rw_flags);
	else if (a.write)
		io_uring_prep_write(sqe, a.fd, a.ptr, (unsigned)a.len, a.off);
	else
		io_uring_prep_read(sqe, a.fd, a.ptr, (unsigned)a.len, a.off);
	if (!a.iov && a.rw_flags)
		sqe->rw_flags = a.rw_flags;
	io_uring_sqe_set_data(sqe, io);
}

static int64_t ask_now(struct file *f, struct blk_io *io)
{
	struct iovec one;
	struct ask a;
	int64_t rc;

	file_plan(f, io, &a);
	one = (struct iovec){ a.ptr, a.len };
	if (!a.iov)
		a.iov = &one, a.iovcnt = 1;
	if (a.step == STEP_SYNC)
		rc = fdatasync(a.fd);
	else if (a.mode)
		rc = fallocate(a.fd, a.mode, (off_t)a.off, (off_t)a.len);
	else if (a.write)
		rc = pwritev2(a.fd, a.iov, a.iovcnt, (off_t)a.off, a.rw_flags);
	else
		rc = preadv2(a.fd, a.iov, a.iovcnt, (off_t)a.off, a.rw_flags);
	return rc < 0 ? -errno : rc;
}

/* ---- the interface ---- */

static int run_now(struct file *f, struct blk_io *io)
{
	int rc;

	do
		rc = file_digest(f, io, ask_now(f, io));
	while (rc == AGAIN);
	account(f, io, -1);
	return rc ? rc : BLK_DONE;
}

static int file_submit(struct blk *b, struct blk_io *io)
{
	struct file *f = file_of(b);
	struct way *w = way_of(io);

	if (io->op >= BLK_OP_COUNT || (io->op != BLK_FLUSH && !range_inside(io->lba, io->nlb, b->blocks)))
		return -EINVAL;
	if (f->lease != LEASE_OURS && io != &f->sync)
		return -EBUSY;
	if (io->op != BLK_FLUSH && !io->nlb)
		return BLK_DONE;
	if (f->count == RING)
		return -EAGAIN;
	f->unsynced |= changes_blocks(io);
	*w = (struct way){ .step = (uint8_t)first_step(f, io) };
	w->direct = f->direct_fd >= 0 && w->step == STEP_RW && page_aligned(f, io) &&
		    !(io->op == BLK_WRITE && meets(f, io, false));
	if (changes_blocks(io) && !w->direct && meets(f, io, true))
		return -EAGAIN;
	account(f, io, 1);
	if (!f->ring_ok)
		return run_now(f, io);
	f->count++;
	list_push(&f->out, &io->link);
	ask_ring(f, io);
	return 0;
}

static void finish(struct file *f, struct blk_io *io, int rc)
{
	list_del(&io->link);
	f->count--;
	account(f, io, -1);
	io->done(io, rc);
}

static int file_poll(struct blk *b)
{
	struct file *f = file_of(b);
	struct io_uring_cqe *cqe;
	int n = 0;

	if (!f->count)
		return 0;
	if (io_uring_sq_ready(&f->ring))
		io_uring_submit(&f->ring);
	while (io_uring_peek_cqe(&f->ring, &cqe) == 0) {
		struct blk_io *io = io_uring_cqe_get_data(cqe);
		int rc = file_digest(f, io, cqe->res);

		io_uring_cqe_seen(&f->ring, cqe);
		if (rc == AGAIN)
			ask_ring(f, io);
		else
			finish(f, io, rc), n++;
	}
	if (io_uring_sq_ready(&f->ring)) /* further steps, and what was submitted by those told */
		io_uring_submit(&f->ring);
	return n;
}

/* A write that the kernel has not begun is no data yet for SEEK_DATA, but may be a moment later. */
static bool next_under_way(const struct file *f, uint64_t lba, uint64_t *start, uint64_t *end)
{
	bool found = false;

	LIST_EACH(&f->out, it) {
		struct blk_io *io = LIST_ENTRY(it, struct blk_io, link);
		uint64_t from = MAX(lba, io->lba);

		if (!changes_blocks(io) || io->lba + io->nlb <= lba || (found && from >= *start))
			continue;
		*start = from;
		*end = io->lba + io->nlb;
		found = true;
	}
	return found;
}

static int next_on_disk(struct file *f, uint64_t lba, uint64_t *start, uint64_t *end)
{
	uint32_t bs = f->b.block_bytes;
	off_t data, hole;

	if (f->no_seek)
		return *start = lba, *end = f->b.blocks, 0;
	data = lseek(f->fd, (off_t)(lba * bs), SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return -ENOENT;
	hole = data < 0 ? -1 : lseek(f->fd, data, SEEK_HOLE);
	if (data < 0 || hole < 0) { /* cannot tell: then all of it counts */
		f->no_seek = true;
		return *start = lba, *end = f->b.blocks, 0;
	}
	*start = (uint64_t)data / bs;
	*end = MIN(f->b.blocks, ((uint64_t)hole + bs - 1) / bs);
	return *start < f->b.blocks ? 0 : -ENOENT;
}

static int file_next_allocated(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len)
{
	struct file *f = file_of(b);
	uint64_t s = 0, e = 0, ws = 0, we = 0;
	bool way;
	int rc;

	if (lba >= b->blocks)
		return -ENOENT;
	way = next_under_way(f, lba, &ws, &we);
	rc = next_on_disk(f, lba, &s, &e);
	if (rc && !way)
		return rc;
	if (way && (rc || ws < s))
		s = ws, e = we;
	*start = s;
	*len = e - s;
	return 0;
}

static bool reaches_beyond(const struct file *f, uint64_t blocks)
{
	LIST_EACH(&f->out, it) {
		struct blk_io *o = LIST_ENTRY(it, struct blk_io, link);

		if (o->op != BLK_FLUSH && o->lba + o->nlb > blocks)
			return true;
	}
	return false;
}

/* Somebody else makes a device larger (lvextend); we take what is there. Smaller: it keeps its blocks, we leave them alone. */
static int device_resize(struct file *f, uint64_t blocks)
{
	uint64_t bytes;

	if (ioctl(f->fd, BLKGETSIZE64, &bytes))
		return -errno;
	if (blocks > bytes / f->b.block_bytes)
		return -ENOSPC;
	f->b.blocks = blocks;
	return 0;
}

static int file_resize(struct blk *b, uint64_t blocks)
{
	struct file *f = file_of(b);
	off_t old = (off_t)(b->blocks * b->block_bytes);

	if (blk_geometry_check(b->block_bytes, blocks, NULL))
		return -EINVAL;
	if (reaches_beyond(f, blocks) || f->lease != LEASE_OURS) /* a write that comes late would make the file longer again */
		return -EBUSY;
	if (f->device)
		return device_resize(f, blocks);
	/* First to the present size: whatever a longer file held behind our end must not show up as new blocks. */
	if (blocks > b->blocks && ftruncate(f->fd, old))
		return -errno;
	if (ftruncate(f->fd, (off_t)(blocks * b->block_bytes)))
		return -errno;
	b->blocks = blocks;
	return 0;
}

static int file_wait_fd(struct blk *b)
{
	struct file *f = file_of(b);

	return f->ring_ok ? f->ring.ring_fd : -1;
}

/* ---- whose file it is ---- */

enum { NAP_MS = 10 };

static bool nap(unsigned *left_ms)
{
	struct timespec t = { .tv_nsec = NAP_MS * 1000 * 1000 };

	if (!*left_ms)
		return false;
	*left_ms -= MIN(*left_ms, (unsigned)NAP_MS);
	nanosleep(&t, NULL);
	return true;
}

/* Open-file-description locks: they also keep out a second open inside this process, and go with the descriptor, when the kernel has done
 * with it too. What a killed server had asked of the descriptor past the cache may still be under way when its other one is closed already:
 * so each has a part of the range, and only both together are the lock. */
#define LOCK_FIRST ((off_t)1 << 62)

static int lock_part(const struct file *f, short type, bool first)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = first ? 0 : LOCK_FIRST, .l_len = first ? LOCK_FIRST : 0 };

	return fcntl(first || f->direct_fd < 0 ? f->fd : f->direct_fd, F_OFD_SETLK, &l) ? errno : 0;
}

static int lock_both(const struct file *f)
{
	int rc = lock_part(f, F_WRLCK, true), second = rc ? 0 : lock_part(f, F_WRLCK, false);

	if (second)
		lock_part(f, F_UNLCK, true);
	return rc ? rc : second;
}

static int lock_fd(struct file *f, unsigned left, struct err *err)
{
	int rc;

	do
		rc = lock_both(f);
	while ((rc == EAGAIN || rc == EACCES) && nap(&left));
	if (rc == EAGAIN || rc == EACCES)
		return err_set(err, -EBUSY, "%s is in use by another program or namespace; two writers would destroy it", f->path);
	return rc ? err_set(err, -rc, "cannot lock %s: %s", f->path, strerror(rc)) : 0;
}

static int measure(struct file *f, uint64_t *bytes, struct err *err)
{
	struct stat st;

	if (fstat(f->fd, &st))
		return err_set(err, -errno, "cannot stat %s: %s", f->path, strerror(errno));
	f->device = S_ISBLK(st.st_mode);
	if (!f->device && !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "%s is neither a file nor a block device", f->path);
	if (!f->device)
		*bytes = (uint64_t)st.st_size;
	else if (ioctl(f->fd, BLKGETSIZE64, bytes))
		return err_set(err, -errno, "cannot read the size of %s: %s", f->path, strerror(errno));
	return 0;
}

/* Is it locked by somebody else? Then it is the file they use, and their locks reach us. */
static int judge_theirs(struct file *f, struct err *err)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(f->fd, F_OFD_GETLK, &l))
		return err_set(err, -errno, "cannot ask for the lock of %s: %s", f->path, strerror(errno));
	if (l.l_type != F_UNLCK)
		return 0;
	return err_set(err, -ENOLCK, "nobody has locked %s: it is not the file that is in use on the other server, or the file system does not "
		       "carry locks from there to here", f->path);
}

static int lease_open(struct file *f, const struct blk_file_cfg *cfg, struct err *err)
{
	if (cfg->lock == BLK_FILE_OURS) {
		f->unsynced = true;
		return lock_fd(f, cfg->patience_ms, err);
	}
	f->lease = LEASE_AWAY;
	f->b.away = true;
	return cfg->lock == BLK_FILE_THEIRS ? judge_theirs(f, err) : 0;
}

static void unlock_fd(struct file *f)
{
	int second = lock_part(f, F_UNLCK, false), first = lock_part(f, F_UNLCK, true);

	if (first || second) /* then nobody else gets it: that is safe */
		log_warn("cannot give up the lock of %s: %s", f->path, strerror(first ? first : second));
}

static void sync_done(struct blk_io *io, int rc)
{
	struct file *f = io->ctx;

	f->syncing = false;
	f->sync_rc = rc;
	f->unsynced |= rc != 0;
}

static void sync_begin(struct file *f)
{
	int rc;

	f->sync = (struct blk_io){ .op = BLK_FLUSH, .done = sync_done, .ctx = f };
	f->unsynced = false;
	f->syncing = true;
	rc = file_submit(&f->b, &f->sync);
	if (rc)
		sync_done(&f->sync, rc == BLK_DONE ? 0 : rc);
}

/* Whoever has the lock next reads what we wrote, perhaps from another machine: so it is on the medium first. */
static int lease_leave(struct file *f, struct err *err)
{
	if (f->lease == LEASE_AWAY)
		return 0;
	if (f->lease == LEASE_OURS)
		f->sync_rc = 0;
	f->lease = LEASE_LEAVING;
	if (!f->count && !f->sync_rc && f->unsynced)
		sync_begin(f);
	if (f->count)
		return -EAGAIN;
	if (f->sync_rc)
		return err_set(err, f->sync_rc, "what was written to %s cannot be made durable: %s", f->path, strerror(-f->sync_rc));
	unlock_fd(f);
	f->lease = LEASE_AWAY;
	f->b.away = true;
	return 0;
}

static int judge_length(struct file *f, struct err *err)
{
	uint64_t bytes = 0;
	int rc = measure(f, &bytes, err);

	if (rc || bytes / f->b.block_bytes >= f->b.blocks)
		return rc;
	return err_set(err, -EINVAL, "%s has become shorter: it has %llu bytes, %llu are needed", f->path, (unsigned long long)bytes,
		       (unsigned long long)f->b.blocks * f->b.block_bytes);
}

static int lease_take(struct file *f, struct err *err)
{
	int rc = f->lease == LEASE_AWAY ? lock_fd(f, 0, err) : 0;

	if (rc)
		return rc;
	if (f->lease == LEASE_AWAY && (rc = judge_length(f, err))) {
		unlock_fd(f);
		return rc;
	}
	f->lease = LEASE_OURS;
	f->b.away = false;
	return 0;
}

static int file_hold(struct blk *b, bool on, struct err *err)
{
	return on ? lease_take(file_of(b), err) : lease_leave(file_of(b), err);
}

static void file_close(struct blk *b)
{
	struct file *f = file_of(b);

	if (f->syncing)
		list_del(&f->sync.link); /* the kernel needs no memory of ours for it */
	CHECK(list_empty(&f->out));
	if (f->ring_ok)
		io_uring_queue_exit(&f->ring);
	if (f->direct_fd >= 0)
		close(f->direct_fd);
	if (f->fd >= 0)
		close(f->fd);
	free(f->path);
	free(f);
}

static const struct blk_ops file_ops = {
	.name = "file", .submit = file_submit, .poll = file_poll, .next_allocated = file_next_allocated,
	.resize = file_resize, .wait_fd = file_wait_fd, .close = file_close, .hold = file_hold,
};

/* ---- opening ---- */

static int open_fd(struct file *f, const struct blk_file_cfg *cfg, bool *made, struct err *err)
{
	f->fd = open(cfg->path, O_RDWR | O_CLOEXEC);
	if (f->fd < 0 && errno == ENOENT && cfg->create) {
		f->fd = open(cfg->path, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
		*made = f->fd >= 0;
	}
	if (f->fd >= 0)
		return 0;
	return err_set(err, -errno, "cannot open %s: %s%s", cfg->path, strerror(errno),
		       errno == ENOENT && !cfg->create ? "; create it first, or ask for it to be created" : "");
}

static int make_size(struct file *f, const struct blk_file_cfg *cfg, struct err *err)
{
	if (!cfg->blocks)
		return err_set(err, -EINVAL, "%s is to be created, but how large was not said", cfg->path);
	if (blk_geometry_check(cfg->block_bytes, cfg->blocks, err))
		return -EINVAL;
	if (ftruncate(f->fd, (off_t)(cfg->blocks * cfg->block_bytes)) || fsync(f->fd))
		return err_set(err, -errno, "cannot make %s %llu bytes long: %s", cfg->path,
			       (unsigned long long)cfg->blocks * cfg->block_bytes, strerror(errno));
	return 0;
}

static int fit_size(struct file *f, const struct blk_file_cfg *cfg, struct err *err)
{
	uint64_t bytes, blocks;
	int rc = measure(f, &bytes, err);

	if (!rc && !bytes && cfg->create && !f->device) {
		rc = make_size(f, cfg, err);
		bytes = cfg->blocks * cfg->block_bytes;
	}
	if (rc)
		return rc;
	if (bytes % cfg->block_bytes)
		return err_set(err, -EINVAL, "%s has %llu bytes, which is no multiple of the block size %u", cfg->path,
			       (unsigned long long)bytes, cfg->block_bytes);
	blocks = cfg->blocks ? cfg->blocks : bytes / cfg->block_bytes;
	if (blk_geometry_check(cfg->block_bytes, blocks, err))
		return err_wrap(err, -EINVAL, "%s", cfg->path);
	if (cfg->grow && !f->device && blocks > bytes / cfg->block_bytes) {
		rc = make_size(f, cfg, err);
		if (rc)
			return rc;
		bytes = blocks * cfg->block_bytes;
	}
	if (blocks > bytes / cfg->block_bytes)
		return err_set(err, -EINVAL, "%s holds %llu blocks of %u bytes, but %llu were asked for; make it larger or ask for less",
			       cfg->path, (unsigned long long)(bytes / cfg->block_bytes), cfg->block_bytes,
			       (unsigned long long)blocks);
	f->b.blocks = blocks;
	return 0;
}

/* The new name must survive a power cut, or the flushes of the guest mean nothing. */
static int sync_parent(const char *path, struct err *err)
{
	char copy[PATH_MAX];
	int fd, rc;

	if (strlen(path) >= sizeof(copy))
		return err_set(err, -ENAMETOOLONG, "%s: the path is too long", path);
	strcpy(copy, path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 || fsync(fd) ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return rc ? err_set(err, rc, "cannot make the new file %s durable: %s", path, strerror(-rc)) : 0;
}

/* A device that is mounted, or part of a RAID, refuses an exclusive open. */
static int claim_device(struct file *f, const struct blk_file_cfg *cfg, struct err *err)
{
	unsigned left = cfg->patience_ms;
	int fd;

	do
		fd = open(cfg->path, O_RDWR | O_CLOEXEC | O_EXCL);
	while (fd < 0 && errno == EBUSY && nap(&left));
	if (fd < 0)
		return err_set(err, -errno, "cannot have %s for ourselves: %s%s", cfg->path, strerror(errno),
			       errno == EBUSY ? "; is it mounted?" : "");
	close(f->fd);
	f->fd = fd;
	return lock_fd(f, cfg->patience_ms, err);
}

/* tmpfs and some others cannot: then everything goes through the cache. By way of our own descriptor, because the path may
 * meanwhile lead to another file. */
static void open_direct(struct file *f)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	f->direct_fd = open(self, O_RDWR | O_CLOEXEC | O_DIRECT);
}

static void open_ring(struct file *f, const struct blk_file_cfg *cfg)
{
	int rc;

	if (cfg->blocking)
		return;
	rc = io_uring_queue_init(RING, &f->ring, 0);
	f->ring_ok = !rc;
	if (rc)
		log_warn("%s: no io_uring here (%s), so each request to this file waits for the disk; allow io_uring_setup to this program",
			 cfg->path, strerror(-rc));
}

static int file_setup(struct file *f, const struct blk_file_cfg *cfg, bool *made, struct err *err)
{
	struct stat st;
	int rc = open_fd(f, cfg, made, err);

	if (!rc && cfg->direct)
		open_direct(f);
	if (!rc)
		rc = lease_open(f, cfg, err);
	if (!rc)
		rc = fit_size(f, cfg, err);
	if (!rc && f->device && cfg->lock != BLK_FILE_OURS)
		rc = err_set(err, -ENOTSUP, "%s is a block device: the lock on it is not seen by other servers", cfg->path);
	if (!rc && f->device)
		rc = claim_device(f, cfg, err);
	if (!rc && *made)
		rc = sync_parent(cfg->path, err);
	if (rc)
		return rc;
	f->b.alloc_blocks = PAGE / cfg->block_bytes;
	if (!fstat(f->fd, &st) && is_pow2((uint64_t)st.st_blksize) && st.st_blksize > PAGE && st.st_blksize <= 64 * 1024)
		f->b.alloc_blocks = (uint32_t)st.st_blksize / cfg->block_bytes;
	open_ring(f, cfg);
	return 0;
}

struct blk *blk_file_open(const struct blk_file_cfg *cfg, struct err *err)
{
	struct file *f;
	bool made = false;

	if (!cfg->path || blk_geometry_check(cfg->block_bytes, cfg->blocks ? cfg->blocks : 1, err))
		return NULL;
	f = calloc(1, sizeof(*f));
	if (!f || !(f->path = strdup(cfg->path)))
		return free(f), err_set(err, -ENOMEM, "file: out of memory"), NULL;
	f->fd = f->direct_fd = -1;
	list_init(&f->out);
	f->b.ops = &file_ops;
	f->b.block_bytes = cfg->block_bytes;
	if (!file_setup(f, cfg, &made, err))
		return &f->b;
	if (made)
		unlink(cfg->path);
	file_close(&f->b);
	return NULL;
}
