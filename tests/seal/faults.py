#!/usr/bin/python3
"""The leak test's faults (leak/cases.py), with the app inside `callveil run`.

    faults.py [--list] [--jobs N] [--keep FOLDER] [CASE...]      default: all cases; TAP on stdout

What the proxy's own end does to a seal (that goes dark, for good) is escape.py's.
"""

import os
import shutil
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "leak")]
import app  # noqa: E402
import cases  # noqa: E402
import far  # noqa: E402
import lab as place  # noqa: E402
import leak  # noqa: E402
import sealed  # noqa: E402
from world import LITERAL, PLAIN, SEALED, TLS  # noqa: E402

FLOWS = ("TCP IPv4", "TCP IPv6", "TCP name", "long stream", "UDP IPv4", "UDP IPv6", "UDP name",
         "call by udp")
DOWN = {"refused", "closed", "unreachable"}
NO_NAME = {"no name"}


class Insider(app.Flows):
    """insider.py in a seal, read line by line."""

    def __init__(self, w):
        self.flows = {name: app.Record(name) for name in FLOWS}
        program = shutil.copy(f"{HERE}/insider.py", w.folder)
        self.process = w.start(sealed.PYTHON, program, place.NAME_MARK.decode(),
                               place.PAYLOAD_MARK.decode(), place.FAR_DOMAIN, str(far.ECHO_PORT),
                               place.PEER, place.PEER6)
        self.stopping = threading.Event()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        with open(self.process.log) as f:
            rest = ""
            while not self.stopping.is_set():
                *lines, rest = (rest + f.read()).split("\n")
                for line in lines:
                    name, *words = line.split("\t")
                    if len(words) == 3 and name in self.flows:
                        self.flows[name].events.append(
                            app.Event(float(words[0]), float(words[1]), words[2]))
                time.sleep(0.05)

    def start_calls(self):
        """One is there all the time."""
        return ["call by udp"]

    def stop(self):
        self.process.end(signal.SIGTERM)
        self.stopping.set()


class FaultWorld(sealed.SealedWorld):
    # A name is asked for first, and the gate says at once that there is no answer.
    down_words = {"TCP name": DOWN | NO_NAME, "TCP": DOWN, "long": DOWN,
                  "UDP name": DOWN | NO_NAME | {"silence"}, "UDP": DOWN | {"silence"},
                  "call": DOWN | {"silence"}}
    name_words = {"TCP": DOWN | NO_NAME, "UDP": DOWN | NO_NAME | {"silence"}}
    name_flows = ["TCP name", "UDP name"]

    def start_app(self):
        self.app = Insider(self)


def normal(upstream, trust, encrypted=True):
    def run(w):
        cases.begin(w, upstream=upstream, trust=trust)
        start = w.works()
        time.sleep(2.5)
        w.went_on("and goes on working", start)
        w.finish(encrypted=encrypted)
    return run


CASES = {name: run for name, run in cases.CASES.items()
         if name not in ("local-killed", "local-told-to-end", "a-proxy-that-leaks-is-caught")}
CASES |= {"dtls-and-tls": normal(SEALED, "pin"), "udp-and-tcp": normal(PLAIN, "", False),
          "tls-and-a-ca": normal(TLS, "ca"), "relay-by-address": normal(LITERAL, "pin")}


def run(name, folder):
    return sealed.run(name, folder, CASES[name], FaultWorld)


if __name__ == "__main__":
    sys.exit(leak.main(CASES, run, __file__))
