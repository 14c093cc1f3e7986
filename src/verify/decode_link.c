/* One direction of the link between two managers: frames as docs/stream.md has them, their fields from the tables of migrate/frame.h. */
#include <errno.h>
#include <inttypes.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "migrate/frame.h"
#include "verify/decode.h"

#define LINK_HEAD(X, A) X(0, le32, magic) X(4, le16, version) X(6, le16, type) X(8, le32, len) X(12, le32, rsvd) X(16, le64, seq) X(24, le64, sum)
WIRE_STRUCT(decode_link_head, 32, LINK_HEAD);
enum { MAGIC = 0x59525246 };

struct member { uint16_t off, len; const char *name; bool bytes; };
#define MEMBER_(off, type, name) { off, sizeof(type), #name, false },
#define BYTES_(off, len, name) { off, len, #name, true },
#define LIST_(tag, LIST) static const struct member tag[] = { LIST(MEMBER_, BYTES_) { 0, 0, NULL, false } };
LIST_(m_hello, FRAME_HELLO_LIST)
LIST_(m_ns, FRAME_NS_LIST)
LIST_(m_range, FRAME_RANGE_LIST)
LIST_(m_ready, FRAME_READY_LIST)
LIST_(m_say, FRAME_SAY_LIST)
LIST_(m_data, FRAME_DATA_LIST)
LIST_(m_zero, FRAME_ZERO_LIST)
LIST_(m_mem, FRAME_MEM_LIST)
LIST_(m_sync, FRAME_SYNC_LIST)
LIST_(m_prepare, FRAME_PREPARE_LIST)
LIST_(m_digest, FRAME_DIGEST_LIST)
LIST_(m_state, FRAME_STATE_LIST)
LIST_(m_commit, FRAME_COMMIT_LIST)
#undef LIST_

enum rest { REST_NONE, REST_BYTES, REST_TEXT, REST_RANGES };
static const struct { const struct member *m; enum rest rest; } layouts[FRAME_END] = {
	[FRAME_HELLO] = { m_hello, REST_NONE }, [FRAME_READY] = { m_ready, REST_NONE }, [FRAME_REFUSED] = { m_say, REST_TEXT },
	[FRAME_DATA] = { m_data, REST_BYTES }, [FRAME_ZERO] = { m_zero, REST_RANGES }, [FRAME_MEM] = { m_mem, REST_BYTES },
	[FRAME_MEM_ZERO] = { NULL, REST_RANGES }, [FRAME_SYNC] = { m_sync, REST_NONE }, [FRAME_SYNC_ACK] = { m_sync, REST_NONE },
	[FRAME_DIGEST] = { m_digest, REST_NONE }, [FRAME_STATE] = { m_state, REST_BYTES }, [FRAME_PREPARE] = { m_prepare, REST_NONE },
	[FRAME_PREPARED] = { m_sync, REST_NONE }, [FRAME_COMMIT] = { m_commit, REST_NONE }, [FRAME_ASK] = { m_commit, REST_NONE },
	[FRAME_STARTED] = { m_say, REST_TEXT }, [FRAME_NOT_STARTED] = { m_say, REST_TEXT }, [FRAME_LATER] = { m_say, REST_TEXT },
	[FRAME_CANCEL] = { m_say, REST_TEXT }, [FRAME_ERROR] = { m_say, REST_TEXT },
};

static uint64_t num(const uint8_t *p, unsigned len)
{
	uint64_t v = 0;

	while (len--)
		v = v << 8 | p[len];
	return v;
}

static void text(const uint8_t *p, size_t n, FILE *out)
{
	for (size_t i = 0; i < n && p[i]; i++)
		putc(p[i] >= 0x20 && p[i] < 0x7f ? p[i] : '.', out);
}

/* Names are text in fields of 64 and 128 bytes; identifiers are bytes in shorter ones. Bytes used. */
static size_t members(const struct member *m, const uint8_t *p, size_t n, FILE *out)
{
	size_t end = 0;

	for (; m && m->name && range_inside(m->off, m->len, n); m++) {
		end = (size_t)m->off + m->len;
		if (!strncmp(m->name, "rsvd", 4))
			continue;
		fprintf(out, "%24s: ", m->name);
		if (m->bytes && m->len >= 64)
			text(p + m->off, m->len, out);
		else if (m->bytes)
			for (unsigned i = 0; i < m->len; i++)
				fprintf(out, "%02x", p[m->off + i]);
		else
			fprintf(out, "%" PRIx64, num(p + m->off, m->len));
		putc('\n', out);
	}
	return end;
}

static void hello(const uint8_t *p, size_t n, FILE *out)
{
	struct frame_hello h;
	size_t at = sizeof(h), i;

	if (n < sizeof(h))
		return;
	memcpy(&h, p, sizeof(h));
	for (i = 0; i < le16_get(h.ns_count) && n - at >= sizeof(struct frame_ns); i++, at += sizeof(struct frame_ns)) {
		fprintf(out, "    namespace %zu\n", i);
		members(m_ns, p + at, n - at, out);
	}
	for (i = 0; i < le16_get(h.range_count) && n - at >= sizeof(struct frame_range); i++, at += sizeof(struct frame_range)) {
		fprintf(out, "    memory range %zu\n", i);
		members(m_range, p + at, n - at, out);
	}
}

static void rest(enum rest kind, const uint8_t *p, size_t n, FILE *out)
{
	if (kind == REST_TEXT) {
		fprintf(out, "%24s: ", "says");
		text(p, n, out);
		putc('\n', out);
	} else if (kind == REST_BYTES) {
		fprintf(out, "%24s: %zu bytes, XXH3 %016" PRIx64 "\n", "data", n, (uint64_t)XXH3_64bits(p, n));
	} else if (kind == REST_RANGES) {
		for (; n >= 16; p += 16, n -= 16)
			fprintf(out, "%24s: %" PRIx64 "+%" PRIx64 "\n", "range", num(p, 8), num(p + 8, 8));
	}
}

static bool sum_fits(const struct decode_link_head *h, const uint8_t *p, size_t n)
{
	struct decode_link_head zero = *h;

	zero.sum = le64_of(0);
	return XXH3_64bits_withSeed(p, n, XXH3_64bits(&zero, sizeof(zero))) == le64_get(h->sum);
}

static int frame(const struct decode_link_head *h, const uint8_t *p, size_t n, FILE *out, struct err *err)
{
	uint16_t type = le16_get(h->type);
	const char *name = "unknown";
	uint32_t min = 0, max = UINT32_MAX;
	bool known = frame_limits(type, &min, &max, &name);
	size_t used = 0;

	fprintf(out, "%s (%u), sequence %" PRIu64 ", %zu bytes\n", name, type, le64_get(h->seq), n);
	if (known)
		used = members(layouts[type].m, p, n, out);
	if (type == FRAME_HELLO)
		hello(p, n, out);
	if (known && n > used)
		rest(layouts[type].rest, p + used, n - used, out);
	if (!known)
		return err_set(err, -EPROTO, "decode: frame type %u is not known", type);
	if (n < min || n > max)
		return err_set(err, -EPROTO, "decode: %s has %zu bytes, it may have %u to %u", name, n, min, max);
	return sum_fits(h, p, n) ? 0 : err_set(err, -EPROTO, "decode: %s, sequence %" PRIu64 ": the sum is wrong", name, le64_get(h->seq));
}

int decode_link(const uint8_t *p, size_t n, FILE *out, struct err *err)
{
	size_t at = 0;
	int rc = 0;

	while (at < n && !rc) {
		struct decode_link_head h;

		if (n - at < sizeof(h))
			return err_set(err, -EPROTO, "decode: at byte %zu: %zu bytes are no frame's head", at, n - at);
		memcpy(&h, p + at, sizeof(h));
		if (le32_get(h.magic) != MAGIC || le16_get(h.version) != 1)
			return err_set(err, -EPROTO, "decode: at byte %zu: no frame (magic %08x, version %u)", at, le32_get(h.magic), le16_get(h.version));
		if (le32_get(h.len) > n - at - sizeof(h))
			return err_set(err, -EPROTO, "decode: at byte %zu: a frame of %u bytes, and %zu are there", at, le32_get(h.len), n - at - sizeof(h));
		rc = frame(&h, p + at + sizeof(h), le32_get(h.len), out, err);
		at += sizeof(h) + le32_get(h.len);
	}
	return rc;
}
