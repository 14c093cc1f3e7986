/* Commands of the mover. Called by out_*.c and in_*.c, from the thread that polls them. */
#include "migrate/mcmd.h"

#include <errno.h>

#include "base/check.h"
#include "spec/nvme.h"

static void done(struct hnvme_cmd *c, int rc, const struct nvme_cqe *cqe)
{
	struct mcmd *m = c->ctx;

	m->state = MCMD_DONE;
	m->rc = rc;
	if (m->abandoned) {
		m->abandoned(m->ctx);
		return;
	}
	if (rc)
		return;
	m->status = nvme_cqe_status(cqe);
	m->dw0 = le32_get(cqe->dw0);
	m->dw1 = le32_get(cqe->dw1);
}

struct nvme_sqe *mcmd_prep(struct mcmd *m, const char *what, void *data, uint32_t len)
{
	CHECK(m->state != MCMD_OUT);
	*m = (struct mcmd){ .state = MCMD_WANT, .what = what, .c = { .data = data, .len = len, .done = done } };
	m->c.ctx = m;
	return &m->c.sqe;
}

bool mcmd_run(struct mcmd *m, struct hnvme *h, unsigned qid)
{
	if (m->state == MCMD_WANT) {
		int rc;

		m->state = MCMD_OUT;	/* before submit: a driver may complete at once */
		rc = hnvme_submit(h, qid, &m->c);
		if (rc == -EAGAIN)
			m->state = MCMD_WANT;
		else if (rc) {
			m->state = MCMD_DONE;
			m->rc = rc;
		}
	}
	return m->state == MCMD_DONE;
}

bool mcmd_busy(const struct mcmd *m) { return m->state == MCMD_OUT; }

int mcmd_result(const struct mcmd *m, struct err *err)
{
	if (m->rc)
		return err_set(err, m->rc, "%s got no answer from the controller: %s", m->what, strerror(-m->rc));
	if (m->status)
		return err_set(err, -EIO, "%s failed: %s (%u/%02Xh)", m->what, nvme_status_name(m->status), m->status >> 8,
			       m->status & 0xff);
	return 0;
}
