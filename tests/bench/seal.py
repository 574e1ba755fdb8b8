#!/usr/bin/python3
"""Starting times for tests/bench/seal.sh, and the sums afterwards. The loads are local.py's.

    start N COMMAND...            milliseconds that COMMAND takes to its end, the median of N
    summary FILE                  medians and ranges of what seal.sh wrote down
"""

import statistics
import subprocess
import sys
import time

import local

local.NOISE = "pasta-again"
OURS = ("local", "relay", "seal")


def start(n, command):
    times = []
    for _ in range(n):
        begin = time.monotonic()
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       timeout=20)
        times.append(time.monotonic() - begin)
    print(f"{1000 * statistics.median(times):.1f} ms")


def subjects_of(results, test):
    return sorted({s for t, s in results if t == test},
                  key=lambda s: (s != "callveil", s == local.NOISE, s))


def per_cpu(values):
    return values["round-trips"] / local.cpu(values)


def per_mb(values):
    return 1000 * local.cpu(values) / values["MB"]


def shares(results):
    """What each of our processes has of it; the process that keeps the namespace should be idle."""
    for name in OURS:
        unit = name + "-cpu-s"
        used = [v[unit] / v["round-trips"] * 1e6 for v in results.get(("udp", "callveil"), [])]
        if used:
            print(f"{'udp':10} {'callveil':18} {local.spread(used, 2):32} "
                  f"CPU-us per round trip of {name}")
        for test in ("bulk-down", "bulk-up"):
            used = [1000 * v[unit] / v["MB"] for v in results.get((test, "callveil"), [])]
            if used:
                print(f"{test:10} {'callveil':18} {local.spread(used, 2):32} "
                      f"CPU-ms per MB of {name}")


def noise(results, test, what, function):
    pair = [statistics.median(local.column(results, test, s, function))
            for s in ("pasta", local.NOISE)]
    return f"noise: {test} {what} pasta/pasta {pair[0] / pair[1]:.2f}"


def summary(name):
    results, parts = local.read_results(name), []
    for test in ("bulk-down", "bulk-up"):
        subjects = subjects_of(results, test)
        parts += local.print_table(results, test, subjects, "MB/s", lambda v: v["MB/s"])
        parts += local.print_table(results, test, subjects, "CPU-ms per MB", per_mb, 2)
    subjects = subjects_of(results, "udp")
    parts += local.print_table(results, "udp", subjects, "round-trips/s",
                               lambda v: v["round-trips/s"])
    parts += local.print_table(results, "udp", subjects, "per CPU-s", per_cpu)
    shares(results)
    parts += local.print_table(results, "start", subjects_of(results, "start"), "ms",
                               lambda v: v["ms"], 1)
    if local.NOISE in subjects:
        parts += [noise(results, "bulk-down", "MB/s", lambda v: v["MB/s"]),
                  noise(results, "udp", "per CPU-s", per_cpu)]
    lost = sum(v["lost"] for (test, _), all_of in results.items() if test == "udp" for v in all_of)
    print(f"udp        datagrams lost: {lost:.0f}")
    print("result: " + "; ".join(parts))


if __name__ == "__main__":
    if sys.argv[1] == "start":
        start(int(sys.argv[2]), sys.argv[3:])
    elif sys.argv[1] == "summary":
        summary(sys.argv[2])
    else:
        sys.exit(__doc__)
