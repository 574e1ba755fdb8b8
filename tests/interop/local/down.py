#!/usr/bin/python3
"""An app whose local proxy cannot use its relay: errors, and nothing ever by another way.

Prints "ok - name" and "not ok - name" lines. Arguments: SOCKS host and port.
"""

import sys
import time

from socks5 import BIND, CONNECT, Association, Refused, request

PROXY = (sys.argv[1], int(sys.argv[2]))
PEER = "10.99.1.2"
FAILED = False


def check(name, good, why=""):
    global FAILED
    FAILED = FAILED or not good
    print(("ok - " if good else "not ok - ") + name, flush=True)
    if not good:
        print(why, flush=True)


def error_of(command, host):
    """The reply code, or what came instead."""
    begin = time.monotonic()
    try:
        sock, bound = request(PROXY, command, host, 4002, timeout=30)
        sock.close()
        return f"success, {bound}"
    except Refused as e:
        return e.rep if time.monotonic() - begin < 20 else "an error after 20 s"
    except (OSError, EOFError) as e:
        return repr(e)


def datagram():
    """An association may be granted while the relay is not there; what it is sent goes nowhere."""
    try:
        a = Association(PROXY, timeout=30)
    except Refused as e:
        return e.rep
    a.sock.settimeout(2)
    try:
        a.send(b"hello", (PEER, 4000))
        return f"an answer: {a.receive()}"
    except OSError:
        return 1
    finally:
        a.close()


# General failure, network unreachable, host unreachable.
for name, got in (("CONNECT", error_of(CONNECT, PEER)), ("BIND", error_of(BIND, PEER)),
                  ("CONNECT by name", error_of(CONNECT, "www.peer.test")),
                  ("ASSOCIATE", datagram())):
    check(f"{name} fails", got in (1, 3, 4), got)
sys.exit(FAILED)
