"""A place to leak in: four hosts in network namespaces of their own, captures on two links.

    app + local  192.168.7.2 --+-- router --+-- relay  198.18.3.2
                 fd00:7::2     |            |          2001:db8:3::2
    (uplink: captured)         |            +-- peer   198.18.2.2, DNS 198.18.2.53 (captured)
                               |                       2001:db8:2::2
            the "ISP's" resolver, 192.168.7.1

The router translates nothing and filters nothing: whatever the app's host sends to a peer
arrives, and the peer's answer comes back. A leak is as easy here as anywhere.

This process runs on the router, as the first of PID, mount and network namespaces that the
caller made. A thread may step into another host's network (`with lab.at("app")`): sockets that
it makes there stay there. Programs run with lab.run().
"""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import threading
import time

import frames
from judge import Rules, judge

APP, APP_MOVED, APP6 = "192.168.7.2", "192.168.7.3", "fd00:7::2"
GATEWAY, GATEWAY6 = "192.168.7.1", "fd00:7::1"
RELAY, RELAY6, RELAY_NAME = "198.18.3.2", "2001:db8:3::2", "relay.example"
PEER, PEER6, FAR_DNS = "198.18.2.2", "2001:db8:2::2", "198.18.2.53"
PEER_GATEWAY, PEER_GATEWAY6 = "198.18.2.1", "2001:db8:2::1"

APPS = {APP, APP_MOVED, APP6}
# Every name that an app uses holds the first, every payload the second.
NAME_MARK, PAYLOAD_MARK = b"zkqname", b"zkqpayload"
FAR_DOMAIN = "far.test"

# host -> (its router's addresses, its own), with prefix lengths
LINKS = {
    "app": ((GATEWAY + "/24", GATEWAY6 + "/64"), (APP + "/24", APP6 + "/64")),
    "relay": (("198.18.3.1/24", "2001:db8:3::1/64"), (RELAY + "/24", RELAY6 + "/64")),
    "peer": ((PEER_GATEWAY + "/24", PEER_GATEWAY6 + "/64"),
             (PEER + "/24", FAR_DNS + "/24", PEER6 + "/64")),
}

# What ASan finds at exit, leaks too, must not look like a clean end.
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"}

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The place itself is not as it should be: nothing can be said about leaks."""


def shell(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def until(condition, seconds, step=0.05):
    """Waits for a condition. Return: the seconds it took, or None."""
    start = time.monotonic()
    while True:
        if condition():
            return time.monotonic() - start
        if time.monotonic() - start > seconds:
            return None
        time.sleep(step)


class Process:
    """A program on one of the hosts, ended by its pid."""

    def __init__(self, argv, log):
        self.log = log
        with open(log, "ab") as f:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                                          env={**os.environ, **SANITIZERS})

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def says(self, pattern, seconds=20):
        """Whether the log has it in time, from a process that still runs."""
        return until(lambda: re.search(pattern, self.text()) or self.popen.poll() is not None,
                     seconds) is not None and re.search(pattern, self.text()) is not None

    def runs(self):
        return self.popen.poll() is None

    def end(self, number, seconds=10):
        """Signals and waits. Return: the exit status, or None when it did not end in time."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            return None


class Capture:
    @staticmethod
    def settle():
        """What is under way is still seen, and what the kernel has gathered is handed over, which
        it does once a second."""
        time.sleep(1.5)

    def __init__(self, lab, name, link):
        self.path = os.path.join(lab.folder, f"{name}.pcap")
        # Not --immediate-mode: there a frame takes the room of the largest that could come, and on
        # a busy machine a few hundred of them fill the buffer.
        argv = ["tcpdump", "-Z", "root", "-i", link, "-U", "-s", "0", "-n", "-B", "16384", "-w",
                self.path]
        with open("/proc/self/setgroups") as f:
            if f.read().strip() == "deny":  # a user namespace: see there
                argv = [os.path.join(os.path.dirname(__file__), "capture.py"), link, self.path]
        self.process = lab.run("router", argv, f"{name}-tcpdump")
        if not self.process.says("listening on"):
            raise LabError(f"tcpdump does not start: {self.process.text()}")

    COUNTS = (r"(\d+) packets? captured[,\s]+(\d+) packets? received by filter[,\s]+"
              r"(\d+) packets? dropped by kernel")

    def counts(self):
        """The latest: (written, seen, dropped)."""
        counts = re.findall(self.COUNTS, self.process.text())
        return tuple(map(int, counts[-1])) if counts else (-1, 0, 0)

    def keeps_up(self):
        """Whether it has written what it has seen, but for what comes just now: ended while it is
        behind, which it is on a busy machine, it would lose the rest."""
        n = len(re.findall(self.COUNTS, self.process.text()))
        self.process.popen.send_signal(signal.SIGUSR1)
        until(lambda: len(re.findall(self.COUNTS, self.process.text())) > n, 2, 0.02)
        written, seen, _ = self.counts()
        return seen - written <= 10

    def stop(self):
        """After settle(). Return: the frames. One that the kernel cut short proves nothing."""
        until(self.keeps_up, 20, 0.2)
        if self.process.end(2) != 0:
            raise LabError(f"tcpdump failed: {self.process.text()}")
        captured = frames.read(self.path)
        written, seen, dropped = self.counts()
        # What comes while tcpdump ends may be counted and not written.
        if written != len(captured) or seen - written > 10 or dropped:
            raise LabError(f"the capture is not whole: {self.process.text()}")
        return captured


class Lab:
    def __init__(self, folder):
        self.folder = folder
        self.pids = {"router": os.getpid()}
        self.threads = []
        self.stopping = threading.Event()
        write("/proc/sys/net/ipv4/ip_forward", "1")
        write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
        shell("ip", "link", "set", "lo", "up")
        for host in LINKS:
            self.make_host(host)

    # ---- hosts ----

    def make_host(self, host):
        holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "600"])
        self.pids[host] = holder.pid
        own = os.readlink("/proc/self/ns/net")
        there = f"/proc/{holder.pid}"
        if until(lambda: os.readlink(f"{there}/ns/net") != own
                 and os.readlink(f"{there}/exe").endswith("/sleep"), 5) is None:
            raise LabError(f"no namespace for {host}")
        theirs, ours = LINKS[host]
        shell("ip", "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns",
              str(holder.pid))
        # DAD takes seconds and finds nobody; an address made of the MAC says nothing here.
        for setting in ("accept_dad", "accept_ra", "autoconf"):
            write(f"/proc/sys/net/ipv6/conf/{host}/{setting}", "0")
        for address in theirs:
            shell("ip", "addr", "add", address, "dev", host, *nodad(address))
        shell("ip", "link", "set", host, "up")
        lines = ["ip link set lo up"]
        lines += [f"echo 0 >/proc/sys/net/ipv6/conf/eth0/{s}" for s in ("accept_dad", "accept_ra")]
        self.sh(host, "; ".join(lines + [self.address_commands(host, ours)]))

    @staticmethod
    def address_commands(host, addresses):
        """As a network manager would: addresses, link up, default routes."""
        lines = [f"ip addr add {a} dev eth0 {' '.join(nodad(a))}" for a in addresses]
        lines.append("ip link set eth0 up")
        for gateway in LINKS[host][0]:
            lines.append(f"ip {'-6 ' * (':' in gateway)}route replace default via "
                         + gateway.split("/")[0])
        return " && ".join(lines)

    def sh(self, host, command):
        return shell(*self.enter(host), "sh", "-c", command)

    def enter(self, host):
        return ["nsenter", "-t", str(self.pids[host]), "-n", "-m", "--"] if host != "router" else []

    def run(self, host, argv, name):
        return Process(self.enter(host) + argv, os.path.join(self.folder, f"{name}.log"))

    @contextlib.contextmanager
    def at(self, host):
        """This thread in the network of a host; sockets made within stay there."""
        with open("/proc/thread-self/ns/net") as before, \
                open(f"/proc/{self.pids[host]}/ns/net") as there:
            self.set_network(there)
            try:
                yield
            finally:
                self.set_network(before)

    @staticmethod
    def set_network(f):
        if libc.setns(f.fileno(), CLONE_NEWNET):
            raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")

    def thread(self, host, run, *arguments):
        """Runs in a host's network until it returns; it should watch lab.stopping."""
        def main():
            with self.at(host):
                run(*arguments)

        thread = threading.Thread(target=main, daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def use_resolver(self, host, address):
        """The machine's own resolver, as its /etc says; its hosts file knows localhost only. Its
        network has a search domain, which nothing of ours has a reason to ask for."""
        conf = f"nameserver {address}\nsearch lan.test\noptions timeout:1 attempts:2\n"
        for name, text in (("resolv.conf", conf),
                           ("hosts", "127.0.0.1 localhost\n::1 localhost\n")):
            path = os.path.join(self.folder, f"{host}-{name}")
            write(path, text)
            self.sh(host, f"mount --bind {path} $(readlink -f /etc/{name})")

    # ---- faults ----

    def nft(self, rules):
        """Replaces what the router does with forwarded packets; "" is nothing."""
        text = "table inet fault {}\ndelete table inet fault\n"
        if rules:
            text += ("table inet fault {\nchain forward {\n"
                     f"type filter hook forward priority filter;\n{rules}\n}}\n}}\n")
        done = subprocess.run(["nft", "-f", "-"], input=text, text=True, capture_output=True,
                              timeout=20)
        if done.returncode:
            raise LabError(f"nft: {done.stderr}")

    # ---- captures ----

    def watch(self, name):
        return {link: Capture(self, f"{name}-{link}", link) for link in ("app", "peer")}


def nodad(address):
    return ["nodad"] if ":" in address else []


def judge_uplink(captured, ports, relay_name, encrypted, least, secrets):
    """`secrets`: (what must be nowhere, what may be read on a plain way to the relay)."""
    nowhere, hidden = secrets
    return judge(captured, Rules(
        host=APPS, router={GATEWAY, GATEWAY6}, relay={RELAY, RELAY6}, ports=ports,
        resolver={GATEWAY, GATEWAY6}, relay_name=relay_name, secret=nowhere, hidden=hidden,
        encrypted=encrypted, least=least))


def judge_peers(captured, least):
    return judge(captured, Rules(
        host={PEER, PEER6, FAR_DNS}, router={PEER_GATEWAY, PEER_GATEWAY6}, relay={RELAY, RELAY6},
        encrypted=False, least=least))
