#!/usr/bin/python3
"""What 1,000 slow clients of the statistics do to a call. See README.md here.

    stats.py [ROUNDS] [PATH/TO/callveil]    default: 9 rounds, $CALLVEIL or this tree's build

A call through the loopback TURN server of a local proxy and a relay, on loopback, as in
tests/e2e/stats.py. In each round: nobody; the clients at a bystander (a local proxy of the same kind
that carries no call), which take as much of the machine; at the call's own proxy; at its relay.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = int(sys.argv.pop(1)) if len(sys.argv) > 1 else 9  # what is left is e2e's
HERE = os.path.dirname(os.path.abspath(__file__))
E2E = os.path.join(HERE, "..", "e2e", "stats.py")
sys.path.insert(0, os.path.dirname(E2E))
import stats  # noqa: E402

N_TRIPS = 500
PLACES = ("nobody", "bystander", "local", "relay")


def attacked(port, call):
    """Round trips of the call in microseconds (None: lost) while they sit at this port."""
    if port is None:
        return stats.round_trips(*call, N_TRIPS)
    attack = subprocess.Popen([sys.executable, E2E, "slow", str(port), "5"],
                              stdout=subprocess.DEVNULL)
    time.sleep(1)
    times = stats.round_trips(*call, N_TRIPS)
    attack.wait(30)
    return times


def measure(folder, rounds):
    """{place: [(p50, p99, lost), ...]}, the first round left out."""
    relay = stats.Relay(folder, more=stats.LOOPBACK)
    local, bystander = stats.Local(folder, relay), stats.Local(folder, relay)
    call, found = local.call(), {place: [] for place in PLACES}
    ports = dict(zip(PLACES, (None, bystander.stats_port, local.stats_port, relay.stats_port)))
    for n in range(rounds):
        for place in PLACES:
            times = attacked(ports[place], call)
            kept = sorted(t for t in times if t is not None)
            row = (kept[len(kept) // 2], kept[len(kept) * 99 // 100], len(times) - len(kept))
            print(f"{n + 1} {place} %.0f p50 %.0f p99 %d lost" % row, file=sys.stderr)
            if n > 0:
                found[place].append(row)
    for process in (local, bystander, relay):
        process.end("its end")
    return found


def main(rounds):
    with tempfile.TemporaryDirectory() as folder:
        found = measure(folder, rounds)
    middle = {place: [statistics.median(row[i] for row in rows) for i in (0, 1)]
              for place, rows in found.items()}
    for place, rows in found.items():
        for i, what in enumerate(("p50", "p99")):
            column = [row[i] for row in rows]
            print(f"{place:10} {what} {middle[place][i]:6.0f} ({min(column):.0f}-{max(column):.0f}) us, "
                  f"{middle[place][i] / middle['bystander'][i]:.2f} of the bystander's")
        print(f"{place:10} lost {sum(row[2] for row in rows)} of {len(rows) * N_TRIPS}")


if __name__ == "__main__":
    main(ROUNDS)
