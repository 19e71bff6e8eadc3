"""Every name and number that a circuit has on the device follows from its id. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from meetme.model.agreement import Role

PREFIX = "mm-"
PROTOCOL = 201
"""Routing protocol number that marks a route as ours (`/etc/iproute2/rt_protos` leaves it free)."""
METRIC = 64
"""Metric of the routes that lead through a circuit."""
TABLE_CIRCUIT, TABLE_INSIDE = 1, 2
"""Tables inside the namespace: towards the peer, towards the own network."""
FROM_CIRCUIT, FROM_INSIDE = 1, 2
"""Packet marks inside the namespace: where an allowed packet came in."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a circuit is called here. `namespace` is the veth's name in the router as well, `inner` its other end's."""

    namespace: str
    inner: str
    outer_address: IPv6Address
    """Link-local of the veth's end in the router: the namespace's next hop to the own network."""
    inner_address: IPv6Address
    """Link-local of the veth's end in the namespace: the router's next hop to the peer."""
    outer_mac: str
    inner_mac: str
    closed_metric: int
    """Metric of the `unreachable` routes beneath: far above any other, and the circuit's own, to find them by."""

    @property
    def outer(self) -> str:
        """The veth's end in the router."""
        return self.namespace


def digest(circuit: str) -> bytes:
    """What all names are made of."""
    return hashlib.sha256(circuit.encode()).digest()


def names(circuit: str) -> Names:
    """The names of `circuit`; interface names stay within the kernel's 15 octets."""
    raw = digest(circuit)
    short = raw[:5].hex()
    stem = (0xFE80 << 112) | (int.from_bytes(raw[:5], "big") << 16)
    mac = ":".join(f"{octet:02x}" for octet in raw[:4])
    return Names(
        namespace=f"{PREFIX}{short}",
        inner=f"in-{short}",
        outer_address=IPv6Address(stem | 0xA),
        inner_address=IPv6Address(stem | 0xB),
        outer_mac=f"02:{mac}:0a",
        inner_mac=f"02:{mac}:0b",
        closed_metric=0x40000000 | (int.from_bytes(raw[:4], "big") & 0x3FFFFFFF),
    )


def link_local(circuit: str, role: Role) -> IPv6Interface:
    """The link-local address of one side's port: both sides can tell both (RFC 7404)."""
    host = 1 if role is Role.INITIATOR else 2
    return IPv6Interface(((0xFE80 << 112) | (int.from_bytes(digest(circuit)[:5], "big") << 16) | host, 64))


def own_address(circuit: str, role: Role) -> IPv4Interface:
    """A /32 from 169.254/16 (RFC 3927) for an unnumbered port: without any, reverse-path filters drop everything.

    Even for the initiator, odd for the responder; the reserved first and last /24 and 169.254.169.0/24 (where clouds
    keep their metadata service) are left out.
    """
    raw = digest(circuit)
    third = 1 + raw[5] % 254
    if third == 169:
        third = 170
    host = (raw[6] & 0xFE) | (0 if role is Role.INITIATOR else 1)
    return IPv4Interface((IPv4Address(0xA9FE0000 | third << 8 | host), 32))
