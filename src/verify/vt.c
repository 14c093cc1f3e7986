/* The test's world: verdicts, memory, registers. Commands are in vt_cmd.c, bringing everything up in vt_up.c. */
#include "verify/vt.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "verify/cover.h"
#include "verify/vt_in.h"

const char *vt_verdict_name(enum vt_verdict v)
{
	static const char *const name[] = { "PASS", "FAIL", "ERROR", "SKIP", "XFAIL", "XPASS" };

	return v < ARRAY_LEN(name) ? name[v] : "?";
}

uint64_t vt_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* ---- verdicts */

static _Noreturn void leave(struct vt *t, enum vt_verdict v)
{
	t->verdict = v;
	longjmp(t->out, 1);
}

#define LEAVE_(name, verdict)                            \
	_Noreturn void name(struct vt *t, const char *fmt, ...) \
	{                                                \
		va_list ap;                              \
		va_start(ap, fmt);                       \
		vsnprintf(t->why, sizeof(t->why), fmt, ap); \
		va_end(ap);                              \
		leave(t, verdict);                       \
	}
LEAVE_(vt_fail, VT_FAIL)
LEAVE_(vt_error, VT_ERROR)
LEAVE_(vt_skip, VT_SKIP)

void vt_reading(struct vt *t, const char *what, const char *fmt, ...)
{
	struct vt_reading r = { "" };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r.took, sizeof(r.took), fmt, ap);
	va_end(ap);
	snprintf(r.test, sizeof(r.test), "%s", t->test ? t->test : "");
	snprintf(r.what, sizeof(r.what), "%s", what);
	for (unsigned i = 0; i < t->readings; i++)
		if (!memcmp(&t->reading[i], &r, sizeof(r)))
			return;
	if (t->readings < VT_READINGS)
		t->reading[t->readings++] = r;
}

/* The last few thousand characters are what explains a failure. */
void vt_trace(struct vt *t, const char *fmt, ...)
{
	enum { KEEP = 6000 };
	char line[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	buf_printf(&t->trace, "%s\n", line);
	if (t->trace.len > 2 * KEEP)
		buf_drop_front(&t->trace, t->trace.len - KEEP);
}

/* ---- memory */

enum { RED_BYTE = 0x5a };

struct vmem vt_mem(struct vctl *c, uint32_t bytes)
{
	uint64_t len = round_up(bytes ? bytes : 1, VT_PAGE);
	struct vmem m = { NULL, c->iova + c->used, bytes };

	if (!c->mem || c->used + len + VT_PAGE > c->bytes || c->reds == ARRAY_LEN(c->red))
		vt_error(c->t, "the test wants more memory at %s than %llu bytes", c->name, (unsigned long long)c->bytes);
	m.p = c->mem + c->used;
	memset(m.p, 0, len);
	memset(m.p + len, RED_BYTE, VT_PAGE);
	c->red[c->reds++].off = c->used + len;
	c->used += len + VT_PAGE;
	vt_guard_taken(c);
	return m;
}

static void red_look(struct vctl *c, unsigned from)
{
	static const uint8_t red[VT_PAGE] = { [0 ... VT_PAGE - 1] = RED_BYTE };

	for (unsigned k = from; k < c->reds; k++) {
		const uint8_t *p = c->mem + c->red[k].off;
		uint64_t b = 0;

		if (!memcmp(p, red, VT_PAGE))
			continue;
		while (p[b] == RED_BYTE)
			b++;
		vt_fail(c->t, "%s wrote outside what it was given: address %llxh, on a guard page", c->name,
			(unsigned long long)(c->iova + c->red[k].off + b));
	}
}

void vt_back(struct vctl *c, struct vmark m)
{
	red_look(c, m.reds);
	c->used = m.used;
	c->reds = m.reds;
}

void vt_red_check(struct vt *t)
{
	for (unsigned i = 0; i < t->ctls; i++)
		red_look(&t->ctl[i], 0);
	vt_guard_rest(t);
}

/* ---- registers */

static void port_rc(struct vctl *c, const char *what, uint32_t off, int rc)
{
	if (!rc)
		return;
	c->t->lost |= rc == -ENODEV;
	vt_error(c->t, "%s: %s at %xh: %s", c->name, what, off, strerror(-rc));
}

uint64_t vt_reg(struct vctl *c, uint32_t off, unsigned bytes)
{
	uint64_t v = 0;

	port_rc(c, "register read", off, c->port->ops->reg_read(c->port, off, bytes, &v));
	return v;
}

void vt_reg_put(struct vctl *c, uint32_t off, unsigned bytes, uint64_t val)
{
	if (off == NVME_REG_CC && val >> 14 & 3)
		cov_shutdown(c->t->cov, c);
	port_rc(c, "register write", off, c->port->ops->reg_write(c->port, off, bytes, val));
}

void vt_doorbell(struct vctl *c, unsigned index, uint32_t val)
{
	port_rc(c, "doorbell", 0x1000 + 4 * index, vt_inject_bell(c, index, val));
}

static bool wait_ready(struct vctl *c, bool want)
{
	uint64_t limit = MAX((c->cap >> 24 & 0xff) * 500, 1000ull) * 1000000ull, end = vt_now_ns() + limit;

	for (;;) {
		uint64_t csts = vt_reg(c, NVME_REG_CSTS, 4);

		if ((csts & NVME_CSTS_RDY) == (want ? NVME_CSTS_RDY : 0))
			return true;
		if (vt_now_ns() > end || vt_now_ns() > c->t->deadline_ns)
			return false;
		vt_poll(c->t);
	}
}

void vt_disable(struct vctl *c)
{
	vt_trace(c->t, "%s CC.EN=0", c->name);
	vt_reg_put(c, NVME_REG_CC, 4, 0);
	vt_down(c);
	if (!wait_ready(c, false))
		vt_fail(c->t, "%s: CSTS.RDY stays 1 after CC.EN=0 for longer than CAP.TO", c->name);
}

void vt_down(struct vctl *c)
{
	if (c->t->model && c->up) { /* CC.EN 0 to 0 is no reset */
		cov_down(c->t->cov, c);
		model_reset(c->t->model, c);
	}
	c->up = false;
	c->bells = 0;
	memset(c->sq, 0, sizeof(c->sq));
	memset(c->cq, 0, sizeof(c->cq));
	for (unsigned i = 0; i < VT_CMDS; i++)
		if (c->t->cmd[i].used && c->t->cmd[i].c == c)
			c->t->cmd[i].used = false;
}

enum { ADMIN_ENTRIES = 64 };

void vt_enable(struct vctl *c, bool wait)
{
	uint32_t n = MIN((uint32_t)ADMIN_ENTRIES, (uint32_t)(c->cap & 0xffff) + 1);

	vt_trace(c->t, "%s CC.EN=1", c->name);
	vt_guard_reset(c); /* what it was given before is not its any more */
	if (!c->acq.len) {
		c->acq = vt_mem(c, n * 16);
		c->asq = vt_mem(c, n * 64);
	}
	memset(c->acq.p, 0, c->acq.len);
	c->cq[0] = (struct vcq){ .live = true, .size = n, .m = c->acq, .phase = true };
	c->sq[0] = (struct vsq){ .live = true, .size = n, .m = c->asq };
	vt_reg_put(c, NVME_REG_AQA, 4, (n - 1) | (uint64_t)(n - 1) << 16);
	vt_reg_put(c, NVME_REG_ASQ, 8, c->sq[0].m.iova);
	vt_reg_put(c, NVME_REG_ACQ, 8, c->cq[0].m.iova);
	vt_reg_put(c, NVME_REG_CC, 4, NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT);
	c->up = true;
	if (c->t->model)
		model_enabled(c->t->model, c);
	if (wait && !wait_ready(c, true))
		vt_fail(c->t, "%s: CSTS.RDY stays 0 after CC.EN=1 for longer than CAP.TO", c->name);
}

void vt_reset(struct vctl *c)
{
	vt_disable(c);
	vt_enable(c, true);
}
