/* A pretend VMM that moves its guest's memory itself, as QEMU does: it knows what its processors wrote and what it was told (touched),
 * not what the controller wrote through the mapping. Stands in for vm/qemu in the simulator, where seeds say so.
 */
#ifndef FERRY_TESTS_SIM_VMM_H
#define FERRY_TESTS_SIM_VMM_H

#include "migrate/move.h"

struct node;
enum { VMM_TOUCHES = 8, VMM_RECORD = 8 + 4096 };

struct vmm {
	struct { uint64_t iova, due_ns, number; uint8_t byte; } touch[VMM_TOUCHES];	/* DMA_WRITEs on their way, in order */
	unsigned touches;
	/* its stream; vmm_reset forgets it */
	bool sending, receiving, stands, finished, touching;
	uint64_t *dirty;		/* pages still to be sent */
	uint64_t cursor;
	uint32_t record_len, record_at;
	uint8_t record[VMM_RECORD];	/* being read or written */
};

extern const struct vm_ops sim_vmm_ops;		/* of node.vm */
int vmm_touch(struct node *, enum move_touch, struct err *);
bool vmm_poll(struct node *);			/* takes what the controller's transport tells */
void vmm_reset(struct node *);			/* the guest process is new, or its server died */
void vmm_detach(struct node *);			/* the controller loses its client: what was on its way never arrives */

#endif
