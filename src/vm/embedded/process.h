/* The embedded guest as a process of its own, as a VMM would be: `ferry guest`. Blocks until the guest ends. */
#ifndef FERRY_VM_EMBEDDED_PROCESS_H
#define FERRY_VM_EMBEDDED_PROCESS_H

#include <signal.h>

#include "vm/embedded/guest.h"

struct guest_process_cfg {
	const char *device;		/* vfio-user socket of its controller */
	const char *control;		/* unix socket to listen on for those who control it */
	uint64_t mem_bytes;		/* 0: 64 MiB */
	struct guest_cfg guest;		/* not used with incoming: it comes with the memory */
	bool incoming;			/* waits with empty memory until it is told to run */
	struct env *env;
	/* Set from a signal handler. 1: a running guest reads everything back, then ends; 2 and more: ends now. NULL: never. */
	const volatile sig_atomic_t *quit;
};

/* 0: ended as asked (quit, or discarded after a move); -errno with a sentence. stats: as of the end. */
int guest_process_run(const struct guest_process_cfg *, struct guest_stats *stats, struct err *);

#endif
