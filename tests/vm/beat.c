/* The guest's heartbeat: beat PORT [EVERY_US] writes "number uptime_ms pid" to PORT, every 2 ms unless told otherwise.
 *
 * Run by tests/vm/init inside the guest, as its most urgent process and locked into memory: what the test sees as a silence is then
 * the guest standing still, not this program waiting for its turn. The test times the beats with its own clock, because the guest's
 * clock stops with the guest. Numbers have no holes: a hole after a move is a beat that was lost with somebody's buffers.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	int fd = open(argv[1], O_WRONLY);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	struct timespec every = { .tv_nsec = 1000L * (argc > 2 ? atol(argv[2]) : 2000) };
	struct sched_param urgent = { .sched_priority = 50 };
	sched_setscheduler(0, SCHED_FIFO, &urgent);
	mlockall(MCL_CURRENT | MCL_FUTURE);
	for (unsigned long n = 0;; n++) {
		struct timespec now;
		char line[64];
		clock_gettime(CLOCK_MONOTONIC, &now);
		int len = snprintf(line, sizeof(line), "%lu %lld %d\n", n,
		                   (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000, (int)getpid());
		for (int done = 0; done < len;) {
			ssize_t w = write(fd, line + done, (size_t)(len - done));
			if (w > 0)
				done += (int)w;
			else
				nanosleep(&every, NULL); /* nobody listens at the moment */
		}
		nanosleep(&every, NULL);
	}
}
