/* The rings of one queue pair. See hqueue.h; used by hnvme.c and by the embedded guest, on their own thread. */
#include "host/hqueue.h"

void hqueue_init(struct hqueue *q, uint8_t *base, uint32_t qid, uint32_t size, uint64_t sq_off, uint64_t cq_off)
{
	*q = (struct hqueue){ .qid = qid, .size = size, .sq_off = sq_off, .cq_off = cq_off, .phase = 1 };
	memset(base + sq_off, 0, (size_t)size * sizeof(struct nvme_sqe));
	memset(base + cq_off, 0, (size_t)size * sizeof(struct nvme_cqe));
}

/* Counting is enough, and it does not hang on the SQHD a hostile controller tells: commands are fetched in order, so when fewer
 * than size - 1 are out, the slot at the tail belongs to a command that was fetched (or something behind it could not have completed). */
bool hqueue_full(const struct hqueue *q) { return q->out >= q->size - 1; }

bool hqueue_push(struct hqueue *q, uint8_t *base, const struct nvme_sqe *sqe)
{
	if (hqueue_full(q))
		return false;
	memcpy(base + q->sq_off + (size_t)q->sq_tail * sizeof(*sqe), sqe, sizeof(*sqe));
	q->sq_tail = (uint16_t)((q->sq_tail + 1u) % q->size);
	q->out++;
	return true;
}

/* A doorbell written with the value it has is an error by the book (Invalid Doorbell Write Value). */
int hqueue_kick(struct hqueue *q, struct port *port)
{
	int rc;

	if (q->db_sq == q->sq_tail)
		return 0;
	rc = port->ops->doorbell(port, 2 * q->qid, q->sq_tail);
	if (!rc)
		q->db_sq = q->sq_tail;
	return rc;
}

bool hqueue_reap(struct hqueue *q, uint8_t *base, struct nvme_cqe *out)
{
	uint8_t *slot = base + q->cq_off + (size_t)q->cq_head * sizeof(*out);
	struct nvme_cqe c;
	uint32_t last;

	/* The phase tag is in the last dword the controller writes; what we copy after seeing it belongs to it. The whole dword is
	 * loaded at once, as it is stored at once. */
	last = __atomic_load_n((uint32_t *)(void *)(slot + 12), __ATOMIC_ACQUIRE);
	memcpy((uint8_t *)&c + 12, &last, 4);
	if ((le16_get(c.status) & 1) != q->phase)
		return false;
	memcpy(&c, slot, 12);
	if (++q->cq_head == q->size) {
		q->cq_head = 0;
		q->phase ^= 1;
	}
	if (q->out)	/* a completion nobody asked for must not turn the count round */
		q->out--;
	if (le16_get(c.sqhd) < q->size)
		q->sq_head = le16_get(c.sqhd);
	*out = c;
	return true;
}

int hqueue_ack(struct hqueue *q, struct port *port)
{
	int rc;

	if (q->db_cq == q->cq_head)
		return 0;
	rc = port->ops->doorbell(port, 2 * q->qid + 1, q->cq_head);
	if (!rc)
		q->db_cq = q->cq_head;
	return rc;
}
