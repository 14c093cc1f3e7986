/* Rules and their decisions. See inject.h. */
#include "verify/inject.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define POINT_ROW_(name, text, acts, about) { text, acts },
static const struct { const char *name, *acts; } points[] = { INJ_POINTS(POINT_ROW_) };
#define ACT_ROW_(name, text, letter) { text, letter },
static const struct { const char *name; char letter; } acts[] = { INJ_ACTS(ACT_ROW_) };

const char *inj_point_name(unsigned p) { return p < INJ_POINT_COUNT ? points[p].name : "?"; }
const char *inj_act_name(unsigned a) { return a < INJ_ACT_COUNT ? acts[a].name : "?"; }
bool inj_can(enum inj_point p, enum inj_act a) { return p < INJ_POINT_COUNT && a < INJ_ACT_COUNT && strchr(points[p].acts, acts[a].letter); }

void inj_init(struct inj *i) { memset(i, 0, sizeof(*i)); }

void inj_clear(struct inj *i)
{
	memset(i->rule, 0, sizeof(i->rule));
	i->reset = i->kill = 0;
}

static bool spent(const struct inj_rule *r) { return r->count && r->did >= r->count; }

struct inj_rule *inj_add(struct inj *i, const struct inj_rule *rule)
{
	if (!inj_can(rule->at, rule->act))
		return NULL;
	for (unsigned k = 0; k < INJ_RULES; k++) {
		struct inj_rule *r = &i->rule[k];

		if (r->used && !spent(r))
			continue;
		*r = *rule;
		r->rng.s = rule->seed;
		r->met = r->did = 0;
		r->used = true;
		return r;
	}
	return NULL;
}

static bool hits(struct inj_rule *r, const struct inj_event *ev)
{
	if (!r->used || spent(r) || r->at != ev->at || (r->ctrl != INJ_ANY && r->ctrl != ev->ctrl) ||
	    (r->what != INJ_ANY && r->what != ev->what) || (r->when && !r->when(r->ctx, ev)))
		return false;
	if (r->met++ < r->skip)
		return false;
	return !r->per_million || rng_below(&r->rng, 1000000) < r->per_million;
}

static void corrupt(struct inj_rule *r, struct inj_event *ev)
{
	uint64_t bit;

	if (r->corrupt) {
		r->corrupt(r->ctx, ev, &r->rng);
	} else if (ev->len && ev->data) {
		bit = rng_below(&r->rng, 8ull * ev->len);
		((uint8_t *)ev->data)[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

struct inj_order inj_ask(struct inj *i, struct inj_event *ev)
{
	struct inj_order o = { INJ_PASS, 0 };

	if (!i)
		return o;
	i->met[ev->at]++;
	for (unsigned k = 0; k < INJ_RULES && o.act == INJ_PASS; k++) {
		struct inj_rule *r = &i->rule[k];

		if (!hits(r, ev))
			continue;
		r->did++;
		o = (struct inj_order){ r->act, r->turns };
		if (o.act == INJ_CORRUPT)
			corrupt(r, ev);
	}
	if (o.act == INJ_PASS)
		return o;
	i->did[ev->at][o.act]++;
	if (ev->ctrl < 32) {
		i->reset |= (uint32_t)(o.act == INJ_RESET) << ev->ctrl;
		i->kill |= (uint32_t)(o.act == INJ_KILL) << ev->ctrl;
	}
	if (i->told)
		i->told(i->told_ctx, ev, o.act);
	return o;
}

uint64_t inj_done(const struct inj *i)
{
	uint64_t n = 0;

	for (unsigned p = 0; p < INJ_POINT_COUNT; p++)
		for (unsigned a = 0; a < INJ_ACT_COUNT; a++)
			n += i->did[p][a];
	return n;
}

/* ---- as text */

static bool word_is(const char *text, size_t n, const char *w) { return strlen(w) == n && !strncmp(text, w, n); }

int inj_parse(const char *text, uint64_t seed, struct inj_rule *out, struct err *err)
{
	size_t n = strcspn(text, ":"), m = text[n] ? strcspn(text + n + 1, ":") : 0;
	const char *act = text[n] ? text + n + 1 : "", *rest = act + m;
	unsigned p = 0, a = 0;
	unsigned long one_in = 1;
	char *end = NULL;

	while (p < INJ_POINT_COUNT && !word_is(text, n, points[p].name))
		p++;
	while (a < INJ_ACT_COUNT && !word_is(act, m, acts[a].name))
		a++;
	if (*rest)
		one_in = strtoul(rest + 1, &end, 10);
	if (p == INJ_POINT_COUNT || a == INJ_ACT_COUNT || !inj_can((enum inj_point)p, (enum inj_act)a))
		return err_set(err, -EINVAL, "'%s' is no fault: POINT:ACTION[:N], for instance message:drop:100", text);
	if (*rest && (rest[1] < '0' || rest[1] > '9' || *end || !one_in || one_in > 1000000))
		return err_set(err, -EINVAL, "'%s': one in how many? 1 to 1000000", text);
	*out = (struct inj_rule){ .at = (enum inj_point)p, .act = (enum inj_act)a, .ctrl = INJ_ANY, .what = INJ_ANY, .seed = seed, .turns = 20,
				  .per_million = one_in == 1 ? 0 : (uint32_t)(1000000 / one_in) };
	return 0;
}
