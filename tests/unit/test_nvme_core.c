/* The device core: enabling, resets, suspend, events, the subsystem. White box where it must be. */
#include "slow.h"

/* ---- enabling ---- */

TEST(properties_at_reset)
{
	RIG(r, .disabled = true);
	uint64_t cap = rig_reg(r.mc, NVME_REG_CAP, 8);

	EXPECT_EQ(cap & 0xffff, 4095);
	EXPECT(cap >> 16 & 1);
	EXPECT_EQ(cap >> 32 & 15, 0);
	EXPECT_EQ(cap >> 48 & 0xff, 0);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_VS, 4), 0x00020100);
	EXPECT_EQ(rig_csts(r.mc), 0);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_CMBSZ, 4), 0);
}

/* Base 3.1.4.5: what the controller cannot do is a fatal status, not a controller that half works. */
TEST(enable_judges_what_it_is_given)
{
	static const struct { uint32_t cc, aqa; uint64_t asq_off; } bad[] = {
		{ RIG_CC | 1 << NVME_CC_MPS_SHIFT, 0x001f001f, 0 },
		{ RIG_CC | 6 << NVME_CC_CSS_SHIFT, 0x001f001f, 0 },
		{ RIG_CC | 1 << NVME_CC_AMS_SHIFT, 0x001f001f, 0 },
		{ RIG_CC, 0x001f0000, 0 },
		{ RIG_CC, 0x0000001f, 0 },
		{ RIG_CC, 0x001f001f, 1ull << 40 },
	};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		RIG(r, .disabled = true);
		void *mem = rig_alloc(&r, r.mc, 8192);

		rig_reg_put(r.mc, NVME_REG_AQA, 4, bad[i].aqa);
		rig_reg_put(r.mc, NVME_REG_ASQ, 8, rig_iova(&r, r.mc, mem) + bad[i].asq_off);
		rig_reg_put(r.mc, NVME_REG_ACQ, 8, rig_iova(&r, r.mc, mem) + 4096);
		rig_reg_put(r.mc, NVME_REG_CC, 4, bad[i].cc);
		EXPECT_EQ(rig_csts(r.mc) & 3, NVME_CSTS_CFS);
		rig_reg_put(r.mc, NVME_REG_CC, 4, bad[i].cc & ~(uint32_t)NVME_CC_EN); /* Controller Reset heals it */
		EXPECT_EQ(rig_csts(r.mc) & 3, 0);
	}
}

TEST(enable_disable_enable)
{
	RIG(r, .queues = 2);

	EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_KEEP_ALIVE)), NVME_SUCCESS);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT(!(rig_csts(r.mc) & NVME_CSTS_RDY));
	EXPECT(!r.mc->sq[1].live && !r.mc->cq[2].live);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_AQA, 4), 0x001f001f); /* these three outlive a Controller Reset */
	rig_enable(&r, r.mc);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_KEEP_ALIVE)), NVME_SUCCESS);
}

TEST(register_access_widths)
{
	RIG(r, .disabled = true);
	struct device *d = nvme_ctrl_device(r.mc);
	uint8_t b[16] = { 0 };

	EXPECT_EQ(d->ops->region_write(d, 0, NVME_REG_CC, b, 2), -EINVAL);
	EXPECT_EQ(d->ops->region_write(d, 0, NVME_REG_CC + 2, b, 4), -EINVAL);
	EXPECT_EQ(d->ops->region_write(d, 0, 0x4000, b, 4), -EINVAL);
	EXPECT_EQ(d->ops->region_write(d, 0, UINT64_MAX - 3, b, 4), -EINVAL);
	EXPECT_EQ(d->ops->region_read(d, 1, 0, b, 4), -EINVAL);
	EXPECT_EQ(d->ops->region_read(d, 100, 0, b, 4), -EINVAL);
	EXPECT_EQ(d->ops->region_write(d, 0, 0x1000, b, 8), -EINVAL);
	EXPECT_EQ(d->ops->region_read(d, 0, 0x3ffc, b, 4), 0);
	EXPECT_EQ(d->ops->region_write(d, 0, 0x3ffc, b, 4), 0);
}

TEST(shutdown_flushes_then_says_so)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);

	rig_reg_put(r.mc, NVME_REG_CC, 4, RIG_CC | 1 << NVME_CC_SHN_SHIFT);
	EXPECT_EQ(rig_csts(r.mc) >> NVME_CSTS_SHST_SHIFT & 3, 1);
	rig_settle(&r);
	EXPECT_EQ(rig_csts(r.mc) >> NVME_CSTS_SHST_SHIFT & 3, 1);
	EXPECT(slow_finish(0));
	rig_settle(&r);
	EXPECT_EQ(rig_csts(r.mc) >> NVME_CSTS_SHST_SHIFT & 3, 2);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT_EQ(rig_csts(r.mc), 0);
}

TEST(subsystem_reset_resets_everybody)
{
	RIG(r, .queues = 1);

	rig_reg_put(r.mmc, NVME_REG_NSSR, 4, 1);
	rig_poll(&r);
	EXPECT(rig_csts(r.mmc) & NVME_CSTS_RDY);
	rig_reg_put(r.mmc, NVME_REG_NSSR, 4, NVME_NSSR_MAGIC);
	rig_poll(&r);
	EXPECT_EQ(rig_csts(r.mmc), NVME_CSTS_NSSRO);
	EXPECT_EQ(rig_csts(r.mc), NVME_CSTS_NSSRO);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_CC, 4), 0);
	rig_reg_put(r.mc, NVME_REG_CSTS, 4, NVME_CSTS_NSSRO);
	EXPECT_EQ(rig_csts(r.mc), 0);
}

/* Base, NVM Subsystem Reset: it has happened when its write has. A host that enables a controller right behind it keeps it enabled. */
TEST(enabled_right_after_a_subsystem_reset)
{
	RIG(r, .queues = 1);
	uint64_t aqa = rig_reg(r.mc, NVME_REG_AQA, 4), asq = rig_reg(r.mc, NVME_REG_ASQ, 8), acq = rig_reg(r.mc, NVME_REG_ACQ, 8);
	uint64_t cc = rig_reg(r.mc, NVME_REG_CC, 4);

	rig_reg_put(r.mmc, NVME_REG_NSSR, 4, NVME_NSSR_MAGIC);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_CC, 4), 0);
	rig_reg_put(r.mc, NVME_REG_AQA, 4, aqa);
	rig_reg_put(r.mc, NVME_REG_ASQ, 8, asq);
	rig_reg_put(r.mc, NVME_REG_ACQ, 8, acq);
	rig_reg_put(r.mc, NVME_REG_CC, 4, cc);
	rig_poll(&r);
	rig_poll(&r);
	EXPECT_EQ(rig_csts(r.mc), NVME_CSTS_NSSRO | NVME_CSTS_RDY);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_CC, 4), cc);
}

TEST(flr_forgets_everything)
{
	RIG(r, .queues = 1);
	uint32_t v = 0x8000;
	struct device *d = nvme_ctrl_device(r.mc);

	EXPECT_EQ(d->ops->region_write(d, DEV_REGION_CONFIG, r.mc->pci.pcie_cap + 8u, &v, 2), 0);
	EXPECT_EQ(rig_csts(r.mc), 0);
	EXPECT_EQ(rig_reg(r.mc, NVME_REG_ASQ, 8), 0);
	EXPECT(!pci_bus_master(&r.mc->pci));
}

TEST(offline_stops_and_online_starts_anew)
{
	RIG(r, .queues = 1);

	nvme_ctrl_set_online(r.mc, false);
	EXPECT(rig_csts(r.mc) & NVME_CSTS_CFS);
	rig_submit(&r, r.mc, 1, flush_sqe());
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.fetched, 0);
	nvme_ctrl_set_online(r.mc, true);
	EXPECT_EQ(rig_csts(r.mc), 0);
	rig_enable(&r, r.mc);
}

/* ---- resets with work in flight ---- */

/* The old life's read lands before CSTS.RDY says 0, and no completion of it is ever seen. */
TEST(reset_with_backend_io_in_flight)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);
	uint8_t *b = rig_alloc(&r, r.mc, 4096);
	struct nvme_sqe s = rig_rw(NVME_NVM_READ, 1, 0, 8);

	rig_data(&r, r.mc, &s, b, 4096);
	rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	rig_settle(&r);
	EXPECT(rig_csts(r.mc) & NVME_CSTS_RDY);		/* not finished: the read may still write */
	EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 1);
	rig_reg_put(r.mc, NVME_REG_CC, 4, RIG_CC);	/* a host in a hurry */
	rig_settle(&r);
	EXPECT(!r.mc->enabled);
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT(slow_finish(0));
	rig_settle(&r);
	EXPECT_EQ(rig_csts(r.mc), 0);
	EXPECT_EQ(nvme_ctrl_device(r.mc)->gmem.held, 0);
	EXPECT_EQ(r.mc->stats.completed, 0);
	EXPECT_EQ(nvme_ns_find(r.ss, 1)->inflight, 0);
	rig_enable(&r, r.mc);
	rig_make_queue(&r, r.mc, 1, 16);
	rig_submit(&r, r.mc, 1, s);
	rig_settle(&r);
	slow_finish_all();
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 1);
}

/* Reset at each of many moments, with a backend that is slow, full, or both: no request is lost, none is used twice. */
TEST(reset_storm)
{
	RIG(r, .queues = 2, .wrap = slow_wrap, .max_reqs = 24);
	uint8_t *b = rig_alloc(&r, r.mc, 64 * KIB);
	uint64_t used = rig_host(&r, r.mc)->used;

	for (unsigned round = 0; round < 60; round++) {
		for (unsigned i = 0; i < 20; i++) {
			struct nvme_sqe s = rig_rw(i % 3 ? NVME_NVM_READ : NVME_NVM_WRITE, 1, i, 1 + i * 5);

			rig_host(&r, r.mc)->used = used + 8192 * i;
			rig_data(&r, r.mc, &s, b, (1 + i * 5) * 512);
			rig_submit(&r, r.mc, 1 + i % 2, s);
			rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER));
			slow->full = (round + i) % 5 == 0;
			rig_poll(&r);
			if ((round * 7 + i) % 4 == 0)
				slow_finish((round + i) % 3 ? 0 : -EIO);
		}
		slow->full = false;
		rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
		EXPECT_EQ(r.mc->aer_count, 0);
		rig_settle(&r);
		slow_finish_all();
		rig_settle(&r);
		slow_finish_all(); /* what had waited for the backend */
		rig_settle(&r);
		EXPECT_EQ(r.mc->inflight, 0);
		EXPECT_EQ(r.mc->held_count, 0);
		unsigned free_reqs = 0;
		LIST_EACH(&r.mc->req_free, it)
			free_reqs++;
		EXPECT_EQ(free_reqs, 24);
		rig_enable(&r, r.mc);
		rig_make_queue(&r, r.mc, 1, 32);
		rig_make_queue(&r, r.mc, 2, 32);
	}
}

/* ---- suspend ---- */

/* nvme-hmlm 5.2: fetching stops at once, what was fetched is completed, what was not stays in the ring for the target. */
TEST(suspend_drains_and_resume_goes_on)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);

	many(&r, 3);
	rig_settle(&r);
	nvme_ctrl_suspend(r.mc);
	many(&r, 2);
	rig_settle(&r);
	EXPECT_EQ(slow->count, 3);
	EXPECT(!nvme_ctrl_is_suspended(r.mc));
	slow_finish_all();
	rig_settle(&r);
	EXPECT(nvme_ctrl_is_suspended(r.mc));
	EXPECT_EQ(r.mc->stats.completed, 3);
	EXPECT_EQ(r.mc->sq[1].head, 3);
	EXPECT_EQ(r.mc->sq[1].tail, 5);		/* doorbells are still taken */
	nvme_ctrl_resume(r.mc);
	rig_settle(&r);
	slow_finish_all();
	rig_settle(&r);
	EXPECT_EQ(r.mc->stats.completed, 5);
}

/* (c) of Suspend: no completion, no interrupt, not even of an event; all of it comes at Resume. */
TEST(suspended_is_silent)
{
	RIG(r, .queues = 1);
	struct nvme_event e = { .aet = NVME_AET_ONESHOT, .aei = 1, .dw1 = 5 };
	struct rig_host *h = rig_host(&r, r.mc);
	uint16_t cid = rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER));
	struct nvme_cqe c;

	rig_settle(&r);
	nvme_ctrl_suspend(r.mc);
	rig_settle(&r);
	EXPECT(nvme_ctrl_is_suspended(r.mc)); /* an outstanding AER does not hold it up */
	nvme_event_post(r.mc, e);
	rig_settle(&r);
	EXPECT(!rig_try(&r, r.mc, 0, cid, &c));
	EXPECT_EQ(h->irqs[0], 0);
	nvme_ctrl_resume(r.mc);
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 0, cid, &c));
	EXPECT_EQ(le32_get(c.dw0), 0x0104);
	EXPECT_EQ(le32_get(c.dw1), 5);
	EXPECT_EQ(h->irqs[0], 1);
}

/* A host that takes no completions cannot hold up the drain; they are kept, and posted behind the resume. */
TEST(suspend_with_held_completions)
{
	RIG(r, .queues = 1, .qsize = 4);
	struct nvme_cqe c;
	unsigned got = 0;

	many(&r, 3);
	rig_settle(&r);
	many(&r, 3);
	rig_settle(&r);
	EXPECT_EQ(r.mc->held_count, 3);
	nvme_ctrl_suspend(r.mc);
	rig_settle(&r);
	EXPECT(nvme_ctrl_is_suspended(r.mc));
	while (rig_reap(&r, r.mc, 1, &c))
		got++;
	rig_settle(&r);
	EXPECT_EQ(got, 3);
	EXPECT(!rig_reap(&r, r.mc, 1, &c));
	nvme_ctrl_resume(r.mc);
	rig_settle(&r);
	while (rig_reap(&r, r.mc, 1, &c))
		got++;
	EXPECT_EQ(got, 6);
}

/* nvme-hmlm 8.2: a reset of the controller itself ends its suspension. */
TEST(controller_reset_ends_suspension)
{
	RIG(r, .queues = 1);

	nvme_ctrl_suspend(r.mc);
	rig_settle(&r);
	EXPECT(nvme_ctrl_is_suspended(r.mc));
	rig_reg_put(r.mc, NVME_REG_CC, 4, 0);
	EXPECT(!nvme_ctrl_is_suspended(r.mc));
	rig_enable(&r, r.mc);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_KEEP_ALIVE)), NVME_SUCCESS);
}

/* Suspended by message too: fetches that are out are given back to the ring, not run and not lost. */
TEST(suspend_by_message_at_every_moment)
{
	for (unsigned polls = 0; polls < 30; polls++) {
		RIG(r, .queues = 1, .by_message = true);
		unsigned before;

		many(&r, 5);
		for (unsigned i = 0; i < polls; i++)
			rig_poll(&r);
		nvme_ctrl_suspend(r.mc);
		rig_settle(&r);
		EXPECT(nvme_ctrl_is_suspended(r.mc));
		before = (unsigned)r.mc->stats.completed;
		EXPECT_EQ(r.mc->sq[1].head, before);
		rig_settle(&r);
		EXPECT_EQ(r.mc->stats.completed, before);
		nvme_ctrl_resume(r.mc);
		rig_settle(&r);
		EXPECT_EQ(r.mc->stats.completed, 5);
	}
}

/* ---- memory tracking: data before its completion, completion slots too (design rule 2) ---- */

TEST(every_page_the_device_writes_is_marked)
{
	RIG(r, .queues = 1, .qsize = 1024);
	struct gmem *g = &nvme_ctrl_device(r.mc)->gmem;
	struct rig_host *h = rig_host(&r, r.mc);
	uint8_t *b = rig_alloc(&r, r.mc, 16 * KIB);
	struct gmem_cursor cur = { 0 };
	uint64_t iova, n;

	EXPECT_EQ(gmem_track_start(g, &(struct gmem_track_range){ .iova = h->iova, .len = RIG_MEM }, 1, 12), 0);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_READ, 1, 0, 20), b + 1024, 20 * 512), NVME_SUCCESS);
	EXPECT_EQ(gmem_track_next(g, &cur, 100, true, &iova, &n), 0);
	EXPECT_EQ(iova, rig_iova(&r, r.mc, h->q[1].cq));
	EXPECT_EQ(n, 1);
	EXPECT_EQ(gmem_track_next(g, &cur, 100, true, &iova, &n), 0);
	EXPECT_EQ(iova, rig_iova(&r, r.mc, b));
	EXPECT_EQ(n, 3);
	EXPECT_EQ(gmem_track_next(g, &cur, 100, true, &iova, &n), -ENOENT);
	EXPECT_STATUS(rig_io_data(&r, r.mc, 1, rig_rw(NVME_NVM_WRITE, 1, 0, 20), b, 20 * 512), NVME_SUCCESS);
	EXPECT_EQ(gmem_track_next(g, &cur, 100, true, &iova, &n), 0);
	EXPECT_EQ(iova, rig_iova(&r, r.mc, h->q[1].cq)); /* a Write changes no guest memory but its completion */
	EXPECT_EQ(gmem_track_next(g, &cur, 100, true, &iova, &n), -ENOENT);
	gmem_track_stop(g);
}

/* ---- events ---- */

/* Base 5.2.2: one more than AERL + 1 is refused, at once. */
TEST(aer_limit)
{
	RIG(r, .queues = 0);

	for (unsigned i = 0; i < NVME_AER_MAX; i++)
		rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER));
	rig_settle(&r);
	EXPECT_EQ(r.mc->aer_count, NVME_AER_MAX);
	EXPECT_EQ(r.mc->inflight, 0);
	EXPECT_STATUS(rig_admin(&r, r.mc, sqe(NVME_OP_AER)), NVME_AER_LIMIT);
}

/* Events of a page are masked from their report until the page is read; one-shot events never are. */
TEST(masking_and_one_shots)
{
	RIG(r, .queues = 0);
	struct nvme_cqe c;
	uint16_t cid[3];

	for (unsigned i = 0; i < 3; i++)
		cid[i] = rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER));
	rig_settle(&r);
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ERROR, .aei = 1, .lid = NVME_LID_ERROR });
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ERROR, .aei = 0, .lid = NVME_LID_ERROR });
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 0, cid[0], &c));
	EXPECT_EQ(le32_get(c.dw0), 0x010100);
	EXPECT(!rig_try(&r, r.mc, 0, cid[1], &c));	/* masked */
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = 1, .dw1 = 3 });
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = 1, .dw1 = 4 });
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 0, cid[1], &c));
	EXPECT_EQ(le32_get(c.dw1), 3);
	EXPECT(rig_try(&r, r.mc, 0, cid[2], &c));
	EXPECT_EQ(le32_get(c.dw1), 4);
	nvme_event_log_read(r.mc, NVME_LID_ERROR);	/* unmasks, and what waited is old news */
	EXPECT_EQ(r.mc->event_count, 0);
	cid[0] = rig_submit(&r, r.mc, 0, sqe(NVME_OP_AER));
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ERROR, .aei = 2, .lid = NVME_LID_ERROR });
	rig_settle(&r);
	EXPECT(rig_try(&r, r.mc, 0, cid[0], &c));
}

TEST(pending_one_shot_can_be_discarded)
{
	RIG(r, .queues = 0);

	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = 0, .dw1 = 3 });
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = 0, .dw1 = 3 });
	nvme_event_post(r.mc, (struct nvme_event){ .aet = NVME_AET_ONESHOT, .aei = 0, .dw1 = 4 });
	EXPECT_EQ(r.mc->event_count, 2);
	nvme_event_discard(r.mc, NVME_AET_ONESHOT, 0, 3);
	EXPECT_EQ(r.mc->event_count, 1);
	EXPECT_EQ(r.mc->event[0].dw1, 4);
}

TEST(namespace_notice_only_if_asked_for)
{
	RIG(r, .queues = 0);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);

	r.mc->feat.aer_config = 0;
	memset(r.mc->changed_ns, 0, sizeof(r.mc->changed_ns));
	EXPECT_EQ(rig_resize(&r, 1, 4096), 0);
	EXPECT_EQ(r.mc->event_count, 0);
	EXPECT_EQ(r.mc->changed_ns[0], 2);
	r.mc->feat.aer_config = 1 << 8;
	EXPECT_EQ(nvme_ns_remove(ns, &r.err), 0);
	EXPECT_EQ(r.mc->event_count, 1);
	EXPECT(!nvme_ctrl_attached(r.mc, 1));
}

/* ---- the subsystem ---- */

TEST(namespace_in_use_is_not_removed)
{
	RIG(r, .queues = 1, .wrap = slow_wrap);
	struct nvme_ns *ns = nvme_ns_find(r.ss, 1);

	many(&r, 1);
	rig_settle(&r);
	EXPECT_EQ(nvme_ns_remove(ns, &r.err), -EBUSY);
	EXPECT_EQ(nvme_ctrl_free(r.mc), -EBUSY);
	slow_finish_all();
	EXPECT_EQ(nvme_ns_remove(ns, NULL), 0);
}

/* docs/identity.md: a guest may know a namespace under its own number, the MMC's host may not. */
TEST(attachment)
{
	RIG(r, .no_namespace = true);
	struct nvme_ns *ns = nvme_ns_add(r.ss, 7, blk_ram_open(512, 64, NULL), NULL, NULL);

	EXPECT(ns);
	EXPECT_EQ(nvme_ctrl_attach(r.mmc, 1, ns), -EINVAL);
	EXPECT_EQ(nvme_ctrl_attach(r.mmc, 7, ns), 0);
	EXPECT_EQ(nvme_ctrl_attach(r.mc, 1, ns), 0);
	EXPECT_EQ(nvme_ctrl_attach(r.mc, 2, ns), -EEXIST);
	EXPECT_EQ(nvme_ctrl_attach(r.mc, 0, ns), -EINVAL);
	EXPECT_EQ(nvme_ctrl_attach(r.mc, 257, ns), -EINVAL);
	EXPECT(!nvme_ns_add(r.ss, 7, blk_ram_open(512, 64, NULL), NULL, NULL));
	EXPECT(!nvme_ctrl_new(r.ss, &(struct nvme_ctrl_cfg){ .cntlid = 1 }, NULL));
}
