/* `ferry migrate`: starts a move and stays with it until it ends.
 *
 * The move belongs to the server: this program only asks and shows, and may be killed without harm.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "cmd/progress.h"

enum { DRAW_MS = 200, DOUBT_WAIT_S = 30 };

struct migrate_vals {
	const char *control, *to, *mode;
	uint64_t downtime, bandwidth, give_up;
	bool no_throttle, force, verify, detach, json;
};
_Static_assert(sizeof(struct migrate_vals) <= COMMAND_VALS_MAX, "values fit");
#define T struct migrate_vals
const struct opt migrate_opts[] = {
	OPT_CONTROL(T),
	OPT(T, to, "to", 't', OPT_STR, "ADDR", "the target's link address: unix:/PATH or tcp:HOST:PORT", .needed = true),
	OPT(T, mode, "mode", 'm', OPT_STR, "copy|handover", "copy the namespaces, or hand over shared storage", .dflt = "copy"),
	OPT(T, downtime, "downtime", 'd', OPT_TIME, "TIME", "budget for the last round, guest paused", .dflt = "10ms"),
	OPT(T, bandwidth, "bandwidth", 'b', OPT_BYTES, "RATE", "bytes per second on the link at most; 0: no limit", .dflt = "0"),
	OPT(T, give_up, "give-up", 'g', OPT_TIME, "TIME", "undo the move if copying takes longer; 0: never", .dflt = "0"),
	OPT(T, no_throttle, "no-throttle", 0, OPT_FLAG, NULL, "never slow the guest down to make the move end"),
	OPT(T, force, "force", 'f', OPT_FLAG, NULL, "stop the guest even if the budget cannot be met"),
	OPT(T, verify, "verify", 0, OPT_FLAG, NULL, "compare digests of every namespace before the commit (reads all again)"),
	OPT(T, detach, "detach", 0, OPT_FLAG, NULL, "start the move and return"),
	OPT(T, json, "json", 'j', OPT_FLAG, NULL, "one JSON object per line, also on a terminal"),
	OPT_END
};
#undef T

struct session {
	struct migrate_vals *v;
	const char *guest;
	struct rpc_peer *peer;
	struct progress view;
	bool live;			/* terminal */
	int start_id, watch_id, cancel_id, status_id;
	unsigned interrupts_seen;
	int code;			/* exit code once done */
	bool done, accepted;
	time_t doubt_since;
	char text[256];
};

static volatile sig_atomic_t interrupts;
static void on_interrupt(int sig)
{
	(void)sig;
	interrupts++;
}

static json_object *request(const struct session *s)
{
	const struct migrate_vals *v = s->v;
	json_object *o = json_object_new_object();

	json_object_object_add(o, "guest", json_object_new_string(s->guest));
	json_object_object_add(o, "to", json_object_new_string(v->to));
	json_object_object_add(o, "mode", json_object_new_string(v->mode));
	json_object_object_add(o, "downtime_ns", json_object_new_uint64(v->downtime));
	json_object_object_add(o, "bandwidth", json_object_new_uint64(v->bandwidth));
	json_object_object_add(o, "give_up_ns", json_object_new_uint64(v->give_up));
	json_object_object_add(o, "no_throttle", json_object_new_boolean(v->no_throttle));
	json_object_object_add(o, "force", json_object_new_boolean(v->force));
	json_object_object_add(o, "verify", json_object_new_boolean(v->verify));
	return o;
}

static json_object *named(const char *guest)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "guest", json_object_new_string(guest));
	return o;
}

static void say(struct session *s, const char *text)
{
	if (s->live)
		progress_line(&s->view, "%s", text);
	else
		fprintf(stderr, "ferry: %s\n", text);
}

static void finish(struct session *s, int code)
{
	s->code = code;
	s->done = true;
}

static void on_end(struct session *s, json_object *event)
{
	char sum[256];

	finish(s, (int)json_num(event, "exit"));
	if (!s->live)
		return;
	progress_draw(&s->view, json_get(event, "progress"), json_str(event, "text"));
	progress_summary(json_get(event, "progress"), sum, sizeof(sum));
	if (s->code)
		printf("%s: not moved: %s\n", s->guest, json_str(event, "text"));
	else
		printf("%s: moved to %s: %s\n", s->guest, s->v->to, sum);
}

static void on_event(struct session *s, json_object *event)
{
	const char *kind = json_str(event, "kind"), *phase = json_str(event, "phase");

	if (!s->live)
		cli_print_json(event);
	if (!strcmp(phase, "in doubt"))
		s->doubt_since = s->doubt_since ? s->doubt_since : time(NULL);
	if (!strcmp(kind, "end")) {
		on_end(s, event);
		return;
	}
	snprintf(s->text, sizeof(s->text), "%s", json_str(event, "text"));
	if (!s->live)
		return;
	if (strcmp(kind, "phase"))
		progress_line(&s->view, "  %s: %s", kind, json_str(event, "text"));
	progress_draw(&s->view, json_get(event, "progress"), s->text);
}

static void on_status(struct session *s, json_object *result)
{
	json_object *list = json_get(result, "guests"), *out;

	s->status_id = 0;
	out = json_object_is_type(list, json_type_array) ? json_get(json_object_array_get_idx(list, 0), "moving_out") : NULL;
	if (out && s->live && !s->done)
		progress_draw(&s->view, out, s->text);
}

static void on_message(struct session *s, json_object *msg)
{
	struct err err = { "" };
	json_object *result;
	int code;

	if (!strcmp(json_str(msg, "method"), "event")) {
		on_event(s, json_get(msg, "params"));
	} else if (rpc_is_answer(msg, s->start_id, &code, &result, &err)) {
		s->accepted = !code;
		if (code) {
			say(s, err.text);
			finish(s, code);
		} else if (s->v->detach) {
			finish(s, EXIT_FERRY_OK);
		}
	} else if (s->cancel_id && rpc_is_answer(msg, s->cancel_id, &code, &result, &err)) {
		say(s, code ? err.text : "cancelling: waiting until everything is as it was (Ctrl-C again: leave it to the server)");
	} else if (s->status_id && rpc_is_answer(msg, s->status_id, &code, &result, &err)) {
		on_status(s, code ? NULL : result);
	}
}

static void on_signal(struct session *s, struct err *err)
{
	if ((unsigned)interrupts == s->interrupts_seen)
		return;
	s->interrupts_seen = (unsigned)interrupts;
	if (s->interrupts_seen == 1) {
		s->cancel_id = rpc_peer_send(s->peer, "cancel", named(s->guest), err);
		return;
	}
	say(s, "detached: the move goes on by itself; 'ferry status' shows it");
	finish(s, EXIT_FERRY_CANCELLED);
}

static void follow(struct session *s, struct err *err)
{
	while (!s->done) {
		json_object *msg = NULL;
		int rc = rpc_peer_next(s->peer, DRAW_MS, &msg, err);

		if (!rc)
			on_message(s, msg);
		json_object_put(msg);
		on_signal(s, err);
		if (rc == -EAGAIN && s->live && s->accepted && !s->status_id && !s->done)
			s->status_id = rpc_peer_send(s->peer, "status", named(s->guest), err);
		if (rc && rc != -EAGAIN && rc != -EINTR) {
			say(s, err->text);
			finish(s, s->accepted ? EXIT_FERRY_DOUBT : EXIT_FERRY_UNREACHABLE);
		}
		if (!s->done && s->doubt_since && time(NULL) - s->doubt_since > DOUBT_WAIT_S) {
			say(s, "in doubt: the target has not answered; the source keeps asking. 'ferry status' says what to do");
			finish(s, EXIT_FERRY_DOUBT);
		}
	}
}

int cmd_migrate(const struct command *self, void *vals, int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_interrupt };	/* no SA_RESTART: poll() must wake */
	struct session s = { .v = vals, .guest = argv[0], .code = EXIT_FERRY_UNREACHABLE };
	struct err err = { "" };

	(void)self, (void)argc;
	s.live = isatty(STDOUT_FILENO) && !s.v->json;
	s.view.to = stdout;
	snprintf(s.view.title, sizeof(s.view.title), "%.60s -> %.80s", s.guest, s.v->to);
	setvbuf(stdout, NULL, _IOLBF, 0);
	s.peer = rpc_peer_open(cli_control(s.v->control), &err);
	if (!s.peer) {
		fprintf(stderr, "ferry: %s\n", err.text);
		return EXIT_FERRY_UNREACHABLE;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	s.watch_id = rpc_peer_send(s.peer, "watch", named(s.guest), &err); /* first: no event may be missed */
	s.start_id = s.watch_id < 0 ? -1 : rpc_peer_send(s.peer, "migrate", request(&s), &err);
	if (s.start_id < 0)
		fprintf(stderr, "ferry: %s\n", err.text);
	else
		follow(&s, &err);
	rpc_peer_close(s.peer);
	return s.code;
}
