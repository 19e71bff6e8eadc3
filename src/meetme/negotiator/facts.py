"""The own half of the facts: what settings, one request and one router say, as the rules need it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meetme.model.addresses import Address, Prefix
from meetme.model.agreement import MemberId
from meetme.model.errors import Problem
from meetme.model.intent import Capabilities, LinkIntent, Observation, Port
from meetme.negotiator.addressing import Can, LinkWish, Own, TranslationWish, Usage
from meetme.negotiator.negotiation import Attachment
from meetme.negotiator.settings import NegotiatorSettings
from meetme.negotiator.views import Terms


@dataclass(frozen=True, slots=True)
class RouterView:
    """A border router as it was last seen. `observation` None: its configurator cannot tell (the three actions)."""

    capabilities: Capabilities
    observation: Observation | None

    def port(self, name: str) -> Port | None:
        """The port of this name, if it was seen."""
        ports = self.observation.ports if self.observation else ()
        return next((port for port in ports if port.name == name), None)


def can_of(capabilities: Capabilities) -> Can:
    """What a router can carry, in the words of the rules."""
    return Can(
        unnumbered=capabilities.unnumbered,
        single=capabilities.translate,
        single_identical=capabilities.translate or capabilities.translate_identical_only,
        each_own=capabilities.translate,
        ipv6=capabilities.ipv6,
        max_prefixes=capabilities.max_prefixes,
        change=capabilities.removes,
    )


def own_facts(
    member: MemberId,
    settings: NegotiatorSettings,
    terms: Terms,
    attachment: Attachment,
    router: RouterView,
    *,
    claimed: Iterable[Prefix],
    control: Iterable[Address],
    count_summaries: bool = False,
) -> Own:
    """One side's half. `claimed` is what other negotiations hold, read in the transaction that uses the result.

    `count_summaries`: a route counts although it is less specific than what the peer announces (policy).
    """
    prefixes = terms.local_subnets if terms.local_subnets is not None else settings.local_subnet
    seen = router.observation
    connected = _connected(seen, attachment.port) if seen else ()
    routes = (
        tuple(r.prefix for r in seen.routes if not r.ours and not r.connected and r.prefix.prefixlen) if seen else ()
    )
    probes = _probes(settings.probe_address, prefixes, seen)
    held = dict.fromkeys((*prefixes, *settings.local_subnet, *connected, *settings.in_use, *claimed))
    port = router.port(attachment.port)
    mtu = min(terms.mtu or attachment.mtu, attachment.mtu, port.mtu if port else attachment.mtu)
    return Own(
        member=member,
        prefixes=prefixes,
        usage=Usage(
            held=tuple(held),
            routes=routes,
            control=tuple(dict.fromkeys(control)),
            summaries=_summaries(seen) if seen and count_summaries else (),
        ),
        alias_pools=_or(terms.private_networks, settings.private_networks),
        link_pools=_or(terms.negotiated_networks, settings.negotiated_networks),
        mtu=mtu,
        can=can_of(router.capabilities),
        translation=terms.translation or TranslationWish.AUTO,
        link=terms.link or LinkWish.AUTO,
        probe=next(iter(probes), None),
        probes=probes[1:],
    )


def _or(given: tuple[Prefix, ...] | None, default: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
    return default if given is None else given


def _connected(seen: Observation, but: str) -> tuple[Prefix, ...]:
    """Networks right at the router. What is on the circuit's own port is about to be ours to say."""
    ports = (i.network for port in seen.ports if port.name != but for i in port.addresses if not i.is_link_local)
    routes = (r.prefix for r in seen.routes if r.connected and not r.ours and r.port != but)
    return tuple(p for p in (*ports, *routes) if p.prefixlen and not p.is_link_local)


def _summaries(seen: Observation) -> tuple[Prefix, ...]:
    return tuple(dict.fromkeys(route.prefix for route in seen.routes if not route.ours and not route.connected))


def _probes(wanted: Address | None, prefixes: tuple[Prefix, ...], seen: Observation | None) -> tuple[Address, ...]:
    """What can answer probes, one address a family: in a prefix, so that it is reached as a host there would be."""
    addresses = [i.ip for port in seen.ports for i in port.addresses] if seen else []
    found = [a for prefix in prefixes for a in addresses if a in prefix]
    if wanted is not None and any(wanted in prefix for prefix in prefixes):
        found.insert(0, wanted)
    first: dict[int, Address] = {}
    for address in found:
        first.setdefault(address.version, address)
    return tuple(first.values())


def prefixes_of(links: Iterable[LinkIntent]) -> Iterator[Prefix]:
    """What these links use on their router: nobody else may be given it."""
    for link in links:
        yield from (mapping.inside for mapping in link.remote)
        yield from (mapping.wire for mapping in link.local if mapping.translated)
        if link.link is not None:
            yield link.link.local.network


def port_problems(attachment: Attachment, router: RouterView, terms: Terms, field: str) -> Iterator[Problem]:
    """What makes a port unfit for a circuit, as far as the router can tell."""
    if router.observation is None:
        return
    port = router.port(attachment.port)
    if port is None:
        known = ", ".join(p.name for p in router.observation.ports) or "none"
        yield Problem(
            "port_unknown",
            f'{field}: must be a port of router {attachment.router} ("{attachment.port}")',
            f"its ports: {known}",
            field,
        )
        return
    wanted = terms.mtu or 0
    if wanted > min(port.mtu, attachment.mtu):
        text = f"mtu: must not be larger than the port's {min(port.mtu, attachment.mtu)} octets ({wanted})"
        yield Problem("mtu_too_large", text, "leave it out, or raise the port's", "mtu")
    ours = any(link.intent.port == port.name for link in router.observation.links)
    used = [i for i in port.addresses if not i.is_link_local]
    if used and attachment.vlan is None and not ours:
        yield Problem(
            "port_in_use",
            f"{field}: must carry nothing else ({port.name} of {attachment.router} has {used[0]})",
            "name the port that leads to the circuit; it is taken over as a whole",
            field,
        )


def control_plane(urls: Iterable[str | None], resolved: dict[str, tuple[Address, ...]]) -> Iterator[Address]:
    """The addresses of the control plane, from the hosts that `resolved` knows."""
    for url in urls:
        yield from resolved.get(host_of(url), ()) if url else ()


def host_of(url: str) -> str:
    """The host in a URL or in `HOST:PORT`; empty where there is none (a file, a socket)."""
    rest = url.partition("://")[2] or url
    if url.startswith(("unix:", "sqlite:")):
        return ""
    authority = rest.partition("/")[0].rpartition("@")[2]
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]
