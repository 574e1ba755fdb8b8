#!/usr/bin/python3
"""Load for tests/bench/local.sh, and the sums afterwards.

    peer                          serves UDP echo (5000), TCP echo (5001), source (5002), sink (5003)
    bulk down|up PATH BYTES       MB/s
    udp PATH SECONDS              round trips per second of 8 associations, 8 datagrams each under way
    rtt PATH N                    median and 99th percentile of N round trips, in microseconds
    measure PIDS COMMAND...       runs one of the above, by way of $BENCH_ENTER; adds the CPU seconds
                                  of each process
    summary FILE                  medians and ranges of what local.sh wrote down

PATH is direct, socks:HOST:PORT, direct-tcp, socks-tcp:HOST:PORT, or turn-udp:HOST:PORT:USER:PASSWORD
and turn-tcp likewise. Every datagram's content is compared.
"""

import os
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path += [os.path.join(TESTS, "interop", "local"), os.path.join(TESTS, "e2e")]
from socks5 import CONNECT, Association, pack, request  # noqa: E402

PEER = "10.99.1.2"
N_FLOWS, WINDOW, SIZE = 8, 8, 172
BLOCK = 1 << 18
NOISE = "dante-again"  # the second of a pair of the same
LOADS = os.path.abspath(__file__)


# ---- the peer ----

def echo_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.bind((PEER, 5000))
        buffer = bytearray(2048)
        while True:
            n, source = s.recvfrom_into(buffer)
            s.sendto(memoryview(buffer)[:n], source)


def echo_tcp(s):
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := s.recv(65536):
        s.sendall(data)


def source(s):
    left, block = struct.unpack("!Q", s.recv(8, socket.MSG_WAITALL))[0], bytes(BLOCK)
    while left:
        left -= s.send(block[: min(left, BLOCK)])


def sink(s):
    left, buffer = struct.unpack("!Q", s.recv(8, socket.MSG_WAITALL))[0], bytearray(BLOCK)
    while left:
        n = s.recv_into(buffer)
        if not n:
            return
        left -= n
    s.sendall(b"!")


def serve(port, handle):
    def one(s):
        with s:
            try:
                handle(s)
            except (OSError, struct.error):
                pass

    with socket.create_server((PEER, port), backlog=64) as listener:
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()


def peer():
    for port, handle in ((5001, echo_tcp), (5002, source), (5003, sink)):
        threading.Thread(target=serve, args=(port, handle), daemon=True).start()
    print("ready", file=sys.stderr, flush=True)
    echo_udp()


# ---- paths ----

def proxy_of(path):
    _, host, port = path.split(":")
    return host, int(port)


def stream_to(path, port):
    if path.startswith("socks"):
        s = request(proxy_of(path), CONNECT, PEER, port)[0]
    else:
        s = socket.create_connection((PEER, port), timeout=15)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


class Datagrams:
    """send() and receive() of payloads, to and from the peer's echo."""

    def __init__(self, path):
        if path == "direct":
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.sock.connect((PEER, 5000))
            self.head = b""
        else:
            self.association = Association(proxy_of(path))
            self.sock = self.association.sock
            self.head = b"\0\0\0" + pack(PEER, 5000)
        self.sock.settimeout(5)

    def send(self, payload):
        self.sock.send(self.head + payload)

    def receive(self):
        data = self.sock.recv(2048)
        if not data.startswith(self.head):
            raise ValueError("not from the peer")
        return data[len(self.head):]


class Turn:
    def __init__(self, path):
        from turnclient import Client
        kind, host, port, user, password = path.split(":", 4)
        local = "127.0.0.1" if host.startswith("127.") else "10.99.0.2"
        self.client = Client((host, int(port)), user, password, kind.removeprefix("turn-"), local)
        if self.client.stream:
            self.client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.allocate()
        self.client.bind(0x4000, (PEER, 5000))

    def send(self, payload):
        self.client.send(0x4000, payload)

    def receive(self):
        return self.client.receive(5)[1]


class Stream:
    def __init__(self, path):
        self.sock = stream_to(path, 5001)

    def send(self, payload):
        self.sock.sendall(payload)

    def receive(self):
        return self.sock.recv(SIZE, socket.MSG_WAITALL)


def open_path(path):
    if path.startswith("turn-"):
        return Turn(path)
    return Stream(path) if "-tcp" in path else Datagrams(path)


# ---- loads ----

def bulk(direction, path, n_bytes):
    s = stream_to(path, 5002 if direction == "down" else 5003)
    begin = time.monotonic()
    s.sendall(struct.pack("!Q", n_bytes))
    if direction == "down":
        left, buffer = n_bytes, bytearray(BLOCK)
        while left:
            n = s.recv_into(buffer)
            if not n:
                sys.exit("closed too early")
            left -= n
    else:
        left, block = n_bytes, bytes(BLOCK)
        while left:
            left -= s.send(block[: min(left, BLOCK)])
        if s.recv(1) != b"!":
            sys.exit("closed too early")
    print(f"{n_bytes / 1e6 / (time.monotonic() - begin):.1f} MB/s")


def udp(path, seconds):
    """A flow that hears nothing for a second sends again, and the loss is reported."""
    selector, flows = selectors.DefaultSelector(), [Datagrams(path) for _ in range(N_FLOWS)]
    for i, flow in enumerate(flows):
        flow.tail = bytes([i]) * (SIZE - 8)
        flow.sent, flow.under_way = 0, set()
        selector.register(flow.sock, selectors.EVENT_READ, flow)

        def more(flow=flow):
            flow.under_way.add(flow.sent)
            flow.send(struct.pack("!Q", flow.sent) + flow.tail)
            flow.sent += 1

        flow.more = more
        more()
        if flow.receive()[8:] != flow.tail:
            sys.exit("a datagram of another flow")
        flow.under_way.clear()
        for _ in range(WINDOW):
            more()
    n = lost = 0
    begin = now = time.monotonic()
    while now - begin < seconds:
        ready = selector.select(1)
        for key, _ in ready:
            flow, data = key.data, key.data.receive()
            number = struct.unpack("!Q", data[:8])[0]
            if data[8:] != flow.tail or number not in flow.under_way:
                sys.exit("a datagram that was not sent, or came twice")
            flow.under_way.discard(number)
            n += 1
            flow.more()
        if not ready:
            lost += sum(len(flow.under_way) for flow in flows)
            for flow in flows:
                flow.under_way.clear()
                for _ in range(WINDOW):
                    flow.more()
        now = time.monotonic()
    print(f"{n / (now - begin):.0f} round-trips/s {n} round-trips {lost} lost")


def rtt(path, n):
    connection, times = open_path(path), []
    for i in range(n + 50):
        payload = struct.pack("!I", i) + bytes(SIZE - 4)
        begin = time.perf_counter_ns()
        connection.send(payload)
        data = connection.receive()
        times.append(time.perf_counter_ns() - begin)
        if data != payload:
            sys.exit("another payload came back")
    times = sorted(times[50:])
    print(f"{times[n // 2] / 1000:.0f} p50 {times[n * 99 // 100] / 1000:.0f} p99")


# ---- what it cost ----

def cpu_seconds(pid):
    """What the scheduler has counted for a process, threads that have ended included (schedstat
    leaves those out): the clock that clock_getcpuclockid(3) names."""
    return time.clock_gettime((~pid << 3) | 2)


def family_cpu_seconds(program):
    """Of all processes of a program that makes and ends them as it likes (dante): what has ended
    since is in the times of the one that has waited for it, in ticks of 10 ms."""
    total = 0.0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                own, fields = f.read().rsplit(")", 1)
            if own.split("(", 1)[1] != program:
                continue
            state, *fields = fields.split()
            # utime, stime, cutime and cstime of proc(5)
            times = [int(n) / os.sysconf("SC_CLK_TCK") for n in fields[10:14]]
            total += sum(times[:2]) if state == "Z" else cpu_seconds(int(pid))
            total += sum(times[2:])
        except OSError:
            pass  # between one look and the next: its parent has it now
    return total


def cpu_seconds_of(some):
    """`some`: pid[+pid...], or the name of a program."""
    if not some[0].isdigit():
        return family_cpu_seconds(some)
    return sum(cpu_seconds(int(pid)) for pid in some.split("+"))


def measure(names, command):
    """`names` is name=processes,...; prints the command's line and the CPU seconds of each."""
    watched = dict(pair.split("=") for pair in names.split(",") if pair)
    before = {name: cpu_seconds_of(some) for name, some in watched.items()}
    enter = os.environ.get("BENCH_ENTER", "").split()
    run = subprocess.run([*enter, sys.executable, LOADS, *command], capture_output=True, text=True,
                         timeout=120)
    if run.returncode:
        sys.exit(run.stderr.strip().splitlines()[-1])
    used = {name: cpu_seconds_of(some) - before[name] for name, some in watched.items()}
    print(run.stdout.strip(), *(f"{used[name]:.6f} {name}-cpu-s" for name in used))


# ---- sums ----

def spread(values, digits=0):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def read_results(name):
    """{(test, subject): [{unit: value}, ...]}, the first round left out."""
    results = {}
    with open(name) as f:
        for line in f:
            number, test, subject, *fields = line.split()
            values = {unit: float(value) for value, unit in zip(fields[::2], fields[1::2])}
            if number != "1":
                results.setdefault((test, subject), []).append(values)
    return results


def column(results, test, subject, function):
    return [function(v) for v in results.get((test, subject), [])]


def print_table(results, test, subjects, what, function, digits=0):
    """Medians with ranges, and the first subject's share of each of the others'. The parts of the
    result line."""
    parts = []
    first = column(results, test, subjects[0], function)
    for subject in subjects:
        values = column(results, test, subject, function)
        if not values:
            continue
        ratio = ""
        if first and subject not in (subjects[0], NOISE) and statistics.median(values):
            share = statistics.median(first) / statistics.median(values)
            ratio = f"{subjects[0]} is {share:.2f} of it"
            parts.append(f"{test} {what} {subjects[0]}/{subject} {share:.2f}")
        print(f"{test:10} {subject:18} {spread(values, digits):32} {what:24} {ratio}")
    return parts


def cpu(values):
    return sum(v for unit, v in values.items() if unit.endswith("-cpu-s")) or float("nan")


def summary(name):
    results, parts = read_results(name), []
    subjects = sorted({s for _, s in results if not s.startswith(("direct", "turn-"))},
                      key=lambda s: (s != "callveil", s == NOISE, s))
    for test in ("bulk-down", "bulk-up"):
        parts += print_table(results, test, subjects, "MB/s", lambda v: v["MB/s"])
        parts += print_table(results, test, subjects, "CPU-ms per MB",
                             lambda v: 1000 * cpu(v) / v["MB"], 2)
    parts += print_table(results, "udp", subjects, "round-trips/s", lambda v: v["round-trips/s"])
    parts += print_table(results, "udp", subjects, "per CPU-s", lambda v: v["round-trips"] / cpu(v))
    for unit in ("local-cpu-s", "relay-cpu-s"):
        shares = [v["round-trips"] / v[unit] for v in results.get(("udp", "callveil"), [])
                  if unit in v]
        if shares:
            print(f"{'udp':10} {'callveil':18} {spread(shares):32} per CPU-s of {unit[:5]} alone")
    if NOISE in subjects and subjects[0] != "dante":
        for test, what, function in (("bulk-down", "MB/s", lambda v: v["MB/s"]),
                                     ("udp", "per CPU-s", lambda v: v["round-trips"] / cpu(v))):
            pair = [statistics.median(column(results, test, s, function)) for s in ("dante", NOISE)]
            parts.append(f"noise: {test} {what} dante/dante {pair[0] / pair[1]:.2f}")
    lost = sum(v.get("lost", 0) for (test, _), all_of in results.items() if test == "udp"
               for v in all_of)
    print(f"udp        datagrams lost: {lost:.0f}")
    added(results, parts)
    print("result: " + "; ".join(parts))


def added(results, parts):
    """Round trips of each path, and what is added to the direct one in the same round."""
    for test, direct in (("rtt-udp", "direct"), ("rtt-tcp", "direct-tcp")):
        base = results.get((test, direct), [])
        for (one, subject), values in results.items():
            if one != test:
                continue
            for unit in ("p50", "p99"):
                more = [v[unit] - b[unit] for v, b in zip(values, base)]
                print(f"{test:10} {subject:18} {spread([v[unit] for v in values]):32} "
                      f"us {unit}, {spread(more)} added")
                if subject != direct:
                    parts.append(f"{test} {subject} {statistics.median(more):+.0f} us {unit}")


def main(argv):
    if argv[0] == "peer":
        peer()
    elif argv[0] == "bulk":
        bulk(argv[1], argv[2], int(argv[3]))
    elif argv[0] == "udp":
        udp(argv[1], float(argv[2]))
    elif argv[0] == "rtt":
        rtt(argv[1], int(argv[2]))
    elif argv[0] == "measure":
        measure(argv[1], argv[2:])
    elif argv[0] == "summary":
        summary(argv[1])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
