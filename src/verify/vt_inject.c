/* Faults at the host's own hooks: a command before it is in its queue, a doorbell before it is written. Called by vt_cmd.c and vt.c; the
 * rules are in the DUT's inject (inject.h), and without one nothing here changes anything. Also where a controller's access lies, and the
 * client that goes away and comes back.
 *
 * A doorbell that is held back stays the newest of its index: an older value never comes after a younger one, because a host that
 * writes its doorbells backwards submits what it never wrote.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "verify/inject.h"
#include "verify/model.h"
#include "verify/vt_in.h"

static struct inj *of(const struct vctl *c) { return c->t->dut->inj; }

/* ---- commands */

bool vt_inject_sqe(struct vctl *c, struct vcmd *k, bool *twice)
{
	struct inj_event ev = { .at = INJ_SUBMIT, .ctrl = (uint16_t)c->index, .what = k->sqe.opc, .data = &k->sqe, .len = sizeof(k->sqe) };
	struct inj_order o = inj_ask(of(c), &ev);

	if (o.act != INJ_PASS)
		vt_trace(c->t, "%s sq%u cid %u: fault: submit %s", c->name, k->qid, k->cid, inj_act_name(o.act));
	*twice = o.act == INJ_DUPLICATE;
	return o.act != INJ_DROP;
}

/* ---- doorbells */

static struct vbell *held(struct vctl *c, unsigned index)
{
	for (unsigned i = 0; i < c->bells; i++)
		if (c->bell[i].index == index)
			return &c->bell[i];
	return NULL;
}

static int write_bell(struct vctl *c, unsigned index, uint32_t val) { return c->port->ops->doorbell(c->port, index, val); }

/* True: it is held back. */
static bool hold(struct vctl *c, unsigned index, uint32_t val, unsigned turns, bool behind)
{
	if (c->bells == ARRAY_LEN(c->bell))
		return false;
	c->bell[c->bells++] = (struct vbell){ .index = index, .val = val, .turns = turns ? turns : 1, .behind = behind };
	return true;
}

static int release(struct vctl *c, unsigned i)
{
	struct vbell b = c->bell[i];

	c->bell[i] = c->bell[--c->bells];
	return write_bell(c, b.index, b.val);
}

/* What had to go behind another doorbell may go now. */
static int release_behind(struct vctl *c)
{
	int rc = 0;

	for (unsigned i = c->bells; i-- > 0;)
		if (c->bell[i].behind && !rc)
			rc = release(c, i);
	return rc;
}

int vt_inject_bell(struct vctl *c, unsigned index, uint32_t val)
{
	le32 v = le32_of(val);
	struct inj_event ev = { .at = INJ_BELL, .ctrl = (uint16_t)c->index, .what = (uint16_t)index, .data = &v, .len = sizeof(v) };
	struct vbell *b = held(c, index);
	struct inj_order o;
	int rc;

	if (!of(c))
		return write_bell(c, index, val);
	if (b) {
		b->val = val;
		return 0;
	}
	o = inj_ask(of(c), &ev);
	if (o.act != INJ_PASS)
		vt_trace(c->t, "%s doorbell %u = %u: fault: %s", c->name, index, val, inj_act_name(o.act));
	if (o.act == INJ_DROP || ((o.act == INJ_DELAY || o.act == INJ_REORDER) && hold(c, index, val, o.turns ? o.turns : 50, o.act == INJ_REORDER)))
		return 0;
	rc = write_bell(c, index, le32_get(v));
	if (!rc && o.act == INJ_DUPLICATE)
		rc = write_bell(c, index, val);
	return rc ? rc : release_behind(c);
}

void vt_inject_turn(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++)
		for (unsigned k = t->ctl[i].bells; k-- > 0;)
			if (!--t->ctl[i].bell[k].turns)
				release(&t->ctl[i], k);
}

/* ---- accesses */

static bool in_ring(const struct vmem *m, uint64_t at) { return m->p && at - m->iova < m->len; }

static enum inj_point place(void *vt, unsigned ctrl, uint64_t at)
{
	struct vctl *c = &((struct vt *)vt)->ctl[ctrl];

	for (unsigned q = 0; q < VT_QUEUES; q++) {
		if (c->sq[q].live && in_ring(&c->sq[q].m, at))
			return INJ_FETCH;
		if (c->cq[q].live && in_ring(&c->cq[q].m, at))
			return INJ_CQE;
	}
	return INJ_DATA;
}

/* ---- on and off */

void vt_inject_on(struct vt *t)
{
	inj_init(&t->inj);
	t->inj.place = place;
	t->inj.place_ctx = t;
	t->dut->inj = &t->inj;
}

static bool is_sick(const struct vt *t, unsigned ctrl, uint32_t nsid)
{
	for (unsigned i = 0; i < t->sicks; i++)
		if (t->sick[i].ctrl == ctrl && t->sick[i].nsid == nsid)
			return true;
	return false;
}

void vt_media(struct vctl *c, uint32_t nsid, const struct dut_media *m)
{
	struct vt *t = c->t;
	unsigned ctrl = (unsigned)(c->dut - t->dut->ctrl);
	int rc = t->dut->media ? t->dut->media(t->dut, ctrl, nsid, m) : -ENOTSUP;

	if (rc)
		vt_error(t, "the back end cannot make NSID %u of %s fail: %s", nsid, c->name, strerror(-rc));
	if (!m || is_sick(t, ctrl, nsid))
		return;
	if (t->sicks == VT_NS)
		vt_error(t, "more than %d media that fail", VT_NS);
	t->sick[t->sicks].ctrl = ctrl;
	t->sick[t->sicks++].nsid = nsid;
}

static void heal_media(struct vt *t)
{
	for (; t->sicks; t->sicks--)
		t->dut->media(t->dut, t->sick[t->sicks - 1].ctrl, t->sick[t->sicks - 1].nsid, NULL);
}

void vt_resize(struct vctl *c, uint32_t nsid, uint64_t blocks)
{
	struct vt *t = c->t;
	int rc = t->dut->resize ? t->dut->resize(t->dut, (unsigned)(c->dut - t->dut->ctrl), nsid, blocks) : -ENOTSUP;

	if (rc)
		vt_error(t, "the back end cannot give NSID %u of %s %llu blocks: %s", nsid, c->name, (unsigned long long)blocks, strerror(-rc));
	for (unsigned i = 0; !t->sized.c && i < c->nss; i++)
		if (c->ns[i].nsid == nsid)
			t->sized.c = c, t->sized.nsid = nsid, t->sized.blocks = c->ns[i].blocks;
}

static void size_back(struct vt *t)
{
	if (t->sized.c)
		t->dut->resize(t->dut, (unsigned)(t->sized.c->dut - t->dut->ctrl), t->sized.nsid, t->sized.blocks);
	t->sized.c = NULL;
}

void vt_inject_off(struct vt *t)
{
	heal_media(t);
	size_back(t);
	if (!t->dut->inj)
		return;
	t->dut->inj = NULL;
	for (unsigned p = 0; p < INJ_POINT_COUNT; p++)
		for (unsigned a = 0; a < INJ_ACT_COUNT; a++)
			t->injected[p][a] += t->inj.did[p][a];
	for (unsigned i = 0; i < t->ctls; i++)
		t->ctl[i].bells = 0; /* everything is reset before the next test */
}

/* ---- the client goes away without a word, and comes back */

/* Servers may keep the controller as it was for whoever comes next: so the first thing a driver does is to disable it. */
void vt_again(struct vctl *c)
{
	struct mctrl *x = c->t->model ? model_ctrl(c->t->model, c->cntlid) : NULL;
	struct err err = { "" };
	int rc;

	vt_trace(c->t, "%s: the client goes away and comes back", c->name);
	if (!c->dut->again)
		vt_error(c->t, "%s cannot be connected anew", c->name);
	c->bells = 0;
	c->mapped = false;
	rc = c->dut->again(c->dut, &err);
	vt_others_free(c, false);
	c->port = c->dut->port;
	if (rc) {
		c->t->lost = true;
		vt_error(c->t, "%s does not take the next client: %.400s", c->name, err.text);
	}
	rc = c->port->ops->dma_map(c->port, c->iova, c->mem, c->bytes, c->fd, 0);
	if (rc)
		vt_error(c->t, "%s does not take memory from the next client: %s", c->name, strerror(-rc));
	c->mapped = true;
	vt_port_again(c);
	if (x && !c->mmc)
		x->unsure |= x->suspended; /* whether a lost client ends a suspension, the book does not say */
	vt_disable(c);
}
