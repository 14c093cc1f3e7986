/* CHECK: our own mistakes. Always on; stops the program with a sentence.
 *
 * Never used for anything that a guest, a peer, a file or a socket can cause: those are answered.
 */
#ifndef FERRY_BASE_CHECK_H
#define FERRY_BASE_CHECK_H

_Noreturn void check_failed(const char *expr, const char *file, int line);

#define CHECK(expr) ((expr) ? (void)0 : check_failed(#expr, __FILE__, __LINE__))

#endif
