/* The embedded guest's life: layout of its memory, one bounded step, losing and regaining a controller. See guest.h. */
#include "vm/embedded/guest_in.h"

#include <errno.h>
#include <stdio.h>

#define OP_TEXT_(name, text, w) text,
#define OP_WEIGHT_(name, text, w) w,
#define BAD_TEXT_(name, text) text,
static const char *const op_text[] = { GUEST_OPS(OP_TEXT_) };
static const uint32_t op_weight[] = { GUEST_OPS(OP_WEIGHT_) };
static const char *const bad_text[] = { GUEST_VIOLATIONS(BAD_TEXT_) };

const char *guest_op_name(unsigned op) { return op < ARRAY_LEN(op_text) ? op_text[op] : "nothing"; }
const char *guest_violation_name(unsigned v) { return v < ARRAY_LEN(bad_text) ? bad_text[v] : "unknown"; }

/* ---- layout: every part page aligned; the same on both servers because it follows from cfg and size alone */

static uint64_t take(uint64_t *at, uint64_t bytes)
{
	uint64_t off = *at;

	*at = round_up(off + bytes, GUEST_PAGE);
	return off;
}

static uint64_t lay_out(struct guest *g)
{
	const struct guest_cfg *c = &g->cfg;
	uint64_t at = 0, left;

	g->area = (uint32_t)(c->area_bytes / STAMP_BLOCK);
	g->blocks = g->area + (uint32_t)(c->protect_bytes / STAMP_BLOCK);
	g->buf_bytes = c->max_blocks * STAMP_BLOCK;
	take(&at, sizeof(*g));
	g->cmd_off = take(&at, (uint64_t)c->depth * sizeof(struct guest_cmd));
	g->hist_off = take(&at, (uint64_t)g->area * sizeof(struct hist));
	g->busy_off = take(&at, g->blocks / 8 + 8);
	g->prp_off = take(&at, (uint64_t)c->depth * GUEST_PRPS * 8);
	g->admin_off = take(&at, GUEST_PAGE);
	g->id_off = take(&at, GUEST_PAGE);
	g->ring_off = take(&at, 2 * GUEST_PAGE + (uint64_t)c->queues * 2 * round_up((uint64_t)c->queue_size * 64, GUEST_PAGE));
	g->buf_off = take(&at, (uint64_t)c->depth * g->buf_bytes);
	/* What is left is memory the processor works on: a generation for each page, and the pages. */
	left = g->bytes > at ? (g->bytes - at) / GUEST_PAGE : 0;
	g->ballast = (uint32_t)MIN(left - left / 512 - (left > 0), 1u << 24);
	if (left < 2)
		g->ballast = 0;
	g->ballast_gen_off = take(&at, (uint64_t)g->ballast * 4);
	g->ballast_off = take(&at, (uint64_t)g->ballast * GUEST_PAGE);
	return at;
}

static void defaults(struct guest_cfg *c)
{
	uint64_t sum = 0;

	c->queues = c->queues ? MIN(c->queues, (uint32_t)GUEST_QUEUES_MAX) : 4;
	c->depth = c->depth ? MIN(c->depth, (uint32_t)GUEST_DEPTH_MAX) : 32;
	c->max_blocks = c->max_blocks ? MIN(c->max_blocks, (uint32_t)GUEST_BLOCKS_MAX) : GUEST_BLOCKS_MAX;
	c->queue_size = c->queue_size ? MIN(MAX(c->queue_size, 2u), (uint32_t)HQ_MAX) : 64;
	c->timeout_ns = c->timeout_ns ? c->timeout_ns : 10 * NS_PER_S;
	c->nsid = c->nsid ? c->nsid : 1;
	for (unsigned i = 0; i < GUEST_OP_COUNT; i++)
		sum += c->weight[i] = MIN(c->weight[i], 1000000u);
	for (unsigned i = 0; !sum && i < GUEST_OP_COUNT; i++)
		c->weight[i] = op_weight[i];
}

static int judge_cfg(const struct guest_cfg *c, struct err *err)
{
	const uint64_t limit = 1ull << 44; /* 2^32 blocks of 4 KiB */

	if ((c->area_off | c->area_bytes | c->protect_off | c->protect_bytes) % STAMP_BLOCK)
		return err_set(err, -EINVAL, "the guest's areas must be multiples of %d bytes", STAMP_BLOCK);
	if (!c->area_bytes || c->area_bytes >= limit / 2 || c->protect_bytes >= limit / 2 || c->area_off >= limit || c->protect_off >= limit)
		return err_set(err, -EINVAL, "the guest needs an area to write to, smaller than 8 TiB");
	if (ranges_overlap(c->area_off, c->area_bytes, c->protect_off, c->protect_bytes))
		return err_set(err, -EINVAL, "the guest's stamped area and the protected one overlap");
	return 0;
}

uint64_t guest_bytes_needed(const struct guest_cfg *cfg)
{
	struct guest g = { .cfg = *cfg };

	defaults(&g.cfg);
	return lay_out(&g);
}

int guest_init(struct guest_host *h, const struct guest_cfg *cfg, struct err *err)
{
	struct guest *g = guest_of(h);
	struct guest_cfg c = *cfg;
	struct hist *t;
	int rc;

	defaults(&c);
	rc = judge_cfg(&c, err);
	if (rc)
		return rc;
	if (h->bytes % GUEST_PAGE || guest_bytes_needed(&c) > h->bytes)
		return err_set(err, -ENOSPC, "the guest needs %llu bytes of memory for this area, it has %llu",
			       (unsigned long long)guest_bytes_needed(&c), (unsigned long long)h->bytes);
	memset(g, 0, sizeof(*g));
	g->magic = GUEST_MAGIC;
	g->version = GUEST_VERSION;
	g->bytes = h->bytes;
	g->cfg = c;
	g->rng = c.seed ^ 0x9e3779b97f4a7c15ull;
	lay_out(g);
	g->st.area_blocks = g->area;
	t = guest_hist(h);
	for (uint32_t i = 0; i < g->area; i++)
		hist_init(&t[i], c.area_zeroed);
	g->st.state = GUEST_BOOT;
	guest_mark(h, h->mem, g->buf_off);
	return 0;
}

static bool queue_sane(const struct guest *g, unsigned i)
{
	const struct hqueue *q = &g->q[i];

	if (!q->size)
		return true; /* not made yet */
	return q->qid == i && q->size <= HQ_MAX && q->size >= 2 && q->sq_tail < q->size && q->cq_head < q->size &&
	       q->phase <= 1 && range_inside(q->sq_off, (uint64_t)q->size * 64, g->bytes) &&
	       range_inside(q->cq_off, (uint64_t)q->size * 16, g->bytes);
}

static bool cmd_sane(const struct guest *g, const struct guest_cmd *c)
{
	if (!c->out)
		return true;
	if (c->op >= GUEST_OP_COUNT || c->nr > GUEST_RANGES || c->qid > g->queues)
		return false;
	for (unsigned i = 0; i < c->nr; i++)
		if (!range_inside(c->r[i].block, c->r[i].n, g->blocks) || c->r[i].n > g->cfg.max_blocks)
			return false;
	return true;
}

int guest_check(const struct guest_host *h, struct err *err)
{
	const struct guest *g = guest_of(h);
	struct guest again;
	struct guest_cfg c;

	if (h->bytes < sizeof(*g) || g->magic != GUEST_MAGIC || g->version != GUEST_VERSION || g->bytes != h->bytes)
		return err_set(err, -EPROTO, "the memory does not hold a guest of this version and size");
	again = (struct guest){ .cfg = g->cfg, .bytes = g->bytes };
	c = g->cfg;
	defaults(&again.cfg);
	if (memcmp(&c, &again.cfg, sizeof(c)) || judge_cfg(&c, err) || lay_out(&again) > g->bytes ||
	    memcmp(&again.cmd_off, &g->cmd_off, offsetof(struct guest, queues) - offsetof(struct guest, cmd_off)))
		return err_set(err, -EPROTO, "the guest's memory is laid out in a way its configuration does not give");
	if (g->queues > c.queues || g->max_blocks > c.max_blocks || g->lbas > 8 || g->st.details > GUEST_DETAILS ||
	    g->verify_at > g->area || g->rewrite_at > g->blocks - g->area || g->copy_ranges >= GUEST_RANGES ||
	    (g->st.state == GUEST_RUN && (!g->queues || !g->max_blocks || !g->lbas)))
		return err_set(err, -EPROTO, "the guest's driver state is not one we could have written");
	for (unsigned i = 0; i <= GUEST_QUEUES_MAX; i++)
		if (!queue_sane(g, i))
			return err_set(err, -EPROTO, "queue %u of the guest's driver is damaged", i);
	for (unsigned i = 0; i < c.depth; i++)
		if (!cmd_sane(g, &guest_cmds(h)[i]))
			return err_set(err, -EPROTO, "command %u of the guest's driver is damaged", i);
	return 0;
}

int guest_attach(struct guest_host *h, struct err *err)
{
	int rc = h->port->ops->dma_map(h->port, 0, h->mem, h->bytes, h->fd, 0);

	return rc ? err_set(err, rc, "the controller could not be given the guest's %llu bytes of memory",
			    (unsigned long long)h->bytes) : 0;
}

/* ---- one step */

uint64_t guest_random(struct guest *g) /* splitmix64 */
{
	uint64_t x = g->rng += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* The processor stood still, perhaps it woke up on another machine with another clock: nothing that waited is late by that. */
static void restamp(struct guest_host *h, uint64_t now)
{
	struct guest *g = guest_of(h);

	for (unsigned i = 0; i < g->cfg.depth; i++)
		guest_cmds(h)[i].sent_ns = now;
	guest_mark(h, guest_cmds(h), g->cfg.depth * sizeof(struct guest_cmd));
	g->boot_ns = g->admin_ns = now;
	g->look_ns = g->scan_ns = 0;
}

static void note_stall(struct guest_host *h, uint64_t now)
{
	struct guest *g = guest_of(h);

	if (now < g->polled_ns) { /* another clock: what was measured across is worth nothing */
		g->st.last_done_ns = g->busy_since_ns = g->tokens_ns = now;
		restamp(h, now);
	} else if (g->polled_ns) {
		g->st.max_stall_ns = MAX(g->st.max_stall_ns, now - g->polled_ns);
		if (now - g->polled_ns > g->cfg.timeout_ns / 4)
			restamp(h, now);
	}
	g->polled_ns = now;
}

/* Stores into shared doorbells cannot fail; so while nothing completes, ask a register now and then whether anyone is there. */
static void look_alive(struct guest_host *h, uint64_t now)
{
	struct guest *g = guest_of(h);
	uint64_t csts;
	int rc;

	if (now < g->look_ns)
		return;
	g->look_ns = now + 50 * NS_PER_MS;
	rc = h->port->ops->reg_read(h->port, NVME_REG_CSTS, 4, &csts);
	if (rc == -ENODEV || (!rc && csts == UINT32_MAX))
		guest_lost(h, "the controller does not answer any more");
}

static bool run(struct guest_host *h, unsigned budget, uint64_t now)
{
	struct guest *g = guest_of(h);
	bool busy = guest_collect(h);

	if (busy)
		g->look_ns = now + 50 * NS_PER_MS;
	if (g->st.state == GUEST_RUN)
		look_alive(h, now);
	if (g->st.state == GUEST_RUN)
		busy |= guest_work(h, budget);
	if (g->st.state == GUEST_RUN && now >= g->scan_ns) {
		g->scan_ns = now + 100 * NS_PER_MS;
		guest_overdue(h);
	}
	return busy;
}

bool guest_poll(struct guest_host *h, unsigned budget)
{
	struct guest *g = guest_of(h);
	uint64_t now = env_now_ns(h->env);
	bool busy = false;

	note_stall(h, now);
	if (h->port->ops->poll)
		busy = h->port->ops->poll(h->port);
	if (g->st.state == GUEST_BOOT)
		busy |= guest_boot(h);
	else if (g->st.state == GUEST_RUN)
		busy |= run(h, budget, now);
	guest_mark(h, g, sizeof(*g));
	return busy;
}

bool guest_push(struct guest_host *h, unsigned qid, const struct nvme_sqe *s)
{
	struct hqueue *q = &guest_of(h)->q[qid];
	uint16_t at = q->sq_tail;

	if (!hqueue_push(q, h->mem, s))
		return false;
	guest_mark(h, h->mem + q->sq_off + (uint64_t)at * sizeof(*s), sizeof(*s));
	return true;
}

void guest_prp(struct guest_host *h, struct nvme_sqe *s, uint64_t off, uint32_t len, uint8_t *list)
{
	unsigned pages = (len + GUEST_PAGE - 1) / GUEST_PAGE;

	s->prp1 = le64_of(off);
	s->prp2 = le64_of(pages == 2 ? off + GUEST_PAGE : 0);
	if (pages <= 2)
		return;
	for (unsigned i = 1; i < pages; i++) {
		le64 v = le64_of(off + (uint64_t)i * GUEST_PAGE);

		memcpy(list + 8 * (i - 1), &v, 8);
	}
	guest_mark(h, list, 8ull * (pages - 1));
	s->prp2 = le64_of((uint64_t)(list - h->mem));
}

/* ---- losing a controller */

/* What was out may or may not have happened; the history already says so (both possibilities stand until a read). */
void guest_lost(struct guest_host *h, const char *why)
{
	struct guest *g = guest_of(h);

	for (unsigned i = 0; i < g->cfg.depth; i++) {
		struct guest_cmd *c = &guest_cmds(h)[i];

		if (c->out) {
			g->st.unknown++;
			guest_free(h, c);
		}
	}
	g->st.out = 0;
	g->admin_out = g->aer_out = g->admin_check = 0;
	g->st.state = GUEST_LOST;
	snprintf(g->st.why, sizeof(g->st.why), "%s", why);
}

void guest_reattach(struct guest_host *h)
{
	struct guest *g = guest_of(h);

	if (g->st.state == GUEST_RUN || g->st.state == GUEST_BOOT)
		guest_lost(h, "a new controller was given");
	g->st.resets++;
	g->st.state = GUEST_BOOT;
	g->st.boot = BOOT_RESET;
	g->st.why[0] = 0;
	guest_mark(h, g, sizeof(*g));
}

void guest_set_mode(struct guest_host *h, enum guest_mode m)
{
	struct guest *g = guest_of(h);

	g->st.mode = m;
	g->verify_at = 0;
	guest_mark(h, g, sizeof(*g));
}

void guest_set_rate(struct guest_host *h, uint64_t rate)
{
	guest_of(h)->cfg.rate = rate;
	guest_mark(h, h->mem, sizeof(struct guest));
}

const struct guest_stats *guest_stats(const struct guest_host *h) { return &guest_of(h)->st; }

uint64_t guest_violations(const struct guest_stats *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < GUEST_BAD_COUNT; i++)
		n += s->bad[i];
	return n;
}

void guest_bad(struct guest_host *h, enum guest_violation v, const struct guest_detail *d)
{
	struct guest *g = guest_of(h);

	g->st.bad[v]++;
	if (g->st.details < GUEST_DETAILS) {
		g->st.detail[g->st.details] = *d;
		g->st.detail[g->st.details].kind = v;
		g->st.detail[g->st.details++].at_ns = env_now_ns(h->env);
	}
}
