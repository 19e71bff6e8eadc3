"""Little networks to negotiate between, and an oracle that looks at single addresses where the rules look at prefixes.

Everything lies in 256 addresses a family: 0..15 are local subnets, 64..191 alias pools, 192..223 link pools; what is in
use lies anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from uuid import UUID

from hypothesis import strategies as st

from meetme.model.addresses import Prefix
from meetme.model.agreement import Agreement, MemberId
from meetme.negotiator.addressing import Can, Counter, Offer, Own, Refusal, Usage
from meetme.negotiator.agreeing import agree, make_offer

ID = UUID("0198d2a0-0000-7000-8000-000000000001")
CIRCUIT = "c1"
ALFA, BRAVO = MemberId("alfa"), MemberId("bravo")
BASE = {4: int(ip_address("10.0.0.0")), 6: int(ip_address("fd00::"))}
BITS = {4: 32, 6: 128}

Addresses = frozenset[tuple[int, int]]


def block(start: int, free: int, version: int = 4) -> Prefix:
    """The prefix with `free` host bits at offset `start` of the little space."""
    return ip_network((BASE[version] + start, BITS[version] - free))


@cache
def _single(prefix: Prefix) -> Addresses:
    first = int(prefix.network_address)
    return frozenset((prefix.version, first + i) for i in range(prefix.num_addresses))


def addresses(*prefixes: Prefix) -> Addresses:
    return frozenset().union(*map(_single, prefixes))


def clashes(prefix: Prefix, usage: Usage) -> bool:
    """Oracle of `Usage.clashes`, address by address."""
    mine = addresses(prefix)
    control = {(a.version, int(a)) for a in usage.control}
    routed = any(addresses(route) <= mine for route in usage.routes)
    return bool(mine & (addresses(*usage.held) | control)) or routed


def in_use(usage: Usage, pools: tuple[Prefix, ...]) -> Addresses:
    """Every address that no alias or link out of `pools` may have."""
    control = {(a.version, int(a)) for a in usage.control}
    routed = [route for route in usage.routes if any(addresses(route) <= addresses(pool) for pool in pools)]
    return addresses(*usage.held, *routed) | control


def blocks(start: int, bits: int, versions: tuple[int, ...] = (4, 6), most_free: int = 5) -> st.SearchStrategy[Prefix]:
    """A prefix within the `1 << bits` addresses at `start`."""
    found = [
        block(start + (at << free), free, version)
        for free in range(min(most_free, bits), -1, -1)
        for version in versions
        for at in range(1 << (bits - free))
    ]
    return st.sampled_from(found)


def disjoint(prefixes: list[Prefix]) -> tuple[Prefix, ...]:
    kept: list[Prefix] = []
    for prefix in prefixes:
        if not addresses(prefix) & addresses(*kept):
            kept.append(prefix)
    return tuple(kept)


LOCAL = st.lists(blocks(0, 4), min_size=1, max_size=3).map(disjoint)
ALIASES = st.lists(blocks(64, 7), min_size=1, max_size=3).map(disjoint)
LINKS = st.lists(blocks(192, 5, (4,)), max_size=2).map(disjoint)
ANYWHERE = blocks(0, 8)
ABLE = st.sampled_from([Can(), Can(), Can(unnumbered=False), Can(single=False)])


@st.composite
def networks(draw: st.DrawFn, member: MemberId) -> Own:
    """One side's facts: one to three prefixes of either family, pools that may be small, and things in use."""
    prefixes = draw(LOCAL)
    other = draw(st.lists(ANYWHERE, max_size=3))
    kinds = draw(st.integers(0, 3))
    return Own(
        member=member,
        prefixes=prefixes,
        usage=Usage(
            held=(*prefixes, *other[:1]),
            routes=tuple(other[1:2]) if kinds & 1 else (),
            control=tuple(p[0] for p in other[2:]),
        ),
        alias_pools=draw(ALIASES),
        link_pools=draw(LINKS),
        mtu=1500,
        can=draw(ABLE),
        probe=prefixes[0][0] if kinds & 2 else None,
    )


@dataclass(frozen=True)
class Talk:
    """How a negotiation went: the last offer, the last word, and how many offers it took."""

    offer: Offer | None
    result: Agreement | Refusal
    rounds: int


def talk(a: Own, b: Own, current: Agreement | None = None) -> Talk:
    """Offer and counter until there is an agreement, a refusal, or nothing new to offer. `current`: a change of it."""
    counter: Counter | None = None
    before: Offer | None = None
    for rounds in range(1, 10):
        offer = make_offer(a, counter, current)
        if isinstance(offer, Refusal):
            return Talk(before, offer, rounds)
        if counter and counter.lacking and offer == before:
            return Talk(before, Refusal((counter.lacking,)), rounds)
        result = agree(offer, b, id=ID, circuit=CIRCUIT, initiator=a.member, current=current)
        if not isinstance(result, Counter):
            return Talk(offer, result, rounds)
        before, counter = offer, result
    raise AssertionError("the talk does not end")
