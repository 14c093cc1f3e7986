/* A wrapper that makes any backend slow: a request is finished between min_ns and max_ns after it was submitted, though
 * below it is done at once. Requests pass each other, as on a real disk with several channels.
 *
 * Called from the device thread; the time is a clock given from outside and the delays come from a seed, so the simulator
 * replays them exactly. A caller that sleeps asks for wait_fd: only then there is a kernel timer (which assumes that the
 * clock runs as fast as the monotonic one).
 */
#include "block/block.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/rng.h"

enum { SLOTS = 1024 };

struct slot {
	struct blk_io child;
	struct blk_io *io;
	struct delay *d;
	uint64_t due_ns;
	int rc;
	struct list link;		/* free, or held (sorted by due, then by submission) */
};

struct delay {
	struct blk b;
	uint64_t min_ns, max_ns;
	struct rng rng;
	blk_clock *clock;
	void *clock_ctx;
	struct list free, held;
	unsigned out;
	int timer_fd, epoll_fd;		/* -1 until somebody wants to sleep */
	uint64_t armed_ns;		/* 0: not armed */
	struct slot slots[SLOTS];
};

static struct delay *delay_of(struct blk *b) { return CONTAINER_OF(b, struct delay, b); }

static void arm(struct delay *d)
{
	struct itimerspec its = { 0 };
	uint64_t due = 0, now, left;

	if (d->timer_fd < 0)
		return;
	if (!list_empty(&d->held))
		due = LIST_ENTRY(d->held.next, struct slot, link)->due_ns;
	if (due == d->armed_ns)
		return;
	now = d->clock(d->clock_ctx);
	left = due > now ? due - now : 1;
	if (due)
		its.it_value = (struct timespec){ (time_t)(left / 1000000000), (long)(left % 1000000000) };
	timerfd_settime(d->timer_fd, 0, &its, NULL); /* also makes it unreadable */
	d->armed_ns = due;
}

/* Sorted by due; from the end, because a later request is mostly due later. */
static void hold(struct delay *d, struct slot *s)
{
	struct list *at = d->held.prev;

	while (at != &d->held && LIST_ENTRY(at, struct slot, link)->due_ns > s->due_ns)
		at = at->prev;
	list_push(at->next, &s->link); /* before the next one, that is behind `at` */
}

static void child_done(struct blk_io *child, int rc)
{
	struct slot *s = CONTAINER_OF(child, struct slot, child);

	s->rc = rc;
	hold(s->d, s);
	arm(s->d);
}

static int delay_submit(struct blk *b, struct blk_io *io)
{
	struct delay *d = delay_of(b);
	struct list *l = list_pop(&d->free);
	struct slot *s;
	int rc;

	if (!l)
		return -EAGAIN;
	s = LIST_ENTRY(l, struct slot, link);
	s->io = io;
	s->child = *io;
	s->child.done = child_done;
	s->due_ns = d->clock(d->clock_ctx) + rng_between(&d->rng, d->min_ns, d->max_ns);
	rc = blk_submit(b->below, &s->child);
	if (rc == -EAGAIN) {
		list_push(&d->free, &s->link);
		return rc;
	}
	d->out++;
	if (rc)	/* a failure is held as long as a success: not before its time */
		child_done(&s->child, rc == BLK_DONE ? 0 : rc);
	return 0;
}

static int delay_poll(struct blk *b)
{
	struct delay *d = delay_of(b);
	struct list due, *l;
	uint64_t now;
	int n = 0;

	blk_poll(b->below);
	if (list_empty(&d->held))
		return 0;
	/* First taken out, then told: whoever is told may submit again, and would be served for ever with a delay of 0. */
	list_init(&due);
	now = d->clock(d->clock_ctx);
	while (!list_empty(&d->held) && LIST_ENTRY(d->held.next, struct slot, link)->due_ns <= now)
		list_push(&due, list_pop(&d->held));
	for (; (l = list_pop(&due)); n++) {
		struct slot *s = LIST_ENTRY(l, struct slot, link);
		struct blk_io *io = s->io;
		int rc = s->rc;

		list_push(&d->free, &s->link);
		d->out--;
		io->done(io, rc);
	}
	arm(d);
	return n;
}

static int delay_next_allocated(struct blk *b, uint64_t lba, uint64_t *start, uint64_t *len)
{
	return blk_next_allocated(b->below, lba, start, len);
}

static int delay_resize(struct blk *b, uint64_t blocks)
{
	int rc = b->below->ops->resize ? b->below->ops->resize(b->below, blocks) : -ENOTSUP;

	b->blocks = b->below->blocks;
	return rc;
}

static void watch(int epoll_fd, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };

	if (fd >= 0)
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static int delay_wait_fd(struct blk *b)
{
	struct delay *d = delay_of(b);

	if (d->epoll_fd >= 0)
		return d->epoll_fd;
	d->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (d->timer_fd < 0 || d->epoll_fd < 0)
		return -1;
	watch(d->epoll_fd, d->timer_fd);
	watch(d->epoll_fd, b->below->ops->wait_fd(b->below));
	arm(d);
	return d->epoll_fd;
}

static void delay_close(struct blk *b)
{
	struct delay *d = delay_of(b);

	CHECK(!d->out);
	if (d->timer_fd >= 0)
		close(d->timer_fd);
	if (d->epoll_fd >= 0)
		close(d->epoll_fd);
	blk_close(b->below);
	free(d);
}

static const struct blk_ops delay_ops = {
	.name = "delay", .submit = delay_submit, .poll = delay_poll, .next_allocated = delay_next_allocated,
	.resize = delay_resize, .wait_fd = delay_wait_fd, .close = delay_close,
};

struct blk *blk_delay_open(struct blk *below, uint64_t min_ns, uint64_t max_ns, uint64_t seed,
			   blk_clock *clock, void *clock_ctx, struct err *err)
{
	struct delay *d = calloc(1, sizeof(*d));

	if (!d || min_ns > max_ns) {
		if (d)
			err_set(err, -EINVAL, "delay: the shortest delay is longer than the longest");
		else
			err_set(err, -ENOMEM, "delay: out of memory");
		free(d);
		blk_close(below);
		return NULL;
	}
	d->b = *below;
	d->b.ops = &delay_ops;
	d->b.below = below;
	d->min_ns = min_ns;
	d->max_ns = max_ns;
	d->rng.s = seed;
	d->clock = clock;
	d->clock_ctx = clock_ctx;
	d->timer_fd = d->epoll_fd = -1;
	list_init(&d->free);
	list_init(&d->held);
	for (unsigned i = 0; i < SLOTS; i++) {
		d->slots[i].d = d;
		list_push(&d->free, &d->slots[i].link);
	}
	return &d->b;
}
