"""The addresses a network uses and what of its pools is free: the facts that `agreeing` decides on.

Rules of this file:

1. Overlap is judged per prefix and per *viewer*: a side needs an alias for a peer's prefix when that prefix shares an
   address with something the side itself uses. The other side is asked, not guessed.
2. The lowest prefix that will do is taken, so both sides, and a reader of the log, can predict it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from itertools import islice

from meetme.model.addresses import Address, Prefix, Spans, free_blocks_in, free_prefixes, overlaps, overlaps_any, within
from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, Problem

FREE_BLOCKS = 64
"""How many free ranges a counter names at most."""
_NOT_FOR_HOSTS = (
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32",
    "::/127", "fe80::/10", "ff00::/8",
)  # fmt: skip
NOT_FOR_HOSTS: tuple[Prefix, ...] = tuple(map(ip_network, _NOT_FOR_HOSTS))
"""Loopback, link-local, multicast and the unspecified (RFC 6890): nobody's network, and no alias of one."""


class TranslationWish(StrEnum):
    """What a request asks for; `auto` is none where nothing overlaps, else single, else each-own."""

    AUTO = "auto"
    NONE = "none"
    SINGLE = "single"
    EACH_OWN = "each-own"


class LinkWish(StrEnum):
    """What a request asks for; `auto` is unnumbered where both can."""

    AUTO = "auto"
    NUMBERED = "numbered"
    UNNUMBERED = "unnumbered"


@dataclass(frozen=True, slots=True)
class Can:
    """What a side's router and configurator can carry."""

    unnumbered: bool = True
    single: bool = True
    """Translate both directions for any pair of prefixes."""
    single_identical: bool = True
    """Translate both directions where both sides have the identical IPv4 prefix (what the three actions express)."""
    each_own: bool = True
    ipv6: bool = True
    max_prefixes: int | None = None
    change: bool = True
    """Replace what it has configured by something else, and take it back."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The address space a side uses. `held` clashes on any shared address; a route only where it is equal or more
    specific than the prefix in question, so a default route or a summary does not forbid everything beneath it.
    """

    held: tuple[Prefix, ...] = ()
    """Local subnets, connected prefixes, prefixes declared in use, and what is leased or agreed elsewhere."""
    routes: tuple[Prefix, ...] = ()
    control: tuple[Address, ...] = ()
    """Control-plane addresses in use: peers, configurators, the database."""
    summaries: tuple[Prefix, ...] = ()
    """Less specific routes, a default route too: filled only where policy says that they count."""

    def clashes(self, prefix: Prefix) -> bool:
        """Whether `prefix` cannot appear in this side's routing as it is."""
        return (
            overlaps_any(prefix, self.held)
            or any(within(route, prefix) for route in self.routes)
            or overlaps_any(prefix, self.summaries)
            or any(address.version == prefix.version and address in prefix for address in self.control)
        )

    def taken(self, pools: Iterable[Prefix]) -> tuple[Prefix, ...]:
        """Everything in or around `pools` that a new alias or link prefix has to keep clear of."""
        places = tuple(pools)
        routes = tuple(route for route in self.routes if any(within(route, pool) for pool in places))
        control = tuple(ip_network(address) for address in self.control)
        return tuple(p for p in (*self.held, *control) if overlaps_any(p, places)) + routes


@dataclass(frozen=True, slots=True)
class Own:
    """One side's half of the facts, as its own transaction sees them for one negotiation."""

    member: MemberId
    prefixes: tuple[Prefix, ...]
    usage: Usage
    alias_pools: tuple[Prefix, ...]
    link_pools: tuple[Prefix, ...]
    mtu: int
    can: Can = Can()
    translation: TranslationWish = TranslationWish.AUTO
    link: LinkWish = LinkWish.AUTO
    probe: Address | None = None
    probes: tuple[Address, ...] = ()
    """Other addresses that could answer probes: of the other family, if both are announced."""

    def busy(self, peer_pools: Iterable[Prefix]) -> tuple[Prefix, ...]:
        """Everything that a new alias or link prefix out of either side's pools has to keep clear of here."""
        return self.usage.taken((*self.alias_pools, *self.link_pools, *peer_pools))

    def speaker(self, peer: Iterable[Address], families: Collection[int]) -> Address | None:
        """The own address that answers probes: of a family in which the peer has one too, else one of `families`."""
        for versions in ({a.version for a in peer}, families):
            for address in self._speakers:
                if address.version in versions:
                    return address
        return self.probe

    def second_speaker(self, first: Address | None, families: Collection[int]) -> Address | None:
        """The own address that answers probes in the other family than `first` does, if that is one of `families`."""
        others = (a for a in self._speakers if first is not None and a.version != first.version)
        return next((a for a in others if a.version in families), None)

    @property
    def _speakers(self) -> tuple[Address, ...]:
        return tuple(a for a in (self.probe, *self.probes) if a is not None)


@dataclass(frozen=True, slots=True)
class Offer:
    """What the initiator puts on the table. `peer_prefixes` None: it does not know yet what the responder announces."""

    prefixes: tuple[Prefix, ...]
    peer_prefixes: tuple[Prefix, ...] | None
    need_alias: tuple[Prefix, ...]
    """Those of `peer_prefixes` that the initiator cannot have in its routing as they are."""
    aliases: tuple[Prefix, ...]
    """Leased alias candidates, every length that may be needed, best first within a length."""
    links: tuple[Prefix, ...]
    """Leased candidates for a numbered link."""
    alias_pools: tuple[Prefix, ...]
    can: Can
    mtu: int
    translation: TranslationWish = TranslationWish.AUTO
    link: LinkWish = LinkWish.AUTO
    probe: Address | None = None
    second_probe: Address | None = None
    """Of the other family, where both sides announce both."""

    @property
    def speakers(self) -> tuple[Address, ...]:
        """What answers probes there."""
        return tuple(address for address in (self.probe, self.second_probe) if address is not None)


@dataclass(frozen=True, slots=True)
class Counter:
    """What the responder lacks to agree: it names its prefixes, its pools, and the ranges of either side's alias pools,
    and of its link pools, that are free there.
    """

    prefixes: tuple[Prefix, ...]
    alias_pools: tuple[Prefix, ...]
    link_pools: tuple[Prefix, ...]
    free_aliases: tuple[Prefix, ...]
    free_links: tuple[Prefix, ...]
    lacking: Problem | None = None
    """Set where the last offer had no candidate that will do."""
    need_alias: tuple[Prefix, ...] | None = None
    """Those of the offered prefixes that the responder cannot have in its routing as they are. None: not told."""
    can: Can = Can()
    mtu: int = 65535
    translation: TranslationWish = TranslationWish.AUTO
    link: LinkWish = LinkWish.AUTO
    probes: tuple[Address, ...] = ()
    """Addresses that could answer probes, the one it likes best first."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Every reason why there can be no agreement; each names the field and what would be acceptable."""

    problems: tuple[Problem, ...]


def own_problems(own: Own) -> Iterator[Problem]:
    """What makes a side's own settings unusable for a negotiation, whoever the peer is."""
    if not own.prefixes:
        yield Problem(
            "local_subnet_missing",
            "local_subnets: at least one prefix is needed",
            "set --local-subnet",
            "local_subnets",
        )
    for index, prefix in enumerate(own.prefixes):
        for other in own.prefixes[index + 1 :]:
            if overlaps(prefix, other):
                yield Problem(
                    "local_subnets_overlap",
                    f"local_subnets: {prefix} overlaps {other}",
                    "name each address once",
                    "local_subnets",
                )
    yield from strange_prefixes(own.prefixes, "local_subnets")
    yield from strange_prefixes(own.alias_pools, "private_networks")
    pools = [(p, "private_networks") for p in own.alias_pools] + [(p, "negotiated_networks") for p in own.link_pools]
    for index, (pool, field) in enumerate(pools):
        for other, other_field in pools[index + 1 :]:
            if overlaps(pool, other):
                yield Problem(
                    "pools_overlap",
                    f"{field}: {pool} overlaps {other} of {other_field}",
                    "give each pool its own range",
                    field,
                )
        for prefix in own.prefixes:
            if overlaps(pool, prefix):
                yield Problem(
                    "pool_overlaps_subnet",
                    f"{field}: {pool} overlaps the local subnet {prefix}",
                    "choose another pool",
                    field,
                )
    if own.can.max_prefixes is not None and len(own.prefixes) > own.can.max_prefixes:
        yield Problem(
            "too_many_prefixes",
            f"local_subnets: this configurator carries {own.can.max_prefixes} a side ({len(own.prefixes)})",
            "announce fewer, or use a configurator with LinkConfigurator",
            "local_subnets",
        )


def strange_prefixes(prefixes: Iterable[Prefix], field: str, fault: Fault = Fault.LOCAL) -> Iterator[Problem]:
    """Prefixes that are nobody's network."""
    for index, prefix in enumerate(prefixes):
        if prefix.prefixlen and overlaps_any(prefix, NOT_FOR_HOSTS):
            yield Problem(
                "prefix_not_routable",
                f"{field}[{index}]: must be neither loopback, link-local, multicast nor unspecified ({prefix})",
                "name a range that hosts can have",
                field,
                fault,
            )


def intersection(a: Iterable[Prefix], b: Iterable[Prefix]) -> Iterator[Prefix]:
    """Of two pool lists, the ranges in both: two prefixes that overlap are nested, so it is the longer one."""
    others = tuple(b)
    for one in a:
        for other in others:
            if overlaps(one, other):
                yield one if one.prefixlen >= other.prefixlen else other


def lowest_free(
    pools: Iterable[Prefix], version: int, length: int, busy: tuple[Prefix, ...], count: int
) -> list[Prefix]:
    """The lowest `count` prefixes of `length` in `pools` that share no address with any of `busy`."""
    found: list[Prefix] = []
    spans = Spans(busy)
    for pool in sorted({p for p in pools if p.version == version}, key=lambda p: int(p.network_address)):
        found += islice(free_prefixes(pool, length, spans), count - len(found))
    return found


def free_blocks(
    pools: Iterable[Prefix], lengths: Collection[tuple[int, int]], busy: tuple[Prefix, ...]
) -> tuple[Prefix, ...]:
    """The free ranges of `pools` that have room for one of `lengths` (family and length).

    Of more than `FREE_BLOCKS`, half are the lowest, half the largest: what is told is where most is free.
    """
    found: dict[Prefix, None] = {}
    spans = Spans(busy)
    for pool in pools:
        longest = max((length for version, length in lengths if version == pool.version), default=-1)
        found |= dict.fromkeys(free_blocks_in(pool, longest, spans))
    blocks = tuple(found)
    if len(blocks) <= FREE_BLOCKS:
        return blocks
    low = sorted(blocks, key=lambda p: (p.version, int(p.network_address)))[: FREE_BLOCKS // 2]
    large = sorted((p for p in blocks if p not in set(low)), key=lambda p: p.prefixlen - p.max_prefixlen)
    return (*low, *large[: FREE_BLOCKS // 2])
