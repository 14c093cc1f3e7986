#!/bin/sh
# Does the simulator notice? Builds ferry once with each design rule broken on purpose and demands a violation within 1,000 seeds.
# Ends with a line per break; exit 1 if one was not noticed.
cd "$(dirname "$0")/.." || exit 2
bad=0
for b in ${1:-dirty_late log_early undo_after_commit admin_phase dsm_range overflow no_touch touch_late}; do
	d=build-break/$b
	[ -f "$d/build.ninja" ] || meson setup "$d" -Dbreak="$b" -Doptimization=1 -Dwerror=false >/dev/null || exit 2
	ninja -C "$d" --quiet tests/ferry-sim || exit 2
	if out=$("$d/tests/ferry-sim" --expect-violation --seeds 1000); then
		echo "ok - $b: $out"
	else
		echo "not ok - $b: $out"
		bad=1
	fi
done
exit $bad
