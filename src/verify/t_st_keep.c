/* Set Controller State: what was set is what is there, rings and a vendor's part included. */
#include "verify/t_st.h"

void st_round_trip(struct vt *t)
{
	struct st_pair p = st_prepare(t);
	struct vmem again;
	uint32_t len;

	st_set(t, &p, ONLY, 0, p.len, ST(S_OK));
	len = vh_image(t->mmc, p.to, 1, 0, &again);
	VEQ(t, len, p.len, "bytes of the image read back");
	for (uint32_t i = 0; i < len; i++)
		VEXPECT(t, again.p[i] == p.image.p[i], "byte %u of the image read back is %02xh, not %02xh", i, again.p[i], p.image.p[i]);
}

/* A vendor's part may change for good what a controller calls itself, and the next run would take it for another. So the target's own is kept,
 * and put back. */
static struct { uint8_t image[256 << 10]; uint32_t len; } own_;

void vsv_keep_own(struct vt *t, struct vctl *c)
{
	struct vmem m;

	vt_fresh(t);
	vh_suspend(t->mmc, c->cntlid, 1, false, ST(S_OK));
	own_.len = vh_image(t->mmc, c, 1, 1, &m);
	if (own_.len > sizeof(own_.image))
		vt_skip(t, "the state with the vendor's part has %u bytes: it could not be put back", own_.len);
	memcpy(own_.image, m.p, own_.len);
	vt_fresh(t);
}

void vsv_put_back(struct vt *t, struct vctl *c)
{
	struct vmem m, id;

	vt_fresh(t);
	m = vt_mem(t->mmc, own_.len);
	memcpy(m.p, own_.image, own_.len);
	vh_suspend(t->mmc, c->cntlid, 1, false, ST(S_OK));
	vh_set(t->mmc, c->cntlid, ONLY, 1, 1, 0, &m, own_.len / 4, ST(S_OK));
	vt_fresh(t);
	vh_identify(c, NVME_CNS_CTRL, 0, 0, 0, &id, ST(S_OK));
	VEXPECT(t, !memcmp(id.p, &c->id, 588), "the target's own state was put back, and Identify Controller is not what it was");
}

void st_vendor_round_trip(struct vt *t)
{
	struct st_pair p;
	struct vmem image, again;
	uint32_t len;

	if (!vh_uuids(t->mmc))
		vt_skip(t, "no vendor format is listed");
	vsv_keep_own(t, t->mc[1]);
	p = st_prepare(t);
	len = vh_image(t->mmc, p.from, 1, 1, &image);
	vh_set(t->mmc, p.to->cntlid, ONLY, 1, 1, 0, &image, len / 4, ST(S_OK));
	vh_image(t->mmc, p.to, 1, 0, &again);
	VEXPECT(t, !memcmp(again.p + 48, p.image.p + 48, p.len - 48), "the NVMe part read back differs");
	vsv_put_back(t, p.to);
}

/* A vendor's part whose meaning we know (docs/stream.md): the admin queue goes on where it was, and the guest reads the controller it knew. */
void st_vendor_admin(struct vt *t)
{
	static const uint8_t known[16] = FERRY_STATE_UUID;

	for (unsigned n = 0; n < 130; n += 43) { /* different positions and phases of an admin queue of 64 */
		struct vmem f, image, id;
		struct st_pair p;
		uint32_t len;

		if (n)
			vt_fresh(t);
		vh_identify(t->mmc, 0x20, 0, 0, 0, &f, ST(S_OK));
		if (!f.p[1] || memcmp(f.p + 2 + 2 * f.p[0], known, 16))
			vt_skip(t, "the vendor format at index 1 is not one we know");
		if (!n)
			vsv_keep_own(t, t->mc[1]);
		for (unsigned i = 0; i < n; i++)
			vh_feature(t->mc[0], false, NVME_FID_TEMP, 0, 0, ST(S_OK));
		p = st_prepare(t);
		len = vh_image(t->mmc, p.from, 1, 1, &image);
		vh_set(t->mmc, p.to->cntlid, ONLY, 1, 1, 0, &image, len / 4, ST(S_OK));
		vh_adopt(p.to, p.from);
		memcpy(p.to->acq.p, p.from->acq.p, p.to->acq.len);
		memcpy(p.to->asq.p, p.from->asq.p, p.to->asq.len);
		p.to->sq[0].tail = p.from->sq[0].tail;
		p.to->sq[0].rung = p.from->sq[0].rung;
		p.to->sq[0].head = p.from->sq[0].head;
		p.to->cq[0].head = p.from->cq[0].head;
		p.to->cq[0].phase = p.from->cq[0].phase;
		vh_resume(t->mmc, p.to->cntlid, ST(S_OK));
		vh_identify(p.to, NVME_CNS_CTRL, 0, 0, 0, &id, ST(S_OK));
		VEXPECT(t, !memcmp(id.p, &p.from->id, 588), "Identify Controller at the target is not what the guest knew");
		for (unsigned i = 0; i < 70; i++)
			vh_feature(p.to, false, NVME_FID_TEMP, 0, 0, ST(S_OK));
		vh_write(p.to, 1, p.to->ns[0].nsid, 9, 1, 77, ST(S_OK));
		vh_read_is(p.to, 2, p.to->ns[0].nsid, 9, 1, 77);
	}
	vsv_put_back(t, t->mc[1]);
}

/* The first completion after the move, at every position of a ring of 8. */
void st_phases(struct vt *t)
{
	for (unsigned n = 0; n < 18; n++) {
		struct st_pair p;

		if (n)
			vt_fresh(t);
		p = st_prepare_n(t, n);
		st_set(t, &p, ONLY, 0, p.len, ST(S_OK));
		st_works(t, &p);
	}
}

/* Completions the host has not read go with the state, and the ring is as full at the target as it was. */
void st_unread(struct vt *t)
{
	struct st_pair p = { t->mc[0], t->mc[1] };
	struct nvme_sqe s = { .opc = NVME_NVM_FLUSH, .nsid = le32_of(p.from->ns[0].nsid) };
	struct vcmd *k[13];

	vt_cq_make(p.from, 1, 8, ST(S_OK));
	vt_sq_make(p.from, 1, 1, 32, ST(S_OK));
	vt_cq_make(p.from, 2, 8, ST(S_OK));
	vt_sq_make(p.from, 2, 2, 8, ST(S_OK));
	for (unsigned i = 0; i < 5; i++)
		vt_do(p.from, 1, &s, ST(S_OK));
	p.from->cq[1].hold = true;
	for (unsigned i = 0; i < 4; i++)
		k[i] = vt_send(p.from, 1, &s, ST(S_OK));
	vt_watch_silent(p.from);
	vh_suspend(t->mmc, p.from->cntlid, 1, false, ST(S_OK));
	vh_suspend(t->mmc, p.to->cntlid, 1, false, ST(S_OK));
	p.len = vh_image(t->mmc, p.from, 1, 0, &p.image);
	VEQ(t, le16_get(vh_state_cq(&p.image, 0)->head), 5, "IOCQHP with four completions unread");
	VEQ(t, le16_get(vh_state_cq(&p.image, 0)->tail), 1, "IOCQTP with four completions unread");
	st_set(t, &p, ONLY, 0, p.len, ST(S_OK));
	vh_adopt(p.to, p.from);
	vh_resume(t->mmc, p.to->cntlid, ST(S_OK));
	vt_watch_silent(p.to);
	for (unsigned i = 4; i < ARRAY_LEN(k); i++)
		k[i] = vt_queue(p.to, 1, &s, ST(S_OK));
	vt_ring(p.to, 1);
	vt_watch_silent(p.to);
	p.to->cq[1].hold = false;
	for (unsigned i = 0; i < ARRAY_LEN(k); i++)
		vt_finish(t, k[i]);
}
