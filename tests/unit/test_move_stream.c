/* Moves of a VMM that sends its guest's memory itself, between two servers in one thread: when it has leave to stop the guest. */
#include "moverig.h"

#include "migrate/out.h"

/* ---- a VMM that sends everything when its processors stand, which is at the first moment it may, if the test lets it */

static struct stream {
	struct world *w;
	bool holds;			/* it would not stop yet, whatever it may */
	bool finished;
	uint64_t at[2];			/* bytes read from a, written to b */
	unsigned allowed, refused;	/* how often it was asked, with leave and without */
	unsigned refused_broken;	/* ... while the log was lost */
} st;

static int st_open(struct vm *v, struct vm_info *i, struct err *err)
{
	(void)v, (void)err;
	*i = (struct vm_info){ .kind = "stream", .streams = true };
	return 0;
}
static int st_begin(struct vm *v, bool incoming, struct err *err)
{
	(void)v, (void)err;
	st.at[incoming] = 0;
	return 0;
}
static int64_t st_read(struct vm *v, void *buf, size_t cap, struct err *err)
{
	struct tvm *t = tvm_of(v);
	size_t n = MIN(cap, (size_t)(t->h.bytes - st.at[0]));

	(void)err;
	if (!st.finished)
		return -EAGAIN;
	memcpy(buf, t->h.mem + st.at[0], n);
	st.at[0] += n;
	return (int64_t)n;
}
static int64_t st_write(struct vm *v, const void *buf, size_t len, struct err *err)
{
	struct tvm *t = tvm_of(v);

	(void)err;
	EXPECT(range_inside(st.at[1], len, t->h.bytes));
	memcpy(t->h.mem + st.at[1], buf, len);
	st.at[1] += len;
	return (int64_t)len;
}
/* Leave is only right while the manager knows which blocks are behind, and they are few. */
static int st_settle(struct vm *v, uint64_t allowed_ns, struct vm_stream *s, struct err *err)
{
	struct move_out *o = st.w->out;

	(void)err;
	*s = (struct vm_stream){ .total = tvm_of(v)->h.bytes };
	st.refused_broken += !allowed_ns && o->log_broken;
	*(allowed_ns ? &st.allowed : &st.refused) += 1;
	if (allowed_ns && (o->log_broken || dirty_any(&o->ns[0].ask) || out_remaining(o) > 4 * MIB))
		fail_msg("it may stop: log %s, %llu bytes behind", o->log_broken ? "lost" : "whole", (unsigned long long)out_remaining(o));
	if (allowed_ns && !st.holds)
		tvm_of(v)->running = false;
	return tvm_of(v)->running ? -EAGAIN : 0;
}
static int st_pause(struct vm *v, struct err *err)
{
	return tvm_of(v)->running ? err_set(err, -ESTALE, "it has not stopped") : 0;
}
static int64_t st_image(struct vm *v, void *buf, size_t cap, struct err *err)
{
	(void)v, (void)cap, (void)err;
	memcpy(buf, "image", 5);
	return 5;
}
static int st_finish(struct vm *v, struct err *err)
{
	(void)v, (void)err;
	st.finished = true;
	return 0;
}
static int st_arrive(struct vm *v, const void *image, size_t len, struct err *err)
{
	(void)err;
	EXPECT_EQ(st.at[1], tvm_of(v)->h.bytes);
	EXPECT(len == 5 && !memcmp(image, "image", 5));
	return 0;
}
static const struct vm_ops st_ops = {
	.open = st_open, .track = tvm_track, .pause = st_pause, .resume = tvm_resume, .discard = tvm_discard, .alive = tvm_alive,
	.stream_begin = st_begin, .stream_read = st_read, .stream_write = st_write, .stream_settle = st_settle, .image = st_image,
	.stream_finish = st_finish, .arrive = st_arrive
};

static void streams(struct world *w)
{
	st = (struct stream){ .w = w, .holds = true };
	for (int i = 0; i < 2; i++)
		w->s[i].vm.vm.ops = &st_ops;
}

/* The mover gets no time while the guest writes thousands of small pieces: the log of them overflows. */
static void lose_the_log(struct world *w)
{
	struct guest_host *h = &w->s[0].vm.h;
	uint64_t done = guest_stats(h)->done[GUEST_WRITE];

	guest_set_rate(h, 0);
	w->out_stalled = true;
	world_until(w, guest_stats(h)->done[GUEST_WRITE] > done + 6000);
	w->out_stalled = false;
	guest_set_rate(h, 20 * MIB);
}

/* ---- */

/* Leave was given, the VMM takes its time, and the log of changes is lost: now every block may be behind. With the old leave the guest
 * would stand still until all of them have been looked at; also when it is to be stopped whatever it takes. */
static void leave_is_withdrawn(bool force)
{
	WORLD(w, .net = { SIM_KNOBS_MILD }, .blocks = 65536, .guest = { .area_bytes = 16 << 20, .rate = 20 << 20, .max_blocks = 1, .depth = 32, .weight = { [GUEST_WRITE] = 8 } });
	struct move_plan p = plan_to('b');
	unsigned allowed;

	p.force = force;
	streams(&w);
	world_move(&w, 0, &p);
	world_until(&w, st.allowed > 10 || out_over(&w));
	EXPECT(!out_over(&w));
	EXPECT_EQ(st.refused_broken, 0);
	allowed = st.allowed;
	lose_the_log(&w);
	world_until(&w, w.s[0].kinds_overflow || out_over(&w));
	EXPECT(st.refused_broken > 0);
	EXPECT_EQ(st.allowed, allowed);		/* not once, from the loss on */
	world_until(&w, st.allowed > allowed || out_over(&w));
	EXPECT(!out_over(&w));			/* it comes again when the blocks are nearly equal again */
	st.holds = false;
	world_until(&w, out_over(&w));
	EXPECT_EQ(out_rc(&w), 0);
	EXPECT_EQ(move_out_progress(w.out)->overflows, 1);
	EXPECT_EQ(w.compared, 1);
	guest_is_well(&w, 1);
}

TEST(leave_to_stop_is_withdrawn_when_the_log_is_lost) { leave_is_withdrawn(false); }
TEST(leave_to_stop_is_withdrawn_also_when_forced) { leave_is_withdrawn(true); }
