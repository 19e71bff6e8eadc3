"""What `GET /api/v1/topology` answers: the federation as this composer knows it, and how fresh that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from meetme.composer.advertisement import AdvertisedPoint, Transit, VlanRange
from meetme.composer.spreading import Neighbour
from meetme.composer.topology import Atlas, Nni
from meetme.model.agreement import MemberId
from meetme.runtime.reading import adapter, read

TOPOLOGY = "/api/v1/topology"


@dataclass(frozen=True, slots=True)
class PortView:
    """A port of an exchange."""

    exchange: str
    port: str


@dataclass(frozen=True, slots=True)
class ExchangeView:
    """One exchange, as it said of itself."""

    member: MemberId
    country: str | None
    version: int
    issued: datetime
    expires: datetime
    age: float
    """Seconds since it was said."""
    points: tuple[AdvertisedPoint, ...]
    transits: tuple[Transit, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkView:
    """A link between two exchanges that both of them name."""

    link: str
    a: PortView
    b: PortView
    latency_ms: float
    bandwidth: int
    """Free, Mbit/s each way, as it is told."""
    vlans: VlanRange
    mtu: int
    price: float
    availability: float
    risks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnconfirmedView:
    """An end of a link that the other side does not name: not used."""

    at: PortView
    neighbour: MemberId
    reason: str


@dataclass(frozen=True, slots=True)
class NeighbourView:
    """How it stands with a neighbour of this composer."""

    member: MemberId
    agreed: datetime | None
    """When both were last found to know the same."""
    problem: str


@dataclass(frozen=True, slots=True)
class TopologyView:
    """All of it."""

    me: MemberId
    at: datetime
    exchanges: tuple[ExchangeView, ...]
    links: tuple[LinkView, ...]
    unconfirmed: tuple[UnconfirmedView, ...]
    neighbours: tuple[NeighbourView, ...]


def view(me: MemberId, atlas: Atlas, neighbours: Mapping[MemberId, Neighbour], now: float) -> TopologyView:
    """What is known at `now`."""
    agreed, alone = atlas.links
    return TopologyView(
        me=me,
        at=_time(now),
        exchanges=tuple(
            ExchangeView(
                member=ad.member,
                country=ad.country,
                version=ad.version,
                issued=_time(ad.issued),
                expires=_time(ad.expires),
                age=round(max(0.0, now - ad.issued), 1),
                points=ad.points,
                transits=ad.transits,
                tags=tuple(sorted(ad.tags)),
            )
            for ad in atlas.advertisements
        ),
        links=tuple(_link(nni) for nni in sorted(agreed, key=lambda nni: nni.name)),
        unconfirmed=tuple(
            UnconfirmedView(PortView(*end.point), end.neighbour, end.reason)
            for end in sorted(alone, key=lambda end: end.point)
        ),
        neighbours=tuple(
            NeighbourView(name, None if known.agreed_at is None else _time(known.agreed_at), known.problem)
            for name, known in sorted(neighbours.items())
        ),
    )


def _link(nni: Nni) -> LinkView:
    return LinkView(
        link=nni.name,
        a=PortView(*nni.a),
        b=PortView(*nni.b),
        latency_ms=nni.latency_ms,
        bandwidth=nni.bandwidth,
        vlans=nni.vlans,
        mtu=nni.mtu,
        price=nni.price,
        availability=nni.availability,
        risks=tuple(sorted(nni.risks)),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)


def seen_by(shown: TopologyView, member: MemberId) -> TopologyView:
    """What of it a member at one of the ports gets to see: exchanges and links, and of the ports its own alone."""
    exchanges = tuple(
        replace(exchange, points=tuple(point for point in exchange.points if point.member == member))
        for exchange in shown.exchanges
    )
    return replace(shown, exchanges=exchanges, unconfirmed=(), neighbours=())


def view_json(shown: TopologyView) -> dict[str, Any]:
    """As the local API says it."""
    result: dict[str, Any] = adapter(TopologyView).dump_python(shown, mode="json")
    return result


def read_view(raw: Any) -> TopologyView:
    """Read what `view_json` wrote. Raises InvalidInput `answer_malformed`."""
    return read(TopologyView, raw, path="answer", code="answer_malformed")
