/* One controller as a PCI function: properties, enabling, every kind of reset, shutdown, suspend, and the poll that drives it.
 *
 * The transport calls the device_ops, hmlm's commands suspend and resume, all from the device thread. A reset takes the queues
 * away at once, but says it is finished (CSTS.RDY = 0) only when no backend can write into guest memory on behalf of an old
 * command any more, nor a VMM that was asked to (gmem_touch.c): that is what the host waits for before it uses its memory for
 * something else. The register access that began the reset is answered at once.
 */
#include "device/nvme/core.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"

enum {
	BAR_REGS = 0, BAR_PBA = 2, BAR_TABLE = 4,
	REGS_BYTES = 0x4000, DB_PAGE = NVME_REG_DOORBELLS, DB_PAGE_BYTES = 4096,
	TIMEOUT_500MS = 40,			/* 20 s */
	/* Unassigned placeholders: nobody's driver binds to them by id, every NVMe driver does by class. */
	VENDOR = 0xfe44, DEVICE = 0x4d31,
	CC_BITS = 0x00fffff1, SHST_BUSY = 1, SHST_DONE = 2
};

/* NVM command set only; one page size; contiguous queues; subsystem reset; ready means media is ready too (CRMS.CRWMS). */
static const uint64_t CAP = (NVME_QSIZE_MAX - 1) | 1ull << 16 | (uint64_t)TIMEOUT_500MS << 24 | 1ull << 36 | 1ull << 37 |
			    1ull << 59;

static bool cc_en(const struct nvme_ctrl *c) { return c->cc & NVME_CC_EN; }
static unsigned cc_shn(const struct nvme_ctrl *c) { return c->cc >> NVME_CC_SHN_SHIFT & 3; }
static unsigned shst(const struct nvme_ctrl *c) { return c->csts >> NVME_CSTS_SHST_SHIFT & 3; }
static void shst_set(struct nvme_ctrl *c, unsigned v)
{
	c->csts = (c->csts & ~(3u << NVME_CSTS_SHST_SHIFT)) | v << NVME_CSTS_SHST_SHIFT;
}

bool nvme_ctrl_may_fetch(const struct nvme_ctrl *c)
{
	return c->enabled && !(c->csts & NVME_CSTS_CFS) && c->suspend == NVME_RUNNING && c->online && !c->held &&
	       !c->dev.gmem.draining && !cc_shn(c) && pci_bus_master(&c->pci);
}

void nvme_ctrl_fatal(struct nvme_ctrl *c, const char *why)
{
	log_warn("controller %u: fatal status: %s", c->cntlid, why);
	c->csts |= NVME_CSTS_CFS;
}

/* ---- enabling ---- */

static const char *enable_judge(struct nvme_ctrl *c)
{
	uint32_t sqs = (c->aqa & 0xfff) + 1, cqs = (c->aqa >> 16 & 0xfff) + 1;

	if (c->cc >> NVME_CC_MPS_SHIFT & 15)
		return "CC.MPS is not 4 KiB";
	if (c->cc >> NVME_CC_CSS_SHIFT & 7)
		return "CC.CSS is not the NVM command set";
	if (c->cc >> NVME_CC_AMS_SHIFT & 7)
		return "CC.AMS is not round robin";
	if (sqs < 2 || cqs < 2)
		return "AQA has a queue of fewer than two entries";
	if (!gmem_covers(&c->dev.gmem, c->asq, 64ull * sqs, false))
		return "ASQ points to memory we cannot read";
	if (!gmem_covers(&c->dev.gmem, c->acq, 16ull * cqs, true))
		return "ACQ points to memory we cannot write";
	return NULL;
}

/* CC.EN = 1 while commands of a former life still run waits for them. */
static bool enable_try(struct nvme_ctrl *c)
{
	const char *why;

	if (!cc_en(c) || c->enabled || c->inflight || !c->online || c->held || c->csts & NVME_CSTS_CFS)
		return false;
	why = enable_judge(c);
	if (why) {
		nvme_ctrl_fatal(c, why);
		return true;
	}
	nvme_admin_queues_create(c);
	c->enabled = true;
	c->csts |= NVME_CSTS_RDY;
	log_debug("controller %u: enabled", c->cntlid);
	return true;
}

/* ---- resets ---- */

static bool ready_clear(struct nvme_ctrl *c)
{
	if (c->enabled || c->inflight || !(c->csts & NVME_CSTS_RDY))
		return false;
	c->csts &= ~(uint32_t)NVME_CSTS_RDY;
	return true;
}

void nvme_ctrl_clr(struct nvme_ctrl *c)
{
	gmem_touch_drop(&c->dev.gmem);
	nvme_reqs_orphan(c, NULL);
	nvme_queues_reset(c);
	c->dbbuf = false;
	c->dbbuf_shadow = c->dbbuf_eventidx = c->dbbuf_generation = 0;
	c->dbbuf_shadow_ptr = c->dbbuf_eventidx_ptr = NULL;
	nvme_event_reset(c);
	nvme_features_reset(c);
	nvme_hmlm_clr(c);	/* limits and what is left of their tokens stay: a guest must not shake them off */
	c->suspend = NVME_RUNNING;
	memset(c->pci.pba, 0, sizeof(c->pci.pba));
	c->enabled = false;
	c->intms = 0;
	c->shn_ns = 0;
	c->csts &= NVME_CSTS_NSSRO | NVME_CSTS_RDY;
	if (!c->online)
		c->csts |= NVME_CSTS_CFS;
	ready_clear(c);
	log_debug("controller %u: reset, %u commands still run", c->cntlid, c->inflight);
}

/* Everything but Controller Reset resets the other properties too. */
static void ctrl_reset_all(struct nvme_ctrl *c)
{
	c->cc = c->aqa = 0;
	c->asq = c->acq = 0;
	nvme_ctrl_clr(c);
}

static void ctrl_flr(struct device *d)
{
	struct nvme_ctrl *c = nvme_ctrl_of(d);

	ctrl_reset_all(c);
	pci_reset(&c->pci);
}

void nvme_subsys_reset(struct nvme_subsys *ss)
{
	for (unsigned i = 0; i < NVME_CTRL_MAX; i++) {
		if (!ss->ctrl[i])
			continue;
		ctrl_reset_all(ss->ctrl[i]);
		ss->ctrl[i]->csts |= NVME_CSTS_NSSRO;
	}
}

void nvme_ctrl_set_online(struct nvme_ctrl *c, bool online)
{
	if (c->online == online)
		return;
	c->online = online;
	c->held = false;	/* offline is held enough, and who brings it online means it */
	ctrl_reset_all(c);
}

void nvme_ctrl_hold(struct nvme_ctrl *c, bool held) { c->held = held; }
bool nvme_ctrl_is_online(const struct nvme_ctrl *c) { return c->online; }
bool nvme_ctrl_is_quiet(const struct nvme_ctrl *c) { return !c->inflight && !c->shn_out; }
bool nvme_ctrl_is_suspended(const struct nvme_ctrl *c) { return c->suspend == NVME_SUSPENDED; }

/* ---- shutdown: every attached namespace is flushed, one after the other (Base 3.6) ---- */

static void shn_flushed(struct blk_io *io, int rc)
{
	struct nvme_ns *ns = io->ctx;
	struct nvme_ctrl *c = CONTAINER_OF(io, struct nvme_ctrl, shn_io);

	ns->inflight--;
	c->shn_out = false;
	if (rc)
		log_warn("controller %u: flush at shutdown failed: %s", c->cntlid, strerror(-rc));
}

/* True if the flush is done with, one way or the other. */
static bool shn_flush(struct nvme_ctrl *c, struct nvme_ns *ns)
{
	int rc;

	c->shn_io = (struct blk_io){ .op = BLK_FLUSH, .done = shn_flushed, .ctx = ns };
	c->shn_out = true;
	ns->inflight++;
	rc = blk_submit(ns->blk, &c->shn_io);
	if (rc == 0)
		return true;
	if (rc == -EAGAIN) {
		ns->inflight--;
		c->shn_out = false;
		return false;
	}
	shn_flushed(&c->shn_io, rc == BLK_DONE ? 0 : rc);
	return true;
}

static bool shutdown_step(struct nvme_ctrl *c)
{
	if (shst(c) != SHST_BUSY || c->inflight || c->shn_out || c->suspend != NVME_RUNNING)
		return false;
	while (c->shn_ns <= NVME_NSID_MAX) {
		struct nvme_ns *ns = c->attach[c->shn_ns];

		if (ns && !shn_flush(c, ns))
			return false;
		c->shn_ns++;
		if (c->shn_out)
			return true;
	}
	shst_set(c, SHST_DONE);
	return true;
}

static void shutdown_begin(struct nvme_ctrl *c)
{
	if (!cc_shn(c) || shst(c) || !c->online)
		return;
	shst_set(c, SHST_BUSY);
	c->shn_ns = 1;
	shutdown_step(c);
}

/* ---- suspend ---- */

void nvme_ctrl_suspend(struct nvme_ctrl *c)
{
	if (c->suspend == NVME_RUNNING)
		c->suspend = NVME_DRAINING;
}

void nvme_ctrl_resume(struct nvme_ctrl *c)
{
	if (c->suspend == NVME_RUNNING)
		return;
	c->suspend = NVME_RUNNING;
	nvme_event_deliver(c);
	nvme_irq_again(c);
	nvme_irq_flush(c);
	nvme_irq_retry(c, 0, NVME_MSIX_VECTORS);
}

/* AERs are not counted, nor completions that wait for room; those that have room go out first. */
static bool drain_step(struct nvme_ctrl *c)
{
	if (c->suspend != NVME_DRAINING)
		return false;
	nvme_doorbells_latch(c);
	nvme_queues_flush(c);
	if (c->inflight)
		return false;
	nvme_irq_flush(c);
	c->suspend = NVME_SUSPENDED;
	nvme_migration_drained(c);
	return true;
}

bool nvme_ctrl_housekeep(struct nvme_ctrl *c)
{
	bool any = ready_clear(c);

	any |= nvme_queues_unstick(c);
	any |= nvme_reqs_poll(c);
	any |= enable_try(c);
	any |= drain_step(c);
	any |= shutdown_step(c);
	return any;
}

/* ---- properties ---- */

static uint32_t reg_dword(const struct nvme_ctrl *c, unsigned off)
{
	switch (off) {
	case NVME_REG_CAP: return (uint32_t)c->cap;
	case NVME_REG_CAP + 4: return (uint32_t)(c->cap >> 32);
	case NVME_REG_VS: return 0x00020100;
	case NVME_REG_INTMS: case NVME_REG_INTMC: return c->intms;
	case NVME_REG_CC: return c->cc;
	case NVME_REG_CSTS: return c->csts;
	case NVME_REG_AQA: return c->aqa;
	case NVME_REG_ASQ: return (uint32_t)c->asq;
	case NVME_REG_ASQ + 4: return (uint32_t)(c->asq >> 32);
	case NVME_REG_ACQ: return (uint32_t)c->acq;
	case NVME_REG_ACQ + 4: return (uint32_t)(c->acq >> 32);
	case NVME_REG_CRTO: return TIMEOUT_500MS;
	}
	if (off >= DB_PAGE && off < DB_PAGE + 4 * ARRAY_LEN(c->db_own))
		return c->db[(off - DB_PAGE) / 4];
	return 0;
}

/* Bits that may not change any more: page size, command set and arbitration while enabled, entry sizes while a queue has them. What a
 * host writes there all the same is ignored, like writes of AQA, ASQ and ACQ: they go into the state image, and must say what is so. */
static uint32_t cc_fixed(const struct nvme_ctrl *c)
{
	uint32_t entries = 0xffu << NVME_CC_IOSQES_SHIFT, shape = 7u << NVME_CC_CSS_SHIFT | 15u << NVME_CC_MPS_SHIFT | 7u << NVME_CC_AMS_SHIFT;

	return !cc_en(c) ? 0 : MAX(c->sq_top, c->cq_top) > 1 ? shape | entries : shape;
}

static void cc_write(struct nvme_ctrl *c, uint32_t v)
{
	uint32_t fixed = v & NVME_CC_EN ? cc_fixed(c) : 0;
	bool was = cc_en(c);

	c->cc = (v & CC_BITS & ~fixed) | (c->cc & fixed);
	if (was && !cc_en(c))
		nvme_ctrl_clr(c);
	enable_try(c);
	shutdown_begin(c);
}

/* NVM Subsystem Reset. To its guest an MC is the only controller of its subsystem, and so it is reset alone: otherwise each guest
 * could reset all others, and the manager of moves with them (design rule 5). The MMC's host has the whole of it. It is done when the
 * write is: a host that enables a controller right behind it must not lose that to a reset that comes later (Base 3.7.1). */
static void nssr_write(struct nvme_ctrl *c, uint32_t v)
{
	if (v != NVME_NSSR_MAGIC)
		return;
	if (c->mmc) {
		nvme_subsys_reset(c->ss);
		return;
	}
	ctrl_reset_all(c);
	c->csts |= NVME_CSTS_NSSRO;
}

static void reg_write(struct nvme_ctrl *c, unsigned off, uint32_t v)
{
	const uint64_t low = UINT32_MAX, page = ~(uint64_t)(NVME_PAGE - 1);

	if (cc_en(c) && off >= NVME_REG_AQA && off < NVME_REG_ACQ + 8)
		return;
	switch (off) {
	case NVME_REG_INTMS: c->intms |= v; break;
	case NVME_REG_INTMC: c->intms &= ~v; break;
	case NVME_REG_CC: cc_write(c, v); break;
	case NVME_REG_CSTS: c->csts &= ~(v & NVME_CSTS_NSSRO); break;
	case NVME_REG_NSSR: nssr_write(c, v); break;
	case NVME_REG_AQA: c->aqa = v & 0x0fff0fff; break;
	case NVME_REG_ASQ: c->asq = ((c->asq & ~low) | v) & page; break;
	case NVME_REG_ASQ + 4: c->asq = (c->asq & low) | (uint64_t)v << 32; break;
	case NVME_REG_ACQ: c->acq = ((c->acq & ~low) | v) & page; break;
	case NVME_REG_ACQ + 4: c->acq = (c->acq & low) | (uint64_t)v << 32; break;
	}
}

/* Base, Asynchronous Event Information - Error Status 00h: a doorbell of a queue that does not exist. */
static void doorbell_write(struct nvme_ctrl *c, unsigned index, uint32_t v)
{
	bool there = index < ARRAY_LEN(c->db_own) && (index & 1 ? c->cq[index / 2].live : c->sq[index / 2].live);

	if (!c->enabled)
		return;
	if (there)
		__atomic_store_n(&c->db[index], v, __ATOMIC_RELEASE);
	else
		nvme_event_post(c, (struct nvme_event){ .aet = NVME_AET_ERROR, .aei = 0, .lid = NVME_LID_ERROR });
}

static void regs_read(struct nvme_ctrl *c, uint64_t off, uint8_t *buf, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		uint64_t at = off + i;

		buf[i] = (uint8_t)(reg_dword(c, (unsigned)(at & ~3ull)) >> 8 * (at & 3));
	}
}

static int regs_write(struct nvme_ctrl *c, uint64_t off, const void *buf, uint32_t len)
{
	le32 v[2];

	if ((len != 4 && len != 8) || off % len)
		return -EINVAL;
	memcpy(v, buf, len);
	if (off >= DB_PAGE && len != 4)
		return -EINVAL;
	if (off >= DB_PAGE) {
		doorbell_write(c, (unsigned)(off - DB_PAGE) / 4, le32_get(v[0]));
		return 0;
	}
	for (uint32_t i = 0; i < len / 4; i++)
		reg_write(c, (unsigned)off + 4 * i, le32_get(v[i]));
	return 0;
}

/* ---- device_ops ---- */

static bool region_inside(const struct device *d, unsigned region, uint64_t off, uint32_t len)
{
	return region < DEV_REGION_COUNT && range_inside(off, len, d->region[region].size);
}

static int ctrl_region_read(struct device *d, unsigned region, uint64_t off, void *buf, uint32_t len)
{
	struct nvme_ctrl *c = nvme_ctrl_of(d);

	if (!region_inside(d, region, off, len))
		return -EINVAL;
	switch (region) {
	case BAR_REGS: regs_read(c, off, buf, len); return 0;
	case BAR_TABLE: return pci_msix_table_read(&c->pci, off, buf, len);
	case BAR_PBA: return pci_msix_pba_read(&c->pci, off, buf, len);
	case DEV_REGION_CONFIG: return pci_cfg_read(&c->pci, off, buf, len);
	}
	return -EINVAL;
}

static int config_write(struct nvme_ctrl *c, uint64_t off, const void *buf, uint32_t len)
{
	bool flr;
	int rc = pci_cfg_write(&c->pci, off, buf, len, &flr);

	if (flr)
		ctrl_flr(&c->dev);
	nvme_irq_retry(c, 0, NVME_MSIX_VECTORS);
	return rc;
}

static int ctrl_region_write(struct device *d, unsigned region, uint64_t off, const void *buf, uint32_t len)
{
	struct nvme_ctrl *c = nvme_ctrl_of(d);
	int rc = -EINVAL;

	if (!region_inside(d, region, off, len))
		return -EINVAL;
	switch (region) {
	case BAR_REGS:
		return regs_write(c, off, buf, len);
	case BAR_TABLE:
		rc = pci_msix_table_write(&c->pci, off, buf, len);
		nvme_irq_retry(c, 0, NVME_MSIX_VECTORS);
		return rc;
	case BAR_PBA:
		return 0; /* read only to the host, and writing it harmless */
	case DEV_REGION_CONFIG:
		return config_write(c, off, buf, len);
	}
	return rc;
}

static void ctrl_region_share(struct device *d, unsigned region, void *mem)
{
	struct nvme_ctrl *c = nvme_ctrl_of(d);
	volatile uint32_t *to = mem ? mem : c->db_own;

	if (region != BAR_REGS || to == c->db)
		return;
	for (unsigned i = 0; i < ARRAY_LEN(c->db_own); i++)
		to[i] = c->db[i];
	c->db = to;
}

static bool ctrl_poll(struct device *d, unsigned budget)
{
	struct nvme_ctrl *c = nvme_ctrl_of(d);
	bool any = nvme_ctrl_housekeep(c);

	if (!c->enabled)
		return any;
	nvme_doorbells_latch(c);
	if (c->suspend == NVME_SUSPENDED)
		return any;
	any |= nvme_queues_flush(c);
	any |= nvme_queues_fetch(c, budget);
	nvme_irq_flush(c);
	return any ? true : nvme_queues_arm(c);
}

static uint64_t ctrl_deadline(struct device *d)
{
	struct nvme_ctrl *c = nvme_ctrl_of(d);
	uint64_t unstick = c->unstick_ns ? c->unstick_ns : UINT64_MAX;

	if (!list_empty(&c->retry))
		return nvme_now(c);
	return list_empty(&c->throttled) ? unstick : MIN(unstick, nvme_rate_deadline(c));
}

static void ctrl_irq_bound(struct device *d, unsigned vector)
{
	nvme_irq_retry(nvme_ctrl_of(d), vector, 1);
}

/* The controller stays as it is: another client may come and go on with it. */
static void ctrl_detached(struct device *d)
{
	d->gmem.remote = NULL;
	d->gmem.remote_ctx = NULL;
	d->irq = NULL;
	d->irq_ctx = NULL;
}

static const struct device_ops ctrl_ops = {
	.region_read = ctrl_region_read, .region_write = ctrl_region_write, .region_share = ctrl_region_share,
	.reset = ctrl_flr, .poll = ctrl_poll, .deadline = ctrl_deadline, .irq_bound = ctrl_irq_bound,
	.detached = ctrl_detached,
};

/* ---- making one ---- */

static void ctrl_pci_init(struct nvme_ctrl *c)
{
	struct pci_cfg cfg = {
		.vendor = VENDOR, .device = DEVICE, .subvendor = VENDOR, .subdevice = DEVICE, .class_code = 0x010802,
		.bar_size = { [BAR_REGS] = REGS_BYTES, [BAR_PBA] = NVME_PAGE, [BAR_TABLE] = NVME_PAGE },
		.msix_count = NVME_MSIX_VECTORS, .msix_table_bar = BAR_TABLE, .msix_pba_bar = BAR_PBA,
	};
	struct device *d = &c->dev;

	pci_init(&c->pci, &cfg);
	d->region[BAR_REGS] = (struct device_region){ .size = REGS_BYTES, .read = true, .write = true,
						      .mmap_off = DB_PAGE, .mmap_len = DB_PAGE_BYTES };
	d->region[BAR_PBA] = (struct device_region){ .size = NVME_PAGE, .read = true, .write = true };
	d->region[BAR_TABLE] = (struct device_region){ .size = NVME_PAGE, .read = true, .write = true };
	d->region[DEV_REGION_CONFIG] = (struct device_region){ .size = PCI_CFG_BYTES, .read = true, .write = true };
	d->irq_count[DEV_IRQ_MSIX] = NVME_MSIX_VECTORS;
}

int nvme_ctrl_setup(struct nvme_ctrl *c, struct nvme_subsys *ss, const struct nvme_ctrl_cfg *cfg, struct err *err)
{
	c->ss = ss;
	c->mmc = cfg->mmc;
	c->online = true;
	c->max_ioq = cfg->max_ioq ? MIN(cfg->max_ioq, NVME_IOQ_MAX) : NVME_IOQ_MAX;
	c->max_reqs = cfg->max_reqs ? MAX(cfg->max_reqs, NVME_AER_MAX + 8) : 512;
	c->cap = CAP;
	c->db = c->db_own;
	c->dev.ops = &ctrl_ops;
	gmem_init(&c->dev.gmem);
	ctrl_pci_init(c);
	for (unsigned i = 0; i < NVME_BUFS; i++) {
		c->bufs[i] = aligned_alloc(NVME_PAGE, NVME_XFER_MAX);
		if (!c->bufs[i])
			return err_set(err, -ENOMEM, "no memory for the buffers of controller %u", c->cntlid);
	}
	c->reqs = calloc(c->max_reqs, sizeof(*c->reqs));
	if (!c->reqs)
		return err_set(err, -ENOMEM, "no memory for %u commands of controller %u", c->max_reqs, c->cntlid);
	nvme_reqs_init(c);
	nvme_queues_reset(c);
	nvme_features_reset(c);
	nvme_rate_reset(c);
	return 0;
}

void nvme_ctrl_teardown(struct nvme_ctrl *c)
{
	nvme_hmlm_fini(c);
	gmem_fini(&c->dev.gmem);
	buf_fini(&c->inbound.image);
	for (unsigned i = 0; i < NVME_BUFS; i++)
		free(c->bufs[i]);
	free(c->reqs);
	free(c);
}
