/* Interrupts: which eventfd stands for which vector, and DEVICE_SET_IRQS, row by row.
 *
 * Our devices raise MSI-X only. The other indices are kept as the protocol asks, and can be fired by the client itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/vuser_priv.h"

static bool signal_fd(struct vuser_server *s, int fd)
{
	uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));

	/* A full counter (EAGAIN) is an interrupt nobody has looked at yet: nothing is lost. */
	s->n.irqs += n == (ssize_t)sizeof(one);
	return true;
}

/* device.irq. False: the device keeps the vector pending, and hears irq_bound when that can change. */
static bool raise_msix(void *ctx, unsigned vector)
{
	struct vuser_server *s = ctx;
	struct vuser_irqs *q = &s->irq[DEV_IRQ_MSIX];

	if (vector >= q->count || q->fd[vector] < 0 || q->masked[vector])
		return false;
	return signal_fd(s, q->fd[vector]);
}

int vuser_irq_init(struct vuser_server *s)
{
	for (unsigned i = 0; i < DEV_IRQ_COUNT; i++) {
		struct vuser_irqs *q = &s->irq[i];

		q->count = s->dev->irq_count[i];
		if (!q->count)
			continue;
		q->fd = malloc(q->count * sizeof(*q->fd));
		q->masked = calloc(q->count, sizeof(*q->masked));
		if (!q->fd || !q->masked)
			return -ENOMEM;
		for (uint32_t v = 0; v < q->count; v++)
			q->fd[v] = -1;
	}
	return 0;
}

/* For each client anew: a device forgets whom it interrupts when its client leaves. */
void vuser_irq_attach(struct vuser_server *s)
{
	s->dev->irq = raise_msix;
	s->dev->irq_ctx = s;
}

static void unbind(struct vuser_irqs *q, uint32_t v)
{
	if (q->fd[v] >= 0)
		close(q->fd[v]);
	q->fd[v] = -1;
}

void vuser_irq_unbind_all(struct vuser_server *s)
{
	for (unsigned i = 0; i < DEV_IRQ_COUNT; i++)
		for (uint32_t v = 0; s->irq[i].fd && s->irq[i].masked && v < s->irq[i].count; v++) {
			unbind(&s->irq[i], v);
			s->irq[i].masked[v] = false;
		}
}

void vuser_irq_fini(struct vuser_server *s)
{
	vuser_irq_unbind_all(s);
	for (unsigned i = 0; i < DEV_IRQ_COUNT; i++) {
		free(s->irq[i].fd);
		free(s->irq[i].masked);
		s->irq[i] = (struct vuser_irqs){ 0 };
	}
	if (s->dev->irq_ctx == s) {
		s->dev->irq = NULL;
		s->dev->irq_ctx = NULL;
	}
}

int vuser_cmd_irq_info(struct vuser_server *s, struct vuser_request *r)
{
	struct vuser_irq_info i;
	uint32_t index, flags = VUSER_IRQ_EVENTFD;
	uint8_t *out;

	memcpy(&i, r->m.payload, sizeof(i));
	index = le32_get(i.index);
	if (le32_get(i.argsz) < sizeof(i) || index >= DEV_IRQ_COUNT)
		return -EINVAL;
	/* Never NORESIZE: QEMU would tear down and set up all vectors for each one the guest begins to use. */
	if (index == DEV_IRQ_INTX)
		flags |= VUSER_IRQ_MASKABLE | VUSER_IRQ_AUTOMASKED;
	out = vuser_reply(s, r, sizeof(i));
	if (!out)
		return -ENOMEM;
	i = (struct vuser_irq_info){ .argsz = le32_of(sizeof(i)), .flags = le32_of(s->irq[index].count ? flags : 0),
				     .index = le32_of(index), .count = le32_of(s->irq[index].count) };
	memcpy(out, &i, sizeof(i));
	return 0;
}

/* ---- SET_IRQS ------------------------------------------------------------------------------------------------ */

struct set {				/* one judged request */
	struct vuser_request *r;
	struct vuser_irqs *q;
	uint32_t index, start, count;
	const uint8_t *bools;		/* NULL: all */
};

static void tell_bound(struct vuser_server *s, struct set *t, uint32_t v)
{
	if (t->index == DEV_IRQ_MSIX)
		s->dev->ops->irq_bound(s->dev, v);
}

/* Only an eventfd (or another kernel object without a type) may stand for a vector: a write to anybody's pipe, file or socket
 * could block or kill us. Non-blocking, because a full counter must not stop us either. */
static int judge_eventfd(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) || (st.st_mode & S_IFMT))
		return -EINVAL;
	return flags & O_NONBLOCK || !fcntl(fd, F_SETFL, flags | O_NONBLOCK) ? 0 : -EINVAL;
}

static int set_bind(struct vuser_server *s, struct set *t)
{
	for (unsigned i = 0; i < t->r->nfds; i++)
		if (judge_eventfd(t->r->fds[i]))
			return -EINVAL;
	for (uint32_t i = 0; i < t->count; i++) {
		unbind(t->q, t->start + i);
		if (!t->r->nfds)
			continue;
		t->q->fd[t->start + i] = t->r->fds[i];
		t->r->fds[i] = -1;
		tell_bound(s, t, t->start + i);
	}
	return 0;
}

static int set_disable(struct vuser_server *s, struct set *t)
{
	(void)s;
	for (uint32_t v = 0; v < t->q->count; v++) {
		unbind(t->q, v);
		t->q->masked[v] = false;
	}
	return 0;
}

static int set_fire(struct vuser_server *s, struct set *t)
{
	if (!t->count)
		return t->start ? -EINVAL : set_disable(s, t);
	for (uint32_t i = 0; i < t->count; i++)
		if ((!t->bools || t->bools[i]) && t->q->fd[t->start + i] >= 0)
			signal_fd(s, t->q->fd[t->start + i]);
	return 0;
}

static int set_mask(struct vuser_server *s, struct set *t)
{
	(void)s;
	for (uint32_t i = 0; i < t->count; i++)
		if (!t->bools || t->bools[i])
			t->q->masked[t->start + i] = true;
	return 0;
}

static int set_unmask(struct vuser_server *s, struct set *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (!t->bools || t->bools[i]) {
			t->q->masked[t->start + i] = false;
			tell_bound(s, t, t->start + i);
		}
	return 0;
}

/* An eventfd by which the client would mask or unmask without a message (INTx resampling). No device of ours raises INTx, so
 * there would be nothing to mask: taken and closed. */
static int set_mask_fd(struct vuser_server *s, struct set *t)
{
	(void)s;
	return t->r->nfds == t->count ? 0 : -EINVAL;
}

static const struct row {
	uint32_t flags;
	bool none_ok;		/* count 0 is legal */
	bool fds;		/* takes count descriptors (or none) */
	bool no_err_req;	/* not for ERR and REQ */
	int (*run)(struct vuser_server *, struct set *);
} rows[] = {
	{ VUSER_SET_TRIGGER | VUSER_SET_EVENTFD, false, true, false, set_bind },
	{ VUSER_SET_TRIGGER | VUSER_SET_NONE, true, false, false, set_fire },
	{ VUSER_SET_TRIGGER | VUSER_SET_BOOL, false, false, false, set_fire },
	{ VUSER_SET_MASK | VUSER_SET_NONE, false, false, true, set_mask },
	{ VUSER_SET_MASK | VUSER_SET_BOOL, false, false, true, set_mask },
	{ VUSER_SET_UNMASK | VUSER_SET_NONE, false, false, true, set_unmask },
	{ VUSER_SET_UNMASK | VUSER_SET_BOOL, false, false, true, set_unmask },
	{ VUSER_SET_MASK | VUSER_SET_EVENTFD, false, true, true, set_mask_fd },
	{ VUSER_SET_UNMASK | VUSER_SET_EVENTFD, false, true, true, set_mask_fd },
};

static int judge_set(const struct row *w, const struct set *t, size_t bools)
{
	if (!range_inside(t->start, t->count, t->q->count) || (!t->count && !w->none_ok))
		return -EINVAL;
	if (t->r->nfds && (!w->fds || t->r->nfds != t->count))
		return -EINVAL;
	if (w->no_err_req && (t->index == DEV_IRQ_ERR || t->index == DEV_IRQ_REQ))
		return -EINVAL;
	return t->bools && bools < t->count ? -EINVAL : 0;
}

int vuser_cmd_set_irqs(struct vuser_server *s, struct vuser_request *r)
{
	struct vuser_irq_set i;
	const struct row *w = rows;
	struct set t;
	int rc;

	memcpy(&i, r->m.payload, sizeof(i));
	while (w < rows + ARRAY_LEN(rows) && w->flags != le32_get(i.flags))
		w++;
	t = (struct set){ .r = r, .index = le32_get(i.index), .start = le32_get(i.start), .count = le32_get(i.count) };
	if (w == rows + ARRAY_LEN(rows) || le32_get(i.argsz) < sizeof(i) || t.index >= DEV_IRQ_COUNT)
		return -EINVAL;
	t.q = &s->irq[t.index];
	t.bools = w->flags & VUSER_SET_BOOL ? r->m.payload + sizeof(i) : NULL;
	rc = judge_set(w, &t, vuser_payload_bytes(&r->m) - sizeof(i));
	rc = rc ? rc : w->run(s, &t);
	if (rc)
		return rc;
	return vuser_reply(s, r, 0) ? 0 : -ENOMEM;
}
