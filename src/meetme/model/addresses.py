"""Prefixes and addresses, from text to value, and the two questions asked of them everywhere.

The values are those of the standard library's `ipaddress`; a *prefix* has no host bits set, an *interface address* is
an address with the length of its link's prefix.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from itertools import islice

from meetme.model.errors import InvalidInput

Address = IPv4Address | IPv6Address
InterfaceAddress = IPv4Interface | IPv6Interface
Prefix = IPv4Network | IPv6Network


def parse_prefix(text: str, *, field: str) -> Prefix:
    """Read a prefix such as `10.0.0.0/24`. `field` is where it was found (`local_subnets[0]`), for the error.

    Raises InvalidInput `prefix_malformed`, `prefix_host_bits` or `prefix_default_route`.
    """
    try:
        prefix = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise InvalidInput(
            "prefix_malformed",
            f'{field}: must be an IPv4 or IPv6 prefix ("{text}")',
            field=field,
            hint="write it as address/length, for example 10.0.0.0/24 or fd00:1::/64",
        ) from None
    if prefix.prefixlen == 0:
        raise InvalidInput(
            "prefix_default_route",
            f'{field}: a default route cannot be negotiated ("{text}")',
            field=field,
            hint="name the prefixes that the other side is to reach",
        )
    given = text.strip().partition("/")[0]
    if ipaddress.ip_address(given) != prefix.network_address:
        raise InvalidInput(
            "prefix_host_bits",
            f'{field}: must be a prefix ("{text}" has host bits set)',
            field=field,
            hint=f"did you mean {prefix}?",
        )
    return prefix


def parse_address(text: str, *, field: str) -> Address:
    """Read one address. Raises InvalidInput `address_malformed`."""
    try:
        return ipaddress.ip_address(text.strip())
    except ValueError:
        raise InvalidInput(
            "address_malformed",
            f'{field}: must be an IPv4 or IPv6 address ("{text}")',
            field=field,
            hint="without a length",
        ) from None


def overlaps(a: Prefix, b: Prefix) -> bool:
    """Whether the two share an address. Prefixes of different families never do."""
    if a.version != b.version:
        return False
    # Asked thousands of times for one offer: two prefixes that share an address agree in the bits of the shorter one.
    rest = a.max_prefixlen - min(a.prefixlen, b.prefixlen)
    return int(a.network_address) >> rest == int(b.network_address) >> rest


def overlaps_any(prefix: Prefix, others: Iterable[Prefix]) -> bool:
    """Whether `prefix` shares an address with any of `others`."""
    return any(overlaps(prefix, other) for other in others)


def within(inner: Prefix, outer: Prefix) -> bool:
    """Whether every address of `inner` is one of `outer`."""
    return inner.prefixlen >= outer.prefixlen and overlaps(inner, outer)


def translate(address: Address, real: Prefix, alias: Prefix) -> Address:
    """The address in `alias` that stands for `address` in `real`: the same host bits (NETMAP, one-to-one).

    `real` and `alias` must have the same family and length, and `address` must lie in `real`.
    """
    offset = int(address) - int(real.network_address)
    return ipaddress.ip_address(alias.network_address.__class__(int(alias.network_address) + offset))


class Spans:
    """The addresses of many prefixes as ranges, sorted and merged: made once, then asked for what is free in a block.

    A question costs as many steps as there are ranges in the block, however many prefixes there are elsewhere.
    """

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for prefix in prefixes:
            ranges[prefix.version].append((int(prefix.network_address), int(prefix.broadcast_address)))
        self._ranges = {version: _merged(sorted(found)) for version, found in ranges.items()}

    def gaps(self, block: Prefix) -> Iterator[tuple[int, int]]:
        """First and last address of each range of `block` that is free, lowest first; none touches the next."""
        ranges = self._ranges[block.version]
        at, end = int(block.network_address), int(block.broadcast_address)
        index = max(0, bisect_right(ranges, (at, at)) - 1)
        for first, last in islice(ranges, index, None):
            if first > end:
                break
            if first > at:
                yield at, first - 1
            at = max(at, last + 1)
        if at <= end:
            yield at, end


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def free_prefixes(pool: Prefix, length: int, taken: Iterable[Prefix] | Spans) -> Iterator[Prefix]:
    """The free prefixes of `length` in `pool`, lowest first: those that share no address with any of `taken`.

    Skips a taken range in one step, so that a /32 search in a /8 does not walk it address by address.
    """
    if length < pool.prefixlen or length > pool.max_prefixlen:
        return
    size = 1 << (pool.max_prefixlen - length)
    cls: type[Prefix] = type(pool)
    for first, last in (taken if isinstance(taken, Spans) else Spans(taken)).gaps(pool):
        for at in range(-(-first // size) * size, last - size + 2, size):
            yield cls((at, length))


def free_blocks_in(pool: Prefix, longest: int, taken: Iterable[Prefix] | Spans) -> Iterator[Prefix]:
    """The largest free prefixes in `pool`, lowest first, that together are all that is free, down to `longest`."""
    cls = type(pool.network_address)
    for first, last in (taken if isinstance(taken, Spans) else Spans(taken)).gaps(pool):
        for block in ipaddress.summarize_address_range(cls(first), cls(last)):
            if block.prefixlen <= longest:
                yield block
