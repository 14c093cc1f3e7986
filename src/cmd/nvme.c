/* `ferry nvme`: NVMe commands to the migration management controller of a server, over its control socket.
 *
 * Verbs and flags are nvme-cli's and its `lm` plug-in's, so that what people know works here, and the reference flow of a live
 * migration can be driven by hand between two servers. Where the plug-in cannot do a thing (memory tracking, reading the ring)
 * there is a verb of our own, marked so. Each verb builds one command from its options; sending and printing is common.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/cli.h"
#include "cmd/serve.h"
#include "host/hmlm.h"

enum { DATA_MAX = 256 * 1024 };

struct nvme_vals {
	const char *control, *input, *output;
	uint64_t nsid, cntlid, size, qtype, cdqid, sel, mos, stype, seqind, csuuidi, csvi, uidx, offset, numd, hp, tpt, addr, length,
		shift;
	uint64_t opcode, cdw2, cdw3, cdw10, cdw11, cdw12, cdw13, cdw14, cdw15, data_len;
	uint64_t slba, nlb0, data_size, action, range, max_dw, max;
	bool start, stop, dudmq, has_tpt, rd, wr, raw, human, consent;
};
_Static_assert(sizeof(struct nvme_vals) <= COMMAND_VALS_MAX, "values fit");
#define T struct nvme_vals
#define O_CNTLID OPT(T, cntlid, "cntlid", 'c', OPT_NUM, "ID", "controller (ferry status shows it)", .needed = true)
#define O_NSID OPT(T, nsid, "namespace-id", 'n', OPT_NUM, "NSID", "namespace, in the subsystem's numbering", .needed = true)
#define O_CDQID OPT(T, cdqid, "cdqid", 'C', OPT_NUM, "ID", "data queue", .needed = true)
#define O_SEL OPT(T, sel, "sel", 's', OPT_NUM, "N", "operation to select", .needed = true)
#define O_RAW OPT(T, raw, "raw-binary", 'b', OPT_FLAG, NULL, "the data as it is")

/* One request's life: built by a verb, sent by send_it. */
struct req {
	struct nvme_vals *v;
	struct nvme_sqe sqe;
	bool io;
	uint8_t *data;			/* DATA_MAX bytes: what goes out, then what came in */
	uint32_t len;
	bool out;			/* data goes to the controller */
	uint32_t cdq_bytes;
	uint32_t dw0, dw1;
};

static int fail(const char *text)
{
	fprintf(stderr, "ferry: %s\n", text);
	return EXIT_FERRY_USAGE;
}

/* ---- sending */

static json_object *req_json(const struct req *r)
{
	json_object *o = json_object_new_object();
	struct buf hex = { 0 };

#define ADD_(key, value) json_object_object_add(o, key, json_object_new_int64(value))
	json_object_object_add(o, "queue", json_object_new_string(r->io ? "io" : "admin"));
	ADD_("opcode", r->sqe.opc), ADD_("nsid", le32_get(r->sqe.nsid));
	ADD_("cdw2", le32_get(r->sqe.cdw2)), ADD_("cdw3", le32_get(r->sqe.cdw3));
	ADD_("cdw10", le32_get(r->sqe.cdw10)), ADD_("cdw11", le32_get(r->sqe.cdw11)), ADD_("cdw12", le32_get(r->sqe.cdw12));
	ADD_("cdw13", le32_get(r->sqe.cdw13)), ADD_("cdw14", le32_get(r->sqe.cdw14)), ADD_("cdw15", le32_get(r->sqe.cdw15));
	ADD_("data_len", r->len);
	if (r->cdq_bytes)
		ADD_("cdq_bytes", r->cdq_bytes);
	if (r->out && r->len) {
		hex_put(&hex, r->data, r->len);
		json_object_object_add(o, "data", json_object_new_string_len((char *)hex.data, (int)hex.len));
		buf_fini(&hex);
	}
	return o;
}

/* 0 when the controller completed the command with success; else an exit code, and the reason is printed. */
static int send_it(struct req *r)
{
	json_object *res;
	int code = rpc_call_once(cli_control(r->v->control), "nvme", req_json(r), &res);
	unsigned status;

	if (code)
		return code;
	status = (unsigned)json_num(res, "status");
	r->dw0 = (uint32_t)json_u64(res, "dw0");
	r->dw1 = (uint32_t)json_u64(res, "dw1");
	if (status & 0x7ff) {
		fprintf(stderr, "NVMe status: %s (%x/%02xh%s)\n", json_str(res, "status_name"), status >> 8 & 7, status & 0xff,
			status & NVME_DNR ? ", do not retry" : "");
		code = EXIT_FERRY_FAILED;
	} else if (!r->out && r->len && !hex_get(json_str(res, "data"), r->data, r->len)) {
		code = fail("the server's answer has no data");
	}
	json_object_put(res);
	return code;
}

/* ---- files */

static int load_input(struct req *r, uint32_t want, bool exact)
{
	FILE *f = r->v->input ? fopen(r->v->input, "re") : stdin;
	size_t n;

	if (!f) {
		fprintf(stderr, "ferry: cannot read %s: %s\n", r->v->input, strerror(errno));
		return EXIT_FERRY_USAGE;
	}
	memset(r->data, 0, DATA_MAX);
	n = fread(r->data, 1, want, f);
	if (f != stdin)
		fclose(f);
	if (exact && n != want)
		return fail("the input is shorter than the command says");
	r->len = want;
	r->out = true;
	return 0;
}

static void dump(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 16) {
		printf("%04zx:", i);
		for (size_t k = i; k < i + 16 && k < n; k++)
			printf(" %02x", p[k]);
		putchar('\n');
	}
}

static int store_output(struct req *r)
{
	FILE *f = r->v->output ? fopen(r->v->output, "we") : stdout;

	if (!f) {
		fprintf(stderr, "ferry: cannot write %s: %s\n", r->v->output, strerror(errno));
		return EXIT_FERRY_FAILED;
	}
	if (f == stdout && !r->v->raw) {
		dump(r->data, r->len);
		return 0;
	}
	size_t n = fwrite(r->data, 1, r->len, f);
	if ((f != stdout && fclose(f)) || n != r->len)
		return fail("the output could not be written");
	return 0;
}

/* ---- the common frame of all verbs */

typedef int verb(struct req *);
static int run_verb(const struct command *, void *, int, char **);

/* ---- identify and friends */

static void field(const char *name, const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = n; i-- > 0;)
		v = v << 8 | p[i];
	printf("%-10s: %" PRIu64 " (0x%" PRIx64 ")\n", name, v, v);
}

static void array(const char *name, const uint8_t *p, size_t n)
{
	static const char *const texts[] = { "sn", "mn", "fr", "subnqn" };
	size_t len = n;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (strcmp(name, texts[i]))
			continue;
		len = strnlen((const char *)p, n);
		while (len && p[len - 1] == ' ')
			len--;
		printf("%-10s: ", name);
		for (size_t k = 0; k < len; k++)
			putchar(p[k] >= 0x20 && p[k] < 0x7f ? p[k] : '?');
		putchar('\n');
		return;
	}
	if (n > 16 || !strncmp(name, "rsvd", 4))
		return;
	printf("%-10s: ", name);
	for (size_t k = 0; k < n; k++)
		printf("%02x", p[k]);
	putchar('\n');
}

#define SHOW_X_(off, type, name) field(#name, r->data + (off), sizeof(type));
#define SHOW_A_(off, len, name) array(#name, r->data + (off), len);

static int identify(struct req *r, unsigned cns, uint32_t nsid, uint16_t cntid)
{
	hmlm_identify(&r->sqe, cns, nsid, cntid, 0);
	r->len = 4096;
	return send_it(r);
}

static int id_ctrl(struct req *r)
{
	int code = identify(r, NVME_CNS_CTRL, 0, 0);

	if (code || r->v->raw)
		return code ? code : store_output(r);
	NVME_ID_CTRL(SHOW_X_, SHOW_A_)
	return 0;
}

static int id_ns(struct req *r)
{
	int code = identify(r, NVME_CNS_NS, (uint32_t)r->v->nsid, 0);

	if (code || r->v->raw)
		return code ? code : store_output(r);
	NVME_ID_NS(SHOW_X_, SHOW_A_)
	for (unsigned i = 0; i <= r->data[25] && i < 64; i++)
		printf("lbaf %-5u: %u byte blocks\n", i, 1u << (r->data[128 + 4 * i + 2] & 31));
	return 0;
}

static int list_ns(struct req *r)
{
	int code = identify(r, NVME_CNS_ACTIVE_NS, (uint32_t)r->v->nsid, 0);
	le32 id;

	for (unsigned i = 0; !code && i < 1024; i++) {
		memcpy(&id, r->data + 4 * i, 4);
		if (!le32_get(id))
			break;
		printf("[%4u]:0x%x\n", i, le32_get(id));
	}
	return code;
}

static int list_secondary(struct req *r)
{
	int code = identify(r, NVME_CNS_SECONDARY, 0, (uint16_t)r->v->cntlid);

	for (unsigned i = 0; !code && i < r->data[0] && i < 127; i++) {
		struct nvme_secondary e;

		memcpy(&e, r->data + 32 + 32 * i, sizeof(e));
		printf("controller %u: primary %u, %s, %u queue and %u interrupt resources\n", le16_get(e.scid), le16_get(e.pcid),
		       e.scs & 1 ? "online" : "offline", le16_get(e.nvq), le16_get(e.nvi));
	}
	return code;
}

static int lba_status(struct req *r)
{
	struct hmlm_lbas l;
	struct err err;
	uint64_t slba, nlb;
	int code, rc;

	r->len = (uint32_t)MIN((r->v->max_dw + 1) * 4, (uint64_t)131072);
	hmlm_lba_status(&r->sqe, (uint32_t)r->v->nsid, r->v->slba, (uint16_t)r->v->range, r->len);
	nvme_get_lba_status_atype_put(&r->sqe, (uint32_t)r->v->action);
	code = send_it(r);
	if (code || r->v->raw)
		return code ? code : store_output(r);
	if (hmlm_lbas_parse(r->data, r->len, r->v->slba, &l, &err))
		return fail(err.text);
	while ((rc = hmlm_lbas_next(&l, &slba, &nlb)) > 0)
		printf("%" PRIu64 " +%" PRIu64 "\n", slba, nlb);
	if (rc)
		return fail("the list contradicts itself");
	printf("%s\n", l.more ? "more: ask again from where this ends" : "complete");
	return 0;
}

/* ---- read, write, pass-through */

static int rw(struct req *r, bool write)
{
	uint64_t n = r->v->data_size;

	if (!n || n > 131072)
		return fail("--data-size is 1 to 131072 bytes: the blocks times their size");
	hmlm_rw(&r->sqe, write ? NVME_NVM_WRITE : NVME_NVM_READ, (uint32_t)r->v->nsid, r->v->slba, (uint32_t)r->v->nlb0 + 1);
	r->io = true;
	r->len = (uint32_t)n;
	if (write) {
		int code = load_input(r, (uint32_t)n, true);

		return code ? code : send_it(r);
	}
	int code = send_it(r);
	return code ? code : store_output(r);
}
static int io_read(struct req *r) { return rw(r, false); }
static int io_write(struct req *r) { return rw(r, true); }

static int passthru(struct req *r)
{
	struct nvme_vals *v = r->v;
	int code = 0;

	r->sqe = (struct nvme_sqe){ .opc = (uint8_t)v->opcode, .nsid = le32_of((uint32_t)v->nsid), .cdw2 = le32_of((uint32_t)v->cdw2),
				    .cdw3 = le32_of((uint32_t)v->cdw3), .cdw10 = le32_of((uint32_t)v->cdw10),
				    .cdw11 = le32_of((uint32_t)v->cdw11), .cdw12 = le32_of((uint32_t)v->cdw12),
				    .cdw13 = le32_of((uint32_t)v->cdw13), .cdw14 = le32_of((uint32_t)v->cdw14),
				    .cdw15 = le32_of((uint32_t)v->cdw15) };
	if (v->data_len > DATA_MAX)
		return fail("--data-len is at most 262144");
	if (v->data_len && v->rd == v->wr)
		return fail("with --data-len say --read or --write");
	r->len = (uint32_t)v->data_len;
	if (v->wr)
		code = load_input(r, r->len, false);
	if (!code)
		code = send_it(r);
	if (code)
		return code;
	fprintf(stderr, "result: %08x %08x\n", r->dw0, r->dw1);
	return v->rd && r->len ? store_output(r) : 0;
}
static int admin_passthru(struct req *r) { return passthru(r); }
static int io_passthru(struct req *r)
{
	r->io = true;
	return passthru(r);
}

/* ---- lm */

static int create_cdq(struct req *r)
{
	uint64_t bytes = r->v->size * 4;
	int code;

	if (!bytes || bytes > (1 << 20) || bytes % 4096)
		return fail("--size is in dwords: a multiple of 1024 (one page), up to 262144");
	hmlm_cdq_create(&r->sqe, (uint16_t)r->v->cntlid, (uint32_t)r->v->size, 0, true);
	nvme_cdq_qt_put(&r->sqe, (uint32_t)r->v->qtype);
	r->cdq_bytes = (uint32_t)bytes;
	code = send_it(r);
	if (!code)
		printf("Create CDQ Successful: CDQID=0x%04x\n", r->dw0 & 0xffff);
	return code;
}

static int delete_cdq(struct req *r)
{
	hmlm_cdq_delete(&r->sqe, (uint16_t)r->v->cdqid);
	return send_it(r);
}

static int track_send(struct req *r)
{
	if (r->v->sel)
		return fail("--sel 0 only; 'ferry nvme lm track-memory' does memory");
	if (r->v->start && r->v->stop)
		return fail("--start or --stop, not both");
	hmlm_track_log(&r->sqe, (uint16_t)r->v->cdqid, false);
	nvme_track_send_lact_put(&r->sqe, r->v->start ? 1 : (uint32_t)r->v->mos);
	return send_it(r);
}

static int track_memory(struct req *r)
{
	struct hmlm_range range = { r->v->addr, r->v->length };

	if (r->v->start == r->v->stop)
		return fail("--start or --stop");
	hmlm_track_mem(&r->sqe, (uint16_t)r->v->cntlid, r->v->start);
	if (r->v->start) {
		r->len = (uint32_t)hmlm_track_mem_build(r->data, DATA_MAX, (uint8_t)r->v->shift, &range, 1);
		if (!r->len)
			return fail("--addr and --length are multiples of the granule (4 KiB << --shift)");
		r->out = true;
	}
	return send_it(r);
}

static int track_recv(struct req *r)
{
	struct hmlm_tracked t;
	struct hmlm_range range;
	struct err err;
	int code, rc;

	r->len = (uint32_t)MIN((r->v->numd + 1) * 4, (uint64_t)131072);
	hmlm_track_receive(&r->sqe, (uint16_t)r->v->cntlid, r->len);
	code = send_it(r);
	if (code || r->v->raw)
		return code ? code : store_output(r);
	if (hmlm_tracked_parse(r->data, r->len, &t, &err))
		return fail(err.text);
	while ((rc = hmlm_tracked_next(&t, &range)) > 0)
		printf("0x%" PRIx64 " +%" PRIu64 "\n", range.addr, range.bytes);
	printf("%s%s\n", t.more ? "more to report" : "nothing more", t.suspended ? ", controller suspended" : "");
	return rc ? fail("the list contradicts itself") : 0;
}

static int migration_send(struct req *r)
{
	struct nvme_vals *v = r->v;
	int code = 0;

	r->sqe.opc = NVME_OP_MIGRATION_SEND;
	nvme_migration_send_sel_put(&r->sqe, (uint32_t)v->sel);
	nvme_migration_send_cntlid_put(&r->sqe, (uint32_t)v->cntlid);
	nvme_migration_send_uidx_put(&r->sqe, (uint32_t)v->uidx);
	if (v->sel == NVME_MIG_SUSPEND) {
		nvme_migration_send_stype_put(&r->sqe, (uint32_t)v->stype);
		nvme_migration_send_dudmq_put(&r->sqe, v->dudmq);
	} else if (v->sel == NVME_MIG_SET_STATE) {
		if (v->numd * 4 > 131072)
			return fail("--numd is at most 32768 in one command; send pieces with --offset and --seq-ind");
		hmlm_set_state(&r->sqe, (uint16_t)v->cntlid, (unsigned)v->seqind, (uint8_t)v->csvi, (uint8_t)v->csuuidi, v->offset,
			       (uint32_t)v->numd);
		nvme_migration_send_uidx_put(&r->sqe, (uint32_t)v->uidx);
		code = v->numd ? load_input(r, (uint32_t)v->numd * 4, true) : 0;
	}
	return code ? code : send_it(r);
}

static void show_state(const struct req *r)
{
	struct nvme_state_sq sq;
	struct nvme_state_cq cq;
	struct hmlm_state st;
	struct err err;

	if (hmlm_state_parse(r->data, r->len, &st, &err)) {
		printf("%s\n", err.text);
		return;
	}
	printf("state: %" PRIu64 " bytes in all, %" PRIu64 " NVMe, %" PRIu64 " vendor; suspended throughout: %s\n", st.total,
	       st.nvme_bytes, st.vendor_bytes, st.suspended ? "yes" : "no");
	for (unsigned i = 0; i < st.niosq && hmlm_state_sq(r->data, r->len, &st, i, &sq); i++)
		printf("SQ %u: CQ %u, %u entries at 0x%" PRIx64 ", head %u, tail %u\n", le16_get(sq.qid), le16_get(sq.cqid),
		       le16_get(sq.qsize0) + 1u, le64_get(sq.prp1), le16_get(sq.head), le16_get(sq.tail));
	for (unsigned i = 0; i < st.niocq && hmlm_state_cq(r->data, r->len, &st, i, &cq); i++)
		printf("CQ %u: %u entries at 0x%" PRIx64 ", head %u, tail %u\n", le16_get(cq.qid), le16_get(cq.qsize0) + 1u,
		       le64_get(cq.prp1), le16_get(cq.head), le16_get(cq.tail));
}

static int migration_recv(struct req *r)
{
	struct nvme_vals *v = r->v;
	int code;

	if ((v->numd + 1) * 4 > 131072)
		return fail("--numd is at most 32767 (0's based) in one command; ask for pieces with --offset");
	r->len = (uint32_t)(v->numd + 1) * 4;
	hmlm_get_state(&r->sqe, (uint16_t)v->cntlid, (uint8_t)v->csvi, (uint8_t)v->csuuidi, v->offset, r->len);
	nvme_migration_receive_sel_put(&r->sqe, (uint32_t)v->sel);
	nvme_migration_receive_uidx_put(&r->sqe, (uint32_t)v->uidx);
	code = send_it(r);
	if (code)
		return code;
	fprintf(stderr, "CQE DW0 0x%08x: Controller %sSuspended\n", r->dw0, r->dw0 & 1 ? "" : "NOT ");
	if (v->human)
		show_state(r);
	return v->human && !v->output ? 0 : store_output(r);
}

static int set_cdq(struct req *r)
{
	hmlm_set_cdq(&r->sqe, (uint16_t)r->v->cdqid, (uint32_t)r->v->hp, r->v->has_tpt,
		     r->v->has_tpt ? (uint32_t)r->v->tpt : 0xffffffff);
	return send_it(r);
}

static int get_cdq(struct req *r)
{
	struct nvme_fid_cdq_data d;
	int code;

	hmlm_get_cdq(&r->sqe, (uint16_t)r->v->cdqid);
	r->len = sizeof(d);
	code = send_it(r);
	if (code)
		return code;
	memcpy(&d, r->data, sizeof(d));
	printf("Get CDQ Successful for CDQID=0x%04x\nhead pointer: 0x%08x\ntail pointer trigger: 0x%08x\n", (unsigned)r->v->cdqid,
	       le32_get(d.hp), le32_get(d.tpt));
	return 0;
}

static void show_entry(const char *hex)
{
	static const char *const esa[8] = { "", ", first", ", stopped", ", suspended", ", esa4", ", esa5", ", esa6", ", full" };
	static const char *const what[4] = { "range", "whole namespace", "no range", "reserved" };
	struct nvme_lbamq e;

	if (!hex_get(hex, &e, sizeof(e)))
		return;
	if (e.lbamqa >> NVME_LBAMQ_LBACIR_SHIFT == NVME_LBACIR_RANGE)
		printf("namespace %u: %" PRIu64 " +%" PRIu64, le32_get(e.nsid), le64_get(e.slba), (uint64_t)le32_get(e.nlb0) + 1);
	else
		printf("namespace %u: %s", le32_get(e.nsid), what[e.lbamqa >> NVME_LBAMQ_LBACIR_SHIFT & 3]);
	printf("%s%s\n", e.lbamqa & NVME_LBAMQ_DLBA ? " deallocated" : "", esa[e.lbamqa >> NVME_LBAMQ_ESA_SHIFT & 7]);
}

static int cdq_read(struct req *r)
{
	json_object *p = json_object_new_object(), *res, *list;
	int code;

	json_object_object_add(p, "cdqid", json_object_new_uint64(r->v->cdqid));
	if (r->v->max)
		json_object_object_add(p, "max", json_object_new_uint64(r->v->max));
	code = rpc_call_once(cli_control(r->v->control), "ring", p, &res);
	if (code)
		return code;
	list = json_get(res, "entries");
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++)
		show_entry(json_object_get_string(json_object_array_get_idx(list, i)));
	printf("head pointer now %" PRIu64 " of %" PRIu64 " slots: tell it with 'ferry nvme lm set-cdq --cdqid %" PRIu64 " --hp %" PRIu64
	       "'\n", json_u64(res, "head"), json_u64(res, "slots"), r->v->cdqid, json_u64(res, "head"));
	json_object_put(res);
	return 0;
}

/* ---- tables */

#define OUT_FILE OPT(T, output, "output-file", 'f', OPT_STR, "FILE", "where the data goes; without it a hex dump is printed")
static const struct opt o_id[] = { OPT_CONTROL(T), O_RAW, OPT_END };
static const struct opt o_id_ns[] = { OPT_CONTROL(T), O_NSID, O_RAW, OPT_END };
static const struct opt o_list_ns[] = {
	OPT_CONTROL(T), OPT(T, nsid, "namespace-id", 'n', OPT_NUM, "NSID", "list those above this one"), OPT_END
};
static const struct opt o_secondary[] = {
	OPT_CONTROL(T), OPT(T, cntlid, "cntid", 'c', OPT_NUM, "ID", "list from this controller on"), OPT_END
};
static const struct opt o_lba[] = {
	OPT_CONTROL(T), O_NSID, OPT(T, slba, "start-lba", 's', OPT_NUM, "LBA", "where to start"),
	OPT(T, max_dw, "max-dw", 'm', OPT_NUM, "N", "dwords to get, 0's based", .dflt = "1023"),
	OPT(T, action, "action", 'a', OPT_NUM, "N", "action type", .dflt = "2"),
	OPT(T, range, "range-len", 'l', OPT_NUM, "N", "blocks to look at; 0: to the end"), O_RAW, OPT_END
};
#define O_RW O_NSID, OPT(T, slba, "start-block", 's', OPT_NUM, "LBA", "first block"), \
	OPT(T, nlb0, "block-count", 'c', OPT_NUM, "N", "blocks, 0's based"), \
	OPT(T, data_size, "data-size", 'z', OPT_BYTES, "BYTES", "blocks times block size", .needed = true)
static const struct opt o_read[] = {
	OPT_CONTROL(T), O_RW, OPT(T, output, "data", 'd', OPT_STR, "FILE", "where the data goes; else a hex dump"), O_RAW, OPT_END
};
static const struct opt o_write[] = {
	OPT_CONTROL(T), O_RW, OPT(T, input, "data", 'd', OPT_STR, "FILE", "where the data comes from; else standard input"), OPT_END
};
static const struct opt o_pass[] = {
	OPT_CONTROL(T), OPT(T, opcode, "opcode", 'O', OPT_NUM, "N", "opcode", .needed = true),
	OPT(T, nsid, "namespace-id", 'n', OPT_NUM, "NSID", "namespace"),
	OPT(T, cdw2, "cdw2", '2', OPT_NUM, "N", "command dword 2"), OPT(T, cdw3, "cdw3", '3', OPT_NUM, "N", "command dword 3"),
	OPT(T, cdw10, "cdw10", '4', OPT_NUM, "N", "command dword 10"), OPT(T, cdw11, "cdw11", '5', OPT_NUM, "N", "command dword 11"),
	OPT(T, cdw12, "cdw12", '6', OPT_NUM, "N", "command dword 12"), OPT(T, cdw13, "cdw13", '7', OPT_NUM, "N", "command dword 13"),
	OPT(T, cdw14, "cdw14", '8', OPT_NUM, "N", "command dword 14"), OPT(T, cdw15, "cdw15", '9', OPT_NUM, "N", "command dword 15"),
	OPT(T, data_len, "data-len", 'l', OPT_NUM, "BYTES", "data to transfer"),
	OPT(T, input, "input-file", 'i', OPT_STR, "FILE", "data to write; else standard input"),
	OPT(T, rd, "read", 'r', OPT_FLAG, NULL, "data comes from the controller"),
	OPT(T, wr, "write", 'w', OPT_FLAG, NULL, "data goes to the controller"), O_RAW, OPT_END
};
static const struct opt o_create_cdq[] = {
	OPT_CONTROL(T), OPT(T, size, "size", 's', OPT_NUM, "DWORDS", "size of the queue", .needed = true), O_CNTLID,
	OPT(T, qtype, "queue-type", 'q', OPT_NUM, "N", "0: user data migration queue"),
	OPT(T, consent, "consent", 0, OPT_FLAG, NULL, "taken for nvme-cli's sake; the server keeps the memory, nothing to agree to"), OPT_END
};
static const struct opt o_cdq[] = { OPT_CONTROL(T), O_CDQID, OPT_END };
static const struct opt o_track_send[] = {
	OPT_CONTROL(T), O_SEL, OPT(T, mos, "mos", 'm', OPT_NUM, "N", "management operation: 1 start, 0 stop"), O_CDQID,
	OPT(T, start, "start", 0, OPT_FLAG, NULL, "start logging"), OPT(T, stop, "stop", 0, OPT_FLAG, NULL, "stop logging"), OPT_END
};
static const struct opt o_track_mem[] = {
	OPT_CONTROL(T), O_CNTLID, OPT(T, start, "start", 0, OPT_FLAG, NULL, "start tracking"),
	OPT(T, stop, "stop", 0, OPT_FLAG, NULL, "stop tracking"),
	OPT(T, addr, "addr", 'a', OPT_NUM, "ADDR", "start of the guest's memory to track"),
	OPT(T, length, "length", 'l', OPT_BYTES, "BYTES", "its length"),
	OPT(T, shift, "shift", 'g', OPT_NUM, "N", "granule: 4 KiB shifted left by this"), OPT_END
};
static const struct opt o_track_recv[] = {
	OPT_CONTROL(T), O_CNTLID, OPT(T, numd, "numd", 'n', OPT_NUM, "N", "dwords, 0's based", .dflt = "1023"), O_RAW, OPT_END
};
#define O_STATE OPT(T, csuuidi, "csuuidi", 'U', OPT_NUM, "N", "index of the vendor state's UUID"), \
	OPT(T, csvi, "csvi", 'V', OPT_NUM, "N", "index of the state version"), \
	OPT(T, uidx, "uidx", 'u', OPT_NUM, "N", "UUID index"), OPT(T, offset, "offset", 'O', OPT_NUM, "BYTES", "offset in the state")
static const struct opt o_mig_send[] = {
	OPT_CONTROL(T), O_SEL, O_CNTLID, OPT(T, stype, "stype", 't', OPT_NUM, "N", "suspend: 0 notification, 1 suspend"),
	OPT(T, dudmq, "dudmq", 'd', OPT_FLAG, NULL, "suspend: delete the data queue too"),
	OPT(T, seqind, "seq-ind", 'S', OPT_NUM, "N", "set state: 0 middle, 1 first, 2 last, 3 only piece"), O_STATE,
	OPT(T, numd, "numd", 'n', OPT_NUM, "N", "dwords, 1's based"),
	OPT(T, input, "input-file", 'f', OPT_STR, "FILE", "the state; else standard input"), OPT_END
};
static const struct opt o_mig_recv[] = {
	OPT_CONTROL(T), O_SEL, O_CNTLID, O_STATE, OPT(T, numd, "numd", 'n', OPT_NUM, "N", "dwords, 0's based"), OUT_FILE,
	OPT(T, human, "human-readable", 'H', OPT_FLAG, NULL, "print queues and sizes"), O_RAW, OPT_END
};
static const struct opt o_set_cdq[] = {
	OPT_CONTROL(T), O_CDQID, OPT(T, hp, "hp", 'H', OPT_NUM, "N", "head pointer", .needed = true),
	OPT(T, tpt, "tpt", 'T', OPT_NUM, "N", "tail pointer trigger; armed if given", .has = offsetof(T, has_tpt)), OPT_END
};
static const struct opt o_cdq_read[] = {
	OPT_CONTROL(T), O_CDQID, OPT(T, max, "max", 'm', OPT_NUM, "N", "entries at most"), OPT_END
};

#define VERB(nm, fn, op, br) { .name = nm, .brief = br, .opts = op, .run = run_verb, .aux = (void (*)(void))(fn) }
static const struct command lm_commands[] = {
	VERB("create-cdq", create_cdq, o_create_cdq, "create a controller data queue in the server's memory"),
	VERB("delete-cdq", delete_cdq, o_cdq, "delete it"),
	VERB("track-send", track_send, o_track_send, "start or stop logging changes of user data into a queue"),
	VERB("track-memory", track_memory, o_track_mem, "start or stop tracking the guest memory a controller writes (ours)"),
	VERB("track-recv", track_recv, o_track_recv, "get, and clear, the memory written since the last time (ours)"),
	VERB("migration-send", migration_send, o_mig_send, "suspend or resume a controller, or set its state"),
	VERB("migration-recv", migration_recv, o_mig_recv, "get a controller's state"),
	VERB("set-cdq", set_cdq, o_set_cdq, "tell how far a queue has been read"),
	VERB("get-cdq", get_cdq, o_cdq, "print a queue's head pointer and trigger"),
	VERB("cdq-read", cdq_read, o_cdq_read, "print entries that came into a queue since the last time (ours)"),
	{ .name = NULL }
};
const struct command nvme_commands[] = {
	VERB("id-ctrl", id_ctrl, o_id, "Identify Controller"),
	VERB("id-ns", id_ns, o_id_ns, "Identify Namespace"),
	VERB("list-ns", list_ns, o_list_ns, "active namespaces"),
	VERB("list-secondary", list_secondary, o_secondary, "the migratable controllers"),
	VERB("get-lba-status", lba_status, o_lba, "allocated blocks of a namespace"),
	VERB("read", io_read, o_read, "read blocks"),
	VERB("write", io_write, o_write, "write blocks"),
	VERB("admin-passthru", admin_passthru, o_pass, "any admin command"),
	VERB("io-passthru", io_passthru, o_pass, "any I/O command"),
	{ .name = "lm", .brief = "live migration commands", .sub = lm_commands },
	{ .name = NULL }
};

static int run_verb(const struct command *self, void *vals, int argc, char **argv)
{
	struct req r = { .v = vals, .data = calloc(1, DATA_MAX) };
	int code = EXIT_FERRY_FAILED;

	(void)argc, (void)argv;
	if (r.data)
		code = ((verb *)self->aux)(&r);
	free(r.data);
	return code;
}
