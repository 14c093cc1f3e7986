/* Inside `ferry serve`: the structures its files share.
 *
 *   serve.c      start, main loop, stop              served.c    one guest: controller, socket, namespaces, begin and end
 *   store.c      what is on disk: record of guests   site.c      what the manager asks for (struct move_site)
 *   control.c    RPC methods                         control_nvme.c   raw NVMe commands for `ferry nvme`
 *                                                    control_resize.c another size for a namespace
 *
 * One thread runs all of it: the event loop's.
 */
#ifndef FERRY_CMD_SERVE_H
#define FERRY_CMD_SERVE_H

#include "block/block.h"
#include "cmd/config.h"
#include "cmd/idle.h"
#include "cmd/rpc.h"
#include "device/nvme/subsys.h"
#include "env/linux/loop.h"
#include "host/hnvme.h"
#include "host/port_loop.h"
#include "migrate/move.h"
#include "transport/vuser_server.h"

enum { SERVED_MAX = 256, SERVED_WAIT_VM_S = 20, SERVED_START_S = 20 /* since the start, for files that are locked */ };

struct served_ns {
	uint32_t guest_nsid;
	char from[CFG_NAME_MAX];	/* the [namespace] or [pool] it comes from */
	bool pool;
	uint64_t backend, block, blocks;
	char path[2 * CFG_PATH_MAX];	/* "": ram */
	bool shared;			/* if the guest is not here: it works on this very storage elsewhere. Else what is here is an old copy */
	struct nvme_ns_ids ids;
	struct nvme_ns *ns;		/* NULL: not open */
};

/* What a guest's VM is still to be told after a restart: the server that had stopped it died before it could. */
enum served_wake { WAKE_NONE, WAKE_RUN, WAKE_END };

/* A namespace on its way to another size. */
struct resize {
	struct rpc_call *call;		/* NULL: none under way */
	struct served_ns *n;
	uint64_t was, blocks;
	bool committed;			/* the record says it, and the guest was told */
	uint64_t limit_ns, until_ns;	/* a disk that does not answer is waited for so long */
	char note[160];			/* what a person should know besides */
};

struct served {
	struct serve *s;
	char name[MOVE_NAME_MAX];
	const struct cfg_guest *cfg;	/* NULL: it arrived by a move */
	struct journal journal;
	char trouble[300];		/* why it is not served though it should be; "" none */
	bool lost;			/* the trouble: its ownership record is damaged or gone. A person can say what was in it */
	unsigned ns_count;
	struct served_ns ns[MOVE_NS_MAX];
	struct nvme_ctrl *mc;		/* NULL: not served */
	struct vuser_server *sock;
	struct vm *vm;
	bool mapped;			/* doorbells shared with a client */
	bool leaving;			/* controller is to be freed as soon as it is quiet */
	bool placing;			/* place() took things for a move to here */
	bool unlocking;			/* a handover to here came to nothing: its storage is still to be given up */
	uint64_t place_until_ns;
	struct move_out *out;
	bool out_recovering;
	bool out_in_doubt_said;
	enum served_wake wake;
	uint64_t wake_ns, wake_until_ns;
	struct resize resize;
	struct move_progress last;	/* of the last move, for status */
	char last_text[256];
};

struct serve_cdq { bool live; uint16_t id; uint8_t *mem; uint32_t bytes, at; bool phase; };

struct serve {
	struct config cfg;
	struct loop *loop;
	struct env *env;
	struct nvme_subsys *ss;
	struct nvme_ctrl *mmc_ctrl;
	struct devloop mmc_loop;
	struct port *mmc_port;
	struct hnvme *mmc;		/* NULL: mmc_socket, somebody else drives it */
	struct vuser_server *mmc_sock;
	struct nvme_ns *cfg_ns[CFG_NS_MAX];
	struct served *guest[SERVED_MAX];
	unsigned guests;
	struct move_site site;
	struct move_in *in;
	struct listener *link, *control;
	struct rpc *rpc;
	struct serve_cdq cdq[64];
	int lock_fd[2], signal_fd;
	bool stop, io_ready;		/* io_ready: a descriptor was ready when we last looked */
	struct idle idle;
	uint64_t started_ns, look_ns;	/* next look for requests that are slow */
	unsigned turn;
};

/* ---- serve.c */
void serve_pump_mmc(void *ctx);			/* polls the MMC once */

/* ---- served.c */
struct served *served_find(struct serve *, const char *name);		/* NULL */
/* Reads its journal; damage is the guest's trouble, not an error of this call. A guest once added stays, because the
 * manager keeps its journal; one that is nothing to us any more is not shown (served_known), and gives way when there are too many. */
struct served *served_add(struct serve *, const char *name, struct err *);
bool served_known(const struct served *);
void served_forget_ns(struct served *, bool remove_data);
bool served_ns_shared(const struct served *, const struct served_ns *);	/* the configuration says that other servers reach it */
/* Its file is to be left alone: the guest is not here, and works on it elsewhere (also if the configuration does not say shared=yes any more). */
bool served_ns_away(const struct served *, const struct served_ns *);
/* Are all its namespaces? 0, or -errno with a sentence. */
int served_judge_shared(const struct served *, struct err *);
bool served_has_storage(const struct served *);		/* none of its locks is given up */
/* fresh: make the file if it is missing. fit: make it longer if it is too short. start: nobody is served yet, so what a server that
 * was killed just before us still holds is waited for. away: without its lock. theirs: the same, and it must be locked by somebody else. */
enum served_open { SERVED_OPEN_OLD = 0, SERVED_OPEN_FRESH = 1, SERVED_OPEN_FIT = 2, SERVED_OPEN_START = 4, SERVED_OPEN_AWAY = 8,
		   SERVED_OPEN_THEIRS = 16 };
int served_open_ns(struct served *, struct served_ns *, unsigned how, struct err *);
void served_close_ns(struct served *, struct served_ns *, bool remove_data);
/* Controller, attachments and socket. 0 or -errno with a sentence, then nothing is left behind. */
int served_begin(struct served *, bool online, struct err *);
void served_end(struct served *);					/* socket gone, controller offline, freed when quiet */
void served_socket(const struct served *, char *path, size_t cap);
void served_sweep(const struct served *);	/* at start */
bool served_poll(struct served *);
uint64_t served_deadline(const struct served *);
void served_fini(struct served *);					/* at exit: frees, changes nothing on disk */

/* ---- store.c */
int store_load(struct serve *, struct err *);	/* fills guests from the record and the configuration */
int store_save(struct serve *);			/* durable */
int store_shared(struct served *, bool shared);	/* of all its namespaces; durable, 0 or -errno */
int store_start(struct serve *, struct err *);	/* reads the journals and does what they say */
int store_resolve(struct served *, bool here, struct err *);	/* the record of one that is lost, made anew and followed */

/* ---- site.c */
void site_init(struct serve *);
bool site_poll(struct serve *);
uint64_t site_deadline(struct serve *);
const struct cfg_pool *site_pool(const struct serve *, const char *name);		/* NULL */
uint64_t site_pool_used(const struct serve *, const char *name);			/* bytes */
void site_wake(struct served *, enum served_wake);	/* tells the VM, as soon as it can be reached */
void site_cancel_all(struct serve *, const char *why);

/* ---- control.c, control_nvme.c, control_resize.c */
extern const struct rpc_method control_methods[];
int control_code(int rc);				/* of -errno, for rpc_fail */
void control_resize(void *ctx, struct rpc_call *, json_object *params);
bool resize_poll(struct served *);			/* goes on with it; true if anything was done */
void control_nvme(void *ctx, struct rpc_call *, json_object *params);
void control_ring(void *ctx, struct rpc_call *, json_object *params);
json_object *control_progress(const struct move_progress *);
void control_event(struct serve *, const char *guest, const struct move_event *);
void control_end(struct serve *, const char *guest, int rc, const char *why, const struct move_progress *);
void hex_put(struct buf *out, const void *p, size_t n);
bool hex_get(const char *text, void *out, size_t n);	/* exactly n bytes */

#endif
