/* A host's controller data queue, in a guest that has the migration management controller: cdq DEVICE CNTLID
 *
 * nvme-cli gives memory to `lm create-cdq` that is gone when the command ends, and so would the controller's entries be; this keeps
 * it. Creates a queue of one page for the changes of CNTLID, prints "id N", then each entry as it comes, in hexadecimal, until it is killed.
 * Entries stay where they are: nobody moves the head but who says so with `nvme lm set-cdq`.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BYTES = 4096, SLOT = 32, CREATE = 0x45 };

int main(int argc, char **argv)
{
	int fd = argc == 3 ? open(argv[1], O_RDWR) : -1;
	uint8_t *q = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (fd < 0 || q == MAP_FAILED || mlock(q, BYTES))
		return 2;
	memset(q, 0, BYTES);
	struct nvme_admin_cmd c = { .opcode = CREATE, .addr = (uintptr_t)q, .data_len = BYTES,
				    .cdw11 = (uint32_t)atoi(argv[2]) << 16 | 1, .cdw12 = BYTES / 4 };
	int rc = ioctl(fd, NVME_IOCTL_ADMIN_CMD, &c);
	if (rc) {
		printf("status %#x errno %d\n", rc, rc < 0 ? errno : 0);
		return 1;
	}
	printf("id %u\n", c.result & 0xffff);
	fflush(stdout);
	/* The phase bit (lowest of the last byte) is 1 on the first round, and more than one round is not looked at. */
	for (unsigned i = 0; i < BYTES / SLOT;) {
		const volatile uint8_t *e = q + (size_t)i * SLOT;

		if (!(e[SLOT - 1] & 1)) {
			usleep(10000);
			continue;
		}
		printf("%u ", i++);
		for (unsigned b = 0; b < SLOT; b++)
			printf("%02x", e[b]);
		printf("\n");
		fflush(stdout);
	}
	pause();
	return 0;
}
