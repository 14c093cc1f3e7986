/* QMP client: QEMU's monitor, JSON lines over a unix socket. Commands carry ids, several are in flight; events are kept as state.
 *
 * Called by the adapter (vm_qemu.c and its parts), manager's thread, never blocks. What comes in is hostile: lines are bounded, types
 * are looked at, ids that nobody asked for end the connection. Each command has a deadline.
 */
#ifndef FERRY_VM_QEMU_QMP_H
#define FERRY_VM_QEMU_QMP_H

#include <json-c/json.h>

#include "vm/qemu/line.h"

enum { QMP_CALLS_MAX = 16, QMP_WORD = 48 };

struct qmp_call {
	uint32_t id;			/* 0: free */
	bool answered;
	int rc;				/* once answered */
	uint64_t deadline_ns;
	char command[QMP_WORD];
	char why[256];			/* QEMU's own words when rc != 0 */
	json_object *ret;
};

/* What events have told; counts only go up. */
struct qmp_seen {
	unsigned stops, resumes, resets, migrations;
	bool shutdown, by_guest;	/* it ends or has powered off; because the guest said so */
	char reason[QMP_WORD];
	char migration[QMP_WORD];	/* status the last MIGRATION event named; "": none yet */
};

struct qmp {
	struct line line;
	char path[108];
	uint64_t patience_ns;		/* for every command, and for the greeting */
	int at;				/* of qmp_open */
	uint64_t deadline_ns;
	bool greeted;
	unsigned major, minor, micro;
	uint32_t last_id, hello_id;
	struct qmp_seen seen;
	struct qmp_call call[QMP_CALLS_MAX];
	json_tokener *tok;
	int broken;			/* why the connection is of no more use; 0: it is */
	char why[256];
};

int qmp_init(struct qmp *, const char *path, uint64_t patience_ns, struct err *);
void qmp_fini(struct qmp *);			/* also of a zeroed one */
void qmp_hang_up(struct qmp *);			/* closes; qmp_open connects anew. Commands in flight are forgotten */
/* Connected, greeted, in command mode? -EAGAIN, 0, -errno with a sentence (then it has hung up). */
int qmp_open(struct qmp *, struct err *);
bool qmp_is_open(const struct qmp *);
/* Sends what waits, takes what came. 0, or -errno with a sentence when the connection is lost or talks nonsense. */
int qmp_poll(struct qmp *, struct err *);
/* Takes args (may be NULL) whatever becomes of it, and `pass` (a descriptor for QEMU; -1 none). Returns an id > 0 or -errno. */
int64_t qmp_send(struct qmp *, const char *command, json_object *args, int pass, struct err *);
/* -EAGAIN; 0 with *ret (the caller's to put; may be NULL: no value); -errno with a sentence naming the command. Frees the id unless -EAGAIN.
 * Polls. */
int qmp_take(struct qmp *, uint32_t id, json_object **ret, struct err *);
void qmp_forget(struct qmp *, uint32_t id);	/* its answer will be dropped */
/* Asks QEMU to end itself and hangs up at once. Does not wait. */
void qmp_quit(struct qmp *);

/* Members of what QEMU said, by type: a wrong type is as good as a missing one. `path`: names with '.' between. */
json_object *qmp_member(json_object *, const char *path, json_type);
const char *qmp_text(json_object *, const char *path);			/* "" if none */
uint64_t qmp_number(json_object *, const char *path);			/* 0 if none or negative */
bool qmp_true(json_object *, const char *path);
size_t qmp_length(json_object *list);					/* 0 if it is none */

#endif
