/* Requests that a disk has had for too long: a disk that hangs says nothing, and neither would we.
 *
 * The program that serves the subsystem looks about once a second (nvme_subsys_look), from the device thread. A request costs two stores;
 * its time begins with the first look that finds it out, so ages are up to one look too short. Nothing is done about it but saying so: a
 * request cannot be taken back from a disk.
 */
#include "device/nvme/core.h"

enum { TELL_AT_ONCE = 32 };	/* per look; the others' turn comes at the next ones */

static bool is_out(const struct nvme_req *r) { return r->bio_since_ns; }
static bool is_seen(const struct nvme_req *r) { return r->bio_since_ns > NVME_BIO_UNSEEN; }

static void tell(const struct nvme_req *r, uint64_t now, bool over, int rc)
{
	const struct nvme_subsys_cfg *c = &r->ctrl->ss->cfg;
	struct nvme_slow s = { .ns = r->ns, .op = r->bio.op, .lba = r->bio.lba, .nlb = r->bio.nlb, .age_ns = now - r->bio_since_ns,
			       .over = over, .rc = rc };

	c->slow(c->slow_ctx, &s);
}

void nvme_slow_over(struct nvme_req *r, int rc)
{
	r->bio_told = false;
	tell(r, nvme_now(r->ctrl), true, rc);
}

static void look_at(struct nvme_req *r, uint64_t now, unsigned *left)
{
	if (!is_out(r) || r->bio_told)
		return;
	if (!is_seen(r))
		r->bio_since_ns = now;
	if (now - r->bio_since_ns < r->ctrl->ss->cfg.slow_ns || !*left)
		return;
	r->bio_told = true;
	--*left;
	tell(r, now, false, 0);
}

void nvme_subsys_look(struct nvme_subsys *ss)
{
	uint64_t now = env_now_ns(ss->env);
	unsigned left = TELL_AT_ONCE;

	if (!ss->cfg.slow || !ss->cfg.slow_ns)
		return;
	for (unsigned i = 0; i < ss->ctrl_top; i++) {
		struct nvme_ctrl *c = ss->ctrl[i];

		for (unsigned k = 0; c && c->inflight && k < c->max_reqs; k++)
			look_at(&c->reqs[k], now, &left);
	}
}

void nvme_ns_slow(const struct nvme_ns *ns, unsigned *count, uint64_t *oldest_ns)
{
	uint64_t now = env_now_ns(ns->ss->env);

	*count = 0;
	*oldest_ns = 0;
	for (unsigned i = 0; i < ns->ss->ctrl_top; i++) {
		struct nvme_ctrl *c = ns->ss->ctrl[i];

		for (unsigned k = 0; c && c->inflight && k < c->max_reqs; k++) {
			const struct nvme_req *r = &c->reqs[k];

			if (r->ns != ns || !is_seen(r) || now - r->bio_since_ns < ns->ss->cfg.slow_ns)
				continue;
			++*count;
			*oldest_ns = MAX(*oldest_ns, now - r->bio_since_ns);
		}
	}
}
