/* Completions: what came back is judged against what may be there. */
#include "vm/embedded/guest_in.h"

/* ---- time between completions, as an application of the guest would feel it */

static void note_gap(struct guest *g, uint64_t now)
{
	uint64_t since = MAX(g->st.last_done_ns, g->busy_since_ns), gap = now > since ? now - since : 0;
	unsigned log2 = gap ? 63u - (unsigned)__builtin_clzll(gap) : 0;

	g->st.last_done_ns = now;
	if (!since)
		return;
	g->st.gap_log2[MIN(log2, 47u)]++;
	g->st.max_gap_ns = MAX(g->st.max_gap_ns, gap);
	if (gap >= NS_PER_MS)
		g->st.gap[g->st.gaps++ % GUEST_GAPS] = (struct guest_gap){ now, gap };
}

/* ---- judgement */

static void read_back(struct guest_host *h, struct guest_cmd *c, unsigned slot)
{
	struct guest *g = guest_of(h);
	struct stamp_key key = { g->cfg.seed, g->cfg.id };
	struct hist *t = guest_hist(h);

	for (uint32_t i = 0; i < c->r[0].n; i++) {
		uint32_t b = c->r[0].block + i;
		struct hist before = t[b];
		struct hist_finding f;
		enum hist_verdict v = hist_read(t, g->area, b, &key, guest_buf(h, slot) + (size_t)i * STAMP_BLOCK, &f);

		g->st.blocks_checked += !hist_unknown(&before);
		g->st.torn += v == HIST_TORN;
		g->st.resolved += !hist_certain(&before) && !hist_unknown(&before) && hist_certain(&t[b]);
		if (v == HIST_LOST || v == HIST_INVENTED)
			guest_bad(h, v == HIST_LOST ? GUEST_BAD_LOST : GUEST_BAD_INVENTED, &(struct guest_detail){
				.op = c->op, .lba = guest_lba(g, b), .a = before.a, .b = before.b, .found = f.found,
				.block = b, .sector = f.sector });
	}
	guest_mark(h, &t[c->r[0].block], c->r[0].n * sizeof(*t));
}

static void settle(struct guest_host *h, struct guest_range r)
{
	for (uint32_t i = 0; i < r.n; i++)
		hist_ok(&guest_hist(h)[r.block + i]);
	guest_mark(h, &guest_hist(h)[r.block], r.n * sizeof(struct hist));
}

static void count_bytes(struct guest *g, const struct guest_cmd *c)
{
	uint64_t bytes = (uint64_t)c->r[0].n * STAMP_BLOCK;

	if (c->op == GUEST_READ || (c->op == GUEST_REWRITE && !c->step))
		g->st.bytes_read += bytes;
	else if (c->op == GUEST_WRITE || c->op == GUEST_REWRITE)
		g->st.bytes_written += bytes;
}

/* Returns true if the command goes on (a rewrite has its second half before it). */
static bool succeeded(struct guest_host *h, struct guest_cmd *c, unsigned slot)
{
	struct guest *g = guest_of(h);

	count_bytes(g, c);
	switch (c->op) {
	case GUEST_WRITE:
	case GUEST_ZEROES:
	case GUEST_COPY:
		settle(h, c->r[0]);
		break;
	case GUEST_DSM:
		/* NVM CS 3.3.3: deallocation is advice; unless the controller is known to follow it, both contents stay possible. */
		for (unsigned i = 0; i < c->nr && !g->cfg.dsm_lax; i++)
			settle(h, c->r[i]);
		break;
	case GUEST_READ:
		read_back(h, c, slot);
		break;
	case GUEST_REWRITE:
		if (!c->step && guest_rewrite_back(h, slot))
			return true;
	}
	g->st.done[c->op]++;
	return false;
}

static void failed(struct guest_host *h, struct guest_cmd *c, unsigned status)
{
	struct guest *g = guest_of(h);

	g->st.errors[c->op]++;
	g->st.last_status = status;
	if (c->op == GUEST_COMPARE && status == NVME_COMPARE_FAILURE)
		guest_bad(h, GUEST_BAD_COMPARE, &(struct guest_detail){
			.op = c->op, .lba = guest_lba(g, c->r[0].block), .block = c->r[0].block, .found = HIST_ANY });
}

static void complete(struct guest_host *h, unsigned qid, const struct nvme_cqe *e)
{
	struct guest *g = guest_of(h);
	unsigned slot = le16_get(e->cid), status = nvme_cqe_status(e);
	struct guest_cmd *c = slot < g->cfg.depth ? &guest_cmds(h)[slot] : NULL;

	if (!c || !c->out || c->qid != qid || le16_get(e->sqid) != qid) {
		guest_bad(h, GUEST_BAD_STRAY, &(struct guest_detail){ .op = GUEST_OP_COUNT, .found = slot, .block = qid });
		return;
	}
	if (status)
		failed(h, c, status);
	else if (succeeded(h, c, slot))
		return;
	guest_free(h, c);
}

/* ---- the controller must stay who it was, whichever server it is on */

static void check_identity(struct guest_host *h)
{
	struct guest *g = guest_of(h);
	struct nvme_id_ctrl was, is;

	g->admin_check = 0;
	if (g->admin_status) {
		g->st.errors[GUEST_ADMIN]++;
		g->st.last_status = g->admin_status;
		return;
	}
	memcpy(&was, h->mem + g->id_off, sizeof(was));
	memcpy(&is, h->mem + g->admin_off, sizeof(is));
	g->st.done[GUEST_ADMIN]++;
	if (memcmp(was.sn, is.sn, sizeof(is.sn)) || memcmp(was.mn, is.mn, sizeof(is.mn)) || memcmp(was.fr, is.fr, sizeof(is.fr)) ||
	    memcmp(was.subnqn, is.subnqn, sizeof(is.subnqn)) || le16_get(was.cntlid) != le16_get(is.cntlid) ||
	    was.mdts != is.mdts || le16_get(was.oncs) != le16_get(is.oncs) || le32_get(was.nn) != le32_get(is.nn))
		guest_bad(h, GUEST_BAD_IDENTITY, &(struct guest_detail){
			.op = GUEST_ADMIN, .a = le16_get(was.cntlid), .found = le16_get(is.cntlid) });
}

/* ---- collecting */

static bool collect_queue(struct guest_host *h, unsigned qid, uint64_t now)
{
	struct guest *g = guest_of(h);
	struct hqueue *q = &g->q[qid];
	uint16_t tail = q->sq_tail;
	struct nvme_cqe e;
	unsigned n = 0;

	for (; n < q->size && hqueue_reap(q, h->mem, &e); n++) {
		note_gap(g, now);
		complete(h, qid, &e);
	}
	if (n && hqueue_ack(q, h->port))
		guest_lost(h, "the controller does not answer any more");
	else if (tail != q->sq_tail)
		guest_kick(h);
	return n > 0;
}

bool guest_collect(struct guest_host *h)
{
	struct guest *g = guest_of(h);
	uint64_t now = env_now_ns(h->env);
	bool busy = false;

	guest_admin_reap(h, &busy);
	if (g->admin_check && !g->admin_out)
		check_identity(h);
	for (unsigned i = 1; i <= g->queues && g->st.state == GUEST_RUN; i++)
		busy |= collect_queue(h, i, now);
	return busy;
}

void guest_overdue(struct guest_host *h)
{
	struct guest *g = guest_of(h);
	uint64_t now = env_now_ns(h->env);

	for (unsigned i = 0; i < g->cfg.depth; i++) {
		struct guest_cmd *c = &guest_cmds(h)[i];

		if (!c->out || c->overdue || now < c->sent_ns || now - c->sent_ns < g->cfg.timeout_ns)
			continue;
		c->overdue = 1;
		guest_mark(h, c, sizeof(*c));
		guest_bad(h, GUEST_BAD_OVERDUE, &(struct guest_detail){
			.op = c->op, .lba = c->nr ? guest_lba(g, c->r[0].block) : 0, .found = i });
	}
	if (g->admin_out == 1 && now > g->admin_ns && now - g->admin_ns >= g->cfg.timeout_ns) {
		g->admin_out = 2; /* told once, still awaited */
		guest_bad(h, GUEST_BAD_OVERDUE, &(struct guest_detail){ .op = GUEST_ADMIN, .found = g->admin_cid });
	}
}
