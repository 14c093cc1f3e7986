/* Guest memory: DMA_MAP and DMA_UNMAP fill and empty the device's table; memory that came without a descriptor is reached by
 * DMA_READ and DMA_WRITE requests of ours, many in flight at once, answered in any order.
 *
 * Unmapping waits until the device has let go: the command is handled again at each poll until gmem_del succeeds, and the
 * client's later commands wait behind it.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/guard.h"
#include "transport/vuser_priv.h"

enum { PAGE = 4096, MAPS_MAX = 65535, UNMAP_AT_ONCE = 1024 };
#define BYTES_MAX (1ull << 44)			/* of our address space, for one client */
#define HUGETLBFS 0x958458f6ll

/* ---- the table of maps --------------------------------------------------------------------------------------- */

static unsigned map_place(const struct vuser_server *s, uint64_t iova) /* of the first map at or above iova */
{
	unsigned lo = 0, hi = s->map_count;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (s->map[mid].iova < iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool map_room(struct vuser_server *s)
{
	unsigned cap = s->map_cap ? s->map_cap * 2 : 64;
	struct vuser_map *p;

	if (s->map_count < s->map_cap)
		return true;
	p = realloc(s->map, cap * sizeof(*p));
	if (!p)
		return false;
	s->map = p;
	s->map_cap = cap;
	return true;
}

static void map_insert(struct vuser_server *s, const struct vuser_map *m)
{
	unsigned at = map_place(s, m->iova);

	memmove(s->map + at + 1, s->map + at, (s->map_count - at) * sizeof(*m));
	s->map[at] = *m;
	s->map_count++;
	s->map_bytes += m->ptr ? m->size : 0;
}

static void map_release(const struct vuser_map *m)
{
	if (!m->ptr)
		return;
	guard_del_slot(m->guard);
	munmap(m->ptr, m->size);
}

static void map_remove(struct vuser_server *s, unsigned at)
{
	struct vuser_map m = s->map[at];

	s->map_bytes -= m.ptr ? m.size : 0;
	s->map_count--;
	memmove(s->map + at, s->map + at + 1, (s->map_count - at) * sizeof(m));
	map_release(&m);
}

/* 0 nothing there; 1 exactly this map is there already; -EEXIST something else is. */
static int map_compare(const struct vuser_server *s, const struct vuser_map *m)
{
	unsigned at = map_place(s, m->iova);
	const struct vuser_map *o = at < s->map_count ? &s->map[at] : NULL;

	if (o && o->iova == m->iova && o->size == m->size && o->offset == m->offset && o->flags == m->flags &&
	    o->by_fd == m->by_fd && o->dev == m->dev && o->ino == m->ino)
		return 1;
	if (o && o->iova - m->iova < m->size)
		return -EEXIST;
	if (at && m->iova - s->map[at - 1].iova < s->map[at - 1].size)
		return -EEXIST;
	return 0;
}

/* ---- DMA_MAP ------------------------------------------------------------------------------------------------- */

static int judge_map(const struct vuser_map *m)
{
	uint32_t known = VUSER_MAP_READ | VUSER_MAP_WRITE | VUSER_MAP_MMAP | VUSER_MAP_FILE_IO;

	if (m->flags & ~known || (!m->by_fd && m->flags & (VUSER_MAP_MMAP | VUSER_MAP_FILE_IO)))
		return -EINVAL;
	if (!m->size || (m->iova | m->size | m->offset) % PAGE || m->iova + m->size - 1 < m->iova)
		return -EINVAL;
	return m->offset + m->size < m->offset || m->offset + m->size > INT64_MAX ? -EINVAL : 0;
}

/* The file must be there in full now; that it stays so is what the guard is for. */
static int judge_file(struct vuser_map *m, int fd, size_t *page)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) || fstatfs(fd, &fs))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < 0 || m->offset + m->size > (uint64_t)st.st_size)
		return -EINVAL;
	*page = (long long)fs.f_type == HUGETLBFS ? (size_t)fs.f_bsize : PAGE;
	if (!is_pow2(*page) || (m->offset | m->size) % *page)
		return -EINVAL;
	m->dev = st.st_dev;
	m->ino = st.st_ino;
	return 0;
}

static int open_map(struct vuser_server *s, struct vuser_map *m, int fd, size_t page)
{
	int prot = (m->flags & VUSER_MAP_READ ? PROT_READ : 0) | (m->flags & VUSER_MAP_WRITE ? PROT_WRITE : 0), rc;
	void *p;

	if (m->size > BYTES_MAX - s->map_bytes)
		return -ENOMEM;
	p = mmap(NULL, m->size, prot, MAP_SHARED, fd, (off_t)m->offset);
	if (p == MAP_FAILED)
		return -errno;
	rc = guard_add_slot(p, m->size, page, prot, &s->dev->gmem.lost, &m->guard);
	if (rc)
		munmap(p, m->size);
	else
		m->ptr = p;
	return rc;
}

/* The same bytes of the same file, wherever they are mapped. */
static uint64_t home(const struct vuser_map *m)
{
	uint64_t file = (m->dev * 0x9e3779b97f4a7c15ull ^ m->ino) * 0xd6e8feb86659fd93ull;

	return round_down(file, PAGE) + m->offset;
}

static int add_map(struct vuser_server *s, struct vuser_map *m, int fd)
{
	size_t page = PAGE;
	int rc = fd >= 0 ? judge_file(m, fd, &page) : 0;

	rc = rc ? rc : map_compare(s, m);
	if (rc)
		return rc > 0 ? 0 : rc; /* the same map again changes nothing */
	if (s->map_count >= MAPS_MAX)
		return -ENOSPC;
	if (!map_room(s))
		return -ENOMEM;
	rc = fd >= 0 ? open_map(s, m, fd, page) : 0;
	if (rc)
		return rc;
	rc = gmem_add_home(&s->dev->gmem, m->iova, m->size, m->ptr, m->flags & VUSER_MAP_READ, m->flags & VUSER_MAP_WRITE, home(m));
	if (rc)
		map_release(m);
	else
		map_insert(s, m);
	return rc;
}

int vuser_cmd_dma_map(struct vuser_server *s, struct vuser_request *r)
{
	struct vuser_dma_map d;
	struct vuser_map m;
	int rc;

	memcpy(&d, r->m.payload, sizeof(d));
	m = (struct vuser_map){ .iova = le64_get(d.addr), .size = le64_get(d.size), .offset = le64_get(d.offset),
				.flags = le32_get(d.flags), .by_fd = r->nfds == 1 };
	if (le32_get(d.argsz) < sizeof(d) || r->nfds > 1 || judge_map(&m))
		return -EINVAL;
	rc = add_map(s, &m, m.by_fd ? r->fds[0] : -1);
	if (rc)
		return rc;
	return vuser_reply(s, r, 0) ? 0 : -ENOMEM;
}

/* ---- DMA_UNMAP ----------------------------------------------------------------------------------------------- */

static bool op_touches(const struct gmem_op *op, const struct vuser_map *m)
{
	return ranges_overlap(op->iova, op->len, m->iova, m->size);
}

/* Requests of ours on their way into the map: the client may reuse the memory as soon as it has our reply. */
static bool in_flight(struct vuser_server *s, const struct vuser_map *m)
{
	for (unsigned i = 0; i < VUSER_DMA_SLOTS; i++)
		if (s->slot[i].op && op_touches(s->slot[i].op, m))
			return true;
	LIST_EACH(&s->dma_wait, l)
		if (op_touches(LIST_ENTRY(l, struct gmem_op, link), m))
			return true;
	return false;
}

static int unmap_at(struct vuser_server *s, unsigned at)
{
	int rc;

	if (in_flight(s, &s->map[at])) {
		s->dev->gmem.draining = true;
		return -EAGAIN;
	}
	rc = gmem_del(&s->dev->gmem, s->map[at].iova, s->map[at].size, NULL);

	if (rc == -EAGAIN)
		return rc;
	map_remove(s, at);
	return 0;
}

/* A portion of them, so that a client with very many keeps nobody waiting. */
int vuser_dma_unmap_all(struct vuser_server *s)
{
	int rc = 0;

	for (unsigned i = 0; i < UNMAP_AT_ONCE && s->map_count && !rc; i++)
		rc = unmap_at(s, s->map_count - 1);
	return rc ? rc : s->map_count ? -EAGAIN : 0;
}

void vuser_dma_leave(struct vuser_server *s)
{
	if (s->map_count)
		log_warn("vfio-user %s: closed while the device still holds guest memory; %u maps stay", s->path, s->map_count);
	for (unsigned i = 0; i < s->map_count; i++)
		if (s->map[i].ptr)
			guard_del_slot(s->map[i].guard);
	free(s->map);
	s->map = NULL;
	s->map_count = s->map_cap = 0;
}

static int unmap_one(struct vuser_server *s, uint64_t iova, uint64_t size)
{
	unsigned at = map_place(s, iova);

	if (at == s->map_count || s->map[at].iova != iova || s->map[at].size != size)
		return -ENOENT;
	return unmap_at(s, at);
}

/* SPDK's client sends a descriptor along; the dispatcher closes it. */
int vuser_cmd_dma_unmap(struct vuser_server *s, struct vuser_request *r)
{
	struct vuser_dma_unmap u;
	uint64_t iova, size;
	uint8_t *out;
	int rc;

	memcpy(&u, r->m.payload, sizeof(u));
	iova = le64_get(u.addr);
	size = le64_get(u.size);
	if (le32_get(u.argsz) < sizeof(u))
		return -EINVAL;
	if (le32_get(u.flags) == VUSER_UNMAP_ALL)
		rc = iova || size ? -EINVAL : vuser_dma_unmap_all(s);
	else
		rc = le32_get(u.flags) ? -EINVAL : unmap_one(s, iova, size);
	if (rc)
		return rc;
	out = vuser_reply(s, r, sizeof(u));
	if (!out)
		return -ENOMEM;
	memcpy(out, &u, sizeof(u));
	return 0;
}

/* ---- memory by message --------------------------------------------------------------------------------------- */

/* QEMU (11.1.3) loses the rest of an answer that its socket does not take at once, and then nothing it says can be understood. So we ask for
 * no more, in one piece and in all, than fits into a socket that nobody reads at the moment (212992 bytes, with what the kernel adds). */
enum { SLOT_BITS = 6, QUEUE_SOFT_BYTES = 262144, READ_PART_BYTES = 32768, READS_OUT_BYTES = 65536 };
_Static_assert(VUSER_DMA_SLOTS == 1 << SLOT_BITS, "the slot number is part of the message id");

/* The next part of an op: one request moves at most what the client said it can take. */
static void send_part(struct vuser_server *s, struct vuser_slot *t)
{
	struct gmem_op *op = t->op;
	struct vuser_dma_access a;
	uint8_t *out;

	t->len = (uint32_t)MIN((uint64_t)op->len - t->off, MIN(s->peer.max_data_xfer, (uint64_t)s->cfg.max_data_xfer));
	t->len = op->write ? t->len : MIN(t->len, (uint32_t)READ_PART_BYTES);
	t->id = (uint16_t)((s->dma_seq++ << SLOT_BITS & (VUSER_TOUCH_ID - 1)) | (t - s->slot));
	t->deadline_ns = vuser_now_ns() + s->cfg.dma_timeout_ms * 1000000ull;
	a = (struct vuser_dma_access){ le64_of(op->iova + t->off), le64_of(t->len) };
	out = vuser_sock_put(&s->sock, t->id, op->write ? VUSER_DMA_WRITE : VUSER_DMA_READ, VUSER_TYPE_COMMAND, 0,
			     sizeof(a) + (op->write ? t->len : 0));
	if (!out)
		return; /* the send queue remembers that it failed; the client goes, and the op with it */
	memcpy(out, &a, sizeof(a));
	if (op->write)
		memcpy(out + sizeof(a), op->buf + t->off, t->len);
	s->n.dma_writes += op->write;
	s->n.dma_reads += !op->write;
}

static bool reads_fit(const struct vuser_server *s, const struct gmem_op *op)
{
	uint32_t out = 0;

	for (unsigned i = 0; !op->write && i < VUSER_DMA_SLOTS; i++)
		if (s->slot[i].op && !s->slot[i].op->write)
			out += s->slot[i].len;
	return !out || out + MIN(op->len, (uint32_t)READ_PART_BYTES) <= READS_OUT_BYTES;
}

void vuser_dma_pump(struct vuser_server *s)
{
	for (unsigned i = 0; i < VUSER_DMA_SLOTS && s->dma_out < VUSER_DMA_SLOTS && !list_empty(&s->dma_wait); i++) {
		if (s->slot[i].op)
			continue;
		if (vuser_sock_waiting(&s->sock) > QUEUE_SOFT_BYTES || !reads_fit(s, LIST_ENTRY(s->dma_wait.next, struct gmem_op, link)))
			return;
		s->slot[i] = (struct vuser_slot){ .op = LIST_ENTRY(list_pop(&s->dma_wait), struct gmem_op, link) };
		s->dma_out++;
		send_part(s, &s->slot[i]);
	}
}

static void finish(struct vuser_server *s, struct vuser_slot *t, int rc)
{
	struct gmem_op *op = t->op;

	t->op = NULL;
	s->dma_out--;
	op->done(op, rc);
}

int vuser_dma_remote(void *ctx, struct gmem_op *op)
{
	struct vuser_server *s = ctx;

	if (s->state != VUSER_ATTACHED || s->drop[0])
		return -ENODEV;
	list_push(&s->dma_wait, &op->link);
	if (!s->handling)
		vuser_flush(s);
	return 0;
}

/* A reply that does not fit the request fails the op: the client's memory is the client's, but a short answer is no data. */
static int take_part(struct vuser_slot *t, const struct vuser_msg *m)
{
	struct vuser_dma_access a;
	uint32_t len = vuser_payload_bytes(m);

	if (m->flags & VUSER_ERROR)
		return vuser_error_of(m);
	if (!len && t->op->write)
		return 0; /* QEMU's answer is a bare header */
	if (len < sizeof(a))
		return -EIO;
	memcpy(&a, m->payload, sizeof(a));
	if (le64_get(a.addr) != t->op->iova + t->off || le64_get(a.count) != t->len)
		return -EIO;
	if (t->op->write)
		return 0;
	if (len - sizeof(a) != t->len)
		return -EIO;
	memcpy(t->op->buf + t->off, m->payload + sizeof(a), t->len);
	return 0;
}

void vuser_dma_reply(struct vuser_server *s, const struct vuser_msg *m)
{
	struct vuser_slot *t = &s->slot[m->id & (VUSER_DMA_SLOTS - 1)];
	int rc;

	if (m->id & VUSER_TOUCH_ID) {
		vuser_touch_reply(s, m);
		return;
	}
	/* Nobody's: late, after we gave up on it, or made up. */
	if (!t->op || t->id != m->id || m->cmd != (t->op->write ? VUSER_DMA_WRITE : VUSER_DMA_READ))
		return;
	rc = take_part(t, m);
	t->off += t->len;
	if (!rc && t->off < t->op->len)
		send_part(s, t);
	else
		finish(s, t, rc);
}

void vuser_dma_expire(struct vuser_server *s, uint64_t now_ns)
{
	for (unsigned i = 0; s->dma_out && i < VUSER_DMA_SLOTS; i++)
		if (s->slot[i].op && now_ns >= s->slot[i].deadline_ns) {
			log_warn("vfio-user %s: %s of %u bytes at %#llx was not answered in %u ms; the command fails", s->path,
				 s->slot[i].op->write ? "DMA_WRITE" : "DMA_READ", s->slot[i].len,
				 (unsigned long long)(s->slot[i].op->iova + s->slot[i].off), s->cfg.dma_timeout_ms);
			finish(s, &s->slot[i], -ETIMEDOUT);
		}
}

uint64_t vuser_dma_deadline(const struct vuser_server *s)
{
	uint64_t d = UINT64_MAX;

	for (unsigned i = 0; s->dma_out && i < VUSER_DMA_SLOTS; i++)
		if (s->slot[i].op)
			d = MIN(d, s->slot[i].deadline_ns);
	return d;
}

void vuser_dma_cancel_all(struct vuser_server *s, int rc)
{
	struct list *l;

	for (unsigned i = 0; i < VUSER_DMA_SLOTS; i++)
		if (s->slot[i].op)
			finish(s, &s->slot[i], rc);
	while ((l = list_pop(&s->dma_wait)))
		LIST_ENTRY(l, struct gmem_op, link)->done(LIST_ENTRY(l, struct gmem_op, link), rc);
}
