/* See history.h. */
#include "vm/embedded/history.h"

void hist_init(struct hist *h, bool zeroed)
{
	*h = (struct hist){ .a = zeroed ? 0 : HIST_ANY };
}

uint64_t hist_next(struct hist *h, uint32_t block)
{
	if (!hist_certain(h) && !hist_unknown(h))
		return h->b;
	return stamp_id(block, ++h->gen);
}

bool hist_may(const struct hist *h, uint64_t id) { return hist_certain(h) || hist_unknown(h) || h->b == id; }
void hist_out(struct hist *h, uint64_t id) { h->b = id; }
void hist_ok(struct hist *h) { h->a = h->b; }

static enum hist_verdict blame(const struct hist *table, uint32_t blocks, enum stamp_kind kind, uint64_t id)
{
	uint32_t origin = (uint32_t)(id >> 32), gen = (uint32_t)id;

	if (kind == STAMP_ZERO)
		return HIST_LOST;
	if (kind == STAMP_VALID && origin < blocks && gen <= table[origin].gen)
		return HIST_LOST;	/* it was written once, but it is not what should be here now */
	return HIST_INVENTED;
}

enum hist_verdict hist_read(struct hist *table, uint32_t blocks, uint32_t block, const struct stamp_key *key, const void *data,
			    struct hist_finding *f)
{
	struct hist *h = &table[block];
	unsigned is_a = 0, is_b = 0;

	if (hist_unknown(h))
		return HIST_FINE;
	for (unsigned i = 0; i < STAMP_SECTORS; i++) {
		uint64_t id;
		enum stamp_kind kind = stamp_read((const uint8_t *)data + i * STAMP_SECTOR, key, i, &id);

		if (kind == STAMP_ALIEN || (id != h->a && id != h->b)) {
			*f = (struct hist_finding){ .sector = i, .found = kind == STAMP_ALIEN ? HIST_ANY : id };
			h->a = HIST_ANY;
			return blame(table, blocks, kind, id);
		}
		is_a += id == h->a;
		is_b += id == h->b;
	}
	if (is_b == STAMP_SECTORS)
		h->a = h->b;
	else if (is_a == STAMP_SECTORS)
		h->b = h->a;
	else
		return HIST_TORN;
	return HIST_FINE;
}
