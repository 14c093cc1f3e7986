/* Random sequences: the guests' I/O. What a command names is its own until its step `due` (random_in.h); what it did is told to the
 * scoreboard (board.h) when it is over. What is sent depends on what was sent before, never on what came of it. See random.h.
 */
#include <stdio.h>

#include "verify/model.h"
#include "verify/random_in.h"

enum { HOLD = 12, NLB_MAX = 8, S_UNWRITTEN = 0x280, S_DIFFERS = 0x285 };

static const char *const kind_name[RK_COUNT] = { "Read", "Write", "Write Zeroes", "Write Zeroes (DEAC)", "Dataset Management", "Copy", "Compare",
						 "Write Uncorrectable" };

static struct bblock *at(struct rmc *m, const struct rop *o, unsigned i) { return &m->board.block[o->at[i]]; }
uint32_t random_stride(const struct rmc *m, const struct rop *o) { return m->board.lba + (m->pi.ext && random_pi_carries(m, o) ? PI_BYTES : 0); }
static uint8_t *data_at(const struct rmc *m, const struct rop *o, unsigned i) { return o->buf.p + i * random_stride(m, o); }
static bool deallocates(const struct rop *o) { return o->kind == RK_DEAC || o->kind == RK_DSM; }

/* ---- what came of it */

static uint64_t seed_of(const struct rmc *m, uint64_t lba, uint64_t seq) { return ((uint64_t)m->c->index << 56 ^ lba << 40 ^ seq) * 0x9e3779b97f4a7c15ull + 1; }

static struct bval value_of(const struct rmc *m, const struct rop *o, unsigned i)
{
	switch (o->kind) {
	case RK_WRITE: return (struct bval){ .kind = BV_SEED, .v = seed_of(m, o->at[i], o->seq) };
	case RK_BAD: return (struct bval){ .kind = BV_BAD };
	default: return (struct bval){ .kind = BV_ZEROES };
	}
}

/* Which range of which command: blocks with the same answer went together. */
static uint64_t range_of(const struct rop *o, unsigned i) { return o->seq << 8 | o->by[i]; }

static void settle_one(struct rmc *m, struct rop *o, unsigned i, bool known)
{
	struct bblock *b = at(m, o, i);

	if (fault_clouds(m, o->at[i]) || (o->kind == RK_COPY && fault_clouds(m, o->from[i])) || (b->n == BOARD_ANY && o->wilds != m->wilds))
		board_any(b);
	else if (o->kind == RK_COPY)
		board_copy(b, &m->board.block[o->from[i]], known);
	else if (o->kind == RK_DSM)
		board_gone(&m->board, b, range_of(o, i), known);
	else
		board_put(b, &o->value[i], known);
}

static void settle_change(struct rmc *m, struct rop *o, bool known)
{
	for (unsigned i = 0; i < o->blocks; i++)
		settle_one(m, o, i, known);
}

/* Whatever it was, it may have happened or not, in part or as something else. */
static void settle_doubt(struct rmc *m, struct rop *o)
{
	for (unsigned i = 0; i < o->blocks && o->write; i++)
		board_any(at(m, o, i));
	fault_settle(m, o);
}

/* Once a read has shown which one it is, the others never return. */
static void settle_data(struct rnd *r, struct rmc *m, struct rop *o)
{
	for (unsigned i = 0; i < o->blocks; i++) {
		bool cloud = fault_clouds(m, o->at[i]);

		VEXPECT(r->t, board_saw(&m->board, at(m, o, i), data_at(m, o, i), random_pi_at(m, o, i), !cloud && o->wilds == m->wilds) || cloud,
			o->kind == RK_READ ? "%s: LBA %u holds none of the %u contents it may hold" : "%s: Compare of LBA %u succeeded, and it is none of the %u contents it may hold",
			m->c->name, o->at[i], at(m, o, i)->n);
	}
}

static bool surely_equal(struct rmc *m, struct rop *o)
{
	for (unsigned i = 0; i < o->blocks; i++)
		if (at(m, o, i)->n != 1 || fault_clouds(m, o->at[i]) || !board_saw(&m->board, at(m, o, i), data_at(m, o, i), NULL, false))
			return false;
	return true;
}

/* Blocks it has to read: how many of them may be uncorrectable, and is one of them for sure? */
static unsigned unreadable(struct rmc *m, const struct rop *o, bool *sure, struct bblock **which)
{
	unsigned n = 0;

	*sure = false;
	for (unsigned i = 0; i < o->blocks && (o->kind == RK_READ || o->kind == RK_COMPARE || o->kind == RK_COPY); i++) {
		unsigned lba = o->kind == RK_COPY ? o->from[i] : o->at[i];
		struct bblock *b = &m->board.block[lba];

		if (board_is_bad(b) && !fault_clouds(m, lba))
			*sure = true;
		if (board_may_be_bad(&m->board, b) || (m->board.bad && fault_clouds(m, lba))) {
			n++;
			*which = b;
		}
	}
	return n;
}

/* An entry has to come if the command did something that can be seen: a block that held data, and lost it whole, did. */
static bool to_be_logged(struct rmc *m, const struct rop *o, unsigned i)
{
	uint64_t unit = MAX(m->unit, 1u), first = round_down((uint64_t)o->at[i], unit);
	unsigned covered = 0;

	if (o->kind == RK_WRITE || o->kind == RK_COPY || o->kind == RK_BAD)
		return true;
	if (at(m, o, i)->alloc != BA_WRITTEN)
		return false;
	for (unsigned k = 0; k < o->blocks; k++)
		covered += o->by[k] == o->by[i] && o->at[k] - first < unit;
	return o->kind == RK_ZEROES || covered == unit;
}

static void settle_good(struct rnd *r, struct rmc *m, struct rop *o)
{
	bool logs = o->epoch == m->epoch && random_logging(r, m), must[ROP_BLOCKS];

	for (unsigned i = 0; i < o->blocks; i++)
		must[i] = logs && to_be_logged(m, o, i);
	settle_change(m, o, true);
	for (unsigned i = 0; i < o->blocks; i++)
		if (must[i])
			board_must_log(at(m, o, i));
}

/* A check failed, and may have. What else stands in the blocks nobody was told. */
static void judge_check(struct rnd *r, struct rmc *m, struct rop *o, unsigned st)
{
	bool must;
	unsigned may = random_pi_checks(m, o, &must);

	VEXPECT(r->t, may & (st == S_GUARD ? PI_GUARD : st == S_APPTAG ? PI_APP : PI_REF), "%s %s from LBA %u ended with %s, and no block of it can fail that check",
		m->c->name, kind_name[o->kind], o->at[0], nvme_status_name(st));
}

static void judge_unchecked(struct rnd *r, struct rmc *m, struct rop *o)
{
	bool must;

	random_pi_checks(m, o, &must);
	VEXPECT(r->t, !must, "%s %s from LBA %u succeeded, and the protection information of a block of it fails the checks that were asked for", m->c->name,
		kind_name[o->kind], o->at[0]);
}

static void judge(struct rnd *r, struct rmc *m, struct rop *o, unsigned st)
{
	struct bblock *which = NULL;
	bool sure;
	unsigned bad = unreadable(m, o, &sure, &which);

	VEXPECT(r->t, st != S_OK || !sure, "%s %s from LBA %u succeeded, and a block of it is uncorrectable", m->c->name, kind_name[o->kind], o->at[0]);
	if (st == S_UNREAD && bad) {
		if (o->kind == RK_COPY)
			settle_change(m, o, false);
		else
			board_read_failed(which, bad == 1 && !fault_clouds(m, (uint64_t)(which - m->board.block)));
		return;
	}
	if (st == S_DIFFERS && o->kind == RK_COMPARE) {
		VEXPECT(r->t, !surely_equal(m, o), "%s Compare of LBA %u fails with the data that is there", m->c->name, o->at[0]);
		return;
	}
	if (st >= S_GUARD && st <= S_REFTAG && m->pi.type) {
		judge_check(r, m, o, st);
		return;
	}
	VEXPECT(r->t, st == S_OK, "%s %s from LBA %u ended with %s though no fault had touched it", m->c->name, kind_name[o->kind], o->at[0],
		nvme_status_name(st));
	judge_unchecked(r, m, o);
	if (o->write)
		settle_good(r, m, o);
	else
		settle_data(r, m, o);
}

/* By a medium that fails on purpose. A Copy may fail on either side. */
static bool refused(const struct rop *o, unsigned st)
{
	if (!o->sick || (st != S_UNREAD && st != S_UNWRITTEN))
		return false;
	return o->kind == RK_COPY || (st == S_UNWRITTEN) == o->write;
}

/* Each block is old or new, and stays what it is. */
static void settle_refused(struct rmc *m, struct rop *o)
{
	if (o->write)
		settle_change(m, o, false);
}

static void finish(struct rnd *r, struct rmc *m, struct rop *o)
{
	unsigned st = nvme_cqe_status(&o->k->cqe);

	VEXPECT(r->t, !o->cut_off || st != S_OK, "%s %s from LBA %u succeeded though its data could not be moved", m->c->name, kind_name[o->kind], o->at[0]);
	if (o->doubt)
		settle_doubt(m, o);
	else if (refused(o, st))
		settle_refused(m, o);
	else
		judge(r, m, o, st);
	m->wilds += o->wild;
	vt_forget(o->k);
	o->out = false;
}

bool random_over(void *op)
{
	struct vcmd *k = ((struct rop *)op)->k;

	return k->done && !(k->twin && k->twin->used);
}

/* Which of those that are over was first, nobody knows: what a wild one may have touched is unknown whatever the others say of it. */
void random_reap(struct rnd *r, struct rmc *m)
{
	bool wild[OPS] = { false };

	for (unsigned k = 0; k < OPS; k++)
		if (m->op[k].out && random_over(&m->op[k])) {
			finish(r, m, &m->op[k]);
			wild[k] = m->op[k].wild;
		}
	for (unsigned k = 0; k < OPS; k++)
		if (wild[k])
			fault_settle(m, &m->op[k]);
}

void random_release(struct rmc *m, struct rop *o)
{
	for (unsigned i = 0; i < o->blocks; i++) {
		at(m, o, i)->busy = false;
		if (o->kind == RK_COPY)
			m->board.block[o->from[i]].busy = false;
	}
	o->held = false;
}

/* Places whose step has come are free again; a command that is still out is waited for, unless its controller does not run. */
void random_release_due(struct rnd *r)
{
	for (unsigned i = 0; i < r->mcs; i++)
		for (unsigned k = 0; k < OPS; k++) {
			struct rmc *m = &r->mc[i];
			struct mctrl *x = model_ctrl(r->t->model, m->c->cntlid);
			struct rop *o = &m->op[k];

			if (!o->held || r->now < o->due || x->suspended || x->unsure || !m->c->up)
				continue;
			if (o->out && r->faults)
				continue; /* it may have been hit, and wait for ever */
			if (o->out) {
				vt_wait(r->t, o->k);
				finish(r, m, o);
			}
			random_release(m, o);
		}
}

/* After a reset nobody will ever tell what became of these. */
void random_lose_ops(struct rmc *m)
{
	for (unsigned k = 0; k < OPS; k++) {
		struct rop *o = &m->op[k];

		if (o->held)
			random_release(m, o);
		if (o->out && o->doubt)
			settle_doubt(m, o);
		else if (o->out && o->write)
			settle_change(m, o, false);
		m->wilds += o->out && o->wild;
		o->out = false;
	}
}

/* ---- sending */

bool random_may_work(struct rnd *r, struct rmc *m)
{
	struct mctrl *x = model_ctrl(r->t->model, m->c->cntlid);

	if (!m->c->up || m->stuck)
		return false;
	if (m->queue)
		return true;
	if (x->suspended || x->unsure || x->committed)
		return false;
	vt_back(m->c, m->mark);
	vt_io_make(m->c, 1, 32);
	m->queue = true;
	return true;
}

/* Its status is judged when it is finished: a fault may come in between. */
static void send_op(struct rnd *r, struct rmc *m, struct rop *o, const struct nvme_sqe *s)
{
	o->doubt = o->wild = o->cut_off = false;
	o->wilds = m->wilds;
	o->sick = fault_of_medium(m, o);
	r->sending_mc = m;
	r->sending = o;
	r->unsent = false;
	o->k = vt_send(m->c, 1, s, ST_ANY);
	r->sending_mc = NULL;
	r->sending = NULL;
	o->out = !r->unsent;
	o->held = true;
	if (r->unsent) /* nobody heard of it: nothing may change */
		vt_forget(o->k);
}

static enum rkind pick_kind(struct rmc *m, struct rng *g)
{
	unsigned oncs = le16_get(m->c->id.oncs), at_ = (unsigned)rng_below(g, 100);

	if (at_ < 12 && oncs & NVME_ONCS_DSM)
		return RK_DSM;
	if (at_ >= 12 && at_ < 22 && oncs & NVME_ONCS_COPY && m->copy_blocks >= NLB_MAX)
		return RK_COPY;
	if (at_ >= 22 && at_ < 28 && oncs & NVME_ONCS_WRITE_ZEROES)
		return RK_ZEROES;
	if (at_ >= 28 && at_ < 34 && oncs & NVME_ONCS_WRITE_ZEROES && m->board.dlfeat & 8 && !m->pi.type)
		return RK_DEAC;
	if (at_ >= 34 && at_ < 40 && oncs & NVME_ONCS_COMPARE)
		return RK_COMPARE;
	if (at_ >= 40 && at_ < 43 && m->board.bad)
		return RK_BAD;
	return at_ < 72 ? RK_WRITE : RK_READ;
}

static void name_range(struct rop *o, uint64_t lba, uint32_t nlb, unsigned by)
{
	for (uint32_t i = 0; i < nlb && o->blocks < ROP_BLOCKS; i++) {
		o->by[o->blocks] = (uint8_t)by;
		o->at[o->blocks++] = (uint8_t)(lba + i);
	}
}

static uint32_t unit_of(const struct rmc *m) { return m->unit && m->unit <= NLB_MAX ? m->unit : NLB_MAX; }

/* Ranges to deallocate: every other one is whole units, because others need not do anything. */
static void pick_range(struct rmc *m, struct rop *o, struct rng *g, unsigned by)
{
	uint32_t unit = unit_of(m);

	if (rng_below(g, 2))
		name_range(o, unit * rng_below(g, AREA / unit - 1), unit * (1 + (uint32_t)rng_below(g, 2)), by);
	else
		name_range(o, rng_below(g, AREA - NLB_MAX), 1 + (uint32_t)rng_below(g, NLB_MAX), by);
}

/* Writes of whole units are as frequent as what makes them disappear. */
static void pick_blocks(struct rmc *m, struct rop *o, uint64_t *draw, struct rng *g)
{
	uint32_t nlb = 1 + (uint32_t)pick(draw, MIN(ROP_BYTES / (m->board.lba + PI_BYTES), (uint32_t)NLB_MAX));
	uint64_t lba = pick(draw, AREA - NLB_MAX), from;

	o->blocks = 0;
	if (o->kind == RK_DSM) {
		for (unsigned i = 0, n = (unsigned)(1 + rng_below(g, 2) * rng_below(g, 3)); i < n; i++)
			pick_range(m, o, g, i);
	} else if (o->kind == RK_DEAC) {
		pick_range(m, o, g, 0);
	} else if (o->kind == RK_WRITE && unit_of(m) * (m->board.lba + PI_BYTES) <= ROP_BYTES && !rng_below(g, 4)) {
		name_range(o, unit_of(m) * rng_below(g, AREA / unit_of(m)), unit_of(m), 0);
	} else {
		name_range(o, lba, nlb, 0);
	}
	if (o->kind == RK_COPY) { /* in two pieces, anywhere but over the destination */
		from = (lba + NLB_MAX + rng_below(g, AREA - 3 * NLB_MAX)) % (AREA - NLB_MAX);
		if (from + nlb > lba && lba + nlb > from)
			from = lba < AREA / 2 ? AREA - NLB_MAX : 0;
		for (unsigned i = 0; i < nlb; i++)
			o->from[i] = (uint8_t)(from + i);
	}
}

static bool reserve(struct rmc *m, struct rop *o)
{
	for (unsigned i = 0; i < o->blocks; i++)
		if (at(m, o, i)->busy || (o->kind == RK_COPY && m->board.block[o->from[i]].busy))
			return false;
	for (unsigned i = 0; i < o->blocks; i++) {
		at(m, o, i)->busy = true;
		if (o->kind == RK_COPY)
			m->board.block[o->from[i]].busy = true;
		if (o->write)
			board_change_sent(at(m, o, i), deallocates(o));
	}
	return true;
}

/* What this block will hold if all goes well: what Compare compares with. It knows of sending only. */
static void note_sent(struct rmc *m, struct rop *o)
{
	struct bval was[ROP_BLOCKS];

	for (unsigned i = 0; i < o->blocks; i++)
		was[i] = o->kind == RK_COPY ? m->sent[o->from[i]] : o->value[i];
	for (unsigned i = 0; i < o->blocks && o->write; i++)
		m->sent[o->at[i]] = was[i];
}

static void put_value(uint8_t *p, uint32_t len, const struct bval *v)
{
	struct vmem one = { p, 0, len };

	if (v->kind == BV_SEED)
		vh_fill(&one, len, v->v);
	else
		memset(p, 0, len);
}

static void fill_data(struct rmc *m, struct rop *o, struct rng *g)
{
	uint32_t lba = m->board.lba;

	for (unsigned i = 0; i < o->blocks; i++) {
		struct bval v = o->kind == RK_COMPARE ? m->sent[o->at[i]] : o->value[i];
		uint8_t *tuple = random_pi_at(m, o, i);

		if (tuple && o->kind == RK_READ)
			memset(tuple, 0xee, PI_BYTES);
		else if (tuple)
			memcpy(tuple, o->value[i].tuple, PI_BYTES);
		if (o->kind == RK_READ)
			memset(data_at(m, o, i), 0xee, lba);
		else
			put_value(data_at(m, o, i), lba, &v);
	}
	if (o->kind == RK_COMPARE && !rng_below(g, 3))
		o->buf.p[rng_below(g, o->blocks * lba)] ^= (uint8_t)(1 + rng_below(g, 255));
}

/* What it writes, and what stands beside that. */
static void make_values(struct rmc *m, struct rop *o)
{
	uint8_t data[VT_PAGE];

	for (unsigned i = 0; i < o->blocks; i++) {
		o->value[i] = value_of(m, o, i);
		if (o->kind == RK_DSM && m->pi.type) {
			o->value[i].tagged = true;
			memset(o->value[i].tuple, 0xff, PI_BYTES);
		}
		if (!m->pi.type || (o->kind != RK_WRITE && o->kind != RK_ZEROES))
			continue;
		put_value(data, m->board.lba, &o->value[i]);
		random_pi_guard(m, o, i, data);
	}
}

/* The list of ranges a Dataset Management or a Copy carries; its length in bytes. */
static uint32_t fill_ranges(struct rop *o, struct nvme_sqe *s)
{
	uint32_t n = 0;

	for (unsigned i = 0, k; i < o->blocks; i = k, n++) {
		for (k = i + 1; k < o->blocks && o->by[k] == o->by[i]; k++)
			;
		if (o->kind == RK_COPY) {
			struct nvme_copy_range c = { .slba = le64_of(o->from[i]) };

			k = i ? o->blocks : i + (o->blocks + 1) / 2;
			c.nlb0 = le16_of((uint16_t)(k - i - 1));
			memcpy(o->buf.p + n * sizeof(c), &c, sizeof(c));
		} else {
			struct nvme_dsm_range d = { .nlb = le32_of(k - i), .slba = le64_of(o->at[i]) };

			memcpy(o->buf.p + n * sizeof(d), &d, sizeof(d));
		}
	}
	if (o->kind == RK_COPY) {
		s->cdw12 = le32_of(n - 1);
		return n * sizeof(struct nvme_copy_range);
	}
	s->cdw10 = le32_of(n - 1);
	s->cdw11 = le32_of(4);
	return n * sizeof(struct nvme_dsm_range);
}

static void make_op(struct rmc *m, struct rop *o, struct nvme_sqe *s, struct rng *g)
{
	static const uint8_t opc[RK_COUNT] = { NVME_NVM_READ, NVME_NVM_WRITE, NVME_NVM_WRITE_ZEROES, NVME_NVM_WRITE_ZEROES, NVME_NVM_DSM, NVME_NVM_COPY,
					       NVME_NVM_COMPARE, NVME_NVM_WRITE_UNCORRECTABLE };
	uint32_t len = o->blocks * random_stride(m, o);

	vh_rw_sqe(s, opc[o->kind], m->c->ns[0].nsid, o->at[0], o->blocks);
	random_pi_sqe(m, o, s);
	switch (o->kind) {
	case RK_DEAC: nvme_rw_deac_put(s, 1); return;
	case RK_ZEROES:
	case RK_BAD: return;
	case RK_DSM: *s = (struct nvme_sqe){ .opc = opc[o->kind], .nsid = s->nsid }; /* fall through */
	case RK_COPY: len = fill_ranges(o, s); break;
	default: fill_data(m, o, g);
	}
	vt_data(m->c, s, &o->buf, len);
}

void random_start_op(struct rnd *r, struct rmc *m, uint64_t *draw)
{
	struct rop *o = &m->op[pick(draw, OPS)];
	struct rng g = { *draw };
	struct nvme_sqe s;

	o->kind = pick_kind(m, &g);
	o->write = o->kind != RK_READ && o->kind != RK_COMPARE;
	pick_blocks(m, o, draw, &g);
	if (!reserve(m, o))
		return;
	o->seq = ++r->seq;
	o->epoch = m->epoch;
	random_pi_plan(m, o, &g);
	make_values(m, o);
	note_sent(m, o);
	make_op(m, o, &s, &g);
	o->due = r->now + 1 + (unsigned)pick(draw, HOLD);
	send_op(r, m, o, &s);
}

void random_step_io(struct rnd *r, uint64_t *draw)
{
	struct rmc *m = &r->mc[pick(draw, r->mcs)];

	if (!random_may_work(r, m))
		return;
	for (uint64_t n = 1 + pick(draw, 6); n; n--) {
		struct rng g = { *draw + n };
		uint64_t d = rng_next(&g);
		struct rop *o = &m->op[d % OPS];

		if (!o->held)
			random_start_op(r, m, &d);
	}
}

/* ---- beginning and end */

void random_io_begin(struct rmc *m)
{
	struct vns *n = &m->c->ns[0];
	struct nvme_id_ns id;
	struct nvme_id_ns_nvm nvm;
	struct vmem v;

	vh_identify(m->c, NVME_CNS_NS, n->nsid, 0, 0, &v, ST(S_OK));
	memcpy(&id, v.p, sizeof(id));
	board_init(&m->board, n->lba, id.dlfeat);
	m->board.bad = le16_get(m->c->id.oncs) & NVME_ONCS_WRITE_UNCOR;
	m->copy_blocks = MIN(le16_get(id.mssrl), le32_get(id.mcl));
	if (id.msrc < 1)
		m->copy_blocks = 0;
	if (vh_identify(m->c, NVME_CNS_CSI_NS, n->nsid, 0, 0, &v, ST(S_OK, S_IF)) == S_OK) {
		memcpy(&nvm, v.p, sizeof(nvm));
		m->unit = le32_get(nvm.tlbaag) <= AREA ? le32_get(nvm.tlbaag) : 0;
	}
	m->pi = pi_format_of(n);
	m->board.pi = (uint8_t)m->pi.type;
	for (unsigned k = 0; k < OPS; k++) {
		m->op[k].buf = vt_mem(m->c, ROP_BYTES);
		m->op[k].meta = m->pi.type ? vt_mem(m->c, NLB_MAX * PI_BYTES) : (struct vmem){ 0 };
	}
	m->mark = vt_mark(m->c);
}

/* Every block twice: what is read once stays. Once more where there is something to check: now it is known what must fail. */
void random_read_all(struct rnd *r, struct rmc *m)
{
	for (unsigned n = 0; n < (m->pi.type ? 4 : 2) * AREA && random_may_work(r, m); n++) {
		struct rop *o = &m->op[0];
		struct rng g = { r->seq + n };
		struct nvme_sqe s;

		*o = (struct rop){ .kind = RK_READ, .blocks = 1, .at = { (uint8_t)(n % AREA) }, .wilds = m->wilds, .buf = o->buf, .meta = o->meta };
		if (n >= 2 * AREA)
			random_pi_plan(m, o, &g);
		make_op(m, o, &s, NULL);
		o->k = vt_send(m->c, 1, &s, ST_ANY);
		vt_wait(r->t, o->k);
		finish(r, m, o);
	}
}
