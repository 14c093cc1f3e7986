/* WIRE_STRUCT: a structure from a book, its size and each offset checked by the compiler.
 *
 *   #define NVME_CQE(X, A)  X(0, le32, dw0) X(4, le32, dw1) ...   A(offset, bytes, name) for arrays
 *   WIRE_STRUCT(nvme_cqe, 16, NVME_CQE);
 *
 * The list stays usable for other readers: printers, generators, docs.
 */
#ifndef FERRY_BASE_WIRE_H
#define FERRY_BASE_WIRE_H

#include "base/bytes.h"

#define WIRE_M_X_(off, type, name) type name;
#define WIRE_M_A_(off, len, name) uint8_t name[len];
#define WIRE_C_X_(off, type, name) WIRE_CHECK_(off, name)
#define WIRE_C_A_(off, len, name) WIRE_CHECK_(off, name)
#define WIRE_CHECK_(off, name) _Static_assert(offsetof(wire_self_, name) == (off), "offset of " #name);

/* The typedef inside the checking function gives every list one name for "this struct". */
#define WIRE_STRUCT(tag, size, LIST)                                                   \
	struct tag { LIST(WIRE_M_X_, WIRE_M_A_) };                                      \
	_Static_assert(sizeof(struct tag) == (size), "size of " #tag);                  \
	__attribute__((unused)) static inline void wire_check_##tag(void)               \
	{                                                                               \
		typedef struct tag wire_self_;                                          \
		LIST(WIRE_C_X_, WIRE_C_A_)                                              \
		(void)sizeof(wire_self_);                                               \
	}                                                                               \
	struct tag

#endif
