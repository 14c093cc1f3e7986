/* A record (record.h) as other programs want it. The record stays the truth: each of these is made from it and nothing else, and the
 * same record gives the same bytes.
 *
 *   log       text for people: commands, completions, interrupts, masks, data queue entries, violations
 *   perfetto  native track events: a track per queue slot, flows from doorbell to interrupt (ui.perfetto.dev opens it)
 *   vcd       waveforms: a string signal per queue, doorbell values, vectors (gtkwave; vcd2fst makes FST of it)
 *   pcapng    a packet per vfio-user message, link type USER0 (tools/vfio-user.lua lets Wireshark and tshark read it)
 *   sqlite    tables (rec_sqlite)
 */
#ifndef FERRY_VERIFY_EXPORT_H
#define FERRY_VERIFY_EXPORT_H

#include <stdio.h>

#include "verify/record.h"

struct export_format {
	const char *name, *about;
	int (*write)(const char *record, FILE *out, struct err *);	/* NULL: sqlite, which takes a path */
};
extern const struct export_format export_formats[];			/* ends with name NULL */

/* Makes `out` ("-": standard output; sqlite needs a path). 0 or -errno with a sentence. A file that is there is not overwritten. */
int export_record(const char *format, const char *record, const char *out, struct err *);

int export_log(const char *record, FILE *, struct err *);
int export_perfetto(const char *record, FILE *, struct err *);
int export_vcd(const char *record, FILE *, struct err *);
int export_pcapng(const char *record, FILE *, struct err *);

#endif
