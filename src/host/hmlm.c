/* Builders of the migration commands and what else a mover sends. Flat on purpose: one command, one function. */
#include "host/hmlm.h"

static void op(struct nvme_sqe *s, uint8_t opc, uint32_t nsid)
{
	*s = (struct nvme_sqe){ .opc = opc, .nsid = le32_of(nsid) };
}

static uint32_t dwords0(uint32_t bytes) { return bytes >= 4 ? bytes / 4 - 1 : 0; }

void hmlm_cdq_create(struct nvme_sqe *s, uint16_t cntlid, uint32_t dwords, uint64_t iova, bool contiguous)
{
	op(s, NVME_OP_CDQ, 0);
	nvme_cdq_sel_put(s, NVME_CDQ_CREATE);
	nvme_cdq_qt_put(s, NVME_CDQ_QT_UDMQ);
	nvme_cdq_pc_put(s, contiguous);
	nvme_cdq_cqs_put(s, cntlid);
	nvme_cdq_cdqsize_put(s, dwords);
	s->prp1 = le64_of(iova);
}

void hmlm_cdq_delete(struct nvme_sqe *s, uint16_t cdqid)
{
	op(s, NVME_OP_CDQ, 0);
	nvme_cdq_sel_put(s, NVME_CDQ_DELETE);
	nvme_cdq_cdqid_put(s, cdqid);
}

void hmlm_track_log(struct nvme_sqe *s, uint16_t cdqid, bool start)
{
	op(s, NVME_OP_TRACK_SEND, 0);
	nvme_track_send_sel_put(s, NVME_TRACK_LOG);
	nvme_track_send_lact_put(s, start);
	nvme_track_send_cdqid_put(s, cdqid);
}

void hmlm_track_mem(struct nvme_sqe *s, uint16_t cntlid, bool start)
{
	op(s, NVME_OP_TRACK_SEND, 0);
	nvme_track_send_sel_put(s, NVME_TRACK_MEMORY);
	nvme_track_send_tact_put(s, start);
	nvme_track_send_cntlid_put(s, cntlid);
}

void hmlm_track_receive(struct nvme_sqe *s, uint16_t cntlid, uint32_t bytes)
{
	op(s, NVME_OP_TRACK_RECEIVE, 0);
	nvme_track_receive_cntlid_put(s, cntlid);
	nvme_track_receive_numdl0_put(s, dwords0(bytes));
}

void hmlm_suspend(struct nvme_sqe *s, uint16_t cntlid, unsigned stype, bool dudmq)
{
	op(s, NVME_OP_MIGRATION_SEND, 0);
	nvme_migration_send_sel_put(s, NVME_MIG_SUSPEND);
	nvme_migration_send_cntlid_put(s, cntlid);
	nvme_migration_send_stype_put(s, stype);
	nvme_migration_send_dudmq_put(s, dudmq);
}

void hmlm_abort(struct nvme_sqe *s, uint16_t sqid, uint16_t cid)
{
	s->opc = NVME_OP_ABORT;
	s->cdw10 = le32_of(sqid | (uint32_t)cid << 16);
}

void hmlm_resume(struct nvme_sqe *s, uint16_t cntlid)
{
	op(s, NVME_OP_MIGRATION_SEND, 0);
	nvme_migration_send_sel_put(s, NVME_MIG_RESUME);
	nvme_migration_send_cntlid_put(s, cntlid);
}

void hmlm_set_state(struct nvme_sqe *s, uint16_t cntlid, unsigned seqind, uint8_t csvi, uint8_t csuuidi, uint64_t offset,
		    uint32_t dwords)
{
	op(s, NVME_OP_MIGRATION_SEND, 0);
	nvme_migration_send_sel_put(s, NVME_MIG_SET_STATE);
	nvme_migration_send_seqind_put(s, seqind);
	nvme_migration_send_cntlid_put(s, cntlid);
	nvme_migration_send_csvi_put(s, csvi);
	nvme_migration_send_csuuidi_put(s, csuuidi);
	nvme_migration_send_csol_put(s, (uint32_t)offset);
	nvme_migration_send_csou_put(s, (uint32_t)(offset >> 32));
	nvme_migration_send_numd_put(s, dwords); /* one-based, unlike Get (Base 5.1.17) */
}

void hmlm_get_state(struct nvme_sqe *s, uint16_t cntlid, uint8_t csvi, uint8_t csuuidi, uint64_t offset, uint32_t bytes)
{
	op(s, NVME_OP_MIGRATION_RECEIVE, 0);
	nvme_migration_receive_sel_put(s, NVME_MIG_GET_STATE);
	nvme_migration_receive_cntlid_put(s, cntlid);
	nvme_migration_receive_csvi_put(s, csvi);
	nvme_migration_receive_csuuidi_put(s, csuuidi);
	nvme_migration_receive_ol_put(s, (uint32_t)offset);
	nvme_migration_receive_ou_put(s, (uint32_t)(offset >> 32));
	nvme_migration_receive_numdl0_put(s, dwords0(bytes));
}

void hmlm_features(struct nvme_sqe *s, bool set, uint8_t fid, uint32_t cdw11, uint32_t cdw12)
{
	op(s, set ? NVME_OP_SET_FEATURES : NVME_OP_GET_FEATURES, 0);
	s->cdw10 = le32_of(fid);
	s->cdw11 = le32_of(cdw11);
	s->cdw12 = le32_of(cdw12);
}

void hmlm_set_cdq(struct nvme_sqe *s, uint16_t cdqid, uint32_t hp, bool etpt, uint32_t tpt)
{
	hmlm_features(s, true, NVME_FID_CDQ, cdqid | (uint32_t)etpt << 31, hp);
	s->cdw13 = le32_of(etpt ? tpt : 0);
}

void hmlm_get_cdq(struct nvme_sqe *s, uint16_t cdqid) { hmlm_features(s, false, NVME_FID_CDQ, cdqid, 0); }

/* CDW11: TGT (23:16) 0h is a controller, TID (15:0) which one. */
void hmlm_set_rate(struct nvme_sqe *s, uint16_t cntlid) { hmlm_features(s, true, NVME_FID_RATE_LIMIT, cntlid, 0); }
void hmlm_get_rate(struct nvme_sqe *s, uint16_t cntlid) { hmlm_features(s, false, NVME_FID_RATE_LIMIT, cntlid, 0); }

void hmlm_lba_status(struct nvme_sqe *s, uint32_t nsid, uint64_t slba, uint16_t blocks, uint32_t bytes)
{
	op(s, NVME_OP_GET_LBA_STATUS, nsid);
	nvme_slba_put(s, slba);
	nvme_get_lba_status_mndw0_put(s, dwords0(bytes));
	nvme_get_lba_status_rl_put(s, blocks);
	nvme_get_lba_status_atype_put(s, NVME_ATYPE_ALLOCATED);
}

void hmlm_identify(struct nvme_sqe *s, unsigned cns, uint32_t nsid, uint16_t cntid, unsigned csi)
{
	op(s, NVME_OP_IDENTIFY, nsid);
	nvme_identify_cns_put(s, cns);
	nvme_identify_cntid_put(s, cntid);
	nvme_identify_csi_put(s, csi);
}

void hmlm_rw(struct nvme_sqe *s, uint8_t opc, uint32_t nsid, uint64_t slba, uint32_t nlb)
{
	op(s, opc, nsid);
	nvme_slba_put(s, slba);
	nvme_rw_nlb0_put(s, nlb - 1);
}

void hmlm_write_zeroes(struct nvme_sqe *s, uint32_t nsid, uint64_t slba, uint32_t nlb, bool deac)
{
	hmlm_rw(s, NVME_NVM_WRITE_ZEROES, nsid, slba, nlb);
	nvme_rw_deac_put(s, deac);
}

void hmlm_dsm(struct nvme_sqe *s, uint32_t nsid, unsigned ranges)
{
	op(s, NVME_NVM_DSM, nsid);
	nvme_dsm_nr0_put(s, ranges - 1);
	nvme_dsm_ad_put(s, 1);
}

void hmlm_flush(struct nvme_sqe *s, uint32_t nsid) { op(s, NVME_NVM_FLUSH, nsid); }

void hmlm_log_page(struct nvme_sqe *s, uint8_t lid, uint32_t nsid, uint64_t offset, uint32_t bytes)
{
	op(s, NVME_OP_GET_LOG, nsid);
	nvme_get_log_lid_put(s, lid);
	nvme_get_log_numdl_put(s, dwords0(bytes));
	nvme_get_log_numdu_put(s, dwords0(bytes) >> 16);
	nvme_get_log_lpol_put(s, (uint32_t)offset);
	nvme_get_log_lpou_put(s, (uint32_t)(offset >> 32));
}

size_t hmlm_track_mem_build(void *buf, size_t cap, uint8_t rmrtg, const struct hmlm_range *r, unsigned count)
{
	struct nvme_track_mem head = { .rmrtg = rmrtg, .rnmrtd = le32_of(count) };
	size_t len = sizeof(head) + (size_t)count * sizeof(struct nvme_track_mem_range);
	uint8_t *p = buf;

	if (!count || len > cap || rmrtg > 40)
		return 0;
	memcpy(p, &head, sizeof(head));
	p += sizeof(head);
	for (unsigned i = 0; i < count; i++, p += sizeof(struct nvme_track_mem_range)) {
		uint64_t granule = 4096ull << rmrtg, n = r[i].bytes / granule;
		struct nvme_track_mem_range d = { .saddr = le64_of(r[i].addr), .len = le32_of((uint32_t)n) };

		if (!n || n > UINT32_MAX || n * granule != r[i].bytes || r[i].addr % granule)
			return 0;
		memcpy(p, &d, sizeof(d));
	}
	return len;
}

void hmlm_rate_build(struct nvme_rate_limit *r, uint64_t total_bw, uint64_t write_bw, uint32_t total_iops, uint32_t write_iops)
{
	bool on = total_bw || write_bw || total_iops || write_iops;

	/* Scale 0 counts MiB/s; 64 bits of them are enough for anything, so no other scale is used. The ratios (how much dearer
	 * a write is than a read) may not be 0; 1:1 charges both alike. */
	memset(r, 0, sizeof(*r));
	r->rlc = le16_of(on ? NVME_RLC_RLE : 0);
	r->tbwv = le64_of(total_bw / MIB + (total_bw % MIB != 0));
	r->wbwv = le64_of(write_bw / MIB + (write_bw % MIB != 0));
	r->tiops = le32_of(total_iops);
	r->wiops = le32_of(write_iops);
	r->iops_r = r->iops_w = r->bw_r = r->bw_w = 1;
}
