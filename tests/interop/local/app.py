#!/usr/bin/python3
"""An app behind the local proxy, for tests/interop/local_relays.sh.

Prints "ok - name" and "not ok - name" lines. Arguments: SOCKS host and port, and what the relay
can do: "udp" or "udp,tcp" (RFC 6062), with ",flush" when it sends on all that a peer had to say
before it closed, with ",duplex" when its streams bear much in both directions at once (coturn's
do neither: local_relays.sh), with ",brief" for a few checks only; or "moves", for one that keeps an
allocation when its client's address changes (RFC 8016).
"""

import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time

from socks5 import BIND, CONNECT, Association, Refused, reply, request

PROXY = (sys.argv[1], int(sys.argv[2]))
STREAMS, FLUSH, DUPLEX, BRIEF, MOVES = (what in sys.argv[3].split(",") for what in (
    "tcp", "flush", "duplex", "brief", "moves"))
PEER, PEER2, PEER6 = ("10.99.1.2", 4000), ("10.99.1.3", 4000), ("fd99:1::2", 4000)
RELAYED = {"10.99.1.1", "fd99:1::1"}
SIZES = [100, 0, 1, 2, 3, 4, 5, 171, 172, 173, 1000, 1199, 1200, 1201, 1300]
N = 240
BODY = 3 << 20
FAILED = False


def check(name, good, why=""):
    global FAILED
    FAILED = FAILED or not good
    print(("ok - " if good else "not ok - ") + name, flush=True)
    if not good:
        print(why, flush=True)


def exchange(association, peer, payload, expected=None):
    """Whether the payload comes back whole and from the peer: None, or what went wrong."""
    association.send(payload, peer)
    try:
        data, source = association.receive()
    except OSError as e:
        return repr(e)
    if data != payload or source != (expected or peer):
        return f"{len(data)} bytes from {source} for {len(payload)} to {peer}"
    return None


def faults(results):
    """How many, and the first: empty when there is none."""
    bad = [r for r in results if r]
    return f"{len(bad)} of {len(results)}: {bad[0]}" if bad else ""


def seen_by(association, peer):
    association.send(b"who?", peer)
    host, port = association.receive()[0].decode().split()
    return host, int(port)


def datagrams():
    a = Association(PROXY)
    check("ASSOCIATE: BND is an address and port to send to",
          a.bound[0] not in ("0.0.0.0", "::") and a.bound[1] > 0, a.bound)
    bad = faults([exchange(a, PEER, os.urandom(n)) for n in SIZES])
    check(f"ASSOCIATE: datagrams of {min(SIZES)} to {max(SIZES)} bytes come back", not bad, bad)
    bad = faults([exchange(a, (PEER, PEER2)[i % 2], struct.pack("!I", i) + os.urandom(i % 1000))
                  for i in range(N)])
    check(f"ASSOCIATE: {N} datagrams each way, two peers in turn", not bad, bad)
    bad = faults([exchange(a, PEER, b"other %d" % i, (PEER[0], 4001)) for i in range(20)])
    check("ASSOCIATE: the peer's other port answers, under its own number", not bad, bad)
    one, two = seen_by(a, PEER), seen_by(a, PEER2)
    check("ASSOCIATE: both peers saw one relayed address and port",
          one == two and one[0] in RELAYED, f"{one} {two}")
    bad = exchange(a, PEER6, b"the first")
    check("ASSOCIATE: an IPv6 peer, on the same association", not bad, bad)
    if not bad:
        bad = faults([exchange(a, (PEER, PEER6)[i % 2], os.urandom(i)) for i in range(200)])
        check("ASSOCIATE: 200 datagrams each way, IPv4 and IPv6 in turn", not bad, bad)
        check("ASSOCIATE: and it saw the relay's IPv6 address", seen_by(a, PEER6)[0] in RELAYED)
    burst(a)
    ends(a)


def burst(a):
    """More at once than a request's worth of waiting: none may be lost where nothing is."""
    for i in range(100):
        a.send(struct.pack("!I", i) + bytes(500), (PEER, PEER2)[i % 2])
        if i % 10 == 9:
            time.sleep(0.005)
    got = set()
    try:
        while len(got) < 100:
            got.add(struct.unpack("!I", a.receive()[0][:4])[0])
    except OSError:
        pass
    check("ASSOCIATE: a burst of 100 comes back whole", len(got) == 100, f"{len(got)} of 100")


def ends(a):
    """RFC 1928, section 6: the association ends with its TCP connection."""
    a.control.close()
    time.sleep(0.5)
    a.sock.settimeout(1)
    try:
        a.send(b"late", PEER)
        answer = a.receive()
    except OSError:
        answer = None
    check("ASSOCIATE: it ends with its TCP connection", answer is None, answer)
    a.close()


def many_associations():
    """Also more than any pool has ready."""
    all_of_them = [Association(PROXY) for _ in range(12)]
    bad = faults([exchange(a, PEER, os.urandom(200)) for a in all_of_them for _ in range(5)])
    check("12 associations at once", not bad, bad)
    ports = {seen_by(a, PEER)[1] for a in all_of_them}
    check("each with a relayed port of its own", len(ports) == 12, ports)
    for a in all_of_them:
        a.close()


def body_comes_back(sock, body):
    """Both directions at once; None, or what went wrong."""
    def send():
        try:
            sock.sendall(struct.pack("!Q", len(body)) + body)
        except OSError:
            pass

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    digest, n = hashlib.sha256(), 0
    try:
        while n < len(body):
            data = sock.recv(1 << 16)
            if not data:
                return f"closed after {n} bytes"
            digest.update(data)
            n += len(data)
    except OSError as e:
        return f"{e!r} after {n} bytes"
    thread.join(10)
    return None if digest.digest() == hashlib.sha256(body).digest() else "another checksum"


def stream(peer, size, port=4002):
    try:
        sock, bound = request(PROXY, CONNECT, peer, port)
    except (OSError, EOFError, Refused) as e:
        return repr(e), None
    with sock:
        return body_comes_back(sock, os.urandom(size)), bound


def streams():
    how, port = ("at once", 4002) if DUPLEX else ("one after the other", 4005)
    bad, bound = stream(PEER[0], BODY, port)
    check(f"CONNECT: {BODY} bytes each way, {how}", bad is None, bad)
    check("CONNECT: BND is no wildcard", bound and bound[0] not in ("0.0.0.0", "::"), bound)
    bad, _ = stream(PEER6[0], BODY // 4, port)
    check("CONNECT: an IPv6 peer", bad is None, bad)
    results = []
    threads = [threading.Thread(target=lambda: results.append(stream(PEER[0], 50000)[0]))
               for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    bad = faults(results)
    check("CONNECT: 10 at once to one address and port", len(results) == 10 and not bad, bad)
    if FLUSH:
        bad = faults([stream(PEER[0], BODY // 8, 4004)[0] for _ in range(8)])
        check("CONNECT: nothing is lost when the peer closes right after it", not bad, bad)
    is_refused("CONNECT: a port that nobody listens on", CONNECT, PEER[0], 9, {5, 4, 1})


def is_refused(name, command, host, port, reps):
    begin = time.monotonic()
    try:
        sock, _ = request(PROXY, command, host, port)
        sock.close()
        why = "succeeded"
    except Refused as e:
        why = f"REP {e.rep}"
        if e.rep in reps and time.monotonic() - begin < 10:
            why = ""
    except (OSError, EOFError) as e:
        why = repr(e)
    check(name + " is an error, soon", not why, why)


def accepts():
    """The app asks the peer, by another connection, to connect to the relayed address."""
    sock, bound = request(PROXY, BIND, PEER[0], 0)
    check("BIND: the first reply has the relay's address", bound[0] in RELAYED and bound[1] > 0,
          bound)
    with request(PROXY, CONNECT, PEER[0], 4003)[0] as control, sock:
        control.sendall(("connect %s %d\n" % bound).encode())
        source = reply(sock)
        hello = b""
        while not hello.endswith(b"\n"):
            hello += sock.recv(1)
        check("BIND: the second reply names the peer", ("%s %d\n" % source).encode() == hello,
              f"{source} {hello}")
        sent = os.urandom(100000)
        threading.Thread(target=sock.sendall, args=(sent,), daemon=True).start()
        got = b""
        while len(got) < len(sent) and (data := sock.recv(1 << 16)):
            got += data
        check("BIND: 100000 bytes each way", got == sent, f"{len(got)} bytes")


def attempt(name, part):
    """What goes wrong in one part must not hide the others."""
    try:
        part()
    except (Refused, EOFError, OSError, ValueError) as e:
        check(name + " runs to its end", False, repr(e))


def brief():
    a = Association(PROXY)
    bad = faults([exchange(a, (PEER, PEER2)[i % 2], os.urandom(100)) for i in range(20)])
    check("datagrams reach two peers and come back", not bad, bad)
    a.close()
    bad, _ = stream(PEER[0], 100000)
    check("100000 bytes each way in a stream", bad is None, bad)


def readdress(gone, here):
    subprocess.run(["ip", "addr", "del", f"{gone}/24", "dev", "uplink"], check=True)
    subprocess.run(["ip", "addr", "add", f"{here}/24", "dev", "uplink"], check=True)


def answered(association):
    """Whether a datagram comes back in the end: None, or what went wrong."""
    end, bad = time.monotonic() + 25, "nothing"
    while bad and time.monotonic() < end:
        association.sock.settimeout(0)
        try:
            while association.receive():
                pass  # late, of one before
        except BlockingIOError:
            pass
        association.sock.settimeout(0.3)
        bad = exchange(association, PEER, os.urandom(100))
    association.sock.settimeout(5)
    return bad


def moves():
    """There and back, to an allocation that was used before and one that was not."""
    home, away = "10.99.0.2", "10.99.0.3"
    used, fresh = Association(PROXY), Association(PROXY)
    before = seen_by(used, PEER)
    for place, (gone, here) in (("another address", (home, away)), ("the first again", (away, home))):
        readdress(gone, here)
        bad = answered(used)
        check(f"{place}: datagrams reach the peer and come back", not bad, bad)
        after = seen_by(used, PEER)
        check(f"{place}: the peer sees the address and port that it saw before", after == before,
              f"{before} {after}")
        bad = faults([exchange(used, (PEER, PEER2)[i % 2], os.urandom(100)) for i in range(100)])
        check(f"{place}: and 100 more, with another peer", not bad, bad)
        bad = answered(fresh)
        check(f"{place}: one that nobody had used works as well", not bad, bad)


if MOVES:
    attempt("moves", moves)
    sys.exit(FAILED)
if BRIEF:
    attempt("brief", brief)
else:
    attempt("UDP", datagrams)
    attempt("UDP", many_associations)
if STREAMS and not BRIEF:
    attempt("TCP", streams)
    attempt("BIND", accepts)
elif not STREAMS:
    any_error = set(range(1, 9))
    is_refused("CONNECT over a relay without TCP", CONNECT, PEER[0], 4002, any_error)
    is_refused("BIND over a relay without TCP", BIND, PEER[0], 0, any_error)
    attempt("UDP", lambda: check("and datagrams still work",
                                 not exchange(Association(PROXY), PEER, b"still")))
sys.exit(FAILED)
