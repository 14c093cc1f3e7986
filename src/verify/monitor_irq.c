/* Interrupts: the server signals descriptors of ours, and we signal the client's, so that each one is seen and timed. Called by
 * monitor_msg.c (DEVICE_SET_IRQS) and monitor.c (a descriptor was signalled).
 *
 * Only what is an eventfd is replaced: anything else goes on as it is, for the server to refuse. A vector whose old descriptor is
 * being replaced keeps it until the server has answered, because until then it may still signal it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "verify/monitor_in.h"

enum { IRQ_MSIX = 2 };

static bool like_eventfd(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && !(st.st_mode & S_IFMT);
}

static void binding_free(struct lane *l, struct binding *b)
{
	mon_unwatch(l->m, b->ours);
	close(b->ours);
	close(b->theirs);
	list_del(&b->link);
	l->binds--;
	free(b);
}

/* Takes *fd and leaves ours in its place. */
static void replace(struct lane *l, const struct pending *a, uint32_t vector, int *fd)
{
	struct binding *b;
	int ours, give;

	if (l->binds >= MON_VECTORS || !like_eventfd(*fd))
		return;
	b = calloc(1, sizeof(*b));
	ours = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	give = ours < 0 ? -1 : fcntl(ours, F_DUPFD_CLOEXEC, 0);
	if (!b || give < 0) {
		if (ours >= 0)
			close(ours);
		free(b);
		return;
	}
	/* A full counter must not stop us; the server would have done the same to it. */
	fcntl(*fd, F_SETFL, fcntl(*fd, F_GETFL) | O_NONBLOCK);
	*b = (struct binding){ .watch = { WATCH_IRQ, l }, .index = a->index, .vector = vector, .ours = ours, .theirs = *fd, .uid = a->uid };
	*fd = give;
	list_push(&l->bindings, &b->link);
	l->binds++;
	mon_watch(l->m, ours, &b->watch, true, false, true);
}

void irq_asked(struct lane *l, const struct pending *a, int *fds, unsigned nfds)
{
	struct vector *v = l->c->vec;

	for (uint32_t i = 0; a->index == IRQ_MSIX && i < a->count && a->start < MON_VECTORS && a->start + i < MON_VECTORS; i++) {
		v[a->start + i].allowed++; /* bound anew, fired by the client, unmasked: an older one may come, or a spare one */
		if (a->flags & VUSER_SET_UNMASK)
			v[a->start + i].masked = false;
	}
	if (a->flags != (VUSER_SET_TRIGGER | VUSER_SET_EVENTFD) || nfds != a->count)
		return;
	for (unsigned i = 0; i < nfds; i++)
		replace(l, a, a->start + i, &fds[i]);
}

/* ---- what an answer changes --------------------------------------------------------------------------------------------- */

static bool in_range(const struct pending *a, const struct binding *b)
{
	return b->index == a->index && b->vector - a->start < a->count;
}

static void mask_rec(struct lane *l, const struct pending *a, uint32_t vector, bool masked)
{
	struct rec r = mon_rec(l->c, REC_MASK, REC_BY_HOST);

	r.val = vector;
	r.status = masked;
	r.parent = a->uid;
	r.opc = (uint8_t)a->index;
	mon_put(l->m, &r);
}

static void answer_masks(struct lane *l, const struct pending *a)
{
	bool mask = a->flags & VUSER_SET_MASK;

	/* What was raised before the mask held is still on its way, and no fault. */
	irq_pump_all(l);
	for (uint32_t i = 0; i < a->count && i < MON_VECTORS; i++) {
		if (a->flags & VUSER_SET_BOOL && (!a->bools || !a->bools[i]))
			continue;
		mask_rec(l, a, a->start + i, mask);
		if (a->index == IRQ_MSIX && a->start < MON_VECTORS && a->start + i < MON_VECTORS)
			l->c->vec[a->start + i].masked = mask;
	}
}

void irq_answered(struct lane *l, const struct pending *a, bool ok)
{
	bool bind = a->flags == (VUSER_SET_TRIGGER | VUSER_SET_EVENTFD);
	bool all_off = a->flags == (VUSER_SET_TRIGGER | VUSER_SET_NONE) && !a->count;

	if (ok && a->flags & (VUSER_SET_MASK | VUSER_SET_UNMASK) && !(a->flags & VUSER_SET_EVENTFD))
		answer_masks(l, a);
	for (uint32_t i = 0; ok && all_off && a->index == IRQ_MSIX && i < MON_VECTORS; i++)
		l->c->vec[i].masked = false;
	LIST_EACH(&l->bindings, it) {
		struct binding *b = LIST_ENTRY(it, struct binding, link);
		bool this = b->uid == a->uid && !b->live && in_range(a, b);

		if (this && ok) {
			b->live = true;
		} else if (this || (ok && ((bind && in_range(a, b)) || (all_off && b->index == a->index)))) {
			irq_pump(b);
			binding_free(l, b);
		}
	}
}

/* ---- signals ------------------------------------------------------------------------------------------------------------- */

bool irq_pump(struct binding *b)
{
	struct lane *l = b->watch.lane;
	uint64_t n;

	if (read(b->ours, &n, sizeof(n)) != (ssize_t)sizeof(n))
		return false;
	ctrl_irq(l->c, b->index == IRQ_MSIX ? b->vector : UINT32_MAX, n);
	(void)!write(b->theirs, &n, sizeof(n)); /* full: an interrupt nobody has looked at yet */
	return true;
}

void irq_pump_all(struct lane *l)
{
	LIST_EACH(&l->bindings, it)
		irq_pump(LIST_ENTRY(it, struct binding, link));
}

void irq_close(struct lane *l)
{
	LIST_EACH(&l->bindings, it)
		binding_free(l, LIST_ENTRY(it, struct binding, link));
}
