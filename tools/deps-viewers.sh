#!/bin/sh
# Installs the programs that open what `ferry verify export` writes, for the tests that run them (they skip what is missing).
set -e
missing=
for p in tshark gtkwave libjudydebian1 protobuf-compiler sqlite3; do
	dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
echo "installing:$missing"
if [ "$(id -u)" != 0 ]; then
	echo "deps-viewers: these packages are missing; run as root: apt-get install$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
