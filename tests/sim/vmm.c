/* See vmm.h. A record of its stream is an address and a page; the stream ends between records. */
#include "sim/vmm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "sim/node.h"

enum { PAGE_NS = 100000 };			/* what a page takes, it thinks */

static struct node *node_of(struct vm *v) { return CONTAINER_OF(v, struct node, vm); }
static uint64_t pages(const struct node *n) { return n->guest.bytes / GUEST_PAGE; }

static int gone(const struct node *n, struct err *e) { return n->guest_exists ? 0 : err_set(e, -ENODEV, "the VMM is not there"); }

void vmm_reset(struct node *n)
{
	struct vmm *m = &n->vmm;

	free(m->dirty);
	memset((char *)m + offsetof(struct vmm, sending), 0, sizeof(*m) - offsetof(struct vmm, sending));
}

static void mark(struct node *n, uint64_t gpa) { n->vmm.dirty[gpa / GUEST_PAGE / 64] |= 1ull << gpa / GUEST_PAGE % 64; }

static void ask_processors(struct node *n)
{
	for (uint64_t i = 0; i < (pages(n) + 63) / 64; i++) {
		n->vmm.dirty[i] |= n->guest.dirty[i];
		n->guest.dirty[i] = 0;
	}
}

static uint64_t left(const struct node *n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < (pages(n) + 63) / 64; i++)
		sum += (uint64_t)__builtin_popcountll(n->vmm.dirty[i]);
	return sum;
}

static int op_open(struct vm *v, struct vm_info *i, struct err *e)
{
	struct node *n = node_of(v);

	if (gone(n, e))
		return -ENODEV;
	*i = (struct vm_info){ .kind = "pretend", .streams = true };
	snprintf(i->shape, sizeof(i->shape), "pretend memory %llu", (unsigned long long)n->guest.bytes);
	return 0;
}

static int op_begin(struct vm *v, bool incoming, struct err *e)
{
	struct node *n = node_of(v);

	if (gone(n, e))
		return -ENODEV;
	if (n->vmm.sending || n->vmm.receiving)
		return 0;
	vmm_reset(n);
	n->vmm.sending = !incoming;
	n->vmm.receiving = incoming;
	n->vmm.touching = !incoming;
	n->vmm.dirty = calloc(pages(n) / 64 + 1, 8);
	CHECK(n->vmm.dirty);
	for (uint64_t i = 0; i < pages(n); i++)
		mark(n, i * GUEST_PAGE);
	return 0;
}

static bool next_record(struct node *n)
{
	struct vmm *m = &n->vmm;

	for (uint64_t i = 0; i < pages(n); i++, m->cursor++) {
		uint64_t p = m->cursor % pages(n), gpa = p * GUEST_PAGE;

		if (!(m->dirty[p / 64] >> p % 64 & 1))
			continue;
		m->dirty[p / 64] &= ~(1ull << p % 64);
		memcpy(m->record, &gpa, 8);
		memcpy(m->record + 8, n->guest.mem + gpa, GUEST_PAGE);
		m->record_len = VMM_RECORD;
		m->record_at = 0;
		return true;
	}
	return false;
}

static int64_t op_read(struct vm *v, void *buf, size_t cap, struct err *e)
{
	struct node *n = node_of(v);
	struct vmm *m = &n->vmm;
	size_t k;

	if (gone(n, e) || !m->sending)
		return err_set(e, -EPIPE, "the VMM sends nothing");
	if (m->record_at == m->record_len && !next_record(n))
		return m->finished ? 0 : -EAGAIN;
	k = 1 + (size_t)sim_rand(n->world, VMM_RECORD);
	k = MIN(MIN(cap, (size_t)(m->record_len - m->record_at)), k);
	memcpy(buf, m->record + m->record_at, k);
	m->record_at += (uint32_t)k;
	return (int64_t)k;
}

static int64_t op_write(struct vm *v, const void *buf, size_t len, struct err *e)
{
	struct node *n = node_of(v);
	struct vmm *m = &n->vmm;
	uint64_t gpa;
	size_t k;

	if (gone(n, e) || !m->receiving)
		return err_set(e, -EPIPE, "the VMM takes nothing");
	if (sim_rand(n->world, 4) == 0)
		return -EAGAIN;
	k = MIN(len, (size_t)(VMM_RECORD - m->record_at));
	memcpy(m->record + m->record_at, buf, k);
	m->record_at += (uint32_t)k;
	if (m->record_at == VMM_RECORD) {
		memcpy(&gpa, m->record, 8);
		CHECK(gpa % GUEST_PAGE == 0 && gpa < n->guest.bytes);
		memcpy(n->guest.mem + gpa, m->record + 8, GUEST_PAGE);
		m->record_at = 0;
	}
	return (int64_t)k;
}

static int op_settle(struct vm *v, uint64_t allowed_ns, struct vm_stream *s, struct err *e)
{
	struct node *n = node_of(v);

	if (gone(n, e) || !n->vmm.sending)
		return err_set(e, -EPIPE, "the VMM gave up");
	if (sim_rand(n->world, 16) == 0)
		ask_processors(n);
	*s = (struct vm_stream){ .total = n->guest.bytes, .left = left(n) * GUEST_PAGE };
	if (!n->vmm.stands && allowed_ns && left(n) * PAGE_NS <= allowed_ns)
		n->vmm.stands = n->guest_paused = true;
	return n->vmm.stands ? 0 : -EAGAIN;
}

static int op_pause(struct vm *v, struct err *e)
{
	struct node *n = node_of(v);

	return gone(n, e) ? -ENODEV : n->vmm.stands ? 0 : err_set(e, -ESTALE, "the VMM has not stopped its processors");
}

static int64_t op_image(struct vm *v, void *buf, size_t cap, struct err *e)
{
	(void)cap;
	if (gone(node_of(v), e))
		return -ENODEV;
	if (!node_of(v)->vmm.finished)
		return err_set(e, -ESTALE, "the VMM has not sent everything");
	memcpy(buf, "image", 5);
	return 5;
}

/* From here on it asks nobody any more: what it was not told until now it never learns. */
static int op_finish(struct vm *v, struct err *e)
{
	struct node *n = node_of(v);

	if (gone(n, e) || !n->vmm.stands)
		return err_set(e, -EPIPE, "the VMM gave up");
	if (!n->vmm.finished)
		ask_processors(n);
	n->vmm.finished = true;
	n->vmm.touching = false;
	return 0;
}

static int op_arrive(struct vm *v, const void *image, size_t len, struct err *e)
{
	struct node *n = node_of(v);

	if (gone(n, e) || !n->vmm.receiving || n->vmm.record_at || len != 5 || memcmp(image, "image", 5))
		return err_set(e, -EPROTO, "the stream did not end where it should");
	return sim_rand(n->world, 4) ? -EAGAIN : 0;
}

static int op_resume(struct vm *v, struct err *e)
{
	struct node *n = node_of(v);

	if (gone(n, e))
		return -ENODEV;
	vmm_reset(n);
	n->guest_paused = false;
	return 0;
}

static int op_track(struct vm *v, bool on) { return (void)v, on ? -ENOTSUP : 0; }

const struct vm_ops sim_vmm_ops = {
	.open = op_open, .track = op_track, .pause = op_pause, .resume = op_resume, .discard = node_vm_discard, .alive = node_vm_alive,
	.close = node_vm_close, .stream_begin = op_begin, .stream_read = op_read, .stream_write = op_write, .stream_settle = op_settle,
	.image = op_image, .stream_finish = op_finish, .arrive = op_arrive,
};

/* ---- being told -------------------------------------------------------------------------------------------------- */

int vmm_touch(struct node *n, enum move_touch what, struct err *e)
{
	struct gmem *g = n->mc ? &n->mc->dev.gmem : NULL;

	if (!g)
		return err_set(e, -ENODEV, "no controller");
	switch (what) {
	case MOVE_TOUCH_ON:
		gmem_touch_teller(g, true);
		return gmem_touch_start(g, (unsigned)sim_rand(n->world, 32));
	case MOVE_TOUCH_OFF: gmem_touch_stop(g); return 0;
	case MOVE_TOUCH_FLUSH: break;
	}
	return gmem_touch_flush(g);
}

void vmm_detach(struct node *n)
{
	struct gmem *g = n->mc ? &n->mc->dev.gmem : NULL;

	for (unsigned i = 0; g && i < n->vmm.touches; i++)
		gmem_touch_answer(g, n->vmm.touch[i].number, -ENODEV);
	n->vmm.touches = 0;
	if (g)
		gmem_touch_teller(g, false);
}

/* A touch writes the byte that was there when it was sent, some time later: what the guest wrote meanwhile would be undone. */
bool vmm_poll(struct node *n)
{
	struct gmem *g = n->mc ? &n->mc->dev.gmem : NULL;
	struct vmm *m = &n->vmm;
	uint64_t iova;
	bool did = false;

	if (!g || !n->guest_exists)
		return false;
	while (m->touches < VMM_TOUCHES && gmem_touch_next(g, &m->touch[m->touches].number, &iova, &m->touch[m->touches].byte)) {
		CHECK(iova < n->guest.bytes);
		m->touch[m->touches].iova = iova;
		m->touch[m->touches++].due_ns = sim_now_ns(n->world) + sim_rand(n->world, 50000);
	}
	while (m->touches && m->touch[0].due_ns <= sim_now_ns(n->world)) {
		uint64_t number = m->touch[0].number;

		n->guest.mem[m->touch[0].iova] = m->touch[0].byte;
		if (m->touching)
			mark(n, m->touch[0].iova);
		memmove(m->touch, m->touch + 1, --m->touches * sizeof(m->touch[0]));
		gmem_touch_answer(g, number, 0);
		did = true;
	}
	return did;
}
