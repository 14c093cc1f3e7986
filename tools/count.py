#!/usr/bin/env python3
"""Adds up the cases of meson test runs (their JUnit logs) and of TAP files and ends with the line 'N passed, N failed'."""
import sys
import xml.etree.ElementTree as ET

passed = failed = skipped = 0
for path in sys.argv[1:]:
    if path.endswith(".tap"):
        try:
            lines = open(path).read().splitlines()
        except OSError as e:
            lines = [f"not ok - {path}: {e}"]
        passed += sum(line.startswith("ok ") for line in lines)
        bad = [line for line in lines if line.startswith("not ok ")]
        failed += len(bad) + (not lines)
        print(*bad, sep="\n", end="\n" if bad else "")
        continue
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError) as e:
        print(f"count: {path}: {e}", file=sys.stderr)
        failed += 1
        continue
    for case in root.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
            print(f"failed: {path.split('/')[0]}: {case.get('classname')} {case.get('name')}")
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
tail = f", {skipped} skipped" if skipped else ""
print(f"{passed} passed, {failed} failed{tail}")
sys.exit(1 if failed or not passed else 0)
