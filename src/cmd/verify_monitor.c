/* `ferry verify monitor`: the monitor (src/verify/monitor.h) as a process between clients and servers, until a signal or until the last
 * client has left. One thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/cli.h"
#include "env/linux/loop.h"
#include "verify/inject.h"
#include "verify/monitor.h"

enum { LANES = 16, TICK_NS = 100000000 };

struct monitor_vals {
	const char *listen, *to, *record, *shared, *cntlid, *inject, *guard;
	uint64_t max, seed;
	bool message_mode, keep_mmap, once, quiet;
};
_Static_assert(sizeof(struct monitor_vals) <= COMMAND_VALS_MAX, "values fit");
#define T struct monitor_vals
const struct opt verify_monitor_opts[] = {
	OPT(T, listen, "listen", 'l', OPT_STR, "SOCK[,SOCK]", "sockets to listen at, for clients", .needed = true),
	OPT(T, to, "to", 't', OPT_STR, "SOCK[,SOCK]", "the servers' sockets, one for each", .needed = true),
	OPT(T, record, "record", 'r', OPT_STR, "FILE", "write every transaction there (ferry verify export, ferry decode)"),
	OPT(T, message_mode, "message-mode", 'm', OPT_FLAG, NULL, "take the descriptors out of DMA_MAP: each access comes as a message and is judged"),
	OPT(T, shared, "shared", 0, OPT_STR, "N[,N]", "sockets (the first is 0) that stay out of message mode, for servers that need their memory"),
	OPT(T, cntlid, "cntlid", 0, OPT_STR, "ID[,ID]", "the controllers' CNTLIDs, if no Identify Controller will pass to tell"),
	OPT(T, keep_mmap, "keep-mmap", 0, OPT_FLAG, NULL, "let clients map doorbells; they are then not seen"),
	OPT(T, guard, "guard", 0, OPT_STR, "WHAT", "shared mode: compare what commands lend for reading: off, lists, or all (data too: for hosts that do not touch it before they ring, as the suite)", .dflt = "lists"),
	OPT(T, max, "max-bytes", 0, OPT_BYTES, "BYTES", "of the record; then it ends, the monitor goes on"),
	OPT(T, seed, "seed", 0, OPT_NUM, "N", "goes into the record"),
	OPT(T, inject, "inject", 0, OPT_STR, "FAULT[,FAULT]", "message:ACTION:N, one message in N: drop, delay, duplicate, corrupt, reorder, cut, kill (--seed decides)"),
	OPT(T, once, "once", '1', OPT_FLAG, NULL, "end when the last client has left"),
	OPT(T, quiet, "quiet", 'q', OPT_FLAG, NULL, "do not print violations when they happen"),
	OPT_END
};
#undef T

static volatile sig_atomic_t quit;
static void on_signal(int sig)
{
	(void)sig;
	quit = 1;
}

static void on_record(void *ctx, const struct rec *r)
{
	(void)ctx;
	if (r->kind == REC_VIOLATION)
		fprintf(stderr, "ferry: controller %u: %s (record %" PRIu64 ")\n", r->ctrl, r->note, r->uid);
}

/* The n-th part of a list with commas. */
static bool part(const char *list, unsigned n, char *out, size_t cap)
{
	size_t len;

	for (; n; n--) {
		list = strchr(list, ',');
		if (!list++)
			return false;
	}
	len = strcspn(list, ",");
	if (len >= cap)
		len = cap - 1; /* too long for a socket: the monitor says so */
	memcpy(out, list, len);
	out[len] = 0;
	return true;
}

static bool among(const char *list, unsigned n)
{
	char text[32];
	uint64_t v;

	for (unsigned i = 0; list && part(list, i, text, sizeof(text)); i++)
		if (!opt_num(text, &v) && v == n)
			return true;
	return false;
}

static int add_lanes(struct monitor *m, const struct monitor_vals *v, struct err *err)
{
	uint64_t id;
	unsigned n;

	for (n = 0; n < LANES; n++) {
		char listen[256], to[256];
		struct monitor_lane_cfg c = { .listen = listen, .to = to, .ctrl = (uint16_t)n, .shared = among(v->shared, n) };
		bool a = part(v->listen, n, listen, sizeof(listen)), b = part(v->to, n, to, sizeof(to));
		int rc;

		if (a != b)
			return err_set(err, -EINVAL, "--listen and --to name a different number of sockets");
		if (!a)
			return 0;
		rc = monitor_lane(m, &c, err);
		if (rc)
			return rc;
		if (v->cntlid && part(v->cntlid, n, to, sizeof(to)) && !opt_num(to, &id))
			monitor_cntlid(m, (uint16_t)n, (uint16_t)id);
	}
	return err_set(err, -EINVAL, "more than %d sockets", LANES);
}

static int guard_of(const char *word, enum monitor_guard *g, struct err *err)
{
	static const char *const name[] = { [MONITOR_GUARD_LISTS] = "lists", [MONITOR_GUARD_OFF] = "off", [MONITOR_GUARD_ALL] = "all" };

	for (unsigned i = 0; i < ARRAY_LEN(name); i++)
		if (!strcmp(word, name[i])) {
			*g = (enum monitor_guard)i;
			return 0;
		}
	return err_set(err, -EINVAL, "--guard is off, lists or all");
}

/* The faults that were asked for; *inj stays unused without any. */
static int add_faults(struct inj *inj, const struct monitor_vals *v, struct err *err)
{
	struct inj_rule rule;
	char text[64];

	inj_init(inj);
	for (unsigned i = 0; v->inject && part(v->inject, i, text, sizeof(text)); i++) {
		if (inj_parse(text, v->seed + i, &rule, err))
			return -EINVAL;
		if (rule.at != INJ_MSG)
			return err_set(err, -EINVAL, "%s: a monitor carries messages only", text);
		if (!inj_add(inj, &rule))
			return err_set(err, -EINVAL, "more than %d faults", INJ_RULES);
	}
	return 0;
}

static void print_stats(const struct monitor *m, const struct rec_store *store, const struct inj *inj)
{
	const struct monitor_stats *s = monitor_stats(m);
	json_object *o = json_object_new_object(), *bad = json_object_new_object(), *faults = json_object_new_object();

#define NUM_(key, value) json_object_object_add(o, key, json_object_new_uint64(value))
	NUM_("clients", s->clients);
	NUM_("messages", s->messages);
	NUM_("bytes", s->bytes);
	NUM_("descriptors", s->fds);
	NUM_("commands", s->commands);
	NUM_("completions", s->completions);
	NUM_("interrupts", s->interrupts);
	NUM_("cdq_entries", s->cdq_entries);
	NUM_("lent", s->lent);
	NUM_("lent_unsure", s->lent_unsure);
	NUM_("reports", s->reports);
	NUM_("states", s->states);
	NUM_("unjudged", s->unjudged);
	NUM_("not_recorded", rec_lost(store));
	NUM_("violations", monitor_broken(m));
#undef NUM_
	for (unsigned i = 0; i < RULE_COUNT; i++)
		if (s->broken[i])
			json_object_object_add(bad, monitor_rules[i].id, json_object_new_uint64(s->broken[i]));
	json_object_object_add(o, "broken", bad);
	for (unsigned i = INJ_DROP; inj && i < INJ_ACT_COUNT; i++)
		if (inj_can(INJ_MSG, (enum inj_act)i))
			json_object_object_add(faults, inj_act_name(i), json_object_new_uint64(inj->did[INJ_MSG][i]));
	if (inj)
		json_object_object_add(o, "faults", faults);
	else
		json_object_put(faults);
	cli_print_json(o);
	json_object_put(o);
}

static void run(struct monitor *m, const struct rec_store *store, struct env *env, struct loop *loop, bool once)
{
	bool told = false;

	loop_watch(loop, monitor_fd(m), false);
	while (!quit && !(once && monitor_stats(m)->clients && !monitor_clients(m))) {
		if (!monitor_poll(m))
			loop_wait(loop, env_now_ns(env) + TICK_NS);
		if (rec_lost(store) && !told)
			fprintf(stderr, "ferry: warning: the record ends here; what passes from now on is judged, and not recorded\n");
		told = rec_lost(store);
	}
	loop_unwatch(loop, monitor_fd(m));
}

int cmd_verify_monitor(const struct command *self, void *vals, int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct monitor_vals *v = vals;
	struct inj inj;
	struct err err = { "no memory" };
	struct loop *loop = loop_new(&err);
	struct env *env = loop ? env_linux_new(loop, NULL, &err) : NULL;
	struct rec_cfg rc = { .path = v->record, .title = v->to, .seed = v->seed, .max_bytes = v->max, .tap = v->quiet ? NULL : on_record };
	struct rec_store *store = env ? rec_open(&rc, &err) : NULL;
	struct monitor_cfg cfg = { .env = env, .store = store, .message_mode = v->message_mode, .keep_mmap = v->keep_mmap,
				   .inj = v->inject ? &inj : NULL };
	struct monitor *m = store && !add_faults(&inj, v, &err) && !guard_of(v->guard, &cfg.guard, &err) ? monitor_new(&cfg, &err) : NULL;
	int code = EXIT_FERRY_FAILED;

	(void)self, (void)argc, (void)argv;
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sa.sa_handler = SIG_IGN;
	sigaction(SIGXFSZ, &sa, NULL); /* a record that may not grow is an error of the record, and what passes goes on */
	if (m && !add_lanes(m, v, &err)) {
		run(m, store, env, loop, v->once);
		print_stats(m, store, v->inject ? &inj : NULL);
		code = monitor_broken(m) ? EXIT_FERRY_FAILED : EXIT_FERRY_OK;
		err.text[0] = 0;
	}
	monitor_free(m);
	if (rec_close(store, &err) || err.text[0]) {
		fprintf(stderr, "ferry: verify monitor: %s\n", err.text);
		code = EXIT_FERRY_FAILED;
	}
	if (env)
		env_linux_free(env);
	if (loop)
		loop_free(loop);
	return code;
}
