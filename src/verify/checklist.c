/* Looking things up in the tables. */
#include "verify/checklist.h"

static const struct vitem *const tables[] = { checklist_hmlm, checklist_base };

/* Statements no test of ours can look at, and why. */
static const struct { const char *key, *why; } waivers[] = {
	{ "X-12", "Sanitize Namespace is Base 2.3; no device that offers it is at hand, and the test would not have been tried" },
	{ "X-13", "Cross-Controller Reset is Base 2.3; as above" },
	{ "X-14", "a Discovery controller is reached over fabrics, which no back end does" },
	{ "X-10", "run by hand: other people's clients are programs, not tests" },
	{ NULL, NULL }
};

const struct vitem *vitem_at(unsigned i)
{
	for (unsigned t = 0; t < ARRAY_LEN(tables); t++)
		for (const struct vitem *v = tables[t]; v->key; v++)
			if (!i--)
				return v;
	return NULL;
}

unsigned vitem_count(void)
{
	unsigned n = 0;

	while (vitem_at(n))
		n++;
	return n;
}

static bool listed(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; p && n && (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == '\0' || p[n] == ' '))
			return true;
	return false;
}

bool vitem_is(const struct vitem *v, const char *name)
{
	return !strcmp(v->key, name) || !strcmp(v->id, name) || listed(v->also, name);
}

const struct vitem *vitem_find(const char *name)
{
	for (unsigned i = 0; vitem_at(i); i++)
		if (vitem_is(vitem_at(i), name))
			return vitem_at(i);
	return NULL;
}

const char *vclass_name(enum vclass c)
{
	static const char *const name[] = { "shall", "should", "may", "undefined" };

	return c < ARRAY_LEN(name) ? name[c] : "?";
}

const char *vitem_waiver(const struct vitem *v)
{
	for (unsigned i = 0; waivers[i].key; i++)
		if (!strcmp(waivers[i].key, v->key))
			return waivers[i].why;
	return NULL;
}
