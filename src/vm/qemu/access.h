/* What is done to a stopped guest's ports and physical memory, as a list: made by pci_image.c, carried out by qtest.c (or by a test).
 *
 * In order, all in one go: one round trip, however many there are.
 */
#ifndef FERRY_VM_QEMU_ACCESS_H
#define FERRY_VM_QEMU_ACCESS_H

#include "base/bytes.h"
#include "base/check.h"

enum access_op { ACCESS_INL, ACCESS_OUTB, ACCESS_OUTW, ACCESS_OUTL, ACCESS_READ, ACCESS_WRITE };
enum { ACCESS_MAX = 320, ACCESS_BYTES_MAX = 32 * 1024 };

struct access {
	enum access_op op;
	uint32_t value;		/* OUTx: in; INL: the answer */
	uint64_t at;		/* port or physical address */
	uint32_t bytes;		/* READ, WRITE: 1 to ACCESS_BYTES_MAX */
	uint8_t *data;		/* of the list's maker: WRITE from, READ to here */
};

struct access_list {
	unsigned n;
	struct access a[ACCESS_MAX];
};

static inline struct access *access_add(struct access_list *l, enum access_op op, uint64_t at, uint32_t value)
{
	struct access *a = &l->a[l->n++];

	CHECK(l->n <= ACCESS_MAX);
	*a = (struct access){ .op = op, .at = at, .value = value };
	return a;
}

#endif
