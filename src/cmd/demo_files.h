/* The files of the demo: a tree of real ones to put into an image, and the comparison afterwards. */
#ifndef FERRY_CMD_DEMO_FILES_H
#define FERRY_CMD_DEMO_FILES_H

#include "base/bytes.h"
#include "base/err.h"

struct demo_file { char *path; uint64_t bytes; uint64_t sum[2]; };	/* path relative to the tree; XXH3, 128 bits */
struct demo_files { struct demo_file *file; size_t count, cap; uint64_t bytes; };

enum { DEMO_FILES_MIN = 5000, DEMO_BYTES_MIN = 200 << 20 };

/* Copies a selection of regular files below `from` (in sorted order: the same machine gives the same tree) to `to`, and sums them. */
int demo_files_copy(struct demo_files *, const char *from, const char *to, struct err *);
/* One file more: copies from/path to to/path and puts it on the list. 0; 1 not readable, nothing happened; -errno. */
int demo_files_add(struct demo_files *, const char *from, const char *to, const char *path);
/* Every file of the list, below `in`, has the same size and sum; 0 or -EBADMSG and the first that differs. */
int demo_files_compare(const struct demo_files *, const char *in, struct err *);
void demo_files_fini(struct demo_files *);
int demo_remove_tree(const char *path);

#endif
