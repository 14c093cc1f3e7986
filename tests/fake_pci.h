/* A PCI function as a PC's ports and memory show it: CF8h/CFCh, BARs that take only addresses their size allows, bits that are fixed, bits that a
 * one clears, an MSI-X table that is there only while memory decoding is on. For the tests of vm/qemu.
 */
#ifndef FERRY_TESTS_FAKE_PCI_H
#define FERRY_TESTS_FAKE_PCI_H

#include "vm/qemu/access.h"

enum { FP_VECTORS = 8, FP_TABLE = FP_VECTORS * 16, FP_PM = 0x40, FP_MSIX = 0x50, FP_PCIE = 0x60, FP_BAR = 0xfe000000, FP_LATCH = 0x80001234 };

struct fake_pci {
	uint8_t cfg[256], wmask[256], w1c[256];
	uint8_t table[FP_TABLE];
	uint32_t latch;
	uint8_t bus, devfn;
	unsigned config_writes, table_writes, strays;	/* strays: accesses that hit nothing of ours */
	uint8_t order[512];				/* offsets written, in order; 0xff: the table */
	unsigned orders;
	int drop_at;					/* writes to this byte are lost; -1 none */
	bool flr;					/* somebody asked for a function level reset */
};

static inline uint32_t fp_get(const struct fake_pci *f, unsigned at, unsigned n)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint32_t)f->cfg[at + i] << 8 * i;
	return v;
}
static inline void fp_set(struct fake_pci *f, unsigned at, unsigned n, uint32_t v)
{
	for (unsigned i = 0; i < n; i++)
		f->cfg[at + i] = (uint8_t)(v >> 8 * i);
}
static inline void fp_mask(struct fake_pci *f, unsigned at, unsigned n, uint32_t v)
{
	for (unsigned i = 0; i < n; i++)
		f->wmask[at + i] = (uint8_t)(v >> 8 * i);
}

/* As a reset leaves it. */
static inline void fp_init(struct fake_pci *f)
{
	*f = (struct fake_pci){ .latch = FP_LATCH, .devfn = 4 << 3, .drop_at = -1 };
	fp_set(f, 0x00, 4, 0x4d31fe44);
	fp_set(f, 0x06, 2, 0x0010);
	fp_set(f, 0x08, 4, 0x01080201);
	fp_set(f, 0x2c, 4, 0x4d31fe44);
	fp_set(f, 0x34, 1, FP_PM);
	fp_set(f, FP_PM, 4, 0x0003 << 16 | FP_MSIX << 8 | 0x01);
	fp_set(f, FP_PM + 4, 2, 8);
	fp_set(f, FP_MSIX, 4, (FP_VECTORS - 1u) << 16 | FP_PCIE << 8 | 0x11);
	fp_set(f, FP_MSIX + 4, 4, 2);			/* the table: BAR 2, offset 0 */
	fp_set(f, FP_MSIX + 8, 4, 4);
	fp_set(f, FP_PCIE, 4, 2 << 16 | 0x10);
	fp_set(f, FP_PCIE + 8, 2, 0x2810);
	for (unsigned bar = 0; bar < 6; bar += 2) {
		fp_set(f, 0x10 + 4 * bar, 4, 4);
		fp_mask(f, 0x10 + 4 * bar, 4, bar ? 0xfffff000 : 0xffffc000);
		fp_mask(f, 0x14 + 4 * bar, 4, 0xffffffff);
	}
	fp_mask(f, 0x04, 2, 0x0546);
	fp_mask(f, 0x0c, 1, 0xff);
	fp_mask(f, 0x3c, 1, 0xff);
	fp_mask(f, FP_PM + 4, 2, 0x0103);
	fp_mask(f, FP_MSIX + 2, 2, 0xc000);
	fp_mask(f, FP_PCIE + 8, 2, 0x78ff);
	fp_mask(f, FP_PCIE + 16, 2, 0x01c3);
	fp_mask(f, FP_PCIE + 40, 2, 0x001f);
	f->w1c[0x07] = 0xf9;
	f->w1c[FP_PM + 5] = 0x80;
	f->w1c[FP_PCIE + 10] = 0x0f;
	for (unsigned i = 0; i < FP_VECTORS; i++)
		f->table[16 * i + 12] = 1;
}

/* As a driver in full swing has it. */
static inline void fp_busy(struct fake_pci *f)
{
	fp_set(f, 0x04, 2, 0x0406);
	fp_set(f, 0x0c, 1, 0x10);
	fp_set(f, 0x3c, 1, 0x0b);
	fp_set(f, 0x10, 4, 0xfebf0004);
	fp_set(f, 0x18, 4, FP_BAR | 4);
	fp_set(f, 0x1c, 4, 0x00000008);			/* above 4 GiB: 0x8fe000000 */
	fp_set(f, 0x20, 4, 0xfebf8004);
	fp_set(f, FP_PM + 4, 2, 0x0108);
	fp_set(f, FP_PCIE + 8, 2, 0x2030);
	fp_set(f, FP_PCIE + 16, 2, 0x0040);
	fp_set(f, FP_PCIE + 40, 2, 0x0006);
	fp_set(f, FP_MSIX + 2, 2, 0x8000 | (FP_VECTORS - 1));
	for (unsigned i = 1; i < FP_VECTORS - 1; i++) {
		uint8_t e[16] = { 0, (uint8_t)(i << 4), 0xe0, 0xfe, 0, 0, 0, 0, (uint8_t)(0x20 + i), 0x40, 0, 0, i == 3 };

		memcpy(f->table + 16 * i, e, 16);
	}
}

static inline bool fp_here(const struct fake_pci *f)
{
	return f->latch >> 31 && (f->latch >> 8 & 0xffffff & 0x7fffff) == (uint32_t)(f->bus << 8 | f->devfn);
}

static inline void fp_out(struct fake_pci *f, uint64_t port, unsigned n, uint32_t v)
{
	unsigned at = (f->latch & 0xfc) + (unsigned)(port & 3);

	if (port == 0xcf8 && n == 4) {
		f->latch = v;
		return;
	}
	if (port < 0xcfc || port > 0xcff || !fp_here(f)) {
		f->strays++;
		return;
	}
	f->config_writes++;
	f->order[f->orders++ % sizeof(f->order)] = (uint8_t)at;
	for (unsigned i = 0; i < n; i++, at++, v >>= 8) {
		if ((int)at == f->drop_at)
			continue;
		if (at == FP_PCIE + 9 && v & 0x80)
			f->flr = true;
		f->cfg[at] = (uint8_t)((f->cfg[at] & ~f->wmask[at]) | (v & f->wmask[at]));
		f->cfg[at] &= (uint8_t)~(v & f->w1c[at]);
	}
}
static inline uint32_t fp_in(struct fake_pci *f, uint64_t port)
{
	if (port == 0xcf8)
		return f->latch;
	if (port != 0xcfc || !fp_here(f)) {
		f->strays++;
		return 0xffffffff;
	}
	return fp_get(f, f->latch & 0xfc, 4);
}

static inline uint8_t *fp_mem(struct fake_pci *f, uint64_t at, uint32_t n)
{
	uint64_t base = (fp_get(f, 0x18, 4) & ~15u) | (uint64_t)fp_get(f, 0x1c, 4) << 32;

	if (!(f->cfg[4] & 2) || !range_inside(at - base, n, FP_TABLE)) {
		f->strays++;
		return NULL;
	}
	return f->table + (at - base);
}
static inline void fp_write(struct fake_pci *f, uint64_t at, const uint8_t *p, uint32_t n)
{
	uint8_t *m = fp_mem(f, at, n);

	f->table_writes++;
	f->order[f->orders++ % sizeof(f->order)] = 0xff;
	if (m)
		memcpy(m, p, n);
}
static inline void fp_read(struct fake_pci *f, uint64_t at, uint8_t *p, uint32_t n)
{
	uint8_t *m = fp_mem(f, at, n);

	memset(p, 0, n);
	if (m)
		memcpy(p, m, n);
}

static inline void fp_run(struct fake_pci *f, struct access_list *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		struct access *a = &l->a[i];

		switch (a->op) {
		case ACCESS_INL: a->value = fp_in(f, a->at); break;
		case ACCESS_OUTB: fp_out(f, a->at, 1, a->value); break;
		case ACCESS_OUTW: fp_out(f, a->at, 2, a->value); break;
		case ACCESS_OUTL: fp_out(f, a->at, 4, a->value); break;
		case ACCESS_READ: fp_read(f, a->at, a->data, a->bytes); break;
		case ACCESS_WRITE: fp_write(f, a->at, a->data, a->bytes); break;
		}
	}
}

#endif
