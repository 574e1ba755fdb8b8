#!/usr/bin/python3
"""PySocks as a client of the local proxy, for local_clients.sh.

Prints "ok - name" and "not ok - name" lines. Arguments: SOCKS host and port.
"""

import os
import struct
import sys

import socks

PROXY = (sys.argv[1], int(sys.argv[2]))
FAILED = False


def check(name, good, why=""):
    global FAILED
    FAILED = FAILED or not good
    print(("ok - " if good else "not ok - ") + name, flush=True)
    if not good:
        print(why, flush=True)


def new_socket(kind):
    s = socks.socksocket(socks.socket.AF_INET, kind)
    s.set_proxy(socks.SOCKS5, *PROXY, rdns=True)
    s.settimeout(15)
    return s


def exchange(s, name, peer, source):
    bad = []
    for i in range(100):
        data = struct.pack("!I", i) + os.urandom(i * 12)
        s.sendto(data, peer)
        got = s.recvfrom(65536)
        if got != (data, source):
            bad.append((i, len(got[0]), got[1]))
    check(f"ASSOCIATE: 100 datagrams to {name} and back", not bad, bad[:3])


def datagrams():
    with new_socket(socks.socket.SOCK_DGRAM) as s:
        exchange(s, "an address", ("10.99.1.2", 4000), ("10.99.1.2", 4000))
        exchange(s, "another address", ("10.99.1.3", 4000), ("10.99.1.3", 4000))
        exchange(s, "a name", ("four.peer.test", 4000), ("10.99.1.2", 4000))
        s.sendto(b"who?", ("10.99.1.2", 4000))
        seen = s.recvfrom(65536)[0].decode()
        check("ASSOCIATE: the peer saw the relay", seen.split()[0] == "10.99.1.1", seen)


def stream(host):
    body = os.urandom(1 << 20)
    with new_socket(socks.socket.SOCK_STREAM) as s:
        s.connect((host, 4002))
        s.sendall(struct.pack("!Q", len(body)) + body[:65536])
        got, sent = b"", 65536
        while len(got) < len(body):
            data = s.recv(65536)
            if not data:
                break
            got += data
            if sent < len(body):
                s.sendall(body[sent : sent + len(data)])
                sent += len(data)
        check(f"CONNECT to {host}: 1 MiB each way", got == body, len(got))


def refused():
    try:
        with new_socket(socks.socket.SOCK_STREAM) as s:
            s.connect(("10.99.1.2", 9))
        check("CONNECT to a closed port fails", False, "it succeeded")
    except socks.ProxyError as e:
        check("CONNECT to a closed port fails", "Connection refused" in str(e), str(e))


datagrams()
for host in ("10.99.1.2", "www.peer.test"):
    stream(host)
refused()
sys.exit(FAILED)
