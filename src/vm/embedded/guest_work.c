/* The guest's workload: what it sends. Every block a command touches is kept busy until the command is over, so no two commands
 * are ever out on one block, and the history (history.h) is exact.
 */
#include "vm/embedded/guest_in.h"

#include "host/hmlm.h"

/* ---- blocks */

uint64_t guest_lba(const struct guest *g, uint32_t block)
{
	uint64_t at = block < g->area ? g->cfg.area_off / STAMP_BLOCK + block
				      : g->cfg.protect_off / STAMP_BLOCK + (block - g->area);

	return at * g->lbas;
}

static bool is_busy(struct guest_host *h, uint32_t block) { return h->mem[guest_of(h)->busy_off + block / 8] >> block % 8 & 1; }

static void set_busy(struct guest_host *h, struct guest_range r, bool on)
{
	uint8_t *map = h->mem + guest_of(h)->busy_off;

	for (uint32_t b = r.block; b < r.block + r.n; b++)
		map[b / 8] = (uint8_t)(on ? map[b / 8] | 1 << b % 8 : map[b / 8] & ~(1 << b % 8));
	if (r.n)
		guest_mark(h, map + r.block / 8, (r.block + r.n - 1) / 8 - r.block / 8 + 1);
}

static uint32_t free_run(struct guest_host *h, uint32_t block, uint32_t want, uint32_t end)
{
	uint32_t n = 0;

	while (n < want && block + n < end && !is_busy(h, block + n))
		n++;
	return n;
}

/* A free range of up to `want` blocks of the stamped area, kept busy for c from now on. */
static struct hist *claim(struct guest_host *h, struct guest_cmd *c, uint32_t want)
{
	struct guest *g = guest_of(h);
	uint32_t hot = MIN(g->cfg.hot_blocks, g->area);

	for (int i = 0; i < 4; i++) {
		uint32_t span = hot && guest_random(g) % 10 ? hot : g->area;
		struct guest_range r = { .block = (uint32_t)(guest_random(g) % span) };

		r.n = free_run(h, r.block, want, g->area);
		if (!r.n)
			continue;
		set_busy(h, r, true);
		c->r[c->nr++] = r;
		return guest_hist(h) + r.block;
	}
	return NULL;
}

static void unclaim(struct guest_host *h, struct guest_cmd *c)
{
	while (c->nr)
		set_busy(h, c->r[--c->nr], false);
}

void guest_free(struct guest_host *h, struct guest_cmd *c)
{
	unclaim(h, c);
	c->out = 0;
	guest_of(h)->st.out--;
	guest_mark(h, c, sizeof(*c));
}

static void attempt(struct guest_host *h, struct guest_range r, uint64_t id)
{
	for (uint32_t i = 0; i < r.n; i++)
		hist_out(&guest_hist(h)[r.block + i], id);
	guest_mark(h, &guest_hist(h)[r.block], r.n * sizeof(struct hist));
}

static bool all_may_zero(const struct hist *t, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!hist_may(&t[i], 0))
			return false;
	return true;
}

static bool all_certain(const struct hist *t, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!hist_certain(&t[i]))
			return false;
	return true;
}

/* ---- one maker for each command: fills the SQE, the buffer and the claims. False: not now (claims are undone by the caller). */

static uint32_t want_blocks(struct guest *g) { return 1 + (uint32_t)(guest_random(g) % g->max_blocks); }

static void with_data(struct guest_host *h, struct nvme_sqe *s, unsigned slot, uint32_t len)
{
	struct guest *g = guest_of(h);

	guest_prp(h, s, g->buf_off + (uint64_t)slot * g->buf_bytes, len, h->mem + g->prp_off + (uint64_t)slot * GUEST_PRPS * 8);
}

static void rw(struct guest_host *h, struct nvme_sqe *s, unsigned slot, uint8_t opc, struct guest_range r)
{
	struct guest *g = guest_of(h);

	hmlm_rw(s, opc, g->cfg.nsid, guest_lba(g, r.block), r.n * g->lbas);
	if (opc != NVME_NVM_WRITE_ZEROES)
		with_data(h, s, slot, r.n * STAMP_BLOCK);
}

static bool make_write(struct guest_host *h, struct guest_cmd *c, unsigned slot, struct nvme_sqe *s)
{
	struct guest *g = guest_of(h);
	struct stamp_key key = { g->cfg.seed, g->cfg.id };
	struct hist *t = c->nr ? guest_hist(h) + c->r[0].block : claim(h, c, want_blocks(g));
	uint8_t *buf = guest_buf(h, slot);

	if (!t)
		return false;
	for (uint32_t i = 0; i < c->r[0].n; i++) {
		uint64_t id = hist_next(&t[i], c->r[0].block + i);

		stamp_fill(buf + (size_t)i * STAMP_BLOCK, &key, id);
		hist_out(&t[i], id);
	}
	guest_mark(h, t, c->r[0].n * sizeof(*t));
	guest_mark(h, buf, (size_t)c->r[0].n * STAMP_BLOCK);
	rw(h, s, slot, NVME_NVM_WRITE, c->r[0]);
	nvme_rw_fua_put(s, guest_random(g) % 8 == 0);
	c->op = GUEST_WRITE;
	return true;
}

static bool make_read(struct guest_host *h, struct guest_cmd *c, unsigned slot, struct nvme_sqe *s)
{
	if (!c->nr && !claim(h, c, want_blocks(guest_of(h))))
		return false;
	rw(h, s, slot, NVME_NVM_READ, c->r[0]);
	c->op = GUEST_READ;
	return true;
}

static bool make_zeroes(struct guest_host *h, struct guest_cmd *c, unsigned slot, struct nvme_sqe *s)
{
	struct guest *g = guest_of(h);
	struct hist *t = claim(h, c, want_blocks(g));

	if (!t || !(g->oncs & NVME_ONCS_WRITE_ZEROES) || !all_may_zero(t, c->r[0].n))
		return t && make_write(h, c, slot, s);
	attempt(h, c->r[0], 0);
	rw(h, s, slot, NVME_NVM_WRITE_ZEROES, c->r[0]);
	nvme_rw_deac_put(s, guest_random(g) & 1);
	return true;
}

/* Several ranges with gaps between them: what a device that only looks at the first, or at the hull, gets wrong. */
static bool make_dsm(struct guest_host *h, struct guest_cmd *c, unsigned slot, struct nvme_sqe *s)
{
	struct guest *g = guest_of(h);
	unsigned want = 1 + (unsigned)(guest_random(g) % 4);

	while (c->nr < want) {
		struct hist *t = claim(h, c, 1 + (uint32_t)(guest_random(g) % 8) % g->max_blocks);

		if (!t)
			break;
		if (!all_may_zero(t, c->r[c->nr - 1].n)) {
			set_busy(h, c->r[--c->nr], false);
			break;
		}
	}
	if (!c->nr || !(g->oncs & NVME_ONCS_DSM))
		return false;
	for (unsigned i = 0; i < c->nr; i++) {
		struct nvme_dsm_range d = { .nlb = le32_of(c->r[i].n * g->lbas), .slba = le64_of(guest_lba(g, c->r[i].block)) };

		memcpy(guest_buf(h, slot) + i * sizeof(d), &d, sizeof(d));
		attempt(h, c->r[i], 0);
	}
	guest_mark(h, guest_buf(h, slot), c->nr * sizeof(struct nvme_dsm_range));
	hmlm_dsm(s, g->cfg.nsid, c->nr);
	with_data(h, s, slot, c->nr * sizeof(struct nvme_dsm_range));
	return true;
}

/* Sources first (r[1..]), then a target (r[0]) as long as all of them together. */
static bool claim_copy(struct guest_host *h, struct guest_cmd *c)
{
	struct guest *g = guest_of(h);
	uint32_t limit = MIN(g->copy_blocks, g->max_blocks), each = MIN(MIN(g->copy_range_blocks, 8u), limit), total = 0;
	unsigned want = 1 + (unsigned)(guest_random(g) % g->copy_ranges);
	struct guest_range target;
	struct hist *t;

	while (c->nr < want && total < limit) {
		t = claim(h, c, MIN(1 + (uint32_t)(guest_random(g) % each), limit - total));
		if (!t || !all_certain(t, c->r[c->nr - 1].n))
			return false; /* what is copied must be known */
		total += c->r[c->nr - 1].n;
	}
	t = claim(h, c, total);
	if (!t || c->r[c->nr - 1].n != total)
		return false;
	for (uint32_t i = 0; i < total; i++)
		if (!hist_certain(&t[i]) && !hist_unknown(&t[i]))
			return false;
	target = c->r[c->nr - 1];
	memmove(&c->r[1], &c->r[0], (c->nr - 1u) * sizeof(c->r[0]));
	c->r[0] = target;
	return true;
}

static bool make_copy(struct guest_host *h, struct guest_cmd *c, unsigned slot, struct nvme_sqe *s)
{
	struct guest *g = guest_of(h);
	struct hist *t = guest_hist(h), *to;

	if (!g->copy_ranges || !claim_copy(h, c))
		return false;
	to = t + c->r[0].block;
	for (unsigned i = 1; i < c->nr; i++) {
		struct nvme_copy_range d = { .slba = le64_of(guest_lba(g, c->r[i].block)),
					     .nlb0 = le16_of((uint16_t)(c->r[i].n * g->lbas - 1)) };

		memcpy(guest_buf(h, slot) + (i - 1) * sizeof(d), &d, sizeof(d));
		for (uint32_t k = 0; k < c->r[i].n; k++)
			hist_out(to++, t[c->r[i].block + k].a);
	}
	guest_mark(h, guest_buf(h, slot), (c->nr - 1u) * sizeof(struct nvme_copy_range));
	guest_mark(h, t + c->r[0].block, c->r[0].n * sizeof(*t));
	*s = (struct nvme_sqe){ .opc = NVME_NVM_COPY, .nsid = le32_of(g->cfg.nsid) };
	nvme_slba_put(s, guest_lba(g, c->r[0].block));
	nvme_copy_nr0_put(s, c->nr - 2u);
	with_data(h, s, slot, (uint32_t)((c->nr - 1u) * sizeof(struct nvme_copy_range)));
	return true;
}

static bool make_compare(struct guest_host *h, struct guest_cmd *c, unsigned slot, struct nvme_sqe *s)
{
	struct guest *g = guest_of(h);
	struct stamp_key key = { g->cfg.seed, g->cfg.id };
	struct hist *t = claim(h, c, want_blocks(g));

	if (!t || !(g->oncs & NVME_ONCS_COMPARE) || !all_certain(t, c->r[0].n))
		return t && make_read(h, c, slot, s);
	for (uint32_t i = 0; i < c->r[0].n; i++)
		stamp_fill(guest_buf(h, slot) + (size_t)i * STAMP_BLOCK, &key, t[i].a);
	guest_mark(h, guest_buf(h, slot), (size_t)c->r[0].n * STAMP_BLOCK);
	rw(h, s, slot, NVME_NVM_COMPARE, c->r[0]);
	return true;
}

static bool make_rewrite(struct guest_host *h, struct guest_cmd *c, unsigned slot, struct nvme_sqe *s)
{
	struct guest *g = guest_of(h);
	struct guest_range r = { .block = g->area + g->rewrite_at };

	if (g->blocks == g->area)
		return make_write(h, c, slot, s);
	r.n = free_run(h, r.block, want_blocks(g), g->blocks);
	g->rewrite_at = (g->rewrite_at + MAX(r.n, 1u)) % (g->blocks - g->area);
	if (!r.n)
		return false;
	set_busy(h, r, true);
	c->r[c->nr++] = r;
	c->step = 0;
	rw(h, s, slot, NVME_NVM_READ, r);
	return true;
}

bool guest_rewrite_back(struct guest_host *h, unsigned slot)
{
	struct guest_cmd *c = &guest_cmds(h)[slot];
	struct nvme_sqe s;

	rw(h, &s, slot, NVME_NVM_WRITE, c->r[0]);
	s.cid = le16_of((uint16_t)slot);
	if (!guest_push(h, c->qid, &s))
		return false;
	c->step = 1;
	c->sent_ns = env_now_ns(h->env);
	guest_mark(h, c, sizeof(*c));
	return true;
}

/* ---- the processor's own memory: each page is told by its head and tail, and checked before it is written again */

struct ballast { uint32_t gen, page; uint64_t seed; };

static void touch_memory(struct guest_host *h)
{
	struct guest *g = guest_of(h);
	uint32_t i, *gen;
	struct ballast is[2], want;
	uint8_t *p;

	if (!g->ballast)
		return;
	i = (uint32_t)(guest_random(g) % g->ballast);
	gen = (uint32_t *)(void *)(h->mem + g->ballast_gen_off) + i;
	p = h->mem + g->ballast_off + (uint64_t)i * GUEST_PAGE;
	memcpy(&is[0], p, sizeof(want));
	memcpy(&is[1], p + GUEST_PAGE - sizeof(want), sizeof(want));
	want = *gen ? (struct ballast){ *gen, i, g->cfg.seed } : (struct ballast){ 0 };
	if (memcmp(&is[0], &want, sizeof(want)) || memcmp(&is[1], &want, sizeof(want)))
		guest_bad(h, GUEST_BAD_MEMORY, &(struct guest_detail){ .op = GUEST_OP_COUNT, .block = i, .a = want.gen, .b = is[1].gen, .found = is[0].gen });
	want = (struct ballast){ ++*gen, i, g->cfg.seed };
	memcpy(p, &want, sizeof(want));
	memcpy(p + GUEST_PAGE - sizeof(want), &want, sizeof(want));
	guest_mark(h, p, GUEST_PAGE);
	guest_mark(h, gen, sizeof(*gen));
	g->st.pages_touched++;
}

/* ---- choosing */

static bool identify(struct guest_host *h)
{
	struct guest *g = guest_of(h);
	struct nvme_sqe s;

	if (g->admin_out)
		return false;
	hmlm_identify(&s, NVME_CNS_CTRL, 0, 0, 0);
	g->admin_check = 1;
	return guest_admin_send(h, &s, true);
}

static unsigned choose(struct guest *g)
{
	uint64_t sum = 0, x;
	unsigned op;

	for (unsigned i = 0; i < GUEST_OP_COUNT; i++)
		sum += g->cfg.weight[i];
	x = sum ? guest_random(g) % sum : 0;
	for (op = 0; op < GUEST_OP_COUNT - 1 && x >= g->cfg.weight[op]; op++)
		x -= g->cfg.weight[op];
	return op;
}

static bool make(struct guest_host *h, struct guest_cmd *c, unsigned slot, struct nvme_sqe *s)
{
	switch (c->op) {
	case GUEST_WRITE: return make_write(h, c, slot, s);
	case GUEST_READ: return make_read(h, c, slot, s);
	case GUEST_ZEROES: return make_zeroes(h, c, slot, s);
	case GUEST_DSM: return make_dsm(h, c, slot, s);
	case GUEST_COPY: return make_copy(h, c, slot, s);
	case GUEST_COMPARE: return make_compare(h, c, slot, s);
	case GUEST_REWRITE: return make_rewrite(h, c, slot, s);
	}
	hmlm_flush(s, guest_of(h)->cfg.nsid);
	return true;
}

/* The final pass: everything once, in order; it waits at a block that is still busy. */
static bool make_verify(struct guest_host *h, struct guest_cmd *c, unsigned slot, struct nvme_sqe *s)
{
	struct guest *g = guest_of(h);
	struct guest_range r = { .block = g->verify_at };

	r.n = free_run(h, r.block, g->max_blocks, g->area);
	if (!r.n)
		return false;
	g->verify_at += r.n;
	set_busy(h, r, true);
	c->r[c->nr++] = r;
	return make_read(h, c, slot, s);
}

static struct guest_cmd *free_slot(struct guest_host *h, unsigned *slot)
{
	struct guest *g = guest_of(h);

	for (unsigned i = 0; i < g->cfg.depth; i++) {
		*slot = (g->slot_hint + i) % g->cfg.depth;
		if (guest_cmds(h)[*slot].out)
			continue;
		g->slot_hint = *slot + 1;
		return &guest_cmds(h)[*slot];
	}
	return NULL;
}

static bool send_one(struct guest_host *h, uint64_t now)
{
	struct guest *g = guest_of(h);
	struct guest_cmd *c;
	struct nvme_sqe s;
	unsigned slot, op = g->st.mode == GUEST_VERIFY ? (unsigned)GUEST_READ : choose(g);
	uint32_t blocks = 0;

	if (op == GUEST_ADMIN)
		return identify(h);
	c = free_slot(h, &slot);
	if (!c)
		return false;
	*c = (struct guest_cmd){ .op = (uint8_t)op, .qid = (uint16_t)(1 + slot % g->queues), .sent_ns = now };
	if (hqueue_full(&g->q[c->qid]))
		return false;
	if (!(g->st.mode == GUEST_VERIFY ? make_verify(h, c, slot, &s) : make(h, c, slot, &s))) {
		unclaim(h, c);
		return false;
	}
	s.cid = le16_of((uint16_t)slot);
	guest_push(h, c->qid, &s);
	c->out = 1;
	guest_mark(h, c, sizeof(*c));
	if (!g->st.out++)
		g->busy_since_ns = now;
	for (unsigned i = 0; i < c->nr; i++)
		blocks += c->r[i].n;
	g->tokens -= (int64_t)MAX(blocks, 1u) * STAMP_BLOCK;
	return true;
}

static void refill(struct guest *g, uint64_t now)
{
	uint64_t dt = now > g->tokens_ns ? MIN(now - g->tokens_ns, NS_PER_S) : 0, rate = g->cfg.rate;
	int64_t most = (int64_t)MAX(MIN(rate, 1ull << 50) / 100, 64 * KIB); /* 10 ms worth */

	g->tokens += (int64_t)((double)rate * (double)dt / 1e9);
	g->tokens = MIN(g->tokens, most);
	g->tokens_ns = now;
}

void guest_kick(struct guest_host *h)
{
	struct guest *g = guest_of(h);

	for (unsigned i = 1; i <= g->queues && g->st.state == GUEST_RUN; i++)
		if (hqueue_kick(&g->q[i], h->port))
			guest_lost(h, "the controller does not take commands any more");
}

bool guest_work(struct guest_host *h, unsigned budget)
{
	struct guest *g = guest_of(h);
	uint64_t now = env_now_ns(h->env);
	bool sent = false;

	refill(g, now);
	if (g->st.mode == GUEST_VERIFY && g->verify_at >= g->area) {
		if (!g->st.out) {
			g->st.verify_passes++;
			g->st.mode = GUEST_IDLE;
		}
		return false;
	}
	for (unsigned i = 0; i < budget && g->st.mode != GUEST_IDLE && g->st.state == GUEST_RUN && g->st.out < g->cfg.depth; i++) {
		if (g->st.mode == GUEST_VERIFY && g->verify_at >= g->area)
			break;
		if (g->cfg.rate && g->tokens <= 0)
			break;
		if (g->st.mode == GUEST_WORK)
			touch_memory(h);
		sent |= send_one(h, now);
	}
	if (sent)
		guest_kick(h);
	return sent;
}
