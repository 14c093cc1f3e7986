/* The methods of the control socket, and the events that go out on it.
 *
 * Answers are for programs (numbers, names) and for people (sentences): `ferry status` prints the sentences as they are.
 */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/command.h"
#include "cmd/rpc_client.h"
#include "cmd/serve.h"
#include "cmd/test_stop.h"

int control_code(int rc)
{
	return RPC_EXIT - (rc == -EINPROGRESS ? EXIT_FERRY_DOUBT : rc == -ECANCELED ? EXIT_FERRY_CANCELLED :
			   rc == -ENOENT || rc == -EEXIST || rc == -EBUSY || rc == -EPERM || rc == -EINVAL || rc == -EALREADY ||
			   rc == -ENOTSUP ? EXIT_FERRY_REFUSED : EXIT_FERRY_FAILED);
}

void hex_put(struct buf *out, const void *p, size_t n)
{
	static const char digit[] = "0123456789abcdef";
	char *to = buf_grow(out, 2 * n);

	for (size_t i = 0; to && i < n; i++) {
		to[2 * i] = digit[((const uint8_t *)p)[i] >> 4];
		to[2 * i + 1] = digit[((const uint8_t *)p)[i] & 15];
	}
}

static int nibble(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hex_get(const char *text, void *out, size_t n)
{
	if (strlen(text) != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int hi = nibble(text[2 * i]), lo = nibble(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		((uint8_t *)out)[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

/* ---- events */

#define PROGRESS_NUMBERS(P) /* members of struct move_progress as they appear in JSON */                        \
	P(round) P(mem_total) P(mem_sent) P(mem_dirty) P(link_bytes) P(rate) P(dirty_rate) P(predicted_stop_ns) \
	P(eta_ns) P(throttle) P(gap_ns) P(device_gap_ns) P(overflows) P(at_ns) P(started_ns)

json_object *control_progress(const struct move_progress *p)
{
	json_object *o = json_object_new_object(), *list = json_object_new_array();

	json_object_object_add(o, "phase", json_object_new_string(move_phase_name(p->phase)));
#define PROGRESS_ADD_(m) json_object_object_add(o, #m, json_object_new_uint64(p->m));
	PROGRESS_NUMBERS(PROGRESS_ADD_)
	json_object_object_add(o, "converges", json_object_new_boolean(p->converges));
	for (unsigned i = 0; i < p->ns_count && i < MOVE_NS_MAX; i++) {
		json_object *n = json_object_new_object();

		json_object_object_add(n, "total", json_object_new_uint64(p->ns_total[i]));
		json_object_object_add(n, "sent", json_object_new_uint64(p->ns_sent[i]));
		json_object_object_add(n, "dirty", json_object_new_uint64(p->ns_dirty[i]));
		json_object_array_add(list, n);
	}
	json_object_object_add(o, "namespaces", list);
	return o;
}

void control_event(struct serve *s, const char *guest, const struct move_event *e)
{
	json_object *o = json_object_new_object();

	log_info("guest %s: %s: %s: %s", guest, move_phase_name(e->phase), e->kind, e->text);
	json_object_object_add(o, "guest", json_object_new_string(guest));
	json_object_object_add(o, "kind", json_object_new_string(e->kind));
	json_object_object_add(o, "phase", json_object_new_string(move_phase_name(e->phase)));
	json_object_object_add(o, "text", json_object_new_string(e->text));
	json_object_object_add(o, "progress", control_progress(&e->progress));
	rpc_publish(s->rpc, guest, o);
	if (!strcmp(e->kind, "phase"))
		test_stop_phase(move_phase_name(e->phase));
}

void control_end(struct serve *s, const char *guest, int rc, const char *why, const struct move_progress *p)
{
	json_object *o = json_object_new_object();

	log_line(rc ? LOG_WARN : LOG_INFO, "guest %s: move ended: %s", guest, why[0] ? why : rc ? strerror(-rc) : "moved");
	json_object_object_add(o, "guest", json_object_new_string(guest));
	json_object_object_add(o, "kind", json_object_new_string("end"));
	json_object_object_add(o, "exit", json_object_new_int(rc ? RPC_EXIT - control_code(rc) : 0));
	json_object_object_add(o, "text", json_object_new_string(why[0] ? why : rc ? strerror(-rc) : "moved"));
	json_object_object_add(o, "progress", control_progress(p));
	rpc_publish(s->rpc, guest, o);
}

/* ---- status */

/* What a person should know or do about this guest: one sentence. */
static void advice(const struct served *g, char *text, size_t cap)
{
	const struct journal *j = &g->journal;

	text[0] = '\0';
	if (g->trouble[0])
		snprintf(text, cap, "not served: %s", g->trouble);
	else if (j->own == OWN_HANDED)
		snprintf(text, cap, "in doubt: this server handed it over to %s and has no answer yet; nobody runs it here. It keeps asking. "
			 "Run 'ferry status %s' on that server: if it says owner, all is well and the answer will come; if that server "
			 "is lost for ever, see 'ferry resolve --help'", j->peer, g->name);
	else if (j->own == OWN_RESERVED)
		snprintf(text, cap, "a move to here from %s is under way; not run here before it commits", j->peer);
	else if (j->own == OWN_RELEASED)
		snprintf(text, cap, "it has moved to %s; the data here is old and kept for its return", j->peer);
	else if (j->own == OWN_OWNER && g->out && !served_has_storage(g) && move_out_progress(g->out)->phase == MOVE_UNDO)
		snprintf(text, cap, "stands still: its storage was given up for a move that came to nothing, and now somebody else has locked it. "
			 "It goes on here as soon as that lock is gone");
	else if (j->own == OWN_OWNER && g->out)
		snprintf(text, cap, "runs here; being moved to %s", j->peer[0] ? j->peer : "another server");
	else if (j->own == OWN_OWNER && g->resize.call)
		snprintf(text, cap, "runs here; its namespace %u is being resized", g->resize.n->guest_nsid);
	else if (j->own == OWN_OWNER)
		snprintf(text, cap, "runs here");
	else if (g->cfg && !g->cfg->arrives)
		snprintf(text, cap, "not here: a move to here came to nothing once, so it is taken to live elsewhere; it can come by a move");
	else
		snprintf(text, cap, "not here");
}

static json_object *guest_status(const struct served *g)
{
	json_object *o = json_object_new_object(), *list = json_object_new_array();
	const struct move_progress *in = g->s->in ? move_in_progress(g->s->in, g->name) : NULL;
	char text[800];

	json_object_object_add(o, "name", json_object_new_string(g->name));
	json_object_object_add(o, "own", json_object_new_string(own_name(g->journal.own)));
	json_object_object_add(o, "epoch", json_object_new_uint64(g->journal.epoch));
	json_object_object_add(o, "why", json_object_new_string(g->journal.why));
	json_object_object_add(o, "peer", json_object_new_string(g->journal.peer));
	advice(g, text, sizeof(text));
	json_object_object_add(o, "says", json_object_new_string(text));
	json_object_object_add(o, "in_doubt", json_object_new_boolean(g->journal.own == OWN_HANDED));
	json_object_object_add(o, "served", json_object_new_boolean(g->mc && nvme_ctrl_is_online(g->mc)));
	json_object_object_add(o, "attached", json_object_new_boolean(g->sock && vuser_server_attached(g->sock)));
	if (g->mc) {
		struct nvme_ctrl_stats st;

		nvme_ctrl_stats(g->mc, &st);
		json_object_object_add(o, "cntlid", json_object_new_int(nvme_ctrl_cntlid(g->mc)));
		json_object_object_add(o, "suspended", json_object_new_boolean(nvme_ctrl_is_suspended(g->mc)));
		json_object_object_add(o, "reads", json_object_new_uint64(st.reads));
		json_object_object_add(o, "writes", json_object_new_uint64(st.writes));
		json_object_object_add(o, "errors", json_object_new_uint64(st.errors));
	}
	for (unsigned i = 0; i < g->ns_count; i++) {
		const struct served_ns *n = &g->ns[i];
		json_object *e = json_object_new_object();
		uint64_t oldest_ns = 0;
		unsigned slow = 0;

		json_object_object_add(e, "guest_nsid", json_object_new_int64(n->guest_nsid));
		json_object_object_add(e, "nsid", json_object_new_int64(n->ns ? nvme_ns_nsid(n->ns) : 0));
		json_object_object_add(e, "from", json_object_new_string(n->from));
		json_object_object_add(e, "path", json_object_new_string(n->path));
		json_object_object_add(e, "bytes", json_object_new_uint64(n->blocks * n->block));
		json_object_object_add(e, "block", json_object_new_uint64(n->block));
		if (n->ns)
			nvme_ns_slow(n->ns, &slow, &oldest_ns);
		json_object_object_add(e, "slow_requests", json_object_new_int64(slow));
		json_object_object_add(e, "slow_oldest_ns", json_object_new_uint64(oldest_ns));
		json_object_array_add(list, e);
	}
	json_object_object_add(o, "namespaces", list);
	if (g->out || in)
		json_object_object_add(o, g->out ? "moving_out" : "moving_in",
				       control_progress(g->out ? move_out_progress(g->out) : in));
	else if (g->last.started_ns)
		json_object_object_add(o, "last_move", control_progress(&g->last));
	return o;
}

/* What is in use, not what the process has got: the difference is holes that the next move fills. */
static uint64_t heap_bytes(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void method_status(void *ctx, struct rpc_call *call, json_object *params)
{
	struct serve *s = ctx;
	const char *only = json_str(params, "guest");
	json_object *o, *list;

	if (only[0] && (!served_find(s, only) || !served_known(served_find(s, only)))) {
		rpc_fail(call, RPC_EXIT - EXIT_FERRY_REFUSED, "guest '%s' is unknown here", only);
		return;
	}
	o = json_object_new_object();
	list = json_object_new_array();
	json_object_object_add(o, "server", json_object_new_string(s->cfg.server.name));
	json_object_object_add(o, "pid", json_object_new_int(getpid()));
	json_object_object_add(o, "link", json_object_new_string(s->cfg.server.link));
	json_object_object_add(o, "heap_bytes", json_object_new_uint64(heap_bytes()));
	json_object_object_add(o, "up_ns", json_object_new_uint64(env_now_ns(s->env) - s->started_ns));
	for (unsigned i = 0; i < s->guests; i++)
		if (served_known(s->guest[i]) && (!only[0] || !strcmp(only, s->guest[i]->name)))
			json_object_array_add(list, guest_status(s->guest[i]));
	json_object_object_add(o, "guests", list);
	rpc_reply(call, o);
}

/* ---- moves */

static bool text_param(json_object *params, const char *key, char *out, size_t cap)
{
	const char *v = json_str(params, key);

	if (strlen(v) >= cap)
		return false;
	snprintf(out, cap, "%s", v);
	return true;
}

static bool flag_param(json_object *params, const char *key) { return json_object_get_boolean(json_get(params, key)); }

static int plan_from(struct serve *s, json_object *params, struct move_plan *p, struct err *err)
{
	const char *mode = json_str(params, "mode");

	*p = (struct move_plan){ .downtime_ns = json_u64(params, "downtime_ns"), .bandwidth = json_u64(params, "bandwidth"),
				 .no_throttle = flag_param(params, "no_throttle"), .force = flag_param(params, "force"),
				 .verify = flag_param(params, "verify"), .give_up_ns = json_u64(params, "give_up_ns") };
	if (!text_param(params, "guest", p->guest, sizeof(p->guest)) || !p->guest[0])
		return err_set(err, -EINVAL, "guest is missing or too long");
	if (!text_param(params, "to", p->to, sizeof(p->to)) || (strncmp(p->to, "unix:/", 6) && strncmp(p->to, "tcp:", 4)))
		return err_set(err, -EINVAL, "to: the target's link address, unix:/PATH or tcp:HOST:PORT");
	if (addr_judge(p->to, err))
		return -EINVAL;
	if (!strcmp(p->to, s->cfg.server.link))
		return err_set(err, -EINVAL, "%s is this server itself", p->to);
	if (mode[0] && strcmp(mode, "copy") && strcmp(mode, "handover"))
		return err_set(err, -EINVAL, "mode is copy or handover");
	p->mode = !strcmp(mode, "handover") ? MOVE_HANDOVER : MOVE_COPY;
	snprintf(p->here, sizeof(p->here), "%s", s->cfg.server.link);
	return 0;
}

static int may_move(struct served *g, const char *name, struct err *err)
{
	if (!g || !served_known(g))
		return err_set(err, -ENOENT, "guest '%s' is unknown here", name);
	if (g->out)
		return err_set(err, -EBUSY, "guest %s is being moved already (%s); 'ferry cancel %s' stops that", name,
			       move_phase_name(move_out_progress(g->out)->phase), name);
	if (g->resize.call)
		return err_set(err, -EBUSY, "namespace %u of guest %s is being resized; move it when that has ended", g->resize.n->guest_nsid,
			       name);
	if (g->trouble[0])
		return err_set(err, -EBUSY, "guest %s: %s", name, g->trouble);
	if (g->journal.own != OWN_OWNER || !g->mc || g->leaving)
		return err_set(err, -EPERM, "guest %s is not run here (%s, epoch %" PRIu64 "): move it from where it runs%s%s", name,
			       own_name(g->journal.own), g->journal.epoch, g->journal.peer[0] ? ", perhaps " : "",
			       g->journal.peer);
	/* Its memory would stay here and its controller go: a VM that is merely attached, and of which we were told nothing, dies of it. */
	if (g->cfg && !g->cfg->vm_said && g->sock && vuser_server_attached(g->sock))
		return err_set(err, -EPERM, "a VM is attached to guest %s, but its section of the configuration does not say which: it could not be "
			       "stopped and its memory not moved. Put vm=embedded:PATH or vm=qemu:PATH there (or vm=none, and move it yourself)", name);
	return 0;
}

static void method_migrate(void *ctx, struct rpc_call *call, json_object *params)
{
	struct serve *s = ctx;
	struct move_plan plan;
	struct err err = { "" };
	struct served *g;
	int rc = plan_from(s, params, &plan, &err);

	if (rc) {
		rpc_fail(call, RPC_EXIT - EXIT_FERRY_USAGE, "%s", err.text);
		return;
	}
	g = served_find(s, plan.guest);
	rc = s->stop ? err_set(&err, -EBUSY, "this server is stopping") :
	     !s->mmc ? err_set(&err, -EPERM, "this server gives its MMC away (mmc_socket=) and cannot move guests") :
	     !hnvme_ready(s->mmc) ? err_set(&err, -EBUSY, "the migration management controller did not answer and is being reset; try again later") :
	     may_move(g, plan.guest, &err);
	if (!rc && plan.mode == MOVE_HANDOVER)
		rc = served_judge_shared(g, &err);
	/* Before anything moves: whoever dies in the middle of a copy must not take what it left for what the guest has (site.c, place_ns). */
	if (!rc && (rc = store_shared(g, plan.mode == MOVE_HANDOVER)))
		err_set(&err, rc, "the record of guests cannot be written: %s", strerror(-rc));
	if (!rc && !(g->out = move_out_start(&s->site, &plan, &err)))
		rc = -EIO;
	if (rc) {
		rpc_fail(call, control_code(rc), "%s", err.text);
		return;
	}
	rpc_reply(call, json_object_new_string("started"));
}

static void method_cancel(void *ctx, struct rpc_call *call, json_object *params)
{
	const char *name = json_str(params, "guest");
	struct served *g = served_find(ctx, name);
	int rc = g && g->out ? move_out_cancel(g->out, "asked for by 'ferry cancel'") : -ENOENT;

	if (rc == -ENOENT)
		rpc_fail(call, control_code(rc), "guest '%s' is not being moved from here", name);
	else if (rc)
		rpc_fail(call, control_code(rc), "too late: the move of %s has been committed and cannot be undone; it will run at the target",
			 name);
	else
		rpc_reply(call, json_object_new_string("will be undone"));
}

static void method_watch(void *ctx, struct rpc_call *call, json_object *params)
{
	const char *name = json_str(params, "guest");

	(void)ctx;
	rpc_subscribe(call, name[0] ? name : NULL);
	rpc_reply(call, json_object_new_string("watching"));
}

static void resolve_lost(struct rpc_call *call, struct served *g, bool here)
{
	struct err err = { "" };
	int rc = store_resolve(g, here, &err);

	log_warn("guest %s, whose ownership record was lost, resolved by hand: runs %s", g->name, here ? "here" : "there");
	if (rc)
		rpc_fail(call, control_code(rc), "%s", err.text);
	else
		rpc_reply(call, json_object_new_string(own_name(g->journal.own)));
}

static void method_resolve(void *ctx, struct rpc_call *call, json_object *params)
{
	struct serve *s = ctx;
	const char *name = json_str(params, "guest"), *runs = json_str(params, "runs");
	struct served *g = served_find(s, name);
	bool here = !strcmp(runs, "here");
	struct err err = { "" };
	char peer[sizeof(g->journal.peer)];	/* copies: journal_set writes where these stand */
	uint8_t move[16];
	int rc;

	if (!here && strcmp(runs, "there")) {
		rpc_fail(call, RPC_PARAMS, "runs is here or there");
		return;
	}
	if (!g || (g->journal.own != OWN_HANDED && !g->lost)) {
		rpc_fail(call, RPC_EXIT - EXIT_FERRY_REFUSED, "guest '%s' is not in doubt here (%s)", name,
			 g ? own_name(g->journal.own) : "unknown");
		return;
	}
	if (!flag_param(params, "force")) {
		rpc_fail(call, RPC_EXIT - EXIT_FERRY_REFUSED,
			 "if this is untrue two servers run guest %s and its data is lost: look at %s first, then use --force", name,
			 g->lost ? "every server it can be on" : g->journal.peer);
		return;
	}
	if (g->lost) {
		resolve_lost(call, g, here);
		return;
	}
	if (g->out) { /* undone, or cleaned up, as if the target had said it */
		rc = move_out_resolve(g->out, here);
		if (rc == -EBUSY)
			rpc_fail(call, control_code(rc), "the storage of %s is locked by another program: somebody may run it there. It stays in doubt",
				 name);
		else if (rc)
			rpc_fail(call, control_code(rc), "cannot write the journal of %s; it is tried again every second", name);
		else
			rpc_reply(call, json_object_new_string(here ? "owner" : "released"));
		return;
	}
	if (here && (rc = s->site.lock(s, name, true, &err))) {
		rpc_fail(call, control_code(rc), "%s", err.text);
		return;
	}
	memcpy(peer, g->journal.peer, sizeof(peer));
	memcpy(move, g->journal.move, sizeof(move));
	rc = journal_set(&g->journal, here ? OWN_OWNER : OWN_RELEASED, g->journal.epoch + here, move, peer,
			 here ? "resolved by hand: never started at the target" : "resolved by hand: runs at the target");
	if (rc) {
		rpc_fail(call, control_code(rc), "cannot write the journal of %s: %s", name, strerror(-rc));
		return;
	}
	log_warn("guest %s resolved by hand: runs %s", name, runs);
	if (!here)
		s->site.gone(s, name);
	else if (g->mc)
		nvme_ctrl_set_online(g->mc, true);
	site_wake(g, here ? WAKE_RUN : WAKE_END);
	rpc_reply(call, json_object_new_string(here ? "owner" : "released"));
}

static void method_shutdown(void *ctx, struct rpc_call *call, json_object *params)
{
	(void)params;
	((struct serve *)ctx)->stop = true;
	rpc_reply(call, json_object_new_string("stopping"));
}

const struct rpc_method control_methods[] = {
	{ "status", method_status, "{guest?}: server and guests" },
	{ "migrate", method_migrate, "{guest, to, mode?, downtime_ns?, bandwidth?, no_throttle?, force?, verify?, give_up_ns?}: starts a move" },
	{ "cancel", method_cancel, "{guest}: undoes a move that has not been committed" },
	{ "watch", method_watch, "{guest?}: events come as notifications from now on" },
	{ "resolve", method_resolve, "{guest, runs: here|there, force}: what became of a guest in doubt" },
	{ "resize", control_resize, "{guest, nsid, bytes, shrink?, timeout_ns?}: another size for a namespace; {bytes, was, note} when it is done" },
	{ "nvme", control_nvme, "{queue, opcode, nsid?, cdw2.., data?, data_len?, cdq_bytes?}: one command to the MMC" },
	{ "ring", control_ring, "{cdqid, max?}: entries of a data queue made with `nvme`" },
	{ "shutdown", method_shutdown, "stops the server" },
	{ NULL }
};
