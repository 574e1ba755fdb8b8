"""One case's world: a lab with its relay, its peers, `callveil local`, an app, and the verdict."""

import contextlib
import json
import os
import re
import signal
import socket
import time
import traceback
import urllib.error
import urllib.request

import far
import frames
import lab as place
from app import ANSWER_S, STREAM_S, App
from lab import until

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CALLVEIL = os.path.abspath(os.environ.get("CALLVEIL", TREE + "/build/relay/callveil"))

USER, PASSWORD, TOKEN = "zkquser", "zkqsesame opens", "zkqtoken"

MAX_DETAIL = 70  # lines; a judge's findings fit in

# What is waited for, in seconds. The app has a right to an answer in ANSWER_S; these are about
# `local` noticing, and coming back by itself.
READY_S = 20
DOWN_S = 40
RECOVERY_S = 30
END_S = 5

# RFC 1928's words for a relay that cannot be used: network or host unreachable, refused, expired.
SOCKS_DOWN = {f"rep {n}" for n in (3, 4, 5, 6)}
# Datagrams are dropped; the TURN server says so where it can.
TURN_DOWN = {"turn 508", "turn 486", "silence", "closed", "timeout"}
UDP, TCP = frames.UDP, frames.TCP
# What a case may write as [upstream] url, and the ports of the relay that it means.
SEALED = (f"turns:{place.RELAY_NAME}:5349?transport=udp, "
          f"turns:{place.RELAY_NAME}:443?transport=tcp",
          {(UDP, 5349), (TCP, 443)})
PLAIN = (f"turn:{place.RELAY_NAME}:3478?transport=udp, turn:{place.RELAY_NAME}:3478?transport=tcp",
         {(UDP, 3478), (TCP, 3478)})
TLS = (f"turns:{place.RELAY_NAME}:443?transport=tcp", {(TCP, 443)})
LITERAL = (f"turns:[{place.RELAY6}]:5349?transport=udp, turns:{place.RELAY}:5349?transport=tcp",
           {(UDP, 5349), (TCP, 5349)})


def words_for(table, flow):
    return next(words for start, words in table.items() if flow.startswith(start))


def credentials(stats):
    """The user and password of the loopback TURN server, wherever the JSON has them."""
    if isinstance(stats, dict):
        user = stats.get("username", stats.get("user"))
        password = stats.get("password", stats.get("credential"))
        if isinstance(user, str) and isinstance(password, str):
            return user, password
        stats = list(stats.values())
    for value in stats if isinstance(stats, list) else ():
        found = credentials(value)
        if found:
            return found
    return None


class World:
    # How an app's steps may end, by the start of their flow's name: while there is no relay, ...
    down_words = {"CONNECT": SOCKS_DOWN, "long": SOCKS_DOWN | {"closed"},
                  "ASSOCIATE": SOCKS_DOWN | {"closed", "silence"},
                  "TURN/TCP within": TURN_DOWN | SOCKS_DOWN, "TURN": TURN_DOWN}
    # ... no proxy (one that was killed cannot reset what the kernel closes for it), ...
    gone_words = {"": {"refused", "closed", "silence", "timeout", "ended"}}
    told_words = {"": {"refused", "closed", "silence", "timeout"}}
    # ... and no usable address for a name: host unreachable, or refused by the relay's rules (2).
    name_words = {"CONNECT": SOCKS_DOWN | {"rep 2"}, "ASSOCIATE": {"silence"}}
    name_flows = ["CONNECT name", "ASSOCIATE name"]

    def __init__(self, name, folder):
        self.name, self.keys = name, f"{folder}/keys"
        self.folder = f"{folder}/{name}"
        self.n_bad = 0
        self.lab = place.Lab(self.folder)
        self.lab.use_resolver("app", place.GATEWAY)
        self.lab.use_resolver("relay", place.FAR_DNS)
        zone = (place.FAR_DOMAIN, [place.PEER, place.PEER6])
        self.far_dns = far.NameServer(self.lab, "peer", [place.FAR_DNS], [zone])
        # An obliging one: it would tell every name, and so let an app find its way past the relay.
        self.isp_dns = far.NameServer(
            self.lab, "router", [place.GATEWAY, place.GATEWAY6],
            [(place.RELAY_NAME, [place.RELAY, place.RELAY6]), zone,
             ("router.lan", [place.GATEWAY])])
        self.peer = far.Echo(self.lab, "peer", [place.PEER, place.PEER6], far.ECHO_PORT)
        self.router_page = far.Echo(self.lab, "router", [place.GATEWAY, place.GATEWAY6], 80)
        self.relay_page = far.Echo(self.lab, "relay", [place.RELAY, place.RELAY6], 8080)
        self.forbidden = [self.router_page]  # nothing of an app's may get there
        self.upstream = SEALED
        self.relay = self.local = self.app = self.captures = None
        self.direct_way_is_open()

    # ---- TAP ----

    def check(self, what, good, detail=""):
        self.n_bad += not good
        print(f"{'ok' if good else 'not ok'} - {self.name}: {what}")
        if not good and detail:
            print("\n".join("# " + line for line in str(detail).splitlines()[-MAX_DETAIL:]))

    def note(self, what):
        print(f"# {self.name}: {what}")

    def direct_way_is_open(self):
        """A leak could get through: else the whole test says nothing."""
        with self.lab.at("app"):
            for address in (place.PEER, place.PEER6):
                with socket.create_connection((address, far.ECHO_PORT), timeout=3) as s:
                    s.sendall(b"direct")
                    if s.recv(10) != b"direct":
                        raise place.LabError("no direct way from the app's host to a peer")
        self.peer.n_bytes = 0

    # ---- the relay ----

    def start_relay(self, **changed):
        self.write_relay(**changed)
        # One log for all of a case's relays.
        n = self.relay.text().count("is ready") if self.relay else 0
        argv = [CALLVEIL, "relay", "-c", f"{self.folder}/relay.conf"]
        relay = self.relay = self.lab.run("relay", argv, "relay")
        until(lambda: relay.text().count("is ready") > n or not relay.runs(), 20)
        if relay.text().count("is ready") == n or not relay.runs():
            raise place.LabError(f"the relay does not start: {self.relay.text()}")

    def write_relay(self, certificate="relay", password=PASSWORD, limits="", more=""):
        listen = ", ".join(f"{scheme}://{address}:{port}"
                           for address in (place.RELAY, f"[{place.RELAY6}]")
                           for scheme, port in (("udp", 3478), ("tcp", 3478), ("dtls", 5349),
                                                ("tls", 5349), ("tls", 443)))
        place.write(f"{self.folder}/relay.conf", f"""[relay]
listen = {listen}
relay-address = {place.RELAY}, {place.RELAY6}
certificate = {self.keys}/{certificate}.pem
private-key = {self.keys}/{certificate}-key.pem
workers = 2
{more}
[users]
{USER} = {password}
zkqsecond = {PASSWORD}
[peers]
allow = 198.18.0.0/15, 2001:db8::/32
[limits]
unauthenticated-rate = 0
{limits}
[stats]
listen = 127.0.0.1:9641
""")

    def relay_counters(self):
        return self.get("relay", 9641)["counters"]

    # ---- local ----

    def start_local(self, upstream=SEALED, trust="pin", user=USER, password=PASSWORD):
        """`trust`: "pin", "ca", or "" for the system's authorities."""
        self.upstream = upstream
        with open(f"{self.keys}/relay.pin") as f:
            pin = f.read()
        line = {"pin": f"pin = {pin}", "ca": f"ca-file = {self.keys}/ca.pem", "": ""}[trust]
        place.write(f"{self.folder}/local.conf", f"""[local]
socks5 = 127.0.0.1:1080
turn = 127.0.0.1:3478
[upstream]
url = {upstream[0]}
user = {user}
password = {password}
{line}
dns = {place.FAR_DNS}
[stats]
listen = 127.0.0.1:9642
token = {TOKEN}
""")
        os.chmod(f"{self.folder}/local.conf", 0o600)
        self.captures = self.lab.watch(self.name)
        self.restart_local()

    def local_argv(self):
        return [CALLVEIL, "local", "-c", f"{self.folder}/local.conf"]

    def restart_local(self):
        self.local = self.lab.run("app", self.local_argv(), "local")
        if until(lambda: self.stats() is not None or not self.local.runs(), 20) is None \
                or not self.local.runs():
            raise place.LabError(f"local does not start: {self.local.text()}")

    def get(self, host, port, token=None):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/stats.json")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        with self.lab.at(host), urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def stats(self):
        with contextlib.suppress(OSError, ValueError, urllib.error.URLError):
            return self.get("app", 9642, TOKEN)
        return None

    def state(self):
        """(state, why) of the way to the relay."""
        upstream = (self.stats() or {}).get("upstream") or {}
        return upstream.get("state"), upstream.get("why")

    def turn_credentials(self):
        found = credentials(self.stats())
        if not found:
            # No local, or none that answers: an app would have what it was told at first.
            raise ConnectionRefusedError("nobody to ask for credentials")
        return found

    def fewest_descriptors(self, seconds, enough=0):
        """Of `local`, within that time or until they are few enough: without a relay it looks for
        one now and then, with sockets that come and go."""
        folder, fewest = f"/proc/{self.local.popen.pid}/fd", 1 << 20
        end = time.monotonic() + seconds
        while fewest > enough and time.monotonic() < end:
            fewest = min(len(os.listdir(folder)), fewest)
            time.sleep(0.01)
        return fewest

    def local_memory(self):
        """Bytes resident; None where the sanitizer keeps what was freed, by design."""
        pid = self.local.popen.pid
        with open(f"/proc/{pid}/maps") as f:
            if "asan" in f.read():
                return None
        with open(f"/proc/{pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    # ---- the app ----

    def start_app(self):
        self.app = App(self.lab, self.turn_credentials)

    def works(self, what="every kind of traffic works", since=None, seconds=READY_S, flows=None):
        """Checks that each flow succeeds within that time. Return: the moment when all had."""
        start = time.monotonic() if since is None else since
        until(lambda: self.app.all_succeeded_after(start, flows), seconds)
        took = {n: self.app.flows[n].succeeded_after(start) for n in flows or self.app.flows}
        late = [n for n, t in took.items() if t is None]
        self.check(what, not late, f"never: {', '.join(late)}\n{self.describe(start)}"
                   f"\nstate: {self.state()}\n{self.local.text()[-1500:]}")
        self.note("seconds until " + what + ": "
                  + ", ".join(f"{n} {t:.1f}" for n, t in took.items() if t is not None))
        return time.monotonic()

    def went_on(self, what, start, flows=None):
        """Every step since then succeeded; a datagram may be lost, or late on a busy machine, once
        for each flow."""
        bad = []
        for name in flows or self.app.flows:
            failed = [e.what for e in self.app.flows[name].since(start) if e.what != "ok"]
            bad += [f"{name}: {words}" for words in [failed] if words not in ([], ["silence"])]
        self.check(what, not bad, "\n".join(bad))

    def describe(self, start, end=None):
        lines = []
        for flow in self.app.flows.values():
            words = {}
            for e in flow.since(start, end):
                words[e.what] = words.get(e.what, 0) + 1
            lines.append(f"{flow.name}: {words}")
        return "\n".join(lines)

    def goes_down(self, seconds=DOWN_S):
        """The stats say so, with a reason."""
        took = until(lambda: self.state()[0] == "down" or not self.local.runs(), seconds)
        state, why = self.state()
        self.check("stats say \"down\" and why", state == "down" and bool(why), (state, why))
        if took is not None:
            self.note(f"down after {took:.1f} s: {why}")

    def fails_closed(self, start, seconds, table=None, flows=None):
        """From `start` on, for that long: no success, the documented errors, in bounded time."""
        flows = flows or list(self.app.flows)
        time.sleep(seconds)
        end = time.monotonic()
        # Each has an answer coming, and the fault stays until it is there.
        until(lambda: all(self.app.flows[n].since(start) for n in flows), ANSWER_S + 2)
        wrong = []
        for name in flows:
            events = self.app.flows[name].since(start)
            words = words_for(table or self.down_words, name)
            wrong += [f"{name}: {e.what}" for e in events if e.what not in words]
            if not events:
                wrong.append(f"{name}: no answer in {time.monotonic() - start:.0f} s")
        self.check("apps get the documented errors, and never through", not wrong,
                   "\n".join(f"{wrong.count(w)} x {w}" for w in sorted(set(wrong))))
        self.note(f"during the fault: {self.describe(start, end)}".replace("\n", "; "))

    # ---- faults in general ----

    def outage(self, begin, end, seconds=2, down=True):
        """All works; a fault; all fails, closed; the fault is over; all works again."""
        self.works()
        begin()
        if down:
            self.goes_down()
        self.fails_closed(time.monotonic(), seconds)
        back = time.monotonic()
        end()
        self.works("all works again by itself", back, RECOVERY_S)

    # ---- the end ----

    def answered_in_time(self):
        late = [f"{flow.name}: {e.what} after {e.seconds:.1f} s"
                for flow in self.app.all_records()
                for e in flow.events
                if e.seconds > (STREAM_S if flow.name.startswith("long") else 2 * ANSWER_S)
                or e.what == "timeout" and not flow.name.startswith("TURN")]
        self.check("no app waits longer than it must", not late, "\n".join(late))

    def end_local(self):
        gone = self.local.popen.poll()
        start = time.monotonic()
        status = self.local.end(signal.SIGTERM) if gone is None else f"{gone}, before it was asked"
        seconds = time.monotonic() - start
        text = self.local.text()
        clean = not re.search(r"Sanitizer|runtime error", text)
        self.check("local ends with status 0 and a clean log", status == 0 and clean,
                   f"status {status}\n{text[-3000:]}")
        # The leak sanitizer looks through all memory first.
        self.check("and at once", seconds < END_S, f"{seconds:.1f} s")

    def nothing_is_left_on_the_relay(self):
        """Each allocation was given back, not left to its ten minutes."""
        until(lambda: self.relay_counters()["allocations"] == 0, 3)
        n = self.relay_counters()["allocations"]
        self.check("allocations are given back at the end", n == 0, f"{n} are left")

    def verdict(self, least, least_peers, encrypted):
        """Stops the captures: judge_uplink() and judge_peers() say what they show."""
        words = [place.NAME_MARK, PASSWORD.encode()], [place.PAYLOAD_MARK, USER.encode()]
        if not encrypted:
            words = [PASSWORD.encode()], [place.NAME_MARK, place.PAYLOAD_MARK, USER.encode()]
        place.Capture.settle()
        captured = {link: capture.stop() for link, capture in self.captures.items()}
        name = place.RELAY_NAME if place.RELAY_NAME in self.upstream[0] else None
        uplink = place.judge_uplink(captured["app"], self.upstream[1], name, encrypted, least,
                                    words)
        return uplink, place.judge_peers(captured["peer"], least_peers)

    def finish(self, least=60, least_peers=30, encrypted=True, ends=True, given_back=True):
        self.app.stop()
        self.answered_in_time()
        if ends:
            self.end_local()
        if given_back and self.relay and self.relay.runs():
            self.nothing_is_left_on_the_relay()
        self.judge_all(least, least_peers, encrypted)

    def judge_all(self, least, least_peers, encrypted):
        """What the captures and the places around say, and the relay's end."""
        uplink, peers = self.verdict(least, least_peers, encrypted)
        for what, found in (("the uplink shows the relay and nothing else", uplink),
                            ("peers see the relay and nobody else", peers)):
            self.check(what, not found.findings,
                       f"{found.n_found} findings in {found.n_frames} frames\n"
                       + "\n".join(found.findings))
        self.note(f"{uplink.n_frames} frames on the uplink, {uplink.n_relay} of them the relay's; "
                  f"{peers.n_frames} with peers")
        allowed = {place.RELAY_NAME} if place.RELAY_NAME in self.upstream[0] else set()
        asked = set(self.isp_dns.asked)
        self.check("the local resolver was asked for the relay's name at most", asked <= allowed,
                   asked)
        reached = [(f.n_connections, f.n_datagrams) for f in self.forbidden]
        self.check("the router and this machine were never reached",
                   not any(map(any, reached)), f"connections and datagrams: {reached}")
        if self.relay and self.relay.runs():
            status = self.relay.end(signal.SIGTERM, 15)
            self.check("the relay ends well", status == 0, f"{status}\n{self.relay.text()[-2000:]}")


def run(name, folder, case):
    """Return: the exit status of this process, whose standard output the caller reads."""
    world = None
    try:
        world = World(name, folder)
        case(world)
        print("# end")
        return 0
    except Exception:
        print(f"not ok - {name}: the case runs to its end")
        print("\n".join("# " + line for line in traceback.format_exc().splitlines()))
        print("# end")
        return 0
    finally:
        if world:
            world.lab.stopping.set()
