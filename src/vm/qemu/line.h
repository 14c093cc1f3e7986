/* A unix socket to QEMU that carries lines of text both ways: what QMP and the qtest protocol have in common.
 *
 * Called by qmp.c and qtest.c, manager's thread, never blocks. Lines are bounded, in both directions; what comes in is hostile.
 */
#ifndef FERRY_VM_QEMU_LINE_H
#define FERRY_VM_QEMU_LINE_H

#include "base/buf.h"
#include "base/err.h"

enum { LINE_MAX_BYTES = 1 << 20 };	/* query-pci of a large machine has some ten KiB; an MSI-X table of 2048 entries 64 KiB of hex */

struct line {
	int fd;				/* -1: not connected */
	struct buf in, out;
	size_t taken, seen;		/* of in: bytes handed out; bytes known to hold no further end of line */
	int pass;			/* descriptor to travel with the byte at pass_at of out; -1 none */
	size_t pass_at;
	int mute, dead;			/* why nothing can be sent, read, any more; 0: it can */
};

void line_init(struct line *);
void line_hang_up(struct line *);		/* back to as after init */
int line_dial(struct line *, const char *path);	/* 0, -EAGAIN (its backlog is full), -errno */
/* Queues text, ended by a newline already, and tries to send. `pass` >= 0: goes with its first byte and is closed then; one at a time.
 * 0 or -errno (-ENOBUFS: too much is waiting, -EBUSY: another descriptor is). On an error `pass` is still the caller's. */
int line_put(struct line *, const char *text, size_t len, int pass);
int line_flush(struct line *);			/* 0 all sent, -EAGAIN, -errno */
/* The next line, without its end, NUL behind it; valid until the next call. -EAGAIN, -EPIPE at its end, -EMSGSIZE, -errno. */
int line_get(struct line *, char **text, size_t *len);

uint64_t line_now_ns(void);			/* monotonic */
/* Copies text of a stranger for a sentence: printable characters only, cut at cap. Returns to. */
char *line_clean(char *to, size_t cap, const char *from);

#endif
