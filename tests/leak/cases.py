"""The faults, one function each; world.py has the words they are written in."""

import base64
import hmac
import os
import signal
import sys
import time

import far
import lab as place
import world
from lab import until
from world import LITERAL, PASSWORD, PLAIN, RECOVERY_S, SEALED, TLS, USER

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from turnclient import Client  # noqa: E402

CASES = {}
LONG = ("fault-storm", "relay-unreachable", "network-prohibited", "local-resolver-dead",
        "malformed-handshakes", "malformed-answers", "address-changed", "network-down")
# For the router: as if nothing listened on the relay.
RELAY_RESETS = "\n".join(
    f"{ip} daddr {address} {rule}"
    for ip, address, icmp in (("ip", place.RELAY, "icmp"), ("ip6", place.RELAY6, "icmpv6"))
    for rule in ("meta l4proto tcp reject with tcp reset",
                 f"reject with {icmp} type port-unreachable"))


def case(run):
    CASES[run.__name__.replace("_", "-")] = run
    return run


def run(name, folder):
    return world.run(name, folder, CASES[name])


def begin(w, **local):
    w.start_relay()
    w.start_local(**local)
    w.start_app()


# ---- no fault ----

def normal(w, encrypted=True, **local):
    begin(w, **local)
    start = w.works()
    time.sleep(2.5)
    w.went_on("and goes on working", start)
    w.check("stats say \"ready\"", w.state()[0] == "ready", w.state())
    told = set().union(*(f.mapped for n, f in w.app.flows.items() if n.startswith("TURN")))
    w.check("the loopback TURN server tells nobody this machine's address",
            bool(told) and not told & place.APPS, told)
    relayed = set().union(*(f.relayed for n, f in w.app.flows.items() if n.startswith("TURN")))
    w.check("relayed addresses are the relay's", relayed == {place.RELAY}, relayed)
    until(lambda: len(w.app.odd.answers) == len(w.app.odd.PLACES), 15)
    w.check("BIND tells an address of the relay's and no other",
            bool(w.app.odd.bound) and w.app.odd.bound <= {place.RELAY, place.RELAY6},
            w.app.odd.bound or "no BIND succeeded")
    here = {p: dict(a) for p, a in w.app.odd.answers.items() if p[0] not in (
        place.RELAY, place.RELAY6, "relay.example")}
    w.check("this machine, its network and other special places are refused",
            len(here) >= 15 and not any("connected" in a for a in here.values()), here)
    w.finish(encrypted=encrypted)


@case
def dtls_and_tls(w):
    normal(w, upstream=SEALED, trust="pin")


@case
def udp_and_tcp(w):
    normal(w, encrypted=False, upstream=PLAIN, trust="")


@case
def tls_and_a_ca(w):
    normal(w, upstream=TLS, trust="ca")


@case
def relay_by_address(w):
    normal(w, upstream=LITERAL, trust="pin")


# ---- the relay is gone ----

@case
def relay_killed(w):
    begin(w)
    w.outage(lambda: w.relay.end(signal.SIGKILL), w.start_relay)
    # Once more, back at once: nobody should need to have noticed.
    w.relay.end(signal.SIGKILL)
    back = time.monotonic()
    w.start_relay()
    w.works("a quick restart is survived", back, RECOVERY_S)
    w.finish()


@case
def relay_killed_plain(w):
    begin(w, upstream=PLAIN, trust="")
    w.outage(lambda: w.relay.end(signal.SIGKILL), w.start_relay)
    w.finish(encrypted=False)


@case
def relay_unreachable(w):
    begin(w)
    drop = "\n".join(f"{ip} {way} {address} drop" for way in ("saddr", "daddr")
                     for ip, address in (("ip", place.RELAY), ("ip6", place.RELAY6)))
    w.outage(lambda: w.lab.nft(drop), lambda: w.lab.nft(""))
    w.finish(given_back=False)


@case
def relay_refusing(w):
    begin(w)
    w.outage(lambda: w.lab.nft(RELAY_RESETS), lambda: w.lab.nft(""))
    w.finish(given_back=False)


@case
def network_prohibited(w):
    """A router that says so: ICMP of its own, also for TCP."""
    begin(w)
    reject = (f"ip daddr {place.RELAY} reject with icmp type admin-prohibited\n"
              f"ip6 daddr {place.RELAY6} reject with icmpv6 type no-route")
    w.outage(lambda: w.lab.nft(reject), lambda: w.lab.nft(""))
    w.finish(given_back=False)


# ---- the relay is not ours, or does not want us ----

def never_ready(w, seconds=3):
    w.start_app()
    w.goes_down()
    w.fails_closed(time.monotonic(), seconds)


@case
def wrong_password(w):
    w.start_relay(password="something else")
    w.start_local()
    never_ready(w)
    w.check("no allocation was made", w.relay_counters()["allocations_made"] == 0)
    w.write_relay()
    back = time.monotonic()
    w.relay.popen.send_signal(signal.SIGHUP)
    w.works("all works once the password is right", back, RECOVERY_S)
    w.finish()


@case
def expired_credentials(w):
    """Of the TURN REST scheme: the user name says when they end."""
    user = f"{int(time.time()) - 3600}:{USER}"
    password = base64.b64encode(hmac.digest(b"zkqsecret", user.encode(), "sha1")).decode()
    w.start_relay(more="secret = zkqsecret")
    w.start_local(user=user, password=password)
    never_ready(w)
    w.check("no allocation was made", w.relay_counters()["allocations_made"] == 0)
    w.finish(least=10, least_peers=0)


def no_word_beyond_the_handshake(w):
    counters = w.relay_counters()
    w.check("the impostor was greeted", counters["tls_failures"] > 0, counters)
    w.check("and was told nothing", counters["requests"] == 0 and counters["bindings"] == 0,
            counters)


def impostor(w, certificate, **local):
    w.start_relay(certificate=certificate)
    w.start_local(**local)
    never_ready(w)
    no_word_beyond_the_handshake(w)


def the_right_one_comes(w):
    w.relay.end(signal.SIGTERM)
    back = time.monotonic()
    w.start_relay()
    w.works("all works once the right relay is there", back, RECOVERY_S)
    w.finish()


@case
def wrong_pin(w):
    impostor(w, "impostor", trust="pin")
    the_right_one_comes(w)


@case
def unknown_authority(w):
    impostor(w, "impostor", trust="ca")
    the_right_one_comes(w)


@case
def certificate_of_another_name(w):
    impostor(w, "other-name", trust="ca")
    the_right_one_comes(w)


@case
def self_signed_without_a_pin(w):
    impostor(w, "impostor", trust="")
    w.finish(least=10, least_peers=0)


def overloaded(w, limit, user):
    """The relay itself, full: the one allocation that it allows is somebody else's."""
    w.start_relay(limits=f"{limit} = 1")
    with w.lab.at("peer"):
        other = Client((place.RELAY, 3478), user, PASSWORD, local=place.PEER)
        other.allocate()
    w.start_local()
    never_ready(w)
    other.refresh(0)
    other.close()
    w.write_relay()
    back = time.monotonic()
    w.relay.popen.send_signal(signal.SIGHUP)
    w.works("all works once there is room", back, RECOVERY_S)
    w.finish()


@case
def quota_reached_486(w):
    overloaded(w, "max-allocations-per-user", USER)


@case
def relay_full_508(w):
    overloaded(w, "max-allocations", "zkqsecond")


# ---- malformed answers ----

def malformed(w, modes, ports, **local):
    addresses = [place.RELAY, place.RELAY6]
    liars = [far.LyingRelay(w.lab, "relay", addresses, port, place.PEER) for port in ports]
    w.start_local(**local)
    w.start_app()
    for mode in modes:
        for liar in liars:
            liar.mode = mode
        heard = until(lambda m=mode: sum(liar.n_asked[m] for liar in liars) >= 3, 30)
        start = time.monotonic()
        w.check(f"\"{mode}\" was tried on it", heard is not None)
        w.check(f"\"{mode}\" is survived, and believed by nobody",
                w.local.runs() and w.state()[0] != "ready", w.state())
        w.fails_closed(start, 1)
    for liar in liars:
        liar.close()
    back = time.monotonic()
    w.start_relay()
    w.works("all works once the relay speaks the truth", back, RECOVERY_S)
    w.finish(encrypted=not local["upstream"] is PLAIN)


@case
def malformed_answers(w):
    malformed(w, ("noise", "cut", "long"), (3478,), upstream=PLAIN, trust="")


@case
def forged_answers(w):
    malformed(w, ("forged", "wrong-mac", "redirect", "data"), (3478,), upstream=PLAIN, trust="")


@case
def malformed_handshakes(w):
    malformed(w, ("noise", "cut", "long"), (443, 5349), upstream=SEALED, trust="pin")


# ---- names ----

def far_dns(w, mode):
    begin(w)
    w.works()
    w.far_dns.mode = mode
    time.sleep(0.5)
    start = time.monotonic()
    w.fails_closed(start, 6, w.name_words, w.name_flows)
    w.went_on("what needs no name goes on", start, [n for n in w.app.flows if n not in w.name_flows])
    w.far_dns.mode = "answer"
    w.works("names work again by themselves", time.monotonic(), RECOVERY_S)
    w.check("names were asked for at the far side",
            any(n.startswith(place.NAME_MARK.decode()) for n in w.far_dns.asked))
    w.finish()


@case
def dns_refusing(w):
    far_dns(w, "refuse")


@case
def dns_dead(w):
    far_dns(w, "silent")


@case
def dns_garbage(w):
    far_dns(w, "garbage")


@case
def dns_answers_with_private_addresses(w):
    far_dns(w, "private")


@case
def local_resolver_dead(w):
    """The relay's own name cannot be found: there is nobody to go to, and nobody else is asked."""
    w.isp_dns.mode = "silent"
    w.start_relay()
    w.start_local()
    w.start_app()
    w.goes_down()
    for mode in ("silent", "refuse", "garbage", "unknown"):
        w.isp_dns.mode = mode
        w.fails_closed(time.monotonic(), 2)
    w.isp_dns.mode = "answer"
    w.works("all works once the relay's name is known", time.monotonic(), RECOVERY_S)
    w.finish()


# ---- this machine ----

@case
def local_killed(w):
    begin(w)
    w.works()
    w.local.end(signal.SIGKILL)
    killed = time.monotonic()
    w.fails_closed(killed, 2.5, w.gone_words)
    w.restart_local()
    w.works("a new start serves the same apps", time.monotonic(), RECOVERY_S)
    w.finish(given_back=False)


@case
def local_told_to_end(w):
    begin(w)
    w.works()
    told = time.monotonic()
    w.end_local()
    w.fails_closed(told, 2.5, w.told_words)
    w.finish(ends=False)


def move(w, gone, here):
    """As a laptop does that comes to another network: a new address, the old one gone."""
    w.lab.sh("app", f"ip addr del {gone}/24 dev eth0; "
             + w.lab.address_commands("app", [f"{here}/24"]))


@case
def network_down(w):
    begin(w)

    def back():
        w.lab.sh("app", w.lab.address_commands("app", [place.APP6 + "/64"]))
        move(w, place.APP, place.APP_MOVED)

    w.outage(lambda: w.lab.sh("app", "ip link set eth0 down"), back)
    w.finish(given_back=False)


@case
def address_changed(w):
    begin(w)
    calls = w.app.start_calls()
    w.works()
    moved = time.monotonic()
    move(w, place.APP, place.APP_MOVED)
    w.works("all works from the new address", moved, RECOVERY_S)
    # A little longer, for what would come from elsewhere.
    heard = w.peer.n_datagrams
    until(lambda: w.peer.n_datagrams > heard + 100, 10)
    w.check("calls go on where they were: to their peers, nothing has changed",
            sorted(w.peer.callers) == sorted(calls)
            and all(len(sources) == 1 for sources in w.peer.callers.values()), w.peer.callers)
    w.check("they were moved, and the relay knows it",
            w.stats()["counters"]["upstream_moves"] >= len(calls)
            and w.relay_counters()["allocations_moved"] >= len(calls), w.relay_counters())
    w.finish(given_back=False)


# ---- all of it, again and again ----

STORMS = 2


def storm(w, n_rounds):
    """Relays come and go while apps never stop asking. Leaves neither app nor relay."""
    w.start_app()
    for i in range(n_rounds):
        w.start_relay()
        w.works(f"round {i + 1}: all works", seconds=RECOVERY_S)
        if i % 2:
            w.lab.nft(RELAY_RESETS)
            time.sleep(0.5)
        w.relay.end(signal.SIGKILL)
        w.lab.nft("")
    w.app.stop()
    w.answered_in_time()
    w.goes_down()


@case
def fault_storm(w):
    """Nothing may add up."""
    w.start_local()
    w.goes_down()
    n = w.fewest_descriptors(1.5)
    storm(w, 1)
    back = w.fewest_descriptors(40, n)
    w.check("the descriptors are those of a fresh start", back <= n, f"{back}, not {n}")
    memory = []
    for _ in range(2):  # at first the heap grows to what it needs
        storm(w, STORMS)
        back = w.fewest_descriptors(40, n)
        w.check(f"and so they are after {STORMS} rounds more", back <= n, f"{back}, not {n}")
        memory.append(w.local_memory())
    if memory[0] is not None:
        grown = memory[1] - memory[0]
        w.check("memory has not grown", grown < 1 << 20, f"by {grown} bytes")
        w.note(f"memory: {memory[0]} bytes, {grown} more after as many rounds again")
    w.finish(given_back=False)


# ---- the suite itself ----

@case
def a_proxy_that_leaks_is_caught(w):
    """microsocks, an honest proxy without a relay, in the place of `local`."""
    w.start_relay()
    w.captures = w.lab.watch(w.name)
    w.local = w.lab.run("app", ["microsocks", "-i", "127.0.0.1", "-p", "1080"], "local")
    w.start_app()
    w.works("it works, directly", flows=[n for n in w.app.flows if n.startswith("CONNECT")])
    until(lambda: w.router_page.n_connections > 0, 15)
    w.app.stop()
    w.local.end(signal.SIGTERM)
    uplink, peers = w.verdict(1, 1, True)
    for what, sign, found in (
            ("the uplink shows a peer's address", f"{place.APP} ", uplink),
            ("and a peer's IPv6 address", f"{place.PEER6} ", uplink),
            ("and a name", f"\"{place.NAME_MARK.decode()}\" is readable", uplink),
            ("and that there was no relay", "frames with the relay", uplink),
            ("peers see the app's host", f"{place.APP} ", peers)):
        w.check(what, any(sign in f for f in found.findings), "\n".join(found.findings))
    asked = [n for n in w.isp_dns.asked if n.startswith(place.NAME_MARK.decode())]
    w.check("the local resolver heard the names", len(asked) > 0)
    w.check("the router was reached", w.router_page.n_connections > 0)
