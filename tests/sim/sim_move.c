/* Moves a guest between two simulated servers while everything goes wrong that can, then lets the faults stop and demands
 * that it comes to a good end. One seed, one exact run.
 *
 *   ferry-sim --seed N [-v]         one seed; -v shows every event
 *   ferry-sim --seeds N [--from M] [--jobs J]   seeds M..M+N-1; stops at the first violation, and prints the command that repeats it
 *   ferry-sim --phases              every fault at the entry of every phase, one at a time
 *   ferry-sim --expect-violation    succeeds only if a violation is found (builds with -Dbreak=...)
 *
 * Checked at every step: at most one server's controller may run and at most one guest runs (rule 1), and where both reach one storage only
 * who has its lock touches it. At the end: one owner, its
 * guest runs, every block it ever wrote reads as it must (rules 2, 3, 6), a failed move left nothing behind (rule 4), and the
 * end came within a bounded number of steps. Every sixteenth seed is run twice: the hashes must agree (rule 7).
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/node.h"

enum { STEPS_MAX = 2000000, FAULTS_MAX = 8 };

enum fault_kind { FAULT_CUT, FAULT_CRASH_A, FAULT_CRASH_B, FAULT_CANCEL, FAULT_DISK, FAULT_RESET, FAULT_PARTITION, FAULT_KINDS };
static const char *const fault_name[] = { "cut", "crash a", "crash b", "cancel", "disk errors", "controller reset", "partition" };

struct scenario {
	uint64_t seed;
	struct sim *world;
	struct sim_cfg cfg;
	struct node node[2];
	struct node *locked;	/* cfg.shared: who has the storage */
	struct move_plan plan;
	unsigned moves_wanted, moves_done, moves_failed;
	struct { uint64_t at_step; enum fault_kind kind; } fault[FAULTS_MAX];
	unsigned faults;
	uint64_t step, heal_ns, disk_heal_ns, restart_ns[2];
	bool quiet;		/* faults have stopped */
	bool calm;		/* this seed has none */
	bool verifying;
	uint64_t guest_ops;
	char violation[512];
};
static struct inj *phase_faults;	/* --phases: the only ones then */

static uint64_t rnd(struct scenario *s, uint64_t n) { return sim_rand(s->world, n); }

static void violate(struct scenario *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void violate(struct scenario *s, const char *fmt, ...)
{
	va_list ap;

	if (s->violation[0])
		return;
	va_start(ap, fmt);
	vsnprintf(s->violation, sizeof(s->violation), fmt, ap);
	va_end(ap);
}

static void show(void *ctx, uint64_t at_ns, const char *line)
{
	(void)ctx;
	printf("%12.6f  %s\n", (double)at_ns / 1e9, line);
}

/* ---- what this seed is like ------------------------------------------------------------------------------------- */

static void plan_seed(struct scenario *s)
{
	struct guest_cfg *g = &s->cfg.guest;

	s->cfg.ns_count = 1 + (unsigned)rnd(s, 2);
	s->cfg.blocks = 256 << rnd(s, 3);
	s->cfg.delay_max_ns = rnd(s, 2) ? 0 : (1 + rnd(s, 100)) * NS_PER_US;
	*g = (struct guest_cfg){ .id = (uint32_t)s->seed, .nsid = 1, .seed = s->seed, .area_off = 0, .area_bytes = s->cfg.blocks * 4096,
				 .queues = 1 + (uint32_t)rnd(s, 3), .queue_size = 4u << rnd(s, 4), .depth = 1 + (uint32_t)rnd(s, 24),
				 .max_blocks = 1 + (uint32_t)rnd(s, 16), .area_zeroed = 1, .timeout_ns = 600 * NS_PER_S };
	if (rnd(s, 2))
		g->hot_blocks = 16;
	if (rnd(s, 2)) {	/* a busy admin queue: its phase must have turned by the time of the move */
		static const uint32_t weight[GUEST_OP_COUNT] = { [GUEST_WRITE] = 30, [GUEST_READ] = 30, [GUEST_ZEROES] = 4,
								 [GUEST_DSM] = 4, [GUEST_COPY] = 4, [GUEST_ADMIN] = 30 };
		memcpy(g->weight, weight, sizeof(weight));
	}
	s->cfg.mem_bytes = round_up(guest_bytes_needed(g) + 64 * 4096, 65536);
	s->plan = (struct move_plan){ .downtime_ns = (1 + rnd(s, 20)) * NS_PER_MS, .peer_silence_ns = 2 * NS_PER_S,
				      .no_throttle = rnd(s, 4) == 0, .force = true, .verify = rnd(s, 3) == 0,
				      .cdq_slots = rnd(s, 3) ? 0 : 8u << rnd(s, 4) };
	s->cfg.streams = s->seed % 4 == 3;
	s->cfg.shared = rnd(s, 6) == 0;
	if (s->cfg.shared)
		s->plan.mode = MOVE_HANDOVER;
	snprintf(s->plan.guest, sizeof(s->plan.guest), "vm1");
	s->moves_wanted = 1 + (unsigned)rnd(s, 3);
	s->faults = (unsigned)rnd(s, 5);
	if (phase_faults)
		s->faults = 0, s->moves_wanted = 1;
	s->calm = !phase_faults && !s->faults && !sim_knobs(s->world)->cut_per_million && !sim_knobs(s->world)->rec_fail_per_million;
	for (unsigned i = 0; i < s->faults; i++) {
		s->fault[i].at_step = 2000 + rnd(s, 30000);
		s->fault[i].kind = (enum fault_kind)rnd(s, FAULT_KINDS);
	}
}

static struct sim_knobs plan_world(uint64_t seed)
{
	struct sim_knobs k = { SIM_KNOBS_MILD };

	if (phase_faults)
		return k;
	if (seed % 3 == 1) {
		k.cut_per_million = 200;
		k.deaf_per_million = 300000;
		k.refuse_per_million = 20000;
	}
	if (seed % 5 == 2) {
		k.rec_fail_per_million = 100000;
		k.rec_late_per_million = 50000;
		k.rec_crash_per_million = 50000;
	}
	return k;
}

/* ---- faults ---------------------------------------------------------------------------------------------------- */

static void fault_do(struct scenario *s, enum fault_kind kind)
{
	struct node *n = &s->node[rnd(s, 2)];

	sim_trace(s->world, "fault: %s", fault_name[kind]);
	switch (kind) {
	case FAULT_CUT:
		sim_link_cut(s->world, "a", "b");
		break;
	case FAULT_PARTITION:
		sim_link_set(s->world, "a", "b", false);
		s->heal_ns = sim_now_ns(s->world) + rnd(s, 4000) * NS_PER_MS;
		break;
	case FAULT_CRASH_A:
	case FAULT_CRASH_B:
		node_crash(&s->node[kind == FAULT_CRASH_B]);
		break;
	case FAULT_CANCEL:
		for (unsigned i = 0; i < 2; i++)
			if (s->node[i].out && !s->node[i].recovering)
				move_out_cancel(s->node[i].out, "the scenario wants it");
		break;
	case FAULT_DISK:
		node_disk_faults(n, 20000);
		s->disk_heal_ns = sim_now_ns(s->world) + rnd(s, 20) * NS_PER_MS;
		break;
	case FAULT_RESET:
		for (unsigned i = 0; i < 2; i++)
			if (node_runs_ctrl(&s->node[i]) && node_runs_guest(&s->node[i]))
				guest_reattach(&s->node[i].guest);
		break;
	default:
		break;
	}
}

/* What a rule at a phase asked for: the other server is `turns`. */
static void wish_do(struct scenario *s, unsigned i)
{
	struct inj_order o = s->node[i].wish;
	unsigned victim = i ^ (o.turns & 1);

	s->node[i].wish.act = INJ_PASS;
	switch (o.act) {
	case INJ_DROP: fault_do(s, FAULT_CUT); break;
	case INJ_DELAY: fault_do(s, FAULT_PARTITION); break;
	case INJ_RESET: fault_do(s, FAULT_RESET); break;
	case INJ_KILL: fault_do(s, victim ? FAULT_CRASH_B : FAULT_CRASH_A); break;
	default: break;
	}
}

static void faults_now(struct scenario *s)
{
	uint64_t now = sim_now_ns(s->world);

	for (unsigned i = 0; i < 2; i++)
		wish_do(s, i);

	for (unsigned i = 0; !s->quiet && i < s->faults; i++)
		if (s->fault[i].at_step == s->step)
			fault_do(s, s->fault[i].kind);
	if (s->heal_ns && now >= s->heal_ns) {
		sim_link_set(s->world, "a", "b", true);
		s->heal_ns = 0;
	}
	if (s->disk_heal_ns && now >= s->disk_heal_ns) {
		for (unsigned i = 0; i < 2; i++)
			node_disk_faults(&s->node[i], 0);
		s->disk_heal_ns = 0;
	}
	for (unsigned i = 0; i < 2; i++) {
		struct node *n = &s->node[i];

		if (n->up && !sim_node_up(s->world, n->name))	/* it died inside a rec_store */
			node_crash(n);
		if (!n->up && n->env && !s->restart_ns[i])
			s->restart_ns[i] = now + 1 + rnd(s, 3000) * NS_PER_MS;
		if (!n->up && s->restart_ns[i] && now >= s->restart_ns[i]) {
			s->restart_ns[i] = 0;
			node_start(n);
		}
	}
}

static void quieten(struct scenario *s)
{
	struct sim_knobs k = { SIM_KNOBS_MILD };

	s->quiet = true;
	*sim_knobs(s->world) = k;
	s->heal_ns = s->heal_ns ? 1 : 0;
	s->disk_heal_ns = s->disk_heal_ns ? 1 : 0;
	sim_trace(s->world, "faults stop");
}

/* ---- checkers -------------------------------------------------------------------------------------------------- */

static void check_one_owner(struct scenario *s)
{
	if (node_runs_ctrl(&s->node[0]) && node_runs_ctrl(&s->node[1]))
		violate(s, "rule 1: the controller runs on both servers");
	if (node_runs_guest(&s->node[0]) && node_runs_guest(&s->node[1]))
		violate(s, "rule 1: the guest runs on both servers");
	for (unsigned i = 0; i < 2 && s->cfg.shared; i++) {
		struct node *n = &s->node[i];

		if (n->trespassed)
			violate(s, "rule 1: %s touched the storage without having its lock", n->name);
		if (n->journal.own == OWN_OWNER && node_runs_ctrl(n) && s->locked != n)
			violate(s, "rule 1: %s runs the controller without the lock of its storage", n->name);
	}
}

/* Where nothing goes wrong, nothing may fail: a manager that catches its device's mistakes must not hide them from us. A log
 * made too small on purpose is the one excuse. */
static void check_calm(struct scenario *s)
{
	for (unsigned i = 0; i < 2 && s->calm; i++)
		if (s->node[i].failed && s->node[i].failed_rc != -EOVERFLOW)
			violate(s, "a move from %s failed though nothing went wrong: %s", s->node[i].name, s->node[i].why);
}

static void check_guest(struct scenario *s, const struct node *n)
{
	const struct guest_stats *g;

	if (!n->guest_exists || n->guest_paused)
		return;
	g = guest_stats(&n->guest);
	for (unsigned i = 0; i < GUEST_BAD_COUNT; i++)
		if (g->bad[i])
			violate(s, "rule 2/6: guest on %s: %" PRIu64 " times %s (first: %s at lba %" PRIu64 ")", n->name, g->bad[i],
				guest_violation_name(i), guest_op_name(g->detail[0].op), g->detail[0].lba);
	if (g->state == GUEST_FAILED)
		violate(s, "guest on %s gave up: %s", n->name, g->why);
}

/* Rule 4: after a move that failed, the source is as it was. */
static void check_nothing_left(struct scenario *s, struct node *n)
{
	if (!n->up || n->journal.own != OWN_OWNER || !n->mc || n->out)
		return;
	for (unsigned i = 0; i < NVME_CTRL_MAX; i++)
		if (n->ss->cdq[i].live)
			violate(s, "rule 4: a CDQ was left on %s", n->name);
	if (n->mc->tracked_by || n->mc->dev.gmem.track_count)
		violate(s, "rule 4: memory tracking was left on on %s", n->name);
	if (le16_get(n->mc->rate.cfg.rlc) & NVME_RLC_RLE)
		violate(s, "rule 4: the throttle was left on on %s", n->name);
	if (n->mc->dev.gmem.touch.on)
		violate(s, "rule 4: touching was left on on %s", n->name);
	if (nvme_ctrl_is_suspended(n->mc) || n->guest_paused || n->vm_tracking)
		violate(s, "rule 4: %s %s%s%s after the move", n->name, nvme_ctrl_is_suspended(n->mc) ? "suspended " : "",
			n->guest_paused ? "guest paused " : "", n->vm_tracking ? "memory logged" : "");
}

/* ---- the run --------------------------------------------------------------------------------------------------- */

static struct node *owner(struct scenario *s)
{
	struct node *found = NULL;

	for (unsigned i = 0; i < 2; i++)
		if (s->node[i].up && s->node[i].hn_ready && s->node[i].journal.own == OWN_OWNER && node_runs_ctrl(&s->node[i]))
			found = &s->node[i];
	return found;
}

static bool moving(const struct scenario *s)
{
	for (unsigned i = 0; i < 2; i++)
		if (!s->node[i].up || !s->node[i].hn_ready || s->node[i].out || s->node[i].journal.own == OWN_RESERVED ||
		    s->node[i].journal.own == OWN_HANDED)
			return true;
	return false;
}

static void start_a_move(struct scenario *s)
{
	struct node *n = owner(s);
	struct err e = { "" };

	if (!n || moving(s) || guest_stats(&n->guest)->state != GUEST_RUN)
		return;
	snprintf(s->plan.to, sizeof(s->plan.to), "sim:%s", n == &s->node[0] ? "b" : "a");
	snprintf(s->plan.here, sizeof(s->plan.here), "sim:%s", n->name);
	if (node_move(n, &s->plan, &e))
		violate(s, "a move could not be started: %s", e.text);
	else
		s->moves_done++;
}

/* True when everything has come to its good end. */
static bool finished(struct scenario *s)
{
	struct node *n;
	const struct guest_stats *g;

	if (!s->quiet && s->moves_done >= s->moves_wanted && !moving(s) && s->step > 35000)
		quieten(s);
	if (!s->quiet || moving(s) || !(n = owner(s)) || !n->guest_exists)
		return false;
	g = guest_stats(&n->guest);
	if (g->state != GUEST_RUN)
		return false;
	check_nothing_left(s, n);
	if (!s->verifying) {
		s->verifying = true;
		guest_set_mode(&n->guest, GUEST_VERIFY);
		return false;
	}
	return g->mode == GUEST_IDLE && g->out == 0;
}

static void one_step(struct scenario *s)
{
	unsigned what = (unsigned)rnd(s, 16);
	bool busy = false;

	if (what < 4) {
		for (unsigned i = 0; i < 2; i++)
			busy |= node_guest_poll(&s->node[i], 1 + (unsigned)rnd(s, 4));
	} else if (what < 14) {
		busy = node_poll(&s->node[rnd(s, 2)], (unsigned)rnd(s, NODE_PARTS));
	}
	if (what >= 14 || (!busy && rnd(s, 8) == 0)) {
		uint64_t until = sim_now_ns(s->world) + 1 + rnd(s, what == 15 ? 2000000 : 20000);

		sim_advance(s->world, until);
	}
}

static bool run(struct scenario *s, uint64_t seed, bool verbose)
{
	struct sim_knobs k = plan_world(seed);

	*s = (struct scenario){ .seed = seed };
	s->world = sim_new(seed, &k);
	if (verbose)
		sim_trace_to(s->world, show, NULL);
	plan_seed(s);
	sim_trace(s->world, "%s%s, %u namespaces of %lu blocks, %u faults%s", s->cfg.shared ? "handover" : "copy",
		  s->cfg.streams ? ", the VMM moves its memory" : "", s->cfg.ns_count,
		  (unsigned long)s->cfg.blocks, s->faults, s->calm ? ", calm" : "");
	node_init(&s->node[0], s->world, "a", &s->cfg);
	node_init(&s->node[1], s->world, "b", &s->cfg);
	for (unsigned i = 0; i < 2; i++) {
		s->node[i].inj = phase_faults;
		s->node[i].number = (uint16_t)i;
	}
	if (s->cfg.shared)
		s->node[0].lock = &s->locked;
	node_first_start(&s->node[0]);
	if (s->cfg.shared)
		node_share(&s->node[1], &s->node[0], &s->locked);
	node_start(&s->node[1]);
	for (s->step = 0; s->step < STEPS_MAX && !s->violation[0]; s->step++) {
		faults_now(s);
		if (s->moves_done < s->moves_wanted && rnd(s, 500) == 0)
			start_a_move(s);
		one_step(s);
		check_one_owner(s);
		if (s->step % 64 == 0) {
			check_guest(s, &s->node[0]);
			check_guest(s, &s->node[1]);
			check_calm(s);
			if (finished(s))
				break;
		}
	}
	check_guest(s, &s->node[0]);
	check_guest(s, &s->node[1]);
	if (s->step == STEPS_MAX && !s->violation[0]) {
		struct node *a = &s->node[0], *b = &s->node[1];

		violate(s, "not finished after %d steps, %.3f s: a %s%s%s, b %s%s%s; last: %s / %s", STEPS_MAX,
			(double)sim_now_ns(s->world) / 1e9, own_name(a->journal.own), a->out ? " moving" : "", a->up ? "" : " down",
			own_name(b->journal.own), b->out ? " moving" : "", b->up ? "" : " down", a->event, b->event);
	}
	for (unsigned i = 0; i < 2; i++)
		if (s->node[i].guest_exists && node_runs_guest(&s->node[i]))
			for (unsigned op = 0; op < GUEST_OP_COUNT; op++)
				s->guest_ops += guest_stats(&s->node[i].guest)->done[op];
	return !s->violation[0];
}

static uint64_t end(struct scenario *s)
{
	uint64_t hash;

	sim_trace(s->world, "ops %" PRIu64 " moves %u+%u violation %s", s->guest_ops, s->node[0].moved, s->node[1].moved, s->violation);
	hash = sim_hash(s->world);
	node_fini(&s->node[1]);	/* may have borrowed the disks of the first */
	node_fini(&s->node[0]);
	sim_free(s->world);
	return hash;
}

struct tally { uint64_t ops, moved; };

/* 0 all well; 1 a violation was printed (with expect: the first one found is good news). */
static int run_seeds(uint64_t from, uint64_t count, uint64_t step, bool verbose, bool expect, const char *argv0, struct tally *t)
{
	static struct scenario s;

	for (uint64_t seed = from; seed < from + count; seed += step) {
		char why[512];
		uint64_t h1;
		bool ok = run(&s, seed, verbose);

		t->ops += s.guest_ops;
		t->moved += s.node[0].moved + s.node[1].moved;
		snprintf(why, sizeof(why), "%s", s.violation);
		h1 = end(&s);
		if (!ok && expect) {
			printf("caught at seed %" PRIu64 ": %s\n", seed, why);
			return 1;
		}
		if (ok && !expect && seed % 16 == 0) {	/* the same again: is it the same? */
			run(&s, seed, false);
			if (end(&s) != h1) {
				ok = false;
				snprintf(why, sizeof(why), "rule 7: the same seed ran differently");
			}
		}
		if (!ok) {
			printf("VIOLATION seed %" PRIu64 ": %s\n  repeat: %s --seed %" PRIu64 " -v\n", seed, why, argv0, seed);
			fflush(stdout);
			return 1;
		}
	}
	return 0;
}

/* Each process takes every jobs-th seed and tells its sums through a pipe. */
static int run_jobs(uint64_t from, uint64_t count, unsigned jobs, const char *argv0, struct tally *t)
{
	int fd[2], bad = 0, status;

	if (pipe(fd))
		return 2;
	for (unsigned j = 0; j < jobs; j++) {
		pid_t pid = fork();
		struct tally mine = { 0 };

		if (pid < 0)
			return 2;
		if (pid)
			continue;
		bad = run_seeds(from + j, count > j ? count - j : 0, jobs, false, false, argv0, &mine);
		_exit(write(fd[1], &mine, sizeof(mine)) == sizeof(mine) ? bad : 2);
	}
	for (unsigned j = 0; j < jobs; j++) {
		struct tally one;

		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
			bad = 1;
		else if (read(fd[0], &one, sizeof(one)) == sizeof(one))
			t->ops += one.ops, t->moved += one.moved;
	}
	close(fd[0]);
	close(fd[1]);
	return bad;
}

/* ---- every fault at every phase */

struct phase_fault { enum inj_act act; unsigned turns; };

/* 1: a violation. *met counts the seeds in which the phase was entered. */
static int one_phase_fault(enum move_phase phase, struct phase_fault f, uint64_t seed, bool verbose, unsigned *met)
{
	static struct scenario s;
	struct inj_rule rule = { .at = INJ_PHASE, .act = f.act, .ctrl = INJ_ANY, .what = (uint16_t)phase, .count = 1, .turns = f.turns };
	struct inj inj;
	char why[512];

	inj_init(&inj);
	phase_faults = inj_add(&inj, &rule) ? &inj : NULL;
	if (!phase_faults)
		return 1;
	run(&s, seed, verbose);
	snprintf(why, sizeof(why), "%s", s.violation);
	end(&s);
	phase_faults = NULL;
	*met += inj.did[INJ_PHASE][f.act] > 0;
	if (!why[0])
		return 0;
	printf("VIOLATION %s%s at %s, seed %" PRIu64 ": %s\n", inj_act_name(f.act), f.turns ? " of the other" : "", move_phase_name(phase), seed, why);
	return 1;
}

/* Two seeds each: with a VMM that moves its memory itself, and without. Not every move enters every phase, but one of them does. */
static int run_phases(bool verbose)
{
	static const struct phase_fault faults[] = { { INJ_DROP, 0 }, { INJ_DELAY, 0 }, { INJ_RESET, 0 }, { INJ_KILL, 0 }, { INJ_KILL, 1 } };
	unsigned n = 0, bad = 0;

	for (unsigned phase = MOVE_CONNECT; phase <= MOVE_DONE; phase++)
		for (unsigned f = 0; f < ARRAY_LEN(faults); f++) {
			unsigned met = 0;

			for (uint64_t seed = 3; seed <= 4; seed++)
				bad += (unsigned)one_phase_fault((enum move_phase)phase, faults[f], seed, verbose, &met);
			n += met;
			if (met)
				continue;
			printf("VIOLATION no move entered %s\n", move_phase_name((enum move_phase)phase));
			bad++;
		}
	printf("%u faults at phases, %u violations\n", n, bad);
	return bad != 0;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = { { "seed", 1, NULL, 's' }, { "seeds", 1, NULL, 'n' }, { "from", 1, NULL, 'f' },
					      { "jobs", 1, NULL, 'j' }, { "expect-violation", 0, NULL, 'x' },
					      { "verbose", 0, NULL, 'v' }, { "phases", 0, NULL, 'p' }, { 0 } };
	uint64_t from = 1, count = 100;
	struct tally t = { 0 };
	bool verbose = false, expect = false, phases = false;
	unsigned jobs = 1;
	int c, rc;

	while ((c = getopt_long(argc, argv, "s:n:f:j:xv", opts, NULL)) != -1) {
		switch (c) {
		case 's': from = strtoull(optarg, NULL, 0), count = 1; break;
		case 'n': count = strtoull(optarg, NULL, 0); break;
		case 'f': from = strtoull(optarg, NULL, 0); break;
		case 'j': jobs = MAX(1u, (unsigned)strtoul(optarg, NULL, 0)); break;
		case 'x': expect = true; break;
		case 'v': verbose = true; break;
		case 'p': phases = true; break;
		default: return 2;
		}
	}
	if (phases)
		return run_phases(verbose);
	rc = jobs > 1 && !expect ? run_jobs(from, count, jobs, argv[0], &t) : run_seeds(from, count, 1, verbose, expect, argv[0], &t);
	if (expect && !rc)
		printf("nothing was caught in %" PRIu64 " seeds\n", count);
	if (expect)
		return !rc;
	if (!rc)
		printf("%" PRIu64 " seeds, %" PRIu64 " moves ended well, %" PRIu64 " guest commands, no violation\n", count, t.moved, t.ops);
	return rc;
}
