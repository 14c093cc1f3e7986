#!/bin/sh
# Does the verifier notice? Builds ferry once with each rule of the device broken on purpose and demands failures from its suite.
# Ends with a line per break; exit 1 if one was not noticed. (undo_after_commit breaks the manager, which is the simulator's.)
cd "$(dirname "$0")/.." || exit 2
bad=0
for b in ${1:-dirty_late log_early admin_phase dsm_range overflow}; do
	d=build-break/$b
	[ -f "$d/build.ninja" ] || meson setup "$d" -Dbreak="$b" -Doptimization=1 -Dwerror=false >/dev/null || exit 2
	ninja -C "$d" --quiet src/cmd/ferry || exit 2
	out=$("$d/src/cmd/ferry" verify run --backend inprocess --seed 1 --timeout 2s)
	if [ $? = 1 ] && n=$(printf '%s\n' "$out" | grep -c '^FAIL '); then
		echo "ok - $b: $n tests fail"
	else
		echo "not ok - $b: $(printf '%s\n' "$out" | tail -1)"
		bad=1
	fi
done
exit $bad
