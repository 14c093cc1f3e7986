/* The verifier must be able to fail. A row says which lie (tests/liar.h) and which test must notice it. A "shall" none of whose tests was seen
 * to fail this way needs a reason here. Lies about refusals: test_verify_refusals.c.
 */
#include "liar.h"

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

/* An entry nobody asked for, in the next slot. */
static void add_entry(struct liar *l, uint8_t nsid, uint8_t slba)
{
	uint8_t *e = l->ring ? l->ring + 32 * l->seen : NULL, last = (uint8_t)l->ring_phase;

	while (next_entry(l))
		e = l->ring + 32 * l->seen, last = (uint8_t)l->ring_phase;
	if (!e)
		return;
	memset(e, 0, 32);
	e[0] = nsid;
	e[8] = slba;
	e[31] = last;
}
static void create_posts(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	if (!c && !l->qid && s->opc == NVME_OP_CDQ && !(le32_get(s->cdw10) & 0xff) && !nvme_cqe_status(e))
		add_entry(l, 1, 0);
}
static void reads_logged(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)e;
	if (c == MC && l->qid && s->opc == NVME_NVM_READ)
		add_entry(l, 12, 0);
}
static void mmc_writes_logged(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)e;
	if (!c && l->qid && s->opc == NVME_NVM_WRITE)
		add_entry(l, (uint8_t)le32_get(s->nsid), (uint8_t)le32_get(s->cdw10));
}
static void deleted_written(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	if (!c && !l->qid && s->opc == NVME_OP_CDQ && (le32_get(s->cdw10) & 0xff) == 1 && !nvme_cqe_status(e))
		l->told = 1;
}
static void deleted_written_turn(struct liar *l)
{
	if (l->told && l->told++ < 40 && l->ring)
		memset(l->ring, 0xee, 32 * l->slots);
}

/* ---- more lies about data and completions */

static bool is_op(const struct liar *l, const struct nvme_sqe *s, enum vop op) { return !l->qid && vop_of(s) == op; }

#define IDENTIFY_LIE(name, cns, doing)                                                                         \
	static void name(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)             \
	{                                                                                                      \
		uint8_t *p = !l->qid && s->opc == NVME_OP_IDENTIFY && (le32_get(s->cdw10) & 0xff) == (cns) ? data(l, c, s, 4096) : NULL; \
		(void)e;                                                                                       \
		if (p)                                                                                         \
			doing;                                                                                 \
	}
IDENTIFY_LIE(nmcmr, 0x01, { if (!c) { p[582] = 9; p[584] = 1; p[585] = 0; } })
IDENTIFY_LIE(no_formats, 0x20, memset(p, 0, 4096))
IDENTIFY_LIE(lbamqf, 0x06, p[24] = 1)
IDENTIFY_LIE(no_ralbas, 0x06, p[18] = p[19] = 0)
IDENTIFY_LIE(ns_list, 0x02, p[0] = 0xf0)
IDENTIFY_LIE(short_list, 0x13, { p[0] = 1; p[1] = 0; })
static void no_effects(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = !l->qid && s->opc == NVME_OP_GET_LOG && (le32_get(s->cdw10) & 0xff) == 5 ? data(l, c, s, 4096) : NULL;

	(void)e;
	if (p)
		p[4 * 0x41] ^= 1;
}
#define COMPLETION_LIE(name, op, when, doing)                                                                  \
	static void name(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)             \
	{                                                                                                      \
		(void)c;                                                                                       \
		if (is_op(l, s, VOP_##op) && !nvme_cqe_status(e) && (when))                                    \
			doing;                                                                                 \
	}
COMPLETION_LIE(cdqid_high, CDQ_CREATE, true, e->dw0 = le32_of(le32_get(e->dw0) | 0x10000))
COMPLETION_LIE(cdqid_same, CDQ_CREATE, true, e->dw0 = le32_of(1))
COMPLETION_LIE(needs_queue, SUSPEND, vf_get(s, VF_SUSPEND_dudmq), status_is(e, NVME_INVALID_CDQ))
COMPLETION_LIE(set_refused, SET_CDQ, true, status_is(e, NVME_INVALID_FIELD))
COMPLETION_LIE(get_reserved, GET_CDQ, true, e->dw0 = le32_of(le32_get(e->dw0) ^ 0x10000))
COMPLETION_LIE(oversize_get, GET_STATE, vf_get(s, VF_GET_STATE_numdl) > 512, status_is(e, NVME_INVALID_FIELD))
COMPLETION_LIE(oversize_recv, TRACK_RECV, vf_get(s, VF_TRACK_RECV_numdl) >= 0x7fff, status_is(e, NVME_INVALID_FIELD))
COMPLETION_LIE(csuidxp, GET_STATE, vf_get(s, VF_GET_STATE_csuidxp), status_is(e, NVME_INVALID_FIELD))
COMPLETION_LIE(empty_last, SET_STATE, vf_get(s, VF_SET_STATE_seqind) == 2 && !vf_get(s, VF_SET_STATE_numd), status_is(e, NVME_INVALID_FIELD))
COMPLETION_LIE(list_refused, CDQ_CREATE, !vf_get(s, VF_CDQ_CREATE_pc), status_is(e, NVME_INVALID_FIELD))
static void no_sends(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)c;
	if (!l->qid && s->opc == 0x41 && (le32_get(s->cdw10) & 0xff) == 2)
		status_is(e, NVME_INVALID_OPCODE);
}
static void never_full(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)c;
	if (is_op(l, s, VOP_CDQ_CREATE))
		status_is(e, 0);
}
static void piece_bytes(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = is_op(l, s, VOP_GET_STATE) && !nvme_cqe_status(e) && le32_get(s->cdw12) ? data(l, c, s, 4) : NULL;

	if (p)
		p[0] ^= 1;
}
static void sizes_of_none(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = is_op(l, s, VOP_GET_STATE) && !nvme_cqe_status(e) && !le32_get(s->cdw12) ? data(l, c, s, 48) : NULL;

	if (p && !vf_get(s, VF_GET_STATE_csvi))
		p[16] = 2;
}
STATE_LIE(state_queues, p[50] ^= 1)
static void mmc_reads(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = !c && l->qid && s->opc == NVME_NVM_READ && !nvme_cqe_status(e) ? data(l, c, s, 512) : NULL;

	if (p)
		p[100] ^= 1;
}
static void lba_whole(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = is_op(l, s, VOP_LBA_STATUS) && !nvme_cqe_status(e) && le32_get(s->cdw12) > 10 ? data(l, c, s, 64) : NULL;

	if (p) { /* everything from where was asked is allocated, in one range */
		uint32_t rl = le32_get(s->cdw13) & 0xffff;
		le32 nlb0 = le32_of(rl ? rl - 1 : 0xfff);

		memset(p, 0, 32);
		p[0] = 1, p[4] = 2, p[8 + 13] = 2;
		memcpy(p + 8, &s->cdw10, 4);
		memcpy(p + 16, &nlb0, 4);
	}
}
static void lba_complete(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = is_op(l, s, VOP_LBA_STATUS) && !nvme_cqe_status(e) ? data(l, c, s, 8) : NULL;

	if (p)
		p[4] = 2;
}
static void report_again(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	static uint8_t last[64];
	uint8_t *p = report(l, c, s, e);

	if (p && !l->n++)
		memcpy(last, p, 64), last[4] = MIN(last[4], 3), last[1] = 0;
	else if (p && !p[4])
		memcpy(p, last, 64);
}
REPORT_LIE(report_outside, { if (p[4]) p[16 + 2] ^= 0x10; else { p[4] = 1; p[16 + 4] = 1; p[16 + 8] = 1; } })

/* ---- lies about what is done: the device does something else than it was told, and says it was that */

#define ALTER_LIE(name, op, when, doing)                                                                       \
	static void name(struct liar *l, unsigned c, unsigned qid, struct nvme_sqe *s)                         \
	{                                                                                                      \
		(void)l;                                                                                       \
		if (!c && !qid && vop_of(s) == VOP_##op && (when))                                             \
			doing;                                                                                 \
	}
/* A command that succeeds and changes nothing: the notification of a suspension. */
static void nothing(struct nvme_sqe *s, unsigned cntlid)
{
	le16 cid = s->cid;

	vop_init(s, VOP_SUSPEND);
	vf_put(s, VF_SUSPEND_cntlid, cntlid);
	s->cid = cid;
}
static uint16_t mc_cntlid(void) { return 3; } /* of the rig: two MMCs come first */
static uint8_t *image_of(struct liar *l, struct nvme_sqe *s) { return data(l, 0, s, 152); }

ALTER_LIE(set_ignored, SET_CDQ, true, nothing(s, mc_cntlid()))
ALTER_LIE(start_ignored, LOG, vf_get(s, VF_LOG_lact) == 1 && l->n++, nothing(s, mc_cntlid()))
ALTER_LIE(stop_ignored, LOG, !vf_get(s, VF_LOG_lact), nothing(s, mc_cntlid()))
ALTER_LIE(untrack_ignored, TRACK_MEM, !vf_get(s, VF_TRACK_MEM_tact), nothing(s, mc_cntlid()))
ALTER_LIE(delete_ignored, CDQ_DELETE, true, nothing(s, mc_cntlid()))
ALTER_LIE(notify_suspends, SUSPEND, !vf_get(s, VF_SUSPEND_stype), vf_put(s, VF_SUSPEND_stype, 1))
ALTER_LIE(dudmq_ignored, SUSPEND, true, vf_put(s, VF_SUSPEND_dudmq, 0))
ALTER_LIE(mos_means, SUSPEND, vf_get(s, VF_SUSPEND_mos), { vf_put(s, VF_SUSPEND_stype, 0); vf_put(s, VF_SUSPEND_mos, 0); })
ALTER_LIE(suspend_ignored, SUSPEND, true, vf_put(s, VF_SUSPEND_stype, 0))
ALTER_LIE(head_moved, SET_STATE, vf_get(s, VF_SET_STATE_seqind) == 3 && image_of(l, s), image_of(l, s)[56 + 16] ^= 1)
ALTER_LIE(phase_turned, SET_STATE, vf_get(s, VF_SET_STATE_seqind) == 3 && image_of(l, s), image_of(l, s)[104 + 16] ^= 4)
ALTER_LIE(piece_changed, SET_STATE, vf_get(s, VF_SET_STATE_seqind) == 0 && data(l, 0, s, 4), data(l, 0, s, 4)[0] ^= 1)
ALTER_LIE(first_goes_on, SET_STATE, vf_get(s, VF_SET_STATE_seqind) == 1 && l->n++, vf_put(s, VF_SET_STATE_seqind, 0))
ALTER_LIE(wrong_target, SET_STATE, true, vf_put(s, VF_SET_STATE_cntlid, mc_cntlid()))

ALTER_LIE(unarmed_ignored, SET_CDQ, !vf_get(s, VF_SET_CDQ_etpt), nothing(s, mc_cntlid()))

/* ---- lies about reads, writes, registers */

static void wrong_data(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = c == MC && l->qid && s->opc == NVME_NVM_READ && !nvme_cqe_status(e) ? mem(l, c, le64_get(s->prp1), 64) : NULL;

	if (p)
		p[33] ^= 1;
}
static void one_before(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = c == MC && l->qid && s->opc == NVME_NVM_READ && le64_get(s->prp1) & 4095 ? mem(l, c, le64_get(s->prp1) - 1, 1) : NULL;

	(void)e;
	if (p)
		p[0] ^= 1;
}
static void no_flush(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)c;
	if (l->qid && s->opc == NVME_NVM_FLUSH)
		status_is(e, NVME_INTERNAL_ERROR);
}
/* A medium fails, and nobody is told. */
static void no_media_errors(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)c, (void)s;
	if (l->qid && (nvme_cqe_status(e) == 0x280 || nvme_cqe_status(e) == 0x281))
		status_is(e, 0);
}
static uint8_t *log_read(struct liar *l, unsigned c, const struct nvme_sqe *s, unsigned lid)
{
	return !l->qid && s->opc == NVME_OP_GET_LOG && (le32_get(s->cdw10) & 0xff) == lid ? data(l, c, s, 512) : NULL;
}
static void error_of_another(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = log_read(l, c, s, NVME_LID_ERROR);

	(void)e;
	if (p)
		p[10] ^= 1;
}
static void no_error_entries(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *p = log_read(l, c, s, NVME_LID_SMART);

	(void)e;
	if (p)
		memset(p + 160, 0, 32);
}
static void once_only(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)c;
	if (!l->qid && s->opc == NVME_OP_CREATE_SQ && l->n++)
		status_is(e, NVME_QID_INVALID);
}
static void feature_value(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	(void)c;
	if (!l->qid && s->opc == NVME_OP_GET_FEATURES)
		e->dw0 = le32_of(le32_get(e->dw0) ^ 1);
}
static struct nvme_sgl *segment_of(struct liar *l, unsigned c, struct nvme_sqe *s)
{
	const uint8_t *type = (const uint8_t *)s + 24 + 15;

	return (s->flags & NVME_PSDT_MASK) == NVME_PSDT_SGL && *type >> 4 >= NVME_SGL_SEGMENT ? (struct nvme_sgl *)mem(l, c, le64_get(s->prp1), 64) : NULL;
}
static void segment_moved(struct liar *l, unsigned c, unsigned qid, struct nvme_sqe *s)
{
	struct nvme_sgl *d = qid ? segment_of(l, c, s) : NULL;

	if (d)
		d[1].addr = le64_of(le64_get(d[1].addr) + 1);
}
static void bucket_kept(struct liar *l, unsigned c, unsigned qid, struct nvme_sqe *s)
{
	struct nvme_sgl *d = qid ? segment_of(l, c, s) : NULL;

	if (d && d->type >> 4 == NVME_SGL_BIT_BUCKET) { /* what was to be thrown away comes, and the rest does not */
		d[0] = d[1];
		memset(&d[1], 0, sizeof(d[1]));
		d[1].addr = le64_of(le64_get(d[0].addr) + 2048);
		d[1].len = d[0].len;
	}
}
static uint64_t other_cap(struct liar *l, unsigned c, uint32_t off, uint64_t v) { return c == MC && off == NVME_REG_CAP && l->n++ ? v ^ 1 : v; }
static uint64_t other_vs(struct liar *l, unsigned c, uint32_t off, uint64_t v) { (void)l, (void)c; return off == NVME_REG_VS ? 0 : v; }
static uint64_t other_asq(struct liar *l, unsigned c, uint32_t off, uint64_t v) { (void)l, (void)c; return off == NVME_REG_ASQ ? v ^ 4096 : v; }
static uint64_t no_shst(struct liar *l, unsigned c, uint32_t off, uint64_t v) { (void)l, (void)c; return off == NVME_REG_CSTS ? v & ~0xcull : v; }
/* And CAP.TO says that half a second is all it may take, or everybody here waits twenty. */
static uint64_t never_ready(struct liar *l, unsigned c, uint32_t off, uint64_t v)
{
	if (off == NVME_REG_CAP)
		return (v & ~(0xffull << 24)) | 1ull << 24;
	return c == MC && off == NVME_REG_CSTS && l->n++ > 40 ? v & ~1ull : v;
}

/* A write where nobody allowed one: behind the admin queue, on its guard page. */
static void stray(struct liar *l)
{
	struct side *s = &l->side[MC];

	if (s->mem && l->told && !l->n++)
		s->mem[s->sq[0].base - s->iova + 4096 + 100] = 1;
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

/* ---- lies about blocks, for the scoreboard of the random sequences */

static void no_trim(struct liar *l, unsigned c, unsigned qid, struct nvme_sqe *s)
{
	if (c >= MC && qid && s->opc == NVME_NVM_DSM)
		s->cdw11 = le32_of(0);
	(void)l;
}
static void keeps_zeroed(struct liar *l, unsigned c, unsigned qid, struct nvme_sqe *s)
{
	if (c >= MC && qid && s->opc == NVME_NVM_WRITE_ZEROES && !(++l->n % 4)) /* it succeeds, and nothing changes */
		s->opc = NVME_NVM_FLUSH;
}
static void copy_elsewhere(struct liar *l, unsigned c, unsigned qid, struct nvme_sqe *s)
{
	if (c >= MC && qid && s->opc == NVME_NVM_COPY)
		s->cdw10 = le32_of(le32_get(s->cdw10) + 1000);
	(void)l;
}
static void never_differs(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	if (c >= MC && l->qid && s->opc == NVME_NVM_COMPARE)
		status_is(e, 0);
}
static void always_differs(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	if (c >= MC && l->qid && s->opc == NVME_NVM_COMPARE && !nvme_cqe_status(e))
		status_is(e, NVME_COMPARE_FAILURE);
}
/* Blocks 0 .. 127 of the first MC's namespace: what was deallocated and not written since; what Copy or DSM changed last. */
static struct { bool gone[128], quiet[128]; unsigned reads; } blocks_;
static void changed(struct liar *l, unsigned c, const struct nvme_sqe *s, bool *set, uint8_t loud)
{
	uint64_t lba = nvme_slba(s), nlb = nvme_rw_nlb0(s) + 1ull;

	if (!l->told++) /* another run */
		memset(&blocks_, 0, sizeof(blocks_));
	if (s->opc == NVME_NVM_COPY)
		nlb = 8;
	if (s->opc != NVME_NVM_WRITE && s->opc != NVME_NVM_WRITE_ZEROES && s->opc != NVME_NVM_COPY && s->opc != NVME_NVM_DSM)
		return;
	for (uint64_t b = 0; b < nlb && lba + b < 128 && s->opc != NVME_NVM_DSM; b++)
		set[lba + b] = s->opc == loud;
	for (unsigned i = 0; s->opc == NVME_NVM_DSM && i <= nvme_dsm_nr0(s); i++) {
		const struct nvme_dsm_range *d = (const void *)mem(l, c, le64_get(s->prp1) + 16 * i, 16);

		for (uint64_t b = 0; d && b < le32_get(d->nlb) && le64_get(d->slba) + b < 128; b++)
			set[le64_get(d->slba) + b] = loud == NVME_NVM_DSM;
	}
}
static void note_gone(struct liar *l, unsigned c, unsigned qid, struct nvme_sqe *s)
{
	if (c == MC && qid == 1)
		changed(l, c, s, blocks_.gone, NVME_NVM_DSM);
}
/* DLFEAT does not say what deallocated blocks read as; this device says zeroes first and ones later. */
static void unsteady(struct liar *l, unsigned c, const struct nvme_sqe *s, struct nvme_cqe *e)
{
	uint8_t *id = !l->qid && s->opc == NVME_OP_IDENTIFY && !(le32_get(s->cdw10) & 0xff) ? data(l, c, s, 4096) : NULL;
	uint64_t lba = nvme_slba(s);
	uint8_t *p = c == MC && l->qid == 1 && s->opc == NVME_NVM_READ && !nvme_cqe_status(e) && !nvme_rw_nlb0(s) && lba < 128 ? data(l, c, s, 512) : NULL;

	if (id)
		id[33] &= 0xf8;
	if (p && blocks_.gone[lba] && !p[0] && !memcmp(p, p + 1, 511) && ++blocks_.reads > 40)
		memset(p, 0xff, 512);
}
static void note_copied(struct liar *l, unsigned c, unsigned qid, struct nvme_sqe *s)
{
	if (c == MC && qid == 1)
		changed(l, c, s, blocks_.quiet, NVME_NVM_COPY);
}
static void note_trimmed(struct liar *l, unsigned c, unsigned qid, struct nvme_sqe *s)
{
	if (c == MC && qid == 1)
		changed(l, c, s, blocks_.quiet, NVME_NVM_DSM);
}
/* Entries for what such a command changed name another place. */
ENTRY_LIE(entry_quiet, { if ((e[31] & 0xce) == 0 && !e[9] && e[8] < 128 && blocks_.quiet[e[8]]) { e[9] = 0x7f; e[31] &= 0xdf; } })

static const struct lie lies[] = {
	{ "a deallocation is forgotten", "RN-02", NULL, NULL, no_trim, NULL }, { "a reported unit that is deallocated", "RN-02", lba_whole, NULL },
	{ "nothing allocated", "RN-02", lba_empty, NULL }, { "some Write Zeroes do nothing", "RN-02", NULL, NULL, keeps_zeroed, NULL },
	{ "a Copy goes elsewhere", "RN-02", NULL, NULL, copy_elsewhere, NULL }, { "Compare never differs", "RN-02", never_differs, NULL },
	{ "Compare always differs", "RN-02", always_differs, NULL }, { "deallocated blocks read differently later", "RN-02", unsteady, NULL, note_gone, NULL },
	{ "a Copy is not logged", "RN-02", NULL, entry_quiet, note_copied, NULL }, { "a deallocation is not logged", "RN-02", NULL, entry_quiet, note_trimmed, NULL },
	{ "everything is deallocated", "RN-02", NULL, entry_dealloc },
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
	{ "NMCMR below MCMR", "ID-05", nmcmr, NULL }, { "no formats in CNS 20h", "ID-07", no_formats, NULL }, { "no formats in CNS 20h", "ID-08", no_formats, NULL },
	{ "LBAMQF 1", "ID-12", lbamqf, NULL }, { "RALBAS 0 though it is there", "ID-13", no_ralbas, NULL },
	{ "a controller list that is too short", "ID-30", short_list, NULL }, { "Migration Send is not in the effects log", "ID-15", no_effects, NULL },
	{ "Set Controller State is not there", "ID-18", no_sends, NULL }, { "DW0 31:16 of CDQ create", "CQ-01", cdqid_high, NULL },
	{ "one CDQID for all", "CQ-03", cdqid_same, NULL }, { "create posts an entry", "CQ-01", create_posts, NULL },
	{ "queues with lists refused", "CQ-02", list_refused, NULL }, { "any number of queues", "CQ-12", never_full, NULL },
	{ "a deleted queue is written", "CQ-19", deleted_written, deleted_written_turn }, { "delete does nothing", "CQ-20", NULL, NULL, delete_ignored, NULL },
	{ "delete does nothing", "CQ-23", NULL, NULL, delete_ignored, NULL },
	{ "reads are logged", "TS-19", reads_logged, NULL }, { "writes of the MMC are logged", "TS-20", mmc_writes_logged, NULL },
	{ "other data for the MMC", "TS-21", mmc_reads, NULL }, { "other data for the MMC", "TS-31", mmc_reads, NULL },
	{ "entries with another NSID", "TS-13", NULL, entry_nsid }, { "entries with another NSID", "TS-14", NULL, entry_nsid },
	{ "entries with another NSID", "TS-17", NULL, entry_nsid }, { "entries with another NSID", "TS-26", NULL, entry_nsid },
	{ "entries with another NSID", "TS-27", NULL, entry_nsid }, { "entries with another NSID", "TS-28", NULL, entry_nsid },
	{ "entries with another NSID", "TS-30", NULL, entry_nsid }, { "entries with another NSID", "XC-07", NULL, entry_nsid },
	{ "a second start does nothing", "TS-03", NULL, NULL, start_ignored, NULL }, { "a second start does nothing", "TS-25", NULL, NULL, start_ignored, NULL },
	{ "a second start does nothing", "FT-19", NULL, NULL, start_ignored, NULL }, { "a stop does nothing", "TS-02", NULL, NULL, stop_ignored, NULL },
	{ "Set Features does nothing", "FT-01", NULL, NULL, set_ignored, NULL }, { "Set Features does nothing", "FT-02", NULL, NULL, set_ignored, NULL },
	{ "a second Set Features does nothing", "FT-13", NULL, NULL, unarmed_ignored, NULL }, { "Set Features does nothing", "FT-14", NULL, NULL, set_ignored, NULL },
	{ "Set Features does nothing", "FT-15", NULL, NULL, set_ignored, NULL }, { "Set Features does nothing", "FT-20", NULL, NULL, set_ignored, NULL },
	{ "Set Features is refused", "FT-08", set_refused, NULL }, { "a reserved bit of Get Features", "FT-09", get_reserved, NULL },
	{ "queues outlive a reset", "FT-22", all_succeed, NULL }, { "tracking outlives a reset", "TR-10", all_succeed, NULL },
	{ "tracking outlives a reset", "RE-01", all_succeed, NULL }, { "suspension outlives a reset", "RE-02", all_succeed, NULL },
	{ "suspension outlives a reset", "SU-12", all_succeed, NULL }, { "queues outlive a reset", "RE-04", all_succeed, NULL },
	{ "any reset does nothing", "RE-10", all_succeed, NULL }, { "any reset does nothing", "RE-11", all_succeed, NULL },
	{ "CSUP always", "MR-18", csup, NULL }, { "a sequence outlives a reset", "ST-27", all_succeed, NULL },
	{ "tracking does not stop", "TM-01", NULL, NULL, untrack_ignored, NULL }, { "a report is given twice", "TR-02", report_again, NULL },
	{ "pages that were not asked for", "TR-03", report_outside, NULL }, { "pages that were not asked for", "TR-11", report_outside, NULL },
	{ "large buffers are refused", "TR-07", oversize_recv, NULL }, { "nothing tracked", "TR-12", report_empty, NULL },
	{ "a notification suspends", "SU-01", NULL, NULL, notify_suspends, NULL }, { "DUDMQ does nothing", "SU-07", NULL, NULL, dudmq_ignored, NULL },
	{ "MOS means something", "SU-16", NULL, NULL, mos_means, NULL }, { "Suspend does nothing", "SU-02", NULL, NULL, suspend_ignored, NULL },
	{ "Suspend does nothing", "SU-03", NULL, NULL, suspend_ignored, NULL }, { "Suspend does nothing", "XC-06", NULL, NULL, suspend_ignored, NULL },
	{ "CAP changes", "SU-11", NULL, NULL, NULL, other_cap },
	{ "Suspend needs a queue to delete", "SU-08", needs_queue, NULL }, { "full events called tail", "FT-16", event_type, NULL },
	{ "VS 0", "BA-01", NULL, NULL, NULL, other_vs }, { "never ready again", "BA-02", NULL, NULL, NULL, never_ready },
	{ "nothing is refused", "BA-03", refuses_nothing, NULL }, { "another ASQ", "BA-04", NULL, NULL, NULL, other_asq },
	{ "no shutdown status", "BA-05", NULL, NULL, NULL, no_shst }, { "SQHD outside the queue", "BA-06", wrong_sqhd, NULL },
	{ "completions with another CID", "BA-07", wrong_cid, NULL }, { "completions with another SQID", "BA-08", wrong_sqid, NULL },
	{ "completions with another CID", "BA-09", wrong_cid, NULL }, { "a queue is made once", "BA-19", once_only, NULL },
	{ "a namespace list out of order", "BA-22", ns_list, NULL }, { "another value of a feature", "BA-27", feature_value, NULL },
	{ "other data", "IO-01", wrong_data, NULL }, { "other data", "IO-05", wrong_data, NULL }, { "other data", "IO-06", wrong_data, NULL },
	{ "other data", "IO-07", wrong_data, NULL }, { "nothing is refused", "IO-08", refuses_nothing, NULL }, { "no Flush", "IO-10", no_flush, NULL },
	{ "a byte before the data", "IO-11", one_before, NULL }, { "other data", "SG-01", wrong_data, NULL },
	{ "a byte further", "SG-02", NULL, NULL, segment_moved, NULL }, { "bit buckets at the end", "SG-03", NULL, NULL, bucket_kept, NULL },
	{ "a size without a version", "MR-03", sizes_of_none, NULL }, { "pieces differ from the whole", "MR-12", piece_bytes, NULL },
	{ "large buffers are refused", "MR-13", oversize_get, NULL }, { "CSUIDXP is judged", "MR-15", csuidxp, NULL },
	{ "queues that are not there", "MR-16", state_queues, NULL }, { "queues that are not there", "MR-19", state_queues, NULL },
	{ "SQ heads one off", "ST-01", NULL, NULL, head_moved, NULL }, { "phases turned", "ST-25", NULL, NULL, phase_turned, NULL },
	{ "SQ heads one off", "ST-23", NULL, NULL, head_moved, NULL }, { "middle pieces changed", "ST-02", NULL, NULL, piece_changed, NULL },
	{ "an empty last piece is refused", "ST-03", empty_last, NULL }, { "a second first piece goes on", "ST-06", NULL, NULL, first_goes_on, NULL },
	{ "one sequence for all", "ST-26", NULL, NULL, wrong_target, NULL },
	{ "everything allocated", "LA-01", lba_whole, NULL }, { "everything allocated", "LA-06", lba_whole, NULL }, { "nothing allocated", "LA-03", lba_empty, NULL },
	{ "always complete", "LA-05", lba_complete, NULL },
	{ "other data for the MMC", "E2E-01", mmc_reads, NULL }, { "other data for the MMC", "E2E-02", mmc_reads, NULL },
	{ "every seventh entry is lost", "E2E-04", NULL, entry_lost }, { "every seventh entry is lost", "E2E-05", NULL, entry_lost },
	{ "a second start does nothing", "E2E-14", NULL, NULL, start_ignored, NULL }, { "SQ heads one off", "E2E-08", NULL, NULL, head_moved, NULL },
	{ "every seventh entry is lost", "E2E-09", NULL, entry_lost }, { "SQ heads one off", "E2E-10", NULL, NULL, head_moved, NULL },
	{ "every seventh entry is lost", "E2E-11", NULL, entry_lost }, { "every seventh entry is lost", "E2E-12", NULL, entry_lost },
	{ "no suspended entry", "SU-09", NULL, entry_never_suspended }, { "a stray write", "SU-05", suspended_dma, stray },
	{ "a write while suspended", "SU-02", suspended_dma, suspended_dma_turn },
	{ "a Read that cannot be done succeeds", "ME-01", no_media_errors }, { "whatever cannot read succeeds", "ME-02", no_media_errors },
	{ "a Write that cannot be done succeeds", "ME-03", no_media_errors }, { "a Flush that cannot be done succeeds", "ME-04", no_media_errors },
	{ "the error log names another command", "ME-05", error_of_another }, { "SMART counts nothing", "ME-05", no_error_entries },
	{ "a Write that failed amid Suspend succeeds", "ME-07", no_media_errors },
	{ "nothing fails on a medium that is gone", "ME-08", no_media_errors },
};

/* Statements no lie of this file can break, and why. */
static const struct { const char *key, *why; } unbroken[] = {
	{ "ID-01", "who is an MMC is how the verifier knows whom to ask: a device that lies there is another device" },
	{ "F-ID-2", "as ID-01: CNTLIDs are what controllers are known by" },
	{ "ID-03", "our device has TUDCS: the rule is for others" }, { "ID-04", "our device has THMCS: the rule is for others" },
	{ "ID-13", "any value of TLBAAG is right by itself" },
	{ "RING-04", "an entry half written is seen only by somebody who looks while it is written: tests/unit/test_hmlm_cdq.c" },
	{ "EVT-07", "an event too many needs a completion made up: tests/unit/test_hmlm_cdq.c" }, { "SUS-04", "as EVT-07: tests/unit/test_hmlm_migration.c" },
	{ "TS-29", "our device has resources for every range it announces" },
	{ "SCS-16", "what persists is the controller's; only a reading is taken" }, { "B-FUSE-2", "our device fuses nothing" },
	{ "X-11", "our device has no Sanitize" },
#define NO_PI(key) { key, "our device has no protection information: tests/unit/test_verify_pi.c has one that has, and lies" }
	NO_PI("B-PI-3"), NO_PI("B-PI-8"), NO_PI("B-PI-9"),
#define MUTANT(key) { key, "mutants of our device break it, and are noticed: docs/mutants.md" }
	MUTANT("B-REG-6"), MUTANT("B-EVT-1"), MUTANT("B-Q-5"), MUTANT("B-REG-7"), MUTANT("B-IRQ-1"), MUTANT("B-IRQ-2"), MUTANT("B-EVT-2"), MUTANT("B-ADM-10"), MUTANT("B-ADM-11"),
	MUTANT("B-ADM-12"), MUTANT("B-ADM-13"), MUTANT("B-DQ-4"), MUTANT("B-IRQ-3"), MUTANT("B-DB-1"), MUTANT("B-DB-2"), MUTANT("B-DB-4"), MUTANT("B-RL-2"),
	MUTANT("B-RL-3"), MUTANT("B-NC-1"), MUTANT("B-NC-2"),
};

static bool is_lied_about(const struct vtest *v)
{
	for (unsigned i = 0; i < ARRAY_LEN(lies); i++)
		if (!strcmp(lies[i].test, v->id))
			return true;
	return vtest_lists(v->tags, "negative");
}

/* A "shall" is tested when a test fails for a device that breaks it: each is covered by a test that was seen to fail, or has a reason. */
TEST(every_shall_was_broken)
{
	unsigned bad = 0;

	for (unsigned i = 0; vitem_at(i); i++) {
		const struct vitem *v = vitem_at(i);
		bool broken = vitem_waiver(v) || v->class != VC_SHALL, listed = false;

		for (unsigned k = 0; vtest_at(k); k++)
			broken |= vtest_covers(vtest_at(k), v) && is_lied_about(vtest_at(k));
		for (unsigned k = 0; k < ARRAY_LEN(unbroken); k++)
			listed |= !strcmp(unbroken[k].key, v->key);
		if (!broken && !listed)
			print_message("# nothing was seen to fail for %s: %s\n", v->key, v->text);
		if (broken && listed)
			print_message("# %s was broken after all\n", v->key);
		bad += broken == listed;
	}
	EXPECT_EQ(bad, 0);
}

TEST(without_lies_they_pass)
{
	static const struct lie none = { "none", NULL, NULL, NULL, .patient = true };

	for (unsigned i = 0; i < ARRAY_LEN(lies); i++) {
		char why[WHY] = "";
		unsigned before = 0;
		enum vt_verdict v;

		while (strcmp(lies[before].test, lies[i].test))
			before++;
		if (before < i)
			continue;
		v = run(&none, lies[i].test, why);
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
