/* Touching over vfio-user: pages that the device wrote through a mapping are told to the client by DMA_WRITEs of one byte
 * (device/gmem_touch.c says why). Called by vuser_server.c and vuser_dma.c.
 *
 * They have slots of their own beside those of memory by message: neither kind can starve the other. They are few and small, so they
 * do not look at how much waits to be sent. What is not answered in time fails the move but keeps its slot: only an answer, or the
 * client's leaving, says that the byte will not be written any more.
 */
#include <errno.h>

#include "base/log.h"
#include "transport/vuser_priv.h"

enum { SLOT_BITS = 7 };
_Static_assert(VUSER_TOUCH_SLOTS == 1 << SLOT_BITS, "the slot number is part of the message id");

static void send_byte(struct vuser_server *s, struct vuser_touch *t, uint8_t byte)
{
	struct vuser_dma_access a = { le64_of(t->iova), le64_of(1) };
	uint8_t *out;

	t->id = (uint16_t)(VUSER_TOUCH_ID | (s->touch_seq++ << SLOT_BITS & (VUSER_TOUCH_ID - 1)) | (t - s->touch));
	t->deadline_ns = vuser_now_ns() + s->cfg.dma_timeout_ms * 1000000ull;
	out = vuser_sock_put(&s->sock, t->id, VUSER_DMA_WRITE, VUSER_TYPE_COMMAND, 0, sizeof(a) + 1);
	if (!out)
		return; /* the send queue remembers that it failed; the client goes */
	memcpy(out, &a, sizeof(a));
	out[sizeof(a)] = byte;
	s->n.touches++;
}

void vuser_touch_pump(struct vuser_server *s)
{
	struct gmem *g = &s->dev->gmem;
	uint8_t byte;

	if (!gmem_touch_wanted(g) || s->drop[0])
		return;
	for (unsigned i = 0; i < VUSER_TOUCH_SLOTS && s->touch_out < VUSER_TOUCH_SLOTS; i++) {
		struct vuser_touch *t = &s->touch[i];

		if (t->out)
			continue;
		if (!gmem_touch_next(g, &t->number, &t->iova, &byte))
			return;
		t->out = true;
		s->touch_out++;
		send_byte(s, t, byte);
	}
}

static void finish(struct vuser_server *s, struct vuser_touch *t, int rc)
{
	t->out = false;
	s->touch_out--;
	gmem_touch_answer(&s->dev->gmem, t->number, rc);
}

/* QEMU answers a DMA_WRITE with a bare header, others repeat address and length. */
static int judge_answer(const struct vuser_touch *t, const struct vuser_msg *m)
{
	struct vuser_dma_access a;

	if (m->flags & VUSER_ERROR)
		return vuser_error_of(m);
	if (!vuser_payload_bytes(m))
		return 0;
	if (vuser_payload_bytes(m) < sizeof(a))
		return -EIO;
	memcpy(&a, m->payload, sizeof(a));
	return le64_get(a.addr) == t->iova && le64_get(a.count) == 1 ? 0 : -EIO;
}

void vuser_touch_reply(struct vuser_server *s, const struct vuser_msg *m)
{
	struct vuser_touch *t = &s->touch[m->id & (VUSER_TOUCH_SLOTS - 1)];
	int rc;

	if (!t->out || t->id != m->id || m->cmd != VUSER_DMA_WRITE)
		return; /* nobody's */
	rc = judge_answer(t, m);
	if (rc && log_upto() >= LOG_DEBUG)
		log_line(LOG_DEBUG, "vfio-user %s: the client refuses to be told of %#llx: %s", s->path, (unsigned long long)t->iova,
			 strerror(-rc));
	finish(s, t, rc);
}

void vuser_touch_expire(struct vuser_server *s, uint64_t now_ns)
{
	for (unsigned i = 0; s->touch_out && i < VUSER_TOUCH_SLOTS; i++) {
		struct vuser_touch *t = &s->touch[i];

		if (!t->out || now_ns < t->deadline_ns)
			continue;
		log_warn("vfio-user %s: a DMA_WRITE of one byte at %#llx was not answered in %u ms; what wrote there waits on", s->path,
			 (unsigned long long)t->iova, s->cfg.dma_timeout_ms);
		t->deadline_ns = UINT64_MAX;
		gmem_touch_overdue(&s->dev->gmem);
	}
}

uint64_t vuser_touch_deadline(const struct vuser_server *s)
{
	uint64_t d = UINT64_MAX;

	for (unsigned i = 0; s->touch_out && i < VUSER_TOUCH_SLOTS; i++)
		if (s->touch[i].out)
			d = MIN(d, s->touch[i].deadline_ns);
	return d;
}

void vuser_touch_leave(struct vuser_server *s)
{
	for (unsigned i = 0; i < VUSER_TOUCH_SLOTS; i++)
		if (s->touch[i].out)
			finish(s, &s->touch[i], -ENOTCONN);
	gmem_touch_teller(&s->dev->gmem, false);
}
