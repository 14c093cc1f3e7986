/* `ferry serve` as a program: what it leaves on disk, whom it refuses, and the migration commands driven by hand through it. */
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/command.h"
#include "cmd/demo_files.h"
#include "cmd/proc.h"
#include "cmd/rpc_client.h"
#include "env/linux/loop.h"
#include "migrate/frame.h"
#include "migrate/journal.h"
#include "migrate/link.h"
#include "spec/nvme.h"

struct rig {
	char dir[32], config[64], control[64], log[64], bin[512];
	struct proc serve;
	struct err err;
};

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	EXPECT(f != NULL);
	fputs(text, f);
	fclose(f);
}

static void rig_init(struct rig *r)
{
	char text[1024];

	*r = (struct rig){ .dir = "/tmp/ferry-t-XXXXXX" };
	EXPECT(mkdtemp(r->dir) != NULL);
	snprintf(r->bin, sizeof(r->bin), "%s/src/cmd/ferry", getenv("FERRY_BUILD") ? getenv("FERRY_BUILD") : "build");
	if (getenv("FERRY_BIN"))
		snprintf(r->bin, sizeof(r->bin), "%s", getenv("FERRY_BIN"));
	snprintf(r->config, sizeof(r->config), "%s/c.ini", r->dir);
	snprintf(r->control, sizeof(r->control), "%s/run/control.sock", r->dir);
	snprintf(r->log, sizeof(r->log), "%s/log", r->dir);
	snprintf(text, sizeof(text), "[server]\nname=t\nrun_dir=%s/run\nstate_dir=%s/state\n[pool p]\nkind=ram\n"
		 "[namespace d]\nsize=8M\npath=%s/d.img\ncreate=yes\n[guest g]\nnamespaces=d\n", r->dir, r->dir, r->dir);
	put(r->config, text);
}

static bool answers(struct rig *r)
{
	struct rpc_peer *p = rpc_peer_open(r->control, NULL);

	rpc_peer_close(p);
	return p;
}

static void up(struct rig *r)
{
	char *argv[] = { r->bin, "serve", "-c", r->config, NULL };

	EXPECT_EQ(proc_start(&r->serve, "serve", r->log, argv, &r->err), 0);
	for (int i = 0; i < 3000 && proc_running(&r->serve) && !answers(r); i++)
		usleep(10000); /* waits for the server, not for a time */
	EXPECT(answers(r));
}

static void down(struct rig *r)
{
	kill(r->serve.pid, SIGTERM);
	EXPECT_EQ(proc_wait(&r->serve, 60000, &r->err), 0);
}

static void rig_fini(struct rig *r)
{
	proc_stop(&r->serve);
	demo_remove_tree(r->dir);
}

/* Calls a method and returns its result (to be put), or fails. */
static json_object *call(struct rig *r, const char *method, const char *params)
{
	struct rpc_peer *p = rpc_peer_open(r->control, &r->err);
	json_object *res = NULL;
	int code;

	EXPECT(p != NULL);
	code = rpc_peer_call(p, method, params ? json_tokener_parse(params) : NULL, &res, &r->err);
	rpc_peer_close(p);
	if (code)
		fail_msg("%s %s: %d %s", method, params ? params : "", code, r->err.text);
	return res;
}

static json_object *guest(json_object *status) { return json_object_array_get_idx(json_get(status, "guests"), 0); }

static int64_t nvme_dw0(struct rig *r, const char *params)
{
	json_object *res = call(r, "nvme", params);
	int64_t dw0 = json_num(res, "dw0");

	if (json_num(res, "status"))
		fail_msg("%s: %s", params, json_str(res, "status_name"));
	json_object_put(res);
	return dw0;
}

static int ferry(struct rig *r, char *const args[])
{
	char *argv[16] = { r->bin };
	int n = 1;
	struct proc p;

	while (args[n - 1] && n < 15)
		argv[n] = args[n - 1], n++;
	argv[n] = NULL;
	EXPECT_EQ(proc_start(&p, "ferry", r->log, argv, &r->err), 0);
	proc_wait(&p, 60000, NULL);
	EXPECT(p.ended && WIFEXITED(p.status));
	return WEXITSTATUS(p.status);
}

/* Design rule 1: the first start makes this server owner, epoch 1, and a restart changes nothing: not the epoch, not what the
 * guest takes its disk for. */
TEST(first_start_owns_and_a_restart_keeps_everything)
{
	struct rig r;
	json_object *one, *two;
	char *nguid;

	rig_init(&r);
	up(&r);
	one = call(&r, "status", NULL);
	EXPECT_STR(json_str(guest(one), "own"), "owner");
	EXPECT_EQ(json_num(guest(one), "epoch"), 1);
	json_object_put(one);
	one = call(&r, "nvme", "{\"opcode\":6,\"nsid\":1,\"data_len\":4096}");
	nguid = strndup(json_str(one, "data") + 2 * 104, 32);
	EXPECT(strcmp(nguid, "00000000000000000000000000000000"));
	json_object_put(one);
	down(&r);
	EXPECT(access(r.control, F_OK));	/* sockets are gone */
	up(&r);
	two = call(&r, "status", "{\"guest\":\"g\"}");
	EXPECT_EQ(json_num(guest(two), "epoch"), 1);
	EXPECT(json_object_get_boolean(json_get(guest(two), "served")));
	json_object_put(two);
	two = call(&r, "nvme", "{\"opcode\":6,\"nsid\":1,\"data_len\":4096}");
	EXPECT(!strncmp(nguid, json_str(two, "data") + 2 * 104, 32));
	json_object_put(two);
	free(nguid);
	down(&r);
	rig_fini(&r);
}

/* Two servers over one set of journals would both be owner. */
TEST(a_second_server_is_refused)
{
	struct rig r;

	rig_init(&r);
	up(&r);
	EXPECT_EQ(ferry(&r, (char *[]){ "serve", "-c", r.config, NULL }), EXIT_FERRY_REFUSED);
	EXPECT(answers(&r));
	down(&r);
	rig_fini(&r);
}

/* After the first start a missing image is lost data; an empty one in its place would hide that from everybody. */
TEST(a_lost_image_is_not_made_again)
{
	struct rig r;
	char path[64];
	json_object *s;

	rig_init(&r);
	up(&r);
	down(&r);
	snprintf(path, sizeof(path), "%s/d.img", r.dir);
	EXPECT_EQ(unlink(path), 0);
	up(&r);
	s = call(&r, "status", NULL);
	EXPECT(!json_object_get_boolean(json_get(guest(s), "served")));
	EXPECT(strstr(json_str(guest(s), "says"), "not served") != NULL);
	json_object_put(s);
	EXPECT(access(path, F_OK));
	down(&r);
	rig_fini(&r);
}

/* A damaged ownership record: nobody runs the guest, the server itself does its duty for others. */
TEST(a_damaged_journal_serves_nobody)
{
	struct rig r;
	char path[80];
	json_object *s;
	int fd;

	rig_init(&r);
	up(&r);
	down(&r);
	snprintf(path, sizeof(path), "%s/state/guest-g.journal", r.dir);
	fd = open(path, O_WRONLY);
	EXPECT(fd >= 0);
	EXPECT_EQ(pwrite(fd, "\xff", 1, 8), 1);
	close(fd);
	up(&r);
	s = call(&r, "status", NULL);
	EXPECT(!json_object_get_boolean(json_get(guest(s), "served")));
	EXPECT(strstr(json_str(guest(s), "says"), "damaged") != NULL);
	json_object_put(s);
	down(&r);
	rig_fini(&r);
}

/* As if the server had died between `handed over` and the target's answer, and the target were gone for ever. */
static void hand_over(struct rig *r, uint64_t epoch)
{
	static const uint8_t move[16] = { 1 };
	struct loop *l = loop_new(NULL);
	struct journal j;
	char state[48];

	snprintf(state, sizeof(state), "%s/state", r->dir);
	struct env *e = env_linux_new(l, state, NULL);
	EXPECT_EQ(journal_load(&j, e, "g", &r->err), 0);
	EXPECT_EQ(journal_set(&j, OWN_HANDED, epoch, move, "unix:/nowhere/at.all", "test"), 0);
	env_linux_free(e);
	loop_free(l);
}

static void expect_guest(struct rig *r, const char *own, bool served)
{
	json_object *s = call(r, "status", NULL);

	EXPECT_STR(json_str(guest(s), "own"), own);
	EXPECT_EQ(json_object_get_boolean(json_get(guest(s), "served")), served);
	json_object_put(s);
}

/* Design rule 1: after `handed over` silence is no licence to run it again. Only a person may say so, with force, and it lasts. */
TEST(in_doubt_nobody_runs_until_told)
{
	struct rig r;
	char *here[] = { "resolve", "g", "--runs", "here", "--control", r.control, NULL, NULL };
	char *there[] = { "resolve", "g", "--runs", "there", "--force", "--control", r.control, NULL };

	rig_init(&r);
	up(&r);
	down(&r);
	hand_over(&r, 2);
	up(&r);
	expect_guest(&r, "handed over", false);
	EXPECT_EQ(ferry(&r, (char *[]){ "status", "--control", r.control, NULL }), EXIT_FERRY_DOUBT);
	EXPECT_EQ(ferry(&r, (char *[]){ "migrate", "g", "--to", "unix:/x", "--control", r.control, NULL }), EXIT_FERRY_REFUSED);
	EXPECT_EQ(ferry(&r, here), EXIT_FERRY_REFUSED); /* no --force */
	here[6] = "--force";
	EXPECT_EQ(ferry(&r, here), EXIT_FERRY_OK);
	expect_guest(&r, "owner", true);
	down(&r);
	up(&r);
	expect_guest(&r, "owner", true);
	down(&r);
	hand_over(&r, 4);
	up(&r);
	EXPECT_EQ(ferry(&r, there), EXIT_FERRY_OK);
	expect_guest(&r, "released", false);
	down(&r);
	up(&r);
	expect_guest(&r, "released", false);
	down(&r);
	rig_fini(&r);
}

/* The source's half of the reference flow, command by command: queue, log, suspend, state out, resume, queue gone. */
TEST(the_reference_flow_by_hand)
{
	struct rig r;
	json_object *o;

	rig_init(&r);
	up(&r);
	EXPECT_EQ(nvme_dw0(&r, "{\"opcode\":69,\"cdw11\":131073,\"cdw12\":1024,\"cdq_bytes\":4096}"), 1);
	nvme_dw0(&r, "{\"opcode\":61,\"cdw10\":65536,\"cdw11\":1}");
	nvme_dw0(&r, "{\"opcode\":65,\"cdw11\":65538}");
	o = call(&r, "ring", "{\"cdqid\":1}");
	EXPECT_EQ(json_object_array_length(json_get(o, "entries")), 2);
	/* LBAMQA: first 83h, suspended 87h (nvme-hmlm 12) */
	EXPECT_STR(json_object_get_string(json_object_array_get_idx(json_get(o, "entries"), 0)) + 62, "83");
	EXPECT_STR(json_object_get_string(json_object_array_get_idx(json_get(o, "entries"), 1)) + 62, "87");
	json_object_put(o);
	EXPECT_EQ(nvme_dw0(&r, "{\"opcode\":66,\"cdw10\":65536,\"cdw11\":2,\"cdw15\":1023,\"data_len\":4096}"), 1);
	nvme_dw0(&r, "{\"opcode\":65,\"cdw10\":1,\"cdw11\":2}");
	nvme_dw0(&r, "{\"opcode\":69,\"cdw10\":1,\"cdw11\":1}");
	o = call(&r, "nvme", "{\"opcode\":69,\"cdw10\":1,\"cdw11\":1}");
	EXPECT_EQ(json_num(o, "status") & 0x7ff, NVME_INVALID_CDQ);
	json_object_put(o);
	down(&r);
	rig_fini(&r);
}

/* What would break the server, or answer never, is refused; the server goes on. */
TEST(hostile_raw_commands)
{
	static const char *const bad[] = {
		"{\"opcode\":12}", "{\"opcode\":0,\"cdw10\":1}", "{\"opcode\":6,\"data_len\":4294967296}", "{\"opcode\":6,\"data_len\":8,\"data\":\"zz\"}",
		"{\"opcode\":69,\"cdq_bytes\":4095}", "{\"opcode\":69,\"cdq_bytes\":1099511627776}", "{\"queue\":[],\"opcode\":12}",
	};
	struct rig r;

	rig_init(&r);
	up(&r);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct rpc_peer *p = rpc_peer_open(r.control, &r.err);
		json_object *res = NULL;

		if (!rpc_peer_call(p, "nvme", json_tokener_parse(bad[i]), &res, &r.err))
			fail_msg("%s was taken", bad[i]);
		rpc_peer_close(p);
	}
	json_object_put(call(&r, "status", NULL));
	EXPECT_EQ(ferry(&r, (char *[]){ "status", "nobody", "--control", r.control, NULL }), EXIT_FERRY_REFUSED);
	EXPECT_EQ(ferry(&r, (char *[]){ "cancel", "g", "--control", r.control, NULL }), EXIT_FERRY_REFUSED);
	EXPECT_EQ(ferry(&r, (char *[]){ "resolve", "g", "--runs", "here", "--force", "--control", r.control, NULL }), EXIT_FERRY_REFUSED);
	EXPECT_EQ(ferry(&r, (char *[]){ "status", "--control", "/nowhere", NULL }), EXIT_FERRY_UNREACHABLE);
	EXPECT_EQ(ferry(&r, (char *[]){ "status", "--nothing", NULL }), EXIT_FERRY_USAGE);
	down(&r);
	rig_fini(&r);
}

static void send_frame(struct loop *loop, struct link *l, uint16_t type, const void *p, size_t len)
{
	struct iovec v = { (void *)p, len };

	EXPECT_EQ(link_send(l, type, &v, 1), 0);
	while (link_poll(l) || link_backlog(l))
		loop_wait(loop, 0);
}

static uint16_t next_answer(struct loop *loop, struct env *env, struct link *l)
{
	uint64_t until = env_now_ns(env) + 60 * NS_PER_S;
	struct link_msg m;
	int rc;

	while ((rc = link_recv(l, &m)) == 0 || (rc == 1 && m.type == FRAME_ALIVE))
		if (env_now_ns(env) < until)
			loop_wait(loop, env_now_ns(env) + NS_PER_S);
		else
			fail_msg("no answer on the link");
	EXPECT_EQ(rc, 1);
	return m.type;
}

static void hello_of(uint8_t *out, const char *name)
{
	static const uint8_t uuid[16] = FERRY_STATE_UUID;
	struct frame_hello h = { .version = le32_of(FRAME_VERSION), .ns_count = le16_of(1), .epoch = le64_of(2), .move = { 7 } };
	struct frame_ns n = { .guest_nsid = le32_of(1), .block_bytes = le32_of(4096), .blocks = le64_of(16) };

	strcpy((char *)h.guest, name);
	strcpy((char *)h.here, "unix:/here");
	memcpy(h.state_uuid, uuid, sizeof(uuid));
	memcpy(out, &h, sizeof(h));
	memcpy(out + sizeof(h), &n, sizeof(n));
}

static bool comes(struct rig *r, const char *name)
{
	char param[64];
	struct rpc_peer *p = rpc_peer_open(r->control, &r->err);
	json_object *res = NULL;
	bool yes;

	EXPECT(p != NULL);
	snprintf(param, sizeof(param), "{\"guest\":\"%s\"}", name);
	yes = !rpc_peer_call(p, "status", json_tokener_parse(param), &res, &r->err) && !strcmp(json_str(guest(res), "own"), "reserved");
	json_object_put(res);
	rpc_peer_close(p);
	return yes;
}

/* Questions about more guests than a server has rows for. They leave nothing: neither a file each, nor a table that is full when a guest
 * comes. */
TEST(questions_about_strangers_leave_nothing)
{
	struct frame_commit q = { .epoch = le64_of(2) };
	uint8_t hello[sizeof(struct frame_hello) + sizeof(struct frame_ns)];
	char addr[64], path[128];
	struct loop *loop;
	struct link *l;
	struct env *env;
	struct rig r;

	rig_init(&r);
	up(&r);
	loop = loop_new(&r.err);
	env = env_linux_new(loop, NULL, &r.err);
	snprintf(addr, sizeof(addr), "unix:%s/run/link.sock", r.dir);
	l = link_new(env, env_connect(env, addr, &r.err));
	for (int i = 0; i < 300; i++) {
		q.move[0] = (uint8_t)i;
		snprintf((char *)q.guest, sizeof(q.guest), "stranger%d", i);
		send_frame(loop, l, FRAME_ASK, &q, sizeof(q));
		EXPECT_EQ(next_answer(loop, env, l), FRAME_LATER);
	}
	snprintf(path, sizeof(path), "%s/state/guest-stranger1.journal", r.dir);
	EXPECT(access(path, F_OK));
	hello_of(hello, "new");
	send_frame(loop, l, FRAME_HELLO, hello, sizeof(hello));
	for (int i = 0; i < 3000 && !comes(&r, "new"); i++)
		usleep(10000); /* waits for the server, not for a time */
	EXPECT(comes(&r, "new"));
	link_free(l);
	env_linux_free(env);
	loop_free(loop);
	down(&r);
	rig_fini(&r);
}
