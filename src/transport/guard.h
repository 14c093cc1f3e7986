/* Guest memory that vanishes under us (the VMM shrinks the file) must cost a command, not the process.
 *
 * A process-wide SIGBUS handler lays a zero page over the page that faulted, if it lies in a registered range, and sets the
 * range's flag. Any other SIGBUS goes to whoever had the signal before. Any thread.
 */
#ifndef FERRY_TRANSPORT_GUARD_H
#define FERRY_TRANSPORT_GUARD_H

#include <signal.h>

#include "base/bytes.h"

/* Guards the shared mapping [ptr, ptr+len). page: its page size (huge pages: theirs); prot as given to mmap.
 * 0, -ENOMEM, -errno from sigaction. */
int guard_add(void *ptr, size_t len, size_t page, int prot, volatile sig_atomic_t *lost);
/* Takes SIGBUS from whoever has it now. The first guard_add does so; only a program that sets a handler of its own later (and
 * does not pass on what is not its) calls this again. 0 or -errno. */
int guard_install(void);
void guard_del(void *ptr); /* before munmap. Looks at every range there is: */
/* whoever has very many takes these instead. */
int guard_add_slot(void *ptr, size_t len, size_t page, int prot, volatile sig_atomic_t *lost, unsigned *slot);
void guard_del_slot(unsigned slot);

#endif
