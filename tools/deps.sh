#!/bin/sh
# Installs what the build needs and is missing. Debian 12 package names.
set -e
want="gcc clang libclang-rt-14-dev meson ninja-build pkg-config liburing-dev libssl-dev libzstd-dev libxxhash-dev
libroaring-dev libjson-c-dev libsqlite3-dev libinih-dev libcmocka-dev e2fsprogs python3"
missing=
for p in $want; do
	dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
echo "installing:$missing"
if [ "$(id -u)" != 0 ]; then
	echo "deps: these packages are missing; run as root: apt-get install$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
