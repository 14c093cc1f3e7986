/* The control socket against clients that are broken, slow or greedy: each is answered or dropped, nobody else notices. */
#include "t.h"

#include <errno.h>
#include <stdlib.h>

#include "cmd/rpc.h"

/* A stream made of two buffers: what the client has said, and what it has been told. */
struct fake {
	struct env_conn conn;
	struct buf to_server, to_client;
	size_t room;			/* bytes the client's side takes */
	bool ended, broken, *closed;
};

static ssize_t fake_send(struct env_conn *c, const struct iovec *v, int n)
{
	struct fake *f = (struct fake *)c;
	size_t k = n ? MIN(v[0].iov_len, f->room) : 0;

	if (!k)
		return -EAGAIN;
	buf_add(&f->to_client, v[0].iov_base, k);
	f->room -= k;
	return (ssize_t)k;
}

static ssize_t fake_recv(struct env_conn *c, void *p, size_t cap)
{
	struct fake *f = (struct fake *)c;
	size_t k = MIN(cap, f->to_server.len);

	if (!k)
		return f->broken ? -ECONNRESET : f->ended ? 0 : -EAGAIN;
	memcpy(p, f->to_server.data, k);
	buf_drop_front(&f->to_server, k);
	return (ssize_t)k;
}

static void fake_close(struct env_conn *c)
{
	struct fake *f = (struct fake *)c;

	*f->closed = true;
	buf_fini(&f->to_server);
	buf_fini(&f->to_client);
	free(f);
}

static const struct env_conn_ops fake_ops = { fake_send, fake_recv, fake_close };

struct rig {
	struct rpc *rpc;
	struct fake *f;
	bool closed;
	struct rpc_call *kept;
};

static void m_echo(void *ctx, struct rpc_call *call, json_object *params)
{
	(void)ctx;
	rpc_reply(call, json_object_get(params));
}
static void m_keep(void *ctx, struct rpc_call *call, json_object *params)
{
	(void)params;
	((struct rig *)ctx)->kept = call;
}
static void m_fail(void *ctx, struct rpc_call *call, json_object *params)
{
	(void)ctx, (void)params;
	rpc_fail(call, RPC_EXIT - 3, "no: %d", 7);
}
static void m_watch(void *ctx, struct rpc_call *call, json_object *params)
{
	(void)ctx, (void)params;
	rpc_subscribe(call, "g");
	rpc_reply(call, NULL);
}
static const struct rpc_method methods[] = { { "echo", m_echo, "" }, { "keep", m_keep, "" }, { "fail", m_fail, "" },
					     { "watch", m_watch, "" }, { NULL } };

static struct fake *join(struct rig *r, bool *closed)
{
	struct fake *f = calloc(1, sizeof(*f));

	f->conn.ops = &fake_ops;
	f->room = SIZE_MAX;
	f->closed = closed;
	rpc_accept(r->rpc, &f->conn);
	return f;
}

static void rig_init(struct rig *r)
{
	*r = (struct rig){ 0 };
	r->rpc = rpc_new(methods, r);
	r->f = join(r, &r->closed);
}

static void say(struct rig *r, const char *text)
{
	buf_add(&r->f->to_server, text, strlen(text));
	while (rpc_poll(r->rpc) && !r->closed)
		;
}

static const char *told(struct rig *r)
{
	static char text[4096];
	size_t n = MIN(r->f->to_client.len, sizeof(text) - 1);

	if (n)
		memcpy(text, r->f->to_client.data, n);
	text[n] = '\0';
	buf_drop_front(&r->f->to_client, r->f->to_client.len);
	return text;
}

static void expect_error(struct rig *r, const char *line, const char *code)
{
	const char *answer;

	say(r, line);
	answer = told(r);
	if (!strstr(answer, code) || !strstr(answer, "\"error\""))
		fail_msg("%s -> %s, not %s", line, answer, code);
}

TEST(answers_carry_the_id_as_it_came)
{
	struct rig r;

	rig_init(&r);
	say(&r, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"echo\",\"params\":{\"a\":1}}\n");
	EXPECT_STR(told(&r), "{\"jsonrpc\":\"2.0\",\"result\":{\"a\":1},\"id\":7}\n");
	say(&r, "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"echo\"}\n");
	EXPECT_STR(told(&r), "{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":\"x\"}\n");
	rpc_free(r.rpc);
}

/* JSON-RPC 2.0, section 4.1: the server must not reply to a notification, not even with an error. */
TEST(notifications_are_never_answered)
{
	struct rig r;

	rig_init(&r);
	say(&r, "{\"jsonrpc\":\"2.0\",\"method\":\"fail\"}\n{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}\n");
	EXPECT_STR(told(&r), "");
	rpc_free(r.rpc);
}

TEST(malformed_requests_get_the_codes_of_the_book)
{
	struct rig r;

	rig_init(&r);
	expect_error(&r, "{\n", "-32700");
	expect_error(&r, "{} {}\n", "-32700");
	expect_error(&r, "\"\xff\xfe\"\n", "-32700");
	expect_error(&r, "42\n", "-32600");
	expect_error(&r, "[]\n", "-32600");
	expect_error(&r, "{\"id\":1,\"method\":\"echo\"}\n", "-32600");
	expect_error(&r, "{\"jsonrpc\":\"2.0\",\"id\":1}\n", "-32600");
	expect_error(&r, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}\n", "-32600");
	expect_error(&r, "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"echo\"}\n", "-32600");
	expect_error(&r, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[1]}\n", "-32602");
	expect_error(&r, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nothing\"}\n", "-32601");
	expect_error(&r, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"fail\"}\n", "-32003");
	EXPECT(!r.closed);
	rpc_free(r.rpc);
}

/* A parser that recurses would be sent 100,000 brackets. */
TEST(deep_nesting_is_refused)
{
	struct rig r;
	char line[4096];

	rig_init(&r);
	memset(line, '[', 2000);	/* well formed: only its depth is wrong */
	memset(line + 2000, ']', 2000);
	strcpy(line + 4000, "\n");
	expect_error(&r, line, "-32700");
	rpc_free(r.rpc);
}

TEST(requests_may_come_in_pieces_and_in_bunches)
{
	static const char two[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}\r\n\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"echo\"}\n";
	struct rig r;

	rig_init(&r);
	for (size_t i = 0; i < sizeof(two) - 1; i++) {
		char one[2] = { two[i], 0 };

		say(&r, one);
	}
	EXPECT_STR(told(&r), "{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":1}\n{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":2}\n");
	rpc_free(r.rpc);
}

TEST(an_endless_line_is_answered_and_dropped)
{
	struct rig r;
	char *big = malloc(RPC_LINE_MAX + 100000);

	rig_init(&r);
	memset(big, 'x', RPC_LINE_MAX + 99999);
	big[RPC_LINE_MAX + 99999] = '\0';
	say(&r, big);
	free(big);
	EXPECT(r.closed);
	EXPECT_EQ(rpc_clients(r.rpc), 0);
	rpc_free(r.rpc);
}

/* The answer to a kept call whose client left goes nowhere, and nowhere else. */
TEST(late_answers_after_the_client_left)
{
	struct rig r;

	rig_init(&r);
	say(&r, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"keep\"}\n");
	EXPECT(r.kept != NULL);
	r.f->ended = true;
	rpc_poll(r.rpc);
	EXPECT(!r.closed); /* half closed: the answer may still be wanted */
	rpc_reply(r.kept, NULL);
	rpc_poll(r.rpc);
	EXPECT(r.closed);
	rpc_free(r.rpc);
}

/* The same when the connection broke: the call outlives its client, and other clients' calls are not mixed up with it. */
TEST(late_answers_after_the_connection_broke)
{
	struct rig r;
	bool other_closed = false;
	struct fake *other;

	rig_init(&r);
	say(&r, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"keep\"}\n");
	r.f->broken = true;
	rpc_poll(r.rpc);
	EXPECT(r.closed);
	other = join(&r, &other_closed);
	rpc_reply(r.kept, json_object_new_string("late"));
	rpc_poll(r.rpc);
	EXPECT_EQ(other->to_client.len, 0);
	rpc_free(r.rpc);
}

TEST(calls_that_wait_are_bounded)
{
	struct rig r;

	rig_init(&r);
	for (int i = 0; i < RPC_CALLS_MAX; i++)
		say(&r, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"keep\"}\n");
	EXPECT_STR(told(&r), "");
	expect_error(&r, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"keep\"}\n", "-32603");
	rpc_free(r.rpc); /* frees the calls nobody will answer */
}

/* A subscriber who never reads must cost a bounded amount of memory, and the others nothing. */
TEST(slow_readers_are_dropped_and_others_served)
{
	struct rig r;
	bool other_closed = false;
	struct fake *other;

	rig_init(&r);
	say(&r, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"watch\"}\n");
	r.f->room = 0;
	other = join(&r, &other_closed);
	for (int i = 0; i < 6000 && !r.closed; i++) {
		char *text = malloc(1001);

		memset(text, 'y', 1000);
		text[1000] = '\0';
		rpc_publish(r.rpc, "g", json_object_new_string(text));
		rpc_publish(r.rpc, "other topic", json_object_new_string(text));
		free(text);
		rpc_poll(r.rpc);
	}
	EXPECT(r.closed);
	EXPECT(!other_closed);
	EXPECT_EQ(other->to_client.len, 0);
	rpc_free(r.rpc);
	EXPECT(other_closed);
}

TEST(clients_are_counted)
{
	struct rig r;
	bool closed[RPC_CLIENTS_MAX] = { false };

	rig_init(&r);
	for (int i = 0; i < RPC_CLIENTS_MAX - 1; i++)
		join(&r, &closed[i]);
	EXPECT_EQ(rpc_clients(r.rpc), RPC_CLIENTS_MAX);
	join(&r, &closed[RPC_CLIENTS_MAX - 1]);
	EXPECT(closed[RPC_CLIENTS_MAX - 1]);
	rpc_free(r.rpc);
}
