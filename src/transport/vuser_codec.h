/* vfio-user messages between bytes and numbers: the header, VERSION and its capabilities. Judges, never acts.
 *
 * Used by server and client. The other structures are tables in spec/vfio_user.h and need no code.
 */
#ifndef FERRY_TRANSPORT_VUSER_CODEC_H
#define FERRY_TRANSPORT_VUSER_CODEC_H

#include "base/err.h"
#include "spec/vfio_user.h"

enum { VUSER_VERSION_MAX_BYTES = 65536 };	/* longest VERSION payload we read */

struct vuser_msg {
	uint16_t id, cmd;
	uint32_t size;		/* whole message */
	uint32_t flags, error;
	const uint8_t *payload;	/* size - 16 bytes; set by whoever has the whole message */
};
static inline uint32_t vuser_payload_bytes(const struct vuser_msg *m) { return m->size - (uint32_t)sizeof(struct vuser_hdr); }

struct vuser_caps {
	uint64_t max_msg_fds, max_data_xfer, max_dma_maps, pgsizes;
	bool write_multiple;
};

struct vuser_hdr vuser_hdr_of(uint16_t id, uint16_t cmd, uint32_t size, uint32_t flags, uint32_t error);
/* 0; -EPROTO: size below a header or above max, or a type that is neither command nor reply: the stream is lost. */
int vuser_hdr_judge(const struct vuser_hdr *, uint32_t max_size, struct vuser_msg *out);
/* The errno an error reply carries, as our -errno; nonsense becomes -EIO. */
int vuser_error_of(const struct vuser_msg *);
const char *vuser_command_name(unsigned cmd);

struct vuser_caps vuser_caps_default(void); /* what a silent peer means */
/* A VERSION payload. 0; -EINVAL malformed; -ENOTSUP another major. A sentence with either. */
int vuser_version_parse(const void *payload, size_t len, struct vuser_caps *, struct err *);
/* Writes one (version 0.0, JSON, NUL); its length, or 0 if cap is too small. Short: QEMU refuses a reply longer than its request. */
size_t vuser_version_emit(void *payload, size_t cap, const struct vuser_caps *);

#endif
