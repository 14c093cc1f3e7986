/* Register and configuration accesses that came by message: what they hit. Called by monitor_msg.c before a write reaches the server
 * and after a read was answered.
 */
#include "verify/monitor_in.h"

enum { REGION_BAR0 = 0, REGION_CONFIG = 7, PCI_STATUS_CAPS = 0x10, PCI_CAP_MSIX = 0x11, MSIX_ENTRY = 16 };

static void reg_rec(struct lane *l, uint32_t region, uint64_t off, const uint8_t *p, uint32_t len, bool write)
{
	struct rec r = mon_rec(l->c, REC_REG, REC_BY_HOST);
	le64 v = { { 0 } };

	memcpy(&v, p, MIN(len, (uint32_t)sizeof(v)));
	r.opc = (uint8_t)region;
	r.addr = off;
	r.len = len;
	r.val = le64_get(v);
	r.status = write;
	r.parent = l->m->msg_uid;
	mon_put(l->m, &r);
}

static void cfg_keep(struct ctrl *c, uint64_t off, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len && off + i < sizeof(c->cfg); i++)
		c->cfg[off + i] = p[i];
}

static uint32_t cfg32(const struct ctrl *c, unsigned off)
{
	le32 v;

	memcpy(&v, c->cfg + off, sizeof(v));
	return le32_get(v);
}

/* Where the MSI-X table lies, from the configuration space as far as it has passed. */
static bool msix_table(const struct ctrl *c, uint32_t *region, uint64_t *off, uint32_t *count)
{
	unsigned at = c->cfg[0x34] & ~3u;

	for (unsigned n = 0; c->cfg[0x06] & PCI_STATUS_CAPS && at >= 0x40 && at <= sizeof(c->cfg) - 12 && n < 48; n++, at = c->cfg[at + 1] & ~3u) {
		if (c->cfg[at] != PCI_CAP_MSIX)
			continue;
		*region = cfg32(c, at + 4) & 7;
		*off = cfg32(c, at + 4) & ~7u;
		*count = ((cfg32(c, at) >> 16) & 0x7ff) + 1;
		return true;
	}
	return false;
}

/* The mask bit of a vector in the table itself, for clients whose VMM does not keep the table. */
static void table_written(struct lane *l, uint64_t at, const uint8_t *p, uint32_t len, uint32_t count)
{
	for (uint32_t i = 0; i < len; i++) {
		struct rec r = mon_rec(l->c, REC_MASK, REC_BY_HOST);

		if ((at + i) % MSIX_ENTRY != 12 || (at + i) / MSIX_ENTRY >= count)
			continue;
		r.val = (at + i) / MSIX_ENTRY;
		r.status = p[i] & 1;
		r.parent = l->m->msg_uid;
		r.opc = 2;
		mon_put(l->m, &r);
		if (r.val < MON_VECTORS && !r.status)
			l->c->vec[r.val].allowed++; /* one that was held back may come now */
	}
}

static bool is_doorbell(const struct lane *l, uint32_t region, uint64_t off, uint32_t len)
{
	return region == REGION_BAR0 && off >= NVME_REG_DOORBELLS && len == 4 && !(off % 4) &&
	       !((off - NVME_REG_DOORBELLS) % l->c->stride) && (off - NVME_REG_DOORBELLS) / l->c->stride < 2 * MON_QUEUES;
}

void reg_written(struct lane *l, uint32_t region, uint64_t off, const uint8_t *p, uint32_t len)
{
	uint32_t table_region, count;
	uint64_t table;
	le32 v;

	if (msix_table(l->c, &table_region, &table, &count) && region == table_region && off >= table && off - table < count * MSIX_ENTRY) {
		reg_rec(l, region, off, p, len, true);
		table_written(l, off - table, p, len, count);
	} else if (is_doorbell(l, region, off, len)) {
		memcpy(&v, p, sizeof(v));
		ctrl_doorbell(l->c, (unsigned)((off - NVME_REG_DOORBELLS) / l->c->stride), le32_get(v));
	} else {
		reg_rec(l, region, off, p, len, true);
		if (region == REGION_CONFIG)
			cfg_keep(l->c, off, p, len);
		if (region == REGION_BAR0 && off < MON_REGS)
			ctrl_reg_write(l->c, off, p, len);
	}
}

void reg_read(struct lane *l, uint32_t region, uint64_t off, const uint8_t *p, uint32_t len)
{
	reg_rec(l, region, off, p, len, false);
	if (region == REGION_CONFIG)
		cfg_keep(l->c, off, p, len);
	if (region == REGION_BAR0 && off < MON_REGS)
		ctrl_reg_value(l->c, off, p, len);
}
