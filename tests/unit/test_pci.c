/* PCI configuration space: what a guest may change, sizing, MSI-X, reset. */
#include "t.h"

#include <errno.h>

#include "device/common/pci.h"

static struct pci p;
static void fresh(void)
{
	pci_init(&p, &(struct pci_cfg){ .vendor = 0x1111, .device = 0x2222, .class_code = 0x010802,
					.bar_size = { 0x4000, 0, 0x1000, 0, 0x1000, 0 }, .msix_count = 65,
					.msix_table_bar = 4, .msix_pba_bar = 2 });
}
static uint32_t get(unsigned off, unsigned len)
{
	uint32_t v = 0;

	EXPECT_EQ(pci_cfg_read(&p, off, &v, len), 0);
	return v;
}
static bool put(unsigned off, unsigned len, uint32_t v)
{
	bool flr;

	EXPECT_EQ(pci_cfg_write(&p, off, &v, len, &flr), 0);
	return flr;
}

/* PCI 6.2.5.1: all ones read back as the size; type bits stay. */
TEST(bar_sizing)
{
	fresh();
	put(0x10, 4, 0xffffffff);
	put(0x14, 4, 0xffffffff);
	EXPECT_EQ(get(0x10, 4), 0xffffc004);
	EXPECT_EQ(get(0x14, 4), 0xffffffff);
	put(0x10, 4, 0xfebf1234);
	EXPECT_EQ(get(0x10, 4), 0xfebf0004);
	put(0x30, 4, 0xfffff800); /* no ROM */
	EXPECT_EQ(get(0x30, 4), 0);
}

/* Identity, class and capabilities are not the guest's to change, whatever width it writes. */
TEST(read_only_stays)
{
	fresh();
	for (unsigned i = 0; i < PCI_CFG_BYTES; i += 4)
		put(i, 4, 0xffffffff);
	EXPECT_EQ(get(0, 4), 0x22221111);
	EXPECT_EQ(get(8, 4), 0x01080200);
	EXPECT_EQ(get(0x34, 1), 0x40);
	EXPECT_EQ(get(0x3d, 1), 0);	/* no INTx */
	EXPECT_EQ(get(4, 2), 0x0546);
	EXPECT_EQ(get(6, 2), 0x0010);
}

/* The list of capabilities ends, and holds PM, MSI-X, PCIe. */
TEST(capability_list)
{
	unsigned at, seen = 0;

	fresh();
	for (at = get(0x34, 1); at && seen < 10; at = get(at + 1, 1))
		seen += get(at, 1) == 0x01 || get(at, 1) == 0x11 || get(at, 1) == 0x10 ? 1 : 100;
	EXPECT_EQ(seen, 3);
	EXPECT_EQ(get(p.msix_cap + 2u, 2), 64);
	EXPECT_EQ(get(p.msix_cap + 4u, 4), 4);
	EXPECT_EQ(get(p.msix_cap + 8u, 4), 2);
	EXPECT(get(p.pcie_cap + 4u, 4) & 1 << 28);
}

TEST(flr_is_asked_for_and_reads_zero)
{
	fresh();
	EXPECT(put(p.pcie_cap + 8u, 2, 0x8000 | 0x2810));
	EXPECT_EQ(get(p.pcie_cap + 8u, 2), 0x2810);
	EXPECT(!put(p.pcie_cap + 8u, 2, 0x2810));
	EXPECT(put(p.pcie_cap + 9u, 1, 0x80));
}

TEST(access_outside_is_refused)
{
	uint8_t b[8] = { 0 };
	bool flr;

	fresh();
	EXPECT_EQ(pci_cfg_read(&p, 4095, b, 2), -EINVAL);
	EXPECT_EQ(pci_cfg_write(&p, UINT64_MAX, b, 2, &flr), -EINVAL);
	EXPECT_EQ(pci_msix_table_write(&p, 2, b, 4), -EINVAL);
	EXPECT_EQ(pci_msix_table_write(&p, 0, b, 3), -EINVAL);
	EXPECT_EQ(pci_msix_table_write(&p, 65 * 16, b, 8), 0); /* behind the last entry: nothing */
	EXPECT_EQ(pci_msix_table_read(&p, UINT64_MAX - 8, b, 8), 0);
}

/* A masked entry masks only once the client has shown us its table: QEMU never does. */
TEST(msix_mask)
{
	uint32_t addr = 0xfee00000, on = 0, off = 0xffffffff, v;

	fresh();
	EXPECT(!pci_msix_enabled(&p));
	put(p.msix_cap + 2u, 2, 0xc000);
	EXPECT(!pci_msix_enabled(&p));
	put(p.msix_cap + 2u, 2, 0x8000);
	EXPECT(pci_msix_enabled(&p));
	EXPECT(!pci_msix_masked(&p, 3));
	pci_msix_table_write(&p, 3 * 16, &addr, 4);
	EXPECT(pci_msix_masked(&p, 3));
	pci_msix_table_write(&p, 3 * 16 + 12, &on, 4);
	EXPECT(!pci_msix_masked(&p, 3));
	pci_msix_table_write(&p, 3 * 16 + 12, &off, 4);
	pci_msix_table_read(&p, 3 * 16 + 12, &v, 4);
	EXPECT_EQ(v, 1);
}

TEST(reset_forgets_what_the_guest_set)
{
	fresh();
	put(4, 2, 6);
	put(0x10, 4, 0xfebf0000);
	put(p.msix_cap + 2u, 2, 0x8000);
	p.pba[0] = 1;
	p.msix[0].ctrl = 0;
	EXPECT(pci_bus_master(&p));
	pci_reset(&p);
	EXPECT(!pci_bus_master(&p));
	EXPECT(!pci_msix_enabled(&p));
	EXPECT_EQ(get(0x10, 4), 4);
	EXPECT_EQ(p.pba[0], 0);
	EXPECT_EQ(p.msix[0].ctrl, 1);
}
