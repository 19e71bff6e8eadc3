"""What an exchange consists of: switches, connections at their ports, trunks between them, and accounts. Pure data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from meetme.ixapi.objects import VlanType
from meetme.model.addresses import Address
from meetme.model.errors import NotFound

VNI_BLOCK = 4096
"""VXLAN network identifiers that belong to one NNI or trunk: VNI = base * 4096 + VLAN, which both ends derive alike."""


class Kind(StrEnum):
    """What a connection leads to."""

    ACCESS = "access"
    """A member's router."""
    NNI = "nni"
    """Another exchange."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch, behind its configurator."""

    name: str
    underlay: Address | None = None
    """Where its VXLAN tunnels end."""
    facility: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A port of a switch and whose it is (IX-API 2.1.0, Connection)."""

    id: str
    account: str
    switch: str
    port: str
    kind: Kind = Kind.ACCESS
    speed: int
    """Mbit/s."""
    limit: int
    """How much of it may be ordered, Mbit/s."""
    name: str = ""
    facility: str = ""
    vlan_types: tuple[VlanType, ...] = (VlanType.PORT, VlanType.DOT1Q)
    remote: Address | None = None
    """Of an NNI over VXLAN: where the tunnels end at the other exchange."""
    vni_base: int | None = None
    external_ref: str | None = None


@dataclass(frozen=True, slots=True)
class Trunk:
    """What joins two switches of the exchange, over the underlay."""

    name: str
    switches: tuple[str, str]
    underlays: tuple[Address, Address]
    vni_base: int
    speed: int
    """Mbit/s."""


@dataclass(frozen=True, slots=True)
class Account:
    """A customer of the exchange (IX-API 2.1.0, Account)."""

    id: str
    name: str
    manager: str | None = None
    """The account that orders for it."""


@dataclass(frozen=True, slots=True)
class Plant:
    """Everything, by name."""

    switches: Mapping[str, Switch] = field(default_factory=dict)
    connections: Mapping[str, Connection] = field(default_factory=dict)
    trunks: Mapping[str, Trunk] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    mtu: int = 1500
    """Of every circuit, octets of Ethernet payload."""

    def connection(self, id: str) -> Connection:
        """The connection of this id. Raises NotFound `connection_unknown`."""
        found = self.connections.get(id)
        if found is None:
            raise NotFound(
                "connection_unknown", f"connection: must be one of the exchange ('{id}')", field="connection"
            )
        return found

    def between(self, one: str, other: str) -> Iterator[Trunk]:
        """The trunks between two switches, in the order of the settings."""
        return (trunk for trunk in self.trunks.values() if {*trunk.switches} == {one, other})

    def under(self, account: str) -> frozenset[str]:
        """The account and those that it manages, directly or through others."""
        found = {account}
        while more := {each.id for each in self.accounts.values() if each.manager in found} - found:
            found |= more
        return frozenset(found)
