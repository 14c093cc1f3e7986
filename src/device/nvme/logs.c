/* Get Log Page, and the error log behind page 01h.
 *
 * Called through nvme_admin_rows; nvme_errlog_add by req.c for each command that failed. Device thread. Every page is small,
 * so it is built whole and the part that was asked for is cut out: offset and length can never lead outside.
 */
#include "device/nvme/nvme.h"

enum { LOG_MAX = 4096, LOG_FID_COUNT = 256, LOG_OP_COUNT = 256 };

struct log_row {
	uint8_t lid;
	uint16_t bytes;
	nvme_status (*fill)(struct nvme_req *, uint8_t *page);	/* page is zeroed */
};
static const struct log_row *log_find(unsigned lid);
static bool log_exists(unsigned lid) { return log_find(lid) != NULL; }

static void put16(uint8_t *p, uint16_t v) { le16 x = le16_of(v); memcpy(p, &x, sizeof(x)); }
static void put32(uint8_t *p, uint32_t v) { le32 x = le32_of(v); memcpy(p, &x, sizeof(x)); }
static void put64(uint8_t *p, uint64_t v) { le64 x = le64_of(v); memcpy(p, &x, sizeof(x)); }

/* 00h: a dword per page, bit 0 supported. */
static nvme_status log_supported(struct nvme_req *r, uint8_t *page)
{
	(void)r;
	for (unsigned lid = 0; lid < 256; lid++)
		put32(page + 4 * lid, log_exists(lid));
	return NVME_SUCCESS;
}

/* 01h: newest first. Entries that were never filled have count 0, as they should. */
static nvme_status log_error(struct nvme_req *r, uint8_t *page)
{
	const struct nvme_ctrl *c = r->ctrl;

	for (uint64_t i = 0; i < MIN(c->errlog_count, (uint64_t)NVME_ERRLOG_ENTRIES); i++, page += 64) {
		const struct nvme_errlog_entry *e = &c->errlog[(c->errlog_count - 1 - i) % NVME_ERRLOG_ENTRIES];

		put64(page + 0, e->count);
		put16(page + 8, e->sqid);
		put16(page + 10, e->cid);
		put16(page + 12, (uint16_t)(e->status << 1));	/* bit 0 is a phase tag, not ours to tell */
		put16(page + 14, e->loc);
		put64(page + 16, e->lba);
		put32(page + 24, e->nsid);
	}
	return NVME_SUCCESS;
}

uint8_t nvme_critical_warning(const struct nvme_ctrl *c)
{
	return NVME_TEMP_NOW >= c->feat.temp_over || NVME_TEMP_NOW <= c->feat.temp_under ? NVME_WARNING_TEMP : 0;
}

/* 02h: of the controller only (LPA bit 0 = 0). Data units are thousands of 512 bytes, rounded up. */
static nvme_status log_smart(struct nvme_req *r, uint8_t *page)
{
	const struct nvme_smart *s = &r->ctrl->smart;
	uint32_t nsid = le32_get(r->sqe.nsid);
	uint64_t on_ns = s->power_on_ns + (nvme_now(r->ctrl) - s->power_on_since_ns);

	if (nsid != 0 && nsid != UINT32_MAX)
		return NVME_INVALID_FIELD;
	page[0] = nvme_critical_warning(r->ctrl);
	put16(page + 1, NVME_TEMP_NOW);
	page[3] = 100;		/* spare, per cent */
	page[4] = 10;		/* spare threshold */
	put64(page + 32, (s->units_read + 999) / 1000);
	put64(page + 48, (s->units_written + 999) / 1000);
	put64(page + 64, s->host_reads);
	put64(page + 80, s->host_writes);
	put64(page + 96, s->busy_ns / (60 * NS_PER_S));
	put64(page + 112, s->power_cycles);
	put64(page + 128, on_ns / (3600 * NS_PER_S));
	put64(page + 160, s->media_errors);
	put64(page + 176, s->error_entries);
	return NVME_SUCCESS;
}

/* 03h: slot 1 is active and holds what Identify shows as FR. */
static nvme_status log_firmware(struct nvme_req *r, uint8_t *page)
{
	page[0] = 1;
	memcpy(page + 8, r->ctrl->who.fr, sizeof(r->ctrl->who.fr));
	return NVME_SUCCESS;
}

/* 04h: which namespaces changed since it was last read; reading with RAE = 0 starts a new list. */
static nvme_status log_changed_ns(struct nvme_req *r, uint8_t *page)
{
	struct nvme_ctrl *c = r->ctrl;

	for (uint32_t n = 1; n <= NVME_NSID_MAX; n++) {
		if (!(c->changed_ns[n / 32] >> n % 32 & 1))
			continue;
		put32(page, n);
		page += 4;
	}
	if (!nvme_get_log_rae(&r->sqe))
		memset(c->changed_ns, 0, sizeof(c->changed_ns));
	return NVME_SUCCESS;
}

static void effects_put(const struct nvme_ctrl *c, const struct nvme_cmd_row *row, uint8_t *page)
{
	for (; row->run; row++)
		if (!(row->flags & NVME_ROW_MMC) || c->mmc)
			put32(page + 4 * row->opc, row->effects);
}

/* 05h: made from the tables that run the commands, so it cannot differ from them. Admin first, I/O from byte 1024. */
static nvme_status log_effects(struct nvme_req *r, uint8_t *page)
{
	if (nvme_get_log_csi(&r->sqe) != 0)
		return NVME_INVALID_FIELD;
	effects_put(r->ctrl, nvme_admin_rows, page);
	effects_put(r->ctrl, nvme_io_rows, page + 4 * LOG_OP_COUNT);
	return NVME_SUCCESS;
}

/* 12h */
static nvme_status log_fid_effects(struct nvme_req *r, uint8_t *page)
{
	for (unsigned fid = 0; fid < LOG_FID_COUNT; fid++)
		put32(page + 4 * fid, nvme_fid_effects(r->ctrl, fid));
	return NVME_SUCCESS;
}

/* 13h: no management interface, no commands; LPA bit 5 promises the page with the other two. */
static nvme_status log_mi_effects(struct nvme_req *r, uint8_t *page)
{
	(void)r;
	(void)page;
	return NVME_SUCCESS;
}

static const struct log_row log_rows[] = {
	{ NVME_LID_SUPPORTED, 1024, log_supported },
	{ NVME_LID_ERROR, NVME_ERRLOG_ENTRIES * 64, log_error },
	{ NVME_LID_SMART, 512, log_smart },
	{ NVME_LID_FIRMWARE, 512, log_firmware },
	{ NVME_LID_CHANGED_NS, 4096, log_changed_ns },
	{ NVME_LID_EFFECTS, 4096, log_effects },
	{ NVME_LID_FID_EFFECTS, 4 * LOG_FID_COUNT, log_fid_effects },
	{ NVME_LID_MI_EFFECTS, 4096, log_mi_effects },
};

static const struct log_row *log_find(unsigned lid)
{
	for (unsigned i = 0; i < ARRAY_LEN(log_rows); i++)
		if (log_rows[i].lid == lid)
			return &log_rows[i];
	return NULL;
}

/* ---- the command */

static uint64_t log_offset(const struct nvme_req *r)
{
	return nvme_get_log_lpol(&r->sqe) | (uint64_t)nvme_get_log_lpou(&r->sqe) << 32;
}

nvme_status nvme_get_log_size(struct nvme_req *r, uint32_t *len)
{
	uint64_t bytes = 4 * (((uint64_t)nvme_get_log_numdu(&r->sqe) << 16 | nvme_get_log_numdl(&r->sqe)) + 1);
	const struct log_row *row = log_find(nvme_get_log_lid(&r->sqe));

	*len = 0;
	if (!row)
		return NVME_LOG_INVALID;
	/* No page has an index offset (IOS = 0), so OT must be 0. */
	if (bytes > NVME_XFER_MAX || log_offset(r) & 3 || log_offset(r) > row->bytes || nvme_get_log_ot(&r->sqe))
		return NVME_INVALID_FIELD;
	*len = (uint32_t)bytes;
	return NVME_SUCCESS;
}

nvme_status nvme_get_log(struct nvme_req *r)
{
	const struct log_row *row = log_find(nvme_get_log_lid(&r->sqe));
	uint8_t page[LOG_MAX] = { 0 };
	nvme_status status = row->fill(r, page);

	if (status != NVME_SUCCESS)
		return status;
	/* Behind the page's end stay the zeroes the core put there. */
	memcpy(r->buf, page + log_offset(r), MIN(r->len, row->bytes - log_offset(r)));
	if (!nvme_get_log_rae(&r->sqe))
		nvme_event_log_read(r->ctrl, row->lid);
	return NVME_SUCCESS;
}

/* ---- the error log */

/* What a host asked for or must expect is no error to keep: Abort, queue deletion, a Compare that found a difference. */
static bool worth_logging(nvme_status status)
{
	switch (status & 0x7ff) {
	case NVME_SUCCESS:
	case NVME_ABORT_REQUESTED:
	case NVME_ABORT_SQ_DELETED:
	case NVME_COMPARE_FAILURE:
		return false;
	}
	return true;
}

void nvme_errlog_add(struct nvme_ctrl *c, const struct nvme_req *r, nvme_status status)
{
	bool has_lba = r->sq && r->sq->qid;

	if (!worth_logging(status))
		return;
	c->errlog[c->errlog_count % NVME_ERRLOG_ENTRIES] = (struct nvme_errlog_entry){
		.count = c->errlog_count + 1, .sqid = r->sq ? r->sq->qid : 0, .cid = le16_get(r->sqe.cid),
		.status = status & 0x7fff, .loc = 0xffff, .lba = has_lba ? nvme_slba(&r->sqe) : 0,
		.nsid = le32_get(r->sqe.nsid)
	};
	c->errlog_count++;
	c->smart.error_entries++;
	if ((status & 0x7ff) == NVME_INTERNAL_ERROR)
		nvme_event_post(c, (struct nvme_event){ NVME_AET_ERROR, NVME_AEI_TRANSIENT_INTERNAL, NVME_LID_ERROR, 0 });
}
