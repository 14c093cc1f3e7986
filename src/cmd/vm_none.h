/* A guest without a VM that we know: only its controller and its namespaces move; whoever drives it is on its own. */
#ifndef FERRY_CMD_VM_NONE_H
#define FERRY_CMD_VM_NONE_H

#include "vm/vm.h"

struct vm *vm_none_new(void); /* NULL: no memory */

#endif
