/* One server of the simulated pair: what `ferry serve` is in reality, with its crash and restart, and the guest process that
 * stands beside it. The real device, driver, guest and manager; only the world is pretend.
 *
 * A crash throws away everything a killed process loses: subsystem, controllers, moves, connections. What stays is what the
 * kernel keeps: the disk's bytes, the durable records, and the guest process with its memory.
 */
#ifndef FERRY_TESTS_SIM_NODE_H
#define FERRY_TESTS_SIM_NODE_H

#include "device/nvme/nvme.h"
#include "env/sim/sim.h"
#include "host/hnvme.h"
#include "host/port_loop.h"
#include "migrate/move.h"
#include "sim/vmm.h"
#include "verify/inject.h"
#include "vm/embedded/guest.h"

enum { SIM_NS_MAX = 2, NODE_PARTS = 5 };

struct sim_disk {			/* bytes that survive the server */
	struct blk *ram;		/* NULL: not there */
	bool borrowed;			/* the other server's: storage both reach */
	struct move_ns id;
};

struct sim_port { struct port port; struct port *inner; };	/* -ENODEV once the server behind it is dead */

struct sim_cfg {
	unsigned ns_count;
	uint64_t blocks;		/* 4 KiB, of each namespace */
	uint64_t mem_bytes;
	uint64_t delay_max_ns;		/* of the disks */
	bool streams;			/* the guest's VMM moves its memory itself (vmm.h) */
	bool shared;			/* one storage for both servers: moves hand over */
	struct guest_cfg guest;
};

struct node {
	const char *name;		/* "a", "b" */
	struct sim *world;
	const struct sim_cfg *cfg;
	struct env *env;
	bool up, dead;			/* dead: being torn down after a crash, its disks take nothing any more */
	struct sim_disk disk[SIM_NS_MAX];
	struct node **lock;		/* shared storage: who has it locked. NULL: it is not shared */
	bool unlocking, wants_lock;	/* giving it up as soon as no request is out; owner, and somebody else has it */
	unsigned io_out;		/* requests that the disks have not done yet */
	bool trespassed;		/* something was done to the disks without the lock */
	unsigned crashes;
	struct inj *inj;		/* faults when a move from here enters a phase; NULL: none */
	uint16_t number;		/* of this node, for its rules */
	struct inj_order wish;		/* what a rule wants; the scenario's to do, between two steps */

	/* The guest process: stays when the server dies. */
	struct guest_host guest;
	bool guest_exists, guest_paused;
	struct sim_port guest_port;
	struct vm vm;
	bool vm_tracking;
	struct vmm vmm;

	/* lost in a crash */
	struct nvme_subsys *ss;
	struct nvme_ctrl *mmc, *mc, *mc_dying;
	struct blk *faults[SIM_NS_MAX];	/* error wrappers */
	struct devloop mmc_loop, mc_loop, dying_loop;
	struct sim_port mmc_port;
	struct hnvme *hn;
	bool hn_ready;
	struct journal journal;
	bool journal_ok;
	struct move_site site;
	struct move_in *in;
	struct move_out *out;
	bool recovering;
	/* what the last move out of here said */
	char event[320], why[256];
	struct move_progress last;
	int out_rc;
	unsigned moved, failed;
	int failed_rc;
};

void node_init(struct node *, struct sim *, const char *name, const struct sim_cfg *);
void node_share(struct node *, const struct node *with, struct node **lock);
void node_fini(struct node *);
void node_first_start(struct node *);	/* makes the namespaces and the guest: this is where it begins */
void node_start(struct node *);		/* first, or after a crash: as `ferry serve` does, by the journal */
void node_crash(struct node *);
bool node_poll(struct node *, unsigned part);	/* one part of the work: 0..NODE_PARTS-1 */
bool node_guest_poll(struct node *, unsigned budget);
int node_move(struct node *, const struct move_plan *, struct err *);
void node_disk_faults(struct node *, uint32_t per_million);
bool node_runs_ctrl(const struct node *);	/* its MC may fetch and do DMA now */
bool node_runs_guest(const struct node *);
uint64_t node_deadline(const struct node *);
/* what both kinds of VM do alike */
int node_vm_discard(struct vm *);
int node_vm_alive(struct vm *, struct err *);
void node_vm_close(struct vm *);

#endif
