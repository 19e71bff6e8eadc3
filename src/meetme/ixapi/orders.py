"""What a composer orders at its exchange: a segment, which joins two of the exchange's connections. Pure.

An order is known by its `reference`, at the exchange too: it is the `external_ref` of the network service (IX-API 2.x),
so that an order whose answer was lost is found again and never placed twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from meetme.model.errors import InvalidInput, Problem

REFERENCE_LENGTH = 80
"""The shortest limit that any version has for an `external_ref`, in characters."""
VLAN_MIN, VLAN_MAX = 1, 4094


class SegmentState(StrEnum):
    """How a segment stands at its exchange."""

    ABSENT = "absent"
    """There is none, or not any more."""
    PENDING = "pending"
    """Ordered, and not in production, or not whole; also while a change is made."""
    READY = "ready"
    """Service and both ends are in production."""
    FAILED = "failed"
    """The exchange says that it cannot do it."""
    LEAVING = "leaving"
    """Cancelled, and not gone yet."""


class Usage(StrEnum):
    """What a connection is for."""

    ACCESS = "access"
    """A member's port."""
    NNI = "nni"
    """It leads to another exchange, and belongs to the federation."""


@dataclass(frozen=True, slots=True)
class OrderEnd:
    """One end of a segment."""

    connection: str
    """The exchange's id of it."""
    vlan: int | None = None
    """1..4094; None: the exchange chooses, or takes the whole port where the connection knows no tags."""
    account: str | None = None
    """The exchange's id of the account it is ordered for; None: that of the composer."""
    whole: bool = False
    """Whether it shall have the whole port, untagged and tagged frames alike."""

    def __post_init__(self) -> None:
        if not self.connection:
            raise InvalidInput("connection_missing", "connection: must be named", field="connection")
        if self.vlan is not None and not VLAN_MIN <= self.vlan <= VLAN_MAX:
            raise InvalidInput("vlan_invalid", f"vlan: must be {VLAN_MIN} to {VLAN_MAX} ({self.vlan})", field="vlan")
        if self.whole and self.vlan is not None:
            raise InvalidInput("vlan_invalid", f"vlan: a whole port has none ({self.vlan})", field="vlan")


@dataclass(frozen=True, slots=True)
class SegmentOrder:
    """A segment as it is wanted."""

    reference: str
    """Ours, 1 to 80 characters, the same for every attempt. `CIRCUIT#1` and `CIRCUIT#2` protect each other."""
    a: OrderEnd
    b: OrderEnd
    bandwidth: int
    """Mbit/s in each direction."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.reference) <= REFERENCE_LENGTH:
            raise InvalidInput(
                "reference_invalid",
                f"reference: must be 1 to {REFERENCE_LENGTH} characters ({len(self.reference)})",
                field="reference",
            )
        if self.bandwidth < 1:
            raise InvalidInput(
                "bandwidth_invalid", f"bandwidth: must be at least 1 Mbit/s ({self.bandwidth})", field="bandwidth"
            )
        if self.a.connection == self.b.connection and (self.a.vlan is None or self.a.vlan == self.b.vlan):
            raise InvalidInput(
                "segment_loops",
                f"b: two ends at one connection must have two VLANs ('{self.a.connection}')",
                field="b",
            )


@dataclass(frozen=True, slots=True)
class Terms:
    """What giving it back would mean, as the exchange says (IX-API 2.1.0, CancellationPolicy). None: it did not say."""

    decommission_at: date | None = None
    """The first day it can be gone."""
    charged_until: date | None = None
    """The day until which it has to be paid for."""


@dataclass(frozen=True, slots=True)
class BuiltSegment:
    """A segment that is in production."""

    reference: str
    service: str
    """The exchange's id of the network service."""
    a_vlan: int | None
    """None: the whole port."""
    b_vlan: int | None
    bandwidth: int
    """Mbit/s in each direction, as ordered."""
    terms: Terms = Terms()


@dataclass(frozen=True, slots=True)
class SegmentView:
    """A segment as its exchange shows it."""

    reference: str
    state: SegmentState
    service: str | None = None
    a_vlan: int | None = None
    b_vlan: int | None = None
    bandwidth: int | None = None
    """The lower of both ends', Mbit/s; None: not limited, or not known."""
    problem: Problem | None = None
    """What the exchange says is wrong or still missing."""


@dataclass(frozen=True, slots=True)
class ExchangeConnection:
    """A connection of the exchange that we may order at."""

    id: str
    name: str = ""
    usable: bool = True
    """Whether it is in production."""
    speed: int | None = None
    """Mbit/s; None: not known."""
    allocated: int | None = None
    """Mbit/s that are ordered on it already."""
    limit: int | None = None
    """Mbit/s that may be ordered on it at all; None: the exchange names no limit."""
    tags: frozenset[str] = field(default_factory=frozenset)
    """`vlan_types`: port, dot1q, qinq."""
    account: str | None = None
    """Whose it is (`consuming_account`)."""
    metro_area: str | None = None
    facility: str | None = None
    external_ref: str | None = None
