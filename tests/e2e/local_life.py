#!/usr/bin/python3
"""How `callveil local` behaves as a process, from the invitation to the end. TAP on stdout.

    local_life.py [PATH/TO/callveil]      default: as life.py

In a network namespace of its own with nothing but loopback (where one can be made), so
that no address of this machine is anywhere to be seen and `check` can be told to find none.
"""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request

from relayprocess import BINARY, Relay, check, free_port, run, within
from turnclient import exchange, pair

RELAYED = "127.0.0.9"
SEEN = [RELAYED, "::1"] # by IPv4 and by IPv6
PEER = "127.0.0.7"
RELAY_EXTRA = f"relay-address = {RELAYED}\n"
RELAY_MORE = f"[peers]\nallow = {PEER}\n"


def enter_namespace():
    if os.environ.get("LOCAL_LIFE_INSIDE"):
        if os.environ["LOCAL_LIFE_INSIDE"] == "own":
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    for spaces in (["unshare", "--net"], ["unshare", "--net", "--user", "--map-root-user"]):
        if subprocess.run(spaces + ["true"], stderr=subprocess.DEVNULL).returncode == 0:
            os.environ["LOCAL_LIFE_INSIDE"] = "own"
            os.execvp(spaces[0], spaces + [sys.executable] + sys.argv)
    os.environ["LOCAL_LIFE_INSIDE"] = "shared"


def callveil(*arguments, stdin=None):
    return subprocess.run([BINARY, *arguments], input=stdin, capture_output=True, text=True,
                          timeout=120)


class Local:
    def __init__(self, folder, conf):
        self.conf = conf
        self.log = open(os.path.join(folder, f"local-{free_port()}.log"), "w+")
        self.process = subprocess.Popen([BINARY, "local", "-c", conf], stderr=self.log)

    def text(self):
        with open(self.log.name) as f:
            return f.read()

    def stats(self, stats_port, path="/stats.json"):
        with urllib.request.urlopen(f"http://127.0.0.1:{stats_port}{path}", timeout=5) as r:
            return json.loads(r.read()) if path.endswith("json") else r.status

    def state(self, stats_port):
        try:
            return self.stats(stats_port)["upstream"]
        except OSError:
            return {"state": "not there", "why": ""}

    def end(self, name):
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = "had to be killed"
        text = self.text()
        check(f"{name}: the proxy ends on SIGTERM with status 0 and a clean log",
              status == 0 and not re.search(r"Sanitizer|runtime error", text), f"{status}\n{text}")
        check(f"{name}: and at once", time.monotonic() - started < 3)


class Place:
    """A relay, and a local.conf that leads to it."""

    def __init__(self, folder):
        self.relay = Relay(folder, extra=RELAY_EXTRA + f"users-file = {folder}/users.conf\n",
                           users="", more=RELAY_MORE)
        self.socks, self.turn, self.stats_port = free_port(), free_port(), free_port()
        self.conf = os.path.join(folder, "local.conf")
        link = callveil("invite", "-c", self.relay.conf, "--host", "127.0.0.1", "alice")
        check("an invitation is a link", link.stdout.startswith("callveil://alice:"), link)
        self.link = link.stdout
        within(5, lambda: "reloaded" in self.relay.text())
        self.joined = callveil("join", "-c", self.conf, "-", stdin=self.link)
        self.edit(lambda text: text)

    def edit(self, change):
        with open(self.conf) as f:
            text = change(f.read())
        text = re.sub(r"(?ms)^\[(local|stats)\].*?(?=^\[|\Z)", "", text)
        with open(self.conf, "w") as f:
            f.write(f"[local]\nsocks5 = 127.0.0.1:{self.socks}\nturn = 127.0.0.1:{self.turn}\n"
                    f"[stats]\nlisten = 127.0.0.1:{self.stats_port}\n{text}")


def connect(port, host, to_port):
    """SOCKS5 CONNECT by address: the socket, or the reply's code."""
    s = socket.create_connection(("127.0.0.1", port), timeout=20)
    s.sendall(b"\5\1\0")
    s.recv(2)
    s.sendall(b"\5\1\0\1" + socket.inet_aton(host) + struct.pack(">H", to_port))
    reply = s.recv(10)
    if len(reply) > 1 and reply[1] == 0:
        return s
    s.close()
    return reply[1] if len(reply) > 1 else None


def credential(local):
    found = re.search(r"loopback TURN at \S+ username (\S+) credential (\w+)", local.text())
    return found.group(1), found.group(2)


def talks_by_turn(place, local):
    user, password = credential(local)
    a, b = pair(("127.0.0.1", place.turn), user=user, password=password)
    try:
        return exchange(a, b, 20) == 0 and a.relayed[0] == RELAYED and a.mapped[0] == RELAYED
    finally:
        a.close()
        b.close()


def test_join_and_check(folder):
    place = Place(folder)
    check("join tries the relay and exits with 0", place.joined.returncode == 0, place.joined)
    check("and says what peers see", RELAYED in place.joined.stdout
          and "peers see the relay's address only" in place.joined.stdout, place.joined.stdout)
    again = callveil("check", "-c", place.conf, "--json")
    report = json.loads(again.stdout)
    check("check agrees, as JSON", again.returncode == 0 and report["safe"] is True
          and all(path["works"] and path["lost"] == 0 for path in report["paths"]), again)
    check("it saw the relay's address and no other",
          all(path["peers_see"] == SEEN for path in report["paths"]), report)
    check("streams were tried where there can be some",
          [path["streams"] for path in report["paths"]] == [None, True], report)
    place.relay.end("join")
    gone = callveil("check", "-c", place.conf)
    check("without the relay check exits with 1 and says why", gone.returncode == 1
          and "not working" in gone.stdout, gone)


def test_life(folder):
    place = Place(folder)
    local = Local(folder, place.conf)
    check("it reaches the relay", within(10, lambda: local.state(place.stats_port)["state"] == "ready"),
          local.text())
    check("/readyz says so", local.stats(place.stats_port, "/readyz") == 200)
    stats = local.stats(place.stats_port)
    check("stats say what peers see", stats["peers_see"] == SEEN, stats)
    check("without a token they hold no credential", "credential" not in stats["turn"], stats)
    check("two clients talk through the loopback TURN server", talks_by_turn(place, local))

    listener = socket.create_server((PEER, 0))
    app = connect(place.socks, PEER, listener.getsockname()[1])
    peer, seen = listener.accept()
    app.sendall(b"hello")
    check("a stream goes through, from the relay's address",
          peer.recv(5) == b"hello" and seen[0] == RELAYED, seen)
    check("a closed port is answered with 5", connect(place.socks, PEER, 9) == 5)
    check("a forbidden peer with 2", connect(place.socks, "10.1.2.3", 80) == 2)

    with open(place.conf) as f:
        good = f.read()
    place.edit(lambda text: re.sub(r"(?m)^password = .*$", "password = wrong", text))
    local.process.send_signal(signal.SIGHUP)
    check("a reload with a wrong password is down, and says why",
          within(15, lambda: local.state(place.stats_port)["state"] == "down")
          and "refuse" in local.state(place.stats_port)["why"], local.state(place.stats_port))
    app.settimeout(10)
    try:
        ended = app.recv(1) == b""
    except ConnectionResetError:
        ended = True
    check("what was open has ended", ended)
    check("what is asked for now is refused with 3", connect(place.socks, PEER, 9) == 3)
    with open(place.conf, "w") as f:
        f.write(good + "\nnonsense\n")
    local.process.send_signal(signal.SIGHUP)
    check("a bad configuration is refused",
          within(5, lambda: "reload refused" in local.text()), local.text())
    with open(place.conf, "w") as f:
        f.write(good)
    local.process.send_signal(signal.SIGHUP)
    check("the good one is back without a restart",
          within(15, lambda: local.state(place.stats_port)["state"] == "ready"), local.text())
    app = connect(place.socks, PEER, listener.getsockname()[1])
    check("and streams work again", not isinstance(app, int), app)

    removed = callveil("invite", "-c", place.relay.conf, "--remove", "alice")
    within(5, lambda: place.relay.stats()["counters"]["allocations"] == 0)
    answer = connect(place.socks, PEER, listener.getsockname()[1])
    check("a user who is taken back gets no more streams", removed.returncode == 0
          and answer in (1, 3), answer)
    check("and the proxy learns that the relay refuses it",
          within(30, lambda: local.stats(place.stats_port)["streams"]["state"] == "down"),
          local.stats(place.stats_port))
    local.end("life")
    place.relay.end("life")


def test_refusals(folder):
    place = Place(folder)
    local = Local(folder, place.conf)
    within(10, lambda: local.state(place.stats_port)["state"] == "ready")
    second = callveil("local", "-c", place.conf)
    check("a second one on the same ports fails with 1 and a line", second.returncode == 1
          and "cannot listen" in second.stderr, second)
    with open(place.conf, "a") as f:
        f.write("[local]\nturn = 0.0.0.0:3478\n")
    open_to_all = callveil("local", "-c", place.conf)
    check("a TURN server beyond loopback is refused with 2", open_to_all.returncode == 2, open_to_all)
    missing = callveil("local", "-c", os.path.join(folder, "none.conf"))
    check("a configuration that is not there is refused with 2", missing.returncode == 2, missing)
    local.end("refusals")
    place.relay.end("refusals")


if __name__ == "__main__":
    enter_namespace()
    sys.exit(run([test_join_and_check, test_life, test_refusals]))
