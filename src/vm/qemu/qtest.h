/* Client of QEMU's qtest protocol: ports and physical memory of a guest, as text lines over a unix socket. No QMP command reaches these.
 *
 * Called by the adapter, manager's thread, never blocks. One list of accesses at a time; all of it is sent before the first answer is read.
 */
#ifndef FERRY_VM_QEMU_QTEST_H
#define FERRY_VM_QEMU_QTEST_H

#include "vm/qemu/access.h"
#include "vm/qemu/line.h"

struct qtest {
	struct line line;
	char path[120];
	uint64_t patience_ns, deadline_ns;
	struct access_list *list;	/* being carried out; NULL none */
	unsigned next;			/* its access that is answered next */
	unsigned ignore;		/* answers still to come to a list that was given up */
};

int qtest_init(struct qtest *, const char *path, uint64_t patience_ns, struct err *);
void qtest_hang_up(struct qtest *);
/* -EAGAIN, 0, -errno with a sentence. There is no greeting: that somebody answers shows at the first list. */
int qtest_open(struct qtest *, struct err *);
/* The list stays the caller's and must live until qtest_run no longer says -EAGAIN, or qtest_give_up. 0 or -errno. */
int qtest_start(struct qtest *, struct access_list *, struct err *);
int qtest_run(struct qtest *, struct err *);	/* -EAGAIN; 0: all done; -errno with a sentence, then it has hung up */
/* What was sent is still carried out, only the answers are dropped: a list that ends by putting the address latch back does so. */
void qtest_give_up(struct qtest *);

#endif
