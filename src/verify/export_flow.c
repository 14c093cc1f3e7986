/* See export_flow.h. */
#include "verify/export_flow.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "verify/record.h"

struct flow { uint64_t uid, before; uint32_t left; bool begun; };
struct flows {			/* an open-addressed set by uid */
	struct flow *at;
	size_t cap, count;
};

static struct flow *place(struct flow *at, size_t cap, uint64_t uid)
{
	size_t i = (size_t)(uid * 0x9e3779b97f4a7c15ull >> 20) & (cap - 1);

	while (at[i].uid && at[i].uid != uid)
		i = (i + 1) & (cap - 1);
	return &at[i];
}

static int grow(struct flows *f)
{
	size_t cap = f->cap ? 2 * f->cap : 256;
	struct flow *p;

	if (2 * f->count < f->cap)
		return 0;
	p = calloc(cap, sizeof(*p));
	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < f->cap; i++)
		if (f->at[i].uid)
			*place(p, cap, f->at[i].uid) = f->at[i];
	free(f->at);
	f->at = p;
	f->cap = cap;
	return 0;
}

/* NULL: out of memory. */
static struct flow *entry(struct flows *f, uint64_t uid)
{
	struct flow *e = grow(f) ? NULL : place(f->at, f->cap, uid);

	if (e && !e->uid) {
		e->uid = uid;
		f->count++;
	}
	return e;
}

static struct flow *known(const struct flows *f, uint64_t uid)
{
	struct flow *e = f->cap && uid ? place(f->at, f->cap, uid) : NULL;

	return e && e->uid ? e : NULL;
}

static int follow(struct flows *f, uint64_t uid)
{
	struct flow *e = entry(f, uid);

	if (e)
		e->left++;
	return e ? 0 : -ENOMEM;
}

static int take(struct flows *f, const struct rec_item *it)
{
	struct flow *e;

	if (it->what == REC_ITEM_TXN && it->rec.kind == REC_MSIX && it->rec.parent)
		return follow(f, it->rec.parent);
	if (it->what != REC_ITEM_LINK || it->link != REC_LINK_ANNOUNCES || !it->from || !it->to)
		return 0;
	e = entry(f, it->to);
	if (!e || e->before) /* a record that says it twice */
		return e ? 0 : -ENOMEM;
	e->before = it->from;
	return follow(f, it->from);
}

struct flows *flows_read(const char *record, struct err *err)
{
	struct flows *f = calloc(1, sizeof(*f));
	struct rec_reader *rd;
	struct rec_item it;
	struct stat st;
	int rc = f ? 0 : err_set(err, -ENOMEM, "no memory");

	if (rc || stat(record, &st) || !S_ISREG(st.st_mode))
		return f;
	rd = rec_reader_open(record, err);
	rc = rd ? 0 : -ENOENT;
	while (!rc && (rc = rec_read(rd, &it, err)) == 1) {
		rc = take(f, &it);
		if (rc)
			err_set(err, rc, "no memory");
	}
	if (rd)
		rec_reader_close(rd);
	if (!rc)
		return f;
	flows_free(f);
	return NULL;
}

void flows_free(struct flows *f)
{
	if (f)
		free(f->at);
	free(f);
}

bool flow_begins(struct flows *f, uint64_t uid)
{
	struct flow *e = known(f, uid);

	if (e && e->left)
		e->begun = true;
	return e && e->begun;
}

uint64_t flow_before(const struct flows *f, uint64_t cmd)
{
	const struct flow *e = known(f, cmd);

	return e ? e->before : 0;
}

enum flow_point flow_joins(struct flows *f, uint64_t uid)
{
	struct flow *e = known(f, uid);

	if (!e || !e->begun || !e->left)
		return FLOW_NONE;
	return --e->left ? FLOW_ON : FLOW_LAST;
}
