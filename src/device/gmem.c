/* The table of guest memory: translation, copies that may go by message, and the record of what the device wrote.
 *
 * Called by the transport (add, del) and by the device (the rest), device thread only. Maps are kept sorted; almost every
 * lookup hits the map of the one before, so that is tried first and a binary search only behind it.
 */
#include "device/gmem.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"

enum { GMEM_MAPS_MAX = 65536, GMEM_GRANULES_MAX = 1u << 30 };

void gmem_init(struct gmem *g)
{
	*g = (struct gmem){ .generation = 1 };
}

void gmem_fini(struct gmem *g)
{
	gmem_track_stop(g);
	gmem_touch_fini(g);
	free(g->maps);
	g->maps = NULL;
	g->count = g->cap = 0;
}

static bool map_has(const struct gmem_map *m, uint64_t iova)
{
	return iova - m->iova < m->size;
}

/* Index of the first map that ends behind iova (count if none). */
static unsigned map_search(const struct gmem *g, uint64_t iova)
{
	unsigned lo = 0, hi = g->count;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (g->maps[mid].iova + (g->maps[mid].size - 1) < iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool map_same(const struct gmem_map *m, uint64_t iova, uint64_t size, const void *ptr, bool read, bool write)
{
	return m->iova == iova && m->size == size && m->ptr == ptr && m->read == read && m->write == write;
}

static int maps_grow(struct gmem *g)
{
	unsigned cap = g->cap ? g->cap * 2 : 16;
	struct gmem_map *maps;

	if (g->count < g->cap)
		return 0;
	if (cap > GMEM_MAPS_MAX)
		return -ENOMEM;
	maps = realloc(g->maps, cap * sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	g->maps = maps;
	g->cap = cap;
	return 0;
}

int gmem_add(struct gmem *g, uint64_t iova, uint64_t size, void *ptr, bool read, bool write)
{
	return gmem_add_home(g, iova, size, ptr, read, write, (uintptr_t)ptr);
}

int gmem_add_home(struct gmem *g, uint64_t iova, uint64_t size, void *ptr, bool read, bool write, uint64_t home)
{
	unsigned at;

	if (!size || iova + (size - 1) < iova)
		return -EINVAL;
	at = map_search(g, iova);
	if (at < g->count && ranges_overlap(iova, size, g->maps[at].iova, g->maps[at].size))
		return map_same(&g->maps[at], iova, size, ptr, read, write) ? 0 : -EEXIST;
	if (maps_grow(g))
		return -ENOMEM;
	memmove(g->maps + at + 1, g->maps + at, (g->count - at) * sizeof(*g->maps));
	g->maps[at] = (struct gmem_map){ .iova = iova, .size = size, .ptr = ptr, .read = read, .write = write,
					 .home = home };
	g->count++;
	g->last = at;
	g->generation++;
	return 0;
}

int gmem_del(struct gmem *g, uint64_t iova, uint64_t size, struct gmem_map *out)
{
	unsigned at = map_search(g, iova);

	if (at == g->count || g->maps[at].iova != iova || g->maps[at].size != size)
		return -ENOENT;
	if (g->held) {
		g->draining = true;
		return -EAGAIN;
	}
	if (out)
		*out = g->maps[at];
	g->count--;
	memmove(g->maps + at, g->maps + at + 1, (g->count - at) * sizeof(*g->maps));
	g->last = 0;
	g->generation++;
	g->draining = false;
	return 0;
}

const struct gmem_map *gmem_find(struct gmem *g, uint64_t iova)
{
	unsigned at;

	if (g->last < g->count && map_has(&g->maps[g->last], iova))
		return &g->maps[g->last];
	at = map_search(g, iova);
	if (at == g->count || !map_has(&g->maps[at], iova))
		return NULL;
	g->last = at;
	return &g->maps[at];
}

static bool map_allows(const struct gmem_map *m, bool write)
{
	return write ? m->write : m->read;
}

/* Part of [iova, iova+len) that lies in m, from iova on. */
static uint64_t map_part(const struct gmem_map *m, uint64_t iova, uint64_t len)
{
	uint64_t left = m->size - (iova - m->iova);

	return MIN(left, len);
}

/* The part behind the first map; every further one must follow in our address space as it does in the guest's. */
static void *ptr_over_border(struct gmem *g, uint8_t *first, uint64_t iova, uint64_t len, uint64_t done, bool write)
{
	while (done < len) {
		const struct gmem_map *m;

		if (iova + done < iova)
			return NULL;
		m = gmem_find(g, iova + done);
		if (!m || !m->ptr || !map_allows(m, write) || m->ptr != first + done)
			return NULL;
		done += map_part(m, iova + done, len - done);
	}
	return first;
}

void *gmem_ptr(struct gmem *g, uint64_t iova, uint64_t len, bool write)
{
	const struct gmem_map *m = gmem_find(g, iova);
	uint64_t part;

	if (!m || !m->ptr || !map_allows(m, write))
		return NULL;
	part = map_part(m, iova, len);
	if (__builtin_expect(part == len, 1))
		return m->ptr + (iova - m->iova);
	return ptr_over_border(g, m->ptr + (iova - m->iova), iova, len, part, write);
}

bool gmem_covers(struct gmem *g, uint64_t iova, uint64_t len, bool write)
{
	if (len && iova + (len - 1) < iova)
		return false;
	while (len) {
		const struct gmem_map *m = gmem_find(g, iova);
		uint64_t part;

		if (!m || !map_allows(m, write) || (!m->ptr && !g->remote))
			return false;
		part = map_part(m, iova, len);
		iova += part;
		len -= part;
	}
	return true;
}

/* ---- copies ---- */

static void op_done_piece(struct gmem_op *, int rc);

/* What of the operation is left from `at` on: runs direct pieces at once, sends the next by-message piece.
 * 1 all done, 0 a piece is out, -errno. */
static int op_go_on(struct gmem_op *op)
{
	struct gmem *g = op->own.g;

	while (op->own.at < op->own.len) {
		uint64_t iova = op->own.iova + op->own.at;
		const struct gmem_map *m = gmem_find(g, iova);
		uint8_t *buf = op->own.buf + op->own.at;
		uint32_t part;

		if (!m || !map_allows(m, op->write))
			return -EFAULT;
		part = (uint32_t)map_part(m, iova, op->own.len - op->own.at);
		if (!m->ptr) {
			op->iova = iova;
			op->buf = buf;
			op->len = part;
			op->done = op_done_piece;
			return g->remote ? g->remote(g->remote_ctx, op) : -EFAULT;
		}
		if (op->write)
			memcpy(m->ptr + (iova - m->iova), buf, part);
		else
			memcpy(buf, m->ptr + (iova - m->iova), part);
		op->own.at += part;
	}
	return 1;
}

static void op_mark(struct gmem *g, struct gmem_op *op)
{
	uint64_t before = g->touch.queued;

	if (op->ring)
		gmem_mark_ring(g, op->iova, op->len);
	else
		gmem_mark(g, op->iova, op->len);
	op->touch = g->touch.queued != before ? g->touch.queued : 0;
}

/* Gives the caller's operation its own values back. A part may have been written even when it failed, so all of it is
 * marked either way: a page too many is copied again, a page too few is lost. */
static void op_restore(struct gmem_op *op)
{
	op->iova = op->own.iova;
	op->buf = op->own.buf;
	op->len = op->own.len;
	op->done = op->own.done;
	if (op->write)
		op_mark(op->own.g, op);
}

static void op_done_piece(struct gmem_op *op, int rc)
{
	if (rc == 0) {
		op->own.at += op->len;
		rc = op_go_on(op);
		if (rc == 0)
			return;
	}
	op_restore(op);
	op->done(op, rc < 0 ? rc : 0);
}

int gmem_submit(struct gmem *g, struct gmem_op *op)
{
	void *p = gmem_ptr(g, op->iova, op->len, op->write);
	int rc;

	op->touch = 0;
	if (p) {
		if (op->write) {
			memcpy(p, op->buf, op->len);
			op_mark(g, op);
		} else {
			memcpy(op->buf, p, op->len);
		}
		return 1;
	}
	if (!gmem_covers(g, op->iova, op->len, op->write))
		return -EFAULT;
	op->own.g = g;
	op->own.iova = op->iova;
	op->own.buf = op->buf;
	op->own.len = op->len;
	op->own.at = 0;
	op->own.done = op->done;
	rc = op_go_on(op);
	if (rc != 0)
		op_restore(op);
	return rc;
}

/* ---- marks ---- */

void gmem_mark_slow(struct gmem *g, uint64_t iova, uint64_t len, bool ring)
{
	gmem_track_mark(g, iova, len);
	if (g->touch.on)
		gmem_touch_mark(g, iova, len, ring);
}

/* ---- memory tracking: one bit per granule of each range ---- */

static uint64_t range_granules(const struct gmem_track_range *r, unsigned shift)
{
	return ((r->len - 1) >> shift) + 1;
}

static int track_judge(const struct gmem_track_range *ranges, unsigned count, unsigned shift)
{
	uint64_t total = 0;

	if (!count || shift < 12 || shift > 40)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		if (!ranges[i].len || ranges[i].iova + (ranges[i].len - 1) < ranges[i].iova)
			return -EINVAL;
		total += range_granules(&ranges[i], shift);
		if (total > GMEM_GRANULES_MAX)
			return -ENOMEM;
	}
	return 0;
}

int gmem_track_start(struct gmem *g, const struct gmem_track_range *ranges, unsigned count, unsigned shift)
{
	int rc = track_judge(ranges, count, shift);
	struct gmem_track_range *t;

	if (rc)
		return rc;
	if (g->track_count)
		return -EBUSY;
	t = calloc(count, sizeof(*t));
	if (!t)
		return -ENOMEM;
	g->track = t;
	g->track_shift = shift;
	for (unsigned i = 0; i < count; i++) {
		t[i] = ranges[i];
		t[i].bits = calloc((range_granules(&t[i], shift) + 63) / 64, sizeof(uint64_t));
		g->track_count = i + 1;
		if (!t[i].bits) {
			gmem_track_stop(g);
			return -ENOMEM;
		}
	}
	g->watched = true;
	return 0;
}

void gmem_track_stop(struct gmem *g)
{
	for (unsigned i = 0; i < g->track_count; i++)
		free(g->track[i].bits);
	free(g->track);
	g->track = NULL;
	g->track_count = 0;
	g->watched = g->touch.on;
}

static void range_mark(struct gmem_track_range *r, unsigned shift, uint64_t first, uint64_t last)
{
	uint64_t from = (first - r->iova) >> shift, to = (last - r->iova) >> shift;

	for (uint64_t i = from; i <= to; i++)
		r->bits[i / 64] |= 1ull << (i % 64);
}

void gmem_track_mark(struct gmem *g, uint64_t iova, uint64_t len)
{
	if (!len)
		return;
	for (unsigned i = 0; i < g->track_count; i++) {
		struct gmem_track_range *r = &g->track[i];
		uint64_t last = iova + (len - 1), r_last = r->iova + (r->len - 1);

		if (iova <= r_last && last >= r->iova)
			range_mark(r, g->track_shift, MAX(iova, r->iova), MIN(last, r_last));
	}
}

static bool bit_get(const struct gmem_track_range *r, uint64_t i)
{
	return r->bits[i / 64] >> (i % 64) & 1;
}

/* First marked granule in [from, end), or end. */
static uint64_t range_first(const struct gmem_track_range *r, uint64_t from, uint64_t end)
{
	while (from < end) {
		uint64_t w = r->bits[from / 64] >> (from % 64);

		if (w)
			return MIN(from + (unsigned)__builtin_ctzll(w), end);
		from = (from / 64 + 1) * 64;
	}
	return end;
}

/* Looks in range number `at` from granule `from` on. */
static bool range_take(struct gmem *g, struct gmem_cursor *cur, unsigned at, uint64_t from, uint64_t max, bool take,
		       uint64_t *iova, uint64_t *granules)
{
	struct gmem_track_range *r = &g->track[at];
	uint64_t end = range_granules(r, g->track_shift), first = range_first(r, from, end), n = 0;

	if (first == end)
		return false;
	while (first + n < end && n < max && bit_get(r, first + n)) {
		if (take)
			r->bits[(first + n) / 64] &= ~(1ull << ((first + n) % 64));
		n++;
	}
	*iova = r->iova + (first << g->track_shift);
	*granules = n;
	if (take)
		*cur = (struct gmem_cursor){ .range = at, .granule = first + n };
	return true;
}

int gmem_track_next(struct gmem *g, struct gmem_cursor *cur, uint64_t max, bool take, uint64_t *iova, uint64_t *granules)
{
	unsigned start = cur->range < g->track_count ? cur->range : 0;
	uint64_t from = cur->range < g->track_count ? cur->granule : 0;

	if (!max)
		return -ENOENT;
	/* once around: the last step looks again at the starting range, now from its beginning */
	for (unsigned i = 0; g->track_count && i <= g->track_count; i++) {
		if (range_take(g, cur, (start + i) % g->track_count, i ? 0 : from, max, take, iova, granules))
			return 0;
	}
	return -ENOENT;
}
