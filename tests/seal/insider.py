#!/usr/bin/python3
"""The leak test's app (leak/app.py) as a sealed program is one: it knows of no proxy.

    insider.py NAME-MARK PAYLOAD-MARK DOMAIN PORT IPV4 IPV6      until it is ended

Each flow repeats a step, whatever happens, and a line tells how it ended:
"name TAB start TAB seconds TAB word", with the monotonic clock, which a seal does not change.
Alone in its file, for the user of the seal need not be able to read the tree.
"""

import errno
import itertools
import os
import socket
import sys
import threading
import time

STREAM_S = 40  # as leak/app.py
CONNECT_S = 15
SILENCE_S = 1.0
PAUSE_S = 0.2
PATIENCE = 3
UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EACCES)

NAME_MARK, PAYLOAD_MARK, DOMAIN, PORT, IPV4, IPV6 = sys.argv[1:]
numbers = itertools.count()


def place(host, kind, family=0):
    if host == "name":
        host = f"{NAME_MARK}{next(numbers)}.{DOMAIN}"
    return socket.getaddrinfo(host, int(PORT), family, kind)[0]


def echoed(s, data):
    s.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = s.recv(len(data) - len(got))
        if not piece:
            return "ended"
        got += piece
    return "ok" if got == data else "another answer"


def payload(n=1, call=""):
    return (PAYLOAD_MARK + call + os.urandom(6).hex()).encode() * n


class Stream:
    """A connection that lasts `n_steps` steps."""

    kind, patience = socket.SOCK_STREAM, 1

    def __init__(self, name, host, n_steps=1):
        self.name, self.host, self.n_steps = name, host, n_steps
        self.s, self.n_done, self.n_silent = None, 0, 0

    def open(self):
        family, kind, _, _, address = place(self.host, self.kind)
        self.s = socket.socket(family, kind)
        self.s.settimeout(CONNECT_S)
        self.s.connect(address)

    def exchange(self):
        self.s.settimeout(STREAM_S)
        return echoed(self.s, payload(20))

    def step(self):
        try:
            if self.s is None:
                self.open()
            what = self.exchange()
        except socket.gaierror:
            what = "no name"
        except ConnectionRefusedError:
            what = "refused"
        except ConnectionError:
            what = "closed"
        except TimeoutError:
            what = "timeout"
        except OSError as e:
            what = "unreachable" if e.errno in UNREACHABLE else repr(e)
        return what

    def run(self):
        while True:
            start = time.monotonic()
            what = self.step()
            print(f"{self.name}\t{start}\t{time.monotonic() - start}\t{what}", flush=True)
            self.n_done += 1
            self.n_silent = self.n_silent + 1 if what == "silence" else 0
            if self.n_done == self.n_steps or self.n_silent == self.patience or \
                    what not in ("ok", "silence"):
                if self.s:
                    self.s.close()
                self.s, self.n_done, self.n_silent = None, 0, 0
            time.sleep(PAUSE_S)


class Datagrams(Stream):
    """A call: silence is suffered a while, then it starts anew."""

    kind, patience = socket.SOCK_DGRAM, PATIENCE

    def payload(self):
        return payload()

    def exchange(self):
        if self.host == "name":  # a new one each time, from the same port as programs do
            self.s.connect(place(self.host, self.kind, self.s.family)[4])
        self.s.settimeout(SILENCE_S)
        data = self.payload()
        try:
            self.s.send(data)
            while self.s.recv(2000) != data:
                pass
        except TimeoutError:
            return "silence"
        return "ok"


class Call(Datagrams):
    """One that cannot start anew (leak/app.py)."""

    patience = 1_000_000

    def payload(self):
        return payload(call=f"{self.name}:")


def main():
    for flow in (Stream("TCP IPv4", IPV4), Stream("TCP IPv6", IPV6), Stream("TCP name", "name"),
                 Stream("long stream", IPV4, n_steps=0), Datagrams("UDP IPv4", IPV4, n_steps=0),
                 Datagrams("UDP IPv6", IPV6, n_steps=0), Datagrams("UDP name", "name", n_steps=0),
                 Call("call by udp", IPV4, n_steps=0)):
        threading.Thread(target=flow.run, daemon=True).start()
    threading.Event().wait()


main()
