/* The control socket's server side: JSON-RPC 2.0, one object per line, over any env_conn.
 *
 * Clients are local and may be broken or slow, never trusted with the server's memory or time: lines, nesting, clients and unread
 * output are bounded; a client over a bound is told so and dropped. Batches are not offered. A handler may answer at once or
 * keep the call and answer later; if the client left meanwhile, the answer goes nowhere. One thread: the server's loop.
 */
#ifndef FERRY_CMD_RPC_H
#define FERRY_CMD_RPC_H

#include <json-c/json.h>

#include "base/buf.h"
#include "env/env.h"

enum { RPC_LINE_MAX = 1 << 20, RPC_BACKLOG_MAX = 4 << 20, RPC_CLIENTS_MAX = 64, RPC_DEPTH_MAX = 16, RPC_CALLS_MAX = 64 };

/* Error codes of JSON-RPC 2.0; ours are -32000 minus the exit code that the command line tool shall end with. */
enum { RPC_PARSE = -32700, RPC_INVALID = -32600, RPC_NO_METHOD = -32601, RPC_PARAMS = -32602, RPC_INTERNAL = -32603,
       RPC_EXIT = -32000 };

struct rpc;
struct rpc_call;

struct rpc_method {
	const char *name;	/* NULL ends the table */
	/* params: an object, never NULL; borrowed. Must answer exactly once, now or later, with rpc_reply or rpc_fail. */
	void (*run)(void *ctx, struct rpc_call *, json_object *params);
	const char *help;
};

struct rpc *rpc_new(const struct rpc_method *, void *ctx);
void rpc_free(struct rpc *);				/* closes all clients; calls not answered yet must not be answered any more */
void rpc_accept(struct rpc *, struct env_conn *);	/* takes the connection */
bool rpc_poll(struct rpc *);				/* true if anything was done */
unsigned rpc_clients(const struct rpc *);
bool rpc_drained(const struct rpc *);			/* nothing left to send */

void rpc_reply(struct rpc_call *, json_object *result);	/* takes the reference; NULL: null */
void rpc_fail(struct rpc_call *, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The calling client gets notifications from now on; topic NULL: all. */
void rpc_subscribe(struct rpc_call *, const char *topic);
/* To every subscriber of topic: {"method":"event","params":...}. Takes the reference. */
void rpc_publish(struct rpc *, const char *topic, json_object *params);

#endif
