"""Advertisements for tests, short to write."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meetme.composer.advertisement import AdvertisedPoint, Advertisement, PointKind, Transit
from meetme.model.agreement import MemberId
from meetme.model.members import MemberKind

NOW = 1_800_000_000.0


def access(port: str, member: str, **facts: Any) -> AdvertisedPoint:
    """A member's port."""
    facts.setdefault("bandwidth", 10_000)
    return AdvertisedPoint(port=port, kind=PointKind.ACCESS, member=MemberId(member), **facts)


def nni(port: str, neighbour: str, neighbour_port: str, **facts: Any) -> AdvertisedPoint:
    """One end of a link to a neighbour."""
    facts.setdefault("bandwidth", 10_000)
    ends: dict[str, Any] = {"neighbour": MemberId(neighbour), "neighbour_port": neighbour_port}
    return AdvertisedPoint(port=port, kind=PointKind.NNI, **ends, **facts)


def transit(a: str = "*", b: str = "*", latency_ms: float = 0.5, bandwidth: int = 10_000, **facts: Any) -> Transit:
    """What it takes to cross."""
    return Transit(a=a, b=b, latency_ms=latency_ms, bandwidth=bandwidth, **facts)


def advertisement(member: str, *points: AdvertisedPoint, version: int = 1, **facts: Any) -> Advertisement:
    """An exchange's word, good for an hour from NOW."""
    issued = facts.pop("issued", NOW)
    ad = Advertisement(
        member=MemberId(member),
        kind=MemberKind.IXP,
        country="DE",
        version=version,
        issued=issued,
        expires=issued + 3600,
        points=points,
        transits=(transit(),) if points else (),
    )
    return replace(ad, **facts)
