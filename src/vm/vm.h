/* What is being moved, besides the controller: a guest with memory and processors, whatever runs it.
 *
 * Adapters: vm/embedded (ours) and vm/qemu. The manager calls these from its poll; none blocks. Calls that need time say
 * -EAGAIN and are called again until they say 0 or fail; calling an operation that is already done is harmless.
 *
 * Memory goes one of two ways. moves_memory: the manager reads and sends pages (mem, track, dirty_next). streams: the VMM sends memory
 * and its own devices as a stream of bytes that the manager carries (stream_*); it stops the processors itself, when what is left
 * fits the time it was allowed. Neither: there is no memory to move.
 */
#ifndef FERRY_VM_VM_H
#define FERRY_VM_VM_H

#include "base/bytes.h"
#include "base/err.h"

struct vm_range { uint64_t gpa, bytes; };	/* multiple of VM_PAGE */
enum { VM_PAGE = 4096, VM_RANGES_MAX = 16, VM_SHAPE_MAX = 256, VM_IMAGE_MAX = 64 * 1024 };

struct vm_info {
	char kind[16];			/* "embedded", "qemu", "none" */
	bool moves_memory;		/* the manager moves its memory */
	bool streams;			/* the VMM moves it itself, as a stream; never both */
	char shape[VM_SHAPE_MAX];	/* streams: what must be the same at both ends, in words that a person can compare; "": nothing */
	unsigned ranges;
	struct vm_range range[VM_RANGES_MAX];
};

struct vm_stream {			/* how far a VMM's own stream is */
	uint64_t total, sent, left;	/* bytes of memory: all, sent so far (again counts again), known to be left */
	uint64_t rate;			/* bytes/s, 0 unknown */
	uint64_t rounds;
	uint64_t stop_ns;		/* how long it thinks it would stand still now; 0 unknown */
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
	/* Processors stopped: on 0 they write nothing more, their last writes are in the log, and what they wrote to registers of the
	 * controller has arrived there. With streams: called when stream_settle has said that they stand; -ESTALE before. */
	int (*pause)(struct vm *, struct err *);
	/* Processors go on; a stream under way is given up. At the target: for the first time, with the memory that arrived. */
	int (*resume)(struct vm *, struct err *);
	/* The guest now runs elsewhere (source, after `started`): end it. One that waits for a move to here is left alone. */
	int (*discard)(struct vm *);
	/* Still there? 0, or -errno with a sentence when the VMM is gone. */
	int (*alive)(struct vm *, struct err *);
	/* Frees; the guest itself goes on as it is, except a VMM that began to receive a stream and was never resumed: it is ended, half a
	 * guest is of no use. */
	void (*close)(struct vm *);

	/* ---- streams only; NULL otherwise ---- */

	/* Source: the VMM begins to send (and does not stop the processors before stream_settle allows it). Target: it is ready to receive. */
	int (*stream_begin)(struct vm *, bool incoming, struct err *);
	/* Source: bytes read (1 to cap); 0 the stream has ended; -EAGAIN none now; -errno. */
	int64_t (*stream_read)(struct vm *, void *buf, size_t cap, struct err *);
	/* Target: bytes taken (1 to len); -EAGAIN none now; -errno. len 0: the stream has ended, 0 when that is told. */
	int64_t (*stream_write)(struct vm *, const void *buf, size_t len, struct err *);
	/* Source: the VMM may stop the processors when what is left takes at most so long; 0: it must not yet. 0 once they stand (nobody may run
	 * them until resume), -EAGAIN before. Fills *progress each time. */
	int (*stream_settle)(struct vm *, uint64_t allowed_ns, struct vm_stream *progress, struct err *);
	/* Source, after pause, and after the VMM was told all that the controller wrote: it may send the rest. Bytes are to be read on
	 * meanwhile. 0 when the VMM says that everything was sent. */
	int (*stream_finish)(struct vm *, struct err *);
	/* Source, after stream_finish: what the VMM does not carry of our function (PCI configuration, MSI-X table). Bytes (at most
	 * VM_IMAGE_MAX); -errno. */
	int64_t (*image)(struct vm *, void *buf, size_t cap, struct err *);
	/* Target, after the whole stream was written: the VMM has loaded it, and the image is in place, compared. */
	int (*arrive)(struct vm *, const void *image, size_t len, struct err *);
};

#endif
