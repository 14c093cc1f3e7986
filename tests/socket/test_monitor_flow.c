/* The monitor as a proxy: what goes in comes out, bytes, order and descriptors, whatever the pieces; who leaves, and who is slow. */
#include <sys/stat.h>
#include <sys/un.h>

#include "monrig.h"

/* One lane on socketpairs, nothing said yet. */
static void pair_open(struct mrig *r, struct monitor_cfg cfg)
{
	int c[2], s[2];

	memset(r, 0, sizeof(*r));
	r->env.ops = &mr_env_ops;
	r->now = 1;
	r->fds_before = mr_fds();
	cfg.env = &r->env;
	r->m = monitor_new(&cfg, NULL);
	r->p[0].r = r;
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c), 0);
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	r->p[0].client = c[0];
	r->p[0].server = s[0];
	EXPECT_EQ(monitor_lane(r->m, &(struct monitor_lane_cfg){ .client_fd = c[1], .server_fd = s[1] }, NULL), 0);
}

static void pair_close(struct mrig *r)
{
	monitor_free(r->m);
	close(r->p[0].client);
	close(r->p[0].server);
	EXPECT_EQ(mr_fds(), r->fds_before);
}

static size_t message(uint8_t *p, uint16_t id, uint16_t cmd, size_t payload, uint32_t seed)
{
	struct vuser_hdr h = { .id = le16_of(id), .cmd = le16_of(cmd), .size = le32_of((uint32_t)(16 + payload)) };

	memcpy(p, &h, 16);
	for (size_t i = 0; i < payload; i++) {
		seed = seed * 1664525 + 1013904223;
		p[16 + i] = (uint8_t)(seed >> 16);
	}
	return 16 + payload;
}

static size_t take(int sock, uint8_t *p, size_t cap)
{
	size_t at = 0;
	ssize_t n;

	while (at < cap && (n = recv(sock, p + at, cap - at, MSG_DONTWAIT)) > 0)
		at += (size_t)n;
	return at;
}

/* A stream of messages of all kinds and sizes, cut at every possible place. */
TEST(every_cut)
{
	static uint8_t in[4096], out[4096];
	size_t n = 0;
	struct mrig r;

	for (uint16_t cmd = 1; cmd < 25; cmd++) /* numbers nobody knows among them */
		n += message(in + n, cmd, cmd, cmd * 3u, cmd);
	for (size_t cut = 1; cut < n; cut += cut < 200 ? 1 : 37) {
		size_t got = 0;

		pair_open(&r, (struct monitor_cfg){ 0 });
		for (size_t at = 0; at < n; at += cut) {
			EXPECT_EQ(send(r.p[0].client, in + at, MIN(cut, n - at), 0), MIN(cut, n - at));
			mr_pump(&r);
			got += take(r.p[0].server, out + got, sizeof(out) - got);
		}
		EXPECT_EQ(got, n);
		EXPECT_MEM(in, out, n);
		pair_close(&r);
	}
}

/* Both ways at once, megabytes, receivers that read a little now and then: nothing lost, nothing out of order, memory bounded. */
TEST(both_ways_and_slow)
{
	enum { BIG = 1 << 20, COUNT = 24 };
	static uint8_t in[2][BIG + 64], out[BIG + 64];
	struct mrig r;
	size_t sent[2] = { 0 }, got[2] = { 0 }, total = (size_t)COUNT * (BIG + 16);
	int sock[2];

	pair_open(&r, (struct monitor_cfg){ 0 });
	sock[0] = r.p[0].client, sock[1] = r.p[0].server;
	message(in[0], 1, VUSER_DMA_READ, BIG, 1);
	in[0][8] = VUSER_TYPE_REPLY;
	message(in[1], 2, VUSER_REGION_READ, BIG, 2);
	in[1][8] = VUSER_TYPE_REPLY;
	while (got[0] < total || got[1] < total)
		for (unsigned d = 0; d < 2; d++) {
			size_t at = sent[d] % (BIG + 16), n;
			ssize_t k = sent[d] < total ? send(sock[d], in[d] + at, BIG + 16 - at, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

			sent[d] += k > 0 ? (size_t)k : 0;
			mr_pump(&r);
			n = take(sock[!d], out, MIN((size_t)100000, BIG + 16 - got[d] % (BIG + 16)));
			EXPECT_MEM(out, in[d] + got[d] % (BIG + 16), n);
			got[d] += n;
		}
	EXPECT_EQ(monitor_stats(r.m)->bytes, 2 * total);
	pair_close(&r);
}

/* A receiver that does not read stops its sender, not us. */
TEST(a_full_receiver_stops_its_sender)
{
	static uint8_t in[65536 + 16];
	struct mrig r;
	size_t sent = 0, n = message(in, 1, VUSER_REGION_WRITE, 65536, 3);

	pair_open(&r, (struct monitor_cfg){ 0 });
	for (unsigned i = 0; i < 4096; i++) {
		ssize_t k = send(r.p[0].client, in + sent % n, n - sent % n, MSG_DONTWAIT);

		sent += k > 0 ? (size_t)k : 0;
		mr_pump(&r);
	}
	EXPECT(sent < 32u << 20);
	mr_send(&r.p[0], r.p[0].server, 1, VUSER_DMA_READ, 0, in, 16, NULL, 0, NULL, 0); /* the other way is open */
	mr_hear(&r.p[0], r.p[0].client);
	pair_close(&r);
}

static ino_t ino_of(int fd)
{
	struct stat st;

	EXPECT_EQ(fstat(fd, &st), 0);
	return st.st_ino;
}

/* Descriptors ride on their own message, in their order, both ways, also when messages with and without them come in one piece. */
TEST(descriptors_stay_with_their_message)
{
	struct mrig r;
	int fd[16];

	pair_open(&r, (struct monitor_cfg){ 0 });
	for (unsigned i = 0; i < 16; i++)
		fd[i] = memfd_create("x", MFD_CLOEXEC);
	for (unsigned from = 0; from < 2; from++)
		for (unsigned n = 0; n <= 16; n++) {
			int a = from ? r.p[0].server : r.p[0].client, b = from ? r.p[0].client : r.p[0].server;
			struct mmsg *m;

			mr_send(&r.p[0], a, (uint16_t)n, 20, 0, "plain", 5, NULL, 0, NULL, 0);
			mr_send(&r.p[0], a, (uint16_t)n, 20, 0, "with", 4, NULL, 0, fd, n);
			mr_send(&r.p[0], a, (uint16_t)n, 20, 0, "plain", 5, NULL, 0, NULL, 0);
			EXPECT_EQ(mr_hear(&r.p[0], b)->nfds, 0);
			m = mr_hear(&r.p[0], b);
			EXPECT_EQ(m->len, 4);
			EXPECT_EQ(m->nfds, n);
			for (unsigned i = 0; i < n; i++) {
				EXPECT_EQ(ino_of(m->fd[i]), ino_of(fd[i]));
				close(m->fd[i]);
			}
			EXPECT_EQ(mr_hear(&r.p[0], b)->nfds, 0);
		}
	for (unsigned i = 0; i < 16; i++)
		close(fd[i]);
	pair_close(&r);
}

/* The last words of somebody who leaves arrive before the end of the stream. */
TEST(last_words)
{
	struct mrig r;
	char b;

	pair_open(&r, (struct monitor_cfg){ 0 });
	mr_send(&r.p[0], r.p[0].client, 1, VUSER_DEVICE_RESET, VUSER_NO_REPLY, NULL, 0, NULL, 0, NULL, 0);
	mr_send(&r.p[0], r.p[0].client, 2, VUSER_DEVICE_RESET, VUSER_NO_REPLY, NULL, 0, NULL, 0, NULL, 0);
	close(r.p[0].client);
	r.p[0].client = dup(r.p[0].server);
	mr_pump(&r);
	EXPECT_EQ(monitor_clients(r.m), 0);
	mr_hear(&r.p[0], r.p[0].server);
	mr_hear(&r.p[0], r.p[0].server);
	EXPECT_EQ(recv(r.p[0].server, &b, 1, MSG_DONTWAIT), 0);
	pair_close(&r);
}

/* Somebody left, and the other does not take what was said: that ends too, by the clock. */
TEST(last_words_nobody_takes)
{
	static uint8_t in[65536 + 16];
	struct mrig r;
	size_t n = message(in, 1, VUSER_REGION_WRITE, 65536, 3);

	pair_open(&r, (struct monitor_cfg){ 0 });
	for (unsigned i = 0; i < 200; i++) {
		if (send(r.p[0].client, in, n, MSG_DONTWAIT) != (ssize_t)n)
			break;
		mr_pump(&r);
	}
	close(r.p[0].client);
	r.p[0].client = dup(r.p[0].server);
	mr_pump(&r);
	EXPECT_EQ(monitor_clients(r.m), 1);
	r.now += 3 * NS_PER_S;
	monitor_poll(r.m);
	EXPECT_EQ(monitor_clients(r.m), 0);
	pair_close(&r);
}

/* ---- what is changed, and nothing else ------------------------------------------------------------------------------------------- */

static struct mmsg *region_info(struct mrig *r, uint32_t flags, uint16_t second_cap, int fd)
{
	struct { struct vuser_region_info i; struct vuser_cap_sparse c; struct vuser_sparse_area a; struct { le16 id, version; le32 next; } x; } a = {
		{ le32_of(72), le32_of(flags), le32_of(0), le32_of(32), le64_of(0x2000), le64_of(0) },
		{ le16_of(VUSER_CAP_SPARSE_MMAP), le16_of(1), le32_of(second_cap ? 64 : 0), le32_of(1), le32_of(0) },
		{ le64_of(0x1000), le64_of(0x1000) }, { le16_of(second_cap), le16_of(1), le32_of(0) } };

	mr_send(&r->p[0], r->p[0].client, 1, VUSER_DEVICE_GET_REGION_INFO, 0, &a, 32, NULL, 0, NULL, 0);
	mr_hear(&r->p[0], r->p[0].server);
	mr_send(&r->p[0], r->p[0].server, 1, VUSER_DEVICE_GET_REGION_INFO, VUSER_TYPE_REPLY, &a, sizeof(a), NULL, 0, &fd, 1);
	return mr_hear(&r->p[0], r->p[0].client);
}

static uint32_t flags_of(const struct mmsg *m)
{
	struct vuser_region_info i;

	memcpy(&i, m->p, sizeof(i));
	return le32_get(i.flags);
}

TEST(doorbells_cannot_be_mapped)
{
	int fd = memfd_create("x", MFD_CLOEXEC);
	struct mmsg *m;
	struct mrig r;

	pair_open(&r, (struct monitor_cfg){ 0 });
	m = region_info(&r, 15, 0, fd);
	EXPECT(m->len == 32 && m->nfds == 0 && flags_of(m) == 3);
	m = region_info(&r, 15, 3, fd); /* another capability beside it stays */
	EXPECT(m->len == 72 && m->nfds == 0 && flags_of(m) == 11);
	pair_close(&r);
	pair_open(&r, (struct monitor_cfg){ .keep_mmap = true });
	m = region_info(&r, 15, 0, fd);
	EXPECT(m->len == 72 && m->nfds == 1 && flags_of(m) == 15);
	close(m->fd[0]);
	pair_close(&r);
	close(fd);
}

/* Our eventfd instead of the client's; but a file that only pretends is the server's to refuse. A rebinding that fails keeps the old. */
TEST(interrupts)
{
	struct vuser_irq_set a = { le32_of(sizeof(a)), le32_of(0x24), le32_of(2), le32_of(0), le32_of(1) };
	int ev[2] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) }, file = memfd_create("x", MFD_CLOEXEC), fire[2];
	struct vuser_hdr bad = { le16_of(3), le16_of(VUSER_DEVICE_SET_IRQS), le32_of(16), le32_of(0x21), le32_of(22) };
	uint64_t one = 1, n;
	struct mmsg *m;
	struct mrig r;

	pair_open(&r, (struct monitor_cfg){ 0 });
	mr_send(&r.p[0], r.p[0].client, 1, VUSER_DEVICE_SET_IRQS, 0, &a, sizeof(a), NULL, 0, &file, 1);
	m = mr_hear(&r.p[0], r.p[0].server);
	EXPECT_EQ(ino_of(m->fd[0]), ino_of(file));
	close(m->fd[0]);
	mr_send(&r.p[0], r.p[0].server, 1, VUSER_DEVICE_SET_IRQS, 1, NULL, 0, NULL, 0, NULL, 0);
	mr_hear(&r.p[0], r.p[0].client);

	for (uint16_t i = 0; i < 2; i++) {
		mr_send(&r.p[0], r.p[0].client, (uint16_t)(i + 2), VUSER_DEVICE_SET_IRQS, 0, &a, sizeof(a), NULL, 0, &ev[i], 1);
		fire[i] = mr_hear(&r.p[0], r.p[0].server)->fd[0];
		if (!i)
			mr_send(&r.p[0], r.p[0].server, 2, VUSER_DEVICE_SET_IRQS, 1, NULL, 0, NULL, 0, NULL, 0);
		else
			EXPECT_EQ(send(r.p[0].server, &bad, 16, 0), 16);
		mr_hear(&r.p[0], r.p[0].client);
	}
	EXPECT_EQ(write(fire[0], &one, 8), 8);
	EXPECT_EQ(write(fire[0], &one, 8), 8);
	mr_pump(&r);
	EXPECT_EQ(read(ev[0], &n, 8), 8);
	EXPECT_EQ(n, 2);
	EXPECT(read(ev[1], &n, 8) < 0);
	EXPECT_EQ(monitor_stats(r.m)->interrupts, 2);
	close(fire[0]), close(fire[1]);
	pair_close(&r);
	close(ev[0]), close(ev[1]), close(file);
}

/* ---- clients come and go ------------------------------------------------------------------------------------------------------- */

static int listen_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	unlink(path);
	EXPECT_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	EXPECT_EQ(listen(fd, 4), 0);
	return fd;
}

static int dial_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	EXPECT_EQ(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

TEST(clients_one_after_the_other)
{
	char to[64], at[64], b;
	struct mrig r = { .env.ops = &mr_env_ops };
	int server, client, other;
	struct err err;

	snprintf(to, sizeof(to), "/tmp/ferry-flow-%d.s", (int)getpid());
	snprintf(at, sizeof(at), "/tmp/ferry-flow-%d.m", (int)getpid());
	r.m = monitor_new(&(struct monitor_cfg){ .env = &r.env }, NULL);
	EXPECT_EQ(monitor_lane(r.m, &(struct monitor_lane_cfg){ .listen = at, .to = to }, NULL), 0);
	EXPECT_EQ(monitor_lane(r.m, &(struct monitor_lane_cfg){ .listen = at, .to = to }, &err), -EADDRINUSE);
	client = dial_at(at); /* nobody is behind it: the client hears so at once */
	mr_pump(&r);
	EXPECT_EQ(recv(client, &b, 1, MSG_DONTWAIT), 0);
	close(client);
	server = listen_at(to);
	for (unsigned i = 0; i < 3; i++) {
		int back;

		client = dial_at(at);
		mr_pump(&r);
		other = dial_at(at); /* waits its turn */
		mr_pump(&r);
		EXPECT_EQ(monitor_clients(r.m), 1);
		back = accept(server, NULL, NULL);
		EXPECT_EQ(send(client, "\1\0\2\0\x10\0\0\0\0\0\0\0\0\0\0\0", 16, 0), 16);
		mr_pump(&r);
		EXPECT_EQ(recv(back, &b, 1, MSG_DONTWAIT), 1);
		close(i & 1 ? client : back);
		mr_pump(&r);
		close(other);
		mr_pump(&r);
		EXPECT_EQ(monitor_clients(r.m), 0);
		close(i & 1 ? back : client);
		while (recv(server, &b, 1, MSG_DONTWAIT) > 0)
			;
		back = accept4(server, NULL, NULL, SOCK_NONBLOCK); /* the other's, which is over already */
		if (back >= 0)
			close(back);
	}
	monitor_free(r.m);
	EXPECT(access(at, F_OK) != 0);
	close(server);
	unlink(to);
}
