/* `ferry decode`: bytes from a file, field by field. Written from the book and from docs/stream.md, not from the code that makes the
 * bytes, so that the two can disagree. What is decoded may be anything at all: bounded, nothing is believed, nothing fails but the
 * sentence that says so.
 */
#ifndef FERRY_VERIFY_DECODE_H
#define FERRY_VERIFY_DECODE_H

#include <stdio.h>

#include "base/bytes.h"
#include "base/err.h"

#define DECODE_KINDS(K)                                                                    \
	K(AUTO, "auto", "by what it looks like")                                           \
	K(RECORD, "record", "a recording of ferry verify")                                 \
	K(STATE, "state", "a controller's state image (Migration Receive)")                \
	K(LINK, "link", "one direction of the link between two managers")                  \
	K(SQE, "sqe", "submission entries of an admin queue, 64 bytes each")               \
	K(IO_SQE, "io-sqe", "submission entries of an I/O queue, 64 bytes each")           \
	K(CQE, "cqe", "completion entries, 16 bytes each")                                 \
	K(CDQ, "cdq", "LBA migration queue entries, 32 bytes each")                        \
	K(MESSAGE, "message", "vfio-user messages, one behind the other")
#define DECODE_ENUM_(name, text, about) DECODE_##name,
enum decode_kind { DECODE_KINDS(DECODE_ENUM_) DECODE_COUNT };

int decode_kind_of(const char *name);			/* -EINVAL unknown */
const char *decode_kind_name(unsigned kind);
enum decode_kind decode_guess(const uint8_t *p, size_t n);

/* Prints to out what could be understood. 0, or -EPROTO with a sentence that says where the rest stops making sense. */
int decode_bytes(enum decode_kind, const uint8_t *p, size_t n, FILE *out, struct err *);
/* Reads the file ("-": standard input; at most 1 GiB) and decodes it. hex: it is text of hexadecimal digits. */
int decode_file(enum decode_kind, const char *path, bool hex, FILE *out, struct err *);

/* decode_state.c, decode_link.c */
int decode_state(const uint8_t *p, size_t n, FILE *out, struct err *);
int decode_link(const uint8_t *p, size_t n, FILE *out, struct err *);

#endif
