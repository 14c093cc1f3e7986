/* Rows of the data path: one controller, one device thread, a host over shared memory. */
#include <errno.h>
#include <stdio.h>

#include "cmd/bench_rig.h"

struct pair { struct brig *r, *r2; struct brig_job ours, other; uint64_t ticks, commands; bool track; };

static int rig(struct bench *b, bool null, struct brig **out)
{
	struct brig_cfg cfg = { .null = null, .bytes = b->v->size, .queues = 1 };

	if (!null && b->ram) {
		*out = b->ram;
		return 0;
	}
	*out = brig_new(&cfg, &b->err);
	if (!*out || null)
		return *out ? 0 : -ENOMEM;
	b->ram = *out;
	return brig_fill(b->ram, &b->err);
}

static double load(struct bench *b, struct brig *r, const struct brig_job *j)
{
	double v;

	brig_run(r, b);
	v = brig_load(r, j, b->turn_ns, &b->err);
	brig_halt(r);
	return v;
}

static double ours(struct bench *b, void *ctx)
{
	struct pair *p = ctx;

	return load(b, p->r, &p->ours);
}
static double other(struct bench *b, void *ctx)
{
	struct pair *p = ctx;

	return load(b, p->r, &p->other);
}
static double copy4k(struct bench *b, void *ctx) { return (void)ctx, bench_yard_copy4k(b); }
static double copy128k(struct bench *b, void *ctx) { return (void)ctx, bench_yard_memcpy(b); }
static double pingpong(struct bench *b, void *ctx) { return (void)ctx, bench_yard_pingpong(b); }

static int against_copy(struct bench *b, unsigned write_percent, struct bench_out *out)
{
	struct pair p = { .ours = { .depth = 128, .bytes = 4096, .write_percent = write_percent } };
	int rc = rig(b, false, &p.r);

	return rc ? rc : bench_turns(b, ours, copy4k, &p, out);
}

int bench_read4k(struct bench *b, struct bench_out *out) { return against_copy(b, 0, out); }
int bench_write4k(struct bench *b, struct bench_out *out) { return against_copy(b, 100, out); }

int bench_rate512(struct bench *b, struct bench_out *out)
{
	struct pair p = { .ours = { .depth = 128, .bytes = 512 }, .other = { .depth = 128, .bytes = 4096 } };
	int rc = rig(b, false, &p.r);

	return rc ? rc : bench_turns(b, ours, other, &p, out);
}

static double latency(struct bench *b, void *ctx)
{
	double rate = ours(b, ctx);

	return rate > 0 ? 1e9 / rate : rate;
}

int bench_latency(struct bench *b, struct bench_out *out)
{
	struct pair p = { .ours = { .depth = 1, .bytes = 4096 } };
	int rc = b->cpu_device < 0 ? err_set(&b->err, -ENOTSUP, "needs two processors") : rig(b, false, &p.r);

	return rc ? rc : bench_turns(b, latency, pingpong, &p, out);
}

/* Writes: a null backend gives zeroes to reads, and filling buffers is not what is measured here. */
int bench_null(struct bench *b, struct bench_out *out)
{
	struct pair p = { .ours = { .depth = 128, .bytes = 4096, .write_percent = 100 } };
	int rc = rig(b, true, &p.r);

	if (!rc)
		rc = bench_turns(b, ours, NULL, &p, out);
	brig_free(p.r);
	return rc;
}

static double bandwidth(struct bench *b, void *ctx)
{
	double rate = ours(b, ctx);

	return rate > 0 ? rate * BRIG_DATA_MAX : rate;
}

int bench_sequential(struct bench *b, struct bench_out *out)
{
	struct pair p = { .ours = { .depth = 16, .bytes = BRIG_DATA_MAX, .sequential = true } };
	int rc = rig(b, false, &p.r);

	return rc ? rc : bench_turns(b, bandwidth, copy128k, &p, out);
}

/* Only polls that did something count, so waiting for the host is not in it; the copy of the data is. */
static double cycles(struct bench *b, void *ctx)
{
	struct pair *p = ctx;
	uint64_t ticks, commands;
	double rate = ours(b, p);

	brig_busy(p->r, &ticks, &commands);
	return rate < 0 ? rate : (double)ticks / (double)MAX(commands, 1);
}

int bench_cycles(struct bench *b, struct bench_out *out)
{
	struct pair p = { .ours = { .depth = 128, .bytes = 4096 } };
	int rc = b->tsc_hz > 0 ? rig(b, false, &p.r) : err_set(&b->err, -ENOTSUP, "no time stamp counter on this machine");

	if (!rc)
		rc = bench_turns(b, cycles, NULL, &p, out);
	if (!rc)
		snprintf(out->note, sizeof(out->note), "of the %.2f GHz time stamp counter; polls that found nothing are not counted",
			 b->tsc_hz / 1e9);
	return rc;
}

static double tracked(struct bench *b, void *ctx)
{
	struct pair *p = ctx;
	double v = brig_track(p->r, true, &b->err) ? -1 : ours(b, p);

	return brig_track(p->r, false, &b->err) ? -1 : v;
}

int bench_tracking(struct bench *b, struct bench_out *out)
{
	struct pair p = { .ours = { .depth = 128, .bytes = 4096, .write_percent = 50 } };
	int rc;

	p.other = p.ours;
	rc = rig(b, false, &p.r);
	if (!rc)
		rc = bench_turns(b, tracked, other, &p, out);
	if (!rc)
		snprintf(out->note, sizeof(out->note), "half reads, half writes; %llu log entries went into a dirty set on the device's thread",
			 (unsigned long long)brig_tracked(p.r));
	return rc;
}
