"""What one circuit looks like on a Linux router, as frozen parts that know the command that makes them. Pure.

`CircuitConfig` is both the wish and what was read: equal means in sync, and what differs is the difference of two sets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from meetme.drivers.linux.names import PROTOCOL
from meetme.model.addresses import Address, InterfaceAddress, Prefix


class Where(StrEnum):
    """In which of the two namespaces."""

    ROUTER = "router"
    CIRCUIT = "circuit"


@dataclass(frozen=True, slots=True)
class Device:
    """An interface that is there, with its MTU (octets of IP packet)."""

    where: Where
    name: str
    mtu: int
    up: bool = True

    @property
    def add(self) -> str:
        """Set it right; making it is another matter (see `difference`)."""
        return f"link set dev {self.name} mtu {self.mtu} {'up' if self.up else 'down'}"


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """An address on an interface."""

    where: Where
    device: str
    address: InterfaceAddress

    @property
    def add(self) -> str:
        """The command that makes it."""
        nodad = " nodad" if self.address.version == 6 else ""  # a tentative address answers nobody for over a second
        return f"addr add {self.address} dev {self.device}{nodad}"

    @property
    def remove(self) -> str:
        """The command that takes it back."""
        return f"addr del {self.address} dev {self.device}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour: costs no discovery, and does not count against the kernel's neighbour limit."""

    where: Where
    device: str
    address: Address
    mac: str

    @property
    def add(self) -> str:
        """The command that makes it."""
        return f"neigh replace {self.address} lladdr {self.mac} dev {self.device} nud permanent"

    @property
    def remove(self) -> str:
        """The command that takes it back."""
        return f"neigh del {self.address} dev {self.device}"


@dataclass(frozen=True, slots=True)
class Route:
    """A route with our tag. Without a device it is `unreachable`."""

    where: Where
    prefix: Prefix
    table: int
    metric: int
    device: str | None = None
    via: Address | None = None
    source: Address | None = None

    @property
    def add(self) -> str:
        """The command that makes it."""
        return "route add " + self._text(full=True)

    @property
    def replace(self) -> str:
        """The command that makes it in the place of one that differs; no packet finds neither of them."""
        return "route replace " + self._text(full=True)

    @property
    def place(self) -> tuple[Where, Prefix, int, int]:
        """What a table holds one route for."""
        return (self.where, self.prefix, self.table, self.metric)

    @property
    def remove(self) -> str:
        """The command that takes it back."""
        return "route del " + self._text(full=False)

    def _text(self, *, full: bool) -> str:
        words = [str(self.prefix)]
        if self.device is None:
            words.insert(0, "unreachable")
        else:
            if full and self.via is not None:
                family = "inet6 " if self.via.version != self.prefix.version else ""
                words.append(f"via {family}{self.via}")
            words.append(f"dev {self.device}")
        if full and self.source is not None:
            words.append(f"src {self.source}")
        if self.table != MAIN:
            words.append(f"table {self.table}")
        if full or self.where is Where.ROUTER:  # in the namespace all routes are ours, whoever made them
            words.append(f"proto {PROTOCOL}")
        return " ".join([*words, f"metric {self.metric}"])


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing rule inside the namespace: only packets that the ruleset has marked find a table."""

    version: int
    priority: int
    device: str
    mark: int
    table: int
    where: Where = Where.CIRCUIT

    @property
    def add(self) -> str:
        """The command that makes it (`ip` needs `-6` where `version` is 6: nothing in the line tells)."""
        words = [f"pref {self.priority}"]
        if self.device:
            words.append(f"iif {self.device}")
        if self.mark:
            words.append(f"fwmark {self.mark}")
        return " ".join(["rule add", *words, f"lookup {self.table}"])

    @property
    def remove(self) -> str:
        """The command that takes it back."""
        return f"rule del pref {self.priority}"  # somebody else's may say what we do not know


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A kernel setting; `key` is its path below /proc/sys, since interface names may have dots."""

    where: Where
    key: str
    value: str


MAIN = 254
MAIN_RULE = 32766
"""The rule that every namespace is born with."""
Part = Device | DeviceAddress | Neighbour | Route | Rule | Sysctl
Removable = DeviceAddress | Neighbour | Route | Rule


@dataclass(frozen=True, slots=True)
class PortBefore:
    """How a port was when the circuit took it, to give it back just so."""

    mtu: int
    up: bool
    alias: str = ""
    mac: str | None = None
    addresses: tuple[InterfaceAddress, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    """Its own settings that differ from the router's defaults, which are all a returning device would get."""


@dataclass(frozen=True, slots=True)
class CircuitConfig:
    """One circuit on one router."""

    circuit: str
    port: str
    """The router's name for the port."""
    vlan: int | None
    named: bool
    """The namespace is there under its name."""
    parts: frozenset[Part]
    ruleset: str
    """The namespace's nftables ruleset, as text; what was read and was not loaded by us is never equal to it."""
    before: PortBefore | None = field(default=None, compare=False)
    tracked: tuple[Prefix, ...] = field(default=(), compare=False)
    """Prefixes whose flows the router itself may remember from before (its own connection tracking)."""

    @property
    def device(self) -> str:
        """The interface that moves into the namespace: the port, or its VLAN's."""
        return port_device(self.port, self.vlan)


def port_device(port: str, vlan: int | None) -> str:
    """The name of a port's interface, or of a VLAN's, shortened at the front where 15 octets do not suffice."""
    return port if vlan is None else f"{port[-(14 - len(str(vlan))) :]}.{vlan}"
