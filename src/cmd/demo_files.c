/* Real files for the demo. See demo_files.h. */
#include "cmd/demo_files.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { CHUNK = 1 << 20, SMALL = 32 << 10, LARGE = 4 << 20, PATH_CAP = 1024 };

static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }

/* Copies (to < 0: only reads) and sums. 0 or -errno. */
static int pump(int from, int to, struct demo_file *f, uint8_t *buf)
{
	XXH3_state_t *x = XXH3_createState();
	XXH128_hash_t h;
	ssize_t n;
	int rc = x ? 0 : -ENOMEM;

	f->bytes = 0;
	if (x)
		XXH3_128bits_reset(x);
	while (!rc && (n = read(from, buf, CHUNK)) != 0) {
		ssize_t put = n < 0 ? -1 : to >= 0 ? write(to, buf, (size_t)n) : n;

		if (put != n || put < 0) {
			rc = put < 0 ? -errno : -ENOSPC; /* a file takes less than all only when there is no more room */
			break;
		}
		XXH3_128bits_update(x, buf, (size_t)n);
		f->bytes += (uint64_t)n;
	}
	h = rc ? (XXH128_hash_t){ 0 } : XXH3_128bits_digest(x);
	f->sum[0] = h.low64;
	f->sum[1] = h.high64;
	XXH3_freeState(x);
	return rc;
}

static struct demo_file *list_add(struct demo_files *l, const char *path)
{
	if (l->count == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 1024;
		void *p = realloc(l->file, cap * sizeof(*l->file));

		if (!p)
			return NULL;
		l->file = p;
		l->cap = cap;
	}
	l->file[l->count] = (struct demo_file){ .path = strdup(path) };
	return l->file[l->count].path ? &l->file[l->count++] : NULL;
}

static int make_parents(char *path)
{
	for (char *s = strchr(path + 1, '/'); s; s = strchr(s + 1, '/')) {
		*s = '\0';
		int bad = mkdir(path, 0755) && errno != EEXIST;
		*s = '/';
		if (bad)
			return -errno;
	}
	return 0;
}

static int copy_one(struct demo_files *l, const char *src, const char *to, const char *rel, uint8_t *buf)
{
	char dst[PATH_CAP];
	int in, out, rc;

	if ((size_t)snprintf(dst, sizeof(dst), "%s/%s", to, rel) >= sizeof(dst))
		return -ENAMETOOLONG;
	rc = make_parents(dst);
	in = rc ? -1 : open(src, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (in < 0)
		return rc ? rc : 1; /* unreadable: another one will do */
	out = open(dst, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	struct demo_file *f = out >= 0 ? list_add(l, rel) : NULL;
	rc = out < 0 ? -errno : f ? pump(in, out, f, buf) : -ENOMEM;
	if (!rc)
		l->bytes += f->bytes;
	close(in);
	if (out >= 0)
		close(out);
	return rc;
}

int demo_files_add(struct demo_files *l, const char *from, const char *to, const char *path)
{
	uint8_t *buf = malloc(CHUNK);
	char src[PATH_CAP];
	int rc = -ENAMETOOLONG;

	if (buf && (size_t)snprintf(src, sizeof(src), "%s/%s", from, path) < sizeof(src))
		rc = copy_one(l, src, to, path, buf);
	free(buf);
	return rc;
}

/* Small files for the count, larger ones for the bytes, and no more than needed. */
static bool wanted(const struct demo_files *l, const FTSENT *e)
{
	uint64_t n = (uint64_t)e->fts_statp->st_size;

	if (e->fts_info != FTS_F || !n || n > LARGE || strpbrk(e->fts_path, "\"\\\n") || strlen(e->fts_path) > PATH_CAP / 2)
		return false;
	return n <= SMALL ? l->count < DEMO_FILES_MIN + 200 : l->bytes < DEMO_BYTES_MIN + (8 << 20);
}

int demo_files_copy(struct demo_files *l, const char *from, const char *to, struct err *err)
{
	char *roots[] = { (char *)from, NULL };
	uint8_t *buf = malloc(CHUNK);
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, by_name);
	FTSENT *e;
	int rc = buf && fts ? 0 : -ENOMEM;

	*l = (struct demo_files){ 0 };
	while (rc >= 0 && (l->count < DEMO_FILES_MIN || l->bytes < DEMO_BYTES_MIN) && (e = fts_read(fts)))
		if (wanted(l, e))
			rc = copy_one(l, e->fts_path, to, e->fts_path + strlen(from) + 1, buf);
	if (fts)
		fts_close(fts);
	free(buf);
	if (rc < 0)
		return err_set(err, rc, "cannot copy files from %s to %s: %s", from, to, strerror(-rc));
	if (l->count < DEMO_FILES_MIN || l->bytes < DEMO_BYTES_MIN)
		return err_set(err, -ENOENT, "%s has only %zu files of %llu MiB that fit the demo", from, l->count,
			       (unsigned long long)(l->bytes >> 20));
	return 0;
}

int demo_files_compare(const struct demo_files *l, const char *in, struct err *err)
{
	uint8_t *buf = malloc(CHUNK);
	int rc = buf ? 0 : err_set(err, -ENOMEM, "no memory");

	for (size_t i = 0; !rc && i < l->count; i++) {
		struct demo_file got = { 0 };
		char path[PATH_CAP];
		int fd;

		snprintf(path, sizeof(path), "%s/%s", in, l->file[i].path);
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || pump(fd, -1, &got, buf))
			rc = err_set(err, -EBADMSG, "%s cannot be read back: %s", l->file[i].path, strerror(errno));
		else if (got.bytes != l->file[i].bytes || got.sum[0] != l->file[i].sum[0] || got.sum[1] != l->file[i].sum[1])
			rc = err_set(err, -EBADMSG, "%s came back different", l->file[i].path);
		if (fd >= 0)
			close(fd);
	}
	free(buf);
	return rc;
}

void demo_files_fini(struct demo_files *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->file[i].path);
	free(l->file);
	*l = (struct demo_files){ 0 };
}

int demo_remove_tree(const char *path)
{
	char *roots[] = { (char *)path, NULL };
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	FTSENT *e;
	int rc = 0;

	while (fts && (e = fts_read(fts))) {
		if (e->fts_info == FTS_D)
			continue;
		if (remove(e->fts_accpath) && errno != ENOENT)
			rc = -errno;
	}
	if (fts)
		fts_close(fts);
	return rc;
}
