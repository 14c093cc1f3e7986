/* Blocking JSON-RPC client. See rpc_client.h. */
#include "cmd/rpc_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "cmd/command.h"
#include "cmd/rpc.h"

enum { ANSWER_MAX = 64 << 20 };

struct rpc_peer {
	int fd, next_id;
	struct buf in;
	char path[108];
};

struct rpc_peer *rpc_peer_open(const char *path, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct rpc_peer *p;

	if (strlen(path) >= sizeof(a.sun_path)) {
		err_set(err, -ENAMETOOLONG, "%s: too long for a socket's path (107 characters)", path);
		return NULL;
	}
	strcpy(a.sun_path, path);
	p = calloc(1, sizeof(*p));
	if (!p || (p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0) {
		err_set(err, -ENOMEM, "cannot make a socket: %s", strerror(errno));
		free(p);
		return NULL;
	}
	if (connect(p->fd, (struct sockaddr *)&a, sizeof(a))) {
		err_set(err, -errno, "no server answers at %s (%s); start one with 'ferry serve', or say where it is with --control",
			path, strerror(errno));
		close(p->fd);
		free(p);
		return NULL;
	}
	snprintf(p->path, sizeof(p->path), "%s", path);
	return p;
}

void rpc_peer_close(struct rpc_peer *p)
{
	if (!p)
		return;
	close(p->fd);
	buf_fini(&p->in);
	free(p);
}

static int send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		if (k < 0 && errno == EINTR)
			continue; /* half a request would be worse than a late answer to Ctrl-C */
		if (k < 0)
			return -errno;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

int rpc_peer_send(struct rpc_peer *p, const char *method, json_object *params, struct err *err)
{
	json_object *o = json_object_new_object();
	struct buf line = { 0 };
	int id = ++p->next_id, rc;

	json_object_object_add(o, "jsonrpc", json_object_new_string("2.0"));
	json_object_object_add(o, "id", json_object_new_int(id));
	json_object_object_add(o, "method", json_object_new_string(method));
	if (params)
		json_object_object_add(o, "params", params);
	buf_printf(&line, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
	rc = line.failed ? -ENOMEM : send_all(p->fd, (char *)line.data, line.len);
	buf_fini(&line);
	return rc ? err_set(err, rc, "cannot send to the server at %s: %s", p->path, strerror(-rc)) : id;
}

static int take_line(struct rpc_peer *p, json_object **msg, struct err *err)
{
	uint8_t *nl = memchr(p->in.data, '\n', p->in.len);

	if (!nl)
		return p->in.len > ANSWER_MAX ? err_set(err, -EMSGSIZE, "the server at %s sends nonsense", p->path) : -EAGAIN;
	*nl = '\0';
	*msg = json_tokener_parse((char *)p->in.data);
	buf_drop_front(&p->in, (size_t)(nl - p->in.data) + 1);
	return *msg ? 0 : err_set(err, -EBADMSG, "the server at %s answered something that is not JSON", p->path);
}

int rpc_peer_next(struct rpc_peer *p, int timeout_ms, json_object **msg, struct err *err)
{
	for (;;) {
		struct pollfd f = { .fd = p->fd, .events = POLLIN };
		int rc = p->in.len ? take_line(p, msg, err) : -EAGAIN;

		if (rc != -EAGAIN)
			return rc;
		rc = poll(&f, 1, timeout_ms);
		if (rc < 0)
			return errno == EINTR ? -EINTR : err_set(err, -errno, "poll: %s", strerror(errno));
		if (!rc)
			return -EAGAIN;
		if (!buf_reserve(&p->in, 65536))
			return err_set(err, -ENOMEM, "no memory");
		ssize_t n = recv(p->fd, p->in.data + p->in.len, 65536, 0);
		if (n < 0 && errno == EINTR)
			return -EINTR;
		if (n <= 0)
			return err_set(err, -EPIPE, "the server at %s closed the connection%s%s", p->path, n ? ": " : "",
				       n ? strerror(errno) : "");
		p->in.len += (size_t)n;
	}
}

bool rpc_is_answer(json_object *msg, int id, int *exit_code, json_object **result, struct err *err)
{
	json_object *error;
	int64_t code;

	if (!json_get(msg, "id") || json_num(msg, "id") != id)
		return false;
	error = json_get(msg, "error");
	*result = json_get(msg, "result");
	*exit_code = EXIT_FERRY_OK;
	if (!error)
		return true;
	code = RPC_EXIT - json_num(error, "code");
	*exit_code = code > 0 && code < 100 ? (int)code : EXIT_FERRY_FAILED;
	err_set(err, -EPROTO, "%s", json_str(error, "message"));
	return true;
}

int rpc_peer_call(struct rpc_peer *p, const char *method, json_object *params, json_object **result, struct err *err)
{
	int id = rpc_peer_send(p, method, params, err), rc, code;

	if (id < 0)
		return EXIT_FERRY_UNREACHABLE;
	for (;;) {
		json_object *msg = NULL, *r;

		do
			rc = rpc_peer_next(p, -1, &msg, err);
		while (rc == -EINTR);
		if (rc)
			return EXIT_FERRY_UNREACHABLE;
		if (rpc_is_answer(msg, id, &code, &r, err)) {
			*result = code ? NULL : json_object_get(r);
			json_object_put(msg);
			return code;
		}
		json_object_put(msg);
	}
}

int rpc_call_once(const char *socket, const char *method, json_object *params, json_object **result)
{
	struct err err = { "" };
	struct rpc_peer *p = rpc_peer_open(socket, &err);
	int code = EXIT_FERRY_UNREACHABLE;

	*result = NULL;
	if (p)
		code = rpc_peer_call(p, method, params, result, &err);
	else
		json_object_put(params);
	rpc_peer_close(p);
	if (code)
		fprintf(stderr, "ferry: %s\n", err.text);
	return code;
}

json_object *json_get(json_object *o, const char *key)
{
	json_object *v = NULL;

	return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

const char *json_str(json_object *o, const char *key)
{
	json_object *v = json_get(o, key);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

int64_t json_num(json_object *o, const char *key) { return json_object_get_int64(json_get(o, key)); }
uint64_t json_u64(json_object *o, const char *key) { return json_object_get_uint64(json_get(o, key)); }
