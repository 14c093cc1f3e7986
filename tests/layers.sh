#!/bin/sh
# Data flows one way, and so do includes: a room includes only rooms that stand before it (ARCHITECTURE.md).
# transport sees of the device only device/device.h (and the gmem.h it includes); host, vm and verify never see device/.
cd "$1/src" || exit 2
# shellcheck disable=SC2046 # our own file names have no spaces
awk '
BEGIN {
	n = split("base spec env block state device transport host vm migrate verify cmd", order, " ")
	for (i = 1; i <= n; i++) rank[order[i]] = i
}
/^#include "/ {
	split(FILENAME, f, "/"); from = f[1]
	split($2, q, "\""); split(q[2], t, "/"); to = t[1]
	if (!(to in rank)) { print FILENAME ": " q[2] ": not a room"; bad = 1; next }
	if (rank[to] > rank[from]) { print FILENAME ": includes " q[2] ", a room after its own"; bad = 1 }
	if (to == "device" && from == "transport" && q[2] != "device/device.h" && q[2] != "device/gmem.h") {
		print FILENAME ": transport may see device/device.h only, not " q[2]; bad = 1 }
	if (to == "device" && (from == "host" || from == "vm" || from == "verify" || from == "migrate")) {
		print FILENAME ": " from " never includes device/"; bad = 1 }
}
END { exit bad }' $(find . -name '*.[ch]' | sed 's#^\./##')
