/* Buckets of failures in the store: a row per signature (signature.h), with when it was first and last seen, how often, and the seed that
 * needs the fewest commands. Used by store.c inside its transaction, and by whoever prints them.
 */
#ifndef FERRY_VERIFY_STORE_BUCKET_H
#define FERRY_VERIFY_STORE_BUCKET_H

#include <sqlite3.h>
#include <stdint.h>

#include "base/err.h"
#include "verify/signature.h"

extern const char bucket_schema[];
/* Now once more. 0 or SQLite's code. */
int bucket_put(sqlite3 *, const char *sig, uint64_t seed, uint64_t commands, const char *why);

struct bucket { char sig[SIG_MAX], why[300], first_seen[24], last_seen[24]; uint64_t count, seed, commands; };
/* A failure that no run lived to write down. 0 or -errno with a sentence. */
int store_failure(const char *path, const char *sig, uint64_t seed, const char *why, struct err *);
/* Calls each() for every bucket, most frequent first. Number of them, or -errno with a sentence. */
int store_buckets(const char *path, void (*each)(void *ctx, const struct bucket *), void *ctx, struct err *);

#endif
