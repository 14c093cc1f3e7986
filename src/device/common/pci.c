/* Configuration space of one function, as bytes with a write mask: what is set there cannot be argued with, the rest is fixed.
 *
 * Called by the device for region accesses and resets, device thread. Layout: header 00h, PM 40h, MSI-X 50h, PCIe 60h.
 */
#include "device/common/pci.h"

#include <errno.h>

#include "base/check.h"

enum {
	CFG_COMMAND = 0x04, CFG_STATUS = 0x06, CFG_REVISION = 0x08, CFG_CLASS = 0x09, CFG_CACHE_LINE = 0x0c, CFG_BAR0 = 0x10,
	CFG_SUBVENDOR = 0x2c, CFG_CAP_PTR = 0x34, CFG_INT_LINE = 0x3c,
	CAP_PM = 0x40, CAP_MSIX = 0x50, CAP_PCIE = 0x60,
	COMMAND_BUS_MASTER = 1 << 2, COMMAND_BITS = 0x0546,	/* memory, bus master, parity, SERR, INTx disable */
	STATUS_CAPS = 1 << 4,
	MSIX_ENABLE = 1 << 15, MSIX_MASK_ALL = 1 << 14,
	BAR_MEM64 = 0x4,
	PCIE_FLR_CAP = 1 << 28, PCIE_RBER = 1 << 15, PCIE_FLR = 1 << 15
};

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static void put16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)v; p[1] = (uint8_t)(v >> 8); }
static void put32(uint8_t *p, uint32_t v) { put16(p, v); put16(p + 2, v >> 16); }

/* Address bits of a BAR are writable down to its size, so writing all ones reads back the size mask. */
static void bars_init(struct pci *p)
{
	for (unsigned i = 0; i < 6; i++) {
		uint64_t mask = ~(p->bar_size[i] - 1);

		if (!p->bar_size[i])
			continue;
		CHECK(is_pow2(p->bar_size[i]) && p->bar_size[i] >= 16 && i < 5 && !p->bar_size[i + 1]);
		put32(p->cfg + CFG_BAR0 + 4 * i, BAR_MEM64);
		put32(p->wmask + CFG_BAR0 + 4 * i, (uint32_t)mask);
		put32(p->wmask + CFG_BAR0 + 4 * i + 4, (uint32_t)(mask >> 32));
		i++;
	}
}

static void caps_init(struct pci *p, const struct pci_cfg *c)
{
	uint8_t *pm = p->cfg + CAP_PM, *mx = p->cfg + CAP_MSIX, *pe = p->cfg + CAP_PCIE;

	put16(p->cfg + CFG_STATUS, STATUS_CAPS);
	p->cfg[CFG_CAP_PTR] = CAP_PM;
	put16(pm, 0x01 | CAP_MSIX << 8);
	put16(pm + 2, 3);				/* version 1.2, no PME */
	put16(pm + 4, 1 << 3);				/* D3hot -> D0 loses nothing */
	put16(p->wmask + CAP_PM + 4, 3);		/* power state */
	put16(mx, 0x11 | CAP_PCIE << 8);
	put16(mx + 2, c->msix_count - 1u);
	put16(p->wmask + CAP_MSIX + 2, MSIX_ENABLE | MSIX_MASK_ALL);
	put32(mx + 4, c->msix_table_off | c->msix_table_bar);
	put32(mx + 8, c->msix_pba_off | c->msix_pba_bar);
	put16(pe, 0x10);
	put16(pe + 2, 2);				/* version 2, endpoint */
	put32(pe + 4, PCIE_FLR_CAP | PCIE_RBER | 1);	/* 256 byte payload */
	put16(pe + 8, 0x2810);				/* relaxed ordering, no snoop, 512 byte reads */
	put16(p->wmask + CAP_PCIE + 8, 0x78ff);
	put32(pe + 12, 4 << 4 | 3);			/* link: x4, 8 GT/s */
	put16(p->wmask + CAP_PCIE + 16, 0x01c3);
	put16(pe + 18, 4 << 4 | 3);
	put16(p->wmask + CAP_PCIE + 40, 0x001f);	/* completion timeout */
}

void pci_init(struct pci *p, const struct pci_cfg *c)
{
	CHECK(c->msix_count > 0 && c->msix_count <= PCI_MSIX_MAX);
	*p = (struct pci){ .msix_count = c->msix_count, .pm_cap = CAP_PM, .pcie_cap = CAP_PCIE, .msix_cap = CAP_MSIX };
	memcpy(p->bar_size, c->bar_size, sizeof(p->bar_size));
	put16(p->cfg, c->vendor);
	put16(p->cfg + 2, c->device);
	p->cfg[CFG_REVISION] = c->revision;
	p->cfg[CFG_CLASS] = (uint8_t)c->class_code;
	put16(p->cfg + CFG_CLASS + 1, c->class_code >> 8);
	put16(p->cfg + CFG_SUBVENDOR, c->subvendor);
	put16(p->cfg + CFG_SUBVENDOR + 2, c->subdevice);
	put16(p->wmask + CFG_COMMAND, COMMAND_BITS);
	p->wmask[CFG_CACHE_LINE] = 0xff;
	p->wmask[CFG_INT_LINE] = 0xff;			/* the pin stays 0: no INTx */
	bars_init(p);
	caps_init(p, c);
	pci_reset(p);
}

int pci_cfg_read(struct pci *p, uint64_t off, void *buf, uint32_t len)
{
	if (!range_inside(off, len, PCI_CFG_BYTES))
		return -EINVAL;
	memcpy(buf, p->cfg + off, len);
	return 0;
}

int pci_cfg_write(struct pci *p, uint64_t off, const void *buf, uint32_t len, bool *flr)
{
	const uint8_t *b = buf;
	uint64_t flr_at = p->pcie_cap + 9u; /* the bit is the top one of Device Control; it always reads 0 */

	*flr = false;
	if (!range_inside(off, len, PCI_CFG_BYTES))
		return -EINVAL;
	for (uint32_t i = 0; i < len; i++) {
		uint8_t m = p->wmask[off + i];

		p->cfg[off + i] = (uint8_t)((p->cfg[off + i] & ~m) | (b[i] & m));
		if (off + i == flr_at && b[i] & PCIE_FLR >> 8)
			*flr = true;
	}
	return 0;
}

void pci_reset(struct pci *p)
{
	for (unsigned i = 0; i < PCI_CFG_BYTES; i++)
		p->cfg[i] &= (uint8_t)~p->wmask[i];
	put16(p->cfg + p->pcie_cap + 8, 0x2810);
	memset(p->pba, 0, sizeof(p->pba));
	memset(p->msix, 0, sizeof(p->msix));
	for (unsigned i = 0; i < p->msix_count; i++)
		p->msix[i].ctrl = 1;
}

bool pci_bus_master(const struct pci *p)
{
	return get16(p->cfg + CFG_COMMAND) & COMMAND_BUS_MASTER;
}

bool pci_msix_enabled(const struct pci *p)
{
	return (get16(p->cfg + p->msix_cap + 2) & (MSIX_ENABLE | MSIX_MASK_ALL)) == MSIX_ENABLE;
}

/* A client that keeps the table itself (QEMU) tells us nothing of it: the entry is as reset left it. Then binding and
 * unbinding is all the masking there is. */
bool pci_msix_masked(const struct pci *p, unsigned vector)
{
	const struct pci_msix_entry *e = &p->msix[vector];

	return (e->ctrl & 1) && (e->addr_lo | e->addr_hi | e->data);
}

/* Behind the last entry the page reads as zeroes. */
static void window_read(const void *src, size_t size, uint64_t off, void *buf, uint32_t len)
{
	memset(buf, 0, len);
	if (off < size)
		memcpy(buf, (const uint8_t *)src + off, MIN(len, size - off));
}

int pci_msix_table_read(struct pci *p, uint64_t off, void *buf, uint32_t len)
{
	window_read(p->msix, p->msix_count * sizeof(p->msix[0]), off, buf, len);
	return 0;
}

int pci_msix_table_write(struct pci *p, uint64_t off, const void *buf, uint32_t len)
{
	size_t size = p->msix_count * sizeof(p->msix[0]);

	if ((len != 4 && len != 8) || off % len)
		return -EINVAL;
	for (uint32_t i = 0; i < len; i += 4) {
		uint32_t v;

		if (off + i >= size)
			return 0;
		memcpy(&v, (const uint8_t *)buf + i, 4);
		if ((off + i) % sizeof(p->msix[0]) == offsetof(struct pci_msix_entry, ctrl))
			v &= 1;
		memcpy((uint8_t *)p->msix + off + i, &v, 4);
	}
	return 0;
}

int pci_msix_pba_read(struct pci *p, uint64_t off, void *buf, uint32_t len)
{
	window_read(p->pba, sizeof(p->pba), off, buf, len);
	return 0;
}
