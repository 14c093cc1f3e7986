/* libFuzzer: bytes become what a client sends to the vfio-user server, in portions, some with descriptors.
 *
 * Built with -Dfuzz=true and clang. Input: portions of {u8 flags, u8 length, bytes}; flags bit 0-1: how many descriptors, bit 2: a
 * transfer by message begins, bit 3: the device holds or lets go of its memory, bit 4: the client reads. The greeting is sent first
 * unless the first byte is 0xff. A crash, a sanitizer's word, a descriptor left open or a client that cannot be got rid of is a find.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "device/device.h"
#include "transport/vuser_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct { struct device d; uint8_t bytes[0x4000]; bool out, held; uint8_t buf[4096]; } dev;

static int on_read(struct device *d, unsigned region, uint64_t off, void *buf, uint32_t len)
{
	(void)d;
	(void)region;
	memcpy(buf, dev.bytes + off, len);
	return 0;
}
static int on_write(struct device *d, unsigned region, uint64_t off, const void *buf, uint32_t len)
{
	(void)d;
	(void)region;
	memcpy(dev.bytes + off, buf, len);
	return 0;
}
static void on_share(struct device *d, unsigned region, void *mem) { (void)d; (void)region; (void)mem; }
static void on_nothing(struct device *d) { (void)d; }
static bool on_poll(struct device *d, unsigned budget) { (void)d; (void)budget; return false; }
static uint64_t on_deadline(struct device *d) { (void)d; return UINT64_MAX; }
static void on_bound(struct device *d, unsigned v)
{
	if (v & 1)
		d->irq(d->irq_ctx, v);
}
static void on_done(struct gmem_op *op, int rc)
{
	(void)op;
	(void)rc;
	dev.out = false;
}

static const struct device_ops ops = { on_read, on_write, on_share, on_nothing, on_poll, on_deadline, on_bound, on_nothing };

static void quiet(void *ctx, enum log_level level, const char *line) { (void)ctx; (void)level; (void)line; }

static struct vuser_server *server(void)
{
	static struct vuser_server *s;
	struct vuser_server_cfg cfg = { .map_doorbells = true, .write_multiple = true, .max_data_xfer = 8192 };

	if (s)
		return s;
	log_set(quiet, NULL, LOG_ERROR);
	dev.d.ops = &ops;
	gmem_init(&dev.d.gmem);
	dev.d.region[0] = (struct device_region){ 0x4000, true, true, 0x1000, 0x1000 };
	dev.d.region[DEV_REGION_CONFIG] = (struct device_region){ 4096, true, true, 0, 0 };
	dev.d.irq_count[DEV_IRQ_MSIX] = 8;
	dev.d.irq_count[DEV_IRQ_INTX] = 1;
	s = vuser_server_new(NULL, &dev.d, &cfg, NULL);
	CHECK(s);
	return s;
}

static void send_portion(int fd, const uint8_t *p, size_t n, const int *fds, unsigned nfds)
{
	union { char b[CMSG_SPACE(4 * sizeof(int))]; struct cmsghdr a; } ctl = { 0 };
	struct iovec v = { (void *)(uintptr_t)p, n };
	struct msghdr mh = { .msg_iov = &v, .msg_iovlen = 1 };

	if (nfds) {
		struct cmsghdr *c;

		mh.msg_control = ctl.b;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(nfds * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	(void)!sendmsg(fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void device_step(uint8_t flags)
{
	static struct gmem_op op;

	if (flags & 4 && !dev.out) {
		op = (struct gmem_op){ .iova = flags & 0x20 ? 0 : 0x1000, .buf = dev.buf, .len = 4096, .write = flags & 0x40,
				       .done = on_done };
		dev.out = gmem_submit(&dev.d.gmem, &op) == 0;
	}
	if (flags & 8) {
		dev.held = !dev.held;
		if (dev.held)
			gmem_hold(&dev.d.gmem);
		else
			gmem_release(&dev.d.gmem);
	}
}

static void pump(struct vuser_server *s)
{
	for (unsigned i = 0; i < 100 && vuser_server_poll(s); i++)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t hello[] = { 0, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	struct vuser_server *s = server();
	int p[2], fds[4], first, last;
	uint8_t sink[4096];

	first = dup(0);
	close(first);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p));
	fds[0] = fds[2] = memfd_create("fuzz", MFD_CLOEXEC);
	CHECK(!ftruncate(fds[0], 0x10000));
	fds[1] = fds[3] = eventfd(0, EFD_CLOEXEC);
	CHECK(!vuser_server_adopt(s, p[1]));
	if (size && data[0] != 0xff)
		send_portion(p[0], hello, sizeof(hello), NULL, 0);
	while (size >= 2) {
		uint8_t flags = data[0];
		size_t n = MIN((size_t)data[1], size - 2);

		if (n)
			send_portion(p[0], data + 2, n, fds, flags & 3);
		pump(s);
		device_step(flags);
		while (flags & 0x10 && recv(p[0], sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
		data += 2 + n;
		size -= 2 + n;
	}
	if (dev.held)
		device_step(8);
	close(p[0]);
	close(fds[0]);
	close(fds[1]);
	pump(s);
	CHECK(!dev.out && !dev.d.gmem.count && !vuser_server_attached(s));
	last = dup(0); /* the lowest free number is the one it was: nothing is left open */
	close(last);
	CHECK(first == last);
	return 0;
}
