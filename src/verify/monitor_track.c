/* Memory tracking: is every page that a tracked controller wrote reported? (NVMe Base, Track Send: Track Memory Changes, Track Receive.)
 * Called by monitor_dma.c and monitor_cq.c (writes), monitor_done.c (commands), monitor_ctrl.c (resets). The monitor's thread.
 *
 * Pages written and not reported yet are kept with the moment from which it is certain that a report has to have them. Two sockets have
 * no order between them, so a write that was seen is not yet one that the controller must know to be done. It is when
 *  - its command has completed with success, or
 *  - the server has done something that it was told to do after it had heard that the write arrived: it takes messages in order, or
 *  - the controller was suspended behind it, or
 *  - in shared mode, it was found in memory.
 * The other way round, what is read from the controller's socket after a report was seen may have been said before the report was made, and
 * be in it: of such writes those that the report covers are not asked for again. So a finding is certain, and a page that is written while
 * a report is being made may go unjudged.
 */
#include <stdio.h>
#include <stdlib.h>

#include "verify/monitor_in.h"

enum { TOLD_AT_ONCE = 8 /* findings of one report */, RPMPG_MAX = 40 };
static const uint64_t PAGE = 1ull << MON_PAGE_SHIFT;

struct track {
	uint16_t by;				/* number of the management controller */
	struct span *range;			/* sorted */
	unsigned ranges;
	struct pages pages;
	struct span *told;			/* what the last report named, sorted; or all of memory */
	unsigned tolds;
	uint64_t taken;				/* when that was, or tracking began */
	uint64_t final;				/* when the last report of a suspended controller was seen, 0 none */
	bool full;				/* more pages than we hold: said once */
};

static const char *const what_names[] = { [PAGE_DATA] = "data", [PAGE_CQ] = "completion queue", [PAGE_OTHER] = "no command's" };

/* ---- life -------------------------------------------------------------------------------------------------------------- */

static void track_free(struct ctrl *mc)
{
	struct track *t = mc->track;

	if (!t)
		return;
	free(t->range);
	free(t->told);
	pages_fini(&t->pages);
	free(t);
	mc->track = NULL;
}

void track_forget(struct ctrl *c)
{
	track_free(c);
	LIST_EACH(&c->m->ctrls, l)
		if (LIST_ENTRY(l, struct ctrl, link)->track && LIST_ENTRY(l, struct ctrl, link)->track->by == c->number)
			track_free(LIST_ENTRY(l, struct ctrl, link));
}

/* Ranges that stop being the host's memory: from then on nothing is promised. */
void track_unmapped(struct ctrl *c, uint64_t at, uint64_t len)
{
	for (unsigned i = 0; c->track && i < c->track->ranges; i++)
		if (ranges_overlap(at, len, c->track->range[i].at, c->track->range[i].len))
			track_free(c);
}

static void say(struct ctrl *mc, const char *text)
{
	struct rec r = mon_rec(mc, REC_MGR_EVENT, REC_BY_MON);

	snprintf(r.note, sizeof(r.note), "%s", text);
	mon_put(mc->m, &r);
}

/* What the controller has done so far, found or not, may be in what was just seen on another lane. */
static void catch_up(struct ctrl *mc)
{
	bool scanning = mc->m->scanning;

	mc->m->scanning = true;
	LIST_EACH(&mc->m->lanes, l)
		if (LIST_ENTRY(l, struct lane, link)->c == mc)
			flow_told(LIST_ENTRY(l, struct lane, link));
	ctrl_scan(mc);
	mc->m->scanning = scanning;
}

static void tell_all(struct track *t)
{
	free(t->told);
	t->told = NULL;
	t->tolds = 0;
}

/* ---- Track Send -------------------------------------------------------------------------------------------------------- */

/* As much of a command's data as is certain to be its own: the model does not know how long this list is, so it takes what PRP2 names
 * for a page list where the list might be long enough to need one. */
static uint64_t sure_bytes(const struct ctrl *c, const struct cmd *k)
{
	uint64_t first = c->page_bytes - le64_get(k->sqe.prp1) % c->page_bytes;

	return !k->sgl && (k->list_count || k->list_len) ? MIN(k->filled, first) : k->filled;
}

static struct span *ranges_of(const struct ctrl *c, const struct cmd *k, unsigned *n)
{
	struct nvme_track_mem h;
	struct nvme_track_mem_range d;
	uint64_t have = k->data ? sure_bytes(c, k) : 0;
	struct span *v;

	if (have < sizeof(h))
		return NULL;
	memcpy(&h, k->data, sizeof(h));
	*n = le32_get(h.rnmrtd);
	if (h.ver || !*n || *n > (have - sizeof(h)) / sizeof(d) || h.rmrtg > RPMPG_MAX)
		return NULL;
	v = calloc(*n, sizeof(*v));
	for (unsigned i = 0; v && i < *n; i++) {
		memcpy(&d, k->data + sizeof(h) + i * sizeof(d), sizeof(d));
		v[i] = (struct span){ le64_get(d.saddr), MIN((uint64_t)le32_get(d.len) << MON_PAGE_SHIFT << MIN(h.rmrtg, 19u), UINT64_MAX - le64_get(d.saddr)) };
		if (v[i].at % PAGE || !v[i].len) { /* not what the controller has read */
			free(v);
			return NULL;
		}
	}
	if (v)
		*n = runs_sort(v, *n);
	return v;
}

static struct ctrl *target(struct ctrl *c, uint16_t cntlid)
{
	struct ctrl *mc = mon_ctrl_by_cntlid(c->m, cntlid);

	return mc == c ? NULL : mc;
}

void track_sent(struct ctrl *c, struct cmd *k)
{
	struct ctrl *mc = target(c, (uint16_t)nvme_track_send_cntlid(&k->sqe));
	struct span *range;
	unsigned n = 0;

	if (!mc)
		return;
	catch_up(mc);
	track_free(mc);
	if (!nvme_track_send_tact(&k->sqe))
		return;
	range = ranges_of(c, k, &n);
	mc->track = range ? calloc(1, sizeof(*mc->track)) : NULL;
	if (mc->track) {
		*mc->track = (struct track){ .by = c->number, .range = range, .ranges = n, .taken = ++c->m->clock };
		return;
	}
	free(range);
	say(mc, "which memory is tracked was not seen: what Track Receive reports is not judged");
}

/* ---- writes ------------------------------------------------------------------------------------------------------------ */

static bool perhaps_told(const struct ctrl *mc, uint64_t at)
{
	const struct track *t = mc->track;

	return mc->doubt && (!t->told || runs_hold(t->told, t->tolds, at));
}

/* False: no room for more. */
static bool wrote_page(struct ctrl *mc, uint64_t at, const struct wrote *w)
{
	struct page *p;

	if (perhaps_told(mc, at))
		return true;
	p = pages_put(&mc->track->pages, at);
	if (!p || p->sure)
		return p != NULL; /* it has to be in the next report anyway */
	p->uid = w->uid;
	p->cmd = w->cmd;
	p->what = w->what;
	p->sure = w->found ? ++mc->m->clock : mc->older ? mc->still_since : 0;
	return true;
}

static void no_room(struct ctrl *mc)
{
	if (!mc->track->full)
		say(mc, "more pages were written and not reported than are remembered: some of them are not judged");
	mc->track->full = true;
}

void track_wrote(struct ctrl *mc, uint64_t at, uint64_t len, const struct wrote *w)
{
	struct track *t = mc->track;
	unsigned first = t ? runs_behind(t->range, t->ranges, at) : 0;
	bool any = false;

	for (unsigned i = first ? first - 1 : 0; t && i < t->ranges && (t->range[i].at <= at || t->range[i].at - at < len); i++) {
		uint64_t lo = MAX(at, t->range[i].at) - t->range[i].at, hi = MIN(at - t->range[i].at + len, t->range[i].len);

		for (uint64_t off = round_down(lo, PAGE); off < hi && lo < hi; off += PAGE) {
			any = true;
			if (!wrote_page(mc, t->range[i].at + off, w)) {
				no_room(mc);
				break;
			}
		}
	}
	if (any && t->final && ctrl_still(mc))
		mon_break(mc, RULE_TRACK_FINAL, mc->m->msg_uid, "write of %llu bytes at 0x%llx", (unsigned long long)len, (unsigned long long)at);
}

static uint64_t pages_of(uint64_t at, uint64_t len) { return len ? (at % PAGE + len - 1) / PAGE + 1 : 0; }

/* The host has taken it (or not: then it did not happen, unless an earlier one did). */
void track_arrived(struct ctrl *mc, uint64_t at, uint64_t len, bool ok)
{
	for (uint64_t i = 0; mc->track && i < pages_of(at, len); i++) {
		struct page *e = pages_find(&mc->track->pages, round_down(at, PAGE) + i * PAGE);

		if (e && ok && !e->arrived)
			e->arrived = ++mc->m->clock;
		if (e && !ok && !e->sure && !e->arrived)
			e->what = PAGE_NOT; /* swept out with the next report */
	}
}

/* Where success says that all of the data was written: a log page may be shorter than what was asked for. */
static bool all_written(const struct cmd *k)
{
	return k->exact && (k->sq ? k->sqe.opc == NVME_NVM_READ : k->sqe.opc == NVME_OP_IDENTIFY);
}

static void data_done(struct ctrl *mc, const struct cmd *k, const struct span *v)
{
	for (uint64_t i = 0; i < pages_of(v->at, v->len); i++) {
		struct page *p = pages_find(&mc->track->pages, round_down(v->at, PAGE) + i * PAGE);

		if (p && !p->sure && p->cmd == k->uid)
			p->sure = mc->m->clock;
	}
}

void track_completed(struct ctrl *mc, const struct cmd *k, bool ok)
{
	struct wrote w = { .what = PAGE_DATA, .uid = k->uid, .found = true };

	if (!mc->track || !ok || k->dir != 'C' || !k->bounded || !k->walked || k->length > (uint64_t)MON_PAGES << MON_PAGE_SHIFT)
		return; /* a command of more than we hold is left to the next suspension */
	mc->m->clock++;
	for (unsigned i = 0; i < k->spans; i++) {
		/* Where messages do not tell when it was written it may be in any report since the command was given. */
		if (mc->message)
			data_done(mc, k, &k->span[i]);
		else if (all_written(k) && k->born > mc->track->taken)
			track_wrote(mc, k->span[i].at, k->span[i].len, &w);
	}
}

void track_suspended(struct ctrl *mc)
{
	for (uint32_t i = 0; mc->track && i < mc->track->pages.cap; i++) {
		struct page *p = &mc->track->pages.slot[i];

		if (p->used && !p->sure)
			p->sure = mc->still_since;
	}
}

void track_resumed(struct ctrl *mc)
{
	if (mc->track)
		mc->track->final = 0;
}

/* ---- Track Receive ------------------------------------------------------------------------------------------------------ */

struct report {
	struct ctrl *c, *mc;			/* the controller that reports, and the one it reports of */
	struct cmd *k;
	uint64_t uid;				/* of its completion */
	struct nvme_tracked h;
	struct span *v;
	unsigned n;
	bool more, final;
	unsigned missed;
};

static bool same_as_memory(const struct ctrl *c, const struct cmd *k)
{
	uint64_t at = 0;
	bool same = true;
	uint8_t buf[4096];

	for (unsigned i = 0; i < k->spans && same; i++)
		for (uint64_t off = 0; off < k->span[i].len && at < k->length && same; ) {
			uint64_t n = MIN(MIN(k->span[i].len - off, k->length - at), sizeof(buf));

			same = mem_read(&c->mem, k->span[i].at + off, buf, n) && !memcmp(buf, k->data + at, n);
			off += n, at += n;
		}
	return same;
}

bool answer_seen(struct ctrl *c, struct cmd *k)
{
	if (!k->data)
		return false;
	if (c->message)
		return true;
	return cmd_load(c, k) && same_as_memory(c, k);
}

/* What is wrong with it as it stands, NULL nothing. */
static const char *malformed(const struct report *r, const uint8_t *d)
{
	static const uint8_t zero[sizeof(r->h.rsvd10)];
	uint64_t unit = PAGE << MIN(le16_get(r->h.rpmpg), (uint16_t)RPMPG_MAX);
	bool still = r->mc->suspended && !r->mc->resume_uid && r->mc->still_since < r->k->born;

	if (r->h.ver || r->h.attrb & ~(NVME_TRACKED_MTR | NVME_TRACKED_SUSP) || memcmp(r->h.rsvd10, zero, sizeof(r->h.rsvd10)))
		return "VER or what is reserved is not 0";
	if (le16_get(r->h.cntlid) != nvme_track_receive_cntlid(&r->k->sqe))
		return "CNTLID is another controller's";
	if (le32_get(r->h.ntmcd) > (r->k->length - sizeof(r->h)) / sizeof(struct nvme_tracked_range))
		return "NTMCD does not fit into the buffer";
	if (!le32_get(r->h.ntmcd) && r->h.attrb & NVME_TRACKED_MTR)
		return "MTR is 1 and NTMCD is 0";
	if (le16_get(r->h.rpmpg) > RPMPG_MAX)
		return "RPMPG is larger than any memory";
	for (uint32_t i = 0; i < le32_get(r->h.ntmcd); i++) {
		struct nvme_tracked_range e;

		memcpy(&e, d + i * sizeof(e), sizeof(e));
		if (le64_get(e.saddr) % unit)
			return "SADDR is not aligned to RPMPG";
	}
	if (still && !(r->h.attrb & NVME_TRACKED_SUSP))
		return "SUSP is 0, and the controller was suspended all the time";
	return NULL;
}

/* False: what it says was not seen, or cannot be understood. */
static bool report_read(struct report *r)
{
	struct nvme_tracked_range d;
	const char *bad;
	uint64_t unit;

	if (!answer_seen(r->c, r->k) || r->k->filled < sizeof(r->h))
		return false;
	memcpy(&r->h, r->k->data, sizeof(r->h));
	if (r->k->filled < sizeof(r->h) + MIN((uint64_t)le32_get(r->h.ntmcd) * sizeof(d), r->k->length - sizeof(r->h)))
		return false;
	bad = malformed(r, r->k->data + sizeof(r->h));
	/* What was read from memory may be what the host put there since. */
	if (bad && r->c->message && ctrl_judged(r->c))
		mon_break(r->c, RULE_TRACK_REPORT, r->uid, "of controller %u: %s", r->mc->number, bad);
	if (bad || (!r->c->message && !le32_get(r->h.ntmcd) && !r->mc->cntlid && !r->h.attrb))
		return false;
	r->n = le32_get(r->h.ntmcd);
	r->v = calloc(r->n + 1, sizeof(*r->v));
	unit = PAGE << le16_get(r->h.rpmpg);
	for (uint32_t i = 0; r->v && i < r->n; i++) {
		memcpy(&d, r->k->data + sizeof(r->h) + i * sizeof(d), sizeof(d));
		r->v[i].at = le64_get(d.saddr);
		r->v[i].len = le32_get(d.len) > (UINT64_MAX - r->v[i].at) / unit ? UINT64_MAX - r->v[i].at : le32_get(d.len) * unit;
	}
	r->more = r->h.attrb & NVME_TRACKED_MTR;
	r->final = r->h.attrb & NVME_TRACKED_SUSP && !r->more && r->mc->suspended;
	return r->v != NULL;
}

/* Another command that may take away what this one does not have, or end it all, is out. */
static bool alone(const struct report *r)
{
	struct msq *q = ctrl_sq(r->c, 0);

	for (unsigned b = 0; q && b < CMD_BUCKETS; b++)
		LIST_EACH(&q->cmds[b], l) {
			const struct cmd *k = LIST_ENTRY(l, struct cmd, link);

			if (k != r->k && (k->sqe.opc == NVME_OP_TRACK_RECEIVE || (k->sqe.opc == NVME_OP_TRACK_SEND && nvme_track_send_sel(&k->sqe) == NVME_TRACK_MEMORY)) &&
			    nvme_track_receive_cntlid(&k->sqe) == nvme_track_receive_cntlid(&r->k->sqe))
				return false;
		}
	return true;
}

/* Had to be in it. */
static bool due(const struct report *r, const struct page *p)
{
	const struct ctrl *mc = r->mc;

	if (p->sure)
		return p->sure < r->k->born || (r->final && p->sure <= mc->still_since);
	return p->arrived && p->arrived < mc->heard && mc->heard_at < r->k->born;
}

static void missed(struct report *r, const struct page *p)
{
	unsigned i = runs_behind(r->v, r->n, p->at);
	char near[80] = "";

	if (++r->missed > TOLD_AT_ONCE)
		return;
	if (i)
		snprintf(near, sizeof(near), "; reported before it: 0x%llx+0x%llx", (unsigned long long)r->v[i - 1].at, (unsigned long long)r->v[i - 1].len);
	if (i < r->n)
		snprintf(near + strlen(near), sizeof(near) - strlen(near), "; behind it: 0x%llx", (unsigned long long)r->v[i].at);
	rec_link(r->c->m->cfg.store,
		 mon_break(r->mc, r->final ? RULE_TRACK_FINAL : RULE_TRACK_MISSED, r->uid, "page 0x%llx (%s), written by record %llu, is not reported%s",
			   (unsigned long long)p->at, what_names[p->what], (unsigned long long)p->uid, near), p->uid, REC_LINK_NEAREST);
}

static bool take(void *ctx, const struct page *p)
{
	const struct report *r = ctx;

	return p->what == PAGE_NOT || runs_hold(r->v, r->n, p->at);
}

/* Said once: what is missing is not asked for again. */
static bool demand(void *ctx, const struct page *p)
{
	struct report *r = ctx;

	if (!due(r, p))
		return false;
	missed(r, p);
	return true;
}

static void judge(struct report *r)
{
	struct track *t = r->mc->track;
	bool judged = ctrl_judged(r->c) && alone(r);

	if (t->final && t->final < r->k->born && r->mc->suspended && !r->mc->resume_uid && r->n && judged)
		mon_break(r->mc, RULE_TRACK_FINAL, r->uid, "%u more ranges, the first at 0x%llx", r->n, (unsigned long long)r->v[0].at);
	pages_sweep(&t->pages, take, r);
	r->c->m->n.reports += judged && !r->more;
	r->c->m->n.unjudged += !judged;
	if (judged && !r->more)
		pages_sweep(&t->pages, demand, r);
	if (r->missed > TOLD_AT_ONCE)
		say(r->mc, "and more pages that are not reported");
	if (r->final && !r->mc->resume_uid)
		t->final = r->c->m->clock;
}

void track_received(struct ctrl *c, struct cmd *k, uint64_t uid)
{
	struct report r = { .c = c, .k = k, .uid = uid, .mc = target(c, (uint16_t)nvme_track_receive_cntlid(&k->sqe)) };
	struct track *t;

	if (!r.mc)
		return;
	catch_up(r.mc);
	t = r.mc->track;
	if (!t || t->by != c->number)
		return;
	t->taken = ++c->m->clock;
	tell_all(t);
	if (!report_read(&r)) {
		free(r.v);
		pages_fini(&t->pages); /* it may have had any of them */
		c->m->n.unjudged++;
		return;
	}
	r.n = runs_sort(r.v, r.n);
	judge(&r);
	t->told = r.v;
	t->tolds = r.n;
}
