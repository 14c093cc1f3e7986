/* Shared mode: memory that the device may only read is kept in mind while it is lent, and must not change. Called by monitor_cmd.c (a
 * command is seen, ends), monitor_ctrl.c (before and after memory is looked at for completions) and monitor_cq.c (a completion).
 *
 * The server is another process: no protection of ours stops its writes, and nothing tells of them. So what is lent is kept when the
 * command is seen, which is before the server hears of it, and compared. What is lent: the submission entry until SQHD has passed it,
 * the PRP list entries and SGL segments that are used, the data of commands that move data to the controller.
 *
 * Nothing may be held against a device that a host has done. While a command is out no host touches its entry and lists, and a
 * difference counts only if the completion is still not there when it is looked for after the comparison: a host that polls can use
 * the memory again at once. Data is another matter: an operating system may well change a page while it is being written (Linux
 * does). It is judged only where the host is known to leave it alone until it has rung its completion queue's doorbell
 * (MONITOR_GUARD_ALL): then also at the completion, if the client has said nothing since.
 */
#include <stdlib.h>
#include <sys/ioctl.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "verify/monitor_in.h"

enum {
	BLOCK = 4096,			/* compared at once */
	COPY_MAX = 24 << 10,		/* of a command; what is more has a sum for each block */
	COPIES_MAX = 16 << 20,		/* of all commands */
	BYTES_MAX = 256 << 10,		/* of a command; what is more is not looked at */
	BLOCKS_MAX = 512,
	LENT_MAX = 1024,		/* commands of a controller */
	LOOK_BYTES = 16 << 10,		/* compared each time memory is looked at */
	STEPS = 1 << 16,		/* of a search for somebody who may write there */
};

enum kind { ENTRY, LIST, DATA };
static const char *const kind_name[] = { "the submission entry", "a PRP list or SGL segment", "the data" };

struct block { uint64_t at; uint32_t len, copy /* offset; UINT32_MAX: sum */; uint64_t sum; enum kind kind; };
struct lent {
	struct list link;
	struct ctrl *c;
	struct cmd *k;
	uint64_t ended, maps;		/* the controller's counts when it began */
	unsigned n, next;		/* blocks; where looking goes on */
	int odd;			/* block that differs, to be judged; -1 none */
	uint32_t copied;
	uint8_t *copy;
	struct block block[];
};

/* ---- what is lent ------------------------------------------------------------------------------------------------------------ */

struct piece { uint64_t at; uint32_t len; enum kind kind; };
struct plan { unsigned n; uint64_t bytes; struct piece v[BLOCKS_MAX]; };

static void plan(struct plan *p, uint64_t at, uint64_t len, enum kind kind)
{
	while (len && p->n < BLOCKS_MAX && p->bytes < BYTES_MAX) {
		uint32_t part = (uint32_t)MIN(len, BLOCK - at % BLOCK);

		p->v[p->n++] = (struct piece){ at, part, kind };
		p->bytes += part;
		at += part;
		len -= part;
	}
}

/* Only the entries that are used: others may lie on the same page. Neighbouring pages have become one span. */
static void plan_prps(const struct ctrl *c, struct plan *p, const struct cmd *k)
{
	uint64_t left = k->length - MIN(k->length, c->page_bytes - le64_get(k->sqe.prp1) % c->page_bytes);

	for (unsigned i = 0; i < k->list_count; i++)
		for (uint64_t at = k->lists[i].at, len = k->lists[i].len; len && left;) {
			uint64_t part = MIN(len, c->page_bytes - at % c->page_bytes), room = part / 8, need = (left + c->page_bytes - 1) / c->page_bytes;

			plan(p, at, 8 * MIN(room, need), LIST);
			left -= need <= room ? left : (room ? room - 1 : 0) * c->page_bytes;
			at += part;
			len -= part;
		}
}

static void plan_data(struct plan *p, const struct cmd *k)
{
	uint64_t left = k->length;

	if (k->sq && k->sqe.opc == NVME_NVM_COPY)
		left = (nvme_copy_nr0(&k->sqe) + 1ull) * 32; /* the smaller of the range formats */
	for (unsigned i = 0; i < k->spans && left; i++) {
		plan(p, k->span[i].at, MIN(left, k->span[i].len), DATA);
		left -= MIN(left, k->span[i].len);
	}
	for (unsigned i = 0; i < k->metas; i++)
		plan(p, k->meta[i].at, k->meta[i].len, DATA);
}

/* Where a length is a limit only, nobody knows what of it is lent. */
static void plan_all(struct ctrl *c, struct plan *p, const struct msq *q, const struct cmd *k)
{
	bool known = k->bounded && k->walked && k->length, listed = k->sq && (k->sqe.opc == NVME_NVM_DSM || k->sqe.opc == NVME_NVM_COPY);

	p->n = 0;
	p->bytes = 0;
	if (k->nth)
		plan(p, queue_addr(c, q->base, q->page, (uint64_t)k->index * sizeof(k->sqe)), sizeof(k->sqe), ENTRY);
	for (unsigned i = 0; known && k->sgl && i < k->list_count; i++)
		plan(p, k->lists[i].at, k->lists[i].len, LIST);
	if (known && !k->sgl && k->exact)
		plan_prps(c, p, k);
	if (known && k->dir == 'H' && (k->exact || listed) && c->m->cfg.guard == MONITOR_GUARD_ALL)
		plan_data(p, k);
}

static bool keep(struct lent *l, struct block *b)
{
	const uint8_t *p = mem_at(&l->c->mem, b->at, b->len);

	if (!p)
		return false;
	if (b->copy == UINT32_MAX)
		b->sum = XXH3_64bits(p, b->len);
	else
		memcpy(l->copy + b->copy, p, b->len);
	return true;
}

static struct lent *lent_new(struct ctrl *c, struct cmd *k, const struct plan *p)
{
	uint64_t room = COPIES_MAX - MIN(c->m->lent_bytes, (uint64_t)COPIES_MAX);
	uint32_t copied = (uint32_t)MIN(MIN(p->bytes, (uint64_t)COPY_MAX), room);
	struct lent *l = malloc(sizeof(*l) + p->n * sizeof(l->block[0]) + copied);

	if (!l)
		return NULL;
	*l = (struct lent){ .c = c, .k = k, .ended = c->ended, .maps = c->mem.gone, .odd = -1 };
	l->copy = (uint8_t *)&l->block[p->n];
	for (unsigned i = 0; i < p->n; i++) {
		struct block *b = &l->block[l->n];
		bool fits = l->copied + p->v[i].len <= copied;

		*b = (struct block){ p->v[i].at, p->v[i].len, fits ? l->copied : UINT32_MAX, 0, p->v[i].kind };
		if (!keep(l, b))
			continue; /* not ours to see */
		l->n++;
		l->copied += fits ? b->len : 0;
	}
	c->m->lent_bytes += l->copied;
	return l;
}

void guard_lend(struct ctrl *c, const struct msq *q, struct cmd *k)
{
	struct plan p;

	if (c->m->cfg.guard == MONITOR_GUARD_OFF || c->message || !ctrl_judged(c) || c->lents >= LENT_MAX)
		return;
	plan_all(c, &p, q, k);
	k->lent = p.n ? lent_new(c, k, &p) : NULL;
	if (!k->lent)
		return;
	list_push(&c->lent, &k->lent->link);
	c->lents++;
	c->m->n.lent++;
}

void guard_free(struct cmd *k)
{
	struct lent *l = k->lent;

	if (!l)
		return;
	list_del(&l->link);
	l->c->lents--;
	l->c->m->lent_bytes -= l->copied;
	free(l);
	k->lent = NULL;
}

void guard_end(struct ctrl *c, struct cmd *k)
{
	c->ended++;
	guard_free(k);
}

/* ---- who else may have written there ----------------------------------------------------------------------------------------- */

static bool overlaps(const struct span *v, unsigned n, uint64_t at, uint64_t len, unsigned *steps)
{
	for (unsigned i = 0; i < n; i++, ++*steps)
		if (ranges_overlap(v[i].at, v[i].len, at, len))
			return true;
	return false;
}

static bool may_write(const struct cmd *k, uint64_t at, uint64_t len, unsigned *steps)
{
	++*steps;
	if (k->dir == 'N' || k->dir == 'H')
		return false;
	return !k->bounded || !k->walked || overlaps(k->span, k->spans, at, len, steps) || overlaps(k->meta, k->metas, at, len, steps);
}

static bool out_may(struct ctrl *c, uint64_t at, uint64_t len, unsigned *steps)
{
	for (unsigned i = 0; i < c->sqs; i++)
		for (unsigned b = 0; c->sq[i] && c->sq[i]->out && b < CMD_BUCKETS; b++)
			LIST_EACH(&c->sq[i]->cmds[b], l)
				if (*steps > STEPS || may_write(LIST_ENTRY(l, struct cmd, link), at, len, steps))
					return true;
	return false;
}

/* Those that ended since. */
static bool ended_may(struct ctrl *c, const struct lent *l, uint64_t at, uint64_t len, unsigned *steps)
{
	uint64_t n = c->ended - l->ended;

	if (n > c->done_count)
		return true;
	for (struct list *it = c->done.prev; n && it != &c->done; it = it->prev, n--)
		if (*steps > STEPS || may_write(LIST_ENTRY(it, struct cmd, link), at, len, steps))
			return true;
	return false;
}

static bool queue_overlaps(const struct ctrl *c, uint64_t base, const uint64_t *page, uint64_t bytes, uint64_t at, uint64_t len, unsigned *steps)
{
	if (!page)
		return ranges_overlap(base, bytes, at, len);
	for (uint64_t i = 0; i < (bytes + c->page_bytes - 1) / c->page_bytes; i++, ++*steps)
		if (*steps > STEPS || ranges_overlap(page[i], c->page_bytes, at, len))
			return true;
	return false;
}

static bool queues_may(struct ctrl *c, uint64_t at, uint64_t len, unsigned *steps)
{
	for (unsigned i = 0; i < c->cqs; i++)
		if (c->cq[i] && queue_overlaps(c, c->cq[i]->base, c->cq[i]->page, (uint64_t)c->cq[i]->size * sizeof(struct nvme_cqe), at, len, steps))
			return true;
	LIST_EACH(&c->cdqs, l) {
		const struct cdq *q = LIST_ENTRY(l, struct cdq, link);

		if (q->lost || queue_overlaps(c, q->base, q->page, (uint64_t)q->slots * sizeof(struct nvme_lbamq), at, len, steps))
			return true;
	}
	return c->events && ranges_overlap(c->events, c->page_bytes, at, len);
}

static bool somebody_may(struct ctrl *c, const struct lent *l, uint64_t at, uint64_t len)
{
	unsigned steps = 0;

	return out_may(c, at, len, &steps) || ended_may(c, l, at, len, &steps) || queues_may(c, at, len, &steps) || steps > STEPS;
}

/* ---- comparing --------------------------------------------------------------------------------------------------------------- */

/* False: it cannot be told any more. */
static bool comparable(const struct lent *l)
{
	return l->maps == l->c->mem.gone && !l->c->mem.lost && ctrl_judged(l->c);
}

static bool differs(const struct lent *l, const struct block *b)
{
	const uint8_t *p = mem_at(&l->c->mem, b->at, b->len);

	if (!p)
		return false;
	return b->copy == UINT32_MAX ? XXH3_64bits(p, b->len) != b->sum : memcmp(p, l->copy + b->copy, b->len) != 0;
}

static void tell(struct ctrl *c, const struct lent *l, const struct block *b, uint64_t at, bool known, uint8_t was, uint8_t is, const char *when)
{
	const struct cmd *k = l->k;
	unsigned long long a = at;
	uint64_t uid;

	if (known)
		uid = mon_break(c, RULE_MEM_LENT, k->uid, "%s of %s, SQ %u, CID 0x%x: byte at 0x%llx is %02xh, was %02xh, %s", kind_name[b->kind], cmd_name(k),
				k->sq, k->cid, a, is, was, when);
	else
		uid = mon_break(c, RULE_MEM_LENT, k->uid, "%s of %s, SQ %u, CID 0x%x: one of the %u bytes at 0x%llx, %s", kind_name[b->kind], cmd_name(k),
				k->sq, k->cid, b->len, a, when);
	dma_nearest(c, at, uid);
}

/* The block differs, and that the host has not done it is certain. */
static void found(struct ctrl *c, struct lent *l, const struct block *b, const char *when)
{
	const uint8_t *p = mem_at(&c->mem, b->at, b->len), *was = b->copy == UINT32_MAX ? NULL : l->copy + b->copy;
	uint32_t i = 0;

	if (!p)
		return;
	while (was && i < b->len && p[i] == was[i])
		i++;
	if ((was && i == b->len) /* and was put back meanwhile */ || somebody_may(c, l, b->at + i, was ? 1 : b->len))
		c->m->n.lent_unsure++;
	else
		tell(c, l, b, b->at + i, was, was ? was[i] : 0, p[i], when);
}

/* Before completions are looked for: some of what is lent, in turn. */
void guard_look(struct ctrl *c)
{
	uint32_t bytes = 0;

	for (unsigned n = c->lents; n && bytes < LOOK_BYTES; n--) {
		struct lent *l = LIST_ENTRY(c->lent.next, struct lent, link);

		for (; l->next < l->n && bytes < LOOK_BYTES; l->next++) {
			bytes += l->block[l->next].len;
			if (l->odd < 0 && comparable(l) && differs(l, &l->block[l->next])) {
				l->odd = (int)l->next;
				c->odd = true;
			}
		}
		if (l->next < l->n)
			break;
		l->next = 0;
		list_del(&l->link);
		list_push(&c->lent, &l->link);
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE); /* a host that changed it had seen the completion, and so will we */
}

/* The slot is the host's again, or a host that submits more than fits has written over it. */
static bool passed(struct ctrl *c, const struct cmd *k)
{
	const struct msq *q = ctrl_sq(c, k->sq);
	const struct mcq *cq = q ? ctrl_cq(c, q->cqid) : NULL;

	return !cq || cq->lost || cq->new || q->passed >= k->nth || q->known - q->passed >= q->size;
}

/* And after: what differed and is still out. */
void guard_judge(struct ctrl *c)
{
	if (!c->odd)
		return;
	c->odd = false;
	LIST_EACH(&c->lent, it) {
		struct lent *l = LIST_ENTRY(it, struct lent, link);
		struct block *b = l->odd < 0 ? NULL : &l->block[l->odd];

		if (!b)
			continue;
		l->odd = -1;
		if (b->kind == ENTRY && passed(c, l->k)) {
			b->len = 0; /* the host's again */
			continue;
		}
		if (comparable(l))
			found(c, l, b, "while it is out");
		guard_free(l->k); /* once is enough */
	}
}

/* Has the client said anything that we have not dealt with? */
static bool client_spoke(const struct ctrl *c)
{
	LIST_EACH(&c->m->lanes, it) {
		const struct lane *l = LIST_ENTRY(it, struct lane, link);
		const struct half *h = &l->half[FROM_CLIENT];
		int unread = 0;

		if (l->c != c || !l->attached)
			continue;
		if (h->raw || h->sock.len != h->sock.done || ioctl(h->sock.fd, FIONREAD, &unread) || unread)
			return true;
	}
	return false;
}

void guard_done(struct ctrl *c, struct cmd *k)
{
	struct lent *l = k->lent;
	struct block *b = NULL;

	if (!l || c->m->cfg.guard != MONITOR_GUARD_ALL || !comparable(l))
		return;
	for (unsigned i = 0; i < l->n && !b; i++)
		if (l->block[i].kind != ENTRY && differs(l, &l->block[i]))
			b = &l->block[i];
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (b && client_spoke(c))
		c->m->n.lent_unsure++;
	else if (b)
		found(c, l, b, "when it has completed");
}
