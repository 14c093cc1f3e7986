/* XXH3 as the machine does it best: where the library offers a choice at run time (AVX2, AVX-512), that one; the sums are the same. */
#ifndef FERRY_MIGRATE_SUM_H
#define FERRY_MIGRATE_SUM_H

#define XXH_STATIC_LINKING_ONLY /* the size of XXH3_state_t, which lives on the stack */

#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#endif
