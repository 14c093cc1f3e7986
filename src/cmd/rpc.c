/* JSON-RPC 2.0 over lines. See rpc.h. */
#include "cmd/rpc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"

struct rpc_client {
	struct list link;
	struct env_conn *conn;
	struct buf in, out;
	size_t scanned;			/* bytes of `in` known to hold no newline */
	unsigned calls;			/* kept by handlers */
	bool closing;			/* send what is left, then close; reads no more */
	bool ended;			/* peer closed its side: answers still go out */
	bool subscribed;
	char topic[64];			/* "": all */
};

struct rpc_call {
	struct list link;		/* of rpc.calls */
	struct rpc *rpc;
	struct rpc_client *client;	/* NULL: it left */
	bool wants;			/* false: a notification, never answered */
	json_object *id;		/* NULL: null */
};

struct rpc {
	const struct rpc_method *methods;
	void *ctx;
	struct list clients, calls;
	unsigned count;
	json_tokener *tok;
};

struct rpc *rpc_new(const struct rpc_method *methods, void *ctx)
{
	struct rpc *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->methods = methods;
	r->ctx = ctx;
	list_init(&r->clients);
	list_init(&r->calls);
	r->tok = json_tokener_new_ex(RPC_DEPTH_MAX);
	if (r->tok)
		return r;
	free(r);
	return NULL;
}

static void client_free(struct rpc *r, struct rpc_client *c)
{
	LIST_EACH(&r->calls, it) {
		struct rpc_call *call = LIST_ENTRY(it, struct rpc_call, link);

		if (call->client == c)
			call->client = NULL;
	}
	list_del(&c->link);
	env_conn_close(c->conn);
	buf_fini(&c->in);
	buf_fini(&c->out);
	free(c);
	r->count--;
}

static void call_free(struct rpc_call *call)
{
	list_del(&call->link);
	if (call->client)
		call->client->calls--;
	json_object_put(call->id);
	free(call);
}

void rpc_free(struct rpc *r)
{
	if (!r)
		return;
	LIST_EACH(&r->clients, it)
		client_free(r, LIST_ENTRY(it, struct rpc_client, link));
	LIST_EACH(&r->calls, it2)
		call_free(LIST_ENTRY(it2, struct rpc_call, link));
	json_tokener_free(r->tok);
	free(r);
}

void rpc_accept(struct rpc *r, struct env_conn *conn)
{
	struct rpc_client *c = r->count < RPC_CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		env_conn_close(conn);
		return;
	}
	c->conn = conn;
	list_push(&r->clients, &c->link);
	r->count++;
}

unsigned rpc_clients(const struct rpc *r) { return r->count; }

bool rpc_drained(const struct rpc *r)
{
	LIST_EACH(&r->clients, it)
		if (LIST_ENTRY(it, struct rpc_client, link)->out.len)
			return false;
	return true;
}

/* ---- out */

static void client_send(struct rpc_client *c, json_object *msg) /* takes the reference */
{
	size_t n;
	const char *text = json_object_to_json_string_length(msg, JSON_C_TO_STRING_PLAIN, &n);

	/* A reader this slow would hold our memory for as long as it likes. */
	if (c->out.len + n > RPC_BACKLOG_MAX && c->out.len) {
		c->out.len = 0;
		c->closing = true;
	} else if (text && !c->closing) {
		buf_add(&c->out, text, n);
		buf_add(&c->out, "\n", 1);
	}
	json_object_put(msg);
}

static json_object *envelope(void)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "jsonrpc", json_object_new_string("2.0"));
	return o;
}

static json_object *error_object(json_object *id, int code, const char *text)
{
	json_object *o = envelope(), *e = json_object_new_object();

	json_object_object_add(e, "code", json_object_new_int(code));
	json_object_object_add(e, "message", json_object_new_string(text));
	json_object_object_add(o, "error", e);
	json_object_object_add(o, "id", id ? json_object_get(id) : NULL);
	return o;
}

void rpc_reply(struct rpc_call *call, json_object *result)
{
	if (call->client && call->wants) {
		json_object *o = envelope();

		json_object_object_add(o, "result", result);
		json_object_object_add(o, "id", json_object_get(call->id));
		client_send(call->client, o);
	} else {
		json_object_put(result);
	}
	call_free(call);
}

void rpc_fail(struct rpc_call *call, int code, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (call->client && call->wants)
		client_send(call->client, error_object(call->id, code, text));
	call_free(call);
}

void rpc_subscribe(struct rpc_call *call, const char *topic)
{
	if (!call->client)
		return;
	call->client->subscribed = true;
	snprintf(call->client->topic, sizeof(call->client->topic), "%s", topic ? topic : "");
}

void rpc_publish(struct rpc *r, const char *topic, json_object *params)
{
	LIST_EACH(&r->clients, it) {
		struct rpc_client *c = LIST_ENTRY(it, struct rpc_client, link);

		if (!c->subscribed || (c->topic[0] && strcmp(c->topic, topic)))
			continue;
		json_object *o = envelope();
		json_object_object_add(o, "method", json_object_new_string("event"));
		json_object_object_add(o, "params", json_object_get(params));
		client_send(c, o);
	}
	json_object_put(params);
}

/* ---- in */

static void refuse(struct rpc_client *c, json_object *id, int code, const char *text)
{
	client_send(c, error_object(id, code, text));
}

static bool id_ok(json_object *id)
{
	enum json_type t = json_object_get_type(id);

	return t == json_type_string || t == json_type_int || t == json_type_double || t == json_type_null;
}

static void dispatch(struct rpc *r, struct rpc_client *c, const char *method, json_object *id, bool has_id, json_object *params)
{
	const struct rpc_method *m = r->methods;
	struct rpc_call *call;

	while (m->name && strcmp(m->name, method))
		m++;
	if (!m->name) {
		if (has_id)
			refuse(c, id, RPC_NO_METHOD, "there is no such method");
		return;
	}
	call = c->calls < RPC_CALLS_MAX ? calloc(1, sizeof(*call)) : NULL;
	if (!call) {
		refuse(c, id, RPC_INTERNAL, "too many calls are waiting for an answer; wait for some of them");
		return;
	}
	call->rpc = r;
	call->client = c;
	call->wants = has_id;
	call->id = json_object_get(id);
	c->calls++;
	list_push(&r->calls, &call->link);
	json_object *none = params ? NULL : json_object_new_object();
	m->run(r->ctx, call, params ? params : none);
	json_object_put(none);
}

static void on_request(struct rpc *r, struct rpc_client *c, json_object *msg)
{
	json_object *id = NULL, *method = NULL, *params = NULL, *version = NULL;
	bool has_id;

	if (!json_object_is_type(msg, json_type_object)) {
		refuse(c, NULL, RPC_INVALID, "a request is an object, one per line");
		return;
	}
	has_id = json_object_object_get_ex(msg, "id", &id);
	if (has_id && !id_ok(id)) {
		refuse(c, NULL, RPC_INVALID, "id must be a string or a number");
		return;
	}
	json_object_object_get_ex(msg, "jsonrpc", &version);
	if (!json_object_is_type(version, json_type_string) || strcmp(json_object_get_string(version), "2.0") ||
	    !json_object_object_get_ex(msg, "method", &method) || !json_object_is_type(method, json_type_string)) {
		refuse(c, id, RPC_INVALID, "a request has \"jsonrpc\":\"2.0\" and a \"method\"");
		return;
	}
	json_object_object_get_ex(msg, "params", &params);
	if (params && !json_object_is_type(params, json_type_object)) {
		if (has_id)
			refuse(c, id, RPC_PARAMS, "params must be an object");
		return;
	}
	dispatch(r, c, json_object_get_string(method), id, has_id, params);
}

static void on_line(struct rpc *r, struct rpc_client *c, const char *line, size_t n)
{
	json_object *msg;

	while (n && (line[n - 1] == '\r' || line[n - 1] == ' '))
		n--;
	if (!n)
		return;
	json_tokener_reset(r->tok);
	json_tokener_set_flags(r->tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	msg = json_tokener_parse_ex(r->tok, line, (int)n);
	if (!msg && json_tokener_get_error(r->tok) == json_tokener_continue)
		msg = json_tokener_parse_ex(r->tok, "", -1); /* "42" may go on; the end of the line ends it */
	if (json_tokener_get_error(r->tok) != json_tokener_success || json_tokener_get_parse_end(r->tok) > n)
		refuse(c, NULL, RPC_PARSE, "the line is not JSON");
	else
		on_request(r, c, msg);
	json_object_put(msg);
}

static bool client_lines(struct rpc *r, struct rpc_client *c)
{
	bool any = false;

	for (;;) {
		uint8_t *nl = c->closing ? NULL : memchr(c->in.data + c->scanned, '\n', c->in.len - c->scanned);

		if (!nl)
			break;
		size_t n = (size_t)(nl - c->in.data);
		on_line(r, c, (const char *)c->in.data, n);
		buf_drop_front(&c->in, n + 1);
		c->scanned = 0;
		any = true;
	}
	c->scanned = c->in.len;
	if (c->in.len > RPC_LINE_MAX && !c->closing) {
		refuse(c, NULL, RPC_INVALID, "the line is longer than 1 MiB");
		c->closing = true;
	}
	return any;
}

/* False: the client is gone. */
static bool client_read(struct rpc *r, struct rpc_client *c, bool *any)
{
	uint8_t chunk[16384];
	ssize_t n;

	for (int turn = 0; turn < 16 && !c->closing && !c->ended; turn++) { /* bounded: others wait too */
		n = env_conn_recv(c->conn, chunk, sizeof(chunk));
		if (n == -EAGAIN)
			break;
		if (n < 0)
			return false;
		*any = true;
		if (!n) {
			c->ended = true;
			break;
		}
		buf_add(&c->in, chunk, (size_t)n);
		if (c->in.failed)
			return false;
		client_lines(r, c);
	}
	return true;
}

static bool client_write(struct rpc_client *c, bool *any)
{
	while (c->out.len) {
		struct iovec v = { c->out.data, c->out.len };
		ssize_t n = env_conn_send(c->conn, &v, 1);

		if (n == -EAGAIN)
			return true;
		if (n < 0)
			return false;
		if (!n)
			break;
		*any = true;
		buf_drop_front(&c->out, (size_t)n);
	}
	return !c->out.failed;
}

bool rpc_poll(struct rpc *r)
{
	bool any = false;

	LIST_EACH(&r->clients, it) {
		struct rpc_client *c = LIST_ENTRY(it, struct rpc_client, link);
		bool alive = client_read(r, c, &any) && client_write(c, &any);

		if (!alive || (!c->out.len && (c->closing || (c->ended && !c->calls)))) {
			client_free(r, c);
			any = true;
		}
	}
	return any;
}
