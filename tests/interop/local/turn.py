#!/usr/bin/python3
"""aioice and a plain TURN client at the loopback TURN server, for local_clients.sh.

Prints "ok - name" and "not ok - name" lines. Arguments: TURN host and port, user and password,
SOCKS host and port.
"""

import asyncio
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "e2e"))
from aioice import stun, turn  # noqa: E402
from socks5 import CONNECT, Refused, request  # noqa: E402
from turnclient import Client, TurnError  # noqa: E402

SERVER = (sys.argv[1], int(sys.argv[2]))
USER, PASSWORD = sys.argv[3], sys.argv[4]
PROXY = (sys.argv[5], int(sys.argv[6]))
PEER, PEER2 = ("10.99.1.2", 4000), ("10.99.1.3", 4000)
RELAYED = {"10.99.1.1", "fd99:1::1"}
LOCAL = "127.0.0.1" if SERVER[0].startswith("127.") else "10.99.0.2"
N = 200
FAILED = False


def check(name, good, why=""):
    global FAILED
    FAILED = FAILED or not good
    print(("ok - " if good else "not ok - ") + name, flush=True)
    if not good:
        print(why, flush=True)


class Receiver(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.received.put_nowait((data, addr))


async def aioice_call(transport):
    relayed, receiver = await turn.create_turn_endpoint(
        Receiver, server_addr=SERVER, username=USER, password=PASSWORD, transport=transport)
    address = relayed.get_extra_info("sockname")
    bad = []
    for i in range(N):
        peer, data = (PEER, PEER2)[i % 2], b"%06d" % i + bytes(i % 1200)
        relayed.sendto(data, peer)
        got = await asyncio.wait_for(receiver.received.get(), 10)
        if got != (data, peer):
            bad.append((i, len(got[0]), got[1]))
    check(f"aioice over {transport}: {N} messages to two peers and back", not bad, bad[:3])
    relayed.sendto(b"who?", PEER)
    seen = (await asyncio.wait_for(receiver.received.get(), 10))[0].decode()
    check(f"aioice over {transport}: the peer saw the relayed address, which is the relay's",
          seen == "%s %d" % address and address[0] in RELAYED, f"{seen} {address}")
    relayed.close()
    await asyncio.sleep(0.2)


def client(transport, sock=None, **more):
    c = Client(SERVER, more.get("user", USER), more.get("password", PASSWORD), transport, LOCAL)
    if sock:
        c.sock.close()
        c.sock = sock
        sock.settimeout(5)
    return c


def tells_nothing(mapped):
    """The relay's address, or the server's own: not a client's, by which a page would know it."""
    return mapped[0] in RELAYED or mapped in (SERVER, ("127.0.0.1", SERVER[1]))


def plain_call(name, c):
    c.allocate()
    check(f"{name}: no address of the client's in the answer to Allocate", c.mapped[0] in RELAYED,
          c.mapped)
    c.bind(0x4000, PEER)
    bad = []
    for i in range(50):
        data = os.urandom(i * 24)
        c.send(0x4000, data)
        if c.receive(5) != (0x4000, data):
            bad.append(i)
    check(f"{name}: channel data to a peer and back", not bad, bad)
    binding = c.request(stun.Method.BINDING, {}).attributes["XOR-MAPPED-ADDRESS"]
    check(f"{name}: nor in the answer to Binding", tells_nothing(binding), binding)
    c.refresh(0)
    c.close()


def is_401(name, **more):
    try:
        client("udp", **more).allocate()
        check(name, False, "an allocation was made")
    except TurnError as e:
        check(name, e.code == 401, e.code)


def through_socks(as_name):
    """The one loopback address that a CONNECT may name."""
    sock, _ = request(PROXY, CONNECT, "127.0.0.1", SERVER[1], as_name=as_name)
    return client("tcp", sock)


def no_other_loopback():
    """A server of this machine's own is not within an app's reach."""
    with socket.create_server(("127.0.0.1", 0)) as own:
        own.settimeout(0.5)
        for as_name in (False, True):
            try:
                request(PROXY, CONNECT, "127.0.0.1", own.getsockname()[1], as_name=as_name)
                check("CONNECT to another port of loopback is refused", False, "it succeeded")
            except Refused as e:
                check("CONNECT to another port of loopback is refused", e.rep in (2, 4, 5), e.rep)
        try:
            own.accept()
            check("and that port saw nobody", False)
        except TimeoutError:
            check("and that port saw nobody", True)


asyncio.run(asyncio.wait_for(aioice_call("udp"), 30))
asyncio.run(asyncio.wait_for(aioice_call("tcp"), 30))
for kind in ("udp", "tcp"):
    plain_call(kind, client(kind))
for number, as_name in enumerate((False, True)):
    plain_call(("SOCKS CONNECT to it", "and with its address as a name")[number],
               through_socks(as_name))
is_401("a wrong password is answered with 401", password="wrong")
is_401("the relay's own user is answered with 401", user="mallory")
no_other_loopback()
sys.exit(FAILED)
