/* What every backend asks of its geometry. */
#ifndef FERRY_BLOCK_GEOMETRY_H
#define FERRY_BLOCK_GEOMETRY_H

#include <errno.h>

#include "base/bytes.h"
#include "base/err.h"

/* Byte offsets must stay far from the sign bit: they become off_t, and sums of two of them must not wrap. */
static inline int blk_geometry_check(uint32_t block_bytes, uint64_t blocks, struct err *err)
{
	if (block_bytes != 512 && block_bytes != 4096)
		return err_set(err, -EINVAL, "blocks of %u bytes: only 512 and 4096 are supported", block_bytes);
	if (!blocks || blocks > INT64_MAX / 2 / block_bytes)
		return err_set(err, -EINVAL, "%llu blocks of %u bytes is not a size a namespace can have",
			       (unsigned long long)blocks, block_bytes);
	return 0;
}

#endif
