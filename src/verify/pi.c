/* Protection information. See pi.h. */
#include "verify/pi.h"

#include "base/crc16.h"

void pi_put(uint8_t p[PI_BYTES], const struct pi_tuple *t)
{
	for (unsigned i = 0; i < 2; i++) {
		p[i] = (uint8_t)(t->guard >> (8 - 8 * i));
		p[2 + i] = (uint8_t)(t->app >> (8 - 8 * i));
	}
	for (unsigned i = 0; i < 4; i++)
		p[4 + i] = (uint8_t)(t->ref >> (24 - 8 * i));
}

struct pi_tuple pi_get(const uint8_t p[PI_BYTES])
{
	return (struct pi_tuple){ (uint16_t)(p[0] << 8 | p[1]), (uint16_t)(p[2] << 8 | p[3]),
				  (uint32_t)p[4] << 24 | (uint32_t)p[5] << 16 | (uint32_t)p[6] << 8 | p[7] };
}

bool pi_same(const struct pi_tuple *a, const struct pi_tuple *b) { return a->guard == b->guard && a->app == b->app && a->ref == b->ref; }

/* Types 1 and 2 count; type 3 leaves the tag to the host. */
uint32_t pi_ref(unsigned type, uint32_t first, uint32_t block) { return type == 3 ? first : first + block; }

/* The values that say "do not check": types 1 and 2 by the application tag alone. */
static bool unchecked(unsigned type, const struct pi_tuple *t) { return t->app == 0xffff && (type != 3 || t->ref == 0xffffffff); }

unsigned pi_check(unsigned type, const struct pi_tuple *t, uint16_t crc, const struct pi_ask *a, uint32_t block)
{
	unsigned failed = 0;

	if (unchecked(type, t))
		return 0;
	if (t->guard != crc)
		failed |= PI_GUARD;
	if ((t->app ^ a->app) & a->mask)
		failed |= PI_APP;
	if (t->ref != pi_ref(type, a->ref, block))
		failed |= PI_REF;
	return failed & a->info;
}

unsigned pi_statuses(unsigned failed, uint16_t *set, unsigned n)
{
	static const struct { unsigned bit; uint16_t status; } says[] = { { PI_GUARD, S_GUARD }, { PI_APP, S_APPTAG }, { PI_REF, S_REFTAG } };

	for (unsigned i = 0; i < ARRAY_LEN(says); i++)
		if (failed & says[i].bit)
			set[n++] = says[i].status;
	return n;
}

struct pi_tuple pi_made(unsigned type, uint16_t crc, const struct pi_ask *a, uint32_t block)
{
	return (struct pi_tuple){ crc, a->app, pi_ref(type, a->ref, block) };
}

struct pi_tuple pi_none(void) { return (struct pi_tuple){ 0xffff, 0xffff, 0xffffffff }; }

void pi_ask_sqe(struct nvme_sqe *s, const struct pi_ask *a)
{
	nvme_rw_prinfo_put(s, a->info);
	s->cdw14 = le32_of(a->ref);
	s->cdw15 = le32_of(a->app | (uint32_t)a->mask << 16);
}

bool pi_usable(const struct vns *n) { return n->dps & 7 ? n->ms == PI_BYTES : n->pi_lbaf < 16 && n->dpc & 7; }
struct pi_format pi_format_of(const struct vns *n) { return (struct pi_format){ n->ms == PI_BYTES ? n->dps & 7u : 0, n->flbas >> 4 & 1 }; }
