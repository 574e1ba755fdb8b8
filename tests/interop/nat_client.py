#!/usr/bin/python3
"""Both ends of tests/interop/nat.sh: "peer", an echo that prints who sent, and "client"."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from turnclient import Client, exchange  # noqa: E402

PEER = ("198.18.2.2", 4000)
OWN = "198.18.1.2"


def peer():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(PEER)
    print("ready", file=sys.stderr, flush=True)
    while True:
        data, source = s.recvfrom(2000)
        print(source[0], flush=True)
        s.sendto(f"{source[1]}".encode() + b" " + data, source)


def check(name, ok, detail=""):
    print(f"{'ok' if ok else 'not ok'} - {name}")
    if not ok:
        print(f"got: {detail}")


class Watched(Client):
    """Keeps every byte that the relay sent."""

    seen = b""

    def _read(self):
        data = super()._read()
        self.seen += data
        return data


def holds_address(data, text):
    plain = socket.inet_aton(text)
    xored = bytes(a ^ b for a, b in zip(plain, b"\x21\x12\xa4\x42"))
    return plain in data or xored in data or text.encode() in data


def client(server, port, user, password):
    a, b = (Watched((server, port), user, password, local=OWN) for _ in range(2))
    a.allocate()
    b.allocate()
    check("the relayed address is the public one", a.relayed[0] == server, a.relayed)
    check("the mapped address is the public one too", a.mapped[0] == server, a.mapped)
    a.bind(0x4000, PEER)
    a.send(0x4000, b"hello")
    answer = a.receive()
    check("a peer outside answers, and saw the relayed port",
          answer == (0x4000, f"{a.relayed[1]} hello".encode()), answer)
    a.bind(0x4001, b.relayed)
    b.bind(0x4001, a.relayed)
    check("two clients call each other by their public relayed addresses",
          exchange(a, b, 100, channel=0x4001) == 0)
    check("no byte from the relay held the client's address",
          len(a.seen) > 10000 and not holds_address(a.seen + b.seen, OWN), len(a.seen))
    a.refresh(0)
    b.refresh(0)


if sys.argv[1] == "peer":
    peer()
else:
    client(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
