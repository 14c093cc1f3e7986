/* Which names a record may have (env.h): the same for the real and the pretend world. */
#ifndef FERRY_ENV_NAME_H
#define FERRY_ENV_NAME_H

#include "base/bytes.h"

enum { ENV_REC_NAME_MAX = 200 };

static inline bool env_rec_name_ok(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	return n && !s[n] && n <= ENV_REC_NAME_MAX && strcmp(s, ".") && strcmp(s, "..");
}

#endif
