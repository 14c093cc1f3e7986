/* The configuration: libinih splits lines, the tables below say what each key means.
 *
 * Called by `ferry serve` before anything is opened. Two passes of judgement: each value as it is read, and the whole (names that
 * refer to something, sizes, things given twice) at the end. Nothing is guessed: an unknown key is an error, because a
 * misspelt `create` must not look like a missing one.
 */
#include "cmd/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/opt.h"
#include "env/linux/loop.h"

enum kind { K_TEXT, K_PATH, K_NUM, K_BYTES, K_TIME, K_BOOL, K_BACKEND, K_DOORBELLS, K_HEX16, K_LIST, K_LINK, K_VM };

struct key {
	const char *name;
	enum kind kind;
	size_t off, cap;	/* cap: bytes of a text member */
	size_t has;		/* offset of a bool that says it was given; 0: none */
	const char *dflt, *help;
};

#define TEXT(type, m) offsetof(type, m), sizeof(((type *)0)->m)
static const struct key server_keys[] = {
	{ "name", K_TEXT, TEXT(struct cfg_server, name), 0, "ferry", "what this server is called in messages" },
	{ "run_dir", K_PATH, TEXT(struct cfg_server, run_dir), 0, NULL, "directory of the sockets; made if missing (needed)" },
	{ "state_dir", K_PATH, TEXT(struct cfg_server, state_dir), 0, NULL,
	  "directory of the journals that say who may run a guest; must survive a restart (needed)" },
	{ "control", K_PATH, TEXT(struct cfg_server, control), 0, "RUN_DIR/control.sock", "socket for the ferry commands" },
	{ "link", K_LINK, TEXT(struct cfg_server, link), 0, "unix:RUN_DIR/link.sock",
	  "address other servers reach this one at: unix:PATH or tcp:HOST:PORT" },
	{ "mmc_socket", K_PATH, TEXT(struct cfg_server, mmc_socket), 0, "none",
	  "vfio-user socket of the migration management controller, for verification and driver writers: the server then does not drive "
	  "its own MMC and cannot take part in moves" },
	{ "get_cdq_8_bytes", K_BOOL, offsetof(struct cfg_server, get_cdq_8_bytes), 0, 0, "no",
	  "yes: Get Features 21h transfers only its 8 meaningful bytes, not 512; nvme-cli's `lm get-cdq` has room for no more" },
	{ "slow", K_TIME, offsetof(struct cfg_server, slow_ns), 0, 0, "5s",
	  "a request that a disk has had for so long is told of in the log, once, and when it is done; 0: none is" },
	{ "poll", K_BOOL, offsetof(struct cfg_server, poll), 0, 0, "no", "yes: spin instead of sleeping; uses a whole core" },
	{ NULL }
};
static const struct key pool_keys[] = {
	{ "kind", K_BACKEND, offsetof(struct cfg_pool, kind), 0, 0, "file", "file or ram" },
	{ "dir", K_PATH, TEXT(struct cfg_pool, dir), 0, NULL, "directory of the files (needed for kind=file)" },
	{ "max_bytes", K_BYTES, offsetof(struct cfg_pool, max_bytes), 0, 0, "no limit", "sum of the sizes of its namespaces" },
	{ NULL }
};
static const struct key ns_keys[] = {
	{ "size", K_BYTES, offsetof(struct cfg_ns, bytes), 0, 0, "size of the file",
	  "bytes, a multiple of the block size; when the guest is started for the first time. Later the server's record of guests has the size, "
	  "and `ferry resize` changes it" },
	{ "block", K_BYTES, offsetof(struct cfg_ns, block), 0, 0, "4096", "logical block: 512 or 4096" },
	{ "backend", K_BACKEND, offsetof(struct cfg_ns, backend), 0, 0, "file", "file or ram (lost with the process)" },
	{ "path", K_PATH, TEXT(struct cfg_ns, path), 0, NULL, "the file (needed for backend=file)" },
	{ "create", K_BOOL, offsetof(struct cfg_ns, create), 0, 0, "no", "yes: make the file (sparse) if it is missing" },
	{ "nguid", K_HEX16, offsetof(struct cfg_ns, nguid), 0, offsetof(struct cfg_ns, has_nguid), "random, then kept",
	  "32 hex digits: the globally unique identifier that guests see" },
	{ "uuid", K_HEX16, offsetof(struct cfg_ns, uuid), 0, offsetof(struct cfg_ns, has_uuid), "random, then kept",
	  "UUID that guests see" },
	{ "shared", K_BOOL, offsetof(struct cfg_ns, shared), 0, 0, "no",
	  "yes: other servers reach this very file and name it with the same nguid or uuid, and the file system carries locks (fcntl) between them: "
	  "`ferry migrate --mode handover` may pass it on. Needed on both servers" },
	{ "delay", K_TIME, offsetof(struct cfg_ns, delay_ns), 0, 0, "none", "adds this to every request (testing)" },
	{ "error", K_NUM, offsetof(struct cfg_ns, error_ppm), 0, 0, "none", "fails this many of a million requests (testing)" },
	{ "stamp", K_BOOL, offsetof(struct cfg_ns, stamp), 0, 0, "no", "yes: keeps a checksum of every block written and compares (testing)" },
	{ NULL }
};
static const struct key guest_keys[] = {
	{ "namespaces", K_LIST, 0, 0, 0, NULL, "names of [namespace ...] sections; they become the guest's NSIDs 1, 2, ... (needed)" },
	{ "arrives", K_BOOL, offsetof(struct cfg_guest, arrives), 0, 0, "no",
	  "yes: it starts its life on another server; this section only says how it is served when it comes (namespaces= may then "
	  "be left out: they are made in a pool)" },
	{ "doorbells", K_DOORBELLS, offsetof(struct cfg_guest, doorbells), 0, 0, "trapped for vm=qemu, else mapped",
	  "mapped: the guest rings through shared memory; trapped: by message (slower, and wakes a sleeping server at once)" },
	{ "queues", K_NUM, offsetof(struct cfg_guest, queues), 0, 0, "64", "I/O queue pairs at most" },
	{ "socket", K_PATH, TEXT(struct cfg_guest, socket), 0, "RUN_DIR/NAME.sock", "vfio-user socket for the VM" },
	{ "vm", K_VM, TEXT(struct cfg_guest, vm), 0, "none", "embedded:CONTROL_SOCKET, qemu:QMP_SOCKET (a monitor "
	  "for this server alone; QEMU's -qtest socket is expected at QMP_SOCKET.qtest), or none" },
	{ "memory", K_BYTES, offsetof(struct cfg_guest, memory), 0, 0, "512M", "`ferry vm run`: memory, a multiple of 1M" },
	{ "cpus", K_NUM, offsetof(struct cfg_guest, cpus), 0, 0, "2", "`ferry vm run`: processors" },
	{ "machine", K_TEXT, TEXT(struct cfg_guest, machine), 0, "q35", "`ferry vm run`: QEMU's machine; name its version (pc-q35-11.1) if the "
	  "servers have different QEMUs" },
	{ "qemu", K_TEXT, TEXT(struct cfg_guest, qemu), 0, "qemu-system-x86_64", "`ferry vm run`: the program" },
	{ "qemu_args", K_TEXT, TEXT(struct cfg_guest, qemu_args), 0, NULL, "`ferry vm run`: further arguments, separated by blanks" },
	{ "boot", K_BOOL, offsetof(struct cfg_guest, boot), 0, 0, "no", "`ferry vm run`: yes: the firmware boots from the controller first" },
	{ "start", K_TEXT, TEXT(struct cfg_guest, start), 0, NULL, "command for the shell that starts the VM for a move to here, run when its "
	  "socket is there (FERRY_GUEST, FERRY_SOCKET and FERRY_VM are set); e.g. `ferry vm run NAME -c FILE --incoming`" },
	{ "touch", K_BOOL, offsetof(struct cfg_guest, touch), 0, 0, "yes", "no: during a move QEMU is not told what the controller writes to the "
	  "guest's memory, which corrupts it (testing)" },
	{ NULL }
};
static const struct section {
	const char *name, *help;
	bool named;
	const struct key *keys;
} sections[] = {
	{ "server", "The server itself. Once.", false, server_keys },
	{ "pool", "Where namespaces for arriving guests are made. A server without a pool takes only guests whose namespaces it "
		  "has already.", true, pool_keys },
	{ "namespace", "A namespace that is here from the start.", true, ns_keys },
	{ "guest", "A guest that starts its life here, or is known here. The server that first starts it becomes its owner.", true,
	  guest_keys },
};

struct reader {
	struct config *cfg;
	const char *name, *text;
	size_t len, at;
	int line, rc;
	struct err *err;
	struct { const void *base; uint64_t keys; } given[1 + CFG_POOLS_MAX + CFG_NS_MAX + CFG_GUESTS_MAX];
};

static int fail(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct reader *r, const char *fmt, ...)
{
	char what[400];
	va_list ap;

	if (r->rc)
		return 0; /* the first mistake is the one worth reading */
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	r->rc = err_set(r->err, -EINVAL, "%s:%d: %s", r->name, r->line, what);
	return 0;
}

bool config_name_ok(const char *s)
{
	size_t n = strlen(s);

	if (!n || n >= CFG_NAME_MAX || s[0] == '.' || s[0] == '-')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("-_.", *s))
			return false;
	return true;
}

/* ---- values */

static int hex16(const char *s, uint8_t out[16])
{
	unsigned n = 0;

	for (; *s; s++) {
		if (*s == '-')
			continue;
		if (!isxdigit((unsigned char)*s) || n == 32)
			return -EINVAL;
		uint8_t d = (uint8_t)(isdigit((unsigned char)*s) ? *s - '0' : tolower((unsigned char)*s) - 'a' + 10);
		out[n / 2] = (uint8_t)(n % 2 ? out[n / 2] | d : d << 4);
		n++;
	}
	return n == 32 ? 0 : -EINVAL;
}

static int choice(const char *v, const char *zero, const char *one, uint64_t *out)
{
	*out = !strcmp(v, one);
	return *out || !strcmp(v, zero) ? 0 : -EINVAL;
}

static int take_text(struct reader *r, const struct key *k, char *at, const char *v)
{
	if (strlen(v) >= k->cap)
		return fail(r, "%s is longer than %zu characters; use a shorter one", k->name, k->cap - 1);
	if (k->kind == K_PATH && v[0] != '/')
		return fail(r, "%s=%s: give an absolute path (it must mean the same from everywhere)", k->name, v);
	strcpy(at, v);
	return 1;
}

static int take_list(struct reader *r, struct cfg_guest *g, const char *v)
{
	char copy[512], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", v);
	for (char *p = strtok_r(copy, ", \t", &save); p; p = strtok_r(NULL, ", \t", &save)) {
		if (g->ns_count == CFG_GUEST_NS_MAX)
			return fail(r, "a guest has at most %d namespaces", CFG_GUEST_NS_MAX);
		if (!config_name_ok(p))
			return fail(r, "'%s' is not a name of a namespace", p);
		strcpy(g->ns_names[g->ns_count++], p);
	}
	return 1;
}

static int take_vm(struct reader *r, const struct key *k, struct cfg_guest *g, const char *v)
{
	static const struct { const char *word; enum cfg_vm kind; } kinds[] = { { "embedded:", CFG_VM_EMBEDDED }, { "qemu:", CFG_VM_QEMU } };

	g->vm_kind = CFG_VM_NONE;
	g->vm_said = true;
	if (!strcmp(v, "none"))
		return 1;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		size_t n = strlen(kinds[i].word);

		if (strncmp(v, kinds[i].word, n) || v[n] != '/')
			continue;
		g->vm_kind = kinds[i].kind;
		return take_text(r, k, g->vm, v + n);
	}
	return fail(r, "vm=%s: write embedded:/PATH/OF/CONTROL/SOCKET, qemu:/PATH/OF/QMP/SOCKET or none", v);
}

static int take_value(struct reader *r, const struct key *k, void *base, const char *v)
{
	void *at = (char *)base + k->off;
	struct err why = { "" };
	uint64_t yes;
	int rc = 0;

	switch (k->kind) {
	case K_TEXT:
	case K_PATH:
		return take_text(r, k, at, v);
	case K_LINK:
		if (strncmp(v, "unix:/", 6) && strncmp(v, "tcp:", 4))
			return fail(r, "link=%s: write unix:/PATH or tcp:HOST:PORT", v);
		if (addr_judge(v, &why))
			return fail(r, "link=%s", why.text);
		return take_text(r, k, at, v);
	case K_VM:
		return take_vm(r, k, base, v);
	case K_LIST:
		return take_list(r, base, v);
	case K_NUM:
		rc = opt_num(v, at);
		break;
	case K_BYTES:
		rc = opt_bytes(v, at);
		break;
	case K_TIME:
		rc = opt_time(v, at);
		break;
	case K_BOOL:
		rc = choice(v, "no", "yes", &yes);
		*(bool *)at = yes;
		break;
	case K_BACKEND:
		rc = choice(v, "ram", "file", at);
		break;
	case K_DOORBELLS:
		rc = choice(v, "mapped", "trapped", at);
		break;
	case K_HEX16:
		rc = hex16(v, at);
		break;
	}
	if (rc)
		return fail(r, "%s=%s is not understood: %s", k->name, v, k->help);
	if (k->has)
		*((bool *)((char *)base + k->has)) = true;
	return 1;
}

/* ---- sections */

/* The struct a section's keys go into; made when its name is first seen. */
static void *section_base(struct reader *r, const struct section *s, const char *name)
{
	struct config *c = r->cfg;

	if (s->keys == server_keys)
		return &c->server;
#define IN_(array, count, max, word)                                                                         \
	do {                                                                                                 \
		for (unsigned i = 0; i < c->count; i++)                                                      \
			if (!strcmp(c->array[i].name, name))                                                 \
				return &c->array[i];                                                         \
		if (c->count == (max)) {                                                                     \
			fail(r, "more than %d " word " sections", (int)(max));                               \
			return NULL;                                                                         \
		}                                                                                            \
		strcpy(c->array[c->count].name, name);                                                       \
		c->array[c->count].line = r->line;                                                           \
		return &c->array[c->count++];                                                                \
	} while (0)
	if (s->keys == pool_keys)
		IN_(pool, pools, CFG_POOLS_MAX, "pool");
	if (s->keys == ns_keys)
		IN_(ns, nss, CFG_NS_MAX, "namespace");
	IN_(guest, guests, CFG_GUESTS_MAX, "guest");
}

static void guest_defaults(struct cfg_guest *g)
{
	g->queues = 64;
	g->doorbells = CFG_DOORBELLS_UNSAID;
	g->memory = 512 << 20;
	g->cpus = 2;
	g->touch = true;
	strcpy(g->machine, "q35");
	strcpy(g->qemu, "qemu-system-x86_64");
}

static void defaults_in(struct reader *r, const struct section *s, void *base)
{
	if (s->keys == pool_keys)
		((struct cfg_pool *)base)->kind = CFG_FILE;
	if (s->keys == ns_keys)
		((struct cfg_ns *)base)->block = 4096, ((struct cfg_ns *)base)->backend = CFG_FILE;
	if (s->keys == guest_keys)
		guest_defaults(base);
	(void)r;
}

static const struct section *section_find(struct reader *r, const char *text, char name[CFG_NAME_MAX])
{
	const char *space = strchr(text, ' ');
	size_t n = space ? (size_t)(space - text) : strlen(text);

	name[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		if (strlen(sections[i].name) != n || strncmp(sections[i].name, text, n))
			continue;
		if (!sections[i].named && space)
			return fail(r, "section [%s] takes no name", sections[i].name), NULL;
		if (sections[i].named && (!space || !config_name_ok(space + 1)))
			return fail(r, "write [%s NAME]; a name is up to %d letters, digits, '-', '_' or '.'",
				    sections[i].name, CFG_NAME_MAX - 1), NULL;
		if (space)
			strcpy(name, space + 1);
		return &sections[i];
	}
	fail(r, "section [%s] is unknown; there are [server], [pool NAME], [namespace NAME] and [guest NAME]", text);
	return NULL;
}

/* A key that was there before, in this section or in another one of the same name: the later would win without a word. */
static bool twice(struct reader *r, const void *base, unsigned key)
{
	unsigned i = 0;
	bool was;

	while (r->given[i].base && r->given[i].base != base)
		i++; /* there is a row for every section that can be */
	r->given[i].base = base;
	was = r->given[i].keys >> key & 1;
	r->given[i].keys |= 1ull << key;
	return was;
}

static int on_key(void *user, const char *sect, const char *key, const char *value)
{
	struct reader *r = user;
	char name[CFG_NAME_MAX];
	unsigned before = r->cfg->pools + r->cfg->nss + r->cfg->guests;
	const struct section *s;
	void *base;

	if (r->rc)
		return 0;
	if (!*sect)
		return fail(r, "'%s' stands before any section; put [server] above it", key);
	s = section_find(r, sect, name);
	base = s ? section_base(r, s, name) : NULL;
	if (!base)
		return 0;
	if (before != r->cfg->pools + r->cfg->nss + r->cfg->guests)
		defaults_in(r, s, base);
	for (const struct key *k = s->keys; k->name; k++)
		if (!strcmp(k->name, key))
			return twice(r, base, (unsigned)(k - s->keys)) ? fail(r, "%s is given twice for [%s]; write it once", key, sect) :
			       take_value(r, k, base, value);
	return fail(r, "[%s] has no key '%s'; docs/configuration.md lists them", s->name, key);
}

/* inih would end the value there, and the shell would get half a command. */
static bool cut_command(const char *line)
{
	const char *v = strncmp(line, "start", 5) ? NULL : line + 5 + strspn(line + 5, " \t");

	return v && *v == '=' && (strstr(v, " ;") || strstr(v, "\t;"));
}

/* One line for inih. inih would split a line longer than its buffer and take the rest for another line; and it would take a line that
 * begins with a blank for more of the value above. */
static char *next_line(char *to, int cap, void *stream)
{
	struct reader *r = stream;
	const char *from = r->text + r->at;
	const char *nl = memchr(from, '\n', r->len - r->at);
	size_t n = nl ? (size_t)(nl - from) + 1 : r->len - r->at;

	if (!n || r->rc)
		return NULL;
	r->line++;
	if (n >= (size_t)cap || memchr(from, '\0', n)) {
		fail(r, "the line is longer than %d characters or not text", cap - 2);
		return NULL;
	}
	r->at += n;
	for (; n && (*from == ' ' || *from == '\t'); n--)
		from++;
	memcpy(to, from, n);
	to[n] = '\0';
	if (cut_command(to)) {
		fail(r, "start=: a ';' behind a blank begins a comment; put the command into a script, or use '&&'");
		return NULL;
	}
	return to;
}

/* ---- the whole */

static int bad(const char *name, int line, struct err *err, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static int bad(const char *name, int line, struct err *err, const char *fmt, ...)
{
	char what[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(err, -EINVAL, "%s:%d: %s", name, line, what);
}

static int judge_server(struct config *c, const char *name, struct err *err)
{
	struct cfg_server *s = &c->server;

	if (!s->run_dir[0] || !s->state_dir[0])
		return err_set(err, -EINVAL, "%s: [server] needs %s=", name, s->run_dir[0] ? "state_dir" : "run_dir");
	if (strlen(s->run_dir) > 59) /* run_dir/NAME.sock must fit into a socket address of 108 bytes */
		return err_set(err, -EINVAL, "%s: run_dir=%s: use one of at most 59 characters (socket paths are short)", name,
			       s->run_dir);
	if (!s->name[0])
		strcpy(s->name, "ferry");
	if (!s->control[0])
		snprintf(s->control, sizeof(s->control), "%.59s/control.sock", s->run_dir);
	if (!s->link[0])
		snprintf(s->link, sizeof(s->link), "unix:%.59s/link.sock", s->run_dir);
	return 0;
}

static int judge_ns(const struct cfg_ns *n, const char *name, struct err *err)
{
	if (n->block != 512 && n->block != 4096)
		return bad(name, n->line, err, "namespace %s: block is 512 or 4096", n->name);
	if (n->bytes % n->block)
		return bad(name, n->line, err, "namespace %s: size is not a multiple of the block size", n->name);
	if (n->backend == CFG_FILE && !n->path[0])
		return bad(name, n->line, err, "namespace %s: backend=file needs path=", n->name);
	if (n->backend == CFG_RAM && n->path[0])
		return bad(name, n->line, err, "namespace %s: backend=ram has no path; remove it or say backend=file", n->name);
	if (!n->bytes && (n->backend == CFG_RAM || n->create))
		return bad(name, n->line, err, "namespace %s: needs size=", n->name);
	if (n->shared && (n->backend == CFG_RAM || !(n->has_nguid || n->has_uuid)))
		return bad(name, n->line, err, "namespace %s: shared=yes is for a file, and the other servers know it by its nguid= or uuid=: give one",
			   n->name);
	if (n->error_ppm > 1000000)
		return bad(name, n->line, err, "namespace %s: error is a number out of a million", n->name);
	return 0;
}

static int judge_guest(struct config *c, struct cfg_guest *g, unsigned *owner, const char *name, struct err *err)
{
	char socket_name[CFG_NAME_MAX]; /* a copy, because both ends of the snprintf below are in *c */

	if (!g->ns_count && !g->arrives)
		return bad(name, g->line, err, "guest %s: needs namespaces=NAME,... (or arrives=yes)", g->name);
	if (g->queues < 1 || g->queues > 64)
		return bad(name, g->line, err, "guest %s: queues is 1 to 64", g->name);
	if (!g->memory || g->memory % (1 << 20) || g->cpus < 1 || g->cpus > 1024)
		return bad(name, g->line, err, "guest %s: memory is a multiple of 1M, cpus 1 to 1024", g->name);
	if (g->vm_kind == CFG_VM_QEMU && strlen(g->vm) + sizeof(".qtest") > CFG_PATH_MAX)
		return bad(name, g->line, err, "guest %s: vm=qemu:%s: too long, .qtest must fit behind it", g->name, g->vm);
	if (g->doorbells == CFG_DOORBELLS_UNSAID) /* QEMU's registers by message can be posted; mapped ones would have to be polled */
		g->doorbells = g->vm_kind == CFG_VM_QEMU ? CFG_TRAPPED : CFG_MAPPED;
	for (unsigned i = 0; i < g->ns_count; i++) {
		unsigned n = 0;

		while (n < c->nss && strcmp(c->ns[n].name, g->ns_names[i]))
			n++;
		if (n == c->nss)
			return bad(name, g->line, err, "guest %s: there is no [namespace %s]", g->name, g->ns_names[i]);
		if (owner[n]) /* it moves with its guest: it cannot move with two */
			return bad(name, g->line, err, "guest %s: namespace %s belongs to another guest already (or twice to "
				   "this one)", g->name, g->ns_names[i]);
		owner[n] = 1;
		g->ns[i] = n;
	}
	memcpy(socket_name, g->name, sizeof(socket_name));
	if (!g->socket[0])
		snprintf(g->socket, sizeof(g->socket), "%.59s/%.31s.sock", c->server.run_dir, socket_name);
	return 0;
}

/* Each is made by a program that takes it for its own: the second would find it taken, or take it. */
struct sockets {
	struct { const char *path, *what, *whose; } s[3 + 2 * CFG_GUESTS_MAX];
	unsigned n;
};

static int socket_add(struct sockets *all, const char *path, const char *what, const char *whose, const char *name, int line, struct err *err)
{
	for (unsigned i = 0; path[0] && i < all->n; i++)
		if (!strcmp(all->s[i].path, path))
			return bad(name, line, err, "%s is the socket of both %s%s and %s%s; give one of them another", path, all->s[i].what,
				   all->s[i].whose, what, whose);
	if (path[0]) {
		all->s[all->n].path = path;
		all->s[all->n].what = what;
		all->s[all->n++].whose = whose;
	}
	return 0;
}

static int judge_sockets(const struct config *c, const char *name, struct err *err)
{
	const struct cfg_server *s = &c->server;
	struct sockets all = { .n = 0 };
	int rc = socket_add(&all, s->control, "control=", "", name, 0, err);

	if (!rc && !strncmp(s->link, "unix:", 5))
		rc = socket_add(&all, s->link + 5, "link=", "", name, 0, err);
	if (!rc)
		rc = socket_add(&all, s->mmc_socket, "mmc_socket=", "", name, 0, err);
	for (unsigned i = 0; !rc && i < c->guests; i++) {
		const struct cfg_guest *g = &c->guest[i];

		rc = socket_add(&all, g->socket, "the controller of guest ", g->name, name, g->line, err);
		if (!rc)
			rc = socket_add(&all, g->vm, "the VM of guest ", g->name, name, g->line, err);
	}
	return rc;
}

static int judge(struct config *c, const char *name, struct err *err)
{
	unsigned owner[CFG_NS_MAX] = { 0 };
	int rc = judge_server(c, name, err);

	for (unsigned i = 0; !rc && i < c->pools; i++)
		if (c->pool[i].kind == CFG_FILE && !c->pool[i].dir[0])
			rc = bad(name, c->pool[i].line, err, "pool %s: kind=file needs dir=", c->pool[i].name);
	for (unsigned i = 0; !rc && i < c->nss; i++)
		rc = judge_ns(&c->ns[i], name, err);
	for (unsigned i = 0; !rc && i < c->guests; i++)
		rc = judge_guest(c, &c->guest[i], owner, name, err);
	return rc ? rc : judge_sockets(c, name, err);
}

int config_parse(struct config *c, const char *text, size_t len, const char *name, struct err *err)
{
	struct reader r = { .cfg = c, .name = name, .text = text, .len = len, .err = err };
	int line;

	memset(c, 0, sizeof(*c));
	c->server.slow_ns = 5000000000;
	line = ini_parse_stream(next_line, &r, on_key, &r);
	if (r.rc)
		return r.rc;
	if (line)
		return bad(name, line > 0 ? line : 0, err, "not understood; write [section], key=value or a comment starting with ;");
	return judge(c, name, err);
}

int config_load(struct config *c, const char *path, struct err *err)
{
	enum { FILE_MAX = 1 << 20 };
	FILE *f = fopen(path, "re");
	char *text;
	size_t n;
	int rc;

	if (!f)
		return err_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	text = malloc(FILE_MAX);
	n = text ? fread(text, 1, FILE_MAX, f) : 0;
	if (!text || ferror(f) || n == FILE_MAX)
		rc = err_set(err, -EINVAL, "cannot read %s: %s", path, !text ? "no memory" : "not a file of less than 1 MiB");
	else
		rc = config_parse(c, text, n, path, err);
	free(text);
	fclose(f);
	return rc;
}

const struct cfg_guest *config_guest(const struct config *c, const char *name)
{
	for (unsigned i = 0; i < c->guests; i++)
		if (!strcmp(c->guest[i].name, name))
			return &c->guest[i];
	return NULL;
}

void config_page(struct buf *out)
{
	buf_printf(out, "# The configuration of `ferry serve`\n\nAn INI file: `[section]`, `key=value`, comments start with `;` or `#` (`;` also behind a blank in a line). "
		   "Sizes take K, M, G, T; times ns, us, ms, s.\nAn unknown section or key, or one that is given twice, is an error, with file and line.\n");
	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		buf_printf(out, "\n## [%s%s]\n\n%s\n\n| key | meaning | default |\n| --- | --- | --- |\n", sections[i].name,
			   sections[i].named ? " NAME" : "", sections[i].help);
		for (const struct key *k = sections[i].keys; k->name; k++)
			buf_printf(out, "| `%s` | %s | %s |\n", k->name, k->help, k->dflt ? k->dflt : "");
	}
}
