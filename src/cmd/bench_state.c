/* Rows about the state image and about memory. One thread. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/bench_rig.h"
#include "host/hmlm.h"
#include "migrate/dirty.h"

enum { QUEUES = 64, PIECE = 64 * 1024, CTRLS = 16, CSVI = 1, ROUNDS = 21 };

/* ---- what a move does to the controllers while its guest stands still: Suspend and Get at the source, Set and Resume at a target that
 * was made and suspended before. Both are in one subsystem here; for the device it is the same work. */

struct trip { struct brig *r; struct nvme_ctrl *to; uint8_t *buf; uint8_t uuid; uint64_t bytes, get_ns, set_ns, gap_ns; };

static int send(struct trip *t, struct bench *b, struct hnvme_cmd *c, uint64_t *took)
{
	uint64_t begin = bench_now();
	int rc = brig_admin(t->r, true, c, NULL, &b->err);

	*took = bench_now() - begin;
	return rc;
}

static int get(struct trip *t, struct bench *b, uint64_t *took)
{
	struct hnvme_cmd c = { .data = t->buf, .len = PIECE };
	struct hmlm_state st;
	int rc;

	hmlm_get_state(&c.sqe, brig_cntlid(t->r), CSVI, t->uuid, 0, PIECE);
	rc = send(t, b, &c, took);
	if (!rc)
		rc = hmlm_state_parse(t->buf, PIECE, &st, &b->err);
	if (!rc && st.total > PIECE)
		rc = err_set(&b->err, -E2BIG, "the image has %llu bytes, more than this row transfers", (unsigned long long)st.total);
	t->bytes = rc ? 0 : st.total;
	return rc;
}

static int to_controller(struct trip *t, struct bench *b, uint16_t cntlid, bool go)
{
	struct hnvme_cmd c = { 0 };
	uint64_t ns;

	if (go)
		hmlm_resume(&c.sqe, cntlid);
	else
		hmlm_suspend(&c.sqe, cntlid, NVME_STYPE_SUSPEND, false);
	return send(t, b, &c, &ns);
}

static int set(struct trip *t, struct bench *b)
{
	struct hnvme_cmd c = { .data = t->buf, .len = (uint32_t)t->bytes };

	hmlm_set_state(&c.sqe, nvme_ctrl_cntlid(t->to), NVME_SEQ_ONLY, CSVI, t->uuid, 0, c.len / 4);
	return send(t, b, &c, &t->set_ns);
}

static int target_make(struct trip *t, struct bench *b)
{
	struct nvme_ctrl_cfg mc = { 0 };
	int rc;

	t->to = nvme_ctrl_new(brig_subsys(t->r), &mc, &b->err);
	if (!t->to)
		return -ENOMEM;
	rc = nvme_ctrl_attach(t->to, BRIG_NS, nvme_ns_find(brig_subsys(t->r), BRIG_NS));
	return rc ? rc : to_controller(t, b, nvme_ctrl_cntlid(t->to), false);
}

static int trip(struct trip *t, struct bench *b)
{
	int rc = target_make(t, b);
	uint64_t begin = bench_now();

	if (!rc)
		rc = to_controller(t, b, brig_cntlid(t->r), false);
	if (!rc)
		rc = get(t, b, &t->get_ns);
	if (!rc)
		rc = set(t, b);
	if (!rc)
		rc = to_controller(t, b, nvme_ctrl_cntlid(t->to), true);
	t->gap_ns = bench_now() - begin;
	if (t->to) {
		nvme_ctrl_set_online(t->to, false);
		nvme_ctrl_free(t->to);
	}
	t->to = NULL;
	return rc ? rc : to_controller(t, b, brig_cntlid(t->r), true);
}

static int vendor_format(struct trip *t, struct bench *b)
{
	static const uint8_t uuid[16] = FERRY_STATE_UUID;
	struct hnvme_cmd c = { .data = t->buf, .len = 4096 };
	uint64_t ns;
	int rc;

	hmlm_identify(&c.sqe, NVME_CNS_STATE_FORMATS, 0, 0, 0);
	rc = send(t, b, &c, &ns);
	t->uuid = rc ? 0 : hmlm_format_uuid(t->buf, uuid);
	return rc || (t->uuid && hmlm_format_version(t->buf, 0) == CSVI) ? rc :
	       err_set(&b->err, -ENOTSUP, "the controller does not list our state formats");
}

struct trips { double get[ROUNDS], set[ROUNDS], gap[ROUNDS]; uint64_t bytes; };

static int trips(struct bench *b, struct trips *m)
{
	struct brig_cfg cfg = { .bytes = 64 * MIB, .queues = QUEUES };
	struct trip t = { .r = brig_new(&cfg, &b->err) };
	int rc = t.r ? 0 : -ENOMEM;

	t.buf = rc ? NULL : brig_mmc_mem(t.r, PIECE);
	if (!rc)
		rc = t.buf ? vendor_format(&t, b) : err_set(&b->err, -ENOMEM, "no memory for the image");
	for (unsigned i = 0; !rc && i < ROUNDS; i++) {
		rc = trip(&t, b);
		m->get[i] = (double)t.get_ns;
		m->set[i] = (double)t.set_ns;
		m->gap[i] = (double)t.gap_ns;
	}
	m->bytes = t.bytes;
	brig_free(t.r);
	return rc;
}

int bench_state_bytes(struct bench *b, struct bench_out *out)
{
	struct trips m;
	int rc = trips(b, &m);

	out->value = out->ratio = rc ? 0 : (double)m.bytes;
	return rc;
}

int bench_state_time(struct bench *b, struct bench_out *out)
{
	struct trips m;
	int rc = trips(b, &m);
	double g, s;

	if (rc)
		return rc;
	g = bench_median(m.get, ROUNDS);
	s = bench_median(m.set, ROUNDS);
	out->value = out->ratio = MAX(g, s) / 1e3;
	snprintf(out->note, sizeof(out->note), "the slower of Get (%.1f us) and Set (%.1f us); median of %d", g / 1e3, s / 1e3, ROUNDS);
	return 0;
}

int bench_device_gap(struct bench *b, struct bench_out *out)
{
	struct trips m;
	int rc = trips(b, &m);

	if (rc)
		return rc;
	out->value = out->ratio = bench_median(m.gap, ROUNDS) / 1e3;
	snprintf(out->note, sizeof(out->note), "Suspend, Get, Set, Resume; median of %d", ROUNDS);
	return 0;
}

/* ---- memory */

/* Resident pages, because what the server never touches costs nothing; each controller has been enabled and used. */
int bench_mem_ctrl(struct bench *b, struct bench_out *out)
{
	struct brig_cfg cfg = { .bytes = 64 * MIB, .queues = 1 };
	struct brig *r = brig_new(&cfg, &b->err);
	struct nvme_ctrl_cfg mc = { 0 };
	uint64_t before = bench_rss(getpid()), after;

	if (!r)
		return -ENOMEM;
	for (unsigned i = 0; i < CTRLS; i++)
		if (!nvme_ctrl_new(brig_subsys(r), &mc, &b->err)) {
			brig_free(r);
			return -ENOMEM;
		}
	after = bench_rss(getpid());
	brig_free(r);
	out->value = out->ratio = (double)(after - before) / CTRLS / MIB;
	snprintf(out->note, sizeof(out->note), "resident memory of %d more controllers, not enabled", CTRLS);
	return after > before ? 0 : err_set(&b->err, -ENOTSUP, "this system does not tell what a process has resident");
}

/* What the mover keeps of a namespace: the changed blocks, here the worst there is, every other granule; and the ranges it must ask
 * about, which are large ones. Sets that are full or nearly empty take next to nothing. */
int bench_mem_tracked(struct bench *b, struct bench_out *out)
{
	const uint64_t blocks = 64 * GIB / 4096, run = MIB / 4096;
	struct dirty changed = { 0 }, ask = { 0 };
	struct mallinfo2 before = mallinfo2(), after;
	int rc = dirty_init(&changed, blocks, 4096);

	if (!rc)
		rc = dirty_init(&ask, blocks, 4096);
	for (uint64_t i = 0; !rc && i < blocks; i += 2)
		dirty_add(&changed, i, 1);
	for (uint64_t i = 0; !rc && i < blocks; i += 2 * run)
		dirty_add(&ask, i, run);
	after = mallinfo2();
	dirty_fini(&changed);
	dirty_fini(&ask);
	out->value = out->ratio = (double)(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) * 16 / MIB;
	snprintf(out->note, sizeof(out->note), "the mover's sets with every other 4 KiB changed, measured at 64 GiB and scaled");
	if (rc)
		return err_set(&b->err, rc, "no memory for a dirty set");
	return out->value > 0 ? 0 : err_set(&b->err, -ENOTSUP, "this allocator does not tell what it has given");
}
