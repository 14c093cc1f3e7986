/* Life of a vfio-user server: listening, one client at a time, its messages in order, its leaving. */
#include "transport/vuser_server.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "env/linux/loop.h"
#include "transport/vuser_priv.h"

enum {
	POLL_READS = 4, POLL_MESSAGES = 1024,	/* bounds of one poll, so that no client starves its neighbours */
	MAPS_PER_MESSAGE = 256,			/* maps that a DMA_MAP or DMA_UNMAP moves about take as long as one more message */
	FLUSH_BYTES = 262144,			/* replies pile up so far before they are sent within a poll */
	PARKED_BYTES = 1048576,			/* most that may wait behind a command that waits for the device */
};

uint64_t vuser_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void vuser_drop(struct vuser_server *s, const char *fmt, ...)
{
	va_list ap;

	if (s->drop[0])
		return; /* the first reason is the true one */
	va_start(ap, fmt);
	vsnprintf(s->drop, sizeof(s->drop), fmt, ap);
	va_end(ap);
}

/* ---- sending ------------------------------------------------------------------------------------------------- */

uint8_t *vuser_reply(struct vuser_server *s, struct vuser_request *r, size_t payload)
{
	return vuser_sock_put(&s->sock, r->m.id, r->m.cmd, VUSER_TYPE_REPLY, 0, payload);
}

void vuser_flush(struct vuser_server *s)
{
	bool want_out;
	size_t before;
	int rc;

	vuser_dma_pump(s);
	if (s->versioned)
		vuser_touch_pump(s);
	before = vuser_sock_waiting(&s->sock);
	rc = vuser_sock_flush(&s->sock);
	if (rc && rc != -EAGAIN && !s->eof)
		vuser_drop(s, "sending to it failed: %s", strerror(-rc));
	want_out = vuser_sock_waiting(&s->sock);
	if (!want_out || vuser_sock_waiting(&s->sock) < before || !s->want_out)
		s->out_moved_ns = want_out ? vuser_now_ns() : 0;
	if (vuser_sock_waiting(&s->sock) > s->cfg.max_send_queue)
		vuser_drop(s, "it lets %zu bytes of answers pile up unread", vuser_sock_waiting(&s->sock));
	if (want_out != s->want_out && s->loop && s->sock.fd >= 0)
		loop_watch(s->loop, s->sock.fd, want_out);
	s->want_out = want_out;
}

/* ---- commands ------------------------------------------------------------------------------------------------ */

static int cmd_version(struct vuser_server *s, struct vuser_request *r)
{
	struct vuser_caps ours;
	uint8_t text[256], *out;
	struct err err;
	size_t len;
	int rc;

	if (s->versioned)
		return -EINVAL;
	rc = vuser_version_parse(r->m.payload, vuser_payload_bytes(&r->m), &s->peer, &err);
	if (rc) {
		vuser_drop(s, "%s", err.text);
		return rc;
	}
	ours = (struct vuser_caps){ .max_msg_fds = s->cfg.max_msg_fds,
				    .max_data_xfer = MIN(s->peer.max_data_xfer, (uint64_t)s->cfg.max_data_xfer),
				    .write_multiple = s->cfg.write_multiple && s->peer.write_multiple };
	len = vuser_version_emit(text, sizeof(text), &ours);
	out = vuser_reply(s, r, len);
	if (!out)
		return -ENOMEM;
	memcpy(out, text, len);
	s->versioned = true;
	s->n.clients++;
	s->dev->gmem.remote = vuser_dma_remote;
	s->dev->gmem.remote_ctx = s;
	gmem_touch_teller(&s->dev->gmem, true);
	return 0;
}

/* The state machine of VFIO migration will answer here (DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE). */
static int cmd_migration(struct vuser_server *s, struct vuser_request *r)
{
	(void)s;
	(void)r;
	return -ENOTSUP;
}

enum { FDS_NONE, FDS_ANY /* the handler judges, or they are a known client's quirk */ };

static const struct command {
	int (*run)(struct vuser_server *, struct vuser_request *);
	uint32_t least;		/* bytes of payload; more is harmless where the handler does not say otherwise */
	int fds;
} commands[VUSER_COMMAND_COUNT] = {
	[VUSER_VERSION] = { cmd_version, 0, FDS_NONE },
	[VUSER_DMA_MAP] = { vuser_cmd_dma_map, sizeof(struct vuser_dma_map), FDS_ANY },
	[VUSER_DMA_UNMAP] = { vuser_cmd_dma_unmap, sizeof(struct vuser_dma_unmap), FDS_ANY },
	[VUSER_DEVICE_GET_INFO] = { vuser_cmd_device_info, sizeof(struct vuser_device_info), FDS_NONE },
	[VUSER_DEVICE_GET_REGION_INFO] = { vuser_cmd_region_info, sizeof(struct vuser_region_info), FDS_NONE },
	[VUSER_DEVICE_GET_REGION_IO_FDS] = { vuser_cmd_region_io_fds, sizeof(struct vuser_region_io_fds), FDS_NONE },
	[VUSER_DEVICE_GET_IRQ_INFO] = { vuser_cmd_irq_info, sizeof(struct vuser_irq_info), FDS_NONE },
	[VUSER_DEVICE_SET_IRQS] = { vuser_cmd_set_irqs, sizeof(struct vuser_irq_set), FDS_ANY },
	[VUSER_REGION_READ] = { vuser_cmd_region_read, sizeof(struct vuser_region_access), FDS_NONE },
	[VUSER_REGION_WRITE] = { vuser_cmd_region_write, sizeof(struct vuser_region_access), FDS_NONE },
	[VUSER_DEVICE_RESET] = { vuser_cmd_reset, 0, FDS_NONE },
	[VUSER_REGION_WRITE_MULTI] = { vuser_cmd_write_multi, sizeof(struct vuser_write_multi), FDS_NONE },
	[VUSER_DEVICE_FEATURE] = { cmd_migration, sizeof(struct vuser_feature), FDS_NONE },
	[VUSER_MIG_DATA_READ] = { cmd_migration, sizeof(struct vuser_mig_data), FDS_NONE },
	[VUSER_MIG_DATA_WRITE] = { cmd_migration, sizeof(struct vuser_mig_data), FDS_NONE },
};

static int run_command(struct vuser_server *s, struct vuser_request *r, bool too_many_fds)
{
	const struct command *c = r->m.cmd < VUSER_COMMAND_COUNT ? &commands[r->m.cmd] : NULL;

	if (!s->versioned && r->m.cmd != VUSER_VERSION) {
		vuser_drop(s, "its first message is %s, not VERSION", vuser_command_name(r->m.cmd));
		return -EINVAL;
	}
	if (!c || !c->run)
		return -ENOTSUP;
	if (r->m.flags & VUSER_ERROR || vuser_payload_bytes(&r->m) < c->least || too_many_fds || (r->nfds && c->fds == FDS_NONE))
		return -EINVAL;
	return c->run(s, r);
}

static void close_left(struct vuser_request *r)
{
	for (unsigned i = 0; i < r->nfds; i++)
		if (r->fds[i] >= 0)
			close(r->fds[i]);
}

/* A command at input offset `at`. Returns -EAGAIN when it must wait (no command that waits keeps descriptors). */
static int handle(struct vuser_server *s, size_t at, const struct vuser_msg *m)
{
	struct vuser_request r = { .m = *m };
	size_t mark = s->sock.out.len;
	unsigned n = s->sock.in_fds ? vuser_sock_take_fds(&s->sock, at, m->size, r.fds, s->cfg.max_msg_fds) : 0;
	int rc;

	r.nfds = MIN(n, s->cfg.max_msg_fds);
	s->handling = true;
	rc = run_command(s, &r, n > r.nfds);
	s->handling = false;
	close_left(&r);
	if (rc || m->flags & VUSER_NO_REPLY)
		s->sock.out.len = mark; /* a failed or unwanted answer was never there */
	if (rc == -EAGAIN)
		return rc;
	s->n.commands++;
	s->n.posted += !!(m->flags & VUSER_NO_REPLY);
	s->n.errors += rc != 0;
	if (rc && log_upto() >= LOG_DEBUG)
		log_line(LOG_DEBUG, "vfio-user %s: %s answered %s", s->path, vuser_command_name(m->cmd), strerror(-rc));
	if (rc && !(m->flags & VUSER_NO_REPLY))
		vuser_sock_put(&s->sock, m->id, m->cmd, VUSER_TYPE_REPLY | VUSER_ERROR, (uint32_t)-rc, 0);
	return 0;
}

/* ---- the stream ---------------------------------------------------------------------------------------------- */

static bool is_reply(const struct vuser_msg *m) { return (m->flags & VUSER_TYPE_MASK) == VUSER_TYPE_REPLY; }

static void take_reply(struct vuser_server *s, size_t at, const struct vuser_msg *m)
{
	int none;

	if (s->sock.in_fds)
		vuser_sock_take_fds(&s->sock, at, m->size, &none, 0);
	vuser_dma_reply(s, m);
}

/* Behind a command that waits: replies to our own requests are taken now, commands stay. What is already looked at is
 * remembered, so each message is seen once here; replies are then passed over when their turn comes. */
static bool take_replies_behind(struct vuser_server *s, size_t parked_end)
{
	struct vuser_msg m;
	bool any = false;
	int rc;

	s->scanned = MAX(s->scanned, parked_end);
	while (!s->drop[0] && (rc = vuser_sock_peek(&s->sock, s->scanned, &m)) != 0) {
		if (rc < 0) {
			vuser_drop(s, "it sent a message header that makes no sense");
			return any;
		}
		if (is_reply(&m)) {
			take_reply(s, s->scanned, &m);
			any = true;
		}
		s->scanned += m.size;
	}
	return any;
}

static unsigned cost(const struct vuser_server *s, const struct vuser_msg *m)
{
	return m->cmd == VUSER_DMA_MAP || m->cmd == VUSER_DMA_UNMAP ? 1 + s->map_count / MAPS_PER_MESSAGE : 1;
}

/* Handles whole messages, in order. True if anything was done. */
static bool process(struct vuser_server *s)
{
	struct vuser_msg m;
	bool any = false;
	int rc = 0;

	s->parked = false;
	for (unsigned i = 0; i < POLL_MESSAGES && !s->drop[0]; i += cost(s, &m)) {
		size_t at = s->sock.done;

		rc = vuser_sock_peek(&s->sock, at, &m);
		if (rc <= 0)
			break;
		if (!is_reply(&m) && handle(s, at, &m) == -EAGAIN) {
			s->parked = true;
			return take_replies_behind(s, at + m.size) || any;
		}
		if (is_reply(&m) && at >= s->scanned)
			take_reply(s, at, &m);
		vuser_sock_consume(&s->sock, at + m.size);
		any = true;
		if (vuser_sock_waiting(&s->sock) > FLUSH_BYTES)
			vuser_flush(s);
	}
	if (rc < 0)
		vuser_drop(s, "it sent a message header that makes no sense");
	return any;
}

/* One read. False when there is nothing to read. */
static bool fill(struct vuser_server *s)
{
	size_t shift = s->sock.done;
	ssize_t n;

	if (s->eof)
		return false;
	if (s->parked && s->sock.len - s->sock.done > PARKED_BYTES + s->sock.max_msg) {
		if (s->dma_out)
			vuser_drop(s, "it sent %zu bytes behind a DMA_UNMAP that waits for its answers", s->sock.len - s->sock.done);
		return false;
	}
	n = vuser_sock_fill(&s->sock);
	/* filling may have moved unread bytes to the front */
	shift -= s->sock.done;
	s->scanned = s->scanned > shift ? s->scanned - shift : 0;
	if (n == 0 || n == -ECONNRESET || n == -EPIPE)
		s->eof = true;
	else if (n == -E2BIG)
		vuser_drop(s, "it sent more than %d descriptors ahead of their use", VUSER_SOCK_FDS);
	else if (n == -ENOBUFS)
		vuser_drop(s, "it sent more than fits behind a command that waits");
	else if (n < 0 && n != -EAGAIN)
		vuser_drop(s, "reading from it failed: %s", strerror((int)-n));
	return n > 0;
}

/* ---- coming and going ---------------------------------------------------------------------------------------- */

static uint32_t max_msg(const struct vuser_server *s)
{
	return MAX(s->cfg.max_data_xfer, (uint32_t)VUSER_VERSION_MAX_BYTES) + (uint32_t)sizeof(struct vuser_hdr) +
	       (uint32_t)sizeof(struct vuser_region_access);
}

static int attach(struct vuser_server *s, int fd)
{
	int rc = vuser_sock_init(&s->sock, fd, max_msg(s));

	if (rc)
		return rc;
	rc = vuser_share_all(s);
	if (rc) {
		vuser_sock_fini(&s->sock);
		return rc;
	}
	vuser_irq_attach(s);
	s->state = VUSER_ATTACHED;
	s->versioned = s->eof = s->parked = s->want_out = false;
	s->drop[0] = 0;
	s->scanned = 0;
	s->out_moved_ns = 0;
	s->peer = vuser_caps_default();
	vuser_listen_watch(s, false);
	if (s->loop)
		loop_watch(s->loop, fd, false);
	return 0;
}

int vuser_server_adopt(struct vuser_server *s, int fd)
{
	if (s->state == VUSER_IDLE)
		return attach(s, fd);
	close(fd);
	return -EBUSY;
}

static bool accept_one(struct vuser_server *s)
{
	int fd = s->listen_fd < 0 ? -1 : accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), rc;

	if (fd < 0)
		return false;
	rc = attach(s, fd);
	if (rc)
		log_error("vfio-user %s: cannot take a client: %s", s->path, strerror(-rc));
	return !rc;
}

/* The connection ends at once; the maps go when the device has let go of them. */
static void detach(struct vuser_server *s)
{
	if (s->drop[0]) {
		log_warn("vfio-user %s: the client is dropped: %s", s->path, s->drop);
		s->n.dropped++;
	}
	s->state = VUSER_DETACHING;
	s->dev->gmem.remote = NULL;
	s->dev->gmem.remote_ctx = NULL;
	if (s->loop)
		loop_unwatch(s->loop, s->sock.fd);
	vuser_sock_flush(&s->sock); /* an error reply may say why */
	vuser_sock_fini(&s->sock);
	vuser_irq_unbind_all(s);
	vuser_unshare_all(s);
	vuser_dma_cancel_all(s, -ENODEV);
	vuser_touch_leave(s);
	s->versioned = false;
}

static bool detach_rest(struct vuser_server *s)
{
	if (vuser_dma_unmap_all(s))
		return false;
	s->state = VUSER_IDLE;
	vuser_listen_watch(s, true);
	s->dev->ops->detached(s->dev);
	return true;
}

static void watch_time(struct vuser_server *s)
{
	uint64_t now;

	if (!s->dma_out && !s->touch_out && !s->out_moved_ns)
		return;
	now = vuser_now_ns();
	vuser_dma_expire(s, now);
	vuser_touch_expire(s, now);
	if (s->out_moved_ns && now - s->out_moved_ns > s->cfg.dma_timeout_ms * NS_PER_MS)
		vuser_drop(s, "it has read nothing for %u ms", s->cfg.dma_timeout_ms);
}

static bool serve(struct vuser_server *s)
{
	bool any = process(s), more = true; /* what an earlier poll left; a parked command gets its next try */

	for (unsigned i = 0; i < POLL_READS && more && !s->drop[0]; i++) {
		more = fill(s);
		if (more)
			any |= process(s);
	}
	watch_time(s);
	vuser_flush(s);
	if (s->drop[0] || (s->eof && (s->parked || !any))) {
		detach(s);
		any = true;
	}
	return any;
}

/* ---- the caller's side --------------------------------------------------------------------------------------- */

/* Never while something else than the socket may have moved us on: nobody would call again. */
static bool may_skip(const struct vuser_server *s)
{
	return s->idle && s->idle < s->cfg.idle_skip && !s->parked && !s->eof && !s->drop[0] && !s->dma_out &&
	       !s->touch_out && !gmem_touch_wanted(&s->dev->gmem) && !vuser_sock_waiting(&s->sock);
}

bool vuser_server_poll(struct vuser_server *s)
{
	unsigned maps = s->map_count;
	bool any = false;

	if (s->state == VUSER_IDLE)
		any = accept_one(s);
	if (s->state == VUSER_ATTACHED) {
		if (may_skip(s)) {
			s->idle++;
			return any;
		}
		any |= serve(s);
		s->idle = !any;
	}
	if (s->state == VUSER_DETACHING)
		any |= detach_rest(s);
	return any || s->map_count != maps;
}

bool vuser_server_attached(const struct vuser_server *s) { return s->state == VUSER_ATTACHED && s->versioned; }

const struct vuser_server_counters *vuser_server_counters(const struct vuser_server *s) { return &s->n; }

uint64_t vuser_server_deadline(const struct vuser_server *s)
{
	uint64_t d = MIN(vuser_dma_deadline(s), vuser_touch_deadline(s));

	return s->out_moved_ns ? MIN(d, s->out_moved_ns + s->cfg.dma_timeout_ms * NS_PER_MS + 1) : d;
}

/* ---- making and freeing ---------------------------------------------------------------------------------------- */

static void set_defaults(struct vuser_server_cfg *c)
{
	c->max_data_xfer = c->max_data_xfer ? MIN(c->max_data_xfer, 64u << 20) : 1u << 20;
	c->max_msg_fds = c->max_msg_fds ? MIN(c->max_msg_fds, (uint32_t)VUSER_FDS_MAX) : 8;
	c->max_send_queue = MAX(c->max_send_queue ? c->max_send_queue : 4u << 20, 4 * c->max_data_xfer);
	c->dma_timeout_ms = c->dma_timeout_ms ? c->dma_timeout_ms : 30000;
}

struct vuser_server *vuser_server_new(struct loop *loop, struct device *dev, const struct vuser_server_cfg *cfg, struct err *err)
{
	struct vuser_server *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(err, -ENOMEM, "vfio-user: out of memory");
		return NULL;
	}
	s->loop = loop;
	s->dev = dev;
	s->cfg = *cfg;
	s->listen_fd = s->sock.fd = -1;
	list_init(&s->dma_wait);
	set_defaults(&s->cfg);
	for (unsigned i = 0; i < DEV_REGION_COUNT; i++)
		s->share[i].fd = -1;
	if (vuser_irq_init(s)) {
		err_set(err, -ENOMEM, "vfio-user: out of memory");
		goto fail;
	}
	if (cfg->path && vuser_listen_start(s, err))
		goto fail;
	s->cfg.path = s->path;
	return s;
fail:
	vuser_server_free(s);
	return NULL;
}

void vuser_server_free(struct vuser_server *s)
{
	if (!s)
		return;
	vuser_listen_stop(s);
	if (s->state == VUSER_ATTACHED)
		detach(s);
	for (unsigned before = UINT_MAX; s->state == VUSER_DETACHING && s->map_count < before;) {
		before = s->map_count;
		detach_rest(s);
	}
	if (s->state == VUSER_DETACHING)
		vuser_dma_leave(s);
	vuser_irq_fini(s);
	free(s->map);
	free(s);
}
