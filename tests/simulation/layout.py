"""Who there is in a run: members with their networks, routers and policies, and the circuits between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_network

from meetme.model.agreement import MemberId
from meetme.model.members import MemberPolicy
from meetme.negotiator.settings import Configurator as ConfiguratorSetting
from meetme.negotiator.settings import NegotiatorSettings

ALFA, BRAVO = MemberId("alfa"), MemberId("bravo")
PORTS = ("p1", "p2", "p3", "p4")
"""What every border router has."""
SPARE = "p4"
"""The port that no circuit has: where a circuit lands that nobody has registered."""


@dataclass(frozen=True)
class Home:
    """One member: what it announces and leases from, its routers, and what it lets whom do."""

    id: MemberId
    subnets: str = "10.0.0.0/24"
    aliases: str = "172.16.0.0/22"
    links: str = "169.254.100.0/29"
    routers: tuple[str, ...] = ("r",)
    unnumbered: bool = False
    probes: bool = True
    replicas: int = 1
    crooked: bool = False
    """Its negotiator is real, and what it says is altered, repeated and invented on the way out."""
    policies: Mapping[MemberId, MemberPolicy] = field(default_factory=dict)

    def policy(self, peer: MemberId) -> MemberPolicy:
        """What `peer` may do with it."""
        return self.policies.get(peer, MemberPolicy())

    @cached_property
    def settings(self) -> NegotiatorSettings:
        """What its negotiator was started with."""
        return NegotiatorSettings(
            local_subnet=tuple(ip_network(p) for p in self.subnets.split()),
            border_router_port=f"{self.routers[0]}/{SPARE}",
            private_networks=tuple(ip_network(p) for p in self.aliases.split()),
            negotiated_networks=tuple(ip_network(p) for p in self.links.split()),
            configurator=tuple(ConfiguratorSetting(name, "127.0.0.1:1") for name in self.routers),
        )


@dataclass(frozen=True)
class End:
    """Where a circuit lands at a member."""

    member: MemberId
    router: str
    port: str


@dataclass(frozen=True)
class Circuit:
    """A circuit between two members. `named`: each has registered whom it leads to."""

    name: str
    one: End
    other: End
    named: bool = False

    @property
    def ends(self) -> tuple[End, End]:
        """Both ends."""
        return self.one, self.other

    def end(self, member: MemberId) -> End:
        """Where it lands at one of its two members."""
        return self.one if self.one.member == member else self.other

    def peer(self, member: MemberId) -> MemberId:
        """Whom it leads to."""
        return self.other.member if self.one.member == member else self.one.member


@dataclass(frozen=True)
class Layout:
    """All members, all circuits."""

    homes: tuple[Home, ...]
    circuits: tuple[Circuit, ...]

    @cached_property
    def by_name(self) -> dict[str, Circuit]:
        """The circuits."""
        return {circuit.name: circuit for circuit in self.circuits}

    @cached_property
    def by_id(self) -> dict[MemberId, Home]:
        """The members."""
        return {home.id: home for home in self.homes}

    @cached_property
    def crooks(self) -> frozenset[MemberId]:
        """Those who do not keep to the protocol."""
        return frozenset(home.id for home in self.homes if home.crooked)

    def permitted(self, name: str) -> bool:
        """Whether the policies at both ends of a circuit let the two agree, and neither of them cheats."""
        ends = [self.by_id[end.member] for end in self.by_name[name].ends]
        return not any(home.crooked for home in ends) and all(_welcome(at, peer) for at, peer in (ends, ends[::-1]))


def _welcome(at: Home, peer: Home) -> bool:
    policy = at.policy(peer.id)
    announced = peer.settings.local_subnet
    return not policy.order_required and (
        not policy.announce or all(any(p.subnet_of(a) for a in policy.announce) for p in announced)  # type: ignore[arg-type]
    )


TWO_CIRCUITS = tuple(
    Circuit(name, End(ALFA, "r", port), End(BRAVO, "r", port)) for name, port in (("c1", "p1"), ("c2", "p2"))
)
"""Between alfa and bravo; on both sides each lands at the port of its number."""
