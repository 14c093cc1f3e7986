/* A long job written straight down the page, though it may have to wait at any line.
 *
 * The function is called again and again; each call goes on behind the wait it stopped at. Local variables
 * do not survive a wait: keep what must last beside the step. One wait per source line.
 *
 *   int job(struct job *j)
 *   {
 *           STEP_BEGIN(j->at);
 *           start_read(j);
 *           STEP_WAIT(j->at, j->read_done);     returns -EAGAIN until read_done
 *           ...
 *           STEP_END(j->at);                    returns 0; starts over when called again
 *   }
 */
#ifndef FERRY_BASE_STEP_H
#define FERRY_BASE_STEP_H

#include <errno.h>

#define STEP_BEGIN(at) int *step_at_ = &(at); switch (*step_at_) { case 0:
#define STEP_WAIT(at, cond)                                     \
		do {                                            \
			*step_at_ = __LINE__;                   \
			__attribute__((fallthrough));           \
	case __LINE__:                                          \
			if (!(cond))                            \
				return -EAGAIN;                 \
		} while (0)
#define STEP_END(at) } *step_at_ = 0; return 0

#endif
