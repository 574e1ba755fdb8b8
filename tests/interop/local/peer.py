#!/usr/bin/python3
"""The peers of the local proxy's suites: what an app wants to reach, and what peers get to see.

Prints the address of everyone who talks to it, one a line. Argument: the folder whose files it
serves. Services, each on every address in ADDRESSES:

  TCP 80    HTTP: GET of a file; PUT answers with the SHA-256 of the body; GET /whoami
  TCP 81    the same on all IPv4 addresses of this host
  UDP 4000  echo; "who?" is answered with the source as seen, "other ..." from port 4001
  TCP 4002  eight bytes of length and a body, which comes back; the client closes first
  TCP 4004  the same, but this end closes, right after the last byte
  TCP 4005  the same as 4002, but nothing comes back before all of the body is here
  TCP 4003  a line "connect HOST PORT": connects there, says its own address, and echoes
"""

import hashlib
import http.server
import os
import socket
import socketserver
import struct
import sys
import threading

ADDRESSES = ["10.99.1.2", "10.99.1.3", "fd99:1::2"]
lock = threading.Lock()


def saw(source):
    with lock:
        print(source[0], flush=True)


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Web(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, text):
        body = (text + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        saw(self.client_address)
        if self.path == "/whoami":
            self.answer(self.client_address[0])
        else:
            super().do_GET()

    def do_PUT(self):
        saw(self.client_address)
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        while left:
            data = self.rfile.read(min(left, 1 << 20))
            if not data:
                return
            digest.update(data)
            left -= len(data)
        self.answer(digest.hexdigest())

    def copyfile(self, source, outputfile):
        self.wfile.flush()
        self.connection.sendfile(source)

    def log_message(self, *_):
        pass


class Body(socketserver.BaseRequestHandler):
    def handle(self):
        saw(self.client_address)
        self.request.settimeout(30)
        head = self.request.recv(8, socket.MSG_WAITALL)
        left = struct.unpack("!Q", head)[0]
        while left:
            data = self.request.recv(min(left, 1 << 16))
            if not data:
                return
            self.request.sendall(data)
            left -= len(data)
        self.wait()

    def wait(self):
        self.request.recv(1)


class BodyAndEnd(Body):
    def wait(self):
        pass


class BodyApart(Body):
    def handle(self):
        saw(self.client_address)
        self.request.settimeout(30)
        head = self.request.recv(8, socket.MSG_WAITALL)
        size, body = struct.unpack("!Q", head)[0], bytearray()
        while len(body) < size and (data := self.request.recv(1 << 16)):
            body += data
        self.request.sendall(body)
        self.wait()


class ConnectBack(socketserver.StreamRequestHandler):
    def handle(self):
        saw(self.client_address)
        _, host, port = self.rfile.readline().decode().split()
        with socket.socket(family(host)) as s:
            s.settimeout(10)
            s.bind((self.request.getsockname()[0], 0))
            s.connect((host, int(port)))
            s.sendall(("%s %d\n" % s.getsockname()[:2]).encode())
            while data := s.recv(1 << 16):
                s.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a client that goes away is no news


def serve(address, port, handler):
    kind = type("Server", (Server,), {"address_family": family(address)})
    server = kind((address, port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def udp_socket(address, port):
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind((address, port))
    return s


def echo(address):
    s, other = udp_socket(address, 4000), udp_socket(address, 4001)
    while True:
        data, source = s.recvfrom(65536)
        saw(source)
        if data.startswith(b"who?"):
            s.sendto(("%s %d" % source[:2]).encode(), source)
        else:
            (other if data.startswith(b"other ") else s).sendto(data, source)


def main():
    os.chdir(sys.argv[1])
    for address in ADDRESSES:
        serve(address, 80, Web)
        serve(address, 4002, Body)
        serve(address, 4003, ConnectBack)
        serve(address, 4004, BodyAndEnd)
        serve(address, 4005, BodyApart)
        threading.Thread(target=echo, args=(address,), daemon=True).start()
    serve("0.0.0.0", 81, Web)
    print("ready", file=sys.stderr, flush=True)
    threading.Event().wait()


main()
