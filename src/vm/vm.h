/* What is being moved, besides the controller: a guest with memory and processors, whatever runs it.
 *
 * Adapters: vm/embedded (ours), later vm/qemu. The manager calls these from its poll; none blocks. Calls that need time say
 * -EAGAIN and are called again until they say 0 or fail; calling an operation that is already done is harmless.
 */
#ifndef FERRY_VM_VM_H
#define FERRY_VM_VM_H

#include "base/bytes.h"
#include "base/err.h"

struct vm_range { uint64_t gpa, bytes; };	/* multiple of VM_PAGE */
enum { VM_PAGE = 4096, VM_RANGES_MAX = 16 };

struct vm_info {
	char kind[16];			/* "embedded", "qemu", "none" */
	bool moves_memory;		/* the manager moves its memory (false: the VMM does it itself) */
	unsigned ranges;
	struct vm_range range[VM_RANGES_MAX];
};

struct vm {
	const struct vm_ops *ops;
};

struct vm_ops {
	/* Connected and understood? Fills info. -EAGAIN, 0, -errno with a sentence. */
	int (*open)(struct vm *, struct vm_info *, struct err *);
	/* Pointer to guest memory, [gpa, gpa+len) inside one range, valid until close. NULL if the adapter does not move memory. */
	void *(*mem)(struct vm *, uint64_t gpa, uint64_t len);
	/* Log of pages its processors write (the device's writes come from Track Receive). 0 or -errno. */
	int (*track)(struct vm *, bool on);
	/* Next run of pages written since taken last; clears them. cursor starts at 0. -ENOENT when there are no more. */
	int (*dirty_next)(struct vm *, uint64_t *cursor, uint64_t *gpa, uint64_t *bytes);
	/* Processors stopped: on 0 they write nothing more, and their last writes are in the log. */
	int (*pause)(struct vm *, struct err *);
	/* Processors go on. At the target: for the first time, with the memory that arrived. */
	int (*resume)(struct vm *, struct err *);
	/* The guest now runs elsewhere (source, after `started`): end it. One that waits for a move to here is left alone. */
	int (*discard)(struct vm *);
	/* Still there? 0, or -errno with a sentence when the VMM is gone. */
	int (*alive)(struct vm *, struct err *);
	void (*close)(struct vm *);	/* frees; the guest itself goes on as it is */
};

#endif
