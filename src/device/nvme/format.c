/* Format NVM: deallocates a namespace; with SES 1h that is the erase too, since what is deallocated reads as zeroes.
 *
 * Called through nvme_admin_rows. Device thread. There is one LBA format, the one the backend was opened with. While it
 * runs every other command on the namespace, of every controller, is answered Format In Progress.
 */
#include "device/nvme/pieces.h"

enum { FORMAT_SES_NONE = 0, FORMAT_SES_USER_DATA = 1 };

static nvme_status format_judge(const struct nvme_req *r)
{
	if (!r->ns)	/* FNA bit 3: not for all namespaces at once */
		return NVME_INVALID_FIELD;
	if (nvme_format_ses(&r->sqe) > FORMAT_SES_USER_DATA)
		return NVME_INVALID_FIELD;
	/* Format 0 is the only one, without metadata (MSET and PIL have nothing to act on) and without protection. */
	if (nvme_format_lbafl(&r->sqe) || nvme_format_lbafu(&r->sqe) || nvme_format_pi(&r->sqe))
		return NVME_FORMAT_INVALID;
	/* Somebody's command is still on the medium, and could write behind our back what we just erased. We hold it once. */
	if (r->ns->inflight > 1)
		return NVME_COMMAND_SEQUENCE;
	return NVME_SUCCESS;
}

/* w[0]: next block. In pieces of 1 GiB, so that a backend that works through each is polled in between. */
static nvme_status format_next(struct nvme_req *r)
{
	uint64_t lba = r->w[0], n = MIN(r->ns->nsze - lba, GIB >> r->ns->lba_shift);

	if (!n)
		return NVME_SUCCESS;
	r->w[0] += n;
	return nvme_piece(r, BLK_DEALLOC, lba, n, NULL, 0);
}

/* Every controller that has it, under the name its guest knows. */
static void tell_all(struct nvme_ns *ns)
{
	for (unsigned i = 0; i < NVME_CTRL_MAX; i++) {
		struct nvme_ctrl *c = ns->ss->ctrl[i];

		for (uint32_t nsid = 1; c && nsid <= NVME_NSID_MAX; nsid++)
			if (c->attach[nsid] == ns)
				nvme_event_ns_changed(c, nsid);
	}
}

/* A failed format has changed who knows how much: logged and told all the same. */
static void format_end(struct nvme_req *r, nvme_status status)
{
	(void)status;
	r->ns->busy_format = false;
	nvme_log_namespace(r->ctrl, r->ns);
	tell_all(r->ns);
}

static const struct nvme_pieces format_pieces = {
	.next = format_next, .done = nvme_status_of_write, .end = format_end
};

nvme_status nvme_format(struct nvme_req *r)
{
	nvme_status status = format_judge(r);

	if (status != NVME_SUCCESS)
		return status;
	r->ns->busy_format = true;
	r->w[0] = 0;
	return nvme_pieces_run(r, &format_pieces);
}
