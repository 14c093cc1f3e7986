/* A guest in a process of its own, its controller behind vfio-user in another, and the manager's handle on it. The test is what
 * the manager is: pause, copy memory and state, resume. Hostile guests: gone, lying about sizes, unsealed. Nothing waits without a bound.
 */
#include "rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "env/linux/loop.h"
#include "transport/vuser_server.h"
#include "vm/embedded/guest_in.h"
#include "vm/embedded/process.h"
#include "vm/embedded/vm_embedded.h"

enum { MEM = 16 << 20, SPINS_MAX = 20000 };

struct dirs { char dir[64], dev[96], ctl[96]; pid_t serve, guest; struct vm *vm; struct err err; atomic_uint *rests; /* see serve() */ };

static void pause_ms(void) { nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL); }

/* ---- the two processes */

static int serve(const struct dirs *d)
{
	struct err err;
	RIG(r, .disabled = true, .blocks = 32768);
	struct vuser_server *s = vuser_server_new(NULL, nvme_ctrl_device(r.mc), &(struct vuser_server_cfg){ .path = d->dev }, &err);

	for (unsigned idle = 0; s && getppid() != 1;) {
		bool busy = vuser_server_poll(s);

		busy |= rig_poll(&r);

		r.now += 1000;
		idle = busy ? 0 : idle + 1;
		if (idle <= 1000)
			continue;
		atomic_fetch_add(d->rests, 1);
		pause_ms();
	}
	return 1;
}

/* Whatever the device had to do before the call is done: since then it has looked at everything a hundred times and found nothing. */
static bool at_rest(const struct dirs *d)
{
	unsigned from = atomic_load(d->rests);

	for (int i = 0; i < SPINS_MAX; i++, pause_ms())
		if (atomic_load(d->rests) - from > 100)
			return true;
	return false;
}

static int be_guest(const struct dirs *d, bool incoming)
{
	struct err err = { "" };
	struct loop *l = loop_new(&err);
	struct guest_process_cfg cfg = { .device = d->dev, .control = d->ctl, .mem_bytes = MEM, .incoming = incoming,
					 .env = env_linux_new(l, NULL, &err),
					 .guest = { .area_bytes = 12 * MIB, .area_zeroed = 1, .queues = 2 } };
	int rc = guest_process_run(&cfg, NULL, &err);

	if (rc)
		fprintf(stderr, "guest: %s\n", err.text);
	return rc ? 1 : 0;
}

static bool wait_for(const char *path)
{
	for (int i = 0; i < SPINS_MAX; i++, pause_ms())
		if (!access(path, F_OK))
			return true;
	return false;
}

static pid_t start_guest(struct dirs *d, bool incoming)
{
	pid_t p = fork();

	if (!p)
		_exit(be_guest(d, incoming));
	EXPECT(wait_for(d->ctl));
	return p;
}

static void open_dirs(struct dirs *d)
{
	memset(d, 0, sizeof(*d));
	strcpy(d->dir, "/tmp/ferry-guest-XXXXXX");
	EXPECT(mkdtemp(d->dir));
	snprintf(d->dev, sizeof(d->dev), "%s/dev", d->dir);
	snprintf(d->ctl, sizeof(d->ctl), "%s/ctl", d->dir);
}

static void open_both(struct dirs *d)
{
	open_dirs(d);
	d->rests = mmap(NULL, sizeof(*d->rests), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	EXPECT(d->rests != MAP_FAILED);
	d->serve = fork();
	if (!d->serve)
		_exit(serve(d));
	EXPECT(wait_for(d->dev));
	d->guest = start_guest(d, false);
	d->vm = vm_embedded_new(d->ctl, &d->err);
}

static void end(pid_t p)
{
	if (p > 0) {
		kill(p, SIGKILL);
		waitpid(p, NULL, 0);
	}
}

static void close_dirs(struct dirs *d)
{
	if (d->vm)
		d->vm->ops->close(d->vm);
	end(d->guest);
	end(d->serve);
	if (d->rests)
		munmap(d->rests, sizeof(*d->rests));
	unlink(d->dev);
	unlink(d->ctl);
	rmdir(d->dir);
}

#define BOTH(d) struct dirs d __attribute__((cleanup(close_dirs))); open_both(&d)
#define DIRS(d) struct dirs d __attribute__((cleanup(close_dirs))); open_dirs(&d)

/* ---- the manager's side */

#define UNTIL(expr)                                                                      \
	({                                                                               \
		int rc_ = -EAGAIN;                                                       \
		for (int i_ = 0; i_ < SPINS_MAX && (rc_ = (expr)) == -EAGAIN; i_++)      \
			pause_ms();                                                      \
		rc_;                                                                     \
	})

/* Its socket has a name before it takes calls. */
static int open_vm(struct vm *vm, struct vm_info *info, struct err *err)
{
	int rc = vm->ops->open(vm, info, err);

	return rc == -ECONNREFUSED ? -EAGAIN : rc;
}

static struct guest_stats stats(struct vm *vm, uint32_t *is)
{
	struct guest_stats s;

	EXPECT_EQ(UNTIL(vm_embedded_stats(vm, &s, is)), 0);
	return s;
}

static bool runs(struct vm *vm, uint64_t more)
{
	uint32_t is;
	uint64_t start = stats(vm, &is).bytes_written;

	for (int i = 0; i < SPINS_MAX; i++, pause_ms())
		if (stats(vm, &is).bytes_written >= start + more)
			return true;
	return false;
}

TEST(boots_pauses_resumes)
{
	BOTH(d);
	struct vm_info info;
	struct err err = { "" };
	uint8_t *frozen = malloc(MEM);
	uint32_t is;

	EXPECT_EQ(UNTIL(open_vm(d.vm, &info, &err)), 0);
	EXPECT_STR(info.kind, "embedded");
	EXPECT(info.moves_memory && info.ranges == 1 && info.range[0].gpa == 0 && info.range[0].bytes == MEM);
	EXPECT(runs(d.vm, 4 << 20));
	EXPECT_EQ(UNTIL(d.vm->ops->pause(d.vm, &err)), 0);
	/* Nothing its processor owns changes any more: the first page holds its driver and counters. */
	memcpy(frozen, d.vm->ops->mem(d.vm, 0, MEM), MEM);
	for (int i = 0; i < 20; i++)
		pause_ms();
	EXPECT_MEM(frozen, d.vm->ops->mem(d.vm, 0, MEM), sizeof(struct guest));
	EXPECT_EQ(d.vm->ops->pause(d.vm, &err), 0); /* again: harmless */
	EXPECT_EQ(UNTIL(d.vm->ops->resume(d.vm, &err)), 0);
	EXPECT(runs(d.vm, 4 << 20));
	EXPECT_EQ(guest_violations(&(struct guest_stats){ 0 }), 0);
	struct guest_stats s = stats(d.vm, &is);
	EXPECT_EQ(guest_violations(&s), 0);
	EXPECT_EQ(d.vm->ops->alive(d.vm, &err), 0);
	free(frozen);
}

/* What the manager copies by dirty runs equals the memory once it stands still (parts the device writes excepted: Track Receive's). */
TEST(dirty_runs_are_complete)
{
	BOTH(d);
	struct vm_info info;
	struct err err = { "" };
	uint8_t *copy = malloc(MEM), *mem;
	struct guest *g;
	uint64_t at, gpa, len;

	EXPECT_EQ(UNTIL(open_vm(d.vm, &info, &err)), 0);
	EXPECT(runs(d.vm, 1 << 20));
	mem = d.vm->ops->mem(d.vm, 0, MEM);
	EXPECT_EQ(d.vm->ops->track(d.vm, true), 0);
	memcpy(copy, mem, MEM);
	for (int round = 0; round < 50; round++) {
		if (round == 49)
			EXPECT_EQ(UNTIL(d.vm->ops->pause(d.vm, &err)), 0);
		for (at = 0; !d.vm->ops->dirty_next(d.vm, &at, &gpa, &len);) {
			EXPECT(range_inside(gpa, len, MEM));
			memcpy(copy + gpa, mem + gpa, len);
		}
		pause_ms();
	}
	g = (struct guest *)(void *)mem;
	EXPECT_MEM(copy, mem, g->admin_off);
	EXPECT_MEM(copy + g->ballast_gen_off, mem + g->ballast_gen_off, MEM - g->ballast_gen_off);
	free(copy);
}

/* Design: the guest is moved by copying its memory into a waiting process, which takes the controller over. */
TEST(goes_on_in_another_process)
{
	BOTH(d);
	struct vm_info info;
	struct err err = { "" };
	uint8_t *image = malloc(MEM);
	uint32_t is;
	int status;

	EXPECT_EQ(UNTIL(open_vm(d.vm, &info, &err)), 0);
	EXPECT(runs(d.vm, 4 << 20));
	EXPECT_EQ(UNTIL(d.vm->ops->pause(d.vm, &err)), 0);
	EXPECT(at_rest(&d)); /* the device has finished what was out */
	memcpy(image, d.vm->ops->mem(d.vm, 0, MEM), MEM);
	EXPECT_EQ(d.vm->ops->discard(d.vm), 0);
	EXPECT_EQ(waitpid(d.guest, &status, 0), d.guest);
	EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	EXPECT_EQ(d.vm->ops->alive(d.vm, &err), -ENODEV);
	EXPECT(err.text[0]);
	d.vm->ops->close(d.vm);
	d.guest = start_guest(&d, true);
	d.vm = vm_embedded_new(d.ctl, &err);
	EXPECT_EQ(UNTIL(open_vm(d.vm, &info, &err)), 0);
	EXPECT_EQ(d.vm->ops->pause(d.vm, &err), 0); /* it stands still already */
	memcpy(d.vm->ops->mem(d.vm, 0, MEM), image, MEM);
	EXPECT_EQ(UNTIL(d.vm->ops->resume(d.vm, &err)), 0);
	EXPECT(runs(d.vm, 4 << 20));
	struct guest_stats s = stats(d.vm, &is);
	EXPECT_EQ(guest_violations(&s), 0);
	EXPECT_EQ(s.resets, 0); /* in the middle of its queues, not from the start */
	free(image);
}

/* Memory that is no guest is refused with a sentence, not run. */
TEST(garbage_is_not_run)
{
	BOTH(d);
	struct vm_info info;
	struct err err = { "" };
	int rc = -EAGAIN;

	end(d.guest);
	unlink(d.ctl);
	d.guest = start_guest(&d, true);
	EXPECT_EQ(UNTIL(open_vm(d.vm, &info, &err)), 0);
	memset(d.vm->ops->mem(d.vm, 0, 65536), 0x41, 65536);
	for (int i = 0; i < SPINS_MAX && (rc == -EAGAIN || rc == 0); i++, pause_ms())
		rc = d.vm->ops->resume(d.vm, &err);
	EXPECT_EQ(rc, -EIO);
	EXPECT(strstr(err.text, "does not hold a guest"));
}

/* ---- hostile processes */

TEST(dies_any_time)
{
	BOTH(d);
	struct vm_info info;
	struct err err = { "" };
	uint64_t at = 0, gpa, len;

	EXPECT_EQ(UNTIL(open_vm(d.vm, &info, &err)), 0);
	kill(d.guest, SIGKILL);
	waitpid(d.guest, NULL, 0);
	d.guest = 0;
	EXPECT_EQ(d.vm->ops->alive(d.vm, &err), -ENODEV);
	EXPECT(strstr(err.text, "gone"));
	EXPECT_EQ(d.vm->ops->pause(d.vm, &err), -ENODEV);
	EXPECT_EQ(d.vm->ops->resume(d.vm, &err), -ENODEV);
	while (!d.vm->ops->dirty_next(d.vm, &at, &gpa, &len))
		; /* its memory is still readable */
	EXPECT(d.vm->ops->mem(d.vm, 0, MEM));
}

TEST(nobody_there)
{
	DIRS(d);
	struct vm_info info;
	struct err err = { "" };

	d.vm = vm_embedded_new(d.ctl, &err);
	EXPECT_EQ(d.vm->ops->open(d.vm, &info, &err), -ENOENT);
	EXPECT(err.text[0]);
	EXPECT_EQ(d.vm->ops->pause(d.vm, &err), -ENODEV);
	EXPECT_EQ(d.vm->ops->track(d.vm, true), -ENODEV);
	EXPECT(!d.vm->ops->mem(d.vm, 0, 4096));
}

/* A listener of our own that says whatever the case wants. */
static int open_liar(struct dirs *d, struct guest_hello hello, size_t len, uint64_t mem, uint64_t ctl, bool seal, unsigned nfds)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int l = socket(AF_UNIX, SOCK_STREAM, 0), s, fds[2], rc = -EAGAIN;
	union { struct cmsghdr c; char b[CMSG_SPACE(sizeof(fds))]; } u = { 0 };
	struct iovec v = { &hello, len };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	struct vm_info info;

	strcpy(a.sun_path, d->ctl);
	unlink(d->ctl);
	EXPECT(!bind(l, (struct sockaddr *)&a, sizeof(a)) && !listen(l, 4));
	d->vm = vm_embedded_new(d->ctl, &d->err);
	EXPECT_EQ(d->vm->ops->open(d->vm, &info, &d->err), -EAGAIN); /* it said nothing yet */
	s = accept(l, NULL, NULL);
	for (int i = 0; i < 2; i++) {
		fds[i] = memfd_create("liar", MFD_ALLOW_SEALING);
		EXPECT(!ftruncate(fds[i], (off_t)(i ? ctl : mem)));
		if (seal)
			fcntl(fds[i], F_ADD_SEALS, F_SEAL_SHRINK);
	}
	if (nfds) {
		m.msg_control = u.b;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		u.c.cmsg_level = SOL_SOCKET;
		u.c.cmsg_type = SCM_RIGHTS;
		u.c.cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(&u.c), fds, nfds * sizeof(int));
	}
	if (len)
		EXPECT(sendmsg(s, &m, 0) == (ssize_t)len);
	close(s);
	rc = d->vm->ops->open(d->vm, &info, &d->err);
	d->vm->ops->close(d->vm);
	d->vm = NULL;
	close(fds[0]);
	close(fds[1]);
	close(l);
	return rc;
}

static unsigned fds_open(void)
{
	unsigned n = 0;
	DIR *dir = opendir("/proc/self/fd");

	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

TEST(liars)
{
	DIRS(d);
	struct guest_hello h = { GUEST_CONTROL_MAGIC, GUEST_CONTROL_VERSION, 1 << 20, guest_control_bytes(1 << 20) }, x;
	uint64_t c = h.control_bytes;
	unsigned before = fds_open();

	EXPECT_EQ(open_liar(&d, h, sizeof(h), 1 << 20, c, true, 2), 0);
	EXPECT_EQ(open_liar(&d, h, sizeof(h), 4096, c, true, 2), -EPROTO);		/* memory smaller than told */
	EXPECT_EQ(open_liar(&d, h, sizeof(h), 1 << 20, 4096, true, 2), -EPROTO);
	EXPECT_EQ(open_liar(&d, h, sizeof(h), 1 << 20, c, false, 2), -EPROTO);	/* could be cut off later */
	EXPECT_EQ(open_liar(&d, h, sizeof(h), 1 << 20, c, true, 1), -EPROTO);
	EXPECT_EQ(open_liar(&d, h, sizeof(h), 1 << 20, c, true, 0), -EPROTO);
	EXPECT_EQ(open_liar(&d, h, 7, 1 << 20, c, true, 2), -EPROTO);
	EXPECT_EQ(open_liar(&d, h, 0, 1 << 20, c, true, 2), -EPROTO);		/* hangs up */
	x = h, x.magic++;
	EXPECT_EQ(open_liar(&d, x, sizeof(x), 1 << 20, c, true, 2), -EPROTO);
	x = h, x.mem_bytes = UINT64_MAX & ~4095ull;
	EXPECT_EQ(open_liar(&d, x, sizeof(x), 1 << 20, c, true, 2), -EPROTO);
	x = h, x.control_bytes = 64;
	EXPECT_EQ(open_liar(&d, x, sizeof(x), 1 << 20, c, true, 2), -EPROTO);
	EXPECT_EQ(fds_open(), before); /* nothing that was handed over stays open */
}
