/* libFuzzer: bytes become what a client and a server say to each other through the monitor, with memory, descriptors and interrupts.
 *
 * Built with -Dfuzz=true and clang. Input: first byte: 1 message mode, 2 keep_mmap, 4 two lanes. Then portions {u8 what, u8 length,
 * bytes}; what, bits 0-1: 0 the client says, 1 the server says, 2 bytes go into guest memory, 3 an interrupt is raised; bit 2: the
 * other lane; bits 3-4: how many descriptors; bit 5: a message is made of the bytes, with a header that fits (first byte: the
 * command), so that more gets past the framing; bit 6: it is a reply. A crash, a sanitizer's word or a descriptor left open is a find.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "spec/nvme.h"
#include "spec/vfio_user.h"
#include "verify/monitor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEM = 1 << 16 };
static uint64_t clock_ns;
static uint64_t now(struct env *e) { (void)e; return clock_ns += 1000; }
static const struct env_ops ops = { .now_ns = now };
static struct env env = { &ops };

struct side { int client, server, memfd, event; uint8_t *mem; uint16_t id, last_cmd; };

static void send_all(int sock, const void *p, size_t n, const int *fds, unsigned nfds)
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
	(void)!sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void hear(int sock)
{
	uint8_t sink[65536];

	while (recv(sock, sink, sizeof(sink), MSG_DONTWAIT) > 0) /* descriptors that come along are dropped by the kernel */
		;
}

static void say(struct side *s, uint8_t what, const uint8_t *p, size_t n)
{
	int fds[4] = { s->memfd, s->event, s->memfd, s->event }, sock = what & 1 ? s->server : s->client;
	unsigned nfds = what >> 3 & 3;
	struct { struct vuser_hdr h; uint8_t b[256]; } m;

	if (!(what & 0x20)) {
		if (n)
			send_all(sock, p, n, fds, nfds);
		return;
	}
	if (!n)
		return;
	if (!(what & 0x40))
		s->id++;
	m.h = (struct vuser_hdr){ le16_of(s->id), le16_of(p[0] & 31), le32_of((uint32_t)(16 + n - 1)), le32_of(what & 0x40 ? 1 : p[0] & 0x80 ? 0x10 : 0),
				  le32_of(0) };
	memcpy(m.b, p + 1, n - 1);
	send_all(sock, &m, 16 + n - 1, fds + (p[0] & 31) / 8 % 2, nfds % 3);
}

static void portion(struct side *s, uint8_t what, const uint8_t *p, size_t n)
{
	uint64_t one = 1;

	switch (what & 3) {
	case 2:
		if (n > 2)
			memcpy(s->mem + (((size_t)p[0] << 8 | p[1]) & (MEM - 256)), p + 2, n - 2);
		return;
	case 3:
		(void)!write(s->event, &one, 8);
		return;
	default:
		say(s, what, p, n);
	}
}

static void side_open(struct side *s, struct monitor *m, uint16_t ctrl)
{
	int c[2], v[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c) && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, v));
	*s = (struct side){ .client = c[0], .server = v[0], .memfd = memfd_create("guest", MFD_CLOEXEC), .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	CHECK(!ftruncate(s->memfd, MEM));
	s->mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, s->memfd, 0);
	CHECK(s->mem != MAP_FAILED);
	CHECK(!monitor_lane(m, &(struct monitor_lane_cfg){ .client_fd = c[1], .server_fd = v[1], .ctrl = ctrl }, NULL));
}

static void side_close(struct side *s)
{
	close(s->client);
	close(s->server);
	close(s->memfd);
	close(s->event);
	munmap(s->mem, MEM);
}

static void reg(struct side *s, struct monitor *m, uint64_t off, uint64_t val, uint32_t len)
{
	struct { struct vuser_hdr h; struct vuser_region_access a; le64 v; } x = {
		{ le16_of(++s->id), le16_of(VUSER_REGION_WRITE), le32_of(32 + len), le32_of(VUSER_NO_REPLY) }, { le64_of(off), le32_of(0), le32_of(len) },
		le64_of(val) };

	send_all(s->client, &x, 32 + len, NULL, 0);
	monitor_poll(m);
}

/* Mapped, enabled: what follows reaches queues and commands at once. Admin rings of 16 entries at 1000h and 2000h. */
static void prologue(struct side *s, struct monitor *m)
{
	struct { struct vuser_hdr h; struct vuser_dma_map a; } x = {
		{ le16_of(++s->id), le16_of(VUSER_DMA_MAP), le32_of(48), le32_of(VUSER_NO_REPLY) }, { le32_of(32), le32_of(3), le64_of(0), le64_of(0), le64_of(MEM) } };

	send_all(s->client, &x, sizeof(x), &s->memfd, 1);
	reg(s, m, NVME_REG_AQA, 15 << 16 | 15, 4);
	reg(s, m, NVME_REG_ASQ, 0x1000, 8);
	reg(s, m, NVME_REG_ACQ, 0x2000, 8);
	reg(s, m, NVME_REG_CC, 0x460001, 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rec_store *store;
	struct monitor *m;
	struct side s[2];
	unsigned lanes = 1;
	int first = dup(0), last;

	close(first);
	if (!size)
		return 0;
	store = rec_open(&(struct rec_cfg){ 0 }, NULL);
	m = monitor_new(&(struct monitor_cfg){ .env = &env, .store = store, .message_mode = data[0] & 1, .keep_mmap = data[0] & 2 }, NULL);
	CHECK(store && m);
	lanes += data[0] >> 2 & 1;
	for (unsigned i = 0; i < lanes; i++) {
		side_open(&s[i], m, (uint16_t)i);
		monitor_cntlid(m, (uint16_t)i, (uint16_t)(i + 1));
		prologue(&s[i], m);
	}
	for (data++, size--; size >= 2;) {
		size_t n = data[1] < size - 2 ? data[1] : size - 2;

		portion(&s[lanes == 2 && data[0] & 4], data[0], data + 2, n);
		for (unsigned i = 0; i < 20 && monitor_poll(m); i++)
			;
		for (unsigned i = 0; i < lanes; i++) {
			hear(s[i].client);
			hear(s[i].server);
		}
		data += 2 + n;
		size -= 2 + n;
	}
	monitor_free(m);
	rec_close(store, NULL);
	for (unsigned i = 0; i < lanes; i++)
		side_close(&s[i]);
	last = dup(0); /* the lowest free number is the one it was: nothing is left open */
	close(last);
	CHECK(first == last);
	return 0;
}
