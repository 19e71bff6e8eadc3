"""The own word: what settings and ledger say of the exchange, held against what the exchange itself says. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from meetme.composer.advertisement import AdvertisedPoint, Advertisement, Transit, next_version, told
from meetme.ixapi.orders import ExchangeConnection
from meetme.model.agreement import MemberId
from meetme.model.members import MemberKind

RENEWED = 3
"""A word is said anew after this part of its life: it may be late twice before anybody forgets it."""


@dataclass(frozen=True, slots=True)
class Own:
    """What this exchange says of itself, before anybody signs it."""

    country: str | None
    points: tuple[AdvertisedPoint, ...]
    transits: tuple[Transit, ...]
    tags: frozenset[str] = frozenset()


def checked(own: Own, connections: Iterable[ExchangeConnection]) -> Own:
    """The same, with nothing free where the exchange has no such connection or none that works, and not more than it
    would still take an order for.
    """
    known = {connection.id: connection for connection in connections}
    return replace(own, points=tuple(_as_seen(point, known.get(point.port)) for point in own.points))


def _as_seen(point: AdvertisedPoint, seen: ExchangeConnection | None) -> AdvertisedPoint:
    if seen is None or not seen.usable:
        return replace(point, bandwidth=0)
    most = seen.limit if seen.limit is not None else seen.speed
    free = point.bandwidth
    if most is not None:
        left = most if seen.allocated is None else most - seen.allocated
        free = min(free, told(left, most))
    return replace(point, bandwidth=free, facility=point.facility or seen.facility)


def word_of(
    me: MemberId, own: Own, known: Advertisement | None, *, floor: int, now: float, lifetime: float
) -> Advertisement | None:
    """The next word, where it is time for one or there is something new; None: the known one stands.

    `floor`: a version that the next one has to be above. `lifetime`: seconds.
    """
    if known is not None and known.version >= floor and _age(known, now) < lifetime / RENEWED:
        said = Own(known.country, known.points, known.transits, known.tags)
        if said == own:
            return None
    return Advertisement(
        member=me,
        kind=MemberKind.IXP,
        country=own.country,
        version=next_version(max(floor, known.version if known is not None else 0), now),
        issued=now,
        expires=now + lifetime,
        points=own.points,
        transits=own.transits,
        tags=own.tags,
    )


def _age(known: Advertisement, now: float) -> float:
    # One that was issued while the clock was ahead is as good as old.
    return now - known.issued if known.issued <= now else float("inf")
