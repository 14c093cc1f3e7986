/* Child processes. See proc.h. Used by `ferry demo`, and by `ferry serve` to start a VM. */
#include "cmd/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void child(const char *log, char *const argv[], pid_t parent)
{
	sigset_t none;
	int fd = log ? open(log, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127); /* the parent died before prctl */
	setpgid(0, 0); /* Ctrl-C is for the parent, who stops us in order */
	if (fd >= 0) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	execvp(argv[0], argv);
	dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

int proc_start(struct proc *p, const char *name, const char *log, char *const argv[], struct err *err)
{
	pid_t parent = getpid();

	*p = (struct proc){ 0 };
	snprintf(p->name, sizeof(p->name), "%s", name);
	fflush(NULL);
	p->pid = fork();
	if (p->pid < 0) {
		p->pid = 0;
		return err_set(err, -errno, "cannot start %s: %s", name, strerror(errno));
	}
	if (!p->pid)
		child(log, argv, parent);
	return 0;
}

bool proc_running(struct proc *p)
{
	if (!p->pid || p->ended)
		return false;
	p->ended = waitpid(p->pid, &p->status, WNOHANG) != 0;
	return !p->ended;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int proc_wait(struct proc *p, unsigned limit_ms, struct err *err)
{
	uint64_t until = now_ms() + limit_ms;

	while (proc_running(p)) {
		if (now_ms() > until)
			return err_set(err, -ETIMEDOUT, "%s did not end within %u s", p->name, limit_ms / 1000);
		usleep(5000);
	}
	if (WIFEXITED(p->status) && !WEXITSTATUS(p->status))
		return 0;
	return err_set(err, -ECHILD, "%s ended with %s %d", p->name, WIFEXITED(p->status) ? "exit code" : "signal",
		       WIFEXITED(p->status) ? WEXITSTATUS(p->status) : WTERMSIG(p->status));
}

void proc_stop(struct proc *p)
{
	if (!proc_running(p))
		return;
	kill(p->pid, SIGTERM);
	if (proc_wait(p, 20000, NULL) != -ETIMEDOUT)
		return;
	kill(p->pid, SIGKILL);
	proc_wait(p, 20000, NULL);
}

int proc_run(const char *log, unsigned limit_ms, char *const argv[], struct err *err)
{
	struct proc p;
	int rc = proc_start(&p, argv[0], log, argv, err);

	if (!rc)
		rc = proc_wait(&p, limit_ms, err);
	proc_stop(&p);
	return rc;
}

/* posix_spawn, not fork: a server may have terabytes mapped. */
int proc_release(char *const argv[], struct err *err)
{
	extern char **environ;
	posix_spawnattr_t a;
	sigset_t none, dflt;
	pid_t pid;
	int rc;

	sigemptyset(&none);
	sigemptyset(&dflt);
	sigaddset(&dflt, SIGCHLD);
	sigaddset(&dflt, SIGPIPE);
	posix_spawnattr_init(&a);
	posix_spawnattr_setsigmask(&a, &none);
	posix_spawnattr_setsigdefault(&a, &dflt);
	posix_spawnattr_setflags(&a, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawnp(&pid, argv[0], NULL, &a, argv, environ);
	posix_spawnattr_destroy(&a);
	return rc ? err_set(err, -rc, "cannot start %s: %s", argv[0], strerror(rc)) : 0;
}
