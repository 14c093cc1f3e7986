/* Where a command's data lies: its length from its fields, its places from PRPs or SGLs. In message mode a list is known only when the
 * controller fetches it, so the walk stops there and goes on later. Lists come from a guest: bounded in every direction.
 */
#include <stdlib.h>

#include "verify/monitor_in.h"

/* ---- how long -------------------------------------------------------------------------------------------------------------- */

static char dir_of(const struct cmd *k)
{
#define ADMIN_(name, value, d, text) case value: return #d[0];
	switch (k->sq ? -1 : k->sqe.opc) { NVME_ADMIN_OPS(ADMIN_) }
	switch (k->sq ? k->sqe.opc : -1) { NVME_NVM_OPS(ADMIN_) }
#undef ADMIN_
	return "NHC?"[k->sqe.opc & 3];
}

static bool block_size(const struct ctrl *c, uint32_t nsid, uint32_t *bytes, uint32_t *meta)
{
	for (unsigned i = 0; i < c->ns_count; i++)
		if (c->ns[i].nsid == nsid) {
			*bytes = c->ns[i].bytes + (c->ns[i].inlined ? c->ns[i].meta : 0);
			*meta = c->ns[i].inlined ? 0 : c->ns[i].meta;
			return true;
		}
	return false;
}

static bool io_length(const struct ctrl *c, struct cmd *k, uint32_t *meta)
{
	const struct nvme_sqe *s = &k->sqe;
	uint32_t bytes;

	switch (s->opc) {
	case NVME_NVM_WRITE: case NVME_NVM_READ: case NVME_NVM_COMPARE:
		if (!block_size(c, le32_get(s->nsid), &bytes, meta))
			return false;
		k->length = (uint64_t)bytes * (nvme_rw_nlb0(s) + 1ull);
		*meta *= nvme_rw_nlb0(s) + 1;
		k->exact = true;
		return true;
	case NVME_NVM_DSM:
		k->length = (nvme_dsm_nr0(s) + 1ull) * sizeof(struct nvme_dsm_range);
		return true;
	case NVME_NVM_COPY:
		k->length = (nvme_copy_nr0(s) + 1ull) * 40; /* the larger of the range formats */
		return true;
	}
	return false;
}

static uint64_t log_length(const struct nvme_sqe *s)
{
	return 4 * ((nvme_get_log_numdl(s) | (uint64_t)nvme_get_log_numdu(s) << 16) + 1);
}

static uint64_t feature_length(const struct nvme_sqe *s)
{
	uint32_t fid = nvme_set_features_fid(s);

	if (s->opc == NVME_OP_SET_FEATURES && fid == NVME_FID_CDQ)
		return 0;
	switch (fid) {
	case NVME_FID_TIMESTAMP: return 8;
	case NVME_FID_HOST_ID: return 16;
	case 0x0c: return 256; /* Autonomous Power State Transition */
	case NVME_FID_HOST_BEHAVIOR: case NVME_FID_CDQ: return 512;
	case NVME_FID_RATE_LIMIT: return 1024;
	case NVME_FID_LBA_RANGE: case 0x0d: /* Host Memory Buffer */ return 4096;
	}
	return fid >= 0xc0 ? 4096 : 0;
}

static bool admin_length(struct cmd *k)
{
	const struct nvme_sqe *s = &k->sqe;

	k->exact = true;
	switch (s->opc) {
	case NVME_OP_IDENTIFY: case NVME_OP_NS_MGMT: case NVME_OP_NS_ATTACH: k->length = 4096; return true;
	case NVME_OP_GET_LOG: k->length = log_length(s); return true;
	case NVME_OP_FW_DOWNLOAD: k->length = 4 * (le32_get(s->cdw10) + 1ull); return true;
	case NVME_OP_TRACK_RECEIVE: k->length = 4 * (nvme_track_receive_numdl0(s) + 1ull); break;
	case NVME_OP_MIGRATION_RECEIVE: k->length = 4 * (nvme_migration_receive_numdl0(s) + 1ull); break;
	case NVME_OP_GET_LBA_STATUS: k->length = 4 * (nvme_get_lba_status_mndw0(s) + 1ull); break;
	case NVME_OP_MIGRATION_SEND:
		k->length = nvme_migration_send_sel(s) == NVME_MIG_SET_STATE ? 4ull * nvme_migration_send_numd(s) : 0;
		return true;
	/* The feature, or the list's own head, says how long it is: never more than two pages can say without a list. */
	case NVME_OP_SET_FEATURES: case NVME_OP_GET_FEATURES: k->length = feature_length(s); break;
	case NVME_OP_TRACK_SEND: k->length = nvme_track_send_sel(s) == NVME_TRACK_MEMORY && nvme_track_send_tact(s) ? 8192 : 0; break;
	default: return false;
	}
	k->exact = false;
	return true;
}

/* ---- places ------------------------------------------------------------------------------------------------------------------ */

static bool push(struct span **v, unsigned *n, unsigned max, uint64_t at, uint64_t len)
{
	struct span *p;

	if (*n && (*v)[*n - 1].at + (*v)[*n - 1].len == at) {
		(*v)[*n - 1].len += len;
		return true;
	}
	if (*n >= max)
		return false;
	if (!(*n & (*n - 1))) { /* full at every power of two */
		p = realloc(*v, (*n ? *n * 2 : 1) * sizeof(*p));
		if (!p)
			return false;
		*v = p;
	}
	(*v)[(*n)++] = (struct span){ at, len };
	return true;
}

static void give_up(struct cmd *k)
{
	k->bounded = false;
	k->walked = true;
	k->list_len = 0;
}

static void place(struct cmd *k, uint64_t at, uint64_t len)
{
	if (!push(&k->span, &k->spans, MON_RANGES, at, len))
		give_up(k);
	k->left -= len;
}

static void prp_list(struct ctrl *c, struct cmd *k, const uint8_t *p)
{
	uint64_t entries = k->list_len / 8;

	k->list_len = 0;
	for (uint64_t i = 0; i < entries && k->left; i++) {
		le64 v;

		memcpy(&v, p + 8 * i, sizeof(v));
		if (i + 1 == entries && k->left > c->page_bytes) {
			k->list = le64_get(v);
			k->list_len = c->page_bytes - k->list % c->page_bytes;
			return;
		}
		place(k, le64_get(v), MIN(k->left, c->page_bytes));
	}
	k->walked = true;
}

static void sgl_one(struct cmd *k, const struct nvme_sgl *d, bool last)
{
	uint64_t at = le64_get(d->addr), len = MIN((uint64_t)le32_get(d->len), k->left);

	switch (d->type >> 4) {
	case NVME_SGL_DATA:
		if (len)
			place(k, at, len);
		return;
	case NVME_SGL_BIT_BUCKET:
		k->left -= k->dir == 'C' ? len : 0;
		return;
	case NVME_SGL_SEGMENT:
	case NVME_SGL_LAST:
		k->list = at;
		k->list_len = last ? le32_get(d->len) & ~15u : 0;
		k->last_segment = d->type >> 4 == NVME_SGL_LAST;
		if (k->list_len && k->list_len <= MON_READ_MAX)
			return;
	}
	give_up(k); /* nothing that could be followed: the controller will say so */
}

static void sgl_list(struct cmd *k, const uint8_t *p)
{
	uint64_t n = k->list_len / sizeof(struct nvme_sgl);
	bool last_segment = k->last_segment;

	k->list_len = 0;
	for (uint64_t i = 0; i < n && k->left && !k->walked; i++) {
		struct nvme_sgl d;

		memcpy(&d, p + i * sizeof(d), sizeof(d));
		sgl_one(k, &d, i + 1 == n && !last_segment);
	}
	k->walked |= !k->list_len;
}

void walk_list(struct ctrl *c, struct cmd *k, const uint8_t *p)
{
	if (!push(&k->lists, &k->list_count, MON_LISTS, k->list, k->list_len)) {
		give_up(k);
		return;
	}
	k->hops += 1 + (unsigned)(k->list_len / 4096);
	if (k->hops > MON_LISTS)
		give_up(k);
	else if (k->sgl)
		sgl_list(k, p);
	else
		prp_list(c, k, p);
}

/* As far as memory shows the lists. */
static void follow(struct ctrl *c, struct cmd *k)
{
	while (!k->walked && k->list_len && k->bounded) {
		uint8_t *p = malloc(k->list_len);
		bool ok = p && mem_read(&c->mem, k->list, p, k->list_len);

		if (ok)
			walk_list(c, k, p);
		free(p);
		if (!ok)
			return;
	}
}

static void prps(struct ctrl *c, struct cmd *k)
{
	uint64_t prp1 = le64_get(k->sqe.prp1), prp2 = le64_get(k->sqe.prp2);

	place(k, prp1, MIN(k->left, c->page_bytes - prp1 % c->page_bytes));
	if (k->left && k->left <= c->page_bytes) {
		place(k, prp2, k->exact ? k->left : MIN(k->left, c->page_bytes - prp2 % c->page_bytes));
		k->left = 0;
	}
	k->walked = !k->left;
	if (k->left) {
		k->list = prp2;
		k->list_len = (c->page_bytes - prp2 % c->page_bytes) & ~7ull;
	}
}

static void sgls(struct cmd *k)
{
	struct nvme_sgl d;

	memcpy(&d, (const uint8_t *)&k->sqe + offsetof(struct nvme_sqe, prp1), sizeof(d));
	k->sgl = true;
	k->walked = false;
	sgl_one(k, &d, true);
	k->walked |= !k->list_len;
}

/* A data queue's memory belongs to it as a whole, from its creation on: monitor_cdq.c. */
void walk_start(struct ctrl *c, struct cmd *k)
{
	uint32_t meta = 0;

	k->dir = dir_of(k);
	k->bounded = k->dir == 'N' ? k->sq || k->sqe.opc < 0xc0 : k->sq ? io_length(c, k, &meta) : admin_length(k);
	k->length = k->bounded && k->dir != 'N' ? k->length : 0;
	k->left = k->length;
	k->walked = true;
	if (!k->length)
		return;
	if ((k->sqe.flags & NVME_PSDT_MASK) == NVME_PSDT_PRP)
		prps(c, k);
	else
		sgls(k);
	if (meta && (k->sqe.flags & NVME_PSDT_MASK) != NVME_PSDT_SGL_MSEG)
		push(&k->meta, &k->metas, 1, le64_get(k->sqe.mptr), meta);
	else if (meta)
		k->bounded = false; /* metadata by SGL segment is not followed */
	follow(c, k);
}

/* ---- questions --------------------------------------------------------------------------------------------------------------- */

static uint64_t covered(const struct span *v, unsigned n, uint64_t at, uint64_t len)
{
	for (unsigned i = 0; i < n; i++)
		if (at - v[i].at < v[i].len)
			return MIN(len, v[i].len - (at - v[i].at));
	return 0;
}

static bool inside(const struct span *v, unsigned n, uint64_t at, uint64_t len)
{
	uint64_t part;

	for (; len; at += part, len -= part)
		if (!(part = covered(v, n, at, len)))
			return false;
	return true;
}

bool walk_touches(const struct cmd *k, uint64_t at, uint64_t len)
{
	return inside(k->span, k->spans, at, len) || inside(k->meta, k->metas, at, len);
}

bool walk_lists(const struct cmd *k, uint64_t at, uint64_t len)
{
	struct span next = { k->list, k->list_len };

	return inside(k->lists, k->list_count, at, len) || (k->list_len && inside(&next, 1, at, len));
}
