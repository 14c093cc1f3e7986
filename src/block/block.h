/* One interface for whatever keeps a namespace's blocks, and for the wrappers that stack on it.
 *
 * Called from the device's thread only. The size of a block is fixed at open. A request belongs to the caller; it must stay
 * in place until it is done. A backend may answer at once (the return value) or later (done, from blk_poll).
 */
#ifndef FERRY_BLOCK_BLOCK_H
#define FERRY_BLOCK_BLOCK_H

#include <errno.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"

enum blk_op {
	BLK_READ,	/* blocks -> iov */
	BLK_WRITE,	/* iov -> blocks; fua: durable when done */
	BLK_FLUSH,	/* everything done before it is durable; lba and nlb unused */
	BLK_ZERO,	/* blocks read back as zeroes; dealloc: give the space back if that can be done */
	BLK_DEALLOC,	/* blocks read back as zeroes and are not allocated, at the backend's own granularity:
			 * a part of a unit is zeroed and may stay allocated */
	BLK_OP_COUNT
};

struct blk_io {
	enum blk_op op;
	bool fua, dealloc;
	uint64_t lba, nlb;		/* in blocks; the caller has checked them against the geometry */
	const struct iovec *iov;	/* READ, WRITE: exactly nlb * block size bytes in all */
	int iovcnt;
	void (*done)(struct blk_io *, int rc);	/* 0 or -errno; called once, only if blk_submit returned 0 */
	void *ctx;
	/* backend's and wrappers' own, while the request is out */
	struct list link;
	uint64_t priv[4];
};

enum { BLK_DONE = 1 };

struct blk {
	const struct blk_ops *ops;
	uint32_t block_bytes;	/* 512 or 4096 */
	uint64_t blocks;
	uint32_t alloc_blocks;	/* granularity of deallocation and of the allocated map, in blocks; power of two */
	struct blk *below;	/* a wrapper's next; NULL at the bottom */
	bool away;		/* at the bottom: somebody else may have the medium, every request fails with -EBUSY (blk_hold) */
};

struct blk_ops {
	const char *name;
	/* BLK_DONE: done already, `done` will not be called. 0: queued. -EAGAIN: no room now, nothing happened, poll and
	 * try again. Other -errno: failed, `done` will not be called; blocks in the range may hold old or new data. */
	int (*submit)(struct blk *, struct blk_io *);
	/* Finishes what can be finished, and hands to the kernel what submit has gathered: call it once more after the last
	 * submit before sleeping on wait_fd. Number of requests done. Never waits. */
	int (*poll)(struct blk *);
	/* First allocated range at or after lba: sets *start, *len (blocks). 0, -ENOENT when there is none, -errno.
	 * Over-reporting is allowed, missing a block that ever got data is not. */
	int (*next_allocated)(struct blk *, uint64_t lba, uint64_t *start, uint64_t *len);
	/* Changes the number of blocks; new blocks are deallocated (on a block device they are what it has there). Durable only after a
	 * flush. Requests may be out: -EBUSY if one under way reaches beyond the new end. 0 or -errno. May be NULL (-> -ENOTSUP). */
	int (*resize)(struct blk *, uint64_t blocks);
	/* A descriptor that turns readable when poll has something to do, or -1 if it never sleeps. */
	int (*wait_fd)(struct blk *);
	/* Frees it and all below it. No request may be out. */
	void (*close)(struct blk *);
	/* This range will soon be read or written: a backend in memory may fetch it into the cache. Only a hint, and nobody has judged
	 * the range: any value must be harmless. May be NULL. */
	void (*hint)(struct blk *, enum blk_op, uint64_t lba, uint64_t nlb);
	/* A medium that several servers reach: see blk_hold. NULL: it cannot be given up. */
	int (*hold)(struct blk *, bool on, struct err *);
};

static inline int blk_submit(struct blk *b, struct blk_io *io) { return b->ops->submit(b, io); }
static inline int blk_poll(struct blk *b) { return b->ops->poll(b); }
static inline int blk_next_allocated(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len)
{
	return b->ops->next_allocated(b, lba, start, len);
}
static inline struct blk *blk_bottom(struct blk *b)
{
	while (b->below)
		b = b->below;
	return b;
}
/* off: from the first call on new requests fail with -EBUSY; what is under way is waited for, everything made durable, then the lock on the
 * medium given up. on: the lock taken again; harmless if it was never given up. 0; -EAGAIN: poll and call again; -EBUSY: somebody else has
 * it; -ENOTSUP: this medium has no lock; other -errno. With a sentence except -EAGAIN and -ENOTSUP. Requests that a wrapper still holds
 * back have been done below. */
static inline int blk_hold(struct blk *b, bool on, struct err *err)
{
	b = blk_bottom(b);
	return b->ops->hold ? b->ops->hold(b, on, err) : -ENOTSUP;
}
static inline void blk_close(struct blk *b) { if (b) b->ops->close(b); }

/* Backends. On error NULL and a sentence. */
struct blk *blk_ram_open(uint32_t block_bytes, uint64_t blocks, struct err *);
struct blk *blk_null_open(uint32_t block_bytes, uint64_t blocks, struct err *); /* keeps nothing; for measuring */
enum blk_file_lock {
	BLK_FILE_OURS,		/* taken at once, or not opened */
	BLK_FILE_AWAY,		/* not taken: blk_hold does it later */
	BLK_FILE_THEIRS		/* the same, and somebody else must have it: proof that this is the file that somebody uses, and that their
				 * locks reach us. A file of the same name on another disk has no lock */
};
struct blk_file_cfg {
	const char *path;
	uint32_t block_bytes;
	uint64_t blocks;	/* 0: from the file's size */
	bool create;		/* make it if missing (sparse) */
	bool grow;		/* make it longer if it is shorter than that (sparse) */
	/* A file that somebody has locked is waited for. What a program that was killed had asked the disk for holds on to the lock until it
	 * is done, some time after the program is gone. Waits inside open: for a start, before anybody is served. */
	unsigned patience_ms;
	enum blk_file_lock lock;
	bool direct;		/* O_DIRECT where the file system and the request allow it */
	bool blocking;		/* without io_uring: a request waits for the disk inside submit */
};
struct blk *blk_file_open(const struct blk_file_cfg *, struct err *);

/* Wrappers: take ownership of `below`, also on error. Randomness is a seed, time is a clock given from outside. */
typedef uint64_t blk_clock(void *ctx); /* ns */
struct blk *blk_delay_open(struct blk *below, uint64_t min_ns, uint64_t max_ns, uint64_t seed,
			   blk_clock *, void *clock_ctx, struct err *);
struct blk_error_cfg {
	uint64_t seed;
	uint32_t per_million[BLK_OP_COUNT];	/* chance of failing each kind */
	int rc;					/* -EIO, -ENOSPC, ... */
	uint64_t lba, nlb;			/* only requests touching this range; nlb 0: all */
	bool half_done;				/* a failing write first writes its first half */
};
struct blk *blk_error_open(struct blk *below, const struct blk_error_cfg *, struct err *);
struct blk_error_cfg *blk_error_cfg(struct blk *error_wrapper); /* live: tests change it on the way */
/* stamp: remembers a checksum of every block written and compares on read (-EILSEQ on a mismatch). */
struct blk *blk_stamp_open(struct blk *below, struct err *);

#endif
