/* See pci_image.h. The registers that matter are a table, in the order in which they are put back; all else must be equal already. */
#include "vm/qemu/pci_image.h"

#include <errno.h>
#include <xxhash.h>

#include "base/wire.h"

enum {
	CF8 = 0xcf8, CFC = 0xcfc,
	CFG_COMMAND = 0x04, CFG_STATUS = 0x06, CFG_BAR0 = 0x10, CFG_ROM = 0x30, CFG_CAPS = 0x34,
	COMMAND_MEMORY = 1 << 1, STATUS_CAPS = 1 << 4,
	CAP_PM = 0x01, CAP_MSI = 0x05, CAP_PCIE = 0x10, CAP_MSIX = 0x11,
	MSIX_ENABLE = 1 << 15, PM_STATE = 3,
	ENTRY = 16, REGS_MAX = 32
};

struct reg {
	const char *name;
	uint8_t cap, at, width;		/* cap 0: of the header */
	uint8_t version;		/* PCI Express: of the capability, at least */
	uint32_t write;			/* bits that are put back */
	uint32_t skip;			/* bits that may differ: they are not settings, and writing a one would clear some */
};

/* Before the table: it is reached through a BAR, once memory decoding is on. A BAR is moved while nothing decodes it. */
static const struct reg before[] = {
	{ "cache line size", 0, 0x0c, 1, 0, 0xff, 0 },
	{ "latency timer", 0, 0x0d, 1, 0, 0xff, 0 },
	{ "expansion ROM base address", 0, CFG_ROM, 4, 0, 0xfffff801, 0 },
	{ "interrupt line", 0, 0x3c, 1, 0, 0xff, 0 },
	/* Bit 15 of device control asks for a reset of the function, and reads 0. */
	{ "device control", CAP_PCIE, 8, 2, 0, 0x7fff, 0 },
	{ "device status", CAP_PCIE, 10, 2, 0, 0, 0xffff },		/* errors that were seen */
	{ "link control", CAP_PCIE, 16, 2, 0, 0x0fdf, 0 },		/* without retrain */
	{ "link status", CAP_PCIE, 18, 2, 0, 0, 0xffff },		/* what the link came up with */
	{ "device control 2", CAP_PCIE, 40, 2, 2, 0xffff, 0 },
	{ "device status 2", CAP_PCIE, 42, 2, 2, 0, 0xffff },
	{ "link control 2", CAP_PCIE, 48, 2, 2, 0xffff, 0 },
	{ "link status 2", CAP_PCIE, 50, 2, 2, 0, 0xffff },
	{ "status", 0, CFG_STATUS, 2, 0, 0, 0xf908 },			/* errors that were seen, a line that is asserted */
	{ "command", 0, CFG_COMMAND, 2, 0, 0x07ff, 0 },
};
/* After the table: entries must be right when interrupts go on. Power last: a function asleep takes nothing else. */
static const struct reg after[] = {
	{ "MSI-X control", CAP_MSIX, 2, 2, 0, 0xc000, 0 },
	{ "power management control", CAP_PM, 4, 2, 0, 0x0103, 0x8000 },	/* PME status is cleared by a one */
};
static const char *const bar_names[6] = { "base address 0", "base address 1", "base address 2", "base address 3", "base address 4",
					  "base address 5" };

static uint32_t get(const uint8_t *cfg, unsigned at, unsigned width)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < width; i++)
		v |= (uint32_t)cfg[at + i] << 8 * i;
	return v;
}

/* Offset of a capability; 0 none. The chain is a stranger's: it may be circular. */
static unsigned cap_find(const uint8_t *cfg, uint8_t id)
{
	unsigned at = cfg[CFG_CAPS] & 0xfc;

	if (!(get(cfg, CFG_STATUS, 2) & STATUS_CAPS))
		return 0;
	for (unsigned i = 0; i < 48 && at >= 0x40; i++, at = cfg[at + 1] & 0xfc)
		if (cfg[at] == id)
			return at;
	return 0;
}

/* Turns a row into a register of this function. False if it has none. */
static bool reg_place(const uint8_t *cfg, struct reg *r)
{
	unsigned cap = r->cap ? cap_find(cfg, r->cap) : 0;

	if (r->cap && (!cap || cap + r->at + r->width > PCI_IMAGE_CFG || (get(cfg, cap + 2, 2) & 15) < r->version))
		return false;
	r->at = (uint8_t)(r->at + cap);
	return true;
}

static unsigned bars_place(const uint8_t *cfg, struct reg *to)
{
	bool upper = false;

	for (unsigned i = 0; i < 6; i++) {
		uint32_t v = get(cfg, CFG_BAR0 + 4 * i, 4);

		to[i] = (struct reg){ bar_names[i], 0, (uint8_t)(CFG_BAR0 + 4 * i), 4, 0, upper ? ~0u : v & 1 ? ~3u : ~15u, 0 };
		upper = !upper && (v & 7) == 4;
	}
	return 6;
}

/* All registers of this function, in the order of writing; *split: how many come before the table. */
static unsigned regs_place(const uint8_t *cfg, struct reg to[REGS_MAX], unsigned *split)
{
	unsigned n = bars_place(cfg, to);

	_Static_assert(6 + ARRAY_LEN(before) + ARRAY_LEN(after) <= REGS_MAX, "room for all registers");
	for (size_t i = 0; i < ARRAY_LEN(before); i++) {
		to[n] = before[i];
		n += reg_place(cfg, &to[n]);
	}
	*split = n;
	for (size_t i = 0; i < ARRAY_LEN(after); i++) {
		to[n] = after[i];
		n += reg_place(cfg, &to[n]);
	}
	return n;
}

/* ---- lists */

struct where { uint8_t bus, devfn; uint32_t latch; };

static uint32_t address(const struct where *w, unsigned at)
{
	return 0x80000000u | (uint32_t)w->bus << 16 | (uint32_t)w->devfn << 8 | (at & 0xfc);
}

static void list_config(struct access_list *l, const struct where *w, uint64_t dwords)
{
	for (unsigned i = 0; i < PCI_IMAGE_CFG / 4; i++) {
		if (!(dwords >> i & 1))
			continue;
		access_add(l, ACCESS_OUTL, CF8, address(w, 4 * i));
		access_add(l, ACCESS_INL, CFC, 0);
	}
	access_add(l, ACCESS_OUTL, CF8, w->latch);
}

void pci_image_ask_config(struct access_list *l, uint8_t bus, uint8_t devfn, uint32_t latch, uint64_t dwords)
{
	l->n = 0;
	list_config(l, &(struct where){ bus, devfn, latch }, dwords);
}

/* The reads of the configuration are the last ones of every list, before the latch. */
void pci_image_take_config(const struct access_list *l, uint64_t dwords, uint8_t cfg[PCI_IMAGE_CFG])
{
	unsigned count = 2 * (unsigned)__builtin_popcountll(dwords), at = l->n - 1 - count;

	CHECK(l->n >= 1 + count);
	for (unsigned i = 0; i < PCI_IMAGE_CFG / 4; i++) {
		le32 v;

		if (!(dwords >> i & 1))
			continue;
		v = le32_of(l->a[at + 1].value);
		memcpy(cfg + 4 * i, &v, 4);
		at += 2;
	}
}

static void list_write(struct access_list *l, const struct where *w, const struct reg *r, uint32_t value)
{
	access_add(l, ACCESS_OUTL, CF8, address(w, r->at));
	access_add(l, r->width == 4 ? ACCESS_OUTL : r->width == 2 ? ACCESS_OUTW : ACCESS_OUTB, CFC + (r->at & 3u), value);
}

static void list_regs(struct access_list *l, const struct where *w, const struct reg *r, unsigned n, const uint8_t *want, const uint8_t *have)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t is = get(have, r[i].at, r[i].width), to = get(want, r[i].at, r[i].width);

		if ((is ^ to) & r[i].write)
			list_write(l, w, &r[i], ((is & ~r[i].write) | (to & r[i].write)) & ~r[i].skip);
	}
}

/* From the first entry to the last that is not as a reset leaves it: masked, and nothing else. */
static void list_table(struct access_list *l, struct pci_image *want, uint64_t at)
{
	static const uint8_t fresh[ENTRY] = { [12] = 1 };
	uint32_t from = 0, to = want->table_bytes;
	struct access *a;

	while (from < to && !memcmp(want->table + from, fresh, ENTRY))
		from += ENTRY;
	while (to > from && !memcmp(want->table + to - ENTRY, fresh, ENTRY))
		to -= ENTRY;
	if (from == to)
		return;
	a = access_add(l, ACCESS_WRITE, at + from, 0);
	a->bytes = to - from;
	a->data = want->table + from;
}

void pci_image_replay(struct pci_image *want, const uint8_t have[PCI_IMAGE_CFG], uint8_t table[PCI_IMAGE_TABLE_MAX], struct access_list *l)
{
	struct where w = { want->bus, want->devfn, want->latch };
	struct reg r[REGS_MAX];
	unsigned split, n = regs_place(have, r, &split);
	uint64_t at = 0;
	uint32_t bytes;
	bool reach = want->table_bytes && !pci_image_table_at(want->cfg, &at, &bytes, NULL);
	struct access *a;

	l->n = 0;
	list_regs(l, &w, r, split, want->cfg, have);
	if (reach)
		list_table(l, want, at);
	list_regs(l, &w, r + split, n - split, want->cfg, have);
	if (reach) {
		a = access_add(l, ACCESS_READ, at, 0);
		a->bytes = want->table_bytes;
		a->data = table;
	}
	list_config(l, &w, want->known);
}

/* ---- which dwords */

static uint64_t dword(unsigned at) { return at < PCI_IMAGE_CFG ? 1ull << at / 4 : 0; }

/* Of one capability: its head, what is put back, what says where the table is. */
static uint64_t cap_needs(uint8_t id, unsigned at, bool version2)
{
	uint64_t bits = dword(at);

	if (id == CAP_PM)
		bits |= dword(at + 4);
	if (id == CAP_MSIX)
		bits |= dword(at + 4) | dword(at + 8);
	if (id == CAP_PCIE)
		bits |= dword(at + 8) | dword(at + 16) | (version2 ? dword(at + 40) | dword(at + 48) : 0);
	return bits;
}

enum { HEADER_DWORDS = 0xbbff };	/* all but CardBus and a reserved one */

uint64_t pci_image_usual(void)
{
	return HEADER_DWORDS | cap_needs(CAP_PM, 0x40, true) | cap_needs(CAP_MSIX, 0x50, true) | cap_needs(CAP_PCIE, 0x60, true);
}

uint64_t pci_image_needs(const uint8_t cfg[PCI_IMAGE_CFG], uint64_t known)
{
	unsigned at = cfg[CFG_CAPS] & 0xfc;
	uint64_t bits = HEADER_DWORDS;

	if ((known & bits) != bits)
		return ~0ull;
	if (!(get(cfg, CFG_STATUS, 2) & STATUS_CAPS))
		return bits;
	for (unsigned i = 0; i < 48 && at >= 0x40; i++, at = cfg[at + 1] & 0xfc) {
		if (!(known & dword(at)))
			return ~0ull;
		bits |= cap_needs(cfg[at], at, (get(cfg, at + 2, 2) & 15) >= 2);
	}
	return bits;
}

/* ---- the table's place */

int pci_image_table_at(const uint8_t cfg[PCI_IMAGE_CFG], uint64_t *at, uint32_t *bytes, struct err *err)
{
	unsigned cap = cap_find(cfg, CAP_MSIX), msi = cap_find(cfg, CAP_MSI), pm = cap_find(cfg, CAP_PM), bar;
	bool on, asleep = pm && pm + 6 <= PCI_IMAGE_CFG && get(cfg, pm + 4, 2) & PM_STATE;
	uint32_t low;

	if (msi && msi + 4 <= PCI_IMAGE_CFG && cfg[msi + 2] & 1)
		return err_set(err, -ENOTSUP, "the guest's driver uses MSI, which cannot be moved (MSI-X can)");
	if (!cap || cap + 12 > PCI_IMAGE_CFG)
		return -ENOENT;
	on = get(cfg, cap + 2, 2) & MSIX_ENABLE;
	if (asleep || !(get(cfg, CFG_COMMAND, 2) & COMMAND_MEMORY))
		return !on ? -ENOENT : err_set(err, -EBUSY, "the controller's interrupts are on but %s: its MSI-X table cannot be read now; "
					       "try again", asleep ? "the guest has put it to sleep (D3)" : "its memory decoding is off");
	bar = cfg[cap + 4] & 7;
	low = bar > 5 ? 1 : get(cfg, CFG_BAR0 + 4 * bar, 4);
	if (low & 1 || ((low & 6) == 4 && bar == 5))
		return err_set(err, -EPROTO, "the MSI-X capability names base address %u, which is no memory", bar);
	*at = low & ~15u;
	if ((low & 6) == 4)
		*at |= (uint64_t)get(cfg, CFG_BAR0 + 4 * bar + 4, 4) << 32;
	if (!*at) /* decoding is on, but nobody gave it a place */
		return !on ? -ENOENT : err_set(err, -EPROTO, "the controller's interrupts are on, but its MSI-X table has no address");
	*at += get(cfg, cap + 4, 4) & ~7u;
	*bytes = ((get(cfg, cap + 2, 2) & 0x7ff) + 1) * ENTRY;
	return 0;
}

/* ---- judging */

static const char *reg_name(const struct reg *r, unsigned n, unsigned at)
{
	for (unsigned i = 0; i < n; i++)
		if (at >= r[i].at && at < r[i].at + (unsigned)r[i].width)
			return r[i].name;
	return "configuration";
}

/* First byte in which the two differ outside `free` bits; PCI_IMAGE_CFG if none. */
static unsigned differ(const uint8_t *a, const uint8_t *b, const uint8_t *free_bits)
{
	unsigned at = 0;

	while (at < PCI_IMAGE_CFG && !((a[at] ^ b[at]) & ~free_bits[at]))
		at++;
	return at;
}

static void bits_of(const struct reg *r, unsigned n, bool writable_too, uint64_t known, uint8_t bits[PCI_IMAGE_CFG])
{
	for (unsigned i = 0; i < PCI_IMAGE_CFG; i++)
		bits[i] = known >> i / 4 & 1 ? 0 : 0xff;
	for (unsigned i = 0; i < n; i++)
		for (unsigned b = 0; b < r[i].width; b++)
			bits[r[i].at + b] |= (uint8_t)((r[i].skip | (writable_too ? r[i].write : 0)) >> 8 * b);
}

static int judge(const struct pci_image *im, const uint8_t *have, bool writable_too, const char *what, struct err *err)
{
	const uint8_t *want = im->cfg;
	uint8_t bits[PCI_IMAGE_CFG];
	struct reg r[REGS_MAX];
	unsigned split, n = regs_place(have, r, &split), at;

	bits_of(r, n, writable_too, im->known, bits);
	at = differ(want, have, bits);
	if (at == PCI_IMAGE_CFG)
		return 0;
	return err_set(err, -EINVAL, "%s: %s (offset %02xh) was %02xh at the source and is %02xh here", what, reg_name(r, n, at), at, want[at],
		       have[at]);
}

int pci_image_fits(const struct pci_image *want, const uint8_t have[PCI_IMAGE_CFG], struct err *err)
{
	uint64_t at;
	uint32_t bytes = 0;
	int rc;

	if (pci_image_needs(want->cfg, want->known) & ~want->known)
		return err_set(err, -EPROTO, "the image of the PCI function leaves out what is needed");
	rc = judge(want, have, true, "the function is another one than at the source", err);
	if (rc)
		return rc;
	rc = pci_image_table_at(want->cfg, &at, &bytes, err);
	if (rc && rc != -ENOENT)
		return rc;
	if (bytes != want->table_bytes)
		return err_set(err, -EPROTO, "the image has %u bytes of MSI-X table, and needs %u", want->table_bytes, bytes);
	return 0;
}

int pci_image_compare(const struct pci_image *want, const struct access_list *l, const uint8_t table[PCI_IMAGE_TABLE_MAX], struct err *err)
{
	static const char *const words[4] = { "low address", "high address", "data", "vector control" };
	uint8_t have[PCI_IMAGE_CFG] = { 0 };
	int rc;

	pci_image_take_config(l, want->known, have);
	rc = judge(want, have, false, "the function did not take its configuration", err);
	for (uint32_t at = 0; !rc && at < want->table_bytes; at += 4)
		if (memcmp(want->table + at, table + at, 4))
			rc = err_set(err, -EINVAL, "the function did not take its MSI-X table: %s of entry %u was %08xh at the source and is %08xh "
				     "here", words[at % ENTRY / 4], at / ENTRY, get(want->table, at, 4), get(table, at, 4));
	return rc;
}

/* ---- packed */

#define IMAGE_HEADER(X, A)                                                                                                         \
	X(0, le32, magic) X(4, le16, version) X(6, le16, header_bytes) X(8, le32, total_bytes) X(12, le32, flags)                  \
	A(16, 1, bus) A(17, 1, devfn) X(18, le16, reserved) X(20, le32, cfg_bytes) X(24, le32, table_bytes) X(28, le32, latch) \
	X(32, le64, known) X(40, le64, sum)
WIRE_STRUCT(image_header, 48, IMAGE_HEADER);

enum { IMAGE_MAGIC = 0x49435046 /* FPCI */, IMAGE_VERSION = 2, IMAGE_RUNNING = 1 };

/* Of everything, the sum itself taken as zero. */
static uint64_t sum_of(const uint8_t *p, size_t len)
{
	XXH64_hash_t head;
	struct image_header h;

	memcpy(&h, p, sizeof(h));
	h.sum = le64_of(0);
	head = XXH64(&h, sizeof(h), 0);
	return XXH64(p + sizeof(h), len - sizeof(h), head);
}

size_t pci_image_pack(const struct pci_image *im, void *buf, size_t cap)
{
	size_t len = sizeof(struct image_header) + PCI_IMAGE_CFG + im->table_bytes;
	struct image_header h = {
		.magic = le32_of(IMAGE_MAGIC), .version = le16_of(IMAGE_VERSION), .header_bytes = le16_of(sizeof(h)),
		.total_bytes = le32_of((uint32_t)len), .flags = le32_of(im->running ? IMAGE_RUNNING : 0), .bus = { im->bus },
		.devfn = { im->devfn }, .cfg_bytes = le32_of(PCI_IMAGE_CFG), .table_bytes = le32_of(im->table_bytes), .latch = le32_of(im->latch),
		.known = le64_of(im->known),
	};
	uint8_t *p = buf;

	if (len > cap)
		return 0;
	memcpy(p, &h, sizeof(h));
	memcpy(p + sizeof(h), im->cfg, PCI_IMAGE_CFG);
	memcpy(p + sizeof(h) + PCI_IMAGE_CFG, im->table, im->table_bytes);
	h.sum = le64_of(sum_of(p, len));
	memcpy(p, &h, sizeof(h));
	return len;
}

int pci_image_unpack(struct pci_image *im, const void *buf, size_t len, struct err *err)
{
	const uint8_t *p = buf;
	struct image_header h;
	uint32_t table;

	if (len < sizeof(h))
		return err_set(err, -EPROTO, "the image of the PCI function is cut off (%zu bytes)", len);
	memcpy(&h, p, sizeof(h));
	if (le32_get(h.magic) != IMAGE_MAGIC)
		return err_set(err, -EPROTO, "the image of the PCI function is not one");
	if (le16_get(h.version) != IMAGE_VERSION)
		return err_set(err, -EPROTO, "the image of the PCI function has version %u, and this server understands %u: use the same ferry "
			       "on both servers", le16_get(h.version), IMAGE_VERSION);
	table = le32_get(h.table_bytes);
	if (le16_get(h.header_bytes) != sizeof(h) || le32_get(h.cfg_bytes) != PCI_IMAGE_CFG || table > PCI_IMAGE_TABLE_MAX || table % ENTRY ||
	    le32_get(h.total_bytes) != len || len != sizeof(h) + PCI_IMAGE_CFG + table || le32_get(h.flags) & ~(uint32_t)IMAGE_RUNNING ||
	    le16_get(h.reserved))
		return err_set(err, -EPROTO, "the image of the PCI function contradicts itself");
	if (le64_get(h.sum) != sum_of(p, len))
		return err_set(err, -EPROTO, "the image of the PCI function was changed on its way (its checksum is wrong)");
	im->bus = h.bus[0];
	im->devfn = h.devfn[0];
	im->running = le32_get(h.flags) & IMAGE_RUNNING;
	im->table_bytes = table;
	im->latch = le32_get(h.latch);
	im->known = le64_get(h.known);
	memcpy(im->cfg, p + sizeof(h), PCI_IMAGE_CFG);
	memcpy(im->table, p + sizeof(h) + PCI_IMAGE_CFG, table);
	return 0;
}
