/* Faults on purpose: rules decide as they say, every carrier does to a message or an access what it was told, and each action of each hook
 * point is used by a test (the last case counts). */
#include <signal.h>

#include "monrig.h"

#include "cmd/verify_rig.h"
#include "verify/inject.h"
#include "verify/run.h"
#include "verify/signature.h"

static uint64_t used[INJ_POINT_COUNT][INJ_ACT_COUNT];	/* by the cases of this program */

static void add_used(const uint64_t did[INJ_POINT_COUNT][INJ_ACT_COUNT])
{
	for (unsigned p = 0; p < INJ_POINT_COUNT; p++)
		for (unsigned a = 0; a < INJ_ACT_COUNT; a++)
			used[p][a] += did[p][a];
}

/* ---- rules */

static enum inj_act ask(struct inj *i, enum inj_point at, uint16_t ctrl, uint16_t what)
{
	struct inj_event ev = { .at = at, .ctrl = ctrl, .what = what };

	return inj_ask(i, &ev).act;
}

TEST(a_rule_hits_what_it_names)
{
	struct inj i;
	struct inj_rule r = { .at = INJ_BELL, .act = INJ_DROP, .ctrl = 3, .what = 7, .skip = 1, .count = 2 };

	inj_init(&i);
	EXPECT(inj_add(&i, &r) != NULL);
	EXPECT_EQ(ask(&i, INJ_BELL, 2, 7), INJ_PASS);
	EXPECT_EQ(ask(&i, INJ_BELL, 3, 6), INJ_PASS);
	EXPECT_EQ(ask(&i, INJ_FETCH, 3, 7), INJ_PASS);
	EXPECT_EQ(ask(&i, INJ_BELL, 3, 7), INJ_PASS);	/* skipped */
	EXPECT_EQ(ask(&i, INJ_BELL, 3, 7), INJ_DROP);
	EXPECT_EQ(ask(&i, INJ_BELL, 3, 7), INJ_DROP);
	EXPECT_EQ(ask(&i, INJ_BELL, 3, 7), INJ_PASS);	/* used up */
	EXPECT_EQ(i.did[INJ_BELL][INJ_DROP], 2);
	EXPECT_EQ(i.met[INJ_BELL], 6);
	EXPECT_EQ(inj_done(&i), 2);
	EXPECT_EQ(ask(NULL, INJ_BELL, 3, 7), INJ_PASS);
}

TEST(chance_is_the_seeds)
{
	unsigned n[2] = { 0, 0 };
	char run[3][1000];

	for (unsigned k = 0; k < 3; k++) {
		struct inj i;
		struct inj_rule r = { .at = INJ_MSG, .act = INJ_DROP, .ctrl = INJ_ANY, .what = INJ_ANY, .per_million = 200000, .seed = k == 2 };

		inj_init(&i);
		EXPECT(inj_add(&i, &r) != NULL);
		for (unsigned e = 0; e < 1000; e++) {
			run[k][e] = ask(&i, INJ_MSG, 0, 0) == INJ_DROP;
			n[k == 2] += (unsigned)run[k][e];
		}
	}
	EXPECT_MEM(run[0], run[1], 1000);
	EXPECT(memcmp(run[0], run[2], 1000));
	EXPECT(n[0] > 2 * 120 && n[0] < 2 * 300 && n[1] > 120 && n[1] < 300);
}

TEST(reset_and_kill_are_wishes)
{
	struct inj i;
	struct inj_rule r = { .at = INJ_CQE, .act = INJ_KILL, .ctrl = INJ_ANY, .what = INJ_ANY, .count = 1 };

	inj_init(&i);
	EXPECT(inj_add(&i, &r) != NULL);
	r.act = INJ_RESET;
	EXPECT(inj_add(&i, &r) != NULL);
	EXPECT_EQ(ask(&i, INJ_CQE, 2, 0), INJ_KILL);
	EXPECT_EQ(ask(&i, INJ_CQE, 5, 0), INJ_RESET);
	EXPECT_EQ(i.kill, 1u << 2);
	EXPECT_EQ(i.reset, 1u << 5);
	inj_clear(&i);
	EXPECT_EQ(i.kill | i.reset, 0);
	EXPECT_EQ(ask(&i, INJ_CQE, 2, 0), INJ_PASS);
}

TEST(one_bit_is_falsified)
{
	for (uint64_t seed = 0; seed < 50; seed++) {
		uint8_t was[16] = { 0 }, now[16] = { 0 };
		struct inj i;
		struct inj_rule r = { .at = INJ_DATA, .act = INJ_CORRUPT, .ctrl = INJ_ANY, .what = INJ_ANY, .seed = seed };
		struct inj_event ev = { .at = INJ_DATA, .data = now, .len = sizeof(now) };
		unsigned bits = 0;

		inj_init(&i);
		EXPECT(inj_add(&i, &r) != NULL);
		EXPECT_EQ(inj_ask(&i, &ev).act, INJ_CORRUPT);
		for (unsigned b = 0; b < sizeof(now); b++)
			bits += (unsigned)__builtin_popcount(was[b] ^ now[b]);
		EXPECT_EQ(bits, 1);
	}
}

TEST(rules_have_an_end)
{
	struct inj i;
	struct inj_rule r = { .at = INJ_MSG, .act = INJ_RESET, .ctrl = INJ_ANY, .what = INJ_ANY };

	inj_init(&i);
	EXPECT(!inj_add(&i, &r));	/* a monitor resets nobody */
	r = (struct inj_rule){ .at = INJ_MSG, .act = INJ_DROP, .ctrl = INJ_ANY, .what = INJ_ANY, .count = 1 };
	for (unsigned k = 0; k < INJ_RULES; k++)
		EXPECT(inj_add(&i, &r) != NULL);
	EXPECT(!inj_add(&i, &r));
	EXPECT_EQ(ask(&i, INJ_MSG, 0, 0), INJ_DROP);
	EXPECT(inj_add(&i, &r) != NULL);	/* in the place of the one that is used up */
}

TEST(faults_as_text)
{
	static const char *const bad[] = { "", "message", "message:", "message:reset", "mess:drop", "message:drop:", "message:drop:0", "message:drop:x",
					   "message:drop:-1", "message:drop:5x", "message:drop:1000001", "message:pass", ":drop", "message:drop:1:2" };
	struct inj_rule r;
	struct err e;

	EXPECT_EQ(inj_parse("message:cut:100", 9, &r, &e), 0);
	EXPECT(r.at == INJ_MSG && r.act == INJ_CUT && r.per_million == 10000 && r.seed == 9);
	EXPECT_EQ(inj_parse("doorbell:duplicate", 9, &r, &e), 0);
	EXPECT(r.at == INJ_BELL && r.act == INJ_DUPLICATE && !r.per_million);
	for (unsigned k = 0; k < ARRAY_LEN(bad); k++)
		if (inj_parse(bad[k], 0, &r, &e) != -EINVAL)
			fail_msg("'%s' is taken for a fault", bad[k]);
}

/* ---- messages: a client, a server, the monitor between them */

static struct inj msgs;

static struct mport *begin(struct mrig *r, enum inj_act act, unsigned turns)
{
	struct inj_rule rule = { .at = INJ_MSG, .act = act, .ctrl = INJ_ANY, .what = VUSER_DEVICE_RESET, .count = 1, .turns = turns };
	struct mport *p = &r->p[0];
	int c[2], s[2];

	memset(r, 0, sizeof(*r));
	r->env.ops = &mr_env_ops;
	r->now = 1000000;
	r->fds_before = mr_fds();
	inj_init(&msgs);
	EXPECT(inj_add(&msgs, &rule) != NULL);
	r->m = monitor_new(&(struct monitor_cfg){ .env = &r->env, .inj = &msgs }, NULL);
	EXPECT(r->m != NULL);
	p->r = r;
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c), 0);
	EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	p->client = c[0];
	p->server = s[0];
	EXPECT_EQ(monitor_lane(r->m, &(struct monitor_lane_cfg){ .client_fd = c[1], .server_fd = s[1] }, NULL), 0);
	return p;
}

static void finish(struct mrig *r, enum inj_act act)
{
	EXPECT_EQ(msgs.did[INJ_MSG][act], 1);
	add_used(msgs.did);
	close(r->p[0].client);
	close(r->p[0].server);
	monitor_free(r->m);
	EXPECT_EQ(mr_fds(), r->fds_before);
}

/* A message of 24 bytes; the number is in its payload. */
static void say(struct mport *p, uint16_t cmd, uint64_t number) { mr_send(p, p->client, 1, cmd, 0, &number, 8, NULL, 0, NULL, 0); }

static void hears(struct mport *p, uint16_t cmd, uint64_t number)
{
	struct mmsg *m = mr_hear(p, p->server);

	EXPECT_EQ(le16_get(m->h.cmd), cmd);
	EXPECT_EQ(m->len, 8);
	EXPECT_MEM(m->p, &number, 8);
}

static void over(struct mport *p, size_t rest)
{
	char b[64];

	mr_pump(p->r);
	if (rest)
		EXPECT_EQ(recv(p->server, b, sizeof(b), MSG_DONTWAIT), rest);
	EXPECT_EQ(recv(p->server, b, sizeof(b), MSG_DONTWAIT), 0);
	EXPECT_EQ(recv(p->client, b, sizeof(b), MSG_DONTWAIT), 0);
}

TEST(message_dropped)
{
	struct mrig r;
	struct mport *p = begin(&r, INJ_DROP, 0);

	say(p, VUSER_DEVICE_RESET, 1);
	EXPECT(mr_silent(p, p->server));
	say(p, VUSER_DEVICE_RESET, 2);
	hears(p, VUSER_DEVICE_RESET, 2);
	finish(&r, INJ_DROP);
}

TEST(message_dropped_with_its_descriptor)
{
	struct mrig r;
	struct mport *p = begin(&r, INJ_DROP, 0);
	int fd = memfd_create("x", MFD_CLOEXEC);

	mr_send(p, p->client, 1, VUSER_DEVICE_RESET, 0, NULL, 0, NULL, 0, &fd, 1);
	EXPECT(mr_silent(p, p->server));
	say(p, VUSER_DEVICE_GET_INFO, 2);
	EXPECT_EQ(mr_hear(p, p->server)->nfds, 0);
	close(fd);
	finish(&r, INJ_DROP);
}

TEST(message_late)
{
	struct mrig r;
	struct mport *p = begin(&r, INJ_DELAY, 30);

	say(p, VUSER_DEVICE_RESET, 1);
	say(p, VUSER_DEVICE_GET_INFO, 2);
	EXPECT(mr_silent(p, p->server));
	r.now += 29 * 1000000;
	EXPECT(mr_silent(p, p->server));
	r.now += 2 * 1000000;
	hears(p, VUSER_DEVICE_RESET, 1);	/* and the order is as it was */
	hears(p, VUSER_DEVICE_GET_INFO, 2);
	finish(&r, INJ_DELAY);
}

TEST(message_doubled)
{
	struct mrig r;
	struct mport *p = begin(&r, INJ_DUPLICATE, 0);

	say(p, VUSER_DEVICE_RESET, 1);
	hears(p, VUSER_DEVICE_RESET, 1);
	hears(p, VUSER_DEVICE_RESET, 1);
	EXPECT(mr_silent(p, p->server));
	finish(&r, INJ_DUPLICATE);
}

TEST(message_falsified)
{
	uint64_t number = 5;
	struct mrig r;
	struct mport *p = begin(&r, INJ_CORRUPT, 0);
	uint8_t want[24], got[24];
	struct vuser_hdr h = { .id = le16_of(1), .cmd = le16_of(VUSER_DEVICE_RESET), .size = le32_of(24) };
	unsigned bits = 0;

	memcpy(want, &h, 16);
	memcpy(want + 16, &number, 8);
	say(p, VUSER_DEVICE_RESET, number);
	EXPECT_EQ(recv(p->server, got, sizeof(got), MSG_DONTWAIT), 24);
	for (unsigned b = 0; b < 24; b++)
		bits += (unsigned)__builtin_popcount(want[b] ^ got[b]);
	EXPECT_EQ(bits, 1);
	finish(&r, INJ_CORRUPT);
}

TEST(message_out_of_order)
{
	struct mrig r;
	struct mport *p = begin(&r, INJ_REORDER, 0);

	say(p, VUSER_DEVICE_RESET, 1);
	EXPECT(mr_silent(p, p->server));
	say(p, VUSER_DEVICE_GET_INFO, 2);
	hears(p, VUSER_DEVICE_GET_INFO, 2);
	hears(p, VUSER_DEVICE_RESET, 1);
	finish(&r, INJ_REORDER);
}

/* With nothing to go behind it goes alone, after a while. */
TEST(message_out_of_order_alone)
{
	struct mrig r;
	struct mport *p = begin(&r, INJ_REORDER, 0);

	say(p, VUSER_DEVICE_RESET, 1);
	EXPECT(mr_silent(p, p->server));
	r.now += 200 * 1000000;
	hears(p, VUSER_DEVICE_RESET, 1);
	finish(&r, INJ_REORDER);
}

TEST(message_cut_short)
{
	struct mrig r;
	struct mport *p = begin(&r, INJ_CUT, 0);

	say(p, VUSER_DEVICE_RESET, 1);
	over(p, 12);
	finish(&r, INJ_CUT);
}

TEST(connection_killed)
{
	struct mrig r;
	struct mport *p = begin(&r, INJ_KILL, 0);

	say(p, VUSER_DEVICE_RESET, 1);
	over(p, 0);
	finish(&r, INJ_KILL);
}

/* ---- signatures */

static struct vresult result(enum vt_verdict v, const char *why, const char *wrong)
{
	static const struct vtest t = { .id = "RN-02", .covers = "X-07 SUS-02" };
	struct vresult r = { .test = &t, .verdict = v };

	snprintf(r.why, sizeof(r.why), "%s", why);
	snprintf(r.wrong, sizeof(r.wrong), "%s", wrong);
	return r;
}

TEST(chance_is_not_in_a_signature)
{
	struct vresult a = result(VT_FAIL, "MC1: LBA 52 holds none of the 3 writes at 1a40h (4000 steps, shrunk to 77)", "");
	struct vresult b = result(VT_FAIL, "MC2: LBA 7 holds none of the 5 writes at 9h (4000 steps, shrunk to 3)", "");
	struct vresult c = result(VT_FAIL, "MC2: LBA 7 is gone", "");
	struct vresult d = result(VT_ERROR, "MC2: LBA 7 is gone", "");
	char sa[SIG_MAX], sb[SIG_MAX], sc[SIG_MAX], sd[SIG_MAX];

	sig_of(&a, sa), sig_of(&b, sb), sig_of(&c, sc), sig_of(&d, sd);
	EXPECT_STR(sa, sb);
	EXPECT_STR(sa, "X-07 FAIL MC#: LBA # holds none of the # writes at #");
	EXPECT(strcmp(sa, sc) && strcmp(sc, sd));
	a = result(VT_FAIL, "whatever 1", "RESUME@running got 0/00 want 1/3a");
	sig_of(&a, sa);
	EXPECT_STR(sa, "X-07 FAIL RESUME@running got 0/00 want 1/3a");
}

TEST(frames_of_a_crash)
{
	char f[160], sig[SIG_MAX];

	sig_frame("x\n==1==ERROR: AddressSanitizer: heap-use-after-free\n    #0 0x55 in __interceptor_memcpy a.c:1\n    #1 0x56 in nvme_req_done ../src/req.c:9\n"
		  "    #2 0x57 in main\n", f, sizeof(f));
	EXPECT_STR(f, "nvme_req_done");
	sig_frame("ferry: frame /lib/x.so(raise+0x1)[0x7f]\nferry: internal error at ../src/a.c:12: expected x > 0\n", f, sizeof(f));
	EXPECT_STR(f, "../src/a.c:12: expected x > 0");
	sig_frame("ferry: frame ./ferry(+0x1234)[0x55]\nferry: frame ./ferry(+0x9)[0x55]\n", f, sizeof(f));
	EXPECT_STR(f, "./ferry(+0x1234)");
	sig_frame("", f, sizeof(f));
	EXPECT_STR(f, "?");
	sig_frame(NULL, f, sizeof(f));
	EXPECT_STR(f, "?");
	sig_crash("RN-04", SIGSEGV, "ferry: frame ./ferry(+0x1234)[0x55]\n", sig);
	EXPECT(strstr(sig, "RN-04 CRASH Segmentation fault in ./ferry(+0x1234)") == sig);
}

/* ---- the hooks a host has: the suite's own tests of them, against our device */

TEST(every_fault_of_a_host_has_its_test)
{
	struct verify_rig_cfg rig = { .by_message = true };
	struct vrun_cfg cfg = { .group = "FI", .seed = 3, .cmd_ns = 20000000000ull };
	struct err err = { "" };
	struct vrun r = { 0 };
	struct dut d;

	EXPECT_EQ(verify_rig_open(&d, &rig, &err), 0);
	EXPECT_EQ(vrun_run(&r, &d, &cfg, &err), 0);
	for (unsigned i = 0; i < r.results; i++)
		if (r.result[i].verdict != VT_PASS)
			fail_msg("%s: %s %s", r.result[i].test->id, vt_verdict_name(r.result[i].verdict), r.result[i].why);
	add_used(r.vt->injected);
	vrun_free(&r);
	dut_close(&d);
}

/* Faults at a manager's phases are the simulator's: it fails itself when one was not met. */
static void phases_are_tried(void)
{
	char path[512];
	static char text[65536];
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/meson.build", getenv("FERRY_SRC") ? getenv("FERRY_SRC") : ".");
	f = fopen(path, "re");
	EXPECT(f != NULL);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	EXPECT(strstr(text, "'sim-phases', sim, args: ['--phases'") != NULL);
}

TEST(zz_every_hook_was_used)
{
	unsigned missing = 0;

	phases_are_tried();
	for (unsigned p = 0; p < INJ_PHASE; p++)
		for (unsigned a = INJ_DROP; a < INJ_ACT_COUNT; a++)
			if (inj_can((enum inj_point)p, (enum inj_act)a) && !used[p][a]) {
				print_message("# no test makes a %s %s\n", inj_point_name(p), inj_act_name(a));
				missing++;
			}
	EXPECT_EQ(missing, 0);
}
