/* `ferry verify`: the conformance suite on the command line. What is run where, and where the results go; the suite is src/verify/. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/command.h"
#include "cmd/verify_rig.h"
#include "cmd/verify_stress.h"
#include "verify/checklist.h"
#include "verify/report.h"
#include "verify/run.h"
#include "verify/store.h"

struct verify_vals {
	const char *backend, *socket, *device, *device_again;
	const char *group, *tag, *id, *checklist, *report, *xfail, *store, *html, *ucis, *stubs;
	uint64_t seed, timeout, quiet, mcs, again;
	bool yes_destroy, verbose, has_seed, no_hmlm, by_message, gate, far, fail_fast, guard;
};
_Static_assert(sizeof(struct verify_vals) <= COMMAND_VALS_MAX, "values fit");

#define V struct verify_vals
#define OPT_CHOOSE \
	OPT(V, group, "group", 'g', OPT_STR, "LIST", "only these groups (ID,CQ,...)"), \
	OPT(V, tag, "tag", 't', OPT_STR, "LIST", "only tests with one of these tags"), \
	OPT(V, id, "id", 'i', OPT_STR, "LIST", "only these tests"), \
	OPT(V, checklist, "checklist", 0, OPT_STR, "LIST", "only tests of these statements (CDQ-07, NVM21_5_1_4_07)")
#define OPT_DUT \
	OPT(V, backend, "backend", 'b', OPT_STR, "NAME", "vfio-user, inprocess or ioctl", .dflt = "vfio-user"), \
	OPT(V, socket, "socket", 's', OPT_STR, "LIST", "vfio-user sockets of the controllers, MMC and MCs in any order"), \
	OPT(V, device, "device", 0, OPT_STR, "DEV", "ioctl: /dev/nvmeX, reading only"), \
	OPT(V, device_again, "device-again", 0, OPT_STR, "DEV", "ioctl: the same again, to allow changes"), \
	OPT(V, yes_destroy, "yes-destroy", 0, OPT_FLAG, NULL, "ioctl: and this too"), \
	OPT(V, mcs, "mcs", 0, OPT_NUM, "N", "inprocess: migratable controllers", .dflt = "3"), \
	OPT(V, far, "far", 0, OPT_FLAG, NULL, "inprocess: a second, smaller subsystem to move to"), \
	OPT(V, no_hmlm, "no-hmlm", 0, OPT_FLAG, NULL, "inprocess: a subsystem without live migration"), \
	OPT(V, by_message, "by-message", 0, OPT_FLAG, NULL, "inprocess: each access to a guest's memory by message, so that faults reach it")
#define OPT_RUN \
	OPT(V, seed, "seed", 0, OPT_NUM, "N", "of everything random; a new one is chosen and printed", .has = offsetof(V, has_seed)), \
	OPT(V, timeout, "timeout", 0, OPT_TIME, "TIME", "how long a command may take", .dflt = "5s"), \
	OPT(V, quiet, "quiet", 0, OPT_TIME, "TIME", "how long to watch for what must not happen", .dflt = "5ms"), \
	OPT(V, again, "for", 0, OPT_TIME, "TIME", "again with the next seed until this time is over or something fails"), \
	OPT(V, guard, "guard", 0, OPT_FLAG, NULL, "compare all memory of all controllers around each command that is waited for, not a part of it"), \
	OPT(V, fail_fast, "fail-fast", 0, OPT_FLAG, NULL, "stop after the first test that is not as expected"), \
	OPT(V, xfail, "xfail", 0, OPT_STR, "FILE", "known failures: a line 'ID reason' each"), \
	OPT(V, report, "report", 'r', OPT_STR, "LIST", "files to write: .json .xml (JUnit) .tap .html"), \
	OPT(V, store, "store", 0, OPT_STR, "FILE", "SQLite file the run is added to, with its coverage"), \
	OPT(V, gate, "gate", 0, OPT_FLAG, NULL, "fail when the run leaves holes in its coverage that this device could have filled"), \
	OPT(V, verbose, "verbose", 'v', OPT_FLAG, NULL, "name passed and skipped tests too")

static const struct opt o_coverage[] = {
	OPT(V, html, "html", 0, OPT_STR, "FILE", "write heat maps there too"),
	OPT(V, ucis, "ucis", 0, OPT_STR, "FILE", "write the counts there as UCIS XML"),
	OPT(V, stubs, "stubs", 0, OPT_STR, "FILE", "write a test in C for each hole there"),
	OPT(V, gate, "gate", 0, OPT_FLAG, NULL, "fail when there are holes that could have been filled"), OPT_END
};
static const struct opt o_list[] = { OPT_CHOOSE, OPT_END };
static const struct opt o_run[] = { OPT_DUT, OPT_CHOOSE, OPT_RUN, OPT_END };

/* ---- list */

static int cmd_list(const struct command *self, void *vals, int argc, char **argv)
{
	const struct verify_vals *v = vals;
	struct vrun_cfg c = { .group = v->group, .tag = v->tag, .id = v->id, .checklist = v->checklist };
	unsigned n = 0;

	(void)self, (void)argc, (void)argv;
	for (unsigned i = 0; vtest_at(i); i++) {
		const struct vtest *t = vtest_at(i);

		if (!vrun_chosen(&c, t))
			continue;
		n++;
		printf("%-8s %-70s %s\n", t->id, t->title, t->covers ? t->covers : "");
	}
	printf("%u tests, %u statements\n", n, vitem_count());
	return n ? EXIT_FERRY_OK : EXIT_FERRY_REFUSED;
}

/* ---- run */

static int open_sockets(struct dut *d, const char *list, struct err *err)
{
	char copy[2048], *save = NULL;
	const char *path[DUT_CTRLS];
	unsigned n = 0;

	if (!list || strlen(list) >= sizeof(copy))
		return err_set(err, -EINVAL, "say which sockets: --socket PATH,PATH,...");
	strcpy(copy, list);
	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		if (n == DUT_CTRLS)
			return err_set(err, -EINVAL, "at most %d sockets", DUT_CTRLS);
		path[n++] = p;
	}
	return dut_vuser_open(d, path, n, err);
}

static int open_dut(struct dut *d, const struct verify_vals *v, char *replay, size_t cap, struct err *err)
{
	struct verify_rig_cfg rig = { .mcs = (unsigned)v->mcs, .no_hmlm = v->no_hmlm, .by_message = v->by_message, .far = v->far };

	if (!strcmp(v->backend, "vfio-user")) {
		snprintf(replay, cap, "--socket %s", v->socket ? v->socket : "");
		return open_sockets(d, v->socket, err);
	}
	if (!strcmp(v->backend, "inprocess")) {
		snprintf(replay, cap, "--backend inprocess --mcs %" PRIu64 "%s%s%s", v->mcs, v->no_hmlm ? " --no-hmlm" : "",
			 v->by_message ? " --by-message" : "", v->far ? " --far" : "");
		return verify_rig_open(d, &rig, err);
	}
	if (!strcmp(v->backend, "ioctl")) {
		snprintf(replay, cap, "--backend ioctl --device %s", v->device ? v->device : "");
		return dut_ioctl_open(d, v->device, v->device_again, v->yes_destroy, err);
	}
	return err_set(err, -EINVAL, "--backend is vfio-user, inprocess or ioctl");
}

static char *slurp(const char *path, struct err *err)
{
	enum { MOST = 1 << 20 };
	FILE *f = fopen(path, "re");
	char *text = f ? calloc(1, MOST + 1) : NULL;

	if (!text)
		err_set(err, -errno, "%s cannot be read: %s", path, strerror(errno));
	else if (fread(text, 1, MOST, f) == MOST)
		err_set(err, -EFBIG, "%s is too long", path), free(text), text = NULL;
	if (f)
		fclose(f);
	return text;
}

static int write_reports(const struct vrun *r, const char *list, struct err *err)
{
	char copy[2048], *save = NULL;
	int rc = 0;

	if (!list)
		return 0;
	snprintf(copy, sizeof(copy), "%s", list);
	for (char *p = strtok_r(copy, ",", &save); p && !rc; p = strtok_r(NULL, ",", &save))
		rc = report_write(r, p, err);
	return rc;
}

static uint64_t any_seed(void) { return vt_now_ns() % 1000000007; }

static int judge_coverage(const struct cov *c, uint64_t caps)
{
	struct buf text = { 0 };
	bool good = cov_gate(c, caps, &text) && !text.failed;

	printf("%s%.*s", good ? "coverage: nothing is missing that can be reached\n" : "coverage is not what it must be:\n", (int)text.len,
	       text.len ? (char *)text.data : "");
	buf_fini(&text);
	return good ? EXIT_FERRY_OK : EXIT_FERRY_FAILED;
}

static int run_suite(const struct verify_vals *v, struct dut *d, struct vrun_cfg *c, struct err *err)
{
	struct vrun r = { 0 };
	int rc = vrun_run(&r, d, c, err), code = EXIT_FERRY_FAILED;

	if (!rc) {
		if (!v->again || !vrun_good(&r))
			report_summary(&r, stdout);
		rc = write_reports(&r, v->report, err);
		if (!rc && v->store)
			rc = store_run(v->store, &r, c->cov, err);
		code = vrun_good(&r) ? EXIT_FERRY_OK : EXIT_FERRY_FAILED;
		if (v->gate && judge_coverage(c->cov, r.vt->caps) != EXIT_FERRY_OK)
			code = EXIT_FERRY_FAILED;
	}
	if (rc)
		fprintf(stderr, "ferry: %s\n", err->text);
	vrun_free(&r);
	return rc ? EXIT_FERRY_FAILED : code;
}

/* One round, or as many as there is time for; what a store gets is counted round by round. */
static int run_rounds(const struct verify_vals *v, struct dut *d, struct vrun_cfg *c, struct err *err)
{
	uint64_t until = vt_now_ns() + v->again;
	unsigned rounds = 0;
	int code;

	do {
		c->cov = cov_new();
		if (!c->cov) {
			fprintf(stderr, "ferry: no memory\n");
			return EXIT_FERRY_FAILED;
		}
		c->seed += rounds++ > 0;
		code = run_suite(v, d, c, err);
		cov_free(c->cov);
		c->cov = NULL;
	} while (code == EXIT_FERRY_OK && vt_now_ns() < until);
	if (v->again)
		printf("%u rounds, the last with seed %" PRIu64 "\n", rounds, c->seed);
	return code;
}

static int cmd_run(const struct command *self, void *vals, int argc, char **argv)
{
	const struct verify_vals *v = vals;
	char replay[2200] = "", *known = NULL;
	struct vrun_cfg c = { .group = v->group, .tag = v->tag, .id = v->id, .checklist = v->checklist, .seed = v->has_seed ? v->seed : any_seed(),
			      .cmd_ns = v->timeout, .quiet_ns = v->quiet, .replay = replay, .progress = stdout, .verbose = v->verbose,
			      .fail_fast = v->fail_fast, .guard = v->guard };
	struct err err = { "" };
	struct dut d = { 0 };
	int code = EXIT_FERRY_USAGE;

	(void)self, (void)argc, (void)argv;
	verify_crash_frames();
	if (v->xfail && !(known = slurp(v->xfail, &err))) {
		fprintf(stderr, "ferry: %s\n", err.text);
		return EXIT_FERRY_USAGE;
	}
	c.xfail = known;
	if (open_dut(&d, v, replay, sizeof(replay), &err)) {
		fprintf(stderr, "ferry: %s\n", err.text);
	} else {
		printf("ferry verify: %s, seed %" PRIu64 "\n", d.about, c.seed);
		code = run_rounds(v, &d, &c, &err);
		dut_close(&d);
	}
	free(known);
	return code;
}

/* ---- coverage, report, diff: from what runs left behind */

static int write_text(const char *path, const struct buf *b, struct err *err)
{
	FILE *f = b->failed ? NULL : fopen(path, "we");
	bool ok = f && fwrite(b->data, 1, b->len, f) == b->len;

	if (f && fclose(f))
		ok = false;
	return ok ? 0 : err_set(err, -EIO, "%s cannot be written: %s", path, strerror(errno));
}

/* What is written besides the list: by option, out of the same counts. */
static int write_pages(const struct verify_vals *v, const struct cov *c, uint64_t caps, const struct cov_runs *runs, struct err *err)
{
	struct buf html = { 0 }, ucis = { 0 }, stubs = { 0 };
	int rc = 0;

	if (v->html) {
		cov_html(c, caps, &html);
		rc = write_text(v->html, &html, err);
	}
	if (!rc && v->ucis) {
		cov_ucis(c, caps, runs, &ucis);
		rc = write_text(v->ucis, &ucis, err);
	}
	if (!rc && v->stubs) {
		cov_stubs_c(c, caps, &stubs);
		rc = write_text(v->stubs, &stubs, err);
	}
	buf_fini(&html);
	buf_fini(&ucis);
	buf_fini(&stubs);
	return rc;
}

static int cmd_coverage(const struct command *self, void *vals, int argc, char **argv)
{
	const struct verify_vals *v = vals;
	struct err err = { "no memory" };
	struct cov *c = cov_new();
	struct cov_runs runs = { .n = 0 };
	struct buf text = { 0 };
	uint64_t caps = argc ? 0 : UINT64_MAX; /* without a store: of a device that can everything, and has done nothing */
	int rc = c ? 0 : -ENOMEM, code = EXIT_FERRY_OK;

	(void)self;
	for (int i = 0; !rc && i < argc; i++)
		rc = store_coverage(argv[i], c, &caps, &runs, &err);
	if (!rc) {
		cov_holes(c, caps, &text);
		printf("%u runs\n%.*s", runs.n, (int)text.len, (char *)text.data);
		rc = write_pages(v, c, caps, &runs, &err);
	}
	if (!rc && v->gate)
		code = judge_coverage(c, caps);
	if (rc)
		fprintf(stderr, "ferry: %s\n", err.text);
	buf_fini(&text);
	cov_free(c);
	return rc ? EXIT_FERRY_FAILED : code;
}

static json_object *load(const char *path)
{
	json_object *o = json_object_from_file(path), *tests;

	if (o && json_object_object_get_ex(o, "tests", &tests) && json_object_is_type(tests, json_type_array))
		return o;
	fprintf(stderr, "ferry: %s is not a report of 'ferry verify run'\n", path);
	json_object_put(o);
	return NULL;
}

static const char *text_of(json_object *o, const char *key)
{
	json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static int cmd_report(const struct command *self, void *vals, int argc, char **argv)
{
	json_object *o = load(argv[0]), *tests, *readings;
	int bad = 0;

	(void)self, (void)vals, (void)argc;
	if (!o)
		return EXIT_FERRY_USAGE;
	json_object_object_get_ex(o, "tests", &tests);
	printf("%s (%s), seed %s, counts %s\n", text_of(o, "dut"), text_of(o, "backend"), text_of(o, "seed"), text_of(o, "counts"));
	for (size_t i = 0; i < json_object_array_length(tests); i++) {
		json_object *t = json_object_array_get_idx(tests, i);
		const char *verdict = text_of(t, "verdict");

		if (!strcmp(verdict, "PASS"))
			continue;
		bad += strcmp(verdict, "SKIP") && strcmp(verdict, "XFAIL");
		printf("%-5s %-8s %s\n      %s\n", verdict, text_of(t, "id"), text_of(t, "title"), text_of(t, "why"));
	}
	if (json_object_object_get_ex(o, "readings", &readings) && json_object_is_type(readings, json_type_array))
		for (size_t i = 0; i < json_object_array_length(readings); i++) {
			json_object *r = json_object_array_get_idx(readings, i);

			printf("reading %-8s %s: %s\n", text_of(r, "test"), text_of(r, "what"), text_of(r, "took"));
		}
	json_object_put(o);
	return bad ? EXIT_FERRY_FAILED : EXIT_FERRY_OK;
}

static json_object *find_test(json_object *tests, const char *id)
{
	for (size_t i = 0; i < json_object_array_length(tests); i++)
		if (!strcmp(text_of(json_object_array_get_idx(tests, i), "id"), id))
			return json_object_array_get_idx(tests, i);
	return NULL;
}

static int cmd_diff(const struct command *self, void *vals, int argc, char **argv)
{
	json_object *a = load(argv[0]), *b = load(argv[1]), *ta, *tb;
	unsigned n = 0;

	(void)self, (void)vals, (void)argc;
	if (a && b) {
		json_object_object_get_ex(a, "tests", &ta);
		json_object_object_get_ex(b, "tests", &tb);
		for (size_t i = 0; i < json_object_array_length(ta); i++) {
			json_object *x = json_object_array_get_idx(ta, i), *y = find_test(tb, text_of(x, "id"));

			if (y && !strcmp(text_of(x, "verdict"), text_of(y, "verdict")))
				continue;
			printf("%-8s %s -> %s  %s\n", text_of(x, "id"), text_of(x, "verdict"), y ? text_of(y, "verdict") : "not run", y ? text_of(y, "why") : "");
			n++;
		}
		for (size_t i = 0; i < json_object_array_length(tb); i++) {
			json_object *y = json_object_array_get_idx(tb, i);

			if (find_test(ta, text_of(y, "id")))
				continue;
			printf("%-8s not run -> %s  %s\n", text_of(y, "id"), text_of(y, "verdict"), text_of(y, "why"));
			n++;
		}
		printf("%u tests differ\n", n);
	}
	json_object_put(a);
	json_object_put(b);
	return !a || !b ? EXIT_FERRY_USAGE : n ? EXIT_FERRY_FAILED : EXIT_FERRY_OK;
}

static const char about_run[] =
	"Runs the conformance suite of Host Managed Live Migration against controllers behind vfio-user sockets (any server's) or against\n"
	"ferry's own device in this process. Every controller is reset before every test, and namespaces are overwritten: never point it at\n"
	"data that matters. Verdicts: PASS; FAIL, with one line that repeats it; ERROR, the device or the way to it broke; SKIP, with what the\n"
	"device lacks; XFAIL, listed as known. Ends with code 1 if anything is not as expected.";
static const char about_monitor[] =
	"A proxy between vfio-user clients (QEMU, SPDK, ours) and servers (any). It changes nothing but what it must to see: doorbells are\n"
	"not shared (--keep-mmap shares them), interrupts pass through it, and in message mode the server gets no descriptors of memory.\n"
	"At the end it prints what passed and which rules were broken; exit code 1 if any was. Sockets of one server's controllers belong\n"
	"into one monitor: what Suspend and Resume say to the one is judged on the other.";

static const char about_export[] =
	"log is text; perfetto opens in ui.perfetto.dev; vcd in gtkwave (vcd2fst makes it small); pcapng in Wireshark and tshark, with\n"
	"-X lua_script:tools/vfio-user.lua; sqlite makes the tables run, txn and txn_link. FILE must not be there yet.";

static const char about_coverage[] =
	"Every hole is named with the call that fills it, every point out of reach with the reason. --stubs writes these calls as tests that\n"
	"compile (src/verify/aim.h). --ucis is for the tools that speak it. --gate fails for holes that could have been filled, and for a\n"
	"reason that was refuted by a hit. Without a store everything is a hole.";

const struct command verify_commands[] = {
	{ "list", "", "print the tests and what they cover", NULL, o_list, 0, 0, cmd_list },
	{ "run", "", "run the suite against a device", about_run, o_run, 0, 0, cmd_run },
	{ "replay", "", "run again exactly as a failure said (run with --seed and --id)", NULL, o_run, 0, 0, cmd_run },
	{ "monitor", "", "stand between clients and servers, record and judge what passes", about_monitor, verify_monitor_opts, 0, 0,
	  cmd_verify_monitor },
	{ "export", "RECORD [FILE]", "make a log, a Perfetto trace, waveforms, packets or tables of a record", about_export, verify_export_opts, 1, 2,
	  cmd_verify_export },
	{ "stress", "", "random sequences with faults over many seeds, for a time", verify_stress_about, verify_stress_opts, 0, 0, cmd_verify_stress },
	{ "failures", "STORE", "what failed in all runs of a store, each defect once", NULL, NULL, 1, 1, cmd_verify_failures },
	{ "report", "FILE.json", "say again what a run found, with the readings it took", NULL, NULL, 1, 1, cmd_report },
	{ "diff", "A.json B.json", "compare the verdicts of two runs", NULL, NULL, 2, 2, cmd_diff },
	{ "coverage", "[STORE...]", "add up the coverage of all runs of stores and list the holes", about_coverage, o_coverage, 0, 64, cmd_coverage },
	{ .name = NULL }
};
