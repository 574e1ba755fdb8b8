#!/usr/bin/python3
"""The judge is judged: each kind of leak, made by hand, must be found. TAP on stdout."""

import os
import struct
import sys
import tempfile
from ipaddress import ip_address

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
from frames import ICMP, ICMP6, TCP, UDP  # noqa: E402
from judge import Rules, judge  # noqa: E402

HOST, HOST6 = "192.168.7.2", "fd00:7::2"
ROUTER, ROUTER6 = "192.168.7.1", "fd00:7::1"
RELAY, RELAY6 = "198.18.3.2", "2001:db8:3::2"
PEER, PEER6 = "198.18.2.2", "2001:db8:2::2"


def rules(**changed):
    values = {
        "host": {HOST, HOST6}, "router": {ROUTER, ROUTER6}, "relay": {RELAY, RELAY6},
        "ports": {(UDP, 5349), (TCP, 443)}, "resolver": {ROUTER, ROUTER6},
        "relay_name": "relay.example", "secret": [b"zkqname", b"opensesame"],
        "hidden": [b"zkqpayload", b"alice"]}
    return Rules(**{**values, **changed})


def ether(kind, data):
    return b"\x02" * 6 + b"\x04" * 6 + struct.pack("!H", kind) + data


def ip(src, dst, proto, data, fragment=0):
    a, b = ip_address(src).packed, ip_address(dst).packed
    if len(a) == 4:
        start = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 77, fragment, 64, proto, 0)
        return start + a + b + data
    return struct.pack("!IHBB", 6 << 28, len(data), proto, 64) + a + b + data


def packet(src, dst, proto, data, **more):
    kind = frames.ETHER_IPV6 if ":" in src else frames.ETHER_IPV4
    return ether(kind, ip(src, dst, proto, data, **more))


def udp(src, sport, dst, dport, data=b"x" * 20, **more):
    header = struct.pack("!HHHH", sport, dport, 8 + len(data), 0)
    return packet(src, dst, UDP, header + data, **more)


def tcp(src, sport, dst, dport, data=b""):
    header = struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 5 << 4, 2, 1000, 0, 0)
    return packet(src, dst, TCP, header + data)


def dns(name):
    labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
    return struct.pack("!HHHHHH", 1, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def arp(sender, target):
    return ether(frames.ETHER_ARP, struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + b"\x02" * 6
                 + ip_address(sender).packed + bytes(6) + ip_address(target).packed)


def neighbour(target, src=HOST6):
    return packet(src, "ff02::1:ff00:1", ICMP6,
                  struct.pack("!BBHI", 135, 0, 0, 0) + ip_address(target).packed)


def error(src, dst, quoted):
    if ":" in src:
        return packet(src, dst, ICMP6, struct.pack("!BBHI", 1, 4, 0, 0) + quoted)
    return packet(src, dst, ICMP, struct.pack("!BBHI", 3, 3, 0, 0) + quoted)


def within(frame):
    """The IP packet of a frame, as much as a router quotes."""
    return frame[14:14 + 60]


GOOD = udp(HOST, 40000, RELAY, 5349)

INNOCENT = {
    "the relay by UDP": [GOOD, udp(RELAY, 5349, HOST, 40000)],
    "the relay by TCP": [tcp(HOST, 40000, RELAY, 443, b"\x17\x03\x03"),
                         tcp(RELAY, 443, HOST, 40000)],
    "the relay by IPv6": [udp(HOST6, 40000, RELAY6, 5349)],
    "ARP with the router": [arp(HOST, ROUTER), arp(ROUTER, HOST), arp("0.0.0.0", HOST)],
    "neighbour discovery of the router": [neighbour(ROUTER6), neighbour("fe80::1"),
                                          neighbour(HOST6)],
    "MLD": [packet("fe80::1", "ff02::16", 0,
                   b"\x3a\x00\x05\x02\x00\x00\x01\x00" + b"\x8f" + bytes(7))],
    "the relay's name": [udp(HOST, 5000, ROUTER, 53, dns("relay.example")),
                         udp(HOST, 5000, ROUTER, 53, dns("Relay.EXAMPLE")),
                         tcp(HOST, 5000, ROUTER, 53, b"\0\x1f" + dns("relay.example"))],
    "an ICMP error about the relay": [error(ROUTER, HOST, within(GOOD)),
                                      error(HOST, RELAY, within(udp(RELAY, 5349, HOST, 40000)))],
    "an ICMPv6 error about the relay": [
        error(ROUTER6, HOST6, within(udp(HOST6, 40000, RELAY6, 5349)))],
    "fragments of the relay's": [udp(HOST, 40000, RELAY, 5349, fragment=0x2000),
                                 packet(HOST, RELAY, UDP, b"more", fragment=0x0003)],
}

LEAKS = {
    "a datagram to a peer": [udp(HOST, 40000, PEER, 4000)],
    "a peer's datagram to the host": [udp(PEER, 4000, HOST, 40000)],
    "a SYN to a peer": [tcp(HOST, 40000, PEER, 443)],
    "a peer by IPv6": [udp(HOST6, 40000, PEER6, 4000)],
    "a peer on the relay's port": [udp(HOST, 40000, PEER, 5349)],
    "another port of the relay's": [tcp(HOST, 40000, RELAY, 22)],
    "the right port by the wrong protocol": [tcp(HOST, 40000, RELAY, 5349)],
    "from the relay's port number to elsewhere": [udp(HOST, 5349, PEER, 4000)],
    "from the relay's port number to another of the relay's": [udp(HOST, 5349, RELAY, 4000)],
    "another source address than the host's": [udp(PEER, 5349, RELAY, 5349)],
    "an app's name at the resolver": [udp(HOST, 5000, ROUTER, 53, dns("www.example"))],
    "an app's name at the resolver by TCP": [
        tcp(HOST, 5000, ROUTER, 53, b"\0\x1d" + dns("www.example"))],
    "a search domain behind the relay's name": [
        udp(HOST, 5000, ROUTER, 53, dns("relay.example.lan"))],
    "DNS to another server": [udp(HOST, 5000, PEER, 53, dns("relay.example"))],
    "something else on the resolver's port": [udp(HOST, 5000, ROUTER, 53, b"x" * 30)],
    "another port of the router's": [tcp(HOST, 5000, ROUTER, 80)],
    "mDNS": [udp(HOST, 5353, "224.0.0.251", 5353, dns("relay.example"))],
    "mDNS by IPv6": [udp("fe80::1", 5353, "ff02::fb", 5353, dns("relay.example"))],
    "ARP for a neighbour": [arp(HOST, "192.168.7.77")],
    "neighbour discovery of a neighbour": [neighbour("fd00:7::77")],
    "a ping": [packet(HOST, PEER, ICMP, b"\x08" + bytes(20))],
    "a ping to the relay": [packet(HOST, RELAY, ICMP, b"\x08" + bytes(20))],
    "an ICMP error about a peer": [error(ROUTER, HOST, within(udp(HOST, 40000, PEER, 4000)))],
    "an ICMPv6 error about a peer": [error(ROUTER6, HOST6, within(udp(HOST6, 40000, PEER6, 4000)))],
    "an ICMP error to a peer": [error(HOST, PEER, within(GOOD))],
    "another IP protocol": [packet(HOST, PEER, 132, bytes(20))],
    "IGMP": [packet(HOST, "224.0.0.22", 2, bytes(8))],
    "a later fragment alone": [packet(HOST, RELAY, UDP, b"more", fragment=0x0003)],
    "a later fragment to a peer": [packet(HOST, PEER, UDP, b"more", fragment=0x0003)],
    "a frame of another kind": [ether(0x8899, bytes(50))],
    "a broken IPv4 header": [ether(frames.ETHER_IPV4, b"\x45\x00")],
    "a broken IPv6 header": [ether(frames.ETHER_IPV6, b"\x60" + bytes(20))],
    "an app's name to the relay in clear": [
        udp(HOST, 40000, RELAY, 5349, dns("zkqname12.far.test"))],
    "an app's name, its case mixed": [udp(HOST, 40000, RELAY, 5349, b".......ZkqNaMe12......")],
    "an app's payload to the relay in clear": [tcp(HOST, 40000, RELAY, 443, b"...zkqpayload...")],
    "the user's name to the relay in clear": [
        udp(HOST, 40000, RELAY, 5349, b"......alice.........")],
    "an app's name in a resolver's answer": [
        udp(ROUTER, 53, HOST, 5000, dns("relay.example") + b"zkqname")],
    "nothing but a frame or two": [],
}


def verdict(made, some_rules):
    """As captured: through a file, with enough of the relay's packets beside."""
    with tempfile.NamedTemporaryFile() as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for raw in made:
            f.write(struct.pack("<IIII", 1, 0, len(raw), len(raw)) + raw)
        f.flush()
        return judge(frames.read(f.name), some_rules)


def refuses(data):
    with tempfile.NamedTemporaryFile() as f:
        f.write(data)
        f.flush()
        try:
            frames.read(f.name)
        except frames.CaptureError:
            return True
    return False


def checks():
    for name, made in INNOCENT.items():
        found = verdict(made + [GOOD] * 5, rules(least=5))
        yield f"no finding: {name}", not found.findings, found.findings
    for name, made in LEAKS.items():
        found = verdict(made + [GOOD] * (5 if made else 4), rules(least=5))
        yield f"found: {name}", len(found.findings) > 0, "nothing"
        # One stray frame among many is not averaged away, and every one is counted.
        if made:
            found = verdict([GOOD] * 500 + made * 3 + [GOOD] * 500, rules(least=5))
            yield f"counted: {name}", found.n_found >= 3 * len(made), found.n_found
    plain = rules(encrypted=False, secret=[b"opensesame"], hidden=[b"zkqname", b"zkqpayload"])
    found = verdict([udp(HOST, 40000, RELAY, 5349, b"zkqname zkqpayload...")], plain)
    yield "plain: names may be read on the way to the relay", not found.findings, found.findings
    found = verdict([udp(HOST, 40000, RELAY, 5349, b"opensesame..........."), GOOD], plain)
    yield "plain: the password may not", len(found.findings) == 1, found.findings
    found = verdict([error(RELAY, HOST, within(GOOD) + b"zkqname"), GOOD], plain)
    yield "plain: and an ICMP error may quote them", not found.findings, found.findings
    other = within(udp(HOST, 40000, RELAY, 9))
    found = verdict([error(RELAY, HOST, other + b"zkqname"), GOOD], plain)
    yield "plain: but not about other ports of the relay's", len(found.findings) == 2, found.findings
    found = verdict([udp(ROUTER, 53, HOST, 5000, dns("relay.example") + b"zkqname"), GOOD], plain)
    yield "plain: nor may they be read anywhere else", len(found.findings) == 1, found.findings
    literal = rules(relay_name=None)
    found = verdict([udp(HOST, 5000, ROUTER, 53, dns("relay.example")), GOOD], literal)
    yield "a relay given by address: no name may be asked", len(found.findings) == 1, found.findings
    found = verdict([tcp(HOST, 5000, ROUTER, 53), GOOD], literal)
    yield "nor the resolver be called", len(found.findings) == 1, found.findings
    peers = Rules(host={PEER, PEER6}, router={"198.18.2.1"}, relay={RELAY, RELAY6})
    found = verdict([udp(RELAY, 50000, PEER, 4000), tcp(RELAY6, 50000, PEER6, 4000)], peers)
    yield "peers: the relay on any port", not found.findings and found.n_relay == 2, found.findings
    found = verdict([udp(RELAY, 50000, PEER, 4000), udp(HOST, 50000, PEER, 4000)], peers)
    yield "peers: the app's host is found", len(found.findings) == 1, found.findings
    yield "an empty file is no capture", refuses(b""), ""
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
    yield "nor is a cut one", refuses(head + struct.pack("<IIII", 1, 0, 60, 60) + bytes(59)), ""
    yield "nor one of shortened frames", refuses(
        head + struct.pack("<IIII", 1, 0, 60, 90) + bytes(60)), ""


def main():
    n = n_bad = 0
    for n, (name, ok, detail) in enumerate(checks(), 1):
        n_bad += not ok
        print(f"{'ok' if ok else 'not ok'} {n} - {name}")
        if not ok:
            print(f"# {detail}")
    print(f"1..{n}")
    return 1 if n_bad or not n else 0


if __name__ == "__main__":
    sys.exit(main())
