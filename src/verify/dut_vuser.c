/* The vfio-user back end: each controller is a socket of any server. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "host/port_vuser.h"
#include "verify/dut.h"

enum { MSIX_INDEX = 2, VECTORS = 16 };

static uint64_t irqs(struct dut_ctrl *c, unsigned vector)
{
	uint64_t n = 0;

	if (vector >= c->irq_fds || read(c->irq_fd[vector], &n, sizeof(n)) != sizeof(n))
		return 0;
	return n;
}

/* Interrupts are welcome, not needed: a server without MSI-X is driven by looking at the queues. */
static bool bind_irqs(struct dut_ctrl *c)
{
	uint32_t flags = 0, count = 0;

	if (vuser_client_irq_info(port_vuser_client(c->port), MSIX_INDEX, &flags, &count) || !count)
		return false;
	for (; c->irq_fds < MIN(count, (uint32_t)VECTORS); c->irq_fds++) {
		c->irq_fd[c->irq_fds] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (c->irq_fd[c->irq_fds] < 0)
			return false;
	}
	return !vuser_client_irq_bind(port_vuser_client(c->port), MSIX_INDEX, 0, c->irq_fd, c->irq_fds);
}

/* The server may still be busy with the end of the client before: the socket is asked until it takes the next one. */
static int again(struct dut_ctrl *c, struct err *err)
{
	enum { TRIES = 5000, NAP_NS = 2000000 };
	struct timespec nap = { 0, NAP_NS };

	c->port->ops->close(c->port);
	for (c->port = NULL; c->irq_fds; c->irq_fds--)
		close(c->irq_fd[c->irq_fds - 1]);
	for (unsigned i = 0; i < TRIES && !(c->port = port_vuser_new(c->path, NULL, NULL, err)); i++)
		nanosleep(&nap, NULL);
	if (!c->port)
		return -ENODEV;
	bind_irqs(c);
	return 0;
}

static void close_all(struct dut *d)
{
	for (unsigned i = 0; i < d->ctrls; i++) {
		struct dut_ctrl *c = &d->ctrl[i];

		if (c->port)
			c->port->ops->close(c->port);
		for (unsigned k = 0; k < c->irq_fds; k++)
			if (c->irq_fd[k] >= 0)
				close(c->irq_fd[k]);
	}
}

int dut_vuser_open(struct dut *d, const char *const *paths, unsigned count, struct err *err)
{
	bool irq = true;

	*d = (struct dut){ .backend = "vfio-user", .close = close_all };
	snprintf(d->about, sizeof(d->about), "vfio-user, %u sockets", count);
	if (!count || count > DUT_CTRLS)
		return err_set(err, -EINVAL, "give 1 to %d sockets", DUT_CTRLS);
	for (; d->ctrls < count; d->ctrls++) {
		struct dut_ctrl *c = &d->ctrl[d->ctrls];
		const char *name = strrchr(paths[d->ctrls], '/');

		snprintf(c->name, sizeof(c->name), "%s", name ? name + 1 : paths[d->ctrls]);
		snprintf(c->path, sizeof(c->path), "%s", paths[d->ctrls]);
		c->port = port_vuser_new(paths[d->ctrls], NULL, NULL, err);
		if (!c->port) {
			dut_close(d);
			return -ENODEV;
		}
		c->irqs = irqs;
		c->again = again;
		irq &= bind_irqs(c);
	}
	d->caps = DUT_MEM | DUT_REGS | DUT_FLR | DUT_DESTROY | DUT_RIGHTS | (irq ? DUT_IRQ : 0);
	return 0;
}
