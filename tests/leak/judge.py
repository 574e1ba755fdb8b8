"""The judge: does a capture show traffic with the relay, and nothing else?

The uplink is the link between the app's host and its router. What may be on it, both ways:

  1. ARP between the host and its router. A host that asks for any other neighbour is about to
     send to it.
  2. ICMPv6 of the link itself, hop by hop: router solicitation and advertisement, neighbour
     solicitation and advertisement (of the host's, the router's and link-local addresses only),
     MLD reports and queries.
  3. DNS between the host and the local resolver, about the relay's own host name and no other.
  4. TCP and UDP between the host and the relay's addresses, on the ports that local.conf names.
  5. ICMP errors between the host and its router or the relay, about packets of 3 and 4.

All else is a finding, whatever the port. So is a name that an app used, or a password, in any
byte of any frame; and where the transport is encrypted, what apps sent and who the user is.
(On a plain transport names and payloads are readable within 4, which is what plain means.)

The peers' link must show peers and the relay only: 1, 2 and 5 likewise, and anything with the
relay. A capture with too few of the relay's packets is a finding too: it has proved nothing.
"""

import ipaddress
import re
from dataclasses import dataclass, field

import frames
from frames import ICMP, ICMP6, TCP, UDP

MLD = (130, 131, 132, 143)
ROUTER_DISCOVERY = (133, 134)
NEIGHBOUR_DISCOVERY = (135, 136)
MAX_FINDINGS = 60
EPHEMERAL = re.compile(r" (3276[89]|327[7-9]\d|32[89]\d\d|3[3-9]\d\d\d|[45]\d{4}|6[0-5]\d{3})\b")


@dataclass
class Rules:
    host: set  # the addresses of whoever is watched (the app's machine; or the peers)
    router: set  # its router's on that link
    relay: set
    ports: set = None  # (frames.UDP or TCP, port) of the relay; None: any (the peers' link)
    resolver: set = field(default_factory=set)
    relay_name: str = None  # may be asked of the resolver; None: nothing may
    secret: list = field(default_factory=list)  # bytes that must be nowhere
    hidden: list = field(default_factory=list)  # must not be readable outside rule 4
    encrypted: bool = True  # ... nor within
    least: int = 1  # frames with the relay


@dataclass
class Verdict:
    findings: list = field(default_factory=list)
    n_frames: int = 0
    n_relay: int = 0
    n_found: int = 0
    asked: set = field(default_factory=set)

    def find(self, what):
        """Findings that differ by an ephemeral port only are told once."""
        self.n_found += 1
        what = EPHEMERAL.sub(" *", what)
        if len(self.findings) < MAX_FINDINGS and what not in self.findings:
            self.findings.append(what)


def judge(captured, rules):
    verdict = Verdict(n_frames=len(captured))
    fragments = set()
    for frame in captured:
        with_relay = frame.kind == "ip" and is_relay(frame.packet, rules, fragments)
        verdict.n_relay += with_relay
        if not with_relay and not is_housekeeping(frame, rules, verdict, fragments):
            verdict.find(f"outside the relay: {frame}")
        with_relay = with_relay or is_about_relay(frame, rules, fragments)
        for word in readable(frame.raw, rules, with_relay):
            where = "to the relay" if with_relay else "outside the relay"
            verdict.find(f"\"{word.decode()}\" is readable {where}: {frame}")
    if verdict.n_relay < rules.least:
        verdict.find(f"only {verdict.n_relay} of at least {rules.least} frames with the relay")
    return verdict


def readable(raw, rules, with_relay):
    text = raw.lower()
    words = list(rules.secret)
    if not with_relay or rules.encrypted:
        words += rules.hidden
    return [word for word in words if word.lower() in text]


# ---- rule 4 ----

def is_relay(packet, rules, fragments):
    if packet.proto not in (TCP, UDP):
        return False
    if not packet.first:
        return packet.fragment in fragments
    if packet.src in rules.host and packet.dst in rules.relay:
        port = packet.dport
    elif packet.src in rules.relay and packet.dst in rules.host:
        port = packet.sport
    else:
        return False
    if rules.ports is not None and (packet.proto, port) not in rules.ports:
        return False
    if packet.fragment:
        fragments.add(packet.fragment)
    return True


def is_about_relay(frame, rules, fragments):
    """An allowed ICMP error quotes what was sent to the relay, as it was sent."""
    if frame.kind != "ip" or not is_icmp_error(frame.packet, rules, fragments):
        return False
    return is_relay(frames.quoted(frame.packet), rules, fragments)


# ---- the others ----

def is_housekeeping(frame, rules, verdict, fragments):
    if frame.kind == "arp":
        return is_arp(frame.arp, rules)
    if frame.kind != "ip":
        return False
    packet = frame.packet
    if packet.proto == ICMP6 and is_link_message(packet, rules):
        return True
    if packet.proto in (ICMP, ICMP6):
        return is_icmp_error(packet, rules, fragments)
    return is_relay_name(packet, rules, verdict)


def is_arp(addresses, rules):
    """Probes (RFC 5227) have no sender, announcements are about oneself."""
    return all(a in rules.host | rules.router | {"0.0.0.0"} for a in addresses) and any(
        a in rules.host for a in addresses)


def is_on_link(address, rules):
    return (address in rules.host | rules.router | {"::"}
            or ipaddress.ip_address(address).is_link_local
            or ipaddress.ip_address(address).is_multicast)


def is_link_message(packet, rules):
    if not packet.data or not is_on_link(packet.src, rules) or not is_on_link(packet.dst, rules):
        return False
    if packet.data[0] in MLD or packet.data[0] in ROUTER_DISCOVERY:
        return True
    if packet.data[0] not in NEIGHBOUR_DISCOVERY or len(packet.data) < 24:
        return False
    return is_on_link(frames.text(packet.data[8:24]), rules)


def is_icmp_error(packet, rules, fragments):
    about = frames.quoted(packet)
    ends = rules.router | rules.relay | rules.host
    if about is None or packet.src not in ends or packet.dst not in ends:
        return False
    return is_relay(about, rules, fragments) or is_with_resolver(about, rules)


def is_with_resolver(packet, rules):
    if not rules.relay_name or packet.proto not in (TCP, UDP) or not packet.first:
        return False
    return (packet.src in rules.host and packet.dst in rules.resolver and packet.dport == 53
            or packet.src in rules.resolver and packet.dst in rules.host and packet.sport == 53)


def is_relay_name(packet, rules, verdict):
    if not is_with_resolver(packet, rules):
        return False
    data = packet.data
    if packet.proto == TCP:
        if not data:
            return True  # the connection's own segments
        data = data[2:]  # the length before each message
    try:
        name = frames.dns_question(data)
    except (ValueError, IndexError):
        # The resolver may answer anything; what the host sends must be understood.
        return packet.src in rules.resolver
    verdict.asked.add(name)
    return name == rules.relay_name
