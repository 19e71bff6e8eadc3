"""What an exchange tells the federation about itself: where members and neighbours join it, and what crossing it costs.

The inside of an exchange is never in it (the abstraction of RFC 7926, section 3; the path vector of RFC 9275 is near).
Rules of this file:

1. A port belongs to the member that advertises it: nobody can speak of another's. A link between two exchanges (NNI) is
   named by both, each from its own port; what only one of them says is no link.
2. Free capacity is told in steps of a sixteenth, rounded up: who asks for what is not there any more is refused when it
   is held, and nothing that would fit is refused for what was told. Nobody learns the use of a link to the megabit.
3. `version` only grows, and not far ahead of the clock: a stolen key must not block its owner's later ones for good.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite

from meetme.model.agreement import MemberId
from meetme.model.errors import Fault, InvalidInput, Problem
from meetme.model.members import MemberKind

ANY = "*"
"""As an end of a transit: every point that no other transit of the pair names."""
FIRST_VLAN, LAST_VLAN = 2, 4094
LEAST_MTU, MOST_MTU = 1280, 65535
MOST_BANDWIDTH = 100_000_000
"""Mbit/s."""
MOST_POINTS, MOST_TRANSITS, MOST_TAGS = 1024, 4096, 32
MOST_OCTETS = 48 * 1024
"""Of a signed document: it has to fit into one message with room to spare."""
LONGEST_SECONDS = 7 * 86400.0
"""Between issue and expiry."""
MOST_AHEAD = 86_400_000
"""By how much a version may be ahead of the clock, in milliseconds: a clock that was set back must not silence it."""
STEPS = 16
"""Of capacity, as it is told."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+#-]{0,127}")
_COUNTRY = re.compile(r"[A-Z]{2}")


class PointKind(StrEnum):
    """What joins an exchange at a point."""

    ACCESS = "access"
    """A member's port: a circuit may end here."""
    NNI = "nni"
    """A link to a neighbouring exchange: a circuit may pass here."""


@dataclass(frozen=True, slots=True, order=True)
class VlanRange:
    """IX-API VLANs that circuits may use at a point, both ends included (2 to 4094)."""

    first: int = FIRST_VLAN
    last: int = LAST_VLAN

    def __and__(self, other: VlanRange) -> VlanRange | None:
        """What is in both; None: nothing."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        return VlanRange(first, last) if first <= last else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvertisedPoint:
    """One port where a member, or a neighbour, joins the exchange."""

    port: str
    """As the exchange calls it; unique in the exchange."""
    kind: PointKind
    member: MemberId | None = None
    """Whose access port it is."""
    neighbour: MemberId | None = None
    """To which exchange an NNI leads."""
    neighbour_port: str | None = None
    """What that exchange calls its own end of it."""
    bandwidth: int
    """Free, Mbit/s in each direction, in steps (`told`)."""
    vlans: VlanRange | None = VlanRange()
    """What circuits may use; None: a circuit takes the whole port (of an access port only)."""
    mtu: int = 1500
    """Octets of Ethernet payload that pass here."""
    facility: str | None = None
    """Building: what stands in one building falls together."""
    risks: frozenset[str] = frozenset()
    """Shared-risk groups (RFC 4202, section 2.3): ducts, cables, power."""
    latency_ms: float = 0.0
    """Of an NNI, one way. The two ends should agree; the larger one counts."""
    price: float = 0.0
    """Of an NNI, a month and Mbit/s. Those of both ends add up."""
    availability: float = 1.0
    """Of an NNI, above 0, at most 1. The smaller one counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transit:
    """What it takes to cross the exchange between two of its points, either way."""

    a: str
    """A port, or `*`."""
    b: str
    latency_ms: float
    """One way."""
    bandwidth: int
    """Free, Mbit/s in each direction."""
    price: float = 0.0
    """A month and Mbit/s."""
    availability: float = 1.0
    """Above 0, at most 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """One exchange's whole word about itself; a later version takes the place of all of it."""

    member: MemberId
    kind: MemberKind
    country: str | None
    """ISO 3166-1 alpha-2."""
    version: int
    """Milliseconds since the epoch as a rule; larger than that of every earlier one."""
    issued: float
    """Seconds since the epoch."""
    expires: float
    """Seconds since the epoch: who has heard nothing newer until then forgets it."""
    points: tuple[AdvertisedPoint, ...] = ()
    transits: tuple[Transit, ...] = ()
    tags: frozenset[str] = frozenset()
    """For policies, as the federation agrees on them."""

    def point(self, port: str) -> AdvertisedPoint | None:
        """The point of this name, or None."""
        return next((point for point in self.points if point.port == port), None)

    @property
    def withdrawn(self) -> bool:
        """Whether it takes everything back: an exchange that leaves says so in a last version."""
        return not self.points

    @property
    def neighbours(self) -> frozenset[MemberId]:
        """The exchanges it says it has a link with."""
        return frozenset(point.neighbour for point in self.points if point.neighbour is not None)


def withdrawal(of: Advertisement, *, version: int, issued: float, expires: float) -> Advertisement:
    """The last word of a member: nothing is reached through it any more."""
    return replace(
        of, version=version, issued=issued, expires=expires, points=(), transits=(), tags=frozenset()
    )  # fmt: skip


def told(free: int, total: int) -> int:
    """Free capacity as it is told: in sixteenths of `total`, rounded up; 0 stays 0. Mbit/s."""
    if free <= 0 or total <= 0:
        return 0
    step = max(1, total // STEPS)
    return min(total, -(-free // step) * step)


def next_version(known: int, now: float) -> int:
    """The version of what is issued at `now`, after `known`.

    One that is too far ahead (of a clock that was wrong by days) nobody has believed: it does not count.
    """
    return max(known + 1 if known < now * 1000 + MOST_AHEAD else 0, int(now * 1000))


# --- what cannot be right ---------------------------------------------------------------------------------------------


def check(advertisement: Advertisement, fault: Fault) -> None:
    """Raise InvalidInput `advertisement_invalid` with everything that is wrong in itself, whoever says it and when."""
    problems = tuple(replace(problem, fault=fault) for problem in _problems(advertisement))
    if problems:
        first = problems[0]
        raise InvalidInput(first.code, first.text, field=first.field, fault=fault, problems=problems)


def _problems(ad: Advertisement) -> Iterator[Problem]:
    if ad.country is not None and not _COUNTRY.fullmatch(ad.country):
        yield _wrong("country", "must be two capital letters (ISO 3166-1)", ad.country)
    if not 0 < ad.version < 2**53:
        yield _wrong("version", "must be between 1 and 2^53", ad.version)
    if not (isfinite(ad.issued) and isfinite(ad.expires) and 0 < ad.expires - ad.issued <= LONGEST_SECONDS):
        yield _wrong("expires", f"must be after issued, by {LONGEST_SECONDS / 86400:g} days at most", ad.expires)
    elif ad.version > ad.issued * 1000 + MOST_AHEAD:
        yield _wrong("version", "must not be more than a day ahead of issued, in milliseconds", ad.version)
    if ad.kind is not MemberKind.IXP and (ad.points or ad.transits):
        yield _wrong("points", "must be empty: only an exchange has points", ad.kind)
    for name, count, most in (
        ("points", len(ad.points), MOST_POINTS),
        ("transits", len(ad.transits), MOST_TRANSITS),
        ("tags", len(ad.tags), MOST_TAGS),
    ):
        if count > most:
            yield _wrong(name, f"must not be more than {most}", count)
            return
    yield from _bad_names("tags", ad.tags)
    ports: dict[str, AdvertisedPoint] = {}
    for index, point in enumerate(ad.points):
        where = f"points[{index}]"
        if point.port in ports:
            yield _wrong(f"{where}.port", "must be there once", point.port)
        ports[point.port] = point
        yield from _point_problems(where, ad.member, point)
    yield from _transit_problems(ad.transits, ports)


def _point_problems(where: str, me: str, point: AdvertisedPoint) -> Iterator[Problem]:
    yield from _bad_names(f"{where}.port", (point.port,))
    if point.kind is PointKind.ACCESS:
        if point.member is None or point.neighbour is not None or point.neighbour_port is not None:
            yield _wrong(where, "must name its member, and no neighbour", point.port)
        elif point.member == me:
            yield _wrong(f"{where}.member", "must be another than the exchange", point.member)
    elif point.neighbour is None or point.neighbour_port is None or point.member is not None:
        yield _wrong(where, "must name its neighbour and the neighbour's port, and no member", point.port)
    elif point.neighbour == me:
        yield _wrong(f"{where}.neighbour", "must be another exchange", point.neighbour)
    else:
        yield from _bad_names(f"{where}.neighbour_port", (point.neighbour_port,))
    if not 0 <= point.bandwidth <= MOST_BANDWIDTH:
        yield _wrong(f"{where}.bandwidth", f"must be between 0 and {MOST_BANDWIDTH} Mbit/s", point.bandwidth)
    if point.vlans is None:
        if point.kind is PointKind.NNI:
            yield _wrong(f"{where}.vlans", "must be there: circuits on an NNI are told apart by them", point.port)
    elif not FIRST_VLAN <= point.vlans.first <= point.vlans.last <= LAST_VLAN:
        seen = f"{point.vlans.first} to {point.vlans.last}"
        yield _wrong(f"{where}.vlans", f"must be a range within {FIRST_VLAN} and {LAST_VLAN}", seen)
    if not LEAST_MTU <= point.mtu <= MOST_MTU:
        yield _wrong(f"{where}.mtu", f"must be between {LEAST_MTU} and {MOST_MTU}", point.mtu)
    if point.facility is not None:
        yield from _bad_names(f"{where}.facility", (point.facility,))
    if len(point.risks) > MOST_TAGS:
        yield _wrong(f"{where}.risks", f"must not be more than {MOST_TAGS}", len(point.risks))
    yield from _bad_names(f"{where}.risks", point.risks)
    yield from _figure_problems(where, point.latency_ms, point.price, point.availability)


def _transit_problems(transits: Iterable[Transit], ports: Mapping[str, AdvertisedPoint]) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for index, transit in enumerate(transits):
        where = f"transits[{index}]"
        for name, end in (("a", transit.a), ("b", transit.b)):
            if end != ANY and end not in ports:
                yield _wrong(f"{where}.{name}", "must be a port of points, or *", end)
        pair = (min(transit.a, transit.b), max(transit.a, transit.b))
        if pair in seen or (transit.a == transit.b != ANY):
            yield _wrong(where, "must be two points, each pair once", f"{transit.a}, {transit.b}")
        seen.add(pair)
        if not 0 <= transit.bandwidth <= MOST_BANDWIDTH:
            yield _wrong(f"{where}.bandwidth", f"must be between 0 and {MOST_BANDWIDTH} Mbit/s", transit.bandwidth)
        yield from _figure_problems(where, transit.latency_ms, transit.price, transit.availability)


def _figure_problems(where: str, latency_ms: float, price: float, availability: float) -> Iterator[Problem]:
    if not 0 <= latency_ms <= 60_000:
        yield _wrong(f"{where}.latency_ms", "must be between 0 and 60000 ms", latency_ms)
    if not 0 <= price <= 1e9:
        yield _wrong(f"{where}.price", "must be between 0 and 1e9", price)
    if not 0 < availability <= 1:
        yield _wrong(f"{where}.availability", "must be above 0 and at most 1", availability)


def _bad_names(where: str, names: Iterable[str]) -> Iterator[Problem]:
    for name in names:
        if not _NAME.fullmatch(name):
            yield _wrong(where, "must be letters, digits and ._:@/+#-, at most 128", name[:140])


def _wrong(field: str, rule: str, seen: object) -> Problem:
    path = f"advertisement.{field}"
    return Problem("advertisement_invalid", f"{path}: {rule} ('{seen}')", field=path)
