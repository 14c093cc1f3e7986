/* One vfio-user message: recorded, understood, changed where we must be in the way, put into the other socket. Called by
 * monitor_flow.c. Every length is judged here; a message we cannot understand is still passed on, for its receiver to judge.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "verify/monitor_in.h"

struct msg {					/* what is looked at, and what goes on */
	struct lane *l;
	unsigned from;
	const struct vuser_msg *m;
	const uint8_t *p;			/* payload */
	size_t len;
	uint8_t *out;				/* its copy on the way; may be shortened */
	size_t out_len;
	int *fds;
	unsigned nfds;
	struct pending *ask;			/* of a command: its own entry; of a reply: what it answers, NULL nothing known */
};

/* ---- who waits for what ----------------------------------------------------------------------------------------------- */

static struct pending *pending_push(struct half *h, const struct vuser_msg *m)
{
	struct pending *p;

	if (!h->pend)
		h->pend = calloc(MON_PENDING, sizeof(*h->pend));
	if (!h->pend || h->count == MON_PENDING) {
		h->forgot = true;
		return NULL;
	}
	p = &h->pend[(h->first + h->count++) % MON_PENDING];
	*p = (struct pending){ .id = m->id, .cmd = m->cmd, .fd = -1 };
	return p;
}

static struct pending *pending_at(struct half *h, unsigned i) { return &h->pend[(h->first + i) % MON_PENDING]; }

/* Ids may repeat (one client always says 0): the oldest with that id and command. -1: none. */
static int pending_find(struct half *h, const struct vuser_msg *m)
{
	for (unsigned i = 0; i < h->count; i++)
		if (pending_at(h, i)->id == m->id && pending_at(h, i)->cmd == m->cmd)
			return (int)i;
	return -1;
}

static void pending_drop(struct half *h, unsigned at)
{
	free(pending_at(h, at)->bools);
	if (pending_at(h, at)->fd >= 0)
		close(pending_at(h, at)->fd);
	for (unsigned i = at; i > 0; i--)
		*pending_at(h, i) = *pending_at(h, i - 1);
	h->first = (h->first + 1) % MON_PENDING;
	h->count--;
}

void msg_forget(struct half *h)
{
	while (h->count)
		pending_drop(h, 0);
	free(h->pend);
	h->pend = NULL;
}

/* ---- commands ---------------------------------------------------------------------------------------------------------- */

#define TAKE(s, v) ((s)->len >= sizeof(v) && (memcpy(&(v), (s)->p, sizeof(v)), true))

static bool add_map(struct msg *s, int fd)
{
	const struct pending *a = s->ask;

	return mem_add(&s->l->c->mem, a->addr, a->size, a->offset, a->flags & VUSER_MAP_READ, a->flags & VUSER_MAP_WRITE, fd);
}

static void ask_map(struct msg *s)
{
	struct vuser_dma_map a;
	uint32_t flags;

	if (!TAKE(s, a))
		return;
	flags = le32_get(a.flags);
	s->ask->addr = le64_get(a.addr);
	s->ask->size = le64_get(a.size);
	s->ask->flags = flags;
	s->ask->offset = le64_get(a.offset);
	s->ask->undo = add_map(s, s->nfds == 1 ? s->fds[0] : -1);
	/* A client may take memory away and give it anew without waiting between the two. */
	if (!s->ask->undo && s->nfds == 1)
		s->ask->fd = fcntl(s->fds[0], F_DUPFD_CLOEXEC, 0);
	if (!s->l->c->message || !s->nfds)
		return;
	/* Without a descriptor, and without the flags that say how to use one, the server asks for each byte. */
	a.flags = le32_of(flags & (VUSER_MAP_READ | VUSER_MAP_WRITE));
	a.offset = le64_of(0);
	memcpy(s->out, &a, sizeof(a));
	s->nfds = 0;
}

static void ask_unmap(struct msg *s)
{
	struct vuser_dma_unmap a;

	if (!TAKE(s, a))
		return;
	s->ask->addr = le64_get(a.addr);
	s->ask->size = le64_get(a.size);
	s->ask->flags = le32_get(a.flags);
	if (s->ask->flags & VUSER_UNMAP_ALL)
		track_forget(s->l->c);
	else
		track_unmapped(s->l->c, s->ask->addr, s->ask->size);
}

static void ask_set_irqs(struct msg *s)
{
	struct vuser_irq_set a;

	if (!TAKE(s, a))
		return;
	s->ask->index = le32_get(a.index);
	s->ask->start = le32_get(a.start);
	s->ask->count = le32_get(a.count);
	s->ask->flags = le32_get(a.flags);
	if (s->ask->flags & VUSER_SET_BOOL && s->ask->count <= MON_VECTORS && s->len - sizeof(a) >= s->ask->count) {
		s->ask->bools = malloc(s->ask->count + 1);
		if (s->ask->bools)
			memcpy(s->ask->bools, s->p + sizeof(a), s->ask->count);
	}
	irq_asked(s->l, s->ask, s->fds, s->nfds);
}

static void ask_access(struct msg *s)
{
	struct vuser_region_access a;

	if (!TAKE(s, a))
		return;
	s->ask->addr = le64_get(a.offset);
	s->ask->region = le32_get(a.region);
	s->ask->size = le32_get(a.count);
	if (s->m->cmd == VUSER_REGION_WRITE && s->len - sizeof(a) == le32_get(a.count))
		reg_written(s->l, s->ask->region, s->ask->addr, s->p + sizeof(a), le32_get(a.count));
}

static void ask_write_multi(struct msg *s)
{
	size_t at = sizeof(struct vuser_write_multi);
	struct vuser_write_one w;

	for (; s->len >= at + sizeof(w); at += sizeof(w)) {
		memcpy(&w, s->p + at, sizeof(w));
		if (le32_get(w.count) <= sizeof(w.data))
			reg_written(s->l, le32_get(w.region), le64_get(w.offset), w.data, le32_get(w.count));
	}
}

static void ask_dma(struct msg *s)
{
	bool write = s->m->cmd == VUSER_DMA_WRITE;
	struct vuser_dma_access a;

	if (!TAKE(s, a))
		return;
	s->ask->addr = le64_get(a.addr);
	s->ask->size = le64_get(a.count);
	if (!mem_covers(&s->l->c->mem, s->ask->addr, s->ask->size, write))
		mon_break(s->l->c, RULE_VU_UNMAPPED, s->ask->uid, "%s of %llu bytes at 0x%llx", write ? "DMA_WRITE" : "DMA_READ",
			  (unsigned long long)s->ask->size, (unsigned long long)s->ask->addr);
	else if (!write)
		dma_read_asked(s->l->c, s->ask->addr, s->ask->size);
	else if (s->len - sizeof(a) == s->ask->size)
		dma_written(s->l->c, s->ask->addr, s->p + sizeof(a), s->ask->size);
}

static void ask_reset(struct msg *s) { ctrl_reset(s->l->c, false); }

/* ---- replies ------------------------------------------------------------------------------------------------------------ */

static bool good(const struct msg *s) { return !(s->m->flags & VUSER_ERROR); }

static void answer_map(struct msg *s)
{
	if (good(s) && !s->ask->undo)
		add_map(s, s->ask->fd); /* what was in its way is gone now; or it is the same again */
	else if (!good(s) && s->ask->undo)
		mem_del(&s->l->c->mem, s->ask->addr, s->ask->size);
}

static void answer_unmap(struct msg *s)
{
	if (good(s) && s->ask->flags & VUSER_UNMAP_ALL)
		mem_fini(&s->l->c->mem);
	else if (good(s))
		mem_del(&s->l->c->mem, s->ask->addr, s->ask->size);
}

/* True if the capabilities are the sparse areas and nothing else, so that they can go with them. */
static bool only_sparse(const struct msg *s, const struct vuser_region_info *i)
{
	uint32_t at = le32_get(i->cap_offset);

	for (unsigned n = 0; at && n < 8; n++) {
		struct vuser_cap_sparse c; /* every capability begins like it */

		if (!range_inside(at, 8, s->len))
			return false;
		memcpy(&c, s->p + at, 8);
		if (le16_get(c.id) != VUSER_CAP_SPARSE_MMAP)
			return false;
		at = le32_get(c.next);
	}
	return !at;
}

/* A page that both sides map is one in which nobody sees doorbells. */
static void answer_region_info(struct msg *s)
{
	struct vuser_region_info i;

	if (!good(s) || !TAKE(s, i) || !(le32_get(i.flags) & VUSER_REGION_F_MMAP))
		return;
	if (s->l->m->cfg.keep_mmap) {
		s->l->c->mapped = s->l->c->blurred = true;
		return;
	}
	if (only_sparse(s, &i)) {
		i.flags = le32_of(le32_get(i.flags) & ~(uint32_t)(VUSER_REGION_F_MMAP | VUSER_REGION_F_CAPS));
		i.argsz = le32_of(sizeof(i));
		i.cap_offset = le32_of(0);
		s->out_len = sizeof(i);
	} else {
		i.flags = le32_of(le32_get(i.flags) & ~(uint32_t)VUSER_REGION_F_MMAP);
	}
	memcpy(s->out, &i, sizeof(i));
	s->nfds = 0;
}

static void answer_set_irqs(struct msg *s) { irq_answered(s->l, s->ask, good(s)); }

static void answer_read(struct msg *s)
{
	struct vuser_region_access a;

	if (good(s) && TAKE(s, a) && s->len - sizeof(a) >= s->ask->size)
		reg_read(s->l, s->ask->region, s->ask->addr, s->p + sizeof(a), (uint32_t)s->ask->size);
}

static void answer_dma_read(struct msg *s)
{
	struct vuser_dma_access a;

	if (good(s) && TAKE(s, a) && s->len - sizeof(a) >= s->ask->size)
		dma_read_done(s->l->c, s->ask->addr, s->p + sizeof(a), s->ask->size);
}

static void answer_dma_write(struct msg *s) { track_arrived(s->l->c, s->ask->addr, s->ask->size, good(s)); }

/* ---- the table ----------------------------------------------------------------------------------------------------------- */

static const struct row {
	uint16_t cmd;
	void (*ask)(struct msg *);
	void (*answer)(struct msg *);
} rows[] = {
	{ VUSER_DMA_MAP, ask_map, answer_map },
	{ VUSER_DMA_UNMAP, ask_unmap, answer_unmap },
	{ VUSER_DEVICE_GET_REGION_INFO, NULL, answer_region_info },
	{ VUSER_DEVICE_SET_IRQS, ask_set_irqs, answer_set_irqs },
	{ VUSER_REGION_READ, ask_access, answer_read },
	{ VUSER_REGION_WRITE, ask_access, NULL },
	{ VUSER_REGION_WRITE_MULTI, ask_write_multi, NULL },
	{ VUSER_DMA_READ, ask_dma, answer_dma_read },
	{ VUSER_DMA_WRITE, ask_dma, answer_dma_write },
	{ VUSER_DEVICE_RESET, ask_reset, NULL },
};

static const struct row *row_of(uint16_t cmd)
{
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].cmd == cmd)
			return &rows[i];
	return NULL;
}

static bool bulk(uint16_t cmd)
{
	return cmd == VUSER_DMA_READ || cmd == VUSER_DMA_WRITE || cmd == VUSER_MIG_DATA_READ || cmd == VUSER_MIG_DATA_WRITE;
}

static uint64_t record(struct msg *s, uint64_t parent)
{
	struct rec r = mon_rec(s->l->c, REC_VFIO_MSG, s->from == FROM_CLIENT ? REC_BY_HOST : REC_BY_DEV);
	struct vuser_hdr h = vuser_hdr_of(s->m->id, s->m->cmd, s->m->size, s->m->flags, s->m->error);
	uint8_t raw[REC_RAW_MAX];
	size_t n = MIN(s->len, sizeof(raw) - sizeof(h));

	if (bulk(s->m->cmd))
		n = MIN(n, sizeof(struct vuser_dma_access) + s->l->m->cfg.raw_bytes);
	memcpy(raw, &h, sizeof(h));
	memcpy(raw + sizeof(h), s->p, n);
	r.raw = raw;
	r.raw_len = (uint32_t)(sizeof(h) + n);
	r.opc = (uint8_t)s->m->cmd;
	r.val = s->m->flags | (uint64_t)s->nfds << 32;
	r.len = s->m->size;
	r.status = s->m->flags & VUSER_ERROR ? s->m->error : REC_STATUS_NONE;
	r.msg_id = s->m->id;
	r.parent = parent;
	return mon_put(s->l->m, &r);
}

static void command(struct msg *s)
{
	struct half *h = &s->l->half[s->from];
	bool no_reply = s->m->flags & VUSER_NO_REPLY;
	const struct row *w = row_of(s->m->cmd);
	struct pending local = { .id = s->m->id, .cmd = s->m->cmd, .fd = -1 };

	s->ask = no_reply ? NULL : pending_push(h, s->m);
	s->ask = s->ask ? s->ask : &local;
	s->ask->uid = s->l->m->msg_uid = record(s, 0);
	s->ask->born = ++s->l->m->clock;
	/* What the host says may follow from what the controller has put into memory: that comes first. */
	if (s->from == FROM_CLIENT)
		mon_scan(s->l->m);
	if (w && w->ask)
		w->ask(s);
	if (no_reply && w && w->answer && s->m->cmd != VUSER_DMA_READ && s->m->cmd != VUSER_REGION_READ)
		w->answer(s); /* nobody will say that it worked, so it is taken to have */
	if (s->ask == &local)
		free(local.bools);
	if (s->ask == &local && local.fd >= 0)
		close(local.fd);
}

static void reply(struct msg *s)
{
	struct half *asker = &s->l->half[!s->from];
	const struct row *w = row_of(s->m->cmd);
	int at = asker->pend ? pending_find(asker, s->m) : -1;

	s->ask = at < 0 ? NULL : pending_at(asker, (unsigned)at);
	s->l->m->msg_uid = record(s, s->ask ? s->ask->uid : 0);
	if (at < 0) {
		if (!asker->forgot)
			mon_break(s->l->c, RULE_VU_REPLY, s->l->m->msg_uid, "%s, id %u", vuser_command_name(s->m->cmd), s->m->id);
		return;
	}
	if (s->from == FROM_SERVER)
		ctrl_heard(s->l->c, s->ask->born);
	if (w && w->answer)
		w->answer(s);
	pending_drop(asker, (unsigned)at);
}

bool msg_pass(struct lane *l, unsigned from, const struct vuser_msg *m, int *fds, unsigned nfds)
{
	struct vuser_sock *to = &l->half[!from].sock;
	size_t len = vuser_payload_bytes(m);
	struct msg s = { .l = l, .from = from, .m = m, .p = m->payload, .len = len, .out_len = len, .fds = fds, .nfds = nfds };

	s.out = vuser_sock_put(to, m->id, m->cmd, m->flags, m->error, len);
	if (!s.out)
		return false;
	memcpy(s.out, m->payload, len);
	l->m->msg_id = m->id;
	if ((m->flags & VUSER_TYPE_MASK) == VUSER_TYPE_COMMAND)
		command(&s);
	else
		reply(&s);
	l->m->msg_id = REC_STATUS_NONE;
	l->m->msg_uid = 0;
	if (s.out_len < len) { /* shortened: the header says so */
		le32 size = le32_of((uint32_t)(sizeof(struct vuser_hdr) + s.out_len));

		memcpy(s.out - sizeof(struct vuser_hdr) + offsetof(struct vuser_hdr, size), &size, sizeof(size));
		to->out.len -= len - s.out_len;
	}
	return !s.nfds || !vuser_sock_put_fds(to, fds, s.nfds, s.out_len);
}
