"""How the two routers address each other on the circuit: unnumbered, or a prefix that is free at both. Pure.

IPv6 prefixes need no number of their own on a link that is numbered in IPv4: every port has a link-local address, and
that is a next hop for IPv6 wherever there is IPv6 (RFC 4861). IPv4 over a link numbered in IPv6 is the same thing as
IPv4 over an unnumbered one, and takes routers that can do that (RFC 8950).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_interface

from meetme.model.addresses import InterfaceAddress, Prefix, overlaps_any, within
from meetme.model.agreement import AgreedLink, LinkKind, Role
from meetme.model.errors import Problem
from meetme.negotiator.addressing import Can, LinkWish, intersection, lowest_free

LEAST_MTU = 576
"""Octets of IP packet: what every IPv4 host must be able to receive (RFC 1122, section 3.3.2)."""
LEAST_MTU_IPV6 = 1280
"""Octets; below it there is no IPv6, and no link-local next hop either (RFC 8200, section 5)."""
LINK_LENGTHS = {4: 31, 6: 127}
"""A numbered link is a /31 (RFC 3021) or a /127 (RFC 6164)."""


def link_kind(wishes: Iterable[LinkWish], can: Mapping[Role, Can], mtu: int) -> LinkKind | Problem:
    """Unnumbered where both can and nobody wants it otherwise. Two different wishes cannot be."""
    asked = set(wishes) - {LinkWish.AUTO}
    if len(asked) > 1:
        return Problem(
            "link_conflict", "link: one side insists on numbered, the other on unnumbered", "leave one at auto", "link"
        )
    both_can = all(can[role].unnumbered for role in Role)
    if LinkWish.UNNUMBERED in asked and not both_can:
        return Problem(
            "unnumbered_unsupported",
            "link: unnumbered was asked for, but a router cannot do it",
            "leave link at auto",
            "link",
        )
    if LinkWish.UNNUMBERED in asked and mtu < LEAST_MTU_IPV6:
        return Problem(
            "mtu_too_small",
            f"mtu: an unnumbered link needs {LEAST_MTU_IPV6} octets, for its next hops are IPv6 addresses ({mtu})",
            "raise the MTU of the circuit, or leave link at auto",
            "mtu",
        )
    unnumbered = both_can and mtu >= LEAST_MTU_IPV6 and LinkWish.NUMBERED not in asked
    return LinkKind.UNNUMBERED if unnumbered else LinkKind.NUMBERED


def link_families(can: Mapping[Role, Can], prefixes: Iterable[Prefix], mtu: int) -> tuple[int, ...]:
    """In which families the link may be numbered, the best first."""
    six = all(can[role].ipv6 for role in Role) and mtu >= LEAST_MTU_IPV6
    carries = all(can[role].unnumbered for role in Role) or all(p.version == 6 for p in prefixes)
    return (4, 6) if six and carries else (4,)


def free_links(
    pools: tuple[tuple[Prefix, ...], tuple[Prefix, ...]],
    families: Iterable[int],
    busy: tuple[Prefix, ...],
    count: int,
    among: tuple[Prefix, ...] | None = None,
) -> Iterator[Prefix]:
    """The lowest link prefixes out of both pools that share no address with `busy`; `among`: within these alone."""
    both = tuple(intersection(*pools))
    places = both if among is None else tuple(intersection(both, among))
    for version in families:
        found = lowest_free(places, version, LINK_LENGTHS[version], busy, count)
        yield from found
        count -= len(found)


def choose_link(
    offered: Iterable[Prefix], families: Iterable[int], pools: tuple[Prefix, ...], busy: tuple[Prefix, ...]
) -> AgreedLink | Problem:
    """The first offered prefix that is in the own pools too, and free."""
    lengths = {(version, LINK_LENGTHS[version]) for version in families} | {(4, 30)}
    for prefix in offered:
        known = (prefix.version, prefix.prefixlen) in lengths and any(within(prefix, pool) for pool in pools)
        if known and not overlaps_any(prefix, busy):
            return numbered_link(prefix)
    shown = ", ".join(map(str, pools)) or "no pool"
    return Problem(
        "link_pool_exhausted",
        f"negotiated_networks: a /31 must be free for the link at both sides (the responder has {shown})",
        "give both sides a range of --negotiated-networks in common, or widen it",
        "negotiated_networks",
    )


def numbered_link(prefix: Prefix) -> AgreedLink:
    """The link in `prefix`: the initiator has the lower address."""
    first = prefix.network_address + (0 if prefix.prefixlen in (31, 127) else 1)
    low: InterfaceAddress = ip_interface((first, prefix.prefixlen))
    return AgreedLink(LinkKind.NUMBERED, low, ip_interface((first + 1, prefix.prefixlen)))
