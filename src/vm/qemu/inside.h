/* The adapter's own parts to each other: vm_qemu.c (jobs, operations), open.c (is this a QEMU we can move?), out.c (source), in.c (target).
 *
 * One job at a time: an operation that takes several calls. Another operation begun meanwhile drops it, with the answers it waited for;
 * commands that were sent still happen, in order, so the next job looks at what is, not at what the last one meant to do.
 */
#ifndef FERRY_VM_QEMU_INSIDE_H
#define FERRY_VM_QEMU_INSIDE_H

#include "base/step.h"
#include "vm/qemu/pci_image.h"
#include "vm/qemu/qmp.h"
#include "vm/qemu/qtest.h"
#include "vm/vm.h"

#define QEMU_NS_PER_MS 1000000ull
#define QEMU_NS_PER_S 1000000000ull

enum { QEMU_ASKS_MAX = 10, QEMU_POLL_MS = 100, QEMU_SNDBUF = 208 * 1024 };	/* half of it made the stream half as fast; more is not to be had (wmem_max) */

enum qemu_job { JOB_NONE, JOB_OPEN, JOB_BEGIN, JOB_PAUSE, JOB_FINISH, JOB_ARRIVE, JOB_RESUME, JOB_DISCARD };
enum qemu_side { SIDE_NONE, SIDE_OUT, SIDE_IN };

struct qemu_watch {			/* query-migrate, asked again and again */
	uint32_t id;			/* in flight; 0 none */
	uint64_t due_ns;
	unsigned migrations;		/* events seen when it was last asked */
	uint64_t read_at_ask;
	bool answered;			/* since it was reset: status means something */
	char status[QMP_WORD];		/* "": no migration */
	char why[256];
};

struct vm_qemu {
	struct vm vm;
	char device_socket[108];
	struct qmp qmp;
	struct qtest qtest;

	enum qemu_job job;
	int at;
	unsigned asks, polled;
	uint32_t ask[QEMU_ASKS_MAX];
	json_object *got[QEMU_ASKS_MAX];
	uint64_t deadline_ns;
	struct access_list list;

	bool open;			/* the rest of this block is known */
	struct vm_info info;
	char id[64], qom[160];		/* the device's */

	enum qemu_side side;		/* a stream was begun, or tried, and not taken back since */
	bool begun;			/* and QEMU took it up */
	bool at_rest;			/* resume was done, and nothing begun since */
	bool was_running;		/* before the move: whoever paused his guest finds it paused */
	bool standing;			/* source: processors stopped for us */
	bool paused, continued, finished;	/* source; continued: QEMU was told to send the rest */
	bool arrived;			/* target */
	int fd;				/* our end of the stream; -1 */
	json_object *old_caps, *old_params;	/* what to put back if the move is given up */
	unsigned resets, resumes;	/* seen when the processors stood */

	struct qemu_watch watch;
	struct vm_stream progress;
	uint32_t steer_id;		/* migrate-set-parameters in flight; 0 none */
	uint64_t limit_ms, steered_ns;
	bool hold;			/* see vm_qemu.h */
	uint64_t read_bytes, read_until;	/* while held: as many bytes as may be read in all */
	uint64_t quiet_ns;		/* nothing to read (source), nothing taken (target) since; 0: not so */

	struct pci_image image;
	bool early;			/* target: the rest of this block was read before the stream came */
	uint8_t early_bus, early_devfn;
	uint8_t have[PCI_IMAGE_CFG];	/* what the function reads before it is given the image's */
	uint8_t table[PCI_IMAGE_TABLE_MAX];
};

/* ---- vm_qemu.c */
int qemu_ask(struct vm_qemu *, const char *command, json_object *args, struct err *);	/* 0 or -errno; answer n goes to got[n] */
int qemu_ask_with(struct vm_qemu *, const char *command, json_object *args, int pass, struct err *);
int qemu_answers(struct vm_qemu *, struct err *);	/* -EAGAIN until all asked have answered; 0; the first error */
void qemu_asks_clear(struct vm_qemu *);
json_object *qemu_args(const char *name, json_object *value);	/* an object of it; takes value. NULL without memory, as all of these */
json_object *qemu_args2(const char *name, json_object *value, const char *name2, json_object *value2);
json_object *qemu_str(const char *);
int qemu_look_latch(struct vm_qemu *, struct err *);		/* begins to read CF8h, the answer is list.a[0].value */
void qemu_stream_forget(struct vm_qemu *);		/* closes it, and forgets what was on its way */
bool qemu_migrating(const char *status);		/* neither ended nor never begun */
void qemu_watch_reset(struct vm_qemu *);
int qemu_watch(struct vm_qemu *, bool often, struct err *);	/* keeps watch.status and progress; 0 or -errno */
int qemu_find_pci(struct vm_qemu *, json_object *pci, uint8_t *bus, uint8_t *devfn, struct err *);
int qemu_stream_open(struct vm_qemu *, int *theirs, struct err *);
int qemu_caps(struct vm_qemu *, json_object *have, bool incoming, struct err *);	/* asks for what must change, remembers what was */

int qemu_open_steps(struct vm_qemu *, struct err *);

int qemu_out_begin_steps(struct vm_qemu *, struct err *);
int64_t qemu_out_read(struct vm *, void *buf, size_t cap, struct err *);
int qemu_out_settle(struct vm *, uint64_t allowed_ns, struct vm_stream *, struct err *);
int qemu_out_pause_steps(struct vm_qemu *, struct err *);
int64_t qemu_out_image(struct vm *, void *buf, size_t cap, struct err *);
int qemu_out_finish_steps(struct vm_qemu *, struct err *);
int qemu_out_resume_steps(struct vm_qemu *, struct err *);

int qemu_in_begin_steps(struct vm_qemu *, struct err *);
int64_t qemu_in_write(struct vm *, const void *buf, size_t len, struct err *);
int qemu_in_arrive_steps(struct vm_qemu *, const void *image, size_t len, struct err *);
int qemu_in_resume_steps(struct vm_qemu *, struct err *);

#endif
