"""What a capture holds: a reader of tcpdump's files, down to ports, quoted packets and DNS names.

Written for the judge: whatever it cannot read is said to be so (kind "unknown"), never left out.
"""

import ipaddress
import struct
from dataclasses import dataclass, field

ETHER_IPV4, ETHER_ARP, ETHER_IPV6 = 0x0800, 0x0806, 0x86DD
ICMP, IGMP, TCP, UDP, ICMP6 = 1, 2, 6, 17, 58
PROTOCOLS = {ICMP: "icmp", IGMP: "igmp", TCP: "tcp", UDP: "udp", ICMP6: "icmp6"}


class CaptureError(Exception):
    """The file is not a whole capture: it proves nothing."""


@dataclass
class Packet:
    """An IP packet, or the beginning of one that an ICMP error quotes."""

    src: str
    dst: str
    proto: int
    sport: int = None
    dport: int = None
    data: bytes = b""  # behind the TCP or UDP header; an ICMP message whole
    fragment: tuple = None  # what a fragment shares with the others of its packet
    first: bool = True  # not a fragment, or the first one: its ports are there

    def __str__(self):
        name = PROTOCOLS.get(self.proto, f"protocol {self.proto}")
        if self.proto in (ICMP, ICMP6) and self.data:
            name += f" type {self.data[0]}"
        ports = [f" {p}" if p is not None else "" for p in (self.sport, self.dport)]
        return f"{self.src}{ports[0]} > {self.dst}{ports[1]} {name}"


@dataclass
class Frame:
    time: float
    kind: str  # "ip", "arp" or "unknown"
    raw: bytes
    packet: Packet = None
    arp: tuple = field(default=())  # sender's and target's IPv4 address

    def __str__(self):
        if self.kind == "ip":
            return str(self.packet)
        if self.kind == "arp":
            return f"arp {self.arp[0]} asks for or tells {self.arp[1]}"
        return f"a frame of type {self.raw[12:14].hex()}: {self.raw[:60].hex()}"


def read(path):
    """All frames of a capture file (classic pcap, Ethernet)."""
    with open(path, "rb") as f:
        data = f.read()
    if len(data) < 24:
        raise CaptureError(f"{path}: {len(data)} bytes are no capture")
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}.get(data[:4])
    if order is None:
        raise CaptureError(f"{path}: not in tcpdump's format")
    if struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF != 1:
        raise CaptureError(f"{path}: not of an Ethernet link")
    frames, at = [], 24
    while at < len(data):
        if at + 16 > len(data):
            raise CaptureError(f"{path}: cut off within a record's header")
        seconds, micros, kept, whole = struct.unpack_from(order + "IIII", data, at)
        at += 16
        if kept != whole or at + kept > len(data):
            raise CaptureError(f"{path}: holds a part of a frame only")
        frames.append(parse(data[at:at + kept], seconds + micros / 1e6))
        at += kept
    return frames


def parse(raw, time=0.0):
    try:
        kind = struct.unpack_from("!H", raw, 12)[0]
        if kind == ETHER_ARP:
            return Frame(time, "arp", raw, arp=arp_addresses(raw[14:]))
        if kind == ETHER_IPV4:
            return Frame(time, "ip", raw, packet=parse_ipv4(raw[14:]))
        if kind == ETHER_IPV6:
            return Frame(time, "ip", raw, packet=parse_ipv6(raw[14:]))
    except (struct.error, ValueError, IndexError):
        pass
    return Frame(time, "unknown", raw)


def arp_addresses(data):
    if struct.unpack_from("!HHBB", data) != (1, ETHER_IPV4, 6, 4):
        raise ValueError("not ARP of IPv4 over Ethernet")
    return text(data[14:18]), text(data[24:28])


def text(address):
    if len(address) not in (4, 16):
        raise ValueError("no address")
    return str(ipaddress.ip_address(address))


def parse_ipv4(data):
    if data[0] >> 4 != 4:
        raise ValueError("not IPv4")
    header = (data[0] & 15) * 4
    total, ident, offset = struct.unpack_from("!HHH", data, 2)
    if header < 20:
        raise ValueError("bad header length")
    src, dst = text(data[12:16]), text(data[16:20])
    packet = Packet(src, dst, data[9], first=offset & 0x1FFF == 0)
    if offset & 0x3FFF:
        packet.fragment = (src, dst, data[9], ident)
    transport(packet, data[header:max(total, header)])
    return packet


# Hop-by-hop, routing and destination options: "next header, length in units of 8 bytes but one".
OPTION_HEADERS = (0, 43, 60)


def parse_ipv6(data):
    if data[0] >> 4 != 6:
        raise ValueError("not IPv6")
    length, kind = struct.unpack_from("!HB", data, 4)
    packet = Packet(text(data[8:24]), text(data[24:40]), kind)
    rest = data[40:40 + length]
    while kind in OPTION_HEADERS or kind == 44:
        if kind == 44:
            kind, _, offset, ident = struct.unpack_from("!BBHI", rest)
            packet.first = offset >> 3 == 0
            packet.fragment = (packet.src, packet.dst, kind, ident)
            rest = rest[8:]
            if not packet.first:
                break
        else:
            kind, length = rest[0], (rest[1] + 1) * 8
            rest = rest[length:]
    packet.proto = kind
    transport(packet, rest)
    return packet


def transport(packet, data):
    """A quoted packet may end early: ports are the first four bytes."""
    packet.data = data
    if not packet.first or packet.proto not in (TCP, UDP):
        return
    packet.sport, packet.dport = struct.unpack_from("!HH", data)
    if packet.proto == UDP:
        packet.data = data[8:]
    else:
        packet.data = data[(data[12] >> 4) * 4:] if len(data) > 12 else b""


def quoted(packet):
    """The packet that an ICMP error is about, or None when it is no error."""
    if not packet.data:
        return None
    try:
        if packet.proto == ICMP and packet.data[0] in (3, 4, 5, 11, 12):
            return parse_ipv4(packet.data[8:])
        if packet.proto == ICMP6 and packet.data[0] < 128:
            return parse_ipv6(packet.data[8:])
    except (struct.error, ValueError, IndexError):
        pass
    return None


def dns_question(data):
    """The name that a DNS message asks for, lower case, without the last dot; ValueError."""
    if len(data) < 17 or struct.unpack_from("!H", data, 4)[0] != 1:
        raise ValueError("not a DNS message with one question")
    labels, at = [], 12
    while data[at]:
        n = data[at]
        if n > 63 or at + 1 + n >= len(data):
            raise ValueError("not a name")
        labels.append(data[at + 1:at + 1 + n].decode("ascii"))
        at += 1 + n
    return ".".join(labels).lower()
