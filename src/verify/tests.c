/* The groups, in the order in which they run: first what the others rest on. */
#include "verify/checklist.h"
#include "verify/test.h"

const struct vgroup vgroups[] = {
	{ "BA", "what migration rests on: registers, queues, admin commands", tests_ba },
	{ "IO", "reads and writes", tests_io },
	{ "SG", "data by SGLs", tests_sg },
	{ "PI", "protection information", tests_pi },
	{ "DB", "shadow doorbells", tests_db },
	{ "FU", "fused commands", tests_fu },
	{ "BE", "the edges of what migration rests on", tests_be },
	{ "BQ", "queues that are not read, or were used before something is switched on", tests_bq },
	{ "MP", "memory that may only be read, or only be written", tests_mp },
	{ "ID", "discovery", tests_id },
	{ "CQ", "controller data queues", tests_cq },
	{ "FT", "feature 21h and events", tests_ft },
	{ "TS", "logging of user data changes", tests_ts },
	{ "TM", "tracking of host memory: start and stop", tests_tm },
	{ "TR", "tracking of host memory: reports", tests_tr },
	{ "SU", "suspend", tests_su },
	{ "RS", "resume", tests_rs },
	{ "MR", "get controller state", tests_mr },
	{ "ST", "set controller state", tests_st },
	{ "SV", "the vendor's part of a state that we know", tests_sv },
	{ "LA", "get LBA status", tests_la },
	{ "RE", "resets", tests_re },
	{ "XS", "every operation in every state", tests_xs },
	{ "XC", "every cross of the coverage plan", tests_xc },
	{ "E2E", "whole moves", tests_e2e },
	{ "RL", "rate limits", tests_rl },
	{ "ME", "media that fail", tests_me },
	{ "NC", "namespaces that change", tests_nc },
	{ "FI", "faults on purpose, one at a time", tests_fi },
	{ "RN", "random sequences", tests_rn },
	{ NULL, NULL, NULL }
};

unsigned vtest_count(void)
{
	unsigned n = 0;

	while (vtest_at(n))
		n++;
	return n;
}

const struct vtest *vtest_at(unsigned i)
{
	for (const struct vgroup *g = vgroups; g->name; g++)
		for (const struct vtest *v = g->tests; v->id; v++)
			if (!i--)
				return v;
	return NULL;
}

const struct vtest *vtest_find(const char *id)
{
	for (unsigned i = 0; vtest_at(i); i++)
		if (!strcmp(vtest_at(i)->id, id))
			return vtest_at(i);
	return NULL;
}

bool vtest_lists(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; p && n && (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == '\0' || p[n] == ' '))
			return true;
	return false;
}

bool vtest_covers(const struct vtest *v, const struct vitem *i)
{
	char word[24];

	for (const char *p = v->covers; p && *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " ");

		if (n && n < sizeof(word)) {
			memcpy(word, p, n);
			word[n] = '\0';
			if (vitem_is(i, word))
				return true;
		}
		p += n;
	}
	return false;
}

bool vtest_in_group(const struct vtest *v, const char *group)
{
	size_t n = strlen(group);

	return !strncmp(v->id, group, n) && v->id[n] == '-';
}
