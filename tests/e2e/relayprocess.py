"""A relay as a process, for the end-to-end tests: started, asked, signalled, ended. TAP."""

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
import traceback
import urllib.error
import urllib.request

from turnclient import exchange, pair

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else
                         os.environ.get("CALLVEIL", TREE + "/build/relay/callveil"))
results = []

USERS = "alice = secret\nbob = secret2\n"


def check(name, ok, detail=""):
    results.append(ok)
    print(f"{'ok' if ok else 'not ok'} {len(results)} - {name}")
    if not ok and detail:
        print("# " + str(detail).replace("\n", "\n# "))
    sys.stdout.flush()


def within(seconds, condition, pause=0.05):
    """Return: whether it came true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Relay:
    def __init__(self, folder, workers=2, extra="", users=USERS, more="", listen=None):
        """`extra` are lines of [relay], `more` whole sections."""
        self.folder, self.more, self.listen = folder, more, listen
        self.port, self.tls_port, self.stats_port = free_port(), free_port(), free_port()
        self.conf = os.path.join(folder, f"relay-{self.port}.conf")
        self.workers = workers
        self.write(extra, users)
        self.log = open(self.conf + ".log", "w+")
        self.process = subprocess.Popen([BINARY, "relay", "-c", self.conf], stderr=self.log)
        self.wait_for("is ready")

    def write(self, extra="", users=USERS, text=None):
        with open(self.conf, "w") as f:
            f.write(
                text
                or f"""[relay]
listen = {self.listeners()}
certificate = {self.folder}/cert.pem
private-key = {self.folder}/key.pem
workers = {self.workers}
{extra}
[users]
{users}
[stats]
listen = 127.0.0.1:{self.stats_port}
{self.more}
"""
            )

    def listeners(self):
        if self.listen:
            return self.listen.format(port=self.port)
        return (f"udp://127.0.0.1:{self.port}, udp://[::1]:{self.port}, "
                f"tcp://127.0.0.1:{self.port}, "
                f"tls://127.0.0.1:{self.tls_port}, dtls://127.0.0.1:{self.tls_port}")

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

    def stats(self):
        return json.loads(self.get("/stats.json")[1])

    def settles(self, seconds=5, **counters):
        """Waits until the counters have these values: gauges follow what clients see."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now = self.stats()["counters"]
            if all(now[name] == value for name, value in counters.items()):
                return True
            time.sleep(0.05)
        return False

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def descriptors_settle(self, most, seconds=5):
        """Whether no more than `most` are open soon: what is closing may linger for 2 s."""
        end = time.monotonic() + seconds
        while self.descriptors() > most and time.monotonic() < end:
            time.sleep(0.1)
        return self.descriptors() <= most

    def resident_kib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

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


def run(tests):
    """Runs each test in a folder of its own; the exit status."""
    for test in tests:
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(folder)
            except Exception:
                check(f"{test.__name__} runs to its end", False, traceback.format_exc())
    print(f"1..{len(results)}")
    return 0 if results and all(results) else 1
