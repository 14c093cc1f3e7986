/* The image of a PCI function: taken from one pretend function, put into another, against hostile images and awkward functions. */
#include "t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "fake_pci.h"
#include "vm/qemu/pci_image.h"

static struct fake_pci src, dst;
static struct pci_image im, got;
static struct access_list list;
static uint8_t table[PCI_IMAGE_TABLE_MAX], packed[64 * 1024];
static struct err err;

static int capture(struct fake_pci *f, struct pci_image *to)
{
	uint64_t at = 0;
	struct access *a;
	int rc;

	memset(to, 0, sizeof(*to));
	to->bus = f->bus;
	to->devfn = f->devfn;
	to->running = true;
	to->known = pci_image_usual();
	do {
		pci_image_ask_config(&list, f->bus, f->devfn, f->latch, to->known);
		fp_run(f, &list);
		pci_image_take_config(&list, to->known, to->cfg);
	} while (pci_image_needs(to->cfg, to->known) & ~to->known && (to->known = ~0ull));
	rc = pci_image_table_at(to->cfg, &at, &to->table_bytes, &err);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	list.n = 0;
	a = access_add(&list, ACCESS_READ, at, 0);
	a->bytes = to->table_bytes;
	a->data = to->table;
	fp_run(f, &list);
	return 0;
}

static int put(struct fake_pci *f, struct pci_image *from)
{
	uint8_t have[PCI_IMAGE_CFG] = { 0 };
	int rc;

	pci_image_ask_config(&list, f->bus, f->devfn, f->latch, from->known);
	fp_run(f, &list);
	pci_image_take_config(&list, from->known, have);
	rc = pci_image_fits(from, have, &err);
	if (rc)
		return rc;
	from->latch = f->latch; /* QEMU moves it */
	pci_image_replay(from, have, table, &list);
	fp_run(f, &list);
	return pci_image_compare(from, &list, table, &err);
}

static void begin(void)
{
	fp_init(&src);
	fp_init(&dst);
	fp_busy(&src);
	err.text[0] = '\0';
}

static unsigned place(uint8_t what)
{
	for (unsigned i = 0; i < dst.orders; i++)
		if (dst.order[i] == what)
			return i;
	return ~0u;
}

TEST(goes_over_whole)
{
	begin();
	EXPECT_EQ(capture(&src, &im), 0);
	EXPECT_EQ(src.config_writes + src.table_writes + src.strays, 0);
	EXPECT_EQ(src.latch, FP_LATCH);
	EXPECT_EQ(im.table_bytes, FP_TABLE);
	EXPECT_EQ(put(&dst, &im), 0);
	EXPECT_MEM(src.cfg, dst.cfg, 256);
	EXPECT_MEM(src.table, dst.table, FP_TABLE);
	EXPECT_EQ(dst.latch, FP_LATCH);
	EXPECT_EQ(dst.strays, 0);
	EXPECT(!dst.flr);
}

/* Interrupts go on last, when the entries are right; entries are reached through the BAR; a BAR moves while nothing decodes it. */
TEST(order)
{
	begin();
	EXPECT_EQ(capture(&src, &im), 0);
	EXPECT_EQ(put(&dst, &im), 0);
	EXPECT(place(0x18) < place(0x04) && place(0x1c) < place(0x04));
	EXPECT(place(0x04) < place(0xff) && place(0xff) < place(FP_MSIX + 2));
	EXPECT(place(FP_MSIX + 2) < place(FP_PM + 4) && place(FP_PM + 4) != ~0u);
}

TEST(writes_only_what_differs)
{
	begin();
	EXPECT_EQ(capture(&src, &im), 0);
	EXPECT_EQ(put(&dst, &im), 0);
	dst.config_writes = 0;
	EXPECT_EQ(put(&dst, &im), 0);
	EXPECT_EQ(dst.config_writes, 0);
}

/* A function that is laid out otherwise: capabilities at other places, found by walking, everything is read then. */
TEST(another_layout)
{
	struct fake_pci *both[] = { &src, &dst };

	begin();
	for (int i = 0; i < 2; i++) {
		struct fake_pci *f = both[i];

		memcpy(f->cfg + 0xc0, f->cfg + FP_MSIX, 12);
		memcpy(f->wmask + 0xc0, f->wmask + FP_MSIX, 12);
		memset(f->cfg + FP_MSIX, 0, 12);
		f->cfg[FP_PM + 1] = 0xc0;
	}
	EXPECT_EQ(capture(&src, &im), 0);
	EXPECT_EQ(im.known, ~0ull);
	EXPECT_EQ(im.table_bytes, FP_TABLE);
	EXPECT_EQ(put(&dst, &im), 0);
	EXPECT_MEM(src.cfg, dst.cfg, 256);
	EXPECT_MEM(src.table, dst.table, FP_TABLE);
}

/* A hostile image that knows too little cannot leave a register out of the comparison. */
TEST(image_with_holes)
{
	begin();
	EXPECT_EQ(capture(&src, &im), 0);
	EXPECT(im.known != ~0ull);
	for (unsigned i = 0; i < 64; i++) {
		if (!(im.known >> i & 1))
			continue;
		got = im;
		got.known &= ~(1ull << i);
		EXPECT_EQ(put(&dst, &got), -EPROTO);
		EXPECT_EQ(dst.config_writes, 0);
	}
}

/* A function that no driver has touched: nothing to write, no table to reach. */
TEST(at_reset)
{
	begin();
	fp_init(&src);
	EXPECT_EQ(capture(&src, &im), 0);
	EXPECT_EQ(im.table_bytes, 0);
	EXPECT_EQ(put(&dst, &im), 0);
	EXPECT_EQ(dst.config_writes + dst.table_writes + dst.strays + src.strays, 0);
}

TEST(bars_set_but_decoding_off)
{
	begin();
	fp_set(&src, 0x04, 2, 0x0400);
	fp_set(&src, FP_MSIX + 2, 2, FP_VECTORS - 1);
	EXPECT_EQ(capture(&src, &im), 0);
	EXPECT_EQ(im.table_bytes, 0);
	EXPECT_EQ(put(&dst, &im), 0);
	EXPECT_MEM(src.cfg, dst.cfg, 256);
}

TEST(unreachable_table_that_is_in_use)
{
	begin();
	fp_set(&src, 0x04, 2, 0x0404);
	EXPECT_EQ(capture(&src, &im), -EBUSY);
	EXPECT(strstr(err.text, "memory decoding is off"));
	begin();
	fp_set(&src, FP_PM + 4, 2, 3);
	EXPECT_EQ(capture(&src, &im), -EBUSY);
	EXPECT(strstr(err.text, "D3"));
	begin();
	fp_set(&src, 0x18, 4, 4);
	fp_set(&src, 0x1c, 4, 0);
	EXPECT_EQ(capture(&src, &im), -EPROTO);
	begin();
	fp_set(&src, FP_MSIX + 4, 4, 7);
	EXPECT_EQ(capture(&src, &im), -EPROTO);
}

TEST(msi_is_refused)
{
	begin();
	fp_set(&src, FP_PCIE + 1, 1, 0xa0);
	fp_set(&src, 0xa0, 4, 0x0001 << 16 | 0x05);
	EXPECT_EQ(capture(&src, &im), -ENOTSUP);
	EXPECT(strstr(err.text, "MSI"));
}

/* Every bit that the source's guest may set arrives; registers of a PCI Express function need its capability version. */
TEST(each_writable_bit)
{
	unsigned tried = 0;

	for (unsigned bit = 0; bit < 256 * 8; bit++) {
		unsigned at = bit / 8;

		begin();
		if (!(src.wmask[at] & 1 << bit % 8) || (at == 0x04 && bit % 8 == 1) || at == FP_PM + 4)
			continue;
		src.cfg[at] ^= (uint8_t)(1 << bit % 8);
		EXPECT_EQ(capture(&src, &im), 0);
		EXPECT_EQ(put(&dst, &im), 0);
		EXPECT_MEM(src.cfg, dst.cfg, 256);
		EXPECT_MEM(src.table, dst.table, FP_TABLE);
		tried++;
	}
	EXPECT(tried > 150);
}

/* Errors that were seen at one end are not settings: they may differ, and are never cleared by us. */
TEST(status_is_left_alone)
{
	begin();
	src.cfg[0x07] = 0xf9;
	src.cfg[FP_PM + 5] |= 0x80;
	src.cfg[FP_PCIE + 10] = 0x0f;
	dst.cfg[0x07] = 0x10;
	dst.cfg[FP_PM + 5] |= 0x80;
	dst.cfg[FP_PCIE + 10] = 0x01;
	EXPECT_EQ(capture(&src, &im), 0);
	EXPECT_EQ(put(&dst, &im), 0);
	EXPECT_EQ(dst.cfg[0x07], 0x10);
	EXPECT_EQ(dst.cfg[FP_PCIE + 10], 0x01);
	EXPECT_EQ(dst.cfg[FP_PM + 5], 0x81);
}

/* Whatever cannot be written must be equal; then nothing is written at all. */
TEST(another_function)
{
	static const unsigned at[] = { 0x00, 0x02, 0x08, 0x0a, 0x0e, 0x10, 0x2c, 0x34, FP_PM + 1, FP_MSIX, FP_MSIX + 2, FP_MSIX + 4, FP_PCIE + 2, 0x3d };

	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		begin();
		EXPECT_EQ(capture(&src, &im), 0);
		dst.cfg[at[i]] ^= 1;
		EXPECT(put(&dst, &im) < 0);
		EXPECT(strstr(err.text, "another one than at the source"));
		EXPECT_EQ(dst.config_writes + dst.table_writes, 0);
	}
	EXPECT(strstr(err.text, "3dh"));
}

/* A write that has no effect is noticed, by the register's name and both values. */
TEST(refused_write_is_noticed)
{
	static const struct { int at; const char *name; } lost[] = {
		{ 0x05, "command" }, { 0x0c, "cache line" }, { 0x1f, NULL }, { 0x1c, "base address 3" }, { 0x3c, "interrupt line" },
		{ FP_MSIX + 3, "MSI-X control" }, { FP_PCIE + 8, "device control" }, { FP_PM + 5, "power management" },
	};

	for (size_t i = 0; i < ARRAY_LEN(lost); i++) {
		begin();
		dst.drop_at = lost[i].at;
		EXPECT_EQ(capture(&src, &im), 0);
		EXPECT_EQ(put(&dst, &im), lost[i].name ? -EINVAL : 0);
		EXPECT(!lost[i].name || (strstr(err.text, lost[i].name) && strstr(err.text, "did not take")));
	}
	begin();
	EXPECT_EQ(capture(&src, &im), 0);
	EXPECT_EQ(put(&dst, &im), 0);
	table[16 * 2 + 8] ^= 1;
	EXPECT_EQ(pci_image_compare(&im, &list, table, &err), -EINVAL);
	EXPECT(strstr(err.text, "data of entry 2"));
}

/* ---- packed */

TEST(packed_and_back)
{
	size_t n;

	begin();
	EXPECT_EQ(capture(&src, &im), 0);
	n = pci_image_pack(&im, packed, sizeof(packed));
	EXPECT(n > 256 + FP_TABLE);
	EXPECT_EQ(pci_image_pack(&im, packed, n - 1), 0);
	EXPECT_EQ(pci_image_pack(&im, packed, n), n);
	memset(&got, 0xa5, sizeof(got));
	EXPECT_EQ(pci_image_unpack(&got, packed, n, &err), 0);
	EXPECT_EQ(got.running, true);
	EXPECT_EQ(got.devfn, src.devfn);
	EXPECT_EQ(put(&dst, &got), 0);
	EXPECT_MEM(src.cfg, dst.cfg, 256);
	EXPECT_MEM(src.table, dst.table, FP_TABLE);
}

TEST(hostile_bytes)
{
	uint8_t *exact;
	size_t n;

	begin();
	EXPECT_EQ(capture(&src, &im), 0);
	n = pci_image_pack(&im, packed, sizeof(packed));
	for (size_t len = 0; len < n; len++) {
		exact = malloc(len ? len : 1); /* so that a sanitizer sees a read behind it */
		memcpy(exact, packed, len);
		EXPECT(pci_image_unpack(&got, exact, len, &err) < 0);
		free(exact);
	}
	EXPECT(pci_image_unpack(&got, packed, n + 1, &err) < 0);
	for (size_t bit = 0; bit < n * 8; bit++) {
		packed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		EXPECT(pci_image_unpack(&got, packed, n, &err) < 0);
		packed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	EXPECT_EQ(pci_image_unpack(&got, packed, n, &err), 0);
}

/* With a checksum that is right, as a hostile peer's would be: nothing but a fitting image gets as far as a write. */
TEST(hostile_content)
{
	uint8_t at_first[256];

	srand(7);
	begin();
	EXPECT_EQ(capture(&src, &im), 0);
	for (unsigned round = 0; round < 20000; round++) {
		got = im;
		for (int k = rand() % 4; k >= 0; k--)
			got.cfg[rand() % 256] = (uint8_t)rand();
		if (rand() % 4 == 0)
			got.known = ((uint64_t)rand() << 33 ^ (uint64_t)rand()) | (rand() % 2 ? im.known : 0);
		if (rand() % 4 == 0)
			got.table_bytes = (uint32_t)(rand() % 2049) * 16;
		fp_init(&dst);
		memcpy(at_first, dst.cfg, 256);
		if (put(&dst, &got) && !dst.config_writes)
			EXPECT_MEM(at_first, dst.cfg, 256);
		EXPECT(!dst.flr);
		EXPECT_EQ(dst.latch, FP_LATCH);
	}
}

TEST(circular_capabilities)
{
	begin();
	src.cfg[FP_PCIE + 1] = FP_PM;
	src.cfg[FP_MSIX] = 0x09; /* so that the walk never finds it */
	EXPECT_EQ(capture(&src, &im), 0);
	EXPECT_EQ(im.table_bytes, 0);
	src.cfg[0x34] = 0xfc;
	src.cfg[0xfc] = 0x11; /* a capability that does not fit */
	src.cfg[0xfd] = 0;
	EXPECT_EQ(capture(&src, &im), 0);
}

/* As many vectors as MSI-X allows. */
TEST(largest_table)
{
	begin();
	EXPECT_EQ(capture(&src, &im), 0);
	im.table_bytes = PCI_IMAGE_TABLE_MAX;
	memset(im.table, 0x5a, sizeof(im.table));
	EXPECT(pci_image_pack(&im, packed, sizeof(packed)) > PCI_IMAGE_TABLE_MAX);
	EXPECT_EQ(pci_image_unpack(&got, packed, 48 + 256 + PCI_IMAGE_TABLE_MAX, &err), 0);
	EXPECT_MEM(got.table, im.table, sizeof(im.table));
}
