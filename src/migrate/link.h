/* The link between two managers: framed, versioned, checksummed messages over one byte stream.
 *
 * docs/stream.md describes it. A frame is a 32-byte head and a payload; both are covered by an XXH3 checksum, and frames are
 * numbered, so a corrupt, replayed, lost or reordered frame ends the link with a sentence. What the frames mean is decided by
 * move_out.c and move_in.c (frame.h lists them). TLS will sit between this file and the env_conn; nothing above will know.
 *
 * Non-blocking, one thread. Outgoing frames wait in a bounded buffer for the stream to take them.
 */
#ifndef FERRY_MIGRATE_LINK_H
#define FERRY_MIGRATE_LINK_H

#include "env/env.h"

enum { LINK_PAYLOAD_MAX = 2 * 1024 * 1024, LINK_BACKLOG_MAX = 8 * 1024 * 1024 };

struct link;

struct link_msg {
	uint16_t type;
	uint32_t len;
	const uint8_t *data;	/* valid until the next link_recv or link_free; may be unaligned */
};

struct link *link_new(struct env *, struct env_conn *); /* takes the connection, also on failure (NULL: no memory) */
void link_free(struct link *);
/* 0; -EAGAIN when the backlog is over LINK_BACKLOG_MAX (nothing was queued); -EMSGSIZE; the link's error once it has failed. */
int link_send(struct link *, uint16_t type, const struct iovec *payload, int n);
/* The same for a payload that nobody changes during the call (never guest memory): large ones are not copied if the stream takes them. */
int link_send_still(struct link *, uint16_t type, const struct iovec *payload, int n);
/* Next whole frame: 1, 0 none yet, -errno: the link has failed (text says why; -EPIPE: the peer closed it). */
int link_recv(struct link *, struct link_msg *);
/* Puts queued bytes on the stream as far as they go (link_recv takes from it). True if any moved. */
bool link_poll(struct link *);
const char *link_error(const struct link *);	/* sentence; "" while it works */
size_t link_backlog(const struct link *);	/* bytes queued and not yet taken by the stream */
uint64_t link_sent(const struct link *);	/* bytes the stream has taken */
uint64_t link_received(const struct link *);
uint64_t link_heard_ns(const struct link *);	/* when a valid frame last came in */

#endif
