/* The manager's handle on an embedded guest's process, over its control socket (control.h). */
#ifndef FERRY_VM_EMBEDDED_VM_EMBEDDED_H
#define FERRY_VM_EMBEDDED_VM_EMBEDDED_H

#include "vm/embedded/control.h"
#include "vm/vm.h"

/* Connects when `open` is called. NULL and a sentence when there is no memory or the path is too long. */
struct vm *vm_embedded_new(const char *control_path, struct err *);
/* Opened: a copy of the guest's statistics and what it is doing. 0; -EAGAIN it was being written; -ENODEV not open. */
int vm_embedded_stats(struct vm *, struct guest_stats *, uint32_t *is);

#endif
