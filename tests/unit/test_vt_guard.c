/* Memory that no command lends stays as it is, or the test fails: between verifier and our device stands somebody who writes one byte where
 * it must not, once, while a command is out. Each place must be noticed, and named; without the byte everything passes.
 */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>

#include "cmd/verify_rig.h"
#include "verify/run.h"

enum { QUEUES = 16, MC = 2 /* the first migratable controller: two MMCs come before it */ };

struct meddler;
struct side { struct port port; struct port *real; struct meddler *m; uint8_t *mem; uint64_t iova, bytes; struct { uint64_t base; uint32_t size, seen; } sq[QUEUES]; };
static struct meddler {
	struct side side[DUT_CTRLS];
	/* Where to write when this command has been announced; UINT64_MAX: not this one. */
	uint64_t (*where)(struct side *, unsigned qid, const struct nvme_sqe *);
	uint64_t at;			/* iova; UINT64_MAX nothing is to be done */
	unsigned into, turns, did;	/* controller; turns of the device until then */
	bool (*pump)(void *);
	void *pump_ctx;
} med;

static struct side *of(struct port *p) { return CONTAINER_OF(p, struct side, port); }
static int m_read(struct port *p, uint32_t off, unsigned n, uint64_t *v) { return of(p)->real->ops->reg_read(of(p)->real, off, n, v); }
static int m_write(struct port *p, uint32_t off, unsigned n, uint64_t v)
{
	struct side *s = of(p);

	if (off == NVME_REG_AQA)
		s->sq[0].size = (uint32_t)(v & 0xfff) + 1;
	else if (off == NVME_REG_ASQ)
		s->sq[0].base = v, s->sq[0].seen = 0;
	return s->real->ops->reg_write(s->real, off, n, v);
}

static void announced(struct side *s, unsigned qid, const struct nvme_sqe *e)
{
	unsigned of_qid = le32_get(e->cdw10) & 0xffff;
	uint64_t at;

	if (!qid && e->opc == NVME_OP_CREATE_SQ && of_qid && of_qid < QUEUES) {
		s->sq[of_qid].base = le64_get(e->prp1);
		s->sq[of_qid].size = (le32_get(e->cdw10) >> 16) + 1;
		s->sq[of_qid].seen = 0;
	}
	if (s - med.side != MC || med.did || med.at != UINT64_MAX || !med.where || (at = med.where(s, qid, e)) == UINT64_MAX)
		return;
	med.at = at;
	med.into = MC;
	med.turns = 1;
}

static int m_bell(struct port *p, unsigned i, uint32_t v)
{
	struct side *s = of(p);
	unsigned qid = i / 2;

	for (; i % 2 == 0 && qid < QUEUES && v < s->sq[qid].size && s->sq[qid].seen != v; s->sq[qid].seen = (s->sq[qid].seen + 1) % s->sq[qid].size)
		announced(s, qid, (const struct nvme_sqe *)(s->mem + (s->sq[qid].base - s->iova) + 64 * s->sq[qid].seen));
	return s->real->ops->doorbell(s->real, i, v);
}
static int m_cfg(struct port *p, uint32_t o, void *b, uint32_t n) { return of(p)->real->ops->cfg_read(of(p)->real, o, b, n); }
static int m_cfg_put(struct port *p, uint32_t o, const void *b, uint32_t n) { return of(p)->real->ops->cfg_write(of(p)->real, o, b, n); }
static int m_map(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t off)
{
	struct side *s = of(p);

	s->mem = ptr;
	s->iova = iova;
	s->bytes = size;
	return s->real->ops->dma_map(s->real, iova, ptr, size, fd, off);
}
static int m_unmap(struct port *p, uint64_t iova, uint64_t size) { return of(p)->real->ops->dma_unmap(of(p)->real, iova, size); }
static int m_reset(struct port *p) { return of(p)->real->ops->reset(of(p)->real); }
static const struct port_ops ops = { .reg_read = m_read, .reg_write = m_write, .doorbell = m_bell, .cfg_read = m_cfg, .cfg_write = m_cfg_put,
				     .dma_map = m_map, .dma_unmap = m_unmap, .reset = m_reset };

static bool pump(void *ctx)
{
	bool any = med.pump(med.pump_ctx);
	struct side *s = &med.side[med.into];

	(void)ctx;
	if (med.at == UINT64_MAX || med.turns--)
		return any;
	if (range_inside(med.at - s->iova, 1, s->bytes)) {
		s->mem[med.at - s->iova] ^= 0x40;
		med.did++;
	}
	med.at = UINT64_MAX;
	return any;
}

static enum vt_verdict behind;	/* of the test behind the first */

static enum vt_verdict run(const char *ids, uint64_t (*where)(struct side *, unsigned, const struct nvme_sqe *), bool all, char why[900])
{
	struct vrun_cfg cfg = { .id = ids, .seed = 5, .cmd_ns = 30000000000ull, .test_ns = 300000000000ull, .quiet_ns = 2000000, .guard = all };
	struct verify_rig_cfg rig = { 0 };
	struct port *real[DUT_CTRLS];
	enum vt_verdict v = VT_ERROR;
	struct err err = { "" };
	struct vrun r = { 0 };
	struct dut d;
	void *ctx;

	EXPECT_EQ(verify_rig_open(&d, &rig, &err), 0);
	med = (struct meddler){ .where = where, .at = UINT64_MAX, .pump = d.pump, .pump_ctx = d.ctx };
	for (unsigned i = 0; i < d.ctrls; i++) {
		real[i] = d.ctrl[i].port;
		med.side[i] = (struct side){ .port.ops = &ops, .real = real[i], .m = &med };
		d.ctrl[i].port = &med.side[i].port;
	}
	ctx = d.ctx;
	d.pump = pump;
	snprintf(why, 900, "%s", err.text);
	if (!vrun_run(&r, &d, &cfg, &err) && r.results) {
		v = r.result[0].verdict;
		behind = r.results > 1 ? r.result[1].verdict : VT_ERROR;
		snprintf(why, 900, "%.899s", r.result[0].why);
	}
	vrun_free(&r);
	d.ctx = ctx;
	for (unsigned i = 0; i < d.ctrls; i++)
		d.ctrl[i].port = real[i];
	dut_close(&d);
	return v;
}

/* The test passes untouched, and with the byte it fails for that reason and says where. */
static void noticed(const char *id, uint64_t (*where)(struct side *, unsigned, const struct nvme_sqe *), bool all, const char *words)
{
	char why[900];
	enum vt_verdict v = run(id, NULL, all, why);

	if (v != VT_PASS)
		fail_msg("%s does not pass: %s", id, why);
	v = run(id, where, all, why);
	EXPECT_EQ(med.did, 1);
	if (v != VT_FAIL || !strstr(why, words))
		fail_msg("%s: %s %s, looked for: %s", id, vt_verdict_name(v), why, words);
}

/* ---- places */

enum { BLOCK = 512 };
static uint32_t rw_bytes(const struct nvme_sqe *e) { return ((le32_get(e->cdw12) & 0xffff) + 1) * BLOCK; }

static uint64_t in_written(struct side *s, unsigned qid, const struct nvme_sqe *e)
{
	(void)s;
	return qid && e->opc == NVME_NVM_WRITE ? le64_get(e->prp1) + rw_bytes(e) - 1 : UINT64_MAX;
}
TEST(data_of_a_write) { noticed("IO-01", in_written, false, "not lent"); }

static uint64_t behind_read(struct side *s, unsigned qid, const struct nvme_sqe *e)
{
	(void)s;
	return qid && e->opc == NVME_NVM_READ && rw_bytes(e) % 4096 && rw_bytes(e) < 4096 ? le64_get(e->prp1) + rw_bytes(e) : UINT64_MAX;
}
TEST(the_byte_behind_a_read_on_its_page) { noticed("IO-01", behind_read, false, "not lent"); }

static uint64_t before_page(struct side *s, unsigned qid, const struct nvme_sqe *e)
{
	(void)s;
	return qid && e->opc == NVME_NVM_READ && !(le64_get(e->prp1) & 4095) ? le64_get(e->prp1) - 1 : UINT64_MAX;
}
TEST(the_page_before_a_read) { noticed("IO-01", before_page, false, "not lent"); }

/* Behind its last entry, so that the command itself goes well. */
static uint64_t in_list(struct side *s, unsigned qid, const struct nvme_sqe *e)
{
	(void)s;
	return qid && e->opc == NVME_NVM_READ && rw_bytes(e) > 2 * 4096 ? (le64_get(e->prp2) | 4095) - 8 : UINT64_MAX;
}
TEST(a_prp_list) { noticed("IO-01", in_list, false, "not lent"); }

/* Behind the admin completion queue, on its page. */
static uint64_t beside_queue(struct side *s, unsigned qid, const struct nvme_sqe *e)
{
	(void)qid;
	return e->opc == NVME_NVM_READ && qid ? s->sq[0].base - 4096 - 4096 + 3000 : UINT64_MAX;
}
TEST(a_page_of_something_else) { noticed("IO-01", beside_queue, true, "not lent"); }

static uint64_t never_used(struct side *s, unsigned qid, const struct nvme_sqe *e)
{
	(void)e;
	return qid ? s->iova + s->bytes - 3 * 4096 + 7 : UINT64_MAX;
}
TEST(memory_nobody_ever_used) { noticed("IO-10", never_used, false, "no test has ever used: the page at 1017fd000h"); }

/* What one test finds is not found again by the next one. */
TEST(the_next_test_is_not_blamed)
{
	char why[900];

	EXPECT_EQ(run("IO-08,IO-10", never_used, false, why), VT_FAIL);
	EXPECT_EQ(behind, VT_PASS);
}
