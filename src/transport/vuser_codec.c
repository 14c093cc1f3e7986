#include "transport/vuser_codec.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>

struct vuser_hdr vuser_hdr_of(uint16_t id, uint16_t cmd, uint32_t size, uint32_t flags, uint32_t error)
{
	return (struct vuser_hdr){ .id = le16_of(id), .cmd = le16_of(cmd), .size = le32_of(size), .flags = le32_of(flags),
				   .error = le32_of(error) };
}

int vuser_hdr_judge(const struct vuser_hdr *h, uint32_t max_size, struct vuser_msg *m)
{
	uint32_t type;

	*m = (struct vuser_msg){ .id = le16_get(h->id), .cmd = le16_get(h->cmd), .size = le32_get(h->size),
				 .flags = le32_get(h->flags), .error = le32_get(h->error) };
	type = m->flags & VUSER_TYPE_MASK;
	if (m->size < sizeof(*h) || m->size > max_size || (type != VUSER_TYPE_COMMAND && type != VUSER_TYPE_REPLY))
		return -EPROTO;
	return 0;
}

int vuser_error_of(const struct vuser_msg *m)
{
	return m->error && m->error < 4096 ? -(int)m->error : -EIO;
}

const char *vuser_command_name(unsigned cmd)
{
#define NAME(name, no, from) [no] = #name,
	static const char *const names[] = { VUSER_COMMANDS(NAME) };
#undef NAME

	_Static_assert(ARRAY_LEN(names) == VUSER_COMMAND_COUNT, "a name for each command");
	return cmd < ARRAY_LEN(names) && names[cmd] ? names[cmd] : "?";
}

struct vuser_caps vuser_caps_default(void)
{
	struct vuser_caps c = { 0 };

#define K(member, key, absent, least) c.member = absent;
	VUSER_CAPS_NUMBERS(K)
#undef K
	return c;
}

static int take_number(struct json_object *caps, const char *key, uint64_t least, uint64_t *out, struct err *err)
{
	struct json_object *v;
	int64_t n;

	if (!json_object_object_get_ex(caps, key, &v))
		return 0;
	if (!json_object_is_type(v, json_type_int))
		return err_set(err, -EINVAL, "VERSION: capability %s is not a whole number", key);
	n = json_object_get_int64(v);
	if (n < 0 || (uint64_t)n < least)
		return err_set(err, -EINVAL, "VERSION: capability %s is %lld", key, (long long)n);
	*out = (uint64_t)n;
	return 0;
}

static int take_bool(struct json_object *caps, const char *key, bool *out, struct err *err)
{
	struct json_object *v;

	if (!json_object_object_get_ex(caps, key, &v))
		return 0;
	if (!json_object_is_type(v, json_type_boolean))
		return err_set(err, -EINVAL, "VERSION: capability %s is neither true nor false", key);
	*out = json_object_get_boolean(v);
	return 0;
}

/* Keys we do not know (twin_socket, the old migration object, whatever comes) are nobody's business. */
static int take_caps(struct json_object *root, struct vuser_caps *c, struct err *err)
{
	struct json_object *caps;
	int rc = 0;

	if (!json_object_is_type(root, json_type_object))
		return err_set(err, -EINVAL, "VERSION: the JSON text is not an object");
	if (!json_object_object_get_ex(root, "capabilities", &caps))
		return 0;
	if (!json_object_is_type(caps, json_type_object))
		return err_set(err, -EINVAL, "VERSION: \"capabilities\" is not an object");
#define K(member, key, absent, least) rc = rc ? rc : take_number(caps, key, least, &c->member, err);
	VUSER_CAPS_NUMBERS(K)
#undef K
#define K(member, key) rc = rc ? rc : take_bool(caps, key, &c->member, err);
	VUSER_CAPS_BOOLS(K)
#undef K
	return rc;
}

static int parse_json(const char *text, size_t len, struct vuser_caps *c, struct err *err)
{
	struct json_tokener *tok = json_tokener_new_ex(8); /* depth: the protocol needs three */
	struct json_object *root;
	int rc;

	if (!tok)
		return err_set(err, -ENOMEM, "VERSION: out of memory");
	root = json_tokener_parse_ex(tok, text, (int)len);
	if (json_tokener_get_error(tok) == json_tokener_success)
		rc = take_caps(root, c, err);
	else
		rc = err_set(err, -EINVAL, "VERSION: bad JSON: %s", json_tokener_error_desc(json_tokener_get_error(tok)));
	json_object_put(root);
	json_tokener_free(tok);
	return rc;
}

int vuser_version_parse(const void *payload, size_t len, struct vuser_caps *c, struct err *err)
{
	const char *text = (const char *)payload + sizeof(struct vuser_version_head);
	struct vuser_version_head head;

	*c = vuser_caps_default();
	if (len < sizeof(head) || len > VUSER_VERSION_MAX_BYTES)
		return err_set(err, -EINVAL, "VERSION: %zu bytes of payload", len);
	memcpy(&head, payload, sizeof(head));
	if (le16_get(head.major) != 0)
		return err_set(err, -ENOTSUP, "VERSION: the peer speaks %u.%u, we speak 0.0", le16_get(head.major),
			       le16_get(head.minor));
	len -= sizeof(head);
	if (!len)
		return 0; /* SPDK's client sends the numbers only */
	if (memchr(text, 0, len) != text + len - 1)
		return err_set(err, -EINVAL, "VERSION: the JSON text does not end in its only NUL");
	return len == 1 ? 0 : parse_json(text, len, c, err); /* with the NUL: a bare number would end nowhere else */
}

size_t vuser_version_emit(void *payload, size_t cap, const struct vuser_caps *c)
{
	struct vuser_version_head head = { 0 };
	int n;

	if (cap < sizeof(head))
		return 0;
	memcpy(payload, &head, sizeof(head));
	n = snprintf((char *)payload + sizeof(head), cap - sizeof(head),
		     "{\"capabilities\":{\"max_msg_fds\":%llu,\"max_data_xfer_size\":%llu,\"write_multiple\":%s}}",
		     (unsigned long long)c->max_msg_fds, (unsigned long long)c->max_data_xfer,
		     c->write_multiple ? "true" : "false");
	return n < 0 || (size_t)n + 1 > cap - sizeof(head) ? 0 : sizeof(head) + (size_t)n + 1;
}
