/* Guest memory as DMA_MAP shows it to us: mapped read-only where a descriptor came along. Called by the monitor's files.
 *
 * The owner may shrink the file under us: transport/guard.h turns that into zero pages, and `lost` is all we know of it.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "transport/guard.h"
#include "verify/monitor_in.h"

enum { MAPS_MAX = 65535 };

static void unmap(struct mon_map *p)
{
	if (!p->ptr)
		return;
	guard_del(p->ptr);
	munmap(p->ptr, p->size);
}

void mem_fini(struct mon_mem *m)
{
	for (unsigned i = 0; i < m->count; i++)
		unmap(&m->map[i]);
	free(m->map);
	*m = (struct mon_mem){ .gone = m->gone + 1 };
}

/* Index of the map that holds iova, or of the first one behind it. */
static unsigned place(const struct mon_mem *m, uint64_t iova)
{
	unsigned lo = 0, hi = m->count;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (m->map[mid].iova <= iova && iova - m->map[mid].iova >= m->map[mid].size)
			lo = mid + 1;
		else if (m->map[mid].iova > iova)
			hi = mid;
		else
			return mid;
	}
	return lo;
}

static const struct mon_map *find(const struct mon_mem *m, uint64_t iova)
{
	unsigned at = place(m, iova);

	return at < m->count && iova - m->map[at].iova < m->map[at].size ? &m->map[at] : NULL;
}

static uint8_t *map_fd(struct mon_mem *m, uint64_t size, uint64_t off, int fd)
{
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) || size != (size_t)size || off % (uint64_t)sysconf(_SC_PAGESIZE))
		return NULL;
	p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)off);
	if (p == MAP_FAILED)
		return NULL;
	if (!guard_add(p, size, st.st_blksize > 4096 && is_pow2((uint64_t)st.st_blksize) && S_ISREG(st.st_mode) ? (size_t)st.st_blksize : 4096,
		       PROT_READ, &m->lost))
		return p;
	munmap(p, size);
	return NULL;
}

bool mem_add(struct mon_mem *m, uint64_t iova, uint64_t size, uint64_t off, bool read, bool write, int fd)
{
	unsigned at = place(m, iova);

	if (!size || iova + size - 1 < iova || (at < m->count && m->map[at].iova - iova < size) || find(m, iova) || m->count >= MAPS_MAX)
		return false; /* the server will refuse it, or it is the same again */
	if (m->count == m->cap) {
		unsigned cap = m->cap ? m->cap * 2 : 16;
		struct mon_map *p = realloc(m->map, cap * sizeof(*p));

		if (!p)
			return false;
		m->map = p;
		m->cap = cap;
	}
	memmove(m->map + at + 1, m->map + at, (m->count - at) * sizeof(*m->map));
	m->map[at] = (struct mon_map){ iova, size, map_fd(m, size, off, fd), read, write };
	m->count++;
	return true;
}

void mem_del(struct mon_mem *m, uint64_t iova, uint64_t size)
{
	unsigned at = place(m, iova);

	if (at == m->count || m->map[at].iova != iova || m->map[at].size != size)
		return;
	unmap(&m->map[at]);
	m->gone++;
	m->count--;
	memmove(m->map + at, m->map + at + 1, (m->count - at) * sizeof(*m->map));
}

bool mem_covers(const struct mon_mem *m, uint64_t iova, uint64_t len, bool write)
{
	while (len) {
		const struct mon_map *p = find(m, iova);
		uint64_t part;

		if (!p || !(write ? p->write : p->read))
			return false;
		part = MIN(len, p->size - (iova - p->iova));
		iova += part;
		len -= part;
	}
	return true;
}

bool mem_read(const struct mon_mem *m, uint64_t iova, void *to, uint64_t len)
{
	while (len) {
		const struct mon_map *p = find(m, iova);
		uint64_t part;

		if (!p || !p->ptr)
			return false;
		part = MIN(len, p->size - (iova - p->iova));
		memcpy(to, p->ptr + (iova - p->iova), part);
		to = (uint8_t *)to + part;
		iova += part;
		len -= part;
	}
	return true;
}

bool mem_hash(const struct mon_mem *m, const struct span *v, unsigned n, uint64_t *hash)
{
	XXH3_state_t st;

	XXH3_INITSTATE(&st);
	XXH3_64bits_reset(&st);
	for (unsigned i = 0; i < n; i++)
		for (uint64_t at = v[i].at, len = v[i].len; len;) {
			const struct mon_map *p = find(m, at);
			uint64_t part;

			if (!p || !p->ptr)
				return false;
			part = MIN(len, p->size - (at - p->iova));
			XXH3_64bits_update(&st, p->ptr + (at - p->iova), part);
			at += part;
			len -= part;
		}
	*hash = XXH3_64bits_digest(&st);
	return true;
}

const uint8_t *mem_at(const struct mon_mem *m, uint64_t iova, uint64_t len)
{
	const struct mon_map *p = find(m, iova);

	return p && p->ptr && len <= p->size - (iova - p->iova) ? p->ptr + (iova - p->iova) : NULL;
}
