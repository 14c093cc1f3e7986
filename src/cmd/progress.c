/* The terminal view of a move. See progress.h. */
#include "cmd/progress.h"

#include <inttypes.h>
#include <stdarg.h>

#include "cmd/opt.h"
#include "cmd/rpc_client.h"

enum { BAR = 32 };

static void begin(struct progress *p)
{
	if (p->lines)
		fprintf(p->to, "\033[%uA", p->lines);
	p->lines = 0;
}

static void put(struct progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct progress *p, const char *fmt, ...)
{
	va_list ap;

	fprintf(p->to, "\r\033[2K");
	va_start(ap, fmt);
	vfprintf(p->to, fmt, ap);
	va_end(ap);
	fputc('\n', p->to);
	p->lines++;
}

/* sent counts every round, so it may pass total: what is missing is what is dirty. */
static void bar(struct progress *p, const char *what, uint64_t total, uint64_t sent, uint64_t dirty)
{
	char line[BAR + 1], a[32], b[32], c[32];
	uint64_t have = MIN(sent, total);
	unsigned n;

	have = have > dirty ? have - dirty : 0;
	n = total ? (unsigned)((double)have / (double)total * BAR) : BAR;
	for (unsigned i = 0; i < BAR; i++)
		line[i] = i < n ? '#' : '.';
	line[BAR] = '\0';
	put(p, "  %-12s [%s] %s of %s sent, %s to go again", what, line, opt_bytes_text(a, sizeof(a), sent),
	    opt_bytes_text(b, sizeof(b), total), opt_bytes_text(c, sizeof(c), dirty));
}

static void rates(struct progress *p, json_object *o)
{
	char rate[32], dirty[32], stop[32], eta[32], throttle[32];

	opt_bytes_text(rate, sizeof(rate), json_u64(o, "rate"));
	opt_bytes_text(dirty, sizeof(dirty), json_u64(o, "dirty_rate"));
	opt_time_text(stop, sizeof(stop), json_u64(o, "predicted_stop_ns"));
	opt_time_text(eta, sizeof(eta), json_u64(o, "eta_ns"));
	opt_bytes_text(throttle, sizeof(throttle), json_u64(o, "throttle"));
	put(p, "  link %s/s, guest dirties %s/s, throttle %s%s, pause now would be %s, eta %s, %s", rate, dirty,
	    json_u64(o, "throttle") ? throttle : "off", json_u64(o, "throttle") ? "/s" : "", stop, eta,
	    json_object_get_boolean(json_get(o, "converges")) ? "converges" : "does not converge yet");
}

void progress_draw(struct progress *p, json_object *o, const char *text)
{
	json_object *list = json_get(o, "namespaces");
	char name[32];

	begin(p);
	put(p, "%s: %s, round %" PRIu64, p->title, json_str(o, "phase"), json_u64(o, "round"));
	bar(p, "memory", json_u64(o, "mem_total"), json_u64(o, "mem_sent"), json_u64(o, "mem_dirty"));
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
		json_object *n = json_object_array_get_idx(list, i);

		snprintf(name, sizeof(name), "namespace %zu", i + 1);
		bar(p, name, json_u64(n, "total"), json_u64(n, "sent"), json_u64(n, "dirty"));
	}
	rates(p, o);
	put(p, "  %.100s", text);
	fflush(p->to);
}

void progress_line(struct progress *p, const char *fmt, ...)
{
	va_list ap;

	begin(p);
	fprintf(p->to, "\r\033[2K");
	va_start(ap, fmt);
	vfprintf(p->to, fmt, ap);
	va_end(ap);
	fprintf(p->to, "\n\033[J");
	fflush(p->to);
}

void progress_summary(json_object *o, char *out, size_t cap)
{
	char took[32], gap[32], dev[32], bytes[32];
	uint64_t at = json_u64(o, "at_ns"), began = json_u64(o, "started_ns");

	snprintf(out, cap, "took %s, guest-visible gap %s (device %s), %" PRIu64 " rounds, %s on the link, %" PRIu64 " log overflows",
		 opt_time_text(took, sizeof(took), at > began ? at - began : 0), opt_time_text(gap, sizeof(gap), json_u64(o, "gap_ns")),
		 opt_time_text(dev, sizeof(dev), json_u64(o, "device_gap_ns")), json_u64(o, "round"),
		 opt_bytes_text(bytes, sizeof(bytes), json_u64(o, "link_bytes")), json_u64(o, "overflows"));
}
