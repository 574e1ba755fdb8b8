"""Who answers: peers that echo, name servers near and far, and relays that lie.

Each is threads in the network of one host (lab.py); what it saw is its attributes.
"""

import hashlib
import hmac
import os
import re
import selectors
import socket
import struct
import threading
import zlib
from ipaddress import ip_address

import frames
import lab as place

ECHO_PORT = 4000


def bound(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    s.setblocking(False)
    if kind == socket.SOCK_STREAM:
        s.listen(64)
    return s


class Server:
    """One thread, one selector: datagrams to on_datagram(), bytes of streams to on_bytes()."""

    def __init__(self, lab, host, addresses, port, kinds=(socket.SOCK_DGRAM, socket.SOCK_STREAM)):
        self.lab = lab
        self.closing = threading.Event()
        self.n_connections = 0
        self.sockets = []
        with lab.at(host):
            for address in addresses:
                self.sockets += [bound(kind, address, port) for kind in kinds]
        self.thread = lab.thread(host, self.serve)

    def serve(self):
        with selectors.DefaultSelector() as selector:
            for s in self.sockets:
                selector.register(s, selectors.EVENT_READ, self.take)
            while not self.closing.is_set() and not self.lab.stopping.is_set():
                for key, _ in selector.select(0.2):
                    key.data(selector, key.fileobj)
            for key in list(selector.get_map().values()):
                key.fileobj.close()

    def take(self, selector, s):
        if s.type == socket.SOCK_DGRAM:
            try:
                data, source = s.recvfrom(65536)
            except OSError:
                return
            self.on_datagram(s, data, source)
            return
        try:
            connection, source = s.accept()
        except OSError:
            return
        connection.setblocking(False)
        self.n_connections += 1
        selector.register(connection, selectors.EVENT_READ, self.read)

    def read(self, selector, s):
        try:
            data = s.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or not self.on_bytes(s, data):
            selector.unregister(s)
            s.close()

    @staticmethod
    def send(s, data, to=None):
        """What does not fit is lost: nobody here may block."""
        try:
            if to:
                s.sendto(data, to)
            else:
                s.send(data)
        except OSError:
            pass

    def on_datagram(self, s, data, source):
        pass

    def on_bytes(self, s, data):
        """Return: whether the connection goes on."""
        return True

    def close(self):
        self.closing.set()
        self.thread.join(5)


class Echo(Server):
    """`callers`: {the word behind the mark of a call's datagrams: where they came from}."""

    n_datagrams = n_bytes = 0
    last_source = None

    def __init__(self, *arguments):
        self.callers = {}
        super().__init__(*arguments)

    def on_datagram(self, s, data, source):
        self.n_datagrams += 1
        self.last_source = source[:2]
        call = re.match(re.escape(place.PAYLOAD_MARK) + rb"(call [a-z ]+):", data)
        if call:
            self.callers.setdefault(call.group(1).decode(), set()).add(source[:2])
        self.send(s, data, source)

    def on_bytes(self, s, data):
        self.n_bytes += len(data)
        self.send(s, data)
        return True


class NameServer(Server):
    """`zone`: (suffix of names, their addresses). `mode` may change while it runs."""

    MODES = ("answer", "refuse", "unknown", "silent", "garbage", "private")

    def __init__(self, lab, host, addresses, zone):
        self.zone, self.mode, self.asked = zone, "answer", []
        super().__init__(lab, host, addresses, 53)

    def on_datagram(self, s, data, source):
        answer = self.answer(data)
        if answer:
            self.send(s, answer, source)

    def on_bytes(self, s, data):
        answer = self.answer(data[2:])
        if answer:
            self.send(s, struct.pack("!H", len(answer)) + answer)
        return True

    def answer(self, query):
        try:
            name = frames.dns_question(query)
        except (ValueError, IndexError):
            self.asked.append("what is no question")
            return None
        self.asked.append(name)
        end = 12 + len(name) + 2 + 4
        kind = struct.unpack_from("!H", query, end - 4)[0]
        if self.mode == "silent":
            return None
        if self.mode == "garbage":
            return self.garbage(query, end)
        if self.mode == "refuse":
            return self.message(query, end, 5, [])
        known, addresses = self.lookup(name) if self.mode != "unknown" else (False, [])
        records = [ip_address(a).packed for a in addresses
                   if kind == (28 if ":" in a else 1)]
        return self.message(query, end, 0 if known else 3, records)

    def lookup(self, name):
        for suffix, addresses in self.zone:
            if name == suffix or name.endswith("." + suffix):
                if self.mode == "private":
                    addresses = PRIVATE
                return True, addresses
        return False, []

    @staticmethod
    def message(query, end, code, records):
        text = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        text += query[12:end]
        for address in records:
            kind = 28 if len(address) == 16 else 1
            text += struct.pack("!HHHIH", 0xC00C, kind, 1, 1, len(address)) + address
        return text

    def garbage(self, query, end):
        """By turns: noise, a name that points at itself, a promise of 65535 records, half an
        answer, another question's answer."""
        whole = self.message(query, end, 0, [ip_address("10.9.9.9").packed])
        made = [os.urandom(40), whole[:12] + b"\xc0\x0c" * 20,
                whole[:6] + b"\xff\xff" + whole[8:], whole[:end + 5],
                os.urandom(2) + whole[2:]]
        return made[len(self.asked) % len(made)]


# What a hostile or foolish name server may say: the router, a neighbour, this machine.
PRIVATE = ["192.168.7.1", "192.168.7.77", "10.0.0.1", "127.0.0.1", "169.254.169.254", "fd00:7::1",
           "::1", "fe80::1", "::ffff:192.168.7.1"]

COOKIE = 0x2112A442


def stun(kind, txid, *attributes):
    body = b""
    for number, value in attributes:
        body += struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)
    return struct.pack("!HHI", kind, len(body), COOKIE) + txid + body


def xor_address(address, port):
    value = struct.unpack("!I", ip_address(address).packed)[0] ^ COOKIE
    return struct.pack("!BBHI", 0, 1, port ^ (COOKIE >> 16), value)


class LyingRelay(Server):
    """On the relay's address and port, someone who is not the relay. `mode` is how it lies:

    noise      answers with random bytes
    cut        answers with the beginning of a STUN message
    long       promises lengths that never come, and attributes beyond their message
    forged     grants everything, without knowing the password
    wrong-mac  the same with an integrity of its own invention, after a proper 401
    redirect   "try the alternate server", which is a peer
    data       unasked Data indications and ChannelData from everywhere
    """

    MODES = ("noise", "cut", "long", "forged", "wrong-mac", "redirect", "data")

    def __init__(self, lab, host, addresses, port, elsewhere):
        self.mode, self.elsewhere = "noise", elsewhere
        self.n_asked = {mode: 0 for mode in self.MODES}
        super().__init__(lab, host, addresses, port)

    def on_datagram(self, s, data, source):
        for answer in self.lie(data):
            self.send(s, answer, source)

    def on_bytes(self, s, data):
        for answer in self.lie(data):
            self.send(s, answer)
        return self.mode != "noise"

    def lie(self, request):
        self.n_asked[self.mode] += 1
        if len(request) < 20:
            return []
        kind, txid = struct.unpack_from("!H", request)[0], request[8:20]
        return getattr(self, "lie_" + self.mode.replace("-", "_"))(kind, txid, request)

    def lie_noise(self, kind, txid, request):
        return [os.urandom(1 + zlib.crc32(txid) % 200), b"", b"\0",
                b"HTTP/1.1 400 Bad Request\r\n\r\n"]

    def lie_cut(self, kind, txid, request):
        whole = self.challenge(kind, txid)
        return [whole[:1 + zlib.crc32(txid) % (len(whole) - 1)]]

    def lie_long(self, kind, txid, request):
        return [struct.pack("!HHI", kind | 0x100, 0xFFFC, COOKIE) + txid + bytes(400),
                stun(kind | 0x100, txid)[:2] + b"\x00\x08" + stun(0, txid)[4:]
                + struct.pack("!HH", 0x16, 0xFFFF) + bytes(4),
                b"\x40\x00\xff\xff" + bytes(300)]

    def lie_forged(self, kind, txid, request):
        return [stun(kind | 0x100, txid, *self.grants())]

    def grants(self):
        return [(0x16, xor_address(self.elsewhere, 50000)),
                (0x20, xor_address(self.elsewhere, 50001)),
                (0x0D, struct.pack("!I", 600)), (0x2A, b"\0\0\0\1")]

    def lie_wrong_mac(self, kind, txid, request):
        if b"\x00\x08\x00\x14" not in request and b"\x00\x1c\x00\x20" not in request:
            return [self.challenge(kind, txid)]
        text = stun(kind | 0x100, txid, *self.grants(), (8, bytes(20)))
        mac = hmac.new(b"not the key", text[:-24], hashlib.sha1).digest()
        return [text[:-20] + mac]

    @staticmethod
    def challenge(kind, txid):
        return stun(kind | 0x110, txid, (9, b"\0\0\4\1"), (0x14, b"callveil"),
                    (0x15, b"0123456789abcdef"))

    def lie_redirect(self, kind, txid, request):
        port = struct.pack("!BBH", 0, 1, 3478)
        return [stun(kind | 0x110, txid, (9, b"\0\0\3\0"),
                     (0x8023, port + ip_address(self.elsewhere).packed))]

    def lie_data(self, kind, txid, request):
        made = [stun(0x17, os.urandom(12), (0x12, xor_address(a, 4000)), (0x13, b"out of nowhere"))
                for a in (self.elsewhere, "127.0.0.1", "192.168.7.1", "0.0.0.0", "255.255.255.255")]
        return made + [b"\x40\x00\x00\x08" + b"nowhere!", self.challenge(kind, txid)]
