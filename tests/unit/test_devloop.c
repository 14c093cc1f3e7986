/* The loop transport: a device reached by plain calls, judged like a client's messages. */
#include "vuser_rig.h"
#include "transport/loop.h"

static unsigned rings[FAKE_VECTORS];
static bool ring(void *ctx, unsigned v) { (void)ctx; rings[v]++; return true; }

#define LOOPED(f, l, irq)           \
	static struct fake f;       \
	struct devloop l;           \
	fake_init(&f);              \
	devloop_attach(&l, &f.d, irq, NULL)

TEST(loop_registers)
{
	LOOPED(f, l, NULL);
	uint32_t v = 5, got = 0;

	EXPECT_EQ(devloop_write(&l, 0, 0x1000, &v, 4), 0);
	EXPECT_EQ(devloop_read(&l, 0, 0x1000, &got, 4), 0);
	EXPECT_EQ(got, 5);
	EXPECT_EQ(devloop_read(&l, 7, 0, &got, 2), 0);
	EXPECT_EQ(devloop_read(&l, 0, 0x3ffe, &got, 4), -EINVAL);
	EXPECT_EQ(devloop_read(&l, 0, UINT64_MAX, &got, 4), -EINVAL);
	EXPECT_EQ(devloop_read(&l, 9, 0, &got, 4), -EINVAL);
	EXPECT_EQ(devloop_read(&l, 1, 0, &got, 4), -EINVAL);
	EXPECT_EQ(devloop_read(&l, 0, 0, &got, 0), -EINVAL);
	EXPECT_EQ(devloop_write(&l, 4, 0, &v, 4), -EINVAL);
	devloop_reset(&l);
	EXPECT_EQ(f.resets, 1);
	EXPECT_EQ(devloop_detach(&l), 0);
}

/* An interrupt from before the attach is raised at it; without a listener it stays pending. */
TEST(loop_irqs)
{
	LOOPED(f, l, NULL);

	fake_raise(&f, 3);
	EXPECT(f.pending[3]);
	EXPECT_EQ(devloop_detach(&l), 0);
	memset(rings, 0, sizeof(rings));
	devloop_attach(&l, &f.d, ring, NULL);
	EXPECT_EQ(rings[3], 1);
	EXPECT(!f.pending[3]);
	fake_raise(&f, 4);
	EXPECT_EQ(rings[4], 1);
	EXPECT_EQ(devloop_detach(&l), 0);
	EXPECT(f.d.irq == NULL);
}

/* Detaching takes all maps, but not before the device has let go. */
TEST(loop_memory)
{
	static uint8_t mem[0x2000];
	LOOPED(f, l, ring);

	EXPECT_EQ(devloop_dma_map(&l, 0x1000, 0x1000, mem, true, true), 0);
	EXPECT_EQ(devloop_dma_map(&l, 0x1800, 0x1000, mem, true, true), -EEXIST);
	EXPECT_EQ(devloop_dma_map(&l, 0x2000, 0x1000, mem + 0x1000, true, true), 0);
	EXPECT(gmem_ptr(&f.d.gmem, 0x1ff0, 0x20, true) == mem + 0xff0);
	EXPECT_EQ(devloop_dma_unmap(&l, 0x5000, 0x1000), -ENOENT);
	gmem_hold(&f.d.gmem);
	EXPECT_EQ(devloop_dma_unmap(&l, 0x1000, 0x1000), -EAGAIN);
	EXPECT_EQ(devloop_detach(&l), -EAGAIN);
	EXPECT_EQ(f.detached, 0);
	gmem_release(&f.d.gmem);
	EXPECT_EQ(devloop_detach(&l), 0);
	EXPECT_EQ(f.detached, 1);
	EXPECT_EQ(f.d.gmem.count, 0);
	gmem_fini(&f.d.gmem);
}
