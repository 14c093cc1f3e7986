/* `ferry verify`: the conformance suite on the command line. What is run where, and where the results go; the suite is src/verify/. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/command.h"
#include "cmd/verify_rig.h"
#include "verify/checklist.h"
#include "verify/report.h"
#include "verify/run.h"

struct verify_vals {
	const char *backend, *socket, *device, *device_again;
	const char *group, *tag, *id, *checklist, *report, *xfail;
	uint64_t seed, timeout, quiet, mcs;
	bool yes_destroy, verbose, has_seed, no_hmlm;
};
_Static_assert(sizeof(struct verify_vals) <= COMMAND_VALS_MAX, "values fit");

#define V struct verify_vals
#define OPT_CHOOSE \
	OPT(V, group, "group", 'g', OPT_STR, "LIST", "only these groups (ID,CQ,...)"), \
	OPT(V, tag, "tag", 't', OPT_STR, "LIST", "only tests with one of these tags"), \
	OPT(V, id, "id", 'i', OPT_STR, "LIST", "only these tests"), \
	OPT(V, checklist, "checklist", 0, OPT_STR, "LIST", "only tests of these statements (CDQ-07, NVM21_5_1_4_07)")
#define OPT_DUT \
	OPT(V, backend, "backend", 'b', OPT_STR, "NAME", "vfio-user or inprocess", .dflt = "vfio-user"), \
	OPT(V, socket, "socket", 's', OPT_STR, "LIST", "vfio-user sockets of the controllers, MMC and MCs in any order"), \
	OPT(V, mcs, "mcs", 0, OPT_NUM, "N", "inprocess: migratable controllers", .dflt = "3"), \
	OPT(V, no_hmlm, "no-hmlm", 0, OPT_FLAG, NULL, "inprocess: a subsystem without live migration")
#define OPT_RUN \
	OPT(V, seed, "seed", 0, OPT_NUM, "N", "of everything random; a new one is chosen and printed", .has = offsetof(V, has_seed)), \
	OPT(V, timeout, "timeout", 0, OPT_TIME, "TIME", "how long a command may take", .dflt = "5s"), \
	OPT(V, quiet, "quiet", 0, OPT_TIME, "TIME", "how long to watch for what must not happen", .dflt = "5ms"), \
	OPT(V, xfail, "xfail", 0, OPT_STR, "FILE", "known failures: a line 'ID reason' each"), \
	OPT(V, report, "report", 'r', OPT_STR, "LIST", "files to write: .json .xml (JUnit) .tap .html"), \
	OPT(V, verbose, "verbose", 'v', OPT_FLAG, NULL, "name passed and skipped tests too")

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
	struct verify_rig_cfg rig = { .mcs = (unsigned)v->mcs, .no_hmlm = v->no_hmlm };

	if (!strcmp(v->backend, "vfio-user")) {
		snprintf(replay, cap, "--socket %s", v->socket ? v->socket : "");
		return open_sockets(d, v->socket, err);
	}
	if (!strcmp(v->backend, "inprocess")) {
		snprintf(replay, cap, "--backend inprocess --mcs %" PRIu64 "%s", v->mcs, v->no_hmlm ? " --no-hmlm" : "");
		return verify_rig_open(d, &rig, err);
	}
	return err_set(err, -EINVAL, "--backend is vfio-user or inprocess");
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

static int run_suite(const struct verify_vals *v, struct dut *d, struct vrun_cfg *c, struct err *err)
{
	struct vrun r = { 0 };
	int rc = vrun_run(&r, d, c, err), code = EXIT_FERRY_FAILED;

	if (!rc) {
		report_summary(&r, stdout);
		rc = write_reports(&r, v->report, err);
		code = vrun_good(&r) ? EXIT_FERRY_OK : EXIT_FERRY_FAILED;
	}
	if (rc)
		fprintf(stderr, "ferry: %s\n", err->text);
	vrun_free(&r);
	return rc ? EXIT_FERRY_FAILED : code;
}

static int cmd_run(const struct command *self, void *vals, int argc, char **argv)
{
	const struct verify_vals *v = vals;
	char replay[2200] = "", *known = NULL;
	struct vrun_cfg c = { .group = v->group, .tag = v->tag, .id = v->id, .checklist = v->checklist, .seed = v->has_seed ? v->seed : any_seed(),
			      .cmd_ns = v->timeout, .quiet_ns = v->quiet, .replay = replay, .progress = stdout, .verbose = v->verbose };
	struct err err = { "" };
	struct dut d = { 0 };
	int code = EXIT_FERRY_USAGE;

	(void)self, (void)argc, (void)argv;
	if (v->xfail && !(known = slurp(v->xfail, &err))) {
		fprintf(stderr, "ferry: %s\n", err.text);
		return EXIT_FERRY_USAGE;
	}
	c.xfail = known;
	if (open_dut(&d, v, replay, sizeof(replay), &err)) {
		fprintf(stderr, "ferry: %s\n", err.text);
	} else {
		printf("ferry verify: %s, seed %" PRIu64 "\n", d.about, c.seed);
		code = run_suite(v, &d, &c, &err);
		dut_close(&d);
	}
	free(known);
	return code;
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

const struct command verify_commands[] = {
	{ "list", "", "print the tests and what they cover", NULL, o_list, 0, 0, cmd_list },
	{ "run", "", "run the suite against a device", about_run, o_run, 0, 0, cmd_run },
	{ "replay", "", "run again exactly as a failure said (run with --seed and --id)", NULL, o_run, 0, 0, cmd_run },
	{ "monitor", "", "stand between clients and servers, record and judge what passes", about_monitor, verify_monitor_opts, 0, 0,
	  cmd_verify_monitor },
	{ "export", "RECORD [FILE]", "make a log, a Perfetto trace, waveforms, packets or tables of a record", about_export, verify_export_opts, 1, 2,
	  cmd_verify_export },
	{ .name = NULL }
};
