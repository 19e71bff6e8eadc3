"""What two negotiators agree on (thesis 7.2.1, blueprint of the protocol in `negotiator.protocol`).

An agreement is symmetric but for the roles: both sides hold the same document and read their own half from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType
from uuid import UUID

from meetme.model.addresses import Address, InterfaceAddress, Prefix

MemberId = NewType("MemberId", str)
"""A member of the federation, `[a-z0-9][a-z0-9-]{0,62}`: also the DNS name in its certificate."""


class Role(StrEnum):
    """Which side of a negotiation: whoever started it is the initiator, on both sides of the wire."""

    INITIATOR = "initiator"
    RESPONDER = "responder"

    @property
    def other(self) -> Role:
        """The opposite role."""
        return Role.RESPONDER if self is Role.INITIATOR else Role.INITIATOR


class Translation(StrEnum):
    """How overlapping ranges are kept apart: one-to-one on whole prefixes, never port address translation."""

    NONE = "none"
    """Nothing overlaps, nothing is translated."""
    SINGLE = "single"
    """One side does all of it (thesis 7.3, single-side NAT)."""
    EACH_OWN = "each-own"
    """Each side translates its own prefix, where the other side needs that."""


class LinkKind(StrEnum):
    """How the two routers address each other on the circuit."""

    UNNUMBERED = "unnumbered"
    """Nothing negotiated: an IPv6 link-local next hop carries both families (RFC 8950 style, RFC 7404)."""
    NUMBERED = "numbered"
    """A point-to-point prefix from the negotiated networks (/31, RFC 3021, or /30)."""


@dataclass(frozen=True, slots=True)
class AgreedPrefix:
    """One prefix of one side: `real` in its owner's network, `alias` as the other side addresses it.

    `alias == real` and `translator is None` where nothing is translated. On the wire the prefix is seen as `alias` when
    its owner translates, as `real` when the viewer does.
    """

    real: Prefix
    alias: Prefix
    translator: Role | None = None


@dataclass(frozen=True, slots=True)
class AgreedSide:
    """One member's half: its prefixes, and the addresses in them (real) that answer probes, one a family at most."""

    member: MemberId
    prefixes: tuple[AgreedPrefix, ...]
    probe: Address | None = None
    second_probe: Address | None = None
    """Of the other family, where both are agreed on. Older documents have none."""

    @property
    def probes(self) -> tuple[Address, ...]:
        """Those there are, the first one first."""
        return tuple(address for address in (self.probe, self.second_probe) if address is not None)


@dataclass(frozen=True, slots=True)
class AgreedLink:
    """The point-to-point link. Both addresses are None when unnumbered."""

    kind: LinkKind
    initiator: InterfaceAddress | None = None
    responder: InterfaceAddress | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """The result of a negotiation: who uses which addresses, who translates. Both sides sign this very document."""

    id: UUID
    circuit: str
    order: str | None
    link: AgreedLink
    mtu: int
    """Octets of IP packet that the circuit carries, both ways."""
    translation: Translation
    initiator: AgreedSide
    responder: AgreedSide
    version: int = 1
    revision: int = 1
    """1 as first agreed; every change of it adds 1. Of two documents about one agreement the higher one is in force."""

    def side(self, role: Role) -> AgreedSide:
        """The half of `role`."""
        return self.initiator if role is Role.INITIATOR else self.responder
