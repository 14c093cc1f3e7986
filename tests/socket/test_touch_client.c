/* A controller, the real socket, and our client as a VMM that copies its guest's memory while the guest reads from its disk: what the
 * client marks dirty by the DMA_WRITEs it gets, and by what its processors wrote, must be enough. One thread. */
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hmlm.h"
#include "transport/guard.h"
#include "transport/vuser_client.h"
#include "transport/vuser_server.h"

enum { MEM_PAGES = RIG_MEM / 4096, BUF_PAGES = 4, BUFS = 16, BLOCKS = 2048 };

struct world {
	struct rig *r;
	struct vuser_server *s;
	struct vuser_client *c;
	struct rig_host *h;
	uint8_t *rig_mem;		/* what the rig had, and frees */
	int fd;
	uint64_t told;
};

static uint8_t copied[RIG_MEM];
static bool dirty[MEM_PAGES];

static void idle(void *ctx) { vuser_server_poll(((struct world *)ctx)->s); }

static void on_write(void *ctx, uint64_t iova, uint64_t len)
{
	struct world *w = ctx;

	EXPECT_EQ(len, 1);
	dirty[(iova - w->h->iova) / 4096] = true;
	w->told++;
}

/* The rig's memory becomes a file that the client gives the server over the socket. */
static void world_open(struct world *w, struct rig *r)
{
	struct err err = { "" };
	int sp[2];

	*w = (struct world){ .r = r, .h = rig_host(r, r->mc), .fd = memfd_create("guest", MFD_CLOEXEC) };
	EXPECT_EQ(guard_install(), 0);
	EXPECT_EQ(ftruncate(w->fd, RIG_MEM), 0);
	EXPECT_EQ(gmem_del(&w->h->dev->gmem, w->h->iova, RIG_MEM, NULL), 0);
	w->rig_mem = w->h->mem;
	w->h->mem = mmap(NULL, RIG_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sp), 0);
	w->s = vuser_server_new(NULL, w->h->dev, &(struct vuser_server_cfg){ 0 }, &err);
	EXPECT(w->s != NULL);
	EXPECT_EQ(vuser_server_adopt(w->s, sp[0]), 0);
	w->c = vuser_client_adopt(sp[1], idle, w, &err);
	EXPECT_STR(err.text, "");
	vuser_client_on_write(w->c, on_write, w);
	EXPECT_EQ(vuser_client_dma_map(w->c, w->h->iova, RIG_MEM, w->h->mem, true, true, w->fd, 0), 0);
	rig_enable(r, r->mc);
	rig_make_queue(r, r->mc, 1, 64);
	rig_enable(r, r->mmc);
}

static void world_close(struct world *w)
{
	vuser_client_close(w->c);
	for (unsigned i = 0; i < 100; i++)
		vuser_server_poll(w->s);
	vuser_server_free(w->s);
	munmap(w->h->mem, RIG_MEM);
	close(w->fd);
	w->h->mem = w->rig_mem;
}

static void turn(struct world *w)
{
	rig_poll(w->r);
	vuser_server_poll(w->s);
	EXPECT(vuser_client_poll(w->c) >= 0);
}

static void copy_page(struct world *w, unsigned i)
{
	dirty[i] = false;
	memcpy(copied + i * 4096, w->h->mem + i * 4096, 4096);
}

static void cpu_wrote(struct world *w, const uint8_t *p, size_t len)
{
	for (size_t i = (size_t)(p - w->h->mem) / 4096; i <= (size_t)(p + len - 1 - w->h->mem) / 4096; i++)
		dirty[i] = true;
}

static uint16_t begin(struct world *w, uint8_t *buf, uint64_t slba, unsigned nlb)
{
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, slba, nlb);
	uint64_t used = w->h->used;
	uint16_t cid;

	rig_data(w->r, w->r->mc, &s, buf, nlb * 512);
	cid = rig_submit(w->r, w->r->mc, 1, s);
	rig_poll(w->r);
	w->h->used = used;
	return cid;
}

static void disk_fill(struct world *w)
{
	uint8_t *p = rig_alloc(w->r, w->r->mc, 4096);

	for (unsigned i = 0; i < BLOCKS; i++) {
		memset(p, (int)(i % 251), 512);
		EXPECT_STATUS(hm_write(w->r, w->r->mc, 1, i, 1, p), NVME_SUCCESS);
	}
}

/* Reads at some depth into buffers that the guest writes to at once, the VMM copying all the while, then the stop.
 * Returns how many pages of the copy differ from the memory. */
static unsigned move(struct world *w, bool touch, unsigned late_max)
{
	uint8_t *arena = rig_alloc(w->r, w->r->mc, BUFS * BUF_PAGES * 4096);
	unsigned differ = 0, seed = 1, cursor = 0;
	uint16_t cid[BUFS];
	bool busy[BUFS] = { 0 };
	struct nvme_cqe e;
	int rc;

	memset(dirty, 1, sizeof(dirty));
	if (touch)
		EXPECT_EQ(gmem_touch_start(&w->h->dev->gmem, late_max), 0);
	for (unsigned n = 0; n < 3000; n++) {
		unsigned i = (seed = seed * 1103515245 + 12345) / 65536 % BUFS;
		uint8_t *buf = arena + i * BUF_PAGES * 4096;

		if (!busy[i]) {
			cid[i] = begin(w, buf + 512, n % (BLOCKS - 24), 24);
			busy[i] = true;
		} else if (rig_try(w->r, w->r->mc, 1, cid[i], &e)) {
			EXPECT_STATUS(e, NVME_SUCCESS);
			busy[i] = false;
			if (n % 2) {
				memset(buf, 0xee, 2 * 4096);
				cpu_wrote(w, buf, 2 * 4096);
			}
		}
		if (n % 3 == 0)
			turn(w);
		for (unsigned k = 0; k < 8; k++, cursor = (cursor + 1) % MEM_PAGES)
			if (dirty[cursor])
				copy_page(w, cursor);
	}
	for (unsigned i = 0; i < BUFS; i++)
		while (busy[i] && !rig_try(w->r, w->r->mc, 1, cid[i], &e))
			turn(w);
	EXPECT_STATUS(hm_suspend(w->r, w->r->mmc, w->r->mc->cntlid, false), NVME_SUCCESS);
	while (touch && (rc = gmem_touch_flush(&w->h->dev->gmem)) != 0) {
		EXPECT_EQ(rc, -EAGAIN);
		turn(w);
	}
	for (unsigned q = 0; q < 2; q++)
		cpu_wrote(w, w->h->q[q].sq, 4096);
	cpu_wrote(w, arena + BUFS * BUF_PAGES * 4096, 4096);
	for (unsigned i = 0; i < MEM_PAGES; i++) {
		if (dirty[i])
			copy_page(w, i);
		differ += memcmp(copied + i * 4096, w->h->mem + i * 4096, 4096) != 0;
	}
	return differ;
}

#define WORLD(w, r)                                                                         \
	RIG(r, .disabled = true, .qsize = 64, .blocks = BLOCKS);                            \
	struct world w __attribute__((cleanup(world_close)));                               \
	world_open(&w, &r);                                                                 \
	disk_fill(&w)

TEST(the_copy_is_complete_told_at_once)
{
	WORLD(w, r);

	EXPECT_EQ(move(&w, true, 0), 0);
	EXPECT(w.told > 1000);
}

TEST(the_copy_is_complete_told_late)
{
	WORLD(w, r);

	EXPECT_EQ(move(&w, true, 1000), 0);
	EXPECT(w.told > 0 && w.told < 200);	/* each page once */
}

TEST(the_copy_is_complete_some_late)
{
	WORLD(w, r);

	EXPECT_EQ(move(&w, true, 20), 0);
	EXPECT(w.told > 200);
}

/* And the test can fail: without touching, the copy is not the memory. */
TEST(without_touching_pages_are_missed)
{
	WORLD(w, r);

	EXPECT(move(&w, false, 0) > 0);
	EXPECT_EQ(w.told, 0);
}
