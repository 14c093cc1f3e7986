/* The link: frames over a byte stream. move_out.c and move_in.c call it, from the thread that polls them.
 *
 * Sending: a large payload that stands still goes to the stream from where it lies, and only what the stream does not take is
 * copied into the backlog; everything else is copied first, because its owner (or the guest) may change it at once. Receiving hands
 * out the frame in place and reads no more than the frame at hand needs: the few hundred KiB in use stay in the processor's cache,
 * which on one fast link is worth more than fewer system calls. A frame that does not check out ends the link for good: TCP already
 * repairs what a network does, so a bad frame means a broken or hostile peer, and guessing on would risk the data.
 */
#include "migrate/link.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/wire.h"
#include "migrate/sum.h"

#define LINK_HEAD(X, A)                                                                        \
	X(0, le32, magic) X(4, le16, version) X(6, le16, type) X(8, le32, len) X(12, le32, rsvd) \
	X(16, le64, seq) X(24, le64, sum) /* XXH3-64 over the head with sum = 0, then the payload */
WIRE_STRUCT(link_head, 32, LINK_HEAD);

enum { LINK_MAGIC = 0x59525246 /* "FRRY" */, LINK_VERSION = 1, LINK_READ_BYTES = 64 * 1024, LINK_POLL_BYTES = 4 * 1024 * 1024,
       LINK_DIRECT_MIN = 16 * 1024, LINK_PIECES = 4 };

struct link {
	struct env *env;
	struct env_conn *conn;
	uint8_t *in;			/* a whole frame fits, and a read's worth behind it */
	size_t in_cap, in_at, in_len;	/* unread bytes are in[in_at .. in_len) */
	uint8_t *out;
	size_t out_cap, out_at, out_len;
	uint64_t seq_in, seq_out;	/* of the next frame */
	uint64_t sent, received, heard_ns;
	int rc;				/* 0 while it works */
	struct err why;
};

__attribute__((format(printf, 3, 4))) static int link_fail(struct link *l, int rc, const char *fmt, ...)
{
	va_list ap;

	if (!l->rc) {
		int n = snprintf(l->why.text, sizeof(l->why.text), "link: ");

		va_start(ap, fmt);
		vsnprintf(l->why.text + n, sizeof(l->why.text) - (size_t)n, fmt, ap);
		va_end(ap);
		l->rc = rc;
	}
	return l->rc;
}

static int link_broke(struct link *l, int rc, const char *doing)
{
	return link_fail(l, rc, "the connection broke while %s: %s", doing, strerror(-rc));
}

struct link *link_new(struct env *env, struct env_conn *conn)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l) {
		env_conn_close(conn);
		return NULL;
	}
	l->env = env;
	l->conn = conn;
	l->in_cap = 2 * sizeof(struct link_head) + LINK_PAYLOAD_MAX + LINK_READ_BYTES;
	l->out_cap = LINK_BACKLOG_MAX + sizeof(struct link_head) + LINK_PAYLOAD_MAX;
	l->in = aligned_alloc(64, round_up(l->in_cap, 64));
	l->out = malloc(l->out_cap);
	l->heard_ns = env_now_ns(env);
	if (!l->in || !l->out) {
		link_free(l);
		return NULL;
	}
	return l;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	env_conn_close(l->conn);
	free(l->in);
	free(l->out);
	free(l);
}

static uint64_t head_sum(const struct link_head *h)
{
	struct link_head zero = *h;

	zero.sum = le64_of(0);
	return XXH3_64bits(&zero, sizeof(zero));
}

/* The same number as over the pieces one behind the other. */
static uint64_t frame_sum(const struct link_head *h, const struct iovec *v, int n)
{
	XXH3_state_t st;

	if (n <= 1)
		return XXH3_64bits_withSeed(n ? v->iov_base : NULL, n ? v->iov_len : 0, head_sum(h));
	XXH3_INITSTATE(&st);
	XXH3_64bits_reset_withSeed(&st, head_sum(h));
	for (int i = 0; i < n; i++)
		XXH3_64bits_update(&st, v[i].iov_base, v[i].iov_len);
	return XXH3_64bits_digest(&st);
}

/* Behind what waits already; `skip` bytes of it have left by themselves. */
static void backlog_put(struct link *l, const struct iovec *v, int n, size_t skip)
{
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += v[i].iov_len;
	if (l->out_len + len - skip > l->out_cap) {
		memmove(l->out, l->out + l->out_at, l->out_len - l->out_at);
		l->out_len -= l->out_at;
		l->out_at = 0;
	}
	for (int i = 0; i < n; i++) {
		size_t gone = MIN(skip, v[i].iov_len);

		skip -= gone;
		if (v[i].iov_len > gone)
			memcpy(l->out + l->out_len, (uint8_t *)v[i].iov_base + gone, v[i].iov_len - gone);
		l->out_len += v[i].iov_len - gone;
	}
}

/* What waits and then this frame, straight to the stream: bytes of the frame that it took. */
static size_t send_direct(struct link *l, const struct iovec *frame, int n)
{
	size_t waits = link_backlog(l), taken;
	struct iovec v[LINK_PIECES + 2];
	int k = 0;
	ssize_t rc;

	if (waits)
		v[k++] = (struct iovec){ l->out + l->out_at, waits };
	for (int i = 0; i < n; i++)
		if (frame[i].iov_len)
			v[k++] = frame[i];
	rc = env_conn_send(l->conn, v, k);
	if (rc < 0 && rc != -EAGAIN)
		link_broke(l, (int)rc, "sending");
	if (rc <= 0)
		return 0;
	l->sent += (uint64_t)rc;
	taken = MIN((size_t)rc, waits);
	l->out_at += taken;
	if (l->out_at == l->out_len)
		l->out_at = l->out_len = 0;
	return (size_t)rc - taken;
}

static int send_frame(struct link *l, uint16_t type, const struct iovec *payload, int n, bool still)
{
	struct link_head h = { .magic = le32_of(LINK_MAGIC), .version = le16_of(LINK_VERSION), .type = le16_of(type) };
	struct iovec v[LINK_PIECES + 1] = { { &h, sizeof(h) } }, copy;
	size_t len = 0, at, gone = 0;

	if (l->rc)
		return l->rc;
	for (int i = 0; i < n; i++) {
		if (payload[i].iov_len > LINK_PAYLOAD_MAX - len)
			return -EMSGSIZE;
		len += payload[i].iov_len;
		if (n <= LINK_PIECES)
			v[i + 1] = payload[i];
	}
	if (link_backlog(l) > LINK_BACKLOG_MAX)
		return -EAGAIN;
	h.len = le32_of((uint32_t)len);
	h.seq = le64_of(l->seq_out++);
	if (still && len >= LINK_DIRECT_MIN && n <= LINK_PIECES) {
		h.sum = le64_of(frame_sum(&h, v + 1, n));
		gone = send_direct(l, v, n + 1);
		if (l->rc)
			return l->rc;
		backlog_put(l, v, n + 1, gone);
		return 0;
	}
	backlog_put(l, v, 1, 0);
	backlog_put(l, payload, n, 0);	/* may move the head to the front of the buffer, never apart from it */
	at = l->out_len - len;
	copy = (struct iovec){ l->out + at, len };
	h.sum = le64_of(frame_sum(&h, &copy, 1));
	memcpy(l->out + at - sizeof(h), &h, sizeof(h));
	return 0;
}

int link_send(struct link *l, uint16_t type, const struct iovec *payload, int n) { return send_frame(l, type, payload, n, false); }
int link_send_still(struct link *l, uint16_t type, const struct iovec *payload, int n) { return send_frame(l, type, payload, n, true); }

static bool push_out(struct link *l)
{
	size_t total = 0;

	while (l->out_at < l->out_len && total < LINK_POLL_BYTES) {
		struct iovec v = { l->out + l->out_at, l->out_len - l->out_at };
		ssize_t n = env_conn_send(l->conn, &v, 1);

		if (n == -EAGAIN || n == 0)
			break;
		if (n < 0) {
			link_broke(l, (int)n, "sending");
			break;
		}
		l->out_at += (size_t)n;
		total += (size_t)n;
	}
	if (l->out_at == l->out_len)
		l->out_at = l->out_len = 0;
	l->sent += total;
	return total;
}

/* Bytes to ask the stream for: what the frame at hand lacks and the head of the next, so that hardly anything is ever moved to the
 * front; at least a read's worth, for frames that are small. */
static size_t wanted(const struct link *l)
{
	size_t have = l->in_len - l->in_at, whole = sizeof(struct link_head);
	struct link_head h;

	if (have >= sizeof(h)) {
		memcpy(&h, l->in + l->in_at, sizeof(h));
		whole = 2 * sizeof(h) + MIN(le32_get(h.len), (uint32_t)LINK_PAYLOAD_MAX);
	}
	return MAX(whole > have ? whole - have : 0, (size_t)LINK_READ_BYTES);
}

/* What is there of a frame comes to the front when it would not fit otherwise. The frame last handed out lies before in_at, so this
 * runs only when the next one is asked for. */
static bool pull_in(struct link *l)
{
	size_t want = wanted(l);
	ssize_t n;

	if (l->in_at == l->in_len)
		l->in_at = l->in_len = 0;
	if (l->in_at) {
		memmove(l->in, l->in + l->in_at, l->in_len - l->in_at);
		l->in_len -= l->in_at;
		l->in_at = 0;
	}
	n = env_conn_recv(l->conn, l->in + l->in_len, MIN(want, l->in_cap - l->in_len));
	if (n == -EAGAIN)
		return false;
	if (n == 0)
		return link_fail(l, -EPIPE, "the other side closed the connection"), false;
	if (n < 0)
		return link_broke(l, (int)n, "receiving"), false;
	l->in_len += (size_t)n;
	l->received += (uint64_t)n;
	return true;
}

bool link_poll(struct link *l)
{
	return l->rc ? false : push_out(l);
}

/* 1 a frame, 0 not whole yet, -errno. */
static int take_frame(struct link *l, struct link_msg *m)
{
	size_t have = l->in_len - l->in_at;
	const uint8_t *p = l->in + l->in_at;
	struct link_head h;
	struct iovec v;
	uint32_t len;

	if (have < sizeof(h))
		return 0;
	memcpy(&h, p, sizeof(h));
	len = le32_get(h.len);
	if (le32_get(h.magic) != LINK_MAGIC)
		return link_fail(l, -EBADMSG, "the other side does not speak ferry's protocol");
	if (le16_get(h.version) != LINK_VERSION)
		return link_fail(l, -EPROTO, "the other side speaks another version of the link: run the same ferry on both servers");
	if (len > LINK_PAYLOAD_MAX)
		return link_fail(l, -EBADMSG, "a frame longer than allowed arrived");
	if (have < sizeof(h) + len)
		return 0;
	v = (struct iovec){ (uint8_t *)p + sizeof(h), len };
	if (le64_get(h.sum) != frame_sum(&h, &v, 1))
		return link_fail(l, -EBADMSG, "a frame with a wrong checksum arrived");
	if (le64_get(h.seq) != l->seq_in)
		return link_fail(l, -EBADMSG, "a frame out of order arrived");
	l->seq_in++;
	l->heard_ns = env_now_ns(l->env);
	*m = (struct link_msg){ .type = le16_get(h.type), .len = len, .data = p + sizeof(h) };
	l->in_at += sizeof(h) + len;
	return 1;
}

int link_recv(struct link *l, struct link_msg *m)
{
	int rc;

	/* Frames that came in before the stream broke are still good: hand them out first. */
	rc = l->rc == -EBADMSG || l->rc == -EPROTO ? l->rc : take_frame(l, m);
	while (rc == 0 && !l->rc && pull_in(l))
		rc = take_frame(l, m);
	return rc ? rc : l->rc;
}

const char *link_error(const struct link *l) { return l->why.text; }
size_t link_backlog(const struct link *l) { return l->out_len - l->out_at; }
uint64_t link_sent(const struct link *l) { return l->sent; }
uint64_t link_received(const struct link *l) { return l->received; }
uint64_t link_heard_ns(const struct link *l) { return l->heard_ns; }
