/* See vm_none.h. Every operation succeeds at once, because there is nothing to wait for. */
#include "cmd/vm_none.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int none_open(struct vm *vm, struct vm_info *info, struct err *err)
{
	(void)vm, (void)err;
	*info = (struct vm_info){ .kind = "none" };
	return 0;
}
static void *none_mem(struct vm *vm, uint64_t gpa, uint64_t len)
{
	(void)vm, (void)gpa, (void)len;
	return NULL;
}
static int none_track(struct vm *vm, bool on)
{
	(void)vm, (void)on;
	return 0;
}
static int none_dirty_next(struct vm *vm, uint64_t *cursor, uint64_t *gpa, uint64_t *bytes)
{
	(void)vm, (void)cursor, (void)gpa, (void)bytes;
	return -ENOENT;
}
static int none_ok(struct vm *vm, struct err *err)
{
	(void)vm, (void)err;
	return 0;
}
static int none_discard(struct vm *vm)
{
	(void)vm;
	return 0;
}
static void none_close(struct vm *vm) { free(vm); }

struct vm *vm_none_new(void)
{
	static const struct vm_ops ops = { none_open, none_mem, none_track, none_dirty_next, none_ok, none_ok, none_discard,
					   none_ok, none_close };
	struct vm *vm = malloc(sizeof(*vm));

	if (vm)
		vm->ops = &ops;
	return vm;
}
