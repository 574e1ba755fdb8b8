"""The app: everything a program could ask of the local proxy, at once and over and over.

Each flow is a thread on the app's host that repeats one step and notes how it ended. None
of them knows of a direct way, and none is told about faults: it goes on asking, as apps do.
"""

import os
import socket
import struct
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from ipaddress import ip_address

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from turnclient import Client, TurnError  # noqa: E402

import lab as place  # noqa: E402
from far import ECHO_PORT  # noqa: E402

SOCKS = ("127.0.0.1", 1080)
TURN = ("127.0.0.1", 3478)
CONNECT, BIND, ASSOCIATE = 1, 2, 3

# How long the proxy may keep an app waiting for an answer: ten seconds to see that a relay is
# silent, and what there was to wait for before. And a stream for its end once the relay is gone
# without a word, which only the relay's silence on another connection can show (asked every 20 s,
# and given 12); a TCP of its own would wait for a quarter of an hour.
ANSWER_S = 15
STREAM_S = 40
PAUSE_S = 0.2
# Datagrams may be lost; this client asks for a TURN allocation once, where others ask again.
SILENCE_S = 1.0
ALLOCATE_S = {"udp": 3, "tcp": 8}


class Failed(Exception):
    """How a step ended, in a word or two."""


class Silence(Failed):
    def __init__(self):
        super().__init__("silence")


@dataclass
class Event:
    start: float
    seconds: float
    # "ok", "rep 4", "turn 508", "silence", "closed" (a reset, or an association's end), "ended"
    # (as if the other side had said all it had to say), ...
    what: str


def payload(n=1):
    return (place.PAYLOAD_MARK + os.urandom(6).hex().encode()) * n


# ---- SOCKS5 ----

def encode_address(host, port):
    try:
        address = ip_address(host)
    except ValueError:
        return struct.pack("!BB", 3, len(host)) + host.encode() + struct.pack("!H", port)
    return bytes([1 if address.version == 4 else 4]) + address.packed + struct.pack("!H", port)


def receive(s, n):
    data = b""
    while len(data) < n:
        piece = s.recv(n - len(data))
        if not piece:
            raise Failed("ended")
        data += piece
    return data


def receive_address(s):
    kind = receive(s, 1)[0]
    if kind not in (1, 4):
        raise Failed(f"a reply with an address of type {kind}")
    host = str(ip_address(receive(s, 4 if kind == 1 else 16)))
    return host, struct.unpack("!H", receive(s, 2))[0]


def socks(command, host, port):
    """Return: the connection, and BND.ADDR and BND.PORT."""
    s = socket.create_connection(SOCKS, timeout=ANSWER_S)
    try:
        s.sendall(b"\5\1\0")
        if receive(s, 2) != b"\5\0":
            raise Failed("no method")
        s.sendall(bytes([5, command, 0]) + encode_address(host, port))
        reply = receive(s, 3)
        if reply[1]:
            raise Failed(f"rep {reply[1]}")
        bound = receive_address(s)
        s.settimeout(STREAM_S)
        return s, bound
    except Exception:
        s.close()
        raise


def echoed(s, data):
    s.sendall(data)
    if receive(s, len(data)) != data:
        raise Failed("another answer")


# ---- flows ----

class Record:
    """How a flow's steps ended; appended to by one thread only."""

    def __init__(self, name):
        self.name = name
        self.events = []

    def since(self, start, end=None):
        """Steps that began in that time."""
        return [e for e in list(self.events) if start <= e.start and (end is None or e.start < end)]

    def succeeded_after(self, start):
        """Seconds from `start` until a step that began later had succeeded, or None."""
        return next((e.start + e.seconds - start for e in self.since(start) if e.what == "ok"),
                    None)


class Flow(Record):
    """`step` is repeated; what it keeps open between steps, drop() lets go."""

    def __init__(self, app, name):
        super().__init__(name)
        self.app = app
        self.n_steps = 0
        app.lab.thread("app", self.run)

    def run(self):
        while not self.app.stopping.is_set() and not self.app.lab.stopping.is_set():
            start = time.monotonic()
            self.n_steps += 1
            try:
                self.step()
                what = "ok"
            except Silence as e:
                what = str(e)
            except (Failed, TurnError, OSError, LookupError, ValueError, struct.error) as e:
                what = word_for(e)
                self.drop()
            self.events.append(Event(start, time.monotonic() - start, what))
            self.app.stopping.wait(PAUSE_S)
        self.drop()

    def step(self):
        raise NotImplementedError

    def drop(self):
        pass


def word_for(e):
    if isinstance(e, TurnError):
        return f"turn {e.code}"
    if isinstance(e, ConnectionRefusedError):
        return "refused"
    if isinstance(e, (ConnectionError, BrokenPipeError)):
        return "closed"
    if isinstance(e, (TimeoutError, socket.timeout)):
        return "timeout"
    return str(e) if isinstance(e, Failed) else f"{type(e).__name__}: {e}"


class ConnectFlow(Flow):
    """A connection for each question, by address or by a name never used before."""

    def __init__(self, app, name, host):
        self.host = host
        super().__init__(app, name)

    def step(self):
        host = self.host
        if host == "name":
            host = self.app.new_name()
        s, _ = socks(CONNECT, host, ECHO_PORT)
        with s:
            echoed(s, payload(3))


class StreamFlow(Flow):
    """One long connection, all the time in use."""

    s = None

    def step(self):
        if self.s is None:
            self.s, _ = socks(CONNECT, place.PEER, ECHO_PORT)
        echoed(self.s, payload(20))

    def drop(self):
        if self.s:
            self.s.close()
        self.s = None


class ReopeningFlow(Flow):
    """A call: silence is suffered a while, then it starts anew, as programs do."""

    PATIENCE = 3
    n_silent = 0

    @staticmethod
    def payload():
        return payload()

    def step(self):
        try:
            self.exchange()
            self.n_silent = 0
        except TimeoutError:
            self.n_silent += 1
            if self.n_silent >= self.PATIENCE:
                self.drop()
            raise Silence from None

    def exchange(self):
        raise NotImplementedError


class AssociateFlow(ReopeningFlow):
    """UDP ASSOCIATE, one datagram at a time to an address or a name."""

    control = udp = None

    def __init__(self, app, name, host):
        self.host = host
        super().__init__(app, name)

    def exchange(self):
        if self.control is None:
            self.control, relay = socks(ASSOCIATE, "0.0.0.0", 0)
            self.control.settimeout(0)
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.connect(relay)
            self.udp.settimeout(SILENCE_S)
        # An association ends with its TCP connection.
        try:
            if self.control.recv(1) == b"":
                raise Failed("closed")
        except BlockingIOError:
            pass
        host = self.app.new_name() if self.host == "name" else self.host
        data = self.payload()
        self.udp.send(b"\0\0\0" + encode_address(host, ECHO_PORT) + data)
        while not self.udp.recv(2000).endswith(data):
            pass

    def drop(self):
        for s in (self.control, self.udp):
            if s:
                s.close()
        self.control = self.udp = None
        self.n_silent = 0


class TurnFlow(ReopeningFlow):
    """The loopback TURN server, over UDP or TCP, with a channel to the peer."""

    CHANNEL = 0x4000
    client = None

    def __init__(self, app, name, transport):
        self.transport = transport
        self.mapped = set()
        self.relayed = set()
        super().__init__(app, name)

    def open(self):
        user, password = self.app.turn_credentials()
        return Client(TURN, user, password, self.transport)

    def exchange(self):
        if self.client is None:
            self.client = self.open()
            self.client.sock.settimeout(ALLOCATE_S[self.transport])
            self.client.allocate()
            self.mapped.add(self.client.mapped[0])
            self.relayed.add(self.client.relayed[0])
            self.client.bind(self.CHANNEL, (place.PEER, ECHO_PORT))
        data = self.payload()
        self.client.send(self.CHANNEL, data)
        end = time.monotonic() + SILENCE_S
        while self.client.receive(max(0.01, end - time.monotonic())) != (self.CHANNEL, data):
            pass

    def drop(self):
        if self.client:
            self.client.close()
        self.client = None
        self.n_silent = 0


class Call:
    """What cannot start anew, as a call that is under way: its peer knows one address, and hears by
    each datagram whose it is."""

    PATIENCE = 1_000_000

    def payload(self):
        return place.PAYLOAD_MARK + self.name.encode() + b":" + os.urandom(6).hex().encode()


class TurnCall(Call, TurnFlow):
    pass


class AssociateCall(Call, AssociateFlow):
    pass


class JoinedFlow(TurnFlow):
    """The loopback TURN server, asked for through the SOCKS port: joined inside the process."""

    def __init__(self, app, name):
        super().__init__(app, name, "tcp")

    def open(self):
        user, password = self.app.turn_credentials()
        s, _ = socks(CONNECT, *TURN)
        client = Client(TURN, user, password, "tcp")
        client.sock.close()
        client.sock = s
        return client


class OddFlow(Flow):
    """Asks for places that a proxy must not reach from here, in turn: by CONNECT and by datagram.

    A success is no finding by itself (the relay may reach itself); what counts is that each is
    answered, that the router and this machine are never reached, and the capture. Between rounds
    it asks to be called back (BIND): the address that it would tell its peer is kept.
    """

    PLACES = [("127.0.0.1", 9), ("localhost", 9642), ("127.0.0.1", 9642), ("::1", 9642),
              ("0.0.0.0", 9642), ("::ffff:127.0.0.1", 9642), (place.GATEWAY, 80),
              (place.GATEWAY, 53), ("192.168.7.77", 445), (place.APP, 9642), ("10.1.1.1", 443),
              ("169.254.169.254", 80), (place.GATEWAY6, 80), ("fe80::1", 80), (place.RELAY, 22),
              (place.RELAY, 8080), (place.RELAY6, 8080), ("relay.example", 8080),
              ("224.0.0.251", 5353), ("255.255.255.255", 67), ("router.lan", 80)]

    def __init__(self, app, name):
        self.answers = {}
        self.bound = set()
        self.association = None
        super().__init__(app, name)

    def step(self):
        if self.n_steps % len(self.PLACES) == 1:
            self.bind()
        host, port = self.PLACES[self.n_steps % len(self.PLACES)]
        self.datagram(host, port)
        try:
            s, _ = socks(CONNECT, host, port)
            s.close()
            answer = "connected"
        except Failed as e:
            answer = str(e)
        self.answers.setdefault((host, port), Counter())[answer] += 1
        if not answer.startswith("rep") and answer != "connected":
            raise Failed(answer)

    def bind(self):
        try:
            s, (host, _) = socks(BIND, place.PEER, 0)
        except (Failed, OSError):
            return
        s.close()
        self.bound.add(host)

    def datagram(self, host, port):
        try:
            if self.association is None:
                control, relay = socks(ASSOCIATE, "0.0.0.0", 0)
                udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                udp.connect(relay)
                self.association = (control, udp)
            self.association[1].send(b"\0\0\0" + encode_address(host, port) + payload())
        except (Failed, OSError):
            self.drop()

    def drop(self):
        for s in self.association or ():
            s.close()
        self.association = None


class Flows:
    """What the cases ask of an app, wherever it runs: `flows`, Records by their names."""

    def all_records(self):
        return list(self.flows.values())

    def all_succeeded_after(self, start, names=None):
        return all(self.flows[n].succeeded_after(start) is not None for n in names or self.flows)


class App(Flows):
    """All flows. `turn_credentials` is a function: they are new after each start of `local`."""

    def __init__(self, lab, turn_credentials):
        self.lab, self.turn_credentials = lab, turn_credentials
        self.stopping = threading.Event()
        self.n_names = 0
        self.lock = threading.Lock()
        self.flows = {}
        for flow in (ConnectFlow(self, "CONNECT IPv4", place.PEER),
                     ConnectFlow(self, "CONNECT IPv6", place.PEER6),
                     ConnectFlow(self, "CONNECT name", "name"),
                     StreamFlow(self, "long stream"),
                     AssociateFlow(self, "ASSOCIATE IPv4", place.PEER),
                     AssociateFlow(self, "ASSOCIATE IPv6", place.PEER6),
                     AssociateFlow(self, "ASSOCIATE name", "name"),
                     TurnFlow(self, "TURN/UDP", "udp"),
                     TurnFlow(self, "TURN/TCP", "tcp"),
                     JoinedFlow(self, "TURN/TCP within SOCKS")):
            self.flows[flow.name] = flow
        self.odd = OddFlow(self, "odd places")

    def start_calls(self):
        """Return: the names of flows, which are there from now on."""
        calls = (TurnCall(self, "call over udp", "udp"), TurnCall(self, "call over tcp", "tcp"),
                 AssociateCall(self, "call by socks", place.PEER))
        self.flows.update((call.name, call) for call in calls)
        return [call.name for call in calls]

    def new_name(self):
        with self.lock:
            self.n_names += 1
            return f"{place.NAME_MARK.decode()}{self.n_names}.{place.FAR_DOMAIN}"

    def stop(self):
        self.stopping.set()

    def all_records(self):
        return [*super().all_records(), self.odd]
