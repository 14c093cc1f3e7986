/* What `ferry serve -c FILE` is told: sections and keys of an INI file, as one table (config.c) that also makes
 * docs/configuration.md. Read once at start; every mistake is a sentence with file, line and what to change.
 */
#ifndef FERRY_CMD_CONFIG_H
#define FERRY_CMD_CONFIG_H

#include "base/buf.h"
#include "base/err.h"

enum { CFG_NAME_MAX = 32, CFG_PATH_MAX = 104, CFG_POOLS_MAX = 8, CFG_NS_MAX = 64, CFG_GUESTS_MAX = 32, CFG_GUEST_NS_MAX = 16 };

enum cfg_backend { CFG_RAM, CFG_FILE };
enum cfg_doorbells { CFG_MAPPED, CFG_TRAPPED, CFG_DOORBELLS_UNSAID };
enum cfg_vm { CFG_VM_NONE, CFG_VM_EMBEDDED, CFG_VM_QEMU };

struct cfg_server {
	char name[CFG_NAME_MAX];
	char run_dir[CFG_PATH_MAX], state_dir[CFG_PATH_MAX];
	char control[CFG_PATH_MAX];	/* default: run_dir/control.sock */
	char link[CFG_PATH_MAX + 8];	/* unix:PATH or tcp:HOST:PORT; default unix:run_dir/link.sock */
	bool poll;			/* spin: never sleep */
	char mmc_socket[CFG_PATH_MAX];	/* "": the server drives its MMC itself */
	bool get_cdq_8_bytes;		/* for nvme-cli on mmc_socket */
	uint64_t slow_ns;		/* a request that a disk has had for so long is told of; 0: none is */
};

struct cfg_pool {			/* where namespaces of arriving guests are made */
	char name[CFG_NAME_MAX];
	uint64_t kind;			/* enum cfg_backend */
	char dir[CFG_PATH_MAX];
	uint64_t max_bytes;		/* sum of sizes; 0: no limit */
	int line;
};

struct cfg_ns {
	char name[CFG_NAME_MAX];
	uint64_t bytes, block, backend;
	char path[CFG_PATH_MAX];
	bool create, has_nguid, has_uuid, stamp;
	bool shared;			/* other servers reach the file too: it may be handed over */
	uint8_t nguid[16], uuid[16];
	uint64_t delay_ns, error_ppm;	/* wrappers; 0: none */
	int line;
};

struct cfg_guest {
	char name[CFG_NAME_MAX];
	unsigned ns_count;
	unsigned ns[CFG_GUEST_NS_MAX];	/* indices into config.ns */
	char ns_names[CFG_GUEST_NS_MAX][CFG_NAME_MAX];
	uint64_t doorbells, queues;
	bool arrives;			/* starts its life elsewhere: never owner by a first start here */
	char socket[CFG_PATH_MAX];	/* default: run_dir/NAME.sock */
	enum cfg_vm vm_kind;
	bool vm_said;			/* vm=none is something else than no vm= */
	char vm[CFG_PATH_MAX];		/* path of the embedded guest's control socket, or QEMU's monitor; "": no VM */
	uint64_t memory, cpus;		/* vm=qemu, from here on: what `ferry vm run` says to QEMU */
	char machine[CFG_NAME_MAX], qemu[CFG_PATH_MAX], qemu_args[256];
	bool boot;
	char start[256];		/* command that starts the VM that waits for a move to here; "": somebody else does */
	bool touch;			/* QEMU is told what the controller writes */
	int line;
};

struct config {
	struct cfg_server server;
	struct cfg_pool pool[CFG_POOLS_MAX];
	struct cfg_ns ns[CFG_NS_MAX];
	struct cfg_guest guest[CFG_GUESTS_MAX];
	unsigned pools, nss, guests;
};

/* 0 or -errno with a sentence. Fills defaults and resolves names. */
int config_load(struct config *, const char *path, struct err *);
/* The same from text; `name` is what errors call it. */
int config_parse(struct config *, const char *text, size_t len, const char *name, struct err *);
const struct cfg_guest *config_guest(const struct config *, const char *name); /* NULL */
void config_page(struct buf *out); /* docs/configuration.md */
/* A name that may become a file name: letters, digits, '-', '_', '.', not starting with '.' or '-', shorter than CFG_NAME_MAX. */
bool config_name_ok(const char *name);

#endif
