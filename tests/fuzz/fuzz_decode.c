/* libFuzzer: bytes as each kind of thing that `ferry decode` reads, and as a record that is exported in each format.
 *
 * Built with -Dfuzz=true and clang. First byte: which kind. A crash or a sanitizer's word is a find.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "verify/decode.h"
#include "verify/export.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void exports(const uint8_t *data, size_t size, FILE *sink)
{
	int fd = memfd_create("record", MFD_CLOEXEC);
	char path[64];
	struct err err;

	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (const struct export_format *f = export_formats; f->name; f++)
		if (f->write)
			f->write(path, sink, &err);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *sink;
	struct err err;

	if (!sink)
		sink = fopen("/dev/null", "w");
	CHECK(sink);
	if (!size)
		return 0;
	if (data[0] % (DECODE_COUNT + 1) == DECODE_COUNT || data[0] == '{')
		exports(data[0] == '{' ? data : data + 1, data[0] == '{' ? size : size - 1, sink);
	else
		decode_bytes(data[0] % DECODE_COUNT, data + 1, size - 1, sink, &err);
	return 0;
}
