/* The verifier must be able to fail. Between it and our device stands a liar: a port that passes everything on and falsifies, as told, what
 * the device says: statuses, data, log entries, interrupts of the ring's order. Each lie must turn a test that passes into one that fails.
 * A row says which lie and which test; negative tests are all tried with "everything succeeds".
 */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>

#include "cmd/verify_rig.h"
#include "verify/checklist.h"
#include "verify/run.h"

struct liar;
struct lie {
	const char *what, *test;
	/* Before the verifier sees a completion of an admin command. ctrl 0 is the MMC. */
	void (*tell)(struct liar *, unsigned ctrl, const struct nvme_sqe *, struct nvme_cqe *);
	/* After each turn of the device: log entries and memory. */
	void (*turn)(struct liar *);
};

struct side { struct port port; struct port *real; struct liar *l; uint8_t *mem; uint64_t iova, bytes, asq, acq; uint32_t size, head; bool phase; uint8_t sent[VT_CMDS][64]; };
struct liar {
	struct side side[DUT_CTRLS];
	unsigned sides;
	const struct lie *lie;
	bool (*pump)(void *);
	void *pump_ctx;
	uint8_t *ring;			/* of the last CDQ that was made, all memory the MMC's */
	uint32_t slots, seen;
	bool ring_phase;
	unsigned told, n;
};
static struct liar liar;
enum { MC = 2 };			/* the first migratable controller: two MMCs come before it */

static uint8_t *mem(struct liar *l, unsigned ctrl, uint64_t iova, uint64_t len)
{
	struct side *s = &l->side[ctrl];

	return s->mem && range_inside(iova - s->iova, len, s->bytes) ? s->mem + (iova - s->iova) : NULL;
}
static uint8_t *data(struct liar *l, unsigned ctrl, const struct nvme_sqe *s, uint64_t len) { return mem(l, ctrl, le64_get(s->prp1), len); }
static void status_is(struct nvme_cqe *c, unsigned st) { c->status = le16_of((uint16_t)((le16_get(c->status) & 1) | st << 1)); }

/* ---- the port between */

static struct side *of(struct port *p) { return CONTAINER_OF(p, struct side, port); }
static int l_read(struct port *p, uint32_t off, unsigned n, uint64_t *v) { return of(p)->real->ops->reg_read(of(p)->real, off, n, v); }
static int l_write(struct port *p, uint32_t off, unsigned n, uint64_t v)
{
	struct side *s = of(p);

	if (off == NVME_REG_AQA)
		s->size = (uint32_t)(v >> 16 & 0xfff) + 1;
	else if (off == NVME_REG_ASQ)
		s->asq = v;
	else if (off == NVME_REG_ACQ)
		s->acq = v;
	else if (off == NVME_REG_CC && v & 1)
		s->head = 0, s->phase = true;
	return s->real->ops->reg_write(s->real, off, n, v);
}
static int l_bell(struct port *p, unsigned i, uint32_t v) { return of(p)->real->ops->doorbell(of(p)->real, i, v); }
static int l_cfg(struct port *p, uint32_t o, void *b, uint32_t n) { return of(p)->real->ops->cfg_read(of(p)->real, o, b, n); }
static int l_cfg_put(struct port *p, uint32_t o, const void *b, uint32_t n) { return of(p)->real->ops->cfg_write(of(p)->real, o, b, n); }
static int l_map(struct port *p, uint64_t iova, void *ptr, uint64_t size, int fd, uint64_t off)
{
	struct side *s = of(p);

	s->mem = ptr;
	s->iova = iova;
	s->bytes = size;
	return s->real->ops->dma_map(s->real, iova, ptr, size, fd, off);
}
static int l_unmap(struct port *p, uint64_t iova, uint64_t size) { return of(p)->real->ops->dma_unmap(of(p)->real, iova, size); }
static int l_reset(struct port *p) { return of(p)->real->ops->reset(of(p)->real); }
static const struct port_ops l_ops = { .reg_read = l_read, .reg_write = l_write, .doorbell = l_bell, .cfg_read = l_cfg, .cfg_write = l_cfg_put,
				       .dma_map = l_map, .dma_unmap = l_unmap, .reset = l_reset };

static void remember(struct liar *l, const struct nvme_sqe *s, const struct nvme_cqe *c)
{
	if (s->opc != NVME_OP_CDQ || le32_get(s->cdw10) & 0xff || nvme_cqe_status(c))
		return;
	l->slots = le32_get(s->cdw12) / 8;
	l->ring = mem(l, 0, le64_get(s->prp1), l->slots * 32);
	l->seen = 0;
	l->ring_phase = true;
}

static void new_completions(struct liar *l, unsigned i)
{
	struct side *s = &l->side[i];
	uint8_t *cq = s->mem && s->acq ? mem(l, i, s->acq, s->size * 16) : NULL, *sq = cq ? mem(l, i, s->asq, s->size * 64) : NULL;

	for (unsigned n = 0; sq && n < s->size; n++) {
		struct nvme_cqe *c = (struct nvme_cqe *)(cq + 16 * s->head);
		struct nvme_sqe e = { 0 };

		if (nvme_cqe_phase(c) != s->phase)
			return;
		memcpy(&e, s->sent[le16_get(c->cid) % VT_CMDS], 64);
		if (!i)
			remember(l, &e, c);
		if (l->lie->tell)
			l->lie->tell(l, i, &e, c);
		if (++s->head == s->size) {
			s->head = 0;
			s->phase = !s->phase;
		}
	}
}

/* What is in the submission ring now: the verifier overwrites a slot as soon as SQHD has passed it. */
static void new_commands(struct liar *l, unsigned i)
{
	struct side *s = &l->side[i];
	uint8_t *sq = s->mem && s->acq ? mem(l, i, s->asq, s->size * 64) : NULL;

	for (unsigned n = 0; sq && n < s->size; n++)
		memcpy(s->sent[(sq[64 * n + 2] | sq[64 * n + 3] << 8) % VT_CMDS], sq + 64 * n, 64);
}

static bool l_pump(void *ctx)
{
	struct liar *l = ctx;
	bool any;

	for (unsigned i = 0; l->lie && i < l->sides; i++)
		new_commands(l, i);
	any = l->pump(l->pump_ctx);

	for (unsigned i = 0; l->lie && i < l->sides; i++)
		new_completions(l, i);
	if (l->lie && l->lie->turn)
		l->lie->turn(l);
	return any;
}

/* New entries of the log since last asked; NULL: none. */
static uint8_t *next_entry(struct liar *l)
{
	uint8_t *e = l->ring ? l->ring + 32 * l->seen : NULL;

	if (!e || (e[31] & 1) != l->ring_phase)
		return NULL;
	if (++l->seen == l->slots) {
		l->seen = 0;
		l->ring_phase = !l->ring_phase;
	}
	return e;
}

/* ---- running one test under one lie */

enum { WHY = 900 };

static enum vt_verdict run(const struct lie *lie, const char *id, char *why)
{
	struct verify_rig_cfg rig = { 0 };
	struct vrun_cfg cfg = { .id = id, .seed = 5, .cmd_ns = 300000000, .quiet_ns = 2000000 };
	struct err err = { "" };
	struct vrun r = { 0 };
	struct port *real[DUT_CTRLS];
	enum vt_verdict v = VT_ERROR;
	struct dut d;

	memset(&liar, 0, sizeof(liar));
	EXPECT_EQ(verify_rig_open(&d, &rig, &err), 0);
	liar.lie = lie;
	liar.pump = d.pump;
	liar.pump_ctx = d.ctx;
	liar.sides = d.ctrls;
	for (unsigned i = 0; i < d.ctrls; i++) {
		real[i] = d.ctrl[i].port;
		liar.side[i] = (struct side){ .port.ops = &l_ops, .real = real[i], .l = &liar };
		d.ctrl[i].port = &liar.side[i].port;
	}
	d.pump = l_pump;
	{
		void *rig_ctx = d.ctx;

		d.ctx = &liar;
		if (!vrun_run(&r, &d, &cfg, &err) && r.results == 1) {
			v = r.result[0].verdict;
			snprintf(why, WHY, "%.*s", WHY - 1, r.result[0].why);
		} else {
			snprintf(why, WHY, "%.*s", WHY - 1, err.text);
		}
		liar.lie = NULL;
		vrun_free(&r);
		d.ctx = rig_ctx;
	}
	for (unsigned i = 0; i < d.ctrls; i++)
		d.ctrl[i].port = real[i];
	dut_close(&d);
	return v;
}

/* ---- lies about statuses */

static bool hmlm_op(const struct nvme_sqe *s)
{
	unsigned fid = le32_get(s->cdw10) & 0xff;

	return s->opc == 0x3d || s->opc == 0x3e || s->opc == 0x41 || s->opc == 0x42 || s->opc == 0x45 || s->opc == NVME_OP_GET_LBA_STATUS ||
	       ((s->opc == NVME_OP_SET_FEATURES || s->opc == NVME_OP_GET_FEATURES) && fid == 0x21) ||
	       (s->opc == NVME_OP_IDENTIFY && (fid == 0x20 || fid == 0x21));
}
static void all_succeed(struct liar *l, unsigned ctrl, const struct nvme_sqe *s, struct nvme_cqe *c)
{
	(void)ctrl;
	l->told += hmlm_op(s) && nvme_cqe_status(c);
	if (hmlm_op(s))
		status_is(c, 0);
}
static void other_status(struct liar *l, unsigned ctrl, const struct nvme_sqe *s, struct nvme_cqe *c)
{
	(void)ctrl;
	l->told += hmlm_op(s) && nvme_cqe_status(c);
	if (hmlm_op(s) && nvme_cqe_status(c))
		status_is(c, NVME_INTERNAL_ERROR);
}

/* Every negative test of the migration groups must notice a device that never refuses, and one that refuses with a wrong status. */
static void negatives(const char *name, void (*tell)(struct liar *, unsigned, const struct nvme_sqe *, struct nvme_cqe *))
{
	const struct lie lie = { name, NULL, tell, NULL };
	unsigned tried = 0, bad = 0;

	for (unsigned i = 0; vtest_at(i); i++) {
		const struct vtest *t = vtest_at(i);
		enum vt_verdict v;
		char why[WHY];

		if (!vtest_lists(t->tags, "negative") || vtest_in_group(t, "BA") || vtest_in_group(t, "BE") || vtest_in_group(t, "IO"))
			continue;
		v = run(&lie, t->id, why);
		tried += v != VT_SKIP && liar.told;
		if (v == VT_PASS) { /* whether or not the lie was told: what a device may say here must matter */
			print_message("# %s passes though %s (told %u times)\n", t->id, name, liar.told);
			bad++;
		}
	}
	EXPECT(tried >= 50);
	EXPECT_EQ(bad, 0);
}
TEST(everything_succeeds) { negatives("everything succeeds", all_succeed); }
TEST(every_refusal_is_an_internal_error) { negatives("every refusal is an Internal Error", other_status); }

/* ---- lies about data */

static void hmpre(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = s->opc == NVME_OP_IDENTIFY && (le32_get(s->cdw10) & 0xff) == 1 ? data(l, c, s, 4096) : NULL;

	(void)e;
	if (p)
		p[272] = 1;
}
static void reserved_id(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = s->opc == NVME_OP_IDENTIFY && (le32_get(s->cdw10) & 0xff) == 1 ? data(l, c, s, 4096) : NULL;

	(void)e;
	if (p)
		p[600] = 1;
}
static void csup(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c;
	if (s->opc == 0x42 && !nvme_cqe_status(e))
		e->dw0 = le32_of(1);
}
static uint8_t *state(struct liar *l, unsigned c, const struct nvme_sqe *s, const struct nvme_cqe *e)
{
	return s->opc == 0x42 && !nvme_cqe_status(e) && !le32_get(s->cdw12) && le32_get(s->cdw15) > 12 ? data(l, c, s, 512) : NULL;
}
#define STATE_LIE(name, doing)                                                                                 \
	static void name(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)             \
	{                                                                                                      \
		uint8_t *p = state(l, c, s, e);                                                                \
		if (p)                                                                                         \
			doing;                                                                                 \
	}
STATE_LIE(state_version, p[0] = 1)
STATE_LIE(state_head, p[56 + 16]++)
STATE_LIE(state_tail, p[56 + 18]++)
STATE_LIE(state_s0pt, p[56 + 24 * (p[50] | p[51] << 8) + 16] ^= 4)
STATE_LIE(state_prp, p[56 + 2]++)
STATE_LIE(state_iv, p[56 + 24 * (p[50] | p[51] << 8) + 18]++)
STATE_LIE(state_order, { uint8_t t[24]; memcpy(t, p + 56, 24); memcpy(p + 56, p + 80, 24); memcpy(p + 80, t, 24); })

static uint8_t *report(struct liar *l, unsigned c, const struct nvme_sqe *s, const struct nvme_cqe *e)
{
	return s->opc == 0x3e && !nvme_cqe_status(e) ? data(l, c, s, 64) : NULL;
}
#define REPORT_LIE(name, doing)                                                                                \
	static void name(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)             \
	{                                                                                                      \
		uint8_t *p = report(l, c, s, e);                                                               \
		if (p)                                                                                         \
			doing;                                                                                 \
	}
REPORT_LIE(report_empty, { p[4] = 0; p[1] &= 2; })
REPORT_LIE(report_susp, p[1] |= 2)
REPORT_LIE(report_never_susp, p[1] &= 1)
REPORT_LIE(report_no_more, p[1] &= 2)
REPORT_LIE(report_cntlid, p[2] ^= 0x40)
REPORT_LIE(report_short, { for (unsigned i = 0; i < p[4] && i < 3; i++) if (p[16 + 16 * i + 8] > 1) p[16 + 16 * i + 8]--; })

static void cdq_head(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = s->opc == NVME_OP_GET_FEATURES && (le32_get(s->cdw10) & 0xff) == 0x21 && !nvme_cqe_status(e) ? data(l, c, s, 512) : NULL;

	if (p)
		p[0]++;
}
static void cdq_armed(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c;
	if (s->opc == NVME_OP_GET_FEATURES && (le32_get(s->cdw10) & 0xff) == 0x21 && !nvme_cqe_status(e))
		e->dw0 = le32_of(le32_get(e->dw0) | 1u << 31);
}
static void event_id(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c;
	if (s->opc == NVME_OP_AER)
		e->dw1 = le32_of(le32_get(e->dw1) + 1);
}
static void event_type(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c;
	if (s->opc == NVME_OP_AER)
		e->dw0 = le32_of(le32_get(e->dw0) ^ 0x100);
}
static void lba_empty(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = s->opc == NVME_OP_GET_LBA_STATUS && !nvme_cqe_status(e) ? data(l, c, s, 8) : NULL;

	if (p)
		p[0] = 0, p[4] = 2;
}
static void lba_lbars(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = s->opc == NVME_OP_GET_LBA_STATUS && !nvme_cqe_status(e) && le32_get(s->cdw12) > 10 ? data(l, c, s, 64) : NULL;

	if (p)
		p[8 + 13] = 1;
}
static void wrong_sqid(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c, (void)s;
	e->sqid = le16_of(9);
}
static void wrong_cid(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c, (void)s;
	e->cid = le16_of((uint16_t)(le16_get(e->cid) ^ 0x400));
}
static void wrong_sqhd(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c, (void)s;
	e->sqhd = le16_of(5000);
}

/* ---- lies about log entries */

#define ENTRY_LIE(name, doing)                          \
	static void name(struct liar *l)                \
	{                                               \
		for (uint8_t *e; (e = next_entry(l));)  \
			doing;                          \
	}
ENTRY_LIE(entry_no_first, e[31] &= 0xf1)
ENTRY_LIE(entry_nsid, e[0] ^= 0x40)
ENTRY_LIE(entry_shorter, { if (e[4] && (e[31] & 0xc0) == 0) e[4]--; })
ENTRY_LIE(entry_one_based, { if ((e[31] & 0xc0) == 0) e[4]++; })
ENTRY_LIE(entry_reserved, e[20] = 1)
ENTRY_LIE(entry_lost, { if ((e[31] & 0xce) == 0 && l->n++ % 7 == 3) { e[8] = 0xf0; e[9] = 0x7f; } })
ENTRY_LIE(entry_dealloc, { if ((e[31] & 0xc0) == 0) e[31] |= 0x20; })
ENTRY_LIE(entry_never_suspended, { if ((e[31] >> 1 & 7) == 3) e[31] = (uint8_t)((e[31] & 0xf1) | 2 << 1); })

/* A write where nobody allowed one: behind the admin queue, on its guard page. */
static void stray(struct liar *l)
{
	struct side *s = &l->side[MC];

	if (s->mem && l->told && !l->n++)
		s->mem[s->asq - s->iova + 4096 + 100] = 1;
}
/* Memory of a suspended controller changes. */
static void suspended_dma(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)c, (void)e;
	if (s->opc == 0x41 && !(le32_get(s->cdw10) & 0xff))
		l->told = 1;
}
static void suspended_dma_turn(struct liar *l)
{
	if (l->told && l->told++ == 20)
		l->side[MC].mem[l->side[MC].bytes - 1] ^= 1;
}

static const struct lie lies[] = {
	{ "HMPRE is not 0", "ID-02", hmpre, NULL }, { "a reserved byte of Identify", "ID-06", reserved_id, NULL },
	{ "CSUP always", "MR-01", csup, NULL }, { "state VER 1", "MR-02", state_version, NULL }, { "IOSQHP one more", "MR-06", state_head, NULL },
	{ "IOSQTP one more", "MR-06", state_tail, NULL }, { "S0PT inverted", "MR-06", state_s0pt, NULL },
	{ "another PRP1", "MR-06", state_prp, NULL }, { "another vector", "MR-06", state_iv, NULL }, { "SQs out of order", "MR-05", state_order, NULL },
	{ "S0PT inverted", "E2E-06", state_s0pt, NULL }, { "IOSQHP one more", "E2E-07", state_head, NULL },
	{ "nothing tracked", "TR-01", report_empty, NULL }, { "nothing tracked", "TR-06", report_empty, NULL }, { "SUSP always", "TR-05", report_susp, NULL },
	{ "SUSP never", "TR-05", report_never_susp, NULL }, { "MTR never", "TR-04", report_no_more, NULL },
	{ "another CNTLID in the report", "TR-01", report_cntlid, NULL }, { "ranges too short", "TR-01", report_short, NULL },
	{ "HP one more", "FT-01", cdq_head, NULL }, { "ETPT always", "FT-11", cdq_armed, NULL }, { "events with another CDQID", "FT-11", event_id, NULL },
	{ "tail events called full", "FT-11", event_type, NULL }, { "full events called tail", "FT-18", event_type, NULL },
	{ "nothing allocated", "LA-02", lba_empty, NULL }, { "nothing allocated", "E2E-13", lba_empty, NULL }, { "LBARS 001b", "LA-02", lba_lbars, NULL },
	{ "completions with another SQID", "BA-24", wrong_sqid, NULL }, { "completions with another CID", "BA-24", wrong_cid, NULL },
	{ "SQHD outside the queue", "BA-24", wrong_sqhd, NULL },
	{ "no entry is marked", "TS-01", NULL, entry_no_first }, { "no entry is marked", "TS-02", NULL, entry_no_first },
	{ "no entry is marked", "TS-24", NULL, entry_no_first }, { "no entry is marked", "RS-04", NULL, entry_no_first },
	{ "entries with another NSID", "TS-10", NULL, entry_nsid }, { "entries a block too short", "TS-10", NULL, entry_shorter },
	{ "one-based NLB", "TS-11", NULL, entry_one_based }, { "reserved bytes of entries", "TS-23", NULL, entry_reserved },
	{ "every seventh entry is lost", "TS-10", NULL, entry_lost }, { "every seventh entry is lost", "E2E-03", NULL, entry_lost },
	{ "every seventh entry is lost", "RN-02", NULL, entry_lost }, { "everything is deallocated", "TS-16", NULL, entry_dealloc },
	{ "no suspended entry", "SU-09", NULL, entry_never_suspended }, { "a stray write", "SU-05", suspended_dma, stray },
	{ "a write while suspended", "SU-02", suspended_dma, suspended_dma_turn },
};

TEST(without_lies_they_pass)
{
	static const struct lie none = { "none", NULL, NULL, NULL };

	for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
		char why[WHY] = "";
		enum vt_verdict v = run(&none, lies[i].test, why);

		if (v != VT_PASS)
			fail_msg("%s does not pass: %s %s", lies[i].test, vt_verdict_name(v), why);
	}
}

TEST(each_lie_is_noticed)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
		char why[WHY] = "";
		enum vt_verdict v = run(&lies[i], lies[i].test, why);

		if (v != VT_FAIL && v != VT_ERROR) { /* ERROR: nothing can even be started with such a device */
			print_message("# %s is not noticed by %s: %s %s\n", lies[i].what, lies[i].test, vt_verdict_name(v), why);
			bad++;
		}
	}
	EXPECT_EQ(bad, 0);
}

/* A random sequence that fails is cut down to the few steps that matter. */
TEST(sequences_are_shrunk)
{
	static const struct lie lie = { "everything succeeds", NULL, all_succeed, NULL };
	char why[WHY] = "", *at;
	unsigned from = 0, to = 0;

	EXPECT_EQ(run(&lie, "RN-02", why), VT_FAIL);
	at = strstr(why, " steps, shrunk to ");
	EXPECT(at != NULL);
	while (at > why && at[-1] >= '0' && at[-1] <= '9')
		at--;
	EXPECT_EQ(sscanf(at, "%u steps, shrunk to %u", &from, &to), 2);
	EXPECT_EQ(from, 300);
	EXPECT(to >= 1 && to <= 5);
}

/* A device that stops answering: this test fails, the ones after it are errors, and nothing hangs. */
static void never(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)l, (void)c, (void)s;
	e->status = le16_of(le16_get(e->status) ^ 1); /* the phase is wrong for ever: nobody sees it */
}
TEST(silence_is_a_failure)
{
	const struct lie lie = { "silence", NULL, never, NULL };
	char why[WHY] = "";
	enum vt_verdict v = run(&lie, "ID-18", why);

	EXPECT(v == VT_FAIL || v == VT_ERROR);
}

/* An honest device, and a list that calls its first test a known failure: passing is not as expected either. */
static unsigned ran(bool fail_fast)
{
	struct vrun_cfg cfg = { .group = "ID", .xfail = "ID-02 known\n", .seed = 5, .fail_fast = fail_fast };
	struct verify_rig_cfg rig = { 0 };
	struct err err = { "" };
	struct vrun r = { 0 };
	struct dut d;
	unsigned n;

	EXPECT_EQ(verify_rig_open(&d, &rig, &err), 0);
	EXPECT_EQ(vrun_run(&r, &d, &cfg, &err), 0);
	EXPECT(!vrun_good(&r) && r.count[VT_XPASS] == 1);
	n = r.results;
	vrun_free(&r);
	dut_close(&d);
	return n;
}
TEST(fail_fast_stops_at_the_first_surprise)
{
	EXPECT_EQ(ran(true), 2);
	EXPECT(ran(false) > 20);
}
