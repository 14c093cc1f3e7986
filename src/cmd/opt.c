/* The option parser: a table in front of getopt_long, which does the splitting and abbreviations as people know them.
 *
 * Called once at start, from one thread (getopt keeps its place in globals).
 */
#include "cmd/opt.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum { OPTS_MAX = 40, HELP_VALUE = 999 };

int opt_num(const char *text, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL; /* strtoull would take "-1" and " 1" */
	errno = 0;
	*out = strtoull(text, &end, text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10); /* 010 is ten */
	return errno || *end ? -EINVAL : 0;
}

struct unit { const char *name; uint64_t factor; };

/* A decimal number with a unit; integers are exact, fractions ("1.5G") are good to a part in 2^50. */
static int number_with_unit(const char *text, const struct unit *units, uint64_t bare, uint64_t *out)
{
	char *end, *end_f;
	uint64_t whole, factor = 0;
	double frac;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	whole = strtoull(text, &end, 10);
	frac = strtod(text, &end_f) - (double)whole;
	if (errno || (*end != '.' && *end && !isalpha((unsigned char)*end)))
		return -EINVAL;
	if (*end != '.')
		frac = 0, end_f = end; /* strtod would take the e of "1e3" */
	if (strspn(end, ".0123456789") < (size_t)(end_f - end))
		return -EINVAL; /* and that of "1.5e300" */
	if (!*end_f)
		factor = bare;
	for (const struct unit *u = units; u->name && !factor; u++)
		if (!strcasecmp(end_f, u->name))
			factor = u->factor;
	if (!factor || whole > UINT64_MAX / 2 / factor)
		return -EINVAL;
	*out = whole * factor + (uint64_t)(frac * (double)factor);
	return 0;
}

int opt_bytes(const char *text, uint64_t *out)
{
	static const struct unit units[] = {
		{ "B", 1 }, { "K", KIB }, { "KiB", KIB }, { "M", MIB }, { "MiB", MIB }, { "G", GIB }, { "GiB", GIB },
		{ "T", 1024 * GIB }, { "TiB", 1024 * GIB }, { NULL, 0 }
	};

	return number_with_unit(text, units, 1, out);
}

int opt_time(const char *text, uint64_t *out)
{
	static const struct unit units[] = {
		{ "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 }, { NULL, 0 }
	};

	return number_with_unit(text, units, 1000000, out);
}

static int value_take(const struct opt *o, void *vals, const char *text, struct err *err)
{
	void *at = (char *)vals + o->off;
	int rc = 0;

	switch (o->kind) {
	case OPT_FLAG:
		*(bool *)at = true;
		break;
	case OPT_STR:
		*(const char **)at = text;
		break;
	case OPT_NUM:
		rc = opt_num(text, at);
		break;
	case OPT_BYTES:
		rc = opt_bytes(text, at);
		break;
	case OPT_TIME:
		rc = opt_time(text, at);
		break;
	}
	if (!rc)
		return 0;
	return err_set(err, -EINVAL, "--%s: '%s' is not %s", o->name, text,
		       o->kind == OPT_BYTES ? "a size (try 500M, 1G)" :
		       o->kind == OPT_TIME ? "a time (try 10ms, 2s)" : "a number");
}

static unsigned make_getopt(const struct opt *opts, struct option *lng, char *shrt)
{
	unsigned n = 0;

	*shrt++ = ':'; /* we say what is missing ourselves */
	for (; opts && opts[n].name && n < OPTS_MAX; n++) {
		lng[n] = (struct option){ opts[n].name, opts[n].kind == OPT_FLAG ? no_argument : required_argument,
					  NULL, (int)n + 1000 };
		if (opts[n].letter) {
			*shrt++ = opts[n].letter;
			if (opts[n].kind != OPT_FLAG)
				*shrt++ = ':';
		}
	}
	lng[n] = (struct option){ "help", no_argument, NULL, HELP_VALUE };
	lng[n + 1] = (struct option){ 0 };
	*shrt = '\0';
	return n;
}

static int row_of(const struct opt *opts, unsigned n, int c)
{
	if (c >= 1000)
		return c - 1000;
	for (unsigned i = 0; i < n; i++)
		if (opts[i].letter == c)
			return (int)i;
	return -1;
}

int opt_parse(const struct opt *opts, void *vals, int argc, char **argv, int *first, struct err *err)
{
	struct option lng[OPTS_MAX + 2];
	char shrt[3 * OPTS_MAX + 2];
	unsigned n = make_getopt(opts, lng, shrt);
	bool seen[OPTS_MAX] = { false };
	int c, rc;

	for (unsigned i = 0; i < n; i++)
		if (opts[i].dflt && (rc = value_take(&opts[i], vals, opts[i].dflt, err)))
			return rc;
	optind = 0; /* glibc: start over, so that a program may parse twice */
	while ((c = getopt_long(argc, argv, shrt, lng, NULL)) != -1) {
		if (c == HELP_VALUE)
			return OPT_HELP;
		if (c == ':')
			return err_set(err, -EINVAL, "%s needs a value", argv[optind - 1]);
		if (c == '?' && optopt && optopt < 256)
			return err_set(err, -EINVAL, "unknown option -%c", optopt);
		if (c == '?')
			return err_set(err, -EINVAL, "unknown or ambiguous option %s", argv[optind - 1]);
		int row = row_of(opts, n, c);
		if (row < 0)
			return err_set(err, -EINVAL, "unknown option");
		if ((rc = value_take(&opts[row], vals, optarg, err)))
			return rc;
		seen[row] = true;
		if (opts[row].has)
			*((bool *)((char *)vals + opts[row].has)) = true;
	}
	for (unsigned i = 0; i < n; i++)
		if (opts[i].needed && !seen[i])
			return err_set(err, -EINVAL, "--%s %s is needed: %s", opts[i].name,
				       opts[i].arg ? opts[i].arg : "", opts[i].help);
	*first = optind;
	return 0;
}

char *opt_bytes_text(char *buf, size_t cap, uint64_t bytes)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	unsigned u = 0;

	while (v >= 1024 && u + 1 < ARRAY_LEN(unit))
		v /= 1024, u++;
	snprintf(buf, cap, u ? "%.1f %s" : "%.0f %s", v, unit[u]);
	return buf;
}

char *opt_time_text(char *buf, size_t cap, uint64_t ns)
{
	if (ns == UINT64_MAX)
		snprintf(buf, cap, "never");
	else if (ns < 10000)
		snprintf(buf, cap, "%llu ns", (unsigned long long)ns);
	else if (ns < 1000000)
		snprintf(buf, cap, "%.1f us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(buf, cap, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(buf, cap, "%.1f s", (double)ns / 1e9);
	return buf;
}
