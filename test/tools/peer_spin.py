#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A peer for `pollux bench --with`: a loop of additions, or one that is N per cent longer.

usage: peer_spin.py [--slow N] BENCH CASE UNIT MILLISECONDS CPU_A CPU_B

It knows every case whose unit is ns. Two runs of `pollux bench`, the second with --slow 10, are to
be told apart by `pollux bench compare --subject all`.
"""
import json
import statistics
import sys
import time

words = sys.argv[1:]
slow = float(words[1]) if words[:1] == ["--slow"] else 0
unit, milliseconds = words[-4], int(words[-3])
if unit != "ns":
    sys.exit(77)
work = range(int(2000 * (1 + slow / 100)))
times = []
end = time.perf_counter_ns() + milliseconds * 1000000
while not times or time.perf_counter_ns() < end:
    before = time.perf_counter_ns()
    total = 0
    for i in work:
        total += i
    times.append(time.perf_counter_ns() - before)
print(json.dumps({"subject": "spin", "unit": unit, "n": len(times), "p50": statistics.median(times),
                  "min": min(times), "max": max(times), "mean": statistics.fmean(times)}))
