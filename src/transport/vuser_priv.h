/* Inside of the vfio-user server, shared by its files only: vuser_server.c (life, framing, dispatch), vuser_listen.c, vuser_info.c (what the
 * device looks like, region access), vuser_irq.c, vuser_dma.c, vuser_touch.c.
 *
 * A command handler answers through vuser_reply and returns 0, -errno for an error reply, or -EAGAIN: not now. Then the
 * command stays where it is, commands behind it wait, and it is handled again from the start at the next poll. Replies to our
 * own requests are still taken meanwhile, because what the command waits for may be one of them.
 */
#ifndef FERRY_TRANSPORT_VUSER_PRIV_H
#define FERRY_TRANSPORT_VUSER_PRIV_H

#include "device/device.h"
#include "transport/vuser_server.h"
#include "transport/vuser_sock.h"

enum {
	VUSER_FDS_MAX = 16,		/* most descriptors of one message we can be configured for */
	VUSER_DMA_SLOTS = 64,		/* our requests in flight: memory by message */
	VUSER_TOUCH_SLOTS = 128,	/* pages being told */
	VUSER_TOUCH_ID = 0x8000,	/* in a message id: a touch */
};

struct vuser_request {			/* a command being handled */
	struct vuser_msg m;
	int fds[VUSER_FDS_MAX];		/* handler sets -1 where it keeps one; the rest is closed */
	unsigned nfds;
};

struct vuser_map {			/* one DMA_MAP of the client; sorted by iova */
	uint64_t iova, size, offset;
	uint32_t flags;
	bool by_fd;
	uint64_t dev, ino;
	void *ptr;			/* NULL: by message */
	unsigned guard;			/* guard_add_slot's, with ptr */
};

struct vuser_slot {			/* one DMA_READ/DMA_WRITE in flight */
	struct gmem_op *op;		/* NULL: free */
	uint16_t id;
	uint32_t off, len;		/* the part of the op this request moves */
	uint64_t deadline_ns;
};

struct vuser_touch {			/* one page being told; vuser_touch.c */
	bool out;
	uint16_t id;
	uint64_t number, iova;		/* gmem_touch_next's */
	uint64_t deadline_ns;		/* UINT64_MAX: missed already */
};

struct vuser_irqs {			/* one interrupt index */
	int *fd;			/* count entries, -1: unbound */
	bool *masked;
	uint32_t count;
};

struct vuser_share { void *ptr; size_t len; int fd; };

enum vuser_state { VUSER_IDLE, VUSER_ATTACHED, VUSER_DETACHING };

struct vuser_server {
	struct loop *loop;
	struct device *dev;
	struct vuser_server_cfg cfg;
	char path[108];
	uint64_t path_dev, path_ino;
	int listen_fd;
	bool listen_watched;

	enum vuser_state state;
	bool versioned;			/* VERSION done: everything else is allowed */
	bool eof;			/* nothing more will come; what is here is still handled */
	bool parked;			/* the command at the front said -EAGAIN */
	bool handling;			/* a handler may be writing its reply: nobody else touches the send queue */
	bool want_out;			/* as told to the loop */
	char drop[160];			/* why the client must go; empty: it may stay */
	struct vuser_sock sock;
	size_t scanned;			/* input offset up to which replies behind a parked command are taken */
	struct vuser_caps peer;
	uint64_t out_moved_ns;		/* when the waiting send queue last got shorter; 0: nothing waits */
	unsigned idle;			/* polls since the socket was found empty; 0: it was not */

	struct vuser_map *map;
	unsigned map_count, map_cap;
	uint64_t map_bytes;
	struct vuser_slot slot[VUSER_DMA_SLOTS];
	struct list dma_wait;		/* gmem_ops without a slot */
	unsigned dma_out;		/* slots in use */
	uint16_t dma_seq;
	struct vuser_touch touch[VUSER_TOUCH_SLOTS];
	unsigned touch_out;
	uint16_t touch_seq;

	struct vuser_irqs irq[DEV_IRQ_COUNT];
	struct vuser_share share[DEV_REGION_COUNT];
	struct vuser_server_counters n;
};

uint64_t vuser_now_ns(void);
/* Room for a reply's payload; NULL: memory ran out (the client goes). Thrown away if the handler then fails, or if the
 * client asked for no reply. */
uint8_t *vuser_reply(struct vuser_server *, struct vuser_request *, size_t payload);
void vuser_drop(struct vuser_server *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void vuser_flush(struct vuser_server *);

/* vuser_listen.c */
int vuser_listen_start(struct vuser_server *, struct err *); /* at cfg.path. 0 or -errno with a sentence */
void vuser_listen_stop(struct vuser_server *);
void vuser_listen_watch(struct vuser_server *, bool on);	/* off while a client is there: the next one waits in the backlog */

/* vuser_info.c */
int vuser_cmd_device_info(struct vuser_server *, struct vuser_request *);
int vuser_cmd_region_info(struct vuser_server *, struct vuser_request *);
int vuser_cmd_region_io_fds(struct vuser_server *, struct vuser_request *);
int vuser_cmd_region_read(struct vuser_server *, struct vuser_request *);
int vuser_cmd_region_write(struct vuser_server *, struct vuser_request *);
int vuser_cmd_write_multi(struct vuser_server *, struct vuser_request *);
int vuser_cmd_reset(struct vuser_server *, struct vuser_request *);
int vuser_share_all(struct vuser_server *);	/* gives the device memory that the client can map. 0 or -errno */
void vuser_unshare_all(struct vuser_server *);	/* takes it back: the next client must not share it with this one */

/* vuser_irq.c */
int vuser_irq_init(struct vuser_server *);	/* 0 or -ENOMEM */
void vuser_irq_attach(struct vuser_server *);
void vuser_irq_fini(struct vuser_server *);
void vuser_irq_unbind_all(struct vuser_server *);
int vuser_cmd_irq_info(struct vuser_server *, struct vuser_request *);
int vuser_cmd_set_irqs(struct vuser_server *, struct vuser_request *);

/* vuser_dma.c */
int vuser_cmd_dma_map(struct vuser_server *, struct vuser_request *);
int vuser_cmd_dma_unmap(struct vuser_server *, struct vuser_request *);
int vuser_dma_unmap_all(struct vuser_server *);	/* 0; -EAGAIN call again: there are more, or the device still holds some */
void vuser_dma_leave(struct vuser_server *);	/* forgets all maps, though the device may still use the memory */
int vuser_dma_remote(void *server, struct gmem_op *);
void vuser_dma_reply(struct vuser_server *, const struct vuser_msg *);
void vuser_dma_expire(struct vuser_server *, uint64_t now_ns);
void vuser_dma_pump(struct vuser_server *);	/* sends what has waited for a slot */
uint64_t vuser_dma_deadline(const struct vuser_server *);
void vuser_dma_cancel_all(struct vuser_server *, int rc);

/* vuser_touch.c */
void vuser_touch_pump(struct vuser_server *);	/* sends what there is and slots for */
void vuser_touch_reply(struct vuser_server *, const struct vuser_msg *);
void vuser_touch_expire(struct vuser_server *, uint64_t now_ns);
uint64_t vuser_touch_deadline(const struct vuser_server *);
void vuser_touch_leave(struct vuser_server *);	/* the client is gone */

#endif
