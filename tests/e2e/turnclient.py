"""A small blocking TURN client for the end-to-end tests, over UDP, TCP or TLS.

Messages are packed by aioice.stun (Debian's python3-aioice), so that nothing here
shares code with what is being tested.
"""

import os
import socket
import ssl
import struct
import time

from aioice import stun

UDP_TRANSPORT = 17 << 24
TCP_TRANSPORT = 6 << 24

# What this aioice lacks: RFC 6062, and what is new in RFC 8656.
CONNECT, CONNECTION_BIND = 0x00A, 0x00B


def teach(number, name, pack, unpack):
    stun.ATTRIBUTES_BY_NAME[name] = stun.ATTRIBUTES_BY_TYPE[number] = (number, name, pack, unpack)


teach(0x0013, "DATA", stun.pack_bytes, stun.unpack_bytes)
teach(0x002A, "CONNECTION-ID", stun.pack_unsigned, stun.unpack_unsigned)
teach(0x8000, "ADDITIONAL-ADDRESS-FAMILY", stun.pack_unsigned, stun.unpack_unsigned)
teach(0x8030, "MOBILITY-TICKET", stun.pack_bytes, stun.unpack_bytes)
teach(0x8004, "ICMP", stun.pack_bytes, stun.unpack_bytes)


class Method(int):
    """Stands in for stun.Method, which would refuse the methods of RFC 6062."""


stun.Method = lambda number: Method(number)
for _name, _number in (("BINDING", 1), ("ALLOCATE", 3), ("REFRESH", 4), ("SEND", 6), ("DATA", 7),
                       ("CREATE_PERMISSION", 8), ("CHANNEL_BIND", 9)):
    setattr(stun.Method, _name, Method(_number))


class TurnError(Exception):
    def __init__(self, code):
        super().__init__(f"STUN error {code}")
        self.code = code


class Client:
    def __init__(self, server, user="alice", password="secret", transport="udp", local="127.0.0.1"):
        self.user, self.password = user, password
        self.realm = self.nonce = self.relayed = self.mapped = None
        self.buffer = b""
        self.queue = []  # (peer or channel, payload) that came while an answer was awaited
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self.sock = socket.socket(socket.AF_INET, kind)
        self.sock.bind((local, 0))
        self.sock.settimeout(2)
        self.sock.connect(server)
        if transport == "tls":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)
        self.stream = transport != "udp"

    def close(self):
        self.sock.close()

    def certificate(self):
        return self.sock.getpeercert(binary_form=True)

    # ---- messages ----

    def _read(self):
        if not self.stream:
            return self.sock.recv(65536)
        while True:
            if len(self.buffer) >= 4:
                kind, length = struct.unpack("!HH", self.buffer[:4])
                total = 20 + length if kind < 0x4000 else 4 + (length + 3) // 4 * 4
                if len(self.buffer) >= total:
                    message, self.buffer = self.buffer[:total], self.buffer[total:]
                    return message
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("closed by the relay")
            self.buffer += data

    def _next(self):
        """The next message: a stun.Message, or (source, payload)."""
        data = self._read()
        if data[0] >= 0x40:
            number, length = struct.unpack("!HH", data[:4])
            return (number, data[4 : 4 + length])
        message = stun.parse_message(data, integrity_key=None)
        if message.message_class == stun.Class.INDICATION:
            attributes = message.attributes
            return (attributes["XOR-PEER-ADDRESS"], attributes.get("DATA") or attributes.get("ICMP"))
        return message

    def request(self, method, attributes, trailing=b""):
        for _ in range(3):
            message = stun.Message(method, stun.Class.REQUEST)
            message.attributes.update(attributes)
            if self.nonce:
                message.attributes["USERNAME"] = self.user
                message.attributes["REALM"] = self.realm
                message.attributes["NONCE"] = self.nonce
                key = stun_key(self.user, self.realm, self.password)
                message.add_message_integrity(key)
            self.sock.send(bytes(message) + trailing)
            answer = self._answer(message.transaction_id)
            if answer.message_class == stun.Class.RESPONSE:
                return answer
            code = answer.attributes["ERROR-CODE"][0]
            if code == 438 or (code == 401 and not self.nonce):
                self.realm = answer.attributes["REALM"]
                self.nonce = answer.attributes["NONCE"]
                continue
            raise TurnError(code)
        raise TurnError(401)

    def _answer(self, txid):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            message = self._next()
            if isinstance(message, tuple):
                self.queue.append(message)
            elif message.transaction_id == txid:
                return message
        raise TimeoutError("no answer")

    # ---- TURN ----

    def allocate(self, **more):
        """With `dual`, the relayed address is the second one: IPv6; with `mobile`, one that moves."""
        attributes = {"REQUESTED-TRANSPORT": more.get("transport", UDP_TRANSPORT)}
        if more.get("dual"):
            attributes["ADDITIONAL-ADDRESS-FAMILY"] = 2 << 24
        if more.get("mobile"):
            attributes["MOBILITY-TICKET"] = b""
        answer = self.request(stun.Method.ALLOCATE, attributes)
        self.relayed = answer.attributes["XOR-RELAYED-ADDRESS"]
        self.mapped = answer.attributes["XOR-MAPPED-ADDRESS"]
        self.ticket = answer.attributes.get("MOBILITY-TICKET")
        return self.relayed

    def take_over(self, other, lifetime=600):
        """RFC 8016: the allocation of `other` goes on here, when something is sent."""
        answer = self.request(stun.Method.REFRESH,
                              {"LIFETIME": lifetime, "MOBILITY-TICKET": other.ticket})
        self.relayed, self.ticket = other.relayed, answer.attributes.get("MOBILITY-TICKET")
        return self

    def refresh(self, lifetime=600):
        return self.request(stun.Method.REFRESH, {"LIFETIME": lifetime})

    def permit(self, peer):
        return self.request(stun.Method.CREATE_PERMISSION, {"XOR-PEER-ADDRESS": peer})

    def bind(self, number, peer):
        return self.request(
            stun.Method.CHANNEL_BIND, {"CHANNEL-NUMBER": number, "XOR-PEER-ADDRESS": peer}
        )

    def connect(self, peer):
        """RFC 6062: the CONNECTION-ID of a new connection to the peer."""
        return self.request(CONNECT, {"XOR-PEER-ADDRESS": peer}).attributes["CONNECTION-ID"]

    def connection_bind(self, server, number, trailing=b""):
        """RFC 6062: a data connection's socket; `trailing` is sent right behind the request."""
        data = Client(server, self.user, self.password, transport="tcp")
        data.realm, data.nonce = self.realm, self.nonce
        data.request(CONNECTION_BIND, {"CONNECTION-ID": number}, trailing)
        data.sock.settimeout(20)
        # What came behind the answer is the peer's already.
        return Received(data.sock, data.buffer)

    def receive_icmp(self):
        """The next report: (peer, (type, code))."""
        source, value = self.receive()
        return source, (value[2], value[3])

    def send(self, number, payload):
        padding = b"\0" * (-len(payload) % 4 if self.stream else 0)
        self.sock.send(struct.pack("!HH", number, len(payload)) + payload + padding)

    def receive(self, timeout=2):
        """The next (channel number or peer address, payload)."""
        if self.queue:
            return self.queue.pop(0)
        self.sock.settimeout(timeout)
        try:
            message = self._next()
        finally:
            self.sock.settimeout(2)
        return message if isinstance(message, tuple) else self.receive(timeout)


class Received:
    """A socket whose first bytes were received already."""

    def __init__(self, sock, first):
        self.sock, self.first = sock, first

    def recv(self, n):
        if self.first:
            first, self.first = self.first, b""
            return first
        return self.sock.recv(n)

    def __getattr__(self, name):
        return getattr(self.sock, name)


def stun_key(user, realm, password):
    import hashlib

    return hashlib.md5(f"{user}:{realm}:{password}".encode()).digest()


def pair(server, transport="udp", channel=0x4000, **arguments):
    """Two clients of one relay with channels to each other's relayed address."""
    a = Client(server, transport=transport, **arguments)
    b = Client(server, transport=transport, **arguments)
    a.allocate()
    b.allocate()
    a.bind(channel, b.relayed)
    b.bind(channel, a.relayed)
    return a, b


def exchange(a, b, n, channel=0x4000):
    """Sends n numbered messages each way, one at a time. Return: how many were lost."""
    lost = 0
    for i in range(n):
        for source, sink in ((a, b), (b, a)):
            payload = struct.pack("!I", i) + os.urandom(100)
            source.send(channel, payload)
            try:
                lost += sink.receive() != (channel, payload)
            except TimeoutError:
                lost += 1
    return lost
