/* Random sequences on blocks with protection information: what commands ask for, what writes put beside their data, and which checks may
 * fail. Only for a namespace that is formatted so; the judge is pi.c. See random.h.
 */
#include "base/crc16.h"
#include "verify/random_in.h"

enum { CHECKS = PI_GUARD | PI_APP | PI_REF };

bool random_pi_carries(const struct rmc *m, const struct rop *o)
{
	return m->pi.type && !(o->ask.info & PI_ACT) && (o->kind == RK_READ || o->kind == RK_WRITE);
}

uint8_t *random_pi_at(const struct rmc *m, const struct rop *o, unsigned i)
{
	if (!random_pi_carries(m, o))
		return NULL;
	return m->pi.ext ? o->buf.p + i * random_stride(m, o) + m->board.lba : o->meta.p + i * PI_BYTES;
}

static void plan_write(struct rmc *m, struct rop *o, struct rng *g)
{
	static const uint16_t tags[] = { 0x1111, 0x1122, 0x2211, 0xffff };

	o->ask.app = tags[rng_below(g, ARRAY_LEN(tags))];
	o->ask.mask = 0xffff;
	o->ask.ref = m->pi.type == 1 ? o->at[0] : rng_below(g, 8) ? (uint32_t)rng_next(g) : 0xffffffff;
	if (o->kind == RK_ZEROES)
		o->ask.info = PI_ACT;
}

/* Mostly what the first block should have; a block that was copied or written by another command then fails its check. */
static void plan_read(struct rmc *m, struct rop *o, struct rng *g)
{
	static const uint16_t masks[] = { 0xffff, 0xff00, 0x00ff, 0 };
	struct pi_tuple t = pi_get(m->sent[o->at[0]].tuple);

	o->ask.app = rng_below(g, 4) ? t.app : 0x1111;
	o->ask.mask = masks[rng_below(g, ARRAY_LEN(masks))];
	o->ask.ref = m->pi.type == 1 ? o->at[0] : t.ref;
}

void random_pi_plan(struct rmc *m, struct rop *o, struct rng *g)
{
	unsigned all = m->pi.type == 3 ? CHECKS & ~PI_REF : CHECKS;

	o->ask = (struct pi_ask){ 0 };
	if (!m->pi.type)
		return;
	o->ask.info = (unsigned)rng_below(g, 16) & (all | PI_ACT);
	switch (o->kind) {
	case RK_WRITE:
	case RK_ZEROES: plan_write(m, o, g); break;
	case RK_READ: plan_read(m, o, g); break;
	case RK_COMPARE: o->ask.info = PI_ACT; break;
	default: o->ask.info = 0; /* a copy moves it as it is */
	}
}

/* Every third write that brings its own and does not ask for it to be checked brings a wrong guard. */
void random_pi_guard(const struct rmc *m, struct rop *o, unsigned i, const uint8_t *data)
{
	uint16_t crc = crc16_t10dif(data, m->board.lba);
	struct pi_tuple t = pi_made(m->pi.type, crc, &o->ask, i);

	if (random_pi_carries(m, o) && !(o->ask.info & PI_GUARD) && !(o->seq % 3))
		t.guard ^= 0x8001;
	o->value[i].tagged = true;
	o->value[i].crc = crc;
	pi_put(o->value[i].tuple, &t);
}

void random_pi_sqe(const struct rmc *m, const struct rop *o, struct nvme_sqe *s)
{
	if (!m->pi.type || o->kind == RK_DSM || o->kind == RK_COPY || o->kind == RK_BAD)
		return;
	pi_ask_sqe(s, &o->ask);
	if (random_pi_carries(m, o) && !m->pi.ext)
		s->mptr = le64_of(o->meta.iova);
}

/* Of one block; all: whatever it holds, a check fails. */
static unsigned block_checks(struct rmc *m, struct rop *o, unsigned i, unsigned asked, bool *all)
{
	const struct bblock *b = &m->board.block[o->at[i]];
	unsigned may = 0;

	*all = false;
	if (b->n == BOARD_ANY || fault_clouds(m, o->at[i]))
		return asked;
	*all = b->n > 0;
	for (unsigned k = 0; k < b->n; k++) {
		struct pi_tuple t = pi_get(b->cand[k].tuple);
		unsigned failed = b->cand[k].tagged ? pi_check(m->pi.type, &t, b->cand[k].crc, &o->ask, i) : asked;

		may |= failed;
		*all &= failed && b->cand[k].tagged;
	}
	return may;
}

unsigned random_pi_checks(struct rmc *m, struct rop *o, bool *must)
{
	unsigned asked = o->ask.info & CHECKS, may = 0;
	bool all;

	*must = false;
	for (unsigned i = 0; i < o->blocks && o->kind == RK_READ && asked; i++) {
		may |= block_checks(m, o, i, asked, &all);
		*must |= all;
	}
	return may;
}
