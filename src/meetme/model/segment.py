"""What a switch is told of a circuit: the piece of it that lies on this one switch, and where its two sides lead.

A circuit is a point-to-point Ethernet link and carries every frame unchanged. On one switch it has two sides; a side is
a port of the switch, or a tunnel (VXLAN, RFC 7348) to the next switch of the same exchange or of another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from meetme.model.addresses import Address


@dataclass(frozen=True, slots=True)
class AccessEnd:
    """A port of this switch. `vlan` is the 802.1Q tag that tells the circuit apart there.

    None: the whole port, whatever the tags of its frames.
    """

    port: str
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class TunnelEnd:
    """A VXLAN tunnel over the underlay, between this switch (`local`) and another one (`remote`)."""

    local: Address
    remote: Address
    vni: int
    """VXLAN network identifier, 1..2^24-1: both ends derive the same."""


SegmentEnd = AccessEnd | TunnelEnd


@dataclass(frozen=True, slots=True)
class SegmentIntent:
    """One circuit's whole truth on one switch: all of it is in force, or none.

    `circuit` is the key on the switch. `generation` fences: one lower than seen for the circuit is refused.
    """

    circuit: str
    service: UUID
    """Whose it is: what `agreement` is for a link, for Confirm and Remove."""
    revision: int
    generation: int
    a: tuple[SegmentEnd, ...]
    """Where one side leads. With more than one end the side is protected: they are in order of preference, and one of
    them carries frames at a time, the one over which end-to-end probe frames come through."""
    b: tuple[SegmentEnd, ...]
    mtu: int
    """Octets of Ethernet payload: an untagged frame of mtu + 14 octets passes, a longer one does not."""
    bandwidth: int | None = None
    """Mbit/s, in each direction. None: unlimited."""

    @property
    def agreement(self) -> UUID:
        """What orders about it are fenced by, under the name that links have for it."""
        return self.service

    @property
    def ends(self) -> tuple[SegmentEnd, ...]:
        """Those of side a, then those of side b."""
        return self.a + self.b


@dataclass(frozen=True, slots=True)
class Uplink:
    """How one end of a protected side does."""

    end: SegmentEnd
    up: bool
    """Probe frames of the circuit's other end come through."""
    carrying: bool
    """It is the one that carries the customer's frames."""


def describe(end: SegmentEnd) -> str:
    """An end as a person names it: `swp1`, `swp1.100`, `10.9.0.2 vni 4711`."""
    if isinstance(end, TunnelEnd):
        return f"{end.remote} vni {end.vni}"
    return end.port if end.vlan is None else f"{end.port}.{end.vlan}"
