"""A small blocking SOCKS5 client (RFC 1928), for what the libraries at hand do not do."""

import ipaddress
import socket
import struct

CONNECT, BIND, ASSOCIATE = 1, 2, 3


class Refused(Exception):
    """`rep` is the reply code."""

    def __init__(self, rep):
        super().__init__(f"REP {rep}")
        self.rep = rep


def pack(host, port, as_name=False):
    """ATYP, address and port; what is no address goes as a name, and with as_name what is one:
    browsers do that."""
    try:
        if as_name:
            raise ValueError
        ip = ipaddress.ip_address(host)
        head = bytes([1 if ip.version == 4 else 4]) + ip.packed
    except ValueError:
        head = bytes([3, len(host)]) + host.encode()
    return head + struct.pack("!H", port)


def unpack(data):
    """The (host, port) at the start of data, and what stands behind it."""
    if data[0] == 3:
        n = 2 + data[1]
        host = data[2:n].decode()
    else:
        n = 5 if data[0] == 1 else 17
        host = str(ipaddress.ip_address(data[1:n]))
    return (host, struct.unpack("!H", data[n : n + 2])[0]), data[n + 2 :]


def exactly(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            raise EOFError(f"closed after {len(data)} of {n} bytes")
        data += more
    return data


def reply(sock):
    """BND.ADDR and BND.PORT, or Refused."""
    version, rep, reserved, kind = exactly(sock, 4)
    if version != 5 or reserved != 0:
        raise ValueError(f"not a reply: {version} {rep} {reserved}")
    rest = exactly(sock, 4 if kind == 1 else 16) if kind != 3 else b""
    if kind == 3:
        rest = exactly(sock, 1)
        rest += exactly(sock, rest[0])
    bound = unpack(bytes([kind]) + rest + exactly(sock, 2))[0]
    if rep:
        raise Refused(rep)
    return bound


def request(proxy, command, host, port, timeout=15, as_name=False):
    """A connection to the proxy after its first reply, and (BND.ADDR, BND.PORT)."""
    sock = socket.create_connection(proxy, timeout=timeout)
    try:
        sock.sendall(b"\x05\x01\x00")
        if exactly(sock, 2) != b"\x05\x00":
            raise ValueError("no authentication is not accepted")
        sock.sendall(bytes([5, command, 0]) + pack(host, port, as_name))
        return sock, reply(sock)
    except BaseException:
        sock.close()
        raise


class Association:
    """UDP ASSOCIATE: sends to and receives from (host, port)."""

    def __init__(self, proxy, timeout=15):
        self.control, self.bound = request(proxy, ASSOCIATE, "0.0.0.0", 0, timeout)
        family = socket.AF_INET6 if ":" in self.bound[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(5)
        self.sock.connect(self.bound)

    def send(self, data, peer):
        self.sock.send(b"\0\0\0" + pack(*peer) + data)

    def receive(self):
        data = self.sock.recv(65536)
        if data[:3] != b"\0\0\0":
            raise ValueError("not a SOCKS datagram")
        source, payload = unpack(data[3:])
        return payload, source

    def close(self):
        self.control.close()
        self.sock.close()
