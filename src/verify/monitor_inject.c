/* Faults in messages (inject.h, point MSG): after the model has seen a message and before its receiver does, on the bytes that wait to be sent.
 * What the monitor judges is therefore what was said, not what arrived. Called by monitor_flow.c.
 *
 * Descriptors ride on their own message: one that has some is not put behind another, and its double comes without them.
 */
#include <unistd.h>

#include "verify/monitor_in.h"

enum { ASIDE_NS = 100000000, MS = 1000000 };

static void drop_fds(struct vuser_sock *s, size_t start)
{
	while (s->out_fds && s->out_fd[s->out_fds - 1].start >= start)
		close(s->out_fd[--s->out_fds].fd);
}

static bool has_fds(const struct vuser_sock *s, size_t start) { return s->out_fds && s->out_fd[s->out_fds - 1].start >= start; }

static bool put_aside(struct lane *l, struct half *to, size_t start)
{
	if (has_fds(&to->sock, start) || to->aside.len)
		return false;
	buf_add(&to->aside, to->sock.out.data + start, to->sock.out.len - start);
	if (to->aside.failed)
		return false;
	to->sock.out.len = start;
	to->aside_ns = mon_now(l->m) + ASIDE_NS;
	return true;
}

static bool fetch_aside(struct half *to)
{
	if (!to->aside.len)
		return true;
	buf_add(&to->sock.out, to->aside.data, to->aside.len);
	to->aside.len = 0;
	to->aside_ns = 0;
	return !to->sock.out.failed;
}

static bool twice(struct half *to, size_t start)
{
	size_t len = to->sock.out.len - start;
	uint8_t *p;

	if (!buf_reserve(&to->sock.out, len)) /* the bytes may move: not by address */
		return false;
	p = to->sock.out.data + start;
	buf_add(&to->sock.out, p, len);
	return !to->sock.out.failed;
}

bool inject_message(struct lane *l, unsigned from, uint16_t cmd, size_t start)
{
	struct half *to = &l->half[!from];
	struct vuser_sock *s = &to->sock;
	struct inj_event ev = { .at = INJ_MSG, .ctrl = l->c->number, .what = cmd, .write = from == FROM_SERVER };
	struct inj_order o;

	if (!l->m->cfg.inj || s->out.len <= start)
		return true;
	ev.data = s->out.data + start;
	ev.len = (uint32_t)(s->out.len - start);
	o = inj_ask(l->m->cfg.inj, &ev);
	switch (o.act) {
	case INJ_DROP:
		drop_fds(s, start);
		s->out.len = start;
		return true;
	case INJ_DELAY: to->hold_ns = mon_now(l->m) + (uint64_t)MAX(o.turns, 1u) * MS; break;
	case INJ_DUPLICATE:
		if (!twice(to, start))
			return false;
		break;
	case INJ_REORDER:
		if (put_aside(l, to, start))
			return true;
		break;
	case INJ_CUT: /* its sender dies in the middle of it */
		drop_fds(s, start);
		s->out.len = start + (s->out.len - start) / 2;
		l->half[from].eof = l->half[from].cut = true;
		return true;
	case INJ_KILL:
		drop_fds(s, start);
		s->out.len = start;
		return false;
	default: break;
	}
	return fetch_aside(to);
}

/* What was held back long enough goes on. True: there is something to send. */
bool inject_tick(struct lane *l)
{
	uint64_t now = mon_now(l->m);
	bool any = false;

	for (unsigned i = 0; l->attached && i < 2; i++) {
		struct half *h = &l->half[i];

		if (h->hold_ns && now >= h->hold_ns) {
			h->hold_ns = 0;
			any = true;
		}
		if (h->aside_ns && now >= h->aside_ns)
			any |= fetch_aside(h);
	}
	return any;
}

void inject_forget(struct half *h) { buf_fini(&h->aside); }
