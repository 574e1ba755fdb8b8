#!/usr/bin/python3
"""How a running relay behaves as a process: start, reload, drain, end. TAP on stdout.

    life.py [PATH/TO/callveil]      default: $CALLVEIL, else build/relay/callveil of this tree

Runs on loopback; every relay it starts is ended, and must end with status 0 and a
stderr without a sanitizer's report.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from turnclient import Client, TurnError, exchange, pair

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else
                         os.environ.get("CALLVEIL", TREE + "/build/relay/callveil"))
results = []


def check(name, ok, detail=""):
    results.append(ok)
    print(f"{'ok' if ok else 'not ok'} {len(results)} - {name}")
    if not ok and detail:
        print("# " + str(detail).replace("\n", "\n# "))
    sys.stdout.flush()


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Relay:
    def __init__(self, folder, workers=2, extra="", users="alice = secret\nbob = secret2\n"):
        self.folder = folder
        self.port, self.tls_port, self.stats_port = free_port(), free_port(), free_port()
        self.conf = os.path.join(folder, f"relay-{self.port}.conf")
        self.workers = workers
        self.write(extra, users)
        self.log = open(self.conf + ".log", "w+")
        self.process = subprocess.Popen([BINARY, "relay", "-c", self.conf], stderr=self.log)
        self.wait_for("is ready")

    def write(self, extra="", users="alice = secret\nbob = secret2\n", text=None):
        with open(self.conf, "w") as f:
            f.write(
                text
                or f"""[relay]
listen = udp://127.0.0.1:{self.port}, udp://[::1]:{self.port}, tcp://127.0.0.1:{self.port}, tls://127.0.0.1:{self.tls_port}
certificate = {self.folder}/cert.pem
private-key = {self.folder}/key.pem
workers = {self.workers}
{extra}
[users]
{users}
[stats]
listen = 127.0.0.1:{self.stats_port}
"""
            )

    @property
    def server(self):
        return ("127.0.0.1", self.port)

    def text(self):
        self.log.flush()
        with open(self.log.name) as f:
            return f.read()

    def wait_for(self, text, seconds=20, count=1):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.text().count(text) >= count:
                return True
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        return False

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.stats_port}{path}", timeout=5) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def signal(self, number):
        self.process.send_signal(number)

    def end(self, name):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = "had to be killed"
        text = self.text()
        clean = not re.search(r"Sanitizer|runtime error", text)
        check(f"{name}: the relay ends with status 0 and a clean log", status == 0 and clean,
              f"status {status}\n{text}")


class Traffic(threading.Thread):
    """A pair of clients that exchange messages until told to stop."""

    def __init__(self, relay, transport="udp"):
        super().__init__()
        server = ("127.0.0.1", relay.tls_port) if transport == "tls" else relay.server
        self.a, self.b = pair(server, transport=transport)
        self.stopping, self.lost, self.sent, self.error = False, 0, 0, None
        self.start()

    def run(self):
        try:
            while not self.stopping:
                self.lost += exchange(self.a, self.b, 10)
                self.sent += 20
        except Exception as e:  # any end of the call is the finding
            self.error = e

    def stop(self):
        self.stopping = True
        self.join()
        return self.error is None and self.lost == 0 and self.sent > 0


def test_start(folder):
    relay = Relay(folder)
    log = relay.text()
    check("a start-up line says what peers will see", "peers will see 127.0.0.1" in log, log)
    check("/healthz answers", relay.get("/healthz")[0] == 200)
    check("/readyz answers", relay.get("/readyz")[0] == 200)
    a, b = pair(relay.server)
    check("two clients talk through the relay", exchange(a, b, 50) == 0)
    check("the mapped address is the relay's, not the client's", a.mapped == a.relayed, a.mapped)
    stats = json.loads(relay.get("/stats.json")[1])
    check("stats count both allocations", stats["counters"]["allocations"] == 2, stats)
    check("stats count every packet both ways", stats["counters"]["up_packets"] == 100
          and stats["counters"]["down_packets"] == 100, stats["counters"])
    check("stats list the user", stats["users"] == [{"name": "alice", "allocations": 2}], stats)
    metrics = relay.get("/metrics")[1]
    check("metrics carry no user", "callveil_allocations 2" in metrics and "alice" not in metrics,
          metrics)
    check("the log carries no client address", "127.0.0.1:%d" % a.sock.getsockname()[1]
          not in relay.text())
    a.refresh(0)
    b.refresh(0)
    stats = json.loads(relay.get("/stats.json")[1])
    check("refresh 0 gives everything back", stats["counters"]["allocations"] == 0
          and stats["counters"]["ports_udp4_in_use"] == 0 and stats["users"] == [], stats)
    relay.end("start")


def test_dual(folder):
    relay = Relay(folder)
    a, b = Client(relay.server), Client(relay.server)
    check("an allocation with two families has an IPv6 address", a.allocate(dual=True)[0] == "::1",
          a.relayed)
    b.allocate(dual=True)
    a.bind(0x4001, b.relayed)
    b.bind(0x4001, a.relayed)
    check("its IPv6 half carries traffic", exchange(a, b, 20, channel=0x4001) == 0)
    relay.end("dual")


def test_reload(folder):
    relay = Relay(folder)
    old_certificate = Client(("127.0.0.1", relay.tls_port), transport="tls").certificate()
    calls = [Traffic(relay, t) for t in ("udp", "tcp", "tls")]
    time.sleep(0.3)

    relay.write(extra="log-level = debug\n", users="alice = secret\ncarol = new\n")
    os.remove(f"{folder}/cert.pem")
    os.remove(f"{folder}/key.pem")
    relay.signal(signal.SIGHUP)
    check("SIGHUP reloads", relay.wait_for("configuration reloaded"), relay.text())
    time.sleep(0.5)
    carol = Client(relay.server, user="carol", password="new")
    check("a user that was added may allocate", bool(carol.allocate()))
    bob = Client(relay.server, user="bob", password="secret2")
    try:
        bob.allocate()
        refused = None
    except TurnError as e:
        refused = e.code
    check("a user that was removed may not (401)", refused == 401, refused)
    fresh = Client(("127.0.0.1", relay.tls_port), transport="tls").certificate()
    check("a new connection gets the new certificate", fresh != old_certificate)

    relay.write(text="[relay]\nlistn = udp://127.0.0.1:1\nports = 9-3\n")
    relay.signal(signal.SIGHUP)
    check("a bad file is refused on SIGHUP", relay.wait_for("reload refused"), relay.text())
    log = relay.text()
    check("every error of it is named with its line",
          re.search(r":2: .*listn.*did you mean.*listen", log) and re.search(r":3: .*ports", log),
          log)
    check("the old configuration stays", bool(carol.refresh()))
    time.sleep(0.3)
    for call, name in zip(calls, ("UDP", "TCP", "TLS")):
        check(f"a call over {name} lost nothing through both reloads", call.stop(),
              f"{call.error} lost {call.lost} of {call.sent}")
    relay.end("reload")


def test_drain(folder):
    relay = Relay(folder)
    call = Traffic(relay)
    relay.signal(signal.SIGUSR1)
    check("SIGUSR1 drains", relay.wait_for("draining"), relay.text())
    time.sleep(0.2)
    try:
        Client(relay.server).allocate()
        refused = None
    except TurnError as e:
        refused = e.code
    check("a draining relay takes no new allocation (508)", refused == 508, refused)
    check("/readyz says so", relay.get("/readyz")[0] == 503)
    check("/healthz does not", relay.get("/healthz")[0] == 200)
    time.sleep(0.3)
    check("the running call goes on", call.stop(), f"{call.error} lost {call.lost}")
    check("it does not end while an allocation is left", relay.process.poll() is None)
    call.a.refresh(0)
    call.b.refresh(0)
    try:
        relay.process.wait(10)
    except subprocess.TimeoutExpired:
        pass
    check("it ends with the last allocation", relay.process.poll() == 0, relay.process.poll())
    relay.end("drain")


def test_alternate(folder):
    relay = Relay(folder, extra="alternate-server = 192.0.2.9:3478\n")
    relay.signal(signal.SIGUSR1)
    # Nothing is left to wait for: it may end before it is asked.
    relay.wait_for("draining")
    relay.end("alternate")


def test_end(folder):
    relay = Relay(folder)
    calls = [Traffic(relay, t) for t in ("udp", "tcp", "tls")]
    time.sleep(0.2)
    start = time.monotonic()
    relay.end("SIGTERM in the middle of calls")
    check("it does not dawdle", time.monotonic() - start < 10)
    for call in calls:
        call.stop()


def start_fails(folder, name, text, status, pattern):
    path = os.path.join(folder, "bad.conf")
    with open(path, "w") as f:
        f.write(text)
    try:
        p = subprocess.run([BINARY, "relay", "-c", path], stderr=subprocess.PIPE, timeout=20)
    except subprocess.TimeoutExpired:
        check(name, False, "it started")
        return
    error = p.stderr.decode()
    check(name, p.returncode == status and re.search(pattern, error) is not None,
          f"status {p.returncode}: {error}")


def test_bad_starts(folder):
    users = "[users]\nalice = secret\n[stats]\nlisten = 127.0.0.1:0\n"
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    start_fails(folder, "a wildcard public-address is refused (2)",
                f"[relay]\nlisten = udp://127.0.0.1:0\npublic-address = 0.0.0.0\n{users}", 2,
                r"bad\.conf:3: .*public-address")
    start_fails(folder, "a wildcard relay-address is refused (2)",
                f"[relay]\nlisten = udp://127.0.0.1:0\nrelay-address = ::\n{users}", 2,
                r"bad\.conf:3: .*relay-address")
    start_fails(folder, "a taken port is an error with its address (1)",
                f"[relay]\nlisten = tcp://127.0.0.1:{port}\n{users}", 1,
                rf"cannot listen on tcp://127\.0\.0\.1:{port}")
    start_fails(folder, "an unreadable certificate is refused (2)",
                f"[relay]\nlisten = tls://127.0.0.1:0\ncertificate = /nonexistent/c.pem\n"
                f"private-key = /nonexistent/k.pem\n{users}", 2, r"/nonexistent")
    start_fails(folder, "a file that cannot be read is refused (2)", "", 2, r"bad\.conf")
    p = subprocess.run([BINARY, "relay", "-c", "/nonexistent.conf"], stderr=subprocess.PIPE)
    check("a missing file is refused (2)", p.returncode == 2 and b"/nonexistent.conf" in p.stderr,
          p.stderr)
    taken.close()


def main():
    with tempfile.TemporaryDirectory() as folder:
        for test in (test_start, test_dual, test_reload, test_drain, test_alternate, test_end,
                     test_bad_starts):
            try:
                test(folder)
            except Exception as e:
                import traceback

                check(f"{test.__name__} runs to its end", False, traceback.format_exc())
    print(f"1..{len(results)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
