#!/bin/sh
# Everything that must hold, one build after the other; the sum at the end. `make test` and CI run this.
#   build-asan  gcc, ASan + UBSan: all but tests/vm        build-clang  clang: quick tests, and real QEMUs
#   build-tsan  clang, TSan: tests where threads meet         build-break  gcc: each design rule broken, the simulator must notice
cd "$(dirname "$0")/.." || exit 2
logs=
targets=	# all
one() { # dir, compiler, sanitizers, meson test arguments...
	dir=$1 cc=$2 san=$3
	shift 3
	if [ ! -f "$dir/build.ninja" ]; then
		CC=$cc meson setup "$dir" -Db_sanitize="$san" -Db_lundef=false >"$dir.log" 2>&1 || { cat "$dir.log"; return 1; }
	else
		meson setup --reconfigure "$dir" >/dev/null || return 1
	fi
	# shellcheck disable=SC2086
	ninja -C "$dir" --quiet $targets || return 1
	rm -f "$dir/meson-logs/testlog.junit.xml"
	meson test -C "$dir" --no-rebuild --print-errorlogs "$@"
	logs="$logs $dir/meson-logs/testlog.junit.xml"
}
bad=0
one build-asan gcc address,undefined --no-suite vm || bad=1
one build-clang clang none --suite quick --suite vm || bad=1
targets=$(for f in tests/threads/test_*.c; do f=${f##*/test_}; echo "tests/test-threads-${f%.c}"; done)
one build-tsan clang thread --suite threads || bad=1
# Each design rule broken on purpose: does the simulator notice?
tools/sim-breaks.sh >build-break.tap 2>&1 || bad=1
cat build-break.tap
logs="$logs build-break.tap"
# shellcheck disable=SC2086
python3 tools/count.py $logs || bad=1
exit $bad
