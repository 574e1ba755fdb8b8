#!/usr/bin/python3
"""Stands in for tcpdump where that cannot start: capture.py INTERFACE FILE, until SIGINT; on SIGUSR1
it says how far it is.

Debian's tcpdump gives up root before it captures, which in a user namespace there is no way to
do. The file and the words on stderr are tcpdump's.
"""

import signal
import socket
import struct
import sys
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS = 263, 6


def main(interface, path):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    s.bind((interface, ETH_P_ALL))
    s.settimeout(0.2)
    ends, asked = [], []
    signal.signal(signal.SIGINT, lambda *_: ends.append(True))
    signal.signal(signal.SIGUSR1, lambda *_: asked.append(True))
    n = seen = dropped = 0

    def say():
        nonlocal seen, dropped
        more = struct.unpack("II", s.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))  # since last asked
        seen, dropped = seen + more[0], dropped + more[1]
        print(f"{n} packets captured\n{seen} packets received by filter\n"
              f"{dropped} packets dropped by kernel", file=sys.stderr, flush=True)

    with open(path, "wb", buffering=0) as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        print(f"listening on {interface}", file=sys.stderr, flush=True)
        while not ends:
            if asked:
                asked.pop()
                say()
            try:
                frame = s.recv(1 << 18)
            except TimeoutError:
                continue
            now = time.time()
            f.write(struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(frame), len(frame))
                    + frame)
            n += 1
    say()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
