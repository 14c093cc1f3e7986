/* The control socket's client side, for the ferry commands: blocking, one socket, interruptible by signals. */
#ifndef FERRY_CMD_RPC_CLIENT_H
#define FERRY_CMD_RPC_CLIENT_H

#include <json-c/json.h>

#include "base/bytes.h"
#include "base/err.h"

struct rpc_peer;

/* NULL with a sentence (says how to start a server when nobody answers). */
struct rpc_peer *rpc_peer_open(const char *path, struct err *);
void rpc_peer_close(struct rpc_peer *);
/* Sends a request; takes params. Returns its id (> 0) or -errno. */
int rpc_peer_send(struct rpc_peer *, const char *method, json_object *params, struct err *);
/* Next message (the caller puts it). 0; -EAGAIN nothing within timeout_ms (-1: for ever); -EINTR a signal came; -EPIPE the server
 * closed; -errno. */
int rpc_peer_next(struct rpc_peer *, int timeout_ms, json_object **msg, struct err *);
/* One call and its answer; events that come between are dropped. Returns an exit code (command.h); *result on EXIT_FERRY_OK. */
int rpc_peer_call(struct rpc_peer *, const char *method, json_object *params, json_object **result, struct err *);
/* The whole thing for simple commands: opens, calls, prints the error. Returns an exit code. */
int rpc_call_once(const char *socket, const char *method, json_object *params, json_object **result);
/* If msg answers `id`: true, and *exit_code with *result (borrowed) or the error's sentence. */
bool rpc_is_answer(json_object *msg, int id, int *exit_code, json_object **result, struct err *);

/* Readers for answers: a missing or mistyped member reads as empty. */
const char *json_str(json_object *, const char *key);
int64_t json_num(json_object *, const char *key);
uint64_t json_u64(json_object *, const char *key);
json_object *json_get(json_object *, const char *key); /* borrowed; NULL */

#endif
