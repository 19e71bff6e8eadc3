"""Packets in octets: IPv4, IPv6, ICMP, UDP and the first packet of TCP. Pure.

Numbers are those of the IANA; ICMP errors are named as `checks.toml` names them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58

ERRORS = {
    (4, 3, 3): "port-unreachable",
    (6, 1, 4): "port-unreachable",
    (4, 11, 0): "time-exceeded",
    (6, 3, 0): "time-exceeded",
    (4, 3, 4): "too-big",
    (6, 2, 0): "too-big",
}
"""Name of an ICMP error by IP version, type and code (RFC 792, RFC 4443)."""

_DISCOVERY = range(133, 138)  # ICMPv6 types of neighbour discovery, RFC 4861


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet that came: from where, and to which of our ports, or with which echo identifier, it belongs."""

    source: str
    kind: str
    token: int
    data: bytes


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\x00" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo_request(version: int, token: int, data: bytes) -> bytes:
    """An ICMP echo request; for IPv6 its checksum is left to whoever knows the addresses."""
    head = struct.pack("!BBHHH", 8 if version == 4 else 128, 0, 0, token, 1)
    if version == 6:
        return head + data
    return head[:2] + struct.pack("!H", checksum(head + data)) + head[4:] + data


def datagram(source_port: int, port: int, data: bytes) -> bytes:
    """A UDP datagram without checksum."""
    return struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data


def opening(source_port: int, port: int) -> bytes:
    """The SYN that opens a TCP connection, without checksum."""
    return struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 5 << 4, 2, 64240, 0, 0)


_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP6: 2}


def packet(source: str, to: str, protocol: int, body: bytes, *, ttl: int = 64) -> bytes:
    """An IP packet, never to be fragmented, with the checksums of `body` filled in."""
    a, b = ip_address(source), ip_address(to)
    at = _CHECKSUM_AT.get(protocol)
    if at is not None:
        pseudo = a.packed + b.packed + struct.pack("!IHBB", len(body), 0, 0, protocol)
        body = body[:at] + struct.pack("!H", checksum(pseudo + body) or 0xFFFF) + body[at + 2 :]
    if not isinstance(a, IPv4Address):
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, ttl) + a.packed + b.packed + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, ttl, protocol, 0) + a.packed + b.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def read(data: bytes) -> Seen | None:
    """What an IP packet is an answer to: a reply, a datagram, or an ICMP error about a packet of ours."""
    parts = _split(data)
    if parts is None:
        return None
    version, source, protocol, body = parts
    if protocol in (TCP, UDP) and len(body) >= 4:
        return Seen(source, "tcp" if protocol == TCP else "udp", int.from_bytes(body[2:4], "big"), body)
    if protocol not in (ICMP, ICMP6) or len(body) < 8 or (protocol == ICMP6 and body[0] in _DISCOVERY):
        return None
    if body[0] == (0 if version == 4 else 129):
        return Seen(source, "echo", int.from_bytes(body[4:6], "big"), body)
    about = _split(body[8:])
    if about is None:
        return None
    _, _, inner, quoted = about
    kind = ERRORS.get((version, body[0], body[1]), f"icmp {body[0]}/{body[1]}")
    at = 4 if inner in (ICMP, ICMP6) else 0
    return Seen(source, kind, int.from_bytes(quoted[at : at + 2], "big"), quoted)


def _split(data: bytes) -> tuple[int, str, int, bytes] | None:
    """Version, source, protocol and body of an IP packet."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        return 4, str(ip_address(data[12:16])), data[9], data[(data[0] & 15) * 4 : int.from_bytes(data[2:4], "big")]
    if len(data) >= 40 and data[0] >> 4 == 6:
        return 6, str(ip_address(data[8:24])), data[6], data[40:]
    return None
