"""The negotiator's settings (thesis 7.2.1): the four mandatory ones, and where everything is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meetme.model.addresses import Address, Prefix, parse_address, parse_prefix
from meetme.model.agreement import MemberId
from meetme.model.errors import InvalidInput, Problem, raise_problems
from meetme.negotiator.addressing import Own, Usage, own_problems
from meetme.negotiator.negotiation import Attachment
from meetme.runtime.settings import setting

LEAST_INTERVAL, MOST_INTERVAL = 0.5, 3600.0
DEFAULT_LISTEN = "127.0.0.1:8471"
MANDATORY = {
    "local_subnet": "what this member makes reachable, for example 10.0.0.0/24",
    "border_router_port": "the port towards the peer, for example eth2",
    "private_networks": "pools for aliases when both sides overlap, for example 172.16.0.0/12",
    "negotiated_networks": "pools for numbered links, for example 169.254.100.0/24",
}


@dataclass(frozen=True, slots=True)
class Configurator:
    """A border router by the member's own name for it, and where its configurator listens."""

    name: str
    target: str


def parse_configurator(text: str, *, field: str) -> Configurator:
    """Read `NAME=HOST:PORT` (or `NAME=unix:PATH`). Raises InvalidInput `configurator_malformed`."""
    name, _, target = text.partition("=")
    if not name.strip() or "/" in name or ":" not in target:
        raise InvalidInput(
            "configurator_malformed",
            f'{field}: must be NAME=HOST:PORT ("{text}")',
            hint="for example router1=127.0.0.1:8475",
            field=field,
        )
    return Configurator(name.strip(), target.strip())


@dataclass(frozen=True, slots=True)
class NegotiatorSettings:
    """Everything that a negotiator is told before it starts. Names are those of the flags."""

    border_router_port: str
    """Where a circuit lands that has no attachment: `PORT`, or `ROUTER/PORT` where there are several routers."""
    local_subnet: tuple[Prefix, ...] = setting(parse_prefix)
    """What this member makes reachable, IPv4 or IPv6."""
    private_networks: tuple[Prefix, ...] = setting(parse_prefix)
    """Pools for aliases, where the two sides overlap. May overlap neither local subnets nor other pools."""
    negotiated_networks: tuple[Prefix, ...] = setting(parse_prefix)
    """Pools for the addresses of numbered links. May overlap neither local subnets nor other pools."""
    configurator: tuple[Configurator, ...] = setting(parse_configurator)
    """One for each border router: its name here, and where its configurator listens."""
    configurator_certificates: tuple[Path, ...] = ()
    """PEM files: of the configurators with an identity of their own, each under its name. The others: the member's."""
    in_use: tuple[Prefix, ...] = setting(parse_prefix, default=())
    """Prefixes in use that the routers cannot tell."""
    probe_address: Address | None = setting(parse_address, default=None)
    """What answers probes, in a local subnet. Left out: the router's own address there."""
    probe_interval: float = 5.0
    """Seconds between two looks at the data plane of each active agreement. 0: it is not watched."""
    database: str | None = None
    """`sqlite:///PATH` or `postgresql://...`. Left out: a file in the state folder."""
    listen: str = DEFAULT_LISTEN
    """Of the local API."""
    listen_peers: str | None = None
    """For other members: the only thing that the outside ever sees. Left out: nobody else can start anything."""
    listen_metrics: str | None = None
    """/metrics alone, without a token."""

    def attachment(self, port: str | None = None) -> Attachment | None:
        """Where a circuit lands that has no attachment of its own; None: no router is called that."""
        router, _, name = (port or self.border_router_port).rpartition("/")
        routers = [c.name for c in self.configurator]
        if not router and len(routers) == 1:
            router = routers[0]
        return Attachment(router, name) if router in routers and name else None

    def problems(self, me: MemberId) -> Iterator[Problem]:
        """Everything that makes these settings unusable; each names the flag."""
        for flag, what in MANDATORY.items():
            if not getattr(self, flag):
                yield Problem("setting_missing", f"{flag}: must be set", f"--{flag.replace('_', '-')}: {what}", flag)
        if not self.configurator:
            yield Problem(
                "setting_missing",
                "configurator: must name at least one border router",
                "--configurator NAME=HOST:PORT, for example router1=127.0.0.1:8475",
                "configurator",
            )
        elif self.border_router_port and self.attachment() is None:
            names = ", ".join(c.name for c in self.configurator)
            yield Problem(
                "border_router_unknown",
                f'border_router_port: must be PORT, or ROUTER/PORT of a configurator ("{self.border_router_port}")',
                f"configurators: {names}",
                "border_router_port",
            )
        names_seen = [c.name for c in self.configurator]
        for name in sorted({n for n in names_seen if names_seen.count(n) > 1}):
            text = f'configurator: must be named once ("{name}")'
            yield Problem("configurator_twice", text, "give each border router a name of its own", "configurator")
        if self.local_subnet:
            own = Own(me, self.local_subnet, Usage(), self.private_networks, self.negotiated_networks, 1500)
            yield from own_problems(own)
        if self.probe_interval and not LEAST_INTERVAL <= self.probe_interval <= MOST_INTERVAL:
            yield Problem(
                "probe_interval_invalid",
                f"probe_interval: must be 0, or between {LEAST_INTERVAL:g} and {MOST_INTERVAL:g} seconds"
                f" ({self.probe_interval:g})",
                "0 switches it off",
                "probe_interval",
            )
        if self.probe_address and not any(self.probe_address in p for p in self.local_subnet):
            text = f"probe_address: must lie in a local subnet ({self.probe_address})"
            yield Problem(
                "probe_outside_prefixes", text, "leave it out: the router's own address is used", "probe_address"
            )

    def check(self, me: MemberId) -> None:
        """Raise InvalidInput with everything that is wrong."""
        raise_problems(self.problems(me))
