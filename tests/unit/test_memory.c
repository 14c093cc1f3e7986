/* Memory that runs out: each allocation that an operation makes fails once, and nothing else does.
 *
 * What must hold (design rule 5): the operation says so, in the way it says things, and nothing of it stays: the same operation behind it
 * works as if it were the first. Leaks are the sanitizers' to find. The linker gives us malloc and its kin (meson.build).
 */
#include "hmlm.h"

#include "transport/vuser_server.h"

void *__real_malloc(size_t), *__real_calloc(size_t, size_t), *__real_realloc(void *, size_t), *__real_aligned_alloc(size_t, size_t);
void *__wrap_malloc(size_t), *__wrap_calloc(size_t, size_t), *__wrap_realloc(void *, size_t), *__wrap_aligned_alloc(size_t, size_t);

static unsigned fail_at;	/* 0: none fails; else the n-th from now */
static bool failed;

static bool fails(void)
{
	if (!fail_at || --fail_at)
		return false;
	failed = true;
	return true;
}

void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t m) { return fails() ? NULL : __real_calloc(n, m); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }
void *__wrap_aligned_alloc(size_t a, size_t n) { return fails() ? NULL : __real_aligned_alloc(a, n); }

/* ---- commands */

enum { IMAGE = 64 * KIB };

struct bench { struct rig *r; struct nvme_ctrl *to; uint8_t *image, *page; };

static struct nvme_cqe do_cdq(struct bench *b)
{
	le64 *list = (void *)b->page;
	struct nvme_cqe c;

	for (unsigned i = 0; i < 4; i++)
		list[i] = le64_of(rig_iova(b->r, b->r->mmc, b->image) + i * 4096);
	c = hm_create(b->r, b->r->mmc, rig_iova(b->r, b->r->mmc, b->page), b->r->mc->cntlid, 4 * 1024, false);
	if (nvme_cqe_status(&c) == NVME_SUCCESS)
		EXPECT_STATUS(hm_delete(b->r, b->r->mmc, le32_get(c.dw0)), NVME_SUCCESS);
	return c;
}

static struct nvme_cqe do_track(struct bench *b)
{
	struct nvme_track_mem *h = (void *)b->page;
	struct nvme_track_mem_range *d = (void *)(b->page + sizeof(*h));
	uint64_t at = rig_host(b->r, b->r->mc)->iova;
	struct nvme_cqe c;

	*h = (struct nvme_track_mem){ .rnmrtd = le32_of(3) };
	for (unsigned i = 0; i < 3; i++)
		d[i] = (struct nvme_track_mem_range){ .saddr = le64_of(at + i * 65536), .len = le32_of(16) };
	c = rig_admin_data(b->r, b->r->mmc, hm_cmd(0x3d, 0x10001, b->r->mc->cntlid, 0, 0, 0), b->page, 8 + 3 * 12);
	if (nvme_cqe_status(&c) == NVME_SUCCESS)
		EXPECT_STATUS(rig_admin(b->r, b->r->mmc, hm_cmd(0x3d, 0x00001, b->r->mc->cntlid, 0, 0, 0)), NVME_SUCCESS);
	EXPECT_EQ(b->r->mc->dev.gmem.track_count, 0);
	return c;
}

static struct nvme_cqe do_get(struct bench *b) { return hm_get(b->r, b->r->mmc, b->r->mc->cntlid, 1, 1, 0, b->image, IMAGE); }

/* A controller with a whole image of another one, in one piece and in three. */
static struct nvme_cqe do_set(struct bench *b)
{
	struct nvme_cqe c = hm_set(b->r, b->r->mmc, b->to->cntlid, 3, 1, 1, 0, b->image, IMAGE);

	if (nvme_cqe_status(&c) == NVME_SUCCESS)
		EXPECT(b->to->cq[1].live);
	return c;
}
static struct nvme_cqe do_set_pieces(struct bench *b)
{
	struct nvme_cqe c = hm_set(b->r, b->r->mmc, b->to->cntlid, 1, 1, 1, 0, b->image, 4096);

	for (unsigned i = 1; i < 3 && nvme_cqe_status(&c) == NVME_SUCCESS; i++)
		c = hm_set(b->r, b->r->mmc, b->to->cntlid, i == 1 ? 0 : 2, 1, 1, i * 4096, b->image + i * 4096, i == 1 ? 4096 : IMAGE - 8192);
	return c;
}

static void set_up(struct bench *b, struct rig *r, bool states)
{
	*b = (struct bench){ .r = r, .to = r->host[2].ctrl, .image = rig_alloc(r, r->mmc, IMAGE), .page = rig_alloc(r, r->mmc, 4096) };
	if (!states)
		return;
	rig_make_queue(r, r->mc, 1, 32);
	EXPECT_STATUS(hm_suspend(r, r->mmc, r->mc->cntlid, false), NVME_SUCCESS);
	EXPECT_STATUS(hm_suspend(r, r->mmc, b->to->cntlid, false), NVME_SUCCESS);
	EXPECT_STATUS(do_get(b), NVME_SUCCESS);
}

/* How many allocations the command makes: each of them has failed once. */
static unsigned command(struct nvme_cqe run(struct bench *), bool states)
{
	unsigned n = 0;

	for (failed = true; failed; n++) {
		RIG(r, .mcs = 2);
		struct bench b;
		struct nvme_cqe c;

		set_up(&b, &r, states);
		failed = false;
		fail_at = n + 1;
		c = run(&b);
		fail_at = 0;
		EXPECT_STATUS(c, failed ? NVME_NOT_ENOUGH_RESOURCES : NVME_SUCCESS);
		if (failed)
			EXPECT_STATUS(run(&b), NVME_SUCCESS);
		EXPECT_EQ(r.mmc->bufs_free, (1u << NVME_BUFS) - 1);
		EXPECT_EQ(r.mmc->inflight, 0);
	}
	return n - 1;
}

TEST(controller_data_queue) { EXPECT_EQ(command(do_cdq, false), 1); }
TEST(track_memory) { EXPECT_EQ(command(do_track, false), 1 + 1 + 3); }
TEST(get_state) { EXPECT(command(do_get, true) >= 2); }
TEST(set_state) { EXPECT(command(do_set, true) >= 2); }
TEST(set_state_in_pieces) { EXPECT(command(do_set_pieces, true) >= 3); }

/* ---- making things: NULL and a sentence, and nothing is left */

/* True when it worked. */
static bool made(bool ok, const struct err *err)
{
	fail_at = 0;
	EXPECT_EQ(ok, !failed);
	EXPECT(ok || err->text[0]);
	return ok;
}

static uint64_t still(struct env *e)
{
	(void)e;
	return NS_PER_S;
}
static void zeroes(struct env *e, void *p, size_t len)
{
	(void)e;
	memset(p, 0, len);
}
static const struct env_ops env_ops = { .now_ns = still, .random = zeroes };
static uint64_t clock_ns(void *ctx)
{
	(void)ctx;
	return 0;
}

/* RAM with everything in front of it. */
static struct blk *stack(struct err *err)
{
	struct blk *b = blk_ram_open(512, 1024, err);

	b = b ? blk_error_open(b, &(struct blk_error_cfg){ .rc = -EIO }, err) : NULL;
	b = b ? blk_delay_open(b, 0, 0, 1, clock_ns, NULL, err) : NULL;
	return b ? blk_stamp_open(b, err) : NULL;
}

/* Each step of a server's start, from nothing. */
static bool server(struct err *err)
{
	struct env env = { .ops = &env_ops };
	struct nvme_subsys *ss = nvme_subsys_new(&(struct nvme_subsys_cfg){ .env = &env }, err);
	struct nvme_ctrl *c = ss ? nvme_ctrl_new(ss, &(struct nvme_ctrl_cfg){ .mmc = true }, err) : NULL;
	struct blk *b = c ? stack(err) : NULL;
	struct nvme_ns *ns = b ? nvme_ns_add(ss, 0, b, NULL, err) : NULL;
	struct vuser_server *v = ns ? vuser_server_new(NULL, nvme_ctrl_device(c), &(struct vuser_server_cfg){ 0 }, err) : NULL;
	bool ok = v;

	fail_at = 0;
	vuser_server_free(v);
	nvme_subsys_free(ss);
	return ok;
}

TEST(start)
{
	unsigned n = 0;

	for (failed = true; failed; n++) {
		struct err err = { "" };

		failed = false;
		fail_at = n + 1;
		made(server(&err), &err);
	}
	EXPECT(n > 12);
}
