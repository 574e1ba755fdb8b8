#!/usr/bin/python3
"""How a running relay behaves as a process: start, reload, drain, end. TAP on stdout.

    life.py [PATH/TO/callveil]      default: $CALLVEIL, else build/relay/callveil of this tree

Runs on loopback; every relay it starts is ended, and must end with status 0 and a
stderr without a sanitizer's report.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time

from relayprocess import BINARY, Relay, Traffic, check, run, within
from turnclient import Client, TurnError, exchange, pair


def test_start(folder):
    relay = Relay(folder)
    log = relay.text()
    check("a start-up line says what peers will see", "peers will see 127.0.0.1" in log, log)
    check("/healthz answers", relay.get("/healthz")[0] == 200)
    check("/readyz answers", relay.get("/readyz")[0] == 200)
    a, b = pair(relay.server)
    check("two clients talk through the relay", exchange(a, b, 50) == 0)
    check("the mapped address is the relay's, not the client's", a.mapped == a.relayed, a.mapped)
    stats = relay.stats()
    check("stats count both allocations", stats["counters"]["allocations"] == 2, stats)
    check("stats count every packet both ways", stats["counters"]["up_packets"] == 100
          and stats["counters"]["down_packets"] == 100, stats["counters"])
    check("stats list the user", stats["users"] == [{"name": "alice", "allocations": 2}], stats)
    check("stats say what peers see", "127.0.0.1" in stats["peers_see"], stats)
    metrics = relay.get("/metrics")[1]
    check("metrics carry no user", "callveil_allocations 2" in metrics and "alice" not in metrics,
          metrics)
    check("the log carries no client address", "127.0.0.1:%d" % a.sock.getsockname()[1]
          not in relay.text())
    a.refresh(0)
    b.refresh(0)
    check("refresh 0 gives everything back",
          relay.settles(allocations=0, ports_udp4_in_use=0, clients_udp=0)
          and relay.stats()["users"] == [], relay.stats())
    relay.end("start")


def test_dual(folder):
    relay = Relay(folder)
    a, b = Client(relay.server), Client(relay.server)
    check("an allocation with two families has an IPv6 address", a.allocate(dual=True)[0] == "::1",
          a.relayed)
    b.allocate(dual=True)
    a.bind(0x4001, b.relayed)
    b.bind(0x4001, a.relayed)
    check("its IPv6 half carries traffic", exchange(a, b, 20, channel=0x4001) == 0)
    relay.end("dual")


def test_moves(folder):
    """From socket to socket over all transports, and so, sooner or later, from worker to worker."""
    relay = Relay(folder, workers=4)
    a, b = Client(relay.server), Client(relay.server)
    a.allocate(mobile=True)
    b.allocate()
    a.bind(0x4000, b.relayed)
    b.bind(0x4000, a.relayed)
    lost, transports = 0, ("udp", "tcp", "tls")
    for i in range(24):
        transport = transports[i % 3]
        server = ("127.0.0.1", relay.tls_port) if transport == "tls" else relay.server
        before, a = a, Client(server, transport=transport).take_over(a)
        b.send(0x4000, b"still there")
        lost += before.receive() != (0x4000, b"still there")
        lost += exchange(a, b, 5)
        before.close()
    check("an allocation moves 24 times over UDP, TCP and TLS, and nothing is lost", lost == 0,
          f"{lost} lost")
    check("it is the same one: the peer knows no other address",
          relay.settles(allocations=2, allocations_moved=24, allocations_made=2), relay.stats())
    a.close()
    check("when its connection has closed, it waits for the client to come back",
          relay.settles(allocations=2, clients_tls=0), relay.stats())
    back = Client(relay.server).take_over(a)
    lost = exchange(back, b, 5)
    check("who comes back to it within two minutes has it at once", lost == 0, f"{lost} lost")
    thief = Client(relay.server, user="bob", password="secret2")
    try:
        thief.take_over(back)
        refused = None
    except TurnError as e:
        refused = e.code
    check("another user's ticket is refused (441)", refused == 441, refused)
    back.refresh(0)
    b.refresh(0)
    check("its end gives everything back", relay.settles(allocations=0, ports_udp4_in_use=0),
          relay.stats())
    relay.end("moves")


def test_one_port(folder):
    relay = Relay(folder, listen="udp://127.0.0.1:{port}, dtls://127.0.0.1:{port}, "
                                 "tcp://127.0.0.1:{port}, tls://127.0.0.1:{port}")
    relay.tls_port = relay.port
    for transport in ("udp", "tcp", "tls"):
        a, b = pair(relay.server, transport=transport)
        check(f"on a port for all four transports, {transport} works",
              exchange(a, b, 20) == 0)
    openssl = subprocess.run(
        ["openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{relay.port}", "-alpn",
         "stun.turn"], input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10)
    check("and DTLS shakes hands and agrees on stun.turn",
          b"ALPN protocol: stun.turn" in openssl.stdout, openssl.stdout.decode(errors="replace"))
    relay.end("one port")


def test_reload(folder):
    relay = Relay(folder)
    old_certificate = Client(("127.0.0.1", relay.tls_port), transport="tls").certificate()
    calls = [Traffic(relay, t) for t in ("udp", "tcp", "tls")]
    time.sleep(0.3)

    relay.write(extra="log-level = debug\n", users="alice = secret\ncarol = new\n")
    os.remove(f"{folder}/cert.pem")
    os.remove(f"{folder}/key.pem")
    relay.signal(signal.SIGHUP)
    check("SIGHUP reloads", relay.wait_for("configuration reloaded"), relay.text())
    time.sleep(0.5)
    carol = Client(relay.server, user="carol", password="new")
    check("a user that was added may allocate", bool(carol.allocate()))
    bob = Client(relay.server, user="bob", password="secret2")
    try:
        bob.allocate()
        refused = None
    except TurnError as e:
        refused = e.code
    check("a user that was removed may not (401)", refused == 401, refused)
    fresh = Client(("127.0.0.1", relay.tls_port), transport="tls").certificate()
    check("a new connection gets the new certificate", fresh != old_certificate)

    relay.write(text="[relay]\nlistn = udp://127.0.0.1:1\nports = 9-3\n")
    relay.signal(signal.SIGHUP)
    check("a bad file is refused on SIGHUP", relay.wait_for("reload refused"), relay.text())
    log = relay.text()
    check("every error of it is named with its line",
          re.search(r":2: .*listn.*did you mean.*listen", log) and re.search(r":3: .*ports", log),
          log)
    check("the old configuration stays", bool(carol.refresh()))
    time.sleep(0.3)
    for call, name in zip(calls, ("UDP", "TCP", "TLS")):
        check(f"a call over {name} lost nothing through both reloads", call.stop(),
              f"{call.error} lost {call.lost} of {call.sent}")
    relay.end("reload")


def invite(relay, *arguments):
    """The password of the link that is printed, if one is."""
    p = subprocess.run([BINARY, "invite", "-c", relay.conf, *arguments], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=20, check=True)
    found = re.match(rb"callveil://[^:]+:([a-z0-9]+)@127\.0\.0\.1/\?", p.stdout)
    return found and found.group(1).decode()


def may_allocate(relay, user, password):
    """Not to be asked often: unauthenticated-rate has an eye on the first request of each."""
    client = Client(relay.server, user=user, password=password)
    try:
        client.allocate()
        client.refresh(0)
        return True
    except TurnError:
        return False
    finally:
        client.close()


def test_invite(folder):
    relay = Relay(folder, extra=f"users-file = {folder}/users.conf\n")
    others = [Traffic(relay, t) for t in ("udp", "tls")]
    password = invite(relay, "dora")
    check("an invitation prints a link", password is not None)
    check("an invited user may allocate seconds later, without a restart",
          within(5, lambda: may_allocate(relay, "dora", password), 0.3), relay.text())
    before = 2 * len(others)
    within(5, lambda: relay.stats()["counters"]["allocations"] == before)
    clients = [Client(relay.server, user="dora", password=password, transport=t)
               for t in ("udp", "tcp")]
    for client in clients:
        client.allocate()
    check("an invitation drops nobody",
          within(2, lambda: relay.stats()["counters"]["allocations"] == before + 2), relay.stats())

    invite(relay, "--remove", "dora")
    check("a user who was removed loses the allocations within seconds",
          within(5, lambda: relay.stats()["counters"]["allocations"] == before), relay.stats())
    check("the log says why", relay.wait_for('user "dora" is not listed any more', count=2),
          relay.text())
    try:
        clients[0].refresh()
        refused = None
    except TurnError as e:
        refused = e.code
    check("and is refused from then on", refused in (401, 437, 441), refused)
    check("also with a new client", not may_allocate(relay, "dora", password))

    with open(f"{folder}/users.conf", "a") as f:
        f.write("not a line\n")
    check("a users file with a mistake is refused, with its line",
          relay.wait_for("reload refused") and f"{folder}/users.conf:2: " in relay.text(),
          relay.text())
    time.sleep(2.5)
    check("once, not over and over", relay.text().count("reload refused") == 1, relay.text())
    os.remove(f"{folder}/users.conf")
    again = invite(relay, "dora")
    check("and taken up again when it is mended",
          within(5, lambda: may_allocate(relay, "dora", again), 0.3), relay.text())
    for call, name in zip(others, ("UDP", "TLS")):
        check(f"somebody else's call over {name} lost nothing meanwhile", call.stop(),
              f"{call.error} lost {call.lost} of {call.sent}")
    relay.end("invite")


def test_drain(folder):
    relay = Relay(folder)
    call = Traffic(relay)
    relay.signal(signal.SIGUSR1)
    check("SIGUSR1 drains", relay.wait_for("draining"), relay.text())
    time.sleep(0.2)
    try:
        Client(relay.server).allocate()
        refused = None
    except TurnError as e:
        refused = e.code
    check("a draining relay takes no new allocation (508)", refused == 508, refused)
    check("/readyz says so", relay.get("/readyz")[0] == 503)
    check("/healthz does not", relay.get("/healthz")[0] == 200)
    time.sleep(0.3)
    check("the running call goes on", call.stop(), f"{call.error} lost {call.lost}")
    check("it does not end while an allocation is left", relay.process.poll() is None)
    call.a.refresh(0)
    call.b.refresh(0)
    try:
        relay.process.wait(10)
    except subprocess.TimeoutExpired:
        pass
    check("it ends with the last allocation", relay.process.poll() == 0, relay.process.poll())
    relay.end("drain")


def test_alternate(folder):
    relay = Relay(folder, extra="alternate-server = 192.0.2.9:3478\n")
    running = Client(relay.server)
    running.allocate()
    relay.signal(signal.SIGUSR1)
    relay.wait_for("draining")
    time.sleep(0.2)
    try:
        Client(relay.server).allocate()
        refused = None
    except TurnError as e:
        refused = e.code
    check("a draining relay with an alternate server redirects (300)", refused == 300, refused)
    running.refresh(0)
    relay.end("alternate")


def test_end(folder):
    relay = Relay(folder)
    calls = [Traffic(relay, t) for t in ("udp", "tcp", "tls")]
    time.sleep(0.2)
    start = time.monotonic()
    relay.end("SIGTERM in the middle of calls")
    check("it does not dawdle", time.monotonic() - start < 10)
    for call in calls:
        call.stop()


def start_fails(folder, name, text, status, pattern):
    path = os.path.join(folder, "bad.conf")
    with open(path, "w") as f:
        f.write(text)
    try:
        p = subprocess.run([BINARY, "relay", "-c", path], stderr=subprocess.PIPE, timeout=20)
    except subprocess.TimeoutExpired:
        check(name, False, "it started")
        return
    error = p.stderr.decode()
    check(name, p.returncode == status and re.search(pattern, error) is not None,
          f"status {p.returncode}: {error}")


def test_second_start(folder):
    relay = Relay(folder)
    with open(relay.conf) as f:
        text = f.read()
    start_fails(folder, "a second relay does not share the first one's port (1)",
                text.replace(f"listen = 127.0.0.1:{relay.stats_port}", "listen = off"), 1,
                rf"cannot listen on udp://127\.0\.0\.1:{relay.port}")
    relay.write(text=text.replace(f"udp://127.0.0.1:{relay.port}", "udp://127.0.0.1:1"))
    relay.signal(signal.SIGHUP)
    check("a changed list of listeners waits for the next start",
          relay.wait_for("configuration reloaded") and "listen has changed" in relay.text())
    a = Client(relay.server)
    a.allocate()
    try:
        a.bind(0x4000, relay.server)
        refused = None
    except TurnError as e:
        refused = e.code
    check("and the running listeners stay closed to peers (403)", refused == 403, refused)
    relay.end("second start")


def test_bad_starts(folder):
    users = "[users]\nalice = secret\n[stats]\nlisten = 127.0.0.1:0\n"
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    start_fails(folder, "a wildcard public-address is refused (2)",
                f"[relay]\nlisten = udp://127.0.0.1:0\npublic-address = 0.0.0.0\n{users}", 2,
                r"bad\.conf:3: .*public-address")
    start_fails(folder, "a wildcard relay-address is refused (2)",
                f"[relay]\nlisten = udp://127.0.0.1:0\nrelay-address = ::\n{users}", 2,
                r"bad\.conf:3: .*relay-address")
    start_fails(folder, "a taken port is an error with its address (1)",
                f"[relay]\nlisten = tcp://127.0.0.1:{port}\n{users}", 1,
                rf"cannot listen on tcp://127\.0\.0\.1:{port}")
    start_fails(folder, "an unreadable certificate is refused (2)",
                f"[relay]\nlisten = tls://127.0.0.1:0\ncertificate = /nonexistent/c.pem\n"
                f"private-key = /nonexistent/k.pem\n{users}", 2, r"/nonexistent")
    start_fails(folder, "a file that cannot be read is refused (2)", "", 2, r"bad\.conf")
    p = subprocess.run([BINARY, "relay", "-c", "/nonexistent.conf"], stderr=subprocess.PIPE)
    check("a missing file is refused (2)", p.returncode == 2 and b"/nonexistent.conf" in p.stderr,
          p.stderr)
    taken.close()


if __name__ == "__main__":
    sys.exit(run((test_start, test_dual, test_moves, test_one_port, test_reload, test_invite, test_drain,
                  test_alternate, test_end, test_second_start, test_bad_starts)))
