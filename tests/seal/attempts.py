#!/usr/bin/python3
"""Ways out, tried from inside: attempts.py NAME... prints "NAME<tab>what happened" for each.

Run in a seal by sealcases.py, and outside of one, where they succeed: an attempt that cannot
succeed anywhere proves nothing. Every payload holds PAYLOAD.
"""

import ctypes
import errno
import fcntl
import glob
import os
import signal
import socket
import struct
import subprocess
import sys
import time

PEER, PEER6, ECHO_PORT = "198.18.2.2", "2001:db8:2::2", 4000
ROUTER, ROUTER6 = "192.168.7.1", "fd00:7::1"
HOST, HOST6 = "192.168.7.2", "fd00:7::2"
PAYLOAD = b"zkqpayload attempt"

libc = ctypes.CDLL(None, use_errno=True)
ATTEMPTS = {}


def attempt(run):
    ATTEMPTS[run.__name__.replace("_", "-")] = run
    return run


def word(number):
    return errno.errorcode.get(number, str(number))


def send(family, kind, protocol, to, data=PAYLOAD, options=(), bind=None):
    """Return: "sent", or the errno's name. What comes later (ICMP) is waited for shortly."""
    with socket.socket(family, kind, protocol) as s:
        for option in options:
            s.setsockopt(*option)
        if bind:
            s.bind(bind)
        s.settimeout(0.3)
        s.sendto(data, to)
        try:
            s.recv(100)
            return "answered"
        except TimeoutError:
            return "sent"


def each(*tries):
    """All of them, as "what what ..."."""
    words = []
    for run in tries:
        try:
            words.append(run())
        except OSError as e:
            words.append(word(e.errno))
    return " ".join(words)


def connect(address, port, family=None, kind=socket.SOCK_STREAM):
    family = family or (socket.AF_INET6 if ":" in address else socket.AF_INET)
    with socket.socket(family, kind) as s:
        s.settimeout(8)
        s.connect((address, port))
        s.send(PAYLOAD)
        data = s.recv(100)
        return "answered" if data else "closed"


@attempt
def mapped():
    """What the router says, and an echo from a peer, by one socket: "ADDRESS PORT answered"."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(8)
        request = struct.pack("!HHI", 1, 0, 0x2112A442) + b"zkqtransact!"
        s.sendto(request, ("192.0.2.1", 3478))
        answer = s.recv(200)
        # A success with XOR-MAPPED-ADDRESS, IPv4, first.
        if answer[:2] != b"\x01\x01" or answer[8:26] != request[8:] + b"\0\x20\0\x08\0\1":
            return answer.hex()
        port, address = struct.unpack("!H4s", answer[26:32])
        port ^= 0x2112
        address = bytes(a ^ b for a, b in zip(address, b"\x21\x12\xa4\x42"))
        s.sendto(PAYLOAD, (PEER, ECHO_PORT))
        s.recv(200)
        return f"{socket.inet_ntoa(address)} {port} answered"


def command(*argv):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    return "done" if done.returncode == 0 else "failed"


# ---- packets of one's own making ----

def icmp_echo(kind):
    return struct.pack("!BBHHH", kind, 0, 0, 1, 1) + PAYLOAD


@attempt
def raw_icmp():
    return each(lambda: send(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP, (PEER, 0),
                             icmp_echo(8)))


@attempt
def raw_ip():
    return each(lambda: send(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW, (PEER, 0),
                             struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(PAYLOAD), 0, 0, 64, 17,
                                         0, socket.inet_aton(HOST), socket.inet_aton(PEER))
                             + PAYLOAD))


@attempt
def raw_ipv6():
    return each(lambda: send(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6, (PEER6, 0),
                             icmp_echo(128)))


@attempt
def packet_socket():
    def run():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:
            s.bind(("eth0", 3))
            s.send(b"\xff" * 6 + b"\x02" + b"\0" * 5 + b"\x08\x00" + PAYLOAD)
            return "sent"
    return each(run)


@attempt
def ping():
    start = time.monotonic()
    done = [command("ping", "-n", "-c", "1", "-W", "5", a) for a in (PEER, PEER6)]
    return " ".join(done) + (" late" if time.monotonic() - start > 2 else "")


@attempt
def other_protocols():
    """UDP-Lite by its own kind of socket; SCTP and DCCP where the kernel has them."""
    return each(lambda: send(socket.AF_INET, socket.SOCK_DGRAM, 136, (PEER, ECHO_PORT)),
                lambda: send(socket.AF_INET6, socket.SOCK_DGRAM, 136, (PEER6, ECHO_PORT)),
                lambda: send(socket.AF_INET, socket.SOCK_STREAM, 132, (PEER, ECHO_PORT)),
                lambda: send(socket.AF_INET, 6, 33, (PEER, ECHO_PORT)))


def by_number(family):
    """socket(2) with bits in its argument that the kernel does not look at."""
    number = 41 if os.uname().machine == "x86_64" else 198
    fd = libc.syscall(number, ctypes.c_ulong(family), 1, 0)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "socket")
    return "made"


@attempt
def other_families():
    """Those that do not ask which network namespace they are in, and those to come."""
    return each(*[lambda f=f: socket.socket(f, k).close() or f"made-{f}" for f, k in (
        (40, socket.SOCK_STREAM), (40, socket.SOCK_DGRAM), (17, socket.SOCK_DGRAM),
        (31, socket.SOCK_RAW), (29, socket.SOCK_RAW), (42, socket.SOCK_DGRAM),
        (21, socket.SOCK_SEQPACKET), (44, socket.SOCK_RAW))], *[lambda f=f: by_number(f) for f in (
            40 | 1 << 32, 40 | 0xffffffff << 32)])


@attempt
def io_uring():
    """It makes sockets without socket(2)."""
    params = ctypes.create_string_buffer(256)
    fd = libc.syscall(425, 4, params)
    return "made" if fd >= 0 else word(ctypes.get_errno())


# ---- addresses ----

UDP = socket.SOCK_DGRAM, 0
ALL = (socket.SOL_SOCKET, socket.SO_BROADCAST, 1)


@attempt
def multicast():
    member = socket.inet_aton("224.0.0.251") + socket.inet_aton("192.0.2.2")
    here = (socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.0.2.2"))
    join = (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    inside = [] if outside() else [here, join]
    return each(lambda: send(socket.AF_INET, *UDP, ("224.0.0.251", 5353)),
                lambda: send(socket.AF_INET, *UDP, ("239.255.255.250", 1900), options=inside))


@attempt
def multicast_ipv6():
    index = socket.if_nametoindex("eth0")
    there = (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    return each(*[lambda a=a: send(socket.AF_INET6, *UDP, (a, 5353, 0, index), options=[there])
                  for a in ("ff02::fb", "ff02::1", "ff05::2", "ff0e::fb")])


@attempt
def broadcast():
    return each(*[lambda a=a: send(socket.AF_INET, *UDP, (a, 9), options=[ALL])
                  for a in ("255.255.255.255", "192.0.2.3", "192.0.2.0")])


@attempt
def link_local():
    index = socket.if_nametoindex("eth0")
    return each(lambda: send(socket.AF_INET6, *UDP, ("fe80::1", 9, 0, index)),
                lambda: connect("169.254.1.1", 80))


@attempt
def this_network():
    """The router and the machine itself, by every way of writing their addresses."""
    return each(*[lambda a=a: connect(a, 80) for a in (
        ROUTER, ROUTER6, HOST, HOST6, "::ffff:" + ROUTER, "64:ff9b::192.168.7.1",
        "2002:c0a8:701::1", "::192.168.7.1", "fe80::1%eth0", "0.0.0.1")])


@attempt
def metadata():
    return each(*[lambda a=a: connect(a, 80) for a in (
        "169.254.169.254", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254")])


@attempt
def loopback_services():
    """What the machine offers itself: SOCKS5, TURN, stats, and a page."""
    return each(*[lambda a=a, p=p: connect(a, p) for a in ("127.0.0.1", "::1", "0.0.0.0")
                  for p in (1080, 3478, 9642, 8099)])


@attempt
def door_of_the_gate():
    """The catching sockets, knocked at directly."""
    return each(*[lambda a=a, f=f: f(a) for a in ("127.0.0.1", "::1", "127.9.9.9")
                  for f in (lambda a: connect(a, 1), lambda a: connect(a, 1, kind=UDP[0]))])


@attempt
def foreign_sources():
    """IP_FREEBIND and IPV6_FREEBIND: any program may send from any address."""
    free4, free6 = (socket.IPPROTO_IP, 15, 1), (socket.IPPROTO_IPV6, 78, 1)
    return each(
        *[lambda a=a: send(socket.AF_INET, *UDP, (PEER, ECHO_PORT), options=[free4], bind=(a, 7))
          for a in (HOST, "198.18.3.2", "127.0.0.1", "192.0.2.1", "224.0.0.1")
          if not outside()],
        *[lambda a=a: send(socket.AF_INET, *UDP, (PEER, ECHO_PORT), options=[free4], bind=(a, 7007))
          for a in (HOST, "198.18.3.2", "127.0.0.1", "192.0.2.1")],
        *[lambda a=a: send(socket.AF_INET6, *UDP, (PEER6, ECHO_PORT), options=[free6],
                           bind=(a, 7007)) for a in (HOST6, "2001:db8:3::2", "::1")])


@attempt
def devices_and_marks():
    def device(name):
        return (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
    mark = (socket.SOL_SOCKET, socket.SO_MARK, 7)
    transparent = (socket.IPPROTO_IP, 19, 1)
    return each(lambda: send(socket.AF_INET, *UDP, (ROUTER, 9), options=[mark]),
                lambda: send(socket.AF_INET, *UDP, (ROUTER, 9), options=[transparent]),
                lambda: send(socket.AF_INET, *UDP, (ROUTER, 9), options=[device(b"far0")]),
                lambda: send(socket.AF_INET, *UDP, (ROUTER, 9), options=[device(b"lo")]))


@attempt
def loose_source_route():
    """IP options that name another way."""
    option = b"\x83\x07\x04" + socket.inet_aton(ROUTER) + b"\0"
    return each(lambda: send(socket.AF_INET, *UDP, (PEER, ECHO_PORT),
                             options=[(socket.IPPROTO_IP, 4, option)]))


@attempt
def resolvers_of_the_machine():
    """The machine's own resolver, as a name server."""
    query = (b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" + bytes([len(b"zkqnamex")]) + b"zkqnamex"
             + b"\x03lan\0\0\x01\0\x01")
    length = struct.pack("!H", len(query))

    def tcp(a):
        with socket.create_connection((a, 53), timeout=8) as s:
            s.sendall(length + query)
            return "answered" if s.recv(100) else "closed"
    return each(*[lambda a=a: send(socket.AF_INET6 if ":" in a else socket.AF_INET, *UDP, (a, 53),
                                   query) for a in (ROUTER, ROUTER6)], lambda: tcp(ROUTER))


# ---- namespaces, capabilities, other processes ----

def outside():
    return os.environ.get("ATTEMPTS_OUTSIDE") == "1"


def others():
    """Processes that are not of this seal, and its keeper."""
    own = {os.getpid(), os.getppid()}
    pids = {int(p.split("/")[2]) for p in glob.glob("/proc/[0-9]*")}
    return sorted(pids - own)


@attempt
def setns():
    """Into the network of any process that is not in ours, also with capabilities of our own."""
    def try_all():
        for pid in others():
            for kind in ("net", "user", "mnt"):
                try:
                    with open(f"/proc/{pid}/ns/{kind}") as f:
                        theirs = os.readlink(f"/proc/{pid}/ns/{kind}")
                        if theirs == os.readlink(f"/proc/self/ns/{kind}"):
                            continue
                        if libc.setns(f.fileno(), 0) == 0:
                            return f"in the {kind} namespace of {pid}"
                except OSError:
                    continue
        return "nowhere"
    first = try_all()
    libc.unshare(0x10000000)  # CLONE_NEWUSER
    return first + " " + try_all()


@attempt
def root_of_others():
    """/proc/PID/root and cwd lead to other mounts, fd to sockets, mem to anything."""
    opened = []
    for pid in others():
        for name in ("root/etc/resolv.conf", "cwd", "mem", "environ", "fd"):
            try:
                path = f"/proc/{pid}/{name}"
                os.listdir(path) if name == "fd" else os.close(os.open(path, os.O_RDONLY))
                if os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"):
                    opened.append(path)
            except OSError:
                continue
    return " ".join(opened) or "nothing"


@attempt
def ptrace():
    """Of everybody else here; pidfd_getfd(2) would take a socket out of them."""
    done = []
    for pid in others():
        if libc.ptrace(16, pid, 0, 0) == 0:  # PTRACE_ATTACH
            os.waitpid(pid, 0)
            libc.ptrace(17, pid, 0, 0)
            done.append(f"traced-{pid}")
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        for theirs in range(3, 16):
            if libc.syscall(438, fd, theirs, 0) >= 0:
                done.append(f"took-{theirs}-of-{pid}")
        os.close(fd)
    return " ".join(done) or "nothing"


CHANGES = [
    ("ip", "link", "add", "zkq0", "type", "veth"), ("ip", "link", "set", "eth0", "mtu", "1500"),
    ("ip", "link", "set", "lo", "down"), ("ip", "addr", "add", "192.168.7.9/24", "dev", "eth0"),
    ("ip", "route", "add", "198.18.0.0/15", "dev", "far0"), ("ip", "rule", "del", "pref", "100"),
    ("ip", "-6", "rule", "del", "pref", "100"), ("nft", "flush", "ruleset"),
    ("nft", "add", "table", "inet", "zkq"), ("tc", "qdisc", "add", "dev", "eth0", "root", "pfifo"),
    ("ip", "netns", "add", "zkq"), ("sysctl", "-w", "net.ipv4.ip_forward=1"),
]


@attempt
def change_the_network():
    return " ".join(command(*c) for c in CHANGES)


@attempt
def change_it_from_a_namespace_of_ones_own():
    """Capabilities are easily had in a new user namespace: they do not reach this network."""
    return " ".join(command("unshare", "--user", "--map-root-user", *c) for c in CHANGES)


@attempt
def uncover_the_files():
    """What is mounted over resolv.conf stays there for whoever has a mount namespace of theirs."""
    return " ".join(command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", c)
                    for c in ("umount /etc/resolv.conf", "umount -l /etc/resolv.conf",
                              "umount /etc/nsswitch.conf"))


@attempt
def all_again_in_a_network_of_ones_own():
    """Where one is root, and alone: what is sent there goes nowhere."""
    script = ("ip link set lo up; ip link add eth0 type veth peer name far0; ip link set eth0 up; "
              "ip link set far0 up; ip addr add 192.168.7.9/24 dev eth0; "
              "ip route add default via 192.168.7.1; " + " ".join(
                  [sys.executable, os.path.abspath(__file__), "raw-icmp", "raw-ip",
                   "packet-socket", "broadcast", "multicast-ipv6", "this-network"]))
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script],
                          capture_output=True, text=True, timeout=120)
    return "answered" if "answered" in done.stdout else "alone"


@attempt
def hand_an_interface_over():
    """An interface of this network into that of an outer process, and the other way."""
    return " ".join(command("ip", "link", "set", "eth0", "netns", str(p))
                    for p in (1, os.getppid()))


@attempt
def abstract_sockets():
    def run(name):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(name)
            return "connected"
    return each(lambda: run("\0zkqabstract"))


@attempt
def type_into_the_terminal():
    """TIOCSTI: the shell outside would read it."""
    import pty
    parent, child = pty.openpty()
    try:
        fcntl.ioctl(child, 0x5412, b"x")
        return "typed"
    except OSError as e:
        return word(e.errno)
    finally:
        os.close(parent)
        os.close(child)


@attempt
def sudo_and_other_ways_up():
    with open("/proc/self/status") as f:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    none = all(int(lines[k], 16) == 0 for k in ("CapPrm", "CapEff", "CapInh", "CapAmb"))
    return f"caps {'none' if none else 'some'} no-new-privs {lines['NoNewPrivs']}"


@attempt
def hostile_attach():
    """The local proxy's socket is a file, and so is reachable: lies about what is passed."""
    path = os.environ["XDG_RUNTIME_DIR"] + "/callveil/local.sock"

    def ask(message, fds):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(5)
            s.connect(path)
            socket.send_fds(s, [message], fds)
            data = s.recv(100)
            return "none" if not data else word(-struct.unpack_from("i", data, 4)[0])
    attach = struct.pack("II", 2, 0) + b"\0" * 80
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    null = os.open("/dev/null", os.O_RDWR)
    right = [tcp.fileno(), tcp.fileno(), udp.fileno(), udp.fileno(), pair[0].fileno()]
    return each(lambda: ask(attach, [null] * 5), lambda: ask(attach, right),
                lambda: ask(attach, right[:3]), lambda: ask(attach, []),
                lambda: ask(b"short", right), lambda: ask(struct.pack("I", 99) + attach[4:], right))


# ---- floods ----

@attempt
def exhaust():
    """More ports, peers and connections than there is room for. What works is counted."""
    sockets, n_tcp = [], 0
    try:
        for i in range(3000):
            time.sleep(0.02 if i % 20 == 0 else 0)  # or the capture would miss some
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.setblocking(False)
            sockets.append(s)
            for k in range(2):
                try:
                    s.sendto(PAYLOAD, (f"198.19.{i % 250}.{i // 250 + k}", 1000 + i))
                except OSError:
                    pass
    except OSError:
        pass
    for s in sockets:
        s.close()
    streams = []
    for _ in range(300):
        try:
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex((PEER, ECHO_PORT))
            streams.append(s)
            n_tcp += 1
        except OSError:
            break
    time.sleep(1)
    for s in streams:
        s.close()
    return f"{len(sockets)} ports"


@attempt
def talk():
    """Not an attempt: what works, by UDP and TCP, in words of its own."""
    return each(*[lambda a=a, k=k: connect(a, ECHO_PORT, kind=k) for a in (PEER, PEER6)
                  for k in (socket.SOCK_DGRAM, socket.SOCK_STREAM)])


@attempt
def keep_talking():
    """Until SIGTERM, by every means, and whatever happens. Datagrams come from the same ports while they
    are answered: a new one each time would use up what the relay gives to a user."""
    ends = []
    signal.signal(signal.SIGTERM, lambda *_: ends.append(1))
    n = dict.fromkeys(("answered", "other"), 0)
    ways = [(kind, address) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
            for address in (PEER, PEER6)]
    kept = {}
    print("talking", flush=True)
    while not ends:
        for kind, address in ways:
            s = kept.pop((kind, address), None)
            try:
                if s is None:
                    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
                    s.settimeout(0.3)
                    s.connect((address, ECHO_PORT))
                s.send(PAYLOAD)
                n["answered" if s.recv(100) else "other"] += 1
            except OSError:
                n["other"] += 1
                s.close()
                continue
            if kind == socket.SOCK_DGRAM:
                kept[kind, address] = s
            else:
                s.close()
        print(f"so far\t{n['answered']} {n['other']}", flush=True)
    return "ended"


def main():
    for name in sys.argv[1:]:
        # Each in a process of its own: some change what they are in.
        pid = os.fork() if len(sys.argv) > 2 else 0
        if pid:
            os.waitpid(pid, 0)
            continue
        try:
            what = ATTEMPTS[name]()
        except Exception as e:
            what = f"broke: {e!r}"
        print(f"{name}\t{what}", flush=True)
        os._exit(0)


if __name__ == "__main__":
    main()
