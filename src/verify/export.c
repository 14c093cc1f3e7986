/* The exports' common part: which there are, opening and closing. Called by `ferry verify export`. */
#include "verify/export.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

const struct export_format export_formats[] = {
	{ "log", "text for people", export_log },
	{ "perfetto", "native track events for ui.perfetto.dev", export_perfetto },
	{ "vcd", "waveforms for gtkwave", export_vcd },
	{ "pcapng", "packets for wireshark (tools/vfio-user.lua)", export_pcapng },
	{ "sqlite", "tables run, txn, txn_link", NULL },
	{ NULL, NULL, NULL }
};

static FILE *open_new(const char *path, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0) {
		err_set(err, -errno, "export: cannot make %s: %s", path, strerror(errno));
		return NULL;
	}
	return fdopen(fd, "w");
}

int export_record(const char *format, const char *record, const char *out, struct err *err)
{
	const struct export_format *f = export_formats;
	bool to_stdout = !strcmp(out, "-");
	FILE *file;
	int rc;

	while (f->name && strcmp(f->name, format))
		f++;
	if (!f->name)
		return err_set(err, -EINVAL, "export: no format is called %s", format);
	if (!f->write)
		return to_stdout ? err_set(err, -EINVAL, "export: %s needs a file", format) : rec_sqlite(record, out, err);
	file = to_stdout ? stdout : open_new(out, err);
	if (!file)
		return -EIO;
	rc = f->write(record, file, err);
	if (fflush(file) || ferror(file))
		rc = rc ? rc : err_set(err, -EIO, "export: cannot write %s", out);
	if (!to_stdout) {
		fclose(file);
		if (rc)
			unlink(out); /* half an export looks like a whole one */
	}
	return rc;
}
