/* vfio-user server: one device, one unix socket, one client at a time.
 *
 * Driven by the device's thread: vuser_server_poll does a bounded amount and never waits. It does not poll the device.
 * Several servers share a thread and a loop. A second client waits in the socket's backlog until the first has left.
 */
#ifndef FERRY_TRANSPORT_VUSER_SERVER_H
#define FERRY_TRANSPORT_VUSER_SERVER_H

#include "base/bytes.h"
#include "base/err.h"

struct device;
struct loop;
struct vuser_server;

struct vuser_server_cfg {
	const char *path;		/* NULL: no listening, clients come by vuser_server_adopt */
	bool map_doorbells;		/* share the mmap-able part of the regions with the client (SPDK's client needs it; turns
					 * off QEMU's posted writes, and gives no notification: the device must be polled) */
	bool write_multiple;		/* offer REGION_WRITE_MULTI */
	uint32_t max_data_xfer;		/* bytes; 0: 1 MiB */
	uint32_t max_msg_fds;		/* 0: 8; at most 16 */
	uint32_t max_send_queue;	/* bytes; 0: 4 MiB (and never less than four transfers). A client that lets more pile up is dropped */
	uint32_t dma_timeout_ms;	/* 0: 30 s. An unanswered DMA_READ/WRITE fails then (a touch only counts as failed); a client that reads nothing so long is dropped */
	uint32_t idle_skip;		/* look at the socket only at each such-and-suchth poll after it was found empty; 0: at each */
};

struct vuser_server_counters {
	uint64_t clients;		/* that completed VERSION */
	uint64_t commands, posted;	/* received; of these, without reply */
	uint64_t errors;		/* commands that failed */
	uint64_t dropped;		/* clients sent away for what they did */
	uint64_t dma_reads, dma_writes;	/* requests sent */
	uint64_t touches;		/* DMA_WRITEs that only tell of a page */
	uint64_t irqs;			/* eventfds written */
};

/* Listens at cfg->path: a stale socket file is replaced, one that somebody answers on is refused. NULL and a sentence on error.
 * The device must outlive the server. loop may be NULL (the caller polls on its own). */
struct vuser_server *vuser_server_new(struct loop *, struct device *, const struct vuser_server_cfg *, struct err *);
/* Removes the socket file of a server that was killed; one that somebody answers on, and anything else, is left alone. */
void vuser_server_sweep(const char *path);
/* Takes a connected unix stream socket as the client (its owner from now on, also on error). 0, -EBUSY. */
int vuser_server_adopt(struct vuser_server *, int fd);
bool vuser_server_poll(struct vuser_server *); /* true: something was done, call again soon */
bool vuser_server_attached(const struct vuser_server *); /* a client has completed VERSION */
uint64_t vuser_server_deadline(const struct vuser_server *); /* monotonic ns at which poll must be called; UINT64_MAX none */
const struct vuser_server_counters *vuser_server_counters(const struct vuser_server *);
/* Drops the client and removes the socket. The device must hold no guest memory any more; maps it still holds stay mapped. */
void vuser_server_free(struct vuser_server *);

#endif
