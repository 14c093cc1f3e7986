/* A client and a server made of hand-written messages, with the monitor between them. Two controllers: 0 is the management controller,
 * 1 the migratable one. The server lies on command; whatever it does is in one thread, with a clock that stands still unless moved.
 */
#ifndef FERRY_TESTS_MONRIG_H
#define FERRY_TESTS_MONRIG_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "t.h"
#include "spec/nvme.h"
#include "spec/vfio_user.h"
#include "verify/monitor.h"

enum { MR_MEM = 1 << 20, MR_Q = 8 /* entries */, MR_VECTORS = 4, MR_DATA = 0x40000, MR_MMC_ID = 1, MR_MC_ID = 7 };

struct mport {
	struct mrig *r;
	int client, server;		/* the ends the test plays */
	uint16_t id, dma_id, admins;
	uint8_t *mem;
	int memfd;
	int irq[MR_VECTORS];		/* the client's */
	int fire[MR_VECTORS];		/* what the server was given */
	uint16_t sq_tail[4], sq_head[4], cq_tail[4];
	bool phase[4];
	uint16_t cq_head[4];
};
struct mrig {
	struct env env;
	uint64_t now;
	bool message;
	struct monitor *m;
	struct rec_store *store;
	char path[64];
	struct mport p[2];
	unsigned fds_before;
};

static inline unsigned mr_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static inline uint64_t mr_now(struct env *e) { return CONTAINER_OF(e, struct mrig, env)->now; }
static const struct env_ops mr_env_ops = { .now_ns = mr_now };

static inline void mr_pump(struct mrig *r)
{
	for (unsigned i = 0; i < 1000 && monitor_poll(r->m); i++)
		;
}

/* ---- messages ---------------------------------------------------------------------------------------------------------- */

struct mmsg { struct vuser_hdr h; uint8_t p[70000]; uint32_t len; int fd[16]; unsigned nfds; };

static inline void mr_send(struct mport *p, int sock, uint16_t id, uint16_t cmd, uint32_t flags, const void *a, size_t an, const void *b, size_t bn,
		    const int *fds, unsigned nfds)
{
	union { char b[CMSG_SPACE(16 * sizeof(int))]; struct cmsghdr a; } ctl = { 0 };
	struct vuser_hdr h = { .id = le16_of(id), .cmd = le16_of(cmd), .size = le32_of((uint32_t)(16 + an + bn)), .flags = le32_of(flags) };
	struct iovec v[3] = { { &h, sizeof(h) }, { (void *)(uintptr_t)a, an }, { (void *)(uintptr_t)b, bn } };
	struct msghdr mh = { .msg_iov = v, .msg_iovlen = 3 };

	if (nfds) {
		struct cmsghdr *c;

		mh.msg_control = ctl.b;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(nfds * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	EXPECT_EQ(sendmsg(sock, &mh, MSG_NOSIGNAL), 16 + an + bn);
	mr_pump(p->r);
}

/* What came out on the other side. */
static inline struct mmsg *mr_hear(struct mport *p, int sock)
{
	static struct mmsg m;
	union { char b[CMSG_SPACE(16 * sizeof(int))]; struct cmsghdr a; } ctl;
	struct iovec v = { &m.h, sizeof(m.h) };
	struct msghdr mh = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl.b, .msg_controllen = sizeof(ctl.b) };

	mr_pump(p->r);
	m.nfds = 0;
	EXPECT_EQ(recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), 16);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
		m.nfds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(m.fd, CMSG_DATA(c), m.nfds * sizeof(int));
	}
	m.len = le32_get(m.h.size) - 16;
	EXPECT(m.len <= sizeof(m.p));
	for (uint32_t at = 0; at < m.len;) {
		ssize_t n = recv(sock, m.p + at, m.len - at, MSG_DONTWAIT);

		EXPECT(n > 0);
		at += (uint32_t)n;
	}
	return &m;
}

static inline bool mr_silent(struct mport *p, int sock)
{
	char b;

	mr_pump(p->r);
	return recv(sock, &b, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

/* A command of the client that the server answers with `back`. */
static inline void mr_ask(struct mport *p, uint16_t cmd, const void *a, size_t an, const void *b, size_t bn, const void *back, size_t backn)
{
	struct mmsg *m;

	mr_send(p, p->client, ++p->id, cmd, 0, a, an, b, bn, NULL, 0);
	m = mr_hear(p, p->server);
	EXPECT_EQ(le16_get(m->h.cmd), cmd);
	EXPECT_EQ(m->len, an + bn);
	mr_send(p, p->server, p->id, cmd, VUSER_TYPE_REPLY, back, backn, NULL, 0, NULL, 0);
	m = mr_hear(p, p->client);
	EXPECT_EQ(le32_get(m->h.flags), VUSER_TYPE_REPLY);
	EXPECT_EQ(m->len, backn);
}

/* ---- registers --------------------------------------------------------------------------------------------------------- */

static inline void mr_write(struct mport *p, uint64_t off, uint64_t val, uint32_t len)
{
	struct vuser_region_access a = { le64_of(off), le32_of(0), le32_of(len) };
	le64 v = le64_of(val);

	mr_ask(p, VUSER_REGION_WRITE, &a, sizeof(a), &v, len, &a, sizeof(a));
}

static inline void mr_doorbell(struct mport *p, unsigned index, uint32_t val)
{
	struct vuser_region_access a = { le64_of(NVME_REG_DOORBELLS + 4ull * index), le32_of(0), le32_of(4) };
	le32 v = le32_of(val);
	struct mmsg *m;

	mr_send(p, p->client, ++p->id, VUSER_REGION_WRITE, VUSER_NO_REPLY, &a, sizeof(a), &v, 4, NULL, 0);
	m = mr_hear(p, p->server);
	EXPECT_EQ(m->len, 20);
}

/* ---- memory by message --------------------------------------------------------------------------------------------------- */

static inline void mr_dma(struct mport *p, bool write, uint64_t at, const void *data, uint32_t len)
{
	struct vuser_dma_access a = { le64_of(at), le64_of(len) };
	uint16_t cmd = write ? VUSER_DMA_WRITE : VUSER_DMA_READ;

	mr_send(p, p->server, ++p->dma_id, cmd, 0, &a, sizeof(a), data, write ? len : 0, NULL, 0);
	mr_hear(p, p->client);
	if (write && at + len <= MR_MEM)
		memcpy(p->mem + at, data, len);
	mr_send(p, p->client, p->dma_id, cmd, VUSER_TYPE_REPLY, &a, sizeof(a), p->mem + at, write ? 0 : len, NULL, 0);
	mr_hear(p, p->server);
}

/* ---- queues: SQ q at 0x1000 * (2q + 1), CQ q behind it --------------------------------------------------------------------- */

static inline uint64_t mr_sq(unsigned q) { return 0x2000ull * q + 0x1000; }
static inline uint64_t mr_cq(unsigned q) { return 0x2000ull * q + 0x2000; }

static inline void mr_put(struct mport *p, unsigned q, const struct nvme_sqe *s)
{
	memcpy(p->mem + mr_sq(q) + 64u * p->sq_tail[q], s, sizeof(*s));
	p->sq_tail[q] = (uint16_t)((p->sq_tail[q] + 1) % MR_Q);
}

/* Puts, rings, and in message mode the server fetches. */
static inline void mr_submit(struct mport *p, unsigned q, const struct nvme_sqe *s)
{
	unsigned slot = p->sq_tail[q];

	mr_put(p, q, s);
	mr_doorbell(p, 2 * q, p->sq_tail[q]);
	if (p->r->message)
		mr_dma(p, false, mr_sq(q) + 64u * slot, NULL, 64);
	p->sq_head[q] = p->sq_tail[q];
}

static inline struct nvme_cqe mr_cqe(struct mport *p, unsigned q, unsigned sq, uint16_t cid, unsigned status, uint32_t dw0)
{
	return (struct nvme_cqe){ .dw0 = le32_of(dw0), .sqhd = le16_of(p->sq_head[sq]), .sqid = le16_of((uint16_t)sq), .cid = le16_of(cid),
				  .status = le16_of((uint16_t)(status << 1 | p->phase[q])) };
}

static inline void mr_post(struct mport *p, unsigned q, const struct nvme_cqe *e)
{
	uint64_t at = mr_cq(q) + 16u * p->cq_tail[q];

	if (p->r->message)
		mr_dma(p, true, at, e, sizeof(*e));
	else
		memcpy(p->mem + at, e, sizeof(*e));
	p->cq_tail[q] = (uint16_t)((p->cq_tail[q] + 1) % MR_Q);
	if (!p->cq_tail[q])
		p->phase[q] = !p->phase[q];
	mr_pump(p->r);
}

static inline void mr_done(struct mport *p, unsigned q, uint16_t cid, unsigned status, uint32_t dw0)
{
	struct nvme_cqe e = mr_cqe(p, q, q, cid, status, dw0);

	mr_post(p, q, &e);
}

static inline void mr_consume(struct mport *p, unsigned q)
{
	p->cq_head[q] = p->cq_tail[q];
	mr_doorbell(p, 2 * q + 1, p->cq_head[q]);
}

/* A whole admin command that succeeds. */
static inline void mr_admin(struct mport *p, struct nvme_sqe s, uint32_t dw0)
{
	uint16_t cid = (uint16_t)(0x100 + ++p->admins);

	s.cid = le16_of(cid);
	mr_submit(p, 0, &s);
	mr_done(p, 0, cid, 0, dw0);
	mr_consume(p, 0);
}

static inline void mr_raise(struct mport *p, unsigned vector)
{
	uint64_t one = 1;

	EXPECT_EQ(write(p->fire[vector], &one, 8), 8);
	mr_pump(p->r);
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static inline void mr_map(struct mport *p)
{
	struct vuser_dma_map a = { le32_of(sizeof(a)), le32_of(VUSER_MAP_READ | VUSER_MAP_WRITE), le64_of(0), le64_of(0), le64_of(MR_MEM) };
	struct mmsg *m;

	mr_send(p, p->client, ++p->id, VUSER_DMA_MAP, 0, &a, sizeof(a), NULL, 0, &p->memfd, 1);
	m = mr_hear(p, p->server);
	EXPECT_EQ(m->nfds, p->r->message ? 0 : 1);
	if (m->nfds)
		close(m->fd[0]);
	mr_send(p, p->server, p->id, VUSER_DMA_MAP, VUSER_TYPE_REPLY, NULL, 0, NULL, 0, NULL, 0);
	mr_hear(p, p->client);
}

static inline void mr_bind(struct mport *p)
{
	struct vuser_irq_set a = { le32_of(sizeof(a)), le32_of(VUSER_SET_EVENTFD | VUSER_SET_TRIGGER), le32_of(2), le32_of(0), le32_of(MR_VECTORS) };
	struct mmsg *m;

	mr_send(p, p->client, ++p->id, VUSER_DEVICE_SET_IRQS, 0, &a, sizeof(a), NULL, 0, p->irq, MR_VECTORS);
	m = mr_hear(p, p->server);
	EXPECT_EQ(m->nfds, MR_VECTORS);
	memcpy(p->fire, m->fd, sizeof(p->fire));
	mr_send(p, p->server, p->id, VUSER_DEVICE_SET_IRQS, VUSER_TYPE_REPLY, NULL, 0, NULL, 0, NULL, 0);
	mr_hear(p, p->client);
}

static inline void mr_enable(struct mport *p)
{
	mr_write(p, NVME_REG_CC, 0, 4);
	mr_write(p, NVME_REG_AQA, (MR_Q - 1) << 16 | (MR_Q - 1), 4);
	mr_write(p, NVME_REG_ASQ, mr_sq(0), 8);
	mr_write(p, NVME_REG_ACQ, mr_cq(0), 8);
	memset(p->mem + 0x1000, 0, 0x8000);
	memset(p->sq_tail, 0, sizeof(p->sq_tail));
	memset(p->sq_head, 0, sizeof(p->sq_head));
	memset(p->cq_tail, 0, sizeof(p->cq_tail));
	memset(p->cq_head, 0, sizeof(p->cq_head));
	for (unsigned q = 0; q < 4; q++)
		p->phase[q] = true;
	mr_write(p, NVME_REG_CC, 0x460001, 4);
}

/* The same, with data that the server writes where PRP1 says before it completes. */
static inline void mr_admin_data(struct mport *p, struct nvme_sqe s, const void *data, uint32_t len, uint32_t dw0)
{
	uint16_t cid = (uint16_t)(0x100 + ++p->admins);

	s.cid = le16_of(cid);
	mr_submit(p, 0, &s);
	if (p->r->message)
		mr_dma(p, true, le64_get(s.prp1), data, len);
	else
		memcpy(p->mem + le64_get(s.prp1), data, len);
	mr_done(p, 0, cid, 0, dw0);
	mr_consume(p, 0);
}

static inline struct nvme_sqe mr_migration_send(unsigned sel)
{
	struct nvme_sqe s = { .opc = NVME_OP_MIGRATION_SEND };

	nvme_migration_send_sel_put(&s, sel);
	nvme_migration_send_cntlid_put(&s, MR_MC_ID);
	nvme_migration_send_stype_put(&s, sel == NVME_MIG_SUSPEND ? NVME_STYPE_SUSPEND : 0);
	return s;
}
static inline void mr_suspend(struct mrig *r) { mr_admin(&r->p[0], mr_migration_send(NVME_MIG_SUSPEND), 0); }
static inline void mr_resume(struct mrig *r) { mr_admin(&r->p[0], mr_migration_send(NVME_MIG_RESUME), 0); }

/* A queue pair whose completions raise vector qid. */
static inline void mr_queues(struct mport *p, unsigned qid)
{
	struct nvme_sqe s = { .opc = NVME_OP_CREATE_CQ, .prp1 = le64_of(mr_cq(qid)) };

	nvme_create_cq_qid_put(&s, qid);
	nvme_create_cq_qsize0_put(&s, MR_Q - 1);
	nvme_create_cq_pc_put(&s, 1);
	nvme_create_cq_ien_put(&s, 1);
	nvme_create_cq_iv_put(&s, qid);
	mr_admin(p, s, 0);
	s = (struct nvme_sqe){ .opc = NVME_OP_CREATE_SQ, .prp1 = le64_of(mr_sq(qid)) };
	nvme_create_sq_qid_put(&s, qid);
	nvme_create_sq_qsize0_put(&s, MR_Q - 1);
	nvme_create_sq_pc_put(&s, 1);
	nvme_create_sq_cqid_put(&s, qid);
	mr_admin(p, s, 0);
}

/* Identify Controller and Namespace 1 (512-byte blocks), whose data the server puts at MR_DATA. */
static inline void mr_identify(struct mport *p, uint16_t cntlid)
{
	static uint8_t page[4096];
	struct nvme_id_ctrl id = { .cntlid = le16_of(cntlid), .ver = le32_of(0x20100) };
	struct nvme_id_ns ns = { 0 };
	struct nvme_sqe s = { .opc = NVME_OP_IDENTIFY, .prp1 = le64_of(MR_DATA), .cid = le16_of(0x50) };

	for (unsigned cns = 0; cns < 2; cns++) {
		ns.lbaf[2] = 9;
		memcpy(page, cns ? (void *)&id : (void *)&ns, 4096);
		s.nsid = le32_of(!cns);
		nvme_identify_cns_put(&s, cns);
		mr_submit(p, 0, &s);
		if (p->r->message)
			mr_dma(p, true, MR_DATA, page, 4096);
		else
			memcpy(p->mem + MR_DATA, page, 4096);
		mr_done(p, 0, 0x50, 0, 0);
		mr_consume(p, 0);
	}
}

static inline void mr_port(struct mrig *r, unsigned i)
{
	struct mport *p = &r->p[i];
	int c[2], s[2];

	memset(p, 0, sizeof(*p));
	p->r = r;
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c), 0);
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	p->client = c[0];
	p->server = s[0];
	EXPECT_EQ(monitor_lane(r->m, &(struct monitor_lane_cfg){ .client_fd = c[1], .server_fd = s[1], .ctrl = (uint16_t)i }, NULL), 0);
	p->memfd = memfd_create("guest", MFD_CLOEXEC);
	EXPECT_EQ(ftruncate(p->memfd, MR_MEM), 0);
	p->mem = mmap(NULL, MR_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, p->memfd, 0);
	for (unsigned v = 0; v < MR_VECTORS; v++)
		p->irq[v] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	mr_map(p);
	mr_bind(p);
	mr_enable(p);
	mr_identify(p, i ? MR_MC_ID : MR_MMC_ID);
	mr_queues(p, 1);
}

static enum monitor_guard mr_guard;	/* of the rigs that follow */

static inline void mr_open(struct mrig *r, bool message)
{
	memset(r, 0, sizeof(*r));
	r->env.ops = &mr_env_ops;
	r->now = 1000000;
	r->message = message;
	r->fds_before = mr_fds();
	snprintf(r->path, sizeof(r->path), "/tmp/ferry-mon-%d", (int)getpid());
	unlink(r->path);
	r->store = rec_open(&(struct rec_cfg){ .path = r->path, .seed = 1 }, NULL);
	EXPECT(r->store);
	r->m = monitor_new(&(struct monitor_cfg){ .env = &r->env, .store = r->store, .message_mode = message, .guard = mr_guard }, NULL);
	EXPECT(r->m);
	mr_port(r, 0);
	mr_port(r, 1);
	EXPECT_EQ(monitor_broken(r->m), 0);
}

static inline void mr_port_close(struct mport *p)
{
	for (unsigned v = 0; v < MR_VECTORS; v++) {
		close(p->irq[v]);
		close(p->fire[v]);
	}
	close(p->client);
	close(p->server);
	munmap(p->mem, MR_MEM);
	close(p->memfd);
}

/* Each parent that is named is there. */
static inline void mr_no_orphans(const char *path)
{
	static uint8_t seen[1 << 16];
	struct rec_reader *rd = rec_reader_open(path, NULL);
	struct rec_item it;
	int rc;

	memset(seen, 0, sizeof(seen));
	while ((rc = rec_read(rd, &it, NULL)) == 1) {
		if (it.what != REC_ITEM_TXN)
			continue;
		EXPECT(it.rec.uid < sizeof(seen) && (!it.rec.parent || seen[it.rec.parent]));
		seen[it.rec.uid] = 1;
		if (it.rec.kind == REC_DATA || (it.rec.kind == REC_DBL && it.rec.msg_id != REC_STATUS_NONE) || it.rec.kind == REC_REG)
			EXPECT(it.rec.parent != 0);
	}
	EXPECT_EQ(rc, 0);
	rec_reader_close(rd);
}

static uint64_t mr_broken_ever[RULE_COUNT];	/* by all cases of this program */
static unsigned mr_rigs;

static inline void mr_close(struct mrig *r)
{
	mr_rigs++;
	for (unsigned i = 0; i < RULE_COUNT; i++)
		mr_broken_ever[i] += monitor_stats(r->m)->broken[i];
	monitor_free(r->m);
	EXPECT_EQ(rec_close(r->store, NULL), 0);
	mr_no_orphans(r->path);
	unlink(r->path);
	mr_port_close(&r->p[0]);
	mr_port_close(&r->p[1]);
	EXPECT_EQ(mr_fds(), r->fds_before);
}

/* Called by the last case: a rule of these families that no case of this program breaks is a rule that nobody knows to work. (One case alone
 * proves nothing, and says so.) */
static inline void mr_every_rule(const char *families, unsigned least)
{
	if (mr_rigs < least)
		skip();
	for (unsigned i = 0; i < RULE_COUNT; i++) {
		char words[256], *word;

		snprintf(words, sizeof(words), "%s", families);
		for (word = strtok(words, " "); word; word = strtok(NULL, " "))
			if (!strncmp(monitor_rules[i].id, word, strlen(word)) && !mr_broken_ever[i])
				fail_msg("no case breaks %s", monitor_rules[i].id);
	}
}

/* This rule was broken n times, and no other was. */
#define EXPECT_RULE(r, rule, n) do {                                                              \
		if (monitor_broken((r)->m) != (n) || monitor_stats((r)->m)->broken[RULE_##rule] != (n)) \
			mr_tell(r);                                                               \
		EXPECT_EQ(monitor_stats((r)->m)->broken[RULE_##rule], n);                         \
		EXPECT_EQ(monitor_broken((r)->m), n);                                             \
	} while (0)
#define EXPECT_CLEAN(r) do { if (monitor_broken((r)->m)) mr_tell(r); EXPECT_EQ(monitor_broken((r)->m), 0); } while (0)
static inline void mr_tell(struct mrig *r)
{
	struct rec_reader *rd;
	struct rec_item it;

	rec_flush(r->store);
	rd = rec_reader_open(r->path, NULL);
	while (rec_read(rd, &it, NULL) == 1)
		if (it.what == REC_ITEM_TXN && it.rec.kind == REC_VIOLATION)
			printf("# %s\n", it.rec.note);
	rec_reader_close(rd);
}

static inline struct nvme_sqe mr_rw(uint8_t opc, uint16_t cid, uint64_t prp1, uint32_t blocks)
{
	struct nvme_sqe s = { .opc = opc, .cid = le16_of(cid), .nsid = le32_of(1), .prp1 = le64_of(prp1) };

	nvme_rw_nlb0_put(&s, blocks - 1);
	return s;
}

#define MRIG(r, message)                                                       \
	static struct mrig r##_store;                                          \
	struct mrig *r __attribute__((cleanup(mr_cleanup))) = &r##_store;      \
	mr_open(r, message)
static inline void mr_cleanup(struct mrig **r) { mr_close(*r); }

/* The note of the last finding; "" none. */
static inline const char *mr_last_note(struct mrig *r)
{
	static char note[REC_NOTE_MAX];
	struct rec_reader *rd;
	struct rec_item it;

	note[0] = 0;
	rec_flush(r->store);
	rd = rec_reader_open(r->path, NULL);
	while (rec_read(rd, &it, NULL) == 1)
		if (it.what == REC_ITEM_TXN && it.rec.kind == REC_VIOLATION)
			snprintf(note, sizeof(note), "%s", it.rec.note);
	rec_reader_close(rd);
	return note;
}

/* A test in both of the monitor's modes. */
#define BOTH(name) TEST(name##_shared) { MRIG(r, false); name(r); } TEST(name##_by_message) { MRIG(r, true); name(r); }

#endif
