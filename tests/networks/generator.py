"""Draws random networks, made so that little is easy: prefixes meet in many ways, pools are short, routers know routes.

Everything comes from one `random.Random`: of a seed for the live worlds, of hypothesis for the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from itertools import pairwise
from random import Random
from typing import Any, TypeVar

from meetme.model.addresses import Address, Prefix
from meetme.model.agreement import MemberId
from meetme.negotiator.addressing import LinkWish, TranslationWish
from tests.networks.plan import Circuit, Lan, Network, Site

T = TypeVar("T")


def nets(text: str) -> tuple[Prefix, ...]:
    """Prefixes from text."""
    return tuple(map(ip_network, text.split()))


CROWDED = {
    4: nets(
        "10.0.0.0/24 10.0.0.0/24 10.0.0.0/24 10.0.0.0/16 10.0.0.0/8 10.0.5.0/24 10.0.5.64/26 10.0.0.128/25 10.1.0.0/16"
        " 10.1.2.0/23 192.168.0.0/24 192.168.0.0/30 192.168.0.64/28 192.168.0.0/16 172.20.0.0/20 172.20.5.0/27"
    ),
    6: nets("fd00:1::/64 fd00:1::/64 fd00:1::/48 fd00:1:0:5::/64 fd00:1:0:4::/62 fd00:2::/56 fd00:2:0:7::/64"),
}
"""Where everybody's networks are: equal, nested either way, beside each other."""
PLACES = {4: (nets("10.0.0.0/14 192.168.0.0/18"), 12, 30), 6: (nets("fd00::/44"), 48, 64)}
"""Now and then any prefix in here, of any length between these."""
ROOMY = "32.0.0.0/5 fd64::/20"
ALIASES = ("100.64.0.0/10 fd64::/32", ROOMY, ROOMY, "100.64.0.0/21", "100.64.0.0/23 fd64::/63", "100.64.3.0/24", "")
LINKS = ("169.254.100.0/24", "169.254.100.0/28", "169.254.100.4/30", "169.254.100.6/31", "fd00:ffff::/64", "")
WISHES = (TranslationWish.AUTO,) * 5 + (TranslationWish.SINGLE, TranslationWish.EACH_OWN, TranslationWish.NONE)
LINK_WISHES = (LinkWish.AUTO,) * 4 + (LinkWish.NUMBERED, LinkWish.UNNUMBERED)


class Draw:
    """Chance, with a few words for it."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def number(self, least: int, most: int) -> int:
        """One of `least` to `most`."""
        return self._random.randint(least, most)

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return self._random.randrange(one_in) == one_in - 1

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[self._random.randrange(len(choices))]

    def prefix(self, version: int) -> Prefix:
        """A prefix where everybody's are."""
        if not self.chance(4):
            return self.pick(CROWDED[version])
        places, shortest, longest = PLACES[version]
        place = self.pick(places)
        length = self.number(max(shortest, place.prefixlen), longest)
        free = place.max_prefixlen - length
        at = int(place.network_address) + (self.number(0, (1 << (length - place.prefixlen)) - 1) << free)
        return ip_network((at, length))

    def prefixes(self, least: int, most: int, families: Sequence[int], but: Sequence[Prefix]) -> tuple[Prefix, ...]:
        """Some that share no address with each other, nor with `but`."""
        kept: list[Prefix] = []
        for _ in range(20):
            if len(kept) >= self.number(least, most):
                break
            found = self.prefix(self.pick(families))
            if not any(found.version == p.version and found.overlaps(p) for p in (*kept, *but)):
                kept.append(found)
        return tuple(kept)

    def lan(self, prefix: Prefix) -> Lan:
        """A network with its router, mostly at .1, and a few hosts: low, high and anywhere."""
        first, last = int(prefix.network_address) + 1, int(prefix.broadcast_address) - (prefix.version == 4)
        router = first if not self.chance(4) else last
        spots = {first, first + 1, min(first + 19, last), last, self.number(first, last)} - {router}
        hosts = [ip_address(spot) for spot in sorted(spots) if first <= spot <= last]
        while len(hosts) > 3:
            hosts.pop(self.number(0, len(hosts) - 1))
        return Lan(prefix, _address(prefix, router), tuple(_address(prefix, int(host)) for host in hosts))


def _address(prefix: Prefix, value: int) -> Address:
    return type(prefix.network_address)(value)


def network(random: Random, *, most_partners: int = 4, live: bool = False) -> Network:
    """A hub with partners, or a chain. `live`: only what a driver can carry, and less that is refused."""
    draw = Draw(random)
    count = 1 + draw.pick((1, 1, 2, 3, most_partners))
    chain = count == 3 and draw.chance(2)
    pools = draw.pick(ALIASES[:4] if live else ALIASES), draw.pick(LINKS[:3] if live else LINKS)
    families = draw.pick(((4,), (4,), (4, 6), (4, 6), (6,)))
    sites = tuple(_site(draw, number, pools, families, live=live) for number in range(count))
    names = [site.name for site in sites]
    pairs = list(pairwise(names)) if chain else [(names[0], other) for other in names[1:]]
    if draw.chance(6):
        pairs.append(pairs[0])  # a second circuit between the same two
    circuits = [_circuit(draw, number, pair, sites, live=live) for number, pair in enumerate(pairs)]
    return Network(sites, tuple(circuits))


def _site(draw: Draw, number: int, pools: tuple[str, str], families: tuple[int, ...], *, live: bool) -> Site:
    common = families if draw.chance(12) else families[:1]
    prefixes = draw.prefixes(1, 1, common, ())
    prefixes += draw.prefixes(0, draw.pick((0, 0, 1, 2)), families, prefixes)
    more = draw.prefixes(1, 1, families, prefixes) if draw.chance(4) else ()
    other = 20 if live else 4
    aliases, links = (
        draw.pick(kind) if draw.chance(other) else pool for kind, pool in zip((ALIASES, LINKS), pools, strict=True)
    )
    if draw.chance(5):
        aliases = f"{32 + number}.0.0.0/8 fd64:{number}::/40"  # nobody else's
    lans = tuple(map(draw.lan, prefixes))
    at_router = (*prefixes, *more)
    private = _apart(nets(aliases), at_router)
    links_kept = _apart(nets(links), (*at_router, *private))
    routes = draw.prefixes(0, 2, families, at_router) if draw.chance(3) else ()
    if private and draw.chance(4):
        routes = (*routes, *_inside(draw, private))
    if draw.chance(3):
        routes = (*routes, *nets("0.0.0.0/0 ::/0"))
    return Site(
        name=MemberId(f"m{number}" if draw.chance(2) else f"n{9 - number}"),
        lans=lans,
        more=tuple(map(draw.lan, more)),
        routes=routes,
        in_use=draw.prefixes(1, 1, families, at_router) if draw.chance(4) else (),
        control=tuple(p[1] for p in draw.prefixes(1, 1, families, at_router)) if draw.chance(4) else (),
        private_networks=private,
        negotiated_networks=links_kept,
        unnumbered=not draw.chance(5),
        single=not draw.chance(5),
        each_own=not draw.chance(8),
        ipv6=live or not draw.chance(12),
        mtu=draw.pick((1500, 1500, 1400, 9000)) if live else draw.pick((1500, 1500, 1280, 1200, 9000)),
    )


def _apart(pools: tuple[Prefix, ...], busy: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
    """Pools may overlap neither local subnets nor each other: those that do are left out."""
    return tuple(p for p in pools if not any(p.version == q.version and p.overlaps(q) for q in busy))


def _inside(draw: Draw, pools: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
    """A route somewhere at the beginning of a pool: it makes the lowest alias something else."""
    pool = draw.pick(pools)
    length = min(pool.prefixlen + draw.number(1, 10), pool.max_prefixlen)
    return (ip_network((int(pool.network_address), length)),)


def _circuit(
    draw: Draw, number: int, pair: tuple[MemberId, MemberId], sites: tuple[Site, ...], *, live: bool
) -> Circuit:
    starter, other = pair if draw.chance(2) else pair[::-1]
    site = next(site for site in sites if site.name == starter)
    announced = None
    if draw.chance(5):
        every = [lan.prefix for lan in (*site.lans, *site.more)]
        announced = tuple(p for p in every if not draw.chance(2)) or None
    private = nets("198.18.0.0/15 fd99::/32") if draw.chance(8) else None
    return Circuit(
        name=f"c{number}",
        starter=starter,
        other=other,
        local_subnets=announced,
        private_networks=private,
        negotiated_networks=nets("169.254.200.0/29") if draw.chance(8) else None,
        translation=draw.pick(WISHES[:-1] if live else WISHES),
        link=draw.pick(LINK_WISHES[:-1] if live else LINK_WISHES),
        both=draw.chance(6),
    )


def star(
    count: int, *, hub_starts: bool, both: bool = False, pool: Sequence[Prefix] = nets("100.64.0.0/16"), **wish: Any
) -> Network:
    """A hub and partners, all with the very same prefix. The hub's name is in the middle of the alphabet: where both
    sides start, it gives way to half of its partners.
    """
    draw = Draw(Random(1))
    (same,), links = nets("10.0.0.0/24"), nets("169.254.100.0/27")
    hub, *names = [MemberId("hub"), *(MemberId(f"{'az'[i % 2]}{i}") for i in range(count))]
    sites = [
        Site(name, (draw.lan(same),), private_networks=tuple(pool), negotiated_networks=links) for name in (hub, *names)
    ]
    pairs = [(hub, name) if hub_starts else (name, hub) for name in names]
    circuits = [Circuit(f"c{i}", *pair, both=both, **wish) for i, pair in enumerate(pairs)]
    return Network(tuple(sites), tuple(circuits))
