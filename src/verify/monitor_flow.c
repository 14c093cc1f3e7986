/* Messages from one socket to the other, whole, in order, with their descriptors. Called by monitor.c when a socket has something.
 *
 * A sender whose receiver does not keep up is not read any further. Whoever leaves gets its last words delivered, for a while. A stream
 * that cannot be cut into messages is passed on as bytes, so that its receiver meets exactly what it would have met without us.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "verify/monitor_in.h"

enum { READS = 16 };

static void rewatch(struct lane *l, unsigned which)
{
	struct half *h = &l->half[which], *o = &l->half[!which];
	bool in = !h->eof && vuser_sock_waiting(&o->sock) < MON_BACKLOG && o->sock.out_fds <= VUSER_SOCK_OUT_FDS - MON_FDS;
	bool out = vuser_sock_waiting(&h->sock) > 0 && !h->hold_ns;

	if (h->eof) { /* a socket whose other end is closed would report that for ever */
		mon_unwatch(l->m, h->sock.fd);
		return;
	}
	if (h->parked && in) {
		h->parked = false;
		l->linger_ns = 0; /* its receiver moves after all */
		mon_watch(l->m, h->sock.fd, &h->watch, in, out, true);
	}
	if (h->parked || (in == !h->no_in && out == h->want_out))
		return;
	h->no_in = !in;
	h->want_out = out;
	mon_watch(l->m, h->sock.fd, &h->watch, in, out, false);
}

/* Whom we do not read, because its receiver is slow, and who then goes away, would be reported for ever. */
void flow_hung_up(struct lane *l, unsigned which)
{
	struct half *h = &l->half[which];

	if (!l->attached || h->eof || !h->no_in || h->parked)
		return;
	h->parked = true;
	mon_unwatch(l->m, h->sock.fd);
	if (!l->linger_ns)
		l->linger_ns = mon_now(l->m) + MON_LINGER_NS;
}

void flow_end(struct lane *l)
{
	if (!l->attached)
		return;
	l->attached = false;
	l->linger_ns = 0;
	irq_close(l);
	for (unsigned i = 0; i < 2; i++) {
		struct half *h = &l->half[i];

		mon_unwatch(l->m, h->sock.fd);
		vuser_sock_fini(&h->sock);
		msg_forget(h);
		inject_forget(h);
		*h = (struct half){ .sock.fd = -1 };
	}
	/* What the server does with the state meanwhile, and who comes next with it, we cannot know. */
	mem_fini(&l->c->mem);
	l->c->mapped = false;
	ctrl_reset(l->c, false);
	mon_lane_listen(l, true);
}

static void flush(struct lane *l, unsigned which)
{
	struct half *h = &l->half[which];
	int rc = h->hold_ns ? 0 : vuser_sock_flush(&h->sock);

	if (!rc || rc == -EAGAIN)
		return;
	h->eof = true; /* it takes nothing more; what it said before may still be there, but nobody will answer */
	buf_drop_front(&h->sock.out, h->sock.out.len);
	h->sock.sent = 0;
}

/* Somebody left: the session ends when the other has got what was said. */
static bool ended(struct lane *l)
{
	bool eof[2] = { l->half[0].eof, l->half[1].eof };

	if (!eof[0] && !eof[1])
		return false;
	if (!l->linger_ns)
		l->linger_ns = mon_now(l->m) + MON_LINGER_NS;
	for (unsigned i = 0; i < 2; i++)
		if (!eof[i] && vuser_sock_waiting(&l->half[i].sock))
			return false;
	flow_end(l);
	return true;
}

/* ---- one direction ---------------------------------------------------------------------------------------------------- */

static bool pass_raw(struct lane *l, unsigned from)
{
	struct half *h = &l->half[from], *o = &l->half[!from];
	size_t n = h->sock.len - h->sock.done;
	int fds[MON_FDS];
	unsigned nfds = vuser_sock_take_fds(&h->sock, h->sock.done, (uint32_t)n, fds, MON_FDS);
	bool ok;

	buf_add(&o->sock.out, h->sock.in + h->sock.done, n);
	/* put_fds counts back from the end: header plus payload is all of it, also when it is shorter than a header. */
	ok = !o->sock.out.failed && (!nfds || !vuser_sock_put_fds(&o->sock, fds, nfds, n - sizeof(struct vuser_hdr)));
	for (unsigned i = 0; i < nfds; i++)
		close(fds[i]);
	vuser_sock_consume(&h->sock, h->sock.len);
	l->m->n.bytes += n;
	return ok;
}

static bool pass_one(struct lane *l, unsigned from, const struct vuser_msg *m)
{
	struct half *h = &l->half[from];
	int fds[MON_FDS];
	unsigned nfds = vuser_sock_take_fds(&h->sock, h->sock.done, m->size, fds, MON_FDS);
	size_t start = l->half[!from].sock.out.len;
	bool ok;

	l->m->n.messages++;
	l->m->n.bytes += m->size;
	l->m->n.fds += nfds;
	l->c->older = from == FROM_SERVER && h->sock.base + h->sock.done < h->older;
	l->c->doubt = from == FROM_SERVER && h->sock.base + h->sock.done < h->told;
	ok = msg_pass(l, from, m, fds, nfds) && inject_message(l, from, m->cmd, start);
	l->c->older = l->c->doubt = false;
	for (unsigned i = 0; i < nfds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	vuser_sock_consume(&h->sock, h->sock.done + m->size);
	return ok;
}

static bool pass_all(struct lane *l, unsigned from)
{
	struct half *h = &l->half[from], *o = &l->half[!from];
	struct vuser_msg m;
	int rc = 0;

	while (!h->raw && !h->cut && o->sock.out_fds <= VUSER_SOCK_OUT_FDS - MON_FDS && (rc = vuser_sock_peek(&h->sock, h->sock.done, &m)) == 1)
		if (!pass_one(l, from, &m))
			return false;
	if (rc == -EPROTO) {
		h->raw = true;
		ctrl_reset(l->c, false);
		mon_break(l->c, RULE_VU_FRAMING, 0, "%s: what stands at offset %llu is no message; from here on bytes pass unread",
			  from == FROM_CLIENT ? "client" : "server", (unsigned long long)(h->sock.base + h->sock.done));
	}
	return h->cut || !h->raw || h->sock.len == h->sock.done || pass_raw(l, from);
}

static bool pump_in(struct lane *l, unsigned from)
{
	struct half *h = &l->half[from], *o = &l->half[!from];
	bool any = false;

	for (unsigned i = 0; i < READS && !h->eof && vuser_sock_waiting(&o->sock) < MON_BACKLOG; i++) {
		ssize_t n = vuser_sock_fill(&h->sock);

		if (n == -EAGAIN || n == -ENOBUFS)
			break;
		any = true;
		if (n <= 0)
			h->eof = true;
		if (!pass_all(l, from)) {
			h->eof = o->eof = true;
			break;
		}
		flush(l, !from);
	}
	return any;
}

bool flow_pump(struct lane *l, unsigned from)
{
	bool any;

	if (!l->attached)
		return false;
	l->busy = true;
	flush(l, from);
	any = pass_all(l, from) && pump_in(l, from);
	flush(l, !from);
	l->busy = false;
	if (ended(l))
		return true;
	rewatch(l, FROM_CLIENT);
	rewatch(l, FROM_SERVER);
	return any;
}

void flow_tick(struct lane *l)
{
	if (!inject_tick(l))
		return;
	flow_pump(l, FROM_CLIENT);
	flow_pump(l, FROM_SERVER);
}

/* Where what the server has said so far ends, read or not. */
static uint64_t said(const struct half *h)
{
	int unread = 0;

	ioctl(h->sock.fd, FIONREAD, &unread);
	return h->sock.base + h->sock.len + (uint64_t)MAX(unread, 0);
}

void flow_mark(struct lane *l)
{
	if (!l->attached)
		return;
	l->half[FROM_SERVER].older = said(&l->half[FROM_SERVER]);
	irq_pump_all(l);
}

void flow_told(struct lane *l)
{
	if (l->attached)
		l->half[FROM_SERVER].told = said(&l->half[FROM_SERVER]);
}

bool flow_caught_up(const struct lane *l)
{
	const struct half *h = &l->half[FROM_SERVER];

	return !l->attached || h->sock.base + h->sock.done >= h->older;
}
