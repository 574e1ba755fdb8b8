"""aioice, the ICE library of Python's WebRTC stack, as a TURN client.

Prints "ok - name" and "not ok - name" lines; tests/interop/aioice.sh numbers them.
Arguments: relay host, port, TLS port, user, password.
"""

import asyncio
import ssl
import sys

from aioice import stun, turn

N = 200
HOST, PORT, TLS_PORT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
USER, PASSWORD = sys.argv[4], sys.argv[5]
FAILED = False


def check(name, good, why=""):
    global FAILED
    FAILED = FAILED or not good
    print(("ok - " if good else "not ok - ") + name, flush=True)
    if not good and why:
        print(why, flush=True)


class Echo(asyncio.DatagramProtocol):
    """A peer: remembers who sent, sends everything back."""

    def __init__(self):
        self.senders = set()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.senders.add(addr)
        self.transport.sendto(data, addr)


class Receiver(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.received.put_nowait((data, addr))


def message(i):
    # Every length modulo 4, so that padding on streams is put to the test.
    return b"%06d" % i + bytes([i % 256]) * (i % 900)


async def echo_call(name, port, transport, tls):
    loop = asyncio.get_running_loop()
    peer_transport, peer = await loop.create_datagram_endpoint(
        Echo, local_addr=("127.0.0.3", 0)
    )
    peer_addr = peer_transport.get_extra_info("sockname")
    relayed, receiver = await turn.create_turn_endpoint(
        Receiver,
        server_addr=(HOST, port),
        username=USER,
        password=PASSWORD,
        transport=transport,
        ssl=tls,
    )
    relayed_addr = relayed.get_extra_info("sockname")
    good = 0
    for i in range(N):
        relayed.sendto(message(i), peer_addr)
        # One at a time: UDP promises no order, and a lost one must be noticed as lost.
        data, addr = await asyncio.wait_for(receiver.received.get(), 10)
        good += data == message(i) and addr == peer_addr
    check(f"{name}: {N} messages to a peer and back", good == N, f"{good} came back whole")
    check(
        f"{name}: the peer saw the relayed address only",
        peer.senders == {relayed_addr},
        f"peer saw {peer.senders}, relayed {relayed_addr}",
    )
    relayed.close()
    # close() sends a Refresh that ends the allocation; afterwards its port is deaf.
    await asyncio.sleep(0.5)
    while not receiver.received.empty():
        receiver.received.get_nowait()
    peer_transport.sendto(b"late", relayed_addr)
    await asyncio.sleep(0.3)
    check(f"{name}: nothing arrives after the end", receiver.received.empty())
    peer_transport.close()


async def is_refused(name, code, user, password):
    try:
        relayed, _ = await turn.create_turn_endpoint(
            Receiver, server_addr=(HOST, PORT), username=user, password=password
        )
        relayed.close()
        check(name, False, "an allocation was made")
    except stun.TransactionFailed as e:
        got = e.response.attributes["ERROR-CODE"][0]
        check(name, got == code, f"error {got}")


async def main():
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    await echo_call("UDP", PORT, "udp", False)
    await echo_call("TCP", PORT, "tcp", False)
    await echo_call("TLS", TLS_PORT, "tcp", tls)
    await is_refused("a wrong password is answered with 401", 401, USER, "wrong")
    await is_refused("an unknown user is answered with 401", 401, "mallory", PASSWORD)


asyncio.run(asyncio.wait_for(main(), 60))
sys.exit(FAILED)
