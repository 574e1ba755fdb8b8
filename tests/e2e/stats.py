#!/usr/bin/python3
"""The stats endpoints of both roles: bad HTTP, slow clients beside a call, Prometheus, top. TAP.

    stats.py [PATH/TO/callveil]     default: $CALLVEIL, else build/relay/callveil of this tree

A relay and a local proxy in front of it, on loopback; the call goes from one client of the
proxy's TURN server through the relay to another. Prometheus is Debian's, with a port and a
folder of its own.
"""

import base64
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from relayprocess import BINARY, TREE, Relay, check, free_port, run, within
from turnclient import exchange, pair

LOOPBACK = "[peers]\nallow = 127.0.0.0/8\n"
TOKEN = "a-token-of-the-test"
N_SLOW = 1000
CHANNEL = 0x4000


def skip(name, reason):
    from relayprocess import results

    results.append(True)
    print(f"ok {len(results)} - {name} # SKIP {reason}")


class Local(Relay):
    """callveil local, whose relay is `relay`; what is asked of a Relay can be asked of it."""

    def __init__(self, folder, relay, upstream=None):
        """`upstream` are lines of that section, in place of how the relay is reached."""
        self.folder = folder
        upstream = upstream or (f"url = turn:127.0.0.1:{relay.port}?transport=udp, "
                                f"turn:127.0.0.1:{relay.port}?transport=tcp")
        self.port, self.stats_port = free_port(), free_port()
        self.conf = os.path.join(folder, f"local-{self.port}.conf")
        with open(self.conf, "w") as f:
            f.write(f"""[local]
socks5 = 127.0.0.1:{free_port()}
turn = 127.0.0.1:{self.port}
[upstream]
{upstream}
user = alice
password = secret
[stats]
listen = 127.0.0.1:{self.stats_port}
""")
        self.log = open(self.conf + ".log", "w+")
        self.process = subprocess.Popen([BINARY, "local", "-c", self.conf], stderr=self.log)
        self.wait_for("is ready")
        end = time.monotonic() + 10
        while self.get("/readyz")[0] != 200 and time.monotonic() < end:
            time.sleep(0.05)
        self.password = re.search(r"credential (\w+)", self.text()).group(1)

    def call(self):
        return pair(self.server, user="callveil", password=self.password)


def callveil(*arguments, **more):
    return subprocess.run([BINARY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=30, stdin=subprocess.DEVNULL, **more)


# ---- bad HTTP ----

HOST = b"Host: 127.0.0.1:%d\r\n"
STUN = bytes.fromhex("000100002112a442") + bytes(12)

BAD = {
    "S24 a POST without a body": b"POST /stats.json HTTP/1.1\r\n" + HOST + b"\r\n",
    "S24 a POST with a body": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nabcd",
    "S24 a Content-Length that is no number":
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n\r\n",
    "S24 a negative Content-Length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "S24 a Content-Length beyond 64 bits":
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "S24 a body of gigabytes": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5000000000\r\n\r\n",
    "S24 binary": bytes(range(256)) * 20,
    "S24 STUN": STUN * 50,
    "S24 a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "a chunk of no size": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk that is too large":
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n7fffffff\r\nx",
    "a header of a megabyte": b"GET / HTTP/1.1\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "a line of a megabyte": b"GET /" + b"a" * (1 << 20),
    "ten thousand headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10000 + b"\r\n",
    "no Host": b"GET /stats.json HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /stats.json HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "somebody else's Host": b"GET /stats.json HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "somebody else's URL": b"GET http://evil.example/stats.json HTTP/1.1\r\n" + HOST + b"\r\n",
    "a zero byte in the path": b"GET /stats.json\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a folded header": b"GET /stats.json HTTP/1.1\r\n x\r\n" + HOST + b"\r\n",
    "a method of our own making": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP of the future": b"GET /stats.json HTTP/9.9\r\n" + HOST + b"\r\n",
    "HTTP of the past": b"GET /stats.json\r\n\r\n",
}


def say(port, data):
    """What is answered, until the far end closes; None if it does not."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=12) as s:
        try:
            s.sendall(data)
            while part := s.recv(65536):
                answer += part
        except TimeoutError:
            return None
        except OSError:
            pass  # reset: it has had enough
    return answer


def is_refusal(answer):
    return answer == b"" or re.match(rb"HTTP/1\.[01] (4|5)\d\d ", answer) is not None


def test_bad_http(folder):
    relay = Relay(folder, more=LOOPBACK)
    local = Local(folder, relay)
    for role, process in (("relay", relay), ("local", local)):
        requests = [r.replace(b"%d", b"%d" % process.stats_port) for r in BAD.values()]
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = list(pool.map(say, [process.stats_port] * len(requests), requests))
        for name, answer in zip(BAD, answers):
            check(f"{role}: {name} is refused or closed", answer is not None and is_refusal(answer)
                  and b'"counters"' not in answer, answer)
        check(f"{role}: and the next one is served", process.get("/healthz")[0] == 200)
        check(f"{role}: no answer allows another site to read it",
              b"access-control" not in say(
                  process.stats_port, b"GET /stats.json HTTP/1.1\r\nOrigin: http://evil.example\r\n"
                  + HOST % process.stats_port + b"\r\n").lower())
    local.end("bad HTTP (local)")
    relay.end("bad HTTP (relay)")


# ---- HTTPS ----

class HttpsRelay(Relay):
    """A relay whose statistics listen on every address, which makes them HTTPS."""

    def write(self, extra="", users="", text=None):
        super().write(text=f"""[relay]
listen = udp://127.0.0.1:{self.port}
certificate = {self.folder}/https-cert.pem
private-key = {self.folder}/https-key.pem
[users]
alice = secret
[stats]
listen = 0.0.0.0:{self.stats_port}
token = {TOKEN}
""")


def test_https(folder):
    relay = HttpsRelay(folder)
    context = ssl.create_default_context(cafile=f"{folder}/https-cert.pem")
    context.check_hostname = False

    def get(path, token=None, host=None):
        request = urllib.request.Request(f"https://127.0.0.1:{relay.stats_port}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        if host:
            request.add_header("Host", host)
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, ""

    check("beyond loopback it is HTTPS with the relay's certificate", get("/healthz")[0] == 200)
    check("which asks for the token", get("/metrics")[0] == 401 and
          get("/metrics", TOKEN[:-1])[0] == 401 and get("/metrics", TOKEN)[0] == 200)
    check("a name in the certificate is a Host of ours, another is not",
          get("/healthz", host=f"callveil:{relay.stats_port}")[0] == 200 and
          get("/healthz", host=f"evil.example:{relay.stats_port}")[0] == 421)
    plain = say(relay.stats_port, b"GET /healthz HTTP/1.1\r\n" + HOST % relay.stats_port + b"\r\n")
    check("plain HTTP is not answered", plain is not None and b"HTTP" not in plain, plain)
    stats = callveil("stats", "-c", relay.conf)
    check("callveil stats finds its way by the configuration",
          stats.returncode == 0 and json.loads(stats.stdout)["role"] == "relay", stats)
    os.rename(f"{folder}/https-cert.pem", f"{folder}/old.pem")
    os.rename(f"{folder}/https-key.pem", f"{folder}/old-key.pem")
    relay.signal(signal.SIGHUP)
    relay.wait_for("configuration reloaded")
    try:
        get("/healthz")
        renewed = False
    except urllib.error.URLError:
        renewed = True
    context = ssl.create_default_context(cafile=f"{folder}/https-cert.pem")
    context.check_hostname = False
    check("a reload takes a new certificate up", renewed and get("/healthz")[0] == 200)
    with open(relay.conf) as f:
        text = f.read()
    impostor = os.path.join(folder, "impostor.conf")
    with open(impostor, "w") as f:
        f.write(text.replace("https-cert.pem", "old.pem").replace("https-key.pem", "old-key.pem"))
    stats = callveil("stats", "-c", impostor)
    check("and callveil stats accepts no certificate but the configuration's",
          stats.returncode == 1 and b"certificate" in stats.stderr and not stats.stdout, stats)
    relay.end("HTTPS")


# ---- slow clients beside a call ----

def slow(port, seconds):
    """Holds N_SLOW connections that send a byte now and then, and opens those that are closed
    again. Prints how many were opened."""
    end = time.monotonic() + seconds
    clients, n_opened = [], 0
    while time.monotonic() < end:
        alive = []
        for s in clients:
            try:
                s.send(b"G")
                alive.append(s)
            except OSError as e:
                if isinstance(e, BlockingIOError):
                    alive.append(s)
                else:
                    s.close()
        clients = alive
        while len(clients) < N_SLOW:
            s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", port))
            clients.append(s)
            n_opened += 1
        time.sleep(0.2)
    print(n_opened)


def round_trips(a, b, n, pause_s=0.005):
    """Microseconds of n messages from a to b and back, one each 5 ms; None for one that is lost."""
    times = []
    for i in range(n):
        payload = struct.pack("!I", i) + os.urandom(160)
        start = time.monotonic_ns()
        try:
            a.send(CHANNEL, payload)
            ok = b.receive() == (CHANNEL, payload)
            b.send(CHANNEL, payload)
            ok = a.receive() == (CHANNEL, payload) and ok
        except TimeoutError:
            ok = False
        times.append((time.monotonic_ns() - start) / 1000 if ok else None)
        time.sleep(pause_s)
    return times


def figures(times):
    kept = sorted(t for t in times if t is not None)
    return (f"{len(times) - len(kept)} of {len(times)} lost, median {statistics.median(kept):.0f} us, "
            f"99 % {kept[len(kept) * 99 // 100]:.0f} us, worst {kept[-1]:.0f} us")


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_slow_clients(folder):
    relay = Relay(folder, more=LOOPBACK)
    local = Local(folder, relay)
    a, b = local.call()
    before = local.descriptors()
    quiet = round_trips(a, b, 500)
    for name, victim in (("local proxy", local), ("relay", relay)):
        attack = subprocess.Popen([sys.executable, __file__, "slow", str(victim.stats_port), "5"],
                                  stdout=subprocess.PIPE)
        time.sleep(1)
        used = cpu_seconds(victim.process)
        attacked = round_trips(a, b, 500)
        used = cpu_seconds(victim.process) - used
        answer = victim.get("/healthz")[0]
        n_opened = int(attack.communicate(timeout=30)[0])
        check(f"a call loses nothing while {N_SLOW} slow clients sit at the {name}'s statistics",
              None not in attacked and None not in quiet, f"{figures(quiet)}; {figures(attacked)}")
        check(f"and the {name}'s statistics are still answered", answer == 200, answer)
        check(f"there were {N_SLOW} of them and more", n_opened >= N_SLOW, n_opened)
        print(f"# {name}: quiet {figures(quiet)}\n#   attacked {figures(attacked)}\n"
              f"#   {n_opened} connections in 5 s; {used:.2f} s of its CPU meanwhile")
    check("their connections are let go", local.descriptors_settle(before + 1, seconds=12),
          f"{local.descriptors()} > {before}")
    used = cpu_seconds(local.process)
    for _ in range(300):
        local.get("/metrics")
    print(f"# a scrape of the local proxy costs {(cpu_seconds(local.process) - used) / 300 * 1e6:.0f} "
          "us of its CPU, connection and all")
    local.end("slow clients (local)")
    relay.end("slow clients (relay)")


# ---- Prometheus ----

def write_scrape_file(folder, relay, local, https):
    path = os.path.join(folder, "prometheus.yml")
    with open(path, "w") as f:
        f.write(f"""
global:
  scrape_interval: 1s
  scrape_timeout: 900ms
scrape_configs:
  - job_name: relay
    static_configs:
      - targets: ["127.0.0.1:{relay.stats_port}"]
  - job_name: local
    static_configs:
      - targets: ["127.0.0.1:{local.stats_port}"]
  - job_name: https
    scheme: https
    authorization:
      credentials: {TOKEN}
    tls_config:
      ca_file: {folder}/https-cert.pem
      server_name: callveil
    static_configs:
      - targets: ["127.0.0.1:{https.stats_port}"]
""")
    return path


class Prometheus:
    def __init__(self, folder, scrape_file):
        self.port = free_port()
        self.log = open(os.path.join(folder, "prometheus.log"), "w")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={scrape_file}", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address=127.0.0.1:{self.port}"], stderr=self.log, stdout=self.log)

    def ask(self, query):
        """The values by job, or None while there is no answer."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(url, timeout=5) as r:
                result = json.load(r)["data"]["result"]
        except OSError:
            return None
        return {s["metric"].get("job"): float(s["value"][1]) for s in result}

    def settles(self, query, expected, seconds=20):
        end = time.monotonic() + seconds
        while (now := self.ask(query)) != expected and time.monotonic() < end:
            time.sleep(0.2)
        return now == expected, now

    def end(self):
        self.process.terminate()
        self.process.wait(20)


def test_prometheus(folder):
    names = ["Prometheus scrapes both roles, and a relay over HTTPS with its token", "it counts the packets that were sent",
             "it counts the bytes that were sent", "its histograms agree with the counters",
             "it knows the upstream's state and the certificate's end",
             "the relay's promtool check metrics is silent", "and so is the local proxy's",
             "promtool accepts the example scrape file"]
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        for name in names:
            skip(name, "there is no prometheus here")
        return
    relay = Relay(folder, more=LOOPBACK)
    local = Local(folder, relay)
    https = HttpsRelay(folder)
    prometheus = Prometheus(folder, write_scrape_file(folder, relay, local, https))
    a, b = local.call()
    lost = exchange(a, b, 250)
    check(names[0], *prometheus.settles("up", {"relay": 1.0, "local": 1.0, "https": 1.0}))
    check(names[1], *prometheus.settles('callveil_relayed_packets_total{direction="up"} == 500',
                                        {"relay": 500.0, "local": 500.0}))
    ok, now = prometheus.settles('sum by (job) (callveil_relayed_bytes_total) > 0',
                                 {"relay": 2 * 500.0 * 104, "local": 2 * 500.0 * 104})
    check(names[2], ok and lost == 0, (now, lost))
    made = {role: float(process.stats()["counters"]["allocations_made"])
            for role, process in (("relay", relay), ("local", local))}
    check(names[3], *prometheus.settles("callveil_allocation_duration_seconds_count > 0", made))
    expiry = certificate_end(folder)
    up = prometheus.settles('sum by (job) (callveil_upstream_up)', {"local": 2.0})
    check(names[4], up[0] and prometheus.settles(
        'callveil_certificate_expiry_timestamp_seconds{job="relay"}', {"relay": float(expiry)})[0], (up, expiry))
    for name, process in ((names[5], relay), (names[6], local)):
        tool = subprocess.run(["promtool", "check", "metrics"], input=process.get("/metrics")[1].encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        check(name, tool.returncode == 0 and tool.stdout == b"", tool.stdout.decode())
    tool = subprocess.run(["promtool", "check", "config", TREE + "/conf/prometheus.yml"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
    check(names[7], tool.returncode == 0, tool.stdout.decode())
    prometheus.end()
    https.end("Prometheus (HTTPS)")
    local.end("Prometheus (local)")
    relay.end("Prometheus (relay)")


# ---- the relay's certificate, as the local proxy was shown it ----

def make_certificate(folder):
    """For 127.0.0.1, its own authority. Return: its end, seconds since 1970."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=relay.test",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder + "/key.pem",
                    "-out", folder + "/cert.pem"], stderr=subprocess.DEVNULL, check=True)
    return certificate_end(folder)


def certificate_end(folder):
    return ssl.cert_time_to_seconds(subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-in", folder + "/cert.pem"],
        stdout=subprocess.PIPE, check=True).stdout.decode().strip().split("=")[1])


def certificate_pin(folder):
    key = subprocess.run(["openssl", "x509", "-noout", "-pubkey", "-in", folder + "/cert.pem"],
                         stdout=subprocess.PIPE, check=True).stdout.decode()
    der = base64.b64decode("".join(key.strip().split("\n")[1:-1]))
    return "sha256/" + base64.b64encode(hashlib.sha256(der).digest()).decode()


def test_certificate(folder):
    own = os.path.join(folder, "own")
    os.mkdir(own)
    end = make_certificate(own)
    relay = Relay(own, more=LOOPBACK)
    series = f"\ncallveil_certificate_expiry_timestamp_seconds {end}\n"
    tls = "url = " + ", ".join(f"turns:127.0.0.1:{relay.tls_port}?transport={t}" for t in ("udp", "tcp"))
    for name, upstream, pinned in (("vouched for", f"{tls}\nca-file = {own}/cert.pem", False),
                                   ("pinned", f"{tls}\npin = {certificate_pin(own)}", True)):
        local = Local(own, relay, upstream)
        within(10, lambda: local.stats()["streams"]["state"] == "ready")
        stats = local.stats()
        for link in ("upstream", "streams"):
            check(f"{name}: the certificate's end is told, {link}",
                  (stats[link].get("certificate_not_after"), stats[link].get("certificate_pinned")) ==
                  (end, pinned), stats[link])
        metrics = local.get("/metrics")[1]
        check(f"{name}: and is {'no metric' if pinned else 'a metric'}",
              (series in metrics) != pinned and ("callveil_certificate" in metrics) != pinned)
        local.end(f"the certificate, {name}")
    local = Local(own, relay)
    stats = local.stats()
    check("in the clear there is no certificate", "certificate_not_after" not in stats["upstream"] and
          "callveil_certificate" not in local.get("/metrics")[1], stats["upstream"])
    local.end("the certificate, in the clear")
    relay.end("the certificate (relay)")


# ---- callveil top and stats ----

class Terminal:
    """callveil top in a terminal of its own, which is its controlling one."""

    def __init__(self, conf, rows=30, columns=100):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.screen = ""
        self.process = subprocess.Popen([BINARY, "top", "-c", conf], stdin=self.slave,
                                        stdout=self.slave, stderr=self.slave,
                                        preexec_fn=self.become_session)

    def become_session(self):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def waits_for(self, text, seconds=10):
        """Whether `text` comes; what came before it is forgotten."""
        end = time.monotonic() + seconds
        while text not in self.screen and time.monotonic() < end:
            if select.select([self.master], [], [], 0.1)[0]:
                self.screen += os.read(self.master, 65536).decode(errors="replace")
        found = text in self.screen
        self.last = self.screen
        self.screen = self.screen[self.screen.index(text) + len(text):] if found else ""
        return found

    def type(self, keys):
        os.write(self.master, keys)

    def ends(self):
        """The exit status, and whether the terminal is what it was."""
        restored = self.waits_for("\033[?1049l")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        same = termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return self.process.returncode, restored and same


def test_top(folder):
    relay = Relay(folder, more=LOOPBACK)
    local = Local(folder, relay)
    a, b = local.call()
    exchange(a, b, 10)

    terminal = Terminal(local.conf)
    check("top shows what peers see", terminal.waits_for("Peers see     127.0.0.1"), terminal.last)
    check("and the way to the relay", terminal.waits_for("ready over udp to 127.0.0.1"), terminal.last)
    check("and counts packets", terminal.waits_for("Up") and terminal.waits_for(" 20 "), terminal.last)
    check("again and again", terminal.waits_for("\033[H") and terminal.waits_for("Peers see"))
    terminal.resize(5, 20)
    drawn = terminal.waits_for("\033[J") and terminal.waits_for("\033[J") and \
        terminal.waits_for("\033[J")
    page = terminal.last.split("\033[H")[-1]
    lines = page.replace("\033[K", "").split("\033[J")[0].split("\r\n")
    check("a smaller window gets a smaller page", drawn and len(lines) == 5 and
          all(len(line) <= 20 for line in lines), repr(page))
    terminal.type(b"q")
    check("q ends it and gives the terminal back", terminal.ends() == (0, True))
    terminal = Terminal(relay.conf)
    check("the relay's page has its ports and users", terminal.waits_for("IPv4") and
          terminal.waits_for("alice"), terminal.last)
    terminal.type(b"\x03")
    check("^C ends it and gives the terminal back", terminal.ends() == (0, True))

    page = callveil("top", "-c", local.conf)
    check("without a terminal it prints one page and ends", page.returncode == 0 and
          b"Peers see     127.0.0.1" in page.stdout and b"\033" not in page.stdout, page)
    answer = callveil("stats", "-c", local.conf)
    stats = json.loads(answer.stdout)
    check("stats prints the JSON", answer.returncode == 0 and stats["version"] == 1 and
          stats["counters"]["up_packets"] == 20, answer)
    check("a role has no counters of the other", "socks_connect" in stats["counters"] and
          "ports_udp4_free" not in stats["counters"] and
          "socks_connect" not in relay.stats()["counters"])

    terminal = Terminal(local.conf)
    terminal.waits_for("Peers see")
    local.end("top (local)")
    check("top says when nobody answers any more", terminal.waits_for("NO ANSWER since") and
          terminal.waits_for("nobody listens at 127.0.0.1"), terminal.last)
    terminal.process.terminate()
    check("SIGTERM gives the terminal back, too", terminal.ends() == (0, True))
    for command in ("stats", "top"):
        answer = callveil(command, "-c", local.conf)
        check(f"{command} says that nobody is there (1)", answer.returncode == 1 and
              b'is "callveil local" running?' in answer.stderr and not answer.stdout, answer)
    check("a configuration that is none is refused (2)",
          callveil("stats", "-c", folder + "/none.conf").returncode == 2)
    check("and so is a role that is none (2)",
          callveil("stats", "-c", local.conf, "--role", "x").returncode == 2)
    relay.end("top (relay)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["slow"]:
        sys.exit(slow(int(sys.argv[2]), float(sys.argv[3])))
    sys.exit(run((test_bad_http, test_https, test_slow_clients, test_prometheus, test_certificate,
                  test_top)))
