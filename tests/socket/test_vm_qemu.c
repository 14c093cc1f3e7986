/* The QEMU adapter against a pretend QEMU: what it refuses, what it does in which order, how it takes everything back, and what it makes of
 * a QEMU that lies, stalls, breaks off or talks nonsense. The real one is in tests/vm/adapter.py.
 */
#include "t.h"

#include <dirent.h>
#include <time.h>

#include "fake_qemu.h"
#include "vm/qemu/vm_qemu.h"

enum { SPIN_S = 20 };

static struct fake_qemu q;
static struct vm *vm;
static struct vm_info info;
static struct vm_stream progress;
static struct err err;
static uint8_t image[VM_IMAGE_MAX];
static int64_t image_len;
static unsigned fds_before;

static unsigned fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void begin(bool incoming)
{
	fds_before = fds();
	fq_init(&q, incoming);
	err.text[0] = '\0';
	vm = vm_qemu_new(q.qmp_path, q.device, &err);
	EXPECT(vm);
}

static void end(void)
{
	if (vm)
		vm->ops->close(vm);
	vm = NULL;
	fq_fini(&q);
	EXPECT_EQ(fds(), fds_before);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Calls until it says something else than -EAGAIN, with QEMU and the reader of the stream at work in between. */
#define RUN(call)                                                                  \
	({                                                                         \
		double until_ = now_s() + SPIN_S;                                  \
		int64_t rc_;                                                       \
		err.text[0] = '\0';                                                \
		while ((rc_ = (call)) == -EAGAIN && now_s() < until_)              \
			fq_poll(&q);                                               \
		(int)rc_;                                                          \
	})
#define OPEN() RUN(vm->ops->open(vm, &info, &err))
#define BEGIN(in) RUN(vm->ops->stream_begin(vm, in, &err))
#define SETTLE(ns) RUN(vm->ops->stream_settle(vm, ns, &progress, &err))
#define PAUSE() RUN(vm->ops->pause(vm, &err))
#define FINISH() RUN(finish())
#define RESUME() RUN(vm->ops->resume(vm, &err))
#define ARRIVE() RUN(vm->ops->arrive(vm, image, (size_t)image_len, &err))
#define SAYS(text_) EXPECT(strstr(err.text, text_) || (fprintf(stderr, "it says: %s\n", err.text), false))

/* As the manager: what comes is read on meanwhile. */
static int finish(void)
{
	struct err ignored;
	uint8_t some[4];

	vm->ops->stream_read(vm, some, sizeof(some), &ignored);
	return vm->ops->stream_finish(vm, &err);
}

static void turns(int n)
{
	while (n--)
		fq_poll(&q);
}

static bool commands(const char *in_order)
{
	const char *at = q.log;
	char want[64];
	size_t n;

	for (; *in_order; in_order += n + (in_order[n] == ' ')) {
		n = strcspn(in_order, " ");
		snprintf(want, sizeof(want), "%.*s ", (int)n, in_order);
		at = strstr(at, want);
		if (!at) {
			fprintf(stderr, "no '%s' in its place in: %s\n", want, q.log);
			return false;
		}
		at += strlen(want);
	}
	return true;
}

/* ---- open */

TEST(opens_and_describes)
{
	begin(false);
	EXPECT_EQ(OPEN(), 0);
	EXPECT_STR(info.kind, "qemu");
	EXPECT(info.streams && !info.moves_memory && !info.ranges);
	EXPECT_STR(info.shape, "qemu pc-q35-11.1-machine memory 256 MiB cpus 2 max-x86_64-cpu device nvme0 at 04.0 of /machine/q35/pcie.0");
	EXPECT_EQ(vm->ops->alive(vm, &err), 0);
	EXPECT_EQ(OPEN(), 0);
	EXPECT_EQ(q.pci.latch, FP_LATCH);
	EXPECT_EQ(q.pci.config_writes, 0);
	end();
}

#define REFUSED(words, ...)                \
	do {                               \
		begin(false);              \
		__VA_ARGS__;               \
		EXPECT(OPEN() < 0);        \
		SAYS(words);               \
		EXPECT_EQ(q.running, true); \
		EXPECT(vm->ops->alive(vm, NULL) < 0); \
		end();                     \
	} while (0)

TEST(refuses_what_it_cannot_move)
{
	REFUSED("QEMU 10.0.3", q.major = 10, q.minor = 0);
	REFUSED("needs 11.1", q.minor = 0);
	REFUSED("is not shared", q.share = false);
	REFUSED("shares 256 of 512 MiB", q.memory_mib = 512);
	REFUSED("no vfio-user-pci", q.devices = 0);
	REFUSED("3 vfio-user-pci devices", q.devices = 3);
	REFUSED("has no name", q.unnamed = true);
	REFUSED("another kind (aarch64)", q.arch = "aarch64");
	REFUSED("is connected to /tmp/other.sock", q.socket_shown = "/tmp/other.sock");
	begin(false);
	q.major = 12, q.minor = 0;
	EXPECT_EQ(OPEN(), 0);
	end();
	begin(false); /* QEMU sees the directory elsewhere */
	q.socket_shown = "/in/a/container/vm1.sock";
	EXPECT_EQ(OPEN(), 0);
	end();
}

TEST(nobody_answers)
{
	begin(false);
	close(q.qmp.listener);
	q.qmp.listener = -1;
	EXPECT_EQ(OPEN(), -ECONNREFUSED);
	SAYS("-qmp unix:");
	unlink(q.qmp_path);
	EXPECT_EQ(OPEN(), -ENOENT);
	end();
	begin(false);
	close(q.qtest.listener);
	q.qtest.listener = -1;
	EXPECT_EQ(OPEN(), -ECONNREFUSED);
	SAYS("-qtest unix:");
	end();
}

TEST(busy_monitor)
{
	begin(false);
	q.deaf = true;
	vm_qemu_patience(vm, 30000000);
	EXPECT_EQ(OPEN(), -ETIMEDOUT);
	SAYS("is another client connected to it?");
	q.deaf = false; /* the other has gone */
	EXPECT_EQ(OPEN(), 0);
	end();
}

TEST(deaf_qtest)
{
	begin(false);
	q.mute_qtest = 1;
	vm_qemu_patience(vm, 30000000);
	EXPECT_EQ(OPEN(), -ETIMEDOUT);
	SAYS("is another client connected");
	end();
	begin(false);
	q.fail_qtest = 1;
	EXPECT_EQ(OPEN(), -EPROTO);
	SAYS("FAIL because");
	end();
}

static const char *const open_commands[] = { "qmp_capabilities", "query-target", "query-memdev", "query-memory-size-summary", "query-cpus-fast",
					      "qom-get", "qom-list" };

TEST(each_command_of_open_refused_or_silent)
{
	for (size_t i = 0; i < ARRAY_LEN(open_commands); i++) {
		REFUSED(open_commands[i], q.refuse = open_commands[i]);
		REFUSED("the pretend QEMU will not", q.refuse = open_commands[i]);
		REFUSED(open_commands[i], q.mute = open_commands[i]; vm_qemu_patience(vm, 30000000));
	}
}

/* ---- talking nonsense */

TEST(nonsense_for_a_greeting)
{
	char *huge = malloc(3 << 20);

	REFUSED("not JSON", q.greeting = "SSH-2.0-OpenSSH_9.2p1");
	REFUSED("not JSON", q.greeting = "[1, 2]");
	REFUSED("not JSON", q.greeting = "\x01\xff\xfe");
	REFUSED("greet", q.greeting = "{\"hello\": 1}");
	REFUSED("needs 11.1", q.greeting = "{\"QMP\": {\"version\": {\"qemu\": {\"major\": \"11\"}}}}");
	REFUSED("needs 11.1", q.greeting = "{\"QMP\": {\"version\": {\"qemu\": {\"major\": -11, \"minor\": 1e99}}}}");
	memset(huge, ' ', 3 << 20);
	huge[(3 << 20) - 1] = '\0';
	REFUSED("longer than a megabyte", q.greeting = huge);
	memset(huge, '[', 4000);
	huge[4000] = '\0';
	REFUSED("not JSON", q.greeting = huge);
	free(huge);
}

TEST(nonsense_later)
{
	static const struct { const char *line, *words; } say[] = {
		{ "{\"return\": {}, \"id\": 4000000}", "not asked" }, { "{\"return\": {}, \"id\": -1}", "not asked" },
		{ "{\"return\": {}, \"id\": \"1\"}", "not asked" }, { "{\"return\": {}}", "not asked" }, { "{}", "not asked" },
		{ "{\"id\": 1}", "not asked" }, { "{\"error\": {\"desc\": \"JSON parse error\"}}", "JSON parse error" }, { "7", "not JSON" },
		{ "{\"return\": ", "not JSON" }, { "null", "not JSON" },
	};

	for (size_t i = 0; i < ARRAY_LEN(say); i++) {
		begin(false);
		EXPECT_EQ(OPEN(), 0);
		fq_say(&q, say[i].line);
		turns(3);
		EXPECT(vm->ops->alive(vm, &err) < 0);
		SAYS(say[i].words);
		EXPECT(vm->ops->alive(vm, &err) < 0); /* stays so */
		EXPECT_EQ(OPEN(), 0); /* and a new connection is a new beginning */
		end();
	}
	begin(false); /* harmless: late or double answers, events of all kinds, empty lines */
	EXPECT_EQ(OPEN(), 0);
	fq_say(&q, "{\"return\": {}, \"id\": 1}\r\n\r\n{\"event\": \"MIGRATION\"}\r\n{\"event\": \"RESET\", \"data\": 5}\r\n{\"event\": \"NEW\", \"data\": [[]]}");
	turns(3);
	EXPECT_EQ(vm->ops->alive(vm, &err), 0);
	EXPECT_EQ(BEGIN(false), 0);
	end();
}

/* A flood does not keep the manager: one call takes a bounded amount. */
TEST(flood_of_events)
{
	begin(false);
	EXPECT_EQ(OPEN(), 0);
	for (int i = 0; i < 20000; i++)
		fq_event(&q, "RTC_CHANGE", "{\"offset\": 1}");
	EXPECT_EQ(BEGIN(false), 0);
	EXPECT_EQ(vm->ops->alive(vm, &err), 0);
	end();
}

/* Every answer in turn is of a type that nobody expects: an error or not, but no crash, and the guest runs on at the end. */
TEST(absurd_answers)
{
	static const char *const answers[] = { "null", "5", "-1", "\"x\"", "[]", "[5]", "[{}]", "[[[]]]", "{}", "{\"status\": 5}", "{\"status\": null, \"ram\": []}",
					       "[{\"devices\": [{\"qdev_id\": \"nvme0\", \"bus\": \"a\"}], \"capability\": 7}]", "1e300", "true" };
	static const char *const names[] = { "query-target", "query-memdev", "query-memory-size-summary", "query-cpus-fast", "qom-get", "qom-list",
					     "query-status", "query-migrate", "query-migrate-capabilities", "query-migrate-parameters", "query-pci", "migrate",
					     "migrate-continue", "migrate_cancel", "getfd" };

	for (size_t n = 0; n < ARRAY_LEN(names); n++)
		for (size_t a = 0; a < ARRAY_LEN(answers); a++) {
			begin(false);
			vm_qemu_patience(vm, 20000000);
			fp_busy(&q.pci);
			q.absurd = names[n];
			q.absurd_answer = answers[a];
			if (!OPEN() && !BEGIN(false) && !SETTLE(1000000) && !PAUSE())
				FINISH();
			if (!vm->ops->open(vm, &info, NULL) && RESUME()) {
				q.absurd = NULL;
				EXPECT_EQ(RESUME(), 0);
			}
			EXPECT(q.running);
			EXPECT_EQ(q.pci.latch, FP_LATCH);
			end();
		}
}

TEST(random_bytes)
{
	srand(11);
	for (int round = 0; round < 300; round++) {
		begin(round % 2);
		vm_qemu_patience(vm, 20000000);
		for (int step = 0; step < 6; step++) {
			char junk[64];

			for (size_t i = 0; i < sizeof(junk); i++)
				junk[i] = (char)(rand() % 4 ? " \n{}[]:,\"idretunOK0x12345"[rand() % 25] : rand());
			buf_add(rand() % 2 ? &q.qmp.out : &q.qtest.out, junk, (size_t)rand() % sizeof(junk));
			if (OPEN())
				continue;
			BEGIN(round % 2);
			if (!(round % 2) && !SETTLE(1000000))
				PAUSE();
		}
		end();
	}
}

/* ---- source */

static void out_to(int step)
{
	EXPECT_EQ(OPEN(), 0);
	EXPECT_EQ(BEGIN(false), 0);
	if (step > 0)
		EXPECT_EQ(SETTLE(5000000), 0);
	if (step > 1)
		EXPECT_EQ(PAUSE(), 0);
	if (step > 2) {
		EXPECT_EQ(FINISH(), 0);
		image_len = vm->ops->image(vm, image, sizeof(image), &err);
		EXPECT(image_len > 0);
	}
}

TEST(source_in_order)
{
	char got[64];

	begin(false);
	fp_busy(&q.pci);
	out_to(0);
	EXPECT(commands("query-status query-migrate query-migrate-capabilities query-migrate-parameters migrate-set-capabilities migrate-set-parameters "
			"getfd migrate"));
	EXPECT(!q.caps_on[0] && q.caps_on[1] && q.caps_on[2] && q.caps_on[3] && !q.caps_on[4]);
	EXPECT_EQ(q.limit, 0);
	EXPECT_EQ(BEGIN(false), 0); /* harmless */
	EXPECT(vm->ops->stream_begin(vm, true, &err) < 0);
	EXPECT_EQ(vm->ops->pause(vm, &err), -ESTALE);
	EXPECT_EQ(vm->ops->image(vm, image, sizeof(image), &err), -ESTALE);
	EXPECT_EQ(vm->ops->stream_finish(vm, &err), -ESTALE);
	for (int i = 0; i < 200; i++) {
		EXPECT_EQ(vm->ops->stream_settle(vm, 0, &progress, &err), -EAGAIN);
		fq_poll(&q);
	}
	EXPECT(q.running);
	EXPECT_EQ(progress.total, 268435456);
	EXPECT_EQ(progress.left, 200000000);
	EXPECT_EQ(progress.rate, 100062500);
	EXPECT(progress.stop_ns > 1990000000 && progress.stop_ns < 2000000000);
	EXPECT_EQ(SETTLE(5700000), 0);
	EXPECT_EQ(q.limit, 5);
	EXPECT(!q.running);
	EXPECT_EQ(SETTLE(0), 0); /* stays so */
	EXPECT_EQ(PAUSE(), 0);
	EXPECT_EQ(PAUSE(), 0);
	EXPECT_EQ(q.pci.latch, FP_LATCH);
	EXPECT_EQ(vm->ops->image(vm, image, sizeof(image), &err), -ESTALE);
	EXPECT_EQ(RUN(vm->ops->stream_finish(vm, &err)), 0);
	EXPECT(commands("migrate migrate-set-parameters query-pci migrate-continue"));
	EXPECT_EQ(q.pci.latch, FP_LATCH);
	EXPECT_EQ(vm->ops->image(vm, image, 100, &err), -EMSGSIZE);
	image_len = vm->ops->image(vm, image, sizeof(image), &err);
	EXPECT(image_len > 256 + FP_TABLE);
	EXPECT_EQ(vm->ops->stream_read(vm, got, sizeof(got), &err), 8);
	EXPECT_EQ(vm->ops->stream_read(vm, got, sizeof(got), &err), 0);
	EXPECT_EQ(RUN(vm->ops->discard(vm)), 0);
	EXPECT(commands("migrate-continue quit"));
	EXPECT(!strstr(q.log, "cont "));
	end();
}

/* From every step, also twice, and then the whole once more. */
TEST(source_taken_back)
{
	for (int step = 0; step < 4; step++) {
		begin(false);
		fp_busy(&q.pci);
		q.caps_on[4] = true;
		out_to(step);
		EXPECT_EQ(RESUME(), 0);
		EXPECT(q.running);
		EXPECT(q.caps_on[4] && !q.caps_on[2]);
		EXPECT_EQ(q.limit, 300);
		EXPECT_EQ(RESUME(), 0);
		EXPECT_EQ(vm->ops->pause(vm, &err), -ESTALE);
		EXPECT(vm->ops->stream_read(vm, image, 1, &err) < 0);
		out_to(3);
		EXPECT(!q.running);
		EXPECT_EQ(q.pci.strays, 0);
		end();
	}
}

/* A command that fails or is never answered, anywhere on the way: the error names it, and after resume the guest runs. */
TEST(source_fails_anywhere)
{
	static const char *const names[] = { "query-status", "query-migrate", "query-migrate-capabilities", "query-migrate-parameters",
					     "migrate-set-capabilities", "migrate-set-parameters", "getfd", "migrate", "query-pci", "migrate-continue" };

	for (size_t i = 0; i < ARRAY_LEN(names) * 2; i++) {
		const char *name = names[i / 2];
		bool failed;

		begin(false);
		vm_qemu_patience(vm, 30000000);
		fp_busy(&q.pci);
		EXPECT_EQ(OPEN(), 0);
		*(i % 2 ? &q.mute : &q.refuse) = name;
		failed = BEGIN(false) || SETTLE(1000000) || PAUSE() || FINISH();
		EXPECT(failed);
		SAYS(name);
		SAYS(i % 2 ? "did not answer" : "the pretend QEMU will not");
		q.mute = q.refuse = NULL;
		EXPECT_EQ(RESUME(), 0);
		EXPECT(q.running);
		EXPECT_EQ(q.pci.latch, FP_LATCH);
		out_to(3); /* and nothing is left over that hinders the next try */
		end();
	}
}

static int capture(void)
{
	int rc = PAUSE();

	return rc ? rc : FINISH();
}

/* qtest stalls or fails at any line of the capture. */
TEST(capture_fails_anywhere)
{
	unsigned lines;

	begin(false);
	fp_busy(&q.pci);
	out_to(1);
	lines = q.qtest_lines;
	EXPECT_EQ(capture(), 0);
	lines = q.qtest_lines - lines;
	end();
	EXPECT(lines > 20);
	for (unsigned i = 1; i <= lines; i += i < 4 || i > lines - 4 ? 1 : 7) {
		begin(false);
		fp_busy(&q.pci);
		out_to(1);
		q.fail_qtest = i;
		EXPECT_EQ(capture(), -EPROTO);
		SAYS("FAIL because");
		EXPECT_EQ(RESUME(), 0);
		EXPECT(q.running);
		out_to(3);
		end();
	}
	begin(false);
	fp_busy(&q.pci);
	out_to(1);
	vm_qemu_patience(vm, 30000000);
	q.mute_qtest = lines; /* the last: answers that are merely missing look like wrong ones */
	EXPECT_EQ(capture(), -ETIMEDOUT);
	EXPECT_EQ(RESUME(), 0);
	EXPECT(q.running);
	end();
}

/* Given up in the middle of a step: what was sent still happens and must not be taken for something else. */
TEST(resume_in_the_middle)
{
	for (int turn = 0; turn < 12; turn++) {
		begin(false);
		fp_busy(&q.pci);
		EXPECT_EQ(OPEN(), 0);
		for (int i = 0; i < turn; i++) {
			vm->ops->stream_begin(vm, false, &err);
			turns(1);
		}
		EXPECT_EQ(RESUME(), 0);
		EXPECT(q.running);
		EXPECT_EQ(BEGIN(false), 0);
		EXPECT_EQ(SETTLE(1000000), 0);
		for (int i = 0; i < turn; i++) {
			vm->ops->pause(vm, &err);
			turns(1);
		}
		EXPECT_EQ(RESUME(), 0);
		EXPECT(q.running);
		turns(5);
		EXPECT_EQ(q.pci.latch, FP_LATCH);
		out_to(2);
		for (int i = 0; i < turn; i++) {
			vm->ops->stream_finish(vm, &err);
			turns(1);
		}
		EXPECT_EQ(RESUME(), 0);
		EXPECT(q.running);
		out_to(3);
		end();
	}
}

TEST(source_begin_refused)
{
	static const struct { const char *status, *migration, *blocked, *words; } no[] = {
		{ "inmigrate", "", NULL, "waits for one" }, { "shutdown", "", NULL, "'shutdown'" }, { "guest-panicked", "", NULL, "guest-panicked" },
		{ "running", "active", NULL, "by somebody else" }, { "running", "postcopy-active", NULL, "by somebody else" },
		{ "running", "", "non-migratable device: x", "non-migratable" },
	};

	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		begin(false);
		EXPECT_EQ(OPEN(), 0);
		strcpy(q.status, no[i].status);
		q.running = !strcmp(q.status, "running");
		strcpy(q.migration, no[i].migration);
		q.blocked = no[i].blocked;
		EXPECT(BEGIN(false) < 0);
		SAYS(no[i].words);
		EXPECT(!strstr(q.log, "migrate-set") && !strstr(q.log, "getfd"));
		EXPECT_EQ(RESUME(), 0); /* nothing was begun: nothing to take back */
		EXPECT(!strstr(q.log, "migrate_cancel") && !strstr(q.log, "cont "));
		end();
	}
}

TEST(guest_paused_by_its_user)
{
	for (int step = 0; step < 4; step++) {
		begin(false);
		q.running = false;
		strcpy(q.status, "paused");
		out_to(step);
		EXPECT_EQ(RESUME(), 0);
		EXPECT_EQ(RESUME(), 0);
		EXPECT(!strstr(q.log, "cont "));
		end();
	}
}

TEST(migration_fails_by_itself)
{
	begin(false);
	out_to(0);
	snprintf(q.error_desc, sizeof(q.error_desc), "No space in the pipe");
	fq_migration(&q, "failed");
	EXPECT(SETTLE(1000000) < 0);
	SAYS("No space in the pipe");
	EXPECT_EQ(RESUME(), 0);
	end();
	begin(false); /* and resumes the guest, as QEMU does when it cannot send the rest */
	out_to(2);
	close(q.stream);
	q.stream = -1;
	EXPECT_EQ(vm->ops->stream_finish(vm, &err), -EAGAIN);
	turns(3);
	fq_run(&q, true, "running");
	fq_migration(&q, "failed");
	EXPECT(FINISH() < 0);
	SAYS("ended before its time");
	EXPECT_EQ(RESUME(), 0);
	EXPECT(q.running);
	end();
}

/* What was captured must still be so when all is sent. */
TEST(reset_or_resumed_while_it_stands)
{
	begin(false);
	out_to(2);
	fq_event(&q, "RESET", "{\"guest\": true, \"reason\": \"guest-reset\"}");
	EXPECT_EQ(FINISH(), -ESTALE);
	SAYS("was reset");
	EXPECT_EQ(RESUME(), 0);
	end();
	begin(false);
	out_to(2);
	fq_event(&q, "RESUME", NULL);
	fq_event(&q, "STOP", NULL);
	EXPECT_EQ(FINISH(), -ESTALE);
	SAYS("was resumed");
	EXPECT_EQ(RESUME(), 0);
	end();
	begin(false);
	out_to(1);
	fq_run(&q, true, "running");
	EXPECT_EQ(PAUSE(), -ESTALE);
	SAYS("somebody else");
	EXPECT_EQ(RESUME(), 0);
	end();
}

TEST(cancel_that_never_ends)
{
	begin(false);
	vm_qemu_patience(vm, 50000000);
	out_to(1);
	q.slow_cancel = true;
	EXPECT_EQ(RESUME(), -ETIMEDOUT);
	SAYS("cancelling");
	q.slow_cancel = false;
	EXPECT_EQ(RESUME(), 0);
	EXPECT(q.running);
	end();
}

TEST(gone)
{
	for (int how = 0; how < 4; how++) {
		begin(false);
		out_to(2);
		if (how == 1)
			fq_event(&q, "SHUTDOWN", "{\"guest\": true, \"reason\": \"guest-shutdown\"}");
		if (how == 2)
			fq_event(&q, "SHUTDOWN", "{\"guest\": false, \"reason\": \"host-signal\"}");
		turns(2);
		if (how == 3) { /* -no-shutdown: it stays */
			fq_event(&q, "SHUTDOWN", "{\"guest\": true, \"reason\": \"guest-shutdown\"}");
			strcpy(q.status, "shutdown");
			strcpy(q.migration, "cancelled");
			turns(2);
		} else
			fq_end_close(&q.qmp);
		EXPECT_EQ(RUN(vm->ops->alive(vm, &err) ? -ENODEV : -EAGAIN), -ENODEV);
		SAYS(how == 0 ? "is gone" : how == 2 ? "host-signal" : "powered off");
		EXPECT(FINISH() < 0);
		EXPECT(RESUME() < 0);
		if (how < 3)
			EXPECT_EQ(RUN(vm->ops->discard(vm)), 0);
		end();
	}
}

/* Somebody has started a new QEMU under the old one's name: open understands, discard leaves one that waits alone. */
TEST(new_qemu_same_path)
{
	begin(false);
	out_to(3);
	fq_end_close(&q.qmp);
	fq_end_close(&q.qtest);
	q.incoming = true;
	q.running = false;
	strcpy(q.status, "inmigrate");
	strcpy(q.migration, "");
	EXPECT_EQ(OPEN(), 0);
	EXPECT_EQ(RUN(vm->ops->discard(vm)), 0);
	EXPECT(!q.ended && !strstr(q.log, "quit"));
	EXPECT_EQ(RESUME(), -ESTALE);
	SAYS("none to run");
	EXPECT_EQ(BEGIN(true), 0);
	end();
}

/* ---- target */

static void make_image(void)
{
	begin(false);
	fp_busy(&q.pci);
	out_to(3);
	end();
}

static int64_t give(const void *p, size_t n) { return RUN(vm->ops->stream_write(vm, p, n, &err)); }

static void in_to(void)
{
	EXPECT_EQ(OPEN(), 0);
	EXPECT_EQ(BEGIN(true), 0);
	EXPECT_EQ(give("stream", 6), 6);
	EXPECT_EQ(give("", 0), 0);
}

TEST(target_in_order)
{
	struct fake_pci want;

	make_image();
	fp_init(&want);
	fp_busy(&want);
	begin(true);
	in_to();
	EXPECT(commands("query-status query-migrate query-migrate-capabilities stop migrate-set-capabilities getfd migrate-incoming"));
	EXPECT_EQ(BEGIN(true), 0);
	EXPECT_EQ(vm->ops->resume(vm, &err), -ESTALE);
	SAYS("half a guest");
	EXPECT_EQ(ARRIVE(), 0);
	EXPECT_EQ(ARRIVE(), 0);
	EXPECT_MEM(q.pci.cfg, want.cfg, 256);
	EXPECT_MEM(q.pci.table, want.table, FP_TABLE);
	EXPECT_EQ(q.pci.latch, FP_LATCH);
	EXPECT(!q.running && !strstr(q.log, "cont "));
	EXPECT_EQ(RESUME(), 0);
	EXPECT(q.running);
	EXPECT_EQ(RESUME(), 0);
	vm->ops->close(vm);
	vm = NULL;
	turns(5);
	EXPECT(!strstr(q.log, "quit"));
	end();
}

TEST(target_refuses)
{
	make_image();
	begin(false);
	EXPECT_EQ(OPEN(), 0);
	EXPECT(BEGIN(true) < 0);
	SAYS("-incoming defer");
	end();
	begin(true);
	strcpy(q.migration, "failed");
	EXPECT_EQ(OPEN(), 0);
	EXPECT(BEGIN(true) < 0);
	SAYS("start a new one");
	end();
	begin(true); /* a stream that it cannot load, in its own words */
	snprintf(q.error_desc, sizeof(q.error_desc), "Size mismatch: mem0: 1 != 2");
	EXPECT_EQ(OPEN(), 0);
	EXPECT_EQ(BEGIN(true), 0);
	EXPECT_EQ(give("garbage", 7), 7);
	turns(3);
	EXPECT_EQ(give("more", 4), -EIO);
	SAYS("Size mismatch");
	EXPECT_EQ(ARRIVE(), -EIO);
	SAYS("Size mismatch");
	end();
	begin(true); /* another place in the guest's PCI */
	q.pci.devfn = 5 << 3;
	in_to();
	EXPECT_EQ(ARRIVE(), -EINVAL);
	SAYS("00:04.0 at the source and is at 00:05.0");
	end();
	begin(true); /* another function */
	q.pci.cfg[0] ^= 1;
	in_to();
	EXPECT_EQ(ARRIVE(), -EINVAL);
	SAYS("another one");
	end();
	begin(true); /* one that does not take its table's enable */
	q.pci.drop_at = FP_MSIX + 3;
	in_to();
	EXPECT_EQ(ARRIVE(), -EINVAL);
	SAYS("MSI-X control");
	EXPECT_EQ(vm->ops->resume(vm, &err), -ESTALE);
	end();
	begin(true);
	in_to();
	image[image_len / 2] ^= 1;
	EXPECT_EQ(ARRIVE(), -EPROTO);
	SAYS("checksum");
	end();
	make_image();
	begin(true); /* somebody runs it before its time */
	in_to();
	turns(5);
	fq_run(&q, true, "running");
	EXPECT_EQ(ARRIVE(), -ESTALE);
	SAYS("runs already");
	end();
}

/* Half a guest is ended when we let go of it, though nobody waits for that. */
TEST(half_a_guest_is_ended)
{
	for (int step = 0; step < 3; step++) {
		make_image();
		begin(true);
		EXPECT_EQ(OPEN(), 0);
		EXPECT_EQ(BEGIN(true), 0);
		if (step > 0)
			EXPECT_EQ(give("", 0), 0);
		if (step > 1)
			EXPECT_EQ(ARRIVE(), 0);
		vm->ops->close(vm);
		vm = NULL;
		turns(5);
		EXPECT(q.ended && commands("migrate-incoming quit"));
		end();
	}
	begin(true); /* one that began nothing is left */
	EXPECT_EQ(OPEN(), 0);
	vm->ops->close(vm);
	vm = NULL;
	turns(5);
	EXPECT(!q.ended);
	end();
}

TEST(target_fails_anywhere)
{
	static const char *const names[] = { "query-status", "query-migrate", "query-migrate-capabilities", "stop", "migrate-set-capabilities",
					     "migrate-set-parameters", "getfd", "migrate-incoming", "query-pci", "cont" };

	make_image();
	for (size_t i = 0; i < ARRAY_LEN(names) * 2; i++) {
		bool failed;

		begin(true);
		vm_qemu_patience(vm, 30000000);
		EXPECT_EQ(OPEN(), 0);
		*(i % 2 ? &q.mute : &q.refuse) = names[i / 2];
		failed = BEGIN(true) || give("x", 1) < 0 || give("", 0) < 0 || ARRIVE() || RESUME();
		EXPECT(failed);
		SAYS(names[i / 2]);
		EXPECT(!q.running);
		q.mute = q.refuse = NULL;
		end();
	}
}

TEST(arrives_paused)
{
	begin(false);
	q.running = false;
	strcpy(q.status, "paused");
	fp_busy(&q.pci);
	out_to(3);
	end();
	begin(true);
	in_to();
	EXPECT_EQ(ARRIVE(), 0);
	EXPECT_EQ(RESUME(), 0);
	EXPECT_EQ(RESUME(), 0);
	EXPECT(!q.running);
	end();
}

TEST(long_paths)
{
	char path[300];

	memset(path, 'a', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	path[0] = '/';
	EXPECT(!vm_qemu_new(path, "/x", &err));
	SAYS("the path of a socket");
	path[105] = '\0'; /* QMP fits, .qtest does not */
	vm = vm_qemu_new(path, "/x", &err);
	EXPECT(!vm || OPEN() < 0);
	if (vm)
		vm->ops->close(vm);
}
