/* Set Features and Get Features: one table, a value per controller, the same rules for all.
 *
 * Called through nvme_admin_rows; nvme_features_reset by ctrl.c. Device thread. Every value is in ctrl->feat, which moves
 * with the controller. Nothing is saveable: a saved value is the default (ONCS.SSFS = 1, capability bit 0 = 0).
 *
 * An MC knows neither Controller Data Queue (21h) nor Rate Limiting (28h): its guest could lift its own throttle.
 */
#include "device/nvme/hmlm.h"

enum feature_flags { F_NS = 1 << 0, F_MMC = 1 << 1 };
enum { SEL_CURRENT, SEL_DEFAULT, SEL_SAVED, SEL_CAPS };
enum { CAP_NS = 1 << 1, CAP_CHANGEABLE = 1 << 2 };
enum { TEMP_SEL_ALL = 0xf, TEMP_UNDER = 1 };
enum { HOST_ID_EXT = 1 };
enum { AER_CONFIG_SMART = 0x1f, AER_CONFIG_NS = 1 << 8 };

struct feature {
	uint8_t fid, flags;
	uint16_t set_bytes, get_bytes;	/* of data */
	nvme_status (*set)(struct nvme_req *, uint32_t cdw11);
	/* DW0 and, in req->buf, data: taken from f, which holds the current or the default values. */
	nvme_status (*get)(struct nvme_req *, const struct nvme_features *f);
	uint32_t effects;
};

/* ---- one pair of functions each */

#define PLAIN(name, mask)                                                                        \
	static nvme_status set_##name(struct nvme_req *r, uint32_t v)                            \
	{                                                                                        \
		r->ctrl->feat.name = v & (mask);                                                 \
		return NVME_SUCCESS;                                                             \
	}                                                                                        \
	GET_PLAIN(name)
#define GET_PLAIN(name)                                                                          \
	static nvme_status get_##name(struct nvme_req *r, const struct nvme_features *f)         \
	{                                                                                        \
		r->dw0 = f->name;                                                                \
		return NVME_SUCCESS;                                                             \
	}

PLAIN(arbitration, 0xffffff07)
PLAIN(irq_coalesce, 0xffff)
PLAIN(write_atomic, 1)
PLAIN(sw_progress, 0xff)
/* What OAES does not offer is not switched on, so that Get tells the truth. */
PLAIN(aer_config, AER_CONFIG_SMART | AER_CONFIG_NS)
GET_PLAIN(power)
GET_PLAIN(error_recovery)
GET_PLAIN(vwc)
GET_PLAIN(num_queues)

static nvme_status set_power(struct nvme_req *r, uint32_t v)
{
	if (v & 0x1f)	/* NPSS = 0: power state 0 only */
		return NVME_INVALID_FIELD;
	r->ctrl->feat.power = v & 0xe0;
	return NVME_SUCCESS;
}

/* Composite temperature only (the log shows no sensors); Fh means all of them. */
static nvme_status temp_select(uint32_t v, bool all_ok, bool *under)
{
	uint32_t sel = v >> 16 & 0xf, kind = v >> 20 & 3;

	if (kind > TEMP_UNDER || (sel && !(all_ok && sel == TEMP_SEL_ALL)))
		return NVME_INVALID_FIELD;
	*under = kind == TEMP_UNDER;
	return NVME_SUCCESS;
}

static nvme_status set_temp(struct nvme_req *r, uint32_t v)
{
	struct nvme_features *f = &r->ctrl->feat;
	bool under;
	nvme_status status = temp_select(v, true, &under);

	if (status != NVME_SUCCESS)
		return status;
	*(under ? &f->temp_under : &f->temp_over) = v & 0xffff;
	if (nvme_critical_warning(r->ctrl) & NVME_WARNING_TEMP && f->aer_config & NVME_WARNING_TEMP)
		nvme_event_post(r->ctrl, (struct nvme_event){ NVME_AET_SMART, NVME_AEI_TEMP, NVME_LID_SMART, 0 });
	return NVME_SUCCESS;
}

static nvme_status get_temp(struct nvme_req *r, const struct nvme_features *f)
{
	bool under;
	nvme_status status = temp_select(nvme_get_features_cdw11(&r->sqe), false, &under);

	if (status == NVME_SUCCESS)
		r->dw0 = under ? f->temp_under : f->temp_over;
	return status;
}

/* No namespace offers DULBE (NSFEAT.DAE = 0). TLER has no use: a backend answers when it answers. */
static nvme_status set_error_recovery(struct nvme_req *r, uint32_t v)
{
	if (v & 1 << 16)
		return NVME_INVALID_FIELD;
	r->ctrl->feat.error_recovery = v & 0xffff;
	return NVME_SUCCESS;
}

/* Switching the cache off makes what it holds durable first, otherwise a host that relies on it would be deceived. */
static nvme_status set_vwc(struct nvme_req *r, uint32_t v)
{
	bool was = r->ctrl->feat.vwc & 1;

	r->ctrl->feat.vwc = v & 1;
	if (!was || v & 1)
		return NVME_SUCCESS;
	return nvme_flush(r);
}

static bool any_io_queue(const struct nvme_ctrl *c)
{
	for (unsigned q = 1; q <= NVME_IOQ_MAX; q++)
		if (c->sq[q].live || c->cq[q].live)
			return true;
	return false;
}

static nvme_status set_num_queues(struct nvme_req *r, uint32_t v)
{
	struct nvme_ctrl *c = r->ctrl;
	uint32_t sq0 = v & 0xffff, cq0 = v >> 16, max0 = c->max_ioq - 1u;

	if (sq0 == 0xffff || cq0 == 0xffff)
		return NVME_INVALID_FIELD;
	if (any_io_queue(c))
		return NVME_COMMAND_SEQUENCE;
	c->feat.num_queues = MIN(cq0, max0) << 16 | MIN(sq0, max0);
	r->dw0 = c->feat.num_queues;
	return NVME_SUCCESS;
}

static nvme_status set_irq_vector(struct nvme_req *r, uint32_t v)
{
	if ((v & 0xffff) >= r->ctrl->pci.msix_count)
		return NVME_INVALID_FIELD;
	r->ctrl->feat.irq_vector[v & 0xffff] = v & 1 << 16;
	return NVME_SUCCESS;
}

static nvme_status get_irq_vector(struct nvme_req *r, const struct nvme_features *f)
{
	uint32_t iv = nvme_get_features_cdw11(&r->sqe) & 0xffff;

	if (iv >= r->ctrl->pci.msix_count)
		return NVME_INVALID_FIELD;
	r->dw0 = iv | f->irq_vector[iv];
	return NVME_SUCCESS;
}

static nvme_status set_timestamp(struct nvme_req *r, uint32_t v)
{
	le64 t;

	(void)v;
	memcpy(&t, r->buf, 8);
	r->ctrl->feat.timestamp_ms = le64_get(t) & 0xffffffffffffull;
	r->ctrl->feat.timestamp_set_ns = nvme_now(r->ctrl);
	r->ctrl->feat.timestamp_origin = 1;
	return NVME_SUCCESS;
}

/* Counts on from what was set; 48 bits, then the origin in bits 3:1 of the next byte. The default is 0, not counting. */
static nvme_status get_timestamp(struct nvme_req *r, const struct nvme_features *f)
{
	uint64_t ms = f->timestamp_ms;
	le64 t;

	if (f == &r->ctrl->feat)
		ms += (nvme_now(r->ctrl) - f->timestamp_set_ns) / NS_PER_MS;
	t = le64_of((ms & 0xffffffffffffull) | (uint64_t)f->timestamp_origin << 49);
	memcpy(r->buf, &t, 8);
	return NVME_SUCCESS;
}

/* ACRE, ETDAS, LBAFEE are switches; what follows asks for formats we do not have. LBAFEE needs CTRATT.ELBAS. */
static nvme_status set_host_behavior(struct nvme_req *r, uint32_t v)
{
	const uint8_t *p = r->buf;

	(void)v;
	if (p[0] > 1 || p[1] > 1 || p[2] || p[3] || p[4] || p[5])
		return NVME_INVALID_FIELD;
	memset(r->ctrl->feat.host_behavior, 0, sizeof(r->ctrl->feat.host_behavior));
	memcpy(r->ctrl->feat.host_behavior, p, 2);
	return NVME_SUCCESS;
}

static nvme_status get_host_behavior(struct nvme_req *r, const struct nvme_features *f)
{
	memcpy(r->buf, f->host_behavior, sizeof(f->host_behavior));
	return NVME_SUCCESS;
}

static uint32_t host_id_bytes(const struct nvme_req *r)
{
	return nvme_set_features_cdw11(&r->sqe) & HOST_ID_EXT ? 16 : 8;
}

static nvme_status set_host_id(struct nvme_req *r, uint32_t v)
{
	struct nvme_features *f = &r->ctrl->feat;

	memset(f->host_id, 0, sizeof(f->host_id));
	memcpy(f->host_id, r->buf, host_id_bytes(r));
	f->host_id_ext = v & HOST_ID_EXT;
	return NVME_SUCCESS;
}

static nvme_status get_host_id(struct nvme_req *r, const struct nvme_features *f)
{
	memcpy(r->buf, f->host_id, host_id_bytes(r));
	return NVME_SUCCESS;
}

static nvme_status set_cdq(struct nvme_req *r, uint32_t v)
{
	(void)v;
	return nvme_fid_cdq_set(r);
}

/* A queue that does not exist by default has no default head. */
static nvme_status get_cdq(struct nvme_req *r, const struct nvme_features *f)
{
	return f == &r->ctrl->feat ? nvme_fid_cdq_get(r) : NVME_INVALID_FIELD;
}

static nvme_status set_rate(struct nvme_req *r, uint32_t v)
{
	(void)v;
	return nvme_fid_rate_set(r);
}

/* By default nothing is limited: all zeroes. */
static nvme_status get_rate(struct nvme_req *r, const struct nvme_features *f)
{
	return f == &r->ctrl->feat ? nvme_fid_rate_get(r) : NVME_SUCCESS;
}

/* ---- the table */

enum { BY_HOST_ID = 0xffff, BY_CDQ = 0xfffe };	/* sizes that depend on more than the FID */
#define CTRL_SCOPE (NVME_EFFECTS_SUPP | NVME_EFFECTS_SCOPE_CTRL)

static const struct feature features[] = {
	{ NVME_FID_ARBITRATION, 0, 0, 0, set_arbitration, get_arbitration, CTRL_SCOPE },
	{ NVME_FID_POWER, 0, 0, 0, set_power, get_power, CTRL_SCOPE },
	{ NVME_FID_TEMP, 0, 0, 0, set_temp, get_temp, CTRL_SCOPE },
	{ NVME_FID_ERROR_RECOVERY, F_NS, 0, 0, set_error_recovery, get_error_recovery,
	  NVME_EFFECTS_SUPP | NVME_EFFECTS_SCOPE_NS },
	{ NVME_FID_VWC, 0, 0, 0, set_vwc, get_vwc, CTRL_SCOPE },
	{ NVME_FID_NUM_QUEUES, 0, 0, 0, set_num_queues, get_num_queues, CTRL_SCOPE },
	{ NVME_FID_IRQ_COALESCE, 0, 0, 0, set_irq_coalesce, get_irq_coalesce, CTRL_SCOPE },
	{ NVME_FID_IRQ_VECTOR, 0, 0, 0, set_irq_vector, get_irq_vector, CTRL_SCOPE },
	{ NVME_FID_WRITE_ATOMIC, 0, 0, 0, set_write_atomic, get_write_atomic, CTRL_SCOPE },
	{ NVME_FID_AER, 0, 0, 0, set_aer_config, get_aer_config, CTRL_SCOPE },
	{ NVME_FID_TIMESTAMP, 0, 8, 8, set_timestamp, get_timestamp, CTRL_SCOPE },
	{ NVME_FID_HOST_BEHAVIOR, 0, 512, 512, set_host_behavior, get_host_behavior, CTRL_SCOPE },
	{ NVME_FID_CDQ, F_MMC, 0, BY_CDQ, set_cdq, get_cdq, NVME_EFFECTS_SUPP | NVME_EFFECTS_SCOPE_CDQ },
	{ NVME_FID_RATE_LIMIT, F_MMC, sizeof(struct nvme_rate_limit), sizeof(struct nvme_rate_limit), set_rate, get_rate,
	  CTRL_SCOPE },
	{ NVME_FID_SW_PROGRESS, 0, 0, 0, set_sw_progress, get_sw_progress, CTRL_SCOPE },
	{ NVME_FID_HOST_ID, 0, BY_HOST_ID, BY_HOST_ID, set_host_id, get_host_id, CTRL_SCOPE },
};

static const struct feature *feature_find(const struct nvme_ctrl *c, unsigned fid)
{
	for (unsigned i = 0; i < ARRAY_LEN(features); i++)
		if (features[i].fid == fid)
			return features[i].flags & F_MMC && !nvme_hmlm_on(c) ? NULL : &features[i];
	return NULL;
}

static uint32_t feature_bytes(const struct nvme_req *r, uint16_t bytes)
{
	if (bytes == BY_HOST_ID)
		return host_id_bytes(r);
	if (bytes == BY_CDQ)
		return r->ctrl->ss->cfg.get_cdq_8_bytes ? 8 : sizeof(struct nvme_fid_cdq_data);
	return bytes;
}

uint32_t nvme_fid_effects(const struct nvme_ctrl *c, unsigned fid)
{
	const struct feature *f = feature_find(c, fid);

	return f ? f->effects : 0;
}

/* ---- the commands. Everything is judged in the size step, before data moves. */

/* 0 and FFFFFFFFh mean the controller. A namespace is accepted only by what belongs to namespaces. */
static nvme_status judge_nsid(const struct nvme_req *r, const struct feature *f)
{
	uint32_t nsid = le32_get(r->sqe.nsid);

	if (nsid == 0 || nsid == UINT32_MAX)
		return NVME_SUCCESS;
	if (nsid > NVME_NSID_MAX)
		return NVME_INVALID_NAMESPACE;
	if (!r->ctrl->attach[nsid])
		return NVME_INVALID_FIELD;
	return f->flags & F_NS ? NVME_SUCCESS : NVME_FEATURE_NOT_NS;
}

nvme_status nvme_set_features_size(struct nvme_req *r, uint32_t *len)
{
	const struct feature *f = feature_find(r->ctrl, nvme_set_features_fid(&r->sqe));

	*len = 0;
	if (!f)
		return NVME_INVALID_FIELD;
	if (nvme_set_features_sv(&r->sqe))
		return NVME_FEATURE_NOT_SAVEABLE;
	*len = feature_bytes(r, f->set_bytes);
	return judge_nsid(r, f);
}

nvme_status nvme_set_features(struct nvme_req *r)
{
	const struct feature *f = feature_find(r->ctrl, nvme_set_features_fid(&r->sqe));

	return f->set(r, nvme_set_features_cdw11(&r->sqe));
}

/* Reading a controller's value through a namespace harms nobody, and tools do it: no judge_nsid here. */
nvme_status nvme_get_features_size(struct nvme_req *r, uint32_t *len)
{
	const struct feature *f = feature_find(r->ctrl, nvme_get_features_fid(&r->sqe));
	uint32_t sel = nvme_get_features_sel(&r->sqe);

	*len = 0;
	if (!f || sel > SEL_CAPS)
		return NVME_INVALID_FIELD;
	if (sel != SEL_CAPS)
		*len = feature_bytes(r, f->get_bytes);
	return NVME_SUCCESS;
}

nvme_status nvme_get_features(struct nvme_req *r)
{
	const struct feature *f = feature_find(r->ctrl, nvme_get_features_fid(&r->sqe));
	uint32_t sel = nvme_get_features_sel(&r->sqe);

	if (sel == SEL_CAPS) {
		r->dw0 = (f->flags & F_NS ? CAP_NS : 0) | CAP_CHANGEABLE;
		return NVME_SUCCESS;
	}
	return f->get(r, sel == SEL_CURRENT ? &r->ctrl->feat : &r->ctrl->feat_saved_default);
}

/* Controller Level Reset. Software Progress Marker alone is persistent: boot software leaves it for the OS. */
void nvme_features_reset(struct nvme_ctrl *c)
{
	uint32_t sw_progress = c->feat.sw_progress, max0 = c->max_ioq - 1u;

	memset(&c->feat_saved_default, 0, sizeof(c->feat_saved_default));
	c->feat_saved_default.temp_over = NVME_TEMP_WARNING;
	c->feat_saved_default.vwc = 1;
	c->feat_saved_default.num_queues = max0 << 16 | max0;
	c->feat = c->feat_saved_default;
	c->feat.sw_progress = sw_progress;
	c->feat.timestamp_set_ns = nvme_now(c);
}
