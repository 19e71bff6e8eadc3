"""The objects of IX-API 2.x that an exchange of ours keeps: services, their configs, and what they say of themselves.

Only point-to-point services (`p2p_vc`) are offered. What the exchange has besides (switches, connections, accounts) is
in `plant`. Days are those of UTC; times are seconds since the epoch; capacities are Mbit/s in each direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

P2P_VC = "p2p_vc"
WHOLE_PORT = 0
"""The label of a config that has a connection for itself."""
VLAN_LOWEST, VLAN_HIGHEST = 1, 4094
CHOSEN_LOWEST = 2
"""The first VLAN that is chosen where none was asked for: 1 is what many switches use untagged."""


class State(StrEnum):
    """Where an object is on its way (IX-API 2.1.0, Stateful)."""

    REQUESTED = "requested"
    ALLOCATED = "allocated"
    TESTING = "testing"
    PRODUCTION = "production"
    PRODUCTION_CHANGE_PENDING = "production_change_pending"
    DECOMMISSION_REQUESTED = "decommission_requested"
    DECOMMISSIONED = "decommissioned"
    ARCHIVED = "archived"
    ERROR = "error"
    OPERATOR = "operator"
    SCHEDULED = "scheduled"
    CANCELLED = "cancelled"


GONE = frozenset((State.DECOMMISSIONED, State.ARCHIVED, State.CANCELLED))


class VlanType(StrEnum):
    """How a config tells its frames apart on a connection."""

    PORT = "port"
    DOT1Q = "dot1q"


class Severity:
    """Of a status, as syslog counts (RFC 5424, section 6.2.1)."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5


@dataclass(frozen=True, slots=True)
class Status:
    """One thing that an object says about why it is in its state."""

    severity: int
    tag: str
    """For programs; stable."""
    message: str
    attrs: tuple[tuple[str, str], ...] = ()
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose an object is: ids of accounts."""

    managing: str
    """Who may change it."""
    consuming: str
    """Who has it."""
    billing: str
    """Who pays for it."""


@dataclass(frozen=True, slots=True)
class Papers:
    """What the customer notes on an order; it means nothing to the exchange, `#1` and `#2` of a reference apart."""

    external_ref: str | None = None
    purchase_order: str = ""
    contract_ref: str | None = None


@dataclass(frozen=True, slots=True)
class Cancellation:
    """When something ends (IX-API 2.1.0, CancellationPolicy)."""

    decommission_at: date
    charged_until: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One end of a service, on one connection (IX-API 2.1.0, P2PNetworkServiceConfig)."""

    id: str
    service: str
    owners: Owners
    papers: Papers
    connection: str
    vlan: int
    """1..4094, or `WHOLE_PORT`."""
    ethertype: str = "0x8100"
    capacity: int | None
    """None: no limit of its own."""
    roles: tuple[str, ...] = ()
    created: float
    state: State = State.REQUESTED
    status: tuple[Status, ...] = ()
    cancelled: Cancellation | None = None
    ending: bool = False
    """It is being taken down."""
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """A change that was asked for and is not in force yet, and what it replaces."""

    offering: str
    capacity: int | None
    before: tuple[str, int | None]
    """Offering and capacity of the service."""
    configs: tuple[tuple[str, int | None], ...]
    """Capacities of its configs, by their ids."""


@dataclass(frozen=True, slots=True)
class Hop:
    """The label of a service on a trunk between two switches of the exchange."""

    trunk: str
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A circuit between two connections of the exchange (IX-API 2.1.0, P2PNetworkService), with its configs."""

    id: str
    owners: Owners
    papers: Papers
    joining: str
    """The account of the B side."""
    offering: str
    capacity: int | None
    created: float
    configs: tuple[Config, ...] = ()
    state: State = State.REQUESTED
    status: tuple[Status, ...] = ()
    cancelled: Cancellation | None = None
    change: ChangeRequest | None = None
    hop: Hop | None = None
    """Where its ends are on two switches."""
    produced: bool = False
    """It has been in production with the ends that it has."""
    ending: bool = False
    ended: float | None = None
    archived: bool = False

    @property
    def live(self) -> tuple[Config, ...]:
        """Its configs that are not being taken down."""
        return tuple(config for config in self.configs if not config.ending)

    @property
    def complete(self) -> bool:
        """Whether there is something to build."""
        return not self.ending and len(self.live) == 2
