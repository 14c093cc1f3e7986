/* Raw NVMe commands to the migration management controller, for `ferry nvme`.
 *
 * The caller builds the command, as nvme-cli does; we lend memory from the driver's arena and return what came back. A data
 * queue made this way lives in our memory until it is deleted, so that the whole reference flow can be driven by hand.
 * Commands share the controller with the manager: whoever deletes the manager's queues breaks the manager's move, and only that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/command.h"
#include "cmd/rpc_client.h"
#include "cmd/serve.h"

enum { RAW_DATA_MAX = 256 * 1024, RAW_CDQ_MAX = 1 << 20, RAW_CDQ_PAGE = 4096 };

struct raw {
	struct hnvme_cmd cmd;
	struct serve *s;
	struct rpc_call *call;
	uint32_t mem_len;		/* of cmd.data or of the queue */
	bool reads, creates_cdq, deletes_cdq;
	uint8_t *cdq;
};

static void raw_free(struct raw *r)
{
	if (r->cmd.data && !r->creates_cdq)
		hnvme_mem_free(r->s->mmc, r->cmd.data, r->mem_len);
	if (r->cdq)
		hnvme_mem_free(r->s->mmc, r->cdq, r->mem_len);
	free(r);
}

static struct serve_cdq *cdq_find(struct serve *s, unsigned id, bool live)
{
	for (size_t i = 0; i < ARRAY_LEN(s->cdq); i++)
		if (s->cdq[i].live == live && (!live || s->cdq[i].id == id))
			return &s->cdq[i];
	return NULL;
}

/* The controller has the queue now; its memory is ours to keep until Delete. */
static void keep_cdq(struct raw *r, unsigned id)
{
	struct serve_cdq *old = cdq_find(r->s, id, true), *q = old ? old : cdq_find(r->s, 0, false);

	if (old)
		hnvme_mem_free(r->s->mmc, old->mem, old->bytes); /* a reset took that queue away without telling us */
	if (!q)
		return;
	*q = (struct serve_cdq){ .live = true, .id = (uint16_t)id, .mem = r->cdq, .bytes = r->mem_len, .phase = true };
	r->cdq = NULL;
}

static void drop_cdq(struct serve *s, unsigned id)
{
	struct serve_cdq *q = cdq_find(s, id, true);

	if (!q)
		return;
	hnvme_mem_free(s->mmc, q->mem, q->bytes);
	q->live = false;
}

static void raw_done(struct hnvme_cmd *cmd, int rc, const struct nvme_cqe *cqe)
{
	struct raw *r = cmd->ctx;
	json_object *o;

	if (rc) {
		rpc_fail(r->call, RPC_EXIT - EXIT_FERRY_FAILED, "the controller did not complete the command: %s", strerror(-rc));
		/* Without a completion the controller may still write there: the memory is not given to anybody else. */
		free(r);
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "status", json_object_new_int64(le16_get(cqe->status) >> 1));
	json_object_object_add(o, "status_name", json_object_new_string(nvme_status_name(nvme_cqe_status(cqe))));
	json_object_object_add(o, "dw0", json_object_new_int64(le32_get(cqe->dw0)));
	json_object_object_add(o, "dw1", json_object_new_int64(le32_get(cqe->dw1)));
	if (!nvme_cqe_status(cqe) && r->creates_cdq)
		keep_cdq(r, le32_get(cqe->dw0) & 0xffff);
	if (!nvme_cqe_status(cqe) && r->deletes_cdq)
		drop_cdq(r->s, nvme_cdq_cdqid(&cmd->sqe));
	if (!nvme_cqe_status(cqe) && r->reads && cmd->len) {
		struct buf hex = { 0 };

		hex_put(&hex, cmd->data, cmd->len);
		json_object_object_add(o, "data", json_object_new_string_len((char *)hex.data, (int)hex.len));
		buf_fini(&hex);
	}
	rpc_reply(r->call, o);
	raw_free(r);
}

static uint32_t word(json_object *params, const char *key) { return (uint32_t)json_u64(params, key); }

static void build(json_object *p, struct nvme_sqe *q)
{
	*q = (struct nvme_sqe){ .opc = (uint8_t)word(p, "opcode"), .nsid = le32_of(word(p, "nsid")), .cdw2 = le32_of(word(p, "cdw2")),
				.cdw3 = le32_of(word(p, "cdw3")), .cdw10 = le32_of(word(p, "cdw10")),
				.cdw11 = le32_of(word(p, "cdw11")), .cdw12 = le32_of(word(p, "cdw12")),
				.cdw13 = le32_of(word(p, "cdw13")), .cdw14 = le32_of(word(p, "cdw14")),
				.cdw15 = le32_of(word(p, "cdw15")) };
}

/* Opcodes that take the driver's own queues or events away from it, or never complete. */
static bool dangerous(bool admin, unsigned opc)
{
	return admin && (opc == NVME_OP_AER || opc == NVME_OP_DELETE_SQ || opc == NVME_OP_CREATE_SQ || opc == NVME_OP_DELETE_CQ ||
			 opc == NVME_OP_CREATE_CQ || opc == NVME_OP_DBBUF);
}

/* Memory for the command. 0 or a sentence. */
static const char *lend(struct raw *r, json_object *params)
{
	const char *data = json_str(params, "data");
	uint64_t len = json_u64(params, "data_len"), cdq = json_u64(params, "cdq_bytes");

	if (cdq) {
		if (cdq > RAW_CDQ_MAX || cdq % RAW_CDQ_PAGE || !cdq_find(r->s, 0, false))
			return "a queue is 4 KiB to 1 MiB, whole pages, and there are at most 64";
		r->creates_cdq = true;
		r->mem_len = (uint32_t)cdq;
		r->cdq = hnvme_mem(r->s->mmc, cdq);
		if (!r->cdq)
			return "the server has no memory left for this";
		memset(r->cdq, 0, cdq);
		r->cmd.sqe.prp1 = le64_of((uintptr_t)r->cdq); /* arena: IOVA = address */
		return NULL;
	}
	if (!len)
		return NULL;
	if (len > RAW_DATA_MAX)
		return "data_len is more than 256 KiB";
	r->mem_len = (uint32_t)round_up(len, 4096);
	r->cmd.len = (uint32_t)len;
	r->cmd.data = hnvme_mem(r->s->mmc, r->mem_len);
	if (!r->cmd.data)
		return "the server has no memory left for this";
	memset(r->cmd.data, 0, r->mem_len);
	if (data[0] && !hex_get(data, r->cmd.data, len))
		return "data is not data_len bytes in hex";
	r->reads = !data[0];
	return NULL;
}

void control_nvme(void *ctx, struct rpc_call *call, json_object *params)
{
	struct serve *s = ctx;
	bool admin = strcmp(json_str(params, "queue"), "io") != 0;
	struct raw *r = dangerous(admin, word(params, "opcode")) ? NULL : calloc(1, sizeof(*r));
	const char *bad;
	int rc;

	if (!s->mmc) {
		rpc_fail(call, RPC_EXIT - EXIT_FERRY_REFUSED, "this server gives its MMC away: use the vfio-user socket %s",
			 s->cfg.server.mmc_socket);
		free(r);
		return;
	}
	if (!r) {
		rpc_fail(call, RPC_EXIT - EXIT_FERRY_REFUSED, "opcode %02xh would take the manager's own queues away", word(params, "opcode"));
		return;
	}
	r->s = s;
	r->call = call;
	r->cmd.ctx = r;
	r->cmd.done = raw_done;
	build(params, &r->cmd.sqe);
	r->deletes_cdq = admin && r->cmd.sqe.opc == NVME_OP_CDQ && nvme_cdq_sel(&r->cmd.sqe) == NVME_CDQ_DELETE;
	bad = lend(r, params);
	if (bad) {
		rpc_fail(call, RPC_PARAMS, "%s", bad);
		raw_free(r);
		return;
	}
	rc = !admin && !hnvme_io_queues(s->mmc) ? -ENODEV : hnvme_submit(s->mmc, !admin, &r->cmd);
	if (rc) {
		rpc_fail(call, RPC_EXIT - EXIT_FERRY_FAILED, "the command cannot be sent: %s", strerror(-rc));
		raw_free(r);
	}
}

/* Entries since the last time; HP is told by the caller with Set Features 21h, as on a real host. */
void control_ring(void *ctx, struct rpc_call *call, json_object *params)
{
	struct serve *s = ctx;
	struct serve_cdq *q = cdq_find(s, word(params, "cdqid"), true);
	unsigned max = json_get(params, "max") ? word(params, "max") : 1024, slots;
	json_object *o, *list;

	if (!q) {
		rpc_fail(call, RPC_EXIT - EXIT_FERRY_REFUSED, "data queue %u was not made with 'ferry nvme lm create-cdq' here",
			 word(params, "cdqid"));
		return;
	}
	slots = q->bytes / sizeof(struct nvme_lbamq);
	o = json_object_new_object();
	list = json_object_new_array();
	for (unsigned n = 0; n < max && n < slots; n++) {
		volatile struct nvme_lbamq *v = (void *)(q->mem + q->at * sizeof(struct nvme_lbamq));
		struct nvme_lbamq e;
		struct buf hex = { 0 };

		if ((v->lbamqa & NVME_LBAMQ_PHASE) != q->phase)
			break;
		__atomic_thread_fence(__ATOMIC_ACQUIRE); /* the byte with the phase is written last */
		memcpy(&e, (const void *)v, sizeof(e));
		hex_put(&hex, &e, sizeof(e));
		json_object_array_add(list, json_object_new_string_len((char *)hex.data, (int)hex.len));
		buf_fini(&hex);
		if (++q->at == slots) {
			q->at = 0;
			q->phase = !q->phase;
		}
	}
	json_object_object_add(o, "entries", list);
	json_object_object_add(o, "head", json_object_new_int64(q->at));
	json_object_object_add(o, "slots", json_object_new_int64(slots));
	rpc_reply(call, o);
}
