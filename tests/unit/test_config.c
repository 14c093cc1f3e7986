/* The configuration: what is right is understood, what is wrong is refused with file, line and a way out. */
#include "t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/config.h"

static struct config cfg; /* some 30 KiB: not for the stack of a test */
static struct err err;

static int parse(const char *text)
{
	err.text[0] = '\0';
	return config_parse(&cfg, text, strlen(text), "f.ini", &err);
}

#define HEAD "[server]\nrun_dir=/run/f\nstate_dir=/var/f\n"

static void refused(const char *text, const char *part)
{
	EXPECT_EQ(parse(text), -EINVAL);
	if (!strstr(err.text, part))
		fail_msg("'%s' does not say '%s'", err.text, part);
}

TEST(a_whole_configuration)
{
	EXPECT_EQ(parse("; two disks\n[server]\nname=a\nrun_dir=/run/f\nstate_dir=/var/f\nlink=tcp:127.0.0.1:7000\npoll=yes\n"
			"[pool p]\nkind=ram\nmax_bytes=2G\n"
			"[namespace x]\nsize=1G\npath=/d/x\ncreate=yes\nnguid=000102030405060708090a0b0c0d0e0f\n"
			"[namespace y]\nsize=1M\nblock=512\nbackend=ram\ndelay=100us\nerror=5\n"
			"[guest g]\nnamespaces = x, y\ndoorbells=trapped\nqueues=8\nvm=embedded:/run/g.ctl\n"), 0);
	EXPECT_STR(cfg.server.name, "a");
	EXPECT(cfg.server.poll);
	EXPECT_STR(cfg.server.control, "/run/f/control.sock");
	EXPECT_EQ(cfg.pools, 1);
	EXPECT_EQ(cfg.pool[0].kind, CFG_RAM);
	EXPECT_EQ(cfg.pool[0].max_bytes, 2 * GIB);
	EXPECT_EQ(cfg.ns[0].bytes, GIB);
	EXPECT_EQ(cfg.ns[0].block, 4096);
	EXPECT(cfg.ns[0].create && cfg.ns[0].has_nguid && !cfg.ns[0].has_uuid);
	EXPECT_EQ(cfg.ns[0].nguid[15], 0x0f);
	EXPECT_EQ(cfg.ns[1].delay_ns, 100000);
	EXPECT_EQ(cfg.ns[1].error_ppm, 5);
	EXPECT_EQ(cfg.guest[0].ns_count, 2);
	EXPECT_EQ(cfg.guest[0].ns[1], 1);
	EXPECT_EQ(cfg.guest[0].doorbells, CFG_TRAPPED);
	EXPECT_STR(cfg.guest[0].socket, "/run/f/g.sock");
	EXPECT_STR(cfg.guest[0].vm, "/run/g.ctl");
}

/* QEMU's registers come by message and can be posted; doorbells in shared memory would have to be polled. */
TEST(a_qemu_guest)
{
	EXPECT_EQ(parse(HEAD "[namespace x]\nsize=1M\nbackend=ram\n[guest g]\nnamespaces=x\nvm=qemu:/run/g.qmp\n"), 0);
	EXPECT_EQ(cfg.guest[0].vm_kind, CFG_VM_QEMU);
	EXPECT_STR(cfg.guest[0].vm, "/run/g.qmp");
	EXPECT_EQ(cfg.guest[0].doorbells, CFG_TRAPPED);
	EXPECT_EQ(cfg.guest[0].memory, 512 * MIB);
	EXPECT_EQ(cfg.guest[0].cpus, 2);
	EXPECT(cfg.guest[0].touch && !cfg.guest[0].start[0]);
	EXPECT_EQ(parse(HEAD "[guest g]\narrives=yes\nvm=qemu:/run/g.qmp\ndoorbells=mapped\nmemory=1G\ncpus=4\ntouch=no\nstart=sh -c true\n"), 0);
	EXPECT_EQ(cfg.guest[0].doorbells, CFG_MAPPED);
	EXPECT_EQ(cfg.guest[0].memory, GIB);
	EXPECT(!cfg.guest[0].touch);
	EXPECT_STR(cfg.guest[0].start, "sh -c true");
	EXPECT_EQ(parse(HEAD "[guest g]\narrives=yes\nvm=embedded:/run/g.ctl\n"), 0);
	EXPECT_EQ(cfg.guest[0].vm_kind, CFG_VM_EMBEDDED);
	EXPECT_EQ(cfg.guest[0].doorbells, CFG_MAPPED);
	refused(HEAD "[guest g]\narrives=yes\nvm=qemu:g.qmp\n", "qemu:/PATH/OF/QMP/SOCKET");
	refused(HEAD "[guest g]\narrives=yes\nmemory=1000\n", "memory is a multiple of 1M");
	refused(HEAD "[guest g]\narrives=yes\ncpus=0\n", "cpus 1 to 1024");
}

/* A misspelt `create` must not look like a missing one. */
TEST(unknown_keys_and_sections_are_errors_with_their_line)
{
	refused(HEAD "creat=yes\n", "f.ini:4: [server] has no key 'creat'");
	refused(HEAD "[pol p]\nkind=ram\n", "f.ini:5: section [pol p] is unknown");
	refused("name=x\n", "f.ini:1: 'name' stands before any section");
}

TEST(values_are_judged)
{
	refused(HEAD "[namespace x]\nsize=1X\n", "f.ini:5: size=1X is not understood");
	refused(HEAD "[namespace x]\nsize=-1\n", "size=-1 is not understood");
	refused(HEAD "[namespace x]\nsize=99999999999T\n", "is not understood");
	refused(HEAD "[namespace x]\nnguid=0102\n", "nguid=0102 is not understood");
	refused(HEAD "[namespace x]\nsize=1M\nbackend=ram\nblock=1024\n", "block is 512 or 4096");
	refused(HEAD "[namespace x]\nsize=1000\nbackend=ram\n", "multiple of the block size");
	refused(HEAD "[namespace x]\nsize=1M\n", "backend=file needs path=");
	refused(HEAD "[namespace x]\nsize=1M\npath=rel/x\n", "absolute path");
	refused(HEAD "[guest g]\nnamespaces=x\nqueues=65\n[namespace x]\nsize=1M\nbackend=ram\n", "queues is 1 to 64");
	refused(HEAD "link=tls:x\n", "unix:/PATH or tcp:HOST:PORT");
}

TEST(what_belongs_together_is_judged)
{
	refused("[server]\nrun_dir=/r\n", "needs state_dir=");
	refused(HEAD "[guest g]\nnamespaces=x\n", "there is no [namespace x]");
	refused(HEAD "[pool p]\nmax_bytes=1G\n", "kind=file needs dir=");
	/* A namespace moves with its guest, so it cannot belong to two. */
	refused(HEAD "[namespace x]\nsize=1M\nbackend=ram\n[guest g]\nnamespaces=x\n[guest h]\nnamespaces=x\n",
		"belongs to another guest already");
	refused(HEAD "[namespace x]\nsize=1M\nbackend=ram\n[guest g]\nnamespaces=x,x\n", "belongs to another guest already");
}

/* Names become file names and socket names. */
/* None of these did what was written, and none said so. */
TEST(what_would_be_taken_for_something_else)
{
	EXPECT_EQ(parse("[server]\n  run_dir=/run/f\n\tstate_dir=/var/f\n  name=a\n[guest g]\n  arrives=yes\n  machine=pc\n  boot=yes\n"), 0);
	EXPECT_STR(cfg.server.run_dir, "/run/f");
	EXPECT_STR(cfg.guest[0].machine, "pc");
	EXPECT(cfg.guest[0].boot);
	refused(HEAD "name=a\nname=b\n", "f.ini:5: name is given twice for [server]");
	refused(HEAD "[namespace d]\nsize=1M\nbackend=ram\n[namespace e]\nsize=1M\nbackend=ram\n[namespace d]\nsize=2M\n", "f.ini:11: size is given twice");
	refused(HEAD "link=tcp:127.0.0.1\n", "f.ini:4: link=");
	refused(HEAD "link=tcp:127.0.0.1:70000\n", "70000");
	refused(HEAD "[guest g]\narrives=yes\nstart=prepare ; run\n", "begins a comment");
	EXPECT_EQ(parse(HEAD "[guest g]\narrives=yes\nstart=prepare && run; rest\nqueues=2 ; a comment\n"), 0);
	EXPECT_STR(cfg.guest[0].start, "prepare && run; rest");
}

/* Two programs at one socket. */
TEST(sockets_are_apart)
{
	refused(HEAD "[guest control]\narrives=yes\n", "/run/f/control.sock is the socket of both control= and the controller of guest control");
	refused(HEAD "[guest link]\narrives=yes\n", "link=");
	refused(HEAD "[guest a]\narrives=yes\nsocket=/run/x\n[guest b]\narrives=yes\nsocket=/run/x\n", "guest a and the controller of guest b");
	refused(HEAD "[guest a]\narrives=yes\nvm=embedded:/run/x\n[guest b]\narrives=yes\nvm=embedded:/run/x\n", "the VM of guest a");
	refused(HEAD "control=/run/x\nlink=unix:/run/x\n", "control= and link=");
	EXPECT_EQ(parse(HEAD "link=tcp:127.0.0.1:1\n[guest link]\narrives=yes\n[guest b]\narrives=yes\n"), 0);
}

TEST(names_cannot_leave_their_directory)
{
	EXPECT(config_name_ok("a-b_c.1"));
	EXPECT(!config_name_ok(""));
	EXPECT(!config_name_ok(".."));
	EXPECT(!config_name_ok("../x"));
	EXPECT(!config_name_ok("a/b"));
	EXPECT(!config_name_ok("-x"));
	EXPECT(!config_name_ok("01234567890123456789012345678901"));
	refused(HEAD "[guest ../x]\nqueues=1\n", "write [guest NAME]");
}

/* inih takes the rest of an overlong line for another line: it could hold a key. */
TEST(long_lines_and_binary_are_refused)
{
	char text[1024];

	snprintf(text, sizeof(text), HEAD "; %0300d poll=yes\n", 0);
	refused(text, "f.ini:4: the line is longer");
	memcpy(text, HEAD "po\0ll=yes\n", sizeof(HEAD) + 10);
	EXPECT_EQ(config_parse(&cfg, text, sizeof(HEAD) + 9, "f.ini", &err), -EINVAL);
}

TEST(too_many_sections_are_counted)
{
	char *text = calloc(1, 65536);
	size_t n = (size_t)sprintf(text, HEAD);

	for (int i = 0; i <= CFG_NS_MAX; i++)
		n += (size_t)sprintf(text + n, "[namespace n%d]\nsize=1M\nbackend=ram\n", i);
	refused(text, "more than 64 namespace sections");
	free(text);
}
