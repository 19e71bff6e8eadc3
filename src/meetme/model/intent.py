"""What a device is told, and what it tells back: the vendor-neutral vocabulary of configurators and drivers.

A `LinkIntent` is one side's whole truth about one circuit. It speaks of *inside* (how the own network addresses a
prefix) and *wire* (how the same prefix is written on the circuit); where the two differ, this router translates between
them, one to one. Modes of the negotiation do not appear here: a driver needs no more than this.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from meetme.model.addresses import Address, InterfaceAddress, Prefix
from meetme.model.agreement import Role
from meetme.model.errors import Problem
from meetme.model.segment import SegmentIntent, Uplink


@dataclass(frozen=True, slots=True)
class Mapping:
    """One prefix at this router: `inside` towards the own network, `wire` towards the circuit. Equally long."""

    inside: Prefix
    wire: Prefix

    @property
    def translated(self) -> bool:
        """Whether this router rewrites addresses for it."""
        return self.inside != self.wire


@dataclass(frozen=True, slots=True)
class LinkAddresses:
    """A numbered link: the own and the peer's address on it."""

    local: InterfaceAddress
    peer: InterfaceAddress


@dataclass(frozen=True, slots=True)
class LinkIntent:
    """One side's whole intent for one circuit: all of it is in force, or none.

    `circuit` is the key on the device. `generation` fences: one lower than seen for the circuit is refused.
    """

    circuit: str
    agreement: UUID
    revision: int
    generation: int
    role: Role
    port: str
    mtu: int
    local: tuple[Mapping, ...]
    """Own prefixes: inside is real; wire is the alias when this router translates it."""
    remote: tuple[Mapping, ...]
    """The peer's prefixes: inside is the alias under which the own network reaches them."""
    link: LinkAddresses | None = None
    """None: unnumbered. Link-locals then follow from circuit and role."""
    vlan: int | None = None
    probe: Address | None = None
    """Own address (inside) that answers ICMP echo from the peer; nothing else of the router does."""
    probe_source: Address | None = None
    """Own router address to use as source towards the peer; usually equal to `probe`."""
    peer_probe: Address | None = None
    """The peer's probe address as the own network addresses it (in `remote[].inside`)."""
    second_probe: Address | None = None
    """`probe` in the other family, where the agreement has both."""
    second_peer_probe: Address | None = None
    """`peer_probe` in the other family."""

    def probe_in(self, version: int) -> Address | None:
        """The own address that answers probes of that family (4 or 6)."""
        return _of_family((self.probe, self.second_probe), version)

    def peer_probe_in(self, version: int) -> Address | None:
        """The peer's address that answers probes of that family, as the own network addresses it."""
        return _of_family((self.peer_probe, self.second_peer_probe), version)


def _of_family(addresses: tuple[Address | None, ...], version: int) -> Address | None:
    return next((a for a in addresses if a is not None and a.version == version), None)


Intent = LinkIntent | SegmentIntent
"""What a router, or a switch, can be told of one circuit."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a configurator and its device can do, probed at run time, never assumed."""

    driver: str
    unnumbered: bool
    """IPv4 over an IPv6 link-local next hop."""
    translate: bool
    """Full one-to-one translation, any pair of prefixes."""
    translate_identical_only: bool
    """Only the three actions: one shared alias for identical prefixes, IPv4, one link."""
    ipv6: bool
    vlan: bool
    confirm_timer: bool
    probe: bool
    removes: bool
    """Whether it can take back what it configured."""
    max_prefixes: int | None = None
    """Prefixes a side that it can carry; None is no limit."""
    segments: bool = False
    """It is a switch: it takes segments of circuits."""
    missing: tuple[Problem, ...] = ()
    """What the device or kernel lacks, and how to get it."""


@dataclass(frozen=True, slots=True)
class Port:
    """An interface of the router."""

    name: str
    up: bool
    mtu: int
    mac: str | None
    addresses: tuple[InterfaceAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteFact:
    """A route that the router has, in its main tables. `ours`: it carries the driver's tag."""

    prefix: Prefix
    port: str | None
    ours: bool = False
    connected: bool = False


class LinkState(StrEnum):
    """How an applied intent stands on the device."""

    TENTATIVE = "tentative"
    """Applied with a confirm timer that still runs."""
    CONFIRMED = "confirmed"
    REMOVING = "removing"
    """Its removal was ordered, or its timer ran out, and the device has not let go of it yet."""


@dataclass(frozen=True, slots=True)
class AppliedLink:
    """An intent the configurator keeps: what it is, whether it is confirmed, whether the device agrees with it."""

    intent: LinkIntent
    state: LinkState
    in_sync: bool
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class AppliedSegment:
    """The same for a segment. `uplinks` are the ends of its protected sides."""

    intent: SegmentIntent
    state: LinkState
    in_sync: bool
    problem: Problem | None = None
    uplinks: tuple[Uplink, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """What the device has: ports (those inside circuits too), routes of its main tables, what we applied."""

    ports: tuple[Port, ...]
    routes: tuple[RouteFact, ...]
    links: tuple[AppliedLink, ...]
    segments: tuple[AppliedSegment, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Send echo requests along the customers' path: from the own router's address to an address across the circuit.

    `sizes` are octets of IP packet (the last is usually the link's MTU, sent with don't-fragment); `within` is seconds
    until giving up; a probe is repeated until answered, so it may start before the other side is configured.
    `every` is seconds between repetitions (as long as `within`: none); None: quick at first, ever slower.
    """

    circuit: str
    source: Address
    target: Address
    sizes: tuple[int, ...] = (84,)
    within: float = 5.0
    every: float | None = None


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What came back. `answered` are the sizes for which an answer with our nonce arrived.

    `sent` counts the packets whose fate is known: what was on its way when the answer to another arrived is left out.
    """

    answered: tuple[int, ...]
    lost: int
    sent: int
    rtt_ms: float | None


@dataclass(frozen=True, slots=True)
class Removal:
    """What `Remove` left behind: commands that would take it back. Empty where the removal was verified."""

    left_on_device: tuple[str, ...] = ()


class LinkEventKind(StrEnum):
    """What a configurator tells those who watch it."""

    STATE = "state"
    """How the link stands, now: the first events after connecting, and after every order carried out."""
    DRIFT = "drift"
    """The device differs from the intent."""
    REPAIRED = "repaired"
    """It is as intended again."""
    ROLLED_BACK = "rolled_back"
    """Nobody confirmed in time; what was there before is back."""
    REMOVED = "removed"
    """Nothing of the link is left on the device."""
    FAILED = "failed"
    """The device refused; it is tried again. `detail` says why."""
    DEGRADED = "degraded"
    """An uplink of a protected side is down; `detail` says which, and which one carries the frames."""
    UP = "up"
    """Every uplink is up (again)."""


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A change of one link or segment on the device. `agreement` None: what was found belongs to none that is known."""

    circuit: str
    agreement: UUID | None
    kind: LinkEventKind
    detail: str
    in_sync: bool
