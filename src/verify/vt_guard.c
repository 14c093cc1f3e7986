/* Memory that nobody but the host may have changed: looked at before and after a command that is sent and waited for.
 *
 * Called by vt_cmd.c (what each submission lends; around vt_do) and vt.c (reset; the end of a test). While the verifier waits for one
 * command it writes nothing itself, so whatever changes in the arena of any controller was written by a device. What a device may
 * write is taken from the entries that were really submitted, not from what a test says: the data of a command that is out and whose
 * opcode moves data to the host, completion queues, data queues, shadow doorbells. All else must stay as it is, to the byte: the
 * data of writes, PRP lists, what lies behind the data of a read on the same page. Submission queues are left out, because we
 * overwrite the slots that SQHD has passed while we wait.
 *
 * Where the length of a command's data is not known (a test made its PRPs by hand) whole pages are lent; where its lists lead nowhere
 * we can follow, everything is. Nothing is judged while faults are injected: a corrupted command may point anywhere.
 *
 * The arena behind what tests have ever taken has never been touched by us: a page of its file that exists was made by a device.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "verify/vt_in.h"

enum { HOPS = 64, NEAR = 4, FID_HMB = 0x0d };
enum { AWAY, FREE, PARTLY, LENT };	/* of a page: not looked at; the device's hands off; partly lent; lent */
#define EVERYTHING UINT64_MAX

struct lent { uint64_t at, len; const struct vcmd *k; bool over; };	/* k NULL: until a reset */
struct vguard {
	struct lent lent[512];
	unsigned lents;
	bool blind;			/* more is lent than we can hold: nothing is judged until a reset */
	uint64_t high;			/* bytes of the arena that were ever taken */
	uint8_t *was;			/* as long as the arena: what stood there before */
	uint8_t *page;			/* one for each of the arena's */
	uint32_t *looked;		/* those that are looked at around the command that is out */
	unsigned looks, next;		/* next: where the next look in turn begins */
	uint8_t now[VT_PAGE];		/* the page that is being judged, */
	uint64_t now_at;		/* and where in the arena it is */
};

int vt_guard_open(struct vctl *c)
{
	c->guard = calloc(1, sizeof(*c->guard));
	if (!c->guard)
		return -1;
	c->guard->page = calloc(c->bytes / VT_PAGE, 1);
	c->guard->looked = calloc(c->bytes / VT_PAGE, sizeof(*c->guard->looked));
	c->guard->was = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (c->guard->page && c->guard->looked && c->guard->was != MAP_FAILED)
		return 0;
	free(c->guard->page);
	free(c->guard->looked);
	if (c->guard->was != MAP_FAILED)
		munmap(c->guard->was, c->bytes);
	free(c->guard);
	c->guard = NULL;
	return -1;
}

void vt_guard_close(struct vctl *c)
{
	if (!c->guard)
		return;
	munmap(c->guard->was, c->bytes);
	free(c->guard->page);
	free(c->guard->looked);
	free(c->guard);
	c->guard = NULL;
}

/* ---- what is lent */

static void drop_over(struct vguard *g)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->lents; i++)
		if (!g->lent[i].over)
			g->lent[n++] = g->lent[i];
	g->lents = n;
}

/* Tests make queue after queue in the same memory. */
static bool lent_for_good(const struct vguard *g, uint64_t at, uint64_t len)
{
	for (unsigned i = 0; i < g->lents; i++)
		if (!g->lent[i].k && range_inside(at - g->lent[i].at, len, g->lent[i].len))
			return true;
	return false;
}

static void lend(struct vctl *c, uint64_t at, uint64_t len, const struct vcmd *k)
{
	struct vguard *g = c->guard;
	struct lent *last = g->lents ? &g->lent[g->lents - 1] : NULL;

	len = MIN(len, UINT64_MAX - at);
	if (g->blind || !len || (!k && lent_for_good(g, at, len)))
		return;
	if (last && last->k == k && !last->over && last->at + last->len == at) {
		last->len += len;
		return;
	}
	if (g->lents == ARRAY_LEN(g->lent))
		drop_over(g); /* those whose commands are over make room */
	g->blind = g->lents == ARRAY_LEN(g->lent);
	if (!g->blind)
		g->lent[g->lents++] = (struct lent){ at, len, k, false };
}

static const uint8_t *at_iova(const struct vctl *c, uint64_t iova, uint64_t len)
{
	return range_inside(iova - c->iova, len, c->bytes) ? c->mem + (iova - c->iova) : NULL;
}

static uint64_t page_rest(uint64_t at) { return VT_PAGE - at % VT_PAGE; }

/* Each entry of a list page is taken for data, and the last one for a further list as well: which it is only the length would tell. */
static void lend_list(struct vctl *c, uint64_t at, const struct vcmd *k)
{
	uint64_t before = 0;

	for (unsigned hop = 0; hop < HOPS; hop++) {
		const uint8_t *p = at % 8 ? NULL : at_iova(c, at, page_rest(at));
		uint64_t n = page_rest(at) / 8, e = 0;
		le64 v;

		for (uint64_t i = 0; p && i < n; i++) {
			memcpy(&v, p + 8 * i, sizeof(v));
			e = le64_get(v);
			if (!e || e % VT_PAGE || !at_iova(c, e, 1))
				return; /* no entry: this page is data, or the list ends here */
			if (e != before)
				lend(c, e, VT_PAGE, k);
			before = e;
		}
		if (!p)
			return;
		at = e;
	}
}

static void lend_prps(struct vctl *c, const struct nvme_sqe *s, const struct vcmd *k)
{
	uint64_t one = le64_get(s->prp1), two = le64_get(s->prp2);

	lend(c, one, page_rest(one), k);
	if (!two)
		return;
	lend(c, two, page_rest(two), k);
	lend_list(c, two, k);
}

static void lend_sgl(struct vctl *c, struct nvme_sgl d, const struct vcmd *k)
{
	for (unsigned hop = 0; hop < HOPS; hop++) {
		uint64_t at = le64_get(d.addr), len = le32_get(d.len);
		const uint8_t *p = at_iova(c, at, len);

		if (d.type >> 4 == NVME_SGL_DATA)
			lend(c, at, len, k);
		if ((d.type >> 4 != NVME_SGL_SEGMENT && d.type >> 4 != NVME_SGL_LAST) || !p || len < sizeof(d))
			return;
		for (; len >= sizeof(d); p += sizeof(d), len -= sizeof(d)) {
			memcpy(&d, p, sizeof(d));
			if (d.type >> 4 == NVME_SGL_DATA && len >= 2 * sizeof(d))
				lend(c, le64_get(d.addr), le32_get(d.len), k);
		}
	}
	lend(c, 0, EVERYTHING, k);
}

/* A queue that the controller writes until it is deleted; we take it for its own until the next reset. */
static void lend_queue(struct vctl *c, uint64_t at, uint64_t bytes, bool contiguous)
{
	if (contiguous)
		lend(c, at, bytes, NULL);
	else
		lend_list(c, at, NULL);
}

static bool lend_forever(struct vctl *c, const struct nvme_sqe *s)
{
	switch (s->opc) {
	case NVME_OP_CREATE_CQ:
		lend_queue(c, le64_get(s->prp1), (nvme_create_cq_qsize0(s) + 1ull) * sizeof(struct nvme_cqe), nvme_create_cq_pc(s));
		return true;
	case NVME_OP_CDQ:
		if (nvme_cdq_sel(s) == NVME_CDQ_CREATE)
			lend_queue(c, le64_get(s->prp1), 4ull * nvme_cdq_cdqsize(s), nvme_cdq_pc(s));
		return true;
	case NVME_OP_DBBUF:
		lend(c, le64_get(s->prp1), VT_PAGE, NULL);
		lend(c, le64_get(s->prp2), VT_PAGE, NULL);
		return true;
	case NVME_OP_SET_FEATURES:
		if (nvme_set_features_fid(s) == FID_HMB && nvme_set_features_cdw11(s) & 1)
			lend(c, 0, EVERYTHING, NULL);
		return true;
	}
	return false;
}

void vt_guard_sent(struct vctl *c, const struct vcmd *k, const struct vmem *exact, uint32_t len)
{
	const struct nvme_sqe *s = &k->sqe;
	struct vguard *g = c->guard;
	struct nvme_sgl d;

	if (!g)
		return;
	for (unsigned i = 0; i < g->lents; i++)
		if (g->lent[i].k == k && !g->lent[i].over)
			g->lent[i].k = NULL; /* of a command that nobody waits for any more: it may still write */
	if (!k->qid && lend_forever(c, s))
		return;
	if (!(s->opc & 2)) /* Opcode, bits 01:00: no data, or from the host only */
		return;
	if (exact && (s->flags & NVME_PSDT_MASK) == NVME_PSDT_PRP && le64_get(s->prp1) == exact->iova) {
		lend(c, exact->iova, len, k);
	} else if ((s->flags & NVME_PSDT_MASK) == NVME_PSDT_PRP) {
		lend_prps(c, s, k);
	} else {
		memcpy(&d, &s->prp1, sizeof(d));
		lend_sgl(c, d, k);
	}
	if (le64_get(s->mptr))
		lend(c, le64_get(s->mptr), 16 * VT_PAGE, k);
}

/* What it had been lent until now may have been written until now. */
void vt_guard_done(struct vctl *c, const struct vcmd *k)
{
	for (unsigned i = 0; c->guard && i < c->guard->lents; i++)
		if (c->guard->lent[i].k == k)
			c->guard->lent[i].over = true;
}

void vt_guard_reset(struct vctl *c)
{
	if (c->guard) {
		c->guard->lents = 0;
		c->guard->blind = false;
	}
}

void vt_guard_adopt(struct vctl *to, const struct vctl *from)
{
	for (unsigned i = 0; to->guard && from->guard && i < from->guard->lents; i++)
		if (!from->guard->lent[i].over)
			lend(to, from->guard->lent[i].at, from->guard->lent[i].len, from->guard->lent[i].k);
}

/* ---- before and after */

static bool judged(const struct vt *t, const struct vctl *c)
{
	return c->guard && c->port && c->mem && !c->guard->blind && !t->dut->inj;
}

static void look_at(struct vctl *c, uint64_t page)
{
	struct vguard *g = c->guard;

	if (page >= MIN(c->used, c->bytes) / VT_PAGE || g->page[page] != AWAY)
		return;
	g->page[page] = FREE;
	g->looked[g->looks++] = (uint32_t)page;
}

static void look_around(struct vctl *c, uint64_t iova, unsigned pages)
{
	uint64_t page = (iova - c->iova) / VT_PAGE;

	for (unsigned i = 0; at_iova(c, iova, 1) && i < pages; i++)
		look_at(c, page + i);
}

/* Some more each time, all in turn. */
static void look_on(struct vctl *c, unsigned pages)
{
	struct vguard *g = c->guard;

	for (unsigned i = 0; i < pages; i++, g->next++) {
		g->next = g->next < c->used / VT_PAGE ? g->next : 0;
		look_at(c, g->next);
	}
}

/* A command goes wrong near its own data and lists, and what a test has taken last is what it works with. */
static void choose(struct vt *t, struct vctl *c, const struct vcmd *k)
{
	uint64_t prp1 = le64_get(k->sqe.prp1), all = c->used / VT_PAGE;

	if (t->guard_all) {
		look_on(c, (unsigned)all);
	} else if (c == k->c) {
		look_around(c, prp1 >= VT_PAGE ? prp1 - VT_PAGE : prp1, NEAR + 1);
		look_around(c, le64_get(k->sqe.prp2), 1);
		look_around(c, c->iova + (all - MIN(all, (uint64_t)NEAR)) * VT_PAGE, NEAR);
		look_on(c, NEAR);
	} else if (t->submitted % t->ctls == c->index) {
		look_on(c, NEAR);
	}
}

static void mark(struct vctl *c, uint64_t at, uint64_t len)
{
	uint64_t lo = MAX(at, c->iova), hi = MIN(at + len, c->iova + MIN(c->used, c->bytes));

	for (uint64_t a = lo; a < hi; a = round_down(a, VT_PAGE) + VT_PAGE) {
		uint8_t *p = &c->guard->page[(a - c->iova) / VT_PAGE];

		if (*p != AWAY)
			*p = a % VT_PAGE == 0 && hi - a >= VT_PAGE ? LENT : MAX(*p, (uint8_t)PARTLY);
	}
}

static void each_lent(struct vctl *c, void (*what)(struct vctl *, uint64_t at, uint64_t len))
{
	struct vguard *g = c->guard;

	for (unsigned i = 0; i < g->lents; i++)
		what(c, g->lent[i].at, g->lent[i].len);
	for (unsigned q = 0; q < VT_QUEUES; q++) {
		if (c->cq[q].m.len)
			what(c, c->cq[q].m.iova, c->cq[q].m.len);
		if (c->sq[q].m.len)
			what(c, c->sq[q].m.iova, c->sq[q].m.len);
	}
}

static void forget_looks(struct vguard *g)
{
	while (g->looks)
		g->page[g->looked[--g->looks]] = AWAY;
}

static void before(struct vt *t, struct vctl *c, const struct vcmd *k)
{
	struct vguard *g = c->guard;

	choose(t, c, k);
	if (!g->looks)
		return;
	drop_over(g);
	each_lent(c, mark);
	for (unsigned i = 0; i < g->looks; i++)
		if (g->page[g->looked[i]] != LENT)
			memcpy(g->was + (uint64_t)g->looked[i] * VT_PAGE, c->mem + (uint64_t)g->looked[i] * VT_PAGE, VT_PAGE);
}

void vt_guard_before(struct vt *t, const struct vcmd *k)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		if (t->ctl[i].guard)
			forget_looks(t->ctl[i].guard);
		if (judged(t, &t->ctl[i]))
			before(t, &t->ctl[i], k);
	}
}

/* What was lent may be as it is now. */
static void forgive(struct vctl *c, uint64_t at, uint64_t len)
{
	struct vguard *g = c->guard;
	uint64_t page = c->iova + g->now_at, lo = MAX(at, page), hi = MIN(at + len, page + VT_PAGE);

	if (lo < hi)
		memcpy(g->was + (lo - c->iova), g->now + (lo - page), hi - lo);
}

static _Noreturn void changed(struct vctl *c, const struct vcmd *k)
{
	const uint8_t *was = c->guard->was + c->guard->now_at, *is = c->guard->now;
	uint64_t b = 0;

	while (b < VT_PAGE - 1 && was[b] == is[b])
		b++;
	vt_fail(c->t, "%s wrote into memory that was not lent to it: address %llxh is %02xh, was %02xh, while %s of %s was out (prp1 %llxh)", c->name,
		(unsigned long long)(c->iova + c->guard->now_at + b), is[b], was[b],
		k->qid ? nvme_nvm_op_name(k->sqe.opc) : nvme_admin_op_name(k->sqe.opc), k->c->name, (unsigned long long)le64_get(k->sqe.prp1));
}

/* A controller may go on writing what it was lent, beside other things in the same page: each page is looked at once, in a copy. */
static void after(struct vctl *c, const struct vcmd *k)
{
	struct vguard *g = c->guard;

	for (unsigned i = 0; i < g->looks; i++) {
		uint64_t at = (uint64_t)g->looked[i] * VT_PAGE;

		if (g->page[g->looked[i]] == LENT || !memcmp(g->was + at, c->mem + at, VT_PAGE))
			continue;
		memcpy(g->now, c->mem + at, VT_PAGE);
		g->now_at = at;
		each_lent(c, forgive);
		if (memcmp(g->was + at, g->now, VT_PAGE))
			changed(c, k);
	}
}

void vt_guard_after(struct vt *t, const struct vcmd *k)
{
	for (unsigned i = 0; i < t->ctls; i++)
		if (judged(t, &t->ctl[i]))
			after(&t->ctl[i], k);
}

/* ---- what nobody ever took */

void vt_guard_taken(struct vctl *c)
{
	if (c->guard)
		c->guard->high = MAX(c->guard->high, MIN(c->used, c->bytes));
}

static bool zeroes(const uint8_t *p)
{
	static const uint8_t none[VT_PAGE];

	return !memcmp(p, none, VT_PAGE);
}

static uint64_t next_there(const struct vctl *c, uint64_t from)
{
	off_t at = c->guard && c->fd >= 0 && from < c->bytes ? lseek(c->fd, (off_t)from, SEEK_DATA) : -1;

	return at < 0 ? UINT64_MAX : round_down((uint64_t)at, VT_PAGE);
}

/* A page that is there and holds nothing was read, or mapped ahead. */
void vt_guard_rest(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		struct vctl *c = &t->ctl[i];
		uint64_t at;

		vt_guard_taken(c);
		for (at = c->guard ? next_there(c, c->guard->high) : UINT64_MAX; at < c->bytes; at = next_there(c, at + VT_PAGE))
			if (!zeroes(c->mem + at))
				vt_fail(t, "%s wrote into memory that no test has ever used: the page at %llxh", c->name, (unsigned long long)(c->iova + at));
	}
}

/* What an earlier test found there is not found again. */
void vt_guard_fresh(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++) {
		struct vctl *c = &t->ctl[i];

		if (c->guard && next_there(c, c->guard->high) < c->bytes)
			(void)!fallocate(c->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)c->guard->high, (off_t)(c->bytes - c->guard->high));
	}
}
