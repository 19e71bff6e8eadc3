"""Prefixes and addresses, from text to value, and the two questions asked of them everywhere.

The values are those of the standard library's `ipaddress`; a *prefix* has no host bits set, an *interface address* is
an address with the length of its link's prefix.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

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
    return a.version == b.version and a.overlaps(b)


def overlaps_any(prefix: Prefix, others: Iterable[Prefix]) -> bool:
    """Whether `prefix` shares an address with any of `others`."""
    return any(overlaps(prefix, other) for other in others)


def within(inner: Prefix, outer: Prefix) -> bool:
    """Whether every address of `inner` is one of `outer`."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def translate(address: Address, real: Prefix, alias: Prefix) -> Address:
    """The address in `alias` that stands for `address` in `real`: the same host bits (NETMAP, one-to-one).

    `real` and `alias` must have the same family and length, and `address` must lie in `real`.
    """
    offset = int(address) - int(real.network_address)
    return ipaddress.ip_address(alias.network_address.__class__(int(alias.network_address) + offset))


def free_prefixes(pool: Prefix, length: int, taken: Iterable[Prefix]) -> Iterator[Prefix]:
    """The free prefixes of `length` in `pool`, lowest first: those that share no address with any of `taken`.

    Skips a taken range in one step, so that a /32 search in a /8 does not walk it address by address.
    """
    if length < pool.prefixlen or length > pool.max_prefixlen:
        return
    busy = sorted((p for p in taken if overlaps(p, pool)), key=lambda p: int(p.network_address))
    size = 1 << (pool.max_prefixlen - length)
    at, end = int(pool.network_address), int(pool.broadcast_address) + 1
    cls: type[Prefix] = type(pool)
    index = 0
    ceiling = at  # first address behind every busy range seen so far
    while at + size <= end:
        while index < len(busy) and int(busy[index].network_address) < at + size:
            ceiling = max(ceiling, int(busy[index].broadcast_address) + 1)
            index += 1
        if ceiling > at:
            at = -(-ceiling // size) * size
            continue
        yield cls((at, length))
        at += size
