/* A VMM that dies and the one that is started in its place: the second client of a real controller's socket. One thread. */
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hmlm.h"
#include "spec/vfio_user.h"
#include "transport/vuser_client.h"
#include "transport/vuser_server.h"

static void idle(void *ctx) { vuser_server_poll(ctx); }

static struct vuser_client *client(struct vuser_server *s)
{
	struct vuser_client *c;
	struct err err = { "" };
	int sp[2];

	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sp), 0);
	EXPECT_EQ(vuser_server_adopt(s, sp[0]), 0);
	c = vuser_client_adopt(sp[1], idle, s, &err);
	EXPECT_STR(err.text, "");
	return c;
}

/* vfio-user, disconnect: the device's state stays and another client may come. It gets interrupts as the first one did; its driver
 * would wait for every completion in vain. */
TEST(the_second_client_gets_interrupts)
{
	RIG(r, .disabled = true);
	struct device *d = nvme_ctrl_device(r.mc);
	struct vuser_server *s = vuser_server_new(NULL, d, &(struct vuser_server_cfg){ 0 }, NULL);

	for (int i = 0; i < 3; i++) {
		struct vuser_client *c = client(s);
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		uint64_t n = 0;

		EXPECT_EQ(vuser_client_irq_bind(c, 2, 0, &fd, 1), 0);
		EXPECT(d->irq != NULL && d->irq(d->irq_ctx, 0));
		EXPECT_EQ(read(fd, &n, sizeof(n)), (ssize_t)sizeof(n));
		EXPECT_EQ(n, 1);
		vuser_client_close(c);
		for (unsigned k = 0; k < 100 && vuser_server_attached(s); k++)
			vuser_server_poll(s);
		EXPECT(!vuser_server_attached(s));
		EXPECT(!d->irq || !d->irq(d->irq_ctx, 0));	/* the eventfd went with its client */
		close(fd);
	}
	vuser_server_free(s);
}
