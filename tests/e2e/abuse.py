#!/usr/bin/python3
"""Hostile and awkward clients against a running relay. TAP on stdout.

    abuse.py [PATH/TO/callveil]     default: $CALLVEIL, else build/relay/callveil of this tree

Every loop is bounded, all traffic stays on loopback. After each test a client with a
password must still be served, and the relay must end with status 0 and a clean log.
"""

import os
import random
import re
import signal
import socket
import struct
import sys
import threading
import time

from aioice import stun

from relayprocess import BINARY, Relay, check, run
from turnclient import TCP_TRANSPORT, Client, TurnError, exchange, pair

LOOPBACK = "[peers]\nallow = 127.0.0.0/8, ::1/128\n"
NO_RATE = "[limits]\nunauthenticated-rate = 0\n"

with open(BINARY, "rb") as binary:
    SANITIZED = re.search(rb"__[at]san_init", binary.read()) is not None


def udp_socket(server, address="127.0.0.1"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 0))
    s.connect(server)
    s.settimeout(0.5)
    return s


def allocate_request(user=None):
    message = stun.Message(stun.Method.ALLOCATE, stun.Class.REQUEST)
    message.attributes["REQUESTED-TRANSPORT"] = 17 << 24
    if user:
        message.attributes["USERNAME"] = user
        message.attributes["REALM"] = "callveil"
        message.attributes["NONCE"] = os.urandom(12).hex().encode()
        message.add_message_integrity(os.urandom(16))
    return bytes(message)


def still_serves(relay, name):
    a, b = pair(relay.server)
    check(f"{name}: a client with a password is served as before", exchange(a, b, 5) == 0)
    a.refresh(0)
    b.refresh(0)
    a.close()
    b.close()


def refused_with(call):
    try:
        call()
    except TurnError as e:
        return e.code
    return None


def test_flood(folder):
    relay = Relay(folder, more=NO_RATE)
    requests = [allocate_request(), allocate_request("alice"), allocate_request("%s%n\"\n<script>")]

    def flood(n_ports, per_port):
        for _ in range(n_ports):
            s = udp_socket(relay.server)
            for i in range(per_port):
                s.send(requests[i % 3])
            # An answer keeps the flood at the relay's pace: lost in a full buffer, it tests nothing.
            s.recv(2000)
            s.close()

    flood(200, 9)
    before = relay.resident_kib()
    flood(2000, 9)
    growth = relay.resident_kib() - before
    counters = relay.stats()["counters"]
    check("S18: 18000 Allocates of strangers leave no allocation",
          counters["allocations"] == 0 and counters["requests"] > 10000, counters)
    if not SANITIZED:
        check("S18: and no memory", growth < 4096, f"grew by {growth} KiB")
    still_serves(relay, "flood")
    relay.end("flood")


def test_rate(folder):
    relay = Relay(folder, workers=4, more="[limits]\nunauthenticated-rate = 10\n")
    request, answers = allocate_request("mallory"), 0
    sockets = [udp_socket(relay.server, "127.0.0.9") for _ in range(60)]
    start = time.monotonic()
    for s in sockets:
        s.send(request)
    time.sleep(0.5)
    for s in sockets:
        s.setblocking(False)
        try:
            answers += len(s.recv(2000)) > 0
        except BlockingIOError:
            pass
    most = 10 + 10 * (time.monotonic() - start)
    check("S19: one address gets no more answers than the limit, whatever its ports",
          1 <= answers <= most, f"{answers} answers, at most {most}")
    codes = [refused_with(Client(relay.server, password="no", transport="tcp").allocate)
             for _ in range(20)]
    check("S19: over TCP every wrong password is told", codes == [401] * 20, codes)
    still_serves(relay, "rate")
    relay.end("rate")


def test_sizes(folder):
    relay = Relay(folder)
    overhead = 14 + 20 + 8  # Ethernet, IPv4, UDP

    def factor(request):
        s = udp_socket(relay.server)
        s.send(request)
        return (len(s.recv(2000)) + overhead) / (len(request) + overhead)

    binding = factor(bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)))
    challenge = factor(allocate_request())
    print(f"# amplification on the wire: Binding {binding:.2f}, 401 {challenge:.2f}")
    check("S20: a Binding answer is at most 1.6 times its request", binding <= 1.6, binding)
    check("S20: a 401 is at most 2.0 times the Allocate", challenge <= 2.0, challenge)
    relay.end("sizes")


def test_junk(folder):
    relay = Relay(folder)
    texts = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
             b"\x00" * 100, b"\xff" * 100, b"SSH-2.0-x\r\n", b"\x05\x01\x00" * 4, b"\x16\x03\x01\xff\xff" + b"A" * 60]
    closed = 0
    for port in (relay.port, relay.tls_port):
        for text in texts:
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.settimeout(3)
                s.sendall(text)
                try:
                    while s.recv(4096):
                        pass
                    closed += 1
                except ConnectionResetError:
                    closed += 1
                except socket.timeout:
                    pass
    # A record header promising 65535 bytes on the plain port is not TLS there, and closed too.
    check("S24: text of other protocols is closed at once", closed == 2 * len(texts),
          f"{closed} of {2 * len(texts)}")
    check("no connection is left", relay.settles(connections=0))
    # All text was for the TLS port's handshake to fail on; bytes in a good session are not its fault.
    failures = relay.stats()["counters"]["tls_failures"]
    c = Client(("127.0.0.1", relay.tls_port), transport="tls")
    c.sock.sendall(b"\xff" * 100)
    check("S24: and so is a TLS session that speaks no STUN", c.sock.recv(10) == b"")
    counters = relay.stats()["counters"]
    check("TLS handshakes that failed are counted, and only these",
          failures == len(texts) and counters["tls_failures"] == failures
          and counters["tls_handshakes"] == 1, counters)
    still_serves(relay, "junk")
    relay.end("junk")


def test_dtls(folder):
    relay = Relay(folder)
    hello = bytes.fromhex("16feff0000000000000000" + "0036" + "010000" + "2a" + "0000" + "000000" + "00002a"
                          + "fefd" + "11" * 32 + "00" + "00" + "0002c02b" + "0100")
    kinds = set()
    for i in range(300):
        s = udp_socket(("127.0.0.1", relay.tls_port))
        s.settimeout(0.02)
        s.send(hello if i % 2 else b"\x17" + hello[1:])
        try:
            kinds.add(s.recv(2000)[13])
        except socket.timeout:
            pass
        s.close()
    check("S17: hellos without a cookie get HelloVerifyRequest and nothing else", kinds == {3}, kinds)
    check("S17: and leave no session", relay.stats()["counters"]["dtls_sessions"] == 0)
    still_serves(relay, "dtls")
    relay.end("dtls")


def mutations(seed, count):
    rng = random.Random(seed)
    bases = [allocate_request(), allocate_request("alice"),
             bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)),
             struct.pack("!HH", 0x4000, 8) + b"12345678"]
    for method in (4, 6, 8, 9, 10, 11):
        bases.append(struct.pack("!HH", method, 0) + bases[0][4:])
    for _ in range(count):
        data = bytearray(rng.choice(bases))
        for _ in range(rng.randrange(1, 6)):
            kind = rng.randrange(4)
            at = rng.randrange(len(data)) if data else 0
            if kind == 0 and data:
                data[at] = rng.randrange(256)
            elif kind == 1:
                data[at:at] = rng.randbytes(rng.randrange(1, 40))
            elif kind == 2:
                del data[at:at + rng.randrange(1, 12)]
            elif len(data) > 4:
                struct.pack_into("!H", data, 2, rng.choice([0, 3, 4, 65532, 65535, len(data) - 20 & 0xFFFF]))
        yield bytes(data)


def test_fuzz(folder):
    relay = Relay(folder, more=NO_RATE + LOOPBACK)
    client = Client(relay.server)
    client.allocate()
    client.permit(("127.0.0.1", 0))
    stranger = udp_socket(relay.server)
    for data in mutations(1, 8000):
        stranger.send(data)
        client.sock.send(data)
    check("mutated datagrams of a stranger and of a client are survived",
          relay.process.poll() is None)
    for i, data in enumerate(mutations(2, 600)):
        with socket.create_connection(relay.server) as s:
            try:
                s.sendall(data + (b"" if i % 2 else bytes(4)))
            except OSError:
                pass
    check("mutated messages over TCP are survived", relay.process.poll() is None)
    check("their connections end", relay.settles(connections=0, seconds=10))
    still_serves(relay, "fuzz")
    relay.end("fuzz")


def test_peers(folder):
    relay = Relay(folder)
    a = Client(relay.server)
    a.allocate()
    own = ("127.0.0.1", relay.port)
    check("S42: a channel to the relay's own listener gets 403",
          refused_with(lambda: a.bind(0x4000, own)) == 403)
    for peer in ("10.0.0.1", "169.254.169.254", "192.168.1.1", "0.0.0.0", "224.0.0.1"):
        check(f"S5-S7: {peer} gets 403", refused_with(lambda: a.permit((peer, 80))) == 403)
    t = Client(relay.server, transport="tcp")
    t.allocate(transport=TCP_TRANSPORT)
    for peer in (("127.0.0.1", relay.stats_port), ("127.0.0.1", relay.port), ("127.0.0.1", 22), ("169.254.169.254", 80), ("10.1.1.1", 443)):
        check(f"S41: a TCP connection to {peer[0]}:{peer[1]} gets 403",
              refused_with(lambda: t.connect(peer)) == 403)
    still_serves(relay, "peers")
    relay.end("peers")


def test_icmp(folder):
    relay = Relay(folder, more=LOOPBACK)
    a = Client(relay.server)
    a.allocate()
    closed = udp_socket(("127.0.0.1", 9))
    peer = closed.getsockname()
    closed.close()
    a.permit(peer)
    a.bind(0x4000, peer)
    a.send(0x4000, b"anybody there?")
    source, icmp = a.receive_icmp()
    check("a closed port of a peer is reported with ICMP 3/3", source == peer and icmp == (3, 3),
          (source, icmp))
    relay.end("icmp")


def test_quota(folder):
    relay = Relay(folder, more="[limits]\nmax-allocations-per-user = 3\nunauthenticated-rate = 0\n")
    clients = [Client(relay.server) for _ in range(4)]
    codes = [refused_with(c.allocate) for c in clients]
    check("the fourth allocation of a user gets 486", codes == [None, None, None, 486], codes)
    other = Client(relay.server, user="bob", password="secret2")
    check("another user is not affected", bool(other.allocate()))
    clients[0].refresh(0)
    relay.settles(allocations=3)
    check("one given back can be had again", bool(clients[3].allocate()))
    start = relay.descriptors()
    for c in clients[1:]:
        c.refresh(0)
    for _ in range(300):
        c = Client(relay.server)
        c.allocate()
        c.refresh(0)
        c.close()
    check("300 allocations come and go", relay.settles(allocations=1, ports_udp4_in_use=1),
          relay.stats())
    check("no descriptor stays behind", relay.descriptors_settle(start),
          f"{start} before, {relay.descriptors()} after")
    relay.end("quota")


class Echo(threading.Thread):
    """A TCP server that sends back what it gets, and its end."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.address = self.listener.getsockname()
        self.start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    @staticmethod
    def serve(s):
        with s:
            try:
                while True:
                    data = s.recv(65536)
                    if not data:
                        break
                    s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass


def relayed_echo(control, relay, size):
    """A Connect, its data connection, `size` bytes there and back, and the end. True if whole."""
    echo = Echo()
    number = control.connect(echo.address)
    payload = os.urandom(size)
    # Bytes behind the ConnectionBind in one segment belong to the peer already.
    data = control.connection_bind(relay.server, number, trailing=payload[:100])
    got = bytearray()

    def pump():
        data.sendall(payload[100:])
        data.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=pump)
    sender.start()
    while True:
        piece = data.recv(65536)
        if not piece:
            break
        got += piece
    sender.join()
    data.close()
    echo.listener.close()
    return bytes(got) == payload


def test_tcp_workers(folder):
    relay = Relay(folder, workers=4, more=LOOPBACK + NO_RATE)
    control = Client(relay.server, transport="tcp")
    control.allocate(transport=TCP_TRANSPORT)
    # A connection on each worker first, so that what they keep for good is counted as "before".
    relayed_echo(control, relay, 1000)
    time.sleep(0.3)
    start, whole = relay.descriptors(), 0
    for i in range(40):
        whole += relayed_echo(control, relay, 65536 if i % 4 == 0 else 500)
        if i == 20:
            relay.signal(signal.SIGHUP)
    check("RFC 6062: 40 data connections on any worker carry every byte both ways", whole == 40,
          f"{whole} of 40")
    check("the reload in between was taken", relay.wait_for("configuration reloaded"))
    check("RFC 6062: every connection has ended", relay.settles(peer_connections=0, connections=1),
          relay.stats()["counters"])
    check("RFC 6062: no descriptor stays behind", relay.descriptors_settle(start),
          f"{start} before, {relay.descriptors()} after")
    used = control.connect(Echo().address)
    first = control.connection_bind(relay.server, used)
    check("a CONNECTION-ID is good for once",
          refused_with(lambda: control.connection_bind(relay.server, used)) == 400)
    stranger = Client(relay.server, user="bob", password="secret2", transport="tcp")
    try:
        stranger.allocate(transport=TCP_TRANSPORT)
        again = control.connect(Echo().address)
        check("another user's CONNECTION-ID gets 441",
              refused_with(lambda: stranger.connection_bind(relay.server, again)) == 441)
    finally:
        first.close()
    control.close()
    check("the end of the control connection ends its connections",
          relay.settles(peer_connections=0, seconds=10))
    relay.end("RFC 6062")


def test_bandwidth(folder):
    rate = 50_000
    relay = Relay(folder, more=LOOPBACK + NO_RATE.replace(
        "[limits]\n", f"[limits]\nmax-bandwidth-per-allocation = {rate}\n"))
    a, b = pair(relay.server)
    start, received = time.monotonic(), 0
    while time.monotonic() - start < 3:
        for _ in range(20):
            a.send(0x4000, bytes(1000))
        time.sleep(0.05)
        b.sock.setblocking(False)
        try:
            while True:
                received += len(b.sock.recv(2000)) - 4
        except BlockingIOError:
            pass
    seconds = time.monotonic() - start
    # One second's worth may be used at once.
    check("datagrams stay under max-bandwidth-per-allocation",
          0.5 * rate * seconds < received < 1.2 * rate * (seconds + 1), f"{received} B in {seconds:.1f} s")
    control = Client(relay.server, transport="tcp")
    control.allocate(transport=TCP_TRANSPORT)
    start = time.monotonic()
    whole = relayed_echo(control, relay, 5 * rate)
    seconds = time.monotonic() - start
    check("a stream is slowed to it and loses nothing", whole and seconds > 2, f"{seconds:.1f} s")
    relay.end("bandwidth")


def test_connections(folder):
    relay = Relay(folder, workers=1, more="[limits]\nmax-connections = 50\nunauthenticated-rate = 0\n")
    held = [socket.create_connection(relay.server) for _ in range(50)]
    relay.settles(connections=50)
    with socket.create_connection(relay.server) as s:
        s.settimeout(3)
        check("the connection beyond max-connections is closed", s.recv(1) == b"")
    held.pop().close()
    relay.settles(connections=49)
    check("with one gone, the next is served",
          bool(Client(relay.server, transport="tcp").allocate()))
    for s in held:
        s.close()
    check("all places are free again", relay.settles(connections=0))
    relay.end("connections")


if __name__ == "__main__":
    sys.exit(run((test_flood, test_rate, test_sizes, test_junk, test_dtls, test_fuzz, test_peers,
                  test_icmp, test_quota, test_tcp_workers, test_bandwidth, test_connections)))
