/* What `ferry serve` remembers besides the journals: which namespaces belong to which guest, under which identity.
 *
 * One record, "guests.json", replaced whole before anything depends on it: a guest that arrived by a move is not in the
 * configuration, and its data must be found again after a restart. The journals (migrate/journal.c) alone say who may run; this
 * file only says with what.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/rpc_client.h"
#include "cmd/serve.h"

enum { RECORD_MAX = 1 << 20 };
static const char record_name[] = "guests.json";

static void add_hex(json_object *o, const char *key, const void *p, size_t n)
{
	struct buf b = { 0 };

	hex_put(&b, p, n);
	json_object_object_add(o, key, json_object_new_string_len((char *)b.data, (int)b.len));
	buf_fini(&b);
}

static json_object *ns_record(const struct served_ns *n)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "guest_nsid", json_object_new_int64(n->guest_nsid));
	json_object_object_add(o, "from", json_object_new_string(n->from));
	json_object_object_add(o, "pool", json_object_new_boolean(n->pool));
	json_object_object_add(o, "backend", json_object_new_uint64(n->backend));
	json_object_object_add(o, "path", json_object_new_string(n->path));
	json_object_object_add(o, "shared", json_object_new_boolean(n->shared));
	json_object_object_add(o, "block", json_object_new_uint64(n->block));
	json_object_object_add(o, "blocks", json_object_new_uint64(n->blocks));
	add_hex(o, "nguid", n->ids.nguid, 16);
	add_hex(o, "eui64", n->ids.eui64, 8);
	add_hex(o, "uuid", n->ids.uuid, 16);
	return o;
}

int store_save(struct serve *s)
{
	json_object *top = json_object_new_object(), *all = json_object_new_object();
	const char *text;
	size_t n;
	int rc;

	json_object_object_add(top, "version", json_object_new_int(1));
	json_object_object_add(top, "guests", all);
	for (unsigned i = 0; i < s->guests; i++) {
		json_object *g, *list;

		if (!s->guest[i]->ns_count)
			continue;
		g = json_object_new_object();
		list = json_object_new_array();
		for (unsigned k = 0; k < s->guest[i]->ns_count; k++)
			json_object_array_add(list, ns_record(&s->guest[i]->ns[k]));
		json_object_object_add(g, "namespaces", list);
		json_object_object_add(g, "journal", json_object_new_boolean(s->guest[i]->journal.epoch != 0));
		json_object_object_add(all, s->guest[i]->name, g);
	}
	text = json_object_to_json_string_length(top, JSON_C_TO_STRING_PRETTY, &n);
	rc = text && n < RECORD_MAX ? env_rec_store(s->env, record_name, text, n) : -ENOMEM;
	json_object_put(top);
	return rc;
}

int store_shared(struct served *g, bool shared)
{
	bool was[MOVE_NS_MAX], same = true;
	int rc;

	for (unsigned i = 0; i < g->ns_count; i++) {
		was[i] = g->ns[i].shared;
		same &= was[i] == shared;
		g->ns[i].shared = shared;
	}
	rc = same ? 0 : store_save(g->s);
	/* Not written: whoever asks again must not be told that it is so already. */
	for (unsigned i = 0; rc && i < g->ns_count; i++)
		g->ns[i].shared = was[i];
	return rc;
}

static bool ns_from_record(json_object *o, struct served_ns *n)
{
	n->guest_nsid = (uint32_t)json_num(o, "guest_nsid");
	n->pool = json_object_get_boolean(json_get(o, "pool"));
	n->shared = json_object_get_boolean(json_get(o, "shared"));
	n->backend = json_u64(o, "backend");
	n->block = json_u64(o, "block");
	n->blocks = json_u64(o, "blocks");
	snprintf(n->from, sizeof(n->from), "%s", json_str(o, "from"));
	snprintf(n->path, sizeof(n->path), "%s", json_str(o, "path"));
	/* No blocks: as many as the file has, and we died before we had looked. */
	return n->guest_nsid && (n->block == 512 || n->block == 4096) && n->backend <= CFG_FILE &&
	       hex_get(json_str(o, "nguid"), n->ids.nguid, 16) && hex_get(json_str(o, "eui64"), n->ids.eui64, 8) &&
	       hex_get(json_str(o, "uuid"), n->ids.uuid, 16);
}

/* A guest that has had an ownership record and has none now is not a new guest: to start it could make it run twice, and to take its data for
 * what a move to here left behind would destroy it. What is in a pool came by a move, and that begins with the ownership record. */
static void miss_journal(struct served *g, json_object *rec)
{
	bool had = json_object_get_boolean(json_get(rec, "journal"));

	for (unsigned i = 0; i < g->ns_count; i++)
		had |= g->ns[i].pool;
	if (!had || g->trouble[0] || g->journal.epoch)
		return;
	snprintf(g->trouble, sizeof(g->trouble), "its ownership record (guest-%s.journal) is gone: nobody runs it here. Put it back, or find out on "
		 "the other server who owns it ('ferry status'), then use 'ferry resolve'", g->name);
	g->lost = true;
}

static int guest_from_record(struct serve *s, const char *name, json_object *rec, struct err *err)
{
	json_object *list = json_get(rec, "namespaces");
	size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	struct served *g = config_name_ok(name) && n <= MOVE_NS_MAX ? served_add(s, name, err) : NULL;

	if (!g)
		return err_set(err, -EBADMSG, "the record %s/%s speaks of a guest '%s' that cannot be", s->cfg.server.state_dir,
			       record_name, name);
	for (size_t i = 0; i < n; i++)
		if (!ns_from_record(json_object_array_get_idx(list, i), &g->ns[g->ns_count++]))
			return err_set(err, -EBADMSG, "the record %s/%s is damaged at guest %s; restore it from a copy: without it "
				       "the guest's data cannot be found", s->cfg.server.state_dir, record_name, name);
	miss_journal(g, rec);
	return 0;
}

static int load_record(struct serve *s, struct err *err)
{
	char *text = malloc(RECORD_MAX + 1);
	ssize_t n = text ? env_rec_load(s->env, record_name, text, RECORD_MAX) : -ENOMEM;
	json_object *top = NULL, *all;
	int rc = 0;

	if (n >= 0) {
		text[n] = '\0';
		top = json_tokener_parse(text);
		all = json_get(top, "guests");
		if (!all || json_num(top, "version") != 1) {
			rc = err_set(err, -EBADMSG, "%s/%s is damaged; restore it from a copy: it says where guests' data is",
				     s->cfg.server.state_dir, record_name);
		} else {
			json_object_object_foreach(all, name, rec) {
				if (!rc)
					rc = guest_from_record(s, name, rec, err);
			}
		}
		json_object_put(top);
	} else if (n != -ENOENT) {
		rc = err_set(err, (int)n, "cannot read %s/%s: %s", s->cfg.server.state_dir, record_name, strerror((int)-n));
	}
	free(text);
	return rc;
}

/* ---- configuration */

static void ids_make(struct serve *s, const struct cfg_ns *c, struct nvme_ns_ids *ids)
{
	env_random(s->env, ids->nguid, sizeof(ids->nguid));
	env_random(s->env, ids->uuid, sizeof(ids->uuid));
	ids->uuid[6] = (ids->uuid[6] & 0x0f) | 0x40; /* RFC 9562 version 4, variant 10b */
	ids->uuid[8] = (ids->uuid[8] & 0x3f) | 0x80;
	if (c && c->has_nguid)
		memcpy(ids->nguid, c->nguid, 16);
	if (c && c->has_uuid)
		memcpy(ids->uuid, c->uuid, 16);
}

/* How large a namespace is stands in one place, the record, because `ferry resize` changes it. The configuration says how large it is to
 * be at first, and where its file is: another file is another disk, with a size of its own. */
static void size_from_record(const struct served *g, struct served_ns *n, const struct served_ns *was)
{
	if (!g->journal.epoch || !was->blocks || n->backend != was->backend || n->block != was->block || strcmp(n->path, was->path))
		return;
	if (n->blocks && n->blocks != was->blocks)
		log_warn("namespace %s of guest %s has %llu bytes; size= in the configuration was for its first start ('ferry resize' changes it)",
			 n->from, g->name, (unsigned long long)(was->blocks * was->block));
	n->blocks = was->blocks;
}

static void ns_from_config(struct serve *s, struct served *g, unsigned i, const struct cfg_ns *c)
{
	struct served_ns was = g->ns[i], *n = &g->ns[i];
	bool known = i < g->ns_count && !was.pool && !strcmp(was.from, c->name);

	*n = (struct served_ns){ .guest_nsid = i + 1, .backend = c->backend, .block = c->block, .blocks = c->bytes / c->block,
				 .shared = c->shared }; /* never moved: if it is not here, it is no old copy */
	snprintf(n->from, sizeof(n->from), "%s", c->name);
	snprintf(n->path, sizeof(n->path), "%s", c->path);
	ids_make(s, c, &n->ids);
	if (known && !c->has_nguid)
		memcpy(n->ids.nguid, was.ids.nguid, 16);
	if (known && !c->has_uuid)
		memcpy(n->ids.uuid, was.ids.uuid, 16);
	if (known)
		size_from_record(g, n, &was);
}

/* The first start gives epoch 1; every move, also one that came to nothing, a higher one. */
static bool never_moved(const struct served *g) { return g->journal.epoch <= 1; }

/* A guest that has moved has what the record says; one that never did has what the configuration says (it may have changed). */
static int guest_from_config(struct serve *s, const struct cfg_guest *c, struct err *err)
{
	struct served *g = served_find(s, c->name);

	if (!g && !(g = served_add(s, c->name, err)))
		return -ENOSPC;
	g->cfg = c;
	if (g->trouble[0] || (g->ns_count && !never_moved(g)))
		return 0;
	for (unsigned i = 0; i < c->ns_count; i++)
		ns_from_config(s, g, i, &s->cfg.ns[c->ns[i]]);
	g->ns_count = c->ns_count;
	return 0;
}

int store_load(struct serve *s, struct err *err)
{
	int rc = load_record(s, err);

	for (unsigned i = 0; !rc && i < s->cfg.guests; i++)
		rc = guest_from_config(s, &s->cfg.guest[i], err);
	return rc;
}

/* ---- start: what the journal of one guest says */

static void trouble(struct served *g, const struct err *err)
{
	snprintf(g->trouble, sizeof(g->trouble), "%.290s", err->text);
	log_error("guest %s is not served: %s", g->name, g->trouble);
}

/* Files are made at the first start only: later a missing file is lost data, and an empty one in its place would hide that. */
static void open_all(struct served *g, bool first)
{
	struct err err = { "" };

	for (unsigned i = 0; i < g->ns_count; i++) {
		bool away = !first && served_ns_away(g, &g->ns[i]);

		if (g->ns[i].ns || (away && g->journal.own == OWN_RELEASED))
			continue; /* released: opened when it comes back */
		if (served_open_ns(g, &g->ns[i], SERVED_OPEN_START | (first ? SERVED_OPEN_FRESH : 0) | (away ? SERVED_OPEN_AWAY : 0), &err)) {
			trouble(g, &err);
			return;
		}
	}
}

static void start_one(struct served *g)
{
	struct err err = { "" };
	bool first;
	int rc;

	if (g->trouble[0]) {
		log_error("guest %s is not served: %s", g->name, g->trouble);
		return;
	}
	/* A move to here was under way when we stopped: it must never start here (design rule 1). */
	if (g->journal.own == OWN_RESERVED && (rc = journal_refuse(&g->journal, g->journal.move))) {
		err_set(&err, rc, "cannot write its journal: %s", strerror(-rc));
		trouble(g, &err);
		return;
	}
	first = g->journal.own == OWN_NONE && g->cfg && !g->cfg->arrives && !g->journal.epoch;
	if (g->journal.own == OWN_NONE && !first)
		return; /* what an interrupted move to here left behind is tidied up by site_poll */
	open_all(g, first);
	if (g->trouble[0])
		return;
	if (first && (rc = journal_set(&g->journal, OWN_OWNER, 1, NULL, "", "first start"))) {
		err_set(&err, rc, "cannot write its journal in %s: %s", g->s->cfg.server.state_dir, strerror(-rc));
		trouble(g, &err);
		return;
	}
	if (g->journal.own == OWN_OWNER || g->journal.own == OWN_HANDED) {
		/* HANDED: here so that the old data can be looked at, but offline; the target is asked (design rule 1). */
		rc = served_begin(g, g->journal.own == OWN_OWNER, &err);
		if (rc)
			trouble(g, &err);
	}
	if (!first && !g->trouble[0] && (g->journal.own == OWN_OWNER || g->journal.own == OWN_RELEASED))
		site_wake(g, g->journal.own == OWN_OWNER ? WAKE_RUN : WAKE_END);
	if (g->journal.own == OWN_HANDED && !g->s->mmc)
		err_set(&err, -EPERM, "it is in doubt, and with mmc_socket= this server cannot ask the target"), trouble(g, &err);
	else if (g->journal.own == OWN_HANDED && !(g->out = move_out_recover(&g->s->site, g->name, &err)))
		trouble(g, &err);
	g->out_recovering = g->out != NULL;
}

static bool sizes_known(const struct serve *s)
{
	for (unsigned i = 0; i < s->guests; i++)
		for (unsigned k = 0; k < s->guest[i]->ns_count; k++)
			if (!s->guest[i]->ns[k].blocks)
				return false;
	return true;
}

static int save_at_start(struct serve *s, struct err *err)
{
	int rc = store_save(s);

	return rc ? err_set(err, rc, "cannot write %s/%s: %s", s->cfg.server.state_dir, record_name, strerror(-rc)) : 0;
}

static bool all_begun(const struct serve *s)
{
	for (unsigned i = 0; i < s->guests; i++)
		if (s->guest[i]->ns_count && !s->guest[i]->journal.epoch)
			return false;
	return true;
}

int store_start(struct serve *s, struct err *err)
{
	bool known = sizes_known(s) && all_begun(s);
	int rc = save_at_start(s, err); /* identities first: a guest must see the same ones after the next restart */

	for (unsigned i = 0; !rc && i < s->guests; i++)
		start_one(s->guest[i]);
	return rc || known ? rc : save_at_start(s, err); /* the files have been looked at, first starts have their journals */
}

/* An epoch above every one that its moves can have had, so that a move from here is refused nowhere; elsewhere it has at least 1, and may
 * come back with any. */
int store_resolve(struct served *g, bool here, struct err *err)
{
	time_t now = time(NULL);
	int rc;

	if (here && !g->ns_count)
		return err_set(err, -ENOENT, "there is nothing of guest %s here that could be run", g->name);
	rc = journal_set(&g->journal, here ? OWN_OWNER : OWN_RELEASED, here ? (uint64_t)MAX(now, 1) : 1, NULL, "",
			 here ? "resolved by hand, its record was lost: runs here" : "resolved by hand, its record was lost: runs elsewhere");
	if (rc)
		return err_set(err, rc, "cannot write its journal in %s: %s", g->s->cfg.server.state_dir, strerror(-rc));
	g->lost = false;
	g->trouble[0] = '\0';
	start_one(g);
	if (store_save(g->s))
		log_warn("cannot write the record of guests in %s", g->s->cfg.server.state_dir);
	return g->trouble[0] ? err_set(err, -EIO, "it is %s now, but not served: %s", own_name(g->journal.own), g->trouble) : 0;
}
