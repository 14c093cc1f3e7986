/* The textual log. One paragraph per event, in the order of the record; times in ns since the record's first transaction. */
#include <errno.h>
#include <inttypes.h>

#include "verify/describe.h"
#include "verify/export.h"
#include "verify/monitor.h"

enum { FIELD = 40 };	/* columns to the end of a field's name */

struct log {
	FILE *f;
	struct buf b;
	uint64_t base;
	bool begun;
	struct rec bell;	/* a doorbell that waits for the command it announces */
	bool bell_waits;
};

static double at(const struct log *l, const struct rec *r) { return (double)(r->t0_ns - l->base); }

static void bell_line(struct log *l, const struct rec *cmd)
{
	const struct rec *d = &l->bell;
	char name[DESCRIBE_NAME];

	if (!l->bell_waits)
		return;
	l->bell_waits = false;
	fprintf(l->f, "%s%u@%.3fns ", rec_actor_name(d->actor), d->ctrl, at(l, d));
	if (d->cq != REC_NONE)
		fprintf(l->f, "wrote a compq doorbell (cq id %u) head: %08" PRIx64 "\n", d->cq, d->val);
	else if (cmd)
		fprintf(l->f, "queued a subq doorbell for %s#%" PRIx64 " tail: %08" PRIx64 "\n", describe_op(!cmd->sq, cmd->opc, name), cmd->uid, d->val);
	else
		fprintf(l->f, "queued a subq doorbell (sq id %u) tail: %08" PRIx64 "\n", d->sq, d->val);
}

static void fields(struct log *l)
{
	if (!l->b.failed)
		fwrite(l->b.data, 1, l->b.len, l->f);
	l->b.len = 0;
}

static void log_cmd(struct log *l, const struct rec *r)
{
	char name[DESCRIBE_NAME];
	struct nvme_sqe s;

	bell_line(l, l->bell.sq == r->sq && l->bell.ctrl == r->ctrl ? r : NULL);
	fprintf(l->f, "==> @%.3fns %s#%" PRIx64 " (sq id %u, cmd id %u, ctrler %u)\n", at(l, r), describe_op(!r->sq, r->opc, name), r->uid, r->sq,
		r->cid, r->ctrl);
	if (r->raw_len != sizeof(s))
		return;
	memcpy(&s, r->raw, sizeof(s));
	describe_sqe(&l->b, &s, !r->sq, FIELD);
	fields(l);
}

static void log_cqe(struct log *l, const struct rec *r)
{
	char name[DESCRIBE_NAME];
	struct nvme_cqe c;
	unsigned st = r->status;

	fprintf(l->f, "        <== @%.3fns Completion#%" PRIx64 " (", at(l, r), r->uid);
	if (r->parent)
		fprintf(l->f, "%s#%" PRIx64 ", ", describe_op(!r->sq, r->opc, name), r->parent);
	fprintf(l->f, "sq id %u, cmd id %u, %s SC %s)\n", r->sq, r->cid, describe_sct(st), nvme_status_name(st));
	if (r->raw_len != sizeof(c))
		return;
	memcpy(&c, r->raw, sizeof(c));
	describe_cqe(&l->b, &c, !r->sq, r->parent ? r->opc : -1, FIELD);
	fields(l);
}

static void log_cdq(struct log *l, const struct rec *r)
{
	struct nvme_lbamq e;

	fprintf(l->f, "        <== @%.3fns Data queue entry#%" PRIx64 " (cdq id %u, slot %" PRIu64 ", ctrler %u)\n", at(l, r), r->uid, r->cq, r->val,
		r->ctrl);
	if (r->raw_len != sizeof(e))
		return;
	memcpy(&e, r->raw, sizeof(e));
	describe_cdq(&l->b, &e, FIELD);
	fields(l);
}

static void log_txn(struct log *l, const struct rec *r)
{
	if (!l->begun)
		l->base = r->t0_ns;
	l->begun = true;
	switch (r->kind) {
	case REC_DBL:
		bell_line(l, NULL);
		l->bell = *r;
		l->bell_waits = true;
		return;
	case REC_CMD:
		log_cmd(l, r);
		return;
	case REC_CQE:
		bell_line(l, NULL);
		log_cqe(l, r);
		return;
	case REC_MSIX:
		bell_line(l, NULL);
		fprintf(l->f, "host%u@%.3fns Received Interrupt (msix, device %u, vector %" PRIu64 ")\n", r->ctrl, at(l, r), r->ctrl, r->val);
		return;
	case REC_MASK:
		bell_line(l, NULL);
		fprintf(l->f, "host%u@%.3fns %s Interrupt (msix, device %u, vector %" PRIu64 ") via MSIx mask bits\n", r->ctrl, at(l, r),
			r->status ? "Masked" : "Unmasked", r->ctrl, r->val);
		return;
	case REC_CDQ_ENTRY:
		bell_line(l, NULL);
		log_cdq(l, r);
		return;
	case REC_VIOLATION:
		bell_line(l, NULL);
		fprintf(l->f, "!!! @%.3fns %s (ctrler %u, at #%" PRIx64 ")\n", at(l, r), r->note, r->ctrl, r->parent);
		return;
	case REC_MGR_EVENT:
	case REC_FAULT:
		bell_line(l, NULL);
		fprintf(l->f, "%s@%.3fns %s: %s\n", rec_actor_name(r->actor), at(l, r), rec_kind_name(r->kind), r->note);
		return;
	default:
		return; /* messages, registers and data are for the other views */
	}
}

int export_log(const char *record, FILE *f, struct err *err)
{
	struct rec_reader *rd = rec_reader_open(record, err);
	struct log l = { .f = f };
	struct rec_item it;
	int rc;

	if (!rd)
		return -ENOENT;
	while ((rc = rec_read(rd, &it, err)) == 1) {
		if (it.what == REC_ITEM_TXN)
			log_txn(&l, &it.rec);
		if (it.what == REC_ITEM_TEST) {
			bell_line(&l, NULL);
			fprintf(f, "### %s\n", it.rec.note);
		}
	}
	bell_line(&l, NULL);
	buf_fini(&l.b);
	rec_reader_close(rd);
	return rc;
}
